//! The operation lock: at most one process publishes at a time.

use std::fs::{File, TryLockError};
use std::time::Duration;

use epoch_adapter::{Error, Result, sqlstate};
use tokio::sync::OwnedMutexGuard;

use super::{Engine, Store, postgres, sqlite};

/// Held while an operation publishes; the process's death releases it.
#[derive(Debug)]
pub struct OperationLock {
    held: Held,
    _local: OwnedMutexGuard<()>,
}

#[derive(Debug)]
enum Held {
    File(#[allow(dead_code, reason = "dropping it unlocks")] File),
    Connection(postgres::LockConnection),
}

impl OperationLock {
    /// 40001 if the lock was lost (its connection broke), so that somebody else may hold it now.
    pub fn check(&self) -> Result<()> {
        match &self.held {
            Held::Connection(connection) if connection.is_lost() => {
                Err(Error::new(sqlstate::SERIALIZATION_FAILURE, "the operation lock was lost"))
            }
            _ => Ok(()),
        }
    }
}

impl Store {
    /// Waits for the operation lock. The holder recovers the journal before anything else.
    pub async fn lock(&self) -> Result<OperationLock> {
        let local = self.local.clone().lock_owned().await;
        let held = match &self.engine {
            Engine::Sqlite(store) => Held::File(wait_for_file(store).await?),
            Engine::Postgres(store) => Held::Connection(store.lock().await?),
        };
        Ok(OperationLock { held, _local: local })
    }

    /// The operation lock, if nobody holds it.
    pub async fn try_lock(&self) -> Result<Option<OperationLock>> {
        let Ok(local) = self.local.clone().try_lock_owned() else { return Ok(None) };
        let held = match &self.engine {
            Engine::Sqlite(store) => try_file(store)?.map(Held::File),
            Engine::Postgres(store) => store.try_lock().await?.map(Held::Connection),
        };
        Ok(held.map(|held| OperationLock { held, _local: local }))
    }
}

/// Polls: a blocking wait could not be cancelled, and would keep the runtime from shutting down.
async fn wait_for_file(store: &sqlite::SqliteStore) -> Result<File> {
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(file) = try_file(store)? {
            return Ok(file);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn try_file(store: &sqlite::SqliteStore) -> Result<Option<File>> {
    let path = store.lock_path();
    let file = sqlite::lock_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => {
            Err(Error::new(sqlstate::IO_ERROR, format!("could not lock \"{}\"", path.display()))
                .with_detail(e.to_string()))
        }
    }
}
