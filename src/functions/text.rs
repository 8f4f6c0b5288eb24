//! PostgreSQL's text forms of the values in our results.

use chrono::{DateTime, Utc};
use epoch_adapter::{Column, Row, TableSchema, Value};

/// `timestamp with time zone`, in UTC.
pub(super) fn timestamp(at: DateTime<Utc>) -> String {
    let text = at.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let trimmed = text.trim_end_matches('0').trim_end_matches('.');
    format!("{trimmed}+00")
}

/// `boolean`.
pub(super) fn boolean(value: bool) -> String {
    if value { "t" } else { "f" }.to_owned()
}

/// `text[]`.
pub(super) fn array<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| element(item.as_ref())).collect();
    format!("{{{}}}", items.join(","))
}

fn element(item: &str) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ',' | '"' | '\\');
    if !item.is_empty() && !item.contains(special) && !item.eq_ignore_ascii_case("null") {
        return item.to_owned();
    }
    format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A cell in the text form of its column's PostgreSQL type. PostgreSQL's own values are in it
/// already; other backends keep truth values as numbers and times in several spellings.
pub(super) fn value(column: &Column, value: &Value) -> Option<String> {
    let text = match value {
        Value::Real(number) if number.is_infinite() => {
            if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        Value::Real(number) => match scale(&column.pg_type) {
            Some(scale) => format!("{number:.scale$}"),
            None => number.to_string(),
        },
        Value::Int(number) => match (column.pg_type.as_str(), scale(&column.pg_type)) {
            ("boolean", _) => boolean(*number != 0),
            (_, Some(scale @ 1..)) => format!("{number}.{:0scale$}", 0),
            _ => number.to_string(),
        },
        Value::Text(text) if column.pg_type.starts_with("timestamp") => text.replacen('T', " ", 1),
        other => return other.to_text(),
    };
    Some(text)
}

/// The digits after the point of `numeric(10,2)`.
fn scale(pg_type: &str) -> Option<usize> {
    let arguments = pg_type.strip_prefix("numeric(")?.strip_suffix(')')?;
    arguments.split_once(',').and_then(|(_, scale)| scale.trim().parse().ok())
}

/// A row as `jsonb` with the columns' names, in the table's order.
pub(super) fn row_json(schema: &TableSchema, row: &Row) -> String {
    object(schema.columns.iter().zip(row))
}

/// A key as `jsonb`.
pub(super) fn key_json(schema: &TableSchema, key: &Row) -> String {
    object(schema.key_columns().zip(key))
}

fn object<'a>(cells: impl Iterator<Item = (&'a Column, &'a Value)>) -> String {
    let cells: Vec<String> =
        cells.map(|(column, value)| format!("{}: {}", quoted(&column.name), cell(column, value))).collect();
    format!("{{{}}}", cells.join(", "))
}

/// One cell as JSON: numbers, booleans and JSON as such, everything else as its text.
fn cell(column: &Column, value: &Value) -> String {
    let Some(text) = self::value(column, value) else { return "null".to_owned() };
    let base = column.pg_type.split('(').next().unwrap_or_default().trim();
    match base {
        "boolean" if text == "t" => "true".to_owned(),
        "boolean" if text == "f" => "false".to_owned(),
        "json" | "jsonb" if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() => text,
        "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" if is_number(&text) => {
            text
        }
        _ => quoted(&text),
    }
}

/// `NaN` and `Infinity` are numbers to PostgreSQL, not to JSON.
fn is_number(text: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(text).is_ok()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn arrays_quote_what_postgresql_would_misread() {
        assert_eq!(
            array(&["a", "b c", "", "NULL", "x\"y\\z", "{}"]),
            r#"{a,"b c","","NULL","x\"y\\z","{}"}"#
        );
        assert_eq!(array::<&str>(&[]), "{}");
    }

    fn column(pg_type: &str) -> Column {
        Column {
            name: "c".to_owned(),
            type_name: pg_type.to_owned(),
            pg_type: pg_type.to_owned(),
            data_type: arrow::datatypes::DataType::Utf8,
            nullable: true,
            generated: false,
            default: None,
            equality: None,
        }
    }

    #[test]
    fn cells_of_other_backends_take_postgresqls_forms() {
        let text = |ty: &str, v: Value| value(&column(ty), &v).unwrap_or("NULL".to_owned());
        assert_eq!(text("boolean", Value::Int(1)), "t");
        assert_eq!(text("numeric(10,2)", Value::Real(12.5)), "12.50");
        assert_eq!(text("numeric(10,2)", Value::Int(3)), "3.00");
        assert_eq!(text("double precision", Value::Real(f64::INFINITY)), "Infinity");
        assert_eq!(
            text("timestamp without time zone", Value::Text("2026-01-01T10:00:00".into())),
            "2026-01-01 10:00:00"
        );
        assert_eq!(text("bigint", Value::Null), "NULL");
    }

    #[test]
    fn rows_are_json_with_types() {
        let cell = |ty: &str, v: Value| cell(&column(ty), &v);
        assert_eq!(cell("boolean", Value::Int(0)), "false");
        assert_eq!(cell("bigint", Value::Text("9007199254740993".into())), "9007199254740993");
        assert_eq!(cell("numeric", Value::Text("NaN".into())), "\"NaN\"");
        assert_eq!(cell("jsonb", Value::Text("{\"a\": 1}".into())), "{\"a\": 1}");
        assert_eq!(cell("text", Value::Text("a\"b".into())), "\"a\\\"b\"");
        assert_eq!(cell("text", Value::Null), "null");
    }

    #[test]
    fn timestamps_drop_zeros_at_the_end_of_the_fraction() {
        let at = |text: &str| timestamp(text.parse().unwrap());
        assert_eq!(at("2026-11-01T12:00:00Z"), "2026-11-01 12:00:00+00");
        assert_eq!(at("2026-11-01T12:00:10.250Z"), "2026-11-01 12:00:10.25+00");
    }
}
