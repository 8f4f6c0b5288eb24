//! Types of Delta columns as PostgreSQL and Arrow types; `docs/backends/delta.md` has the table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake_core::kernel::{DataType as DeltaType, PrimitiveType};
use epoch_adapter::{Column, Error, Result, Row, TableSchema, Value, sqlstate};
use epoch_layers::cells::{Batch, Cell, value_at};
use epoch_layers::errors::misfit;

use crate::error;

/// A row, shared by whoever looks at it.
pub(crate) type Shared = Arc<Row>;

/// The PostgreSQL type and the Arrow type that a column has here; `None` for types without a form.
pub(crate) fn map(of: &DeltaType) -> Option<(String, DataType)> {
    let DeltaType::Primitive(of) = of else { return None };
    let plain = |pg: &str, arrow: DataType| Some((pg.to_owned(), arrow));
    match of {
        PrimitiveType::String => plain("text", DataType::Utf8),
        PrimitiveType::Long => plain("bigint", DataType::Int64),
        PrimitiveType::Integer => plain("integer", DataType::Int32),
        PrimitiveType::Short | PrimitiveType::Byte => plain("smallint", DataType::Int16),
        PrimitiveType::Float => plain("real", DataType::Float32),
        PrimitiveType::Double => plain("double precision", DataType::Float64),
        PrimitiveType::Boolean => plain("boolean", DataType::Boolean),
        PrimitiveType::Binary => plain("bytea", DataType::Binary),
        PrimitiveType::Date => plain("date", DataType::Date32),
        PrimitiveType::Timestamp => {
            let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            plain("timestamp with time zone", moment)
        }
        PrimitiveType::TimestampNtz => {
            plain("timestamp without time zone", DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        PrimitiveType::Decimal(decimal) => {
            let scale = i8::try_from(decimal.scale()).ok()?;
            let name = format!("numeric({},{scale})", decimal.precision());
            Some((name, DataType::Decimal128(decimal.precision(), scale)))
        }
        _ => None,
    }
}

/// The type as Delta's schemas write it.
pub(crate) fn name(of: &DeltaType) -> String {
    match of {
        DeltaType::Primitive(p) => p.to_string(),
        DeltaType::Array(_) => "array".to_owned(),
        DeltaType::Struct(_) => "struct".to_owned(),
        DeltaType::Map(_) => "map".to_owned(),
        _ => "variant".to_owned(),
    }
}

/// Whether equal values of a column are the same value: floating-point numbers aren't.
pub(crate) fn is_exact(column: &Column) -> bool {
    !matches!(column.data_type, DataType::Float32 | DataType::Float64)
}

/// The Arrow schema of a table in which every column may be NULL: of rows of which only the key is known, and of rows
/// that are yet to be checked.
pub(crate) fn loose(schema: &TableSchema) -> SchemaRef {
    let field = |c: &Column| Field::new(&c.name, c.data_type.clone(), true);
    Arc::new(Schema::new(schema.columns.iter().map(field).collect::<Vec<_>>()))
}

/// Rows as a batch of the columns of [`loose`].
pub(crate) fn batch<'a>(
    schema: &TableSchema,
    rows: impl ExactSizeIterator<Item = &'a Row>,
) -> Result<arrow::record_batch::RecordBatch> {
    let mut batch = Batch::new(loose(schema), rows.len())?;
    for row in rows {
        batch
            .push(|i| Ok::<_, std::fmt::Error>(row.get(i).map_or(Cell::Null, Cell::from)))
            .map_err(|(i, what)| wrong(schema, i, &what))?;
    }
    batch.finish()
}

fn wrong(schema: &TableSchema, column: usize, what: &str) -> Error {
    let (name, pg_type) =
        schema.columns.get(column).map_or(("?", "?"), |c| (c.name.as_str(), c.pg_type.as_str()));
    misfit(pg_type, name, what)
}

/// The rows of a batch whose columns are the table's.
pub(crate) fn rows(batch: &arrow::record_batch::RecordBatch) -> Result<Vec<Row>> {
    (0..batch.num_rows()).map(|r| batch.columns().iter().map(|c| value_at(c, r)).collect()).collect()
}

/// Rows in the one form in which they are compared: the form in which they are read. 22P02 for what isn't of its
/// column's type, 22003 for numbers that the table's column can't hold.
pub(crate) fn normal(schema: &TableSchema, given: &[Row]) -> Result<Vec<Row>> {
    let rows = rows(&batch(schema, given.iter())?)?;
    let bytes: Vec<_> =
        schema.columns.iter().enumerate().filter(|(_, c)| c.type_name == "byte").map(|(i, _)| i).collect();
    for row in &rows {
        for value in bytes.iter().filter_map(|&i| row.get(i)) {
            if matches!(value, Value::Int(v) if i8::try_from(*v).is_err()) {
                return Err(Error::new("22003", "tinyint out of range")
                    .with_detail("The column has Delta's type byte, from -128 to 127."));
            }
        }
    }
    Ok(rows)
}

/// The columns of a batch in the types that were announced; engines write strings in several forms.
pub(crate) fn announced(
    batch: &arrow::record_batch::RecordBatch,
    schema: &SchemaRef,
) -> Result<arrow::record_batch::RecordBatch> {
    let strict = arrow::compute::CastOptions { safe: false, ..Default::default() };
    let cast = |(array, field): (&arrow::array::ArrayRef, &Arc<Field>)| {
        if array.data_type() == field.data_type() {
            return Ok(Arc::clone(array));
        }
        arrow::compute::cast_with_options(array, field.data_type(), &strict).map_err(error::arrow)
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(cast).collect::<Result<Vec<_>>>()?;
    if let Some((_, field)) =
        columns.iter().zip(schema.fields()).find(|(c, f)| !f.is_nullable() && c.null_count() > 0)
    {
        let message = format!("column \"{}\" of the Delta table contains null values", field.name());
        return Err(Error::new(sqlstate::NOT_NULL_VIOLATION, message)
            .with_detail("Another writer of the table doesn't keep to what it declares."));
    }
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    arrow::record_batch::RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(error::arrow)
}

/// Whether two states of a row are the same; a NaN is itself.
pub(crate) fn same(a: Option<&Row>, b: Option<&Row>) -> bool {
    a == b
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn schema() -> TableSchema {
        let column = |name: &str, type_name: &str, data_type: DataType| Column {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            pg_type: String::new(),
            data_type,
            nullable: name != "id",
            generated: false,
            default: None,
            equality: None,
        };
        TableSchema {
            columns: vec![
                column("id", "long", DataType::Int64),
                column("tiny", "byte", DataType::Int16),
                column("money", "decimal(6,2)", DataType::Decimal128(6, 2)),
            ],
            key: vec![0],
        }
    }

    #[test]
    fn rows_have_one_form() {
        let given = vec![vec![Value::Text("7".into()), Value::Null, Value::Int(3)]];
        let normal = normal(&schema(), &given).unwrap();
        assert_eq!(normal, [vec![Value::Int(7), Value::Null, Value::Text("3.00".into())]]);
    }

    #[test]
    fn a_number_that_delta_could_not_hold_is_refused() {
        let row = |tiny| vec![vec![Value::Int(1), Value::Int(tiny), Value::Null]];
        assert!(normal(&schema(), &row(-128)).is_ok());
        assert_eq!(normal(&schema(), &row(128)).unwrap_err().code(), "22003");
        let big = vec![vec![Value::Int(1), Value::Null, Value::Int(10_000)]];
        assert_eq!(normal(&schema(), &big).unwrap_err().code(), "22P02");
    }
}
