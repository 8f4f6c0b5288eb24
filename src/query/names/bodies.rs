//! What functions return, where it is one query of their arguments.

use std::sync::Arc;
use std::time::Instant;

use epoch_adapter_postgres::layout::literal;
use serde::Deserialize;

use super::proof::{LONGEST, Name};
use super::{Catalog, NameCache, TRUSTED};
use crate::query::lexer::{self, Token, TokenKind};
use crate::query::parse::{self, FunctionRef, Kind, Statement, Wrap};
use crate::{Error, Result};

/// What stands before a call in our texts that is there for its types alone; none of the client's texts, and of its
/// functions', has it.
pub(in crate::query) const TYPED: &str = "/*epoch:typed*/";

/// A function whose calls can be expanded.
#[derive(Debug, Clone)]
pub(in crate::query) struct Body {
    /// Its query.
    pub query: String,
    /// The query's statement, with offsets of `query`.
    pub statement: Statement,
    /// Its arguments: type, and name if it has one.
    pub inputs: Vec<(String, Option<String>)>,
    /// What a row of it is.
    pub returns: Returns,
    /// The name of its only OUT argument, which its column has in FROM.
    pub out: Option<String>,
    /// SETOF or TABLE.
    pub set: bool,
    /// RETURNS NULL ON NULL INPUT.
    pub strict: bool,
    pub volatile: bool,
    /// In PL/pgSQL a name that may be a column's and a variable's is an error, not the column.
    pub variables: bool,
}

/// What a function returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::query) enum Returns {
    /// One value of this type.
    Value(String),
    /// Columns: name and type.
    Columns(Vec<(String, String)>),
}

/// A function, as the catalog describes it.
#[derive(Debug, Deserialize)]
struct Described {
    kind: String,
    language: String,
    set: bool,
    strict: bool,
    volatile: bool,
    definer: bool,
    settings: bool,
    callable: bool,
    /// Whether an argument is VARIADIC, INOUT, a row or of a pseudo-type.
    odd: bool,
    inputs: Vec<(String, Option<String>)>,
    result: String,
    /// `b`, `c`, `d`, `e`, `p` … of the result's type, as in pg_type.
    class: String,
    columns: Option<Vec<(String, String)>>,
    out: Option<String>,
    body: Option<String>,
}

/// A body, or why there is none to be put in the place of calls.
pub(in crate::query) type Found = std::result::Result<Arc<Body>, String>;

impl NameCache {
    /// The bodies of functions, in their order. Asks the server for those that aren't known.
    pub(in crate::query) async fn bodies(
        &mut self,
        functions: &[&FunctionRef],
        catalog: &mut dyn Catalog,
    ) -> Result<Vec<Found>> {
        let key = |f: &FunctionRef| (f.schema.clone(), f.name.clone());
        let fresh = |name: &Name| self.bodies.get(name).filter(|(at, _)| at.elapsed() < TRUSTED).is_some();
        let mut unknown: Vec<Name> = functions.iter().map(|f| key(f)).filter(|name| !fresh(name)).collect();
        unknown.sort();
        unknown.dedup();
        let rows = if unknown.is_empty() { Vec::new() } else { catalog.query(&sql(&unknown)).await? };
        for (index, name) in unknown.into_iter().enumerate() {
            let number = index.to_string();
            let of = |row: &&Vec<Option<String>>| row.first() == Some(&Some(number.clone()));
            let all: Vec<&str> = rows.iter().filter(of).filter_map(|row| row.get(1)?.as_deref()).collect();
            self.bodies.insert(name, (Instant::now(), read(&all)?));
        }
        let missing = || Err("nothing is known of it".to_owned());
        let found =
            |f: &&FunctionRef| self.bodies.get(&key(f)).map_or_else(missing, |(_, found)| found.clone());
        Ok(functions.iter().map(found).collect())
    }
}

/// Asks for functions by name: the name's index, and [`Described`] as JSON.
fn sql(names: &[(Option<String>, String)]) -> String {
    let schema = |s: &Option<String>| s.as_deref().map_or_else(|| "NULL::text".to_owned(), literal);
    let row = |(i, (s, name)): (usize, &(Option<String>, String))| {
        format!("({i}, {}, {})", schema(s), literal(name))
    };
    let values: Vec<String> = names.iter().enumerate().map(row).collect();
    include_str!("../../../sql/postgres/function_bodies.sql").replace("{{names}}", &values.join(", "))
}

fn read(all: &[&str]) -> Result<Found> {
    let [one] = all else {
        return Ok(Err("there are several functions of this name".to_owned()));
    };
    let described: Described = serde_json::from_str(one)
        .map_err(|e| Error::internal(format!("the server's catalog answered in an unexpected form: {e}")))?;
    Ok(described.body().map(Arc::new))
}

impl Described {
    fn body(self) -> std::result::Result<Body, String> {
        let why = if self.kind != "f" {
            Some("it isn't a plain function")
        } else if self.definer {
            Some("it is SECURITY DEFINER")
        } else if self.settings {
            Some("it has settings of its own")
        } else if !self.callable {
            Some("the session's role may not call it")
        } else if self.odd {
            Some("it has VARIADIC or INOUT arguments, or ones that are rows or polymorphic")
        } else {
            None
        };
        if let Some(why) = why {
            return Err(why.to_owned());
        }
        let returns = match (self.columns, self.class.as_str()) {
            (Some(columns), _) if !columns.is_empty() => Returns::Columns(columns),
            (_, "p") => return Err("its result's type isn't known before it is called".to_owned()),
            _ => Returns::Value(self.result),
        };
        let text = self.body.ok_or("its body isn't known")?;
        let query = query(&self.language, &text, self.set)?;
        let statement = single(&query)?;
        Ok(Body {
            statement,
            query,
            inputs: self.inputs,
            returns,
            out: self.out,
            set: self.set,
            strict: self.strict,
            volatile: self.volatile,
            variables: self.language != "sql",
        })
    }
}

/// The text of the one query that a body is.
fn query(language: &str, body: &str, set: bool) -> std::result::Result<String, String> {
    if body.contains(TYPED) {
        return Err(format!("its body has {TYPED}"));
    }
    let tokens = lexer::tokens(body).map_err(|e| e.to_string())?.list;
    // As for what is proven: how others are folded, and where they are cut, is the server's business.
    let certain =
        |t: &Token| t.kind != TokenKind::Word || t.text(body).is_ascii() && t.end - t.start <= LONGEST;
    if !tokens.iter().all(certain) {
        return Err("its body has names that are long or not in ASCII".to_owned());
    }
    let word = |i: usize, word: &str| tokens.get(i).is_some_and(|t| t.is_word(body, word));
    let from = |i: usize, to: Option<&Token>| {
        let start = tokens.get(i).map_or(body.len(), |t| t.start);
        body.get(start..to.map_or(body.len(), |t| t.start)).unwrap_or_default().trim_end().to_owned()
    };
    // The last END, and the semicolons around it.
    let semicolon = |t: &&Token| t.is_symbol(b';');
    let end = || {
        let last = tokens.iter().rposition(|t| !t.is_symbol(b';'))?;
        let before = last.checked_sub(1).and_then(|i| tokens.get(i)).filter(semicolon)?;
        word(last, "end").then_some(before)
    };
    match language {
        "sql" if word(0, "begin") && word(1, "atomic") => {
            let end = end().ok_or("its body isn't understood")?;
            Ok(from(2, Some(end)))
        }
        "sql" if word(0, "return") => Ok(format!("SELECT {}", from(1, None))),
        "sql" => Ok(body.to_owned()),
        _ => {
            // What isn't exactly this has variables, conditions, or more than one step.
            let end = end().ok_or("its body isn't BEGIN, one RETURN, END")?;
            match (word(0, "begin") && word(1, "return"), word(2, "query"), set) {
                (true, true, true) if !word(3, "execute") => Ok(from(3, Some(end))),
                (true, false, false) => Ok(format!("SELECT ({})", from(2, Some(end)))),
                _ => Err("its body isn't BEGIN, one RETURN, END".to_owned()),
            }
        }
    }
}

/// A body's statement, if it is one that only reads.
fn single(query: &str) -> std::result::Result<Statement, String> {
    let parsed = parse::parse(query).map_err(|e| e.to_string())?;
    let mut statements = parsed.statements.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err("its body isn't one query".to_owned());
    };
    let plain = statement.kind == Kind::Query && statement.wrap == Wrap::None && statement.nested.is_empty();
    if !plain {
        return Err("its body is another statement than a query".to_owned());
    }
    if !statement.locking.is_empty() {
        return Err("its query locks rows".to_owned());
    }
    if let Some(what) = &statement.refused {
        return Err(format!("its query has {what}"));
    }
    Ok(statement)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bodies_that_are_one_query() {
        let is = |language: &str, body: &str, set: bool| {
            let text = query(language, body, set)?;
            single(&text).map(|statement| text.get(statement.range).unwrap_or_default().to_owned())
        };
        assert_eq!(is("sql", " SELECT 1 -- one\n ; ", false).unwrap(), "SELECT 1");
        assert_eq!(
            is("sql", "BEGIN ATOMIC\n SELECT a\n    FROM t;\nEND", true).unwrap(),
            "SELECT a\n    FROM t"
        );
        assert_eq!(
            is("sql", "RETURN (SELECT max(a) FROM t)", false).unwrap(),
            "SELECT (SELECT max(a) FROM t)"
        );
        assert_eq!(
            is("plpgsql", "\nBEGIN\n  RETURN (SELECT a FROM t); -- so\nEND;\n", false).unwrap(),
            "SELECT ((SELECT a FROM t))"
        );
        assert_eq!(
            is("plpgsql", "BEGIN RETURN QUERY SELECT a FROM t; END", true).unwrap(),
            "SELECT a FROM t"
        );
        for (language, body, set) in [
            ("sql", "SELECT 1; SELECT 2", false),
            ("sql", "DELETE FROM t", false),
            ("sql", "WITH d AS (DELETE FROM t RETURNING 1) SELECT * FROM d", false),
            ("sql", "SELECT a FROM t FOR UPDATE", false),
            ("sql", "SELECT a INTO b FROM t", false),
            ("sql", "", false),
            ("plpgsql", "DECLARE x int; BEGIN RETURN (SELECT a FROM t); END", false),
            ("plpgsql", "BEGIN RETURN 1; RETURN 2; END", false),
            ("plpgsql", "BEGIN RETURN (SELECT 1); EXCEPTION WHEN others THEN RETURN 2; END", false),
            ("plpgsql", "BEGIN RETURN QUERY EXECUTE 'SELECT 1'; END", true),
            ("plpgsql", "BEGIN RETURN QUERY SELECT 1; RETURN; END", true),
            ("plpgsql", "BEGIN RETURN; END", false),
            ("plpgsql", "#variable_conflict use_column\nBEGIN RETURN 1; END", false),
        ] {
            assert!(is(language, body, set).is_err(), "{body}");
        }
    }
}
