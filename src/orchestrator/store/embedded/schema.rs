//! The tables, and how a file of an older layout becomes one of this layout. Names and texts are plain, so that `sqlite3` shows what is going on.

/// Marks the file as ours: `BLRK`.
pub(super) const APPLICATION_ID: i32 = 0x424c_524b;

/// Step *n* leads from layout *n* to *n + 1*; the number is SQLite's `user_version`. A step that was released is never changed.
///
/// `execution` holds what lists and claims look at; exactly one of `due`, `owner` and `ended` is set, or none while it waits for a message.
/// Its fields are rows of `field`; the one without a name holds the ids of its stages as a JSON list. `given_back` is the epoch that parked or
/// finished it last, `last_write` the number of its owner's last write, `orphan` says that its owner went without doing so, `mail` that its inbox is not empty.
/// A session's lease has held without a break `since` then; from `heard` on, one lease later, it adopts from any whose own ran out.
pub(super) const MIGRATIONS: [&str; 3] = [
    "
CREATE TABLE meta (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    time INTEGER NOT NULL,
    news INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0, 0);

CREATE TABLE session (
    s        INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    process  TEXT NOT NULL,
    until    INTEGER NOT NULL,
    UNIQUE (instance, process)
) STRICT;

CREATE TABLE execution (
    n            INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    application  TEXT NOT NULL,
    name         TEXT NOT NULL,
    config       TEXT,
    status       TEXT NOT NULL,
    build_time   INTEGER NOT NULL,
    start_time   INTEGER,
    end_time     INTEGER,
    correlation  TEXT,
    due          INTEGER,
    owner        INTEGER REFERENCES session (s),
    ended        INTEGER,
    epoch        INTEGER NOT NULL DEFAULT 0,
    given_back   INTEGER NOT NULL DEFAULT 0,
    orphan       INTEGER NOT NULL DEFAULT 0,
    mail         INTEGER NOT NULL DEFAULT 0,
    last_message INTEGER NOT NULL DEFAULT 0,
    last_notice  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX by_status      ON execution (kind, status, id);
CREATE INDEX by_application ON execution (application, kind, status, id);
CREATE INDEX by_config      ON execution (config, kind, status, id) WHERE config IS NOT NULL;
CREATE INDEX by_due         ON execution (due, id) WHERE due IS NOT NULL;
CREATE INDEX by_owner       ON execution (owner, id) WHERE owner IS NOT NULL;
CREATE INDEX by_mail        ON execution (owner, id) WHERE owner IS NOT NULL AND mail = 1;
CREATE INDEX by_correlation ON execution (correlation) WHERE correlation IS NOT NULL AND ended IS NULL;
CREATE INDEX by_end         ON execution (ended, id) WHERE ended IS NOT NULL;
CREATE INDEX by_group       ON execution (coalesce('c' || config, 'a' || application), id) WHERE ended IS NOT NULL;

CREATE TABLE field (
    n     INTEGER NOT NULL REFERENCES execution (n) ON DELETE CASCADE,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (n, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    n      INTEGER NOT NULL REFERENCES execution (n) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (n, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE slot (
    place  INTEGER PRIMARY KEY,
    config TEXT NOT NULL,
    n      INTEGER NOT NULL REFERENCES execution (n) ON DELETE CASCADE,
    holds  INTEGER NOT NULL,
    UNIQUE (n, config)
) STRICT;
CREATE INDEX slot_by_config ON slot (config, holds, place);

CREATE TABLE definition (
    id          TEXT NOT NULL,
    version     INTEGER NOT NULL,
    application TEXT NOT NULL,
    name        TEXT NOT NULL,
    by          TEXT NOT NULL,
    at          INTEGER NOT NULL,
    deleted     INTEGER NOT NULL,
    newest      INTEGER NOT NULL,
    document    TEXT NOT NULL,
    UNIQUE (id, version)
) STRICT;
CREATE UNIQUE INDEX definition_by_name ON definition (application, name) WHERE newest = 1 AND deleted = 0;

CREATE TABLE role (
    name     TEXT PRIMARY KEY,
    instance TEXT NOT NULL,
    process  TEXT NOT NULL,
    until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE mark (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    id      TEXT PRIMARY KEY,
    due     INTEGER NOT NULL,
    tries   INTEGER NOT NULL,
    listing TEXT NOT NULL,
    notice  TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_by_due ON outbox (due, id);
",
    "
ALTER TABLE execution ADD COLUMN last_write INTEGER NOT NULL DEFAULT 0;
",
    "
ALTER TABLE session ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN heard INTEGER NOT NULL DEFAULT 0;
",
];
