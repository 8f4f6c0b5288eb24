//! Views and types of which both sides of a merge made something else, and what doesn't fit together without being anybody's
//! fault: it waits, as conflicts of tables do, until a side is chosen. And what a stash meets that comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::verbs::{commit, fails, status};

const BASE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, x int); INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2); \
    CREATE TABLE u (id int PRIMARY KEY, n int); INSERT INTO u VALUES (1, 1); CREATE VIEW mv AS SELECT id, v FROM t";

fn branch(f: &Fixture, name: &str, statements: &[&str]) -> Conn {
    let mut conn = f.branch(name);
    statements.iter().for_each(|sql| drop(conn.exec(sql)));
    commit(&mut conn, name);
    conn
}

fn waits(conn: &mut Conn, from: &str, what: &str) {
    let rest = "nothing was changed; resolve them, then continue the merge";
    let merged = conn.call(&format!("epoch_merge('{from}')"), "conflicts, message");
    assert_eq!(merged, [format!("1|1 conflicts ({what}): {rest}")]);
}

#[track_caller]
fn resolve(conn: &mut Conn, side: &str, name: &str) {
    assert_eq!(
        conn.call(&format!("epoch_conflicts_resolve('{side}', '{name}')"), "resolved, remaining"),
        ["1|0"]
    );
}

#[test]
fn a_side_is_chosen_for_a_view() {
    need_postgres!();
    let mut f = Fixture::registered(BASE);
    branch(
        &f,
        "theirs",
        &[
            "CREATE OR REPLACE VIEW mv AS SELECT id, v, 'theirs' AS by FROM t",
            "UPDATE u SET n = 7 WHERE id = 1",
        ],
    );
    let ours = "CREATE OR REPLACE VIEW mv AS SELECT id, v, x FROM t WHERE id = 1";
    let what = "view \"mv\": defined differently on both sides";
    for (side, result) in [("ours", "1|one|1"), ("theirs", "1|one|theirs")] {
        let name = format!("into_{side}");
        let mut a = branch(&f, &name, &[ours]);
        let dry = a.call("epoch_merge('theirs', '--dry-run')", "conflicts, message");
        assert_eq!(dry, [format!("1|would have schema conflicts: {what}")]);
        assert_eq!(a.one("SELECT count(*) FROM epoch.conflicts"), "0");
        assert_eq!(a.one("SELECT conflicts FROM epoch_preview_merge('theirs') WHERE table_name = 'mv'"), "1");
        waits(&mut a, "theirs", what);
        assert_eq!(a.lines("SELECT * FROM epoch.conflicts"), ["mv|1"]);
        let of_view = "SELECT kind, conflicting_columns, resolved FROM epoch_conflicts('mv')";
        assert_eq!(a.lines(of_view), ["schema|{}|f"]);
        assert_eq!(status(&mut a), ["mv|conflict"]);
        assert_eq!(a.lines("SELECT * FROM mv ORDER BY id"), ["1|one|1"], "nothing happened yet");
        assert_eq!(a.one("SELECT n FROM u"), "1");
        assert_eq!(a.err("SELECT * FROM epoch_merge('--continue')").code(), "55000");
        fails(
            &mut a,
            "SELECT * FROM epoch_conflicts_resolve('base', 'mv')",
            "22023",
            "view \"mv\" is in conflict as a whole",
        );
        assert_eq!(a.err("SELECT * FROM epoch_conflicts_resolve('ours', 'mw')").code(), "42P01");
        assert_eq!(a.err("SELECT * FROM epoch_conflicts_resolve('ours', 't')").code(), "22023");
        a.exec("BEGIN; UPDATE t SET x = 9 WHERE id = 1");
        assert_eq!(a.err("SELECT * FROM epoch_conflicts_resolve('ours', 'mv')").code(), "25001");
        a.exec("ROLLBACK");
        assert_eq!(
            f.on(&format!("{name}~1")).err("SELECT * FROM epoch_conflicts_resolve('ours', 'mv')").code(),
            "25006"
        );
        // Over a restart, by any session, in any way.
        drop(a);
        f.proxy.restart(&[]);
        let mut a = f.on(&name);
        let update = "UPDATE epoch.conflicts SET resolution = 'theirs' WHERE table_name = 'mv'";
        match side {
            "ours" => resolve(&mut a, "ours", "public.mv"),
            _ => assert_eq!(a.exec(update).tags(), ["UPDATE 1"]),
        }
        assert_eq!(a.lines(of_view), ["schema|{}|t"]);
        a.exec("SELECT * FROM epoch_merge('--continue')");
        assert_eq!(a.lines("SELECT * FROM mv ORDER BY id LIMIT 1"), [result]);
        assert_eq!(a.one("SELECT n FROM u"), "7");
        assert_eq!(status(&mut a), Vec::<String>::new());
        assert_eq!(a.call("epoch_merge('theirs')", "message"), ["already up to date"]);
    }
    // A tag shows what its commit does.
    f.on("into_theirs").exec("SELECT * FROM epoch_tag('chosen')");
    assert_eq!(f.on("chosen").one("SELECT count(*) FROM mv WHERE by = 'theirs'"), "2");
}

#[test]
fn a_view_that_one_side_dropped_stays_or_goes() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let anew = "CREATE OR REPLACE VIEW mv AS SELECT id, v, x FROM t";
    for (n, (side, dropped_by_us)) in
        [("ours", true), ("theirs", true), ("ours", false), ("theirs", false)].into_iter().enumerate()
    {
        let statements = if dropped_by_us { ["DROP VIEW mv", anew] } else { [anew, "DROP VIEW mv"] };
        let mut a = branch(&f, &format!("a{n}"), &statements[..1]);
        branch(&f, &format!("b{n}"), &statements[1..]);
        waits(&mut a, &format!("b{n}"), "view \"mv\": dropped on one side, defined anew on the other");
        resolve(&mut a, side, "mv");
        a.exec("SELECT * FROM epoch_merge('--continue')");
        match (side == "ours") == dropped_by_us {
            true => assert_eq!(a.err("SELECT * FROM mv").code(), "42P01", "{n}"),
            false => assert_eq!(a.one("SELECT x FROM mv WHERE id = 2"), "2", "{n}"),
        }
    }
    // Given up, it is what it was.
    let mut a = f.on("a0");
    a.exec("SELECT * FROM epoch_reset('--hard', 'HEAD~1')");
    assert_eq!(a.call("epoch_merge('b0')", "conflicts"), ["1"]);
    a.exec("SELECT * FROM epoch_merge('--abort')");
    assert_eq!(a.one("SELECT count(*) FROM epoch.conflicts"), "0");
    assert_eq!(a.err("SELECT * FROM mv").code(), "42P01");
}

#[test]
fn mains_view_is_what_was_chosen() {
    need_postgres!();
    let f =
        Fixture::registered("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one')");
    let mut main = f.main();
    branch(&f, "a", &["CREATE VIEW w AS SELECT id FROM t"]);
    branch(&f, "b", &["CREATE VIEW w AS SELECT id, v FROM t"]);
    branch(&f, "c", &["CREATE VIEW w AS SELECT 'c' AS c FROM t"]);
    main.exec("SELECT * FROM epoch_merge('a')");
    waits(&mut main, "b", "view \"w\": defined differently on both sides");
    resolve(&mut main, "theirs", "w");
    main.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(f.direct().lines("SELECT * FROM w"), ["1|one"]);
    waits(&mut main, "c", "view \"w\": defined differently on both sides");
    resolve(&mut main, "ours", "w");
    main.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(f.direct().lines("SELECT * FROM w"), ["1|one"]);
}

/// What a view reads goes on the other side: with the view or without it, and what was chosen wrong is chosen again.
#[test]
fn a_view_without_what_it_reads_is_in_conflict() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut a = branch(&f, "a", &["CREATE VIEW xs AS SELECT x FROM t"]);
    let mut b = branch(&f, "b", &["ALTER TABLE t DROP COLUMN x"]);
    let what = "view \"xs\" reads column \"x\" of \"t\", which would not be there";
    waits(&mut a, "b", what);
    resolve(&mut a, "ours", "xs");
    // With the view, the table has to be ours as well.
    let error = a.err("SELECT * FROM epoch_merge('--continue')");
    assert_eq!((error.code(), error.detail()), ("55000", what));
    assert_eq!(a.lines("SELECT * FROM epoch.conflicts"), ["t|1"]);
    resolve(&mut a, "theirs", "t");
    let error = a.err("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(
        (error.code(), error.message(), error.detail()),
        ("55000", "the merge has schema conflicts", what)
    );
    assert_eq!(a.call("epoch_conflicts_resolve('ours', 't')", "remaining"), ["0"]);
    a.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(a.lines("SELECT * FROM xs ORDER BY x"), ["1", "2"]);
    assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), ["1|one|1", "2|two|2"]);
    // The other way round.
    let mut c = branch(&f, "c", &["CREATE VIEW xs AS SELECT x FROM t"]);
    waits(&mut b, "c", what);
    resolve(&mut b, "ours", "xs");
    b.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(b.err("SELECT * FROM xs").code(), "42P01");
    assert_eq!(c.one("SELECT count(*) FROM xs"), "2");
}

/// Which view there can be is known once it is known which tables there are.
#[test]
fn a_choice_leads_to_another_one() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut a = branch(&f, "a", &["DROP VIEW mv", "DROP TABLE u"]);
    branch(&f, "b", &["UPDATE u SET n = 8 WHERE id = 1", "CREATE VIEW us AS SELECT n FROM u"]);
    waits(&mut a, "b", "table \"u\": dropped on one side, changed on the other");
    resolve(&mut a, "ours", "u");
    let error = a.err("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(
        (error.code(), error.message(), error.detail()),
        (
            "55000",
            "what was chosen leads to more schema conflicts",
            "view \"us\" reads table \"u\", which would not be there"
        )
    );
    assert_eq!(a.lines("SELECT * FROM epoch.conflicts"), ["us|1"]);
    resolve(&mut a, "ours", "us");
    a.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(a.err("SELECT * FROM u").code(), "42P01");
    assert_eq!(a.err("SELECT * FROM us").code(), "42P01");
    assert_eq!(a.err("SELECT * FROM mv").code(), "42P01");
}

/// A foreign key to a table that the other side dropped.
#[test]
fn a_table_without_its_parent_is_in_conflict() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    branch(
        &f,
        "b",
        &["CREATE TABLE k (id int PRIMARY KEY, u int REFERENCES u (id))", "INSERT INTO k VALUES (5, 1)"],
    );
    for side in ["ours", "theirs"] {
        let mut a = branch(&f, side, &["DROP TABLE u"]);
        let what = "table \"k\" refers to table \"u\", which would not be there";
        waits(&mut a, "b", what);
        resolve(&mut a, side, "u");
        if side == "ours" {
            assert_eq!(a.err("SELECT * FROM epoch_merge('--continue')").detail(), what);
            resolve(&mut a, "ours", "k");
        }
        a.exec("SELECT * FROM epoch_merge('--continue')");
        match side {
            "ours" => {
                assert_eq!(a.err("SELECT * FROM u").code(), "42P01");
                assert_eq!(a.err("SELECT * FROM k").code(), "42P01");
            }
            _ => {
                assert_eq!(a.lines("SELECT k.id, u.n FROM k JOIN u ON u.id = k.u"), ["5|1"]);
                assert_eq!(a.err("DELETE FROM u").code(), "23503");
            }
        }
    }
}

#[test]
fn a_view_that_reads_what_both_sides_altered_was_in_conflict() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut a = branch(
        &f,
        "a",
        &["ALTER TABLE u ADD COLUMN a int DEFAULT 1", "CREATE VIEW us AS SELECT n, a FROM u"],
    );
    branch(&f, "b", &["ALTER TABLE u ADD COLUMN b int DEFAULT 2", "CREATE VIEW ub AS SELECT b FROM u"]);
    assert_eq!(a.call("epoch_merge('b')", "conflicts"), ["0"]);
    assert_eq!(a.lines("SELECT us.*, ub.* FROM us, ub"), ["1|1|2"]);
    f.main().exec("SELECT * FROM epoch_merge('a')");
    assert_eq!(f.direct().lines("SELECT us.*, ub.* FROM us, ub"), ["1|1|2"]);
}

/// One name for a table and a view: which of them is chosen once.
#[test]
fn a_name_is_a_tables_or_a_views() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (view, table) = ("CREATE VIEW nn AS SELECT 1 AS a", "CREATE TABLE nn (id int PRIMARY KEY, b text)");
    for (n, (side, ours, theirs)) in
        [("ours", view, table), ("theirs", view, table), ("ours", table, view), ("theirs", table, view)]
            .into_iter()
            .enumerate()
    {
        let mut a = branch(&f, &format!("a{n}"), &[ours]);
        branch(&f, &format!("b{n}"), &[theirs]);
        waits(&mut a, &format!("b{n}"), "view \"nn\": a table on one side");
        resolve(&mut a, side, "nn");
        a.exec("SELECT * FROM epoch_merge('--continue')");
        match (side == "ours") == (ours == view) {
            true => assert_eq!(a.lines("SELECT a FROM nn"), ["1"], "{n}"),
            false => assert_eq!(a.one("SELECT count(b) FROM nn"), "0", "{n}"),
        }
    }
}

#[test]
fn a_side_is_chosen_for_a_type() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    for side in ["ours", "theirs"] {
        let (name, other) = (format!("a_{side}"), format!("b_{side}"));
        let mut a = branch(&f, &name, &["CREATE TYPE mood AS ENUM ('sad', 'ok')"]);
        branch(
            &f,
            &other,
            &["CREATE TYPE mood AS ENUM ('ok', 'sad')", "CREATE TABLE nights (id int PRIMARY KEY, m mood)"],
        );
        waits(&mut a, &other, "type \"mood\": made differently on both sides");
        assert_eq!(a.lines("SELECT * FROM epoch.conflicts"), ["mood|1"]);
        assert_eq!(a.lines("SELECT kind, resolved FROM epoch_conflicts('mood')"), ["schema|f"]);
        assert_eq!(status(&mut a), ["mood|conflict"]);
        fails(
            &mut a,
            "SELECT * FROM epoch_conflicts_resolve('base', 'mood')",
            "22023",
            "type \"mood\" is in conflict as a whole",
        );
        resolve(&mut a, side, "mood");
        if side == "ours" {
            // The table is of a type that doesn't come.
            let error = a.err("SELECT * FROM epoch_merge('--continue')");
            assert_eq!(error.detail(), "type \"mood\": table \"nights\" uses one that would not be there");
            assert_eq!(a.lines("SELECT * FROM epoch.conflicts"), ["nights|1"]);
            resolve(&mut a, "ours", "nights");
        }
        a.exec("SELECT * FROM epoch_merge('--continue')");
        match side {
            "ours" => {
                assert_eq!(a.one("SELECT enum_range(NULL::mood)"), "{sad,ok}");
                assert_eq!(a.err("SELECT * FROM nights").code(), "42P01");
            }
            _ => {
                assert_eq!(a.one("SELECT enum_range(NULL::mood)"), "{ok,sad}");
                a.exec("INSERT INTO nights VALUES (1, 'ok')");
            }
        }
    }
}

/// Picked and reverted commits stop at them, too.
#[test]
fn a_pick_stops_at_a_view() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    branch(&f, "b", &["CREATE OR REPLACE VIEW mv AS SELECT id, v, 'b' AS by FROM t"]);
    let mut a = branch(&f, "a", &["CREATE OR REPLACE VIEW mv AS SELECT id, v, 'a' AS by FROM t"]);
    assert_eq!(a.call("epoch_cherry_pick('b')", "data_conflicts, schema_conflicts"), ["0|1"]);
    resolve(&mut a, "theirs", "mv");
    a.exec("SELECT * FROM epoch_cherry_pick('--continue')");
    assert_eq!(a.one("SELECT by FROM mv WHERE id = 1"), "b");
    assert_eq!(a.call("epoch_revert('HEAD~1')", "schema_conflicts"), ["1"]);
    a.exec("SELECT * FROM epoch_revert('--abort')");
    assert_eq!(a.one("SELECT by FROM mv WHERE id = 1"), "b");
    assert_eq!(a.call("epoch_rebase('b')", "status"), ["conflicts"]);
    a.exec("SELECT * FROM epoch_rebase('--abort')");
    assert_eq!(a.one("SELECT by FROM mv WHERE id = 1"), "b");
}

/// A table that was dropped, or whose column was, since its rows were put aside.
#[test]
fn a_stash_waits_at_a_table_that_is_gone() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let what = "dropped on one side, changed on the other";
    for side in ["ours", "theirs"] {
        let mut a = f.branch(side);
        a.exec("UPDATE u SET n = 5 WHERE id = 1");
        a.exec("UPDATE t SET v = 'stashed' WHERE id = 1");
        a.exec("SELECT * FROM epoch_stash('push', 'mine')");
        a.exec("DROP TABLE u");
        commit(&mut a, "no u");
        let head = a.one("SELECT epoch_hashof('HEAD')");
        let stopped = a.one("SELECT status FROM epoch_stash('pop', 'mine')");
        assert!(stopped.contains(&format!("1 conflicts (table \"u\": {what})")), "{stopped}");
        assert_eq!(a.lines("SELECT * FROM epoch.conflicts"), ["u|1"]);
        assert_eq!(a.lines("SELECT kind, our_n FROM epoch_conflicts('u')"), ["schema|"]);
        assert_eq!(a.one("SELECT v FROM t WHERE id = 1"), "one", "nothing happened yet");
        resolve(&mut a, side, "u");
        a.exec("SELECT * FROM epoch_stash('--continue')");
        assert_eq!(a.one("SELECT v FROM t WHERE id = 1"), "stashed");
        assert_eq!(a.one("SELECT epoch_hashof('HEAD')"), head, "{side}: nothing is committed");
        assert_eq!(a.one("SELECT count(*) FROM epoch.stashes"), "0");
        match side {
            "ours" => {
                assert_eq!(status(&mut a), ["t|modified"]);
                assert_eq!(a.err("SELECT * FROM u").code(), "42P01");
            }
            _ => {
                assert_eq!(status(&mut a), ["t|modified", "u|added"]);
                assert_eq!(a.lines("SELECT * FROM u"), ["1|5"]);
                assert_eq!(f.on("theirs~0").err("SELECT * FROM u").code(), "42P01", "the head has none");
                a.exec("UPDATE u SET n = 6 WHERE id = 1");
                commit(&mut a, "u is back");
                assert_eq!(f.on("theirs~0").lines("SELECT * FROM u"), ["1|6"]);
                assert_eq!(f.on("theirs~1").err("SELECT * FROM u").code(), "42P01");
            }
        }
    }
    assert_eq!(f.direct().lines("SELECT * FROM u"), ["1|1"]);
}

#[test]
fn a_stash_brings_a_dropped_column_back_or_not() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    for side in ["ours", "theirs"] {
        let mut a = f.branch(side);
        a.exec("UPDATE u SET n = 5 WHERE id = 1");
        a.exec("SELECT * FROM epoch_stash('push')");
        a.exec("ALTER TABLE u DROP COLUMN n");
        commit(&mut a, "no n");
        let stopped = a.one("SELECT status FROM epoch_stash('pop')");
        assert!(stopped.contains("1 conflicts"), "{stopped}");
        resolve(&mut a, side, "u");
        a.exec("SELECT * FROM epoch_stash('--continue')");
        match side {
            "ours" => assert_eq!(a.lines("SELECT * FROM u"), ["1"]),
            _ => {
                assert_eq!(a.lines("SELECT * FROM u"), ["1|5"]);
                assert_eq!(status(&mut a), ["u|altered"]);
                // It is taken back as other uncommitted definitions are.
                a.exec("SELECT * FROM epoch_reset('--hard')");
                assert_eq!(a.lines("SELECT * FROM u"), ["1"]);
            }
        }
        assert_eq!(status(&mut a), Vec::<String>::new());
    }
}
