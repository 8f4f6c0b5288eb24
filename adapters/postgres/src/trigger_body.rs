//! Copies of bodies of the user's trigger functions, for rows of branches.
//!
//! A body is copied if every word of it is one that is known here to reach nothing but the row: keywords of control and of
//! expressions, types and functions of PostgreSQL's own, variables that it declares, columns of NEW and OLD. Rows are
//! taken apart by columns only, because those of a branch have more of them. A copy runs with pg_catalog alone as its search
//! path; that nothing of the user's would be meant instead on the table is asked of the server (`user_trigger_names.sql`).

use std::collections::HashSet;

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
#[derive(Default)]
pub(crate) struct Copy {
    pub body: String,
    /// Functions that it calls, operators, and columns of the row that it names.
    pub functions: Vec<String>,
    pub operators: Vec<String>,
    pub columns: Vec<String>,
    /// Columns that it gives values to.
    pub assigned: Vec<String>,
}

/// The copy, or why there is none, as a clause about the function.
pub(crate) fn copy(body: &str, of: &For<'_>) -> Result<Copy, String> {
    let tokens =
        lexer::tokens(body).map_err(|e| format!("its body was not understood: {}", e.message()))?.list;
    let declared = declared(body, &tokens)?;
    let mut out = Copy { body: String::with_capacity(body.len()), ..Copy::default() };
    let mut copied = 0;
    for (i, token) in tokens.iter().enumerate() {
        if token.kind == TokenKind::Operator {
            out.operators.push(token.text(body).to_owned());
        }
        let Some(name) = word(body, token)? else { continue };
        let seen = Seen { body, tokens: &tokens, at: i, declared: &declared };
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
            seen.check(&name, of, &mut out)?;
        }
    }
    out.body.push_str(body.get(copied..).unwrap_or_default());
    for list in [&mut out.functions, &mut out.operators, &mut out.columns, &mut out.assigned] {
        list.sort();
        list.dedup();
    }
    Ok(out)
}

/// The names of variables: what each declaration begins with, and of loops over numbers.
fn declared(body: &str, tokens: &[Token]) -> Result<HashSet<String>, String> {
    let mut names = HashSet::new();
    let (mut declaring, mut begins) = (false, false);
    for (i, token) in tokens.iter().enumerate() {
        let is = |keyword: &str| token.is_word(body, keyword);
        if is("declare") {
            (declaring, begins) = (true, true);
        } else if declaring && is("begin") {
            declaring = false;
        } else if declaring && begins {
            names.extend(word(body, token)?);
            begins = false;
        } else if declaring && token.is_symbol(b';') {
            begins = true;
        } else if is("for") {
            names.extend(tokens.get(i + 1).map(|t| word(body, t)).transpose()?.flatten());
        }
    }
    Ok(names)
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
    declared: &'a HashSet<String>,
}

impl Seen<'_> {
    fn before(&self, n: usize) -> Option<&Token> {
        self.at.checked_sub(n).and_then(|i| self.tokens.get(i))
    }

    fn after(&self, n: usize) -> Option<&Token> {
        self.tokens.get(self.at + n)
    }

    fn is_before(&self, n: usize, keyword: &str) -> bool {
        self.before(n).is_some_and(|t| t.is_word(self.body, keyword))
    }

    fn is_after(&self, n: usize, keyword: &str) -> bool {
        self.after(n).is_some_and(|t| t.is_word(self.body, keyword))
    }

    /// Whether a dot is in front of it.
    fn is_part(&self) -> bool {
        self.before(1).is_some_and(|t| t.is_symbol(b'.'))
    }

    fn check(&self, name: &str, of: &For<'_>, out: &mut Copy) -> Result<(), String> {
        let is_call = self.after(1).is_some_and(|t| t.is_symbol(b'('));
        let is_word = self.tokens.get(self.at).is_some_and(|t| t.kind == TokenKind::Word);
        if self.is_part() {
            return self.check_part(name, of, out);
        }
        if self.after(1).is_some_and(|t| t.is_symbol(b'.')) {
            return match name {
                "new" | "old" => self.check_row(),
                "pg_catalog" => Ok(()),
                _ => Err(format!("it names {name}")),
            };
        }
        match name {
            "new" | "old" => self.check_row(),
            "from" if is_word => self.check_from(),
            "with" | "without" if is_word => self.check_zone(),
            // Other words before a bracket may be functions, of which the user may have another one.
            _ if is_word && is_call && (CLAUSES.contains(&name) || self.is_modified(name)) => Ok(()),
            _ if is_call => self.check_call(name, out),
            _ if is_word && (KEYWORDS.contains(&name) || TYPES.contains(&name)) => Ok(()),
            _ if self.declared.contains(name) => Ok(()),
            _ => Err(format!("it names {name}")),
        }
    }

    /// What stands behind a dot.
    fn check_part(&self, name: &str, of: &For<'_>, out: &mut Copy) -> Result<(), String> {
        let whole = self.before(2).and_then(|t| word(self.body, t).ok().flatten()).unwrap_or_default();
        let is_call = self.after(1).is_some_and(|t| t.is_symbol(b'('));
        match whole.as_str() {
            "new" | "old" if of.columns.iter().any(|c| c == name) => {
                if self.is_assigned() {
                    out.assigned.push(name.to_owned());
                }
                out.columns.push(name.to_owned());
                Ok(())
            }
            "pg_catalog" if is_call => self.check_call(name, out),
            "pg_catalog" if TYPES.contains(&name) => Ok(()),
            _ => Err(format!("it names {whole}.{name}")),
        }
    }

    /// Whether a field of the row gets a value here: `NEW.a := …`, or `=` where a statement begins.
    fn is_assigned(&self) -> bool {
        let operator = self.after(1).map(|t| t.text(self.body)).unwrap_or_default();
        let begins = self.before(3).is_none_or(|t| {
            t.is_symbol(b';')
                || ["begin", "then", "else", "loop"].iter().any(|word| t.is_word(self.body, word))
        });
        // An element of an array, or a part of a value.
        let inner = self.after(1).is_some_and(|t| t.is_symbol(b'[') || t.is_symbol(b'.'));
        operator == ":=" || (begins && (operator == "=" || inner))
    }

    fn check_call(&self, name: &str, out: &mut Copy) -> Result<(), String> {
        let known =
            FUNCTIONS.contains(&name) || (matches!(name, "nextval" | "currval") && self.names_a_sequence());
        if !known {
            return Err(format!("it calls function {name}"));
        }
        out.functions.push(name.to_owned());
        Ok(())
    }

    /// `varchar(10)`, `numeric(10, 2)`.
    fn is_modified(&self, name: &str) -> bool {
        MODIFIED.contains(&name) && self.after(2).is_some_and(|t| t.kind == TokenKind::Number)
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
        let is_distinct = self.is_after(last + 1, "is")
            && (self.is_after(last + 2, "distinct")
                || (self.is_after(last + 2, "not") && self.is_after(last + 3, "distinct")));
        let is_field = self.after(last + 1).is_some_and(|t| t.is_symbol(b'.'));
        let from_it = self.is_before(1, "from") && self.is_before(2, "distinct") && !is_field;
        if is_distinct || from_it { Some(self.after(last)?.end) } else { None }
    }

    /// A row as a whole may be returned only: it has columns of ours on a branch.
    fn check_row(&self) -> Result<(), String> {
        let is_field = self.after(1).is_some_and(|t| t.is_symbol(b'.'));
        // `NEW.*` is the whole row, too.
        if is_field && self.after(2).is_some_and(Token::is_name) {
            return Ok(());
        }
        let returned = self.is_before(1, "return") && self.after(1).is_some_and(|t| t.is_symbol(b';'));
        if returned { Ok(()) } else { Err("it uses a row as a whole".to_owned()) }
    }

    /// `IS [NOT] DISTINCT FROM`, `extract(field FROM …)`, `substring(a FROM b)`, `trim(both FROM a)`.
    fn check_from(&self) -> Result<(), String> {
        let is_distinct = self.is_before(1, "distinct")
            && (self.is_before(2, "is") || (self.is_before(2, "not") && self.is_before(3, "is")));
        let extracts = self.before(2).is_some_and(|t| t.is_symbol(b'('))
            && ["extract", "substring", "trim"].iter().any(|f| self.is_before(3, f));
        if is_distinct || extracts { Ok(()) } else { Err("it has FROM in it".to_owned()) }
    }

    /// `timestamp(3) with time zone`.
    fn check_zone(&self) -> Result<(), String> {
        match self.is_after(1, "time") && self.is_after(2, "zone") {
            true => Ok(()),
            false => Err("it has WITH in it".to_owned()),
        }
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

/// Keywords with which no table, text or setting can be reached.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "and", "any", "array", "as", "asc", "assert", "at", "begin", "between", "both", "by", "case", "cast", "column", "constant",
    "constraint", "continue", "current_date", "current_role", "current_time", "current_timestamp", "current_user", "day", "debug",
    "declare", "default", "detail", "distinct", "else", "elseif", "elsif", "end", "errcode", "exception", "exit", "false", "for", "hint",
    "hour", "if", "ilike", "in", "info", "is", "isnull", "leading", "like", "localtime", "localtimestamp", "log", "loop", "message", "minute",
    "month", "not", "notice", "notnull", "null", "or", "others", "raise", "return", "reverse", "second", "session_user", "similar", "some",
    "symmetric", "tg_argv", "tg_level", "tg_nargs", "tg_op", "tg_when", "then", "to", "trailing", "true", "unknown", "user", "using", "when",
    "while", "year", "zone", "dow", "doy", "epoch", "isodow", "isoyear", "week", "quarter", "century", "decade", "milliseconds", "microseconds",
    "escape", "slice",
];

/// Those of them that may stand before a bracket and are no functions of PostgreSQL's.
#[rustfmt::skip]
const CLAUSES: &[&str] = &[
    "all", "and", "any", "assert", "between", "by", "case", "cast", "current_time", "current_timestamp", "default", "else", "elseif", "elsif",
    "if", "in", "localtime", "localtimestamp", "not", "or", "return", "some", "symmetric", "then", "to", "when", "while", "zone",
];

/// Types that take numbers in brackets, and whose names are no functions'.
const MODIFIED: &[&str] = &[
    "bit",
    "char",
    "character",
    "dec",
    "decimal",
    "float",
    "interval",
    "nchar",
    "numeric",
    "time",
    "timestamp",
    "varchar",
    "varying",
];

/// Types of PostgreSQL's own, whose input reaches nothing.
#[rustfmt::skip]
const TYPES: &[&str] = &[
    "bigint", "bit", "bool", "boolean", "bytea", "char", "character", "cidr", "date", "dec", "decimal", "double", "float", "float4", "float8",
    "inet", "int", "int2", "int4", "int8", "integer", "interval", "json", "jsonb", "macaddr", "money", "name", "national", "nchar", "numeric",
    "oid", "precision", "real", "smallint", "text", "time", "timestamp", "timestamptz", "timetz", "tsvector", "uuid", "varchar", "varying", "xid8",
];

/// Functions of PostgreSQL's own that compute from what they are given, and from nothing else that is another thing on a branch.
#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "abs", "age", "array_append", "array_cat", "array_length", "array_lower", "array_position", "array_prepend", "array_remove", "array_replace",
    "array_to_string", "array_upper", "ascii", "bit_length", "btrim", "cardinality", "ceil", "ceiling", "char_length", "character_length", "chr",
    "clock_timestamp", "coalesce", "concat", "concat_ws", "date_part", "date_trunc", "decode", "div", "encode", "exp", "extract", "floor",
    "format", "gen_random_uuid", "greatest", "initcap", "jsonb_array_length", "jsonb_set", "jsonb_strip_nulls", "jsonb_typeof", "justify_days",
    "justify_hours", "justify_interval", "least", "left", "length", "ln", "lower", "lpad", "ltrim", "make_date", "make_interval", "make_time",
    "make_timestamp", "make_timestamptz", "md5", "mod", "now", "nullif", "num_nonnulls", "num_nulls", "octet_length", "overlay", "pg_trigger_depth",
    "position", "power", "quote_literal", "quote_nullable", "random", "regexp_match", "regexp_replace", "repeat", "replace", "reverse", "right",
    "round", "rpad", "rtrim", "setweight", "sha256", "sign", "split_part", "sqrt", "starts_with", "statement_timestamp", "string_to_array", "strpos", "substr",
    "substring", "to_char", "to_date", "to_hex", "to_number", "to_timestamp", "to_tsvector", "transaction_timestamp", "translate", "trim", "trunc",
    "upper",
];

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 9] = ["id", "Odd", "a", "n", "no", "day", "update", "from", "doc"];

    fn copied(body: &str) -> Result<Copy, String> {
        let columns: Vec<String> = COLUMNS.iter().map(|c| (*c).to_owned()).collect();
        copy(body, &For { table: ("app", "It's", 4711), trigger: "stamp", columns: &columns })
    }

    fn must(body: &str) -> Copy {
        copied(body).unwrap_or_else(|why| panic!("{body}: {why}"))
    }

    #[test]
    fn rows_that_are_taken_apart_by_columns_are_fine() {
        let body = "DECLARE k int := 0; t timestamp(3) with time zone; BEGIN
            IF TG_OP = 'UPDATE' AND NEW.a IS NOT DISTINCT FROM OLD.a THEN RETURN NULL; END IF;
            NEW.n = extract(year FROM NEW.day)::int; NEW.\"Odd\" := now(); new.update := upper(old.from); NEW.no := nextval('app.s');
            FOR i IN 1..3 LOOP k := k + i; END LOOP;
            -- INSERT INTO audit
            IF NEW.n < 0 THEN RAISE EXCEPTION 'n is % (select)', NEW.n USING ERRCODE = '23514'; END IF;
            RETURN NEW; END";
        let copy = must(body);
        assert_eq!(copy.body, body);
        assert_eq!(copy.functions, ["extract", "nextval", "now", "upper"]);
        assert_eq!(copy.columns, ["Odd", "a", "day", "from", "n", "no", "update"]);
        assert_eq!(copy.assigned, ["Odd", "n", "no", "update"]);
    }

    /// What is a keyword elsewhere, and a function that the user may have an overload of.
    #[test]
    fn brackets_behind_words_are_calls_unless_nothing_else_is_meant() {
        let copy = must(
            "DECLARE v varchar(10); k numeric(10, 2); BEGIN IF (NEW.n IN (1, 2) AND NOT (NEW.n = ANY (ARRAY[1]))) THEN
             NEW.a := reverse(NEW.a)::char(3); END IF; RETURN NEW; END",
        );
        assert_eq!(copy.functions, ["reverse"]);
    }

    #[test]
    fn rows_are_compared_by_the_columns_of_the_table() {
        let copy = must(
            "BEGIN IF NEW IS DISTINCT FROM OLD OR (old.* IS NOT DISTINCT FROM new.*) OR NEW.a IS DISTINCT FROM OLD.n THEN RETURN NEW; END IF; END",
        );
        let columns = |row: &str| COLUMNS.map(|c| format!("{row}.\"{c}\"")).join(", ");
        let [new, old] = ["new", "old"].map(|row| format!("ROW({})", columns(row)));
        assert_eq!(
            copy.body,
            format!(
                "BEGIN IF {new} IS DISTINCT FROM {old} OR ({old} IS NOT DISTINCT FROM {new}) OR NEW.a IS DISTINCT FROM OLD.n THEN RETURN NEW; END IF; END"
            )
        );
        assert_eq!(copy.columns.len(), COLUMNS.len());
    }

    #[test]
    fn the_table_is_the_users() {
        let copy = must(
            "BEGIN NEW.a := tg_table_schema || '.' || TG_TABLE_NAME || TG_NAME || TG_RELID; RETURN NEW; END",
        );
        assert_eq!(
            copy.body,
            "BEGIN NEW.a := ('app'::pg_catalog.name) || '.' || ('It''s'::pg_catalog.name) || ('stamp'::pg_catalog.name) || (4711::pg_catalog.oid); RETURN NEW; END"
        );
    }

    #[test]
    fn what_may_reach_more_than_the_row_is_refused() {
        for (body, why) in [
            ("BEGIN INSERT INTO audit VALUES (1); RETURN NEW; END", "it names insert"),
            ("BEGIN NEW.n := 1 FROM t; RETURN NEW; END", "it has FROM in it"),
            ("BEGIN NEW.n := (SELECT 1); RETURN NEW; END", "it names select"),
            ("BEGIN EXECUTE TG_ARGV[0]; RETURN NEW; END", "it names execute"),
            ("BEGIN NEW.n := app.f(1); RETURN NEW; END", "it names app"),
            ("BEGIN NEW.n := 'a'::app.mood; RETURN NEW; END", "it names app"),
            ("DECLARE v app.d; BEGIN RETURN NEW; END", "it names app"),
            ("DECLARE v mood; BEGIN RETURN NEW; END", "it names mood"),
            ("BEGIN NEW.n := mood '7'; RETURN NEW; END", "it names mood"),
            ("BEGIN NEW.n := NEW.n OPERATOR(app.+) 1; RETURN NEW; END", "it calls function operator"),
            (
                "BEGIN IF pg_notify('c', 'x') IS NULL THEN RETURN NEW; END IF; END",
                "it calls function pg_notify",
            ),
            ("BEGIN NEW.n := pg_catalog.lo_export(1, '/x'); RETURN NEW; END", "it calls function lo_export"),
            ("BEGIN NEW.a := domain_in('7', 12345, -1); RETURN NEW; END", "it calls function domain_in"),
            ("BEGIN NEW.n := nextval('s'); RETURN NEW; END", "it calls function nextval"),
            ("BEGIN NEW.n := 'app.t'::regclass; RETURN NEW; END", "it names regclass"),
            ("BEGIN NEW.a := text(NEW.n); RETURN NEW; END", "it calls function text"),
            ("BEGIN NEW.n := log(NEW.n); RETURN NEW; END", "it calls function log"),
            ("BEGIN NEW.n := varchar(NEW.n); RETURN NEW; END", "it calls function varchar"),
            ("BEGIN NEW.a := current_query(); RETURN NEW; END", "it calls function current_query"),
            ("BEGIN NEW.doc := to_jsonb(NEW); RETURN NEW; END", "it calls function to_jsonb"),
            ("BEGIN NEW.a := concat(NEW); RETURN NEW; END", "it uses a row as a whole"),
            ("BEGIN NEW.a := concat(\"new\"); RETURN NEW; END", "it uses a row as a whole"),
            ("BEGIN NEW := OLD; RETURN NEW; END", "it uses a row as a whole"),
            ("BEGIN RETURN ROW(NEW.id); END", "it calls function row"),
            ("BEGIN NEW.epoch_lineage := 1; RETURN NEW; END", "it names new.epoch_lineage"),
            ("BEGIN NEW.a := NEW.tableoid; RETURN NEW; END", "it names new.tableoid"),
            ("BEGIN NEW.a := stamp.v; RETURN NEW; END", "it names stamp"),
            ("BEGIN NEW.a := (lower(NEW.a)).total; RETURN NEW; END", "it names .total"),
            ("BEGIN SET LOCAL x = 1; RETURN NEW; END", "it names set"),
            ("BEGIN NEW.a := NEW.a COLLATE \"x\"; RETURN NEW; END", "it names collate"),
            ("BEGIN U&\"\\006eew\" := OLD; END", "it has the name U&\"\\006eew\" in it"),
            ("BEGIN NEW.n := Äb(1); RETURN NEW; END", "it has the name Äb in it"),
        ] {
            assert_eq!(copied(body).err().as_deref(), Some(why), "{body}");
        }
        assert!(
            copied("BEGIN 'open").err().is_some_and(|why| why.starts_with("its body was not understood"))
        );
    }
}
