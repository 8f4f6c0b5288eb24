//! Where the clauses of a query are.

use std::ops::Range;

use pg_raw_parse::{Node, nodes};

use super::super::walk::Walker;
use super::clauses::{Level, conjuncts};

/// The clauses of a query without set operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// Its bytes from SELECT on.
    pub range: Range<usize>,
    /// What follows FROM.
    pub from: Range<usize>,
    /// What follows WHERE.
    pub condition: Option<Range<usize>>,
    /// The parts of the condition that AND joins, if they could be told apart.
    pub conjuncts: Vec<Range<usize>>,
    /// What follows ORDER BY, if every item means the same in a query with other columns.
    pub order: Option<Range<usize>>,
    /// Whether there is an ORDER BY.
    pub ordered: bool,
    /// The count of LIMIT, and what OFFSET adds to it; `None` if there is none, or WITH TIES.
    pub most: Option<(Range<usize>, Option<Range<usize>>)>,
}

/// What follows a query's WHERE, GROUP BY and HAVING.
#[derive(Debug, Default)]
struct Tail {
    order: Option<Range<usize>>,
    limit: Option<Range<usize>>,
    offset: Option<Range<usize>>,
    /// LIMIT, OFFSET, FETCH and FOR.
    cuts: Vec<Range<usize>>,
}

/// The clauses of a query that may lock rows. `None` if one wasn't found.
pub(in crate::query::parse) fn clauses_of(walker: &Walker<'_>, node: &nodes::SelectStmt) -> Option<Select> {
    let level = level(walker, node)?;
    if node.op != 0 || node.from_clause().is_empty() {
        return None;
    }
    let from = level.source_word("from")?;
    let tail_at = tail_start(&level, from + 1).unwrap_or(level.last);
    let condition = match node.where_clause() {
        Node::None => None,
        _ => Some(level.keyword(from + 1, "where").filter(|&w| w < tail_at)?),
    };
    let tail = tail(&level, tail_at);
    let ties = node.limit_option == nodes::LimitOption::LIMIT_OPTION_WITH_TIES;
    let most = tail.limit.filter(|_| !ties).map(|limit| (limit, tail.offset));
    Some(Select {
        range: level.bytes(level.first, level.last)?,
        from: level.bytes(from + 1, condition.unwrap_or(tail_at))?,
        conjuncts: condition
            .map_or_else(Vec::new, |word| conjuncts(&level, word + 1, tail_at, node.where_clause())),
        condition: match condition {
            Some(word) => Some(level.bytes(word + 1, tail_at)?),
            None => None,
        },
        ordered: !node.sort_clause().is_empty(),
        order: tail.order.filter(|_| node.sort_clause().iter().all(|s| is_of_input(node, s))),
        most,
    })
}

/// The bytes of a query's LIMIT, OFFSET, FETCH and FOR: without them it returns at least the same rows.
/// `None` if they weren't all found.
pub(in crate::query::parse) fn cuts_of(
    walker: &Walker<'_>,
    node: &nodes::SelectStmt,
) -> Option<Vec<Range<usize>>> {
    let there = |node: Node<'_>| usize::from(!matches!(node, Node::None));
    let clauses = there(node.limit_count()) + there(node.limit_offset()) + node.locking_clause().len();
    if clauses == 0 {
        return Some(Vec::new());
    }
    let level = level(walker, node)?;
    let cuts = tail(&level, tail_start(&level, level.first)?).cuts;
    (cuts.len() == clauses).then_some(cuts)
}

/// From the query's SELECT to its end, found by the first thing that it returns.
fn level<'a>(walker: &'a Walker<'_>, node: &nodes::SelectStmt) -> Option<Level<'a>> {
    let place = usize::try_from(node.target_list().first()?.location).ok()?;
    let tokens = walker.tokens.list.as_slice();
    let anchor = walker.tokens.at(place);
    let depth = tokens.get(anchor)?.depth;
    let before = tokens.get(..anchor)?;
    let inside = before.iter().rposition(|t| t.depth < depth).map_or(0, |i| i + 1);
    let is_verb =
        |i: &usize| tokens.get(*i).is_some_and(|t| t.depth == depth && t.is_word(walker.sql, "select"));
    let verb = (inside..anchor).rev().find(is_verb)?;
    let level = Level { sql: walker.sql, tokens, first: verb, last: tokens.len(), depth };
    let last = (anchor..tokens.len()).find(|&i| ends(&level, i)).unwrap_or(tokens.len());
    Some(Level { last, ..level })
}

/// Whether a token is behind the query.
fn ends(level: &Level<'_>, index: usize) -> bool {
    const WORDS: &[&str] = &["union", "intersect", "except", "returning"];
    let Some(token) = level.tokens.get(index) else { return true };
    if token.depth < level.depth || (token.depth == level.depth && token.is_symbol(b';')) {
        return true;
    }
    if token.depth > level.depth || level.is_label(index) {
        return false;
    }
    WORDS.iter().any(|word| level.is(index, word))
        || (level.is(index, "on") && level.is(index + 1, "conflict"))
        || (level.is(index, "with") && (level.is(index + 1, "no") || level.is(index + 1, "data")))
}

const STARTS: &[&str] = &["order", "limit", "offset", "fetch", "for"];

fn tail_start(level: &Level<'_>, from: usize) -> Option<usize> {
    STARTS.iter().filter_map(|word| level.keyword(from, word)).min()
}

fn tail(level: &Level<'_>, at: usize) -> Tail {
    let starts: Vec<usize> = (at..level.last)
        .filter(|&i| STARTS.iter().any(|word| level.is(i, word)) && level.keyword_at(i))
        .collect();
    let mut tail = Tail::default();
    let ends = starts.iter().skip(1).copied().chain([level.last]);
    for (&start, end) in starts.iter().zip(ends) {
        if level.is(start, "order") {
            tail.order = level.bytes(start + 2, end);
            continue;
        }
        tail.cuts.extend(level.bytes(start, end));
        let rows = |i: usize| level.is(i, "row") || level.is(i, "rows");
        if level.is(start, "limit") && !level.is(start + 1, "all") {
            tail.limit = level.bytes(start + 1, end);
        } else if level.is(start, "offset") {
            let unit = end.checked_sub(1).filter(|&i| rows(i));
            tail.offset = level.bytes(start + 1, unit.unwrap_or(end));
        } else if level.is(start, "fetch") {
            let unit = (start + 2..end).rev().find(|&i| rows(i) && level.keyword_at(i));
            tail.limit = unit.and_then(|unit| level.bytes(start + 2, unit));
        }
    }
    tail
}

/// Whether an item of ORDER BY is made of the query's input: no number of a column, and no name that the
/// query gives to something else.
fn is_of_input(node: &nodes::SelectStmt, sort: &nodes::SortBy) -> bool {
    match sort.node() {
        Node::A_Const(_) => false,
        Node::ColumnRef(column) if column.fields().len() == 1 => {
            let name = column.fields().first().and_then(|f| f.as_str());
            let is_same = |value: Node<'_>| match value {
                Node::ColumnRef(c) => c.fields().iter().next_back().and_then(|f| f.as_str()) == name,
                _ => false,
            };
            let mut renamed = node.target_list().iter().filter(|t| t.name().is_some() && t.name() == name);
            renamed.all(|t| is_same(t.val()))
        }
        _ => true,
    }
}
