//! SELECT … FOR UPDATE and its kin on a branch: the rows that the query may lock are copied up, then
//! they are read from the overlay alone, where the server locks them for real.

use std::ops::Range;
use std::sync::Arc;

use epoch_adapter::{Layer, TableDef};
use epoch_adapter_postgres::layout::{LINEAGE, overlay, quote};
use epoch_adapter_postgres::relation;

use super::check;
use super::form::Form;
use super::parse::{Select, TableRef};
use super::plan::Context;
use super::rewrite::Rewriter;
use super::stable::{is_stable, with_for};
use crate::{Error, Result};

/// Rewrites the tables whose rows are locked. As on main, joins are evaluated first and rows locked
/// then; a row that another session writes in between is seen as it was.
pub(super) async fn rows(
    ctx: &Context<'_>,
    rewriter: &mut Rewriter<'_>,
    locked: &[(TableRef, Arc<TableDef>)],
) -> Result<()> {
    if locked.is_empty() {
        return Ok(());
    }
    if !ctx.checkout.is_branch() {
        return Err(check::read_only("SELECT FOR UPDATE"));
    }
    let Some(select) = rewriter.statement.select.clone() else {
        return Err(Error::unsupported("FOR UPDATE or FOR SHARE in this kind of query on a branch"));
    };
    let mut layers = Vec::new();
    for (_, table) in locked {
        layers.push(ctx.repository.writable(ctx.checkout, table).await?);
    }
    for (index, layer) in layers.iter().enumerate() {
        let text = copy_up(ctx, rewriter, locked, index, *layer, &select)?;
        rewriter.prelude.extend(text);
    }
    for ((reference, table), layer) in locked.iter().zip(layers) {
        let columns: Vec<String> = table.schema.columns.iter().map(|c| quote(&c.name)).collect();
        let own = format!(
            "(SELECT {} FROM {} WHERE {LINEAGE} = {})",
            columns.join(", "),
            overlay(table),
            layer.lineage.0
        );
        rewriter.put(reference, &own);
    }
    rewriter.writes = true;
    Ok(())
}

/// The copy-up for one of the locked tables: that table as what the branch still shows of main, all
/// others as the branch shows them.
fn copy_up(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    locked: &[(TableRef, Arc<TableDef>)],
    index: usize,
    layer: Layer,
    select: &Select,
) -> Result<Option<String>> {
    let Some((reference, table)) = locked.get(index) else { return Ok(None) };
    let below = match rewriter.form {
        Form::Selective => relation::base_part(table, layer),
        Form::Scanning => relation::base_part_scanning(table, layer),
    };
    let alias = quote(reference.called());
    let columns: Vec<String> =
        table.schema.columns.iter().map(|c| format!("{alias}.{}", quote(&c.name))).collect();
    let columns = columns.join(", ");
    let parts: Vec<&Range<usize>> = [&select.from].into_iter().chain(&select.condition).collect();
    let with = with_for(ctx, rewriter, &parts).filter(|_| is_stable(ctx, rewriter, &select.from));
    let Some(with) = with else {
        return Ok(Some(relation::copy_up(
            table,
            layer,
            &format!("SELECT {columns} FROM {below} AS {alias}"),
        )));
    };
    let mut edits = rewriter.edits.clone();
    for (at, (other, def)) in locked.iter().enumerate() {
        let shown = if at == index { below.clone() } else { rewriter.shown(ctx, def)? };
        let named = if other.alias.is_some() { String::new() } else { format!(" AS {}", quote(&other.name)) };
        edits.replace(other.range.clone(), format!("{shown}{named}"));
    }
    let text = |range| edits.render(rewriter.sql, range).0;
    let keys: Vec<String> =
        table.schema.key_columns().map(|c| format!("{alias}.{} IS NOT NULL", quote(&c.name))).collect();
    let mut conditions = keys.join(" AND ");
    if let Some(condition) = select.condition.as_ref().filter(|c| is_stable(ctx, rewriter, c)) {
        conditions = format!("({}\n) AND {conditions}", text(condition));
    }
    let rows = format!("{with}SELECT {columns} FROM {} WHERE {conditions}", text(&select.from));
    Ok(Some(relation::copy_up(table, layer, &rows)))
}
