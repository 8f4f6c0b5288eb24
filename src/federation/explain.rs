//! What would run where.

use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use epoch_adapter::Result;

use super::dml::{InsertPlan, ModifyPlan};
use super::names;
use super::parse::{self, Command};
use super::session::Session;
use super::table::ScanExec;
use crate::operations::Checkout;

/// One part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The backend that it runs on, `None` for the proxy itself.
    pub backend: Option<String>,
    /// What is asked of the backend, or the proxy's own plan.
    pub sql: String,
}

impl Session {
    /// The parts of a statement on the federated route: what each backend is asked for, then the
    /// plan over it.
    pub async fn explain(&mut self, checkout: &Checkout, sql: &str) -> Result<Vec<Part>> {
        let planner = self.planner(checkout).await?;
        let (plan, write) = match parse::parse(sql)? {
            Command::Query(mut statement) => {
                names::apply(&mut statement);
                (planner.plan(*statement)?, None)
            }
            Command::Insert(insert) => {
                let insert = InsertPlan::new(&planner, &insert)?;
                let write = written("INSERT INTO", insert.table());
                match insert.source {
                    Some(source) => (source, Some(write)),
                    None => return Ok(vec![write]),
                }
            }
            Command::Update(update) => {
                let update = ModifyPlan::update(&planner, &update)?;
                let write = written("UPDATE by key", update.table());
                (update.plan, Some(write))
            }
            Command::Delete(delete) => {
                let delete = ModifyPlan::delete(&planner, &delete)?;
                let write = written("DELETE by key FROM", delete.table());
                (delete.plan, Some(write))
            }
            _ => return Ok(vec![Part { backend: None, sql: sql.to_owned() }]),
        };
        let physical = planner.physical(plan).await?;
        let mut parts = Vec::new();
        scans(&physical, &mut parts);
        let text = displayable(physical.as_ref()).indent(false).to_string();
        parts.push(Part { backend: None, sql: text.trim_end().to_owned() });
        parts.extend(write);
        Ok(parts)
    }
}

fn written(verb: &str, table: &epoch_adapter::TableDef) -> Part {
    Part { backend: Some(table.location.backend.clone()), sql: format!("{verb} {}", table.name) }
}

fn scans(plan: &Arc<dyn ExecutionPlan>, parts: &mut Vec<Part>) {
    if let Some(scan) = plan.downcast_ref::<ScanExec>() {
        let (backend, sql) = scan.describe();
        parts.push(Part { backend: Some(backend), sql });
    }
    plan.children().into_iter().for_each(|child| scans(child, parts));
}
