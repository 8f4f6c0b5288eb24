-- The metadata store of one repository. The same text runs on SQLite and on PostgreSQL, so: only
-- BIGINT and TEXT, dates as microseconds since 1970 (UTC), JSON as text, numbers given out by the
-- counters in "repository" and never used twice.
-- "generation" columns hold the repository's generation at the row's last change: a process that
-- knows generation g picks up what others changed by reading rows with generation > g. Rows are
-- removed or renamed only together with "structure", which makes everybody read everything again.

CREATE TABLE repository (
    id           BIGINT PRIMARY KEY CHECK (id = 1),
    name         TEXT   NOT NULL,
    created      BIGINT NOT NULL,
    generation   BIGINT NOT NULL,
    structure    BIGINT NOT NULL,
    next_lineage BIGINT NOT NULL,
    next_table   BIGINT NOT NULL,
    next_commit  BIGINT NOT NULL,
    next_conflict BIGINT NOT NULL
);

-- Storage lines of branches. Kept when the branch is deleted. "latest" is the last ordinal given
-- out; an operation that was undone leaves a gap.
CREATE TABLE lineages (
    id         BIGINT PRIMARY KEY,
    parent     BIGINT REFERENCES lineages (id),
    fork       BIGINT NOT NULL,
    base       BIGINT NOT NULL,
    latest     BIGINT NOT NULL,
    generation BIGINT NOT NULL
);
CREATE INDEX lineages_generation ON lineages (generation);

-- Never updated. "seq" grows with every commit, so parents always have a smaller one.
CREATE TABLE commits (
    hash    TEXT   PRIMARY KEY,
    seq     BIGINT NOT NULL UNIQUE,
    author  TEXT   NOT NULL,
    email   TEXT   NOT NULL,
    date    BIGINT NOT NULL,
    message TEXT   NOT NULL
);

CREATE TABLE commit_parents (
    hash   TEXT   NOT NULL REFERENCES commits (hash),
    number BIGINT NOT NULL,
    parent TEXT   NOT NULL REFERENCES commits (hash),
    PRIMARY KEY (hash, number)
);

-- What a commit changed against its first parent.
CREATE TABLE commit_tables (
    hash     TEXT   NOT NULL REFERENCES commits (hash),
    table_id BIGINT NOT NULL,
    added    BIGINT NOT NULL,
    modified BIGINT NOT NULL,
    removed  BIGINT NOT NULL,
    digest   TEXT   NOT NULL,
    PRIMARY KEY (hash, table_id)
);

-- Which commit a lineage shows at an ordinal.
CREATE TABLE positions (
    lineage BIGINT NOT NULL REFERENCES lineages (id),
    ordinal BIGINT NOT NULL,
    hash    TEXT   NOT NULL REFERENCES commits (hash),
    PRIMARY KEY (lineage, ordinal)
);
CREATE INDEX positions_hash ON positions (hash);

-- "parent" is the lineage of the branch this one was made from.
CREATE TABLE branches (
    name       TEXT   PRIMARY KEY,
    lineage    BIGINT NOT NULL UNIQUE REFERENCES lineages (id),
    head       TEXT   NOT NULL REFERENCES commits (hash),
    parent     BIGINT,
    created    BIGINT NOT NULL,
    generation BIGINT NOT NULL
);
CREATE INDEX branches_generation ON branches (generation);

CREATE TABLE tags (
    name    TEXT   PRIMARY KEY,
    hash    TEXT   NOT NULL REFERENCES commits (hash),
    tagger  TEXT   NOT NULL,
    date    BIGINT NOT NULL,
    message TEXT
);

-- state: installing, active, removing, removed. Commits keep referring to removed ones.
CREATE TABLE tables (
    id          BIGINT PRIMARY KEY,
    schema_name TEXT   NOT NULL,
    table_name  TEXT   NOT NULL,
    location    TEXT   NOT NULL,
    definition  TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    registered  BIGINT NOT NULL,
    removed     BIGINT,
    generation  BIGINT NOT NULL
);
CREATE INDEX tables_generation ON tables (generation);
CREATE UNIQUE INDEX tables_name ON tables (schema_name, table_name) WHERE state <> 'removed';
CREATE UNIQUE INDEX tables_location ON tables (location) WHERE state <> 'removed';

-- Which tables a lineage holds rows of.
CREATE TABLE layers (
    lineage    BIGINT NOT NULL REFERENCES lineages (id),
    table_id   BIGINT NOT NULL REFERENCES tables (id),
    generation BIGINT NOT NULL,
    PRIMARY KEY (lineage, table_id)
);
CREATE INDEX layers_generation ON layers (generation);

-- The merge that waits on a branch for its conflicts to be resolved.
CREATE TABLE merges (
    lineage  BIGINT PRIMARY KEY REFERENCES lineages (id),
    source   TEXT   NOT NULL,
    base     TEXT   NOT NULL,
    ours     TEXT   NOT NULL,
    theirs   TEXT   NOT NULL,
    options  TEXT   NOT NULL,
    created  BIGINT NOT NULL
);

CREATE TABLE conflicts (
    id         BIGINT PRIMARY KEY,
    lineage    BIGINT NOT NULL REFERENCES merges (lineage),
    table_id   BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    resolution TEXT   NOT NULL,
    resolved   BIGINT NOT NULL
);
CREATE INDEX conflicts_lineage ON conflicts (lineage, table_id);

-- Operations that began to publish and aren't finished. Only the holder of the operation lock
-- writes here, so what the next holder finds belongs to a dead process.
CREATE TABLE journal (
    operation TEXT   PRIMARY KEY,
    lineage   BIGINT NOT NULL REFERENCES lineages (id),
    ordinal   BIGINT NOT NULL,
    body      TEXT   NOT NULL,
    created   BIGINT NOT NULL
);

CREATE TABLE reflog (
    lineage  BIGINT NOT NULL REFERENCES lineages (id),
    seq      BIGINT NOT NULL,
    old_head TEXT,
    new_head TEXT   NOT NULL,
    date     BIGINT NOT NULL,
    author   TEXT   NOT NULL,
    action   TEXT   NOT NULL,
    PRIMARY KEY (lineage, seq)
);
