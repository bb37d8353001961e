//! The log: lines on stderr, for people or as JSON, or entries with fields in systemd's journal; filtered by level or by `RUST_LOG`.
//!
//! What must stay true: whoever reads the journal as lines reads what a terminal would show, so fields stand in the text too.

use std::fmt;
use std::fmt::Write;
use std::io;

use tracing::Event;
use tracing::Level;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Format;
use crate::config::Log;
use crate::host::journal;
use crate::host::journal::Entry;
use crate::host::journal::Journal;

/// What of the environment decides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told<'a> {
    /// `RUST_LOG`.
    pub(super) filter: Option<&'a str>,
    /// `JOURNAL_STREAM`.
    pub(super) journal_stream: Option<&'a str>,
}

/// Starts the log of this process; a second start changes nothing.
pub(super) fn start(log: Log, told: Told<'_>) {
    // The libraries under us explain their retries at length; what matters of them reaches us as an error.
    let usual = || EnvFilter::new(format!("warn,bellrock={}", log.level.as_str()));
    let filter =
        told.filter.filter(|text| !text.is_empty()).map_or_else(usual, |text| EnvFilter::try_new(text).unwrap_or_else(|_| usual()));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let text = |lines: tracing_subscriber::fmt::Layer<_, _, _, _>| {
        lines.with_ansi(anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never).boxed()
    };
    // Without an open journal there is still its stream.
    let entries = || journal::is_stderr(told.journal_stream).then(|| Journal::open().ok()).flatten();
    let lines = match log.format {
        Format::Auto => match entries() {
            Some(journal) => Entries(journal).boxed(),
            None => text(lines),
        },
        Format::Text => text(lines),
        Format::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// Makes an entry of each event. Spans are not looked at: none of ours are logged.
struct Entries(Journal);

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let meta = event.metadata();
        self.0.send(&said.into_entry(*meta.level(), meta.target()));
    }
}

/// An event, as text and as fields.
#[derive(Debug, Default)]
struct Said {
    message: String,
    rest: String,
    fields: Entry,
}

impl Said {
    fn into_entry(self, level: Level, target: &str) -> Entry {
        let mut entry = self.fields;
        entry.add("MESSAGE", &format!("{}{}", self.message, self.rest));
        entry.add("PRIORITY", priority(level));
        entry.add("SYSLOG_IDENTIFIER", "bellrock");
        entry.add("TARGET", target);
        entry
    }

    fn field(&mut self, name: &str, shown: &str, value: &str) {
        if name == "message" {
            self.message.push_str(value);
        } else if !name.starts_with("log.") {
            let _ = write!(self.rest, " {name}={shown}");
            self.fields.add(name, value);
        }
    }
}

/// Of syslog(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field.name(), &format!("{value:?}"), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.field(field.name(), &text, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what would be sent.
    struct Kept(std::sync::Mutex<Vec<String>>);

    impl<S: Subscriber> Layer<S> for &'static Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut said = Said::default();
            event.record(&mut said);
            let entry = said.into_entry(*event.metadata().level(), "target");
            self.0.lock().unwrap().push(format!("{entry:?}"));
        }
    }

    #[test]
    fn an_entry_has_each_field_in_its_text_and_by_itself() {
        let kept: &'static Kept = Box::leak(Box::new(Kept(std::sync::Mutex::default())));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept), || {
            tracing::warn!(phase = "held", code = Some("journal"), wait_s = 4, error = %"no\nroom", none = Option::<&str>::None, "it moved");
        });
        let mut wanted = Entry::default();
        for (name, value) in [
            ("PHASE", "held"),
            ("CODE", "journal"),
            ("WAIT_S", "4"),
            ("ERROR", "no\nroom"),
            ("MESSAGE", "it moved phase=\"held\" code=\"journal\" wait_s=4 error=no\nroom"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "bellrock"),
            ("TARGET", "target"),
        ] {
            wanted.add(name, value);
        }
        assert_eq!(*kept.0.lock().unwrap(), [format!("{wanted:?}")]);
    }
}
