//! Definitions of our tables and triggers for a user's table, and of the table itself.

use epoch_adapter::{Column, TableId};
use epoch_layers::names::overlay as overlay_table;

use crate::layout::{LINEAGE, PENDING, equal, fill, list, own, qualified, quote, turn};
use crate::meta::Meta;
use crate::physical::{Check, Index, Physical, PhysicalColumn, index_columns};

const TABLE: &str = include_str!("../../../sql/sqlserver/table.sql");
const CAPTURE: &str = include_str!("../../../sql/sqlserver/capture.sql");
const TURN: &str = include_str!("../../../sql/sqlserver/turn.sql");
const MERGED: &str = include_str!("../../../sql/sqlserver/merged.sql");

/// The batches of a template, which stand between lines with `GO`, without comments.
pub(crate) fn batches(template: &str) -> Vec<String> {
    let kept: Vec<_> = template.lines().filter(|line| !line.starts_with("--")).collect();
    let text = kept.join("\n");
    text.split("\nGO").map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

/// The DDL of a column of ours that holds values of a user's key.
pub(crate) fn key_column_sql(column: &Column) -> String {
    format!("{} {} NOT NULL", quote(&column.name), column.type_name)
}

/// A column as its table has it; `numbered`: by the server itself.
fn column_sql(column: &PhysicalColumn, numbered: bool) -> String {
    let name = quote(&column.name);
    if let Some((expression, stored)) = &column.computed {
        let persisted = match (stored, column.not_null) {
            (true, true) => " PERSISTED NOT NULL",
            (true, false) => " PERSISTED",
            (false, _) => "",
        };
        return format!("{name} AS {expression}{persisted}");
    }
    let number = if column.identity && numbered { " IDENTITY" } else { "" };
    let null = if column.not_null { "NOT NULL" } else { "NULL" };
    let default = column.default.as_ref().map(|d| format!(" DEFAULT {d}")).unwrap_or_default();
    format!("{name} {}{number} {null}{default}", column.type_name)
}

/// The name of a CHECK of the overlay: such names are a schema's, and tell which of the table's it is.
pub(crate) fn overlay_check(id: TableId, check: &Check) -> String {
    format!("epoch_check_{}_{}", id.0, check.object)
}

/// The batches that make our tables.
pub(crate) fn tables(meta: &Meta) -> Vec<String> {
    let key = &meta.def.schema.key;
    let column = |(i, c): (usize, &Column)| match key.contains(&i) {
        true => key_column_sql(c),
        false => format!("{} {} NULL", quote(&c.name), c.type_name),
    };
    let history: Vec<_> = meta.def.schema.columns.iter().enumerate().map(column).collect();
    let mask: Vec<_> = meta.def.schema.key_columns().map(key_column_sql).collect();
    let overlay: Vec<_> = meta.physical.columns.iter().map(|c| column_sql(c, false)).collect();
    let check =
        |c: &Check| format!(",\n  CONSTRAINT {} CHECK {}", quote(&overlay_check(meta.id(), c)), c.condition);
    let checks: String = meta.physical.checks.iter().map(check).collect();
    let parts = [
        ("overlay", meta.overlay.as_str()),
        ("mask", &meta.mask),
        ("history", &meta.history),
        ("own", &own(meta.id())),
        ("key", &meta.key_columns("")),
        ("clustered", meta.clustered()),
        ("overlay_columns", &overlay.join(",\n  ")),
        ("overlay_checks", &checks),
        ("mask_columns", &mask.join(",\n  ")),
        ("history_columns", &history.join(",\n  ")),
    ];
    // Split before names are put in, which may hold anything.
    let mut out: Vec<_> = batches(TABLE).iter().map(|batch| fill(batch, &parts)).collect();
    out.extend(overlay_indexes(meta));
    out
}

/// The base's indexes per lineage, under their own names. The key has one already.
fn overlay_indexes(meta: &Meta) -> Vec<String> {
    let name = |i: &usize| meta.physical.columns.get(*i).map(|c| c.name.as_str()).unwrap_or_default();
    let is_key = |i: &Index| {
        i.filter.is_none() && i.parts.iter().map(|p| name(&p.0)).eq(meta.key.iter().map(String::as_str))
    };
    let one = |index: &Index| {
        let included = match index.included.as_slice() {
            [] => String::new(),
            columns => format!(" INCLUDE ({})", list("", columns.iter().map(name))),
        };
        let filter = index.filter.as_ref().map(|f| format!(" WHERE {f}")).unwrap_or_default();
        format!(
            "CREATE {}INDEX {} ON {} ({LINEAGE}, {}){included}{filter}",
            if index.unique { "UNIQUE " } else { "" },
            quote(&index.name),
            meta.overlay,
            index_columns(&meta.physical, index)
        )
    };
    meta.physical.indexes.iter().filter(|i| i.usual() && !is_key(i)).map(one).collect()
}

/// What a trigger is for.
pub(crate) const EVENTS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// The name of a trigger, quoted, with its schema.
pub(crate) fn trigger(meta: &Meta, on_overlay: bool, event: &str) -> String {
    let event = event.to_ascii_lowercase();
    match on_overlay {
        true => qualified(crate::layout::SCHEMA, &format!("epoch_capture_{}_overlay_{event}", meta.id().0)),
        false => qualified(&meta.physical.schema, &format!("epoch_capture_{}_{event}", meta.id().0)),
    }
}

/// The triggers of the base, or of the overlay, in the order of [`EVENTS`].
pub(crate) fn triggers(meta: &Meta, on_overlay: bool) -> Vec<String> {
    let of = |side: &str| if on_overlay { format!("{side}.{LINEAGE}") } else { "1".to_owned() };
    let same = |left: &str, right: &str| {
        let key = equal(&meta.key, left, right);
        // History is asked for its lineage beside.
        if on_overlay && left != "h" {
            format!("{key} AND {left}.{LINEAGE} = {right}.{LINEAGE}")
        } else {
            key
        }
    };
    let names: Vec<_> = EVENTS.iter().map(|event| trigger(meta, on_overlay, event)).collect();
    let [insert, update, delete] = [0, 1, 2].map(|n: usize| names.get(n).cloned().unwrap_or_default());
    let table = if on_overlay { &meta.overlay } else { &meta.base };
    let mut parts = vec![
        ("trigger_insert", insert),
        ("trigger_update", update),
        ("trigger_delete", delete),
        ("table", table.clone()),
        ("history", meta.history.clone()),
        ("old_lineage", of("d")),
        ("new_lineage", of("i")),
        ("columns", meta.all_columns("")),
        ("d_columns", meta.all_columns("d")),
        ("key", meta.key_columns("")),
        ("i_key", meta.key_columns("i")),
        ("h_is_i", same("h", "i")),
        ("h_is_d", same("h", "d")),
        ("d_is_i", same("d", "i")),
        ("b_is_d", same("b", "d")),
        ("is_new", if on_overlay { "i.epoch_copied = 0 AND " } else { "" }.to_owned()),
        ("resource", turn(meta.id(), 1)),
        ("pending", PENDING.to_owned()),
    ];
    let borrowed = |parts: &[(&'static str, String)], template: &str| {
        let parts: Vec<_> = parts.iter().map(|(k, v)| (*k, v.as_str())).collect();
        fill(template.trim_end(), &parts)
    };
    // Writers of a branch have their turn already, and nobody merges into it.
    let (turn, merged) = match on_overlay {
        true => (String::new(), String::new()),
        false => (borrowed(&parts, TURN), borrowed(&parts, MERGED)),
    };
    parts.extend([("turn", turn), ("merged", merged)]);
    batches(CAPTURE).iter().map(|batch| borrowed(&parts, batch)).collect()
}

/// The statements that make a table like this one.
pub(crate) fn create_statement(table: &Physical) -> String {
    let name = qualified(&table.schema, &table.name);
    let columns = |names: &[String]| list("", names.iter().map(String::as_str));
    let mut parts: Vec<_> = table.columns.iter().map(|c| column_sql(c, true)).collect();
    for index in table.indexes.iter().filter(|i| i.constraint) {
        let what = if index.primary { "PRIMARY KEY" } else { "UNIQUE" };
        let on = index_columns(table, index);
        parts.push(format!("CONSTRAINT {} {what} {} ({on})", quote(&index.name), index.kind));
    }
    for check in &table.checks {
        parts.push(format!("CONSTRAINT {} CHECK {}", quote(&check.name), check.condition));
    }
    for fk in &table.foreign {
        parts.push(format!(
            "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}){}",
            quote(&fk.name),
            columns(&fk.columns),
            fk.parent,
            columns(&fk.parent_columns),
            fk.cascade.as_ref().map(|c| format!(" {c}")).unwrap_or_default()
        ));
    }
    let mut out = format!("CREATE TABLE {name} (\n  {}\n);", parts.join(",\n  "));
    for index in table.indexes.iter().filter(|i| i.usual() && !i.constraint) {
        let names = |i: &usize| table.columns.get(*i).map(|c| c.name.as_str()).unwrap_or_default();
        let included = match index.included.as_slice() {
            [] => String::new(),
            columns => format!(" INCLUDE ({})", list("", columns.iter().map(names))),
        };
        out.push_str(&format!(
            "\nCREATE {}{} INDEX {} ON {name} ({}){included}{};",
            if index.unique { "UNIQUE " } else { "" },
            index.kind,
            quote(&index.name),
            index_columns(table, index),
            index.filter.as_ref().map(|f| format!(" WHERE {f}")).unwrap_or_default()
        ));
    }
    out
}

/// The names of all objects of a registration, which are removed with it.
pub(crate) fn objects(id: TableId) -> [String; 4] {
    let own = format!("epoch_own_{}", id.0);
    [overlay_table(id), epoch_layers::names::mask(id), epoch_layers::names::history(id), own]
}
