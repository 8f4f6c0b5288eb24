//! Integer arithmetic that fails on overflow, as PostgreSQL's does; DataFusion's wraps by default.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::ProjectionExec;

/// The plan with checked `+`, `-` and `*` in its projections and filters. A plan that can't be
/// rebuilt stays as it is.
pub(crate) fn checked(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let original = plan.clone();
    plan.transform_up(node).map_or(original, |rewritten| rewritten.data)
}

fn node(plan: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let mut changed = false;
        let mut column = |p: &ProjectionExpr| {
            let rewritten = expression(p.expr.clone())?;
            changed |= rewritten.transformed;
            Ok(ProjectionExpr { expr: rewritten.data, alias: p.alias.clone() })
        };
        let columns = projection.expr().iter().map(&mut column).collect::<DfResult<Vec<_>>>()?;
        if changed {
            let rebuilt = ProjectionExec::try_new(columns, projection.input().clone())?;
            return Ok(Transformed::yes(Arc::new(rebuilt)));
        }
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let rewritten = expression(filter.predicate().clone())?;
        if rewritten.transformed {
            let rebuilt = FilterExecBuilder::from(filter).with_predicate(rewritten.data).build()?;
            return Ok(Transformed::yes(Arc::new(rebuilt)));
        }
    }
    Ok(Transformed::no(plan))
}

fn expression(expr: Arc<dyn PhysicalExpr>) -> DfResult<Transformed<Arc<dyn PhysicalExpr>>> {
    expr.transform_up(|e| {
        let Some(binary) = e.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(e)) };
        if !matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) {
            return Ok(Transformed::no(e));
        }
        let checked = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
        Ok(Transformed::yes(Arc::new(checked.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
    })
}
