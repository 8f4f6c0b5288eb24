//! SELECT … FOR UPDATE and its kin on a branch, at any level of a statement: the rows that a query may lock
//! are copied up, then it reads them from the overlay alone, where the server locks them for real.

use std::ops::Range;
use std::sync::Arc;

use epoch_adapter::{Layer, TableDef};
use epoch_adapter_postgres::layout::{LINEAGE, overlay, quote};
use epoch_adapter_postgres::relation::{self, Claim};

use super::check;
use super::names::Meaning;
use super::parse::{Locking, Select, TableRef, Wait, is_within};
use super::plan::Context;
use super::rewrite::Rewriter;
use super::stable::{is_stable, with_for};
use crate::{Error, Result};

/// A table whose rows are locked.
pub(super) struct Locked {
    /// Its index among the statement's tables.
    pub index: usize,
    pub table: Arc<TableDef>,
    layer: Layer,
    /// What the branch shows of it.
    pub shown: String,
    /// What the branch holds of it itself.
    pub own: String,
}

/// Whether a statement locks rows of one of its tables.
pub(super) fn is_locked(locking: &[Locking], index: usize) -> bool {
    locking.iter().any(|l| l.tables.contains(&index))
}

/// Rewrites the tables whose rows are locked. As on main, joins are evaluated first and rows locked
/// then; a row that another session writes in between is seen as it was.
pub(super) async fn rows(
    ctx: &Context<'_>,
    rewriter: &mut Rewriter<'_>,
    locked: Vec<(usize, Arc<TableDef>)>,
) -> Result<()> {
    if locked.is_empty() {
        return Ok(());
    }
    if !ctx.checkout.is_branch() {
        return Err(check::read_only("SELECT FOR UPDATE"));
    }
    for (index, table) in locked {
        let layer = ctx.repository.writable(ctx.checkout, &table).await?;
        let columns: Vec<String> = table.schema.columns.iter().map(|c| quote(&c.name)).collect();
        let own = format!(
            "(SELECT {} FROM {} WHERE {LINEAGE} = {})",
            columns.join(", "),
            overlay(&table),
            layer.lineage.0
        );
        let Some(reference) = rewriter.statement.tables.get(index) else { continue };
        let shown = rewriter.shown(ctx, reference, &table)?;
        rewriter.locked.push(Locked { index, table, layer, shown, own });
    }
    // The server refuses those that group rows or the like.
    for locking in rewriter.statement.locking.iter().filter(|l| !l.impossible) {
        for at in 0..rewriter.locked.len() {
            let text = match rewriter.locked.get(at).filter(|l| locking.tables.contains(&l.index)) {
                Some(locked) => Query { ctx, rewriter, locking }.copy_up(locked),
                None => None,
            };
            rewriter.prelude.extend(text);
        }
    }
    rewriter.writes = true;
    Ok(())
}

/// A sub-select that locks its first rows is evaluated once, whatever the plan: the inner side of a nested loop
/// would lock others each time, and more than its LIMIT. What the planner expects of a branch makes such plans likely.
pub(super) fn once(rewriter: &mut Rewriter<'_>) {
    let statement = rewriter.statement;
    let tokens = &rewriter.parsed.tokens;
    for select in statement.locking.iter().filter_map(|l| l.select.as_ref()).filter(|s| s.most.is_some()) {
        let at = tokens.at(select.range.start);
        let before = |n: usize| at.checked_sub(n).and_then(|i| tokens.get(i));
        let inside = before(1).is_some_and(|t| t.is_symbol(b'('));
        let is = |word: &str| before(2).is_some_and(|t| t.is_word(rewriter.sql, word));
        // A query of WITH is evaluated once as it is.
        if inside && !is("as") && !is("materialized") {
            rewriter.edits.insert(select.range.start, "WITH epoch_once AS MATERIALIZED (");
            rewriter.edits.insert(select.range.end, ") SELECT * FROM epoch_once");
        }
    }
}

/// One query that locks rows.
struct Query<'q, 'c> {
    ctx: &'q Context<'c>,
    rewriter: &'q Rewriter<'q>,
    locking: &'q Locking,
}

impl Query<'_, '_> {
    /// The copy-up for one of its tables: that table as what the branch still shows of main, all others
    /// as the branch shows them.
    fn copy_up(&self, locked: &Locked) -> Option<String> {
        let reference = self.rewriter.statement.tables.get(locked.index)?;
        let (table, layer) = (&locked.table, locked.layer);
        let below = self.rewriter.below(self.ctx, reference, (table, layer));
        let alias = quote(reference.called());
        let columns: Vec<String> =
            table.schema.columns.iter().map(|c| format!("{alias}.{}", quote(&c.name))).collect();
        let columns = columns.join(", ");
        let narrowed = self.locking.select.as_ref().and_then(|s| self.narrowed(s, locked, &below));
        let (with, rest, most) =
            narrowed.unwrap_or_else(|| (String::new(), format!("{below} AS {alias}"), None));
        let source = format!("{with}SELECT {columns} FROM {rest}");
        let claim = match (self.locking.wait, &most) {
            (Wait::Block, None) => return Some(relation::copy_up(table, layer, &source)),
            (Wait::Block, _) => Claim::Wait,
            (Wait::Skip, _) => Claim::Skip,
            (Wait::Error, _) => Claim::Fail,
        };
        Some(relation::claim(table, layer, &source, claim, most.as_deref()))
    }

    /// WITH, what follows FROM, and how many rows are enough. Only what gives the same when it is
    /// evaluated before, and needs no row of a query around it, narrows them down.
    fn narrowed(
        &self,
        select: &Select,
        locked: &Locked,
        below: &str,
    ) -> Option<(String, String, Option<String>)> {
        let parts: Vec<&Range<usize>> = [&select.from].into_iter().chain(&select.condition).collect();
        let with = with_for(self.ctx, self.rewriter, &parts).filter(|_| self.is_fixed(&select.from))?;
        let text = |range: &Range<usize>| self.rewriter.evaluated_with(range, locked.index, below);
        let whole = select.condition.as_ref().is_none_or(|c| self.is_fixed(c));
        let mut kept: Vec<String> = match &select.condition {
            Some(condition) if whole => vec![format!("({}\n)", text(condition))],
            _ => {
                let fixed = select.conjuncts.iter().filter(|c| self.is_fixed(c));
                fixed.map(|c| format!("({}\n)", text(c))).collect()
            }
        };
        let reference = self.rewriter.statement.tables.get(locked.index)?;
        let alias = quote(reference.called());
        let keys = locked.table.schema.key_columns();
        kept.extend(keys.map(|c| format!("{alias}.{} IS NOT NULL", quote(&c.name))));
        let rest = format!("{} WHERE {}", text(&select.from), kept.join(" AND "));
        let most = if whole { self.most(select) } else { None };
        let order = match (&most, &select.order) {
            (Some(_), Some(order)) => format!(" ORDER BY {}\n", text(order)),
            _ => String::new(),
        };
        Some((with, rest + &order, most))
    }

    /// How many rows the query may lock at most, if those of main can be taken in its order. It locks the
    /// rows that OFFSET leaves out too.
    fn most(&self, select: &Select) -> Option<String> {
        let ordered = !select.ordered || select.order.as_ref().is_some_and(|o| self.is_fixed(o));
        let (limit, offset) = select.most.as_ref().filter(|_| self.locking.single && ordered)?;
        let number = |range: &Range<usize>| {
            let text = self.rewriter.evaluated(range);
            self.is_fixed(range).then(|| format!("({text}\n)::pg_catalog.int8"))
        };
        match offset {
            Some(offset) => Some(format!("{} + {}", number(limit)?, number(offset)?)),
            None => number(limit),
        }
    }

    fn is_fixed(&self, range: &Range<usize>) -> bool {
        let statement = self.rewriter.statement;
        let has = |table: &TableRef, column: &str| match self.ctx.names.table(table) {
            Meaning::Registered(def) => def.schema.index_of(column).is_some(),
            _ => false,
        };
        let within = |c: &&super::parse::ColumnUse| {
            is_within(&statement.scopes, &statement.tables, c, self.locking.scope, has)
        };
        let mut columns = statement.columns.iter().filter(|c| range.contains(&c.start));
        columns.all(|c| within(&c)) && is_stable(self.ctx, self.rewriter, range)
    }
}

/// Rows that are to come from a query that locks them can't be looked for before: for where that is needed.
pub(super) fn refuse_unseen(rewriter: &Rewriter<'_>, range: &Range<usize>, what: &str) -> Result<()> {
    let mut inside = rewriter.statement.locking.iter().filter(|l| !l.relaxed);
    let unseen = inside.any(|l| l.select.as_ref().is_none_or(|s| range.contains(&s.range.start)));
    if unseen {
        return Err(Error::unsupported(format!("{what} for rows of a query that locks them, on a branch")));
    }
    Ok(())
}
