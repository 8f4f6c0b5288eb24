//! From settings to a checked [`Config`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::error;
use super::object_stores::ObjectStores;
use super::options::{alternatives, find};
use super::source::Setting;
use super::{
    Auth, Config, Hook, LocalBackend, MysqlBackend, PostgresBackend, Secret, SqlServerBackend, SqliteBackend,
    TlsFiles, hooks, near,
};
use crate::{Error, Result};

const DEFAULT_POOL: usize = 10;
/// Microseconds: twice a point query's time in PostgreSQL on a branch. A shorter look ends before the answer is there,
/// and what was looked for in vain is slept for the next time.
const BUSY_POLL: usize = 300;
/// Megabytes.
const MEMORY_LIMIT: usize = 1024;

/// Everything that was set, before what depends on several settings is checked.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    listen: Option<(SocketAddr, String)>,
    max_connections: Option<usize>,
    busy_poll: Option<usize>,
    memory_limit: Option<usize>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    scram: bool,
    users: BTreeMap<String, Secret>,
    metadata: Option<Secret>,
    urls: BTreeMap<String, Secret>,
    pools: BTreeMap<String, usize>,
    unsafe_postgres: BTreeMap<String, bool>,
    sqlite: BTreeMap<String, SqliteBackend>,
    mysql_urls: BTreeMap<String, Secret>,
    mysql_pools: BTreeMap<String, usize>,
    unsafe_mysql: BTreeMap<String, bool>,
    sqlserver_urls: BTreeMap<String, Secret>,
    sqlserver_pools: BTreeMap<String, usize>,
    unsafe_sqlserver: BTreeMap<String, bool>,
    local: BTreeMap<String, LocalBackend>,
    object_stores: ObjectStores,
    routing: Vec<(String, String, String)>,
    backend: Option<(String, String)>,
    author: Option<String>,
    email: Option<String>,
    log_filter: Option<String>,
    log_json: bool,
    retention: Vec<(String, Option<chrono::TimeDelta>)>,
    hooks: Vec<(String, hooks::Draft)>,
}

/// Checks all settings. `root` is what the default of `metadata.url` is relative to.
pub(super) fn build(settings: Vec<Setting>, root: &Path) -> Result<Config> {
    let mut draft = Draft::default();
    for setting in &settings {
        draft.take(setting)?;
    }
    draft.finish(root)
}

impl Draft {
    fn take(&mut self, setting: &Setting) -> Result<()> {
        let Some(option) = find(&setting.path) else {
            let empty = setting.value.as_table().is_some_and(toml::Table::is_empty);
            let section = alternatives(&setting.path).0 == setting.path.len();
            return if empty && section { Ok(()) } else { Err(unknown(setting)) };
        };
        let name = || setting.path.get(2).cloned().unwrap_or_default();
        match option.key {
            "repository.name" => self.name = Some(setting.name()?),
            "proxy.listen" => {
                self.listen = Some((setting.address()?, setting.origin.to_string()));
            }
            "proxy.max_connections" => self.max_connections = Some(setting.count(1, 100_000)?),
            "proxy.memory_limit" => self.memory_limit = Some(setting.count(16, 1_000_000)?),
            "proxy.busy_poll" => self.busy_poll = Some(setting.count(0, 1000)?),
            "proxy.tls.cert" => self.cert = Some(setting.existing_file()?),
            "proxy.tls.key" => self.key = Some(setting.existing_file()?),
            "auth.method" => self.scram = setting.one_of("trust", "scram-sha-256")?,
            "auth.users.NAME" => {
                self.users.insert(name(), setting.verifier()?);
            }
            "metadata.url" => self.metadata = Some(setting.metadata_url()?),
            "storage.postgres.NAME.url" => {
                self.urls.insert(setting.backend_name()?, setting.postgres_url()?);
            }
            "storage.postgres.NAME.pool_size" => {
                self.pools.insert(setting.backend_name()?, setting.count(1, 1000)?);
            }
            "storage.postgres.NAME.allow_unsafe_source" => {
                self.unsafe_postgres.insert(setting.backend_name()?, setting.flag()?);
            }
            "storage.sqlite.NAME.path" => {
                self.sqlite.insert(setting.backend_name()?, SqliteBackend { path: setting.path()? });
            }
            "storage.mysql.NAME.url" => {
                self.mysql_urls.insert(setting.backend_name()?, setting.mysql_url()?);
            }
            "storage.mysql.NAME.pool_size" => {
                self.mysql_pools.insert(setting.backend_name()?, setting.count(1, 1000)?);
            }
            "storage.mysql.NAME.allow_unsafe_source" => {
                self.unsafe_mysql.insert(setting.backend_name()?, setting.flag()?);
            }
            "storage.sqlserver.NAME.url" => {
                self.sqlserver_urls.insert(setting.backend_name()?, setting.sqlserver_url()?);
            }
            "storage.sqlserver.NAME.pool_size" => {
                self.sqlserver_pools.insert(setting.backend_name()?, setting.count(1, 1000)?);
            }
            "storage.sqlserver.NAME.allow_unsafe_source" => {
                self.unsafe_sqlserver.insert(setting.backend_name()?, setting.flag()?);
            }
            "storage.local.NAME.path" => {
                self.local.insert(setting.backend_name()?, LocalBackend { path: setting.path()? });
            }
            key if ObjectStores::are_meant(key) => self.object_stores.take(setting, key)?,
            "routing.NAME" => {
                let pattern = setting.path.get(1).cloned().unwrap_or_default();
                self.routing.push((pattern, setting.text()?.to_owned(), setting.origin.to_string()));
            }
            "defaults.backend" => {
                self.backend = Some((setting.text()?.to_owned(), setting.origin.to_string()));
            }
            "defaults.author" => self.author = Some(setting.not_empty()?),
            "defaults.email" => self.email = Some(setting.text()?.to_owned()),
            "retention.NAME" => {
                let pattern = setting.path.get(1).cloned().unwrap_or_default();
                self.retention.push((pattern, setting.time()?));
            }
            key if key.starts_with("hooks.") => self.take_hook(setting, key)?,
            "logging.filter" => self.log_filter = Some(setting.filter()?),
            "logging.format" => self.log_json = setting.one_of("text", "json")?,
            other => return Err(Error::internal(format!("option {other} is listed but not read"))),
        }
        Ok(())
    }

    fn take_hook(&mut self, setting: &Setting, key: &str) -> Result<()> {
        let name = setting.path.get(1).cloned().unwrap_or_default();
        if !is_name(&name) {
            return Err(error(format!("{}: {}: bad name \"{name}\"", setting.origin, setting.dotted()))
                .with_hint("Names of hooks are letters, digits, - and _."));
        }
        if !self.hooks.iter().any(|(known, _)| *known == name) {
            self.hooks.push((name.clone(), hooks::Draft::default()));
        }
        let Some((_, hook)) = self.hooks.iter_mut().find(|(known, _)| *known == name) else { return Ok(()) };
        match key {
            "hooks.NAME.event" => hook.event = Some(setting.not_empty()?),
            "hooks.NAME.branches" => hook.branches = Some(setting.not_empty()?),
            "hooks.NAME.sql" => hook.sql = Some(setting.not_empty()?),
            "hooks.NAME.command" => {
                hook.command = Some((setting.not_empty()?, setting.origin.directory().to_owned()));
            }
            "hooks.NAME.url" => hook.url = Some(setting.web_url()?),
            "hooks.NAME.secret" => hook.secret = Some(setting.not_empty()?),
            "hooks.NAME.root_cert" => hook.root = Some(setting.path()?),
            "hooks.NAME.timeout" => hook.timeout = Some(setting.count(1, 600)?),
            "hooks.NAME.retries" => hook.retries = Some(setting.count(0, 10)?),
            other => return Err(Error::internal(format!("option {other} is listed but not read"))),
        }
        Ok(())
    }

    fn finish(mut self, root: &Path) -> Result<Config> {
        let hooks = std::mem::take(&mut self.hooks);
        let hooks: Vec<Hook> =
            hooks.into_iter().map(|(name, hook)| hook.finish(name)).collect::<Result<_>>()?;
        self.object_stores.check()?;
        let ObjectStores { s3, azure, gcs } = std::mem::take(&mut self.object_stores);
        let postgres = self.postgres()?;
        let (mysql, sqlserver) = (self.mysql()?, self.sqlserver()?);
        let kinds: [(&str, Vec<&str>); 8] = [
            ("postgres", postgres.keys().map(String::as_str).collect()),
            ("sqlite", self.sqlite.keys().map(String::as_str).collect()),
            ("mysql", mysql.keys().map(String::as_str).collect()),
            ("sqlserver", sqlserver.keys().map(String::as_str).collect()),
            ("local", self.local.keys().map(String::as_str).collect()),
            ("s3", s3.keys().map(String::as_str).collect()),
            ("azure", azure.keys().map(String::as_str).collect()),
            ("gcs", gcs.keys().map(String::as_str).collect()),
        ];
        different(&kinds)?;
        let names: Vec<&str> = kinds.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for (pattern, backend, origin) in &self.routing {
            known_backend(&names, backend, origin, &format!("routing.{pattern:?}"))?;
        }
        let default_backend = match &self.backend {
            Some((name, origin)) => {
                known_backend(&names, name, origin, "defaults.backend")?;
                Some(name.clone())
            }
            None => only(postgres.keys()).or_else(|| match names.as_slice() {
                [name] => Some((*name).to_owned()),
                _ => None,
            }),
        };
        let (listen, origin) =
            self.listen.unwrap_or_else(|| (SocketAddr::from(([127, 0, 0, 1], 6543)), "default".to_owned()));
        let auth = match self.scram {
            true => Auth::Scram(self.users),
            false if listen.ip().is_loopback() => Auth::Trust,
            false => return Err(open_to_everybody(listen, &origin)),
        };
        let tls = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(error("proxy.tls.cert is set, but proxy.tls.key is not".to_owned()));
            }
            (None, Some(_)) => {
                return Err(error("proxy.tls.key is set, but proxy.tls.cert is not".to_owned()));
            }
        };
        let default_metadata = || Secret::new(sqlite_url(&root.join(".epoch/epoch.db")));
        Ok(Config {
            name: self.name.unwrap_or_else(|| "epoch".to_owned()),
            listen,
            tls,
            max_connections: self.max_connections.unwrap_or(1000),
            busy_poll: Duration::from_micros(self.busy_poll.unwrap_or(BUSY_POLL) as u64),
            memory_limit: self.memory_limit.unwrap_or(MEMORY_LIMIT) << 20,
            auth,
            metadata_url: self.metadata.unwrap_or_else(default_metadata),
            postgres,
            sqlite: self.sqlite,
            mysql,
            sqlserver,
            local: self.local,
            s3,
            azure,
            gcs,
            routing: self.routing.into_iter().map(|(pattern, backend, _)| (pattern, backend)).collect(),
            default_backend,
            author: self.author,
            email: self.email,
            log_filter: self.log_filter.unwrap_or_else(|| "info".to_owned()),
            log_json: self.log_json,
            retention: self.retention,
            hooks,
        })
    }

    fn mysql(&self) -> Result<BTreeMap<String, MysqlBackend>> {
        without_url("mysql", "pool_size", &self.mysql_pools, &self.mysql_urls)?;
        without_url("mysql", "allow_unsafe_source", &self.unsafe_mysql, &self.mysql_urls)?;
        let backend = |(name, url): (&String, &Secret)| {
            let pool_size = self.mysql_pools.get(name).copied().unwrap_or(DEFAULT_POOL);
            let allow_unsafe_source = self.unsafe_mysql.get(name).copied().unwrap_or_default();
            (name.clone(), MysqlBackend { url: url.clone(), pool_size, allow_unsafe_source })
        };
        Ok(self.mysql_urls.iter().map(backend).collect())
    }

    fn sqlserver(&self) -> Result<BTreeMap<String, SqlServerBackend>> {
        without_url("sqlserver", "pool_size", &self.sqlserver_pools, &self.sqlserver_urls)?;
        without_url("sqlserver", "allow_unsafe_source", &self.unsafe_sqlserver, &self.sqlserver_urls)?;
        let backend = |(name, url): (&String, &Secret)| {
            let pool_size = self.sqlserver_pools.get(name).copied().unwrap_or(DEFAULT_POOL);
            let allow_unsafe_source = self.unsafe_sqlserver.get(name).copied().unwrap_or_default();
            (name.clone(), SqlServerBackend { url: url.clone(), pool_size, allow_unsafe_source })
        };
        Ok(self.sqlserver_urls.iter().map(backend).collect())
    }

    fn postgres(&self) -> Result<BTreeMap<String, PostgresBackend>> {
        without_url("postgres", "pool_size", &self.pools, &self.urls)?;
        without_url("postgres", "allow_unsafe_source", &self.unsafe_postgres, &self.urls)?;
        let backend = |(name, url): (&String, &Secret)| {
            let pool_size = self.pools.get(name).copied().unwrap_or(DEFAULT_POOL);
            let allow_unsafe_source = self.unsafe_postgres.get(name).copied().unwrap_or_default();
            (name.clone(), PostgresBackend { url: url.clone(), pool_size, allow_unsafe_source })
        };
        Ok(self.urls.iter().map(backend).collect())
    }
}

/// A backend's other options mean nothing without its place.
fn without_url<T>(
    kind: &str,
    option: &str,
    given: &BTreeMap<String, T>,
    urls: &BTreeMap<String, Secret>,
) -> Result<()> {
    match given.keys().find(|name| !urls.contains_key(*name)) {
        Some(name) => {
            let article = if option.starts_with('a') { "an" } else { "a" };
            Err(error(format!("storage.{kind}.{name} has {article} {option}, but no url")))
        }
        None => Ok(()),
    }
}

/// Locations and rules name backends by their names alone.
fn different(kinds: &[(&str, Vec<&str>)]) -> Result<()> {
    let all = || kinds.iter().flat_map(|(kind, names)| names.iter().map(move |name| (*kind, *name)));
    for (n, (kind, name)) in all().enumerate() {
        if let Some((other, _)) = all().skip(n + 1).find(|(_, other)| *other == name) {
            return Err(error(format!(
                "storage.{kind}.{name} and storage.{other}.{name}: two backends can't have one name"
            )));
        }
    }
    Ok(())
}

fn only<'a>(mut names: impl Iterator<Item = &'a String>) -> Option<String> {
    let first = names.next()?;
    names.next().is_none().then(|| first.clone())
}

fn known_backend(names: &[&str], name: &str, origin: &str, key: &str) -> Result<()> {
    if names.contains(&name) {
        return Ok(());
    }
    let error = error(format!("{origin}: {key}: no backend is named \"{name}\""));
    Err(match names {
        [] => error.with_hint(
            "Add one: [storage.postgres.NAME] url, [storage.sqlite.NAME] path, [storage.mysql.NAME] url, \
             [storage.sqlserver.NAME] url, [storage.local.NAME] path, [storage.s3.NAME] bucket, [storage.azure.NAME] container or \
             [storage.gcs.NAME] bucket.",
        ),
        _ => error.with_hint(format!("Backends: {}.", names.join(", "))),
    })
}

fn open_to_everybody(listen: SocketAddr, origin: &str) -> Error {
    error(format!("{origin}: proxy.listen: {listen} is not a loopback address, but auth.method is \"trust\""))
        .with_hint("Set auth.method = \"scram-sha-256\" and add users with `epoch user add`, or listen on 127.0.0.1.")
}

fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

fn unknown(setting: &Setting) -> Error {
    let (index, known) = alternatives(&setting.path);
    let dotted = setting.dotted();
    let Setting { origin, path, .. } = setting;
    let section = path.get(..index).unwrap_or_default().join(".");
    let place = if section.is_empty() { "at the top".to_owned() } else { format!("in [{section}]") };
    if index == path.len() {
        let error = error(format!("{origin}: {dotted} must be a table"));
        return error.with_hint(format!("Allowed {place}: {}.", known.join(", ")));
    }
    let error = error(format!("{origin}: unknown key {dotted}"));
    let wrong = path.get(index).map(String::as_str).unwrap_or_default();
    if known.is_empty() {
        return error.with_hint(format!("{section} holds a value, not a table."));
    }
    let allowed = format!("Allowed {place}: {}.", known.join(", "));
    match near(wrong, known).as_slice() {
        [] => error.with_hint(allowed),
        near => error.with_hint(format!("Did you mean {}? {allowed}", near.join(" or "))),
    }
}

/// Reading of single values; each failure names origin, key and what is allowed.
impl Setting {
    fn dotted(&self) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let part = |p: &String| if p.chars().all(bare) { p.clone() } else { format!("{p:?}") };
        self.path.iter().map(part).collect::<Vec<_>>().join(".")
    }

    pub(super) fn bad(&self) -> Error {
        let option = find(&self.path);
        let value = match option {
            Some(option) if !option.secret => format!(" {}", self.value),
            _ => String::new(),
        };
        let error = error(format!("{}: {}: bad value{value}", self.origin, self.dotted()));
        match option {
            Some(option) => error.with_hint(format!("Allowed: {}.", option.allowed)),
            None => error,
        }
    }

    fn text(&self) -> Result<&str> {
        self.value.as_str().ok_or_else(|| self.bad())
    }

    pub(super) fn not_empty(&self) -> Result<String> {
        let text = self.text()?.trim();
        if text.is_empty() { Err(self.bad()) } else { Ok(text.to_owned()) }
    }

    fn name(&self) -> Result<String> {
        let text = self.text()?;
        if is_name(text) { Ok(text.to_owned()) } else { Err(self.bad()) }
    }

    pub(super) fn backend_name(&self) -> Result<String> {
        let name = self.path.get(2).cloned().unwrap_or_default();
        if is_name(&name) {
            return Ok(name);
        }
        Err(error(format!("{}: {}: bad name \"{name}\"", self.origin, self.dotted()))
            .with_hint("Names of backends are letters, digits, - and _."))
    }

    /// Numbers from the environment and from flags are texts.
    fn count(&self, least: usize, most: usize) -> Result<usize> {
        let number = match &self.value {
            toml::Value::Integer(number) => usize::try_from(*number).ok(),
            toml::Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|n| (least..=most).contains(n)).ok_or_else(|| self.bad())
    }

    /// From the environment and from flags it is a text, too.
    pub(super) fn flag(&self) -> Result<bool> {
        match &self.value {
            toml::Value::Boolean(flag) => Ok(*flag),
            toml::Value::String(text) => text.parse().map_err(|_| self.bad()),
            _ => Err(self.bad()),
        }
    }

    /// How long; `None`: for ever.
    fn time(&self) -> Result<Option<chrono::TimeDelta>> {
        match self.text()?.trim() {
            "forever" => Ok(None),
            "none" => Ok(Some(chrono::TimeDelta::zero())),
            text => super::duration(text).map(Some).map_err(|_| self.bad()),
        }
    }

    /// Whether it is the second of two words.
    fn one_of(&self, first: &str, second: &str) -> Result<bool> {
        match self.text()? {
            text if text == first => Ok(false),
            text if text == second => Ok(true),
            _ => Err(self.bad()),
        }
    }

    fn address(&self) -> Result<SocketAddr> {
        let text = self.text()?;
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map_err(|_| self.bad())
    }

    pub(super) fn path(&self) -> Result<PathBuf> {
        let text = self.text()?;
        if text.is_empty() {
            return Err(self.bad());
        }
        Ok(self.origin.directory().join(text))
    }

    pub(super) fn existing_file(&self) -> Result<PathBuf> {
        let path = self.path()?;
        if path.is_file() {
            return Ok(path);
        }
        Err(error(format!("{}: {}: there is no file {}", self.origin, self.dotted(), path.display())))
    }

    fn metadata_url(&self) -> Result<Secret> {
        match self.text()?.strip_prefix("sqlite://") {
            Some("") => Err(self.bad()),
            Some(path) => Ok(Secret::new(sqlite_url(&self.origin.directory().join(path)))),
            None => self.postgres_url(),
        }
    }

    fn postgres_url(&self) -> Result<Secret> {
        let text = self.text()?;
        let rest = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
        match rest {
            Some(rest) if !rest.is_empty() => Ok(Secret::new(text)),
            _ => Err(self.bad()),
        }
    }

    fn mysql_url(&self) -> Result<Secret> {
        let text = self.text()?;
        let rest = text.strip_prefix("mysql://").or_else(|| text.strip_prefix("mariadb://"));
        match rest {
            Some(rest) if !rest.is_empty() => Ok(Secret::new(text)),
            _ => Err(self.bad()),
        }
    }

    fn sqlserver_url(&self) -> Result<Secret> {
        let text = self.text()?;
        let rest = text.strip_prefix("sqlserver://").or_else(|| text.strip_prefix("mssql://"));
        match rest {
            Some(rest) if !rest.is_empty() => Ok(Secret::new(text)),
            _ => Err(self.bad()),
        }
    }

    fn web_url(&self) -> Result<String> {
        let text = self.text()?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        let named = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?']));
        if named && plain { Ok(text.to_owned()) } else { Err(self.bad()) }
    }

    /// A server's address without anything secret, because addresses are shown.
    pub(super) fn endpoint(&self) -> Result<String> {
        match self.web_url() {
            Ok(url) if !url.contains(['@', '?', '#']) => Ok(url),
            _ => {
                let error = error(format!("{}: {}: bad value", self.origin, self.dotted()));
                let allowed = find(&self.path).map_or("", |option| option.allowed);
                Err(error.with_hint(format!("Allowed: {allowed}, without a user and a query.")))
            }
        }
    }

    fn verifier(&self) -> Result<Secret> {
        let text = self.text()?;
        let mut parts = text.split('$');
        let shaped = parts.next() == Some("SCRAM-SHA-256")
            && parts.next().and_then(|p| p.split_once(':')).is_some_and(|(n, _)| n.parse::<u32>().is_ok())
            && parts.next().is_some_and(|p| p.contains(':'))
            && parts.next().is_none();
        if shaped { Ok(Secret::new(text)) } else { Err(self.bad()) }
    }

    fn filter(&self) -> Result<String> {
        let text = self.text()?;
        match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(self.bad()),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
