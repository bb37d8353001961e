//! A unit as a stand-in for `systemctl` tells of it.

use std::path::Path;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::host::clock::SystemClock;
use crate::model::InstanceId;
use crate::orchestrator::endpoint::Hand;
use crate::orchestrator::supervised::Supervised;

/// A unit whose `show` says this.
fn unit(at: &Path, shown: &str) -> Unit {
    let file = at.join("systemctl");
    std::fs::write(&file, format!("cat <<'END'\n{shown}\nEND\n")).unwrap();
    stand_in(vec!["sh".to_owned(), file.display().to_string()], Duration::from_secs(20))
}

fn stand_in(argv: Vec<String>, limit: Duration) -> Unit {
    let clock = Arc::new(SystemClock::start());
    let endpoint = Endpoint::new(crate::orchestrator::endpoint::Settings::default(), &InstanceId::from("i-1"), clock.clone()).unwrap();
    Unit { systemctl: Systemctl(argv), ..Unit::new("orca.service".to_owned(), Arc::new(endpoint), limit, clock) }
}

#[tokio::test]
async fn only_a_unit_that_was_given_up_or_never_begun_is_down() {
    let at = tempfile::tempdir().unwrap();
    let begun = "LoadState=loaded\nInvocationID=ab\nExecMainStartTimestampMonotonic=5";
    let stand = async |text: &str| unit(at.path(), text).look().await;
    let failed = stand(&format!("{begun}\nActiveState=failed\nResult=exit-code\nExecMainCode=1\nExecMainStatus=3")).await;
    let Stand::Down { run, exit: Some(exit) } = failed else { panic!("{failed:?}") };
    assert_eq!((run.as_deref(), exit.code), (Some("ab"), Some(3)));
    assert_eq!(
        stand("LoadState=loaded\nInvocationID=\nExecMainStartTimestampMonotonic=0\nActiveState=inactive").await,
        Stand::Down { run: None, exit: None }
    );
    assert!(matches!(stand(&format!("{begun}\nActiveState=inactive")).await, Stand::Rest(_)), "somebody stopped it");
    assert_eq!(stand(&format!("{begun}\nActiveState=activating")).await, Stand::Moving("starting"), "systemd starts it again");
    assert_eq!(stand(&format!("{begun}\nActiveState=deactivating")).await, Stand::Moving("stopping"));
    assert!(matches!(stand("LoadState=not-found\nActiveState=inactive").await, Stand::Unknown(_)));
}

#[tokio::test]
async fn a_running_unit_has_its_main_process_and_its_age() {
    let at = tempfile::tempdir().unwrap();
    let started = process::since_boot().unwrap().saturating_sub(Duration::from_secs(100)).as_micros();
    let text = format!("LoadState=loaded\nActiveState=active\nMainPID={}\nActiveEnterTimestampMonotonic={started}", std::process::id());
    let unit = unit(at.path(), &text);
    let Stand::Up { process, since, .. } = unit.look().await else { panic!("it is active") };
    assert_eq!(process, process::find(std::process::id()).ok());
    let age = unit.clock.now().wall.since(since.unwrap());
    assert!(age >= Duration::from_secs(99), "{age:?}");
}

#[tokio::test]
async fn a_systemd_that_does_not_answer_leaves_it_unknown() {
    let hangs = stand_in(["sh", "-c", "exec sleep 600"].map(str::to_owned).to_vec(), Duration::from_millis(200));
    assert!(matches!(hangs.look().await, Stand::Unknown(why) if why.contains("systemd does not say")));
    let broken = stand_in(["sh", "-c", "exit 1"].map(str::to_owned).to_vec(), Duration::from_secs(20));
    assert!(matches!(broken.look().await, Stand::Unknown(_)));
}

#[tokio::test]
async fn a_unit_that_this_agent_stopped_is_started_again_when_it_is_wanted() {
    let at = tempfile::tempdir().unwrap();
    let (file, calls) = (at.path().join("systemctl"), at.path().join("calls"));
    let script = format!(
        "cd {}\ncase $1 in\nstart) echo active > state; echo start >> calls;;\nstop) echo inactive > state; echo stop >> calls;;\n\
         show) echo LoadState=loaded; echo InvocationID=ab; echo ActiveState=$(cat state); echo MainPID={};;\nesac\n",
        at.path().display(),
        std::process::id()
    );
    std::fs::write(&file, script).unwrap();
    std::fs::write(at.path().join("state"), "active\n").unwrap();
    let argv = |verb: &str| ["sh", &file.display().to_string(), verb].map(str::to_owned).to_vec();
    let settings = crate::orchestrator::endpoint::Settings {
        stop: Some(Hand::Command(argv("stop"))),
        start: Some(Hand::Command(argv("start"))),
        ..crate::orchestrator::endpoint::Settings::default()
    };
    let limit = Duration::from_secs(60);
    let clock = Arc::new(SystemClock::start());
    let endpoint = Arc::new(Endpoint::new(settings, &InstanceId::from("i-1"), clock.clone()).unwrap());
    let systemctl = Systemctl(argv("show")[..2].to_vec());
    let unit = Unit { systemctl, ..Unit::new("orca.service".to_owned(), endpoint.clone(), limit, clock.clone()) };
    let (report, mut shown) = watch::channel(None);
    let care = Supervised::new(endpoint, unit, Budget::default(), at.path().to_owned(), "i-1", clock, report);
    let (over, (_reloads, again)) = (CancellationToken::new(), watch::channel(0));
    let told = async {
        shown.wait_for(|shown| shown.as_ref().is_some_and(|shown| shown.state == "running")).await.unwrap();
        care.stop(limit).await.unwrap();
        care.start().await.unwrap();
        while std::fs::read_to_string(&calls).unwrap() != "stop\nstart\n" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        over.cancel();
    };
    let (told, ()) = tokio::join!(tokio::time::timeout(limit, told), async {
        tokio::time::timeout(limit, care.run(over.clone(), again)).await.unwrap_or_default();
    });
    told.expect("it is started");
}

#[tokio::test]
async fn a_unit_whose_failures_systemd_forgets_is_named_before_it_fails() {
    let at = tempfile::tempdir().unwrap();
    let settings = Settings { unit: "orca.service".to_owned(), endpoint: Default::default(), budget: Budget::default() };
    let problems = async |mode: &str| {
        let unit = unit(at.path(), &format!("LoadState=loaded\nActiveState=active\nCollectMode={mode}"));
        settings.problems_by(&unit.systemctl).await
    };
    assert!(problems("inactive").await.is_empty());
    assert!(problems("inactive-or-failed").await[0].contains("as if somebody had stopped it"));
}
