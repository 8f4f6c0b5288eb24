//! Results as JSON.

use serde_json::{Map, Value, json};

use crate::Error;
use crate::functions::{Outcome, SqlType};

/// An array with an object per row.
pub(super) fn rows(outcome: &Outcome) -> Value {
    let object = |row: &Vec<Option<String>>| {
        let cells = outcome.columns.iter().zip(row);
        let cells = cells.map(|(column, cell)| (column.name.clone(), value(&column.ty, cell.as_deref())));
        Value::Object(cells.collect::<Map<_, _>>())
    };
    Value::Array(outcome.rows.iter().map(object).collect())
}

/// An error.
pub(super) fn error(error: &Error) -> Value {
    json!({"error": {
        "code": error.code(), "message": error.message(), "detail": error.detail(), "hint": error.hint(),
    }})
}

fn value(ty: &SqlType, text: Option<&str>) -> Value {
    let Some(text) = text else { return Value::Null };
    let as_text = || Value::from(text);
    match ty {
        SqlType::Int8 => text.parse::<i64>().map_or_else(|_| as_text(), Value::from),
        SqlType::Bool => Value::Bool(text == "t"),
        SqlType::Jsonb => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
        SqlType::TextArray => array(text),
        SqlType::Named(name) => match name.as_str() {
            "smallint" | "integer" | "bigint" => value(&SqlType::Int8, Some(text)),
            "boolean" => value(&SqlType::Bool, Some(text)),
            "json" | "jsonb" => value(&SqlType::Jsonb, Some(text)),
            _ => as_text(),
        },
        SqlType::Text | SqlType::TimestampTz => as_text(),
    }
}

fn array(text: &str) -> Value {
    Value::Array(elements(text).into_iter().map(Value::from).collect())
}

/// The elements of an array in PostgreSQL's text form.
pub(super) fn elements(text: &str) -> Vec<String> {
    let inside = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let mut elements = Vec::new();
    let mut current = String::new();
    let (mut quoted, mut any) = (false, false);
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        any = true;
        match c {
            '\\' => current.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => elements.push(std::mem::take(&mut current)),
            c => current.push(c),
        }
    }
    if any {
        elements.push(current);
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_back() {
        assert_eq!(elements(r#"{a,"b c","","x\"y\\z"}"#), ["a", "b c", "", "x\"y\\z"]);
        assert!(elements("{}").is_empty());
        assert_eq!(elements(r#"{""}"#), [""]);
    }

    #[test]
    fn values_keep_their_types() {
        let named = |name: &str, text| value(&SqlType::Named(name.to_owned()), Some(text));
        assert_eq!(value(&SqlType::Int8, Some("5")), json!(5));
        assert_eq!(value(&SqlType::Bool, Some("t")), json!(true));
        assert_eq!(value(&SqlType::Jsonb, Some("{\"a\": 1}")), json!({"a": 1}));
        assert_eq!(named("bigint", "9007199254740993").to_string(), "9007199254740993");
        assert_eq!(named("numeric(10,2)", "1.50"), json!("1.50"));
        assert_eq!(value(&SqlType::Text, None), Value::Null);
    }
}
