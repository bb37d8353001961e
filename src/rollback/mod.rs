//! The rollback: facts, plan, execute, verify. Works when the orchestrator does not.
