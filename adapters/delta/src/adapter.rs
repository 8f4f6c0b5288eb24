//! [`DeltaAdapter`]: the contract on a folder, a bucket or a container of Delta tables.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{
    Adapter, At, BackendKind, BatchStream, ChangeStream, Discovered, Health, Layer, Leftover, LineageId,
    Location, Ordinal, Predicate, Result, Scan, SealMode, Sealed, SeenTable, Segment, TableChanges, TableDef,
    TableId, TableSchema, TableStats, Transaction, View, Violation, Wanted,
};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use crate::hub::Hub;
use crate::seal::{Changes, Seal};
use crate::store;
use crate::tx::Tx;
use crate::{azure, describe, diff, error, garbage, gcs, install, of_main, read, s3, seal, violations};

/// A folder of this machine, or of a bucket or container, with Delta tables, as a backend. Cheap to share.
#[derive(Debug)]
pub struct DeltaAdapter {
    kind: BackendKind,
    hub: Arc<Hub>,
}

impl DeltaAdapter {
    /// The tables of a folder of this machine.
    ///
    /// # Errors
    /// F0000 if there is no such folder.
    pub fn local(name: &str, folder: &Path) -> Result<Self> {
        Ok(Self::new(name, BackendKind::Local, store::local(name, folder)?))
    }

    /// The tables of a bucket; nothing connects yet.
    ///
    /// # Errors
    /// F0000 if the settings can't be used.
    pub fn s3(name: &str, settings: &s3::S3) -> Result<Self> {
        Ok(Self::new(name, BackendKind::S3, s3::open(name, settings)?))
    }

    /// The tables of a container of Azure Blob Storage; nothing connects yet.
    ///
    /// # Errors
    /// F0000 if the settings can't be used.
    pub fn azure(name: &str, settings: &azure::Azure) -> Result<Self> {
        Ok(Self::new(name, BackendKind::Azure, azure::open(name, settings)?))
    }

    /// The tables of a bucket of Google Cloud Storage; nothing connects yet.
    ///
    /// # Errors
    /// F0000 if the settings can't be used.
    pub fn gcs(name: &str, settings: &gcs::Gcs) -> Result<Self> {
        Ok(Self::new(name, BackendKind::Gcs, gcs::open(name, settings)?))
    }

    fn new(name: &str, kind: BackendKind, root: Arc<dyn ObjectStore>) -> Self {
        Self { kind, hub: Arc::new(Hub::new(name, root)) }
    }
}

#[async_trait]
impl Adapter for DeltaAdapter {
    fn kind(&self) -> BackendKind {
        self.kind
    }

    fn name(&self) -> &str {
        &self.hub.name
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn belong_to(&self, repository: &str) {
        self.hub.owner.get_or_init(|| repository.to_owned());
    }

    async fn health(&self) -> Result<Health> {
        let folder = object_store::path::Path::from(store::OURS);
        self.hub.root.list(Some(&folder)).try_next().await.map_err(error::store)?;
        Ok(Health { version: "Delta Lake".to_owned(), connections: (0, 0) })
    }

    /// A store keeps what it has confirmed; on local disk we see to it ourselves.
    async fn risks(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn discover(&self, pattern: &str) -> Result<Vec<Discovered>> {
        describe::discover(&self.hub, self.kind, pattern).await
    }

    async fn describe(&self, location: &Location, key: Option<&[String]>) -> Result<TableSchema> {
        describe::describe(&self.hub, location, key).await
    }

    async fn install(&self, table: &TableDef) -> Result<()> {
        install::install(&self.hub, table).await
    }

    async fn uninstall(&self, table: &TableDef) -> Result<()> {
        install::uninstall(&self.hub, table).await
    }

    async fn ensure_layer(&self, table: &TableDef, layer: Layer, parent: Option<&View>) -> Result<()> {
        install::ensure_layer(&self.hub, table, layer, parent).await
    }

    async fn scan(&self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream> {
        let mut state = self.hub.state(table).await?;
        let seen = self.hub.see(&mut state, table, view).await?;
        seen.scan(&self.hub, table, scan).await
    }

    fn supports(&self, table: &TableDef, predicate: &Predicate) -> bool {
        read::expression(&table.schema, predicate).is_some()
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        Ok(Box::new(Tx::new(Arc::clone(&self.hub))))
    }

    async fn pending(&self, tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<(TableId, TableStats)>> {
        let mut out = Vec::new();
        for table in tables {
            let stats = match layer.is_main() {
                true => of_main::pending(&self.hub, table).await?,
                false => seal::pending(&self.hub, table, layer).await?,
            };
            if stats.rows() > 0 {
                out.push((table.id, stats));
            }
        }
        Ok(out)
    }

    async fn touched(&self, tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<TableId>> {
        let mut out = Vec::new();
        for table in tables {
            let touched = match layer.is_main() {
                true => of_main::touched(&self.hub, table).await?,
                false => {
                    let state = self.hub.state(table).await?;
                    state.held(table.id, layer.lineage).is_some_and(|held| !held.pending.is_empty())
                }
            };
            out.extend(touched.then_some(table.id));
        }
        Ok(out)
    }

    async fn seal(
        &self,
        operation: &str,
        tables: &[Arc<TableDef>],
        layer: Layer,
        ordinal: Ordinal,
        changes: &[TableChanges],
        mode: SealMode,
    ) -> Result<Sealed> {
        let changes = changes.iter().map(Changes::of).collect::<Result<Vec<_>>>()?;
        let seal = Seal { operation, tables, layer, ordinal, mode };
        match layer.is_main() {
            true => of_main::publish(&self.hub, seal, &changes).await,
            false => seal::of_branch(&self.hub, seal, &changes).await,
        }
    }

    async fn sealed(&self, operation: &str) -> Result<Option<Sealed>> {
        of_main::sealed(&self.hub, operation).await
    }

    async fn diff(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
        wanted: &Wanted,
    ) -> Result<ChangeStream> {
        let found = diff::of_views(&self.hub, table, from, to, segments, wanted).await?;
        Ok(futures::stream::iter(diff::changes(found).into_iter().map(Ok)).boxed())
    }

    async fn changes_of_keys(
        &self,
        table: &TableDef,
        wanted: &Wanted,
        lineages: &[LineageId],
    ) -> Result<Vec<(LineageId, Ordinal)>> {
        diff::changes_of_keys(&self.hub, table, wanted, lineages).await
    }

    async fn diff_stat(
        &self,
        table: &TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
    ) -> Result<TableStats> {
        Ok(diff::count(
            &diff::of_views(&self.hub, table, from, to, segments, &Wanted::default()).await?,
            true,
        ))
    }

    async fn drift(&self, tables: &[Arc<TableDef>]) -> Result<Vec<(TableId, String)>> {
        let mut out = Vec::new();
        for table in tables {
            let state = self.hub.state(table).await?;
            let known = self.hub.table(&state, table)?;
            // One that was made anew may have fewer versions than are known.
            self.hub.source(&table.location.table)?.forget().await;
            let reason = match self.hub.newest(known, table).await {
                Ok(version) => describe::drifted(known, table, &version),
                Err(e) if e.code() == epoch_adapter::sqlstate::UNDEFINED_TABLE => {
                    Some("the table was dropped".to_owned())
                }
                Err(e) => return Err(e),
            };
            out.extend(reason.map(|reason| (table.id, reason)));
        }
        Ok(out)
    }

    /// Delta has no foreign keys: nothing depends on what is seen of others.
    async fn violations(
        &self,
        table: &TableDef,
        view: &View,
        _: &[SeenTable],
        limit: usize,
    ) -> Result<Vec<Violation>> {
        violations::violations(&self.hub, table, view, limit).await
    }

    async fn create_statement(&self, table: &TableDef) -> Result<String> {
        Ok(describe::create_statement(table))
    }

    async fn measure(&self, table: &TableDef, what: &Leftover) -> Result<u64> {
        garbage::measure(&self.hub, table, what).await
    }

    async fn remove(&self, table: &TableDef, what: &Leftover, limit: usize) -> Result<usize> {
        garbage::remove(&self.hub, table, what, limit).await
    }

    /// No constraint looks at other branches' rows.
    async fn abandon(&self, _: &[LineageId]) -> Result<()> {
        Ok(())
    }

    /// With their layers all of theirs is gone.
    async fn forget_lineages(&self, _: &[LineageId]) -> Result<()> {
        Ok(())
    }

    async fn row_estimate(&self, table: &TableDef) -> Result<i64> {
        let state = self.hub.state(table).await?;
        Ok(self.hub.main(&state, table, At::Working).await?.version.row_estimate())
    }
}
