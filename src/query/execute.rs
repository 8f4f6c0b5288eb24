//! PREPARE and EXECUTE on a branch. What must run before a prepared statement is kept with its name and runs
//! before each EXECUTE, with the arguments in the place of its parameters. A statement that was prepared for
//! another ref is prepared again.

use std::ops::Range;
use std::sync::Arc;

use epoch_adapter_postgres::layout::{literal, quote};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::lexer::{self, TokenKind};
use super::names::Catalog;
use super::parse::{self, Statement, Wrap};
use super::plan::{Context, Plan, Prelude, Rewritten, plan, state};
use super::text::Edits;
use super::{check, types};
use crate::{Error, Result};

/// What PREPARE made on a branch.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// What it was made for.
    state: String,
    /// The version of what names meant then.
    pub names: u64,
    /// The client's PREPARE.
    text: String,
    /// What the server got.
    sql: String,
    /// What runs before each EXECUTE.
    prelude: Vec<Prelude>,
    /// The server said that this is what it has.
    pub confirmed: bool,
}

/// What the server knows under a name.
struct Known {
    /// Whether PREPARE made it.
    from_sql: bool,
    /// The text that it came with.
    text: String,
    /// The types of its parameters.
    types: Vec<String>,
}

/// Notes a PREPARE on a branch; what would run before it is kept for EXECUTE.
pub(super) fn note(
    ctx: &mut Context<'_>,
    sql: &str,
    statement: &Statement,
    rewritten: Option<&mut Rewritten>,
) {
    let Wrap::Prepare(name) = &statement.wrap else { return };
    if ctx.checkout.is_main() {
        return;
    }
    let text = sql.get(statement.range.clone()).unwrap_or_default().to_owned();
    let (sent, prelude) = match rewritten {
        Some(rewritten) => (rewritten.sql.clone(), std::mem::take(&mut rewritten.prelude)),
        None => (text.clone(), Vec::new()),
    };
    let prepared = Prepared { state: state(ctx), names: 0, text, sql: sent, prelude, confirmed: false };
    ctx.names.prepare(name, prepared);
}

/// Plans EXECUTE.
pub(super) async fn statement(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    statement: &Statement,
    name: &str,
    arguments: &[Range<usize>],
) -> Result<Plan> {
    let relay = types::relayed(ctx, sql, statement)?;
    if statement.wrap == Wrap::CreateTemp {
        // The new table's name means it from now on.
        ctx.names.unsettle();
    }
    match ctx.names.prepared(name) {
        [] if ctx.checkout.is_main() => return Ok(relay),
        [one] if one.confirmed && is_current(ctx, one) && one.prelude.is_empty() => return Ok(relay),
        _ => {}
    }
    // The server says that there is none.
    let Some(mut known) = ask(catalog, name).await? else { return Ok(relay) };
    let sent = ctx.names.prepared(name).iter().rev().find(|p| known.text.contains(&p.sql)).cloned();
    if !known.from_sql && ctx.checkout.is_main() {
        ctx.names.settle_prepared(name, None);
        return Ok(relay);
    }
    if !known.from_sql {
        // A driver's: what it is depends on where it was prepared.
        return Err(Error::unsupported(format!("EXECUTE of the protocol's prepared statement \"{name}\""))
            .with_hint("PREPARE it, or run it by the protocol."));
    }
    let mut prepared = match sent {
        Some(prepared) => prepared,
        None => on_main(name, &known.text)?,
    };
    if !is_current(ctx, &prepared) {
        prepared = again(ctx, catalog, name, prepared).await?;
        known = ask(catalog, name).await?.ok_or_else(|| Error::internal("a statement was not prepared"))?;
    }
    let before = match statement.wrap {
        Wrap::Explain { analyze: false } => Vec::new(),
        _ => prelude(ctx, sql, statement, &prepared, &known, arguments)?,
    };
    prepared.confirmed = true;
    let is_main = ctx.checkout.is_main();
    ctx.names.settle_prepared(name, (!is_main).then_some(prepared));
    if before.is_empty() {
        return Ok(relay);
    }
    let (text, kept) = types::edits(ctx, sql, statement)?.render(sql, &statement.range);
    Ok(Plan::Rewritten(Arc::new(Rewritten {
        range: statement.range.clone(),
        prelude: before,
        sql: text,
        command: check::command(statement),
        writes: true,
        kept,
        ..Rewritten::default()
    })))
}

async fn ask(catalog: &mut dyn Catalog, name: &str) -> Result<Option<Known>> {
    let rows = catalog
        .query(&format!(
            "SELECT p.statement, (SELECT pg_catalog.json_agg(pg_catalog.format_type(u.t, NULL) ORDER BY u.n) \
             FROM pg_catalog.unnest(p.parameter_types::pg_catalog.oid[]) WITH ORDINALITY u(t, n))::pg_catalog.text, p.from_sql \
             FROM pg_catalog.pg_prepared_statements p WHERE p.name = {}",
            literal(name)
        ))
        .await?;
    let cell = |i: usize| rows.first().and_then(|row| row.get(i)).and_then(Option::as_deref);
    let Some(text) = cell(0) else { return Ok(None) };
    let types = cell(1).and_then(|types| serde_json::from_str(types).ok()).unwrap_or_default();
    Ok(Some(Known { from_sql: cell(2) == Some("t"), text: text.to_owned(), types }))
}

/// A statement that was prepared on main: the server has the client's text, maybe with others around it.
fn on_main(name: &str, text: &str) -> Result<Prepared> {
    let parsed = parse::parse(text)?;
    let named = |s: &&Statement| matches!(&s.wrap, Wrap::Prepare(n) if n == name);
    let found = parsed.statements.iter().rev().find(named).and_then(|s| text.get(s.range.clone()));
    let text = found.ok_or_else(|| {
        Error::unsupported(format!("prepared statement \"{name}\", whose text is not known, on a branch"))
            .with_hint("DEALLOCATE it and PREPARE it again.")
    })?;
    Ok(Prepared {
        state: String::new(),
        names: 0,
        text: text.to_owned(),
        sql: text.to_owned(),
        prelude: Vec::new(),
        confirmed: false,
    })
}

/// Whether names mean what they meant when a statement was prepared, on the same ref.
fn is_current(ctx: &Context<'_>, prepared: &Prepared) -> bool {
    prepared.state == state(ctx) && prepared.names == ctx.names.version() && !ctx.names.is_fragile()
}

/// Prepares a statement again, for what the session is on and names mean now, if that makes a difference.
async fn again(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    name: &str,
    before: Prepared,
) -> Result<Prepared> {
    let Prepared { text, sql: had, state: made_for, .. } = before;
    let plans = planned(ctx, catalog, &text).await?;
    let (sql, prelude) = match plans.as_slice() {
        [Plan::Rewritten(rewritten)] => (
            rewritten.sql.clone(),
            ctx.names.prepared(name).last().map_or_else(Vec::new, |prepared| prepared.prelude.clone()),
        ),
        [Plan::Relay { .. }] => (text.clone(), Vec::new()),
        _ => return Err(Error::unsupported("this prepared statement on what the session is on now")),
    };
    // On main the server looks names up itself, so only there what it has may be something else by the same text.
    if sql != had || made_for.is_empty() {
        catalog.query(&format!("DEALLOCATE {}", quote(name))).await?;
        catalog.query(&sql).await?;
    }
    let names = ctx.names.version();
    Ok(Prepared { state: state(ctx), names, text, sql, prelude, confirmed: false })
}

/// Boxed, because planning an EXECUTE may come to this.
fn planned<'a>(
    ctx: &'a mut Context<'_>,
    catalog: &'a mut dyn Catalog,
    text: &'a str,
) -> BoxFuture<'a, Result<Vec<Plan>>> {
    plan(ctx, catalog, text).boxed()
}

/// What runs before an EXECUTE.
fn prelude(
    ctx: &Context<'_>,
    sql: &str,
    statement: &Statement,
    prepared: &Prepared,
    known: &Known,
    arguments: &[Range<usize>],
) -> Result<Vec<Prelude>> {
    // If they don't fit, the server says so.
    if prepared.prelude.is_empty() || arguments.len() != known.types.len() {
        return Ok(Vec::new());
    }
    let volatile = |f: &parse::FunctionRef| {
        ctx.names.function(f.schema.as_deref(), &f.name).is_some_and(|found| found.volatile)
    };
    if let Some(function) = statement.functions.iter().find(|f| volatile(f)) {
        return Err(Error::unsupported(format!(
            "{}() as an argument of EXECUTE of a statement that writes, on a branch",
            function.name
        ))
        .with_detail("It would be called twice."));
    }
    let edits = types::edits(ctx, sql, statement)?;
    let value = |i: usize| {
        let text = arguments.get(i).map(|range| edits.render(sql, range).0)?;
        Some(format!("CAST(({text}\n) AS {})", known.types.get(i)?))
    };
    prepared.prelude.iter().map(|prelude| filled(prelude, &value)).collect()
}

/// A prelude with values in the place of its parameters.
fn filled(prelude: &Prelude, value: &dyn Fn(usize) -> Option<String>) -> Result<Prelude> {
    let tokens = lexer::tokens(&prelude.sql)?;
    let mut edits = Edits::default();
    for token in tokens.list.iter().filter(|t| t.kind == TokenKind::Param) {
        let number = token.text(&prelude.sql).get(1..).and_then(|n| n.parse::<usize>().ok());
        let param = number.and_then(|n| n.checked_sub(1)).and_then(|n| prelude.params.get(n));
        let text = param.and_then(|&param| value(param));
        let text = text.ok_or_else(|| Error::internal("a parameter of a prepared statement is missing"))?;
        edits.replace(token.start..token.end, text);
    }
    Ok(Prelude {
        sql: edits.render(&prelude.sql, &(0..prelude.sql.len())).0,
        params: Vec::new(),
        strings: true,
    })
}
