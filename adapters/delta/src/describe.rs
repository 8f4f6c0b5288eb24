//! Which Delta tables there are, and what they look like.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use epoch_adapter::{
    BackendKind, Column, Discovered, Error, Location, Result, Row, TableDef, TableSchema, sqlstate,
};
use epoch_layers::names::matches;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::error;
use crate::hub::Hub;
use crate::read::{self, Wanted};
use crate::source::Version;
use crate::state::Table;
use crate::store::{OURS, joined};
use crate::types::{is_exact, map, name};

/// How deep below the backend's folder tables are looked for.
const DEPTH: usize = 6;

/// The folders that hold Delta tables, of those that match a pattern.
pub(crate) async fn discover(hub: &Hub, kind: BackendKind, pattern: &str) -> Result<Vec<Discovered>> {
    let pattern = pattern.strip_prefix("public.").unwrap_or(pattern);
    let mut found: Vec<String> = match pattern.contains('*') {
        true => {
            let all = tables(&hub.root).await?.into_iter();
            all.filter(|p| matches(pattern, p) || (!pattern.contains('/') && matches(pattern, last(p))))
                .collect()
        }
        false => named(hub, pattern).await?,
    };
    found.sort();
    let mut out = Vec::new();
    for path in found {
        let location = Location { kind, backend: hub.name.clone(), schema: None, table: path.clone() };
        let reason = match hub.source(&path)?.newest().await.and_then(|v| obstacle(&v)) {
            Ok(()) => "a Delta table has no key of its own".to_owned(),
            Err(e) => match e.detail() {
                Some(detail) => format!("{}: {detail}", e.message()),
                None => e.message().to_owned(),
            },
        };
        out.push(Discovered { location, key: Vec::new(), reason: Some(reason) });
    }
    Ok(out)
}

/// The table of a path, or else those whose folders have this name.
async fn named(hub: &Hub, name: &str) -> Result<Vec<String>> {
    if let Ok(path) = Path::parse(name)
        && is_table(&hub.root, &path).await?
    {
        return Ok(vec![name.to_owned()]);
    }
    Ok(tables(&hub.root).await?.into_iter().filter(|p| last(p) == name).collect())
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

async fn is_table(root: &Arc<dyn ObjectStore>, path: &Path) -> Result<bool> {
    let log = joined(path, &Path::from("_delta_log"));
    let first = root.list(Some(&log)).try_next().await.map_err(error::store)?;
    Ok(first.is_some())
}

/// All folders with a log in them.
async fn tables(root: &Arc<dyn ObjectStore>) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut open = VecDeque::from([(Path::default(), 0)]);
    while let Some((folder, depth)) = open.pop_front() {
        let listed = root.list_with_delimiter(Some(&folder)).await.map_err(error::store)?;
        let is = |p: &Path| p.filename() == Some("_delta_log");
        if listed.common_prefixes.iter().any(is) {
            if depth > 0 {
                out.push(folder.to_string());
            }
            continue;
        }
        let visible = |p: &Path| p.filename().is_some_and(|n| !n.starts_with(['_', '.']) && n != OURS);
        if depth < DEPTH {
            open.extend(listed.common_prefixes.into_iter().filter(visible).map(|p| (p, depth + 1)));
        }
    }
    Ok(out)
}

/// Why a table can't be registered, whatever its key.
fn obstacle(version: &Version) -> Result<()> {
    version.check_readable()?;
    for field in version.snapshot().schema().fields() {
        let no = |why: String| {
            Err(Error::unsupported(format!("a Delta table with column \"{}\", {why},", field.name())))
        };
        if map(field.data_type()).is_none() {
            return no(format!("whose type is {}", name(field.data_type())));
        }
        if field.name().to_ascii_lowercase().starts_with("epoch_") {
            return no("whose name is of Horizon Epoch's own".to_owned());
        }
        let computed =
            |k: &&String| k.as_str() == "delta.generationExpression" || k.starts_with("delta.identity.");
        if field.metadata.keys().any(|k| computed(&k)) {
            return no("which is computed".to_owned());
        }
    }
    Ok(())
}

/// The columns of a version.
fn columns(version: &Version) -> Result<Vec<Column>> {
    let schema = version.snapshot().schema();
    let column = |field: &deltalake_core::kernel::StructField| {
        let type_name = name(field.data_type());
        let (pg_type, data_type) = map(field.data_type())
            .ok_or_else(|| Error::unsupported(format!("the type {type_name} of Delta")))?;
        Ok(Column {
            name: field.name().to_owned(),
            type_name,
            pg_type,
            data_type,
            nullable: field.is_nullable(),
            generated: false,
            default: None,
            equality: None,
        })
    };
    schema.fields().map(column).collect()
}

/// A table's columns and the key that was given.
pub(crate) async fn describe(hub: &Hub, location: &Location, key: Option<&[String]>) -> Result<TableSchema> {
    let path = &location.table;
    let version = hub.source(path)?.newest().await.map_err(|e| match e.code() {
        sqlstate::UNDEFINED_TABLE => {
            Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{path}\" does not exist"))
        }
        _ => e,
    })?;
    obstacle(&version)?;
    let mut columns = columns(&version)?;
    let no_key = |message: String| Error::new(sqlstate::INVALID_FOREIGN_KEY, message);
    let Some(wanted) = key.filter(|k| !k.is_empty()) else {
        return Err(no_key(format!("Delta table \"{path}\" has no key of its own")).with_hint(
            "Say which columns identify its rows: epoch_register('name', 'location', 'column, …').",
        ));
    };
    let mut key = Vec::new();
    for name in wanted {
        let index = columns.iter().position(|c| c.name == *name).ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{path}\" does not exist");
            Error::new(sqlstate::UNDEFINED_COLUMN, message)
        })?;
        if key.contains(&index) {
            return Err(no_key(format!("column \"{name}\" is twice in the key")));
        }
        let Some(column) = columns.get_mut(index) else { continue };
        if !is_exact(column) {
            return Err(no_key(format!("column \"{name}\" can't be in a key"))
                .with_detail(format!("Its type is {}, which isn't exact.", column.type_name)));
        }
        column.nullable = false;
        key.push(index);
    }
    Ok(TableSchema { columns, key })
}

/// 42830 if the key isn't one: a column of it is NULL somewhere, or a key is there twice.
pub(crate) async fn check_key(hub: &Hub, table: &TableDef, version: &Version) -> Result<()> {
    let mut loose = table.schema.clone();
    loose.columns.iter_mut().for_each(|c| c.nullable = true);
    let wanted = Wanted { columns: loose.key.clone(), ..Wanted::default() };
    let mut stream = read::read(&hub.context, version.provider().await?, &loose, &wanted).await?;
    let mut seen: HashSet<Row> = HashSet::new();
    while let Some(batch) = stream.try_next().await? {
        for key in crate::types::rows(&batch)? {
            if !crate::apply::whole(&key) || !seen.insert(key.clone()) {
                let names = table.schema.key_names().join(", ");
                let texts = epoch_layers::errors::texts(&key);
                let what = if crate::apply::whole(&key) { "there twice" } else { "not whole" };
                let message = format!("({names}) is not a key of Delta table \"{}\"", table.location.table);
                return Err(Error::new(sqlstate::INVALID_FOREIGN_KEY, message)
                    .with_detail(format!("Key ({names})=({}) is {what}.", texts.join(", "))));
            }
        }
    }
    Ok(())
}

/// What became of a table since its registration, if it isn't as it was.
pub(crate) fn drifted(known: &Table, table: &TableDef, version: &Version) -> Option<String> {
    if version.identity() != known.identity {
        return Some("the table was dropped and made anew".to_owned());
    }
    let Ok(now) = columns(version) else { return Some("it has columns of other types".to_owned()) };
    let then = &table.schema.columns;
    for column in then {
        match now.iter().find(|c| c.name == column.name) {
            None => return Some(format!("column \"{}\" was dropped", column.name)),
            Some(c) if c.type_name != column.type_name => {
                return Some(format!("column \"{}\" is {} now", column.name, c.type_name));
            }
            Some(_) => {}
        }
    }
    let added = now.iter().find(|c| !then.iter().any(|t| t.name == c.name))?;
    Some(format!("column \"{}\" was added", added.name))
}

/// 55000 for a table that isn't as it was registered.
pub(crate) fn check_same(known: &Table, table: &TableDef, version: &Version) -> Result<()> {
    match drifted(known, table, version) {
        None => Ok(()),
        Some(reason) => Err(Error::drifted(&table.name.to_string(), &reason)),
    }
}

/// A table's text, as Spark writes it.
pub(crate) fn create_statement(table: &TableDef) -> String {
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let column = |c: &Column| {
        let null = if c.nullable { "" } else { " NOT NULL" };
        format!("  {} {}{null}", quoted(&c.name), c.type_name)
    };
    let columns: Vec<_> = table.schema.columns.iter().map(column).collect();
    format!("CREATE TABLE {} (\n{}\n) USING DELTA;", quoted(&table.name.name), columns.join(",\n"))
}
