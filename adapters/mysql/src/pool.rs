//! Connections to one server and database.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use epoch_adapter::{Error, Result, Value, sqlstate};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error as Raw, Opts, Row};

use crate::connect::Target;
use crate::error::{connection_lost, map};
use crate::types::bind_all;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection that was idle for longer is asked whether it still works.
const FRESH: Duration = Duration::from_secs(2);

/// Opens connections on demand and keeps some. There is no upper bound: a query with many scans must not wait for its
/// own connections.
#[derive(Debug)]
pub(crate) struct Pool {
    backend: String,
    target: Target,
    keep: usize,
    idle: Mutex<Vec<(Conn, Instant)>>,
    open: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(backend: &str, target: Target, keep: usize) -> Arc<Self> {
        let (idle, open) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { backend: backend.to_owned(), target, keep: keep.max(1), idle, open })
    }

    /// Connections that are open, and how many of them are kept when idle.
    pub(crate) fn usage(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.keep)
    }

    /// A connection out of any transaction.
    pub(crate) async fn get(self: &Arc<Self>) -> Result<Session> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut conn, since)) = idle else { break };
            if since.elapsed() < FRESH || conn.ping().await.is_ok() {
                return Ok(Session { conn: Some(conn), pool: Arc::clone(self), busy: false, tainted: false });
            }
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        let conn = self.connect().await?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Session { conn: Some(conn), pool: Arc::clone(self), busy: false, tainted: false })
    }

    async fn connect(&self) -> Result<Conn> {
        match (open(&self.target.opts).await, &self.target.plain) {
            (Err(Raw::Driver(DriverError::NoClientSslFlagFromServer)), Some(plain)) => {
                open(plain).await.map_err(|e| self.unreachable(e))
            }
            (result, _) => result.map_err(|e| self.unreachable(e)),
        }
    }

    /// 08001, or what the server says; never a part of the URL.
    fn unreachable(&self, error: Raw) -> Error {
        let say = |why: &str| {
            let message = format!("could not connect to backend \"{}\"", self.backend);
            Error::new(sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH, message).with_detail(why.to_owned())
        };
        match error {
            Raw::Server(_) => map(error),
            Raw::Driver(DriverError::NoClientSslFlagFromServer) => say("The server does not support TLS."),
            Raw::Io(mysql_async::IoError::Tls(e)) => say(&format!("TLS: {e}.")),
            Raw::Io(mysql_async::IoError::Io(e)) => say(&format!("{e}.")),
            _ => say("The driver refused."),
        }
    }

    /// Ends what a connection is running.
    pub(crate) async fn kill(self: &Arc<Self>, connection: u32) {
        if let Ok(mut session) = self.get().await {
            // It may be over already.
            let _ = session.run(&format!("KILL QUERY {connection}")).await;
        }
    }

    fn put(&self, conn: Conn) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.keep {
            idle.push((conn, Instant::now()));
        } else {
            drop(idle);
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

async fn open(opts: &Opts) -> Result<Conn, Raw> {
    match tokio::time::timeout(CONNECT, Conn::new(opts.clone())).await {
        Ok(Ok(mut conn)) => {
            // MySQL 8 would tell yesterday's AUTO_INCREMENT; MariaDB doesn't know the setting.
            let _ = conn.query_drop("SET SESSION information_schema_stats_expiry = 0").await;
            Ok(conn)
        }
        Ok(failed) => failed,
        Err(_) => Err(Raw::Io(mysql_async::IoError::Io(std::io::ErrorKind::TimedOut.into()))),
    }
}

/// A connection that goes back to its pool, rolled back, when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    conn: Option<Conn>,
    pub pool: Arc<Pool>,
    /// Whether a call is under way; if it never ends, nobody knows what the server is doing.
    busy: bool,
    /// Whether the session isn't as others expect it: it isn't used again.
    pub tainted: bool,
}

impl Session {
    pub(crate) fn conn(&mut self) -> Result<&mut Conn> {
        self.conn.as_mut().ok_or_else(connection_lost)
    }

    /// The number that KILL wants.
    pub(crate) fn id(&self) -> u32 {
        self.conn.as_ref().map_or(0, Conn::id)
    }

    /// Runs a statement without parameters and without a result.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<()> {
        self.raw_run(sql).await?.map_err(map)
    }

    /// As [`Self::run`], with the server's own error.
    pub(crate) async fn raw_run(&mut self, sql: &str) -> Result<Result<(), Raw>> {
        self.busy = true;
        let result = self.conn()?.query_drop(sql).await;
        self.busy = false;
        Ok(result)
    }

    /// Runs a statement; the rows it found. The inner error is the server's.
    pub(crate) async fn raw_exec(&mut self, sql: &str, params: &[Value]) -> Result<Result<u64, Raw>> {
        self.busy = true;
        let params = bind_all(params);
        let conn = self.conn()?;
        let result = conn.exec_drop(sql, params).await.map(|()| conn.affected_rows());
        self.busy = false;
        Ok(result)
    }

    /// Runs a statement; the rows it found.
    pub(crate) async fn exec(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        self.raw_exec(sql, params).await?.map_err(map)
    }

    /// All rows of a query. The inner error is the server's.
    pub(crate) async fn raw_rows(&mut self, sql: &str, params: &[Value]) -> Result<Result<Vec<Row>, Raw>> {
        self.busy = true;
        let params = bind_all(params);
        let result = self.conn()?.exec(sql, params).await;
        self.busy = false;
        Ok(result)
    }

    /// All rows of a query.
    pub(crate) async fn rows(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        self.raw_rows(sql, params).await?.map_err(map)
    }

    /// The first row's first column, if there is a row and it isn't NULL.
    pub(crate) async fn one<T: mysql_async::prelude::FromValue>(
        &mut self,
        sql: &str,
        params: &[Value],
    ) -> Result<Option<T>> {
        let mut rows = self.rows(sql, params).await?;
        let Some(row) = rows.first_mut() else { return Ok(None) };
        match row.take_opt::<Option<T>, _>(0) {
            Some(Ok(value)) => Ok(value),
            _ => Err(Error::internal("mysql: a result has another type than expected")),
        }
    }

    /// Whether a query has a row.
    pub(crate) async fn exists(&mut self, sql: &str, params: &[Value]) -> Result<bool> {
        Ok(!self.rows(sql, params).await?.is_empty())
    }

    /// What AUTO_INCREMENT gave the last row.
    pub(crate) fn last_number(&self) -> Option<u64> {
        self.conn.as_ref().and_then(Conn::last_insert_id)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        let runtime = tokio::runtime::Handle::try_current();
        if let (false, false, Ok(runtime)) = (self.busy, self.tainted, runtime) {
            let pool = Arc::clone(&self.pool);
            runtime.spawn(async move {
                match conn.query_drop("ROLLBACK").await {
                    Ok(()) => pool.put(conn),
                    Err(_) => drop(pool.open.fetch_sub(1, Ordering::Relaxed)),
                }
            });
            return;
        }
        self.pool.open.fetch_sub(1, Ordering::Relaxed);
    }
}
