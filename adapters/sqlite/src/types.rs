//! Declared types of SQLite columns as PostgreSQL and Arrow types.
//!
//! | declared | PostgreSQL | Arrow |
//! |---|---|---|
//! | `INT`, `INTEGER`, `BIGINT`, anything with `INT` | `bigint` | `Int64` |
//! | `TEXT`, `CLOB` | `text` | `Utf8` |
//! | `VARCHAR(n)`, `CHAR(n)`, `NCHAR(n)` … | `character varying(n)` | `Utf8` |
//! | `BLOB` | `bytea` | `Binary` |
//! | `REAL`, `DOUBLE`, `FLOAT` | `double precision` | `Float64` |
//! | `NUMERIC(p,s)`, `DECIMAL(p,s)`, p <= 38 | `numeric(p,s)` | `Decimal128(p,s)` |
//! | `NUMERIC`, `DECIMAL` without a precision, or p > 38 | `double precision` | `Float64` |
//! | `BOOLEAN`, `BOOL` | `boolean` | `Boolean` |
//! | `DATE` (text `YYYY-MM-DD`) | `date` | `Date32` |
//! | `TIMESTAMP`, `DATETIME` (ISO text) | `timestamp without time zone` | `Timestamp(µs)` |
//! | `TIMESTAMPTZ` (ISO text; without an offset it is UTC) | `timestamp with time zone` | `Timestamp(µs, UTC)` |
//! | `JSON`, `JSONB` | `json` | `Utf8` |
//! | `UUID` | `uuid` | `Utf8` |
//! | none, `ANY` | `text` | `Utf8` |
//! | other names: by SQLite's affinity rules | as above; NUMERIC affinity is `double precision` | |
//!
//! SQLite keeps any value in any column (but for STRICT tables). A scan casts what can be cast without
//! loss (the text `'12'` to 12, the integer 3 to 3.0 or to `'3'`); anything else is an error 22P02 that
//! names the table, the column and the row's key.

use arrow::datatypes::{DataType, TimeUnit};

/// SQLite's column affinities, section 3.1 of "Datatypes In SQLite".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

/// The affinity of a declared type. `ANY` in a STRICT table keeps values as they are.
pub(crate) fn affinity(declared: &str, strict: bool) -> Affinity {
    let upper = declared.to_ascii_uppercase();
    let has = |part: &str| upper.contains(part);
    if strict && upper == "ANY" {
        return Affinity::Blob;
    }
    if has("INT") {
        Affinity::Integer
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Affinity::Text
    } else if has("BLOB") || upper.trim().is_empty() {
        Affinity::Blob
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

impl Affinity {
    /// A type name that has this affinity, for our history and mask tables.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Integer => "INTEGER",
            Self::Text => "TEXT",
            Self::Blob => "BLOB",
            Self::Real => "REAL",
            Self::Numeric => "NUMERIC",
        }
    }
}

/// The PostgreSQL type and the Arrow type of a declared type.
pub(crate) fn map(declared: &str) -> (String, DataType) {
    let upper = declared.trim().to_ascii_uppercase();
    let (name, arguments) = match upper.split_once('(') {
        Some((name, rest)) => (name.trim(), rest.trim_end_matches(')').trim()),
        None => (upper.as_str(), ""),
    };
    let float = || ("double precision".to_owned(), DataType::Float64);
    let text = |pg: &str| (pg.to_owned(), DataType::Utf8);
    match name {
        "NUMERIC" | "DECIMAL" | "DEC" => decimal(arguments).unwrap_or_else(float),
        "BOOLEAN" | "BOOL" => ("boolean".to_owned(), DataType::Boolean),
        "DATE" => ("date".to_owned(), DataType::Date32),
        "TIMESTAMP" | "DATETIME" | "TIMESTAMP WITHOUT TIME ZONE" => {
            ("timestamp without time zone".to_owned(), DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        "TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE" => {
            let zone = Some("UTC".into());
            ("timestamp with time zone".to_owned(), DataType::Timestamp(TimeUnit::Microsecond, zone))
        }
        "JSON" | "JSONB" => text("json"),
        "UUID" => text("uuid"),
        "" | "ANY" => text("text"),
        _ => match affinity(declared, false) {
            Affinity::Integer => ("bigint".to_owned(), DataType::Int64),
            Affinity::Real | Affinity::Numeric => float(),
            Affinity::Blob => ("bytea".to_owned(), DataType::Binary),
            Affinity::Text => match arguments.parse::<u32>() {
                Ok(n) if n > 0 && name.contains("CHAR") => text(&format!("character varying({n})")),
                _ => text("text"),
            },
        },
    }
}

fn decimal(arguments: &str) -> Option<(String, DataType)> {
    let mut parts = arguments.split(',').map(str::trim);
    let precision: u8 = parts.next()?.parse().ok()?;
    let scale: i8 = parts.next().unwrap_or("0").parse().ok()?;
    let fits = (1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    fits.then(|| (format!("numeric({precision},{scale})"), DataType::Decimal128(precision, scale)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_names_and_affinities() {
        let pg = |t: &str| map(t).0;
        assert_eq!(pg("INTEGER"), "bigint");
        assert_eq!(pg("unsigned big int"), "bigint");
        assert_eq!(pg("VARCHAR(20)"), "character varying(20)");
        assert_eq!(pg("native character(70)"), "character varying(70)");
        assert_eq!(pg("decimal(10, 2)"), "numeric(10,2)");
        assert_eq!(pg("DECIMAL(5)"), "numeric(5,0)");
        assert_eq!(pg("numeric"), "double precision");
        assert_eq!(pg("DECIMAL(60,2)"), "double precision");
        assert_eq!(pg("FLOATING POINT"), "bigint"); // contains INT: SQLite's own rule
        assert_eq!(pg("Boolean"), "boolean");
        assert_eq!(pg("timestamp"), "timestamp without time zone");
        assert_eq!(pg(""), "text");
        assert_eq!(pg("BLOB"), "bytea");
        assert_eq!(affinity("DATE", false), Affinity::Numeric);
        assert_eq!(affinity("any", true), Affinity::Blob);
        assert_eq!(affinity("any", false), Affinity::Numeric);
    }
}
