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

/// What a transaction changes first of a table is noted without a look for what is noted: that nothing was goes back with a
/// savepoint, as the notes do. Of each key there is one image, that of the row before the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn first_images_of_a_branch_go_with_savepoints() {
    let Some(db) = database().await else { return };
    let table = five(&db).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    write(&db, &table, BRANCH, &[insert("10", "v10"), insert("11", "v11"), insert("12", "v12")]).await;
    let client = db.client().await;
    let transaction = "SET epoch.lineage = '7'; SET epoch.base = '0'; BEGIN; SAVEPOINT s;
        UPDATE epoch_public.t SET v = 'lost' WHERE id = 10; ROLLBACK TO s;
        UPDATE epoch_public.t SET v = 'a' WHERE id = 10; UPDATE epoch_public.t SET v = 'b' WHERE id IN (10, 11);
        SAVEPOINT s; DELETE FROM epoch_public.t WHERE id = 12; ROLLBACK TO s;
        DELETE FROM epoch_public.t WHERE id = 12; INSERT INTO epoch_public.t VALUES (12, 'again'), (14, 'new');
        UPDATE epoch_public.t SET id = 13 WHERE id = 11; UPDATE epoch_public.t SET v = 'c' WHERE id = 13; COMMIT";
    for statement in transaction.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    let images = "SELECT format('%s %s %s', id, epoch_existed, v) FROM epoch.history_1 WHERE epoch_lineage = 7 \
        AND epoch_xid = (SELECT epoch_xid FROM epoch.history_1 WHERE epoch_xid IS NOT NULL ORDER BY 1 DESC LIMIT 1) ORDER BY id";
    let images: Vec<String> = client.query(images, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(images, ["10 t v10", "11 t v11", "12 t v12", "13 f ", "14 f "]);
    db.drop().await;
}

/// Of many rows the least and the greatest key are looked for first; what lies between is found.
#[tokio::test(flavor = "multi_thread")]
async fn many_rows_meet_the_keys_of_main_between_theirs() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (a int, b uuid, e text UNIQUE, PRIMARY KEY (a, b));
             INSERT INTO t SELECT g, md5(g::text)::uuid, 'e' || g FROM generate_series(1000, 1009) g",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    client.batch_execute("SET epoch.lineage = '7'; SET epoch.base = '0'").await.unwrap();
    let insert = |from: i32, email: &str| {
        format!(
            "INSERT INTO epoch_public.t SELECT g, md5(g::text)::uuid, '{email}' || g \
             FROM generate_series({from}, {}) g",
            from + 199
        )
    };
    client.batch_execute(&insert(0, "e")).await.unwrap();
    client.batch_execute(&insert(2000, "e")).await.unwrap();
    for (from, email, constraint) in [(810, "x", "t_pkey"), (1009, "x", "t_pkey"), (900, "x", "t_pkey")] {
        let error = client.batch_execute(&insert(from, email)).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.constraint()), ("23505", Some(constraint)), "{from}");
    }
    let same_text = "INSERT INTO epoch_public.t SELECT g + 5000, md5(g::text)::uuid, 'e' || g FROM generate_series(900, 1050) g";
    let error = client.batch_execute(same_text).await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().constraint(), Some("t_e_key"));
    // What main had is told by its history.
    client.batch_execute("RESET epoch.lineage; DELETE FROM t WHERE a = 1005").await.unwrap();
    client.batch_execute("SET epoch.lineage = '7'").await.unwrap();
    let error = client.batch_execute(&insert(1005, "y")).await.unwrap_err();
    assert!(error.as_db_error().unwrap().detail().unwrap().contains("(1005, "), "{error:?}");
    db.drop().await;
}

/// The server reads the condition of a trigger anew for each statement, and puts the text of a function in SQL in the place of its
/// call: 20 µs for each `text || number`.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_triggers_call_nothing_that_is_written_in_sql() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute("CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT")
        .await
        .unwrap();
    five(&db).await;
    db.register("p", 2).await;
    let operators = "SELECT t.tgname || ': ' || o.oid::regoperator FROM pg_trigger t \
        CROSS JOIN regexp_matches(t.tgqual::text, ':(?:opfuncid|funcid) ([0-9]+)', 'g') f \
        JOIN pg_proc p ON p.oid = f[1]::oid JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'sql' \
        LEFT JOIN pg_operator o ON o.oprcode = p.oid WHERE t.tgname LIKE 'zz_epoch%'";
    let found = client.query(operators, &[]).await.unwrap();
    assert!(
        found.is_empty(),
        "{:?}",
        found.iter().map(|row| row.get::<_, Option<String>>(0)).collect::<Vec<_>>()
    );
    let seen =
        client.query("SELECT FROM pg_trigger WHERE tgname LIKE 'zz_epoch%' AND tgqual IS NOT NULL", &[]);
    assert!(seen.await.unwrap().len() > 15);
    db.drop().await;
}
