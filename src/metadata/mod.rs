//! The commit graph, refs, registrations, journal and conflicts: one schema on two engines.
//!
//! Statements are written once, with `$1` placeholders and [`Cell`]s for values. Typed access is in
//! the modules by subject ([`refs`], [`commits`], [`gc`], [`tables`], [`spans`], [`journal`], [`merges`], [`rules`],
//! [`stashes`], [`rights`], [`audit`], [`hook_runs`], [`violations`], [`origins`]).

pub mod audit;
pub mod commits;
pub mod gc;
pub mod hook_runs;
pub mod journal;
pub mod merges;
pub mod origins;
pub mod refs;
pub mod rights;
pub mod rules;
pub mod spans;
pub mod stashes;
pub mod tables;
pub mod violations;

mod cell;
mod lock;
mod migrate;
mod postgres;
mod sqlite;

pub(crate) use cell::params;
pub use cell::{Cell, Record, to_json};
pub use lock::OperationLock;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use epoch_adapter::{Error, Result, sqlstate};

/// An open metadata store.
#[derive(Debug)]
pub struct Store {
    engine: Engine,
    /// Orders the waiters of this process fairly before they compete with other processes.
    local: std::sync::Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
enum Engine {
    Sqlite(sqlite::SqliteStore),
    Postgres(postgres::PostgresStore),
}

/// A transaction on the store; rolled back when dropped.
pub struct Tx {
    engine: TxEngine,
    /// What it is a part of, for the audit.
    note: Option<Arc<audit::Note>>,
    /// It makes what the note tells of visible.
    concludes: bool,
}

enum TxEngine {
    Sqlite(sqlite::SqliteTx),
    Postgres(Box<postgres::PostgresTx>),
}

impl Store {
    /// Opens `sqlite://path` or `postgresql://…`, creates what is missing and brings the schema up
    /// to date. A new repository gets `name`, branch main and the root commit.
    pub async fn open(url: &str, name: &str) -> Result<Self> {
        let engine = if let Some(path) = url.strip_prefix("sqlite://") {
            Engine::Sqlite(sqlite::SqliteStore::open(Path::new(path)).await?)
        } else if url.starts_with("postgresql://") || url.starts_with("postgres://") {
            Engine::Postgres(postgres::PostgresStore::open(url).await?)
        } else {
            return Err(Error::new(
                sqlstate::CONFIG_FILE_ERROR,
                "the URL of the metadata store is not understood",
            )
            .with_hint("Write sqlite://PATH or postgresql://USER@HOST/DATABASE."));
        };
        let store = Self { engine, local: std::sync::Arc::default() };
        migrate::run(&store, name).await?;
        Ok(store)
    }

    /// What no other repository is called: when this one was made, in microseconds since 1970.
    pub async fn identity(&self) -> Result<String> {
        let mut tx = self.read().await?;
        let row = tx.first("SELECT created FROM repository WHERE id = 1", &[]).await?;
        tx.commit().await?;
        let created = row.ok_or_else(|| Error::internal("the metadata store has no repository"))?.int(0)?;
        Ok(created.to_string())
    }

    /// Begins a transaction that writes.
    pub async fn write(&self) -> Result<Tx> {
        self.begin(true).await
    }

    /// Begins a transaction that reads one snapshot.
    pub async fn read(&self) -> Result<Tx> {
        self.begin(false).await
    }

    async fn begin(&self, write: bool) -> Result<Tx> {
        let engine = match &self.engine {
            Engine::Sqlite(store) => TxEngine::Sqlite(store.begin(write).await?),
            Engine::Postgres(store) => TxEngine::Postgres(Box::new(store.begin(write).await?)),
        };
        Ok(Tx { engine, note: None, concludes: false })
    }

    /// Whether anything may have changed since this last answered true. Takes microseconds.
    pub fn changed(&self) -> Result<bool> {
        match &self.engine {
            Engine::Sqlite(store) => store.changed(),
            Engine::Postgres(store) => Ok(store.changed()),
        }
    }
}

impl Tx {
    /// Runs a statement; how many rows it affected.
    pub async fn execute(&mut self, sql: &str, params: &[Cell]) -> Result<u64> {
        Ok(self.run(sql, params).await?.1)
    }

    /// Runs a query.
    pub async fn query(&mut self, sql: &str, params: &[Cell]) -> Result<Vec<Record>> {
        Ok(self.run(sql, params).await?.0)
    }

    /// Runs a query of which the first row is wanted.
    pub async fn first(&mut self, sql: &str, params: &[Cell]) -> Result<Option<Record>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    async fn run(&mut self, sql: &str, params: &[Cell]) -> Result<(Vec<Record>, u64)> {
        match &mut self.engine {
            TxEngine::Sqlite(tx) => tx.run(sql, params).await,
            TxEngine::Postgres(tx) => tx.run(sql, params).await,
        }
    }

    async fn script(&mut self, sql: &str) -> Result<()> {
        match &mut self.engine {
            TxEngine::Sqlite(tx) => tx.script(sql).await,
            TxEngine::Postgres(tx) => tx.script(sql).await,
        }
    }

    /// Keeps other processes from migrating meanwhile.
    async fn alone(&mut self) -> Result<()> {
        match &mut self.engine {
            TxEngine::Sqlite(_) => Ok(()), // a write transaction is alone anyway
            TxEngine::Postgres(tx) => tx.alone().await,
        }
    }

    /// Writes down, when it commits, which operation it is a part of.
    #[must_use]
    pub fn noting(mut self, note: Option<Arc<audit::Note>>) -> Self {
        self.note = note;
        self
    }

    /// The operation that it is a part of is done with it.
    pub fn concludes(&mut self) {
        self.concludes = true;
    }

    /// Makes it durable.
    pub async fn commit(mut self) -> Result<()> {
        if let Some(note) = self.note.take() {
            let result = if self.concludes { audit::OK } else { audit::STARTED };
            audit::write(&mut self, &note, result, None).await?;
        }
        match self.engine {
            TxEngine::Sqlite(tx) => tx.commit().await,
            TxEngine::Postgres(tx) => tx.commit().await,
        }
    }

    /// The number of this transaction's changes; also tells other processes to look. Taken before
    /// anything else is written: on PostgreSQL its row lock makes generations commit in order.
    pub async fn next_generation(&mut self) -> Result<i64> {
        self.counter("generation").await
    }

    /// To be called where rows are removed or renamed: everybody reads everything again.
    pub async fn structure_changed(&mut self) -> Result<()> {
        self.execute("UPDATE repository SET structure = structure + 1", &[]).await.map(drop)
    }

    /// Takes the next number of a counter of the repository.
    pub(crate) async fn counter(&mut self, column: &'static str) -> Result<i64> {
        let sql = format!("UPDATE repository SET {column} = {column} + 1 RETURNING {column}");
        let row = self.first(&sql, &[]).await?;
        row.ok_or_else(|| Error::internal("the metadata store has no repository"))?.int(0)
    }
}

/// A date as the store keeps it. PostgreSQL's precision, so that dates survive a round trip.
pub fn micros(date: DateTime<Utc>) -> i64 {
    date.timestamp_micros()
}

/// A date from the store.
pub fn date(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// Now, in the store's precision.
pub fn now() -> DateTime<Utc> {
    date(micros(Utc::now()))
}
