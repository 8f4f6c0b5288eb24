//! INSERT … ON CONFLICT.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, UInt64Type};
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{ConflictTarget, DoUpdate, OnConflictAction, OnInsert};
use epoch_adapter::{Error, Result, Row, RowWrite, TableDef, Value, sqlstate};
use futures::TryStreamExt;

use super::insert::{InsertPlan, folded, write_returning};
use super::modify::assignments;
use super::{CHUNK, Target, Written, array, query};
use crate::federation::functions::quote_ident;
use crate::federation::planner::Planner;
use crate::federation::{convert, errors, names, semantics};

/// What to do with rows whose key exists.
pub(super) struct Conflict {
    /// Whether the clause names the key, or (DO NOTHING only) nothing: then any unique constraint.
    any: bool,
    update: Option<DoUpdate>,
}

/// Relation and row number under which the new rows are joined with the existing ones.
const EXCLUDED: &str = "excluded";
const NUMBER: &str = "epoch row number";

/// Checks the clause. Only the registered key is known to be unique here.
pub(super) fn plan(table: &TableDef, on: Option<&OnInsert>) -> Result<Option<Conflict>> {
    let clause = match on {
        None => return Ok(None),
        Some(OnInsert::OnConflict(clause)) => clause,
        Some(_) => return Err(Error::new(sqlstate::SYNTAX_ERROR, "syntax error at or near \"DUPLICATE\"")),
    };
    let any = match &clause.conflict_target {
        None => true,
        Some(ConflictTarget::Columns(columns)) => {
            let mut named: Vec<_> = columns.iter().map(folded).collect();
            let mut key = table.schema.key_names();
            named.sort();
            key.sort();
            if named != key {
                return Err(Error::unsupported(format!(
                    "ON CONFLICT on anything but the key ({}) of table \"{}\"",
                    table.schema.key_names().join(", "),
                    table.name
                )));
            }
            false
        }
        Some(ConflictTarget::OnConstraint(_)) => return Err(Error::unsupported("ON CONFLICT ON CONSTRAINT")),
    };
    let update = match &clause.action {
        OnConflictAction::DoNothing => None,
        OnConflictAction::DoUpdate(_) if any => {
            let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
            return Err(Error::new(sqlstate::SYNTAX_ERROR, message));
        }
        OnConflictAction::DoUpdate(update) => Some(update.clone()),
    };
    Ok(Some(Conflict { any, update }))
}

/// What happens to one row that exists: its key and new values, or nothing if WHERE says so.
type Existing = HashMap<u64, Option<(Row, Vec<(usize, Value)>)>>;

pub(super) async fn execute(
    insert: InsertPlan,
    planner: &mut Planner,
    target: &Target,
    rows: Vec<Vec<Option<Value>>>,
) -> Result<Written> {
    let existing = existing(&insert, planner, &rows).await?;
    let conflict = insert.conflict.as_ref().ok_or_else(|| Error::internal("no ON CONFLICT"))?;
    let mut seen = HashSet::new();
    let mut writes = Vec::with_capacity(rows.len());
    for (number, row) in (0_u64..).zip(rows) {
        let twice = complete_key(&insert.table, &row).is_some_and(|key| !seen.insert(key));
        match existing.get(&number) {
            _ if twice && conflict.update.is_some() => return Err(twice_error()),
            None if twice => {}
            None => writes.push(RowWrite::Insert(row)),
            Some(Some((key, set))) => writes.push(RowWrite::Update { key: key.clone(), set: set.clone() }),
            Some(None) => {}
        }
    }
    let rows = if conflict.any {
        insert_any(target, writes).await?
    } else {
        write_returning_or_count(&insert, target, writes).await?
    };
    match rows {
        Done::Rows(rows) => insert.written(planner, u64::try_from(rows.len()).unwrap_or(0), rows).await,
        Done::Count(count) => Ok(Written { count, returned: None }),
    }
}

enum Done {
    Rows(Vec<Row>),
    Count(u64),
}

fn twice_error() -> Error {
    Error::new("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time").with_hint(
        "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
    )
}

async fn write_returning_or_count(
    insert: &InsertPlan,
    target: &Target,
    writes: Vec<RowWrite>,
) -> Result<Done> {
    if insert.wants_rows() {
        return write_returning(target, &writes).await.map(Done::Rows);
    }
    let mut count = 0;
    for chunk in writes.chunks(CHUNK) {
        count += target.transaction.write(&target.table, target.layer, chunk).await?;
    }
    Ok(Done::Count(count))
}

/// DO NOTHING for any unique constraint: a row that another one refuses is left out.
async fn insert_any(target: &Target, writes: Vec<RowWrite>) -> Result<Done> {
    const SAVEPOINT: &str = "epoch_on_conflict";
    let mut rows = Vec::new();
    for write in writes {
        target.transaction.savepoint(SAVEPOINT).await?;
        match target.transaction.write_returning(&target.table, target.layer, &[write]).await {
            Ok(written) => rows.extend(written),
            Err(error) if error.code() == sqlstate::UNIQUE_VIOLATION => {
                target.transaction.rollback_to(SAVEPOINT).await?;
            }
            Err(error) => return Err(error),
        }
        target.transaction.release(SAVEPOINT).await?;
    }
    Ok(Done::Rows(rows))
}

fn complete_key(table: &TableDef, row: &[Option<Value>]) -> Option<Row> {
    table.schema.key.iter().map(|index| row.get(*index).cloned().flatten()).collect()
}

/// Joins the new rows with those of their key that exist, and computes DO UPDATE for them.
async fn existing(
    insert: &InsertPlan,
    planner: &mut Planner,
    rows: &[Vec<Option<Value>>],
) -> Result<Existing> {
    let table = insert.table.clone();
    if !table.schema.key.iter().all(|index| insert.columns.contains(index)) {
        return Ok(Existing::new());
    }
    planner.add_relation(EXCLUDED, Arc::new(excluded(insert, rows)?));
    let relation = quote_ident(&insert.relation);
    let on: Vec<_> = table
        .schema
        .key_columns()
        .map(|c| format!("{relation}.{0} = {EXCLUDED}.{0}", quote_ident(&c.name)))
        .collect();
    let name = format!("{}.{}", quote_ident(&table.name.schema), quote_ident(&table.name.name));
    let sql = format!("SELECT * FROM {name} AS {relation} JOIN {EXCLUDED} ON {}", on.join(" AND "));
    let joined = planner.plan(query(&sql)?)?;
    let schema = joined.schema().clone();

    let update = insert.conflict.as_ref().and_then(|c| c.update.as_ref());
    let set = match update {
        Some(update) => assignments(planner, &table, &update.assignments, &schema)?,
        None => Vec::new(),
    };
    let wanted = match update.and_then(|u| u.selection.clone()) {
        Some(mut selection) => {
            names::expression(&mut selection);
            planner.expression(selection, &schema)?
        }
        None => lit(true),
    };
    let column =
        |relation: &str, name: &str| Expr::Column(datafusion::common::Column::new(Some(relation), name));
    let mut cells = vec![column(EXCLUDED, NUMBER).alias("number"), wanted.alias("wanted")];
    cells.extend(
        table
            .schema
            .key_columns()
            .enumerate()
            .map(|(i, c)| column(&insert.relation, &c.name).alias(format!("k{i}"))),
    );
    cells.extend(set.iter().enumerate().map(|(i, (_, expr))| expr.clone().alias(format!("s{i}"))));
    let plan = LogicalPlanBuilder::from(joined)
        .project(cells)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| errors::datafusion(&e))?;
    let indexes: Vec<usize> = set.iter().map(|(index, _)| *index).collect();
    let mut stream = planner.run(plan).await?;
    let mut all = Existing::new();
    while let Some(batch) = stream.try_next().await.map_err(|e| errors::datafusion(&e))? {
        collect(&table, &batch, &indexes, update.is_some(), &mut all)?;
    }
    Ok(all)
}

fn collect(
    table: &TableDef,
    batch: &RecordBatch,
    set: &[usize],
    update: bool,
    all: &mut Existing,
) -> Result<()> {
    let kind = table.location.kind;
    let numbers = array(batch, 0)?.as_primitive::<UInt64Type>().clone();
    let wanted = array(batch, 1)?.as_boolean().clone();
    let keys = table.schema.key.len();
    for row in 0..batch.num_rows() {
        let key =
            (0..keys).map(|i| convert::value_of(array(batch, 2 + i)?, row, kind)).collect::<Result<Row>>()?;
        let value = |(i, index): (usize, &usize)| {
            let target = super::column(table, *index)?;
            let cells = convert::cast_array(array(batch, 2 + keys + i)?, &target.data_type)?;
            Ok((*index, convert::stored(&cells, row, kind, target)?))
        };
        let set = set.iter().enumerate().map(value).collect::<Result<Vec<_>>>()?;
        let changes = update && wanted.iter().nth(row).flatten().unwrap_or(false);
        all.insert(numbers.value(row), changes.then_some((key, set)));
    }
    Ok(())
}

/// The new rows as relation `excluded`. Columns whose default the backend fills in are not in it.
fn excluded(insert: &InsertPlan, rows: &[Vec<Option<Value>>]) -> Result<MemTable> {
    let known = |(index, column): &(usize, &epoch_adapter::Column)| {
        insert.columns.contains(index) || (column.default.is_none() && !column.generated)
    };
    let columns: Vec<_> = insert.table.schema.columns.iter().enumerate().filter(known).collect();
    let fields = columns.iter().map(|(_, c)| semantics::field_of(c));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let cell =
        |row: &Vec<Option<Value>>, index: usize| row.get(index).cloned().flatten().unwrap_or(Value::Null);
    let values: Vec<Row> =
        rows.iter().map(|row| columns.iter().map(|(i, _)| cell(row, *i)).collect()).collect();
    let batch = convert::batch_of(&values, &schema)?;
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(NUMBER, DataType::UInt64, false)));
    let schema = Arc::new(Schema::new(fields));
    let mut arrays = batch.columns().to_vec();
    arrays.push(Arc::new(UInt64Array::from_iter_values((0..).take(rows.len()))));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| errors::arrow(&e))?;
    MemTable::try_new(schema, vec![vec![batch]]).map_err(|e| errors::datafusion(&e))
}
