//! Tokens: made, digested, and listed in a file with what their holders may do.
//!
//! What must stay true: a token is nowhere but with its holder, the file has its digest; a token is compared by its digest, in constant time; a file
//! that others could read or write, or that names two holders alike, is no token file.

use std::io::Read;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::SHA256;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;

use super::auth::Role;

/// Longest token file, in bytes: a thousand tokens.
const FILE_LIMIT: u64 = 256 * 1024;
/// Longest name of a token, in bytes: it is in records and log lines.
const NAME_LIMIT: usize = 128;
/// Entropy of a token, in bytes.
const RANDOM: usize = 32;
/// What our tokens begin with, so that those who look for leaked secrets know one.
const PREFIX: &str = "bellrock_";

/// One token, as its file describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What its holder is called in records.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// Roles for judgments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Its holder asks for others and names them in `X-SPINNAKER-USER`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy: bool,
    /// SHA-256 of the token, in hexadecimal.
    pub sha256: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Token>,
}

/// All tokens of a file.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<(Token, Vec<u8>)>);

/// Why a token file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(String, std::io::Error),
    /// It is longer than any token file should be.
    #[error("{0} is longer than {FILE_LIMIT} bytes")]
    TooLong(String),
    /// Others than its owner may read or write it.
    #[error("{0} may be read or written by others: chmod 600 it")]
    Open(String),
    /// It is no token file.
    #[error("{0}: {1}")]
    Syntax(String, String),
}

impl Tokens {
    /// Reads a token file: TOML, `[[token]]` with `name`, `role`, `sha256`, and maybe `roles` and `proxy`.
    ///
    /// # Errors
    /// See [`TokenFileError`].
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        Self::parse(&text(path)?).map_err(|e| TokenFileError::Syntax(path.display().to_string(), e))
    }

    /// Reads what stands in a token file.
    ///
    /// # Errors
    /// What is wrong with it, for people; of a digest, no more than whose it is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut tokens: Vec<(Token, Vec<u8>)> = Vec::with_capacity(file.token.len());
        for token in file.token {
            if token.name.is_empty() || token.name.len() > NAME_LIMIT || token.name.chars().any(char::is_control) {
                return Err(format!("token {:?}: a name is one line of 1 to {NAME_LIMIT} bytes", token.name));
            }
            let digest = unhex(&token.sha256).filter(|d| d.len() == SHA256.output_len());
            let digest = digest.ok_or_else(|| format!("token {:?}: sha256 is not 64 hexadecimal digits", token.name))?;
            if let Some((other, _)) = tokens.iter().find(|(other, known)| other.name == token.name || *known == digest) {
                return Err(if other.name == token.name {
                    format!("two tokens are called {:?}", token.name)
                } else {
                    format!("tokens {:?} and {:?} are the same", other.name, token.name)
                });
            }
            tokens.push((token, digest));
        }
        Ok(Self(tokens))
    }

    /// True when nobody has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when somebody is called so.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(token, _)| token.name == name)
    }

    pub(super) fn holder(&self, token: &str) -> Option<&Token> {
        let given = aws_lc_rs::digest::digest(&SHA256, token.as_bytes());
        // All of them are compared, so that the time taken does not say which came near.
        self.0
            .iter()
            .filter(|(_, digest)| verify_slices_are_equal(digest, given.as_ref()).is_ok())
            .map(|(t, _)| t)
            .fold(None, |_, t| Some(t))
    }
}

/// What a token file holds, if it may be one.
///
/// # Errors
/// See [`TokenFileError`].
pub fn text(path: &Path) -> Result<String, TokenFileError> {
    use std::os::unix::fs::PermissionsExt;
    let name = || path.display().to_string();
    let unread = |e| TokenFileError::Read(name(), e);
    let file = std::fs::File::open(path).map_err(unread)?;
    let found = file.metadata().map_err(unread)?;
    if found.permissions().mode() & 0o077 != 0 {
        return Err(TokenFileError::Open(name()));
    }
    let mut text = String::new();
    file.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(unread)?;
    if text.len() as u64 > FILE_LIMIT { Err(TokenFileError::TooLong(name())) } else { Ok(text) }
}

/// A new token, which nobody can guess.
///
/// # Errors
/// The system has no randomness.
pub fn new() -> Result<String, Unspecified> {
    let mut random = [0; RANDOM];
    rand::fill(&mut random)?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// What a file lists instead of a token: its SHA-256, in hexadecimal.
pub fn digest(token: &str) -> String {
    aws_lc_rs::digest::digest(&SHA256, token.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// A token's entry, as it stands in a file.
///
/// # Errors
/// It cannot be written as TOML.
pub fn entry(token: &Token) -> Result<String, toml::ser::Error> {
    toml::to_string(&File { token: vec![token.clone()] })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16);
    let bytes = text.as_bytes();
    bytes.len().is_multiple_of(2).then_some(())?;
    bytes.chunks(2).map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn made(name: &str, sha256: &str) -> Token {
        Token { name: name.into(), role: Role::Operate, roles: vec!["sre".into()], proxy: false, sha256: sha256.into() }
    }

    #[test]
    fn a_token_file_that_others_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Tokens::read(file.path()), Err(TokenFileError::Open(_))));
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Tokens::read(file.path()).unwrap().is_empty());
        file.as_file().set_len(FILE_LIMIT + 1).unwrap();
        assert!(matches!(Tokens::read(file.path()), Err(TokenFileError::TooLong(_))));
    }

    #[test]
    fn what_is_made_is_known_by_its_entry_alone() {
        let (one, other) = (new().unwrap(), new().unwrap());
        assert!(one != other && one.starts_with(PREFIX) && one.len() > 50, "{one}");
        let written = entry(&made("ci", &digest(&one))).unwrap() + &entry(&made("cd", &digest(&other))).unwrap();
        assert!(!written.contains(&one));
        let tokens = Tokens::parse(&written).unwrap_or_else(|e| panic!("{e} in {written}"));
        assert_eq!(tokens.holder(&one).map(|t| t.name.as_str()), Some("ci"));
        assert_eq!(tokens.holder(&other).map(|t| t.roles.clone()), Some(vec!["sre".to_owned()]));
        assert!(tokens.holder("").is_none() && tokens.holder(&one[1..]).is_none());
    }

    #[test]
    fn holders_differ_in_name_and_token() {
        let two = |a: &Token, b: &Token| Tokens::parse(&(entry(a).unwrap() + &entry(b).unwrap())).map(|t| t.len());
        let (x, y) = (digest("x"), digest("y"));
        assert_eq!(two(&made("a", &x), &made("b", &y)), Ok(2));
        assert!(two(&made("a", &x), &made("a", &y)).unwrap_err().contains("called"));
        assert!(two(&made("a", &x), &made("b", &x.to_uppercase())).unwrap_err().contains("the same"));
        for (name, sum) in [("", x.as_str()), ("a\nb", &x), ("a", "12"), ("a", &x.replace(['0', '1', '2', '3'], "g"))] {
            assert!(Tokens::parse(&entry(&made(name, sum)).unwrap()).is_err(), "{name} {sum}");
        }
    }
}
