//! Costs that must not grow: the bounds hold in an unoptimised build on a busy machine, so they are far
//! above what an optimised one takes; the figures are printed.
#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::time::{Duration, Instant};

use common::*;
use epoch_adapter::{Adapter, At, Comparison, Layer, Predicate, RowWrite, Scan, View};

fn numbers(rows: u32) -> String {
    format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price NUMERIC(10,2), n INT);
         CREATE INDEX t_n ON t (n);
         WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {rows})
         INSERT INTO t SELECT i, 'name ' || i, i * 0.25, i % 1000 FROM s"
    )
}

fn told(what: &str, since: Instant, most: Duration) {
    let took = since.elapsed();
    println!("{what}: {:.1} ms", took.as_secs_f64() * 1e3);
    assert!(took < most, "{what} took {took:?}");
}

#[tokio::test]
async fn seals_and_diffs_cost_what_changed() {
    let db = Db::new(&numbers(200_000));
    let t = db.register(1, "t").await;
    let all = [t.clone()];
    let start = Instant::now();
    db.run("UPDATE t SET n = n + 1 WHERE id <= 100000");
    told("100,000 rows changed directly", start, Duration::from_secs(20));
    let start = Instant::now();
    assert_eq!(db.seal(&all, Layer::MAIN, 1).await.tables[0].1.modified, 100_000);
    told("100,000 rows sealed", start, Duration::from_secs(20));
    db.run("UPDATE t SET n = n + 1 WHERE id = 5");
    let start = Instant::now();
    db.seal(&all, Layer::MAIN, 2).await;
    told("1 row sealed", start, Duration::from_millis(500));
    db.run("UPDATE t SET n = n + 1 WHERE id > 190000");
    db.seal(&all, Layer::MAIN, 3).await;
    let start = Instant::now();
    let segments = [segment(1, 2, At::Ordinal(3))];
    assert_eq!(db.diff(&t, main_at(2), main_at(3), &segments).await.len(), 10_000);
    told("diff of 10,000 rows", start, Duration::from_secs(5));
    let start = Instant::now();
    let stat = db.adapter.diff_stat(&t, &main_at(2), &main_at(3), &segments).await.unwrap();
    assert_eq!((stat.modified, stat.cells), (10_000, 10_000));
    told("its counts", start, Duration::from_secs(5));

    let dev = branch(2, 2);
    let start = Instant::now();
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    told("a layer", start, Duration::from_millis(500));
    let point =
        Scan { projection: None, filters: vec![Predicate::Compare(0, Comparison::Eq, int(7))], limit: None };
    let start = Instant::now();
    for _ in 0..200 {
        assert_eq!(db.scan(&t, working(dev), &point).await.unwrap().len(), 1);
    }
    told("200 point reads on a branch", start, Duration::from_secs(5));
    let start = Instant::now();
    for _ in 0..200 {
        assert_eq!(db.scan(&t, View::MAIN, &point).await.unwrap().len(), 1);
    }
    told("200 point reads on main", start, Duration::from_secs(5));
    let writes: Vec<_> = (1..=20_000).map(|id| update(id, 3, int(-id))).collect();
    let start = Instant::now();
    assert_eq!(db.write(&t, dev, &writes).await.unwrap(), 20_000);
    told("20,000 rows changed on a branch", start, Duration::from_secs(30));
    let writes: Vec<_> =
        (0..20_000).map(|i| RowWrite::Insert(vec![None, Some(text("x")), None, Some(int(i))])).collect();
    let start = Instant::now();
    assert_eq!(db.write(&t, dev, &writes).await.unwrap(), 20_000);
    told("20,000 rows inserted on a branch", start, Duration::from_secs(30));
    let start = Instant::now();
    let stream = db.adapter.scan(&t, &working(dev), &Scan::default()).await.unwrap();
    let rows: usize =
        futures::StreamExt::fold(stream, 0, |n, b| async move { n + b.unwrap().num_rows() }).await;
    assert_eq!(rows, 220_000);
    told("the whole branch read", start, Duration::from_secs(30));
    let start = Instant::now();
    assert_eq!(db.seal(&all, dev, 1).await.tables[0].1.rows(), 40_000);
    told("40,000 rows sealed on a branch", start, Duration::from_secs(20));
}

/// A reader that leaves early doesn't leave a scan behind.
#[tokio::test]
async fn a_dropped_scan_stops() {
    let db = Db::new(&numbers(100_000));
    let t = db.register(1, "t").await;
    for _ in 0..50 {
        let mut stream = db.adapter.scan(&t, &View::MAIN, &Scan::default()).await.unwrap();
        let first = futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
        assert_eq!(first.num_rows(), 8_192);
    }
    // All connections come back: none holds the schema.
    db.run("DROP TABLE t");
    let deadline = Instant::now() + Duration::from_secs(10);
    while db.adapter.health().await.unwrap().connections.0 > 8 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}
