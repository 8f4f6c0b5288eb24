//! `FROM t AS OF 'ref'`, as others spell it: `epoch_at('t', 'ref')`.
//!
//! A string or a parameter can't stand behind `AS OF` in PostgreSQL's grammar, so nothing that the server would take is
//! read otherwise. What has another form stays as it is, and is the syntax error that PostgreSQL says it is.

use std::borrow::Cow;

use super::keywords::{CLAUSES, JOINS};
use super::lexer::{self, Token, TokenKind};

/// What may stand behind an item of FROM without being its alias, beside what begins joins and clauses.
const FOLLOWING: &[&str] = &["using", "set", "tablesample"];

/// A statement with the function in the place of `AS OF`; as it is if there is none.
pub fn as_of(sql: &[u8]) -> Cow<'_, [u8]> {
    if !may_have(sql) {
        return Cow::Borrowed(sql);
    }
    let rewritten = std::str::from_utf8(sql).ok().and_then(rewrite);
    rewritten.map_or(Cow::Borrowed(sql), |text| Cow::Owned(text.into_bytes()))
}

/// Whether [`as_of`] has something to do.
pub fn has_as_of(sql: &[u8]) -> bool {
    may_have(sql) && matches!(as_of(sql), Cow::Owned(_))
}

/// Whether there is an `of` with a string or parameter behind it, somewhere. Most texts have none.
fn may_have(sql: &[u8]) -> bool {
    let of = |at: usize| {
        let tail = sql.get(at + 1..).unwrap_or_default();
        let is_word = at > 0 && sql.get(at - 1).is_some_and(u8::is_ascii_whitespace);
        let behind = tail.get(1..).unwrap_or_default();
        let mut rest = behind.iter().skip_while(|b| b.is_ascii_whitespace());
        is_word
            && tail.first().is_some_and(|b| b.eq_ignore_ascii_case(&b'f'))
            && matches!(rest.next(), Some(b'\'' | b'$' | b'e' | b'E' | b'/' | b'-'))
    };
    memchr::memchr2_iter(b'o', b'O', sql).any(of)
}

fn rewrite(sql: &str) -> Option<String> {
    let tokens = lexer::tokens(sql).ok()?.list;
    let (mut out, mut done) = (String::with_capacity(sql.len() + 32), 0);
    for (at, pair) in tokens.windows(3).enumerate() {
        let [word, of, reference] = pair else { continue };
        let value = matches!(reference.kind, TokenKind::Str | TokenKind::Param);
        if !(value && word.is_word(sql, "as") && of.is_word(sql, "of")) {
            continue;
        }
        let Some(name) = name_before(sql, tokens.get(..at)?) else { continue };
        let (first, last) = (name.first()?, name.last()?);
        let written = sql.get(first.start..last.end)?.replace('\'', "''");
        out.push_str(sql.get(done..first.start)?);
        out.push_str(&format!("epoch_at('{written}', {})", reference.text(sql)));
        if !has_alias(sql, tokens.get(at + 3)) {
            out.push_str(&format!(" AS {}", last.text(sql)));
        }
        done = reference.end;
    }
    if done == 0 {
        return None;
    }
    out.push_str(sql.get(done..)?);
    Some(out)
}

/// The name at the end of these tokens, if it is that of an item of FROM.
fn name_before<'a>(sql: &str, tokens: &'a [Token]) -> Option<&'a [Token]> {
    let mut start = tokens.len().checked_sub(1)?;
    if !tokens.get(start)?.is_name() {
        return None;
    }
    while start >= 2 && tokens.get(start - 1)?.is_symbol(b'.') && tokens.get(start - 2)?.is_name() {
        start -= 2;
    }
    let before = tokens.get(start.checked_sub(1)?)?;
    let begins = before.is_symbol(b',')
        || before.is_symbol(b'(')
        || ["from", "join", "lateral"].iter().any(|word| before.is_word(sql, word));
    if begins { tokens.get(start..) } else { None }
}

fn has_alias(sql: &str, next: Option<&Token>) -> bool {
    let mut others = CLAUSES.iter().chain(JOINS).chain(FOLLOWING);
    next.is_some_and(|token| token.is_name() && !others.any(|word| token.is_word(sql, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_takes_the_place_of_as_of() {
        for (sql, rewritten) in [
            ("SELECT * FROM users AS OF 'v1'", "SELECT * FROM epoch_at('users', 'v1') AS users"),
            (
                "select * from users as of 'v1' where id=1",
                "select * from epoch_at('users', 'v1') AS users where id=1",
            ),
            ("SELECT * FROM users AS OF 'v1' u", "SELECT * FROM epoch_at('users', 'v1') u"),
            ("SELECT * FROM users AS OF\n$1 AS u (a)", "SELECT * FROM epoch_at('users', $1) AS u (a)"),
            (
                "SELECT n.x FROM t AS n, shop.\"It's\" AS OF E'a\\'b' JOIN t AS OF 'main~1' o ON true",
                "SELECT n.x FROM t AS n, epoch_at('shop.\"It''s\"', E'a\\'b') AS \"It's\" JOIN epoch_at('t', 'main~1') o ON true",
            ),
            (
                "SELECT (SELECT max(a) FROM t AS OF 'x'), 'é' FROM u",
                "SELECT (SELECT max(a) FROM epoch_at('t', 'x') AS t), 'é' FROM u",
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&as_of(sql.as_bytes())), rewritten);
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        for sql in [
            "SELECT 1",
            "SELECT * FROM t AS of",
            "SELECT a AS of FROM t",
            "SELECT 'FROM t AS OF ''x'''",
            "SELECT $$ FROM t AS OF 'x' $$",
            "UPDATE t AS OF 'x' SET a = 1",
            "SELECT * FROM t AS OF now()",
            "SELECT * FROM f(1) AS OF 'x'",
            "SELECT * FROM t -- AS OF 'x'",
            "AS OF 'x'",
            "SELECT 'unterminated FROM t AS OF 'x'",
        ] {
            assert!(matches!(as_of(sql.as_bytes()), Cow::Borrowed(_)), "{sql}");
        }
        assert!(matches!(as_of(b"FROM t AS OF 'x\xff'"), Cow::Borrowed(_)));
    }
}
