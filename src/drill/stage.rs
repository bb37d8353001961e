//! Plays a play: the region, an agent on every instance, the deployer, the person on call. One thread, one virtual clock.
//!
//! Under a paused runtime a play of two hours takes well under a second. The live view paces the same clock.

mod oncall;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cloud::TargetState;
use crate::cloud::sim::Ec2State;
use crate::cloud::sim::Execution;
use crate::cloud::sim::Incident;
use crate::cloud::sim::Pick;
use crate::cloud::sim::Region;
use crate::cloud::sim::Sim;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::Span;
use crate::cloud::sim::Trouble;
use crate::cloud::sim::TroubleKind;
use crate::cloud::sim::Truth;
use crate::host::clock::VirtualClock;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Timestamp;
use crate::orchestrator::permits::Permits;
use crate::rollback;

use super::book::Account;
use super::book::Lender;
use super::fleet::Counts;
use super::fleet::Fleet;
use super::fleet::Remains;
use super::scenario::Play;
use super::scenario::START_MS;
use super::scenario::USERS;
use super::station::Station;
use super::station::Stations;
use oncall::AGAIN_AT_MOST;
use oncall::Command;
pub use oncall::RollbackRun;
pub use oncall::Undone;

/// Between two looks of the director at the region.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The clock of a paused runtime moves by this at least.
const LEAST_REST: Duration = Duration::from_millis(1);
/// A crashed agent is back after this long: systemd's `RestartSec` and the start.
const BACK_AFTER: Duration = Duration::from_secs(2);
/// A play in which nothing has happened for so long stands still: longer than twice the longest time between two tries of a held drain.
const STANDSTILL: Duration = Duration::from_secs(1800);
/// After the last thing that could happen, the play goes on for this long to see that nothing more does.
const AFTERMATH: Duration = Duration::from_secs(240);

/// What is left when the play is over.
pub struct Aftermath {
    /// What really happened.
    pub truth: Truth,
    /// The agents.
    pub stations: Stations,
    /// The rollback, when there was one.
    pub rollback: Option<RollbackRun>,
    /// When each old group was disabled.
    pub disabled_at: BTreeMap<GroupName, SimTime>,
    /// Every group at the end.
    pub groups: Vec<Group>,
    /// How long the play was.
    pub length: SimTime,
    /// Everything that was to happen happened; else the play stood still or came to its limit.
    pub complete: bool,
    /// What each orchestrator that is up was executing at the end.
    pub executing: BTreeMap<InstanceId, Vec<String>>,
    /// Whose disk is full, and from when on.
    pub(super) full: Option<(InstanceId, SimTime)>,
    /// What became of the book of permits, when there was one.
    pub(super) permits: Option<Account>,
    /// What is left of the embedded engines, when there were any.
    pub(super) remains: Option<Remains>,
}

/// What a watcher sees between two looks.
pub trait Watcher {
    /// The region and the agents, now; and the executions of embedded engines, when there are such.
    fn look(&mut self, region: &mut Region, stations: &Stations, counts: Option<Counts>, news: &[String]);
}

/// Nobody watches.
pub struct Nobody;

impl Watcher for Nobody {
    fn look(&mut self, _region: &mut Region, _stations: &Stations, _counts: Option<Counts>, _news: &[String]) {}
}

/// Plays it. Needs a runtime whose clock is paused, or paced.
pub async fn perform(play: &Play, seed: u64, watcher: &mut dyn Watcher, plant: Plant) -> Aftermath {
    let clock = Arc::new(VirtualClock::start(Timestamp(START_MS)));
    let mut region = Region::new(seed, Timestamp(START_MS));
    region.load(&play.region).expect("a play's region is one that AWS accepts");
    let full = play.sickness.as_ref().and_then(|sickness| sickness.full).and_then(|(nth, from)| {
        let members = region.members(&GroupName::from(play.clusters[0].old.name.as_str()));
        members.get(nth).map(|id| (id.clone(), from))
    });
    let sim = Sim::new(region, clock.clone());
    let fleet = play.engines.as_ref().map(|_| Fleet::new(sim.clone(), clock.clone(), seed));
    let budget = play.policy.heal.budget_percent;
    let book = play.permits.then(|| Arc::new(Lender::new(sim.clone(), play.sickness.clone(), budget, seed)));
    let mut director = Director {
        play,
        full,
        book,
        seed,
        plant,
        sim,
        clock,
        rng: Pcg64Mcg::seed_from_u64(seed.wrapping_add(1)),
        stations: Stations::new(),
        agents: JoinSet::new(),
        stops: BTreeMap::new(),
        disabled_at: BTreeMap::new(),
        healthy_at: BTreeMap::new(),
        deployed: false,
        bad_at: None,
        news: Vec::new(),
        rollback: None,
        meddled: false,
        fleet,
        others: JoinSet::new(),
    };
    if let (Some(fleet), Some(script)) = (&director.fleet, &play.engines) {
        fleet.begin(script, &mut director.others);
    }
    let complete = director.run(watcher).await;
    director.end(complete).await
}

/// Which bug a test has planted in the agents; none in a build that is not one of tests.
#[cfg(test)]
pub type Plant = Option<super::plants::Plant>;
/// Nothing can be planted: there is no such value.
#[cfg(not(test))]
pub type Plant = Option<std::convert::Infallible>;

struct Director<'a> {
    play: &'a Play,
    full: Option<(InstanceId, SimTime)>,
    book: Option<Arc<Lender>>,
    seed: u64,
    #[cfg_attr(not(test), expect(dead_code, reason = "nothing is planted"))]
    plant: Plant,
    sim: Sim,
    clock: Arc<VirtualClock>,
    rng: Pcg64Mcg,
    stations: Stations,
    agents: JoinSet<InstanceId>,
    stops: BTreeMap<InstanceId, CancellationToken>,
    disabled_at: BTreeMap<GroupName, SimTime>,
    healthy_at: BTreeMap<GroupName, SimTime>,
    deployed: bool,
    bad_at: Option<SimTime>,
    news: Vec<String>,
    rollback: Option<RollbackRun>,
    /// Somebody else's change of a group stands.
    meddled: bool,
    fleet: Option<Arc<Fleet>>,
    /// Who starts work for the fleet, and what befalls it.
    others: JoinSet<()>,
}

impl Director<'_> {
    async fn run(&mut self, watcher: &mut dyn Watcher) -> bool {
        let mut quiet_since: Option<SimTime> = None;
        let oncall = CancellationToken::new();
        let mut command: Option<Command> = None;
        let mut moved = (SimTime::ZERO, self.happenings());
        loop {
            let now = self.sim.with(|r| r.now());
            if now >= self.play.limit {
                return false;
            }
            self.staff();
            self.deploy(now);
            self.crashes();
            self.oncall(now, &mut command, &oncall);
            let news = std::mem::take(&mut self.news);
            let counts = match &self.fleet {
                Some(fleet) => Some(fleet.counts().await),
                None => None,
            };
            self.sim.with(|r| watcher.look(r, &self.stations, counts, &news));
            let over = self.is_over(command.is_some(), counts);
            let happenings = self.happenings();
            if moved.1 != happenings {
                moved = (now, happenings);
            } else if self.has_no_more_acts(command.is_some()) && now - moved.0 >= STANDSTILL {
                return false;
            }
            quiet_since = if over { quiet_since.or(Some(now)) } else { None };
            if quiet_since.is_some_and(|since| now - since >= AFTERMATH) {
                return true;
            }
            self.rest(now + LOOK_EVERY).await;
        }
    }

    /// Lets time pass. An embedded engine falls silent at the very moment at which its machine goes off, so the director wakes for what the region
    /// has in store.
    async fn rest(&mut self, until: SimTime) {
        loop {
            let (now, next) = self.sim.with(|r| (r.now(), r.next_event()));
            if now >= until {
                return;
            }
            let next = next.filter(|_| self.fleet.is_some()).unwrap_or(until).clamp(now + LEAST_REST, until.max(now + LEAST_REST));
            tokio::time::sleep(next - now).await;
            self.bury();
        }
    }

    /// The agent of a machine that is not up is gone.
    fn bury(&mut self) {
        let up: BTreeSet<InstanceId> =
            self.sim.with(|r| r.instances().filter(|i| i.ec2 == Ec2State::Running).map(|i| i.id.clone()).collect());
        self.stops.retain(|id, stop| {
            if !up.contains(id) {
                stop.cancel();
                if let Some(station) = self.stations.get(id) {
                    station.goes_down();
                }
            }
            up.contains(id)
        });
    }

    /// Every machine that is up has an agent.
    fn staff(&mut self) {
        self.bury();
        let up: Vec<InstanceId> = self.sim.with(|r| r.instances().filter(|i| i.ec2 == Ec2State::Running).map(|i| i.id.clone()).collect());
        for id in up {
            if !self.stations.contains_key(&id) {
                let seed = self.seed ^ self.rng.random::<u64>();
                let mut station =
                    Station::new(id.clone(), self.sim.clone(), self.clock.clone(), seed, self.play.crash_at_call, self.fleet.as_ref());
                station.sickness.clone_from(&self.play.sickness);
                station.full_from = self.full.as_ref().filter(|(full, _)| *full == id).map(|(_, from)| *from);
                station.permits = self.book.clone().map(|book| book as Arc<dyn Permits>);
                #[cfg(test)]
                {
                    station.plant = self.plant;
                }
                let station = Arc::new(station);
                self.stations.insert(id.clone(), station.clone());
                let stop = CancellationToken::new();
                self.stops.insert(id.clone(), stop.clone());
                let policy = self.play.policy.clone();
                self.agents.spawn(async move {
                    while !stop.is_cancelled() {
                        tokio::select! {
                            biased;
                            () = stop.cancelled() => break,
                            () = station.live(policy.clone(), CancellationToken::new()) => {}
                        }
                        tokio::time::sleep(BACK_AFTER).await;
                    }
                    id
                });
            }
        }
    }

    fn deploy(&mut self, now: SimTime) {
        if !self.deployed && now >= self.play.deploy_at {
            self.deployed = true;
            for cluster in &self.play.clusters {
                self.sim.with(|r| r.strike(&Incident::AddGroup(cluster.new.clone())));
                self.news.push(format!("deployer: {} is made", cluster.new.name));
            }
        }
        if !self.deployed {
            return;
        }
        for cluster in &self.play.clusters {
            let old = GroupName::from(cluster.old.name.as_str());
            let new = GroupName::from(cluster.new.name.as_str());
            let wanted = cluster.new.desired.unwrap_or_default() as usize;
            if self.disabled_at.contains_key(&old) || (!self.healthy_at.contains_key(&old) && self.serving(&new) < wanted) {
                continue;
            }
            let healthy = *self.healthy_at.entry(old.clone()).or_insert(now);
            if now < healthy + self.play.disabled_after {
                continue;
            }
            self.sim.with(|r| r.strike(&Incident::Disable(cluster.old.name.clone())));
            self.disabled_at.insert(old.clone(), now);
            self.news.push(format!("deployer: {new} is healthy, {old} is disabled"));
        }
        let all_disabled = self.disabled_at.len() == self.play.clusters.len();
        if let (Some(after), None, true) = (self.play.goes_bad_after, self.bad_at, all_disabled) {
            let since = self.disabled_at.values().max().copied().unwrap_or_default();
            if now >= since + after {
                self.bad_at = Some(now);
                self.go_bad();
            }
        }
    }

    /// The new version hangs for good: health checks fail, nobody answers, work stands still.
    fn go_bad(&mut self) {
        for cluster in &self.play.clusters {
            let members = self.sim.with(|r| r.members(&GroupName::from(cluster.new.name.as_str())));
            for id in members {
                let hang = Incident::HangOrchestrator { on: Pick::Id(id), r#for: Span::secs(24 * 3600) };
                self.sim.with(|r| r.strike(&hang));
            }
            self.news.push(format!("{} hangs: its health checks fail", cluster.new.name));
        }
    }

    fn serving(&self, group: &GroupName) -> usize {
        self.sim.with(|r| serving(r, group))
    }

    fn crashes(&mut self) {
        let Some(every) = self.play.crash_every else { return };
        let chance = (LOOK_EVERY.as_secs_f64() / every.as_secs_f64()).min(1.0);
        let stations: Vec<Arc<Station>> = self.stations.values().cloned().collect();
        for station in stations {
            if self.stops.contains_key(&station.id) && self.rng.random_bool(chance) {
                station.kill();
            }
        }
    }

    fn groups(&self) -> Vec<Group> {
        self.sim.with(|r| r.group_names().iter().filter_map(|name| r.group_now(name)).map(|d| d.group).collect())
    }

    /// Grows whenever something happens that matters.
    fn happenings(&self) -> usize {
        let engines = self.fleet.as_ref().map_or(0, |fleet| fleet.happenings());
        engines
            + self.sim.with(|r| {
                let truth = r.truth();
                let finished = truth.executions.iter().filter(|e| e.is_finished() || e.is_lost()).count();
                truth.terminations.len() + truth.capacity.len() + truth.executions.len() + finished
            })
    }

    /// Deployed, and rolled back when there is anything to roll back.
    fn has_no_more_acts(&self, rolling_back: bool) -> bool {
        if !self.deployed || rolling_back || self.disabled_at.len() < self.play.clusters.len() {
            return false;
        }
        match (&self.play.goes_bad_after, &self.rollback) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(run)) => match &run.outcome {
                Some(rollback::Outcome::Done(_) | rollback::Outcome::Refused(_)) => true,
                Some(_) => run.starts >= AGAIN_AT_MOST,
                None => false,
            },
        }
    }

    /// Nothing more is to be expected: no acts, the instances that were to leave are gone, the work is done.
    fn is_over(&self, rolling_back: bool, counts: Option<Counts>) -> bool {
        if !self.has_no_more_acts(rolling_back) {
            return false;
        }
        let served = self.fleet.as_ref().is_none_or(|fleet| fleet.is_served());
        if !served || counts.is_some_and(|counts| counts.started > counts.ended) {
            return false;
        }
        let rolled_back = matches!(self.rollback.as_ref().and_then(|r| r.outcome.as_ref()), Some(rollback::Outcome::Done(_)));
        let mut leaving = self.play.clusters.iter().map(|c| GroupName::from(if rolled_back { c.new.name.as_str() } else { &c.old.name }));
        self.sim.with(|r| {
            // Who is kept for the post-mortem stays, with the work that it hangs on.
            let kept: BTreeSet<InstanceId> = r.instances().filter(|i| i.state == LifecycleState::Standby).map(|i| i.id.clone()).collect();
            let hangs = |e: &Execution| e.runs.last().is_some_and(|run| kept.contains(&run.instance));
            leaving.all(|name| r.members(&name).iter().all(|id| kept.contains(id)))
                && r.truth().executions.iter().all(|e| e.is_finished() || e.is_lost() || hangs(e))
        })
    }

    async fn end(mut self, complete: bool) -> Aftermath {
        let ids: Vec<InstanceId> = self.stations.keys().cloned().collect();
        let engines = |id: &InstanceId| self.fleet.as_ref().map_or(Vec::new(), |fleet| fleet.executing(id));
        let (truth, length, executing) = self.sim.with(|r| {
            let simulated = |id: &InstanceId| r.executing(id).iter().map(u64::to_string).collect::<Vec<_>>();
            let executing = ids.into_iter().map(|id| (id.clone(), [simulated(&id), engines(&id)].concat())).collect();
            (r.truth().clone(), r.now(), executing)
        });
        self.others.shutdown().await;
        let remains = match &self.fleet {
            Some(fleet) => Some(fleet.remains().await),
            None => None,
        };
        self.agents.shutdown().await;
        let groups = self.groups();
        Aftermath {
            truth,
            stations: self.stations,
            rollback: self.rollback,
            disabled_at: self.disabled_at,
            groups,
            length,
            complete,
            executing,
            full: self.full,
            permits: self.book.map(|book| book.account()),
            remains,
        }
    }
}

/// Members of a group that are in service and healthy behind the users' target group.
pub fn serving(region: &mut Region, group: &GroupName) -> usize {
    let Some(arn) = region.describe_target_groups(&[], &[USERS.to_owned()]).ok().and_then(|t| t.into_iter().next()).map(|t| t.arn) else {
        return 0;
    };
    let health = region.describe_target_health(&arn, &[]).unwrap_or_default();
    let members = region.members(group);
    members
        .iter()
        .filter(|id| region.instance(id).is_some_and(|i| i.state == LifecycleState::InService))
        .filter(|id| health.iter().any(|h| &h.target.instance == *id && h.state == TargetState::Healthy))
        .count()
}

/// Trouble that a play has, for people.
pub fn troubles(rules: &[Trouble]) -> Vec<String> {
    let name = |kind: &TroubleKind| format!("{kind:?}");
    rules.iter().filter(|t| t.probability > 0.0).map(|t| format!("{} {:.0} %", name(&t.kind), t.probability * 100.0)).collect()
}
