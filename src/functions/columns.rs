//! The columns of a result, known before anything runs.

use std::sync::Arc;

use epoch_adapter::TableDef;

use super::SqlType::{Int8, Jsonb, Text, TextArray};
use super::args::{Args, Parsed, parse};
use super::catalog::Function;
use super::{Column, Session, SqlType, known};
use crate::{Error, Result, sqlstate};

/// The columns that [`super::call`] returns. Needs the values of those arguments that name a table;
/// all others may be [`super::Arg::Null`] (parameters that aren't bound yet).
pub fn columns(session: &Session<'_>, name: &str, args: &Args) -> Result<Vec<Column>> {
    let function = known(name)?;
    if !function.columns.is_empty() {
        return Ok(fixed(function.columns));
    }
    of_tables(session, function, &parse(function, args)?)
}

fn of_tables(session: &Session<'_>, function: &Function, args: &Parsed) -> Result<Vec<Column>> {
    match function.name {
        "epoch_at" => Ok(at(&*table(session, &args.required("table")?)?)),
        "epoch_diff" => match super::diff::table_of(args) {
            Some(name) => Ok(diff(&*super::diff::version(session, args, &name)?)),
            None => Ok(fixed(DIFF_OF_ALL)),
        },
        "epoch_conflicts" => match args.text("table") {
            Some(name) => Ok(conflicts(&*in_conflict(session, &name)?)),
            None => Ok(fixed(CONFLICTS_OF_ALL)),
        },
        "epoch_history" => Ok(history(&*table(session, &args.required("table")?)?)),
        "epoch_blame" => Ok(blame(&*table(session, &args.required("table")?)?)),
        "epoch_all_branches" if args.flag("total") => Ok(fixed(&[("count", Int8)])),
        "epoch_all_branches" if args.flag("count") => Ok(fixed(&[("_branch", Text), ("count", Int8)])),
        "epoch_all_branches" => {
            let table = table(session, &args.required("table")?)?;
            Ok(std::iter::once(column("_branch", SqlType::Text)).chain(own(&table, "")).collect())
        }
        "epoch_preview_merge" => match args.text("table") {
            Some(name) => Ok(preview(&*table(session, &name)?)),
            None => Ok(fixed(PREVIEW_OF_ALL)),
        },
        other => Err(Error::internal(format!("{other} has no columns"))),
    }
}

/// A registered table by name; 42P01.
pub(super) fn table(session: &Session<'_>, name: &str) -> Result<Arc<TableDef>> {
    session.repository.find_table(session.checkout, name).ok_or_else(|| {
        Error::new(sqlstate::UNDEFINED_TABLE, format!("table \"{name}\" is not registered"))
            .with_hint("SELECT * FROM epoch.tables lists the registered ones, epoch_register adds one.")
    })
}

/// As [`table`], or a view or type that branches made, which may be in conflict as a whole.
pub(super) fn in_conflict(session: &Session<'_>, name: &str) -> Result<Arc<TableDef>> {
    table(session, name).or_else(|error| session.repository.find_rowless(name).ok_or(error))
}

fn fixed(columns: &[(&str, SqlType)]) -> Vec<Column> {
    columns.iter().map(|(name, ty)| column(*name, ty.clone())).collect()
}

fn column(name: impl Into<String>, ty: SqlType) -> Column {
    Column { name: name.into(), ty }
}

/// The table's columns, each under a prefix.
fn own<'a>(table: &'a TableDef, prefix: &'a str) -> impl Iterator<Item = Column> + 'a {
    let typed = move |c: &epoch_adapter::Column| {
        column(format!("{prefix}{}", c.name), SqlType::Named(c.pg_type.clone()))
    };
    table.schema.columns.iter().map(typed)
}

fn at(table: &TableDef) -> Vec<Column> {
    own(table, "").collect()
}

fn diff(table: &TableDef) -> Vec<Column> {
    let mut columns = vec![column("diff_type", SqlType::Text)];
    columns.extend(own(table, "from_"));
    columns.extend(own(table, "to_"));
    columns.push(column("changed_columns", SqlType::TextArray));
    columns
}

fn history(table: &TableDef) -> Vec<Column> {
    let mut columns = vec![
        column("commit_hash", SqlType::Text),
        column("author", SqlType::Text),
        column("date", SqlType::TimestampTz),
        column("diff_type", SqlType::Text),
    ];
    columns.extend(own(table, ""));
    columns
}

fn blame(table: &TableDef) -> Vec<Column> {
    let key = table.schema.key_columns();
    let mut columns: Vec<_> = key.map(|c| column(&c.name, SqlType::Named(c.pg_type.clone()))).collect();
    columns.extend([
        column("commit_hash", SqlType::Text),
        column("author", SqlType::Text),
        column("date", SqlType::TimestampTz),
        column("message", SqlType::Text),
    ]);
    columns
}

fn preview(table: &TableDef) -> Vec<Column> {
    let sides = ["base_", "our_", "their_", "result_"];
    let mut columns: Vec<_> = sides.into_iter().flat_map(|prefix| own(table, prefix)).collect();
    columns.push(column("conflict", SqlType::Text));
    columns
}

fn conflicts(table: &TableDef) -> Vec<Column> {
    let mut columns = vec![column("conflict_id", SqlType::Int8), column("kind", SqlType::Text)];
    for prefix in ["base_", "our_", "their_", "result_"] {
        columns.extend(own(table, prefix));
    }
    columns.push(column("conflicting_columns", SqlType::TextArray));
    columns.push(column("resolved", SqlType::Bool));
    columns
}

static PREVIEW_OF_ALL: &[(&str, SqlType)] = &[
    ("table_name", Text),
    ("rows_added", Int8),
    ("rows_modified", Int8),
    ("rows_deleted", Int8),
    ("conflicts", Int8),
    ("violations", Int8),
];

static DIFF_OF_ALL: &[(&str, SqlType)] = &[
    ("table_name", Text),
    ("location", Text),
    ("diff_type", Text),
    ("key", Jsonb),
    ("from_row", Jsonb),
    ("to_row", Jsonb),
    ("changed_columns", TextArray),
];

static CONFLICTS_OF_ALL: &[(&str, SqlType)] = &[("table_name", Text), ("num_conflicts", Int8)];
