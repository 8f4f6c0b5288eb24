//! Layers: what a branch lineage holds of a table, and where a nested branch's one comes from.

use epoch_adapter::{At, Layer, Result, Row, TableId, Value, View};
use epoch_layers::view::{Filter, union};

use crate::error::{map, snapshot_conflict};
use crate::layout::{LINEAGE, list};
use crate::meta::Meta;
use crate::pool::Session;
use crate::view::facts;

/// Rows that are copied at once.
const CHUNK: usize = 500;

/// Makes a layer: one row, and (for a nested branch) a copy of the parent's layer as of the fork. Does nothing if the
/// layer is there. In a transaction of the session's, of one snapshot.
pub(crate) async fn ensure(
    session: &mut Session,
    meta: &Meta,
    layer: Layer,
    parent: Option<&View>,
) -> Result<()> {
    if layer.is_main() {
        return Ok(());
    }
    let parent = parent.filter(|p| !p.layer.is_main());
    let at = parent.map(|p| match p.at {
        At::Ordinal(s) => s,
        At::Working => i64::MAX,
    });
    let maybe = |n: Option<i64>| n.map_or(Value::Null, Value::Int);
    let params = [
        Value::Int(meta.id().0),
        Value::Int(layer.lineage.0),
        Value::Int(layer.base),
        maybe(parent.map(|p| p.layer.lineage.0)),
        maybe(at),
    ];
    // Whoever comes second waits here, and then finds it done.
    let sql = "INSERT IGNORE INTO epoch_lineage (table_id, lineage, base, parent, parent_at) VALUES (?, ?, ?, ?, ?)";
    let made = session.exec(sql, &params).await?;
    match parent {
        Some(parent) if made > 0 => copy(session, meta, layer, parent).await,
        _ => Ok(()),
    }
}

/// Through us: INSERT … SELECT would lock what it reads, or read different moments.
async fn copy(session: &mut Session, meta: &Meta, layer: Layer, parent: &View) -> Result<()> {
    let facts = facts(session, meta, parent).await?;
    let arms = meta.own(parent.layer.lineage, parent.at, facts.own_moved);
    let (sql, params) = union(&arms, &meta.all_columns("x"), &Filter::default(), None);
    let mut rows = Vec::new();
    for mut row in session.rows(&sql, &params).await? {
        rows.push(meta.row(&mut row, 0)?);
    }
    let writable: Vec<usize> = meta.writable.clone();
    let names: Vec<&str> = writable.iter().filter_map(|i| meta.columns.get(*i).map(String::as_str)).collect();
    let into = format!("{} ({}, {LINEAGE}, epoch_copied)", meta.overlay, list("", names));
    let tail = format!("{}, 1", layer.lineage.0);
    let cells = |row: &Row| -> Row { writable.iter().filter_map(|i| row.get(*i).cloned()).collect() };
    let marks: Vec<_> = writable.iter().map(|i| meta.written(*i)).collect();
    insert(session, &into, &marks, &tail, rows.iter().map(cells).collect()).await?;
    let sql = format!("SELECT {} FROM {} WHERE {LINEAGE} = ?", meta.key_columns(""), meta.mask);
    let mut keys = Vec::new();
    for mut row in session.rows(&sql, &[Value::Int(parent.layer.lineage.0)]).await? {
        keys.push(meta.key_row(&mut row, 0)?);
    }
    let into = format!("{} ({}, {LINEAGE})", meta.mask, meta.key_columns(""));
    let marks: Vec<_> = meta.def.schema.key.iter().map(|i| meta.written(*i)).collect();
    insert(session, &into, &marks, &layer.lineage.0.to_string(), keys).await
}

/// Inserts rows, each followed by `tail`.
async fn insert(session: &mut Session, into: &str, marks: &[&str], tail: &str, rows: Vec<Row>) -> Result<()> {
    let width = marks.len().max(1);
    for chunk in rows.chunks(CHUNK.min(60_000 / width).max(1)) {
        let one = format!("({}, {tail})", marks.join(", "));
        let sql = format!("INSERT INTO {into} VALUES {}", vec![one; chunk.len()].join(", "));
        let params: Vec<_> = chunk.iter().flatten().cloned().collect();
        session.exec(&sql, &params).await?;
    }
    Ok(())
}

/// Waits until no other transaction writes to these tables of a branch, and keeps them from it. With `keep`, 40001 if
/// one has since the transaction's snapshot. Which of the tables have a layer.
pub(crate) async fn take_turn(
    session: &mut Session,
    tables: &[TableId],
    layer: Layer,
    keep: bool,
) -> Result<Vec<TableId>> {
    if layer.is_main() || tables.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; tables.len()].join(", ");
    let params: Vec<_> =
        std::iter::once(layer.lineage.0).chain(tables.iter().map(|t| t.0)).map(Value::Int).collect();
    let sql = format!(
        "SELECT table_id, stamp FROM epoch_lineage WHERE lineage = ? AND table_id IN ({marks}) ORDER BY table_id"
    );
    let seen = if keep { stamps(session, &sql, &params).await? } else { Vec::new() };
    let now = stamps(session, &format!("{sql} FOR UPDATE"), &params).await?;
    if keep && seen != now {
        return Err(snapshot_conflict());
    }
    Ok(now.into_iter().map(|(table, _)| TableId(table)).collect())
}

async fn stamps(session: &mut Session, sql: &str, params: &[Value]) -> Result<Vec<(i64, i64)>> {
    let rows = session.raw_rows(sql, params).await?.map_err(map)?;
    Ok(rows.into_iter().filter_map(|row| mysql_async::from_row_opt(row).ok()).collect())
}

/// Notes that a transaction that has its turn wrote to a table of a branch.
pub(crate) async fn stamp(session: &mut Session, table: TableId, layer: Layer) -> Result<()> {
    if layer.is_main() {
        return Ok(());
    }
    let sql = "UPDATE epoch_lineage SET stamp = stamp + 1 WHERE table_id = ? AND lineage = ?";
    session.exec(sql, &[Value::Int(table.0), Value::Int(layer.lineage.0)]).await.map(drop)
}
