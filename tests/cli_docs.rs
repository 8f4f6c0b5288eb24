//! The reference pages say what the code does.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use epoch::functions::{Flag, Function, Kind, catalog, relations};

const BEGIN: &str =
    "<!-- generated from src/functions/catalog.rs; EPOCH_UPDATE_DOCS=1 cargo test --test cli_docs -->\n";
const END: &str = "<!-- end of the generated part -->\n";

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// Compares the generated part of a page, or rewrites it if asked to.
fn check(name: &str, generated: &str) {
    let text = std::fs::read_to_string(page(name)).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap_or_else(|| panic!("{name} lacks {BEGIN}"));
    let (old, after) = rest.split_once(END).unwrap_or_else(|| panic!("{name} lacks {END}"));
    if std::env::var_os("EPOCH_UPDATE_DOCS").is_some() {
        std::fs::write(page(name), format!("{before}{BEGIN}{generated}{END}{after}")).unwrap();
        return;
    }
    let update = format!("docs/{name} is old: EPOCH_UPDATE_DOCS=1 cargo test --test cli_docs");
    for (old, new) in old.lines().zip(generated.lines()) {
        assert_eq!(old, new, "{update}");
    }
    assert_eq!(old.lines().count(), generated.lines().count(), "{update}");
}

#[test]
fn the_sql_reference_lists_every_function() {
    let mut text = String::new();
    for (title, kind) in
        [("Changing", Kind::Mutating), ("Reading", Kind::Reading), ("Single values", Kind::Scalar)]
    {
        write!(text, "\n## {title}\n").unwrap();
        for function in catalog().iter().filter(|f| f.kind == kind) {
            describe(&mut text, function);
        }
    }
    text.push_str("\n## Relations of schema `epoch`\n\n| relation | the same as |\n|---|---|\n");
    for (relation, function) in relations() {
        writeln!(text, "| `epoch.{relation}` | `{}()` |", function.name).unwrap();
    }
    text.push('\n');
    check("sql-reference.md", &text);
}

fn describe(text: &mut String, function: &Function) {
    write!(text, "\n### `{}`\n\n{}.\n\n", function.name, function.summary).unwrap();
    for usage in function.usage.split("), ") {
        let usage = if usage.ends_with(')') { usage.to_owned() } else { format!("{usage})") };
        writeln!(text, "    {usage}").unwrap();
    }
    if !function.parameters.is_empty() || !function.flags.is_empty() {
        text.push_str("\n| argument | type | |\n|---|---|---|\n");
    }
    for parameter in function.parameters {
        let ty = parameter.takes.sql_type();
        writeln!(text, "| `{}` | `{}` | {} |", parameter.name, ty.name(), html(parameter.help)).unwrap();
    }
    for flag in function.flags {
        let spelling = spelling(flag);
        writeln!(text, "| {spelling} | `{}` | {} |", flag.takes.sql_type().name(), html(flag.help)).unwrap();
    }
    match function.columns {
        [] => text.push_str("\nColumns: see [above](#columns-that-depend-on-the-table).\n"),
        columns => {
            let columns: Vec<String> =
                columns.iter().map(|(name, ty)| format!("`{name}` {}", ty.name())).collect();
            write!(text, "\nColumns: {}.\n", columns.join(", ")).unwrap();
        }
    }
}

fn html(text: &str) -> String {
    text.replace('<', "&lt;")
}

fn spelling(flag: &Flag) -> String {
    let names: Vec<String> = flag.spelling().split('/').map(|name| format!("`{name}`")).collect();
    names.join(" ")
}

#[test]
fn the_cli_reference_is_the_commands_own_help() {
    let help = |args: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_epoch"))
            .args(args)
            .args(["--help", "--color", "never"])
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        assert!(out.status.success(), "{args:?}");
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    };
    let mut text = format!("\n```text\n{}\n```\n", help(&[]));
    let verbs: &[&[&str]] = &[
        &["init"],
        &["serve"],
        &["demo"],
        &["user", "add"],
        &["status"],
        &["branch"],
        &["checkout"],
        &["commit"],
        &["log"],
        &["diff"],
        &["merge"],
        &["conflicts"],
        &["conflicts", "resolve"],
        &["preview-merge"],
        &["merge-rule"],
        &["merge-rules"],
        &["cherry-pick"],
        &["revert"],
        &["rebase"],
        &["rebase-plan"],
        &["rebase-edit"],
        &["stash"],
        &["tag"],
        &["promote"],
        &["reset"],
        &["squash-history"],
        &["reflog"],
        &["undrop"],
        &["history"],
        &["blame"],
        &["patch"],
        &["bisect"],
        &["all-branches"],
        &["hash-table"],
        &["table", "add"],
        &["table", "remove"],
        &["table", "list"],
        &["table", "discover"],
        &["table", "triggers"],
        &["query"],
        &["completions"],
    ];
    for verb in verbs {
        let own: Vec<&str> = Vec::from(*verb);
        let help = help(&own);
        // The options that all commands have are listed once, at the top.
        let lines = help.lines().filter(|line| !is_global(line));
        let lines: Vec<&str> = lines.collect();
        let body = lines.join("\n").replace("\nOptions:\n\n", "\n");
        let body = body.trim_end().trim_end_matches("\nOptions:");
        write!(text, "\n## `epoch {}`\n\n```text\n{}\n```\n", verb.join(" "), body.trim_end()).unwrap();
    }
    text.push('\n');
    check("cli.md", &text);
}

fn is_global(line: &str) -> bool {
    let line = line.trim_start();
    line == "[possible values: auto, always, never]"
        || ["--config <", "--on <", "--json", "--color <", "-h, --help"]
            .iter()
            .any(|flag| line.starts_with(flag))
}
