//! Files of rows: Arrow's IPC stream, compressed, with a column that says which keys are gone.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use epoch_adapter::{LineageId, Result, Row, TableId, TableSchema};
use epoch_layers::cells::{Batch, Cell, value_at};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::error;
use crate::state::File;
use crate::store::OURS;
use crate::types::{Shared, loose};

/// A key and its row; `None` if it is gone.
pub(crate) type Keyed = (Row, Option<Shared>);

/// The column that isn't the table's. It is last.
const GONE: &str = "epoch_gone";

fn schema_of(schema: &TableSchema) -> SchemaRef {
    let mut fields: Vec<_> = loose(schema).fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(GONE, DataType::Boolean, false)));
    Arc::new(Schema::new(fields))
}

fn encode(schema: &TableSchema, rows: &[Keyed]) -> Result<Vec<u8>> {
    let width = schema.columns.len();
    let full = schema_of(schema);
    let mut batch = Batch::new(Arc::clone(&full), rows.len())?;
    for (key, row) in rows {
        let of_key = |i: usize| schema.key.iter().position(|k| *k == i).and_then(|at| key.get(at));
        let cell = |i: usize| match row {
            _ if i == width => Cell::Int(i64::from(row.is_none())),
            Some(row) => row.get(i).map_or(Cell::Null, Cell::from),
            None => of_key(i).map_or(Cell::Null, Cell::from),
        };
        batch
            .push(|i| Ok::<_, std::fmt::Error>(cell(i)))
            .map_err(|(_, what)| epoch_adapter::Error::internal(format!("delta: a row to write: {what}")))?;
    }
    let options = IpcWriteOptions::default()
        .try_with_compression(Some(CompressionType::LZ4_FRAME))
        .map_err(error::arrow)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &full, options).map_err(error::arrow)?;
    writer.write(&batch.finish()?).map_err(error::arrow)?;
    writer.into_inner().map_err(error::arrow)
}

fn decode(name: &str, schema: &TableSchema, bytes: &[u8]) -> Result<Vec<Keyed>> {
    let wrong = |e: arrow::error::ArrowError| error::damaged(name, e);
    let mut out = Vec::new();
    for batch in StreamReader::try_new(Cursor::new(bytes), None).map_err(wrong)? {
        read(name, schema, &batch.map_err(wrong)?, &mut out)?;
    }
    Ok(out)
}

fn read(name: &str, schema: &TableSchema, batch: &RecordBatch, out: &mut Vec<Keyed>) -> Result<()> {
    let Some((gone, columns)) = batch.columns().split_last() else { return Ok(()) };
    if columns.len() != schema.columns.len() || gone.data_type() != &DataType::Boolean {
        return Err(error::damaged(name, "it has other columns than the table"));
    }
    let gone = gone.as_boolean();
    for r in 0..batch.num_rows() {
        let row = columns.iter().map(|c| value_at(c, r)).collect::<Result<Row>>()?;
        let key = schema.key_of(&row);
        out.push((key, (!gone.value(r)).then(|| Arc::new(row))));
    }
    Ok(())
}

/// Where the files of a table are.
pub(crate) fn folder(table: TableId) -> Path {
    Path::from(format!("{OURS}/rows/{}", table.0))
}

/// Writes rows to a file of their own.
pub(crate) async fn put(
    root: &Arc<dyn ObjectStore>,
    table: TableId,
    lineage: LineageId,
    schema: &TableSchema,
    rows: &[Keyed],
) -> Result<File> {
    let bytes = encode(schema, rows)?;
    let name = format!("{}/{}/{}.arrow", folder(table), lineage.0, uuid::Uuid::now_v7().simple());
    let file = File { name: name.clone(), rows: rows.len() as u64, bytes: bytes.len() as u64 };
    root.put(&Path::from(name), PutPayload::from(bytes)).await.map_err(error::store)?;
    Ok(file)
}

/// As [`put`]; nothing for no rows.
pub(crate) async fn put_some(
    root: &Arc<dyn ObjectStore>,
    table: TableId,
    lineage: LineageId,
    schema: &TableSchema,
    rows: &[Keyed],
) -> Result<Option<File>> {
    if rows.is_empty() {
        return Ok(None);
    }
    put(root, table, lineage, schema, rows).await.map(Some)
}

/// The rows of a file; `None` if it isn't there any more.
pub(crate) async fn get(
    root: &Arc<dyn ObjectStore>,
    schema: &TableSchema,
    file: &File,
) -> Result<Option<Vec<Keyed>>> {
    let found = match root.get(&Path::from(file.name.as_str())).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        other => other.map_err(error::store)?.bytes().await.map_err(error::store)?,
    };
    decode(&file.name, schema, &found).map(Some)
}

/// Removes files that the log doesn't name any more. What stays is found by nobody and does no harm.
pub(crate) async fn forget(root: &Arc<dyn ObjectStore>, files: Vec<File>) {
    for file in files {
        if let Err(error) = root.delete(&Path::from(file.name.as_str())).await {
            tracing::debug!(%error, file = file.name, "a file could not be removed");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use epoch_adapter::{Column, Value};
    use object_store::memory::InMemory;

    use super::*;

    fn schema() -> TableSchema {
        let column = |name: &str, data_type: DataType| Column {
            name: name.to_owned(),
            type_name: String::new(),
            pg_type: String::new(),
            data_type,
            nullable: false,
            generated: false,
            default: None,
            equality: None,
        };
        let columns = vec![
            column("v", DataType::Float64),
            column("k", DataType::Utf8),
            column("n", DataType::Decimal128(38, 10)),
        ];
        TableSchema { columns, key: vec![1] }
    }

    #[tokio::test]
    async fn rows_come_back_as_they_went() {
        let root: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let key = |k: &str| vec![Value::Text(k.into())];
        let largest = format!("{}.{}", "9".repeat(28), "9".repeat(10));
        let row = |v: f64, k: &str| {
            let row = vec![Value::Real(v), Value::Text(k.into()), Value::Text(largest.clone())];
            (key(k), Some(Arc::new(row)))
        };
        let rows = vec![row(f64::NAN, "ü"), row(-0.0, ""), (key("gone"), None), row(f64::INFINITY, "a\0b")];
        let file = put(&root, TableId(1), LineageId(2), &schema(), &rows).await.unwrap();
        assert_eq!(get(&root, &schema(), &file).await.unwrap().unwrap(), rows);
        forget(&root, vec![file.clone()]).await;
        assert_eq!(get(&root, &schema(), &file).await.unwrap(), None);
    }
}
