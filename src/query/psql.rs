//! Queries of PostgreSQL's own programs. psql's `\df epoch_*` on a PostgreSQL backend, whose catalog doesn't have our
//! functions: they are added to the query's result. pg_dump's way to set what an older server may not know.

use epoch_adapter_postgres::layout::literal;

use super::lexer::TokenKind;
use super::parse::Kind;
use super::rewrite::Rewriter;
use crate::functions;

/// Adds our functions if the statement is psql's list of functions whose names begin with `epoch`.
/// (`\df+` has columns that mean nothing for them.)
pub(super) fn list_functions(rewriter: &mut Rewriter<'_>) {
    let Some((pattern, order)) = find(rewriter) else { return };
    let one = |f: &functions::Function| {
        format!("({}, {}, {})", literal(f.name), literal(&f.result_type()), literal(&f.argument_types()))
    };
    let rows: Vec<String> = functions::catalog().iter().map(one).collect();
    rewriter.edits.insert(
        order,
        format!(
            "UNION ALL SELECT 'epoch', epoch_f.name::pg_catalog.name, epoch_f.result, epoch_f.arguments, 'func' \
             FROM (VALUES {}) epoch_f(name, result, arguments) \
             WHERE epoch_f.name OPERATOR(pg_catalog.~) {pattern} COLLATE pg_catalog.default ",
            rows.join(", ")
        ),
    );
}

/// Whether it is the query by which pg_dump makes a server read no views: it sets a setting whose name it takes
/// from the catalog, which isn't possible otherwise.
pub(super) fn is_pg_dumps(sql: &str) -> bool {
    sql == "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'"
}

/// The regular expression of the names, as it is written, and where ORDER BY begins.
fn find(rewriter: &Rewriter<'_>) -> Option<(String, usize)> {
    let statement = rewriter.statement;
    let called = |name: &str| {
        statement.functions.iter().any(|f| f.name == name && f.schema.as_deref() == Some("pg_catalog"))
    };
    let lists = statement.kind == Kind::Query
        && statement.tables.iter().any(|t| t.name == "pg_proc" && t.schema.as_deref() == Some("pg_catalog"))
        && called("pg_get_function_result")
        && called("pg_get_function_arguments")
        && called("pg_function_is_visible");
    if !lists {
        return None;
    }
    let tokens = &rewriter.parsed.tokens;
    let (first, last) = (tokens.at(statement.range.start), tokens.at(statement.range.end));
    let inside = tokens.list.get(first..last)?;
    let text = |i: usize| inside.get(i).map(|t| t.text(rewriter.sql));
    let quoted = |name: &str| inside.iter().any(|t| t.text(rewriter.sql) == name);
    if !quoted("\"Argument data types\"") || quoted("\"Volatility\"") {
        return None;
    }
    let strings = inside.iter().filter(|t| t.kind == TokenKind::Str).map(|t| t.text(rewriter.sql));
    let pattern = strings.into_iter().find(|s| s.starts_with("'^(epoch"))?.to_owned();
    let order = (0..inside.len()).rev().find(|&i| text(i) == Some("ORDER") && text(i + 1) == Some("BY"))?;
    Some((pattern, inside.get(order)?.start))
}
