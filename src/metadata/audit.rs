//! What was tried, by whom, and what became of it.
//!
//! A [`Note`] is written by the first transaction of its operation, with the result `started`; the one that
//! makes the operation visible writes `ok`. So the two can't differ after a crash.

use chrono::{DateTime, Utc};
use epoch_adapter::Result;

use super::{Record, Tx, date, micros, params};

/// An operation under way. No secrets are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Unique, and in the order of time.
    pub id: String,
    /// When it began.
    pub date: DateTime<Utc>,
    /// Who.
    pub user: String,
    /// From where.
    pub client: String,
    /// What: a function's name, or a command.
    pub operation: String,
    /// With which arguments.
    pub arguments: String,
    /// What the session was on.
    pub branch: Option<String>,
}

/// A note with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// The note.
    pub note: Note,
    /// `started`, `ok`, or an SQLSTATE.
    pub result: String,
    /// The error's message.
    pub message: Option<String>,
}

/// What stands for an operation that has begun.
pub const STARTED: &str = "started";
/// What stands for success.
pub const OK: &str = "ok";
/// What stands for one that a crash interrupted before any of it was visible.
pub const UNDONE: &str = "undone";

/// Writes a note, or what became of it since.
pub async fn write(tx: &mut Tx, note: &Note, result: &str, message: Option<&str>) -> Result<()> {
    tx.execute(
        "INSERT INTO audit (id, date, user_name, client, operation, arguments, branch, result, message)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (id) DO UPDATE SET result = excluded.result, message = excluded.message",
        params![
            &note.id,
            micros(note.date),
            &note.user,
            &note.client,
            &note.operation,
            &note.arguments,
            note.branch.clone(),
            result,
            message
        ],
    )
    .await
    .map(drop)
}

/// Says what became of an operation that is recovered.
pub async fn settle(tx: &mut Tx, id: &str, result: &str) -> Result<()> {
    tx.execute("UPDATE audit SET result = $1 WHERE id = $2", params![result, id]).await.map(drop)
}

/// Notes, newest first; at most `limit`.
pub async fn list(tx: &mut Tx, limit: Option<usize>) -> Result<Vec<Audited>> {
    let sql = "SELECT id, date, user_name, client, operation, arguments, branch, result, message
               FROM audit ORDER BY date DESC, id DESC LIMIT $1";
    let limit = limit.and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX);
    let rows = tx.query(sql, params![limit]).await?;
    rows.iter().map(to_audited).collect()
}

fn to_audited(r: &Record) -> Result<Audited> {
    Ok(Audited {
        note: Note {
            id: r.text(0)?,
            date: date(r.int(1)?),
            user: r.text(2)?,
            client: r.text(3)?,
            operation: r.text(4)?,
            arguments: r.text(5)?,
            branch: r.opt_text(6)?,
        },
        result: r.text(7)?,
        message: r.opt_text(8)?,
    })
}
