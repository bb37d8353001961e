//! What the agent puts on disk: its durable state, synced before any deed that rests on it, and the audit log, one line an event.
//!
//! What must stay true: a journal that cannot be written stops the deeds, never the reads (F46); a journal of another instance, baked into
//! an image, is set aside and ignored (F20); a file cut off at any byte reads as the last whole record before the cut.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::decide::Durable;
use crate::decide::heal::Decision;
use crate::model::InstanceId;
use crate::model::Notices;
use crate::model::Timestamp;

/// Version of the record format this build writes. A record of our own in another one is an error, and holds the agent.
pub const FORMAT: u32 = 1;
/// The journal is rewritten with its last record alone beyond this size, in bytes: some hundred records.
const COMPACT_AT: u64 = 64 * 1024;

/// The audit log is rotated beyond this size, in bytes; one old one is kept. It shares its disk with the journal.
const ROTATE_AT: u64 = 16 * 1024 * 1024;

/// Where the durable state is kept.
pub trait Journal: Send + Sync {
    /// The last state written for this instance, and whether it was written in this boot; `None` when there is none.
    ///
    /// # Errors
    /// The journal is there and cannot be read: nobody knows what was done before, so nothing may be done now.
    fn load(&mut self, own: &InstanceId, boot: &str) -> io::Result<Option<(Durable, bool)>>;

    /// Puts a state on disk, synced.
    ///
    /// # Errors
    /// It may or may not be there.
    fn save(&mut self, own: &InstanceId, boot: &str, at: Timestamp, durable: &Durable) -> io::Result<()>;
}

/// The journal as a file of JSON lines.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    file: Option<File>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    instance: InstanceId,
    boot: String,
    at: Timestamp,
    durable: Durable,
}

#[derive(Deserialize)]
struct Owner {
    format: u32,
    instance: InstanceId,
}

impl FileJournal {
    /// The journal in this file; its directory exists or is made at the first write.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            closed => {
                if let Some(folder) = self.path.parent() {
                    fs::create_dir_all(folder)?;
                }
                let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                // A line that was cut off must not swallow the next one.
                file.write_all(b"\n")?;
                sync_folder(&self.path)?;
                closed.insert(file)
            }
        };
        file.write_all(line)?;
        file.sync_data()?;
        if file.metadata()?.len() > COMPACT_AT {
            self.file = None;
            replace(&self.path, line)?;
        }
        Ok(())
    }

    fn set_aside(&self, whose: &str) -> io::Result<()> {
        let name = format!("{}.foreign-{whose}", self.path.file_name().unwrap_or_default().to_string_lossy());
        fs::rename(&self.path, self.path.with_file_name(name))?;
        sync_folder(&self.path)
    }
}

impl Journal for FileJournal {
    fn load(&mut self, own: &InstanceId, boot: &str) -> io::Result<Option<(Durable, bool)>> {
        self.file = None;
        let text = match fs::read(&self.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((line, owner)) = text.lines().rev().find_map(|line| Some((line, serde_json::from_str::<Owner>(line).ok()?))) else {
            return Ok(None);
        };
        if owner.instance == *own && owner.format != FORMAT {
            // What another version of us has begun is not to be forgotten.
            return Err(io::Error::other(format!("its format is {}, this version reads {FORMAT}", owner.format)));
        }
        if owner.instance != *own {
            tracing::warn!(journal = %self.path.display(), instance = %owner.instance, "setting aside a journal that is not ours");
            self.set_aside(owner.instance.as_str())?;
            return Ok(None);
        }
        let record: Record = serde_json::from_str(line).map_err(io::Error::other)?;
        Ok(Some((record.durable, record.boot == boot)))
    }

    fn save(&mut self, own: &InstanceId, boot: &str, at: Timestamp, durable: &Durable) -> io::Result<()> {
        let record = Record { format: FORMAT, instance: own.clone(), boot: boot.to_owned(), at, durable: durable.clone() };
        let mut line = serde_json::to_vec(&record).map_err(io::Error::other)?;
        line.push(b'\n');
        let written = self.append(&line);
        if written.is_err() {
            self.file = None;
        }
        written
    }
}

/// One line of the audit log: what happened, when, and what it rests on (S17, F64).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub instance: InstanceId,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What is worth a line in the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum What {
    /// The agent began, with this much in its journal.
    Started {
        /// Of the journal.
        found: Option<Durable>,
        /// It was written in this boot.
        same_boot: bool,
    },
    /// The protocol moved on.
    Phase {
        /// From.
        from: &'static str,
        /// To.
        to: &'static str,
        /// Of the drain.
        reason: Option<String>,
        /// What the move rests on.
        evidence: Vec<String>,
        /// Why it holds.
        held: Option<String>,
    },
    /// AWS says something else of our future than before.
    Notices(Notices),
    /// A deed goes out.
    Deed {
        /// Its key.
        key: u64,
        /// What.
        deed: String,
        /// Why.
        reason: String,
    },
    /// What came of a deed.
    Outcome {
        /// Its key.
        key: u64,
        /// It was accepted.
        ok: bool,
        /// Receipt, or AWS's words.
        text: String,
    },
    /// An operator asked for something.
    Asked {
        /// What, and who.
        command: crate::decide::Command,
        /// Why it was refused.
        refused: Option<String>,
    },
    /// Healing decided.
    Heal(Decision),
    /// The agent ended without the instance ending.
    Stopped,
}

/// Where events go. Losing one is reported and never stops a drain: what a restart needs is in the journal.
pub trait Audit: Send + Sync {
    /// Takes one event.
    fn write(&mut self, event: &Event);
}

/// The audit log as a file of JSON lines.
#[derive(Debug)]
pub struct FileAudit {
    path: PathBuf,
}

impl FileAudit {
    /// The audit log in this file, appended to.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl FileAudit {
    /// Moves a full log out of the way; the one before it goes.
    fn rotate(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(file) if file.len() > ROTATE_AT => fs::rename(&self.path, self.path.with_extension("old.jsonl")),
            _ => Ok(()),
        }
    }
}

impl Audit for FileAudit {
    fn write(&mut self, event: &Event) {
        let written = self.rotate().and_then(|()| serde_json::to_vec(event).map_err(io::Error::other)).and_then(|mut line| {
            line.push(b'\n');
            OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(&line)
        });
        if let Err(error) = written {
            tracing::warn!(audit = %self.path.display(), %error, "an audit line was lost");
        }
    }
}

/// Puts `bytes` in the place of a file, so that a crash leaves the old or the new one whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests;
