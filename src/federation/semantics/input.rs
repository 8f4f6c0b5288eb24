//! PostgreSQL's input of text into values. Forms that PostgreSQL knows and we don't are refused, not read
//! in another way.

use arrow::array::timezone::Tz;
use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone};
use epoch_adapter::{Error, Result, sqlstate};

use super::datum::{Span, plain};

const DAY: i64 = 86_400_000_000;

pub(crate) fn bad(type_name: &str, text: &str) -> Error {
    Error::new(
        sqlstate::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}')
}

/// An integer of `bytes` bytes.
pub(crate) fn integer(text: &str, type_name: &str, least: i64, most: i64) -> Result<i64> {
    let inner = trimmed(text);
    let digits = inner.strip_prefix(['+', '-']).unwrap_or(inner);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(type_name, text));
    }
    let value = inner.parse::<i64>().ok().filter(|v| (least..=most).contains(v));
    value.ok_or_else(|| Error::new("22003", format!("value \"{text}\" is out of range for type {type_name}")))
}

/// A double or a single.
pub(crate) fn float(text: &str, single: bool) -> Result<f64> {
    let type_name = if single { "real" } else { "double precision" };
    let inner = trimmed(text);
    let body = inner.strip_prefix(['+', '-']).unwrap_or(inner);
    let negative = inner.starts_with('-');
    let word = body.to_ascii_lowercase();
    match word.as_str() {
        "nan" if body.len() == inner.len() => return Ok(f64::NAN),
        "inf" | "infinity" => return Ok(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => {}
    }
    let number = body.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if word.starts_with("0x") {
        return Err(Error::unsupported("a float in hexadecimal form on tables that are not in PostgreSQL"));
    }
    let value = if number {
        inner.parse::<f64>().map_err(|_| bad(type_name, text))?
    } else {
        return Err(bad(type_name, text));
    };
    #[allow(clippy::cast_possible_truncation)]
    let value = if single { f64::from(inner.parse::<f32>().unwrap_or(value as f32)) } else { value };
    let mantissa = word.split('e').next().unwrap_or_default();
    let lost = value == 0.0 && mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if value.is_infinite() || lost {
        return Err(Error::new("22003", format!("\"{text}\" is out of range for type {type_name}")));
    }
    Ok(plain(value))
}

pub(crate) fn boolean(text: &str) -> Result<bool> {
    let word = trimmed(text).to_ascii_lowercase();
    let prefix = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if prefix("true", 1) || prefix("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if prefix("false", 1) || prefix("no", 1) || prefix("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(bad("boolean", text))
    }
}

/// In lower case with hyphens, which sorts as PostgreSQL sorts UUIDs.
pub(crate) fn uuid(text: &str) -> Result<String> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(|| bad("uuid", text))?,
        None => text,
    };
    let (mut out, mut digits) = (String::with_capacity(36), 0);
    let mut after_hyphen = true;
    for c in inner.chars() {
        match c {
            '-' if !after_hyphen && digits % 4 == 0 && digits < 32 => after_hyphen = true,
            c if c.is_ascii_hexdigit() && digits < 32 => {
                if matches!(digits, 8 | 12 | 16 | 20) {
                    out.push('-');
                }
                out.push(c.to_ascii_lowercase());
                digits += 1;
                after_hyphen = false;
            }
            _ => return Err(bad("uuid", text)),
        }
    }
    if digits == 32 && !after_hyphen { Ok(out) } else { Err(bad("uuid", text)) }
}

pub(crate) fn json(text: &str) -> Result<()> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(e) if e.to_string().contains("recursion") => {
            Err(Error::new(sqlstate::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded"))
        }
        Err(_) => {
            Err(Error::new(sqlstate::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json"))
        }
    }
}

/// What isn't in ISO's form: no moment at all, or one in a form that only PostgreSQL reads.
fn other_form(type_name: &str, text: &str) -> Error {
    const WORDS: [&str; 9] =
        ["now", "today", "tomorrow", "yesterday", "infinity", "-infinity", "epoch", "allballs", "+infinity"];
    let word = trimmed(text).to_ascii_lowercase();
    if word.bytes().any(|b| b.is_ascii_digit()) || WORDS.contains(&word.as_str()) {
        return Error::unsupported(format!("{type_name} '{text}' on tables that are not in PostgreSQL"))
            .with_hint("Write it as YYYY-MM-DD HH:MM:SS.");
    }
    Error::new("22007", format!("invalid input syntax for type {type_name}: \"{text}\""))
}

fn out_of_range(text: &str) -> Error {
    Error::new("22008", format!("date/time field value out of range: \"{text}\""))
}

/// A number of at most `most` digits at the start, and what follows.
fn number(text: &str, most: usize) -> Option<(u32, usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > most {
        return None;
    }
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, digits, rest))
}

/// `2024-1-5`, and what follows.
fn day<'t>(text: &'t str, whole: &str, type_name: &str) -> Result<(NaiveDate, &'t str)> {
    let parts = || {
        let (year, 4, rest) = number(text, 4)? else { return None };
        let (month, _, rest) = number(rest.strip_prefix('-')?, 2)?;
        let (day, _, rest) = number(rest.strip_prefix('-')?, 2)?;
        Some((year, month, day, rest))
    };
    let (year, month, day, rest) = parts().ok_or_else(|| other_form(type_name, whole))?;
    let date =
        i32::try_from(year).ok().filter(|y| *y > 0).and_then(|y| NaiveDate::from_ymd_opt(y, month, day));
    Ok((date.ok_or_else(|| out_of_range(whole))?, rest))
}

/// `10:00[:05[.5]]` in microseconds, and what follows.
fn clock<'t>(text: &'t str, whole: &str, type_name: &str) -> Result<(i64, &'t str)> {
    let form = || other_form(type_name, whole);
    let (hour, _, rest) = number(text, 2).ok_or_else(form)?;
    let (minute, _, mut rest) = rest.strip_prefix(':').and_then(|r| number(r, 2)).ok_or_else(form)?;
    let (mut second, mut micros) = (0, 0);
    if let Some(after) = rest.strip_prefix(':') {
        (second, _, rest) = number(after, 2).ok_or_else(form)?;
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, behind) = after.split_at_checked(digits).ok_or_else(form)?;
            let significant = fraction.trim_end_matches('0');
            if significant.len() > 6 {
                return Err(Error::unsupported("a moment with more than 6 digits behind the second"));
            }
            micros = format!("{significant:0<6}").parse::<i64>().unwrap_or(0);
            rest = behind;
        }
    }
    if hour > 24 || minute > 59 || second > 60 {
        return Err(out_of_range(whole));
    }
    if second == 60 || (hour == 24 && (minute > 0 || second > 0 || micros > 0)) {
        return Err(if second == 60 { form() } else { out_of_range(whole) });
    }
    Ok((
        (i64::from(hour) * 60 + i64::from(minute)) * 60_000_000 + i64::from(second) * 1_000_000 + micros,
        rest,
    ))
}

/// A zone behind a moment.
enum Zone {
    None,
    /// Seconds east of UTC.
    Offset(i32),
    Named(Tz),
}

fn zone_behind(text: &str, whole: &str, type_name: &str) -> Result<Zone> {
    let text = trimmed(text);
    if text.is_empty() {
        return Ok(Zone::None);
    }
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("gmt")
    {
        return Ok(Zone::Offset(0));
    }
    let sign = match text.chars().next() {
        Some('+') => 1,
        Some('-') => -1,
        _ => {
            let named = text.contains('/').then(|| text.parse::<Tz>().ok()).flatten();
            return named.map(Zone::Named).ok_or_else(|| other_form(type_name, whole));
        }
    };
    let digits = text.get(1..).unwrap_or_default();
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if digits.len() == 4 => digits.split_at_checked(2).unwrap_or_default(),
        None => (digits, "0"),
    };
    match (number(hours, 2), number(minutes, 2)) {
        (Some((hours, _, "")), Some((minutes, _, ""))) if hours < 16 && minutes < 60 => {
            Ok(Zone::Offset(sign * i32::try_from(hours * 3600 + minutes * 60).unwrap_or(0)))
        }
        (Some((_, _, "")), Some((_, _, ""))) => {
            Err(Error::new("22009", format!("time zone displacement out of range: \"{whole}\"")))
        }
        _ => Err(other_form(type_name, whole)),
    }
}

/// The days since 1970 of a date.
pub(crate) fn date(text: &str) -> Result<i32> {
    let inner = trimmed(text);
    let (date, rest) = match number(inner, 8) {
        Some((whole, 8, rest)) => {
            let date = NaiveDate::from_ymd_opt(
                i32::try_from(whole / 10_000).unwrap_or(0),
                whole / 100 % 100,
                whole % 100,
            );
            (date.ok_or_else(|| out_of_range(text))?, rest)
        }
        _ => day(inner, text, "date")?,
    };
    if !rest.is_empty() {
        // A time behind it is read and forgotten, if it is one.
        moment(text, "date")?;
    }
    Ok(days_of(date))
}

pub(crate) fn days_of(date: NaiveDate) -> i32 {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap_or_default();
    i32::try_from((date - epoch).num_days()).unwrap_or(i32::MAX)
}

fn moment(text: &str, type_name: &str) -> Result<(i64, Zone)> {
    let inner = trimmed(text);
    let (date, rest) = day(inner, text, type_name)?;
    let start = i64::from(days_of(date)) * DAY;
    let rest = match rest.strip_prefix(['T', 't']) {
        Some(rest) => rest,
        None => rest.trim_start(),
    };
    if rest.is_empty() {
        return Ok((start, Zone::None));
    }
    let (clock, rest) = clock(rest, text, type_name)?;
    Ok((start + clock, zone_behind(rest, text, type_name)?))
}

/// A moment without a zone; one behind it is read and forgotten.
pub(crate) fn timestamp(text: &str) -> Result<i64> {
    Ok(moment(text, "timestamp")?.0)
}

/// A moment, in `zone` if it has none of its own.
pub(crate) fn timestamptz(text: &str, zone: Tz) -> Result<i64> {
    let (local, own) = moment(text, "timestamp with time zone")?;
    match own {
        Zone::None => to_utc(local, zone),
        Zone::Offset(seconds) => Ok(local - i64::from(seconds) * 1_000_000),
        Zone::Named(named) => to_utc(local, named),
    }
}

pub(crate) fn time(text: &str) -> Result<i64> {
    let (clock, rest) = clock(trimmed(text), text, "time")?;
    if !rest.is_empty() || clock >= DAY {
        return Err(other_form("time", text));
    }
    Ok(clock)
}

pub(crate) fn naive(micros: i64) -> Result<NaiveDateTime> {
    let moment = DateTime::from_timestamp_micros(micros).map(|d| d.naive_utc());
    moment.ok_or_else(|| Error::new("22008", "timestamp out of range"))
}

/// A zone's clock as UTC. As in PostgreSQL, a time that doesn't exist is one of before the gap's end,
/// and of two the later is meant.
pub(crate) fn to_utc(local: i64, zone: Tz) -> Result<i64> {
    let at = naive(local)?;
    let offset = match zone.offset_from_local_datetime(&at) {
        LocalResult::Single(offset) => offset.fix(),
        LocalResult::Ambiguous(_, later) => later.fix(),
        LocalResult::None => {
            let before = at.checked_sub_signed(TimeDelta::hours(24)).unwrap_or(at);
            zone.offset_from_utc_datetime(&before).fix()
        }
    };
    Ok(local - i64::from(offset.local_minus_utc()) * 1_000_000)
}

/// UTC as a zone's clock.
pub(crate) fn to_local(utc: i64, zone: Tz) -> Result<i64> {
    let offset = zone.offset_from_utc_datetime(&naive(utc)?).fix();
    Ok(utc + i64::from(offset.local_minus_utc()) * 1_000_000)
}

/// `1 year 2 mons -3 days 04:05:06.7`, `1.5 hours`
pub(crate) fn interval(text: &str) -> Result<Span> {
    let syntax = || Error::new("22007", format!("invalid input syntax for type interval: \"{text}\""));
    let refused = || Error::unsupported(format!("interval '{text}' on tables that are not in PostgreSQL"));
    let range = || Error::new("22015", format!("interval field value out of range: \"{text}\""));
    let lowered = trimmed(text).to_ascii_lowercase();
    if lowered.starts_with(['p', '@']) || lowered.ends_with("ago") {
        return Err(refused());
    }
    let mut span = Span { months: 0, days: 0, micros: 0 };
    let mut words = lowered.split_ascii_whitespace().flat_map(split_unit).peekable();
    if words.peek().is_none() {
        return Err(syntax());
    }
    while let Some(word) = words.next() {
        let (negative, amount) = match word.strip_prefix('-') {
            Some(amount) => (true, amount),
            None => (false, word.strip_prefix('+').unwrap_or(word)),
        };
        let sign = if negative { -1 } else { 1 };
        if amount.contains(':') {
            // Hours may be more than a day has.
            let (hours, rest) = amount.split_once(':').unwrap_or_default();
            let (hours, _, "") = number(hours, 9).ok_or_else(syntax)? else { return Err(syntax()) };
            let (clock, "") = clock(&format!("00:{rest}"), text, "interval").map_err(|_| syntax())? else {
                return Err(syntax());
            };
            span.micros += sign * (i64::from(hours) * 3_600_000_000 + clock);
            continue;
        }
        // `1-2` is years and months.
        if amount.contains('-') && amount.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            return Err(refused());
        }
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
        let whole: i64 =
            if whole.is_empty() && !fraction.is_empty() { 0 } else { whole.parse().map_err(|_| syntax())? };
        if !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(syntax());
        }
        let significant = fraction.trim_end_matches('0');
        let unit = words.next();
        // `1 2:03` is a day and a time.
        if unit.is_some_and(|u| u.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+'))) {
            return Err(refused());
        }
        add(&mut span, sign, whole, significant, unit).map_err(|what| match what {
            Unit::Unknown => syntax(),
            Unit::Fraction => refused(),
            Unit::Range => range(),
        })?;
    }
    Ok(span)
}

/// `1day` is `1 day`.
fn split_unit(word: &str) -> impl Iterator<Item = &str> {
    let end = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
    let (amount, unit) = word.split_at_checked(end).unwrap_or((word, ""));
    [amount, unit].into_iter().filter(|w| !w.is_empty())
}

enum Unit {
    Unknown,
    Fraction,
    Range,
}

fn add(
    span: &mut Span,
    sign: i64,
    whole: i64,
    fraction: &str,
    unit: Option<&str>,
) -> std::result::Result<(), Unit> {
    let months = match unit {
        Some("year" | "years" | "yr" | "yrs" | "y") => 12,
        Some("month" | "months" | "mon" | "mons") => 1,
        Some("decade" | "decades") => 120,
        Some("century" | "centuries") => 1200,
        _ => 0,
    };
    let days = match unit {
        Some("week" | "weeks" | "w") => 7,
        Some("day" | "days" | "d") => 1,
        _ => 0,
    };
    let micros = match unit {
        Some("hour" | "hours" | "hr" | "hrs" | "h") => 3_600_000_000_i64,
        Some("minute" | "minutes" | "min" | "mins" | "m") => 60_000_000,
        None | Some("second" | "seconds" | "sec" | "secs" | "s") => 1_000_000,
        Some("millisecond" | "milliseconds" | "ms") => 1000,
        Some("microsecond" | "microseconds" | "us") => 1,
        _ => 0,
    };
    let amount = |factor: i64| whole.checked_mul(factor).map(|n| n * sign).ok_or(Unit::Range);
    if months > 0 {
        if !fraction.is_empty() {
            return Err(Unit::Fraction);
        }
        let more = i32::try_from(amount(months)?).map_err(|_| Unit::Range)?;
        span.months = span.months.checked_add(more).ok_or(Unit::Range)?;
    } else if days > 0 {
        let more = i32::try_from(amount(days)?).map_err(|_| Unit::Range)?;
        span.days = span.days.checked_add(more).ok_or(Unit::Range)?;
        if !fraction.is_empty() {
            if days > 1 {
                return Err(Unit::Fraction);
            }
            span.micros += sign * part(fraction, DAY)?;
        }
    } else if micros > 0 {
        let more = amount(micros)?.checked_add(sign * part(fraction, micros)?).ok_or(Unit::Range)?;
        span.micros = span.micros.checked_add(more).ok_or(Unit::Range)?;
    } else {
        return Err(Unit::Unknown);
    }
    Ok(())
}

/// The fraction of a unit in whole microseconds.
fn part(fraction: &str, unit: i64) -> std::result::Result<i64, Unit> {
    if fraction.is_empty() {
        return Ok(0);
    }
    if fraction.len() > 9 {
        return Err(Unit::Fraction);
    }
    let digits: i128 = fraction.parse().map_err(|_| Unit::Unknown)?;
    let scale = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let micros = digits * i128::from(unit);
    if micros % scale != 0 {
        return Err(Unit::Fraction);
    }
    i64::try_from(micros / scale).map_err(|_| Unit::Range)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(date("1970-01-02").unwrap(), 1);
        assert_eq!(date("19700102").unwrap(), 1);
        assert_eq!(date("1970-1-2 10:00").unwrap(), 1);
        assert_eq!(date("2024-02-30").unwrap_err().code(), "22008");
        assert_eq!(date("January 5, 2024").unwrap_err().code(), "0A000");
        assert_eq!(date("soon").unwrap_err().code(), "22007");
        assert_eq!(timestamp("1970-01-01T00:00:01.5").unwrap(), 1_500_000);
        assert_eq!(timestamp("1970-01-01 24:00:00").unwrap(), DAY);
        assert_eq!(timestamp("1970-01-01 25:00:00").unwrap_err().code(), "22008");
        let berlin: Tz = "Europe/Berlin".parse().unwrap();
        assert_eq!(timestamptz("1970-01-01 01:00", berlin).unwrap(), 0);
        assert_eq!(timestamptz("1970-01-01 01:00+02", berlin).unwrap(), -3_600_000_000);
        // 02:30 doesn't exist that night, 02:30 comes twice the other.
        let text = |t: &str| {
            crate::federation::text::timestamptz(naive(timestamptz(t, berlin).unwrap()).unwrap(), berlin)
        };
        assert_eq!(text("2024-03-31 02:30"), "2024-03-31 03:30:00+02");
        assert_eq!(text("2024-10-27 02:30"), "2024-10-27 02:30:00+01");
    }

    #[test]
    fn intervals() {
        let span = |months, days, micros| Span { months, days, micros };
        assert_eq!(interval("1 year 2 mons -3 days 04:05:06.7").unwrap(), span(14, -3, 14_706_700_000));
        assert_eq!(interval("90 minutes").unwrap(), span(0, 0, 5_400_000_000));
        assert_eq!(interval("1.5 days").unwrap(), span(0, 1, DAY / 2));
        assert_eq!(interval("-01:30").unwrap(), span(0, 0, -5_400_000_000));
        assert_eq!(interval("5").unwrap(), span(0, 0, 5_000_000));
        assert_eq!(interval("1 fortnight").unwrap_err().code(), "22007");
        assert_eq!(interval("1.5 months").unwrap_err().code(), "0A000");
        assert_eq!(interval("P1D").unwrap_err().code(), "0A000");
        assert_eq!(interval("1-2").unwrap_err().code(), "0A000");
        assert_eq!(interval("1 2:03").unwrap_err().code(), "0A000");
        assert_eq!(interval("2147483648 days").unwrap_err().code(), "22015");
    }

    #[test]
    fn words_and_numbers() {
        assert_eq!(integer(" -5 ", "integer", -10, 10).unwrap(), -5);
        assert_eq!(integer("11", "integer", -10, 10).unwrap_err().code(), "22003");
        assert_eq!(integer("1.5", "integer", -10, 10).unwrap_err().code(), "22P02");
        assert!(boolean(" TRU ").unwrap() && !boolean("of").unwrap());
        assert_eq!(boolean("o").unwrap_err().code(), "22P02");
        assert_eq!(float("1e400", false).unwrap_err().code(), "22003");
        assert_eq!(float("1e-400", false).unwrap_err().code(), "22003");
        assert_eq!(float("x", false).unwrap_err().code(), "22P02");
        assert_eq!(
            uuid("{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}").unwrap(),
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
        );
        assert_eq!(uuid("a0eebc99").unwrap_err().code(), "22P02");
        assert_eq!(json("{bad").unwrap_err().code(), "22P02");
    }
}
