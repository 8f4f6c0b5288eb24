//! What every adapter with layers must do, as tests that each runs against its own server. Only tests use this crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_wrap,
    clippy::cloned_ref_to_slice_refs,
    missing_docs
)]

pub mod model;

use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{
    Adapter, At, BatchStream, Error, Layer, LineageId, Location, Ordinal, Row, RowChange, RowWrite, Scan,
    SealMode, Sealed, Segment, TableChanges, TableDef, TableId, TableName, Value, View, Wanted,
};
use epoch_layers::cells::value_at;
use futures::{StreamExt, TryStreamExt};

/// A database of its own, with its adapter and a client that knows nothing of us.
#[async_trait]
pub trait Database: Send + Sync {
    fn adapter(&self) -> &dyn Adapter;

    fn location(&self, table: &str) -> Location;

    /// Runs statements directly; the first that fails ends them, and is an error.
    async fn direct(&self, sql: &str) -> Result<(), String>;

    /// All rows of a table, read directly.
    async fn base(&self, table: &str) -> Vec<Row>;

    async fn run(&self, sql: &str) {
        self.direct(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    async fn define(&self, id: i64, table: &str, key: Option<&[&str]>) -> Result<TableDef, Error> {
        let location = self.location(table);
        let key: Option<Vec<String>> = key.map(|k| k.iter().map(|c| (*c).to_owned()).collect());
        let schema = self.adapter().describe(&location, key.as_deref()).await?;
        Ok(TableDef::new(TableId(id), TableName::public(table), location, schema))
    }

    async fn register(&self, id: i64, table: &str) -> Arc<TableDef> {
        let def = self.define(id, table, None).await.unwrap();
        self.adapter().install(&def).await.unwrap();
        Arc::new(def)
    }

    async fn rows(&self, table: &TableDef, view: View) -> Vec<Row> {
        self.scan(table, view, &Scan::default()).await.unwrap()
    }

    /// Rows sorted, so that they can be compared.
    async fn scan(&self, table: &TableDef, view: View, scan: &Scan) -> Result<Vec<Row>, Error> {
        collect(self.adapter().scan(table, &view, scan).await?).await
    }

    async fn write(&self, table: &TableDef, layer: Layer, writes: &[RowWrite]) -> Result<u64, Error> {
        let mut tx = self.adapter().begin().await?;
        let n = tx.write(table, layer, writes).await?;
        tx.commit().await?;
        Ok(n)
    }

    async fn seal(&self, tables: &[Arc<TableDef>], layer: Layer, ordinal: Ordinal) -> Sealed {
        let operation = format!("{}-{ordinal}", layer.lineage.0);
        self.adapter().seal(&operation, tables, layer, ordinal, &[], SealMode::All).await.unwrap()
    }

    async fn apply(
        &self,
        table: &Arc<TableDef>,
        layer: Layer,
        ordinal: Ordinal,
        changes: Vec<RowChange>,
        mode: SealMode,
    ) -> Result<Sealed, Error> {
        let operation = format!("apply-{}-{ordinal}", layer.lineage.0);
        let changes = [TableChanges { table: Arc::clone(table), changes, arrival: None }];
        self.adapter().seal(&operation, &[Arc::clone(table)], layer, ordinal, &changes, mode).await
    }

    async fn diff(&self, table: &TableDef, from: View, to: View, segments: &[Segment]) -> Vec<RowChange> {
        self.adapter()
            .diff(table, &from, &to, segments, &Wanted::default())
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap()
    }
}

pub async fn collect(mut stream: BatchStream) -> Result<Vec<Row>, Error> {
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

pub fn insert(cells: Vec<Value>) -> RowWrite {
    RowWrite::Insert(cells.into_iter().map(Some).collect())
}

pub fn update(key: i64, column: usize, value: Value) -> RowWrite {
    RowWrite::Update { key: vec![int(key)], set: vec![(column, value)] }
}

pub fn delete(key: i64) -> RowWrite {
    RowWrite::Delete { key: vec![int(key)] }
}

/// The error of what must fail.
pub fn error<T: std::fmt::Debug>(result: Result<T, Error>) -> Error {
    result.expect_err("this must fail")
}

pub fn sql_value(v: &Value) -> String {
    match v {
        Value::Text(t) => format!("'{t}'"),
        other => other.to_text().unwrap_or_else(|| "NULL".into()),
    }
}
