//! Counts what an evaluation costs, and stops it. See [`limit`].

use std::cell::Cell;

use super::error::Problem;
use super::limit;

/// What is left.
#[derive(Debug)]
pub struct Budget {
    steps: Cell<u64>,
    bytes: Cell<u64>,
}

impl Budget {
    /// For one pass over a context.
    pub fn for_pass() -> Self {
        Self { steps: Cell::new(limit::PASS_STEPS), bytes: Cell::new(limit::PASS_BYTES) }
    }

    /// Runs one expression on its share, and takes what it used out of what the pass has.
    pub fn lend<T>(&self, run: impl FnOnce(&Self) -> T) -> T {
        let (steps, bytes) = (self.steps.get().min(limit::STEPS), self.bytes.get().min(limit::BYTES));
        let share = Self { steps: Cell::new(steps), bytes: Cell::new(bytes) };
        let answer = run(&share);
        self.steps.set(self.steps.get() - (steps - share.steps.get()));
        self.bytes.set(self.bytes.get() - (bytes - share.bytes.get()));
        answer
    }

    /// Work of `n` steps.
    pub fn work(&self, n: usize) -> Result<(), Problem> {
        take(&self.steps, n).ok_or(Problem::TooMuchWork)
    }

    /// Room for `n` bytes that are about to be made.
    pub fn room(&self, n: usize) -> Result<(), Problem> {
        take(&self.bytes, n).ok_or(Problem::TooLarge)
    }
}

fn take(left: &Cell<u64>, n: usize) -> Option<()> {
    let rest = left.get().checked_sub(u64::try_from(n).ok()?)?;
    left.set(rest);
    Some(())
}
