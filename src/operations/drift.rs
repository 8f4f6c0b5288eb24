//! Tables that somebody changed past the repository: asked of the backends now and then, and before
//! what such a change would make wrong.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use epoch_adapter::{Error, Result, TableDef, TableId, sqlstate};

use super::Repository;

/// How long a look at a backend holds for sessions on branches.
const HOLDS: Duration = Duration::from_secs(5);

/// What a look at one backend found.
#[derive(Debug)]
pub(super) struct Looked {
    at: Instant,
    drifted: HashMap<TableId, String>,
}

impl Repository {
    /// 55000 if the table was changed in a way that branches and commits can't be read any more.
    /// What is known holds for a few seconds; a table that is refused is looked at each time.
    pub async fn sound(&self, table: &TableDef) -> Result<()> {
        let backend = &table.location.backend;
        if self.known_sound(backend, table) {
            return Ok(());
        }
        let _alone = self.inner.looking.lock().await;
        // Somebody may have looked while we waited.
        if self.known_sound(backend, table) {
            return Ok(());
        }
        let drifted = self.look(backend).await?;
        let reason = drifted.get(&of_main(table)).cloned();
        self.inner.looked.insert(backend.clone(), Looked { at: Instant::now(), drifted });
        match reason {
            Some(reason) => Err(Error::drifted(&table.name.to_string(), &reason)),
            None => Ok(()),
        }
    }

    fn known_sound(&self, backend: &str, table: &TableDef) -> bool {
        let looked = self.inner.looked.get(backend);
        looked.is_some_and(|l| l.at.elapsed() < HOLDS && !l.drifted.contains_key(&of_main(table)))
    }

    /// All tables that drifted, and how.
    pub(super) async fn drifted(&self) -> Result<HashMap<TableId, String>> {
        let mut all = HashMap::new();
        for backend in self.backends() {
            all.extend(self.look(backend.name()).await?);
        }
        Ok(all)
    }

    /// Looks at all backends, whether somebody needs to know or not: what changed between two looks is told the better, the
    /// less it is (decision 47). One that doesn't answer is left for the next time.
    pub async fn watch_tables(&self) {
        for backend in self.backends() {
            if let Err(error) = self.look(backend.name()).await {
                tracing::debug!(%error, backend = backend.name(), "tables could not be looked at");
            }
        }
    }

    /// In the place of a backend's error that a table is missing: that it was dropped past the repository.
    pub(super) async fn or_drift(&self, error: Error) -> Error {
        if error.code() != sqlstate::UNDEFINED_TABLE {
            return error;
        }
        let Ok(drifted) = self.drifted().await else { return error };
        let tables = self.tables().sorted();
        let found = tables.iter().find_map(|t| drifted.get(&t.id).map(|reason| (t, reason)));
        found.map_or(error, |(table, reason)| Error::drifted(&table.name.to_string(), reason))
    }

    async fn look(&self, backend: &str) -> Result<HashMap<TableId, String>> {
        let tables: Vec<_> =
            self.tables().sorted().into_iter().filter(|t| t.location.backend == backend).collect();
        if tables.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.inner.backends.require(backend)?.drift(&tables).await?;
        Ok(found.into_iter().collect())
    }
}

/// The table of main whose rows a table has.
fn of_main(table: &TableDef) -> TableId {
    table.source.as_ref().map_or(table.id, |source| source.table)
}
