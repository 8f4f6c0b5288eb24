//! [`SqliteAdapter`]: the contract on one SQLite file.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use epoch_adapter::{
    Adapter, BackendKind, BatchStream, ChangeStream, Discovered, Error, Health, Layer, Leftover, LineageId,
    Location, Ordinal, Predicate, Result, Row, Scan, SealMode, Sealed, SeenTable, Segment, TableChanges,
    TableDef, TableId, TableSchema, TableStats, Transaction, View, Violation, Wanted,
};
use futures::StreamExt;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::map;
use crate::keys::collated;
use crate::meta::{Catalog, Meta, schema_version};
use crate::pool::{Pool, Pooled, blocking};
use crate::seal::Seal;
use crate::tx::Tx;
use crate::{describe, diff, drift, garbage, install, layer, scan, seal, view, violations, would_break};

/// One SQLite file as a backend. Cheap to share; never blocks the async runtime.
pub struct SqliteAdapter {
    name: String,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for SqliteAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteAdapter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What all users of the file share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub pool: Arc<Pool>,
    /// The repository that the file belongs to.
    owner: OnceLock<String>,
    catalog: Mutex<Option<Arc<Catalog>>>,
}

impl Shared {
    /// The registered tables as of the transaction of `conn`.
    pub(crate) fn catalog(&self, conn: &Connection) -> Result<Arc<Catalog>> {
        let version = schema_version(conn)?;
        let cached = self.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(catalog) = cached.filter(|c| c.version == version) {
            return Ok(catalog);
        }
        let mut fresh = Catalog::load(conn, version)?;
        drift::look(conn, &mut fresh)?;
        let fresh = Arc::new(fresh);
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// A connection in a read transaction.
    pub(crate) fn reader(&self) -> Result<Pooled> {
        let conn = self.pool.get()?;
        conn.execute_batch("BEGIN").map_err(map)?;
        Ok(conn)
    }
}

impl SqliteAdapter {
    /// Opens a file, creating it if it is missing, and puts it into WAL mode. Blocks for a moment.
    ///
    /// # Errors
    /// 08001 if the file can't be opened, XX001 if it isn't a SQLite database.
    pub fn open(name: &str, path: &Path) -> Result<Self> {
        let pool = Pool::open(path)?;
        Ok(Self {
            name: name.to_owned(),
            shared: Arc::new(Shared { pool, owner: OnceLock::new(), catalog: Mutex::default() }),
        })
    }

    /// Blocking work in a read transaction.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let conn = shared.reader()?;
            let result = work(&shared, &conn);
            conn.execute_batch("ROLLBACK").map_err(map)?;
            result
        })
        .await
    }

    /// Blocking work in a write transaction.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let mut conn = shared.pool.get()?;
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(map)?;
            let result = work(&tx)?;
            tx.commit().map_err(map)?;
            Ok(result)
        })
        .await
    }

    async fn with_meta<T: Send + 'static>(
        &self,
        table: &TableDef,
        work: impl FnOnce(&Connection, &Meta) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let table = table.clone();
        self.read(move |shared, conn| {
            let meta = shared.catalog(conn)?.get(&table)?;
            work(conn, &meta)
        })
        .await
    }
}

#[async_trait]
impl Adapter for SqliteAdapter {
    fn kind(&self) -> BackendKind {
        BackendKind::Sqlite
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn health(&self) -> Result<Health> {
        let connections = self.shared.pool.usage();
        self.read(move |_, conn| {
            let version: String = conn.query_row("SELECT sqlite_version()", [], |r| r.get(0)).map_err(map)?;
            // Reads the file, too, so that a lost disk shows.
            schema_version(conn)?;
            Ok(Health { version: format!("SQLite {version}"), connections })
        })
        .await
    }

    /// The pool sets what durability needs on every connection.
    async fn risks(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn discover(&self, pattern: &str) -> Result<Vec<Discovered>> {
        let (name, pattern) = (self.name.clone(), pattern.to_owned());
        self.read(move |_, conn| describe::discover(conn, &name, &pattern)).await
    }

    async fn describe(&self, location: &Location, key: Option<&[String]>) -> Result<TableSchema> {
        let (location, key) = (location.clone(), key.map(<[String]>::to_vec));
        self.read(move |_, conn| describe::describe(conn, &location, key.as_deref())).await
    }

    fn belong_to(&self, repository: &str) {
        self.shared.owner.get_or_init(|| repository.to_owned());
    }

    async fn install(&self, table: &TableDef) -> Result<()> {
        let (shared, table) = (Arc::clone(&self.shared), table.clone());
        blocking(move || install::install(&mut *shared.pool.get()?, &table, shared.owner.get())).await
    }

    async fn uninstall(&self, table: &TableDef) -> Result<()> {
        let (shared, table) = (Arc::clone(&self.shared), table.clone());
        blocking(move || install::uninstall(&mut *shared.pool.get()?, &table, shared.owner.get())).await
    }

    /// A layer that starts empty needs nothing here: it is recorded with its first write, so that the
    /// session's own open transaction is never in the way.
    async fn ensure_layer(&self, table: &TableDef, layer: Layer, parent: Option<&View>) -> Result<()> {
        let (shared, table) = (Arc::clone(&self.shared), table.clone());
        let Some(parent) = parent.copied().filter(|p| !layer.is_main() && !p.layer.is_main()) else {
            return self.read(move |shared, conn| shared.catalog(conn)?.get(&table).map(|_| ())).await;
        };
        blocking(move || {
            let mut conn = shared.pool.get()?;
            if crate::meta::exists(&conn, "epoch_lineage")?
                && crate::write::layer_exists(&conn, table.id, layer)?
            {
                return Ok(());
            }
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(map)?;
            let meta = shared.catalog(&tx)?.get(&table)?;
            layer::ensure(&tx, &meta, layer, Some(&parent))?;
            tx.commit().map_err(map)
        })
        .await
    }

    async fn related(&self, table: &TableDef) -> Result<Vec<TableId>> {
        let table = table.clone();
        self.read(move |shared, conn| Ok(shared.catalog(conn)?.related(&table))).await
    }

    async fn scan(&self, table: &TableDef, view: &View, wanted: &Scan) -> Result<BatchStream> {
        let (shared, table, view, wanted) = (Arc::clone(&self.shared), table.clone(), *view, wanted.clone());
        Ok(scan::stream(move |sink| {
            let mut conn = shared.reader()?;
            sink.guard(&mut conn, |conn| {
                let catalog = if view.is_plain() { Arc::default() } else { shared.catalog(conn)? };
                scan::run(conn, &catalog, &table, &view, &wanted, |batch| sink.send(batch))
            })
        }))
    }

    fn supports(&self, table: &TableDef, predicate: &Predicate) -> bool {
        view::supports(table, predicate)
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let shared = Arc::clone(&self.shared);
        let tx = blocking(move || Tx::new(shared)).await?;
        Ok(Box::new(tx))
    }

    async fn pending(&self, tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<(TableId, TableStats)>> {
        let tables = tables.to_vec();
        self.read(move |shared, conn| {
            let catalog = shared.catalog(conn)?;
            let mut out = Vec::new();
            for table in tables {
                if drift::untouched(conn, &catalog, table.id, layer)? {
                    continue;
                }
                let stats = seal::pending(conn, &*catalog.get(&table)?, layer)?;
                if stats.rows() > 0 {
                    out.push((table.id, stats));
                }
            }
            Ok(out)
        })
        .await
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
        let shared = Arc::clone(&self.shared);
        let (operation, tables, changes) = (operation.to_owned(), tables.to_vec(), changes.to_vec());
        blocking(move || {
            drift::mend(&shared)?;
            let mut conn = shared.pool.get()?;
            let seal =
                Seal { operation: &operation, tables: &tables, layer, ordinal, changes: &changes, mode };
            // A merge's result is exact: nothing cascades, and its foreign keys are checked by us.
            conn.pragma_update(None, "foreign_keys", false).map_err(map)?;
            let result = seal_in_transaction(&shared, &mut conn, &seal);
            conn.pragma_update(None, "foreign_keys", true).map_err(map)?;
            result
        })
        .await
    }

    async fn sealed(&self, operation: &str) -> Result<Option<Sealed>> {
        let operation = operation.to_owned();
        self.read(move |_, conn| seal::sealed(conn, &operation)).await
    }

    async fn diff(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
        wanted: &Wanted,
    ) -> Result<ChangeStream> {
        let shared = Arc::clone(&self.shared);
        let (table, from, to, segments) = (table.clone(), *from, *to, segments.to_vec());
        let wanted = wanted.clone();
        let chunks = scan::stream(move |sink| {
            let mut conn = shared.reader()?;
            sink.guard(&mut conn, |conn| {
                let meta = shared.catalog(conn)?.get(&table)?;
                let plan = diff::plan(&meta, (&from, &to), &segments, &wanted)?;
                diff::run(conn, &meta, &plan, |chunk| sink.send(chunk))
            })
        });
        Ok(chunks
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
        let table = table.clone();
        self.read(move |shared, conn| {
            let meta = shared.catalog(conn)?.get(&table)?;
            Ok(keys.into_iter().map(|key| collated(&meta, key)).collect())
        })
        .await
    }

    async fn changes_of_keys(
        &self,
        table: &TableDef,
        wanted: &Wanted,
        lineages: &[LineageId],
    ) -> Result<Vec<(LineageId, Ordinal)>> {
        let (wanted, lineages) = (wanted.clone(), lineages.to_vec());
        self.with_meta(table, move |conn, meta| diff::changes_of_keys(conn, meta, &wanted, &lineages)).await
    }

    async fn diff_stat(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
    ) -> Result<TableStats> {
        let (from, to, segments) = (*from, *to, segments.to_vec());
        self.with_meta(table, move |conn, meta| {
            diff::stat(conn, &diff::plan(meta, (&from, &to), &segments, &Wanted::default())?)
        })
        .await
    }

    async fn drift(&self, tables: &[Arc<TableDef>]) -> Result<Vec<(TableId, String)>> {
        let (shared, tables) = (Arc::clone(&self.shared), tables.to_vec());
        blocking(move || {
            let catalog = drift::mend(&shared)?;
            Ok(tables.iter().filter_map(|t| Some((t.id, catalog.drift(t.id)?))).collect())
        })
        .await
    }

    async fn violations(
        &self,
        table: &TableDef,
        view: &View,
        others: &[SeenTable],
        limit: usize,
    ) -> Result<Vec<Violation>> {
        let (table, view, others) = (table.clone(), *view, others.to_vec());
        self.read(move |shared, conn| {
            let catalog = shared.catalog(conn)?;
            let meta = catalog.get(&table)?;
            violations::violations(conn, &catalog, &meta, &view, &others, limit)
        })
        .await
    }

    async fn would_break(
        &self,
        shown: &[SeenTable],
        changes: &[TableChanges],
        limit: usize,
    ) -> Result<Option<Vec<(TableId, Violation)>>> {
        let (shown, changes) = (shown.to_vec(), changes.to_vec());
        self.read(move |shared, conn| {
            let catalog = shared.catalog(conn)?;
            would_break::would_break(conn, &catalog, &shown, &changes, limit).map(Some)
        })
        .await
    }

    async fn create_statement(&self, table: &TableDef) -> Result<String> {
        let table = table.clone();
        self.read(move |_, conn| describe::create_statement(conn, &table)).await
    }

    async fn measure(&self, table: &TableDef, what: &Leftover) -> Result<u64> {
        let what = what.clone();
        self.with_meta(table, move |conn, meta| garbage::measure(conn, meta, &what)).await
    }

    async fn remove(&self, table: &TableDef, what: &Leftover, limit: usize) -> Result<usize> {
        let (shared, table, what) = (Arc::clone(&self.shared), table.clone(), what.clone());
        self.write(move |conn| {
            let meta = shared.catalog(conn)?.get(&table)?;
            garbage::remove(conn, &meta, &what, limit)
        })
        .await
    }

    /// What checks constraints here goes by the rows of a statement's own lineage.
    async fn abandon(&self, _: &[LineageId]) -> Result<()> {
        Ok(())
    }

    async fn forget_lineages(&self, lineages: &[LineageId]) -> Result<()> {
        let lineages = lineages.to_vec();
        self.write(move |conn| garbage::forget(conn, &lineages)).await
    }

    async fn row_estimate(&self, table: &TableDef) -> Result<i64> {
        let table = table.clone();
        self.read(move |_, conn| describe::row_estimate(conn, &table)).await
    }
}

fn seal_in_transaction(shared: &Shared, conn: &mut Connection, seal: &Seal<'_>) -> Result<Sealed> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(map)?;
    let catalog = shared.catalog(&tx)?;
    let sealed = seal::run(&tx, &catalog, seal)?;
    tx.commit().map_err(map)?;
    Ok(sealed)
}
