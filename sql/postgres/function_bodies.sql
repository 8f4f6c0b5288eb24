-- What functions are, by name: those that a call could mean, each as JSON. An argument is odd if it isn't one value of a
-- known type. The names are rows of number, schema or NULL, and name.
SELECT n.i::pg_catalog.text, pg_catalog.json_build_object(
    'kind', p.prokind::pg_catalog.text,
    'language', l.lanname,
    'set', p.proretset,
    'strict', p.proisstrict,
    'volatile', p.provolatile = 'v',
    'definer', p.prosecdef,
    'settings', p.proconfig IS NOT NULL,
    'callable', pg_catalog.has_function_privilege(p.oid, 'EXECUTE'),
    'odd', p.provariadic <> 0 OR coalesce('b' = ANY (p.proargmodes), false) OR EXISTS (
        SELECT FROM pg_catalog.unnest(coalesce(p.proallargtypes, p.proargtypes::pg_catalog.oid[])) a (t)
        JOIN pg_catalog.pg_type y ON y.oid = a.t WHERE y.typtype IN ('c', 'p')),
    'inputs', coalesce((
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(pg_catalog.format_type(a.t, NULL), nullif(a.name, '')) ORDER BY a.o)
        FROM ROWS FROM (pg_catalog.unnest(coalesce(p.proallargtypes, p.proargtypes::pg_catalog.oid[])),
            pg_catalog.unnest(p.proargnames), pg_catalog.unnest(p.proargmodes)) WITH ORDINALITY a (t, name, mode, o)
        WHERE a.t IS NOT NULL AND coalesce(a.mode, 'i') = 'i'), '[]'),
    'result', pg_catalog.format_type(p.prorettype, NULL),
    'class', y.typtype::pg_catalog.text,
    'columns', coalesce(
        (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                coalesce(nullif(a.name, ''), 'column' || a.number::pg_catalog.text), pg_catalog.format_type(a.t, NULL)) ORDER BY a.number)
            FROM (SELECT u.*, pg_catalog.row_number() OVER (ORDER BY u.o) AS number
                FROM ROWS FROM (pg_catalog.unnest(p.proallargtypes), pg_catalog.unnest(p.proargnames), pg_catalog.unnest(p.proargmodes))
                    WITH ORDINALITY u (t, name, mode, o)
                WHERE u.mode IN ('o', 't')) a
            HAVING pg_catalog.count(*) > 1 OR pg_catalog.bool_or(a.mode = 't')),
        (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(c.attname, pg_catalog.format_type(c.atttypid, c.atttypmod)) ORDER BY c.attnum)
            FROM pg_catalog.pg_attribute c WHERE y.typtype = 'c' AND c.attrelid = y.typrelid AND c.attnum > 0 AND NOT c.attisdropped)),
    'out', (SELECT pg_catalog.min(u.name) FROM ROWS FROM (pg_catalog.unnest(p.proargnames), pg_catalog.unnest(p.proargmodes)) u (name, mode)
        WHERE u.mode = 'o' AND u.name <> '' HAVING pg_catalog.count(*) = 1),
    'body', CASE WHEN p.prosqlbody IS NULL THEN p.prosrc ELSE pg_catalog.pg_get_function_sqlbody(p.oid) END)
FROM (VALUES {{names}}) n (i, schema, name)
JOIN pg_catalog.pg_proc p ON p.proname = n.name
JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
JOIN pg_catalog.pg_type y ON y.oid = p.prorettype
WHERE CASE WHEN n.schema IS NULL THEN s.nspname = ANY (pg_catalog.current_schemas(true))
    WHEN n.schema = 'pg_temp' THEN s.oid = pg_catalog.pg_my_temp_schema() ELSE s.nspname = n.schema END
