//! Counts of the rows of all branches: what a query wants to count need not be read row by row, branch after branch.

use pg_raw_parse::{Node, nodes};

use super::{Kind, call_of, is_bare};
use crate::query::parse::call::constant;
use crate::query::parse::{Argument, Constant};

/// `SELECT count(*) FROM epoch_all_branches(…)` and `SELECT _branch, count(*) FROM epoch_all_branches(…) GROUP BY _branch`,
/// and nothing else, as calls that count.
pub(super) fn of_branches(select: &nodes::SelectStmt) -> Option<Kind> {
    if !is_bare(select) || select.group_distinct || select.from_clause().len() != 1 {
        return None;
    }
    let targets: Vec<&nodes::ResTarget> = select.target_list().iter().collect();
    let by_branch = match targets.as_slice() {
        [count] => is_count(count) && select.group_clause().is_empty(),
        [branch, count] => is_branch(branch.val()) && is_count(count) && groups_by_branch(select),
        _ => false,
    };
    if !by_branch {
        return None;
    }
    let Some(Node::RangeFunction(item)) = select.from_clause().first() else { return None };
    let renamed = item.alias().is_some_and(|a| !a.colnames().is_empty());
    if item.ordinality || item.is_rowsfrom || !item.coldeflist().is_empty() || renamed {
        return None;
    }
    let Node::FuncCall(call) = item.functions().first()?.as_node_list()?.first()? else { return None };
    let names: Vec<&str> = call.funcname().iter().filter_map(|n| n.as_str()).collect();
    if names != ["epoch_all_branches"] {
        return None;
    }
    let called =
        |target: &nodes::ResTarget, name: &str| (name.to_owned(), target.name().unwrap_or(name).to_owned());
    let (chosen, how) = match targets.as_slice() {
        [count] => (vec![called(count, "count")], "total"),
        [branch, count] => (vec![called(branch, "_branch"), called(count, "count")], "present"),
        _ => return None,
    };
    let Kind::Call { name, mut arguments, from, alias, columns, .. } =
        call_of(call, true, None, Vec::new(), Vec::new())?
    else {
        return None;
    };
    // One that counts already has other columns.
    let [Argument { value: Constant::Text(_) | Constant::Param(_), .. }] = arguments.as_slice() else {
        return None;
    };
    for flag in ["count", how] {
        arguments.push(Argument { name: Some(flag.to_owned()), value: Constant::Bool(true) });
    }
    Some(Kind::Call { name, arguments, from, alias, columns, chosen })
}

/// `count(*)`, and nothing about it.
fn is_count(target: &nodes::ResTarget) -> bool {
    let Node::FuncCall(call) = target.val() else { return false };
    let names: Vec<&str> = call.funcname().iter().filter_map(|n| n.as_str()).collect();
    matches!(names.as_slice(), ["count"] | ["pg_catalog", "count"])
        && call.agg_star
        && !call.agg_within_group
        && matches!(call.agg_filter(), Node::None)
        && call.over().is_none()
}

fn is_branch(node: Node<'_>) -> bool {
    let Node::ColumnRef(column) = node else { return false };
    let fields = column.fields();
    fields.len() == 1 && fields.first().and_then(|f| f.as_str()) == Some("_branch")
}

/// GROUP BY the branch, by its name or its place.
fn groups_by_branch(select: &nodes::SelectStmt) -> bool {
    let mut groups = select.group_clause().iter();
    match (groups.next(), groups.next()) {
        (Some(group), None) => is_branch(group) || constant(group) == Constant::Int(1),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn flags(sql: &str) -> Option<(Vec<String>, Vec<(String, String)>)> {
        match super::super::super::parse(sql).unwrap().statements[0].kind.clone() {
            Kind::Call { arguments, chosen, .. } => {
                Some((arguments.into_iter().filter_map(|a| a.name).collect(), chosen))
            }
            _ => None,
        }
    }

    #[test]
    fn counts_of_all_branches_are_calls_that_count() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let total = flags("SELECT count(*) FROM epoch_all_branches('t')").unwrap();
        assert_eq!(total, (vec!["count".to_owned(), "total".to_owned()], vec![pair("count", "count")]));
        let by_branch =
            flags("SELECT _branch AS b, count(*) n FROM epoch_all_branches($1) x GROUP BY 1").unwrap();
        let expected = vec![pair("_branch", "b"), pair("count", "n")];
        assert_eq!(by_branch, (vec!["count".to_owned(), "present".to_owned()], expected));
    }

    #[test]
    fn other_queries_read_rows() {
        for sql in [
            "SELECT count(*) FROM epoch_all_branches('t') WHERE id = 1",
            "SELECT count(id) FROM epoch_all_branches('t')",
            "SELECT count(*) FROM epoch_all_branches('t', '--count')",
            "SELECT count(*), sum(n) FROM epoch_all_branches('t')",
            "SELECT count(*) FROM epoch_all_branches('t') GROUP BY _branch",
            "SELECT _branch, count(*) FROM epoch_all_branches('t') GROUP BY _branch, n",
            "SELECT _branch, count(*) FROM epoch_all_branches('t') GROUP BY _branch HAVING count(*) > 1",
            "SELECT count(*) FILTER (WHERE n > 1) FROM epoch_all_branches('t')",
            "SELECT count(*) FROM epoch_history('t')",
        ] {
            assert_eq!(flags(sql), None, "{sql}");
        }
    }
}
