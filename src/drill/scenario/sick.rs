//! Plays of sick orchestrators: one by itself, a fleet that shares a cause, a store that does not answer, a host whose disk is full. Each ends with a redeploy, which is to find
//! everything as it should be.

use std::time::Duration;

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::APPLICATION;
use super::Play;
use super::pick;
use crate::cloud::sim::Incident;
use crate::cloud::sim::Pick;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::Span;
use crate::cloud::sim::Timed;
use crate::cloud::sim::WorkSpec;
use crate::decide::heal::HealPolicy;
use crate::decide::heal::Level;
use crate::decide::heal::ProbeRules;
use crate::model::InstanceHealth;
use crate::model::Process;

/// The redeploy begins then: long after the last sickness.
const DEPLOY_AT: Duration = Duration::from_secs(3900);

/// What is sick, for the agents' probes and for the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sickness {
    /// A cause that all share, and that agents can see: from, until.
    pub shared: Option<(SimTime, SimTime)>,
    /// The store does not answer then.
    pub store: bool,
    /// Which of the first cluster's old instances has a full disk, and from when on.
    pub full: Option<(usize, SimTime)>,
}

impl Sickness {
    /// Of orchestrators that hang, by themselves.
    const LONE: Self = Self { shared: None, store: false, full: None };
}

impl Sickness {
    /// Whether the store answers at this time.
    pub fn store_answers(&self, now: SimTime) -> bool {
        !self.store || self.shared.is_none_or(|(from, until)| !(from..until).contains(&now))
    }
}

/// Some hang until they are restarted, perhaps at the same time; one perhaps for a while, whatever is done.
pub fn orchestrator(play: &mut Play, rng: &mut Pcg64Mcg) {
    watched(play, rng);
    let members = members(play);
    let first = rng.random_range(300..900);
    for n in 0..rng.random_range(1..=2) {
        let at = if rng.random_bool(0.5) { first } else { first + n * 600 };
        strike(play, at, Incident::Deadlock, usize::try_from(n).unwrap_or_default());
    }
    if rng.random_bool(0.4) {
        let length = Span::secs(rng.random_range(900..2400));
        strike(play, rng.random_range(300..900), |on| Incident::HangOrchestrator { on, r#for: length }, members - 1);
    }
    play.crash_every = pick(rng, &[None, None, Some(Duration::from_secs(900))]);
    play.sickness = Some(Sickness::LONE);
    lend(play, rng);
}

/// All hang, whatever is done. In some plays checks mark them, and Auto Scaling is not to replace them by itself; in the others nobody sees that all do.
pub fn fleet(play: &mut Play, rng: &mut Pcg64Mcg) {
    watched(play, rng);
    let (from, length) = (rng.random_range(300..900), rng.random_range(1500..2700));
    let marked = rng.random_bool(0.5);
    for n in 0..members(play) {
        strike(play, from, |on| Incident::HangOrchestrator { on, r#for: Span::secs(length) }, n);
        if marked {
            // At once, so that no read of the group can show them well when three probes have failed.
            strike(play, from, |on| Incident::Mark { on, health: InstanceHealth::Unhealthy }, n);
            strike(play, from + length, |on| Incident::Mark { on, health: InstanceHealth::Healthy }, n);
        }
    }
    if marked {
        let name = play.clusters[0].old.name.clone();
        play.region.groups.iter_mut().filter(|g| g.name == name).for_each(|g| g.suspended.push(Process::ReplaceUnhealthy));
        // Nothing but what the group shows keeps them from replacing one another.
        play.policy.heal.trust_ec2_checks = true;
        play.policy.heal.end_unproven = true;
    }
    let shared = marked.then(|| (Duration::from_secs(from), Duration::from_secs(from + length)));
    play.sickness = Some(Sickness { shared, ..Sickness::LONE });
    lend(play, rng);
}

/// The store does not answer for a while, and so no orchestrator does.
pub fn store(play: &mut Play, rng: &mut Pcg64Mcg) {
    watched(play, rng);
    let (from, length) = (rng.random_range(300..900), rng.random_range(300..2700));
    for n in 0..members(play) {
        strike(play, from, |on| Incident::HangOrchestrator { on, r#for: Span::secs(length) }, n);
    }
    (play.policy.heal.trust_ec2_checks, play.policy.heal.end_unproven) = (true, true);
    let shared = Some((Duration::from_secs(from), Duration::from_secs(from + length)));
    play.sickness = Some(Sickness { shared, store: true, ..Sickness::LONE });
    lend(play, rng);
}

/// The disk of one is full, which no restart mends; all the others are well.
pub fn host(play: &mut Play, rng: &mut Pcg64Mcg) {
    watched(play, rng);
    // A replacement waits for what is under way, the longest of which takes twenty minutes.
    play.deploy_at = DEPLOY_AT * 2;
    play.policy.heal.limits.disk_free_percent = Some(3);
    play.policy.heal.trust_ec2_checks = true;
    let full = (rng.random_range(0..members(play)), Duration::from_secs(rng.random_range(300..1500)));
    play.crash_every = pick(rng, &[None, None, Some(Duration::from_secs(900))]);
    play.sickness = Some(Sickness { full: Some(full), ..Sickness::LONE });
    lend(play, rng);
}

/// In most plays there is a book of permits; in the others turns are all there is.
fn lend(play: &mut Play, rng: &mut Pcg64Mcg) {
    play.permits = rng.random_bool(0.7);
    play.policy.heal.permits = play.permits;
}

/// A quiet fleet whose agents may do all that there is to heal, with work that comes in all along.
fn watched(play: &mut Play, rng: &mut Pcg64Mcg) {
    let rules = ProbeRules { every: Duration::from_secs(10), failures: 3, successes: 1 };
    play.policy.heal = HealPolicy {
        level: Level::Replace,
        liveness: Some(rules),
        store: Some(rules),
        stop_grace: Duration::from_secs(30),
        turn: Duration::from_secs(60),
        ..HealPolicy::default()
    };
    play.deploy_at = DEPLOY_AT;
    play.limit = Duration::from_secs(4 * 3600);
    for cluster in &play.clusters {
        let spec = WorkSpec {
            queue: cluster.name.clone(),
            application: APPLICATION.to_owned(),
            count: rng.random_range(20..80),
            length: Span::between(5, 300),
            over: Duration::from_secs(3000),
        };
        play.region.incidents.push(Timed { at: Duration::from_secs(200), what: Incident::Work(spec) });
    }
}

/// Of the cluster that is sick.
fn members(play: &Play) -> usize {
    play.clusters[0].old.desired.unwrap_or_default() as usize
}

fn strike(play: &mut Play, at_s: u64, what: impl Fn(Pick) -> Incident, nth: usize) {
    let on = Pick::Nth { group: play.clusters[0].old.name.clone(), nth };
    play.region.incidents.push(Timed { at: Duration::from_secs(at_s), what: what(on) });
}
