//! Where the clauses of INSERT, UPDATE and DELETE are: found by keywords at the statement's depth of
//! brackets and checked against the syntax tree.

use std::ops::Range;

use pg_raw_parse::list::NodeList;
use pg_raw_parse::{Node, nodes};

use super::super::walk::Walker;
use super::{Conflict, Insert, Keyed, Modify, Overriding, Source, Star, Width, width};
use crate::query::lexer::{Token, TokenKind};

/// The parts of an UPDATE or DELETE.
pub(super) struct Parts<'a> {
    pub from: &'a NodeList,
    pub condition: Node<'a>,
    /// The keyword before `from`.
    pub word: &'static str,
    pub sets: Vec<String>,
    pub set_at: Vec<usize>,
    pub defaults: Vec<String>,
    pub stars: Vec<Star>,
    pub keyed: Vec<Keyed>,
    pub cursor: Option<String>,
}

/// The tokens of a statement from its target on that are at the target's depth.
pub(super) struct Level<'a> {
    pub sql: &'a str,
    pub tokens: &'a [Token],
    /// Index of the first token after the target's name.
    pub first: usize,
    /// Index after the last token.
    pub last: usize,
    pub depth: usize,
}

impl<'a> Level<'a> {
    pub fn new(walker: &'a Walker<'_>, range: &Range<usize>, target: usize) -> Option<Self> {
        let target = walker.tables.get(target)?;
        let tokens = walker.tokens.list.as_slice();
        let depth = walker.tokens.get(walker.tokens.at(target.range.start))?.depth;
        let first = walker.tokens.at(target.range.end);
        let end = walker.tokens.at(range.end);
        let rest = tokens.get(first..end)?;
        let last = rest.iter().position(|t| {
            t.depth < depth || (t.depth == depth && t.is_symbol(b')') && depth > 0 && closes(rest, t))
        });
        Some(Self { sql: walker.sql, tokens, first, last: last.map_or(end, |l| first + l), depth })
    }

    /// The first token from `from` on that is this keyword at the level, not a name after a dot or AS.
    pub fn keyword(&self, from: usize, word: &str) -> Option<usize> {
        (from..self.last).find(|&i| self.is(i, word) && self.keyword_at(i))
    }

    /// Whether a word at the level stands for itself: not a name after a dot or AS.
    pub fn keyword_at(&self, index: usize) -> bool {
        self.tokens.get(index).is_some_and(|t| t.depth == self.depth) && !self.is_label(index)
    }

    pub fn is_label(&self, index: usize) -> bool {
        let before = index.checked_sub(1).and_then(|i| self.tokens.get(i));
        before.is_some_and(|t| t.is_symbol(b'.') || t.is_word(self.sql, "as"))
    }

    pub fn is(&self, index: usize, word: &str) -> bool {
        self.tokens.get(index).is_some_and(|t| t.is_word(self.sql, word))
    }

    pub fn opens(&self, index: usize) -> bool {
        self.tokens.get(index).is_some_and(|t| t.is_symbol(b'('))
    }

    /// The index of the bracket that closes the one at `open`.
    pub fn close(&self, open: usize) -> Option<usize> {
        let depth = self.tokens.get(open)?.depth;
        (open + 1..self.last)
            .find(|&i| self.tokens.get(i).is_some_and(|t| t.is_symbol(b')') && t.depth == depth))
    }

    /// The bytes of the tokens `from..to`.
    pub fn bytes(&self, from: usize, to: usize) -> Option<Range<usize>> {
        let inside = self.tokens.get(from..to)?;
        Some(inside.first()?.start..inside.last()?.end)
    }

    /// FROM of an UPDATE: not the one of IS DISTINCT FROM.
    pub fn source_word(&self, word: &str) -> Option<usize> {
        let mut at = self.first;
        loop {
            let found = self.keyword(at, word)?;
            if found.checked_sub(1).is_some_and(|i| self.is(i, "distinct")) {
                at = found + 1;
                continue;
            }
            return Some(found);
        }
    }
}

/// A `)` at depth d closes a bracket that was opened at depth d; it ends the level only if that
/// bracket was opened before the level began.
fn closes(rest: &[Token], closing: &Token) -> bool {
    let mut open = 0usize;
    for token in rest {
        if std::ptr::eq(token, closing) {
            return open == 0;
        }
        match token.kind {
            TokenKind::Symbol(b'(') if token.depth == closing.depth => open += 1,
            TokenKind::Symbol(b')') if token.depth == closing.depth => open = open.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Locates the clauses of an UPDATE or DELETE.
pub(super) fn modify(
    walker: &Walker<'_>,
    range: &Range<usize>,
    target: usize,
    parts: Parts<'_>,
) -> Option<Modify> {
    let level = Level::new(walker, range, target)?;
    let returning = level.keyword(level.first, "returning").unwrap_or(level.last);
    let has_condition = !matches!(parts.condition, Node::None);
    let condition_word = if has_condition { Some(level.keyword(level.first, "where")?) } else { None };
    let body_end = condition_word.unwrap_or(returning);
    let from = if parts.from.is_empty() {
        None
    } else {
        Some(level.bytes(level.source_word(parts.word)? + 1, body_end)?)
    };
    let condition = match condition_word {
        Some(word) => Some(level.bytes(word + 1, returning)?),
        None => None,
    };
    let conjuncts =
        condition_word.map_or_else(Vec::new, |word| conjuncts(&level, word + 1, returning, parts.condition));
    let end = level.tokens.get(returning.checked_sub(1)?)?.end;
    let starrable = starrable(parts.from);
    let Parts { sets, set_at, defaults, stars, keyed, cursor, .. } = parts;
    let word = if sets.is_empty() { None } else { level.keyword(level.first, "set") };
    let set_at = (set_at, word.and_then(|i| level.tokens.get(i)).map(|t| t.end));
    Some(Modify { from, condition, conjuncts, end, sets, set_at, defaults, cursor, keyed, stars, starrable })
}

/// Where the names of columns that are set are.
pub(super) fn places<'a>(targets: impl Iterator<Item = &'a nodes::ResTarget>) -> Vec<usize> {
    let named = targets.filter(|t| t.name().is_some());
    named.map(|t| usize::try_from(t.location).unwrap_or(0)).collect()
}

/// The columns that are set to DEFAULT.
pub(super) fn defaults<'a>(targets: impl Iterator<Item = &'a nodes::ResTarget>) -> Vec<String> {
    let is_default = |value: Node<'_>| match value {
        Node::SetToDefault(_) => true,
        // `(a, b) = (1, DEFAULT)`
        Node::MultiAssignRef(part) => match part.source() {
            Node::RowExpr(row) => {
                let place = usize::try_from(part.colno).ok().and_then(|n| n.checked_sub(1));
                matches!(place.and_then(|n| row.args().get(n)), Some(Node::SetToDefault(_)))
            }
            _ => false,
        },
        _ => false,
    };
    targets.filter(|t| is_default(t.val())).filter_map(|t| t.name()).map(str::to_owned).collect()
}

/// Splits a condition at its outermost ANDs; empty if that doesn't agree with the syntax tree.
pub(super) fn conjuncts(
    level: &Level<'_>,
    first: usize,
    last: usize,
    condition: Node<'_>,
) -> Vec<Range<usize>> {
    // The tree flattens ANDs in brackets on the left too, so it may show more parts than the text.
    let most = match condition {
        Node::BoolExpr(b) if b.boolop == nodes::BoolExprType::AND_EXPR => b.args().len(),
        _ => 1,
    };
    let mut found = Vec::new();
    let (mut start, mut between, mut case) = (first, 0usize, 0usize);
    for i in first..last {
        let Some(token) = level.tokens.get(i) else { return Vec::new() };
        if token.depth != level.depth || token.kind != TokenKind::Word || level.is_label(i) {
            continue;
        }
        match token.text(level.sql).to_ascii_lowercase().as_str() {
            "case" => case += 1,
            "end" => case = case.saturating_sub(1),
            "between" if case == 0 => between += 1,
            "and" if case == 0 && between > 0 => between -= 1,
            "and" if case == 0 => {
                found.extend(level.bytes(start, i));
                start = i + 1;
            }
            _ => {}
        }
    }
    found.extend(level.bytes(start, last));
    if found.len() <= most { found } else { Vec::new() }
}

/// The aliases of all FROM items, if `alias.*` of each in turn is what `*` shows.
pub(super) fn starrable(from: &NodeList) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for item in from.iter() {
        item_names(item, &mut names)?;
    }
    Some(names)
}

pub(in crate::query::parse) fn item_names(item: Node<'_>, names: &mut Vec<String>) -> Option<()> {
    let alias = |a: Option<&nodes::Alias>| a.and_then(|a| a.aliasname()).map(str::to_owned);
    match item {
        Node::RangeVar(table) => {
            names.push(alias(table.alias()).or_else(|| table.relname().map(str::to_owned))?)
        }
        Node::RangeSubselect(sub) => names.push(alias(sub.alias())?),
        Node::RangeFunction(function) => names.push(alias(function.alias())?),
        Node::JoinExpr(join)
            if join.using_clause().is_empty() && !join.is_natural && join.alias().is_none() =>
        {
            item_names(join.larg(), names)?;
            item_names(join.rarg(), names)?;
        }
        _ => return None,
    }
    Some(())
}

/// Locates the clauses of an INSERT.
pub(super) fn insert(
    walker: &Walker<'_>,
    range: &Range<usize>,
    target: usize,
    node: &nodes::InsertStmt,
    conflict: Option<Conflict>,
    stars: Vec<Star>,
) -> Option<Insert> {
    let level = Level::new(walker, range, target)?;
    let name = |n: Node<'_>| match n {
        Node::ResTarget(target) => target.name().map(str::to_owned),
        _ => None,
    };
    let columns: Vec<String> = node.cols().iter().map(name).collect::<Option<_>>()?;
    let mut at = level.first;
    if walker.tables.get(target)?.alias.is_some() {
        at += 1 + usize::from(level.is(at, "as"));
    }
    let list_at = columns.is_empty().then(|| level.tokens.get(at.checked_sub(1)?).map(|t| t.end)).flatten();
    let mut list = None;
    if !columns.is_empty() {
        let close = level.close(at)?;
        list = level.bytes(at, close + 1);
        at = close + 1;
    }
    if level.is(at, "overriding") {
        at += 3;
    }
    let conflict_at = node.on_conflict_clause().and_then(|c| usize::try_from(c.location).ok());
    let end = match conflict_at {
        Some(offset) => walker.tokens.at(offset),
        None => level.keyword(at, "returning").unwrap_or(level.last),
    };
    let source = match node.select_stmt() {
        Node::None => Source::Default,
        Node::SelectStmt(select) => {
            let width = || width::of_query(walker, node.with_clause(), select);
            source(&level, at, end, select, width)?
        }
        _ => return None,
    };
    let list_at = if source == Source::Default { None } else { list_at };
    let overriding = Overriding::new(node.override_);
    Some(Insert { columns, list_at, list, overriding, source, conflict, stars })
}

fn source(
    level: &Level<'_>,
    at: usize,
    end: usize,
    select: &nodes::SelectStmt,
    width: impl Fn() -> Option<Width>,
) -> Option<Source> {
    let plain = select.with_clause().is_none()
        && select.sort_clause().is_empty()
        && matches!(select.limit_count(), Node::None);
    let plain = plain && matches!(select.limit_offset(), Node::None);
    if !select.values_lists().is_empty() && plain && level.is(at, "values") {
        let rows = rows(level, at + 1, end)?;
        let widths = select.values_lists().iter().map(|r| r.as_node_list().map_or(0, NodeList::len));
        return rows.iter().map(Vec::len).eq(widths).then_some(Source::Values(rows));
    }
    Some(Source::Query(level.bytes(at, end)?, width()))
}

/// The expressions of `(a, b), (c, d)`.
pub(super) fn rows(level: &Level<'_>, mut at: usize, end: usize) -> Option<Vec<Vec<Range<usize>>>> {
    let mut rows = Vec::new();
    while at < end {
        if !level.opens(at) {
            return None;
        }
        let close = level.close(at)?;
        let mut row = Vec::new();
        let mut start = at + 1;
        for i in at + 1..=close {
            let token = level.tokens.get(i)?;
            if i == close || (token.is_symbol(b',') && token.depth == level.depth + 1) {
                row.push(level.bytes(start, i)?);
                start = i + 1;
            }
        }
        rows.push(row);
        at = close + 1;
        if at < end {
            level.tokens.get(at).filter(|t| t.is_symbol(b','))?;
            at += 1;
        }
    }
    Some(rows)
}

/// Whether a value stands for several columns: `*`, `t.*`, `(row).*`.
pub(in crate::query::parse) fn is_starred(value: Node<'_>) -> bool {
    match value {
        Node::ColumnRef(c) => matches!(c.fields().iter().next_back(), Some(Node::A_Star(_))),
        Node::A_Indirection(i) => matches!(i.indirection().iter().next_back(), Some(Node::A_Star(_))),
        _ => false,
    }
}

/// The parts of ON CONFLICT.
pub(super) fn conflict(walker: &Walker<'_>, clause: &nodes::OnConflictClause) -> Conflict {
    let sets = clause.target_list().iter().filter_map(|t| t.name()).map(str::to_owned).collect();
    let defaults = defaults(clause.target_list().iter());
    let set_at = places(clause.target_list().iter());
    let mut found = Conflict {
        open: None,
        columns: Vec::new(),
        expressions: false,
        constraint: None,
        sets,
        set_at,
        defaults,
    };
    let Some(infer) = clause.infer() else { return found };
    found.constraint = infer.conname().map(str::to_owned);
    for element in infer.index_elems().iter() {
        match element {
            Node::IndexElem(element) if element.name().is_some() => {
                found.columns.extend(element.name().map(str::to_owned));
            }
            _ => found.expressions = true,
        }
    }
    if found.constraint.is_none() {
        let start = usize::try_from(clause.location).unwrap_or(0);
        let first = walker.tokens.at(start);
        let bracket = walker.tokens.get(first + 2).filter(|t| t.is_symbol(b'('));
        found.open = bracket.map(|t| t.end);
    }
    found
}

/// Whether a column reference is a bare `*`.
pub(in crate::query::parse) fn is_star(column: &nodes::ColumnRef) -> bool {
    column.fields().len() == 1 && matches!(column.fields().first(), Some(Node::A_Star(_)))
}

/// A star as an item of RETURNING.
pub(super) fn star(walker: &Walker<'_>, node: Node<'_>) -> Option<Star> {
    let Node::ColumnRef(column) = node else { return None };
    let Some(Node::A_Star(_)) = column.fields().iter().next_back() else { return None };
    let start = usize::try_from(column.location).ok()?;
    let mut at = walker.tokens.at(start);
    let qualifiers = column.fields().len() - 1;
    at += 2 * qualifiers;
    let end = walker.tokens.get(at)?.end;
    let qualifier = match qualifiers {
        0 => None,
        n => Some(column.fields().get(n - 1)?.as_str()?.to_owned()),
    };
    Some(Star { range: start..end, qualifier })
}
