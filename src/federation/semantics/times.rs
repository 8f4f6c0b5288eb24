//! Dates, times and intervals.

use arrow::array::timezone::Tz;
use arrow::datatypes::DataType;
use chrono::{Datelike, Months, NaiveDate, NaiveDateTime};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, Operator};
use epoch_adapter::{Error, Result};

use super::call::{Body, Context, Spec};
use super::casts;
use super::datum::{Datum, Span};
use super::input;
use super::kinds::{self, Kind};
use super::number::Num;
use super::operators::{refused, undefined};

const DAY: i64 = 86_400_000_000;

fn out_of_range(what: &str) -> Error {
    Error::new("22008", format!("{what} out of range"))
}

/// `+`, `-`, `*`, `/` where not both sides are numbers.
pub(crate) fn arithmetic(
    left: Expr,
    (l, r): (Kind, Kind),
    op: Operator,
    right: Expr,
    schema: &DFSchema,
    zone: &str,
) -> Result<Expr> {
    // `timestamp - 'x'`: the literal is taken for one of the same type.
    let (l, r, left, right) = match (l, r, op) {
        (k, Kind::Unknown, Operator::Minus) if k.is_moment() => {
            (k, k, left, casts::coerce(right, k, schema, zone)?)
        }
        (Kind::Interval, Kind::Unknown, Operator::Plus | Operator::Minus) => {
            (l, Kind::Interval, left, casts::coerce(right, Kind::Interval, schema, zone)?)
        }
        (k, Kind::Unknown, _) | (Kind::Unknown, k, _) if k.is_moment() || k == Kind::Time => {
            return Err(refused(format!("operator {op} of {} and a literal without a type", k.name()))
                .with_hint("Add a cast, as in '1 day'::interval."));
        }
        other => (other.0, other.1, left, right),
    };
    if op == Operator::Plus
        && (l == Kind::Interval && (r.is_moment() || r == Kind::Time) || l == Kind::Int4 && r == Kind::Date)
    {
        return arithmetic(right, (r, l), op, left, schema, zone);
    }
    let to = |expr: Expr, kind| casts::coerce(expr, kind, schema, zone);
    let later = if l.rank() > r.rank() { l } else { r };
    let (left, right, result, body): (Expr, Expr, Kind, Body) = match (l, op, r) {
        (Kind::Date, Operator::Plus, Kind::Int2 | Kind::Int4) => {
            (left, right, Kind::Date, |a, _| moved_day(a, 1))
        }
        (Kind::Date, Operator::Minus, Kind::Int2 | Kind::Int4) => {
            (left, right, Kind::Date, |a, _| moved_day(a, -1))
        }
        (Kind::Date, Operator::Minus, Kind::Date) => (left, right, Kind::Int4, |a, _| match a {
            [Datum::Date(a), Datum::Date(b)] => Ok(Datum::Int(i64::from(*a) - i64::from(*b))),
            _ => Ok(Datum::Null),
        }),
        (Kind::Date, Operator::Plus, Kind::Time) => {
            (to(left, Kind::Timestamp)?, right, Kind::Timestamp, |a, _| match a {
                [Datum::Micros(a), Datum::Micros(b)] => Ok(Datum::Micros(a + b)),
                _ => Ok(Datum::Null),
            })
        }
        (l, Operator::Minus, r) if l.is_moment() && r.is_moment() => {
            (to(left, later)?, to(right, later)?, Kind::Interval, |a, _| match a {
                [Datum::Micros(a), Datum::Micros(b)] => {
                    let micros = a.checked_sub(*b).ok_or_else(|| out_of_range("interval"))?;
                    let days = i32::try_from(micros / DAY).map_err(|_| out_of_range("interval"))?;
                    Ok(Datum::Interval(Span { months: 0, days, micros: micros % DAY }))
                }
                _ => Ok(Datum::Null),
            })
        }
        (Kind::Date | Kind::Timestamp, Operator::Plus | Operator::Minus, Kind::Interval) => {
            let body: Body =
                if op == Operator::Plus { |a, _| moved(a, 1, None) } else { |a, _| moved(a, -1, None) };
            (to(left, Kind::Timestamp)?, right, Kind::Timestamp, body)
        }
        (Kind::Timestamptz, Operator::Plus | Operator::Minus, Kind::Interval) => {
            let body: Body = if op == Operator::Plus {
                |a, c| moved(a, 1, Some(c.zone))
            } else {
                |a, c| moved(a, -1, Some(c.zone))
            };
            (left, right, Kind::Timestamptz, body)
        }
        (Kind::Time, Operator::Plus | Operator::Minus, Kind::Interval) => {
            let body: Body = if op == Operator::Plus { |a, _| turned(a, 1) } else { |a, _| turned(a, -1) };
            (left, right, Kind::Time, body)
        }
        (Kind::Time, Operator::Minus, Kind::Time) => (left, right, Kind::Interval, |a, _| match a {
            [Datum::Micros(a), Datum::Micros(b)] => {
                Ok(Datum::Interval(Span { months: 0, days: 0, micros: a - b }))
            }
            _ => Ok(Datum::Null),
        }),
        (Kind::Interval, Operator::Plus | Operator::Minus, Kind::Interval) => {
            let body: Body =
                if op == Operator::Plus { |a, _| joined(a, false) } else { |a, _| joined(a, true) };
            (left, right, Kind::Interval, body)
        }
        (Kind::Interval, Operator::Multiply, r) if r.is_integer() => (left, right, Kind::Interval, times),
        (l, Operator::Multiply, Kind::Interval) if l.is_integer() => (right, left, Kind::Interval, times),
        (Kind::Interval, _, _) | (_, _, Kind::Interval) => {
            return Err(refused(format!("operator {op} of {} and {}", l.name(), r.name())));
        }
        _ => return Err(undefined(l, op, r)),
    };
    let name = format!("{}_{op}_{}", l.name(), r.name());
    Ok(Spec { name: &name, strict: true, body, zone }.call(vec![left, right], result, result.data_type(zone)))
}

fn moved_day<'a>(arguments: &[Datum<'_>], sign: i64) -> Result<Datum<'a>> {
    let [Datum::Date(day), Datum::Int(n)] = arguments else { return Ok(Datum::Null) };
    let day = n.checked_mul(sign).and_then(|n| i64::from(*day).checked_add(n));
    let day = day.and_then(|d| i32::try_from(d).ok()).filter(|d| (-2_451_545..2_000_000_000).contains(d));
    day.map(Datum::Date).ok_or_else(|| out_of_range("date"))
}

/// A moment and an interval: months, then days, then the rest; in a zone these are its calendar's.
fn moved<'a>(arguments: &[Datum<'_>], sign: i32, zone: Option<Tz>) -> Result<Datum<'a>> {
    let [Datum::Micros(at), Datum::Interval(span)] = arguments else { return Ok(Datum::Null) };
    let span = if sign < 0 { negated(*span)? } else { *span };
    let mut micros = *at;
    if span.months != 0 || span.days != 0 {
        let local = zone.map_or(Ok(micros), |zone| input::to_local(micros, zone))?;
        let moved = months_later(input::naive(local)?, span.months)?.and_utc().timestamp_micros();
        let moved = i64::from(span.days).checked_mul(DAY).and_then(|d| moved.checked_add(d));
        let moved = moved.ok_or_else(|| out_of_range("timestamp"))?;
        micros = zone.map_or(Ok(moved), |zone| input::to_utc(moved, zone))?;
    }
    micros.checked_add(span.micros).map(Datum::Micros).ok_or_else(|| out_of_range("timestamp"))
}

fn months_later(at: NaiveDateTime, months: i32) -> Result<NaiveDateTime> {
    let by = Months::new(months.unsigned_abs());
    let moved = if months < 0 { at.checked_sub_months(by) } else { at.checked_add_months(by) };
    moved.ok_or_else(|| out_of_range("timestamp"))
}

fn turned<'a>(arguments: &[Datum<'_>], sign: i64) -> Result<Datum<'a>> {
    let [Datum::Micros(at), Datum::Interval(span)] = arguments else { return Ok(Datum::Null) };
    Ok(Datum::Micros((at + sign * (span.micros % DAY)).rem_euclid(DAY)))
}

pub(crate) fn negated(span: Span) -> Result<Span> {
    let negated = || {
        Some(Span {
            months: span.months.checked_neg()?,
            days: span.days.checked_neg()?,
            micros: span.micros.checked_neg()?,
        })
    };
    negated().ok_or_else(|| out_of_range("interval"))
}

fn joined<'a>(arguments: &[Datum<'_>], minus: bool) -> Result<Datum<'a>> {
    let [Datum::Interval(a), Datum::Interval(b)] = arguments else { return Ok(Datum::Null) };
    let b = if minus { negated(*b)? } else { *b };
    let sum = || {
        Some(Span {
            months: a.months.checked_add(b.months)?,
            days: a.days.checked_add(b.days)?,
            micros: a.micros.checked_add(b.micros)?,
        })
    };
    sum().map(Datum::Interval).ok_or_else(|| out_of_range("interval"))
}

fn times<'a>(arguments: &[Datum<'a>], _: &Context) -> Result<Datum<'a>> {
    let [Datum::Interval(span), Datum::Int(n)] = arguments else { return Ok(Datum::Null) };
    let part = |value: i32| i32::try_from(i64::from(value).checked_mul(*n)?).ok();
    let product = || {
        Some(Span {
            months: part(span.months)?,
            days: part(span.days)?,
            micros: span.micros.checked_mul(*n)?,
        })
    };
    product().map(Datum::Interval).ok_or_else(|| out_of_range("interval"))
}

/// The moment on its own clock, of the first of two arguments that follow the field's name.
fn local(value: &Datum<'_>, zone: Option<Tz>) -> Result<NaiveDateTime> {
    let micros = match value {
        Datum::Micros(micros) => zone.map_or(Ok(*micros), |zone| input::to_local(*micros, zone))?,
        Datum::Date(days) => i64::from(*days) * DAY,
        _ => return Err(Error::internal("not a moment")),
    };
    input::naive(micros)
}

/// `extract(field from x)`, as a numeric.
pub(crate) fn extract<'a>(arguments: &[Datum<'a>], zone: Option<Tz>, kind: Kind) -> Result<Datum<'a>> {
    let [field, value] = arguments else { return Ok(Datum::Null) };
    let field = field.as_text()?.to_ascii_lowercase();
    let unknown = || Error::new("22023", format!("unit \"{field}\" not recognized for type {}", kind.name()));
    if let Datum::Interval(_) = value {
        return Err(refused("extract from an interval"));
    }
    let at = local(value, zone)?;
    let seconds = |scale: u32| {
        let micros = at.and_utc().timestamp_micros().rem_euclid(60_000_000);
        Num::new(micros.into(), scale)
    };
    let date_only = kind == Kind::Date;
    let year = i64::from(at.year());
    let int = |value: i64| Ok(Datum::Num(Num::of_int(value)));
    match field.as_str() {
        "year" | "y" | "years" => int(year),
        "month" | "mon" | "months" => int(at.month().into()),
        "day" | "d" | "days" => int(at.day().into()),
        "quarter" => int(i64::from((at.month() - 1) / 3 + 1)),
        "dow" => int(at.weekday().num_days_from_sunday().into()),
        "isodow" => int(at.weekday().number_from_monday().into()),
        "doy" => int(at.ordinal().into()),
        "week" | "weeks" => int(at.iso_week().week().into()),
        "isoyear" => int(at.iso_week().year().into()),
        "decade" => int(year.div_euclid(10)),
        "century" => int((year + 99).div_euclid(100)),
        "millennium" => int((year + 999).div_euclid(1000)),
        "epoch" => match value {
            Datum::Micros(micros) => Ok(Datum::Num(Num::new((*micros).into(), 6))),
            Datum::Date(days) => int(i64::from(*days) * 86_400),
            _ => Ok(Datum::Null),
        },
        "hour" | "minute" | "second" | "milliseconds" | "microseconds" if date_only => {
            Err(Error::new("0A000", format!("unit \"{field}\" not supported for type {}", kind.name())))
        }
        "hour" | "h" | "hours" => int(at.and_utc().timestamp_micros().rem_euclid(DAY) / 3_600_000_000),
        "minute" | "m" | "minutes" | "min" => {
            int(at.and_utc().timestamp_micros().rem_euclid(3_600_000_000) / 60_000_000)
        }
        "second" | "s" | "seconds" | "sec" => Ok(Datum::Num(seconds(6))),
        "milliseconds" | "ms" | "millisecond" => Ok(Datum::Num(seconds(3))),
        "microseconds" | "us" | "microsecond" => Ok(Datum::Num(seconds(0))),
        "timezone" | "timezone_hour" | "timezone_minute" | "julian" => {
            Err(refused(format!("extract({field} from …)")))
        }
        _ => Err(unknown()),
    }
}

/// `date_trunc(field, moment)`
pub(crate) fn truncated<'a>(arguments: &[Datum<'a>], zone: Option<Tz>) -> Result<Datum<'a>> {
    let [field, value] = arguments else { return Ok(Datum::Null) };
    let field = field.as_text()?.to_ascii_lowercase();
    let at = local(value, zone)?;
    let micros = at.and_utc().timestamp_micros();
    let step = |unit: i64| Ok(micros - micros.rem_euclid(unit));
    let first = |year: i32, month: u32| {
        let date = NaiveDate::from_ymd_opt(year, month, 1).ok_or_else(|| out_of_range("timestamp"))?;
        Ok(i64::from(input::days_of(date)) * DAY)
    };
    let start = match field.as_str() {
        "microseconds" | "microsecond" => Ok(micros),
        "milliseconds" | "millisecond" => step(1000),
        "second" | "seconds" => step(1_000_000),
        "minute" | "minutes" => step(60_000_000),
        "hour" | "hours" => step(3_600_000_000),
        "day" | "days" => step(DAY),
        "week" | "weeks" => {
            let back = i64::from(at.weekday().num_days_from_monday()) * DAY;
            Ok(micros - micros.rem_euclid(DAY) - back)
        }
        "month" | "months" => first(at.year(), at.month()),
        "quarter" => first(at.year(), (at.month() - 1) / 3 * 3 + 1),
        "year" | "years" => first(at.year(), 1),
        "decade" | "century" | "millennium" => return Err(refused(format!("date_trunc('{field}', …)"))),
        _ => {
            let kind = if zone.is_some() { Kind::Timestamptz } else { Kind::Timestamp };
            let message = format!("unit \"{field}\" not recognized for type {}", kind.name());
            return Err(Error::new("22023", message));
        }
    }?;
    // Shorter than a day: the clock may show this time twice, the moment is known.
    let Some(zone) = zone else { return Ok(Datum::Micros(start)) };
    let Datum::Micros(utc) = value else { return Ok(Datum::Null) };
    if micros - start < 3_600_000_000
        && matches!(field.as_str(), "minute" | "second" | "hour" | "minutes" | "seconds" | "hours")
    {
        return Ok(Datum::Micros(utc - (micros - start)));
    }
    input::to_utc(start, zone).map(Datum::Micros)
}

/// `extract` and `date_part` of an expression.
pub(crate) fn part(field: Expr, value: Expr, float: bool, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let kind = kinds::of(&value, schema)?;
    let body: Body = match (kind, float) {
        (Kind::Date, false) => |a, _| extract(a, None, Kind::Date),
        (Kind::Timestamp, false) => |a, _| extract(a, None, Kind::Timestamp),
        (Kind::Timestamptz, false) => |a, c| extract(a, Some(c.zone), Kind::Timestamptz),
        // date_part has no form for dates: they become timestamps.
        (Kind::Date | Kind::Timestamp, true) => |a, _| extract(a, None, Kind::Timestamp),
        (Kind::Timestamptz, true) => |a, c| extract(a, Some(c.zone), Kind::Timestamptz),
        (other, _) => return Err(refused(format!("extract from {}", other.name()))),
    };
    let result = if float { Kind::Float8 } else { Kind::Numeric };
    let name = format!("extract_{}_{float}", kind.name());
    Ok(Spec { name: &name, strict: true, body, zone }.call(
        vec![field, value],
        result,
        result.data_type(zone),
    ))
}

/// `date_trunc` of an expression.
pub(crate) fn trunc(field: Expr, value: Expr, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let (kind, value) = match kinds::of(&value, schema)? {
        kind @ (Kind::Timestamp | Kind::Timestamptz) => (kind, value),
        Kind::Date => (Kind::Timestamptz, casts::coerce(value, Kind::Timestamptz, schema, zone)?),
        other => return Err(refused(format!("date_trunc of {}", other.name()))),
    };
    let body: Body =
        if kind == Kind::Timestamp { |a, _| truncated(a, None) } else { |a, c| truncated(a, Some(c.zone)) };
    let name = format!("date_trunc_{}", kind.name());
    Ok(Spec { name: &name, strict: true, body, zone }.call(vec![field, value], kind, kind.data_type(zone)))
}

/// `timezone(name, x)`, which is `x AT TIME ZONE name`.
pub(crate) fn at_zone(name: Expr, value: Expr, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let named = |text: &str| -> Result<Tz> {
        let lowered = text.to_ascii_lowercase();
        let text = if matches!(lowered.as_str(), "utc" | "gmt" | "z") { "+00:00" } else { text };
        let digits = text.starts_with(['+', '-']) && text != "+00:00";
        if digits || !(text.contains('/') || text == "+00:00") {
            return Err(refused(format!("the time zone \"{text}\"")));
        }
        text.parse().map_err(|_| Error::new("22023", format!("time zone \"{text}\" not recognized")))
    };
    let Expr::Literal(literal, _) = &name else { return Err(refused("a time zone that is no constant")) };
    let Some(Some(text)) = literal.try_as_str() else { return Err(refused("a time zone that is no text")) };
    named(text)?;
    let (result, body): (Kind, Body) = match kinds::of(&value, schema)? {
        Kind::Timestamptz => (Kind::Timestamp, |a, c| match a {
            [Datum::Micros(at)] => Ok(Datum::Micros(input::to_local(*at, c.zone)?)),
            _ => Ok(Datum::Null),
        }),
        Kind::Timestamp => (Kind::Timestamptz, |a, c| match a {
            [Datum::Micros(at)] => Ok(Datum::Micros(input::to_utc(*at, c.zone)?)),
            _ => Ok(Datum::Null),
        }),
        other => return Err(refused(format!("a time zone of {}", other.name()))),
    };
    let own = if text.contains('/') { text.to_owned() } else { "+00:00".to_owned() };
    let data_type = match result {
        Kind::Timestamptz => result.data_type(zone),
        _ => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
    };
    Ok(Spec { name: "timezone", strict: true, body, zone: &own }.call(vec![value], result, data_type))
}
