//! The well-known anomalies of concurrent transactions: the same steps of several sessions on plain
//! tables, and on a branch that has its rows from main or of its own. What each step answers, and which
//! steps wait for which, is the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use common::conn::{self, Conn};
use common::{Database, Fixture, Reply};

const SETUP: &str = include_str!("sql/isolation/00_setup.sql");
const SPECS: &str = include_str!("sql/isolation/10_specs.sql");

/// How long a step may take that no lock holds up.
const PATIENCE: Duration = Duration::from_secs(60);

/// On which branches a spec answers as on plain tables.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    All,
    /// `~ `: with rows of their own.
    Own,
}

struct Spec {
    name: &'static str,
    mark: Mark,
    steps: Vec<(&'static str, &'static str)>,
}

fn specs() -> Vec<Spec> {
    let mut all: Vec<Spec> = Vec::new();
    for line in SPECS.lines().filter(|l| !l.is_empty() && !l.starts_with("-- ")) {
        match line.strip_prefix("# ") {
            Some(name) => {
                let (mark, name) =
                    name.strip_prefix("~ ").map_or((Mark::All, name), |name| (Mark::Own, name));
                all.push(Spec { name, mark, steps: vec![] });
            }
            None => {
                let step = line.split_once(' ').expect("a session and a statement");
                all.last_mut().expect("a spec begins with its name").steps.push(step);
            }
        }
    }
    all
}

/// A connection on a thread of its own.
struct Session {
    pid: String,
    statements: Sender<&'static str>,
    replies: Receiver<Reply>,
    waits: bool,
}

impl Session {
    fn new(mut conn: Conn) -> Self {
        let pid = conn.one("SELECT pg_backend_pid()");
        let (statements, todo) = channel::<&'static str>();
        let (done, replies) = channel();
        std::thread::spawn(move || {
            while let Ok(sql) = todo.recv() {
                if done.send(conn.simple(sql)).is_err() {
                    return;
                }
            }
        });
        Self { pid, statements, replies, waits: false }
    }

    /// The answer, or `None` if the session waits for a lock that another one holds.
    fn answer(&mut self, control: &mut Conn, surely: bool) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        let mut blocked = 0;
        loop {
            match self.replies.recv_timeout(Duration::from_millis(10)) {
                Ok(reply) => {
                    self.waits = false;
                    return Some(shown(&reply));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the connection broke"),
            }
            let sql = format!("SELECT cardinality(pg_blocking_pids({})) > 0", self.pid);
            // Not a lock of ours that is held for a moment.
            blocked = if control.one(&sql) == "t" { blocked + 1 } else { 0 };
            if blocked >= 5 && !surely {
                self.waits = true;
                return None;
            }
            assert!(Instant::now() < until, "no answer, and nothing that it waits for");
        }
    }
}

fn shown(reply: &Reply) -> String {
    if let Some(error) = reply.error() {
        return format!("{} {}", error.code(), error.message());
    }
    let row =
        |r: Vec<Option<String>>| r.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|");
    let rows: Vec<String> = reply.rows().into_iter().map(row).collect();
    format!("{} [{}]", reply.tags().join(","), rows.join(" "))
}

/// Runs a spec's steps; the answers in the order in which they come.
fn run(spec: &Spec, connect: &dyn Fn() -> Conn, control: &mut Conn) -> Vec<String> {
    let mut sessions: BTreeMap<&str, Session> = BTreeMap::new();
    for (name, _) in &spec.steps {
        sessions.entry(name.trim_end_matches('!')).or_insert_with(|| Session::new(connect()));
    }
    let mut log = Vec::new();
    for (name, sql) in &spec.steps {
        let (name, surely) = name.strip_suffix('!').map_or((*name, false), |name| (name, true));
        let session = sessions.get_mut(name).unwrap();
        if session.waits {
            log.push(format!("{name} waits and can't do: {sql}"));
            break;
        }
        session.statements.send(sql).unwrap();
        match session.answer(control, surely) {
            Some(answer) => log.push(format!("{name} {sql}\n      {answer}")),
            None => log.push(format!("{name} {sql}\n      waits")),
        }
        for (other, session) in sessions.iter_mut().filter(|(other, s)| s.waits && **other != name) {
            if let Some(answer) = session.answer(control, false) {
                log.push(format!("{other} goes on\n      {answer}"));
            }
        }
    }
    log.extend(sessions.iter().filter(|(_, s)| s.waits).map(|(name, _)| format!("{name} still waits")));
    log
}

const ALL: &[&str] = &["account", "parent", "child", "doctor", "job", "control", "receipt"];

fn state(conn: &mut Conn) -> Vec<String> {
    ALL.iter().flat_map(|t| conn.lines(&format!("SELECT '{t}', x.* FROM {t} x ORDER BY 2"))).collect()
}

/// What plain tables answer. Each spec begins with the same rows.
fn on_plain_tables() -> Vec<Vec<String>> {
    let db = Database::create();
    let mut control = db.connect();
    let one = |spec: &Spec| {
        control.exec(&format!("DROP TABLE IF EXISTS {}", ALL.join(", ")));
        control.exec(SETUP);
        let mut log = run(spec, &|| db.connect(), &mut control);
        log.extend(state(&mut control));
        log
    };
    specs().iter().map(one).collect()
}

/// Where the rows of a branch are from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rows {
    /// Main; nothing is copied up.
    Main,
    /// The branch's own: everything was written there.
    Own,
    /// The branch that it is off; main has others.
    Parent,
}

/// Main has other rows than the specs begin with, which this makes of them.
const OTHERS: &str = "UPDATE account SET money = 7777; DELETE FROM account WHERE id > 15; UPDATE parent SET v = 'main'; DELETE FROM child; \
     DELETE FROM doctor; DELETE FROM job; UPDATE control SET deposit_no = 77; DELETE FROM receipt";
const BACK: &str = "UPDATE account SET money = 100; INSERT INTO account SELECT g, 'owner ' || g, 100 FROM generate_series(16, 20) g; \
     UPDATE parent SET v = 'v' || id; INSERT INTO child SELECT g, g FROM generate_series(1, 5) g; INSERT INTO doctor VALUES ('alice', true), ('bob', true); \
     INSERT INTO job SELECT g, 'open' FROM generate_series(1, 6) g; UPDATE control SET deposit_no = 1; INSERT INTO receipt VALUES (1, 1), (2, 1)";

/// A branch for one spec.
fn branch(shop: &Fixture, name: &str, rows: Rows) {
    match rows {
        Rows::Main => drop(shop.branch(name)),
        Rows::Own => drop(shop.branch(name).exec(
            "UPDATE account SET money = money; UPDATE parent SET v = v; UPDATE child SET parent_id = parent_id; \
             UPDATE doctor SET on_call = on_call; UPDATE job SET state = state; UPDATE control SET deposit_no = deposit_no; \
             UPDATE receipt SET deposit_no = deposit_no",
        )),
        Rows::Parent => drop(shop.on("parent").exec(&format!("SELECT * FROM epoch_branch('{name}')"))),
    }
}

fn compare(rows: Rows) {
    need_postgres!();
    let expected = on_plain_tables();
    let shop = Fixture::registered(SETUP);
    if rows == Rows::Parent {
        shop.main().exec(OTHERS);
        shop.main().exec("SELECT * FROM epoch_commit('others')");
        let mut parent = shop.branch("parent");
        parent.exec(BACK);
        parent.exec("SELECT * FROM epoch_commit('back')");
    }
    let mut control = shop.direct();
    let base = state(&mut control);
    let mut problems = Vec::new();
    for (i, (spec, expected)) in specs().iter().zip(&expected).enumerate() {
        let name = format!("b{i}");
        branch(&shop, &name, rows);
        let mut log = run(spec, &|| shop.on(&name), &mut control);
        log.extend(state(&mut shop.on(&name)));
        // The first write to a nested branch ends older snapshots: they aren't those of plain tables,
        // but show nothing of main.
        let snapshots =
            rows == Rows::Parent && spec.steps.iter().any(|(_, sql)| sql.contains("ISOLATION LEVEL"));
        let compared = !snapshots && (spec.mark == Mark::All || rows == Rows::Own);
        if log.iter().any(|line| line.contains("777") || line.contains("|main")) {
            problems.push(format!("{} shows main\n    {}", spec.name, log.join("\n    ")));
        }
        if compared && log != *expected {
            let lines = |all: &[String]| all[..all.len().min(spec.steps.len() + 4)].join("\n    ");
            problems.push(format!("{}\n    {}\n  plain:\n    {}", spec.name, lines(&log), lines(expected)));
        }
    }
    assert_eq!(state(&mut control), base, "the base");
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn on_a_branch_with_the_rows_of_main() {
    compare(Rows::Main);
}

#[test]
fn on_a_branch_with_rows_of_its_own() {
    compare(Rows::Own);
}

#[test]
fn on_a_branch_with_the_rows_of_another_one() {
    compare(Rows::Parent);
}

/// The copy of the parent's layer was made after the snapshot, so main's rows stood in its place, and
/// updates found no rows.
#[test]
fn a_snapshot_older_than_a_nested_branchs_first_write_shows_no_row_of_main() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    shop.main().exec(OTHERS);
    shop.main().exec("SELECT * FROM epoch_commit('others')");
    let mut parent = shop.branch("parent");
    parent.exec(BACK);
    parent.exec("SELECT * FROM epoch_commit('back')");
    const SUM: &str = "SELECT count(*), sum(money) FROM account";
    for (i, level) in ["REPEATABLE READ", "SERIALIZABLE"].into_iter().enumerate() {
        let name = format!("n{i}");
        branch(&shop, &name, Rows::Parent);
        let (mut reader, mut writer) = (shop.on(&name), shop.on(&name));
        let mut prepared = shop.on(&name);
        prepared.send(&[conn::parse("sum", SUM, &[]), conn::sync()]);
        prepared.reply();
        for conn in [&mut reader, &mut prepared] {
            conn.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
            assert_eq!(conn.lines(SUM), ["20|2000"]);
        }
        writer.exec("UPDATE account SET money = money + 1 WHERE id = 1");
        assert_eq!(reader.err(SUM).code(), "40001", "{level}");
        prepared.send(&[conn::bind("", "sum", &[], false), conn::execute("", 0), conn::sync()]);
        assert_eq!(
            prepared.reply().error().map(|e| e.code().to_owned()),
            Some("40001".to_owned()),
            "{level}"
        );
        for conn in [&mut reader, &mut prepared] {
            conn.exec("ROLLBACK");
            conn.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
            assert_eq!(conn.lines(SUM), ["20|2001"], "it is there when the transaction is tried again");
            conn.exec("COMMIT");
        }
        // A transaction's own first write to a table that it has read.
        let jobs = "SELECT count(*) FROM job";
        branch(&shop, &format!("w{i}"), Rows::Parent);
        let mut own = shop.on(&format!("w{i}"));
        let mut tries = 0;
        loop {
            tries += 1;
            own.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
            assert_eq!(own.one(jobs), "6");
            let reply = own.simple("UPDATE job SET state = 'done' WHERE id = 1");
            match reply.error() {
                None => {
                    assert_eq!(reply.tags(), ["UPDATE 1"], "{level}");
                    own.exec("COMMIT");
                    break;
                }
                Some(error) => assert_eq!(error.code(), "40001", "{level}: {error:?}"),
            }
            own.exec("ROLLBACK");
            assert!(tries < 3, "{level}");
        }
        // READ COMMITTED sees each time what there is.
        let mut late = shop.on(&name);
        late.exec("BEGIN");
        assert_eq!(late.one(jobs), "6");
        writer.exec("DELETE FROM job WHERE id = 1");
        assert_eq!(late.one(jobs), "5");
        late.exec("COMMIT");
    }
}

#[test]
fn the_catalogue_is_large() {
    let all = specs();
    assert!(all.len() >= 60, "{} specs", all.len());
    assert!(all.iter().all(|spec| spec.steps.len() >= 3));
}

/// A commit that has done all its work and isn't published yet holds up nobody who writes.
#[test]
fn no_writer_waits_for_a_commit() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut control = shop.direct();
    shop.main().exec("SELECT * FROM epoch_branch('b')");
    for reference in ["main", "b"] {
        let mut writer = shop.on(reference);
        writer.exec("UPDATE account SET money = 1 WHERE id <= 5; INSERT INTO account VALUES (300, 'in', 1); DELETE FROM account WHERE id = 6");
        let mut open = shop.on(reference);
        open.exec("BEGIN; UPDATE account SET money = 7 WHERE id = 7");
        // The last thing that it does in the database is to say that it did.
        let mut holder = shop.direct();
        holder.exec("BEGIN; LOCK TABLE epoch.seal IN SHARE MODE");
        let committer = Session::new(shop.on(reference));
        committer.statements.send("SELECT * FROM epoch_commit('c')").unwrap();
        let held = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'epoch.seal'::regclass";
        let until = Instant::now() + PATIENCE;
        while control.one(held) == "0" {
            assert!(Instant::now() < until, "the commit on {reference} comes to its end");
            std::thread::sleep(Duration::from_millis(5));
        }
        for conn in [&mut writer, &mut open] {
            // An error instead of waiting.
            conn.exec("SET lock_timeout = '5s'");
        }
        writer.exec("UPDATE account SET money = money + 1 WHERE id <= 5");
        writer.exec("DELETE FROM account WHERE id = 300");
        writer.exec("INSERT INTO account VALUES (6, 'back', 1)");
        open.exec("UPDATE account SET money = 8 WHERE id = 8");
        open.exec("COMMIT");
        assert_eq!(control.one(held), "1", "the commit is still held up");
        holder.exec("ROLLBACK");
        let answer = committer.replies.recv_timeout(PATIENCE).unwrap();
        assert!(answer.error().is_none(), "{:?}", answer.error());
        // Exactly what was committed before it.
        let at = |conn: &mut Conn| {
            let head = conn.one("SELECT epoch_hashof('HEAD')");
            conn.lines(&format!(
                "SELECT id, money FROM epoch_at('account', '{head}') WHERE id <= 8 OR id = 300 ORDER BY id"
            ))
        };
        assert_eq!(
            at(&mut writer),
            ["1|1", "2|1", "3|1", "4|1", "5|1", "7|100", "8|100", "300|1"],
            "on {reference}"
        );
        writer.exec("SELECT * FROM epoch_commit('rest')");
        assert_eq!(
            at(&mut writer),
            ["1|2", "2|2", "3|2", "4|2", "5|2", "6|1", "7|7", "8|8"],
            "on {reference}"
        );
    }
}
