//! What probes and figures say over time. No single one decides anything.
//!
//! What must stay true: a probe that could not be made proves nothing, either way; what was seen of another process, or before a start had its grace,
//! is forgotten; a limit counts only when it was passed in every look over its time.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use super::policy::HealPolicy;
use super::policy::ProbeRules;
use crate::model::Generation;
use crate::model::Moment;
use crate::model::Probe;
use crate::model::Probed;
use crate::model::Vitals;

/// Looks that a limit has to be passed in, however long they take.
const LOOKS_LEAST: u32 = 3;
/// Starts that are remembered: more than any crash loop that can be set.
const STARTS_KEPT: usize = 64;

/// What could help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// Nothing that is ours to do.
    Tell,
    /// Another process, once this one executes nothing.
    RestartWhenIdle,
    /// Another process.
    Restart,
    /// Another machine.
    Replace,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sick {
    /// Since when.
    pub since: Moment,
    /// What could help.
    pub remedy: Remedy,
    /// For people.
    pub text: String,
}

/// What all of it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing has been seen yet, or not enough.
    Unproven,
    /// As it should be.
    Well,
    /// Not as it should be, and not for long enough.
    Suspect(String),
    /// Not as it should be.
    Sick(Sick),
}

impl Finding {
    /// Something that is ours to do could help: a limit that is only told is no reason to end an instance, nor to go on with it.
    pub fn asks_for_a_deed(&self) -> bool {
        matches!(self, Self::Sick(sick) if sick.remedy > Remedy::Tell)
    }
}

/// One probe over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    passed: u32,
    failed: u32,
    failing: bool,
    since: Option<Moment>,
    last: Option<(Moment, Probed)>,
}

impl Streak {
    fn take(&mut self, rules: ProbeRules, asked: Moment, probed: Probed) {
        match &probed {
            Probed::Passed => {
                (self.passed, self.failed) = (self.passed.saturating_add(1), 0);
                if self.passed >= rules.successes {
                    (self.failing, self.since) = (false, None);
                }
            }
            Probed::Absent { .. } | Probed::Silent { .. } | Probed::Failed { .. } => {
                if self.failed == 0 && !self.failing {
                    self.since = Some(asked);
                }
                (self.failed, self.passed) = (self.failed.saturating_add(1), 0);
                self.failing |= self.failed >= rules.failures;
            }
            Probed::Unable { .. } => {
                (self.failed, self.passed) = (0, 0);
            }
        }
        self.last = Some((asked, probed));
    }

    /// It passed so often in a row that it is believed.
    pub fn is_well(&self, rules: ProbeRules) -> bool {
        !self.failing && self.passed >= rules.successes
    }

    /// It failed so often in a row that it is believed.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// The last one passed, and was asked for at `from` or later.
    pub fn passed_since(&self, from: Moment) -> bool {
        matches!(&self.last, Some((asked, Probed::Passed)) if asked.mono >= from.mono)
    }

    /// The last one passed.
    fn passed_last(&self) -> bool {
        matches!(&self.last, Some((_, Probed::Passed)))
    }

    /// The last one, in words.
    pub fn explain(&self) -> String {
        match &self.last {
            None => "not made yet".to_owned(),
            Some((_, Probed::Passed)) => format!("passed, {} in a row", self.passed),
            Some((_, Probed::Absent { why })) => format!("nobody is there, {} in a row: {why}", self.failed),
            Some((_, Probed::Silent { why })) => format!("no answer in time, {} in a row: {why}", self.failed),
            Some((_, Probed::Failed { why })) => format!("failed, {} in a row: {why}", self.failed),
            Some((_, Probed::Unable { why })) => format!("could not be made, so it proves nothing: {why}"),
        }
    }
}

/// A limit that is passed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Breach {
    since: Moment,
    looks: u32,
    remedy: Remedy,
    text: String,
}

/// All that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    liveness: Streak,
    readiness: Streak,
    store: Streak,
    vitals: Option<(Moment, Vitals)>,
    breaches: BTreeMap<String, Breach>,
    /// Since when looks have shown no limit passed that is more than told.
    within_since: Option<Moment>,
    /// Where the growth of memory is measured from.
    grown_from: Option<(Moment, u64)>,
    /// Processes that answered since our last restart.
    met: VecDeque<Generation>,
    /// Starts that we had no hand in.
    starts: VecDeque<Moment>,
}

impl Evidence {
    /// One probe.
    pub fn probed(&mut self, rules: ProbeRules, probe: Probe, asked: Moment, probed: Probed) {
        let store_was_down = self.store.failing;
        self.streak_mut(probe).take(rules, asked, probed);
        if probe == Probe::Store && store_was_down && !self.store.failing {
            // What failed without its store may be well with it.
            self.liveness = Streak::default();
        }
    }

    /// One look at process and host.
    pub fn saw(&mut self, policy: &HealPolicy, asked: Moment, vitals: Vitals) {
        if self.vitals.as_ref().is_some_and(|(_, last)| last.generation != vitals.generation) {
            self.grown_from = None;
        }
        let found = self.passed_limits(policy, asked, &vitals);
        self.breaches.retain(|name, _| found.contains_key(name));
        for (name, (remedy, text)) in found {
            let breach = self.breaches.entry(name).or_insert(Breach { since: asked, looks: 0, remedy, text: String::new() });
            (breach.looks, breach.text) = (breach.looks.saturating_add(1), text);
        }
        let within = self.breaches.values().all(|breach| breach.remedy == Remedy::Tell);
        self.within_since = if within { self.within_since.or(Some(asked)) } else { None };
        self.vitals = Some((asked, vitals));
    }

    /// Which process answers, in the words of the look at its activity. One that was never met before counts as a start: where several sources tell,
    /// one that is silent for once makes another name of the same process. `shared` says that most siblings are not well either.
    pub fn runs(&mut self, policy: &HealPolicy, generation: Option<&Generation>, at: Moment, shared: bool) {
        let Some(generation) = generation else { return };
        self.starts.retain(|start| at.since(*start) <= policy.window);
        if self.met.contains(generation) {
            return;
        }
        let storeless = policy.store.is_some() && (self.store.failing || !self.store.passed_last());
        if shared || storeless {
            // Not its fault, nor was it just before that was seen.
            self.starts.clear();
        } else if !self.met.is_empty() {
            self.starts.push_back(at);
        }
        self.met.push_back(generation.clone());
        if self.starts.len() > STARTS_KEPT {
            self.starts.pop_front();
        }
        if self.met.len() > STARTS_KEPT {
            self.met.pop_front();
        }
    }

    /// What is seen from now on is of another process, by our own doing.
    pub fn restarted(&mut self) {
        (self.liveness, self.readiness) = (Streak::default(), Streak::default());
        (self.grown_from, self.vitals) = (None, None);
        self.met.clear();
        self.breaches.retain(|_, breach| breach.remedy == Remedy::Replace);
    }

    /// The orchestrator is ready, as far as the probes that there are can tell.
    pub fn is_ready(&self, policy: &HealPolicy) -> bool {
        match (policy.readiness, policy.liveness) {
            (Some(rules), _) => self.readiness.is_well(rules),
            (None, Some(rules)) => self.liveness.is_well(rules),
            (None, None) => self.vitals.is_some(),
        }
    }

    /// The orchestrator answers its probe of life, where there is one.
    pub fn is_alive(&self, policy: &HealPolicy) -> bool {
        policy.liveness.is_none_or(|rules| self.liveness.is_well(rules))
    }

    /// Where limits are set: for as long as it takes to believe one passed, none was that is more than told.
    pub fn is_within_limits(&self, policy: &HealPolicy, now: Moment) -> bool {
        policy.limits.is_empty() || self.within_since.is_some_and(|since| now.since(since) >= policy.limits_over)
    }

    /// The orchestrator does not answer its probe of life: nobody can say what it executes.
    pub fn is_silent(&self) -> bool {
        self.liveness.is_failing()
    }

    /// The store, where it is looked at: `Err` says why the orchestrator may be without fault.
    pub fn store(&self, policy: &HealPolicy, since: Moment) -> Result<(), String> {
        if policy.store.is_none() || (self.store.passed_since(since) && !self.store.is_failing()) {
            return Ok(());
        }
        Err(self.store.explain())
    }

    /// What all of it comes to. The worst counts.
    pub fn finding(&self, policy: &HealPolicy, now: Moment) -> Finding {
        if policy.liveness.is_some() && self.liveness.is_failing() {
            let since = self.liveness.since.unwrap_or(now);
            return Finding::Sick(Sick { since, remedy: Remedy::Restart, text: format!("liveness: {}", self.liveness.explain()) });
        }
        if let Some((starts, since)) = self.crash_loop(policy, now) {
            let text = format!("a crash loop: {starts} starts within {} s that nobody asked for", now.since(since).as_secs());
            return Finding::Sick(Sick { since, remedy: Remedy::Replace, text });
        }
        let lasting = |breach: &&Breach| {
            breach.remedy == Remedy::Tell || (breach.looks >= LOOKS_LEAST && now.since(breach.since) >= policy.limits_over)
        };
        if let Some(worst) = self.breaches.values().filter(lasting).max_by_key(|breach| breach.remedy) {
            return Finding::Sick(Sick { since: worst.since, remedy: worst.remedy, text: worst.text.clone() });
        }
        if self.liveness.failed > 0 {
            return Finding::Suspect(format!("liveness: {}", self.liveness.explain()));
        }
        if let Some(breach) = self.breaches.values().next() {
            return Finding::Suspect(format!("{}, for {} s", breach.text, now.since(breach.since).as_secs()));
        }
        match (policy.liveness, policy.readiness) {
            (Some(rules), _) if !self.liveness.is_well(rules) => Finding::Unproven,
            (_, Some(rules)) if !self.readiness.is_well(rules) => match &self.readiness.last {
                None => Finding::Unproven,
                Some(_) => Finding::Suspect(format!("readiness: {}", self.readiness.explain())),
            },
            (None, None) if self.vitals.is_none() => Finding::Unproven,
            _ => Finding::Well,
        }
    }

    /// Line by line, for people.
    pub fn explain(&self, policy: &HealPolicy, now: Moment) -> Vec<String> {
        let mut lines = Vec::new();
        for probe in [Probe::Liveness, Probe::Readiness, Probe::Store] {
            if policy.rules(probe).is_some() {
                lines.push(format!("{}: {}", probe.as_str(), self.streak(probe).explain()));
            }
        }
        lines.extend(self.breaches.values().map(|breach| format!("{}, for {} s", breach.text, now.since(breach.since).as_secs())));
        if !self.starts.is_empty() {
            lines.push(format!("{} starts that nobody asked for", self.starts.len()));
        }
        lines
    }

    /// There were as many starts as make a crash loop, whether or not it goes on.
    pub fn has_looped(&self, policy: &HealPolicy, now: Moment) -> bool {
        self.starts_within(policy.window, now).count() >= policy.crash_loop as usize
    }

    fn starts_within(&self, window: Duration, now: Moment) -> impl Iterator<Item = Moment> + Clone {
        self.starts.iter().copied().filter(move |start| now.since(*start) <= window)
    }

    /// How many starts, and since when, while they go on. They are over once the last process has lasted longer than a start's grace, and than two of them
    /// did on average: what loops slowly, or is looked at seldom, loops on between its starts.
    fn crash_loop(&self, policy: &HealPolicy, now: Moment) -> Option<(u32, Moment)> {
        let within = self.starts_within(policy.window, now);
        let starts = u32::try_from(within.clone().count()).unwrap_or(u32::MAX);
        let (first, last) = (within.clone().next()?, within.last()?);
        let apart = last.since(first) / starts.saturating_sub(1).max(1);
        let goes_on = now.since(last) <= policy.start_grace.max(apart * 2);
        (self.has_looped(policy, now) && goes_on).then_some((starts, first))
    }

    fn streak(&self, probe: Probe) -> &Streak {
        match probe {
            Probe::Liveness => &self.liveness,
            Probe::Readiness => &self.readiness,
            Probe::Store => &self.store,
        }
    }

    fn streak_mut(&mut self, probe: Probe) -> &mut Streak {
        match probe {
            Probe::Liveness => &mut self.liveness,
            Probe::Readiness => &mut self.readiness,
            Probe::Store => &mut self.store,
        }
    }

    /// The limits that these figures pass, by name.
    fn passed_limits(&mut self, policy: &HealPolicy, asked: Moment, vitals: &Vitals) -> BTreeMap<String, (Remedy, String)> {
        let limits = &policy.limits;
        let mut found = BTreeMap::new();
        let mut pass = |name: &str, remedy, text: String| {
            found.insert(name.to_owned(), (remedy, text));
        };
        if let (Some(limit), Some(used)) = (limits.memory_bytes, vitals.memory_bytes)
            && used > limit
        {
            pass("memory", Remedy::RestartWhenIdle, format!("{} MiB resident, over {} MiB", used >> 20, limit >> 20));
        }
        if let Some(grown) = self.growth(policy, asked, vitals)
            && limits.memory_growth_bytes_per_h.is_some_and(|limit| grown > limit)
        {
            pass("memory_growth", Remedy::RestartWhenIdle, format!("grows by {} MiB an hour", grown >> 20));
        }
        if let (Some(limit), Some(percent)) = (limits.cpu_percent, self.cpu_percent(asked, vitals))
            && percent > limit
        {
            pass("cpu", Remedy::RestartWhenIdle, format!("{percent} % of a core, over {limit} %"));
        }
        for (name, limit, used) in [("threads", limits.threads, vitals.threads), ("files", limits.files, vitals.files)] {
            if let (Some(limit), Some(used)) = (limit, used)
                && used > limit
            {
                pass(name, Remedy::RestartWhenIdle, format!("{used} {name} open, over {limit}"));
            }
        }
        for (name, limit, free) in [
            ("disk", limits.disk_free_percent, &vitals.disk_free_percent),
            ("inodes", limits.inodes_free_percent, &vitals.inodes_free_percent),
        ] {
            for (mount, free) in free {
                if let Some(limit) = limit.filter(|limit| free < limit) {
                    pass(&format!("{name} {mount}"), Remedy::Replace, format!("{mount} has {free} % of its {name} free, under {limit} %"));
                }
            }
        }
        if let (Some(limit), Some(load)) = (limits.load_percent, vitals.load_percent)
            && load > limit
        {
            pass("load", Remedy::Tell, format!("load is {load} % of the cores, over {limit} %"));
        }
        if let (Some(limit), Some(ahead)) = (limits.clock_offset, vitals.clock_ahead_ms)
            && u128::from(ahead.unsigned_abs()) > limit.as_millis()
        {
            let (seconds, way) = (ahead.unsigned_abs() / 1000, if ahead > 0 { "behind" } else { "ahead of" });
            pass("clock", Remedy::Tell, format!("the clock is {seconds} s {way} AWS's, over {} s", limit.as_secs()));
        }
        let before = self.vitals.as_ref().and_then(|(_, before)| before.oom_kills);
        if let (true, Some(before), Some(kills)) = (limits.oom_kills, before, vitals.oom_kills)
            && kills > before
        {
            pass("oom", Remedy::Tell, format!("the kernel killed {} processes for want of memory", kills - before));
        }
        found
    }

    /// Growth of memory in bytes an hour, measured over the time that limits have to last.
    fn growth(&mut self, policy: &HealPolicy, asked: Moment, vitals: &Vitals) -> Option<u64> {
        let used = vitals.memory_bytes?;
        let (from, was) = *self.grown_from.get_or_insert((asked, used));
        let over = asked.since(from);
        if over < policy.limits_over {
            return None;
        }
        if over > policy.limits_over * 4 {
            // The rate of long ago is not that of now.
            self.grown_from = Some((asked, used));
        }
        let grown = u128::from(used.saturating_sub(was)) * Duration::from_secs(3600).as_millis() / over.as_millis().max(1);
        Some(u64::try_from(grown).unwrap_or(u64::MAX))
    }

    /// Of one core, since the look before, when that was of the same process.
    fn cpu_percent(&self, asked: Moment, vitals: &Vitals) -> Option<u32> {
        let (before, last) = self.vitals.as_ref().filter(|(_, last)| last.generation == vitals.generation)?;
        let spent = u128::from(vitals.cpu_ms?.checked_sub(last.cpu_ms?)?);
        u32::try_from(spent * 100 / asked.since(*before).as_millis().max(1)).ok()
    }
}
