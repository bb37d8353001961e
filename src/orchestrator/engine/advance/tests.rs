//! The engine as a whole, on small stage types whose outcomes the tests choose.

mod graph;
mod harness;
mod simulation;
