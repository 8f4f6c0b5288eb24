//! The versioned tables of a session's ref, by the places where its names look for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{Location, TableDef};

use crate::operations::Tables;
use crate::query::plan::Context;

/// Schema and name of a relation.
pub(in crate::query) type Place = (String, String);

/// The versioned tables of a PostgreSQL backend, by how its sessions name them.
pub(in crate::query) struct Ours {
    tables: HashMap<Place, Arc<TableDef>>,
    /// Tables of main that aren't there for the session's ref.
    absent: HashSet<Place>,
    /// Views that the branch defined.
    views: HashMap<Place, Arc<TableDef>>,
    /// The names of types that are others than the server knows by them, or aren't there.
    types: HashSet<String>,
}

impl Ours {
    pub fn new(tables: &Tables, backend: &str) -> Self {
        let here = tables.by_id.values().filter(|t| t.location.backend == backend);
        let absent = tables.absent.iter().filter(|l| l.backend == backend);
        let views = tables.own_views().filter(|t| t.location.backend == backend);
        let own = tables.own_types().filter(|t| t.location.backend == backend);
        let hidden = own.filter(|t| t.enumeration.as_ref().is_some_and(|e| !e.on_main));
        let gone = tables.absent_types.iter().filter(|(b, _)| b == backend).map(|(_, name)| &name.name);
        let types = hidden.map(|t| &t.name.name).chain(gone).cloned().collect();
        let defined = views.filter(|t| t.view.as_ref().is_some_and(|view| view.query.is_some()));
        Self {
            tables: here.map(|t| (location(t), t.clone())).collect(),
            absent: absent.map(place).collect(),
            views: defined.map(|t| (location(t), t.clone())).collect(),
            types,
        }
    }

    /// A view that the branch defined.
    pub fn view(&self, place: &Place) -> Option<&Arc<TableDef>> {
        self.views.get(place)
    }

    /// Whether the branch may have something of its own there.
    pub fn concerns(&self, place: &Place) -> bool {
        self.contains(place) || self.lacks(place) || self.views.contains_key(place)
    }

    pub fn get(&self, place: &Place) -> Option<&Arc<TableDef>> {
        self.tables.get(place)
    }

    pub fn contains(&self, place: &Place) -> bool {
        self.tables.contains_key(place)
    }

    /// Whether it is a table of main that isn't there for the session's ref.
    pub fn lacks(&self, place: &Place) -> bool {
        self.absent.contains(place) && !self.contains(place)
    }

    /// Whether what the server knows as a type of this name may be another one.
    pub(super) fn has_type(&self, name: &str) -> bool {
        self.types.contains(name)
    }

    /// Whether one of the tables is in this schema.
    pub fn has_schema(&self, schema: &str) -> bool {
        self.tables.keys().any(|(s, _)| s == schema)
    }

    /// A table or view made on a branch, which the server knows under another name.
    fn draft(&self, place: &Place) -> Option<&Arc<TableDef>> {
        self.tables.get(place).filter(|t| t.location.is_draft()).or_else(|| self.views.get(place))
    }

    pub(super) fn has_drafts(&self) -> bool {
        !self.views.is_empty() || self.tables.values().any(|t| t.location.is_draft())
    }
}

/// The versioned tables that there are for the session's ref.
pub(in crate::query) fn registered(ctx: &Context<'_>) -> Ours {
    Ours::new(&ctx.repository.tables(ctx.checkout), ctx.backend)
}

/// The schema and name of a versioned table, as sessions on its backend name it.
pub(in crate::query) fn location(table: &TableDef) -> Place {
    place(&table.location.home())
}

fn place(location: &Location) -> Place {
    (location.schema.clone().unwrap_or_else(|| "public".to_owned()), location.table.clone())
}

/// The table made on a branch that a name means before what the server finds, if any.
pub(super) fn draft<'a>(
    (schema, name): &(Option<String>, String),
    found: Option<&str>,
    ours: &'a Ours,
    path: &[String],
) -> Option<&'a Arc<TableDef>> {
    if let Some(schema) = schema {
        return ours.draft(&(schema.clone(), name.clone()));
    }
    for schema in path {
        if let Some(table) = ours.draft(&(schema.clone(), name.clone())) {
            return Some(table);
        }
        if found == Some(schema) {
            return None;
        }
    }
    None
}
