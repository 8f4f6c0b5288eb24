//! What we know of tables beyond their [`TableDef`], from the server's own catalog.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use epoch_adapter::{Error, Result, TableDef, TableId, sqlstate};
use epoch_layers::errors;
use epoch_layers::view::{Dialect, Places};
use mysql_async::Row;

use crate::layout::{PREFIX, base, history, mask, overlay};
use crate::pool::Session;
use crate::types::{Kind, kind, kind_of, mark};

/// The two servers of this protocol, where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    MariaDb,
    MySql,
}

impl Flavour {
    /// From what `version()` says.
    pub(crate) fn of(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") { Self::MariaDb } else { Self::MySql }
    }

    /// The relation with InnoDB's number of each table.
    pub(crate) fn tables(self) -> &'static str {
        match self {
            Self::MariaDb => "information_schema.INNODB_SYS_TABLES",
            Self::MySql => "information_schema.INNODB_TABLES",
        }
    }
}

/// A unique index, the primary key first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unique {
    /// The index.
    pub index: String,
    /// The name PostgreSQL would report.
    pub name: String,
    pub primary: bool,
    /// Its columns; `None` for one over an expression or the beginning of a value.
    pub columns: Option<Vec<usize>>,
}

/// An index as its table has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Index {
    pub name: String,
    pub unique: bool,
    /// `BTREE`, `HASH`, `FULLTEXT`, `SPATIAL` …
    pub kind: String,
    /// Column or expression in parentheses, quoted, and how much of it is indexed.
    pub parts: Vec<(String, Option<u64>)>,
    columns: Vec<Option<usize>>,
}

/// A foreign key, seen from the child.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Foreign {
    pub name: String,
    pub child: String,
    pub columns: Vec<String>,
    pub parent: String,
    pub parent_columns: Vec<String>,
    /// The action that writes to the child without firing triggers, e.g. `ON DELETE CASCADE`.
    pub cascade: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PhysicalColumn {
    pub name: String,
    /// What a column of the same type is made with.
    pub type_name: String,
    pub not_null: bool,
    pub default: Option<String>,
    pub generated: bool,
    pub auto: bool,
    /// `ON UPDATE CURRENT_TIMESTAMP`: set by the server with every change of a row that doesn't set it.
    pub on_update: bool,
}

/// A table as the catalog describes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Physical {
    pub name: String,
    pub engine: String,
    /// `BASE TABLE`, `VIEW`, `SYSTEM VERSIONED` …
    pub table_type: String,
    pub partitioned: bool,
    /// When the server last gave it its form.
    pub formed: String,
    /// Whether another change of its form would have another time.
    pub settled: bool,
    pub columns: Vec<PhysicalColumn>,
    pub uniques: Vec<Unique>,
    pub indexes: Vec<Index>,
    /// Names and conditions.
    pub checks: Vec<(String, String)>,
    pub foreign: Vec<Arc<Foreign>>,
}

impl Physical {
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// Why a table can't be registered although it has a key, or go on being registered.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let ours = |name: &str| name.to_ascii_lowercase().starts_with(PREFIX);
        let own = format!("names that start with {PREFIX} are Horizon Epoch's own");
        if ours(&self.name) {
            return Some(own);
        }
        if let Some(c) = self.columns.iter().find(|c| ours(&c.name)) {
            return Some(format!("column \"{}\": {own}", c.name));
        }
        if self.table_type != "BASE TABLE" {
            return Some(format!("it is a {}", self.table_type.to_ascii_lowercase()));
        }
        if !self.engine.eq_ignore_ascii_case("InnoDB") {
            return Some(format!("its engine is {}, which has no transactions as InnoDB's", self.engine));
        }
        if self.partitioned {
            let why = "it is partitioned, and partitions can be truncated without firing triggers";
            return Some(why.to_owned());
        }
        if let Some(c) = self.columns.iter().find(|c| kind(&c.type_name).is_none()) {
            let (name, ty) = (&c.name, &c.type_name);
            return Some(format!("column \"{name}\" has the type {ty}, which has no form here"));
        }
        let fk = self.foreign.iter().find(|fk| fk.cascade.is_some())?;
        let action = fk.cascade.as_deref().unwrap_or_default();
        Some(format!("foreign key {} has {action}, which changes rows without firing triggers", fk.name))
    }
}

fn text(row: &mut Row, at: usize) -> Option<String> {
    row.take_opt::<Option<String>, _>(at).and_then(Result::ok).flatten()
}

fn number(row: &mut Row, at: usize) -> Option<u64> {
    row.take_opt::<Option<u64>, _>(at).and_then(Result::ok).flatten()
}

/// All tables of the database, by name; of one only, if its name is given.
pub(crate) async fn read(
    session: &mut Session,
    flavour: Flavour,
    only: Option<&str>,
) -> Result<BTreeMap<String, Physical>> {
    let mut out = BTreeMap::new();
    let filter = |schema: &str| match only {
        Some(_) => format!("{schema} = DATABASE() AND TABLE_NAME = ?"),
        None => format!("{schema} = DATABASE()"),
    };
    let params: Vec<_> = only.map(|name| epoch_adapter::Value::Text(name.to_owned())).into_iter().collect();
    let sql = format!(
        "SELECT TABLE_NAME, TABLE_TYPE, coalesce(ENGINE, ''), coalesce(CREATE_OPTIONS, '') LIKE '%partitioned%', \
         CAST(CREATE_TIME AS CHAR), coalesce(CREATE_TIME, '2000-01-01') < NOW() - INTERVAL 2 SECOND \
         FROM information_schema.TABLES WHERE {} AND TABLE_TYPE <> 'SEQUENCE'",
        filter("TABLE_SCHEMA")
    );
    for mut row in session.rows(&sql, &params).await? {
        let name = text(&mut row, 0).unwrap_or_default();
        let table = Physical {
            table_type: text(&mut row, 1).unwrap_or_default(),
            engine: text(&mut row, 2).unwrap_or_default(),
            partitioned: number(&mut row, 3) == Some(1),
            formed: text(&mut row, 4).unwrap_or_default(),
            settled: number(&mut row, 5) == Some(1),
            name: name.clone(),
            ..Physical::default()
        };
        out.insert(name, table);
    }
    columns(session, &filter("TABLE_SCHEMA"), &params, &mut out).await?;
    indexes(session, flavour, &filter("TABLE_SCHEMA"), &params, &mut out).await?;
    checks(session, flavour, only, &params, &mut out).await?;
    for fk in
        foreign_keys(session, &filter("k.TABLE_SCHEMA").replace(" TABLE_NAME", " k.TABLE_NAME"), &params)
            .await?
    {
        if let Some(table) = out.get_mut(&fk.child) {
            table.foreign.push(Arc::new(fk));
        }
    }
    Ok(out)
}

async fn columns(
    session: &mut Session,
    filter: &str,
    params: &[epoch_adapter::Value],
    out: &mut BTreeMap<String, Physical>,
) -> Result<()> {
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, CHARACTER_SET_NAME, \
         COLLATION_NAME FROM information_schema.COLUMNS WHERE {filter} ORDER BY TABLE_NAME, ORDINAL_POSITION"
    );
    for mut row in session.rows(&sql, params).await? {
        let Some(table) = text(&mut row, 0).and_then(|name| out.get_mut(&name)) else { continue };
        let mut type_name = text(&mut row, 2).unwrap_or_default();
        let extra = text(&mut row, 5).unwrap_or_default().to_ascii_lowercase();
        if let (Some(charset), Some(collation)) = (text(&mut row, 6), text(&mut row, 7)) {
            // Addresses and numbers of MariaDB's have none of their own.
            if matches!(kind(&type_name), Some(Kind::Text | Kind::Enum)) || type_name.starts_with("set(") {
                type_name.push_str(&format!(" CHARACTER SET {charset} COLLATE {collation}"));
            }
        }
        table.columns.push(PhysicalColumn {
            name: text(&mut row, 1).unwrap_or_default(),
            not_null: text(&mut row, 3).as_deref() == Some("NO"),
            default: text(&mut row, 4).filter(|d| !d.eq_ignore_ascii_case("null")),
            // Not `DEFAULT_GENERATED`, which is a default.
            generated: extra.contains(" generated")
                || extra.contains("virtual")
                || extra.contains("persistent"),
            auto: extra.contains("auto_increment"),
            on_update: extra.contains("on update"),
            type_name,
        });
    }
    Ok(())
}

async fn indexes(
    session: &mut Session,
    flavour: Flavour,
    filter: &str,
    params: &[epoch_adapter::Value],
    out: &mut BTreeMap<String, Physical>,
) -> Result<()> {
    let expression = if flavour == Flavour::MySql { "EXPRESSION" } else { "NULL" };
    let sql = format!(
        "SELECT TABLE_NAME, INDEX_NAME, CAST(NON_UNIQUE AS UNSIGNED), COLUMN_NAME, CAST(SUB_PART AS UNSIGNED), INDEX_TYPE, \
         {expression} FROM information_schema.STATISTICS WHERE {filter} ORDER BY TABLE_NAME, INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
    );
    for mut row in session.rows(&sql, params).await? {
        let Some(table) = text(&mut row, 0).and_then(|name| out.get_mut(&name)) else { continue };
        let name = text(&mut row, 1).unwrap_or_default();
        let (column, part) = (text(&mut row, 3), number(&mut row, 4));
        let at = column.as_deref().and_then(|c| table.index_of(c));
        let sql = match (&column, text(&mut row, 6)) {
            (Some(column), _) => crate::layout::quote(column),
            (None, expression) => format!("({})", expression.unwrap_or_default()),
        };
        if table.indexes.last().is_none_or(|last| last.name != name) {
            table.indexes.push(Index {
                name,
                unique: number(&mut row, 2) == Some(0),
                kind: text(&mut row, 5).unwrap_or_default(),
                parts: Vec::new(),
                columns: Vec::new(),
            });
        }
        if let Some(index) = table.indexes.last_mut() {
            index.parts.push((sql, part));
            index.columns.push(at.filter(|_| part.is_none()));
        }
    }
    for table in out.values_mut() {
        let unique = |index: &Index| Unique {
            index: index.name.clone(),
            name: if index.name == "PRIMARY" { format!("{}_pkey", table.name) } else { index.name.clone() },
            primary: index.name == "PRIMARY",
            columns: index.columns.iter().copied().collect(),
        };
        table.uniques = table.indexes.iter().filter(|i| i.unique).map(unique).collect();
    }
    Ok(())
}

async fn checks(
    session: &mut Session,
    flavour: Flavour,
    only: Option<&str>,
    params: &[epoch_adapter::Value],
    out: &mut BTreeMap<String, Physical>,
) -> Result<()> {
    let named = if only.is_some() { "TABLE_NAME = ?" } else { "1 = 1" };
    let sql = match flavour {
        Flavour::MariaDb => format!(
            "SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE, LEVEL FROM information_schema.CHECK_CONSTRAINTS \
             WHERE CONSTRAINT_SCHEMA = DATABASE() AND {named}"
        ),
        Flavour::MySql => format!(
            "SELECT t.TABLE_NAME, c.CONSTRAINT_NAME, c.CHECK_CLAUSE, 'Table' FROM information_schema.CHECK_CONSTRAINTS AS c \
             JOIN information_schema.TABLE_CONSTRAINTS AS t ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA \
             AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME WHERE c.CONSTRAINT_SCHEMA = DATABASE() AND t.{named}"
        )
        .replace("t.1 = 1", "1 = 1"),
    };
    for mut row in session.rows(&sql, params).await? {
        let Some(table) = text(&mut row, 0).and_then(|name| out.get_mut(&name)) else { continue };
        let name = text(&mut row, 1).unwrap_or_default();
        let name = match text(&mut row, 3).as_deref() {
            Some("Column") => column_check(&table.name, &name),
            _ => name,
        };
        table.checks.push((name, text(&mut row, 2).unwrap_or_default()));
    }
    Ok(())
}

/// As PostgreSQL names the CHECK of a column.
pub(crate) fn column_check(table: &str, column: &str) -> String {
    format!("{table}_{column}_check")
}

async fn foreign_keys(
    session: &mut Session,
    filter: &str,
    params: &[epoch_adapter::Value],
) -> Result<Vec<Foreign>> {
    let sql = format!(
        "SELECT k.CONSTRAINT_NAME, k.TABLE_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, \
         r.DELETE_RULE, r.UPDATE_RULE FROM information_schema.KEY_COLUMN_USAGE AS k \
         JOIN information_schema.REFERENTIAL_CONSTRAINTS AS r ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA \
         AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME \
         WHERE {filter} AND k.REFERENCED_TABLE_NAME IS NOT NULL ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION"
    );
    let mut out: Vec<Foreign> = Vec::new();
    for mut row in session.rows(&sql, params).await? {
        let (name, child) = (text(&mut row, 0).unwrap_or_default(), text(&mut row, 1).unwrap_or_default());
        if out.last().is_none_or(|last| last.name != name || last.child != child) {
            let rule = |text: Option<String>, event: &str| {
                text.filter(|t| !matches!(t.as_str(), "RESTRICT" | "NO ACTION"))
                    .map(|t| format!("{event} {t}"))
            };
            let delete = rule(text(&mut row, 5), "ON DELETE");
            out.push(Foreign {
                cascade: delete.or_else(|| rule(text(&mut row, 6), "ON UPDATE")),
                name,
                child,
                columns: Vec::new(),
                parent: text(&mut row, 3).unwrap_or_default(),
                parent_columns: Vec::new(),
            });
        }
        if let Some(fk) = out.last_mut() {
            fk.columns.extend(text(&mut row, 2));
            fk.parent_columns.extend(text(&mut row, 4));
        }
    }
    Ok(out)
}

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
    /// How the table isn't what it was at its registration.
    pub drift: Option<String>,
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
        let places = Places {
            dialect: Dialect::Mysql,
            base: base(&def),
            overlay: overlay(def.id),
            mask: mask(def.id),
            history: history(def.id),
            columns: def.schema.columns.iter().map(|c| c.name.clone()).collect(),
            key: def.schema.key_names(),
            marks: def.schema.key_columns().map(|c| mark(kind_of(c))).collect(),
            read_as: Vec::new(),
        };
        let writable =
            def.schema.columns.iter().enumerate().filter(|(_, c)| !c.generated).map(|(i, _)| i).collect();
        Self { drift: drift(&def, &physical), places, kinds, writable, physical, def }
    }

    pub(crate) fn id(&self) -> TableId {
        self.def.id
    }

    /// The name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.def.location.table
    }

    pub(crate) fn column(&self, i: usize) -> Result<&str> {
        let name = self.columns.get(i).map(String::as_str);
        name.ok_or_else(|| Error::internal("a column index is out of range"))
    }

    /// What stands for the value that is written to a column.
    pub(crate) fn written(&self, i: usize) -> &'static str {
        self.kinds.get(i).map_or("?", |kind| crate::types::written(*kind))
    }

    /// All columns, quoted, in order.
    pub(crate) fn all_columns(&self, alias: &str) -> String {
        crate::layout::list(alias, self.columns.iter().map(String::as_str))
    }

    /// The key's columns, quoted.
    pub(crate) fn key_columns(&self, alias: &str) -> String {
        crate::layout::list(alias, self.key.iter().map(String::as_str))
    }

    /// A row of all columns out of a result.
    pub(crate) fn row(&self, row: &mut Row, from: usize) -> Result<epoch_adapter::Row> {
        let cell = |(i, kind): (usize, &Kind)| crate::types::read(*kind, take(row, from + i)?);
        self.kinds.iter().enumerate().map(cell).collect()
    }

    /// A key out of a result.
    pub(crate) fn key_row(&self, row: &mut Row, from: usize) -> Result<epoch_adapter::Row> {
        let kinds = self.def.schema.key.iter().map(|i| self.kinds.get(*i).copied().unwrap_or(Kind::Other));
        kinds.enumerate().map(|(n, kind)| crate::types::read(kind, take(row, from + n)?)).collect()
    }
}

/// The raw value of a column of a result.
pub(crate) fn take(row: &mut Row, at: usize) -> Result<mysql_async::Value> {
    row.take(at).ok_or_else(|| Error::internal("mysql: a result has too few columns"))
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
        if found.generated != column.generated {
            let verb = if found.generated { "became" } else { "is no longer" };
            return Some(format!("column \"{name}\" {verb} generated"));
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
        let columns = u.columns.as_deref().unwrap_or_default();
        columns.len() == key.len()
            && columns.iter().all(|c| {
                now.columns.get(*c).is_some_and(|c| def.schema.key_columns().any(|k| k.name == c.name))
            })
    };
    let unique = now.uniques.iter().any(is_key);
    (!unique).then(|| format!("the key ({}) is no longer unique", def.schema.key_names().join(", ")))
}

/// All registered tables, and who refers to whom.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub flavour: Flavour,
    /// When it was read.
    pub at: Instant,
    pub by_id: HashMap<TableId, Arc<Meta>>,
    /// Registered tables that the user dropped.
    pub dropped: HashSet<TableId>,
    /// Tables whose triggers or rows were changed past us, and how.
    pub gaps: HashMap<TableId, String>,
    /// Tables that lost rows, by InnoDB's number and the time of the form that they had then: they aren't read again.
    pub lost: HashMap<TableId, (i64, String)>,
    pub by_name: HashMap<String, Arc<Meta>>,
    /// Foreign keys of all tables, by the parent's name.
    pub referrers: HashMap<String, Vec<Arc<Foreign>>>,
}

impl Catalog {
    /// 55000 if the table was never installed here.
    pub(crate) fn get(&self, table: &TableDef) -> Result<Arc<Meta>> {
        let name = &table.location.table;
        if self.dropped.contains(&table.id) {
            return Err(errors::dropped(name));
        }
        let meta = self.by_id.get(&table.id).ok_or_else(|| errors::not_registered(name, "MySQL database"))?;
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
            None => Some("its MySQL database has no registration of it".to_owned()),
        }
    }

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
            let children = self.referrers(meta.name()).iter().map(|fk| &fk.child);
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
        let version: String = session.one("SELECT version()", &[]).await?.unwrap_or_default();
        let flavour = Flavour::of(&version);
        let mut out = Self {
            flavour,
            at: Instant::now(),
            by_id: HashMap::new(),
            dropped: HashSet::new(),
            gaps: HashMap::new(),
            lost: before.map(|c| c.lost.clone()).unwrap_or_default(),
            by_name: HashMap::new(),
            referrers: HashMap::new(),
        };
        if !exists(session, "epoch_registered").await? {
            return Ok(out);
        }
        let mut tables = read(session, flavour, None).await?;
        for fk in tables.values().flat_map(|t| &t.foreign) {
            out.referrers.entry(fk.parent.clone()).or_default().push(Arc::clone(fk));
        }
        for mut row in session.rows("SELECT definition FROM epoch_registered", &[]).await? {
            let def: TableDef =
                serde_json::from_str(&text(&mut row, 0).unwrap_or_default()).map_err(|e| {
                    Error::new(sqlstate::DATA_CORRUPTED, format!("epoch_registered is damaged: {e}"))
                })?;
            let Some(physical) = tables.remove(&def.location.table) else {
                out.dropped.insert(def.id);
                continue;
            };
            let mut meta = Meta::new(def, physical);
            let moving = |t: &String| tables.get(t).is_some_and(|t| t.columns.iter().any(|c| c.on_update));
            if meta.drift.is_none() && [&meta.history, &meta.mask].into_iter().any(moving) {
                meta.drift =
                    Some("MySQL sets a TIMESTAMP of its history to the time of each change".to_owned());
            }
            let meta = Arc::new(meta);
            out.by_name.insert(meta.name().to_owned(), Arc::clone(&meta));
            out.by_id.insert(meta.id(), meta);
        }
        crate::drift::look(session, &mut out).await?;
        Ok(out)
    }
}

/// Whether a table is in the database.
pub(crate) async fn exists(session: &mut Session, table: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?";
    session.exists(sql, &[epoch_adapter::Value::Text(table.to_owned())]).await
}
