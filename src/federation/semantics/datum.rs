//! Single values: read from Arrow arrays, made into arrays.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    LargeStringArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt64Type,
};
use epoch_adapter::{Error, Result, sqlstate};

use super::super::{convert, errors};
use super::number::Num;

/// What the results of one function for one batch may take. A value in PostgreSQL has at most 1 GB.
pub(crate) const MOST_BYTES: usize = 1 << 28;

/// One value. Integers of all widths are one, as are moments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Num(Num),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds: of a time, or since 1970-01-01 00:00:00 (of UTC).
    Micros(i64),
    Interval(Span),
}

/// An interval: its parts don't become each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) months: i32,
    pub(crate) days: i32,
    pub(crate) micros: i64,
}

impl<'a> Datum<'a> {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    /// No negative zero, one NaN: Arrow compares bits.
    pub(crate) fn float(value: f64) -> Self {
        Self::Float(plain(value))
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// The bytes that it takes beside its own size.
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    pub(crate) fn as_int(&self) -> Result<i64> {
        match self {
            Self::Int(value) => Ok(*value),
            _ => Err(wrong("an integer")),
        }
    }

    pub(crate) fn as_float(&self) -> Result<f64> {
        match self {
            Self::Float(value) => Ok(*value),
            #[allow(clippy::cast_precision_loss)]
            Self::Int(value) => Ok(*value as f64),
            Self::Num(value) => Ok(value.to_float()),
            _ => Err(wrong("a float")),
        }
    }

    pub(crate) fn as_num(&self) -> Result<Num> {
        match self {
            Self::Num(value) => Ok(value.clone()),
            Self::Int(value) => Ok(Num::of_int(*value)),
            _ => Err(wrong("a numeric")),
        }
    }

    pub(crate) fn as_text(&self) -> Result<&str> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(wrong("a text")),
        }
    }

    /// The order of two values of one type.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Num(a), Self::Num(b)) => a.compare(b),
            (Self::Num(a), Self::Int(b)) => a.compare(&Num::of_int(*b)),
            (Self::Int(a), Self::Num(b)) => Num::of_int(*a).compare(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Micros(a), Self::Micros(b)) => a.cmp(b),
            _ => return None,
        })
    }
}

fn wrong(what: &str) -> Error {
    Error::internal(format!("a function was called with something else than {what}"))
}

pub(crate) fn plain(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}

/// The array in one of the layouts that [`read`] knows.
pub(crate) fn normalized(array: &ArrayRef) -> Result<ArrayRef> {
    let target = match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => return Ok(array.clone()),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Interval(IntervalUnit::MonthDayNano) => return Ok(array.clone()),
        DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Time64(TimeUnit::Nanosecond) => DataType::Time64(TimeUnit::Microsecond),
        _ => return Ok(array.clone()),
    };
    arrow::compute::cast_with_options(array, &target, &convert::STRICT).map_err(|e| errors::arrow(&e))
}

/// A value of a normalized array.
pub(crate) fn read(array: &ArrayRef, row: usize) -> Result<Datum<'_>> {
    if array.is_null(row) {
        return Ok(Datum::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Datum::Null,
        DataType::Boolean => Datum::Bool(array.as_boolean().value(row)),
        DataType::Int16 => Datum::Int(i64::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int32 => Datum::Int(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Datum::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => {
            let value = i64::try_from(array.as_primitive::<UInt64Type>().value(row));
            Datum::Int(value.map_err(|_| out_of_range("bigint"))?)
        }
        DataType::Float32 => Datum::float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => Datum::float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            Datum::Num(Num::of_i128(array.as_primitive::<Decimal128Type>().value(row), *scale))
        }
        DataType::Decimal256(_, scale) => {
            Datum::Num(Num::of_i256(array.as_primitive::<Decimal256Type>().value(row), *scale))
        }
        DataType::LargeUtf8 => Datum::Num(Num::parse(array.as_string::<i64>().value(row))?),
        DataType::Utf8 => Datum::Text(Cow::Borrowed(array.as_string::<i32>().value(row))),
        DataType::Binary => Datum::Bytes(Cow::Borrowed(array.as_binary::<i32>().value(row))),
        DataType::Date32 => Datum::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(_) => Datum::Micros(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(..) => Datum::Micros(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            Datum::Interval(Span { months: value.months, days: value.days, micros: value.nanoseconds / 1000 })
        }
        other => return Err(Error::unsupported(format!("a value of type {other} in an expression"))),
    })
}

pub(crate) fn out_of_range(what: &str) -> Error {
    Error::new("22003", format!("{what} out of range"))
}

/// Adds up what values take, and fails before they take too much.
#[derive(Default)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) fn take(&mut self, value: &Datum<'_>) -> Result<()> {
        self.0 += value.size();
        if self.0 > MOST_BYTES {
            return Err(Error::new("53200", "out of memory").with_detail(format!(
                "The results of a function for one batch take more than {MOST_BYTES} bytes."
            )));
        }
        Ok(())
    }
}

/// A text of this length is refused before it is made.
pub(crate) fn check_length(bytes: usize) -> Result<()> {
    if bytes > MOST_BYTES {
        return Err(Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "requested length too large"));
    }
    Ok(())
}

/// Values as an array of a type; 22003 for numbers that don't fit it.
pub(crate) fn build(data_type: &DataType, values: &[Datum<'_>]) -> Result<ArrayRef> {
    let ints = || values.iter().map(int_of);
    let floats = || values.iter().map(float_of);
    let nums = || values.iter().map(num_of);
    let micros = || values.iter().map(micros_of);
    Ok(match data_type {
        DataType::Null => new_null_array(&DataType::Null, values.len()),
        DataType::Boolean => Arc::new(values.iter().map(bool_of).collect::<Result<BooleanArray>>()?),
        DataType::Int16 => {
            let narrow = |v: Option<i64>| {
                v.map(|v| i16::try_from(v).map_err(|_| out_of_range("smallint"))).transpose()
            };
            Arc::new(ints().map(|v| narrow(v?)).collect::<Result<Int16Array>>()?)
        }
        DataType::Int32 => {
            let narrow =
                |v: Option<i64>| v.map(|v| i32::try_from(v).map_err(|_| out_of_range("integer"))).transpose();
            Arc::new(ints().map(|v| narrow(v?)).collect::<Result<Int32Array>>()?)
        }
        DataType::Int64 => Arc::new(ints().collect::<Result<Int64Array>>()?),
        #[allow(clippy::cast_possible_truncation)]
        DataType::Float32 => {
            Arc::new(floats().map(|v| Ok(v?.map(|v| v as f32))).collect::<Result<Float32Array>>()?)
        }
        DataType::Float64 => Arc::new(floats().collect::<Result<Float64Array>>()?),
        DataType::Decimal128(p, s) => {
            let cells = nums().map(|v| v?.map(|v| v.to_i128(*p, *s)).transpose());
            Arc::new(cells.collect::<Result<Decimal128Array>>()?.with_data_type(data_type.clone()))
        }
        DataType::Decimal256(p, s) => {
            let cells = nums().map(|v| v?.map(|v| v.to_i256(*p, *s)).transpose());
            Arc::new(cells.collect::<Result<Decimal256Array>>()?.with_data_type(data_type.clone()))
        }
        DataType::LargeUtf8 => {
            let cells = nums().map(|v| Ok(v?.map(|v| v.to_string())));
            Arc::new(cells.collect::<Result<LargeStringArray>>()?)
        }
        DataType::Utf8 => Arc::new(values.iter().map(text_of).collect::<Result<StringArray>>()?),
        DataType::Binary => Arc::new(
            values.iter().map(bytes_of).collect::<Result<Vec<_>>>()?.into_iter().collect::<BinaryArray>(),
        ),
        DataType::Date32 => Arc::new(values.iter().map(date_of).collect::<Result<Date32Array>>()?),
        DataType::Time64(TimeUnit::Microsecond) => {
            Arc::new(micros().collect::<Result<Time64MicrosecondArray>>()?)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let array = micros().collect::<Result<TimestampMicrosecondArray>>()?;
            Arc::new(array.with_data_type(data_type.clone()))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Arc::new(values.iter().map(interval_of).collect::<Result<IntervalMonthDayNanoArray>>()?)
        }
        other => return Err(Error::internal(format!("a function yields {other}"))),
    })
}

fn bool_of(value: &Datum<'_>) -> Result<Option<bool>> {
    match value {
        Datum::Null => Ok(None),
        Datum::Bool(value) => Ok(Some(*value)),
        _ => Err(wrong("a boolean")),
    }
}

fn int_of(value: &Datum<'_>) -> Result<Option<i64>> {
    if value.is_null() { Ok(None) } else { value.as_int().map(Some) }
}

fn float_of(value: &Datum<'_>) -> Result<Option<f64>> {
    if value.is_null() { Ok(None) } else { value.as_float().map(|v| Some(plain(v))) }
}

fn num_of(value: &Datum<'_>) -> Result<Option<Num>> {
    if value.is_null() { Ok(None) } else { value.as_num().map(Some) }
}

fn micros_of(value: &Datum<'_>) -> Result<Option<i64>> {
    match value {
        Datum::Null => Ok(None),
        Datum::Micros(value) => Ok(Some(*value)),
        _ => Err(wrong("a moment")),
    }
}

fn text_of<'a>(value: &'a Datum<'_>) -> Result<Option<&'a str>> {
    if value.is_null() { Ok(None) } else { value.as_text().map(Some) }
}

fn bytes_of<'a>(value: &'a Datum<'_>) -> Result<Option<&'a [u8]>> {
    match value {
        Datum::Null => Ok(None),
        Datum::Bytes(value) => Ok(Some(value)),
        _ => Err(wrong("bytes")),
    }
}

fn date_of(value: &Datum<'_>) -> Result<Option<i32>> {
    match value {
        Datum::Null => Ok(None),
        Datum::Date(value) => Ok(Some(*value)),
        _ => Err(wrong("a date")),
    }
}

fn interval_of(value: &Datum<'_>) -> Result<Option<IntervalMonthDayNano>> {
    match value {
        Datum::Null => Ok(None),
        Datum::Interval(span) => {
            let nanos =
                span.micros.checked_mul(1000).ok_or_else(|| Error::new("22008", "interval out of range"))?;
            Ok(Some(IntervalMonthDayNano::new(span.months, span.days, nanos)))
        }
        _ => Err(wrong("an interval")),
    }
}
