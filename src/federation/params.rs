//! Parameters of prepared statements: from the wire into DataFusion's values.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use epoch_adapter::{Error, Result, sqlstate};
use postgres_types::{FromSql, Kind, Type};

use super::{convert, errors, semantics, text, types};
use crate::wire::numeric;

/// What a Bind message brings.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// The values as they came, `None` for NULL.
    pub values: Vec<Option<Bytes>>,
    /// 0 text, 1 binary: none (all text), one for all, or one per value.
    pub formats: Vec<i16>,
}

impl Params {
    /// The values, by the types of the parameters. `zone`: where moments without an offset are.
    pub(crate) fn decode(&self, wanted: &[Type], zone: &str) -> Result<Vec<ScalarValue>> {
        if self.values.len() != wanted.len() {
            let message = format!(
                "bind message supplies {} parameters, but the prepared statement requires {}",
                self.values.len(),
                wanted.len()
            );
            return Err(Error::new(sqlstate::PROTOCOL_VIOLATION, message));
        }
        let format = |index: usize| match self.formats.as_slice() {
            [] => 0,
            [one] => *one,
            many => many.get(index).copied().unwrap_or(0),
        };
        let one = |(index, (value, pg_type)): (usize, (&Option<Bytes>, &Type))| match value {
            None => ScalarValue::try_from(&arrow_of(pg_type, zone)).map_err(|e| errors::datafusion(&e)),
            Some(value) if format(index) == 1 => binary(value, pg_type, zone),
            Some(value) => from_text(value, pg_type, zone),
        };
        self.values.iter().zip(wanted).enumerate().map(one).collect()
    }
}

/// The Arrow type of a parameter, moments in the session's zone.
pub(crate) fn arrow_of(pg_type: &Type, zone: &str) -> DataType {
    match types::arrow_of(pg_type) {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(unit, Some(zone.into())),
        other => other,
    }
}

fn from_text(bytes: &[u8], pg_type: &Type, zone: &str) -> Result<ScalarValue> {
    let text = utf8(bytes)?;
    if *pg_type == Type::NUMERIC {
        return numeric(text.trim());
    }
    if *pg_type == Type::UUID {
        return Ok(ScalarValue::Utf8(Some(semantics::uuid(text)?)));
    }
    scalar(text, &arrow_of(pg_type, zone))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|t| !t.contains('\0'))
        .ok_or_else(|| Error::new("22021", "invalid byte sequence for encoding \"UTF8\""))
}

fn scalar(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    let array = convert::array_of(&[Some(text)], data_type)?;
    first(&array)
}

fn first(array: &ArrayRef) -> Result<ScalarValue> {
    ScalarValue::try_from_array(array, 0).map_err(|e| errors::datafusion(&e))
}

/// A decimal of just the scale that its digits have.
fn numeric(text: &str) -> Result<ScalarValue> {
    let bad = || {
        Error::new(
            sqlstate::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type numeric: \"{text}\""),
        )
    };
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.contains(['e', 'E']) || digits.eq_ignore_ascii_case("nan") || digits.contains("nf") {
        let value: f64 = text.parse().map_err(|_| bad())?;
        return Ok(ScalarValue::Float64(Some(value)));
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let valid = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !valid(whole) || !valid(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(bad());
    }
    let too_long = || Error::new("22003", "a numeric parameter has more than 76 digits");
    let scale = i8::try_from(fraction.len()).map_err(|_| too_long())?;
    match whole.len() + fraction.len() {
        0..=38 => scalar(text, &DataType::Decimal128(38, scale)),
        39..=76 => scalar(text, &DataType::Decimal256(76, scale)),
        _ => Err(too_long()),
    }
}

fn binary(bytes: &[u8], pg_type: &Type, zone: &str) -> Result<ScalarValue> {
    let incorrect = || {
        Error::new(
            "22P03",
            format!("incorrect binary data format for a parameter of type {}", pg_type.name()),
        )
    };
    fn read<'a, T: FromSql<'a>>(bytes: &'a [u8], pg_type: &Type) -> Option<T> {
        T::from_sql(pg_type, bytes).ok()
    }
    let micros = |at: Option<i64>| at.ok_or_else(incorrect);
    Ok(match *pg_type {
        Type::BOOL => ScalarValue::Boolean(Some(read(bytes, pg_type).ok_or_else(incorrect)?)),
        Type::INT2 => ScalarValue::Int16(Some(read(bytes, pg_type).ok_or_else(incorrect)?)),
        Type::INT4 => ScalarValue::Int32(Some(read(bytes, pg_type).ok_or_else(incorrect)?)),
        Type::INT8 => ScalarValue::Int64(Some(read(bytes, pg_type).ok_or_else(incorrect)?)),
        Type::OID => ScalarValue::Int64(Some(i64::from(read::<u32>(bytes, pg_type).ok_or_else(incorrect)?))),
        Type::FLOAT4 => ScalarValue::Float32(Some(read(bytes, pg_type).ok_or_else(incorrect)?)),
        Type::FLOAT8 => ScalarValue::Float64(Some(read(bytes, pg_type).ok_or_else(incorrect)?)),
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::NUMERIC => numeric(&numeric::text(bytes).ok_or_else(incorrect)?)?,
        Type::UUID => {
            ScalarValue::Utf8(Some(uuid::Uuid::from_slice(bytes).map_err(|_| incorrect())?.to_string()))
        }
        Type::JSONB => match bytes {
            [1, json @ ..] => ScalarValue::Utf8(Some(utf8(json)?.to_owned())),
            _ => return Err(incorrect()),
        },
        Type::DATE => {
            let date: chrono::NaiveDate = read(bytes, pg_type).ok_or_else(incorrect)?;
            scalar(&text::date(date), &DataType::Date32)?
        }
        Type::TIME => {
            let time: chrono::NaiveTime = read(bytes, pg_type).ok_or_else(incorrect)?;
            scalar(&text::time(time), &arrow_of(pg_type, zone))?
        }
        Type::TIMESTAMP => {
            let at: Option<chrono::NaiveDateTime> = read(bytes, pg_type);
            ScalarValue::TimestampMicrosecond(Some(micros(at.map(|a| a.and_utc().timestamp_micros()))?), None)
        }
        Type::TIMESTAMPTZ => {
            let at: Option<chrono::DateTime<chrono::Utc>> = read(bytes, pg_type);
            ScalarValue::TimestampMicrosecond(
                Some(micros(at.map(|a| a.timestamp_micros()))?),
                Some(zone.into()),
            )
        }
        Type::INTERVAL => interval(bytes).ok_or_else(incorrect)?,
        _ => match pg_type.kind() {
            Kind::Array(element) => list(bytes, element, zone)?.ok_or_else(incorrect)?,
            _ => ScalarValue::Utf8(Some(utf8(bytes)?.to_owned())),
        },
    })
}

fn interval(bytes: &[u8]) -> Option<ScalarValue> {
    let (micros, rest) = bytes.split_first_chunk::<8>()?;
    let (days, rest) = rest.split_first_chunk::<4>()?;
    let (months, []) = rest.split_first_chunk::<4>()? else { return None };
    let nanos = i64::from_be_bytes(*micros).checked_mul(1000)?;
    let value = IntervalMonthDayNano::new(i32::from_be_bytes(*months), i32::from_be_bytes(*days), nanos);
    Some(ScalarValue::IntervalMonthDayNano(Some(value)))
}

/// An array: dimensions, a flag, the element's type, per dimension its length and lower bound, then
/// per element its length (-1 for NULL) and bytes.
fn list(bytes: &[u8], element: &Type, zone: &str) -> Result<Option<ScalarValue>> {
    let Some(elements) = list_elements(bytes) else { return Ok(None) };
    let item_type = arrow_of(element, zone);
    let item = |value: Option<&[u8]>| match value {
        Some(value) => binary(value, element, zone),
        None => ScalarValue::try_from(&item_type).map_err(|e| errors::datafusion(&e)),
    };
    let items = elements.into_iter().map(item).collect::<Result<Vec<_>>>()?;
    let item_type = items.iter().find(|i| !i.is_null()).map_or(item_type.clone(), ScalarValue::data_type);
    Ok(Some(ScalarValue::List(ScalarValue::new_list_nullable(&items, &item_type))))
}

fn list_elements(bytes: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let mut rest = bytes;
    let mut word = || {
        let (word, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        Some(i32::from_be_bytes(*word))
    };
    let (dimensions, _, _) = (word()?, word()?, word()?);
    let count = match dimensions {
        0 => 0,
        1 => (word()?, word()?).0,
        _ => return None,
    };
    let mut elements = Vec::new();
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        elements.push(match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (element, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(element)
            }
            Err(_) => None,
        });
    }
    Some(elements)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn decode(pg_type: Type, format: i16, bytes: &[u8]) -> Result<ScalarValue> {
        let params = Params { values: vec![Some(Bytes::copy_from_slice(bytes))], formats: vec![format] };
        params.decode(&[pg_type], "UTC").map(|mut v| v.remove(0))
    }

    #[test]
    fn text_and_binary_mean_the_same() {
        let cases: Vec<(Type, &str, Vec<u8>)> = vec![
            (Type::INT8, "-7", (-7_i64).to_be_bytes().to_vec()),
            (Type::BOOL, "on", vec![1]),
            (Type::BYTEA, "\\x01ff", vec![1, 255]),
            (Type::DATE, "2000-01-02", 1_i32.to_be_bytes().to_vec()),
            (Type::TIMESTAMPTZ, "2000-01-01 01:00:00+01", 0_i64.to_be_bytes().to_vec()),
            (Type::JSONB, "{}", vec![1, b'{', b'}']),
        ];
        for (pg_type, text, bytes) in cases {
            let from_text = decode(pg_type.clone(), 0, text.as_bytes()).unwrap();
            assert_eq!(from_text, decode(pg_type.clone(), 1, &bytes).unwrap(), "{pg_type}");
        }
    }

    #[test]
    fn numerics_keep_their_scale() {
        assert_eq!(decode(Type::NUMERIC, 0, b"1.50").unwrap(), ScalarValue::Decimal128(Some(150), 38, 2));
    }

    #[test]
    fn what_doesnt_fit_is_an_error() {
        assert_eq!(decode(Type::INT4, 0, b"abc").unwrap_err().code(), "22P02");
        assert_eq!(decode(Type::INT4, 1, b"abc").unwrap_err().code(), "22P03");
        assert_eq!(decode(Type::TEXT, 0, &[0xff]).unwrap_err().code(), "22021");
        assert_eq!(Params::default().decode(&[Type::INT4], "UTC").unwrap_err().code(), "08P01");
    }
}
