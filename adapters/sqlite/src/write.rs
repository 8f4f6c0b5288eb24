//! Keyed writes: natively on main, by copy-up and overlay on a branch.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use epoch_adapter::{Error, Layer, Result, Row, RowWrite, TableDef, TableId, Value, sqlstate};
use epoch_layers::errors::Known;
use epoch_layers::view::{Arm, Filter};
use rusqlite::{Connection, OptionalExtension};

use crate::constraint::{duplicate, failed};
use crate::error::map;
use crate::foreign::Checks;
use crate::keys::{self, OtherForms};
use crate::layer::ensure;
use crate::layout::{LINEAGE, list, quote};
use crate::meta::{Catalog, Foreign, Meta, Unique};
use crate::view::{bind, main_moved, value};

/// Writes to the working rows of one layer, inside a write transaction of `conn`.
pub(crate) struct Writer<'a> {
    pub conn: &'a Connection,
    pub catalog: Arc<Catalog>,
    pub layer: Layer,
    pub checks: Checks,
    /// Rows that a merge made must end up exactly as it computed them: nothing cascades.
    pub exact: bool,
    /// How deep a cascade is.
    pub depth: usize,
    /// The rows that the writes themselves (not their cascades) affect, if they are wanted.
    pub returned: Option<Vec<Row>>,
    below: HashMap<TableId, Arc<Vec<Arm>>>,
    counters: HashMap<TableId, i64>,
    /// Of tables where a key wasn't found as it was given.
    other_forms: HashMap<TableId, OtherForms>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(conn: &'a Connection, catalog: Arc<Catalog>, layer: Layer, exact: bool) -> Self {
        let (below, counters, other_forms) = (HashMap::new(), HashMap::new(), HashMap::new());
        let checks = Checks::default();
        Self { conn, catalog, layer, checks, exact, depth: 0, returned: None, below, counters, other_forms }
    }

    /// Applies writes in order, then checks the foreign keys that are due at the end of a statement.
    pub(crate) fn write(&mut self, table: &TableDef, writes: &[RowWrite]) -> Result<u64> {
        let meta = self.catalog.get(table)?;
        ensure(self.conn, &meta, self.layer, None)?;
        if keys::vary(&meta) {
            keys::check_distinct(&meta, writes)?;
        }
        let mut affected = 0;
        for write in writes {
            affected += self.one(&meta, write)?;
        }
        self.finish()?;
        Ok(affected)
    }

    /// What is left to do after a batch of writes.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.save_counters()?;
        self.check_now()
    }

    pub(crate) fn one(&mut self, meta: &Arc<Meta>, write: &RowWrite) -> Result<u64> {
        let written = |writer: &mut Self, key: &Row| match write {
            RowWrite::Insert(cells) => writer.insert(meta, cells),
            RowWrite::Update { set, .. } => writer.update(meta, key, set),
            RowWrite::Delete { .. } => writer.delete(meta, key),
        };
        let (RowWrite::Update { key, .. } | RowWrite::Delete { key }) = write else {
            return written(self, &Row::new());
        };
        match written(self, key)? {
            0 => self.stored_key(meta, key)?.map_or(Ok(0), |stored| written(self, &stored)),
            affected => Ok(affected),
        }
    }

    /// The key of a row that wasn't found by it, as it is stored.
    fn stored_key(&mut self, meta: &Meta, key: &Row) -> Result<Option<Row>> {
        if !keys::vary(meta) {
            return Ok(None);
        }
        let forms = match self.other_forms.entry(meta.id()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(keys::other_forms(self.conn, meta, self.layer)?),
        };
        Ok(keys::own_form(meta, key)?.and_then(|own| forms.get(&own).cloned()))
    }

    /// On main SQLite checks foreign keys row by row; a statement of many rows is many writes here, so
    /// the engine's own checks wait for the commit and ours come at the end of the statement.
    pub(crate) fn put_off_native_checks(&self, table: &TableDef) -> Result<()> {
        let meta = self.catalog.get(table)?;
        let concerned = !meta.physical.foreign.is_empty() || !self.catalog.referrers(meta.name()).is_empty();
        if !self.layer.is_main() || !concerned {
            return Ok(());
        }
        self.conn.execute_batch("PRAGMA defer_foreign_keys = ON").map_err(map)
    }

    /// The table and the extra columns that rows are written to.
    fn target<'m>(&self, meta: &'m Meta) -> &'m str {
        if self.layer.is_main() { &meta.base } else { &meta.overlay }
    }

    /// `key = ?` in the target, and its parameters.
    fn is_key(&self, meta: &Meta, key: &Row) -> (String, Vec<Value>) {
        let mut params = key.clone();
        let mut sql = meta.is_key("");
        if !self.layer.is_main() {
            sql = format!("{LINEAGE} = ? AND {sql}");
            params.insert(0, Value::Int(self.layer.lineage.0));
        }
        (sql, params)
    }

    fn insert(&mut self, meta: &Arc<Meta>, cells: &[Option<Value>]) -> Result<u64> {
        if cells.len() != meta.columns.len() {
            return Err(Error::internal("an inserted row has the wrong number of cells"));
        }
        let mut given: Vec<(usize, Value)> =
            meta.writable.iter().filter_map(|&i| Some((i, cells.get(i)?.clone()?))).collect();
        self.number(meta, &mut given)?;
        let mut columns: Vec<&str> = Vec::new();
        for (i, _) in &given {
            columns.push(meta.column(*i)?);
        }
        let mut params: Vec<Value> = given.iter().map(|(_, v)| v.clone()).collect();
        if !self.layer.is_main() {
            columns.push(LINEAGE);
            params.push(Value::Int(self.layer.lineage.0));
        }
        let body = if columns.is_empty() {
            "DEFAULT VALUES".to_owned()
        } else {
            format!("({}) VALUES ({})", list("", columns), vec!["?"; params.len()].join(", "))
        };
        let known = || {
            let mut row: Known = vec![None; meta.columns.len()];
            for (i, v) in &given {
                if let Some(cell) = row.get_mut(*i) {
                    *cell = Some(v.clone());
                }
            }
            row
        };
        let sql = format!(
            "INSERT{} INTO {} {body} RETURNING {}",
            or_abort(meta),
            self.target(meta),
            all_columns(meta)
        );
        let row = self.returning(meta, &sql, &params)?.map_err(|e| failed(meta, e, &known()))?;
        let Some(row) = row else { return Ok(0) };
        self.inserted(meta, &row)?;
        self.affected(row);
        Ok(1)
    }

    fn affected(&mut self, row: Row) {
        if self.depth == 0 {
            self.returned.iter_mut().for_each(|rows| rows.push(row.clone()));
        }
    }

    /// Runs a statement with RETURNING to its end; the outer error is one of reading.
    fn returning(
        &self,
        meta: &Meta,
        sql: &str,
        params: &[Value],
    ) -> Result<Result<Option<Row>, rusqlite::Error>> {
        let mut stmt = self.conn.prepare_cached(sql).map_err(map)?;
        let mut rows = stmt.query(bind(params)).map_err(map)?;
        let mut out = None;
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let cells: Result<Row> =
                        (0..meta.columns.len()).map(|i| value(row.get_ref(i).map_err(map)?)).collect();
                    out = Some(cells?);
                }
                Ok(None) => return Ok(Ok(out)),
                Err(e) => return Ok(Err(e)),
            }
        }
    }

    /// Checks what the base's own constraints can't see of a new row.
    fn inserted(&mut self, meta: &Arc<Meta>, row: &Row) -> Result<()> {
        if !self.layer.is_main() {
            for unique in &meta.physical.uniques {
                self.check_unique(meta, unique, row)?;
            }
        }
        for fk in &meta.physical.foreign {
            self.checks.child(meta, fk, row)?;
        }
        Ok(())
    }

    /// Gives an INTEGER PRIMARY KEY that was left out its value: larger than any that main ever had or
    /// that a branch was given, so that keys don't collide at a merge. A key that a statement on a branch
    /// names itself doesn't count, as it doesn't advance a sequence in PostgreSQL: the largest one there
    /// is would leave nobody a key.
    fn number(&mut self, meta: &Arc<Meta>, given: &mut Vec<(usize, Value)>) -> Result<()> {
        let Some(alias) = meta.physical.alias else { return Ok(()) };
        given.retain(|(i, v)| *i != alias || !v.is_null());
        if given.iter().any(|(i, _)| *i == alias) {
            return Ok(());
        }
        let last = self.last_key(meta)?;
        if self.layer.is_main() && last == 0 {
            // No branch ever handed out a key: SQLite's own numbering.
            return Ok(());
        }
        let mut next = self.largest_on_main(meta, alias)?.max(last);
        loop {
            next = next.checked_add(1).ok_or_else(|| {
                Error::new(
                    sqlstate::PROGRAM_LIMIT_EXCEEDED,
                    format!("table \"{}\" has no free keys left", meta.name()),
                )
            })?;
            if !self.is_named(meta, alias, next)? {
                break;
            }
        }
        self.counters.insert(meta.id(), next);
        given.push((alias, Value::Int(next)));
        Ok(())
    }

    /// Whether this branch has a row with this number, which only a statement that names it can have made.
    fn is_named(&self, meta: &Meta, alias: usize, number: i64) -> Result<bool> {
        if self.layer.is_main() {
            return Ok(false);
        }
        let sql = format!(
            "SELECT 1 FROM {} WHERE {LINEAGE} = ?1 AND {} = ?2",
            meta.overlay,
            quote(meta.column(alias)?)
        );
        self.conn.prepare_cached(&sql).and_then(|mut s| s.exists([self.layer.lineage.0, number])).map_err(map)
    }

    fn last_key(&self, meta: &Meta) -> Result<i64> {
        match self.counters.get(&meta.id()) {
            Some(last) => Ok(*last),
            None => self
                .conn
                .prepare_cached("SELECT last_key FROM epoch_registered WHERE id = ?1")
                .and_then(|mut s| s.query_row([meta.id().0], |r| r.get(0)))
                .map_err(map),
        }
    }

    /// Over the base, its AUTOINCREMENT counter, and the rows that main once had.
    fn largest_on_main(&self, meta: &Meta, alias: usize) -> Result<i64> {
        let number = quote(meta.column(alias)?);
        let counter = if meta.physical.ddl.autoincrement {
            ", coalesce((SELECT seq FROM main.sqlite_sequence WHERE name = ?1), 0)"
        } else {
            ", ?1 IS NULL"
        };
        let sql = format!(
            "SELECT max(coalesce((SELECT max({number}) FROM {}), 0), \
             coalesce((SELECT max({number}) FROM {} WHERE {LINEAGE} = 1 AND epoch_existed = 1), 0){counter})",
            meta.base, meta.history
        );
        self.conn.prepare_cached(&sql).and_then(|mut s| s.query_row([meta.name()], |r| r.get(0))).map_err(map)
    }

    fn save_counters(&mut self) -> Result<()> {
        for (id, last) in std::mem::take(&mut self.counters) {
            let sql = "UPDATE epoch_registered SET last_key = ?2 WHERE id = ?1 AND last_key < ?2";
            self.conn.prepare_cached(sql).and_then(|mut s| s.execute((id.0, last))).map_err(map)?;
            let Some(meta) = self.catalog.by_id.get(&id) else { continue };
            if meta.physical.ddl.autoincrement && !self.layer.is_main() {
                // A direct writer of main continues behind the keys of branches, too.
                let name = meta.name();
                let sql = "UPDATE main.sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
                let n = self.conn.execute(sql, (name, last)).map_err(map)?;
                if n == 0 {
                    let sql = "INSERT INTO main.sqlite_sequence (name, seq) VALUES (?1, ?2)";
                    self.conn.execute(sql, (name, last)).map_err(map)?;
                }
            }
        }
        Ok(())
    }

    /// Updates one row; on a branch after copying it up.
    pub(crate) fn update(&mut self, meta: &Arc<Meta>, key: &Row, set: &[(usize, Value)]) -> Result<u64> {
        self.copy_up(meta, key)?;
        if set.is_empty() {
            let (is_key, params) = self.is_key(meta, key);
            let sql = format!("SELECT 1 FROM {} WHERE {is_key}", self.target(meta));
            let found =
                self.conn.prepare_cached(&sql).and_then(|mut s| s.exists(bind(&params))).map_err(map)?;
            return Ok(u64::from(found));
        }
        let touched: Vec<usize> = set.iter().map(|(i, _)| *i).collect();
        let referrers = self.referrers(meta, Some(&touched))?;
        let before = if referrers.is_empty() { None } else { self.current(meta, key)? };
        let (is_key, mut key_params) = self.is_key(meta, key);
        let mut names = Vec::new();
        for (i, _) in set {
            names.push(format!("{} = ?", quote(meta.column(*i)?)));
        }
        let mut params: Vec<Value> = set.iter().map(|(_, v)| v.clone()).collect();
        params.append(&mut key_params);
        let sql = format!(
            "UPDATE{} {} SET {} WHERE {is_key} RETURNING {}",
            or_abort(meta),
            self.target(meta),
            names.join(", "),
            all_columns(meta)
        );
        let row = match self.returning(meta, &sql, &params)? {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(0),
            Err(e) => {
                let error = failed(meta, e, &self.known_after(meta, key, set));
                let fk = error.code() == sqlstate::FOREIGN_KEY_VIOLATION;
                let better = if fk { self.restricted(meta, &referrers, before.as_ref())? } else { None };
                return Err(better.unwrap_or(error));
            }
        };
        self.updated(meta, &touched, &row)?;
        if let Some(before) = before {
            self.parent_changed(meta, &referrers, &before, Some(&row))?;
        }
        self.affected(row);
        Ok(1)
    }

    fn updated(&mut self, meta: &Arc<Meta>, touched: &[usize], row: &Row) -> Result<()> {
        if !self.layer.is_main() {
            // Expressions, conditions and generated columns may depend on any column.
            let concerned = |u: &&Unique| {
                let simple = u.condition.is_none()
                    && u.parts.iter().all(|p| p.column.is_some_and(|c| meta.writable.contains(&c)));
                !simple || u.parts.iter().any(|p| p.column.is_some_and(|c| touched.contains(&c)))
            };
            for unique in meta.physical.uniques.iter().filter(concerned) {
                self.check_unique(meta, unique, row)?;
            }
        }
        for fk in &meta.physical.foreign {
            let indexes = meta.indexes(&fk.columns)?;
            if indexes.iter().any(|i| touched.contains(i)) {
                self.checks.child(meta, fk, row)?;
            }
        }
        Ok(())
    }

    /// The row that a failed update would have made, for the error's DETAIL.
    fn known_after(&self, meta: &Meta, key: &Row, set: &[(usize, Value)]) -> Known {
        let now = self.current(meta, key).ok().flatten();
        let mut row: Known = match now {
            Some(row) => row.into_iter().map(Some).collect(),
            None => vec![None; meta.columns.len()],
        };
        for (i, v) in set {
            if let Some(cell) = row.get_mut(*i) {
                *cell = Some(v.clone());
            }
        }
        row
    }

    /// Deletes one row; on a branch after copying it up, so that its image is kept.
    pub(crate) fn delete(&mut self, meta: &Arc<Meta>, key: &Row) -> Result<u64> {
        self.copy_up(meta, key)?;
        let referrers = self.referrers(meta, None)?;
        let wanted = !referrers.is_empty() || (self.returned.is_some() && self.depth == 0);
        let before = if wanted { self.current(meta, key)? } else { None };
        let (is_key, params) = self.is_key(meta, key);
        let sql = format!("DELETE FROM {} WHERE {is_key}", self.target(meta));
        let n = match self.conn.prepare_cached(&sql).and_then(|mut s| s.execute(bind(&params))) {
            Ok(n) => n,
            Err(e) => {
                let error = failed(meta, e, &key.iter().cloned().map(Some).collect());
                let fk = error.code() == sqlstate::FOREIGN_KEY_VIOLATION;
                let better = if fk { self.restricted(meta, &referrers, before.as_ref())? } else { None };
                return Err(better.unwrap_or(error));
            }
        };
        if let Some(before) = before.filter(|_| n > 0) {
            self.parent_changed(meta, &referrers, &before, None)?;
            self.affected(before);
        }
        u64::try_from(n).map_err(|e| Error::internal(e.to_string()))
    }

    /// Foreign keys that refer to this table, or to one of the touched columns of it.
    fn referrers(&self, meta: &Meta, touched: Option<&[usize]>) -> Result<Vec<Arc<Foreign>>> {
        let mut out = Vec::new();
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

    /// The row as it stands in the target.
    pub(crate) fn current(&self, meta: &Meta, key: &Row) -> Result<Option<Row>> {
        let (is_key, params) = self.is_key(meta, key);
        let sql = format!("SELECT {} FROM {} WHERE {is_key}", all_columns(meta), self.target(meta));
        self.returning(meta, &sql, &params)?.map_err(map)
    }

    /// What the branch sees of main, in this transaction.
    pub(crate) fn below(&mut self, meta: &Meta) -> Result<Arc<Vec<Arm>>> {
        if let Some(arms) = self.below.get(&meta.id()) {
            return Ok(Arc::clone(arms));
        }
        let moved = main_moved(self.conn, meta, self.layer.base)?;
        let arms = Arc::new(meta.below_for_write(self.layer, moved));
        self.below.insert(meta.id(), Arc::clone(&arms));
        Ok(arms)
    }

    /// Copies a row that the branch sees on main into the overlay and hides it below.
    pub(crate) fn copy_up(&mut self, meta: &Meta, key: &Row) -> Result<()> {
        if self.layer.is_main() {
            return Ok(());
        }
        let filter = Filter::key(meta, key);
        let mut names = Vec::new();
        for i in &meta.writable {
            names.push(meta.column(*i)?);
        }
        let lineage = self.layer.lineage.0;
        for arm in self.below(meta)?.iter() {
            let what = format!("{}, {lineage}, 1", list("x", names.iter().copied()));
            let (select, params) = arm.select(&what, &filter, None);
            let sql = format!(
                "INSERT INTO {} ({}, {LINEAGE}, epoch_copied) {select}",
                meta.overlay,
                list("", names.iter().copied())
            );
            let n = self
                .conn
                .prepare_cached(&sql)
                .and_then(|mut s| s.execute(bind(&params)))
                .map_err(|e| failed(meta, e, &key.iter().cloned().map(Some).collect()))?;
            if n > 0 {
                // The key as it was stored, which may differ in case from the key that was asked for.
                let keys = list("", meta.key.iter().map(String::as_str));
                let (is_key, params) = self.is_key(meta, key);
                let sql = format!(
                    "INSERT INTO {} ({LINEAGE}, {keys}) SELECT {LINEAGE}, {keys} FROM {} WHERE {is_key}",
                    meta.mask, meta.overlay
                );
                self.conn.prepare_cached(&sql).and_then(|mut s| s.execute(bind(&params))).map_err(map)?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// 23505 if a row below the overlay has the same values in a unique constraint.
    fn check_unique(&mut self, meta: &Arc<Meta>, unique: &Unique, row: &Row) -> Result<()> {
        let Some(filter) = self.unique_filter(meta, unique, row)? else { return Ok(()) };
        for arm in self.below(meta)?.iter() {
            let (sql, params) = arm.select("1", &filter, None);
            let hit =
                self.conn.prepare_cached(&sql).and_then(|mut s| s.exists(bind(&params))).map_err(map)?;
            if hit {
                return Err(duplicate(meta, unique, &row.iter().cloned().map(Some).collect()));
            }
        }
        Ok(())
    }

    /// The condition that a colliding row meets; `None` if nothing can collide with this one.
    fn unique_filter(&self, meta: &Meta, unique: &Unique, row: &Row) -> Result<Option<Filter>> {
        let simple = unique.condition.is_none() && unique.parts.iter().all(|p| p.column.is_some());
        let values: Row = if simple {
            unique.parts.iter().filter_map(|p| p.column.and_then(|i| row.get(i)).cloned()).collect()
        } else {
            match self.evaluate(meta, unique, row)? {
                Some(values) => values,
                None => return Ok(None),
            }
        };
        if values.iter().any(Value::is_null) {
            return Ok(None);
        }
        let part = |p: &crate::meta::Part| {
            let x = if p.column.is_some() { "x." } else { "" };
            format!("{x}{} COLLATE {} = ?", p.sql, quote(&p.collation))
        };
        let mut sql: Vec<_> = unique.parts.iter().map(part).collect();
        sql.extend(unique.condition.as_ref().map(|c| format!("({c})")));
        let keyed = unique.parts.first().and_then(|p| p.column) == meta.def.schema.key.first().copied();
        Ok(Some(Filter { sql, params: values, keyed }))
    }

    /// What a row has in the expressions of an index; `None` if the index's WHERE leaves it out.
    fn evaluate(&self, meta: &Meta, unique: &Unique, row: &Row) -> Result<Option<Row>> {
        let parts: Vec<_> = unique.parts.iter().map(|p| p.sql.as_str()).collect();
        let condition = unique.condition.as_deref().unwrap_or("1");
        let (is_key, params) = self.is_key(meta, &meta.def.schema.key_of(row));
        let sql =
            format!("SELECT {} FROM {} WHERE {is_key} AND ({condition})", parts.join(", "), meta.overlay);
        let mut stmt = self.conn.prepare_cached(&sql).map_err(map)?;
        stmt.query_row(bind(&params), |r| {
            Ok((0..parts.len()).map(|i| value(r.get_ref(i)?).map_err(rusqlite_user)).collect())
        })
        .optional()
        .map_err(map)?
        .transpose()
        .map_err(map)
    }
}

fn rusqlite_user(e: Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(e))
}

/// A table whose DDL says `UNIQUE ON CONFLICT REPLACE` would turn an INSERT into an upsert. Only said
/// where it is needed, since it also overrides what the user's triggers say.
fn or_abort(meta: &Meta) -> &'static str {
    if meta.physical.ddl.conflict_clauses { " OR ABORT" } else { "" }
}

/// All columns, quoted, in order.
pub(crate) fn all_columns(meta: &Meta) -> String {
    list("", meta.columns.iter().map(String::as_str))
}

/// Whether a lineage has a layer of a table.
pub(crate) fn layer_exists(conn: &Connection, table: TableId, layer: Layer) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM epoch_lineage WHERE table_id = ?1 AND lineage = ?2")
        .and_then(|mut s| s.exists([table.0, layer.lineage.0]))
        .map_err(map)
}
