//! Queries with GROUP BY. Of a table whose primary key is grouped by, PostgreSQL takes all columns for grouped.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::{ConstValue, Node, nodes};

use super::statement::is_starred;
use super::walk::Walker;

/// A query with GROUP BY of plain items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouped {
    /// What its expressions can name.
    pub scope: usize,
    /// The columns that it groups by.
    pub keys: Vec<GroupKey>,
    /// Its select list: the name of an item, and the column that it shows.
    pub outputs: Vec<(Option<String>, Option<GroupKey>)>,
    /// The column references that have to be grouped, among the statement's.
    pub uses: Vec<usize>,
    /// Stars in the select list: of all, or of the FROM item that is named.
    pub stars: Vec<Option<String>>,
    /// FROM items whose columns have other names.
    pub renamed: Vec<String>,
}

/// A column that is grouped by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupKey {
    /// The FROM item, if it is named.
    pub of: Option<String>,
    /// The column.
    pub name: String,
    /// Where the item of GROUP BY starts.
    pub at: usize,
}

/// How many columns had been met at the ends of a query's clauses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    /// Of FROM.
    pub from: usize,
    /// Of the select list.
    pub list: usize,
    /// Of WHERE.
    pub condition: usize,
}

/// Notes a query that was walked.
pub(super) fn note(walker: &mut Walker<'_>, select: &nodes::SelectStmt, marks: Marks) {
    let Some(scope) = walker.here().filter(|_| !select.group_clause().is_empty()) else { return };
    let mut renamed = Vec::new();
    if !items(select.from_clause(), &mut renamed) {
        return;
    }
    let outputs: Vec<_> = select.target_list().iter().map(output).collect();
    let starred = select.target_list().iter().any(|target| is_starred(target.val()));
    let mut keys = Vec::new();
    for item in select.group_clause().iter() {
        match item {
            Node::GroupingSet(_) => return,
            Node::ColumnRef(column) => keys.extend(key(column)),
            Node::A_Const(constant) if !starred => {
                let shown = ordinal(constant).and_then(|n| outputs.get(n)).and_then(|(_, key)| key.clone());
                let at = usize::try_from(constant.location).ok();
                keys.extend(shown.zip(at).map(|(key, at)| GroupKey { at, ..key }));
            }
            _ => {}
        }
    }
    if keys.is_empty() {
        return;
    }
    let uses = (marks.from..marks.list).chain(marks.condition..walker.columns.len()).collect();
    let stars = select.target_list().iter().filter_map(|target| star(target.val())).collect();
    walker.grouped.push(Grouped { scope, keys, outputs, uses, stars, renamed });
}

/// Notes the tables of FROM whose columns have other names; false if a join has a name of its own, which hides
/// theirs.
fn items(from: &NodeList, renamed: &mut Vec<String>) -> bool {
    from.iter().all(|node| item(node, renamed))
}

fn item(node: Node<'_>, renamed: &mut Vec<String>) -> bool {
    match node {
        Node::RangeVar(table) => {
            if let Some(alias) = table.alias().filter(|alias| !alias.colnames().is_empty()) {
                renamed.extend(alias.aliasname().map(str::to_owned));
            }
            true
        }
        Node::JoinExpr(join) => {
            join.alias().is_none() && item(join.larg(), renamed) && item(join.rarg(), renamed)
        }
        _ => true,
    }
}

fn key(column: &nodes::ColumnRef) -> Option<GroupKey> {
    let mut fields: Vec<&str> = column.fields().iter().map(|field| field.as_str()).collect::<Option<_>>()?;
    let name = fields.pop()?.to_owned();
    let of = fields.pop().map(str::to_owned);
    Some(GroupKey { of, name, at: usize::try_from(column.location).ok()? })
}

/// An item of the select list.
fn output(target: &nodes::ResTarget) -> (Option<String>, Option<GroupKey>) {
    let shown = match target.val() {
        Node::ColumnRef(column) => key(column),
        _ => None,
    };
    (target.name().map(str::to_owned), shown)
}

/// Which item of the select list a number means, from 0.
fn ordinal(constant: &nodes::A_Const) -> Option<usize> {
    let Some(ConstValue::Integer(number)) = constant.val() else { return None };
    usize::try_from(number).ok()?.checked_sub(1)
}

/// Of what a star shows the columns.
fn star(value: Node<'_>) -> Option<Option<String>> {
    let Node::ColumnRef(column) = value else { return None };
    if !is_starred(value) {
        return None;
    }
    let fields = column.fields();
    let of = fields.len().checked_sub(2).and_then(|i| fields.iter().nth(i));
    Some(of.and_then(|field| field.as_str()).map(str::to_owned))
}
