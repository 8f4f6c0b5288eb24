//! What a statement returns, column by column, as far as it is columns of the tables that it names.

use pg_raw_parse::{Node, nodes};

use super::statement::{is_starred, item_names};
use super::walk::Walker;

/// What the outermost query or RETURNING lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What its expressions can name.
    pub scope: usize,
    /// Its items.
    pub items: Vec<ListedItem>,
    /// The names of the FROM items of which `*` shows the columns, in order, if that can be told.
    pub starrable: Option<Vec<String>>,
}

/// An item of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedItem {
    /// A column reference, by where it starts.
    Column(usize),
    /// All columns of everything, or of the FROM item that is named.
    Star(Option<String>),
    /// Something else, of which there is one column.
    Other,
}

/// The list of a query without set operations, which has been walked.
pub(super) fn of_query(walker: &Walker<'_>, select: &nodes::SelectStmt) -> Option<Listed> {
    if select.op != nodes::SetOperation::SETOP_NONE || !select.values_lists().is_empty() {
        return None;
    }
    let mut names = Vec::new();
    let all =
        select.from_clause().iter().map(|item| item_names(item, &mut names)).collect::<Option<Vec<_>>>();
    let starrable = all.map(|_| names);
    let items = select.target_list().iter().map(item).collect::<Option<_>>()?;
    Some(Listed { scope: walker.scope_of(select)?, items, starrable })
}

/// One item; `None` if it may be several columns of something that isn't a FROM item.
pub(super) fn item(target: &nodes::ResTarget) -> Option<ListedItem> {
    let value = target.val();
    match value {
        Node::ColumnRef(column) if !is_starred(value) => {
            Some(usize::try_from(column.location).map_or(ListedItem::Other, ListedItem::Column))
        }
        Node::ColumnRef(star) => match star.fields().len() {
            1 => Some(ListedItem::Star(None)),
            2 => Some(ListedItem::Star(Some(star.fields().first()?.as_str()?.to_owned()))),
            _ => None,
        },
        _ if is_starred(value) => None,
        _ => Some(ListedItem::Other),
    }
}
