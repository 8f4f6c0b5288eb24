//! Publishing: changes are applied, then pending work moves into an ordinal.

use std::sync::Arc;

use epoch_adapter::{
    Arrival, Error, Layer, Ordinal, Result, SealMode, Sealed, TableChanges, TableDef, TableStats, sqlstate,
};
use futures::try_join;

use crate::error::pg;
use crate::layout::{PENDING, history};
use crate::pending::{self, current, seen};
use crate::text::{columns, fill, join, key, same_key};
use crate::tx::Tx;
use crate::{apply, draft, drift, enums, exact, homecoming, of_main, revise, versions, views, writers};

const SEAL_SQL: &str = include_str!("../../../sql/postgres/seal.sql");

/// What became of a seal.
pub(crate) enum Outcome {
    Sealed(Sealed),
    /// Nothing was done: these tables have partitions whose rows aren't noted yet.
    Unadopted(Vec<Arc<TableDef>>),
}

/// See [`epoch_adapter::Adapter::seal`].
pub(crate) async fn seal(
    tx: &Tx,
    operation: &str,
    tables: &[Arc<TableDef>],
    layer: Layer,
    ordinal: Ordinal,
    changes: &[TableChanges],
    mode: SealMode,
) -> Result<Outcome> {
    // Taken after the lock: what an earlier sealer saw as in flight and is committed now is in it.
    let (first, mut seen) = try_join!(sealed(tx, operation), seen(tx, tables, layer))?;
    if let Some(first) = first {
        return Ok(Outcome::Sealed(first));
    }
    if !changes.is_empty() {
        // A row may be locked by anybody for any time, and whoever waits for a table's lock keeps out all others.
        tx.batch_execute("SET LOCAL lock_timeout = '15s'").await.map_err(pg)?;
    }
    let homes = if layer.is_main() {
        enums::arrive(tx, changes).await?;
        let views = views::Arriving::begin(tx, changes).await?;
        let mut homes = draft::Homes::begin(tx, changes).await?;
        homecoming::all(tx, changes, ordinal, &mut homes).await?;
        views.finish(tx).await?;
        Some(homes)
    } else {
        None
    };
    if !layer.is_main() {
        show(tx, layer, changes).await?;
    }
    let concerned = if layer.is_main() {
        tables.to_vec()
    } else {
        seen.1.iter().copied().chain(changes.iter().map(|c| &c.table)).cloned().collect()
    };
    let found = drift::check(tx, &concerned).await?;
    if layer.is_main() && !found.unadopted.is_empty() {
        return Ok(Outcome::Unadopted(found.unadopted));
    }
    apply::apply(tx, layer, changes).await?;
    if let Some(homes) = homes {
        homes.refer(tx).await?;
    }
    for change in changes.iter().filter(|c| matches!(c.arrival, Some(Arrival::Branch))) {
        revise::verify(tx, &change.table, layer).await?;
    }
    let mut published = Sealed::default();
    // What clients write meanwhile isn't looked at: the rows are locked.
    let merges = layer.is_main() && mode.is_own() && !changes.is_empty();
    let mut other = None;
    if merges {
        let sealed: Vec<i64> = tables.iter().map(|t| t.id.0).collect();
        other = exact::first_other(tx, changes, &sealed).await?;
    }
    // With changes the first one is too old: what they replaced is to be in it.
    if !changes.is_empty() {
        seen = pending::seen(tx, tables, layer).await?;
        if layer.is_main() && found.partitioned {
            // No row of a partition that came after the first look may be in this, so look once more.
            let unadopted = drift::look(tx, tables).await?.unadopted;
            if !unadopted.is_empty() {
                return Ok(Outcome::Unadopted(unadopted));
            }
        }
    }
    let (snapshot, pending) = seen;
    for table in pending {
        let expected =
            merges.then(|| changes.iter().any(|c| c.table.id == table.id && !c.changes.is_empty()));
        let moved = move_pending(tx, table, layer, ordinal, &snapshot, mode, expected).await?;
        if other.is_none() && moved.beside > 0 {
            other = Some(exact::beside(tx, table).await?);
        }
        if moved.stats.rows() > 0 {
            published.tables.push((table.id, moved.stats, moved.digest));
        }
    }
    match other {
        Some(error) if mode == SealMode::Exact => return Err(error),
        other => published.altered = other.is_some(),
    }
    if layer.is_main() && mode == SealMode::All {
        writers::clean(tx, tables.len(), ordinal, &snapshot).await?;
    }
    record(tx, operation, layer, ordinal, &published).await?;
    Ok(Outcome::Sealed(published))
}

/// Notes which versions of tables the layer shows from here on.
async fn show(tx: &Tx, layer: Layer, changes: &[TableChanges]) -> Result<()> {
    let of = |wanted: fn(&Arrival) -> bool, there: bool| {
        let found = changes.iter().filter(move |c| c.arrival.as_ref().is_some_and(wanted));
        found.map(move |c| (c.table.id, there))
    };
    let gone = of(|a| matches!(a, Arrival::Gone), false);
    let come = of(|a| matches!(a, Arrival::Branch | Arrival::Back), true);
    // What takes the place of another one comes after it.
    let shown: Vec<_> = gone.chain(come).collect();
    if shown.is_empty() {
        return Ok(());
    }
    tx.batch_execute(&versions::show(layer, &shown, false)).await.map_err(pg)
}

/// The result of an operation that took place.
pub(crate) async fn sealed(client: &deadpool_postgres::Object, operation: &str) -> Result<Option<Sealed>> {
    let statement =
        client.prepare_cached("SELECT result FROM epoch.seal WHERE operation = $1").await.map_err(pg)?;
    let row = client.query_opt(&statement, &[&operation]).await.map_err(pg)?;
    let Some(row) = row else { return Ok(None) };
    let result: serde_json::Value = row.try_get(0).map_err(pg)?;
    serde_json::from_value(result).map(Some).map_err(|e| {
        Error::new(sqlstate::DATA_CORRUPTED, format!("epoch.seal of operation {operation}: {e}"))
    })
}

async fn record(tx: &Tx, operation: &str, layer: Layer, ordinal: Ordinal, published: &Sealed) -> Result<()> {
    let result = serde_json::to_value(published).map_err(|e| Error::internal(e.to_string()))?;
    let insert = tx
        .prepare_cached(
            "INSERT INTO epoch.seal (operation, lineage, ordinal, result) VALUES ($1, $2, $3, $4)",
        )
        .await
        .map_err(pg)?;
    tx.execute(&insert, &[&operation, &layer.lineage.0, &ordinal, &result]).await.map_err(|e| {
        let error = pg(e);
        if error.code() != sqlstate::UNIQUE_VIOLATION {
            return error;
        }
        Error::new(sqlstate::SERIALIZATION_FAILURE, "the branch was changed by another operation")
            .with_detail(format!("Ordinal {ordinal} of lineage {} is taken.", layer.lineage.0))
            .with_hint("Retry.")
    })?;
    Ok(())
}

/// What [`SEAL_SQL`] did to a table.
struct Moved {
    stats: TableStats,
    digest: String,
    /// Rows that no change was given of.
    beside: i64,
}

async fn move_pending(
    tx: &Tx,
    table: &TableDef,
    layer: Layer,
    ordinal: Ordinal,
    snapshot: &str,
    mode: SealMode,
    expected: Option<bool>,
) -> Result<Moved> {
    let sql = statement(table, layer, mode, expected);
    // Where it reads the changes, these are in a table of this transaction alone.
    let statement = match expected {
        Some(true) => tx.prepare(&sql).await,
        _ => tx.prepare_cached(&sql).await,
    }
    .map_err(pg)?;
    let row = tx.query_one(&statement, &[&layer.lineage.0, &ordinal, &snapshot]).await.map_err(pg)?;
    let number = |i: usize| row.try_get::<_, i64>(i).map_err(pg);
    let stats = TableStats { added: number(0)?, modified: number(1)?, removed: number(2)?, cells: 0 };
    let digest = row.try_get::<_, Option<String>>(3).map_err(pg)?.unwrap_or_default();
    Ok(Moved { stats, digest, beside: number(4)? })
}

/// `expected`: rows beside those that changes were given of are counted; whether there are any such changes.
fn statement(table: &TableDef, layer: Layer, mode: SealMode, expected: Option<bool>) -> String {
    let beside = match expected {
        None => "0::int8".to_owned(),
        Some(false) => "count(*)".to_owned(),
        Some(true) => format!(
            "(SELECT count(*) FROM net o LEFT JOIN {} s ON {} WHERE s.epoch_n IS NULL)",
            apply::staged(table),
            same_key(table, "s", "o")
        ),
    };
    let own = match mode {
        SealMode::All => String::new(),
        SealMode::Own | SealMode::Exact => format!(
            "AND EXISTS (SELECT FROM {} w WHERE w.epoch_lineage = $1 AND {} AND w.epoch_to = {PENDING} \
             AND w.epoch_xid = pg_current_xact_id() OFFSET 0)",
            history(table),
            same_key(table, "w", "h")
        ),
    };
    let image = |c: &epoch_adapter::Column| {
        let name = crate::layout::quote(&c.name);
        format!("CASE WHEN l.epoch_existed IS NULL THEN b.{name} ELSE l.{name} END")
    };
    let after =
        join(table.schema.columns.iter().enumerate(), ", ", |(i, c)| format!("{} AS epoch_a{i}", image(c)));
    let width = table.schema.columns.len();
    fill(
        SEAL_SQL,
        &[
            ("history", &history(table)),
            ("line", &if layer.is_main() { of_main::images(table) } else { history(table) }),
            ("own", &own),
            ("beside", &beside),
            ("key", &key(table, "")),
            ("key_h", &key(table, "h.")),
            ("key_n", &key(table, "n.")),
            ("columns", &columns(table, "")),
            ("columns_f", &columns(table, "f.")),
            ("columns_n", &columns(table, "n.")),
            ("match_g", &same_key(table, "g", "f")),
            ("match_w", &same_key(table, "w", "f")),
            ("current", &current(table, layer, "$1", "f")),
            ("after", &after),
            ("after_n", &join(0..width, ", ", |i| format!("n.epoch_a{i}"))),
        ],
    )
}
