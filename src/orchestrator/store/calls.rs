//! The calls of a [`Store`](super::Store) as a list, for those that stand before one and pass on what they do not change.

/// Hands `$run` what it was given in braces, then the calls in groups: of ownership, of definitions, all others. `wait`, which has no answer, is in none.
macro_rules! calls {
    ($run:ident { $($with:tt)* }) => {
        $run! {
            { $($with)* }
            ownership {
                claim(session: &$crate::orchestrator::store::Session, max: usize)
                    -> Result<Vec<$crate::orchestrator::store::Claimed>, $crate::orchestrator::store::StoreError>;
                claim_one(session: &$crate::orchestrator::store::Session, id: &$crate::orchestrator::engine::execution::ExecutionId)
                    -> Result<Option<$crate::orchestrator::store::Claimed>, $crate::orchestrator::store::StoreError>;
                write(write: $crate::orchestrator::store::Write) -> Result<(), $crate::orchestrator::store::WriteError>;
                create(new: $crate::orchestrator::store::NewExecution)
                    -> Result<$crate::orchestrator::store::Created, $crate::orchestrator::store::StoreError>;
                end_session(session: &$crate::orchestrator::store::Session) -> Result<(), $crate::orchestrator::store::StoreError>;
            }
            definitions {
                save_definition(definition: $crate::orchestrator::store::DefinitionVersion, expected: Option<u64>)
                    -> Result<$crate::orchestrator::store::DefinitionVersion, $crate::orchestrator::store::SaveError>;
                definition(id: &str, version: Option<u64>)
                    -> Result<Option<$crate::orchestrator::store::DefinitionVersion>, $crate::orchestrator::store::StoreError>;
                definition_named(application: &str, name: &str)
                    -> Result<Option<$crate::orchestrator::store::DefinitionVersion>, $crate::orchestrator::store::StoreError>;
                definitions(application: Option<&str>, after: Option<&str>, limit: usize)
                    -> Result<Vec<$crate::orchestrator::store::DefinitionVersion>, $crate::orchestrator::store::StoreError>;
                definition_history(id: &str, limit: usize)
                    -> Result<Vec<$crate::orchestrator::store::DefinitionVersion>, $crate::orchestrator::store::StoreError>;
                mark(name: &str) -> Result<Option<String>, $crate::orchestrator::store::StoreError>;
            }
            others {
                now() -> Result<$crate::model::Timestamp, $crate::orchestrator::store::StoreError>;
                beat(session: &$crate::orchestrator::store::Session, lease: std::time::Duration)
                    -> Result<bool, $crate::orchestrator::store::StoreError>;
                inbox(lease: &$crate::orchestrator::store::Lease, after: u64)
                    -> Result<Vec<(u64, $crate::orchestrator::engine::event::Message)>, $crate::orchestrator::store::StoreError>;
                post(id: &$crate::orchestrator::engine::execution::ExecutionId, message: &$crate::orchestrator::engine::event::Message)
                    -> Result<bool, $crate::orchestrator::store::StoreError>;
                admit(lease: &$crate::orchestrator::store::Lease, pipeline_config_id: &str, limit: u32)
                    -> Result<$crate::orchestrator::store::Admission, $crate::orchestrator::store::StoreError>;
                start_waiting(pipeline_config_id: &str, limit: u32, keep: bool) -> Result<(), $crate::orchestrator::store::StoreError>;
                owned(
                    session: &$crate::orchestrator::store::Session,
                    after: Option<&$crate::orchestrator::engine::execution::ExecutionId>,
                    limit: usize
                ) -> Result<Vec<$crate::orchestrator::engine::execution::ExecutionId>, $crate::orchestrator::store::StoreError>;
                with_messages(session: &$crate::orchestrator::store::Session)
                    -> Result<Vec<$crate::orchestrator::engine::execution::ExecutionId>, $crate::orchestrator::store::StoreError>;
                next_due() -> Result<Option<$crate::model::Timestamp>, $crate::orchestrator::store::StoreError>;
                load(id: &$crate::orchestrator::engine::execution::ExecutionId)
                    -> Result<Option<$crate::orchestrator::store::Record>, $crate::orchestrator::store::StoreError>;
                show(id: &$crate::orchestrator::engine::execution::ExecutionId)
                    -> Result<Option<$crate::orchestrator::store::Record>, $crate::orchestrator::store::StoreError>;
                list(query: &$crate::orchestrator::store::Query)
                    -> Result<Vec<$crate::orchestrator::store::Listing>, $crate::orchestrator::store::StoreError>;
                active_by_instance() -> Result<Vec<$crate::orchestrator::store::InstanceActivity>, $crate::orchestrator::store::StoreError>;
                remove(id: &$crate::orchestrator::engine::execution::ExecutionId) -> Result<bool, $crate::orchestrator::store::StoreError>;
                expire(retention: $crate::orchestrator::store::Retention) -> Result<usize, $crate::orchestrator::store::StoreError>;
                take_role(role: &str, session: &$crate::orchestrator::store::Session, lease: std::time::Duration)
                    -> Result<bool, $crate::orchestrator::store::StoreError>;
                set_mark(name: &str, text: &str) -> Result<(), $crate::orchestrator::store::StoreError>;
                outbox(max: usize, lease: std::time::Duration)
                    -> Result<Vec<$crate::orchestrator::store::Outgoing>, $crate::orchestrator::store::StoreError>;
                outbox_done(id: &str) -> Result<(), $crate::orchestrator::store::StoreError>;
                outbox_again(id: &str, at: $crate::model::Timestamp) -> Result<(), $crate::orchestrator::store::StoreError>;
            }
        }
    };
}

pub(crate) use calls;
