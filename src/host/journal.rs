//! Whether what is written to standard error reaches systemd's journal.

use std::io;

/// `JOURNAL_STREAM` names the stream that systemd connected, by device and inode (systemd.exec(5)); whoever redirected standard error since has another.
pub fn is_stderr(journal_stream: Option<&str>) -> bool {
    let Some((device, inode)) = journal_stream.and_then(|stream| stream.split_once(':')) else { return false };
    let is = rustix::fs::fstat(io::stderr()).map(|stat| (stat.st_dev.to_string(), stat.st_ino.to_string()));
    is.is_ok_and(|(is_device, is_inode)| device == is_device && inode == is_inode)
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
}
