-- The user's row and statement triggers on a table that fire for clients. $1: the table.
SELECT t.tgname::text, p.oid::regprocedure::text, p.prosrc, pg_get_triggerdef(t.oid), t.tgtype::int4, t.tgconstraint <> 0,
    t.tgenabled = 'A',
    ARRAY(SELECT quote_ident(a.attname) FROM unnest(t.tgattr::int2[]) WITH ORDINALITY x (n, ord)
        JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = x.n ORDER BY x.ord),
    CASE WHEN c.relkind = 'p' THEN 'the table is partitioned'
        WHEN t.tgtype & 1 = 0 THEN 'it fires for each statement'
        WHEN l.lanname <> 'plpgsql' THEN 'its function is written in ' || l.lanname
        WHEN p.prosecdef THEN 'its function is SECURITY DEFINER'
        WHEN p.proconfig IS NOT NULL THEN 'its function has settings of its own'
        WHEN t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL THEN 'it has transition tables'
        WHEN t.tgdeferrable THEN 'it is deferrable'
        WHEN t.tgconstrrelid <> 0 THEN 'it refers to another table'
        -- What is PostgreSQL's own isn't noted.
        WHEN EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
            AND (d.refclassid = 'pg_operator'::regclass OR d.refclassid = 'pg_type'::regclass
                OR (d.refclassid = 'pg_proc'::regclass AND d.refobjid <> t.tgfoid)))
            THEN 'its condition needs functions or types that are not PostgreSQL''s own' END,
    c.oid::int8
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
WHERE t.tgrelid = $1::text::regclass AND NOT t.tgisinternal AND t.tgname NOT LIKE 'zz\_epoch\_%' AND t.tgenabled IN ('O', 'A')
ORDER BY t.tgname
