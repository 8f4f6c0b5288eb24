//! CASE, COALESCE and the like: the type that several values have in common.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::functions::core::expr_fn::coalesce as df_coalesce;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Case, Cast, Expr, Operator};
use epoch_adapter::{Error, Result, sqlstate};

use super::call::{Body, Spec, may_fail};
use super::casts;
use super::datum::Datum;
use super::kinds::{self, Kind};
use super::number;
use super::operators::{self, refused};

/// The type of values that stand for one another, `None` if all are literals without one.
pub(crate) fn common(kinds: &[Kind], what: &str) -> Result<Kind> {
    let mut found: Option<Kind> = None;
    for kind in kinds.iter().copied().filter(|k| *k != Kind::Unknown) {
        found = Some(match found {
            None => kind,
            Some(f) if f == kind => f,
            Some(f) if f.is_number() && kind.is_number() || f.is_moment() && kind.is_moment() => {
                if f.rank() >= kind.rank() { f } else { kind }
            }
            Some(f) if f.is_text() && kind.is_text() => f,
            Some(f) => {
                let message = format!("{what} types {} and {} cannot be matched", f.name(), kind.name());
                return Err(Error::new(sqlstate::DATATYPE_MISMATCH, message));
            }
        });
    }
    Ok(found.unwrap_or(Kind::Text))
}

/// The Arrow type for values of one kind: decimals of one scale keep it.
pub(crate) fn common_type(kind: Kind, types: &[DataType], zone: &str) -> DataType {
    if kind != Kind::Numeric {
        return kind.data_type(zone);
    }
    let mut shape: Option<(u16, u16)> = None;
    for data_type in types.iter().filter(|t| **t != DataType::Null) {
        match (number::shape(data_type), shape) {
            (Some(own), None) => shape = Some(own),
            (Some((p, s)), Some((most, scale))) if s == scale => shape = Some((p.max(most), scale)),
            _ => return DataType::LargeUtf8,
        }
    }
    number::type_of(shape)
}

/// Casts values to what they have in common.
pub(crate) fn unified(
    exprs: Vec<Expr>,
    what: &str,
    schema: &DFSchema,
    zone: &str,
) -> Result<(Vec<Expr>, Kind)> {
    let kinds = exprs.iter().map(|e| kinds::of(e, schema)).collect::<Result<Vec<_>>>()?;
    if kinds.contains(&Kind::Internal) {
        return Ok((exprs, Kind::Internal));
    }
    let kind = common(&kinds, what)?;
    if matches!(kind, Kind::Bpchar | Kind::Other | Kind::Array | Kind::Record) {
        return Err(refused(format!("{what} of {}", kind.name())));
    }
    let known = exprs.iter().zip(&kinds).filter(|(_, k)| **k != Kind::Unknown);
    let types = known.map(|(e, _)| kinds::type_of(e, schema)).collect::<Result<Vec<_>>>()?;
    let mut result = common_type(kind, &types, zone);
    if kind == Kind::Numeric && exprs.iter().zip(&kinds).any(|(e, k)| *k == Kind::Unknown && !is_null(e)) {
        result = DataType::LargeUtf8;
    }
    let exprs = exprs.into_iter().map(|e| as_type(e, kind, &result, schema, zone)).collect::<Result<_>>()?;
    Ok((exprs, kind))
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

/// A value in one of the Arrow types of its kind.
pub(crate) fn as_type(
    expr: Expr,
    kind: Kind,
    result: &DataType,
    schema: &DFSchema,
    zone: &str,
) -> Result<Expr> {
    let expr = casts::coerce(expr, kind, schema, zone)?;
    let now = kinds::type_of(&expr, schema)?;
    if now == *result {
        return Ok(expr);
    }
    if kind == Kind::Numeric && *result == DataType::LargeUtf8 {
        let body: Body = |a, _| Ok(a.first().cloned().unwrap_or(Datum::Null));
        let spec = Spec { name: "numeric", strict: true, body, zone };
        return Ok(spec.call(vec![expr], kind, DataType::LargeUtf8));
    }
    Ok(Expr::Cast(Cast::new(Box::new(expr), result.clone())))
}

/// A result that Arrow would take for plain text, under its own type.
fn under(kind: Kind, expr: Expr, zone: &str) -> Expr {
    if kind.tag().is_some() { casts::tagged(expr, kind, zone) } else { expr }
}

pub(crate) fn case(case: Case, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let Case { expr: operand, when_then_expr, else_expr } = case;
    let mut conditions = Vec::with_capacity(when_then_expr.len());
    let mut results = Vec::with_capacity(when_then_expr.len() + 1);
    for (when, then) in when_then_expr {
        conditions.push(match &operand {
            Some(operand) => compared(operand.as_ref().clone(), Operator::Eq, *when, schema, zone)?,
            None => operators::boolean(*when, "CASE/WHEN", schema, zone)?,
        });
        results.push(*then);
    }
    // PostgreSQL looks at ELSE first.
    let has_else = else_expr.is_some();
    results.splice(0..0, else_expr.map(|e| *e));
    let (mut results, kind) = unified(results, "CASE", schema, zone)?;
    let otherwise = has_else.then(|| results.remove(0)).map(Box::new);
    let when_then_expr =
        conditions.into_iter().zip(results).map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    Ok(under(kind, Expr::Case(Case { expr: None, when_then_expr, else_expr: otherwise }), zone))
}

fn compared(left: Expr, op: Operator, right: Expr, schema: &DFSchema, zone: &str) -> Result<Expr> {
    operators::binary(BinaryExpr::new(Box::new(left), op, Box::new(right)), schema, zone)
}

fn joined(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

pub(crate) fn between(between: Between, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let Between { expr, negated, low, high } = between;
    let (below, above, both) = if negated {
        (Operator::Lt, Operator::Gt, Operator::Or)
    } else {
        (Operator::GtEq, Operator::LtEq, Operator::And)
    };
    let low = compared(expr.as_ref().clone(), below, *low, schema, zone)?;
    Ok(joined(low, both, compared(*expr, above, *high, schema, zone)?))
}

/// `x IN (a, b)`; where the list's types differ, `x = a OR x = b`.
pub(crate) fn in_list(list: InList, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let InList { expr, list, negated } = list;
    let mut sides = Vec::with_capacity(list.len());
    for item in list {
        sides.push(operators::comparable(
            (expr.as_ref().clone(), schema),
            Operator::Eq,
            (item, schema),
            zone,
        )?);
    }
    // PostgreSQL compares with one after another where they aren't constants.
    let constant = |(_, item): &(Expr, Expr)| matches!(item, Expr::Literal(..) | Expr::Placeholder(_));
    let eager = sides.iter().all(|side| constant(side) || !may_fail_anywhere(&side.1));
    sides.sort_by_key(|side| !constant(side));
    let first = sides.first().map(|(left, _)| left.clone()).filter(|_| eager);
    if let Some(first) = first.filter(|first| sides.iter().all(|(left, _)| left == first)) {
        let items = sides.into_iter().map(|(_, item)| item).collect();
        return Ok(Expr::InList(InList::new(Box::new(first), items, negated)));
    }
    let (equal, or) = if negated { (Operator::NotEq, Operator::And) } else { (Operator::Eq, Operator::Or) };
    let all = sides.into_iter().map(|(left, right)| joined(left, equal, right));
    all.reduce(|a, b| joined(a, or, b))
        .ok_or_else(|| Error::new(sqlstate::SYNTAX_ERROR, "syntax error at or near \")\""))
}

fn may_fail_anywhere(expr: &Expr) -> bool {
    expr.exists(|e| Ok(may_fail(e))).unwrap_or(true)
}

pub(crate) fn coalesce(args: Vec<Expr>, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let (args, kind) = unified(args, "COALESCE", schema, zone)?;
    Ok(under(kind, df_coalesce(args), zone))
}

pub(crate) fn nullif(args: Vec<Expr>, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let [left, right] = <[Expr; 2]>::try_from(args)
        .map_err(|_| Error::new(sqlstate::SYNTAX_ERROR, "syntax error at or near \"nullif\""))?;
    let left = nullif_value(left, kinds::of(&right, schema)?, schema, zone)?;
    let kind = kinds::of(&left, schema)?;
    let equal = compared(left.clone(), Operator::Eq, right, schema, zone)?;
    let null = Expr::Literal(
        datafusion::common::ScalarValue::try_from(&kinds::type_of(&left, schema)?)
            .map_err(|e| super::super::errors::datafusion(&e))?,
        None,
    );
    let when_then_expr = vec![(Box::new(equal), Box::new(null))];
    let case = Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(Box::new(left)) });
    // `varchar` is compared as text.
    Ok(if kind == Kind::Varchar { casts::tagged(case, Kind::Text, zone) } else { under(kind, case, zone) })
}

/// The first argument as the operator `=` takes it: PostgreSQL has one of its own for two integers, two floats, and two
/// moments of different types; otherwise one side becomes what the other is.
fn nullif_value(left: Expr, right: Kind, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let from = kinds::of(&left, schema)?;
    let own = (from.is_integer() && right.is_integer())
        || (from.is_float() && right.is_float())
        || (from.is_moment() && right.is_moment());
    if from == Kind::Unknown && right != Kind::Unknown {
        return casts::coerce(left, right, schema, zone);
    }
    if own || !from.is_number() || !right.is_number() || from.rank() >= right.rank() {
        return Ok(left);
    }
    let to = if right == Kind::Float4 { Kind::Float8 } else { right };
    let result = common_type(to, &[kinds::type_of(&left, schema)?], zone);
    casts::convert(left, from, to, &result, schema, zone)
}

/// `greatest` and `least`: NULLs don't count.
pub(crate) fn extreme(args: Vec<Expr>, greatest: bool, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let (args, kind) = unified(args, if greatest { "GREATEST" } else { "LEAST" }, schema, zone)?;
    if matches!(kind, Kind::Json | Kind::Jsonb | Kind::Interval | Kind::Internal) {
        return Err(refused(format!("GREATEST or LEAST of {}", kind.name())));
    }
    let result = match args.first() {
        Some(first) => kinds::type_of(first, schema)?,
        None => DataType::Utf8,
    };
    let pick: Body = if greatest {
        |a, _| Ok(best(a, std::cmp::Ordering::Greater))
    } else {
        |a, _| Ok(best(a, std::cmp::Ordering::Less))
    };
    let name = format!("{}_{}", if greatest { "greatest" } else { "least" }, kind.name());
    Ok(Spec { name: &name, strict: false, body: pick, zone }.call(args, kind, result))
}

fn best<'a>(values: &[Datum<'a>], wanted: std::cmp::Ordering) -> Datum<'a> {
    let mut best = Datum::Null;
    for value in values.iter().filter(|v| !v.is_null()) {
        if best.is_null() || value.compare(&best) == Some(wanted) {
            best = value.clone();
        }
    }
    best
}
