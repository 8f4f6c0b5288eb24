//! The arms of a view as this file's tables stand (see [`epoch_layers::view`]), and what callers ask of them. They are
//! run one after the other: SQLite pushes conditions into a UNION ALL only in the simplest cases.

use arrow::datatypes::DataType;
use epoch_adapter::{At, Comparison, Error, LineageId, Ordinal, Predicate, Result, TableDef, Value, View};
use epoch_layers::cells::{Cell, parse_date};
use epoch_layers::view::{Arm, Dialect, Facts, Filter};
use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::error::map;
use crate::layout::{base, quote};
use crate::meta::Meta;
use crate::types::Affinity;

/// The plain table.
pub(crate) fn plain(table: &TableDef) -> Arm {
    Arm::whole(format!("{} AS x", base(table)), Dialect::Sqlite)
}

/// The arms of a view. Parts that are empty are left out, so read in the transaction that scans.
pub(crate) fn arms(conn: &Connection, meta: &Meta, view: &View) -> Result<Vec<Arm>> {
    let (sql, params) = meta.facts_sql(view);
    let facts = conn.prepare_cached(&sql).and_then(|mut s| {
        s.query_row(rusqlite::params_from_iter(params), |row| {
            Ok(Facts { own_moved: row.get(0)?, masked: row.get(1)?, main_moved: row.get(2)? })
        })
    });
    Ok(meta.arms(view, facts.map_err(map)?))
}

/// What a branch's own layer holds at a moment, without what is below.
pub(crate) fn own(conn: &Connection, meta: &Meta, lineage: LineageId, at: At) -> Result<Vec<Arm>> {
    let moved = match at {
        At::Working => false,
        At::Ordinal(s) => moved(conn, meta, lineage, s)?,
    };
    Ok(meta.own(lineage, at, moved))
}

/// Whether a branch's base differs from the base table as it is now.
pub(crate) fn main_moved(conn: &Connection, meta: &Meta, ordinal: Ordinal) -> Result<bool> {
    moved(conn, meta, LineageId::MAIN, ordinal)
}

fn moved(conn: &Connection, meta: &Meta, lineage: LineageId, since: Ordinal) -> Result<bool> {
    let sql = format!("SELECT 1 FROM {} WHERE epoch_lineage = ?1 AND epoch_to > ?2 LIMIT 1", meta.history);
    conn.prepare_cached(&sql).and_then(|mut s| s.exists([lineage.0, since])).map_err(map)
}

/// `x.column = value` with the column's collation and affinity.
pub(crate) fn equal(columns: &[String], values: &[Value]) -> Filter {
    let sql = columns.iter().map(|c| format!("x.{} = ?", quote(c))).collect();
    Filter { sql, params: values.to_vec(), keyed: false }
}

/// The conjunction of predicates that [`supports`] accepted.
pub(crate) fn predicates(table: &TableDef, predicates: &[Predicate]) -> Result<Filter> {
    conjunction(table, predicates, true)
}

/// The conjunction of predicates on keys, compared as keys are.
pub(crate) fn keys(table: &TableDef, predicates: &[Predicate]) -> Result<Filter> {
    conjunction(table, predicates, false)
}

fn conjunction(table: &TableDef, predicates: &[Predicate], bytes: bool) -> Result<Filter> {
    let mut out = Filter::default();
    for p in predicates {
        let sql = predicate(table, p, bytes, &mut out.params)?;
        out.sql.push(sql);
        out.keyed |= match p {
            Predicate::Compare(i, Comparison::Eq, _) | Predicate::In(i, _) => {
                table.schema.key.first() == Some(i)
            }
            _ => false,
        };
    }
    Ok(out)
}

/// `bytes`: texts are compared by bytes, whatever their column's collation.
fn predicate(table: &TableDef, p: &Predicate, bytes: bool, params: &mut Vec<Value>) -> Result<String> {
    let column = |i: usize| {
        let column = table.schema.columns.get(i);
        column
            .map(|c| format!("x.{}", quote(&c.name)))
            .ok_or_else(|| Error::internal("a predicate's column is out of range"))
    };
    // The first half of a comparison by bytes may use an index.
    let by_bytes = |v: &Value| bytes && matches!(v, Value::Text(_));
    let nested = |list: &[Predicate], word: &str, empty: &str, params: &mut Vec<Value>| {
        let parts: Result<Vec<_>> = list.iter().map(|p| predicate(table, p, bytes, params)).collect();
        let parts = parts?;
        Ok(if parts.is_empty() { empty.to_owned() } else { format!("({})", parts.join(word)) })
    };
    match p {
        Predicate::Compare(i, Comparison::Eq, v) if by_bytes(v) => {
            params.extend([v.clone(), v.clone()]);
            let c = column(*i)?;
            Ok(format!("({c} = ? AND {c} COLLATE BINARY = ?)"))
        }
        Predicate::Compare(i, op, v) => {
            params.push(v.clone());
            let collate = if by_bytes(v) { " COLLATE BINARY" } else { "" };
            Ok(format!("{}{collate} {} ?", column(*i)?, op.as_sql()))
        }
        Predicate::In(_, values) if values.is_empty() => Ok("0".to_owned()),
        Predicate::In(i, values) => {
            let marks = vec!["?"; values.len()].join(", ");
            let c = column(*i)?;
            params.extend(values.iter().cloned());
            if !values.iter().any(by_bytes) {
                return Ok(format!("{c} IN ({marks})"));
            }
            params.extend(values.iter().cloned());
            Ok(format!("({c} IN ({marks}) AND {c} COLLATE BINARY IN ({marks}))"))
        }
        Predicate::IsNull(i) => Ok(format!("{} IS NULL", column(*i)?)),
        Predicate::IsNotNull(i) => Ok(format!("{} IS NOT NULL", column(*i)?)),
        Predicate::And(list) => nested(list, " AND ", "1", params),
        Predicate::Or(list) => nested(list, " OR ", "0", params),
    }
}

/// Whether SQLite's answer to a predicate is the one that the declared types ask for.
pub(crate) fn supports(table: &TableDef, p: &Predicate) -> bool {
    match p {
        Predicate::Compare(i, _, v) => comparable(table, *i, v),
        // The limit keeps clear of SQLite's 32,766 parameters.
        Predicate::In(i, values) => values.len() <= 4_000 && values.iter().all(|v| comparable(table, *i, v)),
        Predicate::IsNull(i) | Predicate::IsNotNull(i) => *i < table.schema.columns.len(),
        Predicate::And(list) | Predicate::Or(list) => list.iter().all(|p| supports(table, p)),
    }
}

fn comparable(table: &TableDef, column: usize, value: &Value) -> bool {
    let Some(column) = table.schema.columns.get(column) else { return false };
    match (&column.data_type, value) {
        (DataType::Int64, Value::Int(_)) | (DataType::Float64, Value::Int(_)) => true,
        (DataType::Float64, Value::Real(v)) => !v.is_nan(),
        // Other affinities may keep numbers, which a scan turns into text.
        (DataType::Utf8, Value::Text(_)) => {
            crate::types::affinity(&column.type_name, false) == Affinity::Text
        }
        // A scan takes dates in this form only, so they sort as text.
        (DataType::Date32, Value::Text(text)) => parse_date(text).is_some(),
        _ => false,
    }
}

/// Binds our values to SQLite's parameters.
pub(crate) struct Bind<'a>(pub &'a Value);

impl rusqlite::ToSql for Bind<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(value_ref(self.0)))
    }
}

/// All parameters of a statement.
pub(crate) fn bind(values: &[Value]) -> impl rusqlite::Params + '_ {
    rusqlite::params_from_iter(values.iter().map(Bind))
}

/// Our value as SQLite's.
pub(crate) fn value_ref(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Int(v) => ValueRef::Integer(*v),
        Value::Real(v) => ValueRef::Real(*v),
        Value::Text(v) => ValueRef::Text(v.as_bytes()),
        Value::Blob(v) => ValueRef::Blob(v),
    }
}

/// SQLite's value as ours. 22P02 for text that isn't UTF-8.
pub(crate) fn value(value: ValueRef<'_>) -> Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(v) => Value::Int(v),
        ValueRef::Real(v) => Value::Real(v),
        ValueRef::Blob(v) => Value::Blob(v.to_vec()),
        ValueRef::Text(v) => Value::Text(
            std::str::from_utf8(v)
                .map_err(|_| {
                    Error::new(
                        epoch_adapter::sqlstate::INVALID_TEXT_REPRESENTATION,
                        "invalid byte sequence for encoding \"UTF8\"",
                    )
                })?
                .to_owned(),
        ),
    })
}

/// SQLite's value as a cell.
pub(crate) fn cell(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(v) => Cell::Int(v),
        ValueRef::Real(v) => Cell::Real(v),
        ValueRef::Text(v) => Cell::Text(v),
        ValueRef::Blob(v) => Cell::Blob(v),
    }
}
