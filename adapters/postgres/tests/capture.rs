//! Whoever writes main, however: an older state stays as it was.

use std::collections::BTreeMap;

use epoch_adapter::*;
use futures::SinkExt;
use tokio_postgres::Client;

use crate::harness::*;

/// Runs `script` on a fresh table with 5 rows and checks that ordinal 0 still shows these, that the
/// commit after it shows what the table holds, and that the diff between them is right.
async fn check(setup: &str, script: &str) {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v text, p int);
             INSERT INTO t SELECT i, 'v' || i, NULL FROM generate_series(1, 5) i",
        )
        .await
        .unwrap();
    client.batch_execute(setup).await.unwrap();
    let table = db.register("t", 1).await;
    let before = db.rows(&table, View::MAIN).await;
    client.batch_execute(script).await.unwrap_or_else(|e| panic!("{script}: {e:?}"));
    settle(&db, &table, &before, script).await;
    db.drop().await;
}

pub async fn settle(db: &Db, table: &std::sync::Arc<TableDef>, before: &BTreeMap<Row, Row>, what: &str) {
    let after = db.rows(table, View::MAIN).await;
    assert_ne!(*before, after, "{what}: changes something");
    assert_eq!(db.rows(table, main_at(0)).await, *before, "{what}: ordinal 0 with pending changes");
    let pending = db.adapter.pending(std::slice::from_ref(table), Layer::MAIN).await.unwrap();
    let sealed = db.seal(std::slice::from_ref(table), Layer::MAIN, 1).await;
    assert_eq!(db.rows(table, main_at(0)).await, *before, "{what}: ordinal 0");
    assert_eq!(db.rows(table, main_at(1)).await, after, "{what}: ordinal 1");
    let diff = db.diff(table, main_at(0), main_at(1), &[segment(1, 0, At::Ordinal(1))]).await;
    assert_eq!(diff, expected(before, &after), "{what}: diff");
    let stats = sealed.tables[0].1;
    assert_eq!(pending, vec![(table.id, stats)], "{what}: pending");
    assert_eq!(stats.rows(), diff.len() as i64, "{what}: stats");
}

/// The difference of two copies.
pub fn expected(before: &BTreeMap<Row, Row>, after: &BTreeMap<Row, Row>) -> Vec<RowChange> {
    let number = |key: &Row| -> Vec<i64> {
        key.iter().map(|v| v.to_text().and_then(|t| t.parse().ok()).unwrap_or(0)).collect()
    };
    let mut keys: Vec<&Row> = before.keys().chain(after.keys()).collect();
    keys.sort_by_key(|k| (number(k), (*k).clone()));
    keys.dedup();
    keys.into_iter()
        .map(|k| RowChange { key: k.clone(), before: before.get(k).cloned(), after: after.get(k).cloned() })
        .filter(|c| c.before != c.after)
        .collect()
}

/// A table that refers to itself, with triggers before and after, for rows and statements, that write it again.
const TANGLED: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v int, p int REFERENCES t ON UPDATE CASCADE ON DELETE SET NULL, z text);
    INSERT INTO t SELECT i, i, NULL, 'z' FROM generate_series(1, 12) i; UPDATE t SET p = id / 2 WHERE id BETWEEN 2 AND 7;
    CREATE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF pg_trigger_depth() < 3 THEN
            IF TG_OP = 'UPDATE' AND NEW.id % 3 = 0 THEN UPDATE t SET v = v + 1000 WHERE id = NEW.id + 1; END IF;
            IF TG_OP = 'DELETE' AND OLD.id % 4 = 0 THEN INSERT INTO t (id, v) VALUES (OLD.id, -1) ON CONFLICT DO NOTHING; END IF;
            IF TG_OP = 'INSERT' AND NEW.id % 5 = 0 THEN DELETE FROM t WHERE id = NEW.id - 1; END IF;
        END IF;
        RETURN NULL; END $$;
    CREATE TRIGGER after_row AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION after_row();
    CREATE FUNCTION before_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF pg_trigger_depth() < 2 THEN
            IF TG_OP = 'UPDATE' AND NEW.id % 7 = 0 THEN DELETE FROM t WHERE id = NEW.id + 1; END IF;
            IF TG_OP = 'INSERT' AND NEW.id % 6 = 0 THEN UPDATE t SET z = left(z, 3) || 'b' WHERE id = NEW.id + 2; END IF;
        END IF;
        RETURN coalesce(NEW, OLD); END $$;
    CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION before_row();
    CREATE FUNCTION statement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF pg_trigger_depth() < 2 THEN UPDATE t SET z = left(z, 3) || 's' WHERE id = 5; END IF; RETURN NULL; END $$;
    CREATE TRIGGER after_statement AFTER DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION statement();
    CREATE TRIGGER before_statement BEFORE UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION statement();";

/// A pseudo-random number below `n`.
fn below(state: &mut u64, n: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % n
}

fn tangled_statement(state: &mut u64) -> String {
    let mut k = || below(state, 14) + 1;
    let (a, b, c, kind) = (k(), k(), k(), k());
    match kind {
        1 | 2 => format!("UPDATE t SET v = v + 1 WHERE id BETWEEN {a} AND {b}"),
        3 => format!("UPDATE t SET id = id + 20 WHERE id IN ({a}, {b}, {c})"),
        4 => format!("UPDATE t SET id = id - 20 WHERE id > {a} + 20"),
        5 => "UPDATE t SET id = -id".to_owned(),
        6 => format!("DELETE FROM t WHERE id IN ({a}, {b})"),
        7 => format!(
            "INSERT INTO t (id, v) VALUES ({a}, {b}) ON CONFLICT (id) DO UPDATE SET v = excluded.v + t.v, p = NULL"
        ),
        8 => format!(
            "INSERT INTO t (id, v) SELECT i, 0 FROM generate_series({a}, {b} + 6) i ON CONFLICT DO NOTHING"
        ),
        9 | 10 => format!("UPDATE t SET p = (SELECT max(id) FROM t WHERE id < {a}) WHERE id = {b}"),
        11 => format!(
            "WITH d AS (DELETE FROM t WHERE id = {a} RETURNING *) INSERT INTO t SELECT id, v + 100, NULL, z FROM d ON CONFLICT DO NOTHING"
        ),
        12 => format!(
            "WITH x AS (UPDATE t SET v = v + 1 WHERE id = {a}), y AS (UPDATE t SET v = v + 10 WHERE id = {b}) DELETE FROM t WHERE id = {c}"
        ),
        13 => format!(
            "DO $$ BEGIN UPDATE t SET v = 7 WHERE id = {a}; DELETE FROM t WHERE id = {b}; RAISE EXCEPTION 'x'; EXCEPTION WHEN raise_exception THEN UPDATE t SET v = 5 WHERE id = {c}; END $$"
        ),
        _ => format!("DELETE FROM t WHERE v > {a}"),
    }
}

/// Statements, cascades and triggers within each other, in transactions with savepoints: the first version of each row is
/// what older ordinals show.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_first_within_a_transaction() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(TANGLED).await.unwrap();
    let table = db.register("t", 1).await;
    let mut states = vec![db.rows(&table, View::MAIN).await];
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("EPOCH_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(seed);
    let mut state = seed;
    for ordinal in 1..=25 {
        let mut script = Vec::new();
        for _ in 0..6 {
            let mut block = vec!["BEGIN".to_owned()];
            for _ in 0..=below(&mut state, 4) {
                let end = if below(&mut state, 2) == 0 { "ROLLBACK TO s" } else { "RELEASE s" };
                block.extend(["SAVEPOINT s".to_owned(), tangled_statement(&mut state), end.to_owned()]);
                block.push(tangled_statement(&mut state));
            }
            block.push("COMMIT".to_owned());
            script.push(block);
        }
        for statement in script.concat() {
            // PostgreSQL refuses some; then the rest of the transaction is refused, too.
            let _ = client.batch_execute(&statement).await;
        }
        let shown = |s: usize| db.rows(&table, main_at(s as i64));
        for (s, rows) in states.iter().enumerate() {
            assert_eq!(shown(s).await, *rows, "seed {seed}, ordinal {s} before {ordinal}: {script:?}");
        }
        let now = db.rows(&table, View::MAIN).await;
        db.seal(std::slice::from_ref(&table), Layer::MAIN, ordinal).await;
        let last = states.len() - 1;
        assert_eq!(
            shown(last).await,
            states[last],
            "seed {seed}, ordinal {last} after {ordinal}: {script:?}"
        );
        let diff = db
            .diff(
                &table,
                main_at(ordinal - 1),
                main_at(ordinal),
                &[segment(1, ordinal - 1, At::Ordinal(ordinal))],
            )
            .await;
        assert_eq!(diff, expected(&states[last], &now), "seed {seed}, diff to {ordinal}: {script:?}");
        states.push(now);
    }
    assert!(states.windows(2).filter(|w| w[0] != w[1]).count() > 10, "seed {seed}: hardly anything changed");
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
    plain_writes: "", "INSERT INTO t VALUES (6, 'new', 1); UPDATE t SET v = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2";
    upsert: "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (id)",
        "INSERT INTO t VALUES (5, 'clash', 0), (6, 'new', 0) ON CONFLICT (id) DO UPDATE SET v = excluded.v";
    many_in_one_transaction: "", "BEGIN; UPDATE t SET v = 'a' WHERE id = 1; UPDATE t SET v = 'b' WHERE id = 1;
        DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'c', 2); INSERT INTO t VALUES (9, 'z', 0); DELETE FROM t WHERE id = 9;
        DELETE FROM t WHERE id = 3; COMMIT";
    savepoints: "", "BEGIN; SAVEPOINT s; UPDATE t SET v = 'lost' WHERE id = 1; ROLLBACK TO s; UPDATE t SET v = 'kept' WHERE id = 1;
        SAVEPOINT s2; DELETE FROM t WHERE id = 2; RELEASE s2; COMMIT";
    // Branches showed what the cascade had made of rows.
    a_cascade_and_a_trigger_that_writes_the_same_rows: "CREATE TABLE q (id int PRIMARY KEY); INSERT INTO q SELECT generate_series(1, 5); UPDATE t SET p = id;
        ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES q ON DELETE SET NULL ON UPDATE CASCADE;
        CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET v = v || '!' WHERE p IS NULL OR p > 4; RETURN NULL; END $$;
        CREATE TRIGGER noted AFTER UPDATE OR DELETE ON q FOR EACH ROW EXECUTE FUNCTION noted()",
        "DELETE FROM q WHERE id IN (2, 3); UPDATE q SET id = 40 WHERE id = 4";
    // They had a row too many, and a commit's diff called it modified.
    a_key_change_and_a_trigger_that_touches_the_row: "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET v = 'touched' WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER touch AFTER UPDATE ON t FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION touch()",
        "UPDATE t SET id = 100 WHERE id = 1";
    keys_that_their_own_table_follows: "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (id); UPDATE t SET p = id - 1 WHERE id > 1;
        ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES t ON UPDATE CASCADE ON DELETE SET NULL",
        "UPDATE t SET id = id + 10; DELETE FROM t WHERE id = 13";
    rows_that_a_transaction_changes_over_and_over: "", "BEGIN; UPDATE t SET v = 'a'; SAVEPOINT s; UPDATE t SET v = 'b'; RELEASE s; UPDATE t SET v = 'c', id = id + 1;
        DELETE FROM t WHERE id < 4; INSERT INTO t SELECT i, 'd', 0 FROM generate_series(1, 3) i; UPDATE t SET v = 'e'; COMMIT";
    key_change: "", "UPDATE t SET id = id + 10 WHERE id > 3";
    keys_that_move_up: "", "UPDATE t SET id = id + 1";
    keys_that_swap: "", "UPDATE t SET id = 3 - id WHERE id < 3";
    truncate: "", "TRUNCATE t; INSERT INTO t VALUES (2, 'again', 0)";
    write_then_truncate: "", "BEGIN; UPDATE t SET v = 'x' WHERE id = 1; INSERT INTO t VALUES (8, 'y', 0); TRUNCATE t; COMMIT";
    replica_role: "", "SET session_replication_role = replica; UPDATE t SET v = 'x' WHERE id < 3; DELETE FROM t WHERE id = 4;
        SET session_replication_role = origin";
    replica_role_truncate: "", "SET session_replication_role = replica; TRUNCATE t; INSERT INTO t VALUES (9, 'x', 0); RESET session_replication_role";
    in_a_function: "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ UPDATE t SET v = 'f' WHERE id = 1; DELETE FROM t WHERE id = 2 $$",
        "SELECT f()";
    delete_and_insert_in_one_statement: "", "WITH d AS (DELETE FROM t WHERE id < 3 RETURNING *) INSERT INTO t SELECT id + 10, v, 7 FROM d";
    cascade_from_an_unregistered_table: "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2), (3);
        UPDATE t SET p = id WHERE id < 4; ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE",
        "BEGIN; UPDATE t SET v = 'own' WHERE id = 1; DELETE FROM parent WHERE id < 3; UPDATE parent SET id = 33 WHERE id = 3; COMMIT";
    insert_then_cascade: "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
        ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES parent ON DELETE CASCADE",
        "BEGIN; INSERT INTO t VALUES (6, 'new', 1); DELETE FROM parent; UPDATE t SET v = 'x' WHERE id = 1; COMMIT";
    cascade_onto_itself: "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (id); UPDATE t SET p = 1 WHERE id > 1;
        ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES t (id) ON DELETE SET NULL", "DELETE FROM t WHERE id = 1";
    trigger_that_updates_the_row_again: "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN UPDATE t SET p = coalesce(p, 0) + 1 WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER again AFTER INSERT OR UPDATE ON t FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION again()",
        "BEGIN; UPDATE t SET v = 'x' WHERE id < 3; INSERT INTO t VALUES (6, 'y', 1); UPDATE t SET v = 'z' WHERE id IN (1, 6); COMMIT";
    trigger_that_puts_deleted_rows_back: "CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO t VALUES (OLD.id, 'back', 0); RETURN NULL; END $$;
        CREATE TRIGGER back AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION back()",
        "DELETE FROM t WHERE id < 4";
    trigger_on_another_table: "CREATE TABLE other (id int); CREATE FUNCTION push() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN UPDATE t SET v = v || '!' WHERE id <= 2; UPDATE t SET v = v || '?' WHERE id = 2; RETURN NULL; END $$;
        CREATE TRIGGER push AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION push()",
        "BEGIN; UPDATE t SET v = 'first' WHERE id = 1; INSERT INTO other VALUES (1); UPDATE t SET v = 'last' WHERE id = 2; COMMIT";
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_that_deletes_and_inserts_one_key() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    let version: i32 = one(&client, "SHOW server_version_num").await.parse().unwrap();
    db.drop().await;
    if version < 150_000 {
        return;
    }
    check(
        "",
        "MERGE INTO t USING (VALUES (1, 1), (2, 2), (7, 7)) s (id, x) ON t.id = s.id
         WHEN MATCHED AND s.x = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET v = 'merged'
         WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'new', s.x)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    create(&client).await;
    let table = db.register("t", 1).await;
    let before = db.rows(&table, View::MAIN).await;
    let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::from_static(b"6\tcopied\n7\t\\N\n")).await.unwrap();
    sink.finish().await.unwrap();
    settle(&db, &table, &before, "COPY").await;
    db.drop().await;
}

async fn create(client: &Client) {
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 5) i")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_on_our_schema_is_captured() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    create(&client).await;
    let table = db.register("t", 1).await;
    let before = db.rows(&table, View::MAIN).await;
    let role = format!("{}_writer", db.name);
    client
        .batch_execute(&format!(
            "CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {role}; SET ROLE {role}"
        ))
        .await
        .unwrap();
    client.batch_execute("UPDATE t SET v = 'x' WHERE id = 1; INSERT INTO t VALUES (6, 'y'); DELETE FROM t WHERE id = 2; UPDATE t SET id = 20 WHERE id = 3").await.unwrap();
    let denied = client.batch_execute("SELECT * FROM epoch.history_1").await.unwrap_err();
    assert_eq!(denied.code().unwrap().code(), "42501");
    settle(&db, &table, &before, "another role").await;
    client.batch_execute(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    db.drop().await;
}

/// Capture runs with the writer's search path: nothing of it is found there, whatever the writer has put before PostgreSQL's
/// own.
#[tokio::test]
async fn operators_and_functions_in_the_writers_search_path_are_not_called() {
    let mut setup = "CREATE SCHEMA evil; ".to_owned();
    let types = ["int2", "int4", "int8", "text", "xid8", "pg_lsn", "bool", "name", "\"char\""];
    for (a, left) in types.iter().enumerate() {
        for (b, right) in types.iter().enumerate() {
            let name = format!("evil.f{a}_{b}");
            setup += &format!(
                "CREATE FUNCTION {name}({left}, {right}) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE ''an operator of the user''; END'; "
            );
            for operator in ["=", "<>", "<", "<=", ">", ">="] {
                setup += &format!(
                    "CREATE OPERATOR evil.{operator} (FUNCTION = {name}, LEFTARG = {left}, RIGHTARG = {right}); "
                );
            }
            let name = format!("evil.v{a}_{b}");
            setup += &format!(
                "CREATE FUNCTION {name}({left}, {right}) RETURNS {left} LANGUAGE plpgsql AS 'BEGIN RAISE ''an operator of the user''; END'; "
            );
            for operator in ["||", "+", "-", "&", "|"] {
                setup += &format!(
                    "CREATE OPERATOR evil.{operator} (FUNCTION = {name}, LEFTARG = {left}, RIGHTARG = {right}); "
                );
            }
        }
    }
    let functions = [
        ("current_setting(text, bool)", "text"),
        ("current_setting(text)", "text"),
        ("set_config(text, text, bool)", "text"),
        ("split_part(text, text, int)", "text"),
        ("lower(text)", "text"),
        ("\"left\"(text, int)", "text"),
        ("concat(text, text)", "text"),
        ("concat(text, text, text)", "text"),
        ("concat(text, text, text, text, text, int)", "text"),
        ("concat(text, text, text, int)", "text"),
        ("pg_trigger_depth()", "int"),
        ("pg_current_xact_id()", "xid8"),
        ("pg_current_wal_insert_lsn()", "pg_lsn"),
        ("age(xid)", "int"),
    ];
    for (function, result) in functions {
        setup += &format!(
            "CREATE FUNCTION evil.{function} RETURNS {result} LANGUAGE plpgsql AS 'BEGIN RAISE ''a function of the user''; END'; "
        );
    }
    let script = "CREATE TEMP TABLE epoch_old (id int, v text, p int); CREATE TEMP TABLE epoch_new (LIKE epoch_old); \
        CREATE TEMP TABLE own (key text); CREATE TEMP TABLE counted (epoch_key text); CREATE TEMP TABLE first (epoch_key text); \
        SET search_path = evil, pg_temp, pg_catalog, public; \
        UPDATE public.t SET v = 'all'; \
        BEGIN; INSERT INTO public.t VALUES (10, 'ten'), (11, 'eleven'); UPDATE public.t SET v = 'again'; \
            DELETE FROM public.t WHERE id OPERATOR(pg_catalog.=) 2; INSERT INTO public.t VALUES (2, 'back'); COMMIT; \
        BEGIN; UPDATE public.t SET id = id OPERATOR(pg_catalog.+) 1; UPDATE public.t SET v = 'rekeyed' WHERE id OPERATOR(pg_catalog.<) 5; COMMIT; \
        BEGIN; DELETE FROM public.t WHERE id OPERATOR(pg_catalog.=) 11; SAVEPOINT s; INSERT INTO public.t VALUES (11, 'x'); \
            ROLLBACK TO s; INSERT INTO public.t VALUES (11, 'y'); COMMIT; RESET search_path";
    check(&setup, script).await;
}
