use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, TableId, TableName, sqlstate};

/// The kinds of backend that there are adapters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// PostgreSQL 14 to 18.
    PostgreSql,
    /// A SQLite database file.
    Sqlite,
    /// MySQL 8 and 9, MariaDB 10.6 and later.
    MySql,
    /// SQL Server 2017 and later.
    #[serde(rename = "sqlserver")]
    SqlServer,
    /// Delta tables in a folder of this machine.
    Local,
    /// Delta tables in an S3-compatible store.
    S3,
    /// Delta tables in Azure Blob Storage.
    Azure,
    /// Delta tables in Google Cloud Storage.
    Gcs,
}

impl BackendKind {
    /// The scheme of this kind's locations.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::Sqlite => "sqlite",
            Self::MySql => "mysql",
            Self::SqlServer => "sqlserver",
            Self::Local => "local",
            Self::S3 => "s3",
            Self::Azure => "azure",
            Self::Gcs => "gcs",
        }
    }

    /// Whether its tables are Delta tables, which are folders.
    pub fn is_lake(self) -> bool {
        matches!(self, Self::Local | Self::S3 | Self::Azure | Self::Gcs)
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

/// Where a table's rows live: `postgresql://NAME/schema.table`, `sqlite://NAME/table`, `mysql://NAME/table`, `sqlserver://NAME/schema.table`, or
/// `local://`, `s3://`, `azure://` or `gcs://NAME/path` of a Delta table. NAME is the backend's name in the configuration, so a location
/// never holds credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The kind of backend.
    pub kind: BackendKind,
    /// The backend's name in the configuration.
    pub backend: String,
    /// The schema, for backends that have schemas.
    pub schema: Option<String>,
    /// The table's name in the backend, as stored there (no quoting), or a Delta table's folder; may hold `*` in a pattern.
    pub table: String,
}

/// The longest name of a schema whose drafts' schemas still have names that PostgreSQL keeps whole.
const LONGEST_SCHEMA: usize = 40;

impl Location {
    /// Where a table made on a branch of a PostgreSQL backend is kept until a merge brings it to main: in a
    /// schema of its own, which no other table of this name can be in. 0A000 if the schema's name is too
    /// long for that.
    pub fn draft(backend: &str, id: TableId, name: &TableName) -> Result<Self, Error> {
        if name.schema.len() > LONGEST_SCHEMA {
            return Err(Error::unsupported(format!(
                "a table on a branch in schema \"{}\", whose name has more than {LONGEST_SCHEMA} bytes",
                name.schema
            )));
        }
        Ok(Self {
            kind: BackendKind::PostgreSql,
            backend: backend.to_owned(),
            schema: Some(format!("{DRAFT}{}_{}", id.0, name.schema)),
            table: name.name.clone(),
        })
    }

    /// Whether this is the place of a table that exists on branches only.
    pub fn is_draft(&self) -> bool {
        self.schema.as_deref().is_some_and(|schema| schema_of_draft(schema).is_some())
    }

    /// The place that a draft gets on main, and by which sessions on its branches name it; of any other
    /// table, its place.
    #[must_use]
    pub fn home(&self) -> Self {
        let schema = self.schema.as_deref();
        let home = schema.and_then(schema_of_draft).or(schema);
        Self { schema: home.map(str::to_owned), ..self.clone() }
    }
}

/// What the names of drafts' schemas begin with.
const DRAFT: &str = "epoch_b";

/// The schema that the tables of a draft's schema belong to; `None` if it isn't one.
pub fn schema_of_draft(schema: &str) -> Option<&str> {
    let (id, home) = schema.strip_prefix(DRAFT)?.split_once('_')?;
    (!id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) && !home.is_empty()).then_some(home)
}

/// A text of SQL in which names of what drafts' schemas hold have the schemas that these belong to.
pub fn at_home(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(DRAFT) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let quoted = before.ends_with('"');
        let end = match quoted {
            true => found.find('"'),
            false => found.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')),
        };
        let (word, after) = found.split_at(end.unwrap_or(found.len()));
        let begins = quoted || !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$'));
        let home = schema_of_draft(word).filter(|_| begins && after.trim_start_matches('"').starts_with('.'));
        out.push_str(home.unwrap_or(word));
        rest = after;
    }
    out.push_str(rest);
    out
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
    /// schema is in `public`, one of SQL Server in `dbo`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid location \"{text}\""))
                .with_hint(
                    "Write postgresql://NAME/schema.table, sqlite://NAME/table, mysql://NAME/table, \
                     sqlserver://NAME/schema.table, local://NAME/path, s3://NAME/path, azure://NAME/path or gcs://NAME/path, with NAME as in the configuration.",
                )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let kind = match scheme {
            "postgresql" | "postgres" => BackendKind::PostgreSql,
            "sqlite" => BackendKind::Sqlite,
            "mysql" => BackendKind::MySql,
            "sqlserver" => BackendKind::SqlServer,
            "local" => BackendKind::Local,
            "s3" => BackendKind::S3,
            "azure" => BackendKind::Azure,
            "gcs" => BackendKind::Gcs,
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
            BackendKind::SqlServer => match path.split_once('.') {
                Some((schema, table)) if !schema.is_empty() => (Some(schema.to_owned()), table),
                Some(_) => return Err(bad()),
                None => (Some("dbo".to_owned()), path),
            },
            BackendKind::Sqlite | BackendKind::MySql => (None, path),
            BackendKind::Local | BackendKind::S3 | BackendKind::Azure | BackendKind::Gcs => {
                (None, path.trim_matches('/'))
            }
        };
        if table.is_empty() {
            return Err(bad());
        }
        Ok(Self { kind, backend: backend.to_owned(), schema, table: table.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_store_is_read_and_written() {
        for kind in ["local", "s3", "azure", "gcs"] {
            let text = format!("{kind}://lake/sales/events");
            let location: Result<Location, _> = format!("{text}/").parse();
            assert_eq!(location.as_ref().map(ToString::to_string).ok(), Some(text));
            assert_eq!(
                location.map(|l| (l.table, l.kind.is_lake())).ok(),
                Some(("sales/events".to_owned(), true))
            );
        }
        let wrong = "gs://lake/t".parse::<Location>().map_err(|e| e.code().to_owned());
        assert_eq!(wrong, Err("22023".to_owned()));
        assert!(!BackendKind::MySql.is_lake());
    }

    #[test]
    fn tables_of_sql_server_have_a_schema() {
        let read =
            |text: &str| text.parse::<Location>().map(|l| (l.schema.clone(), l.table.clone(), l.to_string()));
        let of = |schema: &str, table: &str| {
            Ok((Some(schema.to_owned()), table.to_owned(), format!("sqlserver://erp/{schema}.{table}")))
        };
        assert_eq!(read("sqlserver://erp/sales.orders"), of("sales", "orders"));
        assert_eq!(read("sqlserver://erp/orders"), of("dbo", "orders"));
        assert!(read("sqlserver://erp/.orders").is_err() && read("sqlserver://erp/sales.").is_err());
        assert!(read("sqlserver://user@erp/sales.orders").is_err());
        assert_eq!(serde_json::to_string(&BackendKind::SqlServer).ok().as_deref(), Some("\"sqlserver\""));
    }

    #[test]
    fn texts_name_what_is_kept_for_drafts_as_main_does() {
        assert_eq!(
            at_home(
                "'a'::epoch_b5_public.mood, x::epoch_b6_public.\"M\"[], \"epoch_b7_Odd one\".t, epoch_b5_public, xepoch_b5_a.b"
            ),
            "'a'::public.mood, x::public.\"M\"[], \"Odd one\".t, epoch_b5_public, xepoch_b5_a.b"
        );
    }

    #[test]
    fn a_draft_knows_its_home() {
        let name = TableName { schema: "odd_b1".to_owned(), name: "users".to_owned() };
        let draft = Location::draft("crm", TableId(12), &name);
        assert_eq!(
            draft.as_ref().map(ToString::to_string).ok().as_deref(),
            Some("postgresql://crm/epoch_b12_odd_b1.users")
        );
        assert_eq!(draft.as_ref().map(Location::is_draft).ok(), Some(true));
        assert_eq!(
            draft.map(|d| d.home().to_string()).ok().as_deref(),
            Some("postgresql://crm/odd_b1.users")
        );
        assert_eq!(schema_of_draft("epoch_public"), None);
        assert_eq!(schema_of_draft("epoch_b_public"), None);
        assert_eq!(schema_of_draft("epoch_bx_public"), None);
        let long = TableName { schema: "s".repeat(41), name: "users".to_owned() };
        assert_eq!(
            Location::draft("crm", TableId(1), &long).map_err(|e| e.code().to_owned()),
            Err("0A000".to_owned())
        );
    }
}
