//! Copies of bodies of the user's trigger functions, for rows of branches.
//!
//! A copy runs with pg_catalog alone as its search path. So whatever it calls, compares with or casts to without a schema
//! is PostgreSQL's own, and a body in which nothing can reach a table, and that takes rows apart by columns only
//! (those of a branch have more of them), does on a branch what it does on the table. Everything else is said to be
//! what a trigger can't do there.

use crate::harmful::runs_text;
use crate::layout::{literal, quote};
use crate::lexer::{self, Token, TokenKind};

/// What a body is copied for.
pub(crate) struct For<'a> {
    /// Schema, name and oid of the user's table.
    pub table: (&'a str, &'a str, u32),
    /// The trigger's name.
    pub trigger: &'a str,
    /// The table's columns.
    pub columns: &'a [String],
}

/// A body that does the same on rows of a branch.
pub(crate) struct Copy {
    pub body: String,
    /// Functions that it calls without a schema. Where PostgreSQL has none of this name, the body calls the user's.
    pub functions: Vec<String>,
    /// Types that it names after `::` or in CAST, without a schema.
    pub types: Vec<String>,
    /// Columns of the row that it names.
    pub columns: Vec<String>,
}

/// Words with which SQL reaches a table, or the session's state, or runs text.
const REACHES: &[&str] = &[
    "abort",
    "alter",
    "analyze",
    "call",
    "close",
    "cluster",
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
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "select",
    "set",
    "show",
    "table",
    "truncate",
    "unlisten",
    "update",
    "vacuum",
    "with",
];

/// Keywords that may stand before a bracket, or before two words of which one is a type's.
const TYPES_OF_WORDS: &[&str] = &["double", "character", "bit", "time", "timestamp", "national", "interval"];

/// The copy, or why there is none, as a clause about the function.
pub(crate) fn copy(body: &str, of: &For<'_>) -> Result<Copy, String> {
    let tokens =
        lexer::tokens(body).map_err(|e| format!("its body was not understood: {}", e.message()))?.list;
    let mut out =
        Copy { body: String::with_capacity(body.len()), functions: vec![], types: vec![], columns: vec![] };
    let mut copied = 0;
    for (i, token) in tokens.iter().enumerate() {
        let Some(name) = word(body, token)? else { continue };
        let seen = Seen { body, tokens: &tokens, at: i };
        let mut replace = |by: &str, end: usize| {
            out.body.push_str(body.get(copied..token.start).unwrap_or_default());
            out.body.push_str(by);
            copied = end;
        };
        if let Some(constant) = constant(&name, of).filter(|_| !seen.is_part()) {
            replace(&constant, token.end);
        } else if let Some(end) = seen.compared_row(&name) {
            replace(&row(&name, of.columns), end);
            out.columns.extend_from_slice(of.columns);
        } else {
            seen.check(&name, &mut out)?;
        }
    }
    out.body.push_str(body.get(copied..).unwrap_or_default());
    for list in [&mut out.functions, &mut out.types, &mut out.columns] {
        list.sort();
        list.dedup();
    }
    Ok(out)
}

/// What PL/pgSQL tells a trigger of its table, which is another one on a branch.
fn constant(name: &str, of: &For<'_>) -> Option<String> {
    let (schema, table, oid) = of.table;
    let named = |text: &str| Some(format!("({}::pg_catalog.name)", literal(text).trim_start()));
    match name {
        "tg_table_name" | "tg_relname" => named(table),
        "tg_table_schema" => named(schema),
        "tg_name" => named(of.trigger),
        "tg_relid" => Some(format!("({oid}::pg_catalog.oid)")),
        _ => None,
    }
}

/// The columns that the user's table has, of a row.
fn row(name: &str, columns: &[String]) -> String {
    let cells: Vec<String> = columns.iter().map(|c| format!("{name}.{}", quote(c))).collect();
    format!("ROW({})", cells.join(", "))
}

/// One name of a body, and what is around it.
struct Seen<'a> {
    body: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl Seen<'_> {
    fn before(&self, n: usize) -> Option<&Token> {
        self.at.checked_sub(n).and_then(|i| self.tokens.get(i))
    }

    fn after(&self, n: usize) -> Option<&Token> {
        self.tokens.get(self.at + n)
    }

    fn word_before(&self, n: usize) -> Option<String> {
        word(self.body, self.before(n)?).ok().flatten()
    }

    /// Whether a dot is in front of it.
    fn is_part(&self) -> bool {
        self.before(1).is_some_and(|t| t.is_symbol(b'.'))
    }

    fn check(&self, name: &str, out: &mut Copy) -> Result<(), String> {
        let is_call = self.after(1).is_some_and(|t| t.is_symbol(b'('));
        if self.is_part() {
            let Some(whole) = self.word_before(2) else {
                return Err(format!("it takes .{name} of an expression"));
            };
            if is_call && whole != "pg_catalog" {
                return Err(format!("it calls function {whole}.{name}"));
            }
            if self.is_type_at(2) && whole != "pg_catalog" {
                return Err(format!("it names type {whole}.{name}"));
            }
            if matches!(whole.as_str(), "new" | "old") {
                if name.starts_with("epoch_") {
                    return Err(format!("it names column {name}"));
                }
                out.columns.push(name.to_owned());
            }
            return if is_call { self.check_call(name) } else { Ok(()) };
        }
        if matches!(name, "new" | "old") {
            return self.check_row();
        }
        let plain = self.tokens.get(self.at).is_some_and(|t| t.kind == TokenKind::Word);
        if plain && REACHES.contains(&name) && !self.is_from_of_an_expression(name) {
            return Err(format!("it has {} in it", name.to_uppercase()));
        }
        if self.is_type_at(0) && name.starts_with("reg") {
            return Err(format!("it names type {name}"));
        }
        if self.is_type_at(0) {
            let known = TYPES_OF_WORDS.contains(&name);
            out.types.extend((!known).then(|| name.to_owned()));
        } else if is_call {
            self.check_call(name)?;
            out.functions.push(name.to_owned());
        }
        Ok(())
    }

    fn check_call(&self, name: &str) -> Result<(), String> {
        const HARMLESS: &[&str] = &["pg_trigger_depth", "pg_typeof", "pg_column_size", "pg_backend_pid"];
        if matches!(name, "nextval" | "currval") && self.names_a_sequence() {
            return Ok(());
        }
        let reaches = name.starts_with("epoch")
            || name.starts_with("to_reg")
            || (name.starts_with("pg_") && !HARMLESS.contains(&name))
            || matches!(
                name,
                "nextval" | "currval" | "set_config" | "setval" | "current_schema" | "current_schemas"
            )
            || runs_text(name);
        if reaches { Err(format!("it calls function {name}")) } else { Ok(()) }
    }

    /// Whether a call's only argument is a constant with a schema: without one it would be looked for in pg_catalog.
    fn names_a_sequence(&self) -> bool {
        let constant =
            self.after(2).is_some_and(|t| t.kind == TokenKind::Str && t.text(self.body).contains('.'));
        constant && self.after(3).is_some_and(|t| t.is_symbol(b')'))
    }

    /// Where a row ends that is compared as a whole with another: `NEW IS DISTINCT FROM OLD`, with `.*` or without.
    fn compared_row(&self, name: &str) -> Option<usize> {
        if !matches!(name, "new" | "old") || self.is_part() {
            return None;
        }
        let all = self.after(1).is_some_and(|t| t.is_symbol(b'.')) && self.after(2)?.text(self.body) == "*";
        let last = if all { 2 } else { 0 };
        let next = |n, word: &str| self.after(last + n).is_some_and(|t| t.is_word(self.body, word));
        let prior = |n, word: &str| self.before(n).is_some_and(|t| t.is_word(self.body, word));
        let is_distinct = next(1, "is") && (next(2, "distinct") || (next(2, "not") && next(3, "distinct")));
        let from_it = prior(1, "from")
            && prior(2, "distinct")
            && !self.after(last + 1).is_some_and(|t| t.is_symbol(b'.'));
        if is_distinct || from_it { Some(self.after(last)?.end) } else { None }
    }

    /// A row as a whole may be returned only: it has columns of ours on a branch.
    fn check_row(&self) -> Result<(), String> {
        let field = self.after(1).is_some_and(|t| t.is_symbol(b'.'));
        // `NEW.*` is the whole row, too.
        if field && self.after(2).is_some_and(Token::is_name) {
            return Ok(());
        }
        let returned = self.before(1).is_some_and(|t| t.is_word(self.body, "return"))
            && self.after(1).is_some_and(|t| t.is_symbol(b';'));
        if returned { Ok(()) } else { Err("it uses a row as a whole".to_owned()) }
    }

    /// `IS [NOT] DISTINCT FROM`, `extract(field FROM …)`.
    fn is_from_of_an_expression(&self, name: &str) -> bool {
        let word = |n, word: &str| self.before(n).is_some_and(|t| t.is_word(self.body, word));
        let is_distinct = word(1, "distinct") && (word(2, "is") || (word(2, "not") && word(3, "is")));
        let extracts = self.before(2).is_some_and(|t| t.is_symbol(b'(')) && word(3, "extract");
        name == "from" && (is_distinct || extracts)
    }

    /// Whether a type's name begins `n` tokens before this one.
    fn is_type_at(&self, n: usize) -> bool {
        self.before(n + 1).is_some_and(|t| t.text(self.body) == "::" || t.is_word(self.body, "as"))
    }
}

/// A name as PostgreSQL reads it.
fn word(body: &str, token: &Token) -> Result<Option<String>, String> {
    let text = token.text(body);
    match token.kind {
        // How others are folded depends on the server's locale.
        TokenKind::Word if text.is_ascii() => Ok(Some(text.to_ascii_lowercase())),
        TokenKind::Quoted => match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
            Some(inner) => Ok(Some(inner.replace("\"\"", "\""))),
            None => Err(format!("it has the name {text} in it")),
        },
        TokenKind::Word => Err(format!("it has the name {text} in it")),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(columns: &[String]) -> For<'_> {
        For { table: ("app", "It's", 4711), trigger: "stamp", columns }
    }

    fn refused(body: &str) -> String {
        copy(body, &of(&[])).err().unwrap_or_else(|| panic!("{body} is copied"))
    }

    fn copied(body: &str) -> Copy {
        copy(body, &of(&["id".to_owned(), "Odd".to_owned()])).unwrap_or_else(|why| panic!("{body}: {why}"))
    }

    #[test]
    fn rows_that_are_taken_apart_by_columns_are_fine() {
        let body = "DECLARE n int := 0; BEGIN
            IF TG_OP = 'UPDATE' AND NEW.a IS NOT DISTINCT FROM OLD.a THEN RETURN NULL; END IF;
            NEW.changed := now(); NEW.no := nextval('app.s'); NEW.\"Year\" := extract(year FROM NEW.day)::int; new.update := upper(old.from);
            -- INSERT INTO audit
            IF NEW.n < 0 THEN RAISE EXCEPTION 'n is % (select)', NEW.n USING ERRCODE = '23514'; END IF;
            RETURN NEW; END";
        let copy = copied(body);
        assert_eq!(copy.body, body);
        assert_eq!(copy.functions, ["extract", "nextval", "now", "upper"]);
        assert_eq!(copy.types, ["int"]);
        assert_eq!(copy.columns, ["Year", "a", "changed", "day", "from", "n", "no", "update"]);
    }

    #[test]
    fn rows_are_compared_by_the_columns_of_the_table() {
        let copy = copied(
            "BEGIN IF NEW IS DISTINCT FROM OLD OR (old.* IS NOT DISTINCT FROM new.*) OR NEW.a IS DISTINCT FROM OLD.b THEN RETURN NEW; END IF; END",
        );
        let [new, old] = ["new", "old"].map(|row| format!("ROW({row}.\"id\", {row}.\"Odd\")"));
        assert_eq!(
            copy.body,
            format!(
                "BEGIN IF {new} IS DISTINCT FROM {old} OR ({old} IS NOT DISTINCT FROM {new}) OR NEW.a IS DISTINCT FROM OLD.b THEN RETURN NEW; END IF; END"
            )
        );
        assert_eq!(copy.columns, ["Odd", "a", "b", "id"]);
    }

    #[test]
    fn the_table_is_the_users() {
        let copy = copied(
            "BEGIN NEW.t := tg_table_schema || '.' || TG_TABLE_NAME || TG_NAME || TG_RELID; RETURN NEW; END",
        );
        assert_eq!(
            copy.body,
            "BEGIN NEW.t := ('app'::pg_catalog.name) || '.' || ('It''s'::pg_catalog.name) || ('stamp'::pg_catalog.name) || (4711::pg_catalog.oid); RETURN NEW; END"
        );
    }

    #[test]
    fn what_may_reach_more_than_the_row_is_refused() {
        for (body, why) in [
            ("BEGIN INSERT INTO audit VALUES (1); RETURN NEW; END", "it has INSERT in it"),
            ("BEGIN PERFORM 1 FROM t; RETURN NEW; END", "it has FROM in it"),
            ("BEGIN NEW.n := (SELECT 1); RETURN NEW; END", "it has SELECT in it"),
            ("BEGIN EXECUTE TG_ARGV[0]; RETURN NEW; END", "it has EXECUTE in it"),
            ("BEGIN NEW.n := app.f(1); RETURN NEW; END", "it calls function app.f"),
            ("BEGIN NEW.n := 'a'::app.mood; RETURN NEW; END", "it names type app.mood"),
            ("BEGIN PERFORM pg_notify('c', 'x'); RETURN NEW; END", "it calls function pg_notify"),
            ("BEGIN PERFORM pg_catalog.pg_notify('c', 'x'); RETURN NEW; END", "it calls function pg_notify"),
            ("BEGIN NEW.n := nextval('s'); RETURN NEW; END", "it calls function nextval"),
            ("BEGIN NEW.n := 'app.t'::regclass; RETURN NEW; END", "it names type regclass"),
            ("BEGIN NEW.n := to_regclass('app.t'); RETURN NEW; END", "it calls function to_regclass"),
            ("BEGIN PERFORM lo_unlink(1); RETURN NEW; END", "it calls function lo_unlink"),
            (
                "BEGIN PERFORM query_to_xml(NEW.q, true, true, ''); RETURN NEW; END",
                "it calls function query_to_xml",
            ),
            ("BEGIN NEW.doc := to_jsonb(NEW); RETURN NEW; END", "it uses a row as a whole"),
            ("BEGIN NEW.doc := to_jsonb(\"new\"); RETURN NEW; END", "it uses a row as a whole"),
            ("BEGIN NEW := OLD; RETURN NEW; END", "it uses a row as a whole"),
            ("BEGIN NEW.epoch_lineage := 1; RETURN NEW; END", "it names column epoch_lineage"),
            ("BEGIN RETURN (f(1)).total; END", "it takes .total of an expression"),
            ("BEGIN U&\"\\006eew\" := OLD; END", "it has the name U&\"\\006eew\" in it"),
            ("BEGIN NEW.n := Äb(1); RETURN NEW; END", "it has the name Äb in it"),
        ] {
            assert_eq!(refused(body), why, "{body}");
        }
        assert!(refused("BEGIN 'open").starts_with("its body was not understood"));
    }
}
