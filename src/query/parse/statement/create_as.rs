//! CREATE TABLE AS and SELECT INTO of tables that aren't temporary.

use std::ops::Range;

use pg_raw_parse::{Node, nodes};

use super::super::walk::{Role, Walker};
use super::clauses::is_starred;
use super::{Define, Describer, How, Kind, Wrap};

/// A table to be made of what a query returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateAs {
    /// The schema, if it is given.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Not WITH NO DATA.
    pub with_data: bool,
    /// UNLOGGED.
    pub unlogged: bool,
    /// SELECT INTO.
    pub into: bool,
    /// The bytes that say what is made, up to its name.
    pub head: Range<usize>,
    /// Whether it says how the table is stored (USING, WITH, TABLESPACE, ON COMMIT).
    pub stored: bool,
    /// What is unique in the query's result, if that can be told.
    pub keys: Option<Keys>,
}

/// A query over one table, of which it returns each row at most once, or one row per group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The index of the table among the statement's.
    pub table: usize,
    /// The columns that it groups by.
    pub grouped: Option<Vec<String>>,
    /// What it returns.
    pub shown: Vec<Shown>,
    /// The functions that it calls: one that returns a set makes several rows of one.
    pub functions: Vec<String>,
}

/// What a query returns in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// All columns of the table.
    Star,
    /// A column of the table.
    Column(String),
    /// Something else.
    Other,
}

impl Describer<'_, '_> {
    pub(super) fn create_table_as(&mut self, create: &nodes::CreateTableAsStmt) -> Kind {
        let refused = || Kind::Refused("CREATE TABLE AS".to_owned());
        if self.wrap != Wrap::None {
            return Kind::Refused("EXPLAIN of CREATE TABLE AS".to_owned());
        }
        let Some(into) = create.into() else { return refused() };
        let start = self.range.start;
        let Some(mut made) = self.made(into, start) else { return refused() };
        made.if_not_exists = create.if_not_exists;
        if let Node::SelectStmt(select) = create.query() {
            self.walker.select(select);
            made.keys = keys(self.walker, select);
        }
        Kind::Define(Define { what: "CREATE TABLE AS", how: How::CreateAs(made) })
    }

    /// To be called when the query has been walked.
    pub(super) fn select_into(&mut self, select: &nodes::SelectStmt, into: &nodes::IntoClause) -> Kind {
        let tokens = &self.walker.tokens;
        let at = into.rel().and_then(|t| usize::try_from(t.location).ok()).map(|at| tokens.at(at));
        let word = |i: &usize| tokens.get(*i).is_some_and(|t| t.is_word(self.walker.sql, "into"));
        let verb = at.and_then(|at| (at.saturating_sub(3)..at).rev().find(word));
        let start = verb.and_then(|i| tokens.get(i)).map(|t| t.start);
        let Some(mut made) = start.and_then(|start| self.made(into, start)) else {
            return Kind::Refused("SELECT INTO".to_owned());
        };
        made.into = true;
        made.keys = keys(self.walker, select);
        Kind::Define(Define { what: "SELECT INTO", how: How::CreateAs(made) })
    }

    /// `start`: where what says that a table is made begins.
    fn made(&mut self, into: &nodes::IntoClause, start: usize) -> Option<CreateAs> {
        // Noted for its place only: it isn't there yet.
        self.walker.table(into.rel()?, Role::Named);
        let target = self.walker.tables.pop()?;
        let persistence = u8::try_from(i32::from(into.rel()?.relpersistence)).unwrap_or(0);
        Some(CreateAs {
            schema: target.schema,
            name: target.name,
            if_not_exists: false,
            with_data: !into.skip_data,
            unlogged: persistence == b'u',
            into: false,
            head: start..target.range.end,
            stored: into.access_method().is_some()
                || !into.options().is_empty()
                || into.table_space_name().is_some()
                || into.on_commit != nodes::OnCommitAction::ONCOMMIT_NOOP,
            keys: None,
        })
    }
}

/// Of a query that was walked.
fn keys(walker: &Walker<'_>, select: &nodes::SelectStmt) -> Option<Keys> {
    let plain = select.op == nodes::SetOperation::SETOP_NONE
        && select.with_clause().is_none()
        && select.values_lists().is_empty()
        && select.from_clause().len() == 1;
    let Some(Node::RangeVar(source)) = select.from_clause().first().filter(|_| plain) else { return None };
    let renamed = source.alias().is_some_and(|a| !a.colnames().is_empty());
    let called = source.alias().and_then(|a| a.aliasname()).or(source.relname())?;
    let shown = shown(select, called).filter(|_| !renamed)?;
    let grouped = grouped(select, called, &shown)?;
    let mut inside = Walker::new(walker.sql, walker.tokens);
    inside.select(select);
    let functions = inside.functions.into_iter().map(|f| f.name).collect();
    let at = usize::try_from(source.location).ok()?;
    let table = walker.tables.iter().position(|t| t.role == Role::Read && t.range.contains(&at))?;
    Some(Keys { table, grouped, shown, functions })
}

/// The column of the table that an expression is.
fn column(node: Node<'_>, called: &str) -> Option<String> {
    let Node::ColumnRef(column) = node else { return None };
    let fields: Option<Vec<&str>> = column.fields().iter().map(|f| f.as_str()).collect();
    match fields?.as_slice() {
        [column] => Some((*column).to_owned()),
        [table, column] if *table == called => Some((*column).to_owned()),
        _ => None,
    }
}

/// What the query returns; `None` if that isn't one thing in each place.
fn shown(select: &nodes::SelectStmt, called: &str) -> Option<Vec<Shown>> {
    let one = |target: &nodes::ResTarget| {
        let value = target.val();
        if !is_starred(value) {
            return Some(column(value, called).map_or(Shown::Other, Shown::Column));
        }
        let Node::ColumnRef(star) = value else { return None };
        let own = star.fields().len() == 2 && star.fields().first().and_then(|f| f.as_str()) == Some(called);
        (own || star.fields().len() == 1).then_some(Shown::Star)
    };
    select.target_list().iter().map(one).collect()
}

/// The columns that the query groups by, if it does; `None` if it groups by something else.
fn grouped(select: &nodes::SelectStmt, called: &str, shown: &[Shown]) -> Option<Option<Vec<String>>> {
    let list = select.group_clause();
    if list.is_empty() {
        return Some(None);
    }
    let one = |node: Node<'_>| match node {
        Node::A_Const(number) => {
            let Some(pg_raw_parse::ConstValue::Integer(number)) = number.val() else { return None };
            let place = usize::try_from(number).ok()?.checked_sub(1)?;
            match shown.get(place).filter(|_| !shown.contains(&Shown::Star))? {
                Shown::Column(column) => Some(column.clone()),
                _ => None,
            }
        }
        node => column(node, called),
    };
    list.iter().map(one).collect::<Option<Vec<String>>>().map(Some)
}
