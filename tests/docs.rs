//! What the pages point at is there, and what they say of dependencies is so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use bellrock::config::Config;
use bellrock::drill::Scenario;
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Pages of the root and READMEs, and all pages below `docs` and `runbooks`.
fn pages() -> Vec<PathBuf> {
    let single = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "packer/README.md", "tests/versions/README.md"];
    let mut pages = single.map(|page| root().join(page)).to_vec();
    let mut folders = vec![root().join("docs"), root().join("runbooks")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Text between `open` and `close`, wherever it is.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close).map(|(inside, _)| inside)).collect()
}

/// Headings as GitHub makes anchors of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(heading).collect()
}

fn broken(page: &Path, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
    let there = if path.is_empty() { Some(text.to_owned()) } else { fs::read_to_string(&target).ok() };
    let found = match (&there, anchor) {
        (_, None) => target.exists(),
        (Some(there), Some(anchor)) => anchors(there).contains(anchor),
        (None, Some(_)) => false,
    };
    (!found).then(|| format!("{}: {link}", page.strip_prefix(root()).unwrap_or(page).display()))
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut links = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in between(&text, "](", ')') {
            links += 1;
            wrong.extend(broken(&page, &text, link));
        }
    }
    assert!(links > 40, "only {links} links were seen");
    assert_eq!(wrong, Vec::<String>::new());
    let readme = root().join("README.md");
    assert!(broken(&readme, "", "runbooks/no-such-page.md").is_some() && broken(&readme, "# Here", "#there").is_some());
}

#[test]
fn every_row_of_what_it_survives_names_a_play_or_a_file_of_tests() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## What it survives").unwrap();
    let rows: Vec<&str> = section.split("\n## ").next().unwrap().lines().filter(|l| l.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 12, "{rows:#?}");
    for row in rows {
        let shown_by = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let plays = between(shown_by, "`drill ", '`');
        let files: Vec<&str> = between(shown_by, "](", ')').into_iter().filter(|file| file.ends_with(".rs")).collect();
        assert!(!plays.is_empty() || !files.is_empty(), "nothing shows {row}");
        assert!(plays.iter().all(|play| Scenario::of(play).is_some()), "{row}");
        let has_tests = |file: &&str| {
            fs::read_to_string(root().join(file)).is_ok_and(|text| text.contains("#[test]") || text.contains("#[tokio::test"))
        };
        assert!(files.iter().all(has_tests), "{row}");
    }
}

/// What cargo says, of the lock file and without the network.
fn cargo(args: &[&str]) -> String {
    let cargo = std::process::Command::new(env!("CARGO")).args(args).args(["--locked", "--offline"]).current_dir(root()).output().unwrap();
    assert!(cargo.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&cargo.stderr));
    String::from_utf8(cargo.stdout).unwrap()
}

/// Rows of the tables under a heading of the page on dependencies, their first cell without its backticks.
fn rows_under(heading: &str) -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let rows = rest.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(cells).map(|row| (row[0].trim_matches('`').to_owned(), row[1..].to_vec())).collect()
}

#[test]
fn every_direct_dependency_has_its_reason_and_its_licence_on_the_page() {
    // What only other platforms build was never fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--filter-platform", &platform])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let licences: BTreeMap<&str, &str> =
        packages.iter().map(|package| (package["id"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"))).collect();
    let us = metadata["resolve"]["root"].as_str().unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let resolved = nodes.iter().find(|node| node["id"] == us).unwrap()["deps"].as_array().unwrap();
    for (heading, kind) in [("In the program", Value::Null), ("In its tests", Value::from("dev"))] {
        let of_kind = |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|one| one["kind"] == kind);
        let direct: BTreeMap<String, &str> = resolved
            .iter()
            .filter(of_kind)
            .map(|dep| {
                let id = dep["pkg"].as_str().unwrap();
                let package = packages.iter().find(|package| package["id"] == id).unwrap();
                (package["name"].as_str().unwrap().to_owned(), licences[id])
            })
            .collect();
        let rows = rows_under(heading);
        assert_eq!(rows.keys().collect::<Vec<_>>(), direct.keys().collect::<Vec<_>>(), "{heading}: the page and Cargo.toml");
        for (name, row) in &rows {
            assert_eq!(row[0], direct[name], "licence of {name}");
            assert!(row[1].len() > 10, "{name} has no reason");
        }
    }
}

#[test]
fn what_is_twice_in_the_build_is_on_the_page_with_its_reason() {
    let tree = cargo(&["tree", "--duplicates", "--edges", "normal,build", "--depth", "0", "--prefix", "none", "--charset", "ascii"]);
    let twice: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_once(" v").map(|(name, _)| name)).collect();
    let rows = rows_under("Twice in the tree");
    assert_eq!(rows.keys().map(String::as_str).collect::<BTreeSet<_>>(), twice);
}

/// The reference of all keys, from the sample file and from the types that it is held to.
fn reference() -> String {
    let sample = fs::read_to_string(root().join("systemd/bellrock.toml")).unwrap();
    let defaults = Config::parse(Path::new("none"), "", &BTreeMap::new()).unwrap();
    let is_default = |key: &str| defaults.effective().iter().any(|setting| setting.key == key && setting.value.is_some());
    let mut text = String::from(
        "# Configuration\n\nEvery key there is, from [the sample file](../systemd/bellrock.toml), which the package has among its examples. \
         Each can be overridden by an\nenvironment variable, `drain.quiet` by `BELLROCK_DRAIN_QUIET`. `bellrock config check` lists all that is wrong, \
         `bellrock config show` what is in force and\nwhere it comes from. SIGHUP (`systemctl reload bellrock`) takes a change over where no restart is \
         needed, and says where one is.\n",
    );
    let (mut section, mut said) = (String::new(), Vec::new());
    for line in sample.lines().skip_while(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            write!(text, "\n## `{section}`\n\n{}\n\n| key | default | |\n|---|---|---|\n", said.join(" ")).unwrap();
            said.clear();
        } else if let Some(words) = line.strip_prefix("# ") {
            said.push(words);
        } else if let Some((name, value)) = line.strip_prefix('#').and_then(|line| line.split_once(" = ")) {
            let key = format!("{section}.{name}");
            let value = if is_default(&key) { format!("`{value}`") } else { format!("none; such as `{value}`") };
            let cell = |text: String| text.replace('|', "\\|");
            writeln!(text, "| `{key}` | {} | {} |", cell(value), cell(said.join(" "))).unwrap();
            said.clear();
        }
    }
    text
}

#[test]
fn the_configuration_reference_is_what_the_sample_says() {
    let (path, now) = (root().join("docs/configuration.md"), reference());
    if fs::read_to_string(&path).unwrap_or_default() != now {
        let new = root().join("target/tmp/configuration.md");
        fs::create_dir_all(new.parent().unwrap()).unwrap();
        fs::write(&new, &now).unwrap();
        panic!("docs/configuration.md is not what the sample says; read {} and copy it there", new.display());
    }
}

#[test]
fn the_book_has_every_page_of_docs_once() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let listed: Vec<&str> = between(&summary, "](", ')');
    let once: BTreeSet<PathBuf> = listed.iter().map(|page| docs.join(page)).collect();
    assert_eq!(once.len(), listed.len(), "a page twice");
    let there: BTreeSet<PathBuf> = pages().into_iter().filter(|page| page.starts_with(&docs) && !page.ends_with("SUMMARY.md")).collect();
    assert_eq!(once, there);
}

#[test]
fn the_index_of_runbooks_has_every_page_once() {
    let runbooks = root().join("runbooks");
    let index = fs::read_to_string(runbooks.join("README.md")).unwrap();
    let mut listed: Vec<&str> = between(&index, "](", ')').into_iter().filter(|page| page.ends_with(".md")).collect();
    listed.sort_unstable();
    let there = fs::read_dir(&runbooks).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<String> = there.filter(|page| page != "README.md").collect();
    there.sort();
    assert_eq!(listed, there);
}

/// Text of fenced blocks of this language, with the page each is on.
fn blocks(language: &str) -> Vec<(PathBuf, String)> {
    let open = format!("```{language}\n");
    let of = |page: PathBuf| {
        let text = fs::read_to_string(&page).unwrap();
        let found = text.split(&open).skip(1).filter_map(|rest| rest.split("\n```").next().map(str::to_owned)).collect::<Vec<_>>();
        found.into_iter().map(move |block| (page.clone(), block))
    };
    pages().into_iter().flat_map(of).collect()
}

#[test]
fn every_configuration_that_a_page_shows_is_in_order() {
    let blocks = blocks("toml");
    assert!(blocks.len() >= 6, "only {} were seen", blocks.len());
    for (page, text) in blocks {
        let said = Config::parse(Path::new("shown.toml"), &text, &BTreeMap::new()).err().map(|problems| problems.to_string());
        assert_eq!(said, None, "{}:\n{text}", page.display());
    }
}
