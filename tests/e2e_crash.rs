//! Kill -9 at each step of a commit or merge, and at random moments: the next start completes or
//! undoes, and nothing that was acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::conn::{self, Conn};
use common::database::Database;
use common::proxy::{Proxy, ProxyConfig};
use rand::Rng;

/// As `epoch::operations::FAIL_POINTS`.
const POINTS: [&str; 4] = ["journal-written", "first-sealed", "all-sealed", "published"];

const TABLES: &str = "CREATE TABLE a (id BIGINT PRIMARY KEY, v TEXT, n BIGINT)";

/// A table on PostgreSQL and one on SQLite: one commit over both.
struct World {
    proxy: Proxy,
    db: Database,
    file: rusqlite::Connection,
}

fn world() -> World {
    let db = Database::create();
    db.connect().exec(TABLES);
    db.connect().exec("INSERT INTO a SELECT g, 'v' || g, 0 FROM generate_series(1, 50) g");
    let config = ProxyConfig { postgres: vec![("pg".to_owned(), db.url())], ..ProxyConfig::embedded() };
    let proxy = Proxy::start(config);
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.busy_timeout(Duration::from_secs(30)).unwrap();
    file.execute_batch(&TABLES.replace(" a ", " b ")).unwrap();
    file.execute_batch("INSERT INTO b VALUES (1, 'v1', 0), (2, 'v2', 0), (3, 'v3', 0)").unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('a', 'postgresql://pg/public.a')");
    main.exec("SELECT * FROM epoch_register('b', 'sqlite://shop/b')");
    main.exec("SELECT * FROM epoch_branch('x')");
    World { proxy, db, file }
}

/// Everything a person can see: rows of both tables on both refs, the base, heads, open work.
#[derive(Debug, PartialEq, Clone)]
struct Seen {
    rows: Vec<Vec<String>>,
    commits: [usize; 2],
    open: [usize; 2],
}

impl World {
    fn seen(&self) -> Seen {
        let mut rows = vec![];
        let mut commits = [0; 2];
        let mut open = [0; 2];
        for (i, reference) in ["main", "x"].into_iter().enumerate() {
            let mut conn = self.proxy.connect(reference);
            for table in ["a", "b"] {
                rows.push(conn.lines(&format!("SELECT id, v, n FROM {table} ORDER BY id")));
                rows.push(
                    conn.lines(&format!("SELECT id, v, n FROM epoch_at('{table}', 'HEAD') ORDER BY id")),
                );
            }
            commits[i] = conn.rows("SELECT commit_hash FROM epoch_log()").len();
            open[i] = conn.rows("SELECT table_name FROM epoch.status").len();
        }
        rows.push(self.db.connect().lines("SELECT id, v, n FROM a ORDER BY id"));
        let mut statement =
            self.file.prepare("SELECT id || '|' || v || '|' || n FROM b ORDER BY id").unwrap();
        rows.push(statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect());
        Seen { rows, commits, open }
    }

    fn work(&self, reference: &str) {
        let mut conn = self.proxy.connect(reference);
        conn.exec("UPDATE a SET v = v || '!' WHERE id BETWEEN 5 AND 9");
        conn.exec("DELETE FROM a WHERE id = 20");
        conn.exec("UPDATE b SET v = 'changed' WHERE id = 2");
        conn.exec("INSERT INTO b VALUES (9, 'new', 9)");
    }
}

/// Runs `sql` so that the proxy dies in it, if it comes by the point.
fn dies(world: &mut World, point: &str, reference: &str, sql: &str) -> bool {
    world.proxy.restart(&[("EPOCH_FAILPOINT", point)]);
    let mut conn = world.proxy.connect(reference);
    conn.send(&[conn::query(sql)]);
    let answer = conn.try_reply();
    let died = answer.is_err();
    if died {
        assert!(world.proxy.await_end(Duration::from_secs(20)).is_some(), "it aborts at {point}");
    }
    world.proxy.restart(&[]);
    died
}

/// What the operation does when nobody kills it, and at each point: before or after, never between.
fn at_each_step(name: &str, prepare: impl Fn(&World), reference: &str, sql: &str) {
    need_postgres!();
    let calm = world();
    prepare(&calm);
    let before = calm.seen();
    calm.proxy.connect(reference).exec(sql);
    let after = calm.seen();
    assert_ne!(before, after, "{name} does something");
    drop(calm);
    let mut deaths = 0;
    for point in POINTS {
        let mut world = world();
        prepare(&world);
        assert_eq!(world.seen(), before, "every world starts the same");
        if !dies(&mut world, point, reference, sql) {
            assert_eq!(world.seen(), after, "{name} doesn't pass {point}");
            continue;
        }
        deaths += 1;
        let seen = world.seen();
        if seen == before {
            assert!(
                !matches!(point, "all-sealed" | "published"),
                "{name} at {point}: sealed everywhere, so it is completed"
            );
            world.proxy.connect(reference).exec(sql);
            assert_eq!(world.seen(), after, "{name} after a death at {point}: repeated");
        } else {
            assert_eq!(seen, after, "{name} at {point}: neither before nor after");
        }
        // And the next operation finds nothing in its way.
        let mut next = world.proxy.connect("x");
        next.exec("UPDATE a SET n = n + 1 WHERE id = 1");
        next.exec("SELECT * FROM epoch_commit('next')");
    }
    assert!(deaths >= 3, "{name} passes {deaths} points");
}

#[test]
fn commit_on_a_branch() {
    at_each_step("commit on a branch", |w| w.work("x"), "x", "SELECT * FROM epoch_commit('c')");
}

#[test]
fn commit_on_main() {
    at_each_step("commit on main", |w| w.work("main"), "main", "SELECT * FROM epoch_commit('c')");
}

fn diverged(world: &World) {
    world.work("x");
    world.proxy.connect("x").exec("SELECT * FROM epoch_commit('on x')");
    let mut main = world.proxy.connect("main");
    main.exec("UPDATE a SET n = 7 WHERE id BETWEEN 1 AND 9");
    main.exec("UPDATE b SET n = 7 WHERE id = 1");
    main.exec("SELECT * FROM epoch_commit('on main')");
}

#[test]
fn merge_into_main() {
    at_each_step("merge into main", diverged, "main", "SELECT * FROM epoch_merge('x')");
}

#[test]
fn merge_into_a_branch() {
    at_each_step("merge into a branch", diverged, "x", "SELECT * FROM epoch_merge('main')");
}

#[test]
fn fast_forward_of_main() {
    let ahead = |world: &World| {
        world.work("x");
        world.proxy.connect("x").exec("SELECT * FROM epoch_commit('on x')");
    };
    at_each_step("fast-forward of main", ahead, "main", "SELECT * FROM epoch_merge('x')");
}

#[test]
fn reset_of_main() {
    let ahead = |world: &World| {
        world.work("main");
        world.proxy.connect("main").exec("SELECT * FROM epoch_commit('to be undone')");
    };
    at_each_step("reset of main", ahead, "main", "SELECT * FROM epoch_reset('--hard', 'HEAD~1')");
}

/// Kill -9 whenever it comes, with a client that writes and commits: what was acknowledged is there.
#[test]
fn killed_at_random() {
    need_postgres!();
    let mut world = world();
    let (mut acknowledged, mut commits) = (0i64, 1usize);
    // On a busy machine longer, until something was acknowledged before its proxy died.
    for round in 0u64.. {
        if round >= 6 && acknowledged > 0 {
            break;
        }
        // Before the clock runs: a proxy that is gone can't be connected to.
        let mut conn: Conn = world.proxy.connect("x");
        let pid = world.proxy.pid().to_string();
        let delay = Duration::from_millis(rand::rng().random_range(5..250) << round.saturating_sub(5));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(delay);
            let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
        });
        let mut last = (acknowledged, commits);
        while last.0 < acknowledged + 100_000 {
            match send(
                &mut conn,
                "UPDATE a SET n = n + 1 WHERE id = 3; UPDATE a SET v = 'again' WHERE id = 4",
            ) {
                Some(()) => last.0 += 1,
                None => break,
            }
            match send(&mut conn, "SELECT * FROM epoch_commit('c')") {
                Some(()) => last.1 += 1,
                None => break,
            }
        }
        killer.join().unwrap();
        world.proxy.restart(&[]);
        let mut conn = world.proxy.connect("x");
        let n: i64 = conn.one("SELECT n FROM a WHERE id = 3").parse().unwrap();
        let log = conn.rows("SELECT commit_hash FROM epoch_log()").len();
        assert!(n == last.0 || n == last.0 + 1, "{} updates were acknowledged, {n} are there", last.0);
        assert!(log == last.1 || log == last.1 + 1, "{} commits were acknowledged, {log} are there", last.1);
        conn.simple("SELECT * FROM epoch_commit('-m', 'rest', '--skip-empty')");
        assert_eq!(conn.one("SELECT n FROM epoch_at('a', 'HEAD') WHERE id = 3"), n.to_string());
        (acknowledged, commits) = (n, conn.rows("SELECT commit_hash FROM epoch_log()").len());
    }
    assert_eq!(world.db.connect().one("SELECT n FROM a WHERE id = 3"), "0", "the base never changed");
}

fn send(conn: &mut Conn, sql: &str) -> Option<()> {
    conn.send_raw(&conn::query(sql)).ok()?;
    let reply = conn.try_reply().ok()?;
    assert!(
        reply.error().is_none_or(|e| e.code().starts_with("57") || e.code().starts_with("08")),
        "{sql}: {reply:?}"
    );
    reply.error().is_none().then_some(())
}

/// SIGTERM: clients are told, the exit status is 0, nothing is left half-way.
#[test]
fn stops_cleanly() {
    let mut proxy = Proxy::start(ProxyConfig::embedded());
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.execute_batch(TABLES).unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('a')");
    main.exec("INSERT INTO a VALUES (1, 'x', 1)");
    assert!(proxy.terminate().success());
    let last: Vec<_> = std::iter::from_fn(|| main.recv().ok()).collect();
    let told = last.iter().any(|m| matches!(m, common::Message::Error(e) if e.code() == "57P01"));
    assert!(told, "the idle client is told: {last:?}");
    proxy.restart(&[]);
    assert_eq!(proxy.connect("main").one("SELECT count(*) FROM a"), "1");
}
