//! Scalars, help and explain.

use super::args::Parsed;
use super::{Rows, Session, catalog, text};
use crate::{Error, Result, sqlstate};

fn scalar(value: Option<String>) -> Rows {
    vec![vec![value]]
}

/// `epoch_merge_base(a, b)`; NULL if there is none.
pub(super) async fn merge_base(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let (a, b) = (args.required("a")?, args.required("b")?);
    Ok(scalar(session.repository.merge_base(session.checkout, &a, &b).await?))
}

/// `epoch_has_ancestor(ref, ancestor)`.
pub(super) async fn has_ancestor(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let (a, b) = (args.required("ref")?, args.required("ancestor")?);
    let answer = session.repository.has_ancestor(session.checkout, &a, &b).await?;
    Ok(scalar(Some(text::boolean(answer))))
}

/// `epoch_count_commits(from, to)`.
pub(super) async fn count_commits(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let (from, to) = (args.required("from")?, args.required("to")?);
    let count = session.repository.count_commits(session.checkout, &from, &to).await?;
    Ok(scalar(Some(count.to_string())))
}

/// `epoch_hashof(ref)`.
pub(super) async fn hash_of(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let hash = session.repository.hash_of(session.checkout, &args.required("ref")?).await?;
    Ok(scalar(Some(hash)))
}

/// `epoch_active_branch()`.
pub(super) fn active_branch(session: &Session<'_>) -> Result<Rows> {
    Ok(scalar(session.checkout.is_branch().then(|| session.checkout.name.clone())))
}

/// `epoch_version()`.
pub(super) fn version() -> Result<Rows> {
    Ok(scalar(Some(format!("Horizon Epoch {}", env!("CARGO_PKG_VERSION")))))
}

/// `epoch_explain(sql)`.
pub(super) async fn explain(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let sql = args.required("sql")?;
    let planner = session.explain.ok_or_else(|| {
        Error::unsupported("epoch_explain outside a server session")
            .with_hint("Connect with psql to a running server.")
    })?;
    let parts = planner.explain(&sql).await?;
    Ok(parts.into_iter().map(|part| vec![Some(part.route), part.backend, Some(part.sql)]).collect())
}

/// `epoch_help([function])`: all functions, or one with its arguments as further rows.
pub(super) fn help(args: &Parsed) -> Result<Rows> {
    let Some(name) = args.text("function") else {
        return Ok(catalog::catalog().iter().map(overview).collect());
    };
    let found = catalog::find(&name).or_else(|| catalog::find(&format!("epoch_{name}")));
    let function = found.ok_or_else(|| {
        Error::new(sqlstate::UNDEFINED_FUNCTION, format!("function {name} does not exist"))
            .with_hint("SELECT * FROM epoch_help() lists all functions.")
    })?;
    let row = |kind: &str, usage: &str, help: &str| {
        vec![Some(function.name), Some(kind), Some(usage), Some(help)]
            .into_iter()
            .map(|cell| cell.map(str::to_owned))
            .collect()
    };
    let mut rows = vec![overview(function)];
    rows.extend(function.parameters.iter().map(|p| row("argument", p.name, p.help)));
    rows.extend(function.flags.iter().map(|f| row("flag", &f.spelling(), f.help)));
    Ok(rows)
}

fn overview(function: &catalog::Function) -> Vec<Option<String>> {
    let summary = match function.relation {
        Some(relation) => format!("{}; also epoch.{relation}", function.summary),
        None => function.summary.to_owned(),
    };
    vec![
        Some(function.name.to_owned()),
        Some(function.kind.as_str().to_owned()),
        Some(function.usage.to_owned()),
        Some(summary),
    ]
}
