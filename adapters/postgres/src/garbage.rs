//! What garbage collection removes.

use deadpool_postgres::Object;
use epoch_adapter::{Leftover, LineageId, Result, TableDef};

use crate::error::pg;
use crate::layout::{base, history, mask, overlay};
use crate::text::join;
use crate::tx::{Tx, is_true, texts};

/// A relation of ours and the rows of it that are removed: what follows FROM, where they are called `h`.
struct Rows {
    relation: String,
    from: String,
}

/// In the order in which they are removed. What is taken from an overlay leaves images, which go last.
fn rows(table: &TableDef, what: &Leftover) -> Vec<Rows> {
    match what {
        Leftover::Lineage(lineage) => [overlay(table), mask(table), history(table)]
            .into_iter()
            .map(|relation| Rows {
                from: format!("{relation} h WHERE h.epoch_lineage = {}", lineage.0),
                relation,
            })
            .collect(),
        Leftover::Holes(_, holes) if holes.is_empty() => Vec::new(),
        Leftover::Holes(lineage, holes) => {
            let relation = history(table);
            let values = join(holes, ", ", |(since, until)| format!("({since}::int8, {until}::int8)"));
            let from = format!(
                "(VALUES {values}) x (since, until) JOIN {relation} h ON h.epoch_lineage = {} AND h.epoch_to > x.since \
                 AND h.epoch_to <= x.until AND h.epoch_from >= x.since AND h.epoch_seq >= '0/0'",
                lineage.0
            );
            vec![Rows { relation, from }]
        }
    }
}

/// See [`epoch_adapter::Adapter::measure`].
pub(crate) async fn measure(client: &Object, table: &TableDef, what: &Leftover) -> Result<u64> {
    let sums = rows(table, what);
    if sums.is_empty() {
        return Ok(0);
    }
    let sums =
        join(&sums, " + ", |r| format!("(SELECT coalesce(sum(pg_column_size(h.*)), 0) FROM {})", r.from));
    number(client, &format!("SELECT {sums}")).await
}

async fn number(client: &Object, sql: &str) -> Result<u64> {
    let found = texts(client, sql).await?.into_iter().flatten().flatten().next();
    Ok(found.and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// See [`epoch_adapter::Adapter::remove`].
pub(crate) async fn remove(tx: &Tx, table: &TableDef, what: &Leftover, limit: usize) -> Result<usize> {
    // By index: the statistics know nothing of lineages.
    tx.batch_execute("SET LOCAL enable_seqscan = off; SET LOCAL jit = off").await.map_err(pg)?;
    let mut removed = 0;
    for Rows { relation, from } in rows(table, what) {
        let sql = format!(
            "DELETE FROM {relation} WHERE ctid = ANY (ARRAY(SELECT h.ctid FROM {from} LIMIT {} FOR UPDATE OF h SKIP LOCKED))",
            limit - removed
        );
        removed += tx.affected(&sql).await? as usize;
        if removed >= limit {
            break;
        }
    }
    Ok(removed)
}

async fn has_shared_part(client: &Object) -> Result<bool> {
    is_true(client, "SELECT to_regclass('epoch.shown') IS NOT NULL").await
}

/// See [`epoch_adapter::Adapter::abandon`]: no table is shown, so foreign keys, which go by that, have nothing to say.
pub(crate) async fn abandon(tx: &Tx, lineages: &[LineageId]) -> Result<()> {
    if lineages.is_empty() || !has_shared_part(tx).await? {
        return Ok(());
    }
    let values = join(lineages, ", ", |l| format!("({}::int8)", l.0));
    let sql = format!(
        "INSERT INTO epoch.shown (lineage, family, table_id, there, number)
         SELECT l.lineage, r.family, r.id, false, nextval('epoch.numbers') FROM (VALUES {values}) l (lineage), epoch.registered r
         ON CONFLICT (lineage, family, table_id) DO UPDATE SET there = false, number = excluded.number
         WHERE epoch.shown.there"
    );
    tx.batch_execute(&sql).await.map_err(pg)
}

/// See [`epoch_adapter::Adapter::forget_lineages`].
pub(crate) async fn forget(tx: &Tx, lineages: &[LineageId]) -> Result<()> {
    if lineages.is_empty() || !has_shared_part(tx).await? {
        return Ok(());
    }
    let list = join(lineages, ", ", |l| l.0.to_string());
    let tables = [
        ("shown", "lineage"),
        ("layer", "lineage"),
        ("fk_write", "lineage"),
        ("seal", "lineage"),
        ("lineage", "id"),
    ];
    let sql =
        join(tables, "; ", |(table, column)| format!("DELETE FROM epoch.{table} WHERE {column} IN ({list})"));
    tx.batch_execute(&sql).await.map_err(pg)
}

/// See [`epoch_adapter::Adapter::size`].
pub(crate) async fn size(client: &Object, table: &TableDef) -> Result<u64> {
    let relations = [base(table), overlay(table), mask(table), history(table)];
    let sums = join(relations, " + ", |relation| {
        let name = crate::layout::literal(&relation);
        format!("coalesce(pg_total_relation_size(to_regclass({name})), 0)")
    });
    number(client, &format!("SELECT {sums}")).await
}
