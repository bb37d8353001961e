//! Configuration: what was written becomes what is meant.
