//! PostgreSQL's binary form of `numeric`: base-10000 digits with weight, sign and display scale (`numeric_send`).

use bytes::BufMut;
use epoch_adapter::{Error, Result, sqlstate};

/// Appends a number that is given as text; 22P02 if it is none.
pub fn put(buffer: &mut impl BufMut, text: &str) -> Result<()> {
    let special = match text.to_ascii_lowercase().as_str() {
        "nan" => Some(0xC000_u16),
        "infinity" => Some(0xD000),
        "-infinity" => Some(0xF000),
        _ => None,
    };
    if let Some(sign) = special {
        for field in [0, 0, sign, 0] {
            buffer.put_u16(field);
        }
        return Ok(());
    }
    let (sign, digits) = text.strip_prefix('-').map_or((0_u16, text), |d| (0x4000, d));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        let message = format!("invalid input syntax for type numeric: \"{text}\"");
        return Err(Error::new(sqlstate::INVALID_TEXT_REPRESENTATION, message));
    }
    let whole_width = whole.len().div_ceil(4) * 4;
    let fraction_width = fraction.len().div_ceil(4) * 4;
    let padded = format!("{whole:0>whole_width$}{fraction:0<fraction_width$}");
    let mut groups: Vec<u16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        .collect();
    let mut weight = i64::try_from(whole_width / 4).unwrap_or(0) - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= i64::try_from(leading).unwrap_or(0);
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let too_large = || Error::new("22003", "value overflows numeric format");
    buffer.put_u16(u16::try_from(groups.len()).map_err(|_| too_large())?);
    buffer.put_i16(if groups.is_empty() { 0 } else { i16::try_from(weight).map_err(|_| too_large())? });
    buffer.put_u16(if groups.is_empty() { 0 } else { sign });
    buffer.put_u16(u16::try_from(fraction.len()).map_err(|_| too_large())?);
    for group in groups {
        buffer.put_u16(group);
    }
    Ok(())
}

/// The number as text; `None` if the bytes are no number.
pub fn text(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).ok().map(i16::from_be_bytes));
    let mut next = || words.next().flatten();
    let (count, weight, sign, scale) = (next()?, next()?, next()?, next()?);
    match sign.to_be_bytes() {
        [0xC0, 0] => return Some("NaN".to_owned()),
        [0xD0, 0] => return Some("Infinity".to_owned()),
        [0xF0, 0] => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let digits: Vec<i16> = (0..count).map(|_| next()).collect::<Option<_>>()?;
    let group = |position: i16| {
        let index = usize::try_from(i32::from(weight) - i32::from(position));
        index.ok().and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let mut text = if sign == 0x4000 { "-".to_owned() } else { String::new() };
    if weight < 0 {
        text.push('0');
    }
    for position in (0..=weight.max(-1)).rev() {
        let width = if position == weight { 1 } else { 4 };
        text.push_str(&format!("{:0width$}", group(position)));
    }
    let scale = usize::try_from(scale).ok()?;
    if scale > 0 {
        let groups = i16::try_from(scale.div_ceil(4)).ok()?;
        let fraction: String = (1..=groups).map(|p| format!("{:04}", group(-p))).collect();
        text.push('.');
        text.push_str(fraction.get(..scale)?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_there_and_back() {
        // digits, weight, sign, scale, then the digits
        let cases: [(&str, &[i16]); 7] = [
            ("12345.678", &[3, 1, 0, 3, 1, 2345, 6780]),
            ("-0.00005", &[1, -2, 0x4000, 5, 5000]),
            ("10000", &[1, 1, 0, 0, 1]),
            ("0.00", &[0, 0, 0, 2]),
            ("NaN", &[0, 0, -0x4000, 0]),
            ("Infinity", &[0, 0, -0x3000, 0]),
            ("-Infinity", &[0, 0, -0x1000, 0]),
        ];
        for (number, words) in cases {
            let mut bytes = Vec::new();
            put(&mut bytes, number).unwrap();
            assert_eq!(bytes, words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>(), "{number}");
            assert_eq!(text(&bytes).as_deref(), Some(number));
        }
        assert_eq!(put(&mut Vec::new(), "1x").unwrap_err().code(), "22P02");
        assert_eq!(text(&[0, 1, 0]), None);
    }

    #[test]
    fn a_number_of_the_greatest_weight_with_a_fraction_is_read() {
        let words = [1, i16::MAX, 0, 4, 1];
        let read = text(&words.iter().flat_map(|w: &i16| w.to_be_bytes()).collect::<Vec<_>>()).unwrap();
        assert_eq!(read.split_once('.'), Some((format!("1{}", "0".repeat(4 * 32_767)).as_str(), "0000")));
    }
}
