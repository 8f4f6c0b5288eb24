//! Runs the statement of [`epoch_layers::diff`].

use epoch_adapter::{LineageId, Ordinal, Result, Row, RowChange, Segment, TableStats, Value, View, Wanted};
use epoch_layers::diff::{Cells, Difference, Plan};
use epoch_layers::view::Filter;
use rusqlite::Connection;

use crate::error::map;
use crate::layout::LINEAGE;
use crate::meta::Meta;
use crate::view::{bind, keys, value};

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

/// The statement, with what is wanted of it.
pub(crate) fn plan(
    meta: &Meta,
    sides: (&View, &View),
    segments: &[Segment],
    wanted: &Wanted,
) -> Result<Plan> {
    Ok(Plan::new(meta, sides, segments, keys(&meta.def, &wanted.keys)?, wanted))
}

/// Calls `visit` with each row of the result whose sides differ, until it says no.
fn each(
    conn: &Connection,
    plan: &Plan,
    mut visit: impl FnMut(&rusqlite::Row<'_>, Difference) -> Result<bool>,
) -> Result<()> {
    let mut stmt = conn.prepare_cached(&plan.sql).map_err(map)?;
    let mut rows = stmt.query(bind(&plan.params)).map_err(map)?;
    let mut left = plan.limit.unwrap_or(usize::MAX);
    while left > 0
        && let Some(row) = rows.next().map_err(map)?
    {
        if let Some(difference) = plan.compare(&Found(row)).map_err(map)? {
            left -= 1;
            if !visit(row, difference)? {
                return Ok(());
            }
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

/// The lineages and ordinals at which wanted keys were changed.
pub(crate) fn changes_of_keys(
    conn: &Connection,
    meta: &Meta,
    wanted: &Wanted,
    lineages: &[LineageId],
) -> Result<Vec<(LineageId, Ordinal)>> {
    let filter = Filter::wanted(meta, keys(&meta.def, &wanted.keys)?, wanted);
    let sql = format!(
        "SELECT DISTINCT x.epoch_to FROM {} AS x WHERE x.{LINEAGE} = ?{} AND +x.epoch_to < {}",
        meta.history,
        filter.and(),
        i64::MAX
    );
    let mut stmt = conn.prepare_cached(&sql).map_err(map)?;
    let mut found = Vec::new();
    for lineage in lineages {
        let params: Vec<_> =
            std::iter::once(Value::Int(lineage.0)).chain(filter.params.iter().cloned()).collect();
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
