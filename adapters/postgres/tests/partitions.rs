//! Partitioned tables: one logical table, whichever of its relations a statement names, and whenever
//! its partitions came.

use std::collections::BTreeMap;

use epoch_adapter::*;
use futures::SinkExt;

use crate::capture::settle;
use crate::harness::*;

/// Several levels, a default partition, and partitions with other column orders and dropped columns.
const LIST: &str = "CREATE TABLE t (id int, p int, v text, n int DEFAULT 0, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
    CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
    CREATE TABLE t2 (gone int, n int, v text, p int NOT NULL, id int NOT NULL); ALTER TABLE t2 DROP gone;
    ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2);
    CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3, 4) PARTITION BY HASH (id);
    CREATE TABLE t3a PARTITION OF t3 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE t3b (v text, n int, id int NOT NULL, p int NOT NULL); ALTER TABLE t3 ATTACH PARTITION t3b FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE td PARTITION OF t DEFAULT;
    INSERT INTO t SELECT i, i % 6, 'v' || i, i FROM generate_series(1, 18) i";
const RANGE: &str =
    "CREATE TABLE t (id int, p int, v text, n int, PRIMARY KEY (p, id)) PARTITION BY RANGE (p, id);
    CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE, MINVALUE) TO (3, 0);
    CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (3, 0) TO (MAXVALUE, MAXVALUE);
    INSERT INTO t SELECT i, i % 6, 'v' || i, i FROM generate_series(1, 18) i";

/// Registers, runs `script` and checks as `capture` does. What came with new partitions is looked for
/// first, as before every use on a branch.
async fn check(setup: &str, script: &str) {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(setup).await.unwrap();
    let table = db.register("t", 1).await;
    let before = db.rows(&table, View::MAIN).await;
    client.batch_execute(script).await.unwrap_or_else(|e| panic!("{script}: {e:?}"));
    assert_eq!(db.adapter.drift(std::slice::from_ref(&table)).await.unwrap(), vec![], "{script}");
    settle(&db, &table, &before, script).await;
    db.adapter.uninstall(&table).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch%') + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zz_epoch%')";
    assert_eq!(one(&client, left).await, "0");
    db.drop().await;
}

macro_rules! captured {
    ($($name:ident: $setup:expr, $script:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check($setup, $script).await;
        }
    )*};
}

captured! {
    by_the_name_of_the_table: LIST, "INSERT INTO t VALUES (30, 1), (31, 2), (32, 3), (33, 77); UPDATE t SET v = 'x' WHERE id < 7; DELETE FROM t WHERE id > 12 AND id < 20";
    by_the_names_of_partitions: LIST, "INSERT INTO t2 (id, p, v) VALUES (30, 2, 'n'); UPDATE t2 SET v = 'x'; DELETE FROM t3 WHERE id < 10; UPDATE t3b SET n = n + 1;
        INSERT INTO td (id, p) VALUES (40, 99); DELETE FROM td WHERE id = 5";
    rows_that_move: LIST, "UPDATE t SET p = p + 1; UPDATE t SET p = 1, v = 'home' WHERE id = 2";
    rows_that_move_there_and_back: LIST, "BEGIN; UPDATE t SET p = 2 WHERE id = 1; UPDATE t SET p = 1, v = 'back' WHERE id = 1; DELETE FROM t WHERE id = 2; COMMIT";
    rows_that_move_below_a_partition: LIST, "UPDATE t3 SET id = id + 100, v = 'm'; UPDATE t3 SET p = 7 - p";
    rows_that_move_over_ranges: RANGE, "UPDATE t SET p = 5 - p; UPDATE t SET p = 2, id = id + 50 WHERE id < 4; DELETE FROM t1 WHERE id = 7";
    two_partitions_in_one_statement: LIST, "WITH a AS (UPDATE t1 SET v = 'a' RETURNING id), b AS (DELETE FROM t2 RETURNING id) UPDATE t3 SET v = 'c' WHERE id > (SELECT count(*) FROM a)";
    deleted_from_one_partition_and_inserted_into_another: LIST, "WITH d AS (DELETE FROM t1 RETURNING *) INSERT INTO t SELECT id, 2, v, n FROM d";
    upsert_over_partitions: LIST, "INSERT INTO t VALUES (1, 1, 'clash'), (50, 1, 'new'), (3, 3, 'clash') ON CONFLICT (id, p) DO UPDATE SET v = excluded.v";
    truncate_of_all: LIST, "TRUNCATE t; INSERT INTO t VALUES (1, 1, 'again')";
    truncate_of_one: LIST, "BEGIN; UPDATE t SET v = 'x' WHERE id < 4; TRUNCATE t1; COMMIT; TRUNCATE t3; INSERT INTO t3 VALUES (3, 3, 'again', 0)";
    replica_role_on_partitions: LIST, "SET session_replication_role = replica; UPDATE t2 SET v = 'x'; DELETE FROM t WHERE id = 1; INSERT INTO t3a SELECT i, 4 FROM generate_series(20, 60) i WHERE satisfies_hash_partition('t3'::regclass, 2, 0, i); TRUNCATE t1; RESET session_replication_role";
    cascade_into_partitions: "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(0, 20);
        CREATE TABLE t (id int, p int, n int REFERENCES parent ON DELETE CASCADE ON UPDATE SET NULL, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
        CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0, 1); CREATE TABLE t2 PARTITION OF t DEFAULT;
        INSERT INTO t SELECT i, i % 4, i FROM generate_series(1, 12) i",
        "DELETE FROM parent WHERE id < 5; UPDATE parent SET id = id + 100 WHERE id IN (6, 7)";
    a_trigger_that_writes_another_partition: LIST, "CREATE FUNCTION push() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN UPDATE t SET n = n + 100 WHERE p = 2; RETURN NULL; END $$;
        CREATE TRIGGER push AFTER UPDATE OF v ON t1 FOR EACH STATEMENT EXECUTE FUNCTION push();
        BEGIN; UPDATE t1 SET v = 'x'; UPDATE t SET v = 'y' WHERE id = 2; COMMIT";
    partition_made_later: LIST, "CREATE TABLE t9 PARTITION OF t FOR VALUES IN (9); INSERT INTO t9 VALUES (30, 9, 'a'), (31, 9, 'b'), (32, 9, 'c'); UPDATE t9 SET v = 'z' WHERE id = 30;
        UPDATE t9 SET id = 40 WHERE id = 31; DELETE FROM t9 WHERE id = 32; INSERT INTO t VALUES (33, 9, 'd'), (1, 9, 'e'); UPDATE t SET p = 9 WHERE id = 2; UPDATE t SET p = 1 WHERE id = 33";
    partition_made_and_dropped: LIST, "CREATE TABLE t9 PARTITION OF t FOR VALUES IN (9); UPDATE t SET p = 9 WHERE id IN (1, 2); INSERT INTO t9 VALUES (30, 9); DROP TABLE t9";
    partition_attached_with_rows: LIST, "CREATE TABLE t9 (v text, id int NOT NULL, p int NOT NULL, n int); INSERT INTO t9 SELECT 'old', i, 9, i FROM generate_series(30, 40) i;
        ALTER TABLE t ATTACH PARTITION t9 FOR VALUES IN (9); UPDATE t9 SET v = 'direct' WHERE id = 30; UPDATE t SET v = 'above' WHERE id = 31; DELETE FROM t9 WHERE id = 32;
        DELETE FROM t WHERE id = 33; UPDATE t SET p = 1 WHERE id = 34; UPDATE t9 SET id = 99 WHERE id = 35";
    partition_attached_and_emptied: LIST, "CREATE TABLE t9 (LIKE t); INSERT INTO t9 SELECT i, 9 FROM generate_series(30, 40) i;
        ALTER TABLE t ATTACH PARTITION t9 FOR VALUES IN (9); INSERT INTO t9 VALUES (50, 9); TRUNCATE t9; INSERT INTO t9 VALUES (31, 9)";
    partitions_of_partitions_made_later: LIST, "CREATE TABLE t9 PARTITION OF t FOR VALUES IN (9, 10) PARTITION BY LIST (p); CREATE TABLE t9a PARTITION OF t9 FOR VALUES IN (9);
        INSERT INTO t9a VALUES (30, 9); INSERT INTO t9 VALUES (31, 9); CREATE TABLE t10 (LIKE t); INSERT INTO t10 VALUES (32, 10); ALTER TABLE t9 ATTACH PARTITION t10 FOR VALUES IN (10); UPDATE t10 SET v = 'x'";
}

/// The rows of a branch that forks at ordinal 0, and of main, after `script`.
async fn branch_and_main(db: &Db, table: &TableDef) -> [BTreeMap<Row, Row>; 2] {
    [db.rows(table, working(BRANCH)).await, db.rows(table, View::MAIN).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_of_a_partitioned_table_is_one_table() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(LIST).await.unwrap();
    let table = db.register("t", 1).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    let fork = db.rows(&table, View::MAIN).await;
    let mut tx = db.adapter.begin().await.unwrap();
    let set = |key: [&str; 2], column, value: &str| RowWrite::Update {
        key: row(&key),
        set: vec![(column, text(value))],
    };
    let writes =
        [set(["1", "1"], 2, "branch"), set(["2", "2"], 1, "5"), RowWrite::Delete { key: row(&["3", "3"]) }];
    assert_eq!(tx.write(&table, BRANCH, &writes).await.unwrap(), 3);
    let twice = RowWrite::Insert(["4", "4", "x", "0"].map(|v| Some(text(v))).to_vec());
    assert_eq!(tx.savepoint("s").await, Ok(()));
    let error = tx.write(&table, BRANCH, &[twice]).await.unwrap_err();
    assert_eq!((error.code(), error.detail()), ("23505", Some("Key (id, p)=(4, 4) already exists.")));
    tx.rollback_to("s").await.unwrap();
    tx.commit().await.unwrap();
    client
        .batch_execute("UPDATE t2 SET v = 'main'; TRUNCATE t3; UPDATE t SET p = 2 WHERE id = 7")
        .await
        .unwrap();
    let [branch, main] = branch_and_main(&db, &table).await;
    let mut expected = fork.clone();
    expected.insert(row(&["1", "1"]), row(&["1", "1", "branch", "1"]));
    expected.remove(&row(&["2", "2"]));
    expected.insert(row(&["2", "5"]), row(&["2", "5", "v2", "2"]));
    expected.remove(&row(&["3", "3"]));
    assert_eq!(branch, expected);
    assert_ne!(main, fork);
    // What the branch changed is applied to the table itself, rows that move included.
    db.seal(std::slice::from_ref(&table), BRANCH, 1).await;
    db.seal(std::slice::from_ref(&table), Layer::MAIN, 1).await;
    let changes = db.diff(&table, main_at(0), at(BRANCH, 1), &[segment(7, 0, At::Ordinal(1))]).await;
    let mine: Vec<_> =
        changes.into_iter().filter(|c| c.key != row(&["2", "2"]) && c.key != row(&["3", "3"])).collect();
    let merge = TableChanges { table: table.clone(), changes: mine, arrival: None };
    db.adapter
        .seal("merge", std::slice::from_ref(&table), Layer::MAIN, 2, &[merge], SealMode::Own)
        .await
        .unwrap();
    assert_eq!(
        one(&client, "SELECT tableoid::regclass || ' ' || v FROM t WHERE id = 2 AND p = 5").await,
        "td v2"
    );
    assert_eq!(one(&client, "SELECT v FROM t1 WHERE id = 1").await, "branch");
    db.drop().await;
}

/// Nobody looked for new partitions before the commit: it does so itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_adopts_partitions_first() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(LIST).await.unwrap();
    let table = db.register("t", 1).await;
    let before = db.rows(&table, View::MAIN).await;
    client
        .batch_execute(
            "CREATE TABLE t9 (LIKE t); INSERT INTO t9 VALUES (30, 9, 'old', 0), (31, 9, 'old', 0);
             ALTER TABLE t ATTACH PARTITION t9 FOR VALUES IN (9); UPDATE t9 SET v = 'new' WHERE id = 30; INSERT INTO t9 VALUES (32, 9, 'x', 0)",
        )
        .await
        .unwrap();
    let sealed = db.seal(std::slice::from_ref(&table), Layer::MAIN, 1).await;
    assert_eq!((sealed.tables[0].1.added, sealed.tables[0].1.rows()), (3, 3));
    assert_eq!(db.rows(&table, main_at(0)).await, before);
    // From now on it is as the others.
    let first = db.rows(&table, View::MAIN).await;
    client.batch_execute("UPDATE t9 SET v = 'later'; TRUNCATE t9").await.unwrap();
    assert_eq!(db.rows(&table, main_at(1)).await, first);
    let enabled = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 't9'::regclass AND tgname = 'zz_epoch_fresh' AND tgenabled = 'D'";
    assert_eq!(one(&client, enabled).await, "1");
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_into_partitions() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(LIST).await.unwrap();
    let table = db.register("t", 1).await;
    let before = db.rows(&table, View::MAIN).await;
    client.batch_execute("SET session_replication_role = replica").await.unwrap();
    for (target, data) in
        [("t (id, p)", "50\t1\n51\t3\n52\t88\n"), ("t2 (id, p)", "60\t2\n"), ("t3 (id, p)", "61\t4\n")]
    {
        let sink = client.copy_in(&format!("COPY {target} FROM STDIN")).await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(bytes::Bytes::from(data)).await.unwrap();
        sink.finish().await.unwrap();
    }
    settle(&db, &table, &before, "COPY").await;
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_moves_rows_between_partitions() {
    let Some(db) = database().await else { return };
    let version: i32 = one(&db.client().await, "SHOW server_version_num").await.parse().unwrap();
    db.drop().await;
    if version < 150_000 {
        return;
    }
    check(
        LIST,
        "MERGE INTO t USING (VALUES (1, 1), (2, 2), (70, 7)) s (id, x) ON t.id = s.id
         WHEN MATCHED AND s.x = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET p = 4, v = 'merged'
         WHEN NOT MATCHED THEN INSERT VALUES (s.id, 3, 'new', s.x);
         MERGE INTO t USING (VALUES (9)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET p = 1;
         MERGE INTO t USING (VALUES (10)) s (id) ON t.id = s.id WHEN MATCHED AND t.p = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET p = 2;
         MERGE INTO t USING (VALUES (11)) s (id) ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (0, 0) WHEN MATCHED THEN UPDATE SET p = 4;
         MERGE INTO t3 USING (VALUES (3), (4)) s (id) ON t3.id = s.id WHEN MATCHED THEN UPDATE SET id = 200 + s.id",
    )
    .await;
}

/// The guard is on every partition too: what a statement of a branch calls can't write past it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_on_a_branch_writes_to_no_partition() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(LIST).await.unwrap();
    let table = db.register("t", 1).await;
    client.batch_execute("CREATE TABLE t9 PARTITION OF t FOR VALUES IN (9)").await.unwrap();
    db.adapter.drift(&[table]).await.unwrap();
    // One that nobody has looked at yet.
    client
        .batch_execute("CREATE TABLE t10 PARTITION OF t FOR VALUES IN (10); SET epoch.lineage = '7'")
        .await
        .unwrap();
    for sql in [
        "DELETE FROM t",
        "DELETE FROM t1",
        "UPDATE t3 SET v = 'x'",
        "INSERT INTO t3a VALUES (1, 3)",
        "TRUNCATE t2",
        "INSERT INTO t9 VALUES (1, 9)",
        "INSERT INTO t10 VALUES (1, 10)",
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "0A000", "{sql}");
    }
    db.drop().await;
}
