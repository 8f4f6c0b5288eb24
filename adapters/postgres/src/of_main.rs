//! What main has of a table: the base and the history of main's changes. Of a table with several versions, these are
//! where other versions are, or were, main's; they are seen through the columns that this version has.
//!
//! No views of the server's: main's own ALTER TABLE would fail because of them. A sub-select without a condition
//! is pulled up, so that index scans of the base below it are as for the base itself.

use epoch_adapter::{Location, Origin, TableDef, TableId};

use crate::layout::{SCHEMA, base, history, quote};
use crate::text::join;

/// The table with main's rows, as something to select the table's columns from.
pub(crate) fn rows(table: &TableDef) -> String {
    match table.source.as_ref().and_then(|source| source.rows.as_ref()) {
        None => base(table),
        Some((location, origins)) => {
            format!("(SELECT {} FROM {} epoch_s)", columns(table, origins, "epoch_s"), place(location))
        }
    }
}

/// Main's history: the table's columns and those of ours. (With that of others, where there is no source.)
pub(crate) fn images(table: &TableDef) -> String {
    let parts = parts_of_images(table);
    match parts.as_slice() {
        [one] => one.clone(),
        // In parentheses as they are.
        _ => format!("({})", parts.join(" UNION ALL ")),
    }
}

/// The relations that main's history is made of.
pub(crate) fn parts_of_images(table: &TableDef) -> Vec<String> {
    let Some(source) = &table.source else { return vec![history(table)] };
    source.images.iter().map(|(id, origins)| images_of(table, *id, origins)).collect()
}

fn images_of(table: &TableDef, id: TableId, origins: &[Origin]) -> String {
    format!(
        "(SELECT epoch_s.epoch_lineage, {}, epoch_s.epoch_existed, epoch_s.epoch_seq, epoch_s.epoch_xid, \
         epoch_s.epoch_from, epoch_s.epoch_to FROM {SCHEMA}.history_{} epoch_s)",
        columns(table, origins, "epoch_s"),
        id.0
    )
}

/// A place, quoted and qualified.
pub(crate) fn place(location: &Location) -> String {
    let schema = location.schema.as_deref().unwrap_or("public");
    format!("{}.{}", quote(schema), quote(&location.table))
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
