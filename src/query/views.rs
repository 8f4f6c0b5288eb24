//! Views over registered tables: on a branch or commit, a view's query stands in the place of its name,
//! so that it shows what the session is on.

use std::borrow::Cow;
use std::sync::Arc;

use epoch_adapter::{TableDef, TableName};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::form::Form;
use super::names::{Catalog, Meaning, Place, registered};
use super::parse::{self, Role, Statement, TableRef};
use super::plan::Context;
use super::rewrite::Rewriter;
use super::{barrier, check, grouped, inlining, lock, relations, types};
use crate::{Error, Result};

/// How deep views may stand in views. A branch's may read themselves, like PostgreSQL's after OR REPLACE.
pub(super) const DEEPEST: usize = 64;

/// The query of a view that reads registered tables.
pub(super) fn definition(ctx: &Context<'_>, table: &TableRef) -> Option<String> {
    if table.role != Role::Read || relations::find(table).is_some() {
        return None;
    }
    match ctx.names.table(table) {
        Meaning::Other { kind: 'v', place, reads, definition: Some(definition), .. } => {
            let ours = registered(ctx);
            let own = ours.view(&place).is_some();
            (own || reads.iter().any(|name| ours.concerns(name))).then_some(definition)
        }
        _ => None,
    }
}

/// The registered tables that the views of a statement read.
pub(super) fn tables(ctx: &Context<'_>, statement: &Statement) -> Vec<Arc<TableDef>> {
    let ours = registered(ctx);
    let views = statement.tables.iter().filter(|table| definition(ctx, table).is_some());
    let reads = views.flat_map(|table| match ctx.names.table(table) {
        Meaning::Other { reads, .. } => reads,
        _ => Vec::new(),
    });
    reads.filter_map(|name| ours.get(&name).cloned()).collect()
}

/// Whether a statement reads such a view.
pub(super) fn any(ctx: &Context<'_>, statement: &Statement) -> bool {
    statement.tables.iter().any(|table| definition(ctx, table).is_some())
}

/// Puts their queries in the place of the names of views.
pub(super) async fn splice(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
) -> Result<()> {
    splice_within(ctx, catalog, rewriter, (&[], &[])).await
}

/// `outer`: names of CTEs around the statement. `path`: the views whose queries it is in.
async fn splice_within(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
    (outer, path): (&[String], &[Place]),
) -> Result<()> {
    let statement = rewriter.statement;
    let outer: Vec<String> = outer.iter().chain(&statement.with.names).cloned().collect();
    for (index, table) in statement.tables.iter().enumerate() {
        let Some(definition) = definition(ctx, table) else { continue };
        if lock::is_locked(&statement.locking, index) {
            return Err(Error::unsupported("FOR UPDATE or FOR SHARE of a view on a branch"));
        }
        check_path(ctx, table)?;
        let path = within(ctx, table, path)?;
        let query = inline(ctx, catalog, &definition, (&outer, &path), rewriter.form).await?;
        rewriter.put(table, &format!("({query}\n)"));
    }
    Ok(())
}

/// A view of a branch was printed where PostgreSQL's own names have no schema, as they are found first nearly always.
fn check_path(ctx: &Context<'_>, view: &TableRef) -> Result<()> {
    let Meaning::Other { place, .. } = ctx.names.table(view) else { return Ok(()) };
    if !ctx.names.is_overlaid() || registered(ctx).view(&place).is_none() {
        return Ok(());
    }
    let message = "reading a view of a branch where pg_catalog is not first in search_path";
    Err(Error::unsupported(message)
        .with_detail(format!("View \"{}\" is the branch's own.", place.1))
        .with_hint(
            "Leave pg_catalog out of search_path, which makes it the first, or name it before all others.",
        ))
}

/// The path to what a view reads.
fn within(ctx: &Context<'_>, view: &TableRef, path: &[Place]) -> Result<Vec<Place>> {
    let Meaning::Other { place, .. } = ctx.names.table(view) else { return Ok(path.to_vec()) };
    if path.contains(&place) {
        let message = format!("infinite recursion detected in rules for relation \"{}\"", place.1);
        return Err(Error::new("42P17", message));
    }
    if path.len() == DEEPEST {
        return Err(Error::new("54001", "stack depth limit exceeded")
            .with_detail(format!("Views stand in views deeper than {DEEPEST} on a branch.")));
    }
    Ok(path.iter().cloned().chain([place]).collect())
}

/// A view's query as the session's ref shows it.
fn inline<'a>(
    ctx: &'a mut Context<'_>,
    catalog: &'a mut dyn Catalog,
    definition: &'a str,
    (outer, path): (&'a [String], &'a [Place]),
    form: Form,
) -> BoxFuture<'a, Result<String>> {
    async move {
        let mut parsed = parse::parse(definition)?;
        let mut text = Cow::Borrowed(definition);
        let tables = ctx.repository.tables(ctx.checkout);
        let names = [parsed.alone()?];
        ctx.names.learn(&names, &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
        if let Some(expanded) = inlining::expand(ctx, catalog, definition, &parsed).await? {
            (text, parsed) = (Cow::Owned(expanded.text), expanded.parsed);
        }
        let (text, statement) = (text.as_ref(), parsed.alone()?);
        check::statement(ctx, statement)?;
        if !statement.locking.is_empty() {
            return Err(Error::unsupported("a view with FOR UPDATE or FOR SHARE on a branch"));
        }
        captured(ctx, statement, outer)?;
        let mut rewriter = Rewriter::new(text, &parsed, statement, form);
        rewriter.edits.append(types::edits(ctx, text, statement)?);
        barrier::raise(ctx, &mut rewriter, true);
        splice_within(ctx, catalog, &mut rewriter, (outer, path)).await?;
        rewriter.reads(ctx)?;
        rewriter.columns(ctx)?;
        rows_of_versions(ctx, &mut rewriter);
        grouped::columns(ctx, &mut rewriter)?;
        Ok(rewriter.edits.render(text, &statement.range).0)
    }
    .boxed()
}

/// `t.*::public.t`, as PostgreSQL writes the row of a table as a whole, has the row type of main's table: on a branch
/// with another version it is the row of that one.
fn rows_of_versions(ctx: &Context<'_>, rewriter: &mut Rewriter<'_>) {
    let (sql, parsed) = (rewriter.sql, rewriter.parsed);
    let tokens = parsed.tokens.list.as_slice();
    for (at, window) in tokens.windows(4).enumerate() {
        let [dot, star, cast, first] = window else { continue };
        let is_row =
            dot.is_symbol(b'.') && star.text(sql) == "*" && cast.text(sql) == "::" && first.is_name();
        if !is_row {
            continue;
        }
        let end = match (tokens.get(at + 4), tokens.get(at + 5)) {
            (Some(dot), Some(name)) if dot.is_symbol(b'.') && name.is_name() => name.end,
            _ => first.end,
        };
        let named = sql.get(first.start..end).unwrap_or_default();
        if is_version(ctx, rewriter.statement, named, end > first.end) {
            rewriter.edits.replace(dot.start..end, "");
        }
    }
}

/// Whether the name of a row type is that of a table of which the session's ref has another version than main.
fn is_version(ctx: &Context<'_>, statement: &Statement, named: &str, qualified: bool) -> bool {
    let Some(name) = TableName::from_sql(named) else { return false };
    let same = |t: &&TableRef| t.name == name.name && (!qualified || t.schema.as_ref() == Some(&name.schema));
    statement
        .tables
        .iter()
        .filter(same)
        .any(|table| matches!(ctx.names.table(table), Meaning::Registered(def) if def.location.is_draft()))
}

/// A name in a view's query means a table; in the place of the view's name it could mean a CTE.
fn captured(ctx: &Context<'_>, statement: &Statement, outer: &[String]) -> Result<()> {
    let spliced =
        |t: &TableRef| matches!(ctx.names.table(t), Meaning::Registered(_)) || definition(ctx, t).is_some();
    let caught = |t: &&TableRef| t.schema.is_none() && outer.contains(&t.name) && !spliced(t);
    match statement.tables.iter().find(caught) {
        None => Ok(()),
        Some(table) => Err(Error::unsupported(format!(
            "a WITH query with the name of table \"{}\", which a view reads, on a branch",
            table.name
        ))
        .with_hint("Give it another name.")),
    }
}
