//! A branch shows its fork for ever, a commit never changes, nobody sees half of anything: with
//! writers of every kind on the base meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::Fixture;
use common::conn::Conn;

const BANK: &str = "CREATE TABLE account (id int PRIMARY KEY, money int NOT NULL); \
                    INSERT INTO account SELECT g, 100 FROM generate_series(1, 50) g";
const TOTAL: &str = "5000";
const SUM: &str = "SELECT sum(money) FROM account";
const PRINT: &str = "SELECT md5(string_agg(id || ':' || money, ',' ORDER BY id)) FROM account";

/// Moves money in transactions until told to stop; the total never changes.
fn transfers(mut conn: Conn, stop: &AtomicBool, seed: i32) {
    let mut i = seed;
    while !stop.load(Ordering::Relaxed) {
        i += 1;
        let (from, to) = (1 + i * 7 % 50, 1 + (i * 13 + 1) % 50);
        conn.simple(&format!(
            "BEGIN; UPDATE account SET money = money - 1 WHERE id = {from}; UPDATE account SET money = money + 1 WHERE id = {to}; COMMIT"
        ));
        if conn.status != 'I' {
            conn.simple("ROLLBACK");
        }
    }
}

#[test]
fn forks_and_commits_are_exact_under_writers() {
    need_postgres!();
    let shop = Fixture::registered(BANK);
    let stop = AtomicBool::new(false);
    let mut branches = vec![];
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (shop, stop) = (&shop, &stop);
            scope.spawn(move || {
                transfers(if seed == 0 { shop.main() } else { shop.direct() }, stop, seed * 1000)
            });
        }
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut main = shop.main();
            for i in 0..15 {
                let hash = main.call("epoch_commit('-m', 'meanwhile', '--skip-empty')", "hash").remove(0);
                main.exec(&format!("SELECT * FROM epoch_branch('f{i}')"));
                let mut branch = shop.on(&format!("f{i}"));
                let sum = branch.one(SUM);
                assert_eq!(sum, TOTAL, "fork {i} holds whole transactions only");
                branches.push((i, branch.one(PRINT), hash));
            }
            // Forks don't move while the writers go on.
            for (i, print, hash) in &branches {
                assert_eq!(&shop.on(&format!("f{i}")).one(PRINT), print, "fork {i} moved");
                assert_eq!(main.one(&format!("SELECT sum(money) FROM epoch_at('account', '{hash}')")), TOTAL);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        work.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    for (i, print, _) in &branches {
        assert_eq!(&shop.on(&format!("f{i}")).one(PRINT), print, "fork {i} moved at the end");
    }
    assert_eq!(shop.direct().one(SUM), TOTAL);
}

#[test]
fn readers_never_see_half_a_merge() {
    need_postgres!();
    let shop = Fixture::registered(BANK);
    for target in ["main", "t"] {
        let mut main = shop.main();
        if target == "t" {
            main.exec("SELECT * FROM epoch_branch('t')");
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for direct in [false, true] {
                if direct && target != "main" {
                    continue;
                }
                let (shop, stop) = (&shop, &stop);
                scope.spawn(move || {
                    let mut conn = if direct { shop.direct() } else { shop.on(target) };
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(conn.one(SUM), TOTAL, "a reader of {target} (direct: {direct})");
                    }
                });
            }
            let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut to = shop.on(target);
                for i in 0..8 {
                    let name = format!("{target}-{i}");
                    to.exec(&format!("SELECT * FROM epoch_branch('{name}')"));
                    let mut branch = shop.on(&name);
                    branch.exec("BEGIN; UPDATE account SET money = money - 5 WHERE id <= 25; UPDATE account SET money = money + 5 WHERE id > 25; COMMIT");
                    branch.exec("SELECT * FROM epoch_commit('moves money')");
                    assert_eq!(to.call(&format!("epoch_merge('{name}', '--no-ff')"), "conflicts"), ["0"]);
                }
            }));
            stop.store(true, Ordering::Relaxed);
            work.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        assert_eq!(
            shop.on(target).one("SELECT money FROM account WHERE id = 1"),
            if target == "main" { "60" } else { "20" }
        );
    }
}

#[test]
fn a_transaction_in_flight_is_not_in_the_fork() {
    need_postgres!();
    let shop = Fixture::registered(BANK);
    let mut flight = shop.direct();
    flight.exec("BEGIN; UPDATE account SET money = 0 WHERE id = 1; INSERT INTO account VALUES (99, 1); DELETE FROM account WHERE id = 2");
    let mut branch = shop.branch("b");
    let print = branch.one(PRINT);
    flight.exec("COMMIT");
    assert_eq!(branch.one(PRINT), print);
    assert_eq!(branch.one(SUM), TOTAL);
    let mut main = shop.main();
    assert_eq!(main.call("epoch_commit('flight')", "rows_added, rows_modified, rows_deleted"), ["1|1|1"]);
    assert_eq!(branch.one(PRINT), print);
    assert_eq!(main.one("SELECT money FROM account WHERE id = 99"), "1");

    // Across a commit on main: what was in flight falls into the next one.
    flight.exec("BEGIN; UPDATE account SET money = 7 WHERE id = 3");
    main.exec("UPDATE account SET money = 8 WHERE id = 4");
    let hash = main.call("epoch_commit('without the flight')", "hash").remove(0);
    flight.exec("COMMIT");
    let at = format!("SELECT id, money FROM epoch_at('account', '{hash}') WHERE id IN (3, 4) ORDER BY id");
    assert_eq!(main.lines(&at), ["3|100", "4|8"]);
    assert_eq!(main.call("epoch_commit('the flight')", "rows_modified"), ["1"]);
    assert_eq!(main.lines(&at), ["3|100", "4|8"]);
    // Rolled back: never there.
    flight.exec("BEGIN; DELETE FROM account");
    flight.exec("ROLLBACK");
    assert!(main.err("SELECT * FROM epoch_commit('nothing')").message().starts_with("nothing to commit"));
}

/// A commit that is younger than the transaction's snapshot was shown as it never was.
#[test]
fn another_ref_is_not_read_with_an_older_snapshot() {
    need_postgres!();
    let shop = Fixture::registered(BANK);
    let mut writer = shop.branch("b");
    for place in ["b", "main"] {
        for level in ["REPEATABLE READ", "SERIALIZABLE", "READ COMMITTED"] {
            let mut reader = shop.on(place);
            reader.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
            reader.exec("SELECT count(*) FROM account");
            writer.exec("UPDATE account SET money = money + 1 WHERE id = 1");
            let hash = writer.call("epoch_commit('more')", "hash").remove(0);
            let at = format!("SELECT money FROM epoch_at('account', '{hash}') WHERE id = 1");
            let now = writer.one("SELECT money FROM account WHERE id = 1");
            assert_eq!(reader.one(&at), now, "{place}, {level}");
            reader.exec("ROLLBACK");
            reader.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
            assert_eq!(reader.one(&at), now, "{place}, {level}, tried again");
            reader.exec("COMMIT");
        }
    }
}

/// Every way to write the base without us is captured: the branch stays, the commit counts it.
#[test]
fn capture_sees_every_way_to_write() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE); \
         INSERT INTO parent SELECT g, 'v' || g FROM generate_series(1, 20) g; INSERT INTO child SELECT g, g FROM generate_series(1, 20) g; \
         CREATE FUNCTION touch() RETURNS void LANGUAGE sql AS 'UPDATE parent SET v = v || ''f'' WHERE id = 5'; \
         CREATE ROLE epoch_test_writer_role",
    );
    let _role = DropRole(&shop);
    let mut branch = shop.branch("b");
    let print = "SELECT (SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM (SELECT id, v FROM parent) p), (SELECT md5(string_agg(c::text, ',' ORDER BY id)) FROM (SELECT id, parent_id FROM child) c)";
    let fork = branch.lines(print);
    let ways = [
        "UPDATE parent SET v = 'direct' WHERE id = 1",
        "DELETE FROM parent WHERE id = 2",
        "UPDATE parent SET id = 300 WHERE id = 3",
        "INSERT INTO parent VALUES (4, 'x') ON CONFLICT (id) DO UPDATE SET v = 'upsert'",
        "SELECT touch()",
        "DO $$ BEGIN UPDATE parent SET v = 'do' WHERE id = 6; END $$",
        "WITH d AS (DELETE FROM child WHERE id = 7 RETURNING *) INSERT INTO parent SELECT 700, 'cte' FROM d",
        "SET session_replication_role = replica; UPDATE parent SET v = 'replica' WHERE id = 8; RESET session_replication_role",
        "GRANT SELECT, UPDATE ON parent TO epoch_test_writer_role; SET ROLE epoch_test_writer_role; UPDATE parent SET v = 'role' WHERE id = 10; RESET ROLE; REVOKE ALL ON parent FROM epoch_test_writer_role",
        "BEGIN; SAVEPOINT a; UPDATE parent SET v = 'undone' WHERE id = 11; ROLLBACK TO a; UPDATE parent SET v = 'done' WHERE id = 12; COMMIT",
        "UPDATE parent SET v = 'a' WHERE id = 13; UPDATE parent SET v = 'b' WHERE id = 13",
        "DELETE FROM child WHERE id = 14; INSERT INTO child VALUES (14, 1)",
        "TRUNCATE child",
        "INSERT INTO child SELECT g, 1 FROM generate_series(50, 60) g",
        "TRUNCATE parent CASCADE",
    ];
    let mut direct = shop.direct();
    let mut main = shop.main();
    for sql in ways {
        direct.exec(sql);
        assert_eq!(branch.lines(print), fork, "after: {sql}");
        if sql.len() % 2 == 0 {
            main.exec("SELECT * FROM epoch_commit('-m', 'so far', '--skip-empty')");
            assert_eq!(branch.lines(print), fork, "after a commit of: {sql}");
        }
    }
    let reply = direct.copy_in("COPY parent FROM STDIN", &[b"1\tcopied\n2\tco", b"pied\n"]);
    assert_eq!(reply.tags(), ["COPY 2"]);
    assert_eq!(branch.lines(print), fork, "after COPY");
    main.exec("SELECT * FROM epoch_commit('-m', 'the rest', '--skip-empty')");
    assert_eq!(branch.lines(print), fork);
    let first = main.one("SELECT commit_hash FROM epoch_log() ORDER BY commit_order LIMIT 1");
    assert_eq!(shop.on(&first).lines(print), fork, "the first commit too");
    let diff = main.lines(&format!(
        "SELECT rows_added, rows_deleted, rows_modified FROM epoch_diff_stat('{first}', 'main', 'parent')"
    ));
    assert_eq!(diff, ["0|18|2"]);
}

struct DropRole<'a>(&'a Fixture);

impl Drop for DropRole<'_> {
    fn drop(&mut self) {
        self.0.direct().simple("DROP OWNED BY epoch_test_writer_role; DROP ROLE epoch_test_writer_role");
    }
}

/// Writers on one branch wait for each other's rows as on PostgreSQL, those on different ones don't.
#[test]
fn row_locks_on_a_branch() {
    need_postgres!();
    let shop = Fixture::registered(BANK);
    let mut one = shop.branch("b");
    let mut two = shop.on("b");
    let mut other = shop.branch("other");
    two.exec("SET lock_timeout = '300ms'");
    other.exec("SET lock_timeout = '300ms'");
    for (first, second) in [
        ("UPDATE account SET money = 1 WHERE id = 1", "UPDATE account SET money = 2 WHERE id = 1"),
        ("SELECT * FROM account WHERE id = 2 FOR UPDATE", "UPDATE account SET money = 2 WHERE id = 2"),
        ("DELETE FROM account WHERE id = 3", "UPDATE account SET money = 5 WHERE id = 3"),
        ("INSERT INTO account VALUES (200, 1)", "INSERT INTO account VALUES (200, 2)"),
    ] {
        one.exec("BEGIN");
        // Locked for real or refused, never accepted silently.
        if one.simple(first).error().is_some_and(|e| e.code() == "0A000") {
            one.exec("ROLLBACK");
            continue;
        }
        assert_eq!(two.err(second).code(), "55P03", "{second} waits for: {first}");
        other.exec(second);
        one.exec("ROLLBACK");
    }
    // The first updater wins, the second one sees its row.
    two.exec("RESET lock_timeout");
    one.exec("BEGIN; UPDATE account SET money = money + 10 WHERE id = 5");
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| two.exec("UPDATE account SET money = money + 1 WHERE id = 5").tags().concat());
        one.exec("COMMIT");
        assert_eq!(waiting.join().unwrap(), "UPDATE 1");
    });
    assert_eq!(one.one("SELECT money FROM account WHERE id = 5"), "111");
    assert_eq!(shop.direct().one("SELECT money FROM account WHERE id = 5"), "100");
}

/// With standard_conforming_strings off the server would end a string where our lexer goes on, and
/// run what stands in it.
#[test]
fn quotes_mean_on_a_branch_what_the_lexer_takes_them_for() {
    need_postgres!();
    let shop = Fixture::registered(BANK);
    shop.main().exec("SELECT * FROM epoch_branch('b')");
    let mut direct = shop.direct();
    let name = direct.one("SELECT current_database()");
    direct.exec(&format!("ALTER DATABASE \"{name}\" SET standard_conforming_strings = off"));
    let smuggled = r"SELECT '\', '; RESET epoch.lineage; DELETE FROM account; --'";
    let mut switched = shop.main();
    assert_eq!(switched.one("SHOW standard_conforming_strings"), "off", "main is the server's");
    switched.exec("SELECT epoch_checkout('b')");
    for mut branch in [shop.on("b"), switched] {
        assert_eq!(branch.one("SHOW standard_conforming_strings"), "on");
        for off in [
            "SELECT set_config('standard_conforming_strings', 'off', false)",
            "SET standard_conforming_strings = off",
            "SET LOCAL standard_conforming_strings TO off",
            "RESET standard_conforming_strings",
            "SET standard_conforming_strings TO DEFAULT",
            "SELECT set_config('session_replication_role', 'replica', false)",
        ] {
            assert_eq!(branch.err(off).code(), "0A000", "{off}");
        }
        branch.simple(smuggled);
        assert_eq!(branch.one(SUM), TOTAL);
    }
    assert_eq!(direct.one(SUM), TOTAL);
}

/// The ROLLBACK brought back the server's half of the checkout alone: main could not be written.
#[test]
fn reset_all_in_a_block_leaves_the_session_where_it_is() {
    need_postgres!();
    let shop = Fixture::registered(BANK);
    shop.main().exec("SELECT * FROM epoch_branch('b')");
    let mut conn = shop.main();
    conn.exec("BEGIN");
    conn.exec("RESET ALL");
    conn.exec("COMMIT");
    conn.exec("SELECT epoch_checkout('b')");
    conn.exec("BEGIN");
    assert_eq!(conn.err("RESET ALL").code(), "25001");
    conn.exec("ROLLBACK");
    assert_eq!(conn.one("SELECT epoch_active_branch()"), "b");
    conn.exec("UPDATE account SET money = 0");
    assert_eq!(shop.direct().one(SUM), TOTAL);
    conn.exec("RESET ALL");
    assert_eq!(conn.one("SELECT epoch_active_branch()"), "main");
    conn.exec("UPDATE account SET money = money");
    assert_eq!(conn.one(SUM), TOTAL);
}

/// A statement that was prepared on main, whatever its name, shows the branch or is refused there.
#[test]
fn what_was_prepared_on_main_does_not_show_main_on_a_branch() {
    need_postgres!();
    let shop = Fixture::registered(BANK);
    shop.branch("b").exec("UPDATE account SET money = 0");
    let mut conn = shop.main();
    conn.exec(&format!("PREPARE q AS {SUM}"));
    conn.exec("SELECT 1; PREPARE u (int) AS UPDATE account SET money = money + $1 WHERE id = 1");
    conn.send(&[common::conn::parse("driver", SUM, &[]), common::conn::sync()]);
    conn.reply();
    assert_eq!(conn.one("EXECUTE q"), TOTAL);
    for _ in 0..2 {
        conn.exec("SELECT * FROM epoch_checkout('b')");
        assert_eq!(conn.err("PREPARE q AS SELECT 1").code(), "42P05");
        assert_eq!(conn.one("EXECUTE q"), "0");
        assert_eq!(conn.one("EXECUTE q"), "0");
        assert_eq!(conn.err("EXECUTE driver").code(), "0A000");
        conn.exec("EXECUTE u (5)");
        assert_eq!(conn.one(SUM), "5");
        conn.exec("EXECUTE u (-5)");
        conn.exec("SELECT * FROM epoch_checkout('main')");
        assert_eq!(conn.one("EXECUTE q"), TOTAL);
        conn.exec(&format!("DEALLOCATE q; PREPARE q AS {SUM}"));
        assert_eq!(conn.one("EXECUTE q"), TOTAL);
    }
    assert_eq!(shop.direct().one(SUM), TOTAL);
}

/// What one session does to a foreign key after the other's snapshot, and what that one then does.
const AFTER_A_SNAPSHOT: &[(&str, &str)] = &[
    ("INSERT INTO child VALUES (1, 1)", "DELETE FROM parent WHERE id = 1"),
    ("INSERT INTO child VALUES (1, 1)", "UPDATE parent SET id = 50 WHERE id = 1"),
    ("UPDATE child SET parent_id = 1 WHERE id = 11", "DELETE FROM parent WHERE id = 1"),
    ("INSERT INTO child SELECT g, 1 FROM generate_series(1, 3) g", "DELETE FROM parent WHERE id < 3"),
    ("DELETE FROM parent WHERE id = 1", "INSERT INTO child VALUES (1, 1)"),
    ("UPDATE parent SET id = 50 WHERE id = 1", "INSERT INTO child VALUES (1, 1)"),
    ("DELETE FROM parent WHERE id = 1", "UPDATE child SET parent_id = 1 WHERE id = 11"),
];

/// A snapshot doesn't see the child that came since, so its parent could be deleted; or it still sees the parent that went.
#[test]
fn a_snapshot_older_than_the_other_side_of_a_foreign_key_left_an_orphan() {
    need_postgres!();
    let actions = ["CASCADE", "SET NULL", "NO ACTION", "RESTRICT", "NO ACTION DEFERRABLE INITIALLY DEFERRED"];
    for (i, action) in actions.into_iter().enumerate() {
        let on_update = action.split(" DEFERRABLE").next().unwrap();
        let shop = Fixture::registered(&format!(
            "CREATE TABLE parent (id int PRIMARY KEY, v text); \
             CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent ON UPDATE {on_update} ON DELETE {action}); \
             INSERT INTO parent SELECT g, 'v' FROM generate_series(1, 20) g; INSERT INTO child SELECT g, g FROM generate_series(11, 20) g"
        ));
        for (j, (first, then)) in AFTER_A_SNAPSHOT.iter().enumerate() {
            for level in ["REPEATABLE READ", "SERIALIZABLE"] {
                // Parents that are main's, and the branch's own.
                for own in [false, true] {
                    let what = format!("{action}, {level}, {first}, {then}, {own}");
                    let name = format!("b{i}_{j}_{}_{own}", level.len());
                    let mut writer = shop.branch(&name);
                    writer
                        .exec("UPDATE parent SET v = 'x' WHERE id = 10; INSERT INTO child VALUES (100, 10)");
                    if own {
                        writer.exec("UPDATE parent SET v = 'x' WHERE id = 1");
                    }
                    let mut snapshot = shop.on(&name);
                    snapshot.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
                    snapshot.exec("SELECT count(*) FROM parent; SELECT count(*) FROM child");
                    writer.exec(first);
                    let done = snapshot.simple(then);
                    let end = snapshot.simple("COMMIT");
                    let code = done.error().or(end.error()).map(|e| e.code().to_owned());
                    assert_eq!(code.as_deref(), Some("40001"), "{what}");
                    assert_eq!(
                        writer.one("SELECT count(*) FROM child c WHERE parent_id IS NOT NULL AND NOT EXISTS (SELECT FROM parent p WHERE p.id = c.parent_id)"),
                        "0",
                        "{what}"
                    );
                }
            }
        }
    }
}

/// Only what concerns a foreign key's other side ends a transaction: writers of children don't end each other.
#[test]
fn writers_of_children_with_snapshots_do_not_end_each_other() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent ON DELETE CASCADE); \
         INSERT INTO parent SELECT g, 'v' FROM generate_series(1, 20) g",
    );
    let mut plain = shop.branch("b");
    plain.exec("INSERT INTO child VALUES (0, 1)");
    let mut open: Vec<Conn> = (0..6).map(|_| shop.on("b")).collect();
    for (i, conn) in open.iter_mut().enumerate() {
        conn.exec(if i < 4 { "BEGIN ISOLATION LEVEL REPEATABLE READ" } else { "BEGIN" });
        conn.exec("SELECT count(*) FROM child");
    }
    plain.exec("INSERT INTO child VALUES (1, 1)");
    for (i, conn) in open.iter_mut().enumerate() {
        let id = 10 * (i + 1);
        conn.exec(&format!("INSERT INTO child VALUES ({id}, 1); SAVEPOINT a; INSERT INTO child VALUES ({}, 2); ROLLBACK TO a", id + 1));
        conn.exec(&format!("INSERT INTO child VALUES ({}, 3)", id + 2));
    }
    plain.exec("INSERT INTO child VALUES (2, 1)");
    open.iter_mut().for_each(|conn| drop(conn.exec("COMMIT")));
    assert_eq!(plain.one("SELECT count(*) FROM child"), "15");

    // A transaction that writes children itself, and one that begins when all is done, may delete the parent.
    for (level, parent) in [("REPEATABLE READ", 1), ("SERIALIZABLE", 2), ("READ COMMITTED", 3)] {
        let mut own = shop.on("b");
        own.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
        own.exec(&format!("INSERT INTO child VALUES ({}, {parent})", 200 + parent));
        own.exec(&format!("DELETE FROM parent WHERE id = {parent}"));
        own.exec(&format!("DELETE FROM parent WHERE id = {}", parent + 10));
        own.exec("COMMIT");
        assert_eq!(
            own.one(&format!("SELECT count(*) FROM child WHERE parent_id = {parent}")),
            "0",
            "{level}"
        );
    }
    // What was noted was rolled back with the savepoint.
    let mut own = shop.on("b");
    own.exec(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT a; DELETE FROM parent WHERE id = 4; ROLLBACK TO a",
    );
    plain.exec("INSERT INTO child VALUES (300, 4)");
    assert_eq!(own.err("DELETE FROM parent WHERE id = 4").code(), "40001");
    own.exec("ROLLBACK");
    let mut own = shop.on("b");
    own.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT a; INSERT INTO child VALUES (301, 5); ROLLBACK TO a");
    plain.exec("DELETE FROM parent WHERE id = 5");
    assert_eq!(own.err("INSERT INTO child VALUES (301, 5)").code(), "40001");
}

/// All entries were taken, and a writer would have gone without one.
#[test]
fn more_writers_of_children_than_entries() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent); \
         INSERT INTO parent SELECT generate_series(1, 20)",
    );
    let mut first = shop.branch("b");
    first.exec("INSERT INTO child VALUES (0, 1)");
    let mut direct = shop.direct();
    // As many transactions as there are entries, as far as the lock table goes.
    let mut holder = shop.direct();
    let key = direct.one("SELECT lineage || '.' || family FROM epoch.fk_write LIMIT 1");
    holder.exec("BEGIN");
    holder.exec(&format!("SELECT pg_advisory_xact_lock(hashtextextended('epoch.fk_write.{key}.' || s, 0)) FROM generate_series(1, 64) s"));
    let mut snapshot = shop.on("b");
    snapshot.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    snapshot.exec("SELECT count(*) FROM child");
    assert_eq!(snapshot.err("INSERT INTO child VALUES (1, 1)").code(), "40001");
    snapshot.exec("ROLLBACK");
    snapshot.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    snapshot.exec("SELECT count(*) FROM child");
    first.exec("INSERT INTO child VALUES (2, 2)");
    assert_eq!(snapshot.err("DELETE FROM parent WHERE id = 2").code(), "40001");
}
