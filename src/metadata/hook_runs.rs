//! Which hooks were run, and what they said.

use chrono::{DateTime, Utc};
use epoch_adapter::Result;

use super::{Tx, date, micros, params};

/// One run of a hook, or one attempt to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRun {
    /// When it began.
    pub date: DateTime<Utc>,
    /// The hook's name.
    pub hook: String,
    /// `pre-commit` …
    pub event: String,
    /// The branch or tag.
    pub branch: String,
    /// Who did what it was run for.
    pub user: String,
    /// The same for all attempts.
    pub delivery: String,
    /// From 1.
    pub attempt: i64,
    /// `ok`, `refused` (it said no) or `failed` (it said nothing).
    pub result: String,
    /// What it said, or why it didn't.
    pub message: Option<String>,
    /// How long it took.
    pub millis: i64,
}

/// Keeps runs.
pub async fn insert(tx: &mut Tx, runs: &[HookRun]) -> Result<()> {
    for run in runs {
        tx.execute(
            "INSERT INTO hook_runs (id, date, hook, event, branch, user_name, delivery, attempt, result, message, millis)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            params![
                uuid::Uuid::now_v7().to_string(),
                micros(run.date),
                &run.hook,
                &run.event,
                &run.branch,
                &run.user,
                &run.delivery,
                run.attempt,
                &run.result,
                run.message.clone(),
                run.millis
            ],
        )
        .await?;
    }
    Ok(())
}

/// Runs, newest first; at most `limit`.
pub async fn list(tx: &mut Tx, limit: Option<usize>) -> Result<Vec<HookRun>> {
    let sql = "SELECT date, hook, event, branch, user_name, delivery, attempt, result, message, millis
               FROM hook_runs ORDER BY date DESC, id DESC LIMIT $1";
    let limit = limit.and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX);
    let rows = tx.query(sql, params![limit]).await?;
    rows.iter()
        .map(|r| {
            Ok(HookRun {
                date: date(r.int(0)?),
                hook: r.text(1)?,
                event: r.text(2)?,
                branch: r.text(3)?,
                user: r.text(4)?,
                delivery: r.text(5)?,
                attempt: r.int(6)?,
                result: r.text(7)?,
                message: r.opt_text(8)?,
                millis: r.int(9)?,
            })
        })
        .collect()
}
