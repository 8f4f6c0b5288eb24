//! A database of its own for each test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use epoch_adapter::*;
use epoch_adapter_postgres::PostgresAdapter;
use futures::TryStreamExt;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Db {
    pub name: String,
    pub url: String,
    pub adapter: PostgresAdapter,
    server: String,
}

pub const BRANCH: Layer = Layer { lineage: LineageId(7), base: 0 };

/// `None` if there is no server to test with.
pub async fn database() -> Option<Db> {
    let Ok(server) = std::env::var("EPOCH_TEST_POSTGRES_URL") else {
        println!("skipped: set EPOCH_TEST_POSTGRES_URL or run make test");
        return None;
    };
    let name = format!("epoch_pg_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let admin = connect(&server).await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (start, parameters) = server.split_once('?').unwrap_or((&server, ""));
    let (host, _) = start.rsplit_once('/').unwrap();
    let url = format!("{host}/{name}?{parameters}");
    let adapter = PostgresAdapter::connect("shop", &url, 8).unwrap();
    Some(Db { name, url, adapter, server })
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Db {
    /// A client of the database that knows nothing of us.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// Registers `public.name` under an id.
    pub async fn register(&self, name: &str, id: i64) -> Arc<TableDef> {
        let table = self.describe(name, id).await;
        self.adapter.install(&table).await.unwrap();
        table
    }

    pub async fn describe(&self, name: &str, id: i64) -> Arc<TableDef> {
        let location: Location = format!("postgresql://shop/public.{name}").parse().unwrap();
        let schema = self.adapter.describe(&location, None).await.unwrap();
        Arc::new(TableDef::new(TableId(id), TableName::public(name), location, schema))
    }

    pub async fn seal(&self, tables: &[Arc<TableDef>], layer: Layer, ordinal: i64) -> Sealed {
        let operation = format!("op-{}-{ordinal}", layer.lineage.0);
        self.adapter.seal(&operation, tables, layer, ordinal, &[], SealMode::All).await.unwrap()
    }

    /// The rows of a view, by key, each as its texts.
    pub async fn rows(&self, table: &TableDef, view: View) -> BTreeMap<Row, Row> {
        // As the server prints them, from a diff against nothing but the scan's own rows would be
        // circular: the scan is read as text.
        let batches: Vec<_> =
            self.adapter.scan(table, &view, &Scan::default()).await.unwrap().try_collect().await.unwrap();
        let mut out = BTreeMap::new();
        for batch in &batches {
            for i in 0..batch.num_rows() {
                let row: Row = batch
                    .columns()
                    .iter()
                    .map(|c| match c.is_null(i) {
                        true => Value::Null,
                        false => Value::Text(arrow::util::display::array_value_to_string(c, i).unwrap()),
                    })
                    .collect();
                assert!(out.insert(table.schema.key_of(&row), row).is_none(), "a key twice");
            }
        }
        out
    }

    pub async fn diff(&self, table: &TableDef, from: View, to: View, segments: &[Segment]) -> Vec<RowChange> {
        self.adapter
            .diff(table, &from, &to, segments, &Wanted::default())
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap()
    }

    pub async fn drop(self) {
        let Self { name, server, adapter, .. } = self;
        drop(adapter);
        let admin = connect(&server).await;
        admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }
}

pub fn main_at(ordinal: i64) -> View {
    View { layer: Layer::MAIN, at: At::Ordinal(ordinal) }
}

pub fn working(layer: Layer) -> View {
    View { layer, at: At::Working }
}

pub fn at(layer: Layer, ordinal: i64) -> View {
    View { layer, at: At::Ordinal(ordinal) }
}

pub fn segment(lineage: i64, after: i64, upto: At) -> Segment {
    Segment { lineage: LineageId(lineage), after, upto }
}

pub fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

pub fn row(values: &[&str]) -> Row {
    values.iter().map(|v| text(v)).collect()
}

/// One text of a query with one row and one column.
pub async fn one(client: &Client, sql: &str) -> String {
    for message in client.simple_query(sql).await.unwrap() {
        if let SimpleQueryMessage::Row(row) = message {
            return row.get(0).unwrap_or("NULL").to_owned();
        }
    }
    panic!("no row: {sql}")
}
