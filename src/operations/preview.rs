//! What a merge would do, row by row.

use std::collections::BTreeMap;

use epoch_adapter::{Result, RowChange, TableChanges, TableName};

use super::comparing::{Compared, Comparisons};
use super::merge::{Outcome, Sides, merge_row};
use super::merging::Relation;
use super::publish::SchemaChange;
use super::schema::TableChoices;
use super::{
    Checkout, ConflictKind, Preview, PreviewedRow, PreviewedTable, Repository, Right, Scope, Strategy,
};
use crate::metadata::merges::WaitingMerge;
use crate::metadata::refs::Branch;

/// The most rows that are counted which would not keep to constraints.
const COUNTED: usize = 100_000;

impl Repository {
    /// Computes the merge of `source` into the branch `target` (the checkout's for none) without making it; with
    /// `constraints`, also which ones the rows that merge would break.
    pub async fn preview_merge(
        &self,
        checkout: &Checkout,
        source: &str,
        target: Option<&str>,
        strategy: Option<Strategy>,
        constraints: bool,
    ) -> Result<Preview> {
        self.refresh().await?;
        let branch = match target {
            Some(name) => self.branch_named(name)?,
            None => self.head_branch(Some(checkout))?,
        };
        self.may_branch(&branch, Right::Read, Scope::All)?;
        let named = self.named(source, Some(checkout)).await?;
        self.may_read(&named, Scope::All).await?;
        let theirs = named.hash().to_owned();
        let bases = match self.relation_to(&branch, &theirs).await? {
            Relation::UpToDate => {
                return Ok(Preview { tables: vec![], violations: Some(vec![]) });
            }
            Relation::FastForward => vec![branch.head.clone()],
            Relation::Diverged(bases) => bases,
        };
        let merge = WaitingMerge {
            lineage: branch.lineage,
            source: source.to_owned(),
            base: bases.join(" "),
            ours: branch.head.clone(),
            theirs,
            options: String::new(),
        };
        let rules = self.merge_rules().await?;
        // What has what was done on both sides is made, and isn't needed any more afterwards.
        let lock = if self.combines(&branch, &merge).await? { Some(self.locked().await?) } else { None };
        let compared =
            self.compared(&branch, &merge, &rules, strategy.unwrap_or_default(), &TableChoices::new()).await;
        if lock.is_some() {
            self.sweep().await;
        }
        let Comparisons { tables: compared, schema, altered, conflicts } = compared?;
        let strategy = strategy.unwrap_or_default();
        let mut tables: Vec<PreviewedTable> =
            compared.into_iter().map(|c| previewed(c, strategy)).filter(|t| !t.rows.is_empty()).collect();
        let are_merged = conflicts.is_empty();
        for conflict in conflicts {
            tables
                .push(PreviewedTable { table: self.table_by_id(conflict.table)?, rows: vec![in_conflict()] });
        }
        // What tables that come or are altered would break isn't known before they are there.
        let rows_alone = are_merged && schema == SchemaChange::default() && altered.is_empty();
        let violations =
            if constraints && rows_alone { self.previewed_violations(&branch, &tables).await? } else { None };
        Ok(Preview { tables, violations })
    }

    async fn previewed_violations(
        &self,
        branch: &Branch,
        tables: &[PreviewedTable],
    ) -> Result<Option<Vec<(TableName, usize)>>> {
        let change = |row: &PreviewedRow| {
            let (before, after) = (row.ours.clone(), row.result.clone());
            (before != after && row.conflict.is_none()).then(|| RowChange {
                key: row.key.clone(),
                before,
                after,
            })
        };
        let changes = tables.iter().map(|t| TableChanges {
            table: t.table.clone(),
            changes: t.rows.iter().filter_map(change).collect(),
            arrival: None,
        });
        let Some(broken) = self.would_break(branch, changes.collect(), COUNTED).await? else {
            return Ok(None);
        };
        let mut counts: BTreeMap<TableName, usize> = BTreeMap::new();
        for (table, _) in broken {
            *counts.entry(table.name.clone()).or_default() += 1;
        }
        Ok(Some(counts.into_iter().collect()))
    }
}

/// What stands for a table that is in conflict itself.
fn in_conflict() -> PreviewedRow {
    let conflict = Some(ConflictKind::Schema);
    PreviewedRow { key: vec![], base: None, ours: None, theirs: None, result: None, conflict }
}

fn previewed(compared: Compared, strategy: Strategy) -> PreviewedTable {
    let Compared { table, rules, ours, theirs } = compared;
    let mut ours: std::collections::BTreeMap<_, RowChange> =
        ours.into_iter().map(|c| (c.key.clone(), c)).collect();
    let rows = theirs.into_iter().map(|their| {
        let Some(our) = ours.remove(&their.key) else {
            return PreviewedRow {
                key: their.key,
                base: their.before.clone(),
                ours: their.before,
                theirs: their.after.clone(),
                result: their.after,
                conflict: None,
            };
        };
        let sides = Sides { base: our.before, ours: our.after, theirs: their.after };
        let (result, conflict) =
            match merge_row(&table.schema, strategy, &rules, &sides, rules.unsure(&their.key)) {
                Outcome::Result(row) => (row, None),
                Outcome::Conflict { kind, .. } => (sides.ours.clone(), Some(kind)),
            };
        let Sides { base, ours, theirs } = sides;
        PreviewedRow { key: their.key, base, ours, theirs, result, conflict }
    });
    let rows = rows.collect();
    PreviewedTable { table, rows }
}
