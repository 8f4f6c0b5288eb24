//! Casts to regclass, found by their tokens: what is cast may be a name that is only known when it is evaluated, and
//! what comes out may be shown as a text.

use std::ops::Range;

use epoch_adapter_postgres::layout::quote;

use super::map::Map;
use super::texts::{Wrap, computed, is_computed, written};
use crate::query::lexer::{Token, TokenKind};
use crate::query::parse::{FunctionRef, Kind, Site};
use crate::query::rewrite::Rewriter;

/// Casts to regclass: of what isn't a constant, and those whose result is shown as a text.
pub(super) fn casts(map: &Map, rewriter: &Rewriter<'_>) -> Vec<Wrap> {
    let all = &rewriter.parsed.tokens;
    let range = &rewriter.statement.range;
    let (first, end) = (all.at(range.start), all.at(range.end));
    let shown = shown_items(rewriter, first..end);
    let mut wraps = Vec::new();
    for at in first..end {
        if let Some(argument) = cast_call(rewriter, at, "regclass").filter(|a| is_computed(rewriter, a)) {
            wraps.push(computed(map, &argument, false));
        }
        let Some(after) = cast_to(rewriter, at, &["regclass"]) else { continue };
        let Some(start) = at.checked_sub(1).and_then(|last| primary(rewriter, first, last)) else { continue };
        let text = |i: usize| all.get(i).map_or(range.end, |t| t.end);
        let (Some(begin), until) = (all.get(start).map(|t| t.start), text(at - 1)) else { continue };
        let argument = begin..until;
        if is_computed(rewriter, &argument) {
            wraps.push(computed(map, &argument, false));
        }
        let name = name_of(rewriter, start, at);
        wraps.extend(as_text(map, rewriter, &shown, start..after, (name, "regclass")));
    }
    let of = |f: &&FunctionRef| f.name == "to_regclass" && f.site == Site::Expression;
    for function in rewriter.statement.functions.iter().filter(of) {
        let value = all.at(function.range.start)..all.at(function.range.end);
        let name = Some(function.name.clone());
        wraps.extend(as_text(map, rewriter, &shown, value, (name, "regclass")));
    }
    wraps
}

/// What is put around a value of type regclass or regtype, given by its tokens, if it is cast to a text or is an item of the
/// client's result. `name`: by which an item is called that has no other, or else by its type.
pub(super) fn as_text(
    map: &Map,
    rewriter: &Rewriter<'_>,
    shown: &[Range<usize>],
    value: Range<usize>,
    (name, kind): (Option<String>, &str),
) -> Option<Wrap> {
    let all = &rewriter.parsed.tokens;
    let Range { start, end } = value;
    let cast = cast_to(rewriter, end, &["text", "varchar", "name"]);
    let named = all.get(end).is_some_and(Token::is_name);
    let item =
        |item: &Range<usize>| item.start == start && (item.end == end || (named && item.end == end + 1));
    if cast.is_none() && !shown.iter().any(item) {
        return None;
    }
    let last = cast.unwrap_or(end).checked_sub(1).and_then(|i| all.get(i))?;
    let (before, behind) = written(map, false);
    let name = name.unwrap_or_else(|| cast.map_or(kind, |_| "text").to_owned());
    let text = if cast.is_some() { "" } else { "::pg_catalog.text" };
    Some(Wrap {
        range: all.get(start)?.start..last.end,
        rank: 2,
        before: format!("(SELECT {before}"),
        after: format!("{text}{behind} AS {})", quote(&name)),
    })
}

/// What `CAST(… AS regclass)`, or another type, casts, given its AS.
pub(super) fn cast_call(rewriter: &Rewriter<'_>, at: usize, kind: &str) -> Option<Range<usize>> {
    let tokens = &rewriter.parsed.tokens;
    let word = |i: usize, word: &str| tokens.get(i).is_some_and(|t| t.is_word(rewriter.sql, word));
    let qualified = word(at + 1, "pg_catalog") && tokens.get(at + 2).is_some_and(|t| t.is_symbol(b'.'));
    let name = if qualified { at + 3 } else { at + 1 };
    let close = tokens.get(name + 1).filter(|t| t.is_symbol(b')'))?;
    if !word(at, "as") || !word(name, kind) {
        return None;
    }
    let opens = |i: &usize| tokens.get(*i).is_some_and(|t| t.depth == close.depth && t.is_symbol(b'('));
    let open =
        (0..at).rev().find(opens).filter(|open| open.checked_sub(1).is_some_and(|i| word(i, "cast")))?;
    Some(tokens.get(open + 1)?.start..tokens.get(at.checked_sub(1)?)?.end)
}

/// Where a cast to one of these types that begins at a token ends: the index of the next token.
pub(super) fn cast_to(rewriter: &Rewriter<'_>, at: usize, types: &[&str]) -> Option<usize> {
    let tokens = &rewriter.parsed.tokens;
    if tokens.get(at)?.text(rewriter.sql) != "::" {
        return None;
    }
    let word = |i: usize, word: &str| tokens.get(i).is_some_and(|t| t.is_word(rewriter.sql, word));
    let qualified = word(at + 1, "pg_catalog") && tokens.get(at + 2).is_some_and(|t| t.is_symbol(b'.'));
    let name = if qualified { at + 3 } else { at + 1 };
    let array = tokens.get(name + 1).is_some_and(|t| t.is_symbol(b'['));
    (!array && types.iter().any(|t| word(name, t))).then_some(name + 1)
}

/// The first token of what a cast is of, given its last one; `None` if it isn't simple.
pub(super) fn primary(rewriter: &Rewriter<'_>, first: usize, last: usize) -> Option<usize> {
    let tokens = &rewriter.parsed.tokens;
    let get = |i: usize| tokens.get(i).filter(|_| i >= first);
    let before = |i: usize| i.checked_sub(1).filter(|&i| i >= first);
    // Names with dots, from the last one.
    let dotted = |mut at: usize| {
        while let Some(dot) = before(at).filter(|&d| get(d).is_some_and(|t| t.is_symbol(b'.')))
            && let Some(name) = before(dot).filter(|&n| get(n).is_some_and(Token::is_name))
        {
            at = name;
        }
        at
    };
    let token = get(last)?;
    let mut start = match token.kind {
        TokenKind::Param | TokenKind::Str | TokenKind::Number => last,
        TokenKind::Word | TokenKind::Quoted => dotted(last),
        TokenKind::Symbol(b')') => {
            let depth = token.depth;
            let open = (first..last)
                .rev()
                .find(|&i| get(i).is_some_and(|t| t.depth == depth && t.is_symbol(b'(')))?;
            match before(open).and_then(|i| get(i).map(|t| (i, t))) {
                Some((i, t)) if t.is_name() && !is_keyword(t, rewriter.sql) => dotted(i),
                _ => open,
            }
        }
        _ => return None,
    };
    // A cast of a cast.
    if let Some(cast) = before(start).filter(|&i| get(i).is_some_and(|t| t.text(rewriter.sql) == "::")) {
        start = primary(rewriter, first, before(cast)?)?;
    }
    Some(start)
}

/// Words after which a bracket isn't a call's.
fn is_keyword(token: &Token, sql: &str) -> bool {
    const WORDS: &[&str] = &[
        "select",
        "distinct",
        "in",
        "and",
        "or",
        "not",
        "any",
        "all",
        "some",
        "where",
        "on",
        "when",
        "then",
        "else",
        "case",
        "as",
        "from",
        "values",
        "array",
        "exists",
        "having",
        "by",
        "limit",
        "offset",
        "union",
        "except",
        "intersect",
        "using",
        "is",
        "like",
        "ilike",
        "between",
        "returning",
        "set",
        "filter",
        "over",
    ];
    WORDS.iter().any(|w| token.is_word(sql, w))
}

/// What a select item is called that is a cast of these tokens: like the column or function in it.
pub(super) fn name_of(rewriter: &Rewriter<'_>, start: usize, cast: usize) -> Option<String> {
    let tokens = &rewriter.parsed.tokens;
    let mut at = start;
    tokens.get(at).filter(|t| t.is_name())?;
    while tokens.get(at + 1).is_some_and(|t| t.is_symbol(b'.')) && at + 2 < cast {
        at += 2;
    }
    let token = tokens.get(at).filter(|t| t.is_name())?;
    let text = token.text(rewriter.sql);
    Some(match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_ascii_lowercase(),
    })
}

/// The items of the select list that the client gets, by their tokens without names that they are given. None where
/// results of several queries are one.
pub(super) fn shown_items(rewriter: &Rewriter<'_>, within: Range<usize>) -> Vec<Range<usize>> {
    let tokens = &rewriter.parsed.tokens;
    let word = |i: usize, words: &[&str]| {
        tokens.get(i).is_some_and(|t| words.iter().any(|w| t.is_word(rewriter.sql, w)))
    };
    let outermost = |i: &usize| tokens.get(*i).is_some_and(|t| t.depth == 0);
    let top: Vec<usize> = within.clone().filter(outermost).collect();
    let several = top.iter().any(|&i| word(i, &["union", "intersect", "except"]));
    let select = top.iter().copied().find(|&i| word(i, &["select"]));
    let Some(select) = select.filter(|_| rewriter.statement.kind == Kind::Query && !several) else {
        return Vec::new();
    };
    const END: &[&str] =
        &["from", "where", "group", "order", "limit", "offset", "fetch", "for", "into", "having"];
    let end = top.iter().copied().find(|&i| i > select && word(i, END)).unwrap_or(within.end);
    let mut items = Vec::new();
    let mut start = select + 1;
    if word(start, &["distinct", "all"]) {
        start += 1;
        if word(start, &["on"]) {
            let closed = |i: &usize| tokens.get(*i).is_some_and(|t| t.depth == 0 && t.is_symbol(b')'));
            start = (start..end).find(closed).map_or(start, |close| close + 1);
        }
    }
    let commas = top
        .iter()
        .copied()
        .filter(|&i| i > select && i < end && tokens.get(i).is_some_and(|t| t.is_symbol(b',')));
    for stop in commas.chain([end]) {
        let named = (start..stop).find(|&i| outermost(&i) && word(i, &["as"]));
        items.push(start..named.unwrap_or(stop));
        start = stop + 1;
    }
    items
}
