//! Changes that commits bring again: which commits first made them.

use epoch_adapter::Result;

use super::{Tx, params};

/// A change that a commit brings again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// The commit that first made it.
    pub commit: String,
    /// How often it is brought, negative where it is taken back; 0 if that isn't known.
    pub times: i64,
    /// Whether the commit that brings it has no other changes than those that it brings again.
    pub whole: bool,
}

/// Says what a commit brings again.
pub async fn insert(tx: &mut Tx, hash: &str, origins: &[Origin]) -> Result<()> {
    for origin in origins {
        tx.execute(
            "INSERT INTO commit_origins (hash, origin, times, whole) VALUES ($1, $2, $3, $4)",
            params![hash, &origin.commit, origin.times, i64::from(origin.whole)],
        )
        .await?;
    }
    Ok(())
}

/// What commits newer than `seq` bring again, by their numbers, oldest first.
pub async fn since(tx: &mut Tx, seq: i64) -> Result<Vec<(i64, Origin)>> {
    let rows = tx
        .query(
            "SELECT c.seq, o.origin, o.times, o.whole FROM commit_origins o JOIN commits c ON c.hash = o.hash
             WHERE c.seq > $1 ORDER BY c.seq, o.origin",
            params![seq],
        )
        .await?;
    let origin =
        |r: &super::Record| Ok(Origin { commit: r.text(1)?, times: r.int(2)?, whole: r.int(3)? != 0 });
    rows.iter().map(|r| Ok((r.int(0)?, origin(r)?))).collect()
}
