//! Merges.

use super::args::Parsed;
use super::{Outcome, Session};
use crate::operations::{MergeOptions, Merged, Strategy};
use crate::{Error, Result};

/// `epoch_merge`.
pub(super) async fn merge(session: &Session<'_>, args: &Parsed) -> Result<Outcome> {
    let (repository, checkout) = (session.repository, session.checkout);
    let message = args.text("message");
    let merged = match (args.flag("abort"), args.flag("continue"), args.text("ref")) {
        (true, false, None) => repository.merge_abort(checkout).await?,
        (false, true, None) => {
            repository.merge_continue(checkout, &session.author, message.as_deref()).await?
        }
        (true, true, _) => {
            return Err(args.invalid("--abort and --continue of epoch_merge don't go together"));
        }
        (false, false, Some(source)) => repository.merge(checkout, &source, &options(session, args)?).await?,
        (false, false, None) => return Err(args.missing("ref")),
        _ => return Err(args.invalid("--abort and --continue of epoch_merge take no ref")),
    };
    Ok(outcome(merged, args.flag("dry-run")))
}

fn options(session: &Session<'_>, args: &Parsed) -> Result<MergeOptions> {
    if args.flag("no-commit") && args.flag("dry-run") {
        return Err(args.invalid("--no-commit and --dry-run of epoch_merge don't go together"));
    }
    if args.flag("no-ff") && args.flag("ff-only") {
        return Err(args.invalid("--no-ff and --ff-only of epoch_merge don't go together"));
    }
    Ok(MergeOptions {
        no_ff: args.flag("no-ff"),
        ff_only: args.flag("ff-only"),
        squash: args.flag("squash"),
        no_commit: args.flag("no-commit"),
        dry_run: args.flag("dry-run"),
        strategy: match args.text("strategy") {
            Some(name) => strategy(&name)?,
            None => session.strategy,
        },
        message: args.text("message"),
        author: session.author.clone(),
    })
}

/// A strategy by its name, for the flag and for `epoch.merge_strategy`.
pub(super) fn strategy(name: &str) -> Result<Strategy> {
    name.parse()
}

impl std::str::FromStr for Strategy {
    type Err = Error;

    /// 22023 if there is no such strategy.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "field" => Ok(Self::Field),
            "row" => Ok(Self::Row),
            "ours" => Ok(Self::Ours),
            "theirs" => Ok(Self::Theirs),
            _ => Err(Error::new(
                crate::sqlstate::INVALID_PARAMETER_VALUE,
                format!("invalid merge strategy \"{name}\""),
            )
            .with_hint("Strategies are field, row, ours and theirs.")),
        }
    }
}

/// `dry`: nothing was made, so nothing waits.
fn outcome(merged: Merged, dry: bool) -> Outcome {
    let then = "see epoch.conflicts, resolve, then epoch_merge('--continue')";
    let mut notices = match merged.conflicts {
        0 => Vec::new(),
        _ if dry => Vec::new(),
        1 => vec![format!("1 conflict waits: {then}")],
        n => vec![format!("{n} conflicts wait: {then}")],
    };
    if merged.altered {
        notices.push(
            "triggers of main changed rows of the merge; its commit has them as they are now".to_owned(),
        );
    }
    let row = vec![
        Some(merged.hash),
        Some(super::text::boolean(merged.fast_forward)),
        Some(merged.conflicts.to_string()),
        Some(merged.message),
    ];
    Outcome { rows: vec![row], notices, ..Outcome::default() }
}
