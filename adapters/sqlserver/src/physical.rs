//! Tables as the server's catalog describes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use epoch_adapter::{Result, Value};

use crate::error::NO_SUCH_OBJECT;
use crate::layout::{PREFIX, SCHEMA, qualified, quote, shown};
use crate::pool::{Cells, Session, flag, number, text};
use crate::types::kind;

/// A unique index, the primary key first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unique {
    /// The index, or the constraint that it is of.
    pub name: String,
    pub primary: bool,
    pub columns: Vec<usize>,
    /// The condition of an index over some rows.
    pub filter: Option<String>,
}

/// An index as its table has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Index {
    pub name: String,
    pub unique: bool,
    pub primary: bool,
    /// Whether it is a constraint's.
    pub constraint: bool,
    /// `CLUSTERED`, `NONCLUSTERED`, `XML`, `SPATIAL`, `CLUSTERED COLUMNSTORE` …
    pub kind: String,
    /// Column, and whether it is descending.
    pub parts: Vec<(usize, bool)>,
    pub included: Vec<usize>,
    pub filter: Option<String>,
    /// Duplicates are dropped without an error.
    pub ignores: bool,
}

impl Index {
    /// Whether a copy of it can be made on our tables.
    pub(crate) fn usual(&self) -> bool {
        matches!(self.kind.as_str(), "CLUSTERED" | "NONCLUSTERED") && !self.parts.is_empty()
    }
}

/// A CHECK.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Check {
    pub object: i64,
    pub name: String,
    pub condition: String,
}

/// A foreign key, seen from the child. Tables by their quoted names with the schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Foreign {
    pub name: String,
    pub child: String,
    pub columns: Vec<String>,
    pub parent: String,
    pub parent_columns: Vec<String>,
    /// As messages name them.
    pub shown: (String, String),
    /// The action that writes to the child, e.g. `ON DELETE CASCADE`.
    pub cascade: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PhysicalColumn {
    pub name: String,
    /// What a column of the same type is made with.
    pub type_name: String,
    /// How many bytes a value can have; -1 without a limit.
    pub bytes: i64,
    pub not_null: bool,
    pub default: Option<String>,
    /// The expression of a computed column, and whether it is stored.
    pub computed: Option<(String, bool)>,
    pub identity: bool,
    /// Why a table with it can't be registered.
    pub obstacle: Option<&'static str>,
}

/// A table as the catalog describes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Physical {
    pub schema: String,
    pub name: String,
    /// The server's number.
    pub object: i64,
    /// When the server last gave it its form.
    pub formed: String,
    /// Whether another change of its form would have another time.
    pub settled: bool,
    /// The rows that it has, those of open transactions included.
    pub rows: i64,
    /// Why it can't be registered, whatever its columns are.
    pub obstacle: Option<&'static str>,
    pub columns: Vec<PhysicalColumn>,
    pub indexes: Vec<Index>,
    pub checks: Vec<Check>,
    pub foreign: Vec<Arc<Foreign>>,
}

impl Physical {
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// Its unique indexes, the primary key first.
    pub(crate) fn uniques(&self) -> Vec<Unique> {
        let unique = |index: &Index| Unique {
            name: index.name.clone(),
            primary: index.primary,
            columns: index.parts.iter().map(|(column, _)| *column).collect(),
            filter: index.filter.clone(),
        };
        let mut all: Vec<_> = self.indexes.iter().filter(|i| i.unique && i.usual()).map(unique).collect();
        all.sort_by_key(|u| !u.primary);
        all
    }

    /// Why a table can't be registered although it has a key, or go on being registered.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let ours = |name: &str| name.to_ascii_lowercase().starts_with(PREFIX);
        let own = format!("names that start with {PREFIX} are Horizon Epoch's own");
        if ours(&self.name) || self.schema == SCHEMA {
            return Some(own);
        }
        if let Some(c) = self.columns.iter().find(|c| ours(&c.name)) {
            return Some(format!("column \"{}\": {own}", c.name));
        }
        if let Some(why) = self.obstacle {
            return Some(why.to_owned());
        }
        if let Some(c) = self.columns.iter().find(|c| kind(&c.type_name).is_none()) {
            let (name, ty) = (&c.name, &c.type_name);
            return Some(format!("column \"{name}\" has the type {ty}, which has no form here"));
        }
        if let Some((c, why)) = self.columns.iter().find_map(|c| Some((c, c.obstacle?))) {
            return Some(format!("column \"{}\" {why}", c.name));
        }
        if let Some(index) = self.indexes.iter().find(|i| i.kind == "CLUSTERED COLUMNSTORE") {
            return Some(format!(
                "index {} keeps it by columns, where the server allows no triggers",
                index.name
            ));
        }
        if let Some(index) = self.indexes.iter().find(|i| i.ignores) {
            return Some(format!("index {} drops rows with duplicate keys", index.name));
        }
        let fk = self.foreign.iter().find(|fk| fk.cascade.is_some())?;
        let action = fk.cascade.as_deref().unwrap_or_default();
        Some(format!("foreign key {} has {action}, which branches don't carry out", fk.name))
    }
}

/// The DDL of a type, from what the catalog says of a column.
fn type_name(name: &str, bytes: i64, precision: i64, scale: i64, collation: Option<&str>) -> String {
    let length = |unit: i64| if bytes < 0 { "max".to_owned() } else { (bytes / unit).to_string() };
    let base = match name {
        "nchar" | "nvarchar" => format!("{name}({})", length(2)),
        "char" | "varchar" | "binary" | "varbinary" => format!("{name}({})", length(1)),
        "decimal" | "numeric" => format!("{name}({precision},{scale})"),
        "time" | "datetime2" | "datetimeoffset" => format!("{name}({scale})"),
        _ => name.to_owned(),
    };
    match collation {
        Some(collation) if matches!(name, "nchar" | "nvarchar" | "char" | "varchar") => {
            format!("{base} COLLATE {collation}")
        }
        _ => base,
    }
}

/// What tables are asked for, `{only}` a condition on a table's number.
const TABLES: &str = "SELECT CAST(t.object_id AS bigint), s.name, t.name, CONVERT(nvarchar(40), t.modify_date, 126), \
    CASE WHEN t.modify_date < DATEADD(second, -2, GETDATE()) THEN 1 ELSE 0 END, \
    (SELECT CAST(coalesce(sum(p.rows), 0) AS bigint) FROM sys.partitions AS p WHERE p.object_id = t.object_id \
    AND p.index_id IN (0, 1)), \
    CAST(t.temporal_type AS int), CAST(t.is_memory_optimized AS int), CAST(t.is_external AS int), \
    CAST(t.is_filetable AS int), (SELECT count(*) FROM sys.partitions AS p WHERE p.object_id = t.object_id \
    AND p.index_id IN (0, 1)) FROM sys.tables AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id \
    WHERE t.is_ms_shipped = 0 AND {only}";

const COLUMNS: &str = "SELECT CAST(c.object_id AS bigint), c.name, \
    coalesce(TYPE_NAME(c.system_type_id), TYPE_NAME(c.user_type_id)), CAST(c.max_length AS int), CAST(c.precision AS int), \
    CAST(c.scale AS int), c.collation_name, CAST(c.is_nullable AS int), CAST(c.is_identity AS int), d.definition, \
    k.definition, CAST(k.is_persisted AS int), CAST(c.is_sparse AS int), CAST(c.is_column_set AS int), \
    CAST(c.is_masked AS int), CAST(coalesce(c.encryption_type, 0) AS int), CAST(c.is_hidden AS int), \
    CAST(c.is_filestream AS int), coalesce(COLUMNPROPERTY(c.object_id, c.name, 'IsDeterministic'), 1) \
    FROM sys.columns AS c JOIN sys.tables AS t ON t.object_id = c.object_id \
    LEFT JOIN sys.default_constraints AS d ON d.object_id = c.default_object_id \
    LEFT JOIN sys.computed_columns AS k ON k.object_id = c.object_id AND k.column_id = c.column_id \
    WHERE t.is_ms_shipped = 0 AND {only} ORDER BY c.object_id, c.column_id";

const INDEXES: &str = "SELECT CAST(i.object_id AS bigint), i.name, CAST(i.is_unique AS int), CAST(i.is_primary_key AS int), \
    CAST(i.is_unique_constraint AS int), i.type_desc, i.filter_definition, CAST(i.ignore_dup_key AS int), c.name, \
    CAST(p.is_descending_key AS int), CAST(p.is_included_column AS int), CAST(i.index_id AS int) FROM sys.indexes AS i \
    JOIN sys.tables AS t ON t.object_id = i.object_id \
    JOIN sys.index_columns AS p ON p.object_id = i.object_id AND p.index_id = i.index_id \
    JOIN sys.columns AS c ON c.object_id = p.object_id AND c.column_id = p.column_id \
    WHERE t.is_ms_shipped = 0 AND i.is_disabled = 0 AND i.is_hypothetical = 0 AND i.index_id > 0 AND {only} \
    ORDER BY i.object_id, i.index_id, p.is_included_column, p.key_ordinal, p.index_column_id";

const CHECKS: &str = "SELECT CAST(c.parent_object_id AS bigint), CAST(c.object_id AS bigint), c.name, c.definition \
    FROM sys.check_constraints AS c JOIN sys.tables AS t ON t.object_id = c.parent_object_id \
    WHERE c.is_disabled = 0 AND {only} ORDER BY c.parent_object_id, c.name";

const FOREIGN_KEYS: &str = "SELECT CAST(f.parent_object_id AS bigint), CAST(f.object_id AS bigint), f.name, cs.name, t.name, \
    ps.name, pt.name, cc.name, pc.name, f.delete_referential_action_desc, f.update_referential_action_desc \
    FROM sys.foreign_keys AS f JOIN sys.foreign_key_columns AS k ON k.constraint_object_id = f.object_id \
    JOIN sys.tables AS t ON t.object_id = f.parent_object_id JOIN sys.schemas AS cs ON cs.schema_id = t.schema_id \
    JOIN sys.tables AS pt ON pt.object_id = f.referenced_object_id JOIN sys.schemas AS ps ON ps.schema_id = pt.schema_id \
    JOIN sys.columns AS cc ON cc.object_id = k.parent_object_id AND cc.column_id = k.parent_column_id \
    JOIN sys.columns AS pc ON pc.object_id = k.referenced_object_id AND pc.column_id = k.referenced_column_id \
    WHERE f.is_disabled = 0 AND {only} ORDER BY f.parent_object_id, f.object_id, k.constraint_column_id";

/// Tables of which some rows are hidden from some users.
const SECURED: &str = "SELECT CAST(p.target_object_id AS bigint) FROM sys.security_predicates AS p";

type Tables = BTreeMap<i64, Physical>;

/// All tables of the database, by their quoted names; of one only, if its name is given.
pub(crate) async fn read(
    session: &mut Session,
    only: Option<(&str, &str)>,
) -> Result<BTreeMap<String, Physical>> {
    let (condition, params) = match only {
        Some((schema, table)) => {
            ("t.object_id = OBJECT_ID(?, N'U')", vec![Value::Text(qualified(schema, table))])
        }
        None => ("1 = 1", Vec::new()),
    };
    let sql = |template: &str| template.replace("{only}", condition);
    let mut out = Tables::new();
    for row in session.rows(&sql(TABLES), &params).await? {
        let table = table(&row);
        out.insert(table.object, table);
    }
    for row in session.rows(&sql(COLUMNS), &params).await? {
        if let Some(table) = owner(&mut out, &row) {
            table.columns.push(column(&row));
        }
    }
    for row in session.rows(&sql(INDEXES), &params).await? {
        if let Some(table) = owner(&mut out, &row) {
            index(table, &row);
        }
    }
    for row in session.rows(&sql(CHECKS), &params).await? {
        let check = Check {
            object: number(&row, 1).unwrap_or_default(),
            name: text(&row, 2).unwrap_or_default(),
            condition: text(&row, 3).unwrap_or_default(),
        };
        if let Some(table) = owner(&mut out, &row) {
            table.checks.push(check);
        }
    }
    foreign_keys(session, &sql(FOREIGN_KEYS), &params, &mut out).await?;
    secured(session, &mut out).await?;
    Ok(out.into_values().map(|table| (qualified(&table.schema, &table.name), table)).collect())
}

fn owner<'t>(tables: &'t mut Tables, row: &Cells) -> Option<&'t mut Physical> {
    tables.get_mut(&number(row, 0)?)
}

fn table(row: &Cells) -> Physical {
    let obstacles = [
        (flag(row, 6), "it is a temporal table or one's history"),
        (flag(row, 7), "it is kept in memory, where other rules hold"),
        (flag(row, 8), "it is external"),
        (flag(row, 9), "it is a FileTable, whose rows are changed by files"),
        (
            number(row, 10).is_some_and(|n| n > 1),
            "it is partitioned, and partitions can be emptied without firing triggers",
        ),
    ];
    Physical {
        object: number(row, 0).unwrap_or_default(),
        schema: text(row, 1).unwrap_or_default(),
        name: text(row, 2).unwrap_or_default(),
        formed: text(row, 3).unwrap_or_default(),
        settled: flag(row, 4),
        rows: number(row, 5).unwrap_or_default(),
        obstacle: obstacles.into_iter().find(|(is, _)| *is).map(|(_, why)| why),
        ..Physical::default()
    }
}

fn column(row: &Cells) -> PhysicalColumn {
    let numbers = |at: usize| number(row, at).unwrap_or_default();
    let (bytes, collation) = (numbers(3), text(row, 6));
    let computed = text(row, 10).map(|definition| (definition, flag(row, 11)));
    let obstacles = [
        (flag(row, 12), "is sparse"),
        (flag(row, 13), "is a column set"),
        (flag(row, 14), "is masked, so that what is read may not be what is there"),
        (flag(row, 15), "is encrypted by its clients"),
        (flag(row, 16), "is hidden"),
        (flag(row, 17), "is kept in files"),
        (computed.is_some() && !flag(row, 18), "is computed anew with each look"),
    ];
    PhysicalColumn {
        name: text(row, 1).unwrap_or_default(),
        type_name: type_name(
            &text(row, 2).unwrap_or_default(),
            bytes,
            numbers(4),
            numbers(5),
            collation.as_deref(),
        ),
        bytes,
        not_null: !flag(row, 7),
        identity: flag(row, 8),
        default: text(row, 9),
        computed,
        obstacle: obstacles.into_iter().find(|(is, _)| *is).map(|(_, why)| why),
    }
}

fn index(table: &mut Physical, row: &Cells) {
    let name = text(row, 1).unwrap_or_default();
    let Some(column) = text(row, 8).and_then(|c| table.index_of(&c)) else { return };
    if table.indexes.last().is_none_or(|last| last.name != name) {
        table.indexes.push(Index {
            name,
            unique: flag(row, 2),
            primary: flag(row, 3),
            constraint: flag(row, 3) || flag(row, 4),
            kind: text(row, 5).unwrap_or_default(),
            parts: Vec::new(),
            included: Vec::new(),
            filter: text(row, 6),
            ignores: flag(row, 7),
        });
    }
    if let Some(index) = table.indexes.last_mut() {
        match flag(row, 10) {
            true => index.included.push(column),
            false => index.parts.push((column, flag(row, 9))),
        }
    }
}

async fn foreign_keys(session: &mut Session, sql: &str, params: &[Value], out: &mut Tables) -> Result<()> {
    let mut found: Vec<(i64, i64, Foreign)> = Vec::new();
    for row in session.rows(sql, params).await? {
        let (owner, object) = (number(&row, 0).unwrap_or_default(), number(&row, 1).unwrap_or_default());
        let part = |at: usize| text(&row, at).unwrap_or_default();
        if found.last().is_none_or(|last| last.1 != object) {
            let rule = |at: usize, event: &str| {
                text(&row, at)
                    .filter(|t| t != "NO_ACTION")
                    .map(|t| format!("{event} {}", t.replace('_', " ")))
            };
            let fk = Foreign {
                name: part(2),
                child: qualified(&part(3), &part(4)),
                columns: Vec::new(),
                parent: qualified(&part(5), &part(6)),
                parent_columns: Vec::new(),
                shown: (shown(&part(3), &part(4)), shown(&part(5), &part(6))),
                cascade: rule(9, "ON DELETE").or_else(|| rule(10, "ON UPDATE")),
            };
            found.push((owner, object, fk));
        }
        if let Some((_, _, fk)) = found.last_mut() {
            fk.columns.push(part(7));
            fk.parent_columns.push(part(8));
        }
    }
    for (owner, _, fk) in found {
        if let Some(table) = out.get_mut(&owner) {
            table.foreign.push(Arc::new(fk));
        }
    }
    Ok(())
}

async fn secured(session: &mut Session, out: &mut Tables) -> Result<()> {
    let rows = match session.raw_rows(SECURED, &[]).await? {
        // A server that has no such thing.
        Err(e) if e.code() == Some(NO_SUCH_OBJECT) => return Ok(()),
        rows => rows.map_err(crate::error::map)?,
    };
    for row in rows {
        if let Some(table) = owner(out, &row) {
            table.obstacle = Some("it has a security policy, so that not everybody sees all rows");
        }
    }
    Ok(())
}

/// The columns of an index as DDL has them.
pub(crate) fn index_columns(table: &Physical, index: &Index) -> String {
    let part = |(column, descending): &(usize, bool)| {
        let name = table.columns.get(*column).map(|c| quote(&c.name)).unwrap_or_default();
        if *descending { format!("{name} DESC") } else { name }
    };
    index.parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_ddl_has_them() {
        let ci = Some("Latin1_General_CI_AS");
        assert_eq!(type_name("nvarchar", 40, 0, 0, ci), "nvarchar(20) COLLATE Latin1_General_CI_AS");
        assert_eq!(type_name("nvarchar", -1, 0, 0, ci), "nvarchar(max) COLLATE Latin1_General_CI_AS");
        assert_eq!(type_name("char", 5, 0, 0, ci), "char(5) COLLATE Latin1_General_CI_AS");
        assert_eq!(type_name("varbinary", -1, 0, 0, None), "varbinary(max)");
        assert_eq!(type_name("decimal", 9, 12, 2, None), "decimal(12,2)");
        assert_eq!(type_name("datetime2", 8, 27, 7, None), "datetime2(7)");
        assert_eq!(type_name("int", 4, 10, 0, None), "int");
        assert_eq!(type_name("xml", -1, 0, 0, None), "xml");
    }

    #[test]
    fn what_stands_in_the_way_is_said() {
        let column = |name: &str, ty: &str| PhysicalColumn {
            name: name.into(),
            type_name: ty.into(),
            ..Default::default()
        };
        let table = |columns: Vec<PhysicalColumn>| Physical {
            schema: "dbo".into(),
            name: "t".into(),
            columns,
            ..Physical::default()
        };
        let why = |t: Physical| t.obstacle().unwrap_or_default();
        assert_eq!(why(table(vec![column("id", "int")])), "");
        assert!(why(table(vec![column("v", "timestamp")])).contains("type timestamp, which has no form"));
        assert!(why(table(vec![column("Epoch_x", "int")])).contains("own"));
        let masked = PhysicalColumn { obstacle: Some("is masked"), ..column("m", "int") };
        assert_eq!(why(table(vec![masked])), "column \"m\" is masked");
        let foreign = Foreign {
            name: "f".into(),
            child: "[dbo].[t]".into(),
            columns: vec!["p".into()],
            parent: "[dbo].[p]".into(),
            parent_columns: vec!["id".into()],
            shown: ("t".into(), "p".into()),
            cascade: Some("ON DELETE SET NULL".into()),
        };
        let child = Physical { foreign: vec![Arc::new(foreign)], ..table(vec![column("p", "int")]) };
        assert_eq!(why(child), "foreign key f has ON DELETE SET NULL, which branches don't carry out");
        assert!(why(Physical { schema: "epoch".into(), ..table(vec![]) }).contains("own"));
        let index = Index {
            name: "cci".into(),
            unique: false,
            primary: false,
            constraint: false,
            kind: "CLUSTERED COLUMNSTORE".into(),
            parts: Vec::new(),
            included: vec![0],
            filter: None,
            ignores: false,
        };
        let by_columns = Physical { indexes: vec![index.clone()], ..table(vec![column("p", "int")]) };
        assert!(why(by_columns).contains("index cci keeps it by columns"));
        let beside = Index { kind: "NONCLUSTERED COLUMNSTORE".into(), ..index };
        assert_eq!(why(Physical { indexes: vec![beside], ..table(vec![column("p", "int")]) }), "");
    }
}
