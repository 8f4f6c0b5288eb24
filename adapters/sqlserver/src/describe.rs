//! Which tables there are, and what they look like.

use epoch_adapter::{
    BackendKind, Column, Discovered, Error, Location, Result, TableDef, TableSchema, Value, sqlstate,
};

use crate::ddl;
use crate::install::missing;
use crate::layout::{DEFAULT_SCHEMA, PREFIX, SCHEMA, base, matches, schema as schema_of, shown};
use crate::physical::{self, Physical, PhysicalColumn, Unique};
use crate::pool::Session;
use crate::types::{map, no_key};

/// The columns and key of a table as they are now.
pub(crate) async fn describe(
    session: &mut Session,
    location: &Location,
    key: Option<&[String]>,
) -> Result<TableSchema> {
    schema(&table(session, location).await?, key)
}

async fn table(session: &mut Session, location: &Location) -> Result<Physical> {
    let (schema, name) = (schema_of(location), location.table.as_str());
    let found = physical::read(session, Some((schema, name))).await?.into_values().next();
    // OBJECT_ID goes by the database's collation, which may take another name for this one.
    found.filter(|t| t.schema == schema && t.name == name).ok_or_else(|| missing(schema, name))
}

fn schema(table: &Physical, key: Option<&[String]>) -> Result<TableSchema> {
    let key = choose_key(table, key)?;
    let column = |(i, c): (usize, &PhysicalColumn)| {
        let (pg_type, data_type) = map(&c.type_name);
        Column {
            name: c.name.clone(),
            type_name: c.type_name.clone(),
            pg_type,
            data_type,
            nullable: !c.not_null && !key.contains(&i),
            generated: c.computed.is_some(),
            // As a default, so that nobody asks for a value.
            default: if c.identity { Some("IDENTITY".to_owned()) } else { c.default.clone() },
            equality: None,
        }
    };
    Ok(TableSchema { columns: table.columns.iter().enumerate().map(column).collect(), key })
}

/// The columns that identify rows: what was asked for, else the primary key, else the first usable unique key.
fn choose_key(table: &Physical, wanted: Option<&[String]>) -> Result<Vec<usize>> {
    let no_key = |reason: String| Error::new(sqlstate::INVALID_FOREIGN_KEY, reason);
    let uniques = table.uniques();
    let name = shown(&table.schema, &table.name);
    let Some(wanted) = wanted else {
        let usable = uniques.iter().find_map(|u| key_of(table, u).ok());
        return usable.ok_or_else(|| {
            let why = uniques.first().and_then(|u| key_of(table, u).err());
            let message =
                format!("table \"{name}\" has no primary key and no unique key over NOT NULL columns");
            let error = no_key(message).with_hint("Give the table a primary key.");
            match why {
                Some(why) => error.with_detail(why),
                None => error,
            }
        });
    };
    let mut indexes = Vec::new();
    for column in wanted {
        let unknown = || {
            let message = format!("column \"{column}\" of relation \"{name}\" does not exist");
            Error::new(sqlstate::UNDEFINED_COLUMN, message)
        };
        indexes.push(table.index_of(column).ok_or_else(unknown)?);
    }
    let same =
        |u: &&Unique| u.columns.len() == indexes.len() && u.columns.iter().all(|c| indexes.contains(c));
    let mut why = "There is no primary key or unique index over exactly these columns.".to_owned();
    for unique in uniques.iter().filter(same) {
        match key_of(table, unique) {
            Ok(_) => return Ok(indexes),
            Err(reason) => why = reason,
        }
    }
    let list = wanted.join(", ");
    Err(no_key(format!("({list}) can't be the key of table \"{name}\"")).with_detail(why))
}

/// The columns of a unique index if it can be a key; else why not.
fn key_of(table: &Physical, unique: &Unique) -> Result<Vec<usize>, String> {
    if unique.filter.is_some() {
        return Err(format!("Index \"{}\" is over some rows only.", unique.name));
    }
    for column in unique.columns.iter().filter_map(|c| table.columns.get(*c)) {
        let why = match no_key(&column.type_name) {
            _ if column.computed.is_some() => "is computed",
            _ if !column.not_null => "isn't NOT NULL",
            Some(why) => why,
            None => continue,
        };
        return Err(format!("Column \"{}\" {why}.", column.name));
    }
    Ok(unique.columns.clone())
}

/// Whether a pattern means a table: `users` is in the schema `dbo`, which is `public` on the proxy, `sales.*` in that
/// schema, `*` in any.
fn is_meant(pattern: &str, table: &Physical) -> bool {
    match pattern.split_once('.') {
        Some((schema, name)) => {
            let usual = table.schema == DEFAULT_SCHEMA && matches(schema, "public");
            (usual || matches(schema, &table.schema)) && matches(name, &table.name)
        }
        None if pattern == "*" => true,
        None => table.schema == DEFAULT_SCHEMA && matches(pattern, &table.name),
    }
}

/// Tables whose name matches a pattern with `*`.
pub(crate) async fn discover(session: &mut Session, backend: &str, pattern: &str) -> Result<Vec<Discovered>> {
    let tables = physical::read(session, None).await?;
    let wanted = tables.into_values().filter(|t| {
        t.schema != SCHEMA && !t.name.to_ascii_lowercase().starts_with(PREFIX) && is_meant(pattern, t)
    });
    Ok(wanted
        .map(|table| {
            let (key, reason) = match schema(&table, None) {
                Ok(schema) => (schema.key_names(), table.obstacle()),
                Err(e) => (Vec::new(), Some(e.message().to_owned())),
            };
            let location = Location {
                kind: BackendKind::SqlServer,
                backend: backend.to_owned(),
                schema: Some(table.schema),
                table: table.name,
            };
            Discovered { location, key, reason }
        })
        .collect())
}

/// The server's count of a table's rows.
pub(crate) async fn row_estimate(session: &mut Session, table: &TableDef) -> Result<i64> {
    let sql = "SELECT CAST(coalesce(sum(p.rows), 0) AS bigint) FROM sys.partitions AS p \
               WHERE p.object_id = OBJECT_ID(?, N'U') AND p.index_id IN (0, 1)";
    Ok(session.number(sql, &[Value::Text(base(table))]).await?.unwrap_or(0))
}

/// The text of a table.
pub(crate) async fn create_statement(session: &mut Session, def: &TableDef) -> Result<String> {
    Ok(ddl::create_statement(&table(session, &def.location).await?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::physical::Index;

    fn table(columns: &[(&str, &str, bool)], unique: &[usize], filter: Option<&str>) -> Physical {
        let column = |(name, ty, not_null): &(&str, &str, bool)| PhysicalColumn {
            name: (*name).to_owned(),
            type_name: (*ty).to_owned(),
            not_null: *not_null,
            ..PhysicalColumn::default()
        };
        let index = Index {
            name: "k".to_owned(),
            unique: true,
            primary: false,
            constraint: false,
            kind: "NONCLUSTERED".to_owned(),
            parts: unique.iter().map(|c| (*c, false)).collect(),
            included: Vec::new(),
            filter: filter.map(str::to_owned),
            ignores: false,
        };
        Physical {
            schema: "sales".to_owned(),
            name: "t".to_owned(),
            columns: columns.iter().map(column).collect(),
            indexes: vec![index],
            ..Physical::default()
        }
    }

    #[test]
    fn keys_are_of_exact_values_that_are_there() {
        let key = |t: Physical| choose_key(&t, None).map_err(|e| e.detail().unwrap_or_default().to_owned());
        assert_eq!(key(table(&[("a", "int", true), ("b", "date", true)], &[1, 0], None)), Ok(vec![1, 0]));
        let why = |t: Physical| key(t).unwrap_err();
        assert_eq!(why(table(&[("a", "int", false)], &[0], None)), "Column \"a\" isn't NOT NULL.");
        assert_eq!(
            why(table(&[("a", "float", true)], &[0], None)),
            "Column \"a\" has a type that isn't exact."
        );
        assert!(why(table(&[("a", "datetime2(7)", true)], &[0], None)).contains("more digits of a second"));
        assert_eq!(
            why(table(&[("a", "int", true)], &[0], Some("([a]>(0))"))),
            "Index \"k\" is over some rows only."
        );
        let t = table(&[("a", "int", true)], &[0], None);
        assert_eq!(choose_key(&t, Some(&["x".to_owned()])).unwrap_err().code(), "42703");
        assert_eq!(choose_key(&t, Some(&["a".to_owned()])).unwrap(), [0]);
    }

    #[test]
    fn patterns_name_schemas() {
        let t = table(&[], &[], None);
        assert!(
            is_meant("*", &t) && is_meant("sales.*", &t) && is_meant("*.t", &t) && is_meant("sales.t", &t)
        );
        assert!(!is_meant("t", &t) && !is_meant("dbo.*", &t));
        let t = Physical { schema: "dbo".to_owned(), ..t };
        assert!(
            is_meant("t", &t) && is_meant("dbo.t", &t) && is_meant("public.*", &t) && !is_meant("p.*", &t)
        );
    }
}
