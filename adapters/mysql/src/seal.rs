//! Publishing: apply a merge's changes, then move pending images under the new ordinal. All in one transaction, which
//! holds the rows of `epoch_lineage` that stand for its tables: no writer is half done meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use epoch_adapter::{
    Error, Layer, Ordinal, Result, Row, RowChange, RowWrite, SealMode, Sealed, TableChanges, TableDef,
    TableId, TableStats, Value, sqlstate,
};
use epoch_layers::cells::Cell;
use epoch_layers::digest::{feed, finish};
use epoch_layers::errors::{changed_since, key_text, texts};
use epoch_layers::merge::{in_place, out_and_in, same};
use epoch_layers::net::Net;
use epoch_layers::view::Filter;
use mysql_async::prelude::Queryable;
use sha2::{Digest, Sha256};

use crate::drift::untouched;
use crate::error::map;
use crate::install::key_column_sql;
use crate::layer::{ensure, stamp};
use crate::layout::{LINEAGE, PENDING, equal, quote};
use crate::meta::{Catalog, Meta};
use crate::pool::Session;
use crate::sum::{self, Sum};
use crate::types::bind_all;
use crate::write::Writer;

/// How long a seal waits for those who are writing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits before it tries again.
const RETRY: Duration = Duration::from_millis(10);

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
pub(crate) async fn sealed(session: &mut Session, operation: &str) -> Result<Option<Sealed>> {
    let sql = "SELECT result FROM epoch_seal WHERE operation = ?";
    let found = session.one::<String>(sql, &[Value::Text(operation.to_owned())]).await;
    let text = match found {
        Err(e) if e.code() == sqlstate::UNDEFINED_TABLE => return Ok(None),
        other => other?,
    };
    let read = |t: String| {
        serde_json::from_str(&t)
            .map_err(|e| Error::new(sqlstate::DATA_CORRUPTED, format!("epoch_seal is damaged: {e}")))
    };
    text.map(read).transpose()
}

/// Publishes. Others who write make it begin again, for a while.
pub(crate) async fn run(session: &mut Session, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<Sealed> {
    // Checks that are off and temporary tables end with the connection.
    session.tainted = true;
    session.run("SET SESSION foreign_key_checks = 0").await?;
    let since = Instant::now();
    loop {
        session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        session.run("START TRANSACTION").await?;
        let result = attempt(session, catalog, seal).await;
        let again = match result {
            Ok(sealed) => {
                session.run("COMMIT").await?;
                return Ok(sealed);
            }
            Err(e) => e,
        };
        session.run("ROLLBACK").await?;
        let others = matches!(again.code(), sqlstate::LOCK_NOT_AVAILABLE | "40P01");
        if !others || since.elapsed() > PATIENCE {
            return Err(again);
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn attempt(session: &mut Session, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<Sealed> {
    lock(session, seal).await?;
    if let Some(done) = sealed(session, seal.operation).await? {
        return Ok(done);
    }
    apply(session, catalog, seal).await?;
    let other = first_other(session, catalog, seal).await?;
    if let (SealMode::Exact, Some(error)) = (seal.mode, &other) {
        return Err(error.clone());
    }
    let mut out = Sealed { altered: other.is_some(), ..Sealed::default() };
    for table in seal.tables {
        let changed = seal.changes.iter().any(|c| c.table.id == table.id);
        if !changed && !seal.layer.is_main() && untouched(session, catalog, table.id, seal.layer).await? {
            continue;
        }
        let meta = catalog.get(table)?;
        let own = seal.mode.is_own();
        if own && !seal.changes.iter().any(|c| c.table.id == meta.id() && !c.changes.is_empty()) {
            continue;
        }
        let (stats, digest, moved) = publish(session, &meta, seal, own).await?;
        if stats.rows() > 0 {
            out.tables.push((meta.id(), stats, digest));
        }
        if seal.layer.is_main() {
            sum::moved(session, &meta, moved).await?;
        }
    }
    let text = serde_json::to_string(&out).map_err(|e| Error::internal(format!("a seal: {e}")))?;
    let params = [
        Value::Text(seal.operation.to_owned()),
        Value::Int(seal.layer.lineage.0),
        Value::Int(seal.ordinal),
        Value::Text(text),
    ];
    let sql = "INSERT INTO epoch_seal (operation, lineage, ordinal, result) VALUES (?, ?, ?, ?)";
    session.exec(sql, &params).await?;
    Ok(out)
}

/// Waits until nobody has changes of these tables that aren't committed, and keeps everybody from making some.
async fn lock(session: &mut Session, seal: &Seal<'_>) -> Result<()> {
    let mut tables: Vec<i64> =
        seal.tables.iter().chain(seal.changes.iter().map(|c| &c.table)).map(|t| t.id.0).collect();
    tables.sort_unstable();
    tables.dedup();
    if tables.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT table_id FROM epoch_lineage WHERE lineage = ? AND table_id IN ({}) ORDER BY table_id FOR UPDATE",
        vec!["?"; tables.len()].join(", ")
    );
    let params: Vec<_> = std::iter::once(seal.layer.lineage.0).chain(tables).map(Value::Int).collect();
    session.rows(&sql, &params).await.map(drop)
}

/// Puts the changes into the working rows, after comparing each with the row it was computed from.
async fn apply(session: &mut Session, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<()> {
    for table in seal.changes {
        session.run(&format!("DROP TEMPORARY TABLE IF EXISTS {}", own_table(table.table.id))).await?;
    }
    let mut writer = Writer::new(session, Arc::clone(catalog), seal.layer);
    writer.exact = true;
    for table in seal.changes.iter().filter(|t| !t.changes.is_empty()) {
        let meta = catalog.get(&table.table)?;
        ensure(writer.session, &meta, seal.layer, None).await?;
        stamp(writer.session, meta.id(), seal.layer).await?;
        for change in &table.changes {
            compare(&mut writer, &meta, change).await?;
        }
        if seal.mode.is_own() {
            remember(writer.session, &meta, &table.changes).await?;
        }
        writer.session.run("SAVEPOINT epoch_apply").await?;
        match write_all(&mut writer, &meta, in_place(&table.changes, &meta.writable)).await {
            // Rows that swap unique values collide on the way: take all out, then put all in.
            Err(e) if e.code() == sqlstate::UNIQUE_VIOLATION => {
                writer.session.run("ROLLBACK TO SAVEPOINT epoch_apply").await?;
                write_all(&mut writer, &meta, out_and_in(&table.changes, &meta.writable)).await?;
            }
            other => other?,
        }
        writer.session.run("RELEASE SAVEPOINT epoch_apply").await?;
    }
    writer.check_now().await
}

/// The first row of main that isn't what the changes say, because the user's own triggers had a say, as the error that it
/// may be.
async fn first_other(
    session: &mut Session,
    catalog: &Arc<Catalog>,
    seal: &Seal<'_>,
) -> Result<Option<Error>> {
    if !seal.layer.is_main() {
        return Ok(None);
    }
    let mut writer = Writer::new(session, Arc::clone(catalog), seal.layer);
    for table in seal.changes.iter().filter(|c| seal.tables.iter().any(|t| t.id == c.table.id)) {
        let meta = catalog.get(&table.table)?;
        let sql = "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() \
                   AND EVENT_OBJECT_TABLE = ? AND TRIGGER_NAME NOT LIKE 'epoch!_%' ESCAPE '!' ORDER BY TRIGGER_NAME";
        let name = Value::Text(table.table.location.table.clone());
        let rows = writer.session.rows(sql, &[name]).await?;
        let triggers: Vec<String> = rows
            .into_iter()
            .filter_map(|row| mysql_async::from_row_opt::<(String,)>(row).ok())
            .map(|(n,)| n)
            .collect();
        if triggers.is_empty() {
            continue;
        }
        for change in &table.changes {
            let now = writer.current(&meta, &change.key, false).await?;
            if !same(now.as_ref(), change.after.as_ref(), &meta.writable) {
                let key = key_text(&meta.key, &texts(&change.key));
                return Ok(Some(Error::altered(meta.name(), &triggers, Some(&key))));
            }
        }
    }
    Ok(None)
}

async fn write_all(writer: &mut Writer<'_>, meta: &Arc<Meta>, writes: Vec<RowWrite>) -> Result<()> {
    for write in writes {
        match write {
            RowWrite::Insert(cells) => writer.insert(meta, &cells).await?,
            RowWrite::Update { key, set } => writer.update(meta, &key, &set).await?,
            RowWrite::Delete { key } => writer.delete(meta, &key).await?,
        };
    }
    Ok(())
}

/// 40001 unless the row is what the change was computed from.
async fn compare(writer: &mut Writer<'_>, meta: &Meta, change: &RowChange) -> Result<()> {
    let mut now = writer.current(meta, &change.key, true).await?;
    if now.is_none() && !writer.layer.is_main() {
        now = writer.below(meta, &Filter::key(meta, &change.key)).await?;
    }
    if now == change.before {
        return Ok(());
    }
    Err(changed_since(meta.name(), &meta.key, change))
}

fn own_table(id: TableId) -> String {
    format!("epoch_own_{}", id.0)
}

/// Keeps the keys of the changes where the publication can join them.
async fn remember(session: &mut Session, meta: &Meta, changes: &[RowChange]) -> Result<()> {
    let own = own_table(meta.id());
    let columns: Vec<_> = meta.def.schema.key_columns().map(key_column_sql).collect();
    let keys = meta.key_columns("");
    session
        .run(&format!(
            "CREATE TEMPORARY TABLE {own} ({}, PRIMARY KEY ({keys})) ENGINE = InnoDB",
            columns.join(", ")
        ))
        .await?;
    let marks = vec!["?"; meta.key.len()].join(", ");
    let sql = format!("INSERT IGNORE INTO {own} ({keys}) VALUES ({marks})");
    for change in changes {
        session.exec(&sql, &change.key).await?;
    }
    Ok(())
}

/// Pending images of a lineage beside the rows as they are now, ordered by key: image columns, `existed`, whether the row
/// is there, the row's columns, where the key's image before it ends.
pub(crate) fn pending_sql(meta: &Meta, main: bool, own: Option<&str>) -> String {
    let (target, there) = if main {
        (&meta.base, format!("c.{} IS NOT NULL", meta.key.first().map(|k| quote(k)).unwrap_or_default()))
    } else {
        (&meta.overlay, format!("c.{LINEAGE} IS NOT NULL"))
    };
    let lineage = if main { String::new() } else { format!("c.{LINEAGE} = h.{LINEAGE} AND ") };
    let only =
        own.map(|t| format!(" AND EXISTS (SELECT 1 FROM {t} AS o WHERE {})", equal(&meta.key, "o", "h")));
    format!(
        "SELECT {}, h.epoch_existed, {there}, {}, coalesce((SELECT max(p.epoch_to) FROM {history} AS p \
         WHERE p.{LINEAGE} = h.{LINEAGE} AND {} AND p.epoch_to < {PENDING}), 0) \
         FROM {history} AS h LEFT JOIN {target} AS c ON {lineage}{} \
         WHERE h.{LINEAGE} = ? AND h.epoch_to = {PENDING}{} ORDER BY {}",
        meta.all_columns("h"),
        meta.all_columns("c"),
        equal(&meta.key, "p", "h"),
        equal(&meta.key, "c", "h"),
        only.unwrap_or_default(),
        meta.key_columns("h"),
        history = meta.history,
    )
}

/// A pending image, what became of its row, and where it begins.
struct Image {
    net: Net,
    image: Row,
    now: Row,
    from: Ordinal,
}

fn image(meta: &Meta, mut row: mysql_async::Row) -> Result<Image> {
    let n = meta.columns.len();
    let flag = |row: &mut mysql_async::Row, at: usize| -> Result<i64> {
        let value = row.take_opt::<i64, _>(at).and_then(std::result::Result::ok);
        value.ok_or_else(|| Error::internal("mysql: a pending image has no flags"))
    };
    let (existed, there) = (flag(&mut row, n)? != 0, flag(&mut row, n + 1)? != 0);
    let (image, now) = (meta.row(&mut row, 0)?, meta.row(&mut row, n + 2)?);
    Ok(Image { net: Net::of(existed, there, image == now), from: flag(&mut row, 2 * n + 2)?, image, now })
}

/// Calls `visit` with each pending image.
async fn each(
    session: &mut Session,
    meta: &Meta,
    layer: Layer,
    own: Option<&str>,
    mut visit: impl FnMut(Image),
) -> Result<()> {
    let sql = pending_sql(meta, layer.is_main(), own);
    let params = bind_all(&[Value::Int(layer.lineage.0)]);
    let mut result = session.conn()?.exec_iter(sql, params).await.map_err(map)?;
    while let Some(row) = result.next().await.map_err(map)? {
        visit(image(meta, row)?);
    }
    result.drop_result().await.map_err(map)
}

/// Net uncommitted changes.
pub(crate) async fn pending(session: &mut Session, meta: &Meta, layer: Layer) -> Result<TableStats> {
    let mut stats = TableStats::default();
    each(session, meta, layer, None, |image| image.net.count(&mut stats)).await?;
    Ok(stats)
}

async fn publish(
    session: &mut Session,
    meta: &Meta,
    seal: &Seal<'_>,
    own: bool,
) -> Result<(TableStats, String, Sum)> {
    let own = own.then(|| own_table(meta.id()));
    let lineage = seal.layer.lineage.0;
    let (mut stats, mut moved) = (TableStats::default(), Sum::default());
    let mut hash = Sha256::new();
    let mut dropped: Vec<Row> = Vec::new();
    each(session, meta, seal.layer, own.as_deref(), |Image { net, image, now, from }| {
        net.count(&mut stats);
        // An image that would end where it begins is visible nowhere; the key's last one tells that it changed under
        // this ordinal.
        if net == Net::Nothing || from >= seal.ordinal {
            dropped.push(meta.def.schema.key_of(&image));
        }
        if matches!(net, Net::Removed | Net::Modified) {
            moved.take(&image);
        }
        if matches!(net, Net::Added | Net::Modified) {
            moved.add(&now);
        }
        match net {
            Net::Nothing => {}
            Net::Removed => {
                hash.update(b"-");
                meta.def.schema.key_of(&image).iter().for_each(|v| feed(&mut hash, Cell::from(v)));
            }
            Net::Added | Net::Modified => {
                hash.update(b"+");
                now.iter().for_each(|v| feed(&mut hash, Cell::from(v)));
            }
        }
    })
    .await?;
    let is_key = meta.is_key("");
    let sql =
        format!("DELETE FROM {} WHERE {LINEAGE} = ? AND {is_key} AND epoch_to = {PENDING}", meta.history);
    for key in dropped {
        let params: Vec<_> = std::iter::once(Value::Int(lineage)).chain(key).collect();
        session.exec(&sql, &params).await?;
    }
    if stats.rows() > 0 {
        let params = [lineage, seal.ordinal, lineage].map(Value::Int);
        session.exec(&stamp_sql(meta, own.as_deref()), &params).await?;
    }
    Ok((stats, finish(hash), moved))
}

/// Gives pending images their ordinals.
fn stamp_sql(meta: &Meta, own: Option<&str>) -> String {
    let only =
        own.map(|t| format!(" AND EXISTS (SELECT 1 FROM {t} AS o WHERE {})", equal(&meta.key, "o", "h")));
    format!(
        "UPDATE {history} AS h LEFT JOIN (SELECT {keys}, max(p.epoch_to) AS epoch_ended FROM {history} AS q \
         JOIN {history} AS p ON p.{LINEAGE} = q.{LINEAGE} AND {} AND p.epoch_to < {PENDING} \
         WHERE q.{LINEAGE} = ? AND q.epoch_to = {PENDING} GROUP BY {keys}) AS d ON {} \
         SET h.epoch_from = coalesce(d.epoch_ended, 0), h.epoch_to = ? \
         WHERE h.{LINEAGE} = ? AND h.epoch_to = {PENDING}{}",
        equal(&meta.key, "p", "q"),
        equal(&meta.key, "d", "h"),
        only.unwrap_or_default(),
        history = meta.history,
        keys = meta.key_columns("q"),
    )
}
