//! How full a disk is.
//!
//! What must stay true: whoever calls it bounds it, since a mount whose server is gone can hold a caller for ever.

use std::path::Path;

/// Space on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What an ordinary user may still take.
    pub free_bytes: u64,
    /// All there is.
    pub size_bytes: u64,
}

/// Space on the disk that this path is on; `None` when there is no such path, or none that the kernel knows of.
pub fn space(path: &Path) -> Option<Space> {
    let of = rustix::fs::statvfs(path).ok()?;
    Some(Space { free_bytes: of.f_bavail.saturating_mul(of.f_frsize), size_bytes: of.f_blocks.saturating_mul(of.f_frsize) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_a_size_and_a_path_that_is_not_there_has_none() {
        let space = space(Path::new("/")).unwrap();
        assert!(space.size_bytes > 0 && space.free_bytes <= space.size_bytes, "{space:?}");
        assert_eq!(super::space(Path::new("/no/such/place")), None);
    }
}
