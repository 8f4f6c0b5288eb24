//! Whole workloads on a branch against plain tables: YCSB-like mixes, depth, many live branches, COPY,
//! and what capture costs main.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::common::conn::{self, Conn};
use crate::common::proxy::Proxy;
use crate::common::psql::tool;
use crate::measure::{Pace, drain, ms, race, ratio, time, times};
use crate::relay::{Script, login, pgbench};
use crate::report::Report;
use crate::servers::Servers;

pub fn run(servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    prepare(servers, proxy, options);
    mixes(servers, proxy, options, report);
    depth(proxy, options, report);
    live(proxy, options, report);
    copy(servers, proxy, options, report);
    capture(servers, proxy, options, report);
}

fn records(options: &Options) -> u32 {
    options.size(200_000, 20_000)
}

fn prepare(servers: &Servers, proxy: &Proxy, options: &Options) {
    let n = records(options);
    let mut direct = servers.direct();
    let field = |i: u32| format!("f{i} text NOT NULL");
    let fields: Vec<_> = (0..10).map(field).collect();
    direct.exec(&format!(
        "CREATE TABLE record (id bigint PRIMARY KEY, owner bigint NOT NULL, {}); CREATE INDEX ON record (owner); \
         INSERT INTO record SELECT g, g % {n} / 4, {} FROM generate_series(1, {n}) g; \
         CREATE TABLE plain (LIKE record INCLUDING ALL); INSERT INTO plain SELECT * FROM record; \
         CREATE TABLE bulk (id bigint PRIMARY KEY, name text NOT NULL, score int NOT NULL); CREATE TABLE bulk_plain (LIKE bulk INCLUDING ALL)",
        fields.join(", "),
        ["repeat('x', 100)"; 10].join(", ")
    ));
    ["VACUUM ANALYZE record", "VACUUM ANALYZE plain"].iter().for_each(|sql| drop(direct.exec(sql)));
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('record')");
    main.exec("SELECT * FROM epoch_register('bulk')");
}

/// Statements that a session of a mix has prepared: name and text over the table.
const STATEMENTS: [(&str, &str); 4] = [
    ("read", "SELECT * FROM {t} WHERE id = $1"),
    ("update", "UPDATE {t} SET f3 = 'changed' WHERE id = $1"),
    (
        "insert",
        "INSERT INTO {t} SELECT $1, 1, f0, f1, f2, f3, f4, f5, f6, f7, f8, f9 FROM (VALUES ('a','b','c','d','e','f','g','h','i','j')) v(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9)",
    ),
    ("scan", "SELECT * FROM {t} WHERE id >= $1 ORDER BY id LIMIT 50"),
];

/// What the n-th operation of a mix does.
struct Mix {
    name: &'static str,
    operation: fn(u32) -> &'static [&'static str],
    /// The most that it may take, as a multiple of plain.
    aim: f64,
}

const MIXES: [Mix; 6] = [
    Mix {
        name: "A: 50 % reads, 50 % updates",
        operation: |i| if i % 2 == 0 { &["read"] } else { &["update"] },
        aim: 2.0,
    },
    Mix {
        name: "B: 95 % reads, 5 % updates",
        operation: |i| if i % 20 > 0 { &["read"] } else { &["update"] },
        aim: 1.5,
    },
    Mix { name: "C: reads", operation: |_| &["read"], aim: 1.5 },
    Mix {
        name: "D: 95 % reads, 5 % inserts",
        operation: |i| if i % 20 > 0 { &["read"] } else { &["insert"] },
        aim: 1.5,
    },
    Mix {
        name: "E: 95 % scans of 50, 5 % inserts",
        operation: |i| if i % 20 > 0 { &["scan"] } else { &["insert"] },
        aim: 1.5,
    },
    Mix {
        name: "F: 50 % reads, 50 % read, modify, write",
        operation: |i| if i % 2 == 0 { &["read"] } else { &["read", "update"] },
        aim: 2.0,
    },
];

fn mixes(servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    report.table(
        "YCSB-like mixes on a branch",
        &format!("{} records of 10 fields of 100 bytes, one session, prepared statements, keys spread evenly. Mean of an operation in ms, in turns of 100; a branch begins with nothing copied up.", records(options)),
        &["mix", "plain", "branch", "ratio"],
    );
    for (number, mix) in MIXES.iter().enumerate() {
        let name = format!("mix{number}");
        proxy.connect("main").exec(&format!("SELECT * FROM epoch_branch('{name}')"));
        let mut routes = [(servers.direct(), "plain"), (proxy.connect(&name), "record")];
        for (conn, table) in &mut routes {
            for (name, sql) in STATEMENTS {
                conn.send(&[conn::parse(name, &sql.replace("{t}", table), &[20]), conn::sync()]);
                drain(conn);
            }
        }
        let rounds = options.size(100, 10);
        let mut took = [Duration::ZERO; 2];
        for round in 0..rounds + 1 {
            for (total, (conn, _)) in took.iter_mut().zip(&mut routes) {
                let (spent, ()) = time(|| turn(conn, mix, round, number, options));
                // The first turn warms up.
                *total += if round == 0 { Duration::ZERO } else { spent };
            }
        }
        let each = took.map(|t| t / (rounds * 100));
        let factor = ratio(each[1], each[0]);
        report.aim(factor <= mix.aim, format!("mix {} within {}x: {}", mix.name, mix.aim, times(factor)));
        report.row(vec![mix.name.to_owned(), ms(each[0]), ms(each[1]), times(factor)]);
    }
}

fn turn(conn: &mut Conn, mix: &Mix, round: u32, number: usize, options: &Options) {
    let n = records(options);
    for i in round * 100..(round + 1) * 100 {
        for statement in (mix.operation)(i) {
            let key = match *statement {
                // No two mixes insert the same.
                "insert" => n * (number as u32 + 2) + i,
                _ => 1 + (i * 7919) % n,
            };
            let key = key.to_string();
            conn.send(&[conn::bind("", statement, &[Some(&key)], false), conn::execute("", 0), conn::sync()]);
            drain(conn);
        }
    }
}

const POINT: &str = "SELECT * FROM record WHERE id = $1";
const JOIN: &str = "SELECT a.id, b.f1 FROM record a JOIN record b ON b.owner = a.owner WHERE a.id = $1";

/// p50 of a statement on each of the refs.
fn compare(proxy: &Proxy, refs: &[String], sql: &str, options: &Options) -> Vec<Duration> {
    let mut conns: Vec<Conn> = refs.iter().map(|r| proxy.connect(r)).collect();
    let mut routes: Vec<&mut Conn> = conns.iter_mut().collect();
    let budget = Duration::from_millis(u64::from(options.size(2500, 400)));
    let n = records(options);
    let samples = race(&mut routes, sql, (true, Pace::InARow), budget, |round| {
        (1 + (round * 7919) % (n - 200)).to_string()
    });
    samples.iter().map(crate::measure::Samples::p50).collect()
}

fn depth(proxy: &Proxy, options: &Options, report: &mut Report) {
    let deepest = options.size(1024, 48);
    let mut from = "main".to_owned();
    for level in 1..=deepest {
        let name = format!("d{level}");
        proxy.connect(&from).exec(&format!("SELECT * FROM epoch_branch('{name}')"));
        let mut branch = proxy.connect(&name);
        branch.exec(&format!("UPDATE record SET f1 = 'level {level}' WHERE id = {level}"));
        branch.exec("SELECT * FROM epoch_commit('a level')");
        from = name;
    }
    report.table(
        "Depth",
        "Branches off branches, each with a change and a commit of its own. p50 in ms at depth 1, the others as multiples of it.",
        &["query", "depth 1", "32", &deepest.to_string()],
    );
    let refs = ["d1".to_owned(), "d32".to_owned(), format!("d{deepest}")];
    for (name, sql) in [("point read", POINT), ("selective join", JOIN)] {
        let p50 = compare(proxy, &refs, sql, options);
        let factors = [ratio(p50[1], p50[0]), ratio(p50[2], p50[0])];
        for (level, factor) in [32, deepest].into_iter().zip(factors) {
            report.aim(
                factor <= 1.2,
                format!("{name} at depth {level} within 1.2x of depth 1: {}", times(factor)),
            );
        }
        report.row(vec![name.to_owned(), ms(p50[0]), times(factors[0]), times(factors[1])]);
    }
}

fn live(proxy: &Proxy, options: &Options, report: &mut Report) {
    let counts = [1, 100, options.size(10_000, 300)];
    report.table(
        "Many live branches",
        "Each with a change of its own. p50 in ms on the first one, with so many beside it; the later columns as multiples of the first.",
        &["query", "1 branch", "100", &counts[2].to_string()],
    );
    let mut main = proxy.connect("main");
    let queries = [
        ("point read", POINT),
        ("selective join", JOIN),
        ("UPDATE of 1 row", "UPDATE record SET f2 = 'x' WHERE id = $1"),
    ];
    let mut rows: Vec<Vec<Duration>> = vec![Vec::new(); queries.len()];
    let mut made = 0;
    for count in counts {
        for number in made..count {
            main.exec(&format!("SELECT * FROM epoch_branch('l{number}')"));
            proxy
                .connect(&format!("l{number}"))
                .exec(&format!("UPDATE record SET f1 = 'x' WHERE id = {}", 1 + number));
        }
        made = count;
        for (row, (_, sql)) in rows.iter_mut().zip(&queries) {
            row.extend(compare(proxy, &["l0".to_owned()], sql, options));
        }
    }
    for (row, (name, _)) in rows.iter().zip(&queries) {
        let factors = [ratio(row[1], row[0]), ratio(row[2], row[0])];
        report.aim(
            factors[1] <= 1.2,
            format!("{name} with {} live branches within 1.2x of one: {}", counts[2], times(factors[1])),
        );
        report.row(vec![(*name).to_owned(), ms(row[0]), times(factors[0]), times(factors[1])]);
    }
}

fn copy(servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    let n = options.size(1_000_000, 50_000);
    report.table(
        "COPY",
        &format!("{n} rows with a primary key, from the client."),
        &["statement", "plain", "branch", "ratio"],
    );
    let pieces: Vec<String> = (0..n / 1000)
        .map(|piece| {
            (piece * 1000..(piece + 1) * 1000).fold(String::new(), |mut text, id| {
                writeln!(text, "{id}\tname of {id}\t{}", id % 1000).unwrap();
                text
            })
        })
        .collect();
    let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
    proxy.connect("main").exec("SELECT * FROM epoch_branch('copied')");
    let mut took = Vec::new();
    for (mut conn, table) in [(servers.direct(), "bulk_plain"), (proxy.connect("copied"), "bulk")] {
        let (spent, reply) = time(|| conn.copy_in(&format!("COPY {table} FROM STDIN"), &pieces));
        assert_eq!(reply.tags(), [format!("COPY {n}")]);
        took.push(spent);
    }
    let factor = ratio(took[1], took[0]);
    report.aim(factor <= 1.5, format!("COPY of {n} rows into a branch within 1.5x: {}", times(factor)));
    report.row(vec![format!("COPY of {n} rows"), ms(took[0]), ms(took[1]), times(factor)]);
}

/// pgbench's TPC-B directly on the server, before its tables are registered and after. Its history has no
/// key and stays unregistered.
fn capture(servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    let scale = options.size(20, 2).to_string();
    let made = Command::new(tool("pgbench"))
        .args(["-i", "-q", "-s", &scale])
        .args(login(&servers.postgres))
        .output()
        .unwrap();
    assert!(made.status.success(), "pgbench -i: {}", String::from_utf8_lossy(&made.stderr));
    report.table(
        "Capture on main",
        "pgbench's TPC-B directly on the server, transactions per second without and with its tables registered.",
        &["clients", "without", "with", "ratio"],
    );
    let clients = [1, 16];
    let tps = || {
        clients.map(|clients| {
            pgbench(&servers.postgres, Script::BuiltIn(None), "prepared", clients, options.size(3, 2)).tps
        })
    };
    let without = tps();
    let mut main = proxy.connect("main");
    for table in ["accounts", "branches", "tellers"] {
        main.exec(&format!("SELECT * FROM epoch_register('pgbench_{table}')"));
    }
    let with = tps();
    for ((clients, without), with) in clients.iter().zip(without).zip(with) {
        let factor = with / without;
        report.aim(
            factor >= 0.85,
            format!("capture keeps 0.85x of TPC-B with {clients} clients: {}", times(factor)),
        );
        report.row(vec![clients.to_string(), format!("{without:.0}"), format!("{with:.0}"), times(factor)]);
    }
    for table in ["accounts", "branches", "tellers"] {
        main.exec(&format!("SELECT * FROM epoch_unregister('pgbench_{table}', '-f')"));
    }
}
