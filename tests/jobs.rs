//! Jobs outlive those who started them: the real supervisor, real processes.

use std::path::Path;
use std::time::Duration;

use bellrock::orchestrator::engine::effect::AttemptKey;
use bellrock::orchestrator::engine::effect::Effect;
use bellrock::orchestrator::engine::effect::Outcome;
use bellrock::orchestrator::runner::effects::Performer;
use bellrock::orchestrator::runner::effects::job::Jobs;
use tokio_util::sync::CancellationToken;

fn jobs(directory: &Path) -> Jobs {
    let env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    Jobs::new(directory.join("jobs"), env!("CARGO_BIN_EXE_bellrock").into(), env)
}

fn key(number: u32) -> AttemptKey {
    AttemptKey { execution: "E".into(), stage: "S".into(), started: 1, task: "1".to_owned(), number }
}

fn shell(script: &str, timeout_ms: u64) -> Effect {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Effect::Job { argv, env: vec![("COLOUR".to_owned(), "red".to_owned())], directory: None, timeout_ms, keep_bytes: 1000 }
}

fn attach() -> Effect {
    Effect::AttachJob { timeout_ms: 60_000, keep_bytes: 1000 }
}

fn out(outcome: &Outcome) -> (&str, Option<i32>) {
    match outcome {
        Outcome::Job { code, stdout, .. } => (stdout, *code),
        other => panic!("{other:?}"),
    }
}

/// Runs a job until this file is there, then forgets it, as an agent that is killed does.
async fn begin_and_die(directory: &Path, script: &str, file: &Path) {
    let (jobs, stop, key) = (jobs(directory), CancellationToken::new(), key(1));
    tokio::select! {
        outcome = jobs.perform(&key, shell(script, 60_000), &stop) => panic!("ended: {outcome:?}"),
        () = appears(file) => {}
    }
}

async fn appears(file: &Path) {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !file.exists() {
        look.tick().await;
    }
}

#[tokio::test]
async fn a_job_gives_its_outputs_its_code_and_knows_its_key() {
    let at = tempfile::tempdir().unwrap();
    let script = "echo $COLOUR $BELLROCK_IDEMPOTENCY_KEY; echo trouble >&2; exit 3";
    let outcome = jobs(at.path()).perform(&key(1), shell(script, 60_000), &CancellationToken::new()).await;
    assert_eq!(out(&outcome), ("red E-S-1-1\n", Some(3)));
    assert!(matches!(&outcome, Outcome::Job { stderr, dropped_bytes: 0, .. } if stderr == "trouble\n"), "{outcome:?}");
    let again = jobs(at.path()).perform(&key(2), shell("echo twice", 60_000), &CancellationToken::new()).await;
    assert_eq!(out(&again), ("red E-S-1-1\n", Some(3)), "a key has one job");
}

#[tokio::test]
async fn a_job_is_found_again_by_a_new_agent_while_it_runs_and_after() {
    let at = tempfile::tempdir().unwrap();
    let (begun, go) = (at.path().join("begun"), at.path().join("go"));
    let script = format!("touch {}; until [ -e {} ]; do sleep 0.05; done; echo done", begun.display(), go.display());
    begin_and_die(at.path(), &script, &begun).await;
    std::fs::write(&go, "").unwrap();
    for _ in 0..2 {
        let outcome = jobs(at.path()).perform(&key(2), attach(), &CancellationToken::new()).await;
        assert_eq!(out(&outcome), ("done\n", Some(0)));
    }
}

#[tokio::test]
async fn a_job_that_nobody_knows_or_whose_supervisor_died_is_lost() {
    let at = tempfile::tempdir().unwrap();
    let unknown = jobs(at.path()).perform(&key(1), attach(), &CancellationToken::new()).await;
    assert_eq!(unknown, Outcome::JobLost);
    let begun = at.path().join("begun");
    begin_and_die(at.path(), &format!("touch {}; exec sleep 60", begun.display()), &begun).await;
    let folder = std::fs::read_dir(at.path().join("jobs")).unwrap().next().unwrap().unwrap().path();
    let pid = std::fs::read_to_string(folder.join("pid")).unwrap();
    assert!(std::process::Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    let outcome = jobs(at.path()).perform(&key(2), attach(), &CancellationToken::new()).await;
    assert_eq!(outcome, Outcome::JobLost);
}

#[tokio::test]
async fn a_job_that_is_stopped_ends_with_all_it_began_and_counts_as_lost_from_then_on() {
    let at = tempfile::tempdir().unwrap();
    let begun = at.path().join("begun");
    let (jobs, stop, first) = (jobs(at.path()), CancellationToken::new(), key(1));
    let script = format!("sleep 60 & echo $!; touch {}; wait", begun.display());
    let (outcome, ()) = tokio::join!(jobs.perform(&first, shell(&script, 60_000), &stop), async {
        appears(&begun).await;
        stop.cancel();
    });
    let Outcome::Job { signal, stdout, .. } = outcome else { panic!("{outcome:?}") };
    let child = Path::new("/proc").join(stdout.trim()).join("cmdline");
    let gone = std::fs::read(child).map_or(true, |cmdline| cmdline.is_empty());
    assert_eq!((signal, gone), (Some(15), true));
    let outcome = jobs.perform(&key(2), attach(), &CancellationToken::new()).await;
    assert_eq!(outcome, Outcome::JobLost);
    let outcome = jobs.perform(&key(3), shell("echo anew", 60_000), &CancellationToken::new()).await;
    assert_eq!(out(&outcome), ("anew\n", Some(0)));
}

#[tokio::test]
async fn time_output_and_mistakes_are_bounded() {
    let (at, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let late = jobs(at.path()).perform(&key(1), shell("exec sleep 60", 100), &stop).await;
    assert!(matches!(late, Outcome::Job { timed_out: true, signal: Some(15), .. }), "{late:?}");
    let other = AttemptKey { task: "2".to_owned(), ..key(1) };
    let long = jobs(at.path()).perform(&other, shell("seq 1 100000", 60_000), &stop).await;
    let Outcome::Job { stdout, dropped_bytes, .. } = long else { panic!("{long:?}") };
    assert_eq!((stdout.len(), stdout.ends_with("100000\n"), dropped_bytes), (1000, true, 587_895));
    let nobody = AttemptKey { task: "3".to_owned(), ..key(1) };
    let effect = Effect::Job { argv: vec!["/no/such".to_owned()], env: Vec::new(), directory: None, timeout_ms: 1000, keep_bytes: 10 };
    let outcome = jobs(at.path()).perform(&nobody, effect, &stop).await;
    assert!(matches!(&outcome, Outcome::Failed { error, retryable: false } if error.contains("/no/such")), "{outcome:?}");
}
