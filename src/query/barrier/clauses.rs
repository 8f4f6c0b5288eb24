//! Where conditions and select lists of a statement are, by its keywords.

use std::ops::Range;

use super::super::keywords::{CLAUSES, JOINS, SET_OPERATIONS};
use super::super::parse::{Kind, SelectItem, SelectList, Statement};
use super::operands::Level;

/// A part of a statement, as indexes of tokens.
pub(super) enum Part {
    /// What follows WHERE or ON.
    Condition(Range<usize>),
    /// What follows HAVING.
    Having(Range<usize>),
    /// The select list of a query inside of another one.
    List(List),
    /// The items of rows of VALUES inside of another query.
    Rows(Vec<Range<usize>>),
    /// What is never evaluated.
    Idle(Vec<Range<usize>>),
}

/// A select list.
#[derive(Debug, Clone)]
pub(super) struct List {
    /// Its items without the names that they are given.
    pub items: Vec<Range<usize>>,
    /// Which of them are given one.
    pub named: Vec<bool>,
    /// The query without what is common to it and others that UNION or the like joins.
    pub query: Range<usize>,
    /// Whether UNION or the like joins it with others.
    pub is_arm: bool,
    /// GROUP BY, or DISTINCT ON.
    pub grouped: bool,
    /// DISTINCT or GROUP BY that goes by some of the items.
    pub distinct: bool,
    /// LIMIT or OFFSET.
    pub limited: bool,
}

/// What stands behind all queries that UNION or the like joins.
const COMMON: &[&str] = &["order", "limit", "offset", "fetch", "for"];

/// The parts of a statement with these tokens. `inner`: its own select list is one of a query inside of another, too.
pub(super) fn parts(level: Level<'_>, statement: &Statement, range: Range<usize>, inner: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    let depth = level.depth(range.start);
    let mut at = range.start;
    let mut joins = Joins::default();
    // MERGE INTO t USING u ON
    let merged = matches!(statement.kind, Kind::Merge(_));
    while at < range.end {
        let next = at + 1;
        let joined = joins.see(level, at) || merged && level.is(at, "on") && level.depth(at) == depth;
        if level.is(at, "on") && level.is(next, "conflict") && is_arbiter(level, next + 1) {
            at = after_conflict(level, next, range.end);
            continue;
        }
        if level.is(at, "where") && !is_filter(level, at) {
            parts.push(Part::Condition(next..end(level, next, false)));
        } else if joined {
            parts.push(Part::Condition(next..end(level, next, true)));
        } else if level.is(at, "having") {
            parts.push(Part::Having(next..end(level, next, false)));
        } else if level.is(at, "values") && level.depth(at) > depth {
            parts.push(Part::Rows(rows(level, next)));
        }
        at = next;
    }
    for list in &statement.select_lists {
        let Some(first) = list.items.first().map(|item| level.at(item.start)) else { continue };
        let Some(select) = select_of(level, first) else { continue };
        let inside = inner || level.depth(select) > depth;
        let exists = select.checked_sub(2).is_some_and(|i| level.is(i, "exists"));
        match described(level, list, select) {
            list if exists => parts.push(Part::Idle(list.items)),
            list if inside => parts.push(Part::List(list)),
            _ => {}
        }
    }
    parts
}

/// The joins of which ON or USING hasn't come yet, with their depth, and whether they are full ones.
#[derive(Default)]
struct Joins(Vec<(usize, bool)>);

impl Joins {
    /// Whether a token is an ON behind which a condition stands. That of a FULL JOIN is evaluated on the rows of both
    /// sides, and can't be anything but one that joins.
    fn see(&mut self, level: Level<'_>, at: usize) -> bool {
        let depth = level.depth(at);
        if level.is(at, "join") {
            const KINDS: &[&str] = &["inner", "left", "right", "full", "outer", "cross", "natural"];
            let kinds = |word| {
                (1..4)
                    .map_while(|n| at.checked_sub(n))
                    .take_while(|&i| level.is_any(i, KINDS))
                    .any(|i| level.is(i, word))
            };
            if !kinds("cross") && !kinds("natural") {
                self.0.push((depth, kinds("full")));
            }
            return false;
        }
        let on = level.is(at, "on");
        if !on && !level.is(at, "using") {
            return false;
        }
        while self.0.last().is_some_and(|(inside, _)| *inside > depth) {
            self.0.pop();
        }
        match self.0.pop_if(|(here, _)| *here == depth) {
            Some((_, full)) => on && !full,
            None => false,
        }
    }
}

/// The items of the rows of VALUES that start at a token.
fn rows(level: Level<'_>, start: usize) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let mut at = start;
    while level.is_symbol(at, b'(') {
        let close = level.close(at);
        items.extend(level.items(at + 1..close));
        at = if level.is_symbol(close + 1, b',') { close + 2 } else { break };
    }
    items
}

fn described(level: Level<'_>, list: &SelectList, select: usize) -> List {
    let item = |item: &SelectItem| {
        let start = level.at(item.start);
        let mut end = end_of_item(level, start);
        if item.named {
            let escaped = end.checked_sub(2).is_some_and(|i| i > start && level.is_word(i, "uescape"));
            end = end.saturating_sub(if escaped { 3 } else { 1 });
            if end.checked_sub(1).is_some_and(|i| i > start && level.is_word(i, "as")) {
                end -= 1;
            }
        }
        start..end.max(start)
    };
    let depth = level.depth(select);
    let stop =
        |words: &'static [&'static str]| level.stop(select + 1, depth, move |i| level.is_any(i, words));
    let before = select.checked_sub(1).filter(|&i| level.depth(i) == depth);
    let behind = before.is_some_and(|i| {
        level.is_any(i, SET_OPERATIONS)
            || (level.is_any(i, &["all", "distinct"])
                && i.checked_sub(1).is_some_and(|i| level.is_any(i, SET_OPERATIONS)))
    });
    let whole = level.stop(select + 1, depth, |_| false);
    let is_arm = behind || stop(SET_OPERATIONS) < whole;
    let end = if is_arm { stop(SET_OPERATIONS).min(stop(COMMON)) } else { whole };
    List {
        items: list.items.iter().map(item).collect(),
        query: select..end,
        is_arm,
        named: list.items.iter().map(|item| item.named).collect(),
        grouped: list.grouped,
        distinct: list.distinct,
        limited: list.limited,
    }
}

/// The SELECT of the list whose first item starts at a token.
fn select_of(level: Level<'_>, first: usize) -> Option<usize> {
    let depth = level.depth(first);
    // Not further than `DISTINCT ON (…)`.
    let mut at = first;
    loop {
        at = at.checked_sub(1)?;
        if level.depth(at) < depth {
            return None;
        }
        if level.depth(at) == depth && level.is_word(at, "select") {
            return Some(at);
        }
    }
}

fn end_of_item(level: Level<'_>, start: usize) -> usize {
    ends(level, start, |i| level.is_symbol(i, b','))
}

/// Where the condition that starts at a token ends. `joined`: it follows ON.
pub(super) fn end(level: Level<'_>, start: usize, joined: bool) -> usize {
    let depth = level.depth(start);
    ends(level, start, |i| {
        let call = level.is_any(i, &["left", "right"])
            && level.is_symbol(i + 1, b'(')
            && level.depth(i + 1) == depth;
        joined && (level.is_symbol(i, b',') || (level.is_any(i, JOINS) && !call))
    })
}

/// The end of an expression: at a clause of the statement, or where `stops` holds, outside of CASE.
fn ends(level: Level<'_>, start: usize, stops: impl Fn(usize) -> bool) -> usize {
    let (mut cases, mut distinct) = (0usize, false);
    level.stop(start, level.depth(start), |i| {
        // IS DISTINCT FROM
        let from = std::mem::replace(&mut distinct, level.is_word(i, "distinct")) && level.is_word(i, "from");
        if level.is(i, "case") {
            cases += 1;
        } else if level.is(i, "end") {
            cases = cases.saturating_sub(1);
        }
        cases == 0 && !from && (stops(i) || level.is_any(i, CLAUSES))
    })
}

/// FILTER (WHERE …) is evaluated behind all conditions.
fn is_filter(level: Level<'_>, at: usize) -> bool {
    at.checked_sub(1).is_some_and(|i| level.is_symbol(i, b'('))
        && at.checked_sub(2).is_some_and(|i| level.is(i, "filter"))
}

/// Whether what follows ON CONFLICT is one.
fn is_arbiter(level: Level<'_>, at: usize) -> bool {
    level.is_symbol(at, b'(') || level.is_any(at, &["do", "on"])
}

/// What an arbiter is, and what is done with the row that is there, concerns no relation.
fn after_conflict(level: Level<'_>, start: usize, last: usize) -> usize {
    let depth = level.depth(start);
    level.stop(start, depth, |i| level.is(i, "returning")).min(last)
}
