//! Regions for machines, and what an agent is configured to do in them.

use serde_json::Value;
use serde_json::json;

use super::host::Machine;
use super::orchestrator::WORKS;

pub const OURS: &str = "shop-main-v001";
pub const NEWER: &str = "shop-main-v002";
pub const CONFIG: &str = "/etc/bellrock/bellrock.toml";

pub fn group(name: &str) -> Value {
    json!({"name": name, "min": 0, "max": 3, "desired": 1, "template": "shop", "version": "1", "settled": true})
}

/// Our group, and the newer ones that are there already.
pub fn region(newer: &[&str]) -> Value {
    let groups: Vec<Value> = [OURS].iter().chain(newer).map(|name| group(name)).collect();
    json!({"templates": [{"name": "shop", "versions": [{}]}], "groups": groups, "undocumented": {}})
}

/// Quick where the defaults are patient; `kind` is what the orchestrator's table begins with.
pub fn config(machine: &Machine, kind: &str, rest: &str) -> String {
    format!(
        "[fleet]\nagree_over = \"1s\"\ndescribe_every = \"10s\"\nmetadata_every = \"1s\"\n\
         [fleet.aws]\nendpoint = \"{region}\"\nattempt_timeout = \"1s\"\ncall_timeout = \"5s\"\n\
         [drain]\nsettle = \"2s\"\nquiet = \"3s\"\nstale_bound = \"1s\"\n\
         [orchestrator]\n{kind}\nurl = \"{url}\"\ntimeout = \"2s\"\n\
         [orchestrator.activity]\nevery = \"1s\"\nevery_idle = \"1s\"\nsample_max_age = \"1s\"\nactive_by_instance = {{ refreshed = \"1s\" }}\n\
         {rest}",
        region = machine.sim.endpoint,
        url = machine.orchestrator,
    )
}

/// A machine whose agent looks at an orchestrator that the region plays.
pub async fn beside_an_endpoint(newer: &[&str], seed: u64) -> Machine {
    let machine = Machine::boot(&region(newer), OURS, seed).await;
    machine.put(CONFIG, &config(&machine, "kind = \"endpoint\"", ""));
    machine
}

/// A machine whose agent runs the orchestrator.
pub async fn with_a_process(newer: &[&str], seed: u64) -> Machine {
    with_a_command(&["/bin/sh", "-c", WORKS], newer, seed).await
}

/// The same, with another command.
pub async fn with_a_command(command: &[&str], newer: &[&str], seed: u64) -> Machine {
    let machine = Machine::boot(&region(newer), OURS, seed).await;
    let process = format!(
        "[orchestrator.process]\ncommand = {command:?}\ndirectory = \"/srv/work\"\n\
         [orchestrator.stop]\ngrace = \"20s\"\n[orchestrator.restart]\nstarts = 100\nwindow = \"10s\"\n"
    );
    machine.put(CONFIG, &config(&machine, "kind = \"process\"", &process));
    machine.put_process_conf();
    machine
}

/// A machine whose agent runs pipelines itself, as the shipped unit lets it.
pub async fn with_an_engine(seed: u64) -> Machine {
    let machine = Machine::boot(&region(&[]), OURS, seed).await;
    machine.put(
        CONFIG,
        &format!("[fleet.aws]\nendpoint = \"{}\"\n[orchestrator]\nkind = \"embedded\"\n[log]\nlevel = \"debug\"\n", machine.sim.endpoint),
    );
    machine
}

/// A machine whose agent sees to a unit of systemd's, which writes `alive` when it starts.
pub async fn with_a_unit(newer: &[&str], seed: u64) -> Machine {
    let machine = Machine::boot(&region(newer), OURS, seed).await;
    std::fs::write(machine.work().join("orca"), format!("cd /srv/work; touch alive; {WORKS}\n")).expect("a directory of our own");
    machine.put("/etc/systemd/system/orca.service", "[Service]\nExecStart=/bin/sh /srv/work/orca\n");
    let heal = "[heal]\nstop_grace = \"5s\"\nturn = \"35s\"\nstart_grace = \"2s\"\nbackoff = \"1s\"\n\
        [heal.liveness]\nrun = [\"/usr/bin/test\", \"-e\", \"/srv/work/alive\"]\nevery = \"1s\"\ntimeout = \"1s\"\nfailures = 2\n";
    machine.put(CONFIG, &config(&machine, "kind = \"unit\"\nunit = \"orca.service\"", heal));
    machine.put_shipped("unit");
    machine
}

/// Calls that change something, whatever came of them.
pub fn calls(truth: &Value) -> Vec<&Value> {
    truth["calls"].as_array().expect("a list").iter().filter(|call| call["caller"] != "scenario").collect()
}

/// Those that change more than the tag in which a superseded group's capacity is kept.
pub fn deeds(truth: &Value) -> Vec<&Value> {
    calls(truth).into_iter().filter(|call| call["action"] != "CreateOrUpdateTags").collect()
}

pub async fn ec2_state(machine: &Machine) -> Value {
    let control = machine.sim.control().await;
    let instances = control["instances"].as_array().expect("instances");
    instances.iter().find(|instance| instance["id"] == *machine.id).map_or(Value::Null, |instance| instance["state"].clone())
}
