//! UPDATE and DELETE of `epoch.conflicts`.

use epoch_adapter::{Column, Row, TableDef, Value};

use super::args::{Arg, Args};
use super::{Session, audited, columns, text};
use crate::operations::{Conflict, Side};
use crate::{Error, Result, sqlstate};

/// What becomes of one conflict: of its whole row, or of a column.
type Choices = Vec<(Option<String>, Side)>;

/// Runs an UPDATE of `epoch.conflicts`, or a DELETE, of which `args` say what it sets and where (see
/// [`crate::query`]). How many conflicts it was about, and what there is to say.
pub async fn write_conflicts(session: &Session<'_>, delete: bool, args: &Args) -> Result<(u64, Vec<String>)> {
    let what = if delete { "DELETE FROM epoch.conflicts" } else { "UPDATE epoch.conflicts" };
    if let Some((_, Arg::Text(construct))) = args.named.iter().find(|(name, _)| name == "refused") {
        return Err(Error::unsupported(format!("{construct} of {what}")).with_hint(
            "SET takes constants and columns; WHERE takes columns that are equal to constants, joined by AND.",
        ));
    }
    super::check_writable(session, what)?;
    let repository = session.repository.noting(what, &audited::shown(args), Some(session.checkout));
    let inner = Session { repository: &repository, author: session.author.clone(), ..*session };
    let outcome = resolve(&inner, delete, args).await;
    repository.settle(outcome.as_ref().err()).await;
    outcome
}

async fn resolve(session: &Session<'_>, delete: bool, args: &Args) -> Result<(u64, Vec<String>)> {
    let conditions: Vec<(&str, &Arg)> =
        args.named.iter().filter_map(|(name, arg)| Some((name.strip_prefix("where ")?, arg))).collect();
    let wanted = match conditions.iter().find(|(name, _)| *name == "table_name") {
        // One that the branch doesn't have may be in conflict, too.
        Some((_, Arg::Text(name))) => Some(name.clone()),
        _ => None,
    };
    let conflicts = session.repository.conflicts(session.checkout, wanted.as_deref()).await?;
    check_columns(&conflicts, &conditions)?;
    let mut choices = Vec::new();
    for conflict in &conflicts {
        if conditions.iter().all(|(name, arg)| meets(session, conflict, name, arg)) {
            let sides = if delete { Vec::new() } else { sides(conflict, args)? };
            choices.push((conflict.id, sides));
        }
    }
    let count = choices.len() as u64;
    if choices.is_empty() {
        return Ok((0, Vec::new()));
    }
    let done = session.repository.resolve_these(session.checkout, &choices).await?;
    let notices = match session.repository.waits(session.checkout).await? {
        Some(verb) if done.remaining == 0 && done.resolved > 0 => {
            vec![format!("all conflicts are resolved: {}('--continue') finishes", verb.function())]
        }
        _ => Vec::new(),
    };
    Ok((count, notices))
}

/// The columns that every conflict has.
const OF_ALL: [&str; 3] = ["table_name", "conflict_id", "kind"];

/// 42703 for a column that no conflict has.
fn check_columns(conflicts: &[Conflict], conditions: &[(&str, &Arg)]) -> Result<()> {
    for (name, _) in conditions {
        let known = |c: &Conflict| OF_ALL.contains(name) || place(&c.table, name).is_some();
        if !conflicts.is_empty() && !conflicts.iter().any(known) {
            return Err(undefined(name));
        }
    }
    Ok(())
}

fn undefined(name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{name}\" of relation \"conflicts\" does not exist"))
        .with_hint(
            "It has table_name, conflict_id, kind, resolution, the key's columns, and base_…, our_…, their_… and result_… for all.",
        )
}

/// A side of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Base,
    Ours,
    Theirs,
    Result,
    Key,
}

/// The side and place of a column: `our_n`, or, of the key, `id`.
fn place(table: &TableDef, name: &str) -> Option<(Of, usize)> {
    let sides = [("base_", Of::Base), ("our_", Of::Ours), ("their_", Of::Theirs), ("result_", Of::Result)];
    let found =
        sides.iter().find_map(|(prefix, of)| Some((*of, table.schema.index_of(name.strip_prefix(prefix)?)?)));
    found.or_else(|| {
        let i = table.schema.index_of(name)?;
        table.schema.key.contains(&i).then_some((Of::Key, i))
    })
}

fn cell(conflict: &Conflict, of: Of, i: usize) -> Option<Value> {
    let at = |row: &Option<Row>| row.as_ref()?.get(i).cloned();
    match of {
        Of::Base => at(&conflict.base),
        Of::Ours => at(&conflict.ours),
        Of::Theirs => at(&conflict.theirs),
        Of::Result => at(&conflict.result),
        Of::Key => {
            let place = conflict.table.schema.key.iter().position(|k| *k == i)?;
            conflict.key.get(place).cloned()
        }
    }
}

/// Whether a column of a conflict is equal to a constant, or one of several. NULL is equal to nothing.
fn meets(session: &Session<'_>, conflict: &Conflict, name: &str, arg: &Arg) -> bool {
    let wanted: Vec<String> = match arg {
        Arg::Null => return false,
        Arg::Array(items) => items.clone(),
        other => other.as_text().map(|text| text.into_owned()).into_iter().collect(),
    };
    wanted.iter().any(|wanted| match name {
        "table_name" => columns::in_conflict(session, wanted).is_ok_and(|t| t.name == conflict.table.name),
        "conflict_id" => wanted.trim().parse() == Ok(conflict.id),
        "kind" => *wanted == conflict.kind.as_str(),
        _ => is_value(conflict, name, wanted),
    })
}

fn is_value(conflict: &Conflict, name: &str, wanted: &str) -> bool {
    let Some((of, i)) = place(&conflict.table, name) else { return false };
    let (Some(value), Some(column)) = (cell(conflict, of, i), conflict.table.schema.columns.get(i)) else {
        return false;
    };
    if value.is_null() {
        return false;
    }
    text::value(column, &value).as_deref() == Some(wanted)
        || text::typed(conflict.table.location.kind, column, wanted).is_ok_and(|typed| typed == value)
}

/// What an UPDATE makes of a conflict.
fn sides(conflict: &Conflict, args: &Args) -> Result<Choices> {
    let mut choices = Choices::new();
    for (name, arg) in &args.named {
        if let Some(column) = name.strip_prefix("set ") {
            choices.push(of_constant(conflict, column, arg)?);
        } else if let Some(column) = name.strip_prefix("take ") {
            choices.push(of_column(conflict, column, arg)?);
        }
    }
    Ok(choices)
}

fn of_constant(conflict: &Conflict, name: &str, arg: &Arg) -> Result<(Option<String>, Side)> {
    if name == "resolution" {
        let side = match arg {
            Arg::Text(side) => side.as_str(),
            _ => "NULL",
        };
        return match side {
            "ours" => Ok((None, Side::Ours)),
            "theirs" => Ok((None, Side::Theirs)),
            "base" => Ok((None, Side::Base)),
            other => {
                Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid resolution \"{other}\""))
                    .with_hint("Resolutions are ours, theirs and base; set our_… columns to other values."))
            }
        };
    }
    let column = settable(conflict, name)?;
    let value = match arg.as_text() {
        None => Value::Null,
        Some(text) => text::typed(conflict.table.location.kind, column, &text)?,
    };
    Ok((Some(column.name.clone()), Side::Value(value)))
}

/// `our_n = their_n`, or any other column.
fn of_column(conflict: &Conflict, name: &str, arg: &Arg) -> Result<(Option<String>, Side)> {
    let Arg::Text(other) = arg else { return Err(Error::internal("a column without a name")) };
    let column = settable(conflict, name)?;
    let (of, i) = place(&conflict.table, other).ok_or_else(|| undefined(other))?;
    let same = conflict.table.schema.index_of(&column.name) == Some(i);
    let side = match of {
        Of::Base if same => Side::Base,
        Of::Ours if same => Side::Ours,
        Of::Theirs if same => Side::Theirs,
        of => Side::Value(cell(conflict, of, i).unwrap_or(Value::Null)),
    };
    Ok((Some(column.name.clone()), side))
}

/// The column that `our_n` sets.
fn settable<'a>(conflict: &'a Conflict, name: &str) -> Result<&'a Column> {
    match place(&conflict.table, name) {
        Some((Of::Ours, i)) => conflict.table.schema.columns.get(i).ok_or_else(|| undefined(name)),
        Some(_) => {
            let message = format!("column \"{name}\" of relation \"conflicts\" cannot be set");
            Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message)
                .with_hint("Set resolution, or the our_… columns that are in conflict."))
        }
        None => Err(undefined(name)),
    }
}
