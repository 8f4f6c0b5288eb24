//! The backend's log: what happened to our side of all its tables, one numbered file for each transaction.
//!
//! A file is made only if none has its number, so whoever is second sees what the first did before it tries the next
//! number. That makes a transaction over several tables and branches, and a seal with its result, one atomic step. Rows
//! are in files of their own, which the log names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use epoch_adapter::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use crate::error::{damaged, store};
use crate::state::{Event, State};
use crate::store::OURS;

/// A summary of the log is written each time so many entries were added.
const SUMMARY: u64 = 64;
/// So many entries that a summary covers are kept, for whoever reads the log slowly.
const KEPT: u64 = 256;
/// Whoever hasn't looked for so long looks for a newer summary: entries may be gone.
const STALE: Duration = Duration::from_secs(600);
/// Entries are removed only if they are older than this, which is longer than anybody goes without looking for summaries.
const OLD: Duration = Duration::from_secs(7200);

#[derive(Serialize, Deserialize)]
struct Entry {
    /// Tells a writer whether the entry is its own.
    id: String,
    event: Event,
}

#[derive(Debug, Default)]
struct Known {
    state: Arc<State>,
    looked: Option<Instant>,
}

/// The log, and what is known of it.
#[derive(Debug)]
pub(crate) struct Log {
    root: Arc<dyn ObjectStore>,
    known: Mutex<Known>,
    turn: tokio::sync::Mutex<()>,
}

fn path(number: u64) -> Path {
    Path::from(format!("{OURS}/log/{number:020}.json"))
}

fn summary_path() -> Path {
    Path::from(format!("{OURS}/log/summary.json"))
}

impl Log {
    pub(crate) fn new(root: Arc<dyn ObjectStore>) -> Self {
        Self { root, known: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn known(&self) -> (Arc<State>, Option<Instant>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&known.state), known.looked)
    }

    async fn object<T: for<'de> Deserialize<'de>>(&self, path: &Path) -> Result<Option<T>> {
        let found = match self.root.get(path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(store)?.bytes().await.map_err(store)?,
        };
        serde_json::from_slice(&found).map(Some).map_err(|e| damaged(path.as_ref(), e))
    }

    /// What has happened until now.
    pub(crate) async fn refresh(&self) -> Result<Arc<State>> {
        self.look(false).await
    }

    /// As [`Log::refresh`], trusting nothing that was known before: the log may have been begun anew.
    pub(crate) async fn reload(&self) -> Result<Arc<State>> {
        self.look(true).await
    }

    async fn look(&self, anew: bool) -> Result<Arc<State>> {
        let _turn = self.turn.lock().await;
        let (mut state, looked) = self.known();
        if anew || looked.is_none_or(|at| at.elapsed() > STALE) {
            let summary: Option<State> = self.object(&summary_path()).await?;
            match summary {
                Some(summary) if anew || summary.next > state.next => state = Arc::new(summary),
                None if anew => state = Arc::default(),
                _ => {}
            }
        }
        let looked = Some(Instant::now());
        while let Some(entry) = self.object::<Entry>(&path(state.next)).await? {
            Arc::make_mut(&mut state).apply(entry.event);
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Known { state: Arc::clone(&state), looked };
        Ok(state)
    }

    /// Adds an event after what a state shows; whether nobody was faster.
    pub(crate) async fn append(&self, after: &State, event: Event) -> Result<bool> {
        let entry = Entry { id: uuid::Uuid::new_v4().to_string(), event };
        let text =
            serde_json::to_vec(&entry).map_err(|e| Error::internal(format!("delta: an entry: {e}")))?;
        let path = path(after.next);
        let put = self.root.put_opts(&path, PutPayload::from(text), PutOptions::from(PutMode::Create)).await;
        if let Err(error) = put {
            // It may have arrived all the same, and its answer not.
            let there: Option<Entry> = self.object(&path).await.ok().flatten();
            match there {
                Some(there) if there.id == entry.id => {}
                Some(_) => return Ok(false),
                None => return Err(store(error)),
            }
        }
        if after.next % SUMMARY == SUMMARY - 1 {
            let state = self.refresh().await?;
            if let Err(error) = self.summarize(&state).await {
                tracing::warn!(%error, "the log of a Delta backend could not be summarized");
            }
        }
        Ok(true)
    }

    async fn summarize(&self, state: &State) -> Result<()> {
        let text =
            serde_json::to_vec(state).map_err(|e| Error::internal(format!("delta: a summary: {e}")))?;
        self.root.put(&summary_path(), PutPayload::from(text)).await.map_err(store)?;
        let Some(mut number) = state.next.checked_sub(KEPT + SUMMARY) else { return Ok(()) };
        // Those that were left because they were too young are a few summaries back.
        for _ in 0..8 * SUMMARY {
            let Ok(meta) = self.root.head(&path(number)).await else { break };
            let age =
                chrono::Utc::now().signed_duration_since(meta.last_modified).to_std().unwrap_or_default();
            if age > OLD {
                self.root.delete(&path(number)).await.map_err(store)?;
            }
            match number.checked_sub(1) {
                Some(before) => number = before,
                None => break,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn layer(lineage: i64) -> Event {
        Event::Layer { table: 1, lineage, base: 0, copy: None }
    }

    fn installed() -> Event {
        Event::Install { owner: "r".into(), table: 1, path: "t".into(), identity: "x".into(), version: 0 }
    }

    #[tokio::test]
    async fn the_second_at_a_number_is_told() {
        let root: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (a, b) = (Log::new(Arc::clone(&root)), Log::new(root));
        let state = a.reload().await.unwrap();
        assert!(a.append(&state, installed()).await.unwrap());
        assert!(!b.append(&state, layer(2)).await.unwrap());
        let state = b.refresh().await.unwrap();
        assert_eq!(state.next, 1);
        assert!(b.append(&state, layer(2)).await.unwrap());
        assert_eq!(a.refresh().await.unwrap().tables[&1].layers.len(), 1);
    }

    #[tokio::test]
    async fn a_summary_says_the_same_as_the_entries() {
        let root: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let log = Log::new(Arc::clone(&root));
        let mut state = log.reload().await.unwrap();
        assert!(log.append(&state, installed()).await.unwrap());
        for lineage in 2..100 {
            state = log.refresh().await.unwrap();
            assert!(log.append(&state, layer(lineage)).await.unwrap());
        }
        let state = log.refresh().await.unwrap();
        assert!(root.head(&summary_path()).await.is_ok());
        let other = Log::new(Arc::clone(&root));
        assert_eq!(*other.refresh().await.unwrap(), *state);
        // without its first entries
        root.delete(&path(3)).await.unwrap();
        assert_eq!(*Log::new(root).refresh().await.unwrap(), *state);
    }
}
