//! What Delta declares of a table's rows: NOT NULL, CHECK constraints and invariants. Keys are unique by our own care.

use std::sync::Arc;

use datafusion::common::{DFSchema, ToDFSchema};
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;
use epoch_adapter::{Error, Result, Row, TableDef, TableSchema, Value, sqlstate};
use epoch_layers::errors;
use futures::TryStreamExt;

use crate::error;
use crate::source::Version;
use crate::types::{batch, loose, rows};

/// The properties whose values are constraints.
const PREFIX: &str = "delta.constraints.";
/// The field of a column's metadata that holds an invariant.
const INVARIANT: &str = "delta.invariants";

/// A constraint, as the engine evaluates it.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub name: String,
    condition: Expr,
}

/// Names and texts of what a table declares.
fn declared(version: &Version) -> Result<Vec<(String, String)>> {
    let of_table = version
        .properties()
        .iter()
        .filter_map(|(key, condition)| Some((key.strip_prefix(PREFIX)?.to_owned(), condition.clone())));
    let mut out: Vec<_> = of_table.collect();
    out.sort();
    for field in version.snapshot().schema().fields() {
        let Some(text) = field.metadata.get(INVARIANT) else { continue };
        let parsed: serde_json::Value =
            serde_json::from_str(&text.to_string()).map_err(|e| error::damaged(INVARIANT, e))?;
        let condition = parsed.pointer("/expression/expression").and_then(serde_json::Value::as_str);
        out.push((format!("{INVARIANT}.{}", field.name()), condition.unwrap_or_default().to_owned()));
    }
    Ok(out)
}

/// The constraints of a table; 0A000 for one that the engine doesn't understand: then nobody writes.
pub(crate) fn checks(
    context: &SessionContext,
    schema: &TableSchema,
    version: &Version,
) -> Result<Vec<Check>> {
    let relation: DFSchema = loose(schema).to_dfschema().map_err(error::engine)?;
    let check = |(name, text): (String, String)| {
        let condition = context.parse_sql_expr(&text, &relation).map_err(|e| {
            Error::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!("writing to a Delta table with the constraint \"{name}\" is not supported"),
            )
            .with_detail(format!("The condition ({text}) is not understood: {e}"))
        })?;
        Ok(Check { name, condition })
    };
    declared(version)?.into_iter().map(check).collect()
}

/// 23502 for a row that has NULL where none may be.
pub(crate) fn not_null(table: &TableDef, row: &Row) -> Result<()> {
    let null = |i: usize| row.get(i).is_none_or(Value::is_null);
    let mut columns = table.schema.columns.iter().enumerate();
    match columns.find(|(i, c)| !c.nullable && null(*i)).map(|(_, c)| c) {
        None => Ok(()),
        Some(column) => {
            let known = row.iter().cloned().map(Some).collect();
            Err(errors::not_null(&table.name.name, &column.name, &known))
        }
    }
}

/// 23514 for the first row that a constraint isn't true of.
pub(crate) async fn check_all(
    context: &SessionContext,
    table: &TableDef,
    checks: &[Check],
    fresh: &[Arc<Row>],
) -> Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    for check in checks {
        if let Some(row) = broken(context, &table.schema, check, fresh, 1).await?.pop() {
            let known = row.into_iter().map(Some).collect();
            return Err(errors::check(&table.name.name, &check.name, &known));
        }
    }
    Ok(())
}

/// Rows that a constraint isn't true of. In Delta, a condition that is NULL isn't kept to.
pub(crate) async fn broken(
    context: &SessionContext,
    schema: &TableSchema,
    check: &Check,
    all: &[Arc<Row>],
    limit: usize,
) -> Result<Vec<Row>> {
    let given = batch(schema, all.iter().map(Arc::as_ref))?;
    let frame = context.read_batch(given).map_err(error::engine)?;
    let wrong = Expr::IsNotTrue(Box::new(check.condition.clone()));
    let frame = frame.filter(wrong).and_then(|f| f.limit(0, Some(limit))).map_err(error::engine)?;
    let stream = frame.execute_stream().await.map_err(error::engine)?;
    let batches: Vec<_> = stream.try_collect().await.map_err(error::engine)?;
    let mut out = Vec::new();
    for batch in &batches {
        out.extend(rows(batch)?);
    }
    Ok(out)
}
