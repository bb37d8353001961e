//! Output as lines of bounded length, at a bounded rate.

use std::time::Duration;

/// What is kept of one line, in bytes: below the 48 KiB at which the journal cuts.
const LONGEST: usize = 16 << 10;
/// So many seconds' worth may come at once: a program says much while it starts.
const BURST_S: u32 = 10;

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    cut: usize,
}

impl Lines {
    /// Hands out each line that ends in these bytes, with its line break.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end]);
            self.end(&mut each);
            bytes = &bytes[end + 1..];
        }
        self.take(bytes);
    }

    /// Hands out a last line that has no end.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            self.end(&mut each);
        }
    }

    fn take(&mut self, part: &[u8]) {
        let room = LONGEST.saturating_sub(self.line.len()).min(part.len());
        self.line.extend_from_slice(&part[..room]);
        self.cut += part.len() - room;
    }

    fn end(&mut self, each: &mut impl FnMut(&[u8])) {
        if self.cut > 0 {
            self.line.extend_from_slice(format!(" … and {} bytes more", self.cut).as_bytes());
        }
        self.line.push(b'\n');
        each(&self.line);
        self.line.clear();
        self.cut = 0;
    }
}

/// So many lines a second.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    /// In thousandths of a line.
    room: u64,
    last: Duration,
}

impl Rate {
    pub(super) fn new(per_second: u32, now: Duration) -> Self {
        Self { per_second, room: Self::most(per_second), last: now }
    }

    /// Whether there is room for one more line at this time.
    pub(super) fn allows(&mut self, now: Duration) -> bool {
        let passed = u64::try_from(now.saturating_sub(self.last).as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            self.last = now;
            self.room = self.room.saturating_add(passed.saturating_mul(self.per_second.into())).min(Self::most(self.per_second));
        }
        let allowed = self.room >= 1000;
        self.room -= if allowed { 1000 } else { 0 };
        allowed
    }

    fn most(per_second: u32) -> u64 {
        u64::from(per_second) * u64::from(BURST_S) * 1000
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for part in parts {
            lines.feed(part, |line| all.push(line.to_vec()));
        }
        lines.finish(|line| all.push(line.to_vec()));
        all
    }

    #[test]
    fn a_line_without_end_is_cut_and_what_is_gone_is_counted() {
        let long = vec![b'x'; 100_000];
        let lines = cut(&[&long, &long, b"\nshort"]);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].len() < LONGEST + 100, "{}", lines[0].len());
        let tail = format!(" … and {} bytes more\n", 200_000 - LONGEST);
        assert!(lines[0].ends_with(tail.as_bytes()));
        assert_eq!(lines[1], b"short\n");
    }

    #[test]
    fn a_flood_is_cut_to_the_rate_and_a_quiet_time_gives_the_burst_back() {
        let mut rate = Rate::new(200, Duration::ZERO);
        let mut second = |from: u64, lines: u64| (0..lines).filter(|i| rate.allows(Duration::from_millis(from + i * 1000 / lines))).count();
        assert!((2000..=2200).contains(&second(0, 10_000)));
        assert!((199..=201).contains(&second(1000, 10_000)));
        assert_eq!(second(60_000, 1500), 1500);
    }

    proptest! {
        #[test]
        fn where_it_is_broken_does_not_matter(bytes in prop::collection::vec(prop::sample::select(vec![b'a', b'\n', 0, 0xff]), 0..200), at in 0usize..200) {
            let at = at.min(bytes.len());
            let whole = cut(&[&bytes]);
            prop_assert_eq!(cut(&[&bytes[..at], &bytes[at..]]), whole.clone());
            let mut expected = bytes.clone();
            if expected.last().is_some_and(|last| *last != b'\n') {
                expected.push(b'\n');
            }
            prop_assert_eq!(whole.concat(), expected);
        }
    }
}
