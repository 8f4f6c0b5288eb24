//! Names of our objects in a PostgreSQL database.
//!
//! `epoch` holds everything but the overlays: `epoch.history_<id>`, `epoch.mask_<id>`, functions,
//! `epoch.lineage (id, base)`, `epoch.seal (operation, …)`, `epoch.registered (…)`. An overlay table
//! has its base table's name (so that errors of the server read as they would on the base) in the
//! schema `epoch_<base schema>`.

use epoch_adapter::TableDef;

/// Grows whenever what we make in a database changes, so that a database prepared by another version
/// is refused instead of being misread.
pub const LAYOUT: u32 = 7;
/// The schema of our objects.
pub const SCHEMA: &str = "epoch";
/// The overlay's hidden column with the branch's lineage; after all columns of the base.
pub const LINEAGE: &str = "epoch_lineage";
/// The overlay's hidden column: true for rows put there by a copy-up; after [`LINEAGE`].
pub const COPIED: &str = "epoch_copied";
/// The setting that gives [`LINEAGE`] its default on INSERT and COPY: every session on a branch
/// connects with it set, so that without it nothing can be written.
pub const LINEAGE_SETTING: &str = "epoch.lineage";
/// In trigger functions, where main is below the lineage of `e`. A snapshot that is older than the branch's first
/// write doesn't see its lineage yet; the session's setting `epoch.base` says it then (`epoch_v_base`).
pub(crate) const BASE_OF_LINEAGE: &str = "coalesce(e.base, epoch_v_base)";
/// `valid_from` and `valid_to` of pending history.
pub const PENDING: i64 = i64::MAX;

/// Quotes an identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a literal, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn base_schema(table: &TableDef) -> &str {
    table.location.schema.as_deref().unwrap_or("public")
}

/// The user's table, quoted and qualified.
pub fn base(table: &TableDef) -> String {
    format!("{}.{}", quote(base_schema(table)), quote(&table.location.table))
}

/// The schema of overlays of this table's schema.
pub fn overlay_schema(table: &TableDef) -> String {
    format!("epoch_{}", base_schema(table))
}

/// The overlay table, quoted and qualified.
pub fn overlay(table: &TableDef) -> String {
    format!("{}.{}", quote(&overlay_schema(table)), quote(&table.location.table))
}

/// The setting that is `on` while a statement copies rows up: triggers that have nothing to do with such rows
/// are spared, which are a third of its cost. The table's own, so that it says nothing to triggers of others. Short: the
/// server reads a condition with such a name byte by byte for every statement.
pub(crate) fn copying_setting(table: &TableDef) -> String {
    format!("{SCHEMA}.c{}", table.id.0)
}

/// The mask table (`lineage, key…`), qualified. Key columns keep their names.
pub fn mask(table: &TableDef) -> String {
    format!("{SCHEMA}.mask_{}", table.id.0)
}

/// The function that enters a key into the mask unless it is there: `(policy, lineage, key…)`, qualified.
pub fn claim_function(table: &TableDef) -> String {
    format!("{SCHEMA}.mask_{}_claim", table.id.0)
}

/// The history table (`lineage, columns…, existed, seq, xid, valid_from, valid_to`), qualified. The
/// base's columns keep their names; ours are prefixed `epoch_`: `epoch_lineage, epoch_existed,
/// epoch_seq, epoch_xid, epoch_from, epoch_to`. The mask's lineage column is `epoch_lineage` too.
pub fn history(table: &TableDef) -> String {
    format!("{SCHEMA}.history_{}", table.id.0)
}
