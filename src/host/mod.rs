//! This machine: its clock, its boot, its processes, its service manager, its signals.

pub mod boot;
pub mod clock;
pub mod command;
pub mod notify;
pub mod process;
pub mod signals;
