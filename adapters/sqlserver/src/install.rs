//! Makes and removes our objects for one table, in one transaction: a registration that is broken off leaves nothing.

use epoch_adapter::{Error, Result, TableDef, Value, sqlstate};

use crate::ddl::{EVENTS, batches, objects, tables, trigger, triggers};
use crate::drift::made;
use crate::error::{map, no_snapshots};
use crate::layout::{SCHEMA, qualified, schema, shown};
use crate::meta::{self, Meta};
use crate::physical::{self, Physical};
use crate::pool::{Session, number, text};
use crate::sum;

const SHARED: &str = include_str!("../../../sql/sqlserver/shared.sql");

/// Milliseconds that an installation waits for another one.
const PATIENCE: u32 = 30_000;
/// Only one at a time.
const TURN: &str = "epoch install";

/// Installs everything for a table. Idempotent. 55006 if the database has registrations of another repository than
/// `owner`.
pub(crate) async fn install(session: &mut Session, def: &TableDef, owner: Option<&String>) -> Result<()> {
    session.take_turn(TURN, PATIENCE).await?;
    prerequisites(session).await?;
    session.begin_committed().await?;
    let done = match in_transaction(session, def, owner).await {
        Ok(meta) => session.commit().await.map(|()| meta),
        Err(e) => {
            session.rollback().await?;
            Err(e)
        }
    };
    match done? {
        // What is written meanwhile has images already.
        Some(meta) => sum::begin(session, &meta).await,
        None => Ok(()),
    }
}

/// What the server and the database must be like.
async fn prerequisites(session: &mut Session) -> Result<()> {
    let sql = "SELECT CAST(d.snapshot_isolation_state AS int), (SELECT CAST(c.value_in_use AS int) FROM sys.configurations \
               AS c WHERE c.name = N'nested triggers') FROM sys.databases AS d WHERE d.database_id = DB_ID()";
    let rows = session.rows(sql, &[]).await?;
    let found = rows.first().map(|row| (number(row, 0), number(row, 1)));
    match found {
        Some((Some(1), Some(0))) => Err(Error::new(
            sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the SQL Server fires no triggers for what triggers write",
        )
        .with_detail("Rows that a trigger changes would not be captured.")
        .with_hint("EXEC sp_configure 'nested triggers', 1; RECONFIGURE;")),
        Some((Some(1), _)) => Ok(()),
        _ => Err(no_snapshots()),
    }
}

/// The table, unless the server has lost it, to note what its rows come to.
async fn in_transaction(
    session: &mut Session,
    def: &TableDef,
    owner: Option<&String>,
) -> Result<Option<Meta>> {
    for batch in batches(SHARED) {
        made_of(def, session.raw_run(&batch).await?)?;
    }
    let name = shown(schema(&def.location), &def.location.table);
    if others(session, owner).await? {
        let message = format!("the database of table \"{name}\" belongs to another repository");
        return Err(Error::new(sqlstate::OBJECT_IN_USE, message)
            .with_detail(
                "The SQL Server database holds history and branches of tables that the other repository registered.",
            )
            .with_hint(
                "Unregister the tables there first; if that repository is gone, drop the triggers whose names begin with epoch_ and the schema epoch.",
            ));
    }
    if let Some(owner) = owner {
        session.run("DELETE FROM [epoch].[epoch_repository]").await?;
        session
            .exec("INSERT INTO [epoch].[epoch_repository] (id) VALUES (?)", &[Value::Text(owner.clone())])
            .await?;
    }
    let known = registered(session, def).await?;
    if known.iter().any(|(id, place)| *id != def.id.0 || *place != place_of(def)) {
        let message = format!("table \"{name}\" is in use by another repository");
        return Err(Error::new(sqlstate::OBJECT_IN_USE, message).with_detail(
            "The SQL Server database holds the registrations of a repository with other table numbers.",
        ));
    }
    if !known.is_empty() {
        // Unless the one before was broken off before it knew the rows, there is nothing left to do.
        return match physical(session, def).await {
            Ok(table) => Ok(Some(Meta::new(def.clone(), table))),
            Err(e) if e.code() == sqlstate::UNDEFINED_TABLE => Ok(None),
            Err(e) => Err(e),
        };
    }
    create(session, def).await.map(Some)
}

/// Schema and name of a table.
fn place_of(def: &TableDef) -> (String, String) {
    (schema(&def.location).to_owned(), def.location.table.clone())
}

async fn registered(session: &mut Session, def: &TableDef) -> Result<Vec<(i64, (String, String))>> {
    let sql = "SELECT id, schema_name, name FROM [epoch].[epoch_registered] WHERE id = ? OR (schema_name = ? AND name = ?)";
    let (schema, name) = place_of(def);
    let params = [Value::Int(def.id.0), Value::Text(schema), Value::Text(name)];
    let rows = session.rows(sql, &params).await?;
    let one = |row: &crate::pool::Cells| Some((number(row, 0)?, (text(row, 1)?, text(row, 2)?)));
    Ok(rows.iter().filter_map(one).collect())
}

/// Whether the registrations in the database are another repository's.
async fn others(session: &mut Session, owner: Option<&String>) -> Result<bool> {
    let Some(owner) = owner else { return Ok(false) };
    if !meta::exists(session, "epoch_registered").await? {
        return Ok(false);
    }
    let sql = "SELECT CASE WHEN EXISTS (SELECT 1 FROM [epoch].[epoch_registered]) AND NOT EXISTS \
               (SELECT 1 FROM [epoch].[epoch_repository] WHERE id = ?) THEN 1 ELSE 0 END";
    Ok(session.number(sql, &[Value::Text(owner.clone())]).await? == Some(1))
}

/// A table as it is now.
async fn physical(session: &mut Session, def: &TableDef) -> Result<Physical> {
    let (schema, name) = place_of(def);
    let found = physical::read(session, Some((&schema, &name))).await?.into_values().next();
    found.ok_or_else(|| missing(&schema, &name))
}

async fn create(session: &mut Session, def: &TableDef) -> Result<Meta> {
    let table = physical(session, def).await?;
    let obstacle = table.obstacle();
    let meta = Meta::new(def.clone(), table);
    if let Some(why) = obstacle.or_else(|| meta.key_obstacle()) {
        return Err(Error::unsupported(format!("registering table \"{}\"", meta.name())).with_detail(why));
    }
    if let Some(reason) = &meta.drift {
        return Err(Error::drifted(&meta.def.name.to_string(), reason));
    }
    // Who uses the table is waited for before anything is made: whoever reads the server's catalog waits for what is in it
    // and isn't committed, and all reads of branches do.
    let sql = format!("SELECT TOP (1) 1 FROM {} WITH (TABLOCKX, HOLDLOCK)", meta.base);
    session.exists(&sql, &[]).await?;
    remove_objects(session, def).await?;
    for batch in tables(&meta).into_iter().chain(triggers(&meta, true)).chain(triggers(&meta, false)) {
        made_of(def, session.raw_run(&batch).await?)?;
    }
    // Behind another trigger, which may change rows again, images would be of rows that it made.
    for event in EVENTS {
        let name = Value::Text(trigger(&meta, false, event));
        let sql = "EXEC sp_settriggerorder @triggername = ?, @order = N'First', @stmttype = ?";
        let done = session.raw_exec(sql, &[name, Value::Text(event.to_owned())]).await?;
        made_of(def, done.map(drop))?;
    }
    note(session, &meta).await?;
    Ok(meta)
}

/// Writes that the table is registered.
async fn note(session: &mut Session, meta: &Meta) -> Result<()> {
    let id = Value::Int(meta.id().0);
    for table in ["epoch_lineage", "epoch_number"] {
        let sql = format!("DELETE FROM {} WHERE table_id = ?", qualified(SCHEMA, table));
        session.exec(&sql, std::slice::from_ref(&id)).await?;
    }
    let sql = "INSERT INTO [epoch].[epoch_lineage] (table_id, lineage, base) VALUES (?, 1, 0)";
    session.exec(sql, std::slice::from_ref(&id)).await?;
    let definition =
        serde_json::to_string(&meta.def).map_err(|e| Error::internal(format!("a definition: {e}")))?;
    let (schema, name) = place_of(&meta.def);
    let params = [
        id,
        Value::Text(schema),
        Value::Text(name),
        Value::Text(definition),
        Value::Int(meta.physical.object),
        Value::Text(made(session, meta).await?),
    ];
    // When it got its form is noted by whoever looks first: triggers give it another time.
    let sql = "INSERT INTO [epoch].[epoch_registered] (id, schema_name, name, definition, object, made) \
               VALUES (?, ?, ?, ?, ?, ?)";
    session.exec(sql, &params).await.map(drop)
}

/// What the server says to a definition of ours is about the user's table.
fn made_of(def: &TableDef, made: Result<(), tiberius::error::Error>) -> Result<()> {
    made.map_err(|e| match map(e) {
        e if matches!(e.code(), sqlstate::LOCK_NOT_AVAILABLE | sqlstate::CONNECTION_FAILURE | "40P01") => e,
        e if e.code() == sqlstate::INSUFFICIENT_PRIVILEGE => e.with_hint(
            "The user of the url needs CREATE SCHEMA and CREATE TABLE in the database, and SELECT, INSERT, UPDATE, DELETE, ALTER and REFERENCES on the tables' schemas.",
        ),
        e => Error::unsupported(format!("registering table \"{}\"", shown(schema(&def.location), &def.location.table)))
            .with_detail(e.message().to_owned()),
    })
}

/// Removes the triggers and tables of a registration, as far as they are there.
async fn remove_objects(session: &mut Session, def: &TableDef) -> Result<()> {
    let sql = "SELECT s.name, g.name FROM sys.triggers AS g JOIN sys.objects AS o ON o.object_id = g.object_id \
               JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE g.name LIKE ? ESCAPE N'!'";
    let pattern = Value::Text(format!("epoch!_capture!_{}!_%", def.id.0));
    for row in session.rows(sql, &[pattern]).await? {
        let (Some(schema), Some(name)) = (text(&row, 0), text(&row, 1)) else { continue };
        session.run(&format!("DROP TRIGGER {}", qualified(&schema, &name))).await?;
    }
    for table in objects(def.id) {
        session.run(&format!("DROP TABLE IF EXISTS {}", qualified(SCHEMA, &table))).await?;
    }
    Ok(())
}

/// Removes what there is once per database, if no table is registered.
async fn remove_shared(session: &mut Session) -> Result<()> {
    if session.exists("SELECT TOP (1) 1 FROM [epoch].[epoch_registered]", &[]).await? {
        return Ok(());
    }
    for table in ["epoch_registered", "epoch_lineage", "epoch_number", "epoch_seal", "epoch_repository"] {
        session.run(&format!("DROP TABLE IF EXISTS {}", qualified(SCHEMA, table))).await?;
    }
    // A user's own schema of this name with something in it is left.
    let sql = "SELECT TOP (1) 1 FROM sys.objects WHERE schema_id = SCHEMA_ID(N'epoch')";
    if !session.exists(sql, &[]).await? {
        session.run("DROP SCHEMA IF EXISTS [epoch]").await?;
    }
    Ok(())
}

/// Removes everything of a table, and the rest of our objects with the last one. Idempotent.
pub(crate) async fn uninstall(session: &mut Session, def: &TableDef, owner: Option<&String>) -> Result<()> {
    session.take_turn(TURN, PATIENCE).await?;
    if others(session, owner).await? || !meta::exists(session, "epoch_registered").await? {
        return Ok(());
    }
    // An install that another repository's table refused must not be followed by an uninstall of that table.
    let known = registered(session, def).await?;
    if !known.iter().any(|(id, place)| *id == def.id.0 && *place == place_of(def)) {
        return Ok(());
    }
    session.begin_committed().await?;
    let done = removed(session, def).await;
    match done {
        Ok(()) => session.commit().await,
        Err(e) => {
            session.rollback().await?;
            Err(e)
        }
    }
}

async fn removed(session: &mut Session, def: &TableDef) -> Result<()> {
    remove_objects(session, def).await?;
    let id = [Value::Int(def.id.0)];
    session.exec("DELETE FROM [epoch].[epoch_lineage] WHERE table_id = ?", &id).await?;
    session.exec("DELETE FROM [epoch].[epoch_number] WHERE table_id = ?", &id).await?;
    session.exec("DELETE FROM [epoch].[epoch_registered] WHERE id = ?", &id).await?;
    remove_shared(session).await
}

/// 42P01.
pub(crate) fn missing(schema: &str, name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", shown(schema, name)))
}
