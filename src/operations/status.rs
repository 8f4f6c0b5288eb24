//! What is uncommitted on a branch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{LineageId, Result, TableDef, TableId, TableStats, Writers};
use futures::TryStreamExt;

use super::resolve::Named;
use super::{Checkout, Defined, Repository, Right, Scope, StatusEntry, Target};
use crate::metadata::merges;
use crate::metadata::refs::Branch;

impl Repository {
    /// Tables with working changes or open conflicts, and those that were changed past us in a way
    /// that branches can't follow; empty on a commit.
    pub async fn status(&self, checkout: &Checkout) -> Result<Vec<StatusEntry>> {
        self.refresh().await?;
        if let Target::Commit { .. } = checkout.target {
            return Ok(vec![]);
        }
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Read, Scope::Some)?;
        let mut found: BTreeMap<TableId, (TableStats, i64)> = BTreeMap::new();
        let drifted = self.drifted().await?;
        for table in drifted.keys() {
            found.insert(*table, (TableStats::default(), 0));
        }
        for (table, stats) in self.working_changes(&branch, &drifted).await? {
            found.insert(table, (stats, 0));
        }
        let mut tx = self.store().read().await?;
        for (table, open) in merges::open_counts(&mut tx, branch.lineage).await? {
            found.entry(table).or_default().1 = open;
        }
        tx.commit().await?;
        let (head, working) = (Named::Branch(branch.clone()), Named::Working(branch.clone()));
        let defined = self.defined_between(&head, &working).await?;
        let mut writers = self.writers_of(&branch, &found).await?;
        let readable =
            |table: &Arc<TableDef>| self.may_branch(&branch, Right::Read, Scope::Table(&table.name)).is_ok();
        let mut tables = self.tables_on(checkout).sorted();
        for id in defined
            .iter()
            .filter(|(id, d)| **d == Defined::Removed || self.state().is_rowless(**id))
            .map(|(id, _)| *id)
        {
            let table = self.table_by_id(id)?;
            if !table.is_table() {
                tables.push(table);
                continue;
            }
            // What it held goes with it.
            let stats = self.stats_between(&table, &head, &working).await?;
            found.entry(id).or_default().0 = stats;
            tables.push(table);
        }
        // Views and types in conflict, and tables that only the other side has.
        let listed: HashSet<TableId> = tables.iter().map(|t| t.id).collect();
        let unlisted = found.iter().filter(|(id, (_, conflicts))| *conflicts > 0 && !listed.contains(id));
        tables.extend(unlisted.filter_map(|(id, _)| self.table_by_id(*id).ok()));
        // An older version may be the branch's again.
        let altered = |id: TableId| {
            let of =
                |(known, d): (&TableId, &Defined)| *d == Defined::Altered && self.state().are_one(*known, id);
            defined.iter().any(of).then_some(Defined::Altered)
        };
        let entry = |table: Arc<TableDef>| {
            let defined = defined.get(&table.id).copied().or_else(|| altered(table.id)).unwrap_or_default();
            let known = found.get(&table.id).copied();
            let (stats, conflicts) = known.or_else(|| (defined != Defined::Same).then(Default::default))?;
            let change = match defined {
                _ if conflicts > 0 => "conflict",
                Defined::Same => "modified",
                Defined::Added => "added",
                Defined::Removed => "removed",
                Defined::Altered => "altered",
            };
            Some(StatusEntry {
                table_name: table.name.to_string(),
                location: table.location.home().to_string(),
                change: match drifted.get(&table.id) {
                    Some(reason) => format!("drift: {reason}"),
                    None => change.to_owned(),
                },
                stats,
                conflicts,
                writers: writers.remove(&table.id),
            })
        };
        Ok(tables.into_iter().filter(readable).filter_map(entry).collect())
    }

    /// Of the changed tables of main, who changed them.
    async fn writers_of(
        &self,
        branch: &Branch,
        changed: &BTreeMap<TableId, (TableStats, i64)>,
    ) -> Result<HashMap<TableId, Writers>> {
        let mut known = HashMap::new();
        if branch.lineage != LineageId::MAIN {
            return Ok(known);
        }
        let mut by_backend: BTreeMap<String, Vec<Arc<TableDef>>> = BTreeMap::new();
        for id in changed.iter().filter(|(_, (stats, _))| stats.rows() > 0).map(|(id, _)| *id) {
            let table = self.table_by_id(id)?;
            by_backend.entry(table.location.backend.clone()).or_default().push(table);
        }
        for (backend, tables) in by_backend {
            let found = self.inner.backends.require(&backend)?.writers(&tables).await?;
            known.extend(found.into_iter().map(|writers| (writers.table, writers)));
        }
        Ok(known)
    }

    /// Changes between a branch's head and its working state: what is pending, except after a soft
    /// reset, when the head isn't where the pending changes begin. Those of `drifted` tables can't be
    /// told.
    async fn working_changes(
        &self,
        branch: &Branch,
        drifted: &HashMap<TableId, String>,
    ) -> Result<Vec<(TableId, TableStats)>> {
        if self.published(branch).await?.1 == branch.head {
            return self.pending_of(branch, |table| !drifted.contains_key(&table)).await;
        }
        let (head, working) = (Named::Branch(branch.clone()), Named::Working(branch.clone()));
        let mut found = Vec::new();
        for table in self.tables_between(&head, &working).await? {
            if drifted.contains_key(&table.id) {
                continue;
            }
            let views = self.views_between(&head, &working, &table).await?;
            let mut stats = TableStats::default();
            let mut changes = self.diff_between(&table, &views).await?;
            while let Some(change) = changes.try_next().await? {
                match change.kind() {
                    epoch_adapter::ChangeKind::Added => stats.added += 1,
                    epoch_adapter::ChangeKind::Modified => stats.modified += 1,
                    epoch_adapter::ChangeKind::Removed => stats.removed += 1,
                }
            }
            if stats.rows() > 0 {
                found.push((table.id, stats));
            }
        }
        Ok(found)
    }
}
