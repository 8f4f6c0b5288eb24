//! Names of our objects in a SQL Server database: they are in a schema of their own, but for the triggers, which must be
//! in their table's.

use epoch_adapter::{Location, TableDef, TableId};

pub(crate) use epoch_layers::names::{LINEAGE, PREFIX, fill, matches};
use epoch_layers::view::Dialect;

/// The schema with everything of ours.
pub(crate) const SCHEMA: &str = "epoch";
/// The schema of tables whose location names none.
pub(crate) const DEFAULT_SCHEMA: &str = "dbo";

/// `epoch_to` of pending history.
pub(crate) const PENDING: &str = Dialect::SqlServer.pending();

/// Quotes an identifier.
pub(crate) fn quote(name: &str) -> String {
    Dialect::SqlServer.quote(name)
}

/// A literal of `nvarchar`.
pub(crate) fn literal(text: &str) -> String {
    format!("N{}", epoch_layers::names::literal(text))
}

/// `[p].[a], [p].[b]`, without the prefix if `alias` is empty.
pub(crate) fn list<'a>(alias: &str, columns: impl IntoIterator<Item = &'a str>) -> String {
    Dialect::SqlServer.list(alias, columns)
}

/// `left.[k1] = right.[k1] AND …`.
pub(crate) fn equal(columns: &[String], left: &str, right: &str) -> String {
    Dialect::SqlServer.equal(columns, left, right)
}

/// The schema of a location.
pub(crate) fn schema(location: &Location) -> &str {
    location.schema.as_deref().unwrap_or(DEFAULT_SCHEMA)
}

/// A table in a schema, quoted: the name by which one knows it everywhere.
pub(crate) fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", quote(schema), quote(table))
}

/// The user's table, quoted; it is in the connection's database.
pub(crate) fn base(table: &TableDef) -> String {
    qualified(schema(&table.location), &table.location.table)
}

/// A table's name in messages, as the proxy knows it.
pub(crate) fn shown(schema: &str, table: &str) -> String {
    if schema == DEFAULT_SCHEMA { table.to_owned() } else { format!("{schema}.{table}") }
}

/// The table of live rows of branches, without its schema.
pub(crate) fn overlay_name(id: TableId) -> String {
    epoch_layers::names::overlay(id)
}

/// The table of live rows of branches.
pub(crate) fn overlay(id: TableId) -> String {
    qualified(SCHEMA, &overlay_name(id))
}

/// The table of keys that branches hide.
pub(crate) fn mask(id: TableId) -> String {
    qualified(SCHEMA, &epoch_layers::names::mask(id))
}

/// The table of before-images.
pub(crate) fn history(id: TableId) -> String {
    qualified(SCHEMA, &epoch_layers::names::history(id))
}

/// The table of keys that a seal has changed itself.
pub(crate) fn own(id: TableId) -> String {
    qualified(SCHEMA, &format!("epoch_own_{}", id.0))
}

/// What writers of a table of a lineage hold, as the server's application locks name it.
pub(crate) fn turn(table: TableId, lineage: i64) -> String {
    format!("epoch {} {lineage}", table.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        assert_eq!(quote("a]b[c"), "[a]]b[c]");
        assert_eq!(quote("größe \"x\" 漢字"), "[größe \"x\" 漢字]");
        assert_eq!(qualified("s]", "t"), "[s]]].[t]");
        assert_eq!(literal("it's ü"), "N'it''s ü'");
        assert_eq!(list("x", ["a", "b]"]), "x.[a], x.[b]]]");
        assert_eq!(list("", ["a"]), "[a]");
        assert_eq!(equal(&["k]".to_owned()], "m", "x"), "m.[k]]] = x.[k]]]");
        assert_eq!((shown("dbo", "t"), shown("sales", "t")), ("t".to_owned(), "sales.t".to_owned()));
        assert_eq!(overlay(TableId(7)), "[epoch].[epoch_overlay_7]");
        assert_eq!(turn(TableId(7), 3), "epoch 7 3");
    }
}
