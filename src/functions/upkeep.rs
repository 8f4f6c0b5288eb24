//! Keeping the repository small and sound.

use super::args::Parsed;
use super::catalog::{BLANK, MUTATING, may, switch};
use super::{Function, Rows, Session, SqlType, diff, text};
use crate::Result;
use crate::operations::{Collected, GcOptions, SchemaDiff, Unsound};

pub(super) const GC: Function = Function {
    name: "epoch_gc",
    summary: "Remove what no branch, tag, stash or deleted branch that can be brought back needs",
    usage: "epoch_gc(['--dry-run'])",
    flags: &[switch(None, "dry-run", "Say only what would be removed")],
    columns: &[("object", SqlType::Text), ("bytes", SqlType::Int8), ("status", SqlType::Text)],
    ..MUTATING
};

pub(super) const VERIFY: Function = Function {
    name: "epoch_verify_constraints",
    summary: "How many rows of the session's ref don't keep to NOT NULL, CHECK, unique and foreign key constraints",
    usage: "epoch_verify_constraints([table…])",
    variadic: true,
    columns: &[("violations", SqlType::Int8)],
    ..BLANK
};

pub(super) const VIOLATIONS: Function = Function {
    name: "epoch_constraint_violations",
    summary: "The rows that epoch_verify_constraints() counts, and what kept the last merge from being made",
    usage: "epoch_constraint_violations([table…])",
    variadic: true,
    columns: &[
        ("table_name", SqlType::Text),
        ("kind", SqlType::Text),
        ("constraint_name", SqlType::Text),
        ("key", SqlType::Jsonb),
        ("detail", SqlType::Text),
    ],
    relation: Some("constraint_violations"),
    ..BLANK
};

pub(super) const SCHEMA_DIFF: Function = Function {
    name: "epoch_schema_diff",
    summary: "Tables and views that two refs define in different ways, and the statements between them",
    usage: "epoch_schema_diff(from, to [, table]), epoch_schema_diff('a..b' [, table])",
    parameters: &[
        may("from", "Ref, a..b, or a...b (since the merge base); HEAD if not given"),
        may("to", "Ref; WORKING if not given"),
        may("table", "Only this table or view"),
    ],
    columns: &[
        ("table_name", SqlType::Text),
        ("from_create_statement", SqlType::Text),
        ("to_create_statement", SqlType::Text),
        ("alter_statements", SqlType::TextArray),
    ],
    ..BLANK
};

/// `epoch_verify_constraints`.
pub(super) async fn verify(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let count = session.repository.verify_constraints(session.checkout, &args.rest).await?;
    Ok(vec![vec![Some(count.to_string())]])
}

/// `epoch.constraint_violations`.
pub(super) async fn violations(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let row = |u: Unsound| {
        let key = u.row.map(|(table, key)| text::key_json(&table.schema, &key));
        vec![Some(u.table_name), Some(u.kind), Some(u.constraint), key, Some(u.detail)]
    };
    let found = session.repository.violations(session.checkout, &args.rest).await?;
    Ok(found.into_iter().map(row).collect())
}

/// `epoch_schema_diff`.
pub(super) async fn schema_diff(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let range = diff::range(session, args).await?;
    let table = diff::table_of(args);
    let (repository, checkout) = (session.repository, session.checkout);
    let found = repository.schema_diff(checkout, &range.from, &range.to, table.as_deref()).await?;
    let row = |d: SchemaDiff| {
        vec![Some(d.table.to_string()), d.from, d.to, d.statements.map(|statements| text::array(&statements))]
    };
    Ok(found.into_iter().map(row).collect())
}

/// `epoch_gc`.
pub(super) async fn gc(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let options = GcOptions { dry_run: args.flag("dry-run"), ..GcOptions::default() };
    let row = |c: Collected| vec![Some(c.object), Some(c.bytes.to_string()), Some(c.status)];
    Ok(session.repository.gc(&options).await?.into_iter().map(row).collect())
}
