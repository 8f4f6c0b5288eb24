//! ON CONFLICT on a branch: rows of main that the new ones would conflict with are copied up first,
//! so that PostgreSQL finds them in the overlay.

use std::ops::Range;

use epoch_adapter::{Column, TableDef};
use epoch_adapter_postgres::layout::{base, literal, quote};
use epoch_adapter_postgres::relation;

use super::Write;
use crate::query::lock::refuse_unseen;
use crate::query::names::Catalog;
use crate::query::parse::{Conflict, Insert, Source};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::query::stable::{is_stable, with_for};
use crate::{Error, Result};

pub(super) async fn copy_up(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
    write: &Write<'_>,
    insert: &Insert,
) -> Result<()> {
    let Some(conflict) = &insert.conflict else { return Ok(()) };
    if let Source::Query(range, _) = &insert.source {
        refuse_unseen(rewriter, range, "ON CONFLICT")?;
    }
    // The server says what is wrong with an unknown column.
    if conflict.columns.iter().any(|c| write.table.schema.index_of(c).is_none()) {
        return Ok(());
    }
    let mut rows = Vec::new();
    for arbiter in arbiters(catalog, &write.table, conflict).await? {
        rows.extend(match arbiter {
            Arbiter { key: Key::Columns(key), nulls } => {
                conflicting(ctx, rewriter, write, insert, &key, nulls)?
            }
            Arbiter { key: Key::Expressions(parts), nulls } => {
                Some(computed(ctx, rewriter, write, insert, &parts, nulls)?)
            }
        });
    }
    if !rows.is_empty() {
        // One query: a row that conflicts twice is copied once.
        let rows = rows.join(" UNION ALL ");
        rewriter.prelude.push(relation::copy_up(&write.table, write.layer, &rows));
    }
    Ok(())
}

/// A unique key that a new row may conflict on.
struct Arbiter {
    key: Key,
    /// NULLS NOT DISTINCT.
    nulls: bool,
}

enum Key {
    /// Over plain columns.
    Columns(Vec<String>),
    /// Over expressions of the bare column names.
    Expressions(Vec<String>),
}

/// Those that the clause may mean; one too many does no harm.
async fn arbiters(catalog: &mut dyn Catalog, table: &TableDef, conflict: &Conflict) -> Result<Vec<Arbiter>> {
    let listed = !conflict.columns.is_empty() && !conflict.expressions;
    let nullable = |c: &&Column| c.nullable && conflict.columns.contains(&c.name);
    if listed && !table.schema.columns.iter().any(|c| nullable(&c)) {
        return Ok(vec![Arbiter { key: Key::Columns(conflict.columns.clone()), nulls: false }]);
    }
    let name =
        conflict.constraint.as_ref().map_or_else(String::new, |c| format!(" AND k.relname = {}", literal(c)));
    let query = format!(
        "SELECT i.indexprs IS NULL, coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false), \
         CASE WHEN i.indexprs IS NULL THEN (SELECT json_agg(a.attname ORDER BY p.ord) \
         FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY p(attnum, ord) \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = p.attnum WHERE p.ord <= i.indnkeyatts) \
         ELSE (SELECT json_agg(pg_catalog.pg_get_indexdef(i.indexrelid, p, false) ORDER BY p) \
         FROM pg_catalog.generate_series(1, i.indnkeyatts) p) END::text \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class k ON k.oid = i.indexrelid \
         WHERE i.indrelid = {}::pg_catalog.regclass AND i.indisunique{name}",
        literal(&base(table))
    );
    let mut keys = Vec::new();
    for row in catalog.query(&query).await? {
        let plain = row.first().is_some_and(|c| c.as_deref() == Some("t"));
        let nulls = row.get(1).is_some_and(|c| c.as_deref() == Some("t"));
        let parts = row.get(2).and_then(Option::as_deref).and_then(|c| serde_json::from_str(c).ok());
        let parts: Vec<String> =
            parts.ok_or_else(|| Error::internal("the server's catalog answered in an unexpected form"))?;
        keys.push(Arbiter { key: if plain { Key::Columns(parts) } else { Key::Expressions(parts) }, nulls });
    }
    if listed {
        // Of those over these columns one with NULLs that are the same is the widest.
        let same = |key: &Key| match key {
            Key::Columns(names) => {
                names.iter().all(|n| conflict.columns.contains(n))
                    && conflict.columns.iter().all(|c| names.contains(c))
            }
            Key::Expressions(_) => false,
        };
        let nulls = keys.iter().any(|arbiter| arbiter.nulls && same(&arbiter.key));
        return Ok(vec![Arbiter { key: Key::Columns(conflict.columns.clone()), nulls }]);
    }
    Ok(keys)
}

/// The query for the rows of main that conflict with new ones on a key of expressions.
fn computed(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    write: &Write<'_>,
    insert: &Insert,
    parts: &[String],
    nulls: bool,
) -> Result<String> {
    refuse_generated(write, "an expression over", |name| parts.iter().any(|part| part.contains(name)))?;
    let new = new_rows(ctx, rewriter, write, insert)?;
    let named: Vec<String> =
        parts.iter().enumerate().map(|(i, part)| format!("({part}) AS epoch_{i}")).collect();
    // Columns of the table never begin like ours, so bare names are the base's.
    let same: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(i, part)| equal(&format!("({part})"), &format!("epoch_v.epoch_{i}"), nulls))
        .collect();
    Ok(format!(
        "SELECT {} FROM (SELECT {} FROM ({new}) epoch_n) epoch_v JOIN {} epoch_b ON {}",
        write.columns("epoch_b."),
        named.join(", "),
        relation::base_part(&write.table, write.layer),
        same.join(" AND ")
    ))
}

/// The rows that are to be inserted, with all columns but the generated ones. What gets a new value each
/// time is NULL: it can't conflict.
fn new_rows(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    write: &Write<'_>,
    insert: &Insert,
) -> Result<String> {
    let given = write.places(insert);
    let stored: Vec<&Column> = write.table.schema.columns.iter().filter(|c| !c.generated).collect();
    let value = |c: &Column, given: Option<&Range<usize>>| {
        value(ctx, rewriter, c, given).unwrap_or_else(|| format!("NULL::{}", c.pg_type))
    };
    let left_out = |c: &Column| value(c, None);
    let names: Vec<String> = stored.iter().map(|c| quote(&c.name)).collect();
    let place = |c: &Column| given.iter().position(|g| *g == quote(&c.name));
    match &insert.source {
        Source::Default => {
            let cells: Vec<String> =
                stored.iter().map(|c| format!("{} AS {}", left_out(c), quote(&c.name))).collect();
            Ok(format!("SELECT {}", cells.join(", ")))
        }
        Source::Values(rows) => {
            let parts: Vec<&Range<usize>> = rows.iter().flatten().collect();
            let with = insert_with(ctx, rewriter, &parts)?;
            let row = |row: &Vec<Range<usize>>| {
                let cells: Vec<String> =
                    stored.iter().map(|c| value(c, place(c).and_then(|p| row.get(p)))).collect();
                format!("({})", cells.join(", "))
            };
            let rows: Vec<String> = rows.iter().map(row).collect();
            Ok(format!("{with}SELECT * FROM (VALUES {}) epoch_u({})", rows.join(", "), names.join(", ")))
        }
        Source::Query(range, _) => {
            let with = insert_with(ctx, rewriter, &[range])?;
            let width = write.width.unwrap_or(given.len());
            let columns: Vec<String> = (0..width).map(|i| format!("c{i}")).collect();
            let cell = |c: &&Column| match place(c).filter(|p| *p < width) {
                Some(p) => format!("c{p}::{} AS {}", c.pg_type, quote(&c.name)),
                None => format!("{} AS {}", left_out(c), quote(&c.name)),
            };
            let cells: Vec<String> = stored.iter().map(cell).collect();
            let text = rewriter.evaluated(range);
            Ok(format!("{with}SELECT {} FROM ({text}\n) epoch_u({})", cells.join(", "), columns.join(", ")))
        }
    }
}

/// The query for the rows of main that conflict on `key`; `None` if there can be none.
fn conflicting(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    write: &Write<'_>,
    insert: &Insert,
    key: &[String],
    nulls: bool,
) -> Result<Option<String>> {
    refuse_generated(write, "a key with", |name| key.iter().any(|k| k == name))?;
    let given = write.places(insert);
    let place = |column: &String| given.iter().position(|g| *g == quote(column));
    let columns: Vec<_> = key.iter().map(|k| (k, place(k))).collect();
    let source = match &insert.source {
        Source::Values(rows) => values(ctx, rewriter, write, &columns, rows, nulls)?,
        Source::Query(range, _) => query(ctx, rewriter, write, &given, &columns, range, nulls)?,
        Source::Default if nulls => values(ctx, rewriter, write, &columns, &[Vec::new()], nulls)?,
        Source::Default => None,
    };
    let Some(source) = source else { return Ok(None) };
    let same: Vec<String> = (0..key.len())
        .zip(key)
        .map(|(i, k)| {
            let nullable = write.table.schema.columns.iter().any(|c| c.name == *k && c.nullable);
            equal(&format!("epoch_b.{}", quote(k)), &format!("epoch_v.epoch_{i}"), nulls && nullable)
        })
        .collect();
    Ok(Some(format!(
        "SELECT {} FROM ({source}) epoch_v JOIN {} epoch_b ON {}",
        write.columns("epoch_b."),
        relation::base_part(&write.table, write.layer),
        same.join(" AND ")
    )))
}

/// Whether two values of a key are the same; `nulls`: so are two NULLs.
fn equal(a: &str, b: &str, nulls: bool) -> String {
    // In two parts, each of which an index serves.
    if nulls { format!("({a} = {b} OR ({a} IS NULL AND {b} IS NULL))") } else { format!("{a} = {b}") }
}

/// A row's value for a column of a key with NULLs that are the same.
fn value_or_null(column: &Column, value: Option<String>, given: bool) -> Option<String> {
    value.or_else(|| (!given && column.default.is_none()).then(|| format!("NULL::{}", column.pg_type)))
}

type Places<'a> = [(&'a String, Option<usize>)];

/// A row's value for a column, as text of the column's type: what is given, else the column's default.
/// `None` if it is NULL or a new value each time: it can't conflict.
fn value(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    column: &Column,
    given: Option<&Range<usize>>,
) -> Option<String> {
    if given.is_some_and(|range| !is_stable(ctx, rewriter, range)) {
        return None;
    }
    let text = given.map(|range| rewriter.evaluated(range));
    let default = || column.default.clone().filter(|d| !d.contains('('));
    let text = text.filter(|t| !t.trim().eq_ignore_ascii_case("default")).or_else(default);
    text.map(|text| format!("({text}\n)::{}", column.pg_type))
}

fn refuse_generated(write: &Write<'_>, what: &str, uses: impl Fn(&str) -> bool) -> Result<()> {
    match write.table.schema.columns.iter().find(|c| c.generated && uses(&c.name)) {
        None => Ok(()),
        Some(column) => Err(Error::unsupported(format!(
            "ON CONFLICT on {what} the generated column \"{}\" on a branch",
            column.name
        ))),
    }
}

fn values(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    write: &Write<'_>,
    key: &Places<'_>,
    rows: &[Vec<Range<usize>>],
    nulls: bool,
) -> Result<Option<String>> {
    let mut out = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        for (column, place) in key {
            let Some(found) = write.table.schema.columns.iter().find(|c| c.name == **column) else {
                return Err(Error::unsupported("ON CONFLICT on a column that isn't versioned"));
            };
            let given = place.and_then(|p| row.get(p));
            let cell = value(ctx, rewriter, found, given);
            cells.push(if nulls { value_or_null(found, cell, given.is_some()) } else { cell });
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

#[allow(clippy::too_many_arguments)]
fn query(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    write: &Write<'_>,
    given: &[String],
    key: &Places<'_>,
    range: &Range<usize>,
    nulls: bool,
) -> Result<Option<String>> {
    let width = write.width.unwrap_or(given.len());
    let names: Vec<String> = (0..width).map(|i| format!("c{i}")).collect();
    let pick = |(i, (column, place)): (usize, &(&String, Option<usize>))| {
        let found = write.table.schema.columns.iter().find(|c| c.name == **column)?;
        let value = match place {
            Some(p) => format!("c{p}::{}", found.pg_type),
            None if nulls => value_or_null(found, value(ctx, rewriter, found, None), false)?,
            None => value(ctx, rewriter, found, None)?,
        };
        Some(format!("{value} AS epoch_{i}"))
    };
    // What is left out and has no fixed default can't conflict.
    let Some(picked) = key.iter().enumerate().map(pick).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let text = rewriter.evaluated(range);
    Ok(Some(format!(
        "{}SELECT {} FROM ({text}\n) epoch_u({})",
        insert_with(ctx, rewriter, &[range])?,
        picked.join(", "),
        names.join(", ")
    )))
}
