//! Lists of commits, branches, tags and working changes.

use super::args::Parsed;
use super::{Rows, Session, text};
use crate::Result;
use crate::operations::{BranchInfo, CommitInfo, LogQuery, StatusEntry, TagInfo};

/// `epoch_log` and `epoch.log`.
pub(super) async fn log(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let query = LogQuery {
        revisions: args.rest.clone(),
        all: args.flag("all"),
        tables: args.list("tables"),
        limit: args.count("limit")?,
    };
    let commits = session.repository.log(session.checkout, &query).await?;
    let row = |c: CommitInfo| {
        vec![
            Some(c.hash),
            Some(text::array(&c.parents)),
            Some(c.author),
            Some(c.email),
            Some(text::timestamp(c.date)),
            Some(c.message),
            Some(text::array(&c.refs)),
            Some(c.commit_order.to_string()),
        ]
    };
    Ok(commits.into_iter().map(row).collect())
}

/// `epoch.branches`.
pub(super) async fn branches(session: &Session<'_>) -> Result<Rows> {
    let row = |b: BranchInfo| {
        vec![
            Some(b.name),
            Some(b.hash),
            b.parent_branch,
            Some(b.latest_author),
            Some(text::timestamp(b.latest_date)),
            Some(b.latest_message),
            b.dirty.map(text::boolean),
            Some(b.ahead.to_string()),
            Some(b.behind.to_string()),
            Some(text::boolean(b.protected)),
            b.expires_at.map(text::timestamp),
            None,
        ]
    };
    Ok(session.repository.branches().await?.into_iter().map(row).collect())
}

/// `epoch.tags`.
pub(super) async fn tags(session: &Session<'_>) -> Result<Rows> {
    let row = |t: TagInfo| {
        vec![Some(t.name), Some(t.hash), Some(t.tagger), Some(text::timestamp(t.date)), t.message]
    };
    Ok(session.repository.tags().await?.into_iter().map(row).collect())
}

/// `epoch.status`.
pub(super) async fn status(session: &Session<'_>) -> Result<Rows> {
    let row = |s: StatusEntry| {
        vec![
            Some(s.table_name),
            Some(s.location),
            Some(s.change),
            Some(s.stats.added.to_string()),
            Some(s.stats.modified.to_string()),
            Some(s.stats.removed.to_string()),
            Some(s.conflicts.to_string()),
        ]
    };
    Ok(session.repository.status(session.checkout).await?.into_iter().map(row).collect())
}
