//! Before-images whatever triggers of the user's there are, and by whatever name the key is written.
#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::*;
use epoch_adapter::{Adapter, Layer, View};

/// Tables whose keys SQLite treats differently; each has the columns k, v, w, the key being an integer.
const SHAPES: [&str; 6] = [
    "k INTEGER PRIMARY KEY, v TEXT UNIQUE, w INT DEFAULT 0)",
    "k INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT UNIQUE, w INT DEFAULT 0)",
    "k INT NOT NULL PRIMARY KEY, v TEXT UNIQUE, w INT DEFAULT 0)",
    "k INT PRIMARY KEY, v TEXT UNIQUE, w INT DEFAULT 0) WITHOUT ROWID",
    "k INTEGER PRIMARY KEY, v TEXT UNIQUE, w INT DEFAULT 0) STRICT",
    "k INT NOT NULL UNIQUE, v TEXT UNIQUE, w INT DEFAULT 0)",
];

const ROWS: &str = "INSERT INTO p VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0), (4, 'd', 0), (5, 'e', 0)";

/// All that change the row of the statement that fires them, or other ones.
const TRIGGERS: &str = "
    CREATE {temp} TRIGGER touch AFTER UPDATE ON p WHEN NEW.w = OLD.w BEGIN UPDATE p SET w = w + 1 WHERE k = NEW.k; END;
    CREATE {temp} TRIGGER touchi AFTER INSERT ON p BEGIN UPDATE p SET w = 99 WHERE k = NEW.k; END;
    CREATE {temp} TRIGGER gone AFTER DELETE ON p BEGIN INSERT INTO p VALUES (OLD.k, OLD.v || '!', 5); END;
    CREATE {temp} TRIGGER soon BEFORE DELETE ON p BEGIN UPDATE p SET w = w + 1000 WHERE k <= OLD.k; END;
    CREATE {temp} TRIGGER other BEFORE UPDATE ON p WHEN NEW.k = 1 BEGIN UPDATE p SET w = w + 1 WHERE k = 5; END;";

/// One statement each; some insert rows by a key that SQLite chooses, where it can.
const STATEMENTS: [&str; 9] = [
    "UPDATE p SET v = 'MAIN' WHERE k = 1",
    "INSERT INTO p (k, v) VALUES (50, 'NEW')",
    "INSERT INTO p (k, v) VALUES ((SELECT max(k) + 1 FROM p), 'x'), ((SELECT max(k) + 2 FROM p), 'y')",
    "DELETE FROM p WHERE k = 2",
    "UPDATE p SET k = 60 WHERE k = 3",
    "INSERT OR REPLACE INTO p (k, v) VALUES (4, 'R')",
    "INSERT INTO p (k, v) VALUES (70, 'R') ON CONFLICT (v) DO UPDATE SET v = 'S', k = 71",
    "UPDATE OR REPLACE p SET k = 5, v = 'MAIN' WHERE k = 71",
    "INSERT OR IGNORE INTO p (k, v) VALUES (80, 'MAIN'), (5, 'z'), (81, 'zz')",
];

/// Runs statements; after each, what was there before is still there in the branch and the commit, and
/// what a commit says is the difference.
async fn assert_kept(db: &Db, conn: &rusqlite::Connection, t: &epoch_adapter::TableDef, statements: &[&str]) {
    let t = std::sync::Arc::new(t.clone());
    let dev = branch(2, 0);
    let first = db.rows(&t, View::MAIN).await;
    for (n, sql) in statements.iter().enumerate() {
        let n = i64::try_from(n).unwrap();
        let before = db.rows(&t, View::MAIN).await;
        conn.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let now = db.rows(&t, View::MAIN).await;
        assert_ne!(now, before, "{sql}");
        assert_eq!(db.rows(&t, working(dev)).await, first, "{sql}");
        assert_eq!(db.rows(&t, main_at(n)).await, before, "{sql}");
        let stats = db.seal(&[t.clone()], Layer::MAIN, n + 1).await.tables[0].1;
        assert_eq!(db.rows(&t, main_at(n)).await, before, "{sql}");
        assert_eq!(db.rows(&t, main_at(n + 1)).await, now, "{sql}");
        let keys = |rows: &[epoch_adapter::Row]| rows.iter().map(|r| r[0].clone()).collect::<Vec<_>>();
        let added = keys(&now).into_iter().filter(|k| !keys(&before).contains(k)).count();
        let removed = keys(&before).into_iter().filter(|k| !keys(&now).contains(k)).count();
        assert_eq!((stats.added, stats.removed), (added as i64, removed as i64), "{sql}");
    }
    assert_eq!(db.rows(&t, main_at(0)).await, first);
}

/// SQLite fires the newest trigger first: the images of `updated_at` triggers made after the
/// registration were of rows that they had changed already.
#[tokio::test]
async fn triggers_made_after_the_registration_fire_before_ours() {
    for shape in SHAPES {
        for temp in ["", "TEMP"] {
            let db = Db::new(&format!("CREATE TABLE p ({shape}; {ROWS}"));
            let t = db.register(1, "p").await;
            let conn = db.direct();
            conn.execute_batch(&TRIGGERS.replace("{temp}", temp)).unwrap();
            assert_kept(&db, &conn, &t, &STATEMENTS).await;
        }
    }
}

/// Keys that SQLite chooses can't be seen before the row is there.
#[tokio::test]
async fn a_new_row_that_a_trigger_changes_at_once() {
    for sql in ["INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"] {
        let db = Db::new(&format!(
            "CREATE TABLE p (k {sql}, v TEXT UNIQUE, w INT DEFAULT 0); {ROWS}; DELETE FROM p WHERE k = 5"
        ));
        let t = db.register(1, "p").await;
        let conn = db.direct();
        let all = TRIGGERS.replace("{temp}", "");
        conn.execute_batch(&all).unwrap();
        let statements = [
            "INSERT INTO p (v) VALUES ('m'), ('n')",
            "INSERT INTO p (v) SELECT 'new' || v FROM p",
            "INSERT INTO p (v) VALUES ('m') ON CONFLICT DO UPDATE SET w = -1",
            "DROP TRIGGER gone; DELETE FROM p; INSERT INTO p (v) VALUES ('first')",
            "DELETE FROM p; INSERT INTO p (k, v) VALUES (-5, 'low')",
            "INSERT INTO p (v) VALUES ('behind')",
            "INSERT OR IGNORE INTO p (v) VALUES ('low'), ('next')",
        ];
        assert_kept(&db, &conn, &t, &statements).await;
    }
}

/// `OR REPLACE` puts a default where NULL is given; the row that has it goes.
#[tokio::test]
async fn a_default_that_replaces_a_row() {
    let db = Db::new(
        "CREATE TABLE p (k INTEGER PRIMARY KEY, v TEXT NOT NULL DEFAULT 'd' UNIQUE, w INT);
         INSERT INTO p VALUES (1, 'd', 1), (2, 'b', 2)",
    );
    let t = db.register(1, "p").await;
    let statements =
        ["INSERT OR REPLACE INTO p VALUES (5, NULL, 5)", "UPDATE OR REPLACE p SET v = NULL WHERE k = 2"];
    assert_kept(&db, &db.direct(), &t, &statements).await;

    let db = Db::new(
        "CREATE TABLE p (k TEXT NOT NULL DEFAULT 'd' PRIMARY KEY, w INT); INSERT INTO p VALUES ('d', 1), ('e', 2)",
    );
    let t = db.register(1, "p").await;
    let statements = [
        "INSERT OR REPLACE INTO p VALUES (NULL, 5)",
        "UPDATE OR REPLACE p SET k = NULL WHERE k = 'e'",
        "DELETE FROM p; INSERT OR REPLACE INTO p VALUES (NULL, 6)",
    ];
    assert_kept(&db, &db.direct(), &t, &statements).await;
}

/// `UPDATE OF id` doesn't fire for `SET rowid = …`.
#[tokio::test]
async fn the_key_is_written_by_the_name_rowid() {
    for rowid in ["rowid", "oid", "_rowid_", "ROWID"] {
        let db = Db::new(
            "CREATE TABLE p (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO p VALUES (1, 'a'), (2, 'b')",
        );
        let t = db.register(1, "p").await;
        let statements = [
            format!("UPDATE p SET {rowid} = 9 WHERE id = 1"),
            format!(
                "INSERT INTO p (id, v) VALUES (2, 'up') ON CONFLICT (id) DO UPDATE SET {rowid} = 50, v = 'moved'"
            ),
            format!("INSERT INTO p ({rowid}, v) VALUES (77, 'new')"),
            format!("UPDATE OR REPLACE p SET {rowid} = 9 WHERE id = 50"),
            format!("REPLACE INTO p ({rowid}, v) VALUES (77, 'again')"),
        ];
        assert_kept(&db, &db.direct(), &t, &statements.each_ref().map(String::as_str)).await;

        // A rowid that isn't a column: another row may be replaced by it.
        let db = Db::new(
            "CREATE TABLE p (k TEXT PRIMARY KEY, v TEXT); INSERT INTO p VALUES ('a', 'a'), ('b', 'b'), ('c', 'c')",
        );
        let t = db.register(1, "p").await;
        let statements = [
            format!("UPDATE OR REPLACE p SET {rowid} = 2 WHERE k = 'a'"),
            format!("REPLACE INTO p ({rowid}, k) VALUES (2, 'z')"),
        ];
        assert_kept(&db, &db.direct(), &t, &statements.each_ref().map(String::as_str)).await;
    }
    let db = Db::new(
        "CREATE TABLE p (k TEXT PRIMARY KEY, rowid TEXT); INSERT INTO p VALUES ('a', 'a'), ('b', 'b')",
    );
    let t = db.register(1, "p").await;
    assert_kept(&db, &db.direct(), &t, &["UPDATE OR REPLACE p SET oid = 2 WHERE k = 'a'"]).await;
}

/// What no AFTER trigger of ours may come too late for is noted beforehand; it is made the newest all the
/// same, and once is enough.
#[tokio::test]
async fn our_last_trigger_is_made_the_newest_again() {
    let db = Db::new(&format!("CREATE TABLE p ({}; {ROWS}", SHAPES[0]));
    let t = db.register(1, "p").await;
    db.run(&TRIGGERS.replace("{temp}", ""));
    let newest = || {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY rowid DESC LIMIT 1";
        db.direct().query_row(sql, [], |r| r.get::<_, String>(0)).unwrap()
    };
    let version = || db.direct().query_row("PRAGMA schema_version", [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(newest(), "other");
    assert_eq!(db.adapter.drift(&[t.clone()]).await.unwrap(), []);
    assert_eq!(newest(), "epoch_capture_1_insert");
    let mended = version();
    assert_eq!(db.adapter.drift(&[t.clone()]).await.unwrap(), []);
    assert_eq!(version(), mended);
    db.run("DROP TRIGGER touch; CREATE TRIGGER touch2 AFTER INSERT ON p BEGIN SELECT 1; END; INSERT INTO p (v) VALUES ('n')");
    db.seal(&[t], Layer::MAIN, 1).await;
    assert_eq!(newest(), "epoch_capture_1_insert");
}
