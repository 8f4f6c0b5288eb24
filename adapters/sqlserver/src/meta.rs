//! What we know of registered tables beyond their [`TableDef`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use epoch_adapter::{Error, Result, TableDef, TableId, sqlstate};
use epoch_layers::errors;
use epoch_layers::view::{Dialect, Places};
use tiberius::ColumnData;

use crate::layout::{base, history, mask, overlay, schema, shown};
use crate::physical::{self, Foreign, Physical, Unique};
use crate::pool::{Cells, Session, text};
use crate::types::{Kind, kind_of, mark, read_as, written};

/// Bytes that a key may have beside the lineage and an ordinal, in an index of any kind and in a clustered one.
const KEY_BYTES: i64 = 1_700 - 16;
const CLUSTERED_BYTES: i64 = 900 - 16;

/// A registered table with all that reads and writes need.
#[derive(Debug)]
pub(crate) struct Meta {
    pub def: TableDef,
    pub physical: Physical,
    /// Where its rows are.
    pub places: Places,
    /// The kinds of all columns.
    pub kinds: Vec<Kind>,
    /// Columns that can be written.
    pub writable: Vec<usize>,
    pub uniques: Vec<Unique>,
    /// How the table isn't what it was at its registration.
    pub drift: Option<String>,
    shown: String,
}

impl std::ops::Deref for Meta {
    type Target = Places;
    fn deref(&self) -> &Places {
        &self.places
    }
}

impl Meta {
    pub(crate) fn new(def: TableDef, physical: Physical) -> Self {
        let kinds: Vec<_> = def.schema.columns.iter().map(kind_of).collect();
        let cast = |(i, c): (usize, &epoch_adapter::Column)| Some((i, read_as(&c.type_name)?));
        let places = Places {
            dialect: Dialect::SqlServer,
            base: base(&def),
            overlay: overlay(def.id),
            mask: mask(def.id),
            history: history(def.id),
            columns: def.schema.columns.iter().map(|c| c.name.clone()).collect(),
            key: def.schema.key_names(),
            marks: def.schema.key_columns().map(mark).collect(),
            read_as: def.schema.columns.iter().enumerate().filter_map(cast).collect(),
        };
        let writable =
            def.schema.columns.iter().enumerate().filter(|(_, c)| !c.generated).map(|(i, _)| i).collect();
        let uniques = by_def(&def, &physical);
        let shown = shown(schema(&def.location), &def.location.table);
        Self { drift: drift(&def, &physical), places, kinds, writable, uniques, physical, shown, def }
    }

    pub(crate) fn id(&self) -> TableId {
        self.def.id
    }

    /// The name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.shown
    }

    pub(crate) fn column(&self, i: usize) -> Result<&str> {
        let name = self.columns.get(i).map(String::as_str);
        name.ok_or_else(|| Error::internal("a column index is out of range"))
    }

    /// What stands for the value that is written to a column.
    pub(crate) fn written(&self, i: usize) -> String {
        self.def.schema.columns.get(i).map_or_else(|| "?".to_owned(), |c| written(&c.type_name))
    }

    /// All columns, quoted, in order: where they are written to.
    pub(crate) fn all_columns(&self, alias: &str) -> String {
        crate::layout::list(alias, self.columns.iter().map(String::as_str))
    }

    /// The key's columns, quoted.
    pub(crate) fn key_columns(&self, alias: &str) -> String {
        crate::layout::list(alias, self.key.iter().map(String::as_str))
    }

    /// What is selected of a key.
    pub(crate) fn key_cells(&self, alias: &str) -> String {
        self.cells(alias, &self.def.schema.key)
    }

    /// A row of all columns out of a result.
    pub(crate) fn read_row(&self, row: &mut Cells, from: usize) -> Result<epoch_adapter::Row> {
        let cell = |(i, kind): (usize, &Kind)| crate::types::read(*kind, take(row, from + i)?);
        self.kinds.iter().enumerate().map(cell).collect()
    }

    /// A key out of a result.
    pub(crate) fn read_key(&self, row: &mut Cells, from: usize) -> Result<epoch_adapter::Row> {
        let kinds = self.def.schema.key.iter().map(|i| self.kinds.get(*i).copied().unwrap_or(Kind::Xml));
        kinds.enumerate().map(|(n, kind)| crate::types::read(kind, take(row, from + n)?)).collect()
    }

    /// The column that the server numbers.
    pub(crate) fn identity(&self) -> Option<usize> {
        let name = &self.physical.columns.iter().find(|c| c.identity)?.name;
        self.columns.iter().position(|c| c == name)
    }

    /// How many bytes keys may have; -1 without a limit.
    fn key_bytes(&self) -> i64 {
        let one = |name: &String| {
            let column = self.physical.columns.iter().find(|c| c.name == *name);
            column.map_or(-1, |c| c.bytes)
        };
        self.key.iter().map(one).try_fold(0, |sum, n| (n >= 0).then_some(sum + n)).unwrap_or(-1)
    }

    /// Whether the key fits into an index that holds the rows.
    pub(crate) fn clustered(&self) -> &'static str {
        if (0..=CLUSTERED_BYTES).contains(&self.key_bytes()) { "CLUSTERED" } else { "NONCLUSTERED" }
    }

    /// Why our tables can't have the key.
    pub(crate) fn key_obstacle(&self) -> Option<String> {
        let fits = (0..=KEY_BYTES).contains(&self.key_bytes());
        (!fits).then(|| format!("its key may have more than {KEY_BYTES} bytes"))
    }
}

/// The raw value of a column of a result.
pub(crate) fn take(row: &mut Cells, at: usize) -> Result<ColumnData<'static>> {
    let cell = row.get_mut(at).ok_or_else(|| Error::internal("sqlserver: a result has too few columns"))?;
    Ok(std::mem::replace(cell, ColumnData::Bit(None)))
}

/// The unique indexes, with columns as the registration counts them.
fn by_def(def: &TableDef, physical: &Physical) -> Vec<Unique> {
    let place = |i: &usize| {
        let name = &physical.columns.get(*i)?.name;
        def.schema.columns.iter().position(|c| c.name == *name)
    };
    let one = |unique: Unique| {
        let columns: Option<Vec<usize>> = unique.columns.iter().map(place).collect();
        Some(Unique { columns: columns?, ..unique })
    };
    physical.uniques().into_iter().filter_map(one).collect()
}

/// Compares a table with its registration: history and overlays are made for those columns.
fn drift(def: &TableDef, now: &Physical) -> Option<String> {
    for column in &def.schema.columns {
        let name = &column.name;
        let Some(found) = now.columns.iter().find(|c| c.name == *name) else {
            return Some(format!("column \"{name}\" was dropped or renamed"));
        };
        if found.type_name != column.type_name {
            let (was, is) = (&column.type_name, &found.type_name);
            return Some(format!("column \"{name}\" has the type \"{is}\", no longer \"{was}\""));
        }
        if found.computed.is_some() != column.generated {
            let verb = if found.computed.is_some() { "became" } else { "is no longer" };
            return Some(format!("column \"{name}\" {verb} computed"));
        }
    }
    if let Some(new) = now.columns.iter().find(|c| def.schema.columns.iter().all(|o| o.name != c.name)) {
        return Some(format!("column \"{}\" was added", new.name));
    }
    if let Some(why) = now.obstacle() {
        return Some(why);
    }
    let key = &def.schema.key;
    let is_key = |u: &Unique| {
        u.filter.is_none() && u.columns.len() == key.len() && u.columns.iter().all(|c| key.contains(c))
    };
    let unique = by_def(def, now).iter().any(is_key);
    (!unique).then(|| format!("the key ({}) is no longer unique", def.schema.key_names().join(", ")))
}

/// All registered tables, and who refers to whom.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// When it was read.
    pub at: Instant,
    pub by_id: HashMap<TableId, Arc<Meta>>,
    /// Registered tables that the user dropped.
    pub dropped: HashSet<TableId>,
    /// Tables whose triggers or rows were changed past us, and how.
    pub gaps: HashMap<TableId, String>,
    /// Tables that lost rows, by what was known of them then: they aren't read again.
    pub lost: HashMap<TableId, (i64, String, i64)>,
    /// Forms in which tables were seen to have their rows while others wrote to them, so that it couldn't be noted: they
    /// aren't read again either.
    pub kept: HashMap<TableId, (String, String)>,
    pub by_name: HashMap<String, Arc<Meta>>,
    /// Foreign keys of all tables, by the parent's name.
    pub referrers: HashMap<String, Vec<Arc<Foreign>>>,
}

impl Catalog {
    /// 55000 if the table was never installed here.
    pub(crate) fn get(&self, table: &TableDef) -> Result<Arc<Meta>> {
        let name = shown(schema(&table.location), &table.location.table);
        if self.dropped.contains(&table.id) {
            return Err(errors::dropped(&name));
        }
        let meta =
            self.by_id.get(&table.id).ok_or_else(|| errors::not_registered(&name, "SQL Server database"))?;
        self.check(meta)?;
        Ok(Arc::clone(meta))
    }

    /// 55000 if a table was changed past us.
    pub(crate) fn check(&self, meta: &Meta) -> Result<()> {
        match meta.drift.as_ref().or_else(|| self.gaps.get(&meta.id())) {
            Some(reason) => Err(Error::drifted(&meta.def.name.to_string(), reason)),
            None => Ok(()),
        }
    }

    /// How a table was changed past us.
    pub(crate) fn drift(&self, table: TableId) -> Option<String> {
        match self.by_id.get(&table) {
            Some(meta) => meta.drift.as_ref().or_else(|| self.gaps.get(&table)).cloned(),
            None if self.dropped.contains(&table) => Some("the table was dropped or renamed".to_owned()),
            None => Some("its SQL Server database has no registration of it".to_owned()),
        }
    }

    /// A registered table by its quoted name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Meta>> {
        self.by_name.get(name)
    }

    pub(crate) fn referrers(&self, parent: &str) -> &[Arc<Foreign>] {
        self.referrers.get(parent).map_or(&[], Vec::as_slice)
    }

    /// The registered tables that foreign keys tie to this one, in either direction and over others.
    pub(crate) fn related(&self, table: TableId) -> Vec<TableId> {
        let mut found = vec![table];
        let mut next = 0;
        while let Some(meta) = found.get(next).and_then(|id| self.by_id.get(id)) {
            next += 1;
            let parents = meta.physical.foreign.iter().map(|fk| &fk.parent);
            let children = self.referrers(&meta.base).iter().map(|fk| &fk.child);
            for id in parents.chain(children).filter_map(|name| self.named(name)).map(|m| m.id()) {
                if !found.contains(&id) {
                    found.push(id);
                }
            }
        }
        found.retain(|id| *id != table);
        found
    }

    /// Reads everything; what was found out about lost rows `before` stays true.
    pub(crate) async fn load(session: &mut Session, before: Option<&Self>) -> Result<Self> {
        let mut out = Self {
            at: Instant::now(),
            by_id: HashMap::new(),
            dropped: HashSet::new(),
            gaps: HashMap::new(),
            lost: before.map(|c| c.lost.clone()).unwrap_or_default(),
            kept: before.map(|c| c.kept.clone()).unwrap_or_default(),
            by_name: HashMap::new(),
            referrers: HashMap::new(),
        };
        if !exists(session, "epoch_registered").await? {
            return Ok(out);
        }
        let mut tables = physical::read(session, None).await?;
        for fk in tables.values().flat_map(|t| &t.foreign) {
            out.referrers.entry(fk.parent.clone()).or_default().push(Arc::clone(fk));
        }
        let sql = "SELECT definition FROM [epoch].[epoch_registered]";
        for row in session.rows_of_a_snapshot(sql, &[]).await? {
            let def: TableDef = serde_json::from_str(&text(&row, 0).unwrap_or_default()).map_err(|e| {
                Error::new(sqlstate::DATA_CORRUPTED, format!("epoch_registered is damaged: {e}"))
            })?;
            let Some(physical) = tables.remove(&base(&def)) else {
                out.dropped.insert(def.id);
                continue;
            };
            let meta = Arc::new(Meta::new(def, physical));
            out.by_name.insert(meta.base.clone(), Arc::clone(&meta));
            out.by_id.insert(meta.id(), meta);
        }
        crate::drift::look(session, &mut out).await?;
        Ok(out)
    }
}

/// Whether one of our tables is in the database.
pub(crate) async fn exists(session: &mut Session, table: &str) -> Result<bool> {
    let name = crate::layout::qualified(crate::layout::SCHEMA, table);
    let sql = "SELECT CASE WHEN OBJECT_ID(?, N'U') IS NULL THEN 0 ELSE 1 END";
    Ok(session.number(sql, &[epoch_adapter::Value::Text(name)]).await? == Some(1))
}
