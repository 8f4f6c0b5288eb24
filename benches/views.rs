//! Reads and writes on a branch against the plain table.

use std::time::Duration;

use crate::Options;
use crate::common::conn::{Conn, Target};
use crate::common::proxy::Proxy;
use crate::measure::{Pace, Samples, ms, race, ratio, time, times};
use crate::relay::{Script, pgbench};
use crate::report::Report;
use crate::servers::Servers;

/// Rows of `users`; `orders` has twice as many.
pub fn users(options: &Options) -> u32 {
    options.size(1_000_000, 100_000)
}

pub fn prepare(servers: &Servers, proxy: &Proxy, options: &Options) {
    let n = users(options);
    let mut direct = servers.direct();
    direct.exec(&format!(
        "CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, name text NOT NULL, city text NOT NULL, \
           score int NOT NULL DEFAULT 0, created timestamptz NOT NULL); \
         CREATE INDEX users_created ON users (created); \
         INSERT INTO users SELECT g, 'u' || g || '@example.com', 'User ' || g, 'city ' || g % 100, g % 1000, \
           TIMESTAMPTZ '2020-01-01' + g * interval '1 minute' FROM generate_series(1, {n}) g; \
         CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, total numeric(12,2) NOT NULL, status text NOT NULL); \
         CREATE INDEX orders_user ON orders (user_id); \
         INSERT INTO orders SELECT g, 1 + (g::bigint * 7919) % {n}, g % 500, 'new' FROM generate_series(1, {n} * 2) g; \
         CREATE TABLE twin (LIKE users INCLUDING ALL); INSERT INTO twin SELECT * FROM users;"
    ));
    ["VACUUM ANALYZE users", "VACUUM ANALYZE orders", "VACUUM ANALYZE twin"]
        .iter()
        .for_each(|sql| drop(direct.exec(sql)));
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('users')");
    main.exec("SELECT * FROM epoch_register('orders')");
}

struct Query {
    name: &'static str,
    sql: &'static str,
    prepared: bool,
    pace: Pace,
    /// Where the aim is 2x.
    aim: bool,
}

const fn query(name: &'static str, sql: &'static str) -> Query {
    Query { name, sql, prepared: true, pace: Pace::InARow, aim: false }
}

const QUERIES: [Query; 13] = [
    Query { aim: true, ..query("point read", "SELECT * FROM users WHERE id = $1") },
    Query {
        pace: Pace::Rested,
        ..query("point read after 1 ms of rest", "SELECT * FROM users WHERE id = $1")
    },
    Query { prepared: false, ..query("point read, simple", "SELECT * FROM users WHERE id = $1") },
    Query {
        aim: true,
        ..query(
            "selective join",
            "SELECT o.id, o.total, u.name FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id = $1",
        )
    },
    query(
        "join from one user",
        "SELECT u.name, o.total FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE u.id = $1",
    ),
    query("range, LIMIT 50", "SELECT id, name FROM users WHERE id > $1 ORDER BY id LIMIT 50"),
    query("latest 20", "SELECT id, created FROM users ORDER BY created DESC LIMIT 20"),
    query(
        "IN",
        "SELECT id, name FROM users WHERE id IN (SELECT user_id FROM orders WHERE id BETWEEN $1 AND $1 + 20)",
    ),
    query(
        "EXISTS",
        "SELECT id FROM users u WHERE id BETWEEN $1 AND $1 + 100 AND EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id)",
    ),
    query("max", "SELECT max(id) FROM users"),
    query("count", "SELECT count(*) FROM users"),
    query("group by", "SELECT city, count(*), sum(score) FROM users GROUP BY city"),
    query(
        "join of everything",
        "SELECT u.city, sum(o.total) FROM orders o JOIN users u ON u.id = o.user_id GROUP BY u.city",
    ),
];

pub fn reads(servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    let n = users(options);
    let overlays = [0u32, 100, 10_000];
    let mut main = proxy.connect("main");
    for overlay in overlays {
        main.exec(&format!("SELECT * FROM epoch_branch('o{overlay}')"));
        if overlay > 0 {
            let mut branch = proxy.connect(&format!("o{overlay}"));
            let step = n / overlay;
            branch.exec(&format!("UPDATE users SET score = score + 1 WHERE id % {step} = 0"));
            branch.exec(&format!("UPDATE orders SET total = total + 1 WHERE id % {} = 0", step * 2));
        }
    }
    for drift in [0u32, 1000] {
        let mut direct = servers.direct();
        if let Some(step) = n.checked_div(drift) {
            direct.exec(&format!("UPDATE users SET score = score + 1 WHERE id % {step} = 1"));
            direct.exec(&format!("UPDATE orders SET total = total + 1 WHERE id % {} = 1", step * 2));
        }
        direct.exec("ANALYZE");
        report.table(
            &format!("Reads on a branch, main moved {drift} rows since the fork"),
            &format!("{n} users, {} orders, both overlaid. p50 end to end on the plain table in ms; the plain table through PgBouncer, main, and branches with overlays of 0, 100 and 10,000 rows as multiples of it.", n * 2),
            &["query", "plain", "pgbouncer", "main", "overlay 0", "100", "10,000", "full scans"],
        );
        for query in &QUERIES {
            one_read(&mut direct, servers, proxy, query, &overlays, drift, n, options, report);
        }
        by_pgbench(servers, proxy, &overlays, drift, options, report);
    }
}

/// What PostgreSQL's own client program sees of the two statements that have an aim.
fn by_pgbench(
    servers: &Servers,
    proxy: &Proxy,
    overlays: &[u32],
    drift: u32,
    options: &Options,
    report: &mut Report,
) {
    const SCRIPTS: [(&str, &str, &str); 4] = [
        (
            "point read",
            "\\set id random(1, 1000000)\nSELECT * FROM users WHERE id = :id;",
            "\\set id random(1, 100000)\nSELECT * FROM users WHERE id = :id;",
        ),
        (
            "selective join",
            "\\set id random(1, 1000000)\nSELECT o.id, o.total, u.name FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id = :id;",
            "\\set id random(1, 100000)\nSELECT o.id, o.total, u.name FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id = :id;",
        ),
        (
            "range, LIMIT 50",
            "\\set id random(1, 1000000)\nSELECT id, name FROM users WHERE id > :id ORDER BY id LIMIT 50;",
            "\\set id random(1, 100000)\nSELECT id, name FROM users WHERE id > :id ORDER BY id LIMIT 50;",
        ),
        (
            "latest 20",
            "SELECT id, created FROM users ORDER BY created DESC LIMIT 20;",
            "SELECT id, created FROM users ORDER BY created DESC LIMIT 20;",
        ),
    ];
    report.table(
        &format!("Reads on a branch by pgbench, main moved {drift} rows since the fork"),
        "p50 of the plain table in ms; PgBouncer, main and branches with overlays of 0, 100 and 10,000 rows as multiples of it, in turns of a second.",
        &["statement", "plain", "pgbouncer", "main", "overlay 0", "100", "10,000"],
    );
    for (name, full, quick) in SCRIPTS {
        let script = Script::Own(if options.quick { quick } else { full });
        let aimed = ["point read", "selective join"].contains(&name);
        let all = [("prepared", 1), ("simple", 1), ("extended", 1), ("prepared", 16)];
        for (mode, clients) in all.into_iter().take(if aimed { 4 } else { 2 }) {
            let mut targets = vec![servers.postgres.clone(), proxy.target("main")];
            targets.extend(overlays.iter().map(|o| proxy.target(&format!("o{o}"))));
            targets.extend(servers.pgbouncer.clone());
            let (plain, ratios) = in_turns(&targets, script, mode, clients, options);
            let (branches, bouncer) = ratios[1..].split_at(overlays.len());
            if clients == 1 && aimed {
                let most = branches.iter().copied().fold(0.0, f64::max);
                let text = format!(
                    "{name} within 2x by pgbench ({mode}, main moved {drift}, any overlay): {}",
                    times(most)
                );
                report.aim(most <= 2.0, text);
            }
            let mut cells =
                vec![format!("{name}, {mode}, {clients} client{}", if clients == 1 { "" } else { "s" })];
            cells.push(ms(plain));
            cells.push(bouncer.first().map_or("-".to_owned(), |b| times(*b)));
            cells.extend(ratios[..=overlays.len()].iter().map(|r| times(*r)));
            report.row(cells);
        }
    }
}

/// Runs a script on each target for a second, again and again: the p50 of the first one, and the others' as multiples of
/// its own in the same turn; of all turns the medians. (A machine that is slow for some seconds is slow for all of them.)
fn in_turns(
    targets: &[Target],
    script: Script,
    mode: &str,
    clients: u32,
    options: &Options,
) -> (Duration, Vec<f64>) {
    let turn = || -> Vec<Duration> {
        targets.iter().map(|target| pgbench(target, script, mode, clients, 1).latency.p50()).collect()
    };
    let turns: Vec<Vec<Duration>> = (0..options.size(5, 1)).map(|_| turn()).collect();
    let plain = Samples::new(turns.iter().map(|turn| turn[0]).collect()).p50();
    let ratios = (1..targets.len()).map(|at| {
        let mut all: Vec<f64> = turns.iter().map(|turn| ratio(turn[at], turn[0])).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    });
    (plain, ratios.collect())
}

#[allow(clippy::too_many_arguments)]
fn one_read(
    direct: &mut Conn,
    servers: &Servers,
    proxy: &Proxy,
    query: &Query,
    overlays: &[u32],
    drift: u32,
    n: u32,
    options: &Options,
    report: &mut Report,
) {
    let mut conns: Vec<Conn> = vec![proxy.connect("main")];
    conns.extend(overlays.iter().map(|o| proxy.connect(&format!("o{o}"))));
    let scans = full_scans(direct, &mut conns, query.sql);
    let budget = Duration::from_millis(u64::from(options.size(2500, 500)));
    let mut bouncer = servers.pgbouncer.as_ref().map(|b| b.connect());
    let mut routes: Vec<&mut Conn> = vec![direct];
    routes.extend(conns.iter_mut());
    routes.extend(&mut bouncer);
    let samples = race(&mut routes, query.sql, (query.prepared, query.pace), budget, |round| {
        (1 + (round * 7919) % (n - 200)).to_string()
    });
    let plain = samples[0].p50();
    let mut factors: Vec<f64> = samples[1..].iter().map(|s| ratio(s.p50(), plain)).collect();
    let bouncer = bouncer.and_then(|_| factors.pop()).map_or_else(|| "-".to_owned(), times);
    if query.aim {
        for (overlay, factor) in overlays.iter().zip(&factors[1..]) {
            report.aim(
                *factor <= 2.0,
                format!(
                    "{} within 2x, in a row (overlay {overlay}, main moved {drift}): {} (main through us {}, the plain table through PgBouncer {bouncer})",
                    query.name,
                    times(*factor),
                    times(factors[0])
                ),
            );
        }
    }
    if scans == "yes" {
        report.aim(
            false,
            format!("no full scan where the plain query has none: {}, main moved {drift}", query.name),
        );
    }
    let mut cells = vec![query.name.to_owned(), ms(plain), bouncer];
    cells.extend(factors.into_iter().map(times));
    cells.push(scans);
    report.row(cells);
}

/// Whether a branch's plan scans a whole base table where the plain one doesn't.
fn full_scans(direct: &mut Conn, conns: &mut [Conn], sql: &str) -> String {
    let explain = format!("EXPLAIN {}", sql.replace("$1", "4711"));
    let scans = |conn: &mut Conn| {
        let reply = conn.simple(&explain);
        let base =
            |line: &str| ["users", "orders"].iter().any(|t| line.contains(&format!("Seq Scan on {t}")));
        reply.error().is_none().then(|| reply.rows().iter().flatten().flatten().filter(|l| base(l)).count())
    };
    let Some(plain) = scans(direct) else { return "?".to_owned() };
    let branches: Vec<_> = conns.iter_mut().skip(1).map(scans).collect();
    if branches.iter().any(Option::is_none) {
        return "?".to_owned();
    }
    if branches.iter().any(|b| b.is_some_and(|b| b > 0 && plain == 0)) { "yes" } else { "no" }.to_owned()
}

pub fn writes(servers: &Servers, proxy: &Proxy, options: &Options, report: &mut Report) {
    let n = users(options);
    report.table(
        "Writes on a branch",
        "Against the same UPDATE of a plain table in ms. Each row is touched for the first time on the branch (copied up).",
        &["statement", "plain", "main", "branch", "main ratio", "branch ratio"],
    );
    proxy.connect("main").exec("SELECT * FROM epoch_branch('w')");
    let (mut direct, mut main, mut branch) = (servers.direct(), proxy.connect("main"), proxy.connect("w"));
    // The twin isn't registered: no capture on it.
    let mut one = vec![Vec::new(); 3];
    for round in 0..options.size(400, 100) {
        let id = 1 + (round * 7919) % n;
        let routes = [(&mut direct, "twin"), (&mut main, "users"), (&mut branch, "users")];
        for (i, (conn, table)) in routes.into_iter().enumerate() {
            let sql = format!("UPDATE {table} SET score = score + 1 WHERE id = {id}");
            let (took, reply) = time(|| conn.exec(&sql));
            assert_eq!(reply.tags(), ["UPDATE 1"]);
            one[i].push(took);
        }
    }
    let one: Vec<_> = one.into_iter().map(|s| crate::measure::Samples::new(s).p50()).collect();
    row(report, "UPDATE of 1 row, autocommit", &one);
    let many = options.size(100_000, 10_000);
    let mut bulk = Vec::new();
    for (conn, table) in [(&mut direct, "twin"), (&mut main, "users"), (&mut branch, "users")] {
        let sql =
            format!("UPDATE {table} SET score = score + 1 WHERE id BETWEEN 1000 AND {}", 1000 + many - 1);
        let (took, reply) = time(|| conn.exec(&sql));
        assert_eq!(reply.tags(), [format!("UPDATE {many}")]);
        bulk.push(took);
    }
    row(report, &format!("UPDATE of {many} rows"), &bulk);
    let (again, _) = time(|| {
        branch.exec(&format!(
            "UPDATE users SET score = score + 1 WHERE id BETWEEN 1000 AND {}",
            1000 + many - 1
        ))
    });
    row(report, "the same rows again", &[bulk[0], bulk[1], again]);
}

fn row(report: &mut Report, name: &str, t: &[Duration]) {
    report.row(vec![
        name.to_owned(),
        ms(t[0]),
        ms(t[1]),
        ms(t[2]),
        times(ratio(t[1], t[0])),
        times(ratio(t[2], t[0])),
    ]);
}
