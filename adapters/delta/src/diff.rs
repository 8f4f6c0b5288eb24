//! The rows that differ between two views.
//!
//! Of two moments of main only the files that one of them doesn't have are read. With a branch, the keys that its history
//! names are looked up on both sides.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use epoch_adapter::{
    At, Error, Layer, LineageId, Ordinal, Result, Row, RowChange, Segment, TableDef, TableSchema, TableStats,
    Value, View, Wanted as Asked,
};
use epoch_layers::cells::Cell;
use epoch_layers::digest::{feed, finish};
use sha2::{Digest, Sha256};

use crate::error;
use crate::hub::{Base, Hub};
use crate::layer::required;
use crate::read::{self, Wanted};
use crate::source::Version;
use crate::state::State;
use crate::types::{Shared, batch, normal};

/// A row as it was and as it is.
pub(crate) type Sides = (Option<Shared>, Option<Shared>);
/// What differs, ordered by key.
pub(crate) type Differences = BTreeMap<Row, Sides>;

/// Rows of the files that only the first of two versions has.
async fn only_in(
    hub: &Hub,
    schema: &TableSchema,
    version: &Version,
    other: &Version,
) -> Result<std::collections::HashMap<Row, Shared>> {
    let files = version.without(other);
    if files.is_empty() {
        return Ok(Default::default());
    }
    let provider = version.provider_of(&files).await?;
    let stream = read::read(&hub.context, provider, schema, &Wanted::whole(schema, Vec::new())).await?;
    read::by_key(stream, schema).await
}

/// What differs between two moments of main.
pub(crate) async fn of_main(hub: &Hub, schema: &TableSchema, from: &Base, to: &Base) -> Result<Differences> {
    let mut old = only_in(hub, schema, &from.version, &to.version).await?;
    let mut new = only_in(hub, schema, &to.version, &from.version).await?;
    // Rows that both moments have, in whatever file.
    let elsewhere: HashSet<Row> = from
        .over
        .keys()
        .chain(to.over.keys())
        .filter(|k| !old.contains_key(*k) && !new.contains_key(*k))
        .cloned()
        .collect();
    if !elsewhere.is_empty() {
        let provider = from.version.provider().await?;
        for (key, (row, _)) in read::lookup(&hub.context, provider, schema, &elsewhere).await? {
            old.insert(key.clone(), Arc::clone(&row));
            new.insert(key, row);
        }
    }
    for (base, rows) in [(from, &mut old), (to, &mut new)] {
        for (key, row) in base.over.iter() {
            match row {
                Some(row) => rows.insert(key.clone(), Arc::clone(row)),
                None => rows.remove(key),
            };
        }
    }
    Ok(compared(old, new))
}

fn compared(
    old: std::collections::HashMap<Row, Shared>,
    mut new: std::collections::HashMap<Row, Shared>,
) -> Differences {
    let mut out = Differences::new();
    for (key, before) in old {
        let after = new.remove(&key);
        if after.as_ref() != Some(&before) {
            out.insert(key, (Some(before), after));
        }
    }
    out.extend(new.into_iter().map(|(key, after)| (key, (None, Some(after)))));
    out
}

/// The difference between two views, of the wanted keys among all that the segments tell.
pub(crate) async fn of_views(
    hub: &Hub,
    table: &TableDef,
    from: &View,
    to: &View,
    segments: &[Segment],
    asked: &Asked,
) -> Result<Differences> {
    let mut state = hub.state(table).await?;
    let (from_seen, to_seen) =
        (hub.see(&mut state, table, from).await?, hub.see(&mut state, table, to).await?);
    if from.layer.is_main() && to.layer.is_main() && asked.key.is_none() {
        let mut found = of_main(hub, &table.schema, &from_seen.base, &to_seen.base).await?;
        if !asked.keys.is_empty() {
            let keys = select(hub, table, asked, found.keys().cloned().collect()).await?;
            found.retain(|key, _| keys.contains(key));
        }
        return Ok(first(found, asked.limit));
    }
    let keys = match &asked.key {
        Some(key) => HashSet::from([normal_key(&table.schema, key)?]),
        None => touched(hub, &mut state, table, segments).await?,
    };
    let keys = select(hub, table, asked, keys).await?;
    let old = from_seen.rows(hub, &table.schema, keys.iter().collect()).await?;
    let new = to_seen.rows(hub, &table.schema, keys.iter().collect()).await?;
    Ok(first(compared(old, new), asked.limit))
}

/// The first differences, in the order of the keys.
fn first(found: Differences, limit: Option<usize>) -> Differences {
    match limit {
        Some(limit) if limit < found.len() => found.into_iter().take(limit).collect(),
        _ => found,
    }
}

/// Those of some keys that meet all conditions on keys, as the engine sees them.
async fn select(hub: &Hub, table: &TableDef, asked: &Asked, keys: HashSet<Row>) -> Result<HashSet<Row>> {
    if asked.keys.is_empty() || keys.is_empty() {
        return Ok(keys);
    }
    let schema = &table.schema;
    let whole = |key: &Row| {
        let cell = |i: usize| schema.key.iter().position(|k| *k == i).and_then(|at| key.get(at)).cloned();
        (0..schema.columns.len()).map(|i| cell(i).unwrap_or(Value::Null)).collect::<Row>()
    };
    let rows: Vec<Row> = keys.iter().map(whole).collect();
    let mut frame = hub.context.read_batch(batch(schema, rows.iter())?).map_err(error::engine)?;
    for predicate in &asked.keys {
        let filter = read::expression(schema, predicate).ok_or_else(|| {
            Error::internal("delta: a condition on keys was pushed without being supported")
        })?;
        frame = frame.filter(filter).map_err(error::engine)?;
    }
    let mut found = HashSet::new();
    for batch in frame.collect().await.map_err(error::engine)? {
        found.extend(crate::types::rows(&batch)?.iter().map(|row| schema.key_of(row)));
    }
    Ok(found)
}

/// A key in the form in which keys are compared.
pub(crate) fn normal_key(schema: &TableSchema, key: &Row) -> Result<Row> {
    let mut keys = normal_keys(schema, std::slice::from_ref(key))?;
    Ok(keys.pop().unwrap_or_default())
}

/// Keys in the form in which keys are compared.
pub(crate) fn normal_keys(schema: &TableSchema, keys: &[Row]) -> Result<Vec<Row>> {
    let of_key = TableSchema {
        columns: schema.key_columns().cloned().collect(),
        key: (0..schema.key.len()).collect(),
    };
    normal(&of_key, keys)
}

/// The keys that segments of history touch.
async fn touched(
    hub: &Hub,
    state: &mut Arc<State>,
    table: &TableDef,
    segments: &[Segment],
) -> Result<HashSet<Row>> {
    let mut keys = HashSet::new();
    for Segment { lineage, after, upto } in segments {
        if *lineage != LineageId::MAIN {
            keys.extend(hub.layer(state, table, *lineage).await?.touched(*after, *upto));
            continue;
        }
        let view = |at| View { layer: Layer::MAIN, at };
        let low = hub.see(state, table, &view(At::Ordinal(*after))).await?;
        let high = hub.see(state, table, &view(*upto)).await?;
        keys.extend(of_main(hub, &table.schema, &low.base, &high.base).await?.into_keys());
    }
    Ok(keys)
}

/// As the contract has them, ordered by key.
pub(crate) fn changes(differences: Differences) -> Vec<RowChange> {
    let row = |row: Option<Shared>| row.map(|r| Arc::try_unwrap(r).unwrap_or_else(|r| (*r).clone()));
    let change =
        |(key, (before, after)): (Row, Sides)| RowChange { key, before: row(before), after: row(after) };
    differences.into_iter().map(change).collect()
}

/// Counts; cells are counted only if they are wanted.
pub(crate) fn count(differences: &Differences, cells: bool) -> TableStats {
    let mut stats = TableStats::default();
    for sides in differences.values() {
        match sides {
            (Some(before), Some(after)) => {
                stats.modified += 1;
                if cells {
                    let differ = before.iter().zip(after.iter()).filter(|(a, b)| a != b).count();
                    stats.cells += i64::try_from(differ).unwrap_or(i64::MAX);
                }
            }
            (None, _) => stats.added += 1,
            (Some(_), None) => stats.removed += 1,
        }
    }
    stats
}

/// The digest of a seal over the rows as they became.
pub(crate) fn digest(differences: &Differences) -> String {
    let mut hash = Sha256::new();
    for (key, (_, after)) in differences {
        let (sign, row) = match after {
            Some(row) => (b"+", row.as_ref()),
            None => (b"-", key),
        };
        hash.update(sign);
        row.iter().for_each(|v| feed(&mut hash, Cell::from(v)));
    }
    finish(hash)
}

/// Where the wanted keys were changed.
pub(crate) async fn changes_of_keys(
    hub: &Hub,
    table: &TableDef,
    asked: &Asked,
    lineages: &[LineageId],
) -> Result<Vec<(LineageId, Ordinal)>> {
    let mut state = hub.state(table).await?;
    let one = asked.key.as_ref().map(|key| normal_key(&table.schema, key)).transpose()?;
    let meets = |key: &Row| one.as_ref().is_none_or(|one| key == one);
    let mut changed: Vec<(LineageId, Ordinal, Row)> = Vec::new();
    for lineage in lineages {
        if *lineage != LineageId::MAIN {
            let layer = hub.layer(&mut state, table, *lineage).await?;
            let history = layer.history().filter(|(key, _)| meets(key));
            changed.extend(history.map(|(key, ordinal)| (*lineage, ordinal, key.clone())));
            continue;
        }
        for point in &hub.table(&state, table)?.main {
            let Some(file) = &point.changed else { continue };
            let rows = required(&hub.root, table, file).await?;
            let keys = rows.into_iter().map(|(key, _)| key).filter(|key| meets(key));
            changed.extend(keys.map(|key| (*lineage, point.ordinal, key)));
        }
    }
    let keys = select(hub, table, asked, changed.iter().map(|(_, _, key)| key.clone()).collect()).await?;
    let kept = changed.into_iter().filter(|(_, _, key)| keys.contains(key));
    let places: BTreeSet<(LineageId, Ordinal)> =
        kept.map(|(lineage, ordinal, _)| (lineage, ordinal)).collect();
    Ok(places.into_iter().collect())
}
