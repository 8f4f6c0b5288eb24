//! The main job on a real PostgreSQL: what a person does with psql, and what must go wrong well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod common;

use std::time::Duration;

use common::conn::{self, Conn};
use common::database::base_rows;
use common::psql::{psql, psql_ok};
use common::{Fixture, Message};

const CUSTOMERS: u32 = 20_000;

fn sums(conn: &mut Conn) -> Vec<String> {
    // A parallel plan returns the two rows in any order.
    let mut all = conn.lines(
        "SELECT count(*), sum(credit), count(city), md5(string_agg(id || email || name || coalesce(city, '-') || credit || since, ',' ORDER BY id)) FROM customers \
         UNION ALL SELECT count(*), sum(total), count(status), md5(string_agg(id || ' ' || customer_id || ' ' || total || status || placed, ',' ORDER BY id)) FROM orders",
    );
    all.sort();
    all
}

/// The session of the issue, from registration to the last trace.
#[test]
fn main_job() {
    need_postgres!();
    let shop = Fixture::shop(CUSTOMERS);
    let dump_before = shop.db.dump();
    let mut direct = shop.direct();
    let mut main = shop.main();

    // Register and branch.
    let registered = main.call("epoch_register('public.*')", "table_name, key");
    assert_eq!(registered, ["customers|{id}", "orders|{id}"]);
    let plain = sums(&mut direct);
    assert_eq!(sums(&mut main), plain, "main shows the base");
    let made = main.call("epoch_branch('feature/x')", "name, length(hash), status");
    assert!(made[0].starts_with("feature/x|64|"), "{made:?}");

    // Three updates, a delete, an insert on the branch.
    let mut branch = shop.on("feature/x");
    assert_eq!(branch.one("SELECT epoch_active_branch()"), "feature/x");
    assert_eq!(sums(&mut branch), plain, "a new branch shows main");
    assert_eq!(
        branch.exec("UPDATE customers SET credit = credit + 1000 WHERE id IN (10, 11, 12)").tags(),
        ["UPDATE 3"]
    );
    assert_eq!(branch.exec("DELETE FROM orders WHERE id = 77").tags(), ["DELETE 1"]);
    let inserted =
        branch.exec("INSERT INTO customers (id, email, name) VALUES (900001, 'new@example.com', 'New') RETURNING id, credit");
    assert_eq!(inserted.tags(), ["INSERT 0 1"]);
    assert_eq!(inserted.rows(), [[Some("900001".to_owned()), Some("0.00".to_owned())]]);
    assert_eq!(sums(&mut direct), plain, "the base doesn't change by what a branch does");
    assert_eq!(sums(&mut main), plain, "nor does main through the proxy");

    // A direct client moves main: one row against the branch's column, two beside it.
    let fork = sums(&mut branch);
    direct.exec("UPDATE customers SET credit = 5 WHERE id = 10");
    direct.exec("UPDATE customers SET city = 'Quito' WHERE id IN (11, 12)");
    direct.exec("UPDATE customers SET name = 'Changed on main' WHERE id = 500");
    direct.exec("DELETE FROM orders WHERE id = 78");
    direct.exec("INSERT INTO orders VALUES (900002, 1, 9.99, 'new', '2026-02-02 00:00:00+00')");
    assert_eq!(sums(&mut branch), fork, "the branch shows main as of the fork, before a commit on main");

    // Commit on both.
    let commit = branch.call(
        "epoch_commit('work on x')",
        "length(hash), tables_changed, rows_added, rows_modified, rows_deleted",
    );
    assert_eq!(commit, ["64|2|1|3|1"]);
    let commit = main
        .call("epoch_commit('-m', 'direct work')", "tables_changed, rows_added, rows_modified, rows_deleted");
    assert_eq!(commit, ["2|1|4|1"]);
    assert_eq!(sums(&mut branch), fork, "the branch shows main as of the fork, after a commit on main");
    assert!(branch.err("SELECT * FROM epoch_commit('again')").message().starts_with("nothing to commit"));

    // Before and after.
    let diff = main.lines(
        "SELECT diff_type, coalesce(from_id, to_id), from_credit, to_credit, changed_columns \
         FROM epoch_diff('feature/x~1', 'feature/x', 'customers') ORDER BY 2",
    );
    assert_eq!(
        diff,
        [
            "modified|10|70.00|1070.00|{credit}",
            "modified|11|77.00|1077.00|{credit}",
            "modified|12|84.00|1084.00|{credit}",
            "added|900001||0.00|{}"
        ]
    );
    let all = main.lines(
        "SELECT table_name, diff_type, key, from_row ->> 'total', to_row IS NULL FROM epoch_diff('feature/x~1..feature/x') \
         WHERE table_name = 'orders'",
    );
    assert_eq!(all, ["orders|removed|{\"id\": 77}|77.50|t"]);
    let stat = main.lines(
        "SELECT table_name, rows_added, rows_deleted, rows_modified, cells_modified FROM epoch_diff_stat('main~1', 'main') ORDER BY 1",
    );
    assert_eq!(stat, ["customers|0|0|4|4", "orders|1|1|0|0"], "direct changes: 10, 11, 12 and 500");
    let joined = main.lines(
        "SELECT c.name, d.to_credit FROM epoch_diff('feature/x~1', 'feature/x', 'customers') d JOIN customers c ON c.id = d.to_id WHERE c.id = 11",
    );
    assert_eq!(joined, ["Customer 11|1077.00"], "a diff joins with tables");

    // Merge: row 10 conflicts, 11 and 12 merge by field.
    let before_merge = base_rows(&mut direct);
    let merge = main.call("epoch_merge('feature/x')", "fast_forward, conflicts");
    assert_eq!(merge, ["f|1"]);
    assert_eq!(base_rows(&mut direct), before_merge, "nothing is applied while a conflict waits");
    assert_eq!(main.lines("SELECT table_name, num_conflicts FROM epoch.conflicts"), ["customers|1"]);
    let conflict = main.lines(
        "SELECT kind, base_id, base_credit, our_credit, their_credit FROM epoch_conflicts('customers')",
    );
    assert_eq!(conflict, ["modify/modify|10|70.00|5.00|1070.00"]);
    drop(main);
    let mut main = shop.main();
    assert_eq!(
        main.lines("SELECT num_conflicts FROM epoch.conflicts"),
        ["1"],
        "the merge outlives the session"
    );
    assert_eq!(main.call("epoch_conflicts_resolve('theirs', 'customers')", "resolved, remaining"), ["1|0"]);
    let done = main.call("epoch_merge('--continue')", "fast_forward, conflicts, length(hash)");
    assert_eq!(done, ["f|0|64"]);
    let merged =
        direct.lines("SELECT id, credit, city FROM customers WHERE id IN (10, 11, 12, 900001) ORDER BY id");
    assert_eq!(merged, ["10|1070.00|Oslo", "11|1077.00|Quito", "12|1084.00|Quito", "900001|0.00|"]);
    assert_eq!(direct.lines("SELECT id FROM orders WHERE id IN (77, 78, 900002)"), ["900002"]);
    assert_eq!(direct.one("SELECT name FROM customers WHERE id = 500"), "Changed on main");
    assert_eq!(sums(&mut branch), fork, "a merge into main doesn't move the branch");
    let parents = main.lines(
        "SELECT array_length(parents, 1), message FROM epoch_log() ORDER BY commit_order DESC LIMIT 1",
    );
    assert!(parents[0].starts_with("2|"), "{parents:?}");
    assert!(main.lines("SELECT * FROM epoch.status").is_empty());
    let again = main.call("epoch_merge('feature/x')", "conflicts");
    assert_eq!(again, ["0"], "merging twice is a no-op");

    // What was before stays readable.
    assert_eq!(main.one("SELECT credit FROM epoch_at('customers', 'main~1') WHERE id = 10"), "5.00");
    let first = main.one("SELECT commit_hash FROM epoch_log() ORDER BY commit_order LIMIT 1");
    assert_eq!(sums(&mut shop.on(&first)), plain, "the first commit shows what was registered");

    // No trace.
    let merged_sums = sums(&mut direct);
    drop(branch);
    main.exec("SELECT * FROM epoch_branch('-D', 'feature/x')");
    main.exec("SELECT * FROM epoch_unregister('orders')");
    main.exec("SELECT * FROM epoch_unregister('customers')");
    assert_eq!(sums(&mut direct), merged_sums);
    undo_merge(&mut direct);
    assert_eq!(sums(&mut direct), plain);
    let dump_after = shop.db.dump();
    assert_eq!(sorted(&dump_before), sorted(&dump_after), "the database is as it was before registration");
}

fn undo_merge(direct: &mut Conn) {
    direct.exec(
        "UPDATE customers SET credit = (id * 7 % 1000), city = (ARRAY['Oslo','Rome','Lima','Pune',NULL])[1 + id % 5], \
           name = 'Customer ' || id WHERE id IN (10, 11, 12, 500); \
         DELETE FROM customers WHERE id = 900001; DELETE FROM orders WHERE id = 900002; \
         INSERT INTO orders SELECT g, 1 + (g * 3) % 20000, (g % 500)::numeric + 0.5, (ARRAY['new','paid','sent'])[1 + g % 3], \
           TIMESTAMPTZ '2026-01-01 00:00:00+00' + g * interval '1 minute' FROM generate_series(77, 78) g",
    );
}

/// Rows come in another order after updates; everything else is in the same one.
fn sorted(dump: &str) -> Vec<&str> {
    let mut lines: Vec<_> = dump.lines().collect();
    lines.sort_unstable();
    lines
}

/// Register and unregister alone: the dump is the same to the byte.
#[test]
fn unregister_leaves_no_trace() {
    need_postgres!();
    let shop = Fixture::shop(100);
    let before = shop.db.dump();
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_register('public.*')");
    assert_ne!(shop.db.dump(), before, "registration installs capture");
    let mut branch = shop.branch("b");
    branch.exec("UPDATE customers SET name = 'x' WHERE id < 10");
    branch.exec("SELECT * FROM epoch_commit('c')");
    drop(branch);
    let refused = main.err("SELECT * FROM epoch_unregister('customers')");
    assert!(!refused.message().is_empty(), "a branch holds changes that aren't merged");
    main.exec("SELECT * FROM epoch_unregister('customers', '-f')");
    main.exec("SELECT * FROM epoch_unregister('orders', '-f')");
    assert_eq!(shop.db.dump(), before);
    // And it can start over.
    main.exec("SELECT * FROM epoch_register('customers')");
    assert_eq!(main.one("SELECT count(*) FROM customers"), "100");
}

#[test]
fn every_way_to_a_branch() {
    need_postgres!();
    let shop = Fixture::shop(100);
    shop.main().exec("SELECT * FROM epoch_register('public.*')");
    shop.branch("feature/x").exec("UPDATE customers SET name = 'On x' WHERE id = 1");
    let name = "SELECT name FROM customers WHERE id = 1";

    let options = shop.proxy.target("main").param("options", "-c epoch.branch=feature/x");
    assert_eq!(options.connect().one(name), "On x");
    let script = "\\set ON_ERROR_STOP on\nSELECT name FROM customers WHERE id = 1;\n";
    assert_eq!(psql_ok(&shop.proxy.target("feature/x"), script), "On x\n");

    let mut conn = shop.main();
    assert_eq!(conn.one(name), "Customer 1");
    conn.exec("SET epoch.branch = 'feature/x'");
    assert_eq!(conn.one(name), "On x");
    assert_eq!(conn.one("SHOW epoch.branch"), "feature/x");
    conn.exec("RESET epoch.branch");
    assert_eq!(conn.one(name), "Customer 1");
    let checkout = conn.call("epoch_checkout('feature/x')", "branch, length(hash)");
    assert_eq!(checkout, ["feature/x|64"]);
    assert_eq!(conn.one(name), "On x");
    conn.exec("DISCARD ALL");
    assert_eq!(conn.one(name), "Customer 1", "a pooled connection never inherits a checkout");
    assert_eq!(conn.call("epoch_checkout('-b', 'made/here')", "branch"), ["made/here"]);
    assert_eq!(conn.one("SELECT epoch_active_branch()"), "made/here");
    conn.exec("CALL epoch_checkout('main')");
    assert_eq!(conn.one("SELECT epoch_active_branch()"), "main");

    conn.exec("BEGIN");
    assert_eq!(conn.err("SET epoch.branch = 'feature/x'").code(), "25001");
    conn.exec("ROLLBACK");
    conn.exec("BEGIN");
    assert_eq!(conn.err("SELECT * FROM epoch_checkout('feature/x')").code(), "25001");
    conn.exec("ROLLBACK");

    // Tags, commits and ancestors are read-only.
    conn.exec("SELECT * FROM epoch_checkout('feature/x')");
    conn.exec("SELECT * FROM epoch_commit('on x')");
    conn.exec("SELECT * FROM epoch_tag('v1.2')");
    let hash = conn.one("SELECT epoch_hashof('HEAD')");
    for (reference, expected) in [("v1.2", "On x"), (&hash[..10], "On x"), ("feature/x~1", "Customer 1")] {
        let mut conn = shop.on(reference);
        assert_eq!(conn.one(name), expected, "{reference}");
        assert_eq!(conn.err("UPDATE customers SET name = 'no' WHERE id = 1").code(), "25006", "{reference}");
        assert_eq!(conn.err("SELECT * FROM epoch_commit('no')").code(), "25006", "{reference}");
    }
}

/// A branch of a branch shows its parent as of the fork, at every depth.
#[test]
fn nested_branches() {
    need_postgres!();
    let shop = Fixture::shop(200);
    shop.main().exec("SELECT * FROM epoch_register('public.*')");
    let mut expected = vec![];
    let mut parent = shop.branch("d0");
    for depth in 1..6 {
        let id = depth * 10;
        parent.exec(&format!("UPDATE customers SET name = 'depth {depth}' WHERE id = {id}"));
        parent.exec(&format!("DELETE FROM orders WHERE id = {id}"));
        parent.exec(&format!("SELECT * FROM epoch_commit('depth {depth}')"));
        expected.push(format!("{id}|depth {depth}"));
        parent.exec(&format!("SELECT * FROM epoch_branch('d{depth}')"));
        // Later work on the parent isn't seen by the child.
        parent.exec(&format!("UPDATE customers SET name = 'late' WHERE id = {id}"));
        parent = shop.on(&format!("d{depth}"));
        let names = parent.lines("SELECT id, name FROM customers WHERE name !~ '^Customer' ORDER BY id");
        assert_eq!(names, expected, "depth {depth}");
        assert_eq!(parent.one("SELECT count(*) FROM orders"), (200 - depth).to_string());
    }
    shop.direct().exec("UPDATE customers SET name = 'direct' WHERE id BETWEEN 1 AND 100");
    let names = parent.lines("SELECT id, name FROM customers WHERE name !~ '^Customer' ORDER BY id");
    assert_eq!(names, expected, "main moves, the deepest branch doesn't");
}

/// Errors of the server's own kind, and a server that goes on.
#[test]
fn bad_input() {
    need_postgres!();
    let shop = Fixture::shop(100);
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_register('public.*')");
    shop.direct()
        .exec("CREATE TABLE keyless (a int, b text); CREATE TABLE unregistered (id int PRIMARY KEY)");

    let unknown = shop.proxy.database("shap").try_connect().err().unwrap();
    assert_eq!(unknown.code(), "3D000");
    assert!(unknown.hint().contains("shop"), "{unknown:?}");
    main.exec("SELECT * FROM epoch_branch('feature/x')");
    let unknown = shop.proxy.target("feature/y").try_connect().err().unwrap();
    assert_eq!(unknown.code(), "3D000");
    assert!(unknown.hint().contains("feature/x"), "near names are listed: {unknown:?}");

    for (sql, code) in [
        ("SELEC 1", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nothing FROM customers", "42703"),
        ("SELECT * FROM epoch_register('keyless')", "42830"),
        ("SELECT * FROM epoch_register('not_there')", "42P01"),
        ("SELECT * FROM epoch_branch('--nonsense', 'x')", "22023"),
        ("SELECT * FROM epoch_commit('--nonsense')", "22023"),
        ("SELECT * FROM epoch_merge('not/there')", "3D000"),
        ("SELECT * FROM epoch_checkout('not/there')", "3D000"),
        ("SELECT * FROM epoch_diff('main', 'not/there', 'customers')", "3D000"),
        ("SELECT * FROM epoch_branch('a..b')", "42602"),
        ("SELECT * FROM epoch_branch('feature/x')", "42710"),
        ("SELECT * FROM epoch_nonsense()", "42883"),
        ("SET epoch.branch = 'not/there'", "3D000"),
        ("SELECT * FROM epoch_diff('main', 'main', 'not_there')", "42P01"),
    ] {
        let error = main.err(sql);
        assert_eq!(error.code(), code, "{sql}: {error:?}");
        let extended = main.extended(sql, &[], false);
        assert_eq!(extended.error().map(|e| e.code().to_owned()), Some(code.to_owned()), "extended: {sql}");
        assert_eq!(main.one("SELECT 1"), "1", "the session goes on after {sql}");
    }

    let mut branch = shop.on("feature/x");
    for (sql, code) in [
        ("SELEC 1", "42601"),
        ("UPDATE keyless SET a = 1", "0A000"),
        ("INSERT INTO unregistered VALUES (1)", "0A000"),
        ("CREATE TYPE pair AS (a int, b text)", "0A000"),
        ("TRUNCATE customers, keyless", "0A000"),
        ("DO $$ BEGIN DELETE FROM customers; END $$", "0A000"),
        ("INSERT INTO customers (id, email, name) VALUES (1, 'z', 'z')", "23505"),
        ("UPDATE customers SET credit = -1 WHERE id = 1", "23514"),
        ("UPDATE orders SET customer_id = 999999 WHERE id = 1", "23503"),
    ] {
        let error = branch.err(sql);
        assert_eq!(error.code(), code, "{sql}: {error:?}");
        assert_eq!(branch.one("SELECT 1"), "1", "the session goes on after {sql}");
    }
    assert_eq!(branch.one("SELECT count(*) FROM customers"), "100");
}

/// Frames that are no frames: an error or a closed connection, and the next client is served.
#[test]
fn broken_frames() {
    need_postgres!();
    let shop = Fixture::shop(10);
    let port = shop.proxy.port;
    let startup = conn::startup([("user", "postgres"), ("database", "shop")].into_iter());
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("a truncated length", vec![0, 0]),
        ("a startup of 2 GB", vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]),
        ("a startup of length 0", vec![0, 0, 0, 0, 0, 3, 0, 0]),
        ("a negative length", vec![0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("half a startup", startup[..startup.len() / 2].to_vec()),
        ("a startup without an end", [&[0, 0, 0, 13, 0, 3, 0, 0][..], b"user\0"].concat()),
        ("protocol 9", vec![0, 0, 0, 9, 0, 9, 0, 0, 0]),
        ("an SSLRequest and silence", vec![0, 0, 0, 8, 4, 210, 22, 47]),
        ("a cancel of nobody", [&[0, 0, 0, 16, 4, 210, 22, 46][..], &[1; 8]].concat()),
        ("a query of 2 GB", [&startup[..], &[b'Q', 0x7f, 0xff, 0xff, 0xff, b'S']].concat()),
        ("a query of length 0", [&startup[..], &[b'Q', 0, 0, 0, 0]].concat()),
        ("a negative query", [&startup[..], &[b'Q', 0xff, 0xff, 0xff, 0xff]].concat()),
        ("half a query", [&startup[..], &[b'Q', 0, 0, 1, 0], b"SELECT"].concat()),
        ("a query without an end", [&startup[..], &conn::frame(b'Q', &[b"SELECT 1"])].concat()),
        ("an unknown message", [&startup[..], &conn::frame(b'y', &[b"?"])].concat()),
        ("a Bind that lies", [&startup[..], &conn::frame(b'B', &[b"\0\0", &[0x7f, 0xff, 0, 0]])].concat()),
        ("a Parse of 2 GB", [&startup[..], &[b'P', 0x7f, 0xff, 0xff, 0xff, 0]].concat()),
        (
            "bytes that are no text",
            [&startup[..], &conn::query("SELECT 1")[..5], &[0xff, 0xfe, 0, 0, 0]].concat(),
        ),
    ];
    for (what, bytes) in attacks {
        let mut conn = Conn::raw("127.0.0.1", port);
        conn.set_patience(Duration::from_secs(20));
        let _ = conn.send_raw(&bytes);
        conn.half_close();
        // Everything the server has to say, up to its end of the connection.
        let mut last = None;
        loop {
            match read_any(&mut conn) {
                Ok(message) => last = Some(message),
                Err(e) => {
                    let patience =
                        matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                    assert!(!patience, "{what}: the server holds a dead connection; it last said {last:?}");
                    break;
                }
            }
        }
        assert_eq!(shop.main().one("SELECT count(*) FROM customers"), "10", "served on after {what}");
    }
}

fn read_any(conn: &mut Conn) -> std::io::Result<Message> {
    conn.recv()
}

#[test]
fn psql_shows_what_a_person_expects() {
    need_postgres!();
    let shop = Fixture::shop(50);
    shop.main().exec("SELECT * FROM epoch_register('public.*')");
    let target = shop.proxy.target("main");
    let output = psql(&target, &["-A"], "\\dt\n\\d customers\n\\l\n\\dn\n");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("public|customers|table"), "{text}");
    assert!(text.contains("customers_pkey"), "{text}");
    let functions = psql_ok(&target, "\\df epoch_*\n");
    assert!(functions.contains("epoch_merge"), "{functions}");
    let help = psql_ok(&target, "SELECT count(*) > 20 FROM epoch_help();\n");
    assert_eq!(help, "t\n");
    // A statement that fails doesn't end the script.
    let output = psql(&shop.proxy.target("main"), &["-At"], "SELEC 1;\nSELECT 'on';\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("syntax error"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "on\n");
}

/// Readers see a merge as a whole, and commits can be made while others write.
#[test]
fn concurrent_writers_lose_nothing() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL); INSERT INTO counter SELECT g, 0 FROM generate_series(1, 5) g",
    );
    shop.branch("b");
    const WRITERS: i32 = 4;
    const ROUNDS: i32 = 40;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let shop = &shop;
            scope.spawn(move || {
                let mut conn = shop.on("b");
                for round in 0..ROUNDS {
                    let id = 1 + (writer + round) % 5;
                    assert_eq!(
                        conn.exec(&format!("UPDATE counter SET n = n + 1 WHERE id = {id}")).tags(),
                        ["UPDATE 1"]
                    );
                }
            });
        }
        let shop = &shop;
        scope.spawn(move || {
            let mut conn = shop.on("b");
            for _ in 0..10 {
                conn.exec("SELECT * FROM epoch_commit('-m', 'while others write', '--skip-empty')");
            }
        });
    });
    let mut branch = shop.on("b");
    let total = (WRITERS * ROUNDS).to_string();
    assert_eq!(branch.one("SELECT sum(n) FROM counter"), total);
    branch.exec("SELECT * FROM epoch_commit('-m', 'rest', '--skip-empty')");
    assert_eq!(shop.main().one("SELECT sum(n) FROM epoch_at('counter', 'b')"), total);
    assert_eq!(shop.direct().one("SELECT sum(n) FROM counter"), "0");
    let merge = shop.main().call("epoch_merge('b')", "fast_forward, conflicts");
    assert_eq!(merge, ["t|0"]);
    assert_eq!(shop.direct().one("SELECT sum(n) FROM counter"), total);
}
