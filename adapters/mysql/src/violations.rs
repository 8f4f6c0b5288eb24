//! Which rows of a view don't keep to the table's constraints.

use epoch_adapter::{Result, Rule, SeenTable, Value, View, Violation};
use epoch_layers::view::{Arm, Dialect, Filter, union};

use crate::layout::{list, literal, quote};
use crate::meta::{Catalog, Foreign, Meta, Unique};
use crate::pool::Session;
use crate::view::facts;

/// A relation of rows, as SQL and its parameters.
type Rows = (String, Vec<Value>);

/// What a constraint says of the rows `r`: after the key's columns there is the detail.
struct Query {
    rule: Rule,
    constraint: String,
    sql: String,
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
    let mut queries = not_null(meta);
    queries.extend(meta.physical.checks.iter().map(|(name, condition)| check(meta, name, condition)));
    queries.extend(meta.physical.uniques.iter().filter_map(|u| unique(meta, u)));
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
    let sql = format!("{with} {} LIMIT {left}", query.sql);
    for mut row in session.rows(&sql, &params).await? {
        let key = meta.key_row(&mut row, 0)?;
        let detail = row.take_opt::<String, _>(meta.key.len()).and_then(std::result::Result::ok);
        let (rule, constraint) = (query.rule, query.constraint.clone());
        found.push(Violation { rule, constraint, key, detail: detail.unwrap_or_default() });
    }
    Ok(())
}

fn query(rule: Rule, constraint: &str, sql: String) -> Query {
    Query { rule, constraint: constraint.to_owned(), sql, parents: None }
}

fn not_null(meta: &Meta) -> Vec<Query> {
    let one = |c: &crate::meta::PhysicalColumn| {
        let detail = literal(&format!("Column \"{}\" is null.", c.name));
        let sql =
            format!("SELECT {}, {detail} FROM r WHERE {} IS NULL", meta.key_columns(""), quote(&c.name));
        query(Rule::NotNull, &c.name, sql)
    };
    meta.physical.columns.iter().filter(|c| c.not_null).map(one).collect()
}

fn check(meta: &Meta, name: &str, condition: &str) -> Query {
    let detail = literal(&format!("CHECK ({condition}) is false."));
    query(
        Rule::Check,
        name,
        format!("SELECT {}, {detail} FROM r WHERE NOT ({condition})", meta.key_columns("")),
    )
}

fn shown(column: &str) -> String {
    format!("coalesce(CAST({column} AS CHAR), 'null')")
}

/// All rows that share a key with another one.
fn unique(meta: &Meta, unique: &Unique) -> Option<Query> {
    let names: Vec<_> = unique.columns.as_ref()?.iter().filter_map(|c| meta.columns.get(*c)).collect();
    let quoted: Vec<_> = names.iter().map(|n| quote(n)).collect();
    let given: Vec<_> = quoted.iter().map(|c| format!("{c} IS NOT NULL")).collect();
    let values: Vec<_> = quoted.iter().map(|c| shown(c)).collect();
    let start =
        literal(&format!("Key ({})=(", names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ")));
    let keys = meta.key_columns("");
    let sql = format!(
        "SELECT {keys}, epoch_detail FROM (SELECT {keys}, {start} || {} || ') is there more than once.' AS epoch_detail, \
         count(*) OVER (PARTITION BY {}) AS epoch_count FROM r WHERE {}) AS n WHERE epoch_count > 1",
        values.join(" || ', ' || "),
        quoted.join(", "),
        given.join(" AND "),
    );
    Some(query(Rule::Unique, &unique.name, sql))
}

/// The parents that a foreign key's rows may have; a parent that isn't registered is as it is.
async fn parents(
    session: &mut Session,
    catalog: &Catalog,
    foreign: &Foreign,
    others: &[SeenTable],
) -> Result<Rows> {
    let parent = catalog.named(&foreign.parent);
    if let Some(parent) = parent
        && let Some((_, view)) = others.iter().find(|(table, _)| table.id == parent.id())
    {
        return seen(session, parent, view).await;
    }
    let columns = list("x", foreign.parent_columns.iter().map(String::as_str));
    let arm = Arm::whole(format!("{} AS x", quote(&foreign.parent)), Dialect::Mysql);
    Ok(arm.select(&columns, &Filter::default(), None))
}

/// Rows without a parent.
fn of_foreign_key(meta: &Meta, foreign: &Foreign, parents: Rows) -> Query {
    let pairs = || foreign.columns.iter().zip(&foreign.parent_columns);
    let same: Vec<_> = pairs().map(|(c, p)| format!("p.{} = r.{}", quote(p), quote(c))).collect();
    let given: Vec<_> = foreign.columns.iter().map(|c| format!("r.{} IS NOT NULL", quote(c))).collect();
    let values: Vec<_> = foreign.columns.iter().map(|c| shown(&format!("r.{}", quote(c)))).collect();
    let start = literal(&format!("Key ({})=(", foreign.columns.join(", ")));
    let end = literal(&format!(") is not present in table \"{}\".", foreign.parent));
    let sql = format!(
        "SELECT {}, {start} || {} || {end} FROM r WHERE {} AND NOT EXISTS (SELECT 1 FROM p WHERE {})",
        meta.key_columns("r"),
        values.join(" || ', ' || "),
        given.join(" AND "),
        same.join(" AND "),
    );
    Query { parents: Some(parents), ..query(Rule::ForeignKey, &foreign.name, sql) }
}
