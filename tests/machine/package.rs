//! The Debian package on machines that have nothing of it: installed, upgraded, taken back, removed in the middle of a drain, purged.

use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use serde_json::Value;
use serde_json::json;

use super::host::Machine;
use super::host::SOON;
use super::host::done;
use super::host::source;
use super::orchestrator::WORKS;
use super::orchestrator::keeper;
use super::orchestrator::running;
use super::orchestrator::works_on;
use super::process::until;
use super::world::CONFIG;
use super::world::NEWER;
use super::world::OURS;
use super::world::config;
use super::world::deeds;
use super::world::region;

/// Where packages are inside.
const AT: &str = "/srv/work";

/// What `systemd/debian/package dev` made.
pub fn package() -> PathBuf {
    let folder = source("target/debian");
    let made = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let made: Vec<PathBuf> = made.filter(|path| path.extension().is_some_and(|ext| ext == "deb")).collect();
    let age = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).expect("it is there");
    let newest = made.into_iter().max_by_key(|path| age(path)).expect("run systemd/debian/package dev");
    assert!(age(&newest) >= age(Path::new(env!("CARGO_BIN_EXE_bellrock"))), "it is older than the program: run systemd/debian/package dev");
    newest
}

/// The same as a later version.
fn later() -> &'static Path {
    static LATER: OnceLock<PathBuf> = OnceLock::new();
    LATER.get_or_init(|| {
        let (tree, deb) = (source("target/machine/later"), source("target/machine/later.deb"));
        let _ = std::fs::remove_dir_all(&tree);
        done(std::process::Command::new("dpkg-deb").arg("--raw-extract").arg(package()).arg(&tree));
        let control = tree.join("DEBIAN/control");
        let text = std::fs::read_to_string(&control).expect("it is there");
        let version = text.lines().find_map(|line| line.strip_prefix("Version: ")).expect("a version");
        std::fs::write(&control, text.replace(version, "99.0.0-1")).expect("room");
        done(std::process::Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&deb));
        std::fs::remove_dir_all(&tree).expect("it is ours");
        deb
    })
}

/// A machine beside which both versions lie.
async fn machine(newer: &[&str], seed: u64) -> Machine {
    let machine = Machine::bare(&region(newer), OURS, seed).await;
    for (deb, name) in [(package().as_path(), "bellrock.deb"), (later(), "later.deb")] {
        std::fs::copy(deb, machine.work().join(name)).expect("room");
    }
    machine
}

async fn dpkg(machine: &Machine, words: &[&str]) -> String {
    machine.does(&[&["env", "DEBIAN_FRONTEND=noninteractive", "dpkg"], words].concat()).await
}

/// What of it is on the machine, beside what systemd's journal keeps.
async fn left(machine: &Machine) -> Vec<String> {
    let found = machine.does(&["find", "/", "-xdev", "-name", "*bellrock*", "-not", "-path", "/proc/*", "-not", "-path", "/sys/*"]).await;
    found.lines().map(str::to_owned).collect()
}

/// The one block of docs/install.md that is a session on a machine.
fn documented() -> String {
    let page = std::fs::read_to_string(source("docs/install.md")).expect("it is there");
    let (_, block) = page.split_once("```console\n").expect("a session");
    block.split_once("```").expect("it ends").0.to_owned()
}

/// Without what differs from run to run and from release to release of Debian: numbers, and where systemd sees its units.
fn masked(text: &str) -> String {
    let figures = regex::Regex::new(r"[0-9]+(\.[0-9]+)*([-~+][0-9]+)?").expect("a pattern");
    let blanks = regex::Regex::new(r"[ \t]+").expect("a pattern");
    let text = figures.replace_all(text, "N").replace(" /usr/lib/systemd", " /lib/systemd");
    text.lines().map(|line| blanks.replace_all(line.trim_end(), " ").into_owned()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn on_a_bare_machine_the_package_two_lines_and_a_start_make_an_agent_that_is_ready() {
    let mut machine = machine(&[], 11).await;
    let orchestrator = machine.orchestrator.clone();
    machine.open_door("127.0.0.1:8083".parse().expect("an address"), &orchestrator);
    // The region stands in for AWS, and for nothing else.
    machine.put_drop_in("region", &format!("[Service]\nEnvironment=AWS_ENDPOINT_URL={}\n", machine.sim.endpoint));
    std::fs::rename(machine.work().join("bellrock.deb"), machine.work().join("bellrock_0.1.0-1_amd64.deb")).expect("it is ours");

    let commands: Vec<String> = documented().lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect();
    let mut session = String::new();
    let mut us = 0;
    for command in &commands {
        let started = command.contains("systemctl enable --now");
        let begun = SystemClock::start();
        let ran = machine.run(&["sh", "-c", &format!("cd {AT} && {command} 2>&1")]).await;
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stdout));
        if started {
            machine.is_ready().await;
            us = begun.now().mono.as_micros();
        }
        session.push_str(&format!("# {command}\n{}", String::from_utf8_lossy(&ran.stdout)));
    }
    assert_eq!(masked(&documented()), masked(&session), "docs/install.md is not what happens:\n{session}");
    let status = machine.is_ready().await;
    assert_eq!((&status["instance"], &status["group"]), (&json!(machine.id), &json!(OURS)));
    println!("FIGURE install: ready {} ms after `systemctl enable --now`; the session:\n{session}", us / 1000);

    // As its state was when a unit of somebody's ran it as root, and back.
    let owner = async || machine.does(&["stat", "-c", "%U", "/var/lib/bellrock", "/var/lib/bellrock/audit.jsonl"]).await;
    assert_eq!(owner().await, "bellrock\nbellrock");
    machine.put_shipped("root");
    for (user, text) in [("root", None), ("bellrock", Some(""))] {
        text.into_iter().for_each(|text| machine.put_drop_in("root", text));
        machine.systemctl(&["daemon-reload"]).await;
        machine.systemctl(&["restart", "bellrock"]).await;
        machine.is_ready().await;
        assert_eq!(owner().await, format!("{user}\n{user}"));
    }

    // Not on EC2.
    machine.sim.post(&format!("instance/{}", machine.id), json!({"metadata": false})).await;
    let before = machine.sim.truth().await["calls"].as_array().map(Vec::len);
    machine.systemctl(&["restart", "bellrock"]).await;
    let waits = machine.shows("that it waits", SOON, |status| status["waits_for"] == "instance metadata").await;
    assert!(waits["evidence"].to_string().contains("runbooks/no_metadata.md"), "{waits:#}");
    let asked = machine.bellrock(&["drain", "--reason", "not on EC2"]).await;
    assert!(!asked.status.success(), "{asked:?}");
    let pid = machine.main_pid().await;
    let at = std::fs::read_to_string(machine.path(&format!("/proc/{pid}/status"))).expect("it runs");
    let memory = at.lines().find(|line| line.starts_with("VmRSS")).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let stat = std::fs::read_to_string(machine.path(&format!("/proc/{pid}/stat"))).expect("it runs");
    let spent = stat
        .rsplit_once(") ")
        .map(|(_, fields)| fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>());
    assert_eq!(machine.sim.truth().await["calls"].as_array().map(Vec::len), before, "nobody is called before it knows who it is");
    println!(
        "FIGURE not on EC2: {}, {} ms of processor time since its start, of an unoptimized build",
        memory.unwrap_or_default(),
        10 * spent.unwrap_or_default()
    );
    machine.ends().await;
}

#[tokio::test]
async fn an_upgrade_a_downgrade_and_a_removal_leave_the_orchestrator_at_work_and_a_purge_leaves_nothing() {
    let machine = machine(&[NEWER], 12).await;
    let process = format!("[orchestrator.process]\ncommand = {:?}\ndirectory = \"{AT}\"\n", ["/bin/sh", "-c", WORKS]);
    machine.put(CONFIG, &config(&machine, "kind = \"process\"", &process));
    machine.put_process_conf();
    let (deb, later) = (format!("{AT}/bellrock.deb"), format!("{AT}/later.deb"));
    // The file that is there is its owner's.
    dpkg(&machine, &["--force-confold", "-i", &deb]).await;
    assert_eq!(machine.property("bellrock", "ActiveState").await, "inactive", "installing starts nothing");
    dpkg(&machine, &["--force-confold", "-i", &later]).await;
    assert_eq!(machine.property("bellrock", "ActiveState").await, "inactive", "nor does an upgrade of what does not run");
    dpkg(&machine, &["--force-confold", "-i", &deb]).await;

    machine.systemctl(&["enable", "--now", "bellrock"]).await;
    let first = running(&machine).await;
    let at = machine.work();
    let mut agents = vec![machine.main_pid().await];
    let work = works_on(&at).await;
    let took = SystemClock::start();
    for package in [&later, &deb, &later] {
        dpkg(&machine, &["-i", package]).await;
        let agent = machine.main_pid().await;
        assert!(agent > 0 && !agents.contains(&agent), "it is another one: {agent} after {agents:?}");
        agents.push(agent);
        let again = running(&machine).await;
        assert_eq!((&again["pid"], &again["restarts"]), (&first["pid"], &json!(0)));
        let now = works_on(&at).await;
        assert_eq!((now.runs, now.pid), (work.runs, work.pid));
    }
    let took = took.now().mono;

    // It is removed in the middle of a drain: that one stands where it was.
    machine.sim.work("shop-main", 12, [3000, 4000], 1).await;
    machine.shows("work", SOON, |status| status["activity"]["is"] == "busy").await;
    let ordered = machine.bellrock(&["drain", "--reason", "package test"]).await;
    assert!(ordered.status.success(), "{}", String::from_utf8_lossy(&ordered.stderr));
    machine.shows("a drain", SOON, |status| status["phase"] == "confirming_idle").await;
    let keeper = keeper(&machine).await;
    let said = dpkg(&machine, &["-r", "bellrock"]).await;
    assert!(said.contains("This drains nothing") && said.contains("confirming_idle"), "{said}");
    assert!(machine.status().await.is_none());
    works_on(&at).await;
    assert!(machine.path("/var/lib/bellrock/journal").exists() && machine.path(CONFIG).exists(), "a removal is no purge");
    assert_eq!(machine.property("bellrock", "LoadState").await, "masked", "nothing starts what is not there");
    let truth = machine.sim.truth().await;
    assert_eq!(deeds(&truth), Vec::<&Value>::new(), "a removal ends nothing");
    dpkg(&machine, &["--force-confold", "-i", &deb]).await;
    machine.systemctl(&["start", "bellrock"]).await;
    machine.shows("the same drain", SOON, |status| status["phase"] == "confirming_idle" && status["ready"] == true).await;
    assert_eq!(running(&machine).await["pid"], first["pid"]);

    let said = dpkg(&machine, &["-P", "bellrock"]).await;
    assert!(!said.to_lowercase().contains("error"), "{said}");
    works_on(&at).await;
    for pid in [keeper, first["pid"].as_u64().expect("a pid")] {
        machine.signal("KILL", pid).await;
    }
    until("they have ended", SOON, async || machine.run(&["pgrep", "-u", "bellrock"]).await.status.code().filter(|code| *code == 1)).await;
    assert_eq!(left(&machine).await, ["/etc/systemd/system/bellrock.service.d"], "what is left after a purge is ours");

    let user = machine.run(&["getent", "passwd", "bellrock"]).await;
    assert!(user.status.success(), "keys and tokens that were given to it must not become the next user's");
    println!(
        "FIGURE package: agents {agents:?}, orchestrator {} throughout; three changes of version took {:.1} s; removed in a drain, gone after a purge",
        first["pid"],
        took.as_secs_f64()
    );
    machine.ends().await;
}
