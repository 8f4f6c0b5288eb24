//! Rights, protections, hooks and the audit.

use super::SqlType::{self, Int8, Text, TimestampTz};
use super::args::Parsed;
use super::{Rows, Session, text};
use crate::operations::{Audited, HookRun, Protection, StoredGrant};
use crate::{Error, Result, sqlstate};

/// The columns of `epoch.grants`.
pub(super) const GRANTS: &[(&str, SqlType)] = &[
    ("grantee", Text),
    ("privilege", Text),
    ("branches", Text),
    ("tables", Text),
    ("grantor", Text),
    ("date", TimestampTz),
];

/// The columns of `epoch.audit`.
pub(super) const AUDIT: &[(&str, SqlType)] = &[
    ("audit_id", Text),
    ("date", TimestampTz),
    ("user_name", Text),
    ("client", Text),
    ("operation", Text),
    ("arguments", Text),
    ("branch", Text),
    ("result", Text),
    ("message", Text),
];

/// The columns of `epoch.hook_runs`.
pub(super) const RUNS: &[(&str, SqlType)] = &[
    ("date", TimestampTz),
    ("hook", Text),
    ("event", Text),
    ("branch", Text),
    ("user_name", Text),
    ("delivery", Text),
    ("attempt", Int8),
    ("result", Text),
    ("message", Text),
    ("milliseconds", Int8),
];

fn status(status: String) -> Rows {
    vec![vec![Some(status)]]
}

/// The tables that a right is about; all if none are named.
fn tables(args: &Parsed) -> Vec<String> {
    let tables = args.list("tables");
    if tables.is_empty() { vec!["*".to_owned()] } else { tables }
}

/// `epoch_grant`.
pub(super) async fn grant(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let role = args.required("role")?;
    if let Some(member) = args.text("to") {
        only_members(args)?;
        session.repository.set_member(&role, &member, true).await?;
        return Ok(status(format!("\"{member}\" is a member of \"{role}\"")));
    }
    let right = args.required("right")?;
    let pattern = args.text("pattern").unwrap_or_else(|| "*".to_owned());
    session.repository.grant(&role, right.parse()?, &pattern, &tables(args)).await?;
    Ok(status(format!("\"{role}\" may {} on \"{pattern}\"", verb(&right))))
}

/// `epoch_revoke`.
pub(super) async fn revoke(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let role = args.required("role")?;
    if let Some(member) = args.text("from") {
        only_members(args)?;
        session.repository.set_member(&role, &member, false).await?;
        return Ok(status(format!("\"{member}\" is no member of \"{role}\" any more")));
    }
    let right = args.required("right")?;
    let wanted = if right == "all" { None } else { Some(right.parse()?) };
    let pattern = args.text("pattern").unwrap_or_else(|| "*".to_owned());
    session.repository.revoke(&role, wanted, &pattern, &tables(args)).await?;
    Ok(status(format!("{right} on \"{pattern}\" revoked from \"{role}\"")))
}

fn only_members(args: &Parsed) -> Result<()> {
    if args.text("right").is_some() || args.text("pattern").is_some() || !args.list("tables").is_empty() {
        return Err(args.invalid("membership of a role goes without a right, pattern or tables"));
    }
    Ok(())
}

fn verb(right: &str) -> &str {
    if right == "admin" { "administer" } else { right }
}

/// `epoch_protect`.
pub(super) async fn protect(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let branches = args.required("pattern")?;
    let checks: Vec<String> = args.text("check").into_iter().collect();
    let (no_writes, merge_only) = (args.flag("no-writes"), args.flag("merge-only"));
    if args.flag("delete") {
        if no_writes || merge_only || !checks.is_empty() {
            return Err(args.invalid("--delete of epoch_protect goes alone"));
        }
        session.repository.unprotect(&branches).await?;
        return Ok(status(format!("\"{branches}\" is not protected any more")));
    }
    if checks.iter().any(|check| check.trim().is_empty()) {
        return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, "a check of epoch_protect is empty"));
    }
    // Without a word everything is meant.
    let all = !no_writes && !merge_only && checks.is_empty();
    let protection =
        Protection { branches, no_writes: no_writes || all, merge_only: merge_only || all, checks };
    session.repository.protect(&protection).await?;
    Ok(status(format!("\"{}\" is protected", protection.branches)))
}

/// `epoch.grants`.
pub(super) async fn grants(session: &Session<'_>) -> Result<Rows> {
    let row = |g: StoredGrant| {
        vec![
            Some(g.grantee),
            Some(g.privilege),
            Some(g.branches),
            Some(g.tables),
            Some(g.grantor),
            Some(text::timestamp(crate::metadata::date(g.created))),
        ]
    };
    Ok(session.repository.grants().await?.into_iter().map(row).collect())
}

/// `epoch.members`.
pub(super) async fn members(session: &Session<'_>) -> Result<Rows> {
    let row = |(role, member)| vec![Some(role), Some(member)];
    Ok(session.repository.members().await?.into_iter().map(row).collect())
}

/// `epoch.protections`.
pub(super) async fn protections(session: &Session<'_>) -> Result<Rows> {
    let row = |p: Protection| {
        vec![
            Some(p.branches),
            Some(text::boolean(p.no_writes)),
            Some(text::boolean(p.merge_only)),
            Some(text::array(&p.checks)),
        ]
    };
    Ok(session.repository.protections().await?.into_iter().map(row).collect())
}

/// `epoch.audit`.
pub(super) async fn audit(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let row = |a: Audited| {
        vec![
            Some(a.note.id),
            Some(text::timestamp(a.note.date)),
            Some(a.note.user),
            Some(a.note.client),
            Some(a.note.operation),
            Some(a.note.arguments),
            a.note.branch,
            Some(a.result),
            a.message,
        ]
    };
    Ok(session.repository.audit(args.count("limit")?).await?.into_iter().map(row).collect())
}

/// `epoch.hook_runs`.
pub(super) async fn hook_runs(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let row = |run: HookRun| {
        vec![
            Some(text::timestamp(run.date)),
            Some(run.hook),
            Some(run.event),
            Some(run.branch),
            Some(run.user),
            Some(run.delivery),
            Some(run.attempt.to_string()),
            Some(run.result),
            run.message,
            Some(run.millis.to_string()),
        ]
    };
    Ok(session.repository.hook_runs(args.count("limit")?).await?.into_iter().map(row).collect())
}
