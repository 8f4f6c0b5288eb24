-- Branches that were deleted and can be brought back: their lineages stay.
CREATE TABLE dropped_branches (
    lineage BIGINT PRIMARY KEY REFERENCES lineages (id),
    name    TEXT   NOT NULL,
    head    TEXT   NOT NULL REFERENCES commits (hash),
    parent  BIGINT,
    created BIGINT NOT NULL,
    dropped BIGINT NOT NULL
);

-- When a branch is to be deleted.
ALTER TABLE branches ADD COLUMN expires BIGINT;

-- Working changes that were put aside: "hash" is a commit of them on top of "base". Names may be missing.
CREATE TABLE stashes (
    id      BIGINT PRIMARY KEY,
    name    TEXT,
    branch  TEXT   NOT NULL,
    base    TEXT   NOT NULL REFERENCES commits (hash),
    hash    TEXT   NOT NULL REFERENCES commits (hash),
    created BIGINT NOT NULL
);
CREATE UNIQUE INDEX stashes_name ON stashes (name);

-- How merges judge single columns: sum, max, min, latest.
CREATE TABLE merge_rules (
    schema_name TEXT NOT NULL,
    table_name  TEXT NOT NULL,
    column_name TEXT NOT NULL,
    rule        TEXT NOT NULL,
    PRIMARY KEY (schema_name, table_name, column_name)
);
