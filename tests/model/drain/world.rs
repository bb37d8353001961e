//! Everything round the agents: AWS's books of two groups, two machines of the old one, what may go wrong, and what was promised of it.
//!
//! Each rule is one of the simulated region's, named at its place; what is left out is said in `tests/model.rs`.

use std::time::Duration;

use bellrock::decide::EndingActivity;
use bellrock::decide::Fault;
use bellrock::decide::FaultKind;
use bellrock::decide::OwnRead;
use bellrock::decide::Receipt;
use bellrock::model::CAPACITY_TAG;
use bellrock::model::Capacity;
use bellrock::model::GENERATION_TAG;
use bellrock::model::Group;
use bellrock::model::GroupInstance;
use bellrock::model::Hold;
use bellrock::model::InstanceHealth;
use bellrock::model::InstanceId;
use bellrock::model::LifecycleState;
use bellrock::model::Moment;
use bellrock::model::Process;
use bellrock::model::Timestamp;
use bellrock::model::capacity_text;

use super::group::group;
use super::group::member;

/// The unit of time. Longer than every pause that is a constant of the protocol's (750 s at most), so that those are over by the next tick; the times that
/// the policy sets are multiples of it.
pub const TICK: Duration = Duration::from_secs(810);
/// A hold that nobody refreshes ends after so many ticks.
const HOLD_TICKS: u32 = 3;
/// A hold, or that a reason is gone, is known to every agent in the ticks after this many: a read is acted on in its own tick or not at all.
pub const KNOWN_AFTER: u8 = 0;

pub const OLD: &str = "orca-main-v001";
pub const NEW: &str = "orca-main-v002";

/// The two that this is about.
pub type Who = usize;

/// When a tick is, by both clocks.
pub fn moment(tick: u32) -> Moment {
    let since = TICK * tick;
    Moment { mono: since, wall: Timestamp::default().plus(since) }
}

pub fn id(who: Who) -> InstanceId {
    InstanceId::new(["i-0000000a", "i-0000000b"][who])
}

/// Where a machine is in Auto Scaling's book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    #[default]
    InService,
    Ending,
    Gone,
}

/// The newer group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Newer {
    /// Two in service and healthy.
    #[default]
    Well,
    /// Two in service and not healthy.
    Sick,
    /// Desired is 0; the two are on their way out.
    Leaving,
    /// Nobody left.
    Gone,
}

/// What a describe shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Books {
    pub min: u8,
    pub desired: u8,
    pub enabled: bool,
    /// The tick at which the hold ends.
    pub hold: Option<u32>,
    pub generation: u8,
    pub life: [Life; 2],
    /// Instances that AWS launched to restore the group; no agent of theirs is looked at.
    pub launched: u8,
    pub newer: Newer,
}

/// Work on one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    #[default]
    None,
    /// Taken in this tick; its source does not show it yet (F1).
    Unseen,
    Shown,
}

/// One machine and its orchestrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine {
    pub open: bool,
    pub work: Work,
}

/// How far a rollback is, in the order of `rollback::advance`'s stages side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    #[default]
    NotBegun,
    Held,
    Restored,
    Switched,
    Over,
    /// Nobody is at it any more.
    Left,
}

impl Stage {
    /// Somebody is at it.
    pub fn is_attended(self) -> bool {
        matches!(self, Self::Held | Self::Restored | Self::Switched)
    }
}

/// A terminate call whose answer was lost and which may yet be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flight {
    pub who: Who,
    decrement: bool,
    /// Ticks it has left.
    left: u8,
}

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Promise {
    /// S1
    Busy = 1,
    /// S3
    Open = 2,
    /// S4
    Twice = 4,
    /// S5
    Unwritten = 8,
    /// S6
    Unjustified = 16,
    /// S7
    Min = 32,
    /// S8, S13
    Capacity = 64,
    /// S9
    Budget = 128,
    /// S11
    Held = 256,
    /// S15
    Reopened = 512,
}

/// The world but for the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct World {
    pub books: Books,
    /// The books at the beginning of this tick and of those before, as far as a read may show them.
    pub past: [Books; 3],
    pub machines: [Machine; 2],
    pub stage: Stage,
    pub flight: Option<Flight>,
    /// Ticks since the hold was put; none without a live one.
    pub held_for: Option<u8>,
    /// Ticks since nothing justifies an ending any more; none while something does.
    pub unjustified_for: Option<u8>,
    /// Ticks in a row in which nothing went wrong, came or was done by a person.
    pub calm: u8,
    pub broken: u16,
}

impl World {
    /// A red/black push has just ended: the old group is disabled, and wants 2.
    pub fn new(min: u8) -> Self {
        let books = Books { min, desired: 2, ..Books::default() };
        let machine = Machine { open: true, work: Work::None };
        Self {
            books,
            past: [books; 3],
            machines: [machine; 2],
            stage: Stage::NotBegun,
            flight: None,
            held_for: None,
            unjustified_for: None,
            calm: 0,
            broken: 0,
        }
    }

    pub fn breaks(&mut self, promise: Promise) {
        self.broken |= promise as u16;
    }

    pub fn life(&self, who: Who) -> Life {
        self.books.life[who]
    }

    /// With the two agents' places changed.
    pub fn mirrored(mut self) -> Self {
        self.books.life.reverse();
        self.past.iter_mut().for_each(|books| books.life.reverse());
        self.machines.reverse();
        self.flight = self.flight.map(|flight| Flight { who: 1 - flight.who, ..flight });
        self
    }

    /// The books and the ticks left in them relative to `now`, so that states repeat. `reach` is how far back a read may go.
    pub fn normal(mut self, now: u32, reach: usize) -> Self {
        let relative = |books: &mut Books| books.hold = books.hold.map(|end| end.saturating_sub(now));
        relative(&mut self.books);
        self.past.iter_mut().for_each(relative);
        self.past.iter_mut().skip(reach).for_each(|books| *books = Books::default());
        self
    }

    /// Time passes: what is slow shows, and whoever is at a rollback refreshes its hold (`Progress::overdue_holds`).
    pub fn tick(&mut self, now: u32, settle: u8, calm: u8) {
        self.past = [self.books, self.past[0], self.past[1]];
        for machine in &mut self.machines {
            if machine.work == Work::Unseen {
                machine.work = Work::Shown;
            }
        }
        self.flight = self.flight.and_then(|flight| flight.left.checked_sub(1).map(|left| Flight { left, ..flight }));
        if self.books.newer == Newer::Leaving {
            self.books.newer = Newer::Gone;
        }
        if self.stage.is_attended() && self.books.hold.is_some() {
            self.books.hold = Some(now + HOLD_TICKS);
        }
        let on = |ticks: u8, longest: u8| (ticks + 1).min(longest);
        let held = self.books.hold.is_some_and(|end| now < end);
        self.held_for = held.then(|| self.held_for.map_or(0, |ticks| on(ticks, settle.max(KNOWN_AFTER + 1))));
        self.unjustified_for = (!self.justified()).then(|| self.unjustified_for.map_or(0, |ticks| on(ticks, KNOWN_AFTER + 1)));
        let settled = !self.books.life.contains(&Life::Ending) && self.flight.is_none() && self.books.newer != Newer::Sick;
        let quiet = settled && self.machines.iter().all(|m| m.work == Work::None) && !held;
        self.calm = if quiet { (self.calm + 1).min(calm) } else { 0 };
    }

    fn justified(&self) -> bool {
        !self.books.enabled && self.books.newer == Newer::Well
    }

    /// After a change that somebody made.
    fn noted(&mut self) {
        self.unjustified_for = if self.justified() { None } else { self.unjustified_for.or(Some(0)) };
        self.calm = 0;
    }

    pub fn sicken(&mut self) {
        self.books.newer = Newer::Sick;
        self.noted();
    }

    pub fn recover(&mut self) {
        self.books.newer = Newer::Well;
        self.noted();
    }

    pub fn hold(&mut self, now: u32) {
        self.stage = Stage::Held;
        self.books.hold = Some(now + HOLD_TICKS);
        self.books.generation = 1;
        self.held_for = Some(0);
        self.noted();
    }

    /// Sizes first, min pinned so that nothing scales the group in (it stays so: it is what it was before the drain); then its processes. Once more, where an
    /// agent has lowered min meanwhile (`Progress::until_it_serves`).
    pub fn restore(&mut self, pins: bool) {
        self.stage = Stage::Restored;
        (self.books.desired, self.books.enabled) = (2, true);
        if pins {
            self.books.min = 2;
        }
        self.noted();
    }

    pub fn switch(&mut self) {
        self.stage = Stage::Switched;
        self.books.newer = Newer::Leaving;
        self.noted();
    }

    /// Of a rollback that was carried out, and of one that was thought better of before anything was restored.
    pub fn release(&mut self) {
        self.stage = Stage::Over;
        self.books.hold = None;
        self.held_for = None;
        self.noted();
    }

    pub fn abandon(&mut self) {
        self.stage = Stage::Left;
        self.noted();
    }

    /// Members of the restored group that are not on their way out.
    pub fn serving(&self) -> u8 {
        let alive = self.books.life.iter().filter(|life| **life == Life::InService).count();
        self.books.launched + u8::try_from(alive).unwrap_or(u8::MAX)
    }

    pub fn is_unpinned(&self) -> bool {
        self.books.min < 2
    }

    pub fn has_room(&self) -> bool {
        self.books.enabled && self.serving() < self.books.desired
    }

    pub fn arrive(&mut self, who: Who, shown: bool) {
        self.machines[who].work = if shown { Work::Shown } else { Work::Unseen };
        self.calm = 0;
    }

    pub fn finish(&mut self, who: Who) {
        self.machines[who].work = Work::None;
    }

    pub fn set_intake(&mut self, who: Who, open: bool) {
        self.machines[who].open = open;
        if open && self.books.life[who] != Life::InService {
            self.breaks(Promise::Reopened);
        }
    }

    /// `UpdateAutoScalingGroup` with min alone. `sim::group`: min above desired raises desired.
    pub fn lower_min(&mut self, to: u32) -> Result<Receipt, Fault> {
        let to = u8::try_from(to).unwrap_or(u8::MAX);
        let (held, unjustified) = (self.held_for, self.unjustified_for);
        let known = [held, unjustified].into_iter().flatten().any(|ticks| ticks > KNOWN_AFTER);
        let undisturbed = held.is_none() && unjustified.is_none();
        if to >= self.books.min || known || (undisturbed && to + 1 != self.books.desired) {
            self.breaks(Promise::Min);
        }
        self.books.min = to;
        self.books.desired = self.books.desired.max(to);
        Ok(Receipt::Done)
    }

    /// A terminate call goes out.
    pub fn called(&mut self, written: bool) {
        if !written {
            self.breaks(Promise::Unwritten);
        }
        if self.held_for.is_some_and(|ticks| ticks > KNOWN_AFTER) {
            self.breaks(Promise::Held);
        }
        if self.unjustified_for.is_some_and(|ticks| ticks > KNOWN_AFTER) {
            self.breaks(Promise::Unjustified);
        }
    }

    /// A terminate call takes effect. `sim::instance::terminate_in_group`, with the worst of what AWS leaves open: a second one decrements again.
    pub fn terminate(&mut self, who: Who, decrement: bool) -> Result<Receipt, Fault> {
        let refused = |text: &str| Err(Fault { what: FaultKind::Refused, text: text.to_owned() });
        let shrinks = decrement && self.books.desired > self.books.min;
        match self.books.life[who] {
            Life::Gone => return refused("no managed instance found"),
            Life::Ending => {
                if shrinks {
                    self.books.desired -= 1;
                    self.breaks(Promise::Twice);
                }
                return Ok(Receipt::Activity("a".to_owned()));
            }
            Life::InService if decrement && !shrinks => {
                return refused("desiredSize equals minSize: it would violate group's min size constraint");
            }
            Life::InService => {}
        }
        let machine = self.machines[who];
        if machine.work != Work::None {
            self.breaks(Promise::Busy);
        }
        if machine.open {
            self.breaks(Promise::Open);
        }
        if self.books.life[1 - who] == Life::Ending {
            self.breaks(Promise::Budget);
        }
        if self.stage == Stage::Switched || (self.stage == Stage::Over && self.books.enabled) {
            self.breaks(Promise::Capacity);
        }
        if decrement {
            self.books.desired -= 1;
        }
        self.books.life[who] = Life::Ending;
        Ok(Receipt::Activity("a".to_owned()))
    }

    /// A terminate call is on its way, and may arrive in this tick, in the next, or never.
    pub fn fly(&mut self, who: Who, decrement: bool) {
        self.flight = Some(Flight { who, decrement, left: 1 });
        self.calm = 0;
    }

    pub fn end(&mut self, who: Who) {
        self.books.life[who] = Life::Gone;
        self.machines[who] = Machine { open: false, work: Work::None };
    }

    pub fn arrives(&mut self) {
        if let Some(Flight { who, decrement, .. }) = self.flight.take() {
            let _nobody_hears_the_answer = self.terminate(who, decrement);
        }
    }
}

impl Books {
    /// Auto Scaling's entry of one of the two, and the activity that ends it.
    pub fn own(&self, who: Who) -> OwnRead {
        let ending = || EndingActivity { id: "a".to_owned(), failed: false, text: "ending".to_owned() };
        OwnRead { entry: self.entry(who), ending: (self.life[who] != Life::InService).then(ending) }
    }

    fn entry(&self, who: Who) -> Option<GroupInstance> {
        match self.life[who] {
            Life::InService => Some(member(OLD, id(who), LifecycleState::InService, InstanceHealth::Healthy)),
            Life::Ending => Some(member(OLD, id(who), LifecycleState::Terminating, InstanceHealth::Healthy)),
            Life::Gone => None,
        }
    }

    /// The old group as one of the two reads it; AWS lists members in no order, so each finds itself first.
    pub fn old(&self, reader: Who) -> Group {
        let launched = (0..self.launched).map(|n| {
            let id = InstanceId::new(format!("i-0000001{n}"));
            member(OLD, id, LifecycleState::InService, InstanceHealth::Healthy)
        });
        let instances = [reader, 1 - reader].into_iter().filter_map(|who| self.entry(who)).chain(launched).collect();
        let mut group = group(OLD, 1, self.min, self.desired, instances);
        if !self.enabled {
            // As whoever saw it superseded first has written it down.
            let sizes = Capacity { min: 2, max: 2, desired: 2 };
            group.tags.insert(CAPACITY_TAG.to_owned(), capacity_text(sizes, "v002"));
            group.suspended = [Process::Launch, Process::AddToLoadBalancer].into_iter().map(|p| (p, String::new())).collect();
        }
        if self.generation > 0 {
            group.tags.insert(GENERATION_TAG.to_owned(), self.generation.to_string());
        }
        if let Some(end) = self.hold {
            let hold = Hold { generation: u64::from(self.generation), owner: "ann@laptop".to_owned(), expires: moment(end).wall };
            group.tags.extend(hold.to_tags());
        }
        group
    }

    pub fn newer(&self) -> Group {
        let (state, health) = match self.newer {
            Newer::Well => (LifecycleState::InService, InstanceHealth::Healthy),
            Newer::Sick => (LifecycleState::InService, InstanceHealth::Unhealthy),
            Newer::Leaving | Newer::Gone => (LifecycleState::Terminating, InstanceHealth::Healthy),
        };
        let ids = if self.newer == Newer::Gone { 0..0 } else { 0..2 };
        let instances = ids.map(|n| member(NEW, InstanceId::new(format!("i-0000002{n}")), state.clone(), health.clone())).collect();
        let size = if matches!(self.newer, Newer::Well | Newer::Sick) { 2 } else { 0 };
        group(NEW, 2, size, size, instances)
    }
}
