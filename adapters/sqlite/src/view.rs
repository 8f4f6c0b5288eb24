//! The rows of a view as arms: one SELECT per place where rows may be, run one after the other with
//! the caller's conditions in each. SQLite pushes conditions into a UNION ALL only in the simplest
//! cases; an arm by itself always gets its indexes.
//!
//! In each arm the rows are called `x`.

use epoch_adapter::{
    At, Comparison, Error, Layer, LineageId, Ordinal, Predicate, Result, TableDef, Value, View,
};
use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::error::map;
use crate::layout::{base, equal, quote};
use crate::meta::Meta;
use crate::types::Affinity;

/// One place where rows of a view may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arm {
    /// `table AS x`
    pub from: String,
    /// Which of its rows belong to the view; may be empty.
    pub condition: String,
    /// The parameters of `condition`.
    pub params: Vec<i64>,
}

/// The plain table.
pub(crate) fn plain(table: &TableDef) -> Arm {
    Arm { from: format!("{} AS x", base(table)), condition: String::new(), params: Vec::new() }
}

/// The arms of a view. Parts that are empty are left out, so read in the transaction that scans.
pub(crate) fn arms(conn: &Connection, meta: &Meta, view: &View) -> Result<Vec<Arm>> {
    let lineage = view.layer.lineage;
    if view.layer.is_main() {
        return match view.at {
            At::Working => Ok(vec![plain(&meta.def)]),
            At::Ordinal(s) => below(meta, lineage, false, s, main_moved(conn, meta, s)?),
        };
    }
    let mut out = own(conn, meta, lineage, view.at)?;
    let masked = exists(conn, &format!("{} WHERE epoch_lineage = ?1", meta.mask), &[lineage.0])?;
    let moved = main_moved(conn, meta, view.layer.base)?;
    out.extend(below(meta, lineage, masked, view.layer.base, moved)?);
    Ok(out)
}

/// What a branch's own layer holds at a moment, without what is below.
pub(crate) fn own(conn: &Connection, meta: &Meta, lineage: LineageId, at: At) -> Result<Vec<Arm>> {
    let At::Ordinal(s) = at else { return Ok(vec![overlay(meta, lineage)]) };
    let since = format!("{} WHERE epoch_lineage = ?1 AND epoch_to > ?2", meta.history);
    if !exists(conn, &since, &[lineage.0, s])? {
        return Ok(vec![overlay(meta, lineage)]);
    }
    let unmoved = Arm {
        from: format!("{} AS x", meta.overlay),
        condition: format!("x.epoch_lineage = ? AND {}", unmoved(meta, "?")),
        params: vec![lineage.0, lineage.0, s],
    };
    Ok(vec![unmoved, images(meta, lineage, s)])
}

/// Whether a branch's base differs from the base table as it is now.
pub(crate) fn main_moved(conn: &Connection, meta: &Meta, ordinal: Ordinal) -> Result<bool> {
    exists(conn, &format!("{} WHERE epoch_lineage = 1 AND epoch_to > ?1", meta.history), &[ordinal])
}

fn exists(conn: &Connection, what: &str, params: &[i64]) -> Result<bool> {
    let sql = format!("SELECT 1 FROM {what} LIMIT 1");
    conn.prepare_cached(&sql).and_then(|mut s| s.exists(rusqlite::params_from_iter(params))).map_err(map)
}

/// The live rows of a branch.
pub(crate) fn overlay(meta: &Meta, lineage: LineageId) -> Arm {
    Arm {
        from: format!("{} AS x", meta.overlay),
        condition: "x.epoch_lineage = ?".to_owned(),
        params: vec![lineage.0],
    }
}

/// What a branch sees of main: main at an ordinal without the keys that the branch hides.
pub(crate) fn below(
    meta: &Meta,
    lineage: LineageId,
    masked: bool,
    at: Ordinal,
    moved: bool,
) -> Result<Vec<Arm>> {
    let mut base = plain(&meta.def);
    let mut conditions = Vec::new();
    if masked {
        conditions.push(unmasked(meta));
        base.params.push(lineage.0);
    }
    if moved {
        conditions.push(unmoved(meta, "1"));
        base.params.push(at);
    }
    base.condition = conditions.join(" AND ");
    let mut out = vec![base];
    if moved {
        let mut past = images(meta, LineageId::MAIN, at);
        if masked {
            past.condition = format!("{} AND {}", past.condition, unmasked(meta));
            past.params.push(lineage.0);
        }
        out.push(past);
    }
    Ok(out)
}

/// Same as [`below`] for writes: the mask may get its first key at any moment.
pub(crate) fn below_for_write(meta: &Meta, layer: Layer, moved: bool) -> Result<Vec<Arm>> {
    below(meta, layer.lineage, true, layer.base, moved)
}

fn unmasked(meta: &Meta) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM {} AS m WHERE m.epoch_lineage = ? AND {})",
        meta.mask,
        equal(&meta.key, "m", "x")
    )
}

/// The key's last image ends at or before the ordinal, so the live row was there then.
fn unmoved(meta: &Meta, lineage: &str) -> String {
    format!(
        "coalesce((SELECT h.epoch_to FROM {} AS h WHERE h.epoch_lineage = {lineage} AND {} \
         ORDER BY h.epoch_from DESC LIMIT 1), 0) <= ?",
        meta.history,
        equal(&meta.key, "h", "x")
    )
}

/// The rows that a lineage had at an ordinal and that changed since.
fn images(meta: &Meta, lineage: LineageId, at: Ordinal) -> Arm {
    Arm {
        from: format!("{} AS x", meta.history),
        condition: "x.epoch_lineage = ? AND x.epoch_from <= ? AND x.epoch_to > ? AND x.epoch_existed = 1"
            .to_owned(),
        params: vec![lineage.0, at, at],
    }
}

/// A condition over `x` with its parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub sql: Vec<String>,
    pub params: Vec<Value>,
    /// Whether it names rows by key: then no arm must be read by ordinal, whatever the statistics say.
    pub keyed: bool,
}

impl Filter {
    /// `x.column = value` with the column's collation and affinity.
    pub(crate) fn equal(columns: &[String], values: &[Value]) -> Self {
        let sql = columns.iter().map(|c| format!("x.{} = ?", quote(c))).collect();
        Self { sql, params: values.to_vec(), keyed: false }
    }

    /// The row with a key.
    pub(crate) fn key(meta: &Meta, key: &[Value]) -> Self {
        Self { keyed: true, ..Self::equal(&meta.key, key) }
    }

    /// The conjunction of predicates that [`supports`] accepted.
    pub(crate) fn predicates(table: &TableDef, predicates: &[Predicate]) -> Result<Self> {
        let mut out = Self::default();
        for p in predicates {
            let sql = predicate(table, p, &mut out.params)?;
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
}

impl Arm {
    /// The SELECT of `what` from this arm, with its parameters.
    pub(crate) fn select(&self, what: &str, filter: &Filter, limit: Option<usize>) -> (String, Vec<Value>) {
        let mut conditions: Vec<&str> = Vec::new();
        // A plus sign keeps the index on ordinals out of it.
        let own = if filter.keyed {
            self.condition.replace("x.epoch_to", "+x.epoch_to")
        } else {
            self.condition.clone()
        };
        if !own.is_empty() {
            conditions.push(&own);
        }
        conditions.extend(filter.sql.iter().map(String::as_str));
        let filtered = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let limited = if limit.is_some() { " LIMIT ?" } else { "" };
        let mut params: Vec<Value> = self.params.iter().map(|p| Value::Int(*p)).collect();
        params.extend(filter.params.iter().cloned());
        params.extend(limit.map(|n| Value::Int(i64::try_from(n).unwrap_or(i64::MAX))));
        (format!("SELECT {what} FROM {}{filtered}{limited}", self.from), params)
    }
}

fn predicate(table: &TableDef, p: &Predicate, params: &mut Vec<Value>) -> Result<String> {
    let column = |i: usize| {
        let column = table.schema.columns.get(i);
        column
            .map(|c| format!("x.{}", quote(&c.name)))
            .ok_or_else(|| Error::internal("a predicate's column is out of range"))
    };
    // Text compares by bytes, whatever the column's collation; the first half may use an index.
    let by_bytes = |v: &Value| matches!(v, Value::Text(_));
    let nested = |list: &[Predicate], word: &str, empty: &str, params: &mut Vec<Value>| {
        let parts: Result<Vec<_>> = list.iter().map(|p| predicate(table, p, params)).collect();
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
    use arrow::datatypes::DataType;
    let Some(column) = table.schema.columns.get(column) else { return false };
    match (&column.data_type, value) {
        (DataType::Int64, Value::Int(_)) | (DataType::Float64, Value::Int(_)) => true,
        (DataType::Float64, Value::Real(v)) => !v.is_nan(),
        // Other affinities may keep numbers, which a scan turns into text.
        (DataType::Utf8, Value::Text(_)) => {
            crate::types::affinity(&column.type_name, false) == Affinity::Text
        }
        // A scan takes dates in this form only, so they sort as text.
        (DataType::Date32, Value::Text(text)) => crate::cells::parse_date(text).is_some(),
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
