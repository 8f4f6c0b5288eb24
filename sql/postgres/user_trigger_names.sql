-- What a body would mean of the user's, on the table or on a branch. $1: functions, $2: operators, $3: columns of $4, a table.
WITH RECURSIVE base (name, oid) AS (
    SELECT a.attname, a.atttypid FROM pg_attribute a
    WHERE a.attrelid = $4::text::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY ($3::text[])
    UNION
    -- Of an array.
    SELECT b.name, y.typelem FROM base b JOIN pg_type y ON y.oid = b.oid WHERE y.typcategory = 'A' AND y.typelem <> 0),
-- Types that expressions of the body can have.
known (oid) AS (SELECT oid FROM base UNION SELECT y.oid FROM pg_type y WHERE y.typnamespace = 'pg_catalog'::regnamespace)
-- An overload in another schema may be taken on the table.
SELECT 'it calls function ' || f.name || ', of which there is another one' FROM unnest($1::text[]) f (name)
WHERE EXISTS (SELECT FROM pg_proc p WHERE p.proname = f.name AND p.pronamespace <> 'pg_catalog'::regnamespace)
UNION ALL
SELECT 'it uses operator ' || n.name || ', of which there is another one' FROM unnest($2::text[]) n (name)
WHERE EXISTS (SELECT FROM pg_operator o WHERE o.oprname = n.name AND o.oprnamespace <> 'pg_catalog'::regnamespace
    AND (o.oprleft = 0 OR o.oprleft IN (SELECT oid FROM known)) AND o.oprright IN (SELECT oid FROM known))
UNION ALL
-- Enums compare, and are read and shown, by functions of PostgreSQL's.
SELECT format('column %s has type %s', b.name, b.oid::regtype)
FROM base b JOIN pg_type y ON y.oid = b.oid
WHERE y.typnamespace <> 'pg_catalog'::regnamespace AND y.typtype <> 'e' AND y.typcategory <> 'A'
UNION ALL
SELECT format('there is a cast from %s to %s', c.castsource::regtype, c.casttarget::regtype)
FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc
WHERE p.pronamespace <> 'pg_catalog'::regnamespace
    AND c.castsource IN (SELECT oid FROM known) AND c.casttarget IN (SELECT oid FROM known)
LIMIT 1
