//! What garbage collection removes: layers of branches, ordinals that nobody looks at, and files that were kept for them.

use std::collections::{BTreeMap, HashSet};

use epoch_adapter::{Leftover, LineageId, Ordinal, Result, TableDef};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error;
use crate::hub::Hub;
use crate::layer::{Over, required};
use crate::rows;
use crate::source::{Source, paths};
use crate::state::{Event, File, Held, Table};
use crate::store::kept_folder;
use crate::tx::busy;

/// How often others may write to the backend's log first.
const ATTEMPTS: usize = 200;

/// Ordinals that are shown nowhere: from the first up to, but not including, the second.
type Hole = (Ordinal, Ordinal);

/// Files of a branch that can be one: those of the ordinals in a hole, and of the one after it.
fn in_hole(held: &Held, hole: Hole) -> Vec<(Ordinal, File)> {
    let within = |o: &Ordinal| *o >= hole.0 && *o <= hole.1;
    held.sealed.iter().filter(|(o, _)| within(o)).cloned().collect()
}

/// Ordinals of main that can go: what each shows is shown in the hole only.
fn hidden(table: &Table, hole: Hole) -> Vec<Ordinal> {
    let next = table.main.iter().skip(1).map(|p| p.ordinal);
    let both = table.main.iter().zip(next).filter(|(p, next)| p.ordinal >= hole.0 && *next <= hole.1);
    both.map(|(p, _)| p.ordinal).collect()
}

fn files_of_points(table: &Table, ordinals: &[Ordinal]) -> Vec<File> {
    let gone = table.main.iter().filter(|p| ordinals.contains(&p.ordinal));
    gone.flat_map(|p| [p.over.clone(), p.changed.clone()]).flatten().collect()
}

/// See [`epoch_adapter::Adapter::measure`].
pub(crate) async fn measure(hub: &Hub, table: &TableDef, what: &Leftover) -> Result<u64> {
    let state = hub.state(table).await?;
    let known = hub.table(&state, table)?;
    let sum = |files: Vec<File>| files.iter().map(|f| f.bytes).sum::<u64>();
    Ok(match what {
        Leftover::Lineage(lineage) => known.layers.get(&lineage.0).map_or(0, |held| sum(files_of(held))),
        Leftover::Holes(LineageId::MAIN, holes) => {
            holes.iter().map(|hole| sum(files_of_points(known, &hidden(known, *hole)))).sum()
        }
        Leftover::Holes(lineage, holes) => {
            let Some(held) = known.layers.get(&lineage.0) else { return Ok(0) };
            let saved = |hole: &Hole| {
                let files: Vec<u64> = in_hole(held, *hole).iter().map(|(_, f)| f.bytes).collect();
                files.iter().sum::<u64>() - files.iter().max().copied().unwrap_or(0)
            };
            holes.iter().map(saved).sum()
        }
    })
}

fn files_of(held: &Held) -> Vec<File> {
    held.sealed.iter().map(|(_, file)| file).chain(&held.pending).cloned().collect()
}

/// See [`epoch_adapter::Adapter::remove`]. It is all done at once: a layer is a few files.
pub(crate) async fn remove(hub: &Hub, table: &TableDef, what: &Leftover, limit: usize) -> Result<usize> {
    let rows = match what {
        Leftover::Lineage(lineage) => drop_layer(hub, table, *lineage).await?,
        Leftover::Holes(LineageId::MAIN, holes) => {
            let mut removed = 0;
            for hole in holes {
                removed += thin(hub, table, *hole).await?;
            }
            if removed > 0 {
                unkeep(hub, table).await?;
            }
            removed
        }
        Leftover::Holes(lineage, holes) => {
            let mut removed = 0;
            for hole in holes {
                removed += squash(hub, table, *lineage, *hole).await?;
            }
            removed
        }
    };
    // Fewer than the limit: there is no more.
    Ok(usize::try_from(rows).unwrap_or(usize::MAX).min(limit.saturating_sub(1)))
}

async fn drop_layer(hub: &Hub, table: &TableDef, lineage: LineageId) -> Result<u64> {
    for _ in 0..ATTEMPTS {
        let state = hub.state(table).await?;
        let Some(held) = state.held(table.id, lineage) else { return Ok(0) };
        let files = files_of(held);
        let event = Event::Drop { table: table.id.0, lineage: lineage.0 };
        if hub.log.append(&state, event).await? {
            let rows = files.iter().map(|f| f.rows).sum();
            rows::forget(&hub.root, files).await;
            return Ok(rows);
        }
    }
    Err(busy())
}

async fn thin(hub: &Hub, table: &TableDef, hole: Hole) -> Result<u64> {
    for _ in 0..ATTEMPTS {
        let state = hub.state(table).await?;
        let known = hub.table(&state, table)?;
        let ordinals = hidden(known, hole);
        if ordinals.is_empty() {
            return Ok(0);
        }
        let files = files_of_points(known, &ordinals);
        let removed = ordinals.len() as u64;
        if hub.log.append(&state, Event::Thin { table: table.id.0, ordinals }).await? {
            rows::forget(&hub.root, files).await;
            return Ok(removed);
        }
    }
    Err(busy())
}

/// Makes one file of those that a hole lies between.
async fn squash(hub: &Hub, table: &TableDef, lineage: LineageId, hole: Hole) -> Result<u64> {
    for _ in 0..ATTEMPTS {
        let state = hub.state(table).await?;
        let Some(held) = state.held(table.id, lineage) else { return Ok(0) };
        let old = in_hole(held, hole);
        if old.len() < 2 {
            return Ok(0);
        }
        let before: u64 = old.iter().map(|(_, f)| f.rows).sum();
        let file = squashed(hub, table, lineage, &old).await?;
        let removed = before.saturating_sub(file.rows);
        let event = Event::Squash {
            table: table.id.0,
            lineage: lineage.0,
            since: hole.0,
            until: hole.1,
            file: file.clone(),
        };
        if hub.log.append(&state, event).await? {
            rows::forget(&hub.root, old.into_iter().map(|(_, f)| f).collect()).await;
            return Ok(removed);
        }
        rows::forget(&hub.root, vec![file]).await;
    }
    Err(busy())
}

async fn squashed(hub: &Hub, table: &TableDef, lineage: LineageId, old: &[(Ordinal, File)]) -> Result<File> {
    let mut all = Over::new();
    for (_, file) in old {
        all.extend(required(&hub.root, table, file).await?);
    }
    let rows: Vec<_> = all.into_iter().collect();
    rows::put(&hub.root, table.id, lineage, &table.schema, &rows).await
}

/// Removes what was kept aside of a table and no ordinal needs any more.
async fn unkeep(hub: &Hub, table: &TableDef) -> Result<()> {
    let state = hub.state(table).await?;
    let known = hub.table(&state, table)?;
    let source = hub.source(&table.location.table)?;
    let needed = needed(&source, known).await?;
    let folder = kept_folder(&source.path);
    let kept: Vec<_> = hub.root.list(Some(&folder)).try_collect().await.map_err(error::store)?;
    for object in kept {
        let Some(rest) = object.location.prefix_match(&folder) else { continue };
        let path: Path = rest.collect();
        if !needed.contains(&path) {
            hub.root.delete(&object.location).await.map_err(error::store)?;
        }
    }
    Ok(())
}

async fn needed(source: &Source, known: &Table) -> Result<HashSet<Path>> {
    let mut out = HashSet::new();
    let versions: BTreeMap<u64, ()> = known.main.iter().map(|p| (p.version, ())).collect();
    for version in versions.into_keys() {
        out.extend(paths(&source.at(version).await?.files()));
        out.extend(source.log_files(version).await?);
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::state::Point;

    #[test]
    fn ordinals_that_are_shown_outside_a_hole_stay() {
        let point = |ordinal| Point { ordinal, version: 0, over: None, changed: None };
        let main = [Ordinal::MIN, 1, 2, 3, 6].map(point).into();
        let table = Table { path: "t".into(), identity: "x".into(), main, layers: BTreeMap::new() };
        assert_eq!(hidden(&table, (1, 3)), [1, 2]);
        // 3 is what 5 shows
        assert_eq!(hidden(&table, (2, 5)), [2]);
        assert_eq!(hidden(&table, (2, 6)), [2, 3]);
        assert_eq!(hidden(&table, (6, 9)), Vec::<Ordinal>::new());
    }
}
