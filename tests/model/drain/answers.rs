//! How an agent of the drain's model is stepped, and how what it asks is answered.
//!
//! What must stay true: an agent sees nothing but answers; what it wants done goes through [`Setup::answer`], where one lie can be told.

use std::sync::Arc;

use bellrock::decide;
use bellrock::decide::Answer;
use bellrock::decide::Deed;
use bellrock::decide::Durable;
use bellrock::decide::Fault;
use bellrock::decide::FaultKind;
use bellrock::decide::Key;
use bellrock::decide::Look;
use bellrock::decide::Observation;
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

use super::fleet::Agent;
use super::fleet::Fleet;
use super::setup::Lie;
use super::setup::Setup;
use super::world::Books;
use super::world::Life;
use super::world::Newer;
use super::world::Who;
use super::world::Work;
use super::world::World;
use super::world::id;
use super::world::moment;

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

    pub fn start(&self, tick: u32) -> Fleet {
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

    pub fn wake(&self, fleet: &mut Fleet, who: Who) {
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

    pub fn crash(&self, fleet: &mut Fleet, who: Who) {
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

    pub fn answer(&self, fleet: &mut Fleet, who: Who, how: How) {
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

    pub fn perform(&self, fleet: &mut Fleet, who: Who, how: How) -> (Key, Option<Answer>) {
        let agent = Arc::make_mut(&mut fleet.agents[who]);
        agent.view = None;
        let action = agent.pending.remove(0);
        let answer = match &action.what {
            What::Look(look) => self.looked(fleet, who, look, how),
            What::Deed { deed, .. } => self.carry_out(fleet, who, deed, how),
        };
        (action.key, answer)
    }

    pub fn ways(&self, fleet: &Fleet, who: Who, what: &What) -> Vec<How> {
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
