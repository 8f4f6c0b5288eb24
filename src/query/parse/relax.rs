//! Queries inside of a statement that may be evaluated with more rows than they return: a condition such as
//! `id IN (SELECT … LIMIT 5 FOR UPDATE)` holds for no fewer rows without LIMIT and FOR UPDATE. What such
//! a statement may touch is found in this way before it runs.

use std::ops::Range;

use pg_raw_parse::list::NodeList;
use pg_raw_parse::{Node, nodes};

use super::statement::cuts_of;
use super::walk::Walker;

/// What is left out, and put in, where rows that a statement may touch are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relaxed {
    /// Clauses that are left out.
    pub cuts: Vec<Range<usize>>,
    /// Brackets of sub-selects that are compared as a whole: `= (` becomes `= ANY (`.
    pub anys: Vec<usize>,
}

impl Relaxed {
    /// Whether a byte is left out.
    pub fn leaves_out(&self, at: usize) -> bool {
        self.cuts.iter().any(|cut| cut.contains(&at))
    }
}

/// Relaxes what is in FROM or USING and in the condition of a statement or query.
pub(super) fn clauses(walker: &mut Walker<'_>, from: &NodeList, condition: Node<'_>) {
    from.iter().for_each(|item| self::item(walker, item));
    self::condition(walker, condition);
}

/// Relaxes queries of the outermost WITH that are used nowhere but where more rows do no harm. To be
/// called when the whole statement has been walked.
pub(super) fn common(walker: &mut Walker<'_>, with: Option<&nodes::WithClause>) {
    let Some(with) = with.filter(|with| !with.recursive) else { return };
    let all: Vec<&nodes::CommonTableExpr> = with.ctes().iter().collect();
    for cte in all.into_iter().rev() {
        let name = cte.ctename().unwrap_or_default();
        let mut uses = walker.outer.uses.iter().filter(|u| u.name == name).map(|u| u.at);
        if let Node::SelectStmt(query) = cte.ctequery()
            && uses.all(|at| walker.relaxed_uses.contains(&at))
        {
            select(walker, query);
        }
    }
}

/// More rows than the query returns do no harm.
pub(super) fn select(walker: &mut Walker<'_>, query: &nodes::SelectStmt) {
    let Some(cuts) = cuts_of(walker, query) else { return };
    walker.relaxed.cuts.extend(cuts);
    if let Some(scope) = walker.scope_of(query) {
        walker.locking.iter_mut().filter(|l| l.scope == scope).for_each(|l| l.relaxed = true);
    }
    // Sums and counts of more rows are others.
    let plain =
        |t: &nodes::ResTarget| matches!(t.val(), Node::ColumnRef(_) | Node::A_Const(_) | Node::ParamRef(_));
    let grouped = query.group_clause().len() + query.window_clause().len() + query.distinct_clause().len();
    if query.op == nodes::SetOperation::SETOP_NONE
        && grouped == 0
        && matches!(query.having_clause(), Node::None)
        && query.target_list().iter().all(plain)
    {
        clauses(walker, query.from_clause(), query.where_clause());
    }
}

/// Relaxes an item of FROM or USING.
pub(super) fn item(walker: &mut Walker<'_>, item: Node<'_>) {
    match item {
        Node::RangeVar(table) => walker.relaxed_uses.extend(usize::try_from(table.location)),
        Node::RangeSubselect(sub) => {
            if let Node::SelectStmt(query) = sub.subquery() {
                select(walker, query);
            }
        }
        Node::JoinExpr(join) => {
            use nodes::JoinType as Join;
            // More rows on the other side of an outer join take away rows with NULLs.
            let (left, right) = match join.jointype {
                Join::JOIN_INNER => (true, true),
                Join::JOIN_LEFT => (true, false),
                Join::JOIN_RIGHT => (false, true),
                _ => (false, false),
            };
            if left {
                self::item(walker, join.larg());
            }
            if right {
                self::item(walker, join.rarg());
            }
            if left && right {
                condition(walker, join.quals());
            }
        }
        _ => {}
    }
}

/// Relaxes a condition.
pub(super) fn condition(walker: &mut Walker<'_>, node: Node<'_>) {
    use nodes::SubLinkType as Link;
    match node {
        Node::BoolExpr(b) if b.boolop != nodes::BoolExprType::NOT_EXPR => {
            b.args().iter().for_each(|arg| condition(walker, arg));
        }
        Node::SubLink(link) if matches!(link.sub_link_type, Link::EXISTS_SUBLINK | Link::ANY_SUBLINK) => {
            sub_select(walker, link);
        }
        Node::A_Expr(expr) => {
            let Node::SubLink(link) = expr.rexpr() else { return };
            if expr.kind == nodes::A_Expr_Kind::AEXPR_OP
                && link.sub_link_type == Link::EXPR_SUBLINK
                && let Some(bracket) = bracket_of(walker, link)
            {
                let before = walker.relaxed.cuts.len();
                sub_select(walker, link);
                if walker.relaxed.cuts.len() > before {
                    walker.relaxed.anys.push(bracket);
                }
            }
            if expr.kind == nodes::A_Expr_Kind::AEXPR_OP_ANY && link.sub_link_type == Link::ARRAY_SUBLINK {
                sub_select(walker, link);
            }
        }
        _ => {}
    }
}

fn sub_select(walker: &mut Walker<'_>, link: &nodes::SubLink) {
    if let Node::SelectStmt(query) = link.subselect() {
        select(walker, query);
    }
}

/// Where `(SELECT …)` starts; `((SELECT …))` is something else behind ANY.
fn bracket_of(walker: &Walker<'_>, link: &nodes::SubLink) -> Option<usize> {
    let at = walker.tokens.at(usize::try_from(link.location).ok()?);
    let open = walker.tokens.get(at).filter(|t| t.is_symbol(b'('))?;
    let next = walker.tokens.get(at + 1)?;
    ["select", "with"].iter().any(|word| next.is_word(walker.sql, word)).then_some(open.start)
}
