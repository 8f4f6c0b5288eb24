use serde::{Deserialize, Serialize};

use crate::{Result, TableDef, TableName};

/// An enumeration that a branch made: a type, which has no rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnumDef {
    /// Its values, in their order.
    pub labels: Vec<String>,
    /// What the backend calls it until main has it, as SQL.
    pub place: String,
    /// What main calls it, as SQL.
    pub home: String,
    /// Main has it: then it is at home, for whoever shows it.
    pub on_main: bool,
}

/// Something that uses a type that a branch made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeUser {
    /// The table or view, where the backend has it.
    pub relation: TableName,
    /// What of it, as the backend says it: `column m of table t`.
    pub what: String,
    /// It is an array of the type.
    pub array: bool,
}

impl EnumDef {
    /// What the backend calls it now, as SQL.
    pub fn spelled(&self) -> &str {
        if self.on_main { &self.home } else { &self.place }
    }

    /// Its name as SQL, without a schema.
    pub fn bare(&self) -> &str {
        // Of a quoted schema, the quote before the dot is the last one that isn't doubled.
        let mut quoted = false;
        for (at, c) in self.home.char_indices() {
            match c {
                '"' => quoted = !quoted,
                '.' if !quoted => return self.home.get(at + 1..).unwrap_or(&self.home),
                _ => {}
            }
        }
        &self.home
    }
}

impl TableDef {
    /// Whether it is a table, which may have rows: no view, and no type.
    pub fn is_table(&self) -> bool {
        self.view.is_none() && self.enumeration.is_none()
    }

    /// Whether a column is of a type that a branch made, or an array of it.
    pub fn uses(&self, enumeration: &EnumDef) -> bool {
        let named = |name: &str| name == enumeration.spelled();
        let is = |name: &str| named(name.trim_end_matches("[]"));
        let of_table = self.schema.columns.iter().map(|c| c.type_name.as_str());
        let of_view = self.view.iter().flat_map(|view| view.columns.iter().map(|(_, kind)| kind.as_str()));
        of_table.chain(of_view).any(is)
    }

    /// The table after types that it may use got another name, in whatever it says as SQL. `names`: from, to.
    pub fn with_types_renamed(&self, names: &[(String, String)]) -> Result<Self> {
        if self.enumeration.is_some() || names.is_empty() {
            return Ok(self.clone());
        }
        let wrong = |e: serde_json::Error| crate::Error::internal(format!("a table's definition: {e}"));
        let mut value = serde_json::to_value((self, &self.source)).map_err(wrong)?;
        rename(&mut value, names);
        let (table, source): (Self, _) = serde_json::from_value(value).map_err(wrong)?;
        Ok(Self { source, ..table })
    }
}

fn rename(value: &mut serde_json::Value, names: &[(String, String)]) {
    match value {
        serde_json::Value::String(text) => {
            for (from, to) in names {
                if text.contains(from.as_str()) {
                    *text = text.replace(from.as_str(), to);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        serde_json::Value::Object(items) => items.values_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::{BackendKind, Column, Location, Source, TableId, TableSchema};

    use super::*;

    fn enumeration(on_main: bool) -> EnumDef {
        EnumDef {
            labels: vec!["a".to_owned()],
            place: "epoch_b5_public.\"Mood\"".to_owned(),
            home: "public.\"Mood\"".to_owned(),
            on_main,
        }
    }

    fn table() -> TableDef {
        let column = Column {
            name: "m".to_owned(),
            type_name: "epoch_b5_public.\"Mood\"[]".to_owned(),
            pg_type: "epoch_b5_public.\"Mood\"[]".to_owned(),
            data_type: arrow::datatypes::DataType::Utf8,
            nullable: true,
            generated: false,
            default: Some("'{a}'::epoch_b5_public.\"Mood\"[]".to_owned()),
            equality: None,
        };
        let origin = crate::Origin::Value("NULL::epoch_b5_public.\"Mood\"[]".to_owned());
        TableDef {
            source: Some(Source { table: TableId(7), rows: None, images: vec![(TableId(7), vec![origin])] }),
            ..TableDef::new(
                TableId(7),
                TableName::public("t"),
                Location {
                    kind: BackendKind::PostgreSql,
                    backend: "crm".to_owned(),
                    schema: Some("epoch_b7_public".to_owned()),
                    table: "t".to_owned(),
                },
                TableSchema { columns: vec![column], key: vec![0] },
            )
        }
    }

    #[test]
    fn a_name_without_its_schema() {
        let named = |home: &str| EnumDef { home: home.to_owned(), ..enumeration(false) }.bare().to_owned();
        assert_eq!(named("public.mood"), "mood");
        assert_eq!(named("\"a.\"\"b\".\"Mo.od\""), "\"Mo.od\"");
    }

    #[test]
    fn a_type_that_came_to_main_has_its_name_there_in_all_that_uses_it() {
        let before = table();
        assert!(before.uses(&enumeration(false)) && !before.uses(&enumeration(true)));
        let names = [(enumeration(false).place, enumeration(false).home)];
        let after = before.with_types_renamed(&names).unwrap_or_else(|_| table());
        assert!(after.uses(&enumeration(true)) && !after.uses(&enumeration(false)));
        let default = after.schema.columns.first().and_then(|c| c.default.clone());
        assert_eq!(default.as_deref(), Some("'{a}'::public.\"Mood\"[]"));
        assert!(format!("{:?}", after.source).contains("NULL::public."), "{:?}", after.source);
        assert_eq!(after.location, before.location);
    }
}
