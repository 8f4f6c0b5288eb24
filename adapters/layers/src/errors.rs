//! Violations of constraints with PostgreSQL's codes, messages and details.

use epoch_adapter::{Error, RowChange, Value, sqlstate};

/// A row as far as a failed write knows it: `None` is a column left to its default.
pub type Known = Vec<Option<Value>>;

/// A foreign key, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    /// Its name.
    pub name: &'a str,
    /// The table that refers.
    pub child: &'a str,
    /// Its columns.
    pub columns: &'a [String],
    /// The table that is referred to.
    pub parent: &'a str,
    /// Its columns.
    pub parent_columns: &'a [String],
}

/// 23502.
pub fn not_null(table: &str, column: &str, row: &Known) -> Error {
    let message =
        format!("null value in column \"{column}\" of relation \"{table}\" violates not-null constraint");
    Error::new(sqlstate::NOT_NULL_VIOLATION, message)
        .with_detail(failing_row(row))
        .with_table(table)
        .with_column(column)
}

/// 23514.
pub fn check(table: &str, constraint: &str, row: &Known) -> Error {
    let message = format!("new row for relation \"{table}\" violates check constraint \"{constraint}\"");
    Error::new(sqlstate::CHECK_VIOLATION, message)
        .with_detail(failing_row(row))
        .with_table(table)
        .with_constraint(constraint)
}

fn failing_row(row: &Known) -> String {
    let cells: Vec<_> = row
        .iter()
        .map(|v| v.as_ref().and_then(Value::to_text).unwrap_or_else(|| "null".to_owned()))
        .collect();
    format!("Failing row contains ({}).", cells.join(", "))
}

/// 23505; `columns` are the constraint's columns or expressions, `values` what the row has there, if all are known.
pub fn duplicate(table: &str, constraint: &str, columns: &[String], values: Option<Vec<String>>) -> Error {
    let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
    let error = Error::new(sqlstate::UNIQUE_VIOLATION, message).with_table(table).with_constraint(constraint);
    match values {
        Some(values) => error.with_detail(format!("Key {} already exists.", key_text(columns, &values))),
        None => error,
    }
}

/// `(a, b)=(1, 2)`.
pub fn key_text(names: &[String], values: &[String]) -> String {
    format!("({})=({})", names.join(", "), values.join(", "))
}

/// 23503 for a child without its parent.
pub fn no_parent(fk: Reference<'_>, values: &[Value]) -> Error {
    let message =
        format!("insert or update on table \"{}\" violates foreign key constraint \"{}\"", fk.child, fk.name);
    let key = key_text(fk.columns, &texts(values));
    Error::new(sqlstate::FOREIGN_KEY_VIOLATION, message)
        .with_detail(format!("Key {key} is not present in table \"{}\".", fk.parent))
        .with_table(fk.child)
        .with_constraint(fk.name)
}

/// 23503 for a parent that still has children.
pub fn still_referenced(fk: Reference<'_>, values: &[Value]) -> Error {
    let message = format!(
        "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
        fk.parent, fk.name, fk.child
    );
    let key = key_text(fk.parent_columns, &texts(values));
    Error::new(sqlstate::FOREIGN_KEY_VIOLATION, message)
        .with_detail(format!("Key {key} is still referenced from table \"{}\".", fk.child))
        .with_table(fk.child)
        .with_constraint(fk.name)
}

/// As messages show values.
pub fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(|v| v.to_text().unwrap_or_else(|| "null".to_owned())).collect()
}

/// 40001: a row isn't what a change was computed from.
pub fn changed_since(table: &str, key: &[String], change: &RowChange) -> Error {
    Error::new(
        sqlstate::SERIALIZATION_FAILURE,
        format!("could not serialize access to table \"{table}\" due to concurrent update"),
    )
    .with_detail(format!(
        "Key {} has changed since the changes were computed.",
        key_text(key, &texts(&change.key))
    ))
    .with_hint("The operation might succeed if retried.")
    .with_table(table)
}

/// 22P02 for a value that can't be cast to its column's type.
pub fn misfit(pg_type: &str, column: &str, what: &str) -> Error {
    Error::new(
        sqlstate::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {pg_type}: {what}"),
    )
    .with_column(column)
}

/// 25P02.
pub fn aborted() -> Error {
    Error::new(
        sqlstate::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

/// 3B001.
pub fn no_savepoint(name: &str) -> Error {
    Error::new(sqlstate::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
}

/// 42P01: a registered table that isn't there any more.
pub fn dropped(table: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{table}\" does not exist"))
        .with_detail("The table was dropped since it was registered.")
        .with_hint("Unregister it.")
}

/// 55000: a table that its database (`place`) has no registration of.
pub fn not_registered(table: &str, place: &str) -> Error {
    let message = format!("table \"{table}\" is not registered in its {place}");
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}
