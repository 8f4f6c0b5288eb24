//! Publishing on main.
//!
//! What is uncommitted on main is what differs between the version of the last ordinal and the newest one, whoever wrote
//! it. A seal without changes only notes the newest version under its ordinal. One with changes first notes in the log what
//! it is going to do, then makes one commit of each Delta table, known by its number, and then notes what it did: whoever
//! comes after a crash sees how far it got, and finishes it, or takes it back.

use std::collections::HashSet;
use std::sync::Arc;

use epoch_adapter::{LineageId, Result, Row, RowChange, SealMode, Sealed, TableDef, TableStats, sqlstate};

use crate::apply::{Applied, application, apply, committed, compare, duplicates, paired, twice};
use crate::describe::check_same;
use crate::diff::{self, Differences, count, digest};
use crate::hub::{Base, Hub};
use crate::layer::required;
use crate::rows::{self, Keyed};
use crate::seal::{Changes, Seal, impossible, tables_of};
use crate::state::{Event, File, Intended, Intent, Part, Point, State};
use crate::tx::busy;

/// How often others may write to the backend's log first.
const ATTEMPTS: usize = 200;

/// Publishes on main.
pub(crate) async fn publish(hub: &Hub, seal: Seal<'_>, changes: &[Changes]) -> Result<Sealed> {
    let mut state = hub.log.reload().await?;
    if let Some(done) = state.sealed(seal.operation) {
        return Ok(done.clone());
    }
    for intent in state.intents.clone() {
        let finished = finish(hub, &intent).await;
        if intent.operation == seal.operation {
            return finished;
        }
        // What can't be finished now is in nobody's way: its rows are compared like all others.
        if let Err(error) = finished {
            tracing::warn!(%error, operation = intent.operation, "an interrupted operation could not be finished");
        }
        state = hub.log.refresh().await?;
    }
    let changes: Vec<&Changes> = changes.iter().filter(|c| !c.rows.is_empty()).collect();
    if changes.is_empty() {
        return match seal.mode {
            SealMode::All => note(hub, seal).await,
            // Nothing but the changes says what the rows become.
            SealMode::Own | SealMode::Exact => conclude(hub, seal, Vec::new()).await,
        };
    }
    let intent = intend(hub, state, seal, &changes).await?;
    hit("delta-intended");
    finish(hub, &intent).await
}

/// The result of an operation, if it took place: an interrupted one is finished first, or taken back.
pub(crate) async fn sealed(hub: &Hub, operation: &str) -> Result<Option<Sealed>> {
    let state = hub.log.reload().await?;
    if let Some(done) = state.sealed(operation) {
        return Ok(Some(done.clone()));
    }
    let Some(intent) = state.intents.iter().find(|i| i.operation == operation) else { return Ok(None) };
    match finish(hub, intent).await {
        Ok(sealed) => Ok(Some(sealed)),
        Err(e) if e.code().starts_with("58") || e.code().starts_with("08") => Err(e),
        // It was taken back.
        Err(_) => Ok(None),
    }
}

/// Notes the newest versions under the ordinal.
async fn note(hub: &Hub, seal: Seal<'_>) -> Result<Sealed> {
    let mut parts = Vec::new();
    for table in seal.tables {
        let state = hub.state(table).await?;
        parts.extend(part(hub, &state, seal, table, None).await?);
    }
    conclude(hub, seal, parts).await
}

/// What a seal publishes of a table, and the files for it.
struct Made {
    part: Part,
    table: Arc<TableDef>,
    net: Differences,
}

/// Of a table: which version the ordinal is, and what differs from the one before.
async fn part(
    hub: &Hub,
    state: &State,
    seal: Seal<'_>,
    table: &Arc<TableDef>,
    applied: Option<(&Applied, &[RowChange])>,
) -> Result<Option<Made>> {
    let known = hub.table(state, table)?;
    let last = known.last().ok_or_else(|| impossible("a table without a point"))?;
    let then = hub.at_point(known, table, last).await?;
    if seal.mode.is_own() && applied.is_none() {
        return Ok(None);
    }
    // What the last ordinal needs and this one doesn't is kept aside by looking.
    let newest = hub.newest(known, table).await?;
    let now = match applied {
        Some((applied, _)) => hub.source(&table.location.table)?.at(applied.after).await?,
        None => newest,
    };
    if applied.is_none() && now.number() == last.version && then.over.is_empty() {
        return Ok(None);
    }
    check_same(known, table, &now)?;
    let (net, over) = match (seal.mode, applied) {
        (SealMode::Own | SealMode::Exact, Some((applied, changes))) => {
            let others =
                diff::of_main(hub, &table.schema, &then, &Base::plain(applied.before.clone())).await?;
            own(others, changes)
        }
        _ => (diff::of_main(hub, &table.schema, &then, &Base::plain(now.clone())).await?, Vec::new()),
    };
    let there: HashSet<Row> =
        net.iter().filter(|(_, (_, after))| after.is_some()).map(|(key, _)| key.clone()).collect();
    if let Some(key) = duplicates(hub, table, &now, there).await?.first() {
        return Err(twice(table, key));
    }
    let put = async |rows: Vec<Keyed>| {
        rows::put_some(&hub.root, table.id, LineageId::MAIN, &table.schema, &rows).await
    };
    let changed = net.iter().map(|(key, (_, after))| (key.clone(), after.clone())).collect();
    let point = Point {
        ordinal: seal.ordinal,
        version: now.number(),
        over: put(over).await?,
        changed: put(changed).await?,
    };
    let part = Part { table: table.id.0, point: Some(point), file: None, rest: None };
    Ok(Some(Made { part, table: Arc::clone(table), net }))
}

/// What an operation's own changes come to against the last ordinal, and what others' changes hide from it.
fn own(mut others: Differences, changes: &[RowChange]) -> (Differences, Vec<Keyed>) {
    let mut net = Differences::new();
    for change in changes {
        let shared = |row: &Option<Row>| row.clone().map(Arc::new);
        let before = match others.remove(&change.key) {
            Some((before, _)) => before,
            None => shared(&change.before),
        };
        let after = shared(&change.after);
        if before != after {
            net.insert(change.key.clone(), (before, after));
        }
    }
    let over = others.into_iter().map(|(key, (before, _))| (key, before)).collect();
    (net, over)
}

/// Notes what a seal published.
async fn conclude(hub: &Hub, seal: Seal<'_>, made: Vec<Made>) -> Result<Sealed> {
    let mut sealed = Sealed::default();
    let mut parts = Vec::new();
    for Made { part, table, net } in made {
        let stats = count(&net, false);
        if stats.rows() > 0 {
            sealed.tables.push((table.id, stats, digest(&net)));
        }
        parts.push(part);
    }
    let (operation, lineage) = (seal.operation.to_owned(), LineageId::MAIN.0);
    let event = Event::Seal { operation, lineage, ordinal: seal.ordinal, sealed: sealed.clone(), parts };
    for _ in 0..ATTEMPTS {
        let state = hub.log.refresh().await?;
        if let Some(done) = state.sealed(seal.operation) {
            return Ok(done.clone());
        }
        // Seals of one repository come one after the other: others only write to branches.
        if hub.log.append(&state, event.clone()).await? {
            return Ok(sealed);
        }
    }
    Err(busy())
}

/// Notes what an operation is going to do, after comparing all its rows.
async fn intend(hub: &Hub, mut state: Arc<State>, seal: Seal<'_>, changes: &[&Changes]) -> Result<Intent> {
    let mut parts = Vec::new();
    for Changes { table, rows } in changes {
        state = hub.state(table).await?;
        let known = hub.table(&state, table)?;
        let version = hub.newest(known, table).await?;
        check_same(known, table, &version)?;
        version.check_writable()?;
        compare(hub, table, &version, rows).await?;
        let side = |side: fn(&RowChange) -> &Option<Row>| -> Vec<Keyed> {
            rows.iter().map(|c| (c.key.clone(), side(c).clone().map(Arc::new))).collect()
        };
        let put = async |rows: Vec<Keyed>| {
            rows::put(&hub.root, table.id, LineageId::MAIN, &table.schema, &rows).await
        };
        let (before, after) = (put(side(|c| &c.before)).await?, put(side(|c| &c.after)).await?);
        parts.push(Intended { table: table.id.0, version: version.number(), before, after });
    }
    let owned: Vec<Changes> = changes.iter().map(|c| (*c).clone()).collect();
    let tables = tables_of(seal, &owned).iter().map(|t| (**t).clone()).collect();
    let mut intent = Intent {
        operation: seal.operation.to_owned(),
        ordinal: seal.ordinal,
        own: seal.mode.is_own(),
        tables,
        parts,
        number: 0,
    };
    for _ in 0..ATTEMPTS {
        intent.number = i64::try_from(state.next).unwrap_or(i64::MAX);
        if hub.log.append(&state, Event::Intend(Box::new(intent.clone()))).await? {
            return Ok(intent);
        }
        state = hub.log.refresh().await?;
    }
    Err(busy())
}

/// What an operation does to one table.
struct Step {
    table: Arc<TableDef>,
    intended: Intended,
    changes: Vec<RowChange>,
    applied: Option<Applied>,
}

/// Does what isn't done yet of an operation. If a part of it can't be done, what was is taken back.
async fn finish(hub: &Hub, intent: &Intent) -> Result<Sealed> {
    let mut steps = steps(hub, intent).await?;
    let state = hub.log.refresh().await?;
    let owner = state.owner.clone().unwrap_or_default();
    let mark = (application(&owner), intent.number);
    for at in 0..steps.len() {
        let Some(step) = steps.get_mut(at) else { break };
        let known = hub.table(&state, &step.table)?;
        let result = match found(hub, step, &mark).await {
            Ok(Some(applied)) => Ok(applied),
            Ok(None) => apply_one(hub, known, step, &mark).await,
            Err(e) => Err(e),
        };
        match result {
            Ok(applied) => step.applied = Some(applied),
            Err(e) if e.code().starts_with("58") => return Err(e),
            Err(e) => {
                take_back(hub, &state, intent, &steps, &mark).await?;
                return Err(e);
            }
        }
        hit("delta-applied");
    }
    match publish_steps(hub, &state, intent, &steps).await {
        Err(e) if !e.code().starts_with("58") => {
            take_back(hub, &state, intent, &steps, &mark).await?;
            Err(e)
        }
        Ok(sealed) => {
            hit("delta-sealed");
            forget(hub, intent).await;
            Ok(sealed)
        }
        unknown => unknown,
    }
}

/// Notes what the commits of an operation made of main.
async fn publish_steps(hub: &Hub, state: &State, intent: &Intent, steps: &[Step]) -> Result<Sealed> {
    let mode = if intent.own { SealMode::Own } else { SealMode::All };
    let tables: Vec<Arc<TableDef>> = intent.tables.iter().cloned().map(Arc::new).collect();
    let seal = Seal {
        operation: &intent.operation,
        tables: &tables,
        layer: epoch_adapter::Layer::MAIN,
        ordinal: intent.ordinal,
        mode,
    };
    let mut made = Vec::new();
    for table in &tables {
        let step = steps.iter().find(|s| s.table.id == table.id);
        let applied = step.and_then(|s| Some((s.applied.as_ref()?, s.changes.as_slice())));
        made.extend(part(hub, state, seal, table, applied).await?);
    }
    conclude(hub, seal, made).await
}

async fn apply_one(
    hub: &Hub,
    known: &crate::state::Table,
    step: &Step,
    mark: &(String, i64),
) -> Result<Applied> {
    match apply(hub, known, &step.table, &step.changes, Some(mark.clone())).await {
        Ok(applied) => Ok(applied),
        // What came after the commit may have failed, not the commit.
        Err(error) => match found(hub, step, mark).await {
            Ok(Some(applied)) => Ok(applied),
            _ => Err(error),
        },
    }
}

/// What an operation did to a table already.
async fn found(hub: &Hub, step: &Step, mark: &(String, i64)) -> Result<Option<Applied>> {
    let source = hub.source(&step.table.location.table)?;
    let Some(after) = committed(&source, step.intended.version, mark).await? else { return Ok(None) };
    let before = source.at(after.saturating_sub(1)).await?;
    Ok(Some(Applied { before, after }))
}

async fn steps(hub: &Hub, intent: &Intent) -> Result<Vec<Step>> {
    let mut out = Vec::new();
    for intended in &intent.parts {
        let table = intent.tables.iter().find(|t| t.id.0 == intended.table);
        let table = Arc::new(table.cloned().ok_or_else(|| impossible("an operation on an unknown table"))?);
        let before = required(&hub.root, &table, &intended.before).await?;
        let after = required(&hub.root, &table, &intended.after).await?;
        out.push(Step { table, intended: intended.clone(), changes: paired(before, after), applied: None });
    }
    Ok(out)
}

/// Makes rows that were changed what they were before, where nobody else changed them since.
async fn take_back(
    hub: &Hub,
    state: &State,
    intent: &Intent,
    steps: &[Step],
    mark: &(String, i64),
) -> Result<()> {
    for step in steps {
        if found(hub, step, mark).await?.is_none() {
            continue;
        }
        let known = hub.table(state, &step.table)?;
        let reverse = |c: &RowChange| RowChange {
            key: c.key.clone(),
            before: c.after.clone(),
            after: c.before.clone(),
        };
        let reversed: Vec<RowChange> = step.changes.iter().map(reverse).collect();
        match apply(hub, known, &step.table, &reversed, None).await {
            // Somebody went on from there: the rows are uncommitted changes now, which status shows.
            Err(e) if e.code() == sqlstate::SERIALIZATION_FAILURE => {
                tracing::error!(table = %step.table.name, "changes of a failed operation could not be taken back");
            }
            other => drop(other?),
        }
    }
    for _ in 0..ATTEMPTS {
        let state = hub.log.refresh().await?;
        let open = state.intents.iter().any(|i| i.operation == intent.operation);
        let event = Event::GiveUp { operation: intent.operation.clone() };
        if !open || hub.log.append(&state, event).await? {
            forget(hub, intent).await;
            return Ok(());
        }
    }
    Err(busy())
}

async fn forget(hub: &Hub, intent: &Intent) {
    let files: Vec<File> = intent.parts.iter().flat_map(|p| [p.before.clone(), p.after.clone()]).collect();
    rows::forget(&hub.root, files).await;
}

/// Whether main may have uncommitted changes.
pub(crate) async fn touched(hub: &Hub, table: &TableDef) -> Result<bool> {
    let state = hub.state(table).await?;
    let known = hub.table(&state, table)?;
    let last = known.last().ok_or_else(|| impossible("a table without a point"))?;
    Ok(last.over.is_some() || hub.newest(known, table).await?.number() != last.version)
}

/// Net uncommitted changes of main.
pub(crate) async fn pending(hub: &Hub, table: &TableDef) -> Result<TableStats> {
    let state = hub.state(table).await?;
    let known = hub.table(&state, table)?;
    let last = known.last().ok_or_else(|| impossible("a table without a point"))?;
    let now = hub.newest(known, table).await?;
    if now.number() == last.version && last.over.is_none() {
        return Ok(TableStats::default());
    }
    check_same(known, table, &now)?;
    let then = hub.at_point(known, table, last).await?;
    Ok(count(&diff::of_main(hub, &table.schema, &then, &Base::plain(now)).await?, false))
}

/// Aborts the process if the environment asks for it here: before a table's commit, after it, or after the note of it.
fn hit(place: &str) {
    if cfg!(debug_assertions) && std::env::var_os("EPOCH_FAILPOINT").is_some_and(|wanted| wanted == place) {
        std::process::abort();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use epoch_adapter::Value;

    use super::*;

    fn row(key: i64, value: i64) -> Row {
        vec![Value::Int(key), Value::Int(value)]
    }

    #[test]
    fn what_others_did_is_hidden_from_an_operations_ordinal() {
        let shared = |key, value| Some(Arc::new(row(key, value)));
        let others = Differences::from([
            (vec![Value::Int(1)], (shared(1, 10), shared(1, 11))),
            (vec![Value::Int(2)], (None, shared(2, 20))),
        ]);
        let change =
            RowChange { key: vec![Value::Int(1)], before: Some(row(1, 11)), after: Some(row(1, 12)) };
        let (net, over) = own(others, &[change]);
        let expected = Differences::from([(vec![Value::Int(1)], (shared(1, 10), shared(1, 12)))]);
        assert_eq!(net, expected);
        assert_eq!(over, [(vec![Value::Int(2)], None)]);
    }
}
