//! The agent comes and goes under a busy orchestrator that it runs: the real agent, its keeper, a command that counts, a simulated region.

#[path = "fleet/living.rs"]
mod living;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod sim;

use std::path::Path;
use std::time::Duration;

use living::Living;
use process::Agent;
use process::bellrock;
use process::until;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;
use sim::Sim;

const SOON: Duration = Duration::from_secs(60);
const DRAIN_WITHIN: Duration = Duration::from_secs(200);

/// Writes a line for each unit of its work, and its pid. It ends gracefully, and says so.
const WORKS: &str = "trap 'echo end $$ >> work; exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i $$ >> work; sleep 0.02; done";

/// Units of work done so far, each one after the other by one process; a gap or another process is a panic.
fn work(at: &Path) -> (u64, u32) {
    let text = std::fs::read_to_string(at.join("work")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let (mut last, mut by) = (0, 0);
    for line in whole.lines() {
        let (number, pid) = line.split_once(' ').expect("a number and a pid");
        let (number, pid): (u64, u32) = (number.parse().expect("a number"), pid.parse().expect("a pid"));
        assert!(number == last + 1 && (by == 0 || by == pid), "work was interrupted: {line} after {last} of {by}");
        (last, by) = (number, pid);
    }
    (last, by)
}

async fn works_on(at: &Path) {
    let before = work(at).0;
    until("work goes on", SOON, async || (work(at).0 > before + 5).then_some(())).await;
}

fn region() -> Value {
    let group = |name: &str, version: &str| json!({"name": name, "min": 0, "max": 3, "desired": 1, "template": "shop", "version": version, "settled": true});
    json!({"templates": [{"name": "shop", "versions": [{}, {}]}], "groups": [group("shop-main-v001", "1"), group("shop-main-v002", "2")]})
}

async fn running(agent: &mut Agent) -> Value {
    until("its status shows the orchestrator's process", SOON, async || {
        assert!(!agent.has_ended(), "the agent ended:\n{}", agent.tail());
        agent.status().await.filter(|status| status["ready"] == true && status["process"]["state"] == "running")
    })
    .await
}

#[tokio::test]
async fn an_agent_that_is_upgraded_stopped_or_killed_leaves_a_busy_orchestrator_working() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let sim = Sim::start(dir.path(), &region(), 7).await;
    let instance = sim.instances("shop-main-v001").await.remove(0);
    let told = |key: &str| instance[key].as_str().expect("text").to_owned();
    let id = told("id");
    let place = dir.path().join(&id);
    let folder = place.join("state/orchestrator");
    let guard = Living(folder.clone());
    let config = format!(
        "[orchestrator]\nkind = \"process\"\nurl = \"{url}\"\ntimeout = \"2s\"\nstop.grace = \"20s\"\n\
         [orchestrator.activity]\nevery = \"1s\"\nevery_idle = \"1s\"\nsample_max_age = \"1s\"\nactive_by_instance = {{ refreshed = \"1s\" }}\n\
         [orchestrator.process]\ncommand = [\"/bin/sh\", \"-c\", \"{WORKS}\"]\ndirectory = \"{at}\"\n",
        url = told("orchestrator"),
        at = place.display(),
    );
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", told("metadata")), ("AWS_ENDPOINT_URL", sim.endpoint.clone())];
    sim.work("shop-main", 2, [200, 400], 1).await;
    let mut agent = Agent::start(&id, dir.path(), &config, &env);
    let first = running(&mut agent).await;
    let pid = first["process"]["pid"].as_u64().expect("a pid");
    until("it works", SOON, async || (work(&place).0 > 5).then_some(())).await;
    assert_eq!(u64::from(work(&place).1), pid);

    for round in 0..6 {
        // As systemd does with KillMode=process, and as the kernel does to whom it likes.
        let signal = if round % 2 == 0 { Signal::TERM } else { Signal::KILL };
        agent.signal(signal);
        agent.ends(SOON).await;
        works_on(&place).await;
        agent.restart();
        let again = running(&mut agent).await;
        let process = &again["process"];
        assert_eq!((&process["pid"], &process["since"], &process["restarts"]), (&json!(pid), &first["process"]["since"], &json!(0)));
        works_on(&place).await;
    }

    // A file that is broken leaves in force what was, and touches nothing.
    std::fs::write(place.join("bellrock.toml"), "[orchestrator\nkind = ").expect("ours");
    agent.reload();
    let said = "the configuration was not taken over; what was in force stays (runbooks/config-wrong.md)";
    until("the reload is refused", SOON, async || agent.said(said)).await;
    works_on(&place).await;
    assert_eq!(running(&mut agent).await["process"]["pid"], json!(pid));
    let (units, _) = work(&place);

    // Its time has come: it is stopped gracefully, by the agent alone, and then its instance ends.
    let socket = place.join("sock").display().to_string();
    let ordered = bellrock(&["drain", "--socket", &socket, "--reason", "test"], &[]).output().await.expect("the program");
    assert!(ordered.status.success(), "{}", String::from_utf8_lossy(&ordered.stderr));
    until("the instance ends", DRAIN_WITHIN, async || {
        let truth = sim.truth().await;
        truth["decrements"].as_array().expect("a list").iter().any(|d| d["instance"] == *id).then_some(())
    })
    .await;
    let text = std::fs::read_to_string(place.join("work")).expect("its work");
    assert!(text.ends_with(&format!("end {pid}\n")), "it was not asked to end: {:?}", text.lines().next_back());
    assert_eq!(guard.all(), [], "nothing of it is left");
    println!("6 ends of the agent, {units} units of work by one process without a gap; stopped gracefully by the drain");
}
