//! The model: two agents, each stepped by `decide::step` itself, in the world round them.
//!
//! What must stay true: an agent sees nothing but answers; what it wants done goes through [`Fleet::answer`], where one lie can be told.

use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

use stateright::Model;
use stateright::Property;

use bellrock::decide;
use bellrock::decide::Answer;
use bellrock::decide::Deed;
use bellrock::decide::Durable;
use bellrock::decide::Fault;
use bellrock::decide::FaultKind;
use bellrock::decide::Key;
use bellrock::decide::Look;
use bellrock::decide::Observation;
use bellrock::decide::Phase;
use bellrock::decide::Policy;
use bellrock::decide::Progress;
use bellrock::decide::Receipt;
use bellrock::decide::Seen;
use bellrock::decide::What;
use bellrock::model::Activity;
use bellrock::model::HOLD_TAG;
use bellrock::model::Intake;
use bellrock::model::LifecycleState;
use bellrock::model::Notices;
use bellrock::model::Sample;

use super::view::view;
use super::world::Books;
use super::world::Life;
use super::world::Newer;
use super::world::Promise;
use super::world::Stage;
use super::world::Who;
use super::world::Work;
use super::world::World;
use super::world::id;
use super::world::moment;

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
/// Turns of two members repeat after so many ticks.
const TURNS: u32 = 4;

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

/// What may still go wrong, or come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Left {
    pub crashes: u8,
    pub lost: u8,
    pub stale: u8,
    /// Looks at an orchestrator that nobody can say anything of.
    pub unknown: u8,
    /// Ticks in which the gauge of one orchestrator falls to zero between two tasks of one execution (F4).
    pub gaps: u8,
    pub rollbacks: u8,
    /// The newer group falls sick, and gets well.
    pub sick: u8,
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

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    state: decide::State,
    disk: Durable,
    saved: u64,
    pending: Vec<decide::Action>,
    /// What tells it from others; none while it is being changed.
    view: Option<u64>,
}

impl Agent {
    pub fn phase(&self) -> &Phase {
        self.state.phase()
    }

    fn minds_work(&self) -> bool {
        !matches!(self.progress(), None | Some(Progress::Cancelled { .. }))
    }

    pub fn progress(&self) -> Option<&Progress> {
        self.state.durable().drain.as_ref().map(|drain| &drain.progress)
    }
}

/// All of it, at one moment.
#[derive(Clone)]
pub struct Fleet {
    tick: u32,
    pub world: World,
    left: Left,
    /// Whose gauge shows nothing for the rest of this tick.
    gap: Option<Who>,
    pub agents: [Arc<Agent>; 2],
    /// How many of the books that were before a read may show.
    reach: usize,
}

impl Fleet {
    /// The two are alike but for their turns, and those are two ticks apart: of a state and its mirror image one is enough.
    fn normal(&self) -> (u32, World, Option<Who>, [Option<u64>; 2], Left) {
        let world = self.world.normal(self.tick, self.reach);
        let views = [0, 1].map(|who| if self.world.life(who) == Life::Gone { None } else { self.agents[who].view });
        let plain = (self.tick % TURNS, world, self.gap, views, self.left);
        let mirrored = ((self.tick + TURNS / 2) % TURNS, world.mirrored(), self.gap.map(|who| 1 - who), [views[1], views[0]], self.left);
        plain.min(mirrored)
    }
}

impl Fleet {
    /// A superseded group is left by both; of an enabled one, whoever was not ended works.
    fn has_come_to_its_end(&self) -> bool {
        let has = |who: Who| match self.world.life(who) {
            Life::InService => self.world.books.enabled && self.works(who),
            Life::Ending | Life::Gone => true,
        };
        has(0) && has(1)
    }

    fn works(&self, who: Who) -> bool {
        self.world.machines[who].open && matches!(self.agents[who].phase(), Phase::Working)
    }

    fn look_back(&mut self) {
        let now = moment(self.tick).wall;
        for who in [0, 1] {
            if self.agents[who].view.is_none() {
                let agent = Arc::make_mut(&mut self.agents[who]);
                let same = agent.disk == *agent.state.durable();
                agent.view = Some(view(&agent.state, &agent.pending, same, [id(who), id(1 - who)], now));
            }
        }
    }
}

impl Hash for Fleet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.normal().hash(state);
    }
}

impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        self.normal() == other.normal()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases = self.agents.each_ref().map(|agent| agent.phase().word());
        write!(f, "tick {} {phases:?} {:?}", self.tick, self.world)
    }
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

/// How something is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Truly,
    /// As things were at the beginning of a tick: this one, or as many before it.
    Stale(usize),
    /// Nobody can say.
    Unknown,
    /// Between two tasks of one execution.
    Gap,
    /// It was done; the answer is lost.
    DoneAndLost,
    /// It was not done; the answer is lost.
    NotDoneAndLost,
    /// It will be done, soon or never; the answer is lost.
    Late,
    /// It was done; nobody will say anything.
    DoneInSilence,
}

impl Setup {
    fn reach(&self) -> usize {
        match self.lie {
            Some(Lie::Older(ticks)) => ticks + 1,
            _ => usize::from(self.left.stale > 0),
        }
    }

    fn older(&self) -> usize {
        self.reach().saturating_sub(1)
    }

    fn start(&self, tick: u32) -> Fleet {
        let agents = [0, 1].map(|who| {
            let state = decide::State::new(id(who), Durable::default(), true, &self.policy, moment(tick));
            Arc::new(Agent { state, disk: Durable::default(), saved: 0, pending: Vec::new(), view: None })
        });
        let mut fleet = Fleet { tick, world: World::new(self.min), left: self.left, gap: None, agents, reach: self.reach() };
        for who in [0, 1] {
            self.wake(&mut fleet, who);
        }
        fleet.look_back();
        fleet
    }

    fn wake(&self, fleet: &mut Fleet, who: Who) {
        self.observe(fleet, who, Seen::Tick);
    }

    /// One step, as `daemon::Agent::observe` has it: the journal is written before anything is begun.
    fn observe(&self, fleet: &mut Fleet, who: Who, seen: Seen) {
        let now = moment(fleet.tick);
        let life = fleet.world.life(who);
        let agent = Arc::make_mut(&mut fleet.agents[who]);
        let mut seen = vec![seen];
        while let Some(next) = seen.pop() {
            let outcome = decide::step(&mut agent.state, &self.policy, Observation { at: now, seen: next });
            let durable = agent.state.durable();
            if durable.version != agent.saved {
                agent.saved = durable.version;
                let intends =
                    matches!(durable.drain.as_ref().map(|d| &d.progress), Some(Progress::Intent { .. } | Progress::Accepted { .. }));
                if !(intends && matches!(self.lie, Some(Lie::IntentIsForgotten | Lie::EndIsForgotten))) {
                    agent.disk = durable.clone();
                }
            }
            for action in outcome.actions {
                // Instance metadata is at hand.
                let answer = match &action.what {
                    What::Look(Look::TargetState) => {
                        let serves = life == Life::InService || self.lie == Some(Lie::EndIsForgotten);
                        let target = if serves { LifecycleState::InService } else { LifecycleState::Terminated };
                        Answer::TargetState(Ok(Some(target)))
                    }
                    What::Look(Look::Notices) => Answer::Notices(Ok(Notices::default())),
                    _ => {
                        agent.pending.push(action);
                        continue;
                    }
                };
                seen.push(Seen::Answer { key: action.key, answer: Box::new(answer) });
            }
        }
        agent.view = None;
        // What it has to do decides nothing before a drain, nor once that is called off.
        if !agent.minds_work() {
            fleet.world.finish(who);
        }
    }

    fn crash(&self, fleet: &mut Fleet, who: Who) {
        fleet.left.crashes -= 1;
        let agent = Arc::make_mut(&mut fleet.agents[who]);
        agent.state = decide::State::new(id(who), agent.disk.clone(), true, &self.policy, moment(fleet.tick));
        agent.saved = agent.disk.version;
        agent.pending.clear();
        self.wake(fleet, who);
    }

    fn describe(&self, books: &Books, who: Who) -> [bellrock::model::Group; 2] {
        let mut seen = *books;
        if self.lie == Some(Lie::NewerLooksWell) {
            seen.newer = Newer::Well;
        }
        let mut groups = [seen.old(who), seen.newer()];
        if self.lie == Some(Lie::HoldIsHidden) {
            groups[0].tags.remove(HOLD_TAG);
        }
        groups
    }

    fn looked(&self, fleet: &mut Fleet, who: Who, look: &Look, how: How) -> Option<Answer> {
        let books = match how {
            How::Stale(ticks) => fleet.world.past[ticks],
            _ => fleet.world.books,
        };
        let [old, newer] = self.describe(&books, who);
        Some(match look {
            Look::Own { .. } => Answer::Own(Ok(books.own(who))),
            Look::Group => Answer::Group(Ok(Some(old))),
            Look::Cluster => Answer::Cluster(Ok(vec![old, newer])),
            Look::Orchestrator => {
                let machine = fleet.world.machines[who];
                let open = machine.open && self.lie != Some(Lie::IntakeReadsClosed);
                let unknown = how == How::Unknown;
                let busy = machine.work == Work::Shown && how != How::Gap && fleet.gap != Some(who);
                let activity = match (unknown, busy) {
                    (true, _) if self.lie == Some(Lie::UnknownIsIdle) => Activity::Idle,
                    (true, _) => Activity::Unknown { why: String::new() },
                    (false, true) => Activity::Busy { count: 1, executions: Vec::new() },
                    (false, false) => Activity::Idle,
                };
                let sample = Sample { activity, asked: moment(fleet.tick), measured: None, generation: None };
                Answer::Orchestrator { intake: if open { Intake::Open } else { Intake::Closed }, sample }
            }
            _ => return None,
        })
    }

    fn carry_out(&self, fleet: &mut Fleet, who: Who, deed: &Deed, how: How) -> Option<Answer> {
        let lost = Fault {
            what: if self.lie == Some(Lie::LostIsNo) { FaultKind::NotNow } else { FaultKind::OutcomeUnknown },
            text: "lost".to_owned(),
        };
        if let Deed::TerminateOwn { .. } = deed {
            let written = matches!(
                fleet.agents[who].disk.drain.as_ref().map(|drain| &drain.progress),
                Some(Progress::Intent { .. } | Progress::Accepted { .. })
            );
            fleet.world.called(written);
        }
        let done = match (deed, how) {
            (_, How::NotDoneAndLost) => Err(lost.clone()),
            (Deed::TerminateOwn { decrement, .. }, How::Late) => {
                fleet.world.fly(who, *decrement);
                Err(lost.clone())
            }
            (Deed::TerminateOwn { decrement, .. }, _) => fleet.world.terminate(who, *decrement),
            (Deed::SetIntake { open }, _) => {
                fleet.world.set_intake(who, *open);
                Ok(Receipt::Done)
            }
            (Deed::LowerMin { to }, _) => fleet.world.lower_min(*to),
            _ => Ok(Receipt::Done),
        };
        match how {
            How::DoneInSilence => None,
            How::DoneAndLost => Some(Answer::Done(Err(lost))),
            _ => Some(Answer::Done(done)),
        }
    }

    fn answer(&self, fleet: &mut Fleet, who: Who, how: How) {
        match how {
            How::Truly => {}
            How::Stale(_) => fleet.left.stale -= 1,
            How::Unknown => fleet.left.unknown -= 1,
            How::Gap => {
                fleet.left.gaps -= 1;
                fleet.gap = Some(who);
            }
            How::DoneAndLost | How::NotDoneAndLost | How::Late | How::DoneInSilence => fleet.left.lost -= 1,
        }
        if how != How::Truly {
            fleet.world.calm = 0;
        }
        let (key, answer) = self.perform(fleet, who, how);
        if let Some(answer) = answer {
            self.observe(fleet, who, Seen::Answer { key, answer: Box::new(answer) });
        }
    }

    fn perform(&self, fleet: &mut Fleet, who: Who, how: How) -> (Key, Option<Answer>) {
        let agent = Arc::make_mut(&mut fleet.agents[who]);
        agent.view = None;
        let action = agent.pending.remove(0);
        let answer = match &action.what {
            What::Look(look) => self.looked(fleet, who, look, how),
            What::Deed { deed, .. } => self.carry_out(fleet, who, deed, how),
        };
        (action.key, answer)
    }

    fn ways(&self, fleet: &Fleet, who: Who, what: &What) -> Vec<How> {
        let mut ways = vec![How::Truly];
        let (left, world) = (fleet.left, &fleet.world);
        match what {
            What::Look(Look::Own { .. } | Look::Group | Look::Cluster) if left.stale > 0 => {
                // One that shows what is so anyway is none.
                ways.extend((0..=self.older()).filter(|n| world.past[*n] != world.books).map(How::Stale));
            }
            What::Look(Look::Orchestrator) => {
                if left.unknown > 0 {
                    ways.push(How::Unknown);
                }
                if left.gaps > 0 && world.machines[who].work == Work::Shown {
                    ways.push(How::Gap);
                }
            }
            What::Deed { deed: Deed::TerminateOwn { .. }, .. } if left.lost > 0 => {
                ways.extend([How::DoneAndLost, How::NotDoneAndLost, How::Late, How::DoneInSilence]);
            }
            What::Deed { .. } if left.lost > 0 => ways.extend([How::DoneAndLost, How::NotDoneAndLost]),
            _ => {}
        }
        ways
    }
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
