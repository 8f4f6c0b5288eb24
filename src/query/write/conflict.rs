//! ON CONFLICT on a branch: rows of main that the new ones would conflict with are copied up first,
//! so that PostgreSQL finds them in the overlay.

use std::ops::Range;

use epoch_adapter::{Column, TableDef};
use epoch_adapter_postgres::layout::{base, literal, quote};
use epoch_adapter_postgres::relation;

use super::Write;
use crate::query::form::Form;
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
    // The server says what is wrong with an unknown column.
    if conflict.columns.iter().any(|c| write.table.schema.index_of(c).is_none()) {
        return Ok(());
    }
    let mut rows = Vec::new();
    for arbiter in arbiters(catalog, &write.table, conflict).await? {
        rows.extend(match arbiter {
            Arbiter::Columns(key) => conflicting(ctx, rewriter, write, insert, &key)?,
            Arbiter::Expressions(parts) => Some(computed(ctx, rewriter, write, insert, &parts)?),
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
enum Arbiter {
    /// Over plain columns.
    Columns(Vec<String>),
    /// Over expressions of the bare column names.
    Expressions(Vec<String>),
}

/// Those that the clause may mean; one too many does no harm.
async fn arbiters(catalog: &mut dyn Catalog, table: &TableDef, conflict: &Conflict) -> Result<Vec<Arbiter>> {
    if !conflict.columns.is_empty() && !conflict.expressions {
        return Ok(vec![Arbiter::Columns(conflict.columns.clone())]);
    }
    let name =
        conflict.constraint.as_ref().map_or_else(String::new, |c| format!(" AND k.relname = {}", literal(c)));
    let query = format!(
        "SELECT i.indexprs IS NULL, CASE WHEN i.indexprs IS NULL THEN (SELECT json_agg(a.attname ORDER BY p.ord) \
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
        let parts = row.get(1).and_then(Option::as_deref).and_then(|c| serde_json::from_str(c).ok());
        let parts: Vec<String> =
            parts.ok_or_else(|| Error::internal("the server's catalog answered in an unexpected form"))?;
        keys.push(if plain { Arbiter::Columns(parts) } else { Arbiter::Expressions(parts) });
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
) -> Result<String> {
    refuse_generated(write, "an expression over", |name| parts.iter().any(|part| part.contains(name)))?;
    let new = new_rows(ctx, rewriter, write, insert)?;
    let named: Vec<String> =
        parts.iter().enumerate().map(|(i, part)| format!("({part}) AS epoch_{i}")).collect();
    // Columns of the table never begin like ours, so bare names are the base's.
    let same: Vec<String> =
        parts.iter().enumerate().map(|(i, part)| format!("({part}) = epoch_v.epoch_{i}")).collect();
    Ok(format!(
        "SELECT {} FROM (SELECT {} FROM ({new}) epoch_n) epoch_v JOIN {} epoch_b ON {}",
        write.columns("epoch_b."),
        named.join(", "),
        write.below(Form::Selective),
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
    let given = write.given(insert);
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
            let width = insert.source.width().unwrap_or(given.len());
            let columns: Vec<String> = (0..width).map(|i| format!("c{i}")).collect();
            let cell = |c: &&Column| match place(c).filter(|p| *p < width) {
                Some(p) => format!("c{p}::{} AS {}", c.pg_type, quote(&c.name)),
                None => format!("{} AS {}", left_out(c), quote(&c.name)),
            };
            let cells: Vec<String> = stored.iter().map(cell).collect();
            let text = rewriter.edits.render(rewriter.sql, range).0;
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
) -> Result<Option<String>> {
    refuse_generated(write, "a key with", |name| key.iter().any(|k| k == name))?;
    let given = write.given(insert);
    let place = |column: &String| given.iter().position(|g| *g == quote(column));
    let columns: Vec<_> = key.iter().map(|k| (k, place(k))).collect();
    let source = match &insert.source {
        Source::Values(rows) => values(ctx, rewriter, write, &columns, rows)?,
        Source::Query(range, _) => query(ctx, rewriter, write, insert, &given, &columns, range)?,
        Source::Default => None,
    };
    let Some(source) = source else { return Ok(None) };
    let same: Vec<String> =
        (0..key.len()).zip(key).map(|(i, k)| format!("epoch_b.{} = epoch_v.epoch_{i}", quote(k))).collect();
    Ok(Some(format!(
        "SELECT {} FROM ({source}) epoch_v JOIN {} epoch_b ON {}",
        write.columns("epoch_b."),
        write.below(Form::Selective),
        same.join(" AND ")
    )))
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
    let text = given.map(|range| rewriter.edits.render(rewriter.sql, range).0);
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
) -> Result<Option<String>> {
    let mut out = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        for (column, place) in key {
            let Some(found) = write.table.schema.columns.iter().find(|c| c.name == **column) else {
                return Err(Error::unsupported("ON CONFLICT on a column that isn't versioned"));
            };
            cells.push(value(ctx, rewriter, found, place.and_then(|p| row.get(p))));
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
    insert: &Insert,
    given: &[String],
    key: &Places<'_>,
    range: &Range<usize>,
) -> Result<Option<String>> {
    let width = insert.source.width().unwrap_or(given.len());
    let names: Vec<String> = (0..width).map(|i| format!("c{i}")).collect();
    let pick = |(i, (column, place)): (usize, &(&String, Option<usize>))| {
        let found = write.table.schema.columns.iter().find(|c| c.name == **column)?;
        let value = match place {
            Some(p) => format!("c{p}::{}", found.pg_type),
            None => value(ctx, rewriter, found, None)?,
        };
        Some(format!("{value} AS epoch_{i}"))
    };
    // What is left out and has no fixed default can't conflict.
    let Some(picked) = key.iter().enumerate().map(pick).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let text = rewriter.edits.render(rewriter.sql, range).0;
    Ok(Some(format!(
        "{}SELECT {} FROM ({text}\n) epoch_u({})",
        insert_with(ctx, rewriter, &[range])?,
        picked.join(", "),
        names.join(", ")
    )))
}
