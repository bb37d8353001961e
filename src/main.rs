//! Parses, sets up logs, calls the command, turns its result into an exit code.

fn main() {}
