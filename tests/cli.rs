//! The program as a shell sees it: answers on stdout, errors on stderr, exit codes.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

fn bellrock(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bellrock"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .expect("the program that was built for this test")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn file(dir: &Path, content: &str) -> String {
    let path = dir.join("bellrock.toml");
    std::fs::write(&path, content).expect("a directory of our own");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_good_configuration_is_code_0_and_a_wrong_one_2_with_every_problem_on_stderr() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = file(dir.path(), "[drain]\nquiet = \"1m\"\n");
    let good = bellrock(&["config", "check", "--config", &path], &[]);
    assert_eq!(
        (good.status.code(), text(&good.stdout), text(&good.stderr)),
        (Some(0), format!("configuration: in order (read: {path})\n").as_str(), "")
    );

    let wrong = bellrock(&["--config", &path, "config", "check"], &[("BELLROCK_DRAIN_QUIET", "1s"), ("BELLROCK_LOG_LEVEL", "loud")]);
    assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(2), ""));
    let said = text(&wrong.stderr);
    assert!(said.contains("BELLROCK_DRAIN_QUIET") && said.contains("BELLROCK_LOG_LEVEL") && said.contains("config-wrong"), "{said}");
    assert!(!said.contains('\x1b'), "colours in a pipe");
    assert!(said.contains(&path) && !said.contains("nothing was started") && !said.contains("lists them again"), "{said}");

    let json = bellrock(&["--config", &path, "config", "check", "--output", "json"], &[]);
    assert_eq!((json.status.code(), text(&json.stdout)), (Some(0), "{\n  \"problems\": []\n}\n"));
    file(dir.path(), "[drain]\nkeep = \"x\"\n");
    let json = bellrock(&["--config", &path, "config", "check", "--output", "json"], &[("BELLROCK_LOG_LEVEL", "loud")]);
    assert_eq!((json.status.code(), text(&json.stderr)), (Some(2), ""));
    let said: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let message = "\"x\" is not understood; allowed: a whole number, 0 or more";
    let first = serde_json::json!({ "file": path, "line": 2, "column": 8, "key": "drain.keep", "message": message });
    let second = &said["problems"][1];
    assert_eq!((&said["problems"][0], &second["variable"], &second["key"]), (&first, &"BELLROCK_LOG_LEVEL".into(), &"log.level".into()));

    let json = bellrock(&["config", "check", "--config", "/absent", "--output", "json"], &[]);
    let said: serde_json::Value = serde_json::from_slice(&json.stderr).expect("JSON");
    assert_eq!((json.status.code(), said["error"]["code"].as_str()), (Some(2), Some("config-unreadable")));
}

#[test]
fn show_prints_json_for_programs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = file(dir.path(), "[http]\nlisten = \"127.0.0.1:9\"\n");
    let shown = bellrock(&["config", "show", "--config", &path, "--output", "json"], &[]);
    let settings: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let listen = settings.as_array().expect("a list").iter().find(|s| s["key"] == "http.listen").expect("every key");
    assert_eq!(listen["value"], "\"127.0.0.1:9\"");
    assert_eq!(listen["from"], serde_json::json!({ "in": "file", "path": path, "line": 2, "column": 10 }));
}

#[test]
fn wrong_usage_is_code_2_and_help_is_an_answer() {
    let wrong = bellrock(&["drian"], &[]);
    assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(2), ""));
    let help = bellrock(&["drain", "--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("bellrock drain --reason"));
}

#[test]
fn without_an_agent_status_fails_and_says_how_to_start_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("agent.sock");
    let asked = bellrock(&["status", "--socket", socket.to_str().expect("UTF-8")], &[]);
    assert_eq!(asked.status.code(), Some(1));
    let said = text(&asked.stderr);
    assert!(said.contains("agent.sock") && said.contains("systemctl start bellrock"), "{said}");
}

#[test]
fn an_agent_without_metadata_waits_answers_reloads_and_stops_cleanly() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let sections = |drain: &str| {
        format!(
            "[fleet]\nstate_dir = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\nsocket = \"{}\"\n[drain]\n{drain}\n",
            at("state"),
            at("agent.sock")
        )
    };
    let path = file(dir.path(), &sections(""));
    // Port 9 is `discard`, which nobody serves: connections are refused at once.
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")];
    let mut agent = Command::new(env!("CARGO_BIN_EXE_bellrock"))
        .args(["agent", "--config", &path])
        .env_clear()
        .envs(env)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program that was built for this test");
    let mut log = BufReader::new(agent.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut wait_for = |words: &str| log.find(|line| line.contains(words)).unwrap_or_else(|| panic!("the log ends before: {words}"));
    let pid = Pid::from_child(&agent);
    wait_for("taking orders");
    wait_for("instance metadata does not say");

    let asked = bellrock(&["status", "--config", &path], &[]);
    assert_eq!(asked.status.code(), Some(0));
    assert!(text(&asked.stdout).contains("waits for  instance metadata"), "{}", text(&asked.stdout));
    let ordered = bellrock(&["drain", "--config", &path, "--reason", "test"], &[]);
    assert_eq!(ordered.status.code(), Some(2), "{}", text(&ordered.stderr));
    let asked = bellrock(&["pipeline", "list", "--config", &path], &[]);
    let said = text(&asked.stderr);
    assert_eq!(asked.status.code(), Some(1), "{said}");
    assert!(said.contains("api-silent") && said.contains("the agent waits for instance metadata"), "{said}");
    assert!(said.contains("runbooks/no_metadata.md") && !said.contains("try again"), "{said}");
    let second = bellrock(&["agent", "--config", &path], &env);
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).contains("agent-already-running"));

    for (drain, words) in
        [("quiet = \"1s\"", "not taken over"), ("quiet = \"1m\"", "changed=true"), ("\n[log]\nlevel = \"warn\"", "log.level")]
    {
        file(dir.path(), &sections(drain));
        kill_process(pid, Signal::HUP).expect("our own child");
        wait_for(words);
    }
    kill_process(pid, Signal::TERM).expect("our own child");
    assert_eq!(agent.wait().expect("our own child").code(), Some(0));
    assert!(!dir.path().join("agent.sock").exists());
}

fn pipeline(dir: &Path, name: &str, document: &serde_json::Value) -> String {
    let path = dir.join(name);
    std::fs::write(&path, document.to_string()).expect("a directory of our own");
    path.to_str().expect("UTF-8").to_owned()
}

fn windowed(zone: &str) -> serde_json::Value {
    serde_json::json!({ "name": "p", "stages": [
        { "refId": "a", "type": "wait", "waitTime": 1 },
        { "refId": "b", "type": "wait", "name": "B", "waitTime": 1, "requisiteStageRefIds": ["a"], "restrictExecutionDuringTimeWindow": true,
          "restrictedExecutionWindow": { "timezone": zone, "days": [1], "whitelist": [{ "startHour": 2, "endHour": 4 }] } },
    ]})
}

#[test]
fn pipeline_check_draws_what_is_sound_and_lists_every_problem_of_what_is_not() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let good = pipeline(dir.path(), "good.json", &windowed("Europe/Berlin"));
    let mut wrong = windowed("Nowhere");
    wrong["stages"][0]["type"] = "deploy".into();
    wrong["stages"][0]["requisiteStageRefIds"] = serde_json::json!(["b"]);
    let wrong = pipeline(dir.path(), "wrong.json", &wrong);

    let checked = bellrock(&["pipeline", "check", &good, "--at", "2026-03-28T12:00:00Z"], &[]);
    let picture = "  1. [a] wait\n  2. [b] B (wait)  after a; window: opens Sun 2026-03-29 03:00:00 +02:00 (Europe/Berlin)\n";
    assert_eq!((checked.status.code(), text(&checked.stdout)), (Some(0), format!("{good}: in order\n{picture}").as_str()));

    let checked = bellrock(&["pipeline", "check", &good, &wrong, "/absent.json", "--output", "json"], &[]);
    assert_eq!(checked.status.code(), Some(2));
    let reports: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!(reports[0]["levels"], serde_json::json!([["a"], ["b"]]));
    let places = reports[1]["problems"].as_array().expect("a list").iter().map(|p| p["path"].as_str().expect("a pointer"));
    let expected = ["/stages/0/type", "/stages/1/restrictedExecutionWindow/timezone", "/stages/0/requisiteStageRefIds"];
    assert_eq!(places.collect::<Vec<_>>(), expected);
    assert!(reports[2]["problems"][0]["message"].as_str().expect("a text").starts_with("cannot be read"));
}

#[test]
fn next_window_tells_the_true_opening_and_refuses_what_is_no_pipeline() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = pipeline(dir.path(), "p.json", &windowed("America/Los_Angeles"));
    let asked = bellrock(&["pipeline", "next-window", &file, "--at", "2026-03-08T09:59:00Z"], &[]);
    assert_eq!(text(&asked.stdout), "[b] B: opens Sun 2026-03-08 03:00:00 -07:00 (America/Los_Angeles)\n");
    let asked = bellrock(&["pipeline", "next-window", &file, "--at", "2026-03-08T10:30:00Z", "--output", "json"], &[]);
    let windows: serde_json::Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    assert_eq!((&windows[0]["open"], &windows[0]["opens"]), (&true.into(), &"2026-03-08T03:30:00-07:00".into()));

    let wrong = pipeline(dir.path(), "wrong.json", &windowed("Nowhere"));
    let refused = bellrock(&["pipeline", "next-window", &wrong], &[]);
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(2), ""));
    assert!(text(&refused.stderr).contains("pipeline-wrong") && text(&refused.stderr).contains("Nowhere"), "{}", text(&refused.stderr));
    assert_eq!(bellrock(&["pipeline", "next-window", &file, "--tz", "Nowhere"], &[]).status.code(), Some(2));
}

#[test]
fn eval_sees_what_a_stage_sees_and_says_where_an_expression_goes_wrong() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let execution = serde_json::json!({
        "trigger": { "parameters": { "version": "v7" } },
        "stages": [
            { "refId": "1", "name": "Build", "status": "SUCCEEDED", "context": { "hidden": 1 }, "outputs": { "image": "i-1" } },
            { "refId": "2", "name": "Deploy", "context": { "count": 2 }, "outputs": {}, "requisiteStageRefIds": ["1"] },
        ],
    });
    let file = pipeline(dir.path(), "execution.json", &execution);
    let eval = |expression: &str| bellrock(&["pipeline", "eval", expression, "--context", &file, "--stage", "2"], &[]);
    for (expression, expected) in [
        ("count * 2", "4\n"),
        ("${image}-${parameters.version}", "i-1-v7\n"),
        ("#stage('Build').hasSucceeded", "true\n"),
        ("hidden == null", "true\n"),
    ] {
        let answer = eval(expression);
        assert_eq!((answer.status.code(), text(&answer.stdout)), (Some(0), expected), "{expression}: {}", text(&answer.stderr));
    }
    let failed = eval("count + ");
    assert_eq!((failed.status.code(), text(&failed.stdout)), (Some(1), ""));
    assert!(
        text(&failed.stderr).contains("expression-failed") && text(&failed.stderr).contains("  count + \n"),
        "{}",
        text(&failed.stderr)
    );
    assert_eq!(bellrock(&["pipeline", "eval", "1", "--context", "/absent"], &[]).status.code(), Some(2));
}

/// Help of a command and of all below it on a terminal of `columns`, with the words that it is called by.
fn helps_below(words: &[&str], columns: &str, found: &mut Vec<(String, String)>) {
    let help = text(&bellrock(&[words, &["--help"]].concat(), &[("COLUMNS", columns)]).stdout).to_owned();
    let below = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default().to_owned();
    found.push((words.join(" "), help));
    for name in below.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !["", "help"].contains(name)) {
        helps_below(&[words, &[name]].concat(), columns, found);
    }
}

/// Help of every command, the program's own first.
fn helps(columns: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    helps_below(&[], columns, &mut found);
    assert!(found.len() > 40, "only {} commands were seen", found.len());
    found
}

#[test]
fn every_command_says_what_it_is_for_and_how_it_is_used() {
    for (name, help) in helps("100").iter().filter(|(name, _)| !name.is_empty()) {
        assert!(help.lines().next().is_some_and(|line| line.len() > 10), "bellrock {name}: {help}");
        assert!(help.contains("Example"), "bellrock {name} shows no example");
        assert!(help.contains(&format!("bellrock {name}")), "bellrock {name} shows an example of something else");
        assert!(help.lines().all(|line| line.chars().count() <= 160), "bellrock {name}: a line that no terminal takes");
    }
}

#[test]
fn an_example_is_one_line_on_any_terminal() {
    let examples = |help: &str| {
        let lines = help.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
        lines.filter(|line| line.starts_with("  ")).map(str::to_owned).collect::<Vec<_>>()
    };
    for ((name, narrow), (_, wide)) in helps("60").iter().zip(helps("300")) {
        assert!(!narrow.contains('\u{a0}'), "bellrock {name}: a space that no shell takes for one");
        assert_eq!(examples(narrow), examples(&wide), "bellrock {name}");
    }
}

#[test]
fn a_sentence_is_broken_where_the_terminal_ends_and_nowhere_else() {
    let columns = 100;
    for (name, help) in helps(&columns.to_string()) {
        let prose = help.lines().skip_while(|line| !line.starts_with("Options:")).take_while(|line| !line.starts_with("Example"));
        let prose: Vec<&str> = prose.collect();
        for pair in prose.windows(2).filter(|pair| pair.iter().all(|line| line.starts_with(|c: char| !c.is_whitespace()))) {
            let next = pair[1].split(' ').next().unwrap_or_default();
            let has_room = pair[0].chars().count() + 1 + next.chars().count() <= columns;
            assert!(!has_room || pair[0].ends_with(['.', ':']), "bellrock {name}: {:?} would have had room for {next:?}", pair[0]);
        }
    }
}

/// Any change of help is seen as a change of this page.
#[test]
fn the_reference_of_commands_is_what_help_says() {
    let mut now = String::from(
        "# Commands\n\nWhat `--help` says of each command, on a terminal of 100 columns; the package has the same as man pages. \
         [What the exit codes mean](../README.md#operate).\n",
    );
    for (name, help) in helps("100") {
        let command = format!("bellrock {name}");
        let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        now.push_str(&format!("\n## `{}`\n\n```text\n{}\n```\n", command.trim_end(), help.join("\n")));
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    if std::fs::read_to_string(&page).unwrap_or_default() != now {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands.md");
        std::fs::write(&new, &now).expect("a directory of our own");
        panic!("docs/commands.md is not what --help says; read {} and copy it there", new.display());
    }
}

#[test]
fn without_region_or_credentials_a_rollback_says_what_to_do_and_the_page_has_its_words() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let expired = file(dir.path(), "[default]\ncredential_process = /bin/false\n");
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/rollback-blind.md")).expect("a page");
    let cases = [
        (&[][..], "/dev/null", "Connect: denied: NoRegion", "--region"),
        (&["--region", "eu-west-1"], "/dev/null", "denied: NoCredentials", "aws sso login"),
        (&["--region", "eu-west-1"], &expired, "unavailable: ConnectionRefused: no credentials for now", "aws sso login"),
    ];
    for (args, settings, words, next) in cases {
        let env = [("AWS_CONFIG_FILE", settings), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"), ("AWS_EC2_METADATA_DISABLED", "true")];
        for command in ["rollback", "doctor"] {
            let dry: &[&str] = if command == "rollback" { &["--dry-run"] } else { &[] };
            let asked = bellrock(&[&[command, "shop"], args, dry].concat(), &env);
            let said = text(&asked.stdout);
            assert_eq!(asked.status.code(), Some(1), "{said}{}", text(&asked.stderr));
            let (_, after) = said.split_once(words).unwrap_or_else(|| panic!("{command}: no {words} in {said}"));
            assert!(after.lines().nth(1).is_some_and(|line| line.starts_with("  next: ") && line.contains(next)), "{command}: {said}");
        }
        assert!(page.contains(&format!("| `{words}` |")), "the page does not have {words}");
    }
}

#[test]
fn the_script_of_a_shell_that_is_named_is_printed_and_no_directory_is_made() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut program = Command::new(env!("CARGO_BIN_EXE_bellrock"));
    let printed = program.args(["gen", "completions", "bash"]).current_dir(dir.path()).output().expect("runs");
    assert_eq!((printed.status.code(), text(&printed.stdout).contains("BELLROCK_COMPLETE")), (Some(0), true));
    assert!(!dir.path().join("bash").exists());
}

#[test]
fn a_slip_of_the_finger_is_put_right_and_nothing_is_done() {
    for (args, meant) in
        [(&["statsu"][..], "'status'"), (&["rollback", "shop", "--dryrun"], "'--dry-run'"), (&["pipeline", "lsit"], "'list'")]
    {
        let out = bellrock(args, &[]);
        assert_eq!((out.status.code(), text(&out.stderr).contains(meant)), (Some(2), true), "{args:?}: {}", text(&out.stderr));
    }
}

#[test]
fn colour_is_for_terminals_and_for_those_who_ask_for_it() {
    let coloured = |env: &[(&str, &str)]| text(&bellrock(&["status", "--socket", "/nowhere/agent.sock"], env).stderr).contains('\u{1b}');
    assert!(!coloured(&[]), "a pipe is no terminal");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}
