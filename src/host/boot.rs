//! Which boot of this machine is it: monotonic times and pids mean nothing in another one (F43).

use std::io;

/// The kernel's random id of this boot.
pub fn id() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let id = text.trim();
    if id.is_empty() { Err(io::Error::new(io::ErrorKind::InvalidData, "the boot id is empty")) } else { Ok(id.to_owned()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_boot_has_one_id() {
        let id = super::id().unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(id, super::id().unwrap());
    }
}
