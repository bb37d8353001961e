//! Numbers that look random and are a function of a text: the same on every instance and after every restart. No secret depends on them.

/// A number of this text; FNV-1a, stirred so that neighbouring texts are far apart.
pub fn of(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let once = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    twice ^ (twice >> 31)
}

/// A number in `[min, max]` of this seed; `min` when they are the wrong way round.
pub fn within(seed: u64, min: u64, max: u64) -> u64 {
    let span = u128::from(max.saturating_sub(min)) + 1;
    min + u64::try_from(u128::from(seed) % span).expect("a remainder of at most 2^64 is below it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_for_ever_and_neighbours_are_far_apart() {
        assert_eq!(of("trigger-1"), of("trigger-1"));
        let minutes: std::collections::BTreeSet<u64> = (0..200).map(|n| within(of(&format!("trigger-{n}")), 0, 59)).collect();
        assert!(minutes.len() > 50, "{minutes:?}");
        assert_eq!((within(u64::MAX, 0, u64::MAX), within(7, 3, 3), within(7, 5, 3)), (u64::MAX, 3, 5));
    }
}
