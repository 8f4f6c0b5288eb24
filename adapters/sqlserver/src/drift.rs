//! Whether tables were changed past us: columns (see `meta.rs`), our triggers, and rows that went without firing them.
//!
//! TRUNCATE, bulk loads without FIRE_TRIGGERS and what is written while a trigger is disabled leave another number of
//! rows than images tell of; ALTER TABLE gives the table another time of its form. Either may be harmless (rows of open
//! transactions count; a new index is a new form). Which it was is said by what the rows come to (`sum.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use epoch_adapter::{Layer, Result, TableId, Value, sqlstate};

use crate::ddl::{EVENTS, trigger, triggers};
use crate::layout::{LINEAGE, PENDING, equal, history, quote, turn};
use crate::meta::{Catalog, Meta};
use crate::pool::{Cells, Session, flag, number, text};
use crate::sum;

/// A trigger of ours, as it is there.
#[derive(Debug, Clone)]
struct Found {
    /// Quoted, with its schema.
    name: String,
    parent: i64,
    body: String,
    disabled: bool,
    /// When it was made and altered last.
    times: String,
    /// Whether it comes before others.
    first: bool,
}

const TRIGGERS: &str = "SELECT s.name, g.name, CAST(g.parent_id AS bigint), m.definition, CAST(g.is_disabled AS int), \
    CONVERT(nvarchar(40), g.create_date, 126) + N' ' + CONVERT(nvarchar(40), g.modify_date, 126), \
    CASE WHEN EXISTS (SELECT 1 FROM sys.trigger_events AS e WHERE e.object_id = g.object_id AND e.is_first = 1) \
    THEN 1 ELSE 0 END FROM sys.triggers AS g JOIN sys.objects AS o ON o.object_id = g.object_id \
    JOIN sys.schemas AS s ON s.schema_id = o.schema_id JOIN sys.sql_modules AS m ON m.object_id = g.object_id \
    WHERE g.name LIKE ? ESCAPE N'!' ORDER BY s.name, g.name";

async fn found(session: &mut Session, pattern: &str) -> Result<Vec<Found>> {
    let one = |row: &Cells| {
        Some(Found {
            name: crate::layout::qualified(&text(row, 0)?, &text(row, 1)?),
            parent: number(row, 2)?,
            body: text(row, 3).unwrap_or_default(),
            disabled: flag(row, 4),
            times: text(row, 5).unwrap_or_default(),
            first: flag(row, 6),
        })
    };
    Ok(session.rows(TRIGGERS, &[Value::Text(pattern.to_owned())]).await?.iter().filter_map(one).collect())
}

/// When the triggers of a table were made.
pub(crate) async fn made(session: &mut Session, meta: &Meta) -> Result<String> {
    Ok(times(&found(session, &format!("epoch!_capture!_{}!_%", meta.id().0)).await?, meta))
}

fn times(all: &[Found], meta: &Meta) -> String {
    let ours = names(meta);
    let of = all.iter().filter(|t| ours.contains(&t.name));
    of.map(|t| format!("{} {}", t.name, t.times)).collect::<Vec<_>>().join("; ")
}

fn names(meta: &Meta) -> Vec<String> {
    [false, true].iter().flat_map(|o| EVENTS.iter().map(|e| trigger(meta, *o, e))).collect()
}

/// What is noted of a table.
struct Noted {
    object: i64,
    formed: Option<String>,
    made: String,
    rows: Option<i64>,
}

/// Notes the tables whose triggers aren't as we made them, or whose rows went past them.
pub(crate) async fn look(session: &mut Session, catalog: &mut Catalog) -> Result<()> {
    if catalog.by_id.is_empty() {
        return Ok(());
    }
    let all = found(session, "epoch!_capture!_%").await?;
    let sql = "SELECT id, object, formed, made, row_count FROM [epoch].[epoch_registered]";
    let mut noted: HashMap<TableId, Noted> = HashMap::new();
    for row in session.rows_of_a_snapshot(sql, &[]).await? {
        let (Some(id), Some(object)) = (number(&row, 0), number(&row, 1)) else { continue };
        let made = text(&row, 3).unwrap_or_default();
        noted.insert(TableId(id), Noted { object, formed: text(&row, 2), made, rows: number(&row, 4) });
    }
    let tables: Vec<Arc<Meta>> = catalog.by_id.values().cloned().collect();
    for meta in tables {
        let Some(noted) = noted.get(&meta.id()).filter(|_| meta.drift.is_none()) else { continue };
        let reason = match gap(&meta, &all) {
            Some(reason) => Some(reason),
            None if noted.object != meta.physical.object => {
                Some("the table was dropped and made anew".to_owned())
            }
            None => moved(session, catalog, &meta, noted, &times(&all, &meta)).await?,
        };
        if let Some(reason) = reason {
            catalog.gaps.insert(meta.id(), reason);
        }
    }
    Ok(())
}

/// How the triggers of a table differ from ours.
fn gap(meta: &Meta, all: &[Found]) -> Option<String> {
    for on_overlay in [false, true] {
        for (sql, event) in triggers(meta, on_overlay).iter().zip(EVENTS) {
            let name = trigger(meta, on_overlay, event);
            let Some(found) = all.iter().find(|t| t.name == name) else {
                return Some(format!("trigger {name} was dropped"));
            };
            if found.disabled {
                return Some(format!("trigger {name} is disabled"));
            }
            if found.body.trim() != sql.trim() || (!on_overlay && found.parent != meta.physical.object) {
                return Some(format!("trigger {name} was altered"));
            }
            if !on_overlay && !found.first {
                return Some(format!("trigger {name} no longer fires first"));
            }
        }
    }
    None
}

/// What is said of a table that hasn't the rows of its last commit.
const LOST: &str = "the table was truncated, filled without firing triggers, or altered so that rows changed";

/// Whether rows went past the triggers of a table that are as they should be now.
async fn moved(
    session: &mut Session,
    catalog: &mut Catalog,
    meta: &Meta,
    noted: &Noted,
    made: &str,
) -> Result<Option<String>> {
    // Its registration is under way still.
    let Some(rows) = noted.rows else { return Ok(None) };
    let form = (meta.physical.formed.clone(), made.to_owned());
    let same_form = (noted.formed.as_ref() == Some(&form.0) && noted.made == form.1)
        || catalog.kept.get(&meta.id()) == Some(&form);
    if same_form && meta.physical.rows == rows + net(session, meta).await? {
        return Ok(None);
    }
    // Nobody is writing to it from here on, so that open transactions have no rows in it.
    let alone = match session.take_turn(&turn(meta.id(), 1), 0).await {
        Err(e) if e.code() == sqlstate::LOCK_NOT_AVAILABLE => false,
        taken => taken.map(|()| true)?,
    };
    if same_form && !alone {
        return Ok(None);
    }
    let judged = judged(session, catalog, meta, (same_form, alone), made).await;
    session.release_turns().await?;
    judged
}

/// `alone`: nobody is writing. Else what the rows come to is told by a snapshot all the same.
async fn judged(
    session: &mut Session,
    catalog: &mut Catalog,
    meta: &Meta,
    (same_form, alone): (bool, bool),
    made: &str,
) -> Result<Option<String>> {
    let sql = "SELECT CAST(coalesce(sum(p.rows), 0) AS bigint) FROM sys.partitions AS p WHERE p.object_id = ? AND p.index_id IN (0, 1)";
    let now = session.number(sql, &[Value::Int(meta.physical.object)]).await?.unwrap_or(-1);
    let sql = "SELECT row_count FROM [epoch].[epoch_registered] WHERE id = ?";
    let rows = session.rows_of_a_snapshot(sql, &[Value::Int(meta.id().0)]).await?;
    let noted = rows.first().and_then(|row| number(row, 0));
    if same_form && noted == Some(now - net(session, meta).await?) {
        return Ok(None);
    }
    let form = (now, meta.physical.formed.clone(), meta.physical.object);
    if catalog.lost.get(&meta.id()) == Some(&form) {
        return Ok(Some(LOST.to_owned()));
    }
    if !sum::holds(session, meta).await? {
        if meta.physical.settled {
            catalog.lost.insert(meta.id(), form);
        }
        return Ok(Some(LOST.to_owned()));
    }
    // A time that is as good as now tells nothing of a change that comes at once: look again. If others are writing a
    // commit may have the row.
    if meta.physical.settled && !alone {
        catalog.kept.insert(meta.id(), (meta.physical.formed.clone(), made.to_owned()));
    } else if meta.physical.settled {
        let sql = "UPDATE [epoch].[epoch_registered] SET formed = ?, made = ? WHERE id = ?";
        let params = [
            Value::Text(meta.physical.formed.clone()),
            Value::Text(made.to_owned()),
            Value::Int(meta.id().0),
        ];
        session.exec(sql, &params).await?;
        tracing::info!(table = meta.name(), "the table was altered or rebuilt, and has its rows");
    }
    Ok(None)
}

/// How many rows more a table has than at its last commit, as its images tell.
pub(crate) fn net_sql(meta: &Meta) -> String {
    let there = meta.key.first().map(|k| quote(k)).unwrap_or_default();
    format!(
        "SELECT CAST(coalesce(sum(CASE WHEN h.epoch_existed = 0 AND c.{there} IS NOT NULL THEN CAST(1 AS bigint) \
         WHEN h.epoch_existed = 1 AND c.{there} IS NULL THEN -1 ELSE 0 END), 0) AS bigint) FROM {} AS h \
         LEFT JOIN {} AS c ON {} WHERE h.{LINEAGE} = 1 AND h.epoch_to = {PENDING}",
        meta.history,
        meta.base,
        equal(&meta.key, "c", "h")
    )
}

async fn net(session: &mut Session, meta: &Meta) -> Result<i64> {
    let rows = session.rows_of_a_snapshot(&net_sql(meta), &[]).await?;
    Ok(rows.first().and_then(|row| number(row, 0)).unwrap_or(0))
}

/// Whether a table was changed past us, and a layer has no uncommitted work in it that could tell.
pub(crate) async fn untouched(
    session: &mut Session,
    catalog: &Catalog,
    table: TableId,
    layer: Layer,
) -> Result<bool> {
    if catalog.drift(table).is_none() {
        return Ok(false);
    }
    let sql =
        format!("SELECT TOP (1) 1 FROM {} WHERE {LINEAGE} = ? AND epoch_to = {PENDING}", history(table));
    match session.exists(&sql, &[Value::Int(layer.lineage.0)]).await {
        Err(e) if e.code() == sqlstate::UNDEFINED_TABLE => Ok(false),
        found => Ok(!found?),
    }
}
