//! Violations of constraints with PostgreSQL's codes, messages and names.

use epoch_adapter::{Error, Row, Value, sqlstate};
use epoch_layers::errors::{self, Known, Reference};
use rusqlite::ffi;

use crate::error::map;
use crate::install::{KEY_TYPE_CHECK, check_names, overlay_index};
use crate::meta::{Foreign, Meta, Unique};

/// Maps the error of a write to the base or the overlay of `meta`.
pub(crate) fn failed(meta: &Meta, error: rusqlite::Error, row: &Known) -> Error {
    let rusqlite::Error::SqliteFailure(failure, Some(text)) = &error else { return map(error) };
    let subject = text.split_once("failed: ").map_or(text.as_str(), |(_, s)| s);
    match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_NOTNULL => not_null(meta, column_of(meta, subject), row),
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            match unique_of(meta, subject) {
                Some(unique) => duplicate(meta, unique, row),
                None => Error::new(sqlstate::UNIQUE_VIOLATION, format!("duplicate key value: {subject}"))
                    .with_table(meta.name()),
            }
        }
        ffi::SQLITE_CONSTRAINT_CHECK => check(meta, subject, row),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => foreign(meta),
        // RESTRICT is a trigger to SQLite.
        ffi::SQLITE_CONSTRAINT_TRIGGER if text == "FOREIGN KEY constraint failed" => foreign(meta),
        ffi::SQLITE_CONSTRAINT_TRIGGER => match null_key_column(meta, text) {
            Some(column) => not_null(meta, column, row),
            None => map(error),
        },
        ffi::SQLITE_CONSTRAINT_DATATYPE | ffi::SQLITE_MISMATCH => {
            Error::new(sqlstate::DATATYPE_MISMATCH, format!("table \"{}\": {text}", meta.name()))
                .with_table(meta.name())
        }
        _ => map(error),
    }
}

/// SQLite doesn't say which foreign key it was.
fn foreign(meta: &Meta) -> Error {
    let message = format!("write to table \"{}\" violates a foreign key constraint", meta.name());
    Error::new(sqlstate::FOREIGN_KEY_VIOLATION, message).with_table(meta.name())
}

/// The column in `users.name`; the table is the base or the overlay.
fn column_of<'a>(meta: &Meta, subject: &'a str) -> &'a str {
    let of = |table: &str| subject.strip_prefix(table).and_then(|s| s.strip_prefix('.'));
    of(meta.name()).or_else(|| of(&meta.overlay)).unwrap_or(subject)
}

/// Our trigger on keys says this of NULL.
fn null_key_column<'a>(meta: &Meta, text: &'a str) -> Option<&'a str> {
    let tail = format!("\" of relation \"{}\" violates not-null constraint", meta.name());
    text.strip_prefix("null value in column \"")?.strip_suffix(&tail)
}

fn not_null(meta: &Meta, column: &str, row: &Known) -> Error {
    errors::not_null(meta.name(), column, row)
}

/// The unique constraint that SQLite names by its columns (`t.a, t.b`) or its index (`index 'i'`).
fn unique_of<'a>(meta: &'a Meta, subject: &str) -> Option<&'a Unique> {
    let columns = |u: &Unique, table: &str, first: Option<&str>| {
        let names =
            u.parts.iter().filter_map(|p| p.column).filter_map(|i| meta.columns.get(i).map(String::as_str));
        let all: Vec<_> = first.into_iter().chain(names).map(|c| format!("{table}.{c}")).collect();
        all.join(", ")
    };
    let uniques = &meta.physical.uniques;
    uniques
        .iter()
        .find(|u| {
            columns(u, meta.name(), None) == subject
                || columns(u, &meta.overlay, Some("epoch_lineage")) == subject
        })
        .or_else(|| uniques.iter().find(|u| subject == format!("index '{}'", u.name)))
        .or_else(|| {
            let key: Vec<_> = meta.def.schema.key.iter().map(|i| Some(*i)).collect();
            let others = uniques.iter().filter(|u| u.parts.iter().map(|p| p.column).ne(key.iter().copied()));
            others
                .enumerate()
                .find(|(n, _)| subject == format!("index '{}'", overlay_index(meta.id(), *n)))
                .map(|(_, u)| u)
        })
}

/// 23505 with the values that a row has in a unique constraint.
pub(crate) fn duplicate(meta: &Meta, unique: &Unique, row: &Known) -> Error {
    let values: Option<Vec<_>> = unique
        .parts
        .iter()
        .map(|p| p.column.and_then(|i| row.get(i)).and_then(Option::as_ref).and_then(Value::to_text))
        .collect();
    errors::duplicate(meta.name(), &unique.name, &unique_names(meta, unique), values)
}

fn unique_names(meta: &Meta, unique: &Unique) -> Vec<String> {
    unique
        .parts
        .iter()
        .map(|p| p.column.and_then(|i| meta.columns.get(i)).unwrap_or(&p.sql).clone())
        .collect()
}

fn check(meta: &Meta, subject: &str, row: &Known) -> Error {
    if subject == KEY_TYPE_CHECK {
        let message = format!("table \"{}\": the key must be an integer", meta.name());
        return Error::new(sqlstate::DATATYPE_MISMATCH, message).with_table(meta.name());
    }
    // SQLite names an unnamed CHECK of the base by its expression.
    let squeezed = |s: &str| s.split_whitespace().collect::<String>();
    let inner = |expr: &str| squeezed(expr.get(1..expr.len().saturating_sub(1)).unwrap_or_default());
    let names = check_names(meta);
    let found = names.iter().find(|(name, expr)| name == subject || inner(expr) == squeezed(subject));
    let name = found.map_or(subject, |(name, _)| name.as_str());
    errors::check(meta.name(), name, row)
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
