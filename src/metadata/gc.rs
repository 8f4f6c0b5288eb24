//! What garbage collection reads and writes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use epoch_adapter::{LineageId, Ordinal, Result, TableId};

use super::spans::PENDING;
use super::{Tx, date, micros, now, params};

/// How many commits are deleted by one statement.
pub const COMMITS: usize = 50;

/// A lineage, and how far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub id: LineageId,
    /// The lineage and ordinal that it forked from; `None` for main.
    pub fork: Option<(LineageId, Ordinal)>,
    /// The ordinal of main below its layers.
    pub base: Ordinal,
    /// The last ordinal that was given out.
    pub latest: Ordinal,
}

/// A branch that was deleted and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its lineage.
    pub lineage: LineageId,
    /// Its name.
    pub name: String,
    /// Its head.
    pub head: String,
    /// When it was deleted.
    pub dropped: DateTime<Utc>,
}

/// All lineages.
pub async fn lines(tx: &mut Tx) -> Result<Vec<Line>> {
    let rows = tx.query("SELECT id, parent, fork, base, latest FROM lineages ORDER BY id", &[]).await?;
    let line = |r: &super::Record| -> Result<Line> {
        let fork = r.int(2)?;
        Ok(Line {
            id: LineageId(r.int(0)?),
            fork: r.opt_int(1)?.map(|parent| (LineageId(parent), fork)),
            base: r.int(3)?,
            latest: r.int(4)?,
        })
    };
    rows.iter().map(line).collect()
}

/// All branches that were deleted and can be brought back.
pub async fn dropped(tx: &mut Tx) -> Result<Vec<Dropped>> {
    let rows =
        tx.query("SELECT lineage, name, head, dropped FROM dropped_branches ORDER BY lineage", &[]).await?;
    rows.iter()
        .map(|r| {
            Ok(Dropped {
                lineage: LineageId(r.int(0)?),
                name: r.text(1)?,
                head: r.text(2)?,
                dropped: date(r.int(3)?),
            })
        })
        .collect()
}

/// All places where commits can be seen.
pub async fn positions(tx: &mut Tx) -> Result<Vec<(LineageId, Ordinal, String)>> {
    let rows =
        tx.query("SELECT lineage, ordinal, hash FROM positions ORDER BY lineage, ordinal", &[]).await?;
    rows.iter().map(|r| Ok((LineageId(r.int(0)?), r.int(1)?, r.text(2)?))).collect()
}

/// What heads were before they moved, when that was later than `since`: lineage, commit, and when.
pub async fn left(tx: &mut Tx, since: DateTime<Utc>) -> Result<Vec<(LineageId, String, DateTime<Utc>)>> {
    let sql = "SELECT lineage, old_head, date FROM reflog WHERE date > $1 AND old_head IS NOT NULL";
    let rows = tx.query(sql, params![micros(since)]).await?;
    rows.iter().map(|r| Ok((LineageId(r.int(0)?), r.text(1)?, date(r.int(2)?)))).collect()
}

/// The commits of tags, and those of stashes.
pub async fn named(tx: &mut Tx) -> Result<(Vec<String>, Vec<String>)> {
    let tags = tx.query("SELECT hash FROM tags", &[]).await?;
    let stashes = tx.query("SELECT hash FROM stashes UNION ALL SELECT base FROM stashes", &[]).await?;
    let texts = |rows: &[super::Record]| rows.iter().map(|r| r.text(0)).collect::<Result<Vec<_>>>();
    Ok((texts(&tags)?, texts(&stashes)?))
}

/// Texts in which hashes of commits may be: of merges and sequences that wait, and of operations under way.
pub async fn under_way(tx: &mut Tx) -> Result<Vec<String>> {
    let rows = tx
        .query(
            "SELECT base, ours, theirs, options FROM merges
             WHERE lineage IN (SELECT lineage FROM branches UNION ALL SELECT lineage FROM dropped_branches)",
            &[],
        )
        .await?;
    let mut texts = Vec::new();
    for row in &rows {
        for i in 0..4 {
            texts.push(row.text(i)?);
        }
    }
    for row in &tx.query("SELECT body FROM journal", &[]).await? {
        texts.push(row.text(0)?);
    }
    Ok(texts)
}

/// The lineages that were collected, and when.
pub async fn collected(tx: &mut Tx) -> Result<BTreeMap<LineageId, DateTime<Utc>>> {
    let rows = tx.query("SELECT lineage, since FROM collected ORDER BY lineage", &[]).await?;
    rows.iter().map(|r| Ok((LineageId(r.int(0)?), date(r.int(1)?)))).collect()
}

/// Ordinals that no ref shows any more, by lineage: from, and up to but not including.
pub type Holes = BTreeMap<LineageId, Vec<(Ordinal, Ordinal)>>;

/// All holes.
pub async fn holes(tx: &mut Tx) -> Result<Holes> {
    let mut holes = Holes::new();
    for row in &tx.query("SELECT lineage, since, until FROM holes ORDER BY lineage, since", &[]).await? {
        holes.entry(LineageId(row.int(0)?)).or_default().push((row.int(1)?, row.int(2)?));
    }
    Ok(holes)
}

/// When a deleted branch was deleted, if it can't be brought back.
pub async fn lost(tx: &mut Tx, name: &str) -> Result<Option<DateTime<Utc>>> {
    let row = tx.first("SELECT dropped FROM lost_branches WHERE name = $1", params![name]).await?;
    row.map(|r| r.int(0).map(date)).transpose()
}

/// A deleted branch can't be brought back any more.
pub async fn lose(tx: &mut Tx, branch: &Dropped) -> Result<()> {
    tx.execute("DELETE FROM dropped_branches WHERE lineage = $1", params![branch.lineage.0]).await?;
    tx.execute(
        "INSERT INTO lost_branches (name, dropped, lost) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET dropped = excluded.dropped, lost = excluded.lost",
        params![&branch.name, micros(branch.dropped), micros(now())],
    )
    .await
    .map(drop)
}

/// How many bytes these commits have in the store, about.
pub async fn size_of_commits(tx: &mut Tx, hashes: &[String]) -> Result<i64> {
    let mut bytes = 0;
    let sum =
        "SELECT CAST(COALESCE(SUM(150 + LENGTH(author) + LENGTH(email) + LENGTH(message)), 0) AS BIGINT)
               FROM commits WHERE hash IN";
    for (sql, params) in in_groups(sum, hashes) {
        bytes += tx.first(&sql, &params).await?.map_or(Ok(0), |r| r.int(0))?;
    }
    Ok(bytes)
}

/// Deletes commits, at most [`COMMITS`], of which no other commit is a child.
pub async fn delete_commits(tx: &mut Tx, hashes: &[String]) -> Result<()> {
    for table in ["positions", "commit_tables", "commit_origins", "commit_parents", "commits"] {
        for (sql, params) in in_groups(&format!("DELETE FROM {table} WHERE hash IN"), hashes) {
            tx.execute(&sql, &params).await?;
        }
    }
    Ok(())
}

/// A statement that ends with a list of hashes, for as many as there are; always of one text, so that it is prepared
/// once.
fn in_groups(start: &str, hashes: &[String]) -> Vec<(String, Vec<super::Cell>)> {
    let list: Vec<String> = (1..=COMMITS).map(|n| format!("${n}")).collect();
    let sql = format!("{start} ({})", list.join(", "));
    let group = |hashes: &[String]| {
        let last = hashes.last().cloned().unwrap_or_default();
        let padded = hashes.iter().cloned().chain(std::iter::repeat(last)).take(COMMITS);
        (sql.clone(), padded.map(super::Cell::from).collect())
    };
    hashes.chunks(COMMITS).map(group).collect()
}

/// Takes a lineage from everything that could show it.
pub async fn collect(tx: &mut Tx, lineage: LineageId) -> Result<()> {
    for sql in [
        "DELETE FROM merge_violations WHERE lineage = $1",
        "DELETE FROM conflicts WHERE lineage = $1",
        "DELETE FROM merges WHERE lineage = $1",
        "DELETE FROM positions WHERE lineage = $1",
        "DELETE FROM reflog WHERE lineage = $1",
        "DELETE FROM spans WHERE lineage = $1",
        "DELETE FROM holes WHERE lineage = $1",
    ] {
        tx.execute(sql, params![lineage.0]).await?;
    }
    tx.execute(
        "INSERT INTO collected (lineage, since) VALUES ($1, $2) ON CONFLICT (lineage) DO NOTHING",
        params![lineage.0, micros(now())],
    )
    .await
    .map(drop)
}

/// Replaces the holes of a lineage, and takes what is said of tables for ordinals in them.
pub async fn set_holes(tx: &mut Tx, lineage: LineageId, holes: &[(Ordinal, Ordinal)]) -> Result<()> {
    tx.execute("DELETE FROM holes WHERE lineage = $1", params![lineage.0]).await?;
    for (since, until) in holes {
        tx.execute(
            "INSERT INTO holes (lineage, since, until) VALUES ($1, $2, $3)",
            params![lineage.0, *since, *until],
        )
        .await?;
        tx.execute(
            "DELETE FROM spans WHERE lineage = $1 AND since >= $2 AND until <= $3 AND until < $4",
            params![lineage.0, *since, *until, PENDING],
        )
        .await?;
    }
    Ok(())
}

/// A collected lineage holds nothing of a table any more.
pub async fn delete_layer(tx: &mut Tx, lineage: LineageId, table: TableId) -> Result<()> {
    let sql = "DELETE FROM layers WHERE lineage = $1 AND table_id = $2";
    tx.execute(sql, params![lineage.0, table.0]).await.map(drop)
}

/// Forgets a collected lineage; false if it can't be yet.
pub async fn forget(tx: &mut Tx, lineage: LineageId) -> Result<bool> {
    let children = "SELECT 1 FROM lineages WHERE parent = $1 LIMIT 1";
    if tx.first(children, params![lineage.0]).await?.is_some() {
        return Ok(false);
    }
    // Which lineage it was made on isn't asked any more, only that it was one.
    let made = "UPDATE tables SET made_on = 1 WHERE made_on = $1";
    for sql in [
        made,
        "DELETE FROM layers WHERE lineage = $1",
        "DELETE FROM collected WHERE lineage = $1",
        "DELETE FROM lineages WHERE id = $1",
    ] {
        tx.execute(sql, params![lineage.0]).await?;
    }
    Ok(true)
}
