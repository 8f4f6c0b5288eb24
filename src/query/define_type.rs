//! CREATE TYPE … AS ENUM and DROP TYPE on a branch.

use epoch_adapter::{Piece, Statement as Text, TableId};
use epoch_adapter_postgres::layout::literal;

use super::define::{Action, pieces};
use super::names::{Catalog, TypeMeaning};
use super::parse::{Statement, TypeHow, TypeRef};
use super::plan::Context;
use super::types;
use crate::operations::of_main;
use crate::{Error, Result};

/// What is done to types.
pub(super) async fn action(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    statement: &Statement,
    how: &TypeHow,
) -> Result<Action> {
    match how {
        TypeHow::Create { name, labels } => {
            check_place(name)?;
            let width = sql.get(name.range.clone()).unwrap_or_default().chars().count();
            let own = vec![(name.range.clone(), Piece::Own(width))];
            let text = Text { pieces: pieces(sql, &statement.range, own), settings: Vec::new() };
            let (schema, name) = (name.schema.clone(), name.name.clone());
            Ok(Action::CreateType { schema, name, labels: labels.clone(), text })
        }
        TypeHow::Drop { names, if_exists } => drop(ctx, catalog, names, *if_exists).await,
    }
}

async fn drop(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    names: &[TypeRef],
    if_exists: bool,
) -> Result<Action> {
    let mut types: Vec<TableId> = Vec::new();
    let mut absent = Vec::new();
    for name in names {
        match ctx.names.type_of(name) {
            TypeMeaning::Own(table) => types.push(table.id),
            TypeMeaning::Server if is_there(catalog, name).await? => return Err(of_main()),
            _ if if_exists => absent.push(name.name.clone()),
            _ => return Err(types::missing(name)),
        }
    }
    types.sort_unstable();
    types.dedup();
    Ok(Action::DropType { types, missing: absent })
}

/// Whether the server has a type of a name that the branch has, too.
async fn is_there(catalog: &mut dyn Catalog, name: &TypeRef) -> Result<bool> {
    let schema = name.schema.as_deref().map_or_else(
        || "n.nspname = ANY (pg_catalog.current_schemas(true))".to_owned(),
        |schema| format!("n.nspname = {}", literal(schema)),
    );
    let sql = format!(
        "SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.typname = {} AND {schema}",
        literal(&name.name)
    );
    Ok(!catalog.query(&sql).await?.is_empty())
}

/// 0A000 for a name in a schema of the session's own.
fn check_place(name: &TypeRef) -> Result<()> {
    match name.schema.as_deref() {
        Some(schema) if schema == "pg_temp" || schema.starts_with("pg_temp_") => {
            Err(Error::unsupported("CREATE TYPE in pg_temp on a branch"))
        }
        _ => Ok(()),
    }
}
