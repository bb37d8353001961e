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

use crate::config::show_duration;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::model::Moment;
use crate::rollback::Event;
use crate::rollback::Sink;
use crate::rollback::advance::Stage;

/// Beyond twice the usual time before a wait is called late. Shorter, and a slow region is called late every night.
const LATE: Duration = Duration::from_secs(30);

pub struct Progress {
    live: Option<MultiProgress>,
    clusters: Mutex<BTreeMap<String, Line>>,
    clock: SystemClock,
}

#[derive(Default)]
struct Line {
    bar: Option<ProgressBar>,
    last: String,
    /// When the cluster came to the stage it is in.
    since: Option<Moment>,
    /// It was said that this takes long.
    wondered: bool,
}

impl Progress {
    pub fn new() -> Self {
        let live = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { live, clusters: Mutex::default(), clock: SystemClock::start() }
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
            Event::Stage { cluster, .. } => {
                let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
                let line = clusters.entry(cluster.clone()).or_default();
                (line.since, line.wondered) = (Some(self.clock.now()), false);
            }
            Event::Step { cluster, step, error: None, .. } => self.print(&format!("{cluster}: {step}")),
            Event::Step { cluster, step, error: Some(error), .. } => self.print(&format!("{cluster}: {step}: {error}; looking again")),
            Event::Waiting { cluster, stage: _, serving, count, text, usual, look_at } => {
                let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
                let line = clusters.entry(cluster.clone()).or_default();
                let usually = usual.map(|usual| format!(", usually {}", show_duration(usual))).unwrap_or_default();
                self.bar(line, cluster, u64::from(*serving), u64::from(*count), &format!("{text}{usually}"));
                if self.live.is_none() && line.last != *text {
                    let usually = usual.map(|usual| format!(" (usually {})", show_duration(usual))).unwrap_or_default();
                    self.print(&format!("{cluster}: waiting for {text}{usually}"));
                }
                let now = self.clock.now();
                let waited = now.since(*line.since.get_or_insert(now));
                if !line.wondered && waited > usual.unwrap_or_default() * 2 + LATE {
                    line.wondered = true;
                    let waited = show_duration(Duration::from_secs(waited.as_secs()));
                    self.print(&format!("{cluster}: this takes longer than usual, {waited} by now; what AWS says: {look_at}"));
                }
                line.last.clone_from(text);
            }
            Event::Stopped { cluster, code, text } => self.print(&format!("{cluster}: stopped [{code}]: {text}")),
            Event::Trouble { text } => self.print(&format!("{text}; trying again")),
        }
    }
}
