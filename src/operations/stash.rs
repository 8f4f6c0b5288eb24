//! Working changes that are put aside and brought back.
//!
//! A stash is a commit of the working changes on top of the head, made on a hidden branch that is gone as soon
//! as the stash is listed. It comes back by a three-way merge whose result stays uncommitted.

use std::sync::Arc;

use epoch_adapter::{Error, Result, RowChange, TableDef, sqlstate};

use super::branches::taken;
use super::merging::{Changes, Ends};
use super::publish::{Draft, Outcome};
use super::reset::publication;
use super::resolve::Named;
use super::sequence::{Action, Sequence, Step, Verb};
use super::{Author, Checkout, Picked, Repository, Right, Scope, StashInfo, Strategy};
use crate::metadata::refs::{self, Branch, HIDDEN};
use crate::metadata::stashes::{self, Stash};
use crate::metadata::{OperationLock, now};

/// How often a stash starts again because somebody writes to the rows that it takes.
const ATTEMPTS: usize = 5;

impl Repository {
    /// All stashes, newest first.
    pub async fn stashes(&self) -> Result<Vec<StashInfo>> {
        let mut tx = self.store().read().await?;
        let all = stashes::all(&mut tx).await?;
        tx.commit().await?;
        let seen = all.iter().enumerate().filter(|(_, stash)| self.sees(&stash.branch));
        Ok(seen.map(|(i, stash)| to_info(i, stash)).collect())
    }

    /// Puts the working changes of the checkout's branch aside; the branch shows its head afterwards.
    pub async fn stash_push(
        &self,
        checkout: &Checkout,
        name: Option<&str>,
        author: &Author,
    ) -> Result<StashInfo> {
        check_name(name)?;
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Write, Scope::All)?;
        self.check_can_merge(&branch).await?;
        let author = self.author_or_default(author);
        if let Some(name) = name
            && self.stashes().await?.iter().any(|s| s.name == name)
        {
            return Err(taken("stash", name));
        }
        for _ in 0..ATTEMPTS {
            let changes = self.uncommitted(&branch).await?;
            if changes.iter().all(|(_, rows)| rows.is_empty()) {
                let message = format!("branch \"{}\" has no uncommitted changes", branch.name);
                return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
            }
            let stash = self.keep(&lock, &branch, name, changes.clone(), &author).await?;
            let back = changes.into_iter().map(|(table, rows)| (table, reversed(rows))).collect();
            let back = publication(&branch, &branch.head, back, "stash: push", &author);
            match self.publish(&lock, branch.lineage, back).await {
                Ok(_) => return Ok(to_info(0, &stash)),
                Err(error) => {
                    let mut tx = self.store().write().await?;
                    stashes::delete(&mut tx, stash.id).await?;
                    tx.commit().await?;
                    if !error.message().contains("would be overwritten") {
                        return Err(error);
                    }
                }
            }
        }
        let message =
            format!("branch \"{}\" is written to all the time: the stash found no quiet moment", branch.name);
        Err(Error::new(sqlstate::SERIALIZATION_FAILURE, message))
    }

    /// From the head to the working state.
    async fn uncommitted(&self, branch: &Branch) -> Result<Vec<(Arc<TableDef>, Vec<RowChange>)>> {
        let (head, working) = (Named::Branch(branch.clone()), Named::Working(branch.clone()));
        let mut changes = Vec::new();
        for table in self.tables_between(&head, &working).await? {
            let rows = self.changes_between(&table, &head, &working).await?;
            changes.push((table, rows));
        }
        Ok(changes)
    }

    /// Makes the commit of a stash, and lists it.
    async fn keep(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        name: Option<&str>,
        changes: Vec<(Arc<TableDef>, Vec<RowChange>)>,
        author: &Author,
    ) -> Result<Stash> {
        let hidden = self.hidden_branch("stash", branch, &branch.head).await?;
        let draft = Draft {
            parents: vec![branch.head.clone()],
            author: author.clone(),
            date: now(),
            message: format!("WIP on {}", branch.name),
            by_diff: false,
            allow_empty: true,
            origins: vec![],
        };
        let changes = Changes { rows: changes, ..Changes::default() };
        let outcome = Outcome::New(draft);
        let action = "stash: push".to_owned();
        let made = self.apply(lock, &hidden, changes, outcome, action, author, Ends::default()).await?;
        let stash = Stash {
            id: hidden.lineage.0,
            name: name.map(str::to_owned),
            branch: branch.name.clone(),
            base: branch.head.clone(),
            hash: made.hash,
            created: now(),
        };
        let mut tx = self.store().write().await?;
        if !stashes::insert(&mut tx, &stash).await? {
            return Err(taken("stash", name.unwrap_or_default()));
        }
        refs::delete_branch(&mut tx, hidden.lineage).await?;
        tx.commit().await?;
        self.reload().await?;
        Ok(stash)
    }

    /// Makes the hidden branch of an operation on a branch, instead of one that a crash left.
    pub(super) async fn hidden_branch(&self, what: &str, branch: &Branch, head: &str) -> Result<Branch> {
        let name = format!("{what}{HIDDEN}{}", branch.lineage.0);
        let fork = self.position(head, branch.lineage).await?;
        let main = fork.0 == epoch_adapter::LineageId::MAIN;
        let base = if main { fork.1 } else { self.state().layer(fork.0)?.base };
        let left = self.state().hidden(&name).map(|b| b.lineage);
        let mut tx = self.store().write().await?;
        if let Some(left) = left {
            refs::delete_branch(&mut tx, left).await?;
        }
        let lineage = refs::create_branch(&mut tx, &name, head, None, fork, base).await?;
        tx.commit().await?;
        self.reload().await?;
        self.live_branch(lineage, &name)
    }

    async fn find_stash(&self, name: Option<&str>) -> Result<(usize, Stash)> {
        let mut tx = self.store().read().await?;
        let all = stashes::all(&mut tx).await?;
        tx.commit().await?;
        let Some(name) = name else {
            let first = all.into_iter().next().map(|stash| (0, stash));
            return first
                .ok_or_else(|| Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, "there is no stash"));
        };
        let mut all = all.into_iter().enumerate();
        let found = all.find(|(i, stash)| stash.name.as_deref() == Some(name) || positional(*i) == name);
        found.ok_or_else(|| {
            Error::new(sqlstate::UNDEFINED_OBJECT, format!("stash \"{name}\" does not exist"))
                .with_hint("SELECT * FROM epoch_stash('list') lists them.")
        })
    }

    /// Brings a stash (the newest for none) back as uncommitted changes, and forgets it. With conflicts nothing is
    /// changed before they are resolved.
    pub async fn stash_pop(
        &self,
        checkout: &Checkout,
        name: Option<&str>,
        strategy: Strategy,
        author: &Author,
    ) -> Result<(StashInfo, Picked)> {
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Write, Scope::All)?;
        self.check_writes(branch.lineage)?;
        self.check_can_merge(&branch).await?;
        let (at, stash) = self.find_stash(name).await?;
        self.may_on(std::slice::from_ref(&stash.branch), Right::Read, Scope::All)?;
        let step = Step {
            action: Action::Pick,
            commit: stash.hash.clone(),
            parent: stash.base.clone(),
            message: None,
        };
        let sequence = Sequence {
            verb: Verb::Stash,
            origin: branch.head.clone(),
            onto: None,
            stash: Some(stash.id),
            done: 0,
            todo: vec![step],
            planned: false,
        };
        let remembered = self.remembered(sequence, strategy, author).await?;
        let picked = self.go_on(&lock, &branch, remembered).await?;
        Ok((to_info(at, &stash), picked))
    }

    /// Forgets a stash (the newest for none).
    pub async fn stash_drop(&self, name: Option<&str>) -> Result<StashInfo> {
        let _lock = self.locked().await?;
        let (at, stash) = self.find_stash(name).await?;
        self.may_on(std::slice::from_ref(&stash.branch), Right::Write, Scope::All)?;
        let mut tx = self.store().write().await?;
        stashes::delete(&mut tx, stash.id).await?;
        tx.commit().await?;
        Ok(to_info(at, &stash))
    }

    /// Forgets all stashes; they are returned.
    pub async fn stash_clear(&self) -> Result<Vec<StashInfo>> {
        let _lock = self.locked().await?;
        let all = self.stashes().await?;
        self.may_all(Right::Write)?;
        let mut tx = self.store().write().await?;
        stashes::clear(&mut tx).await?;
        tx.commit().await?;
        Ok(all)
    }

    /// Whether a branch has uncommitted changes.
    pub(super) async fn is_dirty(&self, branch: &Branch) -> Result<bool> {
        Ok(self.published(branch).await?.1 != branch.head
            || !self.state().pending_tables(branch.lineage).is_empty()
            || !self.pending(branch).await?.is_empty())
    }
}

fn reversed(rows: Vec<RowChange>) -> Vec<RowChange> {
    rows.into_iter().map(|c| RowChange { key: c.key, before: c.after, after: c.before }).collect()
}

fn positional(at: usize) -> String {
    format!("stash@{{{at}}}")
}

fn to_info(at: usize, stash: &Stash) -> StashInfo {
    StashInfo {
        name: stash.name.clone().unwrap_or_else(|| positional(at)),
        hash: stash.hash.clone(),
        branch: stash.branch.clone(),
        date: stash.created,
    }
}

/// A stash's own name must not look like a place in the list.
fn check_name(name: Option<&str>) -> Result<()> {
    match name {
        Some(name) if name.trim().is_empty() || name.contains("@{") || name.contains('\n') => {
            let message = format!("\"{name}\" is not a valid stash name");
            Err(Error::new(sqlstate::INVALID_NAME, message))
        }
        _ => Ok(()),
    }
}
