-- A table's definition as text: what two tables of one name may differ in. $1: schema, $2: table.
WITH t AS (
    SELECT c.oid, c.relpersistence, c.reloptions, c.relrowsecurity, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2)
SELECT (SELECT format('table %s%s%s', t.relpersistence, t.relrowsecurity, t.reloptions) FROM t) || E'\n' ||
    coalesce((SELECT string_agg(format('column %I %s%s%s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
            ' collate ' || a.attcollation::regcollation, CASE WHEN a.attnotnull THEN ' not null' END,
            ' default ' || pg_get_expr(d.adbin, d.adrelid), ' identity ' || nullif(a.attidentity, '')::text, ' generated ' || nullif(a.attgenerated, '')::text),
            E'\n' ORDER BY a.attnum) || E'\n'
        FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum), '') ||
    coalesce((SELECT string_agg(format('constraint %I %s', k.conname, pg_get_constraintdef(k.oid)), E'\n' ORDER BY k.conname) || E'\n'
        FROM t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype <> 'n'), '') ||
    coalesce((SELECT string_agg(pg_get_indexdef(i.indexrelid), E'\n' ORDER BY i.indexrelid::regclass::text) || E'\n'
        FROM t JOIN pg_index i ON i.indrelid = t.oid), '') ||
    coalesce((SELECT string_agg(format('comment %s %L', coalesce(a.attname, ''), d.description), E'\n' ORDER BY d.objsubid) || E'\n'
        FROM t JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = t.oid
        LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.objsubid AND d.objsubid > 0), '')
FROM t
