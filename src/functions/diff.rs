//! Differences between two refs.

use std::sync::Arc;

use epoch_adapter::{RowChange, TableDef, Wanted};
use futures::{StreamExt, TryStreamExt, stream};

use super::args::Parsed;
use super::asked::{Push, Term};
use super::conflicts::cells;
use super::{Asked, Condition, RowStream, Rows, Session, columns, rows, text};
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
pub(super) async fn diff(session: &Session<'_>, args: &Parsed, asked: &Asked) -> Result<RowStream> {
    let range = range(session, args).await?;
    if let Some(name) = table_of(args) {
        let table = version(session, args, &name)?;
        let wanted = wanted(session, &table, asked)?;
        let changes =
            session.repository.diff_wanted(session.checkout, &range.from, &range.to, &table, &wanted).await?;
        return Ok(changes.map_ok(move |change| of_one(&table, &change)).boxed());
    }
    let tables = session.repository.changed_tables(session.checkout, &range.from, &range.to).await?;
    let (repository, checkout) = (session.repository.clone(), session.checkout.clone());
    let range = Arc::new(range);
    let of_table = move |table: Arc<TableDef>| {
        let (repository, checkout, range) = (repository.clone(), checkout.clone(), Arc::clone(&range));
        async move {
            let changes = repository.diff(&checkout, &range.from, &range.to, &table).await?;
            Ok::<_, Error>(changes.map_ok(move |change| of_all(&table, &change)))
        }
    };
    Ok(stream::iter(tables.into_iter().map(Ok)).and_then(of_table).try_flatten().boxed())
}

/// The column of the key that a term is. A row that is on one side only has no key on the other.
fn key_column(table: &TableDef, term: &Term) -> Option<usize> {
    let side = |name: &String| {
        let name = name.strip_prefix("to_").or_else(|| name.strip_prefix("from_"))?;
        table.schema.index_of(name)
    };
    let columns: Vec<usize> = term.iter().map(side).collect::<Option<_>>()?;
    let (first, rest) = columns.split_first()?;
    (rest.iter().all(|column| column == first) && table.schema.key.contains(first)).then_some(*first)
}

/// What the backend is asked for. A condition on one side's column of the key is one on the key: the row has no other
/// there.
fn wanted(session: &Session<'_>, table: &TableDef, asked: &Asked) -> Result<Wanted> {
    let column = |term: &Term| key_column(table, term);
    let backend = rows::backend(session.repository, table)?;
    let pushed = asked.push(&Push { table, backend: &*backend, column: &column });
    // A row that is on the other side only meets the condition on the key, but not on this side's column.
    let both = |term: &Term| term.len() == 2;
    let of_both = asked.conditions.iter().all(|condition| match condition {
        Condition::Compare(terms, ..) => terms.iter().all(both),
        Condition::In(term, _) => both(term),
    });
    let limit = asked.limit.filter(|_| pushed.whole && of_both && in_order(table, asked));
    Ok(Wanted { keys: pushed.predicates, limit, ..Wanted::default() })
}

/// Whether the order that is asked for is that of the key.
fn in_order(table: &TableDef, asked: &Asked) -> bool {
    // Texts the query may order otherwise than the backend.
    let natural = table.schema.key_columns().all(|c| c.data_type.is_integer());
    let mut keys = table.schema.key.iter();
    asked.order.is_empty()
        || (natural
            && asked.order.iter().all(|(term, falling)| {
                !falling && term.len() == 2 && key_column(table, term).as_ref() == keys.next()
            }))
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
