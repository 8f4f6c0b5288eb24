//! Rows of one statement, in the text form of their types, as they arrive.

use deadpool_postgres::Object;
use epoch_adapter::Result;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::error::pg;

/// A row's cells.
pub(crate) type Cells = Vec<Option<String>>;

/// Where a statement runs.
pub(crate) enum Source<'a> {
    /// On a connection of its own, which goes back to the pool when the stream is drained.
    Own(Box<Object>),
    /// Inside a transaction.
    Borrowed(&'a Object),
}

/// A connection with rows under way: closed if it is dropped before they are drained, because the
/// server would send all the rest.
struct Busy(Option<Object>);

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

/// The rows of a statement. (The simple protocol gives every type in its text form.)
pub(crate) async fn simple_rows(
    source: Source<'_>,
    sql: &str,
) -> Result<BoxStream<'static, Result<SimpleQueryRow>>> {
    let (client, own) = match source {
        Source::Own(client) => (None, Some(*client)),
        Source::Borrowed(client) => (Some(client), None),
    };
    let messages = match (client, &own) {
        (Some(client), _) => client.simple_query_raw(sql).await,
        (None, Some(client)) => client.simple_query_raw(sql).await,
        (None, None) => return Ok(futures::stream::empty().boxed()),
    };
    let messages = Box::pin(messages.map_err(pg)?);
    let busy = Busy(own);
    let rows = futures::stream::try_unfold((messages, busy), |(mut messages, mut busy)| async move {
        while let Some(message) = messages.next().await {
            if let SimpleQueryMessage::Row(row) = message.map_err(pg)? {
                return Ok(Some((row, (messages, busy))));
            }
        }
        // Drained: fit for the pool.
        drop(busy.0.take());
        Ok(None)
    });
    Ok(rows.boxed())
}

/// The rows of a statement as owned cells.
pub(crate) async fn rows(source: Source<'_>, sql: &str) -> Result<BoxStream<'static, Result<Cells>>> {
    let rows = simple_rows(source, sql).await?;
    Ok(rows.and_then(|row| async move { cells(&row) }).boxed())
}

fn cells(row: &SimpleQueryRow) -> Result<Cells> {
    (0..row.len()).map(|i| Ok(row.try_get(i).map_err(pg)?.map(str::to_owned))).collect()
}
