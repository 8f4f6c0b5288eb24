//! A process that dies while it seals two of main's tables leaves all of it or nothing, wherever it dies.

use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::common::*;
use epoch_adapter::{Adapter, Layer, RowChange, SealMode, TableChanges, TableDef};
use epoch_adapter_delta::DeltaAdapter;

const FOLDER: &str = "EPOCH_TEST_KILL_FOLDER";
const DDL: &str = "id long not null, n integer | key: id";

async fn defined(adapter: &DeltaAdapter, id: i64, path: &str) -> Arc<TableDef> {
    let location: epoch_adapter::Location = format!("local://lake/{path}").parse().unwrap();
    let schema = adapter.describe(&location, Some(&["id".to_owned()])).await.unwrap();
    let name = epoch_adapter::TableName::public(path);
    Arc::new(TableDef::new(epoch_adapter::TableId(id), name, location, schema))
}

async fn seal(adapter: &DeltaAdapter) -> epoch_adapter::Result<epoch_adapter::Sealed> {
    let tables = [defined(adapter, 1, "t").await, defined(adapter, 2, "u").await];
    let row = vec![int(1), int(1)];
    let change = RowChange { key: vec![int(1)], before: None, after: Some(row) };
    let changes = tables.each_ref().map(|table| TableChanges {
        table: Arc::clone(table),
        changes: vec![change.clone()],
        arrival: None,
    });
    adapter.seal("op", &tables, Layer::MAIN, 1, &changes, SealMode::Own).await
}

/// The child: dies where it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let adapter = DeltaAdapter::local("lake", std::path::Path::new(&folder)).unwrap();
    adapter.belong_to("tests");
    seal(&adapter).await.unwrap();
    unreachable!("it should have died");
}

/// `place`: before the first commit, after it, or when all is noted. `commits`: how many there are then of each table.
async fn died(db: &Db, place: &str, commits: (usize, usize)) {
    db.create("u", DDL).await;
    for (id, path) in [(1, "t"), (2, "u")] {
        db.adapter.install(&*defined(&db.adapter, id, path).await).await.unwrap();
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact"])
        .env(FOLDER, db.folder.path())
        .env("EPOCH_FAILPOINT", place)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    let rows = async |path: &str| db.foreign(path).await.snapshot().unwrap().log_data().num_files();
    assert_eq!((rows("t").await, rows("u").await), commits, "it died elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_next_finishes_it() {
    for (place, commits) in [("delta-intended", (0, 0)), ("delta-applied", (1, 0)), ("delta-sealed", (1, 1))]
    {
        let db = Db::new(DDL).await;
        died(&db, place, commits).await;
        let sealed = db.adapter.sealed("op").await.unwrap().unwrap();
        assert_eq!(sealed.tables.len(), 2);
        for (id, path) in [(1, "t"), (2, "u")] {
            let table = defined(&db.adapter, id, path).await;
            assert_eq!(db.rows(&table, main_at(1)).await, [[int(1), int(1)]]);
            assert_eq!(db.rows(&table, main_at(0)).await.len(), 0);
        }
        assert_eq!(seal(&db.adapter).await.unwrap(), sealed);
        assert_eq!(db.foreign("t").await.version(), Some(1));
        assert_eq!(db.foreign("u").await.version(), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_finished_is_taken_back() {
    let db = Db::new(DDL).await;
    died(&db, "delta-applied", (1, 0)).await;
    // The second table isn't any more as the operation found it.
    let u = defined(&db.adapter, 2, "u").await;
    db.write(&u, Layer::MAIN, &[insert(vec![int(1), int(7)])]).await.unwrap();
    assert_eq!(db.adapter.sealed("op").await.unwrap(), None);
    let t = defined(&db.adapter, 1, "t").await;
    assert_eq!(db.rows(&t, working(Layer::MAIN)).await.len(), 0);
    assert!(db.adapter.pending(&[t], Layer::MAIN).await.unwrap().is_empty());
    assert_eq!(error(seal(&db.adapter).await).code(), "40001");
}
