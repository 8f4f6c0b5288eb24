//! PostgreSQL's text forms of the values in our results.

use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};
use epoch_adapter::{BackendKind, Column, Error, Result, Row, TableSchema, Value, sqlstate};

/// `timestamp with time zone`, in UTC.
pub(super) fn timestamp(at: DateTime<Utc>) -> String {
    let text = at.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let trimmed = text.trim_end_matches('0').trim_end_matches('.');
    format!("{trimmed}+00")
}

/// `timestamp with time zone` of microseconds since 1970.
pub(super) fn moment(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).map(timestamp).unwrap_or_default()
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
        Value::Text(text) if column.pg_type.starts_with("timestamp") => {
            let text = text.replacen('T', " ", 1);
            match column.pg_type.ends_with("with time zone") {
                true => in_utc(text),
                false => text,
            }
        }
        other => return other.to_text(),
    };
    Some(text)
}

/// A moment with its offset: MySQL and SQLite keep moments without one, in UTC, which a client would take for its own
/// time zone's.
fn in_utc(moment: String) -> String {
    match moment.split_once(' ') {
        Some((_, time)) if !time.contains(['+', '-', 'Z', 'z']) => format!("{moment}+00"),
        // A day is its beginning; infinity is no day.
        None if moment.starts_with(|c: char| c.is_ascii_digit()) => format!("{moment} 00:00:00+00"),
        _ => moment,
    }
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

/// A user's value in the form in which a backend keeps the column; 22P02 if it isn't one.
pub(super) fn typed(kind: BackendKind, column: &Column, text: &str) -> Result<Value> {
    parsed(kind, &column.data_type, text).ok_or_else(|| {
        let message = format!("invalid input syntax for type {}: \"{text}\"", column.pg_type);
        Error::new(sqlstate::INVALID_TEXT_REPRESENTATION, message)
    })
}

fn parsed(kind: BackendKind, ty: &DataType, text: &str) -> Option<Value> {
    // PostgreSQL values travel as text; the server itself checks them.
    if kind == BackendKind::PostgreSql {
        return Some(Value::Text(text.to_owned()));
    }
    match ty {
        DataType::Boolean => match text {
            "true" | "t" | "1" => Some(Value::Int(1)),
            "false" | "f" | "0" => Some(Value::Int(0)),
            _ => None,
        },
        ty if ty.is_integer() => text.parse().ok().map(Value::Int),
        ty if ty.is_floating() => text.parse().ok().map(Value::Real),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            unhex(text.strip_prefix("\\x")?).map(Value::Blob)
        }
        // MySQL keeps a moment without the offset that we show.
        DataType::Timestamp(_, Some(_)) if kind == BackendKind::MySql => {
            Some(Value::Text(text.strip_suffix("+00").unwrap_or(text).to_owned()))
        }
        // SQL Server wants minutes in an offset.
        DataType::Timestamp(_, Some(_)) if kind == BackendKind::SqlServer => {
            let whole =
                text.strip_suffix("+00").map_or_else(|| text.to_owned(), |moment| format!("{moment}+00:00"));
            Some(Value::Text(whole))
        }
        _ => Some(Value::Text(text.to_owned())),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair.iter().fold(0, |a, d| a * 16 + d)).collect())
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
    fn moments_of_mysql_do_not_lose_their_offset() {
        let text = |ty: &str, v: &str| value(&column(ty), &Value::Text(v.into())).unwrap();
        let moment = "timestamp(3) with time zone";
        assert_eq!(text(moment, "2026-01-01 12:00:00.5"), "2026-01-01 12:00:00.5+00");
        assert_eq!(text(moment, "2026-01-01T12:00:00"), "2026-01-01 12:00:00+00");
        assert_eq!(text(moment, "2026-01-01"), "2026-01-01 00:00:00+00");
        for known in
            ["2026-01-01 12:00:00-05", "2026-01-01 12:00:00Z", "0044-03-15 12:00:00+00 BC", "-infinity"]
        {
            assert_eq!(text(moment, known), known);
        }
        assert_eq!(text("timestamp(0) without time zone", "2026-01-01 12:00:00"), "2026-01-01 12:00:00");
        // And as it is shown, it can be said.
        let utc = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let mysql = |text| parsed(BackendKind::MySql, &utc, text);
        assert_eq!(mysql("2026-01-01 12:00:00+00"), Some(Value::Text("2026-01-01 12:00:00".into())));
        assert_eq!(mysql("2026-01-01 12:00:00"), Some(Value::Text("2026-01-01 12:00:00".into())));
    }

    #[test]
    fn moments_of_sql_server_keep_their_offset() {
        let moment = |v: &str| value(&column("timestamp(6) with time zone"), &Value::Text(v.into())).unwrap();
        assert_eq!(moment("2026-01-01 12:00:00.5+05:30"), "2026-01-01 12:00:00.5+05:30");
        let utc = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let given = |text| parsed(BackendKind::SqlServer, &utc, text);
        assert_eq!(given("2026-01-01 12:00:00+00"), Some(Value::Text("2026-01-01 12:00:00+00:00".into())));
        assert_eq!(given("2026-01-01 12:00:00+05:30"), Some(Value::Text("2026-01-01 12:00:00+05:30".into())));
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

    #[test]
    fn values_take_the_form_of_their_backend() {
        let sqlite = |ty, text| parsed(BackendKind::Sqlite, &ty, text);
        assert_eq!(sqlite(DataType::Int64, "5"), Some(Value::Int(5)));
        assert_eq!(sqlite(DataType::Int64, "five"), None);
        assert_eq!(sqlite(DataType::Float64, "1.5"), Some(Value::Real(1.5)));
        assert_eq!(sqlite(DataType::Binary, "\\x0aFF"), Some(Value::Blob(vec![10, 255])));
        assert_eq!(sqlite(DataType::Binary, "\\x0"), None);
        assert_eq!(sqlite(DataType::Utf8, "5"), Some(Value::Text("5".into())));
        assert_eq!(parsed(BackendKind::PostgreSql, &DataType::Int64, "5"), Some(Value::Text("5".into())));
    }
}
