//! Large results of reading functions go through the proxy without staying there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::message::Message;
use common::proxy::{Proxy, ProxyConfig};

const ROWS: usize = 60_000;
/// Kilobytes that the proxy may need more. All rows at once would be more than three times that.
const MORE: u64 = 20 << 10;

/// The most memory that a process has had, in kilobytes.
fn peak(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("a line with the peak");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many rows a statement returns, without keeping them.
fn rows(conn: &mut Conn, sql: &str) -> usize {
    conn.send(&[common::conn::query(sql)]);
    let mut count = 0;
    loop {
        match conn.recv().unwrap() {
            Message::DataRow(_) => count += 1,
            Message::Error(error) => panic!("{sql}: {error:?}"),
            Message::Ready(_) => return count,
            _ => {}
        }
    }
}

/// `queries`: also of larger queries, which a native session puts together itself.
fn stays_small(proxy: &Proxy, main: &mut Conn, change: impl Fn(), queries: bool) {
    main.exec("SELECT * FROM epoch_commit('start', '--allow-empty')");
    main.exec("SELECT * FROM epoch_branch('b')");
    change();
    main.exec("SELECT * FROM epoch_commit('all')");
    main.exec("SELECT count(*) FROM epoch_diff('HEAD~1', 'HEAD', 't') WHERE to_id < 10");
    let all = [
        ("SELECT * FROM epoch_diff('HEAD~1', 'HEAD', 't')", ROWS),
        ("SELECT * FROM epoch_diff('HEAD~1', 'HEAD')", ROWS),
        ("SELECT to_id, to_v FROM epoch_diff('HEAD~1', 'HEAD', 't') WHERE to_v <> 'x'", ROWS),
        ("SELECT * FROM epoch_all_branches('t')", 2 * ROWS),
        ("SELECT _branch, v FROM epoch_all_branches('t') WHERE v <> 'x'", 2 * ROWS),
    ];
    for (sql, expected) in all.into_iter().filter(|(sql, _)| queries || !sql.contains("WHERE")) {
        let before = peak(proxy);
        assert_eq!(rows(main, sql), expected, "{sql}");
        let more = peak(proxy) - before;
        assert!(more < MORE, "{sql}: {more} kB more");
    }
}

#[test]
fn a_large_diff_does_not_stay_in_the_proxy() {
    need_postgres!();
    let shop = Fixture::registered(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, repeat('v', 200) FROM generate_series(1, {ROWS}) g"
    ));
    let change = || drop(shop.direct().exec("UPDATE t SET v = v || 'w'; ANALYZE"));
    stays_small(&shop.proxy, &mut shop.main(), change, false);
}

#[test]
fn a_large_diff_of_sqlite_does_not_stay_in_the_proxy() {
    let proxy = Proxy::start(ProxyConfig::embedded());
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.execute_batch(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < {ROWS}) \
         INSERT INTO t SELECT i, printf('%.200c', 'v') FROM g"
    ))
    .unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('t', 'sqlite://shop/t')");
    stays_small(&proxy, &mut main, || file.execute_batch("UPDATE t SET v = v || 'w'").unwrap(), true);
}
