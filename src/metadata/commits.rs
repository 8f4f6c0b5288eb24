//! Commits, their parents and what they changed, and the positions where they can be seen.

use std::collections::HashMap;
use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use epoch_adapter::{LineageId, Ordinal, Result, TableId, TableStats};
use sha2::{Digest, Sha256};

use super::origins::{self, Origin};
use super::{Cell, Record, Tx, date, micros, params};

/// A commit to be.
#[derive(Debug, Clone)]
pub struct NewCommit {
    /// First parent first.
    pub parents: Vec<String>,
    /// Author's name.
    pub author: String,
    /// Author's email.
    pub email: String,
    /// When.
    pub date: DateTime<Utc>,
    /// Message.
    pub message: String,
    /// What it changes against its first parent.
    pub tables: Vec<CommitTable>,
    /// The changes of others that it brings again; no part of its hash.
    pub origins: Vec<Origin>,
}

/// What a commit changed in one table.
#[derive(Debug, Clone)]
pub struct CommitTable {
    /// The registration.
    pub table: TableId,
    /// The table's location, part of the commit's hash.
    pub location: String,
    /// Counts.
    pub stats: TableStats,
    /// SHA-256 over the changed rows.
    pub digest: String,
}

impl NewCommit {
    /// The text whose SHA-256 is the commit's hash. Free text is JSON, so that no value can imitate
    /// another line.
    fn canonical(&self) -> String {
        let mut text = String::from("epoch commit 1\n");
        for parent in &self.parents {
            let _ = writeln!(text, "parent {parent}");
        }
        let quoted = |s: &str| serde_json::Value::from(s).to_string();
        let _ = writeln!(text, "author {} {}", quoted(&self.author), quoted(&self.email));
        let _ = writeln!(text, "date {}", self.date.to_rfc3339_opts(SecondsFormat::Micros, true));
        let mut tables: Vec<_> = self.tables.iter().collect();
        tables.sort_by(|a, b| (&a.location, a.table).cmp(&(&b.location, b.table)));
        for table in tables {
            let _ = writeln!(text, "table {} {}", table.digest, quoted(&table.location));
        }
        let _ = writeln!(text, "message {}", quoted(&self.message));
        text
    }

    /// The commit's hash.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.canonical().as_bytes()))
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Stores a commit; its hash. One that exists already is left alone: equal hash is equal content.
pub async fn insert(tx: &mut Tx, commit: &NewCommit) -> Result<String> {
    let hash = commit.hash();
    if exists(tx, &hash).await? {
        return Ok(hash);
    }
    let seq = tx.counter("next_commit").await?;
    tx.execute(
        "INSERT INTO commits (hash, seq, author, email, date, message) VALUES ($1, $2, $3, $4, $5, $6)",
        params![&hash, seq, &commit.author, &commit.email, micros(commit.date), &commit.message],
    )
    .await?;
    for (number, parent) in (1_i64..).zip(&commit.parents) {
        tx.execute(
            "INSERT INTO commit_parents (hash, number, parent) VALUES ($1, $2, $3)",
            params![&hash, number, parent],
        )
        .await?;
    }
    for t in &commit.tables {
        tx.execute(
            "INSERT INTO commit_tables (hash, table_id, added, modified, removed, digest) VALUES ($1, $2, $3, $4, $5, $6)",
            params![&hash, t.table.0, t.stats.added, t.stats.modified, t.stats.removed, &t.digest],
        )
        .await?;
    }
    // What is applied to where it comes from is the same commit.
    if !commit.origins.iter().any(|o| o.commit == hash) {
        origins::insert(tx, &hash, &commit.origins).await?;
    }
    Ok(hash)
}

async fn exists(tx: &mut Tx, hash: &str) -> Result<bool> {
    Ok(tx.first("SELECT 1 FROM commits WHERE hash = $1", params![hash]).await?.is_some())
}

/// Says that `lineage` shows commit `hash` at `ordinal`.
pub async fn add_position(tx: &mut Tx, lineage: LineageId, ordinal: Ordinal, hash: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO positions (lineage, ordinal, hash) VALUES ($1, $2, $3)",
        params![lineage.0, ordinal, hash],
    )
    .await
    .map(drop)
}

/// Where a commit can be seen.
pub async fn positions(tx: &mut Tx, hash: &str) -> Result<Vec<(LineageId, Ordinal)>> {
    let sql = "SELECT lineage, ordinal FROM positions WHERE hash = $1 ORDER BY lineage, ordinal";
    let rows = tx.query(sql, params![hash]).await?;
    rows.iter().map(|r| Ok((LineageId(r.int(0)?), r.int(1)?))).collect()
}

/// As [`positions`], of several commits.
pub async fn positions_of_all(
    tx: &mut Tx,
    hashes: &[&str],
) -> Result<HashMap<String, Vec<(LineageId, Ordinal)>>> {
    let Some((marks, values)) = list(hashes) else { return Ok(HashMap::new()) };
    let sql = format!(
        "SELECT lineage, ordinal, hash FROM positions WHERE hash IN ({marks}) ORDER BY lineage, ordinal"
    );
    let mut positions = HashMap::<String, Vec<_>>::new();
    for row in tx.query(&sql, &values).await? {
        positions.entry(row.text(2)?).or_default().push((LineageId(row.int(0)?), row.int(1)?));
    }
    Ok(positions)
}

/// The newest publication on a lineage; `None` if nothing was published since its fork.
pub async fn last_position(tx: &mut Tx, lineage: LineageId) -> Result<Option<(Ordinal, String)>> {
    let sql = "SELECT ordinal, hash FROM positions WHERE lineage = $1 ORDER BY ordinal DESC LIMIT 1";
    let row = tx.first(sql, params![lineage.0]).await?;
    row.map(|r| Ok((r.int(0)?, r.text(1)?))).transpose()
}

/// The commit that a lineage shows at an ordinal.
pub async fn at_position(tx: &mut Tx, lineage: LineageId, ordinal: Ordinal) -> Result<Option<String>> {
    let sql = "SELECT hash FROM positions WHERE lineage = $1 AND ordinal = $2";
    tx.first(sql, params![lineage.0, ordinal]).await?.map(|r| r.text(0)).transpose()
}

/// One commit as the graph knows it.
#[derive(Debug, Clone)]
pub struct GraphRow {
    /// Insertion number: greater than all parents'.
    pub seq: i64,
    /// Full hash.
    pub hash: String,
    /// Parents in order.
    pub parents: Vec<String>,
    /// Tables that differ from the first parent.
    pub tables: Vec<TableId>,
    /// The changes of others that it brings again.
    pub origins: Vec<Origin>,
}

/// Commits newer than `seq`, oldest first.
pub async fn graph_since(tx: &mut Tx, seq: i64) -> Result<Vec<GraphRow>> {
    let commits = tx.query("SELECT seq, hash FROM commits WHERE seq > $1 ORDER BY seq", params![seq]).await?;
    if commits.is_empty() {
        return Ok(Vec::new());
    }
    let parents = tx
        .query(
            "SELECT c.seq, p.parent FROM commit_parents p JOIN commits c ON c.hash = p.hash
             WHERE c.seq > $1 ORDER BY c.seq, p.number",
            params![seq],
        )
        .await?;
    let tables = tx
        .query(
            "SELECT c.seq, t.table_id FROM commit_tables t JOIN commits c ON c.hash = t.hash
             WHERE c.seq > $1 ORDER BY c.seq, t.table_id",
            params![seq],
        )
        .await?;
    let mut origins = origins::since(tx, seq).await?.into_iter().peekable();
    let mut parents = parents.iter().peekable();
    let mut tables = tables.iter().peekable();
    let mut graph = Vec::with_capacity(commits.len());
    for row in &commits {
        let (seq, hash) = (row.int(0)?, row.text(1)?);
        let mut one = GraphRow { seq, hash, parents: vec![], tables: vec![], origins: vec![] };
        while let Some(parent) = parents.next_if(|p| p.int(0).is_ok_and(|seq| seq == one.seq)) {
            one.parents.push(parent.text(1)?);
        }
        while let Some(table) = tables.next_if(|t| t.int(0).is_ok_and(|seq| seq == one.seq)) {
            one.tables.push(TableId(table.int(1)?));
        }
        while let Some((_, origin)) = origins.next_if(|(seq, _)| *seq == one.seq) {
            one.origins.push(origin);
        }
        graph.push(one);
    }
    Ok(graph)
}

/// What one commit says of itself.
#[derive(Debug, Clone)]
pub struct CommitRow {
    /// Author's name.
    pub author: String,
    /// Author's email.
    pub email: String,
    /// When.
    pub date: DateTime<Utc>,
    /// Message.
    pub message: String,
}

/// How many commits are read with one statement.
pub const MOST_AT_ONCE: usize = 512;

/// `($1, $2, …)` for so many hashes or more, and the hashes with the first one again and again: the store keeps
/// statements prepared, so there aren't to be many of them.
fn list(hashes: &[&str]) -> Option<(String, Vec<Cell>)> {
    let first = hashes.first()?;
    let size = [1, 8, 64].into_iter().find(|size| hashes.len() <= *size).unwrap_or(MOST_AT_ONCE);
    let marks: Vec<String> = (1..=size.max(hashes.len())).map(|i| format!("${i}")).collect();
    let padded = hashes.iter().chain(std::iter::repeat(first)).take(marks.len());
    Some((marks.join(", "), padded.map(|hash| Cell::from(*hash)).collect()))
}

/// Reads several commits, by their hashes.
pub async fn read_all(tx: &mut Tx, hashes: &[&str]) -> Result<HashMap<String, CommitRow>> {
    let Some((marks, values)) = list(hashes) else { return Ok(HashMap::new()) };
    let sql = format!("SELECT author, email, date, message, hash FROM commits WHERE hash IN ({marks})");
    let rows = tx.query(&sql, &values).await?;
    rows.iter().map(|r| Ok((r.text(4)?, commit(r)?))).collect()
}

/// What several commits changed against their first parents, by their hashes.
pub async fn tables_of_all(
    tx: &mut Tx,
    hashes: &[&str],
) -> Result<HashMap<String, Vec<(TableId, TableStats)>>> {
    let Some((marks, values)) = list(hashes) else { return Ok(HashMap::new()) };
    let sql = format!(
        "SELECT table_id, added, modified, removed, hash FROM commit_tables WHERE hash IN ({marks}) \
         ORDER BY hash, table_id"
    );
    let mut tables = HashMap::<String, Vec<_>>::new();
    for row in tx.query(&sql, &values).await? {
        tables.entry(row.text(4)?).or_default().push(changed(&row)?);
    }
    Ok(tables)
}

fn commit(row: &Record) -> Result<CommitRow> {
    Ok(CommitRow {
        author: row.text(0)?,
        email: row.text(1)?,
        date: date(row.int(2)?),
        message: row.text(3)?,
    })
}

fn changed(row: &Record) -> Result<(TableId, TableStats)> {
    let stats = TableStats { added: row.int(1)?, modified: row.int(2)?, removed: row.int(3)?, cells: 0 };
    Ok((TableId(row.int(0)?), stats))
}

/// Reads one commit.
pub async fn read(tx: &mut Tx, hash: &str) -> Result<Option<CommitRow>> {
    let sql = "SELECT author, email, date, message FROM commits WHERE hash = $1";
    tx.first(sql, params![hash]).await?.map(|row| commit(&row)).transpose()
}

/// What a commit changed against its first parent.
pub async fn tables_of(tx: &mut Tx, hash: &str) -> Result<Vec<(TableId, TableStats)>> {
    let sql =
        "SELECT table_id, added, modified, removed FROM commit_tables WHERE hash = $1 ORDER BY table_id";
    tx.query(sql, params![hash]).await?.iter().map(changed).collect()
}

/// Full hashes that begin with `prefix`, at most two: enough to know whether it is unique.
pub async fn with_prefix(tx: &mut Tx, prefix: &str) -> Result<Vec<String>> {
    let end = format!("{prefix}g"); // sorts after every hex digit
    let sql = "SELECT hash FROM commits WHERE hash >= $1 AND hash < $2 ORDER BY hash LIMIT 2";
    let rows = tx.query(sql, params![prefix, end]).await?;
    rows.iter().map(|r| r.text(0)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn commit() -> NewCommit {
        NewCommit {
            parents: vec!["a".repeat(64)],
            author: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            date: date(1_700_000_000_000_001),
            message: "m".to_owned(),
            tables: vec![],
            origins: vec![],
        }
    }

    #[test]
    fn every_part_of_a_commit_changes_its_hash() {
        let table = CommitTable {
            table: TableId(1),
            location: "sqlite://s/t".to_owned(),
            stats: TableStats::default(),
            digest: "d".to_owned(),
        };
        let variants = [
            commit(),
            NewCommit { parents: vec![], ..commit() },
            NewCommit { author: "Bob".to_owned(), ..commit() },
            NewCommit { email: String::new(), ..commit() },
            NewCommit { date: date(1_700_000_000_000_002), ..commit() },
            NewCommit { message: "m\n".to_owned(), ..commit() },
            NewCommit { message: "m\"\nparent \"x".to_owned(), ..commit() },
            NewCommit { tables: vec![table.clone()], ..commit() },
            NewCommit { tables: vec![CommitTable { digest: "e".to_owned(), ..table }], ..commit() },
        ];
        let hashes: std::collections::HashSet<_> = variants.iter().map(NewCommit::hash).collect();
        assert_eq!(hashes.len(), variants.len());
        assert_eq!(commit().hash(), commit().hash());
        assert_eq!(commit().hash().len(), 64);
    }
}
