//! Types and values of results that we build ourselves: from PostgreSQL's text form to its binary
//! one, and back for parameters.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use epoch_adapter::{Error, Result, sqlstate};

/// A type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `text`, and every type that we can't write in binary.
    Text,
    /// `character varying`
    Varchar,
    /// `character`
    Bpchar,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// `uuid`
    Uuid,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `text[]`
    TextArray,
}

impl Type {
    /// From the name that PostgreSQL's `format_type` gives, with or without a modifier. Unknown ones
    /// are sent as `text`.
    pub fn from_name(name: &str) -> Self {
        match name.split('(').next().unwrap_or_default().trim() {
            "boolean" | "bool" => Self::Bool,
            "smallint" | "int2" => Self::Int2,
            "integer" | "int4" => Self::Int4,
            "bigint" | "int8" => Self::Int8,
            "real" | "float4" => Self::Float4,
            "double precision" | "float8" => Self::Float8,
            "numeric" | "decimal" => Self::Numeric,
            "character varying" | "varchar" => Self::Varchar,
            "character" | "bpchar" => Self::Bpchar,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" if !name.ends_with("with time zone") => Self::Time,
            "time without time zone" => Self::Time,
            "timestamp without time zone" => Self::Timestamp,
            // `timestamp(3) with time zone` keeps its suffix behind the modifier.
            "timestamp" if name.ends_with("with time zone") => Self::TimestampTz,
            "timestamp" => Self::Timestamp,
            "timestamp with time zone" | "timestamptz" => Self::TimestampTz,
            "uuid" => Self::Uuid,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            "text[]" => Self::TextArray,
            _ => Self::Text,
        }
    }

    /// The type's OID.
    pub fn oid(self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Text => 25,
            Self::Json => 114,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::TextArray => 1009,
            Self::Bpchar => 1042,
            Self::Varchar => 1043,
            Self::Date => 1082,
            Self::Time => 1083,
            Self::Timestamp => 1114,
            Self::TimestampTz => 1184,
            Self::Numeric => 1700,
            Self::Uuid => 2950,
            Self::Jsonb => 3802,
        }
    }

    /// The type's length in `pg_type`; negative for variable ones.
    pub fn len(self) -> i16 {
        length(self.oid())
    }

    /// Whether the length varies.
    pub fn is_empty(self) -> bool {
        self.len() < 0
    }
}

/// The length of a built-in type in `pg_type`; negative for variable ones.
pub fn length(oid: u32) -> i16 {
    match oid {
        16 | 18 => 1,
        21 => 2,
        23 | 26 | 700 | 1082 => 4,
        20 | 701 | 1083 | 1114 | 1184 => 8,
        1266 => 12,
        1186 | 2950 => 16,
        19 => 64,
        _ => -1,
    }
}

/// PostgreSQL counts from 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Appends one value of a DataRow, given in text form, in the format asked for.
pub fn write(out: &mut Vec<u8>, kind: Type, format: i16, text: Option<&str>) -> Result<()> {
    match text {
        Some(text) if format == 1 => {
            let mut bytes = Vec::new();
            binary(&mut bytes, kind, text)?;
            super::encode::cell(out, Some(&bytes));
        }
        _ => super::encode::cell(out, text.map(str::as_bytes)),
    }
    Ok(())
}

fn binary(out: &mut Vec<u8>, kind: Type, text: &str) -> Result<()> {
    let bad = || Error::internal(format!("value can't be sent in binary as type {kind:?}"));
    match kind {
        Type::Text | Type::Varchar | Type::Bpchar | Type::Json => out.extend_from_slice(text.as_bytes()),
        Type::Jsonb => {
            out.push(1);
            out.extend_from_slice(text.as_bytes());
        }
        Type::Bool => out.push(u8::from(matches!(text, "t" | "true"))),
        Type::Int2 => out.extend_from_slice(&text.parse::<i16>().map_err(|_| bad())?.to_be_bytes()),
        Type::Int4 => out.extend_from_slice(&text.parse::<i32>().map_err(|_| bad())?.to_be_bytes()),
        Type::Int8 => out.extend_from_slice(&text.parse::<i64>().map_err(|_| bad())?.to_be_bytes()),
        Type::Float4 => out.extend_from_slice(&text.parse::<f32>().map_err(|_| bad())?.to_be_bytes()),
        Type::Float8 => out.extend_from_slice(&text.parse::<f64>().map_err(|_| bad())?.to_be_bytes()),
        Type::Numeric => super::numeric::put(out, text)?,
        Type::Uuid => out.extend_from_slice(uuid::Uuid::parse_str(text).map_err(|_| bad())?.as_bytes()),
        Type::Bytea => {
            out.extend_from_slice(&unhex(text.strip_prefix("\\x").ok_or_else(bad)?).ok_or_else(bad)?)
        }
        Type::Date => {
            let days =
                (text.parse::<NaiveDate>().map_err(|_| bad())? - NaiveDate::default()).num_days() - 10_957;
            out.extend_from_slice(&i32::try_from(days).map_err(|_| bad())?.to_be_bytes());
        }
        Type::Time => out.extend_from_slice(&micros_of_day(text).ok_or_else(bad)?.to_be_bytes()),
        Type::Timestamp => {
            let at = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map_err(|_| bad())?;
            out.extend_from_slice(&(at.and_utc().timestamp_micros() - EPOCH_MICROS).to_be_bytes());
        }
        Type::TimestampTz => {
            let at = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").map_err(|_| bad())?;
            out.extend_from_slice(&(at.timestamp_micros() - EPOCH_MICROS).to_be_bytes());
        }
        Type::TextArray => array(out, &parse_array(text).ok_or_else(bad)?),
    }
    Ok(())
}

/// Microseconds since midnight; a day's end has a time of its own.
fn micros_of_day(time: &str) -> Option<i64> {
    if time == "24:00:00" {
        return Some(86_400_000_000);
    }
    let at = NaiveTime::parse_from_str(time, "%H:%M:%S%.f").ok()?;
    at.signed_duration_since(NaiveTime::MIN).num_microseconds()
}

fn array(out: &mut Vec<u8>, items: &[Option<String>]) {
    let dimensions = i32::from(!items.is_empty());
    let has_null = i32::from(items.iter().any(Option::is_none));
    out.extend_from_slice(&dimensions.to_be_bytes());
    out.extend_from_slice(&has_null.to_be_bytes());
    out.extend_from_slice(&Type::Text.oid().to_be_bytes());
    if dimensions == 0 {
        return;
    }
    out.extend_from_slice(&i32::try_from(items.len()).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    for item in items {
        super::encode::cell(out, item.as_ref().map(String::as_bytes));
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// A one-dimensional `{a,"b c",NULL}`; `None` if it isn't one.
pub fn parse_array(text: &str) -> Option<Vec<Option<String>>> {
    let mut chars = text.strip_prefix('{')?.strip_suffix('}')?.chars().peekable();
    let mut items = Vec::new();
    while chars.peek().is_some() {
        let (mut item, mut quoted) = (String::new(), false);
        let mut inside = false;
        loop {
            match chars.next() {
                Some('\\') => item.push(chars.next()?),
                Some('"') => {
                    inside = !inside;
                    quoted = true;
                }
                Some(',') if !inside => break,
                Some(c) => item.push(c),
                None if inside => return None,
                None => break,
            }
        }
        let null = !quoted && item.eq_ignore_ascii_case("null");
        items.push(if null { None } else { Some(item) });
    }
    Some(items)
}

/// A parameter of a Bind as text, given its type (0 is unknown) and format.
pub fn parameter(oid: u32, format: i16, value: Option<&[u8]>) -> Result<Option<String>> {
    let Some(bytes) = value else { return Ok(None) };
    if format == 0 || matches!(oid, 0 | 19 | 25 | 114 | 705 | 1042 | 1043) {
        return Ok(Some(super::decode::utf8(bytes)?.to_owned()));
    }
    let wrong = |_| Error::new("22P03", "incorrect binary data format in bind parameter");
    let text = match oid {
        16 => (if bytes == [0] { "f" } else { "t" }).to_owned(),
        21 => i16::from_be_bytes(bytes.try_into().map_err(wrong)?).to_string(),
        23 => i32::from_be_bytes(bytes.try_into().map_err(wrong)?).to_string(),
        20 => i64::from_be_bytes(bytes.try_into().map_err(wrong)?).to_string(),
        700 => f32::from_be_bytes(bytes.try_into().map_err(wrong)?).to_string(),
        701 => f64::from_be_bytes(bytes.try_into().map_err(wrong)?).to_string(),
        1700 => super::numeric::text(bytes)
            .ok_or_else(|| Error::new("22P03", "incorrect binary data format in bind parameter"))?,
        2950 => uuid::Uuid::from_bytes(bytes.try_into().map_err(wrong)?).to_string(),
        1184 => {
            let micros = i64::from_be_bytes(bytes.try_into().map_err(wrong)?).saturating_add(EPOCH_MICROS);
            let at = DateTime::<Utc>::from_timestamp_micros(micros);
            at.ok_or_else(|| Error::new("22008", "timestamp out of range"))?.to_rfc3339()
        }
        3802 => super::decode::utf8(bytes.get(1..).unwrap_or_default())?.to_owned(),
        1009 | 1015 => text_array(bytes)?,
        _ => {
            return Err(Error::unsupported(format!(
                "a binary parameter of the type with OID {oid} in a version-control call"
            ))
            .with_hint("Cast it to text, or send it in text format."));
        }
    };
    Ok(Some(text))
}

fn text_array(bytes: &[u8]) -> Result<String> {
    let mut body = super::decode::Body(bytes);
    let dimensions = body.int32()?;
    body.take(8)?;
    if dimensions == 0 {
        return Ok("{}".to_owned());
    }
    if dimensions != 1 {
        return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, "array must have one dimension"));
    }
    let count = body.int32()?;
    body.take(4)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(match body.int32()? {
            -1 => "NULL".to_owned(),
            n => {
                let item = super::decode::utf8(body.take(usize::try_from(n).unwrap_or(usize::MAX))?)?;
                format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))
            }
        });
    }
    Ok(format!("{{{}}}", items.join(",")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn round(kind: Type, text: &str) -> Option<String> {
        let mut out = Vec::new();
        binary(&mut out, kind, text).unwrap();
        parameter(kind.oid(), 1, Some(&out)).unwrap()
    }

    #[test]
    fn binary_values_come_back() {
        for (kind, text) in [
            (Type::Text, "héllo"),
            (Type::Bool, "t"),
            (Type::Bool, "f"),
            (Type::Int8, "-9223372036854775808"),
            (Type::Numeric, "-1234.50"),
            (Type::Jsonb, r#"{"a": 1}"#),
            (Type::TextArray, r#"{"a","b \"c\" \\ {}",NULL,""}"#),
            (Type::TextArray, "{}"),
        ] {
            assert_eq!(round(kind, text).as_deref(), Some(text));
        }
        let at = round(Type::TimestampTz, "2026-11-01 12:00:00.25+00").unwrap();
        assert_eq!(at, "2026-11-01T12:00:00.250+00:00");
    }

    #[test]
    fn dates_count_from_2000() {
        let mut out = Vec::new();
        binary(&mut out, Type::Date, "2000-01-02").unwrap();
        assert_eq!(out, 1i32.to_be_bytes());
        let mut out = Vec::new();
        binary(&mut out, Type::Timestamp, "2000-01-01 00:00:01").unwrap();
        assert_eq!(out, 1_000_000i64.to_be_bytes());
        let mut out = Vec::new();
        binary(&mut out, Type::from_name("time(3) without time zone"), "00:00:00.5").unwrap();
        assert_eq!(out, 500_000i64.to_be_bytes());
    }

    #[test]
    fn short_binary_parameters_are_errors() {
        assert_eq!(parameter(20, 1, Some(&[1, 2])).unwrap_err().code(), "22P03");
        assert_eq!(parameter(1009, 1, Some(&[0, 0])).unwrap_err().code(), "08P01");
    }
}
