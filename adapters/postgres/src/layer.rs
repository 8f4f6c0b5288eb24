//! Layers: what a branch lineage holds of a table, and rows brought up into it.

use std::collections::HashMap;

use deadpool_postgres::Object;
use epoch_adapter::{Layer, LayerSize, LineageId, Result, TableDef, View};

use crate::error::pg;
use crate::layout::{mask, overlay};
use crate::rows::Lookup;
use crate::text::{join, key, same_key, writable};
use crate::tx::Tx;

/// Records the lineage; a trigger on the overlay looks its base up.
pub(crate) async fn record(tx: &Tx, layer: Layer) -> Result<()> {
    let sql = format!(
        "INSERT INTO epoch.lineage (id, base) VALUES ({}, {}) ON CONFLICT DO NOTHING",
        layer.lineage.0, layer.base
    );
    tx.batch_execute(&sql).await.map_err(pg)
}

/// Says that a layer has begun.
pub(crate) async fn note(tx: &Tx, table: &TableDef, layer: Layer) -> Result<()> {
    let sql = format!(
        "INSERT INTO epoch.layer (lineage, table_id) VALUES ({}, {}) ON CONFLICT DO NOTHING",
        layer.lineage.0, table.id.0
    );
    tx.batch_execute(&sql).await.map_err(pg)
}

/// Copies the parent's layer as of the fork, once. Runs in one snapshot.
pub(crate) async fn copy_parent(tx: &Tx, table: &TableDef, layer: Layer, parent: &View) -> Result<()> {
    let lineage = layer.lineage.0;
    let entered = format!(
        "INSERT INTO epoch.layer (lineage, table_id) VALUES ({lineage}, {}) ON CONFLICT DO NOTHING",
        table.id.0
    );
    if tx.affected(&entered).await? == 0 {
        return Ok(());
    }
    let columns: Vec<_> = table.schema.columns.iter().filter(|c| !c.generated).collect();
    // The parent's part alone: its rows over a main that has none.
    let held = crate::rows::held(table, parent, &columns);
    let script = format!(
        "INSERT INTO {mask} (epoch_lineage, {key}) SELECT {lineage}, {key} FROM {mask} WHERE epoch_lineage = {parent};
         INSERT INTO {overlay} ({columns}, epoch_lineage, epoch_copied) SELECT {columns}, {lineage}, true FROM ({held}) p",
        mask = mask(table),
        overlay = overlay(table),
        key = key(table, ""),
        parent = parent.layer.lineage.0,
        columns = writable(table, ""),
    );
    tx.batch_execute(&script).await.map_err(pg)
}

/// Brings the rows of the keys in relation `keys` (SQL with the key's columns) up into the layer. The
/// mask is the gate: a second writer of a key waits there for the first.
pub(crate) fn copy_up(table: &TableDef, layer: Layer, keys: &str) -> String {
    let lineage = layer.lineage.0;
    let below = View { layer: Layer::MAIN, at: epoch_adapter::At::Ordinal(layer.base) };
    let lookup = Lookup::new(table, below, "c_");
    let columns: Vec<_> = table.schema.columns.iter().filter(|c| !c.generated).collect();
    format!(
        "WITH below AS MATERIALIZED (SELECT {found} FROM ({keys}) k{joins}
            LEFT JOIN LATERAL (SELECT m.epoch_lineage FROM {mask} m WHERE m.epoch_lineage = {lineage} AND {masked} OFFSET 0) m ON true
            WHERE ({exists}) AND m.epoch_lineage IS NULL),
         gate AS (INSERT INTO {mask} (epoch_lineage, {key}) SELECT {lineage}, {key} FROM below ORDER BY {key}
            ON CONFLICT DO NOTHING RETURNING {key})
         INSERT INTO {overlay} ({columns}, epoch_lineage, epoch_copied)
         SELECT {below_columns}, {lineage}, true FROM below b JOIN gate g ON {same}",
        found = join(&columns, ", ", |c| format!("{} AS {}", lookup.column(c), crate::layout::quote(&c.name))),
        joins = lookup.joins("k"),
        exists = lookup.exists(),
        mask = mask(table),
        masked = same_key(table, "m", "k"),
        key = key(table, ""),
        overlay = overlay(table),
        columns = writable(table, ""),
        below_columns = writable(table, "b."),
        same = same_key(table, "b", "g"),
    )
}

/// What lineages hold of a table, of one moment.
pub(crate) async fn sizes(
    client: &Object,
    table: &TableDef,
    lineages: &[LineageId],
) -> Result<HashMap<LineageId, LayerSize>> {
    let sql = format!(
        "SELECT epoch_lineage, sum(epoch_own)::int8, sum(epoch_masked)::int8 FROM (
             SELECT epoch_lineage, count(*) AS epoch_own, 0 AS epoch_masked FROM {} WHERE epoch_lineage = ANY ($1) GROUP BY 1
             UNION ALL SELECT epoch_lineage, 0, count(*) FROM {} WHERE epoch_lineage = ANY ($1) GROUP BY 1) epoch_x GROUP BY 1",
        overlay(table),
        mask(table)
    );
    let lineages: Vec<i64> = lineages.iter().map(|l| l.0).collect();
    let rows = client.query(&sql, &[&lineages]).await.map_err(pg)?;
    let size = |row: &tokio_postgres::Row| -> Result<(LineageId, LayerSize)> {
        let [lineage, rows, masked]: [i64; 3] =
            [row.try_get(0).map_err(pg)?, row.try_get(1).map_err(pg)?, row.try_get(2).map_err(pg)?];
        Ok((LineageId(lineage), LayerSize { rows, masked }))
    };
    rows.iter().map(size).collect()
}
