//! The model of permits: what is run, what may happen next, and what was promised of it.

use std::sync::Arc;
use std::time::Duration;

use stateright::Model;
use stateright::Property;

use bellrock::decide;
use bellrock::decide::Action;
use bellrock::decide::Policy;
use bellrock::decide::Receipt;
use bellrock::decide::Seen;
use bellrock::decide::What;
use bellrock::decide::heal::HealPolicy;
use bellrock::decide::heal::ProbeRules;
use bellrock::model::Group;
use bellrock::model::InstanceHealth;
use bellrock::model::LifecycleState;
use bellrock::model::Moment;
use bellrock::model::Timestamp;
use bellrock::orchestrator::permits::Book;

use super::answers::How;
use super::group::group;
use super::group::member;
use super::ledger::Flight;
use super::ledger::GROUP;
use super::ledger::LEASE;
use super::ledger::LIMIT;
use super::ledger::Left;
use super::ledger::Lending;
use super::ledger::TICK;
use super::ledger::Who;
use super::ledger::id;

pub const BUDGET: &str = "P1: no permit comes into force beside as many as there are places";
pub const COVERED: &str = "P2: no restart begins without a permit that outlasts it";
pub const HEALS: &str = "L: once nothing goes wrong any more, all are healed and the book is empty";

/// Half of a turn, in seconds: longer than anything here.
const HALF_TURN_S: u64 = 1 << 30;

/// What is run.
#[derive(Clone, Debug)]
pub struct Setup {
    pub agents: usize,
    /// Places of the group.
    pub places: u8,
    pub left: Left,
    pub lie: Option<Lie>,
    /// Ticks of calm after which all must have come to its end; none = nobody counts.
    pub calm: Option<u8>,
}

/// A guard that is taken away, in exactly one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nobody needs a permit: turns alone, of clocks that differ.
    NoneNeeded,
    /// A lease ends in the book before a restart that began under it is given up.
    ShortLease,
    /// A book that may have lost something gives at once.
    OpensAtOnce,
    /// Whoever asks says that it was granted before.
    AllKeep,
    /// The number of an intent is not written down.
    NumberIsForgotten,
    /// A restart goes on for longer than it is waited for.
    RestartGoesOn,
    /// A permit is given back when the restart begins.
    GivenBackEarly,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Tick,
    /// A question, or what is given back, arrives and is answered.
    Answer {
        who: Who,
        how: How,
    },
    /// A restart, or the start that is owed, is over and answered, or its answer is lost.
    Restarted {
        who: Who,
        heard: bool,
    },
    /// An agent's process dies; what it asks of the book is done or not.
    Crash {
        who: Who,
        done: bool,
    },
    Return(Who),
    /// What was given up arrives.
    Arrive,
    /// The book loses what was written in this tick, or everything.
    Failover {
        all: bool,
    },
    Shrink(Who),
    Sicken(Who),
}

impl Setup {
    /// By the clock of this agent, which differs from the others' so that all have their turns at once.
    pub fn moment(&self, tick: u32, who: Who) -> Moment {
        let since = TICK * tick;
        let slots = ((self.agents - who) % self.agents) as u64;
        let wall = Timestamp::default().plus(Duration::from_secs(2 * HALF_TURN_S * slots) + since);
        Moment { mono: since, wall }
    }

    pub fn policy(&self, places: u8) -> Policy {
        let often = Duration::from_secs(1);
        let percent = usize::from(places) * 100 / self.agents + 1;
        let heal = HealPolicy {
            liveness: Some(ProbeRules { every: often, failures: 1, successes: 1 }),
            restarts: 20,
            window: often,
            backoff: often,
            stop_grace: Duration::from_secs(10),
            start_grace: TICK / 2,
            turn: Duration::from_secs(HALF_TURN_S),
            budget_percent: u8::try_from(percent).unwrap_or(100),
            permits: self.lie != Some(Lie::NoneNeeded),
            ..HealPolicy::default()
        };
        Policy {
            describe_every: often,
            metadata_every: often,
            activity_every: often,
            activity_every_idle: often,
            stale_bound: TICK,
            heal,
            ..Policy::default()
        }
    }

    pub fn read(&self) -> Group {
        let members = (0..self.agents).map(|who| member(GROUP, id(who), LifecycleState::InService, InstanceHealth::Healthy));
        group(GROUP, 1, 0, u8::try_from(self.agents).unwrap_or(u8::MAX), members.collect())
    }

    pub fn look_back(&self, lending: &mut Lending) {
        let tick = lending.tick;
        lending.look_back(|who| self.moment(tick, who));
    }

    fn lease(&self) -> Duration {
        TICK * u32::from(LEASE)
    }

    fn happen(&self, lending: &mut Lending, event: Event) {
        let before: Vec<bool> = lending.agents.iter().map(|agent| agent.is_in_force(lending.tick)).collect();
        match event {
            Event::Tick => self.tick(lending),
            Event::Answer { who, how } => self.answer(lending, who, how),
            Event::Restarted { who, heard } => {
                let agent = Arc::make_mut(&mut lending.agents[who]);
                (agent.away, agent.sick, agent.view) = (None, false, None);
                match agent.restarts.take() {
                    Some(action) if heard => self.answered(lending, who, &action, Ok(Receipt::Done)),
                    _ => {
                        lending.left.lost -= 1;
                        lending.calm = 0;
                    }
                }
            }
            Event::Crash { who, done } => {
                let agent = Arc::make_mut(&mut lending.agents[who]);
                let asked = agent.asks.take();
                (agent.down, agent.granted, agent.restarts, agent.view) = (true, None, None, None);
                lending.left.crashes -= 1;
                lending.calm = 0;
                if let (true, Some(Action { what: What::Deed { deed, .. }, .. })) = (done, asked) {
                    self.arrive(lending, &deed);
                }
            }
            Event::Return(who) => {
                let now = self.moment(lending.tick, who);
                let agent = Arc::make_mut(&mut lending.agents[who]);
                agent.state = decide::State::new(id(who), agent.disk.clone(), true, &self.policy(agent.places), now);
                agent.state.set_restartable(true);
                (agent.down, agent.saved) = (false, agent.disk.version);
                lending.calm = 0;
                self.observe(lending, who, Seen::Tick);
            }
            Event::Arrive => {
                if let Some(flight) = lending.flight.take() {
                    self.arrive(lending, &flight.deed);
                    lending.calm = 0;
                }
            }
            Event::Failover { all } => {
                lending.left.failovers -= 1;
                lending.calm = 0;
                let closed = if self.lie == Some(Lie::OpensAtOnce) { Duration::ZERO } else { self.lease() };
                let older = if all { Book::default() } else { lending.past.clone() };
                lending.book.fall_back(older, TICK * lending.tick, closed);
            }
            Event::Shrink(who) => {
                lending.left.shrinks -= 1;
                Arc::make_mut(&mut lending.agents[who]).places -= 1;
                lending.calm = 0;
            }
            Event::Sicken(who) => {
                lending.left.sick -= 1;
                Arc::make_mut(&mut lending.agents[who]).sick = true;
                lending.calm = 0;
            }
        }
        let after: Vec<bool> = lending.agents.iter().map(|agent| agent.is_in_force(lending.tick)).collect();
        for (who, agent) in lending.agents.iter().enumerate() {
            let beside = after.iter().filter(|held| **held).count() - usize::from(after[who]);
            lending.broken[0] |= after[who] && !before[who] && beside >= usize::from(agent.places);
        }
    }

    fn tick(&self, lending: &mut Lending) {
        lending.tick += 1;
        lending.past = lending.book.clone();
        lending.flight = lending.flight.take().and_then(|flight| Some(Flight { left: flight.left.checked_sub(1)?, ..flight }));
        lending.calm = (lending.calm + 1).min(self.calm.unwrap_or(0));
        let limit = if self.lie == Some(Lie::RestartGoesOn) { LIMIT + 2 } else { LIMIT };
        for agent in &mut lending.agents {
            let agent = Arc::make_mut(agent);
            agent.view = None;
            agent.away = agent.away.filter(|since| lending.tick < since + u32::from(limit));
            agent.granted = agent.granted.filter(|asked| lending.tick < asked + u32::from(LEASE));
        }
        for who in 0..self.agents {
            if !lending.agents[who].down {
                self.observe(lending, who, Seen::Tick);
                let agent = &mut lending.agents[who];
                // One that was given up is answered by nobody any more.
                if agent.restarts.is_some() && !agent.state.durable().healed.under_way {
                    Arc::make_mut(agent).restarts = None;
                    lending.calm = 0;
                }
            }
        }
    }

    fn events(&self, lending: &Lending, events: &mut Vec<Event>) {
        let left = lending.left;
        for (who, agent) in lending.agents.iter().enumerate() {
            if agent.asks.is_some() {
                events.push(Event::Answer { who, how: How::Truly });
                if left.lost > 0 {
                    events.extend([How::DoneAndLost, How::NotDoneAndLost].map(|how| Event::Answer { who, how }));
                    if lending.flight.is_none() {
                        events.push(Event::Answer { who, how: How::Late });
                    }
                }
            }
            if agent.restarts.is_some() {
                events.push(Event::Restarted { who, heard: true });
                if left.lost > 0 {
                    events.push(Event::Restarted { who, heard: false });
                }
            }
            if agent.down {
                events.push(Event::Return(who));
            } else if left.crashes > 0 {
                events.push(Event::Crash { who, done: false });
                if agent.asks.is_some() {
                    events.push(Event::Crash { who, done: true });
                }
            }
            // What is under way was asked with the places of before.
            if left.shrinks > 0 && agent.places > 1 && agent.asks.is_none() {
                events.push(Event::Shrink(who));
            }
            if left.sick > 0 && !agent.sick && agent.away.is_none() {
                events.push(Event::Sicken(who));
            }
        }
        if lending.flight.is_some() {
            events.push(Event::Arrive);
        }
        if left.failovers > 0 {
            events.extend([false, true].map(|all| Event::Failover { all }));
        }
        // Within a tick all questions are answered, or given up.
        if lending.agents.iter().all(|agent| agent.asks.is_none()) {
            events.push(Event::Tick);
        }
    }
}

impl Model for Setup {
    type State = Lending;
    type Action = Event;

    fn init_states(&self) -> Vec<Lending> {
        vec![self.start()]
    }

    fn actions(&self, lending: &Lending, events: &mut Vec<Event>) {
        self.events(lending, events);
    }

    fn next_state(&self, last: &Lending, event: Event) -> Option<Lending> {
        let mut lending = last.clone();
        self.happen(&mut lending, event);
        self.look_back(&mut lending);
        Some(lending)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(BUDGET, |_, l: &Lending| !l.broken[0]),
            Property::always(COVERED, |_, l: &Lending| !l.broken[1]),
            Property::sometimes("all are healed", |_, l: &Lending| l.agents.iter().all(|agent| !agent.sick) && l.is_healed()),
            Property::sometimes("all places are taken", |setup: &Setup, l: &Lending| {
                l.agents.iter().filter(|agent| agent.is_in_force(l.tick)).count() == usize::from(setup.places)
            }),
        ];
        if self.calm.is_some() {
            properties.push(Property::always(HEALS, |setup: &Setup, l: &Lending| setup.calm != Some(l.calm) || l.is_healed()));
        }
        if self.left.failovers > 0 {
            properties.push(Property::sometimes("a book is closed", |_, l: &Lending| l.book.closed(TICK * l.tick).is_some()));
        }
        properties
    }
}
