//! Types of MySQL columns as PostgreSQL and Arrow types; `docs/backends/mysql.md` has the table.
//!
//! A column's `type_name` is its `COLUMN_TYPE`, with character set and collation where it has them: what a column of
//! ours is made with.

use arrow::datatypes::{DataType, TimeUnit};
use epoch_adapter::{Column, Error, Result, Value, sqlstate};
use mysql_async::Value as Raw;

/// How values of a column are read, bound and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Integers that 64 bits with a sign hold, and years.
    Integer,
    /// `bigint unsigned`: digits.
    Unsigned,
    /// `bit(n)`: a number.
    Bit,
    Float,
    Double,
    /// Digits, with this precision and scale.
    Decimal(u8, u8),
    Date,
    /// `datetime` and `timestamp`.
    Moment,
    Time,
    Text,
    /// `enum`: text that is compared as such.
    Enum,
    /// Text that isn't compared as its bytes: `set`, `json`, `uuid`, addresses.
    Other,
    Bytes,
}

/// What a column is; `None` for a type that has no form here (geometries, vectors).
pub(crate) fn kind(type_name: &str) -> Option<Kind> {
    let (name, arguments) = split(type_name);
    let unsigned = type_name.contains(" unsigned");
    Some(match name {
        "tinyint" | "smallint" | "mediumint" | "int" | "year" => Kind::Integer,
        "bigint" if unsigned => Kind::Unsigned,
        "bigint" => Kind::Integer,
        "bit" => Kind::Bit,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "decimal" => {
            let mut parts = arguments.split(',').map(|p| p.trim().parse::<u8>());
            let precision = parts.next().and_then(Result::ok).unwrap_or(10);
            Kind::Decimal(precision, parts.next().and_then(Result::ok).unwrap_or(0))
        }
        "date" => Kind::Date,
        "datetime" | "timestamp" => Kind::Moment,
        "time" => Kind::Time,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Kind::Text,
        "enum" => Kind::Enum,
        "set" | "json" | "uuid" | "inet4" | "inet6" => Kind::Other,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes,
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

/// The PostgreSQL type and the Arrow type of a column type that has a [`Kind`].
pub(crate) fn map(type_name: &str) -> (String, DataType) {
    let (name, arguments) = split(type_name);
    let unsigned = type_name.contains(" unsigned");
    let plain = |pg: &str, arrow: DataType| (pg.to_owned(), arrow);
    let moment = |zone: &str| match arguments {
        "" => format!("timestamp(0) {zone}"),
        n => format!("timestamp({n}) {zone}"),
    };
    match (name, unsigned) {
        ("tinyint", _) | ("smallint", false) | ("year", _) => plain("smallint", DataType::Int16),
        ("smallint", true) | ("mediumint", _) | ("int", false) => plain("integer", DataType::Int32),
        ("int", true) | ("bigint", false) => plain("bigint", DataType::Int64),
        ("bigint", true) => plain("numeric(20,0)", DataType::Decimal128(20, 0)),
        ("bit", _) if arguments == "64" => plain("numeric(20,0)", DataType::Decimal128(20, 0)),
        ("bit", _) => plain("bigint", DataType::Int64),
        ("float", _) => plain("real", DataType::Float32),
        ("double", _) => plain("double precision", DataType::Float64),
        ("date", _) => plain("date", DataType::Date32),
        ("datetime", _) => (moment("without time zone"), DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("timestamp", _) => {
            (moment("with time zone"), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
        }
        ("char" | "varchar", _) => (format!("character varying({arguments})"), DataType::Utf8),
        ("json", _) => plain("json", DataType::Utf8),
        ("uuid", _) => plain("uuid", DataType::Utf8),
        _ => match kind(type_name) {
            Some(Kind::Decimal(p, s)) => (format!("numeric({p},{s})"), decimal(p, s)),
            Some(Kind::Bytes) => plain("bytea", DataType::Binary),
            _ => plain("text", DataType::Utf8),
        },
    }
}

/// More digits than Arrow's decimals have are text, which is sent as numeric all the same.
fn decimal(precision: u8, scale: u8) -> DataType {
    match i8::try_from(scale) {
        Ok(scale) if precision <= 38 => DataType::Decimal128(precision, scale),
        _ => DataType::Utf8,
    }
}

/// The kind of a registered column.
pub(crate) fn kind_of(column: &Column) -> Kind {
    kind(&column.type_name).unwrap_or(Kind::Other)
}

/// What stands for a value of a column in a comparison: MySQL would compare texts with numbers as doubles.
pub(crate) fn mark(kind: Kind) -> String {
    match kind {
        Kind::Unsigned | Kind::Bit => "CAST(? AS UNSIGNED)".to_owned(),
        Kind::Decimal(p, s) => format!("CAST(? AS DECIMAL({p},{s}))"),
        _ => "?".to_owned(),
    }
}

/// What stands for a value that is written to a column: digits are no bits.
pub(crate) fn written(kind: Kind) -> &'static str {
    if kind == Kind::Bit { "CAST(? AS UNSIGNED)" } else { "?" }
}

/// Our value as a parameter.
pub(crate) fn bind(value: &Value) -> Raw {
    match value {
        Value::Null => Raw::NULL,
        Value::Int(v) => Raw::Int(*v),
        Value::Real(v) => Raw::Double(*v),
        Value::Text(v) => Raw::Bytes(v.as_bytes().to_vec()),
        Value::Blob(v) => Raw::Bytes(v.clone()),
    }
}

/// All parameters of a statement.
pub(crate) fn bind_all(values: &[Value]) -> mysql_async::Params {
    if values.is_empty() {
        return mysql_async::Params::Empty;
    }
    mysql_async::Params::Positional(values.iter().map(bind).collect())
}

/// A value of a column as ours. 22P02 for text that isn't UTF-8, or a value that its type doesn't have.
pub(crate) fn read(kind: Kind, raw: Raw) -> Result<Value> {
    let odd = |raw: &Raw| Error::internal(format!("mysql: a value {raw:?} in a column of kind {kind:?}"));
    Ok(match (kind, raw) {
        (_, Raw::NULL) => Value::Null,
        (Kind::Unsigned, Raw::UInt(v)) => Value::Text(v.to_string()),
        (Kind::Unsigned, Raw::Int(v)) => Value::Text(v.to_string()),
        (Kind::Bit, Raw::Bytes(bytes)) => {
            let number = bytes.iter().fold(0_u64, |n, b| (n << 8) | u64::from(*b));
            i64::try_from(number).map_or_else(|_| Value::Text(number.to_string()), Value::Int)
        }
        (_, Raw::Int(v)) => Value::Int(v),
        (_, Raw::UInt(v)) => i64::try_from(v).map_or_else(|_| Value::Text(v.to_string()), Value::Int),
        (_, Raw::Float(v)) => Value::Real(f64::from(v)),
        (_, Raw::Double(v)) => Value::Real(v),
        (Kind::Bytes, Raw::Bytes(v)) => Value::Blob(v),
        (Kind::Date, Raw::Date(y, m, d, ..)) => Value::Text(format!("{y:04}-{m:02}-{d:02}")),
        (_, Raw::Date(y, m, d, h, i, s, us)) => {
            Value::Text(format!("{y:04}-{m:02}-{d:02} {h:02}:{i:02}:{s:02}{}", fraction(us)))
        }
        (_, Raw::Time(negative, d, h, i, s, us)) => {
            let (sign, hours) = (if negative { "-" } else { "" }, d * 24 + u32::from(h));
            Value::Text(format!("{sign}{hours:02}:{i:02}:{s:02}{}", fraction(us)))
        }
        (Kind::Integer | Kind::Float | Kind::Double, raw @ Raw::Bytes(_)) => return Err(odd(&raw)),
        (_, Raw::Bytes(v)) => Value::Text(String::from_utf8(v).map_err(|_| {
            Error::new(sqlstate::INVALID_TEXT_REPRESENTATION, "invalid byte sequence for encoding \"UTF8\"")
        })?),
    })
}

fn fraction(micros: u32) -> String {
    if micros == 0 { String::new() } else { format!(".{micros:06}").trim_end_matches('0').to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn types_have_postgresqls_names() {
        let pg = |t: &str| map(t).0;
        assert_eq!(pg("tinyint(4)"), "smallint");
        assert_eq!(pg("tinyint(3) unsigned"), "smallint");
        assert_eq!(pg("int(10) unsigned zerofill"), "bigint");
        assert_eq!(pg("int unsigned"), "bigint");
        assert_eq!(pg("bigint unsigned"), "numeric(20,0)");
        assert_eq!(pg("decimal(65,30)"), "numeric(65,30)");
        assert_eq!(map("decimal(65,30)").1, DataType::Utf8);
        assert_eq!(pg("datetime(6)"), "timestamp(6) without time zone");
        assert_eq!(pg("timestamp"), "timestamp(0) with time zone");
        assert_eq!(pg("varchar(20) CHARACTER SET latin1 COLLATE latin1_bin"), "character varying(20)");
        assert_eq!(pg("enum('a','b') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"), "text");
        assert_eq!(pg("varbinary(10)"), "bytea");
        assert_eq!(pg("bit(8)"), "bigint");
        assert_eq!(pg("bit(64)"), "numeric(20,0)");
        assert_eq!(kind("geometry"), None);
    }

    #[test]
    fn values_keep_all_digits() {
        let text = |t: &str| Value::Text(t.to_owned());
        assert_eq!(read(Kind::Unsigned, Raw::UInt(u64::MAX)).unwrap(), text("18446744073709551615"));
        assert_eq!(read(Kind::Bit, Raw::Bytes(vec![1, 0])).unwrap(), Value::Int(256));
        assert_eq!(read(Kind::Time, Raw::Time(true, 34, 22, 59, 59, 0)).unwrap(), text("-838:59:59"));
        assert_eq!(read(Kind::Moment, Raw::Date(0, 0, 0, 0, 0, 0, 0)).unwrap(), text("0000-00-00 00:00:00"));
        assert_eq!(
            read(Kind::Moment, Raw::Date(9999, 12, 31, 23, 59, 59, 120_000)).unwrap(),
            text("9999-12-31 23:59:59.12")
        );
        assert_eq!(read(Kind::Text, Raw::Bytes(vec![0xff])).unwrap_err().code(), "22P02");
    }
}
