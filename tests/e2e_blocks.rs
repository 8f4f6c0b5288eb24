//! Data definition in transaction blocks on branches: seen by the session at once, by all others after COMMIT, and never if
//! it was rolled back, to its beginning or to a savepoint.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::Fixture;
use common::conn::{self, Conn};
use common::database::catalog;
use common::verbs::commit;

const BASE: &str = "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); \
    CREATE TABLE posts (id int PRIMARY KEY, author int NOT NULL REFERENCES users ON DELETE CASCADE, title text); \
    INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 10) g; \
    INSERT INTO posts SELECT g, g % 10 + 1, 'post ' || g FROM generate_series(1, 20) g";

fn status(conn: &mut Conn) -> Vec<String> {
    conn.lines(
        "SELECT table_name, change, rows_added, rows_modified, rows_deleted FROM epoch.status ORDER BY 1",
    )
}

/// What is left of drafts and versions in the database.
fn places(direct: &mut Conn) -> Vec<String> {
    direct.lines("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%' ORDER BY 1")
}

/// The migration of a framework: tables, columns, keys, rows, in one transaction.
const MIGRATION: &[&str] = &[
    "CREATE TABLE tags (id serial PRIMARY KEY, label text NOT NULL UNIQUE)",
    "CREATE TABLE posts_tags (post int NOT NULL, tag int NOT NULL, PRIMARY KEY (post, tag))",
    "ALTER TABLE posts_tags ADD CONSTRAINT posts_tags_post_fk FOREIGN KEY (post) REFERENCES posts (id) DEFERRABLE INITIALLY DEFERRED",
    "ALTER TABLE posts_tags ADD CONSTRAINT posts_tags_tag_fk FOREIGN KEY (tag) REFERENCES tags (id) DEFERRABLE INITIALLY DEFERRED",
    "ALTER TABLE posts ADD COLUMN stars int DEFAULT 3 NOT NULL",
    "INSERT INTO tags (label) VALUES ('red'), ('blue')",
    "INSERT INTO posts_tags SELECT id, id % 2 + 1 FROM posts",
    "UPDATE posts SET stars = 5 WHERE id = 1",
    "ALTER TABLE posts ALTER COLUMN stars DROP DEFAULT",
    "CREATE INDEX posts_stars ON posts (stars)",
    "ALTER TABLE tags ADD COLUMN made date DEFAULT '2026-01-01'",
    "DELETE FROM posts WHERE id = 20",
    "DELETE FROM posts_tags WHERE post = 20",
    "COMMENT ON TABLE tags IS 'labels'",
];

fn migrated(conn: &mut Conn) -> Vec<String> {
    conn.lines("SELECT p.id, p.stars, t.label, t.made FROM posts p JOIN posts_tags x ON x.post = p.id JOIN tags t ON t.id = x.tag WHERE p.id < 4 ORDER BY 1")
}

const MIGRATED: [&str; 3] = ["1|5|blue|2026-01-01", "2|3|red|2026-01-01", "3|3|blue|2026-01-01"];

#[test]
fn a_migration_in_one_transaction() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let mut main = f.main();
    commit(&mut main, "rows");
    let mut x = f.branch("x");
    let mut watcher = f.on("x");
    watcher.exec("UPDATE users SET name = 'w' WHERE id = 1");
    let before = catalog(&mut direct);

    // Rolled back, nothing is left.
    x.exec("BEGIN");
    for sql in MIGRATION {
        x.exec(sql);
    }
    assert_eq!(migrated(&mut x), MIGRATED);
    for sql in ["SELECT * FROM tags", "SELECT stars FROM posts"] {
        assert!(["42P01", "42703"].contains(&watcher.err(sql).code()), "{sql}");
        assert!(["42P01", "42703"].contains(&main.err(sql).code()), "{sql}");
    }
    assert_eq!(status(&mut watcher), ["users|modified|0|1|0"]);
    x.exec("ROLLBACK");
    assert_eq!(x.err("SELECT * FROM tags").code(), "42P01");
    assert_eq!(x.err("SELECT stars FROM posts").code(), "42703");
    assert_eq!(x.one("SELECT count(*) FROM posts"), "20");
    assert_eq!(places(&mut direct), Vec::<String>::new());
    assert_eq!(status(&mut x), ["users|modified|0|1|0"]);

    // Committed, by the simple protocol and by the extended one.
    x.exec("BEGIN");
    for (i, sql) in MIGRATION.iter().enumerate() {
        match i % 2 {
            0 => assert!(x.extended(sql, &[], false).error().is_none(), "{sql}"),
            _ => drop(x.exec(sql)),
        }
    }
    assert!(x.extended("COMMIT", &[], false).error().is_none());
    for conn in [&mut x, &mut watcher] {
        assert_eq!(migrated(conn), MIGRATED);
        assert_eq!(conn.one("SELECT count(*) FROM posts"), "19");
    }
    assert_eq!(catalog(&mut direct), before);
    assert_eq!(
        status(&mut x),
        ["posts|altered|0|1|1", "posts_tags|added|19|0|0", "tags|added|2|0|0", "users|modified|0|1|0"]
    );
    assert_eq!(watcher.err("INSERT INTO posts_tags VALUES (1, 9)").constraint(), "posts_tags_tag_fk");
    assert_eq!(watcher.err("DELETE FROM tags").constraint(), "posts_tags_tag_fk");
    assert_eq!(direct.one("SELECT count(*) FROM epoch.block"), "0");
    commit(&mut x, "migrated");
    assert_eq!(main.call("epoch_merge('x')", "fast_forward"), ["t"]);
    assert_eq!(migrated(&mut direct), MIGRATED);
    assert_eq!(direct.err("DELETE FROM tags").constraint(), "posts_tags_tag_fk");
    assert_eq!(direct.one("SELECT obj_description('tags'::regclass)"), "labels");
}

/// ROLLBACK TO takes back what was defined since, rows and all; what was before stays.
#[test]
fn savepoints() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    commit(&mut f.main(), "rows");
    let mut x = f.branch("x");
    x.exec("BEGIN");
    x.exec("CREATE TABLE a (id int PRIMARY KEY)");
    x.exec("INSERT INTO a VALUES (1)");
    x.exec("SAVEPOINT one");
    x.exec("ALTER TABLE a ADD COLUMN v text DEFAULT 'v'");
    x.exec("ALTER TABLE users ADD COLUMN age int");
    x.exec("CREATE TABLE b (id int PRIMARY KEY)");
    x.exec("INSERT INTO a VALUES (2, 'w')");
    assert_eq!(x.lines("SELECT * FROM a ORDER BY 1"), ["1|v", "2|w"]);
    x.exec("SAVEPOINT two");
    x.exec("DROP TABLE a, posts");
    assert_eq!(x.err("SELECT * FROM posts").code(), "42P01");
    x.exec("ROLLBACK TO two");
    assert_eq!(x.lines("SELECT * FROM a ORDER BY 1"), ["1|v", "2|w"]);
    assert_eq!(x.one("SELECT count(*) FROM posts"), "20");
    assert_eq!(x.err("ALTER TABLE a ADD COLUMN v int").code(), "42701");
    assert_eq!(x.err("SELECT 1").code(), "25P02");
    x.exec("ROLLBACK TO SAVEPOINT one");
    assert_eq!(x.lines("SELECT * FROM a ORDER BY 1"), ["1"]);
    assert_eq!(x.err("SELECT age FROM users").code(), "42703");
    x.exec("ROLLBACK TO SAVEPOINT one");
    assert_eq!(x.err("SELECT * FROM b").code(), "42P01");
    x.exec("ROLLBACK TO SAVEPOINT one");
    // By a statement that was prepared before.
    x.send(&[conn::parse("back", "ROLLBACK TO one", &[]), conn::sync()]);
    assert!(x.reply().error().is_none());
    for _ in 0..2 {
        x.exec("CREATE TABLE b (key text PRIMARY KEY)");
        x.exec("INSERT INTO b VALUES ('k')");
        x.send(&[conn::bind("", "back", &[], false), conn::execute("", 0), conn::sync()]);
        assert!(x.reply().error().is_none());
    }
    x.exec("RELEASE one");
    x.exec("ALTER TABLE a ADD COLUMN w int DEFAULT 4");
    x.exec("COMMIT");
    assert_eq!(f.on("x").lines("SELECT * FROM a"), ["1|4"]);
    assert_eq!(status(&mut x), ["a|added|1|0|0"]);
    assert_eq!(places(&mut f.direct()).len(), 1);
    // An error in a block that defined nothing else leaves no trace of it.
    x.exec("BEGIN");
    x.exec("DROP TABLE a");
    assert_eq!(x.err("CREATE TABLE users (id int PRIMARY KEY)").code(), "42P07");
    assert_eq!(x.exec("COMMIT").tags(), ["ROLLBACK"]);
    assert_eq!(x.lines("SELECT * FROM a"), ["1|4"]);
    x.exec("BEGIN");
    x.exec("DROP TABLE a");
    x.exec("COMMIT");
    assert_eq!(x.err("SELECT * FROM a").code(), "42P01");
    assert_eq!(places(&mut f.direct()), Vec::<String>::new());
}

/// A text of several statements is one transaction, as everywhere.
#[test]
fn texts_of_several_statements() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    commit(&mut f.main(), "rows");
    let mut x = f.branch("x");
    let reply = x.exec("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); ALTER TABLE users ADD n int; SELECT count(*) FROM t");
    assert_eq!(reply.tags(), ["CREATE TABLE", "INSERT 0 2", "ALTER TABLE", "SELECT 1"]);
    assert_eq!((reply.rows().len(), reply.status()), (1, Some('I')));
    assert_eq!(f.on("x").one("SELECT count(*) FROM t JOIN users USING (id)"), "2");
    for sql in [
        "INSERT INTO t VALUES (3); CREATE TABLE u (id int PRIMARY KEY); SELECT 1 / 0",
        "INSERT INTO t VALUES (3); CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY)",
        "ALTER TABLE t ADD v int; INSERT INTO t VALUES (3, 3); INSERT INTO t VALUES (1, 1)",
    ] {
        let reply = x.simple(sql);
        assert!(reply.error().is_some(), "{sql}");
        assert_eq!(reply.status(), Some('I'), "{sql}");
        assert_eq!(x.lines("SELECT * FROM t ORDER BY 1"), ["1", "2"], "{sql}");
        assert_eq!(x.err("SELECT * FROM u").code(), "42P01", "{sql}");
    }
    let reply = x.exec(
        "BEGIN; CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1); COMMIT; SELECT * FROM u",
    );
    assert_eq!(reply.tags(), ["BEGIN", "CREATE TABLE", "INSERT 0 1", "COMMIT", "SELECT 1"]);
    let reply =
        x.exec("BEGIN; ALTER TABLE u ADD w int; INSERT INTO u VALUES (2, 2); ROLLBACK; SELECT * FROM u");
    assert_eq!(reply.rows().len(), 1);
    assert_eq!(x.lines("SELECT * FROM u"), ["1"]);
    assert_eq!(
        x.exec("BEGIN; CREATE TABLE made AS SELECT * FROM users WHERE id < 4; COMMIT").tags()[1],
        "SELECT 3"
    );
    assert_eq!(f.on("x").one("SELECT count(*) FROM made"), "3");
    let error = x.err("CREATE TABLE v (id int PRIMARY KEY); SELECT epoch_commit('both')");
    assert_eq!(error.code(), "0A000");
}

/// Sessions that alter the same branch at once: whoever commits first wins, the other one is told to try again.
#[test]
fn two_sessions() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    commit(&mut f.main(), "rows");
    let mut one = f.branch("x");
    let mut two = f.on("x");
    one.exec("BEGIN; CREATE TABLE t (id int PRIMARY KEY)");
    commit_empty(&mut two);
    let error = one.err("COMMIT");
    assert_eq!(error.code(), "40001", "{}", error.message());
    assert_eq!(one.exec("SELECT 1").status(), Some('I'));
    assert_eq!(one.err("SELECT * FROM t").code(), "42P01");
    assert_eq!(places(&mut f.direct()), Vec::<String>::new());
    // A snapshot of its own would miss what others committed.
    one.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(one.err("ALTER TABLE users ADD n int").code(), "0A000");
    one.exec("ROLLBACK");
    // A writer that waited for the block's end.
    one.exec("BEGIN; ALTER TABLE users ADD n int DEFAULT 1");
    two.send(&[conn::query("UPDATE users SET name = 'two' WHERE id = 2")]);
    let mut direct = f.direct();
    while direct.one("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = current_database()") != "1" {
        std::thread::yield_now();
    }
    one.exec("UPDATE users SET name = 'one' WHERE id = 1; COMMIT");
    let reply = two.reply();
    let name = match reply.error() {
        Some(error) => {
            assert_eq!(error.code(), "40001");
            "user 2"
        }
        None => "two",
    };
    assert_eq!(
        two.lines("SELECT * FROM users WHERE id < 3 ORDER BY id"),
        ["1|one|1".to_owned(), format!("2|{name}|1")]
    );
    // The client goes away.
    one.exec("BEGIN; ALTER TABLE users ADD gone int; CREATE TABLE gone (id int PRIMARY KEY)");
    drop(one);
    while two.one("SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") != "0" {
        std::thread::yield_now();
    }
    assert_eq!(two.err("SELECT gone FROM users").code(), "42703");
    two.exec("CREATE TABLE gone (id int PRIMARY KEY)");
}

fn commit_empty(conn: &mut Conn) {
    conn.exec("UPDATE posts SET title = 'c' WHERE id = 1");
    commit(conn, "meanwhile");
}

/// Killed before COMMIT, all is gone; killed after it, all is there.
#[test]
fn a_crash_leaves_all_of_a_block_or_nothing() {
    need_postgres!();
    let mut f = Fixture::registered(BASE);
    commit(&mut f.main(), "rows");
    f.branch("x").exec("UPDATE users SET name = 'x' WHERE id = 1");
    let block = "BEGIN; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); ALTER TABLE users ADD n int DEFAULT 2; UPDATE users SET n = 3 WHERE id = 3; DROP TABLE posts; COMMIT";
    f.proxy.restart(&[("EPOCH_FAILPOINT", "block-committed")]);
    let mut conn = f.on("x");
    conn.send(&[conn::query(block)]);
    assert!(conn.try_reply().is_err());
    assert!(f.proxy.await_end(Duration::from_secs(20)).is_some());
    f.proxy.restart(&[]);
    let mut x = f.on("x");
    assert_eq!(x.lines("SELECT * FROM t"), ["1"]);
    assert_eq!(x.lines("SELECT * FROM users WHERE id < 4 ORDER BY 1"), ["1|x|2", "2|user 2|2", "3|user 3|3"]);
    assert_eq!(x.err("SELECT * FROM posts").code(), "42P01");
    assert_eq!(status(&mut x), ["posts|removed|0|0|0", "t|added|1|0|0", "users|altered|0|2|0"]);
    commit(&mut x, "block");
    assert_eq!(f.direct().one("SELECT count(*) FROM epoch.block"), "0");
    // Without the COMMIT.
    let mut conn = f.on("x");
    conn.exec("BEGIN; CREATE TABLE u (id int PRIMARY KEY); ALTER TABLE t ADD v int");
    f.proxy.kill();
    f.proxy.restart(&[]);
    let mut x = f.on("x");
    assert_eq!(x.err("SELECT * FROM u").code(), "42P01");
    assert_eq!(x.lines("SELECT * FROM t"), ["1"]);
    assert_eq!(status(&mut x), Vec::<String>::new());
    x.exec("CREATE TABLE u (id int PRIMARY KEY)");
}

/// Settings of the client are what they were, and names of its statements its own.
#[test]
fn the_session_is_as_it_was() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    commit(&mut f.main(), "rows");
    let mut x = f.branch("x");
    x.exec("CREATE TEMP TABLE mine (id int); SET DateStyle = 'SQL, DMY'; SET search_path = public, pg_temp");
    for name in ["s0", "s1", "s2", "s3"] {
        x.send(&[conn::parse(name, "SELECT count(*) FROM users", &[]), conn::sync()]);
        assert!(x.reply().error().is_none());
    }
    let settings = "SELECT current_setting('search_path'), current_setting('DateStyle'), current_setting('IntervalStyle'), current_setting('client_min_messages'), current_setting('row_security'), current_setting('epoch.lineage')";
    let before = x.lines(settings);
    x.exec("BEGIN");
    x.exec("SET LOCAL IntervalStyle = 'iso_8601'");
    x.exec("CREATE TABLE t (id int PRIMARY KEY, d date DEFAULT '31/12/2026')");
    x.exec("ALTER TABLE users ADD d date DEFAULT '01/02/2026'");
    assert_eq!(x.lines(settings)[0].replace("iso_8601", "postgres"), before[0]);
    assert_eq!(x.lines("SELECT d FROM users WHERE id = 1"), ["01/02/2026"]);
    x.send(&[conn::bind("", "s1", &[], false), conn::execute("", 0), conn::sync()]);
    assert_eq!(x.reply().rows()[0][0].as_deref(), Some("10"));
    x.exec("INSERT INTO t VALUES (1)");
    x.exec("INSERT INTO mine VALUES (1)");
    x.exec("COMMIT");
    assert_eq!(x.lines(settings), before);
    assert_eq!(x.lines("SELECT * FROM t"), ["1|31/12/2026"]);
    assert_eq!(x.one("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'epoch%lent%'"), "0");
}

/// Whoever wanted to define tables waited for it with the operation lock.
#[test]
fn an_open_transaction_with_a_definition_stops_no_commit() {
    need_postgres!();
    let shop = Fixture::registered(BASE);
    let mut main = shop.main();
    for branch in ["a", "e"] {
        main.exec(&format!("SELECT * FROM epoch_branch('{branch}')"));
    }
    let mut a = shop.on("a");
    a.exec("BEGIN");
    a.exec("CREATE TABLE made (id int PRIMARY KEY)");
    let mut e = shop.on("e");
    let waiter = std::thread::spawn(move || e.exec("CREATE TABLE other (id int PRIMARY KEY)"));
    // It has begun to wait when the server says so.
    let mut direct = shop.direct();
    let waits =
        "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'epoch.registered'::regclass AND NOT granted";
    while direct.one(waits) != "t" {
        std::thread::yield_now();
    }
    main.exec("SELECT epoch_commit('meanwhile', '--allow-empty')");
    main.exec("SELECT * FROM epoch_branch('later')");
    assert!(!waiter.is_finished(), "it waits for the transaction");
    a.exec("INSERT INTO made VALUES (1)");
    a.exec("COMMIT");
    assert_eq!(a.one("SELECT count(*) FROM made"), "1");
    assert_eq!(waiter.join().unwrap().tags(), ["CREATE TABLE"]);
}

/// COMMIT ran past us, and the table was gone though both were acknowledged.
#[test]
fn a_portal_from_before_a_definition_does_not_end_its_transaction() {
    need_postgres!();
    let shop = Fixture::registered(BASE);
    shop.main().exec("SELECT * FROM epoch_branch('a')");
    let mut a = shop.on("a");
    a.exec("BEGIN");
    let run = |sql: &str| [conn::parse("", sql, &[]), conn::bind("", "", &[], false), conn::execute("", 0)];
    let mut messages = vec![conn::parse("c", "COMMIT", &[]), conn::bind("p", "c", &[], false)];
    messages.extend(run("CREATE TABLE made (id int PRIMARY KEY)"));
    messages.extend([conn::execute("p", 0), conn::sync()]);
    a.send(&messages);
    let reply = a.reply();
    assert_eq!(reply.error().map(|e| e.code()), Some("0A000"), "{reply:?}");
    a.exec("ROLLBACK");
    assert_eq!(a.err("SELECT * FROM made").code(), "42P01");
    a.exec("BEGIN");
    a.exec("CREATE TABLE made (id int PRIMARY KEY)");
    for sql in [
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SELECT set_config('role', 'postgres', true)",
    ] {
        a.exec("SAVEPOINT s");
        assert_eq!(a.err(sql).code(), "0A000", "{sql}");
        a.exec("ROLLBACK TO s");
    }
    a.exec("COMMIT");
    assert_eq!(a.one("SELECT count(*) FROM made"), "0");
}
