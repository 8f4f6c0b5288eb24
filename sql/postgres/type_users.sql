-- What uses a type: schema and name of the table or view, what of it, and whether it is the array type that is used; in the
-- order in which PostgreSQL names what depends on something.
WITH e AS (SELECT t.oid, t.typarray FROM pg_catalog.pg_type t WHERE t.oid = pg_catalog.to_regtype({{name}})::pg_catalog.oid),
t AS (SELECT oid, false AS is_array FROM e UNION ALL SELECT typarray, true FROM e),
d AS (
  SELECT d.classid, d.objid, d.objsubid, t.is_array FROM pg_catalog.pg_depend d JOIN t ON d.refobjid = t.oid
  WHERE d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.deptype IN ('n', 'a')
),
-- Columns; what belongs to one goes with it.
m AS (SELECT d.objid AS of, d.objsubid AS n FROM d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid > 0),
u AS (
  SELECT coalesce(i.indrelid, c.oid) AS relation, d.objid, d.objsubid, d.is_array,
    CASE WHEN a.attname IS NOT NULL THEN pg_catalog.format('column %I of %s %I', a.attname, CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, c.relname)
      WHEN c.relkind = 'i' THEN pg_catalog.format('index %I', c.relname) ELSE pg_catalog.format('table %I', c.relname) END AS what
  FROM d JOIN pg_catalog.pg_class c ON c.oid = d.objid
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
    LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND NOT EXISTS (SELECT FROM m WHERE m.of = i.indrelid AND m.n = ANY (i.indkey))
  UNION ALL SELECT f.adrelid, d.objid, d.objsubid, d.is_array, pg_catalog.format('default value for column %I of table %I', a.attname, c.relname)
  FROM d JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid JOIN pg_catalog.pg_class c ON c.oid = f.adrelid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
  WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND NOT EXISTS (SELECT FROM m WHERE m.of = f.adrelid AND m.n = f.adnum)
  UNION ALL SELECT k.conrelid, d.objid, d.objsubid, d.is_array, pg_catalog.format('constraint %I on table %I', k.conname, c.relname)
  FROM d JOIN pg_catalog.pg_constraint k ON k.oid = d.objid JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND NOT EXISTS (SELECT FROM m WHERE m.of = k.conrelid AND m.n = ANY (k.conkey))
  UNION ALL SELECT w.ev_class, d.objid, d.objsubid, d.is_array, pg_catalog.format('view %I', c.relname)
  FROM d JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid JOIN pg_catalog.pg_class c ON c.oid = w.ev_class
  WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
)
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, u.what, u.is_array
FROM u JOIN pg_catalog.pg_class c ON c.oid = u.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY u.is_array DESC, u.objid, u.objsubid DESC
