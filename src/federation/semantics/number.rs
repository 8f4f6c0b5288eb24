//! PostgreSQL's `numeric`: exact decimals whose number of shown digits belongs to each value.
//!
//! Arrow's decimals have one scale per column. So what has a known scale is a decimal there, and the
//! results of division and averages, whose scale PostgreSQL chooses for each value, are kept in text
//! form, in arrays of a type that nothing else has (`LargeUtf8`).

use std::cmp::Ordering;

use arrow::datatypes::{DataType, i256};
use epoch_adapter::{Error, Result, sqlstate};
use num_bigint::{BigInt, Sign};

use super::super::text;

/// At least so many significant digits has a quotient.
const MIN_SIGNIFICANT: i64 = 16;
const MAX_SCALE: i64 = 1000;
/// More digits than these before the point are not kept.
const MAX_DIGITS: usize = 2000;

/// A finite decimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Num {
    unscaled: BigInt,
    scale: u32,
}

fn power(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

fn is_zero(n: &BigInt) -> bool {
    n.sign() == Sign::NoSign
}

pub(crate) fn overflow() -> Error {
    Error::new("22003", "value overflows numeric format")
}

impl Num {
    pub(crate) fn new(unscaled: BigInt, scale: u32) -> Self {
        Self { unscaled, scale }
    }

    pub(crate) fn of_int(value: i64) -> Self {
        Self { unscaled: BigInt::from(value), scale: 0 }
    }

    pub(crate) fn of_i128(value: i128, scale: i8) -> Self {
        match u32::try_from(scale) {
            Ok(scale) => Self { unscaled: BigInt::from(value), scale },
            Err(_) => {
                Self { unscaled: BigInt::from(value) * power(u32::from(scale.unsigned_abs())), scale: 0 }
            }
        }
    }

    pub(crate) fn of_i256(value: i256, scale: i8) -> Self {
        let unscaled = BigInt::from_signed_bytes_le(&value.to_le_bytes());
        Self { unscaled, scale: u32::try_from(scale).unwrap_or(0) }
    }

    /// Reads PostgreSQL's input form.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(
                sqlstate::INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type numeric: \"{text}\""),
            )
        };
        let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
        let word = trimmed.trim_start_matches(['+', '-']).to_ascii_lowercase();
        if matches!(word.as_str(), "nan" | "inf" | "infinity") {
            return Err(Error::unsupported(format!(
                "numeric '{trimmed}' on tables that are not in PostgreSQL"
            )));
        }
        let (mantissa, exponent) = match trimmed.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| bad())?),
            None => (trimmed, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let unscaled = BigInt::parse_bytes(all.as_bytes(), 10).ok_or_else(bad)?;
        let unscaled = if negative { -unscaled } else { unscaled };
        let scale = i64::try_from(fraction.len()).map_err(|_| overflow())? - exponent;
        if scale.abs() > 16_383 || all.len() > 131_072 {
            return Err(overflow());
        }
        Ok(match u32::try_from(scale) {
            Ok(scale) => Self { unscaled, scale },
            Err(_) => Self { unscaled: unscaled * power(u32::try_from(-scale).unwrap_or(0)), scale: 0 },
        })
    }

    /// A double as PostgreSQL makes a numeric of it: its first 15 digits (6 of a single).
    pub(crate) fn of_float(value: f64, digits: usize) -> Result<Self> {
        if !value.is_finite() {
            return Err(Error::unsupported(format!(
                "numeric '{}' on tables that are not in PostgreSQL",
                text::float8(value)
            )));
        }
        let scientific = format!("{value:.*e}", digits.saturating_sub(1));
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        Self::parse(&format!("{mantissa}e{exponent}"))
    }

    pub(crate) fn is_zero(&self) -> bool {
        is_zero(&self.unscaled)
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.unscaled.sign() == Sign::Minus
    }

    pub(crate) fn negated(&self) -> Self {
        Self { unscaled: -self.unscaled.clone(), scale: self.scale }
    }

    pub(crate) fn abs(&self) -> Self {
        if self.is_negative() { self.negated() } else { self.clone() }
    }

    /// The same value with at least `scale` digits behind the point.
    fn at(&self, scale: u32) -> BigInt {
        &self.unscaled * power(scale.saturating_sub(self.scale))
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        let scale = self.scale.max(other.scale);
        Self { unscaled: self.at(scale) + other.at(scale), scale }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negated())
    }

    pub(crate) fn times(&self, other: &Self) -> Result<Self> {
        let product = Self { unscaled: &self.unscaled * &other.unscaled, scale: self.scale + other.scale };
        if product.unscaled.bits() > 450_000 {
            return Err(overflow());
        }
        // PostgreSQL shows at most so many digits behind the point.
        if product.scale > 16_383 { Ok(product.rounded(16_383)) } else { Ok(product) }
    }

    /// The remainder, with the sign of the dividend.
    pub(crate) fn rem(&self, other: &Self) -> Result<Self> {
        if other.is_zero() {
            return Err(Error::new("22012", "division by zero"));
        }
        let scale = self.scale.max(other.scale);
        Ok(Self { unscaled: self.at(scale) % other.at(scale), scale })
    }

    /// The quotient with the scale that PostgreSQL chooses for it.
    pub(crate) fn divided(&self, other: &Self) -> Result<Self> {
        if other.is_zero() {
            return Err(Error::new("22012", "division by zero"));
        }
        Ok(self.divided_at(other, self.quotient_scale(other)))
    }

    pub(crate) fn divided_at(&self, other: &Self, scale: u32) -> Self {
        // self / other = (u1 / 10^s1) / (u2 / 10^s2); as an integer at `scale`.
        let numerator = &self.unscaled * power(scale + other.scale);
        let denominator = &other.unscaled * power(self.scale);
        Self { unscaled: half_away(&numerator, &denominator), scale }
    }

    /// PostgreSQL's choice: so many digits that at least 16 are significant, by digits of base 10,000.
    pub(crate) fn quotient_scale(&self, other: &Self) -> u32 {
        let ((weight1, first1), (weight2, first2)) = (self.leading(), other.leading());
        let weight = weight1 - weight2 - i64::from(first1 <= first2);
        let scale = (MIN_SIGNIFICANT - weight * 4).max(i64::from(self.scale)).max(i64::from(other.scale));
        u32::try_from(scale.clamp(0, MAX_SCALE)).unwrap_or(0)
    }

    /// The first digit of base 10,000 and its weight.
    fn leading(&self) -> (i64, i64) {
        if self.is_zero() {
            return (0, 0);
        }
        let padded = self.scale.div_ceil(4) * 4;
        let digits = self.at(padded).magnitude().to_string();
        let first = match digits.len() % 4 {
            0 => 4,
            n => n,
        };
        let groups = i64::try_from(digits.len().div_ceil(4)).unwrap_or(i64::MAX);
        let value = digits.get(..first).and_then(|d| d.parse().ok()).unwrap_or(0);
        (groups - 1 - i64::from(padded / 4), value)
    }

    /// Rounded half away from zero to `scale` digits behind the point (or zeros added).
    pub(crate) fn rounded(&self, scale: u32) -> Self {
        if scale >= self.scale {
            return Self { unscaled: self.at(scale), scale };
        }
        Self { unscaled: half_away(&self.unscaled, &power(self.scale - scale)), scale }
    }

    /// `round(x, n)`; a negative `n` rounds before the point.
    pub(crate) fn round(&self, digits: i64) -> Self {
        self.placed(digits, half_away)
    }

    /// `trunc(x, n)`
    pub(crate) fn truncated(&self, digits: i64) -> Self {
        self.placed(digits, |n, d| n / d)
    }

    fn placed(&self, digits: i64, divide: impl Fn(&BigInt, &BigInt) -> BigInt) -> Self {
        let digits = digits.clamp(-2000, 2000);
        match u32::try_from(digits) {
            Ok(scale) if scale >= self.scale => Self { unscaled: self.at(scale), scale },
            Ok(scale) => Self { unscaled: divide(&self.unscaled, &power(self.scale - scale)), scale },
            Err(_) => {
                let places = u32::try_from(-digits).unwrap_or(0);
                let unscaled = divide(&self.unscaled, &power(self.scale + places)) * power(places);
                Self { unscaled, scale: 0 }
            }
        }
    }

    pub(crate) fn floor(&self) -> Self {
        let truncated = self.truncated(0);
        let below = self.is_negative() && truncated.compare(self) == Ordering::Greater;
        if below { truncated.minus(&Self::of_int(1)) } else { truncated }
    }

    pub(crate) fn ceil(&self) -> Self {
        self.negated().floor().negated()
    }

    /// The square root to `scale` digits.
    pub(crate) fn root(&self, scale: u32) -> Self {
        // One more digit than asked for, so that rounding it is right.
        let shifted = self.at(self.scale + self.scale % 2);
        let half = (self.scale + self.scale % 2) / 2;
        let more = (scale + 2).saturating_sub(half);
        let root = (shifted * power(2 * more)).sqrt();
        Self { unscaled: root, scale: half + more }.rounded(scale)
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        self.at(scale).cmp(&other.at(scale))
    }

    pub(crate) fn to_float(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The nearest integer, halves away from zero; `None` if it doesn't fit.
    pub(crate) fn to_int(&self) -> Option<i64> {
        i64::try_from(self.rounded(0).unscaled).ok()
    }

    /// The unscaled value at an Arrow decimal's scale, if it has at most `precision` digits.
    fn fitted(&self, precision: u8, scale: i8) -> Result<BigInt> {
        let rounded = self.rounded(u32::try_from(scale).unwrap_or(0));
        if rounded.unscaled.magnitude() >= power(u32::from(precision)).magnitude() {
            let whole = i16::from(precision) - i16::from(scale);
            return Err(Error::new("22003", "numeric field overflow").with_detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {}.",
                if whole == 0 { "1".to_owned() } else { format!("10^{whole}") }
            )));
        }
        Ok(rounded.unscaled)
    }

    pub(crate) fn to_i128(&self, precision: u8, scale: i8) -> Result<i128> {
        i128::try_from(self.fitted(precision, scale)?).map_err(|_| overflow())
    }

    pub(crate) fn to_i256(&self, precision: u8, scale: i8) -> Result<i256> {
        i256::from_string(&self.fitted(precision, scale)?.to_string()).ok_or_else(overflow)
    }

    /// A value is refused that is longer than anybody writes: what follows would take too long.
    pub(crate) fn checked(self) -> Result<Self> {
        let most = u64::try_from(MAX_DIGITS).unwrap_or(u64::MAX) * 4;
        if self.unscaled.bits() > most { Err(overflow()) } else { Ok(self) }
    }

    /// Bytes that sort as the values do, and are equal where these are.
    pub(crate) fn key(&self) -> Vec<u8> {
        if self.is_zero() {
            return vec![1];
        }
        let digits = self.unscaled.magnitude().to_string();
        let point = i64::try_from(digits.len()).unwrap_or(i64::MAX) - i64::from(self.scale);
        let mut key = u32::try_from(point + (1 << 30)).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        key.extend(digits.trim_end_matches('0').bytes());
        key.push(0);
        if self.is_negative() {
            key.iter_mut().for_each(|b| *b = !*b);
            key.insert(0, 0);
        } else {
            key.insert(0, 2);
        }
        key
    }
}

impl std::fmt::Display for Num {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.unscaled.magnitude().to_string();
        let scale = usize::try_from(self.scale).unwrap_or(0);
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at_checked(padded.len() - scale).unwrap_or((&padded, ""));
        let sign = if self.is_negative() { "-" } else { "" };
        if fraction.is_empty() { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{fraction}") }
    }
}

/// The quotient of integers, rounded half away from zero.
fn half_away(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let quotient = numerator / denominator;
    let rest = numerator - &quotient * denominator;
    let twice = rest.magnitude() * 2_u32;
    if &twice < denominator.magnitude() {
        return quotient;
    }
    let positive = (numerator.sign() == Sign::Minus) == (denominator.sign() == Sign::Minus);
    quotient + if positive { 1 } else { -1 }
}

/// Digits in all and behind the point of a type's values; `None` if they differ from value to value.
pub(crate) fn shape(data_type: &DataType) -> Option<(u16, u16)> {
    Some(match data_type {
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) if *s >= 0 => {
            (u16::from(*p), u16::from(s.unsigned_abs()))
        }
        _ => return None,
    })
}

/// The narrowest type for so many digits.
pub(crate) fn type_of(shape: Option<(u16, u16)>) -> DataType {
    match shape.map(|(p, s)| (u8::try_from(p.max(1)).unwrap_or(u8::MAX), i8::try_from(s).unwrap_or(i8::MAX)))
    {
        Some((p @ 0..=38, s)) => DataType::Decimal128(p, s),
        Some((p @ 39..=76, s)) => DataType::Decimal256(p, s),
        _ => DataType::LargeUtf8,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn n(text: &str) -> Num {
        Num::parse(text).unwrap()
    }

    #[test]
    fn quotients_have_postgresqls_scale() {
        let cases = [
            ("1", "3", "0.33333333333333333333"),
            ("10.0", "3", "3.3333333333333333"),
            ("2", "1", "2.0000000000000000"),
            ("1", "7000", "0.00014285714285714286"),
            ("123456789", "2", "61728394.500000000000"),
            ("-1", "3", "-0.33333333333333333333"),
            ("0", "3", "0.00000000000000000000"),
        ];
        for (a, b, quotient) in cases {
            assert_eq!(n(a).divided(&n(b)).unwrap().to_string(), quotient, "{a} / {b}");
        }
        assert_eq!(n("1").divided(&n("0")).unwrap_err().code(), "22012");
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        assert_eq!(n("2.5").round(0).to_string(), "3");
        assert_eq!(n("-2.5").round(0).to_string(), "-3");
        assert_eq!(n("1250").round(-2).to_string(), "1300");
        assert_eq!(n("1.005").round(2).to_string(), "1.01");
        assert_eq!(n("1.5").round(3).to_string(), "1.500");
        assert_eq!(n("-1.5").truncated(0).to_string(), "-1");
        assert_eq!(n("-1.5").floor().to_string(), "-2");
        assert_eq!(n("1.2").ceil().to_string(), "2");
    }

    #[test]
    fn keys_sort_as_values() {
        let sorted =
            ["-1000", "-10.5", "-10", "-0.001", "0", "0.001", "0.01", "1", "1.5", "9", "10", "123.4"];
        let keys: Vec<_> = sorted.iter().map(|t| n(t).key()).collect();
        assert!(keys.is_sorted());
        assert_eq!(n("1.50").key(), n("1.5").key());
        assert_eq!(n("0.00").key(), n("0").key());
    }

    #[test]
    fn forms() {
        assert_eq!(n("1e3").to_string(), "1000");
        assert_eq!(n("1.50").to_string(), "1.50");
        assert_eq!(n("-.5").to_string(), "-0.5");
        assert_eq!(n(" 1.5e-3 ").to_string(), "0.0015");
        assert_eq!(Num::parse("1.2.3").unwrap_err().code(), "22P02");
        assert_eq!(Num::parse("").unwrap_err().code(), "22P02");
        assert_eq!(Num::of_float(0.1 + 0.2, 15).unwrap().to_string(), "0.3");
        assert_eq!(Num::of_float(1e20, 15).unwrap().to_string(), "100000000000000000000");
        assert_eq!(n("2").root(16).to_string(), "1.4142135623730950");
        assert_eq!(n("123.456").to_i128(5, 2).unwrap(), 12346);
        assert_eq!(n("1234").to_i128(5, 2).unwrap_err().code(), "22003");
    }
}
