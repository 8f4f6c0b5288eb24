//! Operations that began to publish. Written and read under the operation lock only.

use epoch_adapter::{LineageId, Ordinal, Result};

use super::{Tx, micros, now, params};

/// An open entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The operation, as the backends know it.
    pub operation: String,
    /// The lineage that publishes.
    pub lineage: LineageId,
    /// Under which ordinal.
    pub ordinal: Ordinal,
    /// The rest, as JSON.
    pub body: String,
}

/// Writes an entry.
pub async fn insert(tx: &mut Tx, entry: &Entry) -> Result<()> {
    tx.execute(
        "INSERT INTO journal (operation, lineage, ordinal, body, created) VALUES ($1, $2, $3, $4, $5)",
        params![&entry.operation, entry.lineage.0, entry.ordinal, &entry.body, micros(now())],
    )
    .await
    .map(drop)
}

/// Replaces an entry's body.
pub async fn update(tx: &mut Tx, operation: &str, body: &str) -> Result<()> {
    tx.execute("UPDATE journal SET body = $1 WHERE operation = $2", params![body, operation]).await.map(drop)
}

/// Closes an entry; false if somebody else did (who then held the lock).
pub async fn close(tx: &mut Tx, operation: &str) -> Result<bool> {
    Ok(tx.execute("DELETE FROM journal WHERE operation = $1", params![operation]).await? > 0)
}

/// Open entries, oldest first.
pub async fn open(tx: &mut Tx) -> Result<Vec<Entry>> {
    let sql = "SELECT operation, lineage, ordinal, body FROM journal ORDER BY created, operation";
    let rows = tx.query(sql, &[]).await?;
    rows.iter()
        .map(|r| {
            Ok(Entry {
                operation: r.text(0)?,
                lineage: LineageId(r.int(1)?),
                ordinal: r.int(2)?,
                body: r.text(3)?,
            })
        })
        .collect()
}
