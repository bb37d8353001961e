//! `bellrock rollback` as a shell sees it, against a served region that stands still: what it refuses, a dry run, a signal.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use bellrock::cloud::permission::NEVER;
use bellrock::cloud::sim::Region;
use bellrock::cloud::sim::serve::Server;
use bellrock::cloud::sim::serve::scenario;
use bellrock::model::Timestamp;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long a process may take for what takes it a second.
const LIMIT: Duration = Duration::from_secs(60);

/// v023 disabled, v024 never healthy; its time stands.
struct Sim {
    endpoint: String,
    _stop: oneshot::Sender<()>,
    _server: JoinSet<std::io::Result<()>>,
}

impl Sim {
    async fn start() -> Self {
        let mut region = Region::new(1, Timestamp(1_700_000_000_000));
        region.load(&scenario::named("broken").expect("it is there")).expect("loads");
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), region, 0.0).await.expect("binds");
        let endpoint = server.endpoint();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(async move { drop(stopped.await) }));
        let sim = Self { endpoint, _stop: stop, _server: tasks };
        let jump = sim.http().post(format!("{}/control/advance", sim.endpoint)).json(&serde_json::json!({ "seconds": 150 }));
        assert!(jump.send().await.expect("answers").status().is_success());
        sim
    }

    fn http(&self) -> reqwest::Client {
        reqwest::Client::builder().no_proxy().timeout(LIMIT).build().expect("a client")
    }

    /// All groups, with sizes, processes, tags and members; they stand as still as time.
    async fn groups(&self) -> Value {
        let control = self.http().get(format!("{}/control", self.endpoint)).send().await.expect("answers");
        control.json::<Value>().await.expect("JSON")["groups"].take()
    }

    fn rollback(&self, dir: &Path, args: &[&str]) -> Command {
        self.command("rollback", dir, args)
    }

    fn command(&self, name: &str, dir: &Path, args: &[&str]) -> Command {
        let mut command = self.words(name, dir, args);
        command.args(["--output", "json"]);
        command
    }

    /// With an answer for people.
    fn words(&self, name: &str, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellrock"));
        command.arg(name).args(args).args(["--endpoint", &self.endpoint]).env_clear();
        command.envs([("AWS_ACCESS_KEY_ID", "oncall"), ("AWS_SECRET_ACCESS_KEY", "none"), ("AWS_REGION", "us-east-1")]);
        command.envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")]).env("XDG_STATE_HOME", dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn examined(&self, args: &[&str]) -> (Option<i32>, Value) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ended =
            tokio::time::timeout(LIMIT, self.command("doctor", dir.path(), args).output()).await.expect("ends in time").expect("runs");
        (ended.status.code(), serde_json::from_slice(&ended.stdout).unwrap_or_default())
    }

    async fn ended(&self, args: &[&str]) -> (Option<i32>, Value) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ended = tokio::time::timeout(LIMIT, self.rollback(dir.path(), args).output()).await.expect("ends in time").expect("runs");
        (ended.status.code(), serde_json::from_slice(&ended.stdout).unwrap_or_default())
    }
}

#[tokio::test]
async fn what_is_refused_is_code_2_and_what_is_only_tried_0_and_neither_changes_anything() {
    let sim = Sim::start().await;
    let before = sim.groups().await;
    let (code, said) = sim.ended(&["spinnaker", "--yes", "--to", "v007"]).await;
    assert_eq!((code, &said["outcome"]), (Some(2), &"refused".into()), "{said:#}");
    assert!(said["reasons"][0]["code"] == "rollback-no-such-version", "{said:#}");
    let (code, said) = sim.ended(&["spinnaker", "--dry-run"]).await;
    assert_eq!((code, &said["outcome"]), (Some(0), &"dry_run".into()), "{said:#}");
    assert_eq!(sim.ended(&["spinnaker"]).await.0, Some(2), "there is no terminal to ask at");
    assert_eq!(sim.ended(&["spinnaker", "--yes", "--service-url", "gate/health"]).await.0, Some(2), "no URL");
    assert_eq!(sim.groups().await, before);
}

#[tokio::test]
async fn doctor_says_what_a_rollback_would_do_or_what_would_stop_it_and_changes_nothing() {
    let sim = Sim::start().await;
    let before = sim.groups().await;
    let (code, said) = sim.examined(&["spinnaker"]).await;
    assert_eq!((code, &said["ready"]), (Some(0), &true.into()), "{said:#}");
    let region = &said["regions"][0];
    assert!(region["caller"]["arn"].as_str().is_some_and(|arn| arn.ends_with("/oncall")), "{region:#}");
    let groups: Vec<_> = region["groups"].as_array().expect("a list").iter().map(|g| (&g["group"], &g["is_disabled"])).collect();
    assert_eq!(groups.len(), 4);
    assert_eq!((groups[0].0.as_str(), groups[0].1.as_bool()), (Some("spinnaker-main-v023"), Some(true)), "{groups:?}");
    assert_eq!(region["plan"]["clusters"][0]["restore"]["name"], "spinnaker-main-v023", "{region:#}");
    let launches = &region["launches"][0];
    assert_eq!((&launches["group"], &launches["from"][0]), (&"spinnaker-main-v023".into(), &"spinnaker:1".into()), "{launches:#}");
    assert_eq!(launches["images"][0], serde_json::json!(["ami-00000000000000023", "available"]), "{launches:#}");
    assert!(launches["free_addresses"].as_u64().is_some_and(|free| free > 100), "{launches:#}");
    assert_eq!(launches["types"][0], serde_json::json!(["m5.large", ["us-east-1a", "us-east-1b"]]), "{launches:#}");
    assert!(region["vcpus"]["in_use"].as_u64().is_some_and(|used| used >= 2 * 8), "{region:#}");

    // All that is needed lives, so that a lost image is a warning on a calm day.
    let lost =
        sim.http().post(format!("{}/control/incident", sim.endpoint)).json(&serde_json::json!({ "remove_image": "ami-00000000000000023" }));
    assert!(lost.send().await.expect("answers").status().is_success());
    let (_, said) = sim.examined(&["spinnaker"]).await;
    let findings = said["regions"][0]["plan"]["findings"].as_array().expect("a list");
    let told = |code: &str| findings.iter().any(|f| f["code"] == code && f["severity"] == "warning");
    assert!(told("preflight-image-unusable"), "{said:#}");

    // Restored by somebody else at this moment, in an application that does not exist, and for users who are not served.
    let hold = "generation=1 expires=2099-01-01T00:00:00Z owner=bob@desk";
    let tag = [
        ("Action", "CreateOrUpdateTags"),
        ("Tags.member.1.ResourceId", "spinnaker-main-v024"),
        ("Tags.member.1.ResourceType", "auto-scaling-group"),
        ("Tags.member.1.Key", "bellrock:hold"),
        ("Tags.member.1.Value", hold),
        ("Version", "2011-01-01"),
        ("Tags.member.1.PropagateAtLaunch", "false"),
    ];
    assert!(sim.http().post(&sim.endpoint).form(&tag).send().await.expect("answers").status().is_success());
    let (code, said) = sim.examined(&["spinnaker"]).await;
    assert_eq!((code, &said["regions"][0]["refusals"][0]["code"]), (Some(1), &"rollback-held".into()), "{said:#}");
    assert!(said["regions"][0]["refusals"][0]["next"].as_str().is_some_and(|next| next.contains("--owner bob@desk")), "{said:#}");
    assert!(said["regions"][0]["groups"].as_array().expect("a list").iter().any(|g| g["hold"] == hold), "{said:#}");
    let (code, said) = sim.examined(&["nobodys"]).await;
    assert_eq!((code, &said["regions"][0]["refusals"][0]["code"]), (Some(1), &"rollback-no-such-application".into()), "{said:#}");
    let (code, said) = sim.examined(&["spinnaker", "--cluster", "spinnaker-polling", "--service-url", "http://127.0.0.1:1/"]).await;
    assert!(code == Some(1) && said["regions"][0]["services"][0]["problem"].is_string(), "{said:#}");
    let after = sim.groups().await;
    let sizes = |groups: &Value| {
        groups.as_array().expect("a list").iter().map(|g| (g["desired"].clone(), g["suspended"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&after), sizes(&before));
}

#[tokio::test]
async fn doctor_says_what_a_role_may_not_do_that_it_must_and_what_it_may_that_it_need_not() {
    let sim = Sim::start().await;
    let role = "arn:aws:iam::123456789012:role/fleet/shop";
    let denied = async |actions: &[&str]| {
        let rule = serde_json::json!({ "rules": [{ "kind": "deny", "actions": actions }] });
        let told = sim.http().post(format!("{}/control/trouble", sim.endpoint)).json(&rule).send().await.expect("answers");
        assert!(told.status().is_success());
    };
    let asked = async |work: &str| {
        let (code, said) = sim.examined(&["spinnaker", "--iam", work, "--principal", role]).await;
        let troubles = said["regions"][0]["troubles"].as_array().cloned().unwrap_or_else(|| panic!("{said:#}"));
        (code, troubles, said["regions"][0]["rows"].clone())
    };
    let never: Vec<&str> = NEVER.iter().filter_map(|action| action.split_once(':').map(|(_, name)| name)).collect();

    let (code, troubles, _) = asked("agent").await;
    assert_eq!((code, troubles.len(), &troubles[0]["code"]), (Some(1), 1, &"iam-excess".into()), "all is allowed: {troubles:?}");

    denied(&never).await;
    let (code, troubles, rows) = asked("rollback").await;
    assert_eq!((code, troubles.len()), (Some(0), 0), "{troubles:?}");
    let verdict =
        |action: &str| rows.as_array().and_then(|rows| rows.iter().find(|row| row["action"] == action)).map(|row| row["verdict"].clone());
    assert_eq!(verdict("elasticloadbalancing:RegisterInstancesWithLoadBalancer"), Some("allowed".into()), "{rows:#}");
    assert_eq!(asked("agent").await.0, Some(0));

    denied(&[&never[..], &["SuspendProcesses", "RegisterInstancesWithLoadBalancer"]].concat()).await;
    let (code, troubles, _) = asked("rollback").await;
    let lacking = ["autoscaling:SuspendProcesses", "elasticloadbalancing:RegisterInstancesWithLoadBalancer"];
    assert_eq!((code, troubles), (Some(1), vec![serde_json::json!({ "code": "iam-lacking", "actions": lacking })]));
    assert_eq!(asked("agent").await.0, Some(0), "an agent does neither");
}

/// Interrupts it once it has made its first change; its end.
async fn interrupted(mut rollback: Command) -> Output {
    let mut child = rollback.spawn().expect("runs");
    let mut err = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let held = async {
        while let Ok(Some(line)) = err.next_line().await {
            if line.contains(": hold spinnaker-main-v023") {
                return;
            }
        }
        panic!("it ended without a change");
    };
    tokio::time::timeout(LIMIT, held).await.expect("in time");
    let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::INT).expect("a process of our own");
    let rest = async { while let Ok(Some(_)) = err.next_line().await {} };
    let (ended, ()) = tokio::time::timeout(LIMIT, async { tokio::join!(child.wait_with_output(), rest) }).await.expect("ends in time");
    ended.expect("ends")
}

#[tokio::test]
async fn the_first_signal_stops_it_with_code_3_and_the_command_that_goes_on() {
    let sim = Sim::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ended = interrupted(sim.rollback(dir.path(), &["spinnaker", "--yes", "--timeout", "7m"])).await;
    let said: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!((ended.status.code(), &said["outcome"]), (Some(3), &"paused".into()), "{said:#}");
    let again = said["continue"].as_str().expect("a command");
    assert!(again.contains("--timeout 7m") && again.contains("--owner"), "{again}");
}

#[tokio::test]
async fn a_configuration_that_is_not_in_order_stops_no_rollback_and_doctor_says_why_it_ends_with_1() {
    let sim = Sim::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broken = dir.path().join("bellrock.toml");
    std::fs::write(&broken, "[drain]\nqiet = \"1m\"\n").expect("a directory of our own");
    let run = async |name: &str, args: &[&str]| {
        let ended = tokio::time::timeout(LIMIT, sim.words(name, dir.path(), args).output()).await.expect("ends in time").expect("runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (ended.status.code(), text(ended.stdout), text(ended.stderr))
    };
    let (broken, absent) = (broken.to_str().expect("UTF-8"), "/absent/bellrock.toml");
    let (code, out, error) = run("rollback", &["spinnaker", "--dry-run", "--config", broken]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("Dry run") && error.contains("Nobody is notified") && error.contains("runbooks/config-wrong.md"), "{out}{error}");
    let (code, _, error) = run("rollback", &["spinnaker", "--dry-run", "--config", absent]).await;
    assert!(code == Some(2) && error.contains("config-unreadable"), "whoever names a file that is not there meant another: {error}");

    let last = |out: &str| out.trim_end().lines().last().unwrap_or_default().to_owned();
    let (code, out, _) = run("doctor", &["spinnaker", "--config", broken]).await;
    assert!(code == Some(1) && out.contains("A rollback could begin now"), "{out}");
    assert!(last(&out).starts_with("This ends with 1 although") && last(&out).contains("on this host"), "{out}");
    let (code, out, _) = run("doctor", &["spinnaker", "--service-url", "http://127.0.0.1:1/"]).await;
    assert!(code == Some(1) && last(&out).contains("http://127.0.0.1:1/ does not answer"), "{out}");
    let (code, out, _) = run("doctor", &["spinnaker"]).await;
    assert!(code == Some(0) && !out.contains("This ends with 1"), "{out}");
}

#[tokio::test]
async fn whoever_pauses_it_is_told_how_to_go_on_and_how_to_take_it_back() {
    let sim = Sim::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ended = interrupted(sim.words("rollback", dir.path(), &["spinnaker", "--yes", "--owner", "ann@desk"])).await;
    let said = String::from_utf8(ended.stdout).expect("UTF-8");
    let back = format!("To take it back: bellrock rollback spinnaker --endpoint {} --owner ann@desk --undo --dry-run", sim.endpoint);
    assert!(said.contains("To go on: ") && said.contains(&back), "{said}");
}

/// What bash offers for a line whose last word is under way, by the script that the package installs.
async fn offered(sim: &Sim, line: &[&str], credentials: bool) -> Vec<String> {
    const ASK: &str = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_clap_complete_bellrock bellrock "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let program = Path::new(env!("CARGO_BIN_EXE_bellrock"));
    let made = Command::new(program).arg("gen").arg("completions").arg(dir.path()).output().await.expect("runs");
    assert!(made.status.success());
    let path = format!("{}:/usr/bin:/bin", program.parent().expect("a directory").display());
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ASK, "bash"]).arg(dir.path().join("bellrock.bash")).args(line).env_clear();
    bash.envs([("PATH", path.as_str()), ("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")]);
    bash.envs([("AWS_ENDPOINT_URL", sim.endpoint.as_str()), ("AWS_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true")]);
    if credentials {
        bash.envs([("AWS_ACCESS_KEY_ID", "oncall"), ("AWS_SECRET_ACCESS_KEY", "none")]);
    }
    let said = tokio::time::timeout(LIMIT, bash.kill_on_drop(true).output()).await.expect("ends in time").expect("bash");
    assert!(said.stderr.is_empty(), "nothing in the middle of somebody's line: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("UTF-8").split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_shell_offers_commands_and_the_names_of_what_there_is_on_aws() {
    let sim = Sim::start().await;
    assert_eq!(offered(&sim, &["bellrock", "roll"], true).await, ["rollback"]);
    assert_eq!(offered(&sim, &["bellrock", "rollback", "s"], true).await, ["spinnaker"]);
    assert_eq!(
        offered(&sim, &["bellrock", "rollback", "spinnaker", "--cluster", "sp"], true).await,
        ["spinnaker-main", "spinnaker-polling"]
    );
    assert_eq!(offered(&sim, &["bellrock", "rollback", "spinnaker", "--to", "v0"], true).await, ["v023", "v024"]);
    assert_eq!(offered(&sim, &["bellrock", "doctor", "s"], true).await, ["spinnaker"]);
    assert!(offered(&sim, &["bellrock", "rollback", "spin"], false).await.is_empty(), "who may not ask is offered nothing");
}
