//! Select lists: where their items are.

use pg_raw_parse::{Node, nodes};

use super::walk::Walker;

/// The select list of a query, at any level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectList {
    /// The query.
    pub scope: usize,
    /// Its items.
    pub items: Vec<SelectItem>,
    /// GROUP BY, or DISTINCT ON.
    pub grouped: bool,
    /// DISTINCT with ORDER BY, or GROUP BY an item by its place or name: what it goes by must be among the items.
    pub distinct: bool,
    /// Whether the query has LIMIT or OFFSET.
    pub limited: bool,
}

/// An item of a select list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectItem {
    /// Where it starts.
    pub start: usize,
    /// Whether it is given a name.
    pub named: bool,
}

/// Notes the select list of a query.
pub(super) fn note(walker: &mut Walker<'_>, select: &nodes::SelectStmt) {
    let item = |target: &nodes::ResTarget| {
        let start = usize::try_from(target.location).ok()?;
        Some(SelectItem { start, named: target.name().is_some() })
    };
    let items: Vec<SelectItem> = select.target_list().iter().filter_map(item).collect();
    let Some(scope) = walker.here().filter(|_| !items.is_empty()) else { return };
    let there = |node: Node<'_>| !matches!(node, Node::None);
    // DISTINCT alone has nothing in its list.
    let distinct = select.distinct_clause().iter().next();
    walker.select_lists.push(SelectList {
        scope,
        items,
        grouped: !select.group_clause().is_empty() || matches!(distinct, Some(by) if there(by)),
        distinct: by_item(select)
            || matches!(distinct, Some(by) if !there(by)) && !select.sort_clause().is_empty(),
        limited: there(select.limit_count()) || there(select.limit_offset()),
    });
}

/// Whether rows are grouped by an item of the list.
fn by_item(select: &nodes::SelectStmt) -> bool {
    let named = |name: Option<&str>| {
        name.is_some() && select.target_list().iter().any(|target| target.name() == name)
    };
    select.group_clause().iter().any(|by| match by {
        Node::A_Const(_) => true,
        Node::ColumnRef(column) if column.fields().len() == 1 => {
            named(column.fields().iter().next().and_then(|field| field.as_str()))
        }
        Node::GroupingSet(_) => true,
        _ => false,
    })
}
