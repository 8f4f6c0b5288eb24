//! Makes and removes our objects for one table. MySQL commits at every definition, so a registration counts from its row
//! in `epoch_registered` on, which is written last, while nobody can write to the table; what a broken one left is
//! removed by the next.

use epoch_adapter::{Column, Error, Result, TableDef, TableId, Value, sqlstate};

use crate::drift::{created, innodb_number};
use crate::error::map;
use crate::layout::{LINEAGE, fill, history, mask, overlay, quote};
use crate::meta::{self, Flavour, Index, Meta, Physical};
use crate::pool::Session;
use crate::sum;

const SHARED: &str = include_str!("../../../sql/mysql/shared.sql");
const TABLE: &str = include_str!("../../../sql/mysql/table.sql");
const CAPTURE: &str = include_str!("../../../sql/mysql/capture.sql");

/// Triggers keep the mode they were made in: values that a client's own mode let in must not fail in ours.
const TRIGGER_MODE: &str = "ANSI_QUOTES,ALLOW_INVALID_DATES,NO_BACKSLASH_ESCAPES";
/// Seconds that an installation waits for another one.
const PATIENCE: i64 = 30;

/// Installs everything for a table. Idempotent. 55006 if the database has registrations of another repository than
/// `owner`.
pub(crate) async fn install(session: &mut Session, def: &TableDef, owner: Option<&String>) -> Result<()> {
    // Locks and modes of it end with the connection, whatever happens.
    session.tainted = true;
    take_turn(session).await?;
    for statement in statements(SHARED) {
        session.run(&statement).await?;
    }
    if others(session, owner).await? {
        let message =
            format!("the database of table \"{}\" belongs to another repository", def.location.table);
        return Err(Error::new(sqlstate::OBJECT_IN_USE, message)
            .with_detail(
                "The MySQL database holds history and branches of tables that the other repository registered.",
            )
            .with_hint(
                "Unregister the tables there first; if that repository is gone, drop the triggers and tables whose names begin with epoch_.",
            ));
    }
    if let Some(owner) = owner {
        session.run("DELETE FROM epoch_repository").await?;
        session.exec("INSERT INTO epoch_repository VALUES (?)", &[Value::Text(owner.clone())]).await?;
    }
    let known = registered(session, def).await?;
    if known.iter().any(|(id, name)| *id != def.id.0 || *name != def.location.table) {
        let message = format!("table \"{}\" is in use by another repository", def.location.table);
        return Err(Error::new(sqlstate::OBJECT_IN_USE, message).with_detail(
            "The MySQL database holds the registrations of a repository with other table numbers.",
        ));
    }
    if !known.is_empty() {
        // Unless the one before was broken off here, there is nothing left to do.
        return match physical(session, def).await {
            Ok((_, table)) => sum::begin(session, &Meta::new(def.clone(), table)).await,
            Err(e) if e.code() == sqlstate::UNDEFINED_TABLE => Ok(()),
            Err(e) => Err(e),
        };
    }
    let made = create(session, def).await;
    if made.is_err() {
        let _ = session.run("UNLOCK TABLES").await;
        session.exec("DELETE FROM epoch_registered WHERE id = ?", &[Value::Int(def.id.0)]).await?;
        remove_objects(session, def.id).await?;
        remove_shared(session).await?;
    }
    made
}

/// One installation at a time.
async fn take_turn(session: &mut Session) -> Result<()> {
    let sql = format!("SELECT GET_LOCK(concat('epoch_install_', left(DATABASE(), 40)), {PATIENCE})");
    match session.one::<i64>(&sql, &[]).await? {
        Some(1) => Ok(()),
        _ => Err(crate::error::lock_not_available()),
    }
}

async fn registered(session: &mut Session, def: &TableDef) -> Result<Vec<(i64, String)>> {
    let sql = "SELECT id, name FROM epoch_registered WHERE id = ? OR name = ?";
    let params = [Value::Int(def.id.0), Value::Text(def.location.table.clone())];
    let rows = session.rows(sql, &params).await?;
    Ok(rows.into_iter().filter_map(|row| mysql_async::from_row_opt(row).ok()).collect())
}

/// Whether the registrations in the database are another repository's.
async fn others(session: &mut Session, owner: Option<&String>) -> Result<bool> {
    let Some(owner) = owner else { return Ok(false) };
    if !meta::exists(session, "epoch_registered").await? {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM epoch_registered) AND NOT EXISTS (SELECT 1 FROM epoch_repository WHERE id = ?)";
    Ok(session.one::<i64>(sql, &[Value::Text(owner.clone())]).await? == Some(1))
}

/// A table as it is now.
async fn physical(session: &mut Session, def: &TableDef) -> Result<(Flavour, Physical)> {
    let version: String = session.one("SELECT version()", &[]).await?.unwrap_or_default();
    let flavour = Flavour::of(&version);
    let name = &def.location.table;
    let table = meta::read(session, flavour, Some(name)).await?.remove(name).ok_or_else(|| {
        Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
    })?;
    Ok((flavour, table))
}

async fn create(session: &mut Session, def: &TableDef) -> Result<()> {
    let name = &def.location.table;
    let (flavour, table) = physical(session, def).await?;
    if let Some(why) = table.obstacle() {
        return Err(Error::unsupported(format!("registering table \"{name}\"")).with_detail(why));
    }
    let meta = Meta::new(def.clone(), table);
    if let Some(reason) = &meta.drift {
        return Err(Error::drifted(&meta.def.name.to_string(), reason));
    }
    // Said before anything is made.
    innodb_number(session, flavour, name).await?;
    remove_objects(session, def.id).await?;
    for sql in statements(&table_sql(&meta)) {
        refused(&meta, session.raw_run(&sql).await?)?;
    }
    for sql in triggers(&meta, true) {
        run_in_mode(session, &meta, &sql).await?;
    }
    lock(session, &meta).await?;
    for sql in triggers(&meta, false) {
        run_in_mode(session, &meta, &sql).await?;
    }
    note(session, flavour, &meta).await?;
    session.run("UNLOCK TABLES").await?;
    // What is written meanwhile has images already.
    sum::begin(session, &meta).await
}

/// Nobody writes to the table from here on.
async fn lock(session: &mut Session, meta: &Meta) -> Result<()> {
    let tables = [meta.base.as_str(), &meta.history, "epoch_lineage", "epoch_registered", "epoch_number"];
    let list: Vec<_> = tables.iter().map(|t| format!("{t} WRITE")).collect();
    session.run(&format!("LOCK TABLES {}, epoch_lineage AS epoch_l WRITE", list.join(", "))).await
}

async fn run_in_mode(session: &mut Session, meta: &Meta, sql: &str) -> Result<()> {
    session.run(&format!("SET SESSION sql_mode = '{TRIGGER_MODE}'")).await?;
    let made = session.raw_run(sql).await?;
    session.run(&format!("SET SESSION sql_mode = '{}'", crate::connect::MODE)).await?;
    refused(meta, made)
}

/// Writes that the table is registered.
async fn note(session: &mut Session, flavour: Flavour, meta: &Meta) -> Result<()> {
    let id = Value::Int(meta.id().0);
    session.exec("DELETE FROM epoch_lineage WHERE table_id = ?", std::slice::from_ref(&id)).await?;
    session.exec("DELETE FROM epoch_number WHERE table_id = ?", std::slice::from_ref(&id)).await?;
    session
        .exec(
            "INSERT INTO epoch_lineage (table_id, lineage, base) VALUES (?, 1, 0)",
            std::slice::from_ref(&id),
        )
        .await?;
    let number = innodb_number(session, flavour, meta.name()).await?;
    let formed = meta.physical.settled.then(|| meta.physical.formed.clone());
    let made = created(session, meta.id()).await?;
    let definition =
        serde_json::to_string(&meta.def).map_err(|e| Error::internal(format!("a definition: {e}")))?;
    let params = [
        id,
        Value::Text(meta.name().to_owned()),
        Value::Text(definition),
        Value::Int(number),
        formed.map_or(Value::Null, Value::Text),
        Value::Text(made),
    ];
    let sql =
        "INSERT INTO epoch_registered (id, name, definition, innodb, formed, made) VALUES (?, ?, ?, ?, ?, ?)";
    session.exec(sql, &params).await.map(drop)
}

/// What the server says to a definition of ours is about the user's table.
fn refused(meta: &Meta, made: Result<(), mysql_async::Error>) -> Result<()> {
    made.map_err(|e| match map(e) {
        e if matches!(e.code(), sqlstate::LOCK_NOT_AVAILABLE | sqlstate::CONNECTION_FAILURE) => e,
        e if e.code() == sqlstate::INSUFFICIENT_PRIVILEGE => e.with_hint(
            "The user of the url needs SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, TRIGGER and LOCK TABLES on the database, and PROCESS; a server with a binary log also log_bin_trust_function_creators.",
        ),
        e => Error::unsupported(format!("registering table \"{}\"", meta.name()))
            .with_detail(e.message().to_owned()),
    })
}

/// The statements of a template whose statements end at `;` before a line break.
fn statements(template: &str) -> Vec<String> {
    let without_comments: Vec<_> = template.lines().filter(|line| !line.starts_with("--")).collect();
    let text = without_comments.join("\n");
    text.split(";\n").map(|s| s.trim().trim_end_matches(';').to_owned()).filter(|s| !s.is_empty()).collect()
}

/// The DDL of a column of ours that holds values of a user's key.
pub(crate) fn key_column_sql(column: &Column) -> String {
    // Without a default of its own a TIMESTAMP gets the time of each change, where `explicit_defaults_for_timestamp` is
    // off, or a date that isn't one.
    let default = match column.type_name.starts_with("timestamp") {
        true => " DEFAULT '1970-01-01 00:00:01'",
        false => "",
    };
    format!("{} {} NOT NULL{default}", quote(&column.name), column.type_name)
}

fn table_sql(meta: &Meta) -> String {
    let key = &meta.def.schema.key;
    let column = |(i, c): (usize, &Column)| match key.contains(&i) {
        true => key_column_sql(c),
        false => format!("{} {} NULL DEFAULT NULL", quote(&c.name), c.type_name),
    };
    let columns: Vec<_> = meta.def.schema.columns.iter().enumerate().map(column).collect();
    let mask: Vec<_> = meta.def.schema.key_columns().map(key_column_sql).collect();
    let id = meta.id().0.to_string();
    fill(
        TABLE,
        &[
            ("id", &id),
            ("base", &meta.base),
            ("key", &meta.key_columns("")),
            ("overlay_changes", &overlay_changes(meta)),
            ("overlay_indexes", &overlay_indexes(meta)),
            ("mask_columns", &mask.join(",\n  ")),
            ("history_columns", &columns.join(",\n  ")),
        ],
    )
}

/// What the overlay doesn't have of the base: numbering, and indexes without the lineage.
fn overlay_changes(meta: &Meta) -> String {
    let mut out = String::new();
    for column in meta.physical.columns.iter().filter(|c| c.auto) {
        out.push_str(&format!("MODIFY COLUMN {} {} NOT NULL, ", quote(&column.name), column.type_name));
    }
    for index in &meta.physical.indexes {
        match index.name.as_str() {
            "PRIMARY" => out.push_str("DROP PRIMARY KEY, "),
            name => out.push_str(&format!("DROP INDEX {}, ", quote(name))),
        }
    }
    out
}

/// The base's indexes per lineage, under their own names. The key has one already.
fn overlay_indexes(meta: &Meta) -> String {
    let usual = |i: &&Index| matches!(i.kind.as_str(), "BTREE" | "HASH");
    let is_key = |i: &&Index| {
        i.parts.iter().map(|p| &p.0).eq(meta.key.iter().map(|k| quote(k)).collect::<Vec<_>>().iter())
    };
    let one = |index: &Index| {
        let part = |(sql, length): &(String, Option<u64>)| match length {
            Some(n) => format!("{sql}({n})"),
            None => sql.clone(),
        };
        let parts: Vec<_> = index.parts.iter().map(part).collect();
        let unique = if index.unique { "UNIQUE " } else { "" };
        // The primary key of a table that is registered by another key.
        let name = if index.name == "PRIMARY" { "epoch_primary" } else { &index.name };
        format!(",\n  ADD {unique}INDEX {} ({LINEAGE}, {})", quote(name), parts.join(", "))
    };
    meta.physical.indexes.iter().filter(usual).filter(|i| !is_key(i)).map(one).collect()
}

/// The triggers of the base, or of the overlay.
pub(crate) fn triggers(meta: &Meta, on_overlay: bool) -> Vec<String> {
    let id = meta.id().0.to_string();
    let of = |side: &str| if on_overlay { format!("{side}.{LINEAGE}") } else { "1".to_owned() };
    let prefixed =
        |prefix: &str, names: &[String]| crate::layout::list(prefix, names.iter().map(String::as_str));
    let same: Vec<_> = meta.key.iter().map(|k| format!("OLD.{0} <=> NEW.{0}", quote(k))).collect();
    let mut is_old: Vec<_> = meta.key.iter().map(|k| format!("epoch_b.{0} = OLD.{0}", quote(k))).collect();
    if on_overlay {
        is_old.push(format!("epoch_b.{LINEAGE} = OLD.{LINEAGE}"));
    }
    let name = if on_overlay { format!("{id}_overlay") } else { id.clone() };
    let parts = [
        ("id", id.as_str()),
        ("name", &name),
        ("table", if on_overlay { &meta.overlay } else { &meta.base }),
        ("old_lineage", &of("OLD")),
        ("new_lineage", &of("NEW")),
        ("columns", &prefixed("", &meta.columns)),
        ("old_columns", &prefixed("OLD", &meta.columns)),
        ("key", &prefixed("", &meta.key)),
        ("new_key", &prefixed("NEW", &meta.key)),
        ("b_is_old", &is_old.join(" AND ")),
        ("same_key", &same.join(" AND ")),
        ("is_new", if on_overlay { "NEW.epoch_copied = 0" } else { "TRUE" }),
    ];
    // Split before names are put in, which may hold anything.
    let text =
        |piece: &str| Some(fill(&format!("{}END", piece.get(piece.find("CREATE TRIGGER")?..)?), &parts));
    CAPTURE.split("\nEND;").map(|piece| format!("{piece}\n")).filter_map(|piece| text(&piece)).collect()
}

/// Removes the triggers and tables of a registration, as far as they are there.
async fn remove_objects(session: &mut Session, id: TableId) -> Result<()> {
    let sql = "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() \
        AND TRIGGER_NAME LIKE ? ESCAPE '!'";
    let pattern = Value::Text(format!("epoch!_capture!_{}!_%", id.0));
    for row in session.rows(sql, &[pattern]).await? {
        let (name,): (String,) =
            mysql_async::from_row_opt(row).map_err(|_| Error::internal("a trigger's name"))?;
        session.run(&format!("DROP TRIGGER IF EXISTS {}", quote(&name))).await?;
    }
    for table in [overlay(id), mask(id), history(id)] {
        session.run(&format!("DROP TABLE IF EXISTS {table}")).await?;
    }
    Ok(())
}

/// Removes what there is once per database, if no table is registered.
async fn remove_shared(session: &mut Session) -> Result<()> {
    if session.exists("SELECT 1 FROM epoch_registered LIMIT 1", &[]).await? {
        return Ok(());
    }
    session
        .run("DROP TABLE IF EXISTS epoch_registered, epoch_lineage, epoch_number, epoch_seal, epoch_repository")
        .await
}

/// Removes everything of a table, and the rest of our objects with the last one. Idempotent.
pub(crate) async fn uninstall(session: &mut Session, def: &TableDef, owner: Option<&String>) -> Result<()> {
    session.tainted = true;
    take_turn(session).await?;
    if others(session, owner).await? || !meta::exists(session, "epoch_registered").await? {
        return Ok(());
    }
    // An install that another repository's table refused must not be followed by an uninstall of that table.
    let known = registered(session, def).await?;
    if !known.iter().any(|(id, name)| *id == def.id.0 && *name == def.location.table) {
        return Ok(());
    }
    remove_objects(session, def.id).await?;
    let id = [Value::Int(def.id.0)];
    session.exec("DELETE FROM epoch_lineage WHERE table_id = ?", &id).await?;
    session.exec("DELETE FROM epoch_number WHERE table_id = ?", &id).await?;
    session.exec("DELETE FROM epoch_registered WHERE id = ?", &id).await?;
    remove_shared(session).await
}
