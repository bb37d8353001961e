//! What the embedded engines promise: E1 to E8, judged by what the witness before the store and the ledger of effects saw.
//!
//! An engine that is killed, cut off from the store or loses calls owes nothing while that lasts; what it owned is owed by the others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ledger::secs;
use crate::cloud::sim::SimTime;
use crate::drill::fleet::Entry;
use crate::drill::fleet::Facts;
use crate::drill::fleet::Left;
use crate::drill::fleet::Life;
use crate::drill::fleet::Ownership;
use crate::drill::fleet::Remains;
use crate::drill::fleet::WAY;
use crate::drill::fleet::script;
use crate::drill::fleet::script::Pipeline;
use crate::model::InstanceId;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::ExecutionId;
use crate::orchestrator::engine::status::Status;

/// The lease that is promised, whatever an engine was set to.
const LEASE: Duration = Duration::from_secs(6);
/// From the moment when something can be done to its being done.
const MOMENT: Duration = Duration::from_secs(1);
/// A call to the store and its answer, and some.
const CALL: Duration = WAY.saturating_mul(4);
/// An engine begins to claim within this of its start.
const BEGINS: Duration = Duration::from_secs(2);
/// A process that comes back keeps for itself for so long what a job of its machine is at.
const KEPT: Duration = Duration::from_secs(10);
/// An agent that fell is back, and has taken up what its jobs do, within this: systemd's pause, and what a host has first call on.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// The engines of a play, and what is left of them.
pub(super) struct Engines<'a> {
    pub(super) remains: &'a Remains,
    pub(super) length: SimTime,
}

impl Engines<'_> {
    fn facts(&self, instance: &str) -> Option<&Facts> {
        self.remains.hosts.get(&InstanceId::from(instance))
    }

    fn owned(&self, id: &ExecutionId) -> &[Ownership] {
        self.remains.seen.owned.get(id).map_or(&[], Vec::as_slice)
    }

    /// The owner's process ended, or its line was not sound, between the begin of an ownership and that time.
    fn was_hit(&self, ownership: &Ownership, until: SimTime) -> bool {
        let Some(facts) = self.facts(&ownership.session.instance) else { return true };
        let ended = life_at(facts, ownership.from).and_then(|life| life.to);
        ended.is_some_and(|to| to <= until) || !facts.is_sound(ownership.from, until)
    }

    fn was_ever_hit(&self, id: &ExecutionId) -> bool {
        self.owned(id).iter().any(|o| self.was_hit(o, o.to.map_or(self.length, |(to, _)| to)))
    }

    /// It ended badly because something that must not be done twice was lost with its owner: that is what its pipeline asked for.
    pub(super) fn is_excused(&self, execution: &Execution) -> bool {
        let lost = execution.stages().iter().any(|stage| {
            let kind = stage.context().get("exception").and_then(|e| e.get("exceptionType")).and_then(|kind| kind.as_str());
            stage.status() == Status::Terminal && kind.is_some_and(|kind| matches!(kind, "JobLostException" | "AttemptLostException"))
        });
        execution.status() == Status::Terminal && lost && self.was_ever_hit(&execution.id)
    }

    /// Nothing is lost, and everything ends as it should.
    pub(super) fn e1(&self) -> Option<String> {
        if !self.remains.served {
            return Some("what was to come in did not all come in, or nobody could judge what was to be judged".to_owned());
        }
        for execution in &self.remains.executions {
            let (name, status) = (&execution.summary().name, execution.status());
            let last = self.owned(&execution.id).last();
            let whose = || last.map_or("nobody".to_owned(), |o| format!("{} from {} to {:?}", o.session.instance, secs(o.from), o.to));
            if !status.is_complete() {
                return Some(format!("{} ({name}) is {status:?} at the end, last owned by {}", execution.id, whose()));
            }
            if status != Pipeline::ends(name) && !self.is_excused(execution) {
                return Some(format!("{} ({name}) ended {status:?}: {}", execution.id, exceptions(execution)));
            }
        }
        None
    }

    /// No attempt twice; what must not be repeated not at all; what was done and known to be done not again.
    pub(super) fn e2(&self) -> Option<String> {
        let mut by_key: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.remains.ledger {
            by_key.entry(entry.key.idempotency_key()).or_default().push(entry);
        }
        for (key, entries) in &by_key {
            for (n, later) in entries.iter().enumerate() {
                for before in &entries[..n] {
                    if let Some(why) = self.may_not_follow(before, later) {
                        return Some(format!(
                            "{key} was begun on {} at {} and again on {} at {}: {why}",
                            before.on,
                            secs(before.begun),
                            later.on,
                            secs(later.begun)
                        ));
                    }
                }
            }
        }
        None
    }

    fn may_not_follow(&self, before: &Entry, later: &Entry) -> Option<&'static str> {
        if before.key == later.key {
            return Some("the same attempt");
        }
        if before.once {
            return Some("it must not be done twice");
        }
        let done = before.ended()?;
        let owner = self
            .owned(&before.key.execution)
            .iter()
            .find(|o| o.session.instance == before.on.as_str() && o.from <= done && o.to.is_none_or(|(to, _)| to >= done))?;
        (later.begun > done + MOMENT && !self.was_hit(owner, done + MOMENT))
            .then_some("it had been done, and its owner had time to write so")
    }

    /// Whoever begins something owns it, or did so a call's time ago.
    pub(super) fn e3(&self) -> Option<String> {
        let begun = self.remains.ledger.iter().find(|entry| {
            let mut owned = self.owned(&entry.key.execution).iter();
            !owned.any(|o| {
                let lasts = o.to.is_none_or(|(to, _)| to + CALL >= entry.begun);
                o.session.instance == entry.on.as_str() && o.from <= entry.begun && lasts
            })
        })?;
        let owner = self.owned(&begun.key.execution).iter().rfind(|o| o.from <= begun.begun);
        let owner = owner.map_or("nobody", |o| o.session.instance.as_str());
        Some(format!("{} began on {} at {}, when {owner} owned the execution", begun.key, begun.on, secs(begun.begun)))
    }

    /// An engine that can take over was there, and had the time to.
    pub(super) fn e4(&self) -> Option<String> {
        for (id, owned) in &self.remains.seen.owned {
            for (n, o) in owned.iter().enumerate() {
                let Some(fell) = self.fell_with(o) else { continue };
                let taken = owned.get(n + 1).map(|next| next.from);
                let Some(by) = self.adoptable_by(self.kept_until(o, fell).unwrap_or(fell + LEASE)) else { continue };
                if taken.is_none_or(|taken| taken > by) && !self.is_over(id) {
                    let taken = taken.map_or("never".to_owned(), secs);
                    return Some(format!(
                        "{id} was owned by {} which fell at {}, and was taken over {taken}; {} was promised",
                        o.session.instance,
                        secs(fell),
                        secs(by)
                    ));
                }
            }
        }
        None
    }

    /// The owner's machine was at a job of its session, and its agent came back within the lease: elsewhere the job would count as lost, so the session is kept
    /// until the agent has what is its own, and for as long as its line makes it try again.
    fn kept_until(&self, o: &Ownership, fell: SimTime) -> Option<SimTime> {
        let facts = self.facts(&o.session.instance)?;
        let back = facts.lives.iter().find(|life| life.from >= fell && life.from <= fell + LEASE)?;
        // What a process was at itself is cut with it; of what it had just heard of, it may not have said so yet.
        let outlived = |entry: &&Entry| {
            let just_ended = entry.job && entry.cut.is_none() && entry.over() + BACK_WITHIN >= fell;
            let here = entry.on.as_str() == o.session.instance && entry.begun <= fell && (entry.over() > fell || just_ended);
            here && self.owned(&entry.key.execution).iter().any(|other| other.session == o.session)
        };
        self.remains.ledger.iter().find(outlived)?;
        let troubled = facts.troubled.iter().filter(|(begun, over)| *begun <= fell + LEASE && *over >= back.from);
        let settled = troubled.map(|(_, over)| *over + BACK_WITHIN).max().unwrap_or(back.from);
        Some(back.to.map_or(settled, |again| again.min(settled)) + KEPT)
    }

    /// When the process of an owner ended, if it owned the execution then.
    fn fell_with(&self, o: &Ownership) -> Option<SimTime> {
        let ended = life_at(self.facts(&o.session.instance)?, o.from)?.to?;
        let gave_back = o.to.is_some_and(|(to, how)| how == Left::GaveBack && to <= ended);
        let lost_before = o.to.is_some_and(|(to, _)| to < ended);
        (!gave_back && !lost_before).then_some(ended)
    }

    fn is_over(&self, id: &ExecutionId) -> bool {
        !self.remains.executions.iter().any(|e| &e.id == id)
    }

    /// The first time, a moment after that one at the earliest, up to which somebody could claim for a whole moment; `None` = not in this play.
    fn adoptable_by(&self, due: SimTime) -> Option<SimTime> {
        let step = MOMENT / 4;
        let mut able = 0;
        let mut at = due;
        while at + step <= self.length {
            at += step;
            able = if self.remains.hosts.values().any(|facts| claims(facts, at)) { able + 1 } else { 0 };
            if able >= 4 {
                return Some(at);
            }
        }
        None
    }

    /// Each time that an engine was told to take no more: the instance, when, and until when that stood and its line was sound.
    fn closings(&self) -> impl Iterator<Item = (&InstanceId, &Facts, SimTime, SimTime)> {
        self.remains.hosts.iter().flat_map(move |(id, facts)| {
            let closed = facts.intake.iter().enumerate().filter(|(n, (_, open))| !open && (*n == 0 || facts.intake[n - 1].1));
            closed.map(move |(n, (at, _))| {
                let opened = facts.intake[n..].iter().find(|(_, open)| *open).map(|(at, _)| *at);
                let died = life_at(facts, *at).and_then(|life| life.to);
                let until = [opened, died, Some(self.length)].into_iter().flatten().min().unwrap_or(self.length);
                let sound = facts.troubled.iter().filter(|(_, over)| *over + Duration::from_secs(4) >= *at).map(|(begun, _)| *begun).min();
                (id, facts, *at, sound.map_or(until, |sound| until.min(sound)))
            })
        })
    }

    /// What is under way when a drain begins is waited for; then nothing is owned any more.
    pub(super) fn e5(&self) -> Option<String> {
        for (id, _, at, until) in self.closings() {
            let under_way = self.remains.ledger.iter().filter(|e| &e.on == id && e.begun <= at + CALL && e.over() > at);
            let empty_by = under_way.map(Entry::over).max().unwrap_or(at) + MOMENT;
            if empty_by >= until {
                continue;
            }
            let owns = |o: &&Ownership| o.session.instance == id.as_str() && o.from < empty_by && o.to.is_none_or(|(to, _)| to > empty_by);
            if let Some((execution, _)) = self.remains.seen.owned.iter().find(|(_, owned)| owned.iter().any(|o| owns(&o))) {
                return Some(format!("{id} closed its intake at {} and still owned {execution} at {}", secs(at), secs(empty_by)));
            }
        }
        None
    }

    /// With its intake closed an engine begins nothing.
    pub(super) fn e6(&self) -> Option<String> {
        for (id, _, at, until) in self.closings() {
            let began = self.remains.ledger.iter().find(|e| &e.on == id && e.begun > at + CALL && e.begun < until);
            if let Some(began) = began {
                return Some(format!("{id} closed its intake at {} and began {} at {}", secs(at), began.key, secs(began.begun)));
            }
        }
        None
    }

    /// What an execution starts, at its end or on its way, is started once.
    pub(super) fn e7(&self) -> Option<String> {
        let mut started: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for execution in &self.remains.executions {
            let parent = execution.summary().trigger.get("parentExecution").and_then(|p| p.get("id")).and_then(|id| id.as_str());
            if let Some(parent) = parent {
                *started.entry((parent, execution.summary().name.as_str())).or_default() += 1;
            }
        }
        for execution in self.remains.executions.iter().filter(|e| e.status() == Status::Succeeded) {
            let starts = match execution.summary().name.as_str() {
                script::CHAIN => script::FOLLOWER,
                name if name == Pipeline::Parent.name() => script::CHILD,
                _ => continue,
            };
            let times = started.get(&(execution.id.as_str(), starts)).copied().unwrap_or_default();
            if times != 1 {
                return Some(format!("{} ({}) started {starts} {times} times", execution.id, execution.summary().name));
            }
        }
        None
    }

    /// A job that ran to its end on a machine whose agent came back is not given up for lost.
    pub(super) fn e8(&self) -> Option<String> {
        for execution in self.remains.executions.iter().filter(|e| self.is_excused(e)) {
            for entry in self.remains.ledger.iter().filter(|e| e.once && e.key.execution == execution.id) {
                let Some(facts) = self.remains.hosts.get(&entry.on) else { continue };
                let failed = execution.stages().iter().any(|s| s.id == entry.key.stage && s.status() == Status::Terminal);
                let is_job = execution.stages().iter().any(|s| s.id == entry.key.stage && s.head().kind == "runJob");
                let until = entry.ends + BACK_WITHIN;
                let stays = entry.cut.is_none() && facts.down.is_none_or(|down| down > until) && facts.is_sound(entry.begun, until);
                let falls = facts.falls.iter().filter(|(at, _)| *at >= entry.begun && *at <= until).count();
                // An agent that comes back in a drain takes nothing on, also not what its own machine still does.
                let takes = facts.intake.iter().all(|(at, open)| *open || *at > until);
                if failed && is_job && stays && takes && falls <= 1 && until < self.length {
                    return Some(format!(
                        "{} ran on {} from {} to {}, whose agent fell once and came back, and was given up for lost",
                        entry.key,
                        entry.on,
                        secs(entry.begun),
                        secs(entry.ends)
                    ));
                }
            }
        }
        None
    }
}

fn life_at(facts: &Facts, at: SimTime) -> Option<&Life> {
    facts.lives.iter().rfind(|life| life.from <= at)
}

/// An engine on this machine could claim then, and has been able to for a while.
fn claims(facts: &Facts, at: SimTime) -> bool {
    let lives = life_at(facts, at).is_some_and(|life| life.from + BEGINS <= at && life.to.is_none_or(|to| to > at));
    let open = facts.intake.iter().rfind(|(then, _)| *then <= at).is_some_and(|(_, open)| *open);
    lives && open && facts.is_sound(at, at)
}

fn exceptions(execution: &Execution) -> String {
    let failed = execution.stages().iter().filter(|stage| stage.status().is_halt());
    failed
        .map(|stage| format!("{} {:?} {:?}", stage.head().name, stage.status(), stage.context().get("exception")))
        .collect::<Vec<_>>()
        .join("; ")
}
