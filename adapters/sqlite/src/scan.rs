//! Reads the rows of a view as a stream of Arrow batches.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use epoch_adapter::{Error, Result, Scan, TableDef, View};
use epoch_layers::cells::Batch;
use epoch_layers::errors::misfit;
use epoch_layers::view::Arm;
use futures::StreamExt;
use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::error::map;
use crate::layout::list;
use crate::meta::Catalog;
use crate::view::{arms, bind, cell, plain, predicates, value};

/// Rows per batch.
const BATCH: usize = 8_192;
/// Batches that wait for the reader.
const AHEAD: usize = 2;
/// SQLite's virtual-machine steps between two looks at whether the reader has gone.
const STEPS: i32 = 20_000;

/// The schema of a scan: the projected columns.
pub(crate) fn projected(table: &TableDef, scan: &Scan) -> Result<SchemaRef> {
    let all = table.schema.arrow();
    match &scan.projection {
        None => Ok(all),
        Some(columns) => {
            let schema = all.project(columns).map_err(|e| Error::internal(format!("a projection: {e}")))?;
            Ok(Arc::new(Schema::new(schema.fields().clone())))
        }
    }
}

/// A stream that `work` fills from a blocking thread; `work` stops when the sender is closed.
pub(crate) fn stream<T: Send + 'static>(
    work: impl FnOnce(&Sink<T>) -> Result<()> + Send + 'static,
) -> futures::stream::BoxStream<'static, Result<T>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let sink = Sink { sender };
        if let Err(error) = work(&sink) {
            // The reader may have gone; then nobody wants the error.
            let _ = sink.sender.blocking_send(Err(error));
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
    .boxed()
}

/// Where a blocking thread puts what it reads.
pub(crate) struct Sink<T> {
    sender: mpsc::Sender<Result<T>>,
}

impl<T: Send + 'static> Sink<T> {
    /// False if the reader has gone.
    pub(crate) fn send(&self, item: T) -> bool {
        self.sender.blocking_send(Ok(item)).is_ok()
    }

    /// Runs `work` with a connection that gives up soon after the reader has gone.
    pub(crate) fn guard(
        &self,
        conn: &mut Connection,
        work: impl FnOnce(&Connection) -> Result<()>,
    ) -> Result<()> {
        let sender = self.sender.clone();
        conn.progress_handler(STEPS, Some(move || sender.is_closed())).map_err(map)?;
        let result = work(conn);
        conn.progress_handler(0, None::<fn() -> bool>).map_err(map)?;
        result
    }
}

/// Scans inside a transaction of `conn` and sends batches until the end, the limit, or until the
/// reader has gone.
pub(crate) fn run(
    conn: &Connection,
    catalog: &Catalog,
    table: &TableDef,
    view: &View,
    scan: &Scan,
    mut send: impl FnMut(RecordBatch) -> bool,
) -> Result<()> {
    let schema = projected(table, scan)?;
    let arms = if view.is_plain() { vec![plain(table)] } else { arms(conn, &*catalog.get(table)?, view)? };
    let filter = predicates(table, &scan.filters)?;
    let names = schema.fields().iter().map(|f| f.name().as_str());
    let what = if schema.fields().is_empty() {
        "1".to_owned()
    } else {
        // The key is read too, to name the row if one of its values doesn't fit.
        format!("{}, {}", list("x", names), list("x", table.schema.key_columns().map(|c| c.name.as_str())))
    };
    let mut batch = Batch::new(Arc::clone(&schema), scan.limit.unwrap_or(BATCH).min(BATCH))?;
    let mut left = scan.limit;
    for arm in &arms {
        if left == Some(0) {
            break;
        }
        if !run_arm(conn, arm, &what, &filter, table, &mut left, &mut batch, &mut send)? {
            return Ok(());
        }
    }
    if batch.rows() > 0 {
        send(batch.finish()?);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn run_arm(
    conn: &Connection,
    arm: &Arm,
    what: &str,
    filter: &epoch_layers::view::Filter,
    table: &TableDef,
    left: &mut Option<usize>,
    batch: &mut Batch,
    send: &mut impl FnMut(RecordBatch) -> bool,
) -> Result<bool> {
    let (sql, params) = arm.select(what, filter, *left);
    let mut stmt = conn.prepare_cached(&sql).map_err(map)?;
    let columns = stmt.column_count();
    let mut rows = stmt.query(bind(&params)).map_err(map)?;
    while let Some(row) = rows.next().map_err(map)? {
        if let Err((i, what)) = batch.push(|i| row.get_ref(i).map(cell)) {
            return Err(unreadable(table, batch, i, &what, row, columns));
        }
        if let Some(n) = left {
            *n -= 1;
        }
        if batch.rows() == BATCH && !send(batch.finish()?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn unreadable(
    table: &TableDef,
    batch: &Batch,
    i: usize,
    what: &str,
    row: &rusqlite::Row<'_>,
    columns: usize,
) -> Error {
    let name = batch.column_name(i).unwrap_or_default();
    let pg_type = table.schema.columns.iter().find(|c| c.name == name).map_or("?", |c| c.pg_type.as_str());
    let keys = table.schema.key_names();
    let values: Vec<_> = (columns - keys.len()..columns)
        .map(|i| {
            row.get_ref(i)
                .map_err(map)
                .and_then(value)
                .ok()
                .and_then(|v| v.to_text())
                .unwrap_or_else(|| "?".into())
        })
        .collect();
    misfit(pg_type, name, what).with_table(table.location.table.clone()).with_detail(format!(
        "Table \"{}\", column \"{name}\", row ({})=({}).",
        table.location.table,
        keys.join(", "),
        values.join(", ")
    ))
}
