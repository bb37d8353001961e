//! The drill: real agent and rollback code against the simulated region.
