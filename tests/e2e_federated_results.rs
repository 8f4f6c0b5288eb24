//! The judge of the federated route: the same queries over the same rows in SQLite tables through the
//! proxy and in PostgreSQL itself: the same columns, types, rows (text and binary) and SQLSTATEs.
//!
//! `tests/sql/federated/NN_*.sql` hold a query per line. `! ` before it: refused with 0A000 through the
//! proxy. Everything else must be equal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::{Conn, bind, execute, parse, sync};
use common::judge::{Two, essence, prepared};
use common::message::Reply;
use common::proxy::{Proxy, ProxyConfig};

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql/federated")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The rows of the lists in both.
fn two() -> Two {
    Two::new(&read("postgres.sql"), &read("sqlite.sql"))
}

/// What is wrong with a line, if anything.
fn judge(two: &mut Two, line: &str) -> Option<String> {
    let (refused, sql) = match line.strip_prefix("! ") {
        Some(sql) => (true, sql),
        None => (false, line),
    };
    for how in ["simple", "text", "binary"] {
        let run = |conn: &mut Conn| match how {
            "simple" => conn.simple(sql),
            how => prepared(conn, sql, &[], how == "binary"),
        };
        let ours = run(&mut two.ours);
        let mut got = essence(&ours);
        let plain = run(&mut two.plain);
        let mut wanted = essence(&plain);
        if refused {
            wanted = vec!["error 0A000".to_owned()];
        }
        if !sql.to_ascii_lowercase().contains("order by") {
            got.sort();
            wanted.sort();
        }
        if got != wanted {
            let message = |r: &Reply| r.error().map(|e| e.message().to_owned()).unwrap_or_default();
            return Some(format!(
                "{how}: {line}\n   postgres: {wanted:?} {}\n   federated: {got:?} {}",
                message(&plain),
                message(&ours)
            ));
        }
    }
    None
}

fn judge_all(file: &str) {
    need_postgres!();
    let mut two = two();
    let text = read(file);
    let lines: Vec<_> = text.lines().filter(|l| !l.is_empty() && !l.starts_with("--")).collect();
    let wrong: Vec<_> = lines.iter().filter_map(|line| judge(&mut two, line)).collect();
    assert!(wrong.is_empty(), "{} of {} in {file} differ:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
}

#[test]
fn numbers() {
    judge_all("10_numbers.sql");
}

#[test]
fn texts() {
    judge_all("20_texts.sql");
}

#[test]
fn moments() {
    judge_all("30_moments.sql");
}

#[test]
fn conditions_and_casts() {
    judge_all("40_conditions.sql");
}

#[test]
fn whole_queries() {
    judge_all("50_queries.sql");
}

/// Parameters are of the type that the column beside them has; values that a literal couldn't be.
#[test]
fn parameters() {
    need_postgres!();
    let mut two = two();
    let cases: &[(&str, &[Option<&str>])] = &[
        ("SELECT id FROM n WHERE d = $1 ORDER BY id", &[Some("10.5")]),
        ("SELECT id FROM n WHERE i > $1 ORDER BY id", &[Some("0")]),
        ("SELECT id FROM n WHERE t = $1 ORDER BY id", &[Some("a,b,,c")]),
        ("SELECT id FROM n WHERE u = $1 ORDER BY id", &[Some("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")]),
        ("SELECT id FROM n WHERE dt < $1 ORDER BY id", &[Some("2001-01-01")]),
        ("SELECT id FROM n WHERE b = $1 ORDER BY id", &[Some("on")]),
        ("SELECT id, i + $1::bigint FROM n WHERE id < 3 ORDER BY id", &[Some("1")]),
        ("SELECT id FROM n ORDER BY id LIMIT $1 OFFSET $2", &[Some("2"), Some("1")]),
        ("SELECT id FROM n ORDER BY id LIMIT $1", &[None]),
        ("SELECT id FROM n WHERE i = $1", &[None]),
        ("SELECT id FROM n WHERE d = $1", &[Some("abc")]),
        ("SELECT $1::int + 1", &[Some("2147483647")]),
    ];
    let mut wrong = Vec::new();
    for (sql, params) in cases {
        for binary in [false, true] {
            let plain = essence(&prepared(&mut two.plain, sql, params, binary));
            let ours = essence(&prepared(&mut two.ours, sql, params, binary));
            if plain != ours {
                wrong.push(format!("{sql} {params:?}\n   postgres: {plain:?}\n   federated: {ours:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A session on SQLite tables alone.
fn shop() -> (Proxy, Conn) {
    let proxy = Proxy::start(ProxyConfig::embedded());
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.execute_batch(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT, w DECIMAL(10,2), j JSON, u UUID);
         INSERT INTO a VALUES (1, 'x', 1.50, NULL, NULL), (2, 'y', 2.25, NULL, NULL);",
    )
    .unwrap();
    drop(file);
    let mut conn = proxy.connect("main");
    conn.exec("SELECT * FROM epoch_register('sqlite://shop/*')");
    (proxy, conn)
}

#[test]
fn the_statements_of_one_string_are_one_transaction() {
    let (_proxy, mut conn) = shop();
    let reply = conn.simple("UPDATE a SET v = 'lost' WHERE id = 1; SELECT 1 / 0");
    assert_eq!(reply.error().unwrap().code(), "22012");
    assert_eq!(conn.lines("SELECT v FROM a ORDER BY id"), ["x", "y"], "the first statement was kept");
    conn.exec("UPDATE a SET v = 'kept' WHERE id = 1; UPDATE a SET v = 'too' WHERE id = 2");
    assert_eq!(conn.lines("SELECT v FROM a ORDER BY id"), ["kept", "too"]);
    // BEGIN makes a block of it that goes on behind the string.
    conn.exec("UPDATE a SET v = 'p' WHERE id = 1; BEGIN; UPDATE a SET v = 'q' WHERE id = 2");
    conn.exec("ROLLBACK");
    assert_eq!(conn.lines("SELECT v FROM a ORDER BY id"), ["kept", "too"]);
    // COMMIT in the middle ends one and the rest is another.
    let reply = conn
        .simple("UPDATE a SET v = 'p' WHERE id = 1; COMMIT; UPDATE a SET v = 'q' WHERE id = 2; SELECT 1 / 0");
    assert_eq!(reply.error().unwrap().code(), "22012");
    assert_eq!(conn.lines("SELECT v FROM a ORDER BY id"), ["p", "too"]);
    let reply = conn.simple("UPDATE a SET v = 'z'; SAVEPOINT s");
    assert_eq!(reply.error().unwrap().code(), "25P01");
    assert_eq!(conn.lines("SELECT v FROM a ORDER BY id"), ["p", "too"]);
    // Version control isn't a part of it: what came before is committed.
    conn.exec("UPDATE a SET v = 'r' WHERE id = 1; SELECT * FROM epoch_commit('m')");
    assert_eq!(conn.lines("SELECT v FROM a ORDER BY id"), ["r", "too"]);
}

#[test]
fn discard_and_deallocate_do_what_they_say() {
    let (_proxy, mut conn) = shop();
    let prepare = |conn: &mut Conn, name: &str| {
        conn.send(&[parse(name, "SELECT 1", &[]), sync()]);
        conn.reply()
    };
    let runs = |conn: &mut Conn, name: &str| {
        conn.send(&[bind("", name, &[], false), execute("", 0), sync()]);
        conn.reply().error().map(|e| e.code().to_owned())
    };
    assert!(prepare(&mut conn, "s1").error().is_none());
    assert!(prepare(&mut conn, "s2").error().is_none());
    assert_eq!(conn.exec("DEALLOCATE s1").tags(), ["DEALLOCATE"]);
    assert_eq!(runs(&mut conn, "s1").as_deref(), Some("26000"));
    assert_eq!(runs(&mut conn, "s2"), None);
    assert_eq!(conn.err("DEALLOCATE s1").code(), "26000");
    assert_eq!(conn.exec("DEALLOCATE ALL").tags(), ["DEALLOCATE ALL"]);
    assert_eq!(runs(&mut conn, "s2").as_deref(), Some("26000"));
    assert!(prepare(&mut conn, "s3").error().is_none());
    for (sql, tag) in [
        ("DISCARD PLANS", "DISCARD PLANS"),
        ("DISCARD TEMP", "DISCARD TEMP"),
        ("DISCARD SEQUENCES", "DISCARD SEQUENCES"),
    ] {
        assert_eq!(conn.exec(sql).tags(), [tag]);
    }
    assert_eq!(runs(&mut conn, "s3"), None);
    conn.exec("SET TimeZone = 'Europe/Berlin'");
    assert_eq!(conn.exec("DISCARD ALL").tags(), ["DISCARD ALL"]);
    assert_eq!(runs(&mut conn, "s3").as_deref(), Some("26000"));
    assert_eq!(conn.one("SHOW TimeZone"), "UTC");
}

#[test]
fn returning_has_sub_selects() {
    let (_proxy, mut conn) = shop();
    assert_eq!(
        conn.lines("UPDATE a SET v = 'n' WHERE id = 1 RETURNING id, v, (SELECT max(w) FROM a), w * 2"),
        ["1|n|2.25|3.00"]
    );
    assert_eq!(
        conn.lines(
            "UPDATE a SET w = w + 1 WHERE id = 2 RETURNING (SELECT b.v FROM a b WHERE b.id = a.id), a.w"
        ),
        ["y|3.25"]
    );
    assert_eq!(conn.lines("DELETE FROM a WHERE id = 2 RETURNING v, (SELECT count(*) FROM a)"), ["y|2"]);
}

#[test]
fn a_text_of_two_gigabytes_is_refused() {
    let (_proxy, mut conn) = shop();
    assert_eq!(conn.err("SELECT repeat('x', 2000000000)").code(), "54000");
    assert_eq!(conn.err("SELECT lpad('x', 2000000000)").code(), "54000");
    assert_eq!(conn.one("SELECT length(repeat('x', 1000000))"), "1000000");
}

#[test]
fn values_that_sqlite_would_change_are_refused() {
    let (_proxy, mut conn) = shop();
    assert_eq!(conn.err("UPDATE a SET j = '{bad' WHERE id = 1").code(), "22P02");
    assert_eq!(conn.err("UPDATE a SET j = '1.0' WHERE id = 1").code(), "0A000");
    assert_eq!(conn.err("INSERT INTO a (id, j) VALUES (9, '1e5')").code(), "0A000");
    conn.exec("UPDATE a SET j = '12', u = 'A0EEBC999C0B4EF8BB6D6BB9BD380A11' WHERE id = 1");
    assert_eq!(conn.lines("SELECT j, u FROM a WHERE id = 1"), ["12|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]);
    assert_eq!(conn.err("UPDATE a SET u = 'x' WHERE id = 1").code(), "22P02");
    assert_eq!(conn.lines("UPDATE a SET w = 1.005 WHERE id = 1 RETURNING w"), ["1.01"]);
    assert_eq!(conn.err("UPDATE a SET w = 123456789.00 WHERE id = 1").code(), "22003");
}
