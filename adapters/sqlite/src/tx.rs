//! A transaction on a connection of its own. It begins as a reader; the first write takes the file's
//! write lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use epoch_adapter::{
    BatchStream, Error, Layer, Result, Row, RowWrite, Scan, TableDef, Transaction, View, sqlstate,
};
use epoch_layers::errors::{aborted, no_savepoint};
use tokio::sync::oneshot;

use crate::adapter::Shared;
use crate::error::{is_busy, lock_not_available, map};
use crate::foreign::Due;
use crate::meta::Catalog;
use crate::pool::{BUSY_TIMEOUT, Pooled};
use crate::scan::{run, stream};
use crate::write::Writer;

/// How often a reader that wants to write looks whether the other writer is done.
const RETRY: Duration = Duration::from_millis(5);

/// The connection and what SQLite doesn't know of the transaction. Moves between threads.
pub(crate) struct Inner {
    shared: Arc<Shared>,
    conn: Pooled,
    writing: bool,
    failed: bool,
    /// Name, and how many checks were put off when it was set.
    savepoints: Vec<(String, usize)>,
    deferred: Vec<(Layer, Due)>,
}

impl Inner {
    fn usable(&self) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        Err(aborted())
    }

    fn begin(&mut self) -> Result<()> {
        if self.conn.is_autocommit() {
            self.conn.execute_batch("BEGIN").map_err(map)?;
        }
        Ok(())
    }

    /// Takes the write lock: waits for another writer, and fails with 40001 if that one changed what
    /// this transaction has read from.
    fn begin_write(&mut self) -> Result<()> {
        if self.writing {
            return Ok(());
        }
        if self.conn.is_autocommit() {
            self.conn.execute_batch("BEGIN IMMEDIATE").map_err(map)?;
        } else {
            self.upgrade()?;
        }
        self.writing = true;
        Ok(())
    }

    /// Takes the write lock before a statement reads what it will write. Nothing was written yet, so if
    /// the snapshot is stale it may be left for a new one, as READ COMMITTED does at each statement.
    fn prepare_write(&mut self, keep_snapshot: bool) -> Result<()> {
        self.usable()?;
        match self.begin_write() {
            Err(e) if e.code() == sqlstate::SERIALIZATION_FAILURE && !keep_snapshot => {}
            other => return other,
        }
        self.conn.execute_batch("ROLLBACK; BEGIN IMMEDIATE").map_err(map)?;
        for (name, _) in &self.savepoints {
            self.conn.execute_batch(&format!("SAVEPOINT {}", encoded(name))).map_err(map)?;
        }
        self.writing = true;
        Ok(())
    }

    /// SQLite doesn't wait by itself here, since the snapshot would be stale if the other writer
    /// commits; but it may roll back.
    fn upgrade(&self) -> Result<()> {
        let until = Instant::now() + BUSY_TIMEOUT;
        loop {
            match self.conn.execute("DELETE FROM main.epoch_registered WHERE 0", []) {
                Ok(_) => return Ok(()),
                Err(e) if is_busy(&e) && Instant::now() < until => std::thread::sleep(RETRY),
                Err(e) if is_busy(&e) => return Err(lock_not_available()),
                Err(e) => return Err(map(e)),
            }
        }
    }

    /// The number of affected rows, and the rows if they are wanted.
    fn write(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
        wanted: bool,
    ) -> Result<(u64, Vec<Row>)> {
        self.usable()?;
        let result = self.begin_write().and_then(|()| self.write_rows(table, layer, writes, wanted));
        self.failed = result.is_err();
        result
    }

    fn write_rows(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
        wanted: bool,
    ) -> Result<(u64, Vec<Row>)> {
        let catalog = self.shared.catalog(&self.conn)?;
        let mut writer = Writer::new(&self.conn, catalog, layer, false);
        writer.put_off_native_checks(table)?;
        writer.returned = wanted.then(Vec::new);
        let affected = writer.write(table, writes)?;
        let rows = writer.returned.take().unwrap_or_default();
        let deferred = std::mem::take(&mut writer.checks.deferred);
        self.deferred.extend(deferred.into_iter().map(|due| (layer, due)));
        Ok((affected, rows))
    }

    fn savepoint(&mut self, name: &str) -> Result<()> {
        self.usable()?;
        self.begin()?;
        self.conn.execute_batch(&format!("SAVEPOINT {}", encoded(name))).map_err(map)?;
        self.savepoints.push((name.to_owned(), self.deferred.len()));
        Ok(())
    }

    fn release(&mut self, name: &str) -> Result<()> {
        self.usable()?;
        let at = self.find(name)?;
        self.conn.execute_batch(&format!("RELEASE {}", encoded(name))).map_err(map)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    fn rollback_to(&mut self, name: &str) -> Result<()> {
        let at = self.find(name)?;
        self.conn.execute_batch(&format!("ROLLBACK TO {}", encoded(name))).map_err(map)?;
        if let Some((_, deferred)) = self.savepoints.get(at) {
            self.deferred.truncate(*deferred);
        }
        self.savepoints.truncate(at + 1);
        self.failed = false;
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|(n, _)| n == name).ok_or_else(|| no_savepoint(name))
    }

    fn commit(&mut self) -> Result<()> {
        self.usable()?;
        if self.conn.is_autocommit() {
            return Ok(());
        }
        if !self.deferred.is_empty() {
            let catalog = self.shared.catalog(&self.conn)?;
            for (layer, due) in std::mem::take(&mut self.deferred) {
                let writer = Writer::new(&self.conn, Arc::clone(&catalog), layer, false);
                writer.check_deferred(std::slice::from_ref(&due))?;
            }
        }
        self.conn.execute_batch("COMMIT").map_err(|e| match map(e) {
            e if e.message().contains("FOREIGN KEY") => Error::new(
                sqlstate::FOREIGN_KEY_VIOLATION,
                "the transaction violates a foreign key constraint",
            ),
            e => e,
        })
    }
}

/// SQLite's savepoint names ignore case, PostgreSQL's don't.
fn encoded(name: &str) -> String {
    let hex: String = name.bytes().map(|b| format!("{b:02x}")).collect();
    format!("\"s{hex}\"")
}

/// Where the connection is.
enum Slot {
    Here(Box<Inner>),
    /// On a blocking thread, which sends it back.
    Lent(oneshot::Receiver<Box<Inner>>),
    Gone,
}

/// See [`Transaction`].
pub(crate) struct Tx {
    slot: Slot,
}

impl Tx {
    /// Blocks for a moment.
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self> {
        let conn = shared.pool.get()?;
        let inner = Inner {
            shared,
            conn,
            writing: false,
            failed: false,
            savepoints: Vec::new(),
            deferred: Vec::new(),
        };
        Ok(Self { slot: Slot::Here(Box::new(inner)) })
    }

    async fn take(&mut self) -> Result<Box<Inner>> {
        match std::mem::replace(&mut self.slot, Slot::Gone) {
            Slot::Here(inner) => Ok(inner),
            Slot::Lent(mut back) => match (&mut back).await {
                Ok(inner) => Ok(inner),
                Err(_) => Err(Error::internal("sqlite: the transaction's worker stopped")),
            },
            Slot::Gone => Err(Error::internal("sqlite: the transaction's connection is lost")),
        }
    }

    /// Runs blocking work with the connection. If this future is dropped, the work goes on and the
    /// connection comes back (or is rolled back, if the transaction is dropped, too).
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut inner = self.take().await?;
        let (give, back) = oneshot::channel();
        let (answer, result) = oneshot::channel();
        self.slot = Slot::Lent(back);
        tokio::task::spawn_blocking(move || {
            let outcome = work(&mut inner);
            // Whoever isn't there any more doesn't need it.
            let _ = give.send(inner);
            let _ = answer.send(outcome);
        });
        result.await.map_err(|_| Error::internal("sqlite: the transaction's worker stopped"))?
    }
}

#[async_trait]
impl Transaction for Tx {
    async fn scan(&mut self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream> {
        let mut inner = self.take().await?;
        let (give, back) = oneshot::channel();
        self.slot = Slot::Lent(back);
        let (table, view, scan) = (table.clone(), *view, scan.clone());
        Ok(stream(move |sink| {
            let result = inner.usable().and_then(|()| inner.begin()).and_then(|()| {
                let shared = Arc::clone(&inner.shared);
                sink.guard(&mut inner.conn, |conn| {
                    let catalog =
                        if view.is_plain() { Arc::<Catalog>::default() } else { shared.catalog(conn)? };
                    run(conn, &catalog, &table, &view, &scan, |batch| sink.send(batch))
                })
            });
            let _ = give.send(inner);
            result
        }))
    }

    async fn prepare_write(&mut self, _: &TableDef, _: Layer, keep_snapshot: bool) -> Result<()> {
        self.with(move |inner| inner.prepare_write(keep_snapshot)).await
    }

    async fn write(&mut self, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> Result<u64> {
        let (table, writes) = (table.clone(), writes.to_vec());
        self.with(move |inner| inner.write(&table, layer, &writes, false).map(|(affected, _)| affected)).await
    }

    async fn write_returning(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
    ) -> Result<Vec<Row>> {
        let (table, writes) = (table.clone(), writes.to_vec());
        self.with(move |inner| inner.write(&table, layer, &writes, true).map(|(_, rows)| rows)).await
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.with(move |inner| inner.savepoint(&name)).await
    }

    async fn release(&mut self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.with(move |inner| inner.release(&name)).await
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.with(move |inner| inner.rollback_to(&name)).await
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.with(Inner::commit).await
    }

    async fn rollback(mut self: Box<Self>) -> Result<()> {
        self.with(|inner| {
            if inner.conn.is_autocommit() {
                return Ok(());
            }
            inner.conn.execute_batch("ROLLBACK").map_err(map)
        })
        .await
    }
}
