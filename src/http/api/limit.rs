//! How often a caller may ask: a bucket of requests that fills again with time. *Pure*.

use std::collections::BTreeMap;
use std::time::Duration;

/// Requests a caller may make at once.
const BURST: u32 = 200;
/// Requests a second that come back.
const PER_SECOND: u32 = 50;
/// Callers remembered; the fullest bucket, which is one that has not been used for longest, is forgotten first.
const CALLERS: usize = 1024;

/// Buckets by caller.
#[derive(Debug, Default)]
pub struct Limits {
    buckets: BTreeMap<String, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a request that are left.
    left: u64,
    at: Duration,
}

impl Limits {
    /// Takes a request out of the caller's bucket. `Err`: how long until there is one again.
    pub fn take(&mut self, caller: &str, now: Duration) -> Result<(), Duration> {
        const FULL: u64 = BURST as u64 * 1000;
        if !self.buckets.contains_key(caller) && self.buckets.len() >= CALLERS {
            let oldest = self.buckets.iter().min_by_key(|(_, b)| b.at).map(|(name, _)| name.clone());
            oldest.map(|name| self.buckets.remove(&name));
        }
        let bucket = self.buckets.entry(caller.to_owned()).or_insert(Bucket { left: FULL, at: now });
        let back = now.saturating_sub(bucket.at).as_millis().saturating_mul(u128::from(PER_SECOND));
        bucket.left = bucket.left.saturating_add(u64::try_from(back).unwrap_or(FULL)).min(FULL);
        bucket.at = now;
        match bucket.left.checked_sub(1000) {
            Some(left) => {
                bucket.left = left;
                Ok(())
            }
            None => Err(Duration::from_millis((1000 - bucket.left).div_ceil(u64::from(PER_SECOND)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let mut limits = Limits::default();
        let at = Duration::from_secs(5);
        assert!((0..BURST).all(|_| limits.take("ada", at).is_ok()));
        let wait = limits.take("ada", at).unwrap_err();
        assert!(wait <= Duration::from_secs(1) / PER_SECOND);
        assert!(limits.take("grace", at).is_ok(), "others have their own");
        assert!(limits.take("ada", at + wait).is_ok());
        assert!(limits.take("ada", at + wait).is_err());
        let later = at + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| limits.take("ada", later).is_ok()).count() as u32, PER_SECOND - 1);
    }

    #[test]
    fn many_callers_cost_bounded_memory() {
        let mut limits = Limits::default();
        for n in 0..5000_u64 {
            assert!(limits.take(&n.to_string(), Duration::from_millis(n)).is_ok());
        }
        assert_eq!(limits.buckets.len(), CALLERS);
    }
}
