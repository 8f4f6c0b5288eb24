//! A branch's own commits, applied again on top of another commit.

use epoch_adapter::{Error, Result, sqlstate};

use super::merging::Remembered;
use super::sequence::{Action, Sequence, Step, Verb};
use super::{Checkout, Picked, PlanStep, RebaseOptions, Repository, Right, Scope};
use crate::metadata::refs::{self, Branch};
use crate::metadata::{commits, merges};

impl Repository {
    /// Applies the commits that the checkout's branch has and `upstream` hasn't on top of `upstream`. With
    /// `interactive` it stops before the first, so that the plan can be edited.
    pub async fn rebase(
        &self,
        checkout: &Checkout,
        upstream: &str,
        options: &RebaseOptions,
    ) -> Result<Picked> {
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Write, Scope::All)?;
        self.check_unprotected(&branch.name, "rebased")?;
        self.check_can_merge(&branch).await?;
        if self.is_dirty(&branch).await? {
            let message = format!("cannot rebase: branch \"{}\" has uncommitted changes", branch.name);
            return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("Commit them, or put them aside with epoch_stash('push')."));
        }
        let onto = self.named(upstream, Some(checkout)).await?;
        self.may_read(&onto, Scope::All).await?;
        let onto = onto.hash().to_owned();
        let todo = self.own_commits(&branch.head, &onto).await?;
        if !options.interactive && stands_on(&todo, &onto, &branch.head) {
            let message = format!("branch \"{}\" is up to date", branch.name);
            return Ok(Picked {
                hash: branch.head,
                conflicts: 0,
                schema_conflicts: 0,
                done: 0,
                left: 0,
                message,
            });
        }
        let hidden = self.hidden_branch("rebase", &branch, &onto).await?;
        let sequence = Sequence {
            verb: Verb::Rebase,
            origin: branch.head.clone(),
            onto: Some(hidden.lineage),
            stash: None,
            done: 0,
            todo,
            planned: options.interactive,
        };
        let remembered = self.remembered(sequence, options.strategy, &options.author).await?;
        let paused = self.paused(&branch, &remembered)?;
        let mut tx = self.store().write().await?;
        merges::insert(&mut tx, &paused, &[]).await?;
        tx.commit().await?;
        self.reload().await?;
        if !options.interactive {
            return self.go_on(&lock, &branch, remembered).await;
        }
        let left = remembered.sequence.as_ref().map_or(0, |s| s.todo.len());
        let message = format!("{left} commits planned: see epoch.rebase_plan, edit it, then continue");
        Ok(Picked { hash: branch.head, conflicts: 0, schema_conflicts: 0, done: 0, left, message })
    }

    /// The commits of `head` that `onto` hasn't, oldest first. Merges are left out, as git does.
    async fn own_commits(&self, head: &str, onto: &str) -> Result<Vec<Step>> {
        self.with_graph(|graph| {
            let (Some(head), Some(onto)) = (graph.index(head), graph.index(onto)) else {
                return Err(Error::internal("a commit is missing from the graph"));
            };
            let steps = graph.range(&[head], &[onto]).filter_map(|i| {
                let [parent] = graph.parents(i) else { return None };
                Some(Step {
                    action: Action::Pick,
                    commit: graph.hash(i).to_owned(),
                    parent: graph.hash(*parent).to_owned(),
                    message: None,
                })
            });
            let mut steps: Vec<_> = steps.collect();
            steps.reverse();
            Ok(steps)
        })
        .await
    }

    /// 40001 if the branch moved meanwhile, 22023 if the plan makes no sense.
    pub(super) fn check_rebasing(branch: &Branch, remembered: &mut Remembered) -> Result<()> {
        let Some(sequence) = &mut remembered.sequence else { return Ok(()) };
        if sequence.origin != branch.head {
            return Err(refs::head_moved().with_hint("Abort the rebase, and start again."));
        }
        if sequence.planned {
            let first = sequence.todo.iter().find(|s| s.action != Action::Drop);
            if first.is_some_and(|s| matches!(s.action, Action::Squash | Action::Fixup)) {
                let message = "the first commit of a rebase has none before it to become a part of";
                return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
            }
            sequence.planned = false;
        }
        Ok(())
    }

    /// What the rebase that waits on the checkout's branch has still to do; nothing if there is none.
    pub async fn rebase_plan(&self, checkout: &Checkout) -> Result<Vec<PlanStep>> {
        self.refresh().await?;
        if !checkout.is_branch() {
            return Ok(vec![]);
        }
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Read, Scope::Some)?;
        let Some(waiting) = self.waiting(&branch).await? else { return Ok(vec![]) };
        let sequence = Remembered::of(&waiting)?.sequence.filter(|s| s.verb == Verb::Rebase);
        let Some(sequence) = sequence else { return Ok(vec![]) };
        let mut tx = self.store().read().await?;
        let mut plan = Vec::new();
        for (order, step) in (1..).zip(sequence.todo) {
            let commit = commits::read(&mut tx, &step.commit).await?;
            let own = commit.map(|c| c.message).unwrap_or_default();
            plan.push(PlanStep {
                order,
                action: action_name(step.action).to_owned(),
                commit: step.commit,
                message: step.message.unwrap_or(own),
            });
        }
        tx.commit().await?;
        Ok(plan)
    }

    /// Changes one step of a plan: what is done with the commit (`pick`, `reword`, `squash`, `fixup`, `drop`),
    /// its message, or (`to`) its place.
    pub async fn rebase_edit(
        &self,
        checkout: &Checkout,
        order: usize,
        action: Option<&str>,
        message: Option<&str>,
        to: Option<usize>,
    ) -> Result<Vec<PlanStep>> {
        let _lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Write, Scope::All)?;
        self.check_unprotected(&branch.name, "rebased")?;
        let (_, mut remembered) = self.waiting_for(&branch, Verb::Rebase).await?;
        let Some(sequence) = remembered.sequence.as_mut().filter(|s| s.planned) else {
            let message = "the rebase has begun: its plan cannot be changed any more";
            return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("Continue or abort it."));
        };
        let invalid = |message: String| Error::new(sqlstate::INVALID_PARAMETER_VALUE, message);
        let count = sequence.todo.len();
        let index = |n: usize| {
            n.checked_sub(1)
                .filter(|i| *i < count)
                .ok_or_else(|| invalid(format!("the plan has no step {n}: it has {count} steps")))
        };
        let at = index(order)?;
        if let Some(step) = sequence.todo.get_mut(at) {
            if let Some(action) = action {
                step.action = action_named(action)?;
            }
            if let Some(message) = message {
                if matches!(step.action, Action::Fixup | Action::Drop) {
                    return Err(invalid(format!("a step {} has no message", action_name(step.action))));
                }
                if step.action == Action::Pick {
                    step.action = Action::Reword;
                }
                step.message = Some(message.to_owned());
            }
            if step.action == Action::Reword && step.message.is_none() {
                return Err(invalid("a step reword needs the message".to_owned()));
            }
        }
        if let Some(to) = to {
            let to = index(to)?;
            let step = sequence.todo.remove(at);
            sequence.todo.insert(to, step);
        }
        let paused = self.paused(&branch, &remembered)?;
        let mut tx = self.store().write().await?;
        merges::replace(&mut tx, &paused, &[]).await?;
        tx.commit().await?;
        self.rebase_plan(checkout).await
    }
}

/// Whether the steps are a line from `onto` to `head` already.
fn stands_on(steps: &[Step], onto: &str, head: &str) -> bool {
    let mut at = onto;
    for step in steps {
        if step.parent != at {
            return false;
        }
        at = &step.commit;
    }
    at == head
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::Pick => "pick",
        Action::Revert => "revert",
        Action::Reword => "reword",
        Action::Squash => "squash",
        Action::Fixup => "fixup",
        Action::Drop => "drop",
    }
}

fn action_named(name: &str) -> Result<Action> {
    let all = [Action::Pick, Action::Reword, Action::Squash, Action::Fixup, Action::Drop];
    all.into_iter().find(|a| action_name(*a) == name).ok_or_else(|| {
        Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid action \"{name}\" of a rebase"))
            .with_hint("Actions are pick, reword, squash, fixup and drop.")
    })
}
