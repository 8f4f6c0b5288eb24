//! A bank: sessions move money on branches that are merged into each other and into main, others write to main
//! directly, and proxy and PostgreSQL are killed. No money is made or lost, and nothing that was acknowledged.
//!
//! Each transfer leaves an entry in the ledger, so that on every branch each balance can be worked out from its
//! entries: exactly, at any time. `EPOCH_TEST_SEED` repeats the choices (not the timing), `EPOCH_TEST_SOAK_SECONDS`
//! goes on for that long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::conn::{self, Conn, Target, connect_if_there};
use common::message::Reply;
use common::proxy::{Proxy, ProxyConfig};
use common::server::{Server, is_installed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const BRANCHES: [&str; 4] = ["north", "east", "south", "west"];
/// Of each kind of account.
const ACCOUNTS: i64 = 12;
/// What each has in the beginning.
const START: i64 = 1_000;
const ROUNDS: usize = 3;
const SETTINGS: &str = "-c max_connections=100 -c fsync=on";

/// `account`: both sides' transfers add up. `vault`: a row that both sides changed is a conflict.
const TABLES: &str = "CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL); \
    CREATE TABLE vault (id bigint PRIMARY KEY, balance bigint NOT NULL); \
    CREATE TABLE ledger (id bigint PRIMARY KEY, kind text NOT NULL, payer bigint NOT NULL, payee bigint NOT NULL, \
        amount bigint NOT NULL CHECK (amount > 0));";

/// Accounts whose balance isn't what the ledger says.
const WRONG: &str = "SELECT kind, id, balance, due FROM ( \
    SELECT 'account' AS kind, a.id, a.balance, 1000 + coalesce((SELECT sum(CASE WHEN l.payee = a.id THEN l.amount ELSE -l.amount END) \
        FROM ledger l WHERE l.kind = 'account' AND (l.payee = a.id OR l.payer = a.id)), 0) AS due FROM account a \
    UNION ALL \
    SELECT 'vault', v.id, v.balance, 1000 + coalesce((SELECT sum(CASE WHEN l.payee = v.id THEN l.amount ELSE -l.amount END) \
        FROM ledger l WHERE l.kind = 'vault' AND (l.payee = v.id OR l.payer = v.id)), 0) FROM vault v) x WHERE balance <> due";

const TOTAL: &str = "SELECT (SELECT sum(balance) FROM account) + (SELECT sum(balance) FROM vault)";

/// What all threads know.
struct Bank {
    /// Where the proxy is now.
    proxy: Mutex<Target>,
    stop: AtomicBool,
    /// Entries of the ledger that were acknowledged, by branch.
    acknowledged: Mutex<BTreeMap<&'static str, BTreeSet<i64>>>,
    counts: Mutex<BTreeMap<&'static str, usize>>,
}

impl Bank {
    fn target(&self, branch: &str) -> Target {
        let proxy = self.proxy.lock().unwrap().clone();
        let name = if branch == "main" { "shop".to_owned() } else { format!("shop/{branch}") };
        proxy.database(&name)
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }
}

/// What a statement came to.
enum Done {
    Ok(Reply),
    /// Refused: somebody else was faster, or is in the way.
    Refused,
    /// The other side is gone, or going.
    Lost,
}

/// Errors that are a part of the game. Everything else fails the test.
fn may_happen(code: &str) -> bool {
    let gone = ["08", "57", "58", "53"].iter().any(|class| code.starts_with(class));
    // Serialization, deadlocks, an unknown outcome; uncommitted rows or a waiting merge in the way; a
    // transaction that was refused before.
    gone || ["40001", "40P01", "40003", "55000", "55P03", "25P02", "25001"].contains(&code)
}

fn send(conn: &mut Conn, sql: &str) -> Done {
    if conn.send_raw(&conn::query(sql)).is_err() {
        return Done::Lost;
    }
    let Ok(reply) = conn.try_reply() else { return Done::Lost };
    let Some(error) = reply.error() else { return Done::Ok(reply) };
    assert!(may_happen(error.code()), "{sql}: {error:?}");
    let lost = ["08", "57", "58"].iter().any(|class| error.code().starts_with(class));
    if lost { Done::Lost } else { Done::Refused }
}

/// One transfer, in a transaction. `None`: it isn't known whether it took place.
fn transfer(conn: &mut Conn, random: &mut StdRng, entry: i64) -> Option<bool> {
    let kind = if random.random_bool(0.8) { "account" } else { "vault" };
    let (payer, payee) = (random.random_range(1..=ACCOUNTS), random.random_range(1..=ACCOUNTS));
    if payer == payee {
        return Some(false);
    }
    let amount = random.random_range(1..50);
    let statements = [
        "BEGIN".to_owned(),
        format!("UPDATE {kind} SET balance = balance - {amount} WHERE id = {payer}"),
        format!("UPDATE {kind} SET balance = balance + {amount} WHERE id = {payee}"),
        format!("INSERT INTO ledger VALUES ({entry}, '{kind}', {payer}, {payee}, {amount})"),
    ];
    for statement in statements {
        match send(conn, &statement) {
            Done::Ok(_) => {}
            Done::Refused => {
                return match send(conn, "ROLLBACK") {
                    Done::Lost => None,
                    _ => Some(false),
                };
            }
            Done::Lost => return None,
        }
    }
    match send(conn, "COMMIT") {
        // A transaction that was refused at its end says ROLLBACK.
        Done::Ok(reply) => Some(reply.tags() == ["COMMIT"]),
        Done::Refused => Some(false),
        Done::Lost => None,
    }
}

/// Merges, with what both sides did to accounts added up. What conflicts is given up.
fn merge(bank: &Bank, conn: &mut Conn, source: &str) -> Option<()> {
    match send(conn, "SELECT epoch_commit('-m', 'before a merge', '--skip-empty')") {
        Done::Lost => return None,
        Done::Ok(_) | Done::Refused => {}
    }
    match send(conn, &format!("SELECT conflicts FROM epoch_merge('{source}', strategy => 'row')")) {
        Done::Lost => None,
        Done::Refused => {
            bank.count("merge refused");
            Some(())
        }
        Done::Ok(reply) if reply.rows()[0][0].as_deref() == Some("0") => {
            bank.count("merge");
            Some(())
        }
        Done::Ok(_) => {
            bank.count("merge in conflict");
            match send(conn, "SELECT epoch_merge('--abort')") {
                Done::Lost => None,
                _ => Some(()),
            }
        }
    }
}

/// A session on a branch, until the bank closes.
fn clerk(bank: &Bank, number: i64, mut random: StdRng) {
    let branch = BRANCHES[number as usize % BRANCHES.len()];
    let mut entry = number * 1_000_000;
    while !bank.stop.load(Ordering::Relaxed) {
        let Some(mut conn) = connect_if_there(&bank.target(branch)) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        while !bank.stop.load(Ordering::Relaxed) {
            let went_on = match random.random_range(0..100) {
                0..75 => {
                    entry += 1;
                    let done = transfer(&mut conn, &mut random, entry);
                    if done == Some(true) {
                        bank.acknowledged.lock().unwrap().entry(branch).or_default().insert(entry);
                        bank.count("transfer");
                    }
                    done.map(drop)
                }
                75..87 => match send(&mut conn, "SELECT epoch_commit('-m', 'some', '--skip-empty')") {
                    Done::Lost => None,
                    _ => Some(()),
                },
                87..96 => {
                    let other = BRANCHES[random.random_range(0..BRANCHES.len())];
                    let other = if random.random_bool(0.3) { "main" } else { other };
                    merge(bank, &mut conn, other)
                }
                _ => {
                    connect_if_there(&bank.target("main")).and_then(|mut main| merge(bank, &mut main, branch))
                }
            };
            if went_on.is_none() {
                break;
            }
        }
    }
}

/// Writes to main's tables as a program that doesn't know of the proxy.
fn stranger(bank: &Bank, direct: &Target, number: i64, mut random: StdRng) {
    let mut entry = number * 1_000_000;
    while !bank.stop.load(Ordering::Relaxed) {
        let Some(mut conn) = connect_if_there(direct) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        while !bank.stop.load(Ordering::Relaxed) {
            entry += 1;
            match transfer(&mut conn, &mut random, entry) {
                Some(true) => {
                    bank.acknowledged.lock().unwrap().entry("main").or_default().insert(entry);
                    bank.count("direct transfer");
                }
                Some(false) => {}
                None => break,
            }
            std::thread::sleep(Duration::from_millis(random.random_range(5..25)));
        }
    }
}

/// Balances on a branch, and in its commits, are what its ledger says; what was acknowledged there is there.
fn audit(bank: &Bank, branch: &'static str) {
    let acknowledged = bank.acknowledged.lock().unwrap().get(branch).cloned().unwrap_or_default();
    let mut conn = bank.target(branch).connect();
    assert_eq!(conn.lines(WRONG), Vec::<String>::new(), "balances on {branch}");
    assert_eq!(conn.one(TOTAL), (2 * ACCOUNTS * START).to_string(), "the total on {branch}");
    let there: BTreeSet<i64> =
        conn.lines("SELECT id FROM ledger").iter().map(|id| id.parse().unwrap()).collect();
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "{branch} has lost {lost:?}");
    let commits = conn.lines("SELECT commit_hash FROM epoch_log('-n', '3')");
    drop(conn);
    for commit in commits {
        let mut conn = bank.target(&commit).connect();
        assert_eq!(conn.lines(WRONG), Vec::<String>::new(), "balances at {commit} of {branch}");
        assert_eq!(conn.one(TOTAL), (2 * ACCOUNTS * START).to_string(), "the total at {commit} of {branch}");
    }
}

fn open() -> (Server, Proxy) {
    let server = Server::start(SETTINGS, |_| {});
    let mut direct = server.target.connect();
    direct.exec(TABLES);
    for table in ["account", "vault"] {
        direct.exec(&format!("INSERT INTO {table} SELECT g, {START} FROM generate_series(1, {ACCOUNTS}) g"));
    }
    let proxy = Proxy::start(ProxyConfig::postgres(&server.target.url()));
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('public.*')");
    main.exec("SELECT epoch_merge_rule('account', 'balance', 'sum')");
    main.exec("SELECT epoch_commit('-m', 'opened', '--allow-empty')");
    for branch in BRANCHES {
        main.exec(&format!("SELECT epoch_branch('{branch}')"));
    }
    (server, proxy)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

#[test]
fn no_money_is_made_or_lost() {
    need_postgres!();
    if !is_installed() {
        println!("skipped: set EPOCH_TEST_PG_BIN");
        return;
    }
    let seed = number("EPOCH_TEST_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("EPOCH_TEST_SEED={seed}");
    let soak = Duration::from_secs(number("EPOCH_TEST_SOAK_SECONDS").unwrap_or(0));
    let (server, mut proxy) = open();
    let bank = Arc::new(Bank {
        proxy: Mutex::new(proxy.target("main")),
        stop: AtomicBool::new(false),
        acknowledged: Mutex::default(),
        counts: Mutex::default(),
    });
    let random = move |n: u64| StdRng::seed_from_u64(seed * 100 + n);
    let mut threads = Vec::new();
    for n in 1..=8 {
        let bank = Arc::clone(&bank);
        threads.push(std::thread::spawn(move || clerk(&bank, n, random(n as u64))));
    }
    for n in 9..=10 {
        let (bank, direct) = (Arc::clone(&bank), server.target.clone());
        threads.push(std::thread::spawn(move || stranger(&bank, &direct, n, random(n as u64))));
    }
    let mut choice = random(0);
    let begun = Instant::now();
    let mut round = 0;
    while (round < ROUNDS || begun.elapsed() < soak) && threads.iter().all(|t| !t.is_finished()) {
        std::thread::sleep(Duration::from_millis(choice.random_range(700..2_000)));
        let what = round % 3;
        if what != 1 {
            proxy.kill();
        }
        if what != 0 {
            server.crash(SETTINGS);
        }
        if what != 1 {
            proxy.restart(&[]);
            *bank.proxy.lock().unwrap() = proxy.target("main");
        }
        println!("{:?}: round {round}, all are back", begun.elapsed());
        // While all go on.
        BRANCHES.into_iter().chain(["main"]).for_each(|branch| audit(&bank, branch));
        round += 1;
    }
    bank.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no session saw what it mustn't");
    }
    println!("{round} kills in {:?}: {:?}", begun.elapsed(), bank.counts.lock().unwrap());
    for branch in BRANCHES {
        // What a session that was killed left waiting.
        let mut conn = bank.target(branch).connect();
        conn.simple("SELECT epoch_merge('--abort')");
        conn.exec("SELECT epoch_commit('-m', 'closing', '--skip-empty')");
        audit(&bank, branch);
    }
    let mut main = bank.target("main").connect();
    main.simple("SELECT epoch_merge('--abort')");
    main.exec("SELECT epoch_commit('-m', 'closing', '--skip-empty')");
    // All of it comes together: what conflicts, vaults that both sides changed, stays with its branch.
    for branch in BRANCHES {
        let merged = main.lines(&format!("SELECT conflicts FROM epoch_merge('{branch}', strategy => 'row')"));
        if merged != ["0"] {
            main.exec("SELECT epoch_merge('--abort')");
        }
        audit(&bank, "main");
    }
    let mut direct = server.target.connect();
    assert_eq!(direct.lines(WRONG), Vec::<String>::new(), "main's own tables");
    assert_eq!(direct.one(TOTAL), (2 * ACCOUNTS * START).to_string());
    let counts = bank.counts.lock().unwrap();
    for expected in ["transfer", "direct transfer", "merge"] {
        assert!(counts.contains_key(expected), "no {expected}: {counts:?}");
    }
}
