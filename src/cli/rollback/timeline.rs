//! What was told on the way, kept for the account in the end, and shown as it comes.

use std::sync::Mutex;
use std::sync::PoisonError;

use super::progress::Progress;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::model::Timestamp;
use crate::rollback::Event;
use crate::rollback::Sink;

/// Events that are kept: a night of looks at twenty clusters that say something new each time. What comes later is shown and not kept.
const MAX: usize = 20_000;

/// One region's events, and the progress that shows them.
pub(super) struct Timeline<'a> {
    progress: &'a Progress,
    clock: SystemClock,
    events: Mutex<Vec<(Timestamp, Event)>>,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(progress: &'a Progress) -> Self {
        Self { progress, clock: SystemClock::start(), events: Mutex::default() }
    }

    /// Oldest first.
    pub(super) fn events(&self) -> Vec<(Timestamp, Event)> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Timeline<'_> {
    fn tell(&self, event: &Event) {
        self.progress.tell(event);
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < MAX && !is_said(&events, event) {
            events.push((self.clock.now().wall, event.clone()));
        }
    }
}

/// A look that shows what the one before has shown is no news.
fn is_said(events: &[(Timestamp, Event)], event: &Event) -> bool {
    let Event::Waiting { cluster, text, .. } = event else { return false };
    let last = events.iter().rev().find_map(|(_, event)| match event {
        Event::Waiting { cluster: other, text, .. } if other == cluster => Some(text.as_str()),
        Event::Stage { cluster: other, .. } if other == cluster => Some(""),
        _ => None,
    });
    last == Some(text)
}
