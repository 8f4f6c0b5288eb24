//! The reading `epoch_*` functions and the relations of schema `epoch` as tables.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session as DfSession, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use epoch_adapter::{Error, Result, TableDef, View};
use futures::{StreamExt, TryStreamExt};

use super::planner::{Planner, backend_of};
use super::table::FederatedTable;
use super::{asked, convert, errors, types};
use crate::functions::{self, Arg, Args, Asked, Kind, SqlType};
use crate::operations::{Author, Checkout, Repository, Strategy};

/// Marks the name of a named argument; its value is the next argument.
pub(crate) const NAMED: char = '\u{2}';

/// A relation of schema `epoch`.
pub(crate) fn relation(planner: &Planner, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    match functions::find(&format!("epoch.{name}")) {
        Some(function) => provider(planner, function.name, Args::default()).map(Some),
        None => Ok(None),
    }
}

/// A reading function in FROM.
pub(crate) fn function(
    planner: &Planner,
    name: &str,
    arguments: &[Expr],
) -> Result<Option<Arc<dyn TableProvider>>> {
    let name = name.strip_prefix("epoch.").unwrap_or(name);
    let Some(function) = functions::find(name) else { return Ok(None) };
    if function.kind == Kind::Mutating {
        return Err(Error::unsupported(format!("{name} as a part of a larger query"))
            .with_hint(format!("Write SELECT {name}(…), SELECT * FROM {name}(…) or CALL {name}(…).")));
    }
    provider(planner, function.name, args(name, arguments)?).map(Some)
}

/// Whether this is a function of one value.
pub(crate) fn is_scalar(name: &str) -> bool {
    functions::find(name).is_some_and(|f| f.kind == Kind::Scalar && f.name == name)
}

/// Whether this is any function of ours.
pub(crate) fn is_known(name: &str) -> bool {
    functions::find(name).is_some_and(|f| f.name == name)
}

fn args(name: &str, arguments: &[Expr]) -> Result<Args> {
    let mut args = Args::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match arg(name, argument)? {
            Arg::Text(text) if text.starts_with(NAMED) => {
                let value = arguments.next().map_or(Ok(Arg::Null), |value| arg(name, value))?;
                args.named.push((text.trim_start_matches(NAMED).to_owned(), value));
            }
            value => args.positional.push(value),
        }
    }
    Ok(args)
}

fn arg(name: &str, argument: &Expr) -> Result<Arg> {
    match argument {
        Expr::Literal(value, _) => literal(name, value),
        Expr::Placeholder(_) => Ok(Arg::Null),
        Expr::Cast(cast) => arg(name, &cast.expr),
        Expr::Alias(alias) => arg(name, &alias.expr),
        _ => Err(not_constant(name)),
    }
}

fn not_constant(name: &str) -> Error {
    Error::unsupported(format!("an argument of {name} that is not a constant or a parameter"))
}

fn literal(name: &str, value: &ScalarValue) -> Result<Arg> {
    Ok(match value {
        value if value.is_null() => Arg::Null,
        ScalarValue::Boolean(Some(value)) => Arg::Bool(*value),
        ScalarValue::List(list) => Arg::Array(texts(&list.value(0))?),
        value => {
            let array = value.to_array().map_err(|e| errors::datafusion(&e))?;
            let text =
                super::encode::cell_text(&array, 0, convert::utc()?)?.ok_or_else(|| not_constant(name))?;
            match text.parse() {
                Ok(number) if array.data_type().is_integer() => Arg::Int(number),
                _ => Arg::Text(text),
            }
        }
    })
}

fn texts(array: &arrow::array::ArrayRef) -> Result<Vec<String>> {
    let texts = convert::cast_array(array, &DataType::Utf8)?;
    Ok(texts.as_string::<i32>().iter().map(|t| t.unwrap_or_default().to_owned()).collect())
}

fn provider(planner: &Planner, name: &'static str, args: Args) -> Result<Arc<dyn TableProvider>> {
    let call = Call {
        repository: planner.repository.clone(),
        checkout: planner.checkout.clone(),
        name,
        args,
        in_transaction: planner.session.in_transaction,
    };
    let columns = call.columns()?;
    if let ("epoch_at", [Arg::Text(table), Arg::Text(spec)]) = (name, call.args.positional.as_slice()) {
        let table = call.repository.find_table(&call.checkout, table);
        if let (Some(table), true) = (table, call.args.named.is_empty()) {
            let spec = spec.clone();
            return Ok(Arc::new(TableAt::new(call.repository, call.checkout, table, spec)?));
        }
    }
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    Ok(Arc::new(Called { call: Arc::new(call), schema }))
}

/// A call of a reading function as a table.
struct Called {
    call: Arc<Call>,
    schema: SchemaRef,
}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call.name)
    }
}

#[async_trait]
impl TableProvider for Called {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// What is understood is asked for; DataFusion filters what comes.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let supported = |filter: &&Expr| match asked::conditions(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(supported).collect())
    }

    async fn scan(
        &self,
        _: &dyn DfSession,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let conditions = filters.iter().filter_map(asked::conditions).flatten().collect();
        let name = |place: &usize| self.schema.fields().get(*place).map(|field| field.name().clone());
        let columns = projection.map(|places| places.iter().filter_map(name).collect());
        let asked = Asked { conditions, limit, columns, ..Asked::default() };
        let stream = CallStream { call: self.call.clone(), schema: self.schema.clone(), asked };
        let (schema, order) = (self.schema.clone(), self.order(projection));
        let plan =
            StreamingTableExec::try_new(schema, vec![Arc::new(stream)], projection, order, false, limit)?;
        Ok(Arc::new(plan))
    }
}

impl Called {
    /// The order in which a function has its rows, where that spares sorting them: who wants the newest commits reads no others.
    fn order(&self, projection: Option<&Vec<usize>>) -> Option<LexOrdering> {
        let falling = match self.call.name {
            "epoch_log" => "commit_order",
            _ => return None,
        };
        let all = self.schema.index_of(falling).ok()?;
        let place = projection.map_or(Some(all), |places| places.iter().position(|place| *place == all))?;
        let options = SortOptions { descending: true, nulls_first: true };
        LexOrdering::new([PhysicalSortExpr::new(Arc::new(Column::new(falling, place)), options)])
    }
}

fn field(column: &functions::Column) -> Field {
    let data_type = match &column.ty {
        SqlType::Text | SqlType::Jsonb => DataType::Utf8,
        SqlType::Bool => DataType::Boolean,
        SqlType::Int8 => DataType::Int64,
        SqlType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        SqlType::TextArray => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        SqlType::Named(name) => named_type(name),
    };
    let metadata = HashMap::from([(types::PG_TYPE.to_owned(), column.ty.name().to_owned())]);
    Field::new(&column.name, data_type, true).with_metadata(metadata)
}

/// The Arrow type of a PostgreSQL type by name; a numeric keeps its own precision.
fn named_type(name: &str) -> DataType {
    match types::parse_type(name) {
        Some((postgres_types::Type::NUMERIC, modifier)) if modifier >= 4 => {
            let packed = modifier - 4;
            match (u8::try_from(packed >> 16), i8::try_from(packed & 0x7ff)) {
                (Ok(precision @ 1..=38), Ok(scale)) => DataType::Decimal128(precision, scale),
                _ => DataType::Utf8,
            }
        }
        Some((postgres_types::Type::NUMERIC, _)) | None => DataType::Utf8,
        Some((pg_type, _)) => types::arrow_of(&pg_type),
    }
}

/// One call of a reading function.
#[derive(Clone)]
struct Call {
    repository: Repository,
    checkout: Checkout,
    name: &'static str,
    args: Args,
    in_transaction: bool,
}

impl Call {
    fn columns(&self) -> Result<Vec<functions::Column>> {
        functions::columns(&self.session(), self.name, &self.args)
    }

    fn session(&self) -> functions::Session<'_> {
        functions::Session {
            repository: &self.repository,
            checkout: &self.checkout,
            author: Author::default(),
            read_only: !self.checkout.is_branch(),
            in_transaction: self.in_transaction,
            branch_in_use: &|_| true,
            strategy: Strategy::default(),
            explain: None,
        }
    }

    async fn batches(&self, schema: SchemaRef, asked: &Asked) -> Result<epoch_adapter::BatchStream> {
        /// Rows of a batch.
        const ROWS: usize = 1024;
        let opened = functions::open(&self.session(), self.name, &self.args, asked).await?;
        let chunks = opened.rows.try_chunks(ROWS).map_err(|e| e.1);
        Ok(chunks.and_then(move |rows| std::future::ready(batch(&schema, &rows))).boxed())
    }
}

fn batch(schema: &SchemaRef, rows: &[Vec<Option<String>>]) -> Result<RecordBatch> {
    let column = |(index, field): (usize, &Arc<Field>)| {
        let texts: Vec<_> = rows.iter().map(|row| row.get(index).cloned().flatten()).collect();
        convert::array_of(&texts, field.data_type())
    };
    let columns = schema.fields().iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|e| errors::arrow(&e))
}

/// The rows of a call, made when they are asked for.
struct CallStream {
    call: Arc<Call>,
    schema: SchemaRef,
    asked: Asked,
}

impl fmt::Debug for CallStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call.name)
    }
}

impl PartitionStream for CallStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (call, schema, asked) = (self.call.clone(), self.schema.clone(), self.asked.clone());
        let batches = futures::stream::once(async move { call.batches(schema, &asked).await })
            .try_flatten()
            .map_err(errors::wrap);
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

/// `epoch_at(table, ref)`: the table at another view, with all that can be pushed to its backend.
struct TableAt {
    repository: Repository,
    checkout: Checkout,
    table: Arc<TableDef>,
    spec: String,
    schema: SchemaRef,
}

impl fmt::Debug for TableAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch_at({}, {})", self.table.name, self.spec)
    }
}

impl TableAt {
    fn new(repository: Repository, checkout: Checkout, table: Arc<TableDef>, spec: String) -> Result<Self> {
        let adapter = backend_of(&repository, &table)?;
        let schema = types::table_schema(&table, &adapter.arrow_schema(&table));
        Ok(Self { repository, checkout, table, spec, schema })
    }

    fn at(&self, view: View) -> Result<FederatedTable> {
        let adapter = backend_of(&self.repository, &self.table)?;
        Ok(FederatedTable::new(adapter, self.table.clone(), view, None))
    }

    async fn view(&self) -> Result<View> {
        let there = match self.spec.as_str() {
            "WORKING" => self.checkout.clone(),
            spec => self.repository.checkout(spec, Some(&self.checkout)).await?,
        };
        self.repository.view(&there, &self.table)
    }
}

#[async_trait]
impl TableProvider for TableAt {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        self.at(View::MAIN).map_err(errors::wrap)?.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn DfSession,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let view = self.view().await.map_err(errors::wrap)?;
        self.at(view).map_err(errors::wrap)?.scan(state, projection, filters, limit).await
    }
}
