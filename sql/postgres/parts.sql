-- What a table is made of, part by part: kind, name, text, in the columns' order. Its indexes and foreign keys are asked
-- for elsewhere. $1: schema, $2: table.
WITH t AS (
    SELECT c.oid, c.reloptions FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2),
a AS (
    SELECT a.attnum::int4 AS place, a.attname::text AS name, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull, a.attgenerated,
        a.attidentity, a.attstattarget, a.attstorage, y.typcollation, y.typstorage, pg_get_expr(d.adbin, d.adrelid) AS value
    FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum),
parts (place, kind, name, text) AS (
    SELECT place, 'type', name, concat(format_type(atttypid, atttypmod),
        CASE WHEN attcollation <> typcollation THEN ' COLLATE ' || attcollation::regcollation END) FROM a
    UNION ALL SELECT place, 'not null', name, '' FROM a WHERE attnotnull
    UNION ALL SELECT place, 'default', name, value FROM a WHERE attgenerated = '' AND value IS NOT NULL
    UNION ALL SELECT place, 'generated', name, value FROM a WHERE attgenerated <> ''
    UNION ALL SELECT place, 'identity', name, attidentity::text FROM a WHERE attidentity <> ''
    UNION ALL SELECT place, 'statistics', name, attstattarget::text FROM a WHERE attstattarget >= 0
    UNION ALL SELECT place, 'storage', name, CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
        WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END FROM a WHERE attstorage <> typstorage
    UNION ALL SELECT 0, 'constraint', k.conname::text, pg_get_constraintdef(k.oid)
        FROM t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype IN ('p', 'u', 'x', 'c')
    UNION ALL SELECT 0, 'option', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1) FROM t, unnest(t.reloptions) o
    UNION ALL SELECT 0, 'comment', coalesce(x.attname::text, ''), d.description
        FROM t JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = t.oid
        LEFT JOIN pg_attribute x ON x.attrelid = t.oid AND x.attnum = d.objsubid AND d.objsubid > 0)
SELECT kind::text, name::text, text::text FROM parts ORDER BY place, kind, name
