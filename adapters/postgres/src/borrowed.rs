//! Data definition on a connection of a client's, within the transaction that is open there: what comes of it is
//! committed, or rolled back, with all else that the client does.

use std::sync::Mutex;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod};
use epoch_adapter::{Definition, DraftChange, Error, Layer, Result, TableDef};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use crate::connect::SESSION;
use crate::draft;
use crate::error::pg;
use crate::layout::{LINEAGE_SETTING, literal};
use crate::text::join;
use crate::tx::{Tx, texts};

/// The settings of ours that [`SESSION`] sets and those that a definition runs under are the client's again after it.
const OURS: &[&str] = &[
    "search_path",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "extra_float_digits",
    "bytea_output",
    "xmloption",
    "standard_conforming_strings",
    "client_min_messages",
    "row_security",
    "jit",
];

/// Gives a stream away, once.
struct Lent(Mutex<Option<DuplexStream>>);

type Connecting<'a> = std::pin::Pin<
    Box<
        dyn Future<Output = Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>>
            + Send
            + 'a,
    >,
>;

impl Connect for Lent {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        let stream = self.0.lock().ok().and_then(|mut lent| lent.take());
        // A second connection is one to nobody.
        let stream = stream.unwrap_or_else(|| tokio::io::duplex(1).0);
        Box::pin(async move {
            let (client, connection) = config.connect_raw(stream, NoTls).await?;
            let task = tokio::spawn(async move {
                // Its end is the client's own business.
                let _ = connection.await;
            });
            Ok((client, task))
        })
    }
}

/// As [`epoch_adapter::Adapter::define`], in the open transaction of the connection at the other end of `stream`, whose
/// messages are PostgreSQL's.
pub async fn define_within(
    stream: DuplexStream,
    backend: &str,
    table: &TableDef,
    layer: Layer,
    change: &DraftChange,
) -> Result<Definition> {
    let mut config = Config::new();
    config.user("epoch").ssl_mode(SslMode::Disable);
    let manager = Manager::from_connect(
        config,
        Lent(Mutex::new(Some(stream))),
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let pool = Pool::builder(manager)
        .max_size(1)
        .build()
        .map_err(|_| Error::internal("the connection pool could not be built"))?;
    let tx = Tx::adopt(crate::connect::get(&pool, backend).await?);
    let settings: &[(String, String)] = match change {
        DraftChange::Create(statement) | DraftChange::Alter(statement) | DraftChange::Enum(statement) => {
            &statement.settings
        }
        DraftChange::Revise { statement, .. } => &statement.settings,
        DraftChange::Move { .. } => &[],
        DraftChange::View(change) => change.statement.as_ref().map_or(&[], |s| &s.settings),
    };
    let names = settings.iter().map(|(name, _)| name.as_str()).chain(OURS.iter().copied());
    let names = join(names, ", ", |name| format!("lower({})", literal(name)));
    let sql = format!(
        "SELECT name, setting FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) IN ({names}) \
         UNION ALL SELECT '{LINEAGE_SETTING}', pg_catalog.current_setting('{LINEAGE_SETTING}', true)"
    );
    let before = texts(&tx, &sql).await?;
    tx.batch_execute(&session()).await.map_err(pg)?;
    let definition = draft::define(&tx, table, layer, change).await?;
    let back = join(before, ", ", |row| {
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten().unwrap_or_default();
        format!("pg_catalog.set_config({}, {}, true)", literal(&next()), literal(&next()))
    });
    tx.batch_execute(&format!("SELECT {back}")).await.map_err(pg)?;
    Ok(definition)
}

/// [`SESSION`] for the rest of the transaction, without what can't be set in one.
fn session() -> String {
    let settable = SESSION.split(';').filter(|set| !set.contains("default_transaction"));
    join(settable, ";", |set| set.replace("SET ", "SET LOCAL "))
}
