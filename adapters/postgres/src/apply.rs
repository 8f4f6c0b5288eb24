//! Applies changes to a layer's working rows: set-based, each row compared with what it was
//! computed from, in an order in which foreign keys hold.

use std::collections::{BTreeSet, HashMap};

use epoch_adapter::{Arrival, Error, Layer, Result, RowChange, TableChanges, TableDef, Value, sqlstate};

use crate::connect::{THEIRS, ours};
use crate::error::pg;
use crate::layer;
use crate::layout::{base, overlay, quote};
use crate::text::{join, key, same_key, unmodified, writable};
use crate::tx::{ANY_PLAN, BY_INDEX, Tx, texts};

/// Rows that travel in one message.
const CHUNK: usize = 5_000;

pub(crate) async fn apply(tx: &Tx, layer: Layer, changes: &[TableChanges]) -> Result<()> {
    let changes: Vec<&TableChanges> = changes.iter().filter(|c| !c.changes.is_empty()).collect();
    if changes.is_empty() {
        return Ok(());
    }
    tx.batch_execute("SET CONSTRAINTS ALL DEFERRED").await.map_err(pg)?;
    if !layer.is_main() {
        layer::record(tx, layer).await?;
    }
    let ordered = parents_first(tx, &changes).await?;
    for change in &ordered {
        load(tx, change).await?;
        if !layer.is_main() {
            let keys = format!("SELECT {} FROM {}", key(&change.table, ""), staged(&change.table));
            tx.batch_execute(&layer::copy_up(&change.table, layer, &keys)).await.map_err(pg)?;
        }
        // Main's table is locked, and has no changes that the merge doesn't know.
        if !matches!(change.arrival, Some(Arrival::Home(_))) {
            compare(tx, &Target::new(&change.table, layer)).await?;
        }
    }
    if layer.is_main() {
        tx.batch_execute(&format!("{THEIRS}; {ANY_PLAN}")).await.map_err(pg)?;
    }
    write(tx, layer, &ordered).await?;
    tx.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await.map_err(pg)?;
    if layer.is_main() {
        tx.batch_execute(&format!("{}; {BY_INDEX}", ours())).await.map_err(pg)?;
    }
    Ok(())
}

/// Deletes first, which frees unique values; where a foreign key forbids that (a child moves from a
/// parent that goes to one that comes), last.
async fn write(tx: &Tx, layer: Layer, ordered: &[&TableChanges]) -> Result<()> {
    tx.batch_execute("SAVEPOINT epoch_write").await.map_err(pg)?;
    let first = match deletes(tx, layer, ordered).await {
        Ok(()) => match updates(tx, layer, ordered).await {
            Ok(()) => inserts(tx, layer, ordered).await,
            failed => failed,
        },
        failed => failed,
    };
    match first {
        Err(error) if error.code() == sqlstate::FOREIGN_KEY_VIOLATION => {
            tx.batch_execute("ROLLBACK TO epoch_write").await.map_err(pg)?;
            inserts(tx, layer, ordered).await?;
            updates(tx, layer, ordered).await?;
            deletes(tx, layer, ordered).await
        }
        other => other,
    }
}

async fn deletes(tx: &Tx, layer: Layer, ordered: &[&TableChanges]) -> Result<()> {
    for change in ordered.iter().rev() {
        delete(tx, &Target::new(&change.table, layer)).await?;
    }
    Ok(())
}

async fn updates(tx: &Tx, layer: Layer, ordered: &[&TableChanges]) -> Result<()> {
    for change in ordered {
        update(tx, &Target::new(&change.table, layer), &changed_columns(change)).await?;
    }
    Ok(())
}

async fn inserts(tx: &Tx, layer: Layer, ordered: &[&TableChanges]) -> Result<()> {
    for change in ordered {
        insert(tx, &Target::new(&change.table, layer), "s.epoch_a AND NOT s.epoch_b").await?;
    }
    Ok(())
}

/// The rows that changes of one table are written to.
struct Target<'a> {
    table: &'a TableDef,
    /// The table, quoted and qualified.
    name: String,
    /// `AND t.epoch_lineage = …` on an overlay.
    lineage: String,
    layer: Layer,
}

impl<'a> Target<'a> {
    fn new(table: &'a TableDef, layer: Layer) -> Self {
        if layer.is_main() {
            Self { table, name: base(table), lineage: String::new(), layer }
        } else {
            let lineage = format!(" AND t.epoch_lineage = {}", layer.lineage.0);
            Self { table, name: overlay(table), lineage, layer }
        }
    }
}

/// The temporary table that holds the changes of a table: `n, b, a` (position; whether the row is
/// there before and after), the key, `b0…`, `a0…`; all but the key's with `epoch_` in front, because a key
/// may have any name.
pub(crate) fn staged(table: &TableDef) -> String {
    format!("pg_temp.epoch_changes_{}", table.id.0)
}

pub(crate) async fn load(tx: &Tx, change: &TableChanges) -> Result<()> {
    let table = &change.table;
    let cells = |prefix: &str| {
        join(table.schema.columns.iter().enumerate(), ", ", |(i, c)| {
            format!("epoch_{prefix}{i} {}", c.pg_type)
        })
    };
    let keys = join(table.schema.key_columns(), ", ", |c| format!("{} {}", quote(&c.name), c.pg_type));
    let create = format!(
        "CREATE TEMPORARY TABLE epoch_changes_{} (epoch_n int8, epoch_b bool, epoch_a bool, {keys}, {}, {}) ON COMMIT DROP",
        table.id.0,
        cells("b"),
        cells("a")
    );
    tx.batch_execute(&create).await.map_err(pg)?;
    let insert = tx.prepare(&load_sql(table)).await.map_err(pg)?;
    for (start, chunk) in change.changes.chunks(CHUNK).enumerate() {
        let (numbers, flags, texts) = arrays(table, start * CHUNK, chunk);
        let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&numbers];
        parameters.extend(flags.iter().map(|f| f as &(dyn tokio_postgres::types::ToSql + Sync)));
        parameters.extend(texts.iter().map(|t| t as &(dyn tokio_postgres::types::ToSql + Sync)));
        tx.execute(&insert, &parameters).await.map_err(pg)?;
    }
    tx.batch_execute(&format!("ANALYZE {}", staged(table))).await.map_err(pg)
}

fn load_sql(table: &TableDef) -> String {
    let columns = &table.schema.columns;
    let (keys, width) = (table.schema.key.len(), columns.len());
    let typed = table.schema.key_columns().chain(columns).chain(columns);
    format!(
        "INSERT INTO {} SELECT u.n, u.b, u.a, {} FROM unnest($1::int8[], $2::bool[], $3::bool[], {}) u (n, b, a, {})",
        staged(table),
        join(typed.enumerate(), ", ", |(i, c)| format!("u.c{i}::{}", unmodified(&c.pg_type))),
        join(0..keys + 2 * width, ", ", |i| format!("${}::text[]", i + 4)),
        join(0..keys + 2 * width, ", ", |i| format!("c{i}"))
    )
}

type Arrays = (Vec<i64>, [Vec<bool>; 2], Vec<Vec<Option<String>>>);

/// The chunk by columns: positions, flags, and texts of the key, the row before and the row after.
fn arrays(table: &TableDef, start: usize, chunk: &[RowChange]) -> Arrays {
    let (keys, width) = (table.schema.key.len(), table.schema.columns.len());
    let mut texts = vec![Vec::with_capacity(chunk.len()); keys + 2 * width];
    for change in chunk {
        let absent = vec![Value::Null; width];
        let before = change.before.as_ref().unwrap_or(&absent);
        let after = change.after.as_ref().unwrap_or(&absent);
        for (array, value) in texts.iter_mut().zip(change.key.iter().chain(before).chain(after)) {
            array.push(value.to_text());
        }
    }
    let numbers = (start as i64..).take(chunk.len()).collect();
    let flags = [
        chunk.iter().map(|c| c.before.is_some()).collect(),
        chunk.iter().map(|c| c.after.is_some()).collect(),
    ];
    (numbers, flags, texts)
}

/// Locks the rows that changes of a table were computed from: the first key whose row is another one. Row by row: as a join
/// to be locked, PostgreSQL read the user's whole table by its index.
#[must_use]
pub fn compare_sql(table: &TableDef, layer: Layer) -> String {
    let target = Target::new(table, layer);
    let row = join(&table.schema.columns, ", ", |c| format!("t.{}", quote(&c.name)));
    let before = join(0..table.schema.columns.len(), ", ", |i| format!("s.epoch_b{i}"));
    format!(
        "SELECT {} FROM {} s LEFT JOIN LATERAL (SELECT ROW({row})::text AS epoch_row FROM {} t WHERE {}{} FOR UPDATE OF t) t ON true \
         WHERE t.epoch_row IS DISTINCT FROM CASE WHEN s.epoch_b THEN ROW({before})::text END ORDER BY s.epoch_n LIMIT 1",
        key(table, "s."),
        staged(table),
        target.name,
        same_key(table, "t", "s"),
        target.lineage
    )
}

/// Locks the rows and compares them with what the changes were computed from, as text: that is
/// what the computation saw.
async fn compare(tx: &Tx, target: &Target<'_>) -> Result<()> {
    let table = target.table;
    let find = compare_sql(table, target.layer);
    let Some(differs) = texts(tx, &find).await?.into_iter().next() else { return Ok(()) };
    let values = join(differs, ", ", |v| v.unwrap_or_default());
    Err(Error::new(
        sqlstate::SERIALIZATION_FAILURE,
        format!("table \"{}\" changed in the meantime", table.name),
    )
    .with_detail(format!(
        "Key ({})=({values}) is not as it was.",
        join(table.schema.key_names(), ", ", |n| n)
    ))
    .with_hint("Retry.")
    .with_table(&table.location.table))
}

async fn delete(tx: &Tx, target: &Target<'_>) -> Result<()> {
    let sql = format!(
        "DELETE FROM {} t USING {} s WHERE {}{} AND NOT s.epoch_a",
        target.name,
        staged(target.table),
        same_key(target.table, "t", "s"),
        target.lineage
    );
    tx.batch_execute(&sql).await.map_err(pg)
}

/// Columns that differ in at least one modified row and may be set.
fn changed_columns(change: &TableChanges) -> Vec<usize> {
    let mut changed = BTreeSet::new();
    for row in &change.changes {
        if let (Some(before), Some(after)) = (&row.before, &row.after) {
            changed.extend(before.iter().zip(after).enumerate().filter(|(_, (b, a))| b != a).map(|(i, _)| i));
        }
    }
    let settable = |i: &usize| change.table.schema.columns.get(*i).is_some_and(|c| !c.generated);
    changed.into_iter().filter(settable).collect()
}

/// Updates; where that breaks a unique key on the way (two rows swap values), the rows are deleted
/// and inserted instead, which the server refuses if something refers to them.
async fn update(tx: &Tx, target: &Target<'_>, columns: &[usize]) -> Result<()> {
    let settable = columns.iter().filter_map(|&i| target.table.schema.columns.get(i).map(|c| (i, c)));
    let set = join(settable, ", ", |(i, c)| format!("{} = s.epoch_a{i}", quote(&c.name)));
    if set.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE {} t SET {set} FROM {} s WHERE {}{} AND s.epoch_a AND s.epoch_b",
        target.name,
        staged(target.table),
        same_key(target.table, "t", "s"),
        target.lineage
    );
    tx.batch_execute("SAVEPOINT epoch_update").await.map_err(pg)?;
    let Err(error) = tx.batch_execute(&sql).await.map_err(pg) else {
        return tx.batch_execute("RELEASE epoch_update").await.map_err(pg);
    };
    if error.code() != sqlstate::UNIQUE_VIOLATION {
        return Err(error);
    }
    tx.batch_execute("ROLLBACK TO epoch_update").await.map_err(pg)?;
    if referenced(tx, target.table).await? {
        return Err(error);
    }
    let sql = format!(
        "DELETE FROM {} t USING {} s WHERE {}{} AND s.epoch_a AND s.epoch_b",
        target.name,
        staged(target.table),
        same_key(target.table, "t", "s"),
        target.lineage
    );
    tx.batch_execute(&sql).await.map_err(pg)?;
    insert(tx, target, "s.epoch_a AND s.epoch_b").await
}

async fn insert(tx: &Tx, target: &Target<'_>, which: &str) -> Result<()> {
    let table = target.table;
    let values = table.schema.columns.iter().enumerate().filter(|(_, c)| !c.generated);
    let values = join(values, ", ", |(i, _)| format!("s.epoch_a{i}"));
    let (hidden, lineage) = match target.layer.is_main() {
        true => (String::new(), String::new()),
        false => (", epoch_lineage".to_owned(), format!(", {}", target.layer.lineage.0)),
    };
    let sql = format!(
        "INSERT INTO {} ({}{hidden}) OVERRIDING SYSTEM VALUE SELECT {values}{lineage} FROM {} s WHERE {which} ORDER BY s.epoch_n",
        target.name,
        writable(table, ""),
        staged(table)
    );
    tx.batch_execute(&sql).await.map_err(pg)
}

async fn referenced(tx: &Tx, table: &TableDef) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = {}::regclass)",
        crate::layout::literal(&base(table))
    );
    Ok(texts(tx, &sql).await?.into_iter().flatten().flatten().any(|t| t == "t"))
}

/// Tables in an order in which every foreign key's parent comes before its child, as far as there
/// is one.
async fn parents_first<'a>(tx: &Tx, changes: &[&'a TableChanges]) -> Result<Vec<&'a TableChanges>> {
    let mut parents: HashMap<usize, BTreeSet<usize>> = HashMap::new();
    if changes.len() > 1 {
        let tables = join(changes.iter().enumerate(), ", ", |(i, c)| {
            format!("({i}, {}::regclass, 'parent_{}')", crate::layout::literal(&base(&c.table)), c.table.id.0)
        });
        let sql = format!(
            "WITH t (i, oid, stand_in) AS (VALUES {tables}) SELECT c.i, p.i FROM pg_constraint k \
             JOIN pg_class r ON r.oid = k.confrelid JOIN t c ON c.oid = k.conrelid \
             JOIN t p ON p.oid = k.confrelid OR (p.stand_in = r.relname AND {}) WHERE k.contype = 'f' AND c.i <> p.i",
            crate::stand_in::STANDS_IN
        );
        for row in texts(tx, &sql).await? {
            let mut numbers = row.into_iter().flatten().filter_map(|n| n.parse::<usize>().ok());
            if let (Some(child), Some(parent)) = (numbers.next(), numbers.next()) {
                parents.entry(child).or_default().insert(parent);
            }
        }
    }
    let mut left: Vec<usize> = (0..changes.len()).collect();
    let mut out = Vec::with_capacity(changes.len());
    while !left.is_empty() {
        let free =
            left.iter().position(|i| parents.get(i).is_none_or(|p| p.iter().all(|p| !left.contains(p))));
        // In a cycle any order is as good: such keys have to be deferrable.
        let next = left.remove(free.unwrap_or(0));
        out.extend(changes.get(next));
    }
    Ok(out)
}
