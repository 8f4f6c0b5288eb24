//! `epoch_bisect`: the first commit at which an assertion doesn't hold any more.

use std::collections::HashSet;
use std::time::Duration;

use super::args::Parsed;
use super::{Explain, Rows, Session, text};
use crate::operations::{CommitInfo, LogQuery};
use crate::{Error, Result, sqlstate};

/// How long an assertion may take at one commit.
const LIMIT: Duration = Duration::from_secs(60);

/// `epoch_bisect(good, bad, sql)`.
pub(super) async fn bisect(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let (good, bad, sql) = (args.required("good")?, args.required("bad")?, args.required("sql")?);
    let runner =
        session.explain.ok_or_else(|| Error::unsupported("epoch_bisect as a part of a larger query"))?;
    let repository = session.repository;
    let (good, bad) = (
        repository.hash_of(session.checkout, &good).await?,
        repository.hash_of(session.checkout, &bad).await?,
    );
    for (hash, expected) in [(&good, true), (&bad, false)] {
        if holds(session, runner, hash, &sql).await? != expected {
            let (name, what) = if expected { ("good", "does not hold") } else { ("bad", "holds") };
            let message = format!("the assertion {what} at the {name} commit {}", short(hash));
            return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
    }
    let query = LogQuery { revisions: vec![format!("{good}..{bad}")], ..LogQuery::default() };
    // Oldest first: parents come before their children.
    let mut open = repository.log(session.checkout, &query).await?;
    open.reverse();
    let mut tested = 2;
    while open.len() > 1 {
        let Some(middle) = open.get(open.len() / 2 - 1) else { break };
        let before = before(&open, &middle.hash);
        tested += 1;
        let good = holds(session, runner, &middle.hash, &sql).await?;
        open.retain(|c| before.contains(&c.hash) != good);
    }
    let row = |c: CommitInfo| {
        vec![
            Some(c.hash),
            Some(c.author),
            Some(text::timestamp(c.date)),
            Some(c.message),
            Some(tested.to_string()),
        ]
    };
    Ok(open.into_iter().map(row).collect())
}

/// Whether the assertion holds at a commit. It may be any query, and its client may be gone.
async fn holds(session: &Session<'_>, runner: &dyn Explain, hash: &str, sql: &str) -> Result<bool> {
    let checkout = session.repository.checkout(hash, Some(session.checkout)).await?;
    let asked = tokio::time::timeout(LIMIT, runner.holds(&checkout, sql)).await;
    asked.unwrap_or_else(|_| {
        let message =
            format!("the assertion took longer than {} s at commit {}", LIMIT.as_secs(), short(hash));
        Err(Error::new(sqlstate::QUERY_CANCELED, message))
    })
}

fn short(hash: &str) -> &str {
    hash.get(..10).unwrap_or(hash)
}

/// A commit and those of the list that are before it.
fn before(list: &[CommitInfo], hash: &str) -> HashSet<String> {
    let mut found = HashSet::from([hash.to_owned()]);
    for commit in list.iter().rev() {
        if found.contains(&commit.hash) {
            found.extend(commit.parents.iter().cloned());
        }
    }
    found
}
