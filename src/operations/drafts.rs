//! Tables that are made, changed and dropped on branches.
//!
//! A table made on a branch is a registration of its own, which `metadata::spans` show to some lineages only. As
//! long as one branch alone has it, uncommitted, it is changed in place; a committed definition never changes: what
//! alters it, or a table of main, makes a revision (`revisions`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use epoch_adapter::{
    Adapter, Definition, DraftChange, Error, Layer, LineageId, Piece, Result, Statement, TableDef, TableId,
    TableName, sqlstate,
};

use super::branch_types::check_no_type;
use super::branch_views::{self, ViewStep, check_unread, note_views};
use super::failpoint::{TABLE_DEFINED, hit};
use super::revisions::Revising;
use super::{Checkout, Repository, Right, Scope, Tables};
use crate::metadata::tables::{self, TableState};
use crate::metadata::{OperationLock, merges, refs::Branch, spans};

/// How long a definition waits for that of another session's transaction.
const DEFINERS_PATIENCE: Duration = Duration::from_secs(15);

impl Repository {
    /// Makes a new draft in its backend. One that can't be made is taken away again.
    pub(super) async fn defined(
        &self,
        adapter: &dyn Adapter,
        draft: &TableDef,
        layer: Layer,
        change: &DraftChange,
    ) -> Result<Definition> {
        let made = adapter.define(draft, layer, change).await;
        // If this fails too, the next operation does it.
        if made.is_err() && adapter.uninstall(draft).await.is_ok() {
            self.set_table_state(draft.id, TableState::Removed).await?;
        }
        made
    }

    /// Makes a table on the checkout's branch: CREATE TABLE. 42P07 if the branch has one of this name.
    pub async fn create_table(
        &self,
        checkout: &Checkout,
        backend: &str,
        name: &TableName,
        statement: Statement,
    ) -> Result<()> {
        let _lock = self.locked_to_define().await?;
        let (branch, layer) = self.definable(checkout, &[name])?;
        check_free(&self.tables_on(checkout), backend, name)?;
        let adapter = self.inner.backends.require(backend)?;
        self.prepare(layer, backend, &statement).await?;
        let mut tx = self.store().write().await?;
        let draft = tables::insert_draft(&mut tx, backend, name, branch.lineage).await?;
        tx.commit().await?;
        let definition = self.defined(&*adapter, &draft, layer, &DraftChange::Create(statement)).await?;
        hit(TABLE_DEFINED);
        let table = TableDef { schema: definition.schema, ..draft };
        let mut tx = self.store().write().await?;
        tables::redefine(&mut tx, &table, &definition.text).await?;
        tables::add_layer(&mut tx, branch.lineage, table.id).await?;
        spans::set(&mut tx, branch.lineage, spans::PENDING, table.id, true).await?;
        tx.commit().await?;
        self.reload().await?;
        self.layers_of_parents(layer, &table).await
    }

    /// Makes the layers of the tables that a draft's foreign keys see. (It has its own from the start.)
    async fn layers_of_parents(&self, layer: Layer, table: &TableDef) -> Result<()> {
        let adapter = self.inner.backends.require(&table.location.backend)?;
        if adapter.references().await?.iter().any(|(child, _)| *child == table.id) {
            for other in self.tied_to(layer, table).await? {
                self.make_layer(layer, &other).await?;
            }
        }
        Ok(())
    }

    /// Before a draft is made, or changed, that refers to tables: their layers, and what the backend has to know of
    /// the branch.
    async fn prepare(&self, layer: Layer, backend: &str, statement: &Statement) -> Result<()> {
        self.note_inherited(layer, backend).await?;
        for piece in &statement.pieces {
            if let Piece::Parent(parent, _) = piece {
                self.ensure_layer(layer, parent).await?;
            }
        }
        Ok(())
    }

    /// Changes a table on the checkout's branch: ALTER TABLE and the like.
    pub async fn alter_table(&self, checkout: &Checkout, table: TableId, statement: Statement) -> Result<()> {
        let _lock = self.locked_to_define().await?;
        let table = self.tables_on(checkout).by_id.get(&table).cloned().ok_or_else(gone)?;
        let (branch, layer) = self.definable(checkout, &[&table.name])?;
        if table.revision.is_some() || !self.state().is_uncommitted(branch.lineage, table.id) {
            return self.revise_table(layer, &table, Revising::By(statement)).await;
        }
        let adapter = self.inner.backends.require(&table.location.backend)?;
        self.prepare(layer, &table.location.backend, &statement).await?;
        for other in self.tied_by_keys(layer, &table, &statement.pieces).await? {
            self.ensure_layer(layer, &other).await?;
        }
        self.set_table_state(table.id, TableState::Changing).await?;
        let definition = match adapter.define(&table, layer, &DraftChange::Alter(statement)).await {
            Ok(definition) => definition,
            Err(error) => {
                self.settle_change(&table).await?;
                return Err(error);
            }
        };
        hit(TABLE_DEFINED);
        let table = TableDef { schema: definition.schema, ..TableDef::clone(&table) };
        let mut tx = self.store().write().await?;
        tables::redefine(&mut tx, &table, &definition.text).await?;
        tx.commit().await?;
        self.reload().await?;
        self.layers_of_parents(layer, &table).await
    }

    /// Notes what a draft is whose change may have been made or not.
    pub(super) async fn settle_change(&self, table: &TableDef) -> Result<()> {
        let adapter = self.inner.backends.require(&table.location.backend)?;
        let Some(definition) = adapter.definition(table).await? else {
            return Err(Error::internal(format!("table \"{}\" is gone from its backend", table.name)));
        };
        let table = TableDef { schema: definition.schema, ..table.clone() };
        let mut tx = self.store().write().await?;
        tables::redefine(&mut tx, &table, &definition.text).await?;
        tx.commit().await?;
        self.reload().await
    }

    /// Drops tables from the checkout's branch, and views that go with them: `steps` hide main's, `forgotten` are its own.
    pub async fn drop_tables(
        &self,
        checkout: &Checkout,
        ids: &[TableId],
        (backend, steps, forgotten): (&str, Vec<ViewStep>, &[TableId]),
    ) -> Result<()> {
        let _lock = if steps.is_empty() { self.locked().await? } else { self.locked_to_define().await? };
        let visible = self.tables_on(checkout);
        let named = ids.iter().map(|id| visible.by_id.get(id).map(|t| &t.name).ok_or_else(gone));
        let (branch, layer) = self.definable(checkout, &named.collect::<Result<Vec<_>>>()?)?;
        self.check_children(&visible, ids).await?;
        branch_views::check(&visible, backend, &steps, forgotten)?;
        let leaves = |t: &TableDef| forgotten.contains(&t.id) || steps.iter().any(|s| s.name == t.name);
        check_no_readers(&visible, ids, &leaves)?;
        let made = self.make_views(&branch, layer, backend, steps).await?;
        let mut tx = self.store().write().await?;
        for id in ids {
            spans::set(&mut tx, branch.lineage, spans::PENDING, *id, false).await?;
        }
        note_views(&mut tx, branch.lineage, &made, forgotten).await?;
        tx.commit().await?;
        self.reload().await?;
        self.note_gone(layer, &visible, ids).await?;
        self.sweep().await;
        for id in ids {
            // What a branch holds of main's tables stays, as it was.
            let table = self.state().made(*id).map(|made| Arc::clone(&made.table));
            let table = table.filter(|t| t.revision.is_none() && self.state().has_layer(layer.lineage, t.id));
            if let Some(table) = table {
                self.inner.backends.require(&table.location.backend)?.clear(&table, layer).await?;
            }
        }
        Ok(())
    }

    /// Tells the backends that a branch doesn't show tables any more, so that no foreign key of theirs counts.
    async fn note_gone(&self, layer: Layer, visible: &Tables, ids: &[TableId]) -> Result<()> {
        for backend in self.backends() {
            let here =
                |id: &&TableId| visible.by_id.get(id).is_some_and(|t| t.location.backend == backend.name());
            let gone: Vec<_> = ids.iter().filter(here).map(|id| (*id, false)).collect();
            backend.note_shown(layer, &gone, false).await?;
        }
        Ok(())
    }

    /// 2BP01 if a table that stays refers to one that goes.
    async fn check_children(&self, visible: &Tables, ids: &[TableId]) -> Result<()> {
        let going: Vec<TableId> = ids.iter().map(|id| self.state().first_version(*id)).collect();
        for backend in self.backends() {
            for (child, parent) in backend.foreign_keys().await? {
                let family = self.state().first_version(parent);
                let goes = going.iter().position(|id| *id == family).and_then(|i| ids.get(i));
                let (Some(parent), false, Some(child)) = (
                    goes.and_then(|id| visible.by_id.get(id)),
                    ids.contains(&child),
                    visible.by_id.get(&child),
                ) else {
                    continue;
                };
                let message =
                    format!("cannot drop table {} because other objects depend on it", parent.location.table);
                return Err(Error::new("2BP01", message)
                    .with_detail(format!("A foreign key of table {} depends on it.", child.location.table)));
            }
        }
        Ok(())
    }

    /// The foreign keys of tables made on branches, on all backends: which table refers to which, by its first version.
    pub(super) async fn references(&self) -> Result<Vec<(TableId, TableId)>> {
        let mut all = Vec::new();
        if self.state().has_made() {
            for backend in self.backends() {
                all.extend(backend.references().await?);
            }
        }
        // Whatever version it is that a key names, it holds for all.
        for (_, parent) in &mut all {
            *parent = self.state().first_version(*parent);
        }
        Ok(all)
    }

    /// The branch of a checkout, on which tables can be defined: any but main, where the backend does it. 42501 if
    /// whoever acts may not write to the tables.
    pub(super) fn definable(&self, checkout: &Checkout, tables: &[&TableName]) -> Result<(Branch, Layer)> {
        let branch = self.head_branch(Some(checkout))?;
        self.check_writes(branch.lineage)?;
        for table in tables {
            self.may_branch(&branch, Right::Write, Scope::Table(table))?;
        }
        if branch.lineage == LineageId::MAIN {
            return Err(Error::internal("data definition on main is the backend's own"));
        }
        let layer = self.state().layer(branch.lineage)?;
        Ok((branch, layer))
    }

    /// Whether the checkout's branch alone has a table, uncommitted.
    pub fn is_uncommitted(&self, checkout: &Checkout, table: TableId) -> bool {
        let super::Target::Branch { layer } = checkout.target else { return false };
        self.state().is_uncommitted(layer.lineage, table)
    }

    /// The operation lock, when no client's open transaction defines tables: a backend lets one at a time do that, and
    /// whoever waited for it with the lock would keep everybody else waiting, that transaction's COMMIT too. 55P03 if
    /// one stays open.
    pub(super) async fn locked_to_define(&self) -> Result<OperationLock> {
        let until = Instant::now() + DEFINERS_PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            for backend in self.backends() {
                // One that can't be reached says so when it is to do something.
                if !backend.await_definers(left).await.unwrap_or(true) {
                    let message = "another transaction defines tables, and stays open";
                    return Err(Error::new(sqlstate::LOCK_NOT_AVAILABLE, message)
                        .with_hint("Retry when it has ended."));
                }
            }
            let lock = self.locked().await?;
            if self.nobody_defines().await {
                return Ok(lock);
            }
        }
    }

    /// Without those that a waiting merge has made of two versions, and has conflicts of.
    pub(super) async fn but_awaited(&self, mut tables: Vec<Arc<TableDef>>) -> Result<Vec<Arc<TableDef>>> {
        if tables.is_empty() {
            return Ok(tables);
        }
        let mut tx = self.store().read().await?;
        let awaited = merges::tables(&mut tx).await?;
        tx.commit().await?;
        tables.retain(|t| !awaited.contains(&t.id));
        Ok(tables)
    }

    pub(super) async fn nobody_defines(&self) -> bool {
        for backend in self.backends() {
            if !backend.await_definers(Duration::ZERO).await.unwrap_or(true) {
                return false;
            }
        }
        true
    }

    /// Removes tables made on branches that no ref nor commit can show any more. What can't be removed now is
    /// tried again after the next such operation.
    pub(super) async fn sweep(&self) {
        let orphans = self.state().orphans();
        if orphans.is_empty() || !self.nobody_defines().await {
            return;
        }
        let Ok(orphans) = self.but_awaited(orphans).await else { return };
        for table in orphans {
            let removed = match self.is_needed(&table).await {
                Ok(true) => continue,
                Ok(false) => self.remove_table(&table).await,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                tracing::warn!(table = %table.name, %error, "a dropped table could not be removed yet");
            }
        }
    }

    pub(super) async fn remove_table(&self, table: &Arc<TableDef>) -> Result<()> {
        let backend = self.inner.backends.require(&table.location.backend)?;
        self.set_table_state(table.id, TableState::Removing).await?;
        backend.uninstall(table).await?;
        self.set_table_state(table.id, TableState::Removed).await
    }
}

/// 42P07 if there is a table or a view of a name, 42710 if there is a type.
pub(super) fn check_free(shown: &Tables, backend: &str, name: &TableName) -> Result<()> {
    let view = shown.own_view(backend, name).and_then(|t| t.view.as_ref());
    let taken = shown.by_name.contains_key(name) || view.is_some_and(|view| view.query.is_some());
    if taken { Err(exists(name)) } else { check_no_type(shown, backend, name) }
}

/// 2BP01 if a view of the branch reads one of these tables and doesn't go with them.
pub(super) fn check_no_readers(
    shown: &Tables,
    ids: &[TableId],
    leaves: &dyn Fn(&TableDef) -> bool,
) -> Result<()> {
    for table in ids.iter().filter_map(|id| shown.by_id.get(id)) {
        check_unread(shown, &table.location.backend, ("table", &table.name), leaves)?;
    }
    Ok(())
}

/// 42P01, where another session was faster.
pub(super) fn gone() -> Error {
    Error::new(sqlstate::UNDEFINED_TABLE, "the table was dropped or changed by another session")
        .with_hint("Retry.")
}

/// 42P07, as PostgreSQL says it.
pub(super) fn exists(name: &TableName) -> Error {
    Error::new("42P07", format!("relation \"{}\" already exists", name.name))
}
