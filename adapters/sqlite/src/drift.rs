//! Whether tables were changed past us: our triggers compared with what install would make now.
//!
//! Looked at whenever the file's schema has changed, in the transaction that then reads, so that no read
//! of a branch or commit and no write to one ever goes by a change.

use std::collections::HashMap;
use std::sync::Arc;

use epoch_adapter::{Layer, Result, TableId};
use rusqlite::{Connection, TransactionBehavior};

use crate::adapter::Shared;
use crate::error::{is_busy, map};
use crate::install::{On, Trigger, triggers};
use crate::layout::{LINEAGE, PENDING, history, overlay, quote};
use crate::meta::{self, Catalog, Meta};

/// The triggers of the file.
#[derive(Default)]
struct Found {
    by_name: HashMap<String, One>,
    /// The newest one's name, by lower-case table.
    newest: HashMap<String, String>,
}

struct One {
    /// Its place in the order of creation.
    at: usize,
    table: String,
    sql: String,
}

impl Found {
    fn read(conn: &Connection) -> Result<Self> {
        // VACUUM and dumps keep this order.
        let sql = "SELECT name, tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY rowid";
        let mut stmt = conn.prepare(sql).map_err(map)?;
        let mut rows = stmt.query([]).map_err(map)?;
        let mut out = Self::default();
        while let Some(row) = rows.next().map_err(map)? {
            let at = out.by_name.len();
            let read = || -> rusqlite::Result<_> { Ok((row.get(0)?, row.get(1)?, row.get(2)?)) };
            let (name, table, sql): (String, String, String) = read().map_err(map)?;
            out.newest.insert(table.to_ascii_lowercase(), name.clone());
            out.by_name.insert(name, One { at, table, sql });
        }
        Ok(out)
    }
}

/// Notes the tables whose triggers aren't as we made them.
pub(crate) fn look(conn: &Connection, catalog: &mut Catalog) -> Result<()> {
    if catalog.by_id.is_empty() {
        return Ok(());
    }
    let found = Found::read(conn)?;
    for (id, meta) in catalog.by_id.iter().filter(|(_, meta)| meta.drift.is_none()) {
        match gap(meta, &found) {
            Some(reason) => drop(catalog.gaps.insert(*id, reason)),
            None if is_late(meta, &found) => catalog.late.push(*id),
            None => {}
        }
    }
    Ok(())
}

/// How the triggers of a table differ from ours.
fn gap(meta: &Meta, found: &Found) -> Option<String> {
    let (mut last_of_base, mut first_of_overlay) = (None, None);
    for trigger in triggers(meta) {
        let table = if trigger.on == On::Overlay { overlay(meta.id()) } else { meta.name().to_owned() };
        let one = found.by_name.get(&trigger.name).filter(|one| one.table.eq_ignore_ascii_case(&table));
        let Some(one) = one else { return Some(format!("trigger {} was dropped", trigger.name)) };
        if !does(one, &trigger) {
            return Some(match trigger.parts.is_empty() {
                true => format!("trigger {} was altered", trigger.name),
                false => format!("a unique index was made that trigger {} doesn't know", trigger.name),
            });
        }
        match trigger.on {
            On::Base => last_of_base = last_of_base.max(Some((one.at, trigger.name))),
            On::Overlay => {
                first_of_overlay = Some(first_of_overlay.map_or(one.at, |at: usize| at.min(one.at)))
            }
            On::BaseLast => {}
        }
    }
    // Triggers go with their table. Whoever makes a table anew and its triggers from their texts fills it
    // before they are there.
    let (last, name) = last_of_base?;
    (last > first_of_overlay?).then(|| format!("trigger {name} was made anew"))
}

/// Whether a trigger does at least what ours does.
fn does(found: &One, ours: &Trigger) -> bool {
    found.sql == ours.sql || (!ours.parts.is_empty() && ours.parts.iter().all(|p| found.sql.contains(p)))
}

/// Whether a trigger on the table is newer than our last one, so that it fires first. What it writes is
/// captured as it should be all the same, unless we couldn't tell a new row's key beforehand.
fn is_late(meta: &Meta, found: &Found) -> bool {
    let newest = found.newest.get(&meta.name().to_ascii_lowercase());
    newest.is_some_and(|newest| last_of(meta).is_none_or(|last| *newest != last.name))
}

fn last_of(meta: &Meta) -> Option<Trigger> {
    triggers(meta).into_iter().find(|t| t.on == On::BaseLast)
}

/// Makes our last trigger the newest again where it isn't. The catalog as it is then.
pub(crate) fn mend(shared: &Shared) -> Result<Arc<Catalog>> {
    let now = current(shared)?;
    if now.late.is_empty() {
        return Ok(now);
    }
    let mut conn = shared.pool.get()?;
    let tx = match conn.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        // Somebody is writing for long; nothing depends on its being done now.
        Err(e) if is_busy(&e) => return Ok(now),
        Err(e) => return Err(map(e)),
    };
    let catalog = shared.catalog(&tx)?;
    for meta in catalog.late.iter().filter_map(|id| catalog.by_id.get(id)) {
        let Some(last) = last_of(meta) else { continue };
        tx.execute_batch(&format!("DROP TRIGGER main.{}; {}", quote(&last.name), last.sql)).map_err(map)?;
        tracing::info!(table = meta.name(), "a newer trigger was found: ours is made the newest again");
    }
    tx.commit().map_err(map)?;
    drop(conn);
    current(shared)
}

fn current(shared: &Shared) -> Result<Arc<Catalog>> {
    let conn = shared.reader()?;
    let catalog = shared.catalog(&conn);
    conn.execute_batch("ROLLBACK").map_err(map)?;
    catalog
}

/// Whether a table was changed past us, and a layer has no uncommitted work in it that could tell.
pub(crate) fn untouched(conn: &Connection, catalog: &Catalog, table: TableId, layer: Layer) -> Result<bool> {
    if catalog.drift(table).is_none() || !meta::exists(conn, &history(table))? {
        return Ok(false);
    }
    let sql =
        format!("SELECT 1 FROM {} WHERE {LINEAGE} = ?1 AND epoch_to = {PENDING} LIMIT 1", history(table));
    let touched = conn.prepare(&sql).and_then(|mut s| s.exists([layer.lineage.0])).map_err(map)?;
    Ok(!touched)
}
