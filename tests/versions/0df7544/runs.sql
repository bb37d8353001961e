PRAGMA application_id = 1112298059;
PRAGMA user_version = 3;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE meta (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    time INTEGER NOT NULL,
    news INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES(1,1795904673157,2);
CREATE TABLE session (
    s        INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    process  TEXT NOT NULL,
    until    INTEGER NOT NULL, since INTEGER NOT NULL DEFAULT 0, heard INTEGER NOT NULL DEFAULT 0,
    UNIQUE (instance, process)
) STRICT;
INSERT INTO session VALUES(1,'run','32132.1795904673126.1',1795904679129,1795904673129,1795904679129);
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
, last_write INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO execution VALUES(1,'01M8J455B312Z8NDT7AFXWFT6H','pipeline','shop','file',NULL,'RUNNING',1795904673123,1795904673132,NULL,NULL,1795904703158,NULL,NULL,1,1,0,0,0,0,2);
CREATE TABLE field (
    n     INTEGER NOT NULL REFERENCES execution (n) ON DELETE CASCADE,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (n, name)
) STRICT, WITHOUT ROWID;
INSERT INTO field VALUES(1,'','["01M8J455B312Z8NDT7AFXWFT6H-0","01M8J455B312Z8NDT7AFXWFT6H-1","01M8J455B312Z8NDT7AFXWFT6H-2"]');
INSERT INTO field VALUES(1,'application','shop');
INSERT INTO field VALUES(1,'authentication','{"user":"somebody","allowedAccounts":[]}');
INSERT INTO field VALUES(1,'bellrock:type','pipeline');
INSERT INTO field VALUES(1,'buildTime','1795904673123');
INSERT INTO field VALUES(1,'canceled','false');
INSERT INTO field VALUES(1,'initialConfig','{}');
INSERT INTO field VALUES(1,'keepWaitingPipelines','false');
INSERT INTO field VALUES(1,'limitConcurrent','false');
INSERT INTO field VALUES(1,'maxConcurrentExecutions','0');
INSERT INTO field VALUES(1,'name','file');
INSERT INTO field VALUES(1,'notifications','[]');
INSERT INTO field VALUES(1,'origin','cli');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.context','{"command":["sh","-c","echo first"],"exitCode":0,"lastLine":"first","stderr":"","stdout":"first\n"}');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.endTime','1795904673157');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.name','Job');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.outputs','{}');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.refId','1');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.startTime','1795904673132');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.status','SUCCEEDED');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.tasks','[{"id":"1","implementingClass":"runJob","name":"runJob","startTime":1795904673132,"endTime":1795904673157,"status":"SUCCEEDED","stageStart":true,"stageEnd":true}]');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-0.type','runJob');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.context','{"waitTime":30}');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.name','Wait');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.outputs','{}');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.refId','2');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.requisiteStageRefIds','1');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.startTime','1795904673157');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.status','RUNNING');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.tasks','[{"id":"1","implementingClass":"wait","name":"wait","startTime":1795904673157,"status":"RUNNING","stageStart":true,"stageEnd":true,"due":1795904703158}]');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-1.type','wait');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-2.context','{"command":["sh","-c","echo last"]}');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-2.name','Job');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-2.outputs','{}');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-2.refId','3');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-2.requisiteStageRefIds','2');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-2.status','NOT_STARTED');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-2.tasks','[]');
INSERT INTO field VALUES(1,'stage.01M8J455B312Z8NDT7AFXWFT6H-2.type','runJob');
INSERT INTO field VALUES(1,'startTime','1795904673132');
INSERT INTO field VALUES(1,'status','RUNNING');
INSERT INTO field VALUES(1,'trigger','{"parameters":{},"type":"manual","user":"somebody"}');
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
CREATE INDEX by_status      ON execution (kind, status, id);
CREATE INDEX by_application ON execution (application, kind, status, id);
CREATE INDEX by_config      ON execution (config, kind, status, id) WHERE config IS NOT NULL;
CREATE INDEX by_due         ON execution (due, id) WHERE due IS NOT NULL;
CREATE INDEX by_owner       ON execution (owner, id) WHERE owner IS NOT NULL;
CREATE INDEX by_mail        ON execution (owner, id) WHERE owner IS NOT NULL AND mail = 1;
CREATE INDEX by_correlation ON execution (correlation) WHERE correlation IS NOT NULL AND ended IS NULL;
CREATE INDEX by_end         ON execution (ended, id) WHERE ended IS NOT NULL;
CREATE INDEX by_group       ON execution (coalesce('c' || config, 'a' || application), id) WHERE ended IS NOT NULL;
CREATE INDEX slot_by_config ON slot (config, holds, place);
CREATE UNIQUE INDEX definition_by_name ON definition (application, name) WHERE newest = 1 AND deleted = 0;
CREATE INDEX outbox_by_due ON outbox (due, id);
COMMIT;
