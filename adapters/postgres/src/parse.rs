//! PostgreSQL's text forms as Arrow's values; `None` for what has none.

/// `t` or `f`.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" => Some(true),
        "f" => Some(false),
        _ => None,
    }
}

/// `\x0aff`.
pub(crate) fn bytea(text: &str) -> Option<Vec<u8>> {
    let hex = text.strip_prefix("\\x")?.as_bytes();
    let digit = |b: &u8| char::from(*b).to_digit(16);
    hex.chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

/// Days since 1970 of `2024-02-29` or `0044-03-15 BC`.
pub(crate) fn date(text: &str) -> Option<i32> {
    let (text, before_christ) = era(text);
    i32::try_from(days(text, before_christ)?).ok()
}

/// Microseconds since midnight of `12:34:56.789`.
pub(crate) fn time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':').map(|p| p.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || fraction.len() > 6 {
        return None;
    }
    let micros = if fraction.is_empty() { 0 } else { format!("{fraction:0<6}").parse::<i64>().ok()? };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

/// Microseconds since 1970 of `2024-02-29 12:34:56.789`, with `+00` if there is a zone: the session's
/// is UTC.
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    let (text, before_christ) = era(text);
    let (day, clock) = text.split_once(' ')?;
    let clock = clock.strip_suffix("+00").unwrap_or(clock);
    days(day, before_christ)?.checked_mul(86_400_000_000)?.checked_add(time(clock)?)
}

/// An unscaled number of `-12.30` at a scale.
pub(crate) fn decimal(text: &str, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    let unscaled = format!("{whole}{fraction}").parse::<i128>().ok()?;
    let unscaled = unscaled.checked_mul(10i128.checked_pow(u32::try_from(missing).ok()?)?)?;
    Some(if negative { -unscaled } else { unscaled })
}

fn era(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
fn days(text: &str, before_christ: bool) -> Option<i64> {
    let mut parts = text.split('-').map(|p| p.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    // Years that start in March put the leap day last.
    let year = if month <= 2 { year - 1 } else { year };
    let century = year.div_euclid(400);
    let year_of = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(century * 146_097 + year_of * 365 + year_of / 4 - year_of / 100 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("2000-02-29"), Some(11_016));
        assert_eq!(date("1969-12-31"), Some(-1));
        assert_eq!(date("0001-01-01"), Some(-719_162));
        assert_eq!(date("0001-12-31 BC"), Some(-719_163));
        assert_eq!(date("infinity"), None);
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp("1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(timestamp("1970-01-02 00:00:00+00"), Some(86_400_000_000));
        assert_eq!(timestamp("1969-12-31 23:59:59.999999+00"), Some(-1));
        assert_eq!(timestamp("-infinity"), None);
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal("-12.30", 2), Some(-1230));
        assert_eq!(decimal("7", 3), Some(7000));
        assert_eq!(decimal("0.001", 3), Some(1));
        assert_eq!(decimal("NaN", 2), None);
    }

    #[test]
    fn bytes() {
        assert_eq!(bytea("\\x00ff"), Some(vec![0, 255]));
        assert_eq!(bytea("\\x"), Some(vec![]));
        assert_eq!(bytea("\\x0"), None);
    }
}
