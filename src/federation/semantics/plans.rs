//! What plans do with whole rows: sorting, grouping, joining, uniting.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, JoinConstraint, JoinType, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{
    Aggregate, Cast, Distinct, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    RecursiveQuery, Sort, Union, Values,
};
use epoch_adapter::{Error, Result, sqlstate};

use super::super::errors;
use super::call::{Body, Spec, typed};
use super::datum::Datum;
use super::kinds::{self, Kind};
use super::operators::{self, key, refused};
use super::{casts, choice};

/// A node whose expressions are resolved already.
pub(crate) fn checked(
    plan: LogicalPlan,
    schema: &DFSchema,
    zone: &str,
    lenient: bool,
) -> DfResult<LogicalPlan> {
    let before = lenient.then(|| plan.clone());
    match (node(plan, schema, zone), before) {
        (Ok(plan), _) | (Err(_), Some(plan)) => Ok(plan),
        (Err(error), None) => Err(errors::wrap(error)),
    }
}

fn node(plan: LogicalPlan, schema: &DFSchema, zone: &str) -> Result<LogicalPlan> {
    check_places(&plan)?;
    Ok(match plan {
        LogicalPlan::Filter(mut filter) => {
            filter.predicate = operators::boolean(filter.predicate, "WHERE", schema, zone)?;
            LogicalPlan::Filter(filter)
        }
        LogicalPlan::Sort(mut sort) => {
            sorted(&mut sort, schema, zone)?;
            LogicalPlan::Sort(sort)
        }
        LogicalPlan::Aggregate(aggregate) => {
            groups(&aggregate, schema)?;
            LogicalPlan::Aggregate(aggregate)
        }
        LogicalPlan::Distinct(distinct) => {
            let input = match &distinct {
                Distinct::All(input) => input,
                Distinct::On(on) => {
                    for expr in &on.on_expr {
                        distinguishable(kinds::of(expr, schema)?, &kinds::type_of(expr, schema)?)?;
                    }
                    return Ok(LogicalPlan::Distinct(distinct));
                }
            };
            for field in input.schema().fields() {
                distinguishable(kinds::of_field(field), field.data_type())?;
            }
            LogicalPlan::Distinct(distinct)
        }
        LogicalPlan::Join(join) => LogicalPlan::Join(joined(join, zone)?),
        LogicalPlan::Union(union) => LogicalPlan::Union(united(union, zone)?),
        LogicalPlan::RecursiveQuery(query) => LogicalPlan::RecursiveQuery(recursive(query)?),
        other => other,
    })
}

fn sorted(sort: &mut Sort, schema: &DFSchema, zone: &str) -> Result<()> {
    for item in &mut sort.expr {
        let kind = kinds::of(&item.expr, schema)?;
        item.expr = ordered(std::mem::take(&mut item.expr), kind, schema, zone)?;
    }
    Ok(())
}

/// What sorts as PostgreSQL sorts the value.
pub(crate) fn ordered(expr: Expr, kind: Kind, schema: &DFSchema, zone: &str) -> Result<Expr> {
    match kind {
        Kind::Json => Err(Error::new(
            sqlstate::UNDEFINED_FUNCTION,
            "could not identify an ordering operator for type json",
        )),
        Kind::Jsonb | Kind::Interval | Kind::Array | Kind::Record | Kind::Bpchar | Kind::Other => {
            Err(refused(format!("sorting by {}", kind.name())))
        }
        Kind::Numeric if kinds::type_of(&expr, schema)? == DataType::LargeUtf8 => Ok(key(expr, zone)),
        _ => Ok(expr),
    }
}

/// What is equal where PostgreSQL takes values for equal.
pub(crate) fn grouped(expr: Expr, kind: Kind, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let data_type = kinds::type_of(&expr, schema)?;
    if data_type == DataType::LargeUtf8 {
        return Ok(key(expr, zone));
    }
    distinguishable(kind, &data_type)?;
    Ok(expr)
}

fn distinguishable(kind: Kind, data_type: &DataType) -> Result<()> {
    match kind {
        Kind::Json => Err(Error::new(
            sqlstate::UNDEFINED_FUNCTION,
            "could not identify an equality operator for type json",
        )),
        Kind::Jsonb | Kind::Interval | Kind::Record | Kind::Bpchar | Kind::Other => {
            Err(refused(format!("grouping by {}", kind.name())))
        }
        Kind::Numeric if *data_type == DataType::LargeUtf8 => {
            Err(refused("grouping by a numeric whose scale differs from row to row")
                .with_hint("Cast it to numeric(p,s), or round it: round(x, 2)."))
        }
        _ => Ok(()),
    }
}

fn groups(aggregate: &Aggregate, schema: &DFSchema) -> Result<()> {
    let sets = aggregate.group_expr.iter().flat_map(|expr| match expr {
        Expr::GroupingSet(set) => set.distinct_expr().into_iter().cloned().collect::<Vec<_>>(),
        other => vec![other.clone()],
    });
    for expr in sets {
        distinguishable(kinds::of(&expr, schema)?, &kinds::type_of(&expr, schema)?)?;
    }
    Ok(())
}

fn joined(mut join: Join, zone: &str) -> Result<Join> {
    if join.join_constraint == JoinConstraint::Using
        && matches!(join.join_type, JoinType::Right | JoinType::Full)
    {
        return Err(refused("a RIGHT or FULL JOIN with USING in this place"));
    }
    let (left, right) = (join.left.schema().clone(), join.right.schema().clone());
    let pair = |(l, r): (Expr, Expr)| operators::comparable((l, &left), Operator::Eq, (r, &right), zone);
    join.on = std::mem::take(&mut join.on).into_iter().map(pair).collect::<Result<_>>()?;
    if let Some(filter) = join.filter.take() {
        let schema = left.join(&right).map_err(|e| errors::datafusion(&e))?;
        join.filter = Some(operators::boolean(filter, "JOIN/ON", &schema, zone)?);
    }
    Ok(join)
}

/// The branches of a UNION in one type per column.
fn united(union: Union, zone: &str) -> Result<Union> {
    let width = union.schema.fields().len();
    let mut targets = Vec::with_capacity(width);
    for index in 0..width {
        let of = |input: &Arc<LogicalPlan>| {
            let field = input.schema().fields().get(index).cloned();
            let field = field.ok_or_else(|| Error::internal("a branch of UNION is too narrow"))?;
            let kind = if is_literal(input, index) { Kind::Unknown } else { kinds::of_field(&field) };
            Ok((kind, field.data_type().clone()))
        };
        let columns = union.inputs.iter().map(of).collect::<Result<Vec<_>>>()?;
        let own: Vec<_> = columns.iter().map(|(kind, _)| *kind).collect();
        let kind = choice::common(&own, "UNION")?;
        let types: Vec<_> =
            columns.iter().filter(|(k, _)| *k != Kind::Unknown).map(|(_, t)| t.clone()).collect();
        let internal = own.iter().any(|k| matches!(k, Kind::Internal | Kind::Array | Kind::Record));
        targets.push((!internal).then(|| (kind, choice::common_type(kind, &types, zone))));
    }
    let inputs = union.inputs.iter().map(|input| as_types(input, &targets, zone).map(Arc::new));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    Union::try_new_with_loose_types(inputs).map_err(|e| errors::datafusion(&e))
}

/// Whether a branch's column is a bare literal.
fn is_literal(plan: &LogicalPlan, index: usize) -> bool {
    let LogicalPlan::Projection(projection) = plan else { return false };
    let bare = projection.expr.get(index).map(|e| e.clone().unalias());
    matches!(bare, Some(Expr::Literal(ScalarValue::Utf8(_), None) | Expr::Literal(ScalarValue::Null, _)))
}

fn as_types(
    plan: &Arc<LogicalPlan>,
    targets: &[Option<(Kind, DataType)>],
    zone: &str,
) -> Result<LogicalPlan> {
    let schema = plan.schema();
    let literals = match plan.as_ref() {
        LogicalPlan::Projection(projection) => Some(projection),
        _ => None,
    };
    let mut columns = Vec::with_capacity(targets.len());
    let mut changed = false;
    for (index, target) in targets.iter().enumerate() {
        let (qualifier, field) = schema.qualified_field(index);
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let literal = literals.filter(|_| is_literal(plan, index)).and_then(|p| p.expr.get(index));
        let value = literal.map_or(column, |l| l.clone().unalias());
        let Some((kind, data_type)) = target else {
            columns.push(value);
            continue;
        };
        let same = field.data_type() == data_type && kinds::of_field(field) == *kind;
        changed |= !same;
        let cast = if same { value } else { choice::as_type(value, *kind, data_type, schema, zone)? };
        columns.push(cast.alias_qualified(qualifier.cloned(), field.name()));
    }
    if !changed {
        return Ok(plan.as_ref().clone());
    }
    let built = LogicalPlanBuilder::from(plan.clone()).project(columns).and_then(LogicalPlanBuilder::build);
    built.map_err(|e| errors::datafusion(&e))
}

/// VALUES: a column has the type that its cells have in common.
pub(crate) fn values(values: Values, zone: &str) -> DfResult<LogicalPlan> {
    let schema = DFSchema::empty();
    let mut rows = Vec::with_capacity(values.values.len());
    for row in values.values {
        let mut cells = Vec::with_capacity(row.len());
        for cell in row {
            let mut resolver = super::resolver::Resolver { schema: &schema, zone, lenient: false };
            cells.push(datafusion::common::tree_node::TreeNode::rewrite(untyped(cell), &mut resolver)?.data);
        }
        rows.push(cells);
    }
    let width = rows.first().map_or(0, Vec::len);
    for index in 0..width {
        let column: Vec<Expr> = rows.iter().filter_map(|row| row.get(index).cloned()).collect();
        let (unified, kind) = one_type(column, &schema, zone).map_err(errors::wrap)?;
        for (row, cell) in rows.iter_mut().zip(unified) {
            if let Some(place) = row.get_mut(index) {
                *place = alike(cell, kind, &schema, zone).map_err(errors::wrap)?;
            }
        }
    }
    LogicalPlanBuilder::values(rows)?.build()
}

/// The cells of a column of VALUES in one type; those of a column that is written have it already.
fn one_type(column: Vec<Expr>, schema: &DFSchema, zone: &str) -> Result<(Vec<Expr>, Kind)> {
    let kinds = column.iter().map(|e| kinds::of(e, schema)).collect::<Result<Vec<_>>>()?;
    let types = column.iter().map(|e| kinds::type_of(e, schema)).collect::<Result<Vec<_>>>()?;
    match (kinds.first(), types.first()) {
        (Some(kind), Some(first))
            if *kind != Kind::Unknown
                && kinds.iter().all(|k| k == kind)
                && types.iter().all(|t| t == first) =>
        {
            Ok((column, *kind))
        }
        _ => choice::unified(column, "VALUES", schema, zone),
    }
}

/// VALUES wants all cells of a column to say the same about themselves.
fn alike(cell: Expr, kind: Kind, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let cell = match (cell, kind.tag()) {
        (Expr::Literal(value, _), None) => return Ok(Expr::Literal(value, None)),
        (Expr::Literal(value, _), Some(_)) => Expr::Literal(value, Some(typed())),
        (cell, _) => cell,
    };
    let (_, field) = cell.to_field(schema).map_err(|e| errors::datafusion(&e))?;
    let says: Vec<&str> = field.metadata().values().map(String::as_str).collect();
    if says == kind.tag().into_iter().collect::<Vec<_>>() {
        return Ok(cell);
    }
    let body: Body = |a, _| Ok(a.first().cloned().unwrap_or(Datum::Null));
    let spec = Spec { name: "value", strict: true, body, zone };
    let data_type = field.data_type().clone();
    Ok(match spec.call(vec![cell], kind, data_type) {
        Expr::Literal(value, _) => Expr::Literal(value, None),
        call => call,
    })
}

/// A literal without the cast that the planner gave it to suit its neighbours. Such a cast has no name.
fn untyped(cell: Expr) -> Expr {
    match cell {
        Expr::Literal(value, None) if value.is_null() => Expr::Literal(ScalarValue::Null, None),
        Expr::Cast(Cast { expr, field }) if field.name().is_empty() => match (*expr, field.data_type()) {
            (
                Expr::Literal(value @ (ScalarValue::Decimal128(..) | ScalarValue::Int64(_)), meta),
                DataType::Decimal128(..) | DataType::Float64,
            ) => Expr::Literal(value, meta),
            (
                Expr::Literal(value @ (ScalarValue::Int64(_) | ScalarValue::Decimal128(..)), meta),
                DataType::Utf8,
            ) => Expr::Literal(value, meta),
            (Expr::Literal(value @ (ScalarValue::Utf8(_) | ScalarValue::Null), None), _) => {
                Expr::Literal(value, None)
            }
            (expr, _) => Expr::Cast(Cast { expr: Box::new(expr), field }),
        },
        other => other,
    }
}

/// The recursive term yields what the first one does.
fn recursive(mut query: RecursiveQuery) -> Result<RecursiveQuery> {
    let mut found = None;
    let visited = query.recursive_term.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.table() == query.name
        {
            found = Some(scan.source.schema());
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    });
    visited.map_err(|e| errors::datafusion(&e))?;
    let Some(wanted) = found else { return Ok(query) };
    let cast = |plan: &Arc<LogicalPlan>| -> Result<Arc<LogicalPlan>> {
        let schema = plan.schema();
        let columns = schema.iter().zip(wanted.fields()).map(|((qualifier, field), wanted)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let (from, to) = (kinds::of_field(field), kinds::of_field(wanted));
            if field.data_type() == wanted.data_type() {
                return Ok(column);
            }
            if !(from.is_integer() && to.is_integer()) {
                return Err(refused(format!(
                    "a recursive query whose terms are of {} and {}",
                    to.name(),
                    from.name()
                )));
            }
            let cast = Expr::Cast(Cast::new(Box::new(column), wanted.data_type().clone()));
            Ok(cast.alias_qualified(qualifier.cloned(), field.name()))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let built =
            LogicalPlanBuilder::from(plan.clone()).project(columns).and_then(LogicalPlanBuilder::build);
        built.map(Arc::new).map_err(|e| errors::datafusion(&e))
    };
    query.static_term = cast(&query.static_term)?;
    query.recursive_term = cast(&query.recursive_term)?;
    Ok(query)
}

/// `x IN (SELECT …)`
pub(crate) fn check_in(subquery: &mut InSubquery, schema: &DFSchema, zone: &str) -> Result<()> {
    let inner = subquery.subquery.subquery.schema().clone();
    let Some(field) = inner.fields().first() else { return Ok(()) };
    let (l, r) = (kinds::of(&subquery.expr, schema)?, kinds::of_field(field));
    if l == Kind::Unknown {
        let expr = std::mem::take(subquery.expr.as_mut());
        *subquery.expr = casts::coerce(expr, r, schema, zone)?;
        return Ok(());
    }
    same_kind(l, r)?;
    let wide = |t: &DataType| *t == DataType::LargeUtf8;
    if wide(&kinds::type_of(&subquery.expr, schema)?) || wide(field.data_type()) {
        return Err(refused("IN (SELECT …) of a numeric whose scale differs from row to row"));
    }
    Ok(())
}

/// Where DataFusion's IN (SELECT …) may stand: it doesn't know NULL from false, so only where nobody can tell.
pub(crate) fn check_places(plan: &LogicalPlan) -> Result<()> {
    let within = |expr: &Expr| expr.exists(|e| Ok(matches!(e, Expr::InSubquery(_)))).unwrap_or(true);
    let refuse = || refused("IN (SELECT …) in this place");
    if let LogicalPlan::Filter(filter) = plan {
        return if told_apart(&filter.predicate, true) { Err(refuse()) } else { Ok(()) };
    }
    if plan.expressions().iter().any(within) { Err(refuse()) } else { Ok(()) }
}

/// Whether an IN (SELECT …) is where NULL and false are told apart. `all`: only AND is above.
fn told_apart(expr: &Expr, all: bool) -> bool {
    match expr {
        Expr::Alias(alias) => told_apart(&alias.expr, all),
        Expr::BinaryExpr(b) if b.op == Operator::And => told_apart(&b.left, all) || told_apart(&b.right, all),
        Expr::BinaryExpr(b) if b.op == Operator::Or => {
            told_apart(&b.left, false) || told_apart(&b.right, false)
        }
        Expr::InSubquery(subquery) => subquery.negated && !all,
        Expr::Not(inner) if all && matches!(inner.as_ref(), Expr::InSubquery(s) if !s.negated) => false,
        other => other.exists(|e| Ok(matches!(e, Expr::InSubquery(_)))).unwrap_or(true),
    }
}

fn same_kind(l: Kind, r: Kind) -> Result<()> {
    let same = l == r || (l.is_number() && r.is_number()) || (l.is_text() && r.is_text());
    match l {
        _ if !same => Err(operators::undefined(l, "=", r)),
        Kind::Json => Err(operators::undefined(l, "=", r)),
        Kind::Jsonb | Kind::Interval | Kind::Array | Kind::Record | Kind::Bpchar | Kind::Other => {
            Err(refused(format!("a comparison of {}", l.name())))
        }
        _ => Ok(()),
    }
}
