//! Violations of constraints with PostgreSQL's codes, messages and names.

use epoch_adapter::{Error, Row, Value, sqlstate};
use epoch_layers::errors::{self, Known, Reference};
use mysql_async::{Error as Raw, ServerError};

use crate::error::{DUPLICATE_ENTRY, map};
use crate::meta::{Catalog, Foreign, Meta, Unique, column_check};

/// Maps the error of a write to the base or the overlay of `meta`.
pub(crate) fn failed(catalog: &Catalog, meta: &Meta, error: Raw, row: &Known) -> Error {
    let Raw::Server(ServerError { code, message, .. }) = &error else { return map(error) };
    let quoted = message.split('\'').nth(1).unwrap_or_default();
    match *code {
        DUPLICATE_ENTRY | 1586 => match unique_of(meta, message) {
            Some(unique) => duplicate(meta, unique, row),
            None => {
                Error::new(sqlstate::UNIQUE_VIOLATION, format!("mysql: {message}")).with_table(meta.name())
            }
        },
        1048 | 1364 => errors::not_null(meta.name(), quoted, row),
        // MariaDB, MySQL.
        4025 => check(meta, after_constraint(message).unwrap_or_default(), row),
        3819 => check(meta, quoted, row),
        1451 | 1452 => foreign(catalog, meta, message, *code == 1451, row),
        _ => match map(error) {
            e if e.code() == sqlstate::INTERNAL_ERROR => e,
            e => e.with_table(meta.name()),
        },
    }
}

/// `Duplicate entry 'x' for key 'i'`; MySQL puts the table before the index.
fn unique_of<'a>(meta: &'a Meta, message: &str) -> Option<&'a Unique> {
    let (_, key) = message.rsplit_once(" for key ")?;
    let key = key.trim_matches('\'');
    let index = [meta.name(), meta.overlay.as_str()]
        .iter()
        .find_map(|table| key.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')))
        .unwrap_or(key);
    let on_key = |u: &&Unique| {
        let columns = u.columns.as_deref().unwrap_or_default();
        columns.len() == meta.key.len() && columns.iter().all(|c| meta.def.schema.key.contains(c))
    };
    let uniques = &meta.physical.uniques;
    let found = match index {
        "epoch_primary" => uniques.iter().find(|u| u.primary),
        // The overlay's primary key is on the registered key.
        "PRIMARY" => uniques.iter().find(|u| u.primary && on_key(u)).or_else(|| uniques.iter().find(on_key)),
        index => uniques.iter().find(|u| u.index == index),
    };
    found.or_else(|| uniques.iter().find(|u| u.primary && index == "PRIMARY"))
}

/// 23505 with the values that a row has in a unique index.
pub(crate) fn duplicate(meta: &Meta, unique: &Unique, row: &Known) -> Error {
    let columns = unique.columns.as_deref().unwrap_or_default();
    let names: Vec<_> = columns.iter().filter_map(|c| meta.columns.get(*c).cloned()).collect();
    let values: Option<Vec<_>> =
        columns.iter().map(|c| row.get(*c).and_then(Option::as_ref).and_then(Value::to_text)).collect();
    errors::duplicate(meta.name(), &unique.name, &names, values.filter(|v| !v.is_empty()))
}

/// MariaDB names the CHECK of a column `table.column`; MySQL, one that has no name after its table, in the overlay after
/// that.
fn check(meta: &Meta, name: &str, row: &Known) -> Error {
    let of = |table: &str| name.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'));
    let name = match of(meta.name()).or_else(|| of(&meta.overlay)) {
        Some(column) => column_check(meta.name(), column),
        None => name.replace(&format!("{}_chk_", meta.overlay), &format!("{}_chk_", meta.name())),
    };
    errors::check(meta.name(), &name, row)
}

fn foreign(catalog: &Catalog, meta: &Meta, message: &str, parent_gone: bool, row: &Known) -> Error {
    let name = after_constraint(message);
    let candidates: Vec<_> = match parent_gone {
        true => catalog.referrers(meta.name()).to_vec(),
        false => meta.physical.foreign.clone(),
    };
    let Some(fk) = candidates.iter().find(|fk| Some(fk.name.as_str()) == name) else {
        let message = format!("write to table \"{}\" violates a foreign key constraint", meta.name());
        return Error::new(sqlstate::FOREIGN_KEY_VIOLATION, message).with_table(meta.name());
    };
    let columns = if parent_gone { &fk.parent_columns } else { &fk.columns };
    let values: Row = meta
        .indexes(columns)
        .unwrap_or_default()
        .iter()
        .map(|i| row.get(*i).cloned().flatten().unwrap_or(Value::Null))
        .collect();
    if parent_gone { still_referenced(fk, &values) } else { no_parent(fk, &values) }
}

/// What a message says after `CONSTRAINT`, in the quotes that the session's mode has.
fn after_constraint(message: &str) -> Option<&str> {
    let rest = message.split("CONSTRAINT ").nth(1)?;
    let quote = rest.chars().next().filter(|c| matches!(c, '`' | '"'))?;
    rest.split(quote).nth(1)
}

/// As messages name it.
fn reference(fk: &Foreign) -> Reference<'_> {
    Reference {
        name: &fk.name,
        child: &fk.child,
        columns: &fk.columns,
        parent: &fk.parent,
        parent_columns: &fk.parent_columns,
    }
}

/// 23503 for a child without its parent.
pub(crate) fn no_parent(fk: &Foreign, values: &Row) -> Error {
    errors::no_parent(reference(fk), values)
}

/// 23503 for a parent that still has children.
pub(crate) fn still_referenced(fk: &Foreign, values: &Row) -> Error {
    errors::still_referenced(reference(fk), values)
}
