-- All versions of one table. $1: the family. The last column has the key's columns.
SELECT r.id, r.schema_name, r.table_name, r.columns::text, r.source::text,
    ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = to_regclass('epoch.mask_' || r.id) AND a.attnum > 1 AND NOT a.attisdropped ORDER BY a.attnum)
FROM epoch.registered r
WHERE r.family = $1 AND to_regclass(format('%I.%I', r.schema_name, r.table_name)) IS NOT NULL
ORDER BY r.id
