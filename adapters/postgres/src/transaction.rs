//! Writes by key within a transaction, for callers that found the rows themselves.

use std::collections::HashSet;

use async_trait::async_trait;
use epoch_adapter::{
    BatchStream, Error, Layer, Result, Row, RowWrite, Scan, TableDef, Transaction, Value, View, sqlstate,
};

use crate::error::pg;
use crate::layer;
use crate::layout::{LINEAGE_SETTING, base, overlay, quote};
use crate::stream::Source;
use crate::text::{join, typed, untyped};
use crate::tx::Tx;

/// Rows of one statement.
const CHUNK: usize = 500;

/// An open transaction of one connection.
pub(crate) struct PostgresTransaction {
    pub(crate) tx: Tx,
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn scan(&mut self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream> {
        crate::scan::scan(Source::Borrowed(&self.tx), table, view, scan).await
    }

    async fn write(&mut self, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> Result<u64> {
        if layer.is_main() {
            // Values are written as under our own settings, but names mean what they mean to triggers.
            let theirs = format!("SET LOCAL search_path TO DEFAULT; SET LOCAL {LINEAGE_SETTING} TO ''");
            self.tx.batch_execute(&theirs).await.map_err(pg)?;
        } else {
            layer::record(&self.tx, layer).await?;
            // As a session of the branch has it, whose writes fire the user's triggers where they run on branches.
            let lineage = format!("SET LOCAL {LINEAGE_SETTING} TO '{}'", layer.lineage.0);
            self.tx.batch_execute(&lineage).await.map_err(pg)?;
        }
        let mut affected = 0;
        let mut rest = writes;
        while let Some(first) = rest.first() {
            let run = run_length(rest, first);
            let (now, later) = rest.split_at(run);
            affected += write_run(&self.tx, table, layer, now).await?;
            rest = later;
        }
        Ok(affected)
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        self.tx.batch_execute(&format!("SAVEPOINT {}", quote(name))).await.map_err(pg)
    }

    async fn release(&mut self, name: &str) -> Result<()> {
        self.tx.batch_execute(&format!("RELEASE SAVEPOINT {}", quote(name))).await.map_err(pg)
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        self.tx.batch_execute(&format!("ROLLBACK TO SAVEPOINT {}", quote(name))).await.map_err(pg)
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        // A COMMIT of a failed transaction answers ROLLBACK without an error: ask first.
        let live = self.tx.batch_execute("SELECT").await.map_err(pg);
        self.tx.finish(live).await
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.tx.rollback().await
    }
}

/// How many writes from the first on can be one statement: the same kind, no key twice.
fn run_length<'a>(writes: &'a [RowWrite], first: &RowWrite) -> usize {
    let mut keys: HashSet<&Row> = HashSet::new();
    let mut fits = |write: &'a RowWrite| match (first, write) {
        (RowWrite::Insert(_), RowWrite::Insert(_)) => true,
        (RowWrite::Delete { .. }, RowWrite::Delete { key }) => keys.insert(key),
        _ => false,
    };
    writes.iter().take(CHUNK).take_while(|w| fits(w)).count().max(1)
}

async fn write_run(tx: &Tx, table: &TableDef, layer: Layer, run: &[RowWrite]) -> Result<u64> {
    match run.first() {
        None => Ok(0),
        Some(RowWrite::Insert(_)) => insert(tx, table, layer, run).await,
        Some(RowWrite::Delete { .. }) => delete(tx, table, layer, run).await,
        Some(RowWrite::Update { key, set }) => update(tx, table, layer, key, set).await,
    }
}

/// The table that rows are written to, and a condition for its alias `t`.
fn target(table: &TableDef, layer: Layer) -> (String, String) {
    match layer.is_main() {
        true => (base(table), String::new()),
        false => (overlay(table), format!(" AND t.epoch_lineage = {}", layer.lineage.0)),
    }
}

async fn insert(tx: &Tx, table: &TableDef, layer: Layer, run: &[RowWrite]) -> Result<u64> {
    let columns: Vec<_> = table.schema.columns.iter().enumerate().filter(|(_, c)| !c.generated).collect();
    let mut rows = Vec::with_capacity(run.len());
    for write in run {
        let RowWrite::Insert(cells) = write else { continue };
        if cells.len() != table.schema.columns.len() {
            return Err(Error::internal(format!("a row of {} has {} cells", table.name, cells.len())));
        }
        let row = columns.iter().map(|(i, _)| match cells.get(*i) {
            Some(Some(cell)) => untyped(cell),
            _ => "DEFAULT".to_owned(),
        });
        let lineage = (!layer.is_main()).then(|| layer.lineage.0.to_string());
        rows.push(format!("({})", join(row.chain(lineage), ", ", |c| c)));
    }
    let names = columns.iter().map(|(_, c)| quote(&c.name));
    let hidden = (!layer.is_main()).then(|| "epoch_lineage".to_owned());
    let sql = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES {}",
        target(table, layer).0,
        join(names.chain(hidden), ", ", |c| c),
        rows.join(", ")
    );
    tx.affected(&sql).await
}

/// Rows of keys, as a relation with the key's columns.
fn keys_sql<'a>(table: &TableDef, keys: impl IntoIterator<Item = &'a Row>) -> Result<String> {
    let columns: Vec<_> = table.schema.key_columns().collect();
    let mut rows = Vec::new();
    for key in keys {
        if key.len() != columns.len() {
            return Err(Error::internal(format!("a key of {} has {} cells", table.name, key.len())));
        }
        let cells = join(key.iter().zip(&columns), ", ", |(v, c)| typed(v, &c.pg_type));
        rows.push(format!("({cells})"));
    }
    if rows.is_empty() {
        return Err(Error::new(sqlstate::INTERNAL_ERROR, "no keys"));
    }
    Ok(format!("SELECT * FROM (VALUES {}) v ({})", rows.join(", "), join(columns, ", ", |c| quote(&c.name))))
}

async fn bring_up(tx: &Tx, table: &TableDef, layer: Layer, keys: &str) -> Result<()> {
    if layer.is_main() {
        return Ok(());
    }
    tx.batch_execute(&layer::copy_up(table, layer, keys)).await.map_err(pg)
}

async fn delete(tx: &Tx, table: &TableDef, layer: Layer, run: &[RowWrite]) -> Result<u64> {
    let keys = run.iter().filter_map(|w| match w {
        RowWrite::Delete { key } => Some(key),
        _ => None,
    });
    let keys = keys_sql(table, keys)?;
    bring_up(tx, table, layer, &keys).await?;
    let (name, lineage) = target(table, layer);
    let same = crate::text::same_key(table, "t", "k");
    tx.affected(&format!("DELETE FROM {name} t USING ({keys}) k WHERE {same}{lineage}")).await
}

async fn update(tx: &Tx, table: &TableDef, layer: Layer, key: &Row, set: &[(usize, Value)]) -> Result<u64> {
    let keys = keys_sql(table, [key])?;
    bring_up(tx, table, layer, &keys).await?;
    let mut assignments = Vec::with_capacity(set.len());
    for (i, cell) in set {
        let column = table.schema.columns.get(*i);
        let column = column.ok_or_else(|| Error::internal(format!("no column {i} in {}", table.name)))?;
        assignments.push(format!("{} = {}", quote(&column.name), untyped(cell)));
    }
    if assignments.is_empty() {
        return Ok(0);
    }
    let (name, lineage) = target(table, layer);
    let same = crate::text::same_key(table, "t", "k");
    let sql = format!("UPDATE {name} t SET {} FROM ({keys}) k WHERE {same}{lineage}", assignments.join(", "));
    tx.affected(&sql).await
}
