//! Functions of numbers.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use epoch_adapter::{Error, Result};

use super::call::{Body, Context, Spec};
use super::casts;
use super::datum::{Datum, out_of_range};
use super::functions::{Overload, constant_int, rounded_type};
use super::kinds::{self, Kind};
use super::number::{self, Num};

use Kind::{Float8, Int4, Int8, Text};

pub(crate) fn overloads(name: &str) -> Vec<Overload> {
    match name {
        "sqrt" => vec![
            Overload { args: &[Float8], result: Float8, body: root },
            // PostgreSQL has one of numerics, too, with digits of its own.
            Overload {
                args: &[Kind::Numeric],
                result: Kind::Numeric,
                body: |_, _| Err(super::operators::refused("sqrt(numeric)")),
            },
        ],
        "pi" => {
            vec![Overload { args: &[], result: Float8, body: |_, _| Ok(Datum::Float(std::f64::consts::PI)) }]
        }
        "to_hex" => vec![
            Overload { args: &[Int4], result: Text, body: |a, _| hex(a, true) },
            Overload { args: &[Int8], result: Text, body: |a, _| hex(a, false) },
        ],
        _ => Vec::new(),
    }
}

fn root<'a>(arguments: &[Datum<'a>], _: &Context) -> Result<Datum<'a>> {
    let value = argument(arguments)?;
    if value < 0.0 {
        return Err(Error::new("2201F", "cannot take square root of a negative number"));
    }
    Ok(Datum::float(value.sqrt()))
}

fn argument(arguments: &[Datum<'_>]) -> Result<f64> {
    arguments.first().map_or(Ok(0.0), Datum::as_float)
}

fn hex<'a>(arguments: &[Datum<'_>], short: bool) -> Result<Datum<'a>> {
    let value = arguments.first().map_or(Ok(0), Datum::as_int)?;
    #[allow(clippy::cast_possible_truncation)]
    Ok(Datum::text(if short { format!("{:x}", value as i32) } else { format!("{value:x}") }))
}

/// `round`, `trunc`, `abs`, `ceil`, `floor`, `sign`, `div`: of doubles and numerics; integers become doubles,
/// but for abs. `None` if there is no such function.
pub(crate) fn numeric(
    name: &str,
    mut args: Vec<Expr>,
    kinds: &[Kind],
    schema: &DFSchema,
    zone: &str,
) -> Result<Option<Expr>> {
    let integer = |k: &Kind| k.is_integer() || *k == Kind::Unknown;
    let to = match (name, kinds) {
        ("abs", [k]) if k.is_integer() => *k,
        ("abs", [Kind::Float4]) => Kind::Float4,
        ("round" | "trunc" | "abs" | "ceil" | "floor" | "sign", [Kind::Numeric]) => Kind::Numeric,
        ("round" | "trunc" | "abs" | "ceil" | "floor" | "sign", [k]) if integer(k) || k.is_float() => {
            Kind::Float8
        }
        ("round" | "trunc", [k, n]) if (integer(k) || *k == Kind::Numeric) && integer(n) && *n != Int8 => {
            Kind::Numeric
        }
        ("div", [a, b]) if [a, b].iter().all(|k| integer(k) || **k == Kind::Numeric) => Kind::Numeric,
        _ => return Ok(None),
    };
    if let Some(first) = args.first_mut() {
        let value = std::mem::take(first);
        let now = kinds::of(&value, schema)?;
        // An integer is a numeric without digits behind the point.
        let same = now == to || (to == Kind::Numeric && now.is_integer());
        *first = if same { value } else { casts::coerce(value, to, schema, zone)? };
    }
    if let Some(second) = args.get_mut(1) {
        let value = std::mem::take(second);
        let own = if name == "div" { Kind::Numeric } else { Int4 };
        let same = name == "div" && kinds::of(&value, schema)?.is_integer();
        *second = if same { value } else { casts::coerce(value, own, schema, zone)? };
    }
    let result = result_type(name, &args, to, schema, zone)?;
    let own = format!("{name}_{}_{}", to.name(), args.len());
    let spec = Spec { name: &own, strict: true, body: body(name, to), zone };
    Ok(Some(spec.call(args, to, result)))
}

fn result_type(name: &str, args: &[Expr], to: Kind, schema: &DFSchema, zone: &str) -> Result<DataType> {
    if to != Kind::Numeric {
        return Ok(to.data_type(zone));
    }
    let Some(first) = args.first() else { return Ok(DataType::LargeUtf8) };
    let first = kinds::type_of(first, schema)?;
    Ok(match (name, args) {
        ("round" | "trunc", [_, digits]) => rounded_type(&first, constant_int(digits)),
        ("abs", _) => match number::shape(&first) {
            Some(shape) => number::type_of(Some(shape)),
            None => DataType::LargeUtf8,
        },
        ("sign", _) => DataType::Decimal128(1, 0),
        ("div", _) => DataType::LargeUtf8,
        _ => rounded_type(&first, Some(0)),
    })
}

fn body(name: &str, to: Kind) -> Body {
    match (name, to) {
        ("abs", k) if k.is_integer() => |a, c| {
            let value = a.first().map_or(Ok(0), Datum::as_int)?.checked_abs();
            value.map(Datum::Int).ok_or_else(|| out_of_range(casts::integer_name(&c.result)))
        },
        ("abs", k) if k.is_float() => |a, _| Ok(Datum::float(argument(a)?.abs())),
        ("round", Kind::Float8) => |a, _| Ok(Datum::float(argument(a)?.round_ties_even())),
        ("trunc", Kind::Float8) => |a, _| Ok(Datum::float(argument(a)?.trunc())),
        ("ceil", Kind::Float8) => |a, _| Ok(Datum::float(argument(a)?.ceil())),
        ("floor", Kind::Float8) => |a, _| Ok(Datum::float(argument(a)?.floor())),
        ("sign", Kind::Float8) => |a, _| {
            let value = argument(a)?;
            Ok(Datum::float(if value == 0.0 || value.is_nan() { value } else { value.signum() }))
        },
        ("round", _) => |a, c| placed(a, c, |n, digits| n.round(digits)),
        ("trunc", _) => |a, c| placed(a, c, |n, digits| n.truncated(digits)),
        ("ceil", _) => |a, c| placed(a, c, |n, _| n.ceil()),
        ("floor", _) => |a, c| placed(a, c, |n, _| n.floor()),
        ("sign", _) => |a, c| {
            placed(a, c, |n, _| {
                Num::of_int(if n.is_zero() {
                    0
                } else if n.is_negative() {
                    -1
                } else {
                    1
                })
            })
        },
        ("div", _) => |a, _| match a {
            [a, b] => {
                let (a, b) = (a.as_num()?, b.as_num()?);
                Ok(Datum::Num(a.minus(&a.rem(&b)?).divided(&b)?.round(0)))
            }
            _ => Ok(Datum::Null),
        },
        _ => |a, c| placed(a, c, |n, _| n.abs()),
    }
}

fn placed<'a>(arguments: &[Datum<'_>], _: &Context, compute: fn(&Num, i64) -> Num) -> Result<Datum<'a>> {
    let [value, digits @ ..] = arguments else { return Ok(Datum::Null) };
    let digits = digits.first().map_or(Ok(0), Datum::as_int)?;
    Ok(Datum::Num(compute(&value.as_num()?, digits)))
}
