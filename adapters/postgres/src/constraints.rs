//! Constraints over layers: what the server can't check on the overlay alone.

use epoch_adapter::TableDef;

use crate::foreign_keys::below;
use crate::install::Index;
use crate::layout::{literal, overlay, quote};
use crate::text::{columns, fill, join};

const UNIQUE_SQL: &str = include_str!("../../../sql/postgres/unique.sql");
const CHECK_SQL: &str = include_str!("../../../sql/postgres/unique_check.sql");

/// Triggers that check unique keys of the overlay against the visible part of the base.
pub(crate) fn unique(table: &TableDef, indexes: &[Index]) -> String {
    let unique: Vec<&Index> = indexes.iter().filter(|i| i.unique).collect();
    let id = table.id.0.to_string();
    let function = |event: &str, rows: &str, own: &str| {
        let checks = join(&unique, "", |index| check(table, index, rows, own));
        fill(UNIQUE_SQL, &[("overlay", &overlay(table)), ("id", &id), ("event", event), ("checks", &checks)])
    };
    let new_row = format!("(SELECT NEW.epoch_lineage, {}) epoch_row", columns(table, "NEW."));
    let inserted = function("insert", "epoch_new", "NOT epoch_copied");
    let updated = function("update", &new_row, "true");
    // Queued only where a part of a unique key changed.
    let changed = join(&unique, " OR ", |index| {
        if index.names.is_empty() || index.predicate.is_some() {
            "OLD.* OPERATOR(pg_catalog.*<>) NEW.*".to_owned()
        } else {
            join(&index.names, " OR ", |c| {
                format!(
                    "NOT (ROW(OLD.{c})::pg_catalog.record OPERATOR(pg_catalog.*=) ROW(NEW.{c})::pg_catalog.record)",
                    c = quote(c)
                )
            })
        }
    });
    format!(
        "{inserted}{updated}
-- The 1: like PostgreSQL, keys are checked before references.
CREATE TRIGGER zz_epoch_1_unique_insert AFTER INSERT ON {overlay} REFERENCING NEW TABLE AS epoch_new
    FOR EACH STATEMENT EXECUTE FUNCTION epoch.overlay_{id}_unique_insert();
CREATE TRIGGER zz_epoch_1_unique_update AFTER UPDATE ON {overlay} FOR EACH ROW WHEN ({changed})
    EXECUTE FUNCTION epoch.overlay_{id}_unique_update();
ALTER TABLE {overlay} ENABLE ALWAYS TRIGGER zz_epoch_1_unique_insert, ENABLE ALWAYS TRIGGER zz_epoch_1_unique_update;
",
        overlay = overlay(table)
    )
}

fn check(table: &TableDef, index: &Index, rows: &str, own: &str) -> String {
    let name = index.constraint.as_ref().unwrap_or(&index.name);
    let predicate = index.predicate.as_ref().map(|p| format!(" AND ({p})")).unwrap_or_default();
    // The parts name columns bare: they mean the innermost relation's.
    let parts = join(index.parts.iter().enumerate(), ", ", |(i, part)| format!("({part}) AS epoch_u{i}"));
    let same = join(index.parts.iter().enumerate(), " AND ", |(i, part)| {
        let operator = index.operators.get(i).map_or("=", String::as_str);
        if index.nulls_not_distinct {
            format!("(({part}) {operator} n.epoch_u{i} OR (({part}) IS NULL AND n.epoch_u{i} IS NULL))")
        } else {
            format!("({part}) {operator} n.epoch_u{i}")
        }
    });
    let message = literal(&format!("duplicate key value violates unique constraint \"{name}\""));
    let key = literal(&format!("Key ({})=(", index.parts.join(", ")));
    let values = join(0..index.parts.len(), " || ', ' || ", |i| {
        format!("CASE WHEN hit.epoch_u{i} IS NULL THEN 'null' ELSE format('%s', hit.epoch_u{i}) END")
    });
    fill(
        CHECK_SQL,
        &[
            ("values", &join(0..index.parts.len(), ", ", |i| format!("n.epoch_u{i}"))),
            ("parts", &parts),
            ("rows", rows),
            ("own", &format!("{own}{predicate}")),
            ("below", &below(table, "n.epoch_l", "e.base", &format!("{same}{predicate}"))),
            ("message", &message),
            ("detail", &format!("{key} || {values} || ') already exists.'")),
            ("schema", &literal(table.location.schema.as_deref().unwrap_or("public"))),
            ("table", &literal(&table.location.table)),
            ("constraint", &literal(name)),
        ],
    )
}
