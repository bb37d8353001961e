//! The Lua scripts: each is one step on the server, seen whole or not at all.

use std::sync::LazyLock;

/// The text, and the name that the server knows it by.
pub(super) struct Script {
    pub(super) code: &'static str,
    pub(super) sha: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, sha: redis::Script::new(code).get_hash().to_owned() }
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal,)*) => {
        $(
            $(#[$doc])*
            pub(super) static $name: LazyLock<Script> =
                LazyLock::new(|| Script::new(concat!(include_str!("lua/prelude.lua"), include_str!(concat!("lua/", $file, ".lua")))));
        )*
    };
}

scripts! {
    NOW = "now",
    BEAT = "beat",
    END_SESSION = "end_session",
    CREATE = "create",
    CLAIM = "claim",
    CLAIM_ONE = "claim_one",
    PUT_OFF = "put_off",
    WRITE = "write",
    INBOX = "inbox",
    POST = "post",
    ADMIT = "admit",
    START_WAITING = "start_waiting",
    HORIZON = "horizon",
    LOAD = "load",
    LIST = "list",
    ACTIVE = "active",
    REMOVE = "remove",
    EXPIRE = "expire",
    SAVE_DEFINITION = "save_definition",
    DEFINITION = "definition",
    DEFINITIONS = "definitions",
    TAKE_ROLE = "take_role",
    TAKE_PERMIT = "take_permit",
    GIVE_PERMIT = "give_permit",
    OUTBOX = "outbox",
    OUTBOX_DONE = "outbox_done",
    /// One command that changes something.
    PLAIN = "plain",
    /// One command that only reads.
    READ = "read",
}
