//! Functions of text, in characters, as PostgreSQL counts them.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use epoch_adapter::{Error, Result, sqlstate};

use super::call::{Body, Spec};
use super::casts;
use super::datum::{Datum, check_length};
use super::functions::Overload;
use super::kinds::{self, Kind};
use super::operators::refused;

use Kind::{Bytea, Int4, Text};

pub(crate) fn overloads(name: &str) -> Vec<Overload> {
    let of = |args, result, body| vec![Overload { args, result, body }];
    match name {
        "length" => vec![
            Overload { args: &[Text], result: Int4, body: |a, _| int(text(a, 0)?.chars().count()) },
            Overload { args: &[Bytea], result: Int4, body: |a, _| int(bytes(a)) },
        ],
        "octet_length" => vec![
            Overload { args: &[Text], result: Int4, body: |a, _| int(text(a, 0)?.len()) },
            Overload { args: &[Bytea], result: Int4, body: |a, _| int(bytes(a)) },
        ],
        "bit_length" => of(&[Text], Int4, |a, _| int(text(a, 0)?.len() * 8)),
        "upper" => of(&[Text], Text, |a, _| mapped(text(a, 0)?, |c| single(c, c.to_uppercase()))),
        "lower" => of(&[Text], Text, |a, _| mapped(text(a, 0)?, |c| single(c, c.to_lowercase()))),
        "initcap" => of(&[Text], Text, |a, _| Ok(Datum::text(initcap(text(a, 0)?)))),
        "reverse" => of(&[Text], Text, |a, _| Ok(Datum::text(text(a, 0)?.chars().rev().collect::<String>()))),
        "ascii" => of(&[Text], Int4, |a, _| {
            Ok(Datum::Int(text(a, 0)?.chars().next().map_or(0, |c| i64::from(u32::from(c)))))
        }),
        "chr" => of(&[Int4], Text, |a, _| chr(number(a, 0)?)),
        "repeat" => of(&[Text, Int4], Text, |a, _| {
            let count = usize::try_from(number(a, 1)?).unwrap_or(0);
            check_length(text(a, 0)?.len().saturating_mul(count))?;
            Ok(Datum::text(text(a, 0)?.repeat(count)))
        }),
        "left" => of(&[Text, Int4], Text, |a, _| Ok(Datum::text(left(text(a, 0)?, number(a, 1)?)))),
        "right" => of(&[Text, Int4], Text, |a, _| Ok(Datum::text(right(text(a, 0)?, number(a, 1)?)))),
        "substring" => vec![
            // Two literals are texts, as in PostgreSQL.
            Overload {
                args: &[Text, Text],
                result: Text,
                body: |_, _| Err(refused("substring by a regular expression")),
            },
            Overload { args: &[Text, Int4], result: Text, body: |a, _| substring(a, None) },
            Overload {
                args: &[Text, Int4, Int4],
                result: Text,
                body: |a, _| substring(a, Some(number(a, 2)?)),
            },
        ],
        "strpos" => of(&[Text, Text], Int4, |a, _| position(text(a, 0)?, text(a, 1)?)),
        "replace" => of(&[Text, Text, Text], Text, |a, _| replaced(text(a, 0)?, text(a, 1)?, text(a, 2)?)),
        "translate" => {
            of(&[Text, Text, Text], Text, |a, _| translated(text(a, 0)?, text(a, 1)?, text(a, 2)?))
        }
        "split_part" => {
            of(&[Text, Text, Int4], Text, |a, _| split_part(text(a, 0)?, text(a, 1)?, number(a, 2)?))
        }
        "starts_with" => {
            of(&[Text, Text], Kind::Bool, |a, _| Ok(Datum::Bool(text(a, 0)?.starts_with(text(a, 1)?))))
        }
        "lpad" | "rpad" | "btrim" | "ltrim" | "rtrim" | "trim" | "overlay" => padded_and_trimmed(name),
        _ => Vec::new(),
    }
}

fn padded_and_trimmed(name: &str) -> Vec<Overload> {
    let two = |short: Body, long: Body, args: &'static [Kind], more: &'static [Kind]| {
        vec![Overload { args, result: Text, body: short }, Overload { args: more, result: Text, body: long }]
    };
    match name {
        "lpad" => two(
            |a, _| pad(text(a, 0)?, number(a, 1)?, " ", true),
            |a, _| pad(text(a, 0)?, number(a, 1)?, text(a, 2)?, true),
            &[Text, Int4],
            &[Text, Int4, Text],
        ),
        "rpad" => two(
            |a, _| pad(text(a, 0)?, number(a, 1)?, " ", false),
            |a, _| pad(text(a, 0)?, number(a, 1)?, text(a, 2)?, false),
            &[Text, Int4],
            &[Text, Int4, Text],
        ),
        "ltrim" => two(
            |a, _| trim(a, " ", true, false),
            |a, _| trim(a, text(a, 1)?, true, false),
            &[Text],
            &[Text, Text],
        ),
        "rtrim" => two(
            |a, _| trim(a, " ", false, true),
            |a, _| trim(a, text(a, 1)?, false, true),
            &[Text],
            &[Text, Text],
        ),
        "btrim" | "trim" => two(
            |a, _| trim(a, " ", true, true),
            |a, _| trim(a, text(a, 1)?, true, true),
            &[Text],
            &[Text, Text],
        ),
        _ => two(
            |a, _| overlay(a, None),
            |a, _| overlay(a, Some(number(a, 3)?)),
            &[Text, Text, Int4],
            &[Text, Text, Int4, Int4],
        ),
    }
}

fn text<'d>(arguments: &'d [Datum<'_>], index: usize) -> Result<&'d str> {
    arguments.get(index).map_or(Ok(""), Datum::as_text)
}

fn number(arguments: &[Datum<'_>], index: usize) -> Result<i64> {
    arguments.get(index).map_or(Ok(0), Datum::as_int)
}

fn bytes(arguments: &[Datum<'_>]) -> usize {
    match arguments.first() {
        Some(Datum::Bytes(bytes)) => bytes.len(),
        _ => 0,
    }
}

fn int<'a>(value: usize) -> Result<Datum<'a>> {
    Ok(Datum::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// A letter that becomes several stays as it is.
fn single(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn mapped<'a>(text: &str, map: impl Fn(char) -> char) -> Result<Datum<'a>> {
    Ok(Datum::text(text.chars().map(map).collect::<String>()))
}

fn initcap(text: &str) -> String {
    let mut inside = false;
    let each = |c: char| {
        let mapped = if inside { single(c, c.to_lowercase()) } else { single(c, c.to_uppercase()) };
        inside = c.is_alphanumeric();
        mapped
    };
    text.chars().map(each).collect()
}

fn chr<'a>(code: i64) -> Result<Datum<'a>> {
    if code == 0 {
        return Err(Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "null character not permitted"));
    }
    let c = u32::try_from(code).ok().and_then(char::from_u32);
    let c = c.ok_or_else(|| {
        if code < 0 {
            return Error::new(sqlstate::INVALID_PARAMETER_VALUE, "character number must be positive");
        }
        let what = format!("requested character too large for encoding: {code}");
        Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, what)
    })?;
    Ok(Datum::text(c.to_string()))
}

/// The first `n` characters; a negative `n` leaves off the last.
fn left(text: &str, n: i64) -> String {
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let take = if n < 0 { count + n } else { n };
    text.chars().take(usize::try_from(take).unwrap_or(0)).collect()
}

fn right(text: &str, n: i64) -> String {
    // PostgreSQL has no positive number for the least one.
    if n == i64::from(i32::MIN) {
        return text.to_owned();
    }
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let skip = if n < 0 { -n } else { count - n };
    text.chars().skip(usize::try_from(skip).unwrap_or(0)).collect()
}

fn part(text: &str, start: i64, length: Option<i64>) -> Result<String> {
    if length.is_some_and(|l| l < 0) {
        return Err(Error::new("22011", "negative substring length not allowed"));
    }
    let end = length.map(|l| start.saturating_add(l));
    let first = start.max(1);
    let take = end.map_or(i64::MAX, |end| (end - first).max(0));
    let skip = usize::try_from(first - 1).unwrap_or(usize::MAX);
    Ok(text.chars().skip(skip).take(usize::try_from(take).unwrap_or(usize::MAX)).collect())
}

fn substring<'a>(arguments: &[Datum<'_>], length: Option<i64>) -> Result<Datum<'a>> {
    Ok(Datum::text(part(text(arguments, 0)?, number(arguments, 1)?, length)?))
}

fn position<'a>(text: &str, wanted: &str) -> Result<Datum<'a>> {
    let before = text.find(wanted).and_then(|at| text.get(..at));
    int(before.map_or(0, |before| before.chars().count() + 1))
}

fn replaced<'a>(text: &str, from: &str, to: &str) -> Result<Datum<'a>> {
    if from.is_empty() {
        return Ok(Datum::text(text));
    }
    check_length(text.len().saturating_add(text.matches(from).count().saturating_mul(to.len())))?;
    Ok(Datum::text(text.replace(from, to)))
}

fn translated<'a>(text: &str, from: &str, to: &str) -> Result<Datum<'a>> {
    let to: Vec<char> = to.chars().collect();
    let each = |c: char| match from.chars().position(|f| f == c) {
        Some(index) => to.get(index).copied(),
        None => Some(c),
    };
    Ok(Datum::text(text.chars().filter_map(each).collect::<String>()))
}

fn split_part<'a>(text: &str, delimiter: &str, field: i64) -> Result<Datum<'a>> {
    if field == 0 {
        return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    let fields: Vec<&str> = if delimiter.is_empty() {
        if text.is_empty() { Vec::new() } else { vec![text] }
    } else {
        text.split(delimiter).collect()
    };
    let index = if field > 0 { field - 1 } else { i64::try_from(fields.len()).unwrap_or(0) + field };
    let found = usize::try_from(index).ok().and_then(|i| fields.get(i)).copied().unwrap_or("");
    Ok(Datum::text(found))
}

fn pad<'a>(text: &str, length: i64, fill: &str, before: bool) -> Result<Datum<'a>> {
    let length = usize::try_from(length).unwrap_or(0);
    let count = text.chars().count();
    if count >= length || fill.is_empty() {
        return Ok(Datum::text(text.chars().take(length).collect::<String>()));
    }
    check_length(length.saturating_mul(4))?;
    let padding: String = fill.chars().cycle().take(length - count).collect();
    Ok(Datum::text(if before { format!("{padding}{text}") } else { format!("{text}{padding}") }))
}

fn trim<'a>(arguments: &[Datum<'_>], set: &str, before: bool, after: bool) -> Result<Datum<'a>> {
    let mut inner = text(arguments, 0)?;
    let inside = |c: char| set.contains(c);
    if before {
        inner = inner.trim_start_matches(inside);
    }
    if after {
        inner = inner.trim_end_matches(inside);
    }
    Ok(Datum::text(inner))
}

fn overlay<'a>(arguments: &[Datum<'_>], length: Option<i64>) -> Result<Datum<'a>> {
    let (whole, new, start) = (text(arguments, 0)?, text(arguments, 1)?, number(arguments, 2)?);
    if start <= 0 {
        return Err(Error::new("22011", "negative substring length not allowed"));
    }
    let length = length.unwrap_or(i64::try_from(new.chars().count()).unwrap_or(i64::MAX));
    let before = part(whole, 1, Some(start - 1))?;
    let after = part(whole, start.saturating_add(length), None)?;
    Ok(Datum::text(format!("{before}{new}{after}")))
}

/// `concat` and `concat_ws`: NULLs are left out.
pub(crate) fn concat(name: &str, args: Vec<Expr>, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let mut texts = Vec::with_capacity(args.len());
    for arg in args {
        let kind = kinds::of(&arg, schema)?;
        // Here a boolean is written as its output function writes it.
        if matches!(kind, Kind::Bool | Kind::Array | Kind::Record | Kind::Bpchar) {
            return Err(refused(format!("function {name} of {}", kind.name())));
        }
        texts.push(casts::coerce(arg, Kind::Text, schema, zone)?);
    }
    let body: Body = if name == "concat" {
        |a, _| joined("", a)
    } else {
        |a, _| match a {
            [Datum::Null, ..] | [] => Ok(Datum::Null),
            [separator, rest @ ..] => joined(separator.as_text()?, rest),
        }
    };
    Ok(Spec { name, strict: false, body, zone }.call(texts, Text, DataType::Utf8))
}

fn joined<'a>(separator: &str, parts: &[Datum<'_>]) -> Result<Datum<'a>> {
    let mut known = Vec::with_capacity(parts.len());
    for part in parts.iter().filter(|p| !p.is_null()) {
        known.push(part.as_text()?);
    }
    check_length(known.iter().map(|k| k.len() + separator.len()).sum())?;
    Ok(Datum::text(known.join(separator)))
}

/// `text LIKE pattern`: the third argument is the escape character, the name says the rest.
pub(crate) fn like(mut args: Vec<Expr>, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let insensitive = args.len() > 3;
    args.truncate(3);
    for arg in &args {
        let kind = kinds::of(arg, schema)?;
        if !kind.is_text() && kind != Kind::Unknown {
            return Err(super::operators::undefined(kind, "~~", Kind::Unknown));
        }
    }
    let args = args.into_iter().map(|a| casts::coerce(a, Text, schema, zone)).collect::<Result<Vec<_>>>()?;
    let body: Body = if insensitive {
        // The escape character is looked for before anything is lowered.
        |a, _| matched(text(a, 0)?, text(a, 1)?, text(a, 2)?, |c| single(c, c.to_lowercase()))
    } else {
        |a, _| matched(text(a, 0)?, text(a, 1)?, text(a, 2)?, |c| c)
    };
    let name = if insensitive { "ilike" } else { "like" };
    Ok(Spec { name, strict: true, body, zone }.call(args, Kind::Bool, DataType::Boolean))
}

/// One step of a pattern.
#[derive(PartialEq)]
enum Step {
    Any,
    One,
    Char(char),
    /// The escape character with nothing behind it.
    Nothing,
}

fn matched<'a>(text: &str, pattern: &str, escape: &str, fold: fn(char) -> char) -> Result<Datum<'a>> {
    if escape.chars().nth(1).is_some() {
        return Err(Error::new("22025", "invalid escape string")
            .with_hint("Escape string must be empty or one character."));
    }
    let escape = escape.chars().next();
    let mut steps = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        steps.push(match c {
            c if Some(c) == escape => chars.next().map_or(Step::Nothing, |c| Step::Char(fold(c))),
            '%' => Step::Any,
            '_' => Step::One,
            c => Step::Char(fold(c)),
        });
    }
    let text: Vec<char> = text.chars().map(fold).collect();
    let (mut at, mut step, mut back) = (0, 0, None);
    while at < text.len() {
        let fits = match (steps.get(step), text.get(at)) {
            (Some(Step::Any), _) => {
                back = Some((step, at));
                step += 1;
                continue;
            }
            (Some(Step::One), _) => true,
            (Some(Step::Nothing), _) => {
                return Err(Error::new("22025", "LIKE pattern must not end with escape character"));
            }
            (Some(Step::Char(c)), Some(t)) => c == t,
            _ => false,
        };
        if fits {
            (at, step) = (at + 1, step + 1);
        } else if let Some((any, from)) = back {
            back = Some((any, from + 1));
            (at, step) = (from + 1, any + 1);
        } else {
            return Ok(Datum::Bool(false));
        }
    }
    Ok(Datum::Bool(steps.iter().skip(step).all(|s| *s == Step::Any)))
}
