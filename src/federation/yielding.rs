//! Joins without a key let others run.
//!
//! The threads of sessions are few and shared. DataFusion's operators give way where they read; a join without a key reads
//! little and makes much of it, so that nothing above it (an aggregate that takes batch after batch) ever waits: the thread
//! would do nothing else until it is done, and neither a cancel nor a time limit would be heard.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result as DfResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Puts an operator that gives way on top of every join without a key.
#[derive(Debug)]
pub(super) struct JoinsYield;

impl PhysicalOptimizerRule for JoinsYield {
    fn name(&self) -> &str {
        "JoinsYield"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        let wrap = |node: Arc<dyn ExecutionPlan>| {
            Ok(if matches!(node.name(), "NestedLoopJoinExec" | "CrossJoinExec") {
                Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
            } else {
                Transformed::no(node)
            })
        };
        Ok(plan.transform_up(wrap)?.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use datafusion::execution::session_state::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;

    /// One thread, as a session's.
    #[tokio::test]
    async fn a_join_without_a_key_is_interrupted() {
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(JoinsYield))
            .build();
        let context = SessionContext::new_with_state(state);
        let numbers = "(SELECT * FROM generate_series(1, 3000))";
        let sql = format!("SELECT count(*) FROM {numbers} a, {numbers} b, {numbers} c, {numbers} d");
        let frame = context.sql(&sql).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_millis(50), frame.collect()).await;
        assert!(ended.is_err(), "it would take hours");
    }
}
