//! Working changes that were put aside.

use chrono::{DateTime, Utc};
use epoch_adapter::Result;

use super::{Tx, date, micros, now, params};

/// A stash.
#[derive(Debug, Clone)]
pub struct Stash {
    /// Its number; greater than those of older ones.
    pub id: i64,
    /// The name that the user gave it.
    pub name: Option<String>,
    /// The branch that it was made on.
    pub branch: String,
    /// The commit that the changes were made on.
    pub base: String,
    /// A commit with the changes.
    pub hash: String,
    /// When.
    pub created: DateTime<Utc>,
}

/// All stashes, newest first.
pub async fn all(tx: &mut Tx) -> Result<Vec<Stash>> {
    let sql = "SELECT id, name, branch, base, hash, created FROM stashes ORDER BY id DESC";
    let rows = tx.query(sql, &[]).await?;
    rows.iter()
        .map(|r| {
            Ok(Stash {
                id: r.int(0)?,
                name: r.opt_text(1)?,
                branch: r.text(2)?,
                base: r.text(3)?,
                hash: r.text(4)?,
                created: date(r.int(5)?),
            })
        })
        .collect()
}

/// Keeps a stash; false if another one has its name. `created` is now.
pub async fn insert(tx: &mut Tx, stash: &Stash) -> Result<bool> {
    let made = tx
        .execute(
            "INSERT INTO stashes (id, name, branch, base, hash, created) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO NOTHING",
            params![stash.id, stash.name.clone(), &stash.branch, &stash.base, &stash.hash, micros(now())],
        )
        .await?;
    Ok(made > 0)
}

/// Forgets a stash; false if it isn't there.
pub async fn delete(tx: &mut Tx, id: i64) -> Result<bool> {
    Ok(tx.execute("DELETE FROM stashes WHERE id = $1", params![id]).await? > 0)
}

/// Forgets all stashes.
pub async fn clear(tx: &mut Tx) -> Result<u64> {
    tx.execute("DELETE FROM stashes", &[]).await
}
