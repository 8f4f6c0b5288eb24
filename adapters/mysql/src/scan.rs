//! Reads the rows of a view as a stream of Arrow batches.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use epoch_adapter::{Error, Result, Row, Scan, TableDef, Value, View};
use epoch_layers::cells::{Batch, Cell};
use epoch_layers::errors::misfit;
use epoch_layers::view::{Arm, Dialect, Facts, union};
use futures::StreamExt;
use mysql_async::prelude::Queryable;
use tokio::sync::mpsc;

use crate::error::map;
use crate::layout::{base, list};
use crate::meta::{Catalog, take};
use crate::pool::Session;
use crate::types::{Kind, bind_all, kind_of, read};
use crate::view::{facts, predicates};

/// Rows per batch.
const BATCH: usize = 8_192;
/// Items that wait for the reader.
const AHEAD: usize = 2;

/// How sure a scan is of what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// One snapshot for all statements of the transaction.
    Snapshot,
    /// Each statement sees what was committed before it.
    Statement,
    /// The rows are going to be changed: nobody else may.
    ForUpdate,
}

/// A stream that a task fills through its sender.
pub(crate) fn stream<T: Send + 'static>(
    receiver: mpsc::Receiver<Result<T>>,
) -> futures::stream::BoxStream<'static, Result<T>> {
    futures::stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
    .boxed()
}

/// Where a task puts what it reads.
pub(crate) type Sink<T> = mpsc::Sender<Result<T>>;

/// A way to a reader.
pub(crate) fn channel<T>() -> (Sink<T>, mpsc::Receiver<Result<T>>) {
    mpsc::channel(AHEAD)
}

/// The statement of a scan, and what its rows are.
pub(crate) struct Query {
    table: TableDef,
    schema: SchemaRef,
    sql: String,
    params: Vec<Value>,
    kinds: Vec<Kind>,
    keys: Vec<Kind>,
    limit: Option<usize>,
}

impl Query {
    /// Plans a scan, in the transaction that is going to run it.
    pub(crate) async fn plan(
        session: &mut Session,
        catalog: Option<&Catalog>,
        table: &TableDef,
        view: &View,
        scan: &Scan,
        sight: Sight,
    ) -> Result<Self> {
        let schema = projected(table, scan)?;
        let filter = predicates(table, &scan.filters)?;
        let names = schema.fields().iter().map(|f| f.name().as_str());
        let keys = list("x", table.schema.key_columns().map(|c| c.name.as_str()));
        // The key is read too, to name the row if one of its values doesn't fit.
        let what = if schema.fields().is_empty() { keys } else { format!("{}, {keys}", list("x", names)) };
        let (mut sql, params) = match catalog {
            None => {
                Arm::whole(format!("{} AS x", base(table)), Dialect::Mysql).select(&what, &filter, scan.limit)
            }
            Some(catalog) => {
                let meta = catalog.get(table)?;
                // What one statement found empty needn't be so for the next, unless there is a snapshot.
                let facts = match sight {
                    Sight::Snapshot => facts(session, &meta, view).await?,
                    _ => Facts::ALL,
                };
                union(&meta.arms(view, facts), &what, &filter, scan.limit)
            }
        };
        if sight == Sight::ForUpdate && view.is_plain() {
            sql.push_str(" FOR UPDATE");
        }
        let kind =
            |name: &str| table.schema.columns.iter().find(|c| c.name == name).map_or(Kind::Other, kind_of);
        Ok(Self {
            kinds: schema.fields().iter().map(|f| kind(f.name())).collect(),
            keys: table.schema.key_columns().map(kind_of).collect(),
            table: table.clone(),
            schema,
            sql,
            params,
            limit: scan.limit,
        })
    }

    /// Sends batches until the end, or until the reader has gone: then the server is told to stop.
    pub(crate) async fn run(&self, session: &mut Session, sink: &Sink<RecordBatch>) -> Result<()> {
        let (id, pool) = (session.id(), Arc::clone(&session.pool));
        let mut batch = Batch::new(Arc::clone(&self.schema), self.limit.unwrap_or(BATCH).min(BATCH))?;
        let mut result =
            session.conn()?.exec_iter(self.sql.as_str(), bind_all(&self.params)).await.map_err(map)?;
        let mut gone = false;
        while let Some(row) = result.next().await.map_err(map)? {
            self.push(&mut batch, row)?;
            if batch.rows() == BATCH && sink.send(Ok(batch.finish()?)).await.is_err() {
                gone = true;
                break;
            }
        }
        if gone {
            pool.kill(id).await;
            // The rest of the result, or that it was ended.
            let _ = result.drop_result().await;
            return Ok(());
        }
        result.drop_result().await.map_err(map)?;
        if batch.rows() > 0 {
            // A reader that has gone doesn't want it.
            let _ = sink.send(Ok(batch.finish()?)).await;
        }
        Ok(())
    }

    fn push(&self, batch: &mut Batch, mut row: mysql_async::Row) -> Result<()> {
        let mut values: Row = Vec::with_capacity(self.kinds.len());
        for (i, kind) in self.kinds.iter().enumerate() {
            values.push(read(*kind, take(&mut row, i)?)?);
        }
        let pushed = batch.push(|i| Ok::<_, std::fmt::Error>(values.get(i).map_or(Cell::Null, Cell::from)));
        pushed.map_err(|(i, what)| self.unreadable(batch, i, &what, &mut row))
    }

    fn unreadable(&self, batch: &Batch, i: usize, what: &str, row: &mut mysql_async::Row) -> Error {
        let name = batch.column_name(i).unwrap_or_default();
        let column = self.table.schema.columns.iter().find(|c| c.name == name);
        let pg_type = column.map_or("?", |c| c.pg_type.as_str());
        let key = |(n, kind): (usize, &Kind)| {
            let value = take(row, self.kinds.len() + n).and_then(|raw| read(*kind, raw));
            value.ok().and_then(|v| v.to_text()).unwrap_or_else(|| "?".to_owned())
        };
        let values: Vec<_> = self.keys.iter().enumerate().map(key).collect();
        let table = &self.table.location.table;
        misfit(pg_type, name, what).with_table(table.clone()).with_detail(format!(
            "Table \"{table}\", column \"{name}\", row ({})=({}).",
            self.table.schema.key_names().join(", "),
            values.join(", ")
        ))
    }
}

/// The schema of a scan: the projected columns.
fn projected(table: &TableDef, scan: &Scan) -> Result<SchemaRef> {
    let all = table.schema.arrow();
    match &scan.projection {
        None => Ok(all),
        Some(columns) => {
            let schema = all.project(columns).map_err(|e| Error::internal(format!("a projection: {e}")))?;
            Ok(Arc::new(Schema::new(schema.fields().clone())))
        }
    }
}
