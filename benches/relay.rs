//! What the proxy adds on main: pgbench directly, through PgBouncer, through us.

use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::common::conn::Target;
use crate::common::proxy::Proxy;
use crate::common::psql::tool;
use crate::measure::{Samples, ms, times};
use crate::report::Report;
use crate::servers::Servers;

pub struct Run {
    pub tps: f64,
    pub latency: Samples,
}

pub fn run(servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    let scale = options.size(20, 5).to_string();
    let status = Command::new(tool("pgbench"))
        .args(["-i", "-q", "-s", &scale])
        .args(login(&servers.postgres))
        .output()
        .unwrap();
    assert!(status.status.success(), "pgbench -i: {}", String::from_utf8_lossy(&status.stderr));
    report.table(
        "Main: latency and throughput",
        "pgbench, tables not registered. p50 of a transaction in ms, transactions per second; then what the hop adds to p50 as a multiple of what PgBouncer's adds (below 0: faster than direct), and our throughput against PgBouncer's.",
        &["workload", "direct p50", "pgbouncer p50", "epoch p50", "direct tps", "pgbouncer tps", "epoch tps", "added p50", "tps ratio"],
    );
    let mut added = Vec::new();
    for (script, flag) in [("select only", Some("-S")), ("TPC-B", None)] {
        for mode in ["simple", "extended", "prepared"] {
            for clients in [1, 16] {
                let bench = |target: &Target| {
                    pgbench(target, Script::BuiltIn(flag), mode, clients, options.size(3, 2))
                };
                let direct = bench(&servers.postgres);
                let bouncer = servers.pgbouncer.as_ref().map(&bench);
                let epoch = bench(&proxy.target("main"));
                let over = |run: &Run| run.latency.p50().as_secs_f64() - direct.latency.p50().as_secs_f64();
                let factor = bouncer.as_ref().map(|b| over(&epoch) / over(b).max(1e-6));
                if let (Some(factor), 1, "select only") = (factor, clients, script) {
                    added.push((mode, factor));
                }
                report.row(vec![
                    format!("{script}, {mode}, {clients} client{}", if clients == 1 { "" } else { "s" }),
                    ms(direct.latency.p50()),
                    bouncer.as_ref().map_or("-".into(), |b| ms(b.latency.p50())),
                    ms(epoch.latency.p50()),
                    format!("{:.0}", direct.tps),
                    bouncer.as_ref().map_or("-".into(), |b| format!("{:.0}", b.tps)),
                    format!("{:.0}", epoch.tps),
                    factor.map_or("-".into(), times),
                    bouncer.as_ref().map_or("-".into(), |b| times(epoch.tps / b.tps.max(0.1))),
                ]);
            }
        }
    }
    for (mode, factor) in added {
        report.aim(
            factor <= 2.0,
            format!("added p50 on main at most 2x PgBouncer's ({mode}, 1 client): {}", times(factor)),
        );
    }
}

/// How PostgreSQL's programs reach a database.
pub fn login(target: &Target) -> Vec<String> {
    let Target { host, port, user, dbname, .. } = target;
    vec!["-h".into(), host.clone(), "-p".into(), port.to_string(), "-U".into(), user.clone(), dbname.clone()]
}

/// What pgbench runs.
#[derive(Debug, Clone, Copy)]
pub enum Script {
    /// Built in: by its flag; TPC-B if there is none.
    BuiltIn(Option<&'static str>),
    /// The text of one.
    Own(&'static str),
}

/// Runs pgbench for some seconds.
pub fn pgbench(target: &Target, script: Script, mode: &str, clients: u32, seconds: u32) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let seconds = seconds.to_string();
    let clients = clients.to_string();
    let threads = if clients == "1" { "1" } else { "2" };
    let flags = match script {
        Script::BuiltIn(flag) => flag.map(str::to_owned).into_iter().collect(),
        Script::Own(text) => {
            std::fs::write(dir.path().join("script.sql"), text).unwrap();
            vec!["-f".to_owned(), "script.sql".to_owned()]
        }
    };
    let output = Command::new(tool("pgbench"))
        .current_dir(dir.path())
        .args(["-n", "-l", "-T", &seconds, "-M", mode, "-c", &clients, "-j", threads])
        .args(flags)
        .args(login(target))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "pgbench: {text}{}", String::from_utf8_lossy(&output.stderr));
    let tps = text.lines().find_map(|l| l.strip_prefix("tps = ")).and_then(|l| l.split_whitespace().next());
    let mut micros = Vec::new();
    let logs = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    for path in logs.filter(|path| !path.ends_with("script.sql")) {
        let log = std::fs::read_to_string(path).unwrap();
        micros
            .extend(log.lines().filter_map(|l| l.split(' ').nth(2)?.parse().ok()).map(Duration::from_micros));
    }
    // A machine that is too busy for one transaction in the time has no such line.
    Run { tps: tps.and_then(|t| t.parse().ok()).unwrap_or(0.0), latency: Samples::new(micros) }
}
