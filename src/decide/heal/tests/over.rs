//! What is over, is shared or is only told condemns nobody; what was known once is not cut; what was begun is brought to its end.

use super::*;

impl Fleet {
    /// Looked at so often that no start is missed, with a store that is looked at too.
    fn watched(size: usize) -> Self {
        let mut fleet = Self::of(size);
        fleet.policy.heal.level = Level::Replace;
        fleet.policy.heal.store = Some(rules());
        fleet.policy.activity_every_idle = EVERY;
        fleet.run_s(120);
        fleet
    }

    /// So many starts of each of them that nobody asked for, so many seconds from each to the next.
    fn start_anew(&mut self, times: u32, apart: u64) {
        for _ in 0..times {
            self.members.iter_mut().for_each(|member| member.generation += 1);
            self.run_s(apart);
        }
    }

    fn replacements(&self) -> Vec<&Decision> {
        self.decisions.iter().filter(|d| d.what == "replace").collect()
    }

    fn is_being_replaced(&self, n: usize) -> bool {
        self.members[n].state.durable().drain.as_ref().is_some_and(|d| !matches!(d.progress, Progress::Cancelled { .. }))
    }

    fn deeds(&self, n: usize) -> Vec<&str> {
        self.members[n].deeds.iter().map(|(_, deed)| deed.word()).collect()
    }
}

#[test]
fn a_store_outage_in_which_every_orchestrator_starts_again_and_again_replaces_nobody() {
    for size in [1, 4] {
        let mut fleet = Fleet::watched(size);
        fleet.members.iter_mut().for_each(|member| member.store = silent());
        fleet.start_anew(10, 60);
        fleet.members.iter_mut().for_each(|member| member.store = Probed::Passed);
        fleet.start_anew(1, 60);
        fleet.run_s(2 * 3600);
        assert_eq!(fleet.replacements(), [] as [&Decision; 0], "{size} of them");
        assert_eq!(fleet.word(0), "well");
    }
}

#[test]
fn a_cause_that_the_group_shared_replaces_nobody_once_it_is_over() {
    let mut fleet = Fleet::watched(4);
    fleet.group.instances.iter_mut().for_each(|one| one.health = InstanceHealth::Unhealthy);
    fleet.start_anew(10, 60);
    fleet.group.instances.iter_mut().for_each(|one| one.health = InstanceHealth::Healthy);
    fleet.start_anew(1, 60);
    fleet.run_s(2 * 3600);
    assert_eq!(fleet.replacements(), [] as [&Decision; 0]);
}

#[test]
fn a_crash_loop_counts_for_as_long_as_it_goes_on_and_no_longer() {
    for apart in [60, 300, 700] {
        let mut fleet = Fleet::watched(1);
        fleet.policy.heal.level = Level::Restart;
        fleet.start_anew(5, apart);
        for _ in 0..8 {
            assert_eq!(fleet.held(0).as_deref(), Some("heal_beyond_restart"), "one start in {apart} s");
            fleet.start_anew(1, apart);
        }
        fleet.run_s((2 * apart).max(180) - apart + 60);
        assert_eq!((fleet.held(0), fleet.word(0).as_str()), (None, "well"), "one start in {apart} s");
    }
}
