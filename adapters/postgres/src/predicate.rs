//! Filters as SQL, where the server answers exactly as the engine would.

use arrow::datatypes::DataType;
use epoch_adapter::{Column, Comparison, Error, Predicate, Result, TableDef, Value};

use crate::layout::{literal, quote};
use crate::types::split_modifier;

/// Whether [`sql`] of the predicate means the same to the server as to the engine.
pub(crate) fn supports(table: &TableDef, predicate: &Predicate) -> bool {
    let column = |i: &usize| table.schema.columns.get(*i);
    match predicate {
        Predicate::Compare(i, comparison, value) => {
            column(i).is_some_and(|c| comparable(c, *comparison, value))
        }
        Predicate::In(i, values) => {
            column(i).is_some_and(|c| values.iter().all(|v| comparable(c, Comparison::Eq, v)))
        }
        Predicate::IsNull(i) | Predicate::IsNotNull(i) => column(i).is_some(),
        Predicate::And(all) | Predicate::Or(all) => all.iter().all(|p| supports(table, p)),
    }
}

fn comparable(column: &Column, comparison: Comparison, value: &Value) -> bool {
    let Some(text) = value.to_text() else { return false };
    match &column.data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => text.parse::<i64>().is_ok(),
        // The server's NaN equals itself, the engine tells 0 from -0.
        DataType::Float32 | DataType::Float64 => text.parse::<f64>().is_ok_and(|v| v.is_finite() && v != 0.0),
        DataType::Boolean => matches!(comparison, Comparison::Eq | Comparison::NotEq),
        DataType::Decimal128(..) | DataType::Date32 | DataType::Timestamp(..) => true,
        DataType::Utf8 => match kind(column) {
            TextKind::Text => true,
            TextKind::Uuid => comparison == Comparison::Eq && is_canonical_uuid(&text),
            TextKind::Other => false,
        },
        _ => false,
    }
}

enum TextKind {
    Text,
    Uuid,
    Other,
}

fn kind(column: &Column) -> TextKind {
    match split_modifier(&column.pg_type).0.as_str() {
        "text" | "character varying" => TextKind::Text,
        "uuid" => TextKind::Uuid,
        _ => TextKind::Other,
    }
}

fn is_canonical_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// The condition over the relation `epoch_x`.
pub(crate) fn sql(table: &TableDef, predicate: &Predicate) -> Result<String> {
    sql_of(table, predicate, "epoch_x", false)
}

/// The condition over a relation. `own_order`: texts are ordered as their column says.
pub(crate) fn sql_of(
    table: &TableDef,
    predicate: &Predicate,
    alias: &str,
    own_order: bool,
) -> Result<String> {
    let column = |i: usize| {
        let column = table.schema.columns.get(i);
        column.ok_or_else(|| Error::internal(format!("no column {i} in {}", table.name)))
    };
    let name = |c: &Column| format!("{alias}.{}", quote(&c.name));
    let nested = |all: &[Predicate], word: &str, empty: &str| -> Result<String> {
        let parts = all.iter().map(|p| sql_of(table, p, alias, own_order)).collect::<Result<Vec<_>>>()?;
        Ok(if parts.is_empty() { empty.to_owned() } else { format!("({})", parts.join(word)) })
    };
    Ok(match predicate {
        Predicate::Compare(i, comparison, value) => {
            let column = column(*i)?;
            let collation = if own_order { "" } else { collation(column, *comparison) };
            format!("{}{collation} {} {}", name(column), comparison.as_sql(), operand(column, value))
        }
        Predicate::In(_, values) if values.is_empty() => "false".to_owned(),
        Predicate::In(i, values) => {
            let column = column(*i)?;
            let list = crate::text::join(values, ", ", |v| operand(column, v));
            format!("{} IN ({list})", name(column))
        }
        Predicate::IsNull(i) => format!("{} IS NULL", name(column(*i)?)),
        Predicate::IsNotNull(i) => format!("{} IS NOT NULL", name(column(*i)?)),
        Predicate::And(all) => nested(all, " AND ", "true")?,
        Predicate::Or(all) => nested(all, " OR ", "false")?,
    })
}

/// The engine orders text by bytes.
fn collation(column: &Column, comparison: Comparison) -> &'static str {
    let equality = matches!(comparison, Comparison::Eq | Comparison::NotEq);
    if !equality && matches!(kind(column), TextKind::Text) { " COLLATE \"C\"" } else { "" }
}

/// A literal of the column's type without its modifier, so that nothing is cut or rounded.
fn operand(column: &Column, value: &Value) -> String {
    let text = value.to_text().unwrap_or_default();
    let type_name = match &column.data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => "bigint".to_owned(),
        DataType::Utf8 if matches!(kind(column), TextKind::Text) => "text".to_owned(),
        _ => split_modifier(&column.pg_type).0,
    };
    format!("{}::{type_name}", literal(&text))
}
