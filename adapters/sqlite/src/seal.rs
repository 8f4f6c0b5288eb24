//! Publishing: apply a merge's changes, then move pending images under the new ordinal.

use std::sync::Arc;

use epoch_adapter::{
    Error, Layer, Ordinal, Result, Row, RowChange, RowWrite, SealMode, Sealed, TableChanges, TableDef,
    TableId, TableStats, Value, sqlstate,
};
use epoch_layers::digest::{feed, finish};
use epoch_layers::errors::{changed_since, key_text, texts};
use epoch_layers::merge::{in_place, out_and_in, same};
use epoch_layers::net::Net;
use epoch_layers::view::Filter;
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::drift;
use crate::error::map;
use crate::layer::ensure;
use crate::layout::{LINEAGE, PENDING, equal, list, quote};
use crate::meta::{Catalog, Meta};
use crate::view::{bind, cell, value};
use crate::write::Writer;

/// One publication.
pub(crate) struct Seal<'a> {
    pub operation: &'a str,
    pub tables: &'a [Arc<TableDef>],
    pub layer: Layer,
    pub ordinal: Ordinal,
    pub changes: &'a [TableChanges],
    pub mode: SealMode,
}

/// The result of an operation that took place.
pub(crate) fn sealed(conn: &Connection, operation: &str) -> Result<Option<Sealed>> {
    if !crate::meta::exists(conn, "epoch_seal")? {
        return Ok(None);
    }
    let text: Option<String> = conn
        .query_row("SELECT result FROM epoch_seal WHERE operation = ?1", [operation], |r| r.get(0))
        .optional()
        .map_err(map)?;
    let read = |t: String| {
        serde_json::from_str(&t)
            .map_err(|e| Error::new(sqlstate::DATA_CORRUPTED, format!("epoch_seal is damaged: {e}")))
    };
    text.map(read).transpose()
}

/// Runs in a write transaction of `conn` with foreign keys off, which the caller commits.
pub(crate) fn run(conn: &Connection, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<Sealed> {
    if let Some(done) = sealed(conn, seal.operation)? {
        return Ok(done);
    }
    apply(conn, catalog, seal)?;
    let other = first_other(conn, catalog, seal)?;
    if let (SealMode::Exact, Some(error)) = (seal.mode, &other) {
        return Err(error.clone());
    }
    let mut out = Sealed { altered: other.is_some(), ..Sealed::default() };
    for table in seal.tables {
        let changed = seal.changes.iter().any(|c| c.table.id == table.id);
        if !changed && !seal.layer.is_main() && drift::untouched(conn, catalog, table.id, seal.layer)? {
            continue;
        }
        let meta = catalog.get(table)?;
        let own = seal.mode.is_own();
        if own && !seal.changes.iter().any(|c| c.table.id == meta.id() && !c.changes.is_empty()) {
            continue;
        }
        let (stats, digest) = publish(conn, &meta, seal, own)?;
        if stats.rows() > 0 {
            out.tables.push((meta.id(), stats, digest));
        }
    }
    let text = serde_json::to_string(&out).map_err(|e| Error::internal(e.to_string()))?;
    conn.execute(
        "INSERT INTO epoch_seal (operation, lineage, ordinal, result) VALUES (?1, ?2, ?3, ?4)",
        (seal.operation, seal.layer.lineage.0, seal.ordinal, text),
    )
    .map_err(map)?;
    Ok(out)
}

/// Puts the changes into the working rows, after comparing each with the row it was computed from.
fn apply(conn: &Connection, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<()> {
    let mut writer = Writer::new(conn, Arc::clone(catalog), seal.layer, true);
    for table in seal.changes {
        conn.execute_batch(&format!("DROP TABLE IF EXISTS {}", own_table(table.table.id))).map_err(map)?;
    }
    for table in seal.changes.iter().filter(|t| !t.changes.is_empty()) {
        let meta = catalog.get(&table.table)?;
        ensure(conn, &meta, seal.layer, None)?;
        for change in &table.changes {
            compare(&mut writer, &meta, change)?;
        }
        if seal.mode.is_own() {
            remember(conn, &meta, &table.changes)?;
        }
        conn.execute_batch("SAVEPOINT epoch_apply").map_err(map)?;
        match write_all(&mut writer, &meta, &in_place(&table.changes, &meta.writable)) {
            // Rows that swap unique values collide on the way: take all out, then put all in.
            Err(e) if e.code() == sqlstate::UNIQUE_VIOLATION => {
                conn.execute_batch("ROLLBACK TO epoch_apply").map_err(map)?;
                write_all(&mut writer, &meta, &out_and_in(&table.changes, &meta.writable))?;
            }
            other => other?,
        }
        conn.execute_batch("RELEASE epoch_apply").map_err(map)?;
    }
    writer.finish()?;
    let deferred = std::mem::take(&mut writer.checks.deferred);
    writer.check_deferred(&deferred)
}

/// 40001 unless the row is what the change was computed from.
fn compare(writer: &mut Writer<'_>, meta: &Meta, change: &RowChange) -> Result<()> {
    let mut now = writer.current(meta, &change.key)?;
    if now.is_none() && !writer.layer.is_main() {
        let filter = Filter::key(meta, &change.key);
        for arm in writer.below(meta)?.iter() {
            let (sql, params) =
                arm.select(&list("x", meta.columns.iter().map(String::as_str)), &filter, None);
            let mut stmt = writer.conn.prepare_cached(&sql).map_err(map)?;
            let mut rows = stmt.query(bind(&params)).map_err(map)?;
            if let Some(row) = rows.next().map_err(map)? {
                let cells: Result<Row> =
                    (0..meta.columns.len()).map(|i| value(row.get_ref(i).map_err(map)?)).collect();
                now = Some(cells?);
            }
        }
    }
    if now == change.before {
        return Ok(());
    }
    Err(changed_since(meta.name(), &meta.key, change))
}

/// The first row of main that isn't what the changes say, because the user's own triggers had a say, as the error that it
/// may be.
fn first_other(conn: &Connection, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<Option<Error>> {
    if !seal.layer.is_main() {
        return Ok(None);
    }
    let writer = Writer::new(conn, Arc::clone(catalog), seal.layer, true);
    for table in seal.changes.iter().filter(|c| seal.tables.iter().any(|t| t.id == c.table.id)) {
        let meta = catalog.get(&table.table)?;
        let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE \
                   AND name NOT GLOB 'epoch_*' ORDER BY name";
        let mut stmt = conn.prepare_cached(sql).map_err(map)?;
        let names = stmt.query_map([meta.name()], |r| r.get(0)).map_err(map)?;
        let triggers: Vec<String> = names.collect::<rusqlite::Result<_>>().map_err(map)?;
        if triggers.is_empty() {
            continue;
        }
        for change in &table.changes {
            let now = writer.current(&meta, &change.key)?;
            if !same(now.as_ref(), change.after.as_ref(), &meta.writable) {
                let key = key_text(&meta.key, &texts(&change.key));
                return Ok(Some(Error::altered(meta.name(), &triggers, Some(&key))));
            }
        }
    }
    Ok(None)
}

fn write_all(writer: &mut Writer<'_>, meta: &Arc<Meta>, writes: &[RowWrite]) -> Result<()> {
    writes.iter().try_for_each(|write| writer.one(meta, write).map(drop))
}

fn own_table(id: TableId) -> String {
    format!("temp.epoch_own_{}", id.0)
}

/// Keeps the keys of the changes where the publication can join them.
fn remember(conn: &Connection, meta: &Meta, changes: &[RowChange]) -> Result<()> {
    let own = own_table(meta.id());
    let keys = list("", meta.key.iter().map(String::as_str));
    // Made from the history, so that collations and affinities of the key are the same.
    let column = |&i: &usize| {
        let c = meta.physical.columns.get(i);
        c.map_or_else(String::new, |c| {
            format!("{} {} COLLATE {}", quote(&c.name), c.affinity.type_name(), quote(&c.collation))
        })
    };
    let columns: Vec<_> = meta.def.schema.key.iter().map(column).collect();
    conn.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {own} ({}, PRIMARY KEY ({keys})) WITHOUT ROWID",
        columns.join(", ")
    ))
    .map_err(map)?;
    let marks = vec!["?"; meta.key.len()].join(", ");
    let mut stmt =
        conn.prepare(&format!("INSERT OR IGNORE INTO {own} ({keys}) VALUES ({marks})")).map_err(map)?;
    for change in changes {
        stmt.execute(bind(&change.key)).map_err(map)?;
    }
    Ok(())
}

/// Pending images of a lineage beside the rows as they are now, ordered by key: image columns,
/// `existed`, whether the row is there, the row's columns, where the image begins.
pub(crate) fn pending_sql(meta: &Meta, main: bool, own: Option<&str>) -> String {
    let (target, there) = if main {
        (&meta.base, format!("c.{} IS NOT NULL", meta.key.first().map(|k| quote(k)).unwrap_or_default()))
    } else {
        (&meta.overlay, format!("c.{LINEAGE} IS NOT NULL"))
    };
    let lineage = if main { String::new() } else { format!("c.{LINEAGE} = h.{LINEAGE} AND ") };
    let names = || meta.columns.iter().map(String::as_str);
    let only =
        own.map(|t| format!(" AND EXISTS (SELECT 1 FROM {t} AS o WHERE {})", equal(&meta.key, "o", "h")));
    format!(
        "SELECT {}, h.epoch_existed, {there}, {}, h.epoch_from FROM {} AS h LEFT JOIN {target} AS c ON {lineage}{} \
         WHERE h.{LINEAGE} = ?1 AND h.epoch_to = {PENDING}{} ORDER BY {}",
        list("h", names()),
        list("c", names()),
        meta.history,
        equal(&meta.key, "c", "h"),
        only.unwrap_or_default(),
        list("h", meta.key.iter().map(String::as_str)),
    )
}

fn net(row: &rusqlite::Row<'_>, n: usize) -> rusqlite::Result<Net> {
    let (existed, there): (bool, bool) = (row.get(n)?, row.get(n + 1)?);
    let mut same = existed && there;
    for i in 0..n {
        same = same && row.get_ref(i)? == row.get_ref(n + 2 + i)?;
    }
    Ok(Net::of(existed, there, same))
}

/// Net uncommitted changes.
pub(crate) fn pending(conn: &Connection, meta: &Meta, layer: Layer) -> Result<TableStats> {
    let mut stmt = conn.prepare_cached(&pending_sql(meta, layer.is_main(), None)).map_err(map)?;
    let mut rows = stmt.query([layer.lineage.0]).map_err(map)?;
    let mut stats = TableStats::default();
    while let Some(row) = rows.next().map_err(map)? {
        net(row, meta.columns.len()).map_err(map)?.count(&mut stats);
    }
    Ok(stats)
}

fn publish(conn: &Connection, meta: &Meta, seal: &Seal<'_>, own: bool) -> Result<(TableStats, String)> {
    let n = meta.columns.len();
    let own = own.then(|| own_table(meta.id()));
    let lineage = seal.layer.lineage.0;
    let mut stats = TableStats::default();
    let mut hash = Sha256::new();
    let mut dropped: Vec<Row> = Vec::new();
    {
        let mut stmt =
            conn.prepare_cached(&pending_sql(meta, seal.layer.is_main(), own.as_deref())).map_err(map)?;
        let mut rows = stmt.query([lineage]).map_err(map)?;
        while let Some(row) = rows.next().map_err(map)? {
            let kind = net(row, n).map_err(map)?;
            kind.count(&mut stats);
            let from: Ordinal = row.get(2 * n + 2).map_err(map)?;
            // An image that would end where it begins is visible nowhere; the key's last one tells that
            // it changed under this ordinal.
            if matches!(kind, Net::Nothing) || from >= seal.ordinal {
                dropped.push(key_of(meta, row)?);
            }
            match kind {
                Net::Nothing => {}
                Net::Removed => {
                    hash.update(b"-");
                    for &i in &meta.def.schema.key {
                        feed(&mut hash, cell(row.get_ref(i).map_err(map)?));
                    }
                }
                Net::Added | Net::Modified => {
                    hash.update(b"+");
                    for i in 0..n {
                        feed(&mut hash, cell(row.get_ref(n + 2 + i).map_err(map)?));
                    }
                }
            }
        }
    }
    drop_images(conn, meta, lineage, &dropped)?;
    if stats.rows() > 0 {
        let only = own
            .as_ref()
            .map(|t| format!(" AND EXISTS (SELECT 1 FROM {t} AS o WHERE {})", equal(&meta.key, "o", "h")));
        let sql = format!(
            "UPDATE {} AS h SET epoch_to = ?2 WHERE h.{LINEAGE} = ?1 AND h.epoch_to = {PENDING}{}",
            meta.history,
            only.unwrap_or_default()
        );
        conn.execute(&sql, [lineage, seal.ordinal]).map_err(map)?;
    }
    Ok((stats, finish(hash)))
}

fn key_of(meta: &Meta, row: &rusqlite::Row<'_>) -> Result<Row> {
    meta.def.schema.key.iter().map(|&i| value(row.get_ref(i).map_err(map)?)).collect()
}

fn drop_images(conn: &Connection, meta: &Meta, lineage: i64, keys: &[Row]) -> Result<()> {
    let sql = format!(
        "DELETE FROM {} WHERE {LINEAGE} = ? AND {} AND epoch_to = {PENDING}",
        meta.history,
        meta.is_key("")
    );
    let mut stmt = conn.prepare_cached(&sql).map_err(map)?;
    for key in keys {
        let mut params = vec![Value::Int(lineage)];
        params.extend(key.iter().cloned());
        stmt.execute(bind(&params)).map_err(map)?;
    }
    Ok(())
}
