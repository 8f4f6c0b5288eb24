//! SQL cursors: DECLARE, FETCH, MOVE, CLOSE. They live in their transaction block, forward only.

use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use epoch_adapter::{Error, Result, sqlstate};
use futures::StreamExt;

use super::encode::{Column, RowEncoder};
use super::errors;
use super::session::{Outcome, Session, Tag};

/// An open cursor.
pub(crate) struct Cursor {
    pub(crate) columns: Vec<Column>,
    stream: SendableRecordBatchStream,
    /// Rows of the last batch that weren't fetched yet.
    rest: Option<RecordBatch>,
}

/// 34000
pub(crate) fn missing(name: &str) -> Error {
    Error::new(sqlstate::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

impl Session {
    pub(super) fn declare(
        &mut self,
        name: &str,
        stream: SendableRecordBatchStream,
        columns: Vec<Column>,
    ) -> Result<Outcome> {
        if self.transaction_status() == b'I' {
            return Err(Error::new("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
        }
        if self.cursors.contains_key(name) {
            return Err(Error::new("42P03", format!("cursor \"{name}\" already exists")));
        }
        self.cursors.insert(name.to_owned(), Cursor { columns, stream, rest: None });
        Ok(Outcome::Done { tag: "DECLARE CURSOR".to_owned() })
    }

    pub(super) async fn fetch(
        &mut self,
        name: &str,
        count: Option<u64>,
        rows: bool,
        formats: &[i16],
    ) -> Result<Outcome> {
        let zone = self.zone()?;
        let cursor = self.cursors.get_mut(name).ok_or_else(|| missing(name))?;
        let batches = cursor.take(count).await?;
        let taken: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if !rows {
            return Ok(Outcome::Done { tag: format!("MOVE {taken}") });
        }
        let columns = cursor.columns.clone();
        let encoder = RowEncoder::new(&columns, formats, zone)?;
        let mut encoded = Vec::with_capacity(taken);
        for batch in &batches {
            encoded.extend(encoder.encode(batch)?.into_iter().map(Ok));
        }
        Ok(Outcome::Rows {
            columns,
            rows: futures::stream::iter(encoded).boxed(),
            tag: Tag::Counted("FETCH"),
        })
    }

    pub(super) fn close(&mut self, name: Option<&str>) -> Result<Outcome> {
        match name {
            None => self.cursors.clear(),
            Some(name) => {
                self.cursors.remove(name).ok_or_else(|| missing(name))?;
            }
        }
        let tag = if name.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" };
        Ok(Outcome::Done { tag: tag.to_owned() })
    }
}

impl Cursor {
    /// The next `count` rows, `None` for all that are left.
    async fn take(&mut self, count: Option<u64>) -> Result<Vec<RecordBatch>> {
        let mut wanted = count.map_or(usize::MAX, |c| usize::try_from(c).unwrap_or(usize::MAX));
        let mut taken = Vec::new();
        while wanted > 0 {
            let batch = match self.rest.take() {
                Some(rest) => rest,
                None => match self.stream.next().await {
                    Some(batch) => batch.map_err(|e| errors::datafusion(&e))?,
                    None => break,
                },
            };
            let now = wanted.min(batch.num_rows());
            taken.push(batch.slice(0, now));
            if now < batch.num_rows() {
                self.rest = Some(batch.slice(now, batch.num_rows() - now));
            }
            wanted -= now;
        }
        Ok(taken)
    }
}
