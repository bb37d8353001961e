//! A region in the night: v023 half drained, v024 never healthy; and what has to be true of it after a rollback.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

use super::sim::Sim;

/// Instances that the main cluster had before anybody drained it.
pub const COUNT: usize = 3;
/// Whose calls they are in the region's ground truth: the access key is the name.
pub const PERSON: &str = "oncall";

const DISABLED: [&str; 3] = ["Launch", "Terminate", "AddToLoadBalancer"];

/// Two clusters, one of them polling. The agents of v023 have ended two instances of three, and the poller, and left the sizes in tags.
pub fn half_drained() -> Value {
    let behind = json!({ "target_groups": ["shop-main", "shop-internal"], "classic_load_balancers": ["shop-classic"] });
    let group = |name: &str, min: u32, desired: u32, max: u32, version: &str, more: &[&Value]| {
        let mut group =
            json!({ "name": name, "min": min, "desired": desired, "max": max, "template": "shop", "version": version, "settled": true });
        for (key, value) in more.iter().filter_map(|more| more.as_object()).flatten() {
            group[key] = value.clone();
        }
        group
    };
    let drained = |from: &str| json!({ "suspended": DISABLED, "tags": { "bellrock:capacity": from, "team": "delivery" } });
    json!({
        "templates": [{ "name": "shop", "versions": [{}, { "orchestrator": { "works": "never_healthy" } }] }],
        "target_groups": [{ "name": "shop-main" }, { "name": "shop-internal" }],
        "load_balancers": [
            { "name": "shop-public", "listeners": [[443, "shop-main"]] },
            { "name": "shop-private", "internal": true, "listeners": [[80, "shop-internal"]] },
        ],
        "classic_load_balancers": [{ "name": "shop-classic", "internal": true }],
        "groups": [
            group("shop-main-v023", 0, 1, 10, "1", &[&behind, &drained("3/3/10")]),
            group("shop-polling-v023", 0, 0, 1, "1", &[&drained("1/1/1")]),
            group("shop-main-v024", 2, 3, 10, "2", &[&behind]),
            group("shop-polling-v024", 1, 1, 1, "2", &[]),
        ],
    })
}

/// A fresh region of its own process.
pub async fn region(dir: &Path, seed: u64) -> Sim {
    Sim::start(dir, &half_drained(), seed).await
}

/// What a rollback promises of [`half_drained`], whatever happened on the way; everything that is wrong, a line each.
pub async fn wrong(sim: &Sim) -> Vec<String> {
    wrong_by(sim, PERSON).await
}

/// The same when the calls are somebody else's in the ground truth.
pub async fn wrong_by(sim: &Sim, person: &str) -> Vec<String> {
    let (control, truth) = (sim.control().await, sim.truth().await);
    let mut wrong = Vec::new();
    // S12: sizes, processes, tags, as the plan says and as they were found.
    for (name, sizes) in
        [("shop-main-v023", [3, 3, 10]), ("shop-main-v024", [0, 0, 0]), ("shop-polling-v023", [1, 1, 1]), ("shop-polling-v024", [0, 0, 0])]
    {
        let group = &control["groups"].as_array().expect("groups").iter().find(|g| g["name"] == name).expect("it is there").clone();
        let has = ["min", "desired", "max"].map(|size| group[size].as_u64().unwrap_or(u64::MAX));
        if has != sizes {
            wrong.push(format!("{name} is at {has:?}, not {sizes:?}"));
        }
        if group["suspended"] != json!([]) {
            wrong.push(format!("{name} has {} suspended", group["suspended"]));
        }
        if !group["tags"]["bellrock:hold"].is_null() {
            wrong.push(format!("{name} is still held: {}", group["tags"]["bellrock:hold"]));
        }
        if name.ends_with("v023") && group["tags"]["team"] != "delivery" {
            wrong.push(format!("{name} lost a tag that is not ours: {}", group["tags"]));
        }
    }
    let members: Vec<String> = sim.instances("shop-main-v023").await.iter().map(|i| i["id"].as_str().expect("an id").to_owned()).collect();
    for (target_group, serving) in sim.healthy_targets().await {
        let ours = serving.iter().filter(|id| members.contains(id)).count();
        if (ours, serving.len()) != (COUNT, COUNT) {
            wrong.push(format!("{ours} of {COUNT} serve behind {target_group}, and {} others", serving.len() - ours));
        }
    }
    wrong.extend(out_of_order(&truth, person));
    wrong
}

/// S13 and S14, from the region's ground truth: the restored group never shrinks, the newest not before it is whole, and one poller at a time.
fn out_of_order(truth: &Value, person: &str) -> Vec<String> {
    let list = |key: &str| truth[key].as_array().expect("a list").clone();
    let at = |entry: &Value| entry["at"].as_f64().expect("a time");
    let states = list("states");
    let in_service = |group: &str, when: f64| {
        let mut last = BTreeMap::new();
        for change in states.iter().filter(|c| c["group"] == group && at(c) <= when) {
            last.insert(change["instance"].as_str().expect("an id"), change["state"].as_str().unwrap_or_default());
        }
        last.values().filter(|state| **state == "InService").count()
    };
    let mut wrong = Vec::new();
    let mut desired: BTreeMap<String, u64> = BTreeMap::new();
    if !list("capacity").iter().any(|change| change["by"] == person) {
        wrong.push(format!("nothing was resized by {person}"));
    }
    for change in list("capacity") {
        let (group, now) = (change["group"].as_str().expect("a name"), change["capacity"]["desired"].as_u64().expect("a size"));
        let before = desired.insert(group.to_owned(), now);
        if change["by"] != person || before.is_none_or(|before| before <= now) {
            continue;
        }
        let when = at(&change);
        if group.ends_with("v023") {
            wrong.push(format!("{group} was taken down to {now} at {when}"));
        }
        let serving = in_service("shop-main-v023", when);
        if group == "shop-main-v024" && serving < COUNT {
            wrong.push(format!("{group} was taken down to {now} at {when}, when {serving} of {COUNT} had been restored"));
        }
    }
    let first = states.iter().filter(|c| c["group"] == "shop-polling-v023").map(at).fold(f64::INFINITY, f64::min);
    for ended in list("terminations").iter().filter(|t| t["group"] == "shop-polling-v024") {
        if ended["stopped"].as_f64().is_none_or(|stopped| stopped > first) {
            wrong.push(format!("the old poller was launched at {first}, the new one had stopped at {}", ended["stopped"]));
        }
    }
    wrong
}
