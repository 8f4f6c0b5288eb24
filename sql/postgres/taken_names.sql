-- Names that begin like a table's and belong to something that a branch shows in its schema: of versioned tables to the
-- version that the branch has, of others to what main has.
WITH k AS (
  SELECT c.oid, c.relname::text AS name, c.relkind AS kind, n.nspname::text AS schema,
    coalesce(i.indrelid, (SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
      AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LIMIT 1), c.oid) AS of
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
  -- A long name is cut to make room for the rest.
  WHERE starts_with(c.relname, left({{table}}, 24)) AND c.relname <> {{table}}
    AND (n.nspname = {{home}} OR n.nspname ~ '^epoch_b[0-9]+_' AND regexp_replace(n.nspname, '^epoch_b[0-9]+_', '') = {{home}})
)
SELECT DISTINCT k.name FROM k JOIN pg_class t ON t.oid = k.of JOIN pg_namespace n ON n.oid = t.relnamespace
  LEFT JOIN epoch.registered r ON r.schema_name = n.nspname AND r.table_name = t.relname
WHERE CASE WHEN r.id IS NULL THEN k.schema = {{home}}
  -- Of a sequence there is one for all versions.
  WHEN k.kind = 'S' AND k.schema = {{home}} THEN epoch.version_of({{lineage}}, {{base}}, r.family) <> 0
  ELSE r.id = epoch.version_of({{lineage}}, {{base}}, r.family) END
