//! Simulated orchestrators: they claim work from their cluster's queue, run it, and can crash, hang and lie.
//!
//! A claimed message shows up as busy only after a lag (F1, F4), so a drain that is too eager loses work. Work that runs when its machine
//! stops is lost; after a crash of the orchestrator alone the queue delivers it again.

use std::time::Duration;

use rand::Rng;

use super::Region;
use super::SimTime;
use super::instance::Ec2State;
use super::region::Event;
use super::spec::Behaviour;
use super::spec::Endpoint;
use super::spec::Lie;
use super::spec::Switch;
use super::spec::WorkSpec;
use super::spec::Works;
use super::truth::Execution;
use super::truth::IntakeChange;
use super::truth::Run;
use super::truth::RunEnd;
use crate::model::InstanceId;

/// Whoever probes it notices within this that it hangs no more: a probe and its answer.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
/// How long ended work is kept, for answers that tell of the past.
const MEMORY: Duration = Duration::from_secs(900);

/// An orchestrator's process, or the lack of one.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) behaviour: Behaviour,
    pub(super) generation: u32,
    /// Start of the process; `None` = none runs.
    pub(super) started: Option<SimTime>,
    hung_until: SimTime,
    /// Hangs until its process ends.
    deadlocked: bool,
    pub(super) open: bool,
    /// What it was last told; what a lying switch reads back.
    pub(super) told: bool,
    pub(super) closed_since: Option<SimTime>,
    pub(super) lies: Vec<(Lie, Option<Endpoint>, SimTime)>,
    /// Told to stop: takes nothing new, stops when empty.
    stopping: bool,
    /// It hung when it was told to stop, or had just come to itself.
    told_while_hung: bool,
    /// Stopped on purpose: stays down until it is started.
    stopped: bool,
    slots: Vec<Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    execution: u64,
    run: usize,
    visible: SimTime,
    ended: Option<SimTime>,
}

impl Daemon {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            generation: 0,
            started: None,
            hung_until: SimTime::ZERO,
            deadlocked: false,
            open: true,
            told: true,
            closed_since: None,
            lies: Vec::new(),
            stopping: false,
            told_while_hung: false,
            stopped: false,
            slots: Vec::new(),
        }
    }

    /// What it really runs, whether or not that shows up.
    pub(super) fn running(&self) -> Vec<u64> {
        self.slots.iter().filter(|s| s.ended.is_none()).map(|s| s.execution).collect()
    }

    /// What showed up as running at that time.
    pub(super) fn visible_at(&self, at: SimTime) -> Vec<u64> {
        let shown = |s: &&Slot| s.visible <= at && s.ended.is_none_or(|ended| ended > at);
        self.slots.iter().filter(shown).map(|s| s.execution).collect()
    }

    /// It answers nothing.
    pub(super) fn is_hung(&self, now: SimTime) -> bool {
        self.deadlocked || now < self.hung_until
    }

    fn takes_work(&self, now: SimTime) -> bool {
        self.started.is_some()
            && self.open
            && !self.stopping
            && self.behaviour.works == Works::Yes
            && !self.is_hung(now)
            && self.running().len() < self.behaviour.slots
    }

    pub(super) fn lie(&self, endpoint: Endpoint, now: SimTime) -> Option<Lie> {
        let told = |(_, of, until): &&(Lie, Option<Endpoint>, SimTime)| now < *until && of.is_none_or(|of| of == endpoint);
        self.lies.iter().rev().find(told).map(|(lie, _, _)| *lie)
    }
}

impl Region {
    /// Work comes in.
    pub fn submit_work(&mut self, work: &WorkSpec) {
        for n in 0..work.count {
            let length = work.length.draw(&mut self.rng);
            let delay = work.over.mul_f64(f64::from(n) / f64::from(work.count.max(1)));
            if delay.is_zero() {
                self.submit(&work.queue, &work.application, length);
            } else {
                self.after(delay, Event::Submit(work.queue.clone(), work.application.clone(), length));
            }
        }
    }

    /// Whether this orchestrator's process runs.
    pub fn orchestrator_runs(&self, id: &InstanceId) -> bool {
        self.instances.get(id).and_then(|i| i.daemon.as_ref()).is_some_and(|d| d.started.is_some())
    }

    /// What this orchestrator really runs, whether or not that shows up.
    pub fn executing(&self, id: &InstanceId) -> Vec<u64> {
        self.instances.get(id).and_then(|i| i.daemon.as_ref()).map(Daemon::running).unwrap_or_default()
    }

    /// Executions that wait in a queue for somebody with open intake.
    pub fn queued(&self, queue: &str) -> usize {
        self.queues.get(queue).map_or(0, std::collections::VecDeque::len)
    }

    pub(super) fn submit(&mut self, queue: &str, application: &str, length: Duration) {
        let id = u64::try_from(self.truth.executions.len()).unwrap_or(u64::MAX);
        self.truth.executions.push(Execution {
            id,
            queue: queue.to_owned(),
            application: application.to_owned(),
            submitted: self.now,
            length,
            runs: Vec::new(),
        });
        self.queues.entry(queue.to_owned()).or_default().push_back(id);
        self.dispatch(queue);
    }

    /// Everybody with open intake and a free slot polls; who gets a message is chance.
    pub(super) fn dispatch(&mut self, queue: &str) {
        while self.queues.get(queue).is_some_and(|q| !q.is_empty()) {
            let takes = |d: &Daemon| d.takes_work(self.now);
            let ready =
                self.instances.values().filter(|i| i.queue == queue && i.ec2 == Ec2State::Running && i.daemon.as_ref().is_some_and(takes));
            let ready: Vec<InstanceId> = ready.map(|i| i.id.clone()).collect();
            if ready.is_empty() {
                return;
            }
            let id = ready[self.rng.random_range(0..ready.len())].clone();
            let Some(execution) = self.queues.get_mut(queue).and_then(std::collections::VecDeque::pop_front) else { return };
            self.claim(&id, execution);
        }
    }

    fn claim(&mut self, id: &InstanceId, execution: u64) {
        let now = self.now;
        let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()) else { return };
        let lag = d.behaviour.busy_lag.draw(&mut self.rng);
        let Some(e) = usize::try_from(execution).ok().and_then(|n| self.truth.executions.get_mut(n)) else { return };
        let run = e.runs.len();
        e.runs.push(Run { instance: id.clone(), claimed: now, ended: None, end: None });
        let length = e.length;
        d.slots.retain(|s| s.ended.is_none_or(|ended| ended + MEMORY > now));
        d.slots.push(Slot { execution, run, visible: now + lag, ended: None });
        self.after(length, Event::Finish(execution, run));
    }

    pub(super) fn finish(&mut self, execution: u64, run: usize) {
        let now = self.now;
        let Some(r) = usize::try_from(execution).ok().and_then(|n| self.truth.executions.get_mut(n)).and_then(|e| e.runs.get_mut(run))
        else {
            return;
        };
        if r.end.is_some() {
            return;
        }
        (r.ended, r.end) = (Some(now), Some(RunEnd::Finished));
        let id = r.instance.clone();
        let Some(i) = self.instances.get_mut(&id) else { return };
        let queue = i.queue.clone();
        let Some(d) = i.daemon.as_mut() else { return };
        if let Some(slot) = d.slots.iter_mut().find(|s| s.execution == execution && s.run == run) {
            slot.ended = Some(now);
        }
        if d.stopping && d.running().is_empty() {
            self.halt(&id);
        }
        self.dispatch(&queue);
    }

    /// Cuts off whatever runs there.
    fn cut_off(&mut self, id: &InstanceId, end: RunEnd) -> Vec<u64> {
        let now = self.now;
        let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()) else { return Vec::new() };
        let mut cut = Vec::new();
        for slot in d.slots.iter_mut().filter(|s| s.ended.is_none()) {
            slot.ended = Some(now);
            cut.push(slot.execution);
            let run =
                usize::try_from(slot.execution).ok().and_then(|n| self.truth.executions.get_mut(n)).and_then(|e| e.runs.get_mut(slot.run));
            if let Some(run) = run {
                (run.ended, run.end) = (Some(now), Some(end));
            }
        }
        cut
    }

    /// The machine stops: what runs on it is lost.
    pub(super) fn lose_work(&mut self, id: &InstanceId) -> Vec<u64> {
        let lost = self.cut_off(id, RunEnd::Lost);
        self.down(id);
        lost
    }

    /// No process any more: its checks fail from now on.
    fn down(&mut self, id: &InstanceId) {
        let now = self.now;
        let Some(i) = self.instances.get_mut(id) else { return };
        if let Some(up) = i.service.up.take() {
            (i.service.last_up, i.service.last_down) = (Some(up), Some(now));
        }
        let was_open = i.daemon.as_mut().is_some_and(|d| d.started.take().is_some() && d.open);
        if was_open {
            self.note_intake(id, false);
        }
        self.watch_health(id);
    }

    /// The machine has come so far that its service runs.
    pub(super) fn service_up(&mut self, id: &InstanceId, generation: u32) {
        let now = self.now;
        let Some(i) = self.instances.get_mut(id).filter(|i| i.ec2 == Ec2State::Running) else { return };
        let queue = i.queue.clone();
        let Some(d) = i.daemon.as_mut() else {
            i.service.up.get_or_insert(now);
            return;
        };
        if d.started.is_some() || d.stopped || d.generation != generation {
            return;
        }
        d.started = Some(now);
        (d.stopping, d.deadlocked) = (false, false);
        if generation > 0 && d.behaviour.switch != Switch::Obeys {
            (d.open, d.told, d.closed_since) = (true, true, None);
        }
        let (open, works) = (d.open, d.behaviour.works);
        match works {
            Works::Yes => {
                i.service.up = Some(now);
                if open {
                    self.note_intake(id, true);
                }
                self.dispatch(&queue);
            }
            Works::NeverHealthy => {}
            Works::CrashLoops => {
                let delay = Duration::from_secs(self.rng.random_range(3..15));
                self.after(delay, Event::CrashLoop(id.clone(), generation));
            }
        }
    }

    pub(super) fn crash_loop(&mut self, id: &InstanceId, generation: u32) {
        if self.instances.get(id).and_then(|i| i.daemon.as_ref()).is_some_and(|d| d.generation == generation) {
            self.crash_orchestrator(id);
        }
    }

    /// Its process dies; the service manager starts the next one unless it was stopping, the queue delivers the interrupted work again.
    pub fn crash_orchestrator(&mut self, id: &InstanceId) {
        if !self.orchestrator_runs(id) {
            return;
        }
        let interrupted = self.cut_off(id, RunEnd::Interrupted);
        self.down(id);
        let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()) else { return };
        d.generation += 1;
        d.stopped = std::mem::take(&mut d.stopping);
        let (generation, stopped, restart, redelivery) = (d.generation, d.stopped, d.behaviour.restart, d.behaviour.redelivery);
        if !stopped {
            let restart = restart.draw(&mut self.rng);
            self.after(restart, Event::ServiceUp(id.clone(), generation));
        }
        for execution in interrupted {
            let delay = redelivery.draw(&mut self.rng);
            self.after(delay, Event::Redeliver(execution));
        }
    }

    pub(super) fn redeliver(&mut self, execution: u64) {
        let Some(queue) = usize::try_from(execution).ok().and_then(|n| self.truth.executions.get(n)).map(|e| e.queue.clone()) else {
            return;
        };
        self.queues.entry(queue.clone()).or_default().push_back(execution);
        self.dispatch(&queue);
    }

    /// It answers nothing for this long; its work goes on.
    pub fn hang_orchestrator(&mut self, id: &InstanceId, how_long: Duration) {
        let until = self.now + how_long;
        if let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()) {
            d.hung_until = until;
        }
    }

    /// It answers nothing until its process ends; its work goes on.
    pub fn deadlock_orchestrator(&mut self, id: &InstanceId) {
        if let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()) {
            d.deadlocked = true;
        }
    }

    /// It lies for this long.
    pub fn lie(&mut self, id: &InstanceId, lie: Lie, endpoint: Option<Endpoint>, how_long: Duration) {
        let (now, until) = (self.now, self.now + how_long);
        if let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()) {
            d.lies.retain(|(_, _, until)| now < *until);
            d.lies.push((lie, endpoint, until));
        }
    }

    /// Turns its intake switch; false when it refuses to be told.
    pub(super) fn turn_switch(&mut self, id: &InstanceId, open: bool) -> bool {
        let now = self.now;
        let Some(i) = self.instances.get_mut(id) else { return false };
        let queue = i.queue.clone();
        let Some(d) = i.daemon.as_mut() else { return false };
        match d.behaviour.switch {
            Switch::Refuses => return false,
            Switch::Ignores => return true,
            Switch::Lies => {
                d.told = open;
                return true;
            }
            Switch::Obeys | Switch::Forgets => d.told = open,
        }
        if d.open != open {
            d.open = open;
            d.closed_since = (!open).then_some(now);
            self.note_intake(id, open);
            if open {
                self.dispatch(&queue);
            }
        }
        true
    }

    /// Tells it to stop: it takes nothing new, and is gone when it is empty or after the grace; what runs then is lost. A restart that the
    /// service manager had in mind does not happen.
    pub fn stop_orchestrator(&mut self, id: &InstanceId, grace: Duration) {
        let now = self.now;
        let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()).filter(|d| !d.stopped && !d.stopping) else {
            return;
        };
        (d.stopping, d.told_while_hung) = (true, d.is_hung(now.saturating_sub(NOTICED_WITHIN)));
        let (generation, empty) = (d.generation, d.running().is_empty());
        if empty {
            self.halt(id);
        } else {
            self.after(grace, Event::StopGrace(id.clone(), generation));
        }
    }

    pub(super) fn stop_grace_over(&mut self, id: &InstanceId, generation: u32) {
        let stopping = self.instances.get(id).and_then(|i| i.daemon.as_ref()).is_some_and(|d| d.stopping && d.generation == generation);
        if !stopping {
            return;
        }
        let hung = self.instances.get(id).and_then(|i| i.daemon.as_ref()).is_some_and(|d| d.is_hung(self.now) || d.told_while_hung);
        if hung {
            // One that hangs, or did when it was told, is killed as a crash would, and the queue delivers its work again.
            let redelivery = self.instances.get(id).and_then(|i| i.daemon.as_ref()).map(|d| d.behaviour.redelivery);
            for execution in self.cut_off(id, RunEnd::Interrupted) {
                let delay = redelivery.map(|span| span.draw(&mut self.rng)).unwrap_or_default();
                self.after(delay, Event::Redeliver(execution));
            }
        } else {
            self.cut_off(id, RunEnd::Lost);
        }
        self.halt(id);
    }

    fn halt(&mut self, id: &InstanceId) {
        self.down(id);
        if let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()) {
            d.generation += 1;
            (d.stopping, d.stopped) = (false, true);
        }
    }

    /// Starts it again after a stop.
    pub fn start_orchestrator(&mut self, id: &InstanceId) {
        let Some(d) = self.instances.get_mut(id).and_then(|i| i.daemon.as_mut()) else { return };
        d.stopping = false;
        if d.stopped {
            d.stopped = false;
            let (generation, restart) = (d.generation, d.behaviour.restart);
            let delay = restart.draw(&mut self.rng);
            self.after(delay, Event::ServiceUp(id.clone(), generation));
        }
    }

    fn note_intake(&mut self, id: &InstanceId, open: bool) {
        let generation = self.instances.get(id).and_then(|i| i.daemon.as_ref()).map_or(0, |d| d.generation);
        self.truth.intake.push(IntakeChange { at: self.now, instance: id.clone(), open, generation });
    }
}
