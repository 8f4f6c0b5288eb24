//! Branches that were, that move as a whole, and rules for merges.

use super::args::Parsed;
use super::{Rows, Session, text};
use crate::Result;
use crate::operations::{ColumnRule, HeadMove};

/// `epoch_reflog`.
pub(super) async fn reflog(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let row = |m: HeadMove| {
        vec![
            Some(m.selector),
            Some(m.hash),
            m.previous,
            Some(m.author),
            Some(text::timestamp(m.date)),
            Some(m.action),
        ]
    };
    let moves = session.repository.reflog(session.checkout, args.text("ref").as_deref()).await?;
    Ok(moves.into_iter().map(row).collect())
}

/// `epoch_undrop`.
pub(super) async fn undrop(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let branch = session.repository.undrop_branch(&args.required("branch")?).await?;
    Ok(vec![vec![Some(branch.name), Some(branch.hash), Some("restored".to_owned())]])
}

/// `epoch_squash_history`.
pub(super) async fn squash_history(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let since = args.required("ref")?;
    let message = args.text("message");
    if message.as_deref().is_some_and(|m| m.trim().is_empty()) {
        return Err(args.invalid("the commit message is empty"));
    }
    let (repository, checkout) = (session.repository, session.checkout);
    let hash = repository.squash_history(checkout, &since, message.as_deref(), &session.author).await?;
    Ok(vec![vec![Some(hash)]])
}

/// `epoch_promote`.
pub(super) async fn promote(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let (source, target) = (args.required("source")?, args.required("target")?);
    let tag = args.text("tag");
    let (repository, checkout) = (session.repository, session.checkout);
    let done = repository.promote(checkout, &source, &target, tag.as_deref(), &session.author).await?;
    Ok(vec![vec![Some(done.hash), Some(done.tag), Some(text::boolean(done.fast_forward))]])
}

fn rule(rule: ColumnRule) -> Vec<Option<String>> {
    vec![Some(rule.table.to_string()), Some(rule.column), Some(rule.rule)]
}

/// `epoch_merge_rule`.
pub(super) async fn merge_rule(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let (table, column) = (args.required("table")?, args.required("column")?);
    let given = args.text("rule");
    let wanted = match (given.as_deref(), args.flag("delete")) {
        (Some(_), true) => return Err(args.invalid("--delete of epoch_merge_rule takes no rule")),
        (None, false) => return Err(args.missing("rule")),
        (wanted, _) => wanted,
    };
    let (repository, checkout) = (session.repository, session.checkout);
    Ok(vec![rule(repository.set_merge_rule(checkout, &table, &column, wanted).await?)])
}

/// `epoch.merge_rules`.
pub(super) async fn merge_rules(session: &Session<'_>) -> Result<Rows> {
    Ok(session.repository.merge_rules().await?.into_iter().map(rule).collect())
}
