//! Which rows of a view don't keep to the table's constraints.

use epoch_adapter::{Result, Rule, SeenTable, Value, View, Violation};
use epoch_layers::view::{Arm, Dialect, Filter, union};

use crate::layout::{list, literal, quote};
use crate::meta::{Catalog, Meta};
use crate::physical::{Check, Foreign, PhysicalColumn, Unique};
use crate::pool::{Session, text};
use crate::view::facts;

/// A relation of rows, as SQL and its parameters.
type Rows = (String, Vec<Value>);

/// What a constraint says of the rows `r`: after the key's columns there is the detail.
pub(crate) struct Query {
    rule: Rule,
    constraint: String,
    pub sql: String,
    /// The parents of a foreign key, which the query calls `p`.
    parents: Option<Rows>,
}

/// See [`epoch_adapter::Adapter::violations`].
pub(crate) async fn violations(
    session: &mut Session,
    catalog: &Catalog,
    meta: &Meta,
    view: &View,
    others: &[SeenTable],
    limit: usize,
) -> Result<Vec<Violation>> {
    let rows = seen(session, meta, view).await?;
    let mut queries = queries(meta);
    for foreign in &meta.physical.foreign {
        let parents = parents(session, catalog, foreign, others).await?;
        queries.push(of_foreign_key(meta, foreign, parents));
    }
    let mut found = Vec::new();
    for query in queries {
        let left = limit.saturating_sub(found.len());
        if left == 0 {
            break;
        }
        run(session, meta, &rows, query, left, &mut found).await?;
    }
    Ok(found)
}

/// What the table's own constraints say.
pub(crate) fn queries(meta: &Meta) -> Vec<Query> {
    let mut queries: Vec<_> =
        meta.physical.columns.iter().filter(|c| c.not_null).map(|c| not_null(meta, c)).collect();
    queries.extend(meta.physical.checks.iter().map(|c| check(meta, c)));
    queries.extend(meta.uniques.iter().map(|u| unique(meta, u)));
    queries
}

async fn seen(session: &mut Session, meta: &Meta, view: &View) -> Result<Rows> {
    let facts = facts(session, meta, view).await?;
    Ok(union(&meta.arms(view, facts), &meta.all_columns("x"), &Filter::default(), None))
}

async fn run(
    session: &mut Session,
    meta: &Meta,
    (rows, params): &Rows,
    query: Query,
    left: usize,
    found: &mut Vec<Violation>,
) -> Result<()> {
    let (mut with, mut params) = (format!("WITH r AS ({rows})"), params.clone());
    if let Some((sql, values)) = query.parents {
        with.push_str(&format!(", p AS ({sql})"));
        params.extend(values);
    }
    let sql = format!("{with} SELECT TOP ({left}) {}", query.sql);
    for mut row in session.rows(&sql, &params).await? {
        let detail = text(&row, meta.key.len()).unwrap_or_default();
        let key = meta.read_key(&mut row, 0)?;
        found.push(Violation { rule: query.rule, constraint: query.constraint.clone(), key, detail });
    }
    Ok(())
}

/// `sql`: what follows SELECT.
fn query(rule: Rule, constraint: &str, sql: String) -> Query {
    Query { rule, constraint: constraint.to_owned(), sql, parents: None }
}

fn not_null(meta: &Meta, c: &PhysicalColumn) -> Query {
    let detail = literal(&format!("Column \"{}\" is null.", c.name));
    let sql = format!("{}, {detail} FROM r WHERE r.{} IS NULL", meta.key_cells("r"), quote(&c.name));
    query(Rule::NotNull, &c.name, sql)
}

fn check(meta: &Meta, check: &Check) -> Query {
    let detail = literal(&format!("CHECK {} is false.", check.condition));
    let sql = format!("{}, {detail} FROM r WHERE NOT {}", meta.key_cells("r"), check.condition);
    query(Rule::Check, &check.name, sql)
}

fn shown(column: &str) -> String {
    format!("coalesce(CAST({column} AS nvarchar(max)), N'null')")
}

/// All rows that share a key with another one. A NULL is a value here.
fn unique(meta: &Meta, unique: &Unique) -> Query {
    let names: Vec<_> = unique.columns.iter().filter_map(|c| meta.columns.get(*c)).collect();
    let quoted: Vec<_> = names.iter().map(|n| format!("r.{}", quote(n))).collect();
    let values: Vec<_> = quoted.iter().map(|c| shown(c)).collect();
    let start =
        literal(&format!("Key ({})=(", names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ")));
    let some = unique.filter.as_ref().map(|f| format!(" WHERE {f}")).unwrap_or_default();
    let sql = format!(
        "{}, n.epoch_detail FROM (SELECT {}, {start} + {} + N') is there more than once.' AS epoch_detail, \
         count(*) OVER (PARTITION BY {}) AS epoch_count FROM r{some}) AS n WHERE n.epoch_count > 1",
        meta.key_cells("n"),
        meta.key_columns("r"),
        values.join(" + N', ' + "),
        quoted.join(", "),
    );
    query(Rule::Unique, &unique.name, sql)
}

/// The parents that a foreign key's rows may have; a parent that isn't registered is as it is.
async fn parents(
    session: &mut Session,
    catalog: &Catalog,
    foreign: &Foreign,
    others: &[SeenTable],
) -> Result<Rows> {
    if let Some(parent) = catalog.named(&foreign.parent)
        && let Some((_, view)) = others.iter().find(|(table, _)| table.id == parent.id())
    {
        return seen(session, parent, view).await;
    }
    let columns = list("x", foreign.parent_columns.iter().map(String::as_str));
    let arm = Arm::whole(format!("{} AS x", foreign.parent), Dialect::SqlServer);
    Ok(arm.select(&columns, &Filter::default(), None))
}

/// Rows without a parent.
fn of_foreign_key(meta: &Meta, foreign: &Foreign, parents: Rows) -> Query {
    let pairs = || foreign.columns.iter().zip(&foreign.parent_columns);
    let same: Vec<_> = pairs().map(|(c, p)| format!("p.{} = r.{}", quote(p), quote(c))).collect();
    let given: Vec<_> = foreign.columns.iter().map(|c| format!("r.{} IS NOT NULL", quote(c))).collect();
    let values: Vec<_> = foreign.columns.iter().map(|c| shown(&format!("r.{}", quote(c)))).collect();
    let start = literal(&format!("Key ({})=(", foreign.columns.join(", ")));
    let end = literal(&format!(") is not present in table \"{}\".", foreign.shown.1));
    let sql = format!(
        "{}, {start} + {} + {end} FROM r WHERE {} AND NOT EXISTS (SELECT 1 FROM p WHERE {})",
        meta.key_cells("r"),
        values.join(" + N', ' + "),
        given.join(" AND "),
        same.join(" AND "),
    );
    Query { parents: Some(parents), ..query(Rule::ForeignKey, &foreign.name, sql) }
}
