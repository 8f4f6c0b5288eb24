//! The configuration: what `epoch.toml` may hold, with defaults.
//!
//! [`options`] is the one list of keys; `epoch.toml.example` shows each of them, which a test checks.

mod build;
mod duration;
mod file;
mod hooks;
mod near;
mod object_stores;
mod options;
mod source;

#[cfg(test)]
mod tests;

pub use duration::duration;
pub use hooks::{Action, Event, Hook};
pub use near::near;
pub use options::{Opt, options};
pub use source::{Environment, Loaded, Overrides, load};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long deleted branches, and commits that a branch has left, are kept.
pub const DEFAULT_RETENTION: chrono::TimeDelta = chrono::TimeDelta::days(30);

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The repository's name: the first segment of the database name that clients connect to.
    pub name: String,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Certificate chain and key (PEM files) for TLS towards clients.
    pub tls: Option<TlsFiles>,
    /// Most client connections at once.
    pub max_connections: usize,
    /// How long a session looks for bytes without sleeping at most; zero: never.
    pub busy_poll: Duration,
    /// What sorts, joins and aggregates of all federated statements may hold before they spill, in bytes.
    pub memory_limit: usize,
    /// How clients prove who they are.
    pub auth: Auth,
    /// `sqlite://path` or `postgresql://…`.
    pub metadata_url: Secret,
    /// Backends by name.
    pub postgres: BTreeMap<String, PostgresBackend>,
    /// Backends by name.
    pub sqlite: BTreeMap<String, SqliteBackend>,
    /// Backends by name.
    pub mysql: BTreeMap<String, MysqlBackend>,
    /// Backends by name.
    pub sqlserver: BTreeMap<String, SqlServerBackend>,
    /// Backends by name.
    pub local: BTreeMap<String, LocalBackend>,
    /// Backends by name.
    pub s3: BTreeMap<String, epoch_adapter_delta::S3>,
    /// Backends by name.
    pub azure: BTreeMap<String, epoch_adapter_delta::Azure>,
    /// Backends by name.
    pub gcs: BTreeMap<String, epoch_adapter_delta::Gcs>,
    /// Table pattern to backend name, in the file's order; the first that matches wins.
    pub routing: Vec<(String, String)>,
    /// The backend of unqualified tables: `[defaults] backend`, else the only PostgreSQL backend,
    /// else the only backend.
    pub default_backend: Option<String>,
    /// Author of commits when the session sets none.
    pub author: Option<String>,
    /// Email of commits when the session sets none.
    pub email: Option<String>,
    /// A `tracing` filter, e.g. `info,epoch=debug`.
    pub log_filter: String,
    /// `text` or `json`.
    pub log_json: bool,
    /// Pattern of branches to how long what they leave is kept (`None`: for ever), in the file's order; the first that
    /// matches wins, else it is [`DEFAULT_RETENTION`].
    pub retention: Vec<(String, Option<chrono::TimeDelta>)>,
    /// What else has a say in operations, or is told of them, by name.
    pub hooks: Vec<Hook>,
}

impl Config {
    /// Whether there is any backend.
    pub fn has_backends(&self) -> bool {
        let Self { postgres, sqlite, mysql, sqlserver, local, s3, azure, gcs, .. } = self;
        let servers = postgres.len() + mysql.len() + sqlserver.len();
        let lakes = local.len() + s3.len() + azure.len() + gcs.len();
        servers + sqlite.len() + lakes > 0
    }
}

/// PEM files for TLS.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Client authentication.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Anybody; only on a loopback address.
    Trust,
    /// SCRAM-SHA-256 with these verifiers (`SCRAM-SHA-256$4096:salt$stored:server`) by user name.
    Scram(BTreeMap<String, Secret>),
}

/// A PostgreSQL server and database.
#[derive(Debug, Clone)]
pub struct PostgresBackend {
    /// `postgresql://user:password@host:port/database?sslmode=…`.
    pub url: Secret,
    /// Most connections of our own (sessions have one each beside these).
    pub pool_size: usize,
    /// Merge into main even if the server may lose what it has committed.
    pub allow_unsafe_source: bool,
}

/// A SQLite database file.
#[derive(Debug, Clone)]
pub struct SqliteBackend {
    /// The file; created if missing.
    pub path: PathBuf,
}

/// A MySQL or MariaDB server and database.
#[derive(Debug, Clone)]
pub struct MysqlBackend {
    /// `mysql://user:password@host:port/database?ssl-mode=…`.
    pub url: Secret,
    /// Idle connections that are kept.
    pub pool_size: usize,
    /// Merge into main even if the server may lose what it has committed.
    pub allow_unsafe_source: bool,
}

/// A SQL Server and a database.
#[derive(Debug, Clone)]
pub struct SqlServerBackend {
    /// `sqlserver://user:password@host:port/database?encrypt=…`.
    pub url: Secret,
    /// Idle connections that are kept.
    pub pool_size: usize,
    /// Merge into main even if the server may lose what it has committed.
    pub allow_unsafe_source: bool,
}

/// A folder of this machine with Delta tables.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    /// The folder.
    pub path: PathBuf,
}

/// Text that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}
