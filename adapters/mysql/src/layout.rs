//! Names of our objects in a MySQL database.

use epoch_adapter::TableDef;

pub(crate) use epoch_layers::names::{
    LINEAGE, PENDING, PREFIX, equal, fill, history, list, literal, mask, matches, overlay, quote,
};

/// The user's table, quoted; it is in the connection's database.
pub(crate) fn base(table: &TableDef) -> String {
    quote(&table.location.table)
}
