-- Overlay, mask and history of one versioned table.
CREATE SCHEMA IF NOT EXISTS {{overlay_schema}};

-- CREATE … AS, so that columns have the base's collations, but none of its constraints: an image of
-- a row that wasn't there holds its key only.
CREATE TABLE {{history}} AS SELECT NULL::int8 AS epoch_lineage, {{typed_columns}} FROM {{base}} b WITH NO DATA;
ALTER TABLE {{history}}
    ADD epoch_existed bool NOT NULL,
    ADD epoch_seq pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn(),
    ADD epoch_xid xid8 DEFAULT pg_current_xact_id(),
    ADD epoch_from int8 NOT NULL DEFAULT 9223372036854775807,
    ADD epoch_to int8 NOT NULL DEFAULT 9223372036854775807,
    ADD epoch_depth int2 NOT NULL DEFAULT pg_trigger_depth();
{{history_pages}}
-- Not a primary key, which rows of no lineage don't have.
CREATE UNIQUE INDEX ON {{history}} (epoch_lineage, {{key}}, epoch_to, epoch_seq);
-- Finds keys that changed in a stretch of history, and pending work. The condition is always true; a
-- query that wants this index repeats it. Lookups by key don't, so that no plan made while the
-- history is empty, when all indexes look alike, can take this one for them.
CREATE INDEX ON {{history}} (epoch_lineage, epoch_to) WHERE epoch_seq >= '0/0';

CREATE TABLE {{mask}} AS SELECT NULL::int8 AS epoch_lineage, {{typed_key}} FROM {{base}} b WITH NO DATA;
{{mask_pages}}
CREATE UNIQUE INDEX ON {{mask}} (epoch_lineage, {{key}});

-- A row that is copied up is changed next: with room for its second version on the page, no index needs a new entry.
CREATE TABLE {{overlay}} (LIKE {{base}} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY) WITH (fillfactor = 50);
ALTER TABLE {{overlay}}
    ADD epoch_lineage int8 NOT NULL,
    ADD epoch_copied bool NOT NULL DEFAULT false;
-- Not part of ADD, which would work it out for rows that are there.
ALTER TABLE {{overlay}} ALTER epoch_lineage SET DEFAULT current_setting('epoch.lineage')::int8;
-- Statistics of lineages are wrong for every one that came after the last ANALYZE: it would look as if
-- it had no rows, and any index as good as the key's, even for probes by key. Without them the planner
-- takes each lineage for a two-hundredth of the table.
ALTER TABLE {{overlay}} ALTER epoch_lineage SET STATISTICS 0;
ALTER TABLE {{history}} ALTER epoch_lineage SET STATISTICS 0;
ALTER TABLE {{mask}} ALTER epoch_lineage SET STATISTICS 0;
-- Likewise, statistics of few rows are worse than none.
ALTER TABLE {{overlay}} SET (autovacuum_analyze_threshold = 2000, autovacuum_vacuum_insert_threshold = 2000);
ALTER TABLE {{history}} SET (autovacuum_analyze_threshold = 2000, autovacuum_vacuum_insert_threshold = 2000);
ALTER TABLE {{mask}} SET (autovacuum_analyze_threshold = 2000, autovacuum_vacuum_insert_threshold = 2000);
