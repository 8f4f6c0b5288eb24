//! The verbs: branch, commit, diff, merge.

use std::time::Duration;

use crate::Options;
use crate::common::proxy::Proxy;
use crate::measure::{Samples, ms, time};
use crate::report::Report;
use crate::servers::Servers;
use crate::views::users;

pub fn run(_servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    let n = users(options);
    report.table(
        "Version control",
        &format!("End to end from a client, in ms, on tables of {n} and {} rows.", n * 2),
        &["operation", "p50", "p99"],
    );
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_commit('-m', 'before', '--skip-empty')");
    let rounds = options.size(50, 20);
    let show = |report: &mut Report, name: &str, all: Vec<Duration>| {
        let samples = Samples::new(all);
        report.row(vec![name.to_owned(), ms(samples.p50()), ms(samples.quantile(0.99))]);
        samples.p50()
    };

    let made =
        (0..rounds).map(|i| time(|| main.exec(&format!("SELECT * FROM epoch_branch('v{i}')"))).0).collect();
    let p50 = show(report, "branch", made);
    report.aim(p50 <= Duration::from_millis(5), format!("branch in at most 5 ms: {} ms", ms(p50)));

    let mut branch = proxy.connect("v0");
    let mut commits = Vec::new();
    let mut switch = Vec::new();
    for i in 0..rounds {
        branch.exec(&format!("UPDATE users SET score = score + 1 WHERE id = {}", 1 + i * 3));
        commits.push(time(|| branch.exec("SELECT * FROM epoch_commit('one row')")).0);
        switch.push(time(|| main.exec("SELECT * FROM epoch_checkout('v1')")).0);
        main.exec("SELECT * FROM epoch_checkout('main')");
    }
    let p50 = show(report, "commit of 1 row", commits);
    report.aim(p50 <= Duration::from_millis(10), format!("commit of 1 row in at most 10 ms: {} ms", ms(p50)));
    show(report, "checkout", switch);
    let diffs = (0..rounds)
        .map(|_| time(|| branch.exec("SELECT * FROM epoch_diff('HEAD~1', 'HEAD', 'users')")).0)
        .collect();
    show(report, "diff of 1 row", diffs);

    let many = options.size(100_000, 10_000);
    let mut big = proxy.connect("v1");
    big.exec(&format!("UPDATE users SET name = name || '!' WHERE id BETWEEN 20001 AND {}", 20_000 + many));
    let (took, _) = time(|| big.exec("SELECT * FROM epoch_commit('many rows')"));
    show(report, &format!("commit of {many} rows"), vec![took]);
    report.aim(
        took <= Duration::from_secs(2),
        format!("commit of {many} rows in at most 2 s: {} ms", ms(took)),
    );
    let count = "SELECT rows_modified FROM epoch_diff_stat('HEAD~1', 'HEAD', 'users')";
    let (took, got) = time(|| big.one(count));
    assert_eq!(got, many.to_string());
    show(report, &format!("diff_stat of {many} rows"), vec![took]);
    let (took, got) = time(|| big.one("SELECT count(*) FROM epoch_diff('HEAD~1', 'HEAD', 'users')"));
    assert_eq!(got, many.to_string());
    show(report, &format!("diff of {many} rows, counted"), vec![took]);

    // Three-way: main moves too.
    let mut merges = Vec::new();
    for i in 2..rounds.min(12) {
        let mut branch = proxy.connect(&format!("v{i}"));
        branch.exec(&format!("UPDATE users SET name = 'merged' WHERE id = {}", 10 + i));
        branch.exec("SELECT * FROM epoch_commit('for the merge')");
        main.exec(&format!("UPDATE users SET score = -1 WHERE id = {}", 10 + i));
        main.exec("SELECT * FROM epoch_commit('main moves')");
        merges.push(time(|| main.exec(&format!("SELECT * FROM epoch_merge('v{i}')"))).0);
    }
    show(report, "merge of 1 row, three-way", merges);
    main.exec("UPDATE users SET score = -2 WHERE id BETWEEN 20001 AND 21000");
    main.exec("SELECT * FROM epoch_commit('main moves by 1,000 of these')");
    let (took, reply) = time(|| main.exec("SELECT * FROM epoch_merge('v1')"));
    assert_eq!(reply.rows()[0][2].as_deref(), Some("0"));
    show(report, &format!("merge of {many} rows, three-way, 1,000 by field"), vec![took]);
    let log = (0..rounds).map(|_| time(|| main.exec("SELECT * FROM epoch_log() LIMIT 20")).0).collect();
    show(report, "log, 20 commits", log);
    let status = (0..rounds).map(|_| time(|| main.exec("SELECT * FROM epoch.status")).0).collect();
    show(report, "status", status);
}
