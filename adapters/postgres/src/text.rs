//! Small pieces of SQL text.

use epoch_adapter::{TableDef, Value};

use crate::layout::{literal, quote};
use crate::types::split_modifier;

/// What bodies of functions are quoted with in templates.
const QUOTE: &str = "$epoch$";

/// Fills `{{name}}` in a template. No place is in a comment, which a name with a line break would end; bodies
/// are quoted with what no value has in it.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let taken = |quote: &str| values.iter().any(|(_, value)| value.contains(quote));
    let requoted = taken(QUOTE).then(|| {
        let quote = (1..).map(|n| format!("$epoch_{n}$")).find(|quote| !taken(quote));
        template.replace(QUOTE, &quote.unwrap_or_default())
    });
    let template = requoted.as_deref().unwrap_or(template);
    let mut out = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(before);
        if let Some((_, value)) = values.iter().find(|(n, _)| *n == name) {
            out.push_str(value);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Joins what `piece` makes of each item.
pub(crate) fn join<T>(
    items: impl IntoIterator<Item = T>,
    separator: &str,
    piece: impl FnMut(T) -> String,
) -> String {
    items.into_iter().map(piece).collect::<Vec<_>>().join(separator)
}

/// All columns, quoted, with a prefix such as `o.`.
pub(crate) fn columns(table: &TableDef, prefix: &str) -> String {
    join(&table.schema.columns, ", ", |c| format!("{prefix}{}", quote(&c.name)))
}

/// The columns that can be written, quoted, with a prefix.
pub(crate) fn writable(table: &TableDef, prefix: &str) -> String {
    join(table.schema.columns.iter().filter(|c| !c.generated), ", ", |c| {
        format!("{prefix}{}", quote(&c.name))
    })
}

/// The key's columns, quoted, with a prefix.
pub(crate) fn key(table: &TableDef, prefix: &str) -> String {
    join(table.schema.key_columns(), ", ", |c| format!("{prefix}{}", quote(&c.name)))
}

/// `a."k" = b."k" AND …` over the key, whatever the search path is.
pub(crate) fn same_key(table: &TableDef, a: &str, b: &str) -> String {
    join(table.schema.key_columns(), " AND ", |c| {
        let equals = c.equality.as_deref().unwrap_or("OPERATOR(pg_catalog.=)");
        format!("{a}.{name} {equals} {b}.{name}", name = quote(&c.name))
    })
}

/// A value as a literal whose type the context gives: an INSERT's or UPDATE's column, so that what
/// doesn't fit is an error, never cut.
pub(crate) fn untyped(value: &Value) -> String {
    value.to_text().map_or_else(|| "NULL".to_owned(), |text| literal(&text))
}

/// A value as a literal of a type, never cut to the type's length.
pub(crate) fn typed(value: &Value, pg_type: &str) -> String {
    format!("{}::{}", untyped(value), unmodified(pg_type))
}

/// The type without length or precision: an explicit cast to one with them would cut silently.
pub(crate) fn unmodified(pg_type: &str) -> String {
    if pg_type.ends_with(']') {
        return pg_type.split('(').next().map_or_else(String::new, |start| {
            if start == pg_type { start.to_owned() } else { format!("{}[]", unmodified(start)) }
        });
    }
    match split_modifier(pg_type).0.as_str() {
        // Without a length these mean a length of 1.
        "character" => "bpchar".to_owned(),
        "bit" => "varbit".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_never_cut() {
        for (pg_type, cast) in [
            ("character varying(3)", "character varying"),
            ("character(3)", "bpchar"),
            ("character varying(3)[]", "character varying[]"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("integer[]", "integer[]"),
            ("bit(3)", "varbit"),
        ] {
            assert_eq!(unmodified(pg_type), cast);
        }
    }

    #[test]
    fn templates_are_filled() {
        assert_eq!(fill("a {{x}} b {{y}}{{x}}", &[("x", "1"), ("y", "{{x}}")]), "a 1 b {{x}}1");
    }
}

#[cfg(test)]
mod templates {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_break_in_a_name_ends_no_comment_of_a_template() {
        for folder in ["postgres", "sqlite"] {
            let path = format!("{}/../../sql/{folder}", env!("CARGO_MANIFEST_DIR"));
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                let text = std::fs::read_to_string(&path).unwrap();
                for line in text.lines() {
                    let comment = line.split_once("--").map(|(_, comment)| comment).unwrap_or_default();
                    assert!(!comment.contains('{'), "{}: {line}", path.display());
                }
            }
        }
    }

    #[test]
    fn a_name_with_the_quote_of_bodies_stays_in_the_body() {
        let template = "AS $epoch$ {{name}} $epoch$; DO $epoch$ x $epoch$";
        let filled = fill(template, &[("name", "\"a$epoch$b$epoch_1$\"")]);
        assert_eq!(filled, "AS $epoch_2$ \"a$epoch$b$epoch_1$\" $epoch_2$; DO $epoch_2$ x $epoch_2$");
        assert_eq!(fill(template, &[("name", "a")]), "AS $epoch$ a $epoch$; DO $epoch$ x $epoch$");
    }
}
