//! Every kind of constraint on a branch, wherever the rows are: on main, in the branch's overlay, hidden
//! by its mask, on a branch of a branch. What plain PostgreSQL says is said, with code, message, detail,
//! constraint, table and column.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::database::Database;

const SETUP: &str = include_str!("sql/constraints/setup.sql");
const CASES: &str = include_str!("sql/constraints/cases.sql");

/// Rows that all routes have and delete before the cases begin.
const MASK: &str = "DELETE FROM u WHERE id >= 90; DELETE FROM p WHERE id >= 90";
/// Brings every row up into the overlay.
const TOUCH: &str = "UPDATE u SET id = id; UPDATE late SET id = id; UPDATE gen SET v = v; UPDATE p SET id = id; UPDATE c_none SET id = id;
    UPDATE c_restrict SET id = id; UPDATE c_cascade SET id = id; UPDATE c_null SET id = id; UPDATE c_default SET id = id; UPDATE c_full SET id = id;
    UPDATE c_late SET id = id; UPDATE c_able SET id = id; UPDATE leaf SET id = id; UPDATE tree SET id = id; UPDATE must SET id = id";

fn routes() -> (Database, Fixture, Vec<(&'static str, Conn)>) {
    let plain = Database::create();
    plain.connect().exec(SETUP);
    let shop = Fixture::registered(SETUP);
    let branch = |name: &str| {
        shop.main().exec(&format!("SELECT * FROM epoch_branch('{name}')"));
        shop.on(name)
    };
    let below = branch("below");
    let mut overlay = branch("overlay");
    overlay.exec(TOUCH);
    let mut parent = branch("parent");
    parent.exec(TOUCH);
    parent.exec(MASK);
    parent.exec("SELECT * FROM epoch_commit('x')");
    parent.exec("SELECT * FROM epoch_branch('nested')");
    let nested = shop.on("nested");
    // Main goes its own way last: no branch may notice.
    let main = shop.main();
    let conns = vec![
        ("plain", plain.connect()),
        ("below", below),
        ("overlay", overlay),
        ("nested", nested),
        ("main", main),
    ];
    (plain, shop, conns)
}

/// An UPDATE of keys that rows of the same table follow changed the branch's older commits: they got rows that came later.
#[test]
fn keys_that_their_own_table_follows_on_a_branch() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE n (id int PRIMARY KEY, parent int REFERENCES n ON UPDATE CASCADE); INSERT INTO n VALUES (1, NULL), (2, 1), (3, 2)",
    );
    shop.main().exec("SELECT * FROM epoch_branch('a')");
    let mut a = shop.on("a");
    a.exec("SELECT * FROM epoch_commit('before', '--allow-empty')");
    a.exec("UPDATE n SET id = id + 10");
    a.exec("SELECT * FROM epoch_commit('moved')");
    assert_eq!(a.lines("SELECT * FROM n ORDER BY id"), ["11|", "12|11", "13|12"]);
    let mut before = shop.on("a~1");
    assert_eq!(before.lines("SELECT * FROM n ORDER BY id"), ["1|", "2|1", "3|2"]);
    assert_eq!(
        a.lines("SELECT diff_type, count(*) FROM epoch_diff('HEAD~1', 'HEAD', 'n') GROUP BY 1 ORDER BY 1"),
        ["added|3", "removed|3"]
    );
    a.exec("SELECT * FROM epoch_reset('--hard', 'HEAD~1')");
    assert_eq!(a.lines("SELECT * FROM n ORDER BY id"), ["1|", "2|1", "3|2"]);
}

#[test]
fn as_on_one_table() {
    need_postgres!();
    let (_plain, _shop, mut conns) = routes();
    let mut problems = Vec::new();
    for (_, conn) in &mut conns {
        conn.exec(MASK);
    }
    // Main first does all of it: then branches see images of it, not its rows.
    let mut expected = Vec::new();
    for route in ["plain", "main", "below", "overlay", "nested"] {
        let (_, conn) = conns.iter_mut().find(|(name, _)| *name == route).unwrap();
        let mut answers = Vec::new();
        for sql in CASES.lines().filter(|l| !l.is_empty() && !l.starts_with("--")) {
            answers.push((sql, conn.simple(sql).essence()));
        }
        if route == "plain" {
            expected = answers;
            continue;
        }
        for ((sql, expected), (_, got)) in expected.iter().zip(&answers) {
            if expected != got {
                problems.push(format!("{route}: {sql}\n    plain: {expected:?}\n    epoch: {got:?}"));
            }
        }
    }
    let failing = expected.iter().filter(|(_, a)| a.iter().any(|l| l.starts_with("C="))).count();
    assert!(failing > 60, "{failing} statements fail");
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

/// The key's values were put together in one expression, in which two collations can't be.
#[test]
fn a_key_whose_parts_have_collations_of_their_own() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE word (id int PRIMARY KEY, a text, b text); CREATE TABLE known (id int PRIMARY KEY, a text, b text); \
         CREATE UNIQUE INDEX known_key ON known (a COLLATE \"C\", upper(b) COLLATE \"POSIX\"); \
         INSERT INTO word VALUES (1, 'a', 'b'), (2, 'a', 'c'); INSERT INTO known VALUES (1, 'a', 'b')",
    );
    let (mut x, mut main) = (shop.branch("x"), shop.main());
    x.exec("CREATE UNIQUE INDEX word_key ON word (lower(a) COLLATE \"C\", upper(b) text_pattern_ops)");
    let error = x.err("INSERT INTO word VALUES (3, 'A', 'B')");
    assert_eq!(error.message(), "duplicate key value violates unique constraint \"word_key\"");
    assert_eq!(error.detail(), "Key (lower(a), upper(b))=(a, B) already exists.");
    x.exec("DROP INDEX word_key; INSERT INTO word VALUES (3, 'A', 'B')");
    let error =
        x.err("CREATE UNIQUE INDEX word_key ON word (lower(a) COLLATE \"C\", upper(b) text_pattern_ops)");
    assert_eq!(error.message(), "could not create unique index \"word_key\"");
    assert_eq!(error.detail(), "Key (lower(a), upper(b))=(a, B) is duplicated.");
    x.exec("DELETE FROM word WHERE id = 3");

    // Each side has the key once, and the merge would have it twice.
    let mut y = shop.branch("y");
    y.exec("INSERT INTO known VALUES (2, 'x', 'y')");
    y.exec("SELECT * FROM epoch_commit('y')");
    main.exec("INSERT INTO known VALUES (3, 'x', 'Y')");
    main.exec("SELECT * FROM epoch_commit('main')");
    let error = main.err("SELECT * FROM epoch_merge('y')");
    assert_eq!((error.code(), error.constraint()), ("23505", "known_key"));
    let would = "SELECT kind, key FROM epoch.constraint_violations ORDER BY key::text";
    assert_eq!(main.lines(would), ["unique|{\"id\": 2}", "unique|{\"id\": 3}"]);
}
