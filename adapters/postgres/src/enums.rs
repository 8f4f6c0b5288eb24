//! Types that branches make: enumerations.
//!
//! Such a type is a real one, in a schema of its own as a draft's base is (see [`epoch_adapter::Location::draft`]), so that
//! PostgreSQL checks it and columns can have it. A merge moves it to where main has it; it stays the same type for all that
//! uses it, of whatever branch and version.

use deadpool_postgres::Object;
use epoch_adapter::{
    Arrival, Definition, EnumDef, Error, Result, Statement, TableChanges, TableDef, TableName, TableSchema,
    TypeUser, sqlstate,
};

use crate::error::pg;
use crate::layout::{base, literal, quote};
use crate::tx::{Tx, texts};
use crate::{draft, install};

/// See [`epoch_adapter::DraftChange::Enum`].
pub(crate) async fn define(tx: &Tx, table: &TableDef, statement: &Statement) -> Result<Definition> {
    let own = schema(table);
    tx.batch_execute(&format!("CREATE SCHEMA {}", quote(own))).await.map_err(pg)?;
    draft::run(tx, table, statement).await?;
    let found = described(tx, table, own, false).await?;
    found.ok_or_else(|| Error::internal("a type that was made is not there"))
}

/// What a type is now; `None` if it isn't there.
pub(crate) async fn definition(client: &Object, table: &TableDef) -> Result<Option<Definition>> {
    match table.enumeration.as_ref().is_some_and(|e| e.on_main) {
        true => {
            let home = table.location.home().schema.unwrap_or_default();
            described(client, table, &home, true).await
        }
        false => described(client, table, schema(table), false).await,
    }
}

async fn described(
    client: &Object,
    table: &TableDef,
    there: &str,
    on_main: bool,
) -> Result<Option<Definition>> {
    let name = literal(&table.location.table);
    let sql = format!(
        "SELECT coalesce((SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '[]')::text, \
         format('%I.%I', {}, {name}), format('%I.%I', {}, {name}) \
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = {} AND t.typname = {name} AND t.typtype = 'e'",
        literal(schema(table)),
        literal(&table.location.home().schema.unwrap_or_default()),
        literal(there)
    );
    let Some(row) = texts(client, &sql).await?.into_iter().next() else { return Ok(None) };
    let cell = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    let labels: Vec<String> = serde_json::from_str(&cell(0))
        .map_err(|e| Error::internal(format!("the server's catalog answered in an unexpected form: {e}")))?;
    let text = format!("type enum {}\n", crate::text::join(&labels, ", ", |label| literal(label)));
    Ok(Some(Definition {
        schema: TableSchema { columns: Vec::new(), key: Vec::new() },
        text,
        revision: None,
        view: None,
        enumeration: Some(Box::new(EnumDef { labels, place: cell(1), home: cell(2), on_main })),
    }))
}

fn schema(table: &TableDef) -> &str {
    table.location.schema.as_deref().unwrap_or("public")
}

/// Takes a type away that nobody shows any more. 2BP01 while something has it that is kept.
pub(crate) async fn remove(client: &Object, table: &TableDef) -> Result<()> {
    if table.enumeration.as_ref().is_some_and(|e| e.on_main) {
        return Ok(());
    }
    let drop = format!("DROP TYPE IF EXISTS {}; DROP SCHEMA IF EXISTS {}", base(table), quote(schema(table)));
    client.batch_execute(&drop).await.map_err(pg)
}

/// Types among the changes of a merge into main get to where main has them, before anything of the merge names them.
pub(crate) async fn arrive(tx: &Tx, changes: &[TableChanges]) -> Result<()> {
    let coming = changes.iter().filter(|c| matches!(c.arrival, Some(Arrival::Type)));
    let coming: Vec<(&TableDef, &EnumDef)> =
        coming.filter_map(|c| Some((&*c.table, c.table.enumeration.as_deref()?))).collect();
    if coming.is_empty() {
        return Ok(());
    }
    install::lock(tx).await?;
    for (table, def) in &coming {
        check_labels(tx, table, def).await?;
        // A type for arrays, with a name of PostgreSQL's making, gives way to a type that gets its name, not to one that comes
        // from another schema with it.
        let away = quote(&format!("epoch_type_{}", table.id.0));
        let (own, home) = (quote(schema(table)), quote(&table.location.home().schema.unwrap_or_default()));
        let script = format!(
            "ALTER TYPE {} RENAME TO {away}; ALTER TYPE {own}.{away} SET SCHEMA {home}; ALTER TYPE {home}.{away} RENAME TO {}; DROP SCHEMA {own}",
            def.place,
            quote(&table.location.table),
        );
        tx.batch_execute(&script).await.map_err(|e| taken(pg(e), table))?;
    }
    let names: Vec<_> = coming.iter().map(|(_, def)| (def.place.clone(), def.home.clone())).collect();
    rename_within(tx, &names).await
}

/// 55000 if somebody gave the type other values past us.
async fn check_labels(tx: &Tx, table: &TableDef, def: &EnumDef) -> Result<()> {
    let sql = format!(
        "SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = {}::regtype ORDER BY e.enumsortorder",
        literal(&def.place)
    );
    let now: Vec<String> = texts(tx, &sql).await?.into_iter().flatten().flatten().collect();
    if now == def.labels {
        return Ok(());
    }
    let message = format!("type \"{}\" was changed in its backend", table.name);
    Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_detail(format!(
        "It has the values {}, not {}.",
        now.join(", "),
        def.labels.join(", ")
    )))
}

/// A name on main that the type would have.
fn taken(error: Error, table: &TableDef) -> Error {
    // What has the name, that there is no such schema, or that the role may make nothing in it.
    const SAID: [&str; 4] = ["42P07", sqlstate::DUPLICATE_OBJECT, "3F000", sqlstate::INSUFFICIENT_PRIVILEGE];
    match SAID.into_iter().find(|code| *code == error.code()) {
        None => error,
        Some(code) => Error::new(code, format!("type \"{}\" cannot be created on main", table.name))
            .with_detail(error.message()),
    }
}

/// Where main's rows of versions are, and our functions, name types in texts.
async fn rename_within(tx: &Tx, names: &[(String, String)]) -> Result<()> {
    for (from, to) in names {
        let inside = |text: &str| {
            let json = serde_json::to_string(text).unwrap_or_default();
            literal(json.get(1..json.len().saturating_sub(1)).unwrap_or_default())
        };
        let sources = format!(
            "UPDATE epoch.registered SET source = replace(source::text, {from}, {to})::jsonb WHERE strpos(source::text, {from}) > 0",
            from = inside(from),
            to = inside(to)
        );
        tx.batch_execute(&sources).await.map_err(pg)?;
        // In a constant of a function's text, quotes are doubled.
        for (from, to) in [(from.clone(), to.clone()), (from.replace('\'', "''"), to.replace('\'', "''"))] {
            let functions = format!(
                "SELECT replace(pg_get_functiondef(p.oid), {from}, {to}) FROM pg_proc p \
                 WHERE p.pronamespace = 'epoch'::regnamespace AND strpos(p.prosrc, {from}) > 0",
                from = literal(&from),
                to = literal(&to)
            );
            for function in texts(tx, &functions).await?.into_iter().flatten().flatten() {
                tx.batch_execute(&function).await.map_err(pg)?;
            }
        }
    }
    Ok(())
}

const USERS_SQL: &str = include_str!("../../../sql/postgres/type_users.sql");

/// What uses a type, for [`read_users`]: columns, and defaults, constraints, indexes and views that don't go with such a column.
pub fn users_of_type_sql(table: &TableDef) -> String {
    let def = table.enumeration.as_deref().map_or("", |def| def.spelled());
    USERS_SQL.replace("{{name}}", &literal(def))
}

/// See [`epoch_adapter::Adapter::users_of_type`].
pub(crate) async fn users(client: &Object, table: &TableDef) -> Result<Vec<TypeUser>> {
    Ok(read_users(texts(client, &users_of_type_sql(table)).await?))
}

/// What rows of [`users_of_type_sql`] say.
pub fn read_users(rows: Vec<Vec<Option<String>>>) -> Vec<TypeUser> {
    let one = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten();
        Some(TypeUser {
            relation: TableName { schema: next()?, name: next()? },
            what: next()?,
            array: next().is_some_and(|array| array == "t"),
        })
    };
    rows.into_iter().filter_map(one).collect()
}
