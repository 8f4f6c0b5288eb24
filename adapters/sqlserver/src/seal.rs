//! Publishing: apply a merge's changes, then move pending images under the new ordinal. All in one transaction of one
//! snapshot, which is begun when the tables' turns are held: no writer is half done meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use epoch_adapter::{
    Error, Layer, Ordinal, Result, Row, RowChange, SealMode, Sealed, TableChanges, TableDef, TableId,
    TableStats, Value, sqlstate,
};
use epoch_layers::cells::Cell;
use epoch_layers::digest::{feed, finish};
use epoch_layers::errors::{changed_since, key_text, texts};
use epoch_layers::merge::same;
use epoch_layers::net::Net;
use epoch_layers::view::Filter;
use sha2::{Digest, Sha256};

use crate::apply::write_changes;
use crate::connect::LOCK_WAIT;
use crate::drift::untouched;
use crate::error::is_snapshot_conflict;
use crate::layer::{ensure, is_wait, stamp};
use crate::layout::{LINEAGE, PENDING, equal, own, quote, turn};
use crate::meta::{Catalog, Meta};
use crate::pool::{Cells, Session, flag, number, text};
use crate::scan::each_row;
use crate::sum::{self, Rows};
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
    let sql = "SELECT result FROM [epoch].[epoch_seal] WHERE operation = ?";
    let text = match session.text(sql, &[Value::Text(operation.to_owned())]).await {
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
    let since = Instant::now();
    // Of two who wait for each other it is the one that gives way: it begins again, which a client may not.
    session.run("SET DEADLOCK_PRIORITY LOW").await?;
    loop {
        let again = match once(session, catalog, seal).await {
            Ok(sealed) => return Ok(sealed),
            Err(e) => e,
        };
        session.rollback().await?;
        // They wait for the turns, with rows locked that the seal has to change.
        session.release_turns().await?;
        // A row that a merge's rows refer to, say, which was changed since its snapshot.
        let passes = is_wait(again.code()) || is_snapshot_conflict(&again);
        if !passes || since.elapsed() > PATIENCE {
            return Err(again);
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn once(session: &mut Session, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<Sealed> {
    let mut tables: Vec<TableId> =
        seal.tables.iter().chain(seal.changes.iter().map(|c| &c.table)).map(|t| t.id).collect();
    tables.sort_unstable();
    tables.dedup();
    for table in tables {
        session.take_turn(&turn(table, seal.layer.lineage.0), LOCK_WAIT).await?;
    }
    // Rows are not waited for: who has them waits for this.
    session.run("SET LOCK_TIMEOUT 0").await?;
    session.begin_snapshot().await?;
    let sealed = attempt(session, catalog, seal).await?;
    session.run("COMMIT TRANSACTION").await?;
    session.release_turns().await?;
    Ok(sealed)
}

async fn attempt(session: &mut Session, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<Sealed> {
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
    let sql = "INSERT INTO [epoch].[epoch_seal] (operation, lineage, ordinal, result) VALUES (?, ?, ?, ?)";
    session.exec(sql, &params).await?;
    Ok(out)
}

/// Puts the changes into the working rows, after comparing each with the row it was computed from.
async fn apply(session: &mut Session, catalog: &Arc<Catalog>, seal: &Seal<'_>) -> Result<()> {
    let mut writer = Writer::new(session, Arc::clone(catalog), seal.layer);
    writer.exact = true;
    let mut tables: Vec<(Arc<Meta>, &[RowChange])> = Vec::new();
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
        tables.push((meta, &table.changes));
    }
    if !tables.is_empty() {
        write_changes(&mut writer, &tables).await?;
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
        let sql = "SELECT g.name FROM sys.triggers AS g WHERE g.parent_id = ? AND g.is_disabled = 0 \
                   AND g.name NOT LIKE N'epoch!_capture!_%' ESCAPE N'!' ORDER BY g.name";
        let rows = writer.session.rows(sql, &[Value::Int(meta.physical.object)]).await?;
        let triggers: Vec<String> = rows.iter().filter_map(|row| text(row, 0)).collect();
        if triggers.is_empty() {
            continue;
        }
        for change in &table.changes {
            let now = writer.current(&meta, &change.key).await?;
            if !same(now.as_ref(), change.after.as_ref(), &meta.writable) {
                let key = key_text(&meta.key, &texts(&change.key));
                return Ok(Some(Error::altered(meta.name(), &triggers, Some(&key))));
            }
        }
    }
    Ok(None)
}

/// 40001 unless the row is what the change was computed from.
async fn compare(writer: &mut Writer<'_>, meta: &Meta, change: &RowChange) -> Result<()> {
    let mut now = writer.current(meta, &change.key).await?;
    if now.is_none() && !writer.layer.is_main() {
        now = writer.below(meta, &Filter::key(meta, &change.key)).await?;
    }
    if now == change.before {
        return Ok(());
    }
    Err(changed_since(meta.name(), &meta.key, change))
}

/// Keeps the keys of the changes where the publication can join them.
async fn remember(session: &mut Session, meta: &Meta, changes: &[RowChange]) -> Result<()> {
    let own = own(meta.id());
    session.run(&format!("DELETE FROM {own}")).await?;
    let (keys, marks) = (meta.key_columns(""), key_marks(meta));
    let sql = format!(
        "INSERT INTO {own} ({keys}) SELECT {marks} WHERE NOT EXISTS (SELECT 1 FROM {own} AS o WHERE {})",
        meta.is_key("o")
    );
    for change in changes {
        let twice: Vec<_> = change.key.iter().chain(&change.key).cloned().collect();
        session.exec(&sql, &twice).await?;
    }
    Ok(())
}

fn key_marks(meta: &Meta) -> String {
    meta.def.schema.key.iter().map(|i| meta.written(*i)).collect::<Vec<_>>().join(", ")
}

/// ` AND EXISTS …`, of the keys that a seal has changed itself.
fn only(meta: &Meta, own: Option<&str>) -> String {
    own.map(|t| format!(" AND EXISTS (SELECT 1 FROM {t} AS o WHERE {})", equal(&meta.key, "o", "h")))
        .unwrap_or_default()
}

/// Pending images of a lineage beside the rows as they are now, ordered by key: image columns, `existed`, whether the row
/// is there, the row's columns, where the key's image before it ends.
pub(crate) fn pending_sql(meta: &Meta, main: bool, own: Option<&str>) -> String {
    let there = match main {
        true => format!("c.{} IS NOT NULL", meta.key.first().map(|k| quote(k)).unwrap_or_default()),
        false => format!("c.{LINEAGE} IS NOT NULL"),
    };
    let target = if main { &meta.base } else { &meta.overlay };
    let lineage = if main { String::new() } else { format!("c.{LINEAGE} = h.{LINEAGE} AND ") };
    format!(
        "SELECT {}, h.epoch_existed, CASE WHEN {there} THEN 1 ELSE 0 END, {}, coalesce((SELECT max(p.epoch_to) \
         FROM {history} AS p WHERE p.{LINEAGE} = h.{LINEAGE} AND {} AND p.epoch_to < {PENDING}), 0) \
         FROM {history} AS h LEFT JOIN {target} AS c ON {lineage}{} \
         WHERE h.{LINEAGE} = ? AND h.epoch_to = {PENDING}{} ORDER BY {}",
        meta.row("h"),
        meta.row("c"),
        equal(&meta.key, "p", "h"),
        equal(&meta.key, "c", "h"),
        only(meta, own),
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

fn image(meta: &Meta, mut row: Cells) -> Result<Image> {
    let n = meta.columns.len();
    let (existed, there) = (flag(&row, n), flag(&row, n + 1));
    let from = number(&row, 2 * n + 2)
        .ok_or_else(|| Error::internal("sqlserver: a pending image doesn't tell where it begins"))?;
    let (image, now) = (meta.read_row(&mut row, 0)?, meta.read_row(&mut row, n + 2)?);
    Ok(Image { net: Net::of(existed, there, image == now), from, image, now })
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
    each_row(session, &sql, &[Value::Int(layer.lineage.0)], |row| {
        visit(image(meta, row)?);
        Ok(())
    })
    .await
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
    only_own: bool,
) -> Result<(TableStats, String, Rows)> {
    let own = only_own.then(|| own(meta.id()));
    let lineage = seal.layer.lineage.0;
    let (mut stats, mut moved) = (TableStats::default(), Rows::default());
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
        let params = [seal.ordinal, lineage].map(Value::Int);
        session.exec(&stamp_sql(meta, own.as_deref()), &params).await?;
    }
    if let Some(own) = own {
        session.run(&format!("DELETE FROM {own}")).await?;
    }
    Ok((stats, finish(hash), moved))
}

/// Gives pending images their ordinals.
pub(crate) fn stamp_sql(meta: &Meta, own: Option<&str>) -> String {
    format!(
        "UPDATE h SET epoch_from = coalesce((SELECT max(p.epoch_to) FROM {history} AS p WHERE p.{LINEAGE} = h.{LINEAGE} \
         AND {} AND p.epoch_to < {PENDING}), 0), epoch_to = ? FROM {history} AS h \
         WHERE h.{LINEAGE} = ? AND h.epoch_to = {PENDING}{}",
        equal(&meta.key, "p", "h"),
        only(meta, own),
        history = meta.history,
    )
}
