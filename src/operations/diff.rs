//! What differs between two refs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{
    At, ChangeStream, Error, Layer, LineageId, Ordinal, Result, RowChange, TableDef, TableId, TableStats,
    Wanted, sqlstate,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::resolve::Named;
use super::state::Spot;
use super::{Checkout, Defined, DiffStat, DiffViews, Repository, Right, Scope, Tables};
use crate::metadata::commits;
use crate::metadata::refs::Branch;

/// Tables that are asked about at the same time.
const CONCURRENT: usize = 8;

impl Repository {
    /// The views of `table` at two refs and the history between them. `WORKING` is a ref. 55000 if a table of this
    /// name that refs have isn't this one: it was dropped and made again, was made on two branches, or is a
    /// newer version.
    pub async fn diff_views(
        &self,
        checkout: &Checkout,
        from: &str,
        to: &str,
        table: &TableDef,
    ) -> Result<DiffViews> {
        let (from, to) = self.two(checkout, from, to).await?;
        self.may_compare_table(&from, &to, table).await?;
        self.check_same(&[&to, &from], table).await?;
        let views = self.views_between(&from, &to, table).await?;
        match &views.versions {
            Some(pair) if pair.shape.id != table.id => Err(other_table(table)),
            _ => Ok(views),
        }
    }

    async fn check_same(&self, refs: &[&Named], table: &TableDef) -> Result<()> {
        if !self.state().has_made() {
            return Ok(());
        }
        let mut others = false;
        for named in refs {
            let tables = self.tables_of_ref(named).await?;
            if tables.by_id.keys().any(|id| self.state().are_versions(*id, table.id)) {
                return Ok(());
            }
            others |= tables.by_name.contains_key(&table.name);
        }
        if others { Err(other_table(table)) } else { Ok(()) }
    }

    /// As [`Repository::find_table`]; of several versions of the table that the refs (those that are branches)
    /// have, the newest.
    pub fn find_version(&self, checkout: &Checkout, refs: &[String], name: &str) -> Option<Arc<TableDef>> {
        let mut found = self.find_table(checkout, name)?;
        let state = self.state();
        for branch in refs.iter().filter_map(|name| state.branch(name)) {
            let Ok(tables) = state.tables_at((branch.lineage, At::Working)) else { continue };
            let newer = |t: &&Arc<TableDef>| state.is_made_from(t.id, found.id);
            // It may have another name there.
            let other = tables.find(name).filter(newer).or_else(|| tables.by_id.values().find(newer));
            if let Some(other) = other.cloned() {
                found = other;
            }
        }
        Some(found)
    }

    /// The rows that differ between two refs.
    pub async fn diff(
        &self,
        checkout: &Checkout,
        from: &str,
        to: &str,
        table: &TableDef,
    ) -> Result<ChangeStream> {
        self.diff_wanted(checkout, from, to, table, &Wanted::default()).await
    }

    /// As [`Repository::diff`], of some keys or the first rows. Of versions of a table it may be more than is wanted.
    pub async fn diff_wanted(
        &self,
        checkout: &Checkout,
        from: &str,
        to: &str,
        table: &TableDef,
        wanted: &Wanted,
    ) -> Result<ChangeStream> {
        let views = self.diff_views(checkout, from, to, table).await?;
        self.diff_of(table, &views, wanted).await
    }

    /// Counts per table of what differs between two refs.
    pub async fn diff_stat(
        &self,
        checkout: &Checkout,
        from: &str,
        to: &str,
        table: Option<&str>,
    ) -> Result<Vec<DiffStat>> {
        let (from, to) = self.two(checkout, from, to).await?;
        let tables = match table {
            Some(name) => {
                let table = self.table(checkout, name)?;
                self.may_compare_table(&from, &to, &table).await?;
                self.check_same(&[&to, &from], &table).await?;
                vec![self.newest_between(&from, &to, &table).await?]
            }
            None => self.readable_between(&from, &to).await?,
        };
        let defined = self.defined_between(&from, &to).await?;
        let (from, to) = (&from, &to);
        let mut stats: Vec<DiffStat> = stream::iter(tables)
            .map(|table| async move {
                let stats = self.stats_between(&table, from, to).await?;
                let estimate =
                    self.inner.backends.require(&table.location.backend)?.row_estimate(&table).await?;
                let rows_unmodified = (estimate - stats.modified - stats.removed).max(0);
                Ok::<_, Error>(DiffStat { table, rows_unmodified, stats, defined: Defined::Same })
            })
            .buffered(CONCURRENT)
            .try_collect()
            .await?;
        for stat in &mut stats {
            stat.defined = defined.get(&stat.table.id).copied().unwrap_or_default();
        }
        let views = defined.iter().filter(|(id, _)| table.is_none() && self.state().is_rowless(**id));
        for (id, defined) in views.map(|(id, defined)| (*id, *defined)).collect::<Vec<_>>() {
            let table = self.table_by_id(id)?;
            self.may_compare(from, to, Scope::Table(&table.name)).await?;
            stats.push(DiffStat { table, rows_unmodified: 0, stats: TableStats::default(), defined });
        }
        let differs = |s: &DiffStat| s.stats.rows() > 0 || s.defined != Defined::Same;
        Ok(stats.into_iter().filter(|s| table.is_some() || differs(s)).collect())
    }

    /// Tables that may differ between two refs, from the per-commit index.
    pub async fn changed_tables(
        &self,
        checkout: &Checkout,
        from: &str,
        to: &str,
    ) -> Result<Vec<Arc<TableDef>>> {
        let (from, to) = self.two(checkout, from, to).await?;
        self.readable_between(&from, &to).await
    }

    /// The tables that may differ between two refs; 42501 if one of them may not be read.
    async fn readable_between(&self, from: &Named, to: &Named) -> Result<Vec<Arc<TableDef>>> {
        let tables = self.tables_between(from, to).await?;
        for table in &tables {
            self.may_compare_table(from, to, table).await?;
        }
        Ok(tables)
    }

    /// 42501 unless a table may be read at two refs, at each under the name that it has there.
    pub(super) async fn may_compare_table(&self, from: &Named, to: &Named, table: &TableDef) -> Result<()> {
        for named in [from, to] {
            let there = self.tables_of_ref(named).await?;
            let same = |t: &&Arc<TableDef>| self.state().are_related(t.id, table.id);
            let name = there.by_id.values().find(same).map_or(&table.name, |t| &t.name);
            self.may_read(named, Scope::Table(name)).await?;
        }
        Ok(())
    }

    pub(super) async fn may_compare(&self, from: &Named, to: &Named, scope: Scope<'_>) -> Result<()> {
        self.may_read(from, scope).await?;
        self.may_read(to, scope).await
    }

    pub(super) async fn two(&self, checkout: &Checkout, from: &str, to: &str) -> Result<(Named, Named)> {
        self.refresh().await?;
        Ok((self.named(from, Some(checkout)).await?, self.named(to, Some(checkout)).await?))
    }

    /// A table by its name, as [`Repository::find_table`]; 42P01 if there is none.
    pub(super) fn table(&self, checkout: &Checkout, name: &str) -> Result<Arc<TableDef>> {
        self.find_table(checkout, name).ok_or_else(|| {
            Error::new(sqlstate::UNDEFINED_TABLE, format!("table \"{name}\" is not registered"))
                .with_hint("SELECT * FROM epoch.tables lists the registered ones; epoch_register adds one.")
        })
    }

    pub(super) async fn views_between(
        &self,
        from: &Named,
        to: &Named,
        table: &TableDef,
    ) -> Result<DiffViews> {
        let (from, to) = (self.spots(from).await?, self.spots(to).await?);
        let state = self.state();
        let (from, to) = state.nearest(&from, &to)?;
        state.compare(from, to, table.id)
    }

    /// Of the versions of a table that two refs have, the newest.
    async fn newest_between(&self, from: &Named, to: &Named, table: &Arc<TableDef>) -> Result<Arc<TableDef>> {
        let views = self.views_between(from, to, table).await?;
        Ok(views.versions.map_or_else(|| Arc::clone(table), |pair| pair.shape))
    }

    /// The views of a table at two spots, whether it is there or not: what a lineage holds of one that was
    /// dropped stays, and is what changes are applied to.
    pub(super) fn stored_views(&self, from: Spot, to: Spot, table: TableId) -> Result<DiffViews> {
        self.state().compare_stored((from, table), (to, table))
    }

    /// The changes that bring what a branch's lineage holds of a table, at one of its spots, to what a ref shows.
    pub(super) async fn changes_onto(
        &self,
        from: Spot,
        to: &Named,
        table: &TableDef,
    ) -> Result<Vec<RowChange>> {
        let spots = self.spots(to).await?;
        let (from, to) = self.state().nearest(&[from], &spots)?;
        let views = self.stored_views(from, to, table.id)?;
        self.diff_between(table, &views).await?.try_collect().await
    }

    /// The changes that empty what a branch's lineage holds of a table.
    pub(super) async fn changes_to_nothing(&self, from: Spot, table: &TableDef) -> Result<Vec<RowChange>> {
        let start = (LineageId::MAIN, At::Ordinal(0));
        let views = self.stored_views(from, start, table.id)?;
        self.diff_between(table, &views).await?.try_collect().await
    }

    /// The tables that there are at a ref.
    pub(super) async fn tables_of_ref(&self, named: &Named) -> Result<Arc<Tables>> {
        let spot = self.spots(named).await?.first().copied();
        let spot = spot.ok_or_else(|| Error::internal("a commit has no position"))?;
        self.state().tables_at(spot)
    }

    /// The tables that only one of two refs has: those that the left one lacks, then those that the right one lacks.
    pub(super) async fn apart(&self, from: &Named, to: &Named) -> Result<[Vec<TableId>; 2]> {
        if !self.state().has_made() {
            return Ok([Vec::new(), Vec::new()]);
        }
        let (from, to) = (self.tables_of_ref(from).await?, self.tables_of_ref(to).await?);
        let only =
            |a: &Tables, b: &Tables| -> Vec<TableId> { a.all_ids().filter(|id| !b.has(*id)).collect() };
        Ok([only(&to, &from), only(&from, &to)])
    }

    /// The tables that two refs don't both have alike.
    pub(super) async fn defined_between(
        &self,
        from: &Named,
        to: &Named,
    ) -> Result<HashMap<TableId, Defined>> {
        let [added, removed] = self.apart(from, to).await?;
        let state = self.state();
        let mut defined: HashMap<TableId, Defined> = HashMap::new();
        for id in &added {
            let none = state.made(*id).and_then(|m| m.table.view.as_ref()).is_some_and(|v| v.query.is_none());
            match removed.iter().find(|other| state.are_one(*id, **other)) {
                _ if none => defined.insert(*id, Defined::Removed),
                Some(other) => defined.insert(*id.max(other), Defined::Altered),
                None => defined.insert(*id, Defined::Added),
            };
        }
        for id in removed {
            if !added.iter().any(|other| state.are_one(id, *other)) {
                defined.insert(id, Defined::Removed);
            }
        }
        Ok(defined)
    }

    pub(super) async fn diff_between(&self, table: &TableDef, views: &DiffViews) -> Result<ChangeStream> {
        self.diff_of(table, views, &Wanted::default()).await
    }

    /// As [`Repository::diff_between`]; of tables that have no versions, only what is wanted.
    pub(super) async fn diff_of(
        &self,
        table: &TableDef,
        views: &DiffViews,
        wanted: &Wanted,
    ) -> Result<ChangeStream> {
        if views.is_same() {
            return Ok(stream::empty().boxed());
        }
        self.sound(table).await?;
        let backend = self.inner.backends.require(&table.location.backend)?;
        if let Some(pair) = &views.versions {
            return backend.diff_versions(pair).await;
        }
        backend.diff(table, &views.from, &views.to, &views.segments, wanted).await
    }

    /// Counts of what differs between main, with what is uncommitted there, and a checkout.
    pub async fn stats_from_main(&self, there: &Checkout, table: &TableDef) -> Result<TableStats> {
        let main = self.live_branch(LineageId::MAIN, "main")?;
        let there = self.head_branch(Some(there))?;
        for branch in [&main, &there] {
            let version = self.state().version_at((branch.lineage, At::Working), table.id)?;
            let name = version.as_ref().map_or(&table.name, |t| &t.name);
            self.may_branch(branch, Right::Read, Scope::Table(name))?;
        }
        self.stats_between(table, &Named::Working(main), &Named::Working(there)).await
    }

    pub(super) async fn stats_between(
        &self,
        table: &TableDef,
        from: &Named,
        to: &Named,
    ) -> Result<TableStats> {
        let views = self.views_between(from, to, table).await?;
        self.stats_of(table, &views).await
    }

    async fn stats_of(&self, table: &TableDef, views: &DiffViews) -> Result<TableStats> {
        if views.is_same() {
            return Ok(TableStats::default());
        }
        self.sound(table).await?;
        let backend = self.inner.backends.require(&table.location.backend)?;
        if let Some(pair) = &views.versions {
            return backend.diff_versions_stat(pair).await;
        }
        backend.diff_stat(table, &views.from, &views.to, &views.segments).await
    }

    /// How many rows more (or fewer) main had of a table at an ordinal than it has now, with what is uncommitted. To be
    /// asked by those who may read what has main at this ordinal below it.
    pub async fn more_on_main_at(&self, table: &TableDef, ordinal: Ordinal) -> Result<i64> {
        let (now, then) = ((LineageId::MAIN, At::Working), (LineageId::MAIN, At::Ordinal(ordinal)));
        let views = self.state().compare(now, then, table.id)?;
        let stats = self.stats_of(table, &views).await?;
        Ok(stats.added - stats.removed)
    }

    /// The changes of one table between two refs, in memory.
    pub(super) async fn changes_between(
        &self,
        table: &TableDef,
        from: &Named,
        to: &Named,
    ) -> Result<Vec<RowChange>> {
        let views = self.views_between(from, to, table).await?;
        self.diff_between(table, &views).await?.try_collect().await
    }

    /// The tables that may differ between two refs, by name; of several versions of one the newest.
    pub(super) async fn tables_between(&self, from: &Named, to: &Named) -> Result<Vec<Arc<TableDef>>> {
        let mut tables = self.versions_between(from, to).await?;
        let state = self.state();
        let older: HashSet<TableId> = tables
            .iter()
            .filter(|t| tables.iter().any(|other| state.is_made_from(other.id, t.id)))
            .map(|t| t.id)
            .collect();
        tables.retain(|t| !older.contains(&t.id));
        Ok(tables)
    }

    /// As [`Repository::tables_between`], with all versions that one of the refs has.
    pub(super) async fn versions_between(&self, from: &Named, to: &Named) -> Result<Vec<Arc<TableDef>>> {
        let mut ids = HashSet::new();
        let mut ends = Vec::new();
        for side in [from, to] {
            if let Named::Working(branch) = side {
                ids.extend(self.pending(branch).await?.into_iter().map(|(table, _)| table));
                ids.extend(self.state().pending_tables(branch.lineage));
                ends.push(self.published(branch).await?.1);
            } else {
                ends.push(side.hash().to_owned());
            }
        }
        let committed = self.with_graph(|graph| {
            let found: Vec<_> = ends.iter().filter_map(|hash| graph.index(hash)).collect();
            Ok(match found.as_slice() {
                [a, b] => graph.changed_tables(*a, *b),
                _ => HashSet::new(),
            })
        });
        ids.extend(committed.await?);
        if !self.state().has_made() {
            let tables = self.tables();
            return Ok(tables.sorted().into_iter().filter(|t| ids.contains(&t.id)).collect());
        }
        let (from, to) = (self.tables_of_ref(from).await?, self.tables_of_ref(to).await?);
        let mut tables = from.sorted();
        tables.extend(to.sorted().into_iter().filter(|t| !from.by_id.contains_key(&t.id)));
        let state = self.state();
        tables.retain(|t| ids.contains(&t.id) || ids.iter().any(|id| state.are_versions(*id, t.id)));
        tables.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(tables)
    }

    /// The newest publication on a branch's lineage: where its pending changes begin. Its commit is
    /// the branch's head, except after a soft reset.
    pub(super) async fn published(&self, branch: &Branch) -> Result<(Spot, String)> {
        let mut tx = self.store().read().await?;
        if let Some((ordinal, hash)) = commits::last_position(&mut tx, branch.lineage).await? {
            return Ok(((branch.lineage, At::Ordinal(ordinal)), hash));
        }
        let fork = self.state().fork(branch.lineage)?;
        let (parent, ordinal) = fork.ok_or_else(|| Error::internal("main has no publication"))?;
        let hash = commits::at_position(&mut tx, parent, ordinal).await?;
        let hash = hash.ok_or_else(|| Error::internal("a branch has no start"))?;
        Ok(((branch.lineage, At::Ordinal(0)), hash))
    }

    /// Net uncommitted changes of a branch, asked of all backends at the same time.
    pub(super) async fn pending(&self, branch: &Branch) -> Result<Vec<(TableId, TableStats)>> {
        self.pending_of(branch, |_| true).await
    }

    /// As [`Repository::pending`], of some tables.
    pub(super) async fn pending_of(
        &self,
        branch: &Branch,
        wanted: impl Fn(TableId) -> bool,
    ) -> Result<Vec<(TableId, TableStats)>> {
        let layer = self.state().layer(branch.lineage)?;
        let mut groups = self.tables_by_backend(layer);
        groups.iter_mut().for_each(|(_, tables)| tables.retain(|t| wanted(t.id)));
        let asked = groups.into_iter().map(|(backend, tables)| async move {
            self.inner.backends.require(&backend)?.pending(&tables, layer).await
        });
        let found = match futures::future::try_join_all(asked).await {
            Ok(found) => found,
            Err(error) => return Err(self.or_drift(error).await),
        };
        Ok(found.into_iter().flatten().filter(|(_, stats)| stats.rows() > 0).collect())
    }

    /// As [`Repository::pending_of`], with tables in whose work is nothing on balance.
    pub(super) async fn touched_of(
        &self,
        branch: &Branch,
        wanted: impl Fn(TableId) -> bool,
    ) -> Result<Vec<TableId>> {
        let layer = self.state().layer(branch.lineage)?;
        let mut groups = self.tables_by_backend(layer);
        groups.iter_mut().for_each(|(_, tables)| tables.retain(|t| wanted(t.id)));
        let asked = groups.into_iter().map(|(backend, tables)| async move {
            self.inner.backends.require(&backend)?.touched(&tables, layer).await
        });
        match futures::future::try_join_all(asked).await {
            Ok(found) => Ok(found.into_iter().flatten().collect()),
            Err(error) => Err(self.or_drift(error).await),
        }
    }

    /// The tables that a lineage holds rows of, by backend.
    pub(super) fn tables_by_backend(&self, layer: Layer) -> Vec<(String, Vec<Arc<TableDef>>)> {
        let main = layer.lineage == LineageId::MAIN;
        let tables: Vec<_> = {
            let state = self.state();
            // On a branch also those that it has dropped.
            let held = |t: &&Arc<TableDef>| match main {
                true => t.retired.is_none() && (state.made(t.id).is_none() || state.is_on_main(t.id)),
                false => state.has_layer(layer.lineage, t.id),
            };
            state.all_tables().filter(|t| t.is_table()).filter(held).cloned().collect()
        };
        let mut groups = std::collections::BTreeMap::<String, Vec<Arc<TableDef>>>::new();
        for table in tables {
            groups.entry(table.location.backend.clone()).or_default().push(table);
        }
        groups.values_mut().for_each(|tables| tables.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id))));
        groups.into_iter().collect()
    }
}

/// 55000
fn other_table(table: &TableDef) -> Error {
    let message = format!("table \"{}\" of these refs is not the one that the session has", table.name);
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_hint("Check out one of the refs first.")
}
