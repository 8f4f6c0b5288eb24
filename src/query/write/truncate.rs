//! TRUNCATE on a branch: every row is deleted from what the branch shows, of all tables by one statement, so
//! that their foreign keys are looked at when all are empty. Sequences are main's too, so they can't be
//! restarted.

use std::collections::HashMap;
use std::sync::Arc;

use epoch_adapter::{Layer, TableDef, TableId};
use epoch_adapter_postgres::layout::{LINEAGE, literal, overlay, quote};
use epoch_adapter_postgres::{TRUNCATING_SETTING, relation};

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
    let references = references(ctx, catalog, &listed).await?;
    if cascade {
        add_children(ctx, &mut listed, &references)?;
    } else {
        refuse_children(&listed, &references)?;
    }
    let mut deletes = Vec::new();
    // Waits for who writes or locks rows of them on any branch, and keeps them out until the transaction ends. Before
    // anything is read, so that all that was committed is seen.
    let locks: Vec<String> = listed.iter().map(|table| overlay(table)).collect();
    // In a block, because the server takes no LOCK TABLE by itself outside of a transaction block.
    let lock = format!("BEGIN LOCK TABLE {} IN EXCLUSIVE MODE; END", locks.join(", "));
    rewriter.prelude.push(format!("DO {}", literal(&lock)));
    for table in listed {
        let layer = ctx.repository.writable(ctx.checkout, &table).await?;
        rewriter.prelude.push(copy_all(&table, layer));
        deletes.push(format!("DELETE FROM {} WHERE {LINEAGE} = {}", overlay(&table), layer.lineage.0));
    }
    if let Some(last) = deletes.pop() {
        let others: Vec<String> =
            deletes.iter().enumerate().map(|(i, sql)| format!("epoch_{i} AS ({sql})")).collect();
        let with = if others.is_empty() { String::new() } else { format!("WITH {} ", others.join(", ")) };
        // The user's triggers for each row have no part in it, as on main.
        let set =
            |value: &str| format!("PERFORM pg_catalog.set_config('{TRUNCATING_SETTING}', '{value}', true);");
        let block = format!("BEGIN {} {with}{last}; {} END", set("on"), set("off"));
        rewriter.edits.replace(rewriter.statement.range.clone(), format!("DO {}", literal(&block)));
    }
    rewriter.writes = true;
    rewriter.tag = Some("TRUNCATE TABLE");
    Ok(())
}

fn copy_all(table: &TableDef, layer: Layer) -> String {
    let below = relation::base_part_scanning(table, layer);
    let columns: Vec<String> = table.schema.columns.iter().map(|c| quote(&c.name)).collect();
    let rows = format!("SELECT {} FROM {below} epoch_t", columns.join(", "));
    relation::copy_up(table, layer, &rows)
}

/// A foreign key between two tables.
struct Reference {
    child: Name,
    parent: Name,
}

/// The foreign keys of what the session shows to the tables, to the tables that these are of, and so on.
async fn references(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    listed: &[Arc<TableDef>],
) -> Result<Vec<Reference>> {
    let shown = ctx.repository.tables(ctx.checkout);
    let rows = catalog.query(epoch_adapter_postgres::FOREIGN_KEYS).await?;
    let cell = |row: &[Option<String>], i: usize| row.get(i).cloned().flatten();
    let number = |row: &[Option<String>], i: usize| cell(row, i).and_then(|n| n.parse::<i64>().ok());
    let families = catalog.query("SELECT id, family FROM epoch.registered").await?;
    let families: HashMap<i64, i64> =
        families.iter().filter_map(|row| number(row, 0).zip(number(row, 1))).collect();
    let family = |table: &TableDef| families.get(&table.id.0).copied().unwrap_or(table.id.0);
    let mut reached: Vec<(i64, Name)> = listed.iter().map(|t| (family(t), location(t))).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((parent_family, parent)) = reached.get(at).cloned() {
        at += 1;
        for row in rows.iter().filter(|row| number(row, 3) == Some(parent_family)) {
            let child = match number(row, 0) {
                None => (cell(row, 1).unwrap_or_default(), cell(row, 2).unwrap_or_default()),
                // Another version of it may have no such key.
                Some(id) => match shown.by_id.get(&TableId(id)) {
                    None => continue,
                    Some(child) => {
                        let next = (family(child), location(child));
                        if !reached.contains(&next) {
                            reached.push(next);
                        }
                        location(child)
                    }
                },
            };
            if child != parent {
                found.push(Reference { child, parent: parent.clone() });
            }
        }
    }
    Ok(found)
}

fn add_children(ctx: &Context<'_>, listed: &mut Vec<Arc<TableDef>>, references: &[Reference]) -> Result<()> {
    let ours = registered(ctx);
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
