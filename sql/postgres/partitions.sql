-- The partitions of a table at all levels, the upper ones first. $1: the table, $2: its registration.
SELECT p.relid::oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), p.isleaf,
    EXISTS (SELECT FROM epoch.partition e WHERE e.table_id = $2 AND e.relation = c.oid)
FROM pg_partition_tree($1::text::regclass) p
JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.level > 0
ORDER BY p.level, c.oid
