//! Which constraints changes would break: a state's rows are read as they would be with the changes, which are in temporary
//! tables of the connection.

use epoch_adapter::{Result, Row, SeenTable, TableChanges, TableId, Value, View, Violation};
use epoch_layers::view::Filter;
use rusqlite::Connection;

use crate::error::map;
use crate::install::check_names;
use crate::layout::{list, quote};
use crate::meta::{Catalog, Meta};
use crate::view::{arms, bind};
use crate::violations::{Query, Rows, check, not_null, of_foreign_key, parents, run, unique};

/// See [`epoch_adapter::Adapter::would_break`]. In a transaction that is rolled back.
pub(crate) fn would_break(
    conn: &Connection,
    catalog: &Catalog,
    shown: &[SeenTable],
    changes: &[TableChanges],
    limit: usize,
) -> Result<Vec<(TableId, Violation)>> {
    let changes: Vec<&TableChanges> = changes.iter().filter(|c| !c.changes.is_empty()).collect();
    for change in &changes {
        load(conn, &*catalog.get(&change.table)?, change)?;
    }
    let state = State { conn, catalog, shown, changed: changes.iter().map(|c| c.table.id).collect() };
    let mut found = Vec::new();
    for (table, view) in shown.iter().filter(|(table, _)| table.is_table()) {
        let meta = catalog.get(table)?;
        let mut broken = Vec::new();
        for (rows, query) in state.queries(&meta, view)? {
            let left = limit.saturating_sub(found.len() + broken.len());
            if left == 0 {
                break;
            }
            run(conn, &meta, &rows, &query, left, &mut broken)?;
        }
        found.extend(broken.into_iter().map(|violation| (table.id, violation)));
    }
    Ok(found)
}

fn staged(id: TableId) -> String {
    format!("temp.epoch_changes_{}", id.0)
}

/// The changes of a table: the key, whether there is a row afterwards, and that row.
fn load(conn: &Connection, meta: &Meta, change: &TableChanges) -> Result<()> {
    let collation = |name: &String| {
        let column = meta.physical.index_of(name).and_then(|i| meta.physical.columns.get(i));
        column.map_or_else(|| "BINARY".to_owned(), |c| c.collation.clone())
    };
    let keys: Vec<String> = (0..meta.key.len()).map(|i| format!("epoch_k{i}")).collect();
    let defined =
        keys.iter().zip(&meta.key).map(|(k, name)| format!("{k} COLLATE {}", quote(&collation(name))));
    let cells =
        meta.columns.iter().map(|name| format!("{} COLLATE {}", quote(name), quote(&collation(name))));
    let columns: Vec<String> = defined.chain(["epoch_after".to_owned()]).chain(cells).collect();
    let name = staged(change.table.id);
    let create = format!(
        "CREATE TEMPORARY TABLE epoch_changes_{} ({}, PRIMARY KEY ({})) WITHOUT ROWID",
        change.table.id.0,
        columns.join(", "),
        keys.join(", ")
    );
    conn.execute_batch(&create).map_err(map)?;
    let marks = vec!["?"; columns.len()].join(", ");
    let mut insert = conn.prepare(&format!("INSERT INTO {name} VALUES ({marks})")).map_err(map)?;
    for change in &change.changes {
        let absent: Row = vec![Value::Null; meta.columns.len()];
        let after = change.after.as_ref().unwrap_or(&absent);
        let flag = Value::Int(i64::from(change.after.is_some()));
        let values: Vec<Value> =
            change.key.iter().cloned().chain([flag]).chain(after.iter().cloned()).collect();
        insert.execute(bind(&values)).map_err(map)?;
    }
    Ok(())
}

/// What is changed.
struct State<'a> {
    conn: &'a Connection,
    catalog: &'a Catalog,
    shown: &'a [SeenTable],
    changed: Vec<TableId>,
}

impl State<'_> {
    /// What is asked, and of which rows.
    fn queries(&self, meta: &Meta, view: &View) -> Result<Vec<(Rows, Query)>> {
        let mut queries = Vec::new();
        let changed = self.changed.contains(&meta.id());
        if changed {
            let (new, all) = (new_rows(meta), self.all(meta, view)?);
            queries.extend(not_null(meta).into_iter().map(|q| (new.clone(), q)));
            let checks = check_names(meta);
            queries.extend(checks.iter().map(|(name, sql)| (new.clone(), check(meta, name, sql))));
            // Changes have one row per key.
            let uniques = meta.physical.uniques.iter().filter(|u| !u.primary);
            queries.extend(uniques.map(|u| (all.clone(), unique(meta, u, Some(new.clone())))));
        }
        for foreign in &meta.physical.foreign {
            let parent = self.catalog.named(&foreign.parent);
            let seen = parent.and_then(|p| self.shown.iter().find(|(table, _)| table.id == p.id()));
            let moved = match (parent, seen) {
                (Some(parent), Some((table, view))) if self.changed.contains(&table.id) => {
                    Some(self.all(parent, view)?)
                }
                _ => None,
            };
            let before = || parents(self.conn, self.catalog, foreign, self.shown);
            if changed {
                let after = moved.clone().map_or_else(before, Ok)?;
                queries.push((new_rows(meta), of_foreign_key(self.catalog, meta, foreign, after, None)));
            }
            if let Some(after) = moved {
                let query = of_foreign_key(self.catalog, meta, foreign, after, Some(before()?));
                queries.push((self.kept(meta, view)?, query));
            }
        }
        Ok(queries)
    }

    /// The rows that the changes leave alone.
    fn kept(&self, meta: &Meta, view: &View) -> Result<Rows> {
        let mut filter = Filter::default();
        if self.changed.contains(&meta.id()) {
            let same = meta.key.iter().enumerate().map(|(i, k)| format!("x.{} = s.epoch_k{i}", quote(k)));
            let same = same.collect::<Vec<_>>().join(" AND ");
            filter.sql.push(format!("NOT EXISTS (SELECT 1 FROM {} AS s WHERE {same})", staged(meta.id())));
        }
        Ok(Rows::filtered(&arms(self.conn, meta, view)?, &meta.columns, &filter))
    }

    fn all(&self, meta: &Meta, view: &View) -> Result<Rows> {
        let mut rows = self.kept(meta, view)?;
        rows.sql = format!("{} UNION ALL {}", rows.sql, new_rows(meta).sql);
        Ok(rows)
    }
}

/// The rows that the changes make.
fn new_rows(meta: &Meta) -> Rows {
    let columns = list("x", meta.columns.iter().map(String::as_str));
    let sql = format!("SELECT {columns} FROM {} AS x WHERE epoch_after", staged(meta.id()));
    Rows { sql, params: Vec::new() }
}
