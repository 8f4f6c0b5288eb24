//! Keyed writes: natively on main, by copy-up and overlay on a branch.

use std::sync::Arc;

use epoch_adapter::{Error, Layer, Result, Row, RowWrite, TableDef, TableId, Value};
use epoch_layers::errors::Known;
use epoch_layers::foreign::{Checks, values_of};
use epoch_layers::view::{Filter, union};

use crate::constraint::{duplicate, failed};
use crate::error::snapshot_conflict;
use crate::foreign::equal;
use crate::layer::{ensure, stamp, take_turn};
use crate::layout::{LINEAGE, list, quote};
use crate::meta::{Catalog, Flavour, Foreign, Meta, Unique};
use crate::pool::Session;

/// Writes to the working rows of one layer, inside a transaction of the session.
pub(crate) struct Writer<'a> {
    pub session: &'a mut Session,
    pub catalog: Arc<Catalog>,
    pub layer: Layer,
    pub checks: Checks<Foreign>,
    /// Rows that a merge made must end up exactly as it computed them, and foreign keys are ours to check on main, too.
    pub exact: bool,
    /// Whether the transaction's snapshot counts: 40001 for a row that isn't as it shows it.
    pub keep: bool,
    /// The rows that the writes affect, if they are wanted.
    pub returned: Option<Vec<Row>>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(session: &'a mut Session, catalog: Arc<Catalog>, layer: Layer) -> Self {
        let checks = Checks::default();
        Self { session, catalog, layer, checks, exact: false, keep: false, returned: None }
    }

    /// Applies writes in order, then checks the foreign keys that are due at the end of a statement.
    pub(crate) async fn write(&mut self, table: &TableDef, writes: &[RowWrite]) -> Result<u64> {
        let meta = self.catalog.get(table)?;
        self.open(&meta).await?;
        let mut affected = 0;
        for write in writes {
            affected += match write {
                RowWrite::Insert(cells) => self.insert(&meta, cells).await?,
                RowWrite::Update { key, set } => self.update(&meta, key, set).await?,
                RowWrite::Delete { key } => self.delete(&meta, key).await?,
            };
        }
        self.check_now().await?;
        Ok(affected)
    }

    /// Waits for the table's turn, with those whose rows foreign keys make this table's writers look at.
    pub(crate) async fn open(&mut self, meta: &Meta) -> Result<()> {
        if self.layer.is_main() {
            return Ok(());
        }
        let tables = turn(&self.catalog, meta.id());
        if !take_turn(self.session, &tables, self.layer, self.keep).await?.contains(&meta.id()) {
            ensure(self.session, meta, self.layer, None).await?;
        }
        stamp(self.session, meta.id(), self.layer).await
    }

    /// The table that rows are written to.
    fn target<'m>(&self, meta: &'m Meta) -> &'m str {
        if self.layer.is_main() { &meta.base } else { &meta.overlay }
    }

    /// `key = ?` in the target, and its parameters.
    fn is_key(&self, meta: &Meta, key: &Row) -> (String, Vec<Value>) {
        if self.layer.is_main() {
            return (meta.is_key(""), key.clone());
        }
        let params = std::iter::once(Value::Int(self.layer.lineage.0)).chain(key.iter().cloned()).collect();
        (format!("{LINEAGE} = ? AND {}", meta.is_key("")), params)
    }

    pub(crate) async fn insert(&mut self, meta: &Arc<Meta>, cells: &[Option<Value>]) -> Result<u64> {
        if cells.len() != meta.columns.len() {
            return Err(Error::internal("an inserted row has the wrong number of cells"));
        }
        let mut given: Vec<(usize, Value)> =
            meta.writable.iter().filter_map(|&i| Some((i, cells.get(i)?.clone()?))).collect();
        self.number(meta, &mut given).await?;
        let mut known: Known = vec![None; meta.columns.len()];
        for (i, v) in &given {
            if let Some(cell) = known.get_mut(*i) {
                *cell = Some(v.clone());
            }
        }
        let mut columns: Vec<&str> = Vec::new();
        for (i, _) in &given {
            columns.push(meta.column(*i)?);
        }
        let mut marks: Vec<_> = given.iter().map(|(i, _)| meta.written(*i)).collect();
        let mut params: Vec<Value> = given.iter().map(|(_, v)| v.clone()).collect();
        if !self.layer.is_main() {
            columns.push(LINEAGE);
            marks.push("?");
            params.push(Value::Int(self.layer.lineage.0));
        }
        let marks = marks.join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", self.target(meta), list("", columns));
        let needed = !self.layer.is_main() || self.exact || self.returned.is_some();
        let row = match needed {
            true => Some(self.inserted_row(meta, &sql, &params, &known).await?),
            false => {
                let done = self.session.raw_exec(&sql, &params).await?;
                done.map_err(|e| failed(&self.catalog, meta, e, &known))?;
                None
            }
        };
        if let Some(row) = row {
            self.inserted(meta, &row).await?;
            self.affected(row);
        }
        Ok(1)
    }

    /// Runs an INSERT of one row and says what the row is now.
    async fn inserted_row(&mut self, meta: &Meta, sql: &str, params: &[Value], known: &Known) -> Result<Row> {
        if self.catalog.flavour == Flavour::MariaDb {
            let sql = format!("{sql} RETURNING {}", meta.all_columns(""));
            let rows = self.session.raw_rows(&sql, params).await?;
            let rows = rows.map_err(|e| failed(&self.catalog, meta, e, known))?;
            let row = rows.into_iter().next();
            return meta.row(&mut row.ok_or_else(|| Error::internal("mysql: INSERT returned no row"))?, 0);
        }
        let done = self.session.raw_exec(sql, params).await?;
        done.map_err(|e| failed(&self.catalog, meta, e, known))?;
        let number = self.session.last_number().and_then(|n| i64::try_from(n).ok()).map(Value::Int);
        let cell = |i: &usize| {
            let auto = meta.physical.columns.get(*i).is_some_and(|c| c.auto);
            known.get(*i).cloned().flatten().or_else(|| number.clone().filter(|_| auto))
        };
        let key: Option<Row> = meta.def.schema.key.iter().map(cell).collect();
        let row = match key {
            Some(key) => self.current(meta, &key, false).await?,
            None => None,
        };
        row.ok_or_else(|| {
            Error::unsupported(format!("a row of \"{}\" whose key MySQL makes", meta.name()))
                .with_detail("MySQL doesn't tell keys that defaults and triggers make.")
        })
    }

    fn affected(&mut self, row: Row) {
        self.returned.iter_mut().for_each(|rows| rows.push(row.clone()));
    }

    /// Checks what the target's own constraints can't see of a new row.
    async fn inserted(&mut self, meta: &Arc<Meta>, row: &Row) -> Result<()> {
        if !self.layer.is_main() {
            for unique in &meta.physical.uniques {
                self.check_unique(meta, unique, row).await?;
            }
        }
        if !self.layer.is_main() || self.exact {
            for fk in &meta.physical.foreign {
                self.checks.child(fk, values_of(meta, &fk.columns, row)?);
            }
        }
        Ok(())
    }

    /// Gives an AUTO_INCREMENT column that was left out its value: larger than any that main ever had or that a branch
    /// was given. Main numbers its rows itself as long as no branch did.
    async fn number(&mut self, meta: &Meta, given: &mut Vec<(usize, Value)>) -> Result<()> {
        let Some(auto) = meta.physical.columns.iter().find(|c| c.auto) else { return Ok(()) };
        let Some(at) = meta.columns.iter().position(|c| *c == auto.name) else { return Ok(()) };
        given.retain(|(i, v)| *i != at || !v.is_null());
        if given.iter().any(|(i, _)| *i == at) {
            return Ok(());
        }
        let table = Value::Int(meta.id().0);
        if self.layer.is_main() {
            let sql = "SELECT 1 FROM epoch_number WHERE table_id = ?";
            if !self.session.exists(sql, std::slice::from_ref(&table)).await? {
                return Ok(());
            }
        }
        // In a transaction of its own: branches don't wait for each other, and no number is given twice.
        let mut other = self.session.pool.get().await?;
        loop {
            let sql = "INSERT INTO epoch_number (table_id, last) VALUES (?, LAST_INSERT_ID((SELECT coalesce(max(AUTO_INCREMENT), 1) \
                FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?))) \
                ON DUPLICATE KEY UPDATE last = LAST_INSERT_ID(greatest(last + 1, VALUES(last)))";
            other.exec(sql, &[table.clone(), Value::Text(meta.name().to_owned())]).await?;
            let next = other.one::<i64>("SELECT CAST(LAST_INSERT_ID() AS SIGNED)", &[]).await?.unwrap_or(0);
            if !self.is_named(meta, &auto.name, next).await? {
                given.push((at, Value::Int(next)));
                return Ok(());
            }
        }
    }

    /// Whether this branch has a row with this number, which only a statement that names it can have made.
    async fn is_named(&mut self, meta: &Meta, column: &str, number: i64) -> Result<bool> {
        if self.layer.is_main() {
            return Ok(false);
        }
        let sql =
            format!("SELECT 1 FROM {} WHERE {LINEAGE} = ? AND {} = ? LIMIT 1", meta.overlay, quote(column));
        self.session.exists(&sql, &[Value::Int(self.layer.lineage.0), Value::Int(number)]).await
    }

    /// Updates one row; on a branch after copying it up.
    pub(crate) async fn update(
        &mut self,
        meta: &Arc<Meta>,
        key: &Row,
        set: &[(usize, Value)],
    ) -> Result<u64> {
        self.settle(meta, key).await?;
        let touched: Vec<usize> = set.iter().map(|(i, _)| *i).collect();
        let referrers = self.referrers(meta, Some(&touched))?;
        let Some(before) = self.current(meta, key, true).await? else { return Ok(0) };
        if !set.is_empty() {
            let (is_key, mut key_params) = self.is_key(meta, key);
            let mut names = Vec::new();
            for (i, _) in set {
                names.push(format!("{} = {}", quote(meta.column(*i)?), meta.written(*i)));
            }
            names.extend(self.kept(meta, &touched));
            let mut params: Vec<Value> = set.iter().map(|(_, v)| v.clone()).collect();
            params.append(&mut key_params);
            let sql = format!("UPDATE {} SET {} WHERE {is_key}", self.target(meta), names.join(", "));
            if let Err(e) = self.session.raw_exec(&sql, &params).await? {
                // A parent that is still referred to is named by what it was.
                let row = match crate::error::number(&e) {
                    Some(1451) => before.iter().cloned().map(Some).collect(),
                    _ => after(&before, set),
                };
                return Err(failed(&self.catalog, meta, e, &row));
            }
        }
        let new_key: Row = self.key_after(meta, key, set);
        let row = match self.current(meta, &new_key, false).await? {
            Some(row) => row,
            None if self.returned.is_some() || !self.layer.is_main() => {
                return Err(Error::unsupported(format!(
                    "a trigger of \"{}\" that changes keys",
                    meta.name()
                )));
            }
            None => return Ok(1),
        };
        self.updated(meta, &touched, &row).await?;
        for fk in &referrers {
            let columns = &fk.parent_columns;
            self.checks.parent(fk, values_of(meta, columns, &before)?, values_of(meta, columns, &row)?);
        }
        self.affected(row);
        Ok(1)
    }

    /// What a merge didn't change although the server would: `ON UPDATE CURRENT_TIMESTAMP`, which what is set to itself
    /// doesn't get.
    fn kept(&self, meta: &Meta, touched: &[usize]) -> Vec<String> {
        if !self.exact {
            return Vec::new();
        }
        let is_set = |name: &str| touched.iter().any(|i| meta.columns.get(*i).is_some_and(|c| c == name));
        let moving = meta.physical.columns.iter().filter(|c| c.on_update && !is_set(&c.name));
        moving.map(|c| format!("{0} = {0}", quote(&c.name))).collect()
    }

    fn key_after(&self, meta: &Meta, key: &Row, set: &[(usize, Value)]) -> Row {
        let one = |(n, column): (usize, &usize)| {
            let new = set.iter().find(|(i, _)| i == column).map(|(_, v)| v);
            new.or_else(|| key.get(n)).cloned().unwrap_or(Value::Null)
        };
        meta.def.schema.key.iter().enumerate().map(one).collect()
    }

    async fn updated(&mut self, meta: &Arc<Meta>, touched: &[usize], row: &Row) -> Result<()> {
        if !self.layer.is_main() {
            // Expressions and generated columns may depend on any column.
            let concerned = |u: &&Unique| match &u.columns {
                Some(columns) => columns.iter().any(|c| touched.contains(c) || !meta.writable.contains(c)),
                None => true,
            };
            for unique in meta.physical.uniques.iter().filter(concerned) {
                self.check_unique(meta, unique, row).await?;
            }
        }
        if !self.layer.is_main() || self.exact {
            for fk in &meta.physical.foreign {
                if meta.indexes(&fk.columns)?.iter().any(|i| touched.contains(i)) {
                    self.checks.child(fk, values_of(meta, &fk.columns, row)?);
                }
            }
        }
        Ok(())
    }

    /// Deletes one row; on a branch after copying it up, so that its image is kept.
    pub(crate) async fn delete(&mut self, meta: &Arc<Meta>, key: &Row) -> Result<u64> {
        self.settle(meta, key).await?;
        let referrers = self.referrers(meta, None)?;
        let wanted = !referrers.is_empty() || self.returned.is_some();
        let before = if wanted { self.current(meta, key, true).await? } else { None };
        let (is_key, params) = self.is_key(meta, key);
        let sql = format!("DELETE FROM {} WHERE {is_key}", self.target(meta));
        let n = match self.session.raw_exec(&sql, &params).await? {
            Ok(n) => n,
            Err(e) => {
                let row = before.unwrap_or_default().into_iter().map(Some).collect();
                return Err(failed(&self.catalog, meta, e, &row));
            }
        };
        if let Some(before) = before.filter(|_| n > 0) {
            // On main the server has checked.
            for fk in referrers.iter().filter(|_| !self.layer.is_main() || self.exact) {
                self.checks.parent(fk, values_of(meta, &fk.parent_columns, &before)?, None);
            }
            self.affected(before);
        }
        Ok(n)
    }

    /// Foreign keys that refer to this table, or to one of the touched columns of it, and that we check.
    fn referrers(&self, meta: &Meta, touched: Option<&[usize]>) -> Result<Vec<Arc<Foreign>>> {
        let mut out = Vec::new();
        if self.layer.is_main() && !self.exact {
            // The server checks them; its error is told by the row.
            if touched.is_some() {
                return Ok(out);
            }
            return Ok(self.catalog.referrers(meta.name()).to_vec());
        }
        for fk in self.catalog.referrers(meta.name()) {
            let concerned = match touched {
                None => true,
                Some(touched) => meta.indexes(&fk.parent_columns)?.iter().any(|i| touched.contains(i)),
            };
            if concerned {
                out.push(Arc::clone(fk));
            }
        }
        Ok(out)
    }

    /// The row as it stands in the target, locked if it is going to be written to.
    pub(crate) async fn current(&mut self, meta: &Meta, key: &Row, lock: bool) -> Result<Option<Row>> {
        let (is_key, params) = self.is_key(meta, key);
        // A seal holds what other writers wait for, so it doesn't wait for them.
        let lock = match (lock, self.exact && self.layer.is_main()) {
            (false, _) => "",
            (true, false) => " FOR UPDATE",
            (true, true) => " FOR UPDATE NOWAIT",
        };
        let sql = format!("SELECT {} FROM {} WHERE {is_key}{lock}", meta.all_columns(""), self.target(meta));
        match self.session.rows(&sql, &params).await?.first_mut() {
            Some(row) => meta.row(row, 0).map(Some),
            None => Ok(None),
        }
    }

    /// Before a row is changed: on a branch it is copied up; on main it must be as the snapshot has it, if that counts.
    async fn settle(&mut self, meta: &Meta, key: &Row) -> Result<()> {
        if !self.layer.is_main() {
            return self.copy_up(meta, key).await;
        }
        if self.keep && self.current(meta, key, false).await? != self.current(meta, key, true).await? {
            return Err(snapshot_conflict());
        }
        Ok(())
    }

    /// What the branch sees of main in rows that meet a condition.
    pub(crate) async fn below(&mut self, meta: &Meta, filter: &Filter) -> Result<Option<Row>> {
        let arms = meta.below_for_write(self.layer, true);
        let (sql, params) = union(&arms, &meta.all_columns("x"), filter, Some(1));
        match self.session.rows(&sql, &params).await?.first_mut() {
            Some(row) => meta.row(row, 0).map(Some),
            None => Ok(None),
        }
    }

    /// Copies a row that the branch sees on main into the overlay and hides it below. Through us: INSERT … SELECT would
    /// lock the row of main.
    async fn copy_up(&mut self, meta: &Meta, key: &Row) -> Result<()> {
        let Some(row) = self.below(meta, &Filter::key(meta, key)).await? else { return Ok(()) };
        let mut names = Vec::new();
        for i in &meta.writable {
            names.push(meta.column(*i)?);
        }
        let mut params: Row = meta.writable.iter().filter_map(|i| row.get(*i).cloned()).collect();
        params.push(Value::Int(self.layer.lineage.0));
        let marks: Vec<_> = meta.writable.iter().map(|i| meta.written(*i)).chain(["?"]).collect();
        let marks = marks.join(", ");
        let sql = format!(
            "INSERT INTO {} ({}, {LINEAGE}, epoch_copied) VALUES ({marks}, 1)",
            meta.overlay,
            list("", names)
        );
        let done = self.session.raw_exec(&sql, &params).await?;
        done.map_err(|e| failed(&self.catalog, meta, e, &row.iter().cloned().map(Some).collect()))?;
        // The key as it was stored, which may differ in case from the key that was asked for.
        let mut params = meta.def.schema.key_of(&row);
        params.push(Value::Int(self.layer.lineage.0));
        let marks: Vec<_> = meta.def.schema.key.iter().map(|i| meta.written(*i)).chain(["?"]).collect();
        let marks = marks.join(", ");
        let sql = format!("INSERT INTO {} ({}, {LINEAGE}) VALUES ({marks})", meta.mask, meta.key_columns(""));
        self.session.exec(&sql, &params).await.map(drop)
    }

    /// 23505 if a row below the overlay has the same values in a unique index.
    async fn check_unique(&mut self, meta: &Arc<Meta>, unique: &Unique, row: &Row) -> Result<()> {
        let Some(columns) = &unique.columns else {
            let message = format!(
                "writing to a branch of \"{}\", whose index \"{}\" is over an expression or the beginning of a value",
                meta.name(),
                unique.index
            );
            return Err(Error::unsupported(message));
        };
        let values: Row = columns.iter().filter_map(|c| row.get(*c).cloned()).collect();
        if values.iter().any(Value::is_null) {
            return Ok(());
        }
        if self.below(meta, &equal(meta, columns, &values)?).await?.is_some() {
            return Err(duplicate(meta, unique, &row.iter().cloned().map(Some).collect()));
        }
        Ok(())
    }
}

/// A table, and those that writers of it look at.
pub(crate) fn turn(catalog: &Catalog, table: TableId) -> Vec<TableId> {
    let mut tables = catalog.related(table);
    tables.push(table);
    tables.sort_unstable();
    tables
}

/// The row that an update would have made.
fn after(before: &Row, set: &[(usize, Value)]) -> Known {
    let mut row: Known = before.iter().cloned().map(Some).collect();
    for (i, v) in set {
        if let Some(cell) = row.get_mut(*i) {
            *cell = Some(v.clone());
        }
    }
    row
}
