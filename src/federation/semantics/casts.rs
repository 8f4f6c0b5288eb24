//! Casts as PostgreSQL does them.

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Cast, Expr};
use epoch_adapter::{Error, Result};

use super::super::{text, types};
use super::call::{Body, Context, Spec, error_of};
use super::datum::{Datum, Span, out_of_range};
use super::input;
use super::kinds::{self, Kind};
use super::number::Num;

const DAY: i64 = 86_400_000_000;

/// `expr::field`, as it is written.
pub(crate) fn explicit(expr: Expr, field: &Field, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let to = kinds::of_field(field);
    let from = kinds::of(&expr, schema)?;
    let internal = |k| matches!(k, Kind::Internal | Kind::Array | Kind::Record);
    if internal(to) || internal(from) && to != Kind::Text {
        return Ok(Expr::Cast(Cast::new_from_field(Box::new(expr), field.clone().into())));
    }
    let declared = field.metadata().get(types::PG_TYPE).map(String::as_str).unwrap_or_default();
    let length = types::parse_type(declared).map_or(-1, |(_, modifier)| modifier - 4);
    if to == Kind::Bpchar {
        return Err(refused("a cast to character(n)"));
    }
    let cast = convert(expr, from, to, field.data_type(), schema, zone)?;
    if to == Kind::Varchar && length > 0 {
        let length = Expr::Literal(ScalarValue::Int32(Some(length)), None);
        let spec = Spec { name: "varchar", strict: true, body: shortened, zone };
        return Ok(spec.call(vec![cast, length], to, DataType::Utf8));
    }
    Ok(cast)
}

/// A value in the place of one of another type, where PostgreSQL casts without being told.
pub(crate) fn coerce(expr: Expr, to: Kind, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let from = kinds::of(&expr, schema)?;
    let same = from == to || (from.is_text() && to.is_text());
    if same && (from != Kind::Timestamp || kinds::type_of(&expr, schema)? == to.data_type(zone)) {
        return Ok(expr);
    }
    convert(expr, from, to, &to.data_type(zone), schema, zone)
}

fn refused(what: &str) -> Error {
    Error::unsupported(format!("{what} on tables that are not in PostgreSQL"))
}

/// A value of one type as one of another, in one of its Arrow types.
pub(crate) fn convert(
    expr: Expr,
    from: Kind,
    to: Kind,
    result: &DataType,
    schema: &DFSchema,
    zone: &str,
) -> Result<Expr> {
    if let Expr::Literal(value, _) = &expr
        && value.is_null()
    {
        let null = ScalarValue::try_from(result).map_err(|e| super::super::errors::datafusion(&e))?;
        let null = Expr::Literal(null, Some(super::call::typed()));
        return Ok(if to.tag().is_some() { tagged(null, to, zone) } else { null });
    }
    if matches!(expr, Expr::Placeholder(_)) && from == Kind::Unknown {
        let field = Field::new("parameter", result.clone(), true);
        return Ok(Expr::Cast(Cast::new_from_field(Box::new(expr), field.into())));
    }
    let now = kinds::type_of(&expr, schema)?;
    if from == to && now == *result {
        return Ok(expr);
    }
    let plain = |expr| Ok(Expr::Cast(Cast::new(Box::new(expr), result.clone())));
    let body: Body = match (from, to) {
        (f, t) if f == t && !f.is_number() => return plain(expr),
        (f, t) if f.is_integer() && t.is_integer() && f.rank() < t.rank() => return plain(expr),
        (f, t) if f.is_integer() && t.is_float() => return plain(expr),
        (Kind::Float4, Kind::Float8) | (Kind::Date, Kind::Timestamp) => return plain(expr),
        (f, t) if (f.is_text() || f == Kind::Unknown) && t.is_text() => return Ok(tagged(expr, to, zone)),
        (f, t) if f.is_text() || f == Kind::Unknown => from_text(t)?,
        (f, t) if t.is_text() => to_text(f)?,
        (f, t) if f.is_number() && t.is_number() => numbers(f, t),
        (Kind::Bool, Kind::Int4) => |a, _| match a {
            [Datum::Bool(value)] => Ok(Datum::Int(i64::from(*value))),
            _ => Ok(Datum::Null),
        },
        (Kind::Int4, Kind::Bool) => |a, _| Ok(Datum::Bool(one(a)?.as_int()? != 0)),
        (f, t) => moments(f, t).ok_or_else(|| {
            let message = format!("cannot cast type {} to {}", f.name(), t.name());
            Error::new("42846", message)
        })?,
    };
    let name = format!("cast_{}_{}", from.name(), to.name()).replace(' ', "_");
    let spec = Spec { name: &name, strict: true, body, zone };
    let literal = from == Kind::Unknown && matches!(expr, Expr::Literal(..));
    let call = spec.call(vec![expr], to, result.clone());
    // A literal is read when the statement is understood, not when a row comes to it.
    match error_of(&call).filter(|_| literal) {
        Some(error) => Err(error),
        None => Ok(call),
    }
}

/// A text under another type's name.
pub(crate) fn tagged(expr: Expr, to: Kind, zone: &str) -> Expr {
    let spec = Spec { name: "as_type", strict: true, body: |a, _| Ok(one(a)?.clone()), zone };
    spec.call(vec![expr], to, DataType::Utf8)
}

fn one<'d, 'a>(arguments: &'d [Datum<'a>]) -> Result<&'d Datum<'a>> {
    arguments.first().ok_or_else(|| Error::internal("a function without arguments"))
}

fn shortened<'a>(arguments: &[Datum<'a>], _: &Context) -> Result<Datum<'a>> {
    let [text, length] = arguments else { return Ok(Datum::Null) };
    let length = usize::try_from(length.as_int()?).unwrap_or(0);
    Ok(Datum::text(text.as_text()?.chars().take(length).collect::<String>()))
}

/// The input function of a type.
fn from_text(to: Kind) -> Result<Body> {
    Ok(match to {
        Kind::Bool => |a, _| Ok(Datum::Bool(input::boolean(one(a)?.as_text()?)?)),
        Kind::Int2 => |a, _| int_in(a, "smallint", i16::MIN.into(), i16::MAX.into()),
        Kind::Int4 => |a, _| int_in(a, "integer", i32::MIN.into(), i32::MAX.into()),
        Kind::Int8 => |a, _| int_in(a, "bigint", i64::MIN, i64::MAX),
        Kind::Float4 => |a, _| Ok(Datum::float(input::float(one(a)?.as_text()?, true)?)),
        Kind::Float8 => |a, _| Ok(Datum::float(input::float(one(a)?.as_text()?, false)?)),
        Kind::Numeric => |a, _| Ok(Datum::Num(Num::parse(one(a)?.as_text()?)?)),
        Kind::Date => |a, _| Ok(Datum::Date(input::date(one(a)?.as_text()?)?)),
        Kind::Time => |a, _| Ok(Datum::Micros(input::time(one(a)?.as_text()?)?)),
        Kind::Timestamp => |a, _| Ok(Datum::Micros(input::timestamp(one(a)?.as_text()?)?)),
        Kind::Timestamptz => |a, c| Ok(Datum::Micros(input::timestamptz(one(a)?.as_text()?, c.zone)?)),
        Kind::Interval => |a, _| Ok(Datum::Interval(input::interval(one(a)?.as_text()?)?)),
        Kind::Uuid => |a, _| Ok(Datum::text(input::uuid(one(a)?.as_text()?)?)),
        Kind::Json => |a, _| {
            input::json(one(a)?.as_text()?)?;
            Ok(one(a)?.clone())
        },
        Kind::Bytea => |a, _| {
            let bytes = super::super::convert::bytes(one(a)?.as_text()?)?;
            Ok(Datum::Bytes(bytes.into()))
        },
        Kind::Jsonb => return Err(refused("a cast to jsonb")),
        other => return Err(refused(&format!("a cast to {}", other.name()))),
    })
}

fn int_in<'a>(arguments: &[Datum<'a>], name: &str, least: i64, most: i64) -> Result<Datum<'a>> {
    Ok(Datum::Int(input::integer(one(arguments)?.as_text()?, name, least, most)?))
}

/// The output function of a type.
pub(crate) fn to_text(from: Kind) -> Result<Body> {
    Ok(match from {
        Kind::Bool => |a, _| Ok(Datum::text(if *one(a)? == Datum::Bool(true) { "true" } else { "false" })),
        Kind::Int2 | Kind::Int4 | Kind::Int8 => |a, _| Ok(Datum::text(one(a)?.as_int()?.to_string())),
        #[allow(clippy::cast_possible_truncation)]
        Kind::Float4 => |a, _| Ok(Datum::text(text::float4(one(a)?.as_float()? as f32))),
        Kind::Float8 => |a, _| Ok(Datum::text(text::float8(one(a)?.as_float()?))),
        Kind::Numeric => |a, _| Ok(Datum::text(one(a)?.as_num()?.to_string())),
        Kind::Uuid | Kind::Json | Kind::Jsonb => |a, _| Ok(one(a)?.clone()),
        Kind::Date => |a, _| match one(a)? {
            Datum::Date(days) => {
                let date = text::from_days(*days).ok_or_else(|| Error::new("22008", "date out of range"))?;
                Ok(Datum::text(text::date(date)))
            }
            _ => Ok(Datum::Null),
        },
        Kind::Time => |a, _| Ok(Datum::text(text::time(input::naive(micros(a)?)?.time()))),
        Kind::Timestamp => |a, _| Ok(Datum::text(text::timestamp(input::naive(micros(a)?)?))),
        Kind::Timestamptz => |a, c| Ok(Datum::text(text::timestamptz(input::naive(micros(a)?)?, c.zone))),
        Kind::Interval => |a, _| match one(a)? {
            Datum::Interval(Span { months, days, micros }) => {
                Ok(Datum::text(text::interval(*months, *days, *micros)))
            }
            _ => Ok(Datum::Null),
        },
        Kind::Bytea => |a, _| match one(a)? {
            Datum::Bytes(bytes) => Ok(Datum::text(text::bytea(bytes))),
            _ => Ok(Datum::Null),
        },
        other => return Err(refused(&format!("a cast of {} to text", other.name()))),
    })
}

fn micros(arguments: &[Datum<'_>]) -> Result<i64> {
    match one(arguments)? {
        Datum::Micros(micros) => Ok(*micros),
        Datum::Date(days) => Ok(i64::from(*days) * DAY),
        _ => Err(Error::internal("not a moment")),
    }
}

fn numbers(from: Kind, to: Kind) -> Body {
    match (from, to) {
        (Kind::Float4, Kind::Numeric) => |a, _| Ok(Datum::Num(Num::of_float(one(a)?.as_float()?, 6)?)),
        (Kind::Float8, Kind::Numeric) => |a, _| Ok(Datum::Num(Num::of_float(one(a)?.as_float()?, 15)?)),
        (_, Kind::Numeric) => |a, _| Ok(Datum::Num(one(a)?.as_num()?)),
        (_, Kind::Float8) => |a, _| Ok(Datum::float(one(a)?.as_float()?)),
        (_, Kind::Float4) => |a, _| single(one(a)?.as_float()?),
        (Kind::Float4 | Kind::Float8, _) => |a, c| {
            let value = one(a)?.as_float()?.round_ties_even();
            let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
            #[allow(clippy::cast_possible_truncation)]
            if fits { Ok(Datum::Int(value as i64)) } else { Err(out_of_range(integer_name(&c.result))) }
        },
        (Kind::Numeric, _) => |a, c| {
            let value = one(a)?.as_num()?.to_int();
            value.map(Datum::Int).ok_or_else(|| out_of_range(integer_name(&c.result)))
        },
        _ => |a, _| Ok(Datum::Int(one(a)?.as_int()?)),
    }
}

/// A double as a single.
pub(crate) fn single<'a>(value: f64) -> Result<Datum<'a>> {
    #[allow(clippy::cast_possible_truncation)]
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        return Err(Error::new("22003", "value out of range: overflow"));
    }
    if narrow == 0.0 && value != 0.0 {
        return Err(Error::new("22003", "value out of range: underflow"));
    }
    Ok(Datum::float(f64::from(narrow)))
}

pub(crate) fn integer_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    }
}

fn moments(from: Kind, to: Kind) -> Option<Body> {
    Some(match (from, to) {
        (Kind::Date | Kind::Timestamp, Kind::Timestamptz) => {
            |a, c| Ok(Datum::Micros(input::to_utc(micros(a)?, c.zone)?))
        }
        (Kind::Timestamp, Kind::Date) => |a, _| date_of(micros(a)?),
        (Kind::Timestamptz, Kind::Date) => |a, c| date_of(input::to_local(micros(a)?, c.zone)?),
        (Kind::Timestamptz, Kind::Timestamp) => {
            |a, c| Ok(Datum::Micros(input::to_local(micros(a)?, c.zone)?))
        }
        (Kind::Timestamp, Kind::Time) => |a, _| Ok(Datum::Micros(micros(a)?.rem_euclid(DAY))),
        (Kind::Timestamptz, Kind::Time) => {
            |a, c| Ok(Datum::Micros(input::to_local(micros(a)?, c.zone)?.rem_euclid(DAY)))
        }
        (Kind::Time, Kind::Interval) => {
            |a, _| Ok(Datum::Interval(Span { months: 0, days: 0, micros: micros(a)? }))
        }
        _ => return None,
    })
}

fn date_of<'a>(micros: i64) -> Result<Datum<'a>> {
    let days = i32::try_from(micros.div_euclid(DAY));
    days.map(Datum::Date).map_err(|_| Error::new("22008", "date out of range"))
}
