//! What a branch holds of a table, in memory: for each key its rows since the fork.
//!
//! Committed rows are read once and kept; a seal adds to them. What isn't committed is made of few files, each of which
//! is kept too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use epoch_adapter::{At, LineageId, Ordinal, Result, Row, TableDef, TableId};
use object_store::ObjectStore;

use crate::error::damaged;
use crate::rows::{self, Keyed};
use crate::state::{File, Held, State};
use crate::types::Shared;

/// So many layers are kept in memory.
const LAYERS: usize = 512;

/// Keys, each with its row; `None` if it is gone.
pub(crate) type Over = HashMap<Row, Option<Shared>>;

/// Committed rows of each key, by the ordinal that they came with.
#[derive(Debug, Clone, Default)]
struct Committed {
    versions: HashMap<Row, Vec<(Ordinal, Option<Shared>)>>,
}

impl Committed {
    fn add(&mut self, ordinal: Ordinal, rows: Vec<Keyed>) {
        for (key, row) in rows {
            self.versions.entry(key).or_default().push((ordinal, row));
        }
    }
}

/// A layer at a moment; it doesn't change any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    committed: Arc<Committed>,
    pending: Arc<Over>,
    /// What it was made of, to see whether it is still so.
    sealed_files: Arc<Vec<(Ordinal, File)>>,
    pending_files: Arc<Vec<File>>,
}

impl Layer {
    /// What is held of a key at a moment; `None` if nothing is.
    pub(crate) fn get(&self, key: &Row, at: At) -> Option<&Option<Shared>> {
        match at {
            At::Working => self.pending.get(key).or_else(|| self.committed(key)),
            At::Ordinal(ordinal) => {
                let versions = self.committed.versions.get(key)?;
                versions.iter().rev().find(|(o, _)| *o <= ordinal).map(|(_, row)| row)
            }
        }
    }

    /// What was committed last of a key.
    pub(crate) fn committed(&self, key: &Row) -> Option<&Option<Shared>> {
        self.committed.versions.get(key)?.last().map(|(_, row)| row)
    }

    /// What isn't committed.
    pub(crate) fn pending(&self) -> &Over {
        &self.pending
    }

    /// All keys that are held at a moment, with their rows.
    pub(crate) fn all(&self, at: At) -> Over {
        let mut out: Over = self
            .committed
            .versions
            .keys()
            .filter_map(|key| Some((key.clone(), self.get(key, at)?.clone())))
            .collect();
        if at == At::Working {
            out.extend(self.pending.iter().map(|(key, row)| (key.clone(), row.clone())));
        }
        out
    }

    /// Which keys were changed at which ordinals of the branch.
    pub(crate) fn history(&self) -> impl Iterator<Item = (&Row, Ordinal)> {
        let all = self.committed.versions.iter();
        all.flat_map(|(key, versions)| versions.iter().map(move |(ordinal, _)| (key, *ordinal)))
            .filter(|(_, ordinal)| *ordinal > 0)
    }

    /// The keys that were changed after an ordinal and up to a moment.
    pub(crate) fn touched(&self, after: Ordinal, upto: At) -> Vec<Row> {
        let (last, pending) = match upto {
            At::Ordinal(last) => (last, false),
            At::Working => (Ordinal::MAX, true),
        };
        let within = |versions: &Vec<(Ordinal, Option<Shared>)>| {
            versions.iter().any(|(ordinal, _)| *ordinal > after && *ordinal <= last)
        };
        let mut out: Vec<Row> =
            self.committed.versions.iter().filter(|(_, v)| within(v)).map(|(k, _)| k.clone()).collect();
        if pending {
            out.extend(self.pending.keys().cloned());
        }
        out
    }
}

/// The layers that were read.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    known: Mutex<HashMap<(TableId, LineageId), Layer>>,
}

impl Layers {
    /// A branch's layer as a state of the log has it; empty if there is none. `None` if files of it aren't there any
    /// more: then the state is old.
    pub(crate) async fn get(
        &self,
        root: &Arc<dyn ObjectStore>,
        state: &State,
        table: &TableDef,
        lineage: LineageId,
    ) -> Result<Option<Layer>> {
        let Some(held) = state.held(table.id, lineage) else { return Ok(Some(Layer::default())) };
        let slot = (table.id, lineage);
        let known = self.lock().get(&slot).cloned().unwrap_or_default();
        let Some(layer) = extended(root, known, table, held).await? else { return Ok(None) };
        let mut known = self.lock();
        if known.len() >= LAYERS && !known.contains_key(&slot) {
            known.clear();
        }
        known.insert(slot, layer.clone());
        Ok(Some(layer))
    }

    /// Forgets what was read of a table.
    pub(crate) fn forget(&self, table: TableId) {
        self.lock().retain(|(id, _), _| *id != table);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(TableId, LineageId), Layer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A layer brought up to what is held now, reading only what is new.
async fn extended(
    root: &Arc<dyn ObjectStore>,
    mut layer: Layer,
    table: &TableDef,
    held: &Held,
) -> Result<Option<Layer>> {
    if !held.sealed.starts_with(&layer.sealed_files) {
        layer = Layer::default();
    }
    let known = layer.sealed_files.len();
    for (ordinal, file) in held.sealed.iter().skip(known) {
        let Some(rows) = rows::get(root, &table.schema, file).await? else { return Ok(None) };
        Arc::make_mut(&mut layer.committed).add(*ordinal, rows);
    }
    if known != held.sealed.len() {
        layer.sealed_files = Arc::new(held.sealed.clone());
    }
    if !held.pending.starts_with(&layer.pending_files) {
        (layer.pending, layer.pending_files) = Default::default();
    }
    let known = layer.pending_files.len();
    for file in held.pending.iter().skip(known) {
        let Some(rows) = rows::get(root, &table.schema, file).await? else { return Ok(None) };
        Arc::make_mut(&mut layer.pending).extend(rows);
    }
    if known != held.pending.len() {
        layer.pending_files = Arc::new(held.pending.clone());
    }
    Ok(Some(layer))
}

/// The rows of a file that must be there.
pub(crate) async fn required(
    root: &Arc<dyn ObjectStore>,
    table: &TableDef,
    file: &File,
) -> Result<Vec<Keyed>> {
    let found = rows::get(root, &table.schema, file).await?;
    found.ok_or_else(|| damaged(&file.name, "it isn't there"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use epoch_adapter::Value;

    use super::*;

    fn row(key: i64, value: i64) -> Keyed {
        (vec![Value::Int(key)], Some(Arc::new(vec![Value::Int(key), Value::Int(value)])))
    }

    fn layer() -> Layer {
        let mut committed = Committed::default();
        committed.add(0, vec![row(1, 10)]);
        committed.add(2, vec![row(1, 12), row(2, 22)]);
        committed.add(5, vec![(vec![Value::Int(2)], None)]);
        let pending = Over::from_iter([row(3, 30)]);
        Layer { committed: Arc::new(committed), pending: Arc::new(pending), ..Layer::default() }
    }

    #[test]
    fn each_ordinal_shows_what_it_had() {
        let layer = layer();
        let value = |key: i64, at: At| {
            let held = layer.get(&vec![Value::Int(key)], at)?;
            Some(held.as_ref().and_then(|row| row.get(1).cloned()))
        };
        let int = |v| Some(Some(Value::Int(v)));
        assert_eq!(value(1, At::Ordinal(1)), int(10));
        assert_eq!(value(1, At::Ordinal(2)), int(12));
        assert_eq!(value(2, At::Ordinal(1)), None);
        assert_eq!(value(2, At::Ordinal(4)), int(22));
        assert_eq!(value(2, At::Working), Some(None));
        assert_eq!(value(3, At::Working), int(30));
        assert_eq!(value(3, At::Ordinal(5)), None);
        assert_eq!(layer.all(At::Working).len(), 3);
        assert_eq!(layer.all(At::Ordinal(0)).len(), 1);
    }

    #[test]
    fn keys_are_touched_where_they_changed() {
        let layer = layer();
        let keys = |after, upto| {
            let mut keys: Vec<_> = layer.touched(after, upto).into_iter().flatten().collect();
            keys.sort();
            keys
        };
        let ints = |all: &[i64]| all.iter().map(|v| Value::Int(*v)).collect::<Vec<_>>();
        assert_eq!(keys(0, At::Ordinal(4)), ints(&[1, 2]));
        assert_eq!(keys(2, At::Ordinal(5)), ints(&[2]));
        assert_eq!(keys(5, At::Working), ints(&[3]));
        let two = vec![Value::Int(2)];
        let at: Vec<_> = layer.history().filter(|(key, _)| **key == two).map(|(_, at)| at).collect();
        assert_eq!(at, [2, 5]);
        assert!(layer.history().all(|(_, at)| at > 0));
    }
}
