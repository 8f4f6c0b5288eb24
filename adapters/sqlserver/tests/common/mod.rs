//! What the integration tests share: a database of its own on the server of `EPOCH_TEST_MSSQL_URL`, its adapter, and a
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
use epoch_adapter_sqlserver::SqlServerAdapter;
pub use epoch_conformance::*;
use tiberius::{AuthMethod, Client, ColumnData, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};
use url::Url;

pub type Conn = Client<Compat<TcpStream>>;

/// As the adapter reads a url, but for the database.
async fn connect(url: &Url, database: &str) -> Conn {
    let mut config = Config::new();
    config.host(url.host_str().unwrap());
    config.port(url.port().unwrap_or(1433));
    config.database(database);
    config.authentication(AuthMethod::sql_server(url.username(), url.password().unwrap_or_default()));
    config.command_timeout(None);
    let parameter = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
    if parameter("encrypt").as_deref() == Some("no") {
        config.encryption(EncryptionLevel::NotSupported);
    }
    if parameter("trust_server_certificate").as_deref() == Some("true") {
        config.trust_cert();
    }
    let tcp = TcpStream::connect(config.get_addr()).await.unwrap();
    Client::connect(config, tcp.compat_write()).await.unwrap()
}

async fn drained(conn: &mut Conn, sql: &str) -> Result<(), String> {
    let stream = conn.simple_query(sql).await.map_err(|e| e.to_string())?;
    stream.into_results().await.map(drop).map_err(|e| e.to_string())
}

pub struct Db {
    pub adapter: SqlServerAdapter,
    pub url: String,
    server: Url,
    pub name: String,
}

fn server() -> Option<Url> {
    let Some(url) = std::env::var("EPOCH_TEST_MSSQL_URL").ok().filter(|u| !u.is_empty()) else {
        println!("skipped: set EPOCH_TEST_MSSQL_URL");
        return None;
    };
    Some(Url::parse(&url).unwrap())
}

impl Db {
    /// `None` if there is no server.
    pub async fn new(sql: &str) -> Option<Self> {
        let server = server()?;
        let name = format!("epoch_test_{}", uuid::Uuid::new_v4().simple());
        let mut conn = connect(&server, "master").await;
        drained(&mut conn, &format!("CREATE DATABASE {name}")).await.unwrap();
        // A server that has snapshots always may not know the setting.
        let _ = drained(&mut conn, &format!("ALTER DATABASE {name} SET ALLOW_SNAPSHOT_ISOLATION ON")).await;
        let mut url = server.clone();
        url.set_path(&name);
        let adapter = SqlServerAdapter::new("shop", url.as_str(), 8).unwrap();
        let db = Self { adapter, url: url.to_string(), server, name };
        db.run(sql).await;
        Some(db)
    }

    /// A foreign client, with the server's own defaults.
    pub async fn client(&self) -> Conn {
        connect(&self.server, &self.name).await
    }

    /// Names of everything in the database.
    pub async fn dump(&self) -> Vec<String> {
        let sql = "SELECT CAST(s.name + N'.' + o.name + N' ' + o.type_desc AS nvarchar(400)) FROM sys.objects AS o \
                   JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.is_ms_shipped = 0 UNION ALL \
                   SELECT CAST(N'schema ' + name AS nvarchar(400)) FROM sys.schemas WHERE name = N'epoch' ORDER BY 1";
        self.texts(sql).await
    }

    /// The first column of a result, which is of texts.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let mut conn = self.client().await;
        let rows = conn.simple_query(sql).await.unwrap().into_first_result().await.unwrap();
        rows.iter().map(|r| r.get::<&str, _>(0).unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let done = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut conn = connect(&server, "master").await;
                // What a failed test left open would be in the way.
                let close = format!("ALTER DATABASE {name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE");
                let _ = drained(&mut conn, &close).await;
                let _ = drained(&mut conn, &format!("DROP DATABASE {name}")).await;
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
        Location {
            kind: BackendKind::SqlServer,
            backend: "shop".into(),
            schema: Some("dbo".into()),
            table: table.into(),
        }
    }

    async fn direct(&self, sql: &str) -> Result<(), String> {
        drained(&mut self.client().await, sql).await
    }

    async fn base(&self, table: &str) -> Vec<Row> {
        let mut conn = self.client().await;
        let stream = conn.simple_query(format!("SELECT * FROM {table}")).await.unwrap();
        let rows = stream.into_first_result().await.unwrap();
        let cell = |data: ColumnData<'static>| match data {
            ColumnData::I16(v) => v.map_or(Value::Null, |v| int(v.into())),
            ColumnData::I32(v) => v.map_or(Value::Null, |v| int(v.into())),
            ColumnData::I64(v) => v.map_or(Value::Null, int),
            ColumnData::String(v) => v.map_or(Value::Null, |v| text(&v)),
            other => panic!("{other:?}"),
        };
        rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect()
    }
}

/// Runs statements on a client's connection.
pub async fn on(conn: &mut Conn, sql: &str) {
    drained(conn, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
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
