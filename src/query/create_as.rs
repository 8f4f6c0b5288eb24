//! CREATE TABLE AS and SELECT INTO on a branch: the query runs into a temporary table, whose columns the new
//! table gets, and then its rows.
//!
//! A versioned table needs a key, and PostgreSQL gives such a table none. So it gets one where the result is known to
//! have one: the key of the one table that the query reads, or the columns that it groups by.

use std::sync::Arc;

use epoch_adapter::TableDef;
use epoch_adapter_postgres::layout::literal;

use super::lexer::TokenKind;
use super::names::{Catalog, Meaning};
use super::parse::{self, Keys, Shown, Statement};
use super::plan::Context;
use super::text::{Edits, Kept};
use crate::{Error, Result};

/// The temporary table.
pub const ROWS: &str = "pg_temp.epoch_as";

/// A table to be made of what a query returns.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateAs {
    /// The schema, if it is written.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Not WITH NO DATA.
    pub with_data: bool,
    /// UNLOGGED.
    pub unlogged: bool,
    /// The statement that makes [`ROWS`].
    pub text: String,
    /// The places of the columns that are the table's key, from 0; `None` if none is known.
    pub key: Option<Vec<usize>>,
    kept: Kept,
}

impl CreateAs {
    /// The position in the client's text of an error in [`CreateAs::text`] (characters from 1).
    pub fn position(&self, client: &str, position: usize) -> usize {
        self.kept.position(client, &self.text, position)
    }

    /// 42830, as for a table without a key.
    pub fn keyless(&self) -> Error {
        Error::new("42830", format!("table \"{}\" has no usable key", self.name))
            .with_detail(
                "The query is not known to return unique, not-null values: neither the key of the only table that it reads, nor what it groups by.",
            )
            .with_hint("CREATE TABLE with a primary key, then INSERT INTO … SELECT.")
    }
}

pub(super) async fn action(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    statement: &Statement,
    made: &parse::CreateAs,
) -> Result<super::define::Action> {
    if made.stored {
        return Err(Error::unsupported(
            "CREATE TABLE AS with USING, WITH, ON COMMIT or TABLESPACE on a branch",
        ));
    }
    let parsed = super::lexer::tokens(sql)?;
    let inside = |at: usize| statement.range.contains(&at);
    if parsed.list.iter().any(|t| t.kind == TokenKind::Param && inside(t.start)) {
        return Err(Error::unsupported("CREATE TABLE AS with parameters on a branch"));
    }
    let mut edits = Edits::default();
    let head = if made.into { "INTO TEMPORARY TABLE" } else { "CREATE TEMPORARY TABLE" };
    edits.replace(made.head.clone(), format!("{head} {ROWS}"));
    let (text, kept) = edits.render(sql, &statement.range);
    let key = match &made.keys {
        Some(keys) => key(ctx, catalog, statement, keys).await?,
        None => None,
    };
    Ok(super::define::Action::CreateAs(CreateAs {
        schema: made.schema.clone(),
        name: made.name.clone(),
        if_not_exists: made.if_not_exists,
        with_data: made.with_data,
        unlogged: made.unlogged,
        text,
        key,
        kept,
    }))
}

/// The places of columns that are unique and not null in the result.
async fn key(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    keys: &Keys,
) -> Result<Option<Vec<usize>>> {
    let Some(source) = statement.tables.get(keys.table) else { return Ok(None) };
    let Meaning::Registered(table) = ctx.names.table(source) else { return Ok(None) };
    let wanted = match &keys.grouped {
        Some(columns) => columns.clone(),
        None => table.schema.key_names(),
    };
    let Some(places) = places(&table, keys, &wanted) else { return Ok(None) };
    if keys.grouped.is_none() && returns_sets(catalog, &keys.functions).await? {
        return Ok(None);
    }
    Ok(Some(places))
}

/// Where the columns are returned, if they all are and can't be NULL.
fn places(table: &Arc<TableDef>, keys: &Keys, wanted: &[String]) -> Option<Vec<usize>> {
    let mut shown: Vec<Option<&str>> = Vec::new();
    for item in &keys.shown {
        match item {
            Shown::Star => shown.extend(table.schema.columns.iter().map(|c| Some(c.name.as_str()))),
            Shown::Column(name) => shown.push(Some(name)),
            Shown::Other => shown.push(None),
        }
    }
    let place = |name: &String| {
        let column = table.schema.columns.iter().find(|c| c.name == *name)?;
        shown.iter().position(|s| *s == Some(name)).filter(|_| !column.nullable)
    };
    let places: Vec<usize> = wanted.iter().map(place).collect::<Option<_>>()?;
    (!places.is_empty()).then_some(places)
}

/// Whether one of these functions may return a set, which makes several rows of one.
async fn returns_sets(catalog: &mut dyn Catalog, functions: &[String]) -> Result<bool> {
    if functions.is_empty() {
        return Ok(false);
    }
    let names: Vec<String> = functions.iter().map(|f| literal(f)).collect();
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.proretset AND p.proname IN ({}))",
        names.join(", ")
    );
    let rows = catalog.query(&sql).await?;
    Ok(rows.first().and_then(|r| r.first()).and_then(Option::as_deref) != Some("f"))
}
