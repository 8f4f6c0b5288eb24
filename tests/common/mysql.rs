//! A database of its own on the MySQL server of `EPOCH_TEST_MYSQL_URL`, and a client that knows nothing of the proxy.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use tokio::runtime::Runtime;

/// Dropped with the value.
pub struct Mysql {
    runtime: Runtime,
    server: Opts,
    name: String,
    /// What a configuration says.
    pub url: String,
}

impl Mysql {
    /// `None` if there is no server.
    pub fn create(sql: &str) -> Option<Self> {
        let Some(url) = std::env::var("EPOCH_TEST_MYSQL_URL").ok().filter(|u| !u.is_empty()) else {
            println!("skipped: set EPOCH_TEST_MYSQL_URL or run make test");
            return None;
        };
        let (base, _) = url.rsplit_once('/').unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let name = format!("epoch_e2e_{}", uuid::Uuid::new_v4().simple());
        let server = Opts::from_url(base).unwrap();
        let db = Self { runtime, server, url: format!("{base}/{name}"), name };
        db.on_server(&format!("CREATE DATABASE {} CHARACTER SET utf8mb4", db.name));
        db.run(sql);
        Some(db)
    }

    fn on_server(&self, sql: &str) {
        self.runtime.block_on(async {
            let mut conn = Conn::new(self.server.clone()).await.unwrap();
            conn.query_drop(sql).await.unwrap();
            conn.disconnect().await.unwrap();
        });
    }

    fn opts(&self) -> Opts {
        OptsBuilder::from_opts(self.server.clone()).db_name(Some(&self.name)).into()
    }

    pub fn run(&self, sql: &str) {
        self.runtime.block_on(async {
            let mut conn = Conn::new(self.opts()).await.unwrap();
            conn.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            conn.disconnect().await.unwrap();
        });
    }

    /// Rows as `a|b|c`, NULL as nothing.
    pub fn lines(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let mut conn = Conn::new(self.opts()).await.unwrap();
            let rows: Vec<Row> = conn.query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            conn.disconnect().await.unwrap();
            let cell = |value: mysql_async::Value| match value {
                mysql_async::Value::NULL => String::new(),
                mysql_async::Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                other => format!("{other:?}"),
            };
            let line = |row: Row| row.unwrap().into_iter().map(cell).collect::<Vec<_>>().join("|");
            rows.into_iter().map(line).collect()
        })
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        self.on_server(&format!("SET lock_wait_timeout = 5; DROP DATABASE {}", self.name));
    }
}
