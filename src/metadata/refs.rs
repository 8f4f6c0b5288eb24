//! Lineages, branches, tags and the reflog. Heads move by compare-and-swap only.

use chrono::{DateTime, Utc};
use epoch_adapter::{Error, LineageId, Ordinal, Result, sqlstate};

use super::{Record, Tx, date, micros, now, params};

/// A storage line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Its number.
    pub id: LineageId,
    /// The lineage it forked from; `None` for main.
    pub parent: Option<LineageId>,
    /// The ordinal of `parent` at the fork.
    pub fork: Ordinal,
    /// The ordinal of main below all of its layers.
    pub base: Ordinal,
}

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Name.
    pub name: String,
    /// Its storage line.
    pub lineage: LineageId,
    /// The head commit's hash.
    pub head: String,
    /// The lineage of the branch it was made from.
    pub parent: Option<LineageId>,
    /// When it is to be deleted.
    pub expires: Option<DateTime<Utc>>,
}

impl Branch {
    /// Whether it belongs to an operation under way: no user's branch has a colon in its name.
    pub fn is_hidden(&self) -> bool {
        self.name.contains(HIDDEN)
    }
}

/// What the names of hidden branches hold.
pub const HIDDEN: char = ':';

/// A tag.
#[derive(Debug, Clone)]
pub struct Tag {
    /// Name.
    pub name: String,
    /// The commit.
    pub hash: String,
    /// Who made it.
    pub tagger: String,
    /// When.
    pub date: DateTime<Utc>,
    /// Of an annotated tag.
    pub message: Option<String>,
}

/// Lineages changed after `generation`.
pub async fn lineages_since(tx: &mut Tx, generation: i64) -> Result<Vec<Lineage>> {
    let sql = "SELECT id, parent, fork, base FROM lineages WHERE generation > $1";
    let rows = tx.query(sql, params![generation]).await?;
    rows.iter()
        .map(|r| {
            Ok(Lineage {
                id: LineageId(r.int(0)?),
                parent: r.opt_int(1)?.map(LineageId),
                fork: r.int(2)?,
                base: r.int(3)?,
            })
        })
        .collect()
}

const BRANCH: &str = "SELECT name, lineage, head, parent, expires FROM branches";

fn to_branch(r: &Record) -> Result<Branch> {
    Ok(Branch {
        name: r.text(0)?,
        lineage: LineageId(r.int(1)?),
        head: r.text(2)?,
        parent: r.opt_int(3)?.map(LineageId),
        expires: r.opt_int(4)?.map(date),
    })
}

/// Branches changed after `generation`.
pub async fn branches_since(tx: &mut Tx, generation: i64) -> Result<Vec<Branch>> {
    let sql = format!("{BRANCH} WHERE generation > $1");
    tx.query(&sql, params![generation]).await?.iter().map(to_branch).collect()
}

/// The branch on a lineage, as it is in this transaction.
pub async fn branch_on(tx: &mut Tx, lineage: LineageId) -> Result<Option<Branch>> {
    let sql = format!("{BRANCH} WHERE lineage = $1");
    tx.first(&sql, params![lineage.0]).await?.as_ref().map(to_branch).transpose()
}

/// The branch of a name, as it is in this transaction.
pub async fn branch_by_name(tx: &mut Tx, name: &str) -> Result<Option<Branch>> {
    let sql = format!("{BRANCH} WHERE name = $1");
    tx.first(&sql, params![name]).await?.as_ref().map(to_branch).transpose()
}

/// Makes a branch with a lineage of its own.
pub async fn create_branch(
    tx: &mut Tx,
    name: &str,
    head: &str,
    from: Option<LineageId>,
    fork: (LineageId, Ordinal),
    base: Ordinal,
) -> Result<LineageId> {
    let generation = tx.next_generation().await?;
    let id = tx.counter("next_lineage").await?;
    tx.execute(
        "INSERT INTO lineages (id, parent, fork, base, latest, generation) VALUES ($1, $2, $3, $4, 0, $5)",
        params![id, fork.0.0, fork.1, base, generation],
    )
    .await?;
    let made = tx
        .execute(
            "INSERT INTO branches (name, lineage, head, parent, created, generation)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING",
            params![name, id, head, from.map(|l| l.0), micros(now()), generation],
        )
        .await?;
    if made == 0 {
        let message = format!("branch \"{name}\" already exists");
        return Err(Error::new(sqlstate::DUPLICATE_OBJECT, message));
    }
    Ok(LineageId(id))
}

/// Deletes the ref; the lineage stays for the commits that need it, and so that the branch can be brought
/// back. False if it isn't there.
pub async fn delete_branch(tx: &mut Tx, lineage: LineageId) -> Result<bool> {
    tx.next_generation().await?;
    tx.structure_changed().await?;
    tx.execute(
        "INSERT INTO dropped_branches (lineage, name, head, parent, created, dropped)
         SELECT lineage, name, head, parent, created, CAST($1 AS BIGINT) FROM branches
         WHERE lineage = $2 AND name NOT LIKE '%:%'",
        params![micros(now()), lineage.0],
    )
    .await?;
    Ok(tx.execute("DELETE FROM branches WHERE lineage = $1", params![lineage.0]).await? > 0)
}

/// The names of deleted branches, those deleted last first, and their lineages.
pub async fn dropped(tx: &mut Tx) -> Result<Vec<(String, LineageId)>> {
    let sql = "SELECT name, lineage FROM dropped_branches ORDER BY dropped DESC, lineage DESC";
    let rows = tx.query(sql, &[]).await?;
    rows.iter().map(|r| Ok((r.text(0)?, LineageId(r.int(1)?)))).collect()
}

/// Brings a deleted branch back.
pub async fn undrop(tx: &mut Tx, lineage: LineageId) -> Result<()> {
    let generation = tx.next_generation().await?;
    tx.execute(
        "INSERT INTO branches (name, lineage, head, parent, created, generation)
         SELECT name, lineage, head, parent, created, CAST($1 AS BIGINT) FROM dropped_branches WHERE lineage = $2",
        params![generation, lineage.0],
    )
    .await?;
    tx.execute("DELETE FROM dropped_branches WHERE lineage = $1", params![lineage.0]).await.map(drop)
}

/// Says when a branch is to be deleted.
pub async fn set_expiry(tx: &mut Tx, lineage: LineageId, when: DateTime<Utc>) -> Result<()> {
    let generation = tx.next_generation().await?;
    tx.execute(
        "UPDATE branches SET expires = $1, generation = $2 WHERE lineage = $3",
        params![micros(when), generation, lineage.0],
    )
    .await
    .map(drop)
}

/// Renames the branch on a lineage.
pub async fn rename_branch(tx: &mut Tx, lineage: LineageId, name: &str) -> Result<()> {
    let generation = tx.next_generation().await?;
    tx.structure_changed().await?;
    tx.execute(
        "UPDATE branches SET name = $1, generation = $2 WHERE lineage = $3",
        params![name, generation, lineage.0],
    )
    .await
    .map(drop)
}

/// Takes the lineage's next ordinal. It is never given out again.
pub async fn next_ordinal(tx: &mut Tx, lineage: LineageId) -> Result<Ordinal> {
    let sql = "UPDATE lineages SET latest = latest + 1 WHERE id = $1 RETURNING latest";
    let row = tx.first(sql, params![lineage.0]).await?;
    row.ok_or_else(|| Error::internal(format!("lineage {} is unknown", lineage.0)))?.int(0)
}

/// Moves a head from `old` to `new`. 40001 if it isn't at `old` any more.
pub async fn move_head(
    tx: &mut Tx,
    lineage: LineageId,
    old: &str,
    new: &str,
    author: &str,
    action: &str,
) -> Result<()> {
    let generation = tx.next_generation().await?;
    let moved = tx
        .execute(
            "UPDATE branches SET head = $1, generation = $2 WHERE lineage = $3 AND head = $4",
            params![new, generation, lineage.0, old],
        )
        .await?;
    if moved == 0 {
        return Err(head_moved());
    }
    if old == new {
        return Ok(()); // dropping working changes moves nothing
    }
    log_move(tx, lineage, Some(old), new, author, action).await
}

/// 40001: somebody else moved the branch.
pub fn head_moved() -> Error {
    Error::new(sqlstate::SERIALIZATION_FAILURE, "the branch was moved by a concurrent operation")
        .with_hint("Try again.")
}

/// Adds an entry to the reflog.
pub async fn log_move(
    tx: &mut Tx,
    lineage: LineageId,
    old: Option<&str>,
    new: &str,
    author: &str,
    action: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO reflog (lineage, seq, old_head, new_head, date, author, action)
         SELECT CAST($1 AS BIGINT), COALESCE(MAX(seq), 0) + 1, CAST($2 AS TEXT), CAST($3 AS TEXT),
                CAST($4 AS BIGINT), CAST($5 AS TEXT), CAST($6 AS TEXT)
         FROM reflog WHERE lineage = $1",
        params![lineage.0, old, new, micros(now()), author, action],
    )
    .await
    .map(drop)
}

/// What a lineage's head was at a time.
pub async fn head_at(tx: &mut Tx, lineage: LineageId, when: DateTime<Utc>) -> Result<Option<String>> {
    let sql = "SELECT new_head FROM reflog WHERE lineage = $1 AND date <= $2 ORDER BY seq DESC LIMIT 1";
    tx.first(sql, params![lineage.0, micros(when)]).await?.map(|r| r.text(0)).transpose()
}

/// What a lineage's head was `n` moves ago.
pub async fn head_before(tx: &mut Tx, lineage: LineageId, n: i64) -> Result<Option<String>> {
    let sql = "SELECT new_head FROM reflog WHERE lineage = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2";
    tx.first(sql, params![lineage.0, n]).await?.map(|r| r.text(0)).transpose()
}

/// One move of a head.
#[derive(Debug, Clone)]
pub struct Move {
    /// What it was before; `None` for the first.
    pub old: Option<String>,
    /// What it was then.
    pub new: String,
    /// When.
    pub date: DateTime<Utc>,
    /// Who.
    pub author: String,
    /// `commit: message` …
    pub action: String,
}

/// The moves of a lineage's head, newest first.
pub async fn reflog(tx: &mut Tx, lineage: LineageId) -> Result<Vec<Move>> {
    let sql =
        "SELECT old_head, new_head, date, author, action FROM reflog WHERE lineage = $1 ORDER BY seq DESC";
    let rows = tx.query(sql, params![lineage.0]).await?;
    rows.iter()
        .map(|r| {
            Ok(Move {
                old: r.opt_text(0)?,
                new: r.text(1)?,
                date: date(r.int(2)?),
                author: r.text(3)?,
                action: r.text(4)?,
            })
        })
        .collect()
}

const TAG: &str = "SELECT name, hash, tagger, date, message FROM tags";

fn to_tag(r: &Record) -> Result<Tag> {
    Ok(Tag {
        name: r.text(0)?,
        hash: r.text(1)?,
        tagger: r.text(2)?,
        date: date(r.int(3)?),
        message: r.opt_text(4)?,
    })
}

/// All tags by name.
pub async fn tags(tx: &mut Tx) -> Result<Vec<Tag>> {
    tx.query(&format!("{TAG} ORDER BY name"), &[]).await?.iter().map(to_tag).collect()
}

/// One tag.
pub async fn tag(tx: &mut Tx, name: &str) -> Result<Option<Tag>> {
    let row = tx.first(&format!("{TAG} WHERE name = $1"), params![name]).await?;
    row.as_ref().map(to_tag).transpose()
}

/// Makes a tag; false if there is one of this name.
pub async fn insert_tag(tx: &mut Tx, tag: &Tag) -> Result<bool> {
    let made = tx
        .execute(
            "INSERT INTO tags (name, hash, tagger, date, message) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO NOTHING",
            params![&tag.name, &tag.hash, &tag.tagger, micros(tag.date), tag.message.clone()],
        )
        .await?;
    Ok(made > 0)
}

/// Deletes a tag.
pub async fn delete_tag(tx: &mut Tx, name: &str) -> Result<()> {
    tx.execute("DELETE FROM tags WHERE name = $1", params![name]).await.map(drop)
}
