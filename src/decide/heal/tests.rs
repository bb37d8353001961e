//! Several agents of one group against a small world: what each probe says is written down, describes show what is so, restarts take their time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::decide::Answer;
use crate::decide::Command;
use crate::decide::Durable;
use crate::decide::FaultKind;
use crate::decide::Look;
use crate::decide::Observation;
use crate::decide::OwnRead;
use crate::decide::Seen;
use crate::decide::What;
use crate::decide::step;
use crate::decide::wake_at;
use crate::model::Activity;
use crate::model::Generation;
use crate::model::Group;
use crate::model::HealthCheckType;
use crate::model::Hold as GroupHold;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::Notices;
use crate::model::Probe;
use crate::model::Probed;
use crate::model::Process;
use crate::model::Sample;
use crate::model::Vitals;
use crate::model::testing;
use crate::orchestrator::permits::Book;

const WALL: i64 = 1_700_000_000_000;
const GROUP: &str = "app-main-v001";
const EVERY: Duration = Duration::from_secs(10);

/// One instance and the agent on it.
struct Member {
    state: State,
    /// What its probes say, the store's last.
    alive: Probed,
    ready: Probed,
    store: Probed,
    vitals: Vitals,
    activity: Activity,
    intake: Intake,
    generation: u32,
    /// A restart makes it well.
    restart_helps: bool,
    deeds: Vec<(Duration, Deed)>,
    /// From a restart's beginning to its end.
    restarts: Vec<(Duration, Duration)>,
}

struct Fleet {
    policy: Policy,
    now: Moment,
    group: Group,
    members: Vec<Member>,
    blind: bool,
    disk_full: bool,
    restart_takes: Duration,
    late: Vec<(Duration, usize, Key, Answer)>,
    decisions: Vec<Decision>,
    book: Book,
    lender: Lender,
    /// Most permits that were in force at once, by the book.
    lent: usize,
}

/// How whoever keeps the book answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lender {
    Answers,
    /// It is done, and the answer is lost; the agent waits so long for it.
    Deaf,
    /// Nothing is done.
    Down,
    /// It answers so late.
    Slow(Duration),
}

fn rules() -> ProbeRules {
    ProbeRules { every: EVERY, failures: 3, successes: 1 }
}

fn silent() -> Probed {
    Probed::Silent { why: "no answer within 1 s".to_owned() }
}

fn id(n: usize) -> InstanceId {
    InstanceId::from(format!("i-{n:02}").as_str())
}

impl Fleet {
    /// So many members, all well, seen to be ready.
    fn of(size: usize) -> Self {
        let heal = HealPolicy { liveness: Some(rules()), ..HealPolicy::default() };
        let policy = Policy { heal, sample_max_age: Duration::from_secs(15), settle: Duration::from_secs(10), ..Policy::default() };
        let now = Moment { mono: Duration::from_secs(1000), wall: Timestamp(WALL) };
        let ids = (0..size).map(|n| id(n).to_string());
        let mut group = testing::group(GROUP, 1, (0, u32::try_from(size).unwrap(), 20), ids);
        group.health_check_type = HealthCheckType::Elb;
        let members = (0..size).map(|n| Member {
            state: State::new(id(n), Durable::default(), true, &policy, now),
            alive: Probed::Passed,
            ready: Probed::Passed,
            store: Probed::Passed,
            vitals: Vitals::default(),
            activity: Activity::Idle,
            intake: Intake::Open,
            generation: 1,
            restart_helps: true,
            deeds: Vec::new(),
            restarts: Vec::new(),
        });
        let members = members.map(|mut m| {
            m.state.set_restartable(true);
            m
        });
        let mut fleet = Self {
            members: members.collect(),
            policy,
            now,
            group,
            blind: false,
            disk_full: false,
            restart_takes: Duration::from_secs(40),
            late: Vec::new(),
            decisions: Vec::new(),
            book: Book::default(),
            lender: Lender::Answers,
            lent: 0,
        };
        fleet.run_s(60);
        fleet
    }

    fn see(&mut self, n: usize, seen: Seen) -> Option<String> {
        let observation = Observation { at: self.now, seen };
        let saved = self.members[n].state.durable().version;
        let mut outcome = step(&mut self.members[n].state, &self.policy, observation);
        if self.disk_full && self.members[n].state.durable().version != saved {
            outcome.actions.retain(|a| !matches!(&a.what, What::Deed { deed, .. } if deed.needs_journal()));
            let lost = Observation { at: self.now, seen: Seen::JournalLost("disk full".to_owned()) };
            let more = step(&mut self.members[n].state, &self.policy, lost);
            outcome.actions.extend(more.actions);
        }
        self.decisions.append(&mut outcome.decisions);
        for action in outcome.actions {
            match &action.what {
                What::Look(look) => {
                    self.now = self.now.plus(Duration::from_millis(1));
                    let answer = self.look(n, look);
                    self.see(n, Seen::Answer { key: action.key, answer: Box::new(answer) });
                }
                What::Deed { deed, .. } => self.perform(n, deed, action.key),
            }
        }
        outcome.refusal
    }

    fn look(&self, n: usize, look: &Look) -> Answer {
        let member = &self.members[n];
        let sick = || Fault { what: FaultKind::OutcomeUnknown, text: "503".to_owned() };
        match look {
            Look::TargetState => Answer::TargetState(Ok(None)),
            Look::Own { .. } => Answer::Own(Ok(OwnRead { entry: self.group.instance(&id(n)).cloned(), ending: None })),
            Look::Group => Answer::Group(if self.blind { Err(sick()) } else { Ok(Some(self.group.clone())) }),
            Look::Cluster => Answer::Cluster(if self.blind { Err(sick()) } else { Ok(vec![self.group.clone()]) }),
            Look::Orchestrator => {
                let answers = member.alive == Probed::Passed;
                let activity = if answers { member.activity.clone() } else { Activity::Unknown { why: "silent".to_owned() } };
                let intake = if answers { member.intake.clone() } else { Intake::Unknown { why: "silent".to_owned() } };
                let generation = answers.then(|| Generation(member.generation.to_string()));
                Answer::Orchestrator { intake, sample: Sample { activity, asked: self.now, measured: None, generation } }
            }
            Look::Probe(Probe::Liveness) => Answer::Probe(Probe::Liveness, member.alive.clone()),
            Look::Probe(Probe::Readiness) => Answer::Probe(Probe::Readiness, member.ready.clone()),
            Look::Probe(Probe::Store) => Answer::Probe(Probe::Store, member.store.clone()),
            Look::Vitals => {
                let generation = Some(Generation(member.generation.to_string()));
                Answer::Vitals(Vitals { generation, ..member.vitals.clone() })
            }
            Look::Notices => Answer::Notices(Ok(Notices::default())),
            Look::Hook(_) => Answer::Hook(Ok(None)),
            Look::Task(_) | Look::OwnTask { .. } => unreachable!("AWS is the hand"),
        }
    }

    fn perform(&mut self, n: usize, deed: &Deed, key: Key) {
        if let Some((takes, result)) = self.lend(deed) {
            self.late.push((self.now.mono + takes, n, key, Answer::Done(result)));
            return;
        }
        let (at, takes) = (self.now.mono, self.restart_takes);
        let member = &mut self.members[n];
        member.deeds.push((at, deed.clone()));
        let takes = match deed {
            Deed::RestartOrchestrator { .. } | Deed::StartOrchestrator => {
                // A start that is owed is no restart of its own.
                if matches!(deed, Deed::RestartOrchestrator { .. }) {
                    member.restarts.push((at, at + takes));
                }
                member.generation += 1;
                if member.restart_helps {
                    (member.alive, member.vitals) = (Probed::Passed, Vitals::default());
                }
                takes
            }
            Deed::TerminateOwn { .. } => {
                if let Some(entry) = self.group.instances.iter_mut().find(|i| i.id == id(n)) {
                    entry.state = LifecycleState::Terminating;
                }
                Duration::ZERO
            }
            _ => Duration::ZERO,
        };
        self.late.push((at + takes, n, key, Answer::Done(Ok(Receipt::Done))));
    }

    /// What the book says to this, and after how long; `None` when it is not asked.
    fn lend(&mut self, deed: &Deed) -> Option<(Duration, Result<Receipt, Fault>)> {
        let now = self.now.mono;
        let lost = || Err(Fault { what: FaultKind::OutcomeUnknown, text: "no answer within 2 s".to_owned() });
        if !matches!(deed, Deed::TakePermit(_) | Deed::GivePermit { .. }) {
            return None;
        }
        if self.lender == Lender::Down {
            return Some((Duration::from_secs(2), lost()));
        }
        let receipt = match deed {
            Deed::TakePermit(request) => Receipt::Permit(self.book.take(now, request)),
            Deed::GivePermit { group, permit } => {
                self.book.give(group, permit);
                Receipt::Done
            }
            _ => return None,
        };
        self.lent = self.lent.max(self.book.in_force(now, &self.group.name));
        Some(match self.lender {
            Lender::Slow(time) => (time, Ok(receipt)),
            Lender::Deaf => (Duration::from_secs(2), lost()),
            Lender::Answers | Lender::Down => (Duration::ZERO, Ok(receipt)),
        })
    }

    /// Members that are sick at once, of which one may be away at once, with a book of permits.
    fn lending(size: usize) -> Self {
        let mut fleet = Self::of(size);
        fleet.policy.heal.permits = true;
        fleet
    }

    fn in_force(&self) -> usize {
        self.book.in_force(self.now.mono, &self.group.name)
    }

    /// Ticks as the daemons would, until then.
    fn run(&mut self, time: Duration) {
        let end = self.now.mono + time;
        let mut steps = 0_u32;
        loop {
            steps += 1;
            assert!(steps < 2_000_000, "the loop spins");
            let wakes = self.members.iter().map(|m| wake_at(&m.state, &self.policy));
            let (n, wake) = wakes.enumerate().min_by_key(|(_, wake)| *wake).unwrap();
            let late = self.late.iter().enumerate().min_by_key(|(_, (due, ..))| *due).map(|(at, (due, ..))| (at, *due));
            let next = late.map_or(wake, |(_, due)| due.min(wake)).max(self.now.mono);
            if next > end {
                self.now = self.now.plus(end.saturating_sub(self.now.mono));
                return;
            }
            self.now = self.now.plus(next - self.now.mono);
            match late {
                Some((at, due)) if due <= wake => {
                    let (_, of, key, answer) = self.late.remove(at);
                    self.see(of, Seen::Answer { key, answer: Box::new(answer) });
                }
                _ => {
                    self.see(n, Seen::Tick);
                }
            }
        }
    }

    fn run_s(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn restarts(&self) -> usize {
        self.members.iter().map(|m| m.restarts.len()).sum()
    }

    fn terminations(&self) -> Vec<&Deed> {
        self.members.iter().flat_map(|m| &m.deeds).map(|(_, deed)| deed).filter(|d| matches!(d, Deed::TerminateOwn { .. })).collect()
    }

    fn held(&self, n: usize) -> Option<String> {
        self.members[n].state.heal_status(&self.policy, self.now).held
    }

    fn word(&self, n: usize) -> String {
        self.members[n].state.heal_status(&self.policy, self.now).state
    }

    /// Most that were being restarted at one moment.
    fn at_once(&self) -> usize {
        let all: Vec<_> = self.members.iter().flat_map(|m| &m.restarts).collect();
        all.iter().map(|(from, _)| all.iter().filter(|(a, b)| a <= from && from < b).count()).max().unwrap_or(0)
    }

    fn sicken(&mut self, n: usize) {
        self.members[n].alive = silent();
    }

    fn agent_restarts(&mut self, n: usize, same_boot: bool) {
        let durable = self.members[n].state.durable().clone();
        self.members[n].state = State::new(id(n), durable, same_boot, &self.policy, self.now);
        self.members[n].state.set_restartable(true);
        self.late.retain(|(_, of, ..)| *of != n);
    }
}

#[test]
fn a_hung_orchestrator_is_restarted_once_and_is_well_again() {
    let mut fleet = Fleet::of(1);
    fleet.sicken(0);
    let from = fleet.now.mono;
    fleet.run_s(300);
    assert_eq!((fleet.restarts(), fleet.word(0).as_str()), (1, "well"));
    let took = fleet.members[0].restarts[0].0 - from;
    assert!(took >= EVERY && took <= EVERY * 3 + Duration::from_secs(1), "{took:?}");
    let told: Vec<&str> = fleet.decisions.iter().map(|d| d.what.as_str()).collect();
    assert_eq!(told, ["restart", "restarted", "well"]);
}

#[test]
fn a_dead_orchestrator_is_suspected_within_one_probe_interval() {
    for seconds in 0..10 {
        let mut fleet = Fleet::of(1);
        fleet.run_s(seconds);
        fleet.members[0].alive = Probed::Absent { why: "connection refused".to_owned() };
        fleet.run(EVERY + Duration::from_millis(100));
        assert_eq!(fleet.word(0), "watch", "dead for {seconds} s");
    }
}

#[test]
fn what_was_never_ready_is_never_restarted_and_a_restart_of_the_agent_forgets_no_readiness() {
    let mut fleet = Fleet::of(1);
    fleet.sicken(0);
    fleet.agent_restarts(0, false);
    fleet.run_s(3600);
    assert_eq!((fleet.restarts(), fleet.word(0).as_str()), (0, "rest"), "the host has booted since");

    let mut fleet = Fleet::of(1);
    fleet.sicken(0);
    fleet.agent_restarts(0, true);
    fleet.run_s(300);
    assert_eq!(fleet.restarts(), 1);
}

#[test]
fn restarts_are_backed_off_and_spent_and_then_a_person_is_asked() {
    let mut fleet = Fleet::of(1);
    fleet.members[0].restart_helps = false;
    fleet.sicken(0);
    fleet.run_s(3000);
    let times: Vec<_> = fleet.members[0].restarts.clone();
    assert_eq!((times.len(), fleet.held(0).as_deref()), (3, Some("heal_beyond_restart")));
    for pair in times.windows(2) {
        assert!(pair[1].0 - pair[0].1 >= fleet.policy.heal.start_grace, "{times:?}");
    }
    assert_eq!(fleet.terminations().len(), 0);
    fleet.run_s(24 * 3600);
    assert!(fleet.restarts() <= 3 * 25, "{} in a day", fleet.restarts());
}

#[test]
fn the_budget_of_restarts_holds_over_crashes_of_the_agent() {
    let mut fleet = Fleet::of(1);
    fleet.members[0].restart_helps = false;
    fleet.sicken(0);
    for _ in 0..10 {
        fleet.run_s(300);
        fleet.agent_restarts(0, true);
    }
    assert!(fleet.restarts() <= 3, "{:?}", fleet.members[0].restarts);
}

#[test]
fn the_budget_of_restarts_holds_over_jumps_of_the_clock() {
    let mut fleet = Fleet::of(1);
    fleet.members[0].restart_helps = false;
    fleet.sicken(0);
    for n in 0..11 {
        fleet.run_s(300);
        fleet.now.wall = Timestamp(fleet.now.wall.0 + if n % 2 == 0 { -3_600_000 } else { 3_600_000 });
    }
    assert_eq!(fleet.restarts(), 3, "{:?}", fleet.members[0].restarts);
}

#[test]
fn a_restart_that_broke_off_with_its_agent_is_made_up_for() {
    let mut fleet = Fleet::of(1);
    fleet.sicken(0);
    fleet.run_s(35);
    assert_eq!(fleet.word(0), "restarting");
    fleet.agent_restarts(0, true);
    fleet.run_s(120);
    let deeds: Vec<_> = fleet.members[0].deeds.iter().map(|(_, deed)| deed.clone()).collect();
    assert!(matches!(deeds.as_slice(), [Deed::RestartOrchestrator { .. }, Deed::StartOrchestrator]), "{deeds:?}");
    assert!(!fleet.members[0].state.durable().healed.under_way);
}

#[test]
fn a_restart_is_not_sent_when_it_cannot_be_written_down() {
    let mut fleet = Fleet::of(1);
    fleet.sicken(0);
    fleet.disk_full = true;
    fleet.run_s(300);
    assert_eq!(fleet.restarts(), 0);
}

#[test]
fn a_store_that_does_not_answer_is_not_the_orchestrators_fault() {
    let mut fleet = Fleet::of(1);
    fleet.policy.heal.store = Some(rules());
    fleet.run_s(60);
    fleet.members[0].store = Probed::Absent { why: "connection refused".to_owned() };
    fleet.sicken(0);
    fleet.run_s(3600);
    assert_eq!((fleet.restarts(), fleet.held(0).as_deref()), (0, Some("heal_store_down")));

    fleet.members[0].store = Probed::Unable { why: "no such program".to_owned() };
    fleet.run_s(3600);
    assert_eq!((fleet.restarts(), fleet.held(0).as_deref()), (0, Some("heal_store_down")), "nobody can say");

    fleet.members[0].store = Probed::Passed;
    fleet.run_s(300);
    assert_eq!(fleet.restarts(), 1, "it is back, and the orchestrator still hangs");
}

#[test]
fn what_all_siblings_have_is_neither_restarted_nor_replaced() {
    let mut fleet = Fleet::of(4);
    fleet.policy.heal.level = Level::Replace;
    for n in 0..4 {
        fleet.sicken(n);
    }
    for sibling in &mut fleet.group.instances {
        sibling.health = InstanceHealth::Unhealthy;
    }
    fleet.run_s(2 * 3600);
    assert_eq!((fleet.restarts(), fleet.terminations().len()), (0, 0));
    assert_eq!(fleet.held(0).as_deref(), Some("heal_fleet_sick"));
}

#[test]
fn while_the_group_cannot_be_read_nothing_is_done() {
    let mut fleet = Fleet::of(2);
    fleet.blind = true;
    fleet.run_s(300);
    fleet.sicken(0);
    fleet.run_s(3600);
    assert_eq!((fleet.restarts(), fleet.held(0).as_deref()), (0, Some("heal_blind")));
    fleet.blind = false;
    fleet.run_s(1200);
    assert_eq!(fleet.restarts(), 1);
}

#[test]
fn a_rollback_outranks_healing() {
    let mut fleet = Fleet::of(1);
    let hold = GroupHold { generation: 1, owner: "ann".to_owned(), expires: fleet.now.wall.plus(Duration::from_secs(86_400)) };
    fleet.group.tags.extend(hold.to_tags());
    fleet.run_s(120);
    fleet.sicken(0);
    fleet.run_s(3600);
    assert_eq!((fleet.restarts(), fleet.word(0).as_str()), (0, "rest"));
    fleet.group.tags.remove(crate::model::HOLD_TAG);
    fleet.run_s(600);
    assert_eq!(fleet.restarts(), 1);
}

#[test]
fn nothing_is_healed_while_a_drain_is_under_way() {
    let mut fleet = Fleet::of(2);
    assert_eq!(fleet.see(0, Seen::Asked(Command::Drain { by: "ann".to_owned(), reason: "test".to_owned(), force: false })), None);
    fleet.sicken(0);
    fleet.run_s(3600);
    assert_eq!((fleet.restarts(), fleet.word(0).as_str()), (0, "rest"));
}

#[test]
fn off_means_off_by_configuration_by_tag_and_by_an_operator_until_it_expires() {
    let mut by_level = Fleet::of(1);
    by_level.policy.heal.level = Level::Off;
    let mut by_tag = Fleet::of(1);
    by_tag.group.tags.insert(HEAL_TAG.to_owned(), "off".to_owned());
    by_tag.run_s(120);
    let mut by_hand = Fleet::of(1);
    by_hand.see(0, Seen::Asked(Command::HealOff { by: "ann".to_owned(), for_ms: 3_600_000 }));
    by_hand.agent_restarts(0, true);
    for fleet in [&mut by_level, &mut by_tag, &mut by_hand] {
        fleet.sicken(0);
        fleet.run_s(3300);
        assert_eq!(fleet.restarts(), 0);
    }
    by_hand.run_s(600);
    assert_eq!(by_hand.restarts(), 1, "its hour is over");

    let mut again = Fleet::of(1);
    again.see(0, Seen::Asked(Command::HealOff { by: "ann".to_owned(), for_ms: 3_600_000 }));
    again.sicken(0);
    again.run_s(600);
    again.see(0, Seen::Asked(Command::HealOn { by: "ann".to_owned() }));
    again.run_s(600);
    assert_eq!(again.restarts(), 1);
    assert!(again.see(0, Seen::Asked(Command::HealOff { by: "ann".to_owned(), for_ms: u64::MAX })).is_some());
}

#[test]
fn observe_and_dry_run_tell_and_do_nothing() {
    for dry in [false, true] {
        let mut fleet = Fleet::of(1);
        if dry {
            fleet.policy.dry_run = true
        } else {
            fleet.policy.heal.level = Level::Observe
        }
        fleet.sicken(0);
        fleet.run_s(3600);
        assert_eq!((fleet.restarts(), fleet.word(0).as_str()), (0, "would"));
        let told: Vec<&str> = fleet.decisions.iter().map(|d| d.what.as_str()).collect();
        assert_eq!(told, ["would"]);
        assert!(fleet.decisions[0].why.contains("would restart the orchestrator"), "{:?}", fleet.decisions);
    }
}

#[test]
fn where_there_is_no_way_to_restart_it_is_told_what_would_be_done() {
    let mut fleet = Fleet::of(1);
    fleet.members[0].state.set_restartable(false);
    fleet.sicken(0);
    fleet.run_s(600);
    assert_eq!((fleet.restarts(), fleet.held(0).as_deref()), (0, Some("heal_no_restart")));
}

#[test]
fn what_a_restart_interrupts_is_said() {
    let mut fleet = Fleet::of(1);
    let executions = vec![crate::model::ExecutionRef { application: "shop".to_owned(), url: "/pipelines/01J".to_owned() }];
    fleet.members[0].activity = Activity::Busy { count: 1, executions };
    fleet.run_s(120);
    fleet.members[0].alive = Probed::Failed { why: "HTTP 503".to_owned() };
    fleet.run_s(60);
    let restart = fleet.decisions.iter().find(|d| d.what == "restart").expect("it is restarted");
    assert!(restart.why.contains("interrupts"), "{restart:?}");
}

#[test]
fn a_limit_that_is_passed_for_long_restarts_what_is_idle_and_waits_for_what_is_busy() {
    let heavy = Vitals { memory_bytes: Some(3 << 30), ..Vitals::default() };
    let mut fleet = Fleet::of(1);
    fleet.policy.heal.limits.memory_bytes = Some(2 << 30);
    fleet.members[0].activity = Activity::Busy { count: 1, executions: Vec::new() };
    fleet.members[0].vitals = heavy.clone();
    fleet.run_s(1800);
    assert_eq!((fleet.restarts(), fleet.word(0).as_str()), (0, "watch"));
    fleet.members[0].activity = Activity::Idle;
    fleet.run_s(120);
    assert_eq!(fleet.restarts(), 1);

    let mut peaks = Fleet::of(1);
    peaks.policy.heal.limits.memory_bytes = Some(2 << 30);
    for n in 0..30 {
        peaks.members[0].vitals = if n % 2 == 0 { heavy.clone() } else { Vitals { memory_bytes: Some(1 << 30), ..Vitals::default() } };
        peaks.run_s(240);
    }
    assert_eq!(peaks.restarts(), 0, "no peak lasted");
}

#[test]
fn memory_that_grows_and_a_core_that_is_stuck_are_seen() {
    let mut fleet = Fleet::of(1);
    fleet.policy.heal.limits.memory_growth_bytes_per_h = Some(100 << 20);
    fleet.policy.heal.limits.cpu_percent = Some(95);
    for n in 0..60_u64 {
        fleet.members[0].vitals = Vitals { memory_bytes: Some((1 << 30) + n * (4 << 20)), cpu_ms: Some(n * 3000), ..Vitals::default() };
        fleet.run_s(30);
        if fleet.restarts() > 0 {
            assert!(fleet.decisions[0].why.contains("MiB an hour"), "{:?}", fleet.decisions);
            return;
        }
    }
    panic!("growth of 480 MiB an hour was not seen: {:?}", fleet.members[0].state.heal_status(&fleet.policy, fleet.now));
}

#[test]
fn a_clock_that_differs_from_aws_s_is_told_and_restarts_nobody() {
    let mut fleet = Fleet::of(1);
    fleet.policy.heal.level = Level::Replace;
    fleet.policy.heal.limits.clock_offset = Some(Duration::from_secs(5));
    fleet.members[0].vitals = Vitals { clock_ahead_ms: Some(-4_900), ..Vitals::default() };
    fleet.run_s(600);
    assert_eq!(fleet.word(0), "well");
    fleet.members[0].vitals = Vitals { clock_ahead_ms: Some(65_000), ..Vitals::default() };
    fleet.run_s(3600);
    assert_eq!((fleet.restarts(), fleet.word(0).as_str()), (0, "watch"));
    let told = format!("{:?}", fleet.members[0].state.heal_status(&fleet.policy, fleet.now));
    assert!(told.contains("the clock is 65 s behind AWS's, over 5 s"), "{told}");
}

#[test]
fn a_crash_loop_is_not_restarted_but_replaced_and_not_by_a_decrement() {
    let mut fleet = Fleet::of(3);
    fleet.policy.heal.level = Level::Replace;
    fleet.policy.activity_every_idle = Duration::from_secs(10);
    for _ in 0..21 {
        fleet.members[0].generation += 1;
        fleet.run_s(60);
    }
    assert_eq!(fleet.restarts(), 0);
    // Its intake is read as open whatever it is told: the drain holds, and ends nothing.
    assert_eq!(fleet.members[0].state.phase().held(), Some(HeldWhy::IntakeUnstoppable));
    assert!(fleet.decisions.iter().any(|d| d.what == "replace"));
    fleet.run_s(600);
    assert_eq!(fleet.members[0].state.phase().held(), Some(HeldWhy::IntakeUnstoppable), "that it takes no work may be why it lives");
    fleet.run_s(3600);
    assert_eq!((fleet.members[0].state.phase().word(), fleet.terminations().len()), ("working", 0), "it is long over");
}

#[test]
fn a_replacement_goes_on_over_a_restart_of_the_agent_and_ends_when_there_is_room_again() {
    let full = |percent| Vitals { disk_free_percent: [("/".to_owned(), percent)].into(), ..Vitals::default() };
    let mut fleet = Fleet::of(3);
    fleet.policy.heal.level = Level::Replace;
    fleet.policy.heal.limits.disk_free_percent = Some(3);
    (0..3).for_each(|n| fleet.members[n].vitals = full(60));
    fleet.run_s(60);
    fleet.members[0].vitals = full(1);
    fleet.run_s(1200);
    let drains =
        |fleet: &Fleet| fleet.members[0].state.durable().drain.as_ref().is_some_and(|d| !matches!(d.progress, Progress::Cancelled { .. }));
    assert!(drains(&fleet));
    for _ in 0..5 {
        fleet.agent_restarts(0, true);
        fleet.run_s(200);
        assert!(drains(&fleet), "who has seen nothing yet acquits nobody");
        let waits = fleet.members[0].state.replacement_waits(&fleet.policy, fleet.now);
        assert!(waits.is_some_and(|(why, _)| why.contains("begun anew")), "nor ends one for what another agent saw");
    }
    fleet.run_s(400);
    assert_eq!(fleet.members[0].state.replacement_waits(&fleet.policy, fleet.now), None, "it is seen sick again");
    fleet.members[0].vitals = full(60);
    fleet.run_s(600);
    assert!(!drains(&fleet));
}

#[test]
fn one_process_under_two_names_is_no_crash_loop() {
    let mut fleet = Fleet::of(1);
    fleet.policy.activity_every_idle = Duration::from_secs(10);
    fleet.policy.heal.limits.memory_bytes = Some(1 << 30);
    for n in 0..60 {
        fleet.members[0].generation = 1 + n % 2;
        fleet.run_s(30);
    }
    assert_eq!(fleet.word(0), "well");
}

#[test]
fn a_dead_orchestrator_is_replaced_only_where_the_owner_accepts_that_nobody_knows_what_it_executes_s1() {
    let replaced = |end_unproven| {
        let mut fleet = Fleet::of(3);
        fleet.policy.heal = HealPolicy { level: Level::Replace, restarts: 1, end_unproven, ..fleet.policy.heal };
        fleet.members[0].restart_helps = false;
        fleet.sicken(0);
        fleet.run_s(3 * 3600);
        fleet
    };
    let held = replaced(false);
    assert_eq!(held.terminations(), [] as [&Deed; 0]);
    assert_eq!(held.members[0].state.phase().held(), Some(HeldWhy::IntakeUnstoppable));
    let ended = replaced(true);
    assert!(matches!(ended.terminations().as_slice(), [Deed::TerminateOwn { decrement: false, .. }]), "{:?}", ended.terminations());
}

#[test]
fn nothing_is_replaced_that_would_not_be_replaced_or_whose_siblings_nobody_sees() {
    let sick = |spoil: fn(&mut Fleet)| {
        let mut fleet = Fleet::of(3);
        fleet.policy.heal = HealPolicy { level: Level::Replace, restarts: 0, end_unproven: true, ..fleet.policy.heal };
        spoil(&mut fleet);
        fleet.run_s(180);
        fleet.sicken(0);
        fleet.run_s(3600);
        assert_eq!(fleet.terminations().len(), 0);
        fleet
    };
    let launch = sick(|fleet| drop(fleet.group.suspended.insert(Process::Launch, String::new())));
    assert_eq!(launch.held(0).as_deref(), Some("heal_launch_suspended"));
    let unseen = sick(|fleet| fleet.group.health_check_type = HealthCheckType::Ec2);
    assert_eq!(unseen.held(0).as_deref(), Some("heal_siblings_unseen"));
    let superseded = sick(|fleet| fleet.group = testing::disabled(fleet.group.clone()));
    assert_eq!(superseded.word(0), "rest");
}

#[test]
fn a_replacement_is_called_off_when_the_orchestrator_is_well_again() {
    let mut fleet = Fleet::of(3);
    fleet.policy.heal = HealPolicy { level: Level::Replace, restarts: 0, ..fleet.policy.heal };
    fleet.sicken(0);
    fleet.run_s(900);
    assert!(fleet.members[0].state.durable().drain.is_some());
    fleet.members[0].alive = Probed::Passed;
    fleet.run_s(300);
    assert_eq!((fleet.members[0].state.phase().word(), fleet.terminations().len()), ("working", 0));
}

/// One thing that befalls a fleet.
#[derive(Clone, Debug)]
enum Befalls {
    Sickens(usize),
    Recovers(usize),
    Resists(usize),
    StoreDown(usize),
    StoreUp(usize),
    AgentFalls(usize),
    Marked(usize),
    Healthy(usize),
    Blind(bool),
}

fn befalls(size: usize) -> impl Strategy<Value = Befalls> {
    prop_oneof![
        4 => (0..size).prop_map(Befalls::Sickens),
        1 => (0..size).prop_map(Befalls::Recovers),
        1 => (0..size).prop_map(Befalls::Resists),
        1 => (0..size).prop_map(Befalls::StoreDown),
        1 => (0..size).prop_map(Befalls::StoreUp),
        1 => (0..size).prop_map(Befalls::AgentFalls),
        1 => (0..size).prop_map(Befalls::Marked),
        1 => (0..size).prop_map(Befalls::Healthy),
        1 => any::<bool>().prop_map(Befalls::Blind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Failures that never come so often in a row as the rule says are noise.
    #[test]
    fn a_window_of_noise_never_restarts(noise in proptest::collection::vec(0_u8..4, 20..120)) {
        let mut fleet = Fleet::of(1);
        let mut row = 0;
        for n in noise {
            let fails = n > 0 && row < 2;
            row = if fails { row + 1 } else { 0 };
            fleet.members[0].alive = match n {
                _ if !fails => Probed::Passed,
                1 => silent(),
                2 => Probed::Absent { why: String::new() },
                _ => Probed::Failed { why: String::new() },
            };
            // One probe exactly.
            let before = fleet.members[0].state.heal_status(&fleet.policy, fleet.now).evidence;
            let mut waited = 0;
            while fleet.members[0].state.heal_status(&fleet.policy, fleet.now).evidence == before && waited < 200 {
                fleet.run(Duration::from_millis(100));
                waited += 1;
            }
        }
        prop_assert_eq!(fleet.restarts(), 0);
    }

    /// Whatever befalls a fleet, no more than the budget are being restarted at once, none more often than its budget, and none while its store is down.
    #[test]
    fn the_budgets_hold_under_any_sequence(
        size in 2_usize..7,
        percent in 1_u8..60,
        script in proptest::collection::vec((befalls(2), 5_u64..400), 1..30),
    ) {
        let mut fleet = Fleet::of(size);
        fleet.policy.heal.budget_percent = percent;
        fleet.policy.heal.store = Some(rules());
        fleet.run_s(30);
        let budget = (size * usize::from(percent) / 100).max(1);
        for (what, seconds) in script {
            let pick = |n: usize| n * (size - 1);
            match what {
                Befalls::Sickens(n) => fleet.sicken(pick(n)),
                Befalls::Recovers(n) => fleet.members[pick(n)].alive = Probed::Passed,
                Befalls::Resists(n) => fleet.members[pick(n)].restart_helps = false,
                Befalls::StoreDown(n) => fleet.members[pick(n)].store = silent(),
                Befalls::StoreUp(n) => fleet.members[pick(n)].store = Probed::Passed,
                Befalls::AgentFalls(n) => fleet.agent_restarts(pick(n), true),
                Befalls::Marked(n) => fleet.group.instances[pick(n)].health = InstanceHealth::Unhealthy,
                Befalls::Healthy(n) => fleet.group.instances[pick(n)].health = InstanceHealth::Healthy,
                Befalls::Blind(blind) => fleet.blind = blind,
            }
            fleet.run_s(seconds);
            // All of them at once, which is the worst there is.
            for n in 0..size {
                if seconds % 3 == 0 && fleet.members[n].alive == Probed::Passed { fleet.sicken(n); }
            }
        }
        prop_assert!(fleet.at_once() <= budget, "{} at once, {budget} allowed", fleet.at_once());
        for member in &fleet.members {
            let deliberate: Vec<_> = member.deeds.iter().filter(|(_, d)| matches!(d, Deed::RestartOrchestrator { .. })).collect();
            for (at, _) in &deliberate {
                let window = fleet.policy.heal.window;
                let within = deliberate.iter().filter(|(other, _)| other <= at && *at - *other < window).count();
                prop_assert!(within <= fleet.policy.heal.restarts as usize, "{deliberate:?}");
            }
        }
        prop_assert_eq!(fleet.terminations().len(), 0);
    }
}

mod over;
mod permits;
