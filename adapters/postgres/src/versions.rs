//! The versions of a table, as the database knows them: which there are, what their columns are, which one a branch
//! shows.

use std::collections::BTreeMap;

use deadpool_postgres::Object;
use epoch_adapter::{
    BackendKind, Error, Layer, Location, Result, Source, TableDef, TableId, TableName, TableSchema,
};

use crate::error::pg;
use crate::layout::literal;
use crate::text::join;
use crate::tx::texts;

const VERSIONS_SQL: &str = include_str!("../../../sql/postgres/versions.sql");

/// What `epoch.version_of` says of a branch of which nothing is known.
pub(crate) const UNKNOWN: i64 = -1;

/// What is noted of a version beside its place.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The number of the first version.
    pub family: i64,
    /// By name, which column of the family each column is.
    pub columns: BTreeMap<String, String>,
}

/// One version.
pub(crate) struct Version {
    pub table: TableDef,
    pub columns: BTreeMap<String, String>,
}

impl Entry {
    /// Of a table that is the first version of its own.
    pub(crate) fn first(table: &TableDef) -> Self {
        let columns = table.schema.columns.iter().map(|c| (c.name.clone(), identity(table.id, &c.name)));
        Self { family: table.id.0, columns: columns.collect() }
    }

    /// Of a version made from the one that has this entry: by name, the column of that one that each is.
    pub(crate) fn after(&self, table: TableId, columns: &[(String, Option<String>)]) -> Self {
        let of_family = |(name, before): &(String, Option<String>)| {
            let known = before.as_ref().and_then(|before| self.columns.get(before)).cloned();
            (name.clone(), known.unwrap_or_else(|| identity(table, name)))
        };
        Self { family: self.family, columns: columns.iter().map(of_family).collect() }
    }

    pub(crate) fn columns_json(&self) -> String {
        serde_json::to_string(&self.columns).unwrap_or_default()
    }
}

/// What a column is called wherever it goes.
fn identity(table: TableId, column: &str) -> String {
    format!("{}.{column}", table.0)
}

impl Version {
    /// What this version calls columns of another one of the family; `None` if it doesn't have them all.
    pub(crate) fn called(&self, other: &Version, columns: &[String]) -> Option<Vec<String>> {
        let one = |name: &String| {
            let wanted = other.columns.get(name)?;
            self.columns.iter().find(|(_, column)| *column == wanted).map(|(name, _)| name.clone())
        };
        columns.iter().map(one).collect()
    }
}

/// The family of a registered table.
pub(crate) async fn family(client: &Object, table: TableId) -> Result<Option<i64>> {
    let sql = format!("SELECT family FROM epoch.registered WHERE id = {}", table.0);
    let found = texts(client, &sql).await?.into_iter().flatten().flatten().next();
    Ok(found.and_then(|family| family.parse().ok()))
}

/// What is noted of a registered table.
pub(crate) async fn entry(client: &Object, table: &TableDef) -> Result<Entry> {
    let sql = format!("SELECT family, columns FROM epoch.registered WHERE id = {}", table.id.0);
    let rows = texts(client, &sql).await?;
    let mut cells = rows.into_iter().next().unwrap_or_default().into_iter().flatten();
    let found = cells.next().and_then(|family| family.parse().ok()).zip(cells.next());
    let Some((family, columns)) = found else { return Ok(Entry::first(table)) };
    Ok(Entry { family, columns: json(&columns)? })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::internal(format!("epoch.registered: {e}")))
}

/// All versions of a table whose base is there.
pub(crate) async fn all(client: &Object, family: i64) -> Result<Vec<Version>> {
    let rows = client.query(VERSIONS_SQL, &[&family]).await.map_err(pg)?;
    let mut out = Vec::with_capacity(rows.len());
    for row in &rows {
        let text = |i: usize| row.try_get::<_, String>(i).map_err(pg);
        let source: Option<String> = row.try_get(4).map_err(pg)?;
        let source: Option<Source> = source.map(|s| json(&s)).transpose()?;
        let key: Vec<String> = row.try_get(5).map_err(pg)?;
        let id = TableId(row.try_get(0).map_err(pg)?);
        let table = definition(client, id, (text(1)?, text(2)?), &key, source).await?;
        out.push(Version { table, columns: json(&text(3)?)? });
    }
    Ok(out)
}

/// A registered table as the database knows it.
async fn definition(
    client: &Object,
    id: TableId,
    (schema, table): (String, String),
    key: &[String],
    source: Option<Source>,
) -> Result<TableDef> {
    let columns = crate::catalog::columns(client, &schema, &table).await?;
    let index = |name: &String| {
        let position = columns.iter().position(|c| &c.name == name);
        position.ok_or_else(|| Error::internal(format!("key column \"{name}\" of \"{table}\" is gone")))
    };
    let key = key.iter().map(index).collect::<Result<Vec<_>>>()?;
    let location =
        Location { kind: BackendKind::PostgreSql, backend: String::new(), schema: Some(schema), table };
    let home = location.home().schema.unwrap_or_default();
    Ok(TableDef {
        source,
        ..TableDef::new(
            id,
            TableName { schema: home, name: location.table.clone() },
            location,
            TableSchema { columns, key },
        )
    })
}

/// The version of a table that a branch shows, of these.
pub(crate) async fn shown<'a>(
    client: &Object,
    layer: Layer,
    family: i64,
    versions: &'a [Version],
) -> Result<Option<&'a Version>> {
    let sql = format!("SELECT epoch.version_of({}, {}, {family})", layer.lineage.0, layer.base);
    let id = texts(client, &sql).await?.into_iter().flatten().flatten().next();
    let id = id.and_then(|id| id.parse::<i64>().ok()).unwrap_or(UNKNOWN);
    Ok(versions.iter().find(|v| v.table.id.0 == id))
}

/// Notes what a branch shows from now on, in this order; `first`: only where nothing is known yet.
pub(crate) fn show(layer: Layer, tables: &[(TableId, bool)], first: bool) -> String {
    let (number, conflict) = match first {
        true => ("0", "NOTHING"),
        false => ("nextval('epoch.numbers')", "UPDATE SET there = excluded.there, number = excluded.number"),
    };
    join(tables, "", |(id, there)| {
        format!(
            "INSERT INTO epoch.shown (lineage, family, table_id, there, number) \
             SELECT {}, r.family, r.id, {there}, {number} FROM epoch.registered r WHERE r.id = {} \
             ON CONFLICT (lineage, family, table_id) DO {conflict};\n",
            layer.lineage.0, id.0
        )
    })
}

/// Where main's rows of a version are from now on.
pub(crate) fn set_source(table: &TableDef) -> String {
    format!(
        "UPDATE epoch.registered SET source = {} WHERE id = {};\n",
        source_json(table).map_or_else(|| "NULL".to_owned(), |json| literal(&json)),
        table.id.0
    )
}

pub(crate) fn source_json(table: &TableDef) -> Option<String> {
    table.source.as_ref().and_then(|source| serde_json::to_string(source).ok())
}

/// Keeps statements that began before a branch, or main, got another version off the overlay of one.
pub(crate) fn fence(table: &TableDef, family: i64) -> String {
    format!(
        "CREATE OR REPLACE TRIGGER zz_epoch_0_replaced BEFORE INSERT OR UPDATE OR DELETE ON {overlay} FOR EACH STATEMENT \
             EXECUTE FUNCTION epoch.refuse_replaced('{id}', '{family}'); \
         ALTER TABLE {overlay} ENABLE ALWAYS TRIGGER zz_epoch_0_replaced;\n",
        overlay = crate::layout::overlay(table),
        id = table.id.0,
    )
}
