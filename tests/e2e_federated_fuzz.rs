//! Random statements over the same rows in PostgreSQL and, through the proxy, in SQLite tables: the answers are the same, or
//! ours is a refusal (0A000). What this has found is in `tests/sql/federated`, each in a line.
//!
//! A seed repeats a run: `EPOCH_FUZZ_SEED=7 EPOCH_FUZZ_STATEMENTS=5000 cargo test --test e2e_federated_fuzz`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod common;
#[path = "federated_fuzz/expressions.rs"]
mod expressions;
#[path = "federated_fuzz/queries.rs"]
mod queries;
#[path = "federated_fuzz/random.rs"]
mod random;
#[path = "federated_fuzz/writes.rs"]
mod writes;

use common::judge::{Two, essence, prepared};
use common::message::Reply;
use random::Random;

/// As often as this a statement may be refused: a fuzzer of refusals shows nothing.
const MOST_REFUSED: usize = 50;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// The seeds of a run, and how many statements each makes.
fn seeds(statements: usize) -> (Vec<u64>, usize) {
    let seeds = from_environment("EPOCH_FUZZ_SEED").map_or_else(|| vec![1, 2], |seed| vec![seed]);
    (seeds, from_environment("EPOCH_FUZZ_STATEMENTS").map_or(statements, |n| n as usize))
}

#[derive(Default)]
struct Tally {
    all: usize,
    refused: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn check(&self, seed: u64) {
        println!(
            "seed {seed}: {} statements, {} refused, {} differ",
            self.all,
            self.refused,
            self.wrong.len()
        );
        let shown = self.wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.wrong.is_empty(), "seed {seed}: {} of {} differ:\n{shown}", self.wrong.len(), self.all);
        assert!(
            self.refused * 100 <= self.all * MOST_REFUSED,
            "seed {seed}: {} of {} were refused",
            self.refused,
            self.all
        );
    }

    /// Compares two answers to one statement.
    fn compare(&mut self, sql: &str, plain: &Reply, ours: &Reply) {
        self.all += 1;
        let (mut wanted, mut got) = (essence(plain), essence(ours));
        let code = |reply: &Reply| reply.error().map_or(String::new(), |e| e.code().to_owned());
        let (theirs, own) = (code(plain), code(ours));
        if own == "0A000" {
            self.refused += 1;
            return;
        }
        if theirs == own && !own.is_empty() {
            return;
        }
        // Which of several errors comes first is said by the order of rows and columns, which nobody promised.
        let data = |code: &str| code.starts_with("22");
        if data(&theirs) && data(&own) {
            return;
        }
        wanted.extend(plain.tags().into_iter().map(str::to_owned));
        got.extend(ours.tags().into_iter().map(str::to_owned));
        let last = sql.rsplit(')').next().unwrap_or(sql);
        if !last.contains("ORDER BY id") {
            wanted.sort();
            got.sort();
        }
        if wanted != got {
            let message = |r: &Reply| r.error().map(|e| e.message().to_owned()).unwrap_or_default();
            self.wrong.push(format!(
                "{sql}\n   postgres: {wanted:?} {}\n   federated: {got:?} {}",
                message(plain),
                message(ours)
            ));
        }
    }
}

/// Asks both; every third statement is prepared, every sixth has results in binary.
fn ask(two: &mut Two, sql: &str, number: usize) -> (Reply, Reply) {
    if number % 3 == 2 {
        let binary = number % 6 == 5;
        (prepared(&mut two.plain, sql, &[], binary), prepared(&mut two.ours, sql, &[], binary))
    } else {
        (two.plain.simple(sql), two.ours.simple(sql))
    }
}

#[test]
fn random_expressions() {
    need_postgres!();
    let read = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql/federated");
        std::fs::read_to_string(folder.join(name)).unwrap()
    };
    let (seeds, statements) = seeds(150);
    let mut two = Two::new(&read("postgres.sql"), &read("sqlite.sql"));
    for seed in seeds {
        let (mut random, mut tally) = (Random::new(seed), Tally::default());
        for number in 0..statements {
            let sql = expressions::query(&mut random);
            let (plain, ours) = ask(&mut two, &sql, number);
            tally.compare(&sql, &plain, &ours);
        }
        tally.check(seed);
    }
}

#[test]
fn random_queries() {
    need_postgres!();
    let (seeds, statements) = seeds(150);
    for seed in seeds {
        let mut two = Two::new(&queries::setup(seed, "bigint"), &queries::setup(seed, "INTEGER"));
        let (mut writer, mut tally) = (queries::Writer::new(seed), Tally::default());
        for number in 0..statements {
            let sql = writer.query();
            let (plain, ours) = ask(&mut two, &sql, number);
            tally.compare(&sql, &plain, &ours);
        }
        tally.check(seed);
    }
}

#[test]
fn random_writes() {
    need_postgres!();
    let (seeds, statements) = seeds(150);
    for seed in seeds {
        let mut two = Two::new(writes::POSTGRES, writes::SQLITE);
        let (mut random, mut tally) = (Random::new(seed), Tally::default());
        for number in 0..statements {
            let sql = writes::statement(&mut random);
            two.plain.exec("BEGIN");
            let (plain, ours) = ask(&mut two, &sql, number);
            // What is refused here has not happened there either.
            two.plain.exec(if ours.error().is_some() { "ROLLBACK" } else { "COMMIT" });
            tally.compare(&sql, &plain, &ours);
            for table in ["w", "z"] {
                let all = format!("SELECT * FROM {table} ORDER BY 1");
                let (wanted, got) = (essence(&two.plain.simple(&all)), essence(&two.ours.simple(&all)));
                assert_eq!(wanted, got, "seed {seed}: table {table} after statement {number}: {sql}");
            }
        }
        tally.check(seed);
    }
}
