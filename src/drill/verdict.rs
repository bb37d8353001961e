//! Was every invariant of draining.md §6 kept, and those of the embedded engines, E1 to E8? Judged by what really happened, not by what anybody said.
//!
//! [`agents`] judges the agents, [`rollback`] the rollback and what both owe each other, [`undo`] its undoing, [`engine`] the engines; [`ledger`] reads
//! the region's record for them.
//!
//! [`heed`] judges what the agents owe an instance that AWS ends by itself. L4 (leases) has nothing to speak of yet and is not listed.

mod agents;
mod engine;
mod heal;
mod heed;
mod ledger;
mod rollback;
mod undo;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cloud::sim::Call;
use crate::cloud::sim::Termination;
use crate::cloud::sim::Why;
use crate::decide::HeldWhy;
use crate::decide::Policy;
use crate::decide::Reason;
use crate::model::InstanceId;

use super::fleet::Entry;
use super::fleet::Facts;
use super::fleet::Falls;
use super::fleet::Left;
use super::fleet::Ownership;
use super::scenario::Play;
use super::stage::Aftermath;
use super::station::AtCall;
use super::station::open;
use engine::Engines;
use ledger::wall;

/// One invariant, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invariant {
    /// Its number: S and L as in draining.md §6, E for the engines'.
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
    /// Effects that embedded engines began.
    pub effects: usize,
    /// Executions that were taken over from an owner that was gone.
    pub adopted: usize,
    /// Executions that ended badly since what must not be repeated was lost with its owner.
    pub lost_jobs: usize,
    /// Machines that fell, of themselves.
    pub machines_fallen: usize,
    /// Restarts of orchestrators by their agents.
    pub restarts: usize,
    /// Most of one group that were under way at once.
    pub restarts_at_once: usize,
    /// Permits to heal that were granted or renewed.
    pub permits: usize,
    /// Most of one group that were in force at once.
    pub permits_at_once: usize,
    /// How often healing held, by code.
    pub heal_held: BTreeMap<&'static str, usize>,
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
    let stations = after.stations.values();
    let calls = stations.flat_map(|s| open(&s.record).calls.iter().map(|c| (s.id.clone(), c.clone())).collect::<Vec<_>>()).collect();
    let engines = after.remains.as_ref().map(|remains| Engines { remains, length: after.length });
    let judge = Judge { play, after, policy: &play.policy, calls, engines };
    let mut invariants = vec![
        verdict("S1", "no instance ends itself with work in flight", judge.s1()),
        verdict("S2", "idle is never concluded from an unknown or stale sample", judge.s2()),
        verdict("S3", "idle is concluded only with intake off for the whole quiet time", judge.s3()),
        verdict("S4", "an instance that ends itself takes desired down once, and is not replaced", judge.s4()),
        verdict("S5", "a terminate call names the caller alone, with the intent in its journal", judge.s5()),
        verdict(
            "S6",
            "an instance ends itself only while superseded by a healthy successor, under the generation its drain began with",
            judge.s6(),
        ),
        verdict("S7", "agents write no size but min, and min only down to desired - 1", judge.s7()),
        verdict("S8", "whoever takes capacity away leaves the floor serving", judge.s8()),
        verdict("S9", "agents of a group end within its budget", judge.s9()),
        verdict("S15", "a drain is not called off after its terminate call was accepted", judge.s15()),
        verdict("S17", "every call of an agent has its line in the audit log before it, and what came of it after it", judge.s17()),
        verdict("L1", "what is superseded and runs dry leaves", judge.l1()),
        verdict("L2", "what cannot leave says why", judge.l2()),
        verdict("L7", "tries are spaced out, and reads are few", judge.l7()),
        verdict(
            "L8",
            "what runs dry together leaves in rounds of the budget, with nothing but the ends themselves to wait for",
            judge.l8(),
        ),
    ];
    if play.policy.hooks.terminating.is_some() {
        invariants.extend([
            verdict("S10", "a hook is told to go on only when nothing is in flight", judge.s10()),
            verdict("L5", "AWS is kept waiting for as long as there is work", judge.l5()),
        ]);
    }
    if play.policy.protect {
        invariants.push(verdict("S16", "whom an agent protected from scale-in is so no more when idle", judge.s16_of_agents()));
    }
    if after.truth.terminations.iter().any(|t| t.why == Why::Spot) {
        invariants.push(verdict("F41", "from a poll after its notice on, an instance that AWS takes back begins nothing", judge.f41()));
    }
    if after.rollback.is_some() {
        invariants.extend([
            verdict("S11", "no agent takes capacity away once a rollback's hold must have been seen", judge.s11()),
            verdict("S12", "after a rollback sizes, processes and tags are as planned, and nothing else was touched", judge.s12()),
            verdict(
                "S13",
                "the newest group is taken away only once the restored one serves, which is never scaled down; a canary serves before others come; an undo ends what was added alone",
                judge.s13(),
            ),
            verdict("S14", "a singleton polls at most once during a rollback", judge.s14()),
            verdict("S16", "whom a rollback protected from scale-in is so no more when it has ended, or was undone", judge.s16()),
            verdict("L3", "a drain that was called off takes work again", judge.l3()),
            verdict("L6", "a rollback ends done, or refused with nothing changed", judge.l6()),
        ]);
    }
    if play.sickness.is_some() {
        invariants.extend([
            verdict("H1", "orchestrators of a group are restarted within its budget", judge.h1()),
            verdict("H2", "no orchestrator is restarted more often than its own budget allows", judge.h2()),
            verdict("H3", "nobody is replaced, nor restarted, for a cause that all share", judge.h3()),
            verdict("H4", "what hangs by itself is restarted in its turn", judge.h4()),
            verdict("H6", "an instance that no restart mends runs dry, ends itself and is replaced; its group stays as large", judge.h6()),
        ]);
    }
    if after.permits.is_some() {
        invariants.push(verdict("H5", "a group has no more permits in force than its budget", judge.h5()));
    }
    if let Some(engines) = &judge.engines {
        invariants.extend([
            verdict(
                "E1",
                "every execution ends, and as its pipeline says; only what must not be repeated may be lost with its machine",
                engines.e1(),
            ),
            verdict("E2", "no effect is begun twice that must not be, and none again that is known to be done", engines.e2()),
            verdict("E3", "nothing is begun by an instance that lost the execution before", engines.e3()),
            verdict("E4", "what a dead instance owned is taken over within its lease of 6 s and a second", engines.e4()),
            verdict("E5", "a drain owns nothing within a second of the end of what was under way", engines.e5()),
            verdict("E6", "with its intake closed an engine begins nothing", engines.e6()),
            verdict("E7", "what an execution starts is started once", engines.e7()),
            verdict("E8", "a job on a machine whose agent comes back is found again", engines.e8()),
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
    /// Terminate calls that went out.
    calls: Vec<(InstanceId, Arc<AtCall>)>,
    engines: Option<Engines<'a>>,
}

/// How long after a hold was written an agent may still send: the staleness of its read and the time from it to the call.
fn bound(policy: &Policy) -> Duration {
    policy.stale_bound * 2
}

impl Judge<'_> {
    /// Ends that an agent asked for.
    fn own_ends(&self) -> impl Iterator<Item = &Termination> {
        self.after.truth.terminations.iter().filter(|t| t.why == Why::Request && t.by.starts_with("agent:"))
    }

    /// Mutating calls of agents.
    fn agent_calls(&self) -> impl Iterator<Item = (&Call, InstanceId)> {
        self.after.truth.calls.iter().filter_map(|c| Some((c, InstanceId::from(c.caller.strip_prefix("agent:")?))))
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
        let executions = Executions {
            started: truth.executions.iter().filter(|e| !e.runs.is_empty()).count(),
            finished: truth.executions.iter().filter(|e| e.is_finished()).count(),
            lost: truth.lost().count(),
            lost_to_agents: own.len(),
        };
        let engines = self.engines.as_ref();
        let remains = self.after.remains.as_ref();
        let taken = |owned: &Vec<Ownership>| owned.iter().rev().skip(1).filter(|o| o.to.is_some_and(|(_, how)| how == Left::Taken)).count();
        let falls = |facts: &Facts| facts.falls.iter().filter(|(_, what)| *what == Falls::Machine).count();
        Figures {
            executions: engines.map_or(executions, |engines| self.executions(engines)),
            effects: remains.map_or(0, |r| r.ledger.len()),
            adopted: remains.map_or(0, |r| r.seen.owned.values().map(taken).sum()),
            lost_jobs: engines.map_or(0, |engines| engines.remains.executions.iter().filter(|e| engines.is_excused(e)).count()),
            machines_fallen: remains.map_or(0, |r| r.hosts.values().map(falls).sum()),
            instances_retired: self.own_ends().count(),
            decrements: truth.decrements.len(),
            calls,
            longest_drain_s: self.longest_drain().as_secs(),
            agent_crashes: self.after.stations.values().map(|s| open(&s.record).crashes).sum(),
            restarts: self.restarts().values().map(Vec::len).sum(),
            restarts_at_once: self.restarts_at_once(),
            permits: self.after.permits.as_ref().map_or(0, |account| account.granted),
            permits_at_once: self.after.permits.as_ref().map_or(0, |account| account.most),
            heal_held: self.heal_held(),
            held,
            rollback: self.after.rollback.as_ref().map(|r| match &r.outcome {
                Some(outcome) => format!("exit {} after {} starts", outcome.exit_code(), r.starts),
                None => "unfinished".to_owned(),
            }),
            virtual_s: self.after.length.as_secs(),
        }
    }

    /// Of embedded engines. What was cut off when an agent ended its instance counts as lost to it, also when it was done again elsewhere.
    fn executions(&self, engines: &Engines<'_>) -> Executions {
        let all = &engines.remains.executions;
        let finished = all.iter().filter(|e| e.status().is_complete()).count();
        let cut = |t: &Termination| {
            let with = |e: &&Entry| e.on == t.instance && e.cut.is_some() && e.cut == t.stopped;
            engines.remains.ledger.iter().filter(with).count()
        };
        Executions { started: all.len(), finished, lost: all.len() - finished, lost_to_agents: self.own_ends().map(cut).sum() }
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
