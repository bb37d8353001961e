//! A unit as a stand-in for `systemctl` tells of it.

use std::path::Path;

use super::*;
use crate::host::clock::SystemClock;
use crate::model::InstanceId;

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
