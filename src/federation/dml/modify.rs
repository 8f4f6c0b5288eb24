//! UPDATE and DELETE.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Column as DfColumn, DFSchema, ScalarValue};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, Assignment, AssignmentTarget, Expr as SqlExpr, FromTable, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, UpdateTableFromKind,
};
use epoch_adapter::{Error, Result, Row, RowWrite, TableDef, Value, sqlstate};
use futures::TryStreamExt;

use super::insert::{folded, is_default};
use super::{CHUNK, Target, Written, array, assigned, column, column_of, query, reference};
use crate::federation::planner::Planner;
use crate::federation::{convert, errors, merged, names, semantics};

/// A planned UPDATE or DELETE: a query for the key, the new values and the RETURNING columns of each
/// affected row.
pub(crate) struct ModifyPlan {
    table: Arc<TableDef>,
    pub(crate) plan: LogicalPlan,
    /// The columns that are set; `None` deletes.
    set: Option<Vec<usize>>,
    returning: bool,
}

impl ModifyPlan {
    pub(crate) fn update(planner: &Planner, update: &ast::Update) -> Result<Self> {
        if update.or.is_some()
            || !update.order_by.is_empty()
            || update.limit.is_some()
            || update.output.is_some()
        {
            return Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error in UPDATE"));
        }
        let from = match &update.from {
            None => &[][..],
            Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) => from,
        };
        let target = Rows::new(planner, &update.table, from, update.selection.as_ref())?;
        let schema = target.plan.schema().clone();
        let set = assignments(planner, &target.table, &update.assignments, &schema)?;
        target.finish(planner, Some(set), update.returning.as_deref())
    }

    pub(crate) fn delete(planner: &Planner, delete: &ast::Delete) -> Result<Self> {
        let foreign = !delete.tables.is_empty() || !delete.order_by.is_empty() || delete.limit.is_some();
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let ([table], false) = (from.as_slice(), foreign || delete.output.is_some()) else {
            return Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error in DELETE"));
        };
        let using = delete.using.as_deref().unwrap_or_default();
        let target = Rows::new(planner, table, using, delete.selection.as_ref())?;
        target.finish(planner, None, delete.returning.as_deref())
    }

    pub(crate) fn table(&self) -> &Arc<TableDef> {
        &self.table
    }

    /// Whether it has RETURNING.
    pub(crate) fn is_returning(&self) -> bool {
        self.returning
    }

    /// The schema of RETURNING; `analyzed` is the plan with its types settled.
    pub(crate) fn returning(&self, analyzed: &LogicalPlan) -> Option<Schema> {
        self.returning.then(|| {
            let schema = super::visible_schema(analyzed);
            Schema::new(schema.fields().iter().skip(self.returned_from()).cloned().collect::<Vec<_>>())
        })
    }

    fn returned_from(&self) -> usize {
        self.table.schema.key.len() + self.set.as_ref().map_or(0, Vec::len)
    }

    pub(crate) async fn execute(self, planner: &Planner, target: &Target) -> Result<Written> {
        let mut stream = planner.run(self.plan.clone()).await?;
        let skip = self.returned_from();
        let indexes: Vec<_> = (skip..stream.schema().fields().len()).collect();
        let returned_schema = Arc::new(stream.schema().project(&indexes).map_err(|e| errors::arrow(&e))?);
        let (mut count, mut seen, mut returned) = (0, HashSet::new(), Vec::new());
        // All rows are found before the first is written: a statement doesn't see its own changes.
        let mut found = Vec::new();
        while let Some(batch) = stream.try_next().await.map_err(|e| errors::datafusion(&e))? {
            let (writes, kept) = self.writes(&batch, &mut seen)?;
            if self.returning {
                let rows = batch.project(&indexes).and_then(|b| {
                    arrow::compute::filter_record_batch(&b, &arrow::array::BooleanArray::from(kept))
                });
                returned.push(rows.map_err(|e| errors::arrow(&e))?);
            }
            found.extend(writes);
        }
        drop(stream);
        for chunk in found.chunks(CHUNK) {
            count += target.transaction.write(&target.table, target.layer, chunk).await?;
        }
        Ok(Written { count, returned: self.returning.then_some((returned_schema, returned)) })
    }

    /// One write per key; a row that joins with several others is changed once, as in PostgreSQL.
    fn writes(&self, batch: &RecordBatch, seen: &mut HashSet<Row>) -> Result<(Vec<RowWrite>, Vec<bool>)> {
        let kind = self.table.location.kind;
        let keys = self.table.schema.key.len();
        let mut cells = Vec::with_capacity(self.returned_from());
        for (position, index) in self.table.schema.key.iter().chain(self.set.iter().flatten()).enumerate() {
            cells
                .push(convert::cast_array(array(batch, position)?, &column(&self.table, *index)?.data_type)?);
        }
        let (key_cells, set_cells) = cells.split_at_checked(keys).unwrap_or((&cells, &[]));
        let (mut writes, mut kept) = (Vec::new(), Vec::with_capacity(batch.num_rows()));
        for row in 0..batch.num_rows() {
            let key: Row =
                key_cells.iter().map(|c| convert::value_of(c, row, kind)).collect::<Result<_>>()?;
            let first = seen.insert(key.clone());
            kept.push(first);
            if !first {
                continue;
            }
            let Some(set) = &self.set else {
                writes.push(RowWrite::Delete { key });
                continue;
            };
            let value = |(index, cells): (&usize, _)| {
                Ok((*index, convert::stored(cells, row, kind, column(&self.table, *index)?)?))
            };
            let set: Vec<(usize, Value)> = set.iter().zip(set_cells).map(value).collect::<Result<_>>()?;
            writes.push(RowWrite::Update { key, set });
        }
        Ok((writes, kept))
    }
}

/// The rows that a statement concerns: `SELECT * FROM target, others WHERE …`.
struct Rows {
    table: Arc<TableDef>,
    relation: String,
    plan: LogicalPlan,
}

impl Rows {
    fn new(
        planner: &Planner,
        target: &TableWithJoins,
        others: &[TableWithJoins],
        selection: Option<&SqlExpr>,
    ) -> Result<Self> {
        let TableFactor::Table { name, alias, args: None, .. } = &target.relation else {
            return Err(Error::unsupported("changing anything but a table"));
        };
        if !target.joins.is_empty() {
            return Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error at or near \"JOIN\""));
        }
        if let Some(SqlExpr::Function(f)) = selection
            && f.name.to_string().eq_ignore_ascii_case("current_of")
        {
            return Err(Error::unsupported("WHERE CURRENT OF"));
        }
        if others.iter().any(merged::merges) {
            return Err(Error::unsupported("USING or NATURAL in FROM of an UPDATE or USING of a DELETE")
                .with_hint("Use ON."));
        }
        let table = planner.table(&reference(name)?)?;
        let relation = alias.as_ref().map_or_else(|| table.name.name.clone(), |a| folded(&a.name));
        let mut sql = format!("SELECT * FROM {target}");
        for other in others {
            sql.push_str(&format!(", {other}"));
        }
        if let Some(selection) = selection {
            sql.push_str(&format!(" WHERE {selection}"));
        }
        let plan = planner.plan(query(&sql)?)?;
        Ok(Self { table, relation, plan })
    }

    fn finish(
        self,
        planner: &Planner,
        set: Option<Vec<(usize, Expr)>>,
        returning: Option<&[SelectItem]>,
    ) -> Result<ModifyPlan> {
        let schema = self.plan.schema().clone();
        let own = |index: usize| -> Result<DfColumn> {
            let name = &column(&self.table, index)?.name;
            let found = schema.iter().find(|(qualifier, field)| {
                field.name() == name && qualifier.is_some_and(|q| q.table() == self.relation)
            });
            found.map(DfColumn::from).ok_or_else(|| Error::internal("a key column is not in the plan"))
        };
        let mut cells = Vec::new();
        for (position, index) in self.table.schema.key.iter().enumerate() {
            cells.push(Expr::Column(own(*index)?).alias(format!("key {position}")));
        }
        for (position, (_, expr)) in set.iter().flatten().enumerate() {
            cells.push(expr.clone().alias(format!("set {position}")));
        }
        let mut plan = self.plan.clone();
        if let Some(items) = returning {
            // The rows as they will be, so that sub-queries see their columns, too.
            let new: Vec<(DfColumn, Expr)> = set
                .iter()
                .flatten()
                .map(|(index, expr)| Ok((own(*index)?, expr.clone())))
                .collect::<Result<_>>()?;
            let count = cells.len();
            for column in schema.iter().map(DfColumn::from) {
                let value = new.iter().find(|(old, _)| *old == column).map(|(_, value)| value.clone());
                let value = value.unwrap_or_else(|| Expr::Column(column.clone()));
                cells.push(value.alias_qualified(column.relation.clone(), &column.name));
            }
            plan = project(plan, cells)?;
            let renewed = plan.schema().clone();
            cells = renewed.iter().take(count).map(Expr::from).collect();
            let columns = DFSchema::new_with_metadata(
                renewed.iter().skip(count).map(|(q, f)| (q.cloned(), f.clone())).collect(),
                Default::default(),
            );
            let columns = columns.map_err(|e| errors::datafusion(&e))?;
            cells.extend(self.returning(planner, items, &columns, !new.is_empty())?);
        }
        let plan = project(plan, cells)?;
        let set = set.map(|set| set.into_iter().map(|(index, _)| index).collect());
        Ok(ModifyPlan { table: self.table, plan, set, returning: returning.is_some() })
    }

    /// The RETURNING columns, over the rows as they will be.
    fn returning(
        &self,
        planner: &Planner,
        items: &[SelectItem],
        schema: &DFSchema,
        updates: bool,
    ) -> Result<Vec<Expr>> {
        if updates && self.table.schema.columns.iter().any(|c| c.generated) {
            return Err(Error::unsupported("UPDATE … RETURNING on a table with generated columns"));
        }
        let mut items = items.to_vec();
        names::items(&mut items);
        let mut out: Vec<Expr> = Vec::new();
        for item in items {
            match item {
                SelectItem::Wildcard(_) => {
                    out.extend(schema.iter().map(|c| named(Expr::from(c), c.1.name())))
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let relation = reference(&name)?;
                    let of = |c: &(Option<&datafusion::common::TableReference>, _)| {
                        c.0.is_some_and(|q| q.table() == relation.table())
                    };
                    out.extend(schema.iter().filter(of).map(|c| named(Expr::from(c), c.1.name())));
                }
                SelectItem::UnnamedExpr(mut expr) => {
                    names::expression(&mut expr);
                    let name = names::of(&expr);
                    out.push(planner.expression(expr, schema)?.alias(name));
                }
                SelectItem::ExprWithAlias { mut expr, alias } => {
                    names::expression(&mut expr);
                    out.push(planner.expression(expr, schema)?.alias(folded(&alias)));
                }
                other => return Err(Error::unsupported(format!("{other} in RETURNING"))),
            }
        }
        names::distinct(out)
    }
}

fn named(expr: Expr, name: &str) -> Expr {
    expr.alias(name)
}

fn project(plan: LogicalPlan, columns: Vec<Expr>) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| errors::datafusion(&e))
}

/// `SET a = 1, (b, c) = (2, 3), d = DEFAULT` as column indexes and values of the columns' types.
pub(super) fn assignments(
    planner: &Planner,
    table: &TableDef,
    assignments: &[Assignment],
    schema: &DFSchema,
) -> Result<Vec<(usize, Expr)>> {
    let mut set: Vec<(usize, Expr)> = Vec::new();
    for assignment in assignments {
        let pairs = match (&assignment.target, &assignment.value) {
            (AssignmentTarget::ColumnName(name), value) => vec![(name, value)],
            (AssignmentTarget::Tuple(names), SqlExpr::Tuple(values)) if names.len() == values.len() => {
                names.iter().zip(values).collect()
            }
            (AssignmentTarget::Tuple(_), SqlExpr::Tuple(_)) => {
                let message = "number of columns does not match number of values";
                return Err(Error::new(sqlstate::SYNTAX_ERROR, message));
            }
            _ => return Err(Error::unsupported("a multiple-column assignment from a query")),
        };
        for (name, value) in pairs {
            let index = column_of(table, reference(name)?.table())?;
            let target = column(table, index)?;
            if target.generated {
                let message = format!("column \"{}\" can only be updated to DEFAULT", target.name);
                return Err(Error::new("428C9", message));
            }
            if set.iter().any(|(i, _)| *i == index) {
                let message = format!("multiple assignments to same column \"{}\"", target.name);
                return Err(Error::new(sqlstate::SYNTAX_ERROR, message));
            }
            let expr = if is_default(value) {
                default(planner, target)?
            } else {
                expression(planner, value, schema)?
            };
            set.push((index, assigned(expr, target)));
        }
    }
    Ok(set)
}

fn expression(planner: &Planner, value: &SqlExpr, schema: &DFSchema) -> Result<Expr> {
    let mut value = value.clone();
    names::expression(&mut value);
    planner.expression(value, schema)
}

/// A default is SQL of the backend; what reads the same here is computed here.
fn default(planner: &Planner, target: &epoch_adapter::Column) -> Result<Expr> {
    let Some(sql) = &target.default else { return Ok(Expr::Literal(ScalarValue::Null, None)) };
    let refuse = || Error::unsupported(format!("SET {} = DEFAULT, whose default is {sql},", target.name));
    let dialect = datafusion::sql::sqlparser::dialect::PostgreSqlDialect {};
    let parsed = datafusion::sql::sqlparser::parser::Parser::new(&dialect).try_with_sql(sql);
    let parsed = parsed.and_then(|mut parser| parser.parse_expr()).map_err(|_| refuse())?;
    let value = planner.expression(parsed, &DFSchema::empty()).map_err(|_| refuse())?;
    // Not an assignment: the backend's own literal, e.g. 0 for false.
    match value {
        text @ Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Null, _) => Ok(text),
        value => Ok(Expr::Cast(Cast::new_from_field(Box::new(value), semantics::field_of(target)))),
    }
}
