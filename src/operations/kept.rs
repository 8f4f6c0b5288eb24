//! What is kept of branches beside their heads: where these were, branches that were deleted, and those that
//! will be.

use std::collections::HashSet;

use epoch_adapter::{Error, Result, sqlstate};

use super::branches::taken;
use super::hooking::Doing;
use super::resolve::Named;
use super::{BranchInfo, Checkout, HeadMove, Repository, Right, Scope, revision};
use crate::config::Event;
use crate::metadata::{gc, now, refs};

impl Repository {
    /// Where a branch's head was, newest first; the checkout's branch for none.
    pub async fn reflog(&self, checkout: &Checkout, name: Option<&str>) -> Result<Vec<HeadMove>> {
        self.refresh().await?;
        let branch = match name {
            None if !checkout.is_branch() => return Ok(vec![]),
            None => self.head_branch(Some(checkout))?,
            Some(name) => match self.named(name, Some(checkout)).await? {
                Named::Branch(branch) | Named::Working(branch) => branch,
                Named::Commit(_) => {
                    let message = format!("\"{name}\" is no branch: only branches have a log of their heads");
                    return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
                }
            },
        };
        self.may_branch(&branch, Right::Read, Scope::Some)?;
        let mut tx = self.store().read().await?;
        let moves = refs::reflog(&mut tx, branch.lineage).await?;
        tx.commit().await?;
        let one = |(i, m): (usize, refs::Move)| HeadMove {
            selector: format!("{}@{{{i}}}", branch.name),
            hash: m.new,
            previous: m.old,
            author: m.author,
            date: m.date,
            action: m.action,
        };
        Ok(moves.into_iter().enumerate().map(one).collect())
    }

    /// Brings the branch of this name that was deleted last back, with its uncommitted rows.
    pub async fn undrop_branch(&self, name: &str) -> Result<BranchInfo> {
        let lock = self.locked().await?;
        self.may_on(&[name.to_owned()], Right::Write, Scope::All)?;
        let mut tx = self.store().read().await?;
        let dropped = refs::dropped(&mut tx).await?;
        let Some((_, lineage)) = dropped.iter().find(|(known, _)| known == name) else {
            let names: HashSet<_> = dropped.iter().map(|(known, _)| known.as_str()).collect();
            let mut names: Vec<_> = names.into_iter().filter(|known| self.sees(known)).collect();
            names.sort_unstable();
            if let Some(when) = gc::lost(&mut tx, name).await? {
                return Err(super::gc::lost(name, when));
            }
            let error =
                Error::new(sqlstate::INVALID_CATALOG_NAME, format!("no branch \"{name}\" was deleted"));
            return Err(match names.as_slice() {
                [] => error,
                names => error.with_hint(format!("Deleted branches: {}.", names.join(", "))),
            });
        };
        if refs::branch_by_name(&mut tx, name).await?.is_some() {
            return Err(taken("branch", name));
        }
        if refs::tag(&mut tx, name).await?.is_some() {
            return Err(taken("tag", name));
        }
        tx.commit().await?;
        let doing = Doing {
            event: Event::Branch,
            action: "undrop",
            branch: name,
            source: None,
            message: None,
            seen: None,
        };
        self.before(&doing).await?;
        let mut tx = self.store().write().await?;
        refs::undrop(&mut tx, *lineage).await?;
        tx.concludes();
        tx.commit().await?;
        self.reload().await?;
        drop(lock);
        // What it had made or dropped and not committed is forgotten.
        let layer = self.state().layer(*lineage)?;
        for backend in self.backends() {
            let differs = self.state().differs((*lineage, epoch_adapter::At::Working), backend.name())?;
            backend.note_shown(layer, &differs, false).await?;
        }
        let branch = self.live_branch(*lineage, name)?;
        self.after(&doing, &branch.head).await;
        self.describe_one(branch).await
    }

    /// Deletes the branches whose time is over, except those that sessions are on.
    pub async fn reap(&self, in_use: &(dyn Fn(&str) -> bool + Send + Sync)) -> Result<Vec<String>> {
        self.refresh().await?;
        let now = now();
        let rights = self.rights();
        let over = |b: &&refs::Branch| {
            b.expires.is_some_and(|at| at <= now) && !in_use(&b.name) && rights.guard(&b.name).is_none()
        };
        let names: Vec<String> = self.state().branches().filter(over).map(|b| b.name.clone()).collect();
        let mut reaped = Vec::new();
        for name in names {
            let main = super::Checkout {
                name: "main".to_owned(),
                target: super::Target::Branch { layer: epoch_adapter::Layer::MAIN },
            };
            let operation = self.noting("expire", &name, None);
            let deleted = operation.delete_branch(&main, &name, true, false).await;
            operation.settle(deleted.as_ref().err()).await;
            match deleted {
                Ok(_) => reaped.push(name),
                // Somebody else was faster.
                Err(error) if error.code() == sqlstate::INVALID_CATALOG_NAME => {}
                Err(error) => return Err(error),
            }
        }
        Ok(reaped)
    }
}

/// 42602 unless the name can be one of a tag.
pub(super) fn check_tag_name(name: &str) -> Result<()> {
    revision::check_name("tag", name)
}
