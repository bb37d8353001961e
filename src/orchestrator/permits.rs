//! Whoever keeps the book of permits that a fleet's agents take before they heal: Redis for real ones, [`Book`] for a rehearsal.
//!
//! What must stay true:
//! * Nobody is given a permit beside as many others as there are places by its own question, whatever is lost, late or repeated. Who holds one keeps it
//!   when there are fewer places.
//! * Time is the book's. Who holds a permit counts its lease from before the question, so that it is not in force here any more when it runs out there.
//! * What an older intent of an instance says comes late, and changes nothing.
//! * A book that may have lost writes gives nothing new until all that it may have lost has run out, also to whom it still, or again, lists.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::store::StoreError;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;

/// Where an agent's group is. Spinnaker names groups alike in all regions: of one name in two places there are two, each with places of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Region name.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

/// The book of permits.
#[async_trait]
pub trait Permits: Send + Sync + 'static {
    /// Takes a permit, or renews it. After an error nobody knows whether it was granted.
    async fn take(&self, request: &PermitRequest) -> Result<PermitAnswer, StoreError>;

    /// Gives a permit back; one that is not in the book, or is of another intent, changes nothing.
    async fn give(&self, group: &GroupName, permit: &Permit) -> Result<(), StoreError>;
}

/// The rules, on entries in memory.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// By group and holder: the number, and when it runs out.
    entries: BTreeMap<(GroupName, InstanceId), (u64, Duration)>,
    /// Nothing new before.
    opens: Duration,
}

impl Book {
    /// Answers a question at this time of the book's clock.
    pub fn take(&mut self, now: Duration, request: &PermitRequest) -> PermitAnswer {
        self.entries.retain(|_, (_, until)| *until > now);
        for gone in &request.gone {
            self.give(&request.group, gone);
        }
        let PermitRequest { group, permit, places, lease, keeps, .. } = request;
        let own = (group.clone(), permit.holder.clone());
        let others = self.entries.keys().filter(|key| key.0 == *group && **key != own).count();
        let granted = match self.entries.get(&own) {
            // A closed book may have again what was given back, and lack who came in its place.
            Some((number, _)) => *number == permit.number || (*number < permit.number && (*keeps || now >= self.opens)),
            None => others < *places as usize && (*keeps || now >= self.opens),
        };
        if granted {
            self.entries.insert(own, (permit.number, now + *lease));
            return PermitAnswer::Granted;
        }
        PermitAnswer::Refused { held: self.held(now, group), closed: self.closed(now) }
    }

    /// What it holds of a group, and for how much longer.
    pub fn held(&self, now: Duration, group: &GroupName) -> Vec<(Permit, Duration)> {
        let ours = self.entries.iter().filter(|((of, _), (_, until))| of == group && *until > now);
        ours.map(|((_, holder), (number, until))| (Permit { holder: holder.clone(), number: *number }, *until - now)).collect()
    }

    /// For how much longer it gives nothing new.
    pub fn closed(&self, now: Duration) -> Option<Duration> {
        self.opens.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Strikes a permit out.
    pub fn give(&mut self, group: &GroupName, permit: &Permit) {
        let key = (group.clone(), permit.holder.clone());
        if self.entries.get(&key).is_some_and(|(number, _)| *number == permit.number) {
            self.entries.remove(&key);
        }
    }

    /// Loses everything, as a server does that starts again with nothing on disk.
    pub fn lose(&mut self, now: Duration, lease: Duration) {
        self.fall_back(Self::default(), now, lease);
    }

    /// Is again what it was, as a replica is that takes over and lacks the last writes: grants, and what was given back.
    pub fn fall_back(&mut self, older: Self, now: Duration, lease: Duration) {
        self.entries = older.entries;
        self.opens = now + lease;
    }

    /// How many of a group are in force.
    pub fn in_force(&self, now: Duration, group: &GroupName) -> usize {
        self.held(now, group).len()
    }
}

#[cfg(test)]
pub(crate) mod contract;
