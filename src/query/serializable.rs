//! SERIALIZABLE transactions that read a table which the branch hasn't written yet. What it shows is main's part alone,
//! and main's part never changes: PostgreSQL would see no conflict with another transaction's first write to it, which goes to
//! the overlay. So their reads make the branch's layer, and read the overlay too.

use std::sync::Arc;

use epoch_adapter::TableDef;

use super::names::{Catalog, Meaning};
use super::parse::{Role, Statement};
use super::plan::Context;
use super::views;
use crate::Result;

/// Makes the layers of the tables that a statement reads, if its transaction is SERIALIZABLE.
pub(super) async fn prepare(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
) -> Result<()> {
    if !ctx.checkout.is_branch() || ctx.checkout.is_main() {
        return Ok(());
    }
    let named = statement.tables.iter().filter_map(|t| match ctx.names.table(t) {
        Meaning::Registered(table) if t.role == Role::Read => Some(table),
        _ => None,
    });
    let mut without: Vec<Arc<TableDef>> = Vec::new();
    for table in named.chain(views::tables(ctx, statement)) {
        // Of a nested branch whose parent holds rows of the table, the layer begins as a copy of them, which the
        // transaction's snapshot would be too old for.
        if ctx.repository.view(ctx.checkout, &table)?.layer.is_main() {
            without.push(table);
        }
    }
    if without.is_empty() || !ctx.names.is_serializable(catalog).await? {
        return Ok(());
    }
    for table in without {
        ctx.repository.writable(ctx.checkout, &table).await?;
    }
    Ok(())
}
