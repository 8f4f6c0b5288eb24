//! From values of backends that know few types to Arrow columns and back. Casts lose nothing, or fail.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use epoch_adapter::{Error, Result, Row, TableSchema, Value};

use crate::errors::misfit;

/// A value that is read, borrowed from where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// An integer.
    Int(i64),
    /// A double.
    Real(f64),
    /// Text, which may turn out not to be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(v) => Self::Int(*v),
            Value::Real(v) => Self::Real(*v),
            Value::Text(v) => Self::Text(v.as_bytes()),
            Value::Blob(v) => Self::Blob(v),
        }
    }
}

/// One column under construction.
#[derive(Debug)]
enum Cells {
    Small(Int16Builder),
    Middle(Int32Builder),
    Int(Int64Builder),
    Single(Float32Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder, u8, i8),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

/// Collects rows into a record batch.
#[derive(Debug)]
pub struct Batch {
    schema: SchemaRef,
    columns: Vec<Cells>,
    rows: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new(schema: SchemaRef, capacity: usize) -> Result<Self> {
        let columns =
            schema.fields().iter().map(|f| cells(f.data_type(), capacity)).collect::<Result<_>>()?;
        Ok(Self { schema, columns, rows: 0 })
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The name of a column.
    pub fn column_name(&self, i: usize) -> Option<&str> {
        self.schema.fields().get(i).map(|f| f.name().as_str())
    }

    /// Adds a row, cell by cell. The error is the column's index and what is wrong with the value.
    pub fn push<'a, E: std::fmt::Display>(
        &mut self,
        mut cell: impl FnMut(usize) -> std::result::Result<Cell<'a>, E>,
    ) -> std::result::Result<(), (usize, String)> {
        for (i, column) in self.columns.iter_mut().enumerate() {
            let value = cell(i).map_err(|e| (i, e.to_string()))?;
            column.push(value).ok_or_else(|| (i, complaint(&value)))?;
        }
        self.rows += 1;
        Ok(())
    }

    /// What was collected; empty again afterwards.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        let columns =
            self.columns.iter_mut().zip(self.schema.fields()).map(|(c, f)| c.finish(f.data_type())).collect();
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| Error::internal(format!("a record batch: {e}")))
    }
}

/// Rows of this adapter (of a diff, say) as a record batch of the table's Arrow schema.
///
/// # Errors
/// 22P02 if a value doesn't fit its column's declared type.
pub fn record_batch(schema: &TableSchema, rows: &[Row]) -> Result<RecordBatch> {
    let mut batch = Batch::new(schema.arrow(), rows.len())?;
    for row in rows {
        batch.push(|i| Ok::<_, std::fmt::Error>(row.get(i).map_or(Cell::Null, Cell::from))).map_err(
            |(i, what)| {
                let column = schema.columns.get(i).map_or("?", |c| c.name.as_str());
                let pg_type = schema.columns.get(i).map_or("?", |c| c.pg_type.as_str());
                misfit(pg_type, column, &what)
            },
        )?;
    }
    batch.finish()
}

fn complaint(value: &Cell<'_>) -> String {
    match value {
        Cell::Null => "null".to_owned(),
        Cell::Int(v) => format!("\"{v}\""),
        Cell::Real(v) => format!("\"{v}\""),
        Cell::Text(v) => {
            format!("\"{}\"", String::from_utf8_lossy(v).chars().take(80).collect::<String>())
        }
        Cell::Blob(v) => format!("a blob of {} bytes", v.len()),
    }
}

fn cells(data_type: &DataType, n: usize) -> Result<Cells> {
    Ok(match data_type {
        DataType::Int16 => Cells::Small(Int16Builder::with_capacity(n)),
        DataType::Int32 => Cells::Middle(Int32Builder::with_capacity(n)),
        DataType::Float32 => Cells::Single(Float32Builder::with_capacity(n)),
        DataType::Int64 => Cells::Int(Int64Builder::with_capacity(n)),
        DataType::Float64 => Cells::Float(Float64Builder::with_capacity(n)),
        DataType::Boolean => Cells::Bool(BooleanBuilder::with_capacity(n)),
        DataType::Date32 => Cells::Date(Date32Builder::with_capacity(n)),
        DataType::Time64(TimeUnit::Microsecond) => Cells::Time(Time64MicrosecondBuilder::with_capacity(n)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Cells::Timestamp(TimestampMicrosecondBuilder::with_capacity(n))
        }
        DataType::Decimal128(p, s) => Cells::Decimal(Decimal128Builder::with_capacity(n), *p, *s),
        DataType::Utf8 => Cells::Text(StringBuilder::new()),
        DataType::Binary => Cells::Bytes(BinaryBuilder::new()),
        other => return Err(Error::unsupported(format!("the type {other} on this backend"))),
    })
}

impl Cells {
    /// Appends a value cast without loss; `None` if that isn't possible.
    fn push(&mut self, value: Cell<'_>) -> Option<()> {
        let null = matches!(value, Cell::Null);
        match self {
            Self::Small(b) if null => b.append_null(),
            Self::Middle(b) if null => b.append_null(),
            Self::Single(b) if null => b.append_null(),
            Self::Int(b) if null => b.append_null(),
            Self::Float(b) if null => b.append_null(),
            Self::Bool(b) if null => b.append_null(),
            Self::Date(b) if null => b.append_null(),
            Self::Time(b) if null => b.append_null(),
            Self::Timestamp(b) if null => b.append_null(),
            Self::Decimal(b, ..) if null => b.append_null(),
            Self::Text(b) if null => b.append_null(),
            Self::Bytes(b) if null => b.append_null(),
            Self::Small(b) => b.append_value(i16::try_from(integer(value)?).ok()?),
            Self::Middle(b) => b.append_value(i32::try_from(integer(value)?).ok()?),
            Self::Single(b) => b.append_value(single(value)?),
            Self::Int(b) => b.append_value(integer(value)?),
            Self::Float(b) => b.append_value(float(value)?),
            Self::Bool(b) => b.append_value(boolean(value)?),
            Self::Date(b) => b.append_value(parse_date(text(&value)?)?),
            Self::Time(b) => b.append_value(parse_clock(text(&value)?)?),
            Self::Timestamp(b) => b.append_value(parse_timestamp(text(&value)?)?),
            Self::Decimal(b, p, s) => b.append_value(decimal(value, *p, *s)?),
            Self::Text(b) => match value {
                Cell::Int(v) => b.append_value(v.to_string()),
                Cell::Real(v) => b.append_value(v.to_string()),
                _ => b.append_value(text(&value)?),
            },
            Self::Bytes(b) => match value {
                Cell::Blob(v) | Cell::Text(v) => b.append_value(v),
                _ => return None,
            },
        }
        Some(())
    }

    fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        match self {
            Self::Small(b) => Arc::new(b.finish()),
            Self::Middle(b) => Arc::new(b.finish()),
            Self::Single(b) => Arc::new(b.finish()),
            Self::Int(b) => Arc::new(b.finish()),
            Self::Float(b) => Arc::new(b.finish()),
            Self::Bool(b) => Arc::new(b.finish()),
            Self::Date(b) => Arc::new(b.finish()),
            Self::Time(b) => Arc::new(b.finish()),
            Self::Timestamp(b) => Arc::new(b.finish().with_data_type(data_type.clone())),
            Self::Decimal(b, ..) => Arc::new(b.finish().with_data_type(data_type.clone())),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Bytes(b) => Arc::new(b.finish()),
        }
    }
}

fn text<'a>(value: &Cell<'a>) -> Option<&'a str> {
    match value {
        Cell::Text(v) => std::str::from_utf8(v).ok(),
        _ => None,
    }
}

fn integer(value: Cell<'_>) -> Option<i64> {
    match value {
        Cell::Int(v) => Some(v),
        // 2^63 as a double is one more than the largest integer.
        Cell::Real(v) if v.fract() == 0.0 && (i64::MIN as f64..-(i64::MIN as f64)).contains(&v) =>
        {
            #[allow(clippy::cast_possible_truncation)]
            Some(v as i64)
        }
        _ => text(&value)?.trim().parse().ok(),
    }
}

fn float(value: Cell<'_>) -> Option<f64> {
    match value {
        Cell::Real(v) => Some(v),
        #[allow(clippy::cast_precision_loss)]
        Cell::Int(v) => {
            let float = v as f64;
            (integer(Cell::Real(float)) == Some(v)).then_some(float)
        }
        _ => text(&value)?.trim().parse().ok(),
    }
}

fn single(value: Cell<'_>) -> Option<f32> {
    let double = float(value)?;
    #[allow(clippy::cast_possible_truncation)]
    let single = double as f32;
    (f64::from(single) == double || double.is_nan()).then_some(single)
}

fn boolean(value: Cell<'_>) -> Option<bool> {
    match value {
        Cell::Int(0) => Some(false),
        Cell::Int(1) => Some(true),
        _ => match text(&value)?.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "yes" | "on" | "y" | "1" => Some(true),
            "f" | "false" | "no" | "off" | "n" | "0" => Some(false),
            _ => None,
        },
    }
}

fn decimal(value: Cell<'_>, precision: u8, scale: i8) -> Option<i128> {
    let unscaled = match value {
        Cell::Int(v) => parse_decimal(&v.to_string(), scale)?,
        // A double stands for the decimal that prints it; arithmetic leaves noise behind the 15th
        // digit, which is not what a person stored.
        Cell::Real(v) => {
            parse_decimal(&v.to_string(), scale).or_else(|| parse_decimal(&format!("{v:.14e}"), scale))?
        }
        _ => parse_decimal(text(&value)?.trim(), scale)?,
    };
    (unscaled.unsigned_abs() < 10_u128.pow(u32::from(precision))).then_some(unscaled)
}

/// `-12.50e1` at a scale, if nothing is lost.
fn parse_decimal(text: &str, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_end_matches('0');
    let dropped = i32::try_from(all.len() - significant.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let power = i32::from(scale) + exponent + dropped - i32::try_from(fraction.len()).ok()?;
    let value: i128 = significant.parse().ok()?;
    let value = value.checked_mul(10_i128.checked_pow(u32::try_from(power).ok()?)?)?;
    Some(if negative { -value } else { value })
}

/// Days since 1970-01-01 of the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day number.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// `YYYY-MM-DD`, nothing else.
pub fn parse_date(text: &str) -> Option<i32> {
    let mut parts = text.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let valid = parts.next().is_none() && (1..=12).contains(&month) && day >= 1;
    let n = days(year, month, day);
    (valid && civil(n) == (year, month, day)).then(|| i32::try_from(n).ok()).flatten()
}

/// `YYYY-MM-DD[( |T)HH:MM[:SS[.ffffff]][Z|±HH[:MM]]]` as microseconds; an offset is taken off.
fn parse_timestamp(text: &str) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    let text = text.trim();
    let date = i64::from(parse_date(text.get(..10)?)?);
    let rest = text.get(10..)?;
    if rest.is_empty() {
        return Some(date * DAY);
    }
    let rest = rest.strip_prefix([' ', 'T', 't'])?;
    let (clock, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(i) => (rest.get(..i)?.trim_end(), parse_offset(rest.get(i..)?)?),
        None => (rest, 0),
    };
    Some(date * DAY + parse_clock(clock)? - offset * 60_000_000)
}

/// `HH:MM[:SS[.ffffff]]` as microseconds of the day.
fn parse_clock(clock: &str) -> Option<i64> {
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |s| number(s, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || fraction.len() > 6 {
        return None;
    }
    let micros = if fraction.is_empty() { 0 } else { number(&format!("{fraction:0<6}"), 6)? };
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// Minutes east of UTC.
fn parse_offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2)?, 0),
        4 => (number(digits.get(..2)?, 2)?, number(digits.get(2..)?, 2)?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes))
}

/// A cell of a batch as this adapter stores it: what a write takes. The batch has the column's Arrow
/// type, or one that this adapter never yields (then 0A000).
///
/// # Errors
/// 0A000 for a type that no column of this adapter has.
pub fn value_at(array: &dyn Array, row: usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Int16 => Value::Int(i64::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int32 => Value::Int(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Float32 => Value::Real(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Real(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::Int(i64::from(array.as_boolean().value(row))),
        DataType::Date32 => Value::Text(date_text(i64::from(array.as_primitive::<Date32Type>().value(row)))),
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
            // Behind the day, which it has none of.
            let text = timestamp_text(micros, false);
            Value::Text(text.split_once(' ').map(|(_, clock)| clock.to_owned()).unwrap_or_default())
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            Value::Text(timestamp_text(micros, zone.is_some()))
        }
        DataType::Decimal128(_, scale) => {
            Value::Text(decimal_text(array.as_primitive::<Decimal128Type>().value(row), *scale))
        }
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Value::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Value::Text(array.as_string_view().value(row).to_owned()),
        DataType::Binary => Value::Blob(array.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeBinary => Value::Blob(array.as_binary::<i64>().value(row).to_vec()),
        DataType::BinaryView => Value::Blob(array.as_binary_view().value(row).to_vec()),
        DataType::Null => Value::Null,
        other => return Err(Error::unsupported(format!("storing a value of type {other} in this backend"))),
    })
}

/// `YYYY-MM-DD` of a day number since 1970-01-01.
pub fn date_text(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

fn timestamp_text(micros: i64, utc: bool) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (day, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut out = format!("{} {:02}:{:02}:{:02}", date_text(day), clock / 3_600, clock / 60 % 60, clock % 60);
    let fraction = micros.rem_euclid(1_000_000);
    if fraction != 0 {
        out.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    if utc {
        out.push_str("+00:00");
    }
    out
}

fn decimal_text(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    if scale == 0 {
        return value.to_string();
    }
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn casts_lose_nothing() {
        assert_eq!(integer(Cell::Real(3.0)), Some(3));
        assert_eq!(integer(Cell::Real(3.5)), None);
        assert_eq!(integer(Cell::Real(9.3e18)), None);
        assert_eq!(integer(Cell::Text(b" 12 ")), Some(12));
        assert_eq!(float(Cell::Int(i64::MAX)), None);
        assert_eq!(float(Cell::Int(1 << 53)), Some(9_007_199_254_740_992.0));
        assert_eq!(boolean(Cell::Int(2)), None);
        assert_eq!(boolean(Cell::Text(b"True")), Some(true));
        assert_eq!(decimal(Cell::Real(0.1 + 0.2), 10, 2), Some(30));
        assert_eq!(decimal(Cell::Real(12.345), 10, 2), None);
        assert_eq!(decimal(Cell::Real(1e22), 38, 2), Some(10_i128.pow(24)));
        assert_eq!(decimal(Cell::Int(-7), 10, 2), Some(-700));
        assert_eq!(decimal(Cell::Int(100), 4, 2), None);
        assert_eq!(decimal(Cell::Text(b"-0.050"), 4, 2), Some(-5));
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(parse_date("1970-01-01"), Some(0));
        assert_eq!(parse_date("2000-02-29"), Some(11_016));
        assert_eq!(parse_date("2001-02-29"), None);
        assert_eq!(parse_date("2001-2-9"), None);
        assert_eq!(parse_timestamp("1970-01-02"), Some(86_400_000_000));
        assert_eq!(parse_timestamp("1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(parse_timestamp("1970-01-01T02:00:00.000Z"), Some(7_200_000_000));
        assert_eq!(parse_timestamp("1970-01-01 02:00+02:00"), Some(0));
        assert_eq!(parse_timestamp("1970-01-01 00:00:00.0000001"), None);
        assert_eq!(parse_timestamp("1970-01-01 25:00"), None);
        assert_eq!(parse_clock("23:59:59.9999990"), Some(86_399_999_999));
        assert_eq!(parse_clock("23:59:59.9999999"), None);
        assert_eq!(timestamp_text(-1, false), "1969-12-31 23:59:59.999999");
        for n in (-800_000..800_000).step_by(7_919) {
            let (y, m, d) = civil(n);
            assert_eq!(days(y, m, d), n);
        }
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(12_345, 2), "123.45");
    }
}
