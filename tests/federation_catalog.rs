//! The catalogs: what psql's \d family and drivers ask, and the relations of schema `epoch`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod federation;

use federation::{Fixture, SHOP};

const LIST: &str = r#"SELECT n.nspname as "Schema",
  c.relname as "Name",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 't' THEN 'TOAST table' WHEN 'f' THEN 'foreign table' WHEN 'p' THEN 'partitioned table' WHEN 'I' THEN 'partitioned index' END as "Type",
  pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.relkind IN (KINDS'')
      AND n.nspname <> 'pg_catalog'
      AND n.nspname !~ '^pg_toast'
      AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1,2;"#;

#[tokio::test]
async fn psql_lists_relations() {
    let mut f = Fixture::new(SHOP).await;
    let tables = f.run(&LIST.replace("KINDS", "'r','p',")).await.unwrap();
    assert_eq!(tables.columns, ["Schema", "Name", "Type", "Owner"]);
    assert_eq!(
        tables.lines(),
        [
            "public|customers|table|ann",
            "public|items|table|ann",
            "public|orders|table|ann",
            "public|products|table|ann"
        ]
    );
    assert!(f.lines(&LIST.replace("KINDS", "'v',")).await.contains(&"epoch|log|view|ann".to_owned()));
    assert!(
        f.lines(&LIST.replace("KINDS", "'i',")).await.contains(&"public|items_pkey|index|ann".to_owned())
    );
}

#[tokio::test]
async fn psql_describes_a_table() {
    let mut f = Fixture::new(SHOP).await;
    let find = r"SELECT c.oid,
  n.nspname,
  c.relname
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.~) '^(customers)$' COLLATE pg_catalog.default
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 2, 3;";
    let found = f.run(find).await.unwrap();
    assert_eq!(found.types[0], "oid");
    let oid = found.rows[0][0].clone().unwrap();
    let of = |sql: &str| sql.replace("31467", &oid);
    let sql = "SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity, false AS relhasoids, c.relispartition, '', c.reltablespace, CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::pg_catalog.regtype::pg_catalog.text END, c.relpersistence, c.relreplident, am.amname
FROM pg_catalog.pg_class c
 LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid)
LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid)
WHERE c.oid = '31467';";
    assert_eq!(f.lines(&of(sql)).await, ["0|r|t|f|f|f|f|f|f||0||p|d|heap"]);
    let sql = "SELECT a.attname,
  pg_catalog.format_type(a.atttypid, a.atttypmod),
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true)
   FROM pg_catalog.pg_attrdef d
   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
  a.attnotnull,
  (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t
   WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation,
  a.attidentity,
  a.attgenerated
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = '31467' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;";
    assert_eq!(
        f.lines(&of(sql)).await,
        [
            "id|bigint|-|t|-||",
            "name|text|-|t|-||",
            "city|character varying(20)|-|f|-||",
            "vip|boolean|0|f|-||"
        ]
    );
    let sql = "SELECT c2.relname, i.indisprimary, i.indisunique, i.indisclustered, i.indisvalid, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true),
  pg_catalog.pg_get_constraintdef(con.oid, true), contype, condeferrable, condeferred, i.indisreplident, c2.reltablespace
FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i
  LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid AND contype IN ('p','u','x'))
WHERE c.oid = '31467' AND c.oid = i.indrelid AND i.indexrelid = c2.oid
ORDER BY i.indisprimary DESC, c2.relname;";
    let index = "CREATE UNIQUE INDEX customers_pkey ON public.customers USING btree (id)";
    assert_eq!(
        f.lines(&of(sql)).await,
        [format!("customers_pkey|t|t|f|t|{index}|PRIMARY KEY (id)|p|f|f|f|0")]
    );
    for sql in NO_ROWS {
        assert_eq!(f.lines(&of(sql)).await, [""; 0], "{sql}");
    }
}

/// What else psql's \d asks about a table.
const NO_ROWS: [&str; 5] = [
    "SELECT pol.polname, pol.polpermissive,
  CASE WHEN pol.polroles = '{0}' THEN NULL ELSE pg_catalog.array_to_string(array(select rolname from pg_catalog.pg_roles where oid = any (pol.polroles) order by 1),',') END,
  pg_catalog.pg_get_expr(pol.polqual, pol.polrelid),
  pg_catalog.pg_get_expr(pol.polwithcheck, pol.polrelid),
  CASE pol.polcmd
    WHEN 'r' THEN 'SELECT'
    WHEN 'a' THEN 'INSERT'
    WHEN 'w' THEN 'UPDATE'
    WHEN 'd' THEN 'DELETE'
    END AS cmd
FROM pg_catalog.pg_policy pol
WHERE pol.polrelid = '31467' ORDER BY 1;",
    "SELECT oid, stxrelid::pg_catalog.regclass, stxnamespace::pg_catalog.regnamespace::pg_catalog.text AS nsp, stxname,
pg_catalog.pg_get_statisticsobjdef_columns(oid) AS columns,
  'd' = any(stxkind) AS ndist_enabled,
  'f' = any(stxkind) AS deps_enabled,
  'm' = any(stxkind) AS mcv_enabled,
stxstattarget
FROM pg_catalog.pg_statistic_ext
WHERE stxrelid = '31467'
ORDER BY nsp, stxname;",
    "SELECT pubname
     , NULL
     , NULL
FROM pg_catalog.pg_publication p
     JOIN pg_catalog.pg_publication_namespace pn ON p.oid = pn.pnpubid
     JOIN pg_catalog.pg_class pc ON pc.relnamespace = pn.pnnspid
WHERE pc.oid ='31467' and pg_catalog.pg_relation_is_publishable('31467')
UNION
SELECT pubname
     , pg_get_expr(pr.prqual, c.oid)
     , (CASE WHEN pr.prattrs IS NOT NULL THEN
         (SELECT string_agg(attname, ', ')
           FROM pg_catalog.generate_series(0, pg_catalog.array_upper(pr.prattrs::pg_catalog.int2[], 1)) s,
                pg_catalog.pg_attribute
          WHERE attrelid = pr.prrelid AND attnum = prattrs[s])
        ELSE NULL END) FROM pg_catalog.pg_publication p
     JOIN pg_catalog.pg_publication_rel pr ON p.oid = pr.prpubid
     JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid
WHERE pr.prrelid = '31467'
UNION
SELECT pubname
     , NULL
     , NULL
FROM pg_catalog.pg_publication p
WHERE p.puballtables AND pg_catalog.pg_relation_is_publishable('31467')
ORDER BY 1;",
    "SELECT c.oid::pg_catalog.regclass
FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i
WHERE c.oid = i.inhparent AND i.inhrelid = '31467'
  AND c.relkind != 'p' AND c.relkind != 'I'
ORDER BY inhseqno;",
    "SELECT c.oid::pg_catalog.regclass, c.relkind, inhdetachpending, pg_catalog.pg_get_expr(c.relpartbound, c.oid)
FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i
WHERE c.oid = i.inhrelid AND i.inhparent = '31467'
ORDER BY pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', c.oid::pg_catalog.regclass::pg_catalog.text;",
];

#[tokio::test]
async fn psql_lists_everything_else() {
    let mut f = Fixture::new(SHOP).await;
    let sql = r#"SELECT d.datname as "Name",
       pg_catalog.pg_get_userbyid(d.datdba) as "Owner",
       pg_catalog.pg_encoding_to_char(d.encoding) as "Encoding",
       d.datcollate as "Collate",
       d.datctype as "Ctype",
       d.daticulocale as "ICU Locale",
       CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' END AS "Locale Provider",
       pg_catalog.array_to_string(d.datacl, E'\n') AS "Access privileges"
FROM pg_catalog.pg_database d
ORDER BY 1;"#;
    assert_eq!(f.lines(sql).await, ["shop|ann|UTF8|C|C|-|libc|-"]);
    let sql = r#"SELECT n.nspname AS "Name",
  pg_catalog.pg_get_userbyid(n.nspowner) AS "Owner"
FROM pg_catalog.pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1;"#;
    assert_eq!(f.lines(sql).await, ["epoch|ann", "public|ann"]);
    let sql = r#"SELECT n.nspname as "Schema",
  p.proname as "Name",
  pg_catalog.pg_get_function_result(p.oid) as "Result data type",
  pg_catalog.pg_get_function_arguments(p.oid) as "Argument data types",
 CASE p.prokind
  WHEN 'a' THEN 'agg'
  WHEN 'w' THEN 'window'
  WHEN 'p' THEN 'proc'
  ELSE 'func'
 END as "Type"
FROM pg_catalog.pg_proc p
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname OPERATOR(pg_catalog.~) '^(epoch_vers.*)$' COLLATE pg_catalog.default
  AND pg_catalog.pg_function_is_visible(p.oid)
ORDER BY 1, 2, 4;"#;
    assert_eq!(f.lines(sql).await, ["epoch|epoch_version|text||func"]);
    let sql = "SELECT r.rolname, r.rolsuper, r.rolinherit,
  r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
  r.rolconnlimit, r.rolvaliduntil,
  ARRAY(SELECT b.rolname
        FROM pg_catalog.pg_auth_members m
        JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid)
        WHERE m.member = r.oid) as memberof
, r.rolreplication
, r.rolbypassrls
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^pg_'
ORDER BY 1;";
    assert_eq!(f.lines(sql).await, ["ann|f|t|f|f|t|-1|-|-|f|f"]);
}

#[tokio::test]
async fn drivers_find_types_and_tables() {
    let mut f = Fixture::new(SHOP).await;
    assert_eq!(f.lines("SELECT typname FROM pg_type WHERE oid = 20").await, ["int8"]);
    let sql = "SELECT t.oid, t.typarray FROM pg_type t WHERE t.typname = 'text'";
    assert_eq!(f.lines(sql).await, ["25|1009"]);
    let sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(f.lines(sql).await, ["customers", "items", "orders", "products"]);
    let sql =
        "SELECT column_name, data_type, is_nullable, character_maximum_length FROM information_schema.columns
               WHERE table_schema = current_schema() AND table_name = 'customers' ORDER BY ordinal_position";
    assert_eq!(
        f.lines(sql).await,
        ["id|bigint|NO|-", "name|text|NO|-", "city|character varying|YES|20", "vip|boolean|YES|-"]
    );
    let sql = "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
               WHERE i.indrelid = 'items'::regclass AND i.indisprimary ORDER BY a.attnum";
    assert_eq!(f.lines(sql).await, ["order_id", "line"]);
    assert_eq!(f.fails("SELECT 'nothing'::regclass").await.code(), "42P01");
    assert_eq!(f.lines("SELECT current_schema(), current_schemas(false)").await, ["public|{public}"]);
    assert_eq!(
        f.lines("SELECT name, setting FROM pg_settings WHERE name = 'timezone'").await,
        ["timezone|UTC"]
    );
}

#[tokio::test]
async fn epoch_relations_join_with_tables() {
    let mut f = Fixture::new(SHOP).await;
    f.repository.create_branch(&f.main, "x", None, false).await.unwrap();
    assert_eq!(f.lines("SELECT name FROM epoch.branches ORDER BY name").await, ["main", "x"]);
    let r = f.run("SELECT * FROM epoch.tables ORDER BY table_name").await.unwrap();
    assert_eq!(r.rows.len(), 4);
    let x = f.repository.checkout("x", None).await.unwrap();
    f.run_on(&x, "UPDATE customers SET name = 'branch' WHERE id = 1").await.unwrap();
    let sql = "SELECT d.diff_type, d.from_name, d.to_name, c.city FROM epoch_diff('main', 'x', 'customers') d
               JOIN customers c ON c.id = d.to_id WHERE d.diff_type = 'modified'";
    assert_eq!(f.lines(sql).await, [""; 0], "uncommitted work is on no ref");
    let sql = sql.replace("'x', 'customers'", "'WORKING', 'customers'");
    assert_eq!(f.run_on(&x, &sql).await.unwrap().lines(), ["modified|Ann|branch|Paris"]);
    let sql = "SELECT a.name, b.name FROM customers a JOIN epoch_at('customers', 'main') b USING (id) WHERE a.name <> b.name";
    assert_eq!(f.run_on(&x, sql).await.unwrap().lines(), ["branch|Ann"]);
    assert_eq!(
        f.run_on(&x, "SELECT epoch_active_branch(), count(*) FROM customers").await.unwrap().lines(),
        ["x|3"]
    );
    assert_eq!(f.lines("SELECT count(*) > 0 FROM epoch_log('--all')").await, ["t"]);
    assert_eq!(f.lines("SELECT commit_hash = epoch_hashof('main') FROM epoch.log LIMIT 1").await, ["t"]);
    let sql = "SELECT name FROM epoch_at('customers', $1) WHERE id = $2";
    assert_eq!(f.bind(sql, &[Some("main"), Some("2")]).await.unwrap().lines(), ["Bob"]);
    let error = f.fails("SELECT * FROM customers, epoch_commit('x')").await;
    assert_eq!(error.code(), "0A000", "{error}");
    assert_eq!(f.fails("SELECT * FROM epoch.nothing").await.code(), "42P01");
    assert_eq!(f.fails("SELECT * FROM epoch_at('customers', 'nowhere')").await.code(), "3D000");
}
