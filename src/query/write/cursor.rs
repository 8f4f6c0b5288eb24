//! WHERE CURRENT OF on a branch. A cursor that locks rows of a table reads the overlay, and its place there is the
//! server's to know. One that doesn't lock shows rows of main too, which have no place in the overlay.

use super::Write;
use crate::query::names::Catalog;
use crate::query::parse::{Modify, Wrap};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::{Error, Result};

impl Write<'_> {
    /// The statement runs on the overlay as it is: nothing is copied up, the cursor's query saw to it.
    pub(super) async fn at_cursor(
        &self,
        ctx: &Context<'_>,
        catalog: &mut dyn Catalog,
        rewriter: &mut Rewriter<'_>,
        modify: &Modify,
        cursor: &str,
    ) -> Result<()> {
        let locks = match ctx.names.cursor(cursor) {
            // That it locks rows of another table only, the server says.
            Some(tables) => !tables.is_empty(),
            None => !is_open(catalog, cursor).await?,
        };
        if !locks {
            let what = format!("WHERE CURRENT OF {cursor}, which does not lock rows, on a branch");
            return Err(Error::unsupported(what).with_hint("DECLARE the cursor with FOR UPDATE."));
        }
        self.check_columns(ctx, rewriter, &modify.sets)?;
        self.splice_target(rewriter);
        rewriter.late = true;
        self.stars(rewriter, &modify.stars, modify.starrable.as_deref())
    }
}

/// Whether there is a cursor or portal of this name; if not, the server says so.
async fn is_open(catalog: &mut dyn Catalog, cursor: &str) -> Result<bool> {
    let name = epoch_adapter_postgres::layout::literal(cursor);
    let rows = catalog.query(&format!("SELECT 1 FROM pg_catalog.pg_cursors WHERE name = {name}")).await?;
    Ok(!rows.is_empty())
}

/// Remembers which tables' rows a cursor locks.
pub(in crate::query) fn declare(ctx: &mut Context<'_>, rewriter: &Rewriter<'_>) {
    if let Wrap::Cursor(name) = &rewriter.statement.wrap {
        let tables = rewriter.locked.iter().map(|l| l.table.id).collect();
        ctx.names.declare(name, tables);
    }
}
