//! `bellrock token new`: a token for a caller from elsewhere, and its entry in the token file.
//!
//! What must stay true: the token is printed once and kept nowhere; a token file that is added to stays one, and is the owner's alone.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;

use super::Context;
use super::Exit;
use super::Failure;
use crate::http::api::auth::Role;
use crate::http::api::tokens;
use crate::http::api::tokens::Token;
use crate::http::api::tokens::TokenFileError;
use crate::http::api::tokens::Tokens;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock token new --name ci --role operate\n  \
    bellrock token new --name ci --role operate --add-to /etc/bellrock/tokens.toml > ci.token\n  \
    bellrock pipeline list --url https://orca.example.com:7011 --token-file ci.token")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a token, and its entry for the file that http.tokens_file names.
    #[command(after_help = "Example:\n  bellrock token new --name ci --role operate --add-to /etc/bellrock/tokens.toml > ci.token")]
    New(NewArgs),
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// What its holder is called in records.
    #[arg(long)]
    name: String,
    /// What its holder may do: `read` looks, `operate` starts, stops and judges, `admin` changes definitions.
    #[arg(long)]
    role: Role,
    /// Role for manual judgments; may be said several times.
    #[arg(long = "judge-as", value_name = "ROLE")]
    roles: Vec<String>,
    /// Its holder asks for others, as Gate does, and names them in X-SPINNAKER-USER.
    #[arg(long)]
    proxy: bool,
    /// Add the entry to this token file, which is made if it is not there, and print the token alone.
    #[arg(long, value_name = "FILE")]
    add_to: Option<PathBuf>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let What::New(args) = args.what;
    let secret = tokens::new().map_err(|e| Failure::new("runtime", "the system has no randomness").because(&e))?;
    let token = Token { name: args.name, role: args.role, roles: args.roles, proxy: args.proxy, sha256: tokens::digest(&secret) };
    let entry = tokens::entry(&token).map_err(|e| Failure::new("output", "the entry cannot be written").because(&e))?;
    Tokens::parse(&entry).map_err(|why| Failure::refused("token-file", why))?;
    if let Some(path) = &args.add_to {
        add(path, &token.name, &entry)?;
    }
    let value = json!({"token": secret, "entry": token, "file": args.add_to});
    match &args.add_to {
        Some(_) => context.print(|| secret.clone(), &value)?,
        None => context.print(
            || format!("# {secret}\n# is the token, for its holder and nobody else; this is its entry in http.tokens_file:\n{entry}"),
            &value,
        )?,
    }
    Ok(Exit::Done)
}

/// Adds an entry whole or not at all: the file is replaced by one that was read back.
fn add(path: &Path, name: &str, entry: &str) -> Result<(), Failure> {
    let refused = |why: String| Failure::refused("token-file", format!("{} was not changed: {why}", path.display()));
    let before = match tokens::text(path) {
        Ok(text) => text,
        Err(TokenFileError::Read(_, e)) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(refused(e.to_string())),
    };
    let there = Tokens::parse(&before).map_err(refused)?;
    if there.has(name) {
        return Err(refused(format!("it has a token called {name}")).help("name the new one otherwise, or take the old entry out first"));
    }
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let text = format!("{before}{gap}{entry}");
    Tokens::parse(&text).map_err(refused)?;
    let failed = |e: std::io::Error| {
        Failure::new("token-file", format!("{} cannot be written", path.display())).because(&e).help("run it as whoever owns the file")
    };
    // Beside it under another name, then in its place, so that an agent never reads half of it.
    let fresh = path.with_added_extension(format!("{}", std::process::id()));
    let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if let Ok(old) = std::fs::metadata(path) {
            use std::os::unix::fs::MetadataExt;
            // Root may add to somebody else's file; anybody else owns both.
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        std::fs::rename(&fresh, path)
    });
    written.map_err(|e| {
        // What is left of it is a file that nothing reads.
        let _ = std::fs::remove_file(&fresh);
        failed(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_added_to_a_file_of_its_own_and_never_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let entry = |name: &str| {
            let token = Token { name: name.into(), role: Role::Read, roles: vec![], proxy: false, sha256: tokens::digest(name) };
            tokens::entry(&token).unwrap()
        };
        add(&path, "a", &entry("a")).unwrap();
        add(&path, "b", &entry("b")).unwrap();
        assert_eq!(Tokens::read(&path).unwrap().len(), 2, "mode and content are such that an agent takes it");
        assert_eq!(add(&path, "a", &entry("a")).unwrap_err().code, "token-file");
        let broken = std::fs::read_to_string(&path).unwrap() + "[[token]]\n";
        std::fs::write(&path, &broken).unwrap();
        assert!(add(&path, "c", &entry("c")).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), broken, "what cannot be read is left alone");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something is left behind");
    }
}
