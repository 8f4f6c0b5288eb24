-- What garbage collection has taken from refs and is removing from the backends. It goes on where a crash stopped it.

-- Lineages that nothing shows any more. An entry stays for a day, as a transaction that began before may leave rows.
CREATE TABLE collected (
    lineage BIGINT PRIMARY KEY REFERENCES lineages (id),
    since   BIGINT NOT NULL
);

-- Ordinals of a lineage that no ref shows any more: from "since" on, before "until". What images say of them is
-- not kept.
CREATE TABLE holes (
    lineage BIGINT NOT NULL REFERENCES lineages (id),
    since   BIGINT NOT NULL,
    until   BIGINT NOT NULL,
    PRIMARY KEY (lineage, since)
);

-- Branches that were deleted and can't be brought back.
CREATE TABLE lost_branches (
    name    TEXT   PRIMARY KEY,
    dropped BIGINT NOT NULL,
    lost    BIGINT NOT NULL
);

-- The constraint that kept the last merge into a branch from being made.
CREATE TABLE violations (
    lineage         BIGINT PRIMARY KEY REFERENCES lineages (id),
    table_name      TEXT   NOT NULL,
    kind            TEXT   NOT NULL,
    constraint_name TEXT   NOT NULL,
    detail          TEXT   NOT NULL,
    noted           BIGINT NOT NULL
);

-- To delete a commit or a lineage is to look for what refers to it.
CREATE INDEX commit_parents_parent ON commit_parents (parent);
CREATE INDEX lineages_parent ON lineages (parent);
CREATE INDEX tables_made_on ON tables (made_on);
CREATE INDEX spans_lineage ON spans (lineage);
