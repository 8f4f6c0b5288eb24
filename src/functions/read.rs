//! Lists of commits, branches, tags and working changes.

use epoch_adapter::Comparison;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::args::Parsed;
use super::asked::term;
use super::{Asked, Condition, RowStream, Rows, Session, text};
use crate::operations::{BranchInfo, CommitInfo, LogQuery, StatusEntry, TagInfo};
use crate::{Error, Result};

/// Commits of the first page: about what is looked at.
const FIRST_PAGE: usize = 64;

/// Commits of the longest page.
const LONGEST_PAGE: usize = 4096;

/// `epoch_log` and `epoch.log`, newest first.
pub(super) async fn log(session: &Session<'_>, args: &Parsed, asked: &Asked) -> Result<RowStream> {
    // What the call itself limits is limited before anything else is asked of it.
    let own = args.count("limit")?;
    let (before, whole) = if own.is_some() { (None, asked.conditions.is_empty()) } else { before(asked) };
    let first = asked.limit_in(&[(term("commit_order"), true)]).filter(|_| whole);
    let limit = [own, first].into_iter().flatten().min();
    let query = LogQuery {
        revisions: args.rest.clone(),
        all: args.flag("all"),
        tables: args.list("tables"),
        limit,
        before,
    };
    let log = session.repository.log_pages(session.checkout, &query).await?;
    let pages = stream::try_unfold((log, FIRST_PAGE), |(mut log, size)| async move {
        let page = log.page(size).await?;
        Ok::<_, Error>((!page.is_empty()).then(|| (page, (log, (size * 4).min(LONGEST_PAGE)))))
    });
    let rows = pages.map_ok(|page| stream::iter(page.into_iter().map(|commit| Ok(logged(commit)))));
    Ok(rows.try_flatten().boxed())
}

fn logged(commit: CommitInfo) -> Vec<Option<String>> {
    vec![
        Some(commit.hash),
        Some(text::array(&commit.parents)),
        Some(commit.author),
        Some(commit.email),
        Some(text::timestamp(commit.date)),
        Some(commit.message),
        Some(text::array(&commit.refs)),
        Some(commit.commit_order.to_string()),
    ]
}

/// The `commit_order` that a page begins below, and whether that is all that is asked.
fn before(asked: &Asked) -> (Option<i64>, bool) {
    let one = |condition: &Condition| match condition {
        Condition::Compare(terms, Comparison::Lt, values) if *terms == [term("commit_order")] => {
            values.first()?.parse().ok()
        }
        _ => None,
    };
    let found: Vec<Option<i64>> = asked.conditions.iter().map(one).collect();
    (found.iter().flatten().min().copied(), found.iter().all(Option::is_some))
}

/// `epoch.branches`. What the backends have to be asked for is asked for if it is wanted.
pub(super) async fn branches(session: &Session<'_>, asked: &Asked) -> Result<Rows> {
    /// Branches that are asked about at the same time.
    const CONCURRENT: usize = 4;
    let repository = session.repository;
    let wants = |column: &str| asked.columns.as_ref().is_none_or(|all| all.iter().any(|c| c == column));
    let (dirty, bytes) = (wants("dirty"), wants("overlay_bytes"));
    let row = |b: BranchInfo| async move {
        let dirty = if dirty { repository.is_changed(&b).await } else { None };
        let bytes = if bytes { repository.bytes_of(&b).await } else { None };
        Ok::<_, Error>(vec![
            Some(b.name),
            Some(b.hash),
            b.parent_branch,
            Some(b.latest_author),
            Some(text::timestamp(b.latest_date)),
            Some(b.latest_message),
            dirty.map(text::boolean),
            Some(b.ahead.to_string()),
            Some(b.behind.to_string()),
            Some(text::boolean(b.protected)),
            b.expires_at.map(text::timestamp),
            bytes.map(|bytes| bytes.to_string()),
        ])
    };
    let branches = repository.branches().await?;
    stream::iter(branches).map(row).buffered(CONCURRENT).try_collect().boxed().await
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
            s.writers.as_ref().map(|w| text::moment(w.first)),
            s.writers.as_ref().map(|w| text::moment(w.last)),
            s.writers.map(|w| text::array(&w.roles)),
        ]
    };
    Ok(session.repository.status(session.checkout).await?.into_iter().map(row).collect())
}
