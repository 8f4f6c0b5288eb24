//! Operators as PostgreSQL resolves and computes them.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};
use epoch_adapter::{Error, Result, sqlstate};

use super::call::{Body, Context, Spec};
use super::casts;
use super::datum::{self, Datum, out_of_range};
use super::kinds::{self, Kind};
use super::number::{self, Num};
use super::times;

pub(crate) fn undefined(left: Kind, op: impl std::fmt::Display, right: Kind) -> Error {
    if left.is_foreign() || right.is_foreign() {
        return refused(format!("operator {op} of a type that only PostgreSQL knows"));
    }
    let message = format!("operator does not exist: {} {op} {}", left.name(), right.name());
    Error::new(sqlstate::UNDEFINED_FUNCTION, message).with_hint(
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    )
}

pub(crate) fn refused(what: impl std::fmt::Display) -> Error {
    Error::unsupported(format!("{what} on tables that are not in PostgreSQL"))
}

/// `left op right`
pub(crate) fn binary(expr: BinaryExpr, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let BinaryExpr { left, op, right } = expr;
    let (l, r) = (kinds::of(&left, schema)?, kinds::of(&right, schema)?);
    if matches!((l, r), (Kind::Internal, _) | (_, Kind::Internal)) {
        return Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }));
    }
    match op {
        Operator::And | Operator::Or => {
            let left = boolean(*left, op, schema, zone)?;
            let right = boolean(*right, op, schema, zone)?;
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        op if is_comparison(op) => {
            let (left, right) = comparable((*left, schema), op, (*right, schema), zone)?;
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
            arithmetic(*left, op, *right, schema, zone)
        }
        Operator::StringConcat => concatenation(*left, *right, schema, zone),
        Operator::BitwiseAnd
        | Operator::BitwiseOr
        | Operator::BitwiseShiftLeft
        | Operator::BitwiseShiftRight => bits(*left, op, *right, schema, zone),
        Operator::RegexMatch | Operator::RegexNotMatch | Operator::RegexIMatch | Operator::RegexNotIMatch
            if is_plain_pattern(&right) && (l.is_text() || l == Kind::Unknown) =>
        {
            Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        other => Err(refused(format!("operator {other} of {} and {}", l.name(), r.name()))),
    }
}

/// A pattern that means the same to PostgreSQL's regular expressions and ours.
fn is_plain_pattern(pattern: &Expr) -> bool {
    let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = pattern else { return false };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-' | '^' | '$' | '|');
    let mut chars = pattern.chars();
    // Whether a quantifier may follow, and the groups that are open.
    let (mut atom, mut open) = (false, 0_usize);
    while let Some(c) = chars.next() {
        atom = match c {
            '[' if chars.as_str().contains(']') => {
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                if !is_plain_bracket(inside.strip_prefix('^').unwrap_or(&inside)) {
                    return false;
                }
                true
            }
            '+' | '*' | '?' if atom => false,
            '(' => {
                open += 1;
                false
            }
            ')' => match open.checked_sub(1) {
                Some(left) => {
                    open = left;
                    true
                }
                None => return false,
            },
            c if plain(c) => c.is_alphanumeric() || c == ' ' || c == '_',
            _ => return false,
        };
    }
    open == 0
}

/// `0-9a-z_`, what is in brackets: letters and digits of ASCII, and ranges of them.
fn is_plain_bracket(inside: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let chars: Vec<char> = inside.chars().collect();
    let mut rest = chars.as_slice();
    while let [first, after @ ..] = rest {
        rest = match after {
            ['-', last, after @ ..]
                if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && first <= last =>
            {
                after
            }
            _ if plain(*first) => after,
            _ => return false,
        };
    }
    !chars.is_empty()
}

pub(crate) fn boolean(
    expr: Expr,
    what: impl std::fmt::Display,
    schema: &DFSchema,
    zone: &str,
) -> Result<Expr> {
    match kinds::of(&expr, schema)? {
        Kind::Bool => Ok(expr),
        Kind::Unknown => casts::coerce(expr, Kind::Bool, schema, zone),
        other => Err(Error::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("argument of {what} must be type boolean, not type {}", other.name()),
        )),
    }
}

fn is_comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// The two sides of a comparison in one type whose order in Arrow is PostgreSQL's.
pub(crate) fn comparable(
    (left, ls): (Expr, &DFSchema),
    op: Operator,
    (right, rs): (Expr, &DFSchema),
    zone: &str,
) -> Result<(Expr, Expr)> {
    let (l, r) = (kinds::of(&left, ls)?, kinds::of(&right, rs)?);
    let to = match (l, r) {
        (Kind::Unknown, Kind::Unknown) => Kind::Text,
        (Kind::Unknown, k) | (k, Kind::Unknown) => k,
        (l, r) if l == r => l,
        (l, r) if l.is_number() && r.is_number() => match () {
            () if l.is_float() || r.is_float() => Kind::Float8,
            () if l.rank() > r.rank() => l,
            () => r,
        },
        (l, r) if l.is_text() && r.is_text() => Kind::Text,
        (l, r) if l.is_moment() && r.is_moment() => {
            if l.rank() > r.rank() {
                l
            } else {
                r
            }
        }
        (l, r) => return Err(undefined(l, op, r)),
    };
    match to {
        Kind::Json => return Err(undefined(l, op, r)),
        Kind::Jsonb | Kind::Interval | Kind::Array | Kind::Record | Kind::Bpchar | Kind::Other => {
            return Err(refused(format!("a comparison of {}", to.name())));
        }
        Kind::Numeric => return numerics((left, ls), (right, rs), zone),
        _ => {}
    }
    if to.is_integer() && l != r {
        // A constant takes the column's type, so that the backend can look for it.
        if let Some(pair) = constant_beside(&left, &right, l, r) {
            return Ok(pair);
        }
    }
    Ok((casts::coerce(left, to, ls, zone)?, casts::coerce(right, to, rs, zone)?))
}

fn constant_beside(left: &Expr, right: &Expr, l: Kind, r: Kind) -> Option<(Expr, Expr)> {
    let narrow = |value: &Expr, to: Kind| match (value, to) {
        (Expr::Literal(value, meta), Kind::Int8) => {
            Some(Expr::Literal(value.cast_to(&DataType::Int64).ok()?, meta.clone()))
        }
        _ => None,
    };
    if l.rank() > r.rank() {
        Some((left.clone(), narrow(right, l)?))
    } else {
        Some((narrow(left, r)?, right.clone()))
    }
}

fn numerics(
    (left, ls): (Expr, &DFSchema),
    (right, rs): (Expr, &DFSchema),
    zone: &str,
) -> Result<(Expr, Expr)> {
    let left = if kinds::of(&left, ls)? == Kind::Unknown {
        casts::coerce(left, Kind::Numeric, ls, zone)?
    } else {
        left
    };
    let right = if kinds::of(&right, rs)? == Kind::Unknown {
        casts::coerce(right, Kind::Numeric, rs, zone)?
    } else {
        right
    };
    let (lt, rt) = (kinds::type_of(&left, ls)?, kinds::type_of(&right, rs)?);
    if lt == rt && lt != DataType::LargeUtf8 {
        return Ok((left, right));
    }
    if let Some(pair) = exact(&left, &lt, &right, &rt) {
        return Ok(pair);
    }
    if let (Some((lp, ls)), Some((rp, rs))) = (number::shape(&lt), number::shape(&rt)) {
        let scale = ls.max(rs);
        let common = number::type_of(Some(((lp - ls).max(rp - rs) + scale, scale)));
        if common != DataType::LargeUtf8 {
            let cast = |expr, now: &DataType| {
                if *now == common { expr } else { Expr::Cast(Cast::new(Box::new(expr), common.clone())) }
            };
            return Ok((cast(left, &lt), cast(right, &rt)));
        }
    }
    Ok((key(left, zone), key(right, zone)))
}

/// A constant beside a column takes the column's type, if it is one of its values exactly.
fn exact(left: &Expr, lt: &DataType, right: &Expr, rt: &DataType) -> Option<(Expr, Expr)> {
    let fitted = |value: &ScalarValue, to: &DataType| {
        let DataType::Decimal128(p, s) = to else { return None };
        let array = value.to_array().ok()?;
        let num = datum::read(&array, 0).ok()?.as_num().ok()?;
        let unscaled = num.to_i128(*p, *s).ok()?;
        let back = Num::of_i128(unscaled, *s);
        (back.key() == num.key()).then_some(ScalarValue::Decimal128(Some(unscaled), *p, *s))
    };
    match (left, right) {
        (Expr::Literal(value, meta), _) => {
            Some((Expr::Literal(fitted(value, rt)?, meta.clone()), right.clone()))
        }
        (_, Expr::Literal(value, meta)) => {
            Some((left.clone(), Expr::Literal(fitted(value, lt)?, meta.clone())))
        }
        _ => None,
    }
}

/// What sorts and compares as a numeric of any scale does.
pub(crate) fn key(expr: Expr, zone: &str) -> Expr {
    let body: Body = |a, _| match a.first() {
        Some(value) => Ok(Datum::Bytes(value.as_num()?.key().into())),
        None => Ok(Datum::Null),
    };
    Spec { name: "numeric_key", strict: true, body, zone }.call(vec![expr], Kind::Bytea, DataType::Binary)
}

fn concatenation(left: Expr, right: Expr, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let (l, r) = (kinds::of(&left, schema)?, kinds::of(&right, schema)?);
    let text = |k: Kind| k.is_text() || k == Kind::Unknown;
    if l == Kind::Array || r == Kind::Array || l == Kind::Bpchar || r == Kind::Bpchar {
        return Err(refused(format!("operator || of {} and {}", l.name(), r.name())));
    }
    if l == Kind::Bytea && r == Kind::Bytea {
        return Err(refused("operator || of bytea"));
    }
    if !text(l) && !text(r) {
        return Err(undefined(l, "||", r));
    }
    let args =
        vec![casts::coerce(left, Kind::Text, schema, zone)?, casts::coerce(right, Kind::Text, schema, zone)?];
    let body: Body = |a, _| match a {
        [a, b] => {
            datum::check_length(a.as_text()?.len() + b.as_text()?.len())?;
            Ok(Datum::text(format!("{}{}", a.as_text()?, b.as_text()?)))
        }
        _ => Ok(Datum::Null),
    };
    Ok(Spec { name: "textcat", strict: true, body, zone }.call(args, Kind::Text, DataType::Utf8))
}

fn bits(left: Expr, op: Operator, right: Expr, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let (l, r) = (kinds::of(&left, schema)?, kinds::of(&right, schema)?);
    let shift = matches!(op, Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight);
    if !l.is_integer() || !r.is_integer() || (shift && r == Kind::Int8) {
        return Err(undefined(l, op, r));
    }
    if shift {
        return Err(refused(format!("operator {op}")));
    }
    let to = if l.rank() > r.rank() { l } else { r };
    let body: Body = match op {
        Operator::BitwiseAnd => |a, _| match a {
            [a, b] => Ok(Datum::Int(a.as_int()? & b.as_int()?)),
            _ => Ok(Datum::Null),
        },
        _ => |a, _| match a {
            [a, b] => Ok(Datum::Int(a.as_int()? | b.as_int()?)),
            _ => Ok(Datum::Null),
        },
    };
    let name = if op == Operator::BitwiseAnd { "intand" } else { "intor" };
    Ok(Spec { name, strict: true, body, zone }.call(vec![left, right], to, to.data_type(zone)))
}

/// `left + right` and the like.
pub(crate) fn arithmetic(
    left: Expr,
    op: Operator,
    right: Expr,
    schema: &DFSchema,
    zone: &str,
) -> Result<Expr> {
    let (l, r) = (kinds::of(&left, schema)?, kinds::of(&right, schema)?);
    let (l, r) = match (l, r) {
        (Kind::Unknown, Kind::Unknown) => {
            return Err(Error::new("42725", format!("operator is not unique: unknown {op} unknown")));
        }
        (Kind::Unknown, k) | (k, Kind::Unknown) if k.is_number() => (k, k),
        other => other,
    };
    if !l.is_number() || !r.is_number() {
        return times::arithmetic(left, (l, r), op, right, schema, zone);
    }
    if op == Operator::Modulo && (l.is_float() || r.is_float()) {
        return Err(undefined(l, op, r));
    }
    let to = match () {
        () if l == Kind::Float4 && r == Kind::Float4 => Kind::Float4,
        () if l.is_float() || r.is_float() => Kind::Float8,
        () if l.rank() > r.rank() => l,
        () => r,
    };
    let operand = |expr: Expr, now: Kind| {
        if now == Kind::Unknown || (to.is_float() && now != to) {
            casts::coerce(expr, to, schema, zone)
        } else {
            Ok(expr)
        }
    };
    let (lk, rk) = (kinds::of(&left, schema)?, kinds::of(&right, schema)?);
    let (left, right) = (operand(left, lk)?, operand(right, rk)?);
    let result = match to {
        Kind::Numeric => {
            let shapes = number::shape(&kinds::type_of(&left, schema)?)
                .zip(number::shape(&kinds::type_of(&right, schema)?));
            number::type_of(shapes.and_then(|(a, b)| result_shape(op, a, b)))
        }
        other => other.data_type(zone),
    };
    let body = body_of(op, to);
    let name = format!("{}_{op}", to.name());
    Ok(Spec { name: &name, strict: true, body, zone }.call(vec![left, right], to, result))
}

fn result_shape(op: Operator, (p1, s1): (u16, u16), (p2, s2): (u16, u16)) -> Option<(u16, u16)> {
    let scale = s1.max(s2);
    Some(match op {
        Operator::Plus | Operator::Minus => ((p1 - s1).max(p2 - s2) + scale + 1, scale),
        Operator::Multiply => (p1 + p2, s1 + s2),
        Operator::Modulo => ((p1 - s1).max(p2 - s2) + scale, scale),
        _ => return None,
    })
}

fn body_of(op: Operator, to: Kind) -> Body {
    match (to, op) {
        (Kind::Numeric, Operator::Plus) => |a, _| nums(a, |a, b| Ok(a.plus(b))),
        (Kind::Numeric, Operator::Minus) => |a, _| nums(a, |a, b| Ok(a.minus(b))),
        (Kind::Numeric, Operator::Multiply) => |a, _| nums(a, Num::times),
        (Kind::Numeric, Operator::Divide) => |a, _| nums(a, Num::divided),
        (Kind::Numeric, _) => |a, _| nums(a, Num::rem),
        (Kind::Float4 | Kind::Float8, Operator::Plus) => |a, c| floats(a, c, |a, b| a + b),
        (Kind::Float4 | Kind::Float8, Operator::Minus) => |a, c| floats(a, c, |a, b| a - b),
        (Kind::Float4 | Kind::Float8, Operator::Multiply) => |a, c| floats(a, c, |a, b| a * b),
        (Kind::Float4 | Kind::Float8, _) => |a, c| match a {
            [a, b] if b.as_float()? == 0.0 && !a.as_float()?.is_nan() => {
                Err(Error::new("22012", "division by zero"))
            }
            _ => floats(a, c, |a, b| a / b),
        },
        (_, Operator::Plus) => |a, c| ints(a, c, i64::checked_add),
        (_, Operator::Minus) => |a, c| ints(a, c, i64::checked_sub),
        (_, Operator::Multiply) => |a, c| ints(a, c, i64::checked_mul),
        (_, Operator::Divide) => |a, c| ints(by_zero(a)?, c, i64::checked_div),
        _ => |a, c| ints(by_zero(a)?, c, |a, b| Some(a.wrapping_rem(b))),
    }
}

fn by_zero<'d, 'a>(arguments: &'d [Datum<'a>]) -> Result<&'d [Datum<'a>]> {
    match arguments {
        [_, Datum::Int(0)] => Err(Error::new("22012", "division by zero")),
        other => Ok(other),
    }
}

fn nums<'a>(arguments: &[Datum<'_>], compute: impl Fn(&Num, &Num) -> Result<Num>) -> Result<Datum<'a>> {
    let [a, b] = arguments else { return Ok(Datum::Null) };
    Ok(Datum::Num(compute(&a.as_num()?, &b.as_num()?)?.checked()?))
}

fn ints<'a>(
    arguments: &[Datum<'_>],
    context: &Context,
    compute: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Datum<'a>> {
    let [a, b] = arguments else { return Ok(Datum::Null) };
    let value = compute(a.as_int()?, b.as_int()?);
    value.map(Datum::Int).ok_or_else(|| out_of_range(casts::integer_name(&context.result)))
}

/// PostgreSQL's floats fail where IEEE's become infinite or vanish.
fn floats<'a>(arguments: &[Datum<'_>], context: &Context, compute: fn(f64, f64) -> f64) -> Result<Datum<'a>> {
    let [a, b] = arguments else { return Ok(Datum::Null) };
    let (a, b) = (a.as_float()?, b.as_float()?);
    let value = compute(a, b);
    if value.is_infinite() && a.is_finite() && b.is_finite() {
        return Err(Error::new("22003", "value out of range: overflow"));
    }
    let product = compute(1.0, 2.0) != 3.0 && compute(1.0, 2.0) != -1.0;
    if product && value == 0.0 && a != 0.0 && b.is_finite() && (b != 0.0) {
        return Err(Error::new("22003", "value out of range: underflow"));
    }
    if context.result == DataType::Float32 { casts::single(value) } else { Ok(Datum::float(value)) }
}

/// `-x`
pub(crate) fn negative(expr: Expr, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let kind = kinds::of(&expr, schema)?;
    let result = kinds::type_of(&expr, schema)?;
    let body: Body = match kind {
        k if k.is_integer() => |a, c| match a {
            [Datum::Int(v)] => {
                v.checked_neg().map(Datum::Int).ok_or_else(|| out_of_range(casts::integer_name(&c.result)))
            }
            _ => Ok(Datum::Null),
        },
        k if k.is_float() => |a, _| Ok(Datum::float(-a.first().map_or(Ok(0.0), Datum::as_float)?)),
        Kind::Numeric => |a, _| match a.first() {
            Some(value) => Ok(Datum::Num(value.as_num()?.negated())),
            None => Ok(Datum::Null),
        },
        Kind::Interval => |a, _| match a {
            [Datum::Interval(span)] => times::negated(*span).map(Datum::Interval),
            _ => Ok(Datum::Null),
        },
        Kind::Internal => return Ok(Expr::Negative(Box::new(expr))),
        other => {
            let message = format!("operator does not exist: - {}", other.name());
            return Err(Error::new(sqlstate::UNDEFINED_FUNCTION, message));
        }
    };
    let name = format!("negative_{}", kind.name());
    Ok(Spec { name: &name, strict: true, body, zone }.call(vec![expr], kind, result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(pattern: &str) -> bool {
        is_plain_pattern(&Expr::Literal(pattern.into(), None))
    }

    #[test]
    fn patterns_that_mean_the_same_in_both_dialects() {
        assert!(plain("^[0-9]+$") && plain("^a|b") && plain("(ab)*c?") && plain("[^a-z_]") && plain(""));
        assert!(!plain("a**") && !plain("+a") && !plain("a.c") && !plain("\\d") && !plain("[9-0]"));
        assert!(
            !plain("[[:alpha:]]")
                && !plain("(?i)a")
                && !plain("[]a]")
                && !plain("a{2}")
                && !plain("(a")
                && !plain("[a")
        );
    }
}
