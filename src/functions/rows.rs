//! `epoch_at`: a table's rows at a ref.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, DurationFormat, FormatOptions};
use epoch_adapter::{Adapter, Scan, TableDef};
use futures::{StreamExt, TryStreamExt, stream};

use super::args::Parsed;
use super::asked::{Push, Term};
use super::{Asked, RowStream, Rows, Session, columns};
use crate::operations::{Checkout, Repository};
use crate::{Error, Result, sqlstate};

/// `epoch_at(table, ref)`.
pub(super) async fn at(session: &Session<'_>, args: &Parsed, asked: &Asked) -> Result<RowStream> {
    let table = columns::table(session, &args.required("table")?)?;
    let scan = scan(session.repository, &table, asked)?;
    of_ref(session, &table, &args.required("ref")?, scan).await
}

/// What a scan of a table leaves out because of what is asked for.
pub(super) fn scan(repository: &Repository, table: &TableDef, asked: &Asked) -> Result<Scan> {
    let column = |term: &Term| match term.as_slice() {
        [name] => table.schema.index_of(name),
        _ => None,
    };
    let backend = backend(repository, table)?;
    let pushed = asked.push(&Push { table, backend: &*backend, column: &column });
    let limit = asked.limit_in(&[]).filter(|_| pushed.whole);
    Ok(Scan { projection: None, filters: pushed.predicates, limit })
}

/// The backend of a table; an internal error if the configuration lost it.
pub(super) fn backend(repository: &Repository, table: &TableDef) -> Result<Arc<dyn Adapter>> {
    repository.backend(&table.location.backend).ok_or_else(|| {
        Error::internal(format!(
            "backend \"{}\" of table \"{}\" is not configured",
            table.location.backend, table.name
        ))
    })
}

/// What `epoch_at` shows for a ref: HEAD is a commit there, as in all functions that read. (To check it out is to stay on the
/// branch.) The name of a branch shows its working state, as a session on it does.
pub fn shown_at(spec: &str) -> &str {
    if spec == "HEAD" { "HEAD~0" } else { spec }
}

/// Rows of a table at a ref.
pub(super) async fn of_ref(
    session: &Session<'_>,
    table: &TableDef,
    spec: &str,
    scan: Scan,
) -> Result<RowStream> {
    let there = match spec {
        "WORKING" => session.checkout.clone(),
        spec => session.repository.checkout(shown_at(spec), Some(session.checkout)).await?,
    };
    let named = session.repository.tables_on(&there).find(&table.name.to_string()).cloned();
    // It may have another name there.
    let found = named.or_else(|| session.repository.version_on(&there, table));
    if let Some(renamed) = found.as_ref().filter(|t| t.id != table.id && t.name != table.name)
        && renamed.schema == table.schema
    {
        return of_view(session.repository, renamed, &there, scan).await;
    }
    if found.is_some_and(|t| t.id != table.id) {
        let message = format!("table \"{}\" of \"{spec}\" is not the one that the session has", table.name);
        return Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_hint("Check out the ref first."));
    }
    of_view(session.repository, table, &there, scan).await
}

/// Rows of a table that a checkout shows.
pub(super) async fn of_view(
    repository: &Repository,
    table: &TableDef,
    there: &Checkout,
    scan: Scan,
) -> Result<RowStream> {
    let view = repository.view(there, table)?;
    if !view.is_plain() {
        repository.sound(table).await?;
    }
    let batches = backend(repository, table)?.scan(table, &view, &scan).await?;
    let texts = |batch: RecordBatch| {
        let mut rows = Rows::new();
        append(&batch, &mut rows)?;
        Ok(stream::iter(rows.into_iter().map(Ok)))
    };
    Ok(batches.and_then(move |batch| std::future::ready(texts(batch))).try_flatten().boxed())
}

/// A batch's rows in PostgreSQL's text forms.
fn append(batch: &RecordBatch, rows: &mut Rows) -> Result<()> {
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
        .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_duration_format(DurationFormat::ISO8601);
    let failed = |error: arrow::error::ArrowError| Error::internal(format!("cannot print a value: {error}"));
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    for row in 0..batch.num_rows() {
        let cell = |(column, formatter): (&arrow::array::ArrayRef, &ArrayFormatter<'_>)| {
            if column.is_null(row) {
                return Ok(None);
            }
            let text = formatter.value(row).try_to_string()?;
            Ok(Some(postgres_form(column.data_type(), text)))
        };
        let cells = batch.columns().iter().zip(&columns).map(cell);
        rows.push(cells.collect::<Result<_, _>>().map_err(failed)?);
    }
    Ok(())
}

/// Where Arrow prints a value otherwise than PostgreSQL.
fn postgres_form(ty: &arrow::datatypes::DataType, text: String) -> String {
    use arrow::datatypes::DataType;
    match ty {
        DataType::Boolean => super::text::boolean(text == "true"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            format!("\\x{text}")
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => match text.as_str() {
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            _ => text.strip_suffix(".0").map(str::to_owned).unwrap_or(text),
        },
        DataType::Timestamp(_, Some(_)) => {
            let at = text.rfind(['+', '-']).unwrap_or(text.len());
            let (time, offset) = text.split_at_checked(at).unwrap_or((&text, ""));
            format!("{}{}", short_fraction(time), offset.strip_suffix(":00").unwrap_or(offset))
        }
        DataType::Timestamp(_, None) | DataType::Time32(_) | DataType::Time64(_) => {
            short_fraction(&text).to_owned()
        }
        _ => text,
    }
}

/// Without the zeros at the end of a fraction of a second.
fn short_fraction(time: &str) -> &str {
    if time.contains('.') { time.trim_end_matches('0').trim_end_matches('.') } else { time }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Float64Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn values_print_as_postgresql_prints_them() {
        let at = 1_793_536_200_250_000;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("x", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\x0a\xff"), None]))),
            ("f", Arc::new(Float64Array::from(vec![Some(2.0), Some(f64::NEG_INFINITY)]))),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![Some(at), None]))),
            ("z", Arc::new(TimestampMicrosecondArray::from(vec![Some(at), None]).with_timezone("UTC"))),
        ];
        let mut rows = Rows::new();
        append(&RecordBatch::try_from_iter(columns).unwrap(), &mut rows).unwrap();
        let text = |row: usize| -> Vec<String> {
            rows[row].iter().map(|cell| cell.clone().unwrap_or("NULL".to_owned())).collect()
        };
        let time = "2026-11-01 12:30:00.25";
        assert_eq!(text(0), ["t", "\\x0aff", "2", time, &format!("{time}+00")]);
        assert_eq!(text(1), ["NULL", "NULL", "-Infinity", "NULL", "NULL"]);
    }
}
