//! An orchestrator that something else runs: looked at and switched over HTTP, Redis or commands.
