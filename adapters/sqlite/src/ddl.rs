//! Reads what SQLite tells only as DDL text: CHECKs, defaults, names of constraints, expressions of
//! indexes. The text was accepted by SQLite, so this only takes it apart; anything unexpected is an
//! error, and the table can't be registered.

use epoch_adapter::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An unquoted word: keyword or name.
    Word,
    /// A name in double quotes, backticks or brackets.
    Quoted,
    Text,
    Number,
    /// One character of punctuation.
    Mark,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    start: usize,
}

impl Token<'_> {
    fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }

    fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The identifier this token stands for.
    fn name(&self) -> String {
        let inner = |close: &str| {
            let body = self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or_default();
            body.replace(&close.repeat(2), close)
        };
        match self.text.chars().next() {
            Some('"') => inner("\""),
            Some('`') => inner("`"),
            Some('\'') => inner("'"),
            Some('[') => self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or_default().to_owned(),
            _ => self.text.to_owned(),
        }
    }
}

/// Splits SQL into tokens; comments and white space are left out.
fn tokens(sql: &str) -> Vec<Token<'_>> {
    let bytes = sql.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let until = |from: usize, close: u8, doubled: bool| {
        let mut i = from;
        while i < bytes.len() {
            if at(i) == close {
                if doubled && at(i + 1) == close {
                    i += 2;
                    continue;
                }
                return i + 1;
            }
            i += 1;
        }
        bytes.len()
    };
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80;
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        let kind = match at(i) {
            b if b.is_ascii_whitespace() => {
                i += 1;
                continue;
            }
            b'-' if at(i + 1) == b'-' => {
                i = until(i, b'\n', false);
                continue;
            }
            b'/' if at(i + 1) == b'*' => {
                i = sql.get(i + 2..).and_then(|rest| rest.find("*/")).map_or(bytes.len(), |n| i + n + 4);
                continue;
            }
            quote @ (b'"' | b'`') => {
                i = until(i + 1, quote, true);
                Kind::Quoted
            }
            b'[' => {
                i = until(i + 1, b']', false);
                Kind::Quoted
            }
            b'\'' => {
                i = until(i + 1, b'\'', true);
                Kind::Text
            }
            b'x' | b'X' if at(i + 1) == b'\'' => {
                i = until(i + 2, b'\'', false);
                Kind::Text
            }
            b if b.is_ascii_digit() || (b == b'.' && at(i + 1).is_ascii_digit()) => {
                while is_word(at(i))
                    || at(i) == b'.'
                    || (matches!(at(i), b'+' | b'-')
                        && matches!(at(i - 1), b'e' | b'E')
                        && !sql.get(start..i).unwrap_or("").starts_with("0x"))
                {
                    i += 1;
                }
                Kind::Number
            }
            b if is_word(b) => {
                while is_word(at(i)) {
                    i += 1;
                }
                Kind::Word
            }
            _ => {
                i += 1;
                Kind::Mark
            }
        };
        out.push(Token { kind, text: sql.get(start..i).unwrap_or_default(), start });
    }
    out
}

/// A CHECK of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// The user's name for it.
    pub name: Option<String>,
    /// The column whose definition holds it, or the only column that its expression names.
    pub column: Option<String>,
    /// The expression with its parentheses.
    pub expr: String,
}

/// What the DDL says about a column beyond its type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ColumnDdl {
    pub name: String,
    /// Its type, and the constraints that an overlay table carries too, as the user wrote them.
    pub kept: String,
    pub collation: Option<String>,
}

/// A UNIQUE or PRIMARY KEY with the user's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UniqueDdl {
    pub name: Option<String>,
    pub columns: Vec<String>,
}

/// A foreign key, in the order of the DDL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ForeignDdl {
    pub name: Option<String>,
    pub deferred: bool,
}

/// A CREATE TABLE taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TableDdl {
    pub columns: Vec<ColumnDdl>,
    pub checks: Vec<Check>,
    pub uniques: Vec<UniqueDdl>,
    pub primary: Option<UniqueDdl>,
    pub foreign: Vec<ForeignDdl>,
    pub autoincrement: bool,
    pub strict: bool,
    pub without_rowid: bool,
    /// Some constraint has an ON CONFLICT clause.
    pub conflict_clauses: bool,
}

struct Parser<'a> {
    conflict_clauses: bool,
    sql: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(sql: &'a str) -> Self {
        Self { conflict_clauses: false, sql, tokens: tokens(sql), at: 0 }
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Result<Token<'a>> {
        let token = self.peek().ok_or_else(|| self.lost())?;
        self.at += 1;
        Ok(token)
    }

    fn lost(&self) -> Error {
        Error::unsupported("the DDL of this SQLite table").with_detail(format!("It reads: {}", self.sql))
    }

    fn is(&self, word: &str) -> bool {
        self.peek().is_some_and(|t| t.is_word(word))
    }

    fn is_mark(&self, mark: &str) -> bool {
        self.peek().is_some_and(|t| t.is_mark(mark))
    }

    fn eat(&mut self, word: &str) -> bool {
        let hit = self.is(word);
        self.at += usize::from(hit);
        hit
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.eat(word) { Ok(()) } else { Err(self.lost()) }
    }

    /// Skips `( … )` and returns it with its parentheses.
    fn parens(&mut self) -> Result<&'a str> {
        let open = self.next()?;
        if !open.is_mark("(") {
            return Err(self.lost());
        }
        let mut depth = 1;
        loop {
            let token = self.next()?;
            depth += i32::from(token.is_mark("(")) - i32::from(token.is_mark(")"));
            if depth == 0 {
                return self.sql.get(open.start..token.end()).ok_or_else(|| self.lost());
            }
        }
    }

    /// The text from token `from` up to the last one read.
    fn since(&self, from: usize) -> &'a str {
        let start = self.tokens.get(from).map_or(0, |t| t.start);
        let end = self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(0, Token::end);
        self.sql.get(start..end).unwrap_or_default()
    }

    fn conflict_clause(&mut self) -> Result<()> {
        if self.is("ON") && self.tokens.get(self.at + 1).is_some_and(|t| t.is_word("CONFLICT")) {
            self.at += 2;
            self.next()?;
            self.conflict_clauses = true;
        }
        Ok(())
    }

    /// What follows REFERENCES; whether it is deferred.
    fn references(&mut self) -> Result<bool> {
        self.next()?;
        if self.is_mark("(") {
            self.parens()?;
        }
        let mut deferred = false;
        loop {
            if self.eat("ON") {
                self.next()?;
                // SET NULL, SET DEFAULT, NO ACTION are two words.
                if self.eat("SET") || self.eat("NO") || self.peek().is_some() {
                    self.next()?;
                }
            } else if self.eat("MATCH") {
                self.next()?;
            } else if self.is("NOT") && self.tokens.get(self.at + 1).is_some_and(|t| t.is_word("DEFERRABLE"))
            {
                self.at += 2;
                if self.eat("INITIALLY") {
                    self.next()?;
                }
            } else if self.eat("DEFERRABLE") {
                if self.eat("INITIALLY") {
                    deferred = self.next()?.is_word("DEFERRED");
                }
            } else {
                return Ok(deferred);
            }
        }
    }

    /// The names in `(a, "b" COLLATE x DESC, …)`.
    fn column_list(&mut self) -> Result<Vec<String>> {
        let inner = self.parens()?;
        let inner = inner.get(1..inner.len().saturating_sub(1)).unwrap_or_default();
        Ok(split(inner).iter().filter_map(|part| tokens(part).first().map(Token::name)).collect())
    }
}

/// Splits at the commas outside parentheses.
fn split(list: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for token in tokens(list) {
        depth += i32::from(token.is_mark("(")) - i32::from(token.is_mark(")"));
        if depth == 0 && token.is_mark(",") {
            out.push(list.get(from..token.start).unwrap_or_default().trim());
            from = token.end();
        }
    }
    out.push(list.get(from..).unwrap_or_default().trim());
    out
}

/// Takes a CREATE TABLE apart.
pub(crate) fn parse_table(sql: &str) -> Result<TableDdl> {
    let mut p = Parser::new(sql);
    let mut out = TableDdl::default();
    p.expect("CREATE")?;
    p.expect("TABLE")?;
    p.next()?;
    while p.peek().is_some() && !p.is_mark("(") {
        p.next()?;
    }
    p.next()?;
    let mut columns_over = false;
    loop {
        columns_over = columns_over || starts_constraint(&p);
        if columns_over {
            while !p.is_mark(",") && !p.is_mark(")") {
                table_constraint(&mut p, &mut out)?;
            }
        } else {
            column(&mut p, &mut out)?;
        }
        if p.next()?.is_mark(")") {
            break;
        }
    }
    while let Some(token) = p.peek() {
        out.strict |= token.is_word("STRICT");
        out.without_rowid |= token.is_word("ROWID");
        p.at += 1;
    }
    out.conflict_clauses = p.conflict_clauses;
    let names: Vec<_> = out.columns.iter().map(|c| c.name.clone()).collect();
    for check in out.checks.iter_mut().filter(|c| c.column.is_none()) {
        check.column = only_column(&check.expr, &names);
    }
    Ok(out)
}

fn starts_constraint(p: &Parser<'_>) -> bool {
    ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"].iter().any(|w| p.is(w))
}

fn only_column(expr: &str, columns: &[String]) -> Option<String> {
    let mut found: Vec<&String> = Vec::new();
    for token in tokens(expr).iter().filter(|t| matches!(t.kind, Kind::Word | Kind::Quoted)) {
        let name = token.name();
        if let Some(column) = columns.iter().find(|c| c.eq_ignore_ascii_case(&name))
            && !found.contains(&column)
        {
            found.push(column);
        }
    }
    match found.as_slice() {
        [one] => Some((*one).clone()),
        _ => None,
    }
}

fn column(p: &mut Parser<'_>, out: &mut TableDdl) -> Result<()> {
    let mut column = ColumnDdl { name: p.next()?.name(), ..ColumnDdl::default() };
    let from = p.at;
    while !p.is_mark(",") && !p.is_mark(")") && !starts_column_constraint(p) {
        if p.is_mark("(") {
            p.parens()?;
        } else {
            p.next()?;
        }
    }
    if p.at > from {
        column.kept = p.since(from).to_owned();
    }
    let mut name = None;
    while !p.is_mark(",") && !p.is_mark(")") {
        let from = p.at;
        let keep = column_constraint(p, out, &mut column, &mut name)?;
        if keep {
            column.kept = format!("{} {}", column.kept, p.since(from));
        }
    }
    out.columns.push(column);
    Ok(())
}

fn starts_column_constraint(p: &Parser<'_>) -> bool {
    const WORDS: [&str; 11] = [
        "CONSTRAINT",
        "PRIMARY",
        "NOT",
        "NULL",
        "UNIQUE",
        "CHECK",
        "DEFAULT",
        "COLLATE",
        "REFERENCES",
        "GENERATED",
        "AS",
    ];
    WORDS.iter().any(|w| p.is(w))
}

/// Reads one constraint of a column; says whether the overlay carries it too.
fn column_constraint(
    p: &mut Parser<'_>,
    out: &mut TableDdl,
    column: &mut ColumnDdl,
    name: &mut Option<String>,
) -> Result<bool> {
    let word = p.next()?;
    let is = |w: &str| word.is_word(w);
    if is("CONSTRAINT") {
        *name = Some(p.next()?.name());
        return Ok(false);
    }
    if is("PRIMARY") {
        p.expect("KEY")?;
        let _ = p.eat("ASC") || p.eat("DESC");
        p.conflict_clause()?;
        out.autoincrement |= p.eat("AUTOINCREMENT");
        out.primary = Some(UniqueDdl { name: name.take(), columns: vec![column.name.clone()] });
        return Ok(false);
    }
    if is("UNIQUE") {
        p.conflict_clause()?;
        out.uniques.push(UniqueDdl { name: name.take(), columns: vec![column.name.clone()] });
        return Ok(false);
    }
    if is("REFERENCES") {
        let deferred = p.references()?;
        out.foreign.push(ForeignDdl { name: name.take(), deferred });
        return Ok(false);
    }
    if is("CHECK") {
        let expr = p.parens()?.to_owned();
        p.conflict_clause()?;
        out.checks.push(Check { name: name.take(), column: Some(column.name.clone()), expr });
        // Written as a table constraint, under its name.
        return Ok(false);
    }
    *name = None;
    if is("NOT") {
        p.expect("NULL")?;
        p.conflict_clause()?;
        return Ok(true);
    }
    if is("NULL") {
        p.conflict_clause()?;
        return Ok(false);
    }
    if is("DEFAULT") {
        if p.is_mark("(") {
            p.parens()?;
        } else {
            if p.is_mark("+") || p.is_mark("-") {
                p.next()?;
            }
            p.next()?;
        }
        return Ok(true);
    }
    if is("COLLATE") {
        column.collation = Some(p.next()?.name());
        return Ok(true);
    }
    if is("GENERATED") || is("AS") {
        if is("GENERATED") {
            p.expect("ALWAYS")?;
            p.expect("AS")?;
        }
        p.parens()?;
        let _ = p.eat("STORED") || p.eat("VIRTUAL");
        return Ok(true);
    }
    Err(p.lost())
}

fn table_constraint(p: &mut Parser<'_>, out: &mut TableDdl) -> Result<()> {
    let mut name = None;
    while p.eat("CONSTRAINT") {
        name = Some(p.next()?.name());
    }
    let word = p.next()?;
    if word.is_word("PRIMARY") {
        p.expect("KEY")?;
        // AUTOINCREMENT may stand in the parentheses of a table constraint.
        let from = p.at;
        let columns = p.column_list()?;
        out.autoincrement |= p.since(from).to_ascii_uppercase().contains("AUTOINCREMENT");
        p.conflict_clause()?;
        out.primary = Some(UniqueDdl { name, columns });
    } else if word.is_word("UNIQUE") {
        let columns = p.column_list()?;
        p.conflict_clause()?;
        out.uniques.push(UniqueDdl { name, columns });
    } else if word.is_word("CHECK") {
        let expr = p.parens()?.to_owned();
        p.conflict_clause()?;
        out.checks.push(Check { name, column: None, expr });
    } else if word.is_word("FOREIGN") {
        p.expect("KEY")?;
        p.parens()?;
        p.expect("REFERENCES")?;
        let deferred = p.references()?;
        out.foreign.push(ForeignDdl { name, deferred });
    } else {
        return Err(p.lost());
    }
    Ok(())
}

/// The columns or expressions of a CREATE INDEX (without COLLATE, ASC, DESC), and its WHERE.
pub(crate) fn parse_index(sql: &str) -> Result<(Vec<String>, Option<String>)> {
    let mut p = Parser::new(sql);
    while !p.eat("ON") {
        p.next()?;
    }
    p.next()?;
    let list = p.parens()?;
    let list = list.get(1..list.len().saturating_sub(1)).unwrap_or_default();
    let condition = if p.eat("WHERE") {
        let from = p.peek().ok_or_else(|| p.lost())?.start;
        let text = sql.get(from..).unwrap_or_default().trim();
        // A trailing comment would swallow what we write behind the condition.
        Some(format!("{text}\n"))
    } else {
        None
    };
    Ok((split(list).into_iter().map(strip_order).collect(), condition))
}

/// Cuts a trailing `COLLATE x`, `ASC`, `DESC` off an indexed expression.
fn strip_order(part: &str) -> String {
    let all = tokens(part);
    let mut end = all.len();
    let word = |i: usize, w: &str| all.get(i).is_some_and(|t| t.is_word(w));
    while end > 1 && (word(end - 1, "ASC") || word(end - 1, "DESC")) {
        end -= 1;
    }
    if end > 2 && word(end - 2, "COLLATE") {
        end -= 2;
    }
    let stop = end.checked_sub(1).and_then(|i| all.get(i)).map_or(0, Token::end);
    part.get(..stop).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_table_apart() {
        let ddl = parse_table(
            "CREATE TABLE \"od d\" (id INTEGER PRIMARY KEY AUTOINCREMENT, -- the, key\n\
             [e mail] VARCHAR(20) COLLATE NOCASE CONSTRAINT mail_once UNIQUE ON CONFLICT REPLACE NOT NULL,\
             price NUMERIC(10, 2) DEFAULT -1.5e+3 CHECK (price > 0 OR price IN (-1500.0)),\
             c REFERENCES other(x) ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED,\
             g TEXT GENERATED ALWAYS AS (lower([e mail])) STORED, d TEXT DEFAULT (datetime('now')),\
             CONSTRAINT \"a b\" CHECK (price < 10 AND id > 0) CHECK (d <> ''), UNIQUE (c, price DESC),\
             CONSTRAINT fk FOREIGN KEY (c, g) REFERENCES z ON DELETE RESTRICT) STRICT",
        )
        .unwrap();
        let names: Vec<_> = ddl.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["id", "e mail", "price", "c", "g", "d"]);
        assert!(ddl.autoincrement && ddl.strict && !ddl.without_rowid && ddl.conflict_clauses);
        assert_eq!(ddl.columns[0].kept, "INTEGER");
        assert_eq!(ddl.columns[1].kept, "VARCHAR(20) COLLATE NOCASE NOT NULL");
        assert_eq!(ddl.columns[2].kept, "NUMERIC(10, 2) DEFAULT -1.5e+3");
        assert_eq!(ddl.columns[3].kept, "");
        assert_eq!(ddl.columns[4].kept, "TEXT GENERATED ALWAYS AS (lower([e mail])) STORED");
        assert_eq!(ddl.columns[5].kept, "TEXT DEFAULT (datetime('now'))");
        let checks: Vec<_> = ddl.checks.iter().map(|c| (c.name.as_deref(), c.column.as_deref())).collect();
        assert_eq!(checks, [(None, Some("price")), (Some("a b"), None), (None, Some("d"))]);
        assert_eq!(ddl.uniques[0].name.as_deref(), Some("mail_once"));
        assert_eq!(ddl.uniques[1].columns, ["c", "price"]);
        assert_eq!(ddl.foreign.iter().map(|f| f.deferred).collect::<Vec<_>>(), [true, false]);
        assert_eq!(ddl.foreign[1].name.as_deref(), Some("fk"));
    }

    #[test]
    fn takes_an_index_apart() {
        let (parts, condition) =
            parse_index("CREATE UNIQUE INDEX \"i on\" ON t (lower(a || ','), b COLLATE NOCASE DESC) WHERE b IS NOT NULL -- x")
                .unwrap();
        assert_eq!(parts, ["lower(a || ',')", "b"]);
        assert!(condition.unwrap().starts_with("b IS NOT NULL"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parse_table("CREATE VIRTUAL TABLE t USING fts5(a)").is_err());
        assert!(parse_table("CREATE TABLE t(a").is_err());
        assert!(parse_index("CREATE INDEX i").is_err());
    }
}
