(SELECT jsonb_build_object(
    -- Which transaction wrote each column's entry last; with an m while old rows don't hold the value that they have in it.
    'columns', (SELECT jsonb_object_agg(a.attnum::text, a.xmin::text || CASE WHEN a.atthasmissing THEN 'm' ELSE '' END)
        FROM pg_attribute a WHERE a.attrelid = {{relation}} AND a.attnum > 0 AND NOT a.attisdropped),
    -- Where the rows are, of each partition, and which transaction wrote the entry of each index last.
    'files', (SELECT coalesce(jsonb_object_agg(c.oid::text, jsonb_build_object('file', c.relfilenode::text, 'toast', c.reltoastrelid::text,
            'indexes', (SELECT coalesce(jsonb_object_agg(x.oid::text, x.xmin::text), '{}') FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                WHERE i.indrelid = c.oid))), '{}')
        FROM (SELECT {{relation}} UNION ALL SELECT p.relid FROM pg_partition_tree({{relation}}) p WHERE p.isleaf) f (oid)
        JOIN pg_class c ON c.oid = f.oid AND c.relkind = 'r')))
