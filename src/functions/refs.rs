//! Branches, tags and the session's place.

use super::args::Parsed;
use super::{Outcome, Rows, Session, read};
use crate::operations::{BranchInfo, NewBranch, Protection, Target, duration};
use crate::{Error, Result, sqlstate};

/// `epoch_branch`.
pub(super) async fn branch(session: &Session<'_>, args: &Parsed) -> Result<Outcome> {
    let verbs: Vec<&str> =
        ["delete", "delete-force", "move", "copy"].into_iter().filter(|f| args.flag(f)).collect();
    let names: Vec<&str> = args.rest.iter().map(String::as_str).collect();
    let force = args.flag("force");
    let makes = !matches!(verbs.as_slice(), [.., "delete" | "delete-force" | "move"]) && !names.is_empty();
    for flag in ["ttl", "protect"] {
        if args.text(flag).is_some() && !makes {
            return Err(args.invalid(format!("--{flag} of epoch_branch goes with a branch to create")));
        }
    }
    let ttl = args.text("ttl").map(|text| duration(&text)).transpose()?;
    let with = NewBranch {
        force,
        expires: ttl.map(|ttl| chrono::Utc::now() + ttl),
        protection: args.text("protect").map(|text| protection(args, &text)).transpose()?,
    };
    match (verbs.as_slice(), names.as_slice()) {
        ([], []) if !force => Ok(listed(session).await?),
        ([], [name]) => create(session, name, None, with).await,
        ([], [name, start]) => create(session, name, Some(start), with).await,
        (["delete"], [_, ..]) => delete(session, &names, force).await,
        (["delete-force"] | ["delete", "delete-force"], [_, ..]) => delete(session, &names, true).await,
        (["move"], [new]) => rename(session, &session.checkout.name, new, force).await,
        (["move"], [old, new]) => rename(session, old, new, force).await,
        (["copy"], [new]) => create(session, new, Some(&session.checkout.name), with).await,
        (["copy"], [old, new]) => create(session, new, Some(old), with).await,
        (_, []) => Err(args.missing("name")),
        ([_, _, ..], _) => {
            Err(args.invalid(format!("--{} of epoch_branch don't go together", verbs.join(" and --"))))
        }
        _ => Err(args.invalid("too many arguments for epoch_branch")),
    }
}

async fn listed(session: &Session<'_>) -> Result<Outcome> {
    let branches = session.repository.branches().await?;
    let on = session.checkout.is_branch().then_some(session.checkout.name.as_str());
    let row = |b: BranchInfo| {
        let status = if on == Some(b.name.as_str()) { "current" } else { "" };
        vec![Some(b.name), Some(b.hash), Some(status.to_owned())]
    };
    Ok(Outcome { rows: branches.into_iter().map(row).collect(), ..Outcome::default() })
}

/// The protection that a new branch gets, without its name.
fn protection(args: &Parsed, what: &str) -> Result<Protection> {
    let (no_writes, merge_only) = match what {
        "all" | "t" | "true" => (true, true),
        "no-writes" => (true, false),
        "merge-only" => (false, true),
        _ => {
            let message = format!("invalid protection \"{what}\" of epoch_branch");
            return Err(args.invalid(message).with_hint("Protections are all, no-writes and merge-only."));
        }
    };
    Ok(Protection { branches: String::new(), no_writes, merge_only, checks: vec![] })
}

async fn create(session: &Session<'_>, name: &str, start: Option<&str>, with: NewBranch) -> Result<Outcome> {
    let (repository, force) = (session.repository, with.force);
    let made = repository.create_branch_with(session.checkout, name, start, with).await?;
    let moved = force && session.checkout.is_branch() && session.checkout.name == name;
    let checkout = match moved {
        true => Some(session.repository.checkout(name, None).await?),
        false => None,
    };
    Ok(Outcome { rows: vec![row(made, "created")], checkout, ..Outcome::default() })
}

async fn delete(session: &Session<'_>, names: &[&str], force: bool) -> Result<Outcome> {
    let mut rows = Vec::new();
    for name in names {
        if session.checkout.is_branch() && session.checkout.name == *name {
            return Err(Error::new(
                sqlstate::OBJECT_IN_USE,
                format!("cannot delete branch \"{name}\": this session is on it"),
            )
            .with_hint("Check out another branch first."));
        }
        let in_use = (session.branch_in_use)(name);
        let gone = session.repository.delete_branch(session.checkout, name, force, in_use).await?;
        rows.push(row(gone, "deleted"));
    }
    Ok(Outcome { rows, ..Outcome::default() })
}

async fn rename(session: &Session<'_>, old: &str, new: &str, force: bool) -> Result<Outcome> {
    if old == session.checkout.name && !session.checkout.is_branch() {
        return Err(Error::new(
            sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("cannot rename \"{old}\": it is not a branch"),
        ));
    }
    let renamed = session.repository.rename_branch(old, new, force).await?;
    let checkout = match session.checkout.name == old {
        true => Some(session.repository.checkout(new, None).await?),
        false => None,
    };
    Ok(Outcome { rows: vec![row(renamed, "renamed")], checkout, ..Outcome::default() })
}

fn row(branch: BranchInfo, status: &str) -> Vec<Option<String>> {
    vec![Some(branch.name), Some(branch.hash), Some(status.to_owned())]
}

/// `epoch_checkout`.
pub(super) async fn checkout(session: &Session<'_>, args: &Parsed) -> Result<Outcome> {
    let name = args.required("ref")?;
    let start = args.text("start");
    let create = args.flag("b");
    if create {
        session.repository.create_branch(session.checkout, &name, start.as_deref(), false).await?;
    } else if start.is_some() {
        return Err(args.invalid("too many arguments for epoch_checkout without -b"));
    }
    let checkout = session.repository.checkout(&name, Some(session.checkout)).await?;
    let (branch, hash) = match &checkout.target {
        Target::Branch { .. } => {
            (Some(checkout.name.clone()), session.repository.hash_of(&checkout, "HEAD").await?)
        }
        Target::Commit { hash, .. } => (None, hash.clone()),
    };
    let status = match (create, &branch) {
        (true, _) => format!("switched to a new branch '{name}'"),
        (false, Some(branch)) => format!("switched to branch '{branch}'"),
        (false, None) => format!("read-only at '{name}'"),
    };
    let rows = vec![vec![branch, Some(hash), Some(status)]];
    Ok(Outcome { rows, checkout: Some(checkout), ..Outcome::default() })
}

/// `epoch_tag`.
pub(super) async fn tag(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let message = args.text("message");
    let Some(name) = args.text("name") else {
        if args.flag("delete") || message.is_some() {
            return Err(args.missing("name"));
        }
        let tags = read::tags(session).await?;
        return Ok(tags.into_iter().map(|tag| tag.into_iter().take(2).collect()).collect());
    };
    let tag = if args.flag("delete") {
        session.repository.delete_tag(&name).await?
    } else {
        let spec = args.text("ref");
        session.repository.tag(session.checkout, &name, spec.as_deref(), message.as_deref()).await?
    };
    Ok(vec![vec![Some(tag.name), Some(tag.hash)]])
}
