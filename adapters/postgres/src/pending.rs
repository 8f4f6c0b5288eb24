//! Work that no commit holds yet.

use std::sync::Arc;

use deadpool_postgres::Object;
use epoch_adapter::{Layer, Result, TableDef, TableId, TableStats};

use crate::diff::counts;
use crate::error::pg;
use crate::layout::{PENDING, base, history, overlay};
use crate::text::{columns, join, key, same_key};
use crate::tx::texts;

/// Net changes per table that has any.
pub(crate) async fn pending(
    client: &Object,
    tables: &[Arc<TableDef>],
    layer: Layer,
) -> Result<Vec<(TableId, TableStats)>> {
    let mut out = Vec::new();
    for table in with_pending(client, tables, layer).await? {
        let rows = texts(client, &net_sql(table, layer)).await?;
        let stats = rows.first().map(|row| counts(row)).unwrap_or_default();
        if stats.rows() > 0 {
            out.push((table.id, stats));
        }
    }
    Ok(out)
}

/// The tables with pending images: one statement for all.
pub(crate) async fn with_pending<'a>(
    client: &Object,
    tables: &'a [Arc<TableDef>],
    layer: Layer,
) -> Result<Vec<&'a Arc<TableDef>>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    Ok(seen(client, tables, layer).await?.1)
}

/// A snapshot, and the tables with pending images that it shows.
pub(crate) async fn seen<'a>(
    client: &Object,
    tables: &'a [Arc<TableDef>],
    layer: Layer,
) -> Result<(String, Vec<&'a Arc<TableDef>>)> {
    let there = |t: &Arc<TableDef>| {
        format!(
            "SELECT {}::int8 WHERE EXISTS (SELECT FROM {} h WHERE h.epoch_lineage = $1 AND h.epoch_to = {PENDING} AND h.epoch_seq >= '0/0')",
            t.id.0,
            history(t)
        )
    };
    let none = "SELECT $1::int8 WHERE false".to_owned();
    let ids = if tables.is_empty() { none } else { join(tables, " UNION ALL ", there) };
    let sql = format!("SELECT pg_current_snapshot()::text, ARRAY({ids})");
    // Cached by its text: with many tables, planning is most of the cost.
    let statement = client.prepare_cached(&sql).await.map_err(pg)?;
    let row = client.query_one(&statement, &[&layer.lineage.0]).await.map_err(pg)?;
    let ids: Vec<i64> = row.try_get(1).map_err(pg)?;
    let touched = ids.iter().filter_map(|id| tables.iter().find(|t| t.id.0 == *id)).collect();
    Ok((row.try_get(0).map_err(pg)?, touched))
}

/// The row of key `k` in the layer's working state, as a lateral sub-select. `lineage`: the layer's, as an expression.
pub(crate) fn current(table: &TableDef, layer: Layer, lineage: &str, k: &str) -> String {
    let from = if layer.is_main() {
        format!("{} b WHERE {}", base(table), same_key(table, "b", k))
    } else {
        format!("{} b WHERE b.epoch_lineage = {lineage} AND {}", overlay(table), same_key(table, "b", k))
    };
    format!("SELECT true AS epoch_there, {} FROM {from}", images(table, "b"))
}

/// The columns as history holds them: domains as their base types.
pub(crate) fn images(table: &TableDef, alias: &str) -> String {
    join(&table.schema.columns, ", ", |c| {
        let name = crate::layout::quote(&c.name);
        if c.type_name == c.pg_type {
            format!("{alias}.{name}")
        } else {
            format!("{alias}.{name}::{} AS {name}", c.pg_type)
        }
    })
}

fn net_sql(table: &TableDef, layer: Layer) -> String {
    format!(
        "SELECT count(*) FILTER (WHERE NOT f.epoch_existed AND b.epoch_there), \
         count(*) FILTER (WHERE f.epoch_existed AND b.epoch_there AND NOT (ROW({f})::pg_catalog.record OPERATOR(pg_catalog.*=) ROW({b})::pg_catalog.record)), \
         count(*) FILTER (WHERE f.epoch_existed AND b.epoch_there IS NULL) \
         FROM (SELECT DISTINCT ON ({key}) h.* FROM {history} h WHERE h.epoch_lineage = {lineage} AND h.epoch_to = {PENDING} AND h.epoch_seq >= '0/0' \
         ORDER BY {key}, h.epoch_seq) f LEFT JOIN LATERAL ({current} OFFSET 0) b ON true",
        f = columns(table, "f."),
        b = columns(table, "b."),
        key = key(table, "h."),
        history = history(table),
        lineage = layer.lineage.0,
        current = current(table, layer, &layer.lineage.0.to_string(), "f"),
    )
}
