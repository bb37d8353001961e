//! What a kept command says, from its pipe to the journal or to a file.
//!
//! What must stay true: the pipe is read as fast as it is filled, whoever is slow behind it, so that the command never waits for its reader; lines
//! beyond the rate, or beyond the room for those that wait to be written, are counted and dropped; and what is kept takes bounded room, in memory and on
//! disk. Lines of both outputs go through one pipe, so that their order is kept; one that is longer than a pipe takes in one piece (4 KiB) may be
//! interrupted by another.

use std::fs::File;
use std::future::pending;
use std::io;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::fs::Mode;
use tokio::net::unix::pipe;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use super::lines::Lines;
use super::lines::Rate;
use super::record;
use super::record::Order;
use crate::host::clock::SystemClock;
use crate::host::tail::Tail;
use crate::model::Clock;

/// Read at once, in bytes: what a pipe holds.
const CHUNK: usize = 64 << 10;
/// Lines that wait to be written, in bytes; a journal that stands still loses what comes beyond.
const WAITING: usize = 256 << 10;
/// The file's two halves, in bytes each.
const FILE: u64 = 8 << 20;
/// Between two words on what was dropped.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// A pipe that has been still for so long after the command's end is empty.
const LULL: Duration = Duration::from_millis(50);
/// For what is in the pipe when the command has ended, and for a journal that stands still.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The reading end.
pub(super) struct Output {
    from: Receiver,
    lines: Lines,
    kept: Waiting,
    writing: Option<JoinHandle<Sink>>,
    sink: Option<Sink>,
    chunk: Vec<u8>,
}

/// Lines on their way.
struct Waiting {
    rate: Rate,
    clock: SystemClock,
    bytes: Vec<u8>,
    dropped: u64,
    told: u64,
    told_at: Duration,
}

enum Sink {
    Journal,
    File(Tail),
}

impl Sink {
    /// A full disk, or a journal that is gone, loses the line, not the command.
    fn write(&mut self, bytes: &[u8]) {
        let _ = match self {
            Self::Journal => io::stderr().write_all(bytes),
            Self::File(tail) => tail.write(bytes),
        };
    }
}

impl Output {
    /// The pipe in this folder, made if need be; what waits in it is read.
    pub(super) fn open(at: &Path, order: &Order) -> io::Result<Self> {
        let path = at.join(record::OUTPUT);
        match rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let sink = if order.journal { Sink::Journal } else { Sink::File(Tail::after(at.join(record::LOG), FILE)?) };
        let clock = SystemClock::start();
        let now = clock.now().mono;
        let rate = Rate::new(order.lines_per_second, now);
        let kept = Waiting { rate, clock, bytes: Vec::new(), dropped: 0, told: 0, told_at: now };
        let from = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        Ok(Self { from, lines: Lines::default(), kept, writing: None, sink: Some(sink), chunk: vec![0; CHUNK] })
    }

    /// The command's end. It can be read from as well: the pipe outlives its reader, and nobody is killed for writing to it.
    pub(super) fn end(at: &Path) -> io::Result<File> {
        File::options().read(true).write(true).open(at.join(record::OUTPUT))
    }

    /// Lines that were not kept so far.
    pub(super) fn dropped(&self) -> u64 {
        self.kept.dropped
    }

    /// Adds a line of the keeper's own.
    pub(super) fn say(&mut self, text: &str) {
        self.kept.bytes.extend_from_slice(format!("bellrock: {text}\n").as_bytes());
    }

    /// Reads and writes until something came of it. Cancel-safe: what was read is with the lines, and what is written goes on by itself.
    pub(super) async fn turn(&mut self) -> io::Result<()> {
        self.write_on();
        let writing = async {
            match &mut self.writing {
                Some(writing) => writing.await.ok(),
                None => pending().await,
            }
        };
        // Reading before the rest: the command must not wait.
        tokio::select! {
            biased;
            readable = self.from.readable() => {
                readable?;
                self.read();
            }
            sink = writing => {
                self.writing = None;
                self.sink = sink;
            }
            () = tokio::time::sleep(TELL_EVERY), if self.kept.dropped > self.kept.told => {}
        }
        self.kept.tell();
        Ok(())
    }

    /// What is left when nobody writes any more, or nobody should.
    pub(super) async fn finish(mut self) -> u64 {
        let finishing = async {
            while let Ok(Ok(())) = tokio::time::timeout(LULL, self.from.readable()).await {
                self.read();
            }
            let kept = &mut self.kept;
            self.lines.finish(|line| kept.take(line));
            self.kept.tell_all();
            self.write_on();
            while let Some(writing) = self.writing.take() {
                self.sink = writing.await.ok();
                self.write_on();
            }
        };
        // A journal that stands still has lost its claim to the last words.
        let _ = tokio::time::timeout(LAST_WORDS, finishing).await;
        self.kept.dropped
    }

    /// Takes what is there.
    fn read(&mut self) {
        // Nothing after all: it is waited for again.
        let Ok(read) = self.from.try_read(&mut self.chunk) else { return };
        let kept = &mut self.kept;
        self.lines.feed(&self.chunk[..read], |line| kept.take(line));
    }

    fn write_on(&mut self) {
        if self.kept.bytes.is_empty() || self.writing.is_some() {
            return;
        }
        let Some(mut sink) = self.sink.take() else { return };
        let bytes = std::mem::take(&mut self.kept.bytes);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            sink.write(&bytes);
            sink
        }));
    }
}

impl Waiting {
    fn take(&mut self, line: &[u8]) {
        if self.bytes.len() + line.len() <= WAITING && self.rate.allows(self.clock.now().mono) {
            self.bytes.extend_from_slice(line);
        } else {
            self.dropped += 1;
        }
    }

    /// Says what was dropped, every so often.
    fn tell(&mut self) {
        if self.dropped > self.told && self.clock.now().mono.saturating_sub(self.told_at) >= TELL_EVERY {
            self.tell_all();
        }
    }

    fn tell_all(&mut self) {
        if self.dropped > self.told {
            let text =
                format!("bellrock: {} lines of the orchestrator were dropped: it says more than is kept\n", self.dropped - self.told);
            self.bytes.extend_from_slice(text.as_bytes());
            (self.told, self.told_at) = (self.dropped, self.clock.now().mono);
        }
    }
}
