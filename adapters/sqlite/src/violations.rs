//! Which rows of a view don't keep to the table's constraints.

use std::sync::Arc;

use epoch_adapter::{Result, Row, Rule, SeenTable, Value, View, Violation};
use epoch_layers::view::{Arm, Filter};
use rusqlite::Connection;

use crate::error::map;
use crate::install::check_names;
use crate::layout::{list, literal, quote};
use crate::meta::{Catalog, Foreign, Meta, Unique};
use crate::view::{arms, bind, value};

/// A relation of rows, as SQL and its parameters.
#[derive(Clone)]
struct Rows {
    sql: String,
    params: Vec<Value>,
}

impl Rows {
    fn of(arms: &[Arm], columns: &[String]) -> Self {
        let what = list("x", columns.iter().map(String::as_str));
        let mut all = Self { sql: String::new(), params: Vec::new() };
        for arm in arms {
            let (sql, params) = arm.select(&what, &Filter::default(), None);
            if !all.sql.is_empty() {
                all.sql.push_str(" UNION ALL ");
            }
            all.sql.push_str(&sql);
            all.params.extend(params);
        }
        all
    }
}

/// What a constraint says of the rows `r`: its last column is the detail, before it are the key's.
struct Query {
    rule: Rule,
    constraint: String,
    sql: String,
    /// The parents of a foreign key, which the query calls `p`.
    parents: Option<Rows>,
}

/// See [`epoch_adapter::Adapter::violations`].
pub(crate) fn violations(
    conn: &Connection,
    catalog: &Catalog,
    meta: &Meta,
    view: &View,
    others: &[SeenTable],
    limit: usize,
) -> Result<Vec<Violation>> {
    let rows = Rows::of(&arms(conn, meta, view)?, &meta.columns);
    let mut queries = not_null(meta);
    queries.extend(check_names(meta).iter().map(|(name, condition)| check(meta, name, condition)));
    queries.extend(meta.physical.uniques.iter().map(|u| unique(meta, u)));
    for foreign in &meta.physical.foreign {
        queries.push(of_foreign_key(conn, catalog, meta, foreign, others)?);
    }
    let mut found = Vec::new();
    for query in queries {
        let left = limit.saturating_sub(found.len());
        if left == 0 {
            break;
        }
        run(conn, meta, &rows, &query, left, &mut found)?;
    }
    Ok(found)
}

fn run(
    conn: &Connection,
    meta: &Meta,
    rows: &Rows,
    query: &Query,
    left: usize,
    found: &mut Vec<Violation>,
) -> Result<()> {
    let mut with = format!("WITH r AS ({})", rows.sql);
    let mut params = rows.params.clone();
    if let Some(parents) = &query.parents {
        with.push_str(&format!(", p AS ({})", parents.sql));
        params.extend(parents.params.iter().cloned());
    }
    let sql = format!("{with} {} LIMIT {left}", query.sql);
    let mut statement = conn.prepare(&sql).map_err(map)?;
    let mut results = statement.query(bind(&params)).map_err(map)?;
    while let Some(row) = results.next().map_err(map)? {
        let key: Result<Row> = (0..meta.key.len()).map(|i| value(row.get_ref(i).map_err(map)?)).collect();
        let detail: String = row.get(meta.key.len()).map_err(map)?;
        found.push(Violation { rule: query.rule, constraint: query.constraint.clone(), key: key?, detail });
    }
    Ok(())
}

fn keys(meta: &Meta, alias: &str) -> String {
    list(alias, meta.key.iter().map(String::as_str))
}

fn not_null(meta: &Meta) -> Vec<Query> {
    let required = meta.physical.columns.iter().filter(|c| c.not_null);
    let query = |c: &crate::meta::PhysicalColumn| Query {
        rule: Rule::NotNull,
        constraint: c.name.clone(),
        sql: format!(
            "SELECT {}, {} FROM r WHERE {} IS NULL",
            keys(meta, ""),
            literal(&format!("Column \"{}\" is null.", c.name)),
            quote(&c.name)
        ),
        parents: None,
    };
    required.map(query).collect()
}

fn check(meta: &Meta, name: &str, condition: &str) -> Query {
    let detail = literal(&format!("CHECK {condition} is false."));
    Query {
        rule: Rule::Check,
        constraint: name.to_owned(),
        sql: format!("SELECT {}, {detail} FROM r WHERE NOT {condition}", keys(meta, "")),
        parents: None,
    }
}

/// All rows that share a key with another one.
fn unique(meta: &Meta, unique: &Unique) -> Query {
    let parts: Vec<_> =
        unique.parts.iter().map(|p| format!("({}) COLLATE {}", p.sql, quote(&p.collation))).collect();
    let given: Vec<_> = unique.parts.iter().map(|p| format!("({}) IS NOT NULL", p.sql)).collect();
    let shown: Vec<_> = unique.parts.iter().map(|p| format!("coalesce({}, 'null')", p.sql)).collect();
    let names: Vec<_> = unique
        .parts
        .iter()
        .map(|p| p.column.and_then(|i| meta.columns.get(i)).unwrap_or(&p.sql).clone())
        .collect();
    let start = literal(&format!("Key ({})=(", names.join(", ")));
    let keys = keys(meta, "");
    let sql = format!(
        "SELECT {keys}, epoch_detail FROM (SELECT {keys}, {start} || {} || ') is there more than once.' AS epoch_detail, \
         count(*) OVER (PARTITION BY {}) AS epoch_count FROM r WHERE ({}) AND {}) WHERE epoch_count > 1",
        shown.join(" || ', ' || "),
        parts.join(", "),
        unique.condition.as_deref().unwrap_or("1"),
        given.join(" AND "),
    );
    Query { rule: Rule::Unique, constraint: unique.name.clone(), sql, parents: None }
}

/// Rows without a parent; a parent that isn't registered is as it is.
fn of_foreign_key(
    conn: &Connection,
    catalog: &Catalog,
    meta: &Meta,
    foreign: &Arc<Foreign>,
    others: &[SeenTable],
) -> Result<Query> {
    let parent = catalog.named(&foreign.parent);
    let seen = parent.and_then(|p| others.iter().find(|(table, _)| table.id == p.id()));
    let parents = match (parent, seen) {
        (Some(parent), Some((_, view))) => Rows::of(&arms(conn, parent, view)?, &parent.columns),
        _ => {
            let columns = list("x", foreign.parent_columns.iter().map(String::as_str));
            Rows {
                sql: format!("SELECT {columns} FROM main.{} AS x", quote(&foreign.parent)),
                params: Vec::new(),
            }
        }
    };
    let collation = |column: &str| {
        let found = parent.and_then(|p| Some((p, p.physical.index_of(column)?)));
        let found = found.and_then(|(p, i)| p.physical.columns.get(i));
        found.map_or_else(String::new, |c| format!(" COLLATE {}", quote(&c.collation)))
    };
    let pairs = || foreign.columns.iter().zip(&foreign.parent_columns);
    let same: Vec<_> =
        pairs().map(|(c, p)| format!("p.{}{} = r.{}", quote(p), collation(p), quote(c))).collect();
    let given: Vec<_> = foreign.columns.iter().map(|c| format!("r.{} IS NOT NULL", quote(c))).collect();
    let shown: Vec<_> = foreign.columns.iter().map(|c| format!("r.{}", quote(c))).collect();
    let start = literal(&format!("Key ({})=(", foreign.columns.join(", ")));
    let end = literal(&format!(") is not present in table \"{}\".", foreign.parent));
    let sql = format!(
        "SELECT {}, {start} || {} || {end} FROM r WHERE {} AND NOT EXISTS (SELECT 1 FROM p WHERE {})",
        keys(meta, "r"),
        shown.join(" || ', ' || "),
        given.join(" AND "),
        same.join(" AND "),
    );
    Ok(Query { rule: Rule::ForeignKey, constraint: foreign.name.clone(), sql, parents: Some(parents) })
}
