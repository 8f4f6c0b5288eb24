//! MERGE on a branch.

use epoch_adapter_postgres::layout::{LINEAGE, quote};
use epoch_adapter_postgres::relation;

use super::Write;
use crate::query::names::Meaning;
use crate::query::parse::{Merge, Role, Star, TableRef};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::query::stable::{is_stable, with_for};
use crate::{Error, Result};

/// The name of the source, if it reads versioned tables. Where the server looks again at a row of the target that another
/// session changed, it keeps to the row of the source only if that is of one relation: of one that several tables make up, it
/// would take the first row, and find the target not matched by it.
fn marked(ctx: &Context<'_>, rewriter: &Rewriter<'_>, merge: &Merge) -> Option<String> {
    let [name] = merge.starrable.as_deref()? else { return None };
    let versioned = |table: &TableRef| {
        table.role == Role::Read
            && merge.source.start <= table.range.start
            && table.range.end <= merge.source.end
            && matches!(ctx.names.table(table), Meaning::Registered(_))
    };
    rewriter.statement.tables.iter().any(versioned).then(|| name.clone())
}

impl Write<'_> {
    /// Rows of main that the source matches are copied up (all of them if it may be about rows that
    /// nothing matches); then the statement sees the branch's rows of the overlay only.
    /// `widths`: how many values each WHEN inserts without a column list, if it can be told.
    pub(super) fn merge(
        &self,
        ctx: &Context<'_>,
        rewriter: &mut Rewriter<'_>,
        merge: &Merge,
        widths: &[Option<usize>],
    ) -> Result<()> {
        let named: Vec<String> = merge.whens.iter().flat_map(|w| w.columns.iter().cloned()).collect();
        self.check_columns(ctx, rewriter, &named)?;
        for (when, width) in merge.whens.iter().zip(widths) {
            self.merge_identity(ctx, rewriter, when, *width)?;
        }
        let rows = self.rows_to_merge(ctx, rewriter, merge);
        rewriter.prelude.push(relation::copy_up(&self.table, self.layer, &rows));
        if let Some(name) = marked(ctx, rewriter, merge) {
            rewriter.edits.insert(merge.source.start, "(SELECT * FROM ");
            rewriter.edits.insert(merge.source.end, format!(" OFFSET 0) AS {}", quote(&name)));
        }
        self.splice_target(rewriter);
        let own = format!("{}.{LINEAGE} = {}", self.alias(), self.layer.lineage.0);
        rewriter.edits.insert(merge.condition.start, "(");
        rewriter.edits.insert(merge.condition.end, format!("\n) AND {own}"));
        for (when, width) in merge.whens.iter().zip(widths) {
            match &when.by_source {
                Some((_, Some(condition))) => {
                    rewriter.edits.insert(condition.start, "(");
                    rewriter.edits.insert(condition.end, format!("\n) AND {own}"));
                }
                Some((at, None)) => rewriter.edits.insert(*at, format!(" AND {own}")),
                None => {}
            }
            if let Some((at, _)) = &when.list_at {
                let columns = self.table.schema.columns.iter().take(width.unwrap_or(usize::MAX));
                let columns: Vec<String> = columns.map(|c| quote(&c.name)).collect();
                rewriter.edits.insert(*at, format!(" ({})", columns.join(", ")));
            }
        }
        let (bare, others): (Vec<Star>, Vec<Star>) =
            merge.stars.iter().cloned().partition(|star| star.qualifier.is_none());
        // The source's columns come first.
        for star in bare {
            let source = merge.starrable.as_ref().ok_or_else(|| {
                Error::unsupported("RETURNING * of a MERGE from a join by USING or NATURAL, or an item without a name, on a branch")
                    .with_hint("Name the columns.")
            })?;
            let source: String = source.iter().map(|s| format!("{}.*, ", quote(s))).collect();
            let own = self.columns(&format!("{}.", self.alias()));
            rewriter.edits.replace(star.range, format!("{source}{own}"));
        }
        self.stars(rewriter, &others, Some(&[]))
    }

    fn rows_to_merge(&self, ctx: &Context<'_>, rewriter: &Rewriter<'_>, merge: &Merge) -> String {
        let alias = self.alias();
        let columns = self.columns(&format!("{alias}."));
        let all = format!(
            "SELECT {columns} FROM {} AS {alias}",
            rewriter.below(ctx, self.target, (&self.table, self.layer))
        );
        let parts = [&merge.source, &merge.condition];
        let stable = parts.iter().all(|part| is_stable(ctx, rewriter, part));
        match with_for(ctx, rewriter, &parts) {
            Some(with) if stable && merge.whens.iter().all(|w| w.by_source.is_none()) => {
                let text = |range| rewriter.evaluated(range);
                format!("{with}{all}, {} WHERE ({}\n)", text(&merge.source), text(&merge.condition))
            }
            _ => all,
        }
    }
}
