//! What the code can call, what `cloud::permission` says of it, and what the policies in `docs/iam` allow are one and the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::LazyLock;

use bellrock::cloud::permission::AGENT;
use bellrock::cloud::permission::NEVER;
use bellrock::cloud::permission::On;
use bellrock::cloud::permission::Permission;
use bellrock::cloud::permission::ROLLBACK;
use regex::Regex;
use serde_json::Value;

/// Where calls of AWS's APIs are made; instance metadata asks for no leave.
const APIS: [&str; 5] = ["autoscaling.rs", "balancing.rs", "ec2.rs", "iam.rs", "mod.rs"];

/// Calls that need no leave: who one is, anybody may ask.
const FREE: [&str; 1] = ["sts:GetCallerIdentity"];

/// Actions that are no call of ours: the SDK's, on behalf of `--role-arn`.
const BY_THE_SDK: [&str; 1] = ["sts:AssumeRole"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The code of a file, or of all files of a folder, its unit tests left out.
fn code(path: &str) -> String {
    let path = root().join("src").join(path);
    let mut files = vec![path.clone()];
    if path.is_dir() {
        files = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    }
    let of = |file: &Path| {
        if file.is_dir() {
            return if file.ends_with("tests") { String::new() } else { code(file.to_str().unwrap()) };
        }
        if file.ends_with("tests.rs") || file.extension().is_none_or(|ext| ext != "rs") {
            return String::new();
        }
        let text = fs::read_to_string(file).unwrap();
        text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
    };
    files.iter().map(|file| of(file)).collect()
}

/// Functions of `cloud::aws`, and the actions that each sends, as IAM names them.
struct Calls {
    bodies: BTreeMap<String, String>,
    shared: BTreeMap<String, String>,
}

impl Calls {
    fn read() -> Self {
        let text: String = APIS.iter().map(|file| code(&format!("cloud/aws/{file}"))).collect();
        let function = Regex::new(r"(?m)^    (?:pub\(super\) )?async fn (\w+)").unwrap();
        let places: Vec<(usize, String)> = function.captures_iter(&text).map(|c| (c.get(0).unwrap().start(), c[1].to_owned())).collect();
        let ends = places.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
        let bodies = places.iter().zip(ends).map(|((start, name), end)| (name.clone(), text[*start..end].to_owned())).collect();
        let shared = Regex::new(r#"(?m)^const (\w+): &str = "([A-Z][a-z]\w+)";"#).unwrap();
        Self { bodies, shared: shared.captures_iter(&text).map(|c| (c[1].to_owned(), c[2].to_owned())).collect() }
    }

    /// What this function sends, or what it calls does.
    fn of(&self, function: &str) -> BTreeSet<String> {
        let Some(body) = self.bodies.get(function) else { return BTreeSet::new() };
        static OWN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"const ACTION: &str = "(\w+)""#).unwrap());
        static HELPER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"self\.(\w+)\(").unwrap());
        let mut actions: BTreeSet<String> = OWN.captures_iter(body).map(|c| c[1].to_owned()).collect();
        let is_sent =
            |name: &str| body.contains(&format!("pass({name},")) || body.contains(&format!("query(Service::Iam, VERSION, {name}"));
        actions.extend(self.shared.iter().filter(|(name, _)| is_sent(name)).map(|(_, action)| action.clone()));
        let services = [
            ("self.autoscaling.", "autoscaling"),
            ("self.elb.", "elasticloadbalancing"),
            ("self.elbv2.", "elasticloadbalancing"),
            ("self.sts.", "sts"),
            ("self.ec2(ACTION", "ec2"),
            ("self.ec2::<", "ec2"),
            ("Service::Iam", "iam"),
            ("Service::Quotas", "servicequotas"),
        ];
        let service = services.iter().find(|(mark, _)| body.replace("\n            ", "").contains(mark)).map(|(_, service)| *service);
        let named = |action: String| format!("{}:{action}", service.unwrap_or_else(|| panic!("whose action is {action} in {function}?")));
        let mut all: BTreeSet<String> = actions.into_iter().map(named).collect();
        for called in HELPER.captures_iter(body).map(|c| c[1].to_owned()).filter(|called| called != function && called != "ec2") {
            all.extend(self.of(&called));
        }
        all
    }

    /// What the code below these paths can send.
    fn from(&self, paths: &[&str]) -> BTreeSet<String> {
        let text: String = paths.iter().map(|path| code(path)).collect();
        let call = Regex::new(r"\b(?:autoscaling|scaling|balancing|compute|caller|aws)\s*\.(\w+)\(").unwrap();
        call.captures_iter(&text).flat_map(|c| self.of(&c[1])).collect()
    }
}

fn named(table: &[Permission]) -> BTreeSet<String> {
    table.iter().map(|permission| permission.action.to_owned()).collect()
}

fn set(actions: &[&str]) -> BTreeSet<String> {
    actions.iter().map(|action| (*action).to_owned()).collect()
}

/// A string, or each of a list.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        other => panic!("neither a string nor a list: {other}"),
    }
}

struct Statement {
    actions: Vec<String>,
    resources: Vec<String>,
    condition: Value,
}

fn policy(file: &str) -> Vec<Statement> {
    let text = fs::read_to_string(root().join("docs/iam").join(file)).unwrap();
    let packed: String = text.split_whitespace().collect();
    assert!(packed.len() <= 6144, "{file}: IAM takes 6144 characters, without white space");
    let document: Value = serde_json::from_str(&text).unwrap();
    let statements = document["Statement"].as_array().unwrap();
    statements
        .iter()
        .map(|one| {
            assert_eq!(one["Effect"], "Allow", "{file}");
            Statement { actions: strings(&one["Action"]), resources: strings(&one["Resource"]), condition: one["Condition"].clone() }
        })
        .collect()
}

#[test]
fn the_tables_have_what_the_code_can_call_and_nothing_else() {
    let calls = Calls::read();
    let agent = calls.from(&["observe.rs", "act.rs", "daemon.rs", "daemon", "orchestrator", "cli/agent.rs", "cli/agent"]);
    assert_eq!(&agent - &set(&FREE), named(&AGENT));
    let rollback = calls.from(&["rollback", "cli/rollback.rs", "cli/rollback", "cli/doctor.rs", "cli/doctor"]);
    assert_eq!(&rollback - &set(&FREE), &named(&ROLLBACK) - &set(&BY_THE_SDK));
    let methods = ["cloud/mod.rs", "cloud/compute.rs"].map(code).concat();
    let method = Regex::new(r"(?m)^    async fn (\w+)\(&self").unwrap();
    let all: BTreeSet<String> = method.captures_iter(&methods).flat_map(|c| calls.of(&c[1])).collect();
    assert_eq!(all, &(&agent | &rollback) | &set(&FREE), "a call that nobody makes");
}

#[test]
fn the_policies_allow_what_the_tables_say_and_nothing_else() {
    for (files, table) in [(vec!["agent.json"], AGENT.as_slice()), (vec!["rollback.json", "on-call.json"], ROLLBACK.as_slice())] {
        let statements: Vec<Statement> = files.iter().flat_map(|file| policy(file)).collect();
        let allowed: Vec<String> = statements.iter().flat_map(|one| one.actions.clone()).collect();
        let once: BTreeSet<String> = allowed.iter().cloned().collect();
        assert_eq!(once.len(), allowed.len(), "{files:?}: an action in two statements");
        assert_eq!(once, named(table), "{files:?}");
        assert!(NEVER.iter().all(|never| !once.contains(*never)), "{files:?}");
        for statement in &statements {
            for action in &statement.actions {
                let on = table.iter().find(|permission| permission.action == action).unwrap().on;
                is_narrow(&files, action, on, statement);
            }
        }
    }
}

/// Reads are for all, since IAM limits them to nothing; each change has the resources of one application, groups by their tag too.
fn is_narrow(files: &[&str], action: &str, on: On, statement: &Statement) {
    let (begins, condition) = match on {
        On::All => ("*", None),
        On::Group => ("arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/APPLICATION-*", Some("APPLICATION")),
        On::TargetGroup => ("arn:aws:elasticloadbalancing:*:*:targetgroup/APPLICATION-*/*", None),
        On::Classic => ("arn:aws:elasticloadbalancing:*:*:loadbalancer/APPLICATION-*", None),
        On::Principal => ("arn:aws:iam::*:role/bellrock-rollback-APPLICATION", None),
    };
    assert!(statement.resources.iter().all(|one| one.starts_with(begins)), "{files:?}: {action} on {:?}", statement.resources);
    if let Some(tag) = condition {
        assert_eq!(statement.condition["StringEquals"]["autoscaling:ResourceTag/application"], tag, "{files:?}: {action}");
    }
    if action.ends_with("Tags") {
        assert!(statement.condition.to_string().contains("aws:TagKeys\":\"bellrock:"), "{files:?}: {action} of any tag");
    }
}

#[test]
fn the_role_for_rollbacks_trusts_people_of_the_account_with_a_second_factor_and_nobody_else() {
    let text = fs::read_to_string(root().join("docs/iam/rollback.trust.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let statements = document["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1);
    let trust = &statements[0];
    assert_eq!(trust["Effect"], "Allow");
    assert_eq!(strings(&trust["Action"]), ["sts:AssumeRole"]);
    assert_eq!(trust["Principal"].to_string(), r#"{"AWS":"arn:aws:iam::ACCOUNT:root"}"#);
    assert_eq!(trust["Condition"]["Bool"]["aws:MultiFactorAuthPresent"], "true");
}

#[test]
fn the_page_names_each_action_for_whoever_needs_it() {
    let text = fs::read_to_string(root().join("docs/iam/README.md")).unwrap();
    let action = Regex::new(r"`([a-z0-9]+:[A-Z]\w+)`").unwrap();
    for (who, table) in [("agent", AGENT.as_slice()), ("rollback", ROLLBACK.as_slice())] {
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("| {who} |"))).collect();
        let told: BTreeSet<String> = rows.iter().flat_map(|row| action.captures_iter(row).map(|c| c[1].to_owned())).collect();
        assert_eq!(told, named(table), "docs/iam/README.md, rows of {who}");
    }
}
