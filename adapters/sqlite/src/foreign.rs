//! Foreign keys on the state of a branch, and of main where SQLite's own checks are put off.

use std::collections::HashSet;
use std::sync::Arc;

use epoch_adapter::{At, Error, Result, Row, Value, View, sqlstate};
use epoch_layers::view::{Arm, Dialect};

use crate::constraint::{no_parent, still_referenced};
use crate::error::map;
use crate::layer::ensure;
use crate::layout::{list, quote};
use crate::meta::{Action, Foreign, Meta};
use crate::view::{arms, bind, equal, value};
use crate::write::Writer;

/// How deep cascades may go.
const DEPTH: usize = 200;

/// A foreign key that must hold for some values.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    fk: Arc<Foreign>,
    values: Row,
    /// Whether a parent went away; else a child came.
    parent_gone: bool,
}

/// Foreign keys to check: at the end of the statement, or of the transaction.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    due: Vec<Due>,
    seen: HashSet<(usize, bool, Row)>,
    pub deferred: Vec<Due>,
}

impl Checks {
    fn push(&mut self, due: Due) {
        if self.seen.insert((Arc::as_ptr(&due.fk) as usize, due.parent_gone, due.values.clone())) {
            if due.fk.deferred { self.deferred.push(due) } else { self.due.push(due) }
        }
    }

    /// A row that may need a parent.
    pub(crate) fn child(&mut self, meta: &Meta, fk: &Arc<Foreign>, row: &Row) -> Result<()> {
        if let Some(values) = values_of(meta, &fk.columns, row)? {
            self.push(Due { fk: Arc::clone(fk), values, parent_gone: false });
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
    /// Checks what is due now.
    pub(crate) fn check_now(&mut self) -> Result<()> {
        let due = std::mem::take(&mut self.checks.due);
        self.checks.seen.clear();
        due.iter().try_for_each(|d| self.check(d))
    }

    /// Checks what was put off to the end of the transaction.
    pub(crate) fn check_deferred(&self, deferred: &[Due]) -> Result<()> {
        deferred.iter().try_for_each(|d| self.check(d))
    }

    fn check(&self, due: &Due) -> Result<()> {
        let fk = &due.fk;
        if self.first(&fk.parent, &fk.parent_columns, &due.values, true)?
            || !self.first(&fk.child, &fk.columns, &due.values, false)?
        {
            return Ok(());
        }
        Err(if due.parent_gone { still_referenced(fk, &due.values) } else { no_parent(fk, &due.values) })
    }

    /// Where the rows of a table are that this layer sees. Tables that aren't registered have no
    /// branches: as parents they are read as they are, as children of a branch's row they don't count.
    fn places(&self, table: &str, as_parent: bool) -> Result<Vec<Arm>> {
        let Some(meta) = self.catalog.named(table) else {
            if !as_parent && !self.layer.is_main() {
                return Ok(Vec::new());
            }
            let from = format!("main.{} AS x", quote(table));
            return Ok(vec![Arm::whole(from, Dialect::Sqlite)]);
        };
        let view = View { layer: self.layer, at: At::Working };
        if !view.is_plain() {
            self.catalog.check(meta)?;
        }
        arms(self.conn, meta, &view)
    }

    fn first(&self, table: &str, columns: &[String], values: &Row, as_parent: bool) -> Result<bool> {
        let filter = equal(columns, values);
        for arm in self.places(table, as_parent)? {
            let (sql, params) = arm.select("1", &filter, None);
            let hit =
                self.conn.prepare_cached(&sql).and_then(|mut s| s.exists(bind(&params))).map_err(map)?;
            if hit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The error that SQLite's bare "FOREIGN KEY constraint failed" on main stands for.
    pub(crate) fn restricted(
        &self,
        meta: &Meta,
        referrers: &[Arc<Foreign>],
        before: Option<&Row>,
    ) -> Result<Option<Error>> {
        let Some(before) = before else { return Ok(None) };
        for fk in referrers {
            if let Some(values) = values_of(meta, &fk.parent_columns, before)?
                && self.first(&fk.child, &fk.columns, &values, false)?
            {
                return Ok(Some(still_referenced(fk, &values)));
            }
        }
        Ok(None)
    }

    /// A row that others may refer to was deleted (`after` is `None`) or changed.
    pub(crate) fn parent_changed(
        &mut self,
        meta: &Arc<Meta>,
        referrers: &[Arc<Foreign>],
        before: &Row,
        after: Option<&Row>,
    ) -> Result<()> {
        for fk in referrers {
            let Some(old) = values_of(meta, &fk.parent_columns, before)? else { continue };
            let indexes = meta.indexes(&fk.parent_columns)?;
            let new: Option<Row> =
                after.map(|row| indexes.iter().filter_map(|&i| row.get(i).cloned()).collect());
            if new.as_ref() == Some(&old) {
                continue;
            }
            let action = if after.is_none() { fk.on_delete } else { fk.on_update };
            if action == Action::Refuse || self.exact {
                self.checks.push(Due { fk: Arc::clone(fk), values: old, parent_gone: true });
            } else if !self.layer.is_main() {
                self.cascade(fk, action, &old, new.as_ref())?;
            }
        }
        Ok(())
    }

    fn cascade(&mut self, fk: &Arc<Foreign>, action: Action, old: &Row, new: Option<&Row>) -> Result<()> {
        let Some(child) = self.catalog.named(&fk.child).cloned() else { return Ok(()) };
        self.catalog.check(&child)?;
        if self.depth >= DEPTH {
            return Err(Error::new(
                sqlstate::STATEMENT_TOO_COMPLEX,
                format!("foreign keys cascade more than {DEPTH} levels deep"),
            ));
        }
        let keys = self.keys(&child, &fk.columns, old)?;
        if keys.is_empty() {
            return Ok(());
        }
        ensure(self.conn, &child, self.layer, None)?;
        let columns = child.indexes(&fk.columns)?;
        self.depth += 1;
        for key in keys {
            let values: Row = match (action, new) {
                (Action::Cascade, None) => {
                    self.delete(&child, &key)?;
                    continue;
                }
                (Action::Cascade, Some(new)) => new.clone(),
                (Action::SetDefault, _) => self.defaults(&child, &columns)?,
                _ => vec![Value::Null; columns.len()],
            };
            let set: Vec<_> = columns.iter().copied().zip(values).collect();
            self.update(&child, &key, &set)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn keys(&self, meta: &Meta, columns: &[String], values: &Row) -> Result<Vec<Row>> {
        let filter = equal(columns, values);
        let mut out = Vec::new();
        for arm in self.places(meta.name(), false)? {
            let (sql, params) = arm.select(&list("x", meta.key.iter().map(String::as_str)), &filter, None);
            let mut stmt = self.conn.prepare_cached(&sql).map_err(map)?;
            let mut rows = stmt.query(bind(&params)).map_err(map)?;
            while let Some(row) = rows.next().map_err(map)? {
                let key: Result<Row> =
                    (0..meta.key.len()).map(|i| value(row.get_ref(i).map_err(map)?)).collect();
                out.push(key?);
            }
        }
        Ok(out)
    }

    /// What the columns' defaults are.
    fn defaults(&self, meta: &Meta, columns: &[usize]) -> Result<Row> {
        let one = |i: &usize| {
            meta.physical.columns.get(*i).and_then(|c| c.default.clone()).unwrap_or_else(|| "NULL".into())
        };
        let list: Vec<_> = columns.iter().map(one).collect();
        let sql = format!("SELECT {}", list.join(", "));
        let mut stmt = self.conn.prepare_cached(&sql).map_err(map)?;
        let mut rows = stmt.query([]).map_err(map)?;
        match rows.next().map_err(map)? {
            Some(row) => (0..columns.len()).map(|i| value(row.get_ref(i).map_err(map)?)).collect(),
            None => Ok(Vec::new()),
        }
    }
}
