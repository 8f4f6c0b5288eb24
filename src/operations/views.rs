//! What a session reads of a table, and making a branch's layer of it.

use std::sync::Arc;

use epoch_adapter::{At, Layer, Result, TableDef, View};

use super::resolve::{deleted, read_only};
use super::{Checkout, Repository, Right, Scope, Target};
use crate::metadata::tables;

impl Repository {
    /// The view of one table that a session on `checkout` reads. Uses what is cached.
    pub fn view(&self, checkout: &Checkout, table: &TableDef) -> Result<View> {
        self.may(checkout, Right::Read, Scope::Table(&table.name))?;
        let state = self.state();
        match checkout.target {
            Target::Branch { layer } => {
                if state.branch_on(layer.lineage).is_none() {
                    return Err(deleted(&checkout.name));
                }
                state.view((layer.lineage, At::Working), table.id)
            }
            Target::Commit { ref hash, layer, ordinal } => {
                state.check_kept(hash, layer.lineage, ordinal)?;
                state.view((layer.lineage, At::Ordinal(ordinal)), table.id)
            }
        }
    }

    /// Whether the layer that a view of `table` shows began as a copy, of another branch's or of another version of the table. It was made in a
    /// transaction of its own; an older snapshot has nothing of it.
    pub fn is_copy(&self, view: &View, table: &TableDef) -> Result<bool> {
        let (state, lineage) = (self.state(), view.layer.lineage);
        let holds = !view.layer.is_main() && state.has_layer(lineage, table.id);
        Ok(holds && (table.revision.is_some() || state.parent_view(lineage, table.id)?.is_some()))
    }

    /// The versions of a table that were main's and aren't any more. A snapshot from before that doesn't see where
    /// their rows are now.
    pub fn retired_versions(&self, table: &TableDef) -> Vec<epoch_adapter::TableId> {
        let versions = self.state().versions(table.id);
        versions.iter().filter(|t| t.retired.is_some()).map(|t| t.id).collect()
    }

    /// Makes the layer of `table` writable on the checkout's branch. 25006 unless it is a branch.
    /// Main needs nothing. Cached; the first write of a branch to a table does the work.
    pub async fn writable(&self, checkout: &Checkout, table: &TableDef) -> Result<Layer> {
        let Target::Branch { layer } = checkout.target else { return Err(read_only(checkout)) };
        if self.state().branch_on(layer.lineage).is_none() {
            return Err(deleted(&checkout.name));
        }
        self.may_write(checkout, &table.name)?;
        self.ensure_layer(layer, table).await?;
        Ok(layer)
    }

    /// Makes sure that a lineage holds rows of a table itself, and of the tables that go with it.
    pub(super) async fn ensure_layer(&self, layer: Layer, table: &TableDef) -> Result<()> {
        if self.state().has_layer(layer.lineage, table.id) {
            return Ok(());
        }
        self.note_inherited(layer, &table.location.backend).await?;
        // The table itself comes last: once it has its layer, nobody looks for the others again.
        for other in self.tied_to(layer, table).await? {
            self.make_layer(layer, &other).await?;
        }
        self.make_layer(layer, table).await
    }

    /// The tables that a write to `table` may change, too (a cascade), or must see as the branch does.
    /// A nested branch takes all that its parent holds on the backend: copying a layer inside the
    /// session's own transaction would wait for that transaction's lock.
    pub(super) async fn tied_to(&self, layer: Layer, table: &TableDef) -> Result<Vec<Arc<TableDef>>> {
        let backend = self.inner.backends.require(&table.location.backend)?;
        let related = backend.related(table).await?;
        let state = self.state();
        let mut out = Vec::new();
        for other in state.tables_at((layer.lineage, At::Working))?.sorted() {
            let same_backend = other.location.backend == table.location.backend && other.id != table.id;
            if same_backend
                && (related.contains(&other.id) || state.parent_view(layer.lineage, other.id)?.is_some())
            {
                out.push(other);
            }
        }
        Ok(out)
    }

    /// Tells the backend which versions of tables a nested branch has from its parent. That never changes.
    pub(super) async fn note_inherited(&self, layer: Layer, backend: &str) -> Result<()> {
        let inherited = self.state().inherited(layer.lineage, backend)?;
        if inherited.is_empty() {
            return Ok(());
        }
        self.inner.backends.require(backend)?.note_shown(layer, &inherited, true).await
    }

    pub(super) async fn make_layer(&self, layer: Layer, table: &TableDef) -> Result<()> {
        let slot = (layer.lineage, table.id);
        if self.state().has_layer(slot.0, slot.1) {
            return Ok(());
        }
        let gate = self.inner.layers.entry(slot).or_default().clone();
        let _alone = gate.lock().await;
        if self.state().has_layer(slot.0, slot.1) {
            return Ok(());
        }
        let parent = self.state().parent_view(layer.lineage, table.id)?;
        let backend = self.inner.backends.require(&table.location.backend)?;
        // First the backend: a layer that only metadata knows of would hide the parent's rows.
        backend.ensure_layer(table, layer, parent.as_ref()).await?;
        let mut tx = self.store().write().await?;
        tables::add_layer(&mut tx, layer.lineage, table.id).await?;
        tx.commit().await?;
        self.reload().await?;
        self.inner.layers.remove(&slot);
        Ok(())
    }
}
