//! Other clients of the file: many at once, and ones with another SQLite than ours.
#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::sync::Arc;

use common::*;
use epoch_adapter::{Adapter, Layer, Scan, Value, View};

const COUNTER: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT NOT NULL, u TEXT UNIQUE);
    INSERT INTO t VALUES (1, 0, 'a'), (2, 0, 'b')";

/// Increments by reading and writing, as the proxy does, from many tasks and a direct client, while
/// commits go on: nothing is lost, and what the commits say adds up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_among_many_writers() {
    let db = Arc::new(Db::new(COUNTER));
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..6 {
        let (db, t) = (Arc::clone(&db), Arc::clone(&t));
        let layer = if n % 2 == 0 { Layer::MAIN } else { dev };
        tasks.push(tokio::spawn(async move {
            for _ in 0..15 {
                let mut tx = db.adapter.begin().await.unwrap();
                tx.prepare_write(&t, layer, false).await.unwrap();
                let rows =
                    collect(tx.scan(&t, &working(layer), &Scan::default()).await.unwrap()).await.unwrap();
                let Value::Int(n) = rows[0][1] else { panic!() };
                assert_eq!(tx.write(&t, layer, &[update(1, 1, int(n + 1))]).await.unwrap(), 1);
                tx.commit().await.unwrap();
            }
        }));
    }
    let direct = Arc::clone(&db);
    tasks.push(tokio::task::spawn_blocking(move || {
        let conn = direct.direct();
        for _ in 0..45 {
            conn.execute("UPDATE t SET n = n + 1 WHERE id = 1", []).unwrap();
        }
    }));
    let mut ordinal = 0;
    let mut last = 0;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        ordinal += 1;
        db.seal(&[t.clone()], Layer::MAIN, ordinal).await;
        let rows = db.rows(&t, main_at(ordinal)).await;
        let Value::Int(n) = rows[0][1] else { panic!() };
        assert!(n >= last, "a commit went back from {last} to {n}");
        last = n;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(db.rows(&t, View::MAIN).await[0][1], int(90));
    assert_eq!(db.rows(&t, working(dev)).await[0][1], int(45));
    assert_eq!(db.rows(&t, main_at(0)).await[0][1], int(0));
    assert_eq!(db.rows(&t, at(dev, 0)).await[0][1], int(0));
}

#[tokio::test]
async fn python_with_its_own_sqlite() {
    let db = Db::new(COUNTER);
    let t = db.register(1, "t").await;
    let script = "import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute(\"INSERT OR REPLACE INTO t VALUES (1, 5, 'b')\")
c.execute(\"INSERT INTO t (n, u) VALUES (7, 'c') ON CONFLICT (u) DO UPDATE SET n = 9\")
c.execute('UPDATE t SET id = 30 WHERE u = ?', ('c',))
";
    let output = match std::process::Command::new("python3").args(["-c", script]).arg(db.path()).output() {
        Ok(output) => output,
        Err(e) => return println!("skipped: python3: {e}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), int(5), text("b")], [int(30), int(7), text("c")]]);
    assert_eq!(db.rows(&t, main_at(0)).await, [[int(1), int(0), text("a")], [int(2), int(0), text("b")]]);
    let stats = db.adapter.pending(&[t], Layer::MAIN).await.unwrap()[0].1;
    assert_eq!((stats.added, stats.modified, stats.removed), (1, 1, 1));
}

/// Two processes may register at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn installing_at_once() {
    let db = Db::new(COUNTER);
    let t = Arc::new(db.define(1, "t", None).await.unwrap());
    let other = Arc::new(epoch_adapter_sqlite::SqliteAdapter::open("shop", &db.path()).unwrap());
    let install = |adapter: Arc<epoch_adapter_sqlite::SqliteAdapter>| {
        let t = Arc::clone(&t);
        tokio::spawn(async move { adapter.install(&t).await })
    };
    let (a, b, c) = (install(other.clone()), install(other.clone()), install(other));
    db.adapter.install(&t).await.unwrap();
    for task in [a, b, c] {
        task.await.unwrap().unwrap();
    }
    db.run("UPDATE t SET n = 1");
    assert_eq!(db.seal(&[t], Layer::MAIN, 1).await.tables[0].1.modified, 2);
}
