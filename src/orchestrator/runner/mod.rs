//! The shell round the engine: claims executions, takes them through `advance`, writes, and carries out what they ask for.

pub mod effects;
