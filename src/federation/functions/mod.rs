//! Scalar functions that PostgreSQL has and DataFusion hasn't, and those that depend on the session.

mod pg;
mod scalar;
mod single;
mod sqltypes;

use chrono::{DateTime, Utc};
use epoch_adapter::Result;

pub(crate) use pg::{find, quote_ident};
pub(crate) use scalar::Fixed;
pub(crate) use single::{NAME as SINGLE_VALUE, single_value};
pub(crate) use sqltypes::PgTypes;

use super::settings::Settings;

/// What functions may ask about the session; one snapshot per statement.
#[derive(Debug, Clone)]
pub(crate) struct SessionInfo {
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) pid: i32,
    /// When the transaction (outside of one: the statement) began: `now()`.
    pub(crate) started: DateTime<Utc>,
    pub(crate) zone_name: String,
    pub(crate) search_path: Vec<String>,
    pub(crate) settings: Settings,
    pub(crate) read_only: bool,
    pub(crate) in_transaction: bool,
    /// The branches, if they are to be among the databases.
    pub(crate) branches: Vec<String>,
}

impl SessionInfo {
    /// When the transaction began, on the session's clock, in microseconds.
    fn local(&self) -> Result<i64> {
        let zone = self.settings.zone()?;
        Ok(self.started.with_timezone(&zone).naive_local().and_utc().timestamp_micros())
    }

    pub(crate) fn new(user: &str, database: &str, settings: &Settings) -> Result<Self> {
        let zone = settings.zone()?;
        Ok(Self {
            user: user.to_owned(),
            database: database.to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
            started: Utc::now(),
            zone_name: match zone.to_string().as_str() {
                "+00:00" => "UTC".to_owned(),
                other => other.to_owned(),
            },
            search_path: settings.search_path(user),
            settings: settings.clone(),
            read_only: false,
            in_transaction: false,
            branches: Vec::new(),
        })
    }
}
