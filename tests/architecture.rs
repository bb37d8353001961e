//! Who may import whom, checked: the picture in `src/lib.rs` is true, or this fails.
//!
//! Reads the sources as text. Comments do not count; unit tests may look further than the code they test, except between orchestrator and
//! rollback. A new arrow is a decision: change the table here and the picture in `src/lib.rs` in one commit.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// What the files under a path may know.
struct Row {
    /// A file or folder under `src/`; the longest that fits a file is its row.
    path: &'static str,
    /// Rooms it may import beside its own.
    rooms: &'static [&'static str],
    /// No waiting, no clock, no outside world.
    pure: bool,
}

const fn row(path: &'static str, rooms: &'static [&'static str]) -> Row {
    Row { path, rooms, pure: false }
}

const fn pure(path: &'static str, rooms: &'static [&'static str]) -> Row {
    Row { path, rooms, pure: true }
}

const TABLE: &[Row] = &[
    row("main.rs", &["cli"]),
    row("lib.rs", &[]),
    pure("model", &[]),
    row("supervise.rs", &[]),
    pure("decide", &["model"]),
    row("config", &["model", "decide", "orchestrator", "cloud"]),
    row("cloud", &["model"]),
    row("cloud/aws", &["model"]),
    pure("cloud/sim", &["model"]),
    row("cloud/sim/local.rs", &["model", "orchestrator", "host"]),
    row("cloud/sim/serve", &["model", "host", "supervise"]),
    row("host", &["model", "supervise"]),
    row("orchestrator", &["model", "cloud", "host", "supervise"]),
    pure("orchestrator/engine", &["model"]),
    pure("orchestrator/store/record", &["model"]),
    pure("orchestrator/orca/execution", &["model"]),
    pure("orchestrator/orca/zombie", &["model"]),
    row("rollback", &["model", "cloud", "host", "supervise"]),
    pure("rollback/plan", &["model"]),
    row("rollback/facts", &["model", "cloud"]),
    row("observe", &["model", "decide", "cloud", "host", "orchestrator"]),
    row("act", &["model", "decide", "observe", "cloud", "host", "orchestrator"]),
    row("journal", &["model", "decide"]),
    row("metrics", &["model", "decide", "cloud", "host", "orchestrator"]),
    row("http", &["model", "decide", "orchestrator", "supervise", "metrics"]),
    row(
        "daemon",
        &["model", "decide", "observe", "act", "config", "cloud", "host", "journal", "orchestrator", "http", "supervise", "metrics"],
    ),
    row(
        "drill",
        &[
            "model",
            "decide",
            "observe",
            "act",
            "daemon",
            "config",
            "cloud",
            "host",
            "journal",
            "orchestrator",
            "rollback",
            "http",
            "supervise",
            "metrics",
        ],
    ),
    row(
        "cli",
        &[
            "model",
            "decide",
            "observe",
            "act",
            "daemon",
            "config",
            "cloud",
            "host",
            "journal",
            "orchestrator",
            "rollback",
            "http",
            "drill",
            "supervise",
            "metrics",
        ],
    ),
];

/// What a pure file may not name.
const IMPURE: &[&str] = &[
    "tokio",
    "futures",
    "reqwest",
    "axum",
    "tracing",
    "println!",
    "eprintln!",
    "async fn",
    ".await",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "SystemClock",
    "VirtualClock",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];

/// Words of outside systems, and the folder that alone may say them.
const CONFINED: &[(&str, &str)] = &[
    ("aws_sdk_", "cloud/aws"),
    ("aws_config", "cloud/aws"),
    ("aws_smithy", "cloud/aws"),
    ("aws_runtime", "cloud/aws"),
    ("aws_types", "cloud/aws"),
    ("aws_credential", "cloud/aws"),
    ("redis::", "orchestrator"),
    ("rusqlite", "orchestrator/store/embedded"),
    ("prometheus_client", "metrics"),
    ("sd_notify", "host"),
    ("sysinfo", "host"),
    ("signal_hook", "host"),
];

/// Where a banned call may be excused: the clock's one place, the spawner's, and those that a process needs to begin and end.
const EXCUSED: &[&str] = &["host/clock.rs", "supervise.rs", "main.rs"];

struct Source {
    /// Under `src/`, with `/`.
    path: String,
    /// Without comments.
    code: String,
    /// `code` without unit tests.
    product: String,
}

fn sources() -> Vec<Source> {
    let root = root().join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let read = |file: PathBuf| {
        let path = file.strip_prefix(&root).expect("collected under it").to_string_lossy().replace('\\', "/");
        let code = without_comments(&fs::read_to_string(&file).expect("a source that can be read"));
        let product = if is_test(&path) { String::new() } else { without_tests(&code) };
        Source { path, code, product }
    };
    files.into_iter().map(read).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("an entry that can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.split('/').any(|part| part == "tests")
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| if line.trim_start().starts_with("//") { String::new() } else { line.to_owned() };
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

/// Cuts at the unit tests, which close a file.
fn without_tests(code: &str) -> String {
    code.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

fn row_of(path: &str) -> Option<&'static Row> {
    let fits = |row: &&Row| path == row.path || path.strip_prefix(row.path).is_some_and(|rest| rest.starts_with('/') || rest == ".rs");
    TABLE.iter().filter(fits).max_by_key(|row| row.path.len())
}

fn room_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn rooms() -> BTreeSet<&'static str> {
    TABLE.iter().map(|row| room_of(row.path)).filter(|room| !["main", "lib"].contains(room)).collect()
}

/// Modules of a file, from the crate's root.
fn module_of(path: &str) -> Vec<&str> {
    let mut module: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(last)) {
        module.pop();
    }
    module
}

/// Rooms that the code names by `crate::`, `bellrock::` or a chain of `super::`.
fn imports<'a>(path: &str, code: &'a str) -> BTreeSet<&'a str> {
    let head = |text: &'a str| text.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "bellrock::"] {
        found.extend(code.split(prefix).skip(1).map(head));
    }
    for line in code.lines() {
        let Some(mut rest) = line.trim_start().strip_prefix("use ") else { continue };
        let mut ups = 0;
        while let Some(up) = rest.strip_prefix("super::") {
            rest = up;
            ups += 1;
        }
        if ups > 0 && ups == module_of(path).len() {
            found.insert(head(rest));
        }
    }
    let rooms = rooms();
    found.retain(|room| rooms.contains(room));
    found
}

fn is_under(path: &str, folder: &str) -> bool {
    path.starts_with(&format!("{folder}/")) || path == format!("{folder}.rs")
}

fn assert_none(what: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{what}\n  {}", broken.join("\n  "));
}

#[test]
fn every_import_is_an_arrow_of_the_table() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(row) = row_of(&source.path) else {
            broken.push(format!("src/{}: in no row", source.path));
            continue;
        };
        for room in imports(&source.path, &source.product) {
            if room != room_of(&source.path) && !row.rooms.contains(&room) {
                broken.push(format!("src/{} ({}) -> {room}", source.path, row.path));
            }
        }
    }
    assert_none("new arrows; is each meant? Then change the table and the picture in src/lib.rs.", broken);
}

#[test]
fn orchestrator_and_rollback_do_not_know_each_other() {
    let mut broken = Vec::new();
    for source in sources() {
        let room = room_of(&source.path);
        let stranger = match room {
            "orchestrator" => "rollback",
            "rollback" => "orchestrator",
            _ => continue,
        };
        if imports(&source.path, &source.code).contains(stranger) {
            broken.push(format!("src/{} -> {stranger}", source.path));
        }
    }
    assert_none("a rollback has to work when the orchestrator does not.", broken);
}

#[test]
fn pure_files_touch_nothing() {
    let mut broken = Vec::new();
    for source in sources() {
        if row_of(&source.path).is_some_and(|row| row.pure) {
            let named = IMPURE.iter().filter(|word| source.product.contains(**word));
            broken.extend(named.map(|word| format!("src/{}: {word}", source.path)));
        }
    }
    assert_none("time and facts are handed to a pure file; effects are its answer.", broken);
}

#[test]
fn outside_types_stay_in_their_folder() {
    let mut broken = Vec::new();
    for source in sources() {
        for (word, folder) in CONFINED {
            if source.code.contains(word) && !is_under(&source.path, folder) {
                broken.push(format!("src/{}: {word} belongs to {folder}", source.path));
            }
        }
    }
    assert_none("types of outside systems are turned into ours where they come in.", broken);
}

#[test]
fn one_path_per_use_line() {
    let grouped = |line: &&str| line.trim_start().starts_with("use ") && line.contains('{');
    let broken = sources()
        .iter()
        .flat_map(|s| s.code.lines().filter(grouped).map(|line| format!("src/{}: {line}", s.path)).collect::<Vec<_>>())
        .collect();
    assert_none("this test reads them, and so do people comparing two versions.", broken);
}

#[test]
fn tasks_are_spawned_and_clocks_are_read_in_one_place() {
    let mut broken = Vec::new();
    for source in sources() {
        let excused = EXCUSED.contains(&source.path.as_str());
        for word in ["clippy::disallowed_methods", "tokio::spawn(", "task::spawn(", "thread::spawn("] {
            if !excused && source.product.contains(word) {
                broken.push(format!("src/{}: {word}", source.path));
            }
        }
    }
    assert_none("use supervise for tasks, an argument for time, main for the environment.", broken);
}

/// The codes a person can be shown: what `Failure::new` and `Failure::refused` are given, and what a `fn code` answers.
fn codes(code: &str) -> BTreeSet<String> {
    let literal = |text: &str| text.trim_start().strip_prefix('"').and_then(|t| t.split_once('"')).map(|(word, _)| word.to_owned());
    let mut codes = BTreeSet::new();
    for call in ["Failure::new(", "Failure::refused(", "Self::new(", "Self::refused("] {
        if call.starts_with("Failure") || code.contains("impl Failure") || code.contains(" for Failure") {
            codes.extend(code.split(call).skip(1).filter_map(literal));
        }
    }
    for body in code.split("fn code(").skip(1) {
        let body = body.split("\n    }\n").next().unwrap_or_default();
        codes.extend(body.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    codes
}

/// Pages that a text names: `runbooks/CODE.md`, where CODE is not a placeholder.
fn pages_named(text: &str) -> BTreeSet<String> {
    let named = text.split("runbooks/").skip(1).filter_map(|rest| rest.split_once(".md").map(|(code, _)| code));
    named.filter(|code| is_code(code)).map(str::to_owned).collect()
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

/// Pages that are no code's: the index, a whole procedure, and one table for all that the API answers.
const PAGES: [&str; 3] = ["rollback", "api", "README"];

#[test]
fn every_code_of_the_api_has_a_row() {
    let page = fs::read_to_string(root().join("runbooks/api.md")).expect("it is there");
    let (mut broken, mut found) = (Vec::new(), 0);
    for source in sources().iter().filter(|source| room_of(&source.path) == "http") {
        let after = source.product.split("StatusCode::").skip(1).filter_map(|rest| rest.split_once(',')).map(|(_, rest)| rest.trim_start());
        for code in after.filter_map(|rest| rest.strip_prefix('"')?.split('"').next()).filter(|code| is_code(code)) {
            found += 1;
            if !page.contains(&format!("| `{code}` |")) {
                broken.push(format!("src/{}: {code}", source.path));
            }
        }
    }
    assert!(found > 20, "the reader of this test sees {found} codes");
    assert_none("a client that is answered with a code finds its row in runbooks/api.md.", broken);
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let (mut broken, mut shown) = (Vec::new(), BTreeSet::from(PAGES.map(str::to_owned)));
    for source in sources() {
        let mut all = pages_named(&source.product);
        // AWS's own codes are AWS's to explain; a stage fails with the class of error that Orca's records name.
        if room_of(&source.path) != "cloud" && !source.path.starts_with("orchestrator/engine/") {
            all.extend(codes(&source.product));
        }
        for code in all {
            if !is_code(&code) || !root().join(format!("runbooks/{code}.md")).is_file() {
                broken.push(format!("src/{}: runbooks/{code}.md", source.path));
            }
            shown.insert(code);
        }
    }
    shown.extend(pages_named(&fs::read_to_string(root().join("docs/monitoring/alerts.yml")).expect("it is there")));
    for page in fs::read_dir(root().join("runbooks")).expect("it is there").map(|page| page.expect("readable").path()) {
        let (name, text) = (page.file_stem().expect("a name").to_string_lossy().into_owned(), fs::read_to_string(&page).expect("text"));
        if !shown.contains(&name) {
            broken.push(format!("runbooks/{name}.md: nothing shows this code"));
        }
        let missing =
            ["# ", "**Meaning|**What it means", "**Affected|**Who is", "**See|**How to see", "**Do|**What to do", "**Undo|**How to undo"];
        let missing = missing.into_iter().filter(|part| !part.split('|').any(|part| text.contains(part)));
        broken.extend(missing.filter(|_| !PAGES.contains(&name.as_str())).map(|part| format!("runbooks/{name}.md: no {part}")));
    }
    for text in [
        "README.md",
        "docs/install.md",
        "docs/monitoring/alerts.yml",
        "systemd/bellrock.toml",
        "systemd/bellrock.service",
        "systemd/debian/bellrock.toml",
    ] {
        let named = pages_named(&fs::read_to_string(root().join(text)).expect("it is there"));
        let missing = named.into_iter().filter(|code| !root().join(format!("runbooks/{code}.md")).is_file());
        broken.extend(missing.map(|code| format!("{text}: runbooks/{code}.md")));
    }
    assert_none("a person who is shown a code finds its page: what it means, who is affected, how to see it, what to do.", broken);
}

#[test]
fn the_readers_of_this_test_see() {
    let code = "use crate::cloud::Error;\nuse super::Group;\nuse super::super::rollback::Plan;\nlet x = crate::host::clock::now();\n";
    assert_eq!(imports("decide/drain.rs", code), BTreeSet::from(["cloud", "host", "rollback"]));
    assert_eq!(imports("act.rs", "use super::rollback::Plan;"), BTreeSet::from(["rollback"]));
    assert_eq!(row_of("cloud/sim/core.rs").map(|r| r.path), Some("cloud/sim"));
    assert_eq!(row_of("cloud/sim/serve/query.rs").map(|r| r.path), Some("cloud/sim/serve"));
    assert_eq!(row_of("config.rs").map(|r| r.path), Some("config"));
    assert!(row_of("clouds.rs").is_none());
    assert!(!without_comments("  /// crate::cloud").contains("crate"));
    assert_eq!(
        codes("Failure::new(\n  \"a-b\", x); fn code(&self) -> &str {\n 1 => \"c-d\",\n    }\n \"e\""),
        BTreeSet::from(["a-b".into(), "c-d".into()])
    );
    assert_eq!(pages_named("see runbooks/a-b.md, runbooks/{code}.md, runbooks/c_d.md"), BTreeSet::from(["a-b".into(), "c_d".into()]));
}
