//! What the server says of the columns of a registered table, beside what its registration says.

use std::sync::Arc;

use epoch_adapter::TableDef;
use epoch_adapter_postgres::layout::{base, literal};

use crate::{Error, Result};

/// An expression for [`Facts::read`]; `c` is the table's row in pg_class.
pub(super) const JSON: &str = "(SELECT pg_catalog.json_build_array(c.oid::pg_catalog.int8, \
    pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, a.attnum, a.attidentity::pg_catalog.text) ORDER BY a.attnum), \
    (SELECT k.conkey FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND NOT k.condeferrable))::pg_catalog.text \
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)";

/// The table's number on the server, and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The oid of the base.
    pub oid: u32,
    /// The columns, in order.
    pub columns: Vec<Fact>,
    /// The numbers of the columns of the primary key, if there is one that isn't deferrable.
    pub primary: Vec<i16>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// Its number.
    pub number: i16,
    /// Whether it is an identity column, and if so whether GENERATED ALWAYS.
    pub identity: Option<bool>,
}

impl Facts {
    /// What [`JSON`] gives.
    pub(super) fn read(json: &str) -> Result<Self> {
        type Row = (u32, Option<Vec<(String, i16, String)>>, Option<Vec<i16>>);
        let (oid, columns, primary): Row = serde_json::from_str(json).map_err(|e| {
            Error::internal(format!("the server's catalog answered in an unexpected form: {e}"))
        })?;
        let one = |(name, number, identity): (String, i16, String)| {
            let identity = (!identity.is_empty()).then_some(identity == "a");
            Fact { name, number, identity }
        };
        let columns = columns.unwrap_or_default().into_iter().map(one).collect();
        Ok(Self { oid, columns, primary: primary.unwrap_or_default() })
    }

    /// The names of the columns of the primary key, if there is one that isn't deferrable.
    pub(in crate::query) fn primary(&self) -> Vec<&str> {
        let name = |number: &i16| self.columns.iter().find(|c| c.number == *number).map(|c| c.name.as_str());
        self.primary.iter().map(name).collect::<Option<_>>().unwrap_or_default()
    }

    /// Whether a column is an identity column, and if so whether GENERATED ALWAYS.
    pub(in crate::query) fn identity(&self, column: &str) -> Option<bool> {
        self.columns.iter().find(|c| c.name == column).and_then(|c| c.identity)
    }
}

/// Asks for the facts of tables: their index, and [`JSON`].
pub(super) fn sql(tables: &[Arc<TableDef>]) -> String {
    let one = |(i, table): (usize, &Arc<TableDef>)| format!("({i}, {})", literal(&base(table)));
    let values: Vec<String> = tables.iter().enumerate().map(one).collect();
    format!(
        "SELECT n.i::pg_catalog.text, {JSON} FROM (VALUES {}) n(i, name) \
         JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n.name)",
        values.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn identity_columns_are_told_apart() {
        let facts = Facts::read(r#"[16400, [["id", 1, "a"], ["n", 3, "d"], ["x", 4, ""]], [3, 1]]"#).unwrap();
        assert_eq!(facts.oid, 16400);
        assert_eq!(facts.identity("id"), Some(true));
        assert_eq!(facts.identity("n"), Some(false));
        assert_eq!(facts.identity("x"), None);
        assert_eq!(facts.columns.iter().map(|c| c.number).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(facts.primary(), ["n", "id"]);
        assert!(Facts::read(r#"[16400, [["id", 1, "a"]], null]"#).unwrap().primary().is_empty());
        assert!(Facts::read("[1]").is_err());
    }
}
