//! What the agents promise.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::MutexGuard;
use std::time::Duration;

use serde_json::Value;

use super::Judge;
use super::bound;
use super::ledger::find;
use super::ledger::group_of;
use super::ledger::is_leaving;
use super::ledger::secs;
use super::ledger::successors;
use super::ledger::wall;
use crate::cloud::sim::Incident;
use crate::cloud::sim::IntakeChange;
use crate::cloud::sim::RunEnd;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::StateChange;
use crate::cloud::sim::Switch;
use crate::cloud::sim::Termination;
use crate::decide::HeldWhy;
use crate::drill::fleet::script::Script;
use crate::drill::scenario::Play;
use crate::drill::station::AtCall;
use crate::drill::station::Record;
use crate::drill::station::Said;
use crate::drill::station::open;
use crate::journal::What;
use crate::model::Activity;
use crate::model::CAPACITY_TAG;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::generation;
use crate::rollback;

const TERMINATE: &str = "TerminateInstanceInAutoScalingGroup";
const UPDATE: &str = "UpdateAutoScalingGroup";
const TAG: &str = "CreateOrUpdateTags";
const UNTAG: &str = "DeleteTags";
/// Terminate calls of one instance, most of them refused.
const CALLS_MOST: usize = 100;
/// Reads of one agent: one in so many seconds on average, and some more.
const READ_EVERY_S: u64 = 5;
const READS_MORE: u64 = 60;

/// A deed is answered within: a call that hangs is given up then.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// From the last sign of work to the first possible end, besides quiet and settling time: a few looks and reads.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);

impl Judge<'_> {
    fn stations(&self) -> impl Iterator<Item = (&InstanceId, MutexGuard<'_, Record>)> {
        self.after.stations.iter().map(|(id, station)| (id, open(&station.record)))
    }

    /// Neither when a call goes out nor when it is carried out; nor by a stop of the orchestrator.
    pub(super) fn s1(&self) -> Option<String> {
        if let Some((id, call)) = self.calls.iter().find(|(_, c)| !c.executing.is_empty()) {
            return Some(format!("{id} sent its terminate call at {} with executions {:?} in flight", secs(call.at), call.executing));
        }
        if let Some(busy) = self.own_ends().find(|t| !t.executing.is_empty()) {
            return Some(format!("{} ended itself at {} with executions {:?} in flight", busy.instance, secs(busy.at), busy.executing));
        }
        if let Some(remains) = &self.after.remains {
            let mut ends = self.own_ends().filter_map(|t| {
                let cut = remains.ledger.iter().find(|e| e.on == t.instance && e.is_under_way(t.at))?;
                Some(format!("{} ended itself at {} with {} under way", t.instance, secs(t.at), cut.key))
            });
            return ends.next();
        }
        let lost: BTreeSet<u64> = self.after.truth.terminations.iter().flat_map(|t| t.lost.iter().copied()).collect();
        let runs = self.after.truth.executions.iter().filter(|e| !lost.contains(&e.id)).flat_map(|e| e.runs.iter().map(|r| (e.id, r)));
        let cut = runs.into_iter().find(|(_, r)| r.end == Some(RunEnd::Lost))?;
        Some(format!("execution {} on {} was cut off by a stop of the orchestrator", cut.0, cut.1.instance))
    }

    /// What the orchestrator had said over the quiet time up to the last look.
    pub(super) fn s2(&self) -> Option<String> {
        for (id, call) in &self.calls {
            let Some(station) = self.after.stations.get(id) else { continue };
            let wrong = match call.intent {
                Some((_, true)) if call.runs => Some("the orchestrator that it had stopped runs".to_owned()),
                Some((_, true)) => None,
                Some((_, false)) | None => self.unproven(call, &open(&station.record)),
            };
            if let Some(wrong) = wrong {
                return Some(format!("{id} sent its terminate call at {}: {wrong}", secs(call.at)));
            }
        }
        None
    }

    /// Why what was said does not prove that an instance was idle.
    fn unproven(&self, call: &AtCall, record: &Record) -> Option<String> {
        let heard: Vec<_> = record.heard.iter().filter(|(at, _)| *at <= call.at).collect();
        let last = heard.iter().rev().find_map(|(at, said)| matches!(said, Said::Activity(_)).then_some(*at));
        let Some(last) = last else { return Some("it had never looked".to_owned()) };
        let mut process = None;
        for (at, said) in heard.iter().rev().take_while(|(at, _)| *at + self.policy.quiet >= last) {
            match said {
                Said::Intake(Intake::Closed | Intake::NoSwitch) => {}
                Said::Intake(other) => return Some(format!("intake was {other:?} at {}", secs(*at))),
                Said::Activity(sample) => {
                    if sample.activity != Activity::Idle {
                        return Some(format!("it was {:?} at {}", sample.activity, secs(*at)));
                    }
                    let age = sample.measured.map_or(Duration::ZERO, |measured| sample.asked.wall.since(measured));
                    if age > self.policy.sample_max_age {
                        return Some(format!("the sample at {} was {} s old", secs(*at), age.as_secs()));
                    }
                    if process.get_or_insert(&sample.generation) != &&sample.generation {
                        return Some(format!("another process answered at {}", secs(*at)));
                    }
                }
            }
        }
        None
    }

    pub(super) fn s3(&self) -> Option<String> {
        let sent = self.calls.iter().map(|(id, c)| (id, c.at));
        for (id, at) in sent.chain(self.own_ends().map(|t| (&t.instance, t.at))) {
            if let Some(asked) = self.asked_for_work(id, at)
                && at - asked < self.policy.quiet
            {
                return Some(format!("{id} ended itself at {} and had asked for work at {}", secs(at), secs(asked)));
            }
            let change: Option<&IntakeChange> = self.after.truth.intake.iter().rfind(|c| &c.instance == id && c.at <= at);
            let Some(last) = change else { continue };
            if last.open {
                return Some(format!("{id} ended itself at {} with intake open since {}", secs(at), secs(last.at)));
            }
            if at - last.at < self.policy.quiet {
                return Some(format!("{id} ended itself at {}, intake closed only since {}", secs(at), secs(last.at)));
            }
        }
        None
    }

    /// When the embedded engine of an instance last asked the store for work, up to that time.
    fn asked_for_work(&self, id: &InstanceId, until: SimTime) -> Option<SimTime> {
        let asked = self.after.remains.as_ref()?.seen.asked.get(id.as_str())?;
        asked.iter().rfind(|at| **at <= until).copied()
    }

    pub(super) fn s4(&self) -> Option<String> {
        let mut count: BTreeMap<&InstanceId, usize> = BTreeMap::new();
        for decrement in &self.after.truth.decrements {
            *count.entry(&decrement.instance).or_default() += 1;
        }
        if let Some((instance, times)) = count.into_iter().find(|(_, times)| *times > 1) {
            return Some(format!("{instance} took desired down {times} times"));
        }
        let wanted = |t: &Termination| {
            let change = self.after.truth.capacity.iter().rfind(|c| Some(&c.group) == t.group.as_ref() && c.at <= t.at);
            change.is_none_or(|change| change.capacity.desired > 0)
        };
        let replaced = self.own_ends().find(|t| !t.decremented && wanted(t) && !self.is_full(&t.instance))?;
        Some(format!("{} ended itself at {} without a decrement: it is replaced", replaced.instance, secs(replaced.at)))
    }

    pub(super) fn s5(&self) -> Option<String> {
        for (call, agent) in self.agent_calls().filter(|(c, _)| c.action == TERMINATE) {
            if let Some(named) = call.args.get("InstanceId").and_then(Value::as_str)
                && named != agent.as_str()
            {
                return Some(format!("{agent} asked to terminate {named}"));
            }
        }
        let (id, call) = self.calls.iter().find(|(_, c)| c.intent.is_none())?;
        Some(format!("{id} sent its terminate call at {} without an intent in its journal", secs(call.at)))
    }

    pub(super) fn s6(&self) -> Option<String> {
        for (id, call) in self.calls.iter().filter(|(id, _)| !self.is_full(id)) {
            let Some(group) = group_of(&call.groups, id) else { continue };
            let enabled_for = self.enabled_for(&group.name, call.at);
            if !group.is_disabled() && enabled_for > bound(self.policy) {
                return Some(format!("{id} at {}: {} had been enabled for {} s", secs(call.at), group.name, enabled_for.as_secs()));
            }
            let healthy = successors(&call.groups, group).map(Group::healthy_in_service).max().unwrap_or(0);
            if healthy < self.policy.successor_floor as usize && group.is_disabled() {
                return Some(format!(
                    "{id} at {}: no successor of {} has {} healthy",
                    secs(call.at),
                    group.name,
                    self.policy.successor_floor
                ));
            }
            let now = generation(&group.tags);
            if call.intent.is_some_and(|(then, _)| then != now) && self.tagged_for(&group.name, call.at) > bound(self.policy) {
                return Some(format!("{id} at {}: its drain is older than generation {now} of {}", secs(call.at), group.name));
            }
        }
        None
    }

    pub(super) fn s7(&self) -> Option<String> {
        for (call, agent) in self.agent_calls() {
            let allowed = match call.action {
                TERMINATE => true,
                UPDATE => call.args.as_object().is_none_or(|args| {
                    args.iter().all(|(key, value)| value.is_null() || ["AutoScalingGroupName", "MinSize"].contains(&key.as_str()))
                }),
                "RecordLifecycleActionHeartbeat" | "CompleteLifecycleAction" => {
                    call.args.get("InstanceId") == Some(&Value::from(agent.as_str()))
                        && call.args.get("LifecycleHookName").and_then(Value::as_str) == self.policy.hooks.terminating.as_deref()
                }
                "SetInstanceProtection" => self.policy.protect && call.args.get("InstanceIds") == Some(&Value::from(vec![agent.as_str()])),
                // One tag: what a superseded group had. A call that was turned away at the door has no arguments on record.
                TAG | UNTAG => {
                    let tags = call.args.get("Tags").and_then(Value::as_array);
                    call.args.is_null()
                        || tags.is_some_and(|tags| matches!(tags.as_slice(), [tag] if tag.get(0).unwrap_or(tag) == CAPACITY_TAG))
                }
                _ => false,
            };
            if !allowed {
                return Some(format!("{agent} called {} {} at {}", call.action, call.args, secs(call.at)));
            }
        }
        for (change, before) in self.resizes().filter(|(c, _)| c.by.starts_with("agent:")) {
            let to = change.capacity;
            let retires = to.min == before.min && to.max == before.max && to.desired + 1 == before.desired;
            let lately = self.desired_lately(&change.group, change.at);
            let lowers = to.min <= before.min && to.max == before.max && to.desired == before.desired && lately.contains(&(to.min + 1));
            if !retires && !lowers {
                return Some(format!("{} took {} from {before} to {to} at {}", change.by, change.group, secs(change.at)));
            }
        }
        None
    }

    pub(super) fn s8(&self) -> Option<String> {
        for (id, call) in &self.calls {
            let Some(group) = group_of(&call.groups, id) else { continue };
            let new: usize = successors(&call.groups, group).map(Group::healthy_in_service).sum();
            // What is replaced leaves the rest of its own group serving.
            let new = if self.is_full(id) { group.healthy_in_service().saturating_sub(1) } else { new };
            if new < self.policy.successor_floor as usize {
                return Some(format!("{id} at {}: {new} healthy in the newer groups of {}", secs(call.at), group.name));
            }
        }
        None
    }

    pub(super) fn s9(&self) -> Option<String> {
        for (id, call) in &self.calls {
            let Some(group) = group_of(&call.groups, id) else { continue };
            let counted = |i: &&crate::model::GroupInstance| i.state == LifecycleState::InService || is_leaving(&i.state);
            let members = group.instances.iter().filter(counted).count();
            let ending = group.instances.iter().filter(|i| &i.id != id && is_leaving(&i.state)).count();
            let budget = (members * usize::from(self.policy.budget_percent) / 100).max(1);
            if ending + 1 > budget {
                return Some(format!("{id} at {}: {ending} of {members} were ending already, the budget is {budget}", secs(call.at)));
            }
        }
        None
    }

    pub(super) fn s15(&self) -> Option<String> {
        for station in self.after.stations.values() {
            let ended = self.own_ends().find(|t| t.instance == station.id).map(|t| wall(t.at));
            let mut accepted = false;
            for event in &open(&station.record).audit {
                match &event.what {
                    What::Phase { to: "ending", .. } => accepted = true,
                    What::Phase { from: "ending", to: "held", .. } => accepted = false,
                    What::Phase { to: "reopening_intake", .. } if accepted => {
                        return Some(format!("{} called its drain off at {}, after its end was accepted", station.id, event.at));
                    }
                    What::Deed { deed, .. } if ended.is_some_and(|ended| event.at > ended) && deed == "open intake" => {
                        return Some(format!("{} takes work again at {}, and ended itself before", station.id, event.at));
                    }
                    What::Phase { .. }
                    | What::Started { .. }
                    | What::Deed { .. }
                    | What::Outcome { .. }
                    | What::Asked { .. }
                    | What::Notices(_)
                    | What::Heal(_)
                    | What::Stopped => {}
                }
            }
        }
        None
    }

    pub(super) fn s17(&self) -> Option<String> {
        self.unannounced().or_else(|| self.stations().find_map(|(id, record)| self.unfinished(id, &record)))
    }

    /// A deed whose outcome its log does not tell. The next start tells it in place of the life that broke off: it says what the journal
    /// held, and the reads that follow settle it. What broke off for good, with its machine or with the play, owes nothing.
    fn unfinished(&self, id: &InstanceId, record: &Record) -> Option<String> {
        let longest = ANSWERED_WITHIN + self.policy.stop_grace.unwrap_or_default();
        for (i, event) in record.audit.iter().enumerate() {
            let What::Deed { key, deed, .. } = &event.what else { continue };
            let due = event.at.plus(longest);
            let told = record.audit[i..].iter().any(|later| match &later.what {
                What::Outcome { key: of, .. } => of == key,
                What::Started { .. } => true,
                What::Phase { .. } | What::Deed { .. } | What::Notices(_) | What::Heal(_) | What::Asked { .. } | What::Stopped => false,
            });
            let lives = record.audit.iter().filter(|e| matches!(e.what, What::Started { .. })).count();
            let broke_off = usize::try_from(record.crashes).is_ok_and(|crashes| crashes >= lives);
            let end = self.after.truth.terminations.iter().filter(|t| &t.instance == id).filter_map(|t| t.stopped).min();
            let over = wall(end.unwrap_or(self.after.length)) <= due;
            if !told && !broke_off && !over {
                return Some(format!("{id} began to {deed} at {} and never said what came of it", event.at));
            }
        }
        None
    }

    /// A call without as many lines before it as there were calls of its kind.
    fn unannounced(&self) -> Option<String> {
        let mut sent: BTreeMap<(InstanceId, &str), usize> = BTreeMap::new();
        for (call, agent) in self.agent_calls() {
            let deed = match call.action {
                UPDATE => "lower the group's min",
                "RecordLifecycleActionHeartbeat" => "have AWS wait on",
                "CompleteLifecycleAction" => "answer the lifecycle hook",
                "SetInstanceProtection" if call.args.get("ProtectedFromScaleIn") == Some(&Value::from(true)) => "protect this instance",
                "SetInstanceProtection" => "take the protection",
                TAG | UNTAG => "record the group's sizes",
                _ => "terminate this instance",
            };
            let calls = sent.entry((agent.clone(), deed)).or_default();
            *calls += 1;
            let told =
                |e: &&crate::journal::Event| matches!(&e.what, What::Deed { deed: d, .. } if d.starts_with(deed)) && e.at <= wall(call.at);
            let lines = self.after.stations.get(&agent).map_or(0, |s| open(&s.record).audit.iter().filter(told).count());
            if lines < *calls {
                return Some(format!("{agent} called {} at {} without a line before it", call.action, secs(call.at)));
            }
        }
        None
    }

    /// Every instance of a disabled group that the play left behind is busy, or holds for a reason that this play gives.
    pub(super) fn l1(&self) -> Option<String> {
        if self.after.rollback.as_ref().is_some_and(|run| !matches!(run.outcome, Some(rollback::Outcome::Done(_)))) {
            return None;
        }
        for cluster in &self.play.clusters {
            let Some(group) = find(&self.after.groups, &cluster.old.name).filter(|g| g.is_disabled()) else { continue };
            for member in group.instances.iter().filter(|i| i.state == LifecycleState::InService) {
                let Some(station) = self.after.stations.get(&member.id) else { continue };
                if self.has_fallen(&member.id) {
                    continue;
                }
                let status = station.status.borrow();
                let busy = self.after.executing.get(&member.id).is_some_and(|e| !e.is_empty());
                let held = status.held.clone().or_else(|| last_hold(&open(&station.record)));
                let soaks = status.waits_for.as_deref().is_some_and(|w| w.starts_with("soak until"));
                // Liveness is promised to an agent that lives: one that dies at most of its calls, or every few minutes, only has to try.
                let lives = self.play.crash_at_call < 0.5 && self.play.crash_every.is_none_or(|every| every > Duration::from_secs(600));
                // Where agents die at their calls, how many tries it takes is chance: one has to have got as far as a try.
                let lives = lives && !(self.play.crash_at_call > 0.0 && self.calls.iter().any(|(id, _)| *id == member.id));
                if !busy && !soaks && (lives || status.phase == "working") && !self.is_meant(held.as_deref()) {
                    let held = held.as_deref().unwrap_or("never held");
                    let waits = status.waits_for.as_deref().unwrap_or("nothing");
                    let evidence = status.evidence.join("; ");
                    return Some(format!("{} of {} is {}, {held}, waits for {waits}: {evidence}", member.id, group.name, status.phase));
                }
            }
        }
        None
    }

    /// Its machine is off, and Auto Scaling has not noticed.
    fn has_fallen(&self, id: &InstanceId) -> bool {
        self.after.remains.as_ref().and_then(|remains| remains.hosts.get(id)).is_some_and(|facts| facts.down.is_some())
    }

    /// The play makes it impossible to leave, in the way that is told.
    fn is_meant(&self, held: Option<&str>) -> bool {
        let orchestrator = self.play.region.templates.first().and_then(|t| t.versions.first()).and_then(|v| v.orchestrator);
        let deaf = orchestrator.is_some_and(|o| matches!(o.switch, Switch::Ignores | Switch::Refuses));
        let rolled_back = matches!(self.after.rollback.as_ref().and_then(|r| r.outcome.as_ref()), Some(rollback::Outcome::Done(_)));
        let suspended = self.play.region.undocumented.as_ref().is_some_and(|u| !u.terminate_while_suspended);
        match held.and_then(|code| HeldWhy::ALL.into_iter().find(|w| w.code() == code)) {
            // A crash at every call, and it never hears the refusal.
            None => suspended,
            Some(HeldWhy::IntakeUnstoppable | HeldWhy::IntakeStuck) => deaf,
            Some(HeldWhy::Deadline) => self.policy.deadline.is_some(),
            Some(HeldWhy::StopFailed) => self.policy.stop_grace.is_some(),
            Some(HeldWhy::Rollback) => self.after.rollback.is_some() && !rolled_back,
            Some(HeldWhy::TerminateSuspended) => suspended,
            Some(
                HeldWhy::MinSize
                | HeldWhy::TerminateRefused
                | HeldWhy::Denied
                | HeldWhy::KeepFloor
                | HeldWhy::LifecycleState
                | HeldWhy::Journal
                | HeldWhy::SlowReads
                | HeldWhy::DryRun
                | HeldWhy::EndingFailed
                | HeldWhy::Rebalance
                | HeldWhy::Retained,
            ) => false,
        }
    }

    pub(super) fn l2(&self) -> Option<String> {
        for (id, station) in &self.after.stations {
            let status = station.status.borrow();
            if !matches!(status.phase.as_str(), "working" | "gone" | "") && status.waits_for.is_none() {
                return Some(format!("{id} is {} and says nothing", status.phase));
            }
        }
        None
    }

    pub(super) fn l7(&self) -> Option<String> {
        for station in self.after.stations.values() {
            let times: Vec<SimTime> = open(&station.record).calls.iter().map(|c| c.at).collect();
            if let Some([a, b]) = times.windows(2).find(|w| matches!(w, [a, b] if *b - *a < self.policy.stale_bound)) {
                return Some(format!("{} sent its terminate call at {} and again at {}", station.id, secs(*a), secs(*b)));
            }
            if times.len() > CALLS_MOST {
                return Some(format!("{} sent its terminate call {} times", station.id, times.len()));
            }
            let counts = self.after.truth.counts.get(&format!("agent:{}", station.id));
            let reads: u64 = counts.into_iter().flatten().filter(|(a, _)| a.starts_with("Describe")).map(|(_, n)| n).sum();
            if reads > READS_MORE + self.after.length.as_secs() / READ_EVERY_S {
                return Some(format!("{} read {reads} times in {}", station.id, secs(self.after.length)));
            }
        }
        None
    }

    /// From the moment when the last of a group had run dry: as many rounds as its budget makes of those that were left, and in each the
    /// longest end that AWS took and a turn for everybody. Promised where AWS answers and agents live.
    pub(super) fn l8(&self) -> Option<String> {
        if !self.is_calm() {
            return None;
        }
        for cluster in &self.play.clusters {
            let group = GroupName::from(cluster.old.name.as_str());
            let ends: Vec<&Termination> = self.own_ends().filter(|t| t.group.as_ref() == Some(&group)).collect();
            let Some(dry) = ends.iter().map(|t| self.dry_since(&t.instance)).max() else { continue };
            let ready = dry + self.policy.settle + self.policy.quiet + CONFIRMED_WITHIN;
            let late: Vec<_> = ends.iter().filter(|t| self.gone(t).is_none_or(|gone| gone > ready)).collect();
            let longest = ends.iter().filter_map(|t| Some(self.gone(t)? - t.at)).max().unwrap_or_default();
            let turns = u32::try_from(late.len() + 1).unwrap_or(u32::MAX);
            let within = (longest + self.policy.stale_bound * 2 * turns) * rounds(late.len(), self.policy.budget_percent);
            if let Some(over) = late.iter().find(|t| t.at > ready + within) {
                let (n, id) = (late.len(), &over.instance);
                return Some(format!("{n} of {group} had run dry at {}, and {id} began to end only at {}", secs(ready), secs(over.at)));
            }
        }
        None
    }

    /// When AWS was done with an end: until then it counts against the budget, also while nothing runs on the machine any more.
    fn gone(&self, end: &Termination) -> Option<SimTime> {
        let gone = |s: &&StateChange| s.instance == end.instance && s.at >= end.at && s.state == LifecycleState::Terminated;
        self.after.truth.states.iter().find(gone).map(|change| change.at)
    }

    /// Nothing but work befalls the play.
    fn is_calm(&self) -> bool {
        let Play { region, goes_bad_after, crash_at_call, crash_every, .. } = self.play;
        let quiet = region.trouble.iter().all(|t| t.probability == 0.0) && region.stale_bound.is_zero();
        let quiet = quiet && self.play.engines.as_ref().is_none_or(Script::is_calm);
        let only_work = region.incidents.iter().all(|i| matches!(i.what, Incident::Work(_)));
        quiet && only_work && goes_bad_after.is_none() && *crash_at_call == 0.0 && crash_every.is_none() && self.policy.soak.is_zero()
    }

    /// It takes no work since then, and has none.
    fn dry_since(&self, id: &InstanceId) -> SimTime {
        let truth = &self.after.truth;
        if let Some(remains) = &self.after.remains {
            let owned = remains.seen.owned.values().flatten().filter(|o| o.session.instance == id.as_str());
            let worked = owned.map(|o| o.to.map_or(self.after.length, |(to, _)| to)).max();
            return self.asked_for_work(id, self.after.length).max(worked).unwrap_or_default();
        }
        let closed = truth.intake.iter().filter(|c| &c.instance == id && !c.open).map(|c| c.at).max();
        let worked = truth.executions.iter().flat_map(|e| &e.runs).filter(|r| &r.instance == id).filter_map(|r| r.ended).max();
        closed.max(worked).unwrap_or_default()
    }
}

/// How many times at most `max(1, percent)` of those that are left go, until none is.
fn rounds(mut members: usize, percent: u8) -> u32 {
    let mut rounds = 0;
    while members > 0 {
        members -= (members * usize::from(percent) / 100).max(1);
        rounds += 1;
    }
    rounds
}

/// Why it held last: between two tries of a held drain it is on its way to the same hold.
fn last_hold(record: &Record) -> Option<String> {
    record.audit.iter().rev().find_map(|event| match &event.what {
        What::Phase { held, .. } => held.clone(),
        What::Started { .. }
        | What::Deed { .. }
        | What::Outcome { .. }
        | What::Notices(_)
        | What::Heal(_)
        | What::Asked { .. }
        | What::Stopped => None,
    })
}
