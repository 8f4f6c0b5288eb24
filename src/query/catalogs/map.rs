//! What is different on a branch from what the server's catalogs say: asked once per state of the branch.
//!
//! A table that was made or altered on a branch is a real relation in a schema of its own (decisions 18, 19), with
//! its indexes, constraints, sequences and types. The branch's catalogs have these rows under the schema that the
//! table belongs to, and not those of main's table that it takes the place of.

use std::collections::HashMap;
use std::sync::Arc;

use epoch_adapter::{TableDef, TableId, TableName};
use epoch_adapter_postgres::layout::{base, literal, overlay_schema, quote};

use crate::operations::Tables;
use crate::query::names::{Catalog, location};
use crate::query::plan::{Context, state};
use crate::query::types;
use crate::{Error, Result};

/// A schema that holds a table of the branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::query) struct Schema {
    pub oid: u32,
    pub name: String,
    /// The schema that the table belongs to.
    pub home: u32,
    pub home_name: String,
}

/// A relation in such a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::query) struct Relation {
    pub oid: u32,
    pub name: String,
    /// The oid of its schema.
    pub schema: u32,
}

/// A relation of main that the branch doesn't have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::query) struct Hidden {
    pub oid: u32,
    pub schema: String,
    pub name: String,
}

/// What stands for the parent of a foreign key, by its qualified name, and the table that the branch has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::query) struct StandIn {
    pub schema: String,
    pub name: String,
    pub home: String,
    pub table: String,
}

/// A type that branches made, by the name that sessions know, and what the server calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::query) struct Enumeration {
    pub home: String,
    pub name: String,
    pub spelled: String,
}

/// Pairs of oids: what a row of a catalog refers to, and what it refers to on the branch.
pub(in crate::query) type Pairs = Vec<(u32, u32)>;

/// The differences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::query) struct Map {
    pub schemas: Vec<Schema>,
    pub relations: Vec<Relation>,
    pub hidden: Vec<Hidden>,
    /// The row types of what is hidden.
    pub hidden_types: Vec<u32>,
    /// Tables.
    pub tables: Pairs,
    /// Their indexes.
    pub indexes: Pairs,
    pub stand_ins: Vec<StandIn>,
    pub enumerations: Vec<Enumeration>,
    /// Types of main that the branch doesn't have, by schema and name.
    pub absent_types: Vec<(String, String)>,
    /// The columns of catalogs, by name.
    pub columns: HashMap<String, Vec<String>>,
    /// The schemas in which names without one are looked for.
    pub path: Vec<String>,
}

impl Map {
    /// The relation of the branch's own that a name in a schema means.
    pub fn relation(&self, schema: &str, name: &str) -> Option<(&Schema, &Relation)> {
        let of = |r: &&Relation| r.name == name;
        self.relations.iter().filter(of).find_map(|relation| {
            let own = self.schemas.iter().find(|s| s.oid == relation.schema)?;
            (own.home_name == schema).then_some((own, relation))
        })
    }

    /// A relation of main that the branch doesn't have.
    pub fn hidden(&self, schema: &str, name: &str) -> Option<&Hidden> {
        self.hidden.iter().find(|h| h.schema == schema && h.name == name)
    }

    /// Whether a relation of this name is another one on the branch, or none.
    pub fn concerns(&self, name: &str) -> bool {
        self.relations.iter().any(|r| r.name == name) || self.hidden.iter().any(|h| h.name == name)
    }

    /// Whether types are others than main's.
    pub fn has_types(&self) -> bool {
        !self.enumerations.is_empty() || !self.absent_types.is_empty()
    }

    /// The schemas that tables of the branch belong to, each once.
    pub fn homes(&self) -> Vec<(u32, &str)> {
        let mut homes: Vec<(u32, &str)> =
            self.schemas.iter().map(|s| (s.home, s.home_name.as_str())).collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    }
}

/// Whether the session's ref has other tables than the server's catalogs say.
pub(in crate::query) fn differs(ctx: &Context<'_>) -> bool {
    if ctx.checkout.is_main() {
        return false;
    }
    let tables = ctx.repository.tables(ctx.checkout);
    tables.absent.iter().any(|l| l.backend == ctx.backend)
        || tables.by_id.values().any(|t| t.location.backend == ctx.backend && t.location.is_draft())
        || !views(ctx, &tables).is_empty()
        || types::differ(ctx)
}

/// The types that the session's branch has, and main doesn't.
fn types_of(ctx: &Context<'_>, tables: &Tables) -> Vec<Arc<TableDef>> {
    let here = tables.own_types().filter(|t| t.location.backend == ctx.backend);
    let mut all: Vec<_> =
        here.filter(|t| t.enumeration.as_ref().is_some_and(|e| !e.on_main)).cloned().collect();
    all.sort_by_key(|t| t.id);
    all
}

/// Types of main that the session's ref doesn't have.
fn absent_types(ctx: &Context<'_>, tables: &Tables) -> Vec<(String, String)> {
    let here = tables.absent_types.iter().filter(|(backend, _)| backend == ctx.backend);
    let mut all: Vec<_> = here.map(|(_, name)| (name.schema.clone(), name.name.clone())).collect();
    all.sort();
    all
}

/// The views that the session's branch defined.
fn views(ctx: &Context<'_>, tables: &Tables) -> Vec<Arc<TableDef>> {
    let views = tables.own_views().filter(|t| t.location.backend == ctx.backend);
    views.filter(|t| t.view.as_ref().is_some_and(|view| view.query.is_some())).cloned().collect()
}

/// What stands for the relations that views read, the longest names first: one may be the beginning of another.
fn stand_ins(views: &[Arc<TableDef>]) -> Vec<StandIn> {
    let mut found = Vec::new();
    for view in views {
        for read in view.view.iter().flat_map(|def| &def.reads) {
            found.push(StandIn {
                schema: overlay_schema(view),
                name: read.name.clone(),
                home: read.schema.clone(),
                table: read.name.clone(),
            });
        }
    }
    found.sort_by(|a, b| (b.name.len(), &a.name).cmp(&(a.name.len(), &b.name)));
    found
}

/// The differences of the session's ref, if there are any.
pub(super) async fn of(ctx: &mut Context<'_>, catalog: &mut dyn Catalog) -> Result<Option<Arc<Map>>> {
    if !differs(ctx) {
        return Ok(None);
    }
    let state = state(ctx);
    if let Some(map) = ctx.names.catalogs(&state) {
        return Ok(Some(map));
    }
    let mut map = read(catalog.query(&sql(ctx)).await?)?;
    let tables = ctx.repository.tables(ctx.checkout);
    map.stand_ins.extend(stand_ins(&views(ctx, &tables)));
    map.absent_types = absent_types(ctx, &tables);
    map.enumerations = types_of(ctx, &tables)
        .iter()
        .filter_map(|t| {
            let (home, name) = location(t);
            Some(Enumeration { home, name, spelled: t.enumeration.as_ref()?.spelled().to_owned() })
        })
        .collect();
    let map = Arc::new(map);
    ctx.names.keep_catalogs(state, Arc::clone(&map));
    Ok(Some(map))
}

/// Rows of constants as a FROM item with columns.
fn values(rows: &[String], none: &str, alias: &str) -> String {
    if rows.is_empty() {
        return format!("(SELECT {none} WHERE false) {alias}");
    }
    format!("(VALUES {}) {alias}", rows.join(", "))
}

/// The first version of a table.
fn first(all: &HashMap<TableId, Arc<TableDef>>, table: &TableDef) -> TableId {
    let mut id = table.id;
    // A version is made from one with a smaller number.
    while let Some(before) =
        all.get(&id).and_then(|t| t.revision.as_ref()).map(|r| r.of).filter(|of| *of < id)
    {
        id = before;
    }
    id
}

/// Every version of the tables that there are, with the one that the ref shows: number, where the shown one is, where
/// main has this one, and by which name sessions know it.
fn versions(ctx: &Context<'_>, shown: &[Arc<TableDef>]) -> Vec<String> {
    let every = ctx.repository.every_table();
    let all: HashMap<TableId, Arc<TableDef>> = every.into_iter().map(|t| (t.id, t)).collect();
    let mut families: HashMap<TableId, Vec<&Arc<TableDef>>> = HashMap::new();
    for table in all.values() {
        families.entry(first(&all, table)).or_default().push(table);
    }
    let mut rows = Vec::new();
    for table in shown {
        let (schema, name) = location(table);
        for version in families.get(&first(&all, table)).into_iter().flatten() {
            let of_main = if version.id == table.id || version.location.is_draft() {
                "NULL".to_owned()
            } else {
                literal(&base(version))
            };
            rows.push(format!(
                "({}, {}, {of_main}, {}, {})",
                version.id.0,
                literal(&base(table)),
                literal(&schema),
                literal(&name)
            ));
        }
    }
    rows
}

/// What stands for each relation that a view reads, and the relation that the branch has of it.
fn reads(ctx: &Context<'_>, tables: &Tables, views: &[Arc<TableDef>]) -> Vec<String> {
    let mut rows = Vec::new();
    for view in views {
        for read in view.view.iter().flat_map(|def| &def.reads) {
            let name = TableName { schema: read.schema.clone(), name: read.name.clone() };
            let here = |t: &&Arc<TableDef>| t.location.backend == ctx.backend;
            let own = tables.by_name.get(&name).filter(here).or_else(|| tables.own_view(ctx.backend, &name));
            let shown =
                own.map_or_else(|| format!("{}.{}", quote(&name.schema), quote(&name.name)), |t| base(t));
            rows.push(format!(
                "({}, {}, {})",
                literal(&overlay_schema(view)),
                literal(&read.name),
                literal(&shown)
            ));
        }
    }
    rows
}

/// One statement for all that is different.
fn sql(ctx: &Context<'_>) -> String {
    let tables = ctx.repository.tables(ctx.checkout);
    let mut shown: Vec<Arc<TableDef>> =
        tables.by_id.values().filter(|t| t.location.backend == ctx.backend).cloned().collect();
    shown.sort_by_key(|t| t.id);
    let place = |t: &Arc<TableDef>| {
        let own = t.location.schema.as_deref()?;
        t.location.is_draft().then(|| {
            format!("({}, {}, {})", literal(own), literal(&location(t).0), literal(&overlay_schema(t)))
        })
    };
    let views = views(ctx, &tables);
    let types = types_of(ctx, &tables);
    let places: Vec<String> = shown.iter().chain(&views).chain(&types).filter_map(place).collect();
    let hidden = types.iter().map(|t| location(t)).chain(absent_types(ctx, &tables));
    let hidden: Vec<String> =
        hidden.map(|(schema, name)| format!("({}, {})", literal(&schema), literal(&name))).collect();
    let reads = reads(ctx, &tables, &views);
    let absent = tables.absent.iter().filter(|l| l.backend == ctx.backend);
    let absent: Vec<String> = absent
        .map(|l| format!("({}, {})", literal(l.schema.as_deref().unwrap_or("public")), literal(&l.table)))
        .collect();
    let catalogs: Vec<String> = super::rows::names().map(literal).collect();
    SQL.replace(
        "{{places}}",
        &values(&places, "NULL::text, NULL::text, NULL::text", "d(place, home, overlays)"),
    )
    .replace("{{absent}}", &values(&absent, "NULL::text, NULL::text", "a(s, t)"))
    .replace(
        "{{versions}}",
        &values(
            &versions(ctx, &shown),
            "NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text",
            "v(id, shown, main, home, name)",
        ),
    )
    .replace("{{reads}}", &values(&reads, "NULL::text, NULL::text, NULL::text", "y(overlays, name, shown)"))
    .replace("{{hidden_types}}", &values(&hidden, "NULL::text, NULL::text", "q(home, name)"))
    .replace("{{catalogs}}", &catalogs.join(", "))
}

const SQL: &str = include_str!("../../../sql/postgres/branch_catalogs.sql");

fn read(rows: Vec<Vec<Option<String>>>) -> Result<Map> {
    let unexpected = || Error::internal("the server's catalog answered in an unexpected form");
    let names = |json: &str| serde_json::from_str::<Vec<String>>(json).map_err(|_| unexpected());
    let mut map = Map::default();
    for row in rows {
        let text = |i: usize| row.get(i).and_then(Option::as_deref).unwrap_or_default();
        let own = |i: usize| text(i).to_owned();
        let oid = |i: usize| text(i).parse::<u32>().map_err(|_| unexpected());
        match text(0) {
            "n" => map.schemas.push(Schema { oid: oid(1)?, home: oid(2)?, name: own(3), home_name: own(4) }),
            "r" => map.relations.push(Relation { oid: oid(1)?, name: own(3), schema: oid(2)? }),
            "h" => map.hidden.push(Hidden { oid: oid(1)?, schema: own(3), name: own(4) }),
            "t" => map.hidden_types.push(oid(1)?),
            "p" => map.tables.push((oid(1)?, oid(2)?)),
            "i" => map.indexes.push((oid(1)?, oid(2)?)),
            "x" => {
                map.stand_ins.push(StandIn { schema: own(1), name: own(2), home: own(3), table: own(4) });
            }
            "c" => drop(map.columns.insert(own(1), names(text(2))?)),
            "s" => map.path = names(text(1))?,
            _ => return Err(unexpected()),
        }
    }
    Ok(map)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let row = |cells: &[&str]| -> Vec<Option<String>> {
            let mut row: Vec<_> = cells.iter().map(|c| Some((*c).to_owned())).collect();
            row.resize(5, None);
            row
        };
        let map = read(vec![
            row(&["n", "17000", "2200", "epoch_b7_public", "public"]),
            row(&["r", "17001", "17000", "notes"]),
            row(&["h", "16400", "", "public", "users"]),
            row(&["t", "16402"]),
            row(&["p", "16400", "17001"]),
            row(&["c", "pg_class", "[\"oid\", \"relname\"]"]),
            row(&["s", "[\"pg_catalog\", \"public\"]"]),
        ])
        .unwrap();
        assert_eq!(map.relation("public", "notes").map(|(s, r)| (s.oid, r.oid)), Some((17000, 17001)));
        assert_eq!(map.relation("epoch_b7_public", "notes"), None);
        assert_eq!(map.hidden("public", "users").map(|h| h.oid), Some(16400));
        assert!(map.concerns("users") && map.concerns("notes") && !map.concerns("public"));
        assert_eq!((map.tables.as_slice(), map.path.len()), (&[(16400, 17001)][..], 2));
        assert!(read(vec![row(&["q"])]).is_err() && read(vec![row(&["t", "x"])]).is_err());
    }
}
