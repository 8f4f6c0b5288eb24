//! What history costs: long logs, large differences, merges, the versions of one row, and all branches at once.

use std::time::Duration;

use crate::Options;
use crate::common::conn::{self, Conn};
use crate::common::proxy::{Proxy, ProxyConfig};
use crate::measure::{Samples, drain, ms, time};
use crate::report::Report;
use crate::servers::Servers;

pub fn run(servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    let n = options.size(1_000_000, 100_000);
    prepare(servers, proxy, n);
    report.table(
        "History",
        &format!("End to end from a client, in ms, on a table of {n} rows of a PostgreSQL backend; the log on SQLite metadata."),
        &["operation", "p50", "p99"],
    );
    log(options, report);
    differences(proxy, n, options, report);
    merges(proxy, n, options, report);
    one_key(proxy, options, report);
    everywhere(proxy, n, options, report);
}

fn prepare(servers: &Servers, proxy: &Proxy, n: u32) {
    let mut direct = servers.direct();
    direct.exec(&format!(
        "CREATE TABLE ledger (id bigint PRIMARY KEY, owner text NOT NULL, amount int NOT NULL, note text); \
         INSERT INTO ledger SELECT g, 'owner ' || g % 1000, g % 100, 'first' FROM generate_series(1, {n}) g"
    ));
    direct.exec("VACUUM ANALYZE ledger");
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('ledger')");
    main.exec("SELECT * FROM epoch_commit('before', '--allow-empty')");
}

fn show(report: &mut Report, name: &str, all: Vec<Duration>) -> Duration {
    let samples = Samples::new(all);
    report.row(vec![name.to_owned(), ms(samples.p50()), ms(samples.quantile(0.99))]);
    samples.p50()
}

fn aim(report: &mut Report, what: &str, took: Duration, most: Duration) {
    report.aim(took <= most, format!("{what} in at most {} ms: {} ms", most.as_millis(), ms(took)));
}

/// Reads all rows of a query and keeps none.
fn read(conn: &mut Conn, sql: &str) -> Duration {
    time(|| {
        conn.send(&[conn::query(sql)]);
        drain(conn);
    })
    .0
}

/// The commits are put into the store: making them one by one measures something else.
fn log(options: &Options, report: &mut Report) {
    let commits = options.size(100_000, 20_000);
    let mut proxy = Proxy::start(ProxyConfig::embedded());
    proxy.connect("main").exec("SELECT * FROM epoch_branch('long')");
    proxy.terminate();
    let store = rusqlite::Connection::open(proxy.sqlite_path("meta")).unwrap();
    store
        .execute_batch(&format!(
            "BEGIN;
             CREATE TEMP TABLE made AS WITH RECURSIVE g(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM g WHERE i < {commits})
                 SELECT i, printf('%064x', i) AS hash FROM g;
             CREATE TEMP TABLE start AS SELECT next_commit AS seq, (SELECT head FROM branches WHERE name = 'long') AS head FROM repository;
             INSERT INTO commits SELECT hash, start.seq + i, 'Ada', 'ada@example.com', 1700000000000000 + i, 'commit ' || i FROM made, start;
             INSERT INTO commit_parents SELECT hash, 1, CASE i WHEN 1 THEN start.head ELSE printf('%064x', i - 1) END FROM made, start;
             UPDATE repository SET next_commit = next_commit + {commits}, generation = generation + 1, structure = structure + 1;
             UPDATE branches SET head = printf('%064x', {commits}), generation = (SELECT generation FROM repository) WHERE name = 'long';
             COMMIT;"
        ))
        .unwrap();
    drop(store);
    proxy.restart(&[]);
    let mut conn = proxy.connect("long");
    let first =
        "SELECT commit_hash, author, date, message FROM epoch_log() ORDER BY commit_order DESC LIMIT 50";
    let (cold, rows) = time(|| conn.lines(first).len());
    assert_eq!(rows, 50);
    show(report, &format!("log of {commits} commits: first page, the proxy just started"), vec![cold]);
    let warm = show(
        report,
        &format!("log of {commits} commits: first page"),
        (0..options.size(30, 10)).map(|_| read(&mut conn, first)).collect(),
    );
    aim(report, &format!("the first page of a log of {commits} commits"), warm, Duration::from_millis(50));
    let middle = conn.one(&format!("SELECT max(commit_order) - {} FROM epoch_log('-n', '1')", commits / 2));
    let page = format!(
        "SELECT commit_hash, message FROM epoch_log() WHERE commit_order < {middle} ORDER BY commit_order DESC LIMIT 50"
    );
    show(
        report,
        &format!("log of {commits} commits: a page in the middle"),
        (0..options.size(30, 10)).map(|_| read(&mut conn, &page)).collect(),
    );
    show(
        report,
        &format!("log of {commits} commits: all of it"),
        vec![read(&mut conn, "SELECT commit_hash FROM epoch_log()")],
    );
}

fn differences(proxy: &Proxy, n: u32, options: &Options, report: &mut Report) {
    let mut main = proxy.connect("main");
    let few = 10_000.min(n / 10);
    for (name, condition, changed, most) in [
        ("few", format!("id % {} = 0", n / few), few, Duration::from_millis(150)),
        ("all", "true".to_owned(), n, Duration::from_secs(4)),
    ] {
        main.exec(&format!("SELECT * FROM epoch_branch('{name}')"));
        let mut branch = proxy.connect(name);
        branch.exec(&format!("UPDATE ledger SET amount = amount + 1 WHERE {condition}"));
        branch.exec("SELECT * FROM epoch_commit('changed')");
        let counted = branch.one("SELECT rows_modified FROM epoch_diff_stat('HEAD~1', 'HEAD', 'ledger')");
        assert_eq!(counted, changed.to_string());
        let rounds = if name == "few" { options.size(20, 5) } else { options.size(3, 1) };
        let sql = "SELECT * FROM epoch_diff('HEAD~1', 'HEAD', 'ledger')";
        let took = (0..rounds).map(|_| read(&mut branch, sql)).collect();
        let took = show(report, &format!("diff of {changed} changed rows"), took);
        aim(report, &format!("diff of {changed} changed rows of {n}"), took, most);
    }
}

fn merges(proxy: &Proxy, n: u32, options: &Options, report: &mut Report) {
    let mut main = proxy.connect("main");
    let few = 10_000.min(n / 10);
    let mut took = Vec::new();
    for round in 0..options.size(5, 2) {
        main.exec(&format!("SELECT * FROM epoch_branch('merge{round}')"));
        let mut branch = proxy.connect(&format!("merge{round}"));
        branch.exec(&format!("UPDATE ledger SET owner = 'merged {round}' WHERE id % {} = {round}", n / few));
        branch.exec("SELECT * FROM epoch_commit('for the merge')");
        // Main moves in other columns of a tenth of these rows.
        main.exec(&format!("UPDATE ledger SET amount = -{round} WHERE id % {} = {round}", n / few * 10));
        main.exec("SELECT * FROM epoch_commit('main moves', '--skip-empty')");
        let (one, reply) = time(|| main.exec(&format!("SELECT * FROM epoch_merge('merge{round}')")));
        assert_eq!(reply.rows()[0][2].as_deref(), Some("0"));
        took.push(one);
    }
    let took = show(report, &format!("merge of {few} changed rows into main, three-way"), took);
    aim(report, &format!("merge of {few} changed rows of {n}"), took, Duration::from_millis(500));
}

fn one_key(proxy: &Proxy, options: &Options, report: &mut Report) {
    let mut main = proxy.connect("main");
    for amount in 0..options.size(50, 20) {
        main.exec(&format!("UPDATE ledger SET amount = 1000 + {amount} WHERE id = 77"));
        main.exec("SELECT * FROM epoch_commit('one row')");
    }
    for (name, sql) in [
        ("history of one key", "SELECT * FROM epoch_history('ledger', '77')"),
        ("blame of one key", "SELECT * FROM epoch_blame('ledger') WHERE id = 77"),
    ] {
        let took = (0..options.size(100, 20)).map(|_| read(&mut main, sql)).collect();
        let took = show(report, name, took);
        aim(report, name, took, Duration::from_millis(10));
    }
}

fn everywhere(proxy: &Proxy, n: u32, options: &Options, report: &mut Report) {
    let branches = options.size(1_000, 50);
    let mut main = proxy.connect("main");
    for i in 0..branches {
        main.exec(&format!("SELECT * FROM epoch_branch('many{i}')"));
        let mut branch = proxy.connect(&format!("many{i}"));
        branch.exec(&format!("DELETE FROM ledger WHERE id % {} = {i}", n / 100));
    }
    let expected = |main: &mut Conn| main.one("SELECT count(*) FROM epoch_all_branches('ledger')");
    let (first, count) = time(|| expected(&mut main));
    let own: u64 = main.one("SELECT count(*) FROM ledger").parse().unwrap();
    let there: u64 = main.one("SELECT count(*) FROM epoch.branches").parse().unwrap();
    assert!(count.parse::<u64>().unwrap() <= own * there, "{count} rows of {there} branches");
    let mut took = vec![first];
    took.extend((1..options.size(5, 2)).map(|_| time(|| expected(&mut main)).0));
    let name = format!("count over {branches} branches with 100 changed rows each");
    let took = show(report, &name, took);
    aim(report, &format!("epoch_all_branches: {name} of {n}"), took, Duration::from_secs(2));
    let sql = "SELECT _branch, count(*) FROM epoch_all_branches('ledger') GROUP BY _branch";
    show(report, "the same, by branch", vec![read(&mut main, sql)]);
}
