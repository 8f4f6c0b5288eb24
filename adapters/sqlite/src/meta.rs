//! What we know of a registered table beyond its [`TableDef`]: constraints, collations, references.
//! Read from the file's own catalog, cached until the file's schema changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{Error, Result, TableDef, TableId, sqlstate};
use epoch_layers::errors;
use epoch_layers::view::{Dialect, Places};
use rusqlite::{Connection, OptionalExtension};

use crate::ddl::{self, TableDdl};
use crate::error::map;
use crate::layout::{base, history, literal, mask, overlay, quote};
use crate::types::{self, Affinity};

/// A unique constraint or index, the primary key first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unique {
    /// The name PostgreSQL would report.
    pub name: String,
    pub primary: bool,
    pub parts: Vec<Part>,
    /// Of a partial index.
    pub condition: Option<String>,
}

/// One column or expression of an index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// The column, `None` for an expression.
    pub column: Option<usize>,
    /// The expression, or the quoted name of the column.
    pub sql: String,
    pub collation: String,
}

/// An index of the base that isn't unique; the overlay gets the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plain {
    pub parts: Vec<Part>,
    pub condition: Option<String>,
}

/// What happens to children when their parent goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Refuse,
    Cascade,
    SetNull,
    SetDefault,
}

/// A foreign key, seen from the child.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Foreign {
    /// The name PostgreSQL would report.
    pub name: String,
    /// The child table as stored.
    pub child: String,
    pub columns: Vec<String>,
    /// The parent table as stored.
    pub parent: String,
    pub parent_columns: Vec<String>,
    pub on_delete: Action,
    pub on_update: Action,
    /// DEFERRABLE INITIALLY DEFERRED: checked when the transaction commits.
    pub deferred: bool,
}

/// A table of the file, as its catalog describes it.
#[derive(Debug, Clone)]
pub(crate) struct Physical {
    pub name: String,
    pub ddl: TableDdl,
    pub columns: Vec<PhysicalColumn>,
    /// The INTEGER PRIMARY KEY that is the rowid.
    pub alias: Option<usize>,
    pub uniques: Vec<Unique>,
    pub indexes: Vec<Plain>,
    pub foreign: Vec<Arc<Foreign>>,
}

#[derive(Debug, Clone)]
pub(crate) struct PhysicalColumn {
    pub name: String,
    pub declared: String,
    pub not_null: bool,
    pub default: Option<String>,
    pub generated: bool,
    pub collation: String,
    pub affinity: Affinity,
}

impl Physical {
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name))
    }
}

/// A registered table with all that reads and writes need.
#[derive(Debug)]
pub(crate) struct Meta {
    pub def: TableDef,
    pub physical: Physical,
    /// Where its rows are.
    pub places: Places,
    /// Names of the columns that can be written.
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
        let places = Places {
            dialect: Dialect::Sqlite,
            base: base(&def),
            overlay: overlay(def.id),
            mask: mask(def.id),
            history: history(def.id),
            columns: def.schema.columns.iter().map(|c| c.name.clone()).collect(),
            key: def.schema.key_names(),
            marks: vec!["?".to_owned(); def.schema.key.len()],
            read_as: Vec::new(),
        };
        let writable =
            def.schema.columns.iter().enumerate().filter(|(_, c)| !c.generated).map(|(i, _)| i).collect();
        Self { drift: drift(&def, &physical), places, writable, physical, def }
    }

    pub(crate) fn id(&self) -> TableId {
        self.def.id
    }

    /// The name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.def.location.table
    }

    pub(crate) fn column(&self, i: usize) -> Result<&str> {
        self.columns
            .get(i)
            .map(String::as_str)
            .ok_or_else(|| Error::internal("a column index is out of range"))
    }

    /// Indexes of columns given by name.
    pub(crate) fn indexes(&self, names: &[String]) -> Result<Vec<usize>> {
        names
            .iter()
            .map(|n| {
                self.columns.iter().position(|c| c.eq_ignore_ascii_case(n)).ok_or_else(|| {
                    Error::internal(format!("column \"{n}\" of \"{}\" is unknown", self.name()))
                })
            })
            .collect()
    }
}

/// Compares a table with its registration: history and overlays are made for those columns.
fn drift(def: &TableDef, now: &Physical) -> Option<String> {
    for column in &def.schema.columns {
        let name = &column.name;
        let Some(found) = now.columns.iter().find(|c| c.name == *name) else {
            return Some(format!("column \"{name}\" was dropped or renamed"));
        };
        if found.declared != column.type_name {
            let (was, is) = (&column.type_name, &found.declared);
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
    if !now.columns.iter().map(|c| &c.name).eq(def.schema.columns.iter().map(|c| &c.name)) {
        return Some("its columns have another order".to_owned());
    }
    let key = &def.schema.key;
    let is_key = |u: &Unique| {
        u.condition.is_none()
            && u.parts.len() == key.len()
            && u.parts.iter().all(|p| p.column.is_some_and(|c| key.contains(&c)))
    };
    let unique = now.uniques.iter().any(is_key);
    (!unique).then(|| format!("the key ({}) is no longer unique", def.schema.key_names().join(", ")))
}

/// All registered tables of a file, and who refers to whom.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub version: i64,
    pub by_id: HashMap<TableId, Arc<Meta>>,
    /// Registered tables that the user dropped.
    pub dropped: HashSet<TableId>,
    /// Tables whose triggers aren't ours any more, and how.
    pub gaps: HashMap<TableId, String>,
    /// Tables with triggers that fire before our last one.
    pub late: Vec<TableId>,
    /// By lower-case table name.
    pub by_name: HashMap<String, Arc<Meta>>,
    /// Foreign keys of all tables of the file, by the parent's lower-case name.
    pub referrers: HashMap<String, Vec<Arc<Foreign>>>,
}

impl Catalog {
    /// 55000 if the table was never installed here.
    pub(crate) fn get(&self, table: &TableDef) -> Result<Arc<Meta>> {
        let name = &table.location.table;
        if self.dropped.contains(&table.id) {
            return Err(errors::dropped(name));
        }
        let meta = self.by_id.get(&table.id).ok_or_else(|| errors::not_registered(name, "SQLite file"))?;
        self.check(meta)?;
        Ok(Arc::clone(meta))
    }

    /// 55000 if a table was changed past us.
    pub(crate) fn check(&self, meta: &Meta) -> Result<()> {
        match self.gap(meta) {
            Some(reason) => Err(Error::drifted(&meta.def.name.to_string(), reason)),
            None => Ok(()),
        }
    }

    fn gap<'a>(&'a self, meta: &'a Meta) -> Option<&'a String> {
        meta.drift.as_ref().or_else(|| self.gaps.get(&meta.id()))
    }

    /// How a table was changed past us.
    pub(crate) fn drift(&self, table: TableId) -> Option<String> {
        match self.by_id.get(&table) {
            Some(meta) => self.gap(meta).cloned(),
            None if self.dropped.contains(&table) => Some("the table was dropped or renamed".to_owned()),
            None => Some("its SQLite file has no registration of it".to_owned()),
        }
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Meta>> {
        self.by_name.get(&name.to_ascii_lowercase())
    }

    pub(crate) fn referrers(&self, parent: &str) -> &[Arc<Foreign>] {
        self.referrers.get(&parent.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The registered tables that foreign keys tie to this one, in either direction and over others.
    pub(crate) fn related(&self, table: &TableDef) -> Vec<TableId> {
        let mut found = vec![table.id];
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
        found.retain(|id| *id != table.id);
        found
    }

    /// Reads everything. Call inside a transaction.
    pub(crate) fn load(conn: &Connection, version: i64) -> Result<Self> {
        let mut out = Self { version, ..Self::default() };
        for name in user_tables(conn)? {
            for fk in foreign_keys(conn, &name, None)? {
                out.referrers.entry(fk.parent.to_ascii_lowercase()).or_default().push(fk);
            }
        }
        if !exists(conn, "epoch_registered")? {
            return Ok(out);
        }
        let mut stmt = conn.prepare("SELECT definition FROM epoch_registered").map_err(map)?;
        let texts: Vec<String> = stmt.query_map([], |r| r.get(0)).and_then(Iterator::collect).map_err(map)?;
        for text in texts {
            let def: TableDef = serde_json::from_str(&text).map_err(|e| {
                Error::new(sqlstate::DATA_CORRUPTED, format!("epoch_registered is damaged: {e}"))
            })?;
            let Some(physical) = read(conn, &def.location.table)? else {
                out.dropped.insert(def.id);
                continue;
            };
            let meta = Arc::new(Meta::new(def, physical));
            out.by_name.insert(meta.name().to_ascii_lowercase(), Arc::clone(&meta));
            out.by_id.insert(meta.id(), meta);
        }
        Ok(out)
    }
}

/// The number that changes with the file's schema.
pub(crate) fn schema_version(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("PRAGMA main.schema_version")
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(map)
}

/// Whether a table is in the file.
pub(crate) fn exists(conn: &Connection, table: &str) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE")
        .and_then(|mut s| s.exists([table]))
        .map_err(map)
}

/// Ordinary tables that are neither SQLite's nor ours.
pub(crate) fn user_tables(conn: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
        AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'epoch\\_%' ESCAPE '\\' ORDER BY name";
    let mut stmt = conn.prepare(sql).map_err(map)?;
    stmt.query_map([], |r| r.get(0)).and_then(Iterator::collect).map_err(map)
}

/// Reads a table from the catalog; `None` if there is none of this name.
pub(crate) fn read(conn: &Connection, table: &str) -> Result<Option<Physical>> {
    let sql = "SELECT name, sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
    let found: Option<(String, String)> =
        conn.query_row(sql, [table], |r| Ok((r.get(0)?, r.get(1)?))).optional().map_err(map)?;
    let Some((name, sql)) = found else { return Ok(None) };
    let ddl = ddl::parse_table(&sql)?;
    let (columns, primary) = columns(conn, &name, &ddl)?;
    let (uniques, indexes, alias) = indexes(conn, &name, &ddl, &columns, &primary)?;
    let foreign = foreign_keys(conn, &name, Some(&ddl))?;
    Ok(Some(Physical { name, ddl, columns, alias, uniques, indexes, foreign }))
}

fn columns(conn: &Connection, table: &str, ddl: &TableDdl) -> Result<(Vec<PhysicalColumn>, Vec<String>)> {
    let sql = format!("PRAGMA main.table_xinfo({})", literal(table));
    let mut stmt = conn.prepare(&sql).map_err(map)?;
    let mut rows = stmt.query([]).map_err(map)?;
    let (mut out, mut primary) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next().map_err(map)? {
        let read = || -> rusqlite::Result<(PhysicalColumn, i64, i64)> {
            let declared: String = row.get("type")?;
            let hidden: i64 = row.get("hidden")?;
            let column = PhysicalColumn {
                name: row.get("name")?,
                not_null: row.get("notnull")?,
                default: row.get("dflt_value")?,
                generated: hidden >= 2,
                collation: "BINARY".to_owned(),
                affinity: types::affinity(&declared, ddl.strict),
                declared,
            };
            Ok((column, row.get("pk")?, hidden))
        };
        let (mut column, pk, hidden) = read().map_err(map)?;
        if hidden == 1 {
            continue;
        }
        if let Some(kept) = ddl.columns.iter().find(|c| c.name == column.name) {
            column.collation =
                kept.collation.clone().unwrap_or_else(|| "BINARY".to_owned()).to_ascii_uppercase();
        }
        // SQLite reports "GENERATED ALWAYS" as part of some generated columns' type.
        column.declared = column.declared.replace("GENERATED ALWAYS", "").trim().to_owned();
        if pk > 0 {
            primary.push((pk, column.name.clone()));
        }
        out.push(column);
    }
    primary.sort_unstable();
    Ok((out, primary.into_iter().map(|(_, name)| name).collect()))
}

fn indexes(
    conn: &Connection,
    table: &str,
    ddl: &TableDdl,
    columns: &[PhysicalColumn],
    primary: &[String],
) -> Result<(Vec<Unique>, Vec<Plain>, Option<usize>)> {
    let sql = format!(
        "SELECT name, \"unique\", origin FROM pragma_index_list({}, 'main') ORDER BY seq DESC",
        literal(table)
    );
    let mut stmt = conn.prepare(&sql).map_err(map)?;
    let list: Vec<(String, bool, String)> = stmt
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(map)?;
    let (mut uniques, mut plain) = (Vec::new(), Vec::new());
    let mut names = NameGiver { table, used: Vec::new() };
    let mut alias = None;
    if !primary.is_empty() && !list.iter().any(|(_, _, origin)| origin == "pk") {
        alias = columns.iter().position(|c| primary.first() == Some(&c.name));
        let parts = alias.iter().filter_map(|&i| columns.get(i).map(|c| part(i, c))).collect();
        uniques.push(Unique { name: names.primary(ddl), primary: true, parts, condition: None });
    }
    for (index, unique, origin) in list {
        let (parts, condition) = index_parts(conn, &index, columns)?;
        if !unique {
            plain.push(Plain { parts, condition });
            continue;
        }
        let name = match origin.as_str() {
            "pk" => names.primary(ddl),
            "u" => names.unique(ddl, &parts, columns),
            _ => index,
        };
        uniques.push(Unique { name, primary: origin == "pk", parts, condition });
    }
    uniques.sort_by_key(|u| !u.primary);
    Ok((uniques, plain, alias))
}

fn part(i: usize, column: &PhysicalColumn) -> Part {
    Part { column: Some(i), sql: quote(&column.name), collation: column.collation.clone() }
}

fn index_parts(
    conn: &Connection,
    index: &str,
    columns: &[PhysicalColumn],
) -> Result<(Vec<Part>, Option<String>)> {
    let ddl: Option<String> = conn
        .query_row("SELECT sql FROM main.sqlite_schema WHERE type = 'index' AND name = ?1", [index], |r| {
            r.get(0)
        })
        .optional()
        .map_err(map)?
        .flatten();
    let (texts, condition) = match &ddl {
        Some(sql) => ddl::parse_index(sql)?,
        None => (Vec::new(), None),
    };
    let sql = format!(
        "SELECT name, coll FROM pragma_index_xinfo({}, 'main') WHERE key = 1 ORDER BY seqno",
        literal(index)
    );
    let mut stmt = conn.prepare(&sql).map_err(map)?;
    let rows: Vec<(Option<String>, Option<String>)> =
        stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).and_then(Iterator::collect).map_err(map)?;
    let mut parts = Vec::new();
    for (i, (name, collation)) in rows.into_iter().enumerate() {
        let column = name.as_ref().and_then(|n| columns.iter().position(|c| &c.name == n));
        let sql = match (&name, texts.get(i)) {
            (Some(name), _) => quote(name),
            (None, Some(text)) => format!("({text})"),
            (None, None) => return Err(Error::unsupported(format!("index \"{index}\""))),
        };
        parts.push(Part { column, sql, collation: collation.unwrap_or_default().to_ascii_uppercase() });
    }
    Ok((parts, condition))
}

/// Names constraints as PostgreSQL would: `users_pkey`, `users_email_key`, `users_email_key1`.
struct NameGiver<'a> {
    table: &'a str,
    used: Vec<String>,
}

impl NameGiver<'_> {
    fn primary(&self, ddl: &TableDdl) -> String {
        let own = ddl.primary.as_ref().and_then(|p| p.name.clone());
        own.unwrap_or_else(|| format!("{}_pkey", self.table))
    }

    fn unique(&mut self, ddl: &TableDdl, parts: &[Part], columns: &[PhysicalColumn]) -> String {
        let names: Vec<&str> = parts
            .iter()
            .filter_map(|p| p.column.and_then(|i| columns.get(i)))
            .map(|c| c.name.as_str())
            .collect();
        let same = |u: &&ddl::UniqueDdl| {
            u.columns.len() == names.len()
                && u.columns.iter().zip(&names).all(|(a, b)| a.eq_ignore_ascii_case(b))
        };
        if let Some(name) = ddl.uniques.iter().find(same).and_then(|u| u.name.clone()) {
            return name;
        }
        let name = numbered(&format!("{}_{}_key", self.table, names.join("_")), &self.used);
        self.used.push(name.clone());
        name
    }
}

/// `wanted`, or `wanted1`, `wanted2` … if it is taken.
pub(crate) fn numbered(wanted: &str, used: &[String]) -> String {
    let mut name = wanted.to_owned();
    let mut n = 0;
    while used.contains(&name) {
        n += 1;
        name = format!("{wanted}{n}");
    }
    name
}

fn foreign_keys(conn: &Connection, table: &str, ddl: Option<&TableDdl>) -> Result<Vec<Arc<Foreign>>> {
    let sql = format!(
        "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete FROM pragma_foreign_key_list({}, 'main') ORDER BY id DESC, seq",
        literal(table)
    );
    type Line = (i64, String, String, Option<String>, String, String);
    let mut stmt = conn.prepare(&sql).map_err(map)?;
    let lines: Vec<Line> = stmt
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)))
        .and_then(Iterator::collect)
        .map_err(map)?;
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let own;
    let ddl = match ddl {
        Some(ddl) => ddl,
        None => {
            let sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1";
            let text: String = conn.query_row(sql, [table], |r| r.get(0)).map_err(map)?;
            // A table that isn't ours may read as it likes; only names are lost.
            own = ddl::parse_table(&text).unwrap_or_default();
            &own
        }
    };
    let mut out: Vec<Foreign> = Vec::new();
    let mut last = None;
    for (id, parent, from, to, on_update, on_delete) in lines {
        if last != Some(id) {
            last = Some(id);
            // The catalog counts backwards, the DDL forwards.
            let text = ddl.foreign.get(out.len());
            out.push(Foreign {
                name: text.and_then(|f| f.name.clone()).unwrap_or_default(),
                child: table.to_owned(),
                columns: Vec::new(),
                parent: parent.clone(),
                parent_columns: Vec::new(),
                on_delete: action(&on_delete),
                on_update: action(&on_update),
                deferred: text.is_some_and(|f| f.deferred),
            });
        }
        if let Some(fk) = out.last_mut() {
            fk.columns.push(from);
            fk.parent_columns.extend(to);
        }
    }
    let mut used = Vec::new();
    for fk in &mut out {
        if fk.parent_columns.is_empty() {
            fk.parent_columns = primary_of(conn, &fk.parent)?;
        }
        if fk.name.is_empty() {
            fk.name = numbered(&format!("{table}_{}_fkey", fk.columns.join("_")), &used);
        }
        used.push(fk.name.clone());
    }
    Ok(out.into_iter().map(Arc::new).collect())
}

fn primary_of(conn: &Connection, table: &str) -> Result<Vec<String>> {
    let sql =
        format!("SELECT name FROM pragma_table_info({}, 'main') WHERE pk > 0 ORDER BY pk", literal(table));
    let mut stmt = conn.prepare(&sql).map_err(map)?;
    stmt.query_map([], |r| r.get(0)).and_then(Iterator::collect).map_err(map)
}

fn action(text: &str) -> Action {
    match text {
        "CASCADE" => Action::Cascade,
        "SET NULL" => Action::SetNull,
        "SET DEFAULT" => Action::SetDefault,
        _ => Action::Refuse,
    }
}
