//! Functions that read tables by one query: on a branch or commit the query stands in the place of a call, so that it
//! shows what the session is on (decision 60).
//!
//! A text is expanded before it is planned; what comes out is planned like the client's own. So tables that a function
//! reads are looked at as those that the client names: for rights, drift, snapshots, rows to copy up.

mod call;

use super::names::{Catalog, TYPED};
use super::parse::{self, FunctionRef, Kind, Parsed, Role, Statement};
use super::plan::Context;
use super::text::{Edits, Kept};
use crate::{Error, Result, sqlstate};

/// How many times calls in the place of calls are expanded.
const DEEPEST: usize = 16;

/// The longest text that comes out: functions that call others twice grow with each level.
const LONGEST: usize = 1 << 20;

/// A text without calls of such functions.
pub(super) struct Expanded {
    pub text: String,
    /// Its one statement. Calls that are there for their types alone aren't among its functions.
    pub parsed: Parsed,
    /// Where the text that was expanded stands in it.
    pub kept: Kept,
}

/// Whether a statement has calls that would be expanded.
pub(super) fn any(ctx: &Context<'_>, statement: &Statement) -> bool {
    let rows = matches!(
        statement.kind,
        Kind::Query | Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) | Kind::Merge(_)
    );
    !ctx.checkout.is_main() && rows && statement.functions.iter().any(|f| is_meant(ctx, f))
}

/// Whether what has the name may touch tables, and is in a language whose bodies can be read.
fn is_meant(ctx: &Context<'_>, function: &FunctionRef) -> bool {
    let known = ctx.names.function(function.schema.as_deref(), &function.name);
    let language = known.and_then(|found| found.unsafe_because.as_deref());
    !function.range.is_empty() && matches!(language, Some("sql" | "plpgsql")) && !parse::is_ours(function)
}

/// The statement with queries in the place of calls; `None` if there are no such calls. 0A000 with the reason for those
/// of which that can't be done.
pub(super) async fn expand(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    parsed: &Parsed,
) -> Result<Option<Expanded>> {
    let statement = parsed.alone()?;
    if !any(ctx, statement) {
        return Ok(None);
    }
    if sql.contains(TYPED) {
        return Err(Error::unsupported(format!("{TYPED} in a statement that calls functions, on a branch")));
    }
    let edits = once(ctx, catalog, sql, parsed).await?;
    let (mut text, mut kept) = edits.render(sql, &statement.range);
    for _ in 0..DEEPEST {
        let parsed = without_typed(&text)?;
        let inner = parsed.alone()?;
        let tables = ctx.repository.tables(ctx.checkout);
        ctx.names.learn(&[inner], &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
        if !any(ctx, inner) {
            return Ok(Some(Expanded { text, parsed, kept }));
        }
        let (next, then) = once(ctx, catalog, &text, &parsed).await?.render(&text, &(0..text.len()));
        kept = then.after(&kept);
        text = next;
        if text.len() > LONGEST {
            break;
        }
    }
    Err(Error::new(sqlstate::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded").with_detail(format!(
        "Functions that read tables call each other deeper than {DEEPEST} levels, or their queries are longer than {LONGEST} bytes."
    )))
}

/// A text of ours, without the calls that nobody makes.
fn without_typed(text: &str) -> Result<Parsed> {
    let mut parsed = parse::parse(text)?;
    let typed = call::typed(text, &parsed.tokens);
    for statement in &mut parsed.statements {
        statement.functions.retain(|f| !typed.iter().any(|range| range.contains(&f.range.start)));
    }
    Ok(parsed)
}

/// The edits for the calls that stand in no other such call's arguments.
async fn once(ctx: &mut Context<'_>, catalog: &mut dyn Catalog, sql: &str, parsed: &Parsed) -> Result<Edits> {
    let statement = parsed.alone()?;
    let meant: Vec<&FunctionRef> = statement.functions.iter().filter(|f| is_meant(ctx, f)).collect();
    let within = |inner: &FunctionRef, outer: &FunctionRef| {
        outer.range.start < inner.range.start && inner.range.end <= outer.range.end
    };
    let is_inner = |f: &FunctionRef| meant.iter().any(|other| within(f, other));
    let outer: Vec<&FunctionRef> = meant.iter().filter(|f| !is_inner(f)).copied().collect();
    let bodies = ctx.names.bodies(&outer, catalog).await?;
    let queries: Vec<&Statement> = bodies.iter().flatten().map(|body| &body.statement).collect();
    let tables = ctx.repository.tables(ctx.checkout);
    ctx.names.learn(&queries, &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
    let mut edits = Edits::default();
    for (&function, body) in outer.iter().zip(&bodies) {
        let body = body.as_ref().map_err(|why| unexpandable(ctx, function, why))?;
        let call = call::Call { ctx, sql, tokens: &parsed.tokens, statement, function, body };
        call.check().map_err(|why| unexpandable(ctx, function, &why))?;
        edits.append(call.edits());
    }
    Ok(edits)
}

/// Whether a statement writes to a table.
fn writes(statement: &Statement) -> bool {
    statement.tables.iter().any(|t| t.role == Role::Target)
}

fn unexpandable(ctx: &Context<'_>, function: &FunctionRef, why: &str) -> Error {
    let known = ctx.names.function(function.schema.as_deref(), &function.name);
    let language = known.and_then(|found| found.unsafe_because.as_deref()).unwrap_or("sql");
    Error::unsupported(format!("function {}() in language {language} on a branch", function.shown()))
        .with_detail(format!("It may read or write tables past the branch, and its query can't stand in its place: {why}."))
        .with_hint("A function in SQL or PL/pgSQL that reads tables is called if its body is one query, or RETURN of one.")
}
