//! Snapshots that are older than what a statement reads.
//!
//! The first write of a nested branch to a table copies the parent's layer, in a transaction of its own. A
//! REPEATABLE READ or SERIALIZABLE transaction whose snapshot is older would see neither the copy nor what
//! it hides: main's rows in the place of the parent's. It is told to begin again.

use super::names::Catalog;
use super::names::Meaning;
use super::parse::Statement;
use super::plan::Context;
use super::views;
use crate::{Error, Result, sqlstate};

/// 40001 if the open transaction can't see a layer that the statement reads. Asks the server only if
/// something was published since the transaction began.
pub(super) async fn check(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
) -> Result<()> {
    if ctx.checkout.is_main() || !catalog.in_transaction() || ctx.names.began_at(ctx.repository.generation())
    {
        return Ok(());
    }
    let named = statement.tables.iter().filter_map(|t| match ctx.names.table(t) {
        Meaning::Registered(table) => Some(table),
        _ => None,
    });
    let mut copies = Vec::new();
    for table in named.chain(views::tables(ctx, statement)) {
        let view = ctx.repository.view(ctx.checkout, &table)?;
        if ctx.repository.is_copy(&view, &table)? {
            copies.push(format!("({}, {})", view.layer.lineage.0, table.id.0));
        }
        copies.extend(ctx.repository.retired_versions(&table).iter().map(|id| format!("(0, {})", id.0)));
    }
    copies.sort();
    copies.dedup();
    if copies.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed' \
         OR (SELECT pg_catalog.count(*) FROM epoch.layer WHERE (lineage, table_id) IN ({})) OPERATOR(pg_catalog.=) {}",
        copies.join(", "),
        copies.len()
    );
    let rows = catalog.query(&sql).await?;
    if rows.first().and_then(|r| r.first()).and_then(Option::as_deref) == Some("t") {
        return Ok(());
    }
    Err(Error::new(
        sqlstate::SERIALIZATION_FAILURE,
        "could not serialize access due to the first write of the branch to a table",
    )
    .with_hint("The transaction might succeed if retried."))
}

/// Whether the open transaction goes on with the snapshot that it has.
pub(super) async fn is_kept(catalog: &mut dyn Catalog) -> Result<bool> {
    if !catalog.in_transaction() {
        return Ok(false);
    }
    let sql =
        "SELECT pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed'";
    let rows = catalog.query(sql).await?;
    Ok(rows.first().and_then(|r| r.first()).and_then(Option::as_deref) != Some("t"))
}
