//! Moving a branch, and dropping working changes.

use std::collections::HashMap;
use std::sync::Arc;

use epoch_adapter::{At, Error, LineageId, Result, RowChange, TableDef, sqlstate};

use super::merging::{Changes, to_parts};
use super::publish::{After, Outcome, Publication, SchemaChange};
use super::resolve::Named;
use super::{Author, Checkout, Repository, ResetDone, ResetOptions, Right, Scope};
use crate::metadata::refs::{self, Branch};
use crate::metadata::{OperationLock, commits, now};

/// How often a reset starts again because somebody writes to the rows it drops.
const ATTEMPTS: usize = 5;

impl Repository {
    /// Moves the checkout's branch, or drops working changes.
    pub async fn reset(&self, checkout: &Checkout, options: &ResetOptions) -> Result<ResetDone> {
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        let author = self.author_or_default(&options.author);
        if let Some(table) = &options.table {
            if options.target.is_some() {
                let message = "one table cannot be reset to another commit";
                return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
            }
            let table = self.table(checkout, table)?;
            self.may_branch(&branch, Right::Write, Scope::Table(&table.name))?;
            return self.reset_table(&lock, &branch, &table, &author).await;
        }
        self.may_branch(&branch, Right::Write, Scope::All)?;
        let target = self.named(options.target.as_deref().unwrap_or("HEAD"), Some(checkout)).await?;
        self.may_read(&target, Scope::All).await?;
        let target = target.hash().to_owned();
        if target != branch.head {
            self.check_unprotected(&branch.name, "reset to another commit")?;
        }
        if options.hard {
            self.reset_hard(&lock, &branch, &target, &author).await
        } else {
            self.reset_soft(&branch, &target, &author).await
        }
    }

    /// Drops the working changes of one table.
    async fn reset_table(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        table: &TableDef,
        author: &Author,
    ) -> Result<ResetDone> {
        self.check_not_softly_reset(branch).await?;
        if self.state().pending_tables(branch.lineage).contains(&table.id) {
            let message =
                format!("table \"{}\" was made, altered or dropped since the last commit", table.name);
            return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("Drop the table, or use epoch_reset('--hard')."));
        }
        for _ in 0..ATTEMPTS {
            let (working, head) = (Named::Working(branch.clone()), Named::Branch(branch.clone()));
            let changes = self.changes_between(table, &working, &head).await?;
            let count = changes.len();
            let changes = vec![(Arc::new(table.clone()), changes)];
            let publication = publication(branch, &branch.head, changes, "reset of a table", author);
            if publication.parts.is_empty() {
                return Ok(done(
                    &branch.head,
                    None,
                    format!("table \"{}\" has no working changes", table.name),
                ));
            }
            match self.publish(lock, branch.lineage, publication).await {
                Ok(_) => {
                    let status = format!("{count} working changes of table \"{}\" dropped", table.name);
                    return Ok(done(&branch.head, None, status));
                }
                Err(error) if written_meanwhile(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(branch))
    }

    /// Only the head moves; the difference becomes uncommitted.
    async fn reset_soft(&self, branch: &Branch, target: &str, author: &Author) -> Result<ResetDone> {
        if self.waiting(branch).await?.is_some() {
            return Err(Error::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "a soft reset is not possible while a merge is waiting",
            )
            .with_hint("Use epoch_merge('--abort') first."));
        }
        let mut tx = self.store().write().await?;
        let action = "reset: soft";
        refs::move_head(&mut tx, branch.lineage, &branch.head, target, &author.name, action).await?;
        tx.commit().await?;
        self.reload().await?;
        Ok(done(target, None, self.head_status(target).await?))
    }

    /// The working state becomes the target, in two publications where both are needed: first the
    /// working changes go (back to what was published last), then the published changes between
    /// there and the target. So each is compared with a state that can't change under it.
    async fn reset_hard(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        target: &str,
        author: &Author,
    ) -> Result<ResetDone> {
        let safety = self.safety_branch(branch, target).await?;
        let keep = safety.clone().map(|name| (name, branch.head.clone()));
        for _ in 0..ATTEMPTS {
            let branch = self.live_branch(branch.lineage, &branch.name)?;
            let published = self.published(&branch).await?.1;
            let attempt = if self.pending(&branch).await?.is_empty() {
                let publication = self.move_to(&branch, &published, target, author, keep.clone()).await?;
                self.publish(lock, branch.lineage, publication).await.map(|_| true)
            } else {
                let publication =
                    self.drop_pending(&branch, &published, target, author, keep.clone()).await?;
                self.publish(lock, branch.lineage, publication).await.map(|_| published == target)
            };
            self.sweep().await;
            match attempt {
                Ok(true) => return Ok(done(target, safety, self.head_status(target).await?)),
                Ok(false) => {}
                Err(error) if written_meanwhile(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(branch))
    }

    /// The name of a branch for the commits that the head leaves, if it leaves any.
    async fn safety_branch(&self, branch: &Branch, target: &str) -> Result<Option<String>> {
        let kept = self.with_graph(|graph| {
            let (Some(head), Some(target)) = (graph.index(&branch.head), graph.index(target)) else {
                return Err(Error::internal("a commit is missing from the graph"));
            };
            Ok(graph.is_ancestor(head, target))
        });
        if kept.await? {
            return Ok(None);
        }
        let stem = format!("{}_before_reset_{}", branch.name, now().format("%Y%m%d_%H%M%S"));
        let state = self.state();
        let names = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}_{n}")));
        Ok(names.into_iter().find(|name| state.branch(name).is_none()))
    }

    async fn drop_pending(
        &self,
        branch: &Branch,
        published: &str,
        target: &str,
        author: &Author,
        keep: Option<(String, String)>,
    ) -> Result<Publication> {
        let changes = self.changes_of_all(branch, At::Working, published).await?;
        let mut publication = publication(branch, published, changes, "reset: hard", author);
        publication.schema.discard = true;
        if published == target {
            publication.forget_merge = true;
            publication.safety = keep;
        }
        Ok(publication)
    }

    async fn move_to(
        &self,
        branch: &Branch,
        published: &str,
        target: &str,
        author: &Author,
        keep: Option<(String, String)>,
    ) -> Result<Publication> {
        let (_, at) = self.published(branch).await?.0;
        let changes = self.changes_of_all(branch, at, target).await?;
        let mut publication = publication(branch, target, changes, "reset: hard", author);
        publication.schema = self.schema_to(branch, published, target).await?;
        publication.forget_merge = true;
        publication.safety = keep;
        Ok(publication)
    }

    /// The tables that come and go when a branch shows another commit.
    async fn schema_to(&self, branch: &Branch, published: &str, target: &str) -> Result<SchemaChange> {
        let (from, to) = (Named::Commit(published.to_owned()), Named::Commit(target.to_owned()));
        let [added, removed] = self.apart(&from, &to).await?;
        let schema = SchemaChange { added, removed, discard: true, uncommitted: false };
        let none = schema.added.is_empty() && schema.removed.is_empty();
        if branch.lineage == LineageId::MAIN && !none {
            return Err(Error::unsupported("a reset of main over a merge that made or altered tables")
                .with_hint("Change the tables on main, or reset a branch."));
        }
        Ok(schema)
    }

    /// What makes a branch show the tables and rows of a commit, beside what is uncommitted.
    pub(super) async fn exactly(&self, branch: &Branch, commit: &str) -> Result<Changes> {
        let ((_, at), published) = self.published(branch).await?;
        let [added, removed] =
            self.apart(&Named::Commit(published), &Named::Commit(commit.to_owned())).await?;
        for id in &added {
            let older = removed.iter().find(|older| self.state().is_made_from(*id, **older));
            if let Some(older) = older {
                self.check_can_come(branch, &*self.table_by_id(*id)?, *older)?;
            }
        }
        let schema = SchemaChange { added, removed, discard: false, uncommitted: false };
        let rows = self.changes_of_all(branch, at, commit).await?;
        Ok(Changes { rows, schema, altered: HashMap::new() })
    }

    /// The changes of rows that bring a branch from one of its states to a commit.
    async fn changes_of_all(
        &self,
        branch: &Branch,
        at: At,
        to: &str,
    ) -> Result<Vec<(Arc<TableDef>, Vec<RowChange>)>> {
        let from = match at {
            At::Working => Named::Working(branch.clone()),
            At::Ordinal(_) => Named::Commit(self.published(branch).await?.1),
        };
        let to = Named::Commit(to.to_owned());
        let there = self.tables_of_ref(&to).await?;
        let mut changes = Vec::new();
        for table in self.versions_between(&from, &to).await? {
            let at = (branch.lineage, at);
            let rows = if there.by_id.contains_key(&table.id) {
                self.changes_onto(at, &to, &table).await?
            } else if self.state().is_uncommitted(branch.lineage, table.id) {
                continue; // it goes as a whole
            } else if self.state().made(table.id).is_none() || table.revision.is_some() {
                continue; // its rows are main's
            } else {
                self.changes_to_nothing(at, &table).await?
            };
            changes.push((table, rows));
        }
        Ok(changes)
    }

    async fn head_status(&self, hash: &str) -> Result<String> {
        let mut tx = self.store().read().await?;
        let commit = commits::read(&mut tx, hash).await?;
        let message = commit.map(|c| c.message).unwrap_or_default();
        let short = hash.get(..10).unwrap_or(hash);
        Ok(format!("HEAD is now at {short} {}", message.lines().next().unwrap_or_default()))
    }
}

pub(super) fn publication(
    branch: &Branch,
    target: &str,
    changes: Vec<(Arc<TableDef>, Vec<RowChange>)>,
    action: &str,
    author: &Author,
) -> Publication {
    Publication {
        action: action.to_owned(),
        author: author.name.clone(),
        expected: branch.head.clone(),
        all: false,
        parts: to_parts(changes, &[]),
        outcome: Outcome::Existing(target.to_owned()),
        forget_merge: false,
        safety: None,
        undo: None,
        schema: SchemaChange::default(),
        after: After::default(),
        note: None,
    }
}

/// A row was written between the difference and its application: see `would_overwrite`.
fn written_meanwhile(error: &Error) -> bool {
    error.code() == sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE
        && error.message().contains("would be overwritten")
}

fn busy(branch: &Branch) -> Error {
    let message =
        format!("branch \"{}\" is written to all the time: the reset found no quiet moment", branch.name);
    Error::new(sqlstate::SERIALIZATION_FAILURE, message)
}

fn done(hash: &str, safety_branch: Option<String>, status: String) -> ResetDone {
    ResetDone { hash: hash.to_owned(), safety_branch, status }
}
