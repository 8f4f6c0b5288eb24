//! Data definition in a transaction block of a session on a branch.

use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{Error, Layer, Result, Statement, TableDef, TableId, TableName, View, sqlstate};
use epoch_adapter_postgres::layout::literal;
use epoch_adapter_postgres::{
    FOREIGN_KEYS, clear_sql, define_within, hide_sql, read_users, users_of_type_sql,
};
use futures::FutureExt;

use super::local::Done;
use super::native::Native;
use crate::operations::{
    Block, Checkout, NewType, Planned, Repository, Right, Step, Tables, Target, ViewStep, Watch,
};
use crate::query::State;
use crate::wire::encode::Status;

/// How long a write waits for the layer of a table, which another connection makes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// What a session sees whose transaction has defined tables.
pub(super) struct InBlock<'a> {
    pub(super) repository: &'a Repository,
    pub(super) block: &'a Block,
}

impl InBlock<'_> {
    fn is_here(&self, checkout: &Checkout) -> bool {
        matches!(checkout.target, Target::Branch { layer } if layer == self.block.layer())
    }
}

#[async_trait]
impl State for InBlock<'_> {
    fn name(&self) -> &str {
        self.repository.name()
    }
    fn generation(&self) -> u64 {
        // Each state of each block is another one.
        (self.block.number() << 32) + self.repository.generation()
    }
    fn tables(&self, checkout: &Checkout) -> Arc<Tables> {
        if self.is_here(checkout) { self.block.tables() } else { self.repository.tables_on(checkout) }
    }
    fn every_table(&self) -> Vec<Arc<TableDef>> {
        let mut all = self.repository.every_table();
        let tables = self.block.tables();
        let shown = tables.by_id.values().chain(tables.own_views()).chain(tables.own_types());
        all.extend(shown.filter(|t| self.block.made(t.id)).cloned());
        all
    }
    fn find_table(&self, checkout: &Checkout, name: &str) -> Option<Arc<TableDef>> {
        let found = self.is_here(checkout).then(|| self.block.tables().find(name).cloned()).flatten();
        found.or_else(|| self.repository.find_table(checkout, name))
    }
    fn version_on(&self, checkout: &Checkout, table: &TableDef) -> Option<Arc<TableDef>> {
        self.repository.version_on(checkout, table)
    }
    async fn refresh(&self) -> Result<()> {
        self.repository.refresh().await
    }
    fn view(&self, checkout: &Checkout, table: &TableDef) -> Result<View> {
        if self.block.made(table.id) && self.is_here(checkout) {
            return Ok(View { layer: self.block.layer(), at: epoch_adapter::At::Working });
        }
        self.repository.view(checkout, table)
    }
    fn is_copy(&self, view: &View, table: &TableDef) -> Result<bool> {
        if self.block.made(table.id) { Ok(false) } else { self.repository.is_copy(view, table) }
    }
    fn retired_versions(&self, table: &TableDef) -> Vec<TableId> {
        self.repository.retired_versions(table)
    }
    async fn writable(&self, checkout: &Checkout, table: &TableDef) -> Result<Layer> {
        if self.block.made(table.id) && self.is_here(checkout) {
            return Ok(self.block.layer());
        }
        // What the transaction has locked, another connection would wait for.
        let made = tokio::time::timeout(PATIENCE, self.repository.writable(checkout, table)).await;
        made.unwrap_or_else(|_| {
            Err(Error::new("55P03", format!("could not begin to write to table \"{}\"", table.name))
                .with_hint("Write to it before the transaction defines tables."))
        })
    }
    async fn sound(&self, table: &TableDef) -> Result<()> {
        if self.block.made(table.id) { Ok(()) } else { self.repository.sound(table).await }
    }
    fn watch(&self, checkout: &Checkout) -> Watch {
        State::watch(self.repository, checkout)
    }
    fn sees_all(&self) -> bool {
        State::sees_all(self.repository)
    }
    fn may(&self, checkout: &Checkout, right: Right, table: &TableName) -> Result<()> {
        State::may(self.repository, checkout, right, table)
    }
    async fn checkout(&self, spec: &str, head: Option<&Checkout>) -> Result<Checkout> {
        self.repository.checkout(spec, head).await
    }
    fn in_block(&self) -> bool {
        true
    }
}

impl Native {
    /// What the open transaction still sees of the tables that it defined.
    pub(super) async fn look_at_block(&mut self) -> Result<()> {
        if self.planner.block.is_none() {
            return Ok(());
        }
        self.pipe.drain().await?;
        if self.pipe.status == Status::Idle && !self.pipe.batch {
            self.planner.block = None;
            self.planner.forget_names();
            return Ok(());
        }
        if self.pipe.status == Status::Failed || self.pipe.skipping {
            return Ok(());
        }
        let Some(block) = &self.planner.block else { return Ok(()) };
        let sql = format!("SELECT number FROM epoch.block WHERE operation = {}", literal(block.operation()));
        let Ok(rows) = self.pipe.ask(&sql).await? else { return Ok(()) };
        let numbers: Vec<i64> = rows
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .filter_map(|number| number.parse().ok())
            .collect();
        let repository = self.planner.seat.repository.clone();
        if let Some(block) = &mut self.planner.block {
            block.retain(&numbers, &repository);
        }
        // Nothing of it is left, or it is another transaction by now.
        if numbers.is_empty() {
            self.planner.block = None;
            self.planner.forget_names();
        }
        Ok(())
    }

    /// The block of the open transaction, from its first definition on.
    fn block(&mut self) -> Result<&mut Block> {
        let Native { planner, bound, .. } = self;
        if planner.block.is_none() {
            bound.clear();
            let backend = planner.backend().to_owned();
            let seat = &planner.seat;
            planner.block = Some(seat.repository.begin_block(&seat.checkout, &backend)?);
        }
        planner.block.as_mut().ok_or_else(|| Error::internal("a block that was begun is not there"))
    }

    /// CREATE TABLE in the open transaction. The inner error is the client's.
    pub(super) async fn create_within(
        &mut self,
        place: &TableName,
        statement: Statement,
    ) -> Result<Result<TableId>> {
        let repository = self.planner.seat.repository.clone();
        let planned = match self.block() {
            Ok(block) => repository.plan_create(block, place, statement).boxed().await,
            Err(error) => Err(error),
        };
        self.define_planned(planned).boxed().await
    }

    /// ALTER TABLE and the like.
    pub(super) async fn alter_within(
        &mut self,
        table: TableId,
        statement: Statement,
    ) -> Result<Result<TableId>> {
        let repository = self.planner.seat.repository.clone();
        let planned = match self.block() {
            Ok(block) => repository.plan_alter(block, table, statement).boxed().await,
            Err(error) => Err(error),
        };
        self.define_planned(planned).boxed().await
    }

    /// ALTER TABLE … RENAME TO and SET SCHEMA.
    pub(super) async fn rename_within(&mut self, table: TableId, to: &TableName) -> Result<Result<TableId>> {
        let repository = self.planner.seat.repository.clone();
        let planned = match self.block() {
            Ok(block) => repository.plan_rename(block, table, to).boxed().await,
            Err(error) => Err(error),
        };
        self.define_planned(planned).boxed().await
    }

    /// CREATE VIEW and the like.
    pub(super) async fn view_within(&mut self, step: ViewStep) -> Result<Result<()>> {
        let repository = self.planner.seat.repository.clone();
        let planned = match self.block() {
            Ok(block) => repository.plan_view(block, step).boxed().await,
            Err(error) => Err(error),
        };
        Ok(self.define_planned(planned).boxed().await?.map(drop))
    }

    /// CREATE TYPE.
    pub(super) async fn type_within(&mut self, new: NewType) -> Result<Result<()>> {
        let repository = self.planner.seat.repository.clone();
        let planned = match self.block() {
            Ok(block) => repository.plan_type(block, new).boxed().await,
            Err(error) => Err(error),
        };
        match planned {
            Ok(Ok(planned)) => Ok(self.define_planned(Ok(planned)).boxed().await?.map(drop)),
            Ok(Err(known)) => self.note(Step::Show(vec![known])).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// DROP TYPE.
    pub(super) async fn drop_types_within(&mut self, ids: &[TableId]) -> Result<Result<()>> {
        let repository = self.planner.seat.repository.clone();
        let types = match self.block() {
            Ok(block) => repository.plan_drop_types(block, ids),
            Err(error) => Err(error),
        };
        let types = match types {
            Ok(types) => types,
            Err(error) => return Ok(Err(error)),
        };
        for table in &types {
            let users = match self.pipe.ask(&users_of_type_sql(table)).await? {
                Ok(rows) => read_users(rows),
                Err(error) => return Ok(Err(error)),
            };
            let checked = self.block().and_then(|block| Repository::check_unused_type(block, table, &users));
            if let Err(error) = checked {
                return Ok(Err(error));
            }
        }
        self.note(Step::Drop(ids.to_vec())).await
    }

    /// What the branch says of views is forgotten.
    pub(super) async fn forget_within(&mut self, ids: &[TableId]) -> Result<Result<()>> {
        let repository = self.planner.seat.repository.clone();
        let step = match self.block() {
            Ok(block) => repository.plan_forget(block, ids),
            Err(error) => Err(error),
        };
        match step {
            Ok(step) => self.note(step).await,
            Err(error) => Ok(Err(error)),
        }
    }

    async fn define_planned(&mut self, planned: Result<Planned>) -> Result<Result<TableId>> {
        let planned = match planned {
            Ok(planned) => Arc::new(planned),
            Err(error) => return Ok(Err(error)),
        };
        let backend = self.planner.backend().to_owned();
        let lent = Arc::clone(&planned);
        let work = move |stream| async move {
            define_within(stream, &backend, &lent.table, lent.layer, &lent.change).await
        };
        let definition = match self.pipe.lend(work).boxed().await? {
            Ok(definition) => definition,
            Err(error) => return Ok(Err(error)),
        };
        let repository = self.planner.seat.repository.clone();
        let step = match repository.done(&planned, definition) {
            Ok(step) => step,
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.note(step).await?.map(|()| planned.table.id))
    }

    /// Notes a step where a ROLLBACK TO SAVEPOINT takes it back.
    async fn note(&mut self, step: Step) -> Result<Result<()>> {
        let operation = match self.block() {
            Ok(block) => literal(block.operation()),
            Err(error) => return Ok(Err(error)),
        };
        let sql = format!("INSERT INTO epoch.block (operation) VALUES ({operation}) RETURNING number");
        let rows = match self.pipe.ask(&sql).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let number = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        let Some(number) = number.and_then(|n| n.parse().ok()) else {
            return Ok(Err(Error::internal("a step of a transaction has no number")));
        };
        let repository = self.planner.seat.repository.clone();
        Ok(self.block().map(|block| block.push(number, step, &repository)))
    }

    /// DROP TABLE.
    pub(super) async fn drop_within(&mut self, ids: &[TableId]) -> Result<Result<()>> {
        let rows = match self.pipe.ask(FOREIGN_KEYS).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let number = |row: &[Option<String>], i: usize| {
            row.get(i).cloned().flatten().and_then(|n| n.parse().ok()).map(TableId)
        };
        let keys: Vec<_> = rows.iter().filter_map(|row| number(row, 0).zip(number(row, 3))).collect();
        let repository = self.planner.seat.repository.clone();
        let (script, tables) = {
            let block = match self.block() {
                Ok(block) => block,
                Err(error) => return Ok(Err(error)),
            };
            let tables = match repository.plan_drop(block, ids, &keys) {
                Ok(tables) => tables,
                Err(error) => return Ok(Err(error)),
            };
            let layer = block.layer();
            let mut script = hide_sql(layer, ids);
            // What a branch holds of main's tables stays, as it was.
            for table in tables.iter().filter(|t| t.location.is_draft() && t.revision.is_none()) {
                script += &format!("{};\n", clear_sql(table, layer));
            }
            (script, tables)
        };
        debug_assert_eq!(tables.len(), ids.len());
        if let Err(error) = self.pipe.ask(&script).await? {
            return Ok(Err(error));
        }
        self.note(Step::Drop(ids.to_vec())).await
    }

    /// COMMIT of a transaction that defined tables. The inner error is the client's.
    pub(super) async fn commit_block(&mut self, text: &str) -> Result<Result<Done>> {
        let Some(block) = self.planner.block.take() else {
            return Ok(self.pipe.ask(text).await?.map(|_| Done::command("COMMIT")));
        };
        self.planner.forget_names();
        let repository = self.planner.seat.repository.clone();
        let lock = match repository.commit_block(&block).boxed().await {
            Ok(lock) => lock,
            Err(error) => {
                // It is over, as after a COMMIT that fails.
                let _ = self.pipe.ask("ROLLBACK").await?;
                return Ok(Err(error));
            }
        };
        let committed = self.pipe.ask(text).await;
        let known = committed.as_ref().ok().map(Result::is_ok);
        let finished = repository.finish_block(lock, &block, known).boxed().await;
        committed?.map_or_else(
            |error| Ok(Err(error)),
            |_| {
                Ok(finished.map(|()| Done::command("COMMIT")).map_err(|error| {
                    Error::new(
                        sqlstate::STATEMENT_COMPLETION_UNKNOWN,
                        "the transaction is committed, but the repository does not know its tables yet",
                    )
                    .with_detail(error.message())
                    .with_hint("It is finished before the next operation.")
                }))
            },
        )
    }

    /// Whether a text is a transaction block of its own in which tables are defined: then it is begun.
    pub(super) async fn begin_implicit(&mut self, sql: &str) -> Result<bool> {
        let quiet = self.pipe.status == Status::Idle && !self.pipe.batch;
        if self.planner.is_relaying() || !quiet || !crate::query::defines_with_others(sql) {
            return Ok(false);
        }
        self.pipe.drain().await?;
        if self.pipe.status != Status::Idle || self.pipe.ask("BEGIN").await?.is_err() {
            return Ok(false);
        }
        self.pipe.implicit = true;
        Ok(true)
    }

    /// Ends what [`Native::begin_implicit`] began, if it isn't over.
    pub(super) async fn end_implicit(&mut self) -> Result<()> {
        self.pipe.drain().await?;
        if self.pipe.status != Status::Idle {
            let _ = self.pipe.ask("ROLLBACK").await?;
        }
        self.pipe.implicit = false;
        self.planner.block = None;
        self.planner.forget_names();
        Ok(())
    }
}
