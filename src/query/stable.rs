//! Whether a part of a statement gives the same result when it is evaluated again in the same state:
//! only then can it decide which rows are copied up.

use std::ops::Range;

use super::lexer::Token;
use super::names::Meaning;
use super::parse::{self, Cte, Locking, Role, TableRef};
use super::plan::Context;
use super::rewrite::Rewriter;
use super::views::DEEPEST;

/// The WITH clause for a query of ours that is made of these parts of the statement, empty if they read
/// no CTE; `None` if what they read is known only when the statement runs.
pub(super) fn with_for(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    parts: &[&Range<usize>],
) -> Option<String> {
    let with = &rewriter.statement.with;
    let inside = |at: &usize| parts.iter().any(|part| part.contains(at));
    let used = |cte: &Cte| with.uses.iter().any(|u| u.inner.is_none() && u.name == cte.name && inside(&u.at));
    // A query of an inner WITH that isn't a part of them.
    if with.uses.iter().any(|u| inside(&u.at) && u.inner.is_some_and(|place| !inside(&place))) {
        return None;
    }
    if !with.ctes.iter().any(used) {
        return Some(String::new());
    }
    let first = parts.iter().map(|part| part.start).min().unwrap_or(0);
    let visible = |cte: &&Cte| !cte.writes && (with.recursive || cte.range.end <= first);
    let kept: Vec<&Cte> = with.ctes.iter().filter(visible).collect();
    let unknown = with.ctes.iter().any(|cte| used(cte) && !kept.contains(&cte));
    if unknown || kept.iter().any(|cte| !is_stable(ctx, rewriter, &cte.range)) {
        return None;
    }
    let texts: Vec<String> = kept.iter().map(|c| rewriter.evaluated(&c.range)).collect();
    let recursive = if with.recursive { "RECURSIVE " } else { "" };
    Some(format!("WITH {recursive}{} ", texts.join(", ")))
}

/// Whether a part of the text gives the same result when it is evaluated again in the same state.
pub(super) fn is_stable(ctx: &Context<'_>, rewriter: &Rewriter<'_>, range: &Range<usize>) -> bool {
    let inside = |at: usize| range.contains(&at);
    let volatile = rewriter
        .statement
        .functions
        .iter()
        .filter(|f| inside(f.range.start))
        .any(|f| ctx.names.function(f.schema.as_deref(), &f.name).is_some_and(|found| found.volatile));
    let statement = rewriter.statement;
    let mut tokens = rewriter.parsed.tokens.list.iter().filter(|t| inside(t.start));
    let arbitrary = tokens.any(|t| is_arbitrary(rewriter.sql, t) && !statement.relaxed.leaves_out(t.start));
    let has_table = |l: &Locking| {
        l.tables.iter().any(|&i| statement.tables.get(i).is_some_and(|t| inside(t.range.start)))
    };
    let locks =
        |l: &Locking| !l.relaxed && l.select.as_ref().map_or_else(|| has_table(l), |s| inside(s.range.start));
    if statement.locking.iter().any(locks) {
        return false;
    }
    let mut tables = rewriter.statement.tables.iter().filter(|t| inside(t.range.start));
    !volatile && !arbitrary && tables.all(|t| table_is_stable(ctx, t, 0))
}

/// Which rows a LIMIT keeps, or a window numbers, may depend on the order in which they are found.
fn is_arbitrary(sql: &str, token: &Token) -> bool {
    const WORDS: &[&str] = &["limit", "fetch", "offset", "over", "distinct"];
    WORDS.iter().any(|word| token.is_word(sql, word))
}

/// Whether what a table's name stands for gives the same rows each time, as far as a view goes; one that reads itself
/// isn't known to.
fn table_is_stable(ctx: &Context<'_>, table: &TableRef, depth: usize) -> bool {
    if table.role == Role::Sampled {
        return false;
    }
    match ctx.names.table(table) {
        Meaning::Other { kind: 'v', definition: Some(definition), .. } => {
            depth < DEEPEST && query_is_stable(ctx, &definition, depth + 1)
        }
        Meaning::Other { kind: 'v', .. } => false,
        _ => true,
    }
}

fn query_is_stable(ctx: &Context<'_>, query: &str, depth: usize) -> bool {
    let Ok(parsed) = parse::parse(query) else { return false };
    let arbitrary = parsed.tokens.list.iter().any(|t| is_arbitrary(query, t));
    // What wasn't looked up may be volatile.
    let known = |f: &parse::FunctionRef| {
        ctx.names.function(f.schema.as_deref(), &f.name).is_some_and(|found| !found.volatile)
    };
    !arbitrary
        && parsed.statements.iter().all(|statement| {
            statement.functions.iter().all(known)
                && statement.tables.iter().all(|t| table_is_stable(ctx, t, depth))
        })
}
