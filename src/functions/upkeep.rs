//! Keeping the repository small and sound.

use super::args::Parsed;
use super::catalog::{MUTATING, switch};
use super::{Function, Rows, Session, SqlType};
use crate::Result;
use crate::operations::{Collected, GcOptions};

pub(super) const GC: Function = Function {
    name: "epoch_gc",
    summary: "Remove what no branch, tag, stash or deleted branch that can be brought back needs",
    usage: "epoch_gc(['--dry-run'])",
    flags: &[switch(None, "dry-run", "Say only what would be removed")],
    columns: &[("object", SqlType::Text), ("bytes", SqlType::Int8), ("status", SqlType::Text)],
    ..MUTATING
};

/// `epoch_gc`.
pub(super) async fn gc(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let options = GcOptions { dry_run: args.flag("dry-run"), ..GcOptions::default() };
    let row = |c: Collected| vec![Some(c.object), Some(c.bytes.to_string()), Some(c.status)];
    Ok(session.repository.gc(&options).await?.into_iter().map(row).collect())
}
