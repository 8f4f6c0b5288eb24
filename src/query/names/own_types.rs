//! What names of types mean on a branch that made types: looked for where PostgreSQL does, with the branch's own where they
//! belong.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use epoch_adapter::{TableDef, TableName};
use epoch_adapter_postgres::layout::literal;

use super::proof::Name;
use super::{Catalog, NameCache, TRUSTED, search_path};
use crate::Result;
use crate::operations::Tables;
use crate::query::parse::{Statement, TypeRef};

/// What a type's name means.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::query) enum TypeMeaning {
    /// What it means to the server.
    Server,
    /// A type that branches made.
    Own(Arc<TableDef>),
    /// One of main's that the session's ref doesn't have.
    Gone,
}

/// The types that aren't what the server's catalogs say, by the places where names look for them.
struct Types<'a> {
    tables: &'a Tables,
    backend: &'a str,
}

impl Types<'_> {
    fn own(&self, schema: &str, name: &str) -> Option<&Arc<TableDef>> {
        let place = TableName { schema: schema.to_owned(), name: name.to_owned() };
        self.tables.type_named(self.backend, &place).filter(|t| t.own).map(|t| &t.table)
    }

    fn lacks(&self, schema: &str, name: &str) -> bool {
        let place = TableName { schema: schema.to_owned(), name: name.to_owned() };
        self.tables.absent_types.contains(&(self.backend.to_owned(), place))
    }

    /// Whether a type of this name is another one here, in some schema.
    fn concerns(&self, name: &str) -> bool {
        self.tables.own_types().any(|t| t.location.backend == self.backend && t.name.name == name)
            || self.tables.absent_types.iter().any(|(b, t)| b == self.backend && t.name == name)
    }

    /// `found`: the schemas in which the server has a type of the name.
    fn meaning(&self, (schema, name): &Name, path: &[String], found: &HashSet<String>) -> TypeMeaning {
        if let Some(schema) = schema {
            return match self.own(schema, name) {
                Some(own) => TypeMeaning::Own(Arc::clone(own)),
                None if self.lacks(schema, name) => TypeMeaning::Gone,
                None => TypeMeaning::Server,
            };
        }
        let mut gone = false;
        for schema in path {
            if let Some(own) = self.own(schema, name) {
                return TypeMeaning::Own(Arc::clone(own));
            }
            if self.lacks(schema, name) {
                gone = true;
            } else if found.contains(schema) {
                return TypeMeaning::Server;
            }
        }
        if gone { TypeMeaning::Gone } else { TypeMeaning::Server }
    }
}

/// Whether a ref has other types than the server's catalogs say.
pub(in crate::query) fn differ(tables: &Tables, backend: &str) -> bool {
    tables.own_types().any(|t| t.location.backend == backend)
        || tables.absent_types.iter().any(|(b, _)| b == backend)
}

impl NameCache {
    /// What a type's name means, after [`NameCache::learn`].
    pub(in crate::query) fn type_meaning(&self, schema: Option<&str>, name: &str) -> TypeMeaning {
        let found = self.own_types.get(&(schema.map(str::to_owned), name.to_owned()));
        found.map_or(TypeMeaning::Server, |(_, meaning)| meaning.clone())
    }

    /// As [`NameCache::type_meaning`].
    pub(in crate::query) fn type_of(&self, name: &TypeRef) -> TypeMeaning {
        self.type_meaning(name.schema.as_deref(), &name.name)
    }

    /// Learns what names of types mean, if branches made types of these names.
    pub(super) async fn learn_types(
        &mut self,
        statements: &[&Statement],
        tables: &Tables,
        backend: &str,
        now: Instant,
        catalog: &mut dyn Catalog,
    ) -> Result<()> {
        if !differ(tables, backend) {
            return Ok(());
        }
        let types = Types { tables, backend };
        let fresh = |at: &Instant| now.duration_since(*at) < TRUSTED;
        let named = statements.iter().flat_map(|s| s.types.iter().cloned().chain(named_by_definition(s)));
        let mut asked: Vec<Name> = named
            .filter(|key| types.concerns(&key.1) && !self.own_types.get(key).is_some_and(|(at, _)| fresh(at)))
            .collect();
        asked.sort();
        asked.dedup();
        if asked.is_empty() {
            return Ok(());
        }
        let (path, found) = places(catalog, &asked).await?;
        self.path = Some(path.clone());
        for key in asked {
            let schemas = found.iter().filter(|(name, _)| *name == key.1).map(|(_, s)| s.clone()).collect();
            let meaning = types.meaning(&key, &path, &schemas);
            self.own_types.insert(key, (now, meaning));
        }
        Ok(())
    }
}

/// The types that CREATE TYPE and DROP TYPE name.
fn named_by_definition(statement: &Statement) -> Vec<Name> {
    use crate::query::parse::{Define, How, Kind, TypeHow};
    let key = |of: &TypeRef| (of.schema.clone(), of.name.clone());
    match &statement.kind {
        Kind::Define(Define { how: How::Type(TypeHow::Create { name, .. }), .. }) => vec![key(name)],
        Kind::Define(Define { how: How::Type(TypeHow::Drop { names, .. }), .. }) => {
            names.iter().map(key).collect()
        }
        _ => Vec::new(),
    }
}

/// The search path, and where in it the server has types of these names (the names and schemas).
async fn places(catalog: &mut dyn Catalog, asked: &[Name]) -> Result<(Vec<String>, Vec<(String, String)>)> {
    let names: Vec<String> = asked.iter().map(|(_, name)| literal(name)).collect();
    let sql = format!(
        "SELECT 's', '0', pg_catalog.to_json(pg_catalog.current_schemas(true))::text UNION ALL \
         SELECT 'y', t.typname::text, n.nspname::text FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         WHERE t.typname = ANY (ARRAY[{}]::pg_catalog.name[]) AND n.nspname = ANY (pg_catalog.current_schemas(true))",
        names.join(", ")
    );
    let rows = catalog.query(&sql).await?;
    let path = search_path(&rows)?;
    let found = rows.into_iter().filter_map(|row| {
        let mut cells = row.into_iter();
        let kind = cells.next().flatten()?;
        let pair = (cells.next().flatten()?, cells.next().flatten()?);
        (kind == "y").then_some(pair)
    });
    Ok((path, found.collect()))
}
