//! What expressions mean: as in PostgreSQL, or not at all.
//!
//! DataFusion's operators, casts and functions differ from PostgreSQL's in types, overflows, rounding,
//! NaN and many edges. So before its own rules see a plan, this one settles the type of every
//! expression by PostgreSQL's rules, puts computations of ours in the place of what differs, and
//! refuses (0A000, or PostgreSQL's own error) what isn't known to be the same.

mod aggregates;
mod assign;
mod call;
mod casts;
mod choice;
mod datum;
mod functions;
mod guards;
mod input;
mod kinds;
mod math;
mod number;
mod operators;
mod plans;
mod resolver;
mod strings;
mod subselects;
mod times;

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use super::table::FederatedTable;

pub(crate) use aggregates::find as aggregate;
pub(crate) use assign::{assigned, field_of};
pub(crate) use call::{typed, typed_as};
pub(crate) use datum::plain as plain_float;
pub(crate) use functions::{Arithmetic, find as function};
pub(crate) use input::uuid;
pub(crate) use kinds::same as same_kind;

/// The rules of the analyzer.
pub(crate) fn rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![Arc::new(ResolveGroupingFunction::new()), Arc::new(Semantics), Arc::new(TypeCoercion::new())]
}

/// The rule.
#[derive(Debug)]
struct Semantics;

impl AnalyzerRule for Semantics {
    fn name(&self) -> &str {
        "postgresql_semantics"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> DfResult<LogicalPlan> {
        let zone = config.execution.time_zone.clone().unwrap_or_else(|| "+00:00".to_owned());
        let lenient = is_about_catalogs(&plan)?;
        plan.transform_up_with_subqueries(|node| resolve(node, &zone, lenient)).map(|t| t.data)
    }
}

/// Whether a plan reads the catalogs only. Client tools ask them in SQL that DataFusion runs well enough.
fn is_about_catalogs(plan: &LogicalPlan) -> DfResult<bool> {
    let (mut catalogs, mut tables) = (false, false);
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let system = matches!(scan.table_name.schema(), Some("pg_catalog" | "information_schema"));
            catalogs |= system || scan.table_name.table().starts_with("pg_");
            let provider = source_as_provider(&scan.source);
            tables |= provider.is_ok_and(|p| p.downcast_ref::<FederatedTable>().is_some());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(catalogs && !tables)
}

fn resolve(plan: LogicalPlan, zone: &str, lenient: bool) -> DfResult<Transformed<LogicalPlan>> {
    // These have no expressions of their own.
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::TableScan(_)) {
        return Ok(Transformed::no(plan));
    }
    let mut schema = merge_schema(&plan.inputs());
    if plan.inputs().is_empty() {
        schema = DFSchema::empty();
    }
    let plan = match plan {
        LogicalPlan::Values(values) => return plans::values(values, zone).map(Transformed::yes),
        plan => plan,
    };
    let names = NamePreserver::new(&plan);
    let mut resolver = resolver::Resolver { schema: &schema, zone, lenient };
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let resolved = expr.rewrite(&mut resolver)?;
        Ok(resolved.update_data(|e| name.restore(e)))
    })?
    .map_data(|plan| plans::checked(plan, &schema, zone, lenient))?
    .map_data(|plan| if lenient { Ok(plan) } else { guards::guarded(plan, &schema, zone) })?
    .map_data(LogicalPlan::recompute_schema)
}
