//! Work for a result on another thread than the session's.

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use futures::StreamExt;

/// Takes batches in a task of its own, two ahead. Not for a block: what comes next there waits for open scans, and a
/// task that was told to end may hold one a moment longer.
pub(super) fn ahead(mut batches: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let mut ahead = RecordBatchReceiverStreamBuilder::new(batches.schema(), 2);
    let taken = ahead.tx();
    ahead.spawn(async move {
        while let Some(batch) = batches.next().await {
            if taken.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    ahead.build()
}
