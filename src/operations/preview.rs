//! What a merge would do, row by row.

use epoch_adapter::{Result, RowChange};

use super::comparing::Compared;
use super::merge::{Outcome, Sides, merge_row};
use super::merging::Relation;
use super::{Checkout, PreviewedRow, PreviewedTable, Repository, Right, Scope, Strategy};
use crate::metadata::merges::WaitingMerge;

impl Repository {
    /// Computes the merge of `source` into the branch `target` (the checkout's for none) without making it.
    pub async fn preview_merge(
        &self,
        checkout: &Checkout,
        source: &str,
        target: Option<&str>,
        strategy: Option<Strategy>,
    ) -> Result<Vec<PreviewedTable>> {
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
            Relation::UpToDate => return Ok(vec![]),
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
        let compared = self.compared(&branch, &merge, &rules, strategy.unwrap_or_default()).await;
        if lock.is_some() {
            self.sweep().await;
        }
        let (compared, ..) = compared?;
        let strategy = strategy.unwrap_or_default();
        Ok(compared.into_iter().map(|c| previewed(c, strategy)).filter(|t| !t.rows.is_empty()).collect())
    }
}

fn previewed(compared: Compared, strategy: Strategy) -> PreviewedTable {
    let Compared { table, rules, ours, theirs } = compared;
    let mut ours: std::collections::BTreeMap<_, RowChange> =
        ours.into_iter().map(|c| (c.key.clone(), c)).collect();
    let rows = theirs.into_iter().map(|their| {
        let Some(our) = ours.remove(&their.key) else {
            return PreviewedRow {
                base: their.before.clone(),
                ours: their.before,
                theirs: their.after.clone(),
                result: their.after,
                conflict: None,
            };
        };
        let sides = Sides { base: our.before, ours: our.after, theirs: their.after };
        let (result, conflict) = match merge_row(&table.schema, strategy, &rules, &sides, rules.unsure(&their.key)) {
            Outcome::Result(row) => (row, None),
            Outcome::Conflict { kind, .. } => (sides.ours.clone(), Some(kind)),
        };
        PreviewedRow { base: sides.base, ours: sides.ours, theirs: sides.theirs, result, conflict }
    });
    let rows = rows.collect();
    PreviewedTable { table, rows }
}
