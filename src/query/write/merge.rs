//! MERGE on a branch.

use epoch_adapter_postgres::layout::{LINEAGE, quote};
use epoch_adapter_postgres::relation;

use super::Write;
use crate::query::parse::Merge;
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::query::stable::{is_stable, with_for};
use crate::{Error, Result};

impl Write<'_> {
    /// Rows of main that the source matches are copied up (all of them if it may be about rows that
    /// nothing matches); then the statement sees the branch's rows of the overlay only.
    pub(super) fn merge(&self, ctx: &Context<'_>, rewriter: &mut Rewriter<'_>, merge: &Merge) -> Result<()> {
        let named: Vec<String> = merge.whens.iter().flat_map(|w| w.columns.iter().cloned()).collect();
        self.check_columns(rewriter, &named)?;
        let rows = self.rows_to_merge(ctx, rewriter, merge);
        rewriter.prelude.push(relation::copy_up(&self.table, self.layer, &rows));
        self.splice_target(rewriter);
        let own = format!("{}.{LINEAGE} = {}", self.alias(), self.layer.lineage.0);
        rewriter.edits.insert(merge.condition.start, "(");
        rewriter.edits.insert(merge.condition.end, format!("\n) AND {own}"));
        for when in &merge.whens {
            match &when.by_source {
                Some((_, Some(condition))) => {
                    rewriter.edits.insert(condition.start, "(");
                    rewriter.edits.insert(condition.end, format!("\n) AND {own}"));
                }
                Some((at, None)) => rewriter.edits.insert(*at, format!(" AND {own}")),
                None => {}
            }
            if let Some((at, values)) = when.list_at {
                let Some(values) = values else {
                    return Err(Error::unsupported(
                        "INSERT of a star without a column list in MERGE on a branch",
                    )
                    .with_hint("Name the columns."));
                };
                let columns = self.table.schema.columns.iter().take(values);
                let columns: Vec<String> = columns.map(|c| quote(&c.name)).collect();
                rewriter.edits.insert(at, format!(" ({})", columns.join(", ")));
            }
        }
        if merge.stars.iter().any(|star| star.qualifier.is_none()) {
            return Err(Error::unsupported("RETURNING * of MERGE on a branch").with_hint("Name the columns."));
        }
        self.stars(rewriter, &merge.stars, Some(&[]))
    }

    fn rows_to_merge(&self, ctx: &Context<'_>, rewriter: &Rewriter<'_>, merge: &Merge) -> String {
        let alias = self.alias();
        let columns = self.columns(&format!("{alias}."));
        let all = format!("SELECT {columns} FROM {} AS {alias}", self.below(rewriter.form));
        let parts = [&merge.source, &merge.condition];
        let stable = parts.iter().all(|part| is_stable(ctx, rewriter, part));
        match with_for(ctx, rewriter, &parts) {
            Some(with) if stable && merge.whens.iter().all(|w| w.by_source.is_none()) => {
                let text = |range| rewriter.edits.render(rewriter.sql, range).0;
                format!("{with}{all}, {} WHERE ({}\n)", text(&merge.source), text(&merge.condition))
            }
            _ => all,
        }
    }
}
