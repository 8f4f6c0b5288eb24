//! `FROM ONLY t`: the table without its partitions and heirs.
//!
//! The parser doesn't know the word, which nothing else can be in PostgreSQL: it is taken out of the tokens, and
//! `WITH ORDINALITY`, which tables can't have there, stands for it behind the name. Only PostgreSQL's tables have
//! partitions: on others it says nothing, on those it is refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Statement, TableFactor, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use epoch_adapter::{BackendKind, Error, Result};

use super::dml;
use super::planner::Planner;

/// Puts the parser's words in the place of ONLY.
pub(crate) fn mark(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|t| is_word(t, "only")) {
        return tokens;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 1);
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let rows = out.last().is_some_and(|t| ["row", "rows", "read"].iter().any(|w| is_word(t, w)));
        let name = tokens.peek().is_some_and(|t| matches!(t.token, Token::Word(_)));
        if rows || !name || !is_word(&token, "only") {
            out.push(token);
            continue;
        }
        out.extend(tokens.next());
        while tokens.peek().is_some_and(|t| t.token == Token::Period) {
            out.extend(tokens.next());
            out.extend(tokens.next());
        }
        out.push(TokenWithSpan::wrap(Token::make_keyword("WITH")));
        out.push(TokenWithSpan::wrap(Token::make_keyword("ORDINALITY")));
    }
    out
}

fn is_word(token: &TokenWithSpan, wanted: &str) -> bool {
    match &token.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted),
        _ => false,
    }
}

/// Takes the marks out of a statement.
pub(crate) fn apply(planner: &Planner, statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Marks(planner)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Marks<'a>(&'a Planner);

impl VisitorMut for Marks<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, args: None, with_ordinality, .. } = factor else {
            return ControlFlow::Continue(());
        };
        if !std::mem::take(with_ordinality) {
            return ControlFlow::Continue(());
        }
        match dml::reference(name).and_then(|name| self.0.table(&name)) {
            Ok(table) if table.location.kind == BackendKind::PostgreSql => {
                ControlFlow::Break(Error::unsupported(format!(
                    "ONLY of table \"{}\" beside tables that are not in PostgreSQL",
                    table.name
                )))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn marked(sql: &str) -> String {
        let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().unwrap();
        tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
        mark(tokens).iter().map(|t| t.token.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_is_marked_behind_the_name() {
        assert_eq!(marked("SELECT * FROM ONLY a.b x"), "SELECT * FROM a . b WITH ORDINALITY x");
        assert_eq!(marked("UPDATE only a SET i = 1"), "UPDATE a WITH ORDINALITY SET i = 1");
        assert_eq!(marked("SELECT 1 FETCH FIRST 2 ROWS ONLY"), "SELECT 1 FETCH FIRST 2 ROWS ONLY");
        assert_eq!(marked("SELECT \"only\" FROM a"), "SELECT \"only\" FROM a");
    }
}
