//! Names of types as values (`'mood'::regtype`, `to_regtype($1)`, `pg_typeof(x)`): on a branch, those that branches made have
//! the names that sessions know.

use std::ops::Range;

use epoch_adapter_postgres::layout::literal;

use super::casts::{as_text, cast_call, cast_to, name_of, primary, shown_items};
use super::literals::{name, plain};
use super::map::{Enumeration, Map};
use super::rows::oids;
use super::texts::{Wrap, arguments, is_computed};
use crate::query::lexer::TokenKind;
use crate::query::names::Catalog;
use crate::query::parse::{FunctionRef, Site};
use crate::query::rewrite::Rewriter;
use crate::{Error, Result, sqlstate};

const TYPE: &str = "regtype";

/// Functions whose result is a type, and whether their argument is the name of one.
const FUNCTIONS: &[(&str, bool)] = &[("pg_typeof", false), ("to_regtype", true)];

/// Whether a function is one of these.
pub(super) fn concerns(function: &FunctionRef) -> bool {
    matches!(function.schema.as_deref(), None | Some("pg_catalog"))
        && FUNCTIONS.iter().any(|(name, _)| *name == function.name)
}

/// Puts the names of the branch's types in the place of the client's.
pub(super) async fn resolve(catalog: &mut dyn Catalog, map: &Map, rewriter: &mut Rewriter<'_>) -> Result<()> {
    if !map.has_types() {
        return Ok(());
    }
    for (range, text, optional) in constants(rewriter) {
        let trimmed = text.trim_end();
        let (base, array) = match trimmed.strip_suffix("[]") {
            Some(base) => (base, "[]"),
            None => (trimmed, ""),
        };
        let Some((schema, name)) = name(base) else { continue };
        match meaning(catalog, map, schema.as_deref(), &name).await? {
            Some(Some(own)) => {
                rewriter.edits.replace(range, literal(&format!("{}{array}", own.spelled)));
            }
            None if optional => rewriter.edits.replace(range, "NULL::pg_catalog.text"),
            None => {
                let before = rewriter.sql.get(..range.start).unwrap_or_default().chars().count();
                let error = Error::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{base}\" does not exist"));
                return Err(error.with_position(before + 1));
            }
            Some(None) => {}
        }
    }
    Ok(())
}

/// The constants of a statement that are names of types, and whether nothing is an answer.
fn constants(rewriter: &Rewriter<'_>) -> Vec<(Range<usize>, String, bool)> {
    let all = &rewriter.parsed.tokens;
    let (first, end) = (all.at(rewriter.statement.range.start), all.at(rewriter.statement.range.end));
    let word = |i: usize, word: &str| all.get(i).is_some_and(|t| t.is_word(rewriter.sql, word));
    let named = |i: usize| {
        let qualified = word(i, "pg_catalog") && all.get(i + 1).is_some_and(|t| t.is_symbol(b'.'));
        word(if qualified { i + 2 } else { i }, TYPE)
    };
    let asked = |at: usize| {
        let is = |back: usize, f: &dyn Fn(usize) -> bool| at.checked_sub(back).is_some_and(f);
        is(1, &|i| all.get(i).is_some_and(|t| t.is_symbol(b'('))) && is(2, &|i| word(i, "to_regtype"))
    };
    let mut found = Vec::new();
    for at in first..end {
        let Some(token) = all.get(at).filter(|t| t.kind == TokenKind::Str) else { continue };
        let cast = all.get(at + 1).is_some_and(|t| t.text(rewriter.sql) == "::") || word(at + 1, "as");
        let typed = at.checked_sub(1).is_some_and(|i| word(i, TYPE));
        if (typed || cast && named(at + 2) || asked(at))
            && let Some(text) = plain(token, rewriter.sql)
        {
            found.push((token.start..token.end, text, asked(at)));
        }
    }
    found
}

/// What a name means: the inner `None` is what it means to the server, the outer one nothing.
async fn meaning<'m>(
    catalog: &mut dyn Catalog,
    map: &'m Map,
    schema: Option<&str>,
    name: &str,
) -> Result<Option<Option<&'m Enumeration>>> {
    let own = |schema: &str| map.enumerations.iter().find(|e| e.home == schema && e.name == name);
    let gone = |schema: &str| map.absent_types.iter().any(|(s, n)| s == schema && n == name);
    if let Some(schema) = schema {
        return Ok(match own(schema) {
            Some(own) => Some(Some(own)),
            None if gone(schema) => None,
            None => Some(None),
        });
    }
    if !map.path.iter().any(|schema| own(schema).is_some() || gone(schema)) {
        return Ok(Some(None));
    }
    // What main has of this name that the branch has too.
    let sql = format!(
        "SELECT n.nspname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         WHERE t.typname = {} AND n.nspname = ANY (pg_catalog.current_schemas(true)) AND t.oid <> ALL ({})",
        literal(name),
        oids(map.hidden_types.iter().copied())
    );
    let rows = catalog.query(&sql).await?;
    let of_main: Vec<&str> = rows.iter().filter_map(|row| row.first()?.as_deref()).collect();
    for schema in &map.path {
        if let Some(own) = own(schema) {
            return Ok(Some(Some(own)));
        }
        if of_main.contains(&schema.as_str()) {
            return Ok(Some(None));
        }
    }
    Ok(None)
}

/// Casts to regtype of what isn't a constant, and what is shown as a text.
pub(super) fn wraps(map: &Map, rewriter: &Rewriter<'_>) -> Vec<Wrap> {
    let mut wraps = Vec::new();
    if map.enumerations.is_empty() {
        return wraps;
    }
    let all = &rewriter.parsed.tokens;
    let range = &rewriter.statement.range;
    let (first, end) = (all.at(range.start), all.at(range.end));
    let shown = shown_items(rewriter, first..end);
    for at in first..end {
        if let Some(argument) = cast_call(rewriter, at, TYPE) {
            let close = (at..end).find(|&i| all.get(i).is_some_and(|t| t.is_symbol(b')')));
            let call = all.at(argument.start).checked_sub(2).zip(close).map(|(cast, close)| cast..close + 1);
            wraps.extend(call.and_then(|call| as_text(map, rewriter, &shown, call, (None, TYPE))));
            if is_computed(rewriter, &argument) {
                wraps.push(computed(map, argument));
            }
        }
        if is_typed_constant(rewriter, at) {
            wraps.extend(as_text(map, rewriter, &shown, at..at + 2, (None, TYPE)));
        }
        let Some(after) = cast_to(rewriter, at, &[TYPE]) else { continue };
        let Some(start) = at.checked_sub(1).and_then(|last| primary(rewriter, first, last)) else { continue };
        let (Some(from), Some(last)) = (all.get(start), all.get(at - 1)) else { continue };
        let argument = from.start..last.end;
        if is_computed(rewriter, &argument) {
            wraps.push(computed(map, argument));
        }
        wraps.extend(as_text(map, rewriter, &shown, start..after, (name_of(rewriter, start, at), TYPE)));
    }
    let of = |f: &&FunctionRef| f.site == Site::Expression && concerns(f);
    for function in rewriter.statement.functions.iter().filter(of) {
        let arguments = arguments(rewriter, function);
        let reads = FUNCTIONS.iter().any(|(name, reads)| *name == function.name && *reads);
        if let [argument] = arguments.as_slice()
            && reads
            && is_computed(rewriter, argument)
        {
            wraps.push(computed(map, argument.clone()));
        }
        let value = all.at(function.range.start)..all.at(function.range.end);
        wraps.extend(as_text(map, rewriter, &shown, value, (Some(function.name.clone()), TYPE)));
    }
    wraps
}

/// Whether `regtype 'x'` begins at a token.
fn is_typed_constant(rewriter: &Rewriter<'_>, at: usize) -> bool {
    let all = &rewriter.parsed.tokens;
    let cast = at.checked_sub(1).and_then(|i| all.get(i)).is_some_and(|t| t.text(rewriter.sql) == "::");
    !cast
        && all.get(at).is_some_and(|t| t.is_word(rewriter.sql, TYPE))
        && all.get(at + 1).is_some_and(|t| t.kind == TokenKind::Str)
}

/// An argument that may be a type's name, looked up as the branch has it.
fn computed(map: &Map, argument: Range<usize>) -> Wrap {
    let one =
        |e: &Enumeration| format!("({}, {}, {})", literal(&e.home), literal(&e.name), literal(&e.spelled));
    let types: Vec<String> = map.enumerations.iter().map(one).collect();
    let before = format!(
        "(SELECT coalesce((SELECT epoch_e.spelled OPERATOR(pg_catalog.||) \
             CASE WHEN epoch_t OPERATOR(pg_catalog.~) '\\[\\s*\\]\\s*$' THEN '[]' ELSE '' END \
             FROM (VALUES {}) epoch_e(home, name, spelled) \
             CROSS JOIN pg_catalog.parse_ident(CASE WHEN epoch_t OPERATOR(pg_catalog.~) '^\\s*[[:alpha:]_\"]' THEN epoch_t ELSE 'x' END, false) epoch_i(p) \
             WHERE epoch_e.name OPERATOR(pg_catalog.=) epoch_i.p[pg_catalog.array_length(epoch_i.p, 1)] \
             AND CASE WHEN pg_catalog.array_length(epoch_i.p, 1) OPERATOR(pg_catalog.=) 1 \
                 THEN epoch_e.home::pg_catalog.name OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(true)) \
                 ELSE epoch_e.home OPERATOR(pg_catalog.=) epoch_i.p[1] END LIMIT 1), epoch_t) FROM (SELECT (",
        types.join(", ")
    );
    Wrap { range: argument, rank: 1, before, after: ")::pg_catalog.text) epoch_s(epoch_t))".to_owned() }
}
