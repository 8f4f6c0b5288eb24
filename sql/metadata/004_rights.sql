-- Who may do what: "privilege" is read, write, merge or admin, on branches and tables by pattern.
CREATE TABLE grants (
    grantee   TEXT   NOT NULL,
    privilege TEXT   NOT NULL,
    branches  TEXT   NOT NULL,
    tables    TEXT   NOT NULL,
    grantor   TEXT   NOT NULL,
    created   BIGINT NOT NULL,
    PRIMARY KEY (grantee, privilege, branches, tables)
);

-- Users (and roles) that have what a role has.
CREATE TABLE members (
    role   TEXT NOT NULL,
    member TEXT NOT NULL,
    PRIMARY KEY (role, member)
);

-- Branches by pattern that nobody deletes or rewrites. "checks": SQL assertions, as JSON.
CREATE TABLE protections (
    branches   TEXT   PRIMARY KEY,
    no_writes  BIGINT NOT NULL,
    merge_only BIGINT NOT NULL,
    checks     TEXT   NOT NULL
);

-- What was tried: "result" is started, ok, or an SQLSTATE. Ids are in the order of time.
CREATE TABLE audit (
    id        TEXT   PRIMARY KEY,
    date      BIGINT NOT NULL,
    user_name TEXT   NOT NULL,
    client    TEXT   NOT NULL,
    operation TEXT   NOT NULL,
    arguments TEXT   NOT NULL,
    branch    TEXT,
    result    TEXT   NOT NULL,
    message   TEXT
);

-- Each time that a hook was run or sent. "result" is ok, refused or failed.
CREATE TABLE hook_runs (
    id        TEXT   PRIMARY KEY,
    date      BIGINT NOT NULL,
    hook      TEXT   NOT NULL,
    event     TEXT   NOT NULL,
    branch    TEXT   NOT NULL,
    user_name TEXT   NOT NULL,
    delivery  TEXT   NOT NULL,
    attempt   BIGINT NOT NULL,
    result    TEXT   NOT NULL,
    message   TEXT,
    millis    BIGINT NOT NULL
);
