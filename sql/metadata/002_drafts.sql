-- Tables made on branches. "made_on" is the lineage that a table was made on, NULL for registered ones;
-- "text" is its definition, to compare two tables of one name. Such tables may share names: which lineages
-- show them is in "spans".
ALTER TABLE tables ADD COLUMN made_on BIGINT REFERENCES lineages (id);
ALTER TABLE tables ADD COLUMN text TEXT;
DROP INDEX tables_name;
CREATE UNIQUE INDEX tables_name ON tables (schema_name, table_name) WHERE state <> 'removed' AND made_on IS NULL;

-- Between which ordinals of a lineage a table made on a branch is there (shown = 1) or not there (0), whatever
-- the lineage's parent shows. "since" is the first ordinal, "until" the first that it doesn't hold for any more.
-- Nothing yet is 2^63-1; what isn't committed yet is 2^63-2. Changes come with "structure".
CREATE TABLE spans (
    table_id BIGINT NOT NULL REFERENCES tables (id),
    lineage  BIGINT NOT NULL REFERENCES lineages (id),
    shown    BIGINT NOT NULL,
    since    BIGINT NOT NULL,
    until    BIGINT NOT NULL,
    PRIMARY KEY (table_id, lineage, since)
);
