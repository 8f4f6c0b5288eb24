//! A transaction on a connection of its own. It begins with its first call: reading from one snapshot. A statement that
//! says that it will write to main begins it anew, at READ COMMITTED, with locks; one that writes to a branch takes the
//! branch's turn first and then begins with a snapshot, which it keeps. REPEATABLE READ keeps the snapshot that there is.

use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{
    BatchStream, Error, Layer, Result, Row, RowWrite, Scan, TableDef, TableId, Transaction, View,
};
use epoch_layers::errors::{aborted, no_savepoint};
use tokio::sync::oneshot;

use crate::adapter::Shared;
use crate::layer::{ensure, take_turns, unchanged};
use crate::pool::Session;
use crate::scan::{Query, channel, stream};
use crate::write::{Writer, turns};

/// What the transaction sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It hasn't begun.
    Idle,
    /// One snapshot, and nothing was written.
    Reading,
    /// What is committed before each statement, locked: it writes to main.
    Committed,
    /// One snapshot; what is written must be in it as it is.
    Kept,
    /// The server rolled it back.
    Over,
}

/// The connection and what the server doesn't know of the transaction.
struct Inner {
    shared: Arc<Shared>,
    session: Session,
    state: State,
    failed: bool,
    savepoints: Vec<String>,
    /// The table of main that the statement is going to write to: what it reads of it is locked.
    target: Option<TableId>,
    /// Tables of the branch whose turn it has, and of which it isn't known yet that its snapshot has what others wrote.
    /// (A look that failed is made again after a ROLLBACK TO, which gives no turn back.)
    unchecked: Vec<TableId>,
}

impl Inner {
    fn usable(&self) -> Result<()> {
        if self.failed || self.state == State::Over { Err(aborted()) } else { Ok(()) }
    }

    /// Begins, with the savepoints that were set before.
    async fn begin(&mut self, state: State) -> Result<()> {
        match state {
            State::Committed => self.session.begin_committed().await?,
            _ => self.session.begin_snapshot().await?,
        }
        self.state = state;
        for n in 0..self.savepoints.len() {
            self.session.run(&format!("SAVE TRANSACTION epoch_{n}")).await?;
        }
        Ok(())
    }

    /// Sees to it that the transaction is one that writes to a layer.
    async fn ready(&mut self, table: &TableDef, layer: Layer, keep: bool) -> Result<()> {
        if self.state == State::Reading && keep {
            self.state = State::Kept;
        }
        if self.state == State::Reading {
            // Nothing was written yet.
            self.session.rollback().await?;
            self.state = State::Idle;
        }
        if layer.is_main() {
            return match (self.state, keep) {
                (State::Idle, true) => self.begin(State::Kept).await,
                (State::Idle, false) => self.begin(State::Committed).await,
                _ => Ok(()),
            };
        }
        if self.state == State::Committed {
            return Err(Error::unsupported(
                "a transaction that writes to main first and then to a branch of a SQL Server backend",
            ));
        }
        let catalog = self.shared.catalog(&mut self.session).await?;
        let meta = catalog.get(table)?;
        take_turns(&mut self.session, &turns(&catalog, table.id), layer, &mut self.unchecked).await?;
        match self.state {
            // A snapshot that begins now has all that others wrote.
            State::Idle => self.begin(State::Kept).await?,
            _ => unchanged(&mut self.session, &self.unchecked, layer).await?,
        }
        self.unchecked.clear();
        ensure(&mut self.session, &meta, layer, None).await
    }

    async fn prepare_write(&mut self, table: &TableDef, layer: Layer, keep: bool) -> Result<()> {
        self.usable()?;
        let result = self.ready(table, layer, keep).await;
        self.note(&result).await;
        self.target = layer.is_main().then_some(table.id);
        result
    }

    /// After some errors the server has rolled back everything, or lets nothing else be done.
    async fn note<T>(&mut self, result: &Result<T>) {
        let begun = matches!(self.state, State::Reading | State::Committed | State::Kept);
        if result.is_err() && begun && !self.session.in_transaction().await {
            self.state = State::Over;
        }
    }

    /// The number of affected rows, and the rows if they are wanted.
    async fn write(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
        wanted: bool,
    ) -> Result<(u64, Vec<Row>)> {
        self.usable()?;
        let result = self.write_rows(table, layer, writes, wanted).await;
        self.failed = result.is_err();
        self.note(&result).await;
        self.target = None;
        result
    }

    async fn write_rows(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
        wanted: bool,
    ) -> Result<(u64, Vec<Row>)> {
        self.ready(table, layer, self.state == State::Reading).await?;
        let catalog = self.shared.catalog(&mut self.session).await?;
        let locking = self.state == State::Committed;
        let mut writer = Writer::new(&mut self.session, catalog, layer);
        writer.locking = locking;
        writer.returned = wanted.then(Vec::new);
        let affected = writer.write(table, writes).await?;
        Ok((affected, writer.returned.take().unwrap_or_default()))
    }

    /// Whether a view is read beside the transaction: while it writes to main each of its statements sees another moment,
    /// and views of commits and branches are of one. It has written to none of them.
    fn beside(&self, view: &View) -> bool {
        self.state == State::Committed && !view.is_plain()
    }

    async fn scan(&mut self, table: &TableDef, view: &View, scan: &Scan) -> Result<Query> {
        self.usable()?;
        if self.state == State::Idle {
            self.begin(State::Reading).await?;
        }
        let locked = self.state == State::Committed && self.target == Some(table.id);
        let catalog = match view.is_plain() {
            true => None,
            false => Some(self.shared.catalog(&mut self.session).await?),
        };
        Query::plan(&mut self.session, catalog.as_deref(), table, view, scan, locked).await
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        self.usable()?;
        if self.state != State::Idle {
            self.session.run(&format!("SAVE TRANSACTION epoch_{}", self.savepoints.len())).await?;
        }
        self.savepoints.push(name.to_owned());
        Ok(())
    }

    /// The server has no such statement: the next savepoint of this number takes its place.
    fn release(&mut self, name: &str) -> Result<()> {
        self.usable()?;
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        if self.state == State::Over {
            return Err(aborted());
        }
        let at = self.find(name)?;
        if self.state != State::Idle {
            // Set anew: whether a savepoint is there still after it was rolled back to is not documented.
            self.session
                .run(&format!("ROLLBACK TRANSACTION epoch_{at}; SAVE TRANSACTION epoch_{at}"))
                .await?;
        }
        self.savepoints.truncate(at + 1);
        self.failed = false;
        Ok(())
    }

    /// A name's newest savepoint; one that is shadowed keeps its number.
    fn find(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|n| n == name).ok_or_else(|| no_savepoint(name))
    }

    async fn commit(&mut self) -> Result<()> {
        self.usable()?;
        if self.state != State::Idle {
            // Not that of another transaction, if the server has ended this one.
            self.session.run("COMMIT TRANSACTION").await?;
        }
        self.session.release_turns().await
    }

    async fn rollback(&mut self) -> Result<()> {
        self.session.rollback().await?;
        self.session.release_turns().await
    }
}

/// Where the connection is.
enum Slot {
    Here(Box<Inner>),
    /// With a scan, which sends it back.
    Lent(oneshot::Receiver<Box<Inner>>),
    Gone,
}

/// See [`Transaction`].
pub(crate) struct Tx {
    slot: Slot,
}

impl Tx {
    pub(crate) fn new(shared: Arc<Shared>, session: Session) -> Self {
        let inner = Inner {
            shared,
            session,
            state: State::Idle,
            failed: false,
            savepoints: Vec::new(),
            target: None,
            unchecked: Vec::new(),
        };
        Self { slot: Slot::Here(Box::new(inner)) }
    }

    /// The connection. If the caller's future is dropped, the transaction is rolled back.
    async fn take(&mut self) -> Result<Box<Inner>> {
        match std::mem::replace(&mut self.slot, Slot::Gone) {
            Slot::Here(inner) => Ok(inner),
            Slot::Lent(back) => {
                back.await.map_err(|_| Error::internal("sqlserver: the transaction's connection is lost"))
            }
            Slot::Gone => Err(Error::internal("sqlserver: the transaction's connection is lost")),
        }
    }
}

#[async_trait]
impl Transaction for Tx {
    async fn scan(&mut self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream> {
        let mut inner = self.take().await?;
        if inner.beside(view) && inner.usable().is_ok() {
            let shared = Arc::clone(&inner.shared);
            self.slot = Slot::Here(inner);
            return shared.scan(table, view, scan).await;
        }
        let query = inner.scan(table, view, scan).await;
        inner.note(&query).await;
        let query = match query {
            Ok(query) => query,
            Err(e) => {
                self.slot = Slot::Here(inner);
                return Err(e);
            }
        };
        let (give, back) = oneshot::channel();
        self.slot = Slot::Lent(back);
        let (sink, receiver) = channel();
        tokio::spawn(async move {
            let result = query.run(&mut inner.session, &sink).await;
            inner.note(&result).await;
            // Whoever isn't there any more doesn't need it.
            let _ = give.send(inner);
            if let Err(error) = result {
                let _ = sink.send(Err(error)).await;
            }
        });
        Ok(stream(receiver))
    }

    async fn prepare_write(&mut self, table: &TableDef, layer: Layer, keep_snapshot: bool) -> Result<()> {
        let mut inner = self.take().await?;
        let result = inner.prepare_write(table, layer, keep_snapshot).await;
        self.slot = Slot::Here(inner);
        result
    }

    async fn write(&mut self, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> Result<u64> {
        let mut inner = self.take().await?;
        let result = inner.write(table, layer, writes, false).await;
        self.slot = Slot::Here(inner);
        result.map(|(affected, _)| affected)
    }

    async fn write_returning(
        &mut self,
        table: &TableDef,
        layer: Layer,
        writes: &[RowWrite],
    ) -> Result<Vec<Row>> {
        let mut inner = self.take().await?;
        let result = inner.write(table, layer, writes, true).await;
        self.slot = Slot::Here(inner);
        result.map(|(_, rows)| rows)
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        let mut inner = self.take().await?;
        let result = inner.savepoint(name).await;
        self.slot = Slot::Here(inner);
        result
    }

    async fn release(&mut self, name: &str) -> Result<()> {
        let mut inner = self.take().await?;
        let result = inner.release(name);
        self.slot = Slot::Here(inner);
        result
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        let mut inner = self.take().await?;
        let result = inner.rollback_to(name).await;
        self.slot = Slot::Here(inner);
        result
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.take().await?.commit().await
    }

    async fn rollback(mut self: Box<Self>) -> Result<()> {
        self.take().await?.rollback().await
    }
}
