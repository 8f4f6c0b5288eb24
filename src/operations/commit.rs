//! Committing working changes.

use std::collections::HashMap;

use epoch_adapter::{Error, Result, TableId, TableStats, sqlstate};

use super::hooking::Doing;
use super::publish::{After, Draft, Outcome, Part, Publication, Published, SchemaChange};
use super::{Author, Checkout, CommitOptions, Committed, Repository, Right, Scope};
use crate::config::Event;
use crate::metadata::refs::Branch;
use crate::metadata::{commits, date, merges, micros, now, tables};

impl Repository {
    /// Commits the working changes of the checkout's branch, on all backends. Concludes a waiting
    /// merge whose conflicts are all resolved.
    pub async fn commit(&self, checkout: &Checkout, options: &CommitOptions) -> Result<Committed> {
        check_options(options)?;
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        let mut tx = self.store().read().await?;
        let waiting = merges::waiting(&mut tx, branch.lineage).await?;
        tx.commit().await?;
        if let Some(merge) = waiting {
            self.may_branch(&branch, Right::Merge, Scope::All)?;
            return self.commit_merge(&lock, &branch, &merge, options).await;
        }
        self.may_commit(checkout, &branch, options)?;
        if !options.tables.is_empty() && self.asserts(Event::Commit, &branch.name) {
            // They are asked of the working state, which is more than the commit would show.
            let message = "a commit of some tables of a branch whose commits are checked by queries";
            return Err(
                Error::unsupported(message).with_hint("Commit all tables, or stash the others first.")
            );
        }
        let doing = Doing {
            event: Event::Commit,
            action: "commit",
            branch: &branch.name,
            source: None,
            message: Some(&options.message),
            seen: Some(checkout.clone()),
        };
        self.before(&doing).await?;
        let publication = self.commit_publication(checkout, &branch, options).await?;
        let published = match publication {
            Some(publication) => self.publish(&lock, branch.lineage, publication).await?,
            None => None,
        };
        match published {
            Some(published) => {
                drop(lock);
                let done = self.committed(published).await?;
                self.after(&doing, &done.hash).await;
                Ok(done)
            }
            None if options.skip_empty => Ok(Committed { hash: branch.head, tables: vec![] }),
            None => Err(nothing_to_commit(&branch)),
        }
    }

    /// Whether the checkout's branch has something uncommitted, and whoever acts may write to it at all.
    pub async fn has_to_commit(&self, checkout: &Checkout) -> Result<bool> {
        self.refresh().await?;
        let branch = self.head_branch(Some(checkout))?;
        if self.may_branch(&branch, Right::Write, Scope::Some).is_err() {
            return Ok(false);
        }
        let defined = !self.state().pending_tables(branch.lineage).is_empty();
        Ok(defined || !self.touched_of(&branch, |_| true).await?.is_empty())
    }

    /// 42501 unless whoever acts may commit to all tables, or those that are named.
    fn may_commit(&self, checkout: &Checkout, branch: &Branch, options: &CommitOptions) -> Result<()> {
        self.check_not_merge_only(branch)?;
        if options.amend {
            self.check_unprotected(&branch.name, "amended")?;
        }
        if options.tables.is_empty() {
            return self.may_branch(branch, Right::Write, Scope::All);
        }
        for name in &options.tables {
            let table = self.table(checkout, name)?;
            self.may_branch(branch, Right::Write, Scope::Table(&table.name))?;
        }
        Ok(())
    }

    /// `None` if it is clear already that nothing changed.
    async fn commit_publication(
        &self,
        checkout: &Checkout,
        branch: &Branch,
        options: &CommitOptions,
    ) -> Result<Option<Publication>> {
        let only = options
            .tables
            .iter()
            .map(|name| Ok(self.table(checkout, name)?.id))
            .collect::<Result<Vec<_>>>()?;
        let moved_softly = self.published(branch).await?.1 != branch.head;
        if moved_softly && !only.is_empty() {
            return Err(Error::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "after a soft reset all tables must be committed together",
            ));
        }
        let defined = !self.state().pending_tables(branch.lineage).is_empty();
        if defined && !only.is_empty() {
            return Err(Error::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "tables that were made or dropped must be committed together with all others",
            ));
        }
        let parts = self.commit_parts(branch, &only).await?;
        let empty = options.allow_empty || options.amend;
        if parts.is_empty() && !empty && !moved_softly && !defined {
            return Ok(None);
        }
        let author = self.author_or_default(&options.author);
        let (parents, message) = if options.amend {
            self.amended(branch, &options.message).await?
        } else {
            (vec![branch.head.clone()], options.message.clone())
        };
        let origins = match parents.as_slice() {
            [parent] if options.amend || moved_softly => self.taken_up(branch, parent).await?,
            _ => vec![],
        };
        let action = if options.amend { "commit (amend)" } else { "commit" };
        Ok(Some(Publication {
            action: format!("{action}: {}", message.lines().next().unwrap_or_default()),
            author: author.name.clone(),
            expected: branch.head.clone(),
            all: true,
            parts,
            outcome: Outcome::New(Draft {
                parents,
                author,
                date: options.date.map_or_else(now, |d| date(micros(d))),
                message,
                by_diff: options.amend || moved_softly,
                allow_empty: empty,
                origins,
            }),
            forget_merge: false,
            safety: None,
            undo: None,
            schema: SchemaChange::default(),
            after: After::default(),
            note: None,
        }))
    }

    /// All tables of each backend that has pending work: a transaction over two tables of which only
    /// one was known to have work must not be cut in half.
    async fn commit_parts(&self, branch: &Branch, only: &[TableId]) -> Result<Vec<Part>> {
        let wanted = |id: &TableId| only.is_empty() || only.contains(id);
        // What it is on balance is found by the seal.
        let touched = self.touched_of(branch, |id| wanted(&id)).await?;
        let layer = self.state().layer(branch.lineage)?;
        let parts = self.tables_by_backend(layer).into_iter().filter_map(|(backend, tables)| {
            let tables: Vec<_> = tables.iter().map(|t| t.id).filter(wanted).collect();
            let concerned = touched.iter().any(|id| tables.contains(id));
            concerned.then_some(Part { backend, tables, changes: vec![] })
        });
        Ok(parts.collect())
    }

    /// Parents and message of what replaces the head commit.
    async fn amended(&self, branch: &Branch, message: &str) -> Result<(Vec<String>, String)> {
        let head = branch.head.clone();
        let parents = self
            .with_graph(|graph| {
                let at = graph.index(&head);
                let parents = at.map_or(&[][..], |at| graph.parents(at));
                Ok(parents.iter().map(|&p| graph.hash(p).to_owned()).collect::<Vec<_>>())
            })
            .await?;
        if parents.is_empty() {
            let message = "the first commit of the repository cannot be amended";
            return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        if !message.is_empty() {
            return Ok((parents, message.to_owned()));
        }
        let mut tx = self.store().read().await?;
        let old = commits::read(&mut tx, &branch.head).await?;
        Ok((parents, old.map(|c| c.message).unwrap_or_default()))
    }

    pub(super) async fn committed(&self, published: Published) -> Result<Committed> {
        Ok(Committed { hash: published.hash, tables: self.named_stats(published.tables).await? })
    }

    /// Table names for counts, also of tables that are not registered any more.
    pub(super) async fn named_stats(
        &self,
        stats: Vec<(TableId, TableStats)>,
    ) -> Result<Vec<(String, TableStats)>> {
        let mut tx = self.store().read().await?;
        let names: HashMap<_, _> = tables::names(&mut tx).await?.into_iter().collect();
        let name = |id: TableId| names.get(&id).map_or_else(|| format!("#{}", id.0), ToString::to_string);
        let mut named: Vec<_> = stats.into_iter().map(|(id, stats)| (name(id), stats)).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(named)
    }
}

fn check_options(options: &CommitOptions) -> Result<()> {
    if options.message.trim().is_empty() && !options.amend {
        return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, "the commit message is empty"));
    }
    if !options.author.name.is_empty() {
        check_author(&options.author)?;
    }
    Ok(())
}

/// Names and emails are one line, without the marks that `Name <email>` is written with.
pub(super) fn check_author(author: &Author) -> Result<()> {
    let bad = |text: &str| text.contains(['<', '>', '\n', '\r', '\0']);
    if bad(&author.name) || bad(&author.email) {
        return Err(Error::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            "the author's name or email holds <, > or a line break",
        ));
    }
    Ok(())
}

pub(super) fn nothing_to_commit(branch: &Branch) -> Error {
    Error::new(
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("nothing to commit, branch \"{}\" has no working changes", branch.name),
    )
    .with_hint("Use --allow-empty to commit anyway, or --skip-empty to make this no error.")
}
