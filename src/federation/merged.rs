//! USING and NATURAL, whose columns are one column of both sides.
//!
//! DataFusion takes the left side's for it, whatever the join is, and `*` shows the columns in another order. So such a
//! join is written with ON before it is planned: the merged column stands for its name, and `*` is spelled out.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use arrow::datatypes::Field;
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Cte, Distinct, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TableWithJoins, Value, VisitMut,
    VisitorMut, With, visit_relations,
};
use epoch_adapter::{Error, Result, sqlstate};

use super::dml;
use super::names;
use super::planner::Planner;
use super::semantics;

/// Whether a FROM item merges columns.
pub(crate) fn merges(item: &TableWithJoins) -> bool {
    item.joins.iter().any(|join| constraint(join).is_some_and(is_merging)) || factors(item).any(nested)
}

fn factors(item: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
}

fn nested(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::NestedJoin { table_with_joins, .. } if merges(table_with_joins))
}

fn is_merging(constraint: &JoinConstraint) -> bool {
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
}

/// Which side's value a merged column has.
#[derive(Clone, Copy)]
enum Shown {
    Left,
    Right,
    Either,
}

fn constraint(join: &Join) -> Option<&JoinConstraint> {
    match &join.join_operator {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c) => Some(c),
        _ => None,
    }
}

fn parts(join: &mut Join) -> Option<(&mut JoinConstraint, Shown)> {
    match &mut join.join_operator {
        JoinOperator::Join(c) | JoinOperator::Inner(c) => Some((c, Shown::Left)),
        JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => Some((c, Shown::Left)),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) => Some((c, Shown::Right)),
        JoinOperator::FullOuter(c) => Some((c, Shown::Either)),
        _ => None,
    }
}

/// Rewrites all such joins of a statement.
pub(crate) fn apply(planner: &Planner, statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Rewriter { planner, around: Vec::new() }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Rewriter<'a> {
    planner: &'a Planner,
    /// The WITH clauses of the queries around, the outermost first.
    around: Vec<Option<With>>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.around.push(query.with.clone());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let sorted = match query.order_by.as_mut().map(|o| &mut o.kind) {
            Some(OrderByKind::Expressions(items)) => items.as_mut_slice(),
            _ => &mut [],
        };
        let done = self.body(&mut query.body, sorted);
        self.around.pop();
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// A column that a FROM item shows.
#[derive(Clone)]
struct Column {
    name: String,
    expr: Expr,
    /// What it is declared as; merged columns must be of one type.
    field: Field,
    merged: bool,
}

impl Rewriter<'_> {
    fn body(&self, body: &mut SetExpr, sorted: &mut [OrderByExpr]) -> Result<()> {
        match body {
            SetExpr::Select(select) if select.from.iter().any(merges) => self.select(select, sorted),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, &mut [])?;
                self.body(right, &mut [])
            }
            _ => Ok(()),
        }
    }

    fn select(&self, select: &mut Select, sorted: &mut [OrderByExpr]) -> Result<()> {
        let mut columns = Vec::new();
        for item in &mut select.from {
            columns.extend(self.item(item)?);
        }
        let merged = named(&columns);
        let has_wildcard = select.projection.iter().any(|i| matches!(i, SelectItem::Wildcard(_)));
        for item in &mut select.projection {
            let alias = match item {
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(folded(name)),
                _ => None,
            };
            let expr = match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
                _ => continue,
            };
            replace(expr, &merged);
            // A path has the name already.
            let unnamed = !matches!(expr, Expr::CompoundIdentifier(_) | Expr::Identifier(_));
            if let Some(name) = alias.filter(|_| unnamed) {
                let expr = expr.clone();
                let name = if has_wildcard { names::apart(&name) } else { name };
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
            }
        }
        let shown: HashSet<String> = select.projection.iter().filter_map(shown_name).collect();
        for item in sorted {
            let bare =
                matches!(&item.expr, Expr::Identifier(name) if has_wildcard || shown.contains(&folded(name)));
            if !bare {
                replace(&mut item.expr, &merged);
            }
        }
        spell_out(select, &columns)?;
        let grouped = match &mut select.group_by {
            GroupByExpr::Expressions(exprs, _) => exprs.as_mut_slice(),
            GroupByExpr::All(_) => &mut [],
        };
        let distinct = match &mut select.distinct {
            Some(Distinct::On(exprs)) => exprs.as_mut_slice(),
            _ => &mut [],
        };
        let clauses = grouped.iter_mut().chain(distinct).chain(&mut select.selection);
        clauses.chain(&mut select.having).for_each(|expr| replace(expr, &merged));
        for window in &mut select.named_window {
            let _ = window.visit(&mut Replace { merged: &merged, depth: 0 });
        }
        Ok(())
    }

    /// The columns of a FROM item, in PostgreSQL's order; its joins have ON afterwards.
    fn item(&self, item: &mut TableWithJoins) -> Result<Vec<Column>> {
        let mut left = self.columns(&item.relation)?;
        for join in &mut item.joins {
            let mut right = self.columns(&join.relation)?;
            let Some((constraint, shown)) = parts(join) else {
                left.extend(right);
                continue;
            };
            let names = match constraint {
                JoinConstraint::Using(names) => names.iter().map(using_name).collect::<Result<Vec<_>>>()?,
                JoinConstraint::Natural => {
                    let common = |c: &&Column| right.iter().any(|r| r.name == c.name);
                    left.iter().filter(common).map(|c| c.name.clone()).collect()
                }
                JoinConstraint::On(condition) => {
                    let both: Vec<Column> = left.iter().chain(&right).cloned().collect();
                    replace(condition, &named(&both));
                    left = both;
                    continue;
                }
                JoinConstraint::None => {
                    left.extend(right);
                    continue;
                }
            };
            let (mut merged, mut conditions) = (Vec::new(), Vec::new());
            for name in &names {
                let (l, r) = (taken(&mut left, name, "left")?, taken(&mut right, name, "right")?);
                if !semantics::same_kind(&l.field, &r.field) {
                    return Err(Error::unsupported(format!(
                        "USING or NATURAL of columns \"{name}\" of different types on tables that are not in PostgreSQL"
                    ))
                    .with_hint("Use ON with a cast."));
                }
                conditions.push(equal(&l.expr, &r.expr));
                merged.push(one_of(l, r, shown)?);
            }
            let both = |a, b| binary(a, BinaryOperator::And, b);
            let all = conditions.into_iter().reduce(both).unwrap_or(Expr::Value(Value::Boolean(true).into()));
            *constraint = JoinConstraint::On(all);
            left = merged.into_iter().chain(left).chain(right).collect();
        }
        Ok(left)
    }

    /// The columns of one relation.
    fn columns(&self, factor: &TableFactor) -> Result<Vec<Column>> {
        let refused =
            |what: &str| Err(Error::unsupported(format!("{what} on tables that are not in PostgreSQL")));
        match factor {
            TableFactor::NestedJoin { .. } if nested(factor) => {
                return refused("USING or NATURAL in a join in parentheses");
            }
            TableFactor::Derived { lateral: true, .. } | TableFactor::Function { lateral: true, .. } => {
                return refused("LATERAL beside USING or NATURAL");
            }
            _ => {}
        }
        let mut statement = dml::query("SELECT * FROM relation")?;
        if let Statement::Query(query) = &mut statement {
            query.with = self.with_of(factor)?;
            if let SetExpr::Select(select) = query.body.as_mut() {
                select.from = vec![TableWithJoins { relation: factor.clone(), joins: Vec::new() }];
            }
        }
        let plan = self.planner.plan_as_it_is(statement)?;
        let plan = self.planner.analyzed(&plan)?;
        let column = |(qualifier, field): (Option<&TableReference>, &std::sync::Arc<Field>)| {
            let quoted = |name: &str| Ident::with_quote('"', name);
            let mut path: Vec<Ident> = match qualifier {
                Some(q) => {
                    [q.catalog(), q.schema(), Some(q.table())].into_iter().flatten().map(quoted).collect()
                }
                None => Vec::new(),
            };
            path.push(quoted(field.name()));
            let name = names::visible(field.name()).to_owned();
            Column {
                name,
                expr: Expr::CompoundIdentifier(path),
                field: field.as_ref().clone(),
                merged: false,
            }
        };
        Ok(plan.schema().iter().map(column).collect())
    }

    /// The queries of WITH that a relation reads, and those that they read.
    fn with_of(&self, factor: &TableFactor) -> Result<Option<With>> {
        let mut known: HashMap<String, &Cte> = HashMap::new();
        for with in self.around.iter().flatten() {
            known.extend(with.cte_tables.iter().map(|cte| (folded(&cte.alias.name), cte)));
        }
        let mut wanted = relations(factor);
        let mut used: Vec<String> = Vec::new();
        while let Some(name) = wanted.pop() {
            if let Some(cte) = known.get(&name).filter(|_| !used.contains(&name)) {
                used.push(name);
                wanted.extend(relations(&cte.query));
            }
        }
        if used.is_empty() {
            return Ok(None);
        }
        let all = self.around.iter().flatten();
        let mut clause = all.clone().next_back().cloned().ok_or_else(|| Error::internal("no WITH"))?;
        clause.recursive = all.clone().any(|with| with.recursive);
        let ours = |cte: &&Cte| {
            let name = folded(&cte.alias.name);
            used.contains(&name) && known.get(&name).is_some_and(|own| std::ptr::eq(*own, *cte))
        };
        clause.cte_tables = all.flat_map(|with| &with.cte_tables).filter(ours).cloned().collect();
        if clause.cte_tables.iter().any(|cte| has_merges(&cte.query)) {
            return Err(Error::unsupported(
                "USING or NATURAL of a query of WITH that has such a join itself, on tables that are not in PostgreSQL",
            ));
        }
        Ok(Some(clause))
    }
}

/// The bare names of relations in a part of a statement.
fn relations<V: datafusion::sql::sqlparser::ast::Visit>(part: &V) -> Vec<String> {
    let mut names = Vec::new();
    let _ = visit_relations(part, |name| {
        if let [part] = name.0.as_slice() {
            names.extend(part.as_ident().map(folded));
        }
        ControlFlow::<()>::Continue(())
    });
    names
}

fn has_merges(query: &Query) -> bool {
    struct Finder;
    impl VisitorMut for Finder {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            if select.from.iter().any(merges) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    query.clone().visit(&mut Finder).is_break()
}

fn using_name(name: &datafusion::sql::sqlparser::ast::ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(folded),
        _ => None,
    }
    .ok_or_else(|| Error::new(sqlstate::SYNTAX_ERROR, format!("syntax error at or near \"{name}\"")))
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// Takes the column of a name out of one side.
fn taken(columns: &mut Vec<Column>, name: &str, side: &str) -> Result<Column> {
    let mut found = columns.iter().enumerate().filter(|(_, c)| c.name == name).map(|(index, _)| index);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(columns.remove(index)),
        (None, _) => {
            let message =
                format!("column \"{name}\" specified in USING clause does not exist in {side} table");
            Err(Error::new(sqlstate::UNDEFINED_COLUMN, message))
        }
        _ => {
            let message = format!("common column name \"{name}\" appears more than once in {side} table");
            Err(Error::new("42702", message))
        }
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn equal(left: &Expr, right: &Expr) -> Expr {
    binary(left.clone(), BinaryOperator::Eq, right.clone())
}

fn one_of(left: Column, right: Column, shown: Shown) -> Result<Column> {
    let expr = match shown {
        Shown::Left => left.expr,
        Shown::Right => right.expr,
        Shown::Either => names::coalesced(&left.expr, &right.expr)
            .ok_or_else(|| Error::internal("a merged column can't be written"))?,
    };
    Ok(Column { expr, merged: true, ..left })
}

/// The merged columns that their names mean.
fn named(columns: &[Column]) -> HashMap<String, Expr> {
    let once = |c: &&Column| c.merged && columns.iter().filter(|other| other.name == c.name).count() == 1;
    columns.iter().filter(once).map(|c| (c.name.clone(), c.expr.clone())).collect()
}

fn shown_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(names::visible(&folded(alias)).to_owned()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(folded(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => path.last().map(folded),
        _ => None,
    }
}

/// `*` as its columns.
fn spell_out(select: &mut Select, columns: &[Column]) -> Result<()> {
    let mut out = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        let SelectItem::Wildcard(options) = &item else {
            out.push(item);
            continue;
        };
        if !options.to_string().is_empty() {
            return Err(Error::unsupported(format!("*{options} of a join with USING or NATURAL")));
        }
        for column in columns {
            out.push(match &column.expr {
                path @ Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(path.clone()),
                expr => {
                    let alone = columns.iter().filter(|c| c.name == column.name).count() == 1;
                    let alias = if alone { column.name.clone() } else { names::apart(&column.name) };
                    SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', alias) }
                }
            });
        }
    }
    select.projection = out;
    Ok(())
}

/// Puts merged columns in the place of their names, but in sub-selects, which have names of their own.
fn replace(expr: &mut Expr, merged: &HashMap<String, Expr>) {
    let _ = expr.visit(&mut Replace { merged, depth: 0 });
}

struct Replace<'a> {
    merged: &'a HashMap<String, Expr>,
    depth: usize,
}

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let column = match expr {
            Expr::Identifier(name) if self.depth == 0 => self.merged.get(&folded(name)),
            _ => None,
        };
        if let Some(column) = column {
            *expr = column.clone();
        }
        ControlFlow::Continue(())
    }
}
