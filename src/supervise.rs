//! Spawned tasks: each has a name and a policy.
