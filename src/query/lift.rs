//! Constants of a rewritten query as parameters, so that the server can keep it prepared: planning
//! what a branch shows costs several times what reading a row of it does.

use super::lexer::{Token, TokenKind};
use super::parse::{Kind, Wrap};
use super::rewrite::Rewriter;
use super::text::Kept;

const INT8: u32 = 20;
const INT4: u32 = 23;

/// A rewritten query with parameters in the place of constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifted {
    /// Its text.
    pub sql: String,
    /// The oids of the parameters' types.
    pub types: Vec<u32>,
    /// Their values, in text form.
    pub values: Vec<String>,
    pub(super) kept: Kept,
}

impl Lifted {
    /// The position in the client's text of an error of the server in `sql` (characters from 1).
    pub fn position(&self, client: &str, position: usize) -> usize {
        self.kept.position(client, &self.sql, position)
    }
}

/// The form with parameters of a query that only reads and has none of its own. Constants are taken
/// where nothing can be told from their being constants: whole numbers after a name or a bracket and
/// `=`. With strings there is no such form: `'today'` or `'01/02/2026'` would go on meaning what they
/// meant when the statement was prepared, and a string takes its type from what it is compared with.
pub(super) fn lift(rewriter: &Rewriter<'_>) -> Option<Lifted> {
    let statement = rewriter.statement;
    let reads = statement.kind == Kind::Query && statement.wrap == Wrap::None && statement.locks.is_none();
    if !reads || rewriter.writes || !rewriter.prelude.is_empty() {
        return None;
    }
    let tokens = &rewriter.parsed.tokens;
    let (first, last) = (tokens.at(statement.range.start), tokens.at(statement.range.end));
    let inside = tokens.list.get(first..last)?;
    let unfit =
        |t: &Token| matches!(t.kind, TokenKind::Param | TokenKind::Str) || t.is_word(rewriter.sql, "into");
    if inside.iter().any(unfit) {
        return None;
    }
    let mut edits = rewriter.edits.clone();
    let (mut types, mut values) = (Vec::new(), Vec::new());
    for window in inside.windows(3) {
        let [column, equals, constant] = window else { continue };
        let equation = equals.kind == TokenKind::Operator && equals.text(rewriter.sql) == "=";
        if !equation || !(column.is_name() || column.is_symbol(b')')) {
            continue;
        }
        let Some((oid, value)) = number(rewriter.sql, constant) else { continue };
        // One parameter for what is written alike: GROUP BY must go on meaning the selected expression.
        let known = types.iter().zip(&values).position(|(t, v)| *t == oid && *v == value);
        let number = known.unwrap_or(values.len());
        if known.is_none() {
            types.push(oid);
            values.push(value);
        }
        // The blank keeps it apart from what follows.
        edits.replace(constant.start..constant.end, format!("${} ", number + 1));
    }
    let (sql, kept) = edits.render(rewriter.sql, &statement.range);
    Some(Lifted { sql, types, values, kept })
}

/// A whole number, with the type that PostgreSQL gives it.
fn number(sql: &str, token: &Token) -> Option<(u32, String)> {
    let digits = token.text(sql);
    if token.kind != TokenKind::Number || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let oid = match digits.parse::<i64>() {
        Ok(n) if i32::try_from(n).is_ok() => INT4,
        Ok(_) => INT8,
        Err(_) => return None,
    };
    Some((oid, digits.to_owned()))
}
