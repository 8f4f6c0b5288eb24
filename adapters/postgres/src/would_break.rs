//! Which constraints changes would break: a state's rows are read as they would be with the changes, which are in temporary
//! tables (see [`crate::apply`]).

use epoch_adapter::{Result, SeenTable, TableChanges, TableDef, TableId, View, Violation};

use crate::apply::{load, staged};
use crate::foreign_keys;
use crate::install::indexes;
use crate::layout::quote;
use crate::text::{join, same_key};
use crate::tx::Tx;
use crate::violations::{self, Query, of_foreign_key, unique};
use crate::{relation, versions};

/// See [`epoch_adapter::Adapter::would_break`].
pub(crate) async fn would_break(
    tx: &Tx,
    shown: &[SeenTable],
    changes: &[TableChanges],
    limit: usize,
) -> Result<Vec<(TableId, Violation)>> {
    let changes: Vec<&TableChanges> = changes.iter().filter(|c| !c.changes.is_empty()).collect();
    for change in &changes {
        load(tx, change).await?;
    }
    let changed: Vec<TableId> = changes.iter().map(|c| c.table.id).collect();
    let mut found = Vec::new();
    for (table, view) in shown.iter().filter(|(table, _)| table.is_table()) {
        let left = limit.saturating_sub(found.len());
        if left == 0 {
            break;
        }
        let mut queries = Vec::new();
        if changed.contains(&table.id) {
            queries.extend(of_changed(tx, table, view).await?);
        }
        queries.extend(of_foreign_keys(tx, (table, view), shown, &changed).await?);
        let broken = violations::run(tx, queries, left).await?;
        found.extend(broken.into_iter().map(|violation| (table.id, violation)));
    }
    Ok(found)
}

fn names(table: &TableDef) -> String {
    join(&table.schema.columns, ", ", |c| quote(&c.name))
}

/// The rows that the changes make.
fn new_rows(table: &TableDef) -> String {
    let cells = join(table.schema.columns.iter().enumerate(), ", ", |(i, c)| {
        format!("epoch_a{i} AS {}", quote(&c.name))
    });
    format!("SELECT {cells} FROM {} WHERE epoch_a", staged(table))
}

/// The rows that the changes leave alone.
fn kept_rows(table: &TableDef, view: &View) -> String {
    format!(
        "SELECT {} FROM {} x WHERE NOT EXISTS (SELECT FROM {} s WHERE {})",
        names(table),
        relation::scanning(table, view),
        staged(table),
        same_key(table, "s", "x")
    )
}

fn all_rows(table: &TableDef, view: &View) -> String {
    format!("({} UNION ALL {})", kept_rows(table, view), new_rows(table))
}

async fn of_changed(tx: &Tx, table: &TableDef, view: &View) -> Result<Vec<Query>> {
    let name = quote(&table.location.table);
    let new = format!("({}) {name}", new_rows(table));
    let all = format!("{} {name}", all_rows(table, view));
    let mut queries = violations::not_null(tx, table, &new).await?;
    queries.extend(violations::checks(tx, table, &new).await?);
    let indexes = indexes(tx, table).await?;
    queries.extend(indexes.iter().filter(|i| i.unique).map(|i| unique(table, i, &all, Some(&new))));
    Ok(queries)
}

/// Rows that come without a parent, and those whose parent goes.
async fn of_foreign_keys(
    tx: &Tx,
    (table, view): (&TableDef, &View),
    shown: &[SeenTable],
    changed: &[TableId],
) -> Result<Vec<Query>> {
    let after = |table: &TableDef, view: &View| match changed.contains(&table.id) {
        true => all_rows(table, view),
        false => relation::scanning(table, view),
    };
    let family = versions::family(tx, table.id).await?.unwrap_or(table.id.0);
    let is_changed = changed.contains(&table.id);
    let mut queries = Vec::new();
    for foreign in foreign_keys::read(tx, table, family).await? {
        if foreign.child.id != table.id {
            continue;
        }
        if is_changed {
            let new = format!("({})", new_rows(table));
            queries.extend(of_foreign_key(table, &new, &foreign, shown, (&after, None)));
        }
        if foreign.parents.iter().any(|parent| changed.contains(&parent.table.id)) {
            let kept = match is_changed {
                true => format!("({})", kept_rows(table, view)),
                false => relation::scanning(table, view),
            };
            let before = Some(&relation::scanning as violations::See<'_>);
            queries.extend(of_foreign_key(table, &kept, &foreign, shown, (&after, before)));
        }
    }
    Ok(queries)
}
