//! A query that groups by the primary key of a table may show all of the table's columns. In the place of the table's name a
//! relation without a key is read on a branch: there, the columns that the query shows are grouped by too, which makes
//! the same groups.

use std::sync::Arc;

use epoch_adapter::{Column, TableDef};
use epoch_adapter_postgres::layout::quote;

use super::names::Meaning;
use super::parse::{GroupKey, Grouped, Role, Statement};
use super::plan::Context;
use super::rewrite::Rewriter;
use crate::Result;

/// Types whose values can't be grouped.
const NOT_COMPARED: &[&str] =
    &["json", "jsonpath", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "refcursor"];

/// Puts the columns of tables that are grouped by their primary key into GROUP BY.
pub(super) fn columns(ctx: &Context<'_>, rewriter: &mut Rewriter<'_>) -> Result<()> {
    let statement = rewriter.statement;
    for query in &statement.grouped {
        for (item, table) in tables(ctx, statement, query) {
            if !ctx.repository.view(ctx.checkout, &table)?.is_plain()
                && let Some(at) = grouped_at(ctx, statement, query, &item, &table)
            {
                rewriter.edits.insert(at, more(ctx, statement, query, &item, &table));
            }
        }
    }
    Ok(())
}

/// The registered tables in the query's FROM, by the names of the items.
fn tables(ctx: &Context<'_>, statement: &Statement, query: &Grouped) -> Vec<(String, Arc<TableDef>)> {
    let items = statement.scopes.get(query.scope).map(|scope| scope.items.as_slice()).unwrap_or_default();
    let one = |item: &super::parse::Item| {
        let table = statement.tables.get(item.table?).filter(|table| table.role == Role::Read)?;
        let alone = items.iter().filter(|other| other.name == item.name).count() == 1;
        match ctx.names.table(table) {
            Meaning::Registered(def) if alone && !query.renamed.contains(&item.name) => {
                Some((item.name.clone(), def))
            }
            _ => None,
        }
    };
    items.iter().filter_map(one).collect()
}

/// Where more columns can be put, if the query groups by the primary key of a table.
fn grouped_at(
    ctx: &Context<'_>,
    statement: &Statement,
    query: &Grouped,
    item: &str,
    table: &TableDef,
) -> Option<usize> {
    let primary = ctx.names.facts(table)?.primary();
    let keys: Vec<GroupKey> = query.keys.iter().map(|key| shown_as(ctx, statement, query, key)).collect();
    let by = |column: &str| {
        let is = |key: &&GroupKey| key.name == column && key.of.as_ref().is_none_or(|of| of == item);
        keys.iter().find(is).map(|key| key.at)
    };
    let places: Vec<usize> = primary.iter().map(|column| by(column)).collect::<Option<_>>()?;
    places.into_iter().min()
}

/// A name alone may be that of an item of the select list, if no table has such a column.
fn shown_as(ctx: &Context<'_>, statement: &Statement, query: &Grouped, key: &GroupKey) -> GroupKey {
    let has = |(_, table): &(String, Arc<TableDef>)| table.schema.index_of(&key.name).is_some();
    if key.of.is_some() || tables(ctx, statement, query).iter().any(has) {
        return key.clone();
    }
    let output = query.outputs.iter().find(|(name, _)| name.as_ref() == Some(&key.name));
    match output {
        Some((_, Some(shown))) => GroupKey { at: key.at, ..shown.clone() },
        _ => key.clone(),
    }
}

/// The table's columns that the query shows, without those of the key, which are grouped by anyway.
fn more(ctx: &Context<'_>, statement: &Statement, query: &Grouped, item: &str, table: &TableDef) -> String {
    let primary = ctx.names.facts(table).map(|facts| facts.primary()).unwrap_or_default();
    let starred = query.stars.iter().any(|star| star.as_ref().is_none_or(|of| of == item));
    let used = |column: &Column| {
        let uses = query.uses.iter().filter_map(|&i| statement.columns.get(i));
        uses.map(|column| column.parts())
            .any(|(of, name)| name == Some(column.name.as_str()) && of.is_none_or(|of| of == item))
    };
    let kind = |column: &Column| {
        let name = column.pg_type.split(['[', '(']).next().unwrap_or_default().trim_end();
        NOT_COMPARED.contains(&name.strip_prefix("pg_catalog.").unwrap_or(name))
    };
    let shown = |column: &&Column| {
        !primary.contains(&column.name.as_str()) && !kind(column) && (starred || used(column))
    };
    let columns = table.schema.columns.iter().filter(shown);
    columns.map(|column| format!("{}.{}, ", quote(item), quote(&column.name))).collect()
}
