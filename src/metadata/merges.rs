//! Merges that wait for their conflicts to be resolved.

use std::collections::HashSet;

use epoch_adapter::{LineageId, Result, TableId};

use super::{Tx, micros, now, params};

/// A waiting merge, or another operation that stopped at conflicts or has more to do.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct WaitingMerge {
    /// The target branch's lineage.
    pub lineage: LineageId,
    /// What was merged, as the user wrote it.
    pub source: String,
    /// The merge base; several with spaces between.
    pub base: String,
    /// The target's head; empty if the next step isn't computed yet.
    pub ours: String,
    /// The merged commit.
    pub theirs: String,
    /// Options, as JSON.
    pub options: String,
}

/// A conflict of a waiting merge.
#[derive(Debug, Clone)]
pub struct ConflictRow {
    /// Unique in the repository.
    pub id: i64,
    /// The table.
    pub table: TableId,
    /// `modify/modify` …
    pub kind: String,
    /// Key and rows, as JSON.
    pub body: String,
    /// What was chosen so far, as JSON.
    pub resolution: String,
    /// Whether nothing is left to choose.
    pub resolved: bool,
}

/// The merge that waits on a lineage.
pub async fn waiting(tx: &mut Tx, lineage: LineageId) -> Result<Option<WaitingMerge>> {
    let sql = "SELECT source, base, ours, theirs, options FROM merges WHERE lineage = $1";
    let row = tx.first(sql, params![lineage.0]).await?;
    row.map(|r| {
        Ok(WaitingMerge {
            lineage,
            source: r.text(0)?,
            base: r.text(1)?,
            ours: r.text(2)?,
            theirs: r.text(3)?,
            options: r.text(4)?,
        })
    })
    .transpose()
}

/// The tables that conflicts are about.
pub async fn tables(tx: &mut Tx) -> Result<HashSet<TableId>> {
    let rows = tx.query("SELECT DISTINCT table_id FROM conflicts", &[]).await?;
    rows.iter().map(|r| Ok(TableId(r.int(0)?))).collect()
}

/// Replaces what waits on a lineage.
pub async fn replace(tx: &mut Tx, merge: &WaitingMerge, conflicts: &[ConflictRow]) -> Result<()> {
    delete(tx, merge.lineage).await?;
    insert(tx, merge, conflicts).await
}

/// Stores a merge with its conflicts; their ids are given out here.
pub async fn insert(tx: &mut Tx, merge: &WaitingMerge, conflicts: &[ConflictRow]) -> Result<()> {
    tx.next_generation().await?;
    tx.execute(
        "INSERT INTO merges (lineage, source, base, ours, theirs, options, created) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            merge.lineage.0,
            &merge.source,
            &merge.base,
            &merge.ours,
            &merge.theirs,
            &merge.options,
            micros(now())
        ],
    )
    .await?;
    add(tx, merge.lineage, conflicts).await
}

/// Adds conflicts to what waits on a lineage.
pub async fn add(tx: &mut Tx, lineage: LineageId, conflicts: &[ConflictRow]) -> Result<()> {
    tx.next_generation().await?;
    for conflict in conflicts {
        let id = tx.counter("next_conflict").await?;
        tx.execute(
            "INSERT INTO conflicts (id, lineage, table_id, kind, body, resolution, resolved)
             VALUES ($1, $2, $3, $4, $5, $6, 0)",
            params![id, lineage.0, conflict.table.0, &conflict.kind, &conflict.body, &conflict.resolution],
        )
        .await?;
    }
    Ok(())
}

/// The conflicts on a lineage, of one table if given.
pub async fn conflicts(tx: &mut Tx, lineage: LineageId, table: Option<TableId>) -> Result<Vec<ConflictRow>> {
    let sql = "SELECT id, table_id, kind, body, resolution, resolved FROM conflicts
               WHERE lineage = $1 AND (table_id = $2 OR CAST($3 AS BIGINT) = 1) ORDER BY id";
    let all = i64::from(table.is_none());
    let rows = tx.query(sql, params![lineage.0, table.map_or(0, |t| t.0), all]).await?;
    rows.iter()
        .map(|r| {
            Ok(ConflictRow {
                id: r.int(0)?,
                table: TableId(r.int(1)?),
                kind: r.text(2)?,
                body: r.text(3)?,
                resolution: r.text(4)?,
                resolved: r.int(5)? != 0,
            })
        })
        .collect()
}

/// Open conflicts by table.
pub async fn open_counts(tx: &mut Tx, lineage: LineageId) -> Result<Vec<(TableId, i64)>> {
    let sql = "SELECT table_id, COUNT(*) FROM conflicts WHERE lineage = $1 AND resolved = 0
               GROUP BY table_id ORDER BY table_id";
    let rows = tx.query(sql, params![lineage.0]).await?;
    rows.iter().map(|r| Ok((TableId(r.int(0)?), r.int(1)?))).collect()
}

/// Stores a choice.
pub async fn resolve(tx: &mut Tx, id: i64, resolution: &str, resolved: bool) -> Result<()> {
    tx.execute(
        "UPDATE conflicts SET resolution = $1, resolved = $2 WHERE id = $3",
        params![resolution, i64::from(resolved), id],
    )
    .await
    .map(drop)
}

/// Forgets the merge on a lineage; false if there is none.
pub async fn delete(tx: &mut Tx, lineage: LineageId) -> Result<bool> {
    tx.execute("DELETE FROM conflicts WHERE lineage = $1", params![lineage.0]).await?;
    let deleted = tx.execute("DELETE FROM merges WHERE lineage = $1", params![lineage.0]).await? > 0;
    if deleted {
        tx.next_generation().await?;
    }
    Ok(deleted)
}
