//! What an expression may do beside giving a value: fail, or call what the user wrote.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::super::lexer::TokenKind;
use super::super::names::{Calls, Meaning, NameCache};
use super::super::parse::{ColumnUse, FunctionRef, SelectList, Site, Statement, TableRef, is_within};
use super::operands::{Level, Operands};

/// Functions of PostgreSQL that fail for no value of a column.
const HARMLESS: &[&str] = &[
    "array_length",
    "array_to_string",
    "arraycontains",
    "arrayoverlap",
    "bit_length",
    "btrim",
    "cardinality",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "concat",
    "concat_ws",
    "date_part",
    "date_trunc",
    "extract",
    "floor",
    "initcap",
    "isfinite",
    "json_typeof",
    "jsonb_exists",
    "jsonb_exists_all",
    "jsonb_exists_any",
    "jsonb_typeof",
    "left",
    "length",
    "lower",
    "ltrim",
    "md5",
    "num_nonnulls",
    "num_nulls",
    "octet_length",
    "phraseto_tsquery",
    "plainto_tsquery",
    "position",
    "reverse",
    "right",
    "rtrim",
    "sign",
    "starts_with",
    "strpos",
    "to_tsvector",
    "trim",
    "upper",
    "websearch_to_tsquery",
];

/// Words before a bracket that call nothing, or nothing that may fail.
const GRAMMAR: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "between",
    "by",
    "case",
    "coalesce",
    "distinct",
    "else",
    "except",
    "exists",
    "filter",
    "from",
    "greatest",
    "group",
    "having",
    "ilike",
    "in",
    "intersect",
    "is",
    "join",
    "lateral",
    "least",
    "like",
    "limit",
    "materialized",
    "not",
    "nullif",
    "offset",
    "on",
    "or",
    "over",
    "row",
    "select",
    "some",
    "then",
    "to",
    "union",
    "using",
    "values",
    "when",
    "where",
    "with",
    "within",
];

/// Operators that fail for no values, whatever their types.
const TOTAL: &[&str] = &[
    "=", "<>", "!=", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*", "^@", "||",
    "->", "->>", "#>", "#>>", "@>", "<@", "?", "?|", "?&", "&&", "@@", "@@@", "@?", "-|-", "<<", ">>", "&<",
    "&>", "<<=", ">>=", "<<|", "|>>", "~=", ":=", "=>", "..",
];

/// Types that everything can become.
const TEXT: &[&str] = &["text"];

/// What an expression calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Risk {
    /// Nothing that has a meaning in one place of a query only.
    Scalar,
    /// Aggregates, windows, or functions with many rows.
    Placed,
}

/// Tells expressions of a statement apart.
pub(super) struct Judge<'a> {
    pub level: Level<'a>,
    names: &'a NameCache,
    statement: &'a Statement,
    /// Where columns are named.
    columns: HashSet<usize>,
    /// Functions that are called, by where their names start.
    functions: HashMap<usize, &'a FunctionRef>,
}

impl<'a> Judge<'a> {
    pub fn new(names: &'a NameCache, statement: &'a Statement, level: Level<'a>) -> Self {
        let columns = statement.columns.iter().map(|column| column.start).collect();
        let functions = statement.functions.iter().map(|f| (name_of(level, f), f)).collect();
        Self { level, names, statement, columns, functions }
    }

    /// Whether an expression may fail, or call what the user wrote, depending on a row.
    pub fn tells(&self, range: &Range<usize>) -> bool {
        self.has_column(range) && self.outside(range).any(|at| self.is_risky(at))
    }

    /// Whether all of a part of a condition is to be evaluated as one.
    pub fn is_whole(&self, part: &Operands) -> bool {
        match &part.fixed {
            Some(fixed) => self.tells(fixed) || part.pattern && self.has_column(fixed),
            None => part.sides.is_empty() && self.tells(&part.all),
        }
    }

    pub fn calls(&self, range: &Range<usize>) -> Risk {
        let placed = |at: usize| {
            let star = self.level.is_symbol(at, b'(') && self.level.text(at + 1) == "*";
            let called = at.checked_sub(1).is_some_and(|i| self.level.is_symbol(i, b')'));
            let over = called && self.level.is_any(at, &["over", "filter", "within"]);
            star || over || self.function(at).is_some_and(|calls| calls.placed)
        };
        if self.outside(range).any(placed) { Risk::Placed } else { Risk::Scalar }
    }

    /// The arguments with columns of functions in FROM that the user wrote. PostgreSQL puts what such a function in SQL says in the place of
    /// its call.
    pub fn arguments_in_from(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for (start, function) in &self.functions {
            let at = self.level.at(*start);
            let own = matches!(function.site, Site::From { .. })
                && self.function(at).is_some_and(|calls| calls.own);
            if own {
                let inside = at + 2..self.level.close(at + 1);
                found.extend(self.level.items(inside).into_iter().filter(|item| self.has_column(item)));
            }
        }
        found
    }

    /// The tokens of a range that aren't in a query inside of it.
    fn outside<'r>(&'r self, range: &'r Range<usize>) -> impl Iterator<Item = usize> + 'r {
        let mut behind = range.start;
        range.clone().filter(move |&at| {
            if at < behind {
                return false;
            }
            if self.level.opens_query(at) {
                behind = self.level.close(at);
            }
            true
        })
    }

    /// Whether a column is named in it, in queries inside of it too.
    fn has_column(&self, range: &Range<usize>) -> bool {
        range.clone().any(|at| self.level.get(at).is_some_and(|t| self.columns.contains(&t.start)))
    }

    /// Whether a query in an expression uses columns of queries around it, and has something that may fail where `known` doesn't
    /// hold.
    pub fn tells_inside(&self, range: &Range<usize>, known: impl Fn(usize) -> bool) -> bool {
        let mut at = range.start;
        while at < range.end {
            if !self.level.opens_query(at) {
                at += 1;
                continue;
            }
            let inside = at + 1..self.level.close(at);
            if self.uses_outer(&inside) && inside.clone().any(|at| self.is_risky(at) && !known(at)) {
                return true;
            }
            at = inside.end;
        }
        false
    }

    /// Whether a query may use columns of one around it.
    fn uses_outer(&self, query: &Range<usize>) -> bool {
        let Some(bytes) = self.level.bytes(query) else { return false };
        // Of several that UNION or WITH joins, one: what is in the others seems to be from outside then.
        let start = |list: &&SelectList| list.items.first().map(|item| item.start);
        let inside = |list: &&SelectList| start(list).is_some_and(|start| bytes.contains(&start));
        let first = self.statement.select_lists.iter().filter(inside).min_by_key(start);
        let has = |table: &TableRef, column: &str| match self.names.table(table) {
            Meaning::Registered(def) => def.schema.index_of(column).is_some(),
            _ => false,
        };
        let own = |column: &ColumnUse| {
            let (scopes, tables) = (&self.statement.scopes, &self.statement.tables);
            first.is_some_and(|list| is_within(scopes, tables, column, list.scope, has))
        };
        self.statement.columns.iter().any(|column| bytes.contains(&column.start) && !own(column))
    }

    /// What is known of the function that a token names, if it names one.
    fn function(&self, at: usize) -> Option<Calls> {
        let level = self.level;
        if !level.is_symbol(at + 1, b'(') {
            return None;
        }
        let called = self.functions.get(&level.get(at)?.start)?;
        Some(self.names.function(called.schema.as_deref(), &called.name)?.calls)
    }

    fn is_risky(&self, at: usize) -> bool {
        let level = self.level;
        let Some(token) = level.get(at) else { return false };
        match token.kind {
            TokenKind::Operator => self.operator_is_risky(at),
            TokenKind::Word if level.is_word(at, "at") => {
                // AT TIME ZONE with a zone from a row
                level.is_word(at + 1, "time") && !level.is_kind(at + 3, TokenKind::Str)
            }
            TokenKind::Word | TokenKind::Quoted if level.is_symbol(at + 1, b'(') => self.call_is_risky(at),
            _ => false,
        }
    }

    fn operator_is_risky(&self, at: usize) -> bool {
        match self.level.text(at) {
            "::" => self.cast_is_risky(at),
            "*" if self.is_star(at) => false,
            text => !TOTAL.contains(&text) || self.names.is_own_operator(text),
        }
    }

    /// Whether `*` stands for columns or rows.
    fn is_star(&self, at: usize) -> bool {
        let level = self.level;
        let Some(before) = at.checked_sub(1) else { return true };
        [b'.', b',', b'('].iter().any(|&symbol| level.is_symbol(before, symbol))
            || ["select", "all", "distinct", "returning"].iter().any(|word| level.is(before, word))
    }

    fn cast_is_risky(&self, at: usize) -> bool {
        let level = self.level;
        let constant = at.checked_sub(1).is_some_and(|i| {
            [TokenKind::Str, TokenKind::Number, TokenKind::Param].iter().any(|&kind| level.is_kind(i, kind))
        });
        let text = TEXT.iter().any(|name| level.is_word(at + 1, name)) && !level.is_symbol(at + 2, b'[');
        !constant && !text
    }

    fn call_is_risky(&self, at: usize) -> bool {
        let level = self.level;
        let grammar = level.is_kind(at, TokenKind::Word) && level.is_any(at, GRAMMAR);
        if grammar || !self.has_column(&(at + 2..level.close(at + 1))) {
            return false;
        }
        let name = level.text(at).to_ascii_lowercase();
        let qualified = at.checked_sub(1).is_some_and(|i| level.is_symbol(i, b'.'));
        let system = !qualified || at.checked_sub(2).is_some_and(|i| level.is_word(i, "pg_catalog"));
        let harmless = system && HARMLESS.contains(&name.as_str());
        if !harmless || self.function(at).is_some_and(|calls| calls.own) {
            return true;
        }
        // What a row says of which part is wanted, of the zone or of the encoding may be wrong.
        let commas = self.commas(at + 1);
        match name.as_str() {
            "date_trunc" => commas > 1 || !level.is_kind(at + 2, TokenKind::Str),
            "date_part" => !level.is_kind(at + 2, TokenKind::Str),
            "length" => commas > 0,
            _ => false,
        }
    }

    /// How many arguments but the first are in a bracket.
    fn commas(&self, open: usize) -> usize {
        let depth = self.level.depth(open) + 1;
        let inside = open + 1..self.level.close(open);
        inside.filter(|&at| self.level.depth(at) == depth && self.level.is_symbol(at, b',')).count()
    }
}

/// Where a function's own name starts, behind its schema.
fn name_of(level: Level<'_>, function: &FunctionRef) -> usize {
    let mut at = level.at(function.range.start);
    while level.is_symbol(at + 1, b'.') {
        at += 2;
    }
    level.get(at).map_or(function.range.start, |t| t.start)
}
