//! Foreign keys on the state of a branch, and of main where a merge puts the server's own checks off. There are none
//! with actions: tables that have such are not registered.

use std::sync::Arc;

use epoch_adapter::{At, Result, Row, Value, View};
use epoch_layers::foreign::Due;
use epoch_layers::view::{Arm, Dialect, Facts, Filter, union};

use crate::constraint::{no_parent, still_referenced};
use crate::layout::quote;
use crate::meta::{Foreign, Meta};
use crate::types::{kind_of, mark};
use crate::write::Writer;

impl Writer<'_> {
    /// Checks what is due.
    pub(crate) async fn check_now(&mut self) -> Result<()> {
        for due in &self.checks.take() {
            self.check(due).await?;
        }
        Ok(())
    }

    async fn check(&mut self, due: &Due<Foreign>) -> Result<()> {
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
