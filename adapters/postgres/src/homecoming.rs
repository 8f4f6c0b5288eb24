//! A revision becomes main's table: what the client did on the branch is done to main's table, and the version that
//! was there gets a place of its own, for commits and branches that have it.
//!
//! Main's history is one line over all versions that were main's: each sees the others' images in its own columns. Where
//! an older version can't be told from the newer one (a column was dropped), all rows are noted in its history
//! before, as PostgreSQL itself would write the table anew.

use std::collections::HashMap;
use std::sync::Arc;

use epoch_adapter::{
    Arrival, Error, Homecoming, Layer, Location, Ordinal, Piece, Replay, Result, TableChanges, TableDef,
    TableId, TableName, sqlstate,
};

use crate::error::pg;
use crate::layout::{PENDING, base, history, literal, overlay, overlay_schema, quote};
use crate::text::{columns, same_key};
use crate::tx::{Tx, texts};
use crate::{catalog, draft, drift, foreign_keys, install, of_main, pending, revise, stand_in, versions};

/// Those among the changes of a merge into main that become main's tables with it. `drafts`: those that main gets
/// beside, some of them under names that tables of main have until then.
pub(crate) async fn all(
    tx: &Tx,
    changes: &[TableChanges],
    ordinal: Ordinal,
    drafts: &mut draft::Homes<'_>,
) -> Result<()> {
    let homes: Vec<_> = changes
        .iter()
        .filter_map(|change| match &change.arrival {
            Some(Arrival::Home(home)) => Some((&change.table, &**home)),
            _ => None,
        })
        .collect();
    for (_, home) in &homes {
        leave(tx, home, ordinal).await?;
    }
    // All of them first: two tables may change places.
    for (_, home) in &homes {
        tx.batch_execute(&clear(&home.before, &home.retired)).await.map_err(pg)?;
    }
    replays(tx, &homes, drafts).await?;
    drafts.arrive_all(tx).await?;
    // All of them first: what looks at one may look at the others.
    for (table, home) in &homes {
        arrive(tx, table, home, ordinal).await?;
    }
    drafts.guard(tx).await?;
    for (table, home) in &homes {
        guard(tx, table, home).await?;
        tidy(tx, &home.before, table).await?;
    }
    Ok(())
}

/// A table that comes home.
type Home<'a> = (&'a Arc<TableDef>, &'a Homecoming);

/// Does to main's tables what was done on the branch.
async fn replays(tx: &Tx, homes: &[Home<'_>], drafts: &mut draft::Homes<'_>) -> Result<()> {
    // In the order in which they were done on the branch: a table may refer to what another one got.
    let mut statements = Vec::new();
    for (at, (_, home)) in homes.iter().enumerate() {
        for (number, statement) in &home.statements {
            statements.push((*number, statement, at));
        }
    }
    statements.sort_by_key(|(number, ..)| *number);
    // Each where main has it at that time.
    let now = |(table, home): &Home<'_>| TableDef {
        location: home.before.location.clone(),
        ..TableDef::clone(table)
    };
    let mut tables: Vec<TableDef> = homes.iter().map(now).collect();
    let mut left = statements.as_slice();
    while let Some(((number, statement, at), rest)) = left.split_first() {
        // Tables that were made before it are there, under names that are free.
        let found = |family| family < *number || statement.parents().any(|parent| parent == family);
        let passed: Vec<&TableName> = left.iter().filter_map(|(_, later, _)| later.to.as_ref()).collect();
        drafts.arrive(tx, &found, &passed).await?;
        left = rest;
        let (Some(table), Some((_, home))) = (tables.get_mut(*at), homes.get(*at)) else { continue };
        match &statement.to {
            None => replay(tx, table, statement).await?,
            Some(to) => {
                let there = Location {
                    schema: Some(to.schema.clone()),
                    table: to.name.clone(),
                    ..table.location.clone()
                };
                rename(tx, table, &there, home.before.id).await?;
                table.location = there;
            }
        }
    }
    Ok(())
}

/// Gives main's table another name or schema. `id`: what it is registered as.
async fn rename(tx: &Tx, table: &TableDef, to: &Location, id: TableId) -> Result<()> {
    let schema = |location: &Location| location.schema.clone().unwrap_or_default();
    let mut script = String::new();
    let mut at = table.clone();
    let mut step = |at: &mut TableDef, to: Location| {
        if schema(&at.location) != schema(&to) {
            script += &format!("ALTER TABLE {} SET SCHEMA {};\n", base(at), quote(&schema(&to)));
            at.location.schema.clone_from(&to.schema);
        }
        if at.location.table != to.table {
            script += &format!("ALTER TABLE {} RENAME TO {};\n", base(at), quote(&to.table));
            at.location.table.clone_from(&to.table);
        }
    };
    if schema(&table.location) != schema(to) && table.location.table != to.table {
        // By way of a name that nothing has: either may be taken in the other's schema.
        let between = format!("epoch_moved_{}", id.0);
        step(&mut at, Location { table: between.clone(), ..table.location.clone() });
        step(&mut at, Location { table: between, ..to.clone() });
    }
    step(&mut at, to.clone());
    script += &format!(
        "UPDATE epoch.registered SET schema_name = {}, table_name = {} WHERE id = {}",
        literal(&schema(to)),
        literal(&to.table),
        id.0
    );
    tx.batch_execute(&script).await.map_err(|e| not_renamed(pg(e), table, to))
}

/// An error of the server's that says why main's table can't have a name or schema.
fn not_renamed(error: Error, table: &TableDef, to: &Location) -> Error {
    // What the name is taken by, that there is no such schema, or that the role may make nothing in it.
    const SAID: [&str; 4] = ["42P07", sqlstate::DUPLICATE_OBJECT, "3F000", sqlstate::INSUFFICIENT_PRIVILEGE];
    let Some(code) = SAID.into_iter().find(|code| *code == error.code()) else { return error };
    let name = format!("{}.{}", to.schema.as_deref().unwrap_or_default(), to.table);
    let message = format!("table \"{}\" cannot become \"{name}\" on main", table.location.table);
    Error::new(code, message).with_detail(error.message())
}

/// Drops the schema of overlays that a table has left, if it was the last one in it.
async fn tidy(tx: &Tx, before: &TableDef, table: &TableDef) -> Result<()> {
    let left = before.location.schema.as_deref().unwrap_or("public");
    if table.location.schema.as_deref() == Some(left) {
        return Ok(());
    }
    let sql = format!("SELECT FROM epoch.registered WHERE schema_name = {} LIMIT 1", literal(left));
    if !texts(tx, &sql).await?.is_empty() {
        return Ok(());
    }
    let drop = format!("DROP SCHEMA IF EXISTS {}", quote(&overlay_schema(before)));
    tx.batch_execute(&drop).await.map_err(pg)
}

/// What was main's table gets a place of its own, without its rows.
async fn leave(tx: &Tx, home: &Homecoming, ordinal: Ordinal) -> Result<()> {
    let Homecoming { before, retired, draft, others, .. } = home;
    install::lock(tx).await?;
    let lock = format!(
        "LOCK TABLE {}, {}, {} IN ACCESS EXCLUSIVE MODE",
        base(before),
        overlay(before),
        overlay(draft)
    );
    tx.batch_execute(&lock).await.map_err(pg)?;
    check(tx, before).await?;
    revise::clone(tx, before, retired).await?;
    stand_in::like(tx, before, retired, None).await?;
    let lossless = retired.retired.as_ref().is_some_and(|r| r.columns.is_some());
    if !lossless {
        tx.batch_execute(&note_all(before, ordinal)).await.map_err(pg)?;
    }
    for version in [before, draft] {
        foreign_keys::remove(tx, version).await?;
    }
    for version in [before, draft].into_iter().chain(others) {
        install::drop_triggers(tx, version).await?;
    }
    Ok(())
}

/// Does to main's table what the client did on the branch.
async fn replay(tx: &Tx, table: &TableDef, statement: &Replay) -> Result<()> {
    let mut parents = HashMap::new();
    for parent in statement.parents() {
        let family = parent.0;
        // Not its columns: what was done to it so far isn't noted yet.
        let sql = format!(
            "SELECT quote_ident(schema_name) || '.' || quote_ident(table_name) FROM epoch.registered WHERE family = {family} AND until = {}",
            i64::MAX
        );
        let name = texts(tx, &sql).await?.into_iter().flatten().flatten().next();
        let name = name.ok_or_else(|| {
            Error::new("42P01", format!("table \"{}\" refers to a table that main does not have", table.name))
        })?;
        parents.insert(parent, name);
    }
    let parent = |id| Piece::Other(parents.get(&id).cloned().unwrap_or_default(), 0);
    draft::run(tx, table, &statement.statement(parent)).await
}

/// The version takes the place of main's table.
async fn arrive(tx: &Tx, table: &TableDef, home: &Homecoming, ordinal: Ordinal) -> Result<()> {
    let Homecoming { before, retired, draft, others, .. } = home;
    tx.batch_execute(&moves(before, retired, draft, table)).await.map_err(pg)?;
    same(tx, table).await?;
    let others = || others.iter().map(|t| &**t);
    let mut script = format!(
        "UPDATE epoch.registered SET until = {ordinal} WHERE id = {}; \
         UPDATE epoch.registered SET until = {} WHERE id = {};\n",
        before.id.0,
        i64::MAX,
        table.id.0
    );
    for version in [table, &**retired].into_iter().chain(others()) {
        script += &versions::set_source(version);
    }
    tx.batch_execute(&script).await.map_err(pg)
}

/// The triggers of all versions, as they are now.
async fn guard(tx: &Tx, table: &TableDef, home: &Homecoming) -> Result<()> {
    let Homecoming { before, retired, others, .. } = home;
    for version in [table, &**retired].into_iter().chain(others.iter().map(|t| &**t)) {
        install::guards(tx, version).await?;
    }
    let family = versions::family(tx, table.id).await?.unwrap_or(table.id.0);
    tx.batch_execute(&fence(table, before, family)).await.map_err(pg)
}

/// Keeps statements of branches with the old version, which waited for the lock, off the overlay that has its name
/// now, and older snapshots off both versions.
fn fence(table: &TableDef, before: &TableDef, family: i64) -> String {
    format!(
        "{} INSERT INTO epoch.layer (lineage, table_id) VALUES (0, {}) ON CONFLICT DO NOTHING",
        versions::fence(table, family),
        before.id.0,
    )
}

/// 55000 if main has changes of the table that no commit has. Those that came to nothing are forgotten.
async fn check(tx: &Tx, table: &Arc<TableDef>) -> Result<()> {
    drift::check(tx, std::slice::from_ref(table)).await?;
    if pending::pending(tx, std::slice::from_ref(table), Layer::MAIN).await?.is_empty() {
        let forget = format!(
            "DELETE FROM {} WHERE epoch_lineage = 1 AND epoch_to = {PENDING} AND epoch_seq >= '0/0'",
            history(table)
        );
        return tx.batch_execute(&forget).await.map_err(pg);
    }
    let message =
        format!("table \"{}\", which the merge alters, has uncommitted changes on main", table.name);
    Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint("Commit them first."))
}

/// Notes all rows of main's table as what they were until now.
fn note_all(table: &TableDef, ordinal: Ordinal) -> String {
    format!(
        "INSERT INTO {} (epoch_lineage, {}, epoch_existed, epoch_xid, epoch_from, epoch_to, epoch_depth) \
         SELECT 1, {}, true, NULL, coalesce((SELECT max(g.epoch_to) FROM {} g WHERE g.epoch_lineage = 1 AND {}), 0), {ordinal}, 0 \
         FROM {} b",
        history(table),
        columns(table, ""),
        pending::images(table, "b"),
        of_main::images(table),
        same_key(table, "g", "b"),
        base(table)
    )
}

/// The overlay of what was main's table leaves its place.
fn clear(before: &TableDef, retired: &TableDef) -> String {
    let overlays = quote(&overlay_schema(retired));
    format!("CREATE SCHEMA IF NOT EXISTS {overlays}; ALTER TABLE {} SET SCHEMA {overlays}", overlay(before))
}

/// The version's overlay takes the place of main's table.
fn moves(before: &TableDef, retired: &TableDef, draft: &TableDef, table: &TableDef) -> String {
    let schema = |t: &TableDef| t.location.schema.clone().unwrap_or_default();
    format!(
        "CREATE SCHEMA IF NOT EXISTS {overlays}; ALTER TABLE {new} SET SCHEMA {overlays}; \
         DROP SCHEMA {draft_overlays} CASCADE; DROP SCHEMA {draft_schema} CASCADE; \
         UPDATE epoch.registered SET schema_name = {retired_name}, table_name = {retired_table} WHERE id = {old_id}; \
         UPDATE epoch.registered SET schema_name = {home_name} WHERE id = {new_id}",
        new = overlay(draft),
        overlays = quote(&overlay_schema(table)),
        draft_overlays = quote(&overlay_schema(draft)),
        draft_schema = quote(&schema(draft)),
        retired_name = literal(&schema(retired)),
        retired_table = literal(&retired.location.table),
        home_name = literal(&schema(table)),
        old_id = before.id.0,
        new_id = table.id.0,
    )
}

/// 55000 if the statements made something else of main's table than of the branch's.
async fn same(tx: &Tx, table: &TableDef) -> Result<()> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let now = catalog::columns(tx, schema, &table.location.table).await?;
    let shape = |c: &epoch_adapter::Column| (c.name.clone(), c.type_name.clone(), c.generated);
    if now.iter().map(shape).eq(table.schema.columns.iter().map(shape)) {
        return Ok(());
    }
    let message = format!("table \"{}\" cannot be altered on main as it was on the branch", table.name);
    Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_detail("It would have other columns, or another order of them."))
}
