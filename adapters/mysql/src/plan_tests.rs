//! Query plans of the server: nothing that is meant to be a lookup scans a table.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use epoch_adapter::{
    Adapter, At, BackendKind, Comparison, Layer, LineageId, Location, Predicate, Segment, TableDef, TableId,
    TableName, Value, View, Wanted,
};
use epoch_layers::view::{Facts, union};

use crate::MysqlAdapter;
use crate::connect::target;
use crate::meta::Catalog;
use crate::pool::{Pool, Session};
use crate::view::predicates;

/// Tables that EXPLAIN says are read as a whole: those of ours and the user's.
async fn scanned(session: &mut Session, sql: &str, params: &[Value]) -> Vec<String> {
    let rows = session.rows(&format!("EXPLAIN {sql}"), params).await.unwrap();
    let text =
        |row: &mysql_async::Row, name: &str| row.get::<Option<String>, _>(name).flatten().unwrap_or_default();
    rows.iter()
        .filter(|row| ["ALL", "index"].contains(&text(row, "type").as_str()))
        .map(|row| text(row, "table"))
        // What is derived is few rows: the keys of a diff, the parts of a union.
        .filter(|table| !table.starts_with('<') && table != "k" && !table.is_empty())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_and_diffs_scan_nothing() {
    let Some(url) = std::env::var("EPOCH_TEST_MYSQL_URL").ok().filter(|u| !u.is_empty()) else {
        println!("skipped: set EPOCH_TEST_MYSQL_URL or run make test");
        return;
    };
    let name = format!("epoch_plan_{}", uuid::Uuid::new_v4().simple());
    let server = Pool::new("s", target("s", &url).unwrap(), 2);
    server.get().await.unwrap().run(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await.unwrap();
    let url = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
    let adapter = MysqlAdapter::new("s", &url, 2).unwrap();
    let pool = Pool::new("s", target("s", &url).unwrap(), 2);
    let mut session = pool.get().await.unwrap();
    session.run("CREATE TABLE t (k INT PRIMARY KEY, a VARCHAR(20) UNIQUE, b INT, KEY b (b))").await.unwrap();
    let rows: Vec<_> = (1..=3000).map(|i| format!("({i}, 'a{i}', {i})")).collect();
    session.run(&format!("INSERT INTO t VALUES {}", rows.join(", "))).await.unwrap();
    let location =
        Location { kind: BackendKind::MySql, backend: "s".into(), schema: None, table: "t".into() };
    let schema = adapter.describe(&location, None).await.unwrap();
    let def = TableDef::new(TableId(1), TableName::public("t"), location, schema);
    adapter.install(&def).await.unwrap();
    session
        .run(
            "UPDATE t SET b = b + 1 WHERE k <= 2000; UPDATE epoch_history_1 SET epoch_to = 5; \
             INSERT INTO epoch_overlay_1 (k, a, b, epoch_lineage) SELECT k, a, b, 2 FROM t WHERE k <= 1500; \
             INSERT INTO epoch_mask_1 (epoch_lineage, k) SELECT 2, k FROM t WHERE k <= 1500; \
             UPDATE epoch_history_1 SET epoch_to = 2 WHERE epoch_lineage = 2 AND k > 700; \
             ANALYZE TABLE t, epoch_history_1, epoch_overlay_1, epoch_mask_1",
        )
        .await
        .unwrap();
    let catalog = Catalog::load(&mut session, None).await.unwrap();
    let meta = &catalog.by_id[&TableId(1)];
    let dev = Layer { lineage: LineageId(2), base: 1 };
    let views = [
        View { layer: dev, at: At::Working },
        View { layer: dev, at: At::Ordinal(1) },
        View { layer: Layer::MAIN, at: At::Ordinal(1) },
        View::MAIN,
    ];
    let wanted = [
        Predicate::Compare(0, Comparison::Eq, Value::Int(17)),
        Predicate::In(0, vec![Value::Int(17), Value::Int(18)]),
        Predicate::Compare(1, Comparison::Eq, Value::Text("a17".into())),
    ];
    for predicate in wanted {
        let filter = predicates(&def, std::slice::from_ref(&predicate)).unwrap();
        for view in views {
            let (sql, params) =
                union(&meta.arms(&view, Facts::ALL), &meta.all_columns("x"), &filter, Some(10));
            let scanned = scanned(&mut session, &sql, &params).await;
            // The history has no index on other columns than the key's.
            let other = matches!(predicate, Predicate::Compare(1, ..));
            assert!(
                scanned.iter().all(|t| other && t != "t"),
                "{predicate:?} in {view:?} scans {scanned:?}\n{sql}"
            );
        }
    }
    let segments = [Segment { lineage: LineageId(2), after: 0, upto: At::Ordinal(1) }];
    let some = Predicate::In(0, vec![Value::Int(17), Value::Int(18)]);
    for wanted in [Wanted::of_key(vec![Value::Int(17)]), Wanted { keys: vec![some], ..Wanted::default() }] {
        let plan = crate::diff::plan(meta, (&views[1], &views[2]), &segments, &wanted).unwrap();
        assert_eq!(
            scanned(&mut session, &plan.sql, &plan.params).await,
            Vec::<String>::new(),
            "{}",
            plan.sql
        );
    }
    drop(session);
    server.get().await.unwrap().run(&format!("DROP DATABASE {name}")).await.unwrap();
}
