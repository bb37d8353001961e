//! Jobs outlive those who started them: the real supervisor, real processes.

use std::path::Path;
use std::path::PathBuf;
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
    Effect::Job {
        argv,
        env: vec![("COLOUR".to_owned(), "red".to_owned())],
        directory: None,
        timeout_ms,
        keep_bytes: 1000,
        idempotent: false,
    }
}

/// The same command, which may be begun anew.
fn again(effect: Effect) -> Effect {
    match effect {
        Effect::Job { argv, env, directory, timeout_ms, keep_bytes, .. } => {
            Effect::Job { argv, env, directory, timeout_ms, keep_bytes, idempotent: true }
        }
        other => panic!("{other:?}"),
    }
}

/// The one folder under `jobs`.
fn folder(directory: &Path) -> PathBuf {
    let first = std::fs::read_dir(directory.join("jobs")).expect("jobs have a directory").next();
    first.expect("there is a job").expect("it can be read").path()
}

/// Processes that carry this key.
fn alive(key: &AttemptKey) -> usize {
    let mark = format!("BELLROCK_IDEMPOTENCY_KEY={}", key.idempotency_key());
    let environs =
        std::fs::read_dir("/proc").expect("this is Linux").flatten().filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environs.filter(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())).count()
}

fn kill(pid: &str) {
    let killed = std::process::Command::new("kill").args(["-9", pid.trim()]).status().expect("there is a kill");
    assert!(killed.success());
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
async fn a_job_that_nobody_knows_is_lost() {
    let at = tempfile::tempdir().unwrap();
    assert_eq!(jobs(at.path()).perform(&key(1), attach(), &CancellationToken::new()).await, Outcome::JobLost);
}

#[tokio::test]
async fn a_command_whose_supervisor_is_killed_is_ended_and_never_run_again_unless_it_may_be() {
    let (at, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let (begun, ledger) = (at.path().join("begun"), at.path().join("ledger"));
    let key = AttemptKey { execution: "orphan".into(), ..key(1) };
    let script = format!("echo ran >> {}; touch {}; exec sleep 600", ledger.display(), begun.display());
    let jobs = jobs(at.path());
    tokio::select! {
        outcome = jobs.perform(&key, shell(&script, 600_000), &stop) => panic!("ended: {outcome:?}"),
        () = appears(&begun) => {}
    }
    kill(&std::fs::read_to_string(folder(at.path()).join("pid")).unwrap());
    assert_eq!(jobs.perform(&key, shell(&script, 600_000), &stop).await, Outcome::JobLost, "it is not begun a second time");
    assert_eq!(alive(&key), 0, "what nobody looks after is ended");
    assert_eq!(jobs.perform(&key, attach(), &stop).await, Outcome::JobLost);
    let outcome = jobs.perform(&key, again(shell("echo anew", 60_000)), &stop).await;
    assert_eq!(out(&outcome), ("anew\n", Some(0)));
    assert_eq!(std::fs::read_to_string(&ledger).unwrap(), "ran\n");
}

#[tokio::test]
async fn an_error_while_a_job_is_looked_at_is_no_answer() {
    let (at, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let (begun, go) = (at.path().join("begun"), at.path().join("go"));
    let script = format!("touch {}; until [ -e {} ]; do sleep 0.05; done; echo done", begun.display(), go.display());
    let (jobs, key) = (jobs(at.path()), key(1));
    let trouble = async {
        appears(&begun).await;
        let lock = folder(at.path()).join("lock");
        std::fs::rename(&lock, lock.with_extension("away")).unwrap();
        std::os::unix::fs::symlink(&lock, &lock).unwrap();
        std::fs::write(&go, "").unwrap();
        appears(&folder(at.path()).join("result.json")).await;
        let pid = std::fs::read_to_string(folder(at.path()).join("pid")).unwrap();
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while Path::new("/proc").join(pid.trim()).exists() {
            look.tick().await;
        }
        std::fs::remove_file(&lock).unwrap();
        std::fs::rename(lock.with_extension("away"), &lock).unwrap();
    };
    let (outcome, ()) = tokio::join!(jobs.perform(&key, shell(&script, 60_000), &stop), trouble);
    assert_eq!(out(&outcome), ("done\n", Some(0)));
}

#[tokio::test]
async fn a_job_that_is_stopped_before_its_supervisor_is_up_does_not_run_on() {
    let (at, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    stop.cancel();
    for number in 0..4 {
        let key = AttemptKey { execution: "early".into(), task: number.to_string(), ..key(1) };
        let outcome = jobs(at.path()).perform(&key, shell("exec sleep 600", 600_000), &stop).await;
        assert!(!matches!(outcome, Outcome::Job { code: Some(0), .. }), "{outcome:?}");
        assert_eq!(alive(&key), 0);
        assert_eq!(jobs(at.path()).perform(&key, attach(), &CancellationToken::new()).await, Outcome::JobLost);
    }
}

#[tokio::test]
async fn a_command_is_not_begun_without_room_for_its_result() {
    let at = tempfile::tempdir().unwrap();
    let (program, ran) = (at.path().join("cramped"), at.path().join("ran"));
    let wrapper = format!("#!/bin/sh\nulimit -f 1\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_bellrock"));
    std::fs::write(&program, wrapper).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    let cramped = Jobs::new(at.path().join("jobs"), program, env);
    let script = format!("touch {}", ran.display());
    let outcome = cramped.perform(&key(1), shell(&script, 60_000), &CancellationToken::new()).await;
    assert!(matches!(&outcome, Outcome::Failed { retryable: true, .. }), "{outcome:?}");
    assert!(!ran.exists());
    let outcome = jobs(at.path()).perform(&key(2), shell("echo later", 60_000), &CancellationToken::new()).await;
    assert_eq!(out(&outcome), ("later\n", Some(0)), "nothing ran, so it is begun");
}

#[tokio::test]
async fn an_owner_that_was_fenced_does_not_end_the_job_its_successor_attached_to() {
    let at = tempfile::tempdir().unwrap();
    let (begun, go) = (at.path().join("begun"), at.path().join("go"));
    let script = format!("touch {}; until [ -e {} ]; do sleep 0.05; done; echo done", begun.display(), go.display());
    let (jobs, key) = (jobs(at.path()), key(1));
    let (fence, stop) = (CancellationToken::new(), CancellationToken::new());
    let fenced = jobs.perform(&key, shell(&script, 60_000), &fence);
    tokio::pin!(fenced);
    tokio::select! {
        outcome = &mut fenced => panic!("ended: {outcome:?}"),
        () = appears(&begun) => {}
    }
    let successor = jobs.perform(&key, attach(), &stop);
    tokio::pin!(successor);
    assert!(futures::poll!(&mut successor).is_pending());
    fence.cancel();
    assert_eq!(fenced.await, Outcome::JobLost);
    std::fs::write(&go, "").unwrap();
    assert_eq!(out(&successor.await), ("done\n", Some(0)));
}

#[tokio::test]
async fn a_job_that_nobody_follows_is_ended_when_its_execution_is_called_off() {
    let (at, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let begun = at.path().join("begun");
    begin_and_die(at.path(), &format!("touch {}; exec sleep 600", begun.display()), &begun).await;
    assert_eq!(jobs(at.path()).outlived().into_iter().collect::<Vec<_>>(), ["E".into()]);
    for _ in 0..2 {
        let outcome = jobs(at.path()).perform(&key(2), Effect::StopJob {}, &stop).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    let outcome = jobs(at.path()).perform(&key(3), attach(), &stop).await;
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
    assert_eq!(outcome, Outcome::JobLost, "nobody knows how far it came");
    let outcome = jobs.perform(&key(3), again(shell("echo anew", 60_000)), &CancellationToken::new()).await;
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
    let argv = vec!["/no/such".to_owned()];
    let effect = Effect::Job { argv, env: Vec::new(), directory: None, timeout_ms: 1000, keep_bytes: 10, idempotent: false };
    let outcome = jobs(at.path()).perform(&nobody, effect, &stop).await;
    assert!(matches!(&outcome, Outcome::Failed { error, retryable: false } if error.contains("/no/such")), "{outcome:?}");
}
