//! Which form of relations a statement gets: found out by what its plain form would cost.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use epoch_adapter::TableDef;

use super::lexer::{Token, TokenKind};
use super::names::Catalog;
use super::parse::{self, Kind, Parsed, Statement, Wrap};
use super::plan::Context;
use super::types;
use crate::{Error, Result};

/// How relations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// For statements that read few rows by index.
    Selective,
    /// For statements that read more than a few rows by index.
    Ranging,
    /// For statements that read most of a table.
    Scanning,
}

/// Plain plans that cost more than this read much.
const MOST_COST: f64 = 10_000.0;
/// A sequential scan of a registered table that costs more than this (some thousand rows) reads much.
const MOST_SCAN: f64 = 60.0;
/// A node of a plain plan with more rows than this reads more than a few. Up to there, asking first whether there is anything
/// to look for costs as much as looking for it.
const MOST_FEW: f64 = 5.0;
/// How long a choice holds, as statistics change.
const HOLDS: Duration = Duration::from_secs(60);
/// How many shapes of statements are remembered.
const MOST_SHAPES: usize = 20_000;

static CHOICES: LazyLock<DashMap<u64, (Form, Instant)>> = LazyLock::new(DashMap::new);
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// What the planner is told for a form.
pub(super) fn settings(form: Form) -> Vec<(&'static str, &'static str)> {
    match form {
        Form::Selective | Form::Ranging | Form::Scanning => Vec::new(),
    }
}

/// Asks the server what the client's own statement would cost on the tables themselves, once per
/// shape of statement.
pub(super) async fn choose(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    parsed: &Parsed,
    statement: &Statement,
    tables: &[Arc<TableDef>],
) -> Result<Form> {
    let whole =
        statement.wrap == Wrap::CreateTemp || matches!(statement.kind, Kind::Truncate { .. } | Kind::Lock);
    if whole || (statement.wrap == Wrap::CopyTo && statement.kind == Kind::Query) {
        return Ok(Form::Scanning);
    }
    let plain_insert = matches!(&statement.kind, Kind::Insert(_)) && statement.tables.len() == 1;
    let ours = statement.functions.iter().any(parse::is_ours);
    let ours = ours || statement.tables.iter().any(|t| super::relations::find(t).is_some());
    if plain_insert || ours || matches!(statement.kind, Kind::Copy { .. }) {
        return Ok(Form::Selective);
    }
    let tokens = inner(sql, parsed, statement);
    if tables.iter().any(|t| t.location.is_draft()) || types::any(ctx, statement) {
        // The server doesn't know it by this name.
        return Ok(guess(sql, tokens));
    }
    let key = shape(ctx, sql, tokens, tables);
    if let Some(known) = CHOICES.get(&key)
        && known.1.elapsed() < HOLDS
    {
        return Ok(known.0);
    }
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return Ok(Form::Selective) };
    let text = sql.get(first.start..last.end).unwrap_or_default();
    let params = parameters(sql, tokens);
    // In a batch, a failure would undo what the client did; without parameters it is the client's own.
    if catalog.in_batch() && params > 0 || tells(ctx, statement) {
        return Ok(guess(sql, tokens));
    }
    let form = match explain(catalog, text, params).await? {
        Some(plan) => judge(&plan, tables, tables.iter().any(|t| ctx.names.is_partitioned(t))),
        None => return Ok(Form::Selective),
    };
    if CHOICES.len() > MOST_SHAPES {
        CHOICES.clear();
    }
    CHOICES.insert(key, (form, Instant::now()));
    Ok(form)
}

/// Whether planning the plain statement may show somebody who may not read main what the server's statistics have of it.
fn tells(ctx: &Context<'_>, statement: &Statement) -> bool {
    let own = |f: &parse::FunctionRef| {
        ctx.names.function(f.schema.as_deref(), &f.name).is_none_or(|function| function.calls.own)
    };
    !ctx.repository.sees_all()
        && (statement.operators.iter().any(|operator| ctx.names.is_own_operator(operator))
            || statement.functions.iter().any(own))
}

/// The tokens of the query inside of EXPLAIN, DECLARE or PREPARE.
fn inner<'p>(sql: &str, parsed: &'p Parsed, statement: &Statement) -> &'p [Token] {
    let tokens = &parsed.tokens;
    let all =
        tokens.list.get(tokens.at(statement.range.start)..tokens.at(statement.range.end)).unwrap_or_default();
    if statement.wrap == Wrap::None {
        return all;
    }
    if statement.wrap == Wrap::CopyTo {
        let open = all.iter().position(|t| t.is_symbol(b'('));
        let close = open.and_then(|open| {
            let rest = all.get(open + 1..)?;
            rest.iter().position(|t| t.is_symbol(b')') && t.depth == 0).map(|at| open + 1 + at)
        });
        return open.zip(close).and_then(|(open, close)| all.get(open + 1..close)).unwrap_or_default();
    }
    const STARTS: &[&str] = &["select", "insert", "update", "delete", "merge", "values", "table", "with"];
    let starts = |i: usize, t: &Token| {
        let hold = all.get(i + 1).is_some_and(|n| n.is_word(sql, "hold"));
        t.depth == 0 && !hold && STARTS.iter().any(|w| t.is_word(sql, w))
    };
    let start = all.iter().enumerate().position(|(i, t)| starts(i, t)).unwrap_or(0);
    all.get(start..).unwrap_or_default()
}

/// The statement without its constants.
fn shape(ctx: &Context<'_>, sql: &str, tokens: &[Token], tables: &[Arc<TableDef>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (ctx.repository.name(), ctx.backend).hash(&mut hasher);
    for table in tables {
        table.id.hash(&mut hasher);
    }
    for token in tokens {
        match token.kind {
            TokenKind::Str | TokenKind::Number | TokenKind::Param => "?".hash(&mut hasher),
            _ => token.text(sql).hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Without the server's estimate: a statement without any condition reads everything.
fn guess(sql: &str, tokens: &[Token]) -> Form {
    let narrows = |t: &Token| ["where", "limit", "fetch", "on"].iter().any(|w| t.is_word(sql, w));
    if tokens.iter().any(narrows) { Form::Selective } else { Form::Scanning }
}

fn parameters(sql: &str, tokens: &[Token]) -> usize {
    let params = tokens.iter().filter(|t| t.kind == TokenKind::Param);
    params.filter_map(|t| t.text(sql).get(1..)?.parse().ok()).max().unwrap_or(0)
}

/// The plan of the client's statement as PostgreSQL's JSON; `None` if the server can't plan it (then
/// it will say so when the statement runs). Leaves an open transaction as it was.
async fn explain(
    catalog: &mut dyn Catalog,
    text: &str,
    parameters: usize,
) -> Result<Option<serde_json::Value>> {
    let name = format!("epoch_form_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let explain = match parameters {
        0 => format!("EXPLAIN (FORMAT JSON) {text}"),
        n => format!(
            "SET LOCAL plan_cache_mode = force_generic_plan; PREPARE {name} AS {text}\n; \
             EXPLAIN (FORMAT JSON) EXECUTE {name}({}); DEALLOCATE {name}",
            vec!["NULL"; n].join(", ")
        ),
    };
    // An error ends the batch, so it is asked before.
    let batch = catalog.in_batch();
    let block = catalog.in_transaction() && !batch;
    const BACK: &str = "ROLLBACK TO SAVEPOINT epoch_form; RELEASE SAVEPOINT epoch_form";
    let rows = if block {
        // On its own: a text that can't be parsed would take it along.
        catalog.query("SAVEPOINT epoch_form").await?;
        let rows = catalog.query(&format!("{explain}\n; {BACK}")).await;
        if rows.is_err() {
            catalog.query(BACK).await?;
        }
        rows
    } else {
        catalog.query(&explain).await
    };
    let rows = match rows {
        Ok(rows) => rows,
        // The client's batch has failed with it, so this is its statement's error.
        Err(error) if batch => return Err(moved(error, "EXPLAIN (FORMAT JSON) ")),
        Err(_) => return Ok(None),
    };
    let json = rows.first().and_then(|r| r.first()).and_then(Option::as_deref);
    Ok(json.and_then(|j| serde_json::from_str(j).ok()))
}

/// An error of a text that has something before it that the client doesn't know.
fn moved(error: Error, before: &str) -> Error {
    match error.position().and_then(|p| p.checked_sub(before.len())) {
        Some(position) if position > 0 => error.with_position(position),
        _ => error,
    }
}

/// With a partitioned table among them, a scan of any table counts: partitions have names of their own.
fn judge(plan: &serde_json::Value, tables: &[Arc<TableDef>], partitioned: bool) -> Form {
    let Some(root) = plan.get(0).and_then(|p| p.get("Plan")) else { return Form::Selective };
    let cost =
        |node: &serde_json::Value| node.get("Total Cost").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    if cost(root) > MOST_COST {
        return Form::Scanning;
    }
    let mut open = vec![root];
    let mut form = Form::Selective;
    while let Some(node) = open.pop() {
        if node.get("Plan Rows").and_then(serde_json::Value::as_f64).is_some_and(|rows| rows > MOST_FEW) {
            form = Form::Ranging;
        }
        let text = |key: &str| node.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let ours = partitioned || tables.iter().any(|t| t.location.table == text("Relation Name"));
        if text("Node Type").contains("Seq Scan") && ours && cost(node) > MOST_SCAN {
            return Form::Scanning;
        }
        open.extend(node.get("Plans").and_then(serde_json::Value::as_array).into_iter().flatten());
    }
    form
}
