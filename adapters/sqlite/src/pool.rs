//! Connections to one file, and the way to use them without blocking the async runtime.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use epoch_adapter::{Error, Result};
use rusqlite::{Connection, OpenFlags};

use crate::error::map;
use crate::wal::use_wal;

/// How long a writer waits for another one.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections that are kept.
const KEEP: usize = 8;
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 256;

/// Opens connections on demand and keeps some. There is no upper bound: a query with many scans must
/// not wait for its own connections.
#[derive(Debug)]
pub(crate) struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    open: AtomicUsize,
}

impl Pool {
    /// Opens the file, creating it if it is missing. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        let pool =
            Arc::new(Self { path: path.to_owned(), idle: Mutex::default(), open: AtomicUsize::new(0) });
        let first = pool.connect(OpenFlags::SQLITE_OPEN_CREATE)?;
        use_wal(&first, BUSY_TIMEOUT).map_err(map)?;
        pool.put(first);
        Ok(pool)
    }

    /// A connection out of any transaction. Blocks for a moment.
    pub(crate) fn get(self: &Arc<Self>) -> Result<Pooled> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.connect(OpenFlags::empty())?,
        };
        Ok(Pooled { conn: Some(conn), pool: Arc::clone(self) })
    }

    /// Connections that are open, and how many of them are kept when idle.
    pub(crate) fn usage(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), KEEP)
    }

    fn connect(&self, create: OpenFlags) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let conn = Connection::open_with_flags(&self.path, flags).map_err(map)?;
        conn.busy_timeout(BUSY_TIMEOUT).map_err(map)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        conn.pragma_update(None, "synchronous", "FULL").map_err(map)?;
        conn.pragma_update(None, "foreign_keys", true).map_err(map)?;
        conn.pragma_update(None, "cache_size", -16_000).map_err(map)?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(conn)
    }

    fn put(&self, conn: Connection) {
        let usable = conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if usable && idle.len() < KEEP {
            idle.push(conn);
        } else {
            drop(idle);
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A connection that goes back to its pool, rolled back, when dropped.
#[derive(Debug)]
pub(crate) struct Pooled {
    conn: Option<Connection>,
    pool: Arc<Pool>,
}

impl std::ops::Deref for Pooled {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        match &self.conn {
            Some(conn) => conn,
            // `conn` is only taken by `drop`.
            None => unreachable!("a pooled connection is used after its drop"),
        }
    }
}

impl std::ops::DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Connection {
        match &mut self.conn {
            Some(conn) => conn,
            None => unreachable!("a pooled connection is used after its drop"),
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if conn.is_autocommit() {
            return self.pool.put(conn);
        }
        // A rollback may touch the disk.
        let pool = Arc::clone(&self.pool);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || pool.put(conn))),
            Err(_) => pool.put(conn),
        }
    }
}

/// Runs blocking work on tokio's blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::internal(format!("sqlite: a worker stopped: {e}"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Without a look at the server's settings as on others: nobody but us sets these.
    #[test]
    fn every_connection_syncs_what_it_commits() {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::open(&folder.path().join("a.db")).unwrap();
        let both = [pool.get().unwrap(), pool.get().unwrap()];
        for conn in &both {
            let synchronous: i64 = conn.query_row("PRAGMA synchronous", [], |r| r.get(0)).unwrap();
            let journal: String = conn.query_row("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
            assert_eq!((synchronous, journal.as_str()), (2, "wal"));
        }
    }
}
