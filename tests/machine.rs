//! The unit as it is shipped, on machines under a real systemd: each is booted by systemd-nspawn, has instance metadata at its real address, and is an
//! instance of a simulated region. And two hosts with a Redis between them, in network namespaces whose cables are pulled (`partition`).
//!
//! Needs root, systemd-container, debootstrap, iproute2, redis-server, packer, openssh-client and binutils; the first run makes a Debian file system in
//! `target/machine`. Each test is a promise or a few that share a machine, and prints its figures. Every wait is a poll with a deadline.

#[path = "fleet/host.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod door;
#[path = "machine/host.rs"]
mod host;
#[path = "machine/link.rs"]
mod link;
#[path = "moto/server.rs"]
mod moto;
#[path = "machine/orchestrator.rs"]
mod orchestrator;
#[path = "machine/package.rs"]
mod package;
#[path = "machine/packer.rs"]
mod packer;
#[path = "machine/partition.rs"]
mod partition;
#[path = "trouble/players.rs"]
mod players;
#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "../src/orchestrator/store/redis/tests/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the store's tests use the rest")]
mod server;
#[path = "fleet/sim.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod sim;
#[path = "machine/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use bellrock::orchestrator::store::RedisStore;
use bellrock::orchestrator::store::Store;
use door::Door;
use host::SOON;
use orchestrator::WORKS;
use orchestrator::keeper;
use orchestrator::running;
use orchestrator::work;
use orchestrator::works_on;
use partition::End;
use partition::Network;
use players::Account;
use process::until;
use rand::Rng;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use world::CONFIG;
use world::NEWER;
use world::OURS;
use world::beside_an_endpoint;
use world::calls;
use world::config;
use world::deeds;
use world::ec2_state;
use world::group;
use world::with_a_command;
use world::with_a_process;
use world::with_a_unit;
use world::with_an_engine;

const DRAIN_WITHIN: Duration = Duration::from_secs(150);
/// Within which the unit has to stop: its `TimeoutStopSec`.
const STOP_WITHIN: Duration = Duration::from_secs(45);

#[tokio::test]
async fn the_unit_is_active_once_the_agent_says_so_and_all_it_needs_is_open_to_it() {
    let machine = beside_an_endpoint(&[], 1).await;
    // Held at a gate before its first word.
    machine.put_drop_in("gate", "[Service]\nExecStart=\nExecStart=/bin/sh -c 'read gate < /run/gate && exec /usr/bin/bellrock agent'\n");
    machine.does(&["mkfifo", "/run/gate"]).await;
    machine.systemctl(&["daemon-reload"]).await;
    machine.systemctl(&["start", "--no-block", "bellrock"]).await;
    until("its process waits at the gate", SOON, async || (machine.main_pid().await > 0).then_some(())).await;
    assert_eq!(machine.property("bellrock", "ActiveState").await, "activating");
    machine.does(&["sh", "-c", "echo open > /run/gate"]).await;
    until("it is active", SOON, async || (machine.property("bellrock", "ActiveState").await == "active").then_some(())).await;
    machine.systemctl(&["stop", "bellrock"]).await;

    machine.put_drop_in("gate", "");
    machine.start().await;
    assert_eq!(machine.property("bellrock", "ActiveState").await, "active");
    let us = machine.number("ActiveEnterTimestampMonotonic").await - machine.number("ExecMainStartTimestampMonotonic").await;
    let status = machine.is_ready().await;
    assert_eq!(
        (&status["instance"], &status["group"], &status["intake"]["is"]),
        (&json!(machine.id), &json!(OURS), &json!("open")),
        "{status:#}"
    );
    // Whoever was waiting for it may give orders at once.
    let taking = machine.entries(&["SOCKET=/run/bellrock/agent.sock"]).pop().expect("it says so");
    let taking: u64 = taking["_SOURCE_REALTIME_TIMESTAMP"].as_str().and_then(|us| us.parse().ok()).expect("the time");
    let active = machine.systemctl(&["show", "--value", "--timestamp=us+utc", "--property=ActiveEnterTimestamp", "bellrock"]).await;
    let (_, active) = active.split_once(' ').expect("a day of the week, and the time");
    let active: jiff::Timestamp = active.replace(" UTC", "Z").parse().expect("the time");
    assert!(i64::try_from(taking).is_ok_and(|taking| taking < active.as_microsecond()), "active at {active}, taking orders at {taking}");
    // Shorter in the test of the watchdog, so that it ends.
    assert_eq!(machine.property("bellrock", "WatchdogUSec").await, "1min");
    until("systemd has its status", SOON, async || (machine.property("bellrock", "StatusText").await == "working").then_some(())).await;
    println!("FIGURE start: ready after {} ms, pid {}", us / 1000, machine.main_pid().await);
    machine.ends().await;
}

#[tokio::test]
async fn an_agent_that_hangs_is_ended_by_the_watchdog_and_goes_on_from_its_journal_and_one_that_waits_is_not() {
    let machine = beside_an_endpoint(&[NEWER], 2).await;
    machine.put_drop_in("watchdog", "[Service]\nWatchdogSec=3\n");
    // Nobody says who it is: it has nothing to do but to wait, for longer than the watchdog does.
    let metadata = |on: bool| (format!("instance/{}", machine.id), json!({"metadata": on}));
    let (path, off) = metadata(false);
    machine.sim.post(&path, off).await;
    machine.start().await;
    let waits = "instance metadata does not say who we are; nothing is done until it does";
    until("it has waited 2 s, 4 s and 8 s", SOON, async || (machine.journal("bellrock").matches(waits).count() >= 4).then_some(())).await;
    assert_eq!(machine.number("NRestarts").await, 0, "the watchdog ended one that only waits");
    let (path, on) = metadata(true);
    machine.sim.post(&path, on).await;
    machine.is_ready().await;

    // Enough that some of it falls to us.
    machine.sim.work("shop-main", 12, [3000, 4000], 1).await;
    machine.shows("work", SOON, |status| status["activity"]["is"] == "busy").await;
    let ordered = machine.bellrock(&["drain", "--reason", "watchdog test"]).await;
    assert!(ordered.status.success(), "{}", String::from_utf8_lossy(&ordered.stderr));
    let before = machine.shows("the drain to wait for idleness", SOON, |status| status["phase"] == "confirming_idle").await;
    let pid = machine.main_pid().await;
    let hung = SystemClock::start();
    machine.signal("STOP", pid).await;
    let next =
        until("another agent has its place", SOON, async || Some(machine.main_pid().await).filter(|next| *next > 0 && *next != pid)).await;
    let took = hung.now().mono;
    let after = machine.shows("the same drain", SOON, |status| status["phase"] == "confirming_idle").await;
    assert_eq!((&after["reason"], &after["intake"]["is"]), (&before["reason"], &json!("closed")));
    assert_eq!(machine.number("NRestarts").await, 1);
    let journal = machine.journal("bellrock");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    println!(
        "FIGURE watchdog: pid {pid} hung, pid {next} has its place {:.1} s later (WatchdogSec=3, RestartSec=1), in the same drain",
        took.as_secs_f64()
    );
    machine.ends().await;
}

#[tokio::test]
async fn a_reload_takes_a_good_change_and_a_broken_file_leaves_what_was_in_force() {
    let machine = beside_an_endpoint(&[NEWER], 3).await;
    machine.start().await;
    machine.is_ready().await;
    let pid = machine.main_pid().await;
    let good = config(&machine, "kind = \"endpoint\"", "").replace("[drain]\n", "[drain]\ndry_run = true\n");
    machine.put(CONFIG, &good);
    machine.systemctl(&["reload", "bellrock"]).await;
    machine.says("the configuration was read again changed=true").await;
    let refused = async |more: &[&str], why: &str| {
        let ordered = machine.bellrock(&[&["drain", "--reason", "reload test"], more].concat()).await;
        assert!(!ordered.status.success() && String::from_utf8_lossy(&ordered.stderr).contains(why), "{ordered:?}");
    };
    refused(&[], "dry_run is set").await;

    machine.put(CONFIG, &good.replace("quiet = \"3s\"", "quiet = 3 s"));
    machine.systemctl(&["reload", "bellrock"]).await;
    machine.says("the configuration was not taken over; what was in force stays (runbooks/config-wrong.md)").await;
    // Whoever gives orders reads the same file to find the agent, and is told how to do without.
    refused(&[], "--socket").await;
    refused(&["--socket", "/run/bellrock/agent.sock"], "dry_run is set").await;
    assert_eq!((machine.main_pid().await, machine.property("bellrock", "ActiveState").await.as_str()), (pid, "active"));
    println!("FIGURE reload: pid {pid} throughout; a good file, then a broken one");
    machine.ends().await;
}

#[tokio::test]
async fn an_upgrade_or_a_stop_of_the_agent_leaves_a_busy_orchestrator_working_and_the_fleet_alone() {
    let machine = with_a_process(&[], 4).await;
    let at = machine.work();
    machine.start().await;
    let first = running(&machine).await;
    let pid = first["pid"].as_u64().expect("a pid");
    assert_eq!(works_on(&at).await.pid, pid);
    for process in [machine.main_pid().await, pid] {
        let owned = machine.does(&["stat", "-c", "%U", &format!("/proc/{process}")]).await;
        let status = machine.does(&["cat", &format!("/proc/{process}/status")]).await;
        let holds_nothing = ["CapEff:", "CapBnd:", "CapAmb:"].iter().all(|set| status.contains(&format!("{set}\t0000000000000000")));
        assert!(owned == "bellrock" && holds_nothing, "{owned}: {status}");
    }
    let same = async || {
        let again = running(&machine).await;
        assert_eq!((&again["pid"], &again["since"], &again["restarts"]), (&first["pid"], &first["since"], &json!(0)), "{again:#}");
        works_on(&at).await;
    };

    let mut agents = vec![machine.main_pid().await];
    let upgrading = SystemClock::start();
    machine.systemctl(&["restart", "bellrock"]).await;
    let restarted = upgrading.now().mono;
    same().await;
    // As a package does it.
    machine.put_program("/usr/bin/bellrock");
    let old = machine.does(&["readlink", &format!("/proc/{}/exe", machine.main_pid().await)]).await;
    assert_eq!(old, "/usr/bin/bellrock (deleted)", "it is another file");
    agents.push(machine.main_pid().await);
    machine.systemctl(&["restart", "bellrock"]).await;
    same().await;
    let new = machine.does(&["readlink", &format!("/proc/{}/exe", machine.main_pid().await)]).await;
    assert_eq!(new, "/usr/bin/bellrock");
    agents.push(machine.main_pid().await);

    machine.systemctl(&["stop", "bellrock"]).await;
    assert_eq!(machine.property("bellrock", "ActiveState").await, "inactive");
    assert_eq!(works_on(&at).await.pid, pid);
    machine.systemctl(&["start", "bellrock"]).await;
    same().await;
    agents.push(machine.main_pid().await);

    let (truth, group) = (machine.sim.truth().await, machine.sim.group(OURS).await);
    assert_eq!((calls(&truth), &group["desired"], machine.deeds("")), (vec![], &json!(1), 0), "a stop is no drain");
    assert_eq!(ec2_state(&machine).await, "running");
    // Its host goes down under it: that is no drain either, and it is told.
    machine.press_power_button().await;
    until("the machine is off", SOON, async || (!machine.is_on()).then_some(())).await;
    let done = work(&at);
    assert!(done.ended, "nobody asked it to end: {done:?}");
    assert_eq!(calls(&machine.sim.truth().await), Vec::<&Value>::new());
    println!(
        "FIGURE upgrade: agents {agents:?}, orchestrator {pid} throughout: {} units without a gap, until the host went down; a restart took {} ms; no call, desired 1",
        done.units,
        restarted.as_millis()
    );
    machine.ends().await;
}

#[tokio::test]
async fn a_superseded_instance_drains_ends_itself_once_and_powers_off_in_order() {
    let machine = with_a_process(&[], 5).await;
    let at = machine.work();
    machine.start().await;
    let pid = running(&machine).await["pid"].as_u64().expect("a pid");
    machine.sim.work("shop-main", 3, [100, 200], 1).await;
    machine.shows("work", SOON, |status| status["activity"]["is"] == "busy").await;
    machine.sim.incident(json!({"add_group": group(NEWER)})).await;
    machine.sim.incident(json!({"disable": OURS})).await;
    let superseded = SystemClock::start();
    until("EC2 ends the instance", DRAIN_WITHIN, async || {
        assert_eq!(machine.number("NRestarts").await, 0);
        (ec2_state(&machine).await != "running").then_some(())
    })
    .await;
    let drained = superseded.now().mono;
    assert!(work(&at).ended, "the orchestrator was stopped gracefully before");

    machine.press_power_button().await;
    let pressed = SystemClock::start();
    until("the machine is off", SOON, async || (!machine.is_on()).then_some(())).await;
    let off = pressed.now().mono;
    assert!(off < STOP_WITHIN, "{off:?}");
    let moved = machine.entries(&["PHASE=ending"]).pop().expect("an entry with its phase");
    assert!(moved["REASON"].as_str().is_some_and(|reason| reason.contains(NEWER)), "{moved:#}");
    assert!(moved["FROM"].is_string() && moved["PRIORITY"] == "6", "{moved:#}");
    let journal = machine.journal("bellrock");
    assert!(journal.contains("agent stopped") && journal.contains("Deactivated successfully"), "{journal}");
    let truth = machine.sim.truth().await;
    let deeds = deeds(&truth);
    let [call] = deeds[..] else { panic!("{deeds:#?}") };
    assert_eq!((&call["action"], &call["outcome"]), (&json!("TerminateInstanceInAutoScalingGroup"), &json!("applied")));
    assert_eq!((&call["caller"], &call["args"]["InstanceId"]), (&json!(machine.id), &json!(machine.id)));
    let figures = sim::keeps_the_promises(&truth, std::slice::from_ref(&machine.id));
    println!(
        "FIGURE drain: {:.1} s from superseded to ended, of which three executions; orchestrator {pid} stopped; off {:.1} s after the power button; {figures}",
        drained.as_secs_f64(),
        off.as_secs_f64()
    );
    machine.ends().await;
}

#[tokio::test]
async fn whoever_is_killed_comes_back_and_the_orchestrator_is_never_there_twice() {
    const SEED: u64 = 6;
    const ROUNDS: usize = 14;
    let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(SEED);
    let machine = with_a_process(&[], SEED).await;
    let at = machine.work();
    machine.start().await;
    let (mut agents, mut keepers, mut orchestrators, mut slowest) = (0, 0, 0, Duration::ZERO);
    for round in 0..ROUNDS {
        let pid = running(&machine).await["pid"].as_u64().expect("a pid");
        let (before, agent, keeper) = (works_on(&at).await, machine.main_pid().await, keeper(&machine).await);
        // Each set of victims at least once, then as it comes.
        let set = if round < 7 { round + 1 } else { random.random_range(1..8) };
        let [kill_agent, kill_keeper, kill_child] = [1, 2, 4].map(|bit| set & bit > 0);
        let mut victims: Vec<u64> = [(kill_agent, agent), (kill_keeper, keeper), (kill_child, pid)]
            .into_iter()
            .filter_map(|(kill, pid)| kill.then_some(pid))
            .collect();
        victims.shuffle(&mut random);
        let killed = SystemClock::start();
        for victim in victims {
            machine.signal("KILL", victim).await;
        }
        if kill_agent {
            agents += 1;
            until("another agent has its place", SOON, async || Some(machine.main_pid().await).filter(|next| *next > 0 && *next != agent))
                .await;
        }
        (keepers, orchestrators) = (keepers + usize::from(kill_keeper), orchestrators + usize::from(kill_child));
        let wanted = |status: &Value| status["process"]["state"] == "running" && (status["process"]["pid"] != json!(pid)) == kill_child;
        let back = machine.shows("the orchestrator that belongs there", SOON, wanted).await;
        let after = works_on(&at).await;
        assert_eq!(
            (after.runs, json!(after.pid)),
            (before.runs + usize::from(kill_child), back["process"]["pid"].clone()),
            "round {round} of seed {SEED}"
        );
        slowest = slowest.max(killed.now().mono);
    }
    assert_eq!(machine.number("NRestarts").await, agents);
    let done = work(&at);
    println!(
        "FIGURE kills: seed {SEED}: {agents} of the agent, {keepers} of the keeper, {orchestrators} of the orchestrator, in {ROUNDS} rounds; {} runs, {} units, never two; \
         all back within {:.1} s",
        done.runs,
        done.units,
        slowest.as_secs_f64()
    );
    machine.ends().await;
}

#[tokio::test]
async fn a_unit_is_begun_healed_and_stopped_by_systemctl_from_within_the_agents_sandbox() {
    let machine = with_a_unit(&[NEWER], 7).await;
    machine.put_rule();
    let at = machine.work();
    machine.start().await;
    let first = running(&machine).await;
    let orca = async || machine.property("orca", "MainPID").await.parse::<u64>().expect("a number");
    assert_eq!((&first["kind"], &first["pid"]), (&json!("unit"), &json!(orca().await)), "it was never begun, so the agent begins it");
    let before = works_on(&at).await;

    // It fails its probe.
    machine.shows("a well orchestrator", SOON, |status| status["heal"]["state"] == "well").await;
    std::fs::remove_file(at.join("alive")).expect("it is there");
    let sick = SystemClock::start();
    let healed = machine.shows("a restart", SOON, |status| status["heal"]["state"] == "well" && status["heal"]["restarts"] == 1).await;
    let healed_after = sick.now().mono;
    let after = works_on(&at).await;
    assert_eq!((after.runs, after.pid), (before.runs + 1, orca().await), "{:#}", healed["heal"]);

    // The rule is for this unit, and for nobody else.
    let may = async |user: &str, unit: &str| {
        let argv = ["setpriv", &format!("--reuid={user}"), "--clear-groups", "--", "systemctl", "restart", unit];
        machine.run(&argv).await.status.success()
    };
    assert!(!may("bellrock", "systemd-journald.service").await && !may("nobody", "orca.service").await);

    // What somebody else stops is theirs.
    machine.systemctl(&["stop", "orca"]).await;
    machine.shows("that it was stopped", SOON, |status| status["process"]["state"] == "stopped").await;
    machine.systemctl(&["start", "orca"]).await;
    let again = running(&machine).await;
    assert_eq!((&again["pid"], work(&at).runs), (&json!(orca().await), after.runs + 1));
    works_on(&at).await;

    let ordered = machine.bellrock(&["drain", "--reason", "unit test"]).await;
    assert!(ordered.status.success(), "{}", String::from_utf8_lossy(&ordered.stderr));
    until("EC2 ends the instance", DRAIN_WITHIN, async || (ec2_state(&machine).await != "running").then_some(())).await;
    assert_eq!(machine.property("orca", "ActiveState").await, "inactive");
    let last = work(&at);
    assert!(last.ended && last.runs == after.runs + 1, "{last:?}");
    println!(
        "FIGURE unit: begun, restarted by its probe after {:.1} s, left alone when stopped by hand, stopped by the drain",
        healed_after.as_secs_f64()
    );
    machine.ends().await;
}

/// Says what it may do; then it works.
const LOOKS_ABOUT: &str = "for at in / /etc /usr /opt /home /root /var/lib /tmp /var/tmp /srv/work /proc/sys/kernel; do \
     (: > $at/probe) 2>/dev/null && echo $at >> writable; done; \
     env | cut -d= -f1 | sort > environment; echo the orchestrator says hello; ";

#[tokio::test]
async fn what_the_agent_runs_has_the_units_limits_and_is_not_guarded_like_the_agent() {
    let script = format!("{LOOKS_ABOUT}{WORKS}");
    let command = ["/usr/bin/setpriv", "--reuid=nobody", "--regid=nogroup", "--init-groups", "--", "/bin/sh", "-c", &script];
    let machine = with_a_command(&command, &[], 8).await;
    machine.put_shipped("root");
    let at = machine.work();
    machine.start().await;
    let pid = running(&machine).await["pid"].as_u64().expect("a pid");
    works_on(&at).await;
    let (agent, keeper) = (machine.main_pid().await, keeper(&machine).await);
    let read = async |pid: u64, file: &str| machine.does(&["cat", &format!("/proc/{pid}/{file}")]).await;
    let line = async |pid: u64, name: &str| {
        let status = read(pid, "status").await;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
        line.split_whitespace().next().unwrap_or_default().to_owned()
    };
    assert_eq!(machine.property("bellrock", "OOMScoreAdjust").await, "-500");
    assert_eq!(machine.property("bellrock", "LimitNOFILE").await, "65536");
    // A host that is itself a container without CAP_SYS_RESOURCE lets no systemd guard anything, nor raise a limit: then both are what they were.
    let may_guard = machine.run(&["sh", "-c", "echo -500 > /proc/self/oom_score_adj"]).await.status.success();
    let guarded = if may_guard { "-500" } else { "0" };
    let mut scores = Vec::new();
    for (pid, user, score) in [(agent, "0", guarded), (keeper, "0", guarded), (pid, "65534", "0")] {
        assert_eq!((line(pid, "Uid").await.as_str(), read(pid, "oom_score_adj").await.as_str()), (user, score));
        // CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID and CAP_SETUID; a filter; nothing by an exec.
        let held = (line(pid, "CapBnd").await, line(pid, "Seccomp").await, line(pid, "NoNewPrivs").await);
        assert_eq!(held, ("00000000000000e4".to_owned(), "2".to_owned(), "1".to_owned()));
        assert!(read(pid, "cgroup").await.contains("/bellrock.service"), "one unit");
        scores.push(score);
    }
    let limit = async |pid: u64| {
        let limits = read(pid, "limits").await;
        limits.lines().find(|line| line.starts_with("Max open files")).and_then(|line| line.split_whitespace().nth(3)?.parse().ok())
    };
    assert_eq!(limit(pid).await, if may_guard { Some(65536) } else { limit(1).await });
    assert_eq!(machine.property("bellrock", "TasksMax").await, "infinity");
    let said = |name: &str| std::fs::read_to_string(at.join(name)).expect("it said so").lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(said("writable"), ["/tmp", "/var/tmp", "/srv/work"]);
    assert!(machine.path("/tmp/probe").exists() && machine.path("/var/tmp/probe").exists(), "they are the host's");
    assert_eq!(said("environment"), ["BELLROCK_KEPT_IN", "HOME", "LANG", "PATH", "PWD"]);
    // Whoever one is: it is the file system that is closed.
    let try_all = "for at in / /etc /usr /opt /home /root /var/lib /tmp /var/tmp /srv/work /var/lib/bellrock /run/bellrock; do \
         (: > $at/probe) 2>/dev/null && echo $at; done; true";
    let open = machine.does(&["nsenter", "--mount", "--target", &pid.to_string(), "--", "sh", "-c", try_all]).await;
    assert_eq!(open.lines().collect::<Vec<_>>(), ["/tmp", "/var/tmp", "/srv/work", "/var/lib/bellrock", "/run/bellrock"]);
    machine.says("the orchestrator says hello").await;
    assert_eq!(machine.does(&["stat", "-c", "%a", "/var/lib/bellrock"]).await, "700");

    // It is told to end, though it is another user's.
    let ordered = machine.bellrock(&["drain", "--reason", "limits test"]).await;
    assert!(ordered.status.success(), "{}", String::from_utf8_lossy(&ordered.stderr));
    until("the orchestrator is asked to end", DRAIN_WITHIN, async || work(&at).ended.then_some(())).await;
    println!("FIGURE limits: agent {agent}, keeper {keeper}, orchestrator {pid} of uid 65534: OOM scores {scores:?}");
    machine.ends().await;
}

#[tokio::test]
async fn without_room_for_its_journal_an_agent_ends_nothing_says_so_and_goes_on_once_there_is_room() {
    let machine = beside_an_endpoint(&[], 9).await;
    machine.does(&["mkdir", "-p", "/var/lib/bellrock"]).await;
    machine.does(&["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", "/var/lib/bellrock"]).await;
    machine.start().await;
    machine.is_ready().await;
    // As much as there is.
    let filled = machine.run(&["dd", "if=/dev/zero", "of=/var/lib/bellrock/fill", "bs=1k"]).await;
    assert!(String::from_utf8_lossy(&filled.stderr).contains("No space left on device"), "{filled:?}");
    machine.sim.incident(json!({"add_group": group(NEWER)})).await;
    machine.sim.incident(json!({"disable": OURS})).await;
    let held = |status: &Value| status["held"]["code"] == "journal";
    machine.shows("that it holds", DRAIN_WITHIN, held).await;
    assert!(!machine.entries(&["PHASE=held", "HELD=journal"]).is_empty(), "an entry with its phase and code");
    let said = "the journal cannot be written; nothing is done that rests on it (runbooks/journal.md)";
    until("it has tried three times", SOON, async || (machine.journal("bellrock").matches(said).count() >= 3).then_some(())).await;
    // The next agent is no wiser.
    let pid = machine.main_pid().await;
    machine.signal("KILL", pid).await;
    machine.shows("that it holds again", DRAIN_WITHIN, |status| held(status) && status["ready"] == true).await;
    assert_ne!(machine.main_pid().await, pid);
    assert_eq!((calls(&machine.sim.truth().await), ec2_state(&machine).await), (vec![], json!("running")));

    std::fs::remove_file(machine.path("/var/lib/bellrock/fill")).expect("it is ours");
    let room = SystemClock::start();
    until("EC2 ends the instance", DRAIN_WITHIN, async || (ec2_state(&machine).await != "running").then_some(())).await;
    let truth = machine.sim.truth().await;
    assert_eq!((deeds(&truth).len(), machine.deeds("terminate")), (1, 1), "one call, on record");
    println!(
        "FIGURE full disk: held with code journal, through a kill too; ended {:.1} s after there was room",
        room.now().mono.as_secs_f64()
    );
    machine.ends().await;
}

#[tokio::test]
async fn a_job_of_a_pipeline_has_room_to_work_in_the_unit_and_outlives_its_agent() {
    let machine = with_an_engine(10).await;
    machine.start().await;
    machine.is_ready().await;
    let door = Door::new(machine.path("/run/bellrock/agent.sock"), Duration::from_secs(10));
    let script = "mine=$(mktemp) && echo $$ >> /tmp/begun && until [ -e /srv/work/go ]; do sleep 0.05; done; rm $mine; echo done by $$";
    let job = json!({"refId": "1", "requisiteStageRefIds": [], "type": "runJob", "name": "Job", "command": ["sh", "-c", script]});
    door.save(&json!({"application": "shop", "name": "work", "id": "shop-work", "stages": [job]})).await;
    let execution = door.start("work", json!({})).await;
    let begun = || std::fs::read_to_string(machine.path("/tmp/begun")).unwrap_or_default();
    until("the job has begun", SOON, async || {
        let seen = door.get(&execution).await;
        assert!(["NOT_STARTED", "RUNNING"].iter().any(|status| seen["status"] == **status), "{seen:#}");
        (!begun().is_empty()).then_some(())
    })
    .await;
    let pid = begun().trim().to_owned();
    let agent = machine.main_pid().await;
    machine.systemctl(&["restart", "bellrock"]).await;
    machine.is_ready().await;
    door.stage_reaches(&execution, "1", "RUNNING").await;
    let next = machine.main_pid().await;
    machine.signal("KILL", next).await;
    let last =
        until("another agent has its place", SOON, async || Some(machine.main_pid().await).filter(|pid| *pid > 0 && *pid != next)).await;
    std::fs::write(machine.work().join("go"), "").expect("a directory of our own");
    machine.is_ready().await;
    let seen = door.reaches(&execution, "SUCCEEDED").await;
    assert_eq!(begun().trim(), pid, "it was begun once");
    let id = execution.rsplit('/').next().unwrap_or_default();
    assert!(!machine.entries(&[&format!("EXECUTION={id}")]).is_empty(), "entries of {id}");
    assert!(seen.to_string().contains(&format!("done by {pid}")), "{seen:#}");
    println!("FIGURE job: pid {pid}, begun once, under agents {:?}", [agent, next, last]);
    machine.ends().await;
}

/// What a pulled cable of the kernel's does that no proxy does: connections hang, nobody is told, and what was sent arrives late, when it is plugged in again.
#[tokio::test]
async fn while_a_host_is_cut_off_the_other_adopts_its_work_fences_its_late_writes_and_no_two_hold_a_permit() {
    const HOSTS: u8 = 2;
    // Each host at each end of its cable, twice at most; no further once enough was seen.
    const ROUNDS: usize = 8;
    let (seed, network, account, over) = (players::seed(), Network::of(HOSTS), Arc::new(Account::new()), CancellationToken::new());
    let first = network.hosts[0].url();
    let mut tasks = JoinSet::new();
    let making = async move {
        let (store, background) = RedisStore::open(players::settings(&first), "maker").expect("an address");
        let making = async {
            for n in 0..4 {
                store.create(players::new(n)).await.expect("a server that is well");
            }
        };
        tokio::select! { () = background.run() => {}, () = making => {} }
    };
    tasks.spawn_on(making, network.hosts[0].handle());
    tasks.join_next().await.expect("it was begun").expect("it does not panic");
    for (n, host) in network.hosts.iter().enumerate() {
        let (url, account, over) = (host.url(), account.clone(), over.clone());
        let rng = move |salt: u64| rand_pcg::Pcg64::seed_from_u64(seed ^ ((n as u64 + 1) << 8) ^ salt);
        let agent = async move {
            tokio::join!(players::heals(n, &url, &account, rng(1), &over), players::owns(n, &url, &account, rng(2), &over));
        };
        tasks.spawn_on(agent, host.handle());
    }
    let has_both = |n: usize| account.has_served("permit", n) && account.has_served("execution", n);
    let both = async |n: usize| until(&format!("host {n} has a permit and an execution"), SOON, async || has_both(n).then_some(())).await;

    let started = SystemClock::start();
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    while rounds < ROUNDS && (rounds < 4 || account.times("executions adopted") < 2 || account.times("writes fenced") < 2) {
        let (cut, end) = (rounds % 2, if rounds % 4 < 2 { End::Stores } else { End::Hosts });
        account.forget();
        both(cut).await;
        network.plug(cut, end, false);
        let from = started.now().mono;
        // What it was given before it was cut off has run out by then; nothing new can have come.
        until("what it had has run out", SOON, async || (started.now().mono > from + players::LEASE).then_some(())).await;
        account.forget();
        both(1 - cut).await;
        longest = longest.max(started.now().mono - from);
        assert!(!has_both(cut), "it is cut off");
        network.plug(cut, end, true);
        both(cut).await;
        rounds += 1;
    }
    over.cancel();
    let ended = tokio::time::timeout(SOON, tasks.join_all()).await;
    ended.expect("they end");
    let figures = account.verdict();
    let (adopted, fenced) = (account.times("executions adopted"), account.times("writes fenced"));
    assert!(adopted > 0 && fenced > 0 && account.times("questions without an answer") > 0, "nothing much happened: {figures}");
    println!(
        "FIGURE partition: {rounds} cuts of up to {:.1} s, {:.1} s in all; {adopted} executions adopted, {fenced} late writes fenced; {figures}",
        longest.as_secs_f64(),
        started.now().mono.as_secs_f64()
    );
}
