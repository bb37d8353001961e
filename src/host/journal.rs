//! Systemd's journal: whether standard error goes there, and entries with fields, as its native protocol has them.
//!
//! What must stay true: a journal that stands still holds nobody up. An entry waits once, for moments; while none gets through, none waits, and what was
//! lost is counted and told with the first that does.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where journald listens (systemd-journald.service(8)).
const SOCKET: &str = "/run/systemd/journal/socket";
/// For which an entry waits while the journal reads. It reads hundreds in that time, and a burst of ours is tens.
const PATIENCE: Duration = Duration::from_millis(200);
/// Of one field, in bytes: the journal cuts lines at 48 KiB, and an entry has to fit a datagram, of 208 KiB.
const LONGEST: usize = 16 << 10;
/// Of a field's name, in bytes: the journal drops what has a longer one.
const LONGEST_NAME: usize = 64;

/// `JOURNAL_STREAM` names the stream that systemd connected, by device and inode (systemd.exec(5)); whoever redirected standard error since has another.
pub fn is_stderr(journal_stream: Option<&str>) -> bool {
    let Some((device, inode)) = journal_stream.and_then(|stream| stream.split_once(':')) else { return false };
    let is = rustix::fs::fstat(io::stderr()).map(|stat| (stat.st_dev.to_string(), stat.st_ino.to_string()));
    is.is_ok_and(|(is_device, is_inode)| device == is_device && inode == is_inode)
}

/// Takes entries.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    lost: AtomicU64,
}

impl Journal {
    /// Connects to the journal of this host.
    pub fn open() -> io::Result<Self> {
        Self::open_at(SOCKET)
    }

    fn open_at(path: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, path: path.into(), lost: AtomicU64::new(0) })
    }

    /// Sends an entry. One that the journal does not take is lost.
    pub fn send(&self, entry: &Entry) {
        // Whoever takes the count tells it, and nobody else.
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let sent = if lost == 0 {
            self.socket.send(&entry.0)
        } else {
            let mut telling = Entry::default();
            telling.add("MESSAGE", &format!("{lost} entries before this one were lost: the journal did not take them"));
            telling.add("PRIORITY", "4");
            self.socket.send(&telling.0).and_then(|_| self.socket.send(&entry.0))
        };
        match sent {
            Ok(_) if lost == 0 => {}
            Ok(_) => {
                let _ = self.socket.set_nonblocking(false);
            }
            Err(error) => {
                self.lost.fetch_add(lost + 1, Ordering::Relaxed);
                // Its socket was made anew.
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected) {
                    let _ = self.socket.connect(&self.path);
                }
                let _ = self.socket.set_nonblocking(true);
            }
        }
    }
}

/// An entry as it is sent.
#[derive(Debug, Default)]
pub struct Entry(Vec<u8>);

impl Entry {
    /// Adds a field; its name becomes one as the journal takes them: capitals, digits and underscores, none of these first. Each is cut to 16 KiB.
    pub fn add(&mut self, name: &str, value: &str) {
        let capitals = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
        let name: String = capitals.skip_while(|c| !c.is_ascii_uppercase()).take(LONGEST_NAME).collect();
        if name.is_empty() {
            return;
        }
        let value = &value[..value.floor_char_boundary(LONGEST)];
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_systemd_named_is_the_journal() {
        let own = rustix::fs::fstat(io::stderr()).unwrap();
        assert!(is_stderr(Some(&format!("{}:{}", own.st_dev, own.st_ino))));
        for other in [None, Some(""), Some("1"), Some("0:0"), Some("a:b")] {
            assert!(!is_stderr(other), "{other:?}");
        }
    }

    #[test]
    fn fields_have_names_and_lengths_that_the_journal_takes() {
        let mut entry = Entry::default();
        entry.add("MESSAGE", "one line");
        entry.add("_wait.s", "two\nlines");
        entry.add("7", "no name");
        assert_eq!(entry.0, b"MESSAGE=one line\nWAIT_S\n\x09\0\0\0\0\0\0\0two\nlines\n");
        let mut long = Entry::default();
        long.add(&"n".repeat(100), &"\u{e9}".repeat(LONGEST));
        assert_eq!(long.0.len(), LONGEST_NAME + 1 + LONGEST + 1);
    }

    #[test]
    fn a_journal_that_stands_still_holds_nobody_up_and_what_was_lost_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("socket");
        let reader = UnixDatagram::bind(&at).unwrap();
        let journal = Journal::open_at(at.to_str().unwrap()).unwrap();
        let said = |text: &str| {
            let mut entry = Entry::default();
            entry.add("MESSAGE", text);
            entry
        };
        // Far more than fit; one waits, and were each to wait this would be minutes.
        for _ in 0..5000 {
            journal.send(&said("a line"));
        }
        let lost = journal.lost.load(Ordering::Relaxed);
        assert!(lost > 0);
        let mut buffer = [0; 256];
        let mut read = || reader.recv(&mut buffer).map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned());
        for _ in 0..5000 - lost {
            assert_eq!(read().unwrap(), "MESSAGE=a line\n");
        }
        journal.send(&said("again"));
        assert_eq!(
            read().unwrap(),
            format!("MESSAGE={lost} entries before this one were lost: the journal did not take them\nPRIORITY=4\n")
        );
        assert_eq!((read().unwrap().as_str(), journal.lost.load(Ordering::Relaxed)), ("MESSAGE=again\n", 0));
    }
}
