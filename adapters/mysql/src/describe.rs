//! Which tables there are, and what they look like.

use epoch_adapter::{
    BackendKind, Column, Discovered, Error, Location, Result, TableDef, TableSchema, Value, sqlstate,
};

use crate::layout::{PREFIX, base, matches};
use crate::meta::{self, Flavour, Physical, Unique};
use crate::pool::Session;
use crate::types::{Kind, kind, map};

/// The columns and key of a table as they are now.
pub(crate) async fn describe(
    session: &mut Session,
    location: &Location,
    key: Option<&[String]>,
) -> Result<TableSchema> {
    let flavour = flavour(session).await?;
    let name = &location.table;
    let table = meta::read(session, flavour, Some(name)).await?.remove(name).ok_or_else(|| missing(name))?;
    schema(&table, key)
}

async fn flavour(session: &mut Session) -> Result<Flavour> {
    let version: String = session.one("SELECT version()", &[]).await?.unwrap_or_default();
    Ok(Flavour::of(&version))
}

fn missing(name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
}

fn schema(table: &Physical, key: Option<&[String]>) -> Result<TableSchema> {
    let key = choose_key(table, key)?;
    let column = |(i, c): (usize, &meta::PhysicalColumn)| {
        let (pg_type, data_type) = map(&c.type_name);
        Column {
            name: c.name.clone(),
            type_name: c.type_name.clone(),
            pg_type,
            data_type,
            nullable: !c.not_null && !key.contains(&i),
            generated: c.generated,
            // As a default, so that nobody asks for a value.
            default: if c.auto { Some("AUTO_INCREMENT".to_owned()) } else { c.default.clone() },
            equality: None,
        }
    };
    Ok(TableSchema { columns: table.columns.iter().enumerate().map(column).collect(), key })
}

/// The columns that identify rows: what was asked for, else the primary key, else the first usable unique key.
fn choose_key(table: &Physical, wanted: Option<&[String]>) -> Result<Vec<usize>> {
    let no_key = |reason: String| Error::new(sqlstate::INVALID_FOREIGN_KEY, reason);
    let Some(wanted) = wanted else {
        let usable = table.uniques.iter().find_map(|u| key_of(table, u).ok());
        return usable.ok_or_else(|| {
            let why = table.uniques.first().and_then(|u| key_of(table, u).err());
            let message = format!(
                "table \"{}\" has no primary key and no unique key over NOT NULL columns",
                table.name
            );
            let error = no_key(message).with_hint("Give the table a primary key.");
            match why {
                Some(why) => error.with_detail(why),
                None => error,
            }
        });
    };
    let mut indexes = Vec::new();
    for name in wanted {
        let unknown = || {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
            Error::new(sqlstate::UNDEFINED_COLUMN, message)
        };
        indexes.push(table.index_of(name).ok_or_else(unknown)?);
    }
    let same = |u: &&Unique| {
        let columns = u.columns.as_deref().unwrap_or_default();
        columns.len() == indexes.len() && columns.iter().all(|c| indexes.contains(c))
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

/// The columns of a unique index if it can be a key; else why not.
fn key_of(table: &Physical, unique: &Unique) -> Result<Vec<usize>, String> {
    let Some(columns) = &unique.columns else {
        return Err(format!("Index \"{}\" is over an expression or the beginning of a value.", unique.index));
    };
    for column in columns.iter().filter_map(|c| table.columns.get(*c)) {
        let why = match kind(&column.type_name) {
            _ if column.generated => "is generated",
            _ if !column.not_null => "isn't NOT NULL",
            Some(Kind::Float) => "has a type that isn't exact",
            _ => continue,
        };
        return Err(format!("Column \"{}\" {why}.", column.name));
    }
    Ok(columns.clone())
}

/// Tables whose name matches a pattern with `*`.
pub(crate) async fn discover(session: &mut Session, backend: &str, pattern: &str) -> Result<Vec<Discovered>> {
    let pattern = pattern.strip_prefix("public.").unwrap_or(pattern);
    let flavour = flavour(session).await?;
    let tables = meta::read(session, flavour, None).await?;
    let wanted = tables.into_values().filter(|t| {
        !t.table_type.contains("VIEW")
            && !t.name.to_ascii_lowercase().starts_with(PREFIX)
            && matches(pattern, &t.name)
    });
    Ok(wanted
        .map(|table| {
            let (key, reason) = match schema(&table, None) {
                Ok(schema) => (schema.key_names(), table.obstacle()),
                Err(e) => (Vec::new(), Some(e.message().to_owned())),
            };
            let location = Location {
                kind: BackendKind::MySql,
                backend: backend.to_owned(),
                schema: None,
                table: table.name,
            };
            Discovered { location, key, reason }
        })
        .collect())
}

/// InnoDB's estimate of a table's rows.
pub(crate) async fn row_estimate(session: &mut Session, table: &TableDef) -> Result<i64> {
    let sql = "SELECT CAST(coalesce(TABLE_ROWS, 0) AS SIGNED) FROM information_schema.TABLES \
        WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?";
    let name = [Value::Text(table.location.table.clone())];
    Ok(session.one::<i64>(sql, &name).await?.unwrap_or(0))
}

/// The text of a table, as the server writes it.
pub(crate) async fn create_statement(session: &mut Session, table: &TableDef) -> Result<String> {
    let mut rows = session.rows(&format!("SHOW CREATE TABLE {}", base(table)), &[]).await?;
    let text = rows.first_mut().and_then(|row| row.take_opt::<String, _>(1)).and_then(Result::ok);
    text.map(|text| format!("{text};")).ok_or_else(|| missing(&table.location.table))
}
