//! A transaction on a connection of its own. It begins with its first call: reading from one snapshot; the first
//! statement that says that it will write begins it anew, so that it sees what was committed before it, as READ COMMITTED
//! does at each statement. REPEATABLE READ keeps the snapshot.

use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{
    BatchStream, Error, Layer, Result, Row, RowWrite, Scan, TableDef, TableId, Transaction, View,
};
use epoch_layers::errors::{aborted, no_savepoint};
use tokio::sync::oneshot;

use crate::adapter::Shared;
use crate::layer::{ensure, take_turn};
use crate::pool::Session;
use crate::scan::{Query, Sight, channel, stream};
use crate::write::{Writer, turn};

/// What the transaction sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It hasn't begun.
    Idle,
    /// One snapshot, and nothing was written.
    Reading,
    /// What is committed before each statement.
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
}

const SNAPSHOT: [&str; 2] =
    ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT"];
const COMMITTED: [&str; 2] = ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"];

impl Inner {
    fn usable(&self) -> Result<()> {
        if self.failed || self.state == State::Over { Err(aborted()) } else { Ok(()) }
    }

    /// Begins, with the savepoints that were set before.
    async fn begin(&mut self, state: State) -> Result<()> {
        for sql in if state == State::Committed { COMMITTED } else { SNAPSHOT } {
            self.session.run(sql).await?;
        }
        for n in 0..self.savepoints.len() {
            self.session.run(&format!("SAVEPOINT epoch_{n}")).await?;
        }
        self.state = state;
        Ok(())
    }

    async fn prepare_write(&mut self, table: &TableDef, layer: Layer, keep: bool) -> Result<()> {
        self.usable()?;
        match (self.state, keep) {
            (State::Idle, true) => self.begin(State::Kept).await?,
            (State::Reading, true) => self.state = State::Kept,
            (State::Idle, false) => self.begin(State::Committed).await?,
            // Nothing was written yet.
            (State::Reading, false) => {
                self.session.run("ROLLBACK").await?;
                self.begin(State::Committed).await?;
            }
            _ => {}
        }
        if layer.is_main() {
            self.target = Some(table.id);
            return Ok(());
        }
        let catalog = self.shared.catalog(&mut self.session).await?;
        let meta = catalog.get(table)?;
        let kept = self.state == State::Kept;
        let result = async {
            let had = take_turn(&mut self.session, &turn(&catalog, table.id), layer, kept).await?;
            match had.contains(&table.id) {
                true => Ok(()),
                false => ensure(&mut self.session, &meta, layer, None).await,
            }
        };
        let result = result.await;
        self.note(&result);
        result
    }

    /// After a deadlock the server has rolled back everything.
    fn note<T>(&mut self, result: &Result<T>) {
        if let Err(e) = result
            && matches!(e.code(), "40P01" | epoch_adapter::sqlstate::CONNECTION_FAILURE)
        {
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
        self.note(&result);
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
        match self.state {
            State::Idle => self.begin(State::Committed).await?,
            State::Reading => self.state = State::Kept,
            _ => {}
        }
        let catalog = self.shared.catalog(&mut self.session).await?;
        let keep = self.state == State::Kept;
        let mut writer = Writer::new(&mut self.session, catalog, layer);
        writer.keep = keep;
        writer.returned = wanted.then(Vec::new);
        let affected = writer.write(table, writes).await?;
        Ok((affected, writer.returned.take().unwrap_or_default()))
    }

    async fn scan(&mut self, table: &TableDef, view: &View, scan: &Scan) -> Result<Query> {
        self.usable()?;
        if self.state == State::Idle {
            self.begin(State::Reading).await?;
        }
        let sight = match self.state {
            State::Committed if self.target == Some(table.id) && view.is_plain() => Sight::ForUpdate,
            State::Committed => Sight::Statement,
            _ => Sight::Snapshot,
        };
        let catalog = match view.is_plain() {
            true => None,
            false => Some(self.shared.catalog(&mut self.session).await?),
        };
        Query::plan(&mut self.session, catalog.as_deref(), table, view, scan, sight).await
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        self.usable()?;
        if self.state != State::Idle {
            self.session.run(&format!("SAVEPOINT epoch_{}", self.savepoints.len())).await?;
        }
        self.savepoints.push(name.to_owned());
        Ok(())
    }

    async fn release(&mut self, name: &str) -> Result<()> {
        self.usable()?;
        let at = self.find(name)?;
        if self.state != State::Idle {
            self.session.run(&format!("RELEASE SAVEPOINT epoch_{at}")).await?;
        }
        self.savepoints.truncate(at);
        Ok(())
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        if self.state == State::Over {
            return Err(aborted());
        }
        let at = self.find(name)?;
        if self.state != State::Idle {
            self.session.run(&format!("ROLLBACK TO SAVEPOINT epoch_{at}")).await?;
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
        match self.state {
            State::Idle => Ok(()),
            _ => self.session.run("COMMIT").await,
        }
    }

    async fn rollback(&mut self) -> Result<()> {
        match self.state {
            State::Idle | State::Over => Ok(()),
            _ => self.session.run("ROLLBACK").await,
        }
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
        };
        Self { slot: Slot::Here(Box::new(inner)) }
    }

    /// The connection. If the caller's future is dropped, the transaction is rolled back.
    async fn take(&mut self) -> Result<Box<Inner>> {
        match std::mem::replace(&mut self.slot, Slot::Gone) {
            Slot::Here(inner) => Ok(inner),
            Slot::Lent(back) => {
                back.await.map_err(|_| Error::internal("mysql: the transaction's connection is lost"))
            }
            Slot::Gone => Err(Error::internal("mysql: the transaction's connection is lost")),
        }
    }
}

#[async_trait]
impl Transaction for Tx {
    async fn scan(&mut self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream> {
        let mut inner = self.take().await?;
        let query = inner.scan(table, view, scan).await;
        inner.note(&query);
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
            inner.note(&result);
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
        let result = inner.release(name).await;
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
