//! Query plans: nothing that is meant to be a lookup scans a table.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use epoch_adapter::{
    At, BackendKind, Comparison, Layer, LineageId, Location, Predicate, Segment, TableDef, TableId,
    TableName, Value, View, Wanted,
};
use rusqlite::Connection;

use crate::meta::{Catalog, Meta};
use crate::view::{arms, bind, predicates};
use crate::{describe, diff, install};

struct Fixture {
    conn: Connection,
    catalog: Catalog,
    table: TableDef,
}

/// A table whose branch has every part: overlay, mask, images of the branch and of main.
fn fixture(ddl: &str, analyze: &str) -> Fixture {
    let mut conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(ddl).unwrap();
    let location =
        Location { kind: BackendKind::Sqlite, backend: "b".into(), schema: None, table: "t".into() };
    let schema = describe::describe(&conn, &location, None).unwrap();
    let table = TableDef::new(TableId(1), TableName::public("t"), location, schema);
    install::install(&mut conn, &table, None).unwrap();
    conn.execute_batch(
        "WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 2000)
            INSERT INTO t (k, a, b) SELECT i, 'a' || i, i FROM s;
         DELETE FROM epoch_history_1; UPDATE t SET b = 0 WHERE k = 1;
         INSERT INTO epoch_mask_1 (epoch_lineage, k) VALUES (2, 1);
         INSERT INTO epoch_overlay_1 (k, a, b, epoch_lineage) VALUES (1, 'z', 1, 2);
         UPDATE epoch_history_1 SET epoch_to = 5 WHERE epoch_lineage = 1;",
    )
    .unwrap();
    conn.execute_batch(analyze).unwrap();
    let catalog = Catalog::load(&conn, 0).unwrap();
    Fixture { conn, catalog, table }
}

impl Fixture {
    fn meta(&self) -> std::sync::Arc<Meta> {
        self.catalog.get(&self.table).unwrap()
    }

    fn plan(&self, sql: &str, params: &[Value]) -> Vec<String> {
        let mut stmt = self.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        stmt.query_map(bind(params), |r| r.get(3)).unwrap().map(Result::unwrap).collect()
    }

    fn assert_no_scan(&self, sql: &str, params: &[Value]) {
        let plan = self.plan(sql, params);
        // Reading the keys of a diff, which are few, is not a scan of a table.
        let bad: Vec<_> = plan
            .iter()
            .filter(|l| l.starts_with("SCAN") && !l.starts_with("SCAN k") && *l != "SCAN CONSTANT ROW")
            .filter(|l| {
                !l.starts_with("SCAN (subquery")
                    && !l.starts_with("SCAN epoch_history_1 USING COVERING INDEX")
            })
            .collect();
        assert!(bad.is_empty(), "{sql}\n{plan:#?}");
        assert!(!plan.iter().any(|l| l.contains("AUTOMATIC")), "{sql}\n{plan:#?}");
    }
}

const SHAPES: [&str; 3] = [
    "CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT UNIQUE, b INT); CREATE INDEX ib ON t (b)",
    "CREATE TABLE t (k TEXT PRIMARY KEY, a TEXT COLLATE NOCASE UNIQUE, b INT); CREATE INDEX ib ON t (b)",
    "CREATE TABLE t (a TEXT UNIQUE, b INT, k REAL PRIMARY KEY) WITHOUT ROWID; CREATE INDEX ib ON t (b)",
];

/// With and without statistics.
fn fixtures() -> impl Iterator<Item = Fixture> {
    SHAPES.into_iter().flat_map(|ddl| ["", "ANALYZE"].map(|analyze| fixture(ddl, analyze)))
}

const DEV: Layer = Layer { lineage: LineageId(2), base: 1 };

fn views() -> [View; 4] {
    let at = |layer, at| View { layer, at };
    [
        at(DEV, At::Working),
        at(DEV, At::Ordinal(0)),
        at(Layer::MAIN, At::Ordinal(1)),
        at(Layer { lineage: LineageId(3), base: 1 }, At::Working),
    ]
}

#[test]
fn point_queries_use_indexes_in_every_arm() {
    for f in fixtures() {
        let column = |name: &str| f.table.schema.index_of(name).unwrap();
        let key = if f.table.schema.columns[column("k")].pg_type == "text" {
            Value::Text("1".into())
        } else {
            Value::Int(1)
        };
        let wanted = [
            Predicate::Compare(column("k"), Comparison::Eq, key.clone()),
            Predicate::In(column("k"), vec![key]),
            Predicate::Compare(column("a"), Comparison::Eq, Value::Text("x".into())),
            Predicate::Compare(column("b"), Comparison::Gt, Value::Int(1_990)),
        ];
        for predicate in wanted {
            let filter = predicates(&f.table, std::slice::from_ref(&predicate)).unwrap();
            for view in views() {
                let arms = arms(&f.conn, &f.meta(), &view).unwrap();
                assert!(arms.len() > 1, "{view:?}");
                for arm in arms {
                    let (sql, params) = arm.select("*", &filter, Some(10));
                    f.assert_no_scan(&sql, &params);
                }
            }
            for arm in f.meta().below_for_write(DEV, true) {
                let (sql, params) = arm.select("*", &filter, None);
                f.assert_no_scan(&sql, &params);
            }
        }
    }
}

#[test]
fn diffs_look_keys_up() {
    for f in fixtures() {
        let segments = [
            Segment { lineage: LineageId(2), after: 0, upto: At::Working },
            Segment { lineage: LineageId(1), after: 0, upto: At::Ordinal(5) },
        ];
        for (from, to) in [(views()[0], views()[2]), (views()[1], views()[0]), (views()[2], View::MAIN)] {
            let plan = diff::plan(&f.meta(), (&from, &to), &segments, &Wanted::default()).unwrap();
            f.assert_no_scan(&plan.sql, &plan.params);
        }
    }
}

#[test]
fn diffs_of_some_keys_look_the_history_of_these_up() {
    for f in fixtures() {
        let segments = [Segment { lineage: LineageId(1), after: 0, upto: At::Ordinal(5) }];
        let k = f.table.schema.index_of("k").unwrap();
        let text = f.table.schema.columns[k].pg_type == "text";
        let key = if text { Value::Text("1".into()) } else { Value::Int(1) };
        let of = |keys: Predicate| Wanted { keys: vec![keys], ..Wanted::default() };
        for wanted in [
            Wanted::of_key(vec![key.clone()]),
            of(Predicate::Compare(k, Comparison::Eq, key.clone())),
            of(Predicate::In(k, vec![key.clone(), key])),
        ] {
            let plan = diff::plan(&f.meta(), (&views()[2], &View::MAIN), &segments, &wanted).unwrap();
            f.assert_no_scan(&plan.sql, &plan.params);
            let lines = f.plan(&plan.sql, &plan.params);
            let by_key = |l: &String| l.starts_with("SEARCH x ") && l.contains("epoch_lineage=? AND k=?");
            assert!(lines.iter().any(by_key), "{}\n{lines:#?}", plan.sql);
        }
    }
}

#[test]
fn pending_work_is_found_by_index() {
    for f in fixtures() {
        for main in [true, false] {
            let sql = crate::seal::pending_sql(&f.meta(), main, None);
            f.assert_no_scan(&sql, &[Value::Int(1)]);
            let plan = f.plan(&sql, &[Value::Int(1)]);
            assert!(!plan.iter().any(|l| l.contains("TEMP B-TREE")), "{plan:#?}");
        }
    }
}

#[test]
fn capture_triggers_look_up() {
    for f in fixtures() {
        for sql in [
            "INSERT OR REPLACE INTO t (k, a, b) VALUES (7, 'q', 1)",
            "UPDATE t SET a = 'r', k = 3 WHERE k = 1",
            "DELETE FROM t WHERE k = 1",
        ] {
            f.assert_no_scan(sql, &[]);
        }
    }
}
