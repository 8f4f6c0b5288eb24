//! Names of the select list in the other clauses.
//!
//! In PostgreSQL a name of the select list means something in ORDER BY and GROUP BY where it stands by itself, and nowhere
//! else: `SELECT -i AS i … ORDER BY i + 1` and `HAVING i > 1` are about the table's column. DataFusion takes the alias. So
//! an alias that is read in such a place steps aside, and where it is also meant, its position is written.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderByKind, Query, SelectItem, SetExpr, Value, visit_expressions,
};

use super::{MARK, folded, visible};

/// Renames the aliases of a query that DataFusion would take for a column of its tables.
pub(super) fn step_aside(query: &mut Query) {
    let within = read_within(query);
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let mut sorted: Vec<&mut Expr> = match query.order_by.as_mut().map(|o| &mut o.kind) {
        Some(OrderByKind::Expressions(items)) => items.iter_mut().map(|item| &mut item.expr).collect(),
        _ => Vec::new(),
    };
    for (index, item) in select.projection.iter_mut().enumerate() {
        let Some(name) = hidden(item, &within) else { continue };
        let SelectItem::ExprWithAlias { alias, .. } = item else { continue };
        for expr in &mut sorted {
            if matches!(&**expr, Expr::Identifier(column) if folded(column) == name) {
                **expr = Expr::Value(Value::Number((index + 1).to_string(), false).into());
            }
        }
        *alias = Ident::with_quote('"', format!("{name}{MARK}order{index}"));
    }
}

/// Whether there is an alias that would have to step aside.
pub(crate) fn is_read(query: &Query) -> bool {
    let within = read_within(query);
    match query.body.as_ref() {
        SetExpr::Select(select) => select.projection.iter().any(|item| {
            // `a.x AS x` is the column itself.
            let column = matches!(
                item,
                SelectItem::ExprWithAlias { expr: Expr::CompoundIdentifier(parts), alias }
                    if parts.last().map(folded) == Some(folded(alias))
            );
            !column && hidden(item, &within).is_some()
        }),
        _ => false,
    }
}

/// The alias of an item, if it is one of these names and something else than the column of this name.
fn hidden(item: &SelectItem, within: &HashSet<String>) -> Option<String> {
    let SelectItem::ExprWithAlias { alias, expr } = item else { return None };
    let name = folded(alias);
    let same = matches!(expr, Expr::Identifier(column) if folded(column) == visible(&name));
    (!same && within.contains(visible(&name))).then_some(name)
}

/// The names that HAVING and the expressions of ORDER BY read.
fn read_within(query: &Query) -> HashSet<String> {
    let mut within = HashSet::new();
    let SetExpr::Select(select) = query.body.as_ref() else { return within };
    if let Some(having) = &select.having {
        names_in(having, &mut within);
    }
    if let Some(OrderByKind::Expressions(items)) = query.order_by.as_ref().map(|o| &o.kind) {
        for item in items.iter().filter(|item| !matches!(item.expr, Expr::Identifier(_))) {
            names_in(&item.expr, &mut within);
        }
    }
    within
}

/// The names of columns in an expression. Those in its sub-selects may be theirs: then nothing is said of it.
fn names_in(expr: &Expr, names: &mut HashSet<String>) {
    let mut found = HashSet::new();
    let visited = visit_expressions(expr, |e| {
        match e {
            Expr::Identifier(name) => {
                found.insert(folded(name));
            }
            Expr::CompoundIdentifier(parts) => found.extend(parts.last().map(folded)),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                return ControlFlow::Break(());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    if visited.is_continue() {
        names.extend(found);
    }
}
