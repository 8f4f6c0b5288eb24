-- What a body names that isn't PostgreSQL's own. $1: functions, $2: types, $3: columns of $4, a table.
SELECT 'it calls function ' || f.name FROM unnest($1::text[]) f (name)
WHERE NOT EXISTS (SELECT FROM pg_proc p WHERE p.proname = f.name AND p.pronamespace = 'pg_catalog'::regnamespace)
    AND (EXISTS (SELECT FROM pg_proc p WHERE p.proname = f.name)
        OR NOT (f.name IN (SELECT k.word FROM pg_get_keywords() k)
            OR f.name IN ('elsif', 'elseif', 'while', 'perform', 'assert', 'return', 'exit', 'continue', 'foreach', 'slice', 'reverse')))
UNION ALL
SELECT 'it names type ' || t.name FROM unnest($2::text[]) t (name)
WHERE t.name NOT IN ('int', 'integer', 'bigint', 'smallint', 'real', 'float', 'decimal', 'dec', 'boolean', 'char', 'nchar')
    AND NOT EXISTS (SELECT FROM pg_type y WHERE y.typname = t.name AND y.typnamespace = 'pg_catalog'::regnamespace)
UNION ALL
(WITH RECURSIVE base (name, oid) AS (
    SELECT a.attname, a.atttypid FROM pg_attribute a
    WHERE a.attrelid = $4::text::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY ($3::text[])
    UNION
    -- Of a domain, and of an array.
    SELECT b.name, CASE y.typtype WHEN 'd' THEN y.typbasetype ELSE y.typelem END
    FROM base b JOIN pg_type y ON y.oid = b.oid WHERE y.typtype = 'd' OR (y.typcategory = 'A' AND y.typelem <> 0))
SELECT format('column %s has type %s, whose operators are not PostgreSQL''s own', b.name, b.oid::regtype)
FROM base b JOIN pg_type y ON y.oid = b.oid
WHERE y.typtype = 'b' AND y.typcategory <> 'A' AND y.typnamespace <> 'pg_catalog'::regnamespace)
LIMIT 1
