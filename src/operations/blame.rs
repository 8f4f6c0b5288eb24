//! Which commits changed the rows of a table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{At, Error, LineageId, Ordinal, Result, Row, RowChange, Segment, TableDef, Value};
use futures::TryStreamExt;

use super::resolve::Named;
use super::{Checkout, CommitSummary, Repository, Right, RowVersion, Scope};
use crate::metadata::commits;

/// A commit that may have changed a table, with its parents.
struct Candidate {
    hash: String,
    parents: Vec<String>,
}

/// A commit on the way back.
struct Ancestor {
    hash: String,
    parents: Vec<String>,
    /// Whether the table differs from the first parent's.
    changed: bool,
}

/// A key that history is asked of.
struct OneKey<'a> {
    key: &'a Row,
    /// Where it was changed, if that is known.
    changed: Option<HashSet<(LineageId, Ordinal)>>,
}

impl OneKey<'_> {
    fn may_be_in(&self, segments: &[Segment]) -> bool {
        let Some(changed) = &self.changed else { return true };
        segments.iter().any(|s| {
            let upto = match s.upto {
                At::Working => return true,
                At::Ordinal(ordinal) => ordinal,
            };
            changed.iter().any(|(lineage, at)| *lineage == s.lineage && (s.after + 1..=upto).contains(at))
        })
    }
}

/// The rows that are as a commit shows them. Each row is open at one commit at a time.
enum Keys {
    /// All but these.
    Except(HashSet<Row>),
    Only(HashSet<Row>),
}

impl Default for Keys {
    fn default() -> Self {
        Self::Except(HashSet::new())
    }
}

impl Keys {
    fn none() -> Self {
        Self::Only(HashSet::new())
    }

    /// Takes a key out; false if it wasn't there.
    fn take(&mut self, key: &Row) -> bool {
        match self {
            Self::Except(gone) => gone.insert(key.clone()),
            Self::Only(keys) => keys.remove(key),
        }
    }

    fn join(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Only(keys), Self::Only(more)) => keys.extend(more),
            (Self::Except(gone), Self::Only(more)) => gone.retain(|key| !more.contains(key)),
            (Self::Only(keys), Self::Except(mut gone)) => {
                gone.retain(|key| !keys.contains(key));
                *self = Self::Except(gone);
            }
            (Self::Except(gone), Self::Except(also)) => gone.retain(|key| also.contains(key)),
        }
    }
}

impl Repository {
    /// Every change of a table's rows (of one key if given), newest first, as of a ref (HEAD for none). Of a
    /// merge only what differs from all its parents is its own.
    pub async fn row_history(
        &self,
        checkout: &Checkout,
        table: &TableDef,
        key: Option<&Row>,
        spec: Option<&str>,
    ) -> Result<Vec<RowVersion>> {
        self.refresh().await?;
        let named = self.named(spec.unwrap_or("HEAD"), Some(checkout)).await?;
        self.may_read(&named, Scope::Table(&table.name)).await?;
        let head = named.hash().to_owned();
        let only = match key {
            Some(key) => Some(self.key_of(table, key).await?),
            None => None,
        };
        let mut history = Vec::new();
        for candidate in self.changers(&head, table).await? {
            let mut changes = self.own_changes(&candidate, table, only.as_ref()).await?;
            if changes.is_empty() {
                continue;
            }
            changes.sort_by(|a, b| a.key.cmp(&b.key));
            let commit = self.summary(&candidate.hash).await?;
            history.extend(changes.into_iter().map(|change| RowVersion { commit: commit.clone(), change }));
        }
        Ok(history)
    }

    /// The commit that changed each row last, by key, as of a ref (HEAD for none). Rows that no commit changed
    /// were there before the first one.
    pub async fn blame(
        &self,
        checkout: &Checkout,
        table: &TableDef,
        spec: Option<&str>,
    ) -> Result<BTreeMap<Row, Arc<CommitSummary>>> {
        self.refresh().await?;
        let named = self.named(spec.unwrap_or("HEAD"), Some(checkout)).await?;
        self.may_read(&named, Scope::Table(&table.name)).await?;
        let head = named.hash().to_owned();
        let mut blamed = BTreeMap::new();
        let mut open = HashMap::from([(head.clone(), Keys::default())]);
        for commit in self.ancestry(&head, table).await? {
            let Some(mut keys) = open.remove(&commit.hash) else { continue };
            let Some(first) = commit.parents.first() else { continue };
            let mut own = Vec::new();
            if commit.changed {
                let (from, to) = (Named::Commit(first.clone()), Named::Commit(commit.hash.clone()));
                let changes = self.changes_between(table, &from, &to).await?;
                own.extend(changes.into_iter().map(|c| c.key).filter(|key| keys.take(key)));
            }
            open.entry(first.clone()).or_insert_with(Keys::none).join(keys);
            for other in commit.parents.iter().skip(1) {
                if own.is_empty() {
                    break;
                }
                let (from, to) = (Named::Commit(other.clone()), Named::Commit(commit.hash.clone()));
                let changes = self.changes_between(table, &from, &to).await?;
                let differ: HashSet<_> = changes.into_iter().map(|c| c.key).collect();
                let (mine, theirs): (Vec<_>, Vec<_>) = own.into_iter().partition(|key| differ.contains(key));
                own = mine;
                let theirs = Keys::Only(theirs.into_iter().collect());
                open.entry(other.clone()).or_insert_with(Keys::none).join(theirs);
            }
            if !own.is_empty() {
                let summary = self.summary(&commit.hash).await?;
                blamed.extend(own.into_iter().map(|key| (key, Arc::clone(&summary))));
            }
        }
        Ok(blamed)
    }

    /// A commit and all before it, newest first.
    async fn ancestry(&self, head: &str, table: &TableDef) -> Result<Vec<Ancestor>> {
        self.with_graph(|graph| {
            let head =
                graph.index(head).ok_or_else(|| Error::internal("a commit is missing from the graph"))?;
            let ancestor = |i: usize| Ancestor {
                hash: graph.hash(i).to_owned(),
                parents: graph.parents(i).iter().map(|&p| graph.hash(p).to_owned()).collect(),
                changed: graph.tables(i).contains(&table.id),
            };
            Ok(graph.range(&[head], &[]).map(ancestor).collect())
        })
        .await
    }

    /// The commits up to `head` that changed a table, newest first.
    async fn changers(&self, head: &str, table: &TableDef) -> Result<Vec<Candidate>> {
        self.with_graph(|graph| {
            let head =
                graph.index(head).ok_or_else(|| Error::internal("a commit is missing from the graph"))?;
            let changed = graph.range(&[head], &[]).filter(|&i| graph.tables(i).contains(&table.id));
            let candidate = |i: usize| Candidate {
                hash: graph.hash(i).to_owned(),
                parents: graph.parents(i).iter().map(|&p| graph.hash(p).to_owned()).collect(),
            };
            Ok(changed.map(candidate).collect())
        })
        .await
    }

    /// What differs from all parents.
    async fn own_changes(
        &self,
        commit: &Candidate,
        table: &TableDef,
        only: Option<&OneKey<'_>>,
    ) -> Result<Vec<RowChange>> {
        let to = Named::Commit(commit.hash.clone());
        let mut own: Option<Vec<RowChange>> = None;
        for parent in &commit.parents {
            let from = Named::Commit(parent.clone());
            let changes = match only {
                Some(only) => self.change_of_key(table, only, &from, &to).await?,
                None => self.changes_between(table, &from, &to).await?,
            };
            own = Some(match own {
                None => changes,
                Some(known) => {
                    let keys: HashSet<_> = changes.into_iter().map(|c| c.key).collect();
                    known.into_iter().filter(|c| keys.contains(&c.key)).collect()
                }
            });
            if own.as_ref().is_some_and(Vec::is_empty) {
                break;
            }
        }
        Ok(own.unwrap_or_default())
    }

    async fn key_of<'a>(&self, table: &TableDef, key: &'a Row) -> Result<OneKey<'a>> {
        let lineages = {
            let state = self.state();
            // Of versions of a table each has a history of its own.
            (!state.has_made()).then(|| state.holders(table.id))
        };
        let changed = match lineages {
            Some(lineages) => {
                let backend = self.inner.backends.require(&table.location.backend)?;
                Some(backend.changes_of_key(table, key, &lineages).await?.into_iter().collect())
            }
            None => None,
        };
        Ok(OneKey { key, changed })
    }

    /// What differs between two commits, of one key.
    async fn change_of_key(
        &self,
        table: &TableDef,
        only: &OneKey<'_>,
        from: &Named,
        to: &Named,
    ) -> Result<Vec<RowChange>> {
        let views = self.views_between(from, to, table).await?;
        if !only.may_be_in(&views.segments) {
            return Ok(Vec::new());
        }
        let changes = self.diff_of(table, &views, Some(only.key)).await?;
        let mut changes: Vec<_> = changes.try_collect().await?;
        if views.versions.is_some() {
            changes.retain(|c| same_texts(&c.key, only.key));
        }
        Ok(changes)
    }

    /// What differs between main, with what is uncommitted there, and a checkout.
    pub async fn changes_from_main(&self, there: &Checkout, table: &TableDef) -> Result<Vec<RowChange>> {
        let main = self.live_branch(epoch_adapter::LineageId::MAIN, "main")?;
        let there = self.head_branch(Some(there))?;
        for branch in [&main, &there] {
            self.may_branch(branch, Right::Read, Scope::Table(&table.name))?;
        }
        self.changes_between(table, &Named::Working(main), &Named::Working(there)).await
    }

    async fn summary(&self, hash: &str) -> Result<Arc<CommitSummary>> {
        let mut tx = self.store().read().await?;
        let commit = commits::read(&mut tx, hash).await?;
        tx.commit().await?;
        let commit = commit.ok_or_else(|| Error::internal(format!("commit {hash} is missing")))?;
        Ok(Arc::new(CommitSummary {
            hash: hash.to_owned(),
            author: commit.author,
            date: commit.date,
            message: commit.message,
        }))
    }
}

fn same_texts(a: &Row, b: &Row) -> bool {
    a.iter().map(Value::to_text).eq(b.iter().map(Value::to_text))
}
