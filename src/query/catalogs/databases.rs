//! `epoch.show_branch_databases`: pg_database with an entry for each branch, by the name that a client connects to.

use epoch_adapter_postgres::layout::{literal, quote};

use super::{PG_CATALOG, reads_rows};
use crate::Result;
use crate::query::names::{Catalog, Meaning};
use crate::query::parse::{Role, TableRef};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;

const NAME: &str = "pg_database";
/// Oids that no database of a server is likely to have.
const FIRST_OID: usize = 4_200_000_000;

const COLUMNS: &str = "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute WHERE attrelid = 'pg_catalog.pg_database'::pg_catalog.regclass \
    AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

/// Puts the branches among the databases that the statement reads, if the session wants that. Whether it did.
pub(super) async fn show(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
) -> Result<bool> {
    let statement = rewriter.statement;
    let Some(session) = ctx.functions.filter(|_| ctx.names.shows_databases()) else { return Ok(false) };
    let read: Vec<&TableRef> = statement.tables.iter().filter(|table| is_meant(ctx, table)).collect();
    if read.is_empty() || !reads_rows(&statement.kind) {
        return Ok(false);
    }
    let names = session.repository.branch_names().await?;
    let entries: Vec<String> = (FIRST_OID..)
        .zip(&names)
        .map(|(oid, branch)| {
            let name = match branch.as_str() {
                "main" => session.repository.name().to_owned(),
                branch => format!("{}/{branch}", session.repository.name()),
            };
            format!("({oid}, {})", literal(&name))
        })
        .collect();
    let columns: Vec<String> = catalog.query(COLUMNS).await?.into_iter().flatten().flatten().collect();
    let shown: Vec<String> = columns
        .iter()
        .map(|column| match column.as_str() {
            "oid" => "epoch_v.id::pg_catalog.oid AS oid".to_owned(),
            "datname" => "epoch_v.name::pg_catalog.name AS datname".to_owned(),
            column => format!("epoch_d.{}", quote(column)),
        })
        .collect();
    let relation = format!(
        "(SELECT * FROM pg_catalog.pg_database UNION ALL SELECT {} FROM pg_catalog.pg_database epoch_d, \
         (VALUES {}) epoch_v (id, name) WHERE epoch_d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_database epoch_o WHERE epoch_o.datname OPERATOR(pg_catalog.=) epoch_v.name::pg_catalog.name))",
        shown.join(", "),
        entries.join(", ")
    );
    for table in read {
        rewriter.put(table, &relation);
    }
    Ok(true)
}

/// On main names aren't looked up: nobody has a table of his own with the name of a catalog.
fn is_meant(ctx: &Context<'_>, table: &TableRef) -> bool {
    let meaning = ctx.names.table(table);
    let system = meaning == Meaning::System || (ctx.checkout.is_main() && meaning == Meaning::Missing);
    table.role == Role::Read
        && system
        && table.name == NAME
        && table.schema.as_deref().unwrap_or(PG_CATALOG) == PG_CATALOG
}
