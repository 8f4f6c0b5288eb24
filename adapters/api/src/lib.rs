//! The contract between Horizon Epoch and a storage backend.
//!
//! The proxy talks to every backend through [`Adapter`]; every adapter crate depends on this crate
//! and its driver, and on nothing else of ours. The model behind the trait:
//!
//! * A **lineage** is the storage line of one branch. [`LineageId::MAIN`] is the user's own tables.
//! * Each publication on a lineage (commit, merge, reset) gets the next **ordinal**. What a lineage
//!   shows at an ordinal never changes.
//! * A **view** names what a reader of a table sees: a lineage, at an ordinal or as it stands now,
//!   over the base as of an ordinal of main.
//! * A **layer** is what one branch lineage holds of one table: overlay rows and masked keys. A
//!   layer is complete by itself over the base (a nested branch starts with a copy of its parent's
//!   layer, made at its first write), so a read never walks a chain of ancestors.

#![warn(missing_docs)]

mod change;
mod draft;
mod enum_def;
mod error;
mod garbage;
mod location;
mod predicate;
mod revision;
mod table;
mod trigger;
mod value;
mod view;
mod view_def;
mod violation;
mod wanted;
mod writers;

pub mod sqlstate;

pub use change::{ChangeKind, RowChange, RowWrite, SealMode, Sealed, TableChanges, TableStats};
pub use draft::{Definition, DraftChange, Piece, Statement};
pub use enum_def::{EnumDef, TypeUser};
pub use error::{Error, REWRITTEN, Result};
pub use garbage::Leftover;
pub use location::{BackendKind, Location, at_home, schema_of_draft};
pub use predicate::{Comparison, Predicate};
pub use revision::{
    Also, Arrival, Combined, Homecoming, Origin, Pair, Part, Replay, Retired, Revision, Seen, Siblings, Side,
    Source, Touched, compose, unchanged,
};
pub use table::{Column, Discovered, TableDef, TableId, TableName, TableSchema, identifier};
pub use trigger::UserTrigger;
pub use value::{Row, Value};
pub use view::{At, Layer, LayerSize, LineageId, Ordinal, Segment, View};
pub use view_def::{ViewChange, ViewDef, ViewRead};
pub use violation::{Rule, SeenTable, Violation};
pub use wanted::{Image, Wanted};
pub use writers::Writers;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;

/// A stream of record batches, all of one schema.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;
/// A stream of row changes, ordered by key as the backend orders keys.
pub type ChangeStream = BoxStream<'static, Result<RowChange>>;

/// What a scan is asked for. All parts are optional wishes except the projection, which is exact.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Indexes into the table's columns, in the order the caller wants them; `None` is all of them.
    pub projection: Option<Vec<usize>>,
    /// Predicates joined by AND. Each was accepted by [`Adapter::supports`], so it is applied exactly.
    pub filters: Vec<Predicate>,
    /// Stop after this many rows; the caller applies it again, so fewer guarantees are fine.
    pub limit: Option<usize>,
}

/// How a backend feels, for `epoch.backends` and `epoch status`.
#[derive(Debug, Clone)]
pub struct Health {
    /// The server's version as it reports it.
    pub version: String,
    /// Open connections and the most there may be.
    pub connections: (usize, usize),
}

/// One storage backend: tables, what branches hold of them, and their history.
///
/// Every method may be called from several tasks at once. Errors carry an SQLSTATE; none of them
/// contains a password or a URL with credentials.
#[async_trait]
pub trait Adapter: Send + Sync + std::fmt::Debug {
    /// The kind of backend, for locations and messages.
    fn kind(&self) -> BackendKind;

    /// The name the configuration gives this backend.
    fn name(&self) -> &str;

    /// The concrete adapter, for a route that is native to one kind of backend.
    fn as_any(&self) -> &dyn Any;

    /// Sees to it that what the backend noted of itself (places in its log, numbers of its transactions) is its own, and
    /// not that of a database of which it was made. Every other method does so before it looks.
    async fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// Waits until no client's open transaction defines tables here; whether that came before `patience` was over.
    async fn await_definers(&self, patience: Duration) -> Result<bool> {
        let _ = patience;
        Ok(true)
    }

    /// Says whose the backend is, before anything else is done: from then on [`Adapter::install`] and
    /// [`Adapter::define`] refuse (55000) a database with registrations of another repository, and
    /// [`Adapter::uninstall`] leaves them alone. What that one holds of its branches has the same names.
    fn belong_to(&self, repository: &str);

    /// Connects if need be and reports version and pool use.
    async fn health(&self) -> Result<Health>;

    /// Settings with which the backend may lose what it says it has committed, each as a clause (`fsync is off`).
    /// What every connection of an adapter sets for itself is none.
    async fn risks(&self) -> Result<Vec<String>>;

    /// Tables whose name matches `pattern` (`users`, `public.*`, `*`), whether they can be
    /// registered or not; [`Discovered::reason`] says why not. Reads only.
    async fn discover(&self, pattern: &str) -> Result<Vec<Discovered>>;

    /// The table's columns and key as they are now. `key` overrides the key the adapter would take
    /// (primary key, else a unique key over NOT NULL columns). 42P01 if there is no such table,
    /// 42830 if there is no usable key.
    async fn describe(&self, location: &Location, key: Option<&[String]>) -> Result<TableSchema>;

    /// Installs capture triggers and overlay, mask and history tables for `table`. Idempotent; the
    /// user's table keeps its rows, columns and constraints.
    async fn install(&self, table: &TableDef) -> Result<()>;

    /// The user's triggers of a table that fire for its clients, by name.
    async fn user_triggers(&self, table: &TableDef) -> Result<Vec<UserTrigger>> {
        let _ = table;
        Ok(Vec::new())
    }

    /// Makes the user's row triggers run on branches, as they are now, or no longer. 0A000 if one of them can't, with why;
    /// the default refuses.
    async fn run_triggers(&self, table: &TableDef, on: bool) -> Result<()> {
        let _ = table;
        match on {
            true => {
                Err(Error::unsupported(format!("running triggers on branches of a {} backend", self.kind())))
            }
            false => Ok(()),
        }
    }

    /// Removes everything that [`Adapter::install`] made. Idempotent. The last table takes the rest
    /// of our objects with it: the database is as it was before the first registration.
    async fn uninstall(&self, table: &TableDef) -> Result<()>;

    /// Makes or changes a draft, a table that exists on branches only (see [`Location::draft`]), in one
    /// transaction: runs the client's own statement on it, then installs what a versioned table has. Only
    /// `layer` may hold rows of it, none of them committed. Returns what the table is now. An error's position is
    /// one in the client's statement. Of a view nothing but a definition is made. The default
    /// refuses (0A000).
    async fn define(&self, table: &TableDef, layer: Layer, change: &DraftChange) -> Result<Definition> {
        let _ = (table, layer, change);
        Err(Error::unsupported(format!("data definition on a branch of a {} backend", self.kind())))
    }

    /// Makes a version of a table that has what was done to each of two, in one transaction; or says in what they
    /// don't fit, and changes nothing. No layer holds rows of it. The default refuses (0A000).
    async fn combine(&self, table: &TableDef, siblings: &Siblings) -> Result<Combined> {
        let _ = (table, siblings);
        Err(Error::unsupported(format!("versions of a table of a {} backend", self.kind())))
    }

    /// Empties what `layer` holds of a draft that was dropped there, so that nothing else sees its rows.
    async fn clear(&self, table: &TableDef, layer: Layer) -> Result<()> {
        let _ = (table, layer);
        Ok(())
    }

    /// Notes, in this order, which tables and versions of tables a branch shows from now on, where that isn't what main
    /// had below it. `first`: only of those of which nothing is noted yet. The default has no versions.
    async fn note_shown(&self, layer: Layer, tables: &[(TableId, bool)], first: bool) -> Result<()> {
        let _ = (layer, tables, first);
        Ok(())
    }

    /// Makes sure that the backend knows of a branch. The default has nothing to know.
    async fn record(&self, layer: Layer) -> Result<()> {
        let _ = layer;
        Ok(())
    }

    /// Whether a transaction of a client's that defined tables, known as `operation`, was committed; waits for its end.
    /// The default knows of none.
    async fn took_place(&self, operation: &str) -> Result<bool> {
        let _ = operation;
        Ok(false)
    }

    /// Forgets what [`Adapter::took_place`] is answered by.
    async fn forget(&self, operation: &str) -> Result<()> {
        let _ = operation;
        Ok(())
    }

    /// All foreign keys between versioned tables, whoever sees them: which version of a table refers to which of
    /// another. The default has none.
    async fn foreign_keys(&self) -> Result<Vec<(TableId, TableId)>> {
        Ok(Vec::new())
    }

    /// The foreign keys of drafts: which table refers to which. The default has none.
    async fn references(&self) -> Result<Vec<(TableId, TableId)>> {
        Ok(Vec::new())
    }

    /// What main has where a view of a branch comes to, as [`ViewDef::text`]; `None` if there is no view. The default
    /// has no views.
    async fn live_view(&self, view: &TableDef) -> Result<Option<String>> {
        let _ = view;
        Ok(None)
    }

    /// What uses a type that a branch made. The default has no types.
    async fn users_of_type(&self, table: &TableDef) -> Result<Vec<TypeUser>> {
        let _ = table;
        Ok(Vec::new())
    }

    /// What a draft is now; `None` if it isn't there. The default has no drafts.
    async fn definition(&self, table: &TableDef) -> Result<Option<Definition>> {
        let _ = table;
        Ok(None)
    }

    /// Makes sure that `layer` exists for `table`, so that rows can be written to it: records the
    /// lineage and, for a nested branch, copies what `parent` (the parent's own layer as of the
    /// fork) holds over the base. Idempotent, durable when it returns, safe under concurrent calls.
    async fn ensure_layer(&self, table: &TableDef, layer: Layer, parent: Option<&View>) -> Result<()>;

    /// Tables of this backend whose rows a write to `table` may change, or must see as the branch sees
    /// them: those that foreign keys tie to it, directly or through others. Their layers are made
    /// together with its own. The default is none.
    async fn related(&self, table: &TableDef) -> Result<Vec<TableId>> {
        let _ = table;
        Ok(Vec::new())
    }

    /// The rows that `view` shows.
    async fn scan(&self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream>;

    /// Whether this adapter applies `predicate` exactly as the engine would.
    fn supports(&self, table: &TableDef, predicate: &Predicate) -> bool;

    /// The Arrow schema that [`Adapter::scan`] of all columns has.
    fn arrow_schema(&self, table: &TableDef) -> SchemaRef {
        table.schema.arrow()
    }

    /// A value, not NULL, as a column of this backend stores it (`1.239` as `1.24` in a `numeric(10,2)`). An error, as the backend's
    /// own, if the column can't hold it. The default takes it as it is.
    async fn stored(&self, column: &Column, value: &Value) -> Result<Value> {
        let _ = column;
        Ok(value.clone())
    }

    /// Opens a transaction in which the rows of one lineage are read and written.
    async fn begin(&self) -> Result<Box<dyn Transaction>>;

    /// Net uncommitted changes of `lineage`, for the tables that have any.
    async fn pending(&self, tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<(TableId, TableStats)>>;

    /// The tables with uncommitted work, which may be nothing on balance: at least those of [`Adapter::pending`], at a cost
    /// that doesn't grow with the work where the backend can tell so.
    async fn touched(&self, tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<TableId>> {
        Ok(self.pending(tables, layer).await?.into_iter().map(|(id, _)| id).collect())
    }

    /// Who wrote to main's tables without us, of what isn't committed yet: for tables of which the backend knows. The default
    /// knows nothing.
    async fn writers(&self, tables: &[Arc<TableDef>]) -> Result<Vec<Writers>> {
        let _ = tables;
        Ok(Vec::new())
    }

    /// Publishes durable, still unreferenced content as `ordinal` of the layer's lineage, in one
    /// transaction: first applies `changes` (each row compared with its `before`; 40001 naming the
    /// first key that differs, nothing applied), then moves pending work into the ordinal as `mode`
    /// says. Exact under concurrent writers: contains what was committed in the backend when it
    /// ran, what is in flight falls into the next one. Repeating it with the same `operation`
    /// returns the first run's result and changes nothing. Triggers of main's tables that are the user's fire; what they
    /// make of the rows is what is published, and [`Sealed::altered`] says that they did. On main, a draft whose changes are given
    /// under its home's definition first becomes the table there; a revision takes the place of the version that is
    /// there, and a view becomes main's (see [`TableChanges::arrival`]).
    async fn seal(
        &self,
        operation: &str,
        tables: &[Arc<TableDef>],
        layer: Layer,
        ordinal: Ordinal,
        changes: &[TableChanges],
        mode: SealMode,
    ) -> Result<Sealed>;

    /// The result of the seal of `operation`, if it took place.
    async fn sealed(&self, operation: &str) -> Result<Option<Sealed>>;

    /// The rows that differ between two views, those that are `wanted`. `segments` cover the history
    /// between the two: every key that may differ is touched in one of them. Work is proportional to
    /// them; where keys are wanted, to what they hold of these.
    async fn diff(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
        wanted: &Wanted,
    ) -> Result<ChangeStream>;

    /// Where the wanted keys were changed, as far as these lineages' history says: each lineage and an
    /// ordinal that a change was published under, once. Pending changes aren't told.
    async fn changes_of_keys(
        &self,
        table: &TableDef,
        wanted: &Wanted,
        lineages: &[LineageId],
    ) -> Result<Vec<(LineageId, Ordinal)>>;

    /// The images of one key in these lineages' history, by lineage and ordinal, in the values that [`Adapter::diff`] gives. Pending ones
    /// aren't told. `None`, which is the default: the backend only says where there are any.
    async fn images_of_key(
        &self,
        table: &TableDef,
        key: &Row,
        lineages: &[LineageId],
    ) -> Result<Option<Vec<Image>>> {
        let _ = (table, key, lineages);
        Ok(None)
    }

    /// Forms of keys of a table, in their order: two have the same form if a row can have only one of them, as the
    /// columns' collations say. They are compared with each other only. The default takes keys as they are.
    async fn key_forms(&self, table: &TableDef, keys: Vec<Row>) -> Result<Vec<Row>> {
        let _ = table;
        Ok(keys)
    }

    /// Counts of what [`Adapter::diff`] would return.
    async fn diff_stat(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
    ) -> Result<TableStats>;

    /// What lineages of branches hold of a table, by lineage; one that holds nothing isn't in it. All of one moment. `None`, which is the
    /// default: it can't be told without reading each of them.
    async fn layer_sizes(
        &self,
        table: &TableDef,
        lineages: &[LineageId],
    ) -> Result<Option<HashMap<LineageId, LayerSize>>> {
        let _ = (table, lineages);
        Ok(None)
    }

    /// As [`Adapter::diff`], of two versions of a table: rows have the columns of [`Pair::shape`]. The default
    /// refuses (0A000).
    async fn diff_versions(&self, pair: &Pair) -> Result<ChangeStream> {
        let _ = pair;
        Err(Error::unsupported(format!("comparing versions of a table of a {} backend", self.kind())))
    }

    /// Counts of what [`Adapter::diff_versions`] would return.
    async fn diff_versions_stat(&self, pair: &Pair) -> Result<TableStats> {
        let _ = pair;
        Err(Error::unsupported(format!("comparing versions of a table of a {} backend", self.kind())))
    }

    /// Tables that somebody changed past us, so that their history has gaps or their columns aren't
    /// those of the registration, each with what was changed (a clause, as for a DETAIL). What can be
    /// mended is mended. [`Adapter::seal`] refuses such tables with [`Error::drifted`]. The default
    /// finds none.
    async fn drift(&self, tables: &[Arc<TableDef>]) -> Result<Vec<(TableId, String)>> {
        let _ = tables;
        Ok(Vec::new())
    }

    /// Takes the rows of a table that [`Adapter::drift`] says were written anew ([`REWRITTEN`]) for what they were: somebody
    /// knows that no value changed by it. The default has no such tables.
    async fn accept(&self, table: &TableDef) -> Result<()> {
        let _ = table;
        Ok(())
    }

    /// Rows that `view` shows and that don't keep to NOT NULL, CHECK, unique or foreign key constraints of the table;
    /// at most `limit`. `others`: the tables of this backend that there are beside it, and what is seen of each.
    async fn violations(
        &self,
        table: &TableDef,
        view: &View,
        others: &[SeenTable],
        limit: usize,
    ) -> Result<Vec<Violation>>;

    /// Which constraints changes to a state would break, all of them together and nothing being written: rows that are not
    /// as they should be afterwards because of a change, each with its table; at most `limit`. `shown`: all tables of this
    /// backend that the state has, and its views of them. Of rows that have generated columns the changes say what these
    /// are. The default can't tell (`None`).
    async fn would_break(
        &self,
        shown: &[SeenTable],
        changes: &[TableChanges],
        limit: usize,
    ) -> Result<Option<Vec<(TableId, Violation)>>> {
        let _ = (shown, changes, limit);
        Ok(None)
    }

    /// The statements that make a table like this one, by the name that it has on main: CREATE TABLE, and those
    /// of its indexes.
    async fn create_statement(&self, table: &TableDef) -> Result<String>;

    /// How many bytes of a table garbage collection would remove.
    async fn measure(&self, table: &TableDef, what: &Leftover) -> Result<u64>;

    /// Removes at most `limit` rows, in a transaction of its own; how many it were: fewer than `limit` if there are no
    /// more. Rows that somebody has locked are left for the next time. Of a lineage whose rows are removed,
    /// [`Adapter::abandon`] was called before.
    async fn remove(&self, table: &TableDef, what: &Leftover, limit: usize) -> Result<usize>;

    /// Says that nobody will look at lineages again, so that no constraint of theirs counts. Idempotent.
    async fn abandon(&self, lineages: &[LineageId]) -> Result<()>;

    /// Forgets lineages, of which no rows are left. Idempotent.
    async fn forget_lineages(&self, lineages: &[LineageId]) -> Result<()>;

    /// How many bytes a draft takes with all that belongs to it. The default has no drafts.
    async fn size(&self, table: &TableDef) -> Result<u64> {
        let _ = table;
        Ok(0)
    }

    /// An estimate of the table's row count, from the backend's own statistics where it has some.
    async fn row_estimate(&self, table: &TableDef) -> Result<i64>;
}

/// A transaction on one backend. Dropping it without [`Transaction::commit`] rolls it back.
#[async_trait]
pub trait Transaction: Send {
    /// As [`Adapter::scan`], seeing this transaction's own writes. The stream must be drained or
    /// dropped before the next call.
    async fn scan(&mut self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream>;

    /// Called before a statement that will write starts to read. A backend whose writers take turns
    /// waits for its turn here, so that the rows the statement finds are the rows it changes. `table` and `layer` are
    /// what the statement is going to write to. With `keep_snapshot` (REPEATABLE READ) what the transaction has read
    /// before must stay as it was:
    /// 40001 if somebody has written since. The default does nothing.
    async fn prepare_write(&mut self, table: &TableDef, layer: Layer, keep_snapshot: bool) -> Result<()> {
        let _ = (table, layer, keep_snapshot);
        Ok(())
    }

    /// Applies writes in order to the layer's working rows. Returns the rows affected. A constraint
    /// that fails is the backend's own error with its SQLSTATE and constraint name; the transaction
    /// is then only good for a rollback, or for [`Transaction::rollback_to`].
    async fn write(&mut self, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> Result<u64>;

    /// As [`Transaction::write`], and returns each affected row: as it is after an insert or update,
    /// as it was before a delete, in the order of the writes. For INSERT … RETURNING, where the backend fills in
    /// keys and defaults. The default refuses (0A000).
    async fn write_returning(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
    ) -> Result<Vec<Row>> {
        let _ = (layer, writes);
        Err(Error::unsupported(format!("RETURNING from table \"{}\"", table.name)))
    }

    /// Sets a savepoint; nested ones of the same name shadow as in PostgreSQL.
    async fn savepoint(&mut self, name: &str) -> Result<()>;
    /// Forgets a savepoint, keeping its work.
    async fn release(&mut self, name: &str) -> Result<()>;
    /// Undoes everything since the savepoint.
    async fn rollback_to(&mut self, name: &str) -> Result<()>;

    /// Makes the writes durable.
    async fn commit(self: Box<Self>) -> Result<()>;
    /// Undoes the writes.
    async fn rollback(self: Box<Self>) -> Result<()>;
}
