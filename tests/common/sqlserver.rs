//! A database of its own on the SQL Server of `EPOCH_TEST_MSSQL_URL`, and a client that knows nothing of the proxy.

use tiberius::{AuthMethod, Client, ColumnData, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};
use url::Url;

/// Dropped with the value.
pub struct SqlServer {
    runtime: Runtime,
    server: Url,
    name: String,
    /// What a configuration says.
    pub url: String,
}

async fn connect(url: &Url, database: &str) -> Client<Compat<TcpStream>> {
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

impl SqlServer {
    /// `None` if there is no server.
    pub fn create(sql: &str) -> Option<Self> {
        let Some(url) = std::env::var("EPOCH_TEST_MSSQL_URL").ok().filter(|u| !u.is_empty()) else {
            println!("skipped: set EPOCH_TEST_MSSQL_URL");
            return None;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let name = format!("epoch_e2e_{}", uuid::Uuid::new_v4().simple());
        let server = Url::parse(&url).unwrap();
        let mut own = server.clone();
        own.set_path(&name);
        let db = Self { runtime, server, url: own.to_string(), name };
        db.on_server(&format!("CREATE DATABASE {}", db.name)).unwrap();
        // A server that has snapshots always may not know the setting.
        let _ = db.on_server(&format!("ALTER DATABASE {} SET ALLOW_SNAPSHOT_ISOLATION ON", db.name));
        db.run(sql);
        Some(db)
    }

    fn on_server(&self, sql: &str) -> Result<(), tiberius::error::Error> {
        self.runtime.block_on(async {
            let mut conn = connect(&self.server, "master").await;
            conn.simple_query(sql).await?.into_results().await.map(drop)
        })
    }

    pub fn run(&self, sql: &str) {
        self.lines(sql);
    }

    /// Rows of the first result as `a|b|c`, NULL as nothing.
    pub fn lines(&self, sql: &str) -> Vec<String> {
        let rows = self.runtime.block_on(async {
            let mut conn = connect(&self.server, &self.name).await;
            conn.simple_query(sql).await?.into_first_result().await
        });
        let cell = |data: ColumnData<'static>| match data {
            ColumnData::I32(v) => v.map(|v| v.to_string()),
            ColumnData::I64(v) => v.map(|v| v.to_string()),
            ColumnData::String(v) => v.map(|v| v.into_owned()),
            ColumnData::Numeric(v) => v.map(|v| v.to_string()),
            ColumnData::F64(v) => v.map(|v| v.to_string()),
            other => Some(format!("{other:?}")),
        };
        let line = |row: tiberius::Row| {
            row.into_iter().map(|data| cell(data).unwrap_or_default()).collect::<Vec<_>>().join("|")
        };
        rows.unwrap_or_else(|e| panic!("{sql}: {e}")).into_iter().map(line).collect()
    }
}

impl Drop for SqlServer {
    fn drop(&mut self) {
        // What a failed test left open would be in the way.
        let close = format!("ALTER DATABASE {} SET SINGLE_USER WITH ROLLBACK IMMEDIATE", self.name);
        let _ = self.on_server(&close);
        let _ = self.on_server(&format!("DROP DATABASE {}", self.name));
    }
}
