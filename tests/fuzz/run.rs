//! Feeds a parser, and holds it to its promises.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;

use super::MEMORY;
use super::mutate;

/// Inputs of all parsers together where nothing else is asked for: half a minute in a debug build.
const USUAL: u64 = 100_000;
/// What the shares of all parsers add up to.
const SHARES: u64 = 2_962;
/// Bytes of a broken input that are shown.
const SHOWN: usize = 2_000;

/// Memory is counted for the whole process, so parsers are fed one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The most memory that an input may take beyond what was taken before it, at any moment.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Bytes, whatever its length.
    pub base: usize,
    /// Bytes for each of its own.
    pub per_byte: usize,
}

/// A parser.
pub struct Target<'a> {
    /// For people.
    pub name: &'static str,
    /// Valid inputs.
    pub seeds: &'a [&'a str],
    /// Its part of all inputs, by what one costs.
    pub share: u64,
    /// Its promise.
    pub bound: Bound,
}

/// Feeds it. `parse` says whether it made sense of the input: one that never or always does is not tried at all.
pub fn fuzz(target: Target<'_>, mut parse: impl FnMut(&[u8]) -> bool) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Target { name, seeds, share, bound } = target;
    let (inputs, first) = (setting("BELLROCK_FUZZ").unwrap_or(USUAL), setting("BELLROCK_FUZZ_SEED").unwrap_or(1));
    let (inputs, traces) = ((inputs * share).div_ceil(SHARES), setting("BELLROCK_FUZZ_TRACE").is_some());
    let clock = SystemClock::start();
    let (mut bytes, mut most, mut worst) = (0usize, 0usize, 0.0f64);
    let (mut understood, mut slowest) = (0u64, Duration::ZERO);
    for seed in (first..).take(usize::try_from(inputs).unwrap()) {
        let input = mutate::input(seeds, seed);
        if traces {
            eprintln!("{name}: seed {seed}, {} bytes", input.len());
        }
        bytes += input.len();
        let began = clock.now().mono;
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let fed = catch_unwind(AssertUnwindSafe(|| parse(&input)));
        let taken = MEMORY.peak_usage().saturating_sub(before);
        let allowed = bound.base + bound.per_byte * input.len();
        slowest = slowest.max(clock.now().mono - began);
        let Ok(makes_sense) = fed else { panic!("{name} panics on seed {seed}:\n{}", shown(&input)) };
        understood += u64::from(makes_sense);
        assert!(taken <= allowed, "{name} takes {taken} bytes for {} of seed {seed}; allowed: {allowed}\n{}", input.len(), shown(&input));
        most = most.max(taken);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let share = taken as f64 / allowed as f64;
        worst = worst.max(share);
    }
    let took = clock.now().mono.as_secs_f32();
    println!(
        "{name}: {inputs} inputs, {understood} understood, {} KiB, seeds {first}..{}, {took:.1} s, slowest {} ms; at most {} KiB of memory, {:.0} % of {} KiB + {} times the length",
        bytes >> 10,
        first + inputs,
        slowest.as_millis(),
        most >> 10,
        100.0 * worst,
        bound.base >> 10,
        bound.per_byte
    );
    assert!(understood * 100 >= inputs, "{name}: of {inputs} inputs only {understood} made sense, so what comes after that was not tried");
    assert!(inputs < 100 || understood < inputs, "{name}: every input made sense, so refusing was not tried");
}

#[expect(clippy::disallowed_methods, reason = "a test has no main to hand it the environment")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, no number")))
}

fn shown(input: &[u8]) -> String {
    let cut = if input.len() > SHOWN { format!(" … ({} bytes)", input.len()) } else { String::new() };
    format!("{}{cut}", input[..input.len().min(SHOWN)].escape_ascii())
}
