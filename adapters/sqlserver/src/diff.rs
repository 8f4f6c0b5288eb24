//! Runs the statement of [`epoch_layers::diff`].

use epoch_adapter::{LineageId, Ordinal, Result, Row, RowChange, Segment, TableStats, Value, View, Wanted};
use epoch_layers::diff::{Difference, Plan};
use epoch_layers::view::Filter;
use futures::TryStreamExt;

use crate::error::map;
use crate::layout::{LINEAGE, PENDING};
use crate::meta::Meta;
use crate::parameters::numbered;
use crate::pool::{Cells, Session, bound, flag, number, refs};
use crate::scan::{Sink, each_row};
use crate::types::{Kind, read};
use crate::view::keys;

/// Changes that are sent at once.
const CHUNK: usize = 512;

struct Found(Cells);

impl epoch_layers::diff::Cells for Found {
    type Error = std::convert::Infallible;

    fn truth(&self, at: usize) -> Result<bool, Self::Error> {
        Ok(flag(&self.0, at))
    }

    fn same(&self, a: usize, b: usize) -> Result<bool, Self::Error> {
        Ok(self.0.get(a) == self.0.get(b))
    }
}

impl Found {
    fn cells(&self, kinds: &[Kind], from: Option<usize>) -> Result<Option<Row>> {
        let Some(from) = from else { return Ok(None) };
        let cell = |(i, kind): (usize, &Kind)| {
            read(*kind, self.0.get(from + i).cloned().unwrap_or(tiberius::ColumnData::Bit(None)))
        };
        kinds.iter().enumerate().map(cell).collect::<Result<Row>>().map(Some)
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

fn compared(plan: &Plan, found: &Found) -> Option<Difference> {
    plan.compare(found).unwrap_or_else(|never| match never {})
}

/// Sends the differing rows in chunks, until the reader has gone.
pub(crate) async fn run(
    session: &mut Session,
    meta: &Meta,
    plan: &Plan,
    sink: &Sink<Vec<RowChange>>,
) -> Result<()> {
    let (sql, _) = numbered(&plan.sql);
    let bound = bound(&plan.params);
    let refs = refs(&bound);
    session.begin();
    let mut rows = session.conn()?.query(sql, &refs).await.map_err(map)?.into_row_stream();
    let (mut chunk, mut ended) = (Vec::new(), Ok(true));
    let mut left = plan.limit.unwrap_or(usize::MAX);
    while let Some(row) = rows.try_next().await.map_err(map)? {
        let found = Found(row.into_iter().collect());
        let Some(difference) = compared(plan, &found) else { continue };
        if left == 0 {
            ended = Ok(false);
            break;
        }
        left -= 1;
        match change(meta, &found, difference) {
            Ok(change) => chunk.push(change),
            Err(e) => {
                ended = Err(e);
                break;
            }
        }
        if chunk.len() == CHUNK && sink.send(Ok(std::mem::take(&mut chunk))).await.is_err() {
            ended = Ok(false);
            break;
        }
    }
    drop(rows);
    if !matches!(ended, Ok(true)) {
        session.cancel().await?;
    }
    session.end();
    ended?;
    if !chunk.is_empty() {
        // A reader that has gone doesn't want it.
        let _ = sink.send(Ok(chunk)).await;
    }
    Ok(())
}

fn change(meta: &Meta, found: &Found, difference: Difference) -> Result<RowChange> {
    let before = found.cells(&meta.kinds, difference.before)?;
    let after = found.cells(&meta.kinds, difference.after)?;
    let key = after.as_ref().or(before.as_ref()).map(|r| meta.def.schema.key_of(r)).unwrap_or_default();
    Ok(RowChange { key, before, after })
}

/// Counts what [`run`] would send.
pub(crate) async fn stat(session: &mut Session, plan: &Plan) -> Result<TableStats> {
    let mut stats = TableStats::default();
    each_row(session, &plan.sql, &plan.params, |row| {
        match compared(plan, &Found(row)) {
            Some(Difference { before: Some(_), after: Some(_), cells }) => {
                stats.modified += 1;
                stats.cells += cells;
            }
            Some(Difference { before: None, .. }) => stats.added += 1,
            Some(_) => stats.removed += 1,
            None => {}
        }
        Ok(())
    })
    .await?;
    Ok(stats)
}

/// The lineages and ordinals at which wanted keys were changed.
pub(crate) async fn changes_of_keys(
    session: &mut Session,
    meta: &Meta,
    wanted: &Wanted,
    lineages: &[LineageId],
) -> Result<Vec<(LineageId, Ordinal)>> {
    let filter = Filter::wanted(meta, keys(&meta.def, &wanted.keys)?, wanted);
    let sql = format!(
        "SELECT DISTINCT x.epoch_to FROM {} AS x WHERE x.{LINEAGE} = ?{} AND x.epoch_to < {PENDING} ORDER BY x.epoch_to",
        meta.history,
        filter.and()
    );
    let mut found = Vec::new();
    for lineage in lineages {
        let params: Vec<_> =
            std::iter::once(Value::Int(lineage.0)).chain(filter.params.iter().cloned()).collect();
        let rows = session.rows(&sql, &params).await?;
        found.extend(rows.iter().filter_map(|row| number(row, 0)).map(|ordinal| (*lineage, ordinal)));
    }
    Ok(found)
}
