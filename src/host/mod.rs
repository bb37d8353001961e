//! This machine: its clock, its service manager, its signals.

pub mod clock;
