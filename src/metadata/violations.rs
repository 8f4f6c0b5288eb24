//! What kept merges from being made: constraints that their results would have broken.

use epoch_adapter::{LineageId, Result};

use super::{Tx, micros, now, params};

/// A constraint that the result of a merge would have broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The table.
    pub table_name: String,
    /// `not null`, `check`, `unique` or `foreign key`.
    pub kind: String,
    /// Its name; of NOT NULL, the column's.
    pub constraint: String,
    /// What was wrong.
    pub detail: String,
}

/// What kept the last merge into the branch on a lineage from being made.
pub async fn of(tx: &mut Tx, lineage: LineageId) -> Result<Option<Broken>> {
    let sql = "SELECT table_name, kind, constraint_name, detail FROM violations WHERE lineage = $1";
    let row = tx.first(sql, params![lineage.0]).await?;
    row.map(|r| {
        Ok(Broken { table_name: r.text(0)?, kind: r.text(1)?, constraint: r.text(2)?, detail: r.text(3)? })
    })
    .transpose()
}

/// Replaces it.
pub async fn replace(tx: &mut Tx, lineage: LineageId, broken: Option<&Broken>) -> Result<()> {
    tx.execute("DELETE FROM violations WHERE lineage = $1", params![lineage.0]).await?;
    let Some(broken) = broken else { return Ok(()) };
    tx.execute(
        "INSERT INTO violations (lineage, table_name, kind, constraint_name, detail, noted)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            lineage.0,
            &broken.table_name,
            &broken.kind,
            &broken.constraint,
            &broken.detail,
            micros(now())
        ],
    )
    .await
    .map(drop)
}
