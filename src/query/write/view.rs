//! Writing through a view that shows rows and columns of one registered table, and locking rows through a view:
//! what the view stands for is put in the place of its name, and the statement is planned again.

mod shape;

use std::ops::Range;

use epoch_adapter_postgres::layout::quote;

use self::shape::{Shape, Shown};
use super::width;
use crate::query::lexer;
use crate::query::lock;
use crate::query::names::{Catalog, Meaning, location};
use crate::query::parse::{ColumnUse, Insert, Item, Kind, Modify, Role, Source, Star, Statement, TableRef};
use crate::query::plan::Context;
use crate::query::text::{Edits, Kept};
use crate::query::views;
use crate::{Error, Result, sqlstate};

/// A statement with the table in the view's place.
pub(in crate::query) struct Unfolded {
    pub text: String,
    /// Where the client's text stands in it.
    pub kept: Kept,
    /// What new rows are checked against (see sql/postgres/view_check.sql).
    pub checks: Option<String>,
}

impl Unfolded {
    /// The statement as it is.
    pub fn of(sql: &str, statement: &Statement) -> Self {
        let (text, kept) = Edits::default().render(sql, &statement.range);
        Self { text, kept, checks: None }
    }
}

/// The statement on the table, if its target is such a view. What can't be told from the statement's text is
/// left to be refused.
pub(in crate::query) async fn unfold(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    statement: &Statement,
) -> Result<Option<Unfolded>> {
    let Some(target) = statement.tables.first().filter(|t| t.role == Role::Target) else { return Ok(None) };
    if !matches!(statement.kind, Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_)) {
        return Ok(None);
    }
    let read = shape::as_read(target);
    let Some(shape) = Shape::of(ctx, catalog, &read, 0).await? else { return Ok(None) };
    let width = match &statement.kind {
        Kind::Insert(insert) => width::of_source(ctx, catalog, statement, &insert.source).await?,
        _ => None,
    };
    let checks = if matches!(statement.kind, Kind::Delete(_)) { None } else { shape.checks() };
    let tokens = lexer::tokens(sql)?;
    let columns = statement.tables.iter().map(|table| columns(ctx, &shape, target, table)).collect();
    let view = View { sql, tokens, columns, statement, target, alias: quote(target.called()), shape };
    let Some(edits) = view.edits(width)? else { return Ok(None) };
    let (text, kept) = edits.render(sql, &statement.range);
    Ok(Some(Unfolded { text, kept, checks }))
}

/// The columns of a table of the statement, if they are known.
fn columns(ctx: &Context<'_>, shape: &Shape, view: &TableRef, table: &TableRef) -> Option<Vec<String>> {
    if table.schema == view.schema && table.name == view.name {
        return Some(shape.columns.iter().map(|(name, _)| name.clone()).collect());
    }
    match ctx.names.table(table) {
        Meaning::Registered(def) => Some(def.schema.columns.iter().map(|c| c.name.clone()).collect()),
        _ => None,
    }
}

/// The statement with their queries in the place of the names of views whose rows it locks: PostgreSQL locks
/// the rows of the tables that they read.
pub(in crate::query) fn locked(
    ctx: &Context<'_>,
    sql: &str,
    statement: &Statement,
) -> Result<Option<Unfolded>> {
    let mut edits = Edits::default();
    for (index, table) in statement.tables.iter().enumerate() {
        if !lock::is_locked(&statement.locking, index) {
            continue;
        }
        let Some(definition) = views::definition(ctx, table) else { continue };
        // Its names could mean queries of the statement's WITH.
        if table.command || !statement.with.names.is_empty() {
            return Err(Error::unsupported(
                "FOR UPDATE or FOR SHARE of a view by TABLE or beside WITH, on a branch",
            ));
        }
        let alias = if table.alias.is_some() { String::new() } else { format!(" AS {}", quote(&table.name)) };
        let query = definition.trim_end().trim_end_matches(';');
        edits.replace(table.range.clone(), format!("({query}\n){alias}"));
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let (text, kept) = edits.render(sql, &statement.range);
    Ok(Some(Unfolded { text, kept, checks: None }))
}

/// Whether a name is looked for in the statement's own FROM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// It means something of a query inside, or of one that doesn't see the target.
    Never,
    /// Unless something inside has it, of which that isn't known.
    Perhaps,
    Surely,
}

struct View<'a> {
    sql: &'a str,
    tokens: lexer::Tokens,
    /// The columns of each of the statement's tables, where they are known.
    columns: Vec<Option<Vec<String>>>,
    statement: &'a Statement,
    target: &'a TableRef,
    /// Quoted.
    alias: String,
    shape: Shape,
}

impl View<'_> {
    fn edits(&self, width: Option<usize>) -> Result<Option<Edits>> {
        let mut edits = Edits::default();
        let named = if self.target.alias.is_some() { String::new() } else { format!(" AS {}", self.alias) };
        // Where the branch has a version of its own, the name means that.
        let (schema, name) = location(&self.shape.table);
        edits.replace(self.target.range.clone(), format!("{}.{}{named}", quote(&schema), quote(&name)));
        let (stars, others) = match &self.statement.kind {
            Kind::Insert(insert) => {
                if !self.insert(&mut edits, insert, width)? {
                    return Ok(None);
                }
                (&insert.stars, Some(Vec::new()))
            }
            Kind::Update(modify) | Kind::Delete(modify) if modify.cursor.is_none() => {
                self.modify(&mut edits, modify)?;
                (&modify.stars, modify.starrable.clone())
            }
            _ => return Ok(None),
        };
        let fits = self.names(&mut edits)? && self.stars(&mut edits, stars, others.as_deref());
        Ok(fits.then_some(edits))
    }

    fn insert(&self, edits: &mut Edits, insert: &Insert, width: Option<usize>) -> Result<bool> {
        let all = || self.shape.columns.iter().map(|(name, _)| name).take(width.unwrap_or(usize::MAX));
        let given: Vec<&String> =
            if insert.columns.is_empty() { all().collect() } else { insert.columns.iter().collect() };
        let given = if insert.source == Source::Default { Vec::new() } else { given };
        let columns = self.written("insert into", given.into_iter())?;
        let list: Vec<String> = columns.iter().map(|c| quote(c)).collect();
        match (insert.list_at, &insert.list) {
            (Some(at), _) => edits.insert(at, format!(" ({})", list.join(", "))),
            (None, Some(range)) => edits.replace(range.clone(), format!("({})", list.join(", "))),
            (None, None) => {}
        }
        if let Some(conflict) = &insert.conflict {
            let same = |name: &String| self.shape.column(name) == Some(&Shown::Base(name.clone()));
            self.known(conflict.columns.iter())?;
            if !conflict.columns.iter().all(same) {
                return Ok(false);
            }
            self.sets(edits, &conflict.sets, &conflict.set_at)?;
        }
        Ok(true)
    }

    fn modify(&self, edits: &mut Edits, modify: &Modify) -> Result<()> {
        self.sets(edits, &modify.sets, &modify.set_at.0)?;
        let Some(condition) = self.shape.condition(&self.alias) else { return Ok(()) };
        match &modify.condition {
            Some(own) => {
                edits.insert(own.start, "(");
                edits.insert(own.end, format!("\n) AND {condition}"));
            }
            None => edits.insert(modify.end, format!(" WHERE {condition}")),
        }
        Ok(())
    }

    /// Columns that are set, under the table's names.
    fn sets(&self, edits: &mut Edits, sets: &[String], places: &[usize]) -> Result<()> {
        let unknown = sets.iter().zip(places).find(|(name, _)| self.shape.column(name).is_none());
        let columns = self.written("update", sets.iter()).map_err(|error| match unknown {
            Some((_, &at)) => error.with_position(self.sql.get(..at).unwrap_or_default().chars().count() + 1),
            None => error,
        })?;
        for ((name, column), &at) in sets.iter().zip(&columns).zip(places) {
            if name != column {
                edits.replace(self.tokens(at, 1)?, quote(column));
            }
        }
        Ok(())
    }

    /// The table's columns that are written to by the view's; as PostgreSQL says it if that isn't possible.
    fn written<'n>(
        &self,
        verb: &str,
        names: impl Iterator<Item = &'n String> + Clone,
    ) -> Result<Vec<String>> {
        self.known(names.clone())?;
        let one = |name: &String| match self.shape.column(name) {
            Some(Shown::Base(column)) => Ok(column.clone()),
            Some(Shown::Computed { view, column, .. }) => Err(Error::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!("cannot {verb} column \"{column}\" of view \"{view}\""),
            )
            .with_detail("View columns that are not columns of their base relation are not updatable.")),
            None => Err(Error::internal("a column of a view is gone")),
        };
        names.map(one).collect()
    }

    fn known<'n>(&self, mut names: impl Iterator<Item = &'n String>) -> Result<()> {
        match names.find(|name| self.shape.column(name).is_none()) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", self.target.name),
            )),
        }
    }

    /// The bytes of tokens from one that starts somewhere.
    fn tokens(&self, start: usize, count: usize) -> Result<Range<usize>> {
        let first = self.tokens.at(start);
        let found =
            self.tokens.list.get(first..first + count).and_then(|t| Some(t.first()?.start..t.last()?.end));
        found.ok_or_else(|| Error::internal("a name of a view's column is not where it was"))
    }

    /// Puts what the view's columns are in the place of their names. False if a name might mean something else: a
    /// column that the view doesn't show, the view's row as a whole, something of another FROM item.
    fn names(&self, edits: &mut Edits) -> Result<bool> {
        let called = self.target.called();
        let mut scopes = self.statement.scopes.iter();
        let Some(own) = scopes.position(|s| s.items.iter().any(|i| i.table == Some(0))) else {
            return Ok(false);
        };
        let items =
            |scope: usize| self.statement.scopes.get(scope).map(|s| s.items.as_slice()).unwrap_or_default();
        if items(own).iter().filter(|i| i.name == called).count() > 1 {
            return Ok(false);
        }
        for column in &self.statement.columns {
            let (of, Some(name)) = column.parts() else { continue };
            let version = matches!(of, Some("excluded" | "old" | "new"));
            if !version && of.is_some_and(|of| of != called) {
                continue;
            }
            let reached = self.reached(column, own);
            if reached == Reached::Never {
                continue;
            }
            let Some(shown) = self.shape.column(name) else {
                let hidden = self.shape.table.schema.index_of(name).is_some() || name == called;
                if of.is_some() || hidden || matches!(name, "excluded" | "old" | "new") {
                    return Ok(false);
                }
                continue;
            };
            if of.is_some() && column.fields.len() > 2 {
                return Ok(false);
            }
            if *shown == Shown::Base(name.to_owned()) {
                continue;
            }
            // Another name on the table: it must be sure whose it is.
            let others = items(own).iter().filter(|i| i.table != Some(0));
            let alone = others.map(|i| self.has(i, name)).all(|has| has == Some(false));
            let sure = of.is_some() || (alone && reached == Reached::Surely);
            if !sure || !self.rename(edits, column, name, shown)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a name is looked for among what the statement's target and FROM have: the queries around it come
    /// one after the other, until something has it.
    fn reached(&self, column: &ColumnUse, own: usize) -> Reached {
        let (of, Some(name)) = column.parts() else { return Reached::Never };
        let mut reached = Reached::Surely;
        let mut at = column.scope;
        while let Some(index) = at {
            if index == own {
                return reached;
            }
            let Some(scope) = self.statement.scopes.get(index) else { break };
            for item in &scope.items {
                let same = item.name == of.unwrap_or(name);
                let has = if of.is_some() || same { Some(same) } else { self.has(item, name) };
                match has {
                    Some(true) => return Reached::Never,
                    Some(false) => {}
                    None => reached = Reached::Perhaps,
                }
            }
            at = scope.outer;
        }
        Reached::Never
    }

    /// Whether a FROM item has a column, if that is known.
    fn has(&self, item: &Item, name: &str) -> Option<bool> {
        let columns = self.columns.get(item.table?)?.as_ref()?;
        Some(columns.iter().any(|c| c == name))
    }

    /// Puts an expression in the place of a column that has another name in the table, or is computed.
    fn rename(&self, edits: &mut Edits, column: &ColumnUse, name: &str, shown: &Shown) -> Result<bool> {
        let of = match (column.parts().0, shown) {
            (Some(version @ ("excluded" | "old" | "new")), Shown::Base(_)) => version.to_owned(),
            (Some("excluded" | "old" | "new"), _) => return Ok(false),
            _ => self.alias.clone(),
        };
        edits.replace(self.tokens(column.start, 2 * column.fields.len() - 1)?, shown.text(&of));
        if let Some(item) = self.statement.unnamed.iter().find(|u| u.column == column.start) {
            edits.insert(item.end, format!(" AS {}", quote(name)));
        }
        Ok(true)
    }

    /// `*` in RETURNING shows the view's columns, then those of the other FROM items; false if they can't be told.
    fn stars(&self, edits: &mut Edits, stars: &[Star], others: Option<&[String]>) -> bool {
        let one = |(name, shown): &(String, Shown)| format!("{} AS {}", shown.text(&self.alias), quote(name));
        let own = self.shape.columns.iter().map(one).collect::<Vec<_>>().join(", ");
        for Star { range, qualifier } in stars {
            match (qualifier, others) {
                (None, Some(others)) => {
                    let rest: String = others.iter().map(|o| format!(", {}.*", quote(o))).collect();
                    edits.replace(range.clone(), format!("{own}{rest}"));
                }
                (None, None) => return false,
                (Some(name), _) if name == self.target.called() => edits.replace(range.clone(), own.clone()),
                (Some(name), _) if matches!(name.as_str(), "old" | "new") => return false,
                _ => {}
            }
        }
        true
    }
}
