//! Special forms as calls of functions, whose arguments PostgreSQL's rules settle.

use datafusion::sql::sqlparser::ast::{Expr, Value, ValueWithSpan};

use super::parsed;

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
