//! What somebody does to a table past us is reported, and nothing is published over it.

use epoch_adapter::*;

use crate::harness::*;

/// Registers `t`, runs `script` as a client that knows nothing of us, and returns what is reported.
async fn drift(setup: &str, script: &str) -> Option<Vec<String>> {
    let db = database().await?;
    let client = db.client().await;
    client.batch_execute(setup).await.unwrap();
    let table = db.register("t", 1).await;
    assert_eq!(db.adapter.drift(std::slice::from_ref(&table)).await.unwrap(), vec![], "fresh");
    client.batch_execute(script).await.unwrap_or_else(|e| panic!("{script}: {e:?}"));
    let found = db.adapter.drift(std::slice::from_ref(&table)).await.unwrap();
    let seal = db.adapter.seal("op", std::slice::from_ref(&table), Layer::MAIN, 1, &[], SealMode::All).await;
    if found.is_empty() {
        seal.unwrap();
    } else {
        let error = seal.unwrap_err();
        assert_eq!(error.code(), "55000", "{script}: {error}");
        assert!(error.hint().is_some());
    }
    db.adapter.uninstall(&table).await.unwrap_or_else(|e| panic!("{script}: {e}"));
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch%') + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zz_epoch%')";
    assert_eq!(one(&client, left).await, "0", "{script}: something is left");
    db.drop().await;
    Some(found.into_iter().map(|(_, what)| what).collect())
}

const PLAIN: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v varchar(10), n int); INSERT INTO t VALUES (1, 'a', 1)";
const PARTS: &str = "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
    CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id); CREATE TABLE t2a PARTITION OF t2 DEFAULT; INSERT INTO t SELECT i, 'v' FROM generate_series(1, 15) i";

/// With a table for large values, which PLAIN has none of.
const WIDE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t VALUES (1, 'a', 1)";

macro_rules! reported {
    ($($name:ident: $setup:expr, $script:expr => $what:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            if let Some(found) = drift($setup, $script).await {
                assert_eq!(found, [$what]);
            }
        }
    )*};
}

reported! {
    all_triggers_disabled: PLAIN, "ALTER TABLE t DISABLE TRIGGER ALL" => "trigger zz_epoch_delete of public.t is disabled";
    // What was written in between nobody knows: ENABLE isn't ENABLE ALWAYS, so it stays reported.
    triggers_disabled_and_enabled_again: PLAIN, "ALTER TABLE t DISABLE TRIGGER ALL; UPDATE t SET v = 'unseen'; ALTER TABLE t ENABLE TRIGGER ALL" => "trigger zz_epoch_delete of public.t is disabled";
    one_trigger_disabled: PLAIN, "ALTER TABLE t DISABLE TRIGGER zz_epoch_truncate" => "trigger zz_epoch_truncate of public.t is disabled";
    a_trigger_dropped: PLAIN, "DROP TRIGGER zz_epoch_update ON t" => "trigger zz_epoch_update of public.t is missing";
    a_column_added: PLAIN, "ALTER TABLE t ADD extra text" => "column \"extra\" was added";
    a_column_dropped: PLAIN, "ALTER TABLE t DROP n" => "column \"n\" was dropped or renamed";
    a_column_renamed: PLAIN, "ALTER TABLE t RENAME v TO w" => "column \"v\" was dropped or renamed";
    a_column_retyped: PLAIN, "ALTER TABLE t ALTER n TYPE bigint" => "column \"n\" has the type bigint, no longer integer";
    a_column_widened: PLAIN, "ALTER TABLE t ALTER v TYPE varchar(20)" => "column \"v\" has the type character varying(20), no longer character varying(10)";
    a_key_that_is_none: PLAIN, "ALTER TABLE t DROP CONSTRAINT t_pkey" => "the key (id) is no longer unique";
    a_key_of_two_odd_columns: "CREATE TABLE t (\"a \"\"\\{,}\" int, b int, UNIQUE (b, \"a \"\"\\{,}\"), PRIMARY KEY (\"a \"\"\\{,}\", b))", "ALTER TABLE t ADD c int" => "column \"c\" was added";
    another_versions_layout: PLAIN, "COMMENT ON SCHEMA epoch IS 'Horizon Epoch: history of versioned tables, layout 0'" => "history has layout 0, this version works with layout 7";
    a_layout_from_before_they_had_numbers: PLAIN, "COMMENT ON SCHEMA epoch IS 'Horizon Epoch: history of versioned tables'; DROP TABLE epoch.partition" => "history has an older layout, this version works with layout 7";
    // Branches and commits showed what the columns were made.
    a_column_dropped_and_made_again: PLAIN, "ALTER TABLE t DROP n; ALTER TABLE t ADD n int" => "a column was dropped and made again, or has the name of another";
    columns_that_swapped_names: "CREATE TABLE t (id int PRIMARY KEY, x int, y int)", "ALTER TABLE t RENAME x TO z; ALTER TABLE t RENAME y TO x; ALTER TABLE t RENAME z TO y" => "a column was dropped and made again, or has the name of another";
    // Branches and commits showed the values that these gave main's rows.
    values_that_using_gave: WIDE, "ALTER TABLE t ALTER n TYPE int USING n * 3" => "its rows were written anew by a change of column \"n\"";
    values_that_using_gave_a_narrow_table: PLAIN, "ALTER TABLE t ALTER n TYPE int USING n * 3" => "its rows were written anew by a change of column \"n\"";
    a_narrower_type_and_back: PLAIN, "ALTER TABLE t ALTER n TYPE smallint USING n / 3; ALTER TABLE t ALTER n TYPE int" => "its rows were written anew by a change of column \"n\"";
    values_of_a_column_with_an_older_default: "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD n int DEFAULT 7", "ALTER TABLE t ALTER n TYPE int USING n * 3" => "its rows were written anew by a change of column \"n\"";
    values_that_partitions_were_given: PARTS, "ALTER TABLE t ALTER v TYPE text USING upper(v)" => "its rows were written anew by a change of column \"v\"";
    a_table_that_inherits_from_it: PLAIN, "CREATE TABLE child () INHERITS (t); INSERT INTO child VALUES (9, 'x', 9)" => "a table inherits from it";
    // Statements that name the other table wrote rows that nothing captured.
    a_table_that_inherits_now: PLAIN, "CREATE TABLE p (id int NOT NULL, v varchar(10), n int); ALTER TABLE t INHERIT p; UPDATE p SET n = 9" => "it became a part of public.p";
    a_table_that_is_a_partition_now: PLAIN, "CREATE TABLE p (id int NOT NULL, v varchar(10), n int) PARTITION BY RANGE (id); ALTER TABLE p ATTACH PARTITION t DEFAULT; UPDATE p SET n = 9" => "it became a part of public.p";
    partitions_that_are_partitions_now: PARTS, "CREATE TABLE p (id int NOT NULL, v text) PARTITION BY RANGE (id); ALTER TABLE p ATTACH PARTITION t DEFAULT; INSERT INTO p VALUES (19, 'z')" => "it became a part of public.p";
    // A crash of the server emptied what branches and commits show of main.
    an_unlogged_table: PLAIN, "ALTER TABLE t SET UNLOGGED" => "it became unlogged";
    an_unlogged_partition: PARTS, "ALTER TABLE t1 SET UNLOGGED" => "it became unlogged";
    // Owners that aren't superusers didn't see all rows.
    row_level_security_for_the_owner: PLAIN, "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY" => "it forces row level security on its owner";
    the_table_dropped: PLAIN, "DROP TABLE t" => "the table was dropped or renamed";
    the_table_renamed: PLAIN, "ALTER TABLE t RENAME TO u" => "the table was dropped or renamed";
    another_table_of_its_name: PLAIN, "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v varchar(10), n int)" => "trigger zz_epoch_delete of public.t is missing";
    a_partition_detached: PARTS, "ALTER TABLE t DETACH PARTITION t1" => "partition public.t1 was detached or dropped";
    a_partition_detached_and_written: PARTS, "ALTER TABLE t DETACH PARTITION t1; UPDATE t1 SET v = 'alone'; DELETE FROM t1 WHERE id = 2; TRUNCATE t1" => "partition public.t1 was detached or dropped";
    a_partition_that_was_away: PARTS, "ALTER TABLE t DETACH PARTITION t1; UPDATE t1 SET v = 'unseen'; ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (10)" => "partition public.t1 was detached or dropped";
    a_partition_dropped: PARTS, "DROP TABLE t1" => "partition public.t1 was detached or dropped";
    partitions_of_a_partition_gone: PARTS, "DROP TABLE t2" => "partition public.t2 was detached or dropped";
    triggers_of_a_partition_disabled: PARTS, "ALTER TABLE t1 DISABLE TRIGGER ALL" => "trigger zz_epoch_delete of public.t1 is disabled";
    a_trigger_of_a_partition_dropped: PARTS, "DROP TRIGGER zz_epoch_insert ON t2a" => "trigger zz_epoch_insert of public.t2a is missing";
}

/// What leaves the columns where they are is no change.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_come_back_to_their_names() {
    for script in [
        "ALTER TABLE t ADD q int; ALTER TABLE t DROP q",
        "ALTER TABLE t RENAME v TO w; ALTER TABLE t RENAME w TO v",
        "ALTER TABLE t ALTER n SET DEFAULT 5; VACUUM FULL t",
    ] {
        let statements = script.split("; ").collect::<Vec<_>>();
        let Some(db) = database().await else { return };
        let client = db.client().await;
        client
            .batch_execute(&format!("{PLAIN}; ALTER TABLE t ADD gone int; ALTER TABLE t DROP gone"))
            .await
            .unwrap();
        let table = db.register("t", 1).await;
        for statement in statements {
            client.batch_execute(statement).await.unwrap();
        }
        assert_eq!(db.adapter.drift(std::slice::from_ref(&table)).await.unwrap(), vec![], "{script}");
        db.drop().await;
    }
}

/// Registers what `setup` makes of table `{t}`, runs statements one by one, with a look after each or after all of them; whether
/// the rows count as written anew.
async fn rewritten(db: &Db, id: i64, setup: &str, statements: &str, each: bool) -> bool {
    let (client, name) = (db.client().await, format!("t{id}"));
    client
        .batch_execute(
            &setup.replace("TABLE t", &format!("TABLE {name}")).replace("INTO t", &format!("INTO {name}")),
        )
        .await
        .unwrap();
    let table = db.register(&name, id).await;
    let look = || async {
        let found = db.adapter.drift(std::slice::from_ref(&table)).await.unwrap();
        assert!(found.iter().all(|(_, why)| why.starts_with(REWRITTEN)), "{statements}: {found:?}");
        !found.is_empty()
    };
    let run = async |statement: &str| {
        let statement = statement.replace("{t}", &name);
        client.batch_execute(&statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
    };
    let mut is = look().await;
    for statement in statements.split(";; ") {
        run(statement).await;
        if each {
            is |= look().await;
        }
    }
    is |= look().await;
    if is {
        // Once somebody says that it was harmless, it goes on, and the next one is seen.
        db.adapter.accept(&table).await.unwrap();
        assert!(!look().await, "{statements}");
        run("VACUUM FULL {t}").await;
        assert!(!look().await, "{statements}");
        run("INSERT INTO {t} (id) VALUES (14)").await;
        run("ALTER TABLE {t} ALTER n TYPE int USING n + 1").await;
        assert!(look().await, "{statements}");
    }
    is
}

/// Maintenance by a timer, and migrations that leave the rows alone, must not lock anybody out.
#[tokio::test(flavor = "multi_thread")]
async fn what_moves_rows_without_changing_them_is_no_drift() {
    let Some(db) = database().await else { return };
    let mut id = 0;
    let older = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD n int DEFAULT 7";
    for statements in [
        "VACUUM FULL {t}",
        "CLUSTER {t} USING {t}_pkey",
        "TRUNCATE {t}",
        "REINDEX TABLE {t}",
        "ALTER TABLE {t} SET UNLOGGED;; ALTER TABLE {t} SET LOGGED",
        "ALTER TABLE {t} ALTER n SET DEFAULT 5;; VACUUM FULL {t}",
        "VACUUM FULL {t};; ALTER TABLE {t} ALTER n SET DEFAULT 5",
        "ALTER TABLE {t} ALTER n SET DEFAULT 5; UPDATE {t} SET n = 5; ALTER TABLE {t} ALTER n SET NOT NULL;; DELETE FROM {t};; VACUUM FULL {t}",
        "VACUUM FULL {t};; CREATE INDEX ON {t} (n); ALTER TABLE {t} ALTER n SET NOT NULL",
        "ALTER TABLE {t} ALTER n SET STATISTICS 7;; VACUUM FULL {t};; GRANT SELECT (n) ON {t} TO public;; CLUSTER {t} USING {t}_pkey",
        "ALTER TABLE {t} ALTER n TYPE int USING n",
    ] {
        for (setup, each) in [(PLAIN, false), (WIDE, false), (older, true)] {
            // Both write the rows anew, as their own: the default's value can't be told from another one.
            if setup == older && statements.contains("SET UNLOGGED") {
                continue;
            }
            id += 1;
            let is = rewritten(&db, id, setup, statements, each).await;
            assert!(!is, "{setup}: {statements} ({each})");
        }
    }
    db.drop().await;
}

/// Nobody looked between the change and what hid it.
#[tokio::test(flavor = "multi_thread")]
async fn what_gave_rows_values_is_seen_behind_maintenance() {
    let Some(db) = database().await else { return };
    let mut id = 0;
    for statements in [
        "ALTER TABLE {t} ALTER n TYPE int USING n * 3;; VACUUM FULL {t}",
        "ALTER TABLE {t} ALTER n TYPE int USING n * 3;; REINDEX TABLE {t}",
        "ALTER TABLE {t} ALTER n TYPE int USING n * 3;; CREATE INDEX ON {t} (n)",
        "VACUUM FULL {t};; ALTER TABLE {t} ALTER n TYPE int USING n * 3",
        "ALTER TABLE {t} ALTER n TYPE bigint;; ALTER TABLE {t} ALTER n TYPE int",
    ] {
        for setup in [PLAIN, WIDE] {
            id += 1;
            assert!(rewritten(&db, id, setup, statements, false).await, "{setup}: {statements}");
        }
    }
    db.drop().await;
}

/// Registered by a version that knew nothing of it; or in a database that was made from a dump.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_which_nothing_is_known_are_sound_and_known_from_then_on() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(PLAIN).await.unwrap();
    let table = db.register("t", 1).await;
    client
        .batch_execute("ALTER TABLE t ALTER n TYPE int USING n * 3; DROP TABLE epoch.written")
        .await
        .unwrap();
    let other = epoch_adapter_postgres::PostgresAdapter::connect("shop", &db.url, 2).unwrap();
    assert_eq!(other.drift(std::slice::from_ref(&table)).await.unwrap(), vec![]);
    assert_eq!(one(&client, "SELECT count(*) FROM epoch.written").await, "1");
    client.batch_execute("ALTER TABLE t ALTER n TYPE int USING n * 3").await.unwrap();
    assert_eq!(other.drift(std::slice::from_ref(&table)).await.unwrap().len(), 1);
    client.batch_execute("UPDATE epoch.written_by SET database = 1").await.unwrap();
    let moved = epoch_adapter_postgres::PostgresAdapter::connect("shop", &db.url, 2).unwrap();
    assert_eq!(moved.drift(&[table]).await.unwrap(), vec![]);
    drop((other, moved));
    db.drop().await;
}

/// A partition's writes after it left are its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_detached_partition_is_not_captured() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(PARTS).await.unwrap();
    db.register("t", 1).await;
    client.batch_execute("ALTER TABLE t DETACH PARTITION t1; UPDATE t1 SET v = 'x'; INSERT INTO t1 VALUES (99, 'y'); TRUNCATE t1").await.unwrap();
    assert_eq!(one(&client, "SELECT count(*) FROM epoch.history_1 WHERE epoch_lineage > 0").await, "0");
    db.drop().await;
}

/// Two tables: the one that drifted doesn't keep the other from being committed alone.
#[tokio::test(flavor = "multi_thread")]
async fn other_tables_are_committed() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(&format!("{PLAIN}; CREATE TABLE u (id int PRIMARY KEY)")).await.unwrap();
    let (t, u) = (db.register("t", 1).await, db.register("u", 2).await);
    client.batch_execute("ALTER TABLE t DISABLE TRIGGER ALL; INSERT INTO u VALUES (1)").await.unwrap();
    let both = db.adapter.seal("a", &[t.clone(), u.clone()], Layer::MAIN, 1, &[], SealMode::All).await;
    assert_eq!(both.unwrap_err().message(), "table \"t\" was changed in a way that branches cannot follow");
    let alone = db.adapter.seal("b", &[u], Layer::MAIN, 1, &[], SealMode::All).await.unwrap();
    assert_eq!(alone.tables.len(), 1);
    // A branch that holds nothing of it may be committed too.
    let branch = db.adapter.seal("c", &[t], BRANCH, 1, &[], SealMode::All).await.unwrap();
    assert_eq!(branch, Sealed::default());
    db.drop().await;
}

/// Logical replication applies rows without firing statement triggers.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_subscription_fills() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(PLAIN).await.unwrap();
    let table = db.register("t", 1).await;
    client
        .batch_execute(&format!(
            "SET allow_system_table_mods = on; CREATE SUBSCRIPTION {0} CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
             INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) SELECT oid, 't'::regclass, 'r' FROM pg_subscription WHERE subname = '{0}'",
            db.name
        ))
        .await
        .unwrap();
    let found = db.adapter.drift(std::slice::from_ref(&table)).await.unwrap();
    assert_eq!(found, vec![(table.id, "a subscription writes to it".to_owned())]);
    let reason = db.adapter.discover("t").await.unwrap()[0].reason.clone().unwrap();
    assert!(reason.contains("subscription"), "{reason}");
    client
        .batch_execute(&format!(
            "ALTER SUBSCRIPTION {0} SET (slot_name = NONE); DROP SUBSCRIPTION {0}",
            db.name
        ))
        .await
        .unwrap();
    assert_eq!(db.adapter.drift(&[table]).await.unwrap(), vec![]);
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_registered_beside_another_versions_tables() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    client
        .batch_execute("COMMENT ON SCHEMA epoch IS 'Horizon Epoch: history of versioned tables'")
        .await
        .unwrap();
    let location = Location { table: "u".to_owned(), ..table.location.clone() };
    let schema = db.adapter.describe(&location, None).await.unwrap();
    let other = TableDef {
        id: TableId(2),
        name: TableName::public("u"),
        location,
        schema,
        ..TableDef::clone(&table)
    };
    let error = db.adapter.install(&other).await.unwrap_err();
    assert_eq!(error.code(), "55000", "{error}");
    assert_eq!(error.detail(), Some("The history has an older layout, this version works with layout 7."));
    db.adapter.uninstall(&table).await.unwrap();
    db.adapter.install(&other).await.unwrap();
    db.drop().await;
}
