//! Special forms as calls of functions, whose arguments PostgreSQL's rules settle.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, ObjectNamePart, SetExpr, Statement, TableFactor, UnaryOperator,
    Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

use super::super::functions::quote_ident;
use super::{ast_parser, folded, parsed};

/// `substring(x from y)` and LIKE with an escape that DataFusion's parser doesn't take; `None` for what it takes.
pub(super) fn as_call(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Substring { expr, substring_from: Some(from), substring_for, shorthand, .. } => {
            let name = if *shorthand { "substr" } else { "substring" };
            let length = substring_for.as_ref().map(|f| format!(", {f}")).unwrap_or_default();
            // In quotes it is a function to the parser, too.
            parsed(&format!("\"{name}\"({expr}, {from}{length})"))
        }
        Expr::Like { negated, any: false, expr, pattern, escape_char: Some(escape) } if odd(escape) => {
            like(expr, pattern, escape, *negated, "")
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char: Some(escape) } if odd(escape) => {
            like(expr, pattern, escape, *negated, ", NULL")
        }
        _ => None,
    }
}

/// An escape that isn't one byte.
fn odd(escape: &ValueWithSpan) -> bool {
    matches!(&escape.value, Value::SingleQuotedString(text) if text.len() != 1)
}

fn like(expr: &Expr, pattern: &Expr, escape: &ValueWithSpan, negated: bool, more: &str) -> Option<Expr> {
    let not = if negated { "NOT " } else { "" };
    parsed(&format!("{not}epoch_like({expr}, {pattern}, {escape}{more})"))
}

/// `generate_series(1, 3) g`: the column is called as the relation is, and is of the type of its bounds.
pub(super) fn as_series(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return None };
    let function = name.0.last().and_then(ObjectNamePart::as_ident).map(folded)?;
    if function != "generate_series" || alias.as_ref().is_some_and(|a| a.columns.len() > 1) {
        return None;
    }
    let relation = alias.as_ref().map_or(function, |a| folded(&a.name));
    let column = match alias.as_ref().and_then(|a| a.columns.first()) {
        Some(column) => folded(&column.name),
        None => relation.clone(),
    };
    let value = if args.args.iter().all(is_integer) { "CAST(value AS integer)" } else { "value" };
    let list = args.args.iter().map(FunctionArg::to_string).collect::<Vec<_>>().join(", ");
    let (relation, column) = (quote_ident(&relation), quote_ident(&column));
    let sql =
        format!("SELECT * FROM (SELECT {value} AS {column} FROM generate_series({list})) AS {relation}");
    let Statement::Query(query) = ast_parser(&PostgreSqlDialect {}, &sql)?.pop()? else { return None };
    let SetExpr::Select(mut select) = *query.body else { return None };
    select.from.pop().map(|item| item.relation)
}

/// A constant of 32 bits.
fn is_integer(argument: &FunctionArg) -> bool {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { return false };
    let value = match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => expr.as_ref(),
        expr => expr,
    };
    matches!(value, Expr::Value(v) if matches!(&v.value, Value::Number(n, _) if n.parse::<i32>().is_ok()))
}
