//! The store in a schema of its own in a PostgreSQL database.

use std::error::Error as _;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use epoch_adapter::{Error, Result, sqlstate};
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::cell::{Cell, Record};

const SCHEMA: &str = "epoch_metadata";
/// Told by every transaction that writes.
const CHANNEL: &str = "epoch_metadata";
const POOL_SIZE: usize = 8;

#[derive(Debug)]
pub(super) struct PostgresStore {
    pool: Pool,
    config: Config,
    tls: Tls,
    watch: Arc<Watch>,
    listener: tokio::task::JoinHandle<()>,
}

/// What the listening connection knows.
#[derive(Debug, Default)]
struct Watch {
    listening: AtomicBool,
    changed: AtomicBool,
}

impl PostgresStore {
    pub(super) async fn open(url: &str) -> Result<Self> {
        let mut config = Config::from_str(url).map_err(|_| {
            // The parser's own message may quote parts of the URL.
            Error::new(sqlstate::CONFIG_FILE_ERROR, "the URL of the metadata store is not a PostgreSQL URL")
        })?;
        let options = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{options} -c search_path={SCHEMA} -c synchronous_commit=on"));
        config.application_name("epoch metadata");
        config.connect_timeout(Duration::from_secs(10));
        let tls = Tls::new(config.get_ssl_mode())?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &tls.0 {
            None => Manager::from_config(config.clone(), tokio_postgres::NoTls, manager_config),
            Some(tls) => Manager::from_config(config.clone(), tls.clone(), manager_config),
        };
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .build()
            .map_err(|e| Error::internal(format!("could not make a pool: {e}")))?;
        let watch = Arc::new(Watch::default());
        let listener = tokio::spawn(listen(config.clone(), tls.clone(), Arc::clone(&watch)));
        let store = Self { pool, config, tls, watch, listener };
        let client = store.pool.get().await.map_err(pool_error)?;
        // Fails without harm where the schema exists and we may not create any.
        let exists = client.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&SCHEMA]).await;
        if exists.map_err(translate)?.is_none() {
            let create = format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}");
            client.batch_execute(&create).await.or_else(ignore_race).map_err(translate)?;
        }
        Ok(store)
    }

    pub(super) fn changed(&self) -> bool {
        let listening = self.watch.listening.load(Ordering::Acquire);
        self.watch.changed.swap(false, Ordering::AcqRel) || !listening
    }

    pub(super) async fn begin(&self, write: bool) -> Result<PostgresTx> {
        let client = self.pool.get().await.map_err(pool_error)?;
        let begin = if write { "BEGIN" } else { "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" };
        // Who gives up while it begins must leave no transaction behind.
        let mut tx = PostgresTx { client: Some(client), write };
        tx.script(begin).await?;
        Ok(tx)
    }

    /// Waits for the advisory lock on a connection of its own.
    pub(super) async fn lock(&self) -> Result<LockConnection> {
        let connection = LockConnection::open(&self.config, &self.tls).await?;
        connection
            .client
            .execute("SELECT pg_advisory_lock(hashtext($1))", &[&SCHEMA])
            .await
            .map_err(translate)?;
        Ok(connection)
    }

    pub(super) async fn try_lock(&self) -> Result<Option<LockConnection>> {
        let connection = LockConnection::open(&self.config, &self.tls).await?;
        let sql = "SELECT pg_try_advisory_lock(hashtext($1))";
        let got: bool = connection.client.query_one(sql, &[&SCHEMA]).await.map_err(translate)?.get(0);
        Ok(got.then_some(connection))
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// A connection whose end releases the lock.
#[derive(Debug)]
pub(super) struct LockConnection {
    client: Client,
    driver: tokio::task::JoinHandle<()>,
}

impl LockConnection {
    async fn open(config: &Config, tls: &Tls) -> Result<Self> {
        let (client, driver) = tls.connect(config, |_| {}).await?;
        Ok(Self { client, driver: tokio::spawn(driver) })
    }

    pub(super) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for LockConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A transaction; rolled back when dropped.
pub(super) struct PostgresTx {
    client: Option<Object>,
    write: bool,
}

impl PostgresTx {
    fn client(&self) -> Result<&Object> {
        self.client.as_ref().ok_or_else(|| Error::internal("the transaction is over"))
    }

    pub(super) async fn run(&mut self, sql: &str, params: &[Cell]) -> Result<(Vec<Record>, u64)> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await.map_err(translate)?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as _).collect();
        if statement.columns().is_empty() {
            return Ok((Vec::new(), client.execute(&statement, &params).await.map_err(translate)?));
        }
        let rows = client.query(&statement, &params).await.map_err(translate)?;
        let records = rows.iter().map(to_record).collect::<Result<Vec<_>>>()?;
        let affected = records.len() as u64;
        Ok((records, affected))
    }

    pub(super) async fn script(&mut self, sql: &str) -> Result<()> {
        self.client()?.batch_execute(sql).await.map_err(translate)
    }

    pub(super) async fn alone(&mut self) -> Result<()> {
        self.script(&format!("SELECT pg_advisory_xact_lock(hashtext('{SCHEMA} migration'))")).await
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        let commit = if self.write { format!("NOTIFY {CHANNEL}; COMMIT") } else { "COMMIT".to_owned() };
        self.script(&commit).await?;
        self.client = None;
        Ok(())
    }
}

impl Drop for PostgresTx {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    if client.batch_execute("ROLLBACK").await.is_err() {
                        drop(Object::take(client));
                    }
                });
            }
            Err(_) => drop(Object::take(client)),
        }
    }
}

fn to_record(row: &Row) -> Result<Record> {
    let cell = |i: usize| -> Result<Cell> {
        let column = row.columns().get(i).map(|c| c.type_().clone());
        Ok(match column {
            Some(Type::INT8) => row.try_get::<_, Option<i64>>(i).map_err(translate)?.into(),
            Some(Type::INT4) => row.try_get::<_, Option<i32>>(i).map_err(translate)?.map(i64::from).into(),
            _ => row.try_get::<_, Option<String>>(i).map_err(translate)?.into(),
        })
    };
    (0..row.len()).map(cell).collect::<Result<_>>().map(Record)
}

impl ToSql for Cell {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(v) if *ty == Type::INT4 => i32::try_from(*v)?.to_sql(ty, out),
            Self::Int(v) => v.to_sql(ty, out),
            Self::Text(v) => v.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::INT4 | Type::TEXT | Type::VARCHAR)
    }

    to_sql_checked!();
}

/// Keeps a connection that is told of changes, and says so while there is none.
async fn listen(config: Config, tls: Tls, watch: Arc<Watch>) {
    loop {
        let told = Arc::clone(&watch);
        let on_message = move |message: AsyncMessage| {
            if matches!(message, AsyncMessage::Notification(_)) {
                told.changed.store(true, Ordering::Release);
            }
        };
        if let Ok((client, driver)) = tls.connect(&config, on_message).await {
            let mut driver = Box::pin(driver);
            let listen = async {
                client.batch_execute(&format!("LISTEN {CHANNEL}")).await.map(|()| {
                    watch.changed.store(true, Ordering::Release);
                    watch.listening.store(true, Ordering::Release);
                })
            };
            let listening = tokio::select! { done = listen => done.is_ok(), () = &mut driver => false };
            if listening {
                driver.await;
            }
            watch.listening.store(false, Ordering::Release);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// TLS as `sslmode` asks for it: none, or with a verified certificate.
#[derive(Clone)]
struct Tls(Option<MakeRustlsConnect>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Tls" } else { "NoTls" })
    }
}

type Driver = futures::future::BoxFuture<'static, ()>;

impl Tls {
    fn new(mode: SslMode) -> Result<Self> {
        if mode == SslMode::Disable {
            return Ok(Self(None));
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal(format!("could not set up TLS: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Some(MakeRustlsConnect::new(config))))
    }

    async fn connect(
        &self,
        config: &Config,
        on_message: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<(Client, Driver)> {
        Ok(match &self.0 {
            None => {
                let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(translate)?;
                (client, Box::pin(drive(connection, on_message)) as Driver)
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await.map_err(translate)?;
                (client, Box::pin(drive(connection, on_message)) as Driver)
            }
        })
    }
}

async fn drive<S>(
    mut connection: tokio_postgres::Connection<Socket, S>,
    mut on_message: impl FnMut(AsyncMessage) + Send,
) where
    S: tokio_postgres::tls::TlsStream + Unpin + Send,
{
    while let Some(Ok(message)) = futures::future::poll_fn(|cx| connection.poll_message(cx)).await {
        on_message(message);
    }
}

/// Two processes that create the schema at once: one gets a unique violation in the catalog.
fn ignore_race(error: tokio_postgres::Error) -> Result<(), tokio_postgres::Error> {
    let known = [sqlstate::UNIQUE_VIOLATION, "42P06"];
    if error.code().is_some_and(|c| known.contains(&c.code())) { Ok(()) } else { Err(error) }
}

fn translate(error: tokio_postgres::Error) -> Error {
    if let Some(db) = error.as_db_error() {
        return Error::new(db.code().code().to_owned(), format!("metadata store: {}", db.message()));
    }
    let closed = error.is_closed() || error.source().is_some_and(|s| s.is::<std::io::Error>());
    let code = if closed { sqlstate::CONNECTION_FAILURE } else { sqlstate::INTERNAL_ERROR };
    Error::new(code, "the metadata store failed").with_detail(error.to_string())
}

fn pool_error(error: deadpool_postgres::PoolError) -> Error {
    match error {
        deadpool_postgres::PoolError::Backend(e) => translate(e),
        other => {
            Error::new(sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH, "the metadata store could not be reached")
                .with_detail(other.to_string())
        }
    }
}
