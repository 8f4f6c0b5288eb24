//! What SET, SHOW and `current_setting()` know in a session without a PostgreSQL backend.

use std::collections::BTreeMap;

use arrow::array::timezone::Tz;
use epoch_adapter::{Error, Result, sqlstate};

/// The PostgreSQL version that clients are told: the one whose catalogs are shown.
pub const SERVER_VERSION: &str = "15.13";

/// Name, default, and whether SET may change it.
const KNOWN: &[(&str, &str, bool)] = &[
    ("application_name", "", true),
    ("bytea_output", "hex", true),
    ("check_function_bodies", "on", true),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", true),
    ("constraint_exclusion", "partition", true),
    ("datestyle", "ISO, MDY", true),
    ("default_table_access_method", "heap", true),
    ("default_tablespace", "", true),
    ("default_transaction_isolation", "read committed", true),
    ("default_transaction_read_only", "off", true),
    ("default_transaction_deferrable", "off", true),
    ("enable_hashjoin", "on", true),
    ("enable_mergejoin", "on", true),
    ("enable_seqscan", "on", true),
    ("escape_string_warning", "on", true),
    ("extra_float_digits", "1", true),
    ("geqo", "on", true),
    ("idle_in_transaction_session_timeout", "0", true),
    ("in_hot_standby", "off", false),
    ("integer_datetimes", "on", false),
    ("intervalstyle", "postgres", true),
    ("is_superuser", "off", false),
    ("jit", "off", true),
    ("lc_collate", "C", false),
    ("lc_ctype", "C", false),
    ("lc_messages", "C", true),
    ("lc_monetary", "C", true),
    ("lc_numeric", "C", true),
    ("lc_time", "C", true),
    ("lock_timeout", "0", true),
    ("max_identifier_length", "63", false),
    ("max_index_keys", "32", false),
    ("max_connections", "100", false),
    ("role", "none", true),
    ("row_security", "on", true),
    ("search_path", "\"$user\", public", true),
    ("server_encoding", "UTF8", false),
    ("server_version", SERVER_VERSION, false),
    ("server_version_num", "150013", false),
    ("session_authorization", "", false),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "0", true),
    ("synchronize_seqscans", "on", true),
    ("synchronous_commit", "on", true),
    ("timezone", "UTC", true),
    ("transaction_deferrable", "off", false),
    ("transaction_isolation", "read committed", true),
    ("transaction_read_only", "off", true),
    ("wal_level", "replica", false),
    ("work_mem", "4MB", true),
    ("xmlbinary", "base64", true),
    ("xmloption", "content", true),
];

/// The settings of one session. Changes follow transactions as in PostgreSQL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    values: BTreeMap<String, String>,
    /// What RESET goes back to: values that came with the connection.
    start: BTreeMap<String, String>,
    /// The values at the start of the block, and those that SET LOCAL hides until its end.
    block: Option<Block>,
}

#[derive(Debug, Clone)]
struct Block {
    before: BTreeMap<String, String>,
    hidden: BTreeMap<String, Option<String>>,
}

/// The name of a setting as a column of SHOW: three have capitals.
pub(crate) fn as_shown(name: &str) -> &str {
    match name {
        "timezone" => "TimeZone",
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        other => other,
    }
}

impl Settings {
    /// A value that the connection brought; RESET goes back to it.
    pub(crate) fn set_default(&mut self, name: &str, value: &str) -> Result<()> {
        let (name, value) = checked(name, value)?;
        self.values.insert(name.clone(), value.clone());
        self.start.insert(name, value);
        Ok(())
    }

    /// `SET name = value`; `None` is DEFAULT.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        let Some(value) = value else { return self.reset(name) };
        let (name, value) = checked(name, value)?;
        match (&mut self.block, local) {
            (None, true) => return Ok(()),
            (Some(block), true) => {
                block.hidden.entry(name.clone()).or_insert_with(|| self.values.get(&name).cloned());
            }
            (Some(block), false) => {
                block.hidden.remove(&name);
            }
            (None, false) => {}
        }
        self.values.insert(name, value);
        Ok(())
    }

    /// `RESET name`, `RESET ALL`.
    pub(crate) fn reset(&mut self, name: &str) -> Result<()> {
        if name == "all" {
            self.values = self.start.clone();
            return Ok(());
        }
        self.show(name)?;
        match self.start.get(name) {
            Some(value) => self.values.insert(name.to_owned(), value.clone()),
            None => self.values.remove(name),
        };
        Ok(())
    }

    /// The value of a setting; 42704 if there is none of this name.
    pub(crate) fn show(&self, name: &str) -> Result<String> {
        self.get(name).map(str::to_owned).ok_or_else(|| unknown(name))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(value) => Some(value),
            None => KNOWN.iter().find(|(known, ..)| *known == name).map(|(_, default, _)| *default),
        }
    }

    /// All settings, by name.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        let mut all: BTreeMap<String, String> =
            KNOWN.iter().map(|(name, default, _)| ((*name).to_owned(), (*default).to_owned())).collect();
        all.extend(self.values.clone());
        all.into_iter().collect()
    }

    pub(crate) fn begin(&mut self) {
        self.block = Some(Block { before: self.values.clone(), hidden: BTreeMap::new() });
    }

    pub(crate) fn end(&mut self, committed: bool) {
        let Some(block) = self.block.take() else { return };
        if !committed {
            self.values = block.before;
            return;
        }
        for (name, value) in block.hidden {
            match value {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
    }

    /// The zone in which moments are printed and read.
    pub(crate) fn zone(&self) -> Result<Tz> {
        zone(self.get("timezone").unwrap_or("UTC"))
    }

    /// Schemas that unqualified names are looked up in.
    pub(crate) fn search_path(&self, user: &str) -> Vec<String> {
        let path = self.get("search_path").unwrap_or("public");
        let name = |part: &str| {
            let part = part.trim();
            match part.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
                Some(quoted) => quoted.to_owned(),
                None => part.to_lowercase(),
            }
        };
        path.split(',').map(name).map(|n| if n == "$user" { user.to_owned() } else { n }).collect()
    }
}

fn unknown(name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// The name and value as they are kept, if SET accepts them.
fn checked(name: &str, value: &str) -> Result<(String, String)> {
    let known = KNOWN.iter().find(|(known, ..)| *known == name);
    let invalid = || {
        let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
        Error::new(sqlstate::INVALID_PARAMETER_VALUE, message)
    };
    match known {
        None if name.contains('.') => {}
        None => return Err(unknown(name)),
        Some((_, _, false)) => {
            return Err(Error::new("55P02", format!("parameter \"{name}\" cannot be changed")));
        }
        Some(_) => {}
    }
    let value = match name {
        "client_encoding" => match value.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "utf8" | "unicode" => "UTF8".to_owned(),
            _ => {
                return Err(Error::unsupported(format!("client encoding \"{value}\"")).with_hint("Use UTF8."));
            }
        },
        "timezone" => {
            zone(value).map_err(|_| invalid())?;
            value.to_owned()
        }
        "datestyle" => match value.to_ascii_lowercase().split(',').next().map(str::trim) {
            Some("iso" | "mdy" | "dmy" | "ymd") => "ISO, MDY".to_owned(),
            Some("postgres" | "sql" | "german") => {
                return Err(Error::unsupported(format!("DateStyle \"{value}\"")).with_hint("Use ISO."));
            }
            _ => return Err(invalid()),
        },
        "standard_conforming_strings" if !matches!(value, "on" | "true" | "1" | "yes") => {
            return Err(Error::unsupported("standard_conforming_strings = off"));
        }
        "bytea_output" if value != "hex" => return Err(Error::unsupported("bytea_output other than hex")),
        "intervalstyle" if value != "postgres" => {
            return Err(Error::unsupported("IntervalStyle other than postgres"));
        }
        _ => value.to_owned(),
    };
    Ok((name.to_owned(), value))
}

/// A zone by name, or hours east of UTC.
fn zone(text: &str) -> Result<Tz> {
    let hours = text.parse::<i32>().ok().filter(|hours| (-15..=15).contains(hours));
    let name = match (hours, text.to_ascii_lowercase().as_str()) {
        (Some(hours), _) => format!("{}{:02}:00", if hours < 0 { '-' } else { '+' }, hours.abs()),
        (None, "utc" | "gmt" | "zulu" | "z" | "etc/utc" | "local" | "default") => "+00:00".to_owned(),
        (None, _) => text.to_owned(),
    };
    name.parse().map_err(|_| {
        Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("time zone \"{text}\" not recognized"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_follow_transactions() {
        let mut s = Settings::default();
        s.set("application_name", Some("a"), false).unwrap();
        s.begin();
        s.set("application_name", Some("b"), false).unwrap();
        s.set("timezone", Some("Europe/Berlin"), true).unwrap();
        s.end(false);
        assert_eq!(s.show("application_name").unwrap(), "a");
        s.begin();
        s.set("application_name", Some("b"), false).unwrap();
        s.set("timezone", Some("Europe/Berlin"), true).unwrap();
        assert_eq!(s.show("timezone").unwrap(), "Europe/Berlin");
        s.end(true);
        assert_eq!(s.show("application_name").unwrap(), "b");
        assert_eq!(s.show("timezone").unwrap(), "UTC");
    }

    #[test]
    fn values_are_checked() {
        let mut s = Settings::default();
        let mut code = |n: &str, v: &str| s.set(n, Some(v), false).err().map(|e| e.code().to_owned());
        assert_eq!(code("timezone", "Mars/Olympus").as_deref(), Some("22023"));
        assert_eq!(code("no_such_thing", "1").as_deref(), Some("42704"));
        assert_eq!(code("my.own", "1"), None);
        assert_eq!(code("server_version", "9").as_deref(), Some("55P02"));
        assert_eq!(code("client_encoding", "LATIN1").as_deref(), Some("0A000"));
        assert_eq!(code("client_encoding", "utf-8"), None);
        assert_eq!(code("timezone", "-5"), None);
        assert_eq!(s.show("client_encoding").unwrap(), "UTF8");
    }

    #[test]
    fn the_search_path_knows_the_user() {
        let mut s = Settings::default();
        assert_eq!(s.search_path("ann"), ["ann", "public"]);
        s.set("search_path", Some("Sales, \"Odd One\""), false).unwrap();
        assert_eq!(s.search_path("ann"), ["sales", "Odd One"]);
    }
}
