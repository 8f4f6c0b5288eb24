//! ON CONFLICT on a branch: rows of main that the new ones would conflict with are copied up first,
//! so that PostgreSQL finds them in the overlay.

use std::ops::Range;

use epoch_adapter::TableDef;
use epoch_adapter_postgres::layout::{literal, quote};
use epoch_adapter_postgres::relation;

use super::{Write, with_for};
use crate::query::names::Catalog;
use crate::query::parse::{Conflict, Insert, Source};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::{Error, Result};

pub(super) async fn copy_up(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
    write: &Write<'_>,
    insert: &Insert,
) -> Result<()> {
    let Some(conflict) = &insert.conflict else { return Ok(()) };
    // The server says what is wrong with an unknown column.
    if conflict.columns.iter().any(|c| write.table.schema.index_of(c).is_none()) {
        return Ok(());
    }
    let mut rows = Vec::new();
    for key in arbiters(catalog, &write.table, conflict).await? {
        rows.extend(conflicting(ctx, rewriter, write, insert, &key)?);
    }
    if !rows.is_empty() {
        // One query: a row that conflicts twice is copied once.
        let rows = rows.join(" UNION ALL ");
        rewriter.prelude.push(relation::copy_up(&write.table, write.layer, &rows));
    }
    Ok(())
}

/// The columns of each unique key that a new row may conflict on.
async fn arbiters(
    catalog: &mut dyn Catalog,
    table: &TableDef,
    conflict: &Conflict,
) -> Result<Vec<Vec<String>>> {
    if conflict.expressions {
        return Err(Error::unsupported("ON CONFLICT on an expression on a branch"));
    }
    if !conflict.columns.is_empty() {
        return Ok(vec![conflict.columns.clone()]);
    }
    let name =
        conflict.constraint.as_ref().map_or_else(String::new, |c| format!(" AND k.relname = {}", literal(c)));
    let base = epoch_adapter_postgres::layout::base(table);
    let query = format!(
        "SELECT i.indexprs IS NULL, (SELECT json_agg(a.attname ORDER BY p.ord) FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) \
         WITH ORDINALITY p(attnum, ord) JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = p.attnum \
         WHERE p.ord <= i.indnkeyatts)::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class k ON k.oid = i.indexrelid \
         WHERE i.indrelid = {}::pg_catalog.regclass AND i.indisunique{name}",
        literal(&base)
    );
    let mut keys = Vec::new();
    for row in catalog.query(&query).await? {
        let plain = row.first().is_some_and(|c| c.as_deref() == Some("t"));
        let columns = row.get(1).and_then(Option::as_deref).and_then(|c| serde_json::from_str(c).ok());
        match columns {
            Some(columns) if plain => keys.push(columns),
            _ => {
                return Err(Error::unsupported(
                    "ON CONFLICT without columns on a table with a unique index on an expression, on a branch",
                ));
            }
        }
    }
    Ok(keys)
}

/// The query for the rows of main that conflict on `key`; `None` if there can be none.
fn conflicting(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    write: &Write<'_>,
    insert: &Insert,
    key: &[String],
) -> Result<Option<String>> {
    let given = write.given(insert);
    let place = |column: &String| given.iter().position(|g| *g == quote(column));
    let columns: Vec<_> = key.iter().map(|k| (k, place(k))).collect();
    let source = match &insert.source {
        Source::Values(rows) => values(ctx, rewriter, write, &columns, rows)?,
        Source::Query(range, _) => query(ctx, rewriter, insert, &given, &columns, range)?,
        Source::Default => None,
    };
    let Some(source) = source else { return Ok(None) };
    let same: Vec<String> =
        (0..key.len()).zip(key).map(|(i, k)| format!("epoch_b.{} = epoch_v.epoch_{i}", quote(k))).collect();
    Ok(Some(format!(
        "SELECT {} FROM ({source}) epoch_v JOIN {} epoch_b ON {}",
        write.columns("epoch_b."),
        write.below(crate::query::form::Form::Selective),
        same.join(" AND ")
    )))
}

type Places<'a> = [(&'a String, Option<usize>)];

/// The default of a column that a row leaves out: `None` if it is a new value each time (it can't
/// conflict) or NULL.
fn default_of<'t>(table: &'t TableDef, column: &str) -> Option<&'t str> {
    let found = table.schema.columns.iter().find(|c| c.name == column)?;
    found.default.as_deref().filter(|d| !d.contains('('))
}

fn values(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    write: &Write<'_>,
    key: &Places<'_>,
    rows: &[Vec<Range<usize>>],
) -> Result<Option<String>> {
    let mut out = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        for (column, place) in key {
            let text =
                place.and_then(|p| row.get(p)).map(|range| rewriter.edits.render(rewriter.sql, range).0);
            let text = match text {
                Some(text) if !text.trim().eq_ignore_ascii_case("default") => Some(text),
                _ => default_of(&write.table, column).map(str::to_owned),
            };
            let index = write.table.schema.index_of(column);
            let pg_type = index.and_then(|i| write.table.schema.columns.get(i)).map(|c| c.pg_type.as_str());
            let Some(pg_type) = pg_type else {
                return Err(Error::unsupported("ON CONFLICT on a column that isn't versioned"));
            };
            cells.push(text.map(|t| format!("({t}\n)::{pg_type}")));
        }
        if let Some(cells) = cells.into_iter().collect::<Option<Vec<_>>>() {
            out.push(format!("({})", cells.join(", ")));
        }
    }
    if out.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> = (0..key.len()).map(|i| format!("epoch_{i}")).collect();
    let parts: Vec<&Range<usize>> = rows.iter().flatten().collect();
    let with = insert_with(ctx, rewriter, &parts)?;
    Ok(Some(format!("{with}SELECT * FROM (VALUES {}) epoch_u({})", out.join(", "), names.join(", "))))
}

fn insert_with(ctx: &Context<'_>, rewriter: &Rewriter<'_>, parts: &[&Range<usize>]) -> Result<String> {
    with_for(ctx, rewriter, parts).ok_or_else(|| {
        Error::unsupported(
            "ON CONFLICT for rows of a WITH query that modifies data or gives other rows each time, on a branch",
        )
    })
}

fn query(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    insert: &Insert,
    given: &[String],
    key: &Places<'_>,
    range: &Range<usize>,
) -> Result<Option<String>> {
    let Some(places) = key.iter().map(|(_, p)| *p).collect::<Option<Vec<_>>>() else {
        return Err(Error::unsupported(
            "INSERT … SELECT … ON CONFLICT that leaves out a column of the key, on a branch",
        ));
    };
    let width = insert.source.width().unwrap_or(given.len());
    let names: Vec<String> = (0..width).map(|i| format!("c{i}")).collect();
    let picked: Vec<String> = places.iter().enumerate().map(|(i, p)| format!("c{p} AS epoch_{i}")).collect();
    let text = rewriter.edits.render(rewriter.sql, range).0;
    Ok(Some(format!(
        "{}SELECT {} FROM ({text}\n) epoch_u({})",
        insert_with(ctx, rewriter, &[range])?,
        picked.join(", "),
        names.join(", ")
    )))
}
