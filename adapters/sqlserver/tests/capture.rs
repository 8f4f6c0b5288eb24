//! Capture and publication under everybody's writes at once, and who sees what.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use epoch_adapter::{Adapter, At, Layer, RowWrite, SealMode, TableStats, View};

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, u nvarchar(20) CONSTRAINT t_u UNIQUE, v int); \
    INSERT INTO t VALUES (1, N'a', 1), (2, N'b', 2), (3, N'c', 3)";

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_shows_main_as_of_its_fork_whatever_clients_do() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let before = db.rows(&t, View::MAIN).await;
    let dev = working(branch(2, 0));
    for sql in [
        "UPDATE t SET v = v + 1",
        "SET ROWCOUNT 1; UPDATE t SET v = v + 1; SET ROWCOUNT 0",
        "INSERT INTO t VALUES (10, N'j', 0), (11, N'k', 0)",
        "UPDATE t SET id = id + 100",
        "UPDATE t SET id = 213 - id WHERE id > 100 AND id < 110",
        "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; DELETE a FROM t AS a JOIN t AS b ON a.id = b.id",
        "INSERT INTO t VALUES (1, N'a', 1), (2, N'new', 2)",
    ] {
        db.run(sql).await;
        assert_eq!(db.rows(&t, dev).await, before, "{sql}");
        assert_eq!(db.rows(&t, main_at(0)).await, before, "{sql}");
    }
    let sealed = db.seal(std::slice::from_ref(&t), Layer::MAIN, 1).await;
    assert_eq!(sealed.tables[0].1, TableStats { added: 0, modified: 1, removed: 1, cells: 0 });
    assert_eq!(db.rows(&t, main_at(1)).await, db.rows(&t, View::MAIN).await);
    assert_eq!(db.rows(&t, main_at(0)).await, before);
    assert_eq!(db.rows(&t, dev).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_snapshot_that_writes_after_a_seal_is_in_the_next_one() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let mut old = db.client().await;
    on(&mut old, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION; SELECT count(*) FROM t").await;
    db.run("UPDATE t SET v = 10 WHERE id = 1; UPDATE t SET v = 20 WHERE id = 2").await;
    db.seal(std::slice::from_ref(&t), Layer::MAIN, 1).await;
    let at_1 = db.rows(&t, main_at(1)).await;
    // It doesn't see the image of ordinal 1, nor that there is one.
    on(&mut old, "UPDATE t SET v = v + 1 WHERE id = 3; COMMIT TRANSACTION").await;
    assert_eq!(db.rows(&t, main_at(1)).await, at_1);
    let sealed = db.seal(std::slice::from_ref(&t), Layer::MAIN, 2).await;
    assert_eq!(sealed.tables[0].1.modified, 1);
    assert_eq!(db.rows(&t, main_at(1)).await, at_1);
    assert_eq!(db.rows(&t, main_at(2)).await[2], [int(3), text("c"), int(4)]);
}

/// Each transfer moves an amount between two rows: every ordinal has the whole sum.
#[tokio::test(flavor = "multi_thread")]
async fn seals_never_have_half_of_a_transaction() {
    let db = std::sync::Arc::new(database!(
        "CREATE TABLE t (id int PRIMARY KEY, u nvarchar(20), v int); \
         INSERT INTO t VALUES (1, N'a', 1000), (2, N'b', 1000), (3, N'c', 1000), (4, N'd', 1000)"
    ));
    let t = db.register(1, "t").await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut clients = Vec::new();
    for n in 0..4_u64 {
        let (db, stop) = (db.clone(), stop.clone());
        clients.push(tokio::spawn(async move {
            let mut conn = db.client().await;
            let (mut done, mut seed) = (0, n);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (a, b) = (1 + (seed >> 33) % 4, 1 + (seed >> 40) % 4);
                // Several statements, so that a seal may come between them; deadlocks are the clients' own matter.
                let mut ok = true;
                for sql in [
                    "BEGIN TRANSACTION".to_owned(),
                    format!("UPDATE t SET v = v - 5 WHERE id = {a}"),
                    format!("UPDATE t SET v = v + 5 WHERE id = {b}"),
                ] {
                    let result = async { conn.simple_query(sql).await?.into_results().await }.await;
                    ok = ok && result.is_ok();
                }
                let end = if ok { "COMMIT" } else { "ROLLBACK" };
                on(&mut conn, &format!("IF @@TRANCOUNT > 0 {end} TRANSACTION")).await;
                done += u64::from(ok);
            }
            done
        }));
    }
    for ordinal in 1..=25 {
        db.seal(std::slice::from_ref(&t), Layer::MAIN, ordinal).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut done = 0;
    for client in clients {
        done += client.await.unwrap();
    }
    assert!(done > 25, "{done} transfers");
    for ordinal in 0..=25 {
        let rows = db.rows(&t, main_at(ordinal)).await;
        let sum: i64 = rows.iter().map(|r| if let epoch_adapter::Value::Int(v) = r[2] { v } else { 0 }).sum();
        assert_eq!((rows.len(), sum), (4, 4000), "ordinal {ordinal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_on_a_branch_and_on_main_lose_nothing() {
    let db = std::sync::Arc::new(database!(T));
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..6 {
        let (db, t) = (db.clone(), t.clone());
        let layer = if n % 2 == 0 { Layer::MAIN } else { dev };
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let mut tx = db.adapter.begin().await.unwrap();
                tx.prepare_write(&t, layer, false).await.unwrap();
                let rows =
                    collect(tx.scan(&t, &working(layer), &Default::default()).await.unwrap()).await.unwrap();
                let epoch_adapter::Value::Int(v) = rows[0][2] else { panic!() };
                assert_eq!(tx.write(&t, layer, &[update(1, 2, int(v + 1))]).await.unwrap(), 1);
                tx.commit().await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(db.rows(&t, View::MAIN).await[0][2], int(31));
    assert_eq!(db.rows(&t, working(dev)).await[0][2], int(31));
}

#[tokio::test(flavor = "multi_thread")]
async fn repeatable_read_refuses_what_changed_since_its_snapshot() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    for layer in [Layer::MAIN, dev] {
        let mut tx = db.adapter.begin().await.unwrap();
        collect(tx.scan(&t, &working(layer), &Default::default()).await.unwrap()).await.unwrap();
        db.write(&t, layer, &[update(1, 2, int(77))]).await.unwrap();
        // Of main, only the rows that are written count.
        let result = match tx.prepare_write(&t, layer, true).await {
            Ok(()) => tx.write(&t, layer, &[update(1, 2, int(78))]).await.map(drop),
            Err(e) => Err(e),
        };
        assert_eq!(error(result).code(), "40001", "{layer:?}");
        tx.rollback().await.unwrap();
        assert_eq!(db.rows(&t, working(layer)).await[0][2], int(77));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_undo_a_part_of_a_transaction() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    for layer in [Layer::MAIN, dev] {
        let mut tx = db.adapter.begin().await.unwrap();
        tx.savepoint("a").await.unwrap();
        tx.write(&t, layer, &[update(1, 2, int(50))]).await.unwrap();
        tx.savepoint("b").await.unwrap();
        tx.write(&t, layer, &[update(2, 2, int(50))]).await.unwrap();
        let e = error(tx.write(&t, layer, &[insert(vec![int(1), text("z"), int(0)])]).await);
        assert_eq!(e.code(), "23505", "{layer:?}");
        assert_eq!(error(tx.write(&t, layer, &[delete(3)]).await).code(), "25P02");
        tx.rollback_to("b").await.unwrap();
        tx.write(&t, layer, &[delete(3)]).await.unwrap();
        tx.rollback_to("b").await.unwrap();
        tx.write(&t, layer, &[delete(3)]).await.unwrap();
        tx.release("b").await.unwrap();
        tx.commit().await.unwrap();
        let rows = db.rows(&t, working(layer)).await;
        assert_eq!(rows, [[int(1), text("a"), int(50)], [int(2), text("b"), int(2)]], "{layer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_replaces_a_row_is_refused_where_it_could_not_be_told() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let before = db.rows(&t, View::MAIN).await;
    // Matched by another column, a row goes and another one comes with its key.
    let sql = "MERGE t USING (VALUES (1, N'x', 9), (99, N'a', 0)) AS s (id, u, v) ON t.u = s.u \
               WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.u, s.v);";
    // Whether it is depends on the order in which the server fires triggers; history is true either way.
    let _ = db.direct(sql).await;
    assert_eq!(db.rows(&t, working(branch(2, 0))).await, before);
    assert_eq!(db.rows(&t, main_at(0)).await, before);
}

/// That a server doesn't call a trigger again for what it does itself must not concern ours.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_users_trigger_changes_of_other_rows_is_captured() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let before = db.rows(&t, View::MAIN).await;
    db.run(
        "EXEC (N'CREATE TRIGGER own ON t AFTER UPDATE AS UPDATE t SET v = v + 100 WHERE id = 3 \
         AND NOT EXISTS (SELECT 1 FROM inserted WHERE id = 3)')",
    )
    .await;
    db.run("UPDATE t SET v = 9 WHERE id = 1").await;
    assert_eq!(db.rows(&t, View::MAIN).await[2], [int(3), text("c"), int(103)]);
    assert_eq!(db.rows(&t, working(branch(2, 0))).await, before);
    let sealed = db.seal(std::slice::from_ref(&t), Layer::MAIN, 1).await;
    assert_eq!(sealed.tables[0].1, TableStats { added: 0, modified: 2, removed: 0, cells: 0 });
    assert_eq!(db.rows(&t, main_at(0)).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_compare_rows_and_swap_unique_values() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let set = |key: i64, u: &str| RowWrite::Update { key: vec![int(key)], set: vec![(1, text(u))] };
    db.write(&t, dev, &[set(1, "tmp"), set(2, "a"), set(1, "b"), delete(3)]).await.unwrap();
    db.seal(std::slice::from_ref(&t), dev, 1).await;
    let segments = [segment(2, 0, At::Ordinal(1))];
    let changes = db.diff(&t, main_at(0), at(dev, 1), &segments).await;
    assert_eq!(changes.len(), 3);
    // Somebody else changed one of the rows: nothing is applied.
    db.run("UPDATE t SET v = 99 WHERE id = 3").await;
    let e = error(db.apply(&t, Layer::MAIN, 1, changes.clone(), SealMode::Own).await);
    assert_eq!(e.code(), "40001");
    assert_eq!(db.rows(&t, View::MAIN).await.len(), 3);
    db.run("UPDATE t SET v = 3 WHERE id = 3").await;
    let sealed = db.apply(&t, Layer::MAIN, 2, changes.clone(), SealMode::Own).await.unwrap();
    assert_eq!(sealed.tables[0].1, TableStats { added: 0, modified: 2, removed: 1, cells: 0 });
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), text("b"), int(1)], [int(2), text("a"), int(2)]]);
    // A second time it is the first run's result.
    let again = db.apply(&t, Layer::MAIN, 2, changes, SealMode::Own).await.unwrap();
    assert_eq!(again, sealed);
    assert_eq!(db.adapter.sealed("apply-1-2").await.unwrap(), Some(sealed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_writes_to_main_or_to_branches() {
    let db = database!(T);
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    let mut tx = db.adapter.begin().await.unwrap();
    tx.prepare_write(&t, Layer::MAIN, false).await.unwrap();
    tx.write(&t, Layer::MAIN, &[update(1, 2, int(5))]).await.unwrap();
    // What a branch shows is read beside it.
    let seen = collect(tx.scan(&t, &working(dev), &Default::default()).await.unwrap()).await.unwrap();
    assert_eq!(seen[0][2], int(1));
    assert_eq!(error(tx.prepare_write(&t, dev, false).await).code(), "0A000");
    tx.rollback().await.unwrap();
}
