//! An orchestrator under its keeper: the real keeper, real processes, and everything that may happen to either.

#[path = "fleet/living.rs"]
mod living;

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::host::folder;
use bellrock::host::process;
use bellrock::host::process::Process;
use bellrock::model::InstanceId;
use bellrock::orchestrator::Orchestrator;
use bellrock::orchestrator::endpoint;
use bellrock::orchestrator::endpoint::Endpoint;
use bellrock::orchestrator::process::Kept;
use bellrock::orchestrator::process::Settings;
use bellrock::orchestrator::process::StopSignal;
use bellrock::orchestrator::process::Variables;
use bellrock::orchestrator::supervised::Budget;
use bellrock::orchestrator::supervised::Charge;
use bellrock::orchestrator::supervised::Exit;
use bellrock::orchestrator::supervised::Report;
use bellrock::orchestrator::supervised::Stand;
use bellrock::orchestrator::supervised::Supervised;
use living::Living;
use rand::Rng;
use rand::SeedableRng;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// More than anything takes on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// One orchestrator's place; whatever lives in it ends with the test.
struct Place {
    // Ended before its directory goes.
    living: Living,
    at: TempDir,
}

impl Place {
    fn new() -> Self {
        let at = tempfile::tempdir().expect("a directory of our own");
        Self { living: Living(at.path().join("orchestrator")), at }
    }

    fn folder(&self) -> PathBuf {
        self.living.0.clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.path().join(name)
    }

    fn settings(&self, script: &str) -> Settings {
        Settings {
            endpoint: endpoint::Settings {
                generation: Some(endpoint::GenerationFrom::Kept(self.folder())),
                sources: vec![endpoint::Source::Command { argv: ["echo", "0"].map(str::to_owned).to_vec() }],
                ..endpoint::Settings::default()
            },
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            directory: Some(self.at.path().to_owned()),
            variables: Variables(vec![("COLOUR".to_owned(), "red".to_owned())]),
            environment_file: None,
            inherit: vec!["PATH".to_owned()],
            stop_signal: StopSignal(Signal::TERM),
            grace: SOON,
            lines_per_second: 100_000,
            budget: Budget::default(),
        }
    }

    /// What an agent has of it. Dropped, it is an agent that was killed.
    fn kept(&self, script: &str) -> Kept {
        self.kept_with(self.settings(script))
    }

    fn kept_with(&self, settings: Settings) -> Kept {
        let env = [("PATH", "/usr/bin:/bin"), ("AWS_SECRET_ACCESS_KEY", "hush")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Kept::new(settings, self.folder(), env!("CARGO_BIN_EXE_bellrock").into(), env.to_vec(), false).expect("a boot")
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder().join("output.log")).unwrap_or_default()
    }

    fn run(&self) -> Value {
        let text = std::fs::read(self.folder().join("run.json")).expect("a run");
        serde_json::from_slice(&text).expect("whole")
    }

    fn keeper(&self) -> Process {
        serde_json::from_value(self.run()["keeper"].clone()).expect("a process")
    }

    /// Everything of it, its keeper too.
    fn all(&self) -> Vec<Process> {
        self.living.all()
    }
}

fn kill(process: Process) {
    assert!(process::signal(process, Signal::KILL).expect("it is ours"), "it was there");
}

/// Waits until it stands so.
async fn until<T>(kept: &Kept, what: &str, seen: impl Fn(&Stand) -> Option<T>) -> T {
    let looking = async {
        loop {
            let stand = kept.look().await;
            if let Some(found) = seen(&stand) {
                return found;
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), kept.news(&stand)).await;
        }
    };
    match tokio::time::timeout(SOON, looking).await {
        Ok(found) => found,
        Err(_) => panic!("not {what}: {:?}", kept.look().await),
    }
}

async fn up(kept: &Kept) -> Process {
    until(kept, "up", |stand| match stand {
        Stand::Up { process, .. } => *process,
        _ => None,
    })
    .await
}

async fn down(kept: &Kept) -> Exit {
    until(kept, "down", |stand| match stand {
        Stand::Down { exit, .. } => Some(exit.clone().unwrap_or_default()),
        _ => None,
    })
    .await
}

async fn holds(what: &str, mut check: impl FnMut() -> bool) {
    let looking = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Counts on its output and in a file, until it is told to end.
const COUNTS: &str = "i=0; while :; do i=$((i+1)); echo $i; echo $i > count.new; mv count.new count; sleep 0.01; done";

fn count(place: &Place) -> u64 {
    std::fs::read_to_string(place.path("count")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

async fn counts_on(place: &Place) {
    let before = count(place);
    holds("it counts on", || count(place) > before + 3).await;
}

#[tokio::test]
async fn a_command_gets_what_is_configured_and_its_end_is_on_record() {
    let place = Place::new();
    let kept = place.kept("echo $COLOUR $AWS_SECRET_ACCESS_KEY; pwd; echo trouble >&2; printf last; exit 3");
    assert_eq!(kept.look().await, Stand::Down { run: None, exit: None });
    kept.begin().await.unwrap();
    let exit = down(&kept).await;
    assert_eq!((exit.code, exit.signal, exit.asked), (Some(3), None, false), "{exit:?}");
    let said = format!("red\n{}\ntrouble\nlast\n", place.at.path().display());
    let output = place.output();
    assert!(output.contains(&said.replace("last\n", "")) && output.contains("last"), "{output}");
    assert_eq!(place.all(), [], "its keeper has gone");
}

#[tokio::test]
async fn an_agent_that_comes_back_finds_the_same_process_and_begins_no_second_one() {
    let place = Place::new();
    let kept = place.kept(COUNTS);
    kept.begin().await.unwrap();
    let first = up(&kept).await;
    counts_on(&place).await;
    drop(kept);
    counts_on(&place).await;
    let kept = place.kept(COUNTS);
    assert_eq!(up(&kept).await, first);
    kept.begin().await.unwrap();
    counts_on(&place).await;
    assert_eq!(up(&kept).await, first, "what runs is left running");
    kept.end(SOON).await.unwrap();
    assert_eq!(place.all(), []);
    let exit = down(&kept).await;
    assert_eq!((exit.signal, exit.asked), (Some(15), true), "{exit:?}");
}

#[tokio::test]
async fn a_keeper_that_is_killed_is_replaced_and_the_command_does_not_notice() {
    let place = Place::new();
    let kept = place.kept(COUNTS);
    kept.begin().await.unwrap();
    let first = up(&kept).await;
    for _ in 0..3 {
        counts_on(&place).await;
        let stand = kept.look().await;
        let (keeper, heard) = (place.keeper(), kept.news(&stand));
        tokio::join!(async { kill(keeper) }, async { tokio::time::timeout(SOON, heard).await.expect("the end of a keeper is heard") });
        until(&kept, "unkept", |stand| (*stand == Stand::Unkept { process: Some(first) }).then_some(())).await;
        counts_on(&place).await;
        kept.begin().await.unwrap();
        assert_eq!(up(&kept).await, first);
    }
    // The last keeper is not its parent, and sees its end all the same.
    kill(first);
    let exit = down(&kept).await;
    assert_eq!((exit.code, exit.signal), (None, None), "nobody can know: {exit:?}");
    let numbers: Vec<u64> = place.output().lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] > pair[0]), "each line once, in order: {numbers:?}");
    // What a keeper had read and not yet written dies with it; what waits in the pipe does not.
    let gaps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(numbers.len() > 12 && gaps <= 3, "{gaps} gaps after three kills: {numbers:?}");
}

#[tokio::test]
async fn a_command_without_a_keeper_is_ended_all_the_same() {
    let place = Place::new();
    let kept = place.kept(COUNTS);
    kept.begin().await.unwrap();
    up(&kept).await;
    counts_on(&place).await;
    kill(place.keeper());
    kept.end(SOON).await.unwrap();
    assert_eq!(place.all(), []);
}

/// As after a change of user, the environment says nothing; the session does.
#[tokio::test]
async fn what_a_command_left_behind_is_found_though_its_environment_was_cleared_and_its_keeper_is_dead() {
    let place = Place::new();
    let kept = place.kept("exec env -i /bin/sh -c '/bin/sleep 600 & echo $! > pid; mv pid left; wait'");
    kept.begin().await.unwrap();
    let main = up(&kept).await;
    holds("it has a child", || place.path("left").exists()).await;
    let left = std::fs::read_to_string(place.path("left")).unwrap().trim().parse().unwrap();
    let left = process::find(left).unwrap();
    kill(place.keeper());
    kill(main);
    until(&kept, "unkept", |stand| (*stand == Stand::Unkept { process: None }).then_some(())).await;
    kept.begin().await.unwrap();
    assert_eq!(down(&kept).await.code, None, "nobody saw how it ended");
    assert!(process::find(left.pid).map_or(true, |found| found != left), "it is ended before anything is begun");
}

#[tokio::test]
async fn a_command_that_will_not_end_is_killed_with_all_it_began() {
    let place = Place::new();
    let stubborn = "trap '' TERM INT HUP; touch";
    let script = format!("{stubborn} mine; setsid sh -c \"{stubborn} theirs; while :; do sleep 1; done\" & while :; do sleep 1; done");
    let kept = place.kept(&script);
    kept.begin().await.unwrap();
    up(&kept).await;
    holds("both are stubborn", || place.path("mine").exists() && place.path("theirs").exists()).await;
    kept.end(Duration::from_millis(300)).await.unwrap();
    assert_eq!(place.all(), []);
    let exit = down(&kept).await;
    assert_eq!((exit.signal, exit.asked), (Some(9), true), "{exit:?}");
}

/// As with a wrapper that does not `exec` what it starts.
#[tokio::test]
async fn the_grace_of_a_stop_is_for_all_that_the_command_began() {
    let place = Place::new();
    let work = "i=0; while [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; touch finished; exit 0";
    let child = format!("trap '{work}' TERM; touch armed; while :; do sleep 0.1; done");
    std::fs::write(place.path("child"), child).unwrap();
    let kept = place.kept("sh ./child & wait");
    kept.begin().await.unwrap();
    up(&kept).await;
    holds("the child can be told", || place.path("armed").exists()).await;
    kept.end(SOON).await.unwrap();
    assert!(place.path("finished").exists(), "it was killed before it had ended");
    assert_eq!(place.all(), []);
}

#[tokio::test]
async fn a_command_that_goes_to_the_background_is_followed_there() {
    let place = Place::new();
    let kept = place.kept(&format!("(setsid sh -c '{COUNTS}' &) ; until [ -e count ]; do sleep 0.01; done; touch gone; exit 0"));
    kept.begin().await.unwrap();
    holds("the first process ended", || place.path("gone").exists()).await;
    counts_on(&place).await;
    let first: Process = until(&kept, "followed", |stand| match stand {
        Stand::Up { process: Some(process), .. } if process::member(process.pid).is_ok_and(|m| m.group == process.pid) => {
            let words = std::fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            (!words.contains("setsid")).then_some(*process)
        }
        _ => None,
    })
    .await;
    assert!(place.output().contains("went to the background"), "{}", place.output());
    assert_eq!(up(&place.kept(COUNTS)).await, first);
    kept.end(SOON).await.unwrap();
    assert_eq!(place.all(), []);
}

#[tokio::test]
async fn one_that_leaves_for_the_background_only_after_its_parent_has_ended_is_followed_too() {
    let place = Place::new();
    let kept =
        place.kept(&format!("(until [ -e gone ]; do sleep 0.05; done; sleep 0.3; exec setsid sh -c '{COUNTS}') & touch gone; exit 0"));
    kept.begin().await.unwrap();
    counts_on(&place).await;
    assert!(place.output().contains("went to the background"), "{}", place.output());
    kept.end(SOON).await.unwrap();
    assert_eq!(place.all(), []);
}

#[tokio::test]
async fn an_end_is_seen_at_once_though_a_grandchild_holds_the_output_open() {
    let place = Place::new();
    // When it is told to end, it takes down what is on record.
    let held = "trap 'read -r run < orchestrator/run.json; echo \"$run\" > seen' TERM; touch armed; while :; do sleep 0.05; done";
    let kept = place.kept(&format!("({held}) & until [ -e armed ]; do sleep 0.01; done; echo bye; exit 4"));
    kept.begin().await.unwrap();
    assert_eq!(down(&kept).await.code, Some(4));
    assert_eq!(place.all(), [], "what is left behind is ended");
    let seen: Value = serde_json::from_slice(&std::fs::read(place.path("seen")).expect("it was told")).expect("whole");
    assert_eq!(seen["ended"]["code"], 4, "the end was on record before anybody waited for the grandchild");
    assert!(place.output().contains("bye"));
}

#[tokio::test]
async fn a_flood_of_output_is_cut_counted_and_never_holds_the_command_up() {
    let place = Place::new();
    let line = "x".repeat(99);
    let script = format!("yes {line} | head -n 500000; head -c 10000000 /dev/zero | tr '\\0' y; echo; touch done; exec sleep 600");
    let kept = place.kept_with(Settings { lines_per_second: 200, ..place.settings(&script) });
    kept.begin().await.unwrap();
    up(&kept).await;
    holds("all was said", || place.path("done").exists()).await;
    kept.end(SOON).await.unwrap();
    let kept_lines = place.output().lines().filter(|known| *known == line).count();
    let dropped = place.run()["dropped_lines"].as_u64().expect("a number");
    let cut = u64::from(!place.output().contains("bytes more"));
    assert_eq!(u64::try_from(kept_lines).unwrap() + dropped, 500_000 + cut, "each line is kept or counted");
    assert!(kept_lines >= 2000, "{kept_lines} of the burst");
    let size: u64 =
        ["output.log", "output.log.old"].iter().filter_map(|f| std::fs::metadata(place.folder().join(f)).ok()).map(|m| m.len()).sum();
    println!("50 MB of output: {kept_lines} lines kept, {dropped} dropped, {size} bytes on disk");
    assert!(size < 20 << 20, "{size}");
    assert!(place.output().contains("lines of the orchestrator were dropped"));
}

#[tokio::test]
async fn what_cannot_be_started_says_so() {
    let place = Place::new();
    let kept = place.kept_with(Settings { command: vec!["/no/such".to_owned()], ..place.settings("") });
    kept.begin().await.unwrap();
    let exit = down(&kept).await;
    assert!(exit.error.as_ref().is_some_and(|error| error.contains("/no/such could not be started")), "{exit:?}");

    let cramped = Place::new();
    let program = cramped.path("cramped");
    std::fs::write(&program, format!("#!/bin/sh\nulimit -f 0\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_bellrock"))).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    let kept = Kept::new(cramped.settings("touch ran"), cramped.folder(), program, env, false).unwrap();
    kept.begin().await.unwrap();
    let exit = down(&kept).await;
    assert!(exit.error.as_ref().is_some_and(|error| error.contains("runbooks/orchestrator-keeper.md")), "{exit:?}");
    assert!(!cramped.path("ran").exists(), "nothing is begun without a record");
}

#[tokio::test]
async fn a_pid_that_was_used_again_is_nobody() {
    let place = Place::new();
    let kept = place.kept("exit 1");
    kept.begin().await.unwrap();
    down(&kept).await;
    let (me, mut run) = (process::find(std::process::id()).unwrap(), place.run());
    let mut with = |change: &dyn Fn(&mut Value)| {
        change(&mut run);
        folder::write(&place.folder(), "run.json", &run).unwrap();
    };
    // As if its record had been written before our pid was used again, and then before the host went down.
    with(&|run| run["main"] = serde_json::json!({"pid": me.pid, "start_ticks": me.start_ticks - 1}));
    assert!(matches!(kept.look().await, Stand::Down { .. }), "{:?}", kept.look().await);
    with(&|run| {
        run["main"] = serde_json::json!({"pid": me.pid, "start_ticks": me.start_ticks});
        run["boot"] = "another".into();
    });
    assert!(matches!(kept.look().await, Stand::Down { .. }), "{:?}", kept.look().await);
    with(&|run| run["boot"] = bellrock::host::boot::id().unwrap().into());
    assert_eq!(kept.look().await, Stand::Unkept { process: Some(me) }, "the same record of a living one");
}

/// What the agent's loop does of it.
async fn looks_after(kept: &Kept) {
    loop {
        match kept.look().await {
            Stand::Down { .. } | Stand::Unkept { .. } => drop(kept.begin().await),
            stand => kept.news(&stand).await,
        }
    }
}

/// Agents and keepers are killed at random moments; the command says when it is not alone.
#[tokio::test]
async fn whoever_is_killed_there_is_never_a_second_command_beside_a_living_one() {
    for seed in 0..4u64 {
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
        let place = Place::new();
        let script = format!("exec 9>>alone; flock -n 9 || echo $$ >> second; echo $$ >> starts; {COUNTS}");
        let mut kept = place.kept(&script);
        let mut kills = 0;
        for _ in 0..12 {
            // What the agent's loop does, cut off anywhere.
            let _ = tokio::time::timeout(Duration::from_millis(random.random_range(1..60)), looks_after(&kept)).await;
            if random.random_bool(0.6) && place.folder().join("run.json").exists() {
                let keeper = place.keeper();
                kills += usize::from(process::signal(keeper, Signal::KILL).unwrap());
            }
            if random.random_bool(0.5) {
                kept = place.kept(&script);
            }
        }
        // What nobody looks after is looked after in the end.
        let kept_alive = async {
            loop {
                up(&kept).await;
                if process::find(place.keeper().pid).is_ok_and(|found| found == place.keeper()) {
                    return counts_on(&place).await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Both only look and begin; the loop of care never returns.
        tokio::select! {
            () = kept_alive => {}
            () = looks_after(&kept) => {}
        }
        let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap_or_default();
        let starts: BTreeSet<_> = read("starts").lines().map(str::to_owned).collect();
        println!("seed {seed}: {kills} keepers killed, {} starts", starts.len());
        assert_eq!(read("second"), "", "seed {seed}");
        kept.end(SOON).await.unwrap();
        assert_eq!(place.all(), [], "seed {seed}");
    }
}

/// An agent's care of it, and what `status` shows.
struct Cared {
    care: Arc<Supervised<Kept>>,
    report: watch::Receiver<Option<Report>>,
    again: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Cared {
    fn new(place: &Place, settings: Settings) -> Self {
        let clock = Arc::new(SystemClock::start());
        let endpoint = Endpoint::new(settings.endpoint.clone(), &InstanceId::from("i-1"), clock.clone()).expect("settings that work");
        let budget = settings.budget;
        let (sender, report) = watch::channel(None);
        let care = Supervised::new(Arc::new(endpoint), place.kept_with(settings), budget, place.folder(), "i-1", clock, sender);
        Self { care: Arc::new(care), report, again: watch::channel(0).0, stop: CancellationToken::new() }
    }

    /// Runs until the work is done; then it is an agent that was stopped.
    async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let working = async {
            let done = work.await;
            self.stop.cancel();
            done
        };
        tokio::join!(working, self.care.run(self.stop.clone(), self.again.subscribe())).0
    }

    async fn shows(&self, state: &str) -> Report {
        let mut report = self.report.clone();
        let shown = tokio::time::timeout(SOON, report.wait_for(|shown| shown.as_ref().is_some_and(|shown| shown.state == state)));
        shown.await.unwrap_or_else(|_| panic!("not {state}: {:?}", self.report.borrow())).expect("it goes on").clone().expect("a report")
    }
}

#[tokio::test]
async fn one_that_does_not_stay_up_is_tried_so_often_and_then_held_until_somebody_asks() {
    let place = Place::new();
    let budget = Budget { starts: 3, window: Duration::from_secs(3600) };
    let settings = || Settings { budget, ..place.settings("echo x >> starts; exit 7") };
    let starts = || std::fs::read_to_string(place.path("starts")).unwrap_or_default().lines().count();
    let cared = Cared::new(&place, settings());
    cared
        .beside(async {
            let held = cared.shows("crash-loop").await;
            assert_eq!((starts(), held.restarts), (3, 2));
            assert_eq!(held.last_exit.unwrap().code, Some(7));
            assert!(held.next_start.is_some());
        })
        .await;
    // An agent that comes back has no fresh budget.
    let cared = Cared::new(&place, settings());
    cared
        .beside(async {
            cared.shows("crash-loop").await;
            assert_eq!(starts(), 3);
            cared.again.send_modify(|count| *count += 1);
            holds("a reload tries once more", || starts() == 4).await;
            cared.shows("crash-loop").await;
            assert_eq!(starts(), 4);
        })
        .await;
}

#[tokio::test]
async fn one_that_dies_is_started_again_and_is_another_generation() {
    let place = Place::new();
    let cared = Cared::new(&place, place.settings(COUNTS));
    cared
        .beside(async {
            let first = cared.shows("running").await;
            let before = cared.care.activity().await.generation.expect("a process");
            let pid = first.pid.unwrap();
            kill(process::find(pid).unwrap());
            let mut report = cared.report.clone();
            let again = report.wait_for(|shown| shown.as_ref().is_some_and(|shown| shown.pid.is_some_and(|other| other != pid)));
            let again = tokio::time::timeout(SOON, again).await.expect("in time").unwrap().clone().unwrap();
            assert_eq!((again.restarts, again.last_exit.unwrap().signal), (1, Some(9)));
            assert_ne!(cared.care.activity().await.generation.expect("a process"), before, "its intake is open again");
        })
        .await;
}

#[tokio::test]
async fn one_that_was_stopped_stays_so_for_the_next_agent_too_until_it_is_wanted() {
    let place = Place::new();
    let cared = Cared::new(&place, place.settings(COUNTS));
    cared
        .beside(async {
            cared.shows("running").await;
            cared.care.stop(SOON).await.unwrap();
            assert_eq!(place.all(), []);
            cared.shows("stopped").await;
        })
        .await;
    let cared = Cared::new(&place, place.settings(COUNTS));
    cared
        .beside(async {
            let stopped = cared.shows("stopped").await;
            assert!(stopped.last_exit.unwrap().asked);
            cared.care.start().await.unwrap();
            assert_eq!(cared.shows("running").await.restarts, 0);
        })
        .await;
}

#[tokio::test]
async fn a_keeper_that_is_killed_is_replaced_by_the_agents_care_without_a_restart() {
    let place = Place::new();
    let cared = Cared::new(&place, place.settings(COUNTS));
    cared
        .beside(async {
            let first = cared.shows("running").await;
            let keeper = place.keeper();
            kill(keeper);
            holds("another keeper has it", || place.keeper() != keeper).await;
            let again = cared.shows("running").await;
            assert_eq!((again.pid, again.restarts), (first.pid, 0));
            counts_on(&place).await;
        })
        .await;
}

/// A keeper as the agent's unit starts it, with the journal behind its standard error, and as a host that goes down ends it.
#[tokio::test]
async fn what_is_said_reaches_the_journal_and_a_host_that_goes_down_ends_it_gracefully() {
    let place = Place::new();
    folder::make(&place.folder()).unwrap();
    let script = "trap 'echo graceful; exit 0' TERM; echo ready; echo trouble >&2; while :; do sleep 0.05; done";
    let order = serde_json::json!({
        "argv": ["sh", "-c", script], "digest": "", "directory": null, "signal": 15, "grace_ms": 60_000, "take_up": false, "journal": true,
        "lines_per_second": 100,
    });
    folder::write(&place.folder(), "order.json", &order).unwrap();
    let (journal, lock) = (place.path("journal"), folder::lock(&place.folder()).unwrap());
    let mut keeper = std::process::Command::new(env!("CARGO_BIN_EXE_bellrock"))
        .arg("orchestrator-keeper")
        .arg(place.folder())
        .env("BELLROCK_KEPT_IN", place.folder())
        .stdin(lock)
        .stderr(std::fs::File::create(&journal).unwrap())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&journal).unwrap();
    holds("both outputs are in the journal", || said().contains("ready\ntrouble\n")).await;
    assert_eq!(place.output(), "", "and nowhere else");
    let kib = |name: &str| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", keeper.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    println!("the keeper: resident {}, of which its own {}, threads {}", kib("VmRSS:"), kib("RssAnon:"), kib("Threads:"));
    assert!(process::signal(process::find(keeper.id()).unwrap(), Signal::TERM).unwrap());
    assert_eq!(keeper.wait().unwrap().code(), Some(0));
    assert!(said().contains("graceful\n") && said().contains("ended: exit code 0, as asked"), "{}", said());
    assert_eq!((&place.run()["ended"]["code"], &place.run()["ended"]["asked"]), (&0.into(), &true.into()));
}

/// So that nothing of the test's own is looked for in vain.
#[test]
fn the_tools_of_these_tests_are_there() {
    for tool in ["flock", "setsid", "yes"] {
        assert!(["/usr/bin", "/bin"].iter().any(|at| Path::new(at).join(tool).exists()), "{tool}");
    }
}
