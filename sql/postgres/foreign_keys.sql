-- Foreign keys of versioned tables that concern one table, in whatever version. $1: its family, $2: its schema, $3: its
-- name. The parent's registration is NULL if it isn't versioned.
SELECT k.oid::int8, k.conname::text, c.id, p.id, cn.nspname::text, cc.relname::text,
    coalesce(p.schema_name, pn.nspname::text), coalesce(p.table_name, pc.relname::text),
    ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY x (n, ord)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n ORDER BY x.ord),
    ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY x (n, ord)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.n ORDER BY x.ord),
    ARRAY(SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname) FROM unnest(k.conpfeqop) WITH ORDINALITY x (op, ord)
        JOIN pg_operator o ON o.oid = x.op JOIN pg_namespace n ON n.oid = o.oprnamespace ORDER BY x.ord),
    k.confdeltype::text, k.confupdtype::text,
    CASE WHEN k.condeferrable THEN 'DEFERRABLE INITIALLY ' || CASE WHEN k.condeferred THEN 'DEFERRED' ELSE 'IMMEDIATE' END END,
    ARRAY(SELECT a.attname::text FROM jsonb_array_elements_text(
            CASE jsonb_typeof(to_jsonb(k) -> 'confdelsetcols') WHEN 'array' THEN to_jsonb(k) -> 'confdelsetcols' ELSE '[]' END) x (n)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n::int2),
    c.family, p.family, k.convalidated, k.confmatchtype = 'f',
    k.confmatchtype = 'f' AND cardinality(k.conkey) > 1
FROM pg_constraint k
JOIN pg_class cc ON cc.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = cc.relnamespace
JOIN pg_class pc ON pc.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = pc.relnamespace
JOIN epoch.registered c ON c.schema_name = cn.nspname AND c.table_name = cc.relname
-- A draft's foreign keys refer to stand-ins (see draft.rs).
LEFT JOIN epoch.registered p ON (p.schema_name = pn.nspname AND p.table_name = pc.relname)
    OR (pn.nspname LIKE 'epoch\_epoch\_b%' AND pc.relname = 'parent_' || p.id)
WHERE k.contype = 'f' AND k.conparentid = 0
    AND (c.family = $1 OR p.family = $1 OR (pn.nspname = $2 AND pc.relname = $3))
ORDER BY k.oid
