//! Queries that show rows and columns of one table, so that what they show can be written to.

use std::ops::Range;

use pg_raw_parse::{Node, nodes};

use super::locking::{Output, outputs};
use super::statement::clauses_of;
use super::walk::Walker;
use crate::query::lexer::{self, Token};

/// Such a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simple {
    /// What it returns.
    pub outputs: Vec<Output>,
    /// What each of them is computed from, and its name.
    pub values: Vec<(Range<usize>, Option<String>)>,
    /// What follows WHERE.
    pub condition: Option<Range<usize>>,
}

/// The parts of a query over one table without grouping, LIMIT, WITH and the like; `None` if it isn't one.
pub fn simple(sql: &str) -> Option<Simple> {
    let tokens = lexer::tokens(sql).ok()?;
    let stack = (4 << 20) + tokens.nesting * (24 << 10);
    stacker::maybe_grow(stack, stack, || {
        let tree = pg_raw_parse::parse(sql).ok()?;
        let Node::SelectStmt(select) = tree.iter().next()?.stmt() else { return None };
        if !is_simple(select) {
            return None;
        }
        let walker = Walker::new(sql, &tokens);
        let clauses = clauses_of(&walker, select)?;
        let values = select.target_list().iter().map(|t| value(&walker, t)).collect::<Option<_>>()?;
        Some(Simple { outputs: outputs(select), values, condition: clauses.condition })
    })
}

/// An item of the list, up to its name.
fn value(walker: &Walker<'_>, target: &nodes::ResTarget) -> Option<(Range<usize>, Option<String>)> {
    let first = walker.tokens.at(usize::try_from(target.location).ok()?);
    let rest = walker.tokens.list.get(first..)?;
    let depth = rest.first()?.depth;
    let ends = |t: &&Token| {
        let word = t.is_word(walker.sql, "as") || t.is_word(walker.sql, "from");
        t.depth == depth && (word || t.is_symbol(b','))
    };
    let last = rest.iter().take_while(|t| !ends(t) && t.depth >= depth).last()?;
    Some((rest.first()?.start..last.end, target.name().map(str::to_owned)))
}

fn is_simple(select: &nodes::SelectStmt) -> bool {
    let grouped = select.group_clause().len() + select.window_clause().len() + select.distinct_clause().len();
    let missing = |node: Node<'_>| matches!(node, Node::None);
    select.op == nodes::SetOperation::SETOP_NONE
        && grouped == 0
        && missing(select.having_clause())
        && missing(select.limit_count())
        && missing(select.limit_offset())
        && select.with_clause().is_none()
        && select.into_clause().is_none()
        && select.locking_clause().is_empty()
        && select.values_lists().is_empty()
        && select.from_clause().len() == 1
        && matches!(select.from_clause().first(), Some(Node::RangeVar(_)))
}
