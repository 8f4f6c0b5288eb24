//! Names of our objects in a SQLite file, and quoting.

use epoch_adapter::TableDef;

pub(crate) use epoch_layers::names::{
    LINEAGE, PENDING, PREFIX, equal, fill, history, list, literal, mask, matches, overlay, quote,
};

/// The user's table, quoted. `main.` keeps a temporary table from shadowing it.
pub(crate) fn base(table: &TableDef) -> String {
    format!("main.{}", quote(&table.location.table))
}
