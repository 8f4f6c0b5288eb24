//! Whether tables were changed past us: columns (see `meta.rs`), our triggers, and rows that went without firing them.
//!
//! TRUNCATE gives a table another number in InnoDB, or at least another time at which it got its form; so do OPTIMIZE and
//! new indexes, which keep all rows, and a column that is dropped and added again. Which it was is said by what the rows
//! come to (`sum.rs`).

use std::collections::HashMap;

use epoch_adapter::{Error, Layer, Result, TableId, Value, sqlstate};

use crate::install::triggers;
use crate::layout::{LINEAGE, PENDING, history};
use crate::meta::{Catalog, Flavour, Meta};
use crate::pool::Session;
use crate::sum;

/// InnoDB's number of a table. 42501 if the server doesn't tell.
pub(crate) async fn innodb_number(session: &mut Session, flavour: Flavour, table: &str) -> Result<i64> {
    let all = numbers(session, flavour, Some(table)).await?;
    all.get(table)
        .copied()
        .ok_or_else(|| Error::internal(format!("mysql: InnoDB doesn't know table \"{table}\"")))
}

/// InnoDB's numbers of the database's tables.
async fn numbers(
    session: &mut Session,
    flavour: Flavour,
    only: Option<&str>,
) -> Result<HashMap<String, i64>> {
    // Names are kept in the form that files have.
    let decoded = |part: &str| {
        format!(
            "CONVERT(CONVERT(CAST(SUBSTRING_INDEX(NAME, '/', {part}) AS BINARY) USING filename) USING utf8mb4)"
        )
    };
    let sql = format!(
        "SELECT {} COLLATE utf8mb4_bin AS epoch_name, CAST(TABLE_ID AS SIGNED) FROM {} WHERE NAME LIKE '%/%' \
         AND {} COLLATE utf8mb4_bin = CONVERT(DATABASE() USING utf8mb4) COLLATE utf8mb4_bin{}",
        decoded("-1"),
        flavour.tables(),
        decoded("1"),
        if only.is_some() { " HAVING epoch_name = ?" } else { "" }
    );
    let params: Vec<_> = only.map(|name| Value::Text(name.to_owned())).into_iter().collect();
    let rows = session.rows(&sql, &params).await.map_err(|e| match e.code() {
        sqlstate::INSUFFICIENT_PRIVILEGE => e
            .with_detail("Whether a table was truncated is seen by its number in InnoDB.")
            .with_hint("GRANT PROCESS ON *.* to the user of the backend's url."),
        _ => e,
    })?;
    Ok(rows.into_iter().filter_map(|row| mysql_async::from_row_opt(row).ok()).collect())
}

/// When the triggers of a table were made.
pub(crate) async fn created(session: &mut Session, id: TableId) -> Result<String> {
    let pattern = format!("epoch!_capture!_{}!_%", id.0);
    let mut found = found(session, &pattern).await?;
    found.sort();
    Ok(found.into_iter().map(|t| format!("{} {}", t.0, t.3)).collect::<Vec<_>>().join("; "))
}

/// Name, table, body, and when it was made.
type Found = (String, String, String, String);

async fn found(session: &mut Session, pattern: &str) -> Result<Vec<Found>> {
    let sql = "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT, CAST(CREATED AS CHAR) \
        FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() AND TRIGGER_NAME LIKE ? ESCAPE '!'";
    let rows = session.rows(sql, &[Value::Text(pattern.to_owned())]).await?;
    Ok(rows.into_iter().filter_map(|row| mysql_async::from_row_opt(row).ok()).collect())
}

/// Notes the tables whose triggers aren't as we made them, or whose rows went past them.
pub(crate) async fn look(session: &mut Session, catalog: &mut Catalog) -> Result<()> {
    if catalog.by_id.is_empty() {
        return Ok(());
    }
    let mut all = found(session, "epoch!_capture!_%").await?;
    all.sort();
    let numbers = numbers(session, catalog.flavour, None).await?;
    let noted = "SELECT id, innodb, formed, made FROM epoch_registered";
    type Noted = (i64, i64, Option<String>, String);
    let rows: Vec<Noted> = session
        .rows(noted, &[])
        .await?
        .into_iter()
        .filter_map(|row| mysql_async::from_row_opt(row).ok())
        .collect();
    for (id, number, formed, made) in rows {
        let Some(meta) = catalog.by_id.get(&TableId(id)).cloned() else { continue };
        if meta.drift.is_some() {
            continue;
        }
        let now = numbers.get(meta.name()).copied();
        let reason = match (gap(&meta, &all, &made), now) {
            (Some(reason), _) => Some(reason),
            (None, None) => Some("InnoDB has no single table of this name".to_owned()),
            (None, Some(now)) if now == number && formed.as_ref() == Some(&meta.physical.formed) => None,
            (None, Some(now)) => {
                let form = (now, meta.physical.formed.clone());
                if catalog.lost.get(&meta.id()) == Some(&form) {
                    Some(LOST.to_owned())
                } else if reformed(session, &meta, now).await? {
                    None
                } else {
                    if meta.physical.settled {
                        catalog.lost.insert(meta.id(), form);
                    }
                    Some(LOST.to_owned())
                }
            }
        };
        if let Some(reason) = reason {
            catalog.gaps.insert(meta.id(), reason);
        }
    }
    Ok(())
}

/// How the triggers of a table differ from ours.
fn gap(meta: &Meta, all: &[Found], made: &str) -> Option<String> {
    let ours = format!("epoch_capture_{}_", meta.id().0);
    for on_overlay in [false, true] {
        for sql in triggers(meta, on_overlay) {
            let name = sql.split_whitespace().nth(2).unwrap_or_default();
            let Some((_, table, body, _)) = all.iter().find(|t| t.0 == name) else {
                return Some(format!("trigger {name} was dropped"));
            };
            let expected = sql.find("BEGIN").and_then(|at| sql.get(at..)).unwrap_or_default();
            let on = if on_overlay { &meta.overlay } else { meta.name() };
            if table != on || body.trim() != expected.trim() {
                return Some(format!("trigger {name} was altered"));
            }
        }
    }
    let now: Vec<_> =
        all.iter().filter(|t| t.0.starts_with(&ours)).map(|t| format!("{} {}", t.0, t.3)).collect();
    (now.join("; ") != made).then(|| "its triggers were made anew".to_owned())
}

/// What is said of a table that was altered or rebuilt and hasn't the rows of its last commit.
const LOST: &str = "the table was truncated, filled anew, or altered so that rows changed";

/// Whether a table that has another number, or was given its form at another time, than is noted still has the rows of
/// its last commit.
async fn reformed(session: &mut Session, meta: &Meta, number: i64) -> Result<bool> {
    if !sum::holds(session, meta).await? {
        return Ok(false);
    }
    // A time that is as good as now tells nothing of a change that comes in the same second: look again.
    if meta.physical.settled {
        let sql = "UPDATE epoch_registered SET innodb = ?, formed = ? WHERE id = ?";
        let params = [Value::Int(number), Value::Text(meta.physical.formed.clone()), Value::Int(meta.id().0)];
        match session.exec(sql, &params).await {
            // A commit has the row: the next time.
            Err(e) if e.code() == sqlstate::LOCK_NOT_AVAILABLE => {}
            done => drop(done?),
        }
        tracing::info!(table = meta.name(), "the table was altered or rebuilt, and has its rows");
    }
    Ok(true)
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
        format!("SELECT 1 FROM {} WHERE {LINEAGE} = ? AND epoch_to = {PENDING} LIMIT 1", history(table));
    match session.exists(&sql, &[Value::Int(layer.lineage.0)]).await {
        Err(e) if e.code() == sqlstate::UNDEFINED_TABLE => Ok(false),
        found => Ok(!found?),
    }
}
