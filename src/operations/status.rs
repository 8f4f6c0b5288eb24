//! What is uncommitted on a branch.

use std::collections::{BTreeMap, HashMap};

use epoch_adapter::{Result, TableId, TableStats};
use futures::TryStreamExt;

use super::resolve::Named;
use super::{Checkout, Repository, StatusEntry, Target};
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
        let tables = self.tables();
        let entries = tables.sorted().into_iter().filter_map(|table| {
            let (stats, conflicts) = found.get(&table.id).copied()?;
            Some(StatusEntry {
                table_name: table.name.to_string(),
                location: table.location.to_string(),
                change: match drifted.get(&table.id) {
                    Some(reason) => format!("drift: {reason}"),
                    None if conflicts > 0 => "conflict".to_owned(),
                    None => "modified".to_owned(),
                },
                stats,
                conflicts,
            })
        });
        Ok(entries.collect())
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
