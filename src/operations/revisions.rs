//! Revisions: what ALTER TABLE and the like make of a table that main, or a commit, has.
//!
//! A revision is a registration of its own, which the branch shows in the place of the version before. That one
//! stays as it is, with all that branches hold of it: older commits and other branches go on reading it.

use std::sync::Arc;

use epoch_adapter::{
    Also, At, DraftChange, Error, Layer, Piece, Result, Revision, Statement, TableDef, TableId, compose,
};

use super::Repository;
use super::failpoint::{TABLE_DEFINED, hit};
use crate::metadata::spans;
use crate::metadata::tables::{self, TableState};

impl Repository {
    /// Makes a version of `table` that the layer's branch shows from now on, uncommitted.
    pub(super) async fn revise_table(
        &self,
        layer: Layer,
        table: &Arc<TableDef>,
        statement: Statement,
    ) -> Result<()> {
        self.sound(table).await?;
        self.ensure_layer(layer, table).await?;
        for other in self.tied_by_keys(layer, table, &statement).await? {
            self.ensure_layer(layer, &other).await?;
        }
        let lineage = layer.lineage;
        let view = self.state().stored_view((lineage, At::Working), table.id)?;
        let adapter = self.inner.backends.require(&table.location.backend)?;
        let mut tx = self.store().write().await?;
        let draft = tables::insert_draft(&mut tx, &table.location.backend, &table.name, lineage).await?;
        tx.commit().await?;
        let change = DraftChange::Revise { of: Arc::clone(table), view, statement };
        let made = adapter.define(&draft, layer, &change).await;
        let (definition, revision) = match made.map(|d| (d.revision.clone(), d)) {
            Ok((Some(revision), definition)) => (definition, revision),
            Ok((None, _)) => {
                return Err(Error::internal("a version of a table without what it is made from"));
            }
            Err(error) => {
                // If this fails too, the next operation does it.
                if adapter.uninstall(&draft).await.is_ok() {
                    self.set_table_state(draft.id, TableState::Removed).await?;
                }
                return Err(error);
            }
        };
        hit(TABLE_DEFINED);
        let replaces = self.state().is_uncommitted(lineage, table.id);
        let revision = if replaces { over(table, revision, draft.id) } else { revision };
        let new = TableDef { schema: definition.schema, revision: Some(revision), ..draft };
        let mut tx = self.store().write().await?;
        tables::redefine(&mut tx, &new, &definition.text).await?;
        tables::add_layer(&mut tx, lineage, new.id).await?;
        spans::set(&mut tx, lineage, spans::PENDING, table.id, false).await?;
        spans::set(&mut tx, lineage, spans::PENDING, new.id, true).await?;
        tx.commit().await?;
        self.reload().await?;
        // A version that was never committed is gone.
        self.sweep().await;
        Ok(())
    }

    /// The tables that foreign keys of a table, or to it, tie to it on a branch, and those that a statement names.
    pub(super) async fn tied_by_keys(
        &self,
        layer: Layer,
        table: &TableDef,
        statement: &Statement,
    ) -> Result<Vec<Arc<TableDef>>> {
        let adapter = self.inner.backends.require(&table.location.backend)?;
        let keys = adapter.foreign_keys().await?;
        let state = self.state();
        let first = |id| state.first_version(id);
        let mut families: Vec<_> =
            keys.into_iter().map(|(child, parent)| (first(child), first(parent))).collect();
        for piece in &statement.pieces {
            if let Piece::Parent(parent, _) = piece {
                families.push((first(table.id), first(parent.id)));
            }
        }
        let own = first(table.id);
        let tied = |id: TableId| families.contains(&(own, id)) || families.contains(&(id, own));
        let tables = state.tables_at((layer.lineage, At::Working))?.sorted();
        Ok(tables.into_iter().filter(|t| t.id != table.id && tied(first(t.id))).collect())
    }

    /// The other versions of a table.
    pub(super) fn revisions_of(&self, table: &TableDef) -> Vec<Arc<TableDef>> {
        let state = self.state();
        state
            .all_tables()
            .filter(|t| t.id != table.id && state.are_related(t.id, table.id))
            .cloned()
            .collect()
    }
}

/// A revision of a revision that nobody will see again: one of the version before that.
pub(super) fn over(table: &TableDef, new: Revision, id: TableId) -> Revision {
    let Some(old) = &table.revision else { return new };
    let numbered: Vec<_> = old.numbered(table.id).into_iter().chain(new.numbered(id)).collect();
    let also = old.also.as_ref().map(|also| {
        let columns = compose(&new.columns, &table.schema, &also.columns);
        let statements = also.statements.iter().chain(&new.statements).cloned().collect();
        Box::new(Also { of: also.of, columns, statements })
    });
    Revision {
        of: old.of,
        columns: compose(&new.columns, &table.schema, &old.columns),
        whole: old.whole || new.whole,
        own_values: old.own_values || new.own_values,
        made: numbered.iter().map(|(id, _)| *id).collect(),
        statements: numbered.into_iter().map(|(_, statement)| statement).collect(),
        also,
    }
}
