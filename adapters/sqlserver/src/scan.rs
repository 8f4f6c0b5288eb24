//! Reads the rows of a view as a stream of Arrow batches.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use epoch_adapter::{Error, Result, Row, Scan, TableDef, Value, View};
use epoch_layers::cells::{Batch, Cell};
use epoch_layers::errors::misfit;
use epoch_layers::view::{Arm, Dialect, union};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::error::map;
use crate::layout::base;
use crate::meta::{Catalog, Meta, take};
use crate::parameters::numbered;
use crate::physical::Physical;
use crate::pool::{Cells, Session, bound, refs};
use crate::types::{Kind, kind_of, read, shown};
use crate::view::{facts, predicates};

/// Rows per batch.
const BATCH: usize = 8_192;
/// Items that wait for the reader.
const AHEAD: usize = 2;

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

/// A result that is read row by row: at its end, or when it isn't wanted any more, the session is free again.
pub(crate) async fn each_row(
    session: &mut Session,
    sql: &str,
    params: &[Value],
    mut visit: impl FnMut(Cells) -> Result<()>,
) -> Result<()> {
    let (sql, _) = numbered(sql);
    let bound = bound(params);
    session.begin();
    let refs = refs(&bound);
    let mut rows = session.conn()?.query(sql, &refs).await.map_err(map)?.into_row_stream();
    let mut failed = None;
    while let Some(row) = rows.try_next().await.map_err(map)? {
        if let Err(e) = visit(row.into_iter().collect()) {
            failed = Some(e);
            break;
        }
    }
    drop(rows);
    if let Some(error) = failed {
        session.cancel().await?;
        session.end();
        return Err(error);
    }
    session.end();
    Ok(())
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
    /// Plans a scan, in the transaction that is going to run it. `locked`: the rows of the plain table are going to be
    /// changed, so nobody else may.
    pub(crate) async fn plan(
        session: &mut Session,
        catalog: Option<&Catalog>,
        table: &TableDef,
        view: &View,
        scan: &Scan,
        locked: bool,
    ) -> Result<Self> {
        let schema = projected(table, scan)?;
        let filter = predicates(table, &scan.filters)?;
        let columns: Vec<usize> = match &scan.projection {
            Some(columns) => columns.clone(),
            None => (0..table.schema.columns.len()).collect(),
        };
        // The key is read too, to name the row if one of its values doesn't fit.
        let wanted: Vec<usize> = columns.iter().chain(&table.schema.key).copied().collect();
        let (sql, params) = match catalog {
            None => {
                let what = Meta::new(table.clone(), Physical::default()).cells("x", &wanted);
                let lock = if locked { " WITH (UPDLOCK, ROWLOCK)" } else { "" };
                let from = format!("{} AS x{lock}", base(table));
                Arm::whole(from, Dialect::SqlServer).select(&what, &filter, scan.limit)
            }
            Some(catalog) => {
                let meta = catalog.get(table)?;
                let facts = facts(session, &meta, view).await?;
                union(&meta.arms(view, facts), &meta.cells("x", &wanted), &filter, scan.limit)
            }
        };
        let kind = |i: &usize| table.schema.columns.get(*i).map_or(Kind::Xml, kind_of);
        Ok(Self {
            kinds: columns.iter().map(kind).collect(),
            keys: table.schema.key.iter().map(kind).collect(),
            table: table.clone(),
            schema,
            sql,
            params,
            limit: scan.limit,
        })
    }

    /// Sends batches until the end, or until the reader has gone: then the server is told to stop.
    pub(crate) async fn run(&self, session: &mut Session, sink: &Sink<RecordBatch>) -> Result<()> {
        let mut batch = Batch::new(Arc::clone(&self.schema), self.limit.unwrap_or(BATCH).min(BATCH))?;
        let (sql, _) = numbered(&self.sql);
        let bound = bound(&self.params);
        let refs = refs(&bound);
        session.begin();
        let mut rows = session.conn()?.query(sql, &refs).await.map_err(map)?.into_row_stream();
        let mut ended = Ok(true);
        while let Some(row) = rows.try_next().await.map_err(map)? {
            if let Err(e) = self.push(&mut batch, row.into_iter().collect()) {
                ended = Err(e);
                break;
            }
            if batch.rows() == BATCH && sink.send(Ok(batch.finish()?)).await.is_err() {
                ended = Ok(false);
                break;
            }
        }
        drop(rows);
        if !matches!(ended, Ok(true)) {
            session.cancel().await?;
        }
        session.end();
        if ended? && batch.rows() > 0 {
            // A reader that has gone doesn't want it.
            let _ = sink.send(Ok(batch.finish()?)).await;
        }
        Ok(())
    }

    fn push(&self, batch: &mut Batch, mut row: Cells) -> Result<()> {
        let mut values: Row = Vec::with_capacity(self.kinds.len());
        for (i, kind) in self.kinds.iter().enumerate() {
            values.push(shown(*kind, read(*kind, take(&mut row, i)?)?));
        }
        let pushed = batch.push(|i| Ok::<_, std::fmt::Error>(values.get(i).map_or(Cell::Null, Cell::from)));
        pushed.map_err(|(i, what)| self.unreadable(batch, i, &what, &mut row))
    }

    fn unreadable(&self, batch: &Batch, i: usize, what: &str, row: &mut Cells) -> Error {
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
