//! PostgreSQL types as Arrow types.

use arrow::datatypes::{DataType, TimeUnit};

/// The zone that scans give `timestamptz` columns.
pub(crate) const UTC: &str = "+00:00";

/// The Arrow type that scans yield for a type as `format_type` writes it.
pub(crate) fn arrow_type(pg_type: &str) -> DataType {
    let (name, modifier) = split_modifier(pg_type);
    match name.as_str() {
        "smallint" => DataType::Int16,
        "integer" => DataType::Int32,
        "bigint" => DataType::Int64,
        "real" => DataType::Float32,
        "double precision" => DataType::Float64,
        "boolean" => DataType::Boolean,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "time without time zone" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp without time zone" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamp with time zone" => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        "numeric" => decimal(modifier).unwrap_or(DataType::Utf8),
        _ => DataType::Utf8,
    }
}

fn decimal(modifier: Option<&str>) -> Option<DataType> {
    let (precision, scale) = modifier?.split_once(',')?;
    let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<i8>().ok()?);
    let fits = precision <= 38 && scale >= 0 && i16::from(scale) <= i16::from(precision);
    fits.then_some(DataType::Decimal128(precision, scale))
}

/// `timestamp(3) with time zone` as `timestamp with time zone` and `3`.
pub(crate) fn split_modifier(pg_type: &str) -> (String, Option<&str>) {
    if pg_type.ends_with(']') || pg_type.starts_with('"') {
        return (pg_type.to_owned(), None);
    }
    match pg_type.split_once('(') {
        None => (pg_type.to_owned(), None),
        Some((start, rest)) => match rest.split_once(')') {
            None => (pg_type.to_owned(), None),
            Some((modifier, end)) => (format!("{start}{end}"), Some(modifier)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_modifiers() {
        assert_eq!(arrow_type("numeric(10,2)"), DataType::Decimal128(10, 2));
        assert_eq!(arrow_type("numeric"), DataType::Utf8);
        assert_eq!(arrow_type("numeric(50,2)"), DataType::Utf8);
        assert_eq!(arrow_type("numeric(2,-3)"), DataType::Utf8);
        assert_eq!(arrow_type("timestamp(3) with time zone"), arrow_type("timestamp with time zone"));
        assert_eq!(arrow_type("integer[]"), DataType::Utf8);
        assert_eq!(arrow_type("character varying(20)"), DataType::Utf8);
    }
}
