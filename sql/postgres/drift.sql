-- What registered tables are like now. $1: registrations, $2: their schemas, $3: their names, $4: their
-- keys, each as the text of an array.
-- A table that isn't there has no row.
WITH t AS (
    SELECT x.id, c.oid, c.relkind = 'p' AS partitioned, x.key::text[] AS key
    FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[]) x (id, schema, name, key)
    JOIN pg_namespace n ON n.nspname = x.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = x.name AND c.relkind IN ('r', 'p')),
-- The relations that have triggers of ours, and which these are beside those that all have.
relations AS (
    SELECT t.id, t.oid, CASE WHEN t.partitioned THEN {{marks}} || ARRAY['zz_epoch_fresh', 'zz_epoch_moved_in', 'zz_epoch_moved_out']
        ELSE ARRAY['zz_epoch_own', 'zz_epoch_own_deleted', 'zz_epoch_truncate'] END AS more
    FROM t
    UNION ALL
    SELECT t.id, p.relation, {{marks}} || ARRAY['zz_epoch_moved_in', 'zz_epoch_moved_out'] || CASE WHEN c.relkind = 'p' THEN 'zz_epoch_fresh' ELSE 'zz_epoch_truncate' END
    FROM t JOIN epoch.partition p ON p.table_id = t.id JOIN pg_class c ON c.oid = p.relation
    WHERE t.partitioned),
wanted AS (
    SELECT r.id, r.oid, ARRAY['zz_epoch_guard', 'zz_epoch_insert', 'zz_epoch_update', 'zz_epoch_delete'] || r.more AS names
    FROM relations r),
broken AS (
    SELECT w.id, min(format('trigger %s of %s is %s', n.name, w.oid::regclass, CASE WHEN g.oid IS NULL THEN 'missing' ELSE 'disabled' END)) AS what
    FROM wanted w CROSS JOIN unnest(w.names) n (name)
    LEFT JOIN pg_trigger g ON g.tgrelid = w.oid AND g.tgname = n.name
    WHERE g.tgenabled IS DISTINCT FROM 'A'
        -- The usual case, with one look per relation.
        AND (SELECT count(*) FROM pg_trigger a WHERE a.tgrelid = w.oid AND a.tgname = ANY (w.names) AND a.tgenabled = 'A') < cardinality(w.names)
    GROUP BY w.id)
SELECT t.id,
    ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
    ARRAY(SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
    ARRAY(SELECT a.attgenerated <> '' FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
    (SELECT b.what FROM broken b WHERE b.id = t.id),
    -- A partition that went, or that went and came back: what happened meanwhile nobody knows.
    CASE WHEN t.partitioned THEN (
        SELECT min(p.name) FROM epoch.partition p
        WHERE p.table_id = t.id AND NOT EXISTS (
            SELECT FROM pg_partition_tree(t.oid) x WHERE x.relid = p.relation AND (NOT x.isleaf OR EXISTS (
                SELECT FROM pg_trigger g WHERE g.tgrelid = x.relid AND g.tgname = 'zz_epoch_fresh' AND g.tgenabled = 'D')))) END,
    t.partitioned,
    t.partitioned AND EXISTS (SELECT FROM pg_partition_tree(t.oid) x
        WHERE x.level > 0 AND NOT EXISTS (SELECT FROM epoch.partition p WHERE p.table_id = t.id AND p.relation = x.relid)),
    -- The apply of logical replication fires no statement triggers.
    EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = t.oid
        OR (t.partitioned AND s.srrelid IN (SELECT x.relid FROM pg_partition_tree(t.oid) x))),
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, ord)
            LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum AND a.attnotnull AND a.attname = ANY (t.key)
            WHERE k.ord <= i.indnkeyatts AND a.attnum IS NULL)),
    -- Its rows would be seen as the table's.
    NOT t.partitioned AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = t.oid),
    -- What a crash empties, and what hides rows from its owner.
    (SELECT min(CASE WHEN x.relpersistence = 'u' THEN 'became unlogged' WHEN x.relforcerowsecurity THEN 'forces row level security on its owner' END)
        FROM pg_class x WHERE x.oid = t.oid OR (t.partitioned AND x.oid IN (SELECT p.relid FROM pg_partition_tree(t.oid) p))),
    -- Statements that name the other fire none of our triggers.
    (SELECT min(i.inhparent::regclass::text) FROM pg_inherits i WHERE i.inhrelid = t.oid),
    -- Of the same names and types, but not where they were (guard.sql).
    EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.oid AND g.tgname = 'zz_epoch_guard' AND g.tgnargs = 1
        AND encode(g.tgargs, 'escape') <> (SELECT string_agg(a.attnum::text, ',' ORDER BY a.attname COLLATE "C") FROM pg_attribute a
            WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped) || '\000'),
    -- What was known of its rows, and what is (traces.sql).
    (SELECT w.traces FROM epoch.written w WHERE w.table_id = t.id),
    {{traces}}
FROM t
