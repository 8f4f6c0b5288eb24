//! Tables of every shape: keys, collations, generated columns, odd names, odd values.
#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::*;
use epoch_adapter::{Adapter, At, BackendKind, Layer, Location, RowWrite, Scan, SealMode, Value, View};

/// Runs the whole life of a table: a direct client, a branch, commits, a diff.
async fn live(
    sql: &str,
    table: &str,
    direct: &str,
    writes: Vec<RowWrite>,
    expected_on_branch: usize,
    changed: usize,
) {
    let db = Db::new(sql);
    let schema = db.dump_schema();
    let t = db.register(3, table).await;
    let start = db.rows(&t, View::MAIN).await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.run(direct);
    let now = db.rows(&t, View::MAIN).await;
    assert_ne!(now, start);
    assert_eq!(db.rows(&t, working(dev)).await, start, "{table}");
    db.write(&t, dev, &writes).await.unwrap();
    let rows = db.rows(&t, working(dev)).await;
    assert_eq!(rows.len(), expected_on_branch, "{rows:?}");
    db.seal(&[t.clone()], Layer::MAIN, 1).await;
    db.seal(&[t.clone()], dev, 1).await;
    assert_eq!(db.rows(&t, main_at(0)).await, start);
    assert_eq!(db.rows(&t, at(dev, 0)).await, start);
    let diff = db.diff(&t, at(dev, 0), at(dev, 1), &[segment(2, 0, At::Ordinal(1))]).await;
    assert_eq!(diff.len(), changed, "{diff:?}");
    // Applying the difference to main's old state gives the branch's state: here, on a second branch.
    let other = branch(9, 0);
    db.apply(&t, other, 1, diff, SealMode::All).await.unwrap();
    assert_eq!(db.rows(&t, working(other)).await, rows);
    db.adapter.uninstall(&t).await.unwrap();
    assert_eq!(db.dump_schema(), schema);
    assert_eq!(db.rows(&t, View::MAIN).await, now);
}

#[tokio::test]
async fn composite_key_without_rowid() {
    live(
        "CREATE TABLE t (a TEXT, b INT, x REAL, PRIMARY KEY (b, a)) WITHOUT ROWID;
         INSERT INTO t VALUES ('p', 1, 0.5), ('q', 1, 1), ('q', 2, NULL)",
        "t",
        "UPDATE t SET b = b + 10 WHERE a = 'q'; INSERT OR REPLACE INTO t VALUES ('p', 1, 7)",
        vec![
            RowWrite::Update { key: vec![int(1), text("q")], set: vec![(1, int(5)), (2, int(3))] },
            RowWrite::Delete { key: vec![int(2), text("q")] },
        ],
        2,
        3,
    )
    .await;
}

#[tokio::test]
async fn text_key_that_may_be_null_and_ignores_case() {
    let sql = "CREATE TABLE \"odd \"\"name\" (\"the {key}\" TEXT COLLATE NOCASE PRIMARY KEY, \"order\" INT, \"a'b\" BLOB);
         INSERT INTO \"odd \"\"name\" VALUES ('Ab', 1, x'00ff'), ('cd', 2, NULL)";
    live(
        sql,
        "odd \"name",
        "UPDATE \"odd \"\"name\" SET \"the {key}\" = 'AB' WHERE \"order\" = 1; REPLACE INTO \"odd \"\"name\" VALUES ('CD', 3, x'01')",
        vec![
            RowWrite::Update { key: vec![text("aB")], set: vec![(0, text("ab")), (1, int(9))] },
            insert(vec![text("ef"), int(1), Value::Blob(vec![1])]),
        ],
        3,
        2,
    )
    .await;
    let db = Db::new(sql);
    let t = db.register(1, "odd \"name").await;
    let direct = db.direct().execute("INSERT INTO \"odd \"\"name\" VALUES (NULL, 1, 1)", []).unwrap_err();
    assert!(direct.to_string().starts_with("null value in column \"the {key}\""), "{direct}");
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    for layer in [dev, Layer::MAIN] {
        let e = error(db.write(&t, layer, &[insert(vec![text("AB"), int(1), Value::Null])]).await);
        assert_eq!((e.code(), e.detail()), ("23505", Some("Key (the {key})=(AB) already exists.")));
        let e = error(db.write(&t, layer, &[insert(vec![Value::Null, int(1), Value::Null])]).await);
        assert_eq!((e.code(), e.column()), ("23502", Some("the {key}")));
    }
}

#[tokio::test]
async fn strict_table_with_generated_columns() {
    live(
        "CREATE TABLE s (id INTEGER PRIMARY KEY, n INTEGER, any ANY, v INTEGER AS (n * 2), w TEXT AS (id || '!') STORED) STRICT;
         INSERT INTO s (id, n, any) VALUES (1, 1, '007'), (2, 2, 7), (3, 3, 7.5)",
        "s",
        "UPDATE s SET n = 100; DELETE FROM s WHERE id = 3",
        vec![
            RowWrite::Insert(vec![None, Some(int(4)), Some(text("4")), None, None]),
            RowWrite::Update { key: vec![int(1)], set: vec![(1, int(50))] },
        ],
        4,
        2,
    )
    .await;
}

#[tokio::test]
async fn unique_not_null_column_as_key() {
    let sql = "CREATE TABLE t (a INT, code TEXT NOT NULL, b INT NOT NULL); CREATE UNIQUE INDEX u ON t (code);
        INSERT INTO t VALUES (1, 'x', 1), (1, 'y', 2)";
    live(
        sql,
        "t",
        "UPDATE t SET a = 5; INSERT OR REPLACE INTO t (rowid, a, code, b) VALUES (1, 0, 'z', 0)",
        vec![RowWrite::Delete { key: vec![text("x")] }, insert(vec![Value::Null, text("q"), int(1)])],
        2,
        2,
    )
    .await;
    let db = Db::new(&format!("{sql}; CREATE UNIQUE INDEX u2 ON t (b)"));
    assert_eq!(db.define(1, "t", Some(&["b"])).await.unwrap().schema.key, [2]);
    assert_eq!(error(db.define(1, "t", Some(&["a"])).await).code(), "42830");
    assert_eq!(error(db.define(1, "t", Some(&["nope"])).await).code(), "42703");
    assert_eq!(error(db.define(1, "nope", None).await).code(), "42P01");
}

#[tokio::test]
async fn two_repositories_on_one_file() {
    let db = Db::new("CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE u (id INTEGER PRIMARY KEY)");
    db.register(1, "t").await;
    for (id, table) in [(1, "u"), (2, "t")] {
        let def = db.define(id, table, None).await.unwrap();
        assert_eq!(error(db.adapter.install(&def).await).code(), "55006");
        // Cleaning up after that leaves the other one's table alone.
        db.adapter.uninstall(&def).await.unwrap();
    }
    db.run("INSERT INTO t VALUES (1)");
    let t = db.define(1, "t", None).await.unwrap();
    assert_eq!(db.rows(&t, main_at(0)).await.len(), 0);
}

/// An INSERT of an existing key is an error, whatever the table's own conflict clause says.
#[tokio::test]
async fn a_conflict_clause_is_no_upsert() {
    let db = Db::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, u TEXT UNIQUE ON CONFLICT IGNORE, n INT NOT NULL ON CONFLICT REPLACE DEFAULT 7);
         INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
    );
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    for layer in [Layer::MAIN, dev] {
        let row = |id, u: &str, n| insert(vec![int(id), text(u), n]);
        assert_eq!(error(db.write(&t, layer, &[row(1, "z", int(1))]).await).constraint(), Some("t_pkey"));
        assert_eq!(error(db.write(&t, layer, &[row(9, "a", int(1))]).await).constraint(), Some("t_u_key"));
        assert_eq!(
            error(db.write(&t, layer, &[update(1, 1, text("b"))]).await).constraint(),
            Some("t_u_key")
        );
        assert_eq!(error(db.write(&t, layer, &[row(9, "z", Value::Null)]).await).code(), "23502");
    }
    // A direct client gets what it asked for, and it is captured.
    db.run("INSERT INTO t VALUES (1, 'c', NULL), (5, 'b', 5)");
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), text("c"), int(7)], [int(2), text("b"), int(2)]]);
    assert_eq!(db.rows(&t, working(dev)).await[0], [int(1), text("a"), int(1)]);
}

/// Names that our SQL uses itself.
#[tokio::test]
async fn names_like_our_aliases() {
    for name in ["h", "x", "m", "k", "c", "epoch"] {
        live(
            &format!("CREATE TABLE {name} (k INTEGER PRIMARY KEY, x TEXT UNIQUE, h INT); INSERT INTO {name} VALUES (1, 'a', 1), (2, 'b', 2)"),
            name,
            &format!("INSERT OR REPLACE INTO {name} VALUES (3, 'a', 3); UPDATE {name} SET k = 4 WHERE k = 2"),
            vec![delete(1), insert(vec![int(5), text("a"), int(5)])],
            2,
            2,
        )
        .await;
    }
}

/// An ordinal that is used again (an operation that was taken back) must not break later writes.
#[tokio::test]
async fn an_ordinal_used_twice() {
    let db = Db::new("CREATE TABLE t (id INTEGER PRIMARY KEY, x INT); INSERT INTO t VALUES (1, 1)");
    let t = db.register(1, "t").await;
    let tables = [t.clone()];
    for n in 0..3 {
        db.run("UPDATE t SET x = x + 1");
        let sealed =
            db.adapter.seal(&format!("op{n}"), &tables, Layer::MAIN, 1, &[], SealMode::All).await.unwrap();
        assert_eq!(sealed.tables[0].1.modified, 1);
    }
    db.run("UPDATE t SET x = 9");
    assert_eq!(db.rows(&t, main_at(0)).await, [[int(1), int(1)]]);
    assert_eq!(db.rows(&t, main_at(1)).await, [[int(1), int(4)]]);
    let diff = db.diff(&t, main_at(0), main_at(1), &[segment(1, 0, At::Ordinal(1))]).await;
    assert_eq!(diff.len(), 1);
}

#[tokio::test]
async fn triggers_and_cascades_of_the_user_are_captured() {
    let db = Db::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, parent INT REFERENCES t ON DELETE CASCADE, touched INT DEFAULT 0);
         CREATE TRIGGER touch AFTER UPDATE OF parent ON t BEGIN UPDATE t SET touched = touched + 1 WHERE id = NEW.id; END;
         INSERT INTO t VALUES (1, NULL, 0), (2, 1, 0), (3, 2, 0), (4, NULL, 0)",
    );
    let t = db.register(1, "t").await;
    let start = db.rows(&t, View::MAIN).await;
    db.run("UPDATE t SET parent = 1 WHERE id = 4");
    db.run("PRAGMA foreign_keys = ON; DELETE FROM t WHERE id = 2");
    db.run("PRAGMA recursive_triggers = ON; INSERT OR REPLACE INTO t VALUES (1, 1, 9)");
    assert_eq!(db.rows(&t, main_at(0)).await, start);
    let stats = db.adapter.pending(&[t.clone()], Layer::MAIN).await.unwrap()[0].1;
    assert_eq!((stats.added, stats.modified, stats.removed), (0, 2, 2));
}

#[tokio::test]
async fn types_are_mapped_and_cast_without_loss() {
    let db = Db::new(
        "CREATE TABLE v (id INTEGER PRIMARY KEY, i BIGINT, r REAL, d DECIMAL(10,2), b BOOLEAN, day DATE,
            ts TIMESTAMP, tz TIMESTAMPTZ, s VARCHAR(5), j JSON, x BLOB, n);
         INSERT INTO v VALUES (1, '12', 3, 12.5, 1, '2026-01-31', '2026-01-31T10:00:00', '2026-01-31 12:00:00+02:00', 7, '{}', 'ab', 1.5),
            (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
            (3, 2.0, 1e3, '7.10', 'false', '1969-12-31', '1969-12-31 23:59:59.25', '1970-01-01', 'x', '[1]', x'00', 'y')",
    );
    let v = db.register(1, "v").await;
    let pg: Vec<_> = v.schema.columns.iter().map(|c| c.pg_type.as_str()).collect();
    assert_eq!(
        pg,
        [
            "bigint",
            "bigint",
            "double precision",
            "numeric(10,2)",
            "boolean",
            "date",
            "timestamp without time zone",
            "timestamp with time zone",
            "character varying(5)",
            "json",
            "bytea",
            "text"
        ]
    );
    let rows = db.rows(&v, View::MAIN).await;
    let t = text;
    assert_eq!(
        rows[0],
        [
            int(1),
            int(12),
            Value::Real(3.0),
            t("12.50"),
            int(1),
            t("2026-01-31"),
            t("2026-01-31 10:00:00"),
            t("2026-01-31 10:00:00+00:00"),
            t("7"),
            t("{}"),
            Value::Blob(b"ab".to_vec()),
            t("1.5")
        ]
    );
    assert_eq!(rows[1][1..], vec![Value::Null; 11]);
    assert_eq!(rows[2][3..7], [t("7.10"), int(0), t("1969-12-31"), t("1969-12-31 23:59:59.25")]);

    for (column, value, pg) in [
        ("i", "'twelve'", "bigint"),
        ("d", "1.234", "numeric(10,2)"),
        ("b", "2", "boolean"),
        ("day", "'31.1.2026'", "date"),
        ("ts", "1700000000", "timestamp without time zone"),
        ("s", "x'ff'", "character varying(5)"),
    ] {
        db.run(&format!("UPDATE v SET {column} = {value} WHERE id = 3"));
        let e = error(db.scan(&v, View::MAIN, &Scan::default()).await);
        assert_eq!(e.code(), "22P02", "{column}");
        assert!(e.message().starts_with(&format!("invalid input syntax for type {pg}: ")), "{e}");
        assert_eq!(e.detail(), Some(format!("Table \"v\", column \"{column}\", row (id)=(3).").as_str()));
        assert_eq!((e.table(), e.column()), (Some("v"), Some(column)));
        db.run(&format!("UPDATE v SET {column} = NULL WHERE id = 3"));
    }
}

#[tokio::test]
async fn discover_says_what_can_be_registered() {
    let db = Db::new(
        "CREATE TABLE users (id INTEGER PRIMARY KEY); CREATE TABLE logs (line TEXT); CREATE VIEW w AS SELECT 1;
         CREATE TABLE usage (a INT, b INT, PRIMARY KEY (b, a)); CREATE VIRTUAL TABLE f USING fts5(x);
         CREATE TABLE nul (k TEXT PRIMARY KEY); INSERT INTO nul VALUES (NULL); CREATE TABLE bad (id INTEGER PRIMARY KEY, epoch_x)",
    );
    db.register(1, "users").await;
    let all = db.adapter.discover("*").await.unwrap();
    let list: Vec<_> =
        all.iter().map(|d| (d.location.table.as_str(), d.key.join(","), d.reason.is_none())).collect();
    assert_eq!(
        list,
        [
            ("bad", "id".into(), false),
            ("f", String::new(), false),
            ("logs", String::new(), false),
            ("nul", "k".into(), false),
            ("usage", "b,a".into(), true),
            ("users", "id".into(), true)
        ]
    );
    assert_eq!(all[0].location.to_string(), "sqlite://shop/bad");
    let named = |p: &'static str| async { db.adapter.discover(p).await.unwrap().len() };
    assert_eq!((named("us*").await, named("public.users").await, named("x").await), (2, 1, 0));
    let logs =
        Location { kind: BackendKind::Sqlite, backend: "shop".into(), schema: None, table: "logs".into() };
    assert_eq!(error(db.adapter.describe(&logs, None).await).code(), "42830");
    let bad = db.define(5, "bad", None).await.unwrap();
    assert_eq!(error(db.adapter.install(&bad).await).code(), "0A000");
}

#[tokio::test]
async fn a_changed_table_is_refused() {
    let db = Db::new("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
    let t = db.register(1, "t").await;
    db.run("ALTER TABLE t ADD COLUMN y; INSERT INTO t VALUES (1, 2, 3)");
    let e = error(db.scan(&t, main_at(0), &Scan::default()).await);
    assert_eq!((e.code(), e.detail()), ("55000", Some("Column \"y\" was added.")));
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), int(2).to_text().map_or(Value::Null, Value::Text)]]);
    db.run("ALTER TABLE t DROP COLUMN y");
    assert_eq!(db.rows(&t, main_at(0)).await.len(), 0);
    db.run("DROP TABLE t");
    assert_eq!(error(db.scan(&t, View::MAIN, &Scan::default()).await).code(), "42P01");
    assert_eq!(error(db.scan(&t, main_at(0), &Scan::default()).await).hint(), Some("Unregister it."));
    db.adapter.uninstall(&t).await.unwrap();
    assert_eq!(db.dump_schema().len(), 0);
}

#[tokio::test]
async fn writers_wait_and_conflicts_are_told() {
    let db = Db::new("CREATE TABLE t (id INTEGER PRIMARY KEY, x INT); INSERT INTO t VALUES (1, 1)");
    let t = db.register(1, "t").await;
    // Reads, then somebody else writes, then writes.
    let mut tx = db.adapter.begin().await.unwrap();
    assert_eq!(collect(tx.scan(&t, &View::MAIN, &Scan::default()).await.unwrap()).await.unwrap().len(), 1);
    db.run("UPDATE t SET x = 2");
    let rows = collect(tx.scan(&t, &View::MAIN, &Scan::default()).await.unwrap()).await.unwrap();
    assert_eq!(rows, [[int(1), int(1)]]);
    assert_eq!(error(tx.write(&t, Layer::MAIN, &[update(1, 1, int(3))]).await).code(), "40001");
    tx.rollback().await.unwrap();
    // Another writer holds the file: waits for the timeout, then says so.
    let other = db.direct();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE t SET x = 9").unwrap();
    let mut tx = db.adapter.begin().await.unwrap();
    assert_eq!(error(tx.write(&t, Layer::MAIN, &[update(1, 1, int(3))]).await).code(), "55P03");
    drop(tx);
    // A reader that wants to write waits, too; when the other one gives up, it goes on.
    let mut tx = db.adapter.begin().await.unwrap();
    collect(tx.scan(&t, &View::MAIN, &Scan::default()).await.unwrap()).await.unwrap();
    let release = tokio::task::spawn_blocking(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        other.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(tx.write(&t, Layer::MAIN, &[update(1, 1, int(3))]).await.unwrap(), 1);
    tx.commit().await.unwrap();
    release.await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), int(3)]]);
    // A statement that says that it will write gets a fresh snapshot, unless it must keep the old one.
    let mut tx = db.adapter.begin().await.unwrap();
    tx.savepoint("s").await.unwrap();
    collect(tx.scan(&t, &View::MAIN, &Scan::default()).await.unwrap()).await.unwrap();
    db.run("UPDATE t SET x = 4");
    assert_eq!(error(tx.prepare_write(&t, Layer::MAIN, true).await).code(), "40001");
    tx.prepare_write(&t, Layer::MAIN, false).await.unwrap();
    let rows = collect(tx.scan(&t, &View::MAIN, &Scan::default()).await.unwrap()).await.unwrap();
    assert_eq!(rows, [[int(1), int(4)]]);
    tx.write(&t, Layer::MAIN, &[update(1, 1, int(5))]).await.unwrap();
    tx.rollback_to("s").await.unwrap();
    tx.write(&t, Layer::MAIN, &[update(1, 1, int(6))]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), int(6)]]);
    let health = db.adapter.health().await.unwrap();
    assert!(health.version.starts_with("SQLite 3.") && health.connections.0 >= 1);
    assert_eq!(db.adapter.row_estimate(&t).await.unwrap(), 1);
}

/// Statements know a row by the typed value of its key: UPDATE said 1 row instead of 3.
#[tokio::test]
async fn keys_that_are_not_stored_in_our_own_form() {
    let cases = [
        ("DATETIME", "'2024-01-01T00:00:00Z', '2024-01-02 00:00:00', '2024-01-03'", true),
        (
            "TIMESTAMPTZ",
            "'2024-01-01T00:00:00Z', '2024-01-02 02:00:00+02:00', '2024-01-03 00:00:00+00:00'",
            true,
        ),
        ("BOOLEAN", "'true', 0, NULL", false),
        ("", "1, '2', 3.5", true),
        ("UUID", "1, 'a', 12.5", true),
        ("BLOB", "'text', x'00', x'01'", true),
    ];
    for (declared, values, all) in cases {
        let rows: Vec<_> = values.split(", ").filter(|v| all || *v != "NULL").collect();
        let inserts: String = rows.iter().map(|v| format!("INSERT INTO d VALUES ({v}, 0);")).collect();
        let db = Db::new(&format!("CREATE TABLE d (k {declared} PRIMARY KEY, n INT); {inserts}"));
        let t = db.register(1, "d").await;
        let stored = || {
            let conn = db.direct();
            let mut stmt = conn.prepare("SELECT quote(k) FROM d ORDER BY rowid").unwrap();
            let all: Vec<String> = stmt.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
            all
        };
        let (dev, start, before) = (branch(2, 0), db.rows(&t, View::MAIN).await, stored());
        let keys: Vec<_> = start.iter().map(|r| r[0].clone()).collect();
        let updates: Vec<_> =
            keys.iter().map(|k| RowWrite::Update { key: vec![k.clone()], set: vec![(1, int(5))] }).collect();
        for layer in [dev, Layer::MAIN] {
            let affected = db.write(&t, layer, &updates).await.unwrap();
            assert_eq!(affected, rows.len() as u64, "{declared}");
            let now = db.rows(&t, working(layer)).await;
            assert!(now.iter().all(|r| r[1] == int(5)), "{declared}: {now:?}");
            assert_eq!(now.iter().map(|r| r[0].clone()).collect::<Vec<_>>(), keys, "{declared}");
        }
        assert_eq!((stored(), db.rows(&t, main_at(0)).await), (before, start), "{declared}");
        let deletes: Vec<_> = keys.iter().map(|k| RowWrite::Delete { key: vec![k.clone()] }).collect();
        for layer in [dev, Layer::MAIN] {
            assert_eq!(db.write(&t, layer, &deletes).await.unwrap(), rows.len() as u64, "{declared}");
            assert_eq!(db.rows(&t, working(layer)).await.len(), 0, "{declared}");
            assert_eq!(db.write(&t, layer, &deletes).await.unwrap(), 0, "{declared}");
        }
    }
}

/// Two rows that are one to a statement: which one it means can't be told.
#[tokio::test]
async fn two_rows_of_one_typed_key() {
    let db = Db::new(
        "CREATE TABLE d (k DATETIME PRIMARY KEY, n INT); INSERT INTO d VALUES ('2024-01-01T00:00:00', 1), ('2024-01-01', 2)",
    );
    let t = db.register(1, "d").await;
    let key = vec![text("2024-01-01 00:00:00")];
    for layer in [Layer::MAIN, branch(2, 0)] {
        let e = error(
            db.write(
                &t,
                layer,
                &[RowWrite::Delete { key: key.clone() }, RowWrite::Delete { key: key.clone() }],
            )
            .await,
        );
        assert_eq!((e.code(), e.detail()), ("22P02", Some("Key (k)=(2024-01-01 00:00:00) is there twice.")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_a_collation_takes_for_one_have_one_form() {
    let db = Db::new(
        "CREATE TABLE t (a TEXT COLLATE NOCASE, b TEXT COLLATE RTRIM, c TEXT, PRIMARY KEY (a, b, c))",
    );
    let t = db.register(1, "t").await;
    let key = |a: &str, b: &str, c: &str| vec![text(a), text(b), text(c)];
    let keys = vec![
        key("Ann", "x", "c"),
        key("ANN", "x  ", "c"),
        key("Ann", "X", "c"),
        key("Ann", "x", "C"),
        key("Ann ", "x", "c"),
    ];
    let forms = db.adapter.key_forms(&t, keys).await.unwrap();
    assert_eq!(forms[0], forms[1]);
    assert!(forms[2..].iter().all(|form| *form != forms[0]), "{forms:?}");
}
