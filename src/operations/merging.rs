//! Merging one commit into a branch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{Error, LineageId, Result, RowChange, TableDef, TableId, TableStats, sqlstate};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::base::compose;
use super::conflicts::Choice;
use super::hooking::Doing;
use super::merge::{RowConflict, TableMerge, merge_table};
use super::publish::{After, Draft, Outcome, Part, Publication, Published, SchemaChange};
use super::resolve::Named;
use super::schema::{SchemaConflict, TableChoices};
use super::sequence::{Sequence, Verb};
use super::{
    Author, Checkout, CommitOptions, Committed, MergeOptions, Merged, Repository, Right, Scope, Strategy,
};
use crate::config::Event;
use crate::metadata::merges::{self, ConflictRow, WaitingMerge};
use crate::metadata::refs::Branch;
use crate::metadata::rules::ColumnRule;
use crate::metadata::{OperationLock, now, refs, to_json, violations};

/// What a waiting merge remembers of its options.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Remembered {
    pub(super) strategy: Strategy,
    pub(super) squash: bool,
    pub(super) message: String,
    pub(super) author: Author,
    /// The rules of columns as they were when it began.
    #[serde(default)]
    pub(super) rules: Vec<ColumnRule>,
    /// It isn't a merge of a branch, but a commit that is picked, reverted …
    #[serde(default)]
    pub(super) sequence: Option<Sequence>,
}

impl Remembered {
    pub(super) fn of(merge: &WaitingMerge) -> Result<Self> {
        serde_json::from_str(&merge.options).map_err(|e| {
            Error::new(sqlstate::DATA_CORRUPTED, format!("the waiting merge cannot be read: {e}"))
        })
    }
}

/// How two commits relate.
pub(super) enum Relation {
    UpToDate,
    FastForward,
    /// With the merge bases.
    Diverged(Vec<String>),
}

/// What a merge does.
pub(super) struct Plan {
    /// The rows that change, by table, and those that conflict.
    pub(super) tables: Vec<(Arc<TableDef>, TableMerge)>,
    pub(super) schema: SchemaChange,
    /// As [`SchemaMerge::altered`].
    altered: HashMap<TableId, TableId>,
    /// Tables of which a side is to be chosen.
    pub(super) schema_conflicts: Vec<SchemaConflict>,
}

/// What is to be published: rows by table, and which tables come and go.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) rows: Vec<(Arc<TableDef>, Vec<RowChange>)>,
    pub(super) schema: SchemaChange,
    /// As [`SchemaMerge::altered`].
    pub(super) altered: HashMap<TableId, TableId>,
}

/// What else a publication of changes does.
#[derive(Default)]
pub(super) struct Ends {
    /// The branch's waiting merge ends with it.
    pub(super) forget_merge: bool,
    /// The rows become uncommitted changes.
    pub(super) uncommitted: bool,
    pub(super) after: After,
}

impl Repository {
    /// Merges a ref into the checkout's branch. With conflicts nothing is applied: they wait on the
    /// branch until they are resolved and the merge is continued, or aborted.
    pub async fn merge(&self, checkout: &Checkout, source: &str, options: &MergeOptions) -> Result<Merged> {
        if options.ff_only && (options.no_ff || options.squash) {
            let message = "--ff-only cannot be used with --no-ff or --squash";
            return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        // To see what would happen, nothing needs to be changed.
        let right = if options.dry_run { Right::Read } else { Right::Merge };
        self.may_branch(&branch, right, Scope::All)?;
        self.check_can_merge(&branch).await?;
        let named = self.named(source, Some(checkout)).await?;
        self.may_read(&named, Scope::All).await?;
        let theirs = named.hash().to_owned();
        let squash = options.squash;
        let remembered = Remembered {
            strategy: options.strategy,
            squash,
            rules: self.merge_rules().await?,
            sequence: None,
            message: options
                .message
                .clone()
                .unwrap_or_else(|| default_message(&named, source, &branch, squash)),
            author: self.author_or_default(&options.author),
        };
        let relation = self.relation_to(&branch, &theirs).await?;
        if options.dry_run || matches!(relation, Relation::UpToDate) {
            let done = self.merge_to(&lock, &branch, (source, theirs), relation, options, &remembered).await;
            self.sweep().await;
            return done;
        }
        let doing = self.merging(&branch, "merge", source, &theirs, Some(&remembered.message)).await?;
        self.before(&doing).await?;
        let done = self.merge_to(&lock, &branch, (source, theirs), relation, options, &remembered).await;
        // Also what was made of versions of tables and isn't needed.
        self.sweep().await;
        let done = done?;
        drop(lock);
        if done.conflicts == 0 && !options.no_commit {
            self.after(&doing, &done.hash).await;
        }
        Ok(done)
    }

    /// What hooks are told of a merge.
    pub(super) async fn merging<'a>(
        &self,
        branch: &'a Branch,
        action: &'static str,
        source: &'a str,
        theirs: &str,
        message: Option<&'a str>,
    ) -> Result<Doing<'a>> {
        let seen = if self.has_say(Event::Merge, &branch.name) {
            Some(self.seen(&Named::Commit(theirs.to_owned()), source).await?)
        } else {
            None
        };
        Ok(Doing { event: Event::Merge, action, branch: &branch.name, source: Some(source), message, seen })
    }

    async fn merge_to(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        (source, theirs): (&str, String),
        relation: Relation,
        options: &MergeOptions,
        remembered: &Remembered,
    ) -> Result<Merged> {
        let squash = options.squash;
        match relation {
            Relation::UpToDate => Ok(merged(&branch.head, false, 0, "already up to date")),
            Relation::FastForward if !options.no_commit || !(options.no_ff || squash) => {
                self.fast_forward(lock, branch, &theirs, source, options, remembered).await
            }
            Relation::Diverged(_) if options.ff_only => {
                let message = format!("branch \"{}\" cannot be fast-forwarded to \"{source}\"", branch.name);
                Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                    .with_hint("Merge without --ff-only."))
            }
            relation => {
                let bases = match relation {
                    Relation::Diverged(bases) => bases,
                    _ => vec![branch.head.clone()],
                };
                let merge = WaitingMerge {
                    lineage: branch.lineage,
                    source: source.to_owned(),
                    base: bases.join(" "),
                    ours: branch.head.clone(),
                    theirs,
                    options: to_json(remembered)?,
                };
                self.three_way(lock, branch, merge, remembered, options).await
            }
        }
    }

    /// 55000 if something waits on the branch, or if it is in no state to be published on.
    pub(super) async fn check_can_merge(&self, branch: &Branch) -> Result<()> {
        if let Some(waiting) = self.waiting(branch).await? {
            let verb = Remembered::of(&waiting)?.sequence.map_or(Verb::Merge, |s| s.verb);
            return Err(verb.waits(branch));
        }
        self.check_no_definitions(branch)?;
        self.check_not_softly_reset(branch).await
    }

    /// 55000 if tables were made, altered or dropped on a branch since its last commit: what is merged was compared
    /// with those that its head has.
    pub(super) fn check_no_definitions(&self, branch: &Branch) -> Result<()> {
        if self.state().pending_tables(branch.lineage).is_empty() {
            return Ok(());
        }
        let message = format!("branch \"{}\" has made or dropped tables that are not committed", branch.name);
        Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_hint("Commit them first, or take them back with epoch_reset."))
    }

    /// After a soft reset the changes between the new head and the old one are uncommitted, so
    /// nothing can be published on top before they are committed.
    pub(super) async fn check_not_softly_reset(&self, branch: &Branch) -> Result<()> {
        if self.published(branch).await?.1 == branch.head {
            return Ok(());
        }
        let message = format!("branch \"{}\" has uncommitted changes from a soft reset", branch.name);
        Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_hint("Commit them first, or drop them with epoch_reset('--hard')."))
    }

    pub(super) async fn waiting(&self, branch: &Branch) -> Result<Option<WaitingMerge>> {
        let mut tx = self.store().read().await?;
        let waiting = merges::waiting(&mut tx, branch.lineage).await?;
        tx.commit().await?;
        Ok(waiting)
    }

    pub(super) async fn relation(&self, ours: &str, theirs: &str) -> Result<Relation> {
        self.with_graph(|graph| {
            let (Some(a), Some(b)) = (graph.index(ours), graph.index(theirs)) else {
                return Err(Error::internal("a commit is missing from the graph"));
            };
            let bases = graph.merge_bases(a, b);
            match bases.as_slice() {
                [base] if *base == b => Ok(Relation::UpToDate),
                [base] if *base == a => Ok(Relation::FastForward),
                [] => Err(Error::new(
                    sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "the two have no common commit",
                )),
                bases => Ok(Relation::Diverged(bases.iter().map(|&i| graph.hash(i).to_owned()).collect())),
            }
        })
        .await
    }

    async fn fast_forward(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        theirs: &str,
        source: &str,
        options: &MergeOptions,
        remembered: &Remembered,
    ) -> Result<Merged> {
        let changes = self.changes_to(branch, theirs).await?;
        let pure = !options.no_ff && !options.squash;
        if options.dry_run {
            let what = if pure { "would fast-forward" } else { "would merge without conflicts" };
            return Ok(merged(&branch.head, pure, 0, &format!("{what}: {}", counts(&changes))));
        }
        let otherwise = self.drafted(branch, (&branch.head, theirs), remembered, None, None).await?;
        let outcome = match pure {
            true if options.ff_only => Outcome::Existing(theirs.to_owned()),
            true => Outcome::Forward { hash: theirs.to_owned(), otherwise },
            false => Outcome::New(otherwise),
        };
        let action = if pure { "fast-forward" } else { "merge" };
        let action = format!("merge {source}: {action}");
        let done =
            self.apply(lock, branch, changes, outcome, action, &remembered.author, Ends::default()).await?;
        let pure = done.hash == theirs;
        let message = if pure { "fast-forward" } else { "merged" };
        Ok(Merged { altered: done.altered, ..merged(&done.hash, pure, 0, message) })
    }

    /// What brings a branch from its head to a commit, whose tables it has afterwards, not those that it may have
    /// made alike.
    pub(super) async fn changes_to(&self, branch: &Branch, commit: &str) -> Result<Changes> {
        let (from, to) = (Named::Commit(branch.head.clone()), Named::Commit(commit.to_owned()));
        if self.state().has_made() {
            if branch.lineage != LineageId::MAIN {
                return self.exactly(branch, commit).await;
            }
            self.check_not_back(&from, &to).await?;
        }
        let tables = self.tables_between(&from, &to).await?;
        let changed: HashSet<TableId> = tables.iter().map(|t| t.id).collect();
        let changed = [&HashSet::new(), &changed];
        let merge = self.merge_schema(branch, [&from, &from, &to], changed, &TableChoices::new()).await?;
        let schema = merge.without_conflicts()?.change;
        let mut rows = Vec::new();
        for table in tables {
            rows.push((table.clone(), self.changes_of(branch, &schema, &table, &from, &to).await?));
        }
        // The changes of a table that was altered begin with what the branch holds of the new version.
        Ok(Changes { rows, schema, altered: HashMap::new() })
    }

    /// 0A000 if main would get an older version of a table.
    async fn check_not_back(&self, from: &Named, to: &Named) -> Result<()> {
        let (now, then) = (self.tables_of_ref(from).await?, self.tables_of_ref(to).await?);
        let state = self.state();
        let back = |id: &TableId| then.by_id.keys().any(|older| state.is_made_from(*id, *older));
        if !now.by_id.keys().any(back) {
            return Ok(());
        }
        Err(Error::unsupported("taking main back to an older version of a table")
            .with_hint("Change the table on main, or go back on a branch."))
    }

    async fn three_way(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        merge: WaitingMerge,
        remembered: &Remembered,
        options: &MergeOptions,
    ) -> Result<Merged> {
        let plan = self.plan(branch, &merge, remembered, &TableChoices::new()).await?;
        let conflicts = plan.conflicts();
        if options.dry_run && !plan.schema_conflicts.is_empty() {
            let message = format!("would have schema conflicts: {}", plan.what_of_schema());
            return Ok(merged(&branch.head, false, conflicts, &message));
        }
        if options.dry_run {
            let message = format!("would merge: {}, conflicts: {conflicts}", counts(&plan.into_changes()));
            return Ok(merged(&branch.head, false, conflicts, &message));
        }
        // Rather now than when all conflicts are resolved.
        self.check_durable(branch.lineage, plan.tables.iter().map(|(t, _)| t.location.backend.as_str()))
            .await?;
        if conflicts > 0 || options.no_commit {
            self.stop_at(&merge, &plan).await?;
            let message = match conflicts {
                0 => "merges cleanly: nothing was changed; continue the merge to commit it".to_owned(),
                n => format!("{}: nothing was changed; resolve them, then continue the merge", plan.shown(n)),
            };
            return Ok(merged(&branch.head, false, conflicts, &message));
        }
        let changes = plan.into_changes();
        let outcome =
            Outcome::New(self.drafted(branch, (&merge.base, &merge.theirs), remembered, None, None).await?);
        let action = format!("merge {}", merge.source);
        let done =
            self.apply(lock, branch, changes, outcome, action, &remembered.author, Ends::default()).await?;
        Ok(Merged { altered: done.altered, ..merged(&done.hash, false, 0, "merged") })
    }

    /// The commit of a merge. One that squashes says which changes it brings, as no parent does.
    async fn drafted(
        &self,
        branch: &Branch,
        (bases, theirs): (&str, &str),
        remembered: &Remembered,
        author: Option<&Author>,
        message: Option<&str>,
    ) -> Result<Draft> {
        let draft = draft(branch, theirs, remembered, author, message);
        if !remembered.squash {
            return Ok(draft);
        }
        let bases: Vec<String> = bases.split(' ').map(str::to_owned).collect();
        let origins = self.brought(&bases, &branch.head, theirs, true).await?;
        Ok(Draft { origins, ..draft })
    }

    /// Leaves a merge on its branch, with the conflicts to be resolved.
    pub(super) async fn stop_at(&self, merge: &WaitingMerge, plan: &Plan) -> Result<()> {
        let of_tables = plan.schema_conflicts.iter().map(|c| conflict_row(c.table, &c.stored()));
        let rows = plan.tables.iter().flat_map(|(t, m)| m.conflicts.iter().map(|c| conflict_row(t.id, c)));
        let rows = of_tables.chain(rows).collect::<Result<Vec<_>>>()?;
        let mut tx = self.store().write().await?;
        merges::replace(&mut tx, merge, &rows).await?;
        tx.commit().await?;
        self.reload().await
    }

    /// What merging means for each table that the other side changed. The commits don't change, so
    /// this can be computed again at any time.
    pub(super) async fn plan(
        &self,
        branch: &Branch,
        merge: &WaitingMerge,
        remembered: &Remembered,
        choices: &TableChoices,
    ) -> Result<Plan> {
        let strategy = remembered.strategy;
        let compared = self.compared(branch, merge, &remembered.rules, strategy, choices).await?;
        let tables = compared.tables.into_iter().map(|c| {
            let merged = merge_table(&c.table.schema, strategy, &c.rules, c.ours, c.theirs);
            (c.table, merged)
        });
        Ok(Plan {
            tables: tables.collect(),
            schema: compared.schema,
            altered: compared.altered,
            schema_conflicts: compared.conflicts,
        })
    }

    /// Publishes changes of rows on top of a branch's head.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn apply(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        changes: Changes,
        outcome: Outcome,
        action: String,
        author: &Author,
        ends: Ends,
    ) -> Result<Published> {
        let Changes { mut rows, mut schema, altered } = changes;
        // On main it is done to the table itself.
        for (table, ours) in altered.into_iter().filter(|_| branch.lineage != LineageId::MAIN) {
            self.convert(branch, (table, ours), &mut rows).await?;
        }
        let main = branch.lineage == LineageId::MAIN;
        if !main {
            self.check_nothing_lost(branch, &schema.removed).await?;
        }
        if main {
            for id in schema.added.iter().filter(|id| self.state().is_rowless(**id)) {
                rows.push((self.table_by_id(*id)?, Vec::new()));
            }
        }
        // Main's backend makes the tables themselves, rows or none.
        let mut parts = to_parts(rows, if main { &schema.added } else { &[] });
        parts.iter_mut().for_each(|part| part.tables.retain(|id| !self.state().is_rowless(*id)));
        if main && !schema.added.is_empty() && parts.len() > 1 {
            return Err(Error::unsupported(
                "a merge into main that makes tables and changes several backends",
            ));
        }
        if parts.len() > 1 {
            self.check_untouched(branch, &parts).await?;
        }
        if ends.uncommitted {
            if main && !(schema.added.is_empty() && schema.removed.is_empty()) {
                return Err(Error::unsupported("taking a table's definition from a stash on main")
                    .with_hint("Choose ours for the table, or bring the stash back on another branch."));
            }
            // What isn't published stays what it is on a backend: uncommitted.
            parts.iter_mut().for_each(|part| part.tables.clear());
            schema.uncommitted = true;
        }
        let publication = Publication {
            action,
            author: author.name.clone(),
            expected: branch.head.clone(),
            all: false,
            parts,
            outcome,
            forget_merge: ends.forget_merge,
            safety: None,
            undo: None,
            schema,
            after: ends.after,
            note: None,
        };
        let published = self.publish_merged(lock, branch, publication).await?;
        published.ok_or_else(|| Error::internal("a merge published nothing"))
    }

    /// A branch gets a newer version of a table: the changes begin with what it holds of that version, which is
    /// main's part or what an ancestor held, and bring its own rows along.
    async fn convert(
        &self,
        branch: &Branch,
        (table, ours): (TableId, TableId),
        rows: &mut Vec<(Arc<TableDef>, Vec<RowChange>)>,
    ) -> Result<()> {
        let (at, _) = self.published(branch).await?;
        let views = self.state().compare_stored((at, table), (at, ours))?;
        let def = self.table_by_id(table)?;
        let own: Vec<RowChange> = self.diff_between(&def, &views).await?.try_collect().await?;
        match rows.iter_mut().find(|(t, _)| t.id == table) {
            Some((_, changes)) => *changes = compose(own, std::mem::take(changes)),
            None => rows.push((def, own)),
        }
        Ok(())
    }

    /// 55000 if a table that goes has rows on the branch that no commit has.
    async fn check_nothing_lost(&self, branch: &Branch, removed: &[TableId]) -> Result<()> {
        if removed.is_empty() {
            return Ok(());
        }
        let pending = self.pending_of(branch, |id| removed.contains(&id)).await?;
        let Some((table, _)) = pending.first() else { return Ok(()) };
        let table = self.table_by_id(*table)?;
        let message = format!("uncommitted changes to table \"{}\" would be lost by merge", table.name);
        Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint("Commit them first."))
    }

    /// 55000 if the working state differs from the head in a row to be changed. With several
    /// backends this must be known before the first of them publishes.
    async fn check_untouched(&self, branch: &Branch, parts: &[Part]) -> Result<()> {
        let (head, working) = (Named::Branch(branch.clone()), Named::Working(branch.clone()));
        for (id, changes) in parts.iter().flat_map(|p| &p.changes) {
            let table = self.table_by_id(*id)?;
            let keys: HashSet<_> = changes.iter().map(|c| &c.key).collect();
            let views = self.views_between(&head, &working, &table).await?;
            let mut touched = self.diff_between(&table, &views).await?;
            while let Some(change) = touched.try_next().await? {
                if keys.contains(&change.key) {
                    let key: Vec<_> = change.key.iter().map(|v| v.to_text().unwrap_or_default()).collect();
                    let message = format!(
                        "uncommitted changes to table \"{}\" would be overwritten by merge",
                        table.name
                    );
                    return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                        .with_detail(format!("Key ({}) has uncommitted changes.", key.join(", ")))
                        .with_hint("Commit them first."));
                }
            }
        }
        Ok(())
    }

    /// Forgets the merge that waits on the checkout's branch.
    pub async fn merge_abort(&self, checkout: &Checkout) -> Result<Merged> {
        let _lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Merge, Scope::All)?;
        self.waiting_for(&branch, Verb::Merge).await?;
        let mut tx = self.store().write().await?;
        violations::replace(&mut tx, branch.lineage, &[]).await?;
        merges::delete(&mut tx, branch.lineage).await?;
        tx.concludes();
        tx.commit().await?;
        self.reload().await?;
        Ok(merged(&branch.head, false, 0, "merge aborted"))
    }

    /// Applies the merge that waits on the checkout's branch. 55000 while conflicts are open.
    pub async fn merge_continue(
        &self,
        checkout: &Checkout,
        author: &Author,
        message: Option<&str>,
    ) -> Result<Merged> {
        let lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Merge, Scope::All)?;
        let (merge, _) = self.waiting_for(&branch, Verb::Merge).await?;
        let author = (!author.name.is_empty()).then_some(author);
        let doing = self.merging(&branch, "merge", &merge.source, &merge.theirs, message).await?;
        let done = self.conclude(&lock, &branch, &merge, author, message).await?;
        drop(lock);
        self.after(&doing, &done.hash).await;
        Ok(Merged { altered: done.altered, ..merged(&done.hash, false, 0, "merged") })
    }

    /// A commit on a branch where a merge waits is the merge's commit.
    pub(super) async fn commit_merge(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        merge: &WaitingMerge,
        options: &CommitOptions,
    ) -> Result<Committed> {
        if options.amend || !options.tables.is_empty() {
            let message = "a merge is waiting: it is committed as a whole";
            return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        let author = (!options.author.name.is_empty()).then_some(&options.author);
        if let Some(sequence) = Remembered::of(merge)?.sequence {
            return Err(sequence.verb.waits(branch));
        }
        let message = Some(options.message.as_str());
        let doing = self.merging(branch, "merge", &merge.source, &merge.theirs, message).await?;
        let done = self.conclude(lock, branch, merge, author, message).await?;
        self.after(&doing, &done.hash).await;
        self.committed(done).await
    }

    async fn conclude(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        merge: &WaitingMerge,
        author: Option<&Author>,
        message: Option<&str>,
    ) -> Result<Published> {
        let remembered = Remembered::of(merge)?;
        let doing = self.merging(branch, "merge", &merge.source, &merge.theirs, message).await?;
        self.before(&doing).await?;
        let changes = self.resolved(branch, branch, merge, &remembered).await?;
        let between = (merge.base.as_str(), merge.theirs.as_str());
        let outcome = Outcome::New(self.drafted(branch, between, &remembered, author, message).await?);
        let action = format!("merge {}", merge.source);
        let author = author.unwrap_or(&remembered.author);
        let ends = Ends { forget_merge: true, ..Ends::default() };
        self.apply(lock, branch, changes, outcome, action, author, ends).await
    }

    /// The result of what waits on a branch, once all conflicts are resolved, for the branch that it is to be
    /// published on.
    pub(super) async fn resolved(
        &self,
        branch: &Branch,
        target: &Branch,
        merge: &WaitingMerge,
        remembered: &Remembered,
    ) -> Result<Changes> {
        self.check_no_definitions(branch)?;
        if merge.ours != target.head {
            return Err(refs::head_moved().with_hint("Abort, and start again."));
        }
        let choices = self.choices(branch).await?;
        let open = choices.iter().filter(|c| !c.resolved).count();
        if open > 0 {
            let verb = remembered.sequence.as_ref().map_or(Verb::Merge, |s| s.verb);
            let message = format!("{open} conflicts of the {verb} into \"{}\" are not resolved", branch.name);
            return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint(
                "SELECT * FROM epoch.conflicts lists them; epoch_conflicts_resolve resolves them.",
            ));
        }
        let plan = self.plan(target, merge, remembered, &self.chosen_tables(&choices)).await?;
        if !plan.schema_conflicts.is_empty() {
            return Err(self.more_conflicts(branch, &plan).await?);
        }
        resolve_plan(plan, &choices)
    }
}

impl Repository {
    /// What was chosen leaves more to be chosen: of a view, say, that reads a table which doesn't come. It waits with the
    /// rest. 55000.
    async fn more_conflicts(&self, branch: &Branch, plan: &Plan) -> Result<Error> {
        let known: HashSet<TableId> =
            self.choices(branch).await?.iter().filter(|c| c.is_of_schema()).map(|c| c.table).collect();
        let new = plan.schema_conflicts.iter().filter(|c| !known.contains(&c.table));
        let rows = new.map(|c| conflict_row(c.table, &c.stored())).collect::<Result<Vec<_>>>()?;
        if rows.is_empty() {
            return Err(Error::internal("what is in conflict has no side"));
        }
        let mut tx = self.store().write().await?;
        merges::add(&mut tx, branch.lineage, &rows).await?;
        tx.commit().await?;
        self.reload().await?;
        let message = "what was chosen leads to more schema conflicts";
        Ok(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_detail(plan.what_of_schema())
            .with_hint(
                "SELECT * FROM epoch.conflicts lists them; choose ours or theirs, and continue again.",
            ))
    }
}

impl Plan {
    /// How many rows and tables are in conflict.
    pub(super) fn conflicts(&self) -> i64 {
        let rows: i64 = self.tables.iter().map(|(_, m)| m.conflicts.len() as i64).sum();
        rows + self.schema_conflicts.len() as i64
    }

    /// Their number for people, and what is wrong with tables.
    pub(super) fn shown(&self, conflicts: i64) -> String {
        match self.schema_conflicts.is_empty() {
            true => format!("{conflicts} conflicts"),
            false => format!("{conflicts} conflicts ({})", self.what_of_schema()),
        }
    }

    fn what_of_schema(&self) -> String {
        self.schema_conflicts.iter().map(|c| c.what.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// The rows that merge.
    pub(super) fn into_changes(self) -> Changes {
        let rows = self.tables.into_iter().map(|(t, m)| (t, m.changes)).collect();
        Changes { rows, schema: self.schema, altered: self.altered }
    }
}

impl Changes {
    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        let SchemaChange { added, removed, .. } = &self.schema;
        added.is_empty() && removed.is_empty() && self.rows.iter().all(|(_, rows)| rows.is_empty())
    }
}

/// Puts what was chosen in the place of the conflicts.
fn resolve_plan(plan: Plan, choices: &[Choice]) -> Result<Changes> {
    let mut changes = Vec::new();
    for (table, merge) in plan.tables {
        let mut rows = merge.changes;
        for conflict in merge.conflicts {
            let choice = choices.iter().find(|c| c.table == table.id && c.conflict.key == conflict.key);
            let choice = choice.ok_or_else(|| Error::internal("a conflict has no resolution"))?;
            let after = choice.result(&table.schema);
            if after != conflict.ours {
                rows.push(RowChange { key: conflict.key, before: conflict.ours, after });
            }
        }
        changes.push((table, rows));
    }
    Ok(Changes { rows: changes, schema: plan.schema, altered: plan.altered })
}

/// Groups changes by backend; tables without any are left out, except for those in `keep`.
pub(super) fn to_parts(changes: Vec<(Arc<TableDef>, Vec<RowChange>)>, keep: &[TableId]) -> Vec<Part> {
    let mut parts = BTreeMap::<String, Part>::new();
    for (table, changes) in changes.into_iter().filter(|(t, c)| !c.is_empty() || keep.contains(&t.id)) {
        let backend = table.location.backend.clone();
        let part = parts.entry(backend.clone()).or_insert(Part { backend, tables: vec![], changes: vec![] });
        part.tables.push(table.id);
        part.changes.push((table.id, changes));
    }
    parts.into_values().collect()
}

fn draft(
    branch: &Branch,
    theirs: &str,
    remembered: &Remembered,
    author: Option<&Author>,
    message: Option<&str>,
) -> Draft {
    let mut parents = vec![branch.head.clone()];
    if !remembered.squash {
        parents.push(theirs.to_owned());
    }
    Draft {
        parents,
        author: author.unwrap_or(&remembered.author).clone(),
        date: now(),
        message: message.filter(|m| !m.is_empty()).unwrap_or(&remembered.message).to_owned(),
        by_diff: false,
        allow_empty: true,
        origins: vec![],
    }
}

fn conflict_row(table: TableId, conflict: &RowConflict) -> Result<ConflictRow> {
    Ok(ConflictRow {
        id: 0,
        table,
        kind: conflict.kind.as_str().to_owned(),
        body: to_json(conflict)?,
        resolution: "{}".to_owned(),
        resolved: false,
    })
}

fn default_message(named: &Named, source: &str, branch: &Branch, squash: bool) -> String {
    let verb = if squash { "Squash" } else { "Merge" };
    let what = match named {
        Named::Branch(b) | Named::Working(b) => format!("branch '{}'", b.name),
        Named::Commit(_) => format!("commit '{source}'"),
    };
    format!("{verb} {what} into {}", branch.name)
}

fn merged(hash: &str, fast_forward: bool, conflicts: i64, message: &str) -> Merged {
    Merged { hash: hash.to_owned(), fast_forward, conflicts, altered: false, message: message.to_owned() }
}

fn counts(changes: &Changes) -> String {
    let mut total = TableStats::default();
    for change in changes.rows.iter().flat_map(|(_, c)| c) {
        match change.kind() {
            epoch_adapter::ChangeKind::Added => total.added += 1,
            epoch_adapter::ChangeKind::Modified => total.modified += 1,
            epoch_adapter::ChangeKind::Removed => total.removed += 1,
        }
    }
    let rows = format!("{} rows added, {} modified, {} removed", total.added, total.modified, total.removed);
    match (changes.schema.added.len(), changes.schema.removed.len()) {
        (0, 0) => rows,
        (added, removed) => format!("{added} tables added, {removed} removed, {rows}"),
    }
}

pub(super) fn no_merge(branch: &Branch) -> Error {
    let message = format!("no merge is waiting on branch \"{}\"", branch.name);
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}
