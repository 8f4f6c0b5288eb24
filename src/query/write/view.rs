//! Writing through a view that shows rows and columns of one registered table under their own names: the
//! table stands in the place of the view's name, with the view's condition.

use std::sync::Arc;

use epoch_adapter::TableDef;
use epoch_adapter_postgres::layout::{base, literal, quote};

use super::width;
use crate::query::names::{Catalog, Meaning};
use crate::query::parse::{self, Kind, Modify, Output, Role, Simple, Star, Statement, TableRef};
use crate::query::plan::Context;
use crate::query::text::{Edits, Kept};
use crate::query::{check, views};
use crate::{Error, Result, sqlstate};

/// A statement with the table in the view's place.
pub(in crate::query) struct Unfolded {
    pub text: String,
    /// Where the client's text stands in it.
    pub kept: Kept,
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
    // It is asked for as if it were read.
    let read = TableRef { role: Role::Read, ..target.clone() };
    let Some(definition) = views::definition(ctx, &read) else { return Ok(None) };
    let Some(view) = View::of(ctx, catalog, target, &definition).await? else { return Ok(None) };
    if !matches!(statement.kind, Kind::Delete(_)) && view.checked {
        return Ok(None);
    }
    let width = match &statement.kind {
        Kind::Insert(insert) => width::of_source(ctx, catalog, statement, &insert.source).await?,
        _ => None,
    };
    let Some(edits) = view.edits(statement, width)? else { return Ok(None) };
    let (text, kept) = edits.render(sql, &statement.range);
    Ok(Some(Unfolded { text, kept }))
}

struct View<'a> {
    target: &'a TableRef,
    table: Arc<TableDef>,
    columns: Vec<String>,
    /// Its WHERE, over the target's alias.
    condition: Option<String>,
    /// WITH CHECK OPTION.
    checked: bool,
}

impl<'a> View<'a> {
    async fn of(
        ctx: &mut Context<'_>,
        catalog: &mut dyn Catalog,
        target: &'a TableRef,
        definition: &str,
    ) -> Result<Option<Self>> {
        let (parsed, simple) = (parse::parse(definition)?, parse::simple(definition));
        let ([query], Some(simple)) = (parsed.statements.as_slice(), simple) else { return Ok(None) };
        let tables = ctx.repository.tables(ctx.checkout);
        ctx.names.learn(&[query], &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
        check::statement(ctx, query)?;
        let [source] = query.tables.as_slice() else { return Ok(None) };
        if source.only {
            return Ok(None);
        }
        let (Meaning::Registered(table), 1) = (ctx.names.table(source), query.scopes.len()) else {
            return Ok(None);
        };
        let own = |output: &Output| match output {
            Output::Column { column, name, .. } => (column == name).then(|| name.clone()),
            _ => None,
        };
        let columns: Option<Vec<String>> = simple.outputs.iter().map(own).collect();
        let (Some(columns), Some(checked)) = (columns, is_checked(catalog, target).await?) else {
            return Ok(None);
        };
        let condition = condition(definition, query, &simple, target);
        Ok(Some(Self { target, table, columns, condition, checked }))
    }

    fn edits(&self, statement: &Statement, width: Option<usize>) -> Result<Option<Edits>> {
        if !self.names_are_clear(statement)? {
            return Ok(None);
        }
        let mut edits = Edits::default();
        let alias = quote(self.target.called());
        let named = if self.target.alias.is_some() { String::new() } else { format!(" AS {alias}") };
        edits.replace(self.target.range.clone(), format!("{}{named}", base(&self.table)));
        let all: Vec<String> = self.columns.iter().map(|c| quote(c)).collect();
        let (stars, others) = match &statement.kind {
            Kind::Insert(insert) => {
                let sets = insert.conflict.iter().flat_map(|c| c.sets.iter().chain(&c.columns));
                self.check(insert.columns.iter().chain(sets))?;
                if let Some(at) = insert.list_at {
                    let given: Vec<String> = all.iter().take(width.unwrap_or(usize::MAX)).cloned().collect();
                    edits.insert(at, format!(" ({})", given.join(", ")));
                }
                (&insert.stars, Some(Vec::new()))
            }
            Kind::Update(modify) | Kind::Delete(modify) if modify.cursor.is_none() => {
                self.check(modify.sets.iter())?;
                self.narrow(&mut edits, modify);
                (&modify.stars, modify.starrable.clone())
            }
            _ => return Ok(None),
        };
        let own: Vec<String> = all.iter().map(|c| format!("{alias}.{c}")).collect();
        for Star { range, qualifier } in stars {
            match (qualifier, &others) {
                (None, Some(others)) => {
                    let rest: String = others.iter().map(|o| format!(", {}.*", quote(o))).collect();
                    edits.replace(range.clone(), format!("{}{rest}", own.join(", ")));
                }
                (None, None) => return Ok(None),
                (Some(name), _) if name == self.target.called() => {
                    edits.replace(range.clone(), own.join(", "));
                }
                (Some(name), _) if matches!(name.as_str(), "old" | "new") => return Ok(None),
                _ => {}
            }
        }
        Ok(Some(edits))
    }

    /// Adds the view's condition.
    fn narrow(&self, edits: &mut Edits, modify: &Modify) {
        let Some(condition) = &self.condition else { return };
        match &modify.condition {
            Some(own) => {
                edits.insert(own.start, "(");
                edits.insert(own.end, format!(") AND ({condition}\n)"));
            }
            None => edits.insert(modify.end, format!(" WHERE ({condition}\n)")),
        }
    }

    /// Columns that are written to must be the view's.
    fn check<'n>(&self, mut written: impl Iterator<Item = &'n String>) -> Result<()> {
        match written.find(|name| !self.columns.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", self.target.name),
            )),
        }
    }

    /// Whether no name in the statement would mean something else on the table: a column that the view
    /// doesn't show, the view's row as a whole, a second thing of its name.
    fn names_are_clear(&self, statement: &Statement) -> Result<bool> {
        let called = self.target.called();
        let same = statement.scopes.iter().flat_map(|s| &s.items).filter(|i| i.name == called).count();
        if same > 1 {
            return Ok(false);
        }
        for column in &statement.columns {
            let (of, Some(name)) = column.parts() else { continue };
            let hidden = !self.columns.iter().any(|c| c == name);
            let there = self.table.schema.index_of(name).is_some();
            match of {
                Some("excluded" | "old" | "new") if hidden => return Ok(false),
                Some(of) if of == called && (hidden || column.fields.len() > 2) => return Ok(false),
                None if hidden && (there || name == called) => return Ok(false),
                None if matches!(name, "excluded" | "old" | "new") && hidden => return Ok(false),
                _ => {}
            }
        }
        Ok(true)
    }
}

/// A view's condition, with its columns named after the target's alias.
fn condition(definition: &str, query: &Statement, simple: &Simple, target: &TableRef) -> Option<String> {
    let range = simple.condition.as_ref()?;
    let alias = quote(target.called());
    let mut edits = Edits::default();
    for column in query.columns.iter().filter(|c| range.contains(&c.start)) {
        let name = column.fields.last().and_then(Option::as_deref).map_or_else(|| "*".to_owned(), quote);
        let tokens = 2 * column.fields.len() - 1;
        let text = definition.get(column.start..).unwrap_or_default();
        let end = crate::query::lexer::tokens(text).ok()?.list.get(tokens - 1)?.end;
        edits.replace(column.start..column.start + end, format!("{alias}.{name}"));
    }
    Some(edits.render(definition, range).0)
}

/// Whether new rows are checked against the view's condition; `None` if it has triggers, rules or defaults of
/// its own.
async fn is_checked(catalog: &mut dyn Catalog, target: &TableRef) -> Result<Option<bool>> {
    let schema = target.schema.as_ref().map_or_else(String::new, |s| format!("{}.", quote(s)));
    let name = literal(&format!("{schema}{}", quote(&target.name)));
    let rows = catalog
        .query(&format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.unnest(c.reloptions) o(o) WHERE o LIKE 'check_option=%'), \
             EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid) \
             OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1') \
             OR EXISTS (SELECT FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid) \
             FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass({name})"
        ))
        .await?;
    let cell = |i: usize| rows.first().and_then(|row| row.get(i)).and_then(Option::as_deref);
    Ok((cell(1) == Some("f")).then(|| cell(0) == Some("t")))
}
