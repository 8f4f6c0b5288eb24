//! The one way in which a lineage gets a new ordinal: journal, seal on each backend, then one
//! transaction on the metadata store that moves the head. `recover` does the same after a crash.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use epoch_adapter::{
    Adapter, Arrival, At, EnumDef, Error, Homecoming, Layer, LineageId, Ordinal, Part as ReplayPart, Replay,
    Result, RowChange, SealMode, Sealed, TableChanges, TableDef, TableId, TableStats, sqlstate,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::failpoint::hit;
use super::resolve::Named;
use super::{Author, Repository};
use crate::metadata::commits::{self, CommitTable, NewCommit};
use crate::metadata::journal::{self, Entry};
use crate::metadata::merges::{self, WaitingMerge};
use crate::metadata::origins::Origin;
use crate::metadata::refs::{self, Tag};
use crate::metadata::{OperationLock, Tx, audit, now, spans, stashes, tables, to_json};

/// What is to be published: the journal's body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Publication {
    /// For the reflog: `commit: message` …
    pub(super) action: String,
    pub(super) author: String,
    /// The head that this was computed from.
    pub(super) expected: String,
    /// Take all pending work, not only the keys of the changes.
    pub(super) all: bool,
    pub(super) parts: Vec<Part>,
    pub(super) outcome: Outcome,
    /// The branch's waiting merge ends with this.
    pub(super) forget_merge: bool,
    /// A branch to make, and the commit that it keeps.
    pub(super) safety: Option<(String, String)>,
    /// Part of the backends failed for good: what others published is being taken back.
    pub(super) undo: Option<Ordinal>,
    /// Which tables made on branches come or go with it.
    #[serde(default)]
    pub(super) schema: SchemaChange,
    #[serde(default)]
    pub(super) after: After,
    /// The audit's note of it, for its recovery.
    #[serde(default)]
    pub(super) note: Option<String>,
}

/// What else changes in the transaction that moves the head.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct After {
    /// What waits on a branch from then on, instead of what waits there now.
    pub(super) then: Option<WaitingMerge>,
    /// A branch of this operation that has done its work.
    pub(super) drop_branch: Option<LineageId>,
    /// A stash that is taken.
    pub(super) unstash: Option<i64>,
    /// A tag for the new head.
    pub(super) tag: Option<String>,
}

/// Tables made on branches that a publication brings to a lineage or takes from it. (A commit takes what is
/// uncommitted.)
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SchemaChange {
    pub(super) added: Vec<TableId>,
    pub(super) removed: Vec<TableId>,
    /// What is uncommitted is forgotten.
    pub(super) discard: bool,
    /// What comes and goes isn't committed by it.
    #[serde(default)]
    pub(super) uncommitted: bool,
}

/// What one backend does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) backend: String,
    pub(super) tables: Vec<TableId>,
    /// Left out of the journal if there is only one part: then nothing needs to be repeated.
    pub(super) changes: Vec<(TableId, Vec<RowChange>)>,
}

/// What a commit says of a definition.
#[derive(Debug, Clone, Copy)]
enum Change {
    Create,
    /// It has another version than before.
    Alter,
    Drop,
}

/// Where the head moves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// To a commit that exists.
    Existing(String),
    /// To a new commit.
    New(Draft),
    /// To a commit that exists; to a new one, if triggers of main's made other rows than it has.
    Forward { hash: String, otherwise: Draft },
}

impl Outcome {
    /// What it is once it is known whether triggers of main's had a say.
    fn once(&self, altered: bool) -> Self {
        match self {
            Self::Forward { hash, .. } if !altered => Self::Existing(hash.clone()),
            Self::Forward { otherwise, .. } => Self::New(otherwise.clone()),
            other => other.clone(),
        }
    }
}

/// A commit whose tables are known once it is sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) parents: Vec<String>,
    pub(super) author: Author,
    pub(super) date: DateTime<Utc>,
    pub(super) message: String,
    /// The seals don't say what changed against the first parent: ask for the difference.
    pub(super) by_diff: bool,
    pub(super) allow_empty: bool,
    /// The changes of other commits that it brings again.
    #[serde(default)]
    pub(super) origins: Vec<Origin>,
}

/// What was published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) hash: String,
    pub(super) tables: Vec<(TableId, TableStats)>,
    /// Triggers of main's made other rows than were to be published.
    pub(super) altered: bool,
}

/// An operation under way.
pub(super) struct Run {
    pub(super) operation: String,
    pub(super) layer: Layer,
    pub(super) ordinal: Ordinal,
    pub(super) publication: Publication,
}

impl Repository {
    /// Publishes; `None` if there turned out to be nothing to commit.
    pub(super) async fn publish(
        &self,
        lock: &OperationLock,
        lineage: LineageId,
        publication: Publication,
    ) -> Result<Option<Published>> {
        let publication = self.with_parts(lineage, publication)?;
        let written = publication.parts.iter().filter(|part| !part.changes.is_empty());
        self.check_durable(lineage, written.map(|part| part.backend.as_str())).await?;
        for (table, _) in publication.parts.iter().flat_map(|p| &p.changes) {
            let (layer, table) = (self.state().layer(lineage)?, self.table_by_id(*table)?);
            if table.is_table() {
                self.ensure_layer(layer, &table).await?;
            }
        }
        let run = self.begin(lineage, publication).await?;
        hit("journal-written");
        let mut sealed = Vec::new();
        for part in &run.publication.parts {
            lock.check()?;
            match self.seal(&run, part).await {
                Ok(one) => sealed.push(one),
                Err(error) => {
                    let compared = !run.publication.all;
                    let error = self.failed(run, sealed.len(), error).await;
                    return Err(if compared { would_overwrite(error) } else { error });
                }
            }
            if sealed.len() == 1 {
                hit("first-sealed");
            }
        }
        hit("all-sealed");
        self.finish(&run, sealed).await
    }

    /// 55000 if a lineage is main and a backend whose tables are written to may lose commits: then main's tables were
    /// older than the commit that says what they are.
    pub(super) async fn check_durable<'a>(
        &self,
        lineage: LineageId,
        backends: impl Iterator<Item = &'a str> + Send,
    ) -> Result<()> {
        if lineage != LineageId::MAIN {
            return Ok(());
        }
        let backends: BTreeSet<&str> = backends.collect();
        for backend in backends {
            self.inner.backends.check_durable(backend).await?;
        }
        Ok(())
    }

    async fn begin(&self, lineage: LineageId, mut publication: Publication) -> Result<Run> {
        publication.note = self.note_id();
        let mut tx = self.store().write().await?;
        tx.next_generation().await?;
        let branch = refs::branch_on(&mut tx, lineage).await?;
        if branch.is_none_or(|b| b.head != publication.expected) {
            return Err(refs::head_moved());
        }
        let ordinal = refs::next_ordinal(&mut tx, lineage).await?;
        let operation = uuid::Uuid::now_v7().to_string();
        let body = journal_body(&publication)?;
        let entry = Entry { operation: operation.clone(), lineage, ordinal, body };
        journal::insert(&mut tx, &entry).await?;
        tx.commit().await?;
        let layer = self.state().layer(lineage)?;
        Ok(Run { operation, layer, ordinal, publication })
    }

    pub(super) async fn seal(&self, run: &Run, part: &Part) -> Result<Sealed> {
        let backend = self.inner.backends.require(&part.backend)?;
        let (tables, changes) = self.resolve_part(run, part)?;
        let mode = match &run.publication.outcome {
            _ if run.publication.all => SealMode::All,
            // One commit has the same rows wherever it is. (Where no table is published, rows stay uncommitted.)
            Outcome::Existing(_) if run.layer.is_main() && !part.tables.is_empty() => SealMode::Exact,
            _ => SealMode::Own,
        };
        let sealing = backend.seal(&run.operation, &tables, run.layer, run.ordinal, &changes, mode);
        match sealing.await {
            Ok(sealed) => Ok(sealed),
            // The answer may have been lost on the way.
            Err(error) => match self.sealed(backend.as_ref(), &run.operation).await {
                Ok(Some(sealed)) => Ok(sealed),
                Ok(None) | Err(_) => Err(error),
            },
        }
    }

    async fn sealed(&self, backend: &dyn Adapter, operation: &str) -> Result<Option<Sealed>> {
        backend.sealed(operation).await
    }

    fn resolve_part(&self, run: &Run, part: &Part) -> Result<(Vec<Arc<TableDef>>, Vec<TableChanges>)> {
        // What comes to main is main's table from here on.
        let resolve = |id: &TableId| -> Result<(Arc<TableDef>, Option<Arrival>)> {
            let table = self.table_by_id(*id)?;
            if run.layer.is_main() && table.enumeration.is_some() {
                return Ok((table, Some(Arrival::Type)));
            }
            let arrives = table.revision.is_some() && run.publication.schema.added.contains(id);
            if !run.layer.is_main() {
                return Ok((table, self.arrival(run, *id)?));
            }
            if table.view.is_some() {
                let known = self.known_on_main(&table);
                return Ok((table, Some(Arrival::View(known))));
            }
            if !arrives {
                return Ok((at_home(&table), None));
            }
            let (home, homecoming) = self.state().homecoming(*id)?;
            Ok((home, homecoming.map(|h| Arrival::Home(Box::new(h)))))
        };
        // Types that come to main are there by then.
        let names = self.coming_types(run);
        let tables = part.tables.iter().map(|id| renamed(resolve(id)?.0, &names)).collect::<Result<_>>()?;
        let mut changes: Vec<TableChanges> = part
            .changes
            .iter()
            .map(|(id, changes)| {
                let (table, arrival) = resolve(id)?;
                let arrival = arrival.map(|arrival| arriving(arrival, &names)).transpose()?;
                Ok(TableChanges { table: renamed(table, &names)?, changes: changes.clone(), arrival })
            })
            .collect::<Result<_>>()?;
        if !run.layer.is_main() {
            for id in self.come_or_gone(run.layer.lineage, &run.publication.schema) {
                let table = self.table_by_id(id)?;
                let here =
                    table.location.backend == part.backend && !changes.iter().any(|c| c.table.id == id);
                if let (true, Some(arrival)) = (here, self.arrival(run, id)?) {
                    changes.push(TableChanges { table, changes: Vec::new(), arrival: Some(arrival) });
                }
            }
        }
        Ok((tables, changes))
    }

    /// The tables that come to a branch, or leave it, or may.
    fn come_or_gone(&self, lineage: LineageId, schema: &SchemaChange) -> Vec<TableId> {
        let mut ids: Vec<TableId> = schema.added.iter().chain(&schema.removed).copied().collect();
        if schema.discard {
            ids.extend(self.state().pending_tables(lineage));
        }
        // Of views and types the backend knows nothing.
        ids.retain(|id| !self.state().is_rowless(*id));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What becomes of a table on a branch.
    fn arrival(&self, run: &Run, id: TableId) -> Result<Option<Arrival>> {
        let (state, schema) = (self.state(), &run.publication.schema);
        if schema.removed.contains(&id) {
            return Ok(Some(Arrival::Gone));
        }
        let revised = state.table(id).is_some_and(|t| t.revision.is_some());
        if schema.added.contains(&id) {
            return Ok(Some(if revised { Arrival::Branch } else { Arrival::Back }));
        }
        let lineage = run.layer.lineage;
        if !schema.discard || !state.pending_tables(lineage).contains(&id) {
            return Ok(None);
        }
        let committed = state.shows((lineage, At::Ordinal(spans::PENDING - 1)), id)?;
        Ok(Some(if committed { Arrival::Back } else { Arrival::Gone }))
    }

    /// Each backend with a table that comes or goes has a part in it.
    fn with_parts(&self, lineage: LineageId, mut publication: Publication) -> Result<Publication> {
        if lineage == LineageId::MAIN {
            return Ok(publication);
        }
        for id in self.come_or_gone(lineage, &publication.schema) {
            let Some(table) = self.state().table(id).cloned() else { continue };
            let backend = &table.location.backend;
            if !publication.parts.iter().any(|p| p.backend == *backend) {
                let part = Part { backend: backend.clone(), tables: Vec::new(), changes: Vec::new() };
                publication.parts.push(part);
            }
        }
        Ok(publication)
    }

    /// The names that types have on main from a publication on: before, and then.
    fn coming_types(&self, run: &Run) -> Vec<(String, String)> {
        if !run.layer.is_main() {
            return Vec::new();
        }
        let added = &run.publication.schema.added;
        let state = self.state();
        let coming = state.types().filter(|(table, def)| !def.on_main && added.contains(&table.id));
        coming.map(|(_, def)| (def.place.clone(), def.home.clone())).collect()
    }

    pub(super) fn table_by_id(&self, id: TableId) -> Result<Arc<TableDef>> {
        self.state().table(id).cloned().ok_or_else(|| {
            Error::new(sqlstate::UNDEFINED_TABLE, format!("table {} is not registered any more", id.0))
        })
    }

    /// Moves the head to what was sealed, in one transaction.
    pub(super) async fn finish(&self, run: &Run, sealed: Vec<Sealed>) -> Result<Option<Published>> {
        let altered = sealed.iter().any(|s| s.altered);
        let outcome = run.publication.outcome.once(altered);
        let tables = self.tables_of(run, &outcome, sealed).await?;
        let mut tx = self.store().write().await?;
        tx.next_generation().await?;
        if !journal::close(&mut tx, &run.operation).await? {
            return Err(refs::head_moved());
        }
        let publication = &run.publication;
        let hash = match &outcome {
            Outcome::Existing(hash) | Outcome::Forward { hash, .. } => hash.clone(),
            Outcome::New(draft) if tables.is_empty() && !draft.allow_empty => {
                tx.commit().await?;
                return Ok(None);
            }
            Outcome::New(draft) => commits::insert(&mut tx, &to_commit(draft, &tables)).await?,
        };
        let lineage = run.layer.lineage;
        self.make_safety_branch(&mut tx, run).await?;
        self.publish_schema(&mut tx, run).await?;
        commits::add_position(&mut tx, lineage, run.ordinal, &hash).await?;
        let Publication { expected, author, action, .. } = publication;
        refs::move_head(&mut tx, lineage, expected, &hash, author, action).await?;
        if publication.forget_merge {
            merges::delete(&mut tx, lineage).await?;
        }
        finish_after(&mut tx, &publication.after, &hash, author).await?;
        if let (None, Some(id)) = (self.note_id(), &publication.note) {
            audit::settle(&mut tx, id, audit::OK).await?;
        }
        if publication.after.then.is_none() {
            tx.concludes();
        }
        tx.commit().await?;
        hit("published");
        self.reload().await?;
        Ok(Some(Published {
            hash,
            tables: tables.into_iter().map(|t| (t.table, t.stats)).collect(),
            altered,
        }))
    }

    async fn make_safety_branch(&self, tx: &mut Tx, run: &Run) -> Result<()> {
        let Some((name, head)) = &run.publication.safety else { return Ok(()) };
        let lineage = run.layer.lineage;
        let positions = commits::positions(tx, head).await?;
        let on_lineage = positions.iter().rev().find(|(l, _)| *l == lineage);
        let fork = on_lineage.or(positions.first()).copied();
        let fork = fork.ok_or_else(|| Error::internal("the head has no position"))?;
        let base = if fork.0 == LineageId::MAIN { fork.1 } else { self.state().layer(fork.0)?.base };
        let made = refs::create_branch(tx, name, head, Some(lineage), fork, base).await?;
        refs::log_move(tx, made, None, head, &run.publication.author, "branch: kept before a reset").await
    }

    /// Says which tables made on branches the lineage shows from the new ordinal on.
    async fn publish_schema(&self, tx: &mut Tx, run: &Run) -> Result<()> {
        let (lineage, ordinal) = (run.layer.lineage, run.ordinal);
        let Publication { all, schema, .. } = &run.publication;
        if !self.state().pending_tables(lineage).is_empty() {
            if *all {
                spans::commit(tx, lineage, ordinal).await?;
            } else if schema.discard {
                spans::discard(tx, lineage).await?;
            }
        }
        let since = if schema.uncommitted { spans::PENDING } else { ordinal };
        for (ids, shown) in [(&schema.added, true), (&schema.removed, false)] {
            for id in ids {
                spans::set(tx, lineage, since, *id, shown).await?;
            }
        }
        if lineage == LineageId::MAIN {
            // First, as no two tables are at one place.
            for id in &schema.added {
                self.publish_retired(tx, *id).await?;
            }
            for id in &schema.added {
                let made = self.state().made(*id).cloned();
                let made = made.ok_or_else(|| Error::internal("a table of a merge is not known"))?;
                if made.table.view.is_some() {
                    continue;
                }
                if let Some(def) = &made.table.enumeration {
                    let there = Box::new(EnumDef { on_main: true, ..EnumDef::clone(def) });
                    let table = TableDef { enumeration: Some(there), ..TableDef::clone(&made.table) };
                    tables::redefine(tx, &table, &made.text).await?;
                    continue;
                }
                if made.table.revision.is_none() {
                    tables::redefine(tx, &at_home(&made.table), &made.text).await?;
                    continue;
                }
                let (home, _) = self.state().homecoming(*id)?;
                tables::redefine(tx, &home, &made.text).await?;
            }
            tables::rename_types(tx, &self.coming_types(run)).await?;
        }
        Ok(())
    }

    /// The version that main's table was gives its place, and its name, to the one that comes.
    async fn publish_retired(&self, tx: &mut Tx, id: TableId) -> Result<()> {
        if self.state().made(id).is_none_or(|made| made.table.revision.is_none()) {
            return Ok(());
        }
        let (_, homecoming) = self.state().homecoming(id)?;
        let Some(retired) = homecoming.map(|h| h.retired) else { return Ok(()) };
        let text = self.state().made(retired.id).map(|m| m.text.clone()).unwrap_or_default();
        tables::redefine(tx, &retired, &text).await
    }

    /// What the commit to be changed against its first parent.
    async fn tables_of(&self, run: &Run, outcome: &Outcome, sealed: Vec<Sealed>) -> Result<Vec<CommitTable>> {
        let Outcome::New(draft) = outcome else { return Ok(vec![]) };
        let (after, defined) = self.defined_by(run, draft).await?;
        let sealed: Vec<_> = sealed.into_iter().flat_map(|s| s.tables).collect();
        let mut tables: Vec<CommitTable> = if draft.by_diff {
            self.tables_by_diff(run, draft, &sealed, (&after, &defined)).await?
        } else {
            let shown = sealed.into_iter().filter(|(id, stats, _)| stats.rows() > 0 && after.contains(id));
            let entry = |(table, stats, digest)| {
                let location = self.table_by_id(table)?.location.to_string();
                Ok(CommitTable { table, location, stats, digest })
            };
            shown.map(entry).collect::<Result<_>>()?
        };
        for (id, change) in defined {
            self.note_definition(&mut tables, id, change)?;
        }
        Ok(tables)
    }

    /// The tables that the commit to be shows, and those of which the first parent says otherwise.
    async fn defined_by(
        &self,
        run: &Run,
        draft: &Draft,
    ) -> Result<(HashSet<TableId>, Vec<(TableId, Change)>)> {
        let lineage = run.layer.lineage;
        if !self.state().has_made() {
            return Ok((self.state().tables.by_id.keys().copied().collect(), Vec::new()));
        }
        let spot = if run.publication.all {
            (lineage, At::Working)
        } else {
            self.published(&self.live_branch(lineage, "")?).await?.0
        };
        let mut after: HashSet<TableId> = self.state().tables_at(spot)?.all_ids().collect();
        after.extend(&run.publication.schema.added);
        after.retain(|id| !run.publication.schema.removed.contains(id));
        let Some(parent) = draft.parents.first() else { return Ok((after, Vec::new())) };
        let before = self.tables_of_ref(&Named::Commit(parent.clone())).await?;
        let mut defined: Vec<(TableId, Change)> = Vec::new();
        let state = self.state();
        let gone: Vec<TableId> = before.all_ids().filter(|id| !after.contains(id)).collect();
        let new: Vec<TableId> = after.iter().filter(|id| !before.has(**id)).copied().collect();
        for id in &new {
            let altered = gone.iter().any(|other| state.are_one(*id, *other));
            defined.push((*id, if altered { Change::Alter } else { Change::Create }));
        }
        for id in gone.iter().filter(|id| !new.iter().any(|other| state.are_one(**id, *other))) {
            defined.push((*id, Change::Drop));
        }
        defined.sort_unstable_by_key(|(id, _)| *id);
        Ok((after, defined))
    }

    /// Makes a definition a part of what the commit says of a table.
    fn note_definition(&self, tables: &mut Vec<CommitTable>, id: TableId, change: Change) -> Result<()> {
        let table = self.table_by_id(id)?;
        // Of a table of main it isn't known.
        let definition = self.state().made(id).map(|made| made.text.clone()).unwrap_or_default();
        let found = tables.iter().position(|t| t.table == id);
        let rows = found.map(|i| tables.remove(i));
        let digest = rows.as_ref().map_or("", |t| t.digest.as_str());
        let verb = match change {
            Change::Create => "create",
            Change::Alter => "alter",
            Change::Drop => "drop",
        };
        let text = to_json(&(verb, &definition, digest))?;
        tables.push(CommitTable {
            table: id,
            location: table.location.to_string(),
            stats: rows.map(|t| t.stats).unwrap_or_default(),
            digest: commits::hex(&Sha256::digest(text.as_bytes())),
        });
        Ok(())
    }

    async fn tables_by_diff(
        &self,
        run: &Run,
        draft: &Draft,
        sealed: &[(TableId, TableStats, String)],
        (after, defined): (&HashSet<TableId>, &[(TableId, Change)]),
    ) -> Result<Vec<CommitTable>> {
        let Some(parent) = draft.parents.first() else { return Ok(vec![]) };
        let from = Named::Commit(parent.clone());
        let branch = self.live_branch(run.layer.lineage, "")?;
        let published = Named::Commit(self.published(&branch).await?.1);
        let mut ids: Vec<_> = self.tables_between(&from, &published).await?.iter().map(|t| t.id).collect();
        ids.extend(sealed.iter().map(|(id, _, _)| *id));
        ids.extend(defined.iter().filter(|(_, change)| matches!(change, Change::Alter)).map(|(id, _)| *id));
        ids.sort_unstable();
        ids.dedup();
        let to = (run.layer.lineage, At::Ordinal(run.ordinal));
        let spots = self.spots(&from).await?;
        let (from, _) = self.state().nearest(&spots, &[to])?;
        let mut tables = Vec::new();
        for id in ids.into_iter().filter(|id| after.contains(id)) {
            let table = renamed(self.table_by_id(id)?, &self.coming_types(run))?;
            if !table.is_table() {
                continue;
            }
            // The new ordinal shows it, though nothing says so yet.
            let views = self.state().compare_shown(from, (to, id))?;
            let changes: Vec<RowChange> =
                futures::TryStreamExt::try_collect(self.diff_between(&table, &views).await?).await?;
            if !changes.is_empty() {
                let (stats, digest) = summarize(&changes)?;
                tables.push(CommitTable { table: id, location: table.location.to_string(), stats, digest });
            }
        }
        Ok(tables)
    }

    /// Forgets an operation of which no backend holds anything.
    pub(super) async fn drop_entry(&self, run: &Run) -> Result<()> {
        let mut tx = self.store().write().await?;
        journal::close(&mut tx, &run.operation).await?;
        if let (None, Some(id)) = (self.note_id(), &run.publication.note) {
            audit::settle(&mut tx, id, audit::UNDONE).await?;
        }
        tx.commit().await
    }
}

async fn finish_after(tx: &mut Tx, after: &After, hash: &str, author: &str) -> Result<()> {
    if let Some(next) = &after.then {
        merges::replace(tx, next, &[]).await?;
    }
    if let Some(lineage) = after.drop_branch {
        refs::delete_branch(tx, lineage).await?;
    }
    if let Some(id) = after.unstash {
        stashes::delete(tx, id).await?;
    }
    let Some(name) = &after.tag else { return Ok(()) };
    // Somebody may have taken the name since it was looked up; what is sealed can't be refused any more.
    let names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}_{n}")));
    for name in names {
        let tag = Tag { name, hash: hash.to_owned(), tagger: author.to_owned(), date: now(), message: None };
        if refs::branch_by_name(tx, &tag.name).await?.is_none() && refs::insert_tag(tx, &tag).await? {
            break;
        }
    }
    Ok(())
}

/// A table whose types have these names by now.
fn renamed(table: Arc<TableDef>, names: &[(String, String)]) -> Result<Arc<TableDef>> {
    if names.is_empty() {
        return Ok(table);
    }
    table.with_types_renamed(names).map(Arc::new)
}

/// As [`renamed`].
fn arriving(arrival: Arrival, names: &[(String, String)]) -> Result<Arrival> {
    let Arrival::Home(home) = arrival else { return Ok(arrival) };
    if names.is_empty() {
        return Ok(Arrival::Home(home));
    }
    let text = |text: String| names.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let statement = |(id, replay): (TableId, Replay)| {
        let part = |part| match part {
            ReplayPart::Text(of) => ReplayPart::Text(text(of)),
            part => part,
        };
        (id, Replay { parts: replay.parts.into_iter().map(part).collect(), ..replay })
    };
    let home = *home;
    Ok(Arrival::Home(Box::new(Homecoming {
        before: renamed(home.before, names)?,
        retired: renamed(home.retired, names)?,
        draft: renamed(home.draft, names)?,
        statements: home.statements.into_iter().map(statement).collect(),
        others: home.others.into_iter().map(|table| renamed(table, names)).collect::<Result<_>>()?,
    })))
}

/// A table as main has it.
fn at_home(table: &Arc<TableDef>) -> Arc<TableDef> {
    if !table.location.is_draft() || table.retired.is_some() {
        return Arc::clone(table);
    }
    Arc::new(TableDef { location: table.location.home(), ..TableDef::clone(table) })
}

/// The journal's text: changes only where several backends may have to be brought together.
pub(super) fn journal_body(publication: &Publication) -> Result<String> {
    if publication.parts.len() > 1 || publication.parts.iter().all(|p| p.changes.is_empty()) {
        return to_json(publication);
    }
    let mut without = publication.clone();
    without.parts.iter_mut().for_each(|p| p.changes.clear());
    to_json(&without)
}

/// A row isn't as the changes expect it: somebody has uncommitted changes there.
fn would_overwrite(error: Error) -> Error {
    if error.code() != sqlstate::SERIALIZATION_FAILURE {
        return error;
    }
    let table = error.table().map_or_else(String::new, |t| format!(" to table \"{t}\""));
    Error::new(
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("uncommitted changes{table} would be overwritten by merge"),
    )
    .with_detail(error.detail().unwrap_or_else(|| error.message()))
    .with_hint("Commit them first.")
}

fn to_commit(draft: &Draft, tables: &[CommitTable]) -> NewCommit {
    NewCommit {
        parents: draft.parents.clone(),
        author: draft.author.name.clone(),
        email: draft.author.email.clone(),
        date: draft.date,
        message: draft.message.clone(),
        tables: tables.to_vec(),
        origins: draft.origins.clone(),
    }
}

/// Counts and digest of changes that no seal counted.
fn summarize(changes: &[RowChange]) -> Result<(TableStats, String)> {
    let mut stats = TableStats::default();
    let mut sha = Sha256::new();
    for change in changes {
        match change.kind() {
            epoch_adapter::ChangeKind::Added => stats.added += 1,
            epoch_adapter::ChangeKind::Modified => stats.modified += 1,
            epoch_adapter::ChangeKind::Removed => stats.removed += 1,
        }
        sha.update(to_json(&(&change.key, &change.after))?.as_bytes());
        sha.update(b"\n");
    }
    Ok((stats, commits::hex(&sha.finalize())))
}
