//! The book of permits of a play: down while the play's store is, deaf at times, and with a note of how many it ever had in force.

use std::sync::Mutex;

use async_trait::async_trait;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::scenario::Sickness;
use super::station::open;
use crate::cloud::sim::Sim;
use crate::cloud::sim::SimTime;
use crate::model::GroupName;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;
use crate::orchestrator::permits::Book;
use crate::orchestrator::permits::Permits;
use crate::orchestrator::store::StoreError;

/// Answers that are lost, of what was asked.
const LOST: f64 = 0.1;

/// More permits in force than there were places.
#[derive(Clone, Debug)]
pub struct Excess {
    /// When.
    pub at: SimTime,
    /// Of which group.
    pub group: GroupName,
    /// How many.
    pub in_force: usize,
    /// How many there were to be.
    pub places: u32,
}

/// What became of the book.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Permits that were granted, renewals too.
    pub granted: usize,
    /// Most in force at once, in one group.
    pub most: usize,
    /// Those that were too many.
    pub excess: Vec<Excess>,
}

/// The book.
pub struct Lender {
    sim: Sim,
    sickness: Option<Sickness>,
    inner: Mutex<(Book, Account, Pcg64Mcg)>,
    budget: u8,
}

impl Lender {
    /// An empty book, for groups of which this percentage may be away.
    pub fn new(sim: Sim, sickness: Option<Sickness>, budget: u8, seed: u64) -> Self {
        Self { sim, sickness, inner: Mutex::new((Book::default(), Account::default(), Pcg64Mcg::seed_from_u64(seed ^ 0xb00c))), budget }
    }

    /// What became of it.
    pub fn account(&self) -> Account {
        open(&self.inner).1.clone()
    }

    fn answers(&self) -> Result<SimTime, StoreError> {
        let now = self.sim.with(|r| r.now());
        match &self.sickness {
            Some(sickness) if !sickness.store_answers(now) => Err(StoreError::Unavailable("connection refused".to_owned())),
            _ => Ok(now),
        }
    }
}

#[async_trait]
impl Permits for Lender {
    async fn take(&self, request: &PermitRequest) -> Result<PermitAnswer, StoreError> {
        let at = self.answers()?;
        let members = self.sim.with(|r| r.group_now(&request.group).map_or(0, |d| d.group.instances.len()));
        let (book, account, rng) = &mut *open(&self.inner);
        let answer = book.take(at, request);
        if answer == PermitAnswer::Granted {
            let in_force = book.in_force(at, &request.group);
            account.granted += 1;
            account.most = account.most.max(in_force);
            // By what the group has, whatever the agent believed.
            let places = (members * usize::from(self.budget) / 100).max(1);
            if in_force > places {
                let places = u32::try_from(places).unwrap_or(u32::MAX);
                account.excess.push(Excess { at, group: request.group.clone(), in_force, places });
            }
        }
        if rng.random_bool(LOST) { Err(StoreError::Unavailable("the answer was lost".to_owned())) } else { Ok(answer) }
    }

    async fn give(&self, group: &GroupName, permit: &Permit) -> Result<(), StoreError> {
        self.answers()?;
        let (book, _, rng) = &mut *open(&self.inner);
        book.give(group, permit);
        if rng.random_bool(LOST) { Err(StoreError::Unavailable("the answer was lost".to_owned())) } else { Ok(()) }
    }
}
