//! PostgreSQL's text forms of values: what `psql` prints.

use std::fmt::Write as _;

use arrow::array::timezone::Tz;
use chrono::{
    DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike,
};

/// A double: the shortest digits that read back as the same value, exponents as PostgreSQL has them.
pub(crate) fn float8(value: f64) -> String {
    float(value, format!("{value:e}"), 15)
}

/// A single, see [`float8`].
pub(crate) fn float4(value: f32) -> String {
    float(f64::from(value), format!("{value:e}"), 6)
}

fn float(value: f64, scientific: String, digits: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..digits).contains(&exponent) {
        return plain(mantissa, exponent);
    }
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `1.25` and 1 is `12.5`.
fn plain(mantissa: &str, exponent: i32) -> String {
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    match digits.split_at_checked(whole) {
        Some((before, "")) => format!("{sign}{before}"),
        Some((before, after)) => format!("{sign}{before}.{after}"),
        None => format!("{sign}{digits}{}", "0".repeat(whole - digits.len())),
    }
}

/// A decimal from its unscaled digits (with sign) and its scale.
pub(crate) fn decimal(unscaled: &str, scale: i8) -> String {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |d| ("-", d));
    match usize::try_from(scale) {
        Ok(0) => unscaled.to_owned(),
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at_checked(padded.len() - scale).unwrap_or((&padded, ""));
            format!("{sign}{whole}.{fraction}")
        }
        Err(_) if digits == "0" => "0".to_owned(),
        Err(_) => format!("{unscaled}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    }
}

/// `2024-02-29`, with ` BC` before year 1.
pub(crate) fn date(value: NaiveDate) -> String {
    let (date, era) = date_and_era(value);
    format!("{date}{era}")
}

fn date_and_era(value: NaiveDate) -> (String, &'static str) {
    let (year, era) = if value.year() > 0 { (value.year(), "") } else { (1 - value.year(), " BC") };
    (format!("{year:04}-{:02}-{:02}", value.month(), value.day()), era)
}

/// `10:00:00.5`
pub(crate) fn time(value: NaiveTime) -> String {
    let mut text = format!("{:02}:{:02}:{:02}", value.hour(), value.minute(), value.second());
    push_fraction(&mut text, i64::from(value.nanosecond() / 1000));
    text
}

fn push_fraction(text: &mut String, micros: i64) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
}

/// `2024-02-29 10:00:00.5`
pub(crate) fn timestamp(value: NaiveDateTime) -> String {
    let (date, era) = date_and_era(value.date());
    format!("{date} {}{era}", time(value.time()))
}

/// `2024-02-29 10:00:00.5+00` in the session's time zone.
pub(crate) fn timestamptz(utc: NaiveDateTime, zone: Tz) -> String {
    let local: DateTime<Tz> = zone.from_utc_datetime(&utc);
    let (date, era) = date_and_era(local.naive_local().date());
    let seconds = local.offset().fix().local_minus_utc();
    let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
    let mut text = format!("{date} {}{sign}{:02}", time(local.naive_local().time()), seconds / 3600);
    if seconds % 3600 != 0 {
        let _ = write!(text, ":{:02}", seconds / 60 % 60);
    }
    if seconds % 60 != 0 {
        let _ = write!(text, ":{:02}", seconds % 60);
    }
    text + era
}

/// `1 year 2 mons 3 days 04:05:06.7`, PostgreSQL's own interval style.
pub(crate) fn interval(months: i32, days: i32, micros: i64) -> String {
    let mut parts = Vec::new();
    let mut negative_before = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let plus = if negative_before && count > 0 { "+" } else { "" };
            parts.push(format!("{plus}{count} {unit}{}", if count == 1 { "" } else { "s" }));
            negative_before = count < 0;
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = if micros < 0 {
            "-"
        } else if negative_before {
            "+"
        } else {
            ""
        };
        let seconds = micros.unsigned_abs() / 1_000_000;
        let mut text = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        push_fraction(&mut text, i64::try_from(micros.unsigned_abs() % 1_000_000).unwrap_or(0));
        parts.push(text);
    }
    parts.join(" ")
}

/// `\x00ff`
pub(crate) fn bytea(value: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * value.len());
    text.push_str("\\x");
    for byte in value {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// `{1,NULL,"a b"}`; elements that are arrays themselves go in bare.
pub(crate) fn array(elements: &[Option<String>], nested: bool) -> String {
    let mut text = String::from("{");
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match element {
            None => text.push_str("NULL"),
            Some(element) if nested => text.push_str(element),
            Some(element) => push_array_element(&mut text, element),
        }
    }
    text.push('}');
    text
}

fn push_array_element(text: &mut String, element: &str) {
    let special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace();
    if element.is_empty() || element.eq_ignore_ascii_case("null") || element.contains(special) {
        text.push('"');
        for c in element.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    } else {
        text.push_str(element);
    }
}

/// `(1,,"a b")`
pub(crate) fn record(fields: &[Option<String>]) -> String {
    let mut text = String::from("(");
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let Some(field) = field else { continue };
        let special = |c: char| matches!(c, '(' | ')' | ',' | '"' | '\\') || c.is_ascii_whitespace();
        if field.is_empty() || field.contains(special) {
            let _ = write!(text, "\"{}\"", field.replace('\\', "\\\\").replace('"', "\"\""));
        } else {
            text.push_str(field);
        }
    }
    text.push(')');
    text
}

/// The moment `micros` microseconds after 1970; `None` outside of what calendars here cover.
pub(crate) fn from_micros(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|d| d.naive_utc())
}

/// The day `days` days after 1970-01-01.
pub(crate) fn from_days(days: i32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_signed(TimeDelta::try_days(i64::from(days))?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_printed_as_postgresql_prints_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in cases {
            assert_eq!(float8(value), text);
        }
        assert_eq!(float4(1_000_000.0), "1e+06");
        assert_eq!(float4(0.1), "0.1");
    }

    #[test]
    fn decimals_keep_their_scale() {
        assert_eq!(decimal("12345", 2), "123.45");
        assert_eq!(decimal("-5", 2), "-0.05");
        assert_eq!(decimal("7", 0), "7");
        assert_eq!(decimal("7", -2), "700");
        assert_eq!(decimal("0", 2), "0.00");
    }

    #[test]
    fn times_and_intervals() {
        let moment =
            NaiveDate::from_ymd_opt(2024, 2, 29).unwrap().and_hms_micro_opt(10, 0, 5, 500_000).unwrap();
        assert_eq!(timestamp(moment), "2024-02-29 10:00:05.5");
        assert_eq!(timestamptz(moment, "+00:00".parse().unwrap()), "2024-02-29 10:00:05.5+00");
        assert_eq!(timestamptz(moment, "+05:30".parse().unwrap()), "2024-02-29 15:30:05.5+05:30");
        assert_eq!(timestamptz(moment, "America/New_York".parse().unwrap()), "2024-02-29 05:00:05.5-05");
        assert_eq!(date(NaiveDate::from_ymd_opt(0, 1, 1).unwrap()), "0001-01-01 BC");
        assert_eq!(interval(14, 3, 14_706_700_000), "1 year 2 mons 3 days 04:05:06.7");
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(-1, 2, -1_000_000), "-1 mons +2 days -00:00:01");
    }

    #[test]
    fn arrays_quote_what_needs_it() {
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(
            array(&[text("a"), None, text("b c"), text("null"), text("q\"")], false),
            r#"{a,NULL,"b c","null","q\""}"#
        );
        assert_eq!(array(&[text("{1,2}")], true), "{{1,2}}");
        assert_eq!(record(&[text("1"), None, text("a \"b\"")]), r#"(1,,"a ""b""")"#);
    }
}
