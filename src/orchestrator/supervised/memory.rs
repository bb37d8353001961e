//! What is remembered of a supervised orchestrator over restarts of the agent and of the host: the wish, its starts, how its runs ended.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use tracing::warn;

use super::Exit;
use crate::host::folder;
use crate::model::Timestamp;

const NAME: &str = "upkeep.json";
/// Starts that are kept: more than any budget counts.
const STARTS: usize = 100;
/// Ends that are kept, for people.
const EXITS: usize = 10;

/// What is on disk. Later versions add fields; those of others are left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    run: bool,
    /// Its last stop was ours, and it was not seen to run since.
    #[serde(default)]
    stopped_by_us: bool,
    /// The boot of the host in which it was seen to run last.
    #[serde(default)]
    ran_in: Option<String>,
    #[serde(default)]
    starts: Vec<Timestamp>,
    #[serde(default)]
    restarts: u64,
    #[serde(default)]
    exits: Vec<Exit>,
    /// The run whose end was noted last.
    #[serde(default)]
    noted: Option<String>,
}

/// The memory of one folder.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    kept: Kept,
    /// Why the wish is not known.
    pub(super) trouble: Option<String>,
}

impl Memory {
    pub(super) fn open(folder: PathBuf) -> Self {
        let blank = Kept { run: true, stopped_by_us: false, ran_in: None, starts: Vec::new(), restarts: 0, exits: Vec::new(), noted: None };
        match folder::make(&folder).and_then(|()| folder::read(&folder, NAME)) {
            Ok(kept) => Self { folder, kept: kept.unwrap_or(blank), trouble: None },
            // A drain may have stopped it.
            Err(e) => {
                let trouble = format!("{} cannot be used: {e} (runbooks/orchestrator-record.md)", folder.join(NAME).display());
                Self { folder, kept: Kept { run: false, ..blank }, trouble: Some(trouble) }
            }
        }
    }

    /// It shall run.
    pub(super) fn wanted(&self) -> bool {
        self.kept.run
    }

    pub(super) fn starts(&self) -> &[Timestamp] {
        &self.kept.starts
    }

    pub(super) fn restarts(&self) -> u64 {
        self.kept.restarts
    }

    pub(super) fn last_exit(&self) -> Option<&Exit> {
        self.kept.exits.last()
    }

    /// What rests does so because we stopped it.
    pub(super) fn stopped_by_us(&self) -> bool {
        self.kept.stopped_by_us
    }

    /// Records a wish before it is acted on.
    pub(super) fn wish(&mut self, run: bool) -> io::Result<()> {
        self.wish_and(run, self.kept.stopped_by_us)
    }

    /// Records a wish and that it is we who are about to stop it.
    pub(super) fn wish_and_stop(&mut self, run: bool) -> io::Result<()> {
        self.wish_and(run, true)
    }

    fn wish_and(&mut self, run: bool, stopped_by_us: bool) -> io::Result<()> {
        let kept = Kept { run, stopped_by_us, ..self.kept.clone() };
        folder::write(&self.folder, NAME, &kept)?;
        (self.kept, self.trouble) = (kept, None);
        Ok(())
    }

    /// Records a start. The budget counts it from here also where the disk is full.
    pub(super) fn started(&mut self, at: Timestamp) {
        self.kept.restarts += u64::from(self.last_exit().is_some_and(|exit| !exit.asked));
        self.kept.starts.push(at);
        let surplus = self.kept.starts.len().saturating_sub(STARTS);
        self.kept.starts.drain(..surplus);
        self.save();
    }

    /// It was seen to run in this boot of the host.
    pub(super) fn ran_in(&self, boot: &str) -> bool {
        self.kept.ran_in.as_deref() == Some(boot)
    }

    /// It runs. Where it shall, a stop from here on is somebody else's.
    pub(super) fn seen_up(&mut self, boot: &str) {
        let stopped_by_us = self.kept.stopped_by_us && !self.kept.run;
        if stopped_by_us != self.kept.stopped_by_us || !self.ran_in(boot) {
            (self.kept.stopped_by_us, self.kept.ran_in) = (stopped_by_us, Some(boot.to_owned()));
            self.save();
        }
    }

    /// Records how a run ended. False: it is on record.
    pub(super) fn ended(&mut self, run: &str, exit: Exit) -> bool {
        if self.kept.noted.as_deref() == Some(run) {
            return false;
        }
        self.kept.noted = Some(run.to_owned());
        self.kept.exits.push(exit);
        let surplus = self.kept.exits.len().saturating_sub(EXITS);
        self.kept.exits.drain(..surplus);
        self.save();
        true
    }

    fn save(&self) {
        // One that cannot be read is left for people.
        if self.trouble.is_none()
            && let Err(error) = folder::write(&self.folder, NAME, &self.kept)
        {
            warn!(%error, "the orchestrator's starts and ends cannot be recorded (runbooks/orchestrator-record.md)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_outlives_the_agent_and_one_that_cannot_be_read_is_none() {
        let at = tempfile::tempdir().unwrap();
        let open = || Memory::open(at.path().join("orchestrator"));
        assert!(open().wanted(), "what is configured shall run");
        open().wish(false).unwrap();
        assert!(!open().wanted());
        open().wish(true).unwrap();
        assert!(open().wanted());
        std::fs::write(at.path().join("orchestrator").join(NAME), "{").unwrap();
        let mut broken = open();
        assert!(!broken.wanted() && broken.trouble.is_some());
        broken.started(Timestamp(1));
        assert_eq!(std::fs::read_to_string(at.path().join("orchestrator").join(NAME)).unwrap(), "{", "it is left for people");
        broken.wish(true).unwrap();
        assert!(open().wanted());
    }

    #[test]
    fn an_end_is_noted_once_and_only_an_unasked_one_makes_the_next_start_a_restart() {
        let at = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(at.path().to_owned());
        memory.started(Timestamp(1));
        assert_eq!(memory.restarts(), 0);
        assert!(memory.ended("1", Exit { code: Some(1), ..Exit::default() }) && !memory.ended("1", Exit::default()));
        memory.started(Timestamp(2));
        assert!(memory.ended("2", Exit { asked: true, ..Exit::default() }));
        memory.started(Timestamp(3));
        let again = Memory::open(at.path().to_owned());
        assert_eq!((again.restarts(), again.starts().len(), again.last_exit().unwrap().asked), (1, 3, true));
    }
}
