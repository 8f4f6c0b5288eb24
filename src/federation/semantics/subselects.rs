//! Sub-selects that read columns of the query around them.
//!
//! DataFusion makes joins of them: it takes the conditions on the outer row out of the sub-select, and
//! whatever stood above such a condition then works on the rows of all outer rows at once, or has no row
//! where it had one. Where that changes the result, the sub-select is refused.

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, Limit, LogicalPlan, Subquery};
use epoch_adapter::Result;

use super::super::errors;
use super::operators::refused;

/// `x [NOT] IN (SELECT …)`. A null-aware anti join looks for NULL in all of the sub-select's rows, not in
/// those of one outer row.
pub(crate) fn check_in(subquery: &Subquery, negated: bool) -> Result<()> {
    if negated && is_correlated(&subquery.subquery) {
        return Err(refused("NOT IN (SELECT …) that reads columns of the query around it")
            .with_hint("Use NOT EXISTS (SELECT … WHERE …)."));
    }
    check_names(&subquery.subquery)?;
    check(&subquery.subquery, At { scalar: false, aggregated: false, top: true })
}

/// `EXISTS (SELECT …)`
pub(crate) fn check_exists(subquery: &Subquery) -> Result<()> {
    check_names(&subquery.subquery)?;
    check(&subquery.subquery, At { scalar: false, aggregated: false, top: true })
}

/// A sub-select in the place of a value, which is an aggregate always (`epoch_single_value`).
pub(crate) fn check_scalar(subquery: &Subquery) -> Result<()> {
    check_names(&subquery.subquery)?;
    check(&subquery.subquery, At { scalar: true, aggregated: false, top: true })
}

fn is_correlated(plan: &LogicalPlan) -> bool {
    !plan.all_out_ref_exprs().is_empty()
}

/// The columns of a sub-select lose the names of their tables when it becomes a side of a join. Those that the outer row
/// is compared with, and those of its list, must be told apart by their own names.
fn check_names(plan: &LogicalPlan) -> Result<()> {
    if !is_correlated(plan) {
        return Ok(());
    }
    let mut used: Vec<Column> = plan.schema().columns();
    compared(plan, &mut used)?;
    let twice = used.iter().find(|a| used.iter().any(|b| a.name == b.name && a.relation != b.relation));
    match twice {
        None => Ok(()),
        Some(column) => Err(refused(format!(
            "a sub-select that reads columns of the query around it and two columns of its own with the name \"{}\"",
            column.name
        ))
        .with_hint("Give one of them another name in a sub-select of its own, or select another list.")),
    }
}

/// The sub-select's own columns in expressions with columns of the query around it.
fn compared(plan: &LogicalPlan, used: &mut Vec<Column>) -> Result<()> {
    let outer = |expr: &Expr| expr.exists(|e| Ok(matches!(e, Expr::OuterReferenceColumn(..))));
    for expr in plan.expressions() {
        if outer(&expr).map_err(|e| errors::datafusion(&e))? {
            used.extend(expr.column_refs().into_iter().cloned());
        }
    }
    plan.inputs().into_iter().try_for_each(|input| compared(input, used))
}

/// Where in a sub-select a node is.
#[derive(Clone, Copy)]
struct At {
    /// It stands for a value: DataFusion knows that one aggregate has a row always.
    scalar: bool,
    /// Such an aggregate is above.
    aggregated: bool,
    /// Nothing is above that would see which rows a LIMIT leaves.
    top: bool,
}

fn check(plan: &LogicalPlan, at: At) -> Result<()> {
    if !is_correlated(plan) {
        return Ok(());
    }
    let has_row = matches!(plan, LogicalPlan::Aggregate(aggregate) if always_has_row(aggregate));
    let what = match plan {
        _ if has_row && (!at.scalar || at.aggregated) => Some("an aggregate without GROUP BY"),
        LogicalPlan::Limit(limit) if skips(limit) => Some("OFFSET"),
        LogicalPlan::Limit(_) if !at.top => Some("LIMIT"),
        LogicalPlan::Window(_) => Some("a window function"),
        LogicalPlan::Distinct(Distinct::On(_)) => Some("DISTINCT ON"),
        LogicalPlan::Join(join) if keeps_rows(join) => Some("an outer join, INTERSECT or EXCEPT"),
        _ => None,
    };
    if let Some(what) = what {
        return Err(refused(format!("{what} in a sub-select, above a condition on the query around it,"))
            .with_hint("Write it as a join with a sub-select that has GROUP BY."));
    }
    let bare = matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_));
    let below = At { aggregated: at.aggregated || has_row, top: at.top && bare, ..at };
    plan.inputs().into_iter().try_for_each(|input| check(input, below))
}

/// Whether there is a row even of no rows.
fn always_has_row(aggregate: &Aggregate) -> bool {
    aggregate.group_expr.is_empty() || aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)))
}

fn skips(limit: &Limit) -> bool {
    match limit.skip.as_deref() {
        None | Some(Expr::Literal(ScalarValue::Null, _)) => false,
        Some(Expr::Literal(ScalarValue::Int64(skip), _)) => skip.unwrap_or(0) != 0,
        Some(Expr::Literal(ScalarValue::Int32(skip), _)) => skip.unwrap_or(0) != 0,
        Some(_) => true,
    }
}

/// Whether rows of the join don't depend on those of a side that has the condition.
fn keeps_rows(join: &Join) -> bool {
    match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => is_correlated(&join.right),
        JoinType::Right => is_correlated(&join.left),
        _ => true,
    }
}
