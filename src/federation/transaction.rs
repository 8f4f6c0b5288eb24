//! A backend transaction that several scans and writes of one session share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex as SyncMutex, Weak};

use arrow::record_batch::RecordBatch;
use epoch_adapter::{BatchStream, Error, Layer, Result, Row, RowWrite, Scan, TableDef, Transaction, View};
use futures::StreamExt;
use tokio::sync::{Mutex, MutexGuard};

/// A backend's transaction allows one open scan at a time, but a plan may read several tables at
/// once and a suspended portal may keep a scan open for long. So the scan that is open streams; when
/// something else needs the transaction, the rest of it is read into memory for its owner first.
pub(crate) struct SharedTransaction {
    state: Mutex<State>,
}

impl std::fmt::Debug for SharedTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedTransaction")
    }
}

struct State {
    transaction: Option<Box<dyn Transaction>>,
    /// The open scan and where its owner looks for what was read ahead.
    open: Option<(Weak<Buffer>, BatchStream)>,
}

#[derive(Default)]
struct Buffer(SyncMutex<VecDeque<Result<RecordBatch>>>);

impl Buffer {
    fn push(&self, item: Result<RecordBatch>) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push_back(item);
    }

    fn pop(&self) -> Option<Result<RecordBatch>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
    }
}

impl SharedTransaction {
    pub(crate) fn new(transaction: Box<dyn Transaction>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { transaction: Some(transaction), open: None }) })
    }

    /// As [`Transaction::scan`]; any number of scans may be open.
    pub(crate) async fn scan(
        self: &Arc<Self>,
        table: &TableDef,
        view: &View,
        scan: &Scan,
    ) -> Result<BatchStream> {
        let mut state = self.settled().await;
        let stream = state.transaction()?.scan(table, view, scan).await?;
        let buffer = Arc::new(Buffer::default());
        state.open = Some((Arc::downgrade(&buffer), stream));
        drop(state);
        let shared = self.clone();
        let next = |(shared, buffer): (Arc<Self>, Arc<Buffer>)| async move {
            let item = shared.next(&buffer).await?;
            Some((item, (shared, buffer)))
        };
        Ok(futures::stream::unfold((shared, buffer), next).boxed())
    }

    async fn next(&self, buffer: &Arc<Buffer>) -> Option<Result<RecordBatch>> {
        if let Some(item) = buffer.pop() {
            return Some(item);
        }
        let mut state = self.state.lock().await;
        if let Some(item) = buffer.pop() {
            return Some(item);
        }
        let (owner, stream) = state.open.as_mut()?;
        if owner.as_ptr() != Arc::as_ptr(buffer) {
            return None;
        }
        let item = stream.next().await;
        if item.is_none() {
            state.open = None;
        }
        item
    }

    /// The state with no scan open.
    async fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().await;
        if let Some((owner, mut stream)) = state.open.take()
            && let Some(buffer) = owner.upgrade()
        {
            while let Some(item) = stream.next().await {
                buffer.push(item);
            }
        }
        state
    }

    pub(crate) async fn prepare_write(
        &self,
        table: &TableDef,
        layer: Layer,
        keep_snapshot: bool,
    ) -> Result<()> {
        self.settled().await.transaction()?.prepare_write(table, layer, keep_snapshot).await
    }

    pub(crate) async fn write(&self, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> Result<u64> {
        self.settled().await.transaction()?.write(table, layer, writes).await
    }

    pub(crate) async fn write_returning(
        &self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
    ) -> Result<Vec<Row>> {
        self.settled().await.transaction()?.write_returning(table, layer, writes).await
    }

    pub(crate) async fn savepoint(&self, name: &str) -> Result<()> {
        self.settled().await.transaction()?.savepoint(name).await
    }

    pub(crate) async fn release(&self, name: &str) -> Result<()> {
        self.settled().await.transaction()?.release(name).await
    }

    pub(crate) async fn rollback_to(&self, name: &str) -> Result<()> {
        self.settled().await.transaction()?.rollback_to(name).await
    }

    /// Makes the writes durable. Scans that are still open end here, as cursors do at COMMIT.
    pub(crate) async fn commit(&self) -> Result<()> {
        self.finish().await?.commit().await
    }

    pub(crate) async fn rollback(&self) -> Result<()> {
        self.finish().await?.rollback().await
    }

    async fn finish(&self) -> Result<Box<dyn Transaction>> {
        let mut state = self.state.lock().await;
        state.open = None;
        state.transaction.take().ok_or_else(over)
    }
}

impl State {
    fn transaction(&mut self) -> Result<&mut Box<dyn Transaction>> {
        self.transaction.as_mut().ok_or_else(over)
    }
}

fn over() -> Error {
    Error::internal("the transaction of this scan is over")
}
