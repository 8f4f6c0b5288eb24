//! Statements as DataFusion's parser reads them, plus the session commands that it doesn't know.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Statement, Visit};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use epoch_adapter::{Error, Result, sqlstate};

use super::{catalog, only};

/// Nesting that the parser follows before it gives up; keeps deep input from exhausting the stack.
const RECURSION_LIMIT: usize = 64;

/// What a statement asks for.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Nothing at all.
    Empty,
    /// `SELECT`, `VALUES`, `WITH`, and `EXPLAIN` of them.
    Query(Box<Statement>),
    /// `INSERT`
    Insert(Box<ast::Insert>),
    /// `UPDATE`
    Update(Box<ast::Update>),
    /// `DELETE`
    Delete(Box<ast::Delete>),
    /// `BEGIN`, `START TRANSACTION`
    Begin(Modes),
    /// `COMMIT`, `END`; whether a new block starts at once
    Commit(bool),
    /// `ROLLBACK`, `ABORT`
    Rollback(bool),
    /// `SAVEPOINT name`
    Savepoint(String),
    /// `RELEASE [SAVEPOINT] name`
    Release(String),
    /// `ROLLBACK TO [SAVEPOINT] name`
    RollbackTo(String),
    /// `SET [LOCAL] name = value`; `None` is DEFAULT
    Set { name: String, value: Option<String>, local: bool },
    /// `SET TRANSACTION …` (in the block), `SET SESSION CHARACTERISTICS AS TRANSACTION …`
    SetTransaction { modes: Modes, session: bool },
    /// `SHOW name`, `SHOW ALL`
    Show(String),
    /// `RESET name`, `RESET ALL`
    Reset(String),
    /// `DISCARD ALL` and its parts
    Discard(String),
    /// `DEALLOCATE name`, `DEALLOCATE ALL`; the statements are the wire's
    Deallocate(Option<String>),
    /// `DECLARE name CURSOR FOR query`
    Declare { name: String, query: Box<Statement> },
    /// `FETCH n FROM name`; `None` is ALL; `MOVE` returns no rows
    Fetch { name: String, count: Option<u64>, rows: bool },
    /// `CLOSE name`, `CLOSE ALL`
    Close(Option<String>),
    /// `LISTEN`, `UNLISTEN`: accepted, nothing ever notifies
    Unlisten,
}

/// Transaction modes that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    /// `READ ONLY` or `READ WRITE`.
    pub(crate) read_only: Option<bool>,
    /// `REPEATABLE READ` or `SERIALIZABLE`: one snapshot for the block.
    pub(crate) snapshot: Option<bool>,
}

/// The statements of a query string, without their semicolons; none for an empty one.
pub fn split(sql: &str) -> Result<Vec<&str>> {
    let tokens = tokenize(sql)?;
    let lines = Lines::new(sql);
    let (mut statements, mut start, mut empty) = (Vec::new(), 0, true);
    for token in &tokens {
        match token.token {
            Token::SemiColon => {
                let end = lines.offset(token.span.start);
                if !empty {
                    statements.extend(sql.get(start..end));
                }
                (start, empty) = (end + 1, true);
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => empty = false,
        }
    }
    if !empty {
        statements.extend(sql.get(start..));
    }
    Ok(statements)
}

/// Parses one statement.
pub(crate) fn parse(sql: &str) -> Result<Command> {
    let mut tokens = tokenize(sql)?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF));
    while tokens.last().is_some_and(|t| t.token == Token::SemiColon) {
        tokens.pop();
    }
    if tokens.is_empty() {
        return Ok(Command::Empty);
    }
    if tokens.iter().any(|t| t.token == Token::SemiColon) {
        return Err(Error::new(
            sqlstate::SYNTAX_ERROR,
            "cannot insert multiple commands into a prepared statement",
        ));
    }
    if let Some(command) = session_command(&tokens)? {
        return Ok(command);
    }
    if !catalog::concerns(sql) {
        return statement(sql, tokens).and_then(classify);
    }
    match catalog::statement(sql) {
        Some(statement) => classify(statement),
        None => statement(sql, tokens).map(catalog::apply).and_then(classify),
    }
}

fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>> {
    Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .map_err(|e| syntax_error(sql, &ParserError::TokenizerError(e.to_string())))
}

/// How many operators an expression may have one in another. What walks over expressions later takes up to 5 KB of
/// the stack for each (measured: 3,000 were too many for the 16 MB of the threads that `cli` starts).
const MAX_OPERATORS: usize = 1000;

/// Upper bounds of how deep what is in a bracket is: `most` up to the last comma; `chain` operators since then, and
/// brackets of depth `inner` among them.
#[derive(Default)]
struct Level {
    most: usize,
    chain: usize,
    inner: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.most.max(self.chain + self.inner)
    }
}

/// How many operators can be one in another. `1 + 1 + 1` is as deep as it is long, and the parser's limit of
/// recursion doesn't see it.
fn operators(tokens: &[TokenWithSpan]) -> usize {
    let (mut outer, mut level) = (Vec::new(), Level::default());
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => outer.push(std::mem::take(&mut level)),
            Token::RParen | Token::RBracket => {
                let inside = level.depth();
                level = outer.pop().unwrap_or_default();
                level.inner = level.inner.max(inside);
            }
            Token::Comma => level = Level { most: level.depth(), ..Level::default() },
            token if chains(token) => level.chain += 1,
            _ => {}
        }
    }
    outer.iter().chain([&level]).map(Level::depth).sum()
}

/// Whether a token makes an expression deeper each time it comes. Comparisons don't: they can't follow each other.
fn chains(token: &Token) -> bool {
    const JOINING: [&str; 7] = ["and", "or", "not", "union", "intersect", "except", "join"];
    match token {
        Token::Word(word) => {
            word.quote_style.is_none() && JOINING.iter().any(|w| w.eq_ignore_ascii_case(&word.value))
        }
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Placeholder(_)
        | Token::Period
        | Token::Eq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq => false,
        _ => true,
    }
}

fn statement(sql: &str, tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    if operators(&tokens) > MAX_OPERATORS {
        return Err(Error::new(sqlstate::STATEMENT_TOO_COMPLEX, "statement is nested too deeply")
            .with_detail(format!("At most {MAX_OPERATORS} operators one in another are possible on tables that are not in PostgreSQL.")));
    }
    check_tokens(&tokens)?;
    let tokens = only::mark(tokens);
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(RECURSION_LIMIT)
        .with_tokens_with_locations(tokens);
    let parsed = parser.parse_statement().map_err(|e| syntax_error(sql, &e))?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(parsed),
        token => {
            let position = Lines::new(sql).position(next.span.start);
            let message = format!("syntax error at or near \"{token}\"");
            Err(unless_valid(sql, Error::new(sqlstate::SYNTAX_ERROR, message).with_position(position)))
        }
    }
}

/// EXCEPT ALL and INTERSECT ALL count rows, which DataFusion doesn't; the right side of IS DISTINCT FROM is read
/// otherwise than by PostgreSQL.
fn check_forms(statement: &Statement) -> Result<()> {
    match statement.visit(&mut Forms::default()) {
        ControlFlow::Break(what) => {
            Err(Error::unsupported(format!("{what} on tables that are not in PostgreSQL")))
        }
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Finds what [`check_forms`] refuses.
#[derive(Default)]
struct Forms {
    /// How many queries are around.
    depth: usize,
}

impl ast::Visitor for Forms {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        if !query.locks.is_empty() {
            return ControlFlow::Break("FOR UPDATE and FOR SHARE");
        }
        if counts(&query.body) {
            return ControlFlow::Break("EXCEPT ALL and INTERSECT ALL");
        }
        if self.depth > 1 && super::names::alias_is_read(query) {
            return ControlFlow::Break(
                "HAVING or ORDER BY of an expression with a name that is also an alias, in a sub-select",
            );
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &ast::Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    /// `a IS DISTINCT FROM b AND c` becomes `a IS DISTINCT FROM (b AND c)`.
    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Self::Break> {
        use ast::BinaryOperator::{And, Or};
        let (ast::Expr::IsDistinctFrom(_, right) | ast::Expr::IsNotDistinctFrom(_, right)) = expr else {
            return ControlFlow::Continue(());
        };
        match &**right {
            ast::Expr::BinaryOp { op: And | Or, .. } => {
                ControlFlow::Break("IS DISTINCT FROM without parentheses around it before AND or OR")
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What the parser reads otherwise than PostgreSQL, without an error.
fn check_tokens(tokens: &[TokenWithSpan]) -> Result<()> {
    let refused =
        |what: &str| Err(Error::unsupported(format!("{what} on tables that are not in PostgreSQL")));
    let is = |token: Option<&TokenWithSpan>, word: &str| {
        token.is_some_and(|t| match &t.token {
            Token::Word(w) => w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word),
            _ => false,
        })
    };
    for (at, token) in tokens.iter().enumerate() {
        let (before, after) = (at.checked_sub(1).and_then(|i| tokens.get(i)), tokens.get(at + 1));
        match &token.token {
            Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::DollarQuotedString(_)
                if after.is_some_and(|t| matches!(t.token, Token::SingleQuotedString(_))) =>
            {
                return refused("a string constant that goes on after a line break");
            }
            Token::HexStringLiteral(_) => return refused("a bit string or a hexadecimal number"),
            Token::Word(_) if is(Some(token), "tablesample") => return refused("TABLESAMPLE"),
            Token::Word(_) if is(Some(token), "isnull") && !is(before, "as") => {
                return refused("ISNULL")
                    .map_err(|error: Error| error.with_hint("Write IS NULL, or AS before an alias."));
            }
            _ => {}
        }
    }
    Ok(())
}

fn counts(body: &ast::SetExpr) -> bool {
    match body {
        ast::SetExpr::SetOperation { op, set_quantifier, left, right } => {
            let all = *set_quantifier == ast::SetQuantifier::All && *op != ast::SetOperator::Union;
            all || counts(left) || counts(right)
        }
        _ => false,
    }
}

fn classify(statement: Statement) -> Result<Command> {
    check_forms(&statement)?;
    match statement {
        Statement::Query(query) => match *query.body {
            ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_) => {
                Err(Error::unsupported("WITH before a data-modifying statement"))
            }
            _ => Ok(Command::Query(Box::new(Statement::Query(query)))),
        },
        Statement::Explain { .. } => Ok(Command::Query(Box::new(statement))),
        Statement::Insert(insert) => Ok(Command::Insert(Box::new(insert))),
        Statement::Update(update) => Ok(Command::Update(Box::new(update))),
        Statement::Delete(delete) => Ok(Command::Delete(Box::new(delete))),
        other => {
            let text = other.to_string();
            let words: Vec<_> = text.split_whitespace().take(2).collect();
            Err(Error::unsupported(format!("{} on tables that are not in PostgreSQL", words.join(" "))))
        }
    }
}

/// Session commands, read from their words: a word in lower case, `None` for any other token.
fn session_command(tokens: &[TokenWithSpan]) -> Result<Option<Command>> {
    let words: Vec<String> = tokens.iter().map(|t| word(&t.token)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let rest = |n: usize| tokens.get(n..).unwrap_or_default();
    Ok(Some(match words.as_slice() {
        ["begin", "transaction" | "work", ..] | ["start", "transaction", ..] => {
            Command::Begin(modes(words.get(2..))?)
        }
        ["begin", ..] => Command::Begin(modes(words.get(1..))?),
        ["commit" | "end", tail @ ..] => Command::Commit(chain(tail)?),
        ["rollback", "work" | "transaction", "to", tail @ ..] | ["rollback", "to", tail @ ..] => {
            Command::RollbackTo(savepoint(tail, tokens)?)
        }
        ["rollback" | "abort", tail @ ..] => Command::Rollback(chain(tail)?),
        ["savepoint", _] => Command::Savepoint(identifier(rest(1))?),
        ["release", tail @ ..] => Command::Release(savepoint(tail, tokens)?),
        ["set", "transaction", tail @ ..] => {
            Command::SetTransaction { modes: modes(Some(tail))?, session: false }
        }
        ["set", "session", "characteristics", "as", "transaction", tail @ ..] => {
            Command::SetTransaction { modes: modes(Some(tail))?, session: true }
        }
        ["set", "local", ..] => set(rest(2), true)?,
        ["set", "session", ..] if words.get(2) != Some(&"authorization") => set(rest(2), false)?,
        ["set", ..] => set(rest(1), false)?,
        ["show", "all"] => Command::Show("all".to_owned()),
        ["show", ..] => Command::Show(setting_name(rest(1))?.0),
        ["reset", ..] => Command::Reset(setting_name(rest(1))?.0),
        ["discard", what @ ("all" | "plans" | "sequences" | "temp" | "temporary")] => {
            Command::Discard((*what).to_owned())
        }
        ["deallocate", "prepare", "all"] | ["deallocate", "all"] => Command::Deallocate(None),
        ["deallocate", "prepare", _] => Command::Deallocate(Some(identifier(rest(2))?)),
        ["deallocate", _] => Command::Deallocate(Some(identifier(rest(1))?)),
        ["close", "all"] => Command::Close(None),
        ["close", _] => Command::Close(Some(identifier(rest(1))?)),
        ["declare", ..] => declare(tokens, &words)?,
        ["fetch" | "move", ..] => fetch(tokens, &words)?,
        ["listen" | "unlisten", ..] => Command::Unlisten,
        _ => return Ok(None),
    }))
}

fn word(token: &Token) -> String {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
        _ => "\"".to_owned(),
    }
}

/// An identifier, folded as PostgreSQL folds it.
fn identifier(tokens: &[TokenWithSpan]) -> Result<String> {
    match tokens {
        [token] => match &token.token {
            Token::Word(word) => Ok(folded(word.value.clone(), word.quote_style.is_some())),
            other => Err(near(other)),
        },
        [_, extra, ..] => Err(near(&extra.token)),
        [] => Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error at end of input")),
    }
}

fn folded(name: String, quoted: bool) -> String {
    if quoted { name } else { name.to_lowercase() }
}

fn near(token: &Token) -> Error {
    Error::new(sqlstate::SYNTAX_ERROR, format!("syntax error at or near \"{token}\""))
}

/// The name in `[SAVEPOINT] name`, the last token of the statement.
fn savepoint(tail: &[&str], tokens: &[TokenWithSpan]) -> Result<String> {
    match tail {
        ["savepoint", _] | [_] => identifier(tokens.get(tokens.len() - 1..).unwrap_or_default()),
        _ => Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error in the name of a savepoint")),
    }
}

fn chain(tail: &[&str]) -> Result<bool> {
    match tail {
        [] | ["work" | "transaction"] | ["and", "no", "chain"] => Ok(false),
        ["work" | "transaction", "and", "chain"] | ["and", "chain"] => Ok(true),
        ["work" | "transaction", "and", "no", "chain"] => Ok(false),
        ["prepared", ..] => Err(Error::unsupported("two-phase commit")),
        [other, ..] => {
            Err(Error::new(sqlstate::SYNTAX_ERROR, format!("syntax error at or near \"{other}\"")))
        }
    }
}

fn modes(words: Option<&[&str]>) -> Result<Modes> {
    let mut modes = Modes::default();
    let mut words = words.unwrap_or_default();
    loop {
        words = match words {
            [] => return Ok(modes),
            ["isolation", "level", "serializable", rest @ ..]
            | ["isolation", "level", "repeatable", "read", rest @ ..] => {
                modes.snapshot = Some(true);
                rest
            }
            ["isolation", "level", "read", "committed" | "uncommitted", rest @ ..] => {
                modes.snapshot = Some(false);
                rest
            }
            ["read", "only", rest @ ..] => {
                modes.read_only = Some(true);
                rest
            }
            ["read", "write", rest @ ..] => {
                modes.read_only = Some(false);
                rest
            }
            ["deferrable", rest @ ..] | ["not", "deferrable", rest @ ..] => rest,
            ["\"", rest @ ..] => rest,
            [other, ..] => {
                return Err(Error::new(
                    sqlstate::SYNTAX_ERROR,
                    format!("syntax error at or near \"{other}\""),
                ));
            }
        };
    }
}

/// `name`, `epoch.branch`, `TIME ZONE`; and how many tokens it took.
fn setting_name(tokens: &[TokenWithSpan]) -> Result<(String, usize)> {
    let words: Vec<_> = tokens.iter().take(3).map(|t| word(&t.token)).collect();
    let name = |index: usize| match tokens.get(index).map(|t| &t.token) {
        Some(Token::Word(word)) => Ok(word.value.to_lowercase()),
        Some(other) => Err(near(other)),
        None => Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error at end of input")),
    };
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["time", "zone", ..] => Ok(("timezone".to_owned(), 2)),
        ["session", "authorization", ..] => Ok(("session_authorization".to_owned(), 2)),
        ["transaction", "isolation", "level"] => Ok(("transaction_isolation".to_owned(), 3)),
        _ if tokens.get(1).is_some_and(|t| t.token == Token::Period) => {
            Ok((format!("{}.{}", name(0)?, name(2)?), 3))
        }
        _ => Ok((name(0)?, 1)),
    }
}

fn set(tokens: &[TokenWithSpan], local: bool) -> Result<Command> {
    let words: Vec<_> = tokens.iter().map(|t| word(&t.token)).collect();
    if matches!(words.first().map(String::as_str), Some("constraints")) {
        return Err(Error::unsupported("SET CONSTRAINTS on tables that are not in PostgreSQL"));
    }
    let (mut name, used) = match words.first().map(String::as_str) {
        Some("names") => ("client_encoding".to_owned(), 1),
        Some("role") => ("role".to_owned(), 1),
        _ => setting_name(tokens)?,
    };
    if name == "schema" {
        name = "search_path".to_owned();
    }
    let mut values = tokens.get(used..).unwrap_or_default();
    if let [first, rest @ ..] = values
        && (first.token == Token::Eq || word(&first.token) == "to")
    {
        values = rest;
    }
    if values.is_empty() {
        return Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error at end of input"));
    }
    if let [only] = values
        && word(&only.token) == "default"
    {
        return Ok(Command::Set { name, value: None, local });
    }
    let list = name == "search_path";
    Ok(Command::Set { value: Some(set_value(values, list)?), name, local })
}

/// Values as `SHOW` prints them: a list joined by commas, its names quoted where they must be.
fn set_value(tokens: &[TokenWithSpan], list: bool) -> Result<String> {
    let mut text = String::new();
    for token in tokens {
        match &token.token {
            Token::Comma => text.push_str(", "),
            Token::Word(word) if word.quote_style.is_some() && list => {
                text.push_str(&format!("\"{}\"", word.value))
            }
            Token::Word(word) => text.push_str(&word.value),
            Token::SingleQuotedString(value) | Token::EscapedStringLiteral(value) => text.push_str(value),
            Token::Number(number, _) => text.push_str(number),
            Token::Minus => text.push('-'),
            Token::Plus => text.push('+'),
            Token::Period => text.push('.'),
            other => return Err(near(other)),
        }
    }
    Ok(text)
}

fn declare(tokens: &[TokenWithSpan], words: &[&str]) -> Result<Command> {
    let name = identifier(tokens.get(1..2).unwrap_or_default())?;
    let split = words
        .iter()
        .position(|w| *w == "for")
        .ok_or_else(|| Error::new(sqlstate::SYNTAX_ERROR, "syntax error at end of input"))?;
    let options = words.get(2..split).unwrap_or_default();
    if options.contains(&"hold") && !options.contains(&"without") {
        return Err(Error::unsupported("a cursor WITH HOLD"));
    }
    if options.contains(&"scroll") && !options.contains(&"no") {
        return Err(Error::unsupported("a SCROLL cursor"));
    }
    if options.contains(&"binary") {
        return Err(Error::unsupported("a BINARY cursor"));
    }
    match classify(statement("", tokens.get(split + 1..).unwrap_or_default().to_vec())?)? {
        Command::Query(query) => Ok(Command::Declare { name, query }),
        _ => Err(Error::unsupported("a cursor over anything but a query")),
    }
}

fn fetch(tokens: &[TokenWithSpan], words: &[&str]) -> Result<Command> {
    let rows = words.first() == Some(&"fetch");
    let name = identifier(tokens.get(tokens.len() - 1..).unwrap_or_default())?;
    let mut middle = words.get(1..words.len() - 1).unwrap_or_default();
    if let [before @ .., "from" | "in"] = middle {
        middle = before;
    }
    let count = match (middle, tokens.get(middle.len()).map(|t| &t.token)) {
        ([] | ["next"] | ["forward"], _) => Some(1),
        (["all"] | ["forward", "all"], _) => None,
        (["\""] | ["forward", "\""], Some(Token::Number(number, _))) => {
            Some(number.parse().map_err(|_| Error::new(sqlstate::SYNTAX_ERROR, "bad FETCH count"))?)
        }
        _ => return Err(Error::unsupported("FETCH in this direction")),
    };
    Ok(Command::Fetch { name, count, rows })
}

/// Line starts, to turn the tokenizer's locations into offsets.
struct Lines<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(sql: &'a str) -> Self {
        let after = sql.match_indices('\n').map(|(index, _)| index + 1);
        Self { sql, starts: std::iter::once(0).chain(after).collect() }
    }

    /// In bytes.
    fn offset(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(location.column).unwrap_or(1).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(self.sql.len());
        let rest = self.sql.get(start..).unwrap_or_default();
        start + rest.char_indices().nth(column).map_or(rest.len(), |(index, _)| index)
    }

    /// In characters from 1, as error positions count.
    fn position(&self, location: Location) -> usize {
        self.sql.get(..self.offset(location)).map_or(0, |before| before.chars().count()) + 1
    }
}

/// The parser says `Expected: x, found: y at Line: 1, Column: 2`.
fn syntax_error(sql: &str, error: &ParserError) -> Error {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return Error::new(sqlstate::STATEMENT_TOO_COMPLEX, "the statement is nested too deeply");
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
    };
    let message =
        match text.split_once("found: ").map(|(_, found)| found.split(" at Line").next().unwrap_or(found)) {
            Some("EOF") => "syntax error at end of input".to_owned(),
            Some(found) => format!("syntax error at or near \"{found}\""),
            None => format!("syntax error: {}", text.split(" at Line").next().unwrap_or(text)),
        };
    let mut error = Error::new(sqlstate::SYNTAX_ERROR, message);
    if let Some(location) = location_in(text) {
        error = error.with_position(Lines::new(sql).position(location));
    }
    unless_valid(sql, error)
}

fn location_in(text: &str) -> Option<Location> {
    let (_, rest) = text.rsplit_once("Line: ")?;
    let (line, rest) = rest.split_once(", Column: ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(Location { line: line.trim().parse().ok()?, column: digits.parse().ok()? })
}

/// What PostgreSQL's own grammar accepts is no syntax error: it is only not supported here.
fn unless_valid(sql: &str, error: Error) -> Error {
    const CHECKED: usize = 10_000;
    if sql.is_empty() || sql.len() > CHECKED || sql.matches('(').count() > RECURSION_LIMIT {
        return error;
    }
    match pg_raw_parse::parse(sql) {
        Ok(_) => {
            let detail = error.message().replacen("syntax error", "not understood", 1);
            Error::unsupported("this statement on tables that are not in PostgreSQL").with_detail(detail)
        }
        Err(_) => error,
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
