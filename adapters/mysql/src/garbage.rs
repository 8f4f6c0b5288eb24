//! What garbage collection removes.

use epoch_adapter::{Leftover, LineageId, Result, Value, sqlstate};

use crate::layout::{LINEAGE, PENDING, quote};
use crate::meta::{Meta, exists};
use crate::pool::Session;

/// Tables of ours and which of their rows are removed, in the order in which they are. What is taken from an overlay
/// leaves images, which go last.
fn rows<'m>(meta: &'m Meta, what: &Leftover) -> Vec<(&'m str, String)> {
    match what {
        Leftover::Lineage(lineage) => [&meta.overlay, &meta.mask, &meta.history]
            .map(|table| (table.as_str(), format!("{LINEAGE} = {}", lineage.0)))
            .into(),
        Leftover::Holes(_, holes) if holes.is_empty() => Vec::new(),
        Leftover::Holes(lineage, holes) => {
            let one = |(since, until): &(i64, i64)| {
                format!("(epoch_to > {since} AND epoch_to <= {until} AND epoch_from >= {since})")
            };
            let holes: Vec<_> = holes.iter().map(one).collect();
            let which =
                format!("{LINEAGE} = {} AND epoch_to < {PENDING} AND ({})", lineage.0, holes.join(" OR "));
            vec![(meta.history.as_str(), which)]
        }
    }
}

/// See [`epoch_adapter::Adapter::measure`]: the lengths of what is in the rows.
pub(crate) async fn measure(session: &mut Session, meta: &Meta, what: &Leftover) -> Result<u64> {
    let mut bytes = 0;
    for (table, which) in rows(meta, what) {
        let columns = if table == meta.mask { &meta.key } else { &meta.columns };
        let lengths: Vec<_> = columns.iter().map(|c| format!("coalesce(length({}), 0)", quote(c))).collect();
        let sql = format!(
            "SELECT CAST(coalesce(sum(8 + {}), 0) AS UNSIGNED) FROM {table} WHERE {which}",
            lengths.join(" + ")
        );
        bytes += session.one::<u64>(&sql, &[]).await?.unwrap_or(0);
    }
    Ok(bytes)
}

/// See [`epoch_adapter::Adapter::remove`].
pub(crate) async fn remove(
    session: &mut Session,
    meta: &Meta,
    what: &Leftover,
    limit: usize,
) -> Result<usize> {
    let mut removed = 0;
    for (table, which) in rows(meta, what) {
        // What is read on the way isn't locked then.
        session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        let sql = format!("DELETE FROM {table} WHERE {which} LIMIT {}", limit - removed);
        removed += match session.exec(&sql, &[]).await {
            Ok(n) => usize::try_from(n).unwrap_or(limit),
            // Somebody has them: the next time.
            Err(e) if matches!(e.code(), sqlstate::LOCK_NOT_AVAILABLE | "40P01") => return Ok(removed),
            Err(e) => return Err(e),
        };
        if removed >= limit {
            break;
        }
    }
    Ok(removed)
}

/// See [`epoch_adapter::Adapter::forget_lineages`].
pub(crate) async fn forget(session: &mut Session, lineages: &[LineageId]) -> Result<()> {
    for table in ["epoch_lineage", "epoch_seal"] {
        if !exists(session, table).await? {
            continue;
        }
        for lineage in lineages.iter().filter(|l| **l != LineageId::MAIN) {
            let sql = format!("DELETE FROM {table} WHERE lineage = ?");
            session.exec(&sql, &[Value::Int(lineage.0)]).await?;
        }
    }
    Ok(())
}
