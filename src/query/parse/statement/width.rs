//! How many columns a query returns.

use pg_raw_parse::{Node, nodes};

use super::super::walk::{CteUse, Walker};

/// A number of columns, and those of tables (by their index in the statement).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Width {
    /// The columns that can be seen.
    pub fixed: usize,
    /// The tables, all of whose columns are returned too.
    pub tables: Vec<usize>,
}

impl Width {
    fn add(&mut self, more: Self) {
        self.fixed += more.fixed;
        self.tables.extend(more.tables);
    }
}

/// The width of a query, if it can be told.
pub(super) fn of_query(
    walker: &Walker<'_>,
    with: Option<&nodes::WithClause>,
    query: &nodes::SelectStmt,
) -> Option<Width> {
    Widths { walker, with }.query(query)
}

/// The width of a list of values over one FROM item, if it can be told.
pub(super) fn of_values<'a>(
    walker: &Walker<'_>,
    with: Option<&nodes::WithClause>,
    values: impl Iterator<Item = Node<'a>>,
    from: Node<'_>,
) -> Option<Width> {
    let widths = Widths { walker, with };
    widths.sum(values.map(|value| widths.value(value, || vec![from])))
}

struct Widths<'w, 's, 'a> {
    walker: &'w Walker<'s>,
    with: Option<&'a nodes::WithClause>,
}

impl Widths<'_, '_, '_> {
    fn sum(&self, widths: impl Iterator<Item = Option<Width>>) -> Option<Width> {
        let mut all = Width::default();
        for width in widths {
            all.add(width?);
        }
        Some(all)
    }

    fn query(&self, query: &nodes::SelectStmt) -> Option<Width> {
        if let Some(left) = query.larg() {
            return self.query(left);
        }
        if let Some(row) = query.values_lists().first() {
            return Some(Width { fixed: row.as_node_list()?.len(), tables: Vec::new() });
        }
        let from = || query.from_clause().iter().collect();
        self.sum(query.target_list().iter().map(|target| self.value(target.val(), from)))
    }

    /// The width of one item of a list: stars have that of what they stand for.
    fn value<'n>(&self, value: Node<'_>, from: impl Fn() -> Vec<Node<'n>>) -> Option<Width> {
        let Node::ColumnRef(column) = value else {
            let starred = super::clauses::is_starred(value);
            return (!starred).then_some(Width { fixed: 1, tables: Vec::new() });
        };
        if !super::clauses::is_starred(value) {
            return Some(Width { fixed: 1, tables: Vec::new() });
        }
        match column.fields().len() {
            1 => self.sum(from().into_iter().map(|item| self.item(item, None))),
            n => {
                let name = column.fields().get(n - 2)?.as_str()?;
                from().into_iter().find_map(|item| self.item(item, Some(name)))
            }
        }
    }

    /// The width of a FROM item, or of the one inside of it that has a name.
    fn item(&self, item: Node<'_>, name: Option<&str>) -> Option<Width> {
        let is_meant = |own: Option<&str>| name.is_none() || name == own;
        match item {
            Node::RangeVar(table) => {
                let called = table.alias().and_then(|a| a.aliasname()).or(table.relname());
                if is_meant(called) { self.table(table) } else { None }
            }
            Node::RangeSubselect(sub) => match sub.subquery() {
                Node::SelectStmt(query) if is_meant(sub.alias().and_then(|a| a.aliasname())) => {
                    self.query(query)
                }
                _ => None,
            },
            Node::JoinExpr(join) if name.is_some() => {
                self.item(join.larg(), name).or_else(|| self.item(join.rarg(), name))
            }
            Node::JoinExpr(join) if join.using_clause().is_empty() && !join.is_natural => {
                self.sum([join.larg(), join.rarg()].into_iter().map(|side| self.item(side, None)))
            }
            _ => None,
        }
    }

    fn table(&self, table: &nodes::RangeVar) -> Option<Width> {
        let at = usize::try_from(table.location).ok()?;
        if let Some(used) = self.walker.outer.uses.iter().find(|u| u.at == at) {
            return self.common(used);
        }
        let index = self.walker.tables.iter().position(|t| t.range.contains(&at))?;
        Some(Width { fixed: 0, tables: vec![index] })
    }

    /// The width of a query of the outermost WITH.
    fn common(&self, used: &CteUse) -> Option<Width> {
        let with = self.with.filter(|with| !with.recursive && used.inner.is_none())?;
        let cte = with.ctes().iter().find(|c| c.ctename() == Some(used.name.as_str()))?;
        match cte.ctequery() {
            Node::SelectStmt(query) => self.query(query),
            _ => None,
        }
    }
}
