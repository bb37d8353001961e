//! What AWS does to a fleet by itself, before the redeploy: takes instances back, scales in, refreshes, loses a zone.

use std::time::Duration;

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::APPLICATION;
use super::Play;
use super::pick;
use crate::cloud::sim::HookSpec;
use crate::cloud::sim::Incident;
use crate::cloud::sim::Pick;
use crate::cloud::sim::Span;
use crate::cloud::sim::Timed;
use crate::cloud::sim::Transition;
use crate::cloud::sim::WorkSpec;
use crate::decide::OnRebalance;
use crate::model::HookResult;

/// The hook that the agents answer, and one of somebody else's in some plays.
const HOOK: &str = "bellrock-drain";
/// The redeploy comes then; what AWS does comes before.
const DEPLOY_AT: Duration = Duration::from_secs(1500);

fn at(play: &mut Play, at: u64, what: Incident) {
    play.region.incidents.push(Timed { at: Duration::from_secs(at), what });
}

/// Instances are taken back, some of them recommended to be left before.
pub(super) fn spot(play: &mut Play, rng: &mut Pcg64Mcg) {
    play.deploy_at = DEPLOY_AT;
    play.policy.metadata_every = Duration::from_secs(5);
    play.policy.on_rebalance = pick(rng, &[OnRebalance::Note, OnRebalance::CloseIntake]);
    for cluster in play.clusters.clone() {
        let members = cluster.old.desired.unwrap_or_default() as usize;
        for nth in (0..members).filter(|_| rng.random_bool(0.5)).collect::<Vec<_>>() {
            let on = || Pick::Nth { group: cluster.old.name.clone(), nth };
            let time = rng.random_range(60..1200);
            if rng.random_bool(0.5) {
                at(play, time, Incident::RebalanceRecommendation(on()));
            }
            if rng.random_bool(0.9) {
                at(play, time + rng.random_range(5..180), Incident::Spot(on()));
            }
        }
    }
}

/// A policy scales the group in while it is busy; AWS picks who goes and waits for the hook.
pub(super) fn scale_in(play: &mut Play, rng: &mut Pcg64Mcg) {
    play.deploy_at = DEPLOY_AT;
    hooked(play, rng);
    play.policy.protect = rng.random_bool(0.5);
    let old = &mut play.region.groups[0];
    old.min = 1;
    let (group, most) = (old.name.clone(), old.desired.unwrap_or_default());
    let time = rng.random_range(60..600);
    at(play, time, Incident::Alarm { group: group.clone(), desired: rng.random_range(1..most) });
    at(play, time + 300, Incident::AlarmOver(group));
    // The new group is busy for a while too.
    let work = WorkSpec {
        queue: play.clusters[0].name.clone(),
        application: APPLICATION.to_owned(),
        count: 8,
        length: Span::between(60, 200),
        over: Duration::from_secs(60),
    };
    at(play, DEPLOY_AT.as_secs() + 300, Incident::Work(work));
}

/// Somebody starts an instance refresh of the busy group.
pub(super) fn refresh(play: &mut Play, rng: &mut Pcg64Mcg) {
    hooked(play, rng);
    for timed in &mut play.region.incidents {
        if let Incident::Work(work) = &mut timed.what {
            work.length = Span::between(30, 300);
        }
    }
    let group = play.clusters[0].old.name.clone();
    at(play, rng.random_range(60..300), Incident::Refresh(group));
    // Each of four is waited for, and its replacement boots.
    play.deploy_at = Duration::from_secs(4500);
    play.limit = Duration::from_secs(3 * 3600);
}

/// All machines of a zone die at once.
pub(super) fn az_outage(play: &mut Play, rng: &mut Pcg64Mcg) {
    play.deploy_at = DEPLOY_AT;
    let time = rng.random_range(20..120);
    let first = rng.random_range(0..2);
    for cluster in play.clusters.clone() {
        // Settled members take the two zones in turn.
        for nth in (first..cluster.old.desired.unwrap_or_default() as usize).step_by(2) {
            at(play, time, Incident::Kill(Pick::Nth { group: cluster.old.name.clone(), nth }));
        }
    }
}

/// Every group has the agents' hook, which AWS would not wait for long without heartbeats.
fn hooked(play: &mut Play, rng: &mut Pcg64Mcg) {
    play.policy.hooks.terminating = Some(HOOK.to_owned());
    let heartbeat_s = pick(rng, &[30, 60, 300]);
    let hook = HookSpec { name: HOOK.to_owned(), transition: Transition::Terminating, heartbeat_s, default_result: HookResult::Continue };
    let clusters = play.clusters.iter_mut().flat_map(|cluster| [&mut cluster.old, &mut cluster.new]);
    for group in clusters.chain(&mut play.region.groups) {
        group.hooks = vec![hook.clone()];
    }
}
