//! Catalog tables from a list of columns and rows in text form.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use epoch_adapter::{Error, Result};

use crate::federation::types::{OID_ALIAS, PG_CHAR, PG_TYPE};
use crate::federation::{convert, errors};

/// A row: the columns that differ from their defaults.
pub(super) type Row = HashMap<&'static str, String>;

/// Makes a row of pairs.
pub(super) fn row<const N: usize>(cells: [(&'static str, String); N]) -> Row {
    cells.into_iter().collect()
}

/// A table of `columns`: `name:type`, with `=value` for what rows leave out (NULL without it).
pub(super) fn table(columns: &'static str, rows: &[Row]) -> Result<Arc<dyn TableProvider>> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for column in columns.split_whitespace() {
        let (name, rest) = column.split_once(':').ok_or_else(|| Error::internal("a catalog column"))?;
        let (kind, default) = match rest.split_once('=') {
            Some((kind, default)) => (kind, Some(default)),
            None => (rest, None),
        };
        let field = field(name, kind);
        let cell = |row: &Row| row.get(name).cloned().or_else(|| default.map(str::to_owned));
        let cells: Vec<_> = rows.iter().map(cell).collect();
        arrays.push(convert::array_of(&cells, field.data_type())?);
        fields.push(field);
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| errors::arrow(&e))?;
    let table = MemTable::try_new(schema, vec![vec![batch]]).map_err(|e| errors::datafusion(&e))?;
    Ok(Arc::new(table))
}

fn field(name: &str, kind: &str) -> Field {
    let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
    let (data_type, metadata) = match kind {
        "oid" | "regproc" => (DataType::Int32, Some((OID_ALIAS, kind))),
        "name" => (DataType::Utf8, Some((PG_TYPE, "name"))),
        "char" => (DataType::Utf8, Some((PG_CHAR, "char"))),
        "bool" => (DataType::Boolean, None),
        "int2" => (DataType::Int16, None),
        "int4" => (DataType::Int32, None),
        "int8" => (DataType::Int64, None),
        "float4" => (DataType::Float32, None),
        "text[]" => (list(DataType::Utf8), None),
        "int2[]" => (list(DataType::Int16), None),
        "oid[]" => (list(DataType::Int32), None),
        _ => (DataType::Utf8, None),
    };
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Field::new(name, data_type, true).with_metadata(metadata.into_iter().collect())
}
