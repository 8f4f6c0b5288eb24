//! Rows of Arrow batches as bodies of PostgreSQL DataRow messages, in text and in binary.

use std::fmt::Display;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use bytes::{BufMut, Bytes, BytesMut};
use epoch_adapter::{Error, Result, sqlstate};
use postgres_types::{Kind, Type};

use super::convert::STRICT;
use super::{text, types};
use crate::wire::numeric;

/// 2000-01-01 in microseconds and days after 1970-01-01: PostgreSQL's binary epoch.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// One result column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The name.
    pub name: String,
    /// The type on the wire.
    pub pg_type: Type,
}

/// The result columns of a schema.
pub(crate) fn columns_of(schema: &Schema) -> Result<Vec<Column>> {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        Ok(Column { name: field.name().clone(), pg_type: types::field_type(field)? })
    };
    schema.fields().iter().map(column).collect()
}

/// The text of a whole array value for the text columns of other results, e.g. keys in JSON.
pub(crate) fn cell_text(array: &ArrayRef, row: usize, zone: Tz) -> Result<Option<String>> {
    let pg_type = types::arrow_type(array.data_type())?;
    let (array, cells) = Cells::new(array)?;
    text_of(&array, cells, &pg_type, row, zone)
}

/// Encodes batches of one result.
#[derive(Debug, Clone)]
pub(crate) struct RowEncoder {
    columns: Vec<(Type, bool)>,
    zone: Tz,
}

impl RowEncoder {
    /// `formats` as in a Bind message: none (all text), one for all, or one per column.
    pub(crate) fn new(columns: &[Column], formats: &[i16], zone: Tz) -> Result<Self> {
        let format = |index: usize| match formats {
            [] => Ok(0),
            [one] => Ok(*one),
            many => many.get(index).copied().ok_or_else(|| {
                let message = format!(
                    "bind message has {} result formats but query has {} columns",
                    many.len(),
                    columns.len()
                );
                Error::new(sqlstate::PROTOCOL_VIOLATION, message)
            }),
        };
        let encoded = columns.iter().enumerate().map(|(index, column)| match format(index)? {
            0 => Ok((column.pg_type.clone(), false)),
            1 => Ok((column.pg_type.clone(), true)),
            other => Err(Error::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("unsupported format code: {other}"),
            )),
        });
        Ok(Self { columns: encoded.collect::<Result<_>>()?, zone })
    }

    /// The rows of a batch, each the body of a DataRow message (without type byte and length).
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Vec<Bytes>> {
        if batch.num_columns() != self.columns.len() {
            return Err(Error::internal("a batch has other columns than its result"));
        }
        let arrays = batch.columns().iter().map(Cells::new).collect::<Result<Vec<_>>>()?;
        let count = u16::try_from(self.columns.len())
            .map_err(|_| Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "too many result columns"))?;
        let mut buffer =
            BytesMut::with_capacity(batch.num_rows().saturating_mul(16 * self.columns.len() + 2));
        let mut rows = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            buffer.put_u16(count);
            for ((array, cells), (pg_type, binary)) in arrays.iter().zip(&self.columns) {
                self.put(&mut buffer, array, *cells, pg_type, *binary, row)?;
            }
            rows.push(buffer.split().freeze());
        }
        Ok(rows)
    }

    fn put(
        &self,
        buffer: &mut BytesMut,
        array: &ArrayRef,
        cells: Cells,
        pg_type: &Type,
        binary: bool,
        row: usize,
    ) -> Result<()> {
        if array.is_null(row) || cells == Cells::Null {
            buffer.put_i32(-1);
            return Ok(());
        }
        let start = buffer.len();
        buffer.put_i32(0);
        if binary {
            put_binary(buffer, array, cells, pg_type, row)?;
        } else if let Some(value) = plain_text(array, cells, row) {
            buffer.put_slice(value.as_bytes());
        } else if let Some(value) = text_of(array, cells, pg_type, row, self.zone)? {
            buffer.put_slice(value.as_bytes());
        }
        set_length(buffer, start)
    }
}

/// Writes the length of what follows the four bytes at `start`.
fn set_length(buffer: &mut BytesMut, start: usize) -> Result<()> {
    let length = i32::try_from(buffer.len() - start - 4)
        .map_err(|_| Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "a value is larger than 2 GB"))?;
    if let Some(field) = buffer.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// How the values of a (normalised) array are laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cells {
    Null,
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Decimal128(i8),
    Decimal256(i8),
    Text,
    Bytes,
    Date,
    Time,
    Timestamp(bool),
    Interval,
    List,
    Struct,
}

impl Cells {
    /// Brings an array into one of a few layouts: large, view and dictionary arrays into plain ones,
    /// all units of time into microseconds.
    fn new(array: &ArrayRef) -> Result<(ArrayRef, Self)> {
        let to = |target: DataType, cells: Self| -> Result<(ArrayRef, Self)> {
            if *array.data_type() == target {
                return Ok((array.clone(), cells));
            }
            // What doesn't fit is an error, not NULL.
            let converted =
                cast_with_options(array, &target, &STRICT).map_err(|e| super::errors::arrow(&e))?;
            Ok((converted, cells))
        };
        match array.data_type() {
            DataType::Null => Ok((array.clone(), Self::Null)),
            DataType::Boolean => Ok((array.clone(), Self::Bool)),
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => to(DataType::Int16, Self::Int2),
            DataType::UInt16 | DataType::Int32 => to(DataType::Int32, Self::Int4),
            DataType::UInt32 | DataType::UInt64 | DataType::Int64 => to(DataType::Int64, Self::Int8),
            DataType::Float16 | DataType::Float32 => to(DataType::Float32, Self::Float4),
            DataType::Float64 => Ok((array.clone(), Self::Float8)),
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
                to(DataType::Decimal128(38, *scale), Self::Decimal128(*scale))
            }
            DataType::Decimal128(_, scale) => Ok((array.clone(), Self::Decimal128(*scale))),
            DataType::Decimal256(_, scale) => Ok((array.clone(), Self::Decimal256(*scale))),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => to(DataType::Utf8, Self::Text),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => to(DataType::Binary, Self::Bytes),
            DataType::Date32 | DataType::Date64 => to(DataType::Date32, Self::Date),
            DataType::Time32(_) | DataType::Time64(_) => {
                to(DataType::Time64(TimeUnit::Microsecond), Self::Time)
            }
            DataType::Timestamp(_, zone) => {
                to(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), Self::Timestamp(zone.is_some()))
            }
            DataType::Interval(_) | DataType::Duration(_) => {
                to(DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano), Self::Interval)
            }
            DataType::Dictionary(_, value) => {
                let plain = cast(array, value).map_err(|e| super::errors::arrow(&e))?;
                Self::new(&plain)
            }
            DataType::List(_) => Ok((array.clone(), Self::List)),
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                to(DataType::List(item.clone()), Self::List)
            }
            DataType::Struct(_) => Ok((array.clone(), Self::Struct)),
            other => Err(Error::unsupported(format!("a result column of type {other}"))),
        }
    }
}

/// Text cells are sent as they are, without a copy.
fn plain_text(array: &ArrayRef, cells: Cells, row: usize) -> Option<&str> {
    (cells == Cells::Text).then(|| array.as_string::<i32>().value(row))
}

fn out_of_range(what: impl Display) -> Error {
    Error::new("22008", format!("{what} out of range"))
}

/// The text form of a cell, `None` for NULL.
fn text_of(array: &ArrayRef, cells: Cells, pg_type: &Type, row: usize, zone: Tz) -> Result<Option<String>> {
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match cells {
        Cells::Null => return Ok(None),
        Cells::Bool => if array.as_boolean().value(row) { "t" } else { "f" }.to_owned(),
        Cells::Int2 => array.as_primitive::<Int16Type>().value(row).to_string(),
        Cells::Int4 => array.as_primitive::<Int32Type>().value(row).to_string(),
        Cells::Int8 => array.as_primitive::<Int64Type>().value(row).to_string(),
        Cells::Float4 => text::float4(array.as_primitive::<Float32Type>().value(row)),
        Cells::Float8 => text::float8(array.as_primitive::<Float64Type>().value(row)),
        Cells::Decimal128(_) | Cells::Decimal256(_) => decimal_text(array, cells, row),
        Cells::Text => array.as_string::<i32>().value(row).to_owned(),
        Cells::Bytes => text::bytea(array.as_binary::<i32>().value(row)),
        Cells::Date => text::date(
            text::from_days(array.as_primitive::<Date32Type>().value(row))
                .ok_or_else(|| out_of_range("date"))?,
        ),
        Cells::Time => text::time(time_of(array, row)?),
        Cells::Timestamp(zoned) => {
            let moment = text::from_micros(array.as_primitive::<TimestampMicrosecondType>().value(row))
                .ok_or_else(|| out_of_range("timestamp"))?;
            if zoned { text::timestamptz(moment, zone) } else { text::timestamp(moment) }
        }
        Cells::Interval => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            text::interval(value.months, value.days, value.nanoseconds / 1000)
        }
        Cells::List => list_text(array, pg_type, row, zone)?,
        Cells::Struct => {
            let fields = array.as_struct().columns().iter().map(|c| cell_text(c, row, zone));
            text::record(&fields.collect::<Result<Vec<_>>>()?)
        }
    }))
}

fn time_of(array: &ArrayRef, row: usize) -> Result<chrono::NaiveTime> {
    let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
    text::from_micros(micros).map(|d| d.time()).ok_or_else(|| out_of_range("time"))
}

fn decimal_text(array: &ArrayRef, cells: Cells, row: usize) -> String {
    match cells {
        Cells::Decimal256(scale) => {
            text::decimal(&array.as_primitive::<Decimal256Type>().value(row).to_string(), scale)
        }
        Cells::Decimal128(scale) => {
            text::decimal(&array.as_primitive::<Decimal128Type>().value(row).to_string(), scale)
        }
        _ => String::new(),
    }
}

fn list_text(array: &ArrayRef, pg_type: &Type, row: usize, zone: Tz) -> Result<String> {
    let items = array.as_list::<i32>().value(row);
    let element = element_type(pg_type, &items)?;
    let (items, cells) = Cells::new(&items)?;
    let texts = (0..items.len()).map(|i| text_of(&items, cells, &element, i, zone));
    Ok(text::array(&texts.collect::<Result<Vec<_>>>()?, cells == Cells::List))
}

fn element_type(pg_type: &Type, items: &ArrayRef) -> Result<Type> {
    match (pg_type.kind(), items.data_type()) {
        (_, DataType::List(_)) => Ok(pg_type.clone()),
        (Kind::Array(element), _) => Ok(element.clone()),
        _ => types::arrow_type(items.data_type()),
    }
}

fn put_binary(
    buffer: &mut BytesMut,
    array: &ArrayRef,
    cells: Cells,
    pg_type: &Type,
    row: usize,
) -> Result<()> {
    match cells {
        Cells::Null => {}
        Cells::Bool => buffer.put_u8(u8::from(array.as_boolean().value(row))),
        Cells::Int2 => buffer.put_i16(array.as_primitive::<Int16Type>().value(row)),
        Cells::Int4 => buffer.put_i32(array.as_primitive::<Int32Type>().value(row)),
        Cells::Int8 => buffer.put_i64(array.as_primitive::<Int64Type>().value(row)),
        Cells::Float4 => buffer.put_f32(array.as_primitive::<Float32Type>().value(row)),
        Cells::Float8 => buffer.put_f64(array.as_primitive::<Float64Type>().value(row)),
        Cells::Decimal128(_) | Cells::Decimal256(_) => {
            numeric::put(buffer, &decimal_text(array, cells, row))?
        }
        Cells::Text => put_binary_text(buffer, array.as_string::<i32>().value(row), pg_type)?,
        Cells::Bytes => buffer.put_slice(array.as_binary::<i32>().value(row)),
        Cells::Date => {
            buffer.put_i32(array.as_primitive::<Date32Type>().value(row).saturating_sub(EPOCH_DAYS))
        }
        Cells::Time => buffer.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row)),
        Cells::Timestamp(_) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            buffer.put_i64(micros.saturating_sub(EPOCH_MICROS));
        }
        Cells::Interval => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            buffer.put_i64(value.nanoseconds / 1000);
            buffer.put_i32(value.days);
            buffer.put_i32(value.months);
        }
        Cells::List => put_binary_list(buffer, array, pg_type, row)?,
        Cells::Struct => put_binary_struct(buffer, array, row)?,
    }
    Ok(())
}

fn put_binary_text(buffer: &mut BytesMut, value: &str, pg_type: &Type) -> Result<()> {
    match *pg_type {
        Type::JSONB => {
            buffer.put_u8(1);
            buffer.put_slice(value.as_bytes());
        }
        Type::UUID => {
            let uuid = uuid::Uuid::parse_str(value).map_err(|_| bad_text("uuid", value))?;
            buffer.put_slice(uuid.as_bytes());
        }
        Type::NUMERIC => numeric::put(buffer, value)?,
        Type::CHAR => buffer.put_u8(value.as_bytes().first().copied().unwrap_or(0)),
        _ => buffer.put_slice(value.as_bytes()),
    }
    Ok(())
}

fn bad_text(type_name: &str, value: &str) -> Error {
    Error::new(
        sqlstate::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{value}\""),
    )
}

fn put_binary_list(buffer: &mut BytesMut, array: &ArrayRef, pg_type: &Type, row: usize) -> Result<()> {
    let items = array.as_list::<i32>().value(row);
    if matches!(items.data_type(), DataType::List(_)) {
        return Err(Error::unsupported("a multi-dimensional array in binary format"));
    }
    let element = element_type(pg_type, &items)?;
    let (items, cells) = Cells::new(&items)?;
    let length = i32::try_from(items.len()).unwrap_or(i32::MAX);
    buffer.put_i32(i32::from(length > 0));
    buffer.put_i32(i32::from(items.null_count() > 0));
    buffer.put_u32(element.oid());
    if length > 0 {
        buffer.put_i32(length);
        buffer.put_i32(1);
    }
    (0..items.len()).try_for_each(|i| put_binary_item(buffer, &items, cells, &element, i))
}

fn put_binary_item(
    buffer: &mut BytesMut,
    items: &ArrayRef,
    cells: Cells,
    pg_type: &Type,
    i: usize,
) -> Result<()> {
    if items.is_null(i) || cells == Cells::Null {
        buffer.put_i32(-1);
        return Ok(());
    }
    let start = buffer.len();
    buffer.put_i32(0);
    put_binary(buffer, items, cells, pg_type, i)?;
    set_length(buffer, start)
}

fn put_binary_struct(buffer: &mut BytesMut, array: &ArrayRef, row: usize) -> Result<()> {
    let fields = array.as_struct().columns();
    buffer.put_i32(i32::try_from(fields.len()).unwrap_or(i32::MAX));
    for field in fields {
        let pg_type = types::arrow_type(field.data_type())?;
        let (field, cells) = Cells::new(field)?;
        buffer.put_u32(pg_type.oid());
        put_binary_item(buffer, &field, cells, &pg_type, row)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
