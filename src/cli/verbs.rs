//! The version-control verbs.

use clap::ArgMatches;

use super::output::{BOLD, CYAN, GREEN, Output, RED, YELLOW, cell, counted, grid, one_line, paint, short};
use super::place::Place;
use super::progress::Progress;
use super::{Done, command, diff, history, interactive, table};
use crate::functions::{Args, Function, Outcome};
use crate::{Error, Result};

/// Runs a verb that is a function of the SQL surface.
pub(super) async fn run(verb: &str, matches: &ArgMatches, output: &Output) -> Result<Done> {
    let (function, matches) = match matches.subcommand() {
        Some((second, inner)) => (command::function_of(&[verb, second]), inner),
        None => (command::function_of(&[verb]), matches),
    };
    let function = function.ok_or_else(|| Error::internal(format!("no function for {verb}")))?;
    let place = Place::open(matches, function.name == "epoch_checkout").await?;
    if function.name == "epoch_conflicts_resolve" && matches.get_flag("interactive") {
        return interactive::resolve(&place, matches, output).await;
    }
    let args = command::args_of(function, matches);
    if function.name == "epoch_diff" {
        return diff::diff(&place, &args, matches.get_flag("stat"), output).await;
    }
    let (name, args) = listing(function, args);
    let outcome = Progress::default().show(verb, place.call(name, &args)).await?;
    let print = printer(name, matches, &place);
    output.show(&outcome, print)?;
    let stopped = |column: &str| cell(&outcome, 0, column).is_some_and(|count| count != "0");
    Ok(match name {
        "epoch_merge" if stopped("conflicts") => Done::Conflicts,
        "epoch_cherry_pick" | "epoch_revert" if stopped("data_conflicts") || stopped("schema_conflicts") => {
            Done::Conflicts
        }
        "epoch_rebase" if cell(&outcome, 0, "status") == Some("conflicts") => Done::Conflicts,
        "epoch_stash" if cell(&outcome, 0, "status").is_some_and(|s| s.contains("stopped")) => {
            Done::Conflicts
        }
        _ => Done::Well,
    })
}

/// `branch` and `tag` without arguments list, with more columns than the functions that create.
fn listing(function: &Function, args: Args) -> (&'static str, Args) {
    let nothing = args == Args::default();
    match function.name {
        "epoch_branch" if nothing => ("epoch_branches", args),
        "epoch_tag" if nothing => ("epoch_tags", args),
        name => (command_name(name), args),
    }
}

fn command_name(name: &str) -> &'static str {
    crate::functions::find(name).map_or("", |function| function.name)
}

fn printer<'a>(
    name: &'a str,
    matches: &'a ArgMatches,
    place: &'a Place,
) -> impl FnOnce(&Outcome) -> String + 'a {
    move |outcome| match name {
        "epoch_status" => status(place, outcome),
        "epoch_branches" => branches(place, outcome),
        "epoch_branch" => acted(outcome, "branch", "name"),
        "epoch_checkout" => sentence(outcome),
        "epoch_commit" => committed(place, outcome),
        "epoch_merge" => merged(outcome),
        "epoch_reset" => acted(outcome, "head", "hash"),
        "epoch_undrop" => acted(outcome, "branch", "name"),
        "epoch_cherry_pick" | "epoch_revert" => picked(outcome),
        "epoch_rebase" => rebased(outcome),
        "epoch_patch" => statements(outcome),
        "epoch_log" => history::log(outcome, matches.get_flag("oneline")),
        "epoch_conflicts_resolve" => resolved(outcome),
        "epoch_register" if matches.get_flag("accept") => table::added(outcome, "accepted"),
        "epoch_register" => table::added(outcome, "registered"),
        "epoch_unregister" => acted(outcome, "table", "table_name"),
        _ => grid(outcome),
    }
}

fn status(place: &Place, outcome: &Outcome) -> String {
    let mut text = match place.checkout.is_branch() {
        true => format!("On branch {}\n", paint(BOLD, &place.checkout.name)),
        false => format!("At {} (read-only)\n", paint(BOLD, &place.checkout.name)),
    };
    if outcome.rows.is_empty() {
        text.push_str("nothing to commit\n");
    }
    for row in 0..outcome.rows.len() {
        let get = |column| cell(outcome, row, column).unwrap_or_default();
        let style = if get("change") == "conflict" { RED } else { YELLOW };
        let counts = format!(
            "{} {} {}",
            paint(GREEN, format!("+{}", get("rows_added"))),
            paint(YELLOW, format!("~{}", get("rows_modified"))),
            paint(RED, format!("-{}", get("rows_deleted"))),
        );
        let conflicts = match get("conflicts") {
            "0" => String::new(),
            count => paint(RED, format!("  {count} in conflict")),
        };
        let by = match get("changed_by").trim_matches(['{', '}']) {
            "" => String::new(),
            roles => format!("  by {}, last at {}", roles.replace(',', ", "), get("last_change")),
        };
        text.push_str(&format!(
            "  {}  {}  {counts}{conflicts}{by}\n",
            paint(style, get("change")),
            get("table_name")
        ));
    }
    text
}

fn branches(place: &Place, outcome: &Outcome) -> String {
    let mut text = String::new();
    let names = (0..outcome.rows.len()).filter_map(|row| cell(outcome, row, "name"));
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    for row in 0..outcome.rows.len() {
        let get = |column| cell(outcome, row, column).unwrap_or_default();
        let current = place.checkout.is_branch() && get("name") == place.checkout.name;
        let padded = format!("{:<width$}", get("name"));
        let (mark, name) = if current { ("*", paint(GREEN, padded)) } else { (" ", padded) };
        let apart = match (get("ahead"), get("behind")) {
            ("0" | "", "0" | "") => String::new(),
            (ahead, behind) => format!("[ahead {ahead}, behind {behind}] "),
        };
        let dirty = if get("dirty") == "t" { paint(RED, "+ ") } else { String::new() };
        let (hash, message) = (paint(YELLOW, short(get("hash"))), one_line(get("latest_message")));
        text.push_str(&format!("{mark} {name}  {hash} {dirty}{}{message}\n", paint(CYAN, apart)));
    }
    text
}

/// `branch x created (1a2b3c)`.
fn acted(outcome: &Outcome, what: &str, name: &str) -> String {
    let line = |row: usize| {
        let get = |column| cell(outcome, row, column).unwrap_or_default();
        let name = if name == "hash" { short(get("hash")) } else { get(name) };
        format!("{what} {}: {}\n", paint(BOLD, name), get("status"))
    };
    (0..outcome.rows.len()).map(line).collect()
}

fn sentence(outcome: &Outcome) -> String {
    let hash = cell(outcome, 0, "hash").map(short).unwrap_or_default();
    format!("{} ({})\n", cell(outcome, 0, "status").unwrap_or_default(), paint(YELLOW, hash))
}

fn committed(place: &Place, outcome: &Outcome) -> String {
    let count = |column| cell(outcome, 0, column).and_then(|c| c.parse::<i64>().ok()).unwrap_or(0);
    let hash = cell(outcome, 0, "hash").map(short).unwrap_or_default();
    format!(
        "[{} {}] {}: {} added, {} modified, {} deleted\n",
        paint(BOLD, &place.checkout.name),
        paint(YELLOW, hash),
        counted(count("tables_changed"), "table"),
        paint(GREEN, count("rows_added")),
        paint(YELLOW, count("rows_modified")),
        paint(RED, count("rows_deleted")),
    )
}

fn merged(outcome: &Outcome) -> String {
    let get = |column| cell(outcome, 0, column).unwrap_or_default();
    let mut text = format!("{} ({})\n", one_line(get("message")), paint(YELLOW, short(get("hash"))));
    if let Ok(conflicts @ 1..) = get("conflicts").parse::<i64>() {
        text.push_str(&format!(
            "{}\nSee `epoch conflicts`, resolve with `epoch conflicts resolve`, then `epoch merge --continue` or --abort.\n",
            paint(RED, format!("{} to resolve; nothing is merged yet", counted(conflicts, "conflict"))),
        ));
    }
    text
}

/// The notices said the rest.
fn picked(outcome: &Outcome) -> String {
    let hash = cell(outcome, 0, "hash").map(short).unwrap_or_default();
    format!("head is at {}\n", paint(YELLOW, hash))
}

fn rebased(outcome: &Outcome) -> String {
    let get = |column| cell(outcome, 0, column).unwrap_or_default();
    format!("{} ({})\n", one_line(get("message")), paint(YELLOW, short(get("hash"))))
}

/// A script.
fn statements(outcome: &Outcome) -> String {
    let lines = (0..outcome.rows.len()).filter_map(|row| cell(outcome, row, "statement"));
    lines.map(|statement| format!("{statement}\n")).collect()
}

fn resolved(outcome: &Outcome) -> String {
    let count = |column| cell(outcome, 0, column).and_then(|c| c.parse::<i64>().ok()).unwrap_or(0);
    format!("{} resolved, {} left\n", counted(count("resolved"), "conflict"), count("remaining"))
}
