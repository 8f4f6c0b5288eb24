//! PostgreSQL (14 to 18) as a storage backend.
//!
//! The user's tables are main; beside each, [`layout`] names a history, an overlay and a mask. Who
//! changes a table (through us or not) is captured by triggers in the database.

mod apply;
mod borrowed;
mod capture;
mod catalog;
mod combine;
mod combined_names;
mod combined_parts;
mod combined_steps;
mod connect;
mod constraints;
mod diff;
mod draft;
mod drift;
mod enums;
mod error;
mod exact;
mod fk_check;
mod foreign_keys;
mod garbage;
mod harmful;
mod homecoming;
mod install;
mod layer;
pub mod layout;
pub mod lexer;
mod moved;
mod of_main;
mod parse;
mod partitions;
mod pending;
mod predicate;
pub mod relation;
mod revise;
mod rows;
mod scan;
mod seal;
mod stand_in;
mod stored;
mod stream;
mod text;
mod transaction;
mod trigger_body;
mod tx;
mod types;
mod user_triggers;
mod versions;
mod views;
mod violations;
mod would_break;
mod writers;
mod written;

pub use apply::compare_sql;
pub use borrowed::define_within;
pub use diff::diff_sql;
pub use enums::{read_users, users_of_type_sql};
pub use error::{present, present_detail};
pub use harmful::runs_text;
pub use stand_in::FOREIGN_KEYS;
pub use user_triggers::TRUNCATING_SETTING;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use epoch_adapter::{
    Adapter, BackendKind, BatchStream, ChangeStream, Column, Combined, Definition, Discovered, DraftChange,
    Error, Health, Image, Layer, LayerSize, Leftover, LineageId, Location, Ordinal, Pair, Predicate, Result,
    Row, Scan, SealMode, Sealed, SeenTable, Segment, Siblings, TableChanges, TableDef, TableId, TableSchema,
    TableStats, Transaction, TypeUser, UserTrigger, Value, View, Violation, Wanted, Writers, sqlstate,
};
use tokio::sync::OnceCell;

use crate::error::pg;
use crate::seal::Outcome;
use crate::stream::Source;
use crate::transaction::PostgresTransaction;
use crate::tx::Tx;

/// How often a seal looks again for partitions that came meanwhile.
const PATIENCE: usize = 5;

/// One PostgreSQL database.
#[derive(Clone)]
pub struct PostgresAdapter {
    name: Arc<str>,
    pool: Pool,
    /// The repository that it belongs to.
    owner: OnceLock<String>,
    /// Whether it is known to be the database that wrote its histories.
    settled: Arc<OnceCell<()>>,
}

impl std::fmt::Debug for PostgresAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresAdapter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PostgresAdapter {
    /// An adapter for the database at `url` (`postgresql://user:password@host:port/database` with
    /// `sslmode`, `sslrootcert` and the driver's other parameters). Connects when first used.
    pub fn connect(name: &str, url: &str, pool_size: usize) -> Result<Self> {
        Ok(Self {
            name: name.into(),
            pool: connect::pool(name, url, pool_size)?,
            owner: OnceLock::new(),
            settled: Arc::default(),
        })
    }

    async fn client(&self) -> Result<Object> {
        self.settle().await?;
        connect::get(&self.pool, &self.name).await
    }

    /// A transaction that installs or removes something of ours.
    async fn installing(&self) -> Result<Tx> {
        let tx = self.tx_ddl().await?;
        if let Some(owner) = self.owner.get() {
            let set = format!("SET LOCAL epoch.repository = {}", layout::literal(owner));
            tx.batch_execute(&set).await.map_err(pg)?;
        }
        Ok(tx)
    }

    async fn tx_ddl(&self) -> Result<Tx> {
        self.settle().await?;
        Tx::begin_ddl(&self.pool, &self.name).await
    }

    async fn tx(&self) -> Result<Tx> {
        self.settle().await?;
        Tx::begin(&self.pool, &self.name).await
    }

    /// Notes partitions that came since the last look.
    async fn adopt(&self, table: &TableDef) -> Result<()> {
        let tx = self.tx_ddl().await?;
        let done = partitions::adopt(&tx, table).await;
        tx.finish(done).await
    }
}

/// Of a lock that wasn't to be had in time, the table.
fn in_use(error: Error, table: &TableDef) -> Error {
    if error.code() != sqlstate::LOCK_NOT_AVAILABLE {
        return error;
    }
    Error::new(sqlstate::LOCK_NOT_AVAILABLE, format!("table \"{}\" is in use", table.name))
        .with_detail("An open transaction has a lock on it, or on rows of its branches, that didn't end in 15 seconds.")
        .with_hint("Retry when it has ended.")
}

async fn record_in(tx: &Tx, layer: Layer) -> Result<()> {
    if !tx::is_true(tx, "SELECT to_regclass('epoch.block') IS NOT NULL").await? {
        install::lock(tx).await?;
        install::shared_part(tx).await?;
    }
    layer::record(tx, layer).await
}

/// Whether a client's transaction with data definition was committed. If it is still open, that is waited for.
async fn block_took_place(tx: &Tx, operation: &str) -> Result<bool> {
    install::lock(tx).await?;
    if !tx::is_true(tx, "SELECT to_regclass('epoch.block') IS NOT NULL").await? {
        return Ok(false);
    }
    let sql = format!("SELECT FROM epoch.block WHERE operation = {} LIMIT 1", layout::literal(operation));
    Ok(!tx::texts(tx, &sql).await?.is_empty())
}

/// SQL by which a client's own transaction notes that its branch doesn't show tables any more.
pub fn hide_sql(layer: Layer, tables: &[TableId]) -> String {
    let gone: Vec<_> = tables.iter().map(|id| (*id, false)).collect();
    versions::show(layer, &gone, false)
}

/// SQL that empties what a branch holds of a draft.
pub fn clear_sql(table: &TableDef, layer: Layer) -> String {
    draft::clear_sql(table, layer)
}

#[async_trait]
impl Adapter for PostgresAdapter {
    fn kind(&self) -> BackendKind {
        BackendKind::PostgreSql
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn health(&self) -> Result<Health> {
        let client = self.client().await?;
        let row = client.query_one("SHOW server_version", &[]).await.map_err(pg)?;
        let version: String = row.try_get(0).map_err(pg)?;
        let status = self.pool.status();
        Ok(Health { version: format!("PostgreSQL {version}"), connections: (status.size, status.max_size) })
    }

    async fn risks(&self) -> Result<Vec<String>> {
        // As our own connections have them: a role and a database may have settings of their own.
        let sql = "SELECT name || ' is off' FROM pg_settings WHERE setting = 'off' \
                   AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name";
        let rows = tx::texts(&self.client().await?, sql).await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    async fn discover(&self, pattern: &str) -> Result<Vec<Discovered>> {
        catalog::discover(&self.client().await?, &self.name, pattern).await
    }

    async fn describe(&self, location: &Location, key: Option<&[String]>) -> Result<TableSchema> {
        catalog::describe(&self.client().await?, location, key).await
    }

    async fn settle(&self) -> Result<()> {
        let settle = || moved::settle(&self.pool, &self.name);
        self.settled.get_or_try_init(settle).await.copied()
    }

    async fn await_definers(&self, patience: Duration) -> Result<bool> {
        let tx = self.tx().await?;
        let free = install::await_lock(&tx, patience).await;
        tx.rollback().await?;
        free
    }

    fn belong_to(&self, repository: &str) {
        self.owner.get_or_init(|| repository.to_owned());
    }

    async fn install(&self, table: &TableDef) -> Result<()> {
        install::install(self.installing().await?, table).await.map_err(|e| in_use(e, table))
    }

    async fn user_triggers(&self, table: &TableDef) -> Result<Vec<UserTrigger>> {
        user_triggers::list(&self.client().await?, table).await
    }

    async fn run_triggers(&self, table: &TableDef, on: bool) -> Result<()> {
        let tx = self.installing().await?;
        let done = user_triggers::set(&tx, table, on).await;
        tx.finish(done).await.map_err(|e| in_use(e, table))
    }

    async fn uninstall(&self, table: &TableDef) -> Result<()> {
        install::uninstall(self.installing().await?, table).await.map_err(|e| in_use(e, table))
    }

    async fn define(&self, table: &TableDef, layer: Layer, change: &DraftChange) -> Result<Definition> {
        let tx = self.installing().await?;
        let done = draft::define(&tx, table, layer, change).await;
        tx.finish(done).await
    }

    async fn combine(&self, table: &TableDef, siblings: &Siblings) -> Result<Combined> {
        let tx = self.installing().await?;
        match combine::combine(&tx, table, siblings).await {
            Ok(Combined::Differs(parts)) => {
                tx.rollback().await?;
                Ok(Combined::Differs(parts))
            }
            done => tx.finish(done).await,
        }
    }

    async fn clear(&self, table: &TableDef, layer: Layer) -> Result<()> {
        let tx = self.tx().await?;
        let done = draft::clear(&tx, table, layer).await;
        tx.finish(done).await
    }

    async fn note_shown(&self, layer: Layer, tables: &[(TableId, bool)], first: bool) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        let tx = self.tx().await?;
        let script = versions::show(layer, tables, first);
        let done = tx.batch_execute(&script).await.map_err(pg);
        tx.finish(done).await
    }

    async fn record(&self, layer: Layer) -> Result<()> {
        let tx = self.tx_ddl().await?;
        let done = record_in(&tx, layer).await;
        tx.finish(done).await
    }

    async fn took_place(&self, operation: &str) -> Result<bool> {
        let tx = self.tx_ddl().await?;
        let done = block_took_place(&tx, operation).await;
        tx.finish(done).await
    }

    async fn forget(&self, operation: &str) -> Result<()> {
        let tx = self.tx().await?;
        let sql = format!("DELETE FROM epoch.block WHERE operation = {}", layout::literal(operation));
        let done = tx.batch_execute(&sql).await.map_err(pg);
        tx.finish(done).await
    }

    async fn foreign_keys(&self) -> Result<Vec<(TableId, TableId)>> {
        stand_in::all(&self.client().await?).await
    }

    async fn references(&self) -> Result<Vec<(TableId, TableId)>> {
        stand_in::references(&self.client().await?).await
    }

    async fn live_view(&self, view: &TableDef) -> Result<Option<String>> {
        views::live_text(&self.client().await?, view).await
    }

    async fn users_of_type(&self, table: &TableDef) -> Result<Vec<TypeUser>> {
        enums::users(&self.client().await?, table).await
    }

    async fn definition(&self, table: &TableDef) -> Result<Option<Definition>> {
        draft::definition(&self.client().await?, table).await
    }

    async fn ensure_layer(&self, table: &TableDef, layer: Layer, parent: Option<&View>) -> Result<()> {
        if layer.is_main() {
            return Ok(());
        }
        loop {
            let tx = match parent {
                None => self.tx().await?,
                Some(_) => {
                    self.settle().await?;
                    Tx::begin_snapshot(&self.pool, &self.name).await?
                }
            };
            let done = match layer::record(&tx, layer).await {
                Ok(()) => match parent {
                    // Its rows may come with a merge; a snapshot that is older doesn't see them.
                    None if table.revision.is_some() => layer::note(&tx, table, layer).await,
                    None => Ok(()),
                    Some(parent) => layer::copy_parent(&tx, table, layer, parent).await,
                },
                Err(error) => Err(error),
            };
            match tx.finish(done).await {
                // Somebody else did it while we looked: the next look sees it.
                Err(error) if error.code() == sqlstate::SERIALIZATION_FAILURE => {}
                done => return done,
            }
        }
    }

    async fn related(&self, table: &TableDef) -> Result<Vec<TableId>> {
        foreign_keys::related(&self.client().await?, table).await
    }

    async fn scan(&self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream> {
        scan::scan(Source::Own(Box::new(self.client().await?)), table, view, scan).await
    }

    fn supports(&self, table: &TableDef, predicate: &Predicate) -> bool {
        predicate::supports(table, predicate)
    }

    async fn stored(&self, column: &Column, value: &Value) -> Result<Value> {
        let Value::Text(text) = value else { return Ok(value.clone()) };
        let tx = self.tx().await?;
        let stored = stored::stored(&tx, column, text).await;
        tx.rollback().await?;
        stored.map(Value::Text)
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        Ok(Box::new(PostgresTransaction { tx: self.tx().await? }))
    }

    async fn pending(&self, tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<(TableId, TableStats)>> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        pending::pending(&self.client().await?, tables, layer).await
    }

    async fn touched(&self, tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<TableId>> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let found =
            pending::with_pending(&self.client().await?, tables, layer).await?.into_iter().map(|t| t.id);
        Ok(found.collect())
    }

    async fn seal(
        &self,
        operation: &str,
        tables: &[Arc<TableDef>],
        layer: Layer,
        ordinal: Ordinal,
        changes: &[TableChanges],
        mode: SealMode,
    ) -> Result<Sealed> {
        // Partitions that came since the last seal must be known before anything is published.
        for _ in 0..PATIENCE {
            let tx = Tx::begin_seal(&self.pool, &self.name).await?;
            match seal::seal(&tx, operation, tables, layer, ordinal, changes, mode).await {
                Ok(Outcome::Unadopted(tables)) => {
                    tx.rollback().await?;
                    for table in &tables {
                        self.adopt(table).await?;
                    }
                }
                Ok(Outcome::Sealed(sealed)) => return tx.finish(Ok(sealed)).await,
                Err(error) => return tx.finish(Err(error)).await,
            }
        }
        Err(Error::new(sqlstate::SERIALIZATION_FAILURE, "partitions are made faster than they are noted")
            .with_hint("Retry."))
    }

    async fn sealed(&self, operation: &str) -> Result<Option<Sealed>> {
        let client = self.client().await?;
        if !tx::is_true(&client, "SELECT to_regclass('epoch.seal') IS NOT NULL").await? {
            return Ok(None);
        }
        seal::sealed(&client, operation).await
    }

    async fn diff(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
        wanted: &Wanted,
    ) -> Result<ChangeStream> {
        diff::diff(Source::Own(Box::new(self.client().await?)), table, from, to, segments, wanted).await
    }

    async fn changes_of_keys(
        &self,
        table: &TableDef,
        wanted: &Wanted,
        lineages: &[LineageId],
    ) -> Result<Vec<(LineageId, Ordinal)>> {
        diff::changes_of_keys(&self.client().await?, table, wanted, lineages).await
    }

    async fn images_of_key(
        &self,
        table: &TableDef,
        key: &Row,
        lineages: &[LineageId],
    ) -> Result<Option<Vec<Image>>> {
        diff::images_of_key(&self.client().await?, table, key, lineages).await.map(Some)
    }

    async fn diff_stat(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
    ) -> Result<TableStats> {
        diff::stat(&self.client().await?, table, from, to, segments).await
    }

    async fn layer_sizes(
        &self,
        table: &TableDef,
        lineages: &[LineageId],
    ) -> Result<Option<HashMap<LineageId, LayerSize>>> {
        layer::sizes(&self.client().await?, table, lineages).await.map(Some)
    }

    async fn diff_versions(&self, pair: &Pair) -> Result<ChangeStream> {
        diff::diff_versions(Source::Own(Box::new(self.client().await?)), pair).await
    }

    async fn diff_versions_stat(&self, pair: &Pair) -> Result<TableStats> {
        diff::stat_versions(&self.client().await?, pair).await
    }

    async fn drift(&self, tables: &[Arc<TableDef>]) -> Result<Vec<(TableId, String)>> {
        let client = self.client().await?;
        let mut found = drift::look(&client, tables).await?;
        drop(client);
        for table in &found.unadopted {
            if let Err(error) = self.adopt(table).await {
                let reason = format!("a new partition cannot be noted: {}", error.message());
                found.drifted.push((table.id, reason));
            }
        }
        Ok(found.drifted)
    }

    async fn accept(&self, table: &TableDef) -> Result<()> {
        written::note(&self.client().await?, table).await
    }

    async fn violations(
        &self,
        table: &TableDef,
        view: &View,
        others: &[SeenTable],
        limit: usize,
    ) -> Result<Vec<Violation>> {
        violations::violations(&self.client().await?, (table, view), others, limit).await
    }

    async fn writers(&self, tables: &[Arc<TableDef>]) -> Result<Vec<Writers>> {
        writers::writers(&self.client().await?, tables).await
    }

    async fn would_break(
        &self,
        shown: &[SeenTable],
        changes: &[TableChanges],
        limit: usize,
    ) -> Result<Option<Vec<(TableId, Violation)>>> {
        let tx = self.tx().await?;
        let found = would_break::would_break(&tx, shown, changes, limit).await;
        // The changes were never more than a temporary table.
        let _ = tx.rollback().await;
        found.map(Some)
    }

    async fn create_statement(&self, table: &TableDef) -> Result<String> {
        catalog::create_statement(&self.client().await?, table).await
    }

    async fn measure(&self, table: &TableDef, what: &Leftover) -> Result<u64> {
        garbage::measure(&self.client().await?, table, what).await
    }

    async fn remove(&self, table: &TableDef, what: &Leftover, limit: usize) -> Result<usize> {
        let tx = self.tx().await?;
        let done = garbage::remove(&tx, table, what, limit).await;
        tx.finish(done).await
    }

    async fn abandon(&self, lineages: &[LineageId]) -> Result<()> {
        let tx = self.tx().await?;
        let done = garbage::abandon(&tx, lineages).await;
        tx.finish(done).await
    }

    async fn forget_lineages(&self, lineages: &[LineageId]) -> Result<()> {
        let tx = self.tx().await?;
        let done = garbage::forget(&tx, lineages).await;
        tx.finish(done).await
    }

    async fn size(&self, table: &TableDef) -> Result<u64> {
        garbage::size(&self.client().await?, table).await
    }

    async fn row_estimate(&self, table: &TableDef) -> Result<i64> {
        catalog::row_estimate(&self.client().await?, table).await
    }
}
