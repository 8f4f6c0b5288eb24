//! The configured backends, and which of them a table belongs to.

mod pattern;

pub use pattern::{glob, matches};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epoch_adapter::{Adapter, BackendKind, Error, Location, Result, TableName, sqlstate};
use epoch_adapter_delta::DeltaAdapter;

use crate::config::Config;

/// The backends of a repository and the rules that route tables to them.
#[derive(Debug, Clone, Default)]
pub struct Backends {
    adapters: BTreeMap<String, Arc<dyn Adapter>>,
    routing: Vec<(String, String)>,
    default: Option<String>,
    /// Those that are merged into although they may lose commits.
    unsafe_allowed: BTreeSet<String>,
}

impl Backends {
    /// Opens everything the configuration names.
    pub async fn open(config: &Config) -> Result<Self> {
        let mut adapters: Vec<Arc<dyn Adapter>> = Vec::new();
        for (name, backend) in &config.postgres {
            adapters.push(open_postgres(name, backend)?);
        }
        for (name, backend) in &config.sqlite {
            adapters.push(open_sqlite(name, backend).await?);
        }
        for (name, backend) in &config.mysql {
            let (url, pool_size) = (backend.url.expose(), backend.pool_size);
            adapters.push(Arc::new(epoch_adapter_mysql::MysqlAdapter::new(name, url, pool_size)?));
        }
        for (name, backend) in &config.sqlserver {
            let (url, pool_size) = (backend.url.expose(), backend.pool_size);
            adapters.push(Arc::new(epoch_adapter_sqlserver::SqlServerAdapter::new(name, url, pool_size)?));
        }
        for (name, backend) in &config.local {
            adapters.push(Arc::new(DeltaAdapter::local(name, &backend.path)?));
        }
        for (name, backend) in &config.s3 {
            adapters.push(Arc::new(DeltaAdapter::s3(name, backend)?));
        }
        for (name, backend) in &config.azure {
            adapters.push(Arc::new(DeltaAdapter::azure(name, backend)?));
        }
        for (name, backend) in &config.gcs {
            adapters.push(Arc::new(DeltaAdapter::gcs(name, backend)?));
        }
        let mut backends = Self::new(adapters, config.routing.clone(), config.default_backend.clone());
        let postgres = config.postgres.iter().map(|(name, b)| (name, b.allow_unsafe_source));
        let mysql = config.mysql.iter().map(|(name, b)| (name, b.allow_unsafe_source));
        let sqlserver = config.sqlserver.iter().map(|(name, b)| (name, b.allow_unsafe_source));
        let all = postgres.chain(mysql).chain(sqlserver);
        backends.unsafe_allowed = all.filter(|(_, allowed)| *allowed).map(|(name, _)| name.clone()).collect();
        Ok(backends)
    }

    /// From adapters that are open already.
    pub fn new(
        adapters: Vec<Arc<dyn Adapter>>,
        routing: Vec<(String, String)>,
        default: Option<String>,
    ) -> Self {
        let adapters: BTreeMap<_, _> = adapters.into_iter().map(|a| (a.name().to_owned(), a)).collect();
        let only = || if adapters.len() == 1 { adapters.keys().next().cloned() } else { None };
        let default = default.or_else(only);
        Self { adapters, routing, default, unsafe_allowed: BTreeSet::new() }
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<dyn Adapter>> {
        self.adapters.values().cloned().collect()
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Adapter>> {
        self.adapters.get(name).cloned()
    }

    /// One of them, which must be there.
    pub fn require(&self, name: &str) -> Result<Arc<dyn Adapter>> {
        self.get(name).ok_or_else(|| {
            let known: Vec<_> = self.adapters.keys().map(String::as_str).collect();
            Error::new(sqlstate::INVALID_CATALOG_NAME, format!("backend \"{name}\" is not configured"))
                .with_hint(format!("Configured backends: {}.", known.join(", ")))
        })
    }

    /// 55000 if a backend may lose what it says it has committed, unless the configuration allows that.
    pub async fn check_durable(&self, name: &str) -> Result<()> {
        if self.unsafe_allowed.contains(name) {
            return Ok(());
        }
        let backend = self.require(name)?;
        let risks = backend.risks().await?;
        if risks.is_empty() {
            return Ok(());
        }
        let kind = match backend.kind() {
            BackendKind::PostgreSql => "postgres",
            BackendKind::Sqlite => "sqlite",
            BackendKind::MySql => "mysql",
            BackendKind::SqlServer => "sqlserver",
            BackendKind::Local => "local",
            BackendKind::S3 => "s3",
            BackendKind::Azure => "azure",
            BackendKind::Gcs => "gcs",
        };
        let message = format!("backend \"{name}\" may lose commits, so main's tables are not written to");
        Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_detail(format!("On its server {}.", risks.join(", ")))
            .with_hint(format!(
                "Change the server's settings, or set allow_unsafe_source = true in [storage.{kind}.{name}]."
            )))
    }

    /// The backend of tables that no rule routes.
    pub fn default_backend(&self) -> Option<Arc<dyn Adapter>> {
        self.default.as_deref().and_then(|name| self.get(name))
    }

    /// The name of the backend that the rules give a table: the first that matches, else the default.
    pub fn route(&self, table: &TableName) -> Option<&str> {
        let routed = self.routing.iter().find(|(pattern, _)| matches(pattern, table));
        routed.map(|(_, backend)| backend.as_str()).or(self.default.as_deref())
    }
}

/// The name on the proxy of a table at a location: of a path, its last part; SQL Server's usual schema is PostgreSQL's.
pub fn proxy_name(location: &Location) -> TableName {
    let schema = match (location.kind, &location.schema) {
        (BackendKind::SqlServer, Some(schema)) if schema == "dbo" => "public".to_owned(),
        (_, Some(schema)) => schema.clone(),
        (_, None) => "public".to_owned(),
    };
    let name = match location.kind {
        kind if kind.is_lake() => location.table.rsplit('/').next().unwrap_or_default(),
        _ => location.table.as_str(),
    };
    TableName { schema, name: name.to_owned() }
}

fn open_postgres(name: &str, backend: &crate::config::PostgresBackend) -> Result<Arc<dyn Adapter>> {
    let adapter =
        epoch_adapter_postgres::PostgresAdapter::connect(name, backend.url.expose(), backend.pool_size)?;
    Ok(Arc::new(adapter))
}

async fn open_sqlite(name: &str, backend: &crate::config::SqliteBackend) -> Result<Arc<dyn Adapter>> {
    let (name, path) = (name.to_owned(), backend.path.clone());
    let open = move || epoch_adapter_sqlite::SqliteAdapter::open(&name, &path);
    let opened = tokio::task::spawn_blocking(open).await;
    Ok(Arc::new(opened.map_err(|e| Error::internal(format!("opening a backend failed: {e}")))??))
}
