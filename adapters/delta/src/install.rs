//! What registering a table makes, and unregistering removes: entries of the log, and files. The Delta table itself isn't
//! touched.

use epoch_adapter::{Error, Layer, Result, TableDef, View, sqlstate};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::describe::check_key;
use crate::error;
use crate::hub::Hub;
use crate::rows;
use crate::state::{Event, State};
use crate::store::{OURS, check_conditional_put, kept_folder};
use crate::tx::busy;

/// How often others may write to the backend's log first.
const ATTEMPTS: usize = 200;

/// Removes everything of ours that belongs to a table; with the last one, everything.
pub(crate) async fn uninstall(hub: &Hub, table: &TableDef) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let state = hub.log.reload().await?;
        // What another repository registered has numbers of its own.
        if state.owner.as_ref().is_some_and(|owner| Some(owner) != hub.owner.get()) {
            return Ok(());
        }
        if state.table(table.id).is_some()
            && !hub.log.append(&state, Event::Uninstall { table: table.id.0 }).await?
        {
            continue;
        }
        let state = hub.log.refresh().await?;
        hub.forget(table).await;
        if state.tables.is_empty() {
            clear(hub, &Path::from(OURS)).await?;
            return hub.log.reload().await.map(drop);
        }
        clear(hub, &rows::folder(table.id)).await?;
        let path = &table.location.table;
        if !others_at(&state, table, path)
            && let Ok(path) = Path::parse(path)
        {
            clear(hub, &kept_folder(&path)).await?;
        }
        return Ok(());
    }
    Err(busy())
}

fn others_at(state: &State, table: &TableDef, path: &str) -> bool {
    state.tables.iter().any(|(id, t)| *id != table.id.0 && t.path == path)
}

/// Removes a folder. The log goes from its end, so that what is left of an interrupted removal has no gap.
async fn clear(hub: &Hub, folder: &Path) -> Result<()> {
    let mut found: Vec<Path> =
        hub.root.list(Some(folder)).map_ok(|m| m.location).try_collect().await.map_err(error::store)?;
    found.sort();
    for path in found.into_iter().rev() {
        match hub.root.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(error::store(e)),
        }
    }
    Ok(())
}

/// Registers a table: its version now is main's first.
pub(crate) async fn install(hub: &Hub, table: &TableDef) -> Result<()> {
    let owner = hub.owner.get().cloned().unwrap_or_default();
    let source = hub.source(&table.location.table)?;
    for _ in 0..ATTEMPTS {
        let state = hub.log.reload().await?;
        if let Some(other) = state.owner.as_ref().filter(|o| **o != owner) {
            return Err(owned(hub, other));
        }
        if state.table(table.id).is_some() {
            return Ok(());
        }
        if state.tables.is_empty() {
            check_conditional_put(&hub.root).await?;
        }
        let version = source.newest().await?;
        check_key(hub, table, &version).await?;
        let event = Event::Install {
            owner: owner.clone(),
            table: table.id.0,
            path: table.location.table.clone(),
            identity: version.identity().to_owned(),
            version: version.number(),
        };
        if hub.log.append(&state, event).await? {
            return Ok(());
        }
    }
    Err(busy())
}

fn owned(hub: &Hub, other: &str) -> Error {
    let message = format!("backend \"{}\" belongs to repository {other}", hub.name);
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_detail("It has tables that are registered there.")
}

/// Makes a branch's layer, with what its parent held.
pub(crate) async fn ensure_layer(
    hub: &Hub,
    table: &TableDef,
    layer: Layer,
    parent: Option<&View>,
) -> Result<()> {
    if layer.is_main() {
        return Ok(());
    }
    for _ in 0..ATTEMPTS {
        let mut state = hub.state(table).await?;
        if state.held(table.id, layer.lineage).is_some() {
            return Ok(());
        }
        let parent = parent.filter(|p| !p.layer.is_main());
        let copy = match parent {
            None => None,
            Some(parent) => {
                let held = hub.layer(&mut state, table, parent.layer.lineage).await?;
                let rows: Vec<_> = held.all(parent.at).into_iter().collect();
                rows::put_some(&hub.root, table.id, layer.lineage, &table.schema, &rows).await?
            }
        };
        let event = Event::Layer {
            table: table.id.0,
            lineage: layer.lineage.0,
            base: layer.base,
            copy: copy.clone(),
        };
        if hub.log.append(&state, event).await? {
            return Ok(());
        }
        rows::forget(&hub.root, copy.into_iter().collect()).await;
    }
    Err(busy())
}
