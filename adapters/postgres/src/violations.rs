//! Which rows of a view don't keep to the table's constraints.

use deadpool_postgres::Object;
use epoch_adapter::{Result, Row, Rule, SeenTable, TableDef, Value, View, Violation};

use crate::error::pg;
use crate::foreign_keys::{self, ForeignKey};
use crate::install::{Index, indexes};
use crate::layout::{literal, quote};
use crate::text::{join, key};
use crate::tx::texts;
use crate::{relation, versions};

const CHECKS_SQL: &str = "SELECT k.conname::text, pg_get_expr(k.conbin, k.conrelid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'c' AND n.nspname = $1 AND c.relname = $2 ORDER BY k.conname";

const NOT_NULL_SQL: &str = "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnotnull AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname = $1 AND c.relname = $2 ORDER BY a.attnum";

/// A query over the rows of a view: its last column is the detail, before it are the key's.
pub(crate) struct Query {
    rule: Rule,
    constraint: String,
    sql: String,
}

/// How a table's rows are read.
pub(crate) type See<'a> = &'a dyn Fn(&TableDef, &View) -> String;

/// See [`epoch_adapter::Adapter::violations`].
pub(crate) async fn violations(
    client: &Object,
    (table, view): (&TableDef, &View),
    others: &[SeenTable],
    limit: usize,
) -> Result<Vec<Violation>> {
    let rows = format!("{} {}", relation::scanning(table, view), quote(&table.location.table));
    let mut queries = not_null(client, table, &rows).await?;
    queries.extend(checks(client, table, &rows).await?);
    queries.extend(
        indexes(client, table).await?.iter().filter(|i| i.unique).map(|i| unique(table, i, &rows, None)),
    );
    let family = versions::family(client, table.id).await?.unwrap_or(table.id.0);
    for foreign in foreign_keys::read(client, table, family).await? {
        if foreign.child.id == table.id {
            let children = relation::scanning(table, view);
            queries.extend(of_foreign_key(table, &children, &foreign, others, (&relation::scanning, None)));
        }
    }
    run(client, queries, limit).await
}

/// What queries find.
pub(crate) async fn run(client: &Object, queries: Vec<Query>, limit: usize) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    for query in queries {
        let left = limit.saturating_sub(found.len());
        if left == 0 {
            break;
        }
        for mut cells in texts(client, &format!("{} LIMIT {left}", query.sql)).await? {
            let detail = cells.pop().flatten().unwrap_or_default();
            let key: Row = cells.into_iter().map(|cell| cell.map_or(Value::Null, Value::Text)).collect();
            let (rule, constraint) = (query.rule, query.constraint.clone());
            found.push(Violation { rule, constraint, key, detail });
        }
    }
    Ok(found)
}

/// As the table is now: a constraint may have come after branches had their rows.
pub(crate) async fn not_null(client: &Object, table: &TableDef, rows: &str) -> Result<Vec<Query>> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let required = client.query(NOT_NULL_SQL, &[&schema, &table.location.table]).await.map_err(pg)?;
    let query = |row: &tokio_postgres::Row| {
        let column: String = row.try_get(0).map_err(pg)?;
        let detail = literal(&format!("Column \"{column}\" is null."));
        let sql = format!("SELECT {}, {detail} FROM {rows} WHERE {} IS NULL", key(table, ""), quote(&column));
        Ok(Query { rule: Rule::NotNull, constraint: column, sql })
    };
    required.iter().map(query).collect()
}

pub(crate) async fn checks(client: &Object, table: &TableDef, rows: &str) -> Result<Vec<Query>> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let found = client.query(CHECKS_SQL, &[&schema, &table.location.table]).await.map_err(pg)?;
    let mut out = Vec::new();
    for row in &found {
        let (name, condition): (String, String) = (row.try_get(0).map_err(pg)?, row.try_get(1).map_err(pg)?);
        let detail = literal(&format!("CHECK ({condition}) is false."));
        let sql = format!("SELECT {}, {detail} FROM {rows} WHERE NOT ({condition})", key(table, ""));
        out.push(Query { rule: Rule::Check, constraint: name, sql });
    }
    Ok(out)
}

/// What messages show of a row's key. Its parts may have collations of their own, which no expression can have two of.
pub(crate) fn shown_key(index: &Index) -> String {
    join(&index.parts, " || ', ' || ", |p| format!("coalesce(({p})::text COLLATE pg_catalog.\"C\", 'null')"))
}

/// All rows that share a key with another one; of keys that rows `among` these have.
pub(crate) fn unique(table: &TableDef, index: &Index, rows: &str, among: Option<&str>) -> Query {
    let parts = join(&index.parts, ", ", |p| format!("({p})"));
    let given = match index.nulls_not_distinct {
        true => "true".to_owned(),
        false => join(&index.parts, " AND ", |p| format!("({p}) IS NOT NULL")),
    };
    let among = match among {
        // Of NULLs nothing is among any.
        Some(among) if !index.nulls_not_distinct => {
            format!(" AND ({parts}) IN (SELECT {parts} FROM {among})")
        }
        _ => String::new(),
    };
    let predicate = index.predicate.as_deref().unwrap_or("true");
    let shown = shown_key(index);
    let start = literal(&format!("Key ({})=(", index.shown.join(", ")));
    let keys = key(table, "");
    let sql = format!(
        "SELECT {keys}, epoch_detail FROM (SELECT {keys}, {start} || {shown} || ') is there more than once.' AS epoch_detail, \
         count(*) OVER (PARTITION BY {parts}) AS epoch_count FROM {rows} WHERE ({predicate}) AND {given}{among}) epoch_keys \
         WHERE epoch_count > 1"
    );
    let constraint = index.constraint.clone().unwrap_or_else(|| index.name.clone());
    Query { rule: Rule::Unique, constraint, sql }
}

/// Rows without a parent, in the version of it that is there; a parent that isn't versioned is as it is. `see` says how
/// parents are read, and how they were read when the rows must have had one.
pub(crate) fn of_foreign_key(
    table: &TableDef,
    children: &str,
    foreign: &ForeignKey,
    others: &[SeenTable],
    (see, before): (See<'_>, Option<See<'_>>),
) -> Option<Query> {
    let seen = foreign.parents.iter().find_map(|parent| {
        let (seen, view) = others.iter().find(|(other, _)| other.id == parent.table.id)?;
        Some((seen, view, parent.referenced.as_slice()))
    });
    let had = match (before, &seen) {
        (Some(before), Some((parent, view, referenced))) => {
            let joined = foreign.joined(referenced, "q", "c");
            format!(" AND EXISTS (SELECT FROM {} q WHERE {joined})", before(parent, view))
        }
        _ => String::new(),
    };
    let shown = seen.map(|(parent, view, referenced)| (see(parent, view), referenced));
    let (parent, referenced) = match shown {
        Some(shown) => shown,
        None if foreign.parent_family.is_none() => {
            (foreign.parent_name.0.clone(), foreign.referenced.as_slice())
        }
        // Nothing of it is there: no key that isn't null has a parent.
        None => ("(SELECT WHERE false)".to_owned(), [].as_slice()),
    };
    let given =
        |separator: &str| join(&foreign.columns, separator, |c| format!("c.{} IS NOT NULL", quote(c)));
    let mixed = join(&foreign.columns, " OR ", |c| format!("c.{} IS NULL", quote(c)));
    let exists = match referenced {
        [] => "false".to_owned(),
        referenced => {
            format!("EXISTS (SELECT FROM {parent} p WHERE {})", foreign.joined(referenced, "p", "c"))
        }
    };
    let wrong = match foreign.full {
        true => format!("({}) AND (({mixed}) OR NOT {exists})", given(" OR ")),
        false => format!("{} AND NOT {exists}", given(" AND ")),
    };
    let shown = join(&foreign.columns, " || ', ' || ", |c| format!("coalesce(c.{}::text, 'null')", quote(c)));
    let start = literal(&format!("Key ({})=(", foreign.columns.join(", ")));
    let end = literal(&format!(") is not present in table \"{}\".", foreign.parent_name.1));
    let sql = format!(
        "SELECT {}, {start} || {shown} || {end} FROM {children} c WHERE {wrong}{had}",
        key(table, "c."),
    );
    Some(Query { rule: Rule::ForeignKey, constraint: foreign.name.clone(), sql })
}
