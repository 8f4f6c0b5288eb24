//! PostgreSQL's own programs.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::conn::Target;

/// A program of PostgreSQL: from `EPOCH_TEST_PG_BIN`, Debian's folders, else the PATH.
pub fn tool(name: &str) -> PathBuf {
    let given = std::env::var("EPOCH_TEST_PG_BIN").ok().map(PathBuf::from);
    let debian = (14..=18).rev().map(|v| PathBuf::from(format!("/usr/lib/postgresql/{v}/bin")));
    given
        .into_iter()
        .chain(debian)
        .map(|d| d.join(name))
        .find(|p| p.exists())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// Runs a script through psql as a person would (`-X`, errors go on).
pub fn psql(target: &Target, args: &[&str], script: &str) -> Output {
    let mut child = Command::new(tool("psql"))
        .args(["-X", "-q", "-w", "-d", &target.conninfo()])
        .args(args)
        .env("PGCONNECT_TIMEOUT", "30")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    child.stdin.take().unwrap().write_all(script.as_bytes()).expect("psql reads");
    child.wait_with_output().expect("psql ends")
}

/// The unaligned, tuples-only output of a script that must succeed.
pub fn psql_ok(target: &Target, script: &str) -> String {
    let output = psql(target, &["-At", "-v", "ON_ERROR_STOP=1"], script);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "psql failed: {stderr}\nscript: {script}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
