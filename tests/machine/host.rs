//! One machine under systemd, with the agent installed by hand or bare, on an instance of a simulated region.
//!
//! What must stay true: a machine ends with its test, whatever way that ends (see `hold`); its files are reached over `/proc` from outside, so that what a
//! test does needs nothing inside; what the machine said is on the host, and outlives it.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Output;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::link;
use super::process::until;
use super::sim::Sim;

/// More than anything takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);
/// Where AWS has it.
const METADATA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// Lines of the journal shown when a test fails.
const TAIL: &str = "60";

/// What every machine is made from.
pub struct Parts {
    pub root: PathBuf,
    /// The program under test without what only a debugger reads.
    pub program: PathBuf,
}

static PARTS: OnceLock<Parts> = OnceLock::new();

pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn parts() -> &'static Parts {
    PARTS.get_or_init(|| {
        assert!(rustix::process::geteuid().is_root(), "machines are booted by root: sudo -E cargo test --test machine, or tests/run");
        let at = source("target/machine");
        done(std::process::Command::new(source("tests/machine/root-file-system")).arg(&at));
        let (program, new) = (at.join("bellrock"), at.join(format!("bellrock.{}", std::process::id())));
        done(std::process::Command::new("strip").args(["--strip-debug", "-o"]).arg(&new).arg(env!("CARGO_BIN_EXE_bellrock")));
        std::fs::rename(&new, &program).expect("it is ours");
        Parts { root: at.join("root"), program }
    })
}

pub fn done(command: &mut std::process::Command) {
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// A booted machine.
pub struct Machine {
    pub sim: Sim,
    /// Its instance.
    pub id: String,
    /// Where the region shows this instance's orchestrator.
    pub orchestrator: String,
    leader: u32,
    nspawn: u32,
    dir: TempDir,
    control: reqwest::Client,
    /// The machine lives as long as this is open.
    held_by: Option<ChildStdin>,
    hold: Child,
    _said: Lines<BufReader<ChildStdout>>,
    network: PathBuf,
    doors: JoinSet<()>,
}

/// What there is before a machine.
pub struct Unborn<'a> {
    /// Where the region answers.
    pub region: &'a str,
    /// Where the region shows this instance's orchestrator.
    pub orchestrator: &'a str,
    /// A directory of the host that lives as long as the machine.
    pub dir: &'a Path,
}

impl Machine {
    /// Boots a machine that is the first instance of this group, and installs what the package would.
    pub async fn boot(region: &Value, group: &str, seed: u64) -> Self {
        let machine = Self::bare(region, group, seed).await;
        machine.put_program("/usr/bin/bellrock");
        machine.put("/etc/systemd/system/bellrock.service", &text(&source("systemd/bellrock.service")));
        machine.put("/usr/lib/sysusers.d/bellrock.conf", &text(&source("systemd/bellrock.sysusers")));
        machine.does(&["systemd-sysusers", "bellrock.conf"]).await;
        machine
    }

    /// The same, and installs nothing.
    pub async fn bare(region: &Value, group: &str, seed: u64) -> Self {
        Self::boot_from(&parts().root, region, group, seed, |_| Vec::new()).await
    }

    /// Boots a machine from a file system. `options` are of systemd-nspawn, and may depend on what there is before the machine.
    pub async fn boot_from(root: &Path, region: &Value, group: &str, seed: u64, options: impl FnOnce(&Unborn<'_>) -> Vec<String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().expect("a directory of our own");
        for folder in ["journal", "work"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a directory of our own");
        }
        // Whoever runs there works there.
        std::fs::set_permissions(dir.path().join("work"), PermissionsExt::from_mode(0o777)).expect("it is ours");
        let sim = Sim::start(dir.path(), region, seed).await;
        let instance = sim.instances(group).await.remove(0);
        let told = |key: &str| instance[key].as_str().expect("text").to_owned();
        let options = options(&Unborn { region: &sim.endpoint, orchestrator: &told("orchestrator"), dir: dir.path() });

        let name = format!("bellrock-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let bound = |folder: &str, inside: &str| format!("--bind={}:{inside}", dir.path().join(folder).display());
        let mut hold = Command::new("unshare")
            .arg("--net")
            .arg(source("tests/machine/hold"))
            .args([&name, &root.display().to_string()])
            .args([bound("journal", "/var/log/journal"), bound("work", "/srv/work")])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.path().join("console")).expect("a directory of our own"))
            // Not told by a terminal: it ends when we do, and in order.
            .process_group(0)
            .spawn()
            .expect("unshare of util-linux");
        let mut held_by = hold.stdin.take().expect("a pipe");
        let mut said = BufReader::new(hold.stdout.take().expect("a pipe")).lines();
        let mut next = async || tokio::time::timeout(SOON, said.next_line()).await.expect("in time").expect("a pipe");
        let console = || std::fs::read_to_string(dir.path().join("console")).unwrap_or_default();
        assert_eq!(next().await.as_deref(), Some("ready"), "{}", console());

        let namespace = PathBuf::from(format!("/proc/{}/ns/net", hold.id().expect("it runs")));
        let mut doors = JoinSet::new();
        let region: SocketAddr = sim.endpoint.trim_start_matches("http://").parse().expect("an address");
        for (at, behind) in [(METADATA, told("metadata")), (region, sim.endpoint.clone())] {
            let door = link::listen(&namespace, at).unwrap_or_else(|e| panic!("{at} inside: {e}"));
            doors.spawn(link::serve(door, behind));
        }
        held_by.write_all(format!("{}\n", sim.pid()).as_bytes()).await.expect("it listens");
        let nspawn: u32 = next().await.and_then(|pid| pid.parse().ok()).expect("a pid");
        // Read anew at each look: systemd-nspawn has another child before the one that stays.
        let leader = until("the machine is up", SOON, async || {
            let children = std::fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children"));
            let children = children.unwrap_or_else(|_| panic!("systemd-nspawn ended:\n{}", console()));
            let first = children.trim().parse().ok()?;
            let state = inside(first, &["systemctl", "is-system-running"]).await;
            matches!(state.stdout.trim_ascii(), b"running" | b"degraded").then_some(first)
        })
        .await;
        let socket = format!("/proc/{leader}/root/run/bellrock/agent.sock");
        let control = reqwest::Client::builder().unix_socket(socket).no_proxy().timeout(Duration::from_secs(10)).build().expect("a client");
        let (id, orchestrator) = (told("id"), told("orchestrator"));
        Self { sim, id, orchestrator, leader, nspawn, dir, control, held_by: Some(held_by), hold, _said: said, network: namespace, doors }
    }

    /// Opens a door at this address of its own, behind which that of ours is.
    pub fn open_door(&mut self, at: SocketAddr, behind: &str) {
        let door = link::listen(&self.network, at).unwrap_or_else(|e| panic!("{at} inside: {e}"));
        self.doors.spawn(link::serve(door, behind.to_owned()));
    }

    /// A copy of the program, put there under another name first, as packages are.
    pub fn put_program(&self, inside: &str) {
        let new = self.path(&format!("{inside}.new"));
        std::fs::copy(&parts().program, &new).expect("room");
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("it is ours");
        std::fs::rename(&new, self.path(inside)).expect("it is ours");
    }

    /// Writes a file, with the folders above it.
    pub fn put(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("it is ours");
        std::fs::write(path, text).expect("room");
    }

    /// The drop-in for an orchestrator that the agent runs, fitted to one that works in [`Machine::work`], as it asks for.
    pub fn put_process_conf(&self) {
        let shipped = text(&source("systemd/bellrock.service.d/process.conf"));
        let fitted = shipped.replace("#ReadWritePaths=/opt/orca /var/log/orca", "ReadWritePaths=/srv/work");
        assert_ne!(fitted, shipped, "its example is there");
        self.put("/etc/systemd/system/bellrock.service.d/process.conf", &fitted);
    }

    /// A drop-in as it is shipped.
    pub fn put_shipped(&self, name: &str) {
        self.put_drop_in(name, &text(&source(&format!("systemd/bellrock.service.d/{name}.conf"))));
    }

    /// The rule for polkit as it is shipped, whose example is the unit of the tests.
    pub fn put_rule(&self) {
        self.put("/etc/polkit-1/rules.d/50-bellrock.rules", &text(&source("systemd/bellrock.rules")));
    }

    /// A drop-in of this machine's owner.
    pub fn put_drop_in(&self, name: &str, settings: &str) {
        self.put(&format!("/etc/systemd/system/bellrock.service.d/{name}.conf"), settings);
    }

    /// A path of the machine, from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.leader))
    }

    /// `/srv/work` inside.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A server of the host answers in the machine's network too, at the same address of loopback.
    pub fn opens(&mut self, base: &str) {
        let at: SocketAddr = base.trim_start_matches("http://").trim_end_matches('/').parse().expect("an address");
        let door = link::listen(&self.network, at).unwrap_or_else(|e| panic!("{at} inside: {e}"));
        self.doors.spawn(link::serve(door, base.trim_end_matches('/').to_owned()));
    }

    /// A command of the host that runs in the machine's network.
    pub fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network.display())).args(["--", program]).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command inside, as root; answers how it ended.
    pub async fn run(&self, argv: &[&str]) -> Output {
        inside(self.leader, argv).await
    }

    /// The same, which has to succeed; answers what it printed.
    pub async fn does(&self, argv: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(argv).await;
        assert!(status.success(), "{argv:?}: {status}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).trim().to_owned()
    }

    /// `systemctl WORDS`.
    pub async fn systemctl(&self, words: &[&str]) -> String {
        let mut argv = vec!["systemctl"];
        argv.extend(words);
        self.does(&argv).await
    }

    /// A property of a unit.
    pub async fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, unit]).await
    }

    /// A number among the properties of the agent's unit.
    pub async fn number(&self, name: &str) -> u64 {
        let text = self.property("bellrock", name).await;
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}"))
    }

    pub async fn main_pid(&self) -> u64 {
        self.number("MainPID").await
    }

    /// Sends a signal inside.
    pub async fn signal(&self, name: &str, pid: u64) {
        self.does(&["kill", "-s", name, &pid.to_string()]).await;
    }

    /// The unit's files were changed.
    pub async fn start(&self) {
        self.systemctl(&["daemon-reload"]).await;
        self.systemctl(&["start", "bellrock"]).await;
    }

    /// `/status`, once it answers.
    pub async fn status(&self) -> Option<Value> {
        self.control.get("http://agent/status").send().await.ok()?.json().await.ok()
    }

    /// Waits until `/status` shows this.
    pub async fn shows(&self, what: &str, within: Duration, seen: impl Fn(&Value) -> bool) -> Value {
        until(&format!("its status shows {what}"), within, async || self.status().await.filter(&seen)).await
    }

    /// The agent knows its instance, its group and its orchestrator.
    pub async fn is_ready(&self) -> Value {
        self.shows("that it is ready", SOON, |status| status["ready"] == true).await
    }

    /// `bellrock WORDS` inside.
    pub async fn bellrock(&self, words: &[&str]) -> Output {
        let mut argv = vec!["bellrock"];
        argv.extend(words);
        self.run(&argv).await
    }

    /// What its journal has of a unit, the oldest first.
    pub fn journal(&self, unit: &str) -> String {
        self.journalctl(&["-o", "cat", "-u", unit])
    }

    /// The agent's entries with these fields, as journald keeps them.
    pub fn entries(&self, fields: &[&str]) -> Vec<Value> {
        let text = self.journalctl(&[&["-o", "json", "-u", "bellrock"], fields].concat());
        text.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
    }

    fn journalctl(&self, words: &[&str]) -> String {
        let at = self.dir.path().join("journal");
        let read = std::process::Command::new("journalctl").arg("--directory").arg(at).args(["--quiet", "--no-pager"]).args(words).output();
        String::from_utf8_lossy(&read.expect("journalctl of systemd").stdout).into_owned()
    }

    /// Waits until the agent's journal has this.
    pub async fn says(&self, what: &str) {
        until(&format!("the journal says {what:?}"), SOON, async || self.journal("bellrock").contains(what).then_some(())).await;
    }

    /// Deeds on record whose text begins so.
    pub fn deeds(&self, start: &str) -> usize {
        let text = std::fs::read_to_string(self.path("/var/lib/bellrock/audit.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["deed"].as_str().is_some_and(|deed| deed.starts_with(start))).count()
    }

    /// As EC2 ends an instance: its power button is pressed.
    pub async fn press_power_button(&self) {
        // systemd(1): it starts poweroff.target.
        self.signal("RTMIN+4", 1).await;
    }

    /// It runs.
    pub fn is_on(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.nspawn)).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Ends it and waits until nothing of it is left.
    pub async fn ends(mut self) {
        drop(self.held_by.take());
        tokio::time::timeout(SOON, self.hold.wait()).await.expect("it ends").expect("it is ours");
    }
}

async fn inside(leader: u32, argv: &[&str]) -> Output {
    let mut command = Command::new("nsenter");
    command.args(["--all", "--target", &leader.to_string(), "--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]).args(argv);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(SOON, command.output()).await;
    ended.unwrap_or_else(|_| panic!("{argv:?} goes on")).expect("nsenter of util-linux")
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let at = self.dir.path().join("journal");
            let read =
                std::process::Command::new("journalctl").arg("--directory").arg(at).args(["--quiet", "--no-pager", "-n", TAIL]).output();
            eprintln!("its journal:\n{}", read.map(|read| String::from_utf8_lossy(&read.stdout).into_owned()).unwrap_or_default());
        }
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
