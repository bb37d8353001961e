//! The person on call: types `bellrock rollback` when the new groups have gone bad, and again after it has died or paused; goes on from another
//! machine, or takes it back and then thinks better of it, as the play says.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Director;
use super::serving;
use crate::cloud::AutoScaling;
use crate::cloud::sim::Sim;
use crate::cloud::sim::SimTime;
use crate::drill::scenario::APPLICATION;
use crate::drill::scenario::Death;
use crate::drill::scenario::Meddling;
use crate::drill::scenario::Then;
use crate::model::Capacity;
use crate::model::Clock;
use crate::model::Group;
use crate::model::GroupName;
use crate::model::HOLD_TAG;
use crate::model::Process;
use crate::rollback;
use crate::rollback::Canary;
use crate::rollback::Outcome;
use crate::rollback::Request;
use crate::rollback::kept;

/// From the new groups' going bad to the person's typing the command.
const PAGED_AFTER: Duration = Duration::from_secs(90);
/// A rollback that paused or died is started again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(20);
/// How often it is started again at most.
pub const AGAIN_AT_MOST: u32 = 100;
/// How long somebody else's change of a group stays.
const MEDDLED_FOR: Duration = Duration::from_secs(45);

/// What the person on call did.
#[derive(Clone, Debug)]
pub struct RollbackRun {
    /// When the command was first typed.
    pub from: SimTime,
    /// Every group just before.
    pub before: Vec<Group>,
    /// When it ended for good.
    pub to: SimTime,
    /// How it ended; `None` when the play ended first.
    pub outcome: Option<Outcome>,
    /// Times it was started.
    pub starts: u32,
    /// How many of each old group served its users, over time.
    pub serving: Vec<(SimTime, GroupName, usize)>,
    /// It was taken back in between.
    pub undone: Option<Undone>,
    asks: Asks,
}

/// A rollback that was taken back.
#[derive(Clone, Debug)]
pub struct Undone {
    /// When that was first typed.
    pub from: SimTime,
    /// When it had ended.
    pub to: SimTime,
    /// Every group then; empty before.
    pub after: Vec<Group>,
    /// New groups that had been set to nothing before, or of which somebody had gone into standby: what is promised of their clusters is a rollback to the newest.
    pub switched: Vec<GroupName>,
    /// Whether what somebody else had suspended since the first run's beginning still stood then: that is not the undoing's to take back.
    pub meddled: bool,
}

/// What the command that runs, or ran last, was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    RollBack,
    Resume,
    Undo,
}

/// The command, while it runs; `None` comes out when the machine died under it.
pub type Command = JoinSet<Option<Outcome>>;

impl Director<'_> {
    pub(super) fn oncall(&mut self, now: SimTime, command: &mut Option<Command>, cancel: &CancellationToken) {
        let Some(bad_at) = self.bad_at else { return };
        self.meddle(now);
        if command.is_some() {
            let old = self.play.clusters.iter().map(|c| GroupName::from(c.old.name.as_str()));
            let serving: Vec<_> = old.map(|name| (now, name.clone(), self.serving(&name))).collect();
            if let Some(run) = &mut self.rollback {
                run.serving.extend(serving);
            }
        }
        if let Some(running) = command {
            let dies = self.play.oncall.dies > 0.0 && self.rng.random_bool(self.play.oncall.dies);
            let ended = if dies { Some(Ok(None)) } else { running.try_join_next() };
            match ended {
                // The laptop dies: nothing is cleaned up, the tags stay.
                Some(Ok(None)) => {
                    running.abort_all();
                    *command = None;
                    self.news.push("on call: the laptop dies in the middle of the rollback".to_owned());
                }
                Some(Ok(Some(outcome))) => {
                    *command = None;
                    self.news.push(format!("on call: {}", describe(&outcome)));
                    self.take(now, outcome);
                }
                Some(Err(_)) | None => {}
            }
            return;
        }
        let again = match &self.rollback {
            None => now >= bad_at + PAGED_AFTER,
            Some(run) => match &run.outcome {
                Some(Outcome::Done(_) | Outcome::Refused(_)) => false,
                Some(Outcome::Paused(_) | Outcome::Failed(_) | Outcome::Blind(_)) | None => {
                    run.starts < AGAIN_AT_MOST && now >= run.to + AGAIN_AFTER
                }
            },
        };
        if again {
            *command = Some(self.type_it(now, cancel));
        }
    }

    fn type_it(&mut self, now: SimTime, cancel: &CancellationToken) -> Command {
        let before = self.groups();
        let new: Vec<GroupName> = self.play.clusters.iter().map(|c| GroupName::from(c.new.name.as_str())).collect();
        let touched = |g: &Group| g.capacity == Capacity::default() || kept::in_standby(g).next().is_some();
        let switched = before.iter().filter(|g| new.contains(&g.name) && touched(g)).map(|g| g.name.clone()).collect();
        let run = self.rollback.get_or_insert(RollbackRun {
            from: now,
            before,
            to: now,
            outcome: None,
            starts: 0,
            serving: Vec::new(),
            undone: None,
            asks: Asks::RollBack,
        });
        run.asks = match (self.play.oncall.then, &run.undone) {
            _ if run.starts == 0 || run.asks == Asks::RollBack && run.starts > 1 => Asks::RollBack,
            (Then::Resume, _) => Asks::Resume,
            (Then::Undo, None) => Asks::Undo,
            (Then::Undo, Some(undone)) if undone.after.is_empty() => Asks::Undo,
            (Then::Undo, Some(_)) | (Then::Again, _) => Asks::RollBack,
        };
        if run.asks == Asks::Undo {
            run.undone.get_or_insert(Undone { from: now, to: now, after: Vec::new(), switched, meddled: false });
        }
        let death = self.play.oncall.deaths.get(usize::try_from(run.starts).unwrap_or(usize::MAX)).copied();
        run.starts += 1;
        run.to = now;
        run.outcome = None;
        let request = Request {
            service_urls: vec!["https://shop.example/".to_owned()],
            resume: run.asks == Asks::Resume,
            undo: run.asks == Asks::Undo,
            canary: if self.play.oncall.canary { Canary::Always } else { Canary::ForMany },
            taken_over: run.asks != Asks::RollBack,
            // Whoever goes on is told nothing again.
            keep_bad: if run.asks == Asks::RollBack { self.play.oncall.keep_bad } else { 0 },
            ..Request::of(APPLICATION, "oncall@laptop")
        };
        let option = match run.asks {
            Asks::RollBack => "",
            Asks::Resume => " --resume",
            Asks::Undo => " --undo",
        };
        self.news.push(format!("on call: bellrock rollback {APPLICATION} --yes{option}"));
        let typed = Typed {
            sim: self.sim.clone(),
            clock: self.clock.clone(),
            cancel: cancel.clone(),
            seed: self.rng.random(),
            request,
            death,
            #[cfg(test)]
            plant: self.plant,
        };
        let mut task = JoinSet::new();
        task.spawn(typed.run());
        task
    }

    fn take(&mut self, now: SimTime, outcome: Outcome) {
        let groups = self.groups();
        let new: Vec<GroupName> = self.play.clusters.iter().map(|c| GroupName::from(c.new.name.as_str())).collect();
        let meddled = self.meddled && self.play.oncall.meddling == Meddling::Health;
        let Some(run) = &mut self.rollback else { return };
        run.to = now;
        match (run.asks, &outcome) {
            // It had died before its first change, or after its last: then the plain command has the last word.
            (Asks::Resume | Asks::Undo, Outcome::Refused(why)) if why.refusals.iter().all(|r| NOTHING.contains(&r.code())) => {
                run.asks = Asks::RollBack;
                run.starts = run.starts.max(2);
                // Either way all is to be as an undoing promises it.
                if let Some(undone) = &mut run.undone {
                    (undone.to, undone.after, undone.meddled) = (now, groups, meddled);
                }
            }
            // What had ended already is undone by itself, after what had not.
            (Asks::Undo, Outcome::Done(_)) if groups.iter().any(|g| new.contains(&g.name) && g.capacity == Capacity::default()) => {}
            (Asks::Undo, Outcome::Done(_)) => {
                if let Some(undone) = &mut run.undone {
                    (undone.to, undone.after, undone.meddled) = (now, groups, meddled);
                }
                run.asks = Asks::RollBack;
            }
            _ => run.outcome = Some(outcome),
        }
    }

    /// Somebody else changes a group in the middle of it, and may change it back.
    fn meddle(&mut self, now: SimTime) {
        let (Some(after), Some(run)) = (self.play.oncall.meddled_after, &self.rollback) else { return };
        let group = GroupName::from(self.play.clusters[0].old.name.as_str());
        let at = run.from + after;
        let suspends: &[Process] = match self.play.oncall.meddling {
            Meddling::Health => &[Process::HealthCheck],
            Meddling::Disables => &Process::DISABLING,
        };
        let may = match self.play.oncall.meddling {
            Meddling::Health => now < at + MEDDLED_FOR,
            // Once the switch has begun there is nothing to come between any more.
            Meddling::Disables => {
                let newest = GroupName::from(self.play.clusters[0].new.name.as_str());
                let is = |name: &GroupName, what: fn(&Group) -> bool| self.sim.with(|r| r.group_now(name).is_some_and(|g| what(&g.group)));
                is(&group, |g| g.tags.contains_key(HOLD_TAG) && !g.is_disabled()) && is(&newest, |g| g.capacity.desired > 0)
            }
        };
        if !self.meddled && now >= at && may {
            self.meddled = true;
            self.news.push(format!("somebody suspends {suspends:?} on {group}"));
            // Whatever AWS says to somebody else is no matter of the play's.
            let _ = self.sim.with(|r| r.suspend_processes(&group, suspends));
        } else if self.meddled && now >= at + MEDDLED_FOR && self.play.oncall.meddling == Meddling::Health {
            self.meddled = self.sim.with(|r| r.resume_processes(&group, suspends)).is_err();
        }
    }
}

const NOTHING: [&str; 2] = ["rollback-nothing-to-resume", "rollback-nothing-to-undo"];

/// One run of the command.
struct Typed {
    sim: Sim,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    seed: u64,
    request: Request,
    death: Option<Death>,
    #[cfg(test)]
    plant: super::Plant,
}

impl Typed {
    /// `None` when the machine has died.
    async fn run(self) -> Option<Outcome> {
        let cloud = self.sim.cloud("oncall");
        let scaling: Arc<dyn AutoScaling> = Arc::new(self.sim.cloud("oncall"));
        #[cfg(test)]
        let scaling = crate::drill::plants::mislead(self.plant, scaling);
        #[cfg(test)]
        let request = crate::drill::plants::misunderstand(self.plant, self.request);
        #[cfg(not(test))]
        let request = self.request;
        let journal = rollback::Journal::none();
        let service = Front { sim: self.sim.clone() };
        let steps = match self.death {
            Some(Death::AfterStep(step)) => step,
            Some(Death::After(_)) | None => u32::MAX,
        };
        let mortal = Mortal { left: AtomicU32::new(steps), dead: Notify::new() };
        let world = rollback::World {
            scaling: scaling.as_ref(),
            compute: &cloud,
            caller: &cloud,
            balancing: &cloud,
            service: &service,
            clock: self.clock.as_ref(),
            journal: &journal,
            sink: &mortal,
            cancel: &self.cancel,
            seed: self.seed,
        };
        let hour = match self.death {
            Some(Death::After(time)) => time,
            Some(Death::AfterStep(_)) | None => Duration::MAX,
        };
        // Nothing is cancel-safe about it: that is the point.
        tokio::select! {
            biased;
            () = mortal.dead.notified() => None,
            () = tokio::time::sleep(hour) => None,
            outcome = rollback::run(&world, &request) => Some(outcome),
        }
    }
}

/// Counts steps, and ends everything after the last one.
struct Mortal {
    left: AtomicU32,
    dead: Notify,
}

impl rollback::Sink for Mortal {
    fn tell(&self, event: &rollback::Event) {
        if matches!(event, rollback::Event::Step { .. }) && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.dead.notify_one();
        }
    }
}

/// The service as its users reach it: it answers while somebody is healthy behind the users' load balancer.
struct Front {
    sim: Sim,
}

#[async_trait]
impl rollback::Service for Front {
    async fn ask(&self, _url: &str) -> Result<(), String> {
        let healthy = self.sim.with(|r| r.group_names().iter().map(|name| serving(r, name)).sum::<usize>());
        if healthy > 0 { Ok(()) } else { Err("502 Bad Gateway".to_owned()) }
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(report) => format!("rollback done in {} s, {} changes", report.took.as_secs(), report.changes),
        Outcome::Refused(refused) => format!("rollback refused: {:?}", refused.refusals),
        Outcome::Paused(_) => "rollback paused".to_owned(),
        Outcome::Failed(report) => {
            let stops: Vec<String> = report.clusters.iter().filter_map(|c| c.stop.as_ref()).map(ToString::to_string).collect();
            format!("rollback failed: {}", stops.join("; "))
        }
        Outcome::Blind(error) => format!("rollback could not read the facts: {error}"),
    }
}
