//! What healing promises.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Judge;
use super::ledger::secs;
use crate::cloud::sim::Incident;
use crate::cloud::sim::SimTime;
use crate::decide::heal::Decision;
use crate::drill::scenario::START_MS;
use crate::drill::station::open;
use crate::journal::What;
use crate::model::InstanceId;
use crate::model::Timestamp;

/// A restart is answered within: its stop and what AWS's own calls may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// From the moment at which an orchestrator hangs to the finding: three probes, and a read of the group.
const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// The longest execution, and the confirmation that none is left.
const LONGEST_WORK: Duration = Duration::from_secs(1500);

/// A restart by an agent.
pub(super) struct Restart {
    pub(super) instance: InstanceId,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Judge<'_> {
    /// All of them, by group.
    pub(super) fn restarts(&self) -> BTreeMap<String, Vec<Restart>> {
        let mut all: BTreeMap<String, Vec<Restart>> = BTreeMap::new();
        for (id, station) in &self.after.stations {
            let group = station.status.borrow().group.as_ref().map(ToString::to_string).unwrap_or_default();
            let record = open(&station.record);
            for (i, event) in record.audit.iter().enumerate() {
                let What::Deed { key, deed, .. } = &event.what else { continue };
                if !deed.starts_with("restart the orchestrator") {
                    continue;
                }
                let over = record.audit[i + 1..].iter().find(|later| match &later.what {
                    What::Outcome { key: of, .. } => of == key,
                    What::Started { .. } => true,
                    _ => false,
                });
                let until = over.map_or(event.at.plus(ANSWERED_WITHIN), |over| over.at);
                all.entry(group.clone()).or_default().push(Restart { instance: id.clone(), from: event.at, until });
            }
        }
        all
    }

    /// Most that were under way at one moment, in one group.
    pub(super) fn restarts_at_once(&self) -> usize {
        let most = |all: &Vec<Restart>| all.iter().map(|one| at_once(all, one)).max().unwrap_or(0);
        self.restarts().values().map(most).max().unwrap_or(0)
    }

    /// How often healing held, by code.
    pub(super) fn heal_held(&self) -> BTreeMap<&'static str, usize> {
        let mut held = BTreeMap::new();
        for station in self.after.stations.values() {
            for event in &open(&station.record).audit {
                if let What::Heal(Decision { held: Some(hold), .. }) = &event.what {
                    *held.entry(hold.code()).or_default() += 1;
                }
            }
        }
        held
    }

    pub(super) fn h1(&self) -> Option<String> {
        for (group, all) in self.restarts() {
            let cluster = self.play.clusters.iter().find(|c| c.old.name == group || c.new.name == group)?;
            let size = cluster.old.desired.unwrap_or_default() as usize;
            let budget = (size * usize::from(self.policy.heal.budget_percent) / 100).max(1);
            if let Some(one) = all.iter().find(|one| at_once(&all, one) > budget) {
                let n = at_once(&all, one);
                return Some(format!("{n} of {group} were being restarted at {}, the budget is {budget}", since_start(one.from)));
            }
        }
        None
    }

    pub(super) fn h2(&self) -> Option<String> {
        let heal = &self.policy.heal;
        for all in self.restarts().values() {
            for one in all {
                let within =
                    |other: &&Restart| other.instance == one.instance && other.from <= one.from && one.from.since(other.from) < heal.window;
                let n = all.iter().filter(within).count();
                if n > heal.restarts as usize {
                    return Some(format!(
                        "{} was restarted {n} times within {} at {}",
                        one.instance,
                        secs(heal.window),
                        since_start(one.from)
                    ));
                }
            }
        }
        None
    }

    pub(super) fn h3(&self) -> Option<String> {
        for (id, station) in &self.after.stations {
            let replaced = |what: &What| matches!(what, What::Deed { deed, .. } if deed.ends_with("without decrement"));
            if self.is_full(id) {
                continue;
            }
            if let Some(event) = open(&station.record).audit.iter().find(|event| replaced(&event.what)) {
                return Some(format!("{id} had itself replaced at {}", since_start(event.at)));
            }
        }
        let (from, until) = self.play.sickness.as_ref().and_then(|sickness| sickness.shared)?;
        let lasting = |at: Timestamp| (from..until).contains(&since_start_time(at));
        let restarts = self.restarts();
        let one = restarts.values().flatten().find(|one| lasting(one.from))?;
        Some(format!("{} was restarted at {}, while all had the same", one.instance, since_start(one.from)))
    }

    /// Its disk was full, so that it was to be replaced: no successor, and no decrement.
    pub(super) fn is_full(&self, id: &InstanceId) -> bool {
        self.after.full.as_ref().is_some_and(|(full, _)| full == id)
    }

    /// It is gone, in time and by its own call, and its group is as large as before.
    pub(super) fn h6(&self) -> Option<String> {
        let (id, from) = self.after.full.as_ref()?;
        let heal = &self.policy.heal;
        let size = self.play.clusters.first()?.old.desired.unwrap_or_default();
        // Believed after `limits_over`; then its turn comes to begin, what is under way is waited for, its turn comes to end; an agent that fell begins again.
        let turns = heal.turn * 2 * (size + 1) * 2;
        let within = heal.limits_over + FOUND_WITHIN + turns + LONGEST_WORK + self.play.crash_every.unwrap_or_default();
        let Some(end) = self.own_ends().find(|end| &end.instance == id) else {
            return Some(format!("{id}, whose disk was full from {} on, did not end itself", secs(*from)));
        };
        if end.decremented || !(*from..*from + within).contains(&end.at) {
            return Some(format!(
                "{id} ended itself at {}, with a decrement: {}; {} was promised",
                secs(end.at),
                end.decremented,
                secs(*from + within)
            ));
        }
        if let Some(one) = self.restarts().into_values().flatten().next() {
            return Some(format!("{} was restarted at {}: a restart makes no room", one.instance, since_start(one.from)));
        }
        let resized =
            self.after.truth.capacity.iter().find(|c| Some(&c.group) == end.group.as_ref() && c.at > *from && c.at < self.play.deploy_at);
        resized.map(|c| format!("{} was {} at {}: who is replaced takes nothing down", c.group, c.capacity, secs(c.at)))
    }

    pub(super) fn h5(&self) -> Option<String> {
        let one = self.after.permits.as_ref()?.excess.first()?;
        Some(format!("{} permits of {} were in force at {}, there are {}", one.in_force, one.group, secs(one.at), one.places))
    }

    pub(super) fn h4(&self) -> Option<String> {
        let heal = &self.policy.heal;
        let restarts = self.restarts();
        let hung: Vec<SimTime> =
            self.play.region.incidents.iter().filter(|i| matches!(i.what, Incident::Deadlock(_))).map(|i| i.at).collect();
        let name = &self.play.clusters.first()?.old.name;
        let size = self.play.clusters.first()?.old.desired.unwrap_or_default();
        // Everybody's turn comes once in as many slots as there are members; a restart before may have had to be backed off, or its agent fell.
        let within = FOUND_WITHIN + heal.turn * 2 * (size + 1) + if self.play.crash_every.is_some() { heal.window } else { Duration::ZERO };
        let none = Vec::new();
        let all = restarts.get(name).unwrap_or(&none);
        for at in &hung {
            let together = hung.iter().filter(|other| *other == at).count();
            let healed = all.iter().filter(|one| (*at..*at + within).contains(&since_start_time(one.from))).map(|one| &one.instance);
            let healed: std::collections::BTreeSet<_> = healed.collect();
            if healed.len() < together {
                return Some(format!(
                    "{together} of {name} hung at {}, and {} were restarted within {}",
                    secs(*at),
                    healed.len(),
                    secs(within)
                ));
            }
        }
        None
    }
}

/// How many were under way when this one began.
fn at_once(all: &[Restart], one: &Restart) -> usize {
    all.iter().filter(|other| other.from <= one.from && one.from < other.until).count()
}

fn since_start_time(at: Timestamp) -> SimTime {
    at.since(Timestamp(START_MS))
}

fn since_start(at: Timestamp) -> String {
    secs(since_start_time(at))
}
