//! DataFusion's filters as what is asked of our reading functions.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator, expr::InList};
use epoch_adapter::Comparison;

use super::convert;
use crate::functions::{Condition, Term};

/// Conditions that rows that meet a filter meet, too; `None` if none is known.
pub(super) fn conditions(filter: &Expr) -> Option<Vec<Condition>> {
    match filter {
        Expr::Alias(alias) => conditions(&alias.expr),
        Expr::BinaryExpr(binary) if binary.op == Operator::And => {
            let sides = [conditions(&binary.left), conditions(&binary.right)];
            let found: Vec<Condition> = sides.into_iter().flatten().flatten().collect();
            (!found.is_empty()).then_some(found)
        }
        // A short IN, as the optimizer writes it.
        Expr::BinaryExpr(binary) if binary.op == Operator::Or => any_of(binary).map(|c| vec![c]),
        Expr::BinaryExpr(binary) => compare(binary).map(|c| vec![c]),
        Expr::InList(list) => in_list(list).map(|c| vec![c]),
        Expr::Between(between) => range(between),
        _ => None,
    }
}

fn compare(binary: &BinaryExpr) -> Option<Condition> {
    let op = match binary.op {
        Operator::Eq => Comparison::Eq,
        Operator::Lt => Comparison::Lt,
        Operator::LtEq => Comparison::LtEq,
        Operator::Gt => Comparison::Gt,
        Operator::GtEq => Comparison::GtEq,
        _ => return None,
    };
    let (op, column, value) = match (term(&binary.left), text(&binary.right)) {
        (Some(column), Some(value)) => (op, column, value),
        _ => (flipped(op), term(&binary.right)?, text(&binary.left)?),
    };
    Some(Condition::Compare(vec![column], op, vec![value]))
}

/// Both sides compare one term with values.
fn any_of(binary: &BinaryExpr) -> Option<Condition> {
    let side = |expr: &Expr| match conditions(expr)?.as_slice() {
        [Condition::Compare(terms, Comparison::Eq, values)] => Some((terms.first()?.clone(), values.clone())),
        [Condition::In(term, values)] => Some((term.clone(), values.clone())),
        _ => None,
    };
    // A side with a part that isn't understood is wider than what is known of it.
    let whole = |expr: &Expr| !matches!(expr, Expr::BinaryExpr(b) if b.op == Operator::And);
    let ((left, mut values), (right, more)) = (side(&binary.left)?, side(&binary.right)?);
    if left != right || !whole(&binary.left) || !whole(&binary.right) {
        return None;
    }
    values.extend(more);
    Some(Condition::In(left, values))
}

fn flipped(op: Comparison) -> Comparison {
    match op {
        Comparison::Lt => Comparison::Gt,
        Comparison::LtEq => Comparison::GtEq,
        Comparison::Gt => Comparison::Lt,
        Comparison::GtEq => Comparison::LtEq,
        same => same,
    }
}

fn in_list(list: &InList) -> Option<Condition> {
    if list.negated {
        return None;
    }
    Some(Condition::In(term(&list.expr)?, list.list.iter().map(text).collect::<Option<_>>()?))
}

fn range(between: &Between) -> Option<Vec<Condition>> {
    if between.negated {
        return None;
    }
    let column = term(&between.expr)?;
    let bound = |op, value| Some(Condition::Compare(vec![column.clone()], op, vec![text(value)?]));
    Some(vec![bound(Comparison::GtEq, &between.low)?, bound(Comparison::LtEq, &between.high)?])
}

/// A column, or the first of several that isn't NULL (which the optimizer may have written as a CASE).
fn term(expr: &Expr) -> Option<Term> {
    match expr {
        Expr::Alias(alias) => term(&alias.expr),
        Expr::Column(column) => Some(vec![column.name.clone()]),
        Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
            let names = call.args.iter().map(name).collect::<Option<Vec<_>>>()?;
            (!names.is_empty()).then_some(names)
        }
        Expr::Case(case) if case.expr.is_none() => {
            let mut names = Vec::new();
            for (when, then) in &case.when_then_expr {
                let Expr::IsNotNull(tested) = when.as_ref() else { return None };
                let column = name(tested)?;
                if name(then)? != column {
                    return None;
                }
                names.push(column);
            }
            names.push(name(case.else_expr.as_ref()?)?);
            Some(names)
        }
        _ => None,
    }
}

fn name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Alias(alias) => name(&alias.expr),
        Expr::Column(column) => Some(column.name.clone()),
        _ => None,
    }
}

/// A value in PostgreSQL's text form.
fn text(expr: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        value if value.is_null() => None,
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Some(text.clone()),
        value => {
            let array = value.to_array().ok()?;
            super::encode::cell_text(&array, 0, convert::utc().ok()?).ok()?
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::prelude::{coalesce, col, lit};

    use super::*;

    fn one(term: &[&str], op: Comparison, value: &str) -> Vec<Condition> {
        let term: Term = term.iter().map(|n| (*n).to_owned()).collect();
        vec![Condition::Compare(vec![term], op, vec![value.to_owned()])]
    }

    #[test]
    fn filters_on_columns_and_on_the_first_that_is_there_are_asked_for() {
        assert_eq!(conditions(&col("id").eq(lit(5_i64))), Some(one(&["id"], Comparison::Eq, "5")));
        assert_eq!(conditions(&lit(5_i64).lt(col("id"))), Some(one(&["id"], Comparison::Gt, "5")));
        let either = coalesce(vec![col("to_id"), col("from_id")]);
        assert_eq!(conditions(&either.gt(lit(5_i64))), Some(one(&["to_id", "from_id"], Comparison::Gt, "5")));
        let both = col("id").gt(lit(1_i64)).and(col("n").is_null());
        assert_eq!(conditions(&both), Some(one(&["id"], Comparison::Gt, "1")));
        for filter in [col("id").not_eq(lit(1_i64)), col("id").is_null(), col("a").eq(col("b"))] {
            assert_eq!(conditions(&filter), None, "{filter}");
        }
        let either = col("id").eq(lit(1_i64)).or(col("id").eq(lit(2_i64)));
        let values = vec!["1".to_owned(), "2".to_owned()];
        assert_eq!(conditions(&either), Some(vec![Condition::In(vec!["id".to_owned()], values)]));
        for other in [col("n").eq(lit(2_i64)), col("id").gt(lit(2_i64)), col("id").is_null()] {
            assert_eq!(conditions(&col("id").eq(lit(1_i64)).or(other)), None);
        }
    }
}
