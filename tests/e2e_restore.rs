//! A database that was made from a dump (a backup, another server) goes on where the dump was taken.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::process::Command;

use common::conn::{Conn, Target};
use common::proxy::{Proxy, ProxyConfig};
use common::psql::{psql, tool};
use common::server::is_installed;
use common::{Database, Server};

const TABLES: &str = "CREATE EXTENSION IF NOT EXISTS citext; \
    CREATE TABLE parent (id int PRIMARY KEY, code citext UNIQUE); \
    CREATE TABLE t (id int PRIMARY KEY, v text, u int UNIQUE, e int, p int REFERENCES parent ON UPDATE CASCADE, \
        s text, CHECK (u <> 13), UNIQUE (e, s)); \
    CREATE UNIQUE INDEX ON t (lower(s)) WHERE e > 0; \
    CREATE TABLE part (k int, v text, PRIMARY KEY (k)) PARTITION BY RANGE (k); \
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100); \
    CREATE TABLE typed (k citext PRIMARY KEY, v int); \
    INSERT INTO parent VALUES (1, 'a'), (2, 'b'); INSERT INTO typed VALUES ('K', 1); \
    INSERT INTO t SELECT g, 'v' || g, g, g, 1, 's' || g FROM generate_series(1, 5) g; INSERT INTO part VALUES (1, 'p1'), (2, 'p2')";

const TRIGGERS: &str = "SELECT c.oid::regclass || ' ' || t.tgenabled::text || ' ' || regexp_replace(pg_get_triggerdef(t.oid), '[0-9]{5,}', 'oid', 'g') \
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal ORDER BY 1";

fn dump_into(from: &Target, to: &Target) {
    let dump = Command::new(tool("pg_dump")).arg("-d").arg(from.conninfo()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let read = psql(to, &["-q", "-v", "ON_ERROR_STOP=1"], &String::from_utf8_lossy(&dump.stdout));
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

fn versions(conn: &mut Conn, spec: &str) -> Vec<String> {
    conn.lines(&format!("SELECT id, v FROM epoch_at('t', '{spec}') WHERE id < 4 ORDER BY id"))
}

/// The newest commits, newest first.
fn commits(conn: &mut Conn) -> Vec<String> {
    conn.lines("SELECT commit_hash FROM epoch_log()")
}

/// `elsewhere`: on a server whose log and transactions begin anew.
fn moved(elsewhere: bool) {
    let db = Database::create();
    let mut direct = db.connect();
    direct.exec(TABLES);
    let mut proxy = Proxy::start(ProxyConfig::postgres(&db.url()));
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('*')");
    main.exec("SELECT epoch_commit('start', '--allow-empty')");
    main.exec("SELECT * FROM epoch_branch('b')");
    let mut branch = proxy.connect("b");
    branch.exec("UPDATE t SET v = 'branch' WHERE id = 2");
    // Uncommitted: images of the first of two changes each, in two transactions.
    for value in ["first", "second"] {
        main.exec(&format!("UPDATE t SET v = '{value}' WHERE id = 1"));
        branch.exec(&format!("UPDATE t SET v = '{value}' WHERE id = 3"));
    }
    let triggers = direct.lines(TRIGGERS);
    drop((main, branch, direct));

    let server = elsewhere.then(|| Server::start("", |_| {}));
    let target = match &server {
        Some(server) => server.target.clone(),
        None => db.target.clone(),
    };
    let copy = Database::create_on(&target);
    dump_into(&db.target, &copy.target);
    let mut direct = copy.connect();
    assert_eq!(direct.lines(TRIGGERS), triggers, "every trigger is there, and means the same");
    // Somebody writes before the proxy comes.
    direct.exec("UPDATE t SET v = 'early' WHERE id = 1");
    proxy.restart(&[("EPOCH_STORAGE_POSTGRES_MAIN_URL", &copy.url())]);
    let mut main = proxy.connect("main");
    let start = commits(&mut main)[0].clone();
    assert_eq!(versions(&mut main, &start), ["1|v1", "2|v2", "3|v3"], "what was committed");
    main.exec("UPDATE t SET v = 'late' WHERE id = 1");
    main.exec("SELECT epoch_commit('after')");
    let after = commits(&mut main)[0].clone();
    assert_eq!(versions(&mut main, &after), ["1|late", "2|v2", "3|v3"]);
    assert_eq!(versions(&mut main, &start), ["1|v1", "2|v2", "3|v3"], "a commit never changes");
    let mut branch = proxy.connect("b");
    assert_eq!(
        branch.lines("SELECT id, v FROM t WHERE id < 4 ORDER BY id"),
        ["1|v1", "2|branch", "3|second"]
    );
    assert_eq!(branch.err("UPDATE t SET u = 5 WHERE id = 3").code(), "23505");
    assert_eq!(branch.err("UPDATE t SET p = 9 WHERE id = 3").code(), "23503");
    branch.exec("UPDATE parent SET id = 7 WHERE id = 1");
    assert_eq!(branch.one("SELECT count(*) FROM t WHERE p = 7"), "5");
    branch.exec("UPDATE part SET v = 'changed' WHERE k = 1");
    branch.exec("UPDATE typed SET k = 'L' WHERE k = 'k'");
    branch.exec("UPDATE t SET v = 'third' WHERE id = 3");
    branch.exec("SELECT epoch_commit('on the branch')");
    let on_branch = commits(&mut branch)[0].clone();
    assert_eq!(versions(&mut branch, &on_branch), ["1|v1", "2|branch", "3|third"]);
    assert_eq!(versions(&mut branch, &start), ["1|v1", "2|v2", "3|v3"]);
    assert_eq!(branch.lines("SELECT k, v FROM part ORDER BY k"), ["1|changed", "2|p2"]);
    assert_eq!(main.lines("SELECT k, v FROM part ORDER BY k"), ["1|p1", "2|p2"]);
    assert_eq!(main.lines("SELECT * FROM epoch.status"), Vec::<String>::new());
}

#[test]
fn a_dump_read_on_another_server() {
    need_postgres!();
    if !is_installed() {
        println!("skipped: initdb isn't here");
        return;
    }
    moved(true);
}

#[test]
fn a_dump_read_on_the_same_server() {
    need_postgres!();
    moved(false);
}
