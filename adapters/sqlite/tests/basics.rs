//! Install, views, writes, seals and diffs on one table.
#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::*;
use epoch_adapter::{
    Adapter, At, ChangeKind, Comparison, Layer, Predicate, RowChange, RowWrite, Scan, SealMode, TableStats,
    Value,
};

const USERS: &str =
    "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, age INT CHECK (age >= 0));
    INSERT INTO users VALUES (1, 'a@x', 10), (2, 'b@x', 20), (3, 'c@x', 30);";

fn user(id: i64, email: &str, age: i64) -> Vec<Value> {
    vec![int(id), text(email), int(age)]
}

#[tokio::test]
async fn the_file_is_as_before_after_the_last_table() {
    let db = Db::new(&format!(
        "{USERS} CREATE TABLE t (a TEXT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
        CREATE INDEX i ON users (age); CREATE TRIGGER own AFTER DELETE ON users BEGIN DELETE FROM t; END;"
    ));
    let before = db.dump_schema();
    let (users, t) = (db.register(1, "users").await, db.register(12, "t").await);
    db.adapter.install(&users).await.unwrap();
    assert!(db.dump_schema().len() > before.len() + 10);
    db.adapter.uninstall(&users).await.unwrap();
    db.adapter.uninstall(&users).await.unwrap();
    db.run("INSERT INTO t VALUES ('x', 'y')");
    assert_eq!(db.adapter.pending(&[t.clone()], Layer::MAIN).await.unwrap().len(), 1);
    db.adapter.uninstall(&t).await.unwrap();
    assert_eq!(db.dump_schema(), before);
    db.adapter.uninstall(&t).await.unwrap();
}

#[tokio::test]
async fn a_branch_shows_its_fork_and_its_own_writes() {
    let db = Db::new(USERS);
    let users = db.register(1, "users").await;
    let all = [users.clone()];
    // Main moves by a direct client, is committed, and moves on.
    db.run("UPDATE users SET age = 11 WHERE id = 1; DELETE FROM users WHERE id = 2; INSERT INTO users VALUES (4, 'd@x', 40)");
    let sealed = db.seal(&all, Layer::MAIN, 1).await;
    assert_eq!(sealed.tables[0].1, TableStats { added: 1, modified: 1, removed: 1, cells: 0 });
    let fork = vec![user(1, "a@x", 11), user(3, "c@x", 30), user(4, "d@x", 40)];
    let dev = branch(2, 1);
    db.adapter.ensure_layer(&users, dev, None).await.unwrap();
    db.run("UPDATE users SET id = 7 WHERE id = 1; DELETE FROM users WHERE id = 3; INSERT INTO users VALUES (3, 'e@x', 5)");
    assert_eq!(db.rows(&users, working(dev)).await, fork);
    assert_eq!(db.rows(&users, main_at(1)).await, fork);
    assert_eq!(
        db.rows(&users, main_at(0)).await,
        vec![user(1, "a@x", 10), user(2, "b@x", 20), user(3, "c@x", 30)]
    );

    let n = db
        .write(
            &users,
            dev,
            &[update(1, 2, int(12)), delete(3), insert(user(9, "n@x", 1)), update(77, 2, int(1)), delete(77)],
        )
        .await
        .unwrap();
    assert_eq!(n, 3);
    let now = vec![user(1, "a@x", 12), user(4, "d@x", 40), user(9, "n@x", 1)];
    assert_eq!(db.rows(&users, working(dev)).await, now);
    assert_eq!(db.rows(&users, at(dev, 0)).await, fork);
    db.seal(&all, dev, 1).await;
    db.write(&users, dev, &[delete(9), insert(user(3, "c@x", 31))]).await.unwrap();
    assert_eq!(db.rows(&users, at(dev, 1)).await, now);
    assert_eq!(db.rows(&users, at(dev, 0)).await, fork);
    assert_eq!(
        db.rows(&users, working(dev)).await,
        vec![user(1, "a@x", 12), user(3, "c@x", 31), user(4, "d@x", 40)]
    );
    assert_eq!(db.rows(&users, epoch_adapter::View::MAIN).await.len(), 3);

    // A nested branch of dev at 1.
    let nested = branch(3, 1);
    db.adapter.ensure_layer(&users, nested, Some(&at(dev, 1))).await.unwrap();
    db.write(&users, nested, &[update(9, 2, int(2))]).await.unwrap();
    assert_eq!(db.rows(&users, at(nested, 0)).await, now);
    db.write(&users, dev, &[update(4, 2, int(41))]).await.unwrap();
    let mut changed = now.clone();
    changed[2] = user(9, "n@x", 2);
    assert_eq!(db.rows(&users, working(nested)).await, changed);

    // From the nested branch's fork to where it stands.
    let diff = db.diff(&users, at(dev, 1), working(nested), &[segment(3, 0, At::Working)]).await;
    assert_eq!(
        diff,
        [RowChange { key: vec![int(9)], before: Some(user(9, "n@x", 1)), after: Some(user(9, "n@x", 2)) }]
    );
    // Across: dev's working state against main's.
    let segments = [segment(2, 0, At::Working), segment(1, 1, At::Working)];
    let diff = db.diff(&users, working(dev), epoch_adapter::View::MAIN, &segments).await;
    let kinds: Vec<_> = diff.iter().map(|c| (c.key[0].clone(), c.kind())).collect();
    assert_eq!(
        kinds,
        [
            (int(1), ChangeKind::Removed),
            (int(3), ChangeKind::Modified),
            (int(4), ChangeKind::Modified),
            (int(7), ChangeKind::Added)
        ]
    );
    let stat =
        db.adapter.diff_stat(&users, &working(dev), &epoch_adapter::View::MAIN, &segments).await.unwrap();
    assert_eq!(stat, TableStats { added: 1, modified: 2, removed: 1, cells: 3 });
}

#[tokio::test]
async fn replace_is_captured_whoever_does_it() {
    let db = Db::new(&format!("{USERS} CREATE UNIQUE INDEX low ON users (lower(email)) WHERE age > 0;"));
    let users = db.register(1, "users").await;
    let start = db.rows(&users, epoch_adapter::View::MAIN).await;
    // Deletes 1 by the primary key, 2 by the unique column.
    db.run("INSERT OR REPLACE INTO users VALUES (1, 'b@x', 99)");
    // Deletes 3 by the expression index; then an update that replaces 1.
    db.run("REPLACE INTO users VALUES (5, 'C@X', 7); UPDATE OR REPLACE users SET id = 1 WHERE id = 5");
    db.run(
        "INSERT OR IGNORE INTO users VALUES (1, 'zz', 0), (6, 'f@x', 6);
        INSERT INTO users VALUES (6, 'q', 1) ON CONFLICT (id) DO UPDATE SET age = age + 1",
    );
    assert_eq!(db.rows(&users, epoch_adapter::View::MAIN).await, [user(1, "C@X", 7), user(6, "f@x", 7)]);
    assert_eq!(db.rows(&users, main_at(0)).await, start);
    let stats = db.adapter.pending(&[users.clone()], Layer::MAIN).await.unwrap();
    assert_eq!(stats[0].1, TableStats { added: 1, modified: 1, removed: 2, cells: 0 });
    db.run("DELETE FROM users; INSERT INTO users VALUES (1, 'a@x', 10), (2, 'b@x', 20), (3, 'c@x', 30)");
    assert!(db.seal(&[users.clone()], Layer::MAIN, 1).await.tables.is_empty());
    assert_eq!(db.rows(&users, main_at(0)).await, start);
    let left: i64 = db.direct().query_row("SELECT count(*) FROM epoch_history_1", [], |r| r.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn filters_projection_and_limit_reach_every_part() {
    let db = Db::new(USERS);
    let users = db.register(1, "users").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&users, dev, None).await.unwrap();
    db.write(&users, dev, &[update(1, 2, int(12))]).await.unwrap();
    db.run("UPDATE users SET age = 0 WHERE id = 3");
    let scan = |projection: Option<Vec<usize>>, filter: Vec<Predicate>, limit| {
        let scan = Scan { projection, filters: filter, limit };
        let (db, users) = (&db, &users);
        async move {
            assert!(scan.filters.iter().all(|f| db.adapter.supports(users, f)));
            db.scan(users, working(dev), &scan).await.unwrap()
        }
    };
    let age = |op, v| Predicate::Compare(2, op, int(v));
    assert_eq!(scan(Some(vec![1]), vec![age(Comparison::Gt, 11)], None).await.len(), 3);
    assert_eq!(scan(Some(vec![2, 0]), vec![age(Comparison::Eq, 30)], None).await, [[int(30), int(3)]]);
    assert_eq!(scan(Some(vec![]), vec![], None).await.len(), 3);
    assert_eq!(scan(None, vec![], Some(2)).await.len(), 2);
    let any = Predicate::Or(vec![
        Predicate::In(0, vec![int(1), int(2)]),
        Predicate::And(vec![Predicate::IsNotNull(1), Predicate::Compare(1, Comparison::Eq, text("c@x"))]),
    ]);
    assert_eq!(scan(Some(vec![0]), vec![any], None).await.len(), 3);
    assert_eq!(scan(None, vec![Predicate::IsNull(2)], None).await.len(), 0);
    assert!(!db.adapter.supports(&users, &Predicate::Compare(0, Comparison::Eq, text("1"))));
}

#[tokio::test]
async fn merges_apply_exactly_or_not_at_all() {
    let db = Db::new(USERS);
    let users = db.register(1, "users").await;
    let change = |key, before: Option<Vec<Value>>, after: Option<Vec<Value>>| RowChange {
        key: vec![int(key)],
        before,
        after,
    };
    // Two rows swap a unique value, one goes, one comes.
    let changes = vec![
        change(1, Some(user(1, "a@x", 10)), Some(user(1, "b@x", 10))),
        change(2, Some(user(2, "b@x", 20)), Some(user(2, "a@x", 20))),
        change(3, Some(user(3, "c@x", 30)), None),
        change(8, None, Some(user(8, "c@x", 1))),
    ];
    db.run("INSERT INTO users VALUES (50, 'p@x', 5)");
    let done = db.apply(&users, Layer::MAIN, 1, changes.clone(), SealMode::Own).await.unwrap();
    assert_eq!(done.tables[0].1, TableStats { added: 1, modified: 2, removed: 1, cells: 0 });
    // The same operation again does nothing.
    assert_eq!(db.apply(&users, Layer::MAIN, 1, changes.clone(), SealMode::Own).await.unwrap(), done);
    assert_eq!(db.adapter.sealed("apply-1-1").await.unwrap(), Some(done));
    assert_eq!(db.adapter.sealed("other").await.unwrap(), None);
    // What wasn't the merge's own is still pending.
    let pending = db.adapter.pending(&[users.clone()], Layer::MAIN).await.unwrap();
    assert_eq!(pending[0].1.added, 1);
    assert_eq!(
        db.rows(&users, main_at(1)).await,
        [user(1, "b@x", 10), user(2, "a@x", 20), user(8, "c@x", 1)]
    );
    // A stale merge: nothing of it is applied.
    let stale = vec![
        change(1, Some(user(1, "b@x", 10)), Some(user(1, "b@x", 77))),
        change(2, Some(user(2, "a@x", 99)), Some(user(2, "a@x", 77))),
    ];
    let error = error(db.apply(&users, Layer::MAIN, 2, stale, SealMode::Own).await);
    assert_eq!(
        (error.code(), error.detail()),
        ("40001", Some("Key (id)=(2) has changed since the changes were computed."))
    );
    assert_eq!(db.rows(&users, epoch_adapter::View::MAIN).await[0], user(1, "b@x", 10));

    // The same on a branch, where the rows come from below.
    let dev = branch(2, 0);
    let done = db.apply(&users, dev, 1, changes, SealMode::All).await.unwrap();
    assert_eq!(done.tables[0].1, TableStats { added: 1, modified: 2, removed: 1, cells: 0 });
    assert_eq!(
        db.rows(&users, working(dev)).await,
        [user(1, "b@x", 10), user(2, "a@x", 20), user(8, "c@x", 1)]
    );
    assert_eq!(
        db.rows(&users, at(dev, 0)).await,
        [user(1, "a@x", 10), user(2, "b@x", 20), user(3, "c@x", 30)]
    );
}

#[tokio::test]
async fn equal_content_has_equal_digests() {
    let (a, b) = (Db::new(USERS), Db::new(USERS));
    let (ta, tb) = (a.register(1, "users").await, b.register(1, "users").await);
    a.run("UPDATE users SET age = 1 WHERE id = 3; DELETE FROM users WHERE id = 2");
    b.run("DELETE FROM users WHERE id = 2; UPDATE users SET age = 5; UPDATE users SET age = id * 10; UPDATE users SET age = 1 WHERE id = 3");
    let (sa, sb) = (a.seal(&[ta], Layer::MAIN, 1).await, b.seal(&[tb], Layer::MAIN, 1).await);
    assert_eq!(sa, sb);
    assert_eq!(sa.tables[0].2.len(), 64);
}

#[tokio::test]
async fn savepoints_and_failed_transactions() {
    let db = Db::new(USERS);
    let users = db.register(1, "users").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&users, dev, None).await.unwrap();
    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&users, dev, &[delete(1)]).await.unwrap();
    tx.savepoint("S").await.unwrap();
    tx.savepoint("s").await.unwrap();
    tx.write(&users, dev, &[delete(2)]).await.unwrap();
    let refused = error(tx.write(&users, dev, &[insert(user(3, "q@x", 1))]).await);
    assert_eq!(refused.code(), "23505");
    assert_eq!(error(tx.write(&users, dev, &[delete(3)]).await).code(), "25P02");
    tx.rollback_to("s").await.unwrap();
    tx.write(&users, dev, &[insert(user(30, "q@x", 1))]).await.unwrap();
    let own = tx.scan(&users, &working(dev), &Scan::default()).await.unwrap();
    assert_eq!(collect(own).await.unwrap(), [user(2, "b@x", 20), user(3, "c@x", 30), user(30, "q@x", 1)]);
    tx.rollback_to("S").await.unwrap();
    assert_eq!(error(tx.release("s").await).code(), "3B001");
    tx.release("S").await.unwrap();
    // A stream that isn't read to its end gives the connection back.
    drop(tx.scan(&users, &working(dev), &Scan::default()).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(db.rows(&users, working(dev)).await.len(), 2);

    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&users, Layer::MAIN, &[delete(1)]).await.unwrap();
    drop(tx);
    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&users, Layer::MAIN, &[delete(2)]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(db.rows(&users, epoch_adapter::View::MAIN).await.len(), 3);
}

#[tokio::test]
async fn writes_return_rows() {
    let db = Db::new(USERS);
    let users = db.register(1, "users").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&users, dev, None).await.unwrap();
    for layer in [dev, Layer::MAIN] {
        let mut tx = db.adapter.begin().await.unwrap();
        let new = RowWrite::Insert(vec![None, Some(text("n@x")), None]);
        let rows = tx
            .write_returning(&users, layer, &[new, update(1, 2, int(5)), delete(2), delete(99)])
            .await
            .unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0][1..], [text("n@x"), Value::Null]);
        assert_eq!(rows[1..], [user(1, "a@x", 5), user(2, "b@x", 20)]);
        tx.rollback().await.unwrap();
    }
}
