//! Views of tables in one statement (see [`epoch_layers::view`]), and predicates as T-SQL.

use epoch_adapter::{Comparison, Error, Predicate, Result, TableDef, Value, View};
use epoch_layers::view::{Facts, Filter};

use crate::layout::quote;
use crate::meta::Meta;
use crate::parameters::numbered;
use crate::pool::{Session, flag};
use crate::types::{Kind, kind_of, mark};

/// Values of an IN that are sent to the server: over all arms, which may be three, it takes 2,100 parameters.
const IN_LIMIT: usize = 150;

/// Which places of a view can hold rows, as of the session's snapshot.
pub(crate) async fn facts(session: &mut Session, meta: &Meta, view: &View) -> Result<Facts> {
    if view.is_plain() {
        return Ok(Facts::ALL);
    }
    let (sql, params) = meta.facts_sql(view);
    let params: Vec<_> = params.into_iter().map(Value::Int).collect();
    let rows = session.rows(&sql, &params).await?;
    let row = rows.first().ok_or_else(|| Error::internal("sqlserver: a view's places aren't known"))?;
    Ok(Facts { own_moved: flag(row, 0), masked: flag(row, 1), main_moved: flag(row, 2) })
}

/// The conjunction of predicates that [`supports`] accepted.
pub(crate) fn predicates(table: &TableDef, predicates: &[Predicate]) -> Result<Filter> {
    conjunction(table, predicates, true)
}

/// The conjunction of predicates on keys, compared as keys are.
pub(crate) fn keys(table: &TableDef, predicates: &[Predicate]) -> Result<Filter> {
    conjunction(table, predicates, false)
}

fn conjunction(table: &TableDef, predicates: &[Predicate], exact: bool) -> Result<Filter> {
    let mut out = Filter::default();
    for p in predicates {
        let sql = predicate(table, p, exact, &mut out.params)?;
        out.sql.push(sql);
    }
    Ok(out)
}

/// That a column is a value to the last bit, which its collation, blanks at the end or zeros wouldn't tell. The first part
/// may use an index.
fn exactly(kind: Kind, column: &str, mark: &str, value: &Value, params: &mut Vec<Value>) -> Option<String> {
    let exact = match kind {
        Kind::Text { .. } | Kind::Unicode { .. } => {
            let all = |what: &str| format!("CAST({what} AS nvarchar(max)) COLLATE Latin1_General_100_BIN2");
            // The blanks that the server adds are none of the value's.
            let padded = matches!(kind, Kind::Text { padded: true } | Kind::Unicode { padded: true });
            let own = if padded { format!("RTRIM({column})") } else { column.to_owned() };
            format!(
                "{} = {} AND DATALENGTH(CAST({own} AS nvarchar(max))) = DATALENGTH(CAST(? AS nvarchar(max)))",
                all(column),
                all("?")
            )
        }
        Kind::Bytes => {
            format!("DATALENGTH({column}) = DATALENGTH(CAST(? AS varbinary(max)))")
        }
        _ => return None,
    };
    params.push(value.clone());
    params.extend(std::iter::repeat_n(value.clone(), numbered(&exact).1));
    Some(format!("({column} = {mark} AND {exact})"))
}

/// `exact`: texts are compared by all of their characters, whatever their column's collation.
fn predicate(table: &TableDef, p: &Predicate, exact: bool, params: &mut Vec<Value>) -> Result<String> {
    let column = |i: usize| {
        let column = table.schema.columns.get(i);
        column
            .map(|c| (format!("x.{}", quote(&c.name)), kind_of(c), mark(c)))
            .ok_or_else(|| Error::internal("a predicate's column is out of range"))
    };
    let nested = |list: &[Predicate], word: &str, empty: &str, params: &mut Vec<Value>| {
        let parts: Result<Vec<_>> = list.iter().map(|p| predicate(table, p, exact, params)).collect();
        let parts = parts?;
        Ok(if parts.is_empty() { empty.to_owned() } else { format!("({})", parts.join(word)) })
    };
    match p {
        Predicate::Compare(i, op, v) => {
            let (c, kind, mark) = column(*i)?;
            if exact
                && *op == Comparison::Eq
                && let Some(sql) = exactly(kind, &c, &mark, v, params)
            {
                return Ok(sql);
            }
            params.push(v.clone());
            Ok(format!("{c} {} {mark}", op.as_sql()))
        }
        Predicate::In(_, values) if values.is_empty() => Ok("1 = 0".to_owned()),
        Predicate::In(i, values) => {
            let (c, kind, mark) = column(*i)?;
            if exact && matches!(kind, Kind::Text { .. } | Kind::Unicode { .. } | Kind::Bytes) {
                let parts: Vec<_> =
                    values.iter().filter_map(|v| exactly(kind, &c, &mark, v, params)).collect();
                return Ok(format!("({})", parts.join(" OR ")));
            }
            params.extend(values.iter().cloned());
            Ok(format!("{c} IN ({})", vec![mark.as_str(); values.len()].join(", ")))
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
        Predicate::Compare(i, op, v) => comparable(table, *i, *op, v),
        Predicate::In(i, values) => {
            values.len() <= IN_LIMIT && values.iter().all(|v| comparable(table, *i, Comparison::Eq, v))
        }
        Predicate::IsNull(i) | Predicate::IsNotNull(i) => *i < table.schema.columns.len(),
        Predicate::And(list) | Predicate::Or(list) => list.iter().all(|p| supports(table, p)),
    }
}

/// Texts and bytes are ordered otherwise there, so only whether they are the same is asked. What is shown with fewer
/// digits than it has, or is rounded as it is compared, isn't asked at all.
fn comparable(table: &TableDef, column: usize, op: Comparison, value: &Value) -> bool {
    let Some(column) = table.schema.columns.get(column) else { return false };
    let date = |text: &str| text.get(..10).is_some_and(|d| epoch_layers::cells::parse_date(d).is_some());
    match (kind_of(column), value) {
        (Kind::Integer | Kind::Bit | Kind::Float, Value::Int(_)) => true,
        (Kind::Float, Value::Real(v)) => v.is_finite(),
        (Kind::Decimal(_, scale), Value::Text(text)) => {
            !text.is_empty() && digits(text) <= usize::from(scale)
        }
        (Kind::Money, Value::Text(text)) => !text.is_empty() && digits(text) <= 4,
        (Kind::Text { .. } | Kind::Unicode { .. }, Value::Text(_)) => op == Comparison::Eq,
        (Kind::Bytes, Value::Blob(_)) => op == Comparison::Eq,
        (Kind::Date, Value::Text(text)) => text.len() == 10 && date(text),
        // As many digits as the column has: else the value would be rounded.
        (Kind::Moment(n @ 0..=6), Value::Text(text)) => date(text) && digits(text) <= usize::from(n),
        (Kind::Time(n @ 0..=6), Value::Text(text)) => digits(text) <= usize::from(n),
        _ => false,
    }
}

/// Digits behind the point.
fn digits(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, rest)| rest.len())
}
