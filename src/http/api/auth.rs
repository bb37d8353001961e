//! Who asks, and what that caller may do.
//!
//! What must stay true: without a token nobody does more than the door they came through allows: on the unix socket its mode says who may (all of
//! it), on loopback anybody on this host may read, from elsewhere nobody may do anything. Somebody with a token that is not
//! known is nobody, also where none would be needed.

use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde::Deserialize;
use serde::Serialize;

use super::tokens::Tokens;

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

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Read, Self::Operate, Self::Admin].into_iter().find(|role| role.word() == text);
        known.ok_or_else(|| "one of read, operate, admin".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::api::tokens::digest;

    /// Of the texts "looks" and "works".
    const FILE: &str = r#"
        [[token]]
        name = "dashboard"
        role = "read"
        sha256 = "LOOKS"
        [[token]]
        name = "gate"
        role = "operate"
        roles = ["sre"]
        proxy = true
        sha256 = "WORKS"
    "#;

    fn tokens() -> Tokens {
        Tokens::parse(&FILE.replace("LOOKS", &digest("looks")).replace("WORKS", &digest("works"))).unwrap()
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
}
