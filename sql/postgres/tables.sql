-- Tables with the key that a registration takes and what keeps them from being registered.
-- $1, $2: LIKE patterns of schema and table.
SELECT n.nspname, c.relname, k.key,
    CASE
        WHEN c.relkind = 'p' THEN 'it is partitioned'
        WHEN c.relkind = 'f' THEN 'it is a foreign table'
        WHEN c.relkind = 'v' THEN 'it is a view'
        WHEN c.relkind = 'm' THEN 'it is a materialized view'
        WHEN c.relkind <> 'r' THEN 'it is not a table'
        WHEN c.relpersistence = 't' THEN 'it is temporary'
        WHEN c.relispartition THEN 'it is a partition of another table'
        WHEN EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)) THEN 'it is part of an inheritance tree'
        WHEN EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid) THEN 'it has rewrite rules'
        WHEN EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid) THEN 'a subscription writes to it, which fires no statement triggers'
        WHEN c.relforcerowsecurity THEN 'it forces row level security on its owner'
        WHEN EXISTS (SELECT FROM pg_constraint x WHERE x.conrelid = c.oid AND x.contype = 'x') THEN 'it has an exclusion constraint'
        WHEN EXISTS (SELECT FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
                     WHERE i.indrelid = c.oid AND i.indisunique AND am.amname <> 'btree') THEN 'it has a unique index that is not a btree'
        WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                     AND (a.attname LIKE 'epoch\_%')) THEN 'it has a column whose name starts with epoch_'
        WHEN octet_length(n.nspname) > 57 THEN 'the name of its schema is longer than 57 bytes'
        WHEN EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                     WHERE a.attrelid = c.oid AND a.attname::text = ANY (k.key) AND (a.attgenerated <> ''
                         OR (t.typtype = 'b' AND t.typcategory <> 'A' AND t.typnamespace <> 'pg_catalog'::regnamespace)))
            THEN 'its key has a generated column or one of an extension''s type'
        WHEN k.key IS NULL THEN 'it has no primary key and no unique key over NOT NULL columns'
    END
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT (SELECT array_agg(a.attname::text ORDER BY p.ord)
            FROM unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, ord)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum
            WHERE p.ord <= i.indnkeyatts) AS key
    FROM pg_index i
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, ord)
                        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum
                        WHERE p.ord <= i.indnkeyatts AND NOT a.attnotnull)
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
    LIMIT 1) k ON true
WHERE n.nspname LIKE $1 AND c.relname LIKE $2
    AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'epoch')
    AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%' AND n.nspname NOT LIKE 'epoch\_%'
ORDER BY 1, 2
