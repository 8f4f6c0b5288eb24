//! Branches: listing, making, deleting, renaming.

use std::collections::HashMap;

use epoch_adapter::{Error, LineageId, Result, sqlstate};

use super::hooking::Doing;
use super::resolve::Named;
use super::{BranchInfo, Checkout, NewBranch, Repository, Right, Scope, Target, revision};
use crate::config::Event;
use crate::metadata::refs::{self, Branch};
use crate::metadata::rights::{self, Protection};
use crate::metadata::{commits, date, spans};

impl Repository {
    /// All branches by name.
    pub async fn branches(&self) -> Result<Vec<BranchInfo>> {
        self.refresh().await?;
        let mut branches: Vec<Branch> = self.state().branches().cloned().collect();
        branches.retain(|b| self.sees(&b.name));
        branches.sort_by(|a, b| a.name.cmp(&b.name));
        self.describe(branches).await
    }

    /// The names of all branches.
    pub async fn branch_names(&self) -> Result<Vec<String>> {
        self.refresh().await?;
        let mut names: Vec<String> = self.state().branches().map(|b| b.name.clone()).collect();
        names.retain(|name| self.sees(name));
        names.sort();
        Ok(names)
    }

    async fn describe(&self, branches: Vec<Branch>) -> Result<Vec<BranchInfo>> {
        let distances = self.distances(&branches).await?;
        let mut tx = self.store().read().await?;
        let rows = tx
            .query(
                "SELECT DISTINCT c.hash, c.author, c.date, c.message FROM commits c JOIN branches b ON b.head = c.hash",
                &[],
            )
            .await?;
        tx.commit().await?;
        let mut heads = HashMap::new();
        for row in &rows {
            heads.insert(row.text(0)?, (row.text(1)?, date(row.int(2)?), row.text(3)?));
        }
        let state = self.state();
        let info = |(branch, (ahead, behind)): (Branch, (i64, i64))| {
            let (author, date, message) = heads.get(&branch.head).cloned().unwrap_or_default();
            let parent = branch.parent.and_then(|p| state.branch_on(p));
            let protected = state.rights.guard(&branch.name).is_some();
            Ok(BranchInfo {
                layer: state.layer(branch.lineage)?,
                name: branch.name,
                hash: branch.head,
                parent_branch: parent.map(|p| p.name.clone()),
                latest_author: author,
                latest_date: date,
                latest_message: message,
                ahead,
                behind,
                expires_at: branch.expires,
                protected,
            })
        };
        branches.into_iter().zip(distances).map(info).collect()
    }

    /// Ahead and behind of each branch, against its parent branch (main if that is gone).
    async fn distances(&self, branches: &[Branch]) -> Result<Vec<(i64, i64)>> {
        let pairs: Vec<_> = {
            let state = self.state();
            let main = state.branch_on(LineageId::MAIN).map(|b| b.head.clone()).unwrap_or_default();
            let parent = |b: &Branch| b.parent.and_then(|p| state.branch_on(p)).map(|p| p.head.clone());
            branches.iter().map(|b| (b.head.clone(), parent(b).unwrap_or_else(|| main.clone()))).collect()
        };
        self.with_graph(|graph| {
            let count = |a: &str, b: &str| match (graph.index(a), graph.index(b)) {
                (Some(a), Some(b)) => graph.range(&[a], &[b]).count() as i64,
                _ => 0,
            };
            Ok(pairs.iter().map(|(head, parent)| (count(head, parent), count(parent, head))).collect())
        })
        .await
    }

    pub(super) async fn describe_one(&self, branch: Branch) -> Result<BranchInfo> {
        let described = self.describe(vec![branch]).await?.into_iter().next();
        described.ok_or_else(|| Error::internal("a branch has no description"))
    }

    /// Makes a branch at `start` (HEAD for none), without its uncommitted changes. Writes the same
    /// few rows of metadata whatever the tables hold. With `force` it replaces a branch of this name.
    pub async fn create_branch(
        &self,
        checkout: &Checkout,
        name: &str,
        start: Option<&str>,
        force: bool,
    ) -> Result<BranchInfo> {
        self.create_branch_with(checkout, name, start, NewBranch { force, ..NewBranch::default() }).await
    }

    /// As [`Repository::create_branch`], with what else is said of the branch.
    pub async fn create_branch_with(
        &self,
        checkout: &Checkout,
        name: &str,
        start: Option<&str>,
        with: NewBranch,
    ) -> Result<BranchInfo> {
        let NewBranch { force, expires, protection } = with;
        revision::check_name("branch", name)?;
        if protection.is_some() {
            self.may_grant(name)?;
        }
        self.refresh().await?;
        let named = self.named(start.unwrap_or("HEAD"), Some(checkout)).await?;
        let from = match (&named, &checkout.target) {
            (Named::Branch(branch) | Named::Working(branch), _) => branch.lineage,
            (Named::Commit(_), Target::Branch { layer }) => layer.lineage,
            (Named::Commit(_), Target::Commit { .. }) => LineageId::MAIN,
        };
        self.may_on(&[name.to_owned()], Right::Write, Scope::Some)?;
        self.may_carry(&named, name).await?;
        let head = named.hash().to_owned();
        let mut fork = self.position(&head, from).await?;
        let replaced = self.state().branch(name).cloned();
        if let Some(old) = replaced.as_ref().filter(|_| force) {
            // It is deleted.
            self.may_branch(old, Right::Write, Scope::All)?;
        }
        let doing = self.branching("create", name, start, &named).await?;
        self.before(&doing).await?;
        let mut tx = self.store().write().await?;
        // From here on nothing is collected.
        tx.next_generation().await?;
        if commits::at_position(&mut tx, fork.0, fork.1).await?.as_ref() != Some(&head) {
            // The commit may be somewhere else, too.
            let positions = commits::positions(&mut tx, &head).await?;
            fork = super::resolve::choose(&positions, from).ok_or_else(|| super::gc::removed(&head))?;
        }
        let base = if fork.0 == LineageId::MAIN { fork.1 } else { self.state().layer(fork.0)?.base };
        if refs::tag(&mut tx, name).await?.is_some() {
            return Err(taken("tag", name));
        }
        if let Some(old) = replaced {
            if !force {
                return Err(taken("branch", name));
            }
            if old.lineage == LineageId::MAIN {
                return Err(main_stays("replaced"));
            }
            self.check_unprotected(name, "replaced")?;
            crate::metadata::merges::delete(&mut tx, old.lineage).await?;
            refs::delete_branch(&mut tx, old.lineage).await?;
            spans::discard(&mut tx, old.lineage).await?;
        }
        let lineage = refs::create_branch(&mut tx, name, &head, Some(from), fork, base).await?;
        refs::log_move(&mut tx, lineage, None, &head, &self.inner.author.name, "branch: created").await?;
        if let Some(when) = expires {
            refs::set_expiry(&mut tx, lineage, when).await?;
        }
        if let Some(protection) = protection {
            let protection = Protection { branches: name.to_owned(), ..protection };
            rights::protect(&mut tx, &protection).await?;
            tx.structure_changed().await?;
        }
        tx.concludes();
        tx.commit().await?;
        self.reload().await?;
        if force {
            self.sweep().await;
        }
        self.after(&doing, &head).await;
        self.describe_one(self.live_branch(lineage, name)?).await
    }

    /// What hooks are told of a branch that is made, renamed or deleted.
    pub(super) async fn branching<'a>(
        &self,
        action: &'static str,
        name: &'a str,
        source: Option<&'a str>,
        shown: &Named,
    ) -> Result<Doing<'a>> {
        let has_say = self.has_say(Event::Branch, name);
        let seen = if has_say { Some(self.seen_commit(shown, name).await?) } else { None };
        Ok(Doing { event: Event::Branch, action, branch: name, source, message: None, seen })
    }

    /// Deletes a branch. `in_use`: a live session is on it; refused (55006) unless `force`. Un-merged
    /// commits are refused unless `force` (55000), as `git branch -d`, and so are working changes.
    pub async fn delete_branch(
        &self,
        checkout: &Checkout,
        name: &str,
        force: bool,
        in_use: bool,
    ) -> Result<BranchInfo> {
        let lock = self.locked().await?;
        let branch = self.branch_named(name)?;
        if branch.lineage == LineageId::MAIN {
            return Err(main_stays("deleted"));
        }
        self.may_branch(&branch, Right::Write, Scope::All)?;
        self.check_unprotected(name, "deleted")?;
        if in_use && !force {
            let message = format!("branch \"{name}\" is in use by a session");
            return Err(Error::new(sqlstate::OBJECT_IN_USE, message).with_hint("Use -D to delete it anyway."));
        }
        if !force {
            self.check_merged(checkout, &branch).await?;
        }
        let doing = self.branching("delete", name, None, &Named::Branch(branch.clone())).await?;
        self.before(&doing).await?;
        let info = self.describe_one(branch.clone()).await?;
        let mut tx = self.store().write().await?;
        crate::metadata::merges::delete(&mut tx, branch.lineage).await?;
        refs::delete_branch(&mut tx, branch.lineage).await?;
        // Nobody can commit it any more.
        spans::discard(&mut tx, branch.lineage).await?;
        tx.concludes();
        tx.commit().await?;
        self.reload().await?;
        self.sweep().await;
        drop(lock);
        self.after(&doing, &branch.head).await;
        Ok(info)
    }

    /// 55000 if deleting the branch would lose something.
    async fn check_merged(&self, checkout: &Checkout, branch: &Branch) -> Result<()> {
        let lost = |what: &str| {
            Error::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("branch \"{}\" has {what}", branch.name),
            )
            .with_hint("Merge it first, or use -D to delete it anyway.")
        };
        if !self.pending(branch).await?.is_empty() || !self.state().pending_tables(branch.lineage).is_empty()
        {
            return Err(lost("uncommitted changes"));
        }
        let mut keepers = vec![self.live_branch(LineageId::MAIN, "main")?.head];
        keepers.extend(branch.parent.and_then(|p| self.state().branch_on(p).map(|b| b.head.clone())));
        match &checkout.target {
            Target::Commit { hash, .. } => keepers.push(hash.clone()),
            Target::Branch { layer } if layer.lineage != branch.lineage => {
                keepers.extend(self.state().branch_on(layer.lineage).map(|b| b.head.clone()));
            }
            Target::Branch { .. } => {}
        }
        let head = branch.head.clone();
        let kept = self.with_graph(|graph| {
            let Some(head) = graph.index(&head) else { return Ok(false) };
            Ok(keepers.iter().filter_map(|k| graph.index(k)).any(|k| graph.is_ancestor(head, k)))
        });
        if kept.await? { Ok(()) } else { Err(lost("commits that are merged nowhere")) }
    }

    /// Renames a branch; sessions on it stay on it. With `force` a branch that has the new name goes.
    pub async fn rename_branch(&self, old: &str, new: &str, force: bool) -> Result<BranchInfo> {
        revision::check_name("branch", new)?;
        let lock = self.locked().await?;
        let branch = self.branch_named(old)?;
        if branch.lineage == LineageId::MAIN {
            return Err(main_stays("renamed"));
        }
        self.may_branch(&branch, Right::Write, Scope::All)?;
        self.may_on(&[new.to_owned()], Right::Write, Scope::Some)?;
        self.may_carry(&Named::Branch(branch.clone()), new).await?;
        self.check_unprotected(old, "renamed")?;
        let other = self.state().branch(new).cloned().filter(|o| o.lineage != branch.lineage);
        if let Some(other) = other.as_ref().filter(|_| force) {
            self.may_branch(other, Right::Write, Scope::All)?;
        }
        let doing = self.branching("rename", new, Some(old), &Named::Branch(branch.clone())).await?;
        self.before(&doing).await?;
        let mut tx = self.store().write().await?;
        if refs::tag(&mut tx, new).await?.is_some() {
            return Err(taken("tag", new));
        }
        if let Some(other) = other {
            if !force {
                return Err(taken("branch", new));
            }
            if other.lineage == LineageId::MAIN {
                return Err(main_stays("replaced"));
            }
            self.check_unprotected(new, "replaced")?;
            crate::metadata::merges::delete(&mut tx, other.lineage).await?;
            refs::delete_branch(&mut tx, other.lineage).await?;
            spans::discard(&mut tx, other.lineage).await?;
        }
        refs::rename_branch(&mut tx, branch.lineage, new).await?;
        tx.concludes();
        tx.commit().await?;
        self.reload().await?;
        if force {
            self.sweep().await;
        }
        drop(lock);
        self.after(&doing, &branch.head).await;
        self.describe_one(self.live_branch(branch.lineage, new)?).await
    }

    /// A branch by name; 3D000 if there is none.
    pub(super) fn branch_named(&self, name: &str) -> Result<Branch> {
        let state = self.state();
        let unknown = || revision::unknown(name, state.branches().map(|b| b.name.as_str()));
        state.branch(name).cloned().ok_or_else(unknown)
    }

    /// The best common ancestor of two refs, if they have one.
    pub async fn merge_base(&self, checkout: &Checkout, a: &str, b: &str) -> Result<Option<String>> {
        let (a, b) = (self.hash_of(checkout, a).await?, self.hash_of(checkout, b).await?);
        self.with_graph(|graph| {
            let (Some(a), Some(b)) = (graph.index(&a), graph.index(&b)) else { return Ok(None) };
            Ok(graph.merge_bases(a, b).first().map(|&base| graph.hash(base).to_owned()))
        })
        .await
    }

    /// Whether `b` is `a` or one of its ancestors.
    pub async fn has_ancestor(&self, checkout: &Checkout, a: &str, b: &str) -> Result<bool> {
        let (a, b) = (self.hash_of(checkout, a).await?, self.hash_of(checkout, b).await?);
        self.with_graph(|graph| {
            let (Some(a), Some(b)) = (graph.index(&a), graph.index(&b)) else { return Ok(false) };
            Ok(graph.is_ancestor(b, a))
        })
        .await
    }

    /// How many commits `a..b` has: those of `b` that `a` doesn't have.
    pub async fn count_commits(&self, checkout: &Checkout, a: &str, b: &str) -> Result<i64> {
        let (a, b) = (self.hash_of(checkout, a).await?, self.hash_of(checkout, b).await?);
        self.with_graph(|graph| {
            let (Some(a), Some(b)) = (graph.index(&a), graph.index(&b)) else { return Ok(0) };
            Ok(graph.range(&[b], &[a]).count() as i64)
        })
        .await
    }
}

pub(super) fn taken(kind: &str, name: &str) -> Error {
    Error::new(sqlstate::DUPLICATE_OBJECT, format!("{kind} \"{name}\" already exists"))
}

fn main_stays(what: &str) -> Error {
    let message = format!("branch \"main\" cannot be {what}: it is the tables themselves");
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}
