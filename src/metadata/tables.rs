//! Registrations and layers.

use epoch_adapter::{LineageId, Result, TableDef, TableId};

use super::{Record, Tx, micros, now, params, to_json};

/// How far a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableState {
    /// The backend is being prepared; a crash leaves this behind.
    Installing,
    /// In use.
    Active,
    /// The backend is being cleaned; a crash leaves this behind.
    Removing,
    /// History.
    Removed,
}

impl TableState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Installing => "installing",
            Self::Active => "active",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

fn to_table(r: &Record) -> Result<(TableDef, bool)> {
    Ok((r.json(0)?, r.text(1)? == TableState::Active.as_str()))
}

/// Registrations changed after `generation`, and whether they are active now.
pub async fn since(tx: &mut Tx, generation: i64) -> Result<Vec<(TableDef, bool)>> {
    let sql = "SELECT definition, state FROM tables WHERE generation > $1";
    tx.query(sql, params![generation]).await?.iter().map(to_table).collect()
}

/// Registrations that a crash left between two states.
pub async fn unfinished(tx: &mut Tx) -> Result<Vec<TableDef>> {
    let sql = "SELECT definition, state FROM tables WHERE state IN ('installing', 'removing')";
    tx.query(sql, &[]).await?.iter().map(|r| Ok(to_table(r)?.0)).collect()
}

/// The names of all registrations there ever were, for commits that refer to removed ones.
pub async fn names(tx: &mut Tx) -> Result<Vec<(TableId, epoch_adapter::TableName)>> {
    let rows = tx.query("SELECT id, schema_name, table_name FROM tables", &[]).await?;
    rows.iter()
        .map(|r| {
            let name = epoch_adapter::TableName { schema: r.text(1)?, name: r.text(2)? };
            Ok((TableId(r.int(0)?), name))
        })
        .collect()
}

/// Stores a registration that is about to be installed under a new number.
pub async fn insert(tx: &mut Tx, table: &TableDef) -> Result<TableDef> {
    let generation = tx.next_generation().await?;
    let id = TableId(tx.counter("next_table").await?);
    let table = TableDef { id, ..table.clone() };
    tx.execute(
        "INSERT INTO tables (id, schema_name, table_name, location, definition, state, registered, generation)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            id.0,
            &table.name.schema,
            &table.name.name,
            table.location.to_string(),
            to_json(&table)?,
            TableState::Installing.as_str(),
            micros(now()),
            generation,
        ],
    )
    .await?;
    Ok(table)
}

/// Moves a registration to another state. Removed ones lose their layers.
pub async fn set_state(tx: &mut Tx, table: TableId, state: TableState) -> Result<()> {
    let generation = tx.next_generation().await?;
    tx.execute(
        "UPDATE tables SET state = $1, generation = $2 WHERE id = $3",
        params![state.as_str(), generation, table.0],
    )
    .await?;
    if state == TableState::Removed {
        tx.execute("UPDATE tables SET removed = $1 WHERE id = $2", params![micros(now()), table.0]).await?;
        tx.execute("DELETE FROM layers WHERE table_id = $1", params![table.0]).await?;
        tx.structure_changed().await?;
    }
    Ok(())
}

/// Layers made after `generation`.
pub async fn layers_since(tx: &mut Tx, generation: i64) -> Result<Vec<(LineageId, TableId)>> {
    let sql = "SELECT lineage, table_id FROM layers WHERE generation > $1";
    let rows = tx.query(sql, params![generation]).await?;
    rows.iter().map(|r| Ok((LineageId(r.int(0)?), TableId(r.int(1)?)))).collect()
}

/// Says that a lineage holds rows of a table from now on.
pub async fn add_layer(tx: &mut Tx, lineage: LineageId, table: TableId) -> Result<()> {
    let generation = tx.next_generation().await?;
    tx.execute(
        "INSERT INTO layers (lineage, table_id, generation) VALUES ($1, $2, $3)
         ON CONFLICT (lineage, table_id) DO NOTHING",
        params![lineage.0, table.0, generation],
    )
    .await
    .map(drop)
}
