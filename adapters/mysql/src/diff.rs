//! Runs the statement of [`epoch_layers::diff`].

use epoch_adapter::{LineageId, Ordinal, Result, Row, RowChange, Segment, TableStats, Value, View, Wanted};
use epoch_layers::diff::{Cells, Difference, Plan};
use epoch_layers::view::Filter;
use mysql_async::prelude::Queryable;

use crate::error::map;
use crate::layout::{LINEAGE, PENDING};
use crate::meta::Meta;
use crate::pool::Session;
use crate::scan::Sink;
use crate::types::{Kind, bind_all, read};
use crate::view::keys;

/// Changes that are sent at once.
const CHUNK: usize = 512;

struct Found(mysql_async::Row);

impl Cells for Found {
    type Error = std::convert::Infallible;

    fn truth(&self, at: usize) -> Result<bool, Self::Error> {
        Ok(matches!(self.0.as_ref(at), Some(mysql_async::Value::Int(v)) if *v != 0)
            || matches!(self.0.as_ref(at), Some(mysql_async::Value::UInt(v)) if *v != 0))
    }

    fn same(&self, a: usize, b: usize) -> Result<bool, Self::Error> {
        Ok(self.0.as_ref(a) == self.0.as_ref(b))
    }
}

impl Found {
    fn cells(&self, kinds: &[Kind], from: Option<usize>) -> Result<Option<Row>> {
        let Some(from) = from else { return Ok(None) };
        let cell = |(i, kind): (usize, &Kind)| {
            read(*kind, self.0.as_ref(from + i).cloned().unwrap_or(mysql_async::Value::NULL))
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
    let (id, pool) = (session.id(), std::sync::Arc::clone(&session.pool));
    let mut result =
        session.conn()?.exec_iter(plan.sql.as_str(), bind_all(&plan.params)).await.map_err(map)?;
    let mut chunk = Vec::new();
    let mut left = plan.limit.unwrap_or(usize::MAX);
    while let Some(row) = result.next().await.map_err(map)? {
        let found = Found(row);
        let Some(difference) = compared(plan, &found) else { continue };
        if left == 0 {
            pool.kill(id).await;
            break;
        }
        left -= 1;
        let before = found.cells(&meta.kinds, difference.before)?;
        let after = found.cells(&meta.kinds, difference.after)?;
        let key = after.as_ref().or(before.as_ref()).map(|r| meta.def.schema.key_of(r)).unwrap_or_default();
        chunk.push(RowChange { key, before, after });
        if chunk.len() == CHUNK && sink.send(Ok(std::mem::take(&mut chunk))).await.is_err() {
            pool.kill(id).await;
            let _ = result.drop_result().await;
            return Ok(());
        }
    }
    match result.drop_result().await {
        // What was killed ends with an error.
        Err(_) if left == 0 => {}
        ended => ended.map_err(map)?,
    }
    if !chunk.is_empty() {
        // A reader that has gone doesn't want it.
        let _ = sink.send(Ok(chunk)).await;
    }
    Ok(())
}

/// Counts what [`run`] would send.
pub(crate) async fn stat(session: &mut Session, plan: &Plan) -> Result<TableStats> {
    let mut stats = TableStats::default();
    let mut result =
        session.conn()?.exec_iter(plan.sql.as_str(), bind_all(&plan.params)).await.map_err(map)?;
    while let Some(row) = result.next().await.map_err(map)? {
        match compared(plan, &Found(row)) {
            Some(Difference { before: Some(_), after: Some(_), cells }) => {
                stats.modified += 1;
                stats.cells += cells;
            }
            Some(Difference { before: None, .. }) => stats.added += 1,
            Some(_) => stats.removed += 1,
            None => {}
        }
    }
    result.drop_result().await.map_err(map)?;
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
        for row in session.rows(&sql, &params).await? {
            if let Ok((ordinal,)) = mysql_async::from_row_opt::<(i64,)>(row) {
                found.push((*lineage, ordinal));
            }
        }
    }
    Ok(found)
}
