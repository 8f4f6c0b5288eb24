//! [`SqlServerAdapter`]: the contract on one SQL Server database.

use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use epoch_adapter::{
    Adapter, BackendKind, BatchStream, ChangeStream, Discovered, Error, Health, Layer, Leftover, LineageId,
    Location, Ordinal, Predicate, Result, Row, Scan, SealMode, Sealed, SeenTable, Segment, TableChanges,
    TableDef, TableId, TableSchema, TableStats, Transaction, View, Violation, Wanted, sqlstate,
};
use futures::StreamExt;

use crate::meta::{Catalog, Meta};
use crate::pool::{Pool, Session};
use crate::scan::{Query, channel, stream};
use crate::seal::Seal;
use crate::tx::Tx;
use crate::{
    connect, describe, diff, drift, durability, forms, garbage, install, layer, seal, view, violations,
};

/// How long what is known of the tables counts: so long may a branch be read after its table was changed past us. Seals
/// and merges always look.
const KNOWN: Duration = Duration::from_secs(1);

/// One SQL Server database as a backend. Cheap to share.
pub struct SqlServerAdapter {
    name: String,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for SqlServerAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlServerAdapter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What all users of the database share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub pool: Arc<Pool>,
    /// The repository that the database belongs to.
    owner: OnceLock<String>,
    catalog: Mutex<Option<Arc<Catalog>>>,
    /// Whoever reads the server's catalog: one at a time.
    reading: tokio::sync::Mutex<()>,
}

impl Shared {
    fn known(&self) -> Option<Arc<Catalog>> {
        let catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone();
        catalog.filter(|c| c.at.elapsed() < KNOWN)
    }

    /// The registered tables, as they were a moment ago at most. The session may be in a transaction: another reads.
    pub(crate) async fn catalog(&self, _: &mut Session) -> Result<Arc<Catalog>> {
        if let Some(catalog) = self.known() {
            return Ok(catalog);
        }
        let _turn = self.reading.lock().await;
        match self.known() {
            Some(catalog) => Ok(catalog),
            None => self.look().await,
        }
    }

    /// The registered tables as they are now.
    async fn look(&self) -> Result<Arc<Catalog>> {
        let mut session = self.pool.get().await?;
        let before = self.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let catalog = Arc::new(Catalog::load(&mut session, before.as_deref()).await?);
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&catalog));
        Ok(catalog)
    }

    fn forget(&self) {
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A connection in a transaction of one snapshot.
    async fn reader(&self) -> Result<Session> {
        let mut session = self.pool.get().await?;
        session.begin_snapshot().await?;
        Ok(session)
    }

    /// The rows of a view, as of now, on a connection of their own.
    pub(crate) async fn scan(&self, table: &TableDef, view: &View, wanted: &Scan) -> Result<BatchStream> {
        let mut session = self.reader().await?;
        let catalog = match view.is_plain() {
            true => None,
            false => Some(self.catalog(&mut session).await?),
        };
        let query = Query::plan(&mut session, catalog.as_deref(), table, view, wanted, false).await?;
        let (sink, receiver) = channel();
        tokio::spawn(async move {
            if let Err(error) = query.run(&mut session, &sink).await {
                // The reader may have gone; then nobody wants the error.
                let _ = sink.send(Err(error)).await;
            }
        });
        Ok(stream(receiver))
    }
}

impl SqlServerAdapter {
    /// For a server and a database; nothing connects yet. `pool_size`: how many idle connections are kept.
    ///
    /// # Errors
    /// F0000 if the URL isn't one, without showing any of it.
    pub fn new(name: &str, url: &str, pool_size: usize) -> Result<Self> {
        let pool = Pool::new(name, connect::target(name, url)?, pool_size);
        let (owner, catalog, reading) = (OnceLock::new(), Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { name: name.to_owned(), shared: Arc::new(Shared { pool, owner, catalog, reading }) })
    }

    /// A connection in a snapshot, and what is known of a table.
    async fn read(&self, table: &TableDef) -> Result<(Session, Arc<Meta>)> {
        let mut session = self.shared.reader().await?;
        let meta = self.shared.catalog(&mut session).await?.get(table)?;
        Ok((session, meta))
    }
}

#[async_trait]
impl Adapter for SqlServerAdapter {
    fn kind(&self) -> BackendKind {
        BackendKind::SqlServer
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn health(&self) -> Result<Health> {
        let mut session = self.shared.pool.get().await?;
        let sql = "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128))";
        let silent =
            || Error::new(sqlstate::PROTOCOL_VIOLATION, "sqlserver: the server does not tell its version");
        let version = session.text(sql, &[]).await?.ok_or_else(silent)?;
        Ok(Health { version: format!("SQL Server {version}"), connections: self.shared.pool.usage() })
    }

    async fn risks(&self) -> Result<Vec<String>> {
        durability::risks(&mut self.shared.pool.get().await?).await
    }

    async fn discover(&self, pattern: &str) -> Result<Vec<Discovered>> {
        describe::discover(&mut self.shared.pool.get().await?, &self.name, pattern).await
    }

    async fn describe(&self, location: &Location, key: Option<&[String]>) -> Result<TableSchema> {
        describe::describe(&mut self.shared.pool.get().await?, location, key).await
    }

    fn belong_to(&self, repository: &str) {
        self.shared.owner.get_or_init(|| repository.to_owned());
    }

    async fn install(&self, table: &TableDef) -> Result<()> {
        let mut session = self.shared.pool.get().await?;
        let result = install::install(&mut session, table, self.shared.owner.get()).await;
        self.shared.forget();
        result
    }

    async fn uninstall(&self, table: &TableDef) -> Result<()> {
        let mut session = self.shared.pool.get().await?;
        let result = install::uninstall(&mut session, table, self.shared.owner.get()).await;
        self.shared.forget();
        result
    }

    async fn ensure_layer(&self, table: &TableDef, layer: Layer, parent: Option<&View>) -> Result<()> {
        let mut session = self.shared.pool.get().await?;
        let meta = self.shared.catalog(&mut session).await?.get(table)?;
        if layer.is_main() {
            return Ok(());
        }
        // A writer of the branch has the layer's row until its transaction ends: it isn't waited for.
        session.begin_snapshot().await?;
        layer::ensure(&mut session, &meta, layer, parent).await?;
        session.run("COMMIT TRANSACTION").await
    }

    async fn related(&self, table: &TableDef) -> Result<Vec<TableId>> {
        let mut session = self.shared.pool.get().await?;
        Ok(self.shared.catalog(&mut session).await?.related(table.id))
    }

    async fn scan(&self, table: &TableDef, view: &View, wanted: &Scan) -> Result<BatchStream> {
        self.shared.scan(table, view, wanted).await
    }

    fn supports(&self, table: &TableDef, predicate: &Predicate) -> bool {
        view::supports(table, predicate)
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        Ok(Box::new(Tx::new(Arc::clone(&self.shared), self.shared.pool.get().await?)))
    }

    async fn pending(&self, tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<(TableId, TableStats)>> {
        let mut session = self.shared.reader().await?;
        let catalog = self.shared.catalog(&mut session).await?;
        let mut out = Vec::new();
        for table in tables {
            if drift::untouched(&mut session, &catalog, table.id, layer).await? {
                continue;
            }
            let stats = seal::pending(&mut session, &*catalog.get(table)?, layer).await?;
            if stats.rows() > 0 {
                out.push((table.id, stats));
            }
        }
        Ok(out)
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
        let catalog = self.shared.look().await?;
        let mut session = self.shared.pool.get().await?;
        seal::run(&mut session, &catalog, &Seal { operation, tables, layer, ordinal, changes, mode }).await
    }

    async fn sealed(&self, operation: &str) -> Result<Option<Sealed>> {
        seal::sealed(&mut self.shared.pool.get().await?, operation).await
    }

    async fn diff(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
        wanted: &Wanted,
    ) -> Result<ChangeStream> {
        let (mut session, meta) = self.read(table).await?;
        let plan = diff::plan(&meta, (from, to), segments, wanted)?;
        let (sink, receiver) = channel();
        tokio::spawn(async move {
            if let Err(error) = diff::run(&mut session, &meta, &plan, &sink).await {
                let _ = sink.send(Err(error)).await;
            }
        });
        Ok(stream(receiver)
            .flat_map(|chunk| {
                let items: Vec<_> = match chunk {
                    Ok(changes) => changes.into_iter().map(Ok).collect(),
                    Err(e) => vec![Err::<_, Error>(e)],
                };
                futures::stream::iter(items)
            })
            .boxed())
    }

    async fn key_forms(&self, table: &TableDef, keys: Vec<Row>) -> Result<Vec<Row>> {
        if keys.len() < 2 || !forms::vary(table) {
            return Ok(keys);
        }
        forms::forms(&mut self.shared.pool.get().await?, table, &keys).await
    }

    async fn changes_of_keys(
        &self,
        table: &TableDef,
        wanted: &Wanted,
        lineages: &[LineageId],
    ) -> Result<Vec<(LineageId, Ordinal)>> {
        let (mut session, meta) = self.read(table).await?;
        diff::changes_of_keys(&mut session, &meta, wanted, lineages).await
    }

    async fn diff_stat(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
    ) -> Result<TableStats> {
        let (mut session, meta) = self.read(table).await?;
        diff::stat(&mut session, &diff::plan(&meta, (from, to), segments, &Wanted::default())?).await
    }

    async fn drift(&self, tables: &[Arc<TableDef>]) -> Result<Vec<(TableId, String)>> {
        let catalog = self.shared.look().await?;
        Ok(tables.iter().filter_map(|t| Some((t.id, catalog.drift(t.id)?))).collect())
    }

    async fn violations(
        &self,
        table: &TableDef,
        view: &View,
        others: &[SeenTable],
        limit: usize,
    ) -> Result<Vec<Violation>> {
        let mut session = self.shared.reader().await?;
        let catalog = self.shared.catalog(&mut session).await?;
        let meta = catalog.get(table)?;
        violations::violations(&mut session, &catalog, &meta, view, others, limit).await
    }

    async fn create_statement(&self, table: &TableDef) -> Result<String> {
        describe::create_statement(&mut self.shared.pool.get().await?, table).await
    }

    async fn measure(&self, table: &TableDef, what: &Leftover) -> Result<u64> {
        let (mut session, meta) = self.read(table).await?;
        garbage::measure(&mut session, &meta, what).await
    }

    async fn remove(&self, table: &TableDef, what: &Leftover, limit: usize) -> Result<usize> {
        let mut session = self.shared.pool.get().await?;
        let meta = self.shared.catalog(&mut session).await?.get(table)?;
        garbage::remove(&mut session, &meta, what, limit).await
    }

    /// What checks constraints here goes by the rows of a statement's own lineage.
    async fn abandon(&self, _: &[LineageId]) -> Result<()> {
        Ok(())
    }

    async fn forget_lineages(&self, lineages: &[LineageId]) -> Result<()> {
        garbage::forget(&mut self.shared.pool.get().await?, lineages).await
    }

    async fn row_estimate(&self, table: &TableDef) -> Result<i64> {
        describe::row_estimate(&mut self.shared.pool.get().await?, table).await
    }
}
