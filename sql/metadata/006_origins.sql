-- Changes that a commit brings again, by the commits that first made them: of one that was picked, rebased, squashed,
-- amended or taken back. "times": how often (-1: taken back), 0 if that isn't known. "whole": the commit does nothing
-- else (1), or has changes of its own, too (0). "origin" may have been collected.
CREATE TABLE commit_origins (
    hash   TEXT   NOT NULL REFERENCES commits (hash),
    origin TEXT   NOT NULL,
    times  BIGINT NOT NULL,
    whole  BIGINT NOT NULL,
    PRIMARY KEY (hash, origin)
);

-- The constraints that kept the last merge into a branch from being made: one that a backend refused it for, or the rows
-- of the result that don't keep to some. "key": the row's, as JSON; NULL if it isn't known.
CREATE TABLE merge_violations (
    lineage         BIGINT NOT NULL REFERENCES lineages (id),
    number          BIGINT NOT NULL,
    table_name      TEXT   NOT NULL,
    kind            TEXT   NOT NULL,
    constraint_name TEXT   NOT NULL,
    row_key         TEXT,
    detail          TEXT   NOT NULL,
    noted           BIGINT NOT NULL,
    PRIMARY KEY (lineage, number)
);
INSERT INTO merge_violations (lineage, number, table_name, kind, constraint_name, detail, noted)
    SELECT lineage, 1, table_name, kind, constraint_name, detail, noted FROM violations;
DROP TABLE violations;
