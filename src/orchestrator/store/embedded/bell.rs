//! Tells other processes that use the file of news at once, where SQLite only lets them look: whoever commits news touches the file, and the kernel
//! tells those that watch it (inotify).
//!
//! What must stay true: a ring that is lost costs time and nothing else, since whoever waits looks by himself too. The file is never opened for it:
//! closing it again would take SQLite's locks away from the whole process.

use std::path::Path;

use futures::StreamExt;
use inotify::EventStream;
use inotify::Inotify;
use inotify::WatchMask;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::UTIME_NOW;
use tokio::sync::Mutex;
use tracing::debug;

/// Room for some thirty events, names apart; equal ones in a row are one.
const EVENTS_BYTES: usize = 1024;

/// Rings of one file. Of several who listen one hears a ring.
pub(super) struct Bell(Mutex<EventStream<[u8; EVENTS_BYTES]>>);

impl Bell {
    /// `None` where the kernel gives no watch, as when all of the user's are taken.
    pub(super) fn hang(path: &Path) -> Option<Self> {
        let watch = || {
            let inotify = Inotify::init()?;
            inotify.watches().add(path, WatchMask::ATTRIB)?;
            inotify.into_event_stream([0; EVENTS_BYTES])
        };
        let hung = watch().inspect_err(|error| debug!(%error, file = %path.display(), "no watch; other processes' news are looked for"));
        hung.ok().map(|events| Self(Mutex::new(events)))
    }

    /// Returns after a ring, ours or another's, and at once when there was one since the last return.
    pub(super) async fn heard(&self) {
        if !matches!(self.0.lock().await.next().await, Some(Ok(_))) {
            std::future::pending::<()>().await;
        }
    }
}

/// Rings for all that watch the file.
pub(super) fn ring(path: &Path) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    // Both: to set one of them is no change of attributes.
    let times = Timestamps { last_access: now, last_modification: now };
    if let Err(error) = rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()) {
        debug!(%error, file = %path.display(), "others are not told of news; they will see them");
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_ring_is_heard_once_and_silence_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let bell = Bell::hang(&path).unwrap();
        assert!(bell.heard().now_or_never().is_none());
        for _ in 0..3 {
            ring(&path);
        }
        bell.heard().await;
        assert!(bell.heard().now_or_never().is_none(), "all rings up to then were heard");
        assert!(Bell::hang(&folder.path().join("none")).is_none());
    }
}
