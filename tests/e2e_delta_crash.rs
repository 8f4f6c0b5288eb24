//! Kill -9 while one operation changes a table of PostgreSQL, one of SQLite and a Delta table: the next start completes it or
//! undoes it, all three show the same, and nothing that was acknowledged is lost. `EPOCH_TEST_KILLS` says how often.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use common::conn::{self, Conn};
use common::database::Database;
use common::proxy::{Proxy, ProxyConfig};
use datafusion::prelude::SessionContext;
use deltalake_core::DeltaTableBuilder;
use rand::Rng;
use url::Url;

/// The steps of all operations, and those of an operation on main's Delta tables.
const POINTS: [&str; 7] = [
    "journal-written",
    "first-sealed",
    "all-sealed",
    "published",
    "delta-intended",
    "delta-applied",
    "delta-sealed",
];

struct World {
    proxy: Proxy,
    db: Database,
    file: rusqlite::Connection,
    lake: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

fn world() -> World {
    let db = Database::create();
    let rows = "CREATE TABLE a (id BIGINT PRIMARY KEY, n BIGINT); INSERT INTO a VALUES (1, 0), (2, 0)";
    db.connect().exec(rows);
    let lake = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let columns: [(&str, ArrayRef); 2] =
        [("id", Arc::new(Int64Array::from(vec![1, 2]))), ("n", Arc::new(Int64Array::from(vec![0, 0])))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    runtime.block_on(epoch_adapter_delta::make_table(&lake.path().join("c"), batch)).unwrap();
    let extra = format!("[storage.local.lake]\npath = \"{}\"\n", lake.path().display());
    let postgres = vec![("pg".to_owned(), db.url())];
    let proxy = Proxy::start(ProxyConfig { postgres, extra, ..ProxyConfig::embedded() });
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.busy_timeout(Duration::from_secs(30)).unwrap();
    file.execute_batch(&rows.replace(" a ", " b ")).unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('a', 'postgresql://pg/public.a')");
    main.exec("SELECT * FROM epoch_register('b', 'sqlite://shop/b')");
    main.exec("SELECT * FROM epoch_register('c', 'local://lake/c', key => ARRAY['id'])");
    main.exec("SELECT * FROM epoch_commit('start', '--allow-empty')");
    main.exec("SELECT * FROM epoch_branch('x')");
    World { proxy, db, file, lake, runtime }
}

/// The three tables' values at a commit.
fn at(commit: &str) -> String {
    format!(
        "SELECT a.n, b.n, c.n FROM epoch_at('a', '{commit}') a JOIN epoch_at('b', '{commit}') b ON b.id = a.id \
         JOIN epoch_at('c', '{commit}') c ON c.id = a.id WHERE a.id = 1"
    )
}

/// The three tables' values at a ref's last commit.
fn committed(conn: &mut Conn) -> Vec<String> {
    let commit = conn.one(LAST);
    conn.lines(&at(&commit))
}

const LAST: &str = "SELECT commit_hash FROM epoch_log() LIMIT 1";

impl World {
    /// What all three tables show on main, to us and to others; they must agree.
    fn main(&self) -> i64 {
        let mut seen = committed(&mut self.proxy.connect("main"));
        let working =
            "SELECT a.n, b.n, c.n FROM a JOIN b ON b.id = a.id JOIN c ON c.id = a.id WHERE a.id = 1";
        seen.extend(self.proxy.connect("main").lines(working));
        let a = self.db.connect().one("SELECT n FROM a WHERE id = 1");
        let b: i64 = self.file.query_row("SELECT n FROM b WHERE id = 1", [], |r| r.get(0)).unwrap();
        seen.push(format!("{a}|{b}|{}", self.delta()));
        let n = a.parse().unwrap();
        assert!(seen.iter().all(|line| *line == format!("{n}|{n}|{n}")), "half of a merge: {seen:?}");
        n
    }

    /// What another engine reads of the Delta table.
    fn delta(&self) -> i64 {
        self.runtime.block_on(async {
            let url = Url::from_directory_path(self.lake.path().join("c")).unwrap();
            let table = DeltaTableBuilder::from_url(url).unwrap().load().await.unwrap();
            let context = SessionContext::new();
            let provider = table.table_provider().build().await.unwrap();
            context.register_table("c", Arc::new(provider)).unwrap();
            let batches = context.sql("SELECT n FROM c WHERE id = 1").await.unwrap().collect().await.unwrap();
            batches[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0)
        })
    }

    /// What is uncommitted on main.
    fn open(&self) -> Vec<String> {
        self.proxy.connect("main").lines("SELECT * FROM epoch.status")
    }
}

fn set(conn: &mut Conn, n: i64) -> Option<()> {
    for table in ["a", "b", "c"] {
        send(conn, &format!("UPDATE {table} SET n = {n} WHERE id = 1"))?;
    }
    Some(())
}

/// `None` if the proxy died.
fn send(conn: &mut Conn, sql: &str) -> Option<()> {
    conn.send_raw(&conn::query(sql)).ok()?;
    let reply = conn.try_reply().ok()?;
    let going = reply.error().is_none_or(|e| e.code().starts_with("57") || e.code().starts_with("08"));
    assert!(going, "{sql}: {reply:?}");
    reply.error().is_none().then_some(())
}

/// The first row; `None` if the proxy died.
fn read(conn: &mut Conn, sql: &str) -> Option<Vec<Option<String>>> {
    conn.send_raw(&conn::query(sql)).ok()?;
    let reply = conn.try_reply().ok()?;
    reply.rows().first().cloned()
}

/// An operation that the proxy dies in at each step: before or after, never between.
fn at_each_step(name: &str, reference: &str, prepare: impl Fn(&World), sql: &str) {
    need_postgres!();
    let mut deaths = Vec::new();
    for point in POINTS {
        let mut world = world();
        prepare(&world);
        world.proxy.restart(&[("EPOCH_FAILPOINT", point)]);
        let died = send(&mut world.proxy.connect(reference), sql).is_none();
        if died {
            let ended = world.proxy.await_end(Duration::from_secs(20));
            assert!(ended.is_some(), "{name}: it aborts at {point}");
            deaths.push(point);
        }
        world.proxy.restart(&[]);
        let seen = committed(&mut world.proxy.connect(reference));
        assert!(["0|0|0", "1|1|1"].contains(&seen[0].as_str()), "{name} at {point}: {seen:?}");
        if seen[0] == "0|0|0" {
            assert!(
                died && !["all-sealed", "published"].contains(&point),
                "{name} at {point}: it is completed"
            );
            world.proxy.connect(reference).exec(sql);
        }
        assert_eq!(committed(&mut world.proxy.connect(reference)), ["1|1|1"], "{name} at {point}");
        if reference == "main" {
            assert_eq!((world.main(), world.open()), (1, vec![]), "{name} at {point}");
        }
        // And the next operation finds nothing in its way.
        set(&mut world.proxy.connect("x"), 5).unwrap();
        world.proxy.connect("x").exec("SELECT * FROM epoch_commit('next')");
    }
    println!("{name}: died at {deaths:?}");
    let of_delta = deaths.iter().filter(|point| point.starts_with("delta")).count();
    let expected = if sql.contains("merge") { 3 } else { 0 };
    assert!(deaths.len() - of_delta >= 3 && of_delta == expected, "{name} died at {deaths:?}");
}

#[test]
fn merge_into_main() {
    let ahead = |world: &World| {
        let mut x = world.proxy.connect("x");
        set(&mut x, 1).unwrap();
        x.exec("SELECT * FROM epoch_commit('on x')");
        let mut main = world.proxy.connect("main");
        main.exec("UPDATE c SET n = 7 WHERE id = 2");
        main.exec("SELECT * FROM epoch_commit('on main')");
    };
    at_each_step("merge into main", "main", ahead, "SELECT * FROM epoch_merge('x')");
}

#[test]
fn commit_on_a_branch() {
    let work = |world: &World| set(&mut world.proxy.connect("x"), 1).unwrap();
    at_each_step("commit on a branch", "x", work, "SELECT * FROM epoch_commit('c')");
}

#[test]
fn commit_on_main() {
    let work = |world: &World| set(&mut world.proxy.connect("main"), 1).unwrap();
    at_each_step("commit on main", "main", work, "SELECT * FROM epoch_commit('c')");
}

/// One client that goes on writing to the branch, committing, and merging into main, until its proxy is killed.
fn work_on(mut x: Conn, mut main: Conn, from: i64, merged: &AtomicUsize) {
    for n in from.. {
        let done = set(&mut x, n)
            .and_then(|()| send(&mut x, "SELECT * FROM epoch_commit('c', '--skip-empty')"))
            .and_then(|()| send(&mut main, "SELECT * FROM epoch_merge('x')"));
        if done.is_none() {
            return;
        }
        merged.store(usize::try_from(n).unwrap(), Ordering::SeqCst);
    }
}

/// Kill -9 whenever it comes. A reader meanwhile sees the three tables agree in every commit.
#[test]
fn killed_at_random() {
    need_postgres!();
    let kills: usize = std::env::var("EPOCH_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let mut world = world();
    let merged = AtomicUsize::new(0);
    let (mut reads, mut seen_merges, mut slow) = (0, 0, 0);
    for kill in 0..kills {
        let before = world.main();
        let pid = world.proxy.pid().to_string();
        // On a busy machine longer, until something is merged before the end.
        let delay = Duration::from_millis(rand::rng().random_range(5..600) << slow);
        // Before the clock runs: a proxy that is gone can't be connected to.
        let (x, main) = (world.proxy.connect("x"), world.proxy.connect("main"));
        let mut reader = world.proxy.connect("main");
        std::thread::scope(|scope| {
            scope.spawn(|| work_on(x, main, before + 1, &merged));
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while let Some(commit) = read(&mut reader, LAST) {
                    let commit = commit[0].clone().unwrap();
                    let Some(row) = read(&mut reader, &at(&commit)) else { break };
                    assert!(row.iter().all(|n| *n == row[0]), "half of {commit}: {row:?}");
                    reads += 1;
                }
                reads
            });
            std::thread::sleep(delay);
            assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            reads += reader.join().unwrap();
        });
        world.proxy.restart(&[]);
        let (now, told) = (world.main(), i64::try_from(merged.load(Ordering::SeqCst)).unwrap().max(before));
        assert!(now == told || now == told + 1, "kill {kill}: {told} was acknowledged, {now} is there");
        seen_merges += now - before;
        slow = if now == before && slow < 4 { slow + 1 } else { 0 };
        assert!(world.open().is_empty(), "kill {kill}: {:?}", world.open());
    }
    println!("{kills} kills, {seen_merges} merges, {reads} reads");
    assert!(seen_merges > 0, "nothing was merged in {kills} rounds");
}
