//! Keys that are stored in another form than ours: `2024-01-01T00:00:00Z` in a DATETIME column, `true` in a
//! BOOLEAN one, an integer in a column without a type. Statements know rows by the typed value, SQLite by
//! the stored one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use epoch_adapter::{At, Error, Layer, Result, Row, RowWrite, Value, View, sqlstate};
use epoch_layers::cells::{Batch, Cell, value_at};
use epoch_layers::view::Filter;
use rusqlite::Connection;

use crate::error::map;
use crate::layout::list;
use crate::meta::Meta;
use crate::types::Affinity;
use crate::view::{arms, bind, value};

/// Keys looked at at once.
const CHUNK: usize = 8_192;

/// Stored keys by their typed values, of those where the two differ.
pub(crate) type OtherForms = BTreeMap<Row, Row>;

/// Whether values that are the same to a statement may be stored in several forms in a key column.
pub(crate) fn vary(meta: &Meta) -> bool {
    meta.def.schema.key.iter().any(|&i| {
        let affinity = meta.physical.columns.get(i).map(|c| c.affinity);
        match meta.def.schema.columns.get(i).map(|c| &c.data_type) {
            Some(DataType::Boolean | DataType::Date32 | DataType::Timestamp(..) | DataType::Binary) => true,
            Some(DataType::Utf8) => affinity != Some(Affinity::Text),
            _ => false,
        }
    })
}

/// A key in the form in which it equals those that its columns' collations take for the same.
pub(crate) fn collated(meta: &Meta, key: Row) -> Row {
    let one = |(value, &i): (Value, &usize)| match (value, meta.physical.columns.get(i)) {
        (Value::Text(text), Some(column)) => Value::Text(match column.collation.as_str() {
            "NOCASE" => text.to_ascii_lowercase(),
            "RTRIM" => text.trim_end_matches(' ').to_owned(),
            _ => text,
        }),
        (value, _) => value,
    };
    key.into_iter().zip(&meta.def.schema.key).map(one).collect()
}

fn schema(meta: &Meta) -> Result<SchemaRef> {
    let all = meta.def.schema.arrow();
    let key = all.project(&meta.def.schema.key).map_err(|e| Error::internal(format!("a key: {e}")))?;
    Ok(Arc::new(Schema::new(key.fields().clone())))
}

/// Keys as our own text form has them; `None` if one isn't of its type.
fn typed(schema: &SchemaRef, keys: &[Row]) -> Result<Option<Vec<Row>>> {
    let mut batch = Batch::new(Arc::clone(schema), keys.len())?;
    for key in keys {
        let cell = |i: usize| Ok::<_, std::fmt::Error>(key.get(i).map_or(Cell::Null, Cell::from));
        if batch.push(cell).is_err() {
            return Ok(None);
        }
    }
    let batch = batch.finish()?;
    let row = |r| batch.columns().iter().map(|c| value_at(c.as_ref(), r)).collect::<Result<Row>>();
    (0..keys.len()).map(row).collect::<Result<_>>().map(Some)
}

/// The key in our own form.
pub(crate) fn own_form(meta: &Meta, key: &Row) -> Result<Option<Row>> {
    Ok(typed(&schema(meta)?, std::slice::from_ref(key))?.and_then(|mut keys| keys.pop()))
}

/// Reads the keys of all rows that a layer sees.
pub(crate) fn other_forms(conn: &Connection, meta: &Meta, layer: Layer) -> Result<OtherForms> {
    let schema = schema(meta)?;
    let mut out = OtherForms::new();
    let mut add = |stored: &mut Vec<Row>| -> Result<()> {
        let stored = std::mem::take(stored);
        // What has no form of ours was an error of the scan already.
        for (typed, stored) in typed(&schema, &stored)?.into_iter().flatten().zip(stored) {
            if typed != stored {
                out.insert(typed, stored);
            }
        }
        Ok(())
    };
    for arm in arms(conn, meta, &View { layer, at: At::Working })? {
        let keys = list("x", meta.key.iter().map(String::as_str));
        let (sql, params) = arm.select(&keys, &Filter::default(), None);
        let mut stmt = conn.prepare_cached(&sql).map_err(map)?;
        let mut rows = stmt.query(bind(&params)).map_err(map)?;
        let mut stored = Vec::new();
        while let Some(row) = rows.next().map_err(map)? {
            let cells = (0..meta.key.len()).map(|i| value(row.get_ref(i).map_err(map)?));
            stored.push(cells.collect::<Result<Row>>()?);
            if stored.len() == CHUNK {
                add(&mut stored)?;
            }
        }
        add(&mut stored)?;
    }
    Ok(out)
}

/// 22P02 if a statement writes to two rows that it can't tell apart.
pub(crate) fn check_distinct(meta: &Meta, writes: &[RowWrite]) -> Result<()> {
    let mut keys: Vec<_> = writes
        .iter()
        .filter_map(|w| match w {
            RowWrite::Update { key, .. } | RowWrite::Delete { key } => Some(key),
            RowWrite::Insert(_) => None,
        })
        .collect();
    keys.sort_unstable();
    let twice = keys.iter().zip(keys.iter().skip(1)).find(|(a, b)| a == b);
    let Some((key, _)) = twice else { return Ok(()) };
    let values: Vec<_> = key.iter().map(|v| v.to_text().unwrap_or_else(|| "null".to_owned())).collect();
    Err(Error::new(
        sqlstate::INVALID_TEXT_REPRESENTATION,
        format!(
            "table \"{}\" has rows whose keys differ only in the form in which they are stored",
            meta.name()
        ),
    )
    .with_detail(format!("Key ({})=({}) is there twice.", meta.key.join(", "), values.join(", ")))
    .with_table(meta.name()))
}
