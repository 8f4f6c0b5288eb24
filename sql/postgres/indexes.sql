-- Indexes of a table: what stands after "USING method (" in their definitions, without the predicate.
-- $1: schema, $2: table.
SELECT d.name, d.method, d.is_unique, d.is_primary, d.nulls_not_distinct, d.constraint_name,
    CASE WHEN d.is_deferrable THEN ' DEFERRABLE' || CASE WHEN d.is_deferred THEN ' INITIALLY DEFERRED' ELSE '' END ELSE '' END,
    d.predicate,
    CASE WHEN starts_with(d.definition, d.start) AND (d.predicate IS NULL OR right(d.definition, length(d.predicate) + 7) = ' WHERE ' || d.predicate)
         THEN substr(d.definition, length(d.start) + 1,
              length(d.definition) - length(d.start) - coalesce(length(d.predicate) + 7, 0)) END,
    d.parts, d.names, d.operators, d.exclusion, d.indexrelid, d.shown
FROM (
    SELECT ic.relname::text AS name, am.amname::text AS method, i.indisunique AS is_unique, i.indisprimary AS is_primary,
        coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) AS nulls_not_distinct,
        k.conname::text AS constraint_name, coalesce(k.condeferrable, false) AS is_deferrable, coalesce(k.condeferred, false) AS is_deferred,
        pg_get_expr(i.indpred, i.indrelid) AS predicate,
        pg_get_indexdef(i.indexrelid) AS definition,
        format('CREATE %sINDEX %I ON %s%I.%I USING %I (', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END,
            ic.relname, CASE WHEN c.relkind = 'p' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname, am.amname) AS start,
        -- Key parts as expressions over the bare column names.
        ARRAY(SELECT pg_get_indexdef(i.indexrelid, p, false) || coalesce((
                -- One of the index's own decides what is equal.
                SELECT format(' COLLATE %I.%I', ns.nspname, co.collname) FROM pg_collation co JOIN pg_namespace ns ON ns.oid = co.collnamespace
                WHERE co.oid = i.indcollation[p - 1] AND co.oid IS DISTINCT FROM (
                    SELECT a.attcollation FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = i.indkey[p - 1])), '')
            FROM generate_series(1, i.indnkeyatts) p ORDER BY p) AS parts,
        -- As messages show them.
        ARRAY(SELECT pg_get_indexdef(i.indexrelid, p, true) FROM generate_series(1, i.indnkeyatts) p ORDER BY p) AS shown,
        -- Plain columns of the key, empty if one is an expression.
        CASE WHEN i.indexprs IS NULL THEN ARRAY(
            SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, ord)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum
            WHERE p.ord <= i.indnkeyatts ORDER BY p.ord) ELSE '{}' END AS names,
        -- What stands after "EXCLUDE USING method (".
        CASE k.contype WHEN 'x' THEN substr(pg_get_constraintdef(k.oid), length(format('EXCLUDE USING %I (', am.amname)) + 1) END AS exclusion,
        -- The equality of each key part; of an exclusion constraint, its operators.
        CASE k.contype WHEN 'x' THEN ARRAY(SELECT format('OPERATOR(%I.%s)', np.nspname, o.oprname)
            FROM unnest(k.conexclop) WITH ORDINALITY x (op, ord)
            JOIN pg_operator o ON o.oid = x.op JOIN pg_namespace np ON np.oid = o.oprnamespace ORDER BY x.ord)
        ELSE ARRAY(SELECT format('OPERATOR(%I.%s)', np.nspname, o.oprname)
            FROM unnest(i.indclass::oid[]) WITH ORDINALITY x (class, ord)
            JOIN pg_opclass oc ON oc.oid = x.class
            JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
                AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3 AND am.amname = 'btree'
            JOIN pg_operator o ON o.oid = ao.amopopr
            JOIN pg_namespace np ON np.oid = o.oprnamespace
            ORDER BY x.ord) END AS operators,
        i.indexrelid
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class ic ON ic.oid = i.indexrelid
    JOIN pg_am am ON am.oid = ic.relam
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    WHERE n.nspname = $1 AND c.relname = $2 AND i.indisvalid AND i.indisready) d
ORDER BY d.is_primary DESC, d.indexrelid
