//! A repository over a SQLite file and a federated session on it.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;

use epoch::config::{Auth, Config, Secret, SqliteBackend};
use epoch::federation::{Outcome, Params, Session};
use epoch::operations::{Checkout, Repository};
use epoch::{Error, Result};
use futures::StreamExt;
use tempfile::TempDir;

/// The tables that most tests use.
pub const SHOP: &str = "
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city VARCHAR(20), vip BOOLEAN DEFAULT 0);
    CREATE TABLE products (sku TEXT PRIMARY KEY, price DECIMAL(10,2) NOT NULL CHECK (price >= 0), added DATE);
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id),
        at TIMESTAMP, total DOUBLE, note TEXT UNIQUE);
    CREATE TABLE items (order_id INTEGER, line INTEGER, sku TEXT, data BLOB, PRIMARY KEY (order_id, line));
    INSERT INTO customers VALUES (1, 'Ann', 'Paris', 1), (2, 'Bob', NULL, 0), (3, 'Cid', 'Rome', 0);
    INSERT INTO products VALUES ('a', 1.50, '2024-02-29'), ('b', 20, NULL);
    INSERT INTO orders VALUES (10, 1, '2024-03-01 10:00:00', 21.5, 'x'), (11, 1, NULL, 3.25, NULL), (12, 3, '2024-03-02 12:30:00.5', 0.1, 'z');
    INSERT INTO items VALUES (10, 1, 'a', x'00ff'), (10, 2, 'b', NULL), (12, 1, 'a', x'');
";

/// Everything a test needs; dropped with its folder.
pub struct Fixture {
    pub repository: Repository,
    pub main: Checkout,
    pub session: Session,
    pub folder: TempDir,
}

/// A result in text form.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub types: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
    pub tag: String,
}

impl Fixture {
    /// `script` runs in the SQLite file `shop`; then all of its tables are registered.
    pub async fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(&folder.path().join("shop.db"), script);
        let config = config(folder.path(), &["shop"]);
        let repository = Repository::open(&config).await.unwrap();
        repository.register("*", Some("sqlite://shop/*"), None).await.unwrap();
        let main = repository.checkout("main", None).await.unwrap();
        let session = Session::new(repository.clone(), "ann", "shop");
        Self { repository, main, session, folder }
    }

    /// The folder's own connection to the SQLite file, past the proxy.
    pub fn direct(&self, name: &str) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join(format!("{name}.db"))).unwrap()
    }

    /// Runs one statement on main.
    pub async fn run(&mut self, sql: &str) -> Result<Rows> {
        let main = self.main.clone();
        self.run_on(&main, sql).await
    }

    /// Runs one statement.
    pub async fn run_on(&mut self, checkout: &Checkout, sql: &str) -> Result<Rows> {
        let outcome = self.session.simple(checkout, sql).await?;
        rows(outcome).await
    }

    /// Runs one statement with text parameters.
    pub async fn bind(&mut self, sql: &str, values: &[Option<&str>]) -> Result<Rows> {
        let prepared = self.session.prepare(&self.main, sql, &[]).await?;
        let values = values.iter().map(|v| v.map(|v| bytes::Bytes::copy_from_slice(v.as_bytes()))).collect();
        let params = Params { values, formats: vec![] };
        let outcome = self.session.execute(&self.main, &prepared, &params, &[]).await?;
        rows(outcome).await
    }

    /// The rows of a statement, cells joined by `|`, NULL as `-`.
    pub async fn lines(&mut self, sql: &str) -> Vec<String> {
        self.run(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).lines()
    }

    /// The error of a statement.
    pub async fn fails(&mut self, sql: &str) -> Error {
        match self.run(sql).await {
            Err(error) => error,
            Ok(rows) => panic!("{sql} returned {rows:?}"),
        }
    }

    /// The tag of a statement.
    pub async fn tag(&mut self, sql: &str) -> String {
        self.run(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).tag
    }
}

impl Rows {
    pub fn lines(&self) -> Vec<String> {
        let line = |row: &Vec<Option<String>>| {
            row.iter().map(|c| c.clone().unwrap_or_else(|| "-".to_owned())).collect::<Vec<_>>().join("|")
        };
        self.rows.iter().map(line).collect()
    }
}

pub fn make(path: &Path, script: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(script).unwrap();
}

/// A configuration with SQLite backends `NAME.db` in a folder.
pub fn config(folder: &Path, names: &[&str]) -> Config {
    let backend =
        |name: &&str| ((*name).to_owned(), SqliteBackend { path: folder.join(format!("{name}.db")) });
    Config {
        name: "shop".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        max_connections: 10,
        busy_poll: std::time::Duration::ZERO,
        memory_limit: 1 << 30,
        auth: Auth::Trust,
        metadata_url: Secret::new(format!("sqlite://{}", folder.join("meta.db").display())),
        postgres: BTreeMap::new(),
        mysql: BTreeMap::new(),
        sqlserver: BTreeMap::new(),
        local: BTreeMap::new(),
        s3: BTreeMap::new(),
        azure: BTreeMap::new(),
        gcs: BTreeMap::new(),
        sqlite: names.iter().map(backend).collect(),
        routing: vec![],
        default_backend: Some(names[0].to_owned()),
        author: None,
        email: None,
        log_filter: "off".into(),
        log_json: false,
        retention: vec![],
        hooks: vec![],
    }
}

/// Takes a whole result.
pub async fn rows(outcome: Outcome) -> Result<Rows> {
    let (columns, mut stream, tag) = match outcome {
        Outcome::Empty => {
            return Ok(Rows { columns: vec![], types: vec![], rows: vec![], tag: String::new() });
        }
        Outcome::Done { tag } => return Ok(Rows { columns: vec![], types: vec![], rows: vec![], tag }),
        Outcome::Rows { columns, rows, tag } => (columns, rows, tag),
    };
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await {
        rows.push(cells(&row?));
    }
    let tag = tag.text(rows.len() as u64);
    let types = columns.iter().map(|c| c.pg_type.name().to_owned()).collect();
    Ok(Rows { columns: columns.into_iter().map(|c| c.name).collect(), types, rows, tag })
}

fn cells(mut row: &[u8]) -> Vec<Option<String>> {
    let mut take = |n: usize| {
        let (now, rest) = row.split_at(n);
        row = rest;
        now
    };
    let count = u16::from_be_bytes(take(2).try_into().unwrap());
    (0..count)
        .map(|_| {
            let length = i32::from_be_bytes(take(4).try_into().unwrap());
            usize::try_from(length).ok().map(|n| String::from_utf8(take(n).to_vec()).unwrap())
        })
        .collect()
}
