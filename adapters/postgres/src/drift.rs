//! Whether tables are still as capture needs them. What somebody did to the table's columns or to our
//! triggers past us can't be undone here, and what was written meanwhile isn't known: from then on the
//! table is refused on branches, instead of showing rows that the branch never had.

use std::sync::{Arc, LazyLock};

use deadpool_postgres::Object;
use epoch_adapter::{Error, REWRITTEN, Result, TableDef, TableId, at_home};
use futures::join;

use crate::error::pg;
use crate::text::fill;
use crate::written;

const DRIFT_SQL: &str = include_str!("../../../sql/postgres/drift.sql");

/// [`DRIFT_SQL`] with the traces of each table.
static LOOK: LazyLock<String> =
    LazyLock::new(|| fill(DRIFT_SQL, &[("traces", &written::traces_sql("t.oid")), ("marks", MARKS)]));
/// Triggers that only tables with partitions, and these, have (`capture_triggers.sql`).
const MARKS: &str = "ARRAY['zz_epoch_mark_insert', 'zz_epoch_mark_update', 'zz_epoch_mark_delete']";

/// What one look at the catalog found.
#[derive(Default)]
pub(crate) struct Found {
    /// Tables that drifted, and what of each did.
    pub drifted: Vec<(TableId, String)>,
    /// Tables with partitions that have no triggers of ours yet.
    pub unadopted: Vec<Arc<TableDef>>,
    /// Whether any of them is partitioned.
    pub partitioned: bool,
}

/// Looks at all of `tables` with one query.
pub(crate) async fn look(client: &Object, tables: &[Arc<TableDef>]) -> Result<Found> {
    let mut found = Found::default();
    if tables.is_empty() {
        return Ok(found);
    }
    let ids: Vec<i64> = tables.iter().map(|t| t.id.0).collect();
    let schemas: Vec<&str> =
        tables.iter().map(|t| t.location.schema.as_deref().unwrap_or("public")).collect();
    let names: Vec<&str> = tables.iter().map(|t| t.location.table.as_str()).collect();
    let keys: Vec<String> = tables.iter().map(|t| array(&t.schema.key_names())).collect();
    let look = async {
        let statement = client.prepare_cached(&LOOK).await.map_err(pg)?;
        client.query(&statement, &[&ids, &schemas, &names, &keys]).await.map_err(pg)
    };
    // Of another layout nothing else can be asked.
    let (other, rows) = join!(crate::install::other_layout(client), look);
    if let Some(reason) = other? {
        found.drifted = tables.iter().map(|t| (t.id, reason.clone())).collect();
        return Ok(found);
    }
    let rows = rows?;
    for table in tables {
        let mut reason = Some("the table was dropped or renamed".to_owned());
        for row in &rows {
            if row.try_get::<_, i64>(0).map_err(pg)? != table.id.0 {
                continue;
            }
            reason = changed(table, row)?;
            if reason.is_none() {
                reason = rewritten(client, table, row).await?;
            }
            found.partitioned |= row.try_get::<_, bool>(6).map_err(pg)?;
            if row.try_get::<_, bool>(7).map_err(pg)? {
                found.unadopted.push(Arc::clone(table));
            }
        }
        found.drifted.extend(reason.map(|reason| (table.id, reason)));
    }
    Ok(found)
}

/// The first thing that is different.
fn changed(table: &TableDef, row: &tokio_postgres::Row) -> Result<Option<String>> {
    let names: Vec<String> = row.try_get(1).map_err(pg)?;
    let types: Vec<String> = row.try_get(2).map_err(pg)?;
    let generated: Vec<bool> = row.try_get(3).map_err(pg)?;
    let now: Vec<(&str, &str, bool)> =
        names.iter().zip(&types).zip(generated).map(|((n, t), g)| (n.as_str(), t.as_str(), g)).collect();
    if let Some(reason) = columns_changed(table, &now) {
        return Ok(Some(reason));
    }
    let gone: Option<String> = row.try_get(5).map_err(pg)?;
    if let Some(name) = gone {
        return Ok(Some(format!("partition {name} was detached or dropped")));
    }
    if row.try_get(8).map_err(pg)? {
        return Ok(Some("a subscription writes to it".to_owned()));
    }
    if !row.try_get::<_, bool>(9).map_err(pg)? {
        return Ok(Some(format!("the key ({}) is no longer unique", table.schema.key_names().join(", "))));
    }
    if row.try_get(10).map_err(pg)? {
        return Ok(Some("a table inherits from it".to_owned()));
    }
    if let Some(what) = row.try_get::<_, Option<String>>(11).map_err(pg)? {
        return Ok(Some(format!("it {what}")));
    }
    if let Some(parent) = row.try_get::<_, Option<String>>(12).map_err(pg)? {
        return Ok(Some(format!("it became a part of {parent}")));
    }
    if row.try_get(13).map_err(pg)? {
        return Ok(Some("a column was dropped and made again, or has the name of another".to_owned()));
    }
    row.try_get(4).map_err(pg)
}

/// Whether somebody wrote the rows of a table anew that looks as it did.
async fn rewritten(client: &Object, table: &TableDef, row: &tokio_postgres::Row) -> Result<Option<String>> {
    let (known, now) = (row.try_get(14).map_err(pg)?, row.try_get(15).map_err(pg)?);
    let column = written::look(client, table, known, now).await?;
    Ok(column.map(|column| format!("{REWRITTEN} by a change of column \"{column}\"")))
}

/// The text of an array.
fn array(items: &[String]) -> String {
    let quoted = |item: &String| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""));
    format!("{{{}}}", items.iter().map(quoted).collect::<Vec<_>>().join(","))
}

fn columns_changed(table: &TableDef, now: &[(&str, &str, bool)]) -> Option<String> {
    for column in &table.schema.columns {
        let Some((_, type_name, generated)) = now.iter().find(|(name, ..)| *name == column.name) else {
            return Some(format!("column \"{}\" was dropped or renamed", column.name));
        };
        // A type that comes to main has its name there first in the backend.
        let same = || at_home(type_name) == at_home(&column.type_name);
        if *type_name != column.type_name && !same() {
            return Some(format!(
                "column \"{}\" has the type {type_name}, no longer {}",
                column.name, column.type_name
            ));
        }
        if *generated != column.generated {
            let verb = if *generated { "became" } else { "is no longer" };
            return Some(format!("column \"{}\" {verb} generated", column.name));
        }
    }
    let new = now.iter().find(|(name, ..)| table.schema.index_of(name).is_none())?;
    Some(format!("column \"{}\" was added", new.0))
}

/// 55000 if one of `tables` drifted; else what [`look`] found.
pub(crate) async fn check(client: &Object, tables: &[Arc<TableDef>]) -> Result<Found> {
    let found = look(client, tables).await?;
    let Some((id, reason)) = found.drifted.first() else { return Ok(found) };
    let table = tables.iter().find(|t| t.id == *id);
    Err(Error::drifted(&table.map(|t| t.name.to_string()).unwrap_or_default(), reason))
}
