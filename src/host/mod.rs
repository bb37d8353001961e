//! This machine: its clock, its boot, its processes and what they share with us, its service manager, its signals.

pub mod boot;
pub mod clock;
pub mod command;
pub mod disk;
pub mod family;
pub mod folder;
pub mod journal;
pub mod notify;
pub mod process;
pub mod signals;
pub mod tail;
pub mod vitals;
