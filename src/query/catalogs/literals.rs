//! Names of relations in constants: `'notes'::regclass`, `nextval('notes_id_seq')`. On a branch they mean its own
//! relations.

use std::ops::Range;

use epoch_adapter::identifier;
use epoch_adapter_postgres::layout::{literal, quote};

use super::map::Map;
use super::rows::oids;
use super::texts;
use crate::query::lexer::{Token, TokenKind};
use crate::query::names::Catalog;
use crate::query::rewrite::Rewriter;
use crate::{Error, Result, sqlstate};

/// A constant that is the name of a relation.
struct Constant {
    range: Range<usize>,
    text: String,
    /// Nothing is an answer, not an error.
    optional: bool,
}

/// What a name means on the branch.
#[derive(Debug, PartialEq, Eq)]
enum Means {
    /// What it means to the server.
    Same,
    /// A relation, by its schema and name on the server.
    Relation(String, String),
    Nothing,
}

/// Puts the names of the branch's relations in the place of the client's.
pub(super) async fn resolve(catalog: &mut dyn Catalog, map: &Map, rewriter: &mut Rewriter<'_>) -> Result<()> {
    for constant in constants(rewriter) {
        let Some((schema, name)) = name(&constant.text).filter(|(_, name)| map.concerns(name)) else {
            continue;
        };
        match meaning(catalog, map, schema.as_deref(), &name).await? {
            Means::Same => {}
            Means::Relation(schema, name) => {
                let text = literal(&format!("{}.{}", quote(&schema), quote(&name)));
                rewriter.edits.replace(constant.range, text);
            }
            Means::Nothing if constant.optional => {
                rewriter.edits.replace(constant.range, "NULL::pg_catalog.text");
            }
            Means::Nothing => {
                let before = rewriter.sql.get(..constant.range.start).unwrap_or_default();
                let message = format!("relation \"{}\" does not exist", constant.text);
                return Err(
                    Error::new(sqlstate::UNDEFINED_TABLE, message).with_position(before.chars().count() + 1)
                );
            }
        }
    }
    Ok(())
}

/// The constants of a statement that are names of relations.
fn constants(rewriter: &Rewriter<'_>) -> Vec<Constant> {
    let all = &rewriter.parsed.tokens;
    let range = &rewriter.statement.range;
    let sql = rewriter.sql;
    let mut found: Vec<Constant> = Vec::new();
    let mut note = |token: &Token, optional: bool| {
        if let Some(text) = plain(token, sql)
            && !found.iter().any(|c| c.range.start == token.start)
        {
            found.push(Constant { range: token.start..token.end, text, optional });
        }
    };
    for at in all.at(range.start)..all.at(range.end) {
        let Some(token) = all.get(at).filter(|t| t.kind == TokenKind::Str) else { continue };
        if is_regclass(rewriter, at) {
            note(token, false);
        }
    }
    for function in &rewriter.statement.functions {
        let Some(which) = texts::reads(function) else { continue };
        let arguments = texts::arguments(rewriter, function);
        let Some(argument) = texts::chosen(&arguments, which) else { continue };
        let first = all.at(argument.start);
        let Some(token) = all.get(first).filter(|t| t.kind == TokenKind::Str) else { continue };
        let alone = token.end == argument.end || all.get(first + 1).is_some_and(|t| t.text(sql) == "::");
        if alone {
            note(token, function.name == "to_regclass");
        }
    }
    found
}

/// Whether a constant is of type regclass: `'x'::regclass`, `regclass 'x'`, `CAST('x' AS regclass)`.
fn is_regclass(rewriter: &Rewriter<'_>, at: usize) -> bool {
    let all = &rewriter.parsed.tokens;
    let word = |i: usize, word: &str| all.get(i).is_some_and(|t| t.is_word(rewriter.sql, word));
    let named = |i: usize| {
        let qualified = word(i, "pg_catalog") && all.get(i + 1).is_some_and(|t| t.is_symbol(b'.'));
        word(if qualified { i + 2 } else { i }, "regclass")
    };
    let cast = all.get(at + 1).is_some_and(|t| t.text(rewriter.sql) == "::");
    let before = at.checked_sub(1).is_some_and(|i| word(i, "regclass"))
        && at.checked_sub(2).and_then(|i| all.get(i)).is_none_or(|t| t.text(rewriter.sql) != "::");
    if before {
        return true;
    }
    (cast || word(at + 1, "as")) && named(at + 2)
}

/// The text of a constant in plain quotes.
pub(super) fn plain(token: &Token, sql: &str) -> Option<String> {
    let inside = token.text(sql).strip_prefix('\'')?.strip_suffix('\'')?;
    // A constant that goes on after a line break has quotes by themselves.
    let single = inside.replace("''", "");
    (!single.contains('\'')).then(|| inside.replace("''", "'"))
}

/// A relation's name as SQL writes it: its schema, if there is one, and the name.
pub(super) fn name(text: &str) -> Option<(Option<String>, String)> {
    let (first, rest) = word(text.trim())?;
    if rest.is_empty() {
        return (!first.bytes().all(|b| b.is_ascii_digit())).then_some((None, first));
    }
    let (second, rest) = word(rest.strip_prefix('.')?)?;
    rest.is_empty().then_some((Some(first), second))
}

/// The identifier that a text begins with, and the rest; nothing with a blank outside of quotes is one.
fn word(text: &str) -> Option<(String, &str)> {
    identifier(text).filter(|(name, _)| text.starts_with('"') || !name.contains(' '))
}

async fn meaning(catalog: &mut dyn Catalog, map: &Map, schema: Option<&str>, name: &str) -> Result<Means> {
    let own = |schema: &str| {
        map.relation(schema, name).map(|(place, r)| Means::Relation(place.name.clone(), r.name.clone()))
    };
    if let Some(schema) = schema {
        let gone = map.hidden(schema, name).map(|_| Means::Nothing);
        return Ok(own(schema).or(gone).unwrap_or(Means::Same));
    }
    // What main has of this name that the branch has too.
    let sql = format!(
        "SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname = {} AND n.nspname = ANY (pg_catalog.current_schemas(true)) AND c.oid <> ALL ({})",
        literal(name),
        oids(map.hidden.iter().map(|h| h.oid))
    );
    let rows = catalog.query(&sql).await?;
    let of_main: Vec<&str> = rows.iter().filter_map(|row| row.first()?.as_deref()).collect();
    for schema in &map.path {
        if let Some(own) = own(schema) {
            return Ok(own);
        }
        if of_main.contains(&schema.as_str()) {
            return Ok(Means::Relation(schema.clone(), name.to_owned()));
        }
    }
    Ok(Means::Nothing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_in_constants() {
        let found = |text: &str| name(text).map(|(s, n)| (s.unwrap_or_default(), n));
        let some = |s: &str, n: &str| Some((s.to_owned(), n.to_owned()));
        assert_eq!(found("Notes"), some("", "notes"));
        assert_eq!(found(" public.\"Odd \"\"Name\"\"\" "), some("public", "Odd \"Name\""));
        assert_eq!(found("\"a.b\".c"), some("a.b", "c"));
        for text in ["16384", "", "-", "a.b.c", "a\"b", "\"a", "a b"] {
            assert!(found(text).is_none_or(|(_, name)| name == "-"), "{text}");
        }
    }
}
