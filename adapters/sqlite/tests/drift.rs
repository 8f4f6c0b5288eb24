//! Tables that were changed past us are refused, with what was changed.
#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs
)]

mod common;

use common::*;
use epoch_adapter::{Adapter, Layer, Scan, SealMode, Sealed, View};

const TABLE: &str = "CREATE TABLE rc (id INTEGER PRIMARY KEY, v TEXT, w TEXT);
    CREATE UNIQUE INDEX by_w ON rc (w); CREATE INDEX by_v ON rc (v);
    INSERT INTO rc VALUES (1, 'a', 'x'), (2, 'b', 'y')";

/// The documented way to alter a table more than ALTER TABLE can.
const ANEW: &str =
    "BEGIN; CREATE TABLE rc2 (id INTEGER PRIMARY KEY, v TEXT, w TEXT); INSERT INTO rc2 SELECT * FROM rc;
    DROP TABLE rc; ALTER TABLE rc2 RENAME TO rc; CREATE UNIQUE INDEX by_w ON rc (w); COMMIT";

/// What drift says after a script, having seen that branches, commits and publications go by it.
async fn drift(script: &str) -> Option<String> {
    let db = Db::new(TABLE);
    let t = db.register(1, "rc").await;
    let (dev, new) = (branch(2, 0), branch(3, 0));
    db.write(&t, dev, &[update(2, 1, text("branch"))]).await.unwrap();
    let shown = db.rows(&t, working(dev)).await;
    assert_eq!(db.adapter.drift(&[t.clone()]).await.unwrap(), [], "fresh");
    db.run(script);
    let found = db.adapter.drift(&[t.clone()]).await.unwrap();
    let Some((_, reason)) = found.first() else {
        assert_eq!(db.rows(&t, working(dev)).await, shown, "{script}");
        db.run("UPDATE rc SET v = 'MAIN' WHERE id = 1");
        assert_eq!(db.rows(&t, working(dev)).await, shown, "{script}");
        assert_eq!(db.seal(&[t], Layer::MAIN, 1).await.tables.len(), 1, "{script}");
        return None;
    };
    let detail = format!("{}{}.", reason[..1].to_uppercase(), &reason[1..]);
    let refused = |error: epoch_adapter::Error| {
        assert_eq!((error.code(), error.detail()), ("55000", Some(detail.as_str())), "{script}: {error}");
    };
    for view in [working(dev), at(dev, 0), working(new), main_at(0)] {
        refused(error(db.scan(&t, view, &Scan::default()).await));
    }
    refused(error(db.write(&t, dev, &[update(1, 1, text("q"))]).await));
    refused(error(db.write(&t, new, &[update(1, 1, text("q"))]).await));
    refused(error(db.adapter.pending(&[t.clone()], dev).await));
    let seal = async |layer: Layer| db.adapter.seal("s", &[t.clone()], layer, 1, &[], SealMode::All).await;
    refused(error(seal(Layer::MAIN).await));
    refused(error(seal(dev).await));
    // A branch that holds nothing of it may be committed.
    assert_eq!(seal(new).await.unwrap(), Sealed::default());
    assert_eq!(db.adapter.pending(&[t.clone()], new).await.unwrap(), []);
    db.adapter.uninstall(&t).await.unwrap();
    if reason.contains("column") || reason.contains("key") {
        return Some(reason.clone());
    }
    // Main is as it is, and may be registered again.
    assert_eq!(db.rows(&t, View::MAIN).await.len(), 2);
    let again = db.register(7, "rc").await;
    assert_eq!(db.adapter.drift(&[again]).await.unwrap(), []);
    Some(reason.clone())
}

/// Branches and commits followed main, and a commit on main said nothing of the table.
#[tokio::test]
async fn a_table_made_anew() {
    let reason = drift(&format!("{ANEW}; UPDATE rc SET v = 'MAIN'")).await.unwrap();
    assert!(reason.starts_with("trigger epoch_capture_1_") && reason.ends_with(" was dropped"), "{reason}");
    // The other order.
    let script = "ALTER TABLE rc RENAME TO old; CREATE TABLE rc (id INTEGER PRIMARY KEY, v TEXT, w TEXT);
        INSERT INTO rc SELECT * FROM old";
    let reason = drift(script).await.unwrap();
    assert!(reason.ends_with(" was dropped"), "{reason}");
}

/// Somebody who makes the triggers of a table again from their texts fills it before.
#[tokio::test]
async fn a_table_made_anew_with_its_triggers() {
    let db = Db::new(TABLE);
    let t = db.register(1, "rc").await;
    let triggers: Vec<String> = {
        let conn = db.direct();
        let sql = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'rc' ORDER BY rowid";
        let mut stmt = conn.prepare(sql).unwrap();
        stmt.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    };
    db.run(&format!(
        "{}; {};",
        ANEW.replace("SELECT * FROM rc", "SELECT id, 'MAIN', w FROM rc"),
        triggers.join(";")
    ));
    let found = db.adapter.drift(&[t.clone()]).await.unwrap();
    assert!(found[0].1.ends_with(" was made anew"), "{found:?}");
    assert_eq!(error(db.scan(&t, main_at(0), &Scan::default()).await).code(), "55000");
}

#[tokio::test]
async fn a_dropped_trigger() {
    for name in ["update", "rekey", "delete", "insert", "known", "number", "replace_insert", "replace_update"]
    {
        let name = format!("epoch_capture_1_{name}");
        let reason = drift(&format!("DROP TRIGGER {name}; UPDATE rc SET v = 'MAIN'")).await;
        assert_eq!(reason, Some(format!("trigger {name} was dropped")));
    }
    let reason = drift("DROP TRIGGER epoch_capture_1_overlay_update").await;
    assert_eq!(reason.as_deref(), Some("trigger epoch_capture_1_overlay_update was dropped"));
}

#[tokio::test]
async fn an_altered_trigger() {
    let script = "DROP TRIGGER epoch_capture_1_update;
        CREATE TRIGGER epoch_capture_1_update BEFORE UPDATE ON rc BEGIN SELECT 1; END";
    assert_eq!(drift(script).await.as_deref(), Some("trigger epoch_capture_1_update was altered"));
}

/// REPLACE deletes through an index that our trigger doesn't know.
#[tokio::test]
async fn a_new_unique_index() {
    let script = "CREATE UNIQUE INDEX late ON rc (v); INSERT OR REPLACE INTO rc VALUES (9, 'a', 'z')";
    let reason = drift(script).await.unwrap();
    assert!(reason.starts_with("a unique index was made that trigger epoch_capture_1_replace_"), "{reason}");
}

#[tokio::test]
async fn changed_columns() {
    let anew = |columns: &str, select: &str| {
        format!(
            "CREATE TABLE rc2 ({columns}); INSERT INTO rc2 SELECT {select} FROM rc; DROP TABLE rc; ALTER TABLE rc2 RENAME TO rc"
        )
    };
    for (script, expected) in [
        ("ALTER TABLE rc ADD COLUMN x INT".to_owned(), "column \"x\" was added"),
        ("ALTER TABLE rc RENAME COLUMN v TO x".to_owned(), "column \"v\" was dropped or renamed"),
        (
            anew("id INTEGER PRIMARY KEY, v INT, w TEXT", "*"),
            "column \"v\" has the type \"INT\", no longer \"TEXT\"",
        ),
        (anew("id INTEGER PRIMARY KEY, w TEXT, v TEXT", "id, w, v"), "its columns have another order"),
        (anew("id INTEGER, v TEXT, w TEXT", "*"), "the key (id) is no longer unique"),
    ] {
        assert_eq!(drift(&script).await.as_deref(), Some(expected), "{script}");
    }
}

/// What changes nothing of the capture is no drift; nor is a change that was taken back.
#[tokio::test]
async fn what_is_no_drift() {
    for script in [
        "DROP INDEX by_w",
        "DROP INDEX by_v; CREATE INDEX later ON rc (v, w); ANALYZE; CREATE TABLE other (x); CREATE VIEW seen AS SELECT * FROM rc",
        "VACUUM",
        "ALTER TABLE rc RENAME TO rd; ALTER TABLE rd RENAME TO rc",
        "ALTER TABLE rc RENAME COLUMN v TO x; ALTER TABLE rc RENAME COLUMN x TO v",
        "ALTER TABLE rc RENAME COLUMN id TO x; ALTER TABLE rc RENAME COLUMN x TO id",
        "CREATE TRIGGER touch AFTER UPDATE ON rc BEGIN UPDATE rc SET w = w || 1 WHERE id = NEW.id; END; DROP TRIGGER touch",
        "CREATE TRIGGER touch AFTER UPDATE OF v ON rc BEGIN UPDATE rc SET w = w || 1 WHERE id = NEW.id; END; UPDATE rc SET v = 'm'; VACUUM",
    ] {
        assert_eq!(drift(script).await, None, "{script}");
    }
}

#[tokio::test]
async fn a_dropped_table_and_an_unknown_one() {
    let db = Db::new(TABLE);
    let t = db.register(1, "rc").await;
    let unknown = std::sync::Arc::new(db.define(4, "rc", None).await.unwrap());
    db.run("DROP TABLE rc");
    let found = db.adapter.drift(&[t, unknown]).await.unwrap();
    let reasons: Vec<_> = found.iter().map(|(id, reason)| (id.0, reason.as_str())).collect();
    assert_eq!(
        reasons,
        [(1, "the table was dropped or renamed"), (4, "its SQLite file has no registration of it")]
    );
}

/// One that drifted doesn't keep others from being read, written and committed alone.
#[tokio::test]
async fn other_tables_are_not_concerned() {
    let db = Db::new(&format!(
        "{TABLE}; CREATE TABLE u (id INTEGER PRIMARY KEY, n INT); INSERT INTO u VALUES (1, 1)"
    ));
    let (t, u) = (db.register(1, "rc").await, db.register(2, "u").await);
    db.run(&format!("{ANEW}; UPDATE u SET n = 2"));
    let dev = branch(2, 0);
    assert_eq!(db.rows(&u, working(dev)).await, [[int(1), int(1)]]);
    db.write(&u, dev, &[update(1, 1, int(3))]).await.unwrap();
    let both = db.adapter.seal("a", &[t, u.clone()], Layer::MAIN, 1, &[], SealMode::All).await;
    assert_eq!(error(both).message(), "table \"rc\" was changed in a way that branches cannot follow");
    assert_eq!(db.seal(&[u.clone()], Layer::MAIN, 1).await.tables.len(), 1);
    assert_eq!(db.seal(&[u], dev, 1).await.tables.len(), 1);
}

/// A cascade on a branch must not reach into a table that can't be read there.
#[tokio::test]
async fn cascades_do_not_go_by_it() {
    let db = Db::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (1), (2);
         CREATE TABLE child (id INTEGER PRIMARY KEY, parent INT REFERENCES parent ON DELETE CASCADE);
         INSERT INTO child VALUES (10, 1)",
    );
    let (parent, _child) = (db.register(1, "parent").await, db.register(2, "child").await);
    let dev = branch(2, 0);
    db.run("DROP TRIGGER epoch_capture_2_update");
    let e = error(db.write(&parent, dev, &[delete(1)]).await);
    assert_eq!(
        (e.code(), e.message()),
        ("55000", "table \"child\" was changed in a way that branches cannot follow")
    );
}
