//! What a statement reads on a branch, against what it reads on the plain tables: no scan of a base
//! table where the plain statement has none, and no more rows than a few times as many. Counted by
//! the server while the statement runs (its copy-up and our triggers included), and read off EXPLAIN.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::conn::{self, Conn};
use common::{Fixture, Reply};

const SETUP: &str = include_str!("sql/plans/00_setup.sql");
const SHAPES: &str = include_str!("sql/plans/10_shapes.sql");

/// Changes on the branch: rows copied up and changed, masked, and new, of each table.
const ON_THE_BRANCH: &str = "UPDATE users SET score = score + 1 WHERE id BETWEEN 1001 AND 1300; \
     DELETE FROM users WHERE id BETWEEN 2001 AND 2050; \
     INSERT INTO users SELECT g, 'new' || g || '@example.com', 'name ' || g, 'c', 'new', g % 1000, now() FROM generate_series(60001, 60100) g; \
     UPDATE products SET price = price + 1 WHERE id BETWEEN 101 AND 300; \
     UPDATE orders SET amount = amount + 1 WHERE id BETWEEN 1001 AND 1400; DELETE FROM orders WHERE id BETWEEN 2001 AND 2050; \
     UPDATE items SET quantity = 7 WHERE order_id BETWEEN 1001 AND 1200; \
     UPDATE nodes SET name = 'changed' WHERE id BETWEEN 4001 AND 4300; DELETE FROM nodes WHERE id BETWEEN 45001 AND 45050";

/// Changes of main after the fork.
const ON_MAIN: &str = "UPDATE users SET score = score + 7 WHERE id BETWEEN 3001 AND 3300; DELETE FROM users WHERE id BETWEEN 3401 AND 3420; \
     INSERT INTO users SELECT g, 'later' || g || '@example.com', 'name ' || g, 'c', 'new', 1, now() FROM generate_series(50001, 50100) g; \
     UPDATE orders SET amount = 1 WHERE id BETWEEN 5001 AND 5300; UPDATE nodes SET name = 'moved' WHERE id BETWEEN 6001 AND 6200; \
     UPDATE items SET quantity = 8 WHERE order_id BETWEEN 5001 AND 5100; UPDATE products SET price = 2 WHERE id BETWEEN 501 AND 700";

/// Rows that a statement may read more than a few times those of the plain one: a small overlay is read
/// by any of its indexes.
const SLACK: u64 = 5_000;

/// What a full scan of overlay, mask or history may read.
const NEXT_TO_NOTHING: u64 = 20;

struct Shape {
    name: &'static str,
    /// Overlay, mask and history may be read as a whole.
    loose: bool,
    /// The statement's text between its parameters.
    parts: Vec<&'static str>,
    /// As literals.
    params: Vec<&'static str>,
}

impl Shape {
    fn parse(line: &'static str) -> Self {
        let (name, mut sql) = line.split_once('|').expect("a shape has a name");
        let (loose, name) = name.strip_prefix("* ").map_or((false, name), |name| (true, name));
        let (mut parts, mut params) = (vec![], vec![]);
        while let Some((before, rest)) = sql.split_once('{') {
            let end = if rest.starts_with('\'') { "'}" } else { "}" };
            let (param, after) = rest.split_at(rest.find(end).expect("a parameter ends") + end.len() - 1);
            parts.push(before);
            params.push(param);
            sql = after.get(1..).unwrap_or_default();
        }
        parts.push(sql);
        Self { name, loose, parts, params }
    }

    fn changes(&self) -> bool {
        !["SELECT", "WITH few", "WITH RECURSIVE", "(SELECT"].iter().any(|w| self.parts[0].starts_with(w))
    }

    fn literal(&self) -> String {
        let params = self.params.iter().map(|p| (*p).to_owned());
        self.with(params)
    }

    fn prepared(&self) -> String {
        self.with((1..=self.params.len()).map(|n| format!("${n}")))
    }

    fn with(&self, params: impl Iterator<Item = String>) -> String {
        let mut sql = String::new();
        let mut params = params.fuse();
        for part in &self.parts {
            sql += part;
            sql += &params.next().unwrap_or_default();
        }
        sql
    }

    fn values(&self) -> Vec<Option<&'static str>> {
        self.params.iter().map(|p| Some(p.trim_matches('\''))).collect()
    }
}

fn shapes() -> Vec<Shape> {
    SHAPES.lines().filter(|l| !l.is_empty() && !l.starts_with("-- ")).map(Shape::parse).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// Plain text, constants in it.
    Simple,
    /// A prepared statement with parameters, planned for any values of them.
    Generic,
}

/// What the server counted for a statement.
#[derive(Debug)]
struct Reads {
    /// The most rows that a full scan read, by relation.
    scans: BTreeMap<String, u64>,
    /// Rows that indexes, and scans of more than next to nothing, gave.
    rows: u64,
}

/// The relations that are watched: (oid, shown name, whether it is an index).
struct Watched(Vec<(String, String, bool)>);

impl Watched {
    fn new(direct: &mut Conn) -> Self {
        let rows = direct.rows(
            "SELECT c.oid, CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END, c.relkind = 'i' \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'i') \
             AND (n.nspname IN ('public', 'epoch_public') OR (n.nspname = 'epoch' AND c.relname ~ '^(mask|history)_'))",
        );
        let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
        Self(rows.iter().map(|r| (text(&r[0]), text(&r[1]), text(&r[2]) == "t")).collect())
    }

    /// (full scans, rows given) of each relation in the session's open transaction so far.
    fn counts(&self, conn: &mut Conn) -> Vec<(u64, u64)> {
        let oids: Vec<&str> = self.0.iter().map(|(oid, ..)| oid.as_str()).collect();
        let sql = format!(
            "SELECT pg_stat_get_xact_numscans(o), pg_stat_get_xact_tuples_returned(o) \
             FROM unnest('{{{}}}'::oid[]) WITH ORDINALITY x(o, n) ORDER BY n",
            oids.join(",")
        );
        let number = |cell: &Option<String>| cell.as_ref().map_or(0, |n| n.parse().unwrap());
        conn.rows(&sql).iter().map(|r| (number(&r[0]), number(&r[1]))).collect()
    }

    /// Runs a statement in a transaction that is rolled back.
    fn run(&self, conn: &mut Conn, shape: &Shape, how: How) -> Reads {
        if how == How::Generic {
            let reply = round(conn, &[conn::parse("shape", &shape.prepared(), &[]), conn::sync()]);
            assert!(reply.error().is_none(), "{}: {:?}", shape.name, reply.error());
        }
        conn.exec("BEGIN");
        let before = self.counts(conn);
        let reply = match how {
            How::Simple => conn.simple(&shape.literal()),
            How::Generic => round(
                conn,
                &[
                    conn::bind("", "shape", &shape.values(), false),
                    conn::execute("", 0),
                    conn::close(b'S', "shape"),
                    conn::sync(),
                ],
            ),
        };
        assert!(reply.error().is_none(), "{}: {:?}", shape.name, reply.error());
        let after = self.counts(conn);
        conn.exec("ROLLBACK");
        let mut reads = Reads { scans: BTreeMap::new(), rows: 0 };
        for ((before, after), (_, name, index)) in before.iter().zip(&after).zip(&self.0) {
            let (scans, rows) = (after.0 - before.0, after.1 - before.1);
            let each = rows.div_ceil(scans.max(1));
            if !index && scans > 0 {
                reads.scans.insert(name.clone(), each);
            }
            if *index || each > NEXT_TO_NOTHING {
                reads.rows += rows;
            }
        }
        reads
    }
}

fn round(conn: &mut Conn, messages: &[Vec<u8>]) -> Reply {
    conn.send(messages);
    conn.reply()
}

/// The base tables that EXPLAIN says are read as a whole, and the plan.
fn explained(conn: &mut Conn, shape: &Shape) -> (BTreeSet<String>, String) {
    let sql = format!("EXPLAIN {}", shape.literal());
    if shape.parts.last().is_some_and(|end| end.contains(" FOR ")) {
        // Refused on a branch; what it reads is counted.
        return (BTreeSet::new(), sql);
    }
    let lines = conn.lines(&sql);
    let scanned = |line: &String| {
        let (_, name) = line.split_once("Seq Scan on ")?;
        name.split_whitespace().next().map(str::to_owned)
    };
    (lines.iter().filter_map(scanned).collect(), lines.join("\n      "))
}

struct World {
    shop: Fixture,
    watched: Watched,
}

impl World {
    /// `b` has changes, some of them committed; `n` is a branch off it without any of its own.
    fn new() -> Self {
        let shop = Fixture::registered(SETUP);
        let mut branch = shop.branch("b");
        branch.exec(ON_THE_BRANCH);
        branch.exec("SELECT * FROM epoch_commit('changes')");
        branch.exec("SELECT * FROM epoch_branch('n')");
        branch.exec("UPDATE users SET score = 5 WHERE id BETWEEN 1201 AND 1350; DELETE FROM nodes WHERE id BETWEEN 4100 AND 4110");
        shop.direct().exec(ON_MAIN);
        shop.main().exec("SELECT * FROM epoch_commit('main moves on')");
        shop.direct().exec("UPDATE users SET city = 'x' WHERE id BETWEEN 3201 AND 3500");
        let watched = Watched::new(&mut shop.direct());
        Self { shop, watched }
    }

    /// What goes beyond the plain statement, as text.
    fn compare(&self, reference: &str, problems: &mut Vec<String>) {
        let (mut direct, mut branch) = (self.shop.direct(), self.shop.on(reference));
        for conn in [&mut direct, &mut branch] {
            conn.exec("SET plan_cache_mode = force_generic_plan");
        }
        for shape in shapes() {
            // The first write of a branch copies the layer of the branch that it is off.
            if reference == "n" && shape.changes() {
                continue;
            }
            for how in [How::Simple, How::Generic] {
                let plain = self.watched.run(&mut direct, &shape, how);
                let here = self.watched.run(&mut branch, &shape, how);
                let mut say = |what: String| {
                    let plan = explained(&mut branch, &shape).1;
                    problems.push(format!("{reference} {how:?} {}: {what}\n      {plan}", shape.name));
                };
                for (name, rows) in &here.scans {
                    let base = !name.contains('.');
                    let whole = if base {
                        !plain.scans.contains_key(name)
                    } else {
                        !shape.loose && *rows > NEXT_TO_NOTHING
                    };
                    if whole {
                        say(format!("{name} is read as a whole ({rows} rows)"));
                    }
                }
                if here.rows > 10 * plain.rows + SLACK {
                    say(format!("{} rows are read, {} of the plain tables", here.rows, plain.rows));
                }
            }
            let (plain, here) = (explained(&mut direct, &shape).0, explained(&mut branch, &shape));
            let bases = here.0.iter().filter(|name| self.watched.0.iter().any(|w| w.1 == **name));
            for name in bases.filter(|name| !plain.contains(*name)) {
                problems.push(format!("{reference} {}: EXPLAIN scans {name}\n      {}", shape.name, here.1));
            }
        }
    }
}

fn no_problems(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n  {}", problems.len(), problems.join("\n  "));
}

#[test]
fn the_catalogue_is_large() {
    let all = shapes();
    assert!(all.len() >= 80, "{} shapes", all.len());
    let names: BTreeSet<_> = all.iter().map(|s| s.name).collect();
    assert_eq!(names.len(), all.len(), "each shape has a name of its own");
    assert!(all.iter().filter(|s| s.changes()).count() >= 15);
}

/// Before the server has statistics of overlay, mask and history, and with them.
#[test]
fn nothing_is_read_as_a_whole_that_the_plain_statement_reads_by_an_index() {
    need_postgres!();
    let world = World::new();
    let mut problems = Vec::new();
    world.compare("b", &mut problems);
    world.compare("n", &mut problems);
    no_problems(&problems);
    world.shop.direct().exec("ANALYZE");
    world.compare("b", &mut problems);
    world.compare("n", &mut problems);
    no_problems(&problems);
}
