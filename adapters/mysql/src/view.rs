//! Views of tables in one statement (see [`epoch_layers::view`]), and predicates as this server's SQL.

use arrow::datatypes::DataType;
use epoch_adapter::{Comparison, Error, Predicate, Result, TableDef, Value, View};
use epoch_layers::view::{Facts, Filter};

use crate::layout::quote;
use crate::meta::Meta;
use crate::pool::Session;
use crate::types::{Kind, kind_of, mark};

/// Which places of a view can hold rows, as of the session's snapshot.
pub(crate) async fn facts(session: &mut Session, meta: &Meta, view: &View) -> Result<Facts> {
    if view.is_plain() {
        return Ok(Facts::ALL);
    }
    let (sql, params) = meta.facts_sql(view);
    let params: Vec<_> = params.into_iter().map(Value::Int).collect();
    let row = session.rows(&sql, &params).await?.into_iter().next();
    let read = row.and_then(|row| mysql_async::from_row_opt::<(i64, i64, i64)>(row).ok());
    let (own, masked, main) = read.ok_or_else(|| Error::internal("mysql: a view's places aren't known"))?;
    Ok(Facts { own_moved: own != 0, masked: masked != 0, main_moved: main != 0 })
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
    }
    Ok(out)
}

/// A column as bytes of UTF-8, which is how texts compare elsewhere.
fn as_bytes(column: &str) -> String {
    format!("CAST(CONVERT({column} USING utf8mb4) AS BINARY)")
}

/// `bytes`: texts are compared by bytes, whatever their column's collation.
fn predicate(table: &TableDef, p: &Predicate, bytes: bool, params: &mut Vec<Value>) -> Result<String> {
    let column = |i: usize| {
        let column = table.schema.columns.get(i);
        column
            .map(|c| (format!("x.{}", quote(&c.name)), kind_of(c)))
            .ok_or_else(|| Error::internal("a predicate's column is out of range"))
    };
    let nested = |list: &[Predicate], word: &str, empty: &str, params: &mut Vec<Value>| {
        let parts: Result<Vec<_>> = list.iter().map(|p| predicate(table, p, bytes, params)).collect();
        let parts = parts?;
        Ok(if parts.is_empty() { empty.to_owned() } else { format!("({})", parts.join(word)) })
    };
    match p {
        Predicate::Compare(i, op, v) => {
            let (c, kind) = column(*i)?;
            if !bytes || !matches!(kind, Kind::Text | Kind::Enum) {
                params.push(v.clone());
                return Ok(format!("{c} {} {}", op.as_sql(), mark(kind)));
            }
            params.push(v.clone());
            let exact = format!("{} {} CAST(? AS BINARY)", as_bytes(&c), op.as_sql());
            if *op != Comparison::Eq {
                return Ok(exact);
            }
            // The first half may use an index.
            params.push(v.clone());
            Ok(format!("({c} = ? AND {exact})"))
        }
        Predicate::In(_, values) if values.is_empty() => Ok("1 = 0".to_owned()),
        Predicate::In(i, values) => {
            let (c, kind) = column(*i)?;
            let marks = |mark: &str| vec![mark; values.len()].join(", ");
            params.extend(values.iter().cloned());
            if !bytes || !matches!(kind, Kind::Text | Kind::Enum) {
                return Ok(format!("{c} IN ({})", marks(&mark(kind))));
            }
            params.extend(values.iter().cloned());
            let exact = format!("{} IN ({})", as_bytes(&c), marks("CAST(? AS BINARY)"));
            Ok(format!("({c} IN ({}) AND {exact})", marks("?")))
        }
        Predicate::IsNull(i) => Ok(format!("{} IS NULL", column(*i)?.0)),
        Predicate::IsNotNull(i) => Ok(format!("{} IS NOT NULL", column(*i)?.0)),
        Predicate::And(list) => nested(list, " AND ", "1 = 1", params),
        Predicate::Or(list) => nested(list, " OR ", "1 = 0", params),
    }
}

/// Whether the server's answer to a predicate is the one that the column's PostgreSQL type asks for.
pub(crate) fn supports(table: &TableDef, p: &Predicate) -> bool {
    match p {
        Predicate::Compare(i, _, v) => comparable(table, *i, v),
        // The limit keeps clear of the server's 65,535 parameters, over all arms.
        Predicate::In(i, values) => values.len() <= 2_000 && values.iter().all(|v| comparable(table, *i, v)),
        Predicate::IsNull(i) | Predicate::IsNotNull(i) => *i < table.schema.columns.len(),
        Predicate::And(list) | Predicate::Or(list) => list.iter().all(|p| supports(table, p)),
    }
}

fn comparable(table: &TableDef, column: usize, value: &Value) -> bool {
    let Some(column) = table.schema.columns.get(column) else { return false };
    // More digits than Arrow has are compared as text there.
    if column.pg_type.starts_with("numeric") && column.data_type == DataType::Utf8 {
        return false;
    }
    match (kind_of(column), value) {
        (Kind::Integer | Kind::Bit | Kind::Float | Kind::Double, Value::Int(_)) => true,
        (Kind::Float | Kind::Double, Value::Real(v)) => v.is_finite(),
        (Kind::Unsigned, Value::Text(digits)) => digits.parse::<u64>().is_ok(),
        (Kind::Decimal(..) | Kind::Text | Kind::Enum, Value::Text(_)) => true,
        (Kind::Date, Value::Text(text)) => {
            text.len() == 10 && epoch_layers::cells::parse_date(text).is_some()
        }
        (Kind::Moment, Value::Text(text)) => {
            text.get(..10).is_some_and(|d| epoch_layers::cells::parse_date(d).is_some())
        }
        (Kind::Bytes, Value::Blob(_)) => true,
        _ => false,
    }
}
