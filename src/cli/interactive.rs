//! `epoch conflicts resolve --interactive`: one conflict after the other.

use std::io::BufRead;

use clap::ArgMatches;

use super::Done;
use super::output::{BOLD, CYAN, DIM, GREEN, Output, RED, cell, counted, one_line, paint};
use super::place::Place;
use crate::functions::{Arg, Args, Outcome};
use crate::operations::{Conflict, ConflictKind};
use crate::{Error, Result, sqlstate};

/// What is done about a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Side(&'static str),
    /// Column by column.
    Columns,
    Skip,
    Quit,
}

/// Shows each open conflict, of all tables or of one, and asks what to take.
pub(super) async fn resolve(place: &Place, matches: &ArgMatches, output: &Output) -> Result<Done> {
    // Nothing else can be meant by a single word.
    let table = ["table", "side"].iter().find_map(|id| matches.get_one::<String>(id)).map(String::as_str);
    let open = place.repository.conflicts(&place.checkout, table).await?;
    let open: Vec<Conflict> = open.into_iter().filter(|c| !c.resolved).collect();
    let mut shown = Shown::default();
    let mut input = std::io::stdin().lock();
    let (mut done, total) = (0, open.len());
    for (n, conflict) in open.iter().enumerate() {
        let row = shown.of(place, conflict).await?;
        output.print(&describe(&shown, row, conflict, (n + 1, total)))?;
        match ask(&mut input, output, conflict)? {
            Answer::Quit => break,
            Answer::Skip => {}
            Answer::Side(side) => {
                take(place, conflict, None, side, None).await?;
                done += 1;
            }
            Answer::Columns => done += i64::from(columns(place, &mut input, output, conflict).await?),
        }
    }
    let left =
        place.repository.conflicts(&place.checkout, None).await?.iter().filter(|c| !c.resolved).count();
    output.print(&format!("{} resolved, {left} left\n", counted(done, "conflict")))?;
    Ok(if left > 0 { Done::Conflicts } else { Done::Well })
}

/// The conflicts of one table as results show them.
#[derive(Default)]
struct Shown {
    table: String,
    outcome: Outcome,
}

impl Shown {
    /// The row of a conflict.
    async fn of(&mut self, place: &Place, conflict: &Conflict) -> Result<usize> {
        let name = conflict.table.name.to_string();
        if self.table != name {
            let args = Args::default().with("table", Arg::Text(name.clone()));
            self.outcome = place.call("epoch_conflicts", &args).await?;
            self.table = name;
        }
        let id = conflict.id.to_string();
        let mut rows = 0..self.outcome.rows.len();
        rows.find(|row| cell(&self.outcome, *row, "conflict_id") == Some(&id))
            .ok_or_else(|| Error::internal("a conflict is not shown"))
    }
}

fn key_of(conflict: &Conflict) -> Vec<String> {
    conflict.key.iter().map(|value| value.to_text().unwrap_or_default()).collect()
}

/// Key, kind, and what each side has: in the columns that conflict, or in all of them.
fn describe(shown: &Shown, row: usize, conflict: &Conflict, (n, total): (usize, usize)) -> String {
    let keys = conflict.table.schema.key_columns().zip(key_of(conflict));
    let key: Vec<String> =
        keys.map(|(column, text)| format!("{}={}", column.name, one_line(&text))).collect();
    let mut text = format!(
        "{} {}  {}  {}\n",
        paint(DIM, format!("{n}/{total}")),
        paint(BOLD, &shown.table),
        key.join("  "),
        paint(RED, conflict.kind.as_str())
    );
    if conflict.kind == ConflictKind::Schema {
        let parts: Vec<String> = conflict.columns.iter().map(|part| one_line(part)).collect();
        let what = if parts.is_empty() { "the whole of it".to_owned() } else { parts.join(", ") };
        text.push_str(&format!("  {}  {what}\n", paint(CYAN, "differs")));
        return text;
    }
    let columns: Vec<&str> = match conflict.columns.as_slice() {
        [] => conflict.table.schema.columns.iter().map(|c| c.name.as_str()).collect(),
        columns => columns.iter().map(String::as_str).collect(),
    };
    let sides = [
        ("base", "base", &conflict.base),
        ("our", "ours", &conflict.ours),
        ("their", "theirs", &conflict.theirs),
    ];
    for (prefix, name, there) in sides {
        let cells = columns.iter().map(|column| {
            let value = cell(&shown.outcome, row, &format!("{prefix}_{column}"));
            format!("{column}={}", value.map_or("NULL".to_owned(), one_line))
        });
        let cells = cells.collect::<Vec<_>>().join("  ");
        let cells = if there.is_some() { cells } else { "no row".to_owned() };
        let style = if name == "base" { DIM } else { CYAN };
        text.push_str(&format!("  {}  {cells}\n", paint(style, format!("{name:<6}"))));
    }
    text
}

fn prompt(output: &Output, text: &str, input: &mut impl BufRead) -> Result<Option<String>> {
    output.print(text)?;
    let mut line = String::new();
    let failed = |e: std::io::Error| Error::new(sqlstate::IO_ERROR, format!("cannot read an answer: {e}"));
    if input.read_line(&mut line).map_err(failed)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}

fn ask(input: &mut impl BufRead, output: &Output, conflict: &Conflict) -> Result<Answer> {
    let offers = offers(conflict.kind, !conflict.columns.is_empty());
    let question = match (offers(&Answer::Side("base")), offers(&Answer::Columns)) {
        (true, true) => "take [o]urs, [t]heirs, [b]ase, [c]olumn by column, [s]kip, [q]uit? ",
        (true, false) => "take [o]urs, [t]heirs, [b]ase, [s]kip, [q]uit? ",
        _ => "take [o]urs, [t]heirs, [s]kip, [q]uit? ",
    };
    loop {
        // The end of the input is no answer to what is left.
        let Some(line) = prompt(output, question, input)? else { return Ok(Answer::Quit) };
        if let Some(answer) = answer(&line).filter(&offers) {
            return Ok(answer);
        }
    }
}

/// What can be answered: what is in conflict as a whole is ours or theirs.
fn offers(kind: ConflictKind, has_columns: bool) -> impl Fn(&Answer) -> bool {
    let whole = kind == ConflictKind::Schema;
    move |answer| match answer {
        Answer::Side("base") => !whole,
        Answer::Columns => !whole && has_columns,
        _ => true,
    }
}

fn answer(line: &str) -> Option<Answer> {
    Some(match line.trim() {
        "o" | "ours" => Answer::Side("ours"),
        "t" | "theirs" => Answer::Side("theirs"),
        "b" | "base" => Answer::Side("base"),
        "c" | "column" => Answer::Columns,
        "s" | "skip" => Answer::Skip,
        "q" | "quit" => Answer::Quit,
        _ => return None,
    })
}

/// Asks for each column that conflicts; whether all were answered.
async fn columns(
    place: &Place,
    input: &mut impl BufRead,
    output: &Output,
    conflict: &Conflict,
) -> Result<bool> {
    let mut all = true;
    for column in &conflict.columns {
        let question =
            format!("  {}: [o]urs, [t]heirs, [b]ase, =VALUE, \\N for NULL, [s]kip? ", paint(GREEN, column));
        loop {
            let Some(line) = prompt(output, &question, input)? else { return Ok(false) };
            let taken = match (line.strip_prefix('='), line.as_str(), answer(&line)) {
                (Some(value), ..) => {
                    take(place, conflict, Some(column), "value", Some(Arg::Text(value.to_owned()))).await
                }
                (None, "\\N", _) => take(place, conflict, Some(column), "value", Some(Arg::Null)).await,
                (None, _, Some(Answer::Side(side))) => take(place, conflict, Some(column), side, None).await,
                (None, _, Some(Answer::Skip | Answer::Quit)) => {
                    all = false;
                    break;
                }
                _ => continue,
            };
            match taken {
                Ok(()) => break,
                // Something that the column can't hold: ask again.
                Err(error) if error.code().starts_with("22") => output.error(&error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(all)
}

async fn take(
    place: &Place,
    conflict: &Conflict,
    column: Option<&String>,
    side: &str,
    value: Option<Arg>,
) -> Result<()> {
    let mut args = Args::default()
        .with("side", Arg::Text(side.to_owned()))
        .with("table", Arg::Text(conflict.table.name.to_string()))
        .with("key", Arg::Array(key_of(conflict)));
    if let Some(column) = column {
        args = args.with("column", Arg::Text(column.clone()));
    }
    if let Some(value) = value {
        args = args.with("value", value);
    }
    place.call("epoch_conflicts_resolve", &args).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_conflict_as_a_whole_is_ours_or_theirs() {
        let of_rows = offers(ConflictKind::ModifyModify, true);
        let of_views = offers(ConflictKind::Schema, true);
        for (line, rows, views) in
            [("o", true, true), ("t", true, true), ("b", true, false), ("c", true, false), ("s", true, true)]
        {
            let found = answer(line);
            assert_eq!(found.as_ref().map(&of_rows), Some(rows), "{line}");
            assert_eq!(found.as_ref().map(&of_views), Some(views), "{line}");
        }
        assert!(!offers(ConflictKind::ModifyDelete, false)(&Answer::Columns));
    }

    #[test]
    fn answers_are_letters_or_words() {
        assert_eq!(answer(" o "), Some(Answer::Side("ours")));
        assert_eq!(answer("theirs"), Some(Answer::Side("theirs")));
        assert_eq!(answer("c"), Some(Answer::Columns));
        for line in ["", "x", "O", "our"] {
            assert_eq!(answer(line), None, "{line}");
        }
    }
}
