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
    /// The row's key, as JSON, if it is known.
    pub key: Option<String>,
    /// What was wrong.
    pub detail: String,
}

/// What kept the last merge into the branch on a lineage from being made.
pub async fn of(tx: &mut Tx, lineage: LineageId) -> Result<Vec<Broken>> {
    let sql = "SELECT table_name, kind, constraint_name, row_key, detail FROM merge_violations
               WHERE lineage = $1 ORDER BY number";
    let rows = tx.query(sql, params![lineage.0]).await?;
    let broken = |r: &super::Record| {
        Ok(Broken {
            table_name: r.text(0)?,
            kind: r.text(1)?,
            constraint: r.text(2)?,
            key: r.opt_text(3)?,
            detail: r.text(4)?,
        })
    };
    rows.iter().map(broken).collect()
}

/// Replaces it.
pub async fn replace(tx: &mut Tx, lineage: LineageId, broken: &[Broken]) -> Result<()> {
    tx.execute("DELETE FROM merge_violations WHERE lineage = $1", params![lineage.0]).await?;
    let noted = micros(now());
    for (number, one) in (1_i64..).zip(broken) {
        tx.execute(
            "INSERT INTO merge_violations (lineage, number, table_name, kind, constraint_name, row_key, detail, noted)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            params![
                lineage.0,
                number,
                &one.table_name,
                &one.kind,
                &one.constraint,
                one.key.as_ref(),
                &one.detail,
                noted
            ],
        )
        .await?;
    }
    Ok(())
}
