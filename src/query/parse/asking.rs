//! What a query asks of a function or relation of ours in its FROM: conditions on columns that it compares with
//! constants, in which order, and how many rows. Nothing here takes the place of the query's own clauses.

use epoch_adapter::Comparison;
use pg_raw_parse::{Node, nodes};

use super::call::{Constant, constant};
use super::walk::Walker;

/// The first of these columns that isn't NULL.
pub type Term = Vec<String>;

/// What is asked of one item of FROM.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// Where its name starts.
    pub at: usize,
    /// Conditions that rows have to meet.
    pub conditions: Vec<AskedFor>,
    /// How many rows that meet the conditions are enough: LIMIT, and what OFFSET adds to it.
    pub limit: Option<(Constant, Option<Constant>)>,
    /// The order that they are wanted in, each term falling or not.
    pub order: Vec<(Term, bool)>,
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub enum AskedFor {
    /// A comparison, of rows if there are several terms.
    Compare(Vec<Term>, Comparison, Vec<Constant>),
    /// One of these.
    In(Term, Vec<Constant>),
    /// One of an array's.
    Any(Term, Constant),
}

impl Asking {
    /// The parameters that it depends on, from 0.
    pub fn parameters(&self) -> impl Iterator<Item = usize> {
        let of = |condition: &AskedFor| match condition {
            AskedFor::Compare(_, _, values) | AskedFor::In(_, values) => values.clone(),
            AskedFor::Any(_, value) => vec![value.clone()],
        };
        let limit =
            self.limit.iter().flat_map(|(count, offset)| std::iter::once(count).chain(offset)).cloned();
        let all: Vec<Constant> = self.conditions.iter().flat_map(of).chain(limit).collect();
        all.into_iter().filter_map(|value| if let Constant::Param(n) = value { Some(n) } else { None })
    }
}

/// An item of FROM that may be one of ours.
struct Item<'a> {
    at: usize,
    called: &'a str,
}

/// Notes what a query asks of items that may be ours.
pub(super) fn note(walker: &mut Walker<'_>, select: &nodes::SelectStmt) {
    let items: Vec<Item<'_>> = select.from_clause().iter().filter_map(item).collect();
    for item in items {
        let mut conditions = Vec::new();
        let whole = gather(&item, select.where_clause(), &mut conditions);
        let alone = whole && select.from_clause().len() == 1 && keeps_rows(select);
        let order = order(&item, select);
        let limit = match (alone, &order) {
            (true, Some(_)) => limit(select),
            _ => None,
        };
        walker.asking.push(Asking { at: item.at, conditions, limit, order: order.unwrap_or_default() });
    }
}

/// A call of a function whose name may be ours, or a relation of schema epoch; its columns have their own names.
fn item<'a>(node: Node<'a>) -> Option<Item<'a>> {
    match node {
        Node::RangeFunction(function) => {
            let special = function.ordinality || function.is_rowsfrom || !function.coldeflist().is_empty();
            let renamed = function.alias().is_some_and(|a| !a.colnames().is_empty());
            let Node::FuncCall(call) = function.functions().first()?.as_node_list()?.first()? else {
                return None;
            };
            let name = call.funcname().iter().next_back()?.as_str()?;
            let called = function.alias().and_then(|a| a.aliasname()).unwrap_or(name);
            let at = usize::try_from(call.location).ok()?;
            let ours = name.starts_with("epoch_") && !special && !renamed;
            ours.then_some(Item { at, called })
        }
        Node::RangeVar(table) if table.schemaname() == Some("epoch") => {
            let renamed = table.alias().is_some_and(|a| !a.colnames().is_empty());
            let called = table.alias().and_then(|a| a.aliasname()).or(table.relname())?;
            let at = usize::try_from(table.location).ok()?;
            (!renamed).then_some(Item { at, called })
        }
        _ => None,
    }
}

/// The conditions that AND joins; whether all were understood.
fn gather(item: &Item<'_>, node: Node<'_>, found: &mut Vec<AskedFor>) -> bool {
    match node {
        Node::None => true,
        Node::BoolExpr(b) if b.boolop == nodes::BoolExprType::AND_EXPR => {
            // All of them are looked at, whatever one says.
            let known: Vec<bool> = b.args().iter().map(|arg| gather(item, arg, found)).collect();
            known.into_iter().all(|known| known)
        }
        Node::A_Expr(expr) => match condition(item, expr) {
            Some(conditions) => {
                found.extend(conditions);
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn condition(item: &Item<'_>, expr: &nodes::A_Expr) -> Option<Vec<AskedFor>> {
    use nodes::A_Expr_Kind as Kind;
    let operator = if expr.name().len() == 1 { expr.name().first()?.as_str()? } else { return None };
    let (left, right) = (expr.lexpr(), expr.rexpr());
    match expr.kind {
        Kind::AEXPR_OP => compare(item, operator, left, right).map(|c| vec![c]),
        Kind::AEXPR_IN if operator == "=" => {
            let values = right.as_node_list()?.iter().map(value).collect::<Option<Vec<_>>>()?;
            Some(vec![AskedFor::In(term(item, left)?, values)])
        }
        Kind::AEXPR_OP_ANY if operator == "=" && !is_cut(right) => match constant(right) {
            value @ (Constant::Array(_) | Constant::Param(_)) => {
                Some(vec![AskedFor::Any(term(item, left)?, value)])
            }
            _ => None,
        },
        Kind::AEXPR_BETWEEN => {
            let term = term(item, left)?;
            let bounds = right.as_node_list()?.iter().map(value).collect::<Option<Vec<_>>>()?;
            let [low, high] = bounds.as_slice() else { return None };
            let bound = |op, value: &Constant| AskedFor::Compare(vec![term.clone()], op, vec![value.clone()]);
            Some(vec![bound(Comparison::GtEq, low), bound(Comparison::LtEq, high)])
        }
        _ => None,
    }
}

fn compare(item: &Item<'_>, operator: &str, left: Node<'_>, right: Node<'_>) -> Option<AskedFor> {
    let op = match operator {
        "=" => Comparison::Eq,
        "<" => Comparison::Lt,
        "<=" => Comparison::LtEq,
        ">" => Comparison::Gt,
        ">=" => Comparison::GtEq,
        _ => return None,
    };
    if let (Node::RowExpr(terms), Node::RowExpr(values)) = (left, right) {
        let terms = terms.args().iter().map(|t| term(item, t)).collect::<Option<Vec<_>>>()?;
        let values = values.args().iter().map(value).collect::<Option<Vec<_>>>()?;
        return (terms.len() == values.len()).then_some(AskedFor::Compare(terms, op, values));
    }
    let turned = match op {
        Comparison::Lt => Comparison::Gt,
        Comparison::LtEq => Comparison::GtEq,
        Comparison::Gt => Comparison::Lt,
        Comparison::GtEq => Comparison::LtEq,
        same => same,
    };
    let (op, term, value) = match (term(item, left), value(right)) {
        (Some(term), Some(value)) => (op, term, value),
        _ => (turned, term(item, right)?, value(left)?),
    };
    Some(AskedFor::Compare(vec![term], op, vec![value]))
}

/// A value whose type is the column's, or that can be told from its text. A cast may be to a type that compares
/// otherwise.
fn value(node: Node<'_>) -> Option<Constant> {
    const SAME: &[&str] = &["text", "varchar", "int2", "int4", "int8", "bool", "uuid", "date", "numeric"];
    if is_cut(node) {
        return None;
    }
    if let Node::TypeCast(cast) = node {
        let target = cast.type_name()?;
        let name = target.names().iter().next_back().and_then(|n| n.sval())?;
        if !SAME.contains(&name) || !target.array_bounds().is_empty() {
            return None;
        }
    }
    match constant(node) {
        Constant::Null | Constant::Array(_) | Constant::Expression => None,
        value => Some(value),
    }
}

/// Whether a cast has a length, which may change the value.
fn is_cut(node: Node<'_>) -> bool {
    match node {
        Node::TypeCast(cast) => {
            cast.type_name().is_some_and(|t| !t.typmods().is_empty()) || is_cut(cast.arg())
        }
        Node::A_ArrayExpr(array) => array.elements().iter().any(is_cut),
        _ => false,
    }
}

/// A column of the item. Without the item's name: if another item has one of this name, too, the query fails.
fn column(item: &Item<'_>, node: Node<'_>) -> Option<String> {
    let Node::ColumnRef(column) = node else { return None };
    let fields: Vec<&str> = column.fields().iter().map(|f| f.as_str()).collect::<Option<_>>()?;
    match fields.as_slice() {
        [name] => Some((*name).to_owned()),
        [called, name] if *called == item.called => Some((*name).to_owned()),
        _ => None,
    }
}

fn term(item: &Item<'_>, node: Node<'_>) -> Option<Term> {
    match node {
        Node::CoalesceExpr(all) => all.args().iter().map(|arg| column(item, arg)).collect(),
        node => column(item, node).map(|name| vec![name]),
    }
}

/// Whether the query returns each row that meets its condition, once.
fn keeps_rows(select: &nodes::SelectStmt) -> bool {
    let lists = [select.group_clause(), select.distinct_clause(), select.window_clause()];
    lists.iter().all(|list| list.is_empty())
        && matches!(select.having_clause(), Node::None)
        && select.locking_clause().is_empty()
        && select.op == 0
        && select.target_list().iter().all(|target| is_plain(target.val()))
}

/// No aggregate, and nothing that returns several rows.
fn is_plain(node: Node<'_>) -> bool {
    match node {
        Node::ColumnRef(_) | Node::A_Const(_) | Node::ParamRef(_) => true,
        Node::TypeCast(cast) => is_plain(cast.arg()),
        Node::CoalesceExpr(all) => all.args().iter().all(is_plain),
        Node::A_Expr(expr) => {
            let operator = expr.kind == nodes::A_Expr_Kind::AEXPR_OP;
            operator
                && [expr.lexpr(), expr.rexpr()].into_iter().all(|n| matches!(n, Node::None) || is_plain(n))
        }
        _ => false,
    }
}

/// The terms of ORDER BY; `None` if one isn't a term of the item.
fn order(item: &Item<'_>, select: &nodes::SelectStmt) -> Option<Vec<(Term, bool)>> {
    let mut found = Vec::new();
    for sort in select.sort_clause().iter() {
        let term = term(item, sort.node())?;
        // A name by itself may be that of something that the query returns: `AS`, or what PostgreSQL calls an expression.
        let lone = term.len() == 1;
        let other = |target: &nodes::ResTarget| match (target.name(), target.val()) {
            (None, Node::ColumnRef(_)) => false,
            (None, _) => true,
            (Some(name), value) => {
                term == [name.to_owned()] && column(item, value).is_none_or(|column| term != [column])
            }
        };
        if !sort.use_op().is_empty() || (lone && select.target_list().iter().any(other)) {
            return None;
        }
        found.push((term, sort.sortby_dir == nodes::SortByDir::SORTBY_DESC));
    }
    Some(found)
}

fn limit(select: &nodes::SelectStmt) -> Option<(Constant, Option<Constant>)> {
    if select.limit_option == nodes::LimitOption::LIMIT_OPTION_WITH_TIES {
        return None;
    }
    let number = |node: Node<'_>| match constant(node) {
        value @ (Constant::Int(_) | Constant::Param(_)) => Some(value),
        _ => None,
    };
    let count = number(select.limit_count())?;
    match select.limit_offset() {
        Node::None => Some((count, None)),
        offset => Some((count, Some(number(offset)?))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn asking(sql: &str) -> Asking {
        super::super::parse(sql).unwrap().statements[0].asking[0].clone()
    }

    #[test]
    fn a_limit_went_past_an_order_by_the_name_of_a_cast() {
        let limited = |sql: &str| asking(sql).limit.is_some();
        assert!(limited("SELECT commit_order FROM epoch.log ORDER BY commit_order DESC LIMIT 3"));
        assert!(limited("SELECT * FROM epoch_blame('t') b ORDER BY b.id LIMIT 3"));
        for list in
            ["commit_order::text", "-commit_order AS commit_order", "count(*)", "message AS commit_order"]
        {
            assert!(
                !limited(&format!("SELECT {list} FROM epoch.log ORDER BY commit_order LIMIT 3")),
                "{list}"
            );
        }
        assert!(!limited("SELECT * FROM epoch.log, t LIMIT 3"));
    }

    #[test]
    fn a_value_that_a_cast_cuts_was_asked_for_as_a_whole() {
        let conditions = |condition: &str| {
            asking(&format!("SELECT 1 FROM epoch_diff('a', 'b', 't') WHERE {condition}")).conditions.len()
        };
        assert_eq!(conditions("to_k = 'abc' AND to_n IN (1, 2) AND 5 > to_n AND to_v IS NULL"), 3);
        for cut in
            ["'abcdef'::varchar(3)", "12345::varchar(3)", "$1::varchar(3)", "ANY ('{abcdef}'::varchar(3)[])"]
        {
            assert_eq!(conditions(&format!("to_k = {cut}")), 0, "{cut}");
        }
    }
}
