//! A process that dies in the middle of a seal leaves all of it or nothing.
#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::process::Command;
use std::time::Duration;

use common::*;
use epoch_adapter::{Adapter, Layer, RowChange, SealMode, TableChanges, View};

const FILE: &str = "EPOCH_TEST_KILL_FILE";
const ROWS: i64 = 20_000;

fn changes() -> Vec<RowChange> {
    (1..=ROWS)
        .map(|id| RowChange {
            key: vec![int(id)],
            before: Some(vec![int(id), int(0)]),
            after: (id % 3 != 0).then(|| vec![int(id), int(id)]),
        })
        .collect()
}

/// The child: seals, says when it is about to and when it is done.
#[tokio::test]
async fn child() {
    let Ok(path) = std::env::var(FILE) else { return };
    let adapter = epoch_adapter_sqlite::SqliteAdapter::open("shop", std::path::Path::new(&path)).unwrap();
    let location: epoch_adapter::Location = "sqlite://shop/t".parse().unwrap();
    let schema = adapter.describe(&location, None).await.unwrap();
    let table = std::sync::Arc::new(epoch_adapter::TableDef::new(
        epoch_adapter::TableId(1),
        epoch_adapter::TableName::public("t"),
        location,
        schema,
    ));
    let changes = [TableChanges { table: table.clone(), changes: changes(), arrival: None }];
    println!("\nready");
    adapter.seal("op", &[table], Layer::MAIN, 1, &changes, SealMode::All).await.unwrap();
    println!("\nsealed");
    std::process::abort();
}

/// Kills the child `after` it got ready; whether it had said that it was done.
fn run_child(db: &Db, after: Duration) -> bool {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(FILE, db.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|l| l.unwrap() == "ready"));
    let id = child.id();
    // The moment of death is what this test is about.
    let killer = std::thread::spawn(move || {
        std::thread::sleep(after);
        Command::new("kill").args(["-9", &id.to_string()]).status().unwrap();
    });
    let sealed = lines.any(|l| l.is_ok_and(|l| l == "sealed"));
    killer.join().unwrap();
    child.wait().unwrap();
    sealed
}

#[tokio::test(flavor = "multi_thread")]
async fn all_or_nothing() {
    let (mut before, mut after) = (0, 0);
    let mut wait = Duration::from_millis(15);
    while wait < Duration::from_secs(60) && (before < 4 || after < 1) {
        let db = Db::new(&format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, x INT);
             WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {ROWS}) INSERT INTO t SELECT i, 0 FROM s"
        ));
        let table = db.register(1, "t").await;
        let said = run_child(&db, wait);
        let adapter = epoch_adapter_sqlite::SqliteAdapter::open("shop", &db.path()).unwrap();
        let done = adapter.sealed("op").await.unwrap();
        let rows = db.rows(&table, View::MAIN).await;
        let pending = adapter.pending(&[table.clone()], Layer::MAIN).await.unwrap();
        assert!(pending.is_empty());
        assert_eq!(db.rows(&table, main_at(0)).await.len() as i64, ROWS);
        match done {
            Some(done) => {
                after += 1;
                assert_eq!(done.tables[0].1.rows(), ROWS);
                assert_eq!(rows.len() as i64, ROWS - ROWS / 3);
                assert_eq!(rows[0], [int(1), int(1)]);
            }
            None => {
                before += 1;
                assert!(!said, "an acknowledged seal is lost");
                assert!(rows.len() as i64 == ROWS && rows.iter().all(|r| r[1] == int(0)));
            }
        }
        // The operation can be repeated (or is known to be done).
        let changes = [TableChanges { table: table.clone(), changes: changes(), arrival: None }];
        let again =
            adapter.seal("op", &[table.clone()], Layer::MAIN, 1, &changes, SealMode::All).await.unwrap();
        assert_eq!(again.tables[0].1.rows(), ROWS);
        wait = wait.mul_f64(2.0);
    }
    println!("{before} deaths before the commit, {after} after it");
    assert!(before > 0 && after > 0);
}
