//! Branches: isolation, writes by key, layers of layers, diffs across lineages.

use std::sync::Arc;

use epoch_adapter::*;

use crate::capture::expected;
use crate::harness::*;

const NESTED: Layer = Layer { lineage: LineageId(8), base: 0 };

async fn write(db: &Db, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> u64 {
    let mut tx = db.adapter.begin().await.unwrap();
    let affected = tx.write(table, layer, writes).await.unwrap();
    tx.commit().await.unwrap();
    affected
}

fn update(key: &str, value: &str) -> RowWrite {
    RowWrite::Update { key: row(&[key]), set: vec![(1, text(value))] }
}

fn insert(key: &str, value: &str) -> RowWrite {
    RowWrite::Insert(vec![Some(text(key)), Some(text(value))])
}

fn delete(key: &str) -> RowWrite {
    RowWrite::Delete { key: row(&[key]) }
}

async fn five(db: &Db) -> Arc<TableDef> {
    let client = db.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 5) i")
        .await
        .unwrap();
    db.register("t", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_keeps_its_fork_whatever_main_does() {
    let Some(db) = database().await else { return };
    let table = five(&db).await;
    let tables = [Arc::clone(&table)];
    let client = db.client().await;
    let fork = db.rows(&table, View::MAIN).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    assert_eq!(db.rows(&table, working(BRANCH)).await, fork);
    let affected = write(
        &db,
        &table,
        BRANCH,
        &[update("1", "b1"), delete("2"), delete("77"), insert("9", "b9"), update("78", "no")],
    )
    .await;
    assert_eq!(affected, 3);
    let mut branch = fork.clone();
    branch.insert(row(&["1"]), row(&["1", "b1"]));
    branch.remove(&row(&["2"]));
    branch.insert(row(&["9"]), row(&["9", "b9"]));
    assert_eq!(db.rows(&table, working(BRANCH)).await, branch);
    assert_eq!(db.rows(&table, View::MAIN).await, fork, "main is untouched");
    client.batch_execute("UPDATE t SET v = 'main' WHERE id IN (1, 3); DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (9, 'main'), (10, 'main')").await.unwrap();
    assert_eq!(db.rows(&table, working(BRANCH)).await, branch, "with main's changes pending");
    db.seal(&tables, Layer::MAIN, 1).await;
    assert_eq!(db.rows(&table, working(BRANCH)).await, branch, "with main's changes committed");
    assert_eq!(db.rows(&table, at(BRANCH, 0)).await, fork);
    let stats = db.seal(&tables, BRANCH, 1).await.tables[0].1;
    assert_eq!(stats, TableStats { added: 1, modified: 1, removed: 1, cells: 0 });
    write(&db, &table, BRANCH, &[delete("1"), insert("2", "again"), update("3", "b3")]).await;
    assert_eq!(db.rows(&table, at(BRANCH, 1)).await, branch);
    assert_eq!(db.rows(&table, at(BRANCH, 0)).await, fork);
    let now = db.rows(&table, working(BRANCH)).await;
    let working_diff = db.diff(&table, at(BRANCH, 1), working(BRANCH), &[segment(7, 1, At::Working)]).await;
    assert_eq!(working_diff, expected(&branch, &now));
    // Across lineages: main as it stands against the branch.
    let main = db.rows(&table, View::MAIN).await;
    let segments = [segment(1, 0, At::Working), segment(7, 0, At::Working)];
    let across = db.diff(&table, View::MAIN, working(BRANCH), &segments).await;
    assert_eq!(across, expected(&main, &now));
    let stat = db.adapter.diff_stat(&table, &View::MAIN, &working(BRANCH), &segments).await.unwrap();
    assert_eq!(stat.rows(), across.len() as i64);
    assert_eq!(stat.cells, stat.modified, "each modified row differs in one column");
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nested_branch_starts_from_its_parent_as_of_the_fork() {
    let Some(db) = database().await else { return };
    let table = five(&db).await;
    let tables = [Arc::clone(&table)];
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    write(&db, &table, BRANCH, &[update("1", "b1"), delete("2"), insert("9", "b9")]).await;
    db.seal(&tables, BRANCH, 1).await;
    let fork = db.rows(&table, at(BRANCH, 1)).await;
    // The parent goes on before the child's first write.
    write(
        &db,
        &table,
        BRANCH,
        &[update("1", "later"), update("3", "later"), insert("2", "later"), delete("9")],
    )
    .await;
    let parent = db.rows(&table, working(BRANCH)).await;
    let view = at(BRANCH, 1);
    let (a, b) = tokio::join!(
        db.adapter.ensure_layer(&table, NESTED, Some(&view)),
        db.adapter.ensure_layer(&table, NESTED, Some(&view))
    );
    a.and(b).unwrap();
    assert_eq!(db.rows(&table, working(NESTED)).await, fork);
    assert_eq!(db.adapter.pending(&tables, NESTED).await.unwrap(), vec![]);
    write(&db, &table, NESTED, &[update("1", "n1"), update("4", "n4"), delete("9"), delete("3")]).await;
    let nested = db.rows(&table, working(NESTED)).await;
    assert_eq!(nested[&row(&["1"])], row(&["1", "n1"]));
    assert_eq!(db.rows(&table, working(BRANCH)).await, parent);
    assert_eq!(db.rows(&table, at(NESTED, 0)).await, fork);
    // The path from the parent's head to the child leads over the fork.
    let segments = [segment(7, 1, At::Working), segment(8, 0, At::Working)];
    let diff = db.diff(&table, working(BRANCH), working(NESTED), &segments).await;
    assert_eq!(diff, expected(&parent, &nested));
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_applied_to_a_branch() {
    let Some(db) = database().await else { return };
    let table = five(&db).await;
    let tables = [Arc::clone(&table)];
    let client = db.client().await;
    client.batch_execute("UPDATE t SET v = 'main' WHERE id = 1").await.unwrap();
    let changes = |before: &str| {
        [TableChanges {
            table: Arc::clone(&table),
            changes: vec![
                RowChange {
                    key: row(&["1"]),
                    before: Some(row(&["1", before])),
                    after: Some(row(&["1", "new"])),
                },
                RowChange { key: row(&["2"]), before: Some(row(&["2", "v2"])), after: None },
                RowChange { key: row(&["6"]), before: None, after: Some(row(&["6", "v6"])) },
            ],
            arrival: None,
        }]
    };
    let stale = db.adapter.seal("s", &tables, BRANCH, 1, &changes("main"), SealMode::All).await.unwrap_err();
    assert_eq!(stale.code(), "40001", "the branch shows the fork");
    let sealed = db.adapter.seal("s", &tables, BRANCH, 1, &changes("v1"), SealMode::All).await.unwrap();
    assert_eq!(sealed.tables[0].1, TableStats { added: 1, modified: 1, removed: 1, cells: 0 });
    let rows = db.rows(&table, at(BRANCH, 1)).await;
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[&row(&["1"])], row(&["1", "new"]));
    // An insert of a key that the branch sees below is no insert.
    let hidden = [TableChanges {
        table: Arc::clone(&table),
        changes: vec![RowChange { key: row(&["3"]), before: None, after: Some(row(&["3", "x"])) }],
        arrival: None,
    }];
    let error = db.adapter.seal("h", &tables, BRANCH, 2, &hidden, SealMode::All).await.unwrap_err();
    assert_eq!(error.code(), "40001");
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sees_its_writes_and_rolls_back() {
    let Some(db) = database().await else { return };
    let table = five(&db).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&table, BRANCH, &[update("1", "kept")]).await.unwrap();
    tx.savepoint("a\"b").await.unwrap();
    let error = tx.write(&table, BRANCH, &[insert("2", "dup")]).await.unwrap_err();
    assert_eq!((error.code(), error.constraint(), error.schema()), ("23505", Some("t_pkey"), Some("public")));
    assert_eq!(error.detail(), Some("Key (id)=(2) already exists."));
    tx.rollback_to("a\"b").await.unwrap();
    tx.release("a\"b").await.unwrap();
    let batches: Vec<_> = {
        use futures::TryStreamExt;
        tx.scan(&table, &working(BRANCH), &Scan { limit: Some(100), ..Scan::default() })
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap()
    };
    assert_eq!(batches.iter().map(|b: &arrow::record_batch::RecordBatch| b.num_rows()).sum::<usize>(), 5);
    tx.commit().await.unwrap();
    assert_eq!(db.rows(&table, working(BRANCH)).await[&row(&["1"])], row(&["1", "kept"]));
    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&table, BRANCH, &[delete("1")]).await.unwrap();
    drop(tx);
    assert_eq!(db.rows(&table, working(BRANCH)).await.len(), 5);
    // A failed transaction doesn't commit.
    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&table, Layer::MAIN, &[delete("1")]).await.unwrap();
    tx.write(&table, Layer::MAIN, &[insert("2", "dup")]).await.unwrap_err();
    assert_eq!(tx.commit().await.unwrap_err().code(), "25P02");
    assert_eq!(db.rows(&table, View::MAIN).await.len(), 5);
    db.drop().await;
}
