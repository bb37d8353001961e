//! `bellrock rollback APPLICATION`: prints the plan, asks, carries it out, says how it ended and what continues it.
//!
//! With several regions all are planned before the first is touched, and the next is begun only when the one before is done.

mod account;
pub(super) mod args;
pub(super) mod ask;
pub(super) mod here;
mod notify;
mod progress;
mod timeline;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::Exit;
use super::Failure;
use super::Output;
use crate::cloud::aws::Aws;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::rollback;
use crate::rollback::Facts;
use crate::rollback::Journal;
use crate::rollback::NoPlan;
use crate::rollback::Outcome;
use crate::rollback::Plan;
use crate::rollback::Request;
use crate::rollback::World;
use crate::rollback::show;
use account::Account;
use account::Ending;
use account::Part;
pub(super) use args::Args;
use ask::Http;
use notify::Notifier;
use progress::Progress;
use timeline::Timeline;

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let state = here::state_dir(context);
    let notifier = Notifier::new(&args, context)?;
    let request = Request { notifies: notifier.tells(), ..args::request(&args, context) };
    let clock = SystemClock::start();
    let account = Account::open(&args, &request, clock.now().wall)?;
    let service = Http::new()?;
    let _lock = if args.dry_run { None } else { Some(here::lock(&state, &args.subject.application)?) };
    let (cancel, progress, parts) = (CancellationToken::new(), Progress::new(), Mutex::default());
    let (runtime, seed) = (super::runtime()?, RandomState::new().hash_one(&request.owner));
    let run = Run {
        args: &args,
        context,
        state: &state,
        request: &request,
        service: &service,
        notifier: &notifier,
        cancel: &cancel,
        progress: &progress,
        parts: &parts,
        clock,
        seed,
    };
    let ended = runtime.block_on(until_signalled(run.go(), &cancel));
    progress.finish();
    let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
    let ending = match ended {
        Some(ended) => ended?,
        None if parts.iter().any(|part| part.begun) => {
            say(context, "Stopped at once; the journal has what was done.\n");
            account::dropped(&mut parts);
            Ending::Ran
        }
        None => return Err(Failure::refused("rollback-not-confirmed", "interrupted before the first change; nothing was changed")),
    };
    let told = account.tell(context, ending, &parts, run.clock.now().wall)?;
    if let Some((event, text)) = told.notice {
        runtime.block_on(notifier.tell(event, &text));
    }
    Ok(told.exit)
}

/// One run of the command, under one listener for signals from its first call to its last.
struct Run<'a> {
    args: &'a Args,
    context: &'a Context,
    state: &'a Path,
    request: &'a Request,
    service: &'a Http,
    notifier: &'a Notifier,
    cancel: &'a CancellationToken,
    progress: &'a Progress,
    /// Each region as far as it has come: what is left of a run that is dropped.
    parts: &'a Mutex<Vec<Part<'a>>>,
    clock: SystemClock,
    seed: u64,
}

/// A region that has something to do, by its place among the parts.
struct Site {
    n: usize,
    aws: Aws,
    plan: Plan,
    facts: Facts,
}

enum Next {
    Begin,
    PassOver,
    Stop,
}

impl<'a> Run<'a> {
    async fn go(&self) -> Result<Ending, Failure> {
        let sites = self.plan_all().await;
        if account::has_no_plan(&self.parts()) {
            return Ok(Ending::NoPlan);
        }
        if self.args.dry_run {
            return Ok(Ending::DryRun);
        }
        say(self.context, &account::plans(&self.parts()));
        if !self.args.yes {
            ask::confirm(self.cancel, |what| Failure::refused("rollback-not-confirmed", what)).await?;
        }
        for (begun, mut site) in sites.into_iter().enumerate() {
            match self.next(&mut site, begun == 0).await? {
                Next::Begin => {}
                Next::PassOver => continue,
                Next::Stop => break,
            }
            let Site { n, aws, plan, facts } = site;
            let (journal, told) = (self.journal(n)?, account::begins(self.request, &self.parts()));
            let timeline = self.begin(n);
            let world = World { journal: &journal, ..self.world(&aws, &journal, &timeline) };
            let start = async {
                if begun == 0 {
                    self.notifier.tell("start", &told).await;
                }
            };
            let (report, ()) = tokio::join!(rollback::execute(&world, &plan, facts), start);
            let outcome = Outcome::from(report);
            let is_done = matches!(outcome, Outcome::Done(_));
            self.parts()[n].outcome = Some(outcome);
            if !is_done {
                break;
            }
        }
        Ok(Ending::Ran)
    }

    /// Reads and plans each region. A part for each; of those that have something to do also a site.
    async fn plan_all(&self) -> Vec<Site> {
        let mut sites = Vec::new();
        for (n, region) in self.args.subject.regions().into_iter().enumerate() {
            let timeline = Arc::new(Timeline::new(self.progress));
            let name = region.clone().unwrap_or_else(|| "the region in use".to_owned());
            let mut part = Part { region: name, plan: None, outcome: None, begun: false, journal: None, timeline: Arc::clone(&timeline) };
            match Aws::connect(&self.args.subject.settings(region, &self.request.owner)).await {
                Err(error) => part.outcome = Some(Outcome::Blind(error)),
                Ok(aws) => {
                    aws.region().clone_into(&mut part.region);
                    match self.prepare(&aws, &timeline).await {
                        Err(none) => part.outcome = Some(none.into()),
                        Ok((plan, facts)) => {
                            part.plan = Some(plan.clone());
                            sites.push(Site { n, aws, plan, facts });
                        }
                    }
                }
            }
            self.parts().push(part);
        }
        sites
    }

    /// What to do with a region. One that comes after others is read anew first, when it has been waited for as long as was asked.
    async fn next(&self, site: &mut Site, is_first: bool) -> Result<Next, Failure> {
        if is_first {
            return Ok(Next::Begin);
        }
        // Both arms are cancel-safe: neither holds anything.
        tokio::select! {
            () = tokio::time::sleep(self.args.wait_between) => {}
            () = self.cancel.cancelled() => return Ok(Next::Stop),
        }
        let timeline = Arc::clone(&self.parts()[site.n].timeline);
        let (plan, facts) = match self.prepare(&site.aws, &timeline).await {
            Ok(prepared) => prepared,
            Err(none) => {
                let outcome = none.into();
                let next = if account::is_idle(&outcome) { Next::PassOver } else { Next::Stop };
                self.parts()[site.n].outcome = Some(outcome);
                return Ok(next);
            }
        };
        let is_other = account::targets(&plan) != account::targets(&site.plan);
        self.parts()[site.n].plan = Some(plan.clone());
        (site.plan, site.facts) = (plan, facts);
        if is_other {
            say(self.context, &format!("{} has changed meanwhile; the plan is now\n{}", site.aws.region(), show::plan(&site.plan)));
            if !self.args.yes {
                ask::confirm(self.cancel, |what| Failure::refused("rollback-not-confirmed", what)).await?;
            }
        }
        Ok(Next::Begin)
    }

    fn parts(&self) -> MutexGuard<'a, Vec<Part<'a>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, n: usize) -> Arc<Timeline<'a>> {
        let mut parts = self.parts();
        parts[n].begun = true;
        Arc::clone(&parts[n].timeline)
    }

    async fn prepare(&self, aws: &Aws, timeline: &Timeline<'_>) -> Result<(Plan, Facts), NoPlan> {
        rollback::prepare(&self.world(aws, &Journal::none(), timeline), self.request).await
    }

    fn world<'w>(&'w self, aws: &'w Aws, journal: &'w Journal, sink: &'w Timeline<'_>) -> World<'w> {
        let (service, clock, cancel, seed) = (self.service, &self.clock, self.cancel, self.seed);
        World { scaling: aws, compute: aws, caller: aws, balancing: aws, service, clock, journal, sink, cancel, seed }
    }

    fn journal(&self, n: usize) -> Result<Journal, Failure> {
        let region = self.args.subject.region.get(n).filter(|_| self.args.subject.region.len() > 1);
        let path = match (&self.args.journal, region) {
            (Some(path), None) => path.clone(),
            (Some(path), Some(region)) => path.with_added_extension(region),
            (None, region) => {
                let time: String = self.clock.now().wall.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
                let region = region.map(|region| format!("-{}", here::plain(region))).unwrap_or_default();
                self.state.join(format!("rollback-{}-{time}{region}.jsonl", here::plain(&self.args.subject.application)))
            }
        };
        let journal = Journal::open(&path).map_err(|e| {
            Failure::refused("rollback-journal", format!("cannot write {}; nothing was changed", path.display()))
                .because(&e)
                .help("free space, or name another file with --journal FILE")
        })?;
        say(self.context, &format!("Journal: {}\n", path.display()));
        self.parts()[n].journal = Some(path);
        Ok(journal)
    }
}

/// Prints beside the answer: to stdout for people, to stderr when stdout is for a program.
fn say(context: &Context, text: &str) {
    // When nobody can read it any more the work is still to be done.
    let _ = match context.output {
        Output::Text => anstream::stdout().write_all(text.as_bytes()),
        Output::Json => anstream::stderr().write_all(text.as_bytes()),
    };
}

/// The first signal asks for a stop after the call in flight, the second drops the work where it is.
async fn until_signalled<T>(work: impl Future<Output = T>, cancel: &CancellationToken) -> Option<T> {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return Some(work.await);
    };
    tokio::pin!(work);
    loop {
        // Cancel-safe: `work` is pinned outside and kept, signals that come meanwhile are remembered.
        tokio::select! {
            done = &mut work => return Some(done),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if cancel.is_cancelled() {
            return None;
        }
        cancel.cancel();
        let _ = writeln!(anstream::stderr(), "Stopping after the call in flight; once more stops at once. Both can be continued.");
    }
}
