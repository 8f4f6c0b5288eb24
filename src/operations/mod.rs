//! The library behind every interface: one repository, its branches, commits, diffs and merges.
//!
//! [`Repository`]'s methods are in the modules by subject; the pure parts of the model are in
//! `graph` (commits), `state` (lineages, views, segments), `merge` (rows) and `revision` (names).

mod audit;
mod base;
mod blame;
mod block;
mod branch_state;
mod branch_types;
mod branch_views;
mod branches;
mod combining;
mod commit;
mod comparing;
mod conflicts;
mod diff;
mod drafts;
mod drift;
mod failpoint;
mod garbage;
mod gc;
mod granting;
mod graph;
mod hooking;
mod in_common;
mod json_merge;
mod kept;
mod log;
mod lost;
mod merge;
mod merging;
mod origins;
mod preview;
mod promote;
mod publish;
mod rebase;
mod recover;
mod registration;
mod reset;
mod resolve;
mod revision;
mod revisions;
mod rights;
mod rules;
mod schema;
mod schema_diff;
mod sequence;
mod soundness;
mod stash;
mod state;
mod status;
mod tags;
mod type_diff;
mod types;
mod versions;
mod view_diff;
mod views;

pub use crate::config::duration;
pub use crate::metadata::audit::{Audited, Note};
pub use crate::metadata::hook_runs::HookRun;
pub use crate::metadata::rights::{Protection, StoredGrant};
pub use crate::metadata::rules::ColumnRule;
pub use audit::without_passwords;
pub use blame::VersionStream;
pub use block::{Block, Planned, Step};
pub use branch_types::{NewType, ShownType, of_main};
pub use branch_views::{ShownView, ViewStep};
pub use failpoint::{FAIL_POINTS, GC_FAIL_POINTS};
pub use gc::{Collected, GcOptions};
pub use hooking::Assertions;
pub use log::Log;
pub use revisions::is_read;
pub use rights::{Actor, Right, Scope, Watch};
pub use sequence::Verb;
pub use soundness::Unsound;
pub use types::*;

use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use dashmap::DashMap;
use epoch_adapter::{Adapter, At, LineageId, Result, TableDef, TableId};

use crate::config::{Config, Hook};
use crate::metadata::commits;
use crate::metadata::{OperationLock, Store};
use crate::storage::Backends;
use graph::Graph;
use state::{Spot, State};

/// One repository: the commit graph and the backends its tables live on, in the hands of somebody. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
    /// Whose rights are asked; `None`: the repository's owner.
    actor: Option<Arc<Actor>>,
    /// The operation under way.
    note: Option<Arc<Note>>,
}

struct Inner {
    name: String,
    author: Author,
    store: Store,
    backends: Backends,
    state: RwLock<State>,
    /// Lets one task at a time bring `state` up to date.
    reading: tokio::sync::Mutex<()>,
    graph: tokio::sync::Mutex<Graph>,
    /// Lets one task at a time make a layer.
    layers: DashMap<(LineageId, TableId), Arc<tokio::sync::Mutex<()>>>,
    /// Per backend, which tables were changed past us.
    looked: DashMap<String, drift::Looked>,
    /// Lets one task at a time look.
    looking: tokio::sync::Mutex<()>,
    /// Names of refs by which users with rights found a commit.
    names: DashMap<String, Vec<String>>,
    hooks: Vec<Hook>,
    /// As [`Config::retention`].
    retention: Vec<(String, Option<chrono::TimeDelta>)>,
    assertions: OnceLock<Arc<dyn Assertions>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens (creating what is missing) the metadata store and the backends, and finishes or undoes
    /// what a crash left in the journal.
    pub async fn open(config: &Config) -> Result<Self> {
        let backends = Backends::open(config).await?;
        Self::open_with(config, backends).await
    }

    /// As [`Repository::open`], on backends that are open already.
    pub async fn open_with(config: &Config, backends: Backends) -> Result<Self> {
        let store = Store::open(config.metadata_url.expose(), &config.name).await?;
        let identity = store.identity().await?;
        backends.all().iter().for_each(|backend| backend.belong_to(&identity));
        let repository = Self {
            inner: Arc::new(Inner {
                name: config.name.clone(),
                author: Author {
                    name: config.author.clone().unwrap_or_else(|| "epoch".to_owned()),
                    email: config.email.clone().unwrap_or_default(),
                },
                store,
                backends,
                state: RwLock::default(),
                reading: tokio::sync::Mutex::default(),
                graph: tokio::sync::Mutex::default(),
                layers: DashMap::new(),
                looked: DashMap::new(),
                looking: tokio::sync::Mutex::default(),
                names: DashMap::new(),
                hooks: config.hooks.clone(),
                retention: config.retention.clone(),
                assertions: OnceLock::new(),
            }),
            actor: None,
            note: None,
        };
        repository.reload().await?;
        repository.recover_at_start().await?;
        Ok(repository)
    }

    /// The repository's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Picks up what other processes changed (registrations, refs, layers). A few microseconds when
    /// nothing did. Called before a statement is planned.
    pub async fn refresh(&self) -> Result<()> {
        if self.inner.store.changed()? { self.reload().await } else { Ok(()) }
    }

    /// Changes whenever anything that a plan depends on changed (registrations, layers).
    pub fn generation(&self) -> u64 {
        self.state().plans
    }

    /// All backends.
    pub fn backends(&self) -> Vec<Arc<dyn Adapter>> {
        self.inner.backends.all()
    }

    /// A backend by the name the configuration gives it.
    pub fn backend(&self, name: &str) -> Option<Arc<dyn Adapter>> {
        self.inner.backends.get(name)
    }

    /// The backend of tables that no routing rule names.
    pub fn default_backend(&self) -> Option<Arc<dyn Adapter>> {
        self.inner.backends.default_backend()
    }

    /// A snapshot of the tables of main.
    pub fn tables(&self) -> Arc<Tables> {
        self.tables_at((LineageId::MAIN, At::Working))
    }

    /// A snapshot of the tables that there are for a checkout.
    pub fn tables_on(&self, checkout: &Checkout) -> Arc<Tables> {
        self.tables_at(match checkout.target {
            Target::Branch { layer } => (layer.lineage, At::Working),
            Target::Commit { layer, ordinal, .. } => (layer.lineage, At::Ordinal(ordinal)),
        })
    }

    /// All tables, those made on branches too.
    pub fn every_table(&self) -> Vec<Arc<TableDef>> {
        self.state().all_tables().cloned().collect()
    }

    fn tables_at(&self, spot: Spot) -> Arc<Tables> {
        let state = self.state();
        // A lineage that isn't known shows what main has registered.
        state.tables_at(spot).unwrap_or_else(|_| Arc::clone(&state.tables))
    }

    /// A table by the name that it has for a checkout, or had or will have on another branch: of several
    /// such ones the newest.
    pub fn find_table(&self, checkout: &Checkout, name: &str) -> Option<Arc<TableDef>> {
        if let Some(table) = self.tables_on(checkout).find(name) {
            return Some(Arc::clone(table));
        }
        let state = self.state();
        let quoted = epoch_adapter::TableName::from_sql(name);
        let named = state.all_tables().filter(|t| t.is_table()).filter(|t| {
            t.name.to_string() == name
                || format!("public.{}", t.name) == name
                || quoted.as_ref() == Some(&t.name)
        });
        named.max_by_key(|t| t.id).cloned()
    }

    /// A view or type of a name, on whatever branch: the newest.
    pub fn find_rowless(&self, name: &str) -> Option<Arc<TableDef>> {
        let state = self.state();
        let quoted = epoch_adapter::TableName::from_sql(name);
        let named = state.all_tables().filter(|t| !t.is_table()).filter(|t| {
            t.name.to_string() == name
                || format!("public.{}", t.name) == name
                || quoted.as_ref() == Some(&t.name)
        });
        named.max_by_key(|t| t.id).cloned()
    }

    /// The version of a table that a checkout shows, under whatever name.
    pub fn version_on(&self, checkout: &Checkout, table: &TableDef) -> Option<Arc<TableDef>> {
        let (tables, state) = (self.tables_on(checkout), self.state());
        let same = tables.by_id.get(&table.id);
        same.or_else(|| tables.by_id.values().find(|t| state.are_related(t.id, table.id))).cloned()
    }

    /// What is remembered. Never held across an await.
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.inner.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what changed in the metadata store, also by ourselves.
    async fn reload(&self) -> Result<()> {
        let _reading = self.inner.reading.lock().await;
        let known = self.state().version();
        let mut tx = self.store().read().await?;
        if let Some(update) = State::read(&mut tx, known).await? {
            self.inner.state.write().unwrap_or_else(PoisonError::into_inner).apply(update);
        }
        tx.commit().await
    }

    /// Runs `f` on the commit graph as it is now.
    async fn with_graph<T>(&self, f: impl FnOnce(&Graph) -> Result<T>) -> Result<T> {
        let mut graph = self.inner.graph.lock().await;
        let mut tx = self.store().read().await?;
        let news = commits::graph_since(&mut tx, graph.last_seq()).await?;
        tx.commit().await?;
        graph.extend(news);
        f(&graph)
    }

    /// Takes the operation lock, finishes what its last holder left behind, and looks at what it did.
    async fn locked(&self) -> Result<OperationLock> {
        let lock = self.store().lock().await?;
        // What others left behind is no part of this operation.
        self.unnoted().recover(&lock).await?;
        self.reload().await?;
        Ok(lock)
    }

    /// The author to use where none is given.
    fn author_or_default(&self, author: &Author) -> Author {
        if author.name.is_empty() { self.inner.author.clone() } else { author.clone() }
    }
}

/// Sessions run on any thread: no future of ours may hold a guard across an await.
#[cfg(test)]
#[allow(dead_code)]
fn futures_are_send(r: &Repository, c: &Checkout, merge: &MergeOptions, table: &epoch_adapter::TableDef) {
    fn is_send<T: Send>(_: T) {}
    is_send(r.checkout("", None));
    is_send(r.commit(c, &CommitOptions::default()));
    is_send(r.merge(c, "", merge));
    is_send(r.drop_tables(c, &[], ("", Vec::new(), &[])));
    is_send(r.merge_continue(c, &Author::default(), None));
    is_send(r.reset(c, &ResetOptions::default()));
    is_send(r.register("", None, None));
    is_send(r.unregister("", false));
    is_send(r.create_branch(c, "", None, false));
    is_send(r.delete_branch(c, "", false, false));
    is_send(r.rename_branch("", "", false));
    is_send(r.tag(c, "", None, None));
    is_send(r.log(c, &LogQuery::default()));
    is_send(r.status(c));
    is_send(r.sound(table));
    is_send(r.diff_stat(c, "", "", None));
    is_send(r.branches());
    is_send(r.conflicts(c, None));
    is_send(r.cherry_pick(c, &[], &PickOptions::default()));
    is_send(r.sequence_continue(c, Verb::Rebase, &Author::default(), None));
    is_send(r.sequence_abort(c, Verb::Rebase));
    is_send(r.rebase(c, "", &RebaseOptions::default()));
    is_send(r.stash_push(c, None, &Author::default()));
    is_send(r.stash_pop(c, None, Strategy::Field, &Author::default()));
    is_send(r.preview_merge(c, "", None, None, true));
    let mut each = |_: &epoch_adapter::Row, _: &Arc<CommitSummary>| std::ops::ControlFlow::Continue(());
    is_send(r.blame(c, table, epoch_adapter::Wanted::default(), None, &mut each));
    is_send(r.grant("", Right::Read, "", &[]));
    is_send(r.settle(None));
    is_send(r.gc(&GcOptions::default()));
    is_send(r.violations(c, &[]));
    is_send(r.schema_diff(c, "", "", None));
}
