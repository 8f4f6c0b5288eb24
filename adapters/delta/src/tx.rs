//! A transaction: what it wrote is in memory until it commits, over the moment that it reads at.
//!
//! Branches are written to in one entry of the log, however many tables there are; main in one commit of one Delta table,
//! because Delta has none over several.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{
    At, BatchStream, Error, Layer, Result, Row, RowChange, RowWrite, Scan, TableDef, TableId, Transaction,
    Value, View, sqlstate,
};
use epoch_layers::errors::{aborted, changed_since, duplicate, no_savepoint, texts};

use crate::apply::{apply, key_name};
use crate::check::{check_all, checks, not_null};
use crate::diff::normal_keys;
use crate::hub::{Base, Hub, Seen};
use crate::rows;
use crate::state::{Event, State, Written};
use crate::types::{Shared, normal};

/// How often others may write to the backend's log first.
const ATTEMPTS: usize = 200;

/// A key that was written to.
#[derive(Debug, Clone)]
struct Touched {
    /// What the branch held of it.
    held: Option<Option<Shared>>,
    before: Option<Shared>,
    after: Option<Shared>,
}

/// What was written to one table.
#[derive(Debug, Clone)]
struct Work {
    table: Arc<TableDef>,
    layer: Layer,
    keys: Arc<HashMap<Row, Touched>>,
}

/// See [`Transaction`].
pub(crate) struct Tx {
    hub: Arc<Hub>,
    /// What it reads of branches.
    state: Option<Arc<State>>,
    /// What it reads of main.
    mains: HashMap<TableId, Base>,
    work: Vec<Work>,
    savepoints: Vec<(String, Vec<Work>)>,
    failed: bool,
}

/// A write whose values have the form in which they are compared.
enum Op {
    Insert(Row),
    Update { key: Row, set: Vec<(usize, Value)> },
    Delete(Row),
}

impl Tx {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let (mains, work, savepoints) = (HashMap::new(), Vec::new(), Vec::new());
        Self { hub, state: None, mains, work, savepoints, failed: false }
    }

    fn usable(&self) -> Result<()> {
        if self.failed { Err(aborted()) } else { Ok(()) }
    }

    /// What a view shows to this transaction.
    async fn see(&mut self, table: &TableDef, view: &View) -> Result<Seen> {
        let mut state = match &self.state {
            Some(state) if state.table(table.id).is_some() => Arc::clone(state),
            _ => self.hub.state(table).await?,
        };
        let mut seen = match (view.is_plain(), self.mains.get(&table.id)) {
            (true, Some(base)) => Seen { base: base.clone(), layer: None, own: HashMap::new() },
            _ => self.hub.see(&mut state, table, view).await?,
        };
        self.state = Some(state);
        if view.is_plain() {
            self.mains.insert(table.id, seen.base.clone());
        }
        if view.at == At::Working
            && let Some(work) = self.work_of(table.id, view.layer)
        {
            seen.own = work.keys.iter().map(|(key, t)| (key.clone(), t.after.clone())).collect();
        }
        Ok(seen)
    }

    fn work_of(&self, table: TableId, layer: Layer) -> Option<&Work> {
        self.work.iter().find(|w| w.table.id == table && w.layer.lineage == layer.lineage)
    }

    /// 0A000 for what couldn't be committed at once.
    fn check_target(&self, table: &TableDef, layer: Layer) -> Result<()> {
        let other = |w: &&Work| w.table.id != table.id || w.layer.lineage != layer.lineage;
        let mixed = |w: &&Work| other(w) && (layer.is_main() || w.layer.is_main());
        match self.work.iter().find(mixed) {
            None => Ok(()),
            Some(work) => {
                Err(Error::unsupported("writing to several Delta tables of main in one transaction")
                    .with_detail(format!(
                        "Delta commits one table at a time; this transaction wrote to \"{}\" before.",
                        work.table.name
                    ))
                    .with_hint("Write to a branch, and merge it."))
            }
        }
    }

    async fn write_rows(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
    ) -> Result<(u64, Vec<Row>)> {
        self.check_target(table, layer)?;
        let seen = self.see(table, &View { layer, at: At::Working }).await?;
        let checks = self.checks(table, layer, &seen).await?;
        let ops = ops(table, writes)?;
        let below = below(&self.hub, table, &seen, &ops).await?;
        let mut writer =
            Writer { table, seen: &seen, below: &below, keys: HashMap::new(), fresh: Vec::new() };
        if let Some(work) = self.work_of(table.id, layer) {
            writer.keys = (*work.keys).clone();
        }
        let (mut affected, mut returned) = (0, Vec::new());
        for op in ops {
            if let Some(row) = writer.run(op)? {
                affected += 1;
                returned.push((*row).clone());
            }
        }
        check_all(&self.hub.context, table, &checks, &writer.fresh).await?;
        let keys = Arc::new(writer.keys);
        match self.work.iter_mut().find(|w| w.table.id == table.id && w.layer.lineage == layer.lineage) {
            Some(work) => work.keys = keys,
            None => self.work.push(Work { table: Arc::new(table.clone()), layer, keys }),
        }
        Ok((affected, returned))
    }

    /// The constraints that rows are checked against: those of the table as it is now.
    async fn checks(&self, table: &TableDef, layer: Layer, seen: &Seen) -> Result<Vec<crate::check::Check>> {
        if layer.is_main() {
            seen.base.version.check_writable()?;
            return checks(&self.hub.context, &table.schema, &seen.base.version);
        }
        let newest = self.hub.source(&table.location.table)?.newest().await;
        let version = newest.as_ref().unwrap_or(&seen.base.version);
        checks(&self.hub.context, &table.schema, version)
    }

    fn noted<T>(&mut self, result: Result<T>) -> Result<T> {
        self.failed = result.is_err();
        result
    }

    async fn commit_all(&mut self) -> Result<()> {
        let net = |w: &Work| Work {
            keys: Arc::new(
                w.keys
                    .iter()
                    .filter(|(_, t)| t.before != t.after)
                    .map(|(k, t)| (k.clone(), t.clone()))
                    .collect(),
            ),
            ..w.clone()
        };
        let work: Vec<Work> = self.work.iter().map(net).filter(|w| !w.keys.is_empty()).collect();
        match work.as_slice() {
            [] => Ok(()),
            [main] if main.layer.is_main() => commit_main(&self.hub, main).await,
            all => commit_branches(&self.hub, all).await,
        }
    }
}

/// The writes in the form in which values are compared.
fn ops(table: &TableDef, writes: &[RowWrite]) -> Result<Vec<Op>> {
    let schema = &table.schema;
    let (mut rows, mut keys) = (Vec::new(), Vec::new());
    for write in writes {
        match write {
            RowWrite::Insert(cells) => {
                rows.push(cells.iter().map(|c| c.clone().unwrap_or(Value::Null)).collect::<Row>());
            }
            RowWrite::Update { key, set } => {
                let mut row = vec![Value::Null; schema.columns.len()];
                for (index, value) in set {
                    if let Some(cell) = row.get_mut(*index) {
                        *cell = value.clone();
                    }
                }
                rows.push(row);
                keys.push(key.clone());
            }
            RowWrite::Delete { key } => keys.push(key.clone()),
        }
    }
    let mut rows = normal(schema, &rows)?.into_iter();
    let mut keys = normal_keys(schema, &keys)?.into_iter();
    let lost = || Error::internal("delta: a write without its row");
    let op = |write: &RowWrite| {
        Ok(match write {
            RowWrite::Insert(_) => Op::Insert(rows.next().ok_or_else(lost)?),
            RowWrite::Update { set, .. } => {
                let row = rows.next().ok_or_else(lost)?;
                let set = set.iter().filter_map(|(i, _)| Some((*i, row.get(*i)?.clone()))).collect();
                Op::Update { key: keys.next().ok_or_else(lost)?, set }
            }
            RowWrite::Delete { .. } => Op::Delete(keys.next().ok_or_else(lost)?),
        })
    };
    writes.iter().map(op).collect()
}

/// The rows that the writes may meet and that aren't in memory.
async fn below(hub: &Hub, table: &TableDef, seen: &Seen, ops: &[Op]) -> Result<HashMap<Row, Shared>> {
    let mut keys: HashSet<Row> = HashSet::new();
    for op in ops {
        match op {
            Op::Insert(row) => {
                keys.insert(table.schema.key_of(row));
            }
            Op::Update { key, set } => {
                keys.insert(key.clone());
                keys.insert(moved(table, key, set));
            }
            Op::Delete(key) => {
                keys.insert(key.clone());
            }
        }
    }
    let unknown: Vec<Row> = keys.into_iter().filter(|k| seen.held(k).is_none()).collect();
    seen.rows(hub, &table.schema, unknown.iter().collect()).await
}

/// The key of a row after an update.
fn moved(table: &TableDef, key: &Row, set: &[(usize, Value)]) -> Row {
    let value = |(place, index): (usize, &usize)| {
        let set = set.iter().rev().find(|(i, _)| i == index).map(|(_, v)| v.clone());
        set.or_else(|| key.get(place).cloned()).unwrap_or(Value::Null)
    };
    table.schema.key.iter().enumerate().map(value).collect()
}

/// Applies writes one after the other.
struct Writer<'a> {
    table: &'a TableDef,
    seen: &'a Seen,
    below: &'a HashMap<Row, Shared>,
    keys: HashMap<Row, Touched>,
    /// Rows as they became.
    fresh: Vec<Shared>,
}

impl Writer<'_> {
    /// The row of a write, if it affected one: as it became, or as it was before it went.
    fn run(&mut self, op: Op) -> Result<Option<Shared>> {
        match op {
            Op::Insert(row) => {
                not_null(self.table, &row)?;
                let key = self.table.schema.key_of(&row);
                self.check_free(&key)?;
                Ok(Some(self.put(key, row)))
            }
            Op::Delete(key) => {
                let Some(row) = self.current(&key) else { return Ok(None) };
                self.set(key, None);
                Ok(Some(row))
            }
            Op::Update { key, set } => {
                let Some(row) = self.current(&key) else { return Ok(None) };
                let mut row = (*row).clone();
                for (index, value) in set {
                    if let Some(cell) = row.get_mut(index) {
                        *cell = value;
                    }
                }
                not_null(self.table, &row)?;
                let new = self.table.schema.key_of(&row);
                if new != key {
                    self.check_free(&new)?;
                    self.set(key, None);
                }
                Ok(Some(self.put(new, row)))
            }
        }
    }

    fn current(&self, key: &Row) -> Option<Shared> {
        if let Some(touched) = self.keys.get(key) {
            return touched.after.clone();
        }
        match self.seen.held(key) {
            Some(row) => row.clone(),
            None => self.below.get(key).cloned(),
        }
    }

    fn check_free(&self, key: &Row) -> Result<()> {
        match self.current(key) {
            None => Ok(()),
            Some(_) => {
                let names = self.table.schema.key_names();
                Err(duplicate(&self.table.name.name, &key_name(self.table), &names, Some(texts(key))))
            }
        }
    }

    fn put(&mut self, key: Row, row: Row) -> Shared {
        let row = Arc::new(row);
        self.fresh.push(Arc::clone(&row));
        self.set(key, Some(Arc::clone(&row)));
        row
    }

    fn set(&mut self, key: Row, after: Option<Shared>) {
        if let Some(touched) = self.keys.get_mut(&key) {
            touched.after = after;
            return;
        }
        let before = self.current(&key);
        let held = self.seen.layer.as_ref().and_then(|(layer, at)| layer.get(&key, *at)).cloned();
        self.keys.insert(key, Touched { held, before, after });
    }
}

async fn commit_main(hub: &Hub, work: &Work) -> Result<()> {
    let state = hub.state(&work.table).await?;
    let own = |row: &Option<Shared>| row.as_ref().map(|r| (**r).clone());
    let change = |(key, t): (&Row, &Touched)| RowChange {
        key: key.clone(),
        before: own(&t.before),
        after: own(&t.after),
    };
    let changes: Vec<RowChange> = work.keys.iter().map(change).collect();
    apply(hub, hub.table(&state, &work.table)?, &work.table, &changes, None).await.map(drop)
}

/// One entry of the log for all tables; 40001 if a key that was written to isn't as it was.
async fn commit_branches(hub: &Hub, work: &[Work]) -> Result<()> {
    let mut parts = Vec::new();
    for Work { table, layer, keys } in work {
        let rows: Vec<_> = keys.iter().map(|(key, t)| (key.clone(), t.after.clone())).collect();
        let file = rows::put(&hub.root, table.id, layer.lineage, &table.schema, &rows).await?;
        parts.push(Written { table: table.id.0, lineage: layer.lineage.0, file });
    }
    let result = append(hub, work, &parts).await;
    if let Err(error) = &result
        && !error.code().starts_with("58")
    {
        rows::forget(&hub.root, parts.into_iter().map(|p| p.file).collect()).await;
    }
    result
}

async fn append(hub: &Hub, work: &[Work], parts: &[Written]) -> Result<()> {
    let Some(first) = work.first() else { return Ok(()) };
    for _ in 0..ATTEMPTS {
        let mut state = hub.state(&first.table).await?;
        if !check_unchanged(hub, &mut state, work).await? {
            continue;
        }
        if hub.log.append(&state, Event::Write { parts: parts.to_vec() }).await? {
            return Ok(());
        }
    }
    Err(busy())
}

/// 40001: others are faster all the time.
pub(crate) fn busy() -> Error {
    Error::new(sqlstate::SERIALIZATION_FAILURE, "too many others write to the backend")
        .with_hint("The operation might succeed if retried.")
}

/// Whether the branches are there to be written to; else they are made, or the state is another one.
async fn check_unchanged(hub: &Hub, state: &mut Arc<State>, work: &[Work]) -> Result<bool> {
    for Work { table, layer, keys } in work {
        if !hub.table(state, table)?.layers.contains_key(&layer.lineage.0) {
            let event =
                Event::Layer { table: table.id.0, lineage: layer.lineage.0, base: layer.base, copy: None };
            hub.log.append(state, event).await?;
            return Ok(false);
        }
        let next = state.next;
        let now = hub.layer(state, table, layer.lineage).await?;
        if state.next != next {
            // All tables are looked at in one state.
            return Ok(false);
        }
        for (key, touched) in keys.iter() {
            if now.get(key, At::Working) != touched.held.as_ref() {
                let own = |row: &Option<Shared>| row.as_ref().map(|r| (**r).clone());
                let change =
                    RowChange { key: key.clone(), before: own(&touched.before), after: own(&touched.after) };
                return Err(changed_since(&table.name.name, &table.schema.key_names(), &change));
            }
        }
    }
    Ok(true)
}

#[async_trait]
impl Transaction for Tx {
    async fn scan(&mut self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream> {
        self.usable()?;
        let seen = self.see(table, view).await?;
        seen.scan(&self.hub, table, scan).await
    }

    async fn prepare_write(&mut self, table: &TableDef, layer: Layer, keep_snapshot: bool) -> Result<()> {
        self.usable()?;
        self.check_target(table, layer)?;
        if !keep_snapshot {
            self.state = None;
            self.mains.clear();
        }
        Ok(())
    }

    async fn write(&mut self, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> Result<u64> {
        self.usable()?;
        let result = self.write_rows(table, layer, writes).await;
        self.noted(result).map(|(affected, _)| affected)
    }

    async fn write_returning(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
    ) -> Result<Vec<Row>> {
        self.usable()?;
        let result = self.write_rows(table, layer, writes).await;
        self.noted(result).map(|(_, rows)| rows)
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        self.usable()?;
        self.savepoints.push((name.to_owned(), self.work.clone()));
        Ok(())
    }

    async fn release(&mut self, name: &str) -> Result<()> {
        self.usable()?;
        let at = self.savepoints.iter().rposition(|(n, _)| n == name).ok_or_else(|| no_savepoint(name))?;
        self.savepoints.truncate(at);
        Ok(())
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        let at = self.savepoints.iter().rposition(|(n, _)| n == name).ok_or_else(|| no_savepoint(name))?;
        self.savepoints.truncate(at + 1);
        if let Some((_, work)) = self.savepoints.last() {
            self.work.clone_from(work);
        }
        self.failed = false;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.usable()?;
        self.commit_all().await
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
