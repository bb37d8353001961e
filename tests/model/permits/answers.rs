//! How an agent of the model of permits is stepped, and what the book answers.
//!
//! What must stay true: an agent sees nothing but answers; the book is `orchestrator::permits::Book` itself, and is asked through [`Setup::arrive`] alone,
//! where one lie can be told.

use std::sync::Arc;
use std::time::Duration;

use bellrock::decide;
use bellrock::decide::Action;
use bellrock::decide::Answer;
use bellrock::decide::Deed;
use bellrock::decide::Durable;
use bellrock::decide::Fault;
use bellrock::decide::FaultKind;
use bellrock::decide::Look;
use bellrock::decide::Observation;
use bellrock::decide::OwnRead;
use bellrock::decide::Receipt;
use bellrock::decide::Seen;
use bellrock::decide::What;
use bellrock::decide::heal::Healed;
use bellrock::decide::heal::restart_limit;
use bellrock::model::Activity;
use bellrock::model::Group;
use bellrock::model::Intake;
use bellrock::model::Moment;
use bellrock::model::Notices;
use bellrock::model::Permit;
use bellrock::model::PermitAnswer;
use bellrock::model::PermitRequest;
use bellrock::model::Probed;
use bellrock::model::Sample;
use bellrock::orchestrator::permits::Book;

use super::ledger::Agent;
use super::ledger::Flight;
use super::ledger::LEASE;
use super::ledger::LIMIT;
use super::ledger::Lending;
use super::ledger::TICK;
use super::ledger::Who;
use super::ledger::id;
use super::setup::Lie;
use super::setup::Setup;

/// The first tick: what was before is long ago.
const FIRST: u32 = 1000;
/// A question that its asker gave up arrives within so many ticks, or never.
const FLIES: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Truly,
    DoneAndLost,
    NotDoneAndLost,
    /// It arrives later.
    Late,
}

impl Setup {
    pub fn start(&self) -> Lending {
        assert_eq!(restart_limit(&self.policy(1)), TICK * u32::from(LIMIT));
        let disk = Durable { healed: Healed { ready: true, ..Healed::default() }, ..Durable::default() };
        let agents = (0..self.agents).map(|who| {
            let policy = self.policy(self.places);
            let mut state = decide::State::new(id(who), disk.clone(), true, &policy, self.moment(FIRST, who));
            state.set_restartable(true);
            let agent = Agent {
                state,
                disk: disk.clone(),
                saved: 0,
                asks: None,
                restarts: None,
                down: false,
                sick: true,
                places: self.places,
                granted: None,
                away: None,
                view: None,
            };
            Arc::new(agent)
        });
        let mut lending = Lending {
            tick: FIRST,
            agents: agents.collect(),
            book: Book::default(),
            past: Book::default(),
            flight: None,
            left: self.left,
            calm: 0,
            broken: [false; 2],
        };
        for who in 0..self.agents {
            self.observe(&mut lending, who, Seen::Tick);
        }
        self.look_back(&mut lending);
        lending
    }

    /// One step, as `daemon::Agent::observe` has it: the journal is written before anything is begun. Looks are answered at once.
    pub fn observe(&self, lending: &mut Lending, who: Who, seen: Seen) {
        let (tick, now, group) = (lending.tick, self.moment(lending.tick, who), self.read());
        let book = &mut lending.book;
        let agent = Arc::make_mut(&mut lending.agents[who]);
        let policy = self.policy(agent.places);
        let mut seen = vec![seen];
        while let Some(next) = seen.pop() {
            let outcome = decide::step(&mut agent.state, &policy, Observation { at: now, seen: next });
            let durable = agent.state.durable();
            if durable.version != agent.saved {
                agent.saved = durable.version;
                let number = agent.disk.healed.permit;
                agent.disk = durable.clone();
                if self.lie == Some(Lie::NumberIsForgotten) {
                    agent.disk.healed.permit = number;
                }
            }
            for action in outcome.actions {
                match &action.what {
                    What::Look(look) => {
                        let answer = looked(look, who, &group, agent.sick || agent.away.is_some(), now);
                        seen.push(Seen::Answer { key: action.key, answer: Box::new(answer) });
                    }
                    What::Deed { deed: Deed::TakePermit(_), .. } => agent.asks = Some(action),
                    What::Deed { deed: Deed::GivePermit { .. }, .. } => {
                        agent.granted = None;
                        agent.asks = Some(action);
                    }
                    What::Deed { deed: Deed::RestartOrchestrator { .. }, .. } => {
                        let covered = agent.granted.is_some_and(|asked| tick + u32::from(LIMIT) <= asked + u32::from(LEASE));
                        lending.broken[1] |= !covered;
                        agent.away = Some(tick);
                        if self.lie == Some(Lie::GivenBackEarly) {
                            let number = agent.state.durable().healed.permit;
                            book.give(&group.name, &Permit { holder: id(who), number });
                        }
                        agent.restarts = Some(action);
                    }
                    What::Deed { deed: Deed::StartOrchestrator, .. } => agent.restarts = Some(action),
                    What::Deed { deed, .. } => unreachable!("{deed}"),
                }
            }
        }
        agent.view = None;
    }

    pub fn answered(&self, lending: &mut Lending, who: Who, action: &Action, result: Result<Receipt, Fault>) {
        self.observe(lending, who, Seen::Answer { key: action.key, answer: Box::new(Answer::Done(result)) });
    }

    /// Something arrives at the book.
    pub fn arrive(&self, lending: &mut Lending, deed: &Deed) -> Receipt {
        let now = TICK * lending.tick;
        match deed {
            Deed::TakePermit(request) => {
                let early = if self.lie == Some(Lie::ShortLease) { TICK * 2 } else { Duration::ZERO };
                let keeps = request.keeps || self.lie == Some(Lie::AllKeep);
                let request = PermitRequest { lease: request.lease - early, keeps, ..request.clone() };
                Receipt::Permit(lending.book.take(now, &request))
            }
            Deed::GivePermit { group, permit } => {
                lending.book.give(group, permit);
                Receipt::Done
            }
            _ => unreachable!("{deed}"),
        }
    }

    pub fn answer(&self, lending: &mut Lending, who: Who, how: How) {
        let agent = Arc::make_mut(&mut lending.agents[who]);
        agent.view = None;
        let Some(action) = agent.asks.take() else { return };
        let What::Deed { deed, .. } = &action.what else { return };
        let lost = Err(Fault { what: FaultKind::OutcomeUnknown, text: "lost".to_owned() });
        if how != How::Truly {
            lending.left.lost -= 1;
            lending.calm = 0;
        }
        let result = match how {
            How::Truly => Ok(self.arrive(lending, deed)),
            How::DoneAndLost => {
                self.arrive(lending, deed);
                lost
            }
            How::NotDoneAndLost => lost,
            How::Late => {
                lending.flight = Some(Flight { who, deed: deed.clone(), left: FLIES });
                lost
            }
        };
        let tick = lending.tick;
        let agent = Arc::make_mut(&mut lending.agents[who]);
        match &result {
            Ok(Receipt::Permit(PermitAnswer::Granted)) => agent.granted = Some(tick),
            Ok(Receipt::Permit(PermitAnswer::Refused { .. })) => agent.granted = None,
            Ok(_) | Err(_) => {}
        }
        self.answered(lending, who, &action, result);
    }
}

fn looked(look: &Look, who: Who, group: &Group, sick: bool, now: Moment) -> Answer {
    match look {
        Look::TargetState => Answer::TargetState(Ok(None)),
        Look::Own { .. } => Answer::Own(Ok(OwnRead { entry: group.instance(&id(who)).cloned(), ending: None })),
        Look::Group => Answer::Group(Ok(Some(group.clone()))),
        Look::Cluster => Answer::Cluster(Ok(vec![group.clone()])),
        Look::Orchestrator => {
            let sample = Sample { activity: Activity::Idle, asked: now, measured: None, generation: None };
            Answer::Orchestrator { intake: Intake::Open, sample }
        }
        Look::Probe(probe) => {
            let silent = Probed::Silent { why: "no answer".to_owned() };
            Answer::Probe(*probe, if sick { silent } else { Probed::Passed })
        }
        Look::Notices => Answer::Notices(Ok(Notices::default())),
        Look::Hook(_) => Answer::Hook(Ok(None)),
        Look::Vitals | Look::Task(_) | Look::OwnTask { .. } => unreachable!("{look:?}: nothing of it is looked at"),
    }
}
