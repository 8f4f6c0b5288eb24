//! Random sessions against a model that copies everything.
//!
//! `EPOCH_TEST_SEED` repeats a run, `EPOCH_TEST_STEPS` sets its length, `EPOCH_TEST_SOAK_SECONDS`
//! goes on with new seeds for that long (`make soak`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod model;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::conn::Conn;
use common::database::Database;
use common::proxy::{Proxy, ProxyConfig};
use model::{Branch, Commit, Model, Rows, Side, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const TABLE: &str = "CREATE TABLE t (id BIGINT PRIMARY KEY, a BIGINT, b TEXT, c BIGINT)";
const ALL: &str = "SELECT id, a, b, c FROM t ORDER BY id";
const MAX_BRANCHES: usize = 7;

#[test]
fn random_sessions_on_postgres() {
    need_postgres!();
    run_all(true);
}

#[test]
fn random_sessions_on_sqlite() {
    run_all(false);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

fn run_all(postgres: bool) {
    let steps = number("EPOCH_TEST_STEPS").unwrap_or(200);
    let first = number("EPOCH_TEST_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let until = Instant::now() + Duration::from_secs(number("EPOCH_TEST_SOAK_SECONDS").unwrap_or(0));
    let mut seed = first;
    loop {
        println!(
            "EPOCH_TEST_SEED={seed} EPOCH_TEST_STEPS={steps} {}",
            if postgres { "postgres" } else { "sqlite" }
        );
        World::new(postgres, seed).run(steps);
        seed += 1;
        if Instant::now() >= until {
            return;
        }
    }
}

/// Main as another program reaches it.
enum Direct {
    Postgres(Box<Conn>),
    Sqlite(rusqlite::Connection),
}

struct World {
    rng: StdRng,
    model: Model,
    sessions: BTreeMap<String, Conn>,
    direct: Direct,
    proxy: Proxy,
    _db: Option<Database>,
    open: Option<Open>,
    history: Vec<String>,
    named: u32,
}

/// A transaction that stays open while other sessions go on. It writes keys that nobody else does.
struct Open {
    branch: String,
    conn: Conn,
    /// What it has made of its keys.
    changes: BTreeMap<i64, Option<[Value; 3]>>,
}

impl World {
    fn new(postgres: bool, seed: u64) -> Self {
        let db = postgres.then(Database::create);
        let proxy = Proxy::start(match &db {
            Some(db) => ProxyConfig::postgres(&db.url()),
            None => ProxyConfig::embedded(),
        });
        let mut direct = match &db {
            Some(db) => Direct::Postgres(Box::new(db.connect())),
            None => {
                let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
                file.busy_timeout(Duration::from_secs(30)).unwrap();
                Direct::Sqlite(file)
            }
        };
        direct.exec(TABLE);
        direct.exec("INSERT INTO t VALUES (1, 1, 'one', 1), (2, 2, 'two', 2), (3, NULL, NULL, 3), (10, 10, 'ten', NULL)");
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            model: Model::default(),
            sessions: BTreeMap::new(),
            direct,
            proxy,
            _db: db,
            open: None,
            history: vec![],
            named: 0,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let mut main = self.proxy.connect("main");
        main.exec("SELECT * FROM epoch_register('t')");
        let head = main.one("SELECT epoch_hashof('main')");
        let rows = rows_of(&mut main, ALL);
        self.model.commits.insert(head.clone(), Commit { parents: vec![], rows: rows.clone() });
        self.model.branches.insert("main".to_owned(), Branch { head, working: rows });
        self.sessions.insert("main".to_owned(), main);
    }

    fn run(mut self, steps: u64) {
        for step in 0..steps {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.step();
                self.check(step % 10 == 9 || step + 1 == steps);
            }));
            if let Err(panic) = result {
                println!("the last operations of {step}:");
                self.history.iter().rev().take(60).rev().for_each(|line| println!("  {line}"));
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..36 => self.dml(),
            36..45 => self.open_transaction(),
            45..55 => self.direct_write(),
            55..60 => self.transaction(),
            60..73 => {
                let branch = self.pick_branch();
                self.commit(&branch);
            }
            73..81 => self.branch(),
            81..91 => self.merge(),
            91..94 => self.reset(),
            94..96 => self.drop_branch(),
            96..98 => self.reconnect(),
            _ => self.crash(),
        }
    }

    fn pick_branch(&mut self) -> String {
        let at = self.rng.random_range(0..self.model.branches.len());
        self.model.branches.keys().nth(at).unwrap().clone()
    }

    fn session(&mut self, branch: &str) -> &mut Conn {
        let proxy = &self.proxy;
        self.sessions.entry(branch.to_owned()).or_insert_with(|| proxy.connect(branch))
    }

    fn say(&mut self, branch: &str, sql: &str) {
        self.history.push(format!("[{branch}] {sql}"));
    }

    fn exec(&mut self, branch: &str, sql: &str) -> common::Reply {
        self.say(branch, sql);
        self.session(branch).exec(sql)
    }

    /// One write: its SQL and what it does to rows. `None` of the effect: 23505.
    fn write(&mut self, rows: &Rows) -> (String, Option<(Rows, String)>) {
        let id = self.rng.random_range(1..30i64);
        let n = self.rng.random_range(0..100i64);
        let mut after = rows.clone();
        match self.rng.random_range(0..9) {
            0 | 1 => {
                let sql = format!("INSERT INTO t VALUES ({id}, {n}, 'i{n}', NULL)");
                let taken = after.insert(id, [Some(n.to_string()), Some(format!("i{n}")), None]).is_some();
                (sql, (!taken).then(|| (after, "INSERT 0 1".to_owned())))
            }
            2 => {
                let (column, at, value) = match n % 3 {
                    0 => ("a", 0, Some(n.to_string())),
                    1 => ("c", 2, Some(n.to_string())),
                    _ => ("b", 1, None),
                };
                let text = value.clone().unwrap_or("NULL".to_owned());
                let hit = after.get_mut(&id).map(|row| row[at] = value).is_some();
                (
                    format!("UPDATE t SET {column} = {text} WHERE id = {id}"),
                    Some((after, format!("UPDATE {}", u8::from(hit)))),
                )
            }
            3 => {
                let to = id + n % 10;
                let mut count = 0;
                for (_, row) in after.range_mut(id..=to) {
                    row[0] = row[0].as_ref().map(|a| (a.parse::<i64>().unwrap() + 1).to_string());
                    count += 1;
                }
                (
                    format!("UPDATE t SET a = a + 1 WHERE id BETWEEN {id} AND {to}"),
                    Some((after, format!("UPDATE {count}"))),
                )
            }
            4 => {
                let mut count = 0;
                // Not the keys of the open transaction.
                for (_, row) in after
                    .range_mut(..100)
                    .filter(|(_, r)| r[0].as_ref().is_some_and(|a| a.parse::<i64>().unwrap() > n))
                {
                    row[1] = Some(format!("over {n}"));
                    count += 1;
                }
                (
                    format!("UPDATE t SET b = 'over {n}' WHERE a > {n} AND id < 100"),
                    Some((after, format!("UPDATE {count}"))),
                )
            }
            5 => {
                let count = u8::from(after.remove(&id).is_some());
                (format!("DELETE FROM t WHERE id = {id}"), Some((after, format!("DELETE {count}"))))
            }
            6 => {
                let to = id + n % 4;
                let before = after.len();
                after.retain(|key, _| !(id..=to).contains(key));
                (
                    format!("DELETE FROM t WHERE id >= {id} AND id <= {to}"),
                    Some((after.clone(), format!("DELETE {}", before - after.len()))),
                )
            }
            7 => {
                let to = 1 + (id + n) % 30;
                let sql = format!("UPDATE t SET id = {to} WHERE id = {id}");
                let Some(row) = after.remove(&id) else { return (sql, Some((after, "UPDATE 0".to_owned()))) };
                let taken = after.insert(to, row).is_some();
                (sql, (!taken).then(|| (after, "UPDATE 1".to_owned())))
            }
            _ => {
                let row = [Some(n.to_string()), Some("it''s".replace("''", "'")), Some(id.to_string())];
                let taken = after.insert(id, row).is_some();
                (
                    format!("INSERT INTO t (id, a, b, c) VALUES ({id}, {n}, 'it''s', {id})"),
                    (!taken).then(|| (after, "INSERT 0 1".to_owned())),
                )
            }
        }
    }

    fn dml(&mut self) {
        let branch = self.pick_branch();
        let rows = self.model.branches[&branch].working.clone();
        let (sql, effect) = self.write(&rows);
        self.say(&branch, &sql);
        let reply = self.session(&branch).simple(&sql);
        match effect {
            Some((after, tag)) => {
                assert!(reply.error().is_none(), "[{branch}] {sql}: {:?}", reply.error());
                assert_eq!(reply.tags(), [tag], "[{branch}] {sql}");
                self.model.branches.get_mut(&branch).unwrap().working = after;
            }
            None => assert_eq!(reply.error().map(|e| e.code()), Some("23505"), "[{branch}] {sql}"),
        }
    }

    fn direct_write(&mut self) {
        let rows = self.model.branches["main"].working.clone();
        let (sql, effect) = self.write(&rows);
        self.say("direct", &sql);
        if let Some((after, _)) = effect {
            self.direct.exec(&sql);
            self.model.branches.get_mut("main").unwrap().working = after;
        }
    }

    /// Some writes that are committed or rolled back together, a savepoint in the middle.
    fn transaction(&mut self) {
        let branch = self.pick_branch();
        let mut rows = self.model.branches[&branch].working.clone();
        self.exec(&branch, "BEGIN");
        let mut saved = None;
        for i in 0..self.rng.random_range(1..6) {
            if i == 2 {
                self.exec(&branch, "SAVEPOINT s");
                saved = Some(rows.clone());
            }
            let (sql, Some((after, _))) = self.write(&rows) else { continue };
            self.exec(&branch, &sql);
            rows = after;
            assert_eq!(rows_of(self.session(&branch), ALL), rows, "[{branch}] sees its own writes");
        }
        if let (Some(saved), true) = (saved, self.rng.random_bool(0.5)) {
            self.exec(&branch, "ROLLBACK TO SAVEPOINT s");
            rows = saved;
        }
        if self.rng.random_bool(0.7) {
            self.exec(&branch, "COMMIT");
            self.model.branches.get_mut(&branch).unwrap().working = rows;
        } else {
            self.exec(&branch, "ROLLBACK");
        }
    }

    /// Begins a transaction, goes on with the one that is open, or ends it. SQLite has one writer.
    fn open_transaction(&mut self) {
        if matches!(self.direct, Direct::Sqlite(_)) {
            return self.dml();
        }
        let Some(mut open) = self.open.take() else {
            let branch = self.pick_branch();
            let mut conn = self.proxy.connect(&branch);
            let level = if self.rng.random_bool(0.5) { "READ COMMITTED" } else { "REPEATABLE READ" };
            self.say(&branch, &format!("(open) BEGIN ISOLATION LEVEL {level}"));
            conn.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
            self.open = Some(Open { branch, conn, changes: BTreeMap::new() });
            return self.open_transaction();
        };
        if self.rng.random_bool(0.7) {
            if self.write_openly(&mut open) {
                self.open = Some(open);
            }
            return;
        }
        let end = if self.rng.random_bool(0.7) { "COMMIT" } else { "ROLLBACK" };
        self.say(&open.branch, &format!("(open) {end}"));
        open.conn.exec(end);
        if end == "COMMIT" {
            let working = &mut self.model.branches.get_mut(&open.branch).unwrap().working;
            for (id, row) in open.changes {
                match row {
                    Some(row) => drop(working.insert(id, row)),
                    None => drop(working.remove(&id)),
                }
            }
        }
    }

    /// One write of the open transaction. False if its snapshot is too old, which ends it.
    fn write_openly(&mut self, open: &mut Open) -> bool {
        let id = self.rng.random_range(100..110i64);
        let n = self.rng.random_range(0..100i64);
        let there = match open.changes.get(&id) {
            Some(row) => row.is_some(),
            None => self.model.branches[&open.branch].working.contains_key(&id),
        };
        let (sql, tag, row) = match (there, self.rng.random_bool(0.6)) {
            (false, _) => (
                format!("INSERT INTO t VALUES ({id}, {n}, 'open', NULL)"),
                "INSERT 0 1",
                Some([Some(n.to_string()), Some("open".to_owned()), None]),
            ),
            (true, true) => (
                format!("UPDATE t SET a = {n}, b = 'changed', c = {n} WHERE id = {id}"),
                "UPDATE 1",
                Some([Some(n.to_string()), Some("changed".to_owned()), Some(n.to_string())]),
            ),
            (true, false) => (format!("DELETE FROM t WHERE id = {id}"), "DELETE 1", None),
        };
        self.say(&open.branch, &format!("(open) {sql}"));
        let reply = open.conn.simple(&sql);
        if let Some(error) = reply.error() {
            assert_eq!(error.code(), "40001", "[{}] {sql}: {error:?}", open.branch);
            open.conn.exec("ROLLBACK");
            return false;
        }
        assert_eq!(reply.tags(), [tag], "[{}] {sql}", open.branch);
        open.changes.insert(id, row);
        true
    }

    /// Whether an open transaction holds rows of a branch.
    fn is_held(&self, branch: &str) -> bool {
        self.open.as_ref().is_some_and(|open| open.branch == branch)
    }

    fn commit(&mut self, branch: &str) {
        let sql = "SELECT * FROM epoch_commit('a commit')";
        self.say(branch, sql);
        let dirty = self.model.dirty(branch);
        let reply = self.session(branch).simple(sql);
        if !dirty {
            let message = reply.error().map(|e| e.message().to_owned());
            assert!(message.is_some_and(|m| m.starts_with("nothing to commit")), "[{branch}] {reply:?}");
            return;
        }
        assert!(reply.error().is_none(), "[{branch}] commit: {:?}", reply.error());
        let row = reply.rows().remove(0);
        let (old, new) = (self.model.head_rows(branch).clone(), self.model.branches[branch].working.clone());
        let added = new.keys().filter(|k| !old.contains_key(k)).count();
        let removed = old.keys().filter(|k| !new.contains_key(k)).count();
        let modified = new.iter().filter(|(k, v)| old.get(k).is_some_and(|o| o != *v)).count();
        let counts: Vec<_> = row[2..].iter().map(|c| c.clone().unwrap()).collect();
        assert_eq!(
            counts,
            [added, modified, removed].map(|n| n.to_string()),
            "[{branch}] what the commit counts"
        );
        let hash = row[0].clone().unwrap();
        let state = self.model.branches.get_mut(branch).unwrap();
        let parents = vec![std::mem::replace(&mut state.head, hash.clone())];
        self.model.commits.insert(hash, Commit { parents, rows: new });
    }

    fn branch(&mut self) {
        if self.model.branches.len() >= MAX_BRANCHES {
            return self.drop_branch();
        }
        let from = self.pick_branch();
        self.named += 1;
        let name = format!("b{}", self.named);
        // Off the head of the session, or off an older commit by hash.
        let head = if self.rng.random_bool(0.3) {
            let ancestors: Vec<_> =
                self.model.ancestors(&self.model.branches[&from].head).into_iter().collect();
            let start = ancestors[self.rng.random_range(0..ancestors.len())].clone();
            self.exec(&from, &format!("SELECT * FROM epoch_branch('{name}', '{start}')"));
            start
        } else {
            self.exec(&from, &format!("SELECT * FROM epoch_branch('{name}')"));
            self.model.branches[&from].head.clone()
        };
        let working = self.model.commits[&head].rows.clone();
        self.model.branches.insert(name, Branch { head, working });
    }

    fn drop_branch(&mut self) {
        let branch = self.pick_branch();
        if branch != "main" && !self.is_held(&branch) {
            self.sessions.remove(&branch);
            self.exec("main", &format!("SELECT * FROM epoch_branch('-D', '{branch}')"));
            self.model.branches.remove(&branch);
        }
    }

    fn merge(&mut self) {
        let (target, source) = (self.pick_branch(), self.pick_branch());
        let (ours, theirs) =
            (self.model.branches[&target].head.clone(), self.model.branches[&source].head.clone());
        let bases = self.model.merge_bases(&ours, &theirs);
        if target == source || bases.len() != 1 || self.is_held(&target) {
            return;
        }
        if self.model.dirty(&target) {
            self.commit(&target);
        }
        let ours = self.model.branches[&target].head.clone();
        let bases = self.model.merge_bases(&ours, &theirs);
        let side = if self.rng.random_bool(0.5) { Side::Ours } else { Side::Theirs };
        let rows = |hash: &str| self.model.commits[hash].rows.clone();
        let expected = self.model.merge(&rows(&bases[0]), &rows(&ours), &rows(&theirs), side);
        let reply = self.exec(&target, &format!("SELECT * FROM epoch_merge('{source}')"));
        let row = reply.rows().remove(0);
        assert_eq!(
            row[2].as_deref(),
            Some(expected.conflicts.len().to_string().as_str()),
            "conflicts {:?}",
            expected.conflicts
        );
        let mut hash = row[0].clone().unwrap();
        if !expected.conflicts.is_empty() {
            self.check(false);
            if self.rng.random_bool(0.3) {
                self.exec(&target, "SELECT * FROM epoch_merge('--abort')");
                return;
            }
            let text = if side == Side::Ours { "ours" } else { "theirs" };
            self.exec(&target, &format!("SELECT * FROM epoch_conflicts_resolve('{text}')"));
            let done = self.exec(&target, "SELECT * FROM epoch_merge('--continue')").rows().remove(0);
            assert_eq!(done[2].as_deref(), Some("0"));
            hash = done[0].clone().unwrap();
        }
        let state = self.model.branches.get_mut(&target).unwrap();
        state.head = hash.clone();
        state.working = expected.rows.clone();
        let parents = vec![ours, theirs];
        let commit =
            self.model.commits.entry(hash).or_insert(Commit { parents, rows: expected.rows.clone() });
        assert_eq!(commit.rows, expected.rows, "a fast-forward or a merge of nothing shows what it should");
    }

    fn reset(&mut self) {
        let branch = self.pick_branch();
        if self.is_held(&branch) {
            return;
        }
        let head = self.model.branches[&branch].head.clone();
        let parent = self.model.commits[&head].parents.first().cloned();
        let (sql, to) = match (parent, self.rng.random_bool(0.5)) {
            (Some(parent), true) => ("SELECT * FROM epoch_reset('--hard', 'HEAD~1')", parent),
            _ => ("SELECT * FROM epoch_reset('--hard')", head),
        };
        self.exec(&branch, sql);
        let rows = self.model.commits[&to].rows.clone();
        // The safety branch of a reset over commits isn't in the model: it is only left alone.
        self.model.branches.insert(branch, Branch { head: to, working: rows });
    }

    fn reconnect(&mut self) {
        let branch = self.pick_branch();
        self.sessions.remove(&branch);
        self.say(&branch, "reconnect");
    }

    /// Kill -9 and a new start: nothing that was acknowledged is lost.
    fn crash(&mut self) {
        self.say("proxy", "kill -9, start");
        self.sessions.clear();
        self.open = None;
        self.proxy.restart(&[]);
    }

    /// Some branch and some commit, or everything.
    fn check(&mut self, everything: bool) {
        let branches: Vec<String> =
            if everything { self.model.branches.keys().cloned().collect() } else { vec![self.pick_branch()] };
        for branch in branches {
            let got = rows_of(self.session(&branch), ALL);
            assert_eq!(got, self.model.branches[&branch].working, "what branch {branch} shows");
            let head = self.session(&branch).one("SELECT epoch_hashof('HEAD')");
            assert_eq!(head, self.model.branches[&branch].head, "the head of {branch}");
        }
        assert_eq!(self.direct.rows(), self.model.branches["main"].working, "the base, read directly");
        let at = self.rng.random_range(0..self.model.commits.len());
        let (hash, commit) =
            self.model.commits.iter().nth(at).map(|(h, c)| (h.clone(), c.rows.clone())).unwrap();
        let branch = self.pick_branch();
        let sql = format!("SELECT id, a, b, c FROM epoch_at('t', '{hash}') ORDER BY id");
        assert_eq!(rows_of(self.session(&branch), &sql), commit, "commit {hash} seen from {branch}");
    }
}

fn rows_of(conn: &mut Conn, sql: &str) -> Rows {
    let row =
        |r: Vec<Value>| (r[0].as_ref().unwrap().parse().unwrap(), [r[1].clone(), r[2].clone(), r[3].clone()]);
    conn.rows(sql).into_iter().map(row).collect()
}

impl Direct {
    fn exec(&mut self, sql: &str) {
        match self {
            Self::Postgres(conn) => drop(conn.exec(sql)),
            Self::Sqlite(file) => file.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}")),
        }
    }

    fn rows(&mut self) -> Rows {
        match self {
            Self::Postgres(conn) => rows_of(conn, ALL),
            Self::Sqlite(file) => {
                let mut statement = file.prepare(ALL).unwrap();
                let text = |row: &rusqlite::Row<'_>, i: usize| {
                    row.get::<_, Option<i64>>(i).map(|n| n.map(|n| n.to_string()))
                };
                let rows = statement
                    .query_map([], |row| Ok((row.get(0)?, [text(row, 1)?, row.get(2)?, text(row, 3)?])));
                rows.unwrap().map(Result::unwrap).collect()
            }
        }
    }
}
