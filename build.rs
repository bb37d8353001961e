//! Tells the program how it was built, for `bellrock version --verbose`.
//!
//! The commit is what `BELLROCK_COMMIT` says, or git, in release builds only: in others each commit would build everything again. A source without git and
//! without the variable has none.

#![allow(clippy::disallowed_methods, reason = "a build script has no other way to be told")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BELLROCK_COMMIT");
    let profile = told("PROFILE").unwrap_or_default();
    let rustc = told("RUSTC").and_then(|rustc| said(&rustc, &["--version"]));
    println!("cargo::rustc-env=BELLROCK_PROFILE={profile}");
    println!("cargo::rustc-env=BELLROCK_TARGET={}", told("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=BELLROCK_RUSTC={}", rustc.unwrap_or_else(|| "rustc, of which nothing is known".to_owned()));
    if let Some(commit) = told("BELLROCK_COMMIT").or_else(|| (profile == "release").then(of_git).flatten()) {
        println!("cargo::rustc-env=BELLROCK_COMMIT={commit}");
    }
}

/// With `+` behind it where what is built is not what was committed. None in a repository that is not this package's own, as of who vendors it.
fn of_git() -> Option<String> {
    let asked = |arguments: &[&str]| said("git", arguments);
    let own = |top: String| Some(Path::new(&top).canonicalize().ok()? == Path::new(".").canonicalize().ok()?);
    own(asked(&["rev-parse", "--show-toplevel"])?)?.then_some(())?;
    // Each commit and checkout adds a line there, also where `.git` is a file, as in a work tree beside another.
    println!("cargo::rerun-if-changed={}", asked(&["rev-parse", "--git-path", "logs/HEAD"])?);
    let commit = asked(&["rev-parse", "HEAD"])?;
    let changed = asked(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}+") })
}

fn told(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let ran = Command::new(program).args(arguments).output().ok().filter(|ran| ran.status.success())?;
    Some(String::from_utf8(ran.stdout).ok()?.trim().to_owned())
}
