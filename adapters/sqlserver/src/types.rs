//! Types of SQL Server's columns as PostgreSQL and Arrow types; `docs/backends/sqlserver.md` has the table.
//!
//! A column's `type_name` is what a column of ours is made with: the type with its arguments, and the collation where it
//! has one.

use std::borrow::Cow;

use arrow::datatypes::{DataType, TimeUnit};
use epoch_adapter::{Column, Error, Result, Value};
use epoch_layers::cells::date_text;
use tiberius::ColumnData;

/// How values of a column are read, bound and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    /// `bit`: 0 or 1.
    Bit,
    /// `real` and `float`.
    Float,
    /// Digits, with this precision and scale.
    Decimal(u8, u8),
    /// `money` and `smallmoney`: four digits after the point.
    Money,
    Date,
    /// With this many digits of a second.
    Time(u8),
    /// `datetime2` with this many digits of a second.
    Moment(u8),
    /// `datetime` and `smalldatetime`, which keep some of the digits that are written.
    Coarse,
    /// `datetimeoffset`.
    Offset(u8),
    /// `nchar` (padded with blanks), `nvarchar`.
    Unicode {
        padded: bool,
    },
    /// `char`, `varchar`: what their collation's code page has.
    Text {
        padded: bool,
    },
    Uuid,
    Xml,
    Bytes,
}

/// Days from 0001-01-01 to 1970-01-01, and from 1900-01-01.
const FROM_ONE: i64 = 719_162;
const FROM_1900: i64 = 25_567;

/// What a column is; `None` for a type that has no form here.
pub(crate) fn kind(type_name: &str) -> Option<Kind> {
    let (name, arguments) = split(type_name);
    let digits = || arguments.parse::<u8>().unwrap_or(7);
    Some(match name {
        "tinyint" | "smallint" | "int" | "bigint" => Kind::Integer,
        "bit" => Kind::Bit,
        "real" | "float" => Kind::Float,
        "decimal" | "numeric" => {
            let mut parts = arguments.split(',').map(|p| p.trim().parse::<u8>());
            let precision = parts.next().and_then(Result::ok).unwrap_or(18);
            Kind::Decimal(precision, parts.next().and_then(Result::ok).unwrap_or(0))
        }
        "money" | "smallmoney" => Kind::Money,
        "date" => Kind::Date,
        "time" => Kind::Time(digits()),
        "datetime2" => Kind::Moment(digits()),
        "datetime" | "smalldatetime" => Kind::Coarse,
        "datetimeoffset" => Kind::Offset(digits()),
        "nchar" | "nvarchar" => Kind::Unicode { padded: name == "nchar" },
        "char" | "varchar" => Kind::Text { padded: name == "char" },
        "uniqueidentifier" => Kind::Uuid,
        "xml" => Kind::Xml,
        "binary" | "varbinary" => Kind::Bytes,
        _ => return None,
    })
}

/// The name of a type, and what is in its parentheses.
fn split(type_name: &str) -> (&str, &str) {
    let end = type_name.find(['(', ' ']).unwrap_or(type_name.len());
    let (name, rest) = type_name.split_at(end);
    let inside = rest.strip_prefix('(').and_then(|r| r.split_once(')')).map_or("", |(inside, _)| inside);
    (name, inside)
}

/// The type without its collation.
pub(crate) fn bare(type_name: &str) -> &str {
    type_name.split_once(" COLLATE ").map_or(type_name, |(bare, _)| bare)
}

/// The collation of a type, if it is one that can stand in a statement.
fn collation(type_name: &str) -> Option<&str> {
    let (_, collation) = type_name.split_once(" COLLATE ")?;
    collation.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some(collation)
}

/// The PostgreSQL type and the Arrow type of a column type that has a [`Kind`].
pub(crate) fn map(type_name: &str) -> (String, DataType) {
    let (name, arguments) = split(type_name);
    let plain = |pg: &str, arrow: DataType| (pg.to_owned(), arrow);
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    match (name, kind(type_name)) {
        ("tinyint" | "smallint", _) => plain("smallint", DataType::Int16),
        ("int", _) => plain("integer", DataType::Int32),
        ("bigint", _) => plain("bigint", DataType::Int64),
        ("bit", _) => plain("boolean", DataType::Boolean),
        ("real", _) => plain("real", DataType::Float32),
        // Up to 24 bits it is a `real`.
        ("float", _) if arguments.parse::<u8>().is_ok_and(|bits| bits <= 24) => {
            plain("real", DataType::Float32)
        }
        ("float", _) => plain("double precision", DataType::Float64),
        (_, Some(Kind::Decimal(p, s))) => {
            (format!("numeric({p},{s})"), DataType::Decimal128(p, i8::try_from(s).unwrap_or(0)))
        }
        ("money", _) => plain("numeric(19,4)", DataType::Decimal128(19, 4)),
        ("smallmoney", _) => plain("numeric(10,4)", DataType::Decimal128(10, 4)),
        ("date", _) => plain("date", DataType::Date32),
        (_, Some(Kind::Time(n))) => {
            (format!("time({}) without time zone", n.min(6)), DataType::Time64(TimeUnit::Microsecond))
        }
        (_, Some(Kind::Moment(n))) => (format!("timestamp({}) without time zone", n.min(6)), micros(None)),
        ("datetime", _) => ("timestamp(3) without time zone".to_owned(), micros(None)),
        ("smalldatetime", _) => ("timestamp(0) without time zone".to_owned(), micros(None)),
        (_, Some(Kind::Offset(n))) => {
            (format!("timestamp({}) with time zone", n.min(6)), micros(Some("UTC")))
        }
        ("uniqueidentifier", _) => plain("uuid", DataType::Utf8),
        (_, Some(Kind::Bytes)) => plain("bytea", DataType::Binary),
        (_, Some(Kind::Unicode { .. } | Kind::Text { .. })) if arguments != "max" => {
            (format!("character varying({arguments})"), DataType::Utf8)
        }
        _ => plain("text", DataType::Utf8),
    }
}

/// The kind of a registered column.
pub(crate) fn kind_of(column: &Column) -> Kind {
    kind(&column.type_name).unwrap_or(Kind::Xml)
}

/// Why a column can't be a part of a key.
pub(crate) fn no_key(type_name: &str) -> Option<&'static str> {
    match kind(type_name) {
        Some(Kind::Float) => Some("has a type that isn't exact"),
        Some(Kind::Xml) => Some("has a type that isn't compared"),
        // It couldn't be found again by what is shown of it.
        Some(Kind::Time(7..) | Kind::Moment(7..) | Kind::Offset(7..)) => {
            Some("has more digits of a second than timestamps have here")
        }
        _ => None,
    }
}

/// The type a column is read as, where the wire's form has not all of its digits: `money` comes as a double.
pub(crate) fn read_as(type_name: &str) -> Option<&'static str> {
    (split(type_name).0 == "money").then_some("decimal(19,4)")
}

/// What stands for a value of a column in a comparison. Of `char` and `varchar` the column's collation says which code
/// page: a comparison with Unicode would not use an index.
pub(crate) fn mark(column: &Column) -> String {
    match (kind_of(column), collation(&column.type_name)) {
        (Kind::Text { .. }, Some(collation)) => {
            let length = if column.type_name.contains("(max)") { "max" } else { "8000" };
            format!("CAST(? COLLATE {collation} AS varchar({length}))")
        }
        // Of the numbers that are asked for not all are amounts of money.
        (Kind::Money, _) => "CAST(? AS decimal(19,4))".to_owned(),
        _ => written(&column.type_name),
    }
}

/// What stands for a value that is written to a column. What has no conversion of its own from text is cast; the letter
/// keeps a session's date format out of it.
pub(crate) fn written(type_name: &str) -> String {
    let ty = bare(type_name);
    match kind(type_name) {
        Some(Kind::Decimal(..) | Kind::Money | Kind::Uuid | Kind::Date | Kind::Time(_)) => {
            format!("CAST(? AS {ty})")
        }
        Some(Kind::Moment(_) | Kind::Coarse | Kind::Offset(_)) => {
            format!("CAST(REPLACE(?, ' ', 'T') AS {ty})")
        }
        Some(Kind::Bytes) => "CAST(? AS varbinary(max))".to_owned(),
        Some(Kind::Xml) => "CAST(? AS xml)".to_owned(),
        _ => "?".to_owned(),
    }
}

/// Our value as a parameter.
pub(crate) fn bind(value: &Value) -> ColumnData<'_> {
    match value {
        Value::Null => ColumnData::String(None),
        Value::Int(v) => ColumnData::I64(Some(*v)),
        Value::Real(v) => ColumnData::F64(Some(*v)),
        Value::Text(v) => ColumnData::String(Some(Cow::Borrowed(v))),
        Value::Blob(v) => ColumnData::Binary(Some(Cow::Borrowed(v))),
    }
}

/// A value of a column as ours.
pub(crate) fn read(kind: Kind, raw: ColumnData<'static>) -> Result<Value> {
    let odd = || Error::internal(format!("sqlserver: a value of another type in a column of kind {kind:?}"));
    let value = match raw {
        ColumnData::U8(v) => v.map(|v| Value::Int(i64::from(v))),
        ColumnData::I16(v) => v.map(|v| Value::Int(i64::from(v))),
        ColumnData::I32(v) => v.map(|v| Value::Int(i64::from(v))),
        ColumnData::I64(v) => v.map(Value::Int),
        ColumnData::Bit(v) => v.map(|v| Value::Int(i64::from(v))),
        ColumnData::F32(v) => v.map(|v| Value::Real(f64::from(v))),
        // `smallmoney`, whose digits a double has.
        ColumnData::F64(v) if kind == Kind::Money => v.map(|v| Value::Text(format!("{v:.4}"))),
        ColumnData::F64(v) => v.map(Value::Real),
        ColumnData::Numeric(v) => v.map(|n| Value::Text(decimal_text(n.value(), n.scale()))),
        // The blanks that the server puts at the end are none of the value's; comparisons don't see them.
        ColumnData::String(v)
            if matches!(kind, Kind::Unicode { padded: true } | Kind::Text { padded: true }) =>
        {
            v.map(|v| Value::Text(v.trim_end_matches(' ').to_owned()))
        }
        ColumnData::String(v) => v.map(|v| Value::Text(v.into_owned())),
        ColumnData::Guid(v) => v.map(|v| Value::Text(v.to_string())),
        ColumnData::Binary(v) => v.map(|v| Value::Blob(v.into_owned())),
        ColumnData::Xml(v) => v.map(|v| Value::Text(v.into_owned().into_string())),
        ColumnData::Date(v) => v.map(|v| Value::Text(day(v.days(), 0))),
        ColumnData::Time(v) => {
            v.map(|v| clock(v.increments(), v.scale()).map(Value::Text)).transpose().map_err(|()| odd())?
        }
        ColumnData::DateTime2(v) => {
            let text = |v: tiberius::time::DateTime2| {
                let time = clock(v.time().increments(), v.time().scale())?;
                Ok::<_, ()>(Value::Text(format!("{} {time}", day(v.date().days(), 0))))
            };
            v.map(text).transpose().map_err(|()| odd())?
        }
        ColumnData::DateTimeOffset(v) => v.map(offset).transpose().map_err(|()| odd())?,
        ColumnData::DateTime(v) => v.map(|v| {
            // Three hundredths of a second, which are shown with three digits.
            let millis = (u64::from(v.seconds_fragments()) * 10 + 1) / 3;
            Value::Text(since_1900(i64::from(v.days()), millis))
        }),
        ColumnData::SmallDateTime(v) => {
            v.map(|v| Value::Text(since_1900(i64::from(v.days()), u64::from(v.seconds_fragments()) * 60_000)))
        }
    };
    Ok(value.unwrap_or(Value::Null))
}

fn day(days: u32, shift: i64) -> String {
    date_text(i64::from(days) - FROM_ONE + shift)
}

fn since_1900(days: i64, millis: u64) -> String {
    // What is rounded up to a whole day.
    let (days, millis) = (days + i64::try_from(millis / 86_400_000).unwrap_or(0), millis % 86_400_000);
    let clock = clock(millis, 3).unwrap_or_default();
    format!("{} {clock}", date_text(days - FROM_1900))
}

/// `hh:mm:ss[.fffffff]` of so many parts of a second.
fn clock(increments: u64, scale: u8) -> Result<String, ()> {
    let unit = 10_u64.checked_pow(u32::from(scale)).filter(|_| scale <= 7).ok_or(())?;
    let (seconds, fraction) = (increments / unit, increments % unit);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let digits = format!(".{fraction:0width$}", width = usize::from(scale));
        text.push_str(digits.trim_end_matches('0'));
    }
    Ok(text)
}

/// The wire has the moment in UTC, and the minutes that were said with it.
fn offset(v: tiberius::time::DateTimeOffset) -> Result<Value, ()> {
    let (moment, minutes) = (v.datetime2(), i64::from(v.offset()));
    let (increments, scale) = (moment.time().increments(), moment.time().scale());
    let unit = 10_u64.checked_pow(u32::from(scale)).filter(|_| scale <= 7).ok_or(())?;
    let local = i64::try_from(increments / unit).map_err(|_| ())? + minutes * 60;
    let seconds = u64::try_from(local.rem_euclid(86_400)).map_err(|_| ())?;
    let clock = clock(seconds * unit + increments % unit, scale)?;
    let sign = if minutes < 0 { '-' } else { '+' };
    let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
    let day = day(moment.date().days(), local.div_euclid(86_400));
    Ok(Value::Text(format!("{day} {clock}{sign}{hours:02}:{rest:02}")))
}

fn decimal_text(value: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    if scale == 0 {
        return value.to_string();
    }
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// What is shown of a value: moments without the seventh digit of a second, which neither PostgreSQL nor Arrow's microseconds have.
pub(crate) fn shown(kind: Kind, value: Value) -> Value {
    let Value::Text(text) = &value else { return value };
    if !matches!(kind, Kind::Time(7..) | Kind::Moment(7..) | Kind::Offset(7..)) {
        return value;
    }
    let Some((before, rest)) = text.split_once('.') else { return value };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match (rest.get(..6), rest.get(digits..)) {
        (Some(kept), Some(zone)) if digits > 6 => Value::Text(format!("{before}.{kept}{zone}")),
        _ => value,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tiberius::numeric::Numeric;
    use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};

    fn text(t: &str) -> Value {
        Value::Text(t.to_owned())
    }

    #[test]
    fn types_have_postgresqls_names() {
        let cases = [
            ("tinyint", "smallint", DataType::Int16),
            ("int", "integer", DataType::Int32),
            ("bigint", "bigint", DataType::Int64),
            ("bit", "boolean", DataType::Boolean),
            ("real", "real", DataType::Float32),
            ("float(24)", "real", DataType::Float32),
            ("float", "double precision", DataType::Float64),
            ("float(53)", "double precision", DataType::Float64),
            ("decimal(38,10)", "numeric(38,10)", DataType::Decimal128(38, 10)),
            ("money", "numeric(19,4)", DataType::Decimal128(19, 4)),
            ("smallmoney", "numeric(10,4)", DataType::Decimal128(10, 4)),
            ("date", "date", DataType::Date32),
            ("time(7)", "time(6) without time zone", DataType::Time64(TimeUnit::Microsecond)),
            ("time(0)", "time(0) without time zone", DataType::Time64(TimeUnit::Microsecond)),
            ("nchar(5) COLLATE Latin1_General_CI_AS", "character varying(5)", DataType::Utf8),
            ("varchar(20) COLLATE Latin1_General_BIN2", "character varying(20)", DataType::Utf8),
            ("nvarchar(max) COLLATE Latin1_General_CI_AS", "text", DataType::Utf8),
            ("uniqueidentifier", "uuid", DataType::Utf8),
            ("xml", "text", DataType::Utf8),
            ("varbinary(max)", "bytea", DataType::Binary),
            ("binary(4)", "bytea", DataType::Binary),
        ];
        for (ty, pg, arrow) in cases {
            assert_eq!(map(ty), (pg.to_owned(), arrow), "{ty}");
        }
        assert_eq!(map("datetime2(7)").0, "timestamp(6) without time zone");
        assert_eq!(map("datetime2(0)").0, "timestamp(0) without time zone");
        assert_eq!(map("datetime").0, "timestamp(3) without time zone");
        assert_eq!(map("smalldatetime").0, "timestamp(0) without time zone");
        let (pg, arrow) = map("datetimeoffset(3)");
        assert_eq!(pg, "timestamp(3) with time zone");
        assert_eq!(arrow, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
        for none in
            ["sql_variant", "geography", "hierarchyid", "timestamp", "text", "ntext", "image", "vector(3)"]
        {
            assert_eq!(kind(none), None, "{none}");
        }
    }

    #[test]
    fn values_keep_all_digits() {
        let decimal = |value, scale| ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale)));
        let cases = [
            (Kind::Integer, ColumnData::U8(Some(255)), Value::Int(255)),
            (Kind::Integer, ColumnData::I64(Some(i64::MIN)), Value::Int(i64::MIN)),
            (Kind::Bit, ColumnData::Bit(Some(true)), Value::Int(1)),
            (Kind::Float, ColumnData::F32(Some(f32::MAX)), Value::Real(f64::from(f32::MAX))),
            (Kind::Float, ColumnData::F64(Some(-5e-324)), Value::Real(-5e-324)),
            (
                Kind::Decimal(38, 10),
                decimal(-99_999_999_999_999_999_999_999_999_999_999_999_999, 10),
                text("-9999999999999999999999999999.9999999999"),
            ),
            (Kind::Decimal(10, 2), decimal(-5, 2), text("-0.05")),
            (Kind::Money, decimal(9_223_372_036_854_775_807, 4), text("922337203685477.5807")),
            (Kind::Money, ColumnData::F64(Some(-214_748.364_8)), text("-214748.3648")),
            (Kind::Date, ColumnData::Date(Some(Date::new(0))), text("0001-01-01")),
            (Kind::Date, ColumnData::Date(Some(Date::new(3_652_058))), text("9999-12-31")),
            (Kind::Time(7), ColumnData::Time(Some(Time::new(863_999_999_999, 7))), text("23:59:59.9999999")),
            (Kind::Time(0), ColumnData::Time(Some(Time::new(1, 0))), text("00:00:01")),
            (
                Kind::Moment(7),
                ColumnData::DateTime2(Some(DateTime2::new(Date::new(719_162), Time::new(1_200_000, 7)))),
                text("1970-01-01 00:00:00.12"),
            ),
            (Kind::Coarse, ColumnData::DateTime(Some(DateTime::new(0, 1))), text("1900-01-01 00:00:00.003")),
            (Kind::Coarse, ColumnData::DateTime(Some(DateTime::new(0, 2))), text("1900-01-01 00:00:00.007")),
            (
                Kind::Coarse,
                ColumnData::DateTime(Some(DateTime::new(-53_690, 0))),
                text("1753-01-01 00:00:00"),
            ),
            (
                Kind::Coarse,
                ColumnData::DateTime(Some(DateTime::new(2_958_463, 25_919_999))),
                text("9999-12-31 23:59:59.997"),
            ),
            (
                Kind::Coarse,
                ColumnData::SmallDateTime(Some(SmallDateTime::new(65_535, 1_439))),
                text("2079-06-06 23:59:00"),
            ),
            (Kind::Unicode { padded: false }, ColumnData::String(Some("Grüße 😀".into())), text("Grüße 😀")),
            (
                Kind::Uuid,
                ColumnData::Guid(Some(uuid::Uuid::max())),
                text("ffffffff-ffff-ffff-ffff-ffffffffffff"),
            ),
            (Kind::Bytes, ColumnData::Binary(Some(vec![0, 0xff].into())), Value::Blob(vec![0, 0xff])),
            (Kind::Text { padded: true }, ColumnData::String(None), Value::Null),
            (Kind::Text { padded: true }, ColumnData::String(Some(" ab  ".into())), text(" ab")),
            (Kind::Text { padded: false }, ColumnData::String(Some("ab  ".into())), text("ab  ")),
        ];
        for (kind, raw, expected) in cases {
            let shown = format!("{raw:?}");
            assert_eq!(read(kind, raw).unwrap(), expected, "{shown}");
        }
    }

    #[test]
    fn moments_keep_the_offset_that_they_were_said_with() {
        let at = |days, increments, minutes| {
            let moment = DateTime2::new(Date::new(days), Time::new(increments, 7));
            read(Kind::Offset(7), ColumnData::DateTimeOffset(Some(DateTimeOffset::new(moment, minutes))))
                .unwrap()
        };
        // 22:30 UTC is the next day in Delhi, 00:30 UTC the one before in New York.
        assert_eq!(at(719_162, 810_000_000_000, 330), text("1970-01-02 04:00:00+05:30"));
        assert_eq!(at(719_162, 18_000_000_001, -300), text("1969-12-31 19:30:00.0000001-05:00"));
        assert_eq!(at(719_162, 0, 0), text("1970-01-01 00:00:00+00:00"));
        // A scale that isn't one is an error, not a panic.
        let moment = DateTime2::new(Date::new(0), Time::new(0, 200));
        let raw = ColumnData::DateTimeOffset(Some(DateTimeOffset::new(moment, 0)));
        assert_eq!(read(Kind::Offset(7), raw).unwrap_err().code(), "XX000");
    }

    #[test]
    fn the_seventh_digit_is_not_shown() {
        let cut = |kind, t: &str| shown(kind, text(t));
        assert_eq!(cut(Kind::Time(7), "23:59:59.9999999"), text("23:59:59.999999"));
        assert_eq!(cut(Kind::Moment(7), "2024-01-01 00:00:00.1234567"), text("2024-01-01 00:00:00.123456"));
        assert_eq!(
            cut(Kind::Offset(7), "2024-01-01 00:00:00.1234567+05:30"),
            text("2024-01-01 00:00:00.123456+05:30")
        );
        assert_eq!(cut(Kind::Moment(7), "2024-01-01 00:00:00.12"), text("2024-01-01 00:00:00.12"));
        assert_eq!(cut(Kind::Unicode { padded: false }, "1.23456789"), text("1.23456789"));
        assert!(no_key("datetime2(7)").is_some());
        assert_eq!(no_key("datetime2(6)"), None);
    }

    #[test]
    fn marks_convert_what_the_server_would_not() {
        let mark = |ty: &str| {
            let (pg_type, data_type) = map(ty);
            super::mark(&Column {
                name: "c".into(),
                type_name: ty.into(),
                pg_type,
                data_type,
                nullable: false,
                generated: false,
                default: None,
                equality: None,
            })
        };
        assert_eq!(mark("int"), "?");
        assert_eq!(mark("nvarchar(20) COLLATE Latin1_General_CI_AS"), "?");
        assert_eq!(
            mark("varchar(20) COLLATE Cyrillic_General_CI_AS"),
            "CAST(? COLLATE Cyrillic_General_CI_AS AS varchar(8000))"
        );
        // What can't be a collation's name is not put into a statement.
        assert_eq!(mark("varchar(20) COLLATE x; DROP TABLE t"), "?");
        assert_eq!(mark("decimal(10,2)"), "CAST(? AS decimal(10,2))");
        assert_eq!(mark("smallmoney"), "CAST(? AS decimal(19,4))");
        assert_eq!(written("smallmoney"), "CAST(? AS smallmoney)");
        assert_eq!(mark("datetime"), "CAST(REPLACE(?, ' ', 'T') AS datetime)");
        assert_eq!(mark("datetimeoffset(3)"), "CAST(REPLACE(?, ' ', 'T') AS datetimeoffset(3))");
        assert_eq!(written("varbinary(10)"), "CAST(? AS varbinary(max))");
        assert_eq!(written("varchar(20) COLLATE Cyrillic_General_CI_AS"), "?");
        assert_eq!(read_as("money"), Some("decimal(19,4)"));
        assert_eq!(read_as("smallmoney"), None);
    }
}
