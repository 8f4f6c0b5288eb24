use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, sqlstate};

/// The kinds of backend that there are adapters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// PostgreSQL 14 to 18.
    PostgreSql,
    /// A SQLite database file.
    Sqlite,
}

impl BackendKind {
    /// The scheme of this kind's locations.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::Sqlite => "sqlite",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

/// Where a table's rows live: `postgresql://NAME/schema.table`, `sqlite://NAME/table`. NAME is the
/// backend's name in the configuration, so a location never holds credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The kind of backend.
    pub kind: BackendKind,
    /// The backend's name in the configuration.
    pub backend: String,
    /// The schema, for backends that have schemas.
    pub schema: Option<String>,
    /// The table's name in the backend, as stored there (no quoting); may hold `*` in a pattern.
    pub table: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/", self.kind, self.backend)?;
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.table)
    }
}

impl FromStr for Location {
    type Err = Error;

    /// 22023 if it isn't of the form `kind://name/[schema.]table`. A PostgreSQL table without a
    /// schema is in `public`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid location \"{text}\""))
                .with_hint("Write postgresql://NAME/schema.table or sqlite://NAME/table, with NAME as in the configuration.")
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let kind = match scheme {
            "postgresql" | "postgres" => BackendKind::PostgreSql,
            "sqlite" => BackendKind::Sqlite,
            _ => return Err(bad()),
        };
        let (backend, path) = rest.split_once('/').ok_or_else(bad)?;
        if backend.is_empty() || path.is_empty() || backend.contains(['@', ':']) {
            return Err(bad());
        }
        let (schema, table) = match kind {
            BackendKind::PostgreSql => match path.split_once('.') {
                Some((schema, table)) => (Some(schema.to_owned()), table),
                None => (Some("public".to_owned()), path),
            },
            BackendKind::Sqlite => (None, path),
        };
        if table.is_empty() {
            return Err(bad());
        }
        Ok(Self { kind, backend: backend.to_owned(), schema, table: table.to_owned() })
    }
}
