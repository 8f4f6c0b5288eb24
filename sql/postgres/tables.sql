-- Tables with the key that a registration takes and what keeps them from being registered.
-- $1, $2: LIKE patterns of schema and table.
SELECT n.nspname, c.relname, k.key,
    CASE
        WHEN c.relispartition THEN 'it is a partition of another table'
        WHEN c.relkind = 'f' THEN 'it is a foreign table'
        WHEN c.relkind = 'v' THEN 'it is a view'
        WHEN c.relkind = 'm' THEN 'it is a materialized view'
        WHEN c.relkind NOT IN ('r', 'p') THEN 'it is not a table'
        WHEN c.relpersistence = 't' THEN 'it is temporary'
        WHEN c.relpersistence = 'u'
            OR EXISTS (SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class pc ON pc.oid = p.relid WHERE pc.relpersistence = 'u')
            THEN 'it is unlogged: a crash of the server empties it, and what commits say of it'
        WHEN c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent))
            THEN 'it is part of an inheritance tree, over which no key is unique'
        WHEN EXISTS (SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class pc ON pc.oid = p.relid WHERE pc.relkind = 'f')
            THEN 'one of its partitions is a foreign table'
        WHEN EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid) THEN 'it has rewrite rules'
        WHEN EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid
                     OR s.srrelid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p))
            THEN 'a subscription writes to it, which fires no statement triggers'
        WHEN c.relforcerowsecurity
            OR EXISTS (SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class pc ON pc.oid = p.relid WHERE pc.relforcerowsecurity)
            THEN 'it forces row level security on its owner'
        WHEN EXISTS (SELECT FROM pg_constraint x JOIN pg_class pc ON pc.oid = x.confrelid
                     WHERE x.conrelid = c.oid AND x.contype = 'f' AND x.conparentid = 0 AND pc.relispartition)
            THEN 'it has a foreign key to a partition, not to the partitioned table'
        WHEN EXISTS (SELECT FROM pg_partition_tree(c.oid) p JOIN pg_constraint x ON x.confrelid = p.relid
                     WHERE p.level > 0 AND x.contype = 'f' AND x.conparentid = 0)
            THEN 'a foreign key references one of its partitions'
        WHEN EXISTS (SELECT FROM pg_constraint x JOIN pg_class ic ON ic.oid = x.conindid JOIN pg_am am ON am.oid = ic.relam
                     WHERE x.conrelid = c.oid AND x.contype = 'x' AND am.amname NOT IN ('gist', 'btree'))
            THEN 'it has an exclusion constraint whose index method takes one column only'
        WHEN EXISTS (SELECT FROM pg_constraint x JOIN pg_class ic ON ic.oid = x.conindid JOIN pg_am am ON am.oid = ic.relam
                     WHERE x.conrelid = c.oid AND x.contype = 'x' AND am.amname = 'gist')
            AND NOT EXISTS (SELECT FROM pg_opclass oc JOIN pg_am am ON am.oid = oc.opcmethod
                     WHERE am.amname = 'gist' AND oc.opcdefault AND oc.opcintype = 'int8'::regtype)
            THEN 'it has an exclusion constraint, for which branches need the extension btree_gist'
        WHEN EXISTS (SELECT FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
                     WHERE i.indrelid = c.oid AND i.indisunique AND am.amname <> 'btree') THEN 'it has a unique index that is not a btree'
        WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                     AND (a.attname LIKE 'epoch\_%')) THEN 'it has a column whose name starts with epoch_'
        WHEN octet_length(n.nspname) > 57 THEN 'the name of its schema is longer than 57 bytes'
        WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname::text = ANY (k.key) AND a.attgenerated <> '')
            THEN 'its key has a generated column'
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
    AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%' AND (n.nspname NOT LIKE 'epoch\_%' OR starts_with($1, 'epoch\_b'))
ORDER BY 1, 2
