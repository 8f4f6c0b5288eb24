//! Conditions are taken apart: what AND, OR and NOT join, and the sides of each comparison.

use std::ops::Range;

use super::super::lexer::{Token, TokenKind};

/// The tokens of a text, up to the end of a statement.
#[derive(Clone, Copy)]
pub(super) struct Level<'a> {
    pub sql: &'a str,
    pub tokens: &'a [Token],
}

impl<'a> Level<'a> {
    pub fn get(&self, at: usize) -> Option<&'a Token> {
        self.tokens.get(at)
    }

    /// The index of the token at or after a byte.
    pub fn at(&self, byte: usize) -> usize {
        self.tokens.partition_point(|t| t.start < byte)
    }

    pub fn depth(&self, at: usize) -> usize {
        self.get(at).map_or(0, |t| t.depth)
    }

    pub fn text(&self, at: usize) -> &'a str {
        self.get(at).map_or("", |t| t.text(self.sql))
    }

    pub fn is_symbol(&self, at: usize, symbol: u8) -> bool {
        self.get(at).is_some_and(|t| t.is_symbol(symbol))
    }

    pub fn is_kind(&self, at: usize, kind: TokenKind) -> bool {
        self.get(at).is_some_and(|t| t.kind == kind)
    }

    /// Whether it is this word, whatever it means.
    pub fn is_word(&self, at: usize, word: &str) -> bool {
        self.get(at).is_some_and(|t| t.is_word(self.sql, word))
    }

    /// Whether it is this keyword: not a name behind a dot or AS.
    pub fn is(&self, at: usize, word: &str) -> bool {
        let label = |t: &Token| t.is_symbol(b'.') || t.is_word(self.sql, "as");
        self.is_word(at, word) && !at.checked_sub(1).and_then(|i| self.get(i)).is_some_and(label)
    }

    pub fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    /// The first token from `start` on at which `stops` holds at this depth, or the depth ends.
    pub fn stop(&self, start: usize, depth: usize, mut stops: impl FnMut(usize) -> bool) -> usize {
        let mut at = start;
        while let Some(token) = self.get(at) {
            if token.depth < depth || token.depth == depth && (token.is_symbol(b';') || stops(at)) {
                return at;
            }
            at += 1;
        }
        at
    }

    /// The index of the bracket that closes the one at `open`.
    pub fn close(&self, open: usize) -> usize {
        let depth = self.depth(open);
        let inside = self.stop(open + 1, depth + 1, |_| false);
        // Nothing at all may be inside.
        inside.max(open + 1)
    }

    /// What commas part.
    pub fn items(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let depth = self.depth(range.start);
        let commas: Vec<usize> =
            range.clone().filter(|&at| self.depth(at) == depth && self.is_symbol(at, b',')).collect();
        parts(&range, &commas).into_iter().filter(|item| !item.is_empty()).collect()
    }

    /// Whether a bracket opens a query.
    pub fn opens_query(&self, open: usize) -> bool {
        const WORDS: &[&str] = &["select", "with", "values", "table"];
        self.is_symbol(open, b'(') && WORDS.iter().any(|word| self.is_word(open + 1, word))
    }

    pub fn bytes(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let inside = self.tokens.get(range.clone())?;
        Some(inside.first()?.start..inside.last()?.end)
    }
}

/// A part of a condition that isn't AND, OR or NOT of others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operands {
    pub all: Range<usize>,
    /// The expressions that it compares, which can be replaced by others of the same value; none if it isn't a comparison.
    pub sides: Vec<Range<usize>>,
    /// What is compared but must stay where it is: a list, a pattern.
    pub fixed: Option<Range<usize>>,
    /// Whether that is a pattern, which may be a wrong one.
    pub pattern: bool,
}

impl Operands {
    /// A collation that is given counts for the comparison: it stays outside of a side, or inside of the whole.
    pub fn without_collations(mut self, level: Level<'_>) -> Self {
        for side in &mut self.sides {
            let collate = |back: usize| {
                side.end.checked_sub(back).filter(|&i| i > side.start && level.is(i, "collate"))
            };
            if let Some(at) = collate(2).or_else(|| collate(4)) {
                side.end = at;
            }
        }
        if self.sides.iter().any(|side| side.clone().any(|at| level.is(at, "collate"))) {
            self.sides.clear();
            self.fixed = None;
        }
        self
    }

    pub fn whole(all: Range<usize>) -> Self {
        Self { all, sides: Vec::new(), fixed: None, pattern: false }
    }

    fn sides(all: Range<usize>, sides: Vec<Range<usize>>) -> Self {
        Self { all, sides, fixed: None, pattern: false }
    }

    fn fixed(all: Range<usize>, side: Range<usize>, fixed: Range<usize>) -> Self {
        Self { all, sides: vec![side], fixed: Some(fixed), pattern: false }
    }
}

/// The parts of a condition.
pub(super) fn operands(level: Level<'_>, range: Range<usize>) -> Vec<Operands> {
    let mut found = Vec::new();
    let mut open = vec![range];
    while let Some(range) = open.pop() {
        if range.is_empty() {
            continue;
        }
        let parts = split(level, &range);
        if parts.len() > 1 {
            open.extend(parts);
        } else if level.is(range.start, "not") {
            open.push(range.start + 1..range.end);
        } else if level.is_symbol(range.start, b'(')
            && level.close(range.start) + 1 == range.end
            && !level.opens_query(range.start)
            && !has_comma(level, &range)
        {
            open.push(range.start + 1..range.end - 1);
        } else {
            found.push(predicate(level, range));
        }
    }
    found.sort_by_key(|part| part.all.start);
    found
}

/// What AND joins.
pub(super) fn conjuncts(level: Level<'_>, range: &Range<usize>) -> Vec<Range<usize>> {
    let (ors, ands) = joints(level, range);
    parts(range, if ors.is_empty() { &ands } else { &[] })
}

/// What OR joins or, without any, AND.
fn split(level: Level<'_>, range: &Range<usize>) -> Vec<Range<usize>> {
    let (ors, ands) = joints(level, range);
    parts(range, if ors.is_empty() { &ands } else { &ors })
}

fn parts(range: &Range<usize>, joints: &[usize]) -> Vec<Range<usize>> {
    let starts = std::iter::once(range.start).chain(joints.iter().map(|at| at + 1));
    starts.zip(joints.iter().copied().chain([range.end])).map(|(start, end)| start..end).collect()
}

/// Where OR and AND stand.
fn joints(level: Level<'_>, range: &Range<usize>) -> (Vec<usize>, Vec<usize>) {
    let (mut ors, mut ands) = (Vec::new(), Vec::new());
    let (mut cases, mut between) = (0usize, false);
    let depth = level.depth(range.start);
    for at in range.clone().filter(|&at| level.depth(at) == depth) {
        if level.is(at, "case") {
            cases += 1;
        } else if level.is(at, "end") {
            cases = cases.saturating_sub(1);
        } else if cases > 0 {
        } else if level.is(at, "between") {
            between = true;
        } else if level.is(at, "or") {
            ors.push(at);
        } else if level.is(at, "and") && !std::mem::take(&mut between) {
            ands.push(at);
        }
    }
    (ors, ands)
}

const COMPARISONS: &[&str] = &["=", "<>", "!=", "<", ">", "<=", ">="];
const PATTERNS: &[&str] = &["~", "~*", "!~", "!~*", "~~", "!~~", "~~*", "!~~*"];
/// Words of the grammar between two expressions, or behind one.
const WORDS: &[&str] = &["like", "ilike", "similar", "in", "between", "is", "isnull", "notnull", "overlaps"];

fn predicate(level: Level<'_>, all: Range<usize>) -> Operands {
    let depth = level.depth(all.start);
    let mut cases = 0usize;
    let (mut compared, mut others, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for at in all.clone().filter(|&at| level.depth(at) == depth) {
        if level.is(at, "case") {
            cases += 1;
        } else if level.is(at, "end") {
            cases = cases.saturating_sub(1);
        } else if cases > 0 {
        } else if level.is_any(at, WORDS) {
            words.push(at);
        } else if level.is_kind(at, TokenKind::Operator) {
            let text = level.text(at);
            if COMPARISONS.contains(&text) {
                compared.push(at);
            } else if PATTERNS.contains(&text) {
                others.push(at);
            }
        }
    }
    match (words.as_slice(), compared.as_slice(), others.as_slice()) {
        ([], &[at], _) => comparison(level, all, at),
        ([], [], &[at]) => pattern(level, all, at, at + 1),
        (&[at], [], []) => worded(level, all, at),
        _ => Operands::whole(all),
    }
}

fn comparison(level: Level<'_>, all: Range<usize>, at: usize) -> Operands {
    let (left, right) = (all.start..at, at + 1..all.end);
    let quantified = ["any", "all", "some"].iter().any(|word| level.is_word(right.start, word));
    if quantified {
        return Operands { fixed: Some(right), ..Operands::sides(all, members(level, left)) };
    }
    if is_row(level, &left) != is_row(level, &right) {
        return Operands::whole(all);
    }
    let sides = members(level, left).into_iter().chain(members(level, right)).collect();
    Operands::sides(all, sides)
}

/// A pattern that isn't a constant may be a wrong one.
fn pattern(level: Level<'_>, all: Range<usize>, at: usize, behind: usize) -> Operands {
    let left = all.start..if level.is(at.wrapping_sub(1), "not") { at - 1 } else { at };
    let right = behind..all.end;
    let constant = level.is_kind(behind, TokenKind::Str) || level.is_kind(behind, TokenKind::Param);
    if constant && right.len() == 1 {
        return Operands::sides(all, vec![left]);
    }
    Operands { pattern: true, ..Operands::fixed(all, left, right) }
}

fn worded(level: Level<'_>, all: Range<usize>, at: usize) -> Operands {
    let left = all.start..if level.is(at.wrapping_sub(1), "not") { at - 1 } else { at };
    let behind = at + 1..all.end;
    if is_row(level, &left) && !level.is(at, "in") {
        return Operands::whole(all);
    }
    match level.text(at).to_ascii_lowercase().as_str() {
        "like" | "ilike" => pattern(level, all, at, at + 1),
        "similar" => pattern(level, all, at, at + 2),
        "in" => Operands { fixed: Some(behind), ..Operands::sides(all, members(level, left)) },
        "between" => {
            let word = level.is_any(behind.start, &["symmetric", "asymmetric"]);
            let first = if word { behind.start + 1 } else { behind.start };
            let (_, ands) = joints(level, &(first..all.end));
            let Some(&and) = ands.first() else { return Operands::whole(all) };
            let sides = vec![left, first..and, and + 1..all.end];
            Operands::sides(all, sides)
        }
        "is" => {
            let from = behind.clone().find(|&i| level.is_word(i, "from") && level.is_word(i - 1, "distinct"));
            match from {
                Some(from) if !is_row(level, &(from + 1..all.end)) => {
                    let sides = vec![left, from + 1..all.end];
                    Operands::sides(all, sides)
                }
                _ => Operands::whole(all),
            }
        }
        _ => Operands::whole(all),
    }
}

/// The expressions of a row, which PostgreSQL compares one by one; of anything else, itself.
fn members(level: Level<'_>, range: Range<usize>) -> Vec<Range<usize>> {
    if !is_row(level, &range) {
        return vec![range];
    }
    let open = if level.is(range.start, "row") { range.start + 1 } else { range.start };
    let close = level.close(open);
    if close + 1 != range.end {
        return vec![range];
    }
    level.items(open + 1..close)
}

/// `(a, b)`, `ROW(…)`: PostgreSQL compares it with a query's columns one by one.
fn is_row(level: Level<'_>, range: &Range<usize>) -> bool {
    level.is(range.start, "row") || has_comma(level, range)
}

/// Whether it is a list in brackets.
fn has_comma(level: Level<'_>, range: &Range<usize>) -> bool {
    let depth = level.depth(range.start) + 1;
    let close = level.close(range.start);
    level.is_symbol(range.start, b'(')
        && (range.start + 1..close).any(|at| level.depth(at) == depth && level.is_symbol(at, b','))
        && !level.opens_query(range.start)
}
