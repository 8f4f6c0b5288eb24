-- What is different on a branch from what the catalogs say.
WITH
-- Schemas with tables of the branch, and the schemas that these belong to.
n AS MATERIALIZED (
  SELECT p.oid AS place, h.oid AS home, p.nspname::pg_catalog.text AS place_name, h.nspname::pg_catalog.text AS home_name, d.overlays
  FROM {{places}} JOIN pg_catalog.pg_namespace p ON p.nspname = d.place JOIN pg_catalog.pg_namespace h ON h.nspname = d.home
),
-- What is in them.
r AS MATERIALIZED (
  SELECT c.oid, c.relname, c.relkind, n.place, n.home FROM n JOIN pg_catalog.pg_class c ON c.relnamespace = n.place
),
-- Every version of the tables that the branch has, and the one that it shows.
v AS MATERIALIZED (
  SELECT v.id, pg_catalog.to_regclass(v.shown)::pg_catalog.oid AS shown, pg_catalog.to_regclass(v.main)::pg_catalog.oid AS main, v.home, v.name
  FROM {{versions}}
),
-- Main's relations that aren't there, or are another one.
g AS MATERIALIZED (
  SELECT c.oid, c.relname, c.relnamespace FROM {{absent}} JOIN pg_catalog.pg_namespace s ON s.nspname = a.s
    JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = a.t
  UNION SELECT c.oid, c.relname, c.relnamespace FROM v JOIN pg_catalog.pg_class c ON c.oid = v.main WHERE v.main <> v.shown
  UNION SELECT c.oid, c.relname, c.relnamespace FROM r JOIN pg_catalog.pg_class c ON c.relnamespace = r.home AND c.relname = r.relname
),
-- Their sequences that nothing of the branch draws from.
o AS (
  SELECT q.oid, q.relname, q.relnamespace FROM g
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = g.oid
      AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
    JOIN pg_catalog.pg_class q ON q.oid = d.objid AND q.relkind = 'S'
  WHERE d.deptype = 'i' OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend u JOIN pg_catalog.pg_attrdef e ON e.oid = u.objid JOIN r ON r.oid = e.adrelid
    WHERE u.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND u.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND u.refobjid = q.oid)
),
h AS MATERIALIZED (
  SELECT oid, relname, relnamespace FROM g
  UNION SELECT oid, relname, relnamespace FROM o
  UNION SELECT c.oid, c.relname, c.relnamespace FROM g JOIN pg_catalog.pg_index i ON i.indrelid = g.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
),
-- What stands for parents of foreign keys.
x AS MATERIALIZED (
  SELECT DISTINCT c.oid, n.overlays, c.relname::pg_catalog.text AS relname, v.shown, v.home, v.name
  FROM n JOIN pg_catalog.pg_namespace s ON s.nspname = n.overlays JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relkind = 'r'
    JOIN v ON c.relname = 'parent_' || v.id
  WHERE v.shown IS NOT NULL
),
-- What stands for relations that views read.
y AS MATERIALIZED (
  SELECT c.oid, pg_catalog.to_regclass(y.shown)::pg_catalog.oid AS shown
  FROM {{reads}} JOIN pg_catalog.pg_namespace s ON s.nspname = y.overlays JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = y.name
),
p(a, b) AS MATERIALIZED (
  SELECT g.oid, r.oid FROM g JOIN r ON r.home = g.relnamespace AND r.relname = g.relname AND r.relkind IN ('r', 'p')
  UNION SELECT v.main, v.shown FROM v WHERE v.main <> v.shown
  UNION SELECT x.oid, x.shown FROM x
  UNION SELECT y.oid, y.shown FROM y
),
-- Unique indexes over columns of the same names.
k AS (
  SELECT i.indexrelid, i.indrelid, i.indisprimary, ARRAY(SELECT a.attname FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY u(n, o)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.n ORDER BY u.o) AS columns
  FROM pg_catalog.pg_index i WHERE i.indisunique AND i.indrelid IN (SELECT p.a FROM p UNION ALL SELECT p.b FROM p)
)
SELECT 'n', n.place::pg_catalog.text, n.home::pg_catalog.text, n.place_name, n.home_name FROM n
UNION ALL SELECT 'r', r.oid::pg_catalog.text, r.place::pg_catalog.text, r.relname::pg_catalog.text, NULL FROM r
UNION ALL SELECT 'h', h.oid::pg_catalog.text, NULL, s.nspname::pg_catalog.text, h.relname::pg_catalog.text
  FROM h JOIN pg_catalog.pg_namespace s ON s.oid = h.relnamespace
UNION ALL SELECT 't', c.reltype::pg_catalog.text, NULL, NULL, NULL FROM h JOIN pg_catalog.pg_class c ON c.oid = h.oid WHERE c.reltype <> 0
UNION ALL SELECT 't', t.oid::pg_catalog.text, NULL, NULL, NULL
  FROM {{hidden_types}} JOIN pg_catalog.pg_namespace s ON s.nspname = q.home JOIN pg_catalog.pg_type t ON t.typnamespace = s.oid AND t.typname = q.name
UNION ALL SELECT 'p', p.a::pg_catalog.text, p.b::pg_catalog.text, NULL, NULL FROM p WHERE p.a IS NOT NULL AND p.b IS NOT NULL AND p.a <> p.b
UNION ALL (SELECT DISTINCT ON (f.indexrelid) 'i', f.indexrelid::pg_catalog.text, t.indexrelid::pg_catalog.text, NULL, NULL
  FROM p JOIN k f ON f.indrelid = p.a JOIN k t ON t.indrelid = p.b AND t.columns = f.columns
  ORDER BY f.indexrelid, f.indisprimary <> t.indisprimary, t.indexrelid)
UNION ALL SELECT DISTINCT 'x', x.overlays, x.relname, x.home, x.name FROM x
UNION ALL SELECT 'c', c.relname::pg_catalog.text, pg_catalog.json_agg(a.attname ORDER BY a.attnum)::pg_catalog.text, NULL, NULL
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relname IN ({{catalogs}}) GROUP BY c.relname
UNION ALL SELECT 's', pg_catalog.to_json(pg_catalog.current_schemas(true))::pg_catalog.text, NULL, NULL, NULL
