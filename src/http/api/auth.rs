//! Who asks, and what that caller may do.
//!
//! What must stay true: without a token nobody does more than the door they came through allows: on the unix socket its mode says who may (all of
//! it), on loopback anybody on this host may read, from elsewhere nobody may do anything. A token is compared by its digest, in constant time.

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde::Deserialize;
use serde::Serialize;

/// Longest token file, in bytes: a thousand tokens.
const FILE_LIMIT: u64 = 256 * 1024;
/// Longest name a proxy may give of a user.
const USER_LIMIT: usize = 128;
/// Who a proxy asks for; Gate's header.
const USER: &str = "x-spinnaker-user";

/// What a caller may do; each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Start, stop, judge.
    Operate,
    /// Change definitions, intake, history.
    Admin,
}

impl Role {
    /// The word in files and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For records and rate limits.
    pub user: String,
    /// What they may do.
    pub role: Role,
    /// Roles for judgments.
    pub roles: Vec<String>,
}

/// One token, as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    name: String,
    role: Role,
    #[serde(default)]
    roles: Vec<String>,
    /// Its holder asks for others and names them in `X-SPINNAKER-USER`.
    #[serde(default)]
    proxy: bool,
    /// SHA-256 of the token, in hexadecimal.
    sha256: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Token>,
}

/// All tokens.
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
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        use std::os::unix::fs::PermissionsExt;
        let name = path.display().to_string();
        let found = std::fs::metadata(path).map_err(|e| TokenFileError::Read(name.clone(), e))?;
        if found.len() > FILE_LIMIT {
            return Err(TokenFileError::TooLong(name));
        }
        if found.permissions().mode() & 0o077 != 0 {
            return Err(TokenFileError::Open(name));
        }
        let text = std::fs::read_to_string(path).map_err(|e| TokenFileError::Read(name.clone(), e))?;
        Self::parse(&text).map_err(|e| TokenFileError::Syntax(name, e))
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut tokens = Vec::with_capacity(file.token.len());
        for token in file.token {
            let digest = unhex(&token.sha256).filter(|d| d.len() == 32);
            let digest = digest.ok_or_else(|| format!("token {:?}: sha256 is not 64 hexadecimal digits", token.name))?;
            tokens.push((token, digest));
        }
        Ok(Self(tokens))
    }

    /// True when nobody has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn holder(&self, token: &str) -> Option<&Token> {
        let given = digest::digest(&digest::SHA256, token.as_bytes());
        // All of them are compared, so that the time taken does not say which came near.
        self.0
            .iter()
            .filter(|(_, digest)| verify_slices_are_equal(digest, given.as_ref()).is_ok())
            .map(|(t, _)| t)
            .fold(None, |_, t| Some(t))
    }
}

/// The door a request came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// The unix socket; who, as the kernel says.
    Socket(String),
    /// A loopback port.
    Loopback,
    /// A port that others can reach, over TLS.
    Network,
}

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nobody knows who they are.
    Unknown,
    /// They may not.
    Forbidden,
}

/// Who asks, if they may.
pub fn caller(tokens: &Tokens, door: &Door, headers: &HeaderMap, needed: Role) -> Result<Caller, Denied> {
    let bearer = headers.get(AUTHORIZATION).map(|h| h.to_str().ok().and_then(|h| h.strip_prefix("Bearer ")));
    let caller = match (bearer, door) {
        (Some(token), Door::Loopback | Door::Network) => {
            let token = token.and_then(|t| tokens.holder(t.trim())).ok_or(Denied::Unknown)?;
            let user = headers.get(USER).filter(|_| token.proxy).and_then(|u| u.to_str().ok());
            let user = user.filter(|u| !u.is_empty() && u.len() <= USER_LIMIT).map_or_else(|| token.name.clone(), str::to_owned);
            Caller { user, role: token.role, roles: token.roles.clone() }
        }
        (_, Door::Socket(user)) => Caller { user: user.clone(), role: Role::Admin, roles: Vec::new() },
        (None, Door::Loopback) => Caller { user: "[anonymous]".to_owned(), role: Role::Read, roles: Vec::new() },
        (None, Door::Network) => return Err(Denied::Unknown),
    };
    if caller.role < needed {
        return Err(if bearer.is_none() { Denied::Unknown } else { Denied::Forbidden });
    }
    Ok(caller)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16);
    let bytes = text.as_bytes();
    bytes.len().is_multiple_of(2).then_some(())?;
    bytes.chunks(2).map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the texts "looks" and "works".
    const FILE: &str = r#"
        [[token]]
        name = "dashboard"
        role = "read"
        sha256 = "11a9b2d1bb6bb2c83ddcf12ea0a4cd5b8da4e8ac0acf3cb5b6b67b4cd0b2a1f5"
        [[token]]
        name = "gate"
        role = "operate"
        roles = ["sre"]
        proxy = true
        sha256 = "DIGEST"
    "#;

    fn tokens() -> Tokens {
        let hex =
            |text: &str| digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>();
        let file = FILE
            .replace("11a9b2d1bb6bb2c83ddcf12ea0a4cd5b8da4e8ac0acf3cb5b6b67b4cd0b2a1f5", &hex("looks"))
            .replace("DIGEST", &hex("works"));
        Tokens::parse(&file).unwrap()
    }

    fn ask(door: Door, token: Option<&str>, user: Option<&str>, needed: Role) -> Result<(String, Role), Denied> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.parse().unwrap());
        }
        if let Some(user) = user {
            headers.insert(USER, user.parse().unwrap());
        }
        caller(&tokens(), &door, &headers, needed).map(|c| (c.user, c.role))
    }

    #[test]
    fn without_a_token_the_door_decides() {
        assert_eq!(ask(Door::Socket("ada".into()), None, None, Role::Admin), Ok(("ada".to_owned(), Role::Admin)));
        assert_eq!(ask(Door::Loopback, None, None, Role::Read), Ok(("[anonymous]".to_owned(), Role::Read)));
        assert_eq!(ask(Door::Loopback, None, None, Role::Operate), Err(Denied::Unknown));
        assert_eq!(ask(Door::Network, None, None, Role::Read), Err(Denied::Unknown));
    }

    #[test]
    fn a_token_gives_its_role_and_no_more() {
        assert_eq!(ask(Door::Network, Some("Bearer looks"), None, Role::Read), Ok(("dashboard".to_owned(), Role::Read)));
        assert_eq!(ask(Door::Network, Some("Bearer looks"), None, Role::Operate), Err(Denied::Forbidden));
        assert_eq!(ask(Door::Network, Some("Bearer works"), None, Role::Operate), Ok(("gate".to_owned(), Role::Operate)));
    }

    #[test]
    fn a_wrong_token_is_refused_even_where_none_would_be_needed() {
        for wrong in ["Bearer look", "Bearer", "Basic looks", "Bearer "] {
            assert_eq!(ask(Door::Loopback, Some(wrong), None, Role::Read), Err(Denied::Unknown), "{wrong}");
        }
    }

    #[test]
    fn only_a_proxy_speaks_for_others() {
        assert_eq!(ask(Door::Network, Some("Bearer works"), Some("grace"), Role::Read), Ok(("grace".to_owned(), Role::Operate)));
        assert_eq!(ask(Door::Network, Some("Bearer looks"), Some("grace"), Role::Read), Ok(("dashboard".to_owned(), Role::Read)));
    }

    #[test]
    fn a_token_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Tokens::read(file.path()), Err(TokenFileError::Open(_))));
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Tokens::read(file.path()).unwrap().is_empty());
    }
}
