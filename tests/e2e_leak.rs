//! No statement run on a branch changes a base table or the catalog: every statement of
//! `tests/sql/leak/`, simple and extended, with the base compared after each one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::conn::Conn;
use common::database::{base_rows, catalog, sequences};
use common::{Fixture, PgError, Reply};

const SETUP: &str = include_str!("sql/leak/00_setup.sql");
const DML: &str = include_str!("sql/leak/10_dml.sql");
const READ: &str = include_str!("sql/leak/20_read.sql");
const UTILITY: &str = include_str!("sql/leak/30_utility.sql");
const DDL: &str = include_str!("sql/leak/40_ddl.sql");

/// One statement (or several that belong together) per line; `! ` before one that must be refused.
fn statements(file: &'static str) -> Vec<&'static str> {
    file.lines().filter(|line| !line.is_empty() && !line.starts_with("-- ")).collect()
}

#[test]
fn dml_on_a_branch() {
    check(DML);
}

#[test]
fn reads_on_a_branch() {
    check(READ);
}

#[test]
fn utility_statements_on_a_branch() {
    check(UTILITY);
}

#[test]
fn ddl_on_a_branch() {
    check(DDL);
}

#[test]
fn the_catalogue_is_large() {
    let all: usize = [DML, READ, UTILITY, DDL].into_iter().map(|f| statements(f).len()).sum();
    assert!(all >= 400, "{all} statements");
}

#[derive(PartialEq)]
struct State {
    rows: Vec<String>,
    catalog: Vec<String>,
    sequences: Vec<(String, i64)>,
}

fn state(direct: &mut Conn) -> State {
    let mut catalog = catalog(direct);
    // PREPARE TRANSACTION of a branch's changes is possible; these are of a statement in the catalogue.
    catalog.retain(|line| line != "prepared epoch_leak_tx");
    State { rows: base_rows(direct), catalog, sequences: sequences(direct) }
}

/// What differs, for the report. Sequences are shared by all branches: they may move on, a little.
fn difference(before: &State, after: &State) -> Vec<String> {
    let mut all = Vec::new();
    for (left, right) in [(&before.rows, &after.rows), (&before.catalog, &after.catalog)] {
        all.extend(left.iter().filter(|l| !right.contains(l)).map(|l| format!("- {l}")));
        all.extend(right.iter().filter(|l| !left.contains(l)).map(|l| format!("+ {l}")));
    }
    for (name, value) in &after.sequences {
        let was = before.sequences.iter().find(|(n, _)| n == name).map_or(0, |(_, v)| *v);
        if !(was..was + 100).contains(value) {
            all.push(format!("sequence {name}: {was} -> {value}"));
        }
    }
    all
}

fn check(file: &'static str) {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_register('other.*')");
    main.exec("SELECT * FROM epoch_unregister('stranger')");
    main.exec("SELECT * FROM epoch_branch('b')");
    let mut direct = shop.direct();
    let mut before = state(&mut direct);
    let mut problems = Vec::new();
    let (mut ran, mut refused) = (0, 0);
    for line in statements(file) {
        let (must_be_refused, sql) = line.strip_prefix("! ").map_or((false, line), |sql| (true, sql));
        for extended in [false, true] {
            let how = if extended { "extended" } else { "simple" };
            let Some(mut branch) = shop.proxy.target("b").try_connect().ok() else {
                problems.push(format!("no connection to the branch before ({how}) {sql}"));
                continue;
            };
            branch.set_patience(Duration::from_secs(30));
            let reply = run(&mut branch, sql, extended);
            match &reply {
                Ok(reply) => match reply.error() {
                    Some(error) => {
                        refused += 1;
                        problems.extend(
                            odd_error(&mut direct, sql, extended, error)
                                .map(|p| format!("({how}) {sql}\n    {p}")),
                        );
                    }
                    // What it would read is main's, which the base's state can't show.
                    None if must_be_refused => problems.push(format!("({how}) {sql}\n    was not refused")),
                    None => ran += 1,
                },
                Err(e) => problems.push(format!("({how}) {sql}\n    the connection broke: {e}")),
            }
            drop(branch);
            if file == DDL {
                // Tables that the branch altered or dropped are as main has them, for the next statement.
                shop.on("b").exec("SELECT * FROM epoch_reset('--hard')");
            }
            let after = state(&mut direct);
            let leaks = difference(&before, &after);
            if !leaks.is_empty() {
                problems.push(format!("LEAK ({how}) {sql}\n    {}", leaks.join("\n    ")));
            }
            before = after;
        }
    }
    println!("{ran} ran, {refused} were refused");
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert!(ran > 0);
}

fn run(branch: &mut Conn, sql: &str, extended: bool) -> std::io::Result<Reply> {
    if extended {
        // Statement by statement, as a driver would send them.
        let mut all = Reply::default();
        for part in split(sql) {
            all.0.extend(
                exchange(
                    branch,
                    &[
                        common::conn::parse("", part, &[]),
                        common::conn::bind("", "", &[], false),
                        common::conn::execute("", 0),
                        common::conn::sync(),
                    ],
                )?
                .0,
            );
        }
        return Ok(all);
    }
    exchange(branch, &[common::conn::query(sql)])
}

fn exchange(branch: &mut Conn, messages: &[Vec<u8>]) -> std::io::Result<Reply> {
    branch.send_raw(&messages.concat())?;
    branch.try_reply()
}

/// At `; ` only: nothing in the catalogue has one inside a body that must stay whole, except those
/// with dollars or quotes, which go as they are.
fn split(sql: &str) -> Vec<&str> {
    if sql.contains(['$', '\'', '/']) { vec![sql] } else { sql.split("; ").collect() }
}

/// Errors must be a server's own or a clear refusal; nothing of ours shows.
fn odd_error(direct: &mut Conn, sql: &str, extended: bool, error: &PgError) -> Option<String> {
    let text = format!("{error:?}");
    if ["epoch_lineage", "epoch_copied", "epoch.mask", "epoch.history"]
        .iter()
        .any(|w| text.contains(w) && !sql.contains(w))
    {
        return Some(format!("the error shows our internals: {text}"));
    }
    // Relations of ours that aren't the documented ones don't exist for a client; a direct one sees them.
    if error.code() == "42P01" && sql.contains("FROM epoch.") {
        return None;
    }
    // What can't be undone can't be tried on the server itself.
    let comparable = !sql.contains("COMMIT") && !sql.contains("CONCURRENTLY");
    if comparable
        && matches!(
            error.code(),
            "XX000" | "42601" | "42P02" | "42703" | "42804" | "42883" | "42P01" | "42P10" | "08P01" | "57014"
        )
    {
        let plain = plain_error(direct, sql, extended);
        if plain.as_deref() != Some(error.code()) {
            return Some(format!("plain PostgreSQL says {plain:?}: {text}"));
        }
    }
    None
}

/// What the server itself says, with everything undone.
fn plain_error(direct: &mut Conn, sql: &str, extended: bool) -> Option<String> {
    direct.exec("BEGIN");
    let error = run(direct, sql, extended).ok().and_then(|r| r.error().map(|e| e.code().to_owned()));
    direct.simple("ROLLBACK");
    direct.simple("RESET ALL");
    error
}
