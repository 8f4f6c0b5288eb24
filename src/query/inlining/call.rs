//! One call, and the query in its place.
//!
//! `f(a, b)` becomes
//!
//! ```sql
//! (SELECT CAST(epoch_q.epoch_c1 AS text) AS f
//!  FROM (SELECT CAST((a) AS int) AS epoch_p1, CAST((b) AS int) AS epoch_p2, EXISTS (SELECT FROM f(a, b) WHERE false) AS epoch_t) epoch_a,
//!       LATERAL (SELECT epoch_a.epoch_p1 AS x, epoch_a.epoch_p2 AS y) f,
//!       LATERAL (the query) epoch_q (epoch_c1)
//!  LIMIT 1)
//! ```
//!
//! so that arguments are evaluated once, are found in the query by the names that they have there and after its own
//! columns, and no row means NULL. The call in EXISTS is never made: by it the server finds the function for the types of the
//! arguments, or says that there is none.

use std::fmt::Write as _;
use std::ops::Range;

use epoch_adapter_postgres::layout::quote;

use crate::query::lexer::{Token, TokenKind, Tokens};
use crate::query::names::{Body, Meaning, Returns, TYPED};
use crate::query::parse::{ColumnUse, FunctionRef, Role, Site, Statement, TableRef};
use crate::query::plan::Context;
use crate::query::text::Edits;

/// Where calls are in a text that nobody makes.
pub(super) fn typed(text: &str, tokens: &Tokens) -> Vec<Range<usize>> {
    let range = |(start, _): (usize, &str)| {
        let first = tokens.at(start);
        // In a name that is quoted, it is none.
        let before = first.checked_sub(1).and_then(|i| tokens.get(i));
        if before.is_some_and(|t| t.end > start) {
            return None;
        }
        let open = tokens.get(first + 1).filter(|t| t.is_symbol(b'('))?;
        let rest = tokens.list.get(first + 2..)?;
        let close = rest.iter().find(|t| t.is_symbol(b')') && t.depth == open.depth)?;
        Some(start..close.end)
    };
    text.match_indices(TYPED).filter_map(range).collect()
}

/// A call, and what is known of it.
pub(super) struct Call<'a> {
    pub ctx: &'a Context<'a>,
    pub sql: &'a str,
    pub tokens: &'a Tokens,
    pub statement: &'a Statement,
    pub function: &'a FunctionRef,
    pub body: &'a Body,
}

impl Call<'_> {
    /// Whether the query means the same in the place of the call; else why it may not.
    pub fn check(&self) -> std::result::Result<(), String> {
        self.arguments_are_plain()?;
        self.place_is_fit()?;
        self.state_is_the_statements()?;
        self.names_are_the_querys()
    }

    fn arguments_are_plain(&self) -> std::result::Result<(), String> {
        const WORDS: &[&str] = &["variadic", "distinct", "all", "order"];
        let arguments = self.arguments().ok_or("its call isn't understood")?;
        if arguments.len() != self.body.inputs.len() {
            return Err(format!(
                "it has {} arguments, and is called with {}",
                self.body.inputs.len(),
                arguments.len()
            ));
        }
        let top = self.open().map_or(0, |open| open.depth + 1);
        let odd = |t: &Token| {
            t.depth == top
                && (WORDS.iter().any(|w| t.is_word(self.sql, w)) || matches!(t.text(self.sql), "=>" | ":="))
        };
        let mut all = arguments.iter().flat_map(|range| self.within(range));
        if all.any(odd) {
            return Err("it is called with VARIADIC or names of arguments".to_owned());
        }
        // In the arguments' query, an aggregate would be one of that query; in another query there it stays where it is.
        let placed = |f: &&FunctionRef| {
            self.ctx.names.function(f.schema.as_deref(), &f.name).is_some_and(|known| known.calls.placed)
        };
        let inside = |f: &&FunctionRef| {
            f.range.is_empty()
                || self.function.range.start < f.range.start
                    && f.range.end <= self.function.range.end
                    && !self.is_in_query(f.range.start)
        };
        match self.statement.functions.iter().filter(inside).find(placed) {
            Some(aggregate) => Err(format!("{}() is among its arguments", aggregate.name)),
            None => Ok(()),
        }
    }

    /// Whether a place among the arguments is in a query there.
    fn is_in_query(&self, at: usize) -> bool {
        let mut depth = self.tokens.get(self.tokens.at(at)).map_or(0, |t| t.depth);
        let before = self.within(&(self.function.range.start..at)).collect::<Vec<_>>();
        let mut next = None;
        for token in before.into_iter().rev() {
            if token.is_symbol(b'(') && token.depth < depth {
                depth = token.depth;
                let begins =
                    |t: &Token| ["select", "with", "values", "table"].iter().any(|w| t.is_word(self.sql, w));
                if next.is_some_and(begins) {
                    return true;
                }
            }
            next = Some(token);
        }
        false
    }

    fn place_is_fit(&self) -> std::result::Result<(), String> {
        let Site::From { alias, special } = &self.function.site else {
            if self.body.set {
                return Err("it returns a set, and isn't in FROM".to_owned());
            }
            return match self.body.returns {
                Returns::Value(_) => Ok(()),
                Returns::Columns(_) => Err("it returns a row, and isn't in FROM".to_owned()),
            };
        };
        if *special {
            return Err("it is called by ROWS FROM, with ordinality or with a list of columns".to_owned());
        }
        let called = alias.as_ref().unwrap_or(&self.function.name);
        let whole = |c: &ColumnUse| matches!(c.fields.as_slice(), [Some(name)] if name == called);
        if matches!(self.body.returns, Returns::Columns(_)) && self.statement.columns.iter().any(whole) {
            return Err("its row is used as a whole".to_owned());
        }
        Ok(())
    }

    /// A volatile function sees what the statement around it has written so far.
    fn state_is_the_statements(&self) -> std::result::Result<(), String> {
        if !self.body.volatile || !super::writes(self.statement) {
            return Ok(());
        }
        let written = |t: &&TableRef| t.role == Role::Target;
        let targets: Vec<Meaning> =
            self.statement.tables.iter().filter(written).map(|t| self.ctx.names.table(t)).collect();
        let apart = |t: &TableRef| match self.ctx.names.table(t) {
            meaning @ Meaning::Registered(_) => !targets.contains(&meaning),
            Meaning::System => true,
            _ => false,
        };
        if self.body.statement.tables.iter().all(apart) {
            return Ok(());
        }
        Err("it is VOLATILE, and may read what the statement writes".to_owned())
    }

    /// A name in the query could mean something of the statement around it: a table's a query of its WITH, a column's one of
    /// its tables, if those of the query have no such column (any more).
    fn names_are_the_querys(&self) -> std::result::Result<(), String> {
        let body = &self.body.statement;
        let with = &self.statement.with.names;
        if let Some(table) = body.tables.iter().find(|t| t.schema.is_none() && with.contains(&t.name)) {
            return Err(format!(
                "the statement's WITH has the name of table \"{}\", which it reads",
                table.name
            ));
        }
        let has = |t: &TableRef, name: &str| has_column(self.ctx, t, name) == Some(true);
        for column in &body.columns {
            let of_table = found(body, column, &has);
            if let (true, (None, Some(name))) = (of_table, column.parts())
                && self.is_variable(name)
            {
                return Err(format!("\"{name}\" is a column's name in it, and a variable's"));
            }
            let argument = match column.parts() {
                (Some(of), _) => of == self.function.name,
                (None, Some(name)) => {
                    self.body.inputs.iter().any(|(_, input)| input.as_deref() == Some(name))
                }
                (None, None) => true,
            };
            if argument || of_table {
                continue;
            }
            let (of, name) = column.parts();
            if of.is_some() || name.is_none_or(|name| self.may_be_around(name)) {
                return Err(format!("it isn't known of which table \"{}\" is", name.unwrap_or("*")));
            }
        }
        Ok(())
    }

    fn is_variable(&self, name: &str) -> bool {
        let inputs = self.body.inputs.iter().filter_map(|(_, input)| input.as_deref());
        let outputs: Vec<&str> = match &self.body.returns {
            Returns::Columns(columns) => columns.iter().map(|(output, _)| output.as_str()).collect(),
            Returns::Value(_) => self.body.out.as_deref().into_iter().collect(),
        };
        self.body.variables && inputs.chain(outputs).any(|variable| variable == name)
    }

    /// Whether the statement around the call may have a column, or a FROM item, of this name.
    fn may_be_around(&self, name: &str) -> bool {
        let items = self.statement.scopes.iter().flat_map(|scope| &scope.items);
        let mut items = items.map(|item| {
            let table = item.table.and_then(|i| self.statement.tables.get(i));
            item.name == name || table.is_none_or(|t| has_column(self.ctx, t, name) != Some(false))
        });
        items.any(|may| may)
    }

    /// The edits that put the query in the call's place.
    pub fn edits(&self) -> Edits {
        let mut edits = Edits::default();
        let (Some(open), Some(close)) = (self.open(), self.close()) else { return edits };
        let (head, tail) = self.around();
        let arguments = self.arguments().unwrap_or_default();
        let types = self.body.inputs.iter().map(|(kind, _)| kind);
        let mut head = format!("{head}(SELECT ");
        let mut from = self.function.range.start;
        let mut to = open.end;
        for (number, (argument, kind)) in arguments.iter().zip(types).enumerate() {
            edits.replace(from..argument.start, format!("{head}CAST(("));
            head = format!(") AS {kind}) AS epoch_p{}, ", number + 1);
            (from, to) = (argument.end, argument.end);
        }
        let call = self.sql.get(self.function.range.clone()).unwrap_or_default();
        let end = format!("{head}{TYPED}EXISTS (SELECT FROM {call} WHERE false) AS epoch_t) epoch_a{tail}");
        edits.replace(from..close.end.max(to), end);
        edits
    }

    /// What stands before and behind the arguments' query.
    fn around(&self) -> (String, String) {
        let (columns, lists) = self.columns();
        let mut rest = self.named_arguments();
        let query = self.body.query.get(self.body.statement.range.clone()).unwrap_or_default();
        let query = self.with_arguments(query);
        let _ = write!(rest, ", LATERAL ({query}) epoch_q ({columns})");
        if self.body.strict && !self.body.inputs.is_empty() {
            let all: Vec<String> =
                (1..=self.body.inputs.len()).map(|n| format!("epoch_a.epoch_p{n}")).collect();
            let _ = write!(rest, " WHERE pg_catalog.num_nulls({}) = 0", all.join(", "));
        }
        let limit = if self.body.set { "" } else { " LIMIT 1" };
        match &self.function.site {
            Site::Expression => (format!("(SELECT {lists} FROM "), format!("{rest}{limit})")),
            Site::From { alias, .. } => {
                let lateral = if self.is_lateral() { "" } else { "LATERAL " };
                let alias = if alias.is_some() {
                    String::new()
                } else {
                    format!(" AS {}", quote(&self.function.name))
                };
                if self.body.set {
                    return (format!("{lateral}(SELECT {lists} FROM "), format!("{rest}){alias}"));
                }
                // One row, whatever the query finds.
                let head = format!(
                    "{lateral}(SELECT epoch_r.* FROM (SELECT) epoch_1 LEFT JOIN LATERAL (SELECT {lists} FROM "
                );
                (head, format!("{rest}{limit}) epoch_r ON true){alias}"))
            }
        }
    }

    /// The names of the query's columns, and the list that makes the result of them.
    fn columns(&self) -> (String, String) {
        let one = |number: usize, name: &str, kind: &str| {
            (
                format!("epoch_c{number}"),
                format!("CAST(epoch_q.epoch_c{number} AS {kind}) AS {}", quote(name)),
            )
        };
        let all: Vec<(String, String)> = match (&self.body.returns, &self.function.site) {
            (Returns::Value(kind), Site::Expression) => vec![one(1, &self.function.name, kind)],
            (Returns::Value(kind), Site::From { alias, .. }) => {
                let name = self.body.out.as_ref().or(alias.as_ref()).unwrap_or(&self.function.name);
                vec![one(1, name, kind)]
            }
            (Returns::Columns(columns), _) => {
                columns.iter().enumerate().map(|(i, (name, kind))| one(i + 1, name, kind)).collect()
            }
        };
        let (names, lists): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        (names.join(", "), lists.join(", "))
    }

    /// The arguments under the names that the query has for them.
    fn named_arguments(&self) -> String {
        let named =
            self.body.inputs.iter().enumerate().filter_map(|(i, (_, name))| Some((i, name.as_ref()?)));
        let list: Vec<String> =
            named.map(|(i, name)| format!("epoch_a.epoch_p{} AS {}", i + 1, quote(name))).collect();
        if list.is_empty() {
            return String::new();
        }
        format!(", LATERAL (SELECT {}) {}", list.join(", "), quote(&self.function.name))
    }

    /// `$1` of the function is its argument.
    fn with_arguments(&self, query: &str) -> String {
        let Ok(tokens) = crate::query::lexer::tokens(query) else { return query.to_owned() };
        let mut edits = Edits::default();
        for token in tokens.list.iter().filter(|t| t.kind == TokenKind::Param) {
            let number = token.text(query).trim_start_matches('$');
            edits.replace(token.start..token.end, format!("epoch_a.epoch_p{number}"));
        }
        edits.render(query, &(0..query.len())).0
    }

    fn is_lateral(&self) -> bool {
        let at = self.tokens.at(self.function.range.start);
        let before = at.checked_sub(1).and_then(|i| self.tokens.get(i));
        before.is_some_and(|t| t.is_word(self.sql, "lateral"))
    }

    /// The bracket behind the function's name.
    fn open(&self) -> Option<&Token> {
        let first = self.tokens.at(self.function.range.start);
        self.tokens.list.get(first..)?.iter().find(|t| t.is_symbol(b'('))
    }

    fn close(&self) -> Option<&Token> {
        let end = self.function.range.end;
        let last = self.tokens.at(end).checked_sub(1)?;
        self.tokens.get(last).filter(|t| t.is_symbol(b')') && t.end == end)
    }

    fn within(&self, range: &Range<usize>) -> impl Iterator<Item = &Token> {
        let (first, last) = (self.tokens.at(range.start), self.tokens.at(range.end));
        self.tokens.list.get(first..last).unwrap_or_default().iter()
    }

    /// Where the arguments are, from their first to their last token; `None` if that isn't understood.
    fn arguments(&self) -> Option<Vec<Range<usize>>> {
        let (open, close) = (self.open()?, self.close()?);
        let inside: Vec<&Token> = self.within(&(open.end..close.start)).collect();
        if inside.is_empty() {
            return Some(Vec::new());
        }
        let comma = |t: &&Token| t.is_symbol(b',') && t.depth == open.depth + 1;
        let parts = inside.split(|t| comma(t));
        parts.map(|part| Some(part.first()?.start..part.last()?.end)).collect()
    }
}

/// Whether a column reference of a query is one of its own FROM items.
fn found(body: &Statement, column: &ColumnUse, has: &impl Fn(&TableRef, &str) -> bool) -> bool {
    let (of, name) = column.parts();
    let mut at = column.scope;
    while let Some(scope) = at.and_then(|i| body.scopes.get(i)) {
        let here = scope.items.iter().any(|item| match (of, name) {
            (Some(of), _) => item.name == of,
            (None, Some(name)) => {
                item.table.and_then(|i| body.tables.get(i)).is_some_and(|table| has(table, name))
            }
            (None, None) => true,
        });
        if here {
            return true;
        }
        at = scope.outer;
    }
    false
}

/// Whether a table of a statement has a column, if that is known.
fn has_column(ctx: &Context<'_>, table: &TableRef, name: &str) -> Option<bool> {
    match ctx.names.table(table) {
        Meaning::Registered(def) => Some(def.schema.columns.iter().any(|c| c.name == name)),
        _ => None,
    }
}
