//! Connections to one server and database.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use epoch_adapter::{Error, Result, Value, sqlstate};
use tiberius::error::Error as Raw;
use tiberius::{Client, ColumnData, ToSql};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::connect::{Target, idle_settings, settings};
use crate::error::{connection_lost, lock_not_available, map};
use crate::parameters::numbered;
use crate::types::bind;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection that was idle for longer is asked whether it still works.
const FRESH: Duration = Duration::from_secs(2);
/// Parameters of one statement: the server takes 2,100, and two are its own.
pub(crate) const PARAMETERS: usize = 2_000;

/// A connection of the driver's.
pub(crate) type Conn = Client<Compat<TcpStream>>;
/// A row of a result.
pub(crate) type Cells = Vec<ColumnData<'static>>;

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
            if since.elapsed() < FRESH || drained(&mut conn, "SELECT 1").await.is_ok() {
                return Ok(self.session(conn));
            }
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        let opened = tokio::time::timeout(CONNECT, self.connect()).await;
        let timed_out =
            || Raw::Io { kind: std::io::ErrorKind::TimedOut, message: "connecting timed out".to_owned() };
        let conn = opened.unwrap_or_else(|_| Err(timed_out())).map_err(|e| self.unreachable(e))?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(self.session(conn))
    }

    fn session(self: &Arc<Self>, conn: Conn) -> Session {
        Session { conn: Some(conn), pool: Arc::clone(self), busy: false, tainted: false, turns: Vec::new() }
    }

    async fn connect(&self) -> Result<Conn, Raw> {
        let tcp = TcpStream::connect(&self.target.address).await?;
        tcp.set_nodelay(true)?;
        let mut conn = Client::connect(self.target.config.clone(), tcp.compat_write()).await?;
        drained(&mut conn, &settings()).await?;
        Ok(conn)
    }

    /// 08001, or what the server says; never a part of the URL.
    fn unreachable(&self, error: Raw) -> Error {
        let say = |why: &str| {
            let message = format!("could not connect to backend \"{}\"", self.backend);
            Error::new(sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH, message).with_detail(why.to_owned())
        };
        match error {
            Raw::Server(_) | Raw::Routing { .. } => map(error),
            // Behind the first sentence the driver advises programmers.
            Raw::Tls(why) => say(&format!(
                "TLS: {}.",
                why.split(" To connect anyway").next().unwrap_or_default().trim_end_matches('.')
            )),
            Raw::Io { message, .. } => say(&format!("{}.", message.trim_end_matches('.'))),
            Raw::Protocol(_) => say(
                "The server's answer is not that of a SQL Server, or it does not encrypt as the url asks for.",
            ),
            _ => say("The driver refused."),
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

/// Runs a batch to its end. What a statement sets stays so, unlike where it has parameters.
async fn drained(conn: &mut Conn, sql: &str) -> Result<(), Raw> {
    conn.simple_query(sql).await?.into_results().await.map(drop)
}

/// Parameters as the driver takes them.
pub(crate) struct Bound<'a>(ColumnData<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

pub(crate) fn bound(params: &[Value]) -> Vec<Bound<'_>> {
    params.iter().map(|v| Bound(bind(v))).collect()
}

/// As references, which the driver wants.
pub(crate) fn refs<'a>(bound: &'a [Bound<'a>]) -> Vec<&'a dyn ToSql> {
    bound.iter().map(|b| b as &dyn ToSql).collect()
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
    /// Turns that the session holds, whatever transactions come and go.
    turns: Vec<String>,
}

impl Session {
    /// The driver's connection, for a caller that reads a result row by row: from [`Self::begin`] to [`Self::end`].
    pub(crate) fn conn(&mut self) -> Result<&mut Conn> {
        self.conn.as_mut().ok_or_else(connection_lost)
    }

    /// A result is being read.
    pub(crate) fn begin(&mut self) {
        self.busy = true;
    }

    /// It was read to its end, or ended.
    pub(crate) fn end(&mut self) {
        self.busy = false;
    }

    /// Tells the server to end what it is sending.
    pub(crate) async fn cancel(&mut self) -> Result<()> {
        self.conn()?.cancel_query().await.map_err(map)
    }

    /// Runs a batch without parameters and without a result.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<()> {
        self.raw_run(sql).await?.map_err(map)
    }

    /// As [`Self::run`], with the server's own error.
    pub(crate) async fn raw_run(&mut self, sql: &str) -> Result<Result<(), Raw>> {
        self.busy = true;
        let result = drained(self.conn()?, sql).await;
        self.busy = false;
        Ok(result)
    }

    /// Runs a statement; the rows that it changed itself: before them the server tells of what a user's triggers changed.
    /// The inner error is the server's.
    pub(crate) async fn raw_exec(&mut self, sql: &str, params: &[Value]) -> Result<Result<u64, Raw>> {
        let (sql, _) = numbered(sql);
        let bound = bound(params);
        self.busy = true;
        let result = self.conn()?.execute(sql, &refs(&bound)).await;
        let result = result.map(|done| done.rows_affected().last().copied().unwrap_or(0));
        self.busy = false;
        Ok(result)
    }

    /// Runs a statement; the rows that it changed.
    pub(crate) async fn exec(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        self.raw_exec(sql, params).await?.map_err(map)
    }

    /// All rows of a query: of the last of its results that has some columns. The inner error is the server's.
    pub(crate) async fn raw_rows(&mut self, sql: &str, params: &[Value]) -> Result<Result<Vec<Cells>, Raw>> {
        let (sql, _) = numbered(sql);
        let bound = bound(params);
        self.busy = true;
        let conn = self.conn()?;
        let result = async { conn.query(sql, &refs(&bound)).await?.into_results().await }.await;
        self.busy = false;
        let last = |results: Vec<Vec<tiberius::Row>>| results.into_iter().next_back().unwrap_or_default();
        Ok(result.map(|r| last(r).into_iter().map(|row| row.into_iter().collect()).collect()))
    }

    /// All rows of a query.
    pub(crate) async fn rows(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Cells>> {
        self.raw_rows(sql, params).await?.map_err(map)
    }

    /// All rows of a query as of one moment: readers don't wait for those who have rows locked, as a seal has until it
    /// ends. In a transaction of its own.
    pub(crate) async fn rows_of_a_snapshot(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Cells>> {
        self.begin_snapshot().await?;
        let rows = self.rows(sql, params).await;
        self.run(&format!("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION; {}", idle_settings())).await?;
        rows
    }

    /// The first row's first column as a text, if there is a row and it isn't NULL.
    pub(crate) async fn text(&mut self, sql: &str, params: &[Value]) -> Result<Option<String>> {
        Ok(self.rows(sql, params).await?.first().and_then(|row| text(row, 0)))
    }

    /// The first row's first column as a number, if there is a row and it isn't NULL.
    pub(crate) async fn number(&mut self, sql: &str, params: &[Value]) -> Result<Option<i64>> {
        Ok(self.rows(sql, params).await?.first().and_then(|row| number(row, 0)))
    }

    /// Whether a query has a row.
    pub(crate) async fn exists(&mut self, sql: &str, params: &[Value]) -> Result<bool> {
        Ok(!self.rows(sql, params).await?.is_empty())
    }

    /// Begins a transaction of one snapshot, which is that of the first statement that reads.
    pub(crate) async fn begin_snapshot(&mut self) -> Result<()> {
        self.run("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION").await
    }

    /// Begins a transaction that sees what is committed before each statement.
    pub(crate) async fn begin_committed(&mut self) -> Result<()> {
        self.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN TRANSACTION").await
    }

    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.run("IF @@TRANCOUNT > 0 COMMIT TRANSACTION").await
    }

    pub(crate) async fn rollback(&mut self) -> Result<()> {
        self.run("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION").await
    }

    /// Whether the session's transaction is there still, after an error.
    pub(crate) async fn in_transaction(&mut self) -> bool {
        matches!(self.number("SELECT CAST(XACT_STATE() AS int)", &[]).await, Ok(Some(1)))
    }

    /// Waits until it has a turn alone, which it keeps until [`Self::release_turns`]. It is the session's, not the
    /// transaction's, so that a transaction's snapshot can be one of after that. 55P03 after `patience` milliseconds.
    pub(crate) async fn take_turn(&mut self, name: &str, patience: u32) -> Result<()> {
        if self.turns.iter().any(|t| t == name) {
            return Ok(());
        }
        let sql = format!(
            "DECLARE @epoch_got int; EXEC @epoch_got = sp_getapplock @Resource = ?, @LockMode = N'Exclusive', \
             @LockOwner = N'Session', @LockTimeout = {patience}; SELECT @epoch_got"
        );
        match self.number(&sql, &[Value::Text(name.to_owned())]).await? {
            Some(0 | 1) => {
                self.turns.push(name.to_owned());
                Ok(())
            }
            Some(-3) => Err(Error::new(crate::error::DEADLOCK, "deadlock detected")
                .with_hint("The transaction might succeed if retried.")),
            _ => Err(lock_not_available()),
        }
    }

    /// Gives back what turns it has.
    pub(crate) async fn release_turns(&mut self) -> Result<()> {
        while let Some(name) = self.turns.last().cloned() {
            let sql = "EXEC sp_releaseapplock @Resource = ?, @LockOwner = N'Session'";
            self.exec(sql, &[Value::Text(name)]).await?;
            self.turns.pop();
        }
        Ok(())
    }

    /// The turns that it has.
    pub(crate) fn has_turn(&self, name: &str) -> bool {
        self.turns.iter().any(|t| t == name)
    }

    async fn reset(&mut self) -> Result<()> {
        self.run(&format!("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION; {}", idle_settings())).await?;
        self.release_turns().await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        let runtime = tokio::runtime::Handle::try_current();
        if let (false, false, Ok(runtime)) = (self.busy, self.tainted, runtime) {
            let mut session = self.pool.session(conn);
            session.turns = std::mem::take(&mut self.turns);
            // A runtime that ends drops it as it is: then it must not come back here.
            session.tainted = true;
            runtime.spawn(async move {
                let done = session.reset().await;
                match (done, session.conn.take()) {
                    (Ok(()), Some(conn)) => session.pool.put(conn),
                    _ => drop(session.pool.open.fetch_sub(1, Ordering::Relaxed)),
                }
            });
            return;
        }
        self.pool.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A text of a result.
pub(crate) fn text(row: &[ColumnData<'static>], at: usize) -> Option<String> {
    match row.get(at)? {
        ColumnData::String(v) => v.as_deref().map(str::to_owned),
        _ => None,
    }
}

/// A number of a result.
pub(crate) fn number(row: &[ColumnData<'static>], at: usize) -> Option<i64> {
    match row.get(at)? {
        ColumnData::U8(v) => v.map(i64::from),
        ColumnData::I16(v) => v.map(i64::from),
        ColumnData::I32(v) => v.map(i64::from),
        ColumnData::I64(v) => *v,
        ColumnData::Bit(v) => v.map(i64::from),
        _ => None,
    }
}

/// Whether a flag of a result is set.
pub(crate) fn flag(row: &[ColumnData<'static>], at: usize) -> bool {
    number(row, at).is_some_and(|n| n != 0)
}
