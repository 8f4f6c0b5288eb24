//! Runs the statement of [`epoch_layers::diff`].

use epoch_adapter::{LineageId, Ordinal, Result, Row, RowChange, TableStats, Value};
use epoch_layers::diff::{Cells, Difference, Plan};
use rusqlite::Connection;

use crate::error::map;
use crate::layout::LINEAGE;
use crate::meta::Meta;
use crate::view::{bind, value};

struct Found<'a>(&'a rusqlite::Row<'a>);

impl Cells for Found<'_> {
    type Error = rusqlite::Error;

    fn truth(&self, at: usize) -> rusqlite::Result<bool> {
        self.0.get(at)
    }

    fn same(&self, a: usize, b: usize) -> rusqlite::Result<bool> {
        Ok(self.0.get_ref(a)? == self.0.get_ref(b)?)
    }
}

/// Calls `visit` with each row of the result whose sides differ, until it says no.
fn each(
    conn: &Connection,
    plan: &Plan,
    mut visit: impl FnMut(&rusqlite::Row<'_>, Difference) -> Result<bool>,
) -> Result<()> {
    let mut stmt = conn.prepare_cached(&plan.sql).map_err(map)?;
    let mut rows = stmt.query(bind(&plan.params)).map_err(map)?;
    while let Some(row) = rows.next().map_err(map)? {
        if let Some(difference) = plan.compare(&Found(row)).map_err(map)?
            && !visit(row, difference)?
        {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends the differing rows in chunks, until the reader has gone.
pub(crate) fn run(
    conn: &Connection,
    meta: &Meta,
    plan: &Plan,
    mut send: impl FnMut(Vec<RowChange>) -> bool,
) -> Result<()> {
    const CHUNK: usize = 512;
    let mut chunk = Vec::new();
    let mut open = true;
    each(conn, plan, |row, difference| {
        let cells = |at: Option<usize>| -> Result<Option<Row>> {
            let Some(at) = at else { return Ok(None) };
            (at..at + plan.width)
                .map(|i| value(row.get_ref(i).map_err(map)?))
                .collect::<Result<Row>>()
                .map(Some)
        };
        let (before, after) = (cells(difference.before)?, cells(difference.after)?);
        let key = after.as_ref().or(before.as_ref()).map(|r| meta.def.schema.key_of(r)).unwrap_or_default();
        chunk.push(RowChange { key, before, after });
        if chunk.len() == CHUNK {
            open = send(std::mem::take(&mut chunk));
        }
        Ok(open)
    })?;
    if open && !chunk.is_empty() {
        send(chunk);
    }
    Ok(())
}

/// The lineages and ordinals at which a key was changed.
pub(crate) fn changes_of_key(
    conn: &Connection,
    meta: &Meta,
    key: &Row,
    lineages: &[LineageId],
) -> Result<Vec<(LineageId, Ordinal)>> {
    let sql = format!(
        "SELECT epoch_to FROM {} WHERE {LINEAGE} = ? AND {} AND epoch_to < {}",
        meta.history,
        meta.is_key(""),
        i64::MAX
    );
    let mut stmt = conn.prepare_cached(&sql).map_err(map)?;
    let mut found = Vec::new();
    for lineage in lineages {
        let params: Vec<_> = std::iter::once(Value::Int(lineage.0)).chain(key.iter().cloned()).collect();
        let ordinals = stmt.query_map(bind(&params), |row| row.get(0)).map_err(map)?;
        for ordinal in ordinals {
            found.push((*lineage, ordinal.map_err(map)?));
        }
    }
    Ok(found)
}

/// Counts what [`run`] would send.
pub(crate) fn stat(conn: &Connection, plan: &Plan) -> Result<TableStats> {
    let mut stats = TableStats::default();
    each(conn, plan, |_, Difference { before, after, cells }| {
        match (before, after) {
            (Some(_), Some(_)) => {
                stats.modified += 1;
                stats.cells += cells;
            }
            (None, _) => stats.added += 1,
            (_, None) => stats.removed += 1,
        }
        Ok(true)
    })?;
    Ok(stats)
}
