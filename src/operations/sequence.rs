//! Commits that are applied again, one after the other: cherry-pick, revert, rebase, and a stash that comes back.
//!
//! Each step is a three-way merge whose base is the commit's parent (for a revert, the commit itself). A step
//! that is published stores what is left to do in the same transaction, so that a crash between two steps
//! leaves a sequence to continue or abort; one with conflicts waits as a merge does. A rebase makes its commits
//! on a hidden branch: its own branch moves once, at the end.

use epoch_adapter::{Error, LineageId, Result, sqlstate};
use serde::{Deserialize, Serialize};

use super::merging::{Changes, Ends, Remembered, no_merge};
use super::publish::{After, Draft, Outcome};
use super::resolve::Named;
use super::schema::TableChoices;
use super::{Author, Checkout, PickOptions, Picked, Repository, Right, Scope, Strategy};
use crate::metadata::merges::{self, WaitingMerge};
use crate::metadata::refs::{self, Branch};
use crate::metadata::{OperationLock, commits, now, to_json};

/// What can wait on a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Another branch is merged.
    Merge,
    /// Commits are applied here.
    CherryPick,
    /// Commits are taken back.
    Revert,
    /// The branch's commits are applied somewhere else.
    Rebase,
    /// A stash is brought back.
    Stash,
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Merge => "merge",
            Self::CherryPick => "cherry-pick",
            Self::Revert => "revert",
            Self::Rebase => "rebase",
            Self::Stash => "stash",
        })
    }
}

impl Verb {
    /// The function that goes on with it.
    pub fn function(self) -> &'static str {
        match self {
            Self::Merge => "epoch_merge",
            Self::CherryPick => "epoch_cherry_pick",
            Self::Revert => "epoch_revert",
            Self::Rebase => "epoch_rebase",
            Self::Stash => "epoch_stash",
        }
    }

    /// 55000: it is in the way.
    pub(super) fn waits(self, branch: &Branch) -> Error {
        let name = &branch.name;
        let message = match self {
            Self::Merge => {
                format!("a merge into branch \"{name}\" is waiting for its conflicts to be resolved")
            }
            verb => format!("a {verb} on branch \"{name}\" is waiting to be continued"),
        };
        let function = self.function();
        Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint(format!(
            "Resolve its conflicts and use {function}('--continue'), or {function}('--abort')."
        ))
    }

    /// 55000: there is none.
    fn none(self, branch: &Branch) -> Error {
        let message = format!("no {self} is waiting on branch \"{}\"", branch.name);
        Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
    }
}

/// Commits that are being applied again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sequence {
    pub(super) verb: Verb,
    /// The branch's head before.
    pub(super) origin: String,
    /// The hidden branch of a rebase.
    pub(super) onto: Option<LineageId>,
    /// The stash that comes back.
    pub(super) stash: Option<i64>,
    /// Commits that were made.
    pub(super) done: usize,
    /// What is left; the first is the one that waits.
    pub(super) todo: Vec<Step>,
    /// The steps may still be edited.
    #[serde(default)]
    pub(super) planned: bool,
}

/// One commit to apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) commit: String,
    /// The parent that says what the commit changed.
    pub(super) parent: String,
    /// Instead of the commit's own.
    pub(super) message: Option<String>,
}

/// What is done with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Action {
    Pick,
    Revert,
    Reword,
    /// Becomes a part of the commit before it, with both messages.
    Squash,
    /// Becomes a part of the commit before it, whose message stays.
    Fixup,
    Drop,
}

impl Step {
    /// What is compared: from where, and to where.
    pub(super) fn ends(&self) -> (&str, &str) {
        match self.action {
            Action::Revert => (&self.commit, &self.parent),
            _ => (&self.parent, &self.commit),
        }
    }
}

impl Action {
    pub(super) fn joins(self) -> bool {
        matches!(self, Self::Squash | Self::Fixup)
    }
}

impl Repository {
    /// Applies commits to the checkout's branch, oldest first in ranges. One that changes nothing here is left out.
    pub async fn cherry_pick(
        &self,
        checkout: &Checkout,
        specs: &[String],
        options: &PickOptions,
    ) -> Result<Picked> {
        self.apply_again(checkout, specs, options, Verb::CherryPick).await
    }

    /// Takes commits of the checkout's branch back, newest first in ranges.
    pub async fn revert(
        &self,
        checkout: &Checkout,
        specs: &[String],
        options: &PickOptions,
    ) -> Result<Picked> {
        self.apply_again(checkout, specs, options, Verb::Revert).await
    }

    async fn apply_again(
        &self,
        checkout: &Checkout,
        specs: &[String],
        options: &PickOptions,
        verb: Verb,
    ) -> Result<Picked> {
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Write, Scope::All)?;
        self.check_unchecked(&branch)?;
        self.check_can_merge(&branch).await?;
        let mut todo = Vec::new();
        for spec in specs {
            let mut found = self.commits_named(checkout, spec).await?;
            if verb == Verb::CherryPick {
                found.reverse();
            }
            for commit in found {
                self.may_read(&Named::Commit(commit.clone()), Scope::All).await?;
                todo.push(self.step_of(commit, options.mainline, verb).await?);
            }
        }
        let sequence = Sequence {
            verb,
            origin: branch.head.clone(),
            onto: None,
            stash: None,
            done: 0,
            todo,
            planned: false,
        };
        let remembered = self.remembered(sequence, options.strategy, &options.author).await?;
        self.go_on(&lock, &branch, remembered).await
    }

    /// What a sequence remembers.
    pub(super) async fn remembered(
        &self,
        sequence: Sequence,
        strategy: Strategy,
        author: &Author,
    ) -> Result<Remembered> {
        Ok(Remembered {
            strategy,
            squash: true,
            message: String::new(),
            author: self.author_or_default(author),
            rules: self.merge_rules().await?,
            sequence: Some(sequence),
        })
    }

    /// The commits of a ref or a range, newest first.
    async fn commits_named(&self, checkout: &Checkout, spec: &str) -> Result<Vec<String>> {
        if !spec.contains("..") {
            return Ok(vec![self.named(spec, Some(checkout)).await?.hash().to_owned()]);
        }
        let (include, exclude) = self.revisions(checkout, &[spec.to_owned()]).await?;
        self.with_graph(|graph| {
            let indexes =
                |hashes: &[String]| hashes.iter().filter_map(|h| graph.index(h)).collect::<Vec<_>>();
            let range = graph.range(&indexes(&include), &indexes(&exclude));
            Ok(range.map(|i| graph.hash(i).to_owned()).collect())
        })
        .await
    }

    async fn step_of(&self, commit: String, mainline: Option<usize>, verb: Verb) -> Result<Step> {
        let parents = self.parents_of(&commit).await?;
        let short = commit.get(..10).unwrap_or(&commit).to_owned();
        let invalid = |message: String| Error::new(sqlstate::INVALID_PARAMETER_VALUE, message);
        let parent = match (parents.as_slice(), mainline) {
            ([], _) => {
                return Err(invalid(format!("commit {short} has no parent: it cannot be applied again")));
            }
            ([parent], None) => parent,
            (_, None) => {
                return Err(invalid(format!("commit {short} is a merge")).with_hint(
                    "Say with -m which of its parents, counted from 1, is the one to compare with.",
                ));
            }
            (parents, Some(n)) => n
                .checked_sub(1)
                .and_then(|n| parents.get(n))
                .ok_or_else(|| invalid(format!("commit {short} has no parent number {n}")))?,
        };
        let action = if verb == Verb::Revert { Action::Revert } else { Action::Pick };
        Ok(Step { action, parent: parent.clone(), commit, message: None })
    }

    /// The parents of a commit, first parent first.
    pub(super) async fn parents_of(&self, commit: &str) -> Result<Vec<String>> {
        self.with_graph(|graph| {
            let parents = graph.index(commit).map_or(&[][..], |i| graph.parents(i));
            Ok(parents.iter().map(|&p| graph.hash(p).to_owned()).collect())
        })
        .await
    }

    /// Goes on with what stopped on the checkout's branch. `message`: instead of the stopped commit's.
    pub async fn sequence_continue(
        &self,
        checkout: &Checkout,
        verb: Verb,
        author: &Author,
        message: Option<&str>,
    ) -> Result<Picked> {
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Write, Scope::All)?;
        // The branch may have been protected since.
        match verb {
            Verb::Rebase => self.check_unprotected(&branch.name, "rebased")?,
            Verb::CherryPick | Verb::Revert => self.check_unchecked(&branch)?,
            Verb::Stash => self.check_writes(branch.lineage)?,
            Verb::Merge => {}
        }
        let (merge, mut remembered) = self.waiting_for(&branch, verb).await?;
        if !author.name.is_empty() {
            remembered.author = author.clone();
        }
        if verb == Verb::Rebase {
            Self::check_rebasing(&branch, &mut remembered)?;
        }
        if !merge.ours.is_empty() {
            let target = self.target(&branch, &remembered)?;
            let changes = self.resolved(&branch, &target, &merge, &remembered).await?;
            self.publish_step(&lock, &branch, &target, &mut remembered, changes, message).await?;
        }
        self.go_on(&lock, &branch, remembered).await
    }

    /// Gives up what stopped on the checkout's branch, which is again what it was before. Uncommitted changes
    /// stay.
    pub async fn sequence_abort(&self, checkout: &Checkout, verb: Verb) -> Result<Picked> {
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Write, Scope::All)?;
        let (_, remembered) = self.waiting_for(&branch, verb).await?;
        let Some(sequence) = &remembered.sequence else { return Err(verb.none(&branch)) };
        let picked = |hash: &str| Picked {
            hash: hash.to_owned(),
            conflicts: 0,
            schema_conflicts: 0,
            done: 0,
            left: 0,
            message: format!("{verb} aborted"),
        };
        if sequence.onto.is_none() && sequence.origin != branch.head {
            self.check_no_definitions(&branch)?;
            let changes = self.changes_to(&branch, &sequence.origin).await?;
            let outcome = Outcome::Existing(sequence.origin.clone());
            let ends = Ends { forget_merge: true, ..Ends::default() };
            let action = format!("{verb}: abort");
            self.apply(&lock, &branch, changes, outcome, action, &remembered.author, ends).await?;
            return Ok(picked(&sequence.origin));
        }
        let mut tx = self.store().write().await?;
        merges::delete(&mut tx, branch.lineage).await?;
        if let Some(hidden) = sequence.onto {
            refs::delete_branch(&mut tx, hidden).await?;
        }
        tx.commit().await?;
        self.reload().await?;
        Ok(picked(&branch.head))
    }

    /// What waits on the checkout's branch.
    pub async fn waits(&self, checkout: &Checkout) -> Result<Option<Verb>> {
        let branch = self.head_branch(Some(checkout))?;
        let Some(waiting) = self.waiting(&branch).await? else { return Ok(None) };
        Ok(Some(Remembered::of(&waiting)?.sequence.map_or(Verb::Merge, |s| s.verb)))
    }

    /// What waits on a branch, if it is this.
    pub(super) async fn waiting_for(
        &self,
        branch: &Branch,
        verb: Verb,
    ) -> Result<(WaitingMerge, Remembered)> {
        let none = || if verb == Verb::Merge { no_merge(branch) } else { verb.none(branch) };
        let merge = self.waiting(branch).await?.ok_or_else(none)?;
        let remembered = Remembered::of(&merge)?;
        let waits = remembered.sequence.as_ref().map_or(Verb::Merge, |s| s.verb);
        if waits != verb {
            return Err(none().with_hint(format!("A {waits} is: use {}.", waits.function())));
        }
        Ok((merge, remembered))
    }

    /// The branch that the commits of a sequence are made on.
    pub(super) fn target(&self, branch: &Branch, remembered: &Remembered) -> Result<Branch> {
        let lineage = remembered.sequence.as_ref().and_then(|s| s.onto).unwrap_or(branch.lineage);
        self.live_branch(lineage, &branch.name)
    }

    /// Takes step after step until one has conflicts.
    pub(super) async fn go_on(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        mut remembered: Remembered,
    ) -> Result<Picked> {
        while let Some((step, verb)) =
            remembered.sequence.as_ref().and_then(|s| Some((s.todo.first().cloned()?, s.verb)))
        {
            let target = self.target(branch, &remembered)?;
            if let Some(sequence) = remembered.sequence.as_mut().filter(|s| s.done == 0) {
                // What came before turned out to change nothing.
                sequence
                    .todo
                    .iter_mut()
                    .take(1)
                    .filter(|s| s.action.joins())
                    .for_each(|s| s.action = Action::Pick);
            }
            if step.action == Action::Drop {
                self.skip(branch, &mut remembered).await?;
                continue;
            }
            let (base, theirs) = step.ends();
            let (base, theirs) = (base.to_owned(), theirs.to_owned());
            let ours = target.head.clone();
            let options = to_json(&remembered)?;
            let source = step.commit.clone();
            let merge = WaitingMerge { lineage: branch.lineage, source, base, ours, theirs, options };
            let plan = self.plan(&target, &merge, &remembered, &TableChoices::new()).await?;
            let conflicts = plan.conflicts();
            if conflicts > 0 {
                self.stop_at(&merge, &plan).await?;
                let short = step.commit.get(..10).unwrap_or(&step.commit);
                let what = plan.shown(conflicts);
                let message = format!("{verb} stopped at {short}: {what}; resolve them, then continue");
                let schema_conflicts = plan.schema_conflicts.len() as i64;
                let picked = self.picked(&target.head, conflicts, &remembered, message);
                return Ok(Picked { schema_conflicts, ..picked });
            }
            self.publish_step(lock, branch, &target, &mut remembered, plan.into_changes(), None).await?;
        }
        self.finish_sequence(lock, branch, &remembered).await
    }

    fn picked(&self, hash: &str, conflicts: i64, remembered: &Remembered, message: String) -> Picked {
        let (done, left) = remembered.sequence.as_ref().map_or((0, 0), |s| (s.done, s.todo.len()));
        Picked { hash: hash.to_owned(), conflicts, schema_conflicts: 0, done, left, message }
    }

    async fn finish_sequence(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        remembered: &Remembered,
    ) -> Result<Picked> {
        let Some(sequence) = &remembered.sequence else { return Err(no_merge(branch)) };
        let branch = self.live_branch(branch.lineage, &branch.name)?;
        let Some(hidden) = sequence.onto else {
            let message = match (sequence.verb, sequence.done) {
                (Verb::Stash, _) => "the stash is back as uncommitted changes".to_owned(),
                (_, 0) => "nothing to do: the branch has the changes already".to_owned(),
                (_, 1) => "1 commit made".to_owned(),
                (_, n) => format!("{n} commits made"),
            };
            return Ok(self.picked(&branch.head, 0, remembered, message));
        };
        let tip = self.live_branch(hidden, &branch.name)?.head;
        let changes = self.changes_to(&branch, &tip).await?;
        let ends = Ends {
            forget_merge: true,
            after: After { drop_branch: Some(hidden), ..After::default() },
            ..Ends::default()
        };
        let outcome = Outcome::Existing(tip.clone());
        self.apply(lock, &branch, changes, outcome, "rebase: finish".to_owned(), &remembered.author, ends)
            .await?;
        let message = format!("branch \"{}\" is rebased: {} commits made", branch.name, sequence.done);
        Ok(self.picked(&tip, 0, remembered, message))
    }

    /// What waits on the branch once the first step is done; `None` if nothing is left.
    fn next_wait(&self, branch: &Branch, remembered: &Remembered) -> Result<Option<WaitingMerge>> {
        let Some(sequence) = &remembered.sequence else { return Ok(None) };
        if sequence.todo.is_empty() && sequence.onto.is_none() {
            return Ok(None);
        }
        Ok(Some(self.paused(branch, remembered)?))
    }

    /// A sequence that waits between two steps.
    pub(super) fn paused(&self, branch: &Branch, remembered: &Remembered) -> Result<WaitingMerge> {
        Ok(WaitingMerge {
            lineage: branch.lineage,
            source: String::new(),
            base: String::new(),
            ours: String::new(),
            theirs: String::new(),
            options: to_json(remembered)?,
        })
    }

    /// Leaves the first step out.
    async fn skip(&self, branch: &Branch, remembered: &mut Remembered) -> Result<()> {
        if let Some(sequence) = &mut remembered.sequence {
            sequence.todo.remove(0);
        }
        let mut tx = self.store().write().await?;
        match self.next_wait(branch, remembered)? {
            Some(next) => merges::replace(&mut tx, &next, &[]).await?,
            None => drop(merges::delete(&mut tx, branch.lineage).await?),
        }
        tx.commit().await?;
        self.reload().await
    }

    /// Makes the commit of the first step. One that would change nothing isn't made.
    async fn publish_step(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        target: &Branch,
        remembered: &mut Remembered,
        changes: Changes,
        message: Option<&str>,
    ) -> Result<()> {
        let Some(step) = remembered.sequence.as_ref().and_then(|s| s.todo.first().cloned()) else {
            return Ok(());
        };
        let stash = remembered.sequence.as_ref().and_then(|s| s.stash);
        if changes.is_empty() && !step.action.joins() && stash.is_none() {
            return self.skip(branch, remembered).await;
        }
        let outcome = match stash {
            Some(_) => Outcome::Existing(target.head.clone()),
            None => {
                let draft = self.draft_of(target, &step, &remembered.author, message).await?;
                let origins = self.brought_by_step(target, &step).await?;
                Outcome::New(Draft { origins, ..draft })
            }
        };
        let mut action = String::new();
        if let Some(sequence) = &mut remembered.sequence {
            sequence.todo.remove(0);
            sequence.done += usize::from(!step.action.joins());
            action = format!("{}: {}", sequence.verb, step.commit.get(..10).unwrap_or(&step.commit));
        }
        let then = self.next_wait(branch, remembered)?;
        let after = After { then, unstash: stash, ..After::default() };
        let ends = Ends { forget_merge: true, uncommitted: stash.is_some(), after };
        let author = remembered.author.clone();
        self.apply(lock, target, changes, outcome, action, &author, ends).await.map(drop)
    }

    /// The commit that a step makes.
    async fn draft_of(
        &self,
        target: &Branch,
        step: &Step,
        author: &Author,
        message: Option<&str>,
    ) -> Result<Draft> {
        let mut tx = self.store().read().await?;
        let missing = || Error::internal(format!("commit {} is missing", step.commit));
        let commit = commits::read(&mut tx, &step.commit).await?.ok_or_else(missing)?;
        let head = commits::read(&mut tx, &target.head).await?.ok_or_else(missing)?;
        tx.commit().await?;
        let by = |c: &commits::CommitRow| Author { name: c.author.clone(), email: c.email.clone() };
        let own =
            message.filter(|m| !m.trim().is_empty()).map(str::to_owned).or_else(|| step.message.clone());
        let parents = vec![target.head.clone()];
        let draft = Draft {
            parents,
            author: by(&commit),
            date: commit.date,
            message: String::new(),
            by_diff: false,
            allow_empty: true,
            origins: vec![],
        };
        Ok(match step.action {
            Action::Revert => {
                let subject = commit.message.lines().next().unwrap_or_default();
                let text = format!("Revert \"{subject}\"\n\nThis reverts commit {}.", step.commit);
                Draft { author: author.clone(), date: now(), message: own.unwrap_or(text), ..draft }
            }
            Action::Squash | Action::Fixup => {
                let joined = format!("{}\n\n{}", head.message.trim_end(), commit.message);
                let text = if step.action == Action::Squash { joined } else { head.message.clone() };
                Draft {
                    parents: self.parents_of(&target.head).await?,
                    author: by(&head),
                    date: head.date,
                    message: own.unwrap_or(text),
                    by_diff: true,
                    ..draft
                }
            }
            _ => Draft { message: own.unwrap_or(commit.message), ..draft },
        })
    }
}
