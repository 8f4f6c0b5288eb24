//! Whether tables were changed past us: columns (see `meta.rs`), our triggers, and rows that went without firing them.
//!
//! TRUNCATE gives a table another number in InnoDB; so do OPTIMIZE and some ALTERs, which keep all rows. So each
//! registration has a witness: the key of a row that is there. A table with another number that has it was rebuilt; one
//! that hasn't was truncated, as far as anybody can tell.

use std::collections::HashMap;

use epoch_adapter::{Error, Layer, Result, Row, TableId, Value, sqlstate};

use crate::install::{key_text, triggers};
use crate::layout::{LINEAGE, PENDING, equal, history};
use crate::meta::{Catalog, Flavour, Meta};
use crate::pool::Session;

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

/// The key of some row, if there is one.
pub(crate) async fn witness(session: &mut Session, meta: &Meta) -> Result<Option<String>> {
    let sql = format!("SELECT {0} FROM {1} ORDER BY {0} LIMIT 1", meta.key_columns(""), meta.base);
    match session.rows(&sql, &[]).await?.first_mut() {
        Some(row) => Ok(Some(key_text(&meta.key_row(row, 0)?)?)),
        None => Ok(None),
    }
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
    let noted = "SELECT id, innodb, witness, made FROM epoch_registered";
    type Noted = (i64, i64, Option<String>, String);
    let rows: Vec<Noted> = session
        .rows(noted, &[])
        .await?
        .into_iter()
        .filter_map(|row| mysql_async::from_row_opt(row).ok())
        .collect();
    for (id, number, witness, made) in rows {
        let Some(meta) = catalog.by_id.get(&TableId(id)).cloned() else { continue };
        if meta.drift.is_some() {
            continue;
        }
        let now = numbers.get(meta.name()).copied();
        let reason = match gap(&meta, &all, &made) {
            Some(reason) => Some(reason),
            None if now == Some(number) => None,
            None => emptied(session, &meta, witness, now).await?,
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

/// A table with another number than it had: what it means; nothing, if it still has its witness.
async fn emptied(
    session: &mut Session,
    meta: &Meta,
    witness: Option<String>,
    now: Option<i64>,
) -> Result<Option<String>> {
    let truncated = || Some("the table was truncated, or filled anew".to_owned());
    if let Some(text) = witness {
        let key: Row = serde_json::from_str(&text)
            .map_err(|e| Error::new(sqlstate::DATA_CORRUPTED, format!("epoch_registered is damaged: {e}")))?;
        // One that was written to since may have been so by who filled the table anew.
        let sql = format!(
            "SELECT 1 FROM {} AS x WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS h WHERE h.{LINEAGE} = 1 AND {} \
             AND h.epoch_to = {PENDING})",
            meta.base,
            meta.is_key("x"),
            meta.history,
            equal(&meta.key, "h", "x")
        );
        if !session.exists(&sql, &key).await? {
            return Ok(truncated());
        }
    }
    if let Some(now) = now {
        let sql = "UPDATE epoch_registered SET innodb = ? WHERE id = ?";
        session.exec(sql, &[Value::Int(now), Value::Int(meta.id().0)]).await?;
        tracing::info!(table = meta.name(), "the table was rebuilt");
    }
    Ok(None)
}

/// Takes a new witness, in a transaction that keeps everybody from writing to the table.
pub(crate) async fn note_witness(session: &mut Session, meta: &Meta) -> Result<()> {
    let witness = witness(session, meta).await?.map_or(Value::Null, Value::Text);
    let sql = "UPDATE epoch_registered SET witness = ? WHERE id = ?";
    session.exec(sql, &[witness, Value::Int(meta.id().0)]).await.map(drop)
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
