//! `bellrock rollback APPLICATION`: prints the plan, asks, carries it out, says how it ended and what continues it.

mod progress;

use std::collections::hash_map::RandomState;
use std::fs;
use std::fs::File;
use std::hash::BuildHasher;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use fs2::FileExt;
use serde_json::Value;
use serde_json::json;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::Exit;
use super::Failure;
use super::Output;
use crate::cloud::aws;
use crate::cloud::aws::Aws;
use crate::config::parse_duration;
use crate::config::show_duration;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::rollback;
use crate::rollback::Journal;
use crate::rollback::Outcome;
use crate::rollback::Plan;
use crate::rollback::Report;
use crate::rollback::Request;
use crate::rollback::Service;
use crate::rollback::Wanted;
use crate::rollback::World;
use crate::rollback::show;
use progress::Progress;

static SETTLE: LazyLock<String> = LazyLock::new(|| show_duration(rollback::SETTLE));
static TIMEOUT: LazyLock<String> = LazyLock::new(|| show_duration(rollback::TIMEOUT));

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock rollback spinnaker --dry-run\n  \
    bellrock rollback spinnaker --service-url https://gate.example.com/health\n  \
    bellrock rollback spinnaker --cluster spinnaker-ha=3 --cluster spinnaker-ha-polling --to v023 --yes")]
pub(super) struct Args {
    /// Spinnaker application: the part of the groups' names before the first hyphen.
    application: String,
    /// Roll back this cluster only, to COUNT instances if given; may be repeated.
    #[arg(long, value_name = "NAME[=COUNT]", value_parser = wanted)]
    cluster: Vec<Wanted>,
    /// Only clusters whose names begin so.
    #[arg(long)]
    prefix: Option<String>,
    /// Restore this version instead of the previous one.
    #[arg(long, value_name = "vNNN", value_parser = version)]
    to: Option<u32>,
    /// A cluster that must never have two instances at once; one whose detail (or stack, without a detail) is `polling` is taken for one.
    #[arg(long, value_name = "CLUSTER")]
    polling: Vec<String>,
    /// No singleton, although its name says `polling`.
    #[arg(long, value_name = "CLUSTER")]
    not_polling: Vec<String>,
    /// Has to answer 2xx or 3xx in the end; may be repeated.
    #[arg(long, value_name = "URL", value_parser = url)]
    service_url: Vec<String>,
    /// How long agents may take to see the hold: as often as they read their group, and a stale read more.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = SETTLE.as_str())]
    settle: Duration,
    /// For the whole run.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = TIMEOUT.as_str())]
    timeout: Duration,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Print the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Record of the changes [default: $XDG_STATE_HOME/bellrock/rollback-APPLICATION-TIME.jsonl].
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Whose hold this is; a live one of the same owner is taken up (default: user@host).
    #[arg(long, value_name = "USER@HOST")]
    owner: Option<String>,
    /// AWS region [default: as the AWS CLI finds it].
    #[arg(long)]
    region: Option<String>,
    /// AWS profile.
    #[arg(long)]
    profile: Option<String>,
    /// One URL instead of AWS's own endpoints.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

fn wanted(text: &str) -> Result<Wanted, String> {
    let Some((name, count)) = text.split_once('=') else { return Ok(Wanted { name: text.to_owned(), count: None }) };
    match count.parse() {
        Ok(count) if count > 0 => Ok(Wanted { name: name.to_owned(), count: Some(count) }),
        Ok(_) | Err(_) => Err("COUNT is a whole number above 0".to_owned()),
    }
}

fn version(text: &str) -> Result<u32, String> {
    text.trim_start_matches('v').parse().map_err(|_| "a version looks like v023".to_owned())
}

fn url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("a URL looks like https://gate.example.com/health".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration looks like 30s, 5m or 1h30m".to_owned())
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let state = state_dir(context);
    let request = request(&args, context);
    let again = again(&args, &request);
    let _lock = if args.dry_run { None } else { Some(lock(&state, &args.application)?) };
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
            confirm(cancel).await?;
        }
        let path = args.journal.clone().unwrap_or_else(|| {
            let time: String = clock.now().wall.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
            self.state.join(format!("rollback-{}-{time}.jsonl", plain(&args.application)))
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

fn request(args: &Args, context: &Context) -> Request {
    let here = plain(&owner(context));
    let owner = args.owner.as_deref().map_or_else(|| here.clone(), plain);
    Request {
        application: args.application.clone(),
        clusters: args.cluster.clone(),
        prefix: args.prefix.clone(),
        to: args.to,
        polling: args.polling.clone(),
        not_polling: args.not_polling.clone(),
        settle: args.settle,
        timeout: args.timeout,
        service_urls: args.service_url.clone(),
        taken_over: owner != here,
        owner,
    }
}

/// The command that takes this run up again, also from another machine.
fn again(args: &Args, request: &Request) -> String {
    let mut words = vec!["bellrock rollback".to_owned(), args.application.clone()];
    words.extend(args.cluster.iter().map(|w| format!("--cluster {}{}", w.name, w.count.map(|c| format!("={c}")).unwrap_or_default())));
    let mut option = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("--{name} {value}")));
    option("prefix", args.prefix.clone());
    option("to", args.to.map(|to| format!("v{to:03}")));
    args.polling.iter().for_each(|c| option("polling", Some(c.clone())));
    args.not_polling.iter().for_each(|c| option("not-polling", Some(c.clone())));
    args.service_url.iter().for_each(|url| option("service-url", Some(format!("'{url}'"))));
    option("settle", (args.settle != rollback::SETTLE).then(|| show_duration(args.settle)));
    option("timeout", (args.timeout != rollback::TIMEOUT).then(|| show_duration(args.timeout)));
    option("journal", args.journal.as_ref().map(|path| format!("'{}'", path.display())));
    option("region", args.region.clone());
    option("profile", args.profile.clone());
    option("endpoint", args.endpoint.clone());
    option("owner", Some(request.owner.clone()));
    words.join(" ")
}

fn owner(context: &Context) -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|key| context.env.get(*key)).map_or("somebody", String::as_str);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| context.env.get("HOSTNAME").cloned());
    format!("{user}@{}", host.as_deref().map_or("somewhere", str::trim))
}

/// As a tag takes it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "+-=._:@".contains(c) { c } else { '_' }).collect()
}

fn state_dir(context: &Context) -> PathBuf {
    let set = |key: &str| context.env.get(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from("/var/tmp")).join("bellrock")
}

/// One rollback of an application per machine: the hold cannot tell two runs of the same owner apart.
fn lock(state: &std::path::Path, application: &str) -> Result<File, Failure> {
    let path = state.join(format!("rollback-{}.lock", plain(application)));
    let unwritable = |e: &io::Error| {
        Failure::refused("rollback-journal", format!("cannot write {}; nothing was changed", path.display()))
            .because(e)
            .help("set XDG_STATE_HOME to a folder that can be written")
    };
    fs::create_dir_all(state).map_err(|e| unwritable(&e))?;
    let file = File::create(&path).map_err(|e| unwritable(&e))?;
    FileExt::try_lock_exclusive(&file).map_err(|e| {
        Failure::refused("rollback-already-running", format!("a rollback of {application} is running on this machine"))
            .because(&e)
            .help("let it end, or stop it with Ctrl-C; the same command then goes on")
    })?;
    Ok(file)
}

/// Asks on a thread of its own: a read of the terminal cannot be given up, and a signal must not wait for it.
async fn confirm(cancel: &CancellationToken) -> Result<(), Failure> {
    let refused = |what: &str| Failure::refused("rollback-not-confirmed", format!("{what}; nothing was changed"));
    if !io::stdin().is_terminal() {
        return Err(refused("there is no terminal to ask at").help("read the plan with --dry-run, then pass --yes"));
    }
    let _ = write!(anstream::stderr(), "Go ahead? [y/N] ");
    let (tell, told) = oneshot::channel();
    let ask = move || {
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer).map(|_| answer);
        // Nobody listens any more after a signal.
        let _ = tell.send(read);
    };
    thread::Builder::new().name("question".to_owned()).spawn(ask).map_err(|e| refused("the question could not be put").because(&e))?;
    // Cancel-safe: the answer that is not waited for any more is not wanted either.
    let answer = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(refused("interrupted")),
        answer = told => answer.map_err(|e| refused("the answer could not be read").because(&e))?,
    };
    let answer = answer.map_err(|e| refused("the answer could not be read").because(&e))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused("not agreed to")) }
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

/// Asks the service over HTTP. A redirect is an answer; it is not followed.
struct Http(reqwest::Client);

impl Http {
    fn new() -> Result<Self, Failure> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(5)).build();
        client.map(Self).map_err(|e| Failure::new("runtime", "no HTTP client can be made").because(&e))
    }
}

#[async_trait]
impl Service for Http {
    async fn ask(&self, url: &str) -> Result<(), String> {
        let status = self.0.get(url).send().await.map_err(|e| e.to_string())?.status();
        if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("status {status}")) }
    }
}
