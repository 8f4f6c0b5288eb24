-- The columns of a clone after a statement ran on it, in order: number, name, type, NOT NULL, whether it has the type
-- it had in the older one, whether the one it has now takes all values of that one, and of a new column the value that
-- rows have that were there before, as an expression (NULL if it is worked out for each), and whether each has its own.
-- The clone began with the columns of the older one, numbered in their order.
WITH old AS (
    SELECT row_number() OVER (ORDER BY a.attnum) AS n, a.atttypid, a.atttypmod, a.attcollation
    FROM pg_attribute a WHERE a.attrelid = {{old}}::regclass AND a.attnum > 0 AND NOT a.attisdropped),
new AS (
    SELECT a.*, format_type(a.atttypid, a.atttypmod) AS type, t.typtype, t.typcategory, t.typname AS new_type, p.typname AS old_type,
        o.n, o.atttypid AS old_typid, o.atttypmod AS old_typmod, o.attcollation AS old_collation,
        -- Whether the value has no bound at all.
        a.atttypmod = -1 AS free
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN old o ON o.n = a.attnum LEFT JOIN pg_type p ON p.oid = o.atttypid AND p.typnamespace = 'pg_catalog'::regnamespace
    WHERE a.attrelid = {{new}}::regclass AND a.attnum > 0 AND NOT a.attisdropped)
SELECT n.attnum, n.attname, n.type, n.attnotnull,
    coalesce((n.atttypid, n.atttypmod, n.attcollation) = (n.old_typid, n.old_typmod, n.old_collation), false),
    coalesce(n.typtype <> 'd' AND CASE
        WHEN n.atttypid = n.old_typid AND n.attcollation = n.old_collation
            THEN n.new_type IN ('varchar', 'numeric', 'varbit') AND (n.free OR (n.new_type <> 'numeric' AND n.old_typmod <> -1 AND n.atttypmod >= n.old_typmod))
        WHEN n.new_type IN ('text', 'varchar') AND n.free
            THEN n.old_type IN ('text', 'varchar', 'int2', 'int4', 'int8', 'bool', 'uuid')
                AND (n.old_collation = 0 OR n.old_collation = n.attcollation)
        WHEN n.free THEN (n.old_type, n.new_type) IN (('int2', 'int4'), ('int2', 'int8'), ('int2', 'numeric'), ('int4', 'int8'),
            ('int4', 'numeric'), ('int8', 'numeric'), ('int2', 'float8'), ('int4', 'float8'), ('float4', 'float8'))
        ELSE false END, false),
    CASE WHEN n.n IS NULL AND n.attgenerated = '' AND n.attidentity = '' AND n.typtype <> 'd' THEN
        CASE WHEN n.atthasmissing AND n.typcategory <> 'A' THEN format('(%L::%s[])[1]', n.attmissingval::text, format_type(n.atttypid, NULL))
            WHEN NOT n.atthasdef THEN format('NULL::%s', n.type) END END,
    n.n IS NULL AND n.attgenerated = '' AND (n.attidentity <> '' OR (n.atthasdef AND NOT n.atthasmissing))
FROM new n ORDER BY n.attnum
