//! INSERT.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, Expr as SqlExpr, Query, SelectItem, SetExpr, Statement, TableObject,
};
use epoch_adapter::{Error, Result, Row, RowWrite, TableDef, Value, sqlstate};
use futures::TryStreamExt;

use super::conflict::{self, Conflict};
use super::{CHUNK, Target, Written, array, assigned, column, column_of, reference, returning_plan};
use crate::federation::planner::{Planner, backend_of};
use crate::federation::table::exact;
use crate::federation::{convert, errors, names, types};

/// A planned INSERT.
pub(crate) struct InsertPlan {
    pub(super) table: Arc<TableDef>,
    /// The name by which RETURNING and ON CONFLICT know the table.
    pub(super) relation: String,
    /// The columns that `source` yields, in its order.
    pub(super) columns: Vec<usize>,
    /// The rows, cast to the columns' types; `None` is one row of nothing but defaults.
    pub(crate) source: Option<LogicalPlan>,
    /// Cells of VALUES that ask for the default: (row, position in `columns`).
    pub(super) defaults: Vec<(usize, usize)>,
    pub(super) conflict: Option<Conflict>,
    returning: Option<Vec<SelectItem>>,
}

impl InsertPlan {
    pub(crate) fn new(planner: &Planner, insert: &ast::Insert) -> Result<Self> {
        refuse_dialects(insert)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(Error::unsupported("INSERT into anything but a table"));
        };
        let table = planner.table(&reference(name)?)?;
        let relation = match &insert.table_alias {
            Some(alias) => folded(&alias.alias),
            None => table.name.name.clone(),
        };
        let columns = target_columns(&table, &insert.columns)?;
        let mut plan = Self {
            conflict: None,
            returning: insert.returning.clone(),
            source: None,
            defaults: Vec::new(),
            relation,
            columns,
            table,
        };
        if let Some(query) = &insert.source {
            plan.set_source(planner, query)?;
        } else {
            plan.columns.clear();
        }
        plan.refuse_generated()?;
        plan.conflict = conflict::plan(&plan.table, insert.on.as_ref())?;
        Ok(plan)
    }

    pub(crate) fn table(&self) -> &Arc<TableDef> {
        &self.table
    }

    fn set_source(&mut self, planner: &Planner, query: &Query) -> Result<()> {
        let bare = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
        let source = match query.body.as_ref() {
            SetExpr::Values(values) if bare => {
                let rows: Vec<_> = values.rows.iter().map(|row| row.as_slice()).collect();
                self.values(planner, &rows)?
            }
            _ => self.select(planner, query)?,
        };
        self.source = Some(source);
        Ok(())
    }

    /// VALUES: each cell is cast by itself, so rows may mix literals of several types.
    fn values(&mut self, planner: &Planner, rows: &[&[SqlExpr]]) -> Result<LogicalPlan> {
        let schema = DFSchema::empty();
        let width = rows.first().map_or(0, |row| row.len());
        if rows.iter().any(|row| row.len() != width) {
            return Err(Error::new(sqlstate::SYNTAX_ERROR, "VALUES lists must all be the same length"));
        }
        self.fit(width)?;
        let mut cells = Vec::with_capacity(rows.len());
        for (row_index, row) in rows.iter().enumerate() {
            let mut out = Vec::with_capacity(width);
            for (position, cell) in row.iter().enumerate() {
                let target = column(&self.table, *self.columns.get(position).unwrap_or(&usize::MAX))?;
                if is_default(cell) {
                    self.defaults.push((row_index, position));
                    out.push(assigned(Expr::Literal(ScalarValue::Null, None), target));
                    continue;
                }
                let mut cell = cell.clone();
                names::expression(&mut cell);
                out.push(assigned(planner.expression(cell, &schema)?, target));
            }
            cells.push(out);
        }
        LogicalPlanBuilder::values(cells)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| errors::datafusion(&e))
    }

    fn select(&mut self, planner: &Planner, query: &Query) -> Result<LogicalPlan> {
        let mut statement = Statement::Query(Box::new(query.clone()));
        names::apply(&mut statement);
        let plan = planner.plan(statement)?;
        let schema = plan.schema().clone();
        self.fit(schema.fields().len())?;
        let cell = |(position, (qualifier, field)): (usize, (_, &Arc<arrow::datatypes::Field>))| {
            let index = self.columns.get(position).copied().unwrap_or(usize::MAX);
            // As in PostgreSQL, a bare literal in the SELECT list takes the column's type.
            let literal = match &plan {
                LogicalPlan::Projection(p) => p.expr.get(position).map(|e| e.clone().unalias()),
                _ => None,
            };
            let source = match literal {
                Some(literal @ (Expr::Literal(..) | Expr::Placeholder(_))) => literal,
                _ => Expr::from((qualifier, field)),
            };
            Ok(assigned(source, column(&self.table, index)?).alias(format!("c{position}")))
        };
        let cells = schema.iter().enumerate().map(cell).collect::<Result<Vec<_>>>()?;
        LogicalPlanBuilder::from(plan.clone())
            .project(cells)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| errors::datafusion(&e))
    }

    /// Without a column list, fewer expressions than columns leave the last columns to their defaults.
    fn fit(&mut self, width: usize) -> Result<()> {
        if width > self.columns.len() {
            return Err(Error::new(
                sqlstate::SYNTAX_ERROR,
                "INSERT has more expressions than target columns",
            ));
        }
        let listed = self.columns.len() != self.table.schema.columns.len();
        if width < self.columns.len() && listed {
            return Err(Error::new(
                sqlstate::SYNTAX_ERROR,
                "INSERT has more target columns than expressions",
            ));
        }
        self.columns.truncate(width);
        Ok(())
    }

    fn refuse_generated(&self) -> Result<()> {
        for (position, index) in self.columns.iter().enumerate() {
            let column = column(&self.table, *index)?;
            let all_defaults = self.source.is_none() || {
                let asked = self.defaults.iter().filter(|(_, p)| *p == position).count();
                asked > 0 && asked == self.defaults.iter().map(|(row, _)| row + 1).max().unwrap_or(0)
            };
            if column.generated && !all_defaults {
                let message = format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name);
                return Err(Error::new("428C9", message)
                    .with_detail(format!("Column \"{}\" is a generated column.", column.name)));
            }
        }
        Ok(())
    }

    pub(super) fn wants_rows(&self) -> bool {
        self.returning.is_some()
    }

    /// The plan of RETURNING over `batches` of whole rows.
    pub(crate) fn returning(
        &self,
        planner: &mut Planner,
        batches: Vec<RecordBatch>,
    ) -> Result<Option<LogicalPlan>> {
        let Some(items) = &self.returning else { return Ok(None) };
        let adapter = backend_of(&planner.repository, &self.table)?;
        let schema = Arc::new(exact(&types::table_schema(&self.table, &adapter.arrow_schema(&self.table))));
        returning_plan(planner, &self.relation, items, &schema, batches).map(Some)
    }

    pub(crate) async fn execute(self, planner: &mut Planner, target: &Target) -> Result<Written> {
        if self.conflict.is_some() {
            let rows = self.rows(planner).await?;
            return conflict::execute(self, planner, target, rows).await;
        }
        if self.returning.is_some() {
            let writes = self.rows(planner).await?.into_iter().map(RowWrite::Insert).collect::<Vec<_>>();
            let rows = write_returning(target, &writes).await?;
            return self.written(planner, u64::try_from(rows.len()).unwrap_or(0), rows).await;
        }
        Ok(Written { count: self.stream(planner, target).await?, returned: None })
    }

    /// The result, with RETURNING of `rows` if it was asked for.
    pub(super) async fn written(&self, planner: &mut Planner, count: u64, rows: Vec<Row>) -> Result<Written> {
        if self.returning.is_none() {
            return Ok(Written { count, returned: None });
        }
        let adapter = backend_of(&planner.repository, &self.table)?;
        let schema = Arc::new(exact(&types::table_schema(&self.table, &adapter.arrow_schema(&self.table))));
        let batch = convert::batch_of(&rows, &schema)?;
        let plan = self.returning(planner, vec![batch])?;
        let plan = plan.ok_or_else(|| Error::internal("no RETURNING"))?;
        let stream = planner.run(plan).await?;
        let schema = stream.schema();
        let batches = stream.try_collect().await.map_err(|e| errors::datafusion(&e))?;
        Ok(Written { count, returned: Some((schema, batches)) })
    }

    async fn stream(&self, planner: &Planner, target: &Target) -> Result<u64> {
        let Some(source) = self.source.clone() else {
            let writes = [RowWrite::Insert(vec![None; self.table.schema.columns.len()])];
            return target.transaction.write(&target.table, target.layer, &writes).await;
        };
        let mut stream = planner.run(source).await?;
        let (mut count, mut before) = (0, 0);
        while let Some(batch) = stream.try_next().await.map_err(|e| errors::datafusion(&e))? {
            let writes: Vec<_> = self.cells(&batch, before)?.into_iter().map(RowWrite::Insert).collect();
            before += batch.num_rows();
            for chunk in writes.chunks(CHUNK) {
                count += target.transaction.write(&target.table, target.layer, chunk).await?;
            }
        }
        Ok(count)
    }

    /// All rows to insert; `None` cells are defaults.
    async fn rows(&self, planner: &Planner) -> Result<Vec<Vec<Option<Value>>>> {
        let Some(source) = self.source.clone() else {
            return Ok(vec![vec![None; self.table.schema.columns.len()]]);
        };
        let mut stream = planner.run(source).await?;
        let mut rows = Vec::new();
        while let Some(batch) = stream.try_next().await.map_err(|e| errors::datafusion(&e))? {
            let before = rows.len();
            rows.extend(self.cells(&batch, before)?);
        }
        Ok(rows)
    }

    fn cells(&self, batch: &RecordBatch, before: usize) -> Result<Vec<Vec<Option<Value>>>> {
        let kind = self.table.location.kind;
        let mut rows = vec![vec![None; self.table.schema.columns.len()]; batch.num_rows()];
        for (position, index) in self.columns.iter().enumerate() {
            let cells =
                convert::cast_array(array(batch, position)?, &column(&self.table, *index)?.data_type)?;
            for (row, out) in rows.iter_mut().enumerate() {
                if self.defaults.contains(&(before + row, position)) {
                    continue;
                }
                if let Some(cell) = out.get_mut(*index) {
                    *cell = Some(convert::stored(&cells, row, kind, column(&self.table, *index)?)?);
                }
            }
        }
        Ok(rows)
    }
}

pub(super) async fn write_returning(target: &Target, writes: &[RowWrite]) -> Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(writes.len());
    for chunk in writes.chunks(CHUNK) {
        rows.extend(target.transaction.write_returning(&target.table, target.layer, chunk).await?);
    }
    Ok(rows)
}

fn target_columns(table: &TableDef, names: &[ast::ObjectName]) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..table.schema.columns.len()).collect());
    }
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let name = reference(name)?;
        let index = column_of(table, name.table())?;
        if columns.contains(&index) {
            let message = format!("column \"{}\" specified more than once", name.table());
            return Err(Error::new("42701", message));
        }
        columns.push(index);
    }
    Ok(columns)
}

pub(super) fn is_default(expr: &SqlExpr) -> bool {
    matches!(expr, SqlExpr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default"))
}

pub(super) fn folded(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The parser knows the INSERTs of many dialects; here only PostgreSQL's means something.
fn refuse_dialects(insert: &ast::Insert) -> Result<()> {
    let foreign = insert.or.is_some()
        || insert.ignore
        || insert.overwrite
        || insert.replace_into
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.output.is_some()
        || insert.settings.is_some()
        || insert.format_clause.is_some()
        || !insert.multi_table_into_clauses.is_empty();
    if foreign { Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error in INSERT")) } else { Ok(()) }
}
