//! The one door to PostgreSQL's grammar: text in, owned facts about each statement out.
//!
//! Nothing outside this module sees a syntax tree. Length and depth are capped before the parser
//! sees a text (54001); parsing and walking run on a stack that is large enough for what is let in.

mod altered;
mod asking;
mod call;
mod grouped;
mod listed;
mod locking;
mod relax;
mod scope;
mod select_list;
mod simple;
mod statement;
mod walk;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use altered::{Altered, altered};
pub use asking::{AskedFor, Asking};
pub use call::{Argument, Constant, array_literal};
pub use grouped::{GroupKey, Grouped};
pub use listed::{Listed, ListedItem};
pub use locking::{Locking, Output, Wait};
pub use relax::Relaxed;
pub use scope::{ColumnUse, Item, Scope, is_within};
pub use select_list::{SelectItem, SelectList};
pub use simple::{Simple, simple};
pub use statement::{
    Conflict, CreateAs, DELETE_CONFLICTS, Define, Ending, How, Insert, Isolation, Keyed, Keys, Kind, Merge,
    Modify, Nested, Overriding, Select, Setting, Shown, Source, Star, TypeHow, UPDATE_CONFLICTS, ViewHow,
    When, Width, Wrap,
};
pub use walk::{Attribute, Cte, FunctionRef, Role, Site, TableRef, TypeRef, Unnamed, With};

use super::lexer::{self, Tokens};
use crate::{Error, Result, sqlstate};

/// The longest text that is parsed.
pub const MAX_LENGTH: usize = 64 << 20;
/// The deepest tree that is parsed.
pub const MAX_NESTING: usize = 4_000;

/// One statement of a text, all offsets being bytes of the whole text.
#[derive(Debug, Clone)]
pub struct Statement {
    /// From its first to its last token.
    pub range: Range<usize>,
    /// What it is, inside of `wrap`.
    pub kind: Kind,
    /// What is around it.
    pub wrap: Wrap,
    /// Tables, wherever they are named, without references to CTEs.
    pub tables: Vec<TableRef>,
    /// Function calls.
    pub functions: Vec<FunctionRef>,
    /// Names of operators, without schema.
    pub operators: Vec<String>,
    /// Names of types, without the ones that are the grammar's own words.
    pub types: Vec<(Option<String>, String)>,
    /// Where they are.
    pub type_refs: Vec<TypeRef>,
    /// Names behind a dot, which may be functions' of what is before it.
    pub attributes: Vec<Attribute>,
    /// Column references.
    pub columns: Vec<ColumnUse>,
    /// Names that FROM items have by alias, and CTEs.
    pub aliases: Vec<String>,
    /// A construct inside that has no rewrite, by name.
    pub refused: Option<String>,
    /// Its queries and data-modifying statements, as far as names go.
    pub scopes: Vec<Scope>,
    /// Those of its queries that lock rows.
    pub locking: Vec<Locking>,
    /// What is left out where rows that it may touch are looked for.
    pub relaxed: Relaxed,
    /// Where stars of RETURNING and select lists start.
    pub stars: Vec<usize>,
    /// Items of RETURNING and select lists that have the name of what they show.
    pub unnamed: Vec<Unnamed>,
    /// The outermost WITH clause.
    pub with: With,
    /// The select lists of its queries.
    pub select_lists: Vec<SelectList>,
    /// Its data-modifying queries.
    pub nested: Vec<Nested>,
    /// Those of its queries that have GROUP BY of plain items.
    pub grouped: Vec<Grouped>,
    /// What is asked of functions and relations of ours.
    pub asking: Vec<Asking>,
    /// What it returns.
    pub listed: Option<Listed>,
}

/// A parsed text.
#[derive(Debug)]
pub struct Parsed {
    /// Its tokens.
    pub tokens: Tokens,
    /// Its statements; empty ones are left out.
    pub statements: Vec<Statement>,
}

impl Parsed {
    /// The statement of a text of ours, or of the server's, that is one.
    pub fn alone(&self) -> Result<&Statement> {
        match self.statements.as_slice() {
            [statement] => Ok(statement),
            _ => Err(Error::internal("a text that is one statement was read as another number of them")),
        }
    }
}

/// Parses a text. 42601 as PostgreSQL would say it, 54001 if it is too long or too deep.
pub fn parse(sql: &str) -> Result<Parsed> {
    if sql.len() > MAX_LENGTH {
        return Err(Error::new(sqlstate::STATEMENT_TOO_COMPLEX, "statement is too long to be rewritten")
            .with_detail(format!("It has {} bytes; at most {MAX_LENGTH} are possible.", sql.len())));
    }
    let tokens = lexer::tokens(sql)?;
    if tokens.nesting > MAX_NESTING {
        return Err(Error::new(
            sqlstate::STATEMENT_TOO_COMPLEX,
            "statement is nested too deeply to be rewritten",
        )
        .with_detail(format!("At most {MAX_NESTING} levels are possible.")));
    }
    let stack = (4 << 20) + tokens.nesting * (24 << 10);
    let statements = stacker::maybe_grow(stack, stack, || {
        catch_unwind(AssertUnwindSafe(|| statements(sql, &tokens)))
            .unwrap_or_else(|_| Err(Error::unsupported("this statement")))
    })?;
    Ok(Parsed { tokens, statements })
}

fn statements(sql: &str, tokens: &Tokens) -> Result<Vec<Statement>> {
    let tree = pg_raw_parse::parse(sql).map_err(|e| syntax_error(sql, tokens, &e))?;
    let mut found = Vec::new();
    for raw in tree.iter() {
        let start = usize::try_from(raw.stmt_location).unwrap_or(0);
        let end = match usize::try_from(raw.stmt_len) {
            Ok(length) if length > 0 => start + length,
            _ => sql.len(),
        };
        let (first, last) = (tokens.at(start), tokens.at(end));
        let inside = tokens.list.get(first..last).unwrap_or_default();
        // The last statement's length is 0; its semicolon isn't a part of it.
        let inside = match inside.split_last() {
            Some((semicolon, rest)) if semicolon.is_symbol(b';') => rest,
            _ => inside,
        };
        let (Some(first), Some(last)) = (inside.first(), inside.last()) else { continue };
        found.push(statement::describe(sql, tokens, first.start..last.end, raw.stmt())?);
    }
    Ok(found)
}

/// The parser's message, with the position of the token that it names if that is unambiguous.
fn syntax_error(sql: &str, tokens: &Tokens, error: &pg_raw_parse::Error) -> Error {
    let message = error.to_string();
    let message = message.strip_prefix("Invalid statement: ").unwrap_or(&message).to_owned();
    let named =
        message.split_once(" at or near \"").and_then(|(_, rest)| rest.strip_suffix('"')).map(str::to_owned);
    let at_end = message.ends_with("at end of input");
    let mut error = Error::new(sqlstate::SYNTAX_ERROR, message);
    let mut matching = tokens.list.iter().filter(|t| named.as_deref() == Some(t.text(sql)));
    let offset = match (matching.next(), matching.next()) {
        (Some(token), None) => Some(token.start),
        _ if at_end => Some(sql.len()),
        _ => None,
    };
    if let Some(before) = offset.and_then(|o| sql.get(..o)) {
        error = error.with_position(before.chars().count() + 1);
    }
    error
}

/// Whether a call is one of our functions.
pub fn is_ours(function: &FunctionRef) -> bool {
    statement::is_ours(function.schema.as_deref(), &function.name)
}
