//! The store in a SQLite file: one connection on a thread of its own, and a second one that only
//! asks whether the file changed.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, mpsc};
use std::time::Duration;

use epoch_adapter::{Error, Result, sqlstate};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::cell::{Cell, Record};

/// How long a statement waits for another process's write transaction.
const BUSY: Duration = Duration::from_secs(20);

enum Job {
    Run {
        sql: String,
        params: Vec<Cell>,
        reply: oneshot::Sender<Result<(Vec<Record>, u64)>>,
    },
    Script {
        sql: String,
        reply: oneshot::Sender<Result<()>>,
    },
    /// Sent by a transaction that is dropped: nobody waits for it.
    Rollback,
}

/// The open file.
#[derive(Debug)]
pub(super) struct SqliteStore {
    path: PathBuf,
    jobs: Arc<Mutex<mpsc::Sender<Job>>>,
    watch: StdMutex<Watch>,
}

#[derive(Debug)]
struct Watch {
    connection: Connection,
    seen: Option<i64>,
}

impl SqliteStore {
    /// Opens the file, creating it and its folder if missing.
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::open_blocking(path)).await.map_err(gone)?
    }

    fn open_blocking(path: PathBuf) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| cannot_open(&path, &e))?;
        }
        let connection = connect(&path)?;
        let watch = StdMutex::new(Watch { connection: connect(&path)?, seen: None });
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .name("epoch-metadata".to_owned())
            .spawn(move || serve(&connection, &receiver))
            .map_err(|e| cannot_open(&path, &e))?;
        Ok(Self { path, jobs: Arc::new(Mutex::new(sender)), watch })
    }

    /// Whether the file may have changed since this last answered true (always true at first).
    pub(super) fn changed(&self) -> Result<bool> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let version = watch
            .connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut s| s.query_row([], |r| r.get::<_, i64>(0)))
            .map_err(translate)?;
        let changed = watch.seen != Some(version);
        watch.seen = Some(version);
        Ok(changed)
    }

    pub(super) async fn begin(&self, write: bool) -> Result<SqliteTx> {
        let jobs = Arc::clone(&self.jobs).lock_owned().await;
        // Open from here on: who gives up while it begins must leave no transaction behind.
        let mut tx = SqliteTx { jobs, open: true };
        tx.script(if write { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
        Ok(tx)
    }

    /// The file whose lock is the operation lock.
    pub(super) fn lock_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        PathBuf::from(name)
    }
}

/// A transaction; rolled back when dropped.
pub(super) struct SqliteTx {
    jobs: OwnedMutexGuard<mpsc::Sender<Job>>,
    open: bool,
}

impl SqliteTx {
    pub(super) async fn run(&mut self, sql: &str, params: &[Cell]) -> Result<(Vec<Record>, u64)> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Run { sql: sql.to_owned(), params: params.to_vec(), reply };
        self.jobs.send(job).map_err(gone)?;
        answer.await.map_err(gone)?
    }

    pub(super) async fn script(&mut self, sql: &str) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Script { sql: sql.to_owned(), reply }).map_err(gone)?;
        answer.await.map_err(gone)?
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        let done = self.script("COMMIT").await;
        self.open = done.is_err();
        done
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        if self.open {
            // The thread takes jobs in order, so this is done before the next transaction begins.
            let _ = self.jobs.send(Job::Rollback);
        }
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        epoch_adapter_sqlite::use_wal(&connection, BUSY)?;
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(connection)
    };
    open().map_err(|e| cannot_open(path, &e))
}

fn serve(connection: &Connection, jobs: &mpsc::Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Run { sql, params, reply } => {
                let _ = reply.send(run(connection, &sql, &params).map_err(translate));
            }
            Job::Script { sql, reply } => {
                let _ = reply.send(connection.execute_batch(&sql).map_err(translate));
            }
            Job::Rollback => {
                if !connection.is_autocommit() {
                    let _ = connection.execute_batch("ROLLBACK");
                }
            }
        }
    }
}

fn run(connection: &Connection, sql: &str, params: &[Cell]) -> rusqlite::Result<(Vec<Record>, u64)> {
    let mut statement = connection.prepare_cached(sql)?;
    for (i, value) in params.iter().enumerate() {
        // SQLite numbers `$n` by first appearance, so they are bound by name.
        if let Some(index) = statement.parameter_index(&format!("${}", i + 1))? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    let columns = statement.column_count();
    if columns == 0 {
        let affected = statement.raw_execute()?;
        return Ok((Vec::new(), affected as u64));
    }
    let mut records = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|i| row.get_ref(i).map(from_sqlite)).collect::<Result<_, _>>()?;
        records.push(Record(cells));
    }
    let affected = records.len() as u64;
    Ok((records, affected))
}

fn from_sqlite(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(v) => Cell::Int(v),
        ValueRef::Real(v) => Cell::Text(v.to_string()),
        ValueRef::Text(v) | ValueRef::Blob(v) => Cell::Text(String::from_utf8_lossy(v).into_owned()),
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Int(v) => ToSqlOutput::Owned(Value::Integer(*v)),
            Self::Text(v) => ToSqlOutput::Borrowed(ValueRef::Text(v.as_bytes())),
        })
    }
}

fn translate(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as C;
    let code = match error.sqlite_error_code() {
        Some(C::ConstraintViolation) => sqlstate::UNIQUE_VIOLATION,
        Some(C::DatabaseBusy | C::DatabaseLocked) => sqlstate::LOCK_NOT_AVAILABLE,
        Some(C::DiskFull | C::SystemIoFailure | C::ReadOnly | C::CannotOpen) => sqlstate::IO_ERROR,
        Some(C::DatabaseCorrupt | C::NotADatabase) => sqlstate::DATA_CORRUPTED,
        _ => sqlstate::INTERNAL_ERROR,
    };
    Error::new(code, "the metadata store failed").with_detail(error.to_string())
}

fn cannot_open(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::new(sqlstate::IO_ERROR, format!("could not open the metadata store \"{}\"", path.display()))
        .with_detail(error.to_string())
}

fn gone<E>(_: E) -> Error {
    Error::new(sqlstate::ADMIN_SHUTDOWN, "the metadata store is closed")
}

/// The file beside the database whose lock is the operation lock.
pub(super) fn lock_file(path: &Path) -> Result<std::fs::File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(|e| cannot_open(path, &e))
}
