//! The drain's model: what is run, what may happen next, and what was promised of it.

use stateright::Model;
use stateright::Property;

use bellrock::decide;
use bellrock::decide::Deed;
use bellrock::decide::Look;
use bellrock::decide::Policy;
use bellrock::decide::Progress;
use bellrock::decide::What;

use super::answers::How;
use super::fleet::Fleet;
use super::fleet::Left;
use super::fleet::TURNS;
use super::world::Life;
use super::world::Newer;
use super::world::Promise;
use super::world::Stage;
use super::world::Who;
use super::world::Work;

/// Each promise, in words; with it the number.
pub const BUSY: &str = "S1: no instance with work ends";
pub const OPEN: &str = "S3: no instance ends that takes work";
pub const TWICE: &str = "S4: nothing is taken off desired twice for one instance";
pub const UNWRITTEN: &str = "S5: no terminate call whose intent is not on disk";
pub const UNJUSTIFIED: &str = "S6: no terminate call for a reason that has gone, beyond the bound";
pub const MIN: &str = "S7: min is lowered only to desired - 1, and of no held or enabled group, beyond the bound";
pub const CAPACITY: &str = "S8: nothing of a restored group ends after the switch";
pub const BUDGET: &str = "S9: no two end at once";
pub const HELD: &str = "S11: no terminate call under a hold, beyond the bound";
pub const REOPENED: &str = "S15: intake is never opened again on an instance that ends";
pub const ENDS: &str = "L: once nothing goes wrong any more, all comes to its end";

/// The first tick: late enough that what was before is long ago.
const FIRST: u32 = 1000;

/// What is run: the owner's policy, how much may go wrong, and the one thing that is not as it should be.
#[derive(Clone, Debug)]
pub struct Setup {
    pub policy: Policy,
    /// The old group's min at the beginning.
    pub min: u8,
    pub left: Left,
    pub lie: Option<Lie>,
    /// Ticks for which a rollback holds before it switches.
    pub settle: u8,
    /// What becomes of a rollback.
    pub course: Course,
    /// Ticks of calm after which all must have come to its end; none = nobody counts.
    pub calm: Option<u8>,
}

/// What becomes of a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It is carried out.
    Through,
    /// It is undone before anything was restored.
    ThoughtBetter,
    /// Whoever was at it is gone, before anything was restored: the hold runs out.
    Abandoned,
}

/// A guard that is taken away, between the world and `decide::step`, in exactly one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A describe never shows a hold.
    HoldIsHidden,
    /// What nobody can say is told as idle.
    UnknownIsIdle,
    /// The switch reads back as closed whatever it is.
    IntakeReadsClosed,
    /// A stale read may be this many ticks old.
    Older(usize),
    /// The journal is not written when a terminate call is intended.
    IntentIsForgotten,
    /// A rollback leaves the restored group's min as it is.
    MinIsNotPinned,
    /// Nor does instance metadata say that the instance ends.
    EndIsForgotten,
    /// An answer that was lost counts as a no.
    LostIsNo,
    /// The newer group looks well, whatever it is.
    NewerLooksWell,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passes; both agents do what is due.
    Tick,
    /// What an agent asked for is done and answered.
    Answer { who: Who, how: How },
    /// An agent's process dies and is started again; the deed that comes next is done or not.
    Crash { who: Who, done: bool },
    /// Work comes to an orchestrator that takes any: just now, or a while ago, so that it shows.
    Arrive { who: Who, shown: bool },
    /// Work ends.
    Finish(Who),
    /// A terminate call that was lost is carried out.
    LateCall,
    /// AWS has ended an instance.
    End(Who),
    /// AWS launches what the restored group wants.
    Launch,
    /// The newer group falls sick.
    Sicken,
    /// The newer group is well again.
    Recover,
    /// Somebody rolls back: the hold goes on.
    Hold,
    /// The old group's sizes are set, its min pinned, and its processes resumed.
    Restore,
    /// The newer group goes to nothing.
    Switch,
    /// The hold goes off.
    Release,
    /// Whoever was at the rollback is gone.
    Abandon,
}

impl Model for Setup {
    type State = Fleet;
    type Action = Event;

    fn init_states(&self) -> Vec<Fleet> {
        // At each place in a turn. Those half way round are mirror images.
        let starts = FIRST..FIRST + TURNS / 2;
        starts.map(|tick| self.start(tick)).collect()
    }

    fn actions(&self, fleet: &Fleet, events: &mut Vec<Event>) {
        self.events(fleet, events);
    }

    fn next_state(&self, last: &Fleet, event: Event) -> Option<Fleet> {
        let mut fleet = last.clone();
        self.happen(&mut fleet, event);
        // What follows by itself, with nothing else that could happen first, is gone through at once.
        let mut events = Vec::new();
        loop {
            events.clear();
            self.events(&fleet, &mut events);
            match events[..] {
                [Event::Tick] | [] | [_, _, ..] => break,
                [event] => self.happen(&mut fleet, event),
            }
        }
        fleet.look_back();
        Some(fleet)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn kept(fleet: &Fleet, promise: Promise) -> bool {
            fleet.world.broken & promise as u16 == 0
        }
        let mut properties = vec![
            Property::always(BUSY, |_, f: &Fleet| kept(f, Promise::Busy)),
            Property::always(OPEN, |_, f: &Fleet| kept(f, Promise::Open)),
            Property::always(TWICE, |_, f: &Fleet| kept(f, Promise::Twice)),
            Property::always(UNWRITTEN, |_, f: &Fleet| kept(f, Promise::Unwritten)),
            Property::always(UNJUSTIFIED, |_, f: &Fleet| kept(f, Promise::Unjustified)),
            Property::always(MIN, |_, f: &Fleet| kept(f, Promise::Min)),
            Property::always(CAPACITY, |_, f: &Fleet| kept(f, Promise::Capacity)),
            Property::always(BUDGET, |_, f: &Fleet| kept(f, Promise::Budget)),
            Property::always(HELD, |_, f: &Fleet| kept(f, Promise::Held)),
            Property::always(REOPENED, |_, f: &Fleet| kept(f, Promise::Reopened)),
            Property::sometimes("both leave", |_, f: &Fleet| f.world.books.life == [Life::Gone; 2]),
        ];
        if self.calm.is_some() {
            properties.push(Property::always(ENDS, |setup: &Setup, f: &Fleet| setup.calm != Some(f.world.calm) || f.has_come_to_its_end()));
        }
        if self.left.rollbacks > 0 {
            properties.push(Property::sometimes("a rollback cuts a drain", |_, f: &Fleet| {
                f.agents.iter().any(|a| a.phase().held() == Some(decide::HeldWhy::Rollback))
            }));
        }
        if self.left.rollbacks > 0 && self.course == Course::Through {
            properties.push(Property::sometimes("a drain is called off", |_, f: &Fleet| {
                f.agents.iter().any(|a| matches!(a.progress(), Some(Progress::Cancelled { .. })))
            }));
            properties.push(Property::sometimes("a rollback ends with both at work", |_, f: &Fleet| {
                f.world.stage == Stage::Over && f.world.books.enabled && f.works(0) && f.works(1)
            }));
        }
        properties
    }
}

impl Setup {
    fn events(&self, fleet: &Fleet, events: &mut Vec<Event>) {
        let world = &fleet.world;
        let left = fleet.left;
        let alive = |who: &Who| world.life(*who) != Life::Gone;
        let work = |who: Who| match world.machines[who].work {
            Work::None if world.machines[who].open => [true, false].map(|shown| Event::Arrive { who, shown }).to_vec(),
            Work::None => Vec::new(),
            Work::Unseen | Work::Shown => vec![Event::Finish(who)],
        };
        let answered = [0, 1].into_iter().filter(alive).all(|who| fleet.agents[who].pending.is_empty());
        // What an orchestrator says, and what it has to do, is nobody else's business: all others wait for it, and no state is missed.
        let asks = |who: &Who| fleet.agents[*who].pending.first().is_some_and(|action| action.what == What::Look(Look::Orchestrator));
        if let Some(who) = [0, 1].into_iter().filter(alive).find(asks) {
            events.extend(self.ways(fleet, who, &What::Look(Look::Orchestrator)).into_iter().map(|how| Event::Answer { who, how }));
            if fleet.agents[who].minds_work() {
                events.extend(work(who));
            }
            return;
        }
        for who in [0, 1].into_iter().filter(alive) {
            if let Some(action) = fleet.agents[who].pending.first() {
                events.extend(self.ways(fleet, who, &action.what).into_iter().map(|how| Event::Answer { who, how }));
                if left.crashes > 0 && matches!(action.what, What::Deed { .. }) {
                    events.extend([false, true].map(|done| Event::Crash { who, done }));
                }
                // What was there before a drain is told when it begins to matter.
                if matches!(action.what, What::Deed { deed: Deed::SetIntake { open: false }, .. }) && world.machines[who].work == Work::None
                {
                    events.extend(work(who));
                }
            }
            if answered && left.crashes > 0 {
                events.push(Event::Crash { who, done: false });
            }
            if answered && world.life(who) == Life::Ending {
                events.push(Event::End(who));
            }
        }
        if world.flight.is_some() {
            events.push(Event::LateCall);
        }
        if answered && world.has_room() {
            events.push(Event::Launch);
        }
        // What others do falls between two ticks, or between a deed's being asked for and its being done.
        let between = |who: Who| fleet.agents[who].pending.first().is_none_or(|action| matches!(action.what, What::Deed { .. }));
        if [0, 1].into_iter().filter(alive).all(between) {
            self.others(fleet, events);
        }
        if answered {
            events.push(Event::Tick);
        }
    }

    /// What people do, and what becomes of the newer group.
    fn others(&self, fleet: &Fleet, events: &mut Vec<Event>) {
        let (world, left) = (&fleet.world, fleet.left);
        match world.books.newer {
            Newer::Well if left.sick > 0 => events.push(Event::Sicken),
            Newer::Sick => events.push(Event::Recover),
            Newer::Well | Newer::Leaving | Newer::Gone => {}
        }
        let waited = world.held_for.is_some_and(|ticks| ticks >= self.settle);
        match world.stage {
            Stage::NotBegun if left.rollbacks > 0 => events.push(Event::Hold),
            Stage::NotBegun | Stage::Over | Stage::Left => {}
            Stage::Held => events.push(match self.course {
                Course::Through => Event::Restore,
                Course::ThoughtBetter => Event::Release,
                Course::Abandoned => Event::Abandon,
            }),
            Stage::Restored if world.is_unpinned() && self.lie != Some(Lie::MinIsNotPinned) => events.push(Event::Restore),
            Stage::Restored if waited && world.serving() >= 2 => events.push(Event::Switch),
            Stage::Restored => {}
            Stage::Switched if world.books.newer == Newer::Gone => events.push(Event::Release),
            Stage::Switched => {}
        }
    }

    fn happen(&self, fleet: &mut Fleet, event: Event) {
        match event {
            Event::Tick => {
                fleet.tick += 1;
                fleet.gap = None;
                fleet.world.tick(fleet.tick, self.settle, self.calm.unwrap_or(0));
                for who in [0, 1] {
                    if fleet.world.life(who) != Life::Gone {
                        self.wake(fleet, who);
                    }
                }
            }
            Event::Answer { who, how } => self.answer(fleet, who, how),
            Event::Crash { who, done } => {
                if done {
                    self.perform(fleet, who, How::Truly);
                }
                fleet.world.calm = 0;
                self.crash(fleet, who);
            }
            Event::Arrive { who, shown } => fleet.world.arrive(who, shown),
            Event::Finish(who) => fleet.world.finish(who),
            Event::LateCall => fleet.world.arrives(),
            Event::End(who) => fleet.world.end(who),
            Event::Launch => fleet.world.books.launched += 1,
            Event::Sicken => {
                fleet.left.sick -= 1;
                fleet.world.sicken();
            }
            Event::Recover => fleet.world.recover(),
            Event::Hold => {
                fleet.left.rollbacks -= 1;
                fleet.world.hold(fleet.tick);
            }
            Event::Restore => fleet.world.restore(self.lie != Some(Lie::MinIsNotPinned)),
            Event::Switch => fleet.world.switch(),
            Event::Release => fleet.world.release(),
            Event::Abandon => fleet.world.abandon(),
        }
    }
}
