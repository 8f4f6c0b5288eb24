//! Operations that stopped half-way: by a crash, or because one of several backends refused.

use epoch_adapter::{Error, Result, RowChange, SealMode, TableChanges, sqlstate};

use super::Repository;
use super::publish::{Part, Publication, Run, SchemaChange, journal_body};
use crate::metadata::journal::{self, Entry};
use crate::metadata::tables::{self, TableState};
use crate::metadata::{OperationLock, refs};

impl Repository {
    /// At start: recovers if nobody is at work. What can't be finished now (a backend is away) is
    /// tried again before the next operation.
    pub(super) async fn recover_at_start(&self) -> Result<()> {
        let Some(lock) = self.store().try_lock().await? else { return Ok(()) };
        if let Err(error) = self.recover(&lock).await {
            tracing::warn!(%error, "an operation that was interrupted could not be finished yet");
        }
        self.reload().await?;
        self.sweep().await;
        Ok(())
    }

    /// Finishes or undoes what the last holder of the lock left behind.
    pub(super) async fn recover(&self, _lock: &OperationLock) -> Result<()> {
        let mut tx = self.store().read().await?;
        let entries = journal::open(&mut tx).await?;
        let unfinished = tables::unfinished(&mut tx).await?;
        let changing = tables::changing(&mut tx).await?;
        tx.commit().await?;
        if entries.is_empty() && unfinished.is_empty() && changing.is_empty() {
            return Ok(());
        }
        self.reload().await?;
        for entry in entries {
            tracing::info!(operation = entry.operation, "recovering an interrupted operation");
            self.recover_entry(entry).await?;
        }
        for table in changing {
            self.settle_change(&table).await?;
        }
        for table in unfinished {
            tracing::info!(table = %table.name, "removing what an interrupted registration left");
            if let Some(backend) = self.inner.backends.get(&table.location.backend) {
                match backend.uninstall(&table).await {
                    // A client's temporary table has the type: the next operation tries again.
                    Err(error) if table.enumeration.is_some() && error.code() == "2BP01" => {
                        tracing::warn!(r#type = %table.name, %error, "a dropped type could not be removed yet");
                        continue;
                    }
                    done => done?,
                }
                self.set_table_state(table.id, TableState::Removed).await?;
            }
        }
        self.reload().await
    }

    async fn recover_entry(&self, entry: Entry) -> Result<()> {
        if self.recover_block(&entry).await? {
            return Ok(());
        }
        let publication: Publication = serde_json::from_str(&entry.body).map_err(|e| {
            Error::new(sqlstate::DATA_CORRUPTED, "an entry of the journal cannot be read")
                .with_detail(e.to_string())
        })?;
        let layer = self.state().layer(entry.lineage)?;
        let run = Run { operation: entry.operation, layer, ordinal: entry.ordinal, publication };
        if run.publication.undo.is_some() {
            return self.undo(&run).await;
        }
        let mut sealed = Vec::new();
        for part in &run.publication.parts {
            sealed.push(self.inner.backends.require(&part.backend)?.sealed(&run.operation).await?);
        }
        if sealed.iter().all(Option::is_none) {
            return self.drop_entry(&run).await;
        }
        let mut complete = Vec::new();
        for (part, known) in run.publication.parts.iter().zip(sealed) {
            match known {
                Some(one) => complete.push(one),
                None => match self.seal(&run, part).await {
                    Ok(one) => complete.push(one),
                    Err(error) if is_definite(&error) && !run.publication.all => {
                        return self.start_undo(run).await;
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        self.finish(&run, complete).await.map(drop)
    }

    /// A backend refused after `done` others published. What to tell the client.
    pub(super) async fn failed(&self, run: Run, done: usize, error: Error) -> Error {
        let names: Vec<_> = run.publication.parts.iter().map(|p| p.backend.clone()).collect();
        if is_definite(&error) && done == 0 {
            return match self.drop_entry(&run).await {
                Ok(()) => error,
                Err(other) => other,
            };
        }
        // What was pending when it was sealed can't be made pending again, only be completed.
        if !is_definite(&error) || run.publication.all {
            return partial(&names, done, &error);
        }
        match self.start_undo(run).await {
            Ok(()) => error,
            Err(undo) => {
                tracing::error!(error = %undo, "could not take back a part of a failed operation");
                partial(&names, done, &error)
            }
        }
    }

    /// Remembers that the operation is to be undone, then undoes it.
    async fn start_undo(&self, mut run: Run) -> Result<()> {
        let mut tx = self.store().write().await?;
        tx.next_generation().await?;
        run.publication.schema = SchemaChange::default();
        run.publication.undo = Some(refs::next_ordinal(&mut tx, run.layer.lineage).await?);
        journal::update(&mut tx, &run.operation, &journal_body(&run.publication)?).await?;
        tx.commit().await?;
        self.undo(&run).await
    }

    /// Takes back what some backends published: publishes the reverse, which no ref ever shows.
    async fn undo(&self, run: &Run) -> Result<()> {
        let Some(ordinal) = run.publication.undo else { return Ok(()) };
        let operation = format!("{}-undo", run.operation);
        for part in &run.publication.parts {
            let backend = self.inner.backends.require(&part.backend)?;
            if backend.sealed(&run.operation).await?.is_none() {
                continue;
            }
            let changes = self.reversed(part)?;
            let tables: Vec<_> = changes.iter().map(|c| c.table.clone()).collect();
            backend.seal(&operation, &tables, run.layer, ordinal, &changes, SealMode::Own).await?;
        }
        self.drop_entry(run).await
    }

    fn reversed(&self, part: &Part) -> Result<Vec<TableChanges>> {
        let reverse = |c: &RowChange| RowChange {
            key: c.key.clone(),
            before: c.after.clone(),
            after: c.before.clone(),
        };
        let one = |(id, changes): &(_, Vec<RowChange>)| {
            Ok(TableChanges {
                table: self.table_by_id(*id)?,
                changes: changes.iter().map(reverse).collect(),
                arrival: None,
            })
        };
        part.changes.iter().map(one).collect()
    }
}

/// Whether a backend said no, as opposed to not answering.
fn is_definite(error: &Error) -> bool {
    let unknown = ["08", "57", "53", "58"];
    !unknown.iter().any(|class| error.code().starts_with(class))
}

/// 40003: some backends have it and others don't, until the operation is recovered.
fn partial(names: &[String], done: usize, error: &Error) -> Error {
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let (have, have_not) = names.split_at_checked(done).unwrap_or((names, &[]));
    Error::new(
        sqlstate::STATEMENT_COMPLETION_UNKNOWN,
        "the operation is finished on a part of the backends only",
    )
    .with_detail(format!(
        "Published: {}. Not or not known to be: {}. Cause: {}",
        list(have),
        list(have_not),
        error.message()
    ))
    .with_hint("It is finished or undone before the next operation, as soon as the backends answer.")
}
