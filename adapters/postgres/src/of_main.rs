//! What main has of a table: the base and the history of main's changes. Of a revision, those of the first
//! version of the table, seen through the columns that the revision has.
//!
//! No views of the server's: main's own ALTER TABLE would fail because of them. A sub-select without a condition
//! is pulled up, so that index scans of the base below it are as for the base itself.

use epoch_adapter::{Origin, Source, TableDef};

use crate::layout::{SCHEMA, base, history, quote};
use crate::text::join;

/// The table with main's rows, as something to select the table's columns from.
pub(crate) fn rows(table: &TableDef) -> String {
    match &table.source {
        None => base(table),
        Some(source) => format!("(SELECT {} FROM {} epoch_s)", seen(table, source), place(source)),
    }
}

/// Main's history: the table's columns and those of ours. (With that of others, where there is no source.)
pub(crate) fn images(table: &TableDef) -> String {
    match &table.source {
        None => history(table),
        Some(source) => format!(
            "(SELECT epoch_s.epoch_lineage, {}, epoch_s.epoch_existed, epoch_s.epoch_seq, epoch_s.epoch_xid, \
             epoch_s.epoch_from, epoch_s.epoch_to FROM {SCHEMA}.history_{} epoch_s)",
            seen(table, source),
            source.table.0
        ),
    }
}

/// The place of a source, quoted and qualified.
pub(crate) fn place(source: &Source) -> String {
    let schema = source.location.schema.as_deref().unwrap_or("public");
    format!("{}.{}", quote(schema), quote(&source.location.table))
}

fn seen(table: &TableDef, source: &Source) -> String {
    columns(table, &source.columns, "epoch_s")
}

/// A table's columns, from those of another table under an alias.
pub(crate) fn columns(table: &TableDef, origins: &[Origin], alias: &str) -> String {
    join(table.schema.columns.iter().zip(origins), ", ", |(column, origin)| {
        format!("{} AS {}", expression(origin, alias), quote(&column.name))
    })
}

/// The value of a column.
pub(crate) fn expression(origin: &Origin, alias: &str) -> String {
    match origin {
        Origin::Value(value) => value.clone(),
        Origin::Column { name, casts } => {
            casts.iter().fold(format!("{alias}.{}", quote(name)), |value, cast| format!("{value}::{cast}"))
        }
    }
}
