//! What moves between branches that have other versions of a table: it arrives, or it is refused. All positions of
//! a commit show the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;

const SETUP: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'm' || g FROM generate_series(1, 5) g; \
    CREATE TABLE o (id int PRIMARY KEY, v text); INSERT INTO o VALUES (1, 'one')";

fn commit(conn: &mut Conn, message: &str) -> String {
    conn.one(&format!("SELECT hash FROM epoch_commit('{message}')"))
}

fn rows(conn: &mut Conn) -> Vec<String> {
    conn.lines("SELECT * FROM t ORDER BY id")
}

/// Rows changed in a version that ours doesn't have were once dropped without a word: a stash was gone with them.
#[test]
fn rows_of_a_newer_version_are_not_lost_on_an_older_one() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let (mut newer, mut older) = (shop.branch("newer"), shop.branch("older"));
    newer.exec("ALTER TABLE t ADD COLUMN c int DEFAULT 7");
    commit(&mut newer, "alter");
    newer.exec("UPDATE t SET v = 'picked' WHERE id = 1");
    let picked = commit(&mut newer, "update");
    let before = rows(&mut older);
    let waits = older.call(&format!("epoch_cherry_pick('{picked}')"), "data_conflicts, schema_conflicts");
    assert_eq!(waits, ["0|1"]);
    older.exec("SELECT * FROM epoch_cherry_pick('--abort')");
    newer.exec("UPDATE t SET v = 'stashed' WHERE id = 2; SELECT * FROM epoch_stash('push')");
    let waits = older.call("epoch_stash('pop')", "status");
    assert!(waits[0].contains("1 conflicts (table \"t\""), "{waits:?}");
    older.exec("SELECT * FROM epoch_stash('--abort')");
    assert_eq!(older.lines("SELECT * FROM epoch_stash('list')").len(), 1, "it is still there");
    assert_eq!(rows(&mut older), before);
    newer.exec("SELECT * FROM epoch_stash('pop')");
    assert_eq!(newer.one("SELECT v FROM t WHERE id = 2"), "stashed");
}

/// A branch that had made the version alike once kept its own at the fast-forward: one commit showed two things,
/// and its merge into main brought no rows.
#[test]
fn a_fast_forward_shows_the_commits_rows_in_the_commits_version() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let (mut a, mut b) = (shop.branch("a"), shop.branch("b"));
    for conn in [&mut a, &mut b] {
        conn.exec("ALTER TABLE t ADD COLUMN c int DEFAULT 5");
    }
    a.exec("UPDATE t SET c = 50 WHERE id = 1; INSERT INTO t VALUES (100, 'a', 1)");
    commit(&mut a, "a");
    b.exec(
        "UPDATE t SET c = 51 WHERE id = 2; DELETE FROM t WHERE id = 5; INSERT INTO t VALUES (101, 'b', 2)",
    );
    commit(&mut b, "b");
    for round in 0..2 {
        let hash = a.one("SELECT hash FROM epoch_merge('b')");
        let merged = rows(&mut a);
        assert!(b.one("SELECT fast_forward FROM epoch_merge('a')") == "t");
        assert_eq!(rows(&mut b), merged, "round {round}");
        assert_eq!(rows(&mut shop.on(&hash)), merged);
        assert_eq!(b.lines("SELECT table_name FROM epoch.status"), Vec::<String>::new());
        a.exec(&format!("UPDATE t SET v = 'a{round}' WHERE id = 3"));
        commit(&mut a, "a again");
        b.exec(&format!("UPDATE t SET v = 'b{round}' WHERE id = 4"));
        commit(&mut b, "b again");
    }
    a.exec("SELECT * FROM epoch_merge('b')");
    let merged = rows(&mut a);
    shop.main().exec("SELECT * FROM epoch_merge('a')");
    assert_eq!(rows(&mut shop.direct()), merged);
}

/// The branch once went on showing the newer version, as if somebody had altered the table.
#[test]
fn an_abort_takes_the_branch_back_to_the_older_version() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let (mut a, mut b) = (shop.branch("a"), shop.branch("b"));
    a.exec("ALTER TABLE t ADD COLUMN c int");
    let altered = commit(&mut a, "alter");
    a.exec("UPDATE t SET v = 'a' WHERE id = 1");
    let updated = commit(&mut a, "update");
    b.exec("UPDATE t SET v = 'b' WHERE id = 1");
    let head = commit(&mut b, "b");
    let before = rows(&mut b);
    assert_eq!(
        b.one(&format!("SELECT data_conflicts FROM epoch_cherry_pick('{altered}', '{updated}')")),
        "1"
    );
    assert_eq!(b.one("SELECT num_conflicts FROM epoch.conflicts"), "1");
    assert_eq!(b.lines("SELECT kind FROM epoch_conflicts('t')").len(), 1, "found by the table's name");
    b.exec("SELECT * FROM epoch_cherry_pick('--abort')");
    for conn in [&mut b, &mut shop.on(&head)] {
        assert_eq!(rows(conn), before);
    }
    assert_eq!(b.lines("SELECT table_name FROM epoch.status"), Vec::<String>::new());
    b.exec("SELECT * FROM epoch_branch('c')");
    assert_eq!(rows(&mut shop.on("c")), before);
    // A rebase that leaves the ALTER out.
    let mut d = shop.branch("d");
    d.exec("ALTER TABLE t ADD COLUMN c int");
    commit(&mut d, "alter");
    d.exec("UPDATE o SET v = 'd'");
    commit(&mut d, "o");
    d.exec("SELECT * FROM epoch_rebase('-i', 'main')");
    d.exec("SELECT * FROM epoch_rebase_edit(1, 'drop')");
    d.exec("SELECT * FROM epoch_rebase('--continue')");
    assert_eq!(d.one("SELECT v FROM o"), "d");
    assert_eq!(rows(&mut d), rows(&mut shop.main()));
}

/// What waited was published for the version that the branch had before.
#[test]
fn an_alter_table_while_a_merge_waits_is_committed_or_taken_back_first() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let (mut a, mut b) = (shop.branch("a"), shop.branch("b"));
    a.exec("UPDATE t SET v = 'a' WHERE id = 1");
    commit(&mut a, "a");
    b.exec("UPDATE t SET v = 'b' WHERE id IN (1, 2)");
    commit(&mut b, "b");
    assert_eq!(a.one("SELECT conflicts FROM epoch_merge('b')"), "1");
    a.exec("ALTER TABLE t ADD COLUMN c int DEFAULT 7");
    a.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 't')");
    let error = a.err("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(error.code(), "55000");
    assert_eq!(error.message(), "branch \"a\" has made or dropped tables that are not committed");
    a.exec("SELECT * FROM epoch_merge('--abort')");
    commit(&mut a, "alter");
    assert_eq!(a.one("SELECT conflicts FROM epoch_merge('b')"), "1");
    a.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 't')");
    a.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(a.lines("SELECT v, c FROM t WHERE id < 3 ORDER BY id"), ["b|7", "b|7"]);
}

/// It said that it had done it.
#[test]
fn a_revert_of_an_alter_table_is_refused() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut a = shop.branch("a");
    a.exec("ALTER TABLE t ADD COLUMN c int DEFAULT 7");
    a.exec("UPDATE t SET v = 'a' WHERE id = 1");
    let hash = commit(&mut a, "alter");
    let before = rows(&mut a);
    let revert = format!("epoch_revert('{hash}')");
    assert_eq!(a.call(&revert, "data_conflicts, schema_conflicts"), ["0|1"]);
    assert_eq!(rows(&mut a), before);
    a.exec("SELECT * FROM epoch_revert('--abort')");
    assert_eq!(rows(&mut a), before);
    // What the table was like before, with what it had then.
    a.exec("UPDATE t SET v = 'later' WHERE id = 2");
    commit(&mut a, "later");
    a.exec(&format!("SELECT * FROM {revert}"));
    a.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 't')");
    a.exec("SELECT * FROM epoch_revert('--continue')");
    assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), shop.on("main").lines("SELECT * FROM t ORDER BY id"));
}

/// Both versions read alike, but rows have other values in the column.
#[test]
fn versions_with_other_values_are_not_alike() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let (mut a, mut b) = (shop.branch("a"), shop.branch("b"));
    a.exec("ALTER TABLE t ADD COLUMN c int DEFAULT 5");
    a.exec("ALTER TABLE t ALTER c SET DEFAULT 6");
    commit(&mut a, "a");
    b.exec("ALTER TABLE t ADD COLUMN c int DEFAULT 6");
    commit(&mut b, "b");
    let waits = a.call("epoch_merge('b')", "conflicts, message").concat();
    let what = "1|1 conflicts (table \"t\": altered differently on both sides (column \"c\"))";
    assert!(waits.starts_with(what), "{waits}");
}
