//! A proxy in this process over the PostgreSQL server of EPOCH_TEST_POSTGRES_URL, and a client that
//! speaks frames.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use epoch::config::{Auth, Config, PostgresBackend, Secret, TlsFiles};
use epoch::operations::Repository;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// The URL of the server, or `None` with the line that says why nothing is tested.
pub fn server_url() -> Option<String> {
    let url = std::env::var("EPOCH_TEST_POSTGRES_URL").ok();
    if url.is_none() {
        println!("skipped: set EPOCH_TEST_POSTGRES_URL or run make test");
    }
    url
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A proxy over a database of its own.
pub struct Proxy {
    pub address: SocketAddr,
    /// The database's own URL.
    pub direct: String,
    admin: String,
    database: String,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<epoch::Result<()>>>,
    _directory: tempfile::TempDir,
}

/// What differs from the default in a test.
#[derive(Default)]
pub struct Options {
    pub users: Option<BTreeMap<String, Secret>>,
    pub tls: Option<TlsFiles>,
    pub max_connections: Option<usize>,
}

impl Proxy {
    pub async fn start(url: &str) -> Self {
        Self::with(url, Options::default()).await
    }

    pub async fn with(url: &str, options: Options) -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let database = format!("wire_{}_{n}", std::process::id());
        let admin = connect(url).await;
        admin.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
        let base = url.split('?').next().unwrap();
        let direct = format!("{}/{database}", base.rsplit_once('/').unwrap().0);
        let directory = tempfile::tempdir().unwrap();
        let config = config(&direct, directory.path(), options);
        let repository = Repository::open(&config).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, address) = oneshot::channel();
        let task = tokio::spawn(epoch::session::serve(
            config,
            repository,
            move |address| ready.send(address).unwrap(),
            async move {
                let _ = stopped.await;
            },
        ));
        let address = address.await.expect("the proxy starts");
        Self {
            address,
            direct,
            admin: url.to_owned(),
            database,
            stop: Some(stop),
            task: Some(task),
            _directory: directory,
        }
    }

    /// The URL of the proxy for a ref.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://tester@{}/{}", self.address, database.replace('/', "%2F"))
    }

    pub async fn client(&self) -> Client {
        connect(&self.url("shop")).await
    }

    pub async fn on(&self, database: &str) -> Client {
        connect(&self.url(database)).await
    }

    pub async fn direct(&self) -> Client {
        connect(&self.direct).await
    }

    /// Asks the proxy to stop; the handle ends when it has.
    pub fn stop(&mut self) -> JoinHandle<epoch::Result<()>> {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.take().unwrap()
    }

    /// Stops the proxy and drops the database.
    pub async fn end(mut self) {
        if self.stop.is_some() {
            self.stop().abort();
        }
        let admin = connect(&self.admin).await;
        admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.database)).await.unwrap();
    }
}

fn config(direct: &str, directory: &std::path::Path, options: Options) -> Config {
    let backend = PostgresBackend { url: Secret::new(direct), pool_size: 4, allow_unsafe_source: true };
    Config {
        name: "shop".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: options.tls,
        max_connections: options.max_connections.unwrap_or(100),
        busy_poll: std::time::Duration::from_micros(100),
        memory_limit: 1 << 30,
        auth: options.users.map_or(Auth::Trust, Auth::Scram),
        metadata_url: Secret::new(format!("sqlite://{}", directory.join("epoch.db").display())),
        postgres: BTreeMap::from([("pg".to_owned(), backend)]),
        sqlite: BTreeMap::new(),
        mysql: BTreeMap::new(),
        sqlserver: BTreeMap::new(),
        local: BTreeMap::new(),
        s3: BTreeMap::new(),
        azure: BTreeMap::new(),
        gcs: BTreeMap::new(),
        routing: Vec::new(),
        default_backend: Some("pg".to_owned()),
        author: Some("tester".to_owned()),
        email: None,
        log_filter: "info".to_owned(),
        log_json: false,
        retention: vec![],
        hooks: vec![],
    }
}

/// A client of the driver, with its connection running by itself.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A client that sends and gets frames.
pub struct Raw {
    pub tcp: TcpStream,
}

/// Builds a frame.
pub fn frame(tag: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut out = vec![tag];
    out.extend((body.len() as i32 + 4).to_be_bytes());
    out.extend(body);
    out
}

pub fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', &[sql.as_bytes(), b"\0"])
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"])
}

/// A Bind with text parameters and text results.
pub fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend([portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat());
    body.extend((values.len() as i16).to_be_bytes());
    for value in values {
        body.extend((value.len() as i32).to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    frame(b'B', &[&body])
}

pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    frame(b'D', &[&[kind], name.as_bytes(), b"\0"])
}

pub fn close(kind: u8, name: &str) -> Vec<u8> {
    frame(b'C', &[&[kind], name.as_bytes(), &[0]])
}

pub fn execute(portal: &str, rows: i32) -> Vec<u8> {
    frame(b'E', &[portal.as_bytes(), b"\0", &rows.to_be_bytes()])
}

pub fn sync() -> Vec<u8> {
    frame(b'S', &[])
}

impl Raw {
    /// Logs in without a password, to the first ReadyForQuery.
    pub async fn open(address: &str, user: &str, database: &str) -> Self {
        let mut raw = Self { tcp: TcpStream::connect(address).await.unwrap() };
        raw.tcp.set_nodelay(true).unwrap();
        let mut body = (3i32 << 16).to_be_bytes().to_vec();
        body.extend([b"user\0", user.as_bytes(), b"\0database\0", database.as_bytes(), b"\0\0"].concat());
        let packet = [&(body.len() as i32 + 4).to_be_bytes()[..], &body].concat();
        raw.send(&[packet]).await;
        raw.until(b'Z').await;
        raw
    }

    pub async fn send(&mut self, frames: &[Vec<u8>]) {
        self.tcp.write_all(&frames.concat()).await.unwrap();
    }

    /// One message; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let tag = self.tcp.read_u8().await.ok()?;
        let length = self.tcp.read_i32().await.ok()?;
        let mut body = vec![0; length as usize - 4];
        self.tcp.read_exact(&mut body).await.ok()?;
        Some((tag, body))
    }

    /// Messages up to the first of type `last`, or the end of the stream.
    pub async fn until(&mut self, last: u8) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((tag, body)) = self.next().await {
            all.push((tag, body));
            if tag == last {
                break;
            }
        }
        all
    }
}

/// Message types as text, and the SQLSTATE of an error.
pub fn shape(messages: &[(u8, Vec<u8>)]) -> String {
    messages.iter().map(|(tag, _)| *tag as char).collect()
}

/// The first cell of the first row.
pub fn cell(messages: &[(u8, Vec<u8>)]) -> String {
    let row = messages.iter().find(|(tag, _)| *tag == b'D').map(|(_, body)| body.as_slice());
    let row = row.expect("a row");
    let length = usize::try_from(i32::from_be_bytes(row[2..6].try_into().unwrap())).unwrap();
    String::from_utf8(row[6..6 + length].to_vec()).unwrap()
}

pub fn sqlstate(messages: &[(u8, Vec<u8>)]) -> Option<String> {
    let (_, body) = messages.iter().find(|(tag, _)| *tag == b'E')?;
    let field = body.split(|b| *b == 0).find(|f| f.first() == Some(&b'C'))?;
    Some(String::from_utf8_lossy(&field[1..]).into_owned())
}
