//! Was every invariant of draining.md §6 kept? Judged by what really happened, not by what anybody said.
//!
//! S10 and S16 (hooks, scale-in protection), L4 and L5 (leases, heartbeats) have nothing to speak of yet and are not listed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::cloud::sim::Call;
use crate::cloud::sim::IntakeChange;
use crate::cloud::sim::Outcome;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::Termination;
use crate::cloud::sim::Why;
use crate::decide::HeldWhy;
use crate::decide::Phase;
use crate::decide::Policy;
use crate::decide::Reason;
use crate::journal::What;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::Hold;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Moniker;
use crate::model::Process;
use crate::model::Timestamp;
use crate::rollback;

use super::scenario::Play;
use super::scenario::START_MS;
use super::stage::Aftermath;
use super::station::AtCall;
use super::station::open;

/// One invariant, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invariant {
    /// Its number in draining.md §6.
    pub id: &'static str,
    /// What it promises.
    pub promise: &'static str,
    /// It was kept.
    pub held: bool,
    /// How it was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Numbers of a play.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Work that came in, ran to its end, was cut off.
    pub executions: Executions,
    /// Instances that ended themselves.
    pub instances_retired: usize,
    /// Decrements of desired that came with an instance's leaving.
    pub decrements: usize,
    /// API calls by action, everybody's.
    pub calls: BTreeMap<String, u64>,
    /// From the start of a drain to its terminate call, the longest, in virtual seconds.
    pub longest_drain_s: u64,
    /// Times an agent's process died.
    pub agent_crashes: u32,
    /// Agents that held at the end, by code.
    pub held: BTreeMap<&'static str, usize>,
    /// How the rollback ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<String>,
    /// Length of the play.
    pub virtual_s: u64,
}

/// Work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Executions {
    /// Claimed by an orchestrator.
    pub started: usize,
    /// Ran to their end.
    pub finished: usize,
    /// Cut off by the end of their instance, whoever ended it.
    pub lost: usize,
    /// Of these, cut off because an agent ended its instance.
    pub lost_to_agents: usize,
}

/// Judges a play.
pub fn judge(play: &Play, after: &Aftermath) -> (Vec<Invariant>, Figures) {
    let judge = Judge { play, after, policy: &play.policy };
    let mut invariants = vec![
        verdict("S1", "no instance ends itself with work in flight", judge.s1()),
        verdict("S2", "idle is never concluded from an unknown or stale sample", judge.s2()),
        verdict("S3", "idle is concluded only with intake off for the whole quiet time", judge.s3()),
        verdict("S4", "an instance takes desired down once at most", judge.s4()),
        verdict("S5", "a terminate call names the caller alone, with the intent in its journal", judge.s5()),
        verdict("S6", "an instance ends itself only while superseded by a healthy successor", judge.s6()),
        verdict("S7", "agents write no size but min, and min only to desired - 1", judge.s7()),
        verdict("S8", "whoever takes capacity away leaves the floor serving", judge.s8()),
        verdict("S9", "agents of a group end within its budget", judge.s9()),
        verdict("S15", "a drain is not called off after its terminate call was accepted", judge.s15()),
        verdict("S17", "every call of an agent has its line in the audit log before it", judge.s17()),
        verdict("L1", "what is superseded and runs dry leaves", judge.l1()),
        verdict("L2", "what cannot leave says why", judge.l2()),
        verdict("L7", "tries are spaced out", judge.l7()),
    ];
    if after.rollback.is_some() {
        invariants.extend([
            verdict("S11", "no instance ends itself once a rollback's hold must have been seen", judge.s11()),
            verdict("S12", "after a rollback everything is as its plan says", judge.s12()),
            verdict("S13", "the restored group is never scaled down", judge.s13()),
            verdict("S14", "a singleton polls at most once during a rollback", judge.s14()),
            verdict("L3", "a drain that was called off takes work again", judge.l3()),
            verdict("L6", "a rollback ends done, or refused with nothing changed", judge.l6()),
        ]);
    }
    (invariants, judge.figures())
}

fn verdict(id: &'static str, promise: &'static str, broken: Option<String>) -> Invariant {
    Invariant { id, promise, held: broken.is_none(), trace: broken }
}

struct Judge<'a> {
    play: &'a Play,
    after: &'a Aftermath,
    policy: &'a Policy,
}

/// How long after a hold became visible an agent may still send: the staleness of its read and the time from it to the call.
fn bound(policy: &Policy) -> Duration {
    policy.stale_bound * 2
}

impl Judge<'_> {
    /// Ends that an agent asked for.
    fn own_ends(&self) -> impl Iterator<Item = &Termination> {
        self.after.truth.terminations.iter().filter(|t| t.why == Why::Request && t.by.starts_with("agent:"))
    }

    fn agent_calls(&self) -> impl Iterator<Item = (&Call, InstanceId)> {
        self.after.truth.calls.iter().filter_map(|c| Some((c, InstanceId::from(c.caller.strip_prefix("agent:")?))))
    }

    fn at_calls(&self) -> Vec<(InstanceId, AtCall)> {
        let stations = self.after.stations.values();
        stations.flat_map(|s| open(&s.record).calls.iter().map(|c| (s.id.clone(), c.clone())).collect::<Vec<_>>()).collect()
    }

    fn s1(&self) -> Option<String> {
        let busy = self.own_ends().find(|t| !t.executing.is_empty())?;
        Some(format!("{} ended itself at {} with executions {:?} in flight", busy.instance, secs(busy.at), busy.executing))
    }

    /// Each phase that follows a confirmed quiet time is entered from evidence that says idle, never from one that says unknown.
    fn s2(&self) -> Option<String> {
        for station in self.after.stations.values() {
            for event in &open(&station.record).audit {
                if let What::Phase { from: "confirming_idle", to: "validating", evidence, .. } = &event.what
                    && !evidence.iter().any(|e| e.starts_with("idle for") || e.starts_with("the orchestrator was stopped"))
                {
                    return Some(format!("{} at {}: {evidence:?}", station.id, event.at));
                }
            }
        }
        None
    }

    fn s3(&self) -> Option<String> {
        for end in self.own_ends() {
            let changes: Vec<&IntakeChange> =
                self.after.truth.intake.iter().filter(|c| c.instance == end.instance && c.at <= end.at).collect();
            let Some(last) = changes.last() else { continue };
            if last.open {
                return Some(format!("{} ended itself at {} with intake open since {}", end.instance, secs(end.at), secs(last.at)));
            }
            if end.at - last.at < self.policy.quiet {
                return Some(format!("{} ended itself at {}, intake closed only since {}", end.instance, secs(end.at), secs(last.at)));
            }
        }
        None
    }

    fn s4(&self) -> Option<String> {
        let mut count: BTreeMap<&InstanceId, usize> = BTreeMap::new();
        for decrement in &self.after.truth.decrements {
            *count.entry(&decrement.instance).or_default() += 1;
        }
        let (instance, times) = count.into_iter().find(|(_, times)| *times > 1)?;
        Some(format!("{instance} took desired down {times} times"))
    }

    fn s5(&self) -> Option<String> {
        for (call, agent) in self.agent_calls().filter(|(c, _)| c.action == "TerminateInstanceInAutoScalingGroup") {
            if let Some(named) = call.args.get("InstanceId").and_then(|v| v.as_str())
                && named != agent.as_str()
            {
                return Some(format!("{agent} asked to terminate {named}"));
            }
        }
        let (id, call) = self.at_calls().into_iter().find(|(_, c)| !c.intent)?;
        Some(format!("{id} sent its terminate call at {} without an intent in its journal", secs(call.at)))
    }

    fn s6(&self) -> Option<String> {
        for (id, call) in self.at_calls() {
            let Some(group) = group_of(&call.groups, &id) else { continue };
            let enabled_for = self.enabled_for(&group.name, call.at);
            if !group.is_disabled() && enabled_for > bound(self.policy) {
                return Some(format!("{id} at {}: {} had been enabled for {} s", secs(call.at), group.name, enabled_for.as_secs()));
            }
            let healthy = successors(&call.groups, group).map(Group::healthy_in_service).max().unwrap_or(0);
            if healthy < self.policy.successor_floor as usize && group.is_disabled() && !self.in_rollback(call.at) {
                return Some(format!(
                    "{id} at {}: no successor of {} had {} healthy",
                    secs(call.at),
                    group.name,
                    self.policy.successor_floor
                ));
            }
        }
        None
    }

    fn s7(&self) -> Option<String> {
        for (call, agent) in self.agent_calls() {
            let allowed = match call.action {
                "TerminateInstanceInAutoScalingGroup" => true,
                "UpdateAutoScalingGroup" => {
                    ["MaxSize", "DesiredCapacity"].iter().all(|k| call.args.get(k).is_none_or(serde_json::Value::is_null))
                }
                _ => false,
            };
            if !allowed {
                return Some(format!("{agent} called {} {} at {}", call.action, call.args, secs(call.at)));
            }
        }
        let raised = self.after.truth.capacity.windows(1).filter_map(|w| w.first()).find(|c| {
            c.by.starts_with("agent:")
                && self.before(&c.group, c.at, &c.by).is_some_and(|b| c.capacity.desired > b.desired || c.capacity.min > b.min)
        })?;
        Some(format!("{} raised {} to {} at {}", raised.by, raised.group, raised.capacity, secs(raised.at)))
    }

    fn before(&self, group: &GroupName, at: SimTime, by: &str) -> Option<crate::model::Capacity> {
        let changes = self.after.truth.capacity.iter();
        changes.take_while(|c| c.at < at || (c.at == at && c.by != by)).filter(|c| &c.group == group).last().map(|c| c.capacity)
    }

    fn s8(&self) -> Option<String> {
        for (id, call) in self.at_calls() {
            let Some(group) = group_of(&call.groups, &id) else { continue };
            let new: usize = successors(&call.groups, group).map(Group::healthy_in_service).sum();
            let rolled_back = self.in_rollback(call.at);
            if new < self.policy.successor_floor as usize && !rolled_back {
                return Some(format!("{id} at {}: {new} healthy in the newer groups of {}", secs(call.at), group.name));
            }
        }
        None
    }

    fn s9(&self) -> Option<String> {
        for (id, call) in self.at_calls() {
            let Some(group) = group_of(&call.groups, &id) else { continue };
            let counted = |i: &&crate::model::GroupInstance| i.state == LifecycleState::InService || is_leaving(&i.state);
            let members = group.instances.iter().filter(counted).count();
            let ending = group.instances.iter().filter(|i| i.id != id && is_leaving(&i.state)).count();
            let budget = (members * usize::from(self.policy.budget_percent) / 100).max(1);
            if ending + 1 > budget {
                return Some(format!("{id} at {}: {ending} of {members} were ending already, the budget is {budget}", secs(call.at)));
            }
        }
        None
    }

    fn s11(&self) -> Option<String> {
        for (id, call) in self.at_calls() {
            let Some(group) = group_of(&call.groups, &id) else { continue };
            let now = wall(call.at);
            let Some(hold) = Hold::parse(&group.tags).ok().flatten().filter(|h| h.is_live(now)) else { continue };
            let seen_for = self.held_for(&group.name, call.at);
            if seen_for > bound(self.policy) {
                return Some(format!(
                    "{id} at {}: {} had been held by {} for {} s",
                    secs(call.at),
                    group.name,
                    hold.owner,
                    seen_for.as_secs()
                ));
            }
        }
        None
    }

    /// How long the newest unbroken hold on a group has been there.
    fn held_for(&self, group: &GroupName, at: SimTime) -> Duration {
        let mut since = None;
        for call in self.after.truth.calls.iter().filter(|c| c.at <= at && c.outcome == Outcome::Applied) {
            let text = call.args.to_string();
            if !text.contains(group.as_str()) || !text.contains(crate::model::HOLD_TAG) {
                continue;
            }
            match call.action {
                "CreateOrUpdateTags" => since = since.or(Some(call.at)),
                "DeleteTags" => since = None,
                _ => {}
            }
        }
        since.map(|since| at - since).unwrap_or_default()
    }

    fn enabled_for(&self, group: &GroupName, at: SimTime) -> Duration {
        let resumed = self.after.truth.calls.iter().rfind(|c| {
            c.at <= at && c.action == "ResumeProcesses" && c.outcome == Outcome::Applied && c.args.to_string().contains(group.as_str())
        });
        resumed.map_or(at, |c| at - c.at)
    }

    fn in_rollback(&self, at: SimTime) -> bool {
        self.after.rollback.as_ref().is_some_and(|r| at >= r.from)
    }

    fn s12(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        let nothing_left = |r: &[rollback::Refusal]| run.starts > 1 && matches!(r, [rollback::Refusal::NothingToDo { .. }]);
        match &run.outcome {
            Some(rollback::Outcome::Done(_)) => {}
            Some(rollback::Outcome::Refused(refusals)) if nothing_left(refusals) => {}
            _ => return None,
        }
        for cluster in &self.play.clusters {
            let (old, new) = (find(&self.after.groups, &cluster.old.name)?, find(&self.after.groups, &cluster.new.name)?);
            let before = find(&run.before, &cluster.old.name)?;
            let expected: BTreeSet<&Process> = before.suspended.keys().filter(|p| !Process::DISABLING.contains(p)).collect();
            if old.suspended.keys().collect::<BTreeSet<_>>() != expected {
                return Some(format!("{}: {:?} are suspended, expected {expected:?}", old.name, old.suspended.keys()));
            }
            if let Some(left) = [old, new].iter().find(|g| g.tags.contains_key(crate::model::HOLD_TAG)) {
                return Some(format!("the hold is still on {}", left.name));
            }
            if new.capacity.desired != 0 || new.capacity.min != 0 {
                return Some(format!("{} is left at {}", new.name, new.capacity));
            }
            let count = if cluster.polling { 1 } else { cluster.old.desired.unwrap_or_default() };
            if old.capacity.desired != count {
                return Some(format!("{} is at {}, and {count} were to be restored", old.name, old.capacity));
            }
        }
        None
    }

    fn s13(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        for cluster in self.play.clusters.iter().filter(|c| !c.polling) {
            let old = GroupName::from(cluster.old.name.as_str());
            let changes = self.after.truth.capacity.iter().filter(|c| c.group == old && c.at >= run.from && c.by == "oncall");
            let mut desired: Option<u32> = None;
            for change in changes {
                if desired.is_some_and(|before| change.capacity.desired < before) {
                    return Some(format!("{old} was scaled down to {} at {}", change.capacity, secs(change.at)));
                }
                desired = Some(change.capacity.desired);
            }
        }
        None
    }

    /// From the rollback's start on, two instances of a polling cluster never take work at once.
    fn s14(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        for cluster in self.play.clusters.iter().filter(|c| c.polling) {
            let mut open_now: BTreeMap<&InstanceId, SimTime> = BTreeMap::new();
            for change in &self.after.truth.intake {
                if !self.belongs(&change.instance, &cluster.name) {
                    continue;
                }
                if change.open {
                    open_now.insert(&change.instance, change.at);
                } else {
                    open_now.remove(&change.instance);
                }
                open_now.retain(|id, _| !self.is_stopped(id, change.at));
                if change.open && change.at >= run.from && open_now.len() > 1 {
                    return Some(format!("{:?} poll at once at {}", open_now.keys(), secs(change.at)));
                }
            }
        }
        None
    }

    fn is_stopped(&self, instance: &InstanceId, at: SimTime) -> bool {
        self.after.truth.terminations.iter().any(|t| &t.instance == instance && t.stopped.is_some_and(|stopped| stopped <= at))
    }

    fn belongs(&self, instance: &InstanceId, cluster: &str) -> bool {
        let group = self.after.truth.states.iter().find(|s| &s.instance == instance).and_then(|s| s.group.as_ref());
        group.and_then(|g| Moniker::parse(g.as_str())).is_some_and(|m| m.cluster() == cluster)
    }

    fn s15(&self) -> Option<String> {
        for station in self.after.stations.values() {
            let mut accepted = false;
            for event in &open(&station.record).audit {
                match &event.what {
                    What::Phase { to: "ending", .. } => accepted = true,
                    What::Phase { from: "ending", to: "held", .. } => accepted = false,
                    What::Phase { to: "reopening_intake", .. } if accepted => {
                        return Some(format!("{} called its drain off at {}, after its end was accepted", station.id, event.at));
                    }
                    What::Phase { .. }
                    | What::Started { .. }
                    | What::Deed { .. }
                    | What::Outcome { .. }
                    | What::Asked { .. }
                    | What::Stopped => {}
                }
            }
        }
        None
    }

    fn s17(&self) -> Option<String> {
        for (call, agent) in self.agent_calls() {
            let station = self.after.stations.get(&agent)?;
            let deed = match call.action {
                "UpdateAutoScalingGroup" => "lower the group's min",
                _ => "terminate this instance",
            };
            let told =
                |e: &crate::journal::Event| matches!(&e.what, What::Deed { deed: d, .. } if d.starts_with(deed)) && e.at <= wall(call.at);
            if !open(&station.record).audit.iter().any(told) {
                return Some(format!("{agent} called {} at {} without a line before it", call.action, secs(call.at)));
            }
        }
        None
    }

    /// Unless it holds, is busy, or the play is about a rollback that restored it.
    fn l1(&self) -> Option<String> {
        for cluster in &self.play.clusters {
            let Some(group) = find(&self.after.groups, &cluster.old.name).filter(|g| g.is_disabled()) else { continue };
            for member in group.instances.iter().filter(|i| i.state == LifecycleState::InService) {
                let Some(station) = self.after.stations.get(&member.id) else { continue };
                let status = station.status.borrow();
                if status.held.is_none() && status.phase == "working" {
                    return Some(format!("{} of {} is still working at the end of the play", member.id, group.name));
                }
            }
        }
        (!self.after.complete && self.stuck().is_none() && self.after.rollback.is_none())
            .then(|| format!("not over after {} s", self.after.length.as_secs()))
    }

    /// A reason why the old instances may be there at the end.
    fn stuck(&self) -> Option<String> {
        let disabled: Vec<&Group> = self.play.clusters.iter().filter_map(|c| find(&self.after.groups, &c.old.name)).collect();
        let mut reasons = Vec::new();
        for member in disabled.iter().flat_map(|g| &g.instances) {
            let status = self.after.stations.get(&member.id)?.status.borrow().clone();
            reasons.push(status.held.or(status.waits_for)?);
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn l2(&self) -> Option<String> {
        for (id, station) in &self.after.stations {
            let status = station.status.borrow();
            if !matches!(status.phase.as_str(), "working" | "gone" | "") && status.waits_for.is_none() {
                return Some(format!("{id} is {} and says nothing", status.phase));
            }
        }
        None
    }

    fn l3(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        if !matches!(run.outcome, Some(rollback::Outcome::Done(_))) {
            return None;
        }
        for cluster in &self.play.clusters {
            let group = find(&self.after.groups, &cluster.old.name)?;
            for member in group.instances.iter().filter(|i| i.state == LifecycleState::InService) {
                let intake = self.after.truth.intake.iter().rfind(|c| c.instance == member.id);
                let station = self.after.stations.get(&member.id)?;
                let held = station.status.borrow().held.is_some();
                if intake.is_some_and(|c| !c.open) && !held && station.status.borrow().phase == Phase::Working.word() {
                    return Some(format!("{} of {} was restored and takes no work", member.id, group.name));
                }
            }
        }
        None
    }

    fn l6(&self) -> Option<String> {
        let run = self.after.rollback.as_ref()?;
        match &run.outcome {
            Some(rollback::Outcome::Done(_)) => None,
            Some(rollback::Outcome::Refused(_)) if run.starts == 1 => None,
            // The laptop died after the last change and before the last word.
            Some(rollback::Outcome::Refused(refusals)) if matches!(refusals.as_slice(), [rollback::Refusal::NothingToDo { .. }]) => None,
            Some(rollback::Outcome::Refused(refusals)) => Some(format!("refused in the middle: {refusals:?}")),
            Some(other) => Some(format!("not done after {} starts: {other:?}", run.starts)),
            None => Some(format!("still running at the end, after {} starts", run.starts)),
        }
    }

    /// Terminate calls of one instance are spaced by a new quiet time at least, and do not pile up.
    fn l7(&self) -> Option<String> {
        for station in self.after.stations.values() {
            let record = open(&station.record);
            let too_close = record.calls.windows(2).find(|w| matches!(w, [a, b] if b.at - a.at < self.policy.stale_bound));
            if let Some([a, b]) = too_close {
                return Some(format!("{} sent its terminate call at {} and again at {}", station.id, secs(a.at), secs(b.at)));
            }
            if record.calls.len() > 100 {
                return Some(format!("{} sent its terminate call {} times", station.id, record.calls.len()));
            }
        }
        None
    }

    fn figures(&self) -> Figures {
        let truth = &self.after.truth;
        let own: BTreeSet<u64> = self.own_ends().flat_map(|t| t.lost.iter().copied()).collect();
        let mut held: BTreeMap<&'static str, usize> = BTreeMap::new();
        for station in self.after.stations.values() {
            let code = station.status.borrow().held.clone();
            if let Some(code) = code.and_then(|c| HeldWhy::ALL.into_iter().find(|w| w.code() == c)) {
                *held.entry(code.code()).or_default() += 1;
            }
        }
        let mut calls: BTreeMap<String, u64> = BTreeMap::new();
        for (action, count) in truth.counts.values().flatten() {
            *calls.entry((*action).to_owned()).or_default() += count;
        }
        Figures {
            executions: Executions {
                started: truth.executions.iter().filter(|e| !e.runs.is_empty()).count(),
                finished: truth.executions.iter().filter(|e| e.is_finished()).count(),
                lost: truth.lost().count(),
                lost_to_agents: own.len(),
            },
            instances_retired: self.own_ends().count(),
            decrements: truth.decrements.len(),
            calls,
            longest_drain_s: self.longest_drain().as_secs(),
            agent_crashes: self.after.stations.values().map(|s| open(&s.record).crashes).sum(),
            held,
            rollback: self.after.rollback.as_ref().map(|r| match &r.outcome {
                Some(outcome) => format!("exit {} after {} starts", outcome.exit_code(), r.starts),
                None => "unfinished".to_owned(),
            }),
            virtual_s: self.after.length.as_secs(),
        }
    }

    fn longest_drain(&self) -> Duration {
        let mut longest = Duration::ZERO;
        for end in self.own_ends() {
            let Some(station) = self.after.stations.get(&end.instance) else { continue };
            let record = open(&station.record);
            let drain =
                record.journal.iter().rev().find_map(|(_, d)| d.drain.as_ref()).filter(|d| matches!(d.reason, Reason::Superseded { .. }));
            longest = longest.max(drain.map(|d| wall(end.at).since(d.started)).unwrap_or_default());
        }
        longest
    }
}

fn group_of<'a>(groups: &'a [Group], id: &InstanceId) -> Option<&'a Group> {
    groups.iter().find(|g| g.instance(id).is_some())
}

fn successors<'a>(groups: &'a [Group], group: &'a Group) -> impl Iterator<Item = &'a Group> {
    let cluster = Moniker::parse(group.name.as_str()).map(|m| m.cluster().to_owned());
    groups.iter().filter(move |g| {
        g.created > group.created && !g.is_disabled() && Moniker::parse(g.name.as_str()).map(|m| m.cluster().to_owned()) == cluster
    })
}

fn is_leaving(state: &LifecycleState) -> bool {
    state.is_ending() && *state != LifecycleState::Terminated
}

fn find<'a>(groups: &'a [Group], name: &str) -> Option<&'a Group> {
    groups.iter().find(|g| g.name.as_str() == name)
}

fn wall(at: SimTime) -> Timestamp {
    Timestamp(START_MS).plus(at)
}

fn secs(at: SimTime) -> String {
    format!("{:.1} s", at.as_secs_f64())
}
