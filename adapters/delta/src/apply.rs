//! Writing to main: one commit of the Delta table, made only if nobody else made one since its rows were compared.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Column as Named;
use datafusion::logical_expr::{Expr, lit};
use deltalake_core::kernel::Transaction;
use deltalake_core::kernel::transaction::CommitProperties;
use epoch_adapter::{Error, Result, Row, RowChange, TableDef, Value, sqlstate};
use epoch_layers::errors::{changed_since, duplicate, texts};
use object_store::ObjectStoreExt;

use crate::check::{check_all, checks, not_null};
use crate::describe;
use crate::error;
use crate::hub::Hub;
use crate::read;
use crate::source::{Source, Version};
use crate::state::Table;
use crate::store::TableStore;
use crate::types::{batch, same};

/// How often others may be first.
const ATTEMPTS: usize = 20;
/// The column of the source that says which keys go.
const GONE: &str = "epoch_gone";
/// What a commit says of itself, so that its writer knows it again.
const COMMIT: &str = "epochCommit";

/// Where a change was made: the version that it was compared with, and the one that it made.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub before: Version,
    pub after: u64,
}

/// By which number of which application an operation's commit is known in the table's log.
pub(crate) fn application(owner: &str) -> String {
    format!("horizon-epoch-{owner}")
}

/// Makes changes on main, each compared with its row as it is: 40001 if one differs. `mark`: what the commit is known by
/// to whoever comes later.
pub(crate) async fn apply(
    hub: &Hub,
    known: &Table,
    table: &TableDef,
    changes: &[RowChange],
    mark: Option<(String, i64)>,
) -> Result<Applied> {
    let mut last = None;
    let id = uuid::Uuid::new_v4().to_string();
    for _ in 0..ATTEMPTS {
        let before = hub.newest(known, table).await?;
        describe::check_same(known, table, &before)?;
        before.check_writable()?;
        compare(hub, table, &before, changes).await?;
        let fresh: Vec<Arc<Row>> = changes.iter().filter_map(|c| c.after.clone().map(Arc::new)).collect();
        fresh.iter().try_for_each(|row| not_null(table, row))?;
        check_all(&hub.context, table, &checks(&hub.context, &table.schema, &before)?, &fresh).await?;
        let after = match merge(table, &before, changes, mark.clone(), &id).await {
            Ok(after) => after,
            Err(error) => {
                // It may have been made all the same: its answer was lost, or the request was sent again and refused because
                // of what the first one did.
                let next = before.number() + 1;
                match (made(hub.source(&table.location.table)?.store(), next, &id).await?, error.code()) {
                    (true, _) => next,
                    (false, sqlstate::SERIALIZATION_FAILURE) => {
                        last = Some(error);
                        continue;
                    }
                    (false, _) => return Err(error),
                }
            }
        };
        // Others may vacuum what it replaced at any time.
        let _ = hub.newest(known, table).await;
        return Ok(Applied { before, after });
    }
    Err(last.unwrap_or_else(|| Error::internal("delta: no attempt was made")))
}

/// 40001 unless each row is what its change was computed from.
pub(crate) async fn compare(
    hub: &Hub,
    table: &TableDef,
    version: &Version,
    changes: &[RowChange],
) -> Result<()> {
    let keys: HashSet<Row> = changes.iter().map(|c| c.key.clone()).collect();
    let rows = read::lookup(&hub.context, version.provider().await?, &table.schema, &keys).await?;
    for change in changes {
        let now = rows.get(&change.key);
        if !same(now.map(|(row, _)| row.as_ref()), change.before.as_ref()) {
            return Err(changed_since(&table.name.name, &table.schema.key_names(), change));
        }
        if now.is_some_and(|(_, n)| *n > 1) {
            return Err(twice(table, &change.key));
        }
    }
    Ok(())
}

/// 23505: another writer wrote a key twice.
pub(crate) fn twice(table: &TableDef, key: &Row) -> Error {
    let names = table.schema.key_names();
    duplicate(&table.name.name, &key_name(table), &names, Some(texts(key)))
        .with_hint("Another writer of the Delta table wrote this key twice; remove one of the rows.")
}

/// What we call the constraint that keys are unique.
pub(crate) fn key_name(table: &TableDef) -> String {
    format!("{}_key", table.name.name)
}

/// A column of one side of a merge.
fn of(side: &str, name: &str) -> Expr {
    Expr::Column(Named::new(Some(side), name))
}

async fn merge(
    table: &TableDef,
    version: &Version,
    changes: &[RowChange],
    mark: Option<(String, i64)>,
    id: &str,
) -> Result<u64> {
    let source = source(table, changes)?;
    let frame = read::session().read_batch(source).map_err(error::engine)?;
    let keys = table.schema.key_columns().map(|c| of("t", &c.name).eq(of("s", &c.name)));
    let on = keys.reduce(Expr::and).ok_or_else(|| Error::internal("delta: a table without a key"))?;
    let gone = || of("s", GONE).eq(lit(true));
    let stays = || of("s", GONE).eq(lit(false));
    let mut properties =
        CommitProperties::default().with_max_retries(0).with_cleanup_expired_logs(Some(false));
    properties = properties.with_metadata([(COMMIT.to_owned(), id.into())]);
    if let Some((application, number)) = mark {
        properties = properties.with_application_transaction(Transaction::new(application, number));
    }
    let columns: Vec<&str> = table.schema.columns.iter().map(|c| c.name.as_str()).collect();
    let merged = version
        .table
        .clone()
        .merge(frame, on)
        .with_source_alias("s")
        .with_target_alias("t")
        .with_commit_properties(properties)
        .when_matched_delete(|delete| delete.predicate(gone()))
        .and_then(|merge| {
            merge.when_matched_update(|update| {
                let update = update.predicate(stays());
                columns.iter().fold(update, |u, name| u.update(Named::from_name(*name), of("s", name)))
            })
        })
        .and_then(|merge| {
            merge.when_not_matched_insert(|insert| {
                let insert = insert.predicate(stays());
                columns.iter().fold(insert, |i, name| i.set(Named::from_name(*name), of("s", name)))
            })
        })
        .map_err(error::delta)?
        .await;
    let (made, _) = merged.map_err(error::delta)?;
    made.version().ok_or_else(|| Error::internal("delta: a commit without a version"))
}

/// The rows as they become; of those that go, as they were. In the table's own types.
fn source(table: &TableDef, changes: &[RowChange]) -> Result<RecordBatch> {
    let rows: Vec<&Row> = changes.iter().filter_map(|c| c.after.as_ref().or(c.before.as_ref())).collect();
    let given = batch(&table.schema, rows.into_iter())?;
    let gone: BooleanArray = changes.iter().map(|c| Some(c.after.is_none())).collect();
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for ((field, array), column) in
        given.schema().fields().iter().zip(given.columns()).zip(&table.schema.columns)
    {
        if column.type_name == "byte" {
            fields.push(Arc::new(field.as_ref().clone().with_data_type(DataType::Int8)));
            arrays.push(arrow::compute::cast(array, &DataType::Int8).map_err(error::arrow)?);
        } else {
            fields.push(Arc::clone(field));
            arrays.push(Arc::clone(array));
        }
    }
    fields.push(Arc::new(Field::new(GONE, DataType::Boolean, false)));
    arrays.push(Arc::new(gone));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(error::arrow)
}

/// The version that an operation's commit made, if it was made after a version.
pub(crate) async fn committed(
    source: &Source,
    after: u64,
    (application, number): &(String, i64),
) -> Result<Option<u64>> {
    let newest = source.newest().await?.number();
    for version in after + 1..=newest {
        let ours = |action: &serde_json::Value| {
            action.pointer("/txn/appId").and_then(serde_json::Value::as_str) == Some(application)
                && action.pointer("/txn/version").and_then(serde_json::Value::as_i64) == Some(*number)
        };
        if actions(source.store(), version).await?.iter().any(ours) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// Whether a version of a table is the commit with an id.
async fn made(store: &TableStore, version: u64, id: &str) -> Result<bool> {
    let ours = |action: &serde_json::Value| {
        action.pointer("/commitInfo").and_then(|info| info.get(COMMIT)?.as_str()) == Some(id)
    };
    Ok(actions(store, version).await?.iter().any(ours))
}

/// What the log says of a version; nothing if it isn't there.
async fn actions(store: &TableStore, version: u64) -> Result<Vec<serde_json::Value>> {
    let path = object_store::path::Path::from(format!("_delta_log/{version:020}.json"));
    let text = match store.get(&path).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
        other => other.map_err(error::store)?.bytes().await.map_err(error::store)?,
    };
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| serde_json::from_slice(line).unwrap_or_default()).collect())
}

/// Changes from rows as they were and as they become.
pub(crate) fn paired(before: Vec<crate::rows::Keyed>, after: Vec<crate::rows::Keyed>) -> Vec<RowChange> {
    let own = |row: Option<Arc<Row>>| row.map(|r| (*r).clone());
    let mut pairs: BTreeMap<Row, (Option<Row>, Option<Row>)> = BTreeMap::new();
    for (key, row) in before {
        pairs.entry(key).or_default().0 = own(row);
    }
    for (key, row) in after {
        pairs.entry(key).or_default().1 = own(row);
    }
    pairs.into_iter().map(|(key, (before, after))| RowChange { key, before, after }).collect()
}

/// Keys that are in a version more than once.
pub(crate) async fn duplicates(
    hub: &Hub,
    table: &TableDef,
    version: &Version,
    keys: HashSet<Row>,
) -> Result<Vec<Row>> {
    let rows = read::lookup(&hub.context, version.provider().await?, &table.schema, &keys).await?;
    let mut out: Vec<Row> = rows.into_iter().filter(|(_, (_, n))| *n > 1).map(|(key, _)| key).collect();
    out.sort();
    Ok(out)
}

/// Whether a key has a value in every column.
pub(crate) fn whole(key: &Row) -> bool {
    !key.iter().any(Value::is_null)
}
