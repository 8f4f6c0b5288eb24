//! Parameters by place: statements are written with `?`, the server's are called `@P1`, `@P2` …

/// A part of a statement in which `?` is no parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// Up to this character, which may be doubled: each half begins and ends one of its own.
    Quotes(char),
    Line,
    /// A comment, which may hold others.
    Block(usize),
}

/// The statement with numbered parameters, and how many these are.
pub(crate) fn numbered(sql: &str) -> (String, usize) {
    let mut out = String::with_capacity(sql.len() + 16);
    let (mut inside, mut count) = (Inside::Nothing, 0);
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        if inside == Inside::Nothing && c == '?' {
            count += 1;
            out.push_str(&format!("@P{count}"));
            continue;
        }
        out.push(c);
        let pair = matches!((c, next), ('/', Some('*')) | ('*', Some('/')));
        inside = match (inside, c) {
            (Inside::Nothing, '\'' | '"') => Inside::Quotes(c),
            (Inside::Nothing, '[') => Inside::Quotes(']'),
            (Inside::Nothing, '-') if next == Some('-') => Inside::Line,
            (Inside::Nothing, '/') if pair => Inside::Block(1),
            (Inside::Block(depth), '/') if pair => Inside::Block(depth + 1),
            (Inside::Block(depth), '*') if pair && depth > 1 => Inside::Block(depth - 1),
            (Inside::Block(_), '*') if pair => Inside::Nothing,
            (Inside::Quotes(end), c) if c == end => Inside::Nothing,
            (Inside::Line, '\n') => Inside::Nothing,
            (same, _) => same,
        };
        // A bracket that is doubled goes on; quotes begin again by themselves.
        if c == ']' && inside == Inside::Nothing && next == Some(']') {
            inside = Inside::Quotes(']');
            out.extend(chars.next());
        }
        if pair && c != '\'' && matches!(inside, Inside::Block(_) | Inside::Nothing) {
            out.extend(chars.next());
        }
    }
    (out, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_in_names_and_texts_are_none() {
        let n = |sql| numbered(sql).0;
        assert_eq!(
            numbered("SELECT ? FROM t WHERE a = ? AND b IN (?, ?)"),
            ("SELECT @P1 FROM t WHERE a = @P2 AND b IN (@P3, @P4)".to_owned(), 4)
        );
        assert_eq!(n("[a?] = ? AND [b]]?] = ?"), "[a?] = @P1 AND [b]]?] = @P2");
        assert_eq!(n("N'it''s ?' + ?"), "N'it''s ?' + @P1");
        assert_eq!(n("\"a\"\"?\" = ?"), "\"a\"\"?\" = @P1");
        assert_eq!(n("-- ?\n? /* ? /* ? */ ? */ ?"), "-- ?\n@P1 /* ? /* ? */ ? */ @P2");
        assert_eq!(n("1 - ? / ? * ?"), "1 - @P1 / @P2 * @P3");
        assert_eq!(n("'grün?' = ? -- ende ?"), "'grün?' = @P1 -- ende ?");
        assert_eq!(n("[]]] = ?"), "[]]] = @P1");
        assert_eq!(n("a /*?*/ ?"), "a /*?*/ @P1");
    }
}
