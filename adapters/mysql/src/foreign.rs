//! Foreign keys on the state of a branch, and of main where a merge puts the server's own checks off. There are none
//! with actions: tables that have such are not registered.

use std::collections::HashSet;
use std::sync::Arc;

use epoch_adapter::{At, Result, Row, Value, View};
use epoch_layers::view::{Arm, Dialect, Facts, Filter, union};

use crate::constraint::{no_parent, still_referenced};
use crate::layout::quote;
use crate::meta::{Foreign, Meta};
use crate::types::{kind_of, mark};
use crate::write::Writer;

/// A foreign key that must hold for some values.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    fk: Arc<Foreign>,
    values: Row,
    /// Whether a parent went away; else a child came.
    parent_gone: bool,
}

/// Foreign keys to check at the end of the statement.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    due: Vec<Due>,
    seen: HashSet<(usize, bool, Row)>,
}

impl Checks {
    fn push(&mut self, due: Due) {
        if self.seen.insert((Arc::as_ptr(&due.fk) as usize, due.parent_gone, due.values.clone())) {
            self.due.push(due);
        }
    }

    /// A row that may need a parent.
    pub(crate) fn child(&mut self, meta: &Meta, fk: &Arc<Foreign>, row: &Row) -> Result<()> {
        if let Some(values) = values_of(meta, &fk.columns, row)? {
            self.push(Due { fk: Arc::clone(fk), values, parent_gone: false });
        }
        Ok(())
    }

    /// A row that others may refer to was deleted (`after` is `None`) or changed.
    pub(crate) fn parent(
        &mut self,
        meta: &Meta,
        fk: &Arc<Foreign>,
        before: &Row,
        after: Option<&Row>,
    ) -> Result<()> {
        let Some(values) = values_of(meta, &fk.parent_columns, before)? else { return Ok(()) };
        let still = match after {
            Some(after) => values_of(meta, &fk.parent_columns, after)?.as_ref() == Some(&values),
            None => false,
        };
        if !still {
            self.push(Due { fk: Arc::clone(fk), values, parent_gone: true });
        }
        Ok(())
    }
}

/// The values of some columns, `None` if one of them is NULL: then the key doesn't count.
fn values_of(meta: &Meta, columns: &[String], row: &Row) -> Result<Option<Row>> {
    let values: Row = meta.indexes(columns)?.iter().filter_map(|&i| row.get(i).cloned()).collect();
    Ok((!values.iter().any(Value::is_null)).then_some(values))
}

impl Writer<'_> {
    /// Checks what is due.
    pub(crate) async fn check_now(&mut self) -> Result<()> {
        let due = std::mem::take(&mut self.checks.due);
        self.checks.seen.clear();
        for due in &due {
            self.check(due).await?;
        }
        Ok(())
    }

    async fn check(&mut self, due: &Due) -> Result<()> {
        let fk = &due.fk;
        if self.first(&fk.parent, &fk.parent_columns, &due.values, true).await?
            || !self.first(&fk.child, &fk.columns, &due.values, false).await?
        {
            return Ok(());
        }
        Err(if due.parent_gone { still_referenced(fk, &due.values) } else { no_parent(fk, &due.values) })
    }

    /// Whether a table, as this layer sees it, has a row with these values. Tables that aren't registered have no
    /// branches: as parents they are read as they are, as children of a branch's row they don't count.
    async fn first(
        &mut self,
        table: &str,
        columns: &[String],
        values: &Row,
        as_parent: bool,
    ) -> Result<bool> {
        let catalog = Arc::clone(&self.catalog);
        let (sql, params) = match catalog.named(table) {
            None if !as_parent && !self.layer.is_main() => return Ok(false),
            None => {
                let sql = columns.iter().map(|c| format!("x.{} = ?", quote(c))).collect();
                let filter = Filter { sql, params: values.clone(), keyed: false };
                Arm::whole(format!("{} AS x", quote(table)), Dialect::Mysql).select("1", &filter, Some(1))
            }
            Some(meta) => {
                let view = View { layer: self.layer, at: At::Working };
                if !view.is_plain() {
                    catalog.check(meta)?;
                }
                let filter = equal(meta, &meta.indexes(columns)?, values)?;
                union(&meta.arms(&view, Facts::ALL), "1", &filter, Some(1))
            }
        };
        self.session.exists(&sql, &params).await
    }
}

/// The condition that columns have some values, as the columns compare.
pub(crate) fn equal(meta: &Meta, columns: &[usize], values: &[Value]) -> Result<Filter> {
    let mut sql = Vec::new();
    for i in columns {
        let kind = meta.def.schema.columns.get(*i).map(kind_of);
        sql.push(format!("x.{} = {}", quote(meta.column(*i)?), kind.map_or_else(|| "?".to_owned(), mark)));
    }
    Ok(Filter { sql, params: values.to_vec(), keyed: false })
}
