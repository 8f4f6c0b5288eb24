//! What DataFusion and its parser say of themselves, in PostgreSQL's words: nobody who writes SQL knows their types.

use epoch_adapter::{Error, sqlstate};

use super::errors::{between, first_line, pg_name};

const ELSEWHERE: &str = "on tables that are not in PostgreSQL";

/// An error whose words are known.
pub(super) fn known(text: &str) -> Option<Error> {
    syntax(text).or_else(|| names(text)).or_else(|| clauses(text))
}

/// What the planner has no plan for.
fn syntax(text: &str) -> Option<Error> {
    if let Some(rest) = behind(text, "Unsupported ast node in sqltorel: ") {
        return Some(refused(&words(rest)));
    }
    if let Some(rest) = behind(text, "Unsupported binary operator: ") {
        let parts: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
        return Some(refused(&match parts.as_slice() {
            [] => "this operator".to_owned(),
            [one] => format!("operator {one}"),
            parts => format!("OPERATOR({})", parts.join(".")),
        }));
    }
    if let Some(rest) = behind(text, "Unsupported Value ") {
        let kind = rest.trim_start_matches(['\'', '"', ' ']);
        return Some(refused(match kind {
            k if k.starts_with("Unicode") => "a constant with Unicode escapes (U&)",
            k if k.starts_with("SingleQuotedByteString") || k.starts_with("DoubleQuotedByteString") => {
                "a bit string"
            }
            _ => "a constant of this form",
        }));
    }
    if text.contains("Dot access not supported") || text.contains("dot access not supported") {
        return Some(refused("a field of a value in brackets"));
    }
    text.contains("ANY in LIKE expression").then(|| refused("ANY of LIKE"))
}

/// Names and what they are called with.
fn names(text: &str) -> Option<Error> {
    if let Some(name) = behind(text, "Invalid qualifier ") {
        let message = format!("missing FROM-clause entry for table \"{}\"", first_line(name));
        return Some(Error::new(sqlstate::UNDEFINED_TABLE, message));
    }
    if text.contains("array_element does not support") || text.contains("'array_element") {
        let message = "cannot subscript a value that is not an array";
        return Some(Error::new(sqlstate::DATATYPE_MISMATCH, message));
    }
    let call = between(text, "argument types '", "'. ")?;
    let (name, types) = call.split_once('(')?;
    let types: Vec<&str> = split(types.trim_end_matches(')')).into_iter().map(pg_name).collect();
    let message = format!("function {name}({}) does not exist", types.join(", "));
    Some(Error::new(sqlstate::UNDEFINED_FUNCTION, message).with_hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    ))
}

/// What clauses may have.
fn clauses(text: &str) -> Option<Error> {
    if text.contains("must appear in the GROUP BY clause") {
        let column = between(text, "column \"", "\" must appear").unwrap_or("?");
        let message = format!(
            "column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
        );
        return Some(Error::new("42803", message));
    }
    if text.contains("Aggregate functions are not allowed in the WHERE clause") {
        return Some(Error::new("42803", "aggregate functions are not allowed in WHERE"));
    }
    if let Some(rest) = behind(text, "Order by column out of bounds, specified: ") {
        let place = rest.split(',').next().unwrap_or_default();
        return Some(Error::new("42P10", format!("ORDER BY position {place} is not in select list")));
    }
    for clause in ["LIMIT", "OFFSET"] {
        if let Some(rest) = behind(text, &format!("Expected {clause} to be an integer or null, but got ")) {
            let message =
                format!("argument of {clause} must be type bigint, not type {}", pg_name(first_line(rest)));
            return Some(Error::new(sqlstate::DATATYPE_MISMATCH, message));
        }
    }
    None
}

/// A message without what only a Rust program has: what is in the braces and brackets of its types goes, and types of
/// Arrow get PostgreSQL's names.
pub(super) fn plain(message: &str) -> String {
    let shown =
        match ["Span(", " { ", "Ident(", "Some(", "ObjectName("].iter().filter_map(|m| message.find(m)).min()
        {
            Some(at) => {
                let head = message.get(..at).unwrap_or_default();
                let cut = head.rfind(": ").unwrap_or(head.len());
                let what = head.get(cut..).unwrap_or_default().trim_start_matches(": ");
                let head = head.get(..cut).unwrap_or_default();
                match words(what) {
                    what if what.is_empty() => head.to_owned(),
                    what => format!("{head}: {what}"),
                }
            }
            None => message.to_owned(),
        };
    let mut out = String::with_capacity(shown.len());
    let mut rest = shown.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(before);
        let inside = after.strip_prefix('(').and_then(|a| a.split_once(')'));
        rest = match (word, inside) {
            (
                "Decimal128" | "Decimal256" | "Timestamp" | "Time64" | "Time32" | "Interval",
                Some((inside, rest)),
            ) => {
                out.push_str(pg_name(&format!("{word}({inside})")));
                rest
            }
            (
                "Int8" | "Int16" | "Int32" | "Int64" | "UInt8" | "UInt16" | "UInt32" | "UInt64" | "Float16"
                | "Float32" | "Float64" | "Boolean" | "Date32" | "Date64" | "Utf8" | "LargeUtf8" | "Utf8View"
                | "LargeBinary",
                _,
            ) => {
                out.push_str(pg_name(word));
                after
            }
            _ => {
                out.push_str(word);
                after
            }
        };
    }
    out.push_str(rest);
    out
}

fn refused(what: &str) -> Error {
    Error::unsupported(format!("{what} {ELSEWHERE}"))
}

/// What stands behind something, in whatever case its first letter is.
fn behind<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut lower = what.to_owned();
    if let Some(first) = lower.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    [what, &lower].iter().find_map(|what| text.split_once(*what)).map(|(_, rest)| rest)
}

/// The name of a type of the parser's as SQL has it: `Collate { … }` is COLLATE, `MatchAgainst` MATCH AGAINST.
fn words(name: &str) -> String {
    let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
    let mut out = String::new();
    for c in name.get(..end).unwrap_or_default().chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// Types, separated by commas outside of brackets.
fn split(types: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_u32, 0, Vec::new());
    for (at, c) in types.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.extend(types.get(start..at).map(str::trim));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.extend(types.get(start..).map(str::trim).filter(|t| !t.is_empty()));
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_parsers_types_became_messages() {
        for (text, code, message) in [
            (
                "Unsupported ast node in sqltorel: Collate { expr: Identifier(Ident { value: \"name\" }) }",
                "0A000",
                "COLLATE on tables that are not in PostgreSQL is not supported",
            ),
            (
                "Unsupported binary operator: PGCustomBinaryOperator([\"pg_catalog\", \"+\"])",
                "0A000",
                "OPERATOR(pg_catalog.+) on tables that are not in PostgreSQL is not supported",
            ),
            (
                "Unsupported binary operator: Custom(\"~~~\")",
                "0A000",
                "operator ~~~ on tables that are not in PostgreSQL is not supported",
            ),
            ("Invalid qualifier item", "42P01", "missing FROM-clause entry for table \"item\""),
            (
                "The function 'string_agg' expected 2 arguments but received 1. No function matches the given name and \
                 argument types 'string_agg(Utf8, Decimal128(10, 2))'. You might need to add explicit type casts.",
                "42883",
                "function string_agg(text, numeric) does not exist",
            ),
            (
                "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \
                 \"item.id\" must appear in the GROUP BY clause or must be part of an aggregate function",
                "42803",
                "column \"item.id\" must appear in the GROUP BY clause or be used in an aggregate function",
            ),
            (
                "Expected LIMIT to be an integer or null, but got Utf8",
                "42804",
                "argument of LIMIT must be type bigint, not type text",
            ),
        ] {
            let error = known(text).unwrap();
            assert_eq!((error.code(), error.message()), (code, message));
        }
    }

    #[test]
    fn whatever_else_it_says_has_no_types_of_rust() {
        for (text, message) in [
            (
                "cannot coerce arithmetic expression Int64 + Boolean to valid types",
                "cannot coerce arithmetic expression bigint + boolean to valid types",
            ),
            (
                "type mismatch: Timestamp(Microsecond, None) and Utf8",
                "type mismatch: timestamp without time zone and text",
            ),
            ("unsupported SQL type: Custom { name: Ident { value: \"x\" } }", "unsupported SQL type: CUSTOM"),
            ("nothing of the kind (at all)", "nothing of the kind (at all)"),
        ] {
            assert_eq!(plain(text), message);
        }
    }
}
