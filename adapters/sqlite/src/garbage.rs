//! What garbage collection removes.

use epoch_adapter::{Leftover, LineageId, Result};
use rusqlite::Connection;

use crate::error::map;
use crate::layout::{LINEAGE, list, quote};
use crate::meta::{Meta, exists};

/// A table of ours and the rows of it that are removed.
struct Rows {
    table: String,
    /// The columns of its primary key, quoted.
    key: String,
    /// The same of `h`.
    key_of_h: String,
    /// What follows FROM; the rows are called `h`.
    from: String,
}

/// In the order in which they are removed. What is taken from an overlay leaves images, which go last.
fn rows(meta: &Meta, what: &Leftover) -> Vec<Rows> {
    let keys = |alias: &str| list(alias, meta.key.iter().map(String::as_str));
    let of = |table: &String, last: Option<&str>, from: String| {
        let last_of = |alias: &str| last.map_or_else(String::new, |last| format!(", {alias}{last}"));
        Rows {
            table: table.clone(),
            key: format!("{LINEAGE}, {}{}", keys(""), last_of("")),
            key_of_h: format!("h.{LINEAGE}, {}{}", keys("h"), last_of("h.")),
            from,
        }
    };
    match what {
        Leftover::Lineage(lineage) => {
            let all = |table: &String| format!("{table} AS h WHERE h.{LINEAGE} = {}", lineage.0);
            vec![
                of(&meta.overlay, None, all(&meta.overlay)),
                of(&meta.mask, None, all(&meta.mask)),
                of(&meta.history, Some("epoch_from"), all(&meta.history)),
            ]
        }
        Leftover::Holes(_, holes) if holes.is_empty() => Vec::new(),
        Leftover::Holes(lineage, holes) => {
            let values: Vec<_> = holes.iter().map(|(since, until)| format!("({since}, {until})")).collect();
            let from = format!(
                "(VALUES {}) AS x CROSS JOIN {} AS h WHERE h.{LINEAGE} = {} AND h.epoch_to > x.column1 \
                 AND h.epoch_to <= x.column2 AND h.epoch_from >= x.column1",
                values.join(", "),
                meta.history,
                lineage.0
            );
            vec![of(&meta.history, Some("epoch_from"), from)]
        }
    }
}

/// See [`epoch_adapter::Adapter::measure`]: the lengths of what is in the rows.
pub(crate) fn measure(conn: &Connection, meta: &Meta, what: &Leftover) -> Result<u64> {
    let mut bytes = 0;
    for Rows { table, from, .. } in rows(meta, what) {
        let columns = if table == meta.mask { &meta.key } else { &meta.columns };
        let lengths: Vec<_> =
            columns.iter().map(|c| format!("coalesce(length(CAST(h.{} AS BLOB)), 0)", quote(c))).collect();
        let sql = format!("SELECT coalesce(sum(8 + {}), 0) FROM {from}", lengths.join(" + "));
        let sum: i64 = conn.query_row(&sql, [], |r| r.get(0)).map_err(map)?;
        bytes += u64::try_from(sum).unwrap_or(0);
    }
    Ok(bytes)
}

/// See [`epoch_adapter::Adapter::remove`].
pub(crate) fn remove(conn: &Connection, meta: &Meta, what: &Leftover, limit: usize) -> Result<usize> {
    let mut removed = 0;
    for Rows { table, key, key_of_h, from } in rows(meta, what) {
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key_of_h} FROM {from} LIMIT {})",
            limit - removed
        );
        removed += conn.execute(&sql, []).map_err(map)?;
        if removed >= limit {
            break;
        }
    }
    Ok(removed)
}

/// See [`epoch_adapter::Adapter::forget_lineages`].
pub(crate) fn forget(conn: &Connection, lineages: &[LineageId]) -> Result<()> {
    for table in ["epoch_lineage", "epoch_seal"] {
        if !exists(conn, table)? {
            continue;
        }
        let mut delete = conn.prepare(&format!("DELETE FROM {table} WHERE lineage = ?1")).map_err(map)?;
        for lineage in lineages {
            delete.execute([lineage.0]).map_err(map)?;
        }
    }
    Ok(())
}
