//! Splicing: the client's text with parts of it replaced. Nothing is ever printed from a tree.

use std::ops::Range;

use super::lexer::{TokenKind, Tokens};

/// Replacements in a text.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    list: Vec<Edit>,
}

#[derive(Debug, Clone)]
struct Edit {
    range: Range<usize>,
    text: String,
    nearness: Nearness,
}

/// In which order insertions at one place come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// Right behind the text before.
    Before,
    Between,
    /// Right before the text behind.
    Behind,
}

impl Edits {
    /// Replaces bytes; an empty range inserts. Ranges must not overlap; insertions at one place stay
    /// in the order in which they were asked for.
    pub fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        self.list.push(Edit { range, text: with.into(), nearness: Nearness::Between });
    }

    /// Puts something before and after bytes, nearer to them than all that is inserted there. Ranges that are wrapped may be
    /// within each other, but not start or end at one place.
    pub fn wrap(&mut self, range: Range<usize>, before: impl Into<String>, after: impl Into<String>) {
        let edit = |at: usize, text: String, nearness| Edit { range: at..at, text, nearness };
        self.list.push(edit(range.start, before.into(), Nearness::Behind));
        self.list.push(edit(range.end, after.into(), Nearness::Before));
    }

    /// Inserts.
    pub fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    /// All of `others` too.
    pub fn append(&mut self, others: Self) {
        self.list.extend(others.list);
    }

    /// Whether nothing is replaced.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The bytes `range` of `sql` with the replacements that lie inside of it, and where what is
    /// left of the client's text stands in the result.
    pub fn render(&self, sql: &str, range: &Range<usize>) -> (String, Kept) {
        let mut inside: Vec<_> =
            self.list.iter().filter(|e| e.range.start >= range.start && e.range.end <= range.end).collect();
        inside.sort_by_key(|e| (e.range.start, e.range.end, e.nearness));
        let mut out = String::with_capacity(range.len() + inside.iter().map(|e| e.text.len()).sum::<usize>());
        let mut kept = Kept::default();
        let mut at = range.start;
        let mut keep = |out: &mut String, part: Range<usize>| {
            if let Some(text) = sql.get(part.clone()) {
                kept.0.push((out.len(), part.start, part.len()));
                out.push_str(text);
            }
        };
        for Edit { range: part, text, .. } in inside {
            if part.start < at {
                continue;
            }
            keep(&mut out, at..part.start);
            out.push_str(text);
            at = part.end;
        }
        keep(&mut out, at..range.end);
        (out, kept)
    }
}

/// Where the client's text stands in a rewritten one: (offset there, offset in the client's, length).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept(pub(super) Vec<(usize, usize, usize)>);

impl Kept {
    /// Where the client's text stands in one that was rewritten twice: `self` is about the second time.
    pub fn after(&self, first: &Self) -> Self {
        let mut both = Vec::new();
        for &(there, middle, length) in &self.0 {
            for &(out, here, kept) in &first.0 {
                let (start, end) = (middle.max(out), (middle + length).min(out + kept));
                if start < end {
                    both.push((there + start - middle, here + start - out, end - start));
                }
            }
        }
        Self(both)
    }

    /// The position in the client's text (in characters from 1) of one in the rewritten text; of
    /// spliced-in text, the position of what it stands for.
    pub fn position(&self, client: &str, rewritten: &str, position: usize) -> usize {
        let offset =
            rewritten.char_indices().nth(position.saturating_sub(1)).map_or(rewritten.len(), |(i, _)| i);
        let part = self.0.iter().rev().find(|(there, ..)| *there <= offset);
        let byte = part.map_or(0, |&(there, here, length)| here + (offset - there).min(length));
        client.get(..byte).unwrap_or(client).chars().count() + 1
    }
}

/// Numbers the parameters of `sql`, which has these tokens, from `$1` without holes: the text, and which of the client's
/// parameters (from 0) each is.
pub fn compact_parameters(sql: &str, tokens: &Tokens) -> (String, Vec<usize>) {
    let number =
        |text: &str| text.get(1..).and_then(|t| t.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
    let found = || tokens.list.iter().filter(|t| t.kind == TokenKind::Param);
    let mut used: Vec<usize> = found().filter_map(|t| number(t.text(sql))).collect();
    used.sort_unstable();
    used.dedup();
    let mut edits = Edits::default();
    for token in found() {
        if let Some(new) = number(token.text(sql)).and_then(|n| used.iter().position(|&u| u == n)) {
            edits.replace(token.start..token.end, format!("${}", new + 1));
        }
    }
    (edits.render(sql, &(0..sql.len())).0, used)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::string_slice)]
mod tests {
    use super::super::lexer;
    use super::*;

    #[test]
    fn replacements_and_positions() {
        let sql = "SELECT é FROM users WHERE x";
        let users = sql.find("users").unwrap();
        let mut edits = Edits::default();
        edits.replace(users..users + 5, "(SELECT 1) AS users");
        edits.insert(sql.len(), ")");
        let (text, kept) = edits.render(sql, &(0..sql.len()));
        assert_eq!(text, "SELECT é FROM (SELECT 1) AS users WHERE x)");
        let at = |part: &str| text.find(part).map(|b| text[..b].chars().count() + 1).unwrap();
        assert_eq!(kept.position(sql, &text, at("é")), 8);
        assert_eq!(kept.position(sql, &text, at("x)")), 27);
        assert_eq!(kept.position(sql, &text, at("1)")), 15);
    }

    #[test]
    fn what_is_wrapped_is_nearer_than_what_is_inserted() {
        let sql = "WHERE a AND b";
        let mut edits = Edits::default();
        edits.wrap(6..13, "<", ">");
        edits.insert(6, "(");
        edits.insert(13, ") AND c");
        edits.wrap(12..12 + 1, "", "");
        assert_eq!(edits.render(sql, &(0..sql.len())).0, "WHERE (<a AND b>) AND c");
        assert_eq!(edits.render(sql, &(6..13)).0, "(<a AND b>) AND c");
    }

    #[test]
    fn positions_after_two_rewrites() {
        let sql = "DELETE FROM v WHERE x";
        let mut edits = Edits::default();
        edits.replace(12..13, "t AS v");
        let (middle, first) = edits.render(sql, &(0..sql.len()));
        let mut edits = Edits::default();
        edits.replace(12..13, "overlay");
        edits.insert(25, "(");
        let (text, second) = edits.render(&middle, &(0..middle.len()));
        assert_eq!(text, "DELETE FROM overlay AS v WHERE (x");
        assert_eq!(second.after(&first).position(sql, &text, 33), 21);
        assert_eq!(second.after(&first).position(sql, &text, 1), 1);
    }

    #[test]
    fn parameters_are_numbered_without_holes() {
        let sql = "a = $3 AND b = '$1' OR c = $2 + $3";
        let (sql, used) = compact_parameters(sql, &lexer::tokens(sql).unwrap());
        assert_eq!(sql, "a = $2 AND b = '$1' OR c = $1 + $2");
        assert_eq!(used, [1, 2]);
    }
}
