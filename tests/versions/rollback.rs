//! A rollback that the previous version had in hand when its laptop died, and one of a newer version: what stands in the groups' tags.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use serde_json::json;

use super::kept::previous;
use super::process::bellrock;
use super::process::client;
use super::sim::Sim;

const RESTORED: &str = "shop-main-v023";
const RETIRED: &str = "shop-main-v024";
/// The member of the restored group that is in `groups.json`.
const MEMBER: &str = "i-6f3ff5fa84a125723";

/// The region as it was then: the hold is on, the restored group is to have three instances, and has the one that was left.
async fn region(dir: &Path, seed: u64, tag: impl Fn(&str, &str) -> String) -> Sim {
    let groups = |member: &str| -> Value { serde_json::from_str(&previous("groups.json", &[(MEMBER, member)])).expect("JSON") };
    let mut scenario = json!({
        "templates": [{"name": "shop", "versions": [{}, {"orchestrator": {"works": "never_healthy"}}]}],
        "target_groups": [{"name": "shop-main"}],
        "load_balancers": [{"name": "shop-public", "listeners": [[443, "shop-main"]]}],
        "groups": [],
    });
    for (group, version) in groups(MEMBER).as_array().expect("groups").iter().zip(["1", "2"]) {
        let members = group["instances"].as_array().expect("members").len();
        scenario["groups"]
            .as_array_mut()
            .expect("groups")
            .push(json!({"name": group["name"], "min": 0, "desired": members, "max": group["max"],
            "suspended": group["suspended"], "template": "shop", "version": version, "settled": true, "target_groups": ["shop-main"]}));
    }
    let sim = Sim::start(dir, &scenario, seed).await;
    let member = sim.instances(RESTORED).await.remove(0);
    for group in groups(member["id"].as_str().expect("an id")).as_array().expect("groups") {
        let name = group["name"].as_str().expect("a name");
        let sizes = [("MinSize", "min"), ("DesiredCapacity", "desired"), ("MaxSize", "max")]
            .map(|(aws, ours)| (aws.to_owned(), group[ours].to_string()));
        ask(&sim, "UpdateAutoScalingGroup", [("AutoScalingGroupName".to_owned(), name.to_owned())].into_iter().chain(sizes).collect())
            .await;
        let mut tags = BTreeMap::new();
        for (n, (key, value)) in (1..).zip(group["tags"].as_object().expect("tags")) {
            let value = tag(key, value.as_str().expect("text"));
            for (name, text) in [
                ("ResourceId", name),
                ("ResourceType", "auto-scaling-group"),
                ("Key", key),
                ("Value", &value),
                ("PropagateAtLaunch", "false"),
            ] {
                tags.insert(format!("Tags.member.{n}.{name}"), text.to_owned());
            }
        }
        ask(&sim, "CreateOrUpdateTags", tags).await;
    }
    sim
}

async fn ask(sim: &Sim, action: &str, mut form: BTreeMap<String, String>) {
    form.extend([("Action", action), ("Version", "2011-01-01")].map(|(name, text)| (name.to_owned(), text.to_owned())));
    let signed = "AWS4-HMAC-SHA256 Credential=world/20261128/us-east-1/autoscaling/aws4_request, SignedHeaders=host, Signature=x";
    let answer = client().post(&sim.endpoint).header("authorization", signed).form(&form).send().await.expect("answers");
    assert!(answer.status().is_success(), "{action}: {}", answer.text().await.unwrap_or_default());
}

async fn rollback(sim: &Sim, dir: &Path, how: &str) -> Output {
    let journal = dir.join("journal.jsonl").display().to_string();
    let laptop = dir.display().to_string();
    let env = [("AWS_ACCESS_KEY_ID", "oncall"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "us-east-1"), ("XDG_STATE_HOME", &laptop)];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let args =
        ["rollback", "shop", how, "--yes", "--output", "json", "--endpoint", &sim.endpoint, "--journal", &journal, "--owner", "bob@desk"];
    bellrock(&args, &env).output().await.expect("the program that was built for this test")
}

async fn sizes(sim: &Sim, group: &str) -> (Value, Vec<String>) {
    let group = sim.group(group).await;
    let tags = group["tags"].as_object().expect("tags").keys().filter(|key| *key != "bellrock:capacity" && *key != "bellrock:generation");
    (json!([group["min"], group["desired"], group["max"], group["suspended"]]), tags.cloned().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_that_the_previous_version_began_is_gone_on_with() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let sim = region(dir.path(), 21, |_, text| text.to_owned()).await;
    let done = rollback(&sim, dir.path(), "--resume").await;
    assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(sizes(&sim, RESTORED).await, (json!([2, 3, 10, []]), vec!["team".to_owned()]));
    assert_eq!(sizes(&sim, RETIRED).await, (json!([0, 0, 0, []]), Vec::new()));
    assert_eq!(sim.instances(RESTORED).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_that_the_previous_version_began_is_undone_to_what_it_had_found() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let sim = region(dir.path(), 22, |_, text| text.to_owned()).await;
    let done = rollback(&sim, dir.path(), "--undo").await;
    assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let disabled = json!(["Launch", "Terminate", "AddToLoadBalancer"]);
    assert_eq!(sizes(&sim, RESTORED).await, (json!([0, 1, 10, disabled]), vec!["team".to_owned()]));
    assert_eq!(sizes(&sim, RETIRED).await, (json!([2, 3, 10, []]), Vec::new()));
    assert_eq!(sim.group(RESTORED).await["tags"]["bellrock:capacity"], "3/3/10@v024", "as the agents had left it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_of_a_newer_version_is_refused_and_nothing_of_it_is_touched() {
    // Undoing puts back what was found, however the rollback was asked to go.
    for (seed, tag, ways) in [(23, "bellrock:found", &["--resume", "--undo"][..]), (24, "bellrock:asked", &["--resume"])] {
        let dir = tempfile::tempdir().expect("a directory of our own");
        let sim = region(dir.path(), seed, |key, text| if key == tag { format!("{text} novelty=1") } else { text.to_owned() }).await;
        let before = (sim.group(RESTORED).await, sim.group(RETIRED).await);
        for how in ways {
            let refused = rollback(&sim, dir.path(), how).await;
            let said = String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
            assert!(
                refused.status.code() == Some(2) && said.contains("rollback-record-unreadable"),
                "{tag} {how}: {:?} {said}",
                refused.status
            );
        }
        assert_eq!((sim.group(RESTORED).await, sim.group(RETIRED).await), before);
    }
}
