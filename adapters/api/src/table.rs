use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{EnumDef, Location, Retired, Revision, Source, ViewDef};

/// A registration's number; unique in a repository, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId(pub i64);

/// The name that SQL on the proxy uses for a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The schema: PostgreSQL's own for tables there, `public` for all others.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl TableName {
    /// A table of schema `public`.
    pub fn public(name: impl Into<String>) -> Self {
        Self { schema: "public".to_owned(), name: name.into() }
    }

    /// Reads a name as SQL has it: `users`, `Sales.Users` (lower case is meant), `"Odd ""Name"""`,
    /// `"a.b"."c"`. `None` if it isn't one.
    pub fn from_sql(text: &str) -> Option<Self> {
        let (first, rest) = identifier(text.trim())?;
        if rest.is_empty() {
            return Some(Self::public(first));
        }
        let (name, rest) = identifier(rest.strip_prefix('.')?)?;
        rest.is_empty().then_some(Self { schema: first, name })
    }
}

/// The identifier that a text begins with (in lower case unless it is quoted), and what follows it. `None` if it begins
/// with none.
pub fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['.', '"']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (!name.is_empty()).then(|| (name.to_ascii_lowercase(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name += part;
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

/// `users`, or `sales.users` outside schema `public`: the form of `table_name` in every result.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema != "public" {
            write!(f, "{}.", self.schema)?;
        }
        f.write_str(&self.name)
    }
}

/// One column of a registered table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The name.
    pub name: String,
    /// The type as the backend writes it in DDL, e.g. `numeric(10,2)`, `VARCHAR(20)`.
    pub type_name: String,
    /// The PostgreSQL type this column has on the wire, e.g. `numeric(10,2)`, `bigint`.
    pub pg_type: String,
    /// The Arrow type that scans yield.
    pub data_type: DataType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Computed by the backend from other columns: never written.
    pub generated: bool,
    /// The default as the backend's SQL, if there is one.
    pub default: Option<String>,
    /// The operator by which the backend takes two values for the same key, if it isn't what `=` means everywhere
    /// (an extension's type).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equality: Option<String>,
}

impl Column {
    /// The operator by which two values are the same key.
    pub fn equals(&self) -> &str {
        self.equality.as_deref().unwrap_or("=")
    }
}

/// Columns and key of a table as of its registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableSchema {
    /// In the table's order.
    pub columns: Vec<Column>,
    /// Indexes of the key columns in `columns`; never empty.
    pub key: Vec<usize>,
}

impl TableSchema {
    /// As an Arrow schema.
    pub fn arrow(&self) -> SchemaRef {
        let field = |c: &Column| Field::new(&c.name, c.data_type.clone(), c.nullable);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// The key columns, in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|&i| self.columns.get(i))
    }

    /// The names of the key columns, in key order.
    pub fn key_names(&self) -> Vec<String> {
        self.key_columns().map(|c| c.name.clone()).collect()
    }

    /// The key of a row, in key order.
    pub fn key_of(&self, row: &[crate::Value]) -> crate::Row {
        self.key.iter().filter_map(|&i| row.get(i).cloned()).collect()
    }

    /// The index of a column by name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }
}

/// A registered table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableDef {
    /// The registration.
    pub id: TableId,
    /// The name on the proxy.
    pub name: TableName,
    /// Where the rows live.
    pub location: Location,
    /// Columns and key.
    pub schema: TableSchema,
    /// Of a version of another table, how it comes from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Of a version that was main's table and isn't any more, what took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Retired>,
    /// Of a view that a branch defined, what it is. It has no columns and no key here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<Box<ViewDef>>,
    /// Of a type that a branch made, what it is. It has no columns and no key either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enumeration: Option<Box<EnumDef>>,
    /// Of a table with several versions, where its rows on main are. Not stored: they may move.
    #[serde(skip)]
    pub source: Option<Source>,
}

impl TableDef {
    /// A table as it is registered: no version of another one, no view and no type.
    pub fn new(id: TableId, name: TableName, location: Location, schema: TableSchema) -> Self {
        Self {
            id,
            name,
            location,
            schema,
            revision: None,
            retired: None,
            view: None,
            enumeration: None,
            source: None,
        }
    }
}

/// A table that a backend has, as `epoch_discover` lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    /// Where it is.
    pub location: Location,
    /// The key that registration would take; empty if there is none.
    pub key: Vec<String>,
    /// Why it can't be registered as it is; `None` if it can.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sql_writes_them() {
        let name =
            |schema: &str, name: &str| Some(TableName { schema: schema.to_owned(), name: name.to_owned() });
        assert_eq!(TableName::from_sql("Users"), name("public", "users"));
        assert_eq!(TableName::from_sql("Sales.Users"), name("sales", "users"));
        assert_eq!(TableName::from_sql("\"Odd \"\"Name\"\"\""), name("public", "Odd \"Name\""));
        assert_eq!(TableName::from_sql("\"a.b\".\"C\""), name("a.b", "C"));
        for text in ["", "\"", "\"\"", "a.", ".a", "a.b.c", "\"a\"b", "a\"b\"", "\"a"] {
            assert_eq!(TableName::from_sql(text), None, "{text}");
        }
    }
}
