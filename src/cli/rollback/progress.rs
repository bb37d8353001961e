//! What is going on, live: a bar per restored group in a terminal, plain lines elsewhere. Always on stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use crate::rollback::Event;
use crate::rollback::Sink;
use crate::rollback::advance::Stage;

pub struct Progress {
    live: Option<MultiProgress>,
    clusters: Mutex<BTreeMap<String, Line>>,
}

#[derive(Default)]
struct Line {
    bar: Option<ProgressBar>,
    last: String,
}

impl Progress {
    pub fn new() -> Self {
        let live = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { live, clusters: Mutex::default() }
    }

    /// Leaves the terminal as it was.
    pub fn finish(&self) {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.values().filter_map(|line| line.bar.as_ref()).for_each(ProgressBar::finish_and_clear);
    }

    fn print(&self, text: &str) {
        match &self.live {
            Some(live) => {
                let _ = live.println(text);
            }
            None => {
                let _ = writeln!(anstream::stderr(), "{text}");
            }
        }
    }

    fn bar(&self, line: &mut Line, cluster: &str, serving: u64, count: u64, text: &str) {
        let Some(live) = &self.live else { return };
        let bar = line.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix:24} [{bar:20}] {pos}/{len} {elapsed} {msg}");
            let bar = live.add(ProgressBar::new(count).with_prefix(cluster.to_owned()));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        });
        bar.set_position(serving.min(count));
        bar.set_message(text.to_owned());
    }
}

impl Sink for Progress {
    fn tell(&self, event: &Event) {
        match event {
            Event::Stage { cluster, stage: Stage::Done } => self.print(&format!("{cluster}: done")),
            Event::Stage { .. } => {}
            Event::Step { cluster, step, error: None, .. } => self.print(&format!("{cluster}: {step}")),
            Event::Step { cluster, step, error: Some(error), .. } => self.print(&format!("{cluster}: {step}: {error}; looking again")),
            Event::Waiting { cluster, stage: _, serving, count, text } => {
                let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
                let line = clusters.entry(cluster.clone()).or_default();
                let serving = u64::try_from(*serving).unwrap_or(u64::MAX);
                self.bar(line, cluster, serving, u64::from(*count), text);
                if self.live.is_none() && line.last != *text {
                    self.print(&format!("{cluster}: waiting for {text}"));
                }
                line.last.clone_from(text);
            }
            Event::Stopped { cluster, code, text } => self.print(&format!("{cluster}: stopped [{code}]: {text}")),
            Event::Trouble { text } => self.print(&format!("{text}; trying again")),
        }
    }
}
