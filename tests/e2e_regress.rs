//! PostgreSQL's own tests, of the server under test: `tests/regress/` runs them, and says how.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::psql::tool;

/// What is compared takes both processors, and the source is fetched once.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Far more than a part takes on two processors that do nothing else.
const LIMIT: Duration = Duration::from_secs(1200);

/// Runs a part; its output is the test's. One that takes longer than it ever should is stopped.
fn part(arguments: &[&str], limit: Duration) {
    let name = arguments.join(" ");
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regress/run.sh"))
        .args(arguments)
        .env("EPOCH_BIN", env!("CARGO_BIN_EXE_epoch"))
        .env("EPOCH_TEST_PG_BIN", tool("postgres").parent().expect("it has a folder"))
        .stdin(Stdio::null())
        .stdout(output.reopen().unwrap())
        .stderr(output.reopen().unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > limit {
            // It stops its servers.
            let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = std::fs::read_to_string(output.path()).unwrap_or_default();
    println!("{text}");
    match status {
        Some(status) => assert!(status.success(), "tests/regress/run.sh {name} failed:\n{text}"),
        None => panic!("tests/regress/run.sh {name} took more than {} s:\n{text}", limit.as_secs()),
    }
}

#[test]
fn regression_statements_through_main_print_what_they_print_directly() {
    need_postgres!();
    part(&["plain"], LIMIT);
}

#[test]
fn regression_statements_through_main_with_registered_tables_print_the_same() {
    need_postgres!();
    part(&["plain", "--registered"], LIMIT);
}

#[test]
fn regression_statements_on_a_branch_are_answered_alike_or_refused() {
    need_postgres!();
    part(&["branch"], LIMIT);
}

#[test]
fn isolation_specs_on_a_branch_wait_and_end_alike() {
    need_postgres!();
    part(&["isolation"], LIMIT);
}
