//! The objects that the catalogs show: registered tables, their keys, the relations of schema `epoch`.

use std::sync::Arc;

use epoch_adapter::{Column, Error, Result, TableDef, sqlstate};
use postgres_types::Type;

use crate::federation::planner::Planner;
use crate::federation::types;
use crate::functions;

pub(super) const PG_CATALOG: i64 = 11;
pub(super) const PUBLIC: i64 = 2200;
pub(super) const INFORMATION_SCHEMA: i64 = 13_000;
pub(super) const EPOCH: i64 = 16_384;
/// The user's role.
pub(super) const USER: i64 = 10;
pub(super) const DATABASE: i64 = 16_383;
const FIRST_SCHEMA: i64 = 16_400;
const FIRST_RELATION: i64 = 20_000;
const FIRST_FUNCTION: i64 = 30_000;
const FIRST_TABLE: i64 = 100_000;

/// A column of a relation.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(super) name: String,
    pub(super) pg_type: Type,
    pub(super) modifier: i32,
    pub(super) not_null: bool,
    pub(super) default: Option<String>,
    pub(super) generated: bool,
}

/// A table or a relation of schema `epoch`.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) oid: i64,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(super) view: bool,
    pub(super) attributes: Vec<Attribute>,
    /// Numbers of the key's columns, from 1; empty for views.
    pub(super) key: Vec<usize>,
}

impl Relation {
    /// The index over the key.
    pub(super) fn index_oid(&self) -> i64 {
        self.oid + 1
    }

    pub(super) fn index_name(&self) -> String {
        format!("{}_pkey", self.name)
    }

    pub(super) fn constraint_oid(&self) -> i64 {
        self.oid + 2
    }

    pub(super) fn key_names(&self) -> Vec<&str> {
        let name = |number: &usize| self.attributes.get(number.checked_sub(1)?).map(|a| a.name.as_str());
        self.key.iter().filter_map(name).collect()
    }
}

/// All objects of one statement's snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    pub(crate) database: String,
    /// The databases of branches, if they are to be listed.
    pub(crate) databases: Vec<String>,
    pub(crate) user: String,
    pub(crate) schemas: Vec<(i64, String)>,
    pub(crate) relations: Vec<Relation>,
}

/// The names of the branches' databases, but for the session's own.
fn databases(planner: &Planner) -> Vec<String> {
    let repository = planner.repository.name();
    let name = |branch: &String| match branch.as_str() {
        "main" => repository.to_owned(),
        branch => format!("{repository}/{branch}"),
    };
    let all = planner.session.branches.iter().map(name);
    all.filter(|name| *name != planner.session.database).collect()
}

impl Objects {
    pub(crate) fn new(planner: &Planner) -> Self {
        let tables = planner.repository.tables_on(&planner.checkout).sorted();
        let mut schemas = vec![
            (PG_CATALOG, "pg_catalog".to_owned()),
            (PUBLIC, "public".to_owned()),
            (INFORMATION_SCHEMA, "information_schema".to_owned()),
            (EPOCH, "epoch".to_owned()),
        ];
        for table in &tables {
            if !schemas.iter().any(|(_, name)| *name == table.name.schema) {
                let oid = FIRST_SCHEMA + i64::try_from(schemas.len()).unwrap_or(0);
                schemas.push((oid, table.name.schema.clone()));
            }
        }
        let mut relations: Vec<_> = tables.iter().map(registered).collect();
        let ours = functions::catalog().iter().filter(|f| f.relation.is_some() && !f.columns.is_empty());
        relations.extend((0..).zip(ours).filter_map(|(index, f)| epoch_relation(index, f)));
        Self {
            database: planner.session.database.clone(),
            databases: databases(planner),
            user: planner.session.user.clone(),
            schemas,
            relations,
        }
    }

    pub(crate) fn schema_oid(&self, name: &str) -> i64 {
        self.schemas.iter().find(|(_, known)| known == name).map_or(0, |(oid, _)| *oid)
    }

    /// A relation by name as written in `'…'::regclass`: `users`, `sales.users`, `"Odd"`.
    pub(crate) fn find(&self, text: &str) -> Result<i64> {
        if let Ok(oid) = text.parse() {
            return Ok(oid);
        }
        let parts: Vec<String> = text.split('.').map(folded).collect();
        let found = self.relations.iter().find(|r| match parts.as_slice() {
            [name] => r.name == *name && r.schema != "epoch",
            [schema, name] => r.name == *name && r.schema == *schema,
            _ => false,
        });
        found.map(|r| r.oid).ok_or_else(|| {
            Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"))
        })
    }

    /// The relation whose index or constraint this is.
    pub(crate) fn of_index(&self, oid: i64) -> Option<&Relation> {
        self.relations
            .iter()
            .find(|r| !r.key.is_empty() && (r.index_oid() == oid || r.constraint_oid() == oid))
    }
}

fn folded(part: &str) -> String {
    match part.trim().strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => part.trim().to_lowercase(),
    }
}

/// The function's oid in `pg_proc`.
pub(crate) fn function_oid(index: usize) -> i64 {
    FIRST_FUNCTION + i64::try_from(index).unwrap_or(0)
}

fn registered(table: &Arc<TableDef>) -> Relation {
    let attribute = |(index, column): (usize, &Column)| {
        let (pg_type, modifier) = types::parse_type(&column.pg_type).unwrap_or((Type::TEXT, -1));
        Attribute {
            name: column.name.clone(),
            pg_type,
            modifier,
            not_null: !column.nullable || table.schema.key.contains(&index),
            default: column.default.clone(),
            generated: column.generated,
        }
    };
    Relation {
        oid: FIRST_TABLE + table.id.0 * 4,
        schema: table.name.schema.clone(),
        name: table.name.name.clone(),
        view: false,
        attributes: table.schema.columns.iter().enumerate().map(attribute).collect(),
        key: table.schema.key.iter().map(|index| index + 1).collect(),
    }
}

fn epoch_relation(index: i64, function: &functions::Function) -> Option<Relation> {
    let attribute = |(name, ty): &(&str, functions::SqlType)| {
        let (pg_type, modifier) = types::parse_type(ty.name()).unwrap_or((Type::TEXT, -1));
        Attribute {
            name: (*name).to_owned(),
            pg_type,
            modifier,
            not_null: false,
            default: None,
            generated: false,
        }
    };
    Some(Relation {
        oid: FIRST_RELATION + index,
        schema: "epoch".to_owned(),
        name: function.relation?.to_owned(),
        view: true,
        attributes: function.columns.iter().map(attribute).collect(),
        key: Vec::new(),
    })
}
