//! INSERT, UPDATE, DELETE, MERGE, TRUNCATE and COPY on a branch: rows that the statement may touch are copied up
//! first, then the client's own statement runs natively on the overlay.

mod checks;
mod conflict;
pub(super) mod cursor;
mod identity;
mod merge;
pub(super) mod truncate;
pub(super) mod view;
mod whole;
mod width;

use std::ops::Range;
use std::sync::Arc;

use epoch_adapter::{Layer, TableDef};
use epoch_adapter_postgres::layout::{LINEAGE, overlay, quote};
use epoch_adapter_postgres::relation;

use super::check;
use super::errors::is_hidden;
use super::form::Form;
use super::lock;
use super::names::{Catalog, Meaning};
use super::parse::{Insert, Keyed, Kind, Modify, Role, Star, Statement, TableRef};
use super::plan::Context;
use super::rewrite::Rewriter;
use super::stable::{is_stable, with_for};
use crate::{Error, Result, sqlstate};

/// Makes the layers that a statement writes to or locks rows in: what else it reads of these tables
/// is shown by them from then on.
pub(super) async fn prepare(ctx: &Context<'_>, statement: &Statement) -> Result<()> {
    if !ctx.checkout.is_branch() {
        return Ok(());
    }
    for (index, table) in statement.tables.iter().enumerate() {
        let locked = lock::is_locked(&statement.locking, index);
        if (table.role == Role::Target || locked)
            && let Meaning::Registered(def) = ctx.names.table(table)
        {
            ctx.repository.writable(ctx.checkout, &def).await?;
        }
    }
    Ok(())
}

/// Rewrites the targets of a statement that are registered tables: those in its WITH, and its own.
pub(super) async fn targets(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
) -> Result<()> {
    let statement = rewriter.statement;
    for nested in &statement.nested {
        self::target(ctx, catalog, rewriter, &nested.kind, nested.target).await?;
    }
    self::target(ctx, catalog, rewriter, &statement.kind, 0).await
}

async fn target(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
    kind: &Kind,
    index: usize,
) -> Result<()> {
    let Some(target) = rewriter.statement.tables.get(index) else { return Ok(()) };
    let Meaning::Registered(table) = ctx.names.table(target) else { return Ok(()) };
    match kind {
        Kind::Copy { from: false, columns, .. } => return copy_to(ctx, rewriter, target, &table, columns),
        Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) | Kind::Merge(_) | Kind::Copy { .. }
            if target.role == Role::Target => {}
        _ => return Ok(()),
    }
    if !ctx.checkout.is_branch() {
        return Err(check::read_only("this statement"));
    }
    let layer = ctx.repository.writable(ctx.checkout, &table).await?;
    if layer.is_main() {
        return Err(Error::internal("a branch has main's layer"));
    }
    rewriter.writes = true;
    let mut write = Write { target, index, table, layer, width: None, overridden: Vec::new() };
    match kind {
        Kind::Insert(insert) => {
            write.width = width::of_source(ctx, catalog, rewriter.statement, &insert.source).await?;
            write.overridden = write.identity_values(ctx, rewriter.sql, insert)?;
            write.insert(ctx, rewriter, insert)?;
            conflict::copy_up(ctx, catalog, rewriter, &write, insert).await?;
            write.check_inserted(rewriter, insert)
        }
        Kind::Update(modify) | Kind::Delete(modify) => match &modify.cursor {
            Some(cursor) => write.at_cursor(ctx, catalog, rewriter, modify, cursor).await,
            None => write.modify(ctx, rewriter, modify),
        },
        Kind::Merge(merge) => {
            let mut widths = Vec::new();
            for when in &merge.whens {
                let given = when.list_at.as_ref().and_then(|(_, width)| width.as_ref());
                widths.push(width::of(ctx, catalog, rewriter.statement, given).await?);
            }
            write.merge(ctx, rewriter, merge, &widths)
        }
        Kind::Copy { columns, listed, .. } => write.copy_from(ctx, rewriter, columns, *listed),
        _ => Ok(()),
    }
}

/// COPY t TO is a COPY of the query that shows it.
fn copy_to(
    ctx: &Context<'_>,
    rewriter: &mut Rewriter<'_>,
    target: &TableRef,
    table: &TableDef,
    columns: &[String],
) -> Result<()> {
    if ctx.names.is_partitioned(table) {
        let message = format!("cannot copy from partitioned table \"{}\"", target.name);
        return Err(Error::new("42809", message).with_hint("Try the COPY (SELECT ...) TO variant."));
    }
    let computed = |name: &&String| table.schema.columns.iter().any(|c| c.generated && c.name == **name);
    if let Some(name) = columns.iter().find(computed) {
        let message = format!("column \"{name}\" is a generated column");
        return Err(Error::new("42P10", message).with_detail("Generated columns cannot be used in COPY."));
    }
    let view = ctx.repository.view(ctx.checkout, table)?;
    let shown = relation::scanning(table, &view);
    let all: Vec<String> = match columns {
        [] => table.schema.columns.iter().filter(|c| !c.generated).map(|c| quote(&c.name)).collect(),
        listed => listed.iter().map(|c| quote(c)).collect(),
    };
    let end = if columns.is_empty() { target.range.end } else { list_end(rewriter, target.range.end)? };
    let query = format!("(SELECT {} FROM {shown} AS {})", all.join(", "), quote(&target.name));
    rewriter.edits.replace(target.range.start..end, query);
    rewriter.form = Form::Scanning;
    Ok(())
}

/// The end of the bracketed list that follows `at`.
fn list_end(rewriter: &Rewriter<'_>, at: usize) -> Result<usize> {
    let tokens = &rewriter.parsed.tokens;
    let open = tokens.at(at);
    let depth = tokens.get(open).map_or(0, |t| t.depth);
    let rest = tokens.list.get(open + 1..).unwrap_or_default();
    let close = rest.iter().find(|t| t.is_symbol(b')') && t.depth == depth);
    close.map(|t| t.end).ok_or_else(|| Error::internal("a column list without an end"))
}

pub(super) struct Write<'a> {
    pub target: &'a TableRef,
    /// The index of the target among the statement's tables.
    pub index: usize,
    pub table: Arc<TableDef>,
    pub layer: Layer,
    /// How many values the rows of an INSERT have, if it can be told.
    pub width: Option<usize>,
    /// Columns whose given values OVERRIDING USER VALUE leaves out.
    pub overridden: Vec<String>,
}

impl Write<'_> {
    /// The target's alias, quoted.
    pub fn alias(&self) -> String {
        quote(self.target.called())
    }

    fn splice_target(&self, rewriter: &mut Rewriter<'_>) {
        let named = if self.target.alias.is_some() { String::new() } else { format!(" AS {}", self.alias()) };
        rewriter.edits.replace(self.target.range.clone(), format!("{}{named}", overlay(&self.table)));
    }

    /// A column of ours can't be named, and isn't a part of the row as a whole.
    fn check_columns(&self, ctx: &Context<'_>, rewriter: &mut Rewriter<'_>, named: &[String]) -> Result<()> {
        if let Some(column) = named.iter().find(|c| is_hidden(c)) {
            let message = format!("column \"{column}\" of relation \"{}\" does not exist", self.target.name);
            return Err(Error::new(sqlstate::UNDEFINED_COLUMN, message));
        }
        self.rows_as_a_whole(ctx, rewriter)
    }

    fn columns(&self, prefix: &str) -> String {
        let names: Vec<String> =
            self.table.schema.columns.iter().map(|c| format!("{prefix}{}", quote(&c.name))).collect();
        names.join(", ")
    }

    /// `*` in RETURNING shows the table's own columns, then those of the other FROM items.
    fn stars(&self, rewriter: &mut Rewriter<'_>, stars: &[Star], others: Option<&[String]>) -> Result<()> {
        let own = self.columns(&format!("{}.", self.alias()));
        for star in stars {
            match &star.qualifier {
                None => {
                    let others = others.ok_or_else(|| {
                        Error::unsupported("RETURNING * with a join by USING or NATURAL, or an item without a name, on a branch")
                            .with_hint("Name the columns.")
                    })?;
                    let rest: String = others.iter().map(|o| format!(", {}.*", quote(o))).collect();
                    rewriter.edits.replace(star.range.clone(), format!("{own}{rest}"));
                }
                Some(name) if name == self.target.called() => {
                    rewriter.edits.replace(star.range.clone(), own.clone())
                }
                Some(name) if whole::is_version(rewriter.statement, self.index, name) => {
                    let row = self.columns(&format!("{name}."));
                    rewriter.edits.replace(star.range.clone(), row);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn insert(&self, ctx: &Context<'_>, rewriter: &mut Rewriter<'_>, insert: &Insert) -> Result<()> {
        let sets = insert.conflict.iter().flat_map(|c| c.sets.iter().chain(&c.columns));
        let named: Vec<String> = insert.columns.iter().chain(sets).cloned().collect();
        self.check_columns(ctx, rewriter, &named)?;
        if let Some(conflict) = &insert.conflict {
            self.check_identity(ctx, &conflict.sets, &conflict.defaults)?;
        }
        self.splice_target(rewriter);
        let listed = format!(" ({})", self.listed(insert).join(", "));
        match (insert.list_at, &insert.list) {
            (Some(at), _) => rewriter.edits.insert(at, listed),
            (None, Some(list)) if !self.overridden.is_empty() && rewriter.checks.is_none() => {
                rewriter.edits.replace(list.clone(), listed.trim_start());
            }
            _ => {}
        }
        self.override_values(rewriter, insert)?;
        if let Some(open) = insert.conflict.as_ref().and_then(|c| c.open) {
            rewriter.edits.insert(open, format!("{LINEAGE}, "));
        }
        self.stars(rewriter, &insert.stars, Some(&[]))
    }

    fn modify(&self, ctx: &Context<'_>, rewriter: &mut Rewriter<'_>, modify: &Modify) -> Result<()> {
        self.check_columns(ctx, rewriter, &modify.sets)?;
        self.check_identity(ctx, &modify.sets, &modify.defaults)?;
        if !self.is_locked(ctx, rewriter, modify) {
            let rows = self.rows_to_copy(ctx, rewriter, modify);
            rewriter.prelude.push(relation::copy_up(&self.table, self.layer, &rows));
        }
        self.splice_target(rewriter);
        self.check_updated(rewriter, modify);
        let own = format!("{}.{LINEAGE} = {}", self.alias(), self.layer.lineage.0);
        match &modify.condition {
            Some(condition) => {
                // First: conditions that cost the same are evaluated in this order.
                rewriter.edits.insert(condition.start, format!("{own} AND ("));
                rewriter.edits.insert(condition.end, ")");
            }
            None => rewriter.edits.insert(modify.end, format!(" WHERE {own}")),
        }
        self.stars(rewriter, &modify.stars, modify.starrable.as_deref())
    }

    /// Whether its rows are found by a key that a query returns which locks these rows, so that they have
    /// been copied up already.
    fn is_locked(&self, ctx: &Context<'_>, rewriter: &Rewriter<'_>, modify: &Modify) -> bool {
        let statement = rewriter.statement;
        let named = |(table, column): &(Option<String>, String), key: &str| match table {
            Some(table) => table == self.target.called() && column == key,
            None => modify.from.is_none() && column == key,
        };
        let same = |keyed: &Keyed, index: usize| match statement.tables.get(index) {
            Some(table) => {
                let single = statement.locking.get(keyed.locking).is_some_and(|l| l.single);
                let from = &keyed.returned.0;
                from.as_ref().map_or(single, |name| name == table.called())
                    && ctx.names.table(table) == Meaning::Registered(self.table.clone())
            }
            None => false,
        };
        let found = |locking: usize, index: usize| {
            self.table.schema.key_columns().all(|key| {
                modify.keyed.iter().any(|keyed| {
                    let key = key.name.as_str();
                    keyed.locking == locking
                        && named(&keyed.target, key)
                        && keyed.returned.1 == key
                        && same(keyed, index)
                })
            })
        };
        let mut queries = statement.locking.iter().enumerate();
        queries.any(|(i, locking)| locking.tables.iter().any(|&index| found(i, index)))
    }

    /// The query for the rows that an UPDATE or DELETE may touch. What could come out differently when
    /// the statement itself runs is left out: too many rows are always right.
    fn rows_to_copy(&self, ctx: &Context<'_>, rewriter: &Rewriter<'_>, modify: &Modify) -> String {
        let text = |range: &Range<usize>| rewriter.evaluated(range);
        let stable = |range: &Range<usize>| is_stable(ctx, rewriter, range);
        let alias = self.alias();
        let columns = self.columns(&format!("{alias}."));
        let mut sql = format!(
            "SELECT {columns} FROM {} AS {alias}",
            rewriter.below(ctx, self.target, (&self.table, self.layer))
        );
        let parts: Vec<&Range<usize>> = modify.from.iter().chain(&modify.condition).collect();
        let Some(with) = with_for(ctx, rewriter, &parts) else { return sql };
        if modify.from.as_ref().is_some_and(|range| !stable(range)) {
            return sql;
        }
        sql.insert_str(0, &with);
        if let Some(from) = &modify.from {
            sql.push_str(&format!(", {}", text(from)));
        }
        let kept: Vec<String> = match &modify.condition {
            Some(condition) if stable(condition) => vec![text(condition)],
            _ => modify.conjuncts.iter().filter(|c| stable(c)).map(text).collect(),
        };
        if !kept.is_empty() {
            let kept: Vec<String> = kept.iter().map(|c| format!("({c}\n)")).collect();
            sql.push_str(&format!(" WHERE {}", kept.join(" AND ")));
        }
        sql
    }

    fn copy_from(
        &self,
        ctx: &Context<'_>,
        rewriter: &mut Rewriter<'_>,
        columns: &[String],
        listed: bool,
    ) -> Result<()> {
        self.check_columns(ctx, rewriter, columns)?;
        rewriter.edits.replace(self.target.range.clone(), overlay(&self.table));
        if !listed {
            let stored = self.table.schema.columns.iter().filter(|c| !c.generated);
            let names: Vec<String> = stored.map(|c| quote(&c.name)).collect();
            rewriter.edits.insert(self.target.range.end, format!(" ({})", names.join(", ")));
        }
        Ok(())
    }
}
