//! Which tables there are, and what they look like.

use epoch_adapter::{
    BackendKind, Column, Discovered, Error, Location, Result, TableDef, TableSchema, sqlstate,
};
use rusqlite::Connection;

use crate::error::map;
use crate::layout::{PREFIX, base, matches, quote};
use crate::meta::{self, Physical, Unique};
use crate::types;

/// The columns and key of a table as they are now.
pub(crate) fn describe(
    conn: &Connection,
    location: &Location,
    key: Option<&[String]>,
) -> Result<TableSchema> {
    let table = meta::read(conn, &location.table)?.ok_or_else(|| {
        Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", location.table))
    })?;
    let key = choose_key(&table, key)?;
    let column = |(i, c): (usize, &meta::PhysicalColumn)| {
        let (pg_type, data_type) = types::map(&c.declared);
        Column {
            name: c.name.clone(),
            type_name: c.declared.clone(),
            pg_type,
            data_type,
            nullable: !c.not_null && !key.contains(&i),
            generated: c.generated,
            default: c.default.clone(),
            equality: None,
        }
    };
    Ok(TableSchema { columns: table.columns.iter().enumerate().map(column).collect(), key })
}

/// The columns that identify rows: what was asked for, else the primary key, else the first usable
/// unique key.
fn choose_key(table: &Physical, wanted: Option<&[String]>) -> Result<Vec<usize>> {
    let no_key = |reason: String| Error::new(sqlstate::INVALID_FOREIGN_KEY, reason);
    let Some(wanted) = wanted else {
        let usable = table.uniques.iter().find_map(|u| key_of(table, u).ok());
        return usable.ok_or_else(|| {
            let why = table.uniques.first().and_then(|u| key_of(table, u).err()).unwrap_or_default();
            let message = format!(
                "table \"{}\" has no primary key and no unique key over NOT NULL columns",
                table.name
            );
            let error = no_key(message).with_hint("Give the table a primary key.");
            if why.is_empty() { error } else { error.with_detail(why) }
        });
    };
    let mut indexes = Vec::new();
    for name in wanted {
        let found = table.index_of(name).ok_or_else(|| {
            Error::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            )
        })?;
        indexes.push(found);
    }
    let same = |u: &&Unique| {
        u.parts.len() == indexes.len()
            && u.parts.iter().all(|p| p.column.is_some_and(|c| indexes.contains(&c)))
    };
    let mut why = "There is no primary key or unique index over exactly these columns.".to_owned();
    for unique in table.uniques.iter().filter(same) {
        match key_of(table, unique) {
            Ok(_) => return Ok(indexes),
            Err(reason) => why = reason,
        }
    }
    let list = wanted.join(", ");
    Err(no_key(format!("({list}) can't be the key of table \"{}\"", table.name)).with_detail(why))
}

/// The columns of a unique constraint if it can be a key; else why not.
fn key_of(table: &Physical, unique: &Unique) -> Result<Vec<usize>, String> {
    if unique.condition.is_some() {
        return Err(format!("Index \"{}\" is partial.", unique.name));
    }
    let mut out = Vec::new();
    for part in &unique.parts {
        let Some((i, column)) = part.column.and_then(|i| table.columns.get(i).map(|c| (i, c))) else {
            return Err(format!("Index \"{}\" is over an expression.", unique.name));
        };
        if column.generated {
            return Err(format!("Column \"{}\" is generated.", column.name));
        }
        if part.collation != column.collation {
            return Err(format!(
                "Index \"{}\" and column \"{}\" have different collations.",
                unique.name, column.name
            ));
        }
        // SQLite lets NULL into primary keys; we refuse the rows, not the table.
        if !column.not_null && !unique.primary {
            return Err(format!("Column \"{}\" isn't NOT NULL.", column.name));
        }
        out.push(i);
    }
    Ok(out)
}

/// Why a table can't be registered although it has a key.
pub(crate) fn obstacle(conn: &Connection, table: &Physical, key: &[usize]) -> Result<Option<String>> {
    if table.name.to_ascii_lowercase().starts_with(PREFIX) {
        return Ok(Some(format!("names that start with {PREFIX} are Horizon Epoch's own")));
    }
    if let Some(c) = table.columns.iter().find(|c| c.name.to_ascii_lowercase().starts_with(PREFIX)) {
        return Ok(Some(format!(
            "column \"{}\": names that start with {PREFIX} are Horizon Epoch's own",
            c.name
        )));
    }
    let nulls: Vec<_> = key
        .iter()
        .filter(|i| Some(**i) != table.alias)
        .filter_map(|&i| table.columns.get(i))
        .filter(|c| !c.not_null)
        .map(|c| format!("{} IS NULL", quote(&c.name)))
        .collect();
    if nulls.is_empty() {
        return Ok(None);
    }
    let sql = format!("SELECT 1 FROM main.{} WHERE {} LIMIT 1", quote(&table.name), nulls.join(" OR "));
    let found = conn.prepare(&sql).and_then(|mut s| s.exists([])).map_err(map)?;
    Ok(found.then(|| "there are rows with NULL in the key".to_owned()))
}

/// Tables whose name matches a pattern with `*`.
pub(crate) fn discover(conn: &Connection, backend: &str, pattern: &str) -> Result<Vec<Discovered>> {
    let pattern = pattern.strip_prefix("public.").unwrap_or(pattern);
    let sql =
        "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')
        AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'epoch\\_%' ESCAPE '\\' ORDER BY name";
    let mut stmt = conn.prepare(sql).map_err(map)?;
    let tables: Vec<(String, String)> =
        stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).and_then(Iterator::collect).map_err(map)?;
    let mut out = Vec::new();
    for (name, kind) in tables.into_iter().filter(|(name, _)| matches(pattern, name)) {
        let location =
            Location { kind: BackendKind::Sqlite, backend: backend.to_owned(), schema: None, table: name };
        let (key, reason) = if kind == "virtual" {
            (Vec::new(), Some("virtual tables have no triggers".to_owned()))
        } else {
            judge(conn, &location)?
        };
        out.push(Discovered { location, key, reason });
    }
    Ok(out)
}

fn judge(conn: &Connection, location: &Location) -> Result<(Vec<String>, Option<String>)> {
    let schema = match describe(conn, location, None) {
        Ok(schema) => schema,
        Err(e) if e.code() == sqlstate::INTERNAL_ERROR || e.code() == sqlstate::IO_ERROR => return Err(e),
        Err(e) => return Ok((Vec::new(), Some(e.message().to_owned()))),
    };
    let reason = match meta::read(conn, &location.table)? {
        Some(table) => obstacle(conn, &table, &schema.key)?,
        None => None,
    };
    Ok((schema.key_names(), reason))
}

/// An estimate of a table's rows that costs next to nothing.
pub(crate) fn row_estimate(conn: &Connection, table: &epoch_adapter::TableDef) -> Result<i64> {
    if meta::exists(conn, "sqlite_stat1")? {
        let sql = "SELECT max(CAST(stat AS INTEGER)) FROM sqlite_stat1 WHERE tbl = ?1";
        let rows: Option<i64> = conn.query_row(sql, [&table.location.table], |r| r.get(0)).map_err(map)?;
        if let Some(rows) = rows {
            return Ok(rows);
        }
    }
    let base = base(table);
    let physical = meta::read(conn, &table.location.table)?;
    let counted = physical.is_none_or(|p| p.ddl.without_rowid || p.index_of("rowid").is_some());
    let sql = if counted {
        format!("SELECT count(*) FROM (SELECT 1 FROM {base} LIMIT 100000)")
    } else {
        format!("SELECT coalesce((SELECT max(rowid) FROM {base}) - (SELECT min(rowid) FROM {base}) + 1, 0)")
    };
    conn.query_row(&sql, [], |r| r.get(0)).map_err(map)
}

/// The texts of a table and its indexes, as they were written.
pub(crate) fn create_statement(conn: &Connection, table: &TableDef) -> Result<String> {
    let sql = "SELECT sql FROM main.sqlite_schema WHERE lower(tbl_name) = lower(?1) AND sql IS NOT NULL
               AND type IN ('table', 'index') ORDER BY type = 'index', name";
    let mut statement = conn.prepare(sql).map_err(map)?;
    let texts = statement.query_map([&table.location.table], |r| r.get::<_, String>(0)).map_err(map)?;
    let texts: Vec<String> = texts.collect::<rusqlite::Result<_>>().map_err(map)?;
    if texts.is_empty() {
        let message = format!("relation \"{}\" does not exist", table.name);
        return Err(Error::new(sqlstate::UNDEFINED_TABLE, message));
    }
    Ok(texts.iter().map(|text| format!("{text};")).collect::<Vec<_>>().join("\n"))
}
