//! Small pieces of SQL text.

use epoch_adapter::{TableDef, Value};

use crate::layout::{literal, quote};
use crate::types::split_modifier;

/// Fills `{{name}}` in a template.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
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

/// `a."k" = b."k" AND …` over the key.
pub(crate) fn same_key(table: &TableDef, a: &str, b: &str) -> String {
    join(table.schema.key_columns(), " AND ", |c| {
        format!("{a}.{name} {} {b}.{name}", c.equals(), name = quote(&c.name))
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
