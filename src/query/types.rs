//! Types that branches made, in statements: their names are where the server has them.

use std::ops::Range;
use std::sync::Arc;

use epoch_adapter::{Piece, TableDef};

use super::names::TypeMeaning;
use super::parse::{Statement, TypeRef};
use super::plan::{Context, Plan, Rewritten};
use super::text::Edits;
use super::{check, names};
use crate::{Error, Result, sqlstate};

/// What stands in the place of names of types: where, what, and how long the names are.
pub(super) fn spelled(
    ctx: &Context<'_>,
    sql: &str,
    statement: &Statement,
) -> Result<Vec<(Range<usize>, Piece)>> {
    let mut found: Vec<(Range<usize>, Piece)> = Vec::new();
    // Main's are the server's.
    if ctx.checkout.is_main() {
        return Ok(found);
    }
    for name in &statement.type_refs {
        let Some(table) = named(ctx, sql, name)? else { continue };
        if found.iter().any(|(range, _)| *range == name.range) {
            continue;
        }
        if name.range.is_empty() {
            return Err(Error::unsupported(format!(
                "type \"{}\", which was made on a branch, in this place",
                name.name
            )));
        }
        let text = table.enumeration.as_deref().map_or("", |def| def.spelled()).to_owned();
        let width = sql.get(name.range.clone()).unwrap_or_default().chars().count();
        found.push((name.range.clone(), Piece::Type(text, width)));
    }
    Ok(found)
}

/// A type that branches made, if a name means one; 42704 if it means one that isn't there.
fn named(ctx: &Context<'_>, sql: &str, name: &TypeRef) -> Result<Option<Arc<TableDef>>> {
    match ctx.names.type_of(name) {
        TypeMeaning::Own(table) => Ok(Some(table)),
        TypeMeaning::Server => Ok(None),
        TypeMeaning::Gone => {
            let before = sql.get(..name.range.start).unwrap_or_default().chars().count();
            let error = missing(name);
            Err(if name.range.is_empty() { error } else { error.with_position(before + 1) })
        }
    }
}

/// As PostgreSQL says it.
pub(super) fn missing(name: &TypeRef) -> Error {
    let shown = name.schema.as_deref().map_or_else(|| name.name.clone(), |s| format!("{s}.{}", name.name));
    Error::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{shown}\" does not exist"))
}

/// Whether a statement names a type that branches made, or one that isn't there.
pub(super) fn any(ctx: &Context<'_>, statement: &Statement) -> bool {
    let other = |name: &TypeRef| ctx.names.type_of(name) != TypeMeaning::Server;
    !ctx.checkout.is_main() && statement.type_refs.iter().any(other)
}

/// The names of types as the server has them.
pub(super) fn edits(ctx: &Context<'_>, sql: &str, statement: &Statement) -> Result<Edits> {
    let mut edits = Edits::default();
    for (range, piece) in spelled(ctx, sql, statement)? {
        if let Piece::Type(text, _) = piece {
            edits.replace(range, text);
        }
    }
    Ok(edits)
}

/// A statement that is the server's but for the names of types.
pub(super) fn relayed(ctx: &Context<'_>, sql: &str, statement: &Statement) -> Result<Plan> {
    let range = statement.range.clone();
    let edits = edits(ctx, sql, statement)?;
    if edits.is_empty() {
        return Ok(Plan::Relay { range });
    }
    let (text, kept) = edits.render(sql, &range);
    let command = check::command(statement);
    Ok(Plan::Rewritten(Arc::new(Rewritten { range, sql: text, command, kept, ..Rewritten::default() })))
}

/// Whether a ref has other types than the server's catalogs say.
pub(super) fn differ(ctx: &Context<'_>) -> bool {
    !ctx.checkout.is_main() && names::types_differ(&ctx.repository.tables(ctx.checkout), ctx.backend)
}
