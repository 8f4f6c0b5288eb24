//! Scans: SQL for a view with projection, filters and limit, and its rows as Arrow batches.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use epoch_adapter::{
    BatchStream, Column, Comparison, Error, Predicate, Result, Scan, TableDef, View, sqlstate,
};
use futures::StreamExt;
use tokio_postgres::SimpleQueryRow;

use crate::stream::{self, Source};
use crate::{parse, predicate, relation};

/// Rows in one batch.
const BATCH: usize = 8192;

/// The rows that `view` shows.
pub(crate) async fn scan(
    source: Source<'_>,
    table: &TableDef,
    view: &View,
    scan: &Scan,
) -> Result<BatchStream> {
    let columns = projected(table, scan)?;
    let sql = statement(table, view, scan, &columns)?;
    let fields = columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns: Arc<[Column]> = columns.into_iter().cloned().collect();
    let rows = stream::simple_rows(source, &sql).await?;
    let batches = rows.ready_chunks_of(BATCH);
    Ok(batches.map(move |rows| batch(&schema, &columns, &rows?)).boxed())
}

fn projected<'a>(table: &'a TableDef, scan: &Scan) -> Result<Vec<&'a Column>> {
    let all = &table.schema.columns;
    match &scan.projection {
        None => Ok(all.iter().collect()),
        Some(indexes) => indexes
            .iter()
            .map(|&i| all.get(i).ok_or_else(|| Error::internal(format!("no column {i} in {}", table.name))))
            .collect(),
    }
}

fn statement(table: &TableDef, view: &View, scan: &Scan, columns: &[&Column]) -> Result<String> {
    let conditions = scan.filters.iter().map(|f| predicate::sql(table, f)).collect::<Result<Vec<_>>>()?;
    // Few rows wanted: index scans in each part; else anti-joins over all of it.
    let few = scan.limit.is_some_and(|n| n <= 1000) || scan.filters.iter().any(|f| selects_few(table, f));
    let relation = if few { relation::selective(table, view) } else { relation::scanning(table, view) };
    let mut sql = format!(
        "SELECT {} FROM {} epoch_x",
        crate::text::join(columns, ", ", |c| format!("epoch_x.{}", crate::layout::quote(&c.name))),
        relation
    );
    if !conditions.is_empty() {
        sql += &format!(" WHERE {}", conditions.join(" AND "));
    }
    if let Some(limit) = scan.limit {
        sql += &format!(" LIMIT {limit}");
    }
    Ok(sql)
}

fn selects_few(table: &TableDef, filter: &Predicate) -> bool {
    let key = |i: &usize| table.schema.key.first() == Some(i);
    match filter {
        Predicate::Compare(i, Comparison::Eq, _) => key(i),
        Predicate::In(i, values) => key(i) && values.len() <= 1000,
        Predicate::And(all) => all.iter().any(|f| selects_few(table, f)),
        _ => false,
    }
}

fn batch(schema: &SchemaRef, columns: &[Column], rows: &[SimpleQueryRow]) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for (i, column) in columns.iter().enumerate() {
        let mut builder = Builder::new(&column.data_type, rows.len())?;
        for row in rows {
            let cell = row.try_get(i).map_err(crate::error::pg)?;
            builder.append(cell, column)?;
        }
        arrays.push(builder.finish(&column.data_type));
    }
    // A scan of no columns still counts rows.
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
        .map_err(|e| Error::new(sqlstate::DATA_CORRUPTED, format!("scan: {e}")))
}

enum Builder {
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Bool(BooleanBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder, i8),
    Text(StringBuilder),
}

impl Builder {
    fn new(data_type: &DataType, rows: usize) -> Result<Self> {
        Ok(match data_type {
            DataType::Int16 => Self::Int16(Int16Builder::with_capacity(rows)),
            DataType::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            DataType::Float32 => Self::Float32(Float32Builder::with_capacity(rows)),
            DataType::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            DataType::Boolean => Self::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(rows)),
            DataType::Time64(_) => Self::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            DataType::Timestamp(_, zone) => Self::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(rows).with_timezone_opt(zone.clone()),
            ),
            DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::with_capacity(rows)
                    .with_precision_and_scale(*precision, *scale)
                    .map_err(|e| Error::internal(e.to_string()))?;
                Self::Decimal(builder, *scale)
            }
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            other => return Err(Error::internal(format!("no scan yields {other}"))),
        })
    }

    fn append(&mut self, cell: Option<&str>, column: &Column) -> Result<()> {
        macro_rules! parsed {
            ($builder:expr, $parse:expr) => {
                match cell {
                    None => $builder.append_null(),
                    Some(text) => {
                        $builder.append_value($parse(text).ok_or_else(|| unrepresentable(column, text))?)
                    }
                }
            };
        }
        match self {
            Self::Int16(b) => parsed!(b, |t: &str| t.parse().ok()),
            Self::Int32(b) => parsed!(b, |t: &str| t.parse().ok()),
            Self::Int64(b) => parsed!(b, |t: &str| t.parse().ok()),
            Self::Float32(b) => parsed!(b, |t: &str| t.parse().ok()),
            Self::Float64(b) => parsed!(b, |t: &str| t.parse().ok()),
            Self::Bool(b) => parsed!(b, parse::boolean),
            Self::Bytes(b) => parsed!(b, parse::bytea),
            Self::Date(b) => parsed!(b, parse::date),
            Self::Time(b) => parsed!(b, parse::time),
            Self::Timestamp(b) => parsed!(b, parse::timestamp),
            Self::Decimal(b, scale) => parsed!(b, |t: &str| parse::decimal(t, *scale)),
            Self::Text(b) => b.append_option(cell),
        }
        Ok(())
    }

    fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        let builder: &mut dyn ArrayBuilder = match self {
            Self::Int16(b) => b,
            Self::Int32(b) => b,
            Self::Int64(b) => b,
            Self::Float32(b) => b,
            Self::Float64(b) => b,
            Self::Bool(b) => b,
            Self::Bytes(b) => b,
            Self::Date(b) => b,
            Self::Time(b) => b,
            Self::Timestamp(b) => b,
            Self::Decimal(b, _) => b,
            Self::Text(b) => b,
        };
        let array = builder.finish();
        debug_assert_eq!(array.data_type(), data_type);
        array
    }
}

/// Infinite dates and numbers that aren't one have no Arrow form: said, not bent.
fn unrepresentable(column: &Column, text: &str) -> Error {
    let message = format!(
        "value \"{text}\" of column \"{}\" cannot be used in a query over several backends",
        column.name
    );
    Error::new("22003", message)
        .with_column(&column.name)
        .with_hint("Leave these rows or this column out, or cast the column to text in a view.")
}

/// Collects what is at hand into chunks, without waiting for a full one.
trait ReadyChunks {
    fn ready_chunks_of(self, size: usize)
    -> futures::stream::BoxStream<'static, Result<Vec<SimpleQueryRow>>>;
}

impl ReadyChunks for futures::stream::BoxStream<'static, Result<SimpleQueryRow>> {
    fn ready_chunks_of(
        self,
        size: usize,
    ) -> futures::stream::BoxStream<'static, Result<Vec<SimpleQueryRow>>> {
        self.chunks(size).map(|rows| rows.into_iter().collect()).boxed()
    }
}
