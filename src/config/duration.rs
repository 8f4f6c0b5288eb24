//! Times as people write them.

use crate::{Error, Result, sqlstate};

/// `7 days`, `12 hours 30 minutes`, `2w`. 22023 if it isn't a time to come.
pub fn duration(text: &str) -> Result<chrono::TimeDelta> {
    let bad = || {
        Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid duration \"{text}\""))
            .with_hint("Write 7 days, 12 hours 30 minutes or 2w.")
    };
    let mut total = chrono::TimeDelta::zero();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(digits).ok_or_else(bad)?;
        let number: i64 = number.parse().map_err(|_| bad())?;
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters).ok_or_else(bad)?;
        let seconds = match unit.to_ascii_lowercase().as_str() {
            "s" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3_600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 604_800,
            _ => return Err(bad()),
        };
        let seconds = number.checked_mul(seconds).ok_or_else(bad)?;
        let part = chrono::TimeDelta::try_seconds(seconds).ok_or_else(bad)?;
        total = total.checked_add(&part).ok_or_else(bad)?;
        rest = after.trim_start();
    }
    // Beyond that a date can't be kept.
    if total <= chrono::TimeDelta::zero() || total.num_days() > 36_500 {
        return Err(bad());
    }
    Ok(total)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let seconds = |text| duration(text).unwrap().num_seconds();
        assert_eq!(seconds("7 days"), 604_800);
        assert_eq!(seconds("1w"), 604_800);
        assert_eq!(seconds(" 1 hour 30 minutes"), 5_400);
        for text in
            ["", "soon", "7", "-7 days", "0 days", "7 fortnights", "99999999999999999999 days", "40000 days"]
        {
            assert_eq!(duration(text).unwrap_err().code(), "22023", "{text}");
        }
    }
}
