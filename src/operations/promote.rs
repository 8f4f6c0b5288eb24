//! Moving one branch to another as a whole, and making one commit of many.

use epoch_adapter::{Error, Result, sqlstate};

use super::merging::{Changes, Ends, Relation, Remembered};
use super::publish::{After, Draft, Outcome};
use super::resolve::Named;
use super::schema::TableChoices;
use super::{Author, Checkout, Promoted, Repository, Right, Scope, Strategy, kept};
use crate::metadata::merges::WaitingMerge;
use crate::metadata::refs::Branch;
use crate::metadata::{commits, now, refs};

impl Repository {
    /// Fast-forwards or merges `source` into the branch `target` and tags the result: all of it or, if a row is in
    /// conflict, nothing (55000).
    pub async fn promote(
        &self,
        checkout: &Checkout,
        source: &str,
        target: &str,
        tag: Option<&str>,
        author: &Author,
    ) -> Result<Promoted> {
        let lock = self.locked().await?;
        let branch = self.branch_named(target)?;
        self.may_branch(&branch, Right::Merge, Scope::All)?;
        self.check_can_merge(&branch).await?;
        let named = self.named(source, Some(checkout)).await?;
        self.may_read(&named, Scope::All).await?;
        let theirs = named.hash().to_owned();
        let tag = self.promotion_tag(tag, target).await?;
        let author = self.author_or_default(author);
        let doing = self.merging(&branch, "promote", source, &theirs, None).await?;
        self.before(&doing).await?;
        let relation = self.relation_to(&branch, &theirs).await?;
        let forward = matches!(relation, Relation::FastForward);
        let (changes, outcome) = match relation {
            Relation::UpToDate => {
                let nothing = Changes::default();
                (nothing, Outcome::Existing(branch.head.clone()))
            }
            Relation::FastForward => {
                let otherwise = promotion(&branch, &theirs, source, &author);
                let outcome = Outcome::Forward { hash: theirs.clone(), otherwise };
                (self.changes_to(&branch, &theirs).await?, outcome)
            }
            Relation::Diverged(bases) => {
                let merge = WaitingMerge {
                    lineage: branch.lineage,
                    source: source.to_owned(),
                    base: bases.join(" "),
                    ours: branch.head.clone(),
                    theirs: theirs.clone(),
                    options: String::new(),
                };
                let rules = self.merge_rules().await?;
                let remembered = Remembered { strategy: Strategy::Field, rules, ..Remembered::default() };
                let plan = self.plan(&branch, &merge, &remembered, &TableChoices::new()).await?;
                if plan.conflicts() > 0 {
                    let conflicts = plan.shown(plan.conflicts());
                    let message = format!("\"{source}\" cannot be promoted to \"{target}\": {conflicts}");
                    return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                        .with_hint(format!("Merge \"{target}\" into \"{source}\" and resolve them there.")));
                }
                (plan.into_changes(), Outcome::New(promotion(&branch, &theirs, source, &author)))
            }
        };
        let after = After { tag: Some(tag.clone()), ..After::default() };
        let ends = Ends { after, ..Ends::default() };
        let action = format!("promote {source}");
        let done = self.apply(&lock, &branch, changes, outcome, action, &author, ends).await?;
        drop(lock);
        self.after(&doing, &done.hash).await;
        let fast_forward = forward && done.hash == theirs;
        Ok(Promoted { hash: done.hash, tag, fast_forward })
    }

    /// The tag's name: 42710 if it is taken, one by the time if none is given.
    async fn promotion_tag(&self, tag: Option<&str>, target: &str) -> Result<String> {
        let name = match tag {
            Some(tag) => tag.to_owned(),
            None => format!("promote/{target}/{}", now().format("%Y%m%d_%H%M%S_%6f")),
        };
        kept::check_tag_name(&name)?;
        if tag.is_some() {
            self.may_on(std::slice::from_ref(&name), Right::Write, Scope::Some)?;
        }
        let mut tx = self.store().read().await?;
        if refs::tag(&mut tx, &name).await?.is_some() {
            return Err(super::branches::taken("tag", &name));
        }
        tx.commit().await?;
        if self.state().branch(&name).is_some() {
            return Err(super::branches::taken("branch", &name));
        }
        Ok(name)
    }

    /// Makes one commit of all that came after `since` on the checkout's branch. Rows don't change; the old commits
    /// stay readable by their hashes and in the reflog.
    pub async fn squash_history(
        &self,
        checkout: &Checkout,
        since: &str,
        message: Option<&str>,
        author: &Author,
    ) -> Result<String> {
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Write, Scope::All)?;
        self.check_unprotected(&branch.name, "rewritten")?;
        self.check_can_merge(&branch).await?;
        let since = match self.named(since, Some(checkout)).await? {
            Named::Branch(b) | Named::Working(b) => b.head,
            Named::Commit(hash) => hash,
        };
        let squashed = self.with_graph(|graph| {
            let (Some(a), Some(b)) = (graph.index(&since), graph.index(&branch.head)) else {
                return Ok(None);
            };
            let hashes = || graph.range(&[b], &[a]).map(|i| graph.hash(i).to_owned()).collect::<Vec<_>>();
            Ok((a != b && graph.is_ancestor(a, b)).then(hashes))
        });
        let Some(squashed) = squashed.await? else {
            let message = format!(
                "commit {} is not before the head of branch \"{}\"",
                since.get(..10).unwrap_or(&since),
                branch.name
            );
            return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        };
        let author = self.author_or_default(author);
        let message = match message {
            Some(message) => message.to_owned(),
            None => self.squash_message(&squashed).await?,
        };
        let origins = self.brought(std::slice::from_ref(&since), &since, &branch.head, true).await?;
        let draft = Draft {
            parents: vec![since],
            author: author.clone(),
            date: now(),
            message,
            by_diff: true,
            allow_empty: true,
            origins,
        };
        let nothing = Changes::default();
        let action = "squash history".to_owned();
        let outcome = Outcome::New(draft);
        let done = self.apply(&lock, &branch, nothing, outcome, action, &author, Ends::default()).await?;
        Ok(done.hash)
    }

    /// The messages of commits, given newest first, oldest first.
    async fn squash_message(&self, hashes: &[String]) -> Result<String> {
        let mut text = format!("Squash {} commits", hashes.len());
        let mut tx = self.store().read().await?;
        for hash in hashes.iter().rev() {
            if let Some(commit) = commits::read(&mut tx, hash).await? {
                text.push_str("\n\n");
                text.push_str(&commit.message);
            }
        }
        Ok(text)
    }
}

/// The commit of a promotion.
fn promotion(branch: &Branch, theirs: &str, source: &str, author: &Author) -> Draft {
    Draft {
        parents: vec![branch.head.clone(), theirs.to_owned()],
        author: author.clone(),
        date: now(),
        message: format!("Promote {source} to {}", branch.name),
        by_diff: false,
        allow_empty: true,
        origins: vec![],
    }
}
