-- The columns of a table. $1: schema, $2: table. The second type is the one on the wire: a domain's base type. The last
-- column is the equality of an extension's type, which isn't found by its name everywhere.
WITH RECURSIVE resolved AS (
    SELECT a.attrelid, a.attnum, a.atttypid AS type, a.atttypmod AS modifier
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT r.attrelid, r.attnum, t.typbasetype, t.typtypmod
    FROM resolved r JOIN pg_type t ON t.oid = r.type AND t.typtype = 'd')
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), format_type(r.type, r.modifier),
    NOT a.attnotnull, a.attgenerated <> '', pg_get_expr(d.adbin, d.adrelid), a.attidentity <> '',
    (SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
        FROM pg_opclass oc JOIN pg_am am ON am.oid = oc.opcmethod AND am.amname = 'btree'
        JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3
        JOIN pg_operator o ON o.oid = ao.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE oc.opcintype = r.type AND oc.opcdefault AND n.nspname <> 'pg_catalog')
FROM resolved r
JOIN pg_type t ON t.oid = r.type AND t.typtype <> 'd'
JOIN pg_attribute a ON a.attrelid = r.attrelid AND a.attnum = r.attnum
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
ORDER BY a.attnum
