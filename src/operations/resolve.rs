//! From the text of a ref to a commit or a working state.

use epoch_adapter::{At, Error, LineageId, Result, sqlstate};

use super::revision::{self, Revision, Step};
use super::state::Spot;
use super::{Checkout, Repository, Target};
use crate::metadata::refs::{self, Branch};
use crate::metadata::{Tx, commits};

/// What a ref names.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Named {
    /// A branch by its name (or HEAD on a branch): its head commit, where a commit is wanted.
    Branch(Branch),
    /// A commit.
    Commit(String),
    /// The working state of a branch.
    Working(Branch),
}

impl Named {
    /// The commit's hash: of a branch, its head.
    pub(super) fn hash(&self) -> &str {
        match self {
            Self::Branch(branch) | Self::Working(branch) => &branch.head,
            Self::Commit(hash) => hash,
        }
    }
}

impl Repository {
    /// What a session on `spec` (branch, tag, hash prefix, `HEAD~2`, `main^2`, `branch@{time}`)
    /// sees. `head` is what HEAD means. 3D000 with near names in the HINT if there is no such ref.
    pub async fn checkout(&self, spec: &str, head: Option<&Checkout>) -> Result<Checkout> {
        self.refresh().await?;
        let named = self.named(spec, head).await?;
        self.seen(&named, spec).await
    }

    /// The full hash of the commit that a ref names.
    pub async fn hash_of(&self, checkout: &Checkout, spec: &str) -> Result<String> {
        self.refresh().await?;
        Ok(self.named(spec, Some(checkout)).await?.hash().to_owned())
    }

    /// Resolves a ref against what is remembered and stored now. What isn't known may have been made by another process,
    /// whose word of it is on its way: it is looked for in the store before it is said not to be there.
    pub(super) async fn named(&self, spec: &str, head: Option<&Checkout>) -> Result<Named> {
        match self.known(spec, head).await {
            Err(error) if error.code() == sqlstate::INVALID_CATALOG_NAME => {
                self.reload().await?;
                self.known(spec, head).await
            }
            named => named,
        }
    }

    async fn known(&self, spec: &str, head: Option<&Checkout>) -> Result<Named> {
        let revision = revision::parse(spec)?;
        let start = self.start_of(&revision, head).await?;
        let mut at = start.clone();
        for step in &revision.steps {
            at = Named::Commit(self.step(&at, step, spec).await?);
        }
        self.note_names(&start, &at).await?;
        Ok(at)
    }

    async fn start_of(&self, revision: &Revision<'_>, head: Option<&Checkout>) -> Result<Named> {
        let name = revision.name;
        if name == "HEAD" || name == "WORKING" {
            return Ok(match head.map(|h| &h.target) {
                Some(Target::Commit { hash, layer, ordinal }) => {
                    self.state().check_kept(hash, layer.lineage, *ordinal)?;
                    Named::Commit(hash.clone())
                }
                Some(Target::Branch { .. }) | None => {
                    let branch = self.head_branch(head)?;
                    if name == "HEAD" { Named::Branch(branch) } else { Named::Working(branch) }
                }
            });
        }
        if let Some(branch) = self.state().branch(name) {
            return Ok(Named::Branch(branch.clone()));
        }
        let mut tx = self.store().read().await?;
        if let Some(tag) = refs::tag(&mut tx, name).await? {
            return Ok(Named::Commit(tag.hash));
        }
        if revision::is_hash_prefix(name) {
            let found = commits::with_prefix(&mut tx, &name.to_ascii_lowercase()).await?;
            match found.as_slice() {
                [] => {}
                [hash] => return Ok(Named::Commit(hash.clone())),
                _ => {
                    let message = format!("commit hash prefix \"{name}\" is ambiguous");
                    return Err(
                        Error::new(sqlstate::INVALID_CATALOG_NAME, message).with_hint("Write more of it.")
                    );
                }
            }
        }
        Err(self.unknown_ref(&mut tx, name).await?)
    }

    async fn unknown_ref(&self, tx: &mut Tx, name: &str) -> Result<Error> {
        let tags = refs::tags(tx).await?;
        let sees = self.sight();
        let state = self.state();
        let branches = state.branches().map(|b| b.name.as_str());
        let known = branches.chain(tags.iter().map(|t| t.name.as_str()));
        Ok(revision::unknown(name, known.filter(|known| sees.as_ref().is_none_or(|sees| sees(known)))))
    }

    async fn step(&self, from: &Named, step: &Step, spec: &str) -> Result<String> {
        let missing = |what: String| Error::new(sqlstate::INVALID_CATALOG_NAME, what);
        match step {
            Step::AtTime(_) | Step::Moves(_) => {
                let Named::Branch(branch) = from else {
                    return Err(missing(format!("\"{spec}\": only branches have a log of their heads")));
                };
                let mut tx = self.store().read().await?;
                let found = match step {
                    Step::AtTime(time) => refs::head_at(&mut tx, branch.lineage, *time).await?,
                    Step::Moves(n) => refs::head_before(&mut tx, branch.lineage, *n).await?,
                    Step::Ancestor(_) | Step::Parent(_) => None,
                };
                found.ok_or_else(|| missing(format!("branch \"{}\" did not exist then", branch.name)))
            }
            Step::Ancestor(_) | Step::Parent(_) => {
                let hash = from.hash().to_owned();
                self.with_graph(|graph| {
                    let at = graph.index(&hash);
                    let found = match step {
                        Step::Ancestor(n) => at.and_then(|at| graph.ancestor(at, *n)),
                        Step::Parent(0) => at,
                        Step::Parent(n) => at.and_then(|at| graph.parents(at).get(n - 1).copied()),
                        Step::AtTime(_) | Step::Moves(_) => None,
                    };
                    let found = found.map(|i| graph.hash(i).to_owned());
                    found.ok_or_else(|| missing(format!("there is no commit \"{spec}\"")))
                })
                .await
            }
        }
    }

    /// The branch that a checkout is on (main for none). 25006 if it is on a commit, 3D000 if the
    /// branch was deleted.
    pub(super) fn head_branch(&self, checkout: Option<&Checkout>) -> Result<Branch> {
        let Some(checkout) = checkout else { return self.live_branch(LineageId::MAIN, "main") };
        match checkout.target {
            Target::Branch { layer } => self.live_branch(layer.lineage, &checkout.name),
            Target::Commit { .. } => Err(read_only(checkout)),
        }
    }

    /// The branch on a lineage, which must not have been deleted.
    pub(super) fn live_branch(&self, lineage: LineageId, name: &str) -> Result<Branch> {
        self.state().branch_on(lineage).cloned().ok_or_else(|| deleted(name))
    }

    /// A position of a commit, on `prefer` if there is one.
    pub(super) async fn position(&self, hash: &str, prefer: LineageId) -> Result<(LineageId, i64)> {
        let mut tx = self.store().read().await?;
        let positions = commits::positions(&mut tx, hash).await?;
        tx.commit().await?;
        choose(&positions, prefer).ok_or_else(|| super::gc::removed(hash))
    }

    /// Everywhere that a commit's rows, or a working state, can be read.
    pub(super) async fn spots(&self, named: &Named) -> Result<Vec<Spot>> {
        if let Named::Working(branch) = named {
            return Ok(vec![(branch.lineage, At::Working)]);
        }
        let mut tx = self.store().read().await?;
        let positions = commits::positions(&mut tx, named.hash()).await?;
        tx.commit().await?;
        if positions.is_empty() {
            return Err(super::gc::removed(named.hash()));
        }
        Ok(positions.into_iter().map(|(lineage, ordinal)| (lineage, At::Ordinal(ordinal))).collect())
    }
}

/// The position on `prefer`, if there is one, or else on main.
pub(super) fn choose(positions: &[(LineageId, i64)], prefer: LineageId) -> Option<(LineageId, i64)> {
    let on = |lineage| positions.iter().rev().find(|(l, _)| *l == lineage).copied();
    on(prefer).or_else(|| on(LineageId::MAIN)).or_else(|| positions.first().copied())
}

/// 25006: a commit can't be written to.
pub(super) fn read_only(checkout: &Checkout) -> Error {
    Error::new(
        sqlstate::READ_ONLY_SQL_TRANSACTION,
        format!("\"{}\" is a commit: it cannot be changed", checkout.name),
    )
    .with_hint("Check out a branch, or make one here: SELECT epoch_checkout('-b', 'name').")
}

/// 3D000: the session's branch is gone.
pub(super) fn deleted(name: &str) -> Error {
    Error::new(sqlstate::INVALID_CATALOG_NAME, format!("branch \"{name}\" was deleted"))
        .with_hint("Check out another branch.")
}
