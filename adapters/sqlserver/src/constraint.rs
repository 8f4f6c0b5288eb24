//! Violations of constraints with PostgreSQL's codes, messages and details.

use epoch_adapter::{Error, Row, Value, sqlstate};
use epoch_layers::errors::{self, Known, Reference};
use tiberius::error::Error as Raw;

use crate::ddl::overlay_check;
use crate::error::{CONFLICT, DUPLICATE_INDEX, DUPLICATE_KEY, NOT_NULL, map};
use crate::meta::{Catalog, Meta};
use crate::physical::{Foreign, Unique};

/// Maps the error of a write to the base or the overlay of `meta`.
pub(crate) fn failed(catalog: &Catalog, meta: &Meta, error: Raw, row: &Known) -> Error {
    let Raw::Server(token) = &error else { return map(error) };
    let message = token.message().to_owned();
    match token.code() {
        DUPLICATE_KEY | DUPLICATE_INDEX => match unique_of(meta, &message) {
            Some(unique) => duplicate(meta, unique, row),
            None => {
                Error::new(sqlstate::UNIQUE_VIOLATION, format!("sqlserver: {}", first_sentence(&message)))
                    .with_table(meta.name())
            }
        },
        NOT_NULL => errors::not_null(meta.name(), quoted(&message, '\'').unwrap_or_default(), row),
        CONFLICT if message.contains("CHECK constraint") => check(meta, &message, row),
        CONFLICT => foreign(catalog, meta, &message, row),
        _ => match map(error) {
            e if e.code() == sqlstate::INTERNAL_ERROR => e,
            e => e.with_table(meta.name()),
        },
    }
}

/// What a message says first between two of a mark.
fn quoted(message: &str, mark: char) -> Option<&str> {
    message.split(mark).nth(1)
}

/// The rest of it shows values.
fn first_sentence(message: &str) -> &str {
    message.split(". ").next().unwrap_or(message)
}

/// `… constraint 'name'. …`, `… with unique index 'name'. …`; a name may hold quotes itself.
fn unique_of<'a>(meta: &'a Meta, message: &str) -> Option<&'a Unique> {
    let is_named = |name: &str| message.contains(&format!("'{name}'."));
    let named = meta.uniques.iter().filter(|u| is_named(&u.name)).max_by_key(|u| u.name.len());
    let key = &meta.def.schema.key;
    let on_key = |u: &&Unique| u.columns.len() == key.len() && u.columns.iter().all(|c| key.contains(c));
    // Of the overlay, the key's index has a name of ours.
    named.or_else(|| meta.uniques.iter().find(|u| is_named("epoch_key") && on_key(u)))
}

/// 23505 with the values that a row has in a unique index.
pub(crate) fn duplicate(meta: &Meta, unique: &Unique, row: &Known) -> Error {
    let names: Vec<_> = unique.columns.iter().filter_map(|c| meta.columns.get(*c).cloned()).collect();
    // A NULL is a value here, and only one.
    let text = |v: &Value| v.to_text().unwrap_or_else(|| "null".to_owned());
    let values: Option<Vec<_>> =
        unique.columns.iter().map(|c| row.get(*c).and_then(Option::as_ref).map(text)).collect();
    errors::duplicate(meta.name(), &unique.name, &names, values.filter(|v| !v.is_empty()))
}

/// The overlay's CHECKs have names that tell whose they are.
fn check(meta: &Meta, message: &str, row: &Known) -> Error {
    let name = quoted(message, '"').unwrap_or_default();
    let ours = meta.physical.checks.iter().find(|c| overlay_check(meta.id(), c) == name);
    errors::check(meta.name(), ours.map_or(name, |c| c.name.as_str()), row)
}

/// `… with the FOREIGN KEY constraint "name"`, of a child; `… with the REFERENCE constraint "name"`, of a parent.
fn foreign(catalog: &Catalog, meta: &Meta, message: &str, row: &Known) -> Error {
    let parent_gone = message.contains("REFERENCE constraint");
    let name = quoted(message, '"');
    let candidates: Vec<_> = match parent_gone {
        true => catalog.referrers(&meta.base).to_vec(),
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

/// As messages name it.
fn reference(fk: &Foreign) -> Reference<'_> {
    Reference {
        name: &fk.name,
        child: &fk.shown.0,
        columns: &fk.columns,
        parent: &fk.shown.1,
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
