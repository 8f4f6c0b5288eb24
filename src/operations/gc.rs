//! Garbage collection: what is garbage is taken from everything that could show it, in small transactions under the
//! operation lock; then its rows are removed from the backends, in small batches beside everybody's work.
//!
//! `garbage` says what it is. The metadata store remembers what was taken (`collected`, `holes`), so that a
//! run goes on where a crash stopped the last one, and other processes refuse what they still had in hand.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use epoch_adapter::{Adapter, Error, Leftover, LineageId, Result, TableDef, TableId, sqlstate};

use super::failpoint::hit;
use super::garbage::{Facts, Garbage, find};
use super::{Repository, Right};
use crate::config::DEFAULT_RETENTION;
use crate::metadata::gc::{self, Dropped, Holes};
use crate::metadata::refs;
use crate::metadata::{OperationLock, Tx, commits, now};
use crate::storage::glob;

/// How many rows are removed at once, so that nobody waits long for them.
const ROWS: usize = 250;
/// How many lineages are taken at once.
const LINEAGES: usize = 20;
/// How often the garbage is looked for again without the lock because something changed meanwhile.
const ATTEMPTS: usize = 5;

/// How garbage is collected.
#[derive(Debug, Clone)]
pub struct GcOptions {
    /// Say only what there is.
    pub dry_run: bool,
    /// How long statements that began before may still look at what was taken: other processes hear of it within that.
    pub settle: Duration,
    /// How long a transaction that began before may leave rows of a lineage that was taken.
    pub linger: TimeDelta,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { dry_run: false, settle: Duration::from_secs(2), linger: TimeDelta::days(1) }
    }
}

/// A row of `epoch_gc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// `branch NAME`, `history of TABLE` …
    pub object: String,
    /// How large it is or was.
    pub bytes: i64,
    /// `garbage`, `removed`, or why it isn't yet.
    pub status: String,
}

/// What is to be done.
struct Plan {
    /// Of the metadata store when it was looked at.
    version: (i64, i64),
    garbage: Garbage,
    /// Holes that are noted already.
    noted: Holes,
    /// Lineages that were taken before, and when.
    collected: BTreeMap<LineageId, DateTime<Utc>>,
    /// Tables made on branches that nobody will see.
    tables: Vec<Arc<TableDef>>,
}

/// 3D000: what a commit showed isn't kept.
pub(super) fn removed(hash: &str) -> Error {
    let short = hash.get(..12).unwrap_or(hash);
    Error::new(
        sqlstate::INVALID_CATALOG_NAME,
        format!("commit {short} is not there any more: garbage collection removed it"),
    )
    .with_detail("No branch, tag or stash led to it, or the session read it by way of a branch that is gone.")
    .with_hint("Check out a branch, a tag or another commit.")
}

/// 3D000: a deleted branch whose time is over.
pub(super) fn lost(name: &str, when: DateTime<Utc>) -> Error {
    let when = when.format("%Y-%m-%d %H:%M:%S UTC");
    Error::new(
        sqlstate::INVALID_CATALOG_NAME,
        format!("branch \"{name}\" cannot be brought back: garbage collection removed it"),
    )
    .with_detail(format!("It was deleted on {when}."))
    .with_hint("[retention] in the configuration says how long deleted branches are kept.")
}

impl Repository {
    /// Removes what no branch, tag, stash, waiting operation or deleted branch in its time needs; what that is.
    pub async fn gc(&self, options: &GcOptions) -> Result<Vec<Collected>> {
        self.refresh().await?;
        self.may_all(Right::Admin)?;
        let plan = self.find_garbage().await?;
        let found = self.measure(&plan).await?;
        if options.dry_run {
            return Ok(found);
        }
        let plan = self.take(plan, options).await?;
        let failed = self.remove(&plan, options).await?;
        let status = match &failed {
            None => "removed".to_owned(),
            Some(error) => format!("taken, not yet all removed: {}", error.message()),
        };
        Ok(found.into_iter().map(|row| Collected { status: status.clone(), ..row }).collect())
    }

    /// How long what a branch of this name has left is kept; `None`: for ever.
    fn retention(&self, name: &str) -> Option<TimeDelta> {
        let found = self.inner.retention.iter().find(|(pattern, _)| glob(pattern, name));
        found.map_or(Some(DEFAULT_RETENTION), |(_, time)| *time)
    }

    async fn find_garbage(&self) -> Result<Plan> {
        self.reload().await?;
        let mut tx = self.store().read().await?;
        let version = version(&mut tx).await?;
        let collected = gc::collected(&mut tx).await?;
        let noted = gc::holes(&mut tx).await?;
        let facts = self.facts(&mut tx, collected.keys().copied().collect()).await?;
        tx.commit().await?;
        let garbage = find(&facts, &|name| self.retention(name));
        let gone: HashSet<LineageId> = garbage.lineages.iter().chain(collected.keys()).copied().collect();
        let tables = self.state().orphans_without(&gone, &garbage.holes);
        let tables = self.but_awaited(tables).await?;
        Ok(Plan { version, garbage, noted, collected, tables })
    }

    async fn facts(&self, tx: &mut Tx, collected: BTreeSet<LineageId>) -> Result<Facts> {
        let now = now();
        let longest = self.inner.retention.iter().map(|(_, time)| *time).chain([Some(DEFAULT_RETENTION)]);
        let longest = longest.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        let since = longest.map_or(DateTime::UNIX_EPOCH, |longest| now - longest);
        let (tags, stashes) = gc::named(tx).await?;
        Ok(Facts {
            lines: gc::lines(tx).await?,
            branches: refs::branches_since(tx, 0).await?,
            dropped: gc::dropped(tx).await?,
            commits: commits::graph_since(tx, 0).await?,
            positions: gc::positions(tx).await?,
            left: gc::left(tx, since).await?,
            tags,
            stashes,
            under_way: gc::under_way(tx).await?,
            collected,
            now,
        })
    }

    /// What is garbage, and how large it is.
    async fn measure(&self, plan: &Plan) -> Result<Vec<Collected>> {
        let mut found = Vec::new();
        let mut note = |object: String, bytes: u64| {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            found.push(Collected { object, bytes, status: "garbage".to_owned() });
        };
        let lost: BTreeMap<LineageId, &Dropped> = plan.garbage.lost.iter().map(|d| (d.lineage, d)).collect();
        for branch in &plan.garbage.lost {
            let bytes = match plan.garbage.lineages.contains(&branch.lineage) {
                true => self.size_of_lineage(branch.lineage, plan).await?,
                false => 0,
            };
            note(format!("branch {}", branch.name), bytes);
        }
        for lineage in plan.garbage.lineages.iter().filter(|l| !lost.contains_key(l)) {
            note(format!("lineage {}", lineage.0), self.size_of_lineage(*lineage, plan).await?);
        }
        for lineage in plan.collected.keys() {
            let bytes = self.size_of_lineage(*lineage, plan).await?;
            if bytes > 0 {
                note(format!("lineage {}", lineage.0), bytes);
            }
        }
        for (table, bytes) in self.size_of_holes(plan).await? {
            note(format!("history of {}", table.name), bytes);
        }
        for table in &plan.tables {
            let bytes = self.backend_of(table)?.size(table).await?;
            note(format!("table {} ({})", table.name, table.id.0), bytes);
        }
        let commits = &plan.garbage.commits;
        if !commits.is_empty() {
            let mut tx = self.store().read().await?;
            let bytes = gc::size_of_commits(&mut tx, commits).await?;
            tx.commit().await?;
            let what = if commits.len() == 1 { "commit" } else { "commits" };
            note(format!("{} {what}", commits.len()), u64::try_from(bytes).unwrap_or(0));
        }
        Ok(found)
    }

    async fn size_of_lineage(&self, lineage: LineageId, plan: &Plan) -> Result<u64> {
        let mut bytes = 0;
        for table in self.held(lineage, plan) {
            bytes += self.size_of(&table, &Leftover::Lineage(lineage)).await?;
        }
        Ok(bytes)
    }

    /// A table that was changed or dropped past us is left alone, and keeps nothing else from being collected.
    async fn size_of(&self, table: &TableDef, what: &Leftover) -> Result<u64> {
        match self.backend_of(table)?.measure(table, what).await {
            Err(error) if drifted(&error) => Ok(0),
            measured => measured,
        }
    }

    /// The tables of which a lineage has rows, but for those that go as a whole.
    fn held(&self, lineage: LineageId, plan: &Plan) -> Vec<Arc<TableDef>> {
        let mut held = self.state().held_by(lineage);
        held.retain(|table| !plan.tables.iter().any(|gone| gone.id == table.id));
        held
    }

    async fn size_of_holes(&self, plan: &Plan) -> Result<Vec<(Arc<TableDef>, u64)>> {
        let mut found: BTreeMap<TableId, (Arc<TableDef>, u64)> = BTreeMap::new();
        for (lineage, holes) in &plan.garbage.holes {
            for table in self.held(*lineage, plan) {
                let what = Leftover::Holes(*lineage, holes.clone());
                let bytes = self.size_of(&table, &what).await?;
                if bytes > 0 {
                    found.entry(table.id).or_insert((table, 0)).1 += bytes;
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn backend_of(&self, table: &TableDef) -> Result<Arc<dyn Adapter>> {
        self.inner.backends.require(&table.location.backend)
    }

    /// Takes the garbage from everything that could show it. The lock is held for one step at a time.
    async fn take(&self, mut plan: Plan, options: &GcOptions) -> Result<Plan> {
        let mut attempts = 0;
        let (mut lineages, mut begun) = (Vec::new(), false);
        loop {
            let lock = self.locked().await?;
            if self.state().version() != plan.version {
                attempts += 1;
                if attempts < ATTEMPTS {
                    drop(lock);
                    plan = self.find_garbage().await?;
                    continue;
                }
                // Now nobody comes in between but who makes branches, tags and layers.
                plan = self.find_garbage().await?;
            }
            match self.take_some(&lock, &mut plan, &mut lineages).await? {
                Taken::More => begun = true,
                Taken::Overtaken => {}
                Taken::All => break,
            }
        }
        if begun {
            hit("gc-marked");
        }
        // A run that died may have taken some just before.
        if begun || !plan.garbage.holes.is_empty() || !plan.collected.is_empty() {
            tokio::time::sleep(options.settle).await;
        }
        let now = now();
        plan.collected.extend(lineages.into_iter().map(|lineage| (lineage, now)));
        Ok(plan)
    }

    /// One step. What is left is in the plan.
    async fn take_some(
        &self,
        lock: &OperationLock,
        plan: &mut Plan,
        lineages: &mut Vec<LineageId>,
    ) -> Result<Taken> {
        let Plan { version, garbage, noted, .. } = plan;
        let holes_differ = garbage.holes != *noted;
        if garbage.lost.is_empty()
            && garbage.commits.is_empty()
            && garbage.lineages.is_empty()
            && !holes_differ
        {
            return Ok(Taken::All);
        }
        lock.check()?;
        let mut tx = self.store().write().await?;
        if tx.next_generation().await? != version.0 + 1 {
            return Ok(Taken::Overtaken);
        }
        let passed = if !garbage.lost.is_empty() {
            for branch in std::mem::take(&mut garbage.lost) {
                gc::lose(&mut tx, &branch).await?;
            }
            "gc-lost"
        } else if !garbage.commits.is_empty() {
            let rest = garbage.commits.split_off(garbage.commits.len().min(gc::COMMITS));
            gc::delete_commits(&mut tx, &std::mem::replace(&mut garbage.commits, rest)).await?;
            "gc-commits"
        } else if !garbage.lineages.is_empty() {
            let rest = garbage.lineages.split_off(garbage.lineages.len().min(LINEAGES));
            for lineage in std::mem::replace(&mut garbage.lineages, rest) {
                gc::collect(&mut tx, lineage).await?;
                lineages.push(lineage);
            }
            tx.structure_changed().await?;
            "gc-lineages"
        } else {
            for lineage in garbage.holes.keys().chain(noted.keys()).collect::<BTreeSet<_>>() {
                let holes = garbage.holes.get(lineage).map(Vec::as_slice).unwrap_or_default();
                if noted.get(lineage).map(Vec::as_slice).unwrap_or_default() != holes {
                    gc::set_holes(&mut tx, *lineage, holes).await?;
                }
            }
            noted.clone_from(&garbage.holes);
            tx.structure_changed().await?;
            "gc-lineages"
        };
        // Not what is read after the commit: who made a branch or tag in between may need what is garbage in the plan.
        *version = self::version(&mut tx).await?;
        tx.commit().await?;
        hit(passed);
        self.reload().await?;
        Ok(Taken::More)
    }

    /// Removes rows and tables from the backends, and what is remembered of them from the metadata store. What a
    /// backend refuses is left for the next time.
    async fn remove(&self, plan: &Plan, options: &GcOptions) -> Result<Option<Error>> {
        let mut failed = None;
        let lineages: Vec<LineageId> = plan.collected.keys().rev().copied().collect();
        for backend in self.backends() {
            if let Err(error) = backend.abandon(&lineages).await {
                failed.get_or_insert(error);
            }
        }
        let mut clean = Vec::new();
        for (lineage, since) in plan.collected.iter().rev() {
            match self.remove_of(*lineage, &Leftover::Lineage(*lineage), plan).await {
                Ok(()) if *since + options.linger <= now() => clean.push(*lineage),
                Ok(()) => {}
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        for (lineage, holes) in &plan.garbage.holes {
            let what = Leftover::Holes(*lineage, holes.clone());
            if let Err(error) = self.remove_of(*lineage, &what, plan).await {
                failed.get_or_insert(error);
            }
        }
        hit("gc-removed");
        self.sweep().await;
        hit("gc-tables");
        self.forget(&clean).await?;
        Ok(failed)
    }

    async fn remove_of(&self, lineage: LineageId, what: &Leftover, plan: &Plan) -> Result<()> {
        for table in self.held(lineage, plan) {
            let backend = self.backend_of(&table)?;
            loop {
                let begun = Instant::now();
                let removed = backend.remove(&table, what, ROWS).await?;
                if removed > 0 {
                    hit("gc-removing");
                }
                if removed < ROWS {
                    break;
                }
                // Whoever waits for a lock of the backend's has its turn.
                tokio::time::sleep(begun.elapsed()).await;
            }
        }
        Ok(())
    }

    /// Forgets lineages of which nothing is left, and nothing will come.
    async fn forget(&self, lineages: &[LineageId]) -> Result<()> {
        if lineages.is_empty() {
            return Ok(());
        }
        for backend in self.backends() {
            backend.forget_lineages(lineages).await?;
        }
        for some in lineages.chunks(LINEAGES) {
            let mut tx = self.store().write().await?;
            tx.next_generation().await?;
            for lineage in some {
                gc::forget(&mut tx, *lineage).await?;
            }
            tx.structure_changed().await?;
            tx.commit().await?;
        }
        self.reload().await
    }
}

/// The metadata store's, as the transaction sees it.
async fn version(tx: &mut Tx) -> Result<(i64, i64)> {
    let row = tx.first("SELECT generation, structure FROM repository", &[]).await?;
    let row = row.ok_or_else(|| Error::internal("the metadata store has no repository"))?;
    Ok((row.int(0)?, row.int(1)?))
}

fn drifted(error: &Error) -> bool {
    [sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, sqlstate::UNDEFINED_TABLE].contains(&error.code())
}

/// What became of a step.
enum Taken {
    /// There may be more.
    More,
    /// Something changed in between.
    Overtaken,
    /// There is nothing left.
    All,
}
