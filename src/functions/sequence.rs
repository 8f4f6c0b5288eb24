//! Commits applied again: cherry-pick, revert, rebase; and stashes.

use super::args::Parsed;
use super::{Function, Outcome, Rows, Session, merge, text};
use crate::operations::{PickOptions, Picked, PlanStep, RebaseOptions, StashInfo, Strategy, Verb};
use crate::{Error, Result, sqlstate};

/// What one call asks for.
enum Ask {
    Start,
    Continue,
    Abort,
}

/// `--continue` and `--abort` stand alone.
fn ask(args: &Parsed, name: &str, anything_else: bool) -> Result<Ask> {
    match (args.flag("continue"), args.flag("abort")) {
        (true, true) => Err(args.invalid(format!("--abort and --continue of {name} don't go together"))),
        (false, false) => Ok(Ask::Start),
        _ if anything_else => Err(args.invalid(format!("--abort and --continue of {name} take no ref"))),
        (true, false) => Ok(Ask::Continue),
        (false, true) => Ok(Ask::Abort),
    }
}

fn strategy(session: &Session<'_>, args: &Parsed) -> Result<Strategy> {
    args.text("strategy").map_or(Ok(session.strategy), |name| merge::strategy(&name))
}

async fn resumed(session: &Session<'_>, args: &Parsed, verb: Verb, ask: &Ask) -> Result<Option<Picked>> {
    let (repository, checkout) = (session.repository, session.checkout);
    Ok(match ask {
        Ask::Start => None,
        Ask::Continue => {
            let message = args.text("message");
            Some(repository.sequence_continue(checkout, verb, &session.author, message.as_deref()).await?)
        }
        Ask::Abort => Some(repository.sequence_abort(checkout, verb).await?),
    })
}

/// `epoch_cherry_pick` and `epoch_revert`.
pub(super) async fn pick(session: &Session<'_>, function: &Function, args: &Parsed) -> Result<Outcome> {
    let verb = if function.name == "epoch_revert" { Verb::Revert } else { Verb::CherryPick };
    let ask = ask(args, function.name, !args.rest.is_empty() || args.raw("mainline").is_some())?;
    if let Some(picked) = resumed(session, args, verb, &ask).await? {
        return Ok(picked_outcome(picked, function.name));
    }
    if args.rest.is_empty() {
        return Err(args.missing("ref"));
    }
    if args.text("message").is_some() {
        return Err(args.invalid(format!("--message of {} goes with --continue", function.name)));
    }
    let options = PickOptions {
        mainline: args.count("mainline")?,
        strategy: strategy(session, args)?,
        author: session.author.clone(),
    };
    let (repository, checkout) = (session.repository, session.checkout);
    let picked = match verb {
        Verb::Revert => repository.revert(checkout, &args.rest, &options).await?,
        _ => repository.cherry_pick(checkout, &args.rest, &options).await?,
    };
    Ok(picked_outcome(picked, function.name))
}

fn picked_outcome(picked: Picked, function: &str) -> Outcome {
    let row = vec![
        Some(picked.hash.clone()),
        Some((picked.conflicts - picked.schema_conflicts).to_string()),
        Some(picked.schema_conflicts.to_string()),
        Some("0".to_owned()),
    ];
    Outcome { rows: vec![row], notices: notices(&picked, function), ..Outcome::default() }
}

fn notices(picked: &Picked, function: &str) -> Vec<String> {
    let mut notices = vec![picked.message.clone()];
    if picked.conflicts > 0 {
        notices.push(format!("see epoch.conflicts, resolve, then {function}('--continue')"));
    }
    notices
}

/// `epoch_rebase`.
pub(super) async fn rebase(session: &Session<'_>, args: &Parsed) -> Result<Outcome> {
    let (repository, checkout) = (session.repository, session.checkout);
    let upstream = args.text("upstream");
    let ask = ask(args, "epoch_rebase", upstream.is_some() || args.flag("interactive"))?;
    let picked = match resumed(session, args, Verb::Rebase, &ask).await? {
        Some(picked) => picked,
        None => {
            let upstream = upstream.ok_or_else(|| args.missing("upstream"))?;
            if args.text("message").is_some() {
                return Err(args.invalid("--message of epoch_rebase goes with --continue"));
            }
            let options = RebaseOptions {
                interactive: args.flag("interactive"),
                strategy: strategy(session, args)?,
                author: session.author.clone(),
            };
            repository.rebase(checkout, &upstream, &options).await?
        }
    };
    let status = match (&ask, picked.conflicts, picked.left) {
        (Ask::Abort, ..) => "aborted",
        (_, 1.., _) => "conflicts",
        (_, 0, 1..) => "planned",
        _ => "done",
    };
    let notices = match picked.conflicts {
        0 => Vec::new(),
        _ => notices(&picked, "epoch_rebase"),
    };
    let row = vec![Some(picked.hash), Some(status.to_owned()), Some(picked.message)];
    Ok(Outcome { rows: vec![row], notices, ..Outcome::default() })
}

/// `epoch.rebase_plan`.
pub(super) async fn plan(session: &Session<'_>) -> Result<Rows> {
    Ok(steps(session.repository.rebase_plan(session.checkout).await?))
}

fn steps(plan: Vec<PlanStep>) -> Rows {
    let row = |s: PlanStep| vec![Some(s.order.to_string()), Some(s.action), Some(s.commit), Some(s.message)];
    plan.into_iter().map(row).collect()
}

/// `epoch_rebase_edit`.
pub(super) async fn edit(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let order = args.count("order")?.ok_or_else(|| args.missing("order"))?;
    let (action, message, to) = (args.text("action"), args.text("message"), args.count("to")?);
    if action.is_none() && message.is_none() && to.is_none() {
        return Err(args.invalid("epoch_rebase_edit needs an action, a message or a place"));
    }
    let (repository, checkout) = (session.repository, session.checkout);
    Ok(steps(repository.rebase_edit(checkout, order, action.as_deref(), message.as_deref(), to).await?))
}

/// `epoch_stash`.
pub(super) async fn stash(session: &Session<'_>, args: &Parsed) -> Result<Outcome> {
    let (repository, checkout) = (session.repository, session.checkout);
    let name = args.text("name");
    let name = name.as_deref();
    let action = args.text("action");
    let ask = ask(args, "epoch_stash", action.is_some())?;
    if let Some(picked) = resumed(session, args, Verb::Stash, &ask).await? {
        let row = vec![None, Some(picked.hash), Some(picked.message)];
        return Ok(Outcome { rows: vec![row], ..Outcome::default() });
    }
    let action = action.ok_or_else(|| args.missing("action"))?;
    if name.is_some() && matches!(action.as_str(), "list" | "clear") {
        return Err(args.invalid(format!("epoch_stash('{action}') takes no name")));
    }
    let rows = match action.as_str() {
        "push" => vec![row(repository.stash_push(checkout, name, &session.author).await?, "pushed")],
        "pop" => {
            let (stash, picked) =
                repository.stash_pop(checkout, name, strategy(session, args)?, &session.author).await?;
            let notices = match picked.conflicts {
                0 => Vec::new(),
                _ => notices(&picked, "epoch_stash"),
            };
            let status = if picked.conflicts > 0 { picked.message.as_str() } else { "popped" };
            return Ok(Outcome { rows: vec![row(stash, status)], notices, ..Outcome::default() });
        }
        "drop" => vec![row(repository.stash_drop(name).await?, "dropped")],
        "clear" => repository.stash_clear().await?.into_iter().map(|s| row(s, "dropped")).collect(),
        "list" => {
            let all = repository.stashes().await?.into_iter();
            all.map(|s| {
                let status = format!("on {}", s.branch);
                row(s, &status)
            })
            .collect()
        }
        other => {
            return Err(Error::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("invalid action \"{other}\" of epoch_stash"),
            )
            .with_hint("Actions are push, pop, drop, list and clear."));
        }
    };
    Ok(Outcome { rows, ..Outcome::default() })
}

fn row(stash: StashInfo, status: &str) -> Vec<Option<String>> {
    vec![Some(stash.name), Some(stash.hash), Some(status.to_owned())]
}

/// `epoch.stashes`.
pub(super) async fn stashes(session: &Session<'_>) -> Result<Rows> {
    let row = |s: StashInfo| vec![Some(s.name), Some(s.hash), Some(s.branch), Some(text::timestamp(s.date))];
    Ok(session.repository.stashes().await?.into_iter().map(row).collect())
}
