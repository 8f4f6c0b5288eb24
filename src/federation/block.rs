//! The transaction block of a session.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use epoch_adapter::{Adapter, Error, Layer, Result, TableDef, sqlstate};

use super::parse::Modes;
use super::settings::Settings;
use super::transaction::SharedTransaction;

/// An open block: explicit, or that of one statement.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) started: DateTime<Utc>,
    pub(crate) read_only: bool,
    /// Whether all statements of the block see one snapshot per backend.
    pub(crate) snapshot: bool,
    open: HashMap<String, Arc<SharedTransaction>>,
    writer: Option<String>,
    savepoints: Vec<(String, Settings)>,
}

impl Block {
    pub(crate) fn new(modes: Modes) -> Self {
        Self {
            started: Utc::now(),
            read_only: modes.read_only.unwrap_or(false),
            snapshot: modes.snapshot.unwrap_or(false),
            open: HashMap::new(),
            writer: None,
            savepoints: Vec::new(),
        }
    }

    /// Whether anything was done in it that its modes can't be changed after.
    pub(crate) fn used(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a backend was written to in it.
    pub(crate) fn has_written(&self) -> bool {
        self.writer.is_some()
    }

    /// The open transactions, by backend.
    pub(crate) fn open(&self) -> HashMap<String, Arc<SharedTransaction>> {
        self.open.clone()
    }

    /// The transaction on a backend, opened if need be, with the block's savepoints in it.
    pub(crate) async fn on(&mut self, adapter: &dyn Adapter) -> Result<Arc<SharedTransaction>> {
        if let Some(open) = self.open.get(adapter.name()) {
            return Ok(open.clone());
        }
        let transaction = SharedTransaction::new(adapter.begin().await?);
        for (savepoint, _) in &self.savepoints {
            transaction.savepoint(savepoint).await?;
        }
        self.open.insert(adapter.name().to_owned(), transaction.clone());
        Ok(transaction)
    }

    /// The transaction to write to a table in. Only one backend is written to in a block: two could not be
    /// committed as one.
    pub(crate) async fn writer(
        &mut self,
        adapter: &dyn Adapter,
        table: &TableDef,
        layer: Layer,
    ) -> Result<Arc<SharedTransaction>> {
        if let Some(writer) = self.writer.as_deref().filter(|writer| *writer != adapter.name()) {
            return Err(Error::unsupported("a transaction that writes to two backends")
                .with_detail(format!("It wrote to \"{writer}\" and would write to \"{}\".", adapter.name()))
                .with_hint("Commit first, or write to one backend per transaction."));
        }
        let transaction = self.on(adapter).await?;
        // Values are computed from what is read before it is written: nobody may write in between.
        transaction.prepare_write(table, layer, self.snapshot).await?;
        self.writer = Some(adapter.name().to_owned());
        Ok(transaction)
    }

    pub(crate) async fn savepoint(&mut self, name: &str, settings: &Settings) -> Result<()> {
        for transaction in self.open.values() {
            transaction.savepoint(name).await?;
        }
        self.savepoints.push((name.to_owned(), settings.clone()));
        Ok(())
    }

    pub(crate) async fn release(&mut self, name: &str) -> Result<()> {
        let index = self.index_of(name)?;
        for transaction in self.open.values() {
            transaction.release(name).await?;
        }
        self.savepoints.truncate(index);
        Ok(())
    }

    /// The settings as they were at the savepoint.
    pub(crate) async fn rollback_to(&mut self, name: &str) -> Result<Settings> {
        let index = self.index_of(name)?;
        for transaction in self.open.values() {
            transaction.rollback_to(name).await?;
        }
        self.savepoints.truncate(index + 1);
        let settings = self.savepoints.get(index).map(|(_, settings)| settings.clone());
        settings.ok_or_else(|| Error::internal("a savepoint is gone"))
    }

    fn index_of(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|(known, _)| known == name).ok_or_else(|| {
            Error::new(sqlstate::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
        })
    }

    /// Ends the block. The one backend that was written to decides; the others only read.
    pub(crate) async fn finish(mut self, commit: bool) -> Result<()> {
        let writer = self.writer.take().and_then(|name| self.open.remove(&name));
        let result = match writer {
            Some(transaction) if commit => transaction.commit().await,
            Some(transaction) => transaction.rollback().await,
            None => Ok(()),
        };
        for transaction in self.open.values() {
            // Nothing was written here, so nothing can be lost.
            let _ = transaction.rollback().await;
        }
        result
    }
}
