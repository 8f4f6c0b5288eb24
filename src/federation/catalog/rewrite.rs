//! Catalog queries of clients in the form that DataFusion plans.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, FunctionArguments, ObjectNamePart, Query, SelectItem, SetExpr, Statement,
    TableFactor, TableWithJoins, Value, VisitMut, VisitorMut, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules::{
    FixArrayLiteral, RewriteArrayAnyAllOperation, SqlStatementRewriteRule, StripCollate,
};

/// Whether a statement asks the catalogs, so that the rules for client tools apply to it.
pub(crate) fn concerns(sql: &str) -> bool {
    let lowered = sql.to_ascii_lowercase();
    ["pg_catalog", "information_schema", "pg_", "::reg"].iter().any(|word| lowered.contains(word))
}

/// Queries of client tools that DataFusion can't plan in any form and that have no rows here.
pub(crate) fn statement(sql: &str) -> Option<Statement> {
    const HOPELESS: [&str; 3] = ["pg_policy", "pg_statistic_ext", "pg_publication_rel"];
    static PARSER: OnceLock<PostgresCompatibilityParser> = OnceLock::new();
    if !HOPELESS.iter().any(|table| sql.contains(table)) {
        return None;
    }
    PARSER.get_or_init(PostgresCompatibilityParser::new).parse(sql).ok()?.into_iter().next()
}

/// Applies the rules.
pub(crate) fn apply(statement: Statement) -> Statement {
    let statement = StripCollate.rewrite(statement);
    let statement = FixArrayLiteral.rewrite(statement);
    let mut statement = RewriteArrayAnyAllOperation.rewrite(statement);
    let _ = statement.visit(&mut Rewriter);
    statement
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::BinaryOp { op, .. } => plain_operator(op),
            Expr::Cast { expr: name, data_type, .. } if is_regclass(data_type) => {
                if let Expr::Value(text) = name.as_ref()
                    && matches!(text.value, Value::SingleQuotedString(_))
                    && let Some(call) = parse(&format!("regclassin({text})"))
                {
                    *expr = call;
                }
            }
            Expr::Subquery(query) => {
                if let Some(simpler) = decorrelated(query) {
                    *expr = simpler;
                }
            }
            Expr::Function(function) => {
                if let FunctionArguments::Subquery(query) = &function.args
                    && function.name.to_string().eq_ignore_ascii_case("array")
                {
                    let mut query = query.clone();
                    aggregate(&mut query);
                    *expr = Expr::Subquery(query);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// `OPERATOR(pg_catalog.~)` is `~`.
fn plain_operator(op: &mut BinaryOperator) {
    if let BinaryOperator::PGCustomBinaryOperator(parts) = op {
        *op = match parts.last().map(String::as_str) {
            Some("~") => BinaryOperator::PGRegexMatch,
            Some("~*") => BinaryOperator::PGRegexIMatch,
            Some("!~") => BinaryOperator::PGRegexNotMatch,
            Some("!~*") => BinaryOperator::PGRegexNotIMatch,
            Some("=") => BinaryOperator::Eq,
            Some("<>") => BinaryOperator::NotEq,
            _ => return,
        };
    }
}

fn is_regclass(data_type: &DataType) -> bool {
    match data_type {
        DataType::Regclass => true,
        DataType::Custom(name, _) => {
            let last = name.0.last().and_then(ObjectNamePart::as_ident);
            last.is_some_and(|i| i.value.eq_ignore_ascii_case("regclass"))
        }
        _ => false,
    }
}

/// DataFusion decorrelates scalar subqueries by equalities only. Conditions on the outer row alone go
/// before the subquery; the collation of a column is never another than its type's here.
fn decorrelated(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let names: Vec<String> = select.from.iter().flat_map(relations).collect();
    if select.from.iter().any(|f| f.relation.to_string().contains("pg_collation")) {
        return parse("NULL::text");
    }
    let mut conditions = Vec::new();
    conjuncts(select.selection.as_ref()?, &mut conditions);
    let (outer, inner): (Vec<&Expr>, Vec<&Expr>) = conditions.into_iter().partition(|c| is_outer(c, &names));
    if outer.is_empty() {
        return None;
    }
    let joined = |all: &[&Expr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" AND ");
    let mut query = query.clone();
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.selection = if inner.is_empty() { None } else { Some(parse(&joined(&inner))?) };
    }
    parse(&format!("CASE WHEN {} THEN ({query}) END", joined(&outer)))
}

fn relations(from: &TableWithJoins) -> Vec<String> {
    let joined = from.joins.iter().map(|j| &j.relation);
    let name = |factor: &TableFactor| match factor {
        TableFactor::Table { alias: Some(alias), .. } => alias.name.value.clone(),
        TableFactor::Table { name, .. } => {
            name.0.last().and_then(ObjectNamePart::as_ident).map(|i| i.value.clone()).unwrap_or_default()
        }
        _ => String::new(),
    };
    std::iter::once(&from.relation).chain(joined).map(name).collect()
}

fn conjuncts<'a>(expr: &'a Expr, out: &mut Vec<&'a Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, out);
            conjuncts(right, out);
        }
        other => out.push(other),
    }
}

/// Whether a condition names columns, all of them of other relations.
fn is_outer(condition: &Expr, names: &[String]) -> bool {
    let mut qualified = 0;
    let found = visit_expressions(condition, |e| match e {
        Expr::CompoundIdentifier(parts) if parts.first().is_some_and(|p| !names.contains(&p.value)) => {
            qualified += 1;
            ControlFlow::Continue(())
        }
        Expr::CompoundIdentifier(_) | Expr::Identifier(_) | Expr::Subquery(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_continue() && qualified > 0
}

/// `ARRAY(SELECT x …)` as `(SELECT array_agg(x) …)`.
fn aggregate(query: &mut Query) {
    query.order_by = None;
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let [item] = select.projection.as_mut_slice() else { return };
    let expr = match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
        _ => return,
    };
    if let Some(call) = parse(&format!("array_agg({expr})")) {
        *item = SelectItem::UnnamedExpr(call);
    }
}

fn parse(sql: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).ok()?.parse_expr().ok()
}
