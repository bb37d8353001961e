//! What one expression, and one pass over a context, may cost at most. A pipeline's author is trusted with its stages, not with this process.

/// Characters of one expression. Orca's own default.
pub const SOURCE_CHARS: usize = 10_000;

/// Levels of nesting in one expression. Parsing and evaluation recurse: 64 levels fit the smallest stack we run on, 2 MiB, in a debug build.
pub const DEPTH: u32 = 64;

/// Steps of one expression: nodes evaluated, elements visited, and what searching and reading text is worth in them. They take a quarter of a second in a
/// debug build on a busy machine.
pub const STEPS: u64 = 500_000;

/// Bytes that one expression may make: its result and everything on the way. Above the largest context we accept (10 MB).
pub const BYTES: u64 = 16 << 20;

/// Steps of one pass over a context, all expressions together.
pub const PASS_STEPS: u64 = 10 * STEPS;

/// Bytes of one pass over a context, all expressions together.
pub const PASS_BYTES: u64 = 4 * BYTES;

/// Size of a compiled regular expression, bytes. `\w{1000}` alone would take more.
pub const PATTERN_BYTES: usize = 1 << 18;

/// Pages one pass may ask for. More is a loop, not a pipeline.
pub const NEEDS: usize = 16;

/// Entries of a summary; what goes beyond is counted. The summary is stored with the stage.
pub const SUMMARY_ENTRIES: usize = 500;

/// Bytes of a name or a reason that is quoted in an error.
pub const QUOTE: usize = 200;

/// Levels of a context that are looked into. JSON that was read from outside has at most 128.
pub const CONTEXT_DEPTH: usize = 256;
