//! What all users of a backend share, and what a view of a table is made of.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use datafusion::prelude::SessionContext;
use epoch_adapter::{
    At, BatchStream, Error, LineageId, Result, Row, Scan, TableDef, TableSchema, View, sqlstate,
};
use epoch_layers::errors::not_registered;
use object_store::ObjectStore;

use crate::error;
use crate::layer::{Layer, Layers, Over, required};
use crate::log::Log;
use crate::read::{self, Wanted};
use crate::source::{Source, Version, paths};
use crate::state::{Point, State, Table};
use crate::store::TableStore;
use crate::types::Shared;

/// How often a reader looks again at the log whose files were replaced under it.
const LOOKS: usize = 5;
/// So many ordinals' own rows are kept in memory.
const OVERS: usize = 32;

/// What all users of a backend share.
pub(crate) struct Hub {
    pub name: String,
    pub root: Arc<dyn ObjectStore>,
    pub log: Log,
    pub layers: Layers,
    pub context: SessionContext,
    /// The repository that the backend belongs to.
    pub owner: OnceLock<String>,
    instance: String,
    sources: Mutex<HashMap<String, Arc<Source>>>,
    overs: Mutex<HashMap<String, Arc<Over>>>,
    /// The versions of tables up to which removed files were kept aside, after which ordinal.
    kept: Mutex<HashMap<String, (u64, u64)>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Main at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub version: Version,
    /// Rows that it shows otherwise than the version.
    pub over: Arc<Over>,
}

impl Base {
    /// Exactly a version.
    pub(crate) fn plain(version: Version) -> Self {
        Self { version, over: Arc::default() }
    }
}

/// What a view of a table is made of, the uppermost last.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub base: Base,
    pub layer: Option<(Layer, At)>,
    /// What a transaction wrote.
    pub own: Over,
}

impl Seen {
    /// What of ours stands for a key; `None` if the version of the Delta table does.
    pub(crate) fn held(&self, key: &Row) -> Option<&Option<Shared>> {
        let of_layer = || self.layer.as_ref().and_then(|(layer, at)| layer.get(key, *at));
        self.own.get(key).or_else(of_layer).or_else(|| self.base.over.get(key))
    }

    fn over(&self) -> Over {
        let mut over = (*self.base.over).clone();
        if let Some((layer, at)) = &self.layer {
            over.extend(layer.all(*at));
        }
        over.extend(self.own.iter().map(|(k, row)| (k.clone(), row.clone())));
        over
    }

    /// Its rows.
    pub(crate) async fn scan(&self, hub: &Hub, table: &TableDef, scan: &Scan) -> Result<BatchStream> {
        let wanted = Wanted::of(&table.schema, scan)?;
        let provider = self.base.version.provider().await?;
        read::read_over(&hub.context, provider, &table.schema, &self.over(), &wanted).await
    }

    /// The rows with some keys.
    pub(crate) async fn rows(
        &self,
        hub: &Hub,
        schema: &TableSchema,
        keys: Vec<&Row>,
    ) -> Result<HashMap<Row, Shared>> {
        let (mut found, mut below) = (HashMap::new(), HashSet::new());
        for key in keys {
            match self.held(key) {
                Some(Some(row)) => {
                    found.insert(key.clone(), Arc::clone(row));
                }
                Some(None) => {}
                None => {
                    below.insert(key.clone());
                }
            }
        }
        if !below.is_empty() {
            let provider = self.base.version.provider().await?;
            let rows = read::lookup(&hub.context, provider, schema, &below).await?;
            found.extend(rows.into_iter().map(|(key, (row, _))| (key, row)));
        }
        Ok(found)
    }
}

impl Hub {
    pub(crate) fn new(name: &str, root: Arc<dyn ObjectStore>) -> Self {
        Self {
            name: name.to_owned(),
            log: Log::new(Arc::clone(&root)),
            root,
            layers: Layers::default(),
            context: read::session(),
            owner: OnceLock::new(),
            instance: uuid::Uuid::new_v4().to_string(),
            sources: Mutex::default(),
            overs: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// The Delta table of a path.
    pub(crate) fn source(&self, path: &str) -> Result<Arc<Source>> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(path) {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(Source::new(&self.root, &self.instance, path)?);
        sources.insert(path.to_owned(), Arc::clone(&source));
        Ok(source)
    }

    /// What is known of the backend, with a table that must be registered.
    pub(crate) async fn state(&self, table: &TableDef) -> Result<Arc<State>> {
        let state = self.log.refresh().await?;
        if state.table(table.id).is_some() {
            return Ok(state);
        }
        let state = self.log.reload().await?;
        match state.table(table.id) {
            Some(_) => Ok(state),
            None => Err(not_registered(&table.name.to_string(), "store")),
        }
    }

    /// A registered table in a state.
    pub(crate) fn table<'a>(&self, state: &'a State, table: &TableDef) -> Result<&'a Arc<Table>> {
        state.table(table.id).ok_or_else(|| not_registered(&table.name.to_string(), "store"))
    }

    /// A branch's layer; the state is brought up to date if its files were replaced.
    pub(crate) async fn layer(
        &self,
        state: &mut Arc<State>,
        table: &TableDef,
        lineage: LineageId,
    ) -> Result<Layer> {
        for _ in 0..LOOKS {
            if let Some(layer) = self.layers.get(&self.root, state, table, lineage).await? {
                return Ok(layer);
            }
            *state = self.state(table).await?;
        }
        Err(Error::new(sqlstate::DATA_CORRUPTED, "files of a branch are missing")
            .with_detail(format!("Backend \"{}\", table \"{}\".", self.name, table.name)))
    }

    /// Main at a point.
    pub(crate) async fn at_point(&self, known: &Table, table: &TableDef, point: &Point) -> Result<Base> {
        let version = self.source(&table.location.table)?.at(point.version).await?;
        if version.identity() != known.identity {
            return Err(error::gone(point.version));
        }
        let Some(file) = &point.over else { return Ok(Base::plain(version)) };
        let known = self.overs().get(&file.name).cloned();
        if let Some(over) = known {
            return Ok(Base { version, over });
        }
        let over: Arc<Over> = Arc::new(required(&self.root, table, file).await?.into_iter().collect());
        let mut overs = self.overs();
        if overs.len() >= OVERS {
            overs.clear();
        }
        overs.insert(file.name.clone(), Arc::clone(&over));
        Ok(Base { version, over })
    }

    fn overs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Over>>> {
        self.overs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Main at a moment. What it shows now is the Delta table's newest version, whoever wrote that.
    pub(crate) async fn main(&self, state: &State, table: &TableDef, at: At) -> Result<Base> {
        let known = self.table(state, table)?;
        match at {
            At::Working => Ok(Base::plain(self.newest(known, table).await?)),
            At::Ordinal(ordinal) => {
                let point =
                    known.point(ordinal).ok_or_else(|| Error::internal("delta: a table without a point"))?;
                self.at_point(known, table, point).await
            }
        }
    }

    /// The newest version of a registered table; what it doesn't need any more but an ordinal does is kept aside.
    pub(crate) async fn newest(&self, known: &Table, table: &TableDef) -> Result<Version> {
        let source = self.source(&table.location.table)?;
        let version = source.newest().await?;
        if version.identity() == known.identity
            && let Err(error) = self.keep(known, &source, &version).await
        {
            tracing::warn!(%error, table = %table.name, "files that commits need could not be kept aside");
        }
        Ok(version)
    }

    /// Other engines vacuum what their newest version doesn't need; main's last ordinal may need it for ever.
    async fn keep(&self, known: &Table, source: &Source, version: &Version) -> Result<()> {
        let Some(last) = known.last() else { return Ok(()) };
        let now = (last.version, version.number());
        let path = source.path.to_string();
        if last.version == version.number()
            || self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&path) == Some(&now)
        {
            return Ok(());
        }
        let needed = source.at(last.version).await?;
        let mut files = paths(&needed.without(version));
        // The log is cleaned up sooner or later, too.
        let before = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&path).copied();
        if before.is_none_or(|(then, _)| then != last.version) {
            files.extend(source.log_files(last.version).await?);
        }
        TableStore::keep(&self.root, &source.path, files).await?;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(path, now);
        Ok(())
    }

    /// What a view is made of.
    pub(crate) async fn see(&self, state: &mut Arc<State>, table: &TableDef, view: &View) -> Result<Seen> {
        if view.layer.is_main() {
            let base = self.main(state, table, view.at).await?;
            return Ok(Seen { base, layer: None, own: Over::new() });
        }
        let layer = self.layer(state, table, view.layer.lineage).await?;
        let base = self.main(state, table, At::Ordinal(view.layer.base)).await?;
        Ok(Seen { base, layer: Some((layer, view.at)), own: Over::new() })
    }

    /// Forgets what is known of a table.
    pub(crate) async fn forget(&self, table: &TableDef) {
        self.layers.forget(table.id);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Ok(source) = self.source(&table.location.table) {
            source.forget().await;
        }
    }
}
