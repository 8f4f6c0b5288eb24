//! Names of our objects in a SQLite file, and quoting.

use epoch_adapter::{TableDef, TableId};

/// The prefix of everything of ours; a user's table must not start with it.
pub(crate) const PREFIX: &str = "epoch_";
/// The hidden column with the branch's lineage, in overlay, mask and history.
pub(crate) const LINEAGE: &str = "epoch_lineage";
/// `epoch_to` of pending history.
pub(crate) const PENDING: i64 = i64::MAX;

/// Quotes an identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The user's table, quoted. `main.` keeps a temporary table from shadowing it.
pub(crate) fn base(table: &TableDef) -> String {
    format!("main.{}", quote(&table.location.table))
}

pub(crate) fn overlay(id: TableId) -> String {
    format!("epoch_overlay_{}", id.0)
}

pub(crate) fn mask(id: TableId) -> String {
    format!("epoch_mask_{}", id.0)
}

pub(crate) fn history(id: TableId) -> String {
    format!("epoch_history_{}", id.0)
}

/// `a."k1" IS/= b."k1" AND …` over the given columns.
pub(crate) fn equal(columns: &[String], left: &str, right: &str) -> String {
    let one = |c: &String| format!("{left}.{c} = {right}.{c}", c = quote(c));
    columns.iter().map(one).collect::<Vec<_>>().join(" AND ")
}

/// `p."a", p."b"`, without the prefix if `alias` is empty.
pub(crate) fn list<'a>(alias: &str, columns: impl IntoIterator<Item = &'a str>) -> String {
    let dot = if alias.is_empty() { String::new() } else { format!("{alias}.") };
    columns.into_iter().map(|c| format!("{dot}{}", quote(c))).collect::<Vec<_>>().join(", ")
}
