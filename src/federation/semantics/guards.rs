//! What PostgreSQL doesn't evaluate isn't evaluated here.
//!
//! `i <> 0 AND 10 / i > 1`: PostgreSQL looks at the right side where the left one isn't false, row by row. DataFusion
//! evaluates both for a whole batch, and makes AND and OR of a CASE whose results are booleans. So where an operand that
//! isn't the first may fail, the condition becomes a CASE, which is evaluated row by row, over numbers, in which
//! DataFusion's simplifier sees no algebra. What can't fail stays as it is: it is what backends are asked.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, ScalarValue, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, LogicalPlan, Operator};
use epoch_adapter::Result;

use super::super::errors;
use super::call::{Body, Spec, may_fail};
use super::datum::Datum;
use super::kinds::{self, Kind};
use super::operators::refused;

/// A condition under NOT and AND is written twice; one that is larger than this is refused before it grows.
const MOST_NODES: usize = 10_000;

/// A node whose expressions are resolved already.
pub(crate) fn guarded(plan: LogicalPlan, schema: &DFSchema, zone: &str) -> DfResult<LogicalPlan> {
    let guards = Guards { schema, zone };
    Ok(match plan {
        LogicalPlan::Filter(mut filter) => {
            let inner = joins_inner(&filter.input);
            let predicate = std::mem::take(&mut filter.predicate);
            filter.predicate = guards.restriction(predicate, inner).map_err(errors::wrap)?;
            LogicalPlan::Filter(filter)
        }
        LogicalPlan::Join(mut join) => {
            let inner = join.join_type == JoinType::Inner;
            if let Some(filter) = join.filter.take() {
                join.filter = Some(guards.restriction(filter, inner).map_err(errors::wrap)?);
            }
            LogicalPlan::Join(join)
        }
        plan => {
            let names = NamePreserver::new(&plan);
            let value = |expr: Expr| {
                if !concerns(&expr) {
                    return Ok(Transformed::no(expr));
                }
                let name = names.save(&expr);
                guards.value(expr).map(|e| Transformed::yes(name.restore(e))).map_err(errors::wrap)
            };
            plan.map_expressions(value)?.data
        }
    })
}

/// Whether every row that a condition sees has passed those on one table before.
fn joins_inner(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => {
            join.join_type == JoinType::Inner && joins_inner(&join.left) && joins_inner(&join.right)
        }
        _ => true,
    }
}

/// Whether there is anything to be guarded in an expression.
fn concerns(expr: &Expr) -> bool {
    let branches = |e: &Expr| match e {
        Expr::BinaryExpr(_) => is_unordered(e),
        Expr::Case(_) => true,
        Expr::ScalarFunction(f) => f.func.name() == "coalesce",
        _ => false,
    };
    fails(expr) && expr.exists(|e| Ok(branches(e))).unwrap_or(true)
}

/// Whether evaluating an expression may be an error.
fn fails(expr: &Expr) -> bool {
    expr.exists(|e| Ok(may_fail(e))).unwrap_or(true)
}

/// A sub-select, or a column of the query around one: DataFusion makes joins of them, and only outside of a CASE.
fn stands_apart(expr: &Expr) -> bool {
    let apart = |e: &Expr| {
        matches!(
            e,
            Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        )
    };
    expr.exists(|e| Ok(apart(e))).unwrap_or(true)
}

/// AND or OR with an operand behind the first that may fail.
fn is_unordered(expr: &Expr) -> bool {
    match expr {
        Expr::Not(inner) => is_unordered(inner),
        Expr::BinaryExpr(b) if matches!(b.op, Operator::And | Operator::Or) => {
            let mut parts = Vec::new();
            operands(expr, b.op, &mut parts);
            parts.iter().skip(1).any(|p| fails(p)) || parts.iter().any(|p| is_unordered(p))
        }
        _ => false,
    }
}

/// `a AND b AND c` as its operands.
fn operands<'e>(expr: &'e Expr, op: Operator, parts: &mut Vec<&'e Expr>) {
    match expr {
        Expr::BinaryExpr(b) if b.op == op => {
            operands(&b.left, op, parts);
            operands(&b.right, op, parts);
        }
        other => parts.push(other),
    }
}

/// What PostgreSQL's planner thinks a condition costs: its operators and functions.
fn cost(expr: &Expr) -> usize {
    let mut cost = 0;
    let visited = expr.apply(|e| {
        cost += match e {
            Expr::BinaryExpr(b) if matches!(b.op, Operator::And | Operator::Or) => 0,
            Expr::InList(list) => list.list.len().div_ceil(2),
            Expr::BinaryExpr(_) => 1,
            Expr::ScalarFunction(f) => own_cost(f.func.name()),
            _ => 0,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    if visited.is_err() { usize::MAX } else { cost }
}

/// Of a function: those of ours that PostgreSQL doesn't have are free, a cast by way of a text is an output and an input.
fn own_cost(name: &str) -> usize {
    let own = name.split('[').next().unwrap_or(name);
    match own {
        "truth" | "code" | "case" | "as_type" | "numeric_key" | "numeric" | "value" | "coalesce" => 0,
        cast if cast.starts_with("cast_unknown") => 0,
        cast if cast.starts_with("cast_") && (cast.starts_with("cast_text") || cast.ends_with("_text")) => 2,
        _ => 1,
    }
}

/// The tables whose columns an expression reads.
fn tables(expr: &Expr) -> HashSet<Option<TableReference>> {
    expr.column_refs().into_iter().map(|c| c.relation.clone()).collect()
}

/// `a.x = b.y + 1`, which joins two sides.
fn is_join_key(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (left, right) = (tables(left), tables(right));
            !left.is_empty() && !right.is_empty() && left.is_disjoint(&right)
        }
        _ => false,
    }
}

fn joined(parts: Vec<Expr>, op: Operator) -> Option<Expr> {
    let two = |left, right| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)));
    parts.into_iter().reduce(two)
}

fn number(value: i32) -> Expr {
    Expr::Literal(ScalarValue::Int32(Some(value)), None)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    True,
    False,
}

impl Wanted {
    fn other(self) -> Self {
        if self == Self::True { Self::False } else { Self::True }
    }
}

struct Guards<'a> {
    schema: &'a DFSchema,
    zone: &'a str,
}

impl Guards<'_> {
    /// WHERE, HAVING, ON: NULL is as good as false.
    ///
    /// PostgreSQL asks each table its own conditions first, the cheaper before the dearer, so an operand is guarded by those before
    /// it that read no other table than it does. Where all joins are inner ones, what joins two tables is left alone:
    /// it is evaluated behind the conditions on each of the two.
    fn restriction(&self, predicate: Expr, inner: bool) -> Result<Expr> {
        if !fails(&predicate) {
            return Ok(predicate);
        }
        let mut parts = Vec::new();
        operands(&predicate, Operator::And, &mut parts);
        let parts = parts.into_iter().map(|p| self.test(p.clone(), Wanted::True));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let plain = |p: &Expr| !(stands_apart(p) || inner && is_join_key(p));
        let (risky, safe): (Vec<&Expr>, Vec<&Expr>) = parts.iter().partition(|p| plain(p) && fails(p));
        let mut out: Vec<Expr> = safe.into_iter().cloned().collect();
        let mut done: Vec<HashSet<_>> = Vec::new();
        for part in &risky {
            let own = tables(part);
            if done.contains(&own) {
                continue;
            }
            let mut among: Vec<Expr> =
                parts.iter().filter(|p| plain(p) && tables(p).is_subset(&own)).cloned().collect();
            among.sort_by_key(cost);
            let last = among.iter().rposition(|p| fails(p) && tables(p) == own);
            among.truncate(last.map_or(0, |last| last + 1));
            out.extend(self.in_order(among, true));
            done.push(own);
        }
        Ok(joined(out, Operator::And).unwrap_or(predicate))
    }

    /// What is true exactly where the condition is true, or exactly where it is false.
    fn test(&self, expr: Expr, wanted: Wanted) -> Result<Expr> {
        match expr {
            Expr::Not(inner) => self.test(*inner, wanted.other()),
            Expr::BinaryExpr(ref b) if matches!(b.op, Operator::And | Operator::Or) => {
                let mut parts = Vec::new();
                operands(&expr, b.op, &mut parts);
                let parts = parts.into_iter().map(|p| self.test(p.clone(), wanted));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                let all = (b.op == Operator::And) == (wanted == Wanted::True);
                let op = if all { Operator::And } else { Operator::Or };
                let (apart, plain): (Vec<_>, Vec<_>) = parts.into_iter().partition(stands_apart);
                let ordered = self.in_order(plain, all).into_iter().chain(apart).collect();
                Ok(joined(ordered, op).unwrap_or(expr))
            }
            leaf => {
                let leaf = self.parts(leaf)?;
                Ok(if wanted == Wanted::True { leaf } else { Expr::Not(Box::new(leaf)) })
            }
        }
    }

    /// All of the conditions, or one of them; each is evaluated where those before it have left it open.
    fn in_order(&self, mut parts: Vec<Expr>, all: bool) -> Option<Expr> {
        if !parts.iter().skip(1).any(fails) {
            return joined(parts, if all { Operator::And } else { Operator::Or });
        }
        let last = parts.pop()?;
        let decided = |p: Expr| if all { Expr::IsNotTrue(Box::new(p)) } else { p };
        let result = number(i32::from(!all));
        let whens = parts.into_iter().map(|p| (Box::new(decided(p)), Box::new(result.clone()))).collect();
        Some(self.truth(Case {
            expr: None,
            when_then_expr: whens,
            else_expr: Some(Box::new(self.code(last))),
        }))
    }

    /// A value, which may be NULL.
    fn value(&self, expr: Expr) -> Result<Expr> {
        if !is_unordered(&expr) || stands_apart(&expr) {
            return self.parts(expr);
        }
        let mut nodes = 0;
        let count = |_: &Expr| {
            nodes += 1;
            Ok(TreeNodeRecursion::Continue)
        };
        expr.apply(count).map_err(|e| errors::datafusion(&e))?;
        if nodes > MOST_NODES {
            return Err(refused("AND or OR of so large conditions that may fail"));
        }
        let yes = self.test(expr.clone(), Wanted::True)?;
        let no = self.test(expr, Wanted::False)?;
        let when_then_expr = vec![(Box::new(yes), Box::new(number(1))), (Box::new(no), Box::new(number(0)))];
        Ok(self.truth(Case { expr: None, when_then_expr, else_expr: None }))
    }

    /// What is in an expression that isn't AND, OR or NOT itself.
    fn parts(&self, expr: Expr) -> Result<Expr> {
        match expr {
            Expr::Case(case) => self.case(case),
            Expr::ScalarFunction(mut call) if call.func.name() == "coalesce" => {
                let args = std::mem::take(&mut call.args).into_iter().map(|a| self.value(a));
                call.args = args.collect::<Result<_>>()?;
                let boolean = match call.args.first() {
                    Some(first) => kinds::type_of(first, self.schema)? == DataType::Boolean,
                    None => false,
                };
                if boolean && call.args.iter().skip(1).any(fails) {
                    call.args = call.args.into_iter().map(|a| self.code(a)).collect();
                    return Ok(self.of_code(Expr::ScalarFunction(call)));
                }
                Ok(Expr::ScalarFunction(call))
            }
            other => {
                let each = |e: Expr| self.value(e).map(Transformed::yes).map_err(errors::wrap);
                other.map_children(each).map(|t| t.data).map_err(|e| errors::datafusion(&e))
            }
        }
    }

    fn case(&self, case: Case) -> Result<Expr> {
        let mut when_then_expr = Vec::with_capacity(case.when_then_expr.len());
        for (when, then) in case.when_then_expr {
            let when = self.test(*when, Wanted::True)?;
            when_then_expr.push((Box::new(when), Box::new(self.value(*then)?)));
        }
        let else_expr = case.else_expr.map(|e| self.value(*e).map(Box::new)).transpose()?;
        let case = Case { expr: case.expr, when_then_expr, else_expr };
        let results = || case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
        let later = case.when_then_expr.iter().skip(1).any(|(when, _)| fails(when));
        if !later && !results().any(|r| fails(r)) {
            return Ok(Expr::Case(case));
        }
        let whole = Expr::Case(case.clone());
        let data_type = kinds::type_of(&whole, self.schema)?;
        if data_type == DataType::Boolean {
            let coded = |e: Box<Expr>| Box::new(self.code(*e));
            let when_then_expr = case.when_then_expr.into_iter().map(|(when, then)| (when, coded(then)));
            let when_then_expr = when_then_expr.collect();
            return Ok(self.truth(Case { when_then_expr, else_expr: case.else_expr.map(coded), ..case }));
        }
        // `CASE … END = 'a'` would become one whose results are booleans.
        if later && results().all(|r| matches!(r.as_ref(), Expr::Literal(..))) {
            let kind = kinds::of(&whole, self.schema)?;
            let body: Body = |a, _| Ok(a.first().cloned().unwrap_or(Datum::Null));
            let spec = Spec { name: "case", strict: true, body, zone: self.zone };
            return Ok(spec.call(vec![whole], kind, data_type));
        }
        Ok(whole)
    }

    fn truth(&self, case: Case) -> Expr {
        self.of_code(Expr::Case(case))
    }

    /// 1, 0 or NULL as a boolean.
    fn of_code(&self, code: Expr) -> Expr {
        let spec = Spec {
            name: "truth",
            strict: true,
            body: |a, _| match a {
                [Datum::Int(code)] => Ok(Datum::Bool(*code != 0)),
                _ => Ok(Datum::Null),
            },
            zone: self.zone,
        };
        spec.call(vec![code], Kind::Bool, DataType::Boolean)
    }

    /// A boolean as 1, 0 or NULL.
    fn code(&self, boolean: Expr) -> Expr {
        let spec = Spec {
            name: "code",
            strict: true,
            body: |a, _| match a {
                [Datum::Bool(truth)] => Ok(Datum::Int(i64::from(*truth))),
                _ => Ok(Datum::Null),
            },
            zone: self.zone,
        };
        spec.call(vec![boolean], Kind::Int4, DataType::Int32)
    }
}
