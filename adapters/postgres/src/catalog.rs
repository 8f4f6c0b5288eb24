//! What the server's catalog says about the user's tables.

use deadpool_postgres::Object;
use epoch_adapter::{
    BackendKind, Column, Discovered, Error, Location, Result, TableDef, TableSchema, at_home, sqlstate,
};

use crate::error::pg;
use crate::types::arrow_type;

const TABLES: &str = include_str!("../../../sql/postgres/tables.sql");
const CREATE_SQL: &str = include_str!("../../../sql/postgres/create_statement.sql");
const COLUMNS: &str = include_str!("../../../sql/postgres/columns.sql");

/// Tables that match `users` (in `public`), `schema.*` or `*` (everything).
pub(crate) async fn discover(client: &Object, backend: &str, pattern: &str) -> Result<Vec<Discovered>> {
    let (schema, table) = match pattern.split_once('.') {
        Some(parts) => parts,
        None if pattern == "*" => ("*", "*"),
        None => ("public", pattern),
    };
    let tables = list(client, &like(schema), &like(table)).await?;
    // Drafts can be described, they aren't to be found.
    let tables = tables.into_iter().filter(|t| !t.schema.starts_with("epoch_"));
    let discovered = |t: Listed| Discovered {
        location: Location {
            kind: BackendKind::PostgreSql,
            backend: backend.to_owned(),
            schema: Some(t.schema),
            table: t.table,
        },
        key: t.key,
        reason: t.reason,
    };
    Ok(tables.map(discovered).collect())
}

/// A `*` pattern as a LIKE pattern.
fn like(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match c {
            '*' => out.push('%'),
            '%' | '_' | '\\' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

/// A name as a LIKE pattern that matches only it.
fn exactly(name: &str) -> String {
    name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

struct Listed {
    schema: String,
    table: String,
    key: Vec<String>,
    reason: Option<String>,
}

async fn list(client: &Object, schema: &str, table: &str) -> Result<Vec<Listed>> {
    let statement = client.prepare_cached(TABLES).await.map_err(pg)?;
    let rows = client.query(&statement, &[&schema, &table]).await.map_err(pg)?;
    rows.iter()
        .map(|row| {
            Ok(Listed {
                schema: row.try_get(0).map_err(pg)?,
                table: row.try_get(1).map_err(pg)?,
                key: row.try_get::<_, Option<Vec<String>>>(2).map_err(pg)?.unwrap_or_default(),
                reason: row.try_get(3).map_err(pg)?,
            })
        })
        .collect()
}

/// The columns and the key of one table.
pub(crate) async fn describe(
    client: &Object,
    location: &Location,
    key: Option<&[String]>,
) -> Result<TableSchema> {
    let schema = location.schema.as_deref().unwrap_or("public");
    let listed = list(client, &exactly(schema), &exactly(&location.table)).await?;
    let Some(listed) = listed.into_iter().next() else {
        let message = format!("relation \"{schema}.{}\" does not exist", location.table);
        return Err(Error::new(sqlstate::UNDEFINED_TABLE, message));
    };
    if let Some(reason) = listed.reason.filter(|_| !(listed.key.is_empty() && key.is_some())) {
        return Err(refused(&location.table, &reason, listed.key.is_empty()));
    }
    let columns = columns(client, schema, &location.table).await?;
    let names = match key {
        Some(names) => checked_key(client, schema, &location.table, names).await?,
        None => listed.key,
    };
    let index = |name: &String| {
        columns.iter().position(|c| &c.name == name).ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", location.table);
            Error::new(sqlstate::UNDEFINED_COLUMN, message)
        })
    };
    let key = names.iter().map(index).collect::<Result<Vec<_>>>()?;
    Ok(TableSchema { columns, key })
}

fn refused(table: &str, reason: &str, keyless: bool) -> Error {
    if keyless && reason.contains("no primary key") {
        return Error::new(sqlstate::INVALID_FOREIGN_KEY, format!("table \"{table}\" has no usable key"))
            .with_detail("It has no primary key and no unique key over NOT NULL columns.")
            .with_hint("Add a primary key, or a unique constraint over NOT NULL columns.");
    }
    let error = Error::new(
        sqlstate::FEATURE_NOT_SUPPORTED,
        format!("table \"{table}\" cannot be versioned: {reason}"),
    );
    if reason.contains("btree_gist") { error.with_hint("CREATE EXTENSION btree_gist;") } else { error }
}

pub(crate) async fn columns(client: &Object, schema: &str, table: &str) -> Result<Vec<Column>> {
    let statement = client.prepare_cached(COLUMNS).await.map_err(pg)?;
    let rows = client.query(&statement, &[&schema, &table]).await.map_err(pg)?;
    rows.iter()
        .map(|row| {
            let pg_type: String = row.try_get(2).map_err(pg)?;
            Ok(Column {
                name: row.try_get(0).map_err(pg)?,
                type_name: row.try_get(1).map_err(pg)?,
                data_type: arrow_type(&pg_type),
                pg_type,
                nullable: row.try_get(3).map_err(pg)?,
                generated: row.try_get(4).map_err(pg)?,
                default: row.try_get(5).map_err(pg)?,
                equality: row.try_get(7).map_err(pg)?,
            })
        })
        .collect()
}

/// A key that a user names must be one that the server enforces: unique, over NOT NULL columns.
async fn checked_key(client: &Object, schema: &str, table: &str, names: &[String]) -> Result<Vec<String>> {
    const UNIQUE: &str = "SELECT EXISTS (SELECT FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, ord)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum
            WHERE p.ord <= i.indnkeyatts AND NOT (a.attnotnull AND a.attname = ANY ($3))))
        AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
            AND a.attname = ANY ($3) AND NOT a.attnotnull)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    let unique: bool = client
        .query_one(UNIQUE, &[&schema, &table, &names])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(pg)?;
    if unique && !names.is_empty() {
        return Ok(names.to_vec());
    }
    Err(Error::new(
        sqlstate::INVALID_FOREIGN_KEY,
        format!("({}) is not a key of table \"{table}\"", names.join(", ")),
    )
    .with_detail("A key is NOT NULL and has a unique index of its own or of some of its columns.")
    .with_hint("Create a unique index on these columns and set them NOT NULL."))
}

/// An estimate of the row count from the server's statistics.
pub(crate) async fn row_estimate(client: &Object, table: &TableDef) -> Result<i64> {
    // reltuples is -1 before the first ANALYZE; then the size of the file and the width tell.
    const ESTIMATE: &str = "SELECT coalesce(sum(CASE WHEN r.reltuples >= 0 AND r.relpages > 0
            THEN (r.reltuples / r.relpages * (pg_relation_size(r.oid) / current_setting('block_size')::int))::int8
            ELSE (pg_relation_size(r.oid) / 100)::int8 END), 0)::int8
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class r ON r.oid = c.oid OR r.oid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p WHERE p.isleaf)
        WHERE n.nspname = $1 AND c.relname = $2";
    let source = table.source.as_ref().and_then(|source| source.rows.as_ref());
    let location = source.map_or(&table.location, |(place, _)| place);
    let schema = location.schema.as_deref().unwrap_or("public");
    let row = client.query_opt(ESTIMATE, &[&schema, &location.table]).await.map_err(pg)?;
    row.map_or(Ok(0), |row| row.try_get(0).map_err(pg))
}

/// See [`epoch_adapter::Adapter::create_statement`].
pub(crate) async fn create_statement(client: &Object, table: &TableDef) -> Result<String> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let home = table.location.home().schema.unwrap_or_default();
    let row = client.query_opt(CREATE_SQL, &[&schema, &table.location.table, &home]).await.map_err(pg)?;
    let row = row.ok_or_else(|| {
        Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", table.name))
    })?;
    let text: String = row.try_get(0).map_err(pg)?;
    if schema == home {
        return Ok(at_home(&text));
    }
    // Stand-ins first: their schema's name has the other's in it.
    let text = text.replace(&format!("epoch_{schema}."), "");
    Ok(at_home(&text.replace(schema, &home)))
}
