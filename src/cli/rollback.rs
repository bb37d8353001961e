//! `bellrock rollback APPLICATION`: prints the plan, asks, carries it out, says how it ended and what continues it.

mod args;
mod ask;
mod here;
mod progress;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::Exit;
use super::Failure;
use super::Output;
use crate::cloud::aws;
use crate::cloud::aws::Aws;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::rollback;
use crate::rollback::Journal;
use crate::rollback::Outcome;
use crate::rollback::Plan;
use crate::rollback::Report;
use crate::rollback::Request;
use crate::rollback::World;
use crate::rollback::show;
pub(super) use args::Args;
use ask::Http;
use progress::Progress;

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let state = here::state_dir(context);
    let request = args::request(&args, context);
    let again = args::again(&args, &request);
    let _lock = if args.dry_run { None } else { Some(here::lock(&state, &args.application)?) };
    let (cancel, begun, sink) = (CancellationToken::new(), OnceLock::new(), Progress::new());
    let run = Run { args: &args, context, state: &state, request: &request, again: &again, cancel: &cancel, begun: &begun, sink: &sink };
    let ended = super::runtime()?.block_on(until_signalled(run.go(), &cancel));
    sink.finish();
    match (ended, begun.get()) {
        (Some(ended), _) => ended,
        (None, None) => Err(Failure::refused("rollback-not-confirmed", "interrupted before the first change; nothing was changed")),
        (None, plan) => {
            let nothing = Report { clusters: Vec::new(), took: Duration::ZERO, changes: 0, verified: Vec::new() };
            say(context, "Stopped at once; the journal has what was done.\n");
            tell(context, plan, &Outcome::Paused(nothing), &again)
        }
    }
}

/// One run of the command, under one listener for signals from its first call to its last.
struct Run<'a> {
    args: &'a Args,
    context: &'a Context,
    state: &'a Path,
    request: &'a Request,
    again: &'a str,
    cancel: &'a CancellationToken,
    /// The plan, once it was agreed to.
    begun: &'a OnceLock<Plan>,
    sink: &'a Progress,
}

impl Run<'_> {
    async fn go(&self) -> Result<Exit, Failure> {
        let (args, context) = (self.args, self.context);
        let clock = SystemClock::start();
        let service = Http::new()?;
        let settings = aws::Settings {
            region: args.region.clone(),
            profile: args.profile.clone(),
            endpoint: args.endpoint.clone(),
            ..aws::Settings::default()
        };
        let aws = match Aws::connect(&settings).await {
            Ok(aws) => aws,
            Err(error) => return tell(context, None, &Outcome::Blind(error), self.again),
        };
        let none = Journal::none();
        let seed = RandomState::new().hash_one(&self.request.owner);
        let (sink, cancel) = (self.sink, self.cancel);
        let world = World { scaling: &aws, balancing: &aws, service: &service, clock: &clock, journal: &none, sink, cancel, seed };
        let (plan, facts) = match rollback::prepare(&world, self.request).await {
            Ok(prepared) => prepared,
            Err(no_plan) => return tell(context, None, &no_plan.into(), self.again),
        };
        if args.dry_run {
            let text = || format!("{}\nDry run; nothing was changed.\n", show::plan(&plan));
            context.print(text, &json!({ "outcome": "dry_run", "plan": plan }))?;
            return Ok(Exit::Done);
        }
        say(context, &show::plan(&plan));
        if !args.yes {
            ask::confirm(cancel).await?;
        }
        let path = args.journal.clone().unwrap_or_else(|| {
            let time: String = clock.now().wall.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
            self.state.join(format!("rollback-{}-{time}.jsonl", here::plain(&args.application)))
        });
        let journal = Journal::open(&path).map_err(|e| {
            Failure::refused("rollback-journal", format!("cannot write {}; nothing was changed", path.display()))
                .because(&e)
                .help("free space, or name another file with --journal FILE")
        })?;
        say(context, &format!("Journal: {}\n", path.display()));
        let plan = self.begun.get_or_init(|| plan);
        let report = rollback::execute(&World { journal: &journal, ..world }, plan, facts).await;
        sink.finish();
        tell(context, Some(plan), &Outcome::from(report), self.again)
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

fn tell(context: &Context, plan: Option<&Plan>, outcome: &Outcome, again: &str) -> Result<Exit, Failure> {
    let (word, exit, report, reasons): (_, _, Option<&Report>, Value) = match outcome {
        Outcome::Done(report) => ("done", Exit::Done, Some(report), Value::Null),
        Outcome::Failed(report) => ("failed", Exit::Failed, Some(report), Value::Null),
        Outcome::Paused(report) => ("paused", Exit::Paused, Some(report), Value::Null),
        Outcome::Refused(refusals) => ("refused", Exit::Refused, None, json!(refusals)),
        Outcome::Blind(error) => ("blind", Exit::Failed, None, json!([{ "code": "rollback-blind", "message": error.to_string() }])),
    };
    let again_if_open = (matches!(exit, Exit::Paused | Exit::Failed) && report.is_some()).then_some(again);
    let document = json!({ "outcome": word, "plan": plan, "report": report, "reasons": reasons, "continue": again_if_open });
    context.print(|| show::outcome(outcome, again), &document)?;
    Ok(exit)
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
