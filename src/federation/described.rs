//! The types of a statement's parameters.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan};
use epoch_adapter::Result;
use postgres_types::Type;

use super::{errors, types};

/// The parameters' types: those that the client gave, else those that the plan needs, else text.
pub(crate) fn parameter_types(plan: &LogicalPlan, given: Vec<Option<Type>>) -> Result<Vec<Type>> {
    let names = plan.get_parameter_names().map_err(|e| errors::datafusion(&e))?;
    let fields = plan.get_parameter_fields().map_err(|e| errors::datafusion(&e))?;
    let limits = limit_parameters(plan)?;
    let number = |name: &str| name.trim_start_matches('$').parse::<usize>().ok();
    let count = names.iter().filter_map(|n| number(n)).max().unwrap_or(0).max(given.len());
    let kind = |index: usize| match given.get(index).cloned().flatten() {
        Some(given) => Ok(given),
        None => match fields.get(&format!("${}", index + 1)) {
            Some(Some(field)) => types::field_type(field),
            _ if limits.contains(&format!("${}", index + 1)) => Ok(Type::INT8),
            _ => Ok(Type::TEXT),
        },
    };
    (0..count).map(kind).collect()
}

/// Parameters in LIMIT and OFFSET.
fn limit_parameters(plan: &LogicalPlan) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for expr in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(placeholder) = expr.as_ref() {
                    found.push(placeholder.id.clone());
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map_err(|e| errors::datafusion(&e))?;
    Ok(found)
}
