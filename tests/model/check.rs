//! What is asked of the checker, whichever the model.

use std::fmt::Debug;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use stateright::Checker;
use stateright::HasDiscoveries;
use stateright::Model;

/// Visits every state: a property that is kept is never found out, so the checker ends with the last state, and [`Checker::is_done`] says so.
/// Nothing that is promised may be broken, and all that should be possible has to be.
pub fn holds<M>(what: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!("{what}: {} states, {} transitions, depth {}", checker.unique_state_count(), checker.state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.is_done());
}

/// Without its guard a promise is broken, and the checker finds out how.
pub fn breaks<M>(promise: &'static str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AllOf([promise].into())).spawn_bfs().join();
    println!("{promise}: {} states", checker.unique_state_count());
    let path = checker.assert_any_discovery(promise);
    if std::env::vars_os().any(|(name, _)| name == "BELLROCK_MODEL_PATH") {
        for (state, event) in path.into_vec() {
            println!("{state:?}\n    {event:?}");
        }
    }
}

/// What a state counts as.
pub fn number(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
