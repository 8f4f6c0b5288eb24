//! PostgreSQL's lexical syntax: where each token of a statement starts and ends.
//!
//! The AST says what a statement means but only where some of its parts begin; rewriting splices the
//! client's text, so clause positions come from here. Tokens carry byte offsets and the depth of
//! brackets around them. Nothing is decoded except where [`Token::word`] is asked for.

use crate::{Error, Result, sqlstate};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A word without quotes: keyword or identifier.
    Word,
    /// `"…"` or `U&"…"`.
    Quoted,
    /// A string constant of any form, with its continuations on further lines.
    Str,
    /// A numeric constant.
    Number,
    /// `$1`
    Param,
    /// An operator, `*` and `::` `:=` `=>` `..` included.
    Operator,
    /// One of `( ) [ ] , ; . :`
    Symbol(u8),
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Byte offset of its first byte.
    pub start: usize,
    /// Byte offset after its last byte.
    pub end: usize,
    /// How many brackets are open around it; a bracket is at the depth of what is outside of it.
    pub depth: usize,
}

impl Token {
    /// Its text.
    pub fn text<'a>(&self, sql: &'a str) -> &'a str {
        sql.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether it is this keyword (given in lower case), unquoted.
    pub fn is_word(&self, sql: &str, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text(sql).eq_ignore_ascii_case(keyword)
    }

    /// Whether it is this bracket or punctuation.
    pub fn is_symbol(&self, symbol: u8) -> bool {
        self.kind == TokenKind::Symbol(symbol)
    }

    /// Whether it can name something.
    pub fn is_name(&self) -> bool {
        matches!(self.kind, TokenKind::Word | TokenKind::Quoted)
    }
}

/// The tokens of a text.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// In order, without white space and comments.
    pub list: Vec<Token>,
    /// An upper bound of the depth of the statement's syntax tree.
    pub nesting: usize,
}

impl Tokens {
    /// The index of the first token at or after a byte offset.
    pub fn at(&self, offset: usize) -> usize {
        self.list.partition_point(|t| t.start < offset)
    }

    /// A token by index.
    pub fn get(&self, index: usize) -> Option<&Token> {
        self.list.get(index)
    }
}

/// Splits `sql` into tokens. 42601 where PostgreSQL's lexer fails (an unterminated quote or comment).
/// `standard_conforming_strings` is taken to be on.
pub fn tokens(sql: &str) -> Result<Tokens> {
    let mut lexer =
        Lexer { bytes: sql.as_bytes(), position: 0, list: Vec::with_capacity(sql.len() / 5), depth: 0 };
    let mut nesting = Nesting::default();
    while let Some(token) = lexer.next()? {
        nesting.see(&token, token.text(sql));
        lexer.list.push(token);
    }
    Ok(Tokens { list: lexer.list, nesting: nesting.most })
}

struct Lexer<'a> {
    bytes: &'a [u8],
    position: usize,
    list: Vec<Token>,
    depth: usize,
}

fn starts_word(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn in_word(b: u8) -> bool {
    starts_word(b) || b.is_ascii_digit() || b == b'$'
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x0b)
}

fn is_operator(b: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&b)
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.position + ahead).copied().unwrap_or(0)
    }

    fn done(&self) -> bool {
        self.position >= self.bytes.len()
    }

    fn unterminated(&self, what: &str, start: usize) -> Error {
        let text = String::from_utf8_lossy(self.bytes.get(start..).unwrap_or_default());
        let shown: String = text.chars().take(200).collect();
        let before = self.bytes.get(..start).unwrap_or_default();
        Error::new(sqlstate::SYNTAX_ERROR, format!("unterminated {what} at or near \"{shown}\""))
            .with_position(String::from_utf8_lossy(before).chars().count() + 1)
    }

    fn next(&mut self) -> Result<Option<Token>> {
        self.skip_blank()?;
        if self.done() {
            return Ok(None);
        }
        let start = self.position;
        let kind = self.token()?;
        let mut depth = self.depth;
        match kind {
            TokenKind::Symbol(b'(' | b'[') => self.depth += 1,
            TokenKind::Symbol(b')' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                depth = self.depth;
            }
            _ => {}
        }
        Ok(Some(Token { kind, start, end: self.position, depth }))
    }

    fn skip_blank(&mut self) -> Result<()> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'-', b'-') => self.skip_line(),
                (b'/', b'*') => self.skip_comment()?,
                (b, _) if is_space(b) => self.position += 1,
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        while !self.done() && !matches!(self.peek(0), b'\n' | b'\r') {
            self.position += 1;
        }
    }

    fn skip_comment(&mut self) -> Result<()> {
        let start = self.position;
        let mut level = 0usize;
        while !self.done() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    level += 1;
                    self.position += 2;
                }
                (b'*', b'/') => {
                    level -= 1;
                    self.position += 2;
                    if level == 0 {
                        return Ok(());
                    }
                }
                _ => self.position += 1,
            }
        }
        Err(self.unterminated("/* comment", start))
    }

    fn token(&mut self) -> Result<TokenKind> {
        let (b, next) = (self.peek(0), self.peek(1));
        match b {
            b'\'' => self.string(false),
            b'"' => self.quoted(),
            b'e' | b'E' if next == b'\'' => {
                self.position += 1;
                self.string(true)
            }
            b'b' | b'B' | b'x' | b'X' | b'n' | b'N' if next == b'\'' => {
                self.position += 1;
                self.string(false)
            }
            b'u' | b'U' if next == b'&' && matches!(self.peek(2), b'\'' | b'"') => {
                self.position += 2;
                if self.peek(0) == b'"' { self.quoted() } else { self.string(false) }
            }
            b'$' => self.dollar(),
            _ if starts_word(b) => {
                while !self.done() && in_word(self.peek(0)) {
                    self.position += 1;
                }
                Ok(TokenKind::Word)
            }
            _ if b.is_ascii_digit() || (b == b'.' && next.is_ascii_digit()) => Ok(self.number()),
            b':' if matches!(next, b':' | b'=') => self.take(2, TokenKind::Operator),
            b'.' if next == b'.' => self.take(2, TokenKind::Operator),
            b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' | b':' => self.take(1, TokenKind::Symbol(b)),
            _ if is_operator(b) => Ok(self.operator()),
            _ => self.take(1, TokenKind::Symbol(b)),
        }
    }

    fn take(&mut self, bytes: usize, kind: TokenKind) -> Result<TokenKind> {
        self.position += bytes;
        Ok(kind)
    }

    /// At the opening quote. Two constants with a line break between them are one, in the first's form.
    fn string(&mut self, escapes: bool) -> Result<TokenKind> {
        let start = self.position;
        loop {
            self.position += 1;
            loop {
                if self.done() {
                    return Err(self.unterminated("quoted string", start));
                }
                match self.peek(0) {
                    b'\'' if self.peek(1) == b'\'' => self.position += 2,
                    b'\'' => break,
                    b'\\' if escapes => self.position = (self.position + 2).min(self.bytes.len()),
                    _ => self.position += 1,
                }
            }
            self.position += 1;
            match self.continuation() {
                Some(quote) => self.position = quote,
                None => return Ok(TokenKind::Str),
            }
        }
    }

    /// The position of a quote that continues the string that just ended: white space with a line
    /// break in it (and line comments) lie between.
    fn continuation(&self) -> Option<usize> {
        let mut at = self.position;
        let mut newline = false;
        loop {
            match self.bytes.get(at).copied()? {
                b'\n' | b'\r' => newline = true,
                b'\'' if newline => return Some(at),
                b'-' if self.bytes.get(at + 1) == Some(&b'-') => {
                    while !matches!(self.bytes.get(at).copied()?, b'\n' | b'\r') {
                        at += 1;
                    }
                    continue;
                }
                b if is_space(b) => {}
                _ => return None,
            }
            at += 1;
        }
    }

    fn quoted(&mut self) -> Result<TokenKind> {
        let start = self.position;
        self.position += 1;
        loop {
            if self.done() {
                return Err(self.unterminated("quoted identifier", start));
            }
            match self.peek(0) {
                b'"' if self.peek(1) == b'"' => self.position += 2,
                b'"' => return self.take(1, TokenKind::Quoted),
                _ => self.position += 1,
            }
        }
    }

    fn dollar(&mut self) -> Result<TokenKind> {
        if self.peek(1).is_ascii_digit() {
            self.position += 1;
            while self.peek(0).is_ascii_digit() {
                self.position += 1;
            }
            return Ok(TokenKind::Param);
        }
        let start = self.position;
        let mut end = start + 1;
        while self.bytes.get(end).is_some_and(|&b| in_word(b) && b != b'$') {
            end += 1;
        }
        let named_by_digit = self.bytes.get(start + 1).is_some_and(u8::is_ascii_digit);
        if self.bytes.get(end) != Some(&b'$') || named_by_digit {
            return self.take(1, TokenKind::Symbol(b'$'));
        }
        let tag = self.bytes.get(start..=end).unwrap_or_default();
        let body = end + 1;
        let rest = self.bytes.get(body..).unwrap_or_default();
        match memchr::memmem::find(rest, tag) {
            Some(found) => {
                self.position = body + found + tag.len();
                Ok(TokenKind::Str)
            }
            None => Err(self.unterminated("dollar-quoted string", start)),
        }
    }

    fn number(&mut self) -> TokenKind {
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X' | b'o' | b'O' | b'b' | b'B') {
            self.position += 2;
            while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == b'_' {
                self.position += 1;
            }
            return TokenKind::Number;
        }
        self.digits();
        // `1..10` is a range, not `1.` and `.10`.
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.position += 1;
            self.digits();
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.position += 1 + sign;
                self.digits();
            }
        }
        TokenKind::Number
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() || (self.peek(0) == b'_' && self.peek(1).is_ascii_digit()) {
            self.position += 1;
        }
    }

    /// The longest run of operator characters that holds no start of a comment; `+` and `-` at its
    /// end belong to it only if it has a character that no standard operator has.
    fn operator(&mut self) -> TokenKind {
        let start = self.position;
        let mut end = start;
        while let Some(&b) = self.bytes.get(end) {
            let next = self.bytes.get(end + 1).copied().unwrap_or(0);
            if !is_operator(b) || matches!((b, next), (b'-', b'-') | (b'/', b'*')) {
                break;
            }
            end += 1;
        }
        let run = self.bytes.get(start..end).unwrap_or_default();
        let mut length = run.len();
        if !run.iter().any(|b| b"~!@#^&|`?%".contains(b)) {
            while length > 1 && matches!(run.get(length - 1), Some(b'+' | b'-')) {
                length -= 1;
            }
        }
        self.position = start + length.max(1);
        TokenKind::Operator
    }
}

/// Bounds the depth of the tree: per bracket the operators and keywords in it that may nest.
#[derive(Default)]
struct Nesting {
    open: Vec<usize>,
    here: usize,
    most: usize,
}

impl Nesting {
    fn see(&mut self, token: &Token, text: &str) {
        match token.kind {
            TokenKind::Symbol(b'(' | b'[') => {
                self.open.push(self.here);
                self.here += 1;
            }
            TokenKind::Symbol(b')' | b']') => self.here = self.open.pop().unwrap_or(0) + 1,
            TokenKind::Symbol(b',') => self.here = self.open.last().map_or(0, |outer| outer + 1),
            TokenKind::Symbol(b';') => *self = Self { most: self.most, ..Self::default() },
            TokenKind::Operator => self.here += 1,
            TokenKind::Word if nests(text) => self.here += 1,
            _ => {}
        }
        self.most = self.most.max(self.here);
    }
}

/// Keywords that make a level of the tree. AND and OR are flat lists.
fn nests(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "not",
        "union",
        "intersect",
        "except",
        "join",
        "case",
        "is",
        "isnull",
        "notnull",
        "like",
        "ilike",
        "similar",
        "between",
        "in",
        "collate",
        "at",
        "explain",
        "escape",
        "operator",
    ];
    WORDS.iter().any(|w| w.eq_ignore_ascii_case(word))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        tokens(sql).unwrap().list.iter().map(|t| t.text(sql)).collect()
    }

    fn kinds(sql: &str) -> Vec<TokenKind> {
        tokens(sql).unwrap().list.iter().map(|t| t.kind).collect()
    }

    #[test]
    fn words_and_quoted_names() {
        assert_eq!(texts(r#"Select a$1, "x""y".été"#), ["Select", "a$1", ",", r#""x""y""#, ".", "été"]);
        assert_eq!(kinds(r#"U&"d\0061t" u&"x""#), [TokenKind::Quoted; 2]);
    }

    #[test]
    fn comments_nest_and_end_lines() {
        assert_eq!(texts("a /* x /* y */ z */ b -- c\nd --e"), ["a", "b", "d"]);
        assert_eq!(tokens("a /* /* */").unwrap_err().code(), sqlstate::SYNTAX_ERROR);
        assert_eq!(texts("a--'\n"), ["a"]);
        assert_eq!(texts("a*/**/b"), ["a", "*", "b"]);
    }

    #[test]
    fn strings_of_every_form() {
        for one in [
            "'a''b'",
            r"'a\'",
            r"E'a\'b'",
            r"e'\\'",
            "B'01'",
            "x'1F'",
            "N'a'",
            r"U&'\0061'",
            "''",
            "$$a'b$$",
            "$t$ $$ $t$",
            "$é$x$é$",
        ] {
            assert_eq!(kinds(one), [TokenKind::Str], "{one}");
            assert_eq!(texts(one), [one]);
        }
        assert_eq!(texts("'it''s;' ;"), ["'it''s;'", ";"]);
    }

    #[test]
    fn strings_continue_on_the_next_line_in_their_own_form() {
        assert_eq!(texts("E'a' \n 'b\\'c' d"), ["E'a' \n 'b\\'c'", "d"]);
        assert_eq!(texts("'a' -- x\n  'b'"), ["'a' -- x\n  'b'"]);
        assert_eq!(texts("'a' 'b'"), ["'a'", "'b'"]);
        assert_eq!(texts("'a' /* \n */ 'b'"), ["'a'", "'b'"]);
    }

    #[test]
    fn unterminated_things_are_errors_with_a_position() {
        for (sql, position) in [("é 'a", 3), ("\"a", 1), ("x $a$ b", 3), ("E'a\\'", 2), ("a /*", 3)] {
            let error = tokens(sql).unwrap_err();
            assert_eq!((error.code(), error.position()), (sqlstate::SYNTAX_ERROR, Some(position)), "{sql}");
        }
    }

    #[test]
    fn parameters_and_numbers() {
        assert_eq!(texts("$1 $23::int"), ["$1", "$23", "::", "int"]);
        assert_eq!(
            texts("1 1.5 .5 1. 1e10 1.5E-3 0x1F 1_000 1..2 1e"),
            ["1", "1.5", ".5", "1.", "1e10", "1.5E-3", "0x1F", "1_000", "1", "..", "2", "1", "e"]
        );
        assert_eq!(texts("a$1"), ["a$1"]);
    }

    #[test]
    fn operators_end_where_postgres_ends_them() {
        assert_eq!(texts("a<-1"), ["a", "<", "-", "1"]);
        assert_eq!(texts("a@-1"), ["a", "@-", "1"]);
        assert_eq!(texts("a->>'b'"), ["a", "->>", "'b'"]);
        assert_eq!(texts("x=>1 y:=2 z<=-3"), ["x", "=>", "1", "y", ":=", "2", "z", "<=", "-", "3"]);
        assert_eq!(texts("a<--c\nb"), ["a", "<", "b"]);
        assert_eq!(texts("a?|b ?& c"), ["a", "?|", "b", "?&", "c"]);
        assert_eq!(texts("a[1:2]"), ["a", "[", "1", ":", "2", "]"]);
    }

    #[test]
    fn depth_counts_open_brackets() {
        let found: Vec<usize> = tokens("a (b [c] ) d").unwrap().list.iter().map(|t| t.depth).collect();
        assert_eq!(found, [0, 0, 1, 1, 2, 1, 0, 0]);
        assert_eq!(tokens(") a").unwrap().list[1].depth, 0);
    }

    #[test]
    fn nesting_bounds_the_tree() {
        let chain = format!("SELECT 1{}", "+1".repeat(3000));
        assert!(tokens(&chain).unwrap().nesting >= 3000);
        let list = format!("SELECT {}1", "1,".repeat(3000));
        assert!(tokens(&list).unwrap().nesting < 5);
        let rows = format!("INSERT INTO t VALUES (1,-2){}", ",(1,2)".repeat(3000));
        assert!(tokens(&rows).unwrap().nesting < 10);
        assert!(tokens(&"(".repeat(900)).unwrap().nesting >= 900);
        let unions = format!("SELECT 1{}", " UNION SELECT 2".repeat(700));
        assert!(tokens(&unions).unwrap().nesting >= 700);
    }

    #[test]
    fn offsets_are_bytes() {
        let sql = "é 'ü' x";
        assert_eq!(tokens(sql).unwrap().list[2].text(sql), "x");
    }
}
