//! The engine as a whole, on small stage types whose outcomes the tests choose.

mod control;
mod cost;
mod expressions;
mod failure;
mod graph;
mod harness;
mod simulation;
mod start;
mod time;
