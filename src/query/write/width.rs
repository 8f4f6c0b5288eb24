//! How many columns the rows of an INSERT have: those that aren't ours to give must not be given.

use epoch_adapter_postgres::layout::{literal, quote};

use crate::query::names::{Catalog, Meaning};
use crate::query::parse::{Source, Statement, TableRef, Width};
use crate::query::plan::Context;
use crate::{Error, Result};

/// The number of values per row, if it can be told.
pub(super) async fn of_source(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    source: &Source,
) -> Result<Option<usize>> {
    match source {
        Source::Default => Ok(Some(0)),
        Source::Values(rows) => Ok(rows.first().map(Vec::len)),
        Source::Query(_, width) => of(ctx, catalog, statement, width.as_ref()).await,
    }
}

/// The number of columns, with those of its tables.
pub(super) async fn of(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    width: Option<&Width>,
) -> Result<Option<usize>> {
    let Some(width) = width else { return Ok(None) };
    let mut sum = width.fixed;
    for table in width.tables.iter().filter_map(|&i| statement.tables.get(i)) {
        match ctx.names.table(table) {
            Meaning::Registered(def) => sum += def.schema.columns.len(),
            _ => match of_table(catalog, table).await? {
                Some(columns) => sum += columns,
                None => return Ok(None),
            },
        }
    }
    Ok(Some(sum))
}

/// The number of columns of another relation; `None` if there is no such one.
async fn of_table(catalog: &mut dyn Catalog, table: &TableRef) -> Result<Option<usize>> {
    let schema = table.schema.as_ref().map_or_else(String::new, |s| format!("{}.", quote(s)));
    let name = format!("{schema}{}", quote(&table.name));
    let rows = catalog
        .query(&format!(
            "SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = pg_catalog.to_regclass({}) \
             AND a.attnum > 0 AND NOT a.attisdropped",
            literal(&name)
        ))
        .await?;
    let cell = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
    let count: Option<usize> = cell.and_then(|count| count.parse().ok());
    let count =
        count.ok_or_else(|| Error::internal("the server's catalog answered in an unexpected form"))?;
    Ok((count > 0).then_some(count))
}
