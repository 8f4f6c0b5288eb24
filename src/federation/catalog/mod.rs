//! `pg_catalog` and `information_schema`: the objects of the repository, beside the types, operators
//! and functions that every PostgreSQL has.

mod build;
mod functions;
mod information;
mod objects;
mod rewrite;
mod system;

use std::sync::{Arc, OnceLock};

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::Expr;
use datafusion_pg_catalog::pg_catalog::PgCatalogStaticTables;
use epoch_adapter::{Error, Result};

pub(crate) use functions::find as function;
pub(crate) use rewrite::{apply, concerns, statement};

use super::errors;
use super::planner::Planner;

/// A catalog table.
pub(crate) fn table(planner: &Planner, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    if schema == "information_schema" {
        return information::find(planner, name);
    }
    if let Some(ours) = system::find(planner, name)? {
        return Ok(Some(ours));
    }
    if name == "pg_proc" {
        return functions::procedures().map(Some);
    }
    builtin(name)
}

/// What every PostgreSQL has.
fn statics() -> Result<&'static PgCatalogStaticTables> {
    static TABLES: OnceLock<std::result::Result<PgCatalogStaticTables, Error>> = OnceLock::new();
    let load = || PgCatalogStaticTables::try_new().map_err(|e| errors::datafusion(&e));
    TABLES.get_or_init(load).as_ref().map_err(Clone::clone)
}

fn builtin(name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    if !name.starts_with("pg_") {
        return Ok(None);
    }
    let t = statics()?;
    let table = match name {
        "pg_aggregate" => &t.pg_aggregate,
        "pg_am" => &t.pg_am,
        "pg_amop" => &t.pg_amop,
        "pg_amproc" => &t.pg_amproc,
        "pg_auth_members" => &t.pg_auth_members,
        "pg_cast" => &t.pg_cast,
        "pg_collation" => &t.pg_collation,
        "pg_conversion" => &t.pg_conversion,
        "pg_db_role_setting" => &t.pg_db_role_setting,
        "pg_default_acl" => &t.pg_default_acl,
        "pg_depend" => &t.pg_depend,
        "pg_enum" => &t.pg_enum,
        "pg_event_trigger" => &t.pg_event_trigger,
        "pg_extension" => &t.pg_extension,
        "pg_foreign_data_wrapper" => &t.pg_foreign_data_wrapper,
        "pg_foreign_server" => &t.pg_foreign_server,
        "pg_foreign_table" => &t.pg_foreign_table,
        "pg_inherits" => &t.pg_inherits,
        "pg_language" => &t.pg_language,
        "pg_opclass" => &t.pg_opclass,
        "pg_operator" => &t.pg_operator,
        "pg_opfamily" => &t.pg_opfamily,
        "pg_partitioned_table" => &t.pg_partitioned_table,
        "pg_policy" => &t.pg_policy,
        "pg_publication" => &t.pg_publication,
        "pg_publication_namespace" => &t.pg_publication_namespace,
        "pg_publication_rel" => &t.pg_publication_rel,
        "pg_range" => &t.pg_range,
        "pg_shdepend" => &t.pg_shdepend,
        "pg_shdescription" => &t.pg_shdescription,
        "pg_statistic_ext" => &t.pg_statistic_ext,
        "pg_subscription" => &t.pg_subscription,
        "pg_tablespace" => &t.pg_tablespace,
        "pg_ts_config" => &t.pg_ts_config,
        "pg_ts_dict" => &t.pg_ts_dict,
        "pg_ts_parser" => &t.pg_ts_parser,
        "pg_ts_template" => &t.pg_ts_template,
        "pg_type" => &t.pg_type,
        "pg_user_mapping" => &t.pg_user_mapping,
        _ => return Ok(None),
    };
    provider(table).map(Some)
}

fn provider(table: &Arc<datafusion_pg_catalog::pg_catalog::ArrowTable>) -> Result<Arc<dyn TableProvider>> {
    datafusion_pg_catalog::pg_catalog::PgCatalogTable::from(table.clone())
        .try_into_table_provider()
        .map_err(|e| errors::datafusion(&e))
}

/// A table function of PostgreSQL.
pub(crate) fn table_function(
    _planner: &Planner,
    name: &str,
    _arguments: &[Expr],
) -> Result<Option<Arc<dyn TableProvider>>> {
    match name {
        "pg_get_keywords" => provider(&statics()?.pg_get_keywords).map(Some),
        _ => Ok(None),
    }
}
