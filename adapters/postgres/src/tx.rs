//! A connection with an open transaction that can't be left open by accident.

use std::ops::Deref;

use deadpool_postgres::{Object, Pool};
use epoch_adapter::{Error, Result};
use futures::StreamExt;
use tokio_postgres::SimpleQueryMessage;

use crate::connect;
use crate::error::pg;

/// Plans of a seal: work is proportional to the changes, never a scan of the user's table, and through indexes row by row.
/// What is kept prepared isn't planned again with each commit.
pub(crate) const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
    SET LOCAL plan_cache_mode = force_generic_plan";

/// The end of [`BY_INDEX`], for writes to main, whose triggers may do anything: where a table can't be scanned, PostgreSQL
/// reads all of it by an index instead of joining it.
pub(crate) const ANY_PLAN: &str = "SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT; \
    SET LOCAL plan_cache_mode TO DEFAULT";

/// An open transaction. Dropped without [`Tx::commit`] or [`Tx::rollback`] (an error, a cancelled
/// task), the connection is closed, which rolls it back.
pub(crate) struct Tx {
    client: Option<Object>,
}

impl Tx {
    /// READ COMMITTED: every statement sees what is committed when it starts.
    pub(crate) async fn begin(pool: &Pool, backend: &str) -> Result<Self> {
        Self::start(pool, backend, "BEGIN ISOLATION LEVEL READ COMMITTED").await
    }

    /// As [`Tx::begin`], for work that locks tables: waiting for such a lock blocks others behind us.
    pub(crate) async fn begin_ddl(pool: &Pool, backend: &str) -> Result<Self> {
        let start = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '15s'";
        Self::start(pool, backend, start).await
    }

    /// As [`Tx::begin`], to seal. Sealers take turns; writers never wait for this lock, and no client can take it.
    pub(crate) async fn begin_seal(pool: &Pool, backend: &str) -> Result<Self> {
        let start = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {BY_INDEX}; LOCK TABLE epoch.repository IN SHARE ROW EXCLUSIVE MODE; \
             SELECT set_config('work_mem', '64MB', true) WHERE pg_size_bytes(current_setting('work_mem')) < 67108864"
        );
        Self::start(pool, backend, &start).await
    }

    /// One snapshot for the whole transaction.
    pub(crate) async fn begin_snapshot(pool: &Pool, backend: &str) -> Result<Self> {
        Self::start(pool, backend, "BEGIN ISOLATION LEVEL REPEATABLE READ").await
    }

    /// The transaction that is open on a connection, which isn't ours to end.
    pub(crate) fn adopt(client: Object) -> Self {
        Self { client: Some(client) }
    }

    async fn start(pool: &Pool, backend: &str, sql: &str) -> Result<Self> {
        let tx = Self { client: Some(connect::get(pool, backend).await?) };
        tx.batch_execute(sql).await.map_err(pg)?;
        Ok(tx)
    }

    /// Commits as is if `done` is fine, else rolls back and gives its error.
    pub(crate) async fn finish<T>(self, done: Result<T>) -> Result<T> {
        match done {
            Ok(value) => self.commit().await.map(|()| value),
            Err(error) => {
                // The first error tells more than one of the rollback.
                let _ = self.rollback().await;
                Err(error)
            }
        }
    }

    pub(crate) async fn commit(self) -> Result<()> {
        self.end("COMMIT").await
    }

    pub(crate) async fn rollback(self) -> Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, sql: &str) -> Result<()> {
        self.batch_execute(sql).await.map_err(pg)?;
        // Back to the pool.
        drop(self.client.take());
        Ok(())
    }

    /// Runs statements given as one text; returns the rows that the last of them affected.
    pub(crate) async fn affected(&self, sql: &str) -> Result<u64> {
        let mut affected = 0;
        let mut stream = Box::pin(self.simple_query_raw(sql).await.map_err(pg)?);
        while let Some(message) = stream.next().await {
            if let SimpleQueryMessage::CommandComplete(n) = message.map_err(pg)? {
                affected = n;
            }
        }
        Ok(affected)
    }
}

impl Deref for Tx {
    type Target = Object;

    #[allow(clippy::expect_used)]
    fn deref(&self) -> &Object {
        self.client.as_ref().expect("the connection is there until the transaction ends")
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// The texts of all rows of one statement.
pub(crate) async fn texts(client: &Object, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    let mut rows = Vec::new();
    let mut stream = Box::pin(client.simple_query_raw(sql).await.map_err(pg)?);
    while let Some(message) = stream.next().await {
        if let SimpleQueryMessage::Row(row) = message.map_err(pg)? {
            let cells = (0..row.len()).map(|i| Ok(row.try_get(i).map_err(pg)?.map(str::to_owned)));
            rows.push(cells.collect::<Result<Vec<_>, Error>>()?);
        }
    }
    Ok(rows)
}

/// The answer to a query of one boolean; NULL and no row are false.
pub(crate) async fn is_true(client: &Object, question: &str) -> Result<bool> {
    Ok(texts(client, question).await?.into_iter().flatten().flatten().any(|cell| cell == "t"))
}
