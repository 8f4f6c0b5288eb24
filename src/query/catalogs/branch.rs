//! A query of the catalogs on a branch that has other tables than main: catalogs become sub-selects with the branch's
//! rows, views over them (those of information_schema, `pg_indexes` …) their definitions over these.

use std::sync::Arc;

use epoch_adapter_postgres::layout::{literal, quote};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::map::Map;
use super::{
    INFORMATION_SCHEMA, PG_CATALOG, literals, regtypes, rows, schemas_of_ours, system_columns, texts,
};
use crate::query::form::Form;
use crate::query::names::{Catalog, Meaning};
use crate::query::parse::{self, Kind, Role, Statement, TableRef};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::{Error, Result};

/// Views of pg_catalog that are shown by what their definitions say.
const VIEWS: &[&str] =
    &["pg_tables", "pg_views", "pg_matviews", "pg_indexes", "pg_sequences", "pg_rules", "pg_policies"];

/// How deeply views are nested at most; those of information_schema are two deep.
const DEEPEST: usize = 8;

/// The schema of a catalog that a name means, if a branch may have other rows in it.
pub(super) fn schema(ctx: &Context<'_>, table: &TableRef) -> Option<&'static str> {
    if table.role != Role::Read || ctx.names.table(table) != Meaning::System {
        return None;
    }
    match table.schema.as_deref() {
        Some(INFORMATION_SCHEMA) => Some(INFORMATION_SCHEMA),
        None | Some(PG_CATALOG) => Some(PG_CATALOG),
        _ => None,
    }
}

/// Whether what a statement shows or does depends on which tables a branch has, beside by the names of tables.
pub(in crate::query) fn concerns(ctx: &Context<'_>, sql: &str, statement: &Statement) -> bool {
    statement.tables.iter().any(|table| schema(ctx, table).is_some())
        || statement.functions.iter().any(|f| texts::concerns(f) || regtypes::concerns(f))
        || sql.get(statement.range.clone()).is_some_and(|text| {
            let names = |word: &[u8]| crate::query::gate::contains(text.as_bytes(), word);
            names(b"regclass") || names(b"regtype")
        })
}

/// Shows the branch's catalogs, and lets names in strings mean the branch's relations.
pub(super) async fn show(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    map: &Arc<Map>,
    rewriter: &mut Rewriter<'_>,
) -> Result<()> {
    rewriter.mapped = true;
    let statement = rewriter.statement;
    let reads = matches!(
        statement.kind,
        Kind::Query
            | Kind::Insert(_)
            | Kind::Update(_)
            | Kind::Delete(_)
            | Kind::Merge(_)
            | Kind::Copy { .. }
    );
    let system = if reads { system_columns(rewriter) } else { None };
    if let Some(system) = system {
        let ours = schemas_of_ours(ctx);
        for table in &statement.tables {
            let Some(schema) = schema(ctx, table) else { continue };
            let what = Wanted { schema, name: &table.name, system: &system, depth: 0 };
            if let Some(shown) = relation(ctx, catalog, map, &ours, what).await? {
                rewriter.put(table, &shown);
            }
        }
    }
    literals::resolve(catalog, map, rewriter).await?;
    regtypes::resolve(catalog, map, rewriter).await?;
    texts::wrap(map, rewriter);
    Ok(())
}

/// A catalog to be shown.
struct Wanted<'a> {
    schema: &'a str,
    name: &'a str,
    system: &'a str,
    depth: usize,
}

/// What stands in the place of a catalog's name; `None` if its rows are the server's.
async fn relation(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    map: &Arc<Map>,
    ours: &[String],
    what: Wanted<'_>,
) -> Result<Option<String>> {
    let view = what.schema == INFORMATION_SCHEMA || VIEWS.contains(&what.name);
    if !view {
        return Ok(rows::shown(map, what.name, ours, what.system));
    }
    let Some(definition) = definition(ctx, catalog, what.schema, what.name).await? else { return Ok(None) };
    if what.depth == DEEPEST {
        return Err(Error::unsupported("catalogs nested this deeply on a branch"));
    }
    inline(ctx, catalog, map, ours, &definition, what.depth + 1).await.map(Some)
}

/// The query of a view of the server's own.
async fn definition(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    schema: &str,
    name: &str,
) -> Result<Option<Arc<str>>> {
    if let Some(known) = ctx.names.system_view(schema, name) {
        return Ok(Some(known));
    }
    let place = literal(&format!("{schema}.{}", quote(name)));
    let sql = format!(
        "SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass({place}) AND c.relkind = 'v'"
    );
    let rows = catalog.query(&sql).await?;
    let Some(text) = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten() else {
        return Ok(None);
    };
    let text: Arc<str> = text.into();
    ctx.names.keep_system_view(schema, name, Arc::clone(&text));
    Ok(Some(text))
}

/// A definition over the branch's catalogs, in brackets.
fn inline<'a>(
    ctx: &'a mut Context<'_>,
    catalog: &'a mut dyn Catalog,
    map: &'a Arc<Map>,
    ours: &'a [String],
    definition: &'a str,
    depth: usize,
) -> BoxFuture<'a, Result<String>> {
    async move {
        let parsed = parse::parse(definition)?;
        let statement = parsed.alone()?;
        let mut rewriter = Rewriter::new(definition, &parsed, statement, Form::Selective);
        for table in &statement.tables {
            let schema = match table.schema.as_deref() {
                Some(schema) => schema,
                None if table.name.starts_with("pg_") => PG_CATALOG,
                None => INFORMATION_SCHEMA,
            };
            let what = Wanted { schema, name: &table.name, system: "", depth };
            match relation(ctx, catalog, map, ours, what).await? {
                Some(shown) => {
                    rewriter.put(table, &shown);
                    whole_rows(&mut rewriter, table);
                }
                // By its schema: around the view's name, a CTE may have this one.
                None => rewriter.put(table, &format!("{}.{}", quote(schema), quote(&table.name))),
            }
        }
        texts::wrap(map, &mut rewriter);
        Ok(format!("({}\n)", rewriter.edits.render(definition, &statement.range).0))
    }
    .boxed()
}

/// Rows of a catalog that are given to a function keep its type.
fn whole_rows(rewriter: &mut Rewriter<'_>, table: &TableRef) {
    let statement = rewriter.statement;
    for column in &statement.columns {
        let [Some(of), None] = column.fields.as_slice() else { continue };
        if of != table.called() || statement.stars.contains(&column.start) {
            continue;
        }
        let tokens = &rewriter.parsed.tokens;
        let first = tokens.at(column.start);
        let Some(end) = tokens.get(first + 2).map(|t| t.end) else { continue };
        let row = format!("ROW({}.*)::pg_catalog.{}", quote(of), quote(&table.name));
        rewriter.edits.replace(column.start..end, row);
    }
}
