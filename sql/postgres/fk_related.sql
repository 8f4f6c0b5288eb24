-- Versions of tables that a write to one may change by an action of a foreign key, directly or through others. $1: the table.
WITH RECURSIVE follows AS (
    SELECT DISTINCT c.family AS child, p.family AS parent
    FROM pg_constraint k
    JOIN pg_class cc ON cc.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = cc.relnamespace
    JOIN pg_class pc ON pc.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = pc.relnamespace
    JOIN epoch.registered c ON c.schema_name = cn.nspname AND c.table_name = cc.relname
    JOIN epoch.registered p ON (p.schema_name = pn.nspname AND p.table_name = pc.relname)
        OR (pn.nspname LIKE 'epoch\_epoch\_b%' AND pc.relname = 'parent_' || p.id)
    WHERE k.contype = 'f' AND k.conparentid = 0
        AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))),
found (family) AS (
    SELECT r.family FROM epoch.registered r WHERE r.id = $1
    UNION
    SELECT f.child FROM found JOIN follows f ON f.parent = found.family)
SELECT r.id FROM found JOIN epoch.registered r ON r.family = found.family WHERE r.id <> $1
