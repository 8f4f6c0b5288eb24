//! Random schemas and random statements: PostgreSQL itself, on copies of the tables, is the model.
//!
//! Each branch has a twin, a schema with copies of its tables, on which the same statements run directly. Answers and
//! tables must be the same after every step. `EPOCH_TEST_SEED` repeats a run, `EPOCH_TEST_STEPS` sets its length,
//! `EPOCH_TEST_SOAK_SECONDS` goes on with new seeds for that long (`make soak`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "schemas/generate.rs"]
mod generate;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::conn::Conn;
use common::database::Database;
use common::message::Reply;
use common::proxy::{Proxy, ProxyConfig};
use generate::{Statement, Table};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const MAX_BRANCHES: usize = 5;

#[test]
fn random_schemas_behave_as_copies() {
    need_postgres!();
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let steps = number("EPOCH_TEST_STEPS").unwrap_or(60);
    let worlds = if number("EPOCH_TEST_SEED").is_some() { 1 } else { 6 };
    let mut seed = number("EPOCH_TEST_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let until = Instant::now() + Duration::from_secs(number("EPOCH_TEST_SOAK_SECONDS").unwrap_or(0));
    let mut done = 0;
    while done < worlds || Instant::now() < until {
        println!("EPOCH_TEST_SEED={seed} EPOCH_TEST_STEPS={steps}");
        World::new(seed).run(steps);
        seed += 1;
        done += 1;
    }
}

struct Branch {
    conn: Conn,
    /// The schema of the copies, and a connection that sees it.
    twin: String,
    plain: Conn,
    /// The commit at its head, and the schema with what it holds.
    head: String,
    snapshot: String,
}

struct World {
    rng: StdRng,
    tables: Vec<Table>,
    branches: BTreeMap<String, Branch>,
    /// Commits and the schemas with what they hold.
    commits: Vec<(String, String)>,
    /// Reaches the twins.
    twins: Conn,
    /// Reaches the tables themselves.
    direct: Conn,
    proxy: Proxy,
    db: Database,
    history: Vec<String>,
    schemas: u32,
    failed: u32,
    done: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let tables = generate::tables(&mut rng);
        let db = Database::create();
        let proxy = Proxy::start(ProxyConfig::postgres(&db.url()));
        let mut world = Self {
            rng,
            tables,
            branches: BTreeMap::new(),
            commits: Vec::new(),
            twins: db.connect(),
            direct: db.connect(),
            proxy,
            db,
            history: Vec::new(),
            schemas: 0,
            failed: 0,
            done: 0,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let definitions: Vec<String> = self.tables.iter().flat_map(|t| t.definition.clone()).collect();
        for sql in &definitions {
            println!("  {sql};");
            self.direct.exec(sql);
        }
        // Some rows before anything of ours is there.
        for _ in 0..30 {
            let statement = generate::write(&mut self.rng, &self.tables);
            self.direct.simple(&statement.sql);
        }
        let mut conn = self.proxy.connect("main");
        conn.exec("SELECT * FROM epoch_register('public.*')");
        let (twin, plain) = self.twin("public");
        let head = conn.one("SELECT epoch_hashof('main')");
        let snapshot = self.copy("public");
        self.commits.push((head.clone(), snapshot.clone()));
        self.branches.insert("main".to_owned(), Branch { conn, twin, plain, head, snapshot });
    }

    /// Copies for a branch, and a connection that sees them.
    fn twin(&mut self, from: &str) -> (String, Conn) {
        let name = self.copy(from);
        let mut conn = self.db.connect();
        conn.exec(&format!("SET search_path = {name}"));
        (name, conn)
    }

    /// A new schema with copies of the tables of another.
    fn copy(&mut self, from: &str) -> String {
        self.schemas += 1;
        let name = format!("twin_{}", self.schemas);
        self.twins.exec(&format!("CREATE SCHEMA {name}; SET search_path = {name}"));
        for table in &self.tables {
            for sql in &table.definition {
                self.twins.exec(sql);
            }
        }
        self.fill(&name, from);
        name
    }

    /// Makes the tables of a twin what those of another schema are.
    fn fill(&mut self, name: &str, from: &str) {
        let all: Vec<String> = self.tables.iter().map(|t| format!("{name}.{}", t.name)).collect();
        self.twins.exec(&format!("TRUNCATE {}", all.join(", ")));
        for table in &self.tables {
            let columns = table.writable();
            self.twins.exec(&format!(
                "INSERT INTO {name}.{0} ({columns}) SELECT {columns} FROM {from}.{0}",
                table.name
            ));
        }
    }

    fn run(mut self, steps: u64) {
        for step in 0..steps {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.step();
                self.check(step % 10 == 9 || step + 1 == steps);
            }));
            if let Err(panic) = result {
                println!("the last operations of {step}:");
                self.history.iter().rev().take(60).rev().for_each(|line| println!("  {line};"));
                std::panic::resume_unwind(panic);
            }
        }
        println!("  {} statements, {} of them failed as they should", self.done, self.failed);
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..58 => {
                let branch = self.pick();
                let statement = generate::write(&mut self.rng, &self.tables);
                self.both(&branch, &statement);
            }
            58..68 => {
                let branch = self.pick();
                let sql = generate::read(&mut self.rng, &self.tables);
                self.both(&branch, &Statement { sql, single: true });
            }
            68..76 => self.transaction(),
            76..84 => self.direct_write(),
            84..90 => {
                let branch = self.pick();
                self.commit(&branch);
            }
            90..95 => self.branch(),
            95..98 => self.reset(),
            _ => self.fast_forward(),
        }
    }

    fn pick(&mut self) -> String {
        let at = self.rng.random_range(0..self.branches.len());
        self.branches.keys().nth(at).unwrap().clone()
    }

    /// Runs a statement on a branch and on its twin; whether it succeeded.
    fn both(&mut self, name: &str, statement: &Statement) -> bool {
        self.history.push(format!("[{name}] {}", statement.sql));
        let branch = self.branches.get_mut(name).unwrap();
        let expected = branch.plain.simple(&statement.sql);
        let got = if self.rng.random_bool(0.5) {
            branch.conn.simple(&statement.sql)
        } else {
            branch.conn.extended(&statement.sql, &[], false)
        };
        self.done += 1;
        compare(statement, &expected, &got);
        let failed = expected.error().is_some();
        self.failed += u32::from(failed);
        !failed
    }

    /// A block of statements, with a savepoint now and then.
    fn transaction(&mut self) {
        let branch = self.pick();
        let plain = |sql: &str| Statement { sql: sql.to_owned(), single: true };
        self.both(&branch, &plain("BEGIN"));
        for _ in 0..self.rng.random_range(1..4) {
            self.both(&branch, &plain("SAVEPOINT s"));
            let statement = generate::write(&mut self.rng, &self.tables);
            let done = self.both(&branch, &statement);
            if !done || self.rng.random_bool(0.2) {
                self.both(&branch, &plain("ROLLBACK TO s"));
            }
        }
        let end = if self.rng.random_bool(0.75) { "COMMIT" } else { "ROLLBACK" };
        self.both(&branch, &plain(end));
    }

    /// Somebody writes to main's tables past the proxy.
    fn direct_write(&mut self) {
        let statement = generate::write(&mut self.rng, &self.tables);
        self.history.push(format!("[direct] {}", statement.sql));
        let expected = self.branches.get_mut("main").unwrap().plain.simple(&statement.sql);
        compare(&statement, &expected, &self.direct.simple(&statement.sql));
    }

    fn commit(&mut self, name: &str) {
        self.history.push(format!("[{name}] commit"));
        let branch = self.branches.get_mut(name).unwrap();
        branch.conn.exec("SELECT * FROM epoch_commit('--allow-empty', '-m', 'work')");
        branch.head = branch.conn.one("SELECT epoch_hashof('HEAD')");
        let (twin, head) = (branch.twin.clone(), branch.head.clone());
        let snapshot = self.copy(&twin);
        self.commits.push((head, snapshot.clone()));
        self.branches.get_mut(name).unwrap().snapshot = snapshot;
    }

    fn branch(&mut self) {
        if self.branches.len() >= MAX_BRANCHES {
            return;
        }
        let from = self.pick();
        self.commit(&from);
        let name = format!("b{}", self.schemas);
        self.history.push(format!("[{from}] branch {name}"));
        let source = self.branches.get_mut(&from).unwrap();
        source.conn.exec(&format!("SELECT * FROM epoch_branch('{name}')"));
        let (head, snapshot) = (source.head.clone(), source.snapshot.clone());
        let (twin, plain) = self.twin(&snapshot);
        let conn = self.proxy.connect(&name);
        self.branches.insert(name, Branch { conn, twin, plain, head, snapshot });
    }

    /// What isn't committed goes.
    fn reset(&mut self) {
        let name = self.pick();
        self.history.push(format!("[{name}] reset"));
        let branch = self.branches.get_mut(&name).unwrap();
        branch.conn.exec("SELECT * FROM epoch_reset('--hard')");
        let (twin, snapshot) = (branch.twin.clone(), branch.snapshot.clone());
        self.fill(&twin, &snapshot);
    }

    /// A merge that brings a branch to another's head.
    fn fast_forward(&mut self) {
        let (target, source) = (self.pick(), self.pick());
        if target == source {
            return;
        }
        self.commit(&source);
        self.commit(&target);
        let ours = self.branches[&target].head.clone();
        let branch = self.branches.get_mut(&target).unwrap();
        if branch.conn.one(&format!("SELECT epoch_merge_base('{target}', '{source}')")) != ours {
            return;
        }
        self.history.push(format!("[{target}] merge {source}"));
        branch.conn.exec(&format!("SELECT * FROM epoch_merge('{source}')"));
        branch.head = branch.conn.one("SELECT epoch_hashof('HEAD')");
        let snapshot = self.branches[&source].snapshot.clone();
        let branch = self.branches.get_mut(&target).unwrap();
        branch.snapshot.clone_from(&snapshot);
        let twin = branch.twin.clone();
        self.fill(&twin, &snapshot);
    }

    /// Some branch and some commit, or all branches; and the tables themselves.
    fn check(&mut self, everything: bool) {
        let names = if everything { self.branches.keys().cloned().collect() } else { vec![self.pick()] };
        for name in names {
            for table in &self.tables {
                let branch = self.branches.get_mut(&name).unwrap();
                let expected = rows(&mut self.twins, &format!("{}.{}", branch.twin, table.name), table);
                let got = rows(&mut branch.conn, &table.name, table);
                assert_eq!(got, expected, "{} on branch {name}", table.name);
            }
        }
        for table in &self.tables {
            let twin = &self.branches["main"].twin;
            let expected = rows(&mut self.twins, &format!("{twin}.{}", table.name), table);
            assert_eq!(rows(&mut self.direct, &table.name, table), expected, "{} itself", table.name);
        }
        let (hash, snapshot) = self.commits[self.rng.random_range(0..self.commits.len())].clone();
        let name = self.pick();
        for table in &self.tables {
            let at = format!("epoch_at('{}', '{hash}')", table.name);
            let expected = rows(&mut self.twins, &format!("{snapshot}.{}", table.name), table);
            let got = rows(&mut self.branches.get_mut(&name).unwrap().conn, &at, table);
            assert_eq!(got, expected, "{} at {hash} from {name}", table.name);
        }
    }
}

fn rows(conn: &mut Conn, relation: &str, table: &Table) -> Vec<Vec<Option<String>>> {
    let mut rows = conn.rows(&format!("SELECT * FROM {relation}"));
    rows.sort();
    assert!(rows.iter().all(|r| r.len() == table.columns.len()), "the columns of {relation}");
    rows
}

/// Rows in any order, tags and errors. Which of several violations a statement over many rows meets first is
/// open.
fn compare(statement: &Statement, expected: &Reply, got: &Reply) {
    let sql = &statement.sql;
    match (expected.error(), got.error()) {
        (None, None) => {
            let sorted = |reply: &Reply| {
                let mut rows = reply.rows();
                rows.sort();
                rows
            };
            assert_eq!(sorted(got), sorted(expected), "rows of {sql}");
            assert_eq!(got.tags(), expected.tags(), "tag of {sql}");
            assert_eq!(got.columns(), expected.columns(), "columns of {sql}");
        }
        (Some(expected), Some(got)) => {
            // Of a unique and a foreign key that are checked at the same time, either may come first.
            let keys = [got, expected].iter().all(|e| ["23505", "23503"].contains(&e.code()));
            if statement.single && !keys {
                assert_eq!(got.code(), expected.code(), "{sql}: {got:?} instead of {expected:?}");
            }
            if got.constraint() == expected.constraint() && got.code() == expected.code() {
                assert_eq!(got.message(), expected.message(), "{sql}");
                if statement.single {
                    assert_eq!(got.detail(), expected.detail(), "{sql}");
                }
            }
        }
        (expected, got) => panic!("{sql}: {got:?} instead of {expected:?}"),
    }
}
