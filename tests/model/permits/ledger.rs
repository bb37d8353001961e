//! What there is at one moment of the second model: instances, their agents, the book; and what of it tells one state from another.
//!
//! What must stay true: numbers count by their order alone, times by what they are relative to now, agents by no name.

use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use bellrock::decide::Action;
use bellrock::decide::Deed;
use bellrock::decide::Durable;
use bellrock::decide::State;
use bellrock::model::InstanceId;
use bellrock::model::Moment;
use bellrock::orchestrator::permits::Book;

use super::view::Field;
use super::view::Table;
use super::view::view;

/// The unit of time. Longer than every pause of a permit's (15 s, 30 s) and of a restart's; a third of how long a restart is waited for, a quarter of a lease.
pub const TICK: Duration = Duration::from_secs(60);
/// Ticks for which a restart is waited for.
pub const LIMIT: u8 = 3;
/// Ticks for which a permit is in force.
pub const LEASE: u8 = 4;
pub const GROUP: &str = "orca-main-v001";

pub type Who = usize;

/// What may still go wrong, or come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Left {
    pub crashes: u8,
    /// Answers.
    pub lost: u8,
    /// A replica takes over that lacks what was written since the tick began, or a server that starts with nothing.
    pub failovers: u8,
    /// One agent finds that there is a place less.
    pub shrinks: u8,
    /// Orchestrators that fall sick again.
    pub sick: u8,
}

/// One instance and its agent.
#[derive(Clone, Debug)]
pub struct Agent {
    pub state: State,
    pub disk: Durable,
    pub saved: u64,
    /// What it asked of the book, and of its orchestrator.
    pub asks: Option<Action>,
    pub restarts: Option<Action>,
    pub down: bool,
    pub sick: bool,
    pub places: u8,
    /// When the permit that it heard of was asked for.
    pub granted: Option<u32>,
    /// Since when a restart that began under a permit is carried out.
    pub away: Option<u32>,
    /// What tells it from others; none while it is being changed.
    pub view: Option<u64>,
}

impl Agent {
    pub fn is_in_force(&self, tick: u32) -> bool {
        self.away.is_some() || (!self.down && self.granted.is_some_and(|asked| tick < asked + u32::from(LEASE)))
    }

    pub fn number(&self) -> u64 {
        self.state.durable().healed.permit
    }
}

/// Something for the book that its asker gave up.
#[derive(Clone, Debug)]
pub struct Flight {
    pub who: Who,
    pub deed: Deed,
    pub left: u8,
}

/// All of it, at one moment.
#[derive(Clone)]
pub struct Lending {
    pub tick: u32,
    pub agents: Vec<Arc<Agent>>,
    pub book: Book,
    /// The book at the beginning of the tick.
    pub past: Book,
    pub flight: Option<Flight>,
    pub left: Left,
    pub calm: u8,
    pub broken: [bool; 2],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    Table::new(
        TICK,
        &[
            (Field::Wall, &["wall"]),
            // The wall clock beside it says the same.
            (Field::LeftOut, &["mono"]),
            (Field::LeftOut, &["next_key", "version", "draws"]),
            // All looks are answered in the step that asks, and due again with the next tick.
            (Field::LeftOut, &["looks", "group", "cluster", "sample", "quiet", "agreement", "asked"]),
            // Of interruptions and of hooks: there are none.
            (Field::LeftOut, &["target_back", "uninterrupted", "wait", "launch", "protection", "recording"]),
            // For people.
            (Field::LeftOut, &["unknown_since", "since", "told", "decisions", "held", "closed", "deed_fault", "finding"]),
            // Of whom AWS does not list any more: here it lists all.
            (Field::LeftOut, &["named"]),
            // They count within a window that is shorter than a tick, and after one nothing begins in the same tick.
            (Field::LeftOut, &["restarts"]),
            (Field::Why, &["why", "reason", "last", "next", "fault"]),
            // Its own: numbers of the book and of what is under way are compared with it, see `Lending::normal`.
            (Field::UpTo(0), &["permit", "number"]),
            (Field::UpTo(1), &["passed", "failed"]),
            (Field::Back(0), &["again", "until", "listed", "kept"]),
            (Field::Back(1), &["restarted", "read_from", "ordered"]),
            // A restart is given up after three ticks, a permit runs out after four.
            (Field::Back(4), &["at", "granted"]),
            (Field::Later, &["not_before"]),
        ],
    )
});

pub fn id(who: Who) -> InstanceId {
    InstanceId::new(format!("i-0000000{who}"))
}

/// Of one number, what it is to the agent's others; of an entry, also for how many more ticks it is in the book.
type Entry = Option<(usize, u32)>;

/// All that tells one instance from another, with numbers by their order and times relative to now.
type Normal = (Option<u64>, [bool; 2], u8, [Option<u32>; 2], [Entry; 2], Option<(bool, bool, usize, u8)>, [usize; 2]);

impl Lending {
    pub fn look_back(&mut self, moment: impl Fn(Who) -> Moment) {
        for (who, agent) in self.agents.iter_mut().enumerate() {
            if agent.view.is_none() {
                let agent = Arc::make_mut(agent);
                let pending: Vec<Action> = agent.asks.iter().chain(&agent.restarts).cloned().collect();
                let same = agent.disk == *agent.state.durable();
                let now = moment(who);
                agent.view = Some(if agent.down {
                    // What its next life begins with.
                    let restarted_now = agent.disk.healed.restarts.last() == Some(&now.wall);
                    u64::from(agent.disk.healed.under_way) + 2 * u64::from(restarted_now)
                } else {
                    view(&TABLE, &agent.state, &pending, same, &[id(who)], now)
                });
            }
        }
    }

    fn of(&self, who: Who) -> Normal {
        let (agent, now, group) = (&self.agents[who], TICK * self.tick, GROUP.into());
        let entry = |book: &Book| book.held(now, &group).into_iter().find(|(permit, _)| permit.holder == id(who));
        let entries = [entry(&self.book), entry(&self.past).filter(|_| self.left.failovers > 0)];
        let flight = self.flight.as_ref().filter(|flight| flight.who == who);
        let flies = flight.map(|flight| match &flight.deed {
            Deed::TakePermit(request) => (true, request.keeps, request.permit.number, flight.left),
            Deed::GivePermit { permit, .. } => (false, false, permit.number, flight.left),
            deed => unreachable!("{deed}"),
        });
        // What is on disk counts too, where the process is not there or forgets.
        let on_disk = agent.disk.healed.permit;
        let mut numbers: Vec<u64> = entries.iter().flatten().map(|(permit, _)| permit.number).collect();
        let current = if agent.down { on_disk } else { agent.number() };
        numbers.extend(flies.map(|(_, _, number, _)| number).into_iter().chain([current, on_disk, 0]));
        numbers.sort_unstable();
        numbers.dedup();
        let order = |number: u64| numbers.iter().position(|n| *n == number).unwrap_or(0);
        let ticks = |time: Duration| u32::try_from(time.as_secs() / TICK.as_secs()).unwrap_or(u32::MAX);
        (
            agent.view,
            [agent.down, agent.sick],
            agent.places,
            [agent.granted, agent.away].map(|at| at.map(|at| self.tick - at)),
            entries.map(|entry| entry.map(|(permit, left)| (order(permit.number), ticks(left)))),
            flies.map(|(takes, keeps, number, left)| (takes, keeps, order(number), left)),
            [current, on_disk].map(order),
        )
    }

    fn normal(&self) -> (Vec<Normal>, Option<Duration>, Left, u8, [bool; 2]) {
        let mut all: Vec<Normal> = (0..self.agents.len()).map(|who| self.of(who)).collect();
        // All agents are alike.
        all.sort_unstable();
        (all, self.book.closed(TICK * self.tick), self.left, self.calm, self.broken)
    }

    /// Those whose agents are there are well, and hold nothing.
    pub fn is_healed(&self) -> bool {
        self.agents.iter().all(|agent| agent.down || !agent.sick) && self.book.held(TICK * self.tick, &GROUP.into()).is_empty()
    }
}

impl Hash for Lending {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.normal().hash(state);
    }
}

impl PartialEq for Lending {
    fn eq(&self, other: &Self) -> bool {
        self.normal() == other.normal()
    }
}

impl fmt::Debug for Lending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tick {} {:?} {:?}", self.tick, self.normal(), self.book)
    }
}
