//! Cells between Arrow and the backend's own form, by the column's declared type.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use arrow::util::display::FormatOptions;
use epoch_adapter::{BackendKind, Column, Error, Result, Row, Value, sqlstate};

use super::{encode, errors, types};

/// Casts with errors instead of NULLs for what doesn't fit.
pub(crate) const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: FormatOptions::new() };

/// The cell as the backend stores it.
pub(crate) fn value_of(array: &ArrayRef, row: usize, kind: BackendKind) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    match kind {
        BackendKind::PostgreSql => Ok(text(array, row)?.map_or(Value::Null, Value::Text)),
        BackendKind::Sqlite => sqlite_value(array, row),
        BackendKind::Local | BackendKind::S3 | BackendKind::Azure | BackendKind::Gcs => {
            lake_value(array, row)
        }
        BackendKind::MySql => mysql_value(array, row),
        BackendKind::SqlServer => sqlserver_value(array, row),
    }
}

/// A value for a column. SQLite keeps a number of a JSON column as a number, whatever its digits were.
pub(crate) fn stored(array: &ArrayRef, row: usize, kind: BackendKind, column: &Column) -> Result<Value> {
    let value = value_of(array, row, kind)?;
    if let (BackendKind::Sqlite, "json", Value::Text(text)) = (kind, column.pg_type.as_str(), &value) {
        let number = text.trim();
        let kept = number.parse::<i64>().is_ok_and(|v| v.to_string() == *text);
        if number.parse::<f64>().is_ok() && !kept {
            return Err(Error::unsupported(format!("JSON {text} by itself in a column of SQLite"))
                .with_detail("SQLite would store it in another form.")
                .with_column(column.name.as_str()));
        }
    }
    if let (BackendKind::Sqlite, DataType::Decimal128(..), Value::Text(text)) =
        (kind, array.data_type(), &value)
    {
        let digits = text.trim_start_matches(['-', '0', '.']).replace('.', "");
        let significant = if text.contains('.') { digits.trim_end_matches('0').len() } else { digits.len() };
        if significant > 15 && text.parse::<i64>().is_err() {
            return Err(Error::unsupported(format!("the numeric {text} in a column of SQLite"))
                .with_detail("SQLite would keep about 15 digits of it.")
                .with_column(column.name.as_str()));
        }
    }
    Ok(value)
}

/// SQLite has no types for booleans, decimals and times: 0 and 1, and text that its numeric affinity
/// or its date functions understand.
fn sqlite_value(array: &ArrayRef, row: usize) -> Result<Value> {
    let one = array.slice(row, 1);
    let to = |target: &DataType| cast_with_options(&one, target, &STRICT).map_err(|e| errors::arrow(&e));
    Ok(match array.data_type() {
        DataType::Boolean => Value::Int(i64::from(array.as_boolean().value(row))),
        t if t.is_integer() => Value::Int(to(&DataType::Int64)?.as_primitive::<Int64Type>().value(0)),
        t if t.is_floating() => {
            let value = to(&DataType::Float64)?.as_primitive::<Float64Type>().value(0);
            if value.is_nan() {
                return Err(Error::unsupported("the value NaN in a column that is not in PostgreSQL")
                    .with_detail("The backend would store NULL."));
            }
            Value::Real(value)
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Value::Blob(to(&DataType::Binary)?.as_binary::<i32>().value(0).to_vec())
        }
        // SQLite's date functions want minutes in an offset.
        DataType::Timestamp(_, Some(_)) => text(array, row)?.map_or(Value::Null, |t| Value::Text(t + ":00")),
        _ => text(array, row)?.map_or(Value::Null, Value::Text),
    })
}

/// The adapter of Delta tables makes its types of these itself; NaN is a number there.
fn lake_value(array: &ArrayRef, row: usize) -> Result<Value> {
    if !array.data_type().is_floating() {
        return sqlite_value(array, row);
    }
    let one = cast_with_options(&array.slice(row, 1), &DataType::Float64, &STRICT);
    Ok(Value::Real(one.map_err(|e| errors::arrow(&e))?.as_primitive::<Float64Type>().value(0)))
}

/// MySQL takes numbers, bytes and texts; a moment is in the session's time zone, which is UTC, without saying so.
fn mysql_value(array: &ArrayRef, row: usize) -> Result<Value> {
    Ok(match array.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            text(array, row)?.map_or(Value::Null, |t| Value::Text(t.trim_end_matches("+00").to_owned()))
        }
        _ => sqlite_value(array, row)?,
    })
}

/// SQL Server takes what SQLite does, but no infinity.
fn sqlserver_value(array: &ArrayRef, row: usize) -> Result<Value> {
    match sqlite_value(array, row)? {
        Value::Real(value) if !value.is_finite() => {
            Err(Error::unsupported(format!("the value {value} in a column of SQL Server")))
        }
        value => Ok(value),
    }
}

fn text(array: &ArrayRef, row: usize) -> Result<Option<String>> {
    encode::cell_text(array, row, utc()?)
}

/// UTC, in which backends store moments.
pub(crate) fn utc() -> Result<Tz> {
    "+00:00".parse().map_err(|_| Error::internal("no time zone UTC"))
}

/// Rows as the backend stores them as a batch of `schema`, whose fields are the table's columns.
pub(crate) fn batch_of(rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |(index, field): (usize, &Arc<arrow::datatypes::Field>)| match field.data_type() {
        DataType::Binary if rows.iter().any(|row| matches!(row.get(index), Some(Value::Blob(_)))) => {
            Ok(blobs(rows, index))
        }
        data_type => {
            let texts: Vec<_> = rows.iter().map(|row| row.get(index).and_then(Value::to_text)).collect();
            array_of(&texts, data_type)
        }
    };
    let columns = schema.fields().iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| errors::arrow(&e))
}

fn blobs(rows: &[Row], index: usize) -> ArrayRef {
    let blob = |row: &Row| match row.get(index) {
        Some(Value::Blob(bytes)) => Some(bytes.clone()),
        Some(other) => other.to_text().map(String::into_bytes),
        None => None,
    };
    Arc::new(rows.iter().map(blob).collect::<BinaryArray>())
}

/// Values in PostgreSQL's text form as an array of `data_type`; 22P02 for text that isn't of it.
pub(crate) fn array_of<S: AsRef<str>>(texts: &[Option<S>], data_type: &DataType) -> Result<ArrayRef> {
    let texts = || texts.iter().map(|t| t.as_ref().map(AsRef::as_ref));
    match data_type {
        DataType::Utf8 => Ok(Arc::new(texts().collect::<StringArray>())),
        DataType::Boolean => {
            let cells = texts().map(|t| t.map(boolean).transpose());
            Ok(Arc::new(cells.collect::<Result<BooleanArray>>()?))
        }
        DataType::Binary => {
            let cells = texts().map(|t| t.map(bytes).transpose());
            Ok(Arc::new(cells.collect::<Result<Vec<_>>>()?.into_iter().collect::<BinaryArray>()))
        }
        DataType::List(item) => {
            let rows = texts().map(|t| t.map(array_elements).transpose()).collect::<Result<Vec<_>>>()?;
            let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
            let offsets = OffsetBuffer::from_lengths(lengths);
            let nulls: NullBuffer = rows.iter().map(Option::is_some).collect::<Vec<_>>().into();
            let elements: Vec<_> = rows.into_iter().flatten().flatten().collect();
            let values = array_of(&elements, item.data_type())?;
            let list = ListArray::try_new(item.clone(), offsets, values, Some(nulls));
            Ok(Arc::new(list.map_err(|e| errors::arrow(&e))?))
        }
        _ => {
            let trimmed: ArrayRef = Arc::new(texts().map(|t| t.map(str::trim)).collect::<StringArray>());
            cast_with_options(&trimmed, data_type, &STRICT).map_err(|e| errors::arrow(&e))
        }
    }
}

fn boolean(text: &str) -> Result<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Ok(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Ok(false),
        _ => Err(bad("boolean", text)),
    }
}

/// `\x00ff`, or PostgreSQL's older escape form.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>> {
    let Some(hex) = text.strip_prefix("\\x") else { return escaped_bytes(text) };
    let digits: Vec<u32> =
        hex.chars().filter(|c| !c.is_ascii_whitespace()).map(|c| c.to_digit(16).unwrap_or(16)).collect();
    let pair = |pair: &[u32]| match pair {
        [high @ 0..=15, low @ 0..=15] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    };
    if let Some(odd) = hex.chars().find(|c| !c.is_ascii_hexdigit() && !c.is_ascii_whitespace()) {
        let message = format!("invalid hexadecimal digit: \"{odd}\"");
        return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    }
    let odd =
        || Error::new(sqlstate::INVALID_PARAMETER_VALUE, "invalid hexadecimal data: odd number of digits");
    digits.chunks(2).map(pair).collect::<Option<_>>().ok_or_else(odd)
}

fn escaped_bytes(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Ok(out),
            [b'\\', b'\\', rest @ ..] => {
                out.push(b'\\');
                rest
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest
            }
            [b'\\', ..] => return Err(bad("bytea", text)),
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

/// The elements of `{a,"b c",NULL}`, one dimension.
fn array_elements(text: &str) -> Result<Vec<Option<String>>> {
    let malformed =
        || Error::new(sqlstate::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""));
    let inside = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(malformed)?;
    let mut elements = Vec::new();
    let mut chars = inside.chars().peekable();
    if inside.trim().is_empty() {
        return Ok(elements);
    }
    loop {
        let (mut element, mut quoted) = (String::new(), false);
        loop {
            match chars.next() {
                None | Some(',') => break,
                Some('"') if element.trim().is_empty() && !quoted => {
                    quoted = true;
                    element.clear();
                    loop {
                        match chars.next().ok_or_else(malformed)? {
                            '"' => break,
                            '\\' => element.push(chars.next().ok_or_else(malformed)?),
                            c => element.push(c),
                        }
                    }
                }
                Some('{' | '}' | '"') => return Err(malformed()),
                Some('\\') => element.push(chars.next().ok_or_else(malformed)?),
                Some(c) if !quoted => element.push(c),
                Some(c) if c.is_ascii_whitespace() => {}
                Some(_) => return Err(malformed()),
            }
        }
        let element = if quoted { element } else { element.trim().to_owned() };
        elements.push((quoted || !element.eq_ignore_ascii_case("null")).then_some(element));
        if chars.peek().is_none() {
            return Ok(elements);
        }
    }
}

fn bad(type_name: &str, text: &str) -> Error {
    Error::new(
        sqlstate::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

/// A cast that loses nothing.
pub(crate) fn cast_plain(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    cast_with_options(array, data_type, &STRICT).map_err(|e| errors::arrow(&e))
}

/// Casts a whole column, with PostgreSQL's errors; `name` is the column's, for assignments.
pub(crate) fn cast_array(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    if types::arrow_type(array.data_type())? == postgres_types::Type::TEXT
        && array.data_type() != &DataType::Null
    {
        let plain = cast_with_options(array, &DataType::Utf8, &STRICT).map_err(|e| errors::arrow(&e))?;
        let texts: Vec<_> = plain.as_string::<i32>().iter().collect();
        return array_of(&texts, data_type);
    }
    cast_with_options(array, data_type, &STRICT).map_err(|e| errors::arrow(&e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow::array::*;
    use arrow::datatypes::{Field, Schema, TimeUnit};

    use super::*;

    fn sqlite(array: impl Array + 'static) -> Value {
        value_of(&(Arc::new(array) as ArrayRef), 0, BackendKind::Sqlite).unwrap()
    }

    #[test]
    fn sqlite_gets_its_own_storage_classes() {
        assert_eq!(sqlite(BooleanArray::from(vec![true])), Value::Int(1));
        assert_eq!(sqlite(Int32Array::from(vec![-7])), Value::Int(-7));
        assert_eq!(sqlite(Float64Array::from(vec![0.1])), Value::Real(0.1));
        assert_eq!(sqlite(BinaryArray::from(vec![&[0_u8][..]])), Value::Blob(vec![0]));
        assert_eq!(sqlite(Date32Array::from(vec![0])), Value::Text("1970-01-01".into()));
        let moment = TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC");
        assert_eq!(sqlite(moment), Value::Text("1970-01-01 00:00:00.000001+00:00".into()));
        let money = Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(sqlite(money), Value::Text("12.50".into()));
    }

    #[test]
    fn values_come_back_as_they_went() {
        let zone = Some("UTC".into());
        let cases = [
            ("t", DataType::Boolean),
            ("-9223372036854775808", DataType::Int64),
            ("0.1", DataType::Float64),
            ("12.50", DataType::Decimal128(10, 2)),
            ("2024-02-29", DataType::Date32),
            ("2024-02-29 10:00:05.123456", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("2024-02-29 10:00:05.5+00", DataType::Timestamp(TimeUnit::Microsecond, zone)),
            ("\\x00ff", DataType::Binary),
            ("{a,NULL,\"b \\\"c\"}", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))),
        ];
        for (text, data_type) in cases {
            let array = array_of(&[Some(text), None], &data_type).unwrap();
            assert_eq!(value_of(&array, 0, BackendKind::PostgreSql).unwrap(), Value::Text(text.into()));
            assert_eq!(value_of(&array, 1, BackendKind::PostgreSql).unwrap(), Value::Null);
        }
    }

    #[test]
    fn bad_text_is_22p02() {
        for (text, data_type) in [("x", DataType::Int64), ("maybe", DataType::Boolean)] {
            assert_eq!(array_of(&[Some(text)], &data_type).unwrap_err().code(), "22P02");
        }
    }

    #[test]
    fn rows_become_batches() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("data", DataType::Binary, true),
            Field::new("ok", DataType::Boolean, true),
        ]));
        let rows = [
            vec![Value::Int(1), Value::Blob(vec![92, 1]), Value::Int(0)],
            vec![Value::Int(2), Value::Null, Value::Null],
        ];
        let batch = batch_of(&rows, &schema).unwrap();
        assert_eq!(batch.column(1).as_binary::<i32>().value(0), [92, 1]);
        assert!(!batch.column(2).as_boolean().value(0));
        assert!(batch.column(2).is_null(1));
    }
}
