//! The last bytes of an output that may never end, in two files: the older is thrown away when the newer is full, so they take at most twice what is
//! kept, and what is read back is at least that much, where there was as much.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

/// One output, as far as it is kept.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    keep: u64,
    file: Option<File>,
    written: u64,
}

impl Tail {
    /// Keeps the last `keep` bytes under `path`, beginning anew.
    pub fn new(path: PathBuf, keep: u64) -> Self {
        Self { path, keep, file: None, written: 0 }
    }

    /// The same, after what was written there before.
    pub fn after(path: PathBuf, keep: u64) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(&path)?;
        let written = file.metadata()?.len();
        Ok(Self { path, keep, file: Some(file), written })
    }

    /// Adds to it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.written >= self.keep {
            std::fs::rename(&self.path, older(&self.path))?;
            (self.file, self.written) = (None, 0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path)?),
        };
        self.written += bytes.len() as u64;
        file.write_all(bytes)
    }
}

/// The last bytes of what was written under `path`.
pub fn read(path: &Path, keep: u64) -> io::Result<Vec<u8>> {
    let newer = last(path, keep)?;
    let mut bytes = last(&older(path), keep - newer.len() as u64)?;
    bytes.extend(newer);
    Ok(bytes)
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    PathBuf::from(name)
}

fn last(path: &Path, keep: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let from = file.metadata()?.len().saturating_sub(keep);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(keep).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_the_end_and_takes_at_most_twice_its_room() {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("out");
        let mut tail = Tail::new(path.clone(), 100);
        for number in 0..1000 {
            if number == 500 {
                tail = Tail::after(path.clone(), 100).unwrap();
            }
            tail.write(format!("{number:09}\n").as_bytes()).unwrap();
        }
        let kept = String::from_utf8(read(&path, 100).unwrap()).unwrap();
        assert_eq!((kept.len(), kept.lines().next(), kept.lines().last()), (100, Some("000000990"), Some("000000999")));
        let sizes: u64 = std::fs::read_dir(at.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(sizes <= 220, "{sizes} bytes on disk");
    }
}
