//! Which rows of a view don't keep to the table's constraints.

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
pub(crate) struct Rows {
    pub(crate) sql: String,
    pub(crate) params: Vec<Value>,
}

impl Rows {
    fn of(arms: &[Arm], columns: &[String]) -> Self {
        Self::filtered(arms, columns, &Filter::default())
    }

    /// Those of the arms' rows that meet a condition.
    pub(crate) fn filtered(arms: &[Arm], columns: &[String], filter: &Filter) -> Self {
        let what = list("x", columns.iter().map(String::as_str));
        let mut all = Self { sql: String::new(), params: Vec::new() };
        for arm in arms {
            let (sql, params) = arm.select(&what, filter, None);
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
pub(crate) struct Query {
    rule: Rule,
    constraint: String,
    sql: String,
    /// Other rows, by the names that the query has for them.
    with: Vec<(&'static str, Rows)>,
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
    queries.extend(meta.physical.uniques.iter().map(|u| unique(meta, u, None)));
    for foreign in &meta.physical.foreign {
        let parents = parents(conn, catalog, foreign, others)?;
        queries.push(of_foreign_key(catalog, meta, foreign, parents, None));
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

/// What a query finds.
pub(crate) fn run(
    conn: &Connection,
    meta: &Meta,
    rows: &Rows,
    query: &Query,
    left: usize,
    found: &mut Vec<Violation>,
) -> Result<()> {
    let mut with = format!("WITH r AS ({})", rows.sql);
    let mut params = rows.params.clone();
    for (name, rows) in &query.with {
        with.push_str(&format!(", {name} AS ({})", rows.sql));
        params.extend(rows.params.iter().cloned());
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

pub(crate) fn not_null(meta: &Meta) -> Vec<Query> {
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
        with: Vec::new(),
    };
    required.map(query).collect()
}

pub(crate) fn check(meta: &Meta, name: &str, condition: &str) -> Query {
    let detail = literal(&format!("CHECK {condition} is false."));
    Query {
        rule: Rule::Check,
        constraint: name.to_owned(),
        sql: format!("SELECT {}, {detail} FROM r WHERE NOT {condition}", keys(meta, "")),
        with: Vec::new(),
    }
}

/// All rows that share a key with another one; of those that may share one with rows `among` these.
pub(crate) fn unique(meta: &Meta, unique: &Unique, among: Option<Rows>) -> Query {
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
    // The first part tells enough.
    let near = match (&among, unique.parts.first()) {
        (Some(_), Some(p)) => {
            format!(" AND ({}) COLLATE {} IN (SELECT ({}) FROM n)", p.sql, quote(&p.collation), p.sql)
        }
        _ => String::new(),
    };
    let sql = format!(
        "SELECT {keys}, epoch_detail FROM (SELECT {keys}, {start} || {} || ') is there more than once.' AS epoch_detail, \
         count(*) OVER (PARTITION BY {}) AS epoch_count FROM r WHERE ({}) AND {}{near}) WHERE epoch_count > 1",
        shown.join(" || ', ' || "),
        parts.join(", "),
        unique.condition.as_deref().unwrap_or("1"),
        given.join(" AND "),
    );
    let with = among.map(|rows| ("n", rows)).into_iter().collect();
    Query { rule: Rule::Unique, constraint: unique.name.clone(), sql, with }
}

/// The rows that a foreign key refers to; of a parent that isn't registered those that are there.
pub(crate) fn parents(
    conn: &Connection,
    catalog: &Catalog,
    foreign: &Foreign,
    others: &[SeenTable],
) -> Result<Rows> {
    let parent = catalog.named(&foreign.parent);
    let seen = parent.and_then(|p| others.iter().find(|(table, _)| table.id == p.id()));
    Ok(match (parent, seen) {
        (Some(parent), Some((_, view))) => Rows::of(&arms(conn, parent, view)?, &parent.columns),
        _ => {
            let columns = list("x", foreign.parent_columns.iter().map(String::as_str));
            Rows {
                sql: format!("SELECT {columns} FROM main.{} AS x", quote(&foreign.parent)),
                params: Vec::new(),
            }
        }
    })
}

/// Rows without a parent among these; `before`: that had one among those.
pub(crate) fn of_foreign_key(
    catalog: &Catalog,
    meta: &Meta,
    foreign: &Foreign,
    parents: Rows,
    before: Option<Rows>,
) -> Query {
    let parent = catalog.named(&foreign.parent);
    let collation = |column: &str| {
        let found = parent.and_then(|p| Some((p, p.physical.index_of(column)?)));
        let found = found.and_then(|(p, i)| p.physical.columns.get(i));
        found.map_or_else(String::new, |c| format!(" COLLATE {}", quote(&c.collation)))
    };
    let pairs = || foreign.columns.iter().zip(&foreign.parent_columns);
    let same = |rows: &str| {
        let one =
            |(c, p): (&String, &String)| format!("{rows}.{}{} = r.{}", quote(p), collation(p), quote(c));
        pairs().map(one).collect::<Vec<_>>().join(" AND ")
    };
    let had = match before {
        Some(_) => format!(" AND EXISTS (SELECT 1 FROM q WHERE {})", same("q")),
        None => String::new(),
    };
    let given: Vec<_> = foreign.columns.iter().map(|c| format!("r.{} IS NOT NULL", quote(c))).collect();
    let shown: Vec<_> = foreign.columns.iter().map(|c| format!("r.{}", quote(c))).collect();
    let start = literal(&format!("Key ({})=(", foreign.columns.join(", ")));
    let end = literal(&format!(") is not present in table \"{}\".", foreign.parent));
    let sql = format!(
        "SELECT {}, {start} || {} || {end} FROM r WHERE {} AND NOT EXISTS (SELECT 1 FROM p WHERE {}){had}",
        keys(meta, "r"),
        shown.join(" || ', ' || "),
        given.join(" AND "),
        same("p"),
    );
    let with = std::iter::once(("p", parents)).chain(before.map(|rows| ("q", rows))).collect();
    Query { rule: Rule::ForeignKey, constraint: foreign.name.clone(), sql, with }
}
