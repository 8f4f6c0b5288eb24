//! Random tables and random statements on them, from a seed.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    BigInt,
    Text,
    Varchar,
    Numeric,
    Bool,
    Date,
    Ints,
    Json,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Int,
        Self::BigInt,
        Self::Text,
        Self::Varchar,
        Self::Numeric,
        Self::Bool,
        Self::Date,
        Self::Ints,
        Self::Json,
    ];

    fn sql(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::BigInt => "bigint",
            Self::Text => "text",
            Self::Varchar => "varchar(6)",
            Self::Numeric => "numeric(6,2)",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Ints => "int[]",
            Self::Json => "jsonb",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::BigInt | Self::Numeric)
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Varchar)
    }

    /// One of few values, so that keys meet.
    fn value(self, rng: &mut StdRng) -> String {
        let n: i32 = rng.random_range(0..12);
        match self {
            Self::Int | Self::BigInt => n.to_string(),
            Self::Numeric => format!("{n}.5"),
            Self::Bool => (n % 2 == 0).to_string(),
            Self::Date => format!("'2024-02-{:02}'", n + 1),
            Self::Ints => format!("'{{{n},NULL,{}}}'", n % 3),
            Self::Json => format!("'{{\"n\": {}, \"s\": \"a''b\"}}'", n % 4),
            Self::Text | Self::Varchar => {
                let words = ["a", "A", "b''c", "", "\\", "ü", "Zed", "zed", "x y", "NULL", "%", "z"];
                format!("'{}'", words[n as usize])
            }
        }
    }
}

#[derive(Debug, Clone)]
pub struct Column {
    /// Quoted.
    pub name: String,
    pub kind: Kind,
    pub generated: bool,
}

#[derive(Debug, Clone)]
pub struct Table {
    /// Quoted.
    pub name: String,
    pub columns: Vec<Column>,
    /// How many columns, from the first, the key has.
    pub key: usize,
    /// CREATE TABLE and CREATE INDEX; names without a schema.
    pub definition: Vec<String>,
    /// Columns (by number) in unique keys of any kind: an UPDATE of many rows must not depend on their order.
    pub unique: Vec<usize>,
}

impl Table {
    /// The columns that can be written, separated by commas.
    pub fn writable(&self) -> String {
        let names = self.columns.iter().filter(|c| !c.generated).map(|c| c.name.clone());
        names.collect::<Vec<_>>().join(", ")
    }

    pub fn key_names(&self) -> Vec<String> {
        self.columns.iter().take(self.key).map(|c| c.name.clone()).collect()
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn tables(rng: &mut StdRng) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for number in 0..rng.random_range(2..=4usize) {
        let parent = tables.choose(rng).cloned().filter(|_| rng.random_bool(0.7));
        tables.push(table(rng, number, parent.as_ref()));
    }
    tables
}

fn table(rng: &mut StdRng, number: usize, parent: Option<&Table>) -> Table {
    let plain = format!("t{number}");
    let name = quote(["t0", "Odd \"Name\"", "order", "t3"].get(number).copied().unwrap_or(&plain));
    let key = rng.random_range(1..=2);
    let mut columns = Vec::new();
    for _ in 0..key {
        let kind = *[Kind::Int, Kind::BigInt, Kind::Text, Kind::Date, Kind::Numeric].choose(rng).unwrap();
        columns.push(Column { name: odd_name(rng, &columns), kind, generated: false });
    }
    for _ in 0..rng.random_range(2..=4usize) {
        let kind = *Kind::ALL.choose(rng).unwrap();
        columns.push(Column { name: odd_name(rng, &columns), kind, generated: false });
    }
    let mut lines = Vec::new();
    let mut unique: Vec<usize> = (0..key).collect();
    for (i, column) in columns.iter().enumerate() {
        let mut line = format!("{} {}", column.name, column.kind.sql());
        if rng.random_bool(0.4) {
            line += &format!(" DEFAULT {}", column.kind.value(rng));
        }
        if i >= key && rng.random_bool(0.2) {
            line += " NOT NULL";
        }
        lines.push(line);
    }
    let names: Vec<&str> = columns.iter().take(key).map(|c| c.name.as_str()).collect();
    let mut constraints = vec![if rng.random_bool(0.8) {
        format!("PRIMARY KEY ({})", names.join(", "))
    } else {
        lines.iter_mut().take(key).for_each(|l| *l += " NOT NULL");
        format!("UNIQUE ({})", names.join(", "))
    }];
    let others: Vec<usize> = (key..columns.len()).collect();
    if rng.random_bool(0.4) {
        let i = *others.choose(rng).unwrap();
        let timing = if rng.random_bool(0.3) { " DEFERRABLE INITIALLY DEFERRED" } else { "" };
        constraints.push(format!("UNIQUE ({}){timing}", columns[i].name));
        unique.push(i);
    }
    let numbers: Vec<&Column> = columns.iter().filter(|c| c.kind.is_number()).collect();
    if let Some(column) = numbers.choose(rng).filter(|_| rng.random_bool(0.4)) {
        constraints.push(format!("CHECK ({} < 10)", column.name));
    }
    if let Some(parent) = parent {
        constraints.push(reference(rng, &mut columns, &mut lines, parent));
    }
    if let Some(source) = numbers_of(&columns).choose(rng).filter(|_| rng.random_bool(0.25)) {
        lines.push(format!("gen numeric GENERATED ALWAYS AS ({source} * 2) STORED"));
        columns.push(Column { name: quote("gen"), kind: Kind::Numeric, generated: true });
    }
    lines.extend(constraints);
    let mut definition = vec![format!("CREATE TABLE {name} ({})", lines.join(", "))];
    if rng.random_bool(0.35) {
        let i = *others.choose(rng).unwrap();
        let (expression, predicate) = match columns[i].kind {
            kind if kind.is_text() => (format!("lower({})", columns[i].name), String::new()),
            kind if kind.is_number() => (columns[i].name.clone(), format!(" WHERE {} > 5", columns[i].name)),
            _ => (columns[i].name.clone(), format!(" WHERE {} IS NOT NULL", columns[i].name)),
        };
        let kind = if rng.random_bool(0.6) { "UNIQUE " } else { "" };
        definition.push(format!("CREATE {kind}INDEX ON {name} ({expression}){predicate}"));
        unique.push(i);
    }
    Table { name, columns, key, definition, unique }
}

/// Names that generated SQL could take for its own: aliases, variables of triggers, keywords.
const NAMES: [&str; 44] = [
    "id",
    "B b",
    "select",
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "k",
    "l",
    "m",
    "n",
    "o",
    "p",
    "r",
    "s",
    "t",
    "u",
    "x",
    "y",
    "a0",
    "b0",
    "c0",
    "u0",
    "mark",
    "depth",
    "setting",
    "hit",
    "v_lineage",
    "v_base",
    "new",
    "old",
    "key",
    "lineage",
    "ordinal",
    "row",
    "value",
    "existed",
    "found",
    "do \"so\"",
];

/// One that the table doesn't have yet.
fn odd_name(rng: &mut StdRng, columns: &[Column]) -> String {
    loop {
        let name = quote(NAMES.choose(rng).unwrap());
        if columns.iter().all(|c| c.name != name) {
            return name;
        }
    }
}

fn numbers_of(columns: &[Column]) -> Vec<String> {
    columns.iter().filter(|c| c.kind.is_number()).map(|c| c.name.clone()).collect()
}

/// Columns like the parent's key, and the foreign key.
fn reference(rng: &mut StdRng, columns: &mut Vec<Column>, lines: &mut Vec<String>, parent: &Table) -> String {
    let mut own = Vec::new();
    for (i, column) in parent.columns.iter().take(parent.key).enumerate() {
        let name = quote(&format!("ref{i}"));
        let default =
            if rng.random_bool(0.3) { format!(" DEFAULT {}", column.kind.value(rng)) } else { String::new() };
        lines.push(format!("{name} {}{default}", column.kind.sql()));
        columns.push(Column { name: name.clone(), kind: column.kind, generated: false });
        own.push(name);
    }
    let actions = ["NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"];
    let (delete, update) = (actions.choose(rng).unwrap(), actions.choose(rng).unwrap());
    let timing = if rng.random_bool(0.25) { " DEFERRABLE INITIALLY DEFERRED" } else { "" };
    let full = if rng.random_bool(0.2) { " MATCH FULL" } else { "" };
    format!(
        "FOREIGN KEY ({}) REFERENCES {} ({}){full} ON DELETE {delete} ON UPDATE {update}{timing}",
        own.join(", "),
        parent.name,
        parent.key_names().join(", ")
    )
}

/// A statement, and whether it writes at most one row itself: then the error is a certain one.
pub struct Statement {
    pub sql: String,
    pub single: bool,
}

pub fn write(rng: &mut StdRng, tables: &[Table]) -> Statement {
    let table = tables.choose(rng).unwrap();
    match rng.random_range(0..24) {
        0..8 => insert(rng, table),
        8..14 => update(rng, table, tables),
        14..17 => delete(rng, table, tables),
        17 => copy_of_rows(rng, table),
        18 => delete_using(rng, table, tables),
        19 => from_a_query(rng, table, tables),
        20 => merge(rng, table),
        21 => with(rng, table, tables),
        22 => lock(rng, table),
        _ => truncate(rng, table),
    }
}

fn delete_using(rng: &mut StdRng, table: &Table, tables: &[Table]) -> Statement {
    let other = tables.choose(rng).unwrap();
    let column = table.columns.choose(rng).unwrap();
    let same = other.columns.iter().find(|c| c.kind == column.kind);
    let joined = same.map_or_else(|| "false".to_owned(), |s| format!("x.{} = y.{}", column.name, s.name));
    let sql = format!(
        "DELETE FROM {} x USING {} y WHERE {joined} AND y.{} = {} RETURNING x.*",
        table.name,
        other.name,
        other.columns[0].name,
        other.columns[0].kind.value(rng)
    );
    // A row that is joined twice is returned once, and nobody says with which.
    Statement { sql, single: false }
}

/// A column of many rows set to what a query says.
fn from_a_query(rng: &mut StdRng, table: &Table, tables: &[Table]) -> Statement {
    let free: Vec<&Column> = table
        .columns
        .iter()
        .enumerate()
        .filter(|(i, c)| !c.generated && !table.unique.contains(i))
        .map(|(_, c)| c)
        .collect();
    let Some(column) = free.choose(rng) else { return delete(rng, table, tables) };
    let other = tables.choose(rng).unwrap();
    let same = other.columns.iter().find(|c| c.kind == column.kind);
    let value = match same {
        Some(same) => {
            format!("(SELECT y.{0} FROM {1} y ORDER BY y.{0} DESC NULLS LAST LIMIT 1)", same.name, other.name)
        }
        None => cell(rng, column),
    };
    let sql = format!("UPDATE {} x SET {} = {value} RETURNING x.{}", table.name, column.name, column.name);
    Statement { sql, single: false }
}

fn merge(rng: &mut StdRng, table: &Table) -> Statement {
    let columns: Vec<&Column> = table.columns.iter().filter(|c| !c.generated).collect();
    let values: Vec<String> =
        columns.iter().map(|c| format!("{}::{}", c.kind.value(rng), c.kind.sql())).collect();
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    let on: Vec<String> = table.key_names().iter().map(|k| format!("x.{k} = s.{k}")).collect();
    let set: Vec<String> = names.iter().skip(table.key).map(|n| format!("{n} = s.{n}")).collect();
    let matched =
        if rng.random_bool(0.3) { "DELETE".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
    let sources: Vec<String> = names.iter().map(|n| format!("s.{n}")).collect();
    let sql = format!(
        "MERGE INTO {} x USING (VALUES ({})) s ({}) ON {} WHEN MATCHED THEN {matched} WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
        table.name,
        values.join(", "),
        names.join(", "),
        on.join(" AND "),
        names.join(", "),
        sources.join(", ")
    );
    Statement { sql, single: true }
}

/// What a data-modifying WITH returns is read, beside the table as it was.
fn with(rng: &mut StdRng, table: &Table, tables: &[Table]) -> Statement {
    let inner = if rng.random_bool(0.5) { delete(rng, table, tables) } else { update(rng, table, tables) };
    let other = tables.choose(rng).unwrap();
    let sql = format!(
        "WITH w AS ({}) SELECT (SELECT count(*) FROM w), (SELECT count(*) FROM {}), (SELECT count(*) FROM {})",
        inner.sql, table.name, other.name
    );
    Statement { sql, single: inner.single }
}

fn lock(rng: &mut StdRng, table: &Table) -> Statement {
    let level = ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"].choose(rng).unwrap();
    let sql = format!("SELECT * FROM {} WHERE {} FOR {level}", table.name, by_key(rng, table));
    Statement { sql, single: true }
}

fn truncate(rng: &mut StdRng, table: &Table) -> Statement {
    let sql = match rng.random_range(0..8) {
        0 => format!("TRUNCATE {}", table.name),
        1 => format!("TRUNCATE {} CASCADE", table.name),
        _ => format!("SELECT count(*) FROM {}", table.name),
    };
    Statement { sql, single: false }
}

fn insert(rng: &mut StdRng, table: &Table) -> Statement {
    let columns: Vec<&Column> = table
        .columns
        .iter()
        .enumerate()
        .filter(|(i, c)| !c.generated && (*i < table.key || rng.random_bool(0.8)))
        .map(|(_, c)| c)
        .collect();
    let count = if rng.random_bool(0.75) { 1 } else { rng.random_range(2..4) };
    let mut rows = Vec::new();
    for _ in 0..count {
        let values: Vec<String> = columns.iter().map(|c| cell(rng, c)).collect();
        rows.push(format!("({})", values.join(", ")));
    }
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    let mut sql = format!("INSERT INTO {} ({}) VALUES {}", table.name, names.join(", "), rows.join(", "));
    match rng.random_range(0..6) {
        0 => sql += " ON CONFLICT DO NOTHING",
        1 | 2 => {
            let set: Vec<String> = columns
                .iter()
                .skip(table.key)
                .filter(|_| rng.random_bool(0.7))
                .map(|c| format!("{0} = excluded.{0}", c.name))
                .collect();
            let action =
                if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
            sql += &format!(" ON CONFLICT ({}) DO {action}", table.key_names().join(", "));
        }
        _ => {}
    }
    Statement { sql: sql + " RETURNING *", single: count == 1 }
}

/// NULL now and then, DEFAULT, or a value.
fn cell(rng: &mut StdRng, column: &Column) -> String {
    match rng.random_range(0..12) {
        0 => "NULL".to_owned(),
        1 => "DEFAULT".to_owned(),
        _ => column.kind.value(rng),
    }
}

fn update(rng: &mut StdRng, table: &Table, tables: &[Table]) -> Statement {
    let writable: Vec<usize> = (0..table.columns.len()).filter(|i| !table.columns[*i].generated).collect();
    let mut set: Vec<usize> = writable.iter().copied().filter(|_| rng.random_bool(0.3)).collect();
    if set.is_empty() {
        set.push(*writable.choose(rng).unwrap());
    }
    // Children of one parent are found by their columns, too.
    let single = set.iter().any(|i| table.unique.contains(i)) || rng.random_bool(0.5);
    let assignments: Vec<String> = set
        .iter()
        .map(|i| {
            let column = &table.columns[*i];
            let value = match column.kind {
                kind if kind.is_number() && rng.random_bool(0.3) => format!("{} + 1", column.name),
                _ => cell(rng, column),
            };
            format!("{} = {value}", column.name)
        })
        .collect();
    let condition = if single { by_key(rng, table) } else { condition(rng, table, tables) };
    let sql = format!("UPDATE {} SET {} WHERE {condition} RETURNING *", table.name, assignments.join(", "));
    Statement { sql, single }
}

fn delete(rng: &mut StdRng, table: &Table, tables: &[Table]) -> Statement {
    let single = rng.random_bool(0.6);
    let condition = if single { by_key(rng, table) } else { condition(rng, table, tables) };
    Statement { sql: format!("DELETE FROM {} WHERE {condition} RETURNING *", table.name), single }
}

/// Rows of the table again, under other keys where that is easy.
fn copy_of_rows(rng: &mut StdRng, table: &Table) -> Statement {
    let columns: Vec<&Column> = table.columns.iter().filter(|c| !c.generated).collect();
    let values: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(i, c)| match c.kind {
            kind if i < table.key && kind.is_number() => format!("{} + 20", c.name),
            kind if i < table.key && kind.is_text() => format!("{} || '+'", c.name),
            _ => c.name.clone(),
        })
        .collect();
    let sql = format!(
        "INSERT INTO {0} ({1}) SELECT {2} FROM {0} WHERE {3} ON CONFLICT DO NOTHING",
        table.name,
        table.writable(),
        values.join(", "),
        by_key(rng, table)
    );
    Statement { sql, single: true }
}

fn by_key(rng: &mut StdRng, table: &Table) -> String {
    let parts: Vec<String> =
        table.columns.iter().take(table.key).map(|c| format!("{} = {}", c.name, c.kind.value(rng))).collect();
    parts.join(" AND ")
}

fn condition(rng: &mut StdRng, table: &Table, tables: &[Table]) -> String {
    let column = table.columns.choose(rng).unwrap();
    match rng.random_range(0..6) {
        0 => format!("{} IS NULL", column.name),
        1 => {
            let other = tables.choose(rng).unwrap();
            match other.columns.iter().find(|c| c.kind == column.kind) {
                Some(same) => format!("{} IN (SELECT {} FROM {})", column.name, same.name, other.name),
                None => "true".to_owned(),
            }
        }
        2 => format!("{} > {}", column.name, column.kind.value(rng)),
        3 => format!("{} = {} OR {}", column.name, column.kind.value(rng), by_key(rng, table)),
        _ => format!("{} = {}", column.name, column.kind.value(rng)),
    }
}

/// A query whose result doesn't depend on the order of rows.
pub fn read(rng: &mut StdRng, tables: &[Table]) -> String {
    let (table, other) = (tables.choose(rng).unwrap(), tables.choose(rng).unwrap());
    let column = &table.columns.choose(rng).unwrap().name;
    match rng.random_range(0..6) {
        0 => format!("SELECT {column}, count(*) FROM {} GROUP BY 1", table.name),
        1 => format!("SELECT * FROM {} WHERE {}", table.name, condition(rng, table, tables)),
        2 => format!(
            "SELECT x.{column}, y.* FROM {} x LEFT JOIN {} y ON y.{} = x.{column}",
            table.name, table.name, column
        ),
        3 => format!(
            "SELECT count(*) FROM {} x WHERE NOT EXISTS (SELECT 1 FROM {} y WHERE y.{} IS NULL)",
            table.name,
            other.name,
            other.columns.last().unwrap().name
        ),
        4 => format!("SELECT {column} FROM {} ORDER BY {column} LIMIT 3", table.name),
        _ => format!(
            "SELECT (SELECT max({}) FROM {}), count(*) FROM {}",
            other.columns[0].name, other.name, table.name
        ),
    }
}
