//! Whether a statement's result has the same columns for as long as the branch's tables have theirs. Who sends a plain
//! text isn't told that a plan of ours is too old, so such a text is kept prepared only then (decision 9).

use super::names::Meaning;
use super::parse::Statement;
use super::plan::Context;
use super::relations;

/// Of a table that isn't versioned, main's ALTER TABLE takes the columns away under a kept statement. (A view's stay while it is
/// there.)
pub(super) fn result(ctx: &Context<'_>, statement: &Statement) -> bool {
    let moves = |meaning: Meaning| matches!(meaning, Meaning::Other { kind: 'r' | 'p' | 'f', .. });
    !statement.tables.iter().any(|t| relations::find(t).is_none() && moves(ctx.names.table(t)))
}
