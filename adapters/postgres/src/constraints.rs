//! Constraints over layers: what the server can't check on the overlay alone.

use std::collections::BTreeSet;

use epoch_adapter::TableDef;

use crate::capture;
use crate::foreign_keys::{below, below_rows};
use crate::install::Index;
use crate::layout::{BASE_OF_LINEAGE, literal, overlay, quote};
use crate::of_main;
use crate::text::{columns, fill, join, same_key};

const UNIQUE_SQL: &str = include_str!("../../../sql/postgres/unique.sql");
const KEYS_SQL: &str = include_str!("../../../sql/postgres/unique_keys.sql");
const INSERTED_SQL: &str = include_str!("../../../sql/postgres/unique_inserted.sql");
const NEAR_SQL: &str = include_str!("../../../sql/postgres/unique_near.sql");
const MAY_SQL: &str = include_str!("../../../sql/postgres/unique_may_be_there.sql");
const CHECK_SQL: &str = include_str!("../../../sql/postgres/unique_check.sql");
const VIEWS_SQL: &str = include_str!("../../../sql/postgres/view_check.sql");
const EXCLUSION_SQL: &str = include_str!("../../../sql/postgres/exclusion_check.sql");

/// What the trigger of an INSERT checks when it has captured the statement: unique keys and exclusion constraints of the
/// overlay against the visible part of the base. The second is what the function is to be set to.
pub(crate) fn of_inserted(table: &TableDef, indexes: &[Index]) -> (String, &'static str) {
    let unique: Vec<&Index> = keys(indexes).filter(|i| i.deferrable.is_empty()).collect();
    if unique.is_empty() {
        return (String::new(), path(table, &unique));
    }
    let keys = unique_keys(table, &unique, "epoch_new", "NOT epoch_copied");
    let near = join(&unique, "\n            OR ", |index| near(table, index));
    let checks = fill(INSERTED_SQL, &[("near", &near), ("unique", &keys)]);
    (checks.trim_end().to_owned(), path(table, &unique))
}

/// Types whose values have one order only, that of their btree indexes.
const ORDERED: [&str; 8] = [
    "smallint",
    "integer",
    "bigint",
    "uuid",
    "date",
    "numeric",
    "timestamp without time zone",
    "timestamp with time zone",
];

/// Whether main has, or had, keys between the least and the greatest of the rows that came; true where that can't be told
/// by the index.
fn near(table: &TableDef, index: &Index) -> String {
    let ordered = |name: &String| {
        let column = table.schema.index_of(name).and_then(|i| table.schema.columns.get(i));
        column.is_some_and(|c| ORDERED.contains(&c.pg_type.as_str()))
    };
    let names: Vec<String> = index.names.iter().take_while(|name| ordered(name)).map(|n| quote(n)).collect();
    if names.is_empty() || !is_of_columns(index) || index.nulls_not_distinct || index.exclusion.is_some() {
        return "true".to_owned();
    }
    let row = |of: &str| format!("ROW({})", join(&names, ", ", |name| format!("{of}.{name}")));
    let [columns, descending] =
        ["", " DESC NULLS LAST"].map(|way| join(&names, ", ", |n| format!("{n}{way}")));
    let values = [
        ("base", of_main::rows(table)),
        ("images", of_main::images(table)),
        ("rows", "epoch_new".to_owned()),
        ("own", "NOT epoch_copied".to_owned()),
        ("row_b", row("b")),
        ("row_lo", row("lo")),
        ("row_hi", row("hi")),
        ("ascending", columns.clone()),
        ("columns", columns),
        ("descending", descending),
    ];
    fill(NEAR_SQL, &values.each_ref().map(|(name, value)| (*name, value.as_str()))).trim_end().to_owned()
}

/// Triggers that check unique keys and exclusion constraints of the overlay against the visible part of
/// the base: those of an UPDATE, and those that may wait for the end of the transaction.
pub(crate) fn unique(table: &TableDef, indexes: &[Index]) -> String {
    let (deferrable, unique): (Vec<&Index>, Vec<&Index>) =
        keys(indexes).partition(|i| !i.deferrable.is_empty());
    // The capture of the statement goes by it, which comes later. One time too often does no harm.
    let rekeyed = format!(
        "IF {} THEN PERFORM pg_catalog.set_config('{}', 'on', true); END IF;",
        any_differs(table.schema.key_columns().map(|c| &c.name)),
        capture::rekeyed_setting(table)
    );
    let updated = function(table, "update", &unique, &format!("{} epoch_row", new_row(table)), &rekeyed);
    let script = format!(
        "{updated}
-- The 1: like PostgreSQL, keys are checked before references.
CREATE TRIGGER zz_epoch_1_unique_update AFTER UPDATE ON {overlay} FOR EACH ROW WHEN ({changed})
    EXECUTE FUNCTION epoch.overlay_{id}_unique_update();
ALTER TABLE {overlay} ENABLE ALWAYS TRIGGER zz_epoch_1_unique_update;
",
        changed = any_changed(table, &unique),
        overlay = overlay(table),
        id = table.id.0,
    );
    script + &join(deferrable, "", |index| self::deferrable(table, index))
}

fn keys(indexes: &[Index]) -> impl Iterator<Item = &Index> {
    indexes.iter().filter(|i| i.unique || i.exclusion.is_some())
}

fn new_row(table: &TableDef) -> String {
    format!("(SELECT NEW.epoch_lineage, {})", columns(table, "NEW."))
}

/// Triggers that check rows which are written through views.
pub(crate) fn views(table: &TableDef) -> String {
    // As PostgreSQL shows a row, with long values cut.
    let shown = |c: &epoch_adapter::Column| {
        let text = format!("NEW.{}::pg_catalog.text", quote(&c.name));
        format!(
            "coalesce(CASE WHEN pg_catalog.octet_length({text}) > 64 THEN pg_catalog.left({text}, 64) || '...' ELSE {text} END, 'null')"
        )
    };
    let row = join(&table.schema.columns, " || ', ' || ", shown);
    fill(VIEWS_SQL, &[("overlay", &overlay(table)), ("id", &table.id.0.to_string()), ("row", &row)])
}

fn function(table: &TableDef, event: &str, indexes: &[&Index], rows: &str, rekeyed: &str) -> String {
    fill(
        UNIQUE_SQL,
        &[
            ("id", &table.id.0.to_string()),
            ("event", event),
            ("path", path(table, indexes)),
            ("rekeyed", rekeyed),
            ("unique", &unique_keys(table, indexes, rows, "true")),
        ],
    )
}

/// The search path that a function needs in which [`unique_keys`] stands: expressions of the user's say by it which
/// operators they mean.
fn path(table: &TableDef, indexes: &[&Index]) -> &'static str {
    let plain = |index: &&Index| is_of_columns(index) && index.exclusion.is_none();
    if table.source.is_none() && indexes.iter().all(plain) {
        ""
    } else {
        " SET search_path = pg_catalog, pg_temp"
    }
}

/// The checks of `rows`, nothing if there are no such indexes.
fn unique_keys(table: &TableDef, indexes: &[&Index], rows: &str, own: &str) -> String {
    if indexes.is_empty() {
        return String::new();
    }
    let checks = join(indexes, "", |index| check(table, index, rows, own));
    let may_be_there = join(indexes, "\n        OR ", |index| may_be_there(table, index, rows, own));
    fill(KEYS_SQL, &[("may_be_there", &may_be_there), ("checks", &checks)]).trim_end().to_owned()
}

/// A key that may be checked at the end of the transaction: a constraint trigger of its own, which
/// SET CONSTRAINTS finds by the index's number. It looks at the row as it stands then.
fn deferrable(table: &TableDef, index: &Index) -> String {
    let row = format!(
        "(SELECT c.* FROM {} c WHERE c.epoch_lineage = NEW.epoch_lineage AND {}) epoch_row",
        overlay(table),
        same_key(table, "c", "NEW")
    );
    format!(
        "{function}
CREATE CONSTRAINT TRIGGER zz_epoch_1_u{oid}_insert AFTER INSERT ON {overlay}{when} FOR EACH ROW WHEN (NOT NEW.epoch_copied)
    EXECUTE FUNCTION epoch.overlay_{id}_unique_u{oid}();
CREATE CONSTRAINT TRIGGER zz_epoch_1_u{oid}_update AFTER UPDATE ON {overlay}{when} FOR EACH ROW WHEN ({changed})
    EXECUTE FUNCTION epoch.overlay_{id}_unique_u{oid}();
ALTER TABLE {overlay} ENABLE ALWAYS TRIGGER zz_epoch_1_u{oid}_insert, ENABLE ALWAYS TRIGGER zz_epoch_1_u{oid}_update;
",
        function = function(table, &format!("u{}", index.oid), &[index], &row, ""),
        oid = index.oid,
        id = table.id.0,
        overlay = overlay(table),
        when = index.deferrable,
        changed = changed(index)
    )
}

/// Whether an UPDATE changed a part of the key: only then it is checked.
fn changed(index: &Index) -> String {
    if is_of_columns(index) { any_differs(&index.names) } else { ANYTHING.to_owned() }
}

/// Whether an UPDATE changed a part of the table's own key or of another: one comparison, as each costs every row.
fn any_changed(table: &TableDef, indexes: &[&Index]) -> String {
    if !indexes.iter().all(|index| is_of_columns(index)) {
        return ANYTHING.to_owned();
    }
    let own = table.schema.key_columns().map(|c| &c.name);
    let names: BTreeSet<_> = own.chain(indexes.iter().flat_map(|index| &index.names)).collect();
    any_differs(names)
}

/// Whether anything of a row changed, if it can't be told what matters.
const ANYTHING: &str = "OLD.* OPERATOR(pg_catalog.*<>) NEW.*";

fn is_of_columns(index: &Index) -> bool {
    !index.names.is_empty() && index.predicate.is_none()
}

fn any_differs<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| quote(name)).collect();
    let row = |version: &str| join(&names, ", ", |name| format!("{version}.{name}"));
    format!("NOT pg_catalog.record_image_eq(ROW({}), ROW({}))", row("OLD"), row("NEW"))
}

/// The parts of an index's key as columns `epoch_u…`. (They name columns bare: the innermost relation's are meant.)
fn parts(index: &Index) -> String {
    join(index.parts.iter().enumerate(), ", ", |(i, part)| format!("({part}) AS epoch_u{i}"))
}

fn predicate(index: &Index) -> String {
    index.predicate.as_ref().map(|p| format!(" AND ({p})")).unwrap_or_default()
}

/// Whether a row is in the index under the key of `n` (see [`parts`]).
fn same(index: &Index) -> String {
    let same = join(index.parts.iter().enumerate(), " AND ", |(i, part)| {
        let operator = index.operators.get(i).map_or("=", String::as_str);
        if index.nulls_not_distinct {
            format!("(({part}) {operator} n.epoch_u{i} OR (({part}) IS NULL AND n.epoch_u{i} IS NULL))")
        } else {
            format!("({part}) {operator} n.epoch_u{i}")
        }
    });
    same + &predicate(index)
}

/// Whether main has, or had, any row that a new one could be in conflict with.
fn may_be_there(table: &TableDef, index: &Index, rows: &str, own: &str) -> String {
    let own = format!("{own}{}", predicate(index));
    let (base, images) = (of_main::rows(table), of_main::images(table));
    let values = [
        ("parts", parts(index)),
        ("rows", rows.to_owned()),
        ("own", own),
        ("base", base),
        ("images", images),
        ("condition", same(index)),
    ];
    fill(MAY_SQL, &values.each_ref().map(|(name, value)| (*name, value.as_str()))).trim_end().to_owned()
}

fn check(table: &TableDef, index: &Index, rows: &str, own: &str) -> String {
    let name = index.constraint.as_ref().unwrap_or(&index.name);
    let key = format!("Key ({})=(", index.shown.join(", "));
    let values = |prefix: &str| {
        join(0..index.parts.len(), " || ', ' || ", |i| {
            let value = format!("epoch_v_hit.epoch_{prefix}{i}");
            format!("CASE WHEN {value} IS NULL THEN 'null' ELSE format('%s', {value}) END")
        })
    };
    let new = join(0..index.parts.len(), ", ", |i| format!("n.epoch_u{i}"));
    let condition = same(index);
    let [template, shown, below, message, detail] = if index.exclusion.is_some() {
        let found = join(index.parts.iter().enumerate(), ", ", |(i, part)| format!("({part}) AS epoch_x{i}"));
        let again = literal(&format!(") conflicts with existing {}", key.replacen("Key", "key", 1)));
        [
            EXCLUSION_SQL,
            &format!("{new}, {}", join(0..index.parts.len(), ", ", |i| format!("x.epoch_x{i}"))),
            &below_rows(table, "n.epoch_l", BASE_OF_LINEAGE, &condition, &found).join("\n        UNION ALL "),
            &format!("conflicting key value violates exclusion constraint \"{name}\""),
            &format!("{} || {} || {again} || {} || ').'", literal(&key), values("u"), values("x")),
        ]
    } else {
        [
            CHECK_SQL,
            &new,
            &below(table, "n.epoch_l", BASE_OF_LINEAGE, &condition),
            &format!("duplicate key value violates unique constraint \"{name}\""),
            &format!("{} || {} || ') already exists.'", literal(&key), values("u")),
        ]
    };
    fill(
        template,
        &[
            ("values", shown),
            ("parts", &parts(index)),
            ("rows", rows),
            ("own", &format!("{own}{}", predicate(index))),
            ("below", below),
            ("message", &literal(message)),
            ("detail", detail),
            ("schema", &literal(table.location.schema.as_deref().unwrap_or("public"))),
            ("table", &literal(&table.location.table)),
            ("constraint", &literal(name)),
        ],
    )
}
