//! Differences between two refs.

use std::sync::Arc;

use epoch_adapter::{RowChange, TableDef};
use futures::TryStreamExt;

use super::args::Parsed;
use super::conflicts::cells;
use super::{Rows, Session, columns, text};
use crate::operations::{Defined, DiffStat};
use crate::{Error, Result, sqlstate};

/// What is compared with what.
pub(super) struct Range {
    pub(super) from: String,
    pub(super) to: String,
}

/// The table that the arguments name. With a range as the first text, the second one is the table.
pub(super) fn table_of(args: &Parsed) -> Option<String> {
    match args.text("from") {
        Some(from) if is_range(&from) => args.text("table").or_else(|| args.text("to")),
        _ => args.text("table"),
    }
}

/// The table that is compared: of its versions the newest that one of the refs has.
pub(super) fn version(session: &Session<'_>, args: &Parsed, name: &str) -> Result<Arc<TableDef>> {
    let mut refs = Vec::new();
    for text in [args.text("from"), args.text("to")].into_iter().flatten() {
        refs.extend(text.split("..").map(|side| side.trim_start_matches('.').to_owned()));
    }
    match session.repository.find_version(session.checkout, &refs, name) {
        Some(table) => Ok(table),
        None => columns::table(session, name),
    }
}

fn is_range(text: &str) -> bool {
    text.contains("..")
}

/// The two sides. `a...b` starts at the merge base of both; an empty side of a range is HEAD.
pub(super) async fn range(session: &Session<'_>, args: &Parsed) -> Result<Range> {
    let from = args.text("from");
    let Some(text) = from.as_deref().filter(|text| is_range(text)) else {
        let or = |given: Option<String>, default: &str| given.unwrap_or_else(|| default.to_owned());
        return Ok(Range { from: or(from, "HEAD"), to: or(args.text("to"), "WORKING") });
    };
    if args.text("to").is_some() && args.text("table").is_some() {
        return Err(args.invalid(format!("\"{text}\" is a range already, only a table can follow")));
    }
    let side = |text: &str| if text.is_empty() { "HEAD".to_owned() } else { text.to_owned() };
    if let Some((a, b)) = text.split_once("...") {
        let (a, b) = (side(a), side(b));
        let base = session.repository.merge_base(session.checkout, &a, &b).await?;
        let none = || {
            Error::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("\"{a}\" and \"{b}\" have no common ancestor"),
            )
        };
        return Ok(Range { from: base.ok_or_else(none)?, to: b });
    }
    let (a, b) = text.split_once("..").unwrap_or((text, ""));
    Ok(Range { from: side(a), to: side(b) })
}

/// `epoch_diff`.
pub(super) async fn diff(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let range = range(session, args).await?;
    match table_of(args) {
        Some(name) => {
            let table = version(session, args, &name)?;
            changes(session, &range, &table, of_one).await
        }
        None => {
            let mut rows = Rows::new();
            for table in changed(session, &range).await? {
                rows.extend(changes(session, &range, &table, of_all).await?);
            }
            Ok(rows)
        }
    }
}

async fn changed(session: &Session<'_>, range: &Range) -> Result<Vec<Arc<TableDef>>> {
    session.repository.changed_tables(session.checkout, &range.from, &range.to).await
}

async fn changes(
    session: &Session<'_>,
    range: &Range,
    table: &TableDef,
    print: fn(&TableDef, &RowChange) -> Vec<Option<String>>,
) -> Result<Rows> {
    let stream = session.repository.diff(session.checkout, &range.from, &range.to, table).await?;
    stream.map_ok(|change| print(table, &change)).try_collect().await
}

/// A row of the diff of one table, with its own columns.
fn of_one(table: &TableDef, change: &RowChange) -> Vec<Option<String>> {
    let mut row = vec![Some(change.kind().as_str().to_owned())];
    row.extend(cells(table, change.before.as_ref()));
    row.extend(cells(table, change.after.as_ref()));
    row.push(Some(text::array(&changed_columns(table, change))));
    row
}

/// A row of the diff of all tables.
fn of_all(table: &TableDef, change: &RowChange) -> Vec<Option<String>> {
    let json = |row: &Option<epoch_adapter::Row>| row.as_ref().map(|row| text::row_json(&table.schema, row));
    vec![
        Some(table.name.to_string()),
        Some(table.location.home().to_string()),
        Some(change.kind().as_str().to_owned()),
        Some(text::key_json(&table.schema, &change.key)),
        json(&change.before),
        json(&change.after),
        Some(text::array(&changed_columns(table, change))),
    ]
}

/// The columns whose values differ; none if the row is only on one side.
fn changed_columns<'a>(table: &'a TableDef, change: &RowChange) -> Vec<&'a str> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return Vec::new() };
    let columns = table.schema.columns.iter().zip(before.iter().zip(after));
    columns.filter(|(_, (before, after))| before != after).map(|(column, _)| column.name.as_str()).collect()
}

/// `epoch_diff_stat`.
pub(super) async fn stat(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let range = range(session, args).await?;
    let table = table_of(args).map(|name| columns::table(session, &name)).transpose()?;
    let table = table.map(|table| table.name.to_string());
    let stats =
        session.repository.diff_stat(session.checkout, &range.from, &range.to, table.as_deref()).await?;
    let row = |d: DiffStat| {
        vec![
            Some(d.table.name.to_string()),
            Some(d.table.location.home().to_string()),
            Some(d.rows_unmodified.to_string()),
            Some(d.stats.added.to_string()),
            Some(d.stats.removed.to_string()),
            Some(d.stats.modified.to_string()),
            Some(d.stats.cells.to_string()),
        ]
    };
    Ok(stats.into_iter().map(row).collect())
}

/// `epoch_diff_summary`.
pub(super) async fn summary(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let range = range(session, args).await?;
    let stats = session.repository.diff_stat(session.checkout, &range.from, &range.to, None).await?;
    let row = |d: DiffStat| {
        vec![
            Some(d.table.name.to_string()),
            Some(d.table.location.home().to_string()),
            Some(
                match d.defined {
                    Defined::Same | Defined::Altered => "modified",
                    Defined::Added => "added",
                    Defined::Removed => "removed",
                }
                .to_owned(),
            ),
            Some(text::boolean(d.stats.rows() > 0)),
            Some(text::boolean(d.defined != Defined::Same)),
        ]
    };
    Ok(stats.into_iter().map(row).collect())
}
