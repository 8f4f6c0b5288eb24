//! Layers: what a branch lineage holds of a table, and where a nested branch's one comes from.

use epoch_adapter::{At, Layer, Result, View};
use epoch_layers::view::Filter;
use rusqlite::Connection;

use crate::error::map;
use crate::layout::{LINEAGE, list};
use crate::meta::Meta;
use crate::view::{bind, own};
use crate::write::layer_exists;

/// Makes a layer, in the transaction of `conn`: one row, and (for a nested branch) a copy of the parent's layer as of the
/// fork. Does nothing if the layer is there.
pub(crate) fn ensure(conn: &Connection, meta: &Meta, layer: Layer, parent: Option<&View>) -> Result<()> {
    if layer.is_main() || layer_exists(conn, meta.id(), layer)? {
        return Ok(());
    }
    let parent = parent.filter(|p| !p.layer.is_main());
    let at = parent.map(|p| match p.at {
        At::Ordinal(s) => s,
        At::Working => i64::MAX,
    });
    conn.execute(
        "INSERT INTO epoch_lineage (table_id, lineage, base, parent, parent_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        (meta.id().0, layer.lineage.0, layer.base, parent.map(|p| p.layer.lineage.0), at),
    )
    .map_err(map)?;
    match parent {
        Some(parent) => copy(conn, meta, layer, parent),
        None => Ok(()),
    }
}

fn copy(conn: &Connection, meta: &Meta, layer: Layer, parent: &View) -> Result<()> {
    let lineage = layer.lineage.0;
    let mut names = Vec::new();
    for i in &meta.writable {
        names.push(meta.column(*i)?);
    }
    for arm in own(conn, meta, parent.layer.lineage, parent.at)? {
        let what = format!("{}, {lineage}, 1", list("x", names.iter().copied()));
        let (select, params) = arm.select(&what, &Filter::default(), None);
        let into = list("", names.iter().copied());
        let sql = format!("INSERT INTO {} ({into}, {LINEAGE}, epoch_copied) {select}", meta.overlay);
        conn.execute(&sql, bind(&params)).map_err(map)?;
    }
    let keys = list("", meta.key.iter().map(String::as_str));
    let sql = format!(
        "INSERT INTO {0} ({LINEAGE}, {keys}) SELECT ?1, {keys} FROM {0} WHERE {LINEAGE} = ?2",
        meta.mask
    );
    conn.execute(&sql, [lineage, parent.layer.lineage.0]).map_err(map)?;
    Ok(())
}
