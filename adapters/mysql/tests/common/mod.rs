//! What the integration tests share: a database of its own on the server of `EPOCH_TEST_MYSQL_URL`, its adapter, and a
//! client that knows nothing of us.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use async_trait::async_trait;
use epoch_adapter::{Adapter, BackendKind, Location, Row, Value};
use epoch_adapter_mysql::MysqlAdapter;
pub use epoch_conformance::*;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

pub struct Db {
    pub adapter: MysqlAdapter,
    pub url: String,
    server: Opts,
    pub name: String,
}

/// The server, and its URL up to the database.
fn server() -> Option<(Opts, String)> {
    let Some(url) = std::env::var("EPOCH_TEST_MYSQL_URL").ok().filter(|u| !u.is_empty()) else {
        println!("skipped: set EPOCH_TEST_MYSQL_URL or run make test");
        return None;
    };
    let (base, _) = url.rsplit_once('/').unwrap();
    Some((Opts::from_url(base).unwrap(), base.to_owned()))
}

impl Db {
    /// `None` if there is no server.
    pub async fn new(sql: &str) -> Option<Self> {
        let (server, base) = server()?;
        let name = format!("epoch_test_{}", uuid::Uuid::new_v4().simple());
        let mut conn = Conn::new(server.clone()).await.unwrap();
        conn.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await.unwrap();
        conn.disconnect().await.unwrap();
        let url = format!("{base}/{name}");
        let adapter = MysqlAdapter::new("shop", &url, 8).unwrap();
        let db = Self { adapter, url, server, name };
        db.run(sql).await;
        Some(db)
    }

    /// A foreign client, with the server's own defaults.
    pub async fn client(&self) -> Conn {
        let opts =
            OptsBuilder::from_opts(self.server.clone()).db_name(Some(&self.name)).client_found_rows(true);
        Conn::new(opts).await.unwrap()
    }

    /// Names of everything in the database, and the text of its tables.
    pub async fn dump(&self) -> Vec<String> {
        let mut conn = self.client().await;
        let mut out: Vec<String> = conn
            .query(
                "SELECT CONCAT('trigger ', TRIGGER_NAME, ' ', ACTION_STATEMENT) FROM information_schema.TRIGGERS \
                 WHERE TRIGGER_SCHEMA = DATABASE() ORDER BY 1",
            )
            .await
            .unwrap();
        let tables: Vec<String> = conn.query("SHOW TABLES").await.unwrap();
        for table in tables {
            let row: Option<mysql_async::Row> =
                conn.query_first(format!("SHOW CREATE TABLE `{table}`")).await.unwrap();
            out.push(row.unwrap().get(1).unwrap());
        }
        out
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let done = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut conn = Conn::new(server).await.unwrap();
                // What a failed test left open would be in the way for long.
                conn.query_drop("SET lock_wait_timeout = 5").await.unwrap();
                let _ = conn.query_drop(format!("DROP DATABASE {name}")).await;
                conn.disconnect().await.unwrap();
            });
        });
        let _ = done.join();
    }
}

#[async_trait]
impl Database for Db {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn location(&self, table: &str) -> Location {
        Location { kind: BackendKind::MySql, backend: "shop".into(), schema: None, table: table.into() }
    }

    async fn direct(&self, sql: &str) -> Result<(), String> {
        let mut conn = self.client().await;
        let result = conn.query_drop(sql).await.map_err(|e| e.to_string());
        conn.disconnect().await.unwrap();
        result
    }

    async fn base(&self, table: &str) -> Vec<Row> {
        let mut conn = self.client().await;
        let rows: Vec<mysql_async::Row> = conn.exec(format!("SELECT * FROM {table}"), ()).await.unwrap();
        let cell = |value| match value {
            mysql_async::Value::NULL => Value::Null,
            mysql_async::Value::Int(v) => int(v),
            mysql_async::Value::Bytes(v) => text(std::str::from_utf8(&v).unwrap()),
            other => panic!("{other:?}"),
        };
        conn.disconnect().await.unwrap();
        rows.into_iter().map(|row| row.unwrap().into_iter().map(cell).collect()).collect()
    }
}

/// A database, or the end of the test.
#[macro_export]
macro_rules! database {
    ($sql:expr) => {
        match $crate::common::Db::new($sql).await {
            Some(db) => db,
            None => return,
        }
    };
}
