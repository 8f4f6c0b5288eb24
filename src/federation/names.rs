//! Result columns are named as PostgreSQL names them, and may share a name.
//!
//! DataFusion names columns after their expressions and wants the names of a SELECT to be unique. So
//! each column without an alias gets PostgreSQL's name as its alias, with a mark behind it where the
//! name is taken already; the mark never reaches a client.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::logical_expr::Expr as LogicalExpr;
use datafusion::sql::sqlparser::ast::{
    self, CastKind, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement, TableAlias, TableFactor, Value, VisitMut,
    VisitorMut, visit_expressions,
};

mod aliases;
mod forms;

pub(crate) use aliases::is_read as alias_is_read;

const MARK: char = '\u{1}';
const UNNAMED: &str = "?column?";

/// The name that clients see.
pub(crate) fn visible(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// A name that clients see as `name`, and that nothing else is called.
pub(crate) fn apart(name: &str) -> String {
    format!("{name}{MARK}merged")
}

/// `coalesce(a, b)`
pub(crate) fn coalesced(left: &Expr, right: &Expr) -> Option<Expr> {
    parsed(&format!("coalesce({left}, {right})"))
}

/// Names the columns of a statement and of all its parts.
pub(crate) fn apply(statement: &mut Statement) {
    let _ = statement.visit(&mut Namer);
    if let Statement::Query(query) = statement {
        aliases::step_aside(query);
    }
}

/// The items of a RETURNING list, named.
pub(crate) fn items(items: &mut [SelectItem]) {
    name_items(items);
}

/// An expression outside of a SELECT list: its subqueries and our own functions in it.
pub(crate) fn expression(expr: &mut Expr) {
    let _ = expr.visit(&mut Namer);
}

/// What PostgreSQL calls a column of this expression.
pub(crate) fn of(expr: &Expr) -> String {
    column_name(expr).unwrap_or_else(|| UNNAMED.to_owned())
}

/// Planned columns with distinct names.
pub(crate) fn distinct(columns: Vec<LogicalExpr>) -> epoch_adapter::Result<Vec<LogicalExpr>> {
    let mut taken = HashSet::new();
    let rename = |column: LogicalExpr| {
        let name = column.schema_name().to_string();
        let unique = unique(&name, &mut taken);
        if unique == name { column } else { column.unalias().alias(unique) }
    };
    Ok(columns.into_iter().map(rename).collect())
}

struct Namer;

impl VisitorMut for Namer {
    type Break = ();

    /// `x = ANY (SELECT …)` is `x IN (SELECT …)`, `x <> ALL (SELECT …)` is `x NOT IN (SELECT …)`.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let (left, right, negated) = match expr {
            Expr::AnyOp { left, compare_op: ast::BinaryOperator::Eq, right, .. } => (left, right, false),
            Expr::AllOp { left, compare_op: ast::BinaryOperator::NotEq, right } => (left, right, true),
            _ => return ControlFlow::Continue(()),
        };
        if let Expr::Subquery(query) = right.as_ref() {
            *expr = Expr::InSubquery { expr: left.clone(), subquery: query.clone(), negated };
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_items(&mut select.projection);
        if let Some(selection) = &mut select.selection {
            read_as_boolean(selection);
        }
        ControlFlow::Continue(())
    }

    /// `FROM f(1)`: PostgreSQL names the relation after the function.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some(series) = forms::as_series(factor) {
            *factor = series;
            return ControlFlow::Continue(());
        }
        if let TableFactor::Table { args: Some(args), .. } = factor {
            args.args = args.args.drain(..).flat_map(positional).collect();
        }
        if let TableFactor::Table { name, alias: alias @ None, args: Some(_), .. } = factor
            && let Some(last) = name.0.last().and_then(ObjectNamePart::as_ident)
        {
            let alias_name =
                TableAlias { explicit: false, name: last.clone(), columns: Vec::new(), at: None };
            *alias = Some(alias_name);
        }
        ControlFlow::Continue(())
    }

    /// The scalar functions that read the repository are relations of one row and column.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && super::relations::is_scalar(&function.name.to_string().to_lowercase())
            && let Some(query) = as_query(function)
        {
            *expr = Expr::Subquery(Box::new(query));
        }
        match expr {
            Expr::Subquery(query) => single_value(query),
            Expr::Extract { field, expr: inner, .. } => {
                let field = field.to_string().replace('\'', "").to_lowercase();
                if let Some(call) = parsed(&format!("epoch_extract('{field}', {inner})")) {
                    *expr = call;
                }
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                if let Some(call) = parsed(&format!("timezone({time_zone}, {timestamp})")) {
                    *expr = call;
                }
            }
            Expr::Interval(interval) => {
                if let Some(cast) = interval_cast(interval) {
                    *expr = cast;
                }
            }
            Expr::Function(function) => {
                if let Some(cast) = typed_window(function) {
                    *expr = cast;
                }
            }
            Expr::Substring { .. } | Expr::Like { .. } | Expr::ILike { .. } => {
                if let Some(call) = forms::as_call(expr) {
                    *expr = call;
                }
            }
            Expr::Cast { expr: inner, data_type: ast::DataType::Bytea, .. } => {
                if let Expr::Value(text) = inner.as_ref()
                    && let Some(call) = parsed(&format!("byteain({text})"))
                {
                    *expr = call;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// `WHERE 'true'`: a literal becomes what its place wants.
fn read_as_boolean(selection: &mut Expr) {
    let literal = matches!(selection, Expr::Value(v) if matches!(v.value, Value::SingleQuotedString(_)));
    if literal && let Some(cast) = parsed(&format!("CAST({selection} AS boolean)")) {
        *selection = cast;
    }
}

/// `INTERVAL '1' DAY` and `INTERVAL '1 day'` as casts, whose input is PostgreSQL's.
fn interval_cast(interval: &ast::Interval) -> Option<Expr> {
    let plain = interval.leading_precision.is_none()
        && interval.last_field.is_none()
        && interval.fractional_seconds_precision.is_none();
    let Expr::Value(value) = interval.value.as_ref() else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    if !plain {
        return None;
    }
    let unit = interval.leading_field.as_ref().map(|f| format!(" {f}")).unwrap_or_default();
    let text = format!("{text}{unit}").replace('\'', "''");
    parsed(&format!("CAST('{text}' AS INTERVAL)"))
}

/// Ranks are `bigint` in PostgreSQL and `ntile` is `integer`; DataFusion's are unsigned.
fn typed_window(function: &ast::Function) -> Option<Expr> {
    let name = function.name.0.last().and_then(ObjectNamePart::as_ident).map(folded)?;
    function.over.as_ref()?;
    let data_type = match name.as_str() {
        "row_number" | "rank" | "dense_rank" => ast::DataType::BigInt(None),
        "ntile" => ast::DataType::Integer(None),
        _ => return None,
    };
    let expr = Box::new(Expr::Function(function.clone()));
    Some(Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None })
}

fn parsed(sql: &str) -> Option<Expr> {
    let dialect = datafusion::sql::sqlparser::dialect::PostgreSqlDialect {};
    datafusion::sql::sqlparser::parser::Parser::new(&dialect).try_with_sql(sql).ok()?.parse_expr().ok()
}

/// A scalar subquery over rows becomes one over an aggregate, which DataFusion can decorrelate.
fn single_value(query: &mut Query) {
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if !plain || grouped || select.distinct.is_some() || select.having.is_some() || select.from.is_empty() {
        return;
    }
    let [item] = select.projection.as_mut_slice() else { return };
    let (expr, name) = match item {
        SelectItem::UnnamedExpr(expr) => (expr.clone(), of(expr)),
        SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), folded(alias)),
        _ => return,
    };
    if aggregates(&expr) {
        return;
    }
    if let Some(call) = parsed(&format!("{}({expr})", super::functions::SINGLE_VALUE)) {
        *item = SelectItem::ExprWithAlias { expr: call, alias: Ident::with_quote('"', name) };
    }
}

/// Whether the expression calls an aggregate or a window function.
fn aggregates(expr: &Expr) -> bool {
    const AGGREGATES: [&str; 26] = [
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "corr",
        "count",
        "covar_pop",
        "covar_samp",
        "every",
        "first_value",
        "json_agg",
        "jsonb_agg",
        "last_value",
        "max",
        "mean",
        "median",
        "min",
        "stddev",
        "string_agg",
        "sum",
        "var_pop",
        "var_samp",
        "variance",
    ];
    let found = visit_expressions(expr, |e| match e {
        Expr::Function(f) => {
            let name = f.name.0.last().and_then(ObjectNamePart::as_ident).map(folded).unwrap_or_default();
            let known = AGGREGATES.contains(&name.as_str())
                || name.starts_with("approx_")
                || name == super::functions::SINGLE_VALUE;
            if known || f.over.is_some() || f.filter.is_some() || name.starts_with("stddev_") {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// DataFusion's table functions take positional arguments only: a name goes before its value, marked.
fn positional(argument: FunctionArg) -> Vec<FunctionArg> {
    let name = match &argument {
        FunctionArg::Named { name, .. } => folded(name),
        FunctionArg::ExprNamed { name: Expr::Identifier(name), .. } => folded(name),
        _ => return vec![argument],
    };
    let marked = Value::SingleQuotedString(format!("{}{name}", super::relations::NAMED));
    let marked = FunctionArgExpr::Expr(Expr::Value(marked.into()));
    match argument {
        FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } => {
            vec![FunctionArg::Unnamed(marked), FunctionArg::Unnamed(arg)]
        }
        other => vec![other],
    }
}

fn as_query(function: &ast::Function) -> Option<Query> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let arguments = list.args.iter().map(FunctionArg::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT * FROM {}({arguments})", function.name);
    let dialect = datafusion::sql::sqlparser::dialect::PostgreSqlDialect {};
    let statements = ast_parser(&dialect, &sql)?;
    match statements.into_iter().next()? {
        Statement::Query(mut query) => {
            let _ = query.visit(&mut Namer);
            Some(*query)
        }
        _ => None,
    }
}

fn ast_parser(
    dialect: &dyn datafusion::sql::sqlparser::dialect::Dialect,
    sql: &str,
) -> Option<Vec<Statement>> {
    datafusion::sql::sqlparser::parser::Parser::parse_sql(dialect, sql).ok()
}

fn name_items(items: &mut [SelectItem]) {
    let mut taken = HashSet::new();
    // The names behind a wildcard aren't known yet, so columns beside it step aside.
    let wildcard =
        items.iter().any(|i| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    for item in items.iter_mut() {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = column_name(expr).unwrap_or_else(|| UNNAMED.to_owned());
                let plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                if wildcard && plain {
                    taken.insert(name.clone());
                }
                let unique = unique(&name, &mut taken);
                if !plain || unique != name {
                    let alias = Ident::with_quote('"', unique);
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = folded(alias);
                let unique = unique(&name, &mut taken);
                if unique != name {
                    *alias = Ident::with_quote('"', unique);
                }
            }
            _ => {}
        }
    }
}

fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.to_owned();
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}{MARK}{}", taken.len());
    }
    candidate
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// What PostgreSQL calls a column of this expression, `None` for `?column?`.
fn column_name(expr: &Expr) -> Option<String> {
    let fixed = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Function(function) => {
            let name = function.name.0.last().and_then(ObjectNamePart::as_ident).map(folded)?;
            Some(match name.as_str() {
                "epoch_extract" => "extract".to_owned(),
                "byteain" => "bytea".to_owned(),
                "epoch_like" => return None,
                _ => name,
            })
        }
        Expr::Cast { kind: CastKind::TryCast | CastKind::SafeCast, .. } => fixed("try_cast"),
        Expr::Cast { expr, data_type, .. } => strong_name(expr).or_else(|| Some(type_name(data_type))),
        Expr::TypedString(typed) => Some(type_name(&typed.data_type)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => column_name(inner),
        Expr::CompoundFieldAccess { root, .. } => column_name(root),
        // A subquery whose conditions on the outer row were put before it.
        Expr::Case { operand: None, conditions, else_result: None, .. } if matches!(conditions.as_slice(), [only] if matches!(only.result, Expr::Subquery(_))) => {
            conditions.first().and_then(|c| column_name(&c.result))
        }
        Expr::Case { else_result, .. } => {
            else_result.as_ref().and_then(|e| strong_name(e)).or_else(|| fixed("case"))
        }
        Expr::Exists { .. } => fixed("exists"),
        Expr::Subquery(query) => subquery_name(query),
        Expr::Array(_) => fixed("array"),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Substring { shorthand, .. } => fixed(if *shorthand { "substr" } else { "substring" }),
        Expr::Trim { trim_where: Some(ast::TrimWhereField::Leading), .. } => fixed("ltrim"),
        Expr::Trim { trim_where: Some(ast::TrimWhereField::Trailing), .. } => fixed("rtrim"),
        Expr::Trim { .. } => fixed("btrim"),
        Expr::Position { .. } => fixed("position"),
        Expr::Ceil { .. } => fixed("ceil"),
        Expr::Floor { .. } => fixed("floor"),
        Expr::Overlay { .. } => fixed("overlay"),
        Expr::AtTimeZone { .. } => fixed("timezone"),
        Expr::Interval(_) => fixed("interval"),
        Expr::Tuple(_) => fixed("row"),
        _ => None,
    }
}

/// The name that an expression hands on to the cast or CASE around it. What a cast or a CASE is called itself isn't
/// one: only what is in it may be.
fn strong_name(inner: &Expr) -> Option<String> {
    match inner {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => strong_name(expr),
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => None,
        Expr::Case { operand: None, conditions, else_result: None, .. } if matches!(conditions.as_slice(), [only] if matches!(only.result, Expr::Subquery(_))) => {
            column_name(inner)
        }
        Expr::Case { else_result, .. } => else_result.as_ref().and_then(|e| strong_name(e)),
        other => column_name(other),
    }
}

fn subquery_name(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.first()? {
        SelectItem::UnnamedExpr(expr) => column_name(expr),
        SelectItem::ExprWithAlias { alias, .. } => Some(visible(&folded(alias)).to_owned()),
        // Our own scalar functions, as relations.
        SelectItem::Wildcard(_) => match &select.from.first()?.relation {
            TableFactor::Table { name, .. } => name.0.last().and_then(ObjectNamePart::as_ident).map(folded),
            _ => None,
        },
        _ => None,
    }
}

/// The short name of a type: `x::integer` is called `int4`.
fn type_name(data_type: &ast::DataType) -> String {
    let text = data_type.to_string();
    match super::types::parse_type(&text) {
        Some((pg_type, _)) => pg_type.name().trim_start_matches('_').to_owned(),
        None => text.to_lowercase(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(sql: &str) -> String {
        let dialect = datafusion::sql::sqlparser::dialect::PostgreSqlDialect {};
        let mut statement = ast_parser(&dialect, sql).unwrap().remove(0);
        apply(&mut statement);
        statement.to_string().replace(MARK, "#")
    }

    #[test]
    fn columns_get_postgresqls_names() {
        assert_eq!(named("SELECT a, t.B, count(*) FROM t"), "SELECT a, t.B, count(*) AS \"count\" FROM t");
        assert_eq!(named("SELECT 'x'::text, a + 1"), "SELECT 'x'::TEXT AS \"text\", a + 1 AS \"?column?\"");
        assert_eq!(named("SELECT 1"), "SELECT 1 AS \"?column?\"");
        assert_eq!(
            named("SELECT (SELECT max(id) FROM t)"),
            "SELECT (SELECT max(id) AS \"max\" FROM t) AS \"max\""
        );
    }

    #[test]
    fn names_may_repeat() {
        assert_eq!(named("SELECT a, a FROM t"), "SELECT a, a AS \"a#1\" FROM t");
        assert_eq!(visible("a\u{1}1"), "a");
    }
}
