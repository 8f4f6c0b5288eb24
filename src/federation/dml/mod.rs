//! INSERT, UPDATE and DELETE on registered tables: DataFusion finds the rows and computes the values,
//! the backend writes them by key.

mod conflict;
mod insert;
mod modify;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, LogicalPlan, expr::Placeholder};
use datafusion::sql::sqlparser::ast::{ObjectName, ObjectNamePart, SelectItem, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use epoch_adapter::{Column, Error, Layer, Result, TableDef, sqlstate};

pub(crate) use insert::InsertPlan;
pub(crate) use modify::ModifyPlan;

use super::planner::Planner;
use super::transaction::SharedTransaction;
use super::{errors, functions, names, semantics, types};

/// Where a statement writes.
pub(crate) struct Target {
    pub(crate) table: Arc<TableDef>,
    pub(crate) layer: Layer,
    pub(crate) transaction: Arc<SharedTransaction>,
}

/// What a statement did.
pub(crate) struct Written {
    pub(crate) count: u64,
    /// The rows of RETURNING.
    pub(crate) returned: Option<(SchemaRef, Vec<RecordBatch>)>,
}

/// Rows per write to the backend.
const CHUNK: usize = 1000;

/// A name as a table reference, folded as PostgreSQL folds it.
pub(crate) fn reference(name: &ObjectName) -> Result<TableReference> {
    let part = |part: &ObjectNamePart| {
        part.as_ident()
            .map(|i| if i.quote_style.is_some() { i.value.clone() } else { i.value.to_lowercase() })
    };
    let parts: Option<Vec<_>> = name.0.iter().map(part).collect();
    match parts.unwrap_or_default().as_slice() {
        [table] => Ok(TableReference::bare(table.as_str())),
        [schema, table] => Ok(TableReference::partial(schema.as_str(), table.as_str())),
        [catalog, schema, table] => {
            Ok(TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()))
        }
        _ => Err(Error::new(sqlstate::SYNTAX_ERROR, format!("improper qualified name: {name}"))),
    }
}

/// A query that we wrote, in the names of the user's statement.
pub(crate) fn query(sql: &str) -> Result<Statement> {
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok().and_then(|mut all| all.pop());
    let mut statement = parsed.ok_or_else(|| Error::unsupported("this form of the statement"))?;
    names::apply(&mut statement);
    Ok(statement)
}

/// The column of this name; 42703 if there is none.
fn column_of(table: &TableDef, name: &str) -> Result<usize> {
    table.schema.index_of(name).ok_or_else(|| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name.name);
        Error::new(sqlstate::UNDEFINED_COLUMN, message)
    })
}

fn column(table: &TableDef, index: usize) -> Result<&Column> {
    table.schema.columns.get(index).ok_or_else(|| Error::internal("a column index is out of range"))
}

/// The expression as a value of the column: an assignment cast, refused where PostgreSQL refuses it.
fn assigned(expr: Expr, column: &Column) -> Expr {
    semantics::assigned(typed_placeholder(expr, column), column)
}

/// A parameter that is assigned to a column has the column's type.
fn typed_placeholder(expr: Expr, column: &Column) -> Expr {
    match expr {
        Expr::Placeholder(Placeholder { id, field: None }) => {
            let field = arrow::datatypes::Field::new(&column.name, column.data_type.clone(), true);
            let field = field.with_metadata([(types::PG_TYPE.to_owned(), column.pg_type.clone())].into());
            Expr::Placeholder(Placeholder { id, field: Some(Arc::new(field)) })
        }
        other => other,
    }
}

/// `SELECT items FROM relation` over rows that were written.
fn returning_plan(
    planner: &mut Planner,
    relation: &str,
    items: &[SelectItem],
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
) -> Result<LogicalPlan> {
    let table = MemTable::try_new(schema.clone(), vec![batches]).map_err(|e| errors::datafusion(&e))?;
    planner.add_relation(relation, Arc::new(table));
    let list = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let relation = functions::quote_ident(relation);
    planner.plan(query(&format!("SELECT {list} FROM {relation}"))?)
}

/// Columns of a batch by position.
fn array(batch: &RecordBatch, index: usize) -> Result<&ArrayRef> {
    batch.columns().get(index).ok_or_else(|| Error::internal("a plan returned too few columns"))
}

/// The schema of a plan's result as clients see it.
pub(crate) fn visible_schema(plan: &LogicalPlan) -> Schema {
    let field = |field: &Arc<arrow::datatypes::Field>| {
        let name = names::visible(field.name()).to_owned();
        Arc::new(field.as_ref().clone().with_name(name))
    };
    Schema::new(plan.schema().fields().iter().map(field).collect::<Vec<_>>())
}
