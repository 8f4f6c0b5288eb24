//! Conflicts of the merge that waits on the session's branch.

use std::collections::BTreeMap;

use epoch_adapter::{Row, TableDef, Value};

use super::args::{Arg, Parsed};
use super::{Outcome, Rows, Session, columns, text};
use crate::operations::{Conflict, Resolution, Side};
use crate::{Error, Result, sqlstate};

/// `epoch.conflicts` and `epoch_conflicts([table])`.
pub(super) async fn conflicts(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let Some(table) = args.text("table") else {
        return counts(session).await;
    };
    let table = columns::in_conflict(session, &table)?;
    let found = session.repository.conflicts(session.checkout, Some(&table.name.to_string())).await?;
    let row = |conflict: &Conflict| {
        // Of an unrelated version nothing is known, but a row has all its cells.
        let places = session.repository.columns_in(&table, &conflict.table);
        let places = places.unwrap_or_else(|| vec![None; table.schema.columns.len()]);
        row(&table, &places, conflict)
    };
    Ok(found.iter().map(row).collect())
}

/// Open conflicts per table.
async fn counts(session: &Session<'_>) -> Result<Rows> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for conflict in session.repository.conflicts(session.checkout, None).await? {
        *counts.entry(conflict.table.name.to_string()).or_default() += i64::from(!conflict.resolved);
    }
    let open = counts.into_iter().filter(|(_, count)| *count > 0);
    Ok(open.map(|(table, count)| vec![Some(table), Some(count.to_string())]).collect())
}

/// In the columns of the session's version, which the merge may have given others.
fn row(table: &TableDef, places: &[Option<usize>], conflict: &Conflict) -> Vec<Option<String>> {
    let mut row = vec![Some(conflict.id.to_string()), Some(conflict.kind.as_str().to_owned())];
    for side in [&conflict.base, &conflict.ours, &conflict.theirs, &conflict.result] {
        row.extend(cells_at(table, places, side.as_ref()));
    }
    row.push(Some(text::array(&conflict.columns)));
    row.push(Some(text::boolean(conflict.resolved)));
    row
}

/// A row's cells; NULLs if there is no row.
pub(super) fn cells(table: &TableDef, row: Option<&Row>) -> impl Iterator<Item = Option<String>> {
    let columns = table.schema.columns.iter().enumerate();
    columns.map(move |(i, column)| text::value(column, row?.get(i)?))
}

/// As [`cells`], which are at these places in the row.
pub(super) fn cells_at(
    table: &TableDef,
    places: &[Option<usize>],
    row: Option<&Row>,
) -> impl Iterator<Item = Option<String>> {
    let columns = table.schema.columns.iter().zip(places);
    columns.map(move |(column, place)| text::value(column, row?.get((*place)?)?))
}

/// `epoch_conflicts_resolve`.
pub(super) async fn resolve(session: &Session<'_>, args: &Parsed) -> Result<Outcome> {
    let (side, positional) = side(args)?;
    // With '--ours' and its like the side isn't positional: the first text is the table.
    let table = args.text(if positional { "table" } else { "side" });
    let key = args.list("key");
    let key = (!key.is_empty()).then_some(key);
    let column = args.text("column");
    if !positional && args.text("table").is_some() && args.text("side").is_some() {
        return Err(args.invalid("name the table, key and column after the side, or as table => …"));
    }
    let table = table.or_else(|| args.text("table"));
    if key.is_some() && table.is_none() {
        return Err(args.missing("table"));
    }
    let side = match side.as_str() {
        "ours" => Side::Ours,
        "theirs" => Side::Theirs,
        "base" => Side::Base,
        _ => Side::Value(value(session, args, table.as_deref(), column.as_deref())?),
    };
    let resolution = Resolution { side, table, key, column };
    let done = session.repository.resolve_conflicts(session.checkout, &resolution).await?;
    let notices = match session.repository.waits(session.checkout).await? {
        Some(verb) if done.remaining == 0 && done.resolved > 0 => {
            vec![format!("all conflicts are resolved: {}('--continue') finishes", verb.function())]
        }
        _ => Vec::new(),
    };
    let rows = vec![vec![Some(done.resolved.to_string()), Some(done.remaining.to_string())]];
    Ok(Outcome { rows, notices, ..Outcome::default() })
}

/// The side, and whether it came as a positional argument.
fn side(args: &Parsed) -> Result<(String, bool)> {
    let flags: Vec<&str> = ["ours", "theirs", "base"].into_iter().filter(|f| args.flag(f)).collect();
    match flags.as_slice() {
        [flag] => Ok(((*flag).to_owned(), false)),
        [] => {
            let side = args.required("side")?;
            match side.as_str() {
                "ours" | "theirs" | "base" | "value" => Ok((side, true)),
                _ => Err(args.invalid(format!("invalid side \"{side}\""))),
            }
        }
        _ => Err(args.invalid("only one of --ours, --theirs and --base can be given")),
    }
}

/// The user's value in the form in which the table's backend keeps the column.
fn value(session: &Session<'_>, args: &Parsed, table: Option<&str>, column: Option<&str>) -> Result<Value> {
    let table = columns::table(session, table.ok_or_else(|| args.missing("table"))?)?;
    let name = column.ok_or_else(|| args.missing("column"))?;
    let index = table.schema.index_of(name);
    let column = index.and_then(|i| table.schema.columns.get(i)).ok_or_else(|| {
        Error::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{name}\" of table \"{}\" does not exist", table.name),
        )
    })?;
    match args.raw("value") {
        None => Err(args.missing("value")),
        Some(Arg::Null) => Ok(Value::Null),
        Some(_) => {
            let text = args.required("value")?;
            text::typed(table.location.kind, column, &text)
        }
    }
}
