//! TRUNCATE on a branch: every row is deleted from what the branch shows, of children before their
//! parents. Sequences are main's too, so they can't be restarted.

use std::sync::Arc;

use epoch_adapter::{Layer, TableDef};
use epoch_adapter_postgres::layout::{LINEAGE, base, literal, overlay, quote};
use epoch_adapter_postgres::relation;

use crate::query::names::{Catalog, Meaning, location, registered};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::{Error, Result, sqlstate};

/// Schema and name.
type Name = (String, String);

/// Rewrites TRUNCATE of registered tables; one of temporary tables is left alone.
pub(in crate::query) async fn tables(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
    cascade: bool,
    restart: bool,
) -> Result<()> {
    let mut listed = Vec::new();
    for table in &rewriter.statement.tables {
        if let Meaning::Registered(def) = ctx.names.table(table)
            && !listed.contains(&def)
        {
            listed.push(def);
        }
    }
    if listed.is_empty() {
        return Ok(());
    }
    if rewriter.statement.tables.iter().any(|t| ctx.names.table(t) == Meaning::Temporary) {
        return Err(Error::unsupported("TRUNCATE of versioned and temporary tables together on a branch"));
    }
    if restart {
        return Err(Error::unsupported("TRUNCATE … RESTART IDENTITY on a branch")
            .with_detail("Sequences are shared by main and all branches.")
            .with_hint("Leave out RESTART IDENTITY."));
    }
    let references = references(catalog, &listed).await?;
    if cascade {
        add_children(ctx, &mut listed, &references)?;
    } else {
        refuse_children(&listed, &references)?;
    }
    let mut statements = Vec::new();
    for table in children_first(listed, &references)? {
        let layer = ctx.repository.writable(ctx.checkout, &table).await?;
        statements.extend(delete_all(&table, layer));
    }
    if let Some(last) = statements.pop() {
        rewriter.edits.replace(rewriter.statement.range.clone(), last);
    }
    rewriter.prelude.extend(statements);
    rewriter.writes = true;
    rewriter.tag = Some("TRUNCATE TABLE");
    Ok(())
}

fn delete_all(table: &TableDef, layer: Layer) -> [String; 2] {
    let below = relation::base_part_scanning(table, layer);
    let columns: Vec<String> = table.schema.columns.iter().map(|c| quote(&c.name)).collect();
    let rows = format!("SELECT {} FROM {below} epoch_t", columns.join(", "));
    [
        relation::copy_up(table, layer, &rows),
        format!("DELETE FROM {} WHERE {LINEAGE} = {}", overlay(table), layer.lineage.0),
    ]
}

/// A foreign key between two tables.
struct Reference {
    child: Name,
    parent: Name,
}

/// The foreign keys to the tables, to the tables that these are of, and so on.
async fn references(catalog: &mut dyn Catalog, tables: &[Arc<TableDef>]) -> Result<Vec<Reference>> {
    let oids: Vec<String> = tables
        .iter()
        .map(|t| format!("({}::pg_catalog.regclass::pg_catalog.oid)", literal(&base(t))))
        .collect();
    let sql = format!(
        "WITH RECURSIVE w(oid) AS (VALUES {} UNION SELECT k.conrelid FROM w JOIN pg_catalog.pg_constraint k ON k.confrelid = w.oid AND k.contype = 'f') \
         SELECT cn.nspname, c.relname, pn.nspname, p.relname FROM w JOIN pg_catalog.pg_constraint k ON k.confrelid = w.oid AND k.contype = 'f' \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace \
         JOIN pg_catalog.pg_class p ON p.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
         WHERE c.oid <> p.oid AND k.conparentid = 0",
        oids.join(", ")
    );
    let rows = catalog.query(&sql).await?;
    let cell = |row: &[Option<String>], i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    let one = |row: &Vec<Option<String>>| Reference {
        child: (cell(row, 0), cell(row, 1)),
        parent: (cell(row, 2), cell(row, 3)),
    };
    Ok(rows.iter().map(one).collect())
}

fn add_children(ctx: &Context<'_>, listed: &mut Vec<Arc<TableDef>>, references: &[Reference]) -> Result<()> {
    let ours = registered(&ctx.repository.tables(), ctx.backend);
    for reference in references {
        let Some(child) = ours.get(&reference.child) else {
            return Err(Error::unsupported(format!(
                "TRUNCATE … CASCADE to table \"{}\", which is not versioned, on a branch",
                reference.child.1
            )));
        };
        if !listed.contains(child) {
            listed.push(child.clone());
        }
    }
    Ok(())
}

/// As PostgreSQL says it.
fn refuse_children(listed: &[Arc<TableDef>], references: &[Reference]) -> Result<()> {
    let names: Vec<Name> = listed.iter().map(|t| location(t)).collect();
    let outside = |r: &&Reference| names.contains(&r.parent) && !names.contains(&r.child);
    let Some(Reference { child, parent }) = references.iter().find(outside) else { return Ok(()) };
    Err(Error::new(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "cannot truncate a table referenced in a foreign key constraint",
    )
    .with_detail(format!("Table \"{}\" references \"{}\".", child.1, parent.1))
    .with_hint(format!("Truncate table \"{}\" at the same time, or use TRUNCATE ... CASCADE.", child.1)))
}

/// Tables that others reference after those.
fn children_first(mut tables: Vec<Arc<TableDef>>, references: &[Reference]) -> Result<Vec<Arc<TableDef>>> {
    let mut ordered = Vec::new();
    while !tables.is_empty() {
        let left: Vec<Name> = tables.iter().map(|t| location(t)).collect();
        let free = |t: &Arc<TableDef>| {
            !references.iter().any(|r| r.parent == location(t) && left.contains(&r.child))
        };
        let next = tables
            .iter()
            .position(free)
            .ok_or_else(|| Error::unsupported("TRUNCATE of tables that reference each other on a branch"))?;
        ordered.push(tables.remove(next));
    }
    Ok(ordered)
}
