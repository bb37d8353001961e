//! The image as packer/ bakes it: Packer's own amazon-ebs builder against an EC2 that moto plays, its provisioners over ssh on a machine that stands for the
//! instance, and then that machine's file system booted as an instance of the image.
//!
//! What must stay true: Packer runs in the machine's network and reaches nothing but the machine, moto and the region; the file system that is baked is a copy.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::host::Machine;
use super::host::SOON;
use super::host::done;
use super::host::parts;
use super::host::source;
use super::moto::Moto;
use super::moto::between;
use super::moto::unique;
use super::process::until;
use super::world::OURS;
use super::world::region;

/// A bake takes twenty seconds; the disk of a busy machine has more to do.
const BAKE_WITHIN: Duration = Duration::from_secs(300);
const EC2: &str = "2016-11-15";
/// An image that moto was born with: its owner and its name.
const MOTO_HAS: (&str, &str) = ("099720109477", "ubuntu/images/hvm-ssd/ubuntu-xenial-16.04-amd64-server-*");
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The orchestrator's configuration in the image. Quick where the defaults are patient.
const CONFIG: &str = "[fleet]\nagree_over = \"1s\"\nmetadata_every = \"1s\"\n\
    [orchestrator]\nkind = \"unit\"\nunit = \"orca.service\"\nurl = \"http://127.0.0.1:8083\"\n";
/// Comes up with its machine, takes a while to stop.
const ORCA: &str = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

/// A base image, where a bake begins: a user who may sudo, and what a first boot leaves behind.
struct Base {
    dir: TempDir,
    moto: Moto,
    /// Of the key pair and of the orchestrator's package: what moto has of ours is found by it.
    name: String,
}

impl Base {
    async fn make() -> Self {
        let dir = tempfile::tempdir_in(source("target/machine")).expect("room beside the file system");
        let at = |name: &str| dir.path().join(name);
        done(std::process::Command::new("cp").args(["-a", "--reflink=auto"]).arg(&parts().root).arg(at("disk")));
        done(std::process::Command::new("chroot").arg(at("disk")).args(["useradd", "--create-home", "--shell=/bin/sh", "admin"]));
        done(std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at("key")));
        let put = |inside: &str, text: &str| {
            let path = at("disk").join(inside);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("it is ours");
            fs::write(path, text).expect("room");
        };
        put("etc/hostname", "golden\n");
        put("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 golden\n");
        put("etc/sudoers.d/admin", "admin ALL=(ALL) NOPASSWD: ALL\n");
        put("home/admin/.ssh/authorized_keys", &fs::read_to_string(at("key.pub")).expect("it was made"));
        done(std::process::Command::new("chroot").arg(at("disk")).args(["chown", "-R", "admin:admin", "/home/admin"]));
        put("var/lib/cloud/instances/i-bake/user-data.txt", "of the bake\n");
        put("var/lib/cloud/seed/nocloud/meta-data", "of the base image\n");

        let moto = Moto::find("eu-central-1");
        let name = unique("bake-");
        moto.ask("ec2", EC2, "CreateKeyPair", &[("KeyName", &name)]).await;
        Self { dir, moto, name }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn disk(&self, inside: &str) -> PathBuf {
        self.at("disk").join(inside)
    }

    /// `packer build` of packer/bellrock.pkr.hcl beside the machine.
    async fn bake(&self, machine: &Machine, config: &str, drop_in: &str) -> Output {
        fs::write(self.at("bellrock.toml"), config).expect("room");
        let variables = json!({
            "package": self.at("bellrock.deb"), "version": VERSION, "architecture": "x86_64", "region": self.moto.region,
            "base_image_owner": MOTO_HAS.0, "base_image_name": MOTO_HAS.1, "config": self.at("bellrock.toml"),
            "orchestrator_debs": [self.at(&format!("{}.deb", self.name))], "orchestrator_unit": "orca.service",
            "drop_ins": [source(&format!("systemd/bellrock.service.d/{drop_in}.conf"))], "share_with": ["123456789012"], "kms_key_id": "alias/images",
            "ec2_endpoint": self.moto.url, "ssh_host": "127.0.0.1", "ssh_private_key_file": self.at("key"),
            "ssh_keypair_name": self.name,
        });
        fs::write(self.at("variables.pkrvars.json"), variables.to_string()).expect("room");
        let mut packer = machine.beside("packer");
        packer.args(["build", "-color=false"]).arg(format!("-var-file={}", self.at("variables.pkrvars.json").display()));
        packer.arg(source("packer/bellrock.pkr.hcl")).current_dir(self.dir.path()).env_clear().envs(nobody(self.dir.path()));
        let ended = tokio::time::timeout(BAKE_WITHIN, packer.output()).await;
        ended.expect("the bake goes on").expect("packer, of Debian's package of that name")
    }

    /// Images of ours, as EC2 has them.
    async fn images(&self) -> String {
        let ours = [("Filter.1.Name", "tag:bellrock:orchestrator"), ("Filter.1.Value.1", &format!("{}.deb", self.name))];
        self.moto.ask("ec2", EC2, "DescribeImages", &ours).await
    }

    /// States of the instances that were launched for a bake.
    async fn instances(&self) -> Vec<String> {
        let ours = [("Filter.1.Name", "key-name"), ("Filter.1.Value.1", self.name.as_str())];
        let all = self.moto.ask("ec2", EC2, "DescribeInstances", &ours).await;
        all.split("<instanceState>").skip(1).map(|one| between(one, "<name>", "</name>")).collect()
    }
}

/// Credentials of nobody, the AWS CLI of the tests, and no word to HashiCorp.
fn nobody(home: &Path) -> Vec<(String, String)> {
    #[allow(clippy::disallowed_methods, reason = "the environment tells where it is")]
    let cli = std::env::var("BELLROCK_AWS_CLI").expect("BELLROCK_AWS_CLI is set by tests/run");
    let bin = Path::new(&cli).parent().expect("in a folder").display().to_string();
    let words = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("CHECKPOINT_DISABLE", "1"), ("PACKER_NO_COLOR", "1")];
    let mut all: Vec<(String, String)> = words.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.push(("PATH".to_owned(), format!("{bin}:/usr/sbin:/usr/bin:/sbin:/bin")));
    all.push(("HOME".to_owned(), home.display().to_string()));
    all
}

/// A .deb of these files.
fn package(deb: &Path, name: &str, files: &[(&str, &[u8], u32)]) {
    use std::os::unix::fs::PermissionsExt;
    let tree = deb.with_extension("tree");
    let architecture = std::process::Command::new("dpkg").arg("--print-architecture").output().expect("dpkg of Debian").stdout;
    let control = format!(
        "Package: {name}\nVersion: {VERSION}-1\nArchitecture: {}Maintainer: nobody <nobody@example.com>\nDescription: for a test\n",
        String::from_utf8_lossy(&architecture)
    );
    for (path, bytes, mode) in files.iter().chain(&[("DEBIAN/control", control.as_bytes(), 0o644)]) {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("room");
        fs::write(&path, bytes).expect("room");
        fs::set_permissions(&path, PermissionsExt::from_mode(*mode)).expect("it is ours");
    }
    if name == "orca" {
        let wants = tree.join("lib/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).expect("room");
        std::os::unix::fs::symlink("../orca.service", wants.join("orca.service")).expect("room");
    }
    done(
        std::process::Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Znone", "--build"])
            .arg(&tree)
            .arg(deb)
            .stdout(std::process::Stdio::null()),
    );
}

/// Both packages: ours as it is shipped, and an orchestrator.
fn packages(base: &Base) {
    fs::copy(super::package::package(), base.at("bellrock.deb")).expect("room");
    package(&base.at(&format!("{}.deb", base.name)), "orca", &[("lib/systemd/system/orca.service", ORCA.as_bytes(), 0o644)]);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_template_is_valid_with_every_file_of_variables() {
    let dir = tempfile::tempdir().expect("a directory of our own");
    let deb = dir.path().join("bellrock.deb");
    fs::write(&deb, "").expect("room");
    let mut seen = 0;
    for entry in fs::read_dir(source("packer/examples")).expect("it is there") {
        let file = entry.expect("it is there").path();
        if file.extension().is_none_or(|end| end != "hcl") {
            continue;
        }
        let mut packer = std::process::Command::new("packer");
        packer.args(["validate", &format!("-var-file={}", file.display()), &format!("-var=package={}", deb.display())]);
        packer.arg("packer/bellrock.pkr.hcl").current_dir(source("")).env_clear().envs(nobody(dir.path()));
        let said = packer.output().expect("packer, of Debian's package of that name");
        assert!(said.status.success(), "{}: {}{}", file.display(), text(&said.stdout), text(&said.stderr));
        seen += 1;
    }
    assert!(seen >= 2, "{seen} files of variables");
}

#[tokio::test]
async fn an_image_that_packer_bakes_has_its_agent_ready_on_first_boot_and_one_that_would_not_is_not_made() {
    let base = Base::make().await;
    packages(&base);
    let began = SystemClock::start();
    let mut machine = Machine::boot_from(&base.at("disk"), &region(&[]), OURS, 11, |_| vec!["--volatile=no".to_owned()]).await;
    machine.opens(&base.moto.url);

    let refused = base.bake(&machine, CONFIG, "unit").await;
    let said = text(&refused.stdout) + &text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("the agent runs as bellrock, who may not stop and start orca.service"), "{said}");
    let refused = base.bake(&machine, "[orchestrator]\nkind = \"elsewhere\"\n", "root").await;
    let said = text(&refused.stdout) + &text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("smoke: 1 wrong; no image is made"), "{said}");
    assert!(said.contains("/etc/bellrock/bellrock.toml cannot be used") && said.contains("orchestrator.kind"), "{said}");
    assert!(!base.images().await.contains("<imageId>"), "no image");
    let refused_after = began.now().mono;

    let began = SystemClock::start();
    let baked = base.bake(&machine, CONFIG, "root").await;
    let said = text(&baked.stdout) + &text(&baked.stderr);
    assert!(baked.status.success(), "{said}");
    let baked_after = began.now().mono;
    let manifest: Value = serde_json::from_slice(&fs::read(base.at("bellrock-image.json")).expect("it is written")).expect("JSON");
    let artifact = manifest["builds"][0]["artifact_id"].as_str().expect("text");
    let image = artifact.strip_prefix("eu-central-1:").expect("its region");
    let listed = base.images().await;
    assert!(listed.contains(image) && listed.contains(&format!("<value>{VERSION}</value>")), "{listed}");
    assert!(said.contains(&format!("demand-imdsv2: {image} in eu-central-1 demands metadata version 2")), "{said}");
    assert_eq!(base.instances().await, ["terminated", "terminated", "terminated"], "of each bake");

    machine.press_power_button().await;
    until("the machine is off", SOON, async || (!machine.is_on()).then_some(())).await;
    machine.ends().await;
    assert_eq!(fs::read_to_string(base.disk("etc/machine-id")).expect("it is there"), "");
    let keys = fs::read_dir(base.disk("etc/ssh")).expect("it is there").filter_map(Result::ok);
    assert!(keys.filter(|file| file.file_name().to_string_lossy().starts_with("ssh_host_")).count() == 0, "its host keys");
    for gone in ["tmp/bellrock-bake", "var/lib/cloud/instances", "usr/sbin/policy-rc.d", "etc/bellrock/fleet.env"] {
        assert!(!base.disk(gone).exists(), "{gone}");
    }
    assert!(base.disk("var/lib/cloud/seed/nocloud/meta-data").exists(), "what is the base image's stays");
    assert!(fs::read_dir(base.disk("var/lib/bellrock")).is_ok_and(|mut left| left.next().is_none()), "what the agent remembered");

    // An instance of the image, whose user data says what is its fleet's.
    let user_data = |unborn: &super::host::Unborn<'_>| {
        let file = unborn.dir.join("fleet.env");
        let words = format!("BELLROCK_FLEET_AWS_ENDPOINT={}\nBELLROCK_ORCHESTRATOR_URL={}\n", unborn.region, unborn.orchestrator);
        fs::write(&file, words).expect("a directory of our own");
        vec![format!("--bind-ro={}:/etc/bellrock/fleet.env", file.display())]
    };
    let machine = Machine::boot_from(&base.at("disk"), &region(&[]), OURS, 12, user_data).await;
    let status = machine.is_ready().await;
    assert_eq!((&status["instance"], &status["group"]), (&json!(machine.id), &json!(OURS)), "{status:#}");
    let status = machine.shows("the orchestrator", SOON, |status| status["process"]["state"] == "running").await;
    assert_eq!(status["process"]["pid"], json!(machine.property("orca", "MainPID").await.parse::<u64>().expect("a number")));
    let micros = async |unit: &str, what: &str| machine.property(unit, what).await.parse::<u64>().expect("a number");
    let agent = micros("bellrock", "ActiveEnterTimestampMonotonic").await;
    assert!(agent <= micros("orca", "ExecMainStartTimestampMonotonic").await, "the agent comes first");
    let boot = machine.systemctl(&["show", "--value", "--property=UserspaceTimestampMonotonic"]).await.parse::<u64>().expect("a number");
    assert_eq!(machine.property("bellrock", "NRestarts").await, "0");

    // The other way round when it stops.
    machine.press_power_button().await;
    until("the machine is off", SOON, async || (!machine.is_on()).then_some(())).await;
    let journal = machine.journal("*");
    let said = |what: &str| journal.rfind(what).unwrap_or_else(|| panic!("no {what:?} in {journal}"));
    assert!(said("Stopped orca.service") < said("Stopping bellrock.service"), "the agent is there to the last: {journal}");
    println!(
        "FIGURE packer: refused a configuration after {:.1} s, baked {image} in {:.1} s; its agent was ready {} ms after its instance began to boot",
        refused_after.as_secs_f64(),
        baked_after.as_secs_f64(),
        (agent - boot) / 1000
    );
    machine.ends().await;
}
