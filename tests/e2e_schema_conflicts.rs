//! Tables of which both sides of a merge made something else: the merge waits, as with conflicts of rows, until a side is
//! chosen for each, with its definition and all its rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::database::base_rows;

const SETUP: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 5) i;
    CREATE TABLE u (id int PRIMARY KEY, n int); INSERT INTO u SELECT i, i FROM generate_series(1, 5) i";

fn branch(f: &Fixture, name: &str, statements: &[&str]) -> Conn {
    f.main().exec(&format!("SELECT * FROM epoch_branch('{name}')"));
    let mut conn = f.on(name);
    statements.iter().for_each(|sql| drop(conn.exec(sql)));
    conn.exec(&format!("SELECT * FROM epoch_commit('{name}')"));
    conn
}

fn waits(conn: &mut Conn, from: &str, conflicts: usize) {
    let call = format!("epoch_merge('{from}')");
    assert_eq!(conn.call(&call, "conflicts"), [conflicts.to_string()], "{from}");
}

fn rows(conn: &mut Conn, table: &str) -> Vec<String> {
    conn.lines(&format!("SELECT * FROM {table} ORDER BY id"))
}

/// Altered on both sides: the side's version, with its rows; other tables are merged as ever.
#[test]
fn a_side_is_chosen_for_a_table() {
    need_postgres!();
    let f = Fixture::registered(SETUP);
    let ours = [
        "ALTER TABLE t ADD c int DEFAULT 1",
        "UPDATE t SET v = 'ours' WHERE id = 1",
        "UPDATE u SET n = 10 WHERE id = 1",
    ];
    let theirs = [
        "ALTER TABLE t ADD c text DEFAULT 'x'",
        "UPDATE t SET v = 'theirs' WHERE id IN (1, 2)",
        "DELETE FROM t WHERE id = 5",
        "UPDATE u SET n = 20 WHERE id = 2",
    ];
    let mut theirs_too = branch(&f, "theirs", &theirs);
    let before = base_rows(&mut f.direct());
    for side in ["ours", "theirs"] {
        let mut a = branch(&f, &format!("into_{side}"), &ours);
        let was = rows(&mut a, "t");
        waits(&mut a, "theirs", 1);
        assert_eq!(
            a.lines("SELECT kind, our_v, conflicting_columns, resolved FROM epoch_conflicts('t')"),
            ["schema||{\"column \\\"c\\\"\"}|f"]
        );
        assert_eq!(rows(&mut a, "t"), was, "nothing happened yet");
        let error = a.err("SELECT * FROM epoch_merge('--continue')");
        assert_eq!(error.code(), "55000", "{error:?}");
        assert_eq!(a.err("SELECT * FROM epoch_conflicts_resolve('base', 't')").code(), "22023");
        // Any session with the right may choose, in any way.
        let mut other = f.on(&format!("into_{side}"));
        match side {
            "ours" => {
                drop(other.exec("UPDATE epoch.conflicts SET resolution = 'ours' WHERE table_name = 't'"))
            }
            _ => assert_eq!(other.call("epoch_conflicts_resolve('theirs', 't')", "remaining"), ["0"]),
        }
        a.exec("SELECT * FROM epoch_merge('--continue')");
        let expected = if side == "ours" { was } else { rows(&mut theirs_too, "t") };
        assert_eq!(rows(&mut a, "t"), expected, "{side}");
        assert_eq!(a.lines("SELECT n FROM u ORDER BY id"), ["10", "20", "3", "4", "5"], "{side}");
        assert_eq!(a.one("SELECT count(*) FROM epoch.conflicts"), "0");
        assert_eq!(a.one("SELECT count(*) FROM epoch.status"), "0");
        // The merge's commit shows the same, later too, and what comes then is merged into the version that was chosen.
        a.exec("INSERT INTO t (id, v) VALUES (9, 'later')");
        a.exec("SELECT * FROM epoch_commit('later')");
        let commit = f.on(&format!("into_{side}~1"));
        let mut commit = commit;
        assert_eq!(rows(&mut commit, "t"), expected, "{side}");
        assert_eq!(a.call("epoch_merge('theirs')", "message"), ["already up to date"]);
        if side == "theirs" {
            theirs_too.exec("UPDATE t SET c = 'again' WHERE id = 3");
            theirs_too.exec("SELECT * FROM epoch_commit('again')");
            assert_eq!(a.call("epoch_merge('theirs')", "conflicts"), ["0"]);
            assert_eq!(a.one("SELECT c FROM t WHERE id = 3"), "again");
            assert_eq!(a.one("SELECT count(*) FROM t WHERE id = 9"), "1");
        }
    }
    assert_eq!(base_rows(&mut f.direct()), before);
}

/// Dropped on one side, changed or altered on the other, whoever merges whom.
#[test]
fn a_table_that_one_side_dropped_stays_or_goes() {
    need_postgres!();
    let f = Fixture::registered(SETUP);
    for (n, change) in
        ["UPDATE t SET v = 'new' WHERE id = 1", "ALTER TABLE t ADD c int DEFAULT 4"].iter().enumerate()
    {
        for (side, dropped_by_us) in [("ours", true), ("theirs", true), ("ours", false), ("theirs", false)] {
            let (name, other) = (format!("a{n}{side}{dropped_by_us}"), format!("b{n}{side}{dropped_by_us}"));
            let statements = if dropped_by_us { ["DROP TABLE t", change] } else { [change, "DROP TABLE t"] };
            let mut a = branch(&f, &name, &statements[..1]);
            let mut b = branch(&f, &other, &statements[1..]);
            let changed = rows(if dropped_by_us { &mut b } else { &mut a }, "t");
            waits(&mut a, &other, 1);
            assert_eq!(a.lines("SELECT * FROM epoch.conflicts"), ["t|1"], "{name}");
            assert_eq!(
                a.call(&format!("epoch_conflicts_resolve('{side}', 't')"), "resolved, remaining"),
                ["1|0"],
                "{name}"
            );
            a.exec("SELECT * FROM epoch_merge('--continue')");
            if (side == "ours") == dropped_by_us {
                assert_eq!(a.err("SELECT * FROM t").code(), "42P01", "{name}");
            } else {
                assert_eq!(rows(&mut a, "t"), changed, "{name}");
                a.exec("UPDATE t SET v = 'after' WHERE id = 2");
                assert_eq!(a.one("SELECT count(*) FROM epoch_diff('HEAD', 'WORKING', 't')"), "1", "{name}");
            }
            assert_eq!(rows(&mut a, "u").len(), 5);
        }
    }
}

/// Made by both under one name, and nothing else in common.
#[test]
fn tables_of_one_name_are_not_both_kept() {
    need_postgres!();
    let f = Fixture::registered(SETUP);
    for side in ["ours", "theirs"] {
        let (name, other) = (format!("a_{side}"), format!("b_{side}"));
        let mut a =
            branch(&f, &name, &["CREATE TABLE m (id int PRIMARY KEY, a int)", "INSERT INTO m VALUES (1, 1)"]);
        branch(&f, &other, &["CREATE TABLE m (id int PRIMARY KEY, b text)", "INSERT INTO m VALUES (2, 'b')"]);
        waits(&mut a, &other, 1);
        a.exec(&format!("SELECT * FROM epoch_conflicts_resolve('--{side}', 'm')"));
        a.exec("SELECT * FROM epoch_merge('--continue')");
        assert_eq!(rows(&mut a, "m"), [if side == "ours" { "1|1" } else { "2|b" }]);
    }
}

/// With conflicts of rows beside it, over a restart, given up, and picked.
#[test]
fn they_wait_with_others_and_over_a_restart() {
    need_postgres!();
    let mut f = Fixture::registered(SETUP);
    let ours = ["ALTER TABLE t ADD c int", "UPDATE u SET n = 10 WHERE id = 1"];
    let theirs = ["ALTER TABLE t ADD c text", "UPDATE u SET n = 20 WHERE id = 1"];
    let mut a = branch(&f, "a", &ours);
    branch(&f, "b", &theirs);
    waits(&mut a, "b", 2);
    f.proxy.kill();
    f.proxy.restart(&[]);
    let mut a = f.on("a");
    assert_eq!(a.lines("SELECT * FROM epoch.conflicts ORDER BY 1"), ["t|1", "u|1"]);
    a.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 't')");
    a.exec("SELECT * FROM epoch_conflicts_resolve('value', 'u', ARRAY['1'], 'n', '15')");
    a.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(a.one("SELECT n FROM u WHERE id = 1"), "15");
    assert_eq!(a.one("SELECT pg_typeof(c) FROM t LIMIT 1"), "text");
    let mut c = branch(&f, "c", &ours);
    let was = rows(&mut c, "t");
    assert_eq!(c.call("epoch_cherry_pick('b')", "data_conflicts, schema_conflicts"), ["1|1"]);
    c.exec("SELECT * FROM epoch_cherry_pick('--abort')");
    assert_eq!(rows(&mut c, "t"), was);
    assert_eq!(c.call("epoch_cherry_pick('b')", "data_conflicts, schema_conflicts"), ["1|1"]);
    c.exec("SELECT * FROM epoch_conflicts_resolve('--ours')");
    c.exec("SELECT * FROM epoch_cherry_pick('--continue')");
    assert_eq!(rows(&mut c, "t"), was);
    assert_eq!(c.one("SELECT n FROM u WHERE id = 1"), "10");
}

/// Main keeps the version that it has; a branch may take main's, and comes back with it.
#[test]
fn main_keeps_its_own() {
    need_postgres!();
    let f = Fixture::registered(SETUP);
    let mut a = branch(&f, "a", &["ALTER TABLE t ADD c int DEFAULT 1"]);
    let mut b = branch(&f, "b", &["ALTER TABLE t ADD c text DEFAULT 'b'"]);
    let mut main = f.main();
    main.exec("SELECT * FROM epoch_merge('a')");
    waits(&mut main, "b", 1);
    main.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 't')");
    assert_eq!(main.err("SELECT * FROM epoch_merge('--continue')").code(), "0A000");
    assert_eq!(f.direct().one("SELECT pg_typeof(c) FROM t LIMIT 1"), "integer");
    main.exec("SELECT * FROM epoch_merge('--abort')");
    waits(&mut b, "main", 1);
    b.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 't')");
    b.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(rows(&mut b, "t"), rows(&mut a, "t"));
    b.exec("UPDATE t SET c = 7 WHERE id = 1");
    b.exec("SELECT * FROM epoch_commit('seven')");
    assert_eq!(main.call("epoch_merge('b')", "conflicts"), ["0"]);
    assert_eq!(f.direct().one("SELECT c FROM t WHERE id = 1"), "7");
}
