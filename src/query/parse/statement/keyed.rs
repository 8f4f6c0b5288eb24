//! Conditions of an UPDATE or DELETE that compare columns of its target with what a query returns that
//! locks rows: `id IN (SELECT id FROM jobs … FOR UPDATE)`, `jobs.id = q.id` of such a q in FROM or WITH.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::{Node, nodes};

use super::super::locking::Output;
use super::super::walk::Walker;

/// Such a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The column of the target, and the table if it is named.
    pub target: (Option<String>, String),
    /// The index of the query among those that lock rows.
    pub locking: usize,
    /// The column that it returns, and the table if it is named.
    pub returned: (Option<String>, String),
}

type Name = (Option<String>, String);
/// The index of a locking query, and a column that it returns.
type Returned = (usize, Name);

/// What is looked in: FROM or USING, and WITH.
struct Search<'w, 's, 'a> {
    walker: &'w Walker<'s>,
    from: &'a NodeList,
    with: Option<&'a nodes::WithClause>,
}

/// Finds them among the parts of a condition that AND joins.
pub(super) fn keyed(
    walker: &Walker<'_>,
    from: &NodeList,
    with: Option<&nodes::WithClause>,
    condition: Node<'_>,
) -> Vec<Keyed> {
    let mut found = Vec::new();
    if !walker.locking.is_empty() {
        Search { walker, from, with }.condition(condition, &mut found);
    }
    found
}

impl<'a> Search<'_, '_, 'a> {
    fn condition(&self, node: Node<'_>, found: &mut Vec<Keyed>) {
        use nodes::SubLinkType as Link;
        match node {
            Node::BoolExpr(b) if b.boolop == nodes::BoolExprType::AND_EXPR => {
                b.args().iter().for_each(|arg| self.condition(arg, found));
            }
            Node::SubLink(link)
                if link.sub_link_type == Link::ANY_SUBLINK && is_equality(link.oper_name(), true) =>
            {
                self.compared(&columns(link.testexpr()), link, found);
            }
            Node::A_Expr(expr) if is_equality(expr.name(), false) => match (expr.lexpr(), expr.rexpr()) {
                (Node::ColumnRef(left), Node::ColumnRef(right)) => {
                    self.joined(left, right, found);
                    self.joined(right, left, found);
                }
                (left, Node::SubLink(link)) => {
                    let fits = matches!(
                        (expr.kind, link.sub_link_type),
                        (nodes::A_Expr_Kind::AEXPR_OP, Link::EXPR_SUBLINK)
                            | (nodes::A_Expr_Kind::AEXPR_OP_ANY, Link::ARRAY_SUBLINK)
                    );
                    if fits {
                        self.compared(&columns(left), link, found);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Columns that are compared with those of a sub-select, in order.
    fn compared(&self, targets: &[Option<Name>], link: &nodes::SubLink, found: &mut Vec<Keyed>) {
        let Node::SelectStmt(query) = link.subselect() else { return };
        for (i, target) in targets.iter().enumerate() {
            if let (Some(target), Some((locking, returned))) = (target, self.nth(query, i)) {
                found.push(Keyed { target: target.clone(), locking, returned });
            }
        }
    }

    /// `target = q.column`
    fn joined(&self, target: &nodes::ColumnRef, other: &nodes::ColumnRef, found: &mut Vec<Keyed>) {
        let (Some(target), Some((Some(item), column))) = (name(target), name(other)) else { return };
        let query = self.from.iter().find_map(|node| self.item(node, &item));
        if let Some((locking, returned)) = query.and_then(|query| self.named(query, &column)) {
            found.push(Keyed { target, locking, returned });
        }
    }

    /// The query that has a name in FROM.
    fn item(&self, node: Node<'a>, called: &str) -> Option<&'a nodes::SelectStmt> {
        match node {
            Node::RangeSubselect(sub) => {
                let alias = sub.alias().filter(|a| a.aliasname() == Some(called) && a.colnames().is_empty());
                match (alias, sub.subquery()) {
                    (Some(_), Node::SelectStmt(query)) => Some(query),
                    _ => None,
                }
            }
            Node::RangeVar(table) => {
                let plain = table.alias().is_none_or(|a| a.colnames().is_empty());
                let name = table.alias().and_then(|a| a.aliasname()).or(table.relname());
                if plain && name == Some(called) { self.common(table) } else { None }
            }
            Node::JoinExpr(join) => self.item(join.larg(), called).or_else(|| self.item(join.rarg(), called)),
            _ => None,
        }
    }

    /// The query of the outermost WITH that a name means.
    fn common(&self, table: &nodes::RangeVar) -> Option<&'a nodes::SelectStmt> {
        let at = usize::try_from(table.location).ok()?;
        let outermost = |u: &&super::super::walk::CteUse| u.at == at && u.inner.is_none();
        let used = self.walker.outer.uses.iter().find(outermost)?;
        let same = |c: &&nodes::CommonTableExpr| c.ctename() == Some(used.name.as_str());
        let cte = self.with?.ctes().iter().find(same).filter(|c| c.aliascolnames().is_empty())?;
        match cte.ctequery() {
            Node::SelectStmt(query) => Some(query),
            _ => None,
        }
    }

    fn locking(&self, query: &nodes::SelectStmt) -> Option<usize> {
        let scope = self.walker.scope_of(query)?;
        self.walker.locking.iter().position(|l| l.scope == scope)
    }

    /// The n-th column that a query returns.
    fn nth(&self, query: &'a nodes::SelectStmt, n: usize) -> Option<Returned> {
        if let Some(index) = self.locking(query) {
            let outputs = &self.walker.locking.get(index)?.outputs;
            let star = outputs.iter().take(n + 1).any(|o| *o == Output::Star);
            return match outputs.get(n).filter(|_| !star)? {
                Output::Column { table, column, .. } => Some((index, (table.clone(), column.clone()))),
                _ => None,
            };
        }
        self.through(query, query.target_list().get(n)?)
    }

    /// The column of this name that a query returns.
    fn named(&self, query: &'a nodes::SelectStmt, wanted: &str) -> Option<Returned> {
        let Some(index) = self.locking(query) else {
            let called = |t: &&nodes::ResTarget| match (t.name(), t.val()) {
                (Some(given), _) => given == wanted,
                (None, Node::ColumnRef(c)) => name(c).is_some_and(|(_, column)| column == wanted),
                _ => false,
            };
            return self.through(query, query.target_list().iter().find(called)?);
        };
        let outputs = &self.walker.locking.get(index)?.outputs;
        let mut same = outputs.iter().filter_map(|output| match output {
            Output::Column { table, column, name } if name == wanted => Some((table.clone(), column.clone())),
            _ => None,
        });
        match same.next() {
            Some(found) => Some((index, found)),
            None => (*outputs == [Output::Star]).then(|| (index, (None, wanted.to_owned()))),
        }
    }

    /// What a query without grouping passes on from a query of WITH that is its only item.
    fn through(&self, query: &nodes::SelectStmt, target: &nodes::ResTarget) -> Option<Returned> {
        let (Node::ColumnRef(column), Some(Node::RangeVar(table)), 1) =
            (target.val(), query.from_clause().first(), query.from_clause().len())
        else {
            return None;
        };
        let inner = self.common(table)?;
        // One step: a query of WITH that reads another isn't followed.
        self.locking(inner)?;
        self.named(inner, &name(column)?.1)
    }
}

/// IN, or `=`.
fn is_equality(operator: &NodeList, or_none: bool) -> bool {
    match operator.first() {
        None => or_none,
        Some(name) => operator.len() == 1 && name.as_str() == Some("="),
    }
}

/// A column reference, or the column references of a row.
fn columns(node: Node<'_>) -> Vec<Option<Name>> {
    let one = |node: Node<'_>| match node {
        Node::ColumnRef(column) => name(column),
        _ => None,
    };
    match node {
        Node::RowExpr(row) => row.args().iter().map(one).collect(),
        node => vec![one(node)],
    }
}

/// A column's table, if it is named, and its name.
fn name(column: &nodes::ColumnRef) -> Option<Name> {
    let fields: Option<Vec<&str>> = column.fields().iter().map(|f| f.as_str()).collect();
    match fields?.as_slice() {
        [column] => Some((None, (*column).to_owned())),
        [table, column] => Some((Some((*table).to_owned()), (*column).to_owned())),
        _ => None,
    }
}
