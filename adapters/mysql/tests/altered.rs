//! Tables that somebody altered or rebuilt past us, and values that the server sets by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use epoch_adapter::{Adapter, At, Layer, RowWrite, Scan, SealMode, Value, View};
use mysql_async::prelude::Queryable;

const T: &str = "CREATE TABLE t (id INT PRIMARY KEY, x INT, y VARCHAR(20)); \
    INSERT INTO t VALUES (1, 1000, 'abcdef'), (2, 20, 'b'), (3, 30, NULL)";

/// The table is refused in all that would show or publish it.
async fn assert_drift(db: &Db, sql: &str, expected: &str) {
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    assert_eq!(db.adapter.drift(std::slice::from_ref(&t)).await.unwrap(), [], "{sql}");
    db.run(sql).await;
    let drift = db.adapter.drift(std::slice::from_ref(&t)).await.unwrap();
    assert!(drift.first().is_some_and(|(_, why)| why.contains(expected)), "{sql}: {drift:?}");
    assert_eq!(error(db.scan(&t, working(dev), &Scan::default()).await).code(), "55000", "{sql}");
    let seal = db.adapter.seal("x", std::slice::from_ref(&t), Layer::MAIN, 1, &[], SealMode::All).await;
    assert_eq!(error(seal).code(), "55000", "{sql}");
    // It stays so, however often one looks.
    assert_eq!(db.adapter.drift(std::slice::from_ref(&t)).await.unwrap(), drift, "{sql}");
    db.adapter.uninstall(&t).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_and_altered_back_is_not_what_it_was() {
    for sql in [
        "ALTER TABLE t DROP COLUMN x; ALTER TABLE t ADD COLUMN x INT AFTER id",
        "ALTER TABLE t DROP COLUMN y, ADD COLUMN y VARCHAR(20)",
        "SET sql_mode = ''; ALTER TABLE t MODIFY x TINYINT, MODIFY y VARCHAR(3); ALTER TABLE t MODIFY x INT, MODIFY y VARCHAR(20)",
        "ALTER TABLE t DROP COLUMN x; ALTER TABLE t ADD COLUMN x INT AFTER id; UPDATE t SET x = 20 WHERE id = 2",
        "CREATE TABLE p (id INT PRIMARY KEY, x INT, y VARCHAR(20)) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10)); \
         INSERT INTO p VALUES (1, 777, 'z'); ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE t",
        "TRUNCATE t; INSERT INTO t VALUES (1, 1000, 'abcdef'), (2, 20, 'b'), (3, 30, NULL)",
    ] {
        assert_drift(&database!(T), sql, "truncated, filled anew, or altered so that rows changed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_registered_is_drift_later() {
    let cases = [
        (
            "ALTER TABLE t PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (2), PARTITION p1 VALUES LESS THAN MAXVALUE); \
          ALTER TABLE t TRUNCATE PARTITION p1",
            "it is partitioned",
        ),
        ("ALTER TABLE t ENGINE = MyISAM", "its engine is MyISAM"),
        (
            "CREATE TABLE p (id INT PRIMARY KEY); INSERT INTO p VALUES (1000), (20), (30); \
          ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (x) REFERENCES p (id) ON DELETE CASCADE",
            "without firing triggers",
        ),
    ];
    for (sql, expected) in cases {
        assert_drift(&database!(T), sql, expected).await;
    }
    let db = database!(T);
    let version: Option<String> = db.client().await.query_first("SELECT version()").await.unwrap();
    if version.unwrap().contains("MariaDB") {
        assert_drift(&db, "ALTER TABLE t ADD SYSTEM VERSIONING", "it is a system versioned").await;
    }
}

/// What commits note of the rows is what they are: whatever was committed in which way, rebuilding is no drift.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_only_rebuilt_is_as_it_was() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let all = std::slice::from_ref(&t);
    let before = db.rows(&t, View::MAIN).await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.write(&t, dev, &[update(3, 2, text("merged")), delete(2)]).await.unwrap();
    db.seal(all, dev, 1).await;
    let changes = db.diff(&t, main_at(0), at(dev, 1), &[segment(2, 0, At::Ordinal(1))]).await;
    let mut seen = vec![before.clone()];
    for (ordinal, sql) in [
        "UPDATE t SET x = x + 1",
        "INSERT INTO t VALUES (7, 7, 'g'), (8, NULL, NULL); UPDATE t SET y = 'q' WHERE id = 7; DELETE FROM t WHERE id = 8",
        "UPDATE t SET id = 100 WHERE id = 1; UPDATE t SET x = x - 1 WHERE id IN (2, 3)",
    ]
    .iter()
    .enumerate()
    {
        db.run(sql).await;
        // With changes that aren't committed, and after they are.
        db.run("ALTER TABLE t FORCE").await;
        assert_eq!(db.adapter.drift(all).await.unwrap(), [], "{sql}");
        db.seal(all, Layer::MAIN, ordinal as i64 + 1).await;
        seen.push(db.rows(&t, View::MAIN).await);
        db.run("OPTIMIZE TABLE t").await;
        assert_eq!(db.adapter.drift(all).await.unwrap(), [], "{sql}");
    }
    // A merge beside a change that isn't committed, which stays so.
    db.run("UPDATE t SET y = 'later' WHERE id = 7").await;
    db.apply(&t, Layer::MAIN, 4, changes, SealMode::Own).await.unwrap();
    db.run("ALTER TABLE t ADD INDEX xx (x), FORCE").await;
    db.run("ALTER TABLE t DROP INDEX xx, COMMENT = 'more'").await;
    assert_eq!(db.adapter.drift(all).await.unwrap(), []);
    assert_eq!(db.adapter.pending(all, Layer::MAIN).await.unwrap()[0].1.modified, 1);
    for (ordinal, rows) in seen.iter().enumerate() {
        assert_eq!(db.rows(&t, main_at(ordinal as i64)).await, *rows, "{ordinal}");
    }
    // A seal goes on where the rebuilt table is.
    db.seal(all, Layer::MAIN, 5).await;
    db.run("TRUNCATE t").await;
    assert!(db.adapter.drift(all).await.unwrap()[0].1.contains("truncated"));
}

/// Dropping a column and adding it again keeps InnoDB's number of the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_dropped_and_added_at_once_is_seen_by_the_time_of_the_form() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let all = std::slice::from_ref(&t);
    let mut conn = db.client().await;
    // Until the time is so old that another change has another one, each look reads the rows.
    let formed = "SELECT innodb, formed FROM epoch_registered WHERE formed IS NOT NULL";
    let start = std::time::Instant::now();
    let noted = loop {
        assert_eq!(db.adapter.drift(all).await.unwrap(), []);
        let noted: Option<(i64, String)> = conn.query_first(formed).await.unwrap();
        if let Some(noted) = noted {
            break noted;
        }
        assert!(start.elapsed().as_secs() < 30);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(db.adapter.drift(all).await.unwrap(), []);
    db.run("ALTER TABLE t DROP COLUMN x; ALTER TABLE t ADD COLUMN x INT AFTER id").await;
    for _ in 0..2 {
        let drift = db.adapter.drift(all).await.unwrap();
        assert!(
            drift.first().is_some_and(|(_, why)| why.contains("altered so that rows changed")),
            "{drift:?}"
        );
    }
    assert_eq!(conn.query_first(formed).await.unwrap(), Some(noted));
    // What is written afterwards is noted from what the rows were by then.
    db.run("UPDATE t SET x = id").await;
    assert_eq!(error(db.scan(&t, working(branch(2, 0)), &Scan::default()).await).code(), "55000");
}

/// Servers whose `explicit_defaults_for_timestamp` is off give the first TIMESTAMP of a table the time of each change.
#[tokio::test(flavor = "multi_thread")]
async fn history_does_not_move_the_timestamps_of_keys() {
    let db = database!(
        "CREATE TABLE t (at TIMESTAMP NOT NULL DEFAULT '2020-01-01', till TIMESTAMP NOT NULL DEFAULT '2020-01-01', v INT, \
         PRIMARY KEY (at, till)); \
         INSERT INTO t VALUES ('2026-01-01', '2026-02-01', 10), ('2026-01-02', '2026-02-02', 20), ('2026-01-03', '2026-02-03', 30)"
    );
    // The adapter's connections begin with what the server has meanwhile.
    let mut conn = db.client().await;
    conn.query_drop("SET GLOBAL explicit_defaults_for_timestamp = OFF").await.unwrap();
    let defined = db.define(1, "t", None).await;
    let installed = match &defined {
        Ok(t) => db.adapter.install(t).await,
        Err(_) => Ok(()),
    };
    conn.query_drop("SET GLOBAL explicit_defaults_for_timestamp = ON").await.unwrap();
    let t = std::sync::Arc::new(defined.unwrap());
    installed.unwrap();
    let tables = db.dump().await;
    let ours: Vec<_> = tables.iter().filter(|text| text.contains("CREATE TABLE `epoch_")).collect();
    assert!(ours.len() > 4 && ours.iter().all(|text| !text.contains("ON UPDATE")), "{ours:?}");
    let before = db.rows(&t, View::MAIN).await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.run("UPDATE t SET v = 11 WHERE v = 10; DELETE FROM t WHERE v = 20").await;
    assert_eq!(db.rows(&t, working(dev)).await, before);
    db.seal(std::slice::from_ref(&t), Layer::MAIN, 1).await;
    assert_eq!(db.rows(&t, working(dev)).await, before);
    assert_eq!(db.rows(&t, main_at(0)).await, before);
    // A merge keeps its keys in a table of its own.
    let changes = db.diff(&t, main_at(1), main_at(0), &[segment(1, 0, At::Ordinal(1))]).await;
    assert_eq!(changes.len(), 2);
    db.apply(&t, Layer::MAIN, 2, changes, SealMode::Own).await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await, before);
    assert_eq!(db.adapter.pending(std::slice::from_ref(&t), Layer::MAIN).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_does_not_set_what_on_update_would() {
    let db = database!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, at TIMESTAMP(3) NOT NULL DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP(3), \
         dt DATETIME DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP); INSERT INTO t (id, v) VALUES (1, 10), (2, 20)"
    );
    let t = db.register(1, "t").await;
    let all = std::slice::from_ref(&t);
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let before = db.rows(&t, View::MAIN).await;
    // Both are taken over into the other one, with the times that they have there.
    db.run("UPDATE t SET v = 11, at = at, dt = dt WHERE id = 1").await;
    db.seal(all, Layer::MAIN, 1).await;
    let set = |i: usize, v: Value| (i, v);
    let old = [set(2, text("2020-01-01 00:00:00")), set(3, text("2020-01-01 00:00:00"))];
    let write = RowWrite::Update { key: vec![int(2)], set: [vec![set(1, int(21))], old.to_vec()].concat() };
    db.write(&t, dev, &[write]).await.unwrap();
    db.seal(all, dev, 1).await;
    let from_main = db.diff(&t, main_at(0), main_at(1), &[segment(1, 0, At::Ordinal(1))]).await;
    let from_dev = db.diff(&t, main_at(0), at(dev, 1), &[segment(2, 0, At::Ordinal(1))]).await;
    assert_eq!((from_main.len(), from_dev.len()), (1, 1));
    db.apply(&t, dev, 2, from_main.clone(), SealMode::Own).await.unwrap();
    db.apply(&t, Layer::MAIN, 2, from_dev, SealMode::Own).await.unwrap();
    let merged = db.rows(&t, View::MAIN).await;
    assert_eq!(merged, db.rows(&t, working(dev)).await);
    let same = |a: &[Value], b: &[Value]| a[2..] == b[2..];
    assert!(merged.iter().zip(&before).all(|(a, b)| same(a, b)), "{merged:?}");
    assert_eq!([merged[0][1].clone(), merged[1][1].clone()], [int(11), int(21)]);
    // And back: a revert gives the row as it was.
    let mut back = from_main;
    back.iter_mut().for_each(|c| std::mem::swap(&mut c.before, &mut c.after));
    db.apply(&t, Layer::MAIN, 3, back, SealMode::Own).await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await[0], before[0]);
    // A client's own UPDATE gets the time, on a branch as on main.
    for layer in [Layer::MAIN, dev] {
        db.write(&t, layer, &[update(1, 1, int(12))]).await.unwrap();
        let now = db.rows(&t, working(layer)).await;
        assert!(now[0][2] != before[0][2] && now[0][3] != before[0][3], "{now:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_a_collation_takes_for_one_have_one_form() {
    let db = database!(
        "CREATE TABLE t (name VARCHAR(20) COLLATE utf8mb4_general_ci, n INT, PRIMARY KEY (name, n)); \
         CREATE TABLE b (name VARBINARY(20) PRIMARY KEY)"
    );
    let t = db.register(1, "t").await;
    let key = |name: &str, n: i64| vec![text(name), int(n)];
    let keys =
        vec![key("Ann", 1), key("ANN", 1), key("ann ", 1), key("Ann", 2), key("Anna", 1), key("\u{c1}nn", 1)];
    let forms = db.adapter.key_forms(&t, keys).await.unwrap();
    let same = |a: usize, b: usize| forms[a] == forms[b];
    assert!(same(0, 1) && same(0, 2) && same(0, 5), "{forms:?}");
    assert!(!same(0, 3) && !same(0, 4) && !same(3, 4), "{forms:?}");
    // More than are sent at once.
    let many: Vec<_> = (0..1200).map(|n| key(if n % 2 == 0 { "x" } else { "X" }, n / 2)).collect();
    let forms = db.adapter.key_forms(&t, many).await.unwrap();
    assert!(forms.chunks(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(forms.iter().collect::<std::collections::BTreeSet<_>>().len(), 600);
    let b = db.register(2, "b").await;
    let keys = vec![vec![Value::Blob(b"a".to_vec())], vec![Value::Blob(b"A".to_vec())]];
    assert_eq!(db.adapter.key_forms(&b, keys.clone()).await.unwrap(), keys);
}
