//! Drafts: tables that exist on branches only.
//!
//! A draft's base is a real, empty table in a schema of its own (see [`Location::draft`]), with an overlay,
//! a mask and a history as every versioned table has them. So reads, writes, commits and diffs need to
//! know nothing of it. A merge into main moves the base to where the table belongs.

use deadpool_postgres::Object;
use epoch_adapter::{
    Definition, DraftChange, Error, Layer, Location, Piece, Result, Statement, TableChanges, TableDef,
    TableId, TableName, at_home, sqlstate,
};

use crate::error::pg;
use crate::layout::{LINEAGE_SETTING, base, literal, overlay, overlay_schema, quote};
use crate::stand_in::{self, stand_in};
use crate::text::{fill, join, writable};
use crate::tx::{Tx, is_true, texts};
use crate::versions::{self, Entry, Version};
use crate::{catalog, enums, install, layer, revise, views};

const DEFINITION_SQL: &str = include_str!("../../../sql/postgres/definition.sql");
const TAKEN_SQL: &str = include_str!("../../../sql/postgres/taken_names.sql");

/// The rows of a draft while its tables are made anew.
const ROWS: &str = "pg_temp.epoch_rows";

/// See [`epoch_adapter::Adapter::define`].
pub(crate) async fn define(
    tx: &Tx,
    table: &TableDef,
    layer: Layer,
    change: &DraftChange,
) -> Result<Definition> {
    install::lock(tx).await?;
    match change {
        DraftChange::Create(statement) => {
            install::shared_part(tx).await?;
            let schema = format!("CREATE SCHEMA {}", quote(schema(table)));
            tx.batch_execute(&schema).await.map_err(pg)?;
            stand_in::make(tx, table, statement).await?;
            let taken = take_names(tx, table, layer).await?;
            run(tx, table, statement).await?;
            tx.batch_execute(&join(&taken, "", |name| format!("DROP SEQUENCE {name};\n")))
                .await
                .map_err(pg)?;
            let found = described(tx, table).await?;
            install::install_in(tx, &found.0, &Entry::first(&found.0)).await?;
            layer::record(tx, layer).await?;
            let show = versions::show(layer, &[(table.id, true)], false);
            tx.batch_execute(&show).await.map_err(pg)?;
            Ok(found.1)
        }
        DraftChange::Alter(statement) => alter(tx, table, layer, statement).await,
        DraftChange::View(change) => {
            install::shared_part(tx).await?;
            views::define(tx, table, change).await
        }
        DraftChange::Enum(statement) => {
            install::shared_part(tx).await?;
            enums::define(tx, table, statement).await
        }
        DraftChange::Revise { of, view, statement } => {
            install::shared_part(tx).await?;
            without_triggers(tx, of).await?;
            revise::revise(tx, table, layer, (of, view), Some(statement)).await
        }
        DraftChange::Move { of, view } => {
            install::shared_part(tx).await?;
            without_triggers(tx, of).await?;
            revise::revise(tx, table, layer, (of, view), None).await
        }
    }
}

/// 0A000 if the user's triggers run on branches: those of a new version would have to be made of what is done to the table.
async fn without_triggers(tx: &Tx, of: &TableDef) -> Result<()> {
    if crate::user_triggers::copied(tx, of).await?.is_empty() {
        return Ok(());
    }
    let what = format!("altering table \"{}\", whose triggers run on branches,", of.name);
    let hint =
        format!("SELECT epoch_register('{}', triggers => 'off') makes them run on main only.", of.name);
    Err(Error::unsupported(what).with_hint(hint))
}

/// Names that indexes and sequences of the table could get, which belong to something else that the branch shows, are taken in
/// the draft's schema while it is made: PostgreSQL chooses others then, or says so.
async fn take_names(tx: &Tx, table: &TableDef, layer: Layer) -> Result<Vec<String>> {
    let home = table.location.home();
    let sql = fill(
        TAKEN_SQL,
        &[
            ("home", &literal(home.schema.as_deref().unwrap_or("public"))),
            ("table", &literal(&home.table)),
            ("lineage", &layer.lineage.0.to_string()),
            ("base", &layer.base.to_string()),
        ],
    );
    let names: Vec<String> = texts(tx, &sql).await?.into_iter().flatten().flatten().collect();
    let names: Vec<String> =
        names.iter().map(|name| format!("{}.{}", quote(schema(table)), quote(name))).collect();
    tx.batch_execute(&join(&names, "", |name| format!("CREATE SEQUENCE {name};\n"))).await.map_err(pg)?;
    Ok(names)
}

/// Puts the layer's rows into the base, where the statement finds them as on any table, and makes our
/// tables anew from what came out.
async fn alter(tx: &Tx, table: &TableDef, layer: Layer, statement: &Statement) -> Result<Definition> {
    let (base, lineage) = (base(table), layer.lineage.0);
    // Nobody else writes to it from here on.
    tx.batch_execute(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", overlay(table))).await.map_err(pg)?;
    let mut stand_ins = stand_in::of(tx, table, layer).await?;
    stand_ins.extend(stand_in::make(tx, table, statement).await?);
    let rows = format!("(SELECT * FROM {} WHERE epoch_lineage = {lineage})", overlay(table));
    if !texts(tx, &format!("SELECT FROM {rows} r LIMIT 1")).await?.is_empty() {
        stand_in::fill(tx, &stand_ins, layer, &rows).await?;
    }
    install::drop_triggers(tx, table).await?;
    let columns = writable(table, "");
    let fill = format!(
        "INSERT INTO {base} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {} WHERE epoch_lineage = {lineage}",
        overlay(table)
    );
    tx.batch_execute(&fill).await.map_err(pg)?;
    settle(tx, table).await?;
    // What its parents have of its keys stays: to drop it would keep everybody off them.
    let keys = crate::foreign_keys::of(tx, table).await?;
    install::take_away(tx, table).await?;
    run(tx, table, statement).await.map_err(|e| stand_in::unveiled(e, &stand_ins))?;
    let (table, definition) = described(tx, table).await?;
    let columns = writable(&table, "");
    let save = format!("CREATE TEMPORARY TABLE epoch_rows ON COMMIT DROP AS TABLE {base}; TRUNCATE {base}");
    tx.batch_execute(&save).await.map_err(pg)?;
    stand_in::empty(tx, &stand_ins).await?;
    let entry = Entry::first(&table);
    install::install_in(tx, &table, &entry).await?;
    crate::foreign_keys::remove_dropped(tx, &table, &keys).await?;
    let now = Version { columns: entry.columns, table: table.clone() };
    stand_in::check_children(tx, &table, layer, (table.id.0, &now)).await?;
    let back = format!(
        "INSERT INTO {} ({columns}, epoch_lineage) SELECT {columns}, {lineage} FROM {ROWS}",
        overlay(&table)
    );
    tx.batch_execute(&back).await.map_err(pg)?;
    tx.batch_execute(&format!("DROP TABLE {ROWS}")).await.map_err(pg)?;
    Ok(definition)
}

/// Has what is deferred checked of the rows that were put into the base: a table where something waits can't be altered. Nobody
/// else's constraints are touched.
pub(crate) async fn settle(tx: &Tx, table: &TableDef) -> Result<()> {
    let sql = format!(
        "SELECT format('%I.%I', n.nspname, k.conname) FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace \
         WHERE k.conrelid = {}::regclass AND k.condeferrable",
        literal(&base(table))
    );
    let names: Vec<String> = texts(tx, &sql).await?.into_iter().flatten().flatten().collect();
    if names.is_empty() {
        return Ok(());
    }
    tx.batch_execute(&format!("SET CONSTRAINTS {} IMMEDIATE", names.join(", "))).await.map_err(pg)
}

/// Runs the client's statement under the client's settings. With a lineage, so that whatever it calls can't write
/// to a table of main (see guard.sql).
pub(crate) async fn run(tx: &Tx, table: &TableDef, statement: &Statement) -> Result<()> {
    let set = |value: &dyn Fn(&str) -> String| {
        let one = |(name, v): &(String, String)| {
            format!("pg_catalog.set_config({}, {}, true)", literal(name), value(v))
        };
        let guard = (LINEAGE_SETTING.to_owned(), "0".to_owned());
        format!("SELECT {}", join(statement.settings.iter().chain([&guard]), ", ", one))
    };
    tx.batch_execute(&set(&|v| literal(v))).await.map_err(pg)?;
    let sql = join(&statement.pieces, "", |piece| spelled(table, piece).0);
    tx.batch_execute(&sql).await.map_err(|e| restored(pg(e), table, statement))?;
    // What follows is ours: without the client's settings, and not with the server's defaults, by which names of types
    // would have no schema.
    let ours = crate::connect::ours();
    tx.batch_execute(&format!("{}; {ours}", set(&|_| "NULL".to_owned()))).await.map_err(pg)
}

/// A piece in the text that runs, and how long it is in the client's.
fn spelled(table: &TableDef, piece: &Piece) -> (String, usize) {
    match piece {
        Piece::Text(text) => (text.clone(), text.chars().count()),
        Piece::Own(width) => (base(table), *width),
        Piece::Parent(parent, width) => (stand_in(table, parent), *width),
        Piece::Beside(name) => (format!("{}.{}", quote(schema(table)), quote(name)), 0),
        Piece::Type(sql, width) | Piece::Other(sql, width) => (sql.clone(), *width),
        Piece::Read { name, lead, width, .. } => (format!("{lead}{}", views::stand_in(table, name)), *width),
    }
}

/// An error as the client's statement would have it.
fn restored(error: Error, table: &TableDef, statement: &Statement) -> Error {
    let mut message = error.message().to_owned();
    for piece in &statement.pieces {
        if let Piece::Parent(parent, _) = piece {
            message = message
                .replace(&format!("\"parent_{}\"", parent.id.0), &format!("\"{}\"", parent.location.table));
        }
    }
    let error = error.with_message(message);
    let Some(position) = error.position() else { return error };
    let (mut ours, mut theirs) = (1, 1);
    for piece in &statement.pieces {
        let (sql, width) = spelled(table, piece);
        let length = sql.chars().count();
        if position < ours + length {
            let inside = if matches!(piece, Piece::Text(_)) { position - ours } else { 0 };
            return error.with_position(theirs + inside);
        }
        (ours, theirs) = (ours + length, theirs + width);
    }
    error.with_position(theirs)
}

/// The table as the server has it now. What can't be versioned is refused.
async fn described(client: &Object, table: &TableDef) -> Result<(TableDef, Definition)> {
    let schema = catalog::describe(client, &table.location, None).await?;
    let text = text(client, &table.location).await?.unwrap_or_default();
    let table = TableDef { schema: schema.clone(), ..table.clone() };
    Ok((table, Definition { schema, text, revision: None, view: None, enumeration: None }))
}

/// See [`epoch_adapter::Adapter::definition`].
pub(crate) async fn definition(client: &Object, table: &TableDef) -> Result<Option<Definition>> {
    if table.enumeration.is_some() {
        return enums::definition(client, table).await;
    }
    match text(client, &table.location).await? {
        None => Ok(None),
        Some(_) => described(client, table).await.map(|(_, definition)| Some(definition)),
    }
}

/// The text of a definition, as it reads at home.
pub(crate) async fn text(client: &Object, location: &Location) -> Result<Option<String>> {
    let schema = location.schema.as_deref().unwrap_or("public");
    let row = client.query_opt(DEFINITION_SQL, &[&schema, &location.table]).await.map_err(pg)?;
    let Some(row) = row else { return Ok(None) };
    let text: String = row.try_get(0).map_err(pg)?;
    let home = location.home().schema.unwrap_or_default();
    // Stand-ins first: their schema's name has the other's in it.
    let text = text.replace(&format!("epoch_{schema}."), "");
    // The types of branches, too.
    Ok(Some(at_home(&text.replace(schema, &home))))
}

/// Drafts among the tables of a merge into main, which become tables there.
pub(crate) struct Homes<'a> {
    /// Those that aren't there yet.
    waiting: Vec<Waiting<'a>>,
    tables: Vec<&'a TableDef>,
    keys: Vec<stand_in::Key>,
}

struct Waiting<'a> {
    draft: TableDef,
    home: &'a TableDef,
    /// The number of its first version.
    family: TableId,
}

impl<'a> Homes<'a> {
    /// Finds them, and takes from them what names where they are.
    pub(crate) async fn begin(tx: &Tx, changes: &'a [TableChanges]) -> Result<Self> {
        let mut homes = Self { waiting: Vec::new(), tables: Vec::new(), keys: Vec::new() };
        for change in changes {
            let table = &change.table;
            let sql = format!("SELECT schema_name, family FROM epoch.registered WHERE id = {}", table.id.0);
            let row = texts(tx, &sql).await?.into_iter().next().unwrap_or_default();
            let mut cells = row.into_iter().flatten();
            let (Some(place), Some(family)) = (cells.next(), cells.next()) else { continue };
            let draft = Location { schema: Some(place), ..table.location.clone() };
            if draft.is_draft() && draft.home() == table.location && change.arrival.is_none() {
                let draft = TableDef { location: draft, ..TableDef::clone(table) };
                let family = family.parse().map_or(table.id, TableId);
                homes.waiting.push(Waiting { draft, home: table, family });
            }
        }
        if !homes.waiting.is_empty() {
            install::lock(tx).await?;
        }
        for Waiting { draft, .. } in &homes.waiting {
            homes.keys.extend(stand_in::foreign_keys(tx, draft).await?);
        }
        for Waiting { draft, .. } in &homes.waiting {
            // Everything that names the base or the overlay is made anew.
            crate::foreign_keys::remove(tx, draft).await?;
            install::drop_triggers(tx, draft).await?;
            stand_in::remove(tx, draft).await?;
        }
        Ok(homes)
    }

    /// Those that a statement on main may find there, whose names nothing has by then nor passes through later, get there.
    pub(crate) async fn arrive(
        &mut self,
        tx: &Tx,
        found: &(dyn Fn(TableId) -> bool + Sync),
        passed: &[&TableName],
    ) -> Result<()> {
        for one in std::mem::take(&mut self.waiting) {
            let free = format!("SELECT to_regclass({}) IS NULL", literal(&base(one.home)));
            if found(one.family) && !passed.contains(&&one.home.name) && is_true(tx, &free).await? {
                move_home(tx, &one.draft, one.home).await?;
                self.tables.push(one.home);
            } else {
                self.waiting.push(one);
            }
        }
        Ok(())
    }

    /// All others do, or it fails.
    pub(crate) async fn arrive_all(&mut self, tx: &Tx) -> Result<()> {
        for Waiting { draft, home, .. } in std::mem::take(&mut self.waiting) {
            move_home(tx, &draft, home).await?;
            self.tables.push(home);
        }
        Ok(())
    }

    /// Makes their triggers, when all tables of the merge are where they belong.
    pub(crate) async fn guard(&self, tx: &Tx) -> Result<()> {
        for home in &self.tables {
            install::guards(tx, home).await?;
        }
        Ok(())
    }

    /// Makes the foreign keys, which locks the parents: as the last of what may have to wait.
    pub(crate) async fn refer(self, tx: &Tx) -> Result<()> {
        for key in &self.keys {
            key.add(tx).await?;
        }
        for home in self.tables.iter().filter(|_| !self.keys.is_empty()) {
            crate::foreign_keys::refresh(tx, home, None).await?;
        }
        Ok(())
    }
}

async fn move_home(tx: &Tx, draft: &TableDef, home: &TableDef) -> Result<()> {
    let schema = schema(home);
    let script = format!(
        "CREATE SCHEMA IF NOT EXISTS {overlays}; \
         ALTER TABLE {overlay} SET SCHEMA {overlays}; \
         ALTER TABLE {base} SET SCHEMA {schema}; \
         DROP SCHEMA {drafts}; DROP SCHEMA {draft_overlays}; \
         UPDATE epoch.registered SET schema_name = {name}, until = {MAX} WHERE id = {id}; {source}",
        overlays = quote(&overlay_schema(home)),
        overlay = overlay(draft),
        base = base(draft),
        schema = quote(schema),
        drafts = quote(self::schema(draft)),
        draft_overlays = quote(&overlay_schema(draft)),
        name = literal(schema),
        id = home.id.0,
        MAX = i64::MAX,
        source = versions::set_source(home),
    );
    tx.batch_execute(&script).await.map_err(|e| taken(pg(e), home))
}

/// See [`epoch_adapter::Adapter::clear`].
pub(crate) async fn clear(tx: &Tx, table: &TableDef, layer: Layer) -> Result<()> {
    tx.batch_execute(&clear_sql(table, layer)).await.map_err(pg)
}

pub(crate) fn clear_sql(table: &TableDef, layer: Layer) -> String {
    format!("DELETE FROM {} WHERE epoch_lineage = {}", overlay(table), layer.lineage.0)
}

/// A name on main that the draft's table, or something of it, would have.
fn taken(error: Error, home: &TableDef) -> Error {
    const TAKEN: [&str; 2] = ["42P07", sqlstate::DUPLICATE_OBJECT];
    match TAKEN.into_iter().find(|code| *code == error.code()) {
        None => error,
        Some(code) => Error::new(code, format!("table \"{}\" cannot be created on main", home.name))
            .with_detail(error.message()),
    }
}

fn schema(table: &TableDef) -> &str {
    table.location.schema.as_deref().unwrap_or("public")
}

/// Drops the base of a draft, with its schema.
pub(crate) async fn drop_base(client: &Object, table: &TableDef) -> Result<()> {
    if !table.location.is_draft() {
        return Ok(());
    }
    let script = format!(
        "DROP SCHEMA IF EXISTS {} CASCADE; DROP SCHEMA IF EXISTS {} CASCADE",
        quote(&overlay_schema(table)),
        quote(schema(table))
    );
    client.batch_execute(&script).await.map_err(pg)
}
