//! What the integration tests share: a file with a schema, its adapter, and short ways to use both.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::path::PathBuf;
use std::sync::Arc;

use epoch_adapter::{
    Adapter, At, BackendKind, Error, Layer, LineageId, Location, Ordinal, Row, RowChange, RowWrite, Scan,
    SealMode, Sealed, Segment, TableChanges, TableDef, TableId, TableName, Value, View,
};
use epoch_adapter_sqlite::{SqliteAdapter, value_at};
use futures::{StreamExt, TryStreamExt};

pub struct Db {
    pub dir: tempfile::TempDir,
    pub adapter: SqliteAdapter,
}

pub fn int(v: i64) -> Value {
    Value::Int(v)
}

pub fn text(v: &str) -> Value {
    Value::Text(v.to_owned())
}

pub fn branch(lineage: i64, base: Ordinal) -> Layer {
    Layer { lineage: LineageId(lineage), base }
}

pub fn working(layer: Layer) -> View {
    View { layer, at: At::Working }
}

pub fn at(layer: Layer, ordinal: Ordinal) -> View {
    View { layer, at: At::Ordinal(ordinal) }
}

pub fn main_at(ordinal: Ordinal) -> View {
    at(Layer::MAIN, ordinal)
}

pub fn segment(lineage: i64, after: Ordinal, upto: At) -> Segment {
    Segment { lineage: LineageId(lineage), after, upto }
}

impl Db {
    pub fn new(sql: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let adapter = SqliteAdapter::open("shop", &path).unwrap();
        Self { dir, adapter }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("test.db")
    }

    /// A foreign client: knows nothing of us, with SQLite's own defaults.
    pub fn direct(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(self.path()).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        conn.pragma_update(None, "foreign_keys", false).unwrap();
        conn
    }

    pub fn run(&self, sql: &str) {
        self.direct().execute_batch(sql).unwrap();
    }

    pub async fn define(&self, id: i64, table: &str, key: Option<&[&str]>) -> Result<TableDef, Error> {
        let location =
            Location { kind: BackendKind::Sqlite, backend: "shop".into(), schema: None, table: table.into() };
        let key: Option<Vec<String>> = key.map(|k| k.iter().map(|c| (*c).to_owned()).collect());
        let schema = self.adapter.describe(&location, key.as_deref()).await?;
        Ok(TableDef {
            id: TableId(id),
            name: TableName::public(table),
            location,
            schema,
            revision: None,
            retired: None,
            view: None,
            source: None,
        })
    }

    pub async fn register(&self, id: i64, table: &str) -> Arc<TableDef> {
        let def = self.define(id, table, None).await.unwrap();
        self.adapter.install(&def).await.unwrap();
        Arc::new(def)
    }

    pub async fn rows(&self, table: &TableDef, view: View) -> Vec<Row> {
        self.scan(table, view, &Scan::default()).await.unwrap()
    }

    /// Rows sorted, so that they can be compared.
    pub async fn scan(&self, table: &TableDef, view: View, scan: &Scan) -> Result<Vec<Row>, Error> {
        let stream = self.adapter.scan(table, &view, scan).await?;
        collect(stream).await
    }

    pub async fn write(&self, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> Result<u64, Error> {
        let mut tx = self.adapter.begin().await?;
        let n = tx.write(table, layer, writes).await?;
        tx.commit().await?;
        Ok(n)
    }

    pub async fn seal(&self, tables: &[Arc<TableDef>], layer: Layer, ordinal: Ordinal) -> Sealed {
        let operation = format!("{}-{ordinal}", layer.lineage.0);
        self.adapter.seal(&operation, tables, layer, ordinal, &[], SealMode::All).await.unwrap()
    }

    pub async fn apply(
        &self,
        table: &Arc<TableDef>,
        layer: Layer,
        ordinal: Ordinal,
        changes: Vec<RowChange>,
        mode: SealMode,
    ) -> Result<Sealed, Error> {
        let operation = format!("apply-{}-{ordinal}", layer.lineage.0);
        let changes = [TableChanges { table: Arc::clone(table), changes, arrival: None }];
        self.adapter.seal(&operation, &[Arc::clone(table)], layer, ordinal, &changes, mode).await
    }

    pub async fn diff(&self, table: &TableDef, from: View, to: View, segments: &[Segment]) -> Vec<RowChange> {
        self.adapter.diff(table, &from, &to, segments, None).await.unwrap().try_collect().await.unwrap()
    }

    /// Everything that the file's schema says.
    pub fn dump_schema(&self) -> Vec<(String, String, String, Option<String>)> {
        let conn = self.direct();
        let mut stmt =
            conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").unwrap();
        stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }
}

pub async fn collect(stream: epoch_adapter::BatchStream) -> Result<Vec<Row>, Error> {
    let mut stream = stream;
    let mut out = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        for r in 0..batch.num_rows() {
            out.push(batch.columns().iter().map(|c| value_at(c.as_ref(), r).unwrap()).collect::<Row>());
        }
    }
    out.sort();
    Ok(out)
}

pub fn insert(cells: Vec<Value>) -> RowWrite {
    RowWrite::Insert(cells.into_iter().map(Some).collect())
}

pub fn update(key: i64, column: usize, value: Value) -> RowWrite {
    RowWrite::Update { key: vec![int(key)], set: vec![(column, value)] }
}

pub fn delete(key: i64) -> RowWrite {
    RowWrite::Delete { key: vec![int(key)] }
}

pub fn ok<T: std::fmt::Debug>(result: Result<T, Error>) -> Error {
    result.expect_err("this must fail")
}

pub use epoch_adapter;
