//! Reading Delta tables through the engine, with rows of ours laid over them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::catalog::TableProvider;
use datafusion::common::{Column as Named, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, Operator, binary_expr, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use epoch_adapter::{
    BatchStream, Column, Comparison, Error, Predicate, Result, Row, Scan, TableSchema, Value,
};
use epoch_layers::cells::{Batch, Cell, value_at};
use futures::{StreamExt, TryStreamExt};

use crate::error;
use crate::layer::Over;
use crate::types::{Shared, announced, is_exact, loose};

/// As many keys are asked for one by one; of more, all between the smallest and the largest are read.
const LISTED: usize = 256;

/// An engine of an adapter. Names are as they are written: Delta's may have capitals.
pub(crate) fn session() -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.enable_ident_normalization = false;
    SessionContext::new_with_config(config)
}

/// A column by its name as it is.
pub(crate) fn named(name: &str) -> Expr {
    Expr::Column(Named::from_name(name))
}

fn column(schema: &TableSchema, index: usize) -> Result<&Column> {
    schema.columns.get(index).ok_or_else(|| Error::internal("delta: a column index is out of range"))
}

/// A value as the engine has it; `None` if it isn't one of the column's.
fn literal(column: &Column, value: &Value) -> Option<ScalarValue> {
    let field = arrow::datatypes::Field::new(&column.name, column.data_type.clone(), true);
    let mut batch = Batch::new(Arc::new(Schema::new(vec![field])), 1).ok()?;
    batch.push(|_| Ok::<_, std::fmt::Error>(Cell::from(value))).ok()?;
    let batch = batch.finish().ok()?;
    ScalarValue::try_from_array(batch.columns().first()?, 0).ok()
}

fn operator(comparison: Comparison) -> Operator {
    match comparison {
        Comparison::Eq => Operator::Eq,
        Comparison::NotEq => Operator::NotEq,
        Comparison::Lt => Operator::Lt,
        Comparison::LtEq => Operator::LtEq,
        Comparison::Gt => Operator::Gt,
        Comparison::GtEq => Operator::GtEq,
    }
}

/// A predicate as the engine's; `None` for what it could see otherwise than we do.
pub(crate) fn expression(schema: &TableSchema, predicate: &Predicate) -> Option<Expr> {
    let exact = |index: &usize| schema.columns.get(*index).filter(|c| is_exact(c));
    let value = |column: &Column, value: &Value| Some(lit(literal(column, value)?));
    match predicate {
        Predicate::Compare(index, comparison, of) => {
            let column = exact(index)?;
            Some(binary_expr(named(&column.name), operator(*comparison), value(column, of)?))
        }
        Predicate::In(index, all) => {
            let column = exact(index)?;
            let all = all.iter().map(|v| value(column, v)).collect::<Option<Vec<_>>>()?;
            Some(named(&column.name).in_list(all, false))
        }
        Predicate::IsNull(index) => Some(named(&schema.columns.get(*index)?.name).is_null()),
        Predicate::IsNotNull(index) => Some(named(&schema.columns.get(*index)?.name).is_not_null()),
        Predicate::And(parts) => joined(schema, parts, Expr::and),
        Predicate::Or(parts) => joined(schema, parts, Expr::or),
    }
}

fn joined(schema: &TableSchema, parts: &[Predicate], with: fn(Expr, Expr) -> Expr) -> Option<Expr> {
    let mut parts = parts.iter().map(|p| expression(schema, p)).collect::<Option<Vec<_>>>()?.into_iter();
    let first = parts.next()?;
    Some(parts.fold(first, with))
}

/// What of a table is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub columns: Vec<usize>,
    pub filters: Vec<Expr>,
    pub limit: Option<usize>,
}

impl Wanted {
    /// From a scan; XX000 for a predicate that was never accepted.
    pub(crate) fn of(schema: &TableSchema, scan: &Scan) -> Result<Self> {
        let filter = |p: &Predicate| {
            expression(schema, p)
                .ok_or_else(|| Error::internal("delta: a filter was pushed without being supported"))
        };
        Ok(Self {
            columns: scan.projection.clone().unwrap_or_else(|| (0..schema.columns.len()).collect()),
            filters: scan.filters.iter().map(filter).collect::<Result<_>>()?,
            limit: scan.limit,
        })
    }

    /// All columns.
    pub(crate) fn whole(schema: &TableSchema, filters: Vec<Expr>) -> Self {
        Self { columns: (0..schema.columns.len()).collect(), filters, limit: None }
    }

    fn schema(&self, of: &TableSchema) -> Result<SchemaRef> {
        let full = of.arrow();
        full.project(&self.columns).map(Arc::new).map_err(error::arrow)
    }
}

/// Rows of a provider whose columns are the table's.
pub(crate) async fn read(
    context: &SessionContext,
    provider: Arc<dyn TableProvider>,
    schema: &TableSchema,
    wanted: &Wanted,
) -> Result<BatchStream> {
    let mut frame = context.read_table(provider).map_err(error::engine)?;
    for filter in &wanted.filters {
        frame = frame.filter(filter.clone()).map_err(error::engine)?;
    }
    let names = wanted.columns.iter().map(|i| Ok(named(&column(schema, *i)?.name)));
    frame = frame.select(names.collect::<Result<Vec<_>>>()?).map_err(error::engine)?;
    if wanted.limit.is_some() {
        frame = frame.limit(0, wanted.limit).map_err(error::engine)?;
    }
    let target = wanted.schema(schema)?;
    let stream = frame.execute_stream().await.map_err(error::engine)?;
    Ok(stream
        .map_err(error::engine)
        .and_then(move |b| {
            let batch = announced(&b, &target);
            async move { batch }
        })
        .boxed())
}

/// Rows of a provider, with rows of ours instead of those of the same keys.
pub(crate) async fn read_over(
    context: &SessionContext,
    provider: Arc<dyn TableProvider>,
    schema: &TableSchema,
    over: &Over,
    wanted: &Wanted,
) -> Result<BatchStream> {
    if over.is_empty() {
        return read(context, provider, schema, wanted).await;
    }
    let rows: Vec<&Row> = over.values().flatten().map(Arc::as_ref).collect();
    let ours = crate::types::batch(schema, rows.into_iter())?;
    let ours = MemTable::try_new(loose(schema), vec![vec![ours]]).map_err(error::engine)?;
    let ours = read(context, Arc::new(ours), schema, wanted).await?;
    let mut below = wanted.clone();
    below.limit = wanted.limit.map(|n| n.saturating_add(over.len()));
    let missing = schema.key.iter().filter(|k| !wanted.columns.contains(k));
    below.columns.extend(missing);
    let hidden = Hidden::new(schema, &below.columns, over.keys())?;
    let width = wanted.columns.len();
    let base = read(context, provider, schema, &below).await?;
    let base = base.and_then(move |batch| {
        let left = hidden.without(&batch, width);
        async move { left }
    });
    Ok(ours.chain(base).boxed())
}

/// Keys whose rows below aren't seen.
struct Hidden {
    converter: RowConverter,
    keys: HashSet<Box<[u8]>>,
    places: Vec<usize>,
}

impl Hidden {
    fn new<'a>(
        schema: &TableSchema,
        columns: &[usize],
        keys: impl ExactSizeIterator<Item = &'a Row>,
    ) -> Result<Self> {
        let place = |k: &usize| columns.iter().position(|c| c == k);
        let places: Vec<usize> = schema.key.iter().filter_map(place).collect();
        let fields = schema.key_columns().map(|c| SortField::new(c.data_type.clone())).collect();
        let converter = RowConverter::new(fields).map_err(error::arrow)?;
        let of_key = TableSchema {
            columns: schema.key_columns().cloned().collect(),
            key: (0..schema.key.len()).collect(),
        };
        let batch = crate::types::batch(&of_key, keys)?;
        let rows = converter.convert_columns(batch.columns()).map_err(error::arrow)?;
        let keys = rows.iter().map(|r| Box::from(r.as_ref())).collect();
        Ok(Self { converter, keys, places })
    }

    /// The rows that are seen, in their first columns.
    fn without(&self, batch: &RecordBatch, width: usize) -> Result<RecordBatch> {
        let keys: Vec<ArrayRef> =
            self.places.iter().filter_map(|i| batch.columns().get(*i)).map(Arc::clone).collect();
        let rows = self.converter.convert_columns(&keys).map_err(error::arrow)?;
        let seen: BooleanArray = rows.iter().map(|r| Some(!self.keys.contains(r.as_ref()))).collect();
        let left = filter_record_batch(batch, &seen).map_err(error::arrow)?;
        left.project(&(0..width).collect::<Vec<_>>()).map_err(error::arrow)
    }
}

/// The rows with some keys, and how many there are of each: another writer may have written a key twice.
pub(crate) async fn lookup(
    context: &SessionContext,
    provider: Arc<dyn TableProvider>,
    schema: &TableSchema,
    keys: &HashSet<Row>,
) -> Result<HashMap<Row, (Shared, usize)>> {
    let mut found: HashMap<Row, (Shared, usize)> = HashMap::new();
    if keys.is_empty() {
        return Ok(found);
    }
    let mut stream = read(context, provider, schema, &Wanted::whole(schema, narrowed(schema, keys))).await?;
    while let Some(batch) = stream.try_next().await? {
        for r in 0..batch.num_rows() {
            let cell = |i: &usize| batch.columns().get(*i).map_or(Ok(Value::Null), |c| value_at(c, r));
            let key = schema.key.iter().map(cell).collect::<Result<Row>>()?;
            if !keys.contains(&key) {
                continue;
            }
            let row = batch.columns().iter().map(|c| value_at(c, r)).collect::<Result<Row>>()?;
            found.entry(key).and_modify(|(_, n)| *n += 1).or_insert_with(|| (Arc::new(row), 1));
        }
    }
    Ok(found)
}

/// What all of these keys keep to, so that files without them aren't read.
fn narrowed(schema: &TableSchema, keys: &HashSet<Row>) -> Vec<Expr> {
    let mut out = Vec::new();
    for (place, index) in schema.key.iter().enumerate() {
        let values: BTreeSet<&Value> = keys.iter().filter_map(|k| k.get(place)).collect();
        let (Some(first), Some(last)) = (values.first(), values.last()) else { continue };
        let predicate = if values.len() <= LISTED {
            Predicate::In(*index, values.iter().map(|v| (*v).clone()).collect())
        } else if matches!(first, Value::Int(_)) {
            let low = Predicate::Compare(*index, Comparison::GtEq, (*first).clone());
            Predicate::And(vec![low, Predicate::Compare(*index, Comparison::LtEq, (*last).clone())])
        } else {
            // Our order of other values isn't the engine's.
            continue;
        };
        out.extend(expression(schema, &predicate));
    }
    out
}

/// All rows of a stream, by key.
pub(crate) async fn by_key(mut stream: BatchStream, schema: &TableSchema) -> Result<HashMap<Row, Shared>> {
    let mut out = HashMap::new();
    while let Some(batch) = stream.try_next().await? {
        for row in crate::types::rows(&batch)? {
            out.insert(schema.key_of(&row), Arc::new(row));
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn schema() -> TableSchema {
        let column = |name: &str, data_type: DataType, nullable| Column {
            name: name.to_owned(),
            type_name: String::new(),
            pg_type: String::new(),
            data_type,
            nullable,
            generated: false,
            default: None,
            equality: None,
        };
        let columns = vec![
            column("Value", DataType::Int32, true),
            column("K", DataType::Utf8, false),
            column("id", DataType::Int64, false),
        ];
        TableSchema { columns, key: vec![2, 1] }
    }

    fn row(value: i64, k: &str, id: i64) -> Row {
        vec![Value::Int(value), Value::Text(k.into()), Value::Int(id)]
    }

    fn provider(rows: &[Row]) -> Arc<dyn TableProvider> {
        let batch = crate::types::batch(&schema(), rows.iter()).unwrap();
        Arc::new(MemTable::try_new(loose(&schema()), vec![vec![batch]]).unwrap())
    }

    async fn all(stream: BatchStream) -> Vec<Row> {
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let mut rows: Vec<Row> = batches.iter().flat_map(|b| crate::types::rows(b).unwrap()).collect();
        rows.sort();
        rows
    }

    #[tokio::test]
    async fn our_rows_hide_those_below() {
        let schema = schema();
        let base = [row(1, "a", 1), row(2, "b", 1), row(3, "a", 2)];
        let key = |k: &str, id: i64| vec![Value::Int(id), Value::Text(k.into())];
        let over = Over::from_iter([
            (key("a", 1), None),
            (key("b", 1), Some(Arc::new(row(20, "b", 1)))),
            (key("z", 9), Some(Arc::new(row(90, "z", 9)))),
        ]);
        let context = session();
        let wanted = Wanted::of(&schema, &Scan::default()).unwrap();
        let got = all(read_over(&context, provider(&base), &schema, &over, &wanted).await.unwrap()).await;
        assert_eq!(got, [row(3, "a", 2), row(20, "b", 1), row(90, "z", 9)]);
        let filter = Predicate::Compare(0, Comparison::Lt, Value::Int(50));
        let scan = Scan { projection: Some(vec![0]), filters: vec![filter], limit: Some(2) };
        let wanted = Wanted::of(&schema, &scan).unwrap();
        let got = all(read_over(&context, provider(&base), &schema, &over, &wanted).await.unwrap()).await;
        assert_eq!(got, [vec![Value::Int(3)], vec![Value::Int(20)]]);
    }

    #[tokio::test]
    async fn keys_are_looked_up_and_counted() {
        let schema = schema();
        let base = [row(1, "a", 1), row(2, "a", 1), row(3, "b", 2)];
        let key = |k: &str, id: i64| vec![Value::Int(id), Value::Text(k.into())];
        let keys = HashSet::from([key("a", 1), key("b", 1), key("b", 2)]);
        let found = lookup(&session(), provider(&base), &schema, &keys).await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found.get(&key("a", 1)).map(|f| f.1), Some(2));
        assert_eq!(found.get(&key("b", 2)).map(|f| f.1), Some(1));
    }

    #[test]
    fn floating_point_numbers_are_not_compared_below() {
        let mut schema = schema();
        schema.columns.push(Column { data_type: DataType::Float64, ..schema.columns[0].clone() });
        let of = |p: Predicate| expression(&schema, &p).is_some();
        assert!(!of(Predicate::Compare(3, Comparison::Eq, Value::Real(0.0))));
        assert!(of(Predicate::IsNull(3)));
        assert!(of(Predicate::Compare(0, Comparison::Eq, Value::Int(1))));
        assert!(!of(Predicate::Compare(0, Comparison::Eq, Value::Int(i64::MAX))));
    }
}
