//! Who and where we are: the owner of a hold, the directory of journals, the lock of this machine.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::Context;
use crate::cli::Failure;

pub(in crate::cli) fn owner(context: &Context) -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|key| context.env.get(*key)).map_or("somebody", String::as_str);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| context.env.get("HOSTNAME").cloned());
    format!("{user}@{}", host.as_deref().map_or("somewhere", str::trim))
}

/// As the name of a role's session: AWS takes 2 to 64 characters, and fewer of them than a tag.
pub(super) fn session(owner: &str) -> String {
    let name: String = owner.chars().map(|c| if c.is_ascii_alphanumeric() || "+=,.@-_".contains(c) { c } else { '-' }).take(64).collect();
    if name.len() < 2 { format!("on-call-{name}") } else { name }
}

/// As a tag takes it.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "+-=._:@".contains(c) { c } else { '_' }).collect()
}

pub(super) fn state_dir(context: &Context) -> PathBuf {
    let set = |key: &str| context.env.get(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from("/var/tmp")).join("bellrock")
}

/// One rollback of an application per machine: the hold cannot tell two runs of the same owner apart.
pub(super) fn lock(state: &Path, application: &str) -> Result<File, Failure> {
    let path = state.join(format!("rollback-{}.lock", plain(application)));
    let unwritable = |e: &io::Error| {
        Failure::refused("rollback-journal", format!("cannot write {}; nothing was changed", path.display()))
            .because(e)
            .help("set XDG_STATE_HOME to a folder that can be written")
    };
    fs::create_dir_all(state).map_err(|e| unwritable(&e))?;
    let file = File::create(&path).map_err(|e| unwritable(&e))?;
    file.try_lock().map_err(|e| {
        Failure::refused("rollback-already-running", format!("a rollback of {application} is running on this machine"))
            .because(&e)
            .help("let it end, or stop it with Ctrl-C; the same command then goes on")
    })?;
    Ok(file)
}
