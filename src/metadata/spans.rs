//! Which lineages show the tables that were made on branches, and between which ordinals.

use epoch_adapter::{LineageId, Ordinal, Result, TableId};

use super::{Tx, params};

/// The end of what still holds.
pub const OPEN: Ordinal = Ordinal::MAX;
/// The ordinal of what isn't committed yet: after all that are given out.
pub const PENDING: Ordinal = Ordinal::MAX - 1;

/// What holds for a table on a lineage for some ordinals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The table.
    pub table: TableId,
    /// The lineage.
    pub lineage: LineageId,
    /// Whether it is there.
    pub shown: bool,
    /// The first ordinal.
    pub since: Ordinal,
    /// The first ordinal that it doesn't hold for any more.
    pub until: Ordinal,
}

impl Span {
    /// Whether it holds at an ordinal.
    pub fn holds(&self, at: Ordinal) -> bool {
        self.since <= at && at < self.until
    }
}

/// All of them.
pub async fn all(tx: &mut Tx) -> Result<Vec<Span>> {
    let rows = tx.query("SELECT table_id, lineage, shown, since, until FROM spans", &[]).await?;
    rows.iter()
        .map(|r| {
            Ok(Span {
                table: TableId(r.int(0)?),
                lineage: LineageId(r.int(1)?),
                shown: r.int(2)? == 1,
                since: r.int(3)?,
                until: r.int(4)?,
            })
        })
        .collect()
}

/// From an ordinal of a lineage on, a table is there or isn't. What held before ends.
pub async fn set(tx: &mut Tx, lineage: LineageId, at: Ordinal, table: TableId, shown: bool) -> Result<()> {
    tx.next_generation().await?;
    tx.structure_changed().await?;
    // What began at this ordinal never held.
    tx.execute(
        "DELETE FROM spans WHERE table_id = $1 AND lineage = $2 AND since >= $3",
        params![table.0, lineage.0, at],
    )
    .await?;
    tx.execute(
        "UPDATE spans SET until = $1 WHERE table_id = $2 AND lineage = $3 AND until > $1",
        params![at, table.0, lineage.0],
    )
    .await?;
    tx.execute(
        "INSERT INTO spans (table_id, lineage, shown, since, until) VALUES ($1, $2, $3, $4, $5)",
        params![table.0, lineage.0, i64::from(shown), at, OPEN],
    )
    .await
    .map(drop)
}

/// What isn't committed on a lineage is, from an ordinal on.
pub async fn commit(tx: &mut Tx, lineage: LineageId, ordinal: Ordinal) -> Result<()> {
    tx.next_generation().await?;
    tx.structure_changed().await?;
    let params = params![ordinal, lineage.0, PENDING];
    tx.execute("UPDATE spans SET until = $1 WHERE lineage = $2 AND until = $3", params).await?;
    tx.execute("UPDATE spans SET since = $1 WHERE lineage = $2 AND since = $3", params).await.map(drop)
}

/// What isn't committed on a lineage is forgotten.
pub async fn discard(tx: &mut Tx, lineage: LineageId) -> Result<()> {
    tx.next_generation().await?;
    tx.structure_changed().await?;
    let params = params![lineage.0, PENDING];
    tx.execute("DELETE FROM spans WHERE lineage = $1 AND since = $2", params).await?;
    tx.execute(
        "UPDATE spans SET until = $3 WHERE lineage = $1 AND until = $2",
        params![lineage.0, PENDING, OPEN],
    )
    .await
    .map(drop)
}
