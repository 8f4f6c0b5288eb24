//! What garbage collection removes.

use epoch_adapter::{Leftover, LineageId, Result, Value};

use crate::layer::is_wait;
use crate::layout::{LINEAGE, PENDING, SCHEMA, qualified, quote};
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

/// The statements of [`measure`].
pub(crate) fn measure_sql(meta: &Meta, what: &Leftover) -> Vec<String> {
    let one = |(table, which): (&str, String)| {
        let columns = if table == meta.mask { &meta.key } else { &meta.columns };
        let length = |c: &String| format!("coalesce(CAST(DATALENGTH({}) AS bigint), 0)", quote(c));
        let lengths: Vec<_> = columns.iter().map(length).collect();
        format!(
            "SELECT CAST(coalesce(sum(8 + {}), 0) AS bigint) FROM {table} WHERE {which}",
            lengths.join(" + ")
        )
    };
    rows(meta, what).into_iter().map(one).collect()
}

/// See [`epoch_adapter::Adapter::measure`]: the lengths of what is in the rows.
pub(crate) async fn measure(session: &mut Session, meta: &Meta, what: &Leftover) -> Result<u64> {
    let mut bytes = 0;
    for sql in measure_sql(meta, what) {
        let found = session.number(&sql, &[]).await?;
        bytes += u64::try_from(found.unwrap_or(0)).unwrap_or(0);
    }
    Ok(bytes)
}

/// The statements of [`remove`]: how many rows at most is their parameter. In a database with READ_COMMITTED_SNAPSHOT the
/// server passes over locked rows only where it is told to go by locks.
pub(crate) fn remove_sql(meta: &Meta, what: &Leftover) -> Vec<String> {
    let hints = "ROWLOCK, READPAST, READCOMMITTEDLOCK";
    let one = |(table, which)| format!("DELETE TOP (?) FROM {table} WITH ({hints}) WHERE {which}");
    rows(meta, what).into_iter().map(one).collect()
}

/// See [`epoch_adapter::Adapter::remove`]. Rows that somebody has locked are passed over.
pub(crate) async fn remove(
    session: &mut Session,
    meta: &Meta,
    what: &Leftover,
    limit: usize,
) -> Result<usize> {
    let mut removed = 0;
    for sql in remove_sql(meta, what) {
        let left = i64::try_from(limit - removed).unwrap_or(i64::MAX);
        removed += match session.exec(&sql, &[Value::Int(left)]).await {
            Ok(n) => usize::try_from(n).unwrap_or(limit),
            // Somebody has them: the next time.
            Err(e) if is_wait(e.code()) => return Ok(removed),
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
            let sql = format!("DELETE FROM {} WHERE lineage = ?", qualified(SCHEMA, table));
            session.exec(&sql, &[Value::Int(lineage.0)]).await?;
        }
    }
    Ok(())
}
