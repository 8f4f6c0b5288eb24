//! Publishing on a branch: one entry of the log, with what changed under the new ordinal and what stays uncommitted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{
    At, Error, Layer, Ordinal, Result, Row, RowChange, SealMode, Sealed, TableChanges, TableDef, TableStats,
    View,
};
use epoch_layers::errors::changed_since;

use crate::check::{check_all, checks, not_null};
use crate::diff::{Differences, count, digest, normal_keys};
use crate::hub::{Hub, Seen};
use crate::layer::Over;
use crate::rows::{self, Keyed};
use crate::state::{Event, File, Part, State};
use crate::tx::busy;
use crate::types::{Shared, normal};

/// How often others may write to the backend's log first.
const ATTEMPTS: usize = 200;

/// One publication.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seal<'a> {
    pub operation: &'a str,
    pub tables: &'a [Arc<TableDef>],
    pub layer: Layer,
    pub ordinal: Ordinal,
    pub mode: SealMode,
}

/// The changes to a table in the form in which values are compared.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    pub table: Arc<TableDef>,
    pub rows: Vec<RowChange>,
}

impl Changes {
    pub(crate) fn of(changes: &TableChanges) -> Result<Self> {
        let schema = &changes.table.schema;
        let keys: Vec<Row> = changes.changes.iter().map(|c| c.key.clone()).collect();
        let side = |side: fn(&RowChange) -> &Option<Row>| -> Result<Vec<Option<Row>>> {
            let given: Vec<Row> = changes.changes.iter().filter_map(|c| side(c).clone()).collect();
            let mut rows = normal(schema, &given)?.into_iter();
            Ok(changes.changes.iter().map(|c| side(c).as_ref().and_then(|_| rows.next())).collect())
        };
        let (before, after) = (side(|c| &c.before)?, side(|c| &c.after)?);
        let keys = normal_keys(schema, &keys)?.into_iter();
        let rows = keys.zip(before.into_iter().zip(after));
        let rows = rows.map(|(key, (before, after))| RowChange { key, before, after }).collect();
        Ok(Self { table: Arc::clone(&changes.table), rows })
    }
}

/// What becomes of one table.
struct Prepared {
    table: Arc<TableDef>,
    net: Differences,
    rest: Vec<Keyed>,
    /// Files that nobody needs afterwards.
    old: Vec<File>,
}

/// Publishes on a branch.
pub(crate) async fn of_branch(hub: &Hub, seal: Seal<'_>, changes: &[Changes]) -> Result<Sealed> {
    let mut state = hub.log.refresh().await?;
    let tables = tables_of(seal, changes);
    for table in &tables {
        state = hub.state(table).await?;
    }
    for _ in 0..ATTEMPTS {
        let next = state.next;
        if let Some(done) = state.sealed(seal.operation) {
            return Ok(done.clone());
        }
        if let Some(event) = missing_layer(&state, seal, changes) {
            hub.log.append(&state, event).await?;
            state = hub.log.refresh().await?;
            continue;
        }
        let mut prepared = Vec::new();
        for table in &tables {
            let own = changes.iter().find(|c| c.table.id == table.id).map_or(&[][..], |c| c.rows.as_slice());
            prepared.extend(prepare(hub, &mut state, seal, table, own).await?);
        }
        if state.next != next {
            // Its files were replaced meanwhile: all tables are looked at in one state, or none.
            continue;
        }
        let (event, sealed) = event(hub, seal, &prepared).await?;
        let made = parts_files(&event);
        match hub.log.append(&state, event).await {
            Ok(true) => {
                rows::forget(&hub.root, prepared.into_iter().flat_map(|p| p.old).collect()).await;
                return Ok(sealed);
            }
            Ok(false) => rows::forget(&hub.root, made).await,
            Err(e) => return Err(e),
        }
        state = hub.log.refresh().await?;
    }
    Err(busy())
}

fn parts_files(event: &Event) -> Vec<File> {
    let Event::Seal { parts, .. } = event else { return Vec::new() };
    parts.iter().flat_map(|p| [p.file.clone(), p.rest.clone()]).flatten().collect()
}

/// The seal's tables, and those that it changes.
pub(crate) fn tables_of(seal: Seal<'_>, changes: &[Changes]) -> Vec<Arc<TableDef>> {
    let mut out: Vec<Arc<TableDef>> = Vec::new();
    for table in seal.tables.iter().chain(changes.iter().map(|c| &c.table)) {
        if !out.iter().any(|t| t.id == table.id) {
            out.push(Arc::clone(table));
        }
    }
    out
}

fn missing_layer(state: &State, seal: Seal<'_>, changes: &[Changes]) -> Option<Event> {
    let missing = |c: &&Changes| !c.rows.is_empty() && state.held(c.table.id, seal.layer.lineage).is_none();
    let table = changes.iter().find(missing)?.table.id.0;
    Some(Event::Layer { table, lineage: seal.layer.lineage.0, base: seal.layer.base, copy: None })
}

async fn prepare(
    hub: &Hub,
    state: &mut Arc<State>,
    seal: Seal<'_>,
    table: &Arc<TableDef>,
    changes: &[RowChange],
) -> Result<Option<Prepared>> {
    let Some(held) = state.held(table.id, seal.layer.lineage) else { return Ok(None) };
    let old = held.pending.clone();
    if old.is_empty() && changes.is_empty() || seal.mode.is_own() && changes.is_empty() {
        return Ok(None);
    }
    let seen = hub.see(state, table, &View { layer: seal.layer, at: At::Working }).await?;
    let Some((layer, _)) = &seen.layer else { return Ok(None) };
    compare(hub, table, &seen, changes).await?;
    check(hub, table, &seen, changes).await?;
    let row = |row: &Option<Row>| row.clone().map(Arc::new);
    let own: Over = changes.iter().map(|c| (c.key.clone(), row(&c.after))).collect();
    let mut pending = layer.pending().clone();
    let published: Over = match seal.mode {
        SealMode::Own | SealMode::Exact => {
            pending.retain(|key, _| !own.contains_key(key));
            own
        }
        SealMode::All => {
            let mut all = std::mem::take(&mut pending);
            all.extend(own);
            all
        }
    };
    let net = net(hub, table, &seen, published).await?;
    Ok(Some(Prepared { table: Arc::clone(table), net, rest: pending.into_iter().collect(), old }))
}

/// What rows of a branch come to against what it committed last.
async fn net(hub: &Hub, table: &TableDef, seen: &Seen, rows: Over) -> Result<Differences> {
    let mut known: HashMap<Row, Option<Shared>> = HashMap::new();
    let mut below: HashSet<Row> = HashSet::new();
    let Some((layer, _)) = &seen.layer else { return Ok(Differences::new()) };
    for key in rows.keys() {
        match layer.committed(key) {
            Some(row) => {
                known.insert(key.clone(), row.clone());
            }
            None => {
                below.insert(key.clone());
            }
        }
    }
    let base = Seen { base: seen.base.clone(), layer: None, own: Over::new() };
    known.extend(
        base.rows(hub, &table.schema, below.iter().collect())
            .await?
            .into_iter()
            .map(|(k, row)| (k, Some(row))),
    );
    let mut out = Differences::new();
    for (key, after) in rows {
        let before = known.remove(&key).flatten();
        if before != after {
            out.insert(key, (before, after));
        }
    }
    Ok(out)
}

/// Net uncommitted changes of a branch.
pub(crate) async fn pending(hub: &Hub, table: &TableDef, layer: Layer) -> Result<TableStats> {
    let mut state = hub.state(table).await?;
    let nothing = |held: &Arc<crate::state::Held>| held.pending.is_empty();
    if state.held(table.id, layer.lineage).is_none_or(nothing) {
        return Ok(TableStats::default());
    }
    let seen = hub.see(&mut state, table, &View { layer, at: At::Working }).await?;
    let Some((held, _)) = &seen.layer else { return Ok(TableStats::default()) };
    Ok(count(&net(hub, table, &seen, held.pending().clone()).await?, false))
}

/// 40001 unless each row is what its change was computed from.
async fn compare(hub: &Hub, table: &TableDef, seen: &Seen, changes: &[RowChange]) -> Result<()> {
    let rows = seen.rows(hub, &table.schema, changes.iter().map(|c| &c.key).collect()).await?;
    for change in changes {
        if rows.get(&change.key).map(Arc::as_ref) != change.before.as_ref() {
            return Err(changed_since(&table.name.name, &table.schema.key_names(), change));
        }
    }
    Ok(())
}

async fn check(hub: &Hub, table: &TableDef, seen: &Seen, changes: &[RowChange]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let newest = hub.source(&table.location.table)?.newest().await;
    let version = newest.as_ref().unwrap_or(&seen.base.version);
    let fresh: Vec<Arc<Row>> = changes.iter().filter_map(|c| c.after.clone().map(Arc::new)).collect();
    fresh.iter().try_for_each(|row| not_null(table, row))?;
    check_all(&hub.context, table, &checks(&hub.context, &table.schema, version)?, &fresh).await
}

/// The entry of the log, with its files written.
async fn event(hub: &Hub, seal: Seal<'_>, prepared: &[Prepared]) -> Result<(Event, Sealed)> {
    let (mut parts, mut sealed) = (Vec::new(), Sealed::default());
    for Prepared { table, net, rest, .. } in prepared {
        let lineage = seal.layer.lineage;
        let rows: Vec<Keyed> = net.iter().map(|(key, (_, after))| (key.clone(), after.clone())).collect();
        let file = rows::put_some(&hub.root, table.id, lineage, &table.schema, &rows).await?;
        let rest = rows::put_some(&hub.root, table.id, lineage, &table.schema, rest).await?;
        parts.push(Part { table: table.id.0, point: None, file, rest });
        let stats = count(net, false);
        if stats.rows() > 0 {
            sealed.tables.push((table.id, stats, digest(net)));
        }
    }
    let (operation, lineage) = (seal.operation.to_owned(), seal.layer.lineage.0);
    Ok((Event::Seal { operation, lineage, ordinal: seal.ordinal, sealed: sealed.clone(), parts }, sealed))
}

/// XX000: what can't be.
pub(crate) fn impossible(what: &str) -> Error {
    Error::internal(format!("delta: {what}"))
}
