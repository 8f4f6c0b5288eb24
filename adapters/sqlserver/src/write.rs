//! Keyed writes: natively on main, by copy-up and overlay on a branch.

use std::sync::Arc;

use epoch_adapter::{Error, Layer, Result, Row, RowWrite, TableDef, TableId, Value};
use epoch_layers::errors::Known;
use epoch_layers::foreign::{Checks, values_of};
use epoch_layers::view::{Filter, union};

use crate::constraint::{duplicate, failed};
use crate::ddl::key_column_sql;
use crate::error::{CONFLICT, number};
use crate::foreign::equal;
use crate::layer::stamp;
use crate::layout::{LINEAGE, list, quote};
use crate::meta::{Catalog, Meta};
use crate::number::next_number;
use crate::physical::{Foreign, Unique};
use crate::pool::Session;
use crate::types::{Kind, bare, kind_of};

/// PostgreSQL's code of a character that an encoding doesn't have.
const UNTRANSLATABLE: &str = "22P05";

/// Writes to the working rows of one layer, inside a transaction of the session. Of a branch it has the turn.
pub(crate) struct Writer<'a> {
    pub session: &'a mut Session,
    pub catalog: Arc<Catalog>,
    pub layer: Layer,
    pub checks: Checks<Foreign>,
    /// Whether rows of main are locked as they are read; else the transaction's snapshot tells if they changed.
    pub locking: bool,
    /// Rows that a merge made must end up exactly as it computed them.
    pub exact: bool,
    /// The rows that the writes affect, if they are wanted.
    pub returned: Option<Vec<Row>>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(session: &'a mut Session, catalog: Arc<Catalog>, layer: Layer) -> Self {
        let checks = Checks::default();
        Self { session, catalog, layer, checks, locking: false, exact: false, returned: None }
    }

    /// Applies writes in order, then checks the foreign keys that are due at the end of a statement.
    pub(crate) async fn write(&mut self, table: &TableDef, writes: &[RowWrite]) -> Result<u64> {
        let meta = self.catalog.get(table)?;
        stamp(self.session, meta.id(), self.layer).await?;
        let affected = self.write_all(&meta, writes).await?;
        self.check_now().await?;
        Ok(affected)
    }

    /// Applies writes in order.
    pub(crate) async fn write_all(&mut self, meta: &Arc<Meta>, writes: &[RowWrite]) -> Result<u64> {
        let mut affected = 0;
        for write in writes {
            affected += match write {
                RowWrite::Insert(cells) => self.insert(meta, cells).await?,
                RowWrite::Update { key, set } => self.update(meta, key, set).await?,
                RowWrite::Delete { key } => self.delete(meta, key).await?,
            };
        }
        Ok(affected)
    }

    /// The table that rows are written to.
    fn target<'m>(&self, meta: &'m Meta) -> &'m str {
        if self.layer.is_main() { &meta.base } else { &meta.overlay }
    }

    /// `key = ?` in the target, and its parameters.
    fn is_key(&self, meta: &Meta, alias: &str, key: &Row) -> (String, Vec<Value>) {
        if self.layer.is_main() {
            return (meta.is_key(alias), key.clone());
        }
        let dot = if alias.is_empty() { String::new() } else { format!("{alias}.") };
        let params = std::iter::once(Value::Int(self.layer.lineage.0)).chain(key.iter().cloned()).collect();
        (format!("{dot}{LINEAGE} = ? AND {}", meta.is_key(alias)), params)
    }

    async fn insert(&mut self, meta: &Arc<Meta>, cells: &[Option<Value>]) -> Result<u64> {
        if cells.len() != meta.columns.len() {
            return Err(Error::internal("an inserted row has the wrong number of cells"));
        }
        let mut given: Vec<(usize, Value)> =
            meta.writable.iter().filter_map(|&i| Some((i, cells.get(i)?.clone()?))).collect();
        self.number(meta, &mut given).await?;
        self.translatable(meta, &given).await?;
        let mut known: Known = vec![None; meta.columns.len()];
        for (i, v) in &given {
            if let Some(cell) = known.get_mut(*i) {
                *cell = Some(v.clone());
            }
        }
        let needed = !self.layer.is_main() || self.returned.is_some();
        let (sql, params) = insert_sql(meta, self.layer, &given, needed)?;
        if !needed {
            let done = self.session.raw_exec(&sql, &params).await?;
            done.map_err(|e| failed(&self.catalog, meta, e, &known))?;
            return Ok(1);
        }
        let rows = self.session.raw_rows(&sql, &params).await?;
        let rows = rows.map_err(|e| failed(&self.catalog, meta, e, &known))?;
        let mut row = rows.into_iter().next().ok_or_else(|| {
            Error::unsupported(format!("a trigger of \"{}\" that changes keys", meta.name()))
        })?;
        let row = meta.read_row(&mut row, 0)?;
        self.inserted(meta, &row).await?;
        self.affected(row);
        Ok(1)
    }

    fn affected(&mut self, row: Row) {
        self.returned.iter_mut().for_each(|rows| rows.push(row.clone()));
    }

    /// Checks what the target's own constraints can't see of a new row.
    async fn inserted(&mut self, meta: &Arc<Meta>, row: &Row) -> Result<()> {
        if self.layer.is_main() {
            return Ok(());
        }
        for unique in &meta.uniques {
            self.check_unique(meta, unique, row).await?;
        }
        for fk in &meta.physical.foreign {
            self.checks.child(fk, values_of(meta, &fk.columns, row)?);
        }
        Ok(())
    }

    /// Gives an IDENTITY column that was left out its value: larger than any that main ever had or that a branch was
    /// given. Main numbers its rows itself as long as no branch did.
    async fn number(&mut self, meta: &Meta, given: &mut Vec<(usize, Value)>) -> Result<()> {
        let Some(at) = meta.identity() else { return Ok(()) };
        given.retain(|(i, v)| *i != at || !v.is_null());
        if given.iter().any(|(i, _)| *i == at) {
            return Ok(());
        }
        let table = [Value::Int(meta.id().0)];
        if self.layer.is_main() {
            let sql = "SELECT 1 FROM [epoch].[epoch_number] WHERE table_id = ?";
            if !self.session.exists(sql, &table).await? {
                return Ok(());
            }
        }
        loop {
            let next = next_number(&self.session.pool, meta).await?;
            if !self.is_named(meta, at, next).await? {
                let kind = meta.kinds.get(at).copied();
                let digits = matches!(kind, Some(Kind::Decimal(..)));
                given.push((at, if digits { Value::Text(next.to_string()) } else { Value::Int(next) }));
                return Ok(());
            }
        }
    }

    /// Whether this branch has a row with this number, which only a statement that names it can have made.
    async fn is_named(&mut self, meta: &Meta, column: usize, number: i64) -> Result<bool> {
        if self.layer.is_main() {
            return Ok(false);
        }
        let sql = format!(
            "SELECT TOP (1) 1 FROM {} WHERE {LINEAGE} = ? AND {} = ?",
            meta.overlay,
            quote(meta.column(column)?)
        );
        self.session.exists(&sql, &[Value::Int(self.layer.lineage.0), Value::Int(number)]).await
    }

    /// 22P05 for characters that a column's code page doesn't have: the server would put question marks in their place.
    async fn translatable(&mut self, meta: &Meta, given: &[(usize, Value)]) -> Result<()> {
        for (i, value) in given {
            let (Some(column), Value::Text(text)) = (meta.def.schema.columns.get(*i), value) else {
                continue;
            };
            if text.is_ascii() || !matches!(kind_of(column), Kind::Text { .. }) {
                continue;
            }
            let Some(sql) = translated_sql(&column.type_name) else { continue };
            if self.session.exists(&sql, &[value.clone(), value.clone()]).await? {
                let message = format!(
                    "a value of column \"{}\" has characters that its code page does not have",
                    column.name
                );
                return Err(Error::new(UNTRANSLATABLE, message)
                    .with_detail(format!("The column's type is {}.", column.type_name))
                    .with_table(meta.name())
                    .with_column(column.name.as_str()));
            }
        }
        Ok(())
    }

    /// Updates one row; on a branch after copying it up.
    async fn update(&mut self, meta: &Arc<Meta>, key: &Row, set: &[(usize, Value)]) -> Result<u64> {
        self.copy_up(meta, key).await?;
        let Some(before) = self.current(meta, key).await? else { return Ok(0) };
        let set = changed(meta, &before, set)?;
        self.translatable(meta, &set).await?;
        let touched: Vec<usize> = set.iter().map(|(i, _)| *i).collect();
        let referrers = self.referrers(meta, Some(&touched))?;
        if !set.is_empty() {
            let (is_key, key_params) = self.is_key(meta, "", key);
            let mut names = Vec::new();
            for (i, _) in &set {
                names.push(format!("{} = {}", quote(meta.column(*i)?), meta.written(*i)));
            }
            let params: Vec<Value> = set.iter().map(|(_, v)| v.clone()).chain(key_params).collect();
            let sql = format!("UPDATE {} SET {} WHERE {is_key}", self.target(meta), names.join(", "));
            if let Err(e) = self.session.raw_exec(&sql, &params).await? {
                // A parent that is still referred to is named by what it was.
                let row = match number(&e) {
                    Some(CONFLICT) if e.to_string().contains("REFERENCE constraint") => {
                        before.iter().cloned().map(Some).collect()
                    }
                    _ => after(&before, &set),
                };
                return Err(failed(&self.catalog, meta, e, &row));
            }
        }
        let new_key: Row = key_after(meta, key, &set);
        let row = match self.current(meta, &new_key).await? {
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

    async fn updated(&mut self, meta: &Arc<Meta>, touched: &[usize], row: &Row) -> Result<()> {
        if self.layer.is_main() {
            return Ok(());
        }
        // Computed columns and conditions may depend on any column.
        let concerned = |u: &&Unique| {
            u.filter.is_some() || u.columns.iter().any(|c| touched.contains(c) || !meta.writable.contains(c))
        };
        for unique in meta.uniques.iter().filter(concerned) {
            self.check_unique(meta, unique, row).await?;
        }
        for fk in &meta.physical.foreign {
            if meta.indexes(&fk.columns)?.iter().any(|i| touched.contains(i)) {
                self.checks.child(fk, values_of(meta, &fk.columns, row)?);
            }
        }
        Ok(())
    }

    /// Deletes one row; on a branch after copying it up, so that its image is kept.
    async fn delete(&mut self, meta: &Arc<Meta>, key: &Row) -> Result<u64> {
        self.copy_up(meta, key).await?;
        let referrers = self.referrers(meta, None)?;
        let of_main = !self.catalog.referrers(&meta.base).is_empty();
        let wanted = !referrers.is_empty() || self.returned.is_some() || of_main;
        let before = if wanted { self.current(meta, key).await? } else { None };
        let (is_key, params) = self.is_key(meta, "", key);
        let sql = format!("DELETE FROM {} WHERE {is_key}", self.target(meta));
        let n = match self.session.raw_exec(&sql, &params).await? {
            Ok(n) => n,
            Err(e) => {
                let row = before.unwrap_or_default().into_iter().map(Some).collect();
                return Err(failed(&self.catalog, meta, e, &row));
            }
        };
        if let Some(before) = before.filter(|_| n > 0) {
            for fk in &referrers {
                self.checks.parent(fk, values_of(meta, &fk.parent_columns, &before)?, None);
            }
            self.affected(before);
        }
        Ok(n)
    }

    /// Foreign keys that refer to this table, or to one of the touched columns of it, and that we check.
    fn referrers(&self, meta: &Meta, touched: Option<&[usize]>) -> Result<Vec<Arc<Foreign>>> {
        let mut out = Vec::new();
        if self.layer.is_main() {
            return Ok(out);
        }
        for fk in self.catalog.referrers(&meta.base) {
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
    pub(crate) async fn current(&mut self, meta: &Meta, key: &Row) -> Result<Option<Row>> {
        let (is_key, params) = self.is_key(meta, "x", key);
        let lock = if self.locking && self.layer.is_main() { " WITH (UPDLOCK, ROWLOCK)" } else { "" };
        let sql = format!("SELECT {} FROM {} AS x{lock} WHERE {is_key}", meta.row("x"), self.target(meta));
        match self.session.rows(&sql, &params).await?.first_mut() {
            Some(row) => meta.read_row(row, 0).map(Some),
            None => Ok(None),
        }
    }

    /// What the branch sees of main in rows that meet a condition.
    pub(crate) async fn below(&mut self, meta: &Meta, filter: &Filter) -> Result<Option<Row>> {
        let arms = meta.below_for_write(self.layer, true);
        let (sql, params) = union(&arms, &meta.row("x"), filter, Some(1));
        match self.session.rows(&sql, &params).await?.first_mut() {
            Some(row) => meta.read_row(row, 0).map(Some),
            None => Ok(None),
        }
    }

    /// Copies a row that the branch sees on main into the overlay and hides it below. The transaction has a snapshot, so
    /// nobody's row is locked by it.
    async fn copy_up(&mut self, meta: &Meta, key: &Row) -> Result<()> {
        if self.layer.is_main() {
            return Ok(());
        }
        let [(rows, row_params), (mask, mask_params)] = copy_up_sql(meta, self.layer, key);
        let done = self.session.raw_exec(&rows, &row_params).await?;
        let copied = done.map_err(|e| failed(&self.catalog, meta, e, &Vec::new()))?;
        if copied > 0 {
            self.session.exec(&mask, &mask_params).await?;
        }
        Ok(())
    }

    /// 23505 if a row below the overlay has the same values in a unique index.
    async fn check_unique(&mut self, meta: &Arc<Meta>, unique: &Unique, row: &Row) -> Result<()> {
        let values: Row = unique.columns.iter().filter_map(|c| row.get(*c).cloned()).collect();
        let mut filter = equal(meta, &unique.columns, &values)?;
        if let Some(condition) = &unique.filter {
            let (is_key, params) = self.is_key(meta, "", &meta.def.schema.key_of(row));
            let sql = format!("SELECT 1 FROM {} WHERE {is_key} AND {condition}", self.target(meta));
            if !self.session.exists(&sql, &params).await? {
                return Ok(());
            }
            filter.sql.push(condition.clone());
        }
        if self.below(meta, &filter).await?.is_some() {
            return Err(duplicate(meta, unique, &row.iter().cloned().map(Some).collect()));
        }
        Ok(())
    }
}

/// A table, and those that writers of it look at.
pub(crate) fn turns(catalog: &Catalog, table: TableId) -> Vec<TableId> {
    let mut tables = catalog.related(table);
    tables.push(table);
    tables.sort_unstable();
    tables
}

/// The INSERT of one row; with `returned`, a batch whose result is the row as it is then. A table with triggers returns
/// rows only by way of a variable.
pub(crate) fn insert_sql(
    meta: &Meta,
    layer: Layer,
    given: &[(usize, Value)],
    returned: bool,
) -> Result<(String, Vec<Value>)> {
    let target = if layer.is_main() { &meta.base } else { &meta.overlay };
    let mut columns: Vec<&str> = Vec::new();
    for (i, _) in given {
        columns.push(meta.column(*i)?);
    }
    let mut marks: Vec<_> = given.iter().map(|(i, _)| meta.written(*i)).collect();
    let mut params: Vec<Value> = given.iter().map(|(_, v)| v.clone()).collect();
    if !layer.is_main() {
        columns.push(LINEAGE);
        marks.push("?".to_owned());
        params.push(Value::Int(layer.lineage.0));
    }
    let keys = meta.key_columns("");
    let output = match returned {
        true => format!(" OUTPUT {} INTO @epoch_new ({keys})", meta.key_columns("inserted")),
        false => String::new(),
    };
    let insert = match columns.is_empty() {
        true => format!("INSERT INTO {target}{output} DEFAULT VALUES"),
        false => format!(
            "INSERT INTO {target} ({}){output} VALUES ({})",
            list("", columns.iter().copied()),
            marks.join(", ")
        ),
    };
    let numbered = layer.is_main() && meta.identity().is_some_and(|at| given.iter().any(|(i, _)| *i == at));
    let insert = match numbered {
        true => format!("SET IDENTITY_INSERT {target} ON; {insert}; SET IDENTITY_INSERT {target} OFF"),
        false => insert,
    };
    if !returned {
        return Ok((insert, params));
    }
    let variable: Vec<_> = meta.def.schema.key_columns().map(key_column_sql).collect();
    let same = crate::layout::equal(&meta.key, "x", "o");
    let own = match layer.is_main() {
        true => String::new(),
        false => format!(" WHERE x.{LINEAGE} = {}", layer.lineage.0),
    };
    let select = format!("SELECT {} FROM {target} AS x JOIN @epoch_new AS o ON {same}{own}", meta.row("x"));
    Ok((format!("DECLARE @epoch_new TABLE ({}); {insert}; {select}", variable.join(", ")), params))
}

/// The statements of a copy-up: the row, then its key as it was stored, which may differ in case from the one that was
/// asked for.
pub(crate) fn copy_up_sql(meta: &Meta, layer: Layer, key: &Row) -> [(String, Vec<Value>); 2] {
    let lineage = layer.lineage.0;
    let names: Vec<&str> =
        meta.writable.iter().filter_map(|i| meta.columns.get(*i).map(String::as_str)).collect();
    let what = format!("{}, {lineage}, 1", list("x", names.iter().copied()));
    let arms = meta.below_for_write(layer, true);
    let (rows, params) = union(&arms, &what, &Filter::key(meta, key), None);
    let own = list("", names);
    let keys = meta.key_columns("");
    let mask = format!(
        "INSERT INTO {} ({keys}, {LINEAGE}) SELECT {}, {lineage} FROM {} AS x WHERE x.{LINEAGE} = {lineage} AND {}",
        meta.mask,
        meta.key_columns("x"),
        meta.overlay,
        meta.is_key("x")
    );
    [
        (format!("INSERT INTO {} ({own}, {LINEAGE}, epoch_copied) {rows}", meta.overlay), params),
        (mask, key.clone()),
    ]
}

/// A query with a row if a text is another one in a column's code page.
fn translated_sql(type_name: &str) -> Option<String> {
    let (_, collation) = type_name.split_once(" COLLATE ")?;
    let plain = collation.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain.then(|| {
        format!(
            "SELECT 1 WHERE CAST(CAST(? COLLATE {collation} AS varchar(max)) AS nvarchar(max)) \
             COLLATE Latin1_General_100_BIN2 <> CAST(? AS nvarchar(max)) COLLATE Latin1_General_100_BIN2"
        )
    })
}

/// What an update changes, without an IDENTITY column that stays as it is: the server lets nobody set one. 428C9 for
/// another value.
fn changed(meta: &Meta, before: &Row, set: &[(usize, Value)]) -> Result<Vec<(usize, Value)>> {
    let Some(at) = meta.identity() else { return Ok(set.to_vec()) };
    if set.iter().any(|(i, v)| *i == at && before.get(at) != Some(v)) {
        let name = meta.column(at)?;
        let ty = meta.def.schema.columns.get(at).map_or("?", |c| bare(&c.type_name));
        return Err(Error::new("428C9", format!("column \"{name}\" can only be updated to DEFAULT"))
            .with_detail(format!("Column \"{name}\" is an IDENTITY column of type {ty}."))
            .with_table(meta.name())
            .with_column(name));
    }
    Ok(set.iter().filter(|(i, _)| *i != at).cloned().collect())
}

fn key_after(meta: &Meta, key: &Row, set: &[(usize, Value)]) -> Row {
    let one = |(n, column): (usize, &usize)| {
        let new = set.iter().find(|(i, _)| i == column).map(|(_, v)| v);
        new.or_else(|| key.get(n)).cloned().unwrap_or(Value::Null)
    };
    meta.def.schema.key.iter().enumerate().map(one).collect()
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
