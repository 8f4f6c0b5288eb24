//! Registrations and layers.

use epoch_adapter::{LineageId, Location, Result, TableDef, TableId, TableName, TableSchema};

use super::{Record, Tx, micros, now, params, to_json};

/// How far a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableState {
    /// The backend is being prepared; a crash leaves this behind.
    Installing,
    /// In use.
    Active,
    /// A draft whose definition is being changed; a crash leaves this behind.
    Changing,
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
            Self::Changing => "changing",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

/// A registration, or a table made on a branch.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The table.
    pub table: TableDef,
    /// Whether it is in use.
    pub active: bool,
    /// Whether it was made on a branch: then [`super::spans`] say who sees it.
    pub made: bool,
    /// The definition's text, of a table made on a branch.
    pub text: Option<String>,
}

const STORED: &str = "SELECT definition, state, made_on, text FROM tables";

fn to_stored(r: &Record) -> Result<Stored> {
    let state = r.text(1)?;
    Ok(Stored {
        table: r.json(0)?,
        active: [TableState::Active, TableState::Changing].iter().any(|s| s.as_str() == state),
        made: r.opt_int(2)?.is_some(),
        text: r.opt_text(3)?,
    })
}

/// What changed after `generation`.
pub async fn since(tx: &mut Tx, generation: i64) -> Result<Vec<Stored>> {
    let sql = format!("{STORED} WHERE generation > $1");
    tx.query(&sql, params![generation]).await?.iter().map(to_stored).collect()
}

/// Registrations that a crash left between two states.
pub async fn unfinished(tx: &mut Tx) -> Result<Vec<TableDef>> {
    with_state(tx, "state IN ('installing', 'removing')").await
}

/// Drafts that a crash left while they were changed.
pub async fn changing(tx: &mut Tx) -> Result<Vec<TableDef>> {
    with_state(tx, "state = 'changing'").await
}

async fn with_state(tx: &mut Tx, condition: &'static str) -> Result<Vec<TableDef>> {
    let rows = tx.query(&format!("{STORED} WHERE {condition}"), &[]).await?;
    rows.iter().map(|r| Ok(to_stored(r)?.table)).collect()
}

/// The names of all registrations there ever were, for commits that refer to removed ones.
pub async fn names(tx: &mut Tx) -> Result<Vec<(TableId, TableName)>> {
    let rows = tx.query("SELECT id, schema_name, table_name FROM tables", &[]).await?;
    rows.iter()
        .map(|r| {
            let name = TableName { schema: r.text(1)?, name: r.text(2)? };
            Ok((TableId(r.int(0)?), name))
        })
        .collect()
}

/// Stores a registration that is about to be installed under a new number.
pub async fn insert(tx: &mut Tx, table: &TableDef) -> Result<TableDef> {
    let generation = tx.next_generation().await?;
    let id = TableId(tx.counter("next_table").await?);
    insert_as(tx, generation, TableDef { id, ..table.clone() }, None).await
}

/// Stores a table that is about to be made on a branch under a new number. Its columns aren't known yet.
pub async fn insert_draft(
    tx: &mut Tx,
    backend: &str,
    name: &TableName,
    lineage: LineageId,
) -> Result<TableDef> {
    let generation = tx.next_generation().await?;
    let id = TableId(tx.counter("next_table").await?);
    let location = Location::draft(backend, id, name)?;
    let schema = TableSchema { columns: Vec::new(), key: Vec::new() };
    let table = TableDef::new(id, name.clone(), location, schema);
    insert_as(tx, generation, table, Some(lineage)).await
}

/// Stores a table that was made on a branch under the number that it has.
pub async fn insert_made(tx: &mut Tx, table: &TableDef, lineage: LineageId) -> Result<()> {
    let generation = tx.next_generation().await?;
    insert_as(tx, generation, table.clone(), Some(lineage)).await.map(drop)
}

async fn insert_as(
    tx: &mut Tx,
    generation: i64,
    table: TableDef,
    made_on: Option<LineageId>,
) -> Result<TableDef> {
    tx.execute(
        "INSERT INTO tables (id, schema_name, table_name, location, definition, state, registered, made_on, generation)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            table.id.0,
            &table.name.schema,
            &table.name.name,
            table.location.to_string(),
            to_json(&table)?,
            TableState::Installing.as_str(),
            micros(now()),
            made_on.map(|l| l.0),
            generation,
        ],
    )
    .await?;
    Ok(table)
}

/// Replaces what is known of a table made on a branch, and puts it in use.
pub async fn redefine(tx: &mut Tx, table: &TableDef, text: &str) -> Result<()> {
    let generation = tx.next_generation().await?;
    tx.execute(
        "UPDATE tables SET definition = $1, location = $2, text = $3, state = $4, generation = $5 WHERE id = $6",
        params![
            to_json(table)?,
            table.location.to_string(),
            text,
            TableState::Active.as_str(),
            generation,
            table.id.0,
        ],
    )
    .await
    .map(drop)
}

/// Types that branches made have other names from here on, in whatever is known of tables that use them.
pub async fn rename_types(tx: &mut Tx, names: &[(String, String)]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let generation = tx.next_generation().await?;
    let rows =
        tx.query("SELECT id, definition FROM tables WHERE state IN ('active', 'changing')", &[]).await?;
    for row in rows {
        let table: TableDef = row.json(1)?;
        let renamed = table.with_types_renamed(names)?;
        if renamed == table {
            continue;
        }
        tx.execute(
            "UPDATE tables SET definition = $1, generation = $2 WHERE id = $3",
            params![to_json(&renamed)?, generation, row.int(0)?],
        )
        .await?;
    }
    Ok(())
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
        tx.execute("DELETE FROM spans WHERE table_id = $1", params![table.0]).await?;
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
