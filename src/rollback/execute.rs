//! Carries a plan out: look, ask [`Progress::advance`](super::advance::Progress::advance) what comes next, do it, look again. No judgement of its own.
//!
//! What must stay true: a journal line is on disk before each change; a failed look or step is repeated with growing, jittered pauses
//! within the time allowed; clusters go side by side, and one that stops does not stop the others; dropping the future at any await
//! leaves something that a rerun finishes.

mod call;
mod service;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg32;
use tokio::time::sleep;
use tokio::time::timeout;

use super::World;
use super::advance::Next;
use super::advance::Progress;
use super::advance::Stage;
use super::advance::Step;
use super::advance::Stop;
use super::facts;
use super::facts::Backend;
use super::facts::Facts;
use super::journal::request_id;
use super::kept;
use super::plan::ClusterPlan;
use super::plan::LeftOut;
use super::plan::Plan;
use super::plan::Request;
use super::plan::alive;
use super::report::ClusterReport;
use super::report::Event;
use super::report::Report;
use super::wait;
use crate::cloud;
use crate::cloud::Kind;
use crate::model::GroupName;
use crate::model::Moment;
use crate::model::weight;

use call::carry_out;
use service::Service;

/// Between looks while waiting for what takes its time.
const LOOK_EVERY: Duration = Duration::from_millis(750);
/// Between looks while news is due: what is added to the time that AWS itself needs is about this and [`AGREE_AFTER`].
const LOOK_SOON: Duration = Duration::from_millis(250);
/// How long after a look its steps may still be begun, by the wall clock: somebody else may have been at the groups since. Shorter, and a region that
/// answers slowly is never written to.
const LOOK_HOLDS_MS: i64 = 15_000;
/// Between looks after two minutes without any news; an account's request bucket is shared (draining.md §4.12).
const LOOK_EVERY_LATER: Duration = Duration::from_secs(3);
/// Before the second look that has to agree with the first.
const AGREE_AFTER: Duration = Duration::from_millis(200);
/// Limit of the question what was done last to a group that somebody else has changed.
const WHO_LIMIT: Duration = Duration::from_secs(10);
/// First pause after a failure; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Instances that AWS has not begun to launch within this are asked after, and again after as long.
const WHY_AFTER: Duration = Duration::from_secs(20);
/// Looks that fail in a way nobody expects, in a row, before it is given up.
const BAD_LOOKS: u32 = 5;

struct Work<'a> {
    plan: &'a ClusterPlan,
    progress: Progress,
    waiting: String,
    not_before: Option<Moment>,
    failures: u32,
    /// Looks of its own that failed, while those of other clusters did not.
    trouble: Trouble,
    survey: bool,
    /// Since when instances are missing that AWS should have begun to launch, or when AWS was last asked why.
    missing: Option<Moment>,
    stop: Option<Stop>,
    changes: usize,
}

impl Work<'_> {
    fn is_open(&self) -> bool {
        self.stop.is_none() && self.progress.stage() != Stage::Done
    }

    /// Open, and not in a pause after a failure.
    fn is_due(&self, at: Moment) -> bool {
        self.is_open() && self.not_before.is_none_or(|due| at.mono >= due.mono)
    }
}

/// Carries the plan out, from these facts on.
pub async fn execute(world: &World<'_>, plan: &Plan, mut facts: Facts) -> Report {
    let started = world.clock.now();
    let mut jitter = Pcg32::seed_from_u64(world.seed);
    let mut work: Vec<Work<'_>> = plan.clusters.iter().map(Work::new).collect();
    let mut service = Service::new(&plan.request.service_urls);
    let mut last_news = started;
    if let Err(problem) = world.journal.note(started.wall, "plan", plan) {
        stop_all(&mut work, |_| Stop::Journal { problem: problem.to_string() });
    }
    while work.iter().any(Work::is_open) {
        let now = world.clock.now();
        if world.cancel.is_cancelled() {
            stop_all(&mut work, |_| Stop::Interrupted);
            break;
        }
        if now.since(started) >= plan.request.timeout + plan.request.bake {
            stop_all(&mut work, |w| Stop::OutOfTime { waiting: w.waiting.clone() });
            break;
        }
        let looked = now;
        look(world, &plan.request.application, &mut work, &mut facts, looked, &mut jitter).await;
        let now = world.clock.now();
        let (mut todo, mut stopped) = (Vec::new(), Vec::new());
        let mut again = false;
        let mut at_service = true;
        let mut survey = false;
        let mut wondering = BTreeSet::new();
        for w in work.iter_mut().filter(|w| w.is_open()) {
            // What was not looked at just now is not judged either.
            if !w.is_due(looked) {
                at_service = false;
                continue;
            }
            let before = w.progress.stage();
            let next = w.progress.advance(w.plan, &facts, &plan.request, service.answered, now);
            let stage = w.progress.stage();
            if stage != before {
                last_news = now;
                world.sink.tell(&Event::Stage { cluster: w.plan.cluster.clone(), stage });
            }
            at_service &= matches!(next, Next::AskService);
            wondering.extend(w.wonders(&mut facts, now));
            match next {
                Next::Do(steps) => todo.push((w, steps)),
                Next::Wait(text) => w.wait(world, &facts, &plan.request, text),
                Next::Agree(text) => {
                    again = true;
                    w.wait(world, &facts, &plan.request, text);
                }
                Next::AskService => w.wait(world, &facts, &plan.request, "the service to answer".to_owned()),
                Next::Survey => {
                    w.survey = true;
                    survey = true;
                }
                Next::Done => {}
                Next::Stop(stop) => stopped.push((w, stop)),
            }
        }
        for (w, stop) in stopped {
            let stop = explain(world, stop).await;
            w.halt(world, stop);
        }
        if !todo.is_empty() {
            last_news = now;
            let pauses: Vec<Duration> = todo.iter().map(|(w, _)| pause(w.failures + 1, &mut jitter)).collect();
            join_all(todo.into_iter().zip(pauses).map(|((w, steps), pause)| carry_out_all(world, w, steps, pause, looked))).await;
            continue;
        }
        if survey {
            continue;
        }
        if work.iter().any(|w| w.is_open() && w.progress.is_baking()) {
            service.ask_again(world).await;
        } else if at_service && !service.answered {
            if let Some(problem) = service.ask(world).await {
                stop_all(&mut work, |_| Stop::ServiceSilent { problem: problem.clone() });
            }
            continue;
        }
        if !work.iter().any(Work::is_open) {
            break;
        }
        facts::reread_launches(world.scaling, &mut facts, &wondering).await;
        let quiet = now.since(last_news) > Duration::from_secs(120);
        let soon = work.iter().any(|w| w.is_open() && w.progress.is_news_due(w.plan, now));
        let idle = match again {
            true => AGREE_AFTER,
            false if soon => LOOK_SOON,
            false if quiet => LOOK_EVERY_LATER,
            false => LOOK_EVERY,
        };
        let due = work.iter().filter(|w| w.is_open()).map(|w| w.not_before.unwrap_or(now).since(now)).min().unwrap_or_default();
        nap(world, due.max(idle)).await;
    }
    finish(world, plan, work, &facts, &service, started)
}

/// Asks AWS who may have changed what somebody else has changed.
async fn explain(world: &World<'_>, stop: Stop) -> Stop {
    match stop {
        Stop::ChangedByAnother { group, differences, .. } => {
            let activity = timeout(WHO_LIMIT, facts::newest_activity(world.scaling, &group)).await.ok().flatten();
            Stop::ChangedByAnother { group, differences, activity }
        }
        other => other,
    }
}

/// One look: one describe for all clusters that are due, then the health that they want. A cluster whose part of it fails has a pause,
/// or stops; the others go on.
async fn look(world: &World<'_>, application: &str, work: &mut [Work<'_>], facts: &mut Facts, at: Moment, jitter: &mut Pcg32) {
    if let Err(error) = survey(world, application, work, facts, at).await {
        meet_all(world, work.iter_mut().filter(|w| w.is_due(at) && w.survey), &error, jitter);
    }
    work.iter_mut().for_each(|w| w.survey = false);
    let names = |w: &Work<'_>| w.plan.held().cloned().collect::<Vec<_>>();
    let all: Vec<GroupName> = work.iter().filter(|w| w.is_due(at)).flat_map(names).collect();
    if all.is_empty() {
        return;
    }
    match facts::reread_groups(world.scaling, facts, &all, world.seed).await {
        Ok(()) => {}
        Err(error) if error.is_retryable() => return meet_all(world, work.iter_mut().filter(|w| w.is_due(at)), &error, jitter),
        // One cluster's groups may be what spoils the answer about all.
        Err(_) => {
            for w in work.iter_mut().filter(|w| w.is_due(at)) {
                if let Err(error) = facts::reread_groups(world.scaling, facts, &names(w), world.seed).await {
                    meet_all(world, [w], &error, jitter);
                }
            }
        }
    }
    facts.described = Some(at);
    let wants: BTreeSet<Backend> = work.iter().filter(|w| w.is_due(at)).flat_map(|w| w.progress.wants(w.plan, facts)).collect();
    let unread = facts::reread_health(world.balancing, facts, &wants, world.seed).await;
    for w in work.iter_mut().filter(|w| w.is_due(at)) {
        match w.progress.wants(w.plan, facts).iter().find_map(|backend| unread.get(backend)) {
            Some(error) => meet_all(world, [w], error, jitter),
            None => w.trouble = Trouble::default(),
        }
    }
}

/// Reads the application's groups anew when a cluster has asked for it.
async fn survey(world: &World<'_>, application: &str, work: &[Work<'_>], facts: &mut Facts, at: Moment) -> cloud::Result<()> {
    if work.iter().any(|w| w.is_due(at) && w.survey) {
        facts::resurvey(world.scaling, facts, application, world.seed, at).await
    } else {
        Ok(())
    }
}

/// A look of these clusters failed.
fn meet_all<'w, 'p: 'w>(world: &World<'_>, work: impl IntoIterator<Item = &'w mut Work<'p>>, error: &cloud::Error, jitter: &mut Pcg32) {
    world.sink.tell(&Event::Trouble { text: error.to_string() });
    for w in work {
        match w.trouble.met(error.clone()) {
            Some(stop) => w.halt(world, stop),
            None => w.not_before = Some(world.clock.now().plus(pause(w.trouble.looks, jitter))),
        }
    }
}

/// Steps of one kind at once, kinds in order; what could not be done ends the round for this cluster.
async fn carry_out_all(world: &World<'_>, work: &mut Work<'_>, steps: Vec<Step>, pause: Duration, looked: Moment) {
    let cluster = work.plan.cluster.clone();
    for batch in steps.chunk_by(|a, b| a.may_go_with(b)) {
        let now = world.clock.now();
        // Decided before this machine slept: the world has moved on.
        if world.cancel.is_cancelled() || now.wall.0 - looked.wall.0 > LOOK_HOLDS_MS {
            return;
        }
        if let Some(problem) = batch.iter().find_map(|step| world.journal.intend(now.wall, &cluster, step).err()) {
            return work.halt(world, Stop::Journal { problem: problem.to_string() });
        }
        let results = join_all(batch.iter().map(|step| carry_out(world, step))).await;
        let now = world.clock.now();
        let mut failed = false;
        for (step, result) in batch.iter().zip(results) {
            let noted = world.journal.result(now.wall, &cluster, step, &result);
            let request_id = request_id(&result).map(str::to_owned);
            let error = result.err();
            world.sink.tell(&Event::Step {
                cluster: cluster.clone(),
                step: step.to_string(),
                error: error.as_ref().map(ToString::to_string),
                request_id,
            });
            let stop = match error {
                None => {
                    work.changes += 1;
                    work.progress.succeeded(step, now);
                    None
                }
                Some(error) => {
                    failed = true;
                    work.waiting = format!("{step} to succeed ({error})");
                    work.progress.failed(step, &error, now)
                }
            };
            if let Some(stop) = stop.or(noted.err().map(|problem| Stop::Journal { problem: problem.to_string() })) {
                work.halt(world, stop);
            }
        }
        if failed {
            work.failures += 1;
            work.not_before = Some(now.plus(pause));
            return;
        }
        work.failures = 0;
        work.not_before = None;
        if work.stop.is_some() {
            return;
        }
    }
}

impl<'a> Work<'a> {
    fn new(plan: &'a ClusterPlan) -> Self {
        let waiting = "a first look".to_owned();
        Self {
            plan,
            progress: Progress::new(plan),
            waiting,
            not_before: None,
            failures: 0,
            trouble: Trouble::default(),
            survey: false,
            missing: None,
            stop: None,
            changes: 0,
        }
    }

    /// The restored group, when AWS is to be asked why its instances do not come: now and then, while it has fewer than it should launch.
    fn wonders(&mut self, facts: &mut Facts, at: Moment) -> Option<GroupName> {
        let name = &self.plan.restore.name;
        let group = facts.group(name)?;
        let missing = matches!(self.progress.stage(), Stage::Canary | Stage::Await) && weight(alive(group)) < group.capacity.desired;
        if !missing {
            self.missing = None;
            facts.launch_failures.remove(name);
            return None;
        }
        let since = *self.missing.get_or_insert(at);
        let due = at.since(since) >= WHY_AFTER;
        if due {
            self.missing = Some(at);
        }
        due.then(|| name.clone())
    }

    fn wait(&mut self, world: &World<'_>, facts: &Facts, request: &Request, text: String) {
        let group = facts.group(&self.plan.restore.name);
        world.sink.tell(&Event::Waiting {
            cluster: self.plan.cluster.clone(),
            stage: self.progress.stage(),
            serving: group.map_or(0, |g| facts.serving_weight(g)),
            count: self.plan.count,
            text: text.clone(),
            usual: wait::usual(self.plan, facts, self.progress.stage(), request.settle),
            look_at: wait::look_at(self.plan, facts, self.progress.stage()),
        });
        self.waiting = text;
    }

    fn halt(&mut self, world: &World<'_>, stop: Stop) {
        world.sink.tell(&Event::Stopped { cluster: self.plan.cluster.clone(), code: stop.code(), text: stop.to_string() });
        self.stop = Some(stop);
    }
}

fn stop_all(work: &mut [Work<'_>], why: impl Fn(&Work<'_>) -> Stop) {
    for w in work.iter_mut().filter(|w| w.is_open()) {
        w.stop = Some(why(w));
    }
}

/// Looks that failed in a row.
#[derive(Default)]
struct Trouble {
    looks: u32,
    odd: u32,
}

impl Trouble {
    fn met(&mut self, error: cloud::Error) -> Option<Stop> {
        self.looks += 1;
        match error.kind {
            Kind::Throttled | Kind::Unavailable | Kind::TimedOut | Kind::Conflict => None,
            Kind::Denied => Some(Stop::Denied { error }),
            Kind::Gone | Kind::Refused | Kind::Bug => {
                self.odd += 1;
                (self.odd >= BAD_LOOKS).then_some(Stop::Refused { error })
            }
        }
    }
}

fn finish(world: &World<'_>, plan: &Plan, work: Vec<Work<'_>>, facts: &Facts, service: &Service<'_>, started: Moment) -> Report {
    let now = world.clock.now();
    let all_done = work.iter().all(|w| w.stop.is_none());
    let changes = work.iter().map(|w| w.changes).sum();
    let mut verified: Vec<String> = Vec::new();
    let begun = work.into_iter().map(|w| {
        if w.stop.is_none() {
            let behind = w.plan.backends.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let behind = if behind.is_empty() { "in service".to_owned() } else { format!("healthy behind {behind}") };
            let instances = if w.plan.count == 1 { "instance" } else { "instances" };
            verified.push(format!("{}: {} {instances} {behind}", w.plan.restore.name, w.plan.count));
            verified.extend(w.plan.retire.iter().filter_map(|planned| kept::account(facts.group(&planned.name)?)));
        }
        let left = if w.stop.is_some() { w.progress.left(w.plan) } else { Vec::new() };
        ClusterReport { cluster: w.plan.cluster.clone(), stage: w.progress.stage(), stop: w.stop, left }
    });
    let clusters: Vec<ClusterReport> = begun.chain(plan.left_out.iter().map(|left| left_alone(world, left))).collect();
    if all_done && service.answered {
        verified.extend(plan.request.service_urls.iter().map(|url| format!("{url} answers")));
    }
    let report = Report { clusters, took: now.since(started), changes, verified };
    if let Err(problem) = world.journal.note(now.wall, "end", &report) {
        world.sink.tell(&Event::Trouble { text: format!("the journal's last line could not be written: {problem}") });
    }
    report
}

/// What was asked for and is left alone keeps the run from being done.
fn left_alone(world: &World<'_>, left: &LeftOut) -> ClusterReport {
    let cluster = left.cluster.clone();
    let stop = Stop::NotBegun { why: left.why.clone(), next: left.next.clone() };
    world.sink.tell(&Event::Stopped { cluster: cluster.clone(), code: stop.code(), text: stop.to_string() });
    ClusterReport { cluster, stage: Stage::Hold, stop: Some(stop), left: Vec::new() }
}

/// Sleeps, or wakes early when asked to stop.
async fn nap(world: &World<'_>, time: Duration) {
    // Both arms are cancel-safe: neither holds anything.
    tokio::select! {
        () = sleep(time) => {}
        () = world.cancel.cancelled() => {}
    }
}

/// Half to all of a pause that doubles with each failure.
pub(super) fn pause(failures: u32, jitter: &mut Pcg32) -> Duration {
    let full = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX);
    full.mul_f64(jitter.random_range(0.5..=1.0))
}
