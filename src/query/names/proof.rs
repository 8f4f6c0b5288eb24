//! Proving that a function of the user touches no table: then it may be called on a branch.
//!
//! PostgreSQL doesn't say what a function in SQL or PL/pgSQL reads, and VOLATILE is what authors forget
//! to change. A body from which no table can be reached by name, and which calls only functions (uses
//! only types and operators) of which the same is known, is harmless. Whatever isn't understood isn't.

use crate::query::lexer::{self, Token, TokenKind};
use crate::query::parse::{self, Kind, Wrap};

/// The longest name, in bytes.
pub(super) const LONGEST: usize = 63;

/// Schema, if it is written, and name.
pub(super) type Name = (Option<String>, String);

/// What a body uses: all of it must be harmless.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub functions: Vec<Name>,
    pub operators: Vec<String>,
    pub types: Vec<Name>,
}

impl Needs {
    /// Both.
    pub fn and(mut self, more: Self) -> Self {
        self.functions.extend(more.functions);
        self.operators.extend(more.operators);
        self.types.extend(more.types);
        self
    }
}

/// What a function in this language uses; `None` if it may touch a table by itself. `types`: those of its
/// arguments and result that are the user's, as JSON; `defaults`: of its arguments, as expressions.
pub(super) fn needs(
    language: &str,
    body: &str,
    types: Option<&str>,
    defaults: Option<&str>,
) -> Option<Needs> {
    let mut needs = match language {
        "sql" => sql(body)?,
        "plpgsql" => plpgsql(body)?,
        _ => return None,
    };
    if let Some(types) = types {
        let types: Vec<(String, String)> = serde_json::from_str(types).ok()?;
        needs.types.extend(types.into_iter().map(|(schema, name)| (Some(schema), name)));
    }
    match defaults {
        Some(defaults) => Some(needs.and(sql(&format!("SELECT {defaults}"))?)),
        None => Some(needs),
    }
}

/// Functions that reach tables or the session's state by what they are given.
pub(super) fn is_harmful(name: &str) -> bool {
    name.starts_with("epoch") || matches!(name, "set_config" | "setval") || super::runs_text(name)
}

fn sql(body: &str) -> Option<Needs> {
    let parsed = parse::parse(body).ok()?;
    if has_attribute(body, &parsed.tokens.list) {
        return None;
    }
    let mut needs = Needs::default();
    for statement in parsed.statements {
        let plain = statement.kind == Kind::Query
            && statement.wrap == Wrap::None
            && statement.tables.is_empty()
            && statement.refused.is_none();
        if !plain {
            return None;
        }
        needs.functions.extend(statement.functions.into_iter().map(|f| (f.schema, f.name)));
        needs.operators.extend(statement.operators);
        needs.types.extend(statement.types);
    }
    Some(needs)
}

/// Whether a name stands behind a dot that may be a function of what is before it: `u.total` is `total(u)`.
fn has_attribute(body: &str, tokens: &[Token]) -> bool {
    let symbol = |i: usize, c: u8| tokens.get(i).is_some_and(|t| t.is_symbol(c));
    let cast = |i: Option<usize>| i.and_then(|i| tokens.get(i)).is_some_and(|t| t.text(body) == "::");
    let mut dots = tokens.iter().enumerate().filter(|(_, t)| t.is_symbol(b'.'));
    dots.any(|(i, _)| !symbol(i + 2, b'(') && !cast(i.checked_sub(2)))
}

/// Every word that begins an SQL command, or without which an expression can't reach a table.
const REACHES: &[&str] = &[
    "abort",
    "alter",
    "analyze",
    "call",
    "checkpoint",
    "close",
    "cluster",
    "comment",
    "commit",
    "copy",
    "create",
    "cursor",
    "deallocate",
    "delete",
    "discard",
    "do",
    "drop",
    "execute",
    "explain",
    "fetch",
    "from",
    "grant",
    "import",
    "insert",
    "listen",
    "load",
    "lock",
    "merge",
    "move",
    "notify",
    "open",
    "prepare",
    "reassign",
    "refresh",
    "reindex",
    "release",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "security",
    "select",
    "set",
    "show",
    "start",
    "table",
    "truncate",
    "unlisten",
    "update",
    "vacuum",
    "with",
];

fn plpgsql(body: &str) -> Option<Needs> {
    let tokens = lexer::tokens(body).ok()?.list;
    if tokens.iter().any(|t| REACHES.iter().any(|word| t.is_word(body, word))) {
        return None;
    }
    let mut needs = Needs::default();
    // Operators that are meant by words: BETWEEN, IN, CASE, FOR … IN, LIKE, SIMILAR TO.
    needs
        .operators
        .extend(["=", "<>", "<", "<=", ">", ">=", "~~", "~~*", "!~~", "!~~*", "~", "!~"].map(str::to_owned));
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Operator => needs.operators.push(token.text(body).to_owned()),
            TokenKind::Word | TokenKind::Quoted => {
                let name = (schema(body, &tokens, i)?, word(body, token)?);
                if tokens.get(i + 1).is_some_and(|t| t.is_symbol(b'(')) {
                    needs.functions.push(name.clone());
                }
                // Any name may be a type's.
                needs.types.push(name);
            }
            _ => {}
        }
    }
    for list in [&mut needs.functions, &mut needs.types] {
        list.sort();
        list.dedup();
    }
    needs.operators.sort();
    needs.operators.dedup();
    Some(needs)
}

/// What stands before a name and a dot.
fn schema(body: &str, tokens: &[Token], at: usize) -> Option<Option<String>> {
    let before = |n: usize| at.checked_sub(n).and_then(|i| tokens.get(i));
    if !before(1).is_some_and(|t| t.is_symbol(b'.')) {
        return Some(None);
    }
    word(body, before(2)?).map(Some)
}

/// A name as PostgreSQL reads it; `None` for forms that are seldom.
fn word(body: &str, token: &Token) -> Option<String> {
    let text = token.text(body);
    match token.kind {
        // How others are folded depends on the server's locale; longer ones are cut.
        TokenKind::Word if text.is_ascii() && text.len() <= LONGEST => Some(text.to_ascii_lowercase()),
        TokenKind::Quoted => {
            let inner = text.strip_prefix('"')?.strip_suffix('"')?;
            Some(inner.replace("\"\"", "\"")).filter(|name| name.len() <= LONGEST)
        }
        // A bracket before a dot: a field of an expression, which may be a function's name.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bodies_that_reach_a_table_are_not_proven() {
        for (language, body) in [
            ("sql", "SELECT count(*) FROM users"),
            ("sql", "SELECT 1; DELETE FROM users"),
            ("sql", "SELECT (SELECT id FROM pg_class LIMIT 1)"),
            ("sql", "SELECT epoch_commit('x')"),
            ("sql", "not sql at all"),
            ("sql", "SELECT u.total"),
            ("sql", "SELECT ($1).total"),
            ("plpgsql", "BEGIN RETURN Äb(); END"),
            ("plpgsql", &format!("BEGIN RETURN {}(); END", "f".repeat(64))),
            ("plpgsql", "BEGIN RETURN (SELECT 1 FROM users); END"),
            ("plpgsql", "DECLARE n int; BEGIN n := count(*) FROM users; RETURN n; END"),
            ("plpgsql", "BEGIN EXECUTE $1; END"),
            ("plpgsql", "BEGIN\n/* SELECT */ DeLeTe\nfrom users; END"),
            ("plpgsql", "BEGIN RETURN ARRAY(TABLE users); END"),
            ("plpgsql", "BEGIN RETURN (f(1)).total; END"),
            ("plpgsql", "BEGIN 'open"),
            ("plperl", "1"),
        ] {
            assert_eq!(needs(language, body, None, None), None, "{body}");
        }
    }

    #[test]
    fn what_a_body_uses_is_found() {
        let body = "DECLARE \"Select\" int := pub.twice($1)::money_of; BEGIN -- SELECT\n RETURN \"Odd\"(lower('delete from x')) || \"Select\"; END";
        assert_eq!(needs("sql", "SELECT 1", None, Some("(SELECT count(*) FROM users)")), None);
        let found = needs("plpgsql", body, None, None).unwrap();
        let name = |schema: Option<&str>, name: &str| (schema.map(str::to_owned), name.to_owned());
        assert_eq!(found.functions, [name(None, "Odd"), name(None, "lower"), name(Some("pub"), "twice")]);
        assert!(found.types.contains(&name(None, "money_of")));
        assert!(found.operators.contains(&"||".to_owned()));
        let types = Some(r#"[["public", "price"]]"#);
        let found =
            needs("sql", "SELECT public.twice($1::pg_catalog.int4) + 1", types, Some("10, first()")).unwrap();
        assert_eq!(found.types, [name(Some("public"), "price")]);
        assert_eq!(found.functions, [name(Some("public"), "twice"), name(None, "first")]);
        assert_eq!(found.operators, ["+"]);
    }
}
