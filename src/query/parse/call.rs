//! Arguments of calls, as far as they are known without running anything.

use pg_raw_parse::{ConstValue, Node, nodes};

/// One argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Of `name => value`.
    pub name: Option<String>,
    /// The value.
    pub value: Constant,
}

/// A value that is known without running anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    /// NULL
    Null,
    /// A string, or a number that is no integer.
    Text(String),
    /// An integer.
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// An array of strings.
    Array(Vec<String>),
    /// `$n`, counted from 0.
    Param(usize),
    /// An expression.
    Expression,
}

pub(super) fn arguments(call: &nodes::FuncCall) -> Vec<Argument> {
    let one = |node: Node<'_>| match node {
        Node::NamedArgExpr(named) => {
            Argument { name: named.name().map(str::to_owned), value: constant(named.arg()) }
        }
        node => Argument { name: None, value: constant(node) },
    };
    call.args().iter().map(one).collect()
}

pub(super) fn constant(node: Node<'_>) -> Constant {
    match node {
        Node::A_Const(value) => match value.val() {
            None => Constant::Null,
            Some(ConstValue::Integer(i)) => Constant::Int(i.into()),
            Some(ConstValue::Boolean(b)) => Constant::Bool(b),
            Some(ConstValue::String(s)) => Constant::Text(s.to_owned()),
            Some(ConstValue::Float(f)) => {
                let digits = f.replace('_', "");
                digits.parse().map_or_else(|_| Constant::Text(f.to_owned()), Constant::Int)
            }
            Some(_) => Constant::Expression,
        },
        Node::ParamRef(param) => match usize::try_from(param.number) {
            Ok(number) if number > 0 => Constant::Param(number - 1),
            _ => Constant::Expression,
        },
        Node::TypeCast(cast) => casted(cast),
        Node::A_Expr(expr) => negated(expr),
        Node::A_ArrayExpr(array) => {
            let items = array.elements().iter().map(|n| match constant(n) {
                Constant::Text(text) => Some(text),
                Constant::Int(number) => Some(number.to_string()),
                _ => None,
            });
            items.collect::<Option<Vec<_>>>().map_or(Constant::Expression, Constant::Array)
        }
        _ => Constant::Expression,
    }
}

/// Casts to text, integers, booleans and arrays of text say what type a constant has anyway.
fn casted(cast: &nodes::TypeCast) -> Constant {
    let Some(target) = cast.type_name() else { return Constant::Expression };
    let name = target.names().iter().next_back().and_then(|n| n.sval()).unwrap_or_default();
    let array = !target.array_bounds().is_empty();
    match (constant(cast.arg()), name, array) {
        (Constant::Param(n), ..) => Constant::Param(n),
        (Constant::Null, ..) => Constant::Null,
        (Constant::Array(items), "text" | "varchar" | "name", true) => Constant::Array(items),
        (Constant::Text(text), "text" | "varchar" | "name", true) => {
            array_literal(&text).map_or(Constant::Expression, Constant::Array)
        }
        (Constant::Text(text), "text" | "varchar" | "name" | "bpchar" | "unknown", false) => {
            Constant::Text(text)
        }
        (Constant::Text(text), "bool", false) => match text.as_str() {
            "t" | "true" | "on" | "1" | "yes" => Constant::Bool(true),
            "f" | "false" | "off" | "0" | "no" => Constant::Bool(false),
            _ => Constant::Expression,
        },
        (Constant::Text(text), "int2" | "int4" | "int8", false) => {
            text.trim().parse().map_or(Constant::Expression, Constant::Int)
        }
        (Constant::Int(i), "int2" | "int4" | "int8", false) => Constant::Int(i),
        (Constant::Int(i), "text" | "varchar", false) => Constant::Text(i.to_string()),
        (Constant::Bool(b), "bool", false) => Constant::Bool(b),
        _ => Constant::Expression,
    }
}

fn negated(expr: &nodes::A_Expr) -> Constant {
    let minus = expr.name().iter().next_back().and_then(|n| n.as_str()) == Some("-");
    match (expr.lexpr(), constant(expr.rexpr())) {
        (Node::None, Constant::Int(i)) if minus => {
            i.checked_neg().map_or(Constant::Expression, Constant::Int)
        }
        _ => Constant::Expression,
    }
}

/// The elements of a one-dimensional array in its text form: `{a,"b c"}`.
pub fn array_literal(text: &str) -> Option<Vec<String>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let (mut item, mut quoted, mut was_quoted) = (String::new(), false, false);
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => item.push(chars.next()?),
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => {
                items.push(finished(&mut item, &mut was_quoted)?);
            }
            '{' | '}' if !quoted => return None,
            c => item.push(c),
        }
    }
    if quoted {
        return None;
    }
    if !inside.trim().is_empty() {
        items.push(finished(&mut item, &mut was_quoted)?);
    }
    Some(items)
}

fn finished(item: &mut String, was_quoted: &mut bool) -> Option<String> {
    let text = std::mem::take(item);
    if std::mem::take(was_quoted) {
        return Some(text);
    }
    let text = text.trim();
    (!text.is_empty() && !text.eq_ignore_ascii_case("null")).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::array_literal;

    #[test]
    fn array_literals() {
        let items = |t: &str| array_literal(t).map(|v| v.join("|"));
        assert_eq!(items("{a,b}"), Some("a|b".into()));
        assert_eq!(items(r#"{"a, \"x\"", b }"#), Some("a, \"x\"|b".into()));
        assert_eq!(items("{}"), Some(String::new()));
        for bad in ["a", "{a", "{{a}}", "{a,}", "{NULL}", "{\"a}"] {
            assert_eq!(items(bad), None, "{bad}");
        }
    }
}
