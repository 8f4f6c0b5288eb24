//! Data definition within a client's transaction block: seen by its session at once, by all others when it is committed.
//!
//! The backend's part happens in the client's own transaction. What the metadata store is to know is kept with the
//! session, step by step; each step leaves a row in the backend, so that what a ROLLBACK TO SAVEPOINT took back is seen
//! there. At COMMIT the steps are written to the journal, the transaction is committed, and then the store learns of
//! them: what dies in between is finished, or forgotten, by the next holder of the operation lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use epoch_adapter::{
    At, DraftChange, Error, Layer, LineageId, Location, Piece, Result, Statement, TableDef, TableId,
    TableName, TableSchema, TypeUser, View, sqlstate,
};
use serde::{Deserialize, Serialize};

use super::branch_types::{self, NewType, ShownType};
use super::branch_views::{self, ShownView, ViewStep};
use super::drafts::{check_free, check_no_readers, gone};
use super::failpoint::{BLOCK_COMMITTED, hit};
use super::revisions::{Revising, check_renamable};
use super::rights::{Right, Scope};
use super::{Checkout, Repository, Tables};
use crate::metadata::journal::{self, Entry};
use crate::metadata::{OperationLock, spans, tables, to_json};

/// Gives every state of a block a number of its own.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// How long a COMMIT waits for an operation that may itself be waiting for what the transaction has locked: less than
/// that one does.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);

/// What a statement did to which tables there are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// A table, or another version of one.
    Make {
        /// It.
        table: TableDef,
        /// Its definition.
        text: String,
        /// The version that it takes the place of.
        replaces: Option<TableId>,
    },
    /// A table that the branch alone has, uncommitted, is another now.
    Change {
        /// It.
        table: TableDef,
        /// Its definition.
        text: String,
    },
    /// Types that other branches made are there, too.
    Show(Vec<TableId>),
    /// Tables that aren't there any more.
    Drop(Vec<TableId>),
}

/// A transaction of a client's that defined tables.
#[derive(Debug)]
pub struct Block {
    operation: String,
    backend: String,
    layer: Layer,
    head: String,
    /// What the branch had when it began.
    before: Arc<Tables>,
    steps: Vec<(i64, Step)>,
    tables: Arc<Tables>,
    number: u64,
}

/// The journal's text of one.
#[derive(Serialize, Deserialize)]
struct Journaled {
    backend: String,
    steps: Vec<Step>,
}

/// A definition to be done in the client's transaction.
#[derive(Debug)]
pub struct Planned {
    /// The table, as far as it is known.
    pub table: TableDef,
    /// What is done.
    pub change: DraftChange,
    /// The layer that it is done for.
    pub layer: Layer,
    of: Option<Arc<TableDef>>,
    replaced: bool,
}

impl Block {
    /// The name that the backend knows it by.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// The tables that the session sees.
    pub fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables)
    }

    /// What the layer of the branch is.
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// Changes with every step.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether a table, or this version of it, was made in it.
    pub fn made(&self, id: TableId) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step, Step::Make { table, .. } if table.id == id))
    }

    /// Keeps the steps that the transaction still sees.
    pub fn retain(&mut self, numbers: &[i64], repository: &Repository) {
        let known = self.steps.len();
        self.steps.retain(|(number, _)| numbers.contains(number));
        if self.steps.len() != known {
            self.derive(repository);
        }
    }

    /// Notes what was done, under the number that the backend gave it.
    pub fn push(&mut self, number: i64, step: Step, repository: &Repository) {
        self.steps.push((number, step));
        self.derive(repository);
    }

    /// All tables that were made in it, in whatever version.
    pub fn all_made(&self) -> impl Iterator<Item = &TableDef> {
        self.steps.iter().filter_map(|(_, step)| match step {
            Step::Make { table, .. } => Some(table),
            _ => None,
        })
    }

    /// Works out what the session sees.
    fn derive(&mut self, repository: &Repository) {
        self.number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let mut by_id = self.before.by_id.clone();
        let mut known: HashMap<TableId, Arc<TableDef>> = HashMap::new();
        let mut absent = self.before.absent.clone();
        let mut views = self.before.views.clone();
        let (mut types, absent_types) = (self.before.types.clone(), self.before.absent_types.clone());
        let own = |table: Arc<TableDef>| ShownType { table, own: true };
        for (_, step) in &self.steps {
            match step {
                Step::Make { table, .. } if table.enumeration.is_some() => {
                    types.insert(table.id, own(Arc::new(table.clone())));
                }
                Step::Show(ids) => {
                    let known = ids.iter().filter_map(|id| repository.state().table(*id).cloned());
                    types.extend(known.map(|table| (table.id, own(table))));
                }
                Step::Make { table, replaces, .. } if table.view.is_some() => {
                    if let Some(old) = replaces.and_then(|old| views.remove(&old)) {
                        absent.remove(&old.table.location.home());
                    }
                    views.insert(table.id, ShownView { table: Arc::new(table.clone()), own: true });
                }
                Step::Make { table, replaces, .. } => {
                    let found = |id: TableId| {
                        known.get(&id).cloned().or_else(|| repository.state().table(id).cloned())
                    };
                    let source = super::versions::source(table, &found);
                    let table = Arc::new(TableDef { source, ..table.clone() });
                    if let Some(old) = replaces.and_then(|old| by_id.remove(&old)) {
                        absent.insert(old.location.home());
                    }
                    known.insert(table.id, Arc::clone(&table));
                    by_id.insert(table.id, table);
                }
                Step::Change { table, .. } => {
                    let table = Arc::new(table.clone());
                    known.insert(table.id, Arc::clone(&table));
                    by_id.insert(table.id, table);
                }
                Step::Drop(ids) => {
                    for id in ids {
                        views.remove(id);
                        types.remove(id);
                        if let Some(old) = by_id.remove(id) {
                            absent.insert(old.location.home());
                        }
                    }
                }
            }
        }
        let mut tables = Tables { absent, types, absent_types, ..Tables::new(by_id) };
        views.values().for_each(|view| tables.show_view(&view.table, view.own));
        self.tables = Arc::new(tables);
    }
}

impl Repository {
    /// A transaction block of a session on a branch that is about to define tables.
    pub fn begin_block(&self, checkout: &Checkout, backend: &str) -> Result<Block> {
        let (branch, layer) = self.definable(checkout, &[])?;
        let tables = self.tables_on(checkout);
        Ok(Block {
            operation: format!("block-{}", uuid::Uuid::now_v7()),
            backend: backend.to_owned(),
            layer,
            head: branch.head,
            before: Arc::clone(&tables),
            steps: Vec::new(),
            tables,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// 42501 if whoever acts may not define these tables on the block's branch.
    fn may_define(&self, block: &Block, tables: &[&TableName]) -> Result<()> {
        let branch = self.live_branch(block.layer.lineage, "")?;
        tables.iter().try_for_each(|table| self.may_branch(&branch, Right::Write, Scope::Table(table)))
    }

    /// CREATE TABLE in a block. 42P07 if the branch has one of this name.
    pub async fn plan_create(
        &self,
        block: &Block,
        name: &TableName,
        statement: Statement,
    ) -> Result<Planned> {
        self.may_define(block, &[name])?;
        check_free(&block.tables, &block.backend, name)?;
        self.prepare_block(block, &statement).await?;
        let table = self.numbered(&block.backend, name).await?;
        let change = DraftChange::Create(statement);
        Ok(Planned { table, change, layer: block.layer, of: None, replaced: false })
    }

    /// CREATE VIEW and the like in a block.
    pub async fn plan_view(&self, block: &Block, step: ViewStep) -> Result<Planned> {
        self.may_define(block, &[&step.name])?;
        // What reads what goes was looked at when it was planned: nobody else is in the block.
        branch_views::check_names(&block.tables, &block.backend, std::slice::from_ref(&step))?;
        let table = self.numbered(&block.backend, &step.name).await?;
        let change = DraftChange::View(Box::new(step.change));
        Ok(Planned { table, change, layer: block.layer, of: None, replaced: false })
    }

    /// CREATE TYPE in a block; the inner error is a type that was made alike.
    pub async fn plan_type(
        &self,
        block: &Block,
        new: NewType,
    ) -> Result<std::result::Result<Planned, TableId>> {
        let NewType { name, labels, statement } = new;
        self.may_define(block, &[&name])?;
        branch_types::check_type_free(&block.tables, &block.backend, &name)?;
        if let Some(known) = self.alike(&block.backend, &name, &labels).await? {
            return Ok(Err(known.id));
        }
        let table = self.numbered(&block.backend, &name).await?;
        let change = DraftChange::Enum(statement);
        Ok(Ok(Planned { table, change, layer: block.layer, of: None, replaced: false }))
    }

    /// DROP TYPE in a block: the types.
    pub fn plan_drop_types(&self, block: &Block, ids: &[TableId]) -> Result<Vec<Arc<TableDef>>> {
        let types = branch_types::dropped(&block.tables, ids)?;
        self.may_define(block, &types.iter().map(|t| &t.name).collect::<Vec<_>>())?;
        Ok(types)
    }

    /// 2BP01 if what uses a type is there for a block's branch.
    pub fn check_unused_type(block: &Block, of: &TableDef, users: &[TypeUser]) -> Result<()> {
        branch_types::check_unused(&block.tables, of, users)
    }

    /// What a block's branch says of views is forgotten.
    pub fn plan_forget(&self, block: &Block, ids: &[TableId]) -> Result<Step> {
        let tables: Vec<_> = ids
            .iter()
            .map(|id| block.tables.views.get(id).map(|view| &view.table.name).ok_or_else(gone))
            .collect::<Result<_>>()?;
        self.may_define(block, &tables)?;
        Ok(Step::Drop(ids.to_vec()))
    }

    /// ALTER TABLE and the like in a block.
    pub async fn plan_alter(&self, block: &Block, table: TableId, statement: Statement) -> Result<Planned> {
        let table = block.tables.by_id.get(&table).cloned().ok_or_else(gone)?;
        self.may_define(block, &[&table.name])?;
        let layer = block.layer;
        let own = block.made(table.id) || self.state().is_uncommitted(layer.lineage, table.id);
        self.prepare_block(block, &statement).await?;
        if own && table.revision.is_none() {
            self.layers_of_tied(block, &table, &statement.pieces).await?;
            let change = DraftChange::Alter(statement);
            return Ok(Planned { table: TableDef::clone(&table), change, layer, of: None, replaced: false });
        }
        self.plan_revision(block, table, Revising::By(statement)).await
    }

    /// ALTER TABLE … RENAME TO and SET SCHEMA in a block.
    pub async fn plan_rename(&self, block: &Block, table: TableId, to: &TableName) -> Result<Planned> {
        let table = block.tables.by_id.get(&table).cloned().ok_or_else(gone)?;
        self.may_define(block, &[&table.name, to])?;
        check_renamable(&block.tables, &table, to)?;
        let adapter = self.inner.backends.require(&block.backend)?;
        adapter.record(block.layer).await?;
        self.note_inherited(block.layer, &block.backend).await?;
        self.plan_revision(block, table, Revising::To(to.clone())).await
    }

    async fn plan_revision(
        &self,
        block: &Block,
        table: Arc<TableDef>,
        revising: Revising,
    ) -> Result<Planned> {
        let layer = block.layer;
        self.layers_of_tied(block, &table, revising.pieces()).await?;
        let made = block.made(table.id);
        if !made {
            self.sound(&table).await?;
            self.ensure_layer(layer, &table).await?;
        }
        let draft = self.numbered(&table.location.backend, revising.name(&table)).await?;
        let replaced = made || self.state().is_uncommitted(layer.lineage, table.id);
        let change = revising.of(Arc::clone(&table), View { layer, at: At::Working });
        Ok(Planned { table: draft, change, layer, of: Some(table), replaced })
    }

    /// Makes the layers of the tables that foreign keys tie to one.
    async fn layers_of_tied(&self, block: &Block, table: &TableDef, pieces: &[Piece]) -> Result<()> {
        for other in self.tied_by_keys(block.layer, table, pieces).await? {
            if !block.made(other.id) {
                self.ensure_layer(block.layer, &other).await?;
            }
        }
        Ok(())
    }

    /// What was done, from what the backend says of it.
    pub fn done(&self, planned: &Planned, definition: epoch_adapter::Definition) -> Result<Step> {
        let mut table = TableDef { schema: definition.schema, ..planned.table.clone() };
        let text = definition.text;
        match (&planned.change, &planned.of) {
            (DraftChange::Alter(_), _) => Ok(Step::Change { table, text }),
            (DraftChange::Enum(_), _) => {
                table.enumeration = definition.enumeration;
                Ok(Step::Make { table, text, replaces: None })
            }
            (DraftChange::View(change), _) => {
                table.view = definition.view;
                Ok(Step::Make { table, text, replaces: change.replaces })
            }
            (_, None) => Ok(Step::Make { table, text, replaces: None }),
            (_, Some(of)) => {
                let lost = || Error::internal("a version of a table without what it is made from");
                let new = definition.revision.ok_or_else(lost)?;
                let revision = if planned.replaced { super::revisions::over(of, new, table.id) } else { new };
                table.revision = Some(revision);
                Ok(Step::Make { table, text, replaces: Some(of.id) })
            }
        }
    }

    /// DROP TABLE in a block: 2BP01 if a table that stays refers to one that goes. `keys`: the foreign keys as the
    /// transaction sees them, as registration of the child and family of the parent.
    pub fn plan_drop(
        &self,
        block: &Block,
        ids: &[TableId],
        keys: &[(TableId, TableId)],
    ) -> Result<Vec<Arc<TableDef>>> {
        let visible = &block.tables;
        let tables: Vec<_> =
            ids.iter().map(|id| visible.by_id.get(id).cloned().ok_or_else(gone)).collect::<Result<_>>()?;
        self.may_define(block, &tables.iter().map(|t| &t.name).collect::<Vec<_>>())?;
        check_no_readers(visible, ids, &|_| false)?;
        let family = |table: &TableDef| match &table.revision {
            Some(revision) if block.made(table.id) => self.family_in(block, revision.of),
            _ => self.state().first_version(table.id),
        };
        for table in &tables {
            let own = family(table);
            let child = keys
                .iter()
                .filter(|(_, parent)| *parent == own)
                .find_map(|(child, _)| visible.by_id.get(child).filter(|c| !ids.contains(&c.id)));
            if let Some(child) = child {
                let message =
                    format!("cannot drop table {} because other objects depend on it", table.location.table);
                return Err(Error::new("2BP01", message)
                    .with_detail(format!("A foreign key of table {} depends on it.", child.location.table)));
            }
        }
        Ok(tables)
    }

    fn family_in(&self, block: &Block, id: TableId) -> TableId {
        let made = block.all_made().find(|t| t.id == id).and_then(|t| t.revision.as_ref()).map(|r| r.of);
        match made {
            Some(of) => self.family_in(block, of),
            None => self.state().first_version(id),
        }
    }

    /// Makes beforehand what another connection has to make: in the transaction it would wait for that one.
    async fn prepare_block(&self, block: &Block, statement: &Statement) -> Result<()> {
        let adapter = self.inner.backends.require(&block.backend)?;
        adapter.record(block.layer).await?;
        self.note_inherited(block.layer, &block.backend).await?;
        for piece in &statement.pieces {
            if let Piece::Parent(parent, _) = piece
                && !block.made(parent.id)
            {
                self.ensure_layer(block.layer, parent).await?;
            }
        }
        Ok(())
    }

    /// A draft under a number that nobody else gets.
    async fn numbered(&self, backend: &str, name: &TableName) -> Result<TableDef> {
        let mut tx = self.store().write().await?;
        tx.next_generation().await?;
        let id = TableId(tx.counter("next_table").await?);
        tx.commit().await?;
        Ok(TableDef::new(
            id,
            name.clone(),
            Location::draft(backend, id, name)?,
            TableSchema { columns: Vec::new(), key: Vec::new() },
        ))
    }

    /// Before the client's COMMIT: nobody else publishes on the branch from here on. 40001 if somebody did since the
    /// block began.
    pub async fn commit_block(&self, block: &Block) -> Result<OperationLock> {
        let lock = self.lock_for_block().await?;
        self.recover(&lock).await?;
        self.reload().await?;
        let branch = self.state().branch_on(block.layer.lineage).cloned();
        let now = self.state().tables_at((block.layer.lineage, At::Working))?;
        if branch.is_none_or(|b| b.head != block.head)
            || now.by_id != block.before.by_id
            || now.views != block.before.views
            || now.types != block.before.types
            || self.lacks_shown(block)
        {
            return Err(Error::new(
                sqlstate::SERIALIZATION_FAILURE,
                "could not serialize access due to a concurrent change of the branch",
            )
            .with_detail("Its tables were altered, or it was committed to, since the transaction began to define tables.")
            .with_hint("The transaction might succeed if retried."));
        }
        let steps = block.steps.iter().map(|(_, step)| step.clone()).collect();
        let body = to_json(&Journaled { backend: block.backend.clone(), steps })?;
        let entry =
            Entry { operation: block.operation.clone(), lineage: block.layer.lineage, ordinal: 0, body };
        let mut tx = self.store().write().await?;
        journal::insert(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(lock)
    }

    /// Whether a type that the block shows, because another branch made it, is gone.
    fn lacks_shown(&self, block: &Block) -> bool {
        let state = self.state();
        let lacks =
            |step: &Step| matches!(step, Step::Show(ids) if ids.iter().any(|id| state.made(*id).is_none()));
        block.steps.iter().any(|(_, step)| lacks(step))
    }

    async fn lock_for_block(&self) -> Result<OperationLock> {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = self.store().try_lock().await? {
                return Ok(lock);
            }
            if std::time::Instant::now() > until {
                return Err(Error::new(
                    sqlstate::SERIALIZATION_FAILURE,
                    "could not serialize access due to a concurrent operation",
                )
                .with_hint("The transaction might succeed if retried."));
            }
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    }

    /// After the client's COMMIT, of which `committed` says whether it took place (`None`: nobody knows).
    pub async fn finish_block(
        &self,
        lock: OperationLock,
        block: &Block,
        committed: Option<bool>,
    ) -> Result<()> {
        let done = match committed {
            Some(true) => {
                hit(BLOCK_COMMITTED);
                let steps: Vec<Step> = block.steps.iter().map(|(_, step)| step.clone()).collect();
                self.publish_block(&block.operation, block.layer.lineage, &block.backend, &steps).await
            }
            Some(false) => self.forget_block(&block.operation).await,
            None => self.recover(&lock).await,
        };
        drop(lock);
        done
    }

    /// Finishes what a block left in the journal; false if the entry isn't one.
    pub(super) async fn recover_block(&self, entry: &Entry) -> Result<bool> {
        let Ok(Journaled { backend, steps }) = serde_json::from_str(&entry.body) else { return Ok(false) };
        let adapter = self.inner.backends.require(&backend)?;
        if adapter.took_place(&entry.operation).await? {
            self.publish_block(&entry.operation, entry.lineage, &backend, &steps).await?;
        } else {
            self.forget_block(&entry.operation).await?;
        }
        Ok(true)
    }

    /// Nothing of it took place.
    async fn forget_block(&self, operation: &str) -> Result<()> {
        let mut tx = self.store().write().await?;
        journal::close(&mut tx, operation).await?;
        tx.commit().await
    }

    /// Tells the metadata store.
    async fn publish_block(
        &self,
        operation: &str,
        lineage: LineageId,
        backend: &str,
        steps: &[Step],
    ) -> Result<()> {
        let mut tx = self.store().write().await?;
        if journal::close(&mut tx, operation).await? {
            for step in steps {
                match step {
                    Step::Make { table, text, replaces } => {
                        tables::insert_made(&mut tx, table, lineage).await?;
                        tables::redefine(&mut tx, table, text).await?;
                        if table.is_table() {
                            tables::add_layer(&mut tx, lineage, table.id).await?;
                        }
                        if let Some(old) = replaces {
                            spans::set(&mut tx, lineage, spans::PENDING, *old, false).await?;
                        }
                        spans::set(&mut tx, lineage, spans::PENDING, table.id, true).await?;
                    }
                    Step::Change { table, text } => tables::redefine(&mut tx, table, text).await?,
                    Step::Show(ids) => {
                        for id in ids {
                            spans::set(&mut tx, lineage, spans::PENDING, *id, true).await?;
                        }
                    }
                    Step::Drop(ids) => {
                        for id in ids {
                            spans::set(&mut tx, lineage, spans::PENDING, *id, false).await?;
                        }
                    }
                }
            }
        }
        tx.commit().await?;
        self.reload().await?;
        let adapter = self.inner.backends.require(backend)?;
        if let Err(error) = adapter.forget(operation).await {
            tracing::warn!(operation, %error, "what a transaction left in the backend could not be removed");
        }
        self.sweep().await;
        Ok(())
    }
}
