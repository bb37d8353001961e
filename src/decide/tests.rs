//! The agent against a small world that answers every look at once. The simulated region and the drill play the long games.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::Activity;
use crate::model::CAPACITY_TAG;
use crate::model::Capacity;
use crate::model::GENERATION_TAG;
use crate::model::Generation;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::Hold;
use crate::model::Hook;
use crate::model::InstanceHealth;
use crate::model::InstanceId;
use crate::model::Intake;
use crate::model::LifecycleState;
use crate::model::Moment;
use crate::model::Notices;
use crate::model::Probed;
use crate::model::RECORD_TAG;
use crate::model::Sample;
use crate::model::Timestamp;
use crate::model::Vitals;
use crate::model::testing;

mod heed;
mod late;

const WALL: i64 = 1_700_000_000_000;

struct Rig {
    policy: Policy,
    state: State,
    now: Moment,
    old: Group,
    new: Group,
    busy: Activity,
    intake: Intake,
    generation: u32,
    target: Option<LifecycleState>,
    task: Option<TaskRead>,
    queued: Result<Option<String>, Fault>,
    task_lost: bool,
    denied: bool,
    switch_obeys: bool,
    stop_refused: bool,
    terminate: Vec<Result<Receipt, Fault>>,
    ending: Option<EndingActivity>,
    deeds: Vec<(Duration, Deed)>,
    recorded: Vec<Option<String>>,
    looks: usize,
    disk_full: bool,
    saved: u64,
    describe_lag: Duration,
    deed_lag: Duration,
    record_lag: Duration,
    /// Of looks at the orchestrator.
    look_lag: Duration,
    /// What is told to start does.
    starts: bool,
    late: Vec<(Duration, Key, Answer)>,
    notices: Notices,
    hook: Option<Hook>,
    /// What AWS answers to heartbeats and to answers of hooks, and to changes of the protection.
    to_hooks: Result<(), FaultKind>,
}

fn own() -> InstanceId {
    InstanceId::from("i-0a")
}

/// A group that may shrink to nothing.
fn group(name: &str, created: i64, members: &[&str]) -> Group {
    testing::group(name, created, (0, u32::try_from(members.len()).unwrap(), 10), members.iter().copied())
}

fn disable(group: &mut Group) {
    *group = testing::disabled(group.clone());
}

fn fault(what: FaultKind, text: &str) -> Result<Receipt, Fault> {
    Err(Fault { what, text: text.to_owned() })
}

impl Rig {
    fn new() -> Self {
        let (settle, sample_max_age) = (Duration::from_secs(10), Duration::from_secs(15));
        let policy = Policy { budget_percent: 100, settle, sample_max_age, ..Policy::default() };
        let now = Moment { mono: Duration::from_secs(1000), wall: Timestamp(WALL) };
        Self {
            state: State::new(own(), Durable::default(), true, &policy, now),
            policy,
            now,
            old: group("app-main-v001", 1, &["i-0a"]),
            new: group("app-main-v002", 2, &["i-1a", "i-1b"]),
            busy: Activity::Idle,
            intake: Intake::Open,
            generation: 1,
            target: None,
            task: None,
            queued: Ok(None),
            task_lost: false,
            denied: false,
            switch_obeys: true,
            stop_refused: false,
            terminate: Vec::new(),
            ending: None,
            deeds: Vec::new(),
            recorded: Vec::new(),
            looks: 0,
            disk_full: false,
            saved: 0,
            describe_lag: Duration::ZERO,
            deed_lag: Duration::ZERO,
            record_lag: Duration::ZERO,
            look_lag: Duration::ZERO,
            starts: true,
            late: Vec::new(),
            notices: Notices::default(),
            hook: None,
            to_hooks: Ok(()),
        }
    }

    fn superseded() -> Self {
        let mut rig = Self::new();
        disable(&mut rig.old);
        rig
    }

    fn see(&mut self, seen: Seen) -> Option<String> {
        let mut outcome = step(&mut self.state, &self.policy, Observation { at: self.now, seen });
        let refusal = outcome.refusal.take();
        if self.disk_full && self.state.durable().version != self.saved {
            outcome.actions.retain(may_go_unrecorded);
            let lost = step(&mut self.state, &self.policy, Observation { at: self.now, seen: Seen::JournalLost("disk full".to_owned()) });
            outcome.actions.extend(lost.actions.into_iter().filter(may_go_unrecorded));
        } else {
            self.saved = self.state.durable().version;
        }
        for action in outcome.actions {
            let answer = self.answer(&action.what);
            let lag = match &action.what {
                What::Look(Look::Group | Look::Cluster) => self.describe_lag,
                What::Look(Look::Orchestrator) => self.look_lag,
                What::Look(_) => Duration::ZERO,
                What::Deed { deed: Deed::RecordCapacity { .. }, .. } => self.record_lag.max(self.deed_lag),
                What::Deed { .. } => self.deed_lag,
            };
            if lag.is_zero() {
                self.see(Seen::Answer { key: action.key, answer: Box::new(answer) });
            } else {
                self.late.push((self.now.mono + lag, action.key, answer));
            }
        }
        refusal
    }

    fn answer(&mut self, what: &What) -> Answer {
        match what {
            What::Look(look) => {
                self.looks += 1;
                self.now = self.now.plus(Duration::from_millis(1));
                self.look(look)
            }
            What::Deed { deed, .. } => {
                match deed {
                    Deed::RecordCapacity { text } => self.recorded.push(text.clone()),
                    _ => self.deeds.push((self.now.mono, deed.clone())),
                }
                Answer::Done(self.perform(deed))
            }
        }
    }

    fn look(&self, look: &Look) -> Answer {
        match look {
            Look::TargetState => Answer::TargetState(Ok(self.target.clone())),
            Look::Notices => Answer::Notices(Ok(self.notices.clone())),
            Look::Hook(_) => Answer::Hook(Ok(self.hook.clone())),
            Look::Own { .. } => Answer::Own(Ok(OwnRead { entry: self.old.instance(&own()).cloned(), ending: self.ending.clone() })),
            Look::Cluster if self.denied => Answer::Cluster(Err(Fault { what: FaultKind::Denied, text: "AccessDenied".to_owned() })),
            Look::Group => Answer::Group(Ok(Some(self.old.clone()))),
            Look::Cluster => Answer::Cluster(Ok(vec![self.old.clone(), self.new.clone()])),
            Look::Orchestrator => Answer::Orchestrator {
                intake: self.intake.clone(),
                sample: Sample {
                    activity: self.busy.clone(),
                    asked: self.now,
                    measured: None,
                    generation: Some(Generation(self.generation.to_string())),
                },
            },
            Look::Probe(probe) => Answer::Probe(*probe, Probed::Passed),
            Look::Vitals => Answer::Vitals(Vitals::default()),
            Look::Task(_) if self.task_lost => Answer::Task(Err(Fault { what: FaultKind::OutcomeUnknown, text: "404".to_owned() })),
            Look::Task(_) => Answer::Task(Ok(self.task.clone().unwrap_or(TaskRead::Running))),
            Look::OwnTask { .. } => Answer::OwnTask(self.queued.clone()),
        }
    }

    fn perform(&mut self, deed: &Deed) -> Result<Receipt, Fault> {
        match deed {
            Deed::SetIntake { open } => {
                if self.switch_obeys {
                    self.intake = if *open { Intake::Open } else { Intake::Closed };
                }
                Ok(Receipt::Done)
            }
            Deed::StopOrchestrator { .. } if self.stop_refused => fault(FaultKind::Refused, "it does not stop"),
            Deed::StopOrchestrator { .. } => {
                self.busy = Activity::Unknown { why: "connection refused".to_owned() };
                self.intake = Intake::Unknown { why: "connection refused".to_owned() };
                Ok(Receipt::Done)
            }
            Deed::StartOrchestrator if !self.starts => fault(FaultKind::Broken, "no such command"),
            Deed::StartOrchestrator | Deed::RestartOrchestrator { .. } => {
                self.busy = Activity::Idle;
                self.intake = Intake::Open;
                self.generation += 1;
                Ok(Receipt::Done)
            }
            Deed::RecordCapacity { .. } if self.denied => fault(FaultKind::Denied, "AccessDenied"),
            Deed::RecordCapacity { text } => {
                self.old.tags.remove(CAPACITY_TAG);
                self.old.tags.extend(text.iter().map(|text| (CAPACITY_TAG.to_owned(), text.clone())));
                Ok(Receipt::Done)
            }
            Deed::LowerMin { to } => {
                self.old.capacity.min = *to;
                Ok(Receipt::Done)
            }
            Deed::TerminateOwn { .. } => {
                if self.terminate.is_empty() {
                    self.end();
                    return Ok(Receipt::Activity("act-1".to_owned()));
                }
                self.terminate.remove(0)
            }
            Deed::Heartbeat { .. } | Deed::CompleteHook { .. } | Deed::Protect { .. } => {
                self.to_hooks.map(|()| Receipt::Done).map_err(|what| Fault { what, text: "refused by AWS".to_owned() })
            }
            Deed::TakePermit(_) | Deed::GivePermit { .. } => unreachable!("nothing is healed here"),
            Deed::CancelTask { .. } => {
                self.task = Some(TaskRead::Failed("CANCELED: ".to_owned()));
                self.queued = Ok(None);
                Ok(Receipt::Done)
            }
        }
    }

    fn end(&mut self) {
        self.old.instances[0].state = LifecycleState::Terminating;
        self.old.capacity.desired -= 1;
    }

    /// Ticks as the daemon would, until then.
    fn run(&mut self, time: Duration) {
        let end = self.now.mono + time;
        loop {
            let late = self.late.iter().map(|(due, ..)| *due).min();
            let next = wake_at(&self.state, &self.policy).min(late.unwrap_or(Duration::MAX)).max(self.now.mono + Duration::from_millis(1));
            if next > end {
                self.now = self.now.plus(end.saturating_sub(self.now.mono));
                return;
            }
            self.now = self.now.plus(next - self.now.mono);
            match self.late.iter().position(|(due, ..)| *due <= next) {
                Some(at) => {
                    let (_, key, answer) = self.late.remove(at);
                    self.see(Seen::Answer { key, answer: Box::new(answer) });
                }
                None => {
                    self.see(Seen::Tick);
                }
            }
        }
    }

    fn run_s(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// A second at a time, for some hours at most.
    fn until(&mut self, such: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if such(self) {
                return;
            }
            self.run_s(1);
        }
        panic!("it did not come to that; it is {}", self.word());
    }

    fn word(&self) -> &'static str {
        self.state.phase().word()
    }

    fn count(&self, wanted: impl Fn(&Deed) -> bool) -> usize {
        self.deeds.iter().filter(|(_, deed)| wanted(deed)).count()
    }

    fn terminations(&self) -> usize {
        self.count(|deed| matches!(deed, Deed::TerminateOwn { .. }))
    }

    fn drain(&mut self) -> Option<String> {
        self.see(Seen::Asked(Command::Drain { by: "ada".to_owned(), reason: "test".to_owned(), force: false }))
    }

    fn undrain(&mut self) -> Option<String> {
        self.see(Seen::Asked(Command::Undrain { by: "ada".to_owned() }))
    }

    fn restart(&mut self, same_boot: bool) {
        self.state = State::new(own(), self.state.durable().clone(), same_boot, &self.policy, self.now);
    }
}

fn may_go_unrecorded(action: &Action) -> bool {
    match &action.what {
        What::Look(_) => true,
        What::Deed { deed, .. } => !deed.needs_journal(),
    }
}

fn busy() -> Activity {
    Activity::Busy { count: 1, executions: Vec::new() }
}

fn unknown() -> Activity {
    Activity::Unknown { why: "404".to_owned() }
}

#[test]
fn an_idle_superseded_instance_closes_intake_waits_and_ends_itself_once() {
    let mut rig = Rig::superseded();
    rig.run_s(600);
    assert_eq!(rig.deeds.len(), 2, "{:?}", rig.deeds);
    assert_eq!(rig.deeds[0].1, Deed::SetIntake { open: false });
    assert!(matches!(rig.deeds[1].1, Deed::TerminateOwn { .. }));
    let between = rig.deeds[1].0 - rig.deeds[0].0;
    assert!(between >= rig.policy.settle + rig.policy.quiet, "{between:?}");
    assert!(between <= rig.policy.settle + rig.policy.quiet + rig.policy.activity_every * 3, "{between:?}");
    assert_eq!(rig.word(), "ending");
    rig.old.instances.clear();
    rig.run_s(60);
    assert_eq!(rig.word(), "gone");
}

#[test]
fn a_busy_or_unknown_instance_never_ends_s1_s2() {
    for activity in [busy(), unknown()] {
        let mut rig = Rig::superseded();
        rig.busy = activity;
        rig.run_s(24 * 3600);
        assert_eq!(rig.terminations(), 0);
        assert_eq!(rig.intake, Intake::Closed);
    }
}

#[test]
fn work_that_shows_up_in_the_quiet_time_starts_it_over_f1() {
    let mut rig = Rig::superseded();
    rig.run_s(100);
    assert_eq!(rig.word(), "confirming_idle");
    rig.busy = busy();
    rig.run_s(300);
    rig.busy = Activity::Idle;
    let idle_from = rig.now.mono;
    rig.run_s(600);
    let at = rig.deeds.last().unwrap().0;
    assert!(at - idle_from >= rig.policy.quiet);
}

#[test]
fn the_end_follows_the_last_work_within_a_poll_and_the_quiet_time() {
    for busy_s in 200..240 {
        let mut rig = Rig::superseded();
        rig.busy = busy();
        rig.run_s(busy_s);
        let over = rig.now.mono;
        rig.busy = Activity::Idle;
        rig.run_s(60);
        let ended = rig.deeds.iter().find(|(_, deed)| matches!(deed, Deed::TerminateOwn { .. })).map(|(at, _)| *at - over);
        let bound = rig.policy.activity_every + rig.policy.quiet + Duration::from_millis(100);
        assert!(ended.is_some_and(|wait| wait <= bound), "busy for {busy_s} s: {ended:?}");
    }
}

#[test]
fn a_new_process_generation_has_its_intake_closed_again_f5() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(200);
    rig.generation += 1;
    rig.intake = Intake::Open;
    rig.run_s(30);
    assert_eq!(rig.count(|d| *d == Deed::SetIntake { open: false }), 2);
    rig.busy = Activity::Idle;
    rig.run_s(300);
    assert_eq!(rig.terminations(), 1);
}

#[test]
fn an_agent_is_ready_once_its_orchestrator_has_answered_and_stays_so() {
    let mut rig = Rig::new();
    rig.busy = unknown();
    rig.run_s(600);
    let ready = |rig: &Rig| rig.state.status(&rig.policy, rig.now).ready;
    assert!(!ready(&rig) && rig.state.unknown().is_some());
    rig.busy = Activity::Idle;
    rig.run_s(60);
    assert!(ready(&rig) && rig.state.unknown().is_none());
    rig.busy = unknown();
    rig.run_s(600);
    assert!(ready(&rig), "that it is away is told otherwise");
}

#[test]
fn a_switch_that_does_not_obey_is_held_with_its_code_f11() {
    let mut rig = Rig::superseded();
    rig.switch_obeys = false;
    rig.run_s(3600);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::IntakeUnstoppable));
    assert_eq!(rig.terminations(), 0);
    rig.switch_obeys = true;
    rig.run_s(3600);
    assert_eq!(rig.terminations(), 1);
}

#[test]
fn nobody_drains_without_a_healthy_enabled_successor_f13_f17() {
    let mut both_disabled = Rig::superseded();
    disable(&mut both_disabled.new);
    let mut sick = Rig::superseded();
    for i in &mut sick.new.instances {
        i.health = InstanceHealth::Unhealthy;
    }
    let mut older = Rig::superseded();
    older.new.created = Timestamp(0);
    let mut other_cluster = Rig::superseded();
    other_cluster.new.name = GroupName::from("app-main-canary-v002");
    let mut deleted = Rig::superseded();
    deleted.new.status = Some("Delete in progress".to_owned());
    for (name, mut rig) in
        [("both disabled", both_disabled), ("sick", sick), ("older", older), ("other cluster", other_cluster), ("deleted", deleted)]
    {
        rig.run_s(7200);
        assert_eq!((rig.word(), rig.deeds.len()), ("working", 0), "{name}");
    }
}

#[test]
fn one_read_is_not_enough_and_an_absent_group_changes_nothing_f13_f15() {
    let mut rig = Rig::superseded();
    rig.run_s(30);
    assert_eq!(rig.word(), "working");
    let kept = rig.new.clone();
    rig.new.name = GroupName::from("other-v001");
    rig.run_s(25);
    rig.new = kept;
    rig.run_s(50);
    assert_eq!(rig.word(), "working", "the disagreeing read starts the count over");
    rig.run_s(40);
    assert_ne!(rig.word(), "working");
}

#[test]
fn a_lost_terminate_is_not_repeated_when_reads_show_it_done_s4() {
    let mut rig = Rig::superseded();
    rig.terminate = vec![fault(FaultKind::OutcomeUnknown, "no answer")];
    rig.run_s(115);
    assert_eq!(rig.word(), "outcome_unknown", "{:?}", rig.deeds);
    rig.end();
    rig.run_s(600);
    assert_eq!((rig.terminations(), rig.word()), (1, "ending"));
}

#[test]
fn a_lost_terminate_that_did_nothing_is_repeated_after_the_staleness_bound_and_new_evidence() {
    let mut rig = Rig::superseded();
    rig.terminate = vec![fault(FaultKind::OutcomeUnknown, "no answer")];
    rig.run_s(1200);
    assert_eq!((rig.terminations(), rig.word()), (2, "ending"));
    let calls: Vec<Duration> = rig.deeds.iter().filter(|(_, d)| matches!(d, Deed::TerminateOwn { .. })).map(|(at, _)| *at).collect();
    assert!(calls[1] - calls[0] >= rig.policy.stale_bound * 3);
}

#[test]
fn terminate_calls_that_come_to_nothing_are_sent_ever_more_rarely_l7() {
    let mut rig = Rig::superseded();
    rig.terminate = vec![fault(FaultKind::OutcomeUnknown, "no answer"); 5];
    rig.run_s(24 * 3600);
    assert_eq!((rig.terminations(), rig.word()), (6, "ending"));
    let calls: Vec<Duration> = rig.deeds.iter().filter(|(_, d)| matches!(d, Deed::TerminateOwn { .. })).map(|(at, _)| *at).collect();
    let pauses: Vec<Duration> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
}

#[test]
fn a_restart_with_an_intent_reads_before_it_does_anything_f23() {
    let mut rig = Rig::superseded();
    rig.terminate = vec![fault(FaultKind::OutcomeUnknown, "no answer")];
    rig.run_s(115);
    rig.end();
    rig.restart(true);
    rig.run_s(600);
    assert_eq!((rig.terminations(), rig.word()), (1, "ending"));
}

#[test]
fn a_restart_in_the_middle_goes_on_with_the_drain_and_gathers_its_evidence_anew_f43() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(300);
    rig.restart(true);
    rig.busy = Activity::Idle;
    let from = rig.now.mono;
    rig.run_s(600);
    assert_eq!(rig.terminations(), 1);
    assert!(rig.deeds.last().unwrap().0 - from >= rig.policy.settle + rig.policy.quiet);
}

fn held(rig: &mut Rig, seconds: u64) {
    let hold = Hold { generation: 1, owner: "ada@laptop".to_owned(), expires: rig.now.wall.plus(Duration::from_secs(seconds)) };
    rig.old.tags = hold.to_tags().into_iter().collect();
}

#[test]
fn a_hold_stops_the_drain_and_intake_opens_once_the_group_is_enabled_s11_s14() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(300);
    held(&mut rig, 3600);
    rig.busy = Activity::Idle;
    rig.run_s(600);
    assert_eq!((rig.state.phase().held(), &rig.intake, rig.terminations()), (Some(HeldWhy::Rollback), &Intake::Closed, 0));
    rig.old.suspended.clear();
    rig.run_s(20);
    assert_eq!((rig.word(), &rig.intake), ("working", &Intake::Open));
    rig.run_s(7200);
    assert_eq!(rig.terminations(), 0, "enabled, so not superseded");
}

#[test]
fn intake_stays_closed_while_the_successor_ends_and_opens_when_it_is_gone_s14() {
    for busy in [busy(), Activity::Idle] {
        let mut rig = Rig::superseded();
        rig.policy.soak = Duration::from_secs(3600);
        rig.busy = busy;
        rig.run_s(300);
        rig.new.capacity.desired = 0;
        rig.new.instances.iter_mut().for_each(|i| i.state = LifecycleState::Terminating);
        rig.run_s(600);
        assert_eq!((rig.intake.clone(), rig.terminations()), (Intake::Closed, 0), "{}", rig.word());
        rig.new.instances.clear();
        rig.run_s(300);
        assert_eq!((rig.intake.clone(), rig.word()), (Intake::Open, "working"));
    }
}

#[test]
fn a_rollback_that_was_given_up_leaves_the_drain_to_begin_anew_s6() {
    let mut rig = Rig::superseded();
    rig.policy.soak = Duration::from_secs(900);
    rig.busy = busy();
    rig.run_s(300);
    held(&mut rig, 600);
    rig.busy = Activity::Idle;
    let from = rig.now.mono;
    rig.run_s(7200);
    assert_eq!(rig.terminations(), 1);
    assert!(rig.deeds.last().unwrap().0 - from >= Duration::from_secs(600 + 900), "the soak counts anew");
    assert_eq!(rig.count(|d| *d == Deed::SetIntake { open: true }), 0);
}

#[test]
fn a_hold_calls_an_operators_drain_of_an_enabled_group_off() {
    let mut rig = Rig::new();
    rig.busy = busy();
    rig.run_s(100);
    rig.drain();
    rig.run_s(60);
    held(&mut rig, 3600);
    // While intake does not open again the reason is still shown, and may outlast the hold.
    rig.switch_obeys = false;
    rig.run_s(100);
    let said = rig.state.status(&rig.policy, rig.now).reason.expect("it is not open yet");
    assert!(said.starts_with("called off: at that time held by a rollback of ada@laptop until"), "{said}");
    rig.switch_obeys = true;
    rig.run_s(600);
    assert_eq!((rig.word(), &rig.intake), ("working", &Intake::Open));
}

#[test]
fn a_hold_that_cannot_be_read_counts_as_held() {
    let mut rig = Rig::superseded();
    rig.old.tags.insert(crate::model::HOLD_TAG.to_owned(), "gibberish".to_owned());
    rig.run_s(7200);
    assert_eq!(rig.deeds.len(), 0);
}

#[test]
fn a_count_of_rollbacks_that_cannot_be_read_counts_as_held() {
    for count in ["v2:1", ""] {
        let mut rig = Rig::superseded();
        rig.old.tags.insert(crate::model::GENERATION_TAG.to_owned(), count.to_owned());
        rig.run_s(7200);
        assert_eq!(rig.deeds.len(), 0, "{count:?}");
        let evidence = rig.state.status(&rig.policy, rig.now).evidence;
        assert!(evidence.iter().any(|line| line.contains("no drain begins") && line.contains(GENERATION_TAG)), "{evidence:?}");
    }
}

#[test]
fn min_is_lowered_to_one_below_desired_only_for_a_superseded_group() {
    let mut rig = Rig::superseded();
    rig.old.capacity.min = 1;
    rig.run_s(600);
    let lowered: Vec<&Deed> = rig.deeds.iter().map(|(_, d)| d).filter(|d| matches!(d, Deed::LowerMin { .. })).collect();
    assert_eq!(lowered, [&Deed::LowerMin { to: 0 }]);
    assert_eq!(rig.terminations(), 1);

    let mut hold = Rig::superseded();
    hold.policy.min_size = MinSize::Hold;
    hold.old.capacity.min = 1;
    hold.run_s(600);
    assert_eq!((hold.state.phase().held(), hold.terminations()), (Some(HeldWhy::MinSize), 0));

    let mut asked = Rig::new();
    asked.old.capacity.min = 1;
    asked.run_s(200);
    assert!(asked.drain().unwrap().contains("min"), "F24: refused before intake is closed");
    assert_eq!(asked.deeds.len(), 0);
}

#[test]
fn aws_saying_min_size_holds_and_asks_again_at_a_bounded_rate_l7() {
    let mut rig = Rig::superseded();
    let refused = fault(FaultKind::Refused, "would violate group's min size constraint");
    rig.terminate = vec![refused; 1000];
    rig.run_s(24 * 3600);
    let tries = rig.terminations();
    assert!((10..200).contains(&tries), "{tries}");
}

#[test]
fn a_refusal_under_suspended_terminate_is_named_f27() {
    let mut rig = Rig::superseded();
    rig.old.capacity.desired = 5;
    rig.terminate = vec![fault(FaultKind::Refused, "process Terminate is suspended"); 50];
    rig.run_s(300);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::TerminateSuspended));
}

#[test]
fn throttled_and_contended_calls_are_tried_again_after_new_evidence_f29() {
    let mut rig = Rig::superseded();
    rig.terminate = vec![fault(FaultKind::NotNow, "Throttling"), fault(FaultKind::NotNow, "ScalingActivityInProgress")];
    rig.run_s(900);
    assert_eq!((rig.terminations(), rig.word()), (3, "ending"));
}

#[test]
fn an_operators_drain_can_be_called_off_until_the_call_is_out_s15() {
    let mut rig = Rig::new();
    rig.busy = busy();
    rig.run_s(100);
    assert_eq!(rig.drain(), None);
    rig.run_s(100);
    assert_eq!(rig.intake, Intake::Closed);
    assert_eq!(rig.undrain(), None);
    rig.run_s(30);
    assert_eq!((rig.word(), &rig.intake), ("working", &Intake::Open));
    rig.busy = Activity::Idle;
    assert_eq!(rig.drain(), None);
    rig.run_s(300);
    assert_eq!(rig.terminations(), 1);
    assert!(rig.undrain().unwrap().contains("cannot be called back"));
}

#[test]
fn undrain_of_a_superseded_instance_lasts_until_another_cause() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(300);
    rig.undrain();
    rig.busy = Activity::Idle;
    rig.run_s(7200);
    assert_eq!((rig.word(), rig.terminations()), ("working", 0));
    rig.restart(true);
    rig.run_s(7200);
    assert_eq!((rig.word(), rig.terminations()), ("working", 0), "the veto survives a restart");
    rig.new.name = GroupName::from("app-main-v003");
    rig.run_s(600);
    assert_eq!(rig.terminations(), 1);
}

#[test]
fn dry_run_does_nothing_and_says_what_it_would_do() {
    let mut rig = Rig::superseded();
    rig.policy.dry_run = true;
    rig.run_s(7200);
    assert_eq!(rig.deeds.len(), 0);
    let status = rig.state.status(&rig.policy, rig.now);
    assert!(status.evidence.iter().any(|e| e.contains("dry run: would drain, superseded by app-main-v002")), "{status:?}");
    assert!(rig.drain().is_some());
}

#[test]
fn the_deadline_holds_and_names_the_work_or_forces_by_policy_f8() {
    let work = Activity::Busy {
        count: 1,
        executions: vec![crate::model::ExecutionRef { application: "foo".to_owned(), url: "/pipelines/01F".to_owned() }],
    };
    let mut hold = Rig::superseded();
    hold.policy.deadline = Some(Duration::from_secs(1800));
    hold.busy = work.clone();
    hold.run_s(4000);
    assert_eq!(hold.terminations(), 0);
    let status = hold.state.status(&hold.policy, hold.now);
    assert!(status.waits_for.unwrap().contains("/pipelines/01F"));

    let mut force = Rig::superseded();
    force.policy.deadline = Some(Duration::from_secs(1800));
    force.policy.at_deadline = AtDeadline::Force;
    force.busy = work;
    force.run_s(1000);
    force.now.wall = force.now.wall.plus(Duration::from_secs(3600));
    force.run_s(600);
    assert_eq!(force.terminations(), 0, "a wall clock that was set brings no deadline nearer (F31)");
    force.run_s(2400);
    assert_eq!(force.terminations(), 1);
    assert!(force.deeds.last().unwrap().0 >= Duration::from_secs(1000 + 1800));
}

#[test]
fn a_deadline_counts_over_restarts_of_the_agent_f43() {
    let mut rig = Rig::superseded();
    rig.policy.deadline = Some(Duration::from_secs(1800));
    rig.busy = busy();
    for _ in 0..6 {
        rig.run_s(300);
        rig.restart(true);
    }
    rig.run_s(200);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::Deadline));
}

#[test]
fn target_terminated_drains_without_a_call_of_our_own_f33() {
    let mut rig = Rig::new();
    rig.policy.stop_grace = Some(Duration::from_secs(30));
    rig.busy = busy();
    rig.run_s(100);
    rig.target = Some(LifecycleState::Terminated);
    rig.run_s(100);
    assert_eq!((rig.word(), &rig.intake), ("confirming_idle", &Intake::Closed));
    rig.busy = Activity::Idle;
    rig.run_s(300);
    assert_eq!((rig.word(), rig.terminations()), ("ending", 0));
    assert_eq!(rig.count(|d| matches!(d, Deed::StopOrchestrator { .. })), 1);
}

#[test]
fn what_a_superseded_group_has_is_recorded_once_and_a_drain_does_not_wait_for_it() {
    let mut rig = Rig::superseded();
    rig.old.tags.insert(CAPACITY_TAG.to_owned(), "9/9/9".to_owned());
    rig.run_s(600);
    assert_eq!(
        (rig.recorded.clone(), rig.terminations()),
        (vec![Some("0/1/10@v002".to_owned())], 1),
        "what a rollback left there is older"
    );

    let mut there = Rig::superseded();
    there.old.tags.insert(CAPACITY_TAG.to_owned(), "0/5/10@v003".to_owned());
    there.run_s(600);
    assert_eq!((there.recorded.clone(), there.terminations()), (Vec::new(), 1), "another agent was first, under an earlier successor");
}

#[test]
fn a_record_of_a_form_that_is_not_known_here_is_left_to_whoever_wrote_it() {
    for record in ["min=1 desired=3 max=6", "1/3/6/2", "1/3/6/2@v002", ""] {
        let mut rig = Rig::superseded();
        rig.old.tags.insert(CAPACITY_TAG.to_owned(), record.to_owned());
        rig.run_s(600);
        assert_eq!((rig.recorded.clone(), rig.terminations()), (Vec::new(), 1), "{record:?}");
    }
}

#[test]
fn a_record_that_is_not_answered_holds_nothing_up_and_none_is_written_on_an_old_read() {
    let ended_after = |record_lag| {
        let mut rig = Rig::superseded();
        rig.record_lag = record_lag;
        rig.run_s(900);
        assert_eq!(rig.terminations(), 1);
        rig.deeds.iter().find(|(_, deed)| matches!(deed, Deed::TerminateOwn { .. })).map(|(at, _)| *at)
    };
    assert_eq!(ended_after(Duration::from_secs(3600)), ended_after(Duration::ZERO));

    let mut slow = Rig::superseded();
    slow.describe_lag = slow.policy.stale_bound + Duration::from_secs(1);
    slow.run_s(1800);
    assert_eq!(slow.recorded, Vec::new(), "a rollback may hold the group by now");
}

#[test]
fn whoever_could_not_read_in_time_before_records_on_the_read_that_lets_it_go() {
    let mut rig = Rig::superseded();
    rig.describe_lag = rig.policy.stale_bound + Duration::from_secs(1);
    rig.until(|rig| rig.word() == "validating");
    assert_eq!(rig.recorded, Vec::new());
    rig.describe_lag = Duration::ZERO;
    rig.run_s(600);
    assert_eq!((rig.recorded.clone(), rig.terminations()), (vec![Some("0/1/10@v002".to_owned())], 1));
}

#[test]
fn a_sibling_that_came_late_and_recorded_less_is_put_right_and_one_that_saw_more_is_not() {
    let after_finding = |record: &str| {
        let mut rig = Rig::superseded();
        rig.old.capacity = Capacity { min: 1, max: 10, desired: 1 };
        rig.busy = busy();
        rig.record_lag = Duration::from_secs(3600);
        rig.run_s(100);
        rig.recorded.clear();
        rig.record_lag = Duration::ZERO;
        rig.old.tags.insert(CAPACITY_TAG.to_owned(), record.to_owned());
        rig.run_s(600);
        rig.recorded.clone()
    };
    assert_eq!(after_finding("0/1/10@v002"), [Some("1/1/10@v002".to_owned())]);
    for record in ["1/2/10@v002", "1/1/10@v002", "0/1/10@v003", "0/2/10@v002"] {
        assert_eq!(after_finding(record), [], "{record}");
    }
}

#[test]
fn a_group_is_recorded_unless_it_serves_again_or_a_rollback_has_not_ended_and_as_the_last_one_left_it() {
    let recorded = |change: &dyn Fn(&mut Group)| {
        let mut rig = Rig::superseded();
        rig.policy.stop_grace = Some(Duration::from_secs(600));
        rig.deed_lag = Duration::from_secs(600);
        rig.describe_lag = rig.policy.stale_bound + Duration::from_secs(1);
        rig.until(|rig| rig.word() == "validating");
        rig.describe_lag = Duration::ZERO;
        change(&mut rig.old);
        rig.run_s(300);
        rig.recorded.clone()
    };
    assert_eq!(recorded(&|_| ()).len(), 1);
    assert_eq!(recorded(&|old| old.suspended.clear()), []);
    assert_eq!(recorded(&|old| drop(old.tags.insert(RECORD_TAG.to_owned(), "role=retire".to_owned()))), []);
    let come_and_gone = |old: &mut Group| {
        old.tags.insert(GENERATION_TAG.to_owned(), "7".to_owned());
        old.capacity.max = 9;
    };
    assert_eq!(recorded(&come_and_gone), [Some("0/1/9@v002".to_owned())], "what a rollback left counts, not what was before it");
}

#[test]
fn a_record_is_taken_off_when_the_group_serves_again_and_written_anew_when_it_is_superseded_anew() {
    let mut rig = Rig::new();
    rig.old.tags.insert(CAPACITY_TAG.to_owned(), "0/7/10@v002".to_owned());
    rig.run_s(600);
    assert_eq!((rig.recorded.clone(), rig.old.tags.get(CAPACITY_TAG)), (vec![None], None));
    disable(&mut rig.old);
    rig.busy = busy();
    rig.run_s(600);
    assert_eq!(rig.recorded.last(), Some(&Some("0/1/10@v002".to_owned())));
    assert_eq!(rig.recorded.len(), 2);

    let mut newer = Rig::new();
    newer.old.tags.insert(CAPACITY_TAG.to_owned(), "0/7/10/2@v002".to_owned());
    newer.run_s(600);
    assert_eq!(newer.recorded, [], "one of another form is not ours to take off");
}

#[test]
fn nothing_is_recorded_while_a_rollback_holds_the_group_and_a_restart_records_nothing_late() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    let expires = rig.now.wall.plus(Duration::from_secs(400));
    rig.old.tags.extend(Hold { generation: 1, owner: "ann@laptop".to_owned(), expires }.to_tags());
    rig.run_s(390);
    assert_eq!(rig.recorded, Vec::new());
    let mut restarted = Rig::superseded();
    restarted.busy = busy();
    restarted.run_s(300);
    restarted.old.tags.remove(CAPACITY_TAG);
    restarted.recorded.clear();
    restarted.old.capacity.desired = 1;
    restarted.restart(true);
    restarted.run_s(600);
    assert_eq!(restarted.recorded, Vec::new(), "siblings may have gone since");
}

#[test]
fn in_standby_it_takes_no_work_and_ends_nothing_until_it_is_back_in_service() {
    let mut rig = Rig::new();
    rig.run_s(100);
    let expires = rig.now.wall.plus(Duration::from_secs(3600));
    rig.old.tags.extend(Hold { generation: 1, owner: "ann@laptop".to_owned(), expires }.to_tags());
    (rig.target, rig.old.instances[0].state) = (Some(LifecycleState::Standby), LifecycleState::Standby);
    rig.run_s(600);
    assert_eq!((rig.word(), &rig.intake, rig.terminations()), ("held", &Intake::Closed, 0));
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::LifecycleState));
    (rig.target, rig.old.instances[0].state) = (Some(LifecycleState::InService), LifecycleState::InService);
    rig.run_s(300);
    assert_eq!((rig.word(), &rig.intake, rig.terminations()), ("working", &Intake::Open, 0));
}

#[test]
fn the_orchestrator_is_stopped_between_two_justifications_and_started_again_when_called_off() {
    let mut rig = Rig::superseded();
    rig.policy.stop_grace = Some(Duration::from_secs(30));
    rig.policy.soak = Duration::from_secs(1);
    rig.run_s(400);
    let order: Vec<String> = rig.deeds.iter().map(|(_, d)| d.to_string()).collect();
    assert_eq!(order, ["close intake", "stop the orchestrator within 30 s", "terminate this instance with decrement"]);

    let mut called_off = Rig::superseded();
    called_off.policy.stop_grace = Some(Duration::from_secs(30));
    called_off.terminate = vec![fault(FaultKind::NotNow, "Throttling"); 500];
    called_off.run_s(300);
    called_off.old.suspended.clear();
    called_off.run_s(200);
    assert_eq!(called_off.count(|d| *d == Deed::StartOrchestrator), 1);
    assert_eq!((called_off.word(), &called_off.intake), ("working", &Intake::Open));
}

#[test]
fn a_stopped_orchestrator_that_answers_again_has_to_be_drained_again() {
    for restarted_s in 108..130 {
        let mut rig = Rig::superseded();
        rig.policy.stop_grace = Some(Duration::from_secs(30));
        rig.terminate = vec![fault(FaultKind::NotNow, "Throttling"); 5];
        rig.run_s(restarted_s);
        assert_eq!(rig.count(|d| matches!(d, Deed::StopOrchestrator { .. })), 1, "{:?}", rig.deeds);
        let calls = rig.terminations();
        rig.busy = busy();
        rig.intake = Intake::Open;
        rig.generation += 1;
        rig.run_s(600);
        assert_eq!(rig.terminations(), calls, "it works again since {restarted_s} s");
        rig.busy = Activity::Idle;
        rig.run_s(600);
        assert_eq!(rig.count(|d| matches!(d, Deed::StopOrchestrator { .. })), 2);
    }
}

#[test]
fn a_reboot_forgets_that_the_orchestrator_was_stopped_f44() {
    let mut rig = Rig::superseded();
    rig.policy.stop_grace = Some(Duration::from_secs(30));
    rig.terminate = vec![fault(FaultKind::NotNow, "Throttling"); 3];
    rig.run_s(125);
    rig.busy = busy();
    rig.intake = Intake::Open;
    rig.restart(false);
    let calls = rig.terminations();
    rig.run_s(3600);
    assert_eq!(rig.terminations(), calls);
}

#[test]
fn nothing_is_done_while_the_journal_cannot_be_written_f46() {
    for full_from in [0, 80, 100] {
        let mut rig = Rig::superseded();
        rig.run_s(full_from);
        let deeds = rig.deeds.len();
        rig.disk_full = true;
        rig.run_s(3600);
        assert_eq!(rig.count(|d| d.needs_journal()), 0, "from {full_from} s");
        assert!(rig.deeds.len() <= deeds + 1);
        assert_eq!(rig.state.phase().held(), Some(HeldWhy::Journal), "from {full_from} s");
        rig.disk_full = false;
        rig.run_s(3600);
        assert_eq!(rig.terminations(), 1, "from {full_from} s");
    }
}

#[test]
fn a_soak_closes_intake_at_once_and_ends_nothing_before_it_is_over_f14() {
    let mut rig = Rig::superseded();
    rig.policy.soak = Duration::from_secs(3600);
    rig.run_s(1800);
    assert_eq!((rig.terminations(), &rig.intake), (0, &Intake::Closed));
    rig.run_s(2400);
    assert_eq!(rig.terminations(), 1);
}

#[test]
fn the_keep_floor_holds_the_last_ones() {
    let mut rig = Rig::superseded();
    rig.policy.keep = 1;
    rig.run_s(7200);
    assert_eq!((rig.terminations(), rig.state.phase().held()), (0, Some(HeldWhy::KeepFloor)));
}

#[test]
fn an_idle_agent_asks_aws_once_per_describe_interval() {
    let mut rig = Rig::new();
    rig.policy.metadata_every = Duration::from_secs(1_000_000);
    rig.policy.activity_every_idle = Duration::from_secs(1_000_000);
    rig.run_s(36_000);
    let expected = 36_000 / 90;
    assert!((expected * 9 / 10..expected * 11 / 10 + 4).contains(&rig.looks), "{}", rig.looks);
}

#[test]
fn an_answer_to_an_old_key_changes_nothing() {
    let mut rig = Rig::superseded();
    rig.run_s(200);
    let before = format!("{:?}", rig.state);
    let outcome = step(
        &mut rig.state,
        &rig.policy,
        Observation {
            at: rig.now,
            seen: Seen::Answer { key: Key(1), answer: Box::new(Answer::Done(Ok(Receipt::Activity("x".to_owned())))) },
        },
    );
    assert!(outcome.actions.is_empty());
    assert_eq!(before, format!("{:?}", rig.state));
}

fn stops() -> Rig {
    let mut rig = Rig::superseded();
    rig.policy.stop_grace = Some(Duration::from_secs(30));
    rig
}

#[test]
fn a_crash_while_the_orchestrator_stops_ends_with_it_stopped_not_stuck() {
    let mut rig = stops();
    rig.deed_lag = Duration::from_secs(1);
    rig.run_s(600);
    let stop = rig.deeds.iter().find(|(_, d)| matches!(d, Deed::StopOrchestrator { .. })).unwrap().0;
    let mut crashed = stops();
    crashed.deed_lag = Duration::from_secs(1);
    crashed.run(stop - crashed.now.mono + Duration::from_millis(500));
    assert_eq!(crashed.word(), "stopping_orchestrator");
    crashed.late.clear();
    crashed.restart(true);
    crashed.run_s(600);
    assert_eq!((crashed.terminations(), crashed.word()), (1, "ending"));
    assert_eq!(crashed.count(|d| matches!(d, Deed::StopOrchestrator { .. })), 2);
}

#[test]
fn an_orchestrator_that_does_not_stop_holds_a_drain_until_somebody_says_to_wait_for_nothing() {
    let mut rig = stops();
    rig.stop_refused = true;
    rig.run_s(900);
    assert_eq!((rig.state.phase().held(), rig.terminations()), (Some(HeldWhy::StopFailed), 0));
    let tried = rig.count(|d| matches!(d, Deed::StopOrchestrator { .. }));
    rig.busy = unknown();
    rig.intake = Intake::Unknown { why: "404".to_owned() };
    rig.see(Seen::Asked(Command::Drain { by: "ada".to_owned(), reason: "test".to_owned(), force: true }));
    rig.run_s(60);
    assert_eq!((rig.word(), rig.terminations()), ("ending", 1));
    assert_eq!(rig.count(|d| matches!(d, Deed::StopOrchestrator { .. })), tried + 1, "it is tried once more");
}

#[test]
fn an_orchestrator_that_stops_late_after_all_is_started_when_a_forced_drain_is_called_off_l3() {
    let mut rig = stops();
    rig.stop_refused = true;
    rig.terminate = vec![fault(FaultKind::NotNow, "Throttling"); 50];
    rig.run_s(60);
    rig.see(Seen::Asked(Command::Drain { by: "ada".to_owned(), reason: "test".to_owned(), force: true }));
    rig.until(|rig| rig.terminations() > 0);
    rig.busy = unknown();
    rig.intake = Intake::Unknown { why: "connection refused".to_owned() };
    rig.run_s(30);
    rig.undrain();
    rig.run_s(60);
    assert_eq!((rig.word(), rig.count(|d| *d == Deed::StartOrchestrator)), ("working", 1));
}

#[test]
fn an_answer_of_an_orchestrator_that_stops_late_leaves_the_drain_to_go_on_l1() {
    let mut rig = stops();
    rig.stop_refused = true;
    rig.until(|rig| rig.state.phase().held() == Some(HeldWhy::StopFailed));
    rig.run_s(15);
    rig.stop_refused = false;
    rig.busy = unknown();
    rig.intake = Intake::Unknown { why: "connection refused".to_owned() };
    rig.run_s(900);
    assert_eq!((rig.word(), rig.terminations()), ("ending", 1));
}

#[test]
fn a_stop_that_was_cut_short_by_a_crash_is_no_proof_while_nobody_knows_what_runs() {
    let mut rig = stops();
    rig.deed_lag = Duration::from_secs(1);
    rig.until(|rig| rig.word() == "stopping_orchestrator");
    rig.late.clear();
    rig.stop_refused = true;
    rig.busy = unknown();
    rig.intake = Intake::Unknown { why: "404".to_owned() };
    rig.restart(true);
    rig.run_s(600);
    assert_eq!((rig.state.phase().held(), rig.terminations()), (Some(HeldWhy::StopFailed), 0));
    (rig.busy, rig.stop_refused) = (busy(), false);
    rig.run_s(600);
    assert_eq!(rig.terminations(), 0, "there was work");
    rig.busy = Activity::Idle;
    rig.run_s(1200);
    assert_eq!((rig.word(), rig.terminations()), ("ending", 1));
}

#[test]
fn a_stopped_orchestrator_that_was_started_behind_our_back_is_not_ended_while_busy() {
    let mut rig = stops();
    rig.terminate = vec![fault(FaultKind::NotNow, "Throttling"); 3];
    rig.run_s(125);
    let calls = rig.terminations();
    (rig.busy, rig.intake) = (busy(), Intake::Closed);
    rig.restart(true);
    rig.run_s(3600);
    assert_eq!(rig.terminations(), calls);
}

#[test]
fn a_source_that_outlives_a_stopped_orchestrator_does_not_keep_it_alive() {
    let mut rig = stops();
    rig.terminate = vec![fault(FaultKind::NotNow, "Throttling"); 3];
    rig.run_s(125);
    (rig.busy, rig.intake) = (Activity::Idle, Intake::Closed);
    rig.run_s(900);
    assert_eq!((rig.word(), rig.count(|d| matches!(d, Deed::StopOrchestrator { .. }))), ("ending", 1));
}

#[test]
fn deeds_go_out_one_at_a_time_so_a_late_close_cannot_undo_an_open() {
    let mut rig = Rig::new();
    rig.run_s(100);
    rig.deed_lag = Duration::from_secs(8);
    rig.drain();
    rig.run_s(1);
    rig.undrain();
    rig.run_s(5);
    assert_eq!(rig.deeds.len(), 1, "the open waits for the answer to the close");
    rig.run_s(300);
    assert_eq!((rig.word(), &rig.intake), ("working", &Intake::Open));
}

#[test]
fn nothing_rests_on_reads_older_than_the_staleness_bound_f49() {
    let mut rig = Rig::superseded();
    rig.run_s(60);
    rig.describe_lag = Duration::from_secs(20);
    rig.run_s(3600);
    let held = (0..60).any(|_| {
        rig.run_s(20);
        rig.state.phase().held() == Some(HeldWhy::SlowReads)
    });
    assert_eq!((rig.terminations(), held), (0, true));
    rig.describe_lag = Duration::from_secs(1);
    rig.run_s(1800);
    assert_eq!(rig.terminations(), 1);
}

#[test]
fn an_end_that_was_accepted_and_does_not_happen_is_held_and_not_asked_for_again_f33() {
    let mut rig = Rig::superseded();
    rig.terminate = vec![Ok(Receipt::Activity("act-1".to_owned()))];
    rig.run_s(3600);
    assert_eq!((rig.terminations(), rig.state.phase().held()), (1, Some(HeldWhy::EndingFailed)));
    assert_eq!(rig.undrain(), None);
    rig.run_s(60);
    assert_eq!((rig.word(), &rig.intake), ("working", &Intake::Open));
}

/// v002 is gone bad and somebody restores v001.
fn restore(rig: &mut Rig) {
    let hold = Hold { generation: 1, owner: "ann".to_owned(), expires: rig.now.wall.plus(Duration::from_secs(86_400)) };
    rig.old.tags.extend(hold.to_tags());
}

fn release_and_enable(rig: &mut Rig) {
    rig.old.tags.remove(crate::model::HOLD_TAG);
    rig.old.suspended.clear();
}

#[test]
fn a_task_of_spinnakers_is_called_off_when_a_rollback_takes_the_group_and_intake_stays_closed_until_it_is_s11() {
    let mut rig = Rig::superseded();
    rig.policy.via = Via::Spinnaker;
    rig.terminate = vec![Ok(Receipt::Task("01J".to_owned()))];
    rig.run_s(300);
    assert_eq!((rig.word(), rig.terminations()), ("ending", 1));
    restore(&mut rig);
    rig.run_s(120);
    assert_eq!(rig.count(|d| *d == Deed::CancelTask { task: "01J".to_owned() }), 1, "{:?}", rig.deeds);
    assert_eq!((rig.state.phase().held(), &rig.intake), (Some(HeldWhy::Rollback), &Intake::Closed));
    release_and_enable(&mut rig);
    rig.run_s(300);
    assert_eq!((rig.word(), &rig.intake, rig.terminations()), ("working", &Intake::Open, 1));
}

#[test]
fn nothing_is_called_off_before_a_search_shows_that_no_task_is_left_that_would_end_us_s1_f21() {
    let silent = || Fault { what: FaultKind::OutcomeUnknown, text: "503".to_owned() };
    let mut rig = Rig::superseded();
    rig.policy.via = Via::Spinnaker;
    rig.terminate = vec![fault(FaultKind::OutcomeUnknown, "Gate did not answer")];
    rig.queued = Err(silent());
    rig.run_s(300);
    release_and_enable(&mut rig);
    rig.run_s(3600);
    assert_eq!((rig.word(), &rig.intake), ("outcome_unknown", &Intake::Closed), "the task may be queued");

    let mut late = Rig::superseded();
    late.policy.via = Via::Spinnaker;
    late.terminate = vec![fault(FaultKind::OutcomeUnknown, "Gate did not answer")];
    late.queued = Err(silent());
    late.run_s(300);
    restore(&mut late);
    late.queued = Ok(Some("01J".to_owned()));
    late.run_s(300);
    assert_eq!(late.count(|d| matches!(d, Deed::CancelTask { .. })), 1, "it was found, and is called off");

    rig.queued = Ok(None);
    rig.run_s(300);
    assert_eq!((rig.word(), &rig.intake, rig.terminations()), ("working", &Intake::Open, 1));
}

#[test]
fn a_task_that_nobody_can_read_any_more_is_not_waited_for_for_ever_l2() {
    let mut rig = Rig::superseded();
    rig.policy.via = Via::Spinnaker;
    rig.terminate = vec![Ok(Receipt::Task("01J".to_owned()))];
    rig.run_s(150);
    assert_eq!(rig.word(), "ending");
    rig.task_lost = true;
    rig.run_s(1800);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::EndingFailed));
}

#[test]
fn an_orchestrator_that_was_stopped_is_started_again_however_its_end_came_to_nothing_l3() {
    let stopped = |via| {
        let mut rig = Rig::superseded();
        rig.policy.stop_grace = Some(Duration::from_secs(30));
        rig.policy.via = via;
        rig
    };
    let mut task = stopped(Via::Spinnaker);
    task.terminate = vec![Ok(Receipt::Task("01J".to_owned()))];
    task.run_s(300);
    task.task = Some(TaskRead::Failed("TERMINAL: min is desired".to_owned()));
    task.terminate = vec![fault(FaultKind::NotNow, "busy"); 500];
    task.run_s(120);
    release_and_enable(&mut task);
    task.run_s(600);
    assert_eq!((task.count(|d| *d == Deed::StartOrchestrator), task.word(), &task.intake), (1, "working", &Intake::Open));

    let mut asked = stopped(Via::Aws);
    asked.terminate = vec![Ok(Receipt::Activity("act-1".to_owned()))];
    asked.run_s(3600);
    assert_eq!(asked.state.phase().held(), Some(HeldWhy::EndingFailed));
    asked.terminate = vec![fault(FaultKind::NotNow, "busy"); 500];
    assert_eq!(asked.drain(), None);
    asked.run_s(120);
    release_and_enable(&mut asked);
    asked.run_s(600);
    assert_eq!((asked.count(|d| *d == Deed::StartOrchestrator), asked.word(), &asked.intake), (1, "working", &Intake::Open));
}

#[test]
fn whoever_may_not_read_the_group_says_so_with_a_code_f31() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(300);
    assert_eq!(rig.word(), "confirming_idle");
    rig.busy = Activity::Idle;
    rig.denied = true;
    let held = (0..60).any(|_| {
        rig.run_s(10);
        rig.state.phase().held() == Some(HeldWhy::Denied)
    });
    assert_eq!((held, rig.terminations()), (true, 0));
    rig.denied = false;
    rig.run_s(1800);
    assert_eq!(rig.terminations(), 1);
}

#[test]
fn one_read_without_us_does_not_settle_a_call_of_unknown_outcome_f15() {
    let mut rig = Rig::superseded();
    rig.terminate = vec![fault(FaultKind::OutcomeUnknown, "no answer")];
    rig.until(|rig| rig.word() == "outcome_unknown");
    let members = std::mem::take(&mut rig.old.instances);
    // Time for one read of ourselves, not for two.
    rig.run_s(7);
    assert_eq!(rig.word(), "outcome_unknown");
    rig.old.instances = members;
    rig.run_s(600);
    assert_eq!(rig.terminations(), 2, "it was not carried out, and is asked for again");
}

#[test]
fn a_turn_rests_on_a_read_that_was_asked_for_in_it_f47() {
    let members = ["i-0a", "i-0b", "i-0c", "i-0d"];
    let policy = Policy { budget_percent: 25, ..Policy::default() };
    let mut old = group("app-main-v001", 1, &members);
    disable(&mut old);
    let groups = [old, group("app-main-v002", 2, &["i-n1"])];
    let reason = Reason::Superseded { by: GroupName::from("app-main-v002") };
    let drain =
        Drain { reason, started: Timestamp(0), generation: 0, forced: false, unproven: false, progress: Progress::Draining, doomed: None };
    let slot = Timestamp(WALL - WALL % 10_000);
    let now = slot.plus(Duration::from_millis(100));
    let who_goes = |asked: Timestamp| {
        let go = |id: &&&str| {
            let own = InstanceId::from(**id);
            justify::justify(&policy, &drain, &own, &GroupName::from("app-main-v001"), &groups, asked, now) == justify::Justification::Go
        };
        members.iter().filter(go).count()
    };
    assert_eq!(who_goes(Timestamp(slot.0 - 1)), 0, "the last turn's termination may not show in it");
    assert_eq!(who_goes(slot), 1);
}

#[test]
fn an_instance_that_was_gone_and_is_there_again_is_noticed_f19() {
    let mut rig = Rig::superseded();
    rig.run_s(600);
    let members = std::mem::take(&mut rig.old.instances);
    rig.run_s(60);
    assert_eq!(rig.word(), "gone");
    rig.old.instances = members;
    rig.old.instances[0].state = LifecycleState::InService;
    rig.run_s(1800);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::EndingFailed));
}

#[test]
fn dry_run_set_in_the_middle_of_a_drain_holds_it() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(300);
    rig.policy.dry_run = true;
    rig.busy = Activity::Idle;
    let deeds = rig.deeds.len();
    rig.run_s(3600);
    assert_eq!((rig.deeds.len(), rig.state.phase().held()), (deeds, Some(HeldWhy::DryRun)));
}

#[test]
fn a_veto_outlasts_a_successor_that_is_sick_for_a_while() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(300);
    rig.undrain();
    rig.busy = Activity::Idle;
    for i in &mut rig.new.instances {
        i.health = InstanceHealth::Unhealthy;
    }
    rig.run_s(300);
    for i in &mut rig.new.instances {
        i.health = InstanceHealth::Healthy;
    }
    rig.run_s(3600);
    assert_eq!((rig.word(), rig.terminations()), ("working", 0));
}

#[test]
fn an_intake_that_does_not_open_again_is_held_and_said_l3() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(300);
    rig.switch_obeys = false;
    rig.undrain();
    rig.run_s(10);
    assert!(rig.drain().unwrap().contains("called off"));
    rig.run_s(300);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::IntakeStuck));
    rig.intake = Intake::Open;
    rig.run_s(60);
    assert_eq!(rig.word(), "working");
}

#[test]
fn a_poller_that_restarts_under_a_hold_has_its_intake_closed_s14() {
    let mut rig = Rig::superseded();
    rig.busy = busy();
    rig.run_s(300);
    held(&mut rig, 3600);
    rig.run_s(150);
    assert_eq!(rig.state.phase().held(), Some(HeldWhy::Rollback));
    rig.generation += 1;
    rig.intake = Intake::Open;
    rig.run_s(30);
    assert_eq!((rig.state.phase().held(), &rig.intake), (Some(HeldWhy::Rollback), &Intake::Closed));
}

proptest! {
    /// Two agents of a group never get the same turn within a staleness bound, whatever the time of day and the size of the group (S9).
    #[test]
    fn turns_keep_the_budget(members in 2_usize..40, percent in 1_u8..60, start in 0_i64..10_000_000) {
        let policy = Policy { budget_percent: percent, ..Policy::default() };
        let ids: Vec<String> = (0..members).map(|n| format!("i-{n:04}")).collect();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut old = group("app-main-v001", 1, &names);
        disable(&mut old);
        let groups = [old, group("app-main-v002", 2, &["i-n1"])];
        let drain = Drain {
            reason: Reason::Superseded { by: GroupName::from("app-main-v002") },
            started: Timestamp(0), generation: 0, forced: false, unproven: false, progress: Progress::Draining, doomed: None,
        };
        let budget = (members * usize::from(percent) / 100).max(1);
        let mut went = vec![false; members];
        for slot in 0..members as i64 {
            let now = Timestamp(WALL + start + slot * 10_000);
            let asked = now;
            let go = |id: &str| justify::justify(&policy, &drain, &InstanceId::from(id), &GroupName::from("app-main-v001"), &groups, asked, now) == justify::Justification::Go;
            let at_once: Vec<usize> = (0..members).filter(|n| go(&ids[*n])).collect();
            prop_assert!(at_once.len() <= budget);
            for n in at_once { went[n] = true; }
        }
        let sees_first_half = (WALL + start) % 10_000 < 5_000;
        prop_assert_eq!(went.iter().all(|w| *w), sees_first_half);
    }

    /// Whatever the orchestrator does, a terminate call has an unbroken quiet time of idle, closed-intake samples of one process behind it.
    #[test]
    fn never_ends_without_a_whole_quiet_time_behind_it(script in proptest::collection::vec((0_u8..6, 5_u64..90), 1..60)) {
        let mut rig = Rig::superseded();
        let mut disturbed = rig.now.mono;
        for (what, seconds) in script {
            match what {
                0 => rig.busy = busy(),
                1 => rig.busy = unknown(),
                2 => rig.generation += 1,
                3 => { rig.generation += 1; rig.intake = Intake::Open; }
                _ => rig.busy = Activity::Idle,
            }
            if what <= 3 || rig.busy != Activity::Idle { disturbed = rig.now.mono; }
            let before = rig.terminations();
            rig.run_s(seconds);
            if rig.terminations() > before {
                let at = rig.deeds.last().unwrap().0;
                prop_assert!(rig.busy == Activity::Idle);
                prop_assert!(at - disturbed >= rig.policy.quiet, "{:?} after {:?}", at, disturbed);
                return Ok(());
            }
            if rig.busy != Activity::Idle { disturbed = rig.now.mono; }
        }
    }
}
