//! `epoch log`.

use super::json::elements;
use super::output::{CYAN, YELLOW, cell, one_line, paint, short};
use crate::functions::Outcome;

/// Commits as `git log` prints them.
pub(super) fn log(outcome: &Outcome, oneline: bool) -> String {
    let print = if oneline { line } else { block };
    let commits: Vec<String> = (0..outcome.rows.len()).map(|row| print(outcome, row)).collect();
    commits.join(if oneline { "" } else { "\n" })
}

fn line(outcome: &Outcome, row: usize) -> String {
    let get = |column| cell(outcome, row, column).unwrap_or_default();
    let first = get("message").lines().next().unwrap_or_default();
    format!("{}{} {}\n", paint(YELLOW, short(get("commit_hash"))), refs(get("refs")), one_line(first))
}

fn block(outcome: &Outcome, row: usize) -> String {
    let get = |column| cell(outcome, row, column).unwrap_or_default();
    let mut text =
        format!("{}{}\n", paint(YELLOW, format!("commit {}", get("commit_hash"))), refs(get("refs")));
    let parents = elements(get("parents"));
    if parents.len() > 1 {
        let short: Vec<&str> = parents.iter().map(|hash| short(hash)).collect();
        text.push_str(&format!("Merge:  {}\n", short.join(" ")));
    }
    let email = match get("email") {
        "" => String::new(),
        email => format!(" <{email}>"),
    };
    text.push_str(&format!(
        "Author: {}{}\nDate:   {}\n\n",
        one_line(get("author")),
        one_line(&email),
        get("date")
    ));
    for line in get("message").lines() {
        text.push_str(&format!("    {}\n", one_line(line)));
    }
    text
}

fn refs(array: &str) -> String {
    let refs = elements(array);
    if refs.is_empty() {
        return String::new();
    }
    format!(" {}", paint(CYAN, format!("({})", refs.join(", "))))
}
