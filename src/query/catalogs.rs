//! The server's catalogs without our schemas and triggers, on main too: an overlay has the name of its
//! table, and what looks a table up by its name alone would find both.
//!
//! A catalog's name becomes a sub-select with one condition on its own rows, which the planner pulls up:
//! look-ups by oid or name stay index scans. Catalogs that no client lists by themselves (pg_attribute,
//! pg_index …) stay as they are; what lists their rows joins one that is here.
//!
//! On a branch that made, altered or dropped tables, they are the branch's ([`branch`], decision 29).

mod branch;
mod casts;
mod databases;
mod literals;
mod map;
mod regtypes;
mod rows;
mod texts;

use epoch_adapter_postgres::layout::{SCHEMA, literal, overlay_schema};

pub(super) use branch::concerns;
pub(super) use map::{Map, differs};

use super::names::{Catalog, Meaning};
use super::parse::{How, Kind, Role, TableRef};
use super::plan::Context;
use super::rewrite::Rewriter;
use crate::Result;

/// How a catalog's rows say that they are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The column has the name of their schema.
    Schema(&'static str),
    /// The column has the oid of their schema.
    Namespace(&'static str),
    /// The column has the oid of a view of theirs.
    View(&'static str),
    /// The column has the name of a trigger.
    Trigger(&'static str),
    /// Columns with the name of the schema of its table, and with its own.
    TriggerOf(&'static str, &'static str),
}

const PG_CATALOG: &str = "pg_catalog";
const INFORMATION_SCHEMA: &str = "information_schema";

/// The catalogs, by schema and name.
const CATALOGS: &[(&str, &str, Owner)] = &[
    (PG_CATALOG, "pg_namespace", Owner::Schema("nspname")),
    (PG_CATALOG, "pg_class", Owner::Namespace("relnamespace")),
    (PG_CATALOG, "pg_type", Owner::Namespace("typnamespace")),
    (PG_CATALOG, "pg_proc", Owner::Namespace("pronamespace")),
    (PG_CATALOG, "pg_constraint", Owner::Namespace("connamespace")),
    (PG_CATALOG, "pg_trigger", Owner::Trigger("tgname")),
    (PG_CATALOG, "pg_rewrite", Owner::View("ev_class")),
    (PG_CATALOG, "pg_views", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_rules", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_tables", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_indexes", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_sequences", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_stats", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_stat_all_tables", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_stat_user_tables", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_stat_xact_all_tables", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_stat_xact_user_tables", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_statio_all_tables", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_statio_user_tables", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_stat_all_indexes", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_stat_user_indexes", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_statio_all_indexes", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_statio_user_indexes", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_statio_all_sequences", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_statio_user_sequences", Owner::Schema("schemaname")),
    (PG_CATALOG, "pg_stat_user_functions", Owner::Schema("schemaname")),
    (INFORMATION_SCHEMA, "schemata", Owner::Schema("schema_name")),
    (INFORMATION_SCHEMA, "tables", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "columns", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "views", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "view_table_usage", Owner::Schema("view_schema")),
    (INFORMATION_SCHEMA, "view_column_usage", Owner::Schema("view_schema")),
    (INFORMATION_SCHEMA, "table_constraints", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "key_column_usage", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "constraint_column_usage", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "constraint_table_usage", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "check_constraints", Owner::Schema("constraint_schema")),
    (INFORMATION_SCHEMA, "table_privileges", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "role_table_grants", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "column_privileges", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "role_column_grants", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "column_udt_usage", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "column_column_usage", Owner::Schema("table_schema")),
    (INFORMATION_SCHEMA, "element_types", Owner::Schema("object_schema")),
    (INFORMATION_SCHEMA, "routines", Owner::Schema("routine_schema")),
    (INFORMATION_SCHEMA, "routine_privileges", Owner::Schema("routine_schema")),
    (INFORMATION_SCHEMA, "role_routine_grants", Owner::Schema("routine_schema")),
    (INFORMATION_SCHEMA, "parameters", Owner::Schema("specific_schema")),
    (INFORMATION_SCHEMA, "sequences", Owner::Schema("sequence_schema")),
    (INFORMATION_SCHEMA, "usage_privileges", Owner::Schema("object_schema")),
    (INFORMATION_SCHEMA, "role_usage_grants", Owner::Schema("object_schema")),
    (INFORMATION_SCHEMA, "triggers", Owner::TriggerOf("event_object_schema", "trigger_name")),
    (INFORMATION_SCHEMA, "triggered_update_columns", Owner::TriggerOf("event_object_schema", "trigger_name")),
];

/// The schema of the catalog that a name means, if something stands in its place.
pub(super) fn schema(ctx: &Context<'_>, table: &TableRef) -> Option<&'static str> {
    if !ctx.checkout.is_main() && differs(ctx) {
        return branch::schema(ctx, table);
    }
    find(ctx, table).map(|(schema, _)| schema)
}

/// Puts what the session's ref shows of the catalogs in the place of their names. Whether that is the repository's state.
pub(super) async fn show(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
) -> Result<bool> {
    let late = databases::show(ctx, catalog, rewriter).await?;
    // On main, and where a branch has main's tables, only ours are to be left out.
    if differs(ctx)
        && concerns(ctx, rewriter.sql, rewriter.statement)
        && let Some(map) = map::of(ctx, catalog).await?
    {
        branch::show(ctx, catalog, &map, rewriter).await?;
        return Ok(late);
    }
    hide(ctx, rewriter);
    Ok(late)
}

/// On main names aren't looked up: nobody has a table of his own with the name of a catalog.
fn find(ctx: &Context<'_>, table: &TableRef) -> Option<(&'static str, Owner)> {
    let meaning = ctx.names.table(table);
    let system = meaning == Meaning::System || (ctx.checkout.is_main() && meaning == Meaning::Missing);
    if table.role != Role::Read || !system {
        return None;
    }
    let schema = table.schema.as_deref().unwrap_or(PG_CATALOG);
    let found = CATALOGS.iter().find(|(s, name, _)| *s == schema && *name == table.name);
    found.map(|&(schema, _, owner)| (schema, owner))
}

/// Whether a text may name one of the catalogs (in any case of letters): looked for at underscores,
/// which are rare.
pub(super) fn named_in(sql: &[u8]) -> bool {
    let same =
        |text: Option<&[u8]>, name: &str| text.is_some_and(|t| t.eq_ignore_ascii_case(name.as_bytes()));
    memchr::memchr_iter(b'_', sql).any(|at| {
        let before = |name: &str| at.checked_sub(name.len()).and_then(|start| sql.get(start..at));
        if same(before("pg"), "pg") {
            let after = |name: &str| sql.get(at - 2..at - 2 + name.len());
            return CATALOGS.iter().any(|(schema, name, _)| *schema == PG_CATALOG && same(after(name), name));
        }
        same(before("information"), "information")
    })
}

/// Puts the catalogs that a query reads without what is ours in the place of their names.
fn hide(ctx: &Context<'_>, rewriter: &mut Rewriter<'_>) {
    let statement = rewriter.statement;
    if !reads_rows(&statement.kind) {
        return;
    }
    let schemas = schemas_of_ours(ctx);
    if schemas.is_empty() {
        return;
    }
    let Some(system) = system_columns(rewriter) else { return };
    for table in &statement.tables {
        let Some((schema, owner)) = find(ctx, table) else { continue };
        // A view has no system columns.
        let view = schema == INFORMATION_SCHEMA || owner == Owner::Schema("schemaname");
        let system = if view { "" } else { system.as_str() };
        let shown =
            format!("(SELECT {system}* FROM {schema}.{} WHERE {})", table.name, condition(owner, &schemas));
        rewriter.put(table, &shown);
    }
}

/// Whether its queries run now: what is defined with a query (a view) goes on meaning the catalog itself.
fn reads_rows(kind: &Kind) -> bool {
    match kind {
        Kind::Query | Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) | Kind::Merge(_) => true,
        Kind::Define(define) => matches!(define.how, How::CreateAs(_)),
        _ => false,
    }
}

/// The system columns that the statement names, to be carried along. `None` if they would show in a `*`.
fn system_columns(rewriter: &Rewriter<'_>) -> Option<String> {
    const NAMES: &[&str] = &["tableoid", "xmin", "xmax", "cmin", "cmax", "ctid"];
    let columns = &rewriter.statement.columns;
    let named = |name: &&&str| columns.iter().any(|c| c.fields.last() == Some(&Some((**name).to_owned())));
    let used: Vec<&&str> = NAMES.iter().filter(named).collect();
    let star = columns.iter().any(|c| c.fields.last() == Some(&None));
    if star && !used.is_empty() {
        return None;
    }
    Some(used.iter().map(|name| format!("{name}, ")).collect())
}

/// The schemas that hold objects of ours, quoted; none if nothing is registered. (A schema of the user's whose
/// name begins alike isn't one.)
fn schemas_of_ours(ctx: &Context<'_>) -> Vec<String> {
    let mut schemas = Vec::new();
    for table in ctx.repository.every_table().iter().filter(|t| t.location.backend == ctx.backend) {
        schemas.push(literal(&overlay_schema(table)));
        if let Some(own) = table.location.schema.as_deref().filter(|_| table.location.is_draft()) {
            schemas.push(literal(own));
        }
    }
    if !schemas.is_empty() {
        schemas.push(literal(SCHEMA));
    }
    schemas.sort();
    schemas.dedup();
    schemas
}

fn condition(owner: Owner, schemas: &[String]) -> String {
    let list = format!("(ARRAY[{}]::pg_catalog.text[])", schemas.join(", "));
    let foreign = |column: &str| format!("{column}::pg_catalog.text OPERATOR(pg_catalog.<>) ALL {list}");
    let theirs = |column: &str| format!("NOT pg_catalog.starts_with({column}::pg_catalog.text, 'zz_epoch_')");
    match owner {
        Owner::Schema(column) => foreign(column),
        Owner::Trigger(column) => theirs(column),
        Owner::TriggerOf(schema, column) => format!("{} AND {}", foreign(schema), theirs(column)),
        Owner::Namespace(column) => format!(
            "{column} OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT epoch_n.oid FROM pg_catalog.pg_namespace epoch_n \
             WHERE epoch_n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) ANY {list}))"
        ),
        Owner::View(column) => format!(
            "{column} OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT epoch_v.oid FROM pg_catalog.pg_class epoch_v \
             JOIN pg_catalog.pg_namespace epoch_n ON epoch_n.oid OPERATOR(pg_catalog.=) epoch_v.relnamespace \
             WHERE epoch_v.relkind OPERATOR(pg_catalog.=) 'v' AND epoch_n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) ANY {list}))"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_may_name_a_catalog() {
        for sql in [
            "SELECT * FROM pg_class",
            "select 1 from PG_Catalog.PG_TRIGGER",
            "FROM information_schema.tables",
            "pg_type",
        ] {
            assert!(named_in(sql.as_bytes()), "{sql}");
        }
        for sql in [
            "SELECT pg_sleep(1)",
            "_",
            "g_class",
            "SELECT user_id FROM pg_settings",
            "information",
            "p_class",
            "x pg_",
        ] {
            assert!(!named_in(sql.as_bytes()), "{sql}");
        }
    }

    #[test]
    fn a_catalog_is_listed_once() {
        for (i, (schema, name, _)) in CATALOGS.iter().enumerate() {
            let again = CATALOGS.iter().skip(i + 1).any(|(s, n, _)| (s, n) == (schema, name));
            assert!(!again, "{schema}.{name}");
        }
    }
}
