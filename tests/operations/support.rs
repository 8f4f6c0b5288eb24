//! Repositories on temporary SQLite backends, and short ways to write to and read from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use epoch::config::{Auth, Config, PostgresBackend, Secret, SqliteBackend};
use epoch::operations::{Author, Checkout, CommitOptions, Committed, MergeOptions, Merged, Repository};
use epoch_adapter::{BackendKind, RowWrite, Scan, TableDef, Value};
use futures::TryStreamExt;

/// Rows by table and key.
pub type Rows = BTreeMap<(String, i64), (String, Option<i64>)>;

/// The tables of every test repository: `t` and `u` on backend `one`, `v` on backend `two`.
pub const TABLES: [(&str, &str); 3] = [("t", "one"), ("u", "one"), ("v", "two")];

/// A repository in a folder of its own.
pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub repository: Repository,
    pub main: Checkout,
    databases: Option<Databases>,
}

/// A database per backend on the test server.
struct Databases {
    server: String,
    prefix: String,
}

impl Databases {
    fn url(&self, backend: &str) -> String {
        let (base, _) = self.server.rsplit_once('/').unwrap();
        format!("{base}/{}_{backend}?sslmode=disable", self.prefix)
    }

    /// With these in the place of the SQLite files.
    fn instead(&self, mut config: Config) -> Config {
        config.sqlite.clear();
        for backend in ["one", "two"] {
            let url = Secret::new(self.url(backend));
            config
                .postgres
                .insert(backend.to_owned(), PostgresBackend { url, pool_size: 4, allow_unsafe_source: true });
        }
        config
    }
}

impl Fixture {
    /// With all tables registered and three rows in each.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        create_tables(folder.path());
        let repository = Repository::open(&config(folder.path())).await.unwrap();
        for (table, backend) in TABLES {
            let location = format!("sqlite://{backend}/{table}");
            repository.register(table, Some(&location), None).await.unwrap();
        }
        let main = repository.checkout("main", None).await.unwrap();
        Self { folder, repository, main, databases: None }
    }

    /// The same tables on PostgreSQL; `None` without a server.
    pub async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var("EPOCH_TEST_POSTGRES_URL") else {
            println!("skipped: set EPOCH_TEST_POSTGRES_URL or run make test");
            return None;
        };
        let prefix = format!("epoch_ops_{}", uuid::Uuid::new_v4().simple());
        let databases = Databases { server, prefix };
        let folder = tempfile::tempdir().unwrap();
        for backend in ["one", "two"] {
            run_sql(&databases.server, &format!("CREATE DATABASE {}_{backend}", databases.prefix)).await;
        }
        let config = databases.instead(config(folder.path()));
        for (table, backend) in TABLES {
            run_sql(&databases.url(backend), &create_table(table)).await;
        }
        let repository = Repository::open(&config).await.unwrap();
        for (table, backend) in TABLES {
            let location = format!("postgresql://{backend}/public.{table}");
            repository.register(table, Some(&location), None).await.unwrap();
        }
        let main = repository.checkout("main", None).await.unwrap();
        Some(Self { folder, repository, main, databases: Some(databases) })
    }

    /// A new repository on the same backends.
    pub async fn stranger(&self) -> Repository {
        let url = format!("sqlite://{}", self.folder.path().join("stranger.db").display());
        let config = config_with_store(self.folder.path(), &url);
        let config = self.databases.as_ref().map_or_else(|| config.clone(), |d| d.instead(config.clone()));
        Repository::open(&config).await.unwrap()
    }

    /// Runs SQL on a backend as somebody who doesn't know us.
    pub async fn direct_sql(&self, backend: &str, sql: &str) {
        match &self.databases {
            None => self.direct(backend).execute_batch(sql).unwrap(),
            Some(databases) => run_sql(&databases.url(backend), sql).await,
        }
    }

    /// One number from a backend.
    pub async fn count(&self, backend: &str, sql: &str) -> i64 {
        let Some(databases) = &self.databases else {
            return self.direct(backend).query_row(sql, [], |r| r.get(0)).unwrap();
        };
        let (client, connection) =
            tokio_postgres::connect(&databases.url(backend), tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let found = client.query_one(sql, &[]).await.unwrap().get(0);
        driver.abort();
        found
    }

    /// One text from a database.
    pub async fn text(&self, backend: &str, sql: &str) -> String {
        let databases = self.databases.as_ref().unwrap();
        let (client, connection) =
            tokio_postgres::connect(&databases.url(backend), tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let found = client.query_one(sql, &[]).await.unwrap().get(0);
        driver.abort();
        found
    }

    /// How many rows of a table there are beside main's own rows: of branches, and of history.
    pub async fn beside(&self, table: &str) -> i64 {
        let (_, backend) = *TABLES.iter().find(|(name, _)| *name == table).unwrap();
        let id = self.repository.tables().find(table).unwrap().id.0;
        let names = match self.databases {
            None => {
                [format!("epoch_overlay_{id}"), format!("epoch_mask_{id}"), format!("epoch_history_{id}")]
            }
            Some(_) => {
                [format!("epoch_public.{table}"), format!("epoch.mask_{id}"), format!("epoch.history_{id}")]
            }
        };
        let [overlay, mask, history] = names;
        // Lineage 0 fills pages.
        let one = |relation| format!("(SELECT count(*) FROM {relation} WHERE epoch_lineage > 0)");
        let sql = format!("SELECT {} + {} + {}", one(overlay), one(mask), one(history));
        self.count(backend, &sql).await
    }

    pub fn is_postgres(&self) -> bool {
        self.databases.is_some()
    }

    /// Another process's view of the same repository.
    pub async fn again(&self) -> Repository {
        let config = config(self.folder.path());
        let config = self.databases.as_ref().map_or_else(|| config.clone(), |d| d.instead(config.clone()));
        Repository::open(&config).await.unwrap()
    }

    /// Takes away what a dropped folder doesn't.
    pub async fn finish(self) {
        let Some(databases) = self.databases else { return };
        drop(self.repository);
        for backend in ["one", "two"] {
            let sql = format!("DROP DATABASE {}_{backend} WITH (FORCE)", databases.prefix);
            run_sql(&databases.server, &sql).await;
        }
    }

    pub async fn branch(&self, name: &str, from: &Checkout) -> Checkout {
        self.repository.create_branch(from, name, None, false).await.unwrap();
        self.checkout(name).await
    }

    pub async fn checkout(&self, spec: &str) -> Checkout {
        self.repository.checkout(spec, Some(&self.main)).await.unwrap()
    }

    pub async fn set(&self, on: &Checkout, table: &str, key: i64, a: &str, n: Option<i64>) {
        set(&self.repository, on, table, key, a, n).await;
    }

    pub async fn delete(&self, on: &Checkout, table: &str, key: i64) {
        let key = vec![number(&self::table(&self.repository, table), key)];
        write(&self.repository, on, table, vec![RowWrite::Delete { key }]).await;
    }

    pub async fn commit(&self, on: &Checkout, message: &str) -> Committed {
        self.repository.commit(on, &commit_options(message)).await.unwrap()
    }

    pub async fn merge(&self, into: &Checkout, source: &str) -> Merged {
        self.repository.merge(into, source, &MergeOptions::default()).await.unwrap()
    }

    pub async fn rows(&self, on: &Checkout) -> Rows {
        rows(&self.repository, on).await
    }

    pub async fn row(&self, on: &Checkout, table: &str, key: i64) -> Option<(String, Option<i64>)> {
        self.rows(on).await.get(&(table.to_owned(), key)).cloned()
    }

    /// The file of a backend, as somebody who doesn't know us opens it.
    pub fn direct(&self, backend: &str) -> rusqlite::Connection {
        direct(self.folder.path(), backend)
    }
}

pub fn direct(folder: &Path, backend: &str) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(backend_path(folder, backend)).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    connection
}

fn backend_path(folder: &Path, backend: &str) -> PathBuf {
    folder.join(format!("{backend}.db"))
}

pub fn create_tables(folder: &Path) {
    for (table, backend) in TABLES {
        direct(folder, backend).execute_batch(&create_table(table)).unwrap();
    }
}

fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT NOT NULL, n INTEGER);
         INSERT INTO {table} VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', NULL);"
    )
}

/// Runs SQL on a PostgreSQL server.
pub async fn run_sql(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    driver.abort();
}

pub fn config(folder: &Path) -> Config {
    config_with_store(folder, &format!("sqlite://{}", folder.join("meta/epoch.db").display()))
}

pub fn config_with_store(folder: &Path, store: &str) -> Config {
    let backend = |name: &str| (name.to_owned(), SqliteBackend { path: backend_path(folder, name) });
    Config {
        name: "shop".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        max_connections: 10,
        busy_poll: std::time::Duration::ZERO,
        memory_limit: 1 << 30,
        auth: Auth::Trust,
        metadata_url: Secret::new(store),
        postgres: BTreeMap::new(),
        sqlite: BTreeMap::from([backend("one"), backend("two")]),
        mysql: BTreeMap::new(),
        sqlserver: BTreeMap::new(),
        local: BTreeMap::new(),
        s3: BTreeMap::new(),
        azure: BTreeMap::new(),
        gcs: BTreeMap::new(),
        routing: vec![],
        default_backend: Some("one".to_owned()),
        author: Some("Tester".to_owned()),
        email: Some("tester@example.com".to_owned()),
        log_filter: "info".to_owned(),
        log_json: false,
        // What is garbage is so at once, but for some branches.
        retention: vec![("kept*".to_owned(), None), ("*".to_owned(), Some(chrono::TimeDelta::zero()))],
        hooks: vec![],
    }
}

pub fn commit_options(message: &str) -> CommitOptions {
    CommitOptions { message: message.to_owned(), ..CommitOptions::default() }
}

pub fn ada() -> Author {
    Author { name: "Ada".to_owned(), email: "ada@example.com".to_owned() }
}

fn table(repository: &Repository, name: &str) -> Arc<TableDef> {
    Arc::clone(repository.tables().find(name).unwrap())
}

/// A number as the table's backend has it.
fn number(table: &TableDef, n: i64) -> Value {
    match table.location.kind {
        BackendKind::PostgreSql => Value::Text(n.to_string()),
        _ => Value::Int(n),
    }
}

/// Inserts or updates a row in a transaction of its own.
pub async fn set(repository: &Repository, on: &Checkout, name: &str, key: i64, a: &str, n: Option<i64>) {
    let def = table(repository, name);
    let (key, a) = (number(&def, key), Value::Text(a.to_owned()));
    let n = n.map_or(Value::Null, |n| number(&def, n));
    let update = RowWrite::Update { key: vec![key.clone()], set: vec![(1, a.clone()), (2, n.clone())] };
    if write(repository, on, name, vec![update]).await == 0 {
        let insert = RowWrite::Insert(vec![Some(key), Some(a), Some(n)]);
        assert_eq!(write(repository, on, name, vec![insert]).await, 1);
    }
}

/// Writes in one transaction; how many rows it affected.
pub async fn write(repository: &Repository, on: &Checkout, name: &str, writes: Vec<RowWrite>) -> u64 {
    repository.refresh().await.unwrap();
    let table = table(repository, name);
    let layer = repository.writable(on, &table).await.unwrap();
    let backend = repository.backend(&table.location.backend).unwrap();
    let mut tx = backend.begin().await.unwrap();
    let affected = tx.write(&table, layer, &writes).await.unwrap();
    tx.commit().await.unwrap();
    affected
}

/// Everything that a checkout shows.
pub async fn rows(repository: &Repository, on: &Checkout) -> Rows {
    repository.refresh().await.unwrap();
    let mut rows = Rows::new();
    for (name, _) in TABLES {
        let table = table(repository, name);
        let view = repository.view(on, &table).unwrap();
        let backend = repository.backend(&table.location.backend).unwrap();
        let batches: Vec<_> =
            backend.scan(&table, &view, &Scan::default()).await.unwrap().try_collect().await.unwrap();
        for batch in batches {
            let options = FormatOptions::default().with_null("NULL");
            let columns: Vec<_> =
                batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
            for i in 0..batch.num_rows() {
                let text = |c: usize| columns[c].value(i).to_string();
                let n = Some(text(2)).filter(|n| n != "NULL").map(|n| n.parse().unwrap());
                let twice = rows.insert((name.to_owned(), text(0).parse().unwrap()), (text(1), n));
                assert!(twice.is_none(), "a key is there twice");
            }
        }
    }
    rows
}
