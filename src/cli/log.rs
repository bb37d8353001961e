//! The log: lines on stderr, for people or as JSON, filtered by level or by `RUST_LOG`.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Format;
use crate::config::Log;

/// Starts the log of this process; a second start changes nothing.
pub(super) fn start(log: Log, rust_log: Option<&str>) {
    // The libraries under us explain their retries at length; what matters of them reaches us as an error.
    let usual = || EnvFilter::new(format!("warn,bellrock={}", log.level.as_str()));
    let filter = rust_log.filter(|text| !text.is_empty()).map_or_else(usual, |text| EnvFilter::try_new(text).unwrap_or_else(|_| usual()));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        Format::Text => lines.with_ansi(anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never).boxed(),
        Format::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
