//! Registered tables as DataFusion sees them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, Time64MicrosecondType, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use epoch_adapter::{Adapter, At, BatchStream, Error, Predicate, Result, Scan, TableDef, View};
use futures::{StreamExt, TryStreamExt};

use super::transaction::SharedTransaction;
use super::{convert, errors, filter, semantics, types};

/// A registered table at one view.
#[derive(Debug, Clone)]
pub(crate) struct FederatedTable {
    source: Source,
    schema: SchemaRef,
}

/// Where the rows come from.
#[derive(Debug, Clone)]
struct Source {
    adapter: Arc<dyn Adapter>,
    table: Arc<TableDef>,
    view: View,
    transaction: Option<Arc<SharedTransaction>>,
}

impl FederatedTable {
    /// `transaction`: the open transaction on the table's backend, whose writes the scan sees.
    pub(crate) fn new(
        adapter: Arc<dyn Adapter>,
        table: Arc<TableDef>,
        view: View,
        transaction: Option<Arc<SharedTransaction>>,
    ) -> Self {
        let schema = Arc::new(exact(&types::table_schema(&table, &adapter.arrow_schema(&table))));
        Self { source: Source { adapter, table, view, transaction }, schema }
    }
}

#[async_trait]
impl TableProvider for FederatedTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let Source { adapter, table, .. } = &self.source;
        let supported = |filter: &&Expr| match filter::predicate(table, filter) {
            Some(predicate) if adapter.supports(table, &predicate) => TableProviderFilterPushDown::Exact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(supported).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let table = &self.source.table;
        // What was a condition on a column may have turned out to be a constant since.
        let nothing = || Predicate::And(vec![Predicate::IsNull(0), Predicate::IsNotNull(0)]);
        let predicate = |f: &Expr| match f {
            Expr::Literal(ScalarValue::Boolean(Some(true)), _) => Ok(None),
            Expr::Literal(ScalarValue::Boolean(_) | ScalarValue::Null, _) => Ok(Some(nothing())),
            f => filter::predicate(table, f).map(Some).ok_or_else(|| {
                DataFusionError::Internal(format!("filter {f} was pushed without being supported"))
            }),
        };
        let filters = filters.iter().map(predicate).collect::<DfResult<Vec<_>>>()?;
        let scan =
            Scan { projection: projection.cloned(), filters: filters.into_iter().flatten().collect(), limit };
        Ok(Arc::new(ScanExec::new(self.source.clone(), &self.schema, scan)?))
    }
}

/// One scan of a backend.
#[derive(Debug)]
pub(crate) struct ScanExec {
    source: Source,
    scan: Scan,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    fn new(source: Source, full: &SchemaRef, scan: Scan) -> DfResult<Self> {
        let schema = match &scan.projection {
            Some(indexes) => Arc::new(full.project(indexes)?),
            None => full.clone(),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { source, scan, properties: Arc::new(properties) })
    }

    /// The backend's name and what is asked of it, for `epoch_explain`.
    pub(crate) fn describe(&self) -> (String, String) {
        (self.source.adapter.name().to_owned(), format!("{}", Described(self)))
    }
}

/// The scan in words of SQL.
struct Described<'a>(&'a ScanExec);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScanExec { source, scan, properties } = self.0;
        let names: Vec<_> =
            properties.eq_properties.schema().fields().iter().map(|field| field.name().as_str()).collect();
        let names = if names.is_empty() { "1".to_owned() } else { names.join(", ") };
        write!(f, "SELECT {names} FROM {}", source.table.name)?;
        let lineage = source.view.layer.lineage.0;
        match source.view.at {
            At::Working if source.view.is_plain() => {}
            At::Working => write!(f, " /* branch lineage {lineage} */")?,
            At::Ordinal(ordinal) => write!(f, " /* lineage {lineage} at {ordinal} */")?,
        }
        for (index, predicate) in scan.filters.iter().enumerate() {
            write!(
                f,
                "{}{}",
                if index == 0 { " WHERE " } else { " AND " },
                filter::sql(&source.table, predicate)
            )?;
        }
        if let Some(limit) = scan.limit {
            write!(f, " LIMIT {limit}")?;
        }
        Ok(())
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan on {}: {}", self.source.adapter.name(), Described(self))
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &'static str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let schema = self.schema();
        let (source, scan) = (self.source.clone(), self.scan.clone());
        let own = schema.clone();
        let batches = futures::stream::once(async move { source.open(scan).await })
            .try_flatten()
            .map(move |batch| batch.and_then(|b| with_schema(&b, &own)).map_err(errors::wrap));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

impl Source {
    async fn open(&self, mut scan: Scan) -> Result<BatchStream> {
        // A count needs rows, not columns; backends answer in columns.
        let counting = scan.projection.as_ref().is_some_and(Vec::is_empty);
        if counting {
            scan.projection = Some(self.table.schema.key.iter().take(1).copied().collect());
        }
        let stream = match &self.transaction {
            Some(transaction) => transaction.scan(&self.table, &self.view, &scan).await?,
            None => self.adapter.scan(&self.table, &self.view, &scan).await?,
        };
        if !counting {
            return Ok(stream);
        }
        let without_columns = |batch: Result<RecordBatch>| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch?.num_rows()));
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)
                .map_err(|e| errors::arrow(&e))
        };
        Ok(stream.map(without_columns).boxed())
    }
}

/// The schema with numerics of any scale under their own Arrow type (see `semantics::number`).
pub(crate) fn exact(schema: &Schema) -> Schema {
    let field = |field: &Arc<Field>| {
        let numeric = field.metadata().get(types::PG_TYPE).is_some_and(|name| name == "numeric");
        if numeric && field.data_type() == &DataType::Utf8 {
            return Arc::new(field.as_ref().clone().with_data_type(DataType::LargeUtf8));
        }
        field.clone()
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

/// The batch with the field metadata that plans expect; fails if the adapter broke its promise.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().iter().zip(schema.fields()).map(|(array, field)| comparable(array, field));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<Vec<_>>>()?, &options)
        .map_err(|e| Error::internal(format!("a backend returned other columns than it announced: {e}")))
}

/// Values in the one form that is compared: Arrow compares bits.
fn comparable(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    match (array.data_type(), field.data_type()) {
        (DataType::Time64(_), _) => {
            const DAY: i64 = 86_400_000_000;
            let times = convert::cast_plain(array, &DataType::Time64(TimeUnit::Microsecond))?;
            let last = arrow::compute::max(times.as_primitive::<Time64MicrosecondType>());
            if last.is_some_and(|last| last >= DAY) {
                return Err(Error::unsupported("time 24:00:00 on tables that are not in PostgreSQL")
                    .with_column(field.name().as_str()));
            }
            Ok(array.clone())
        }
        (DataType::Utf8, DataType::LargeUtf8) => convert::cast_plain(array, &DataType::LargeUtf8),
        (DataType::Float64, _) => {
            let plain = array.as_primitive::<Float64Type>().unary::<_, Float64Type>(semantics::plain_float);
            Ok(Arc::new(plain))
        }
        (DataType::Utf8, _) if field.metadata().get(types::PG_TYPE).is_some_and(|name| name == "uuid") => {
            let texts = array.as_string::<i32>().iter().map(|t| t.map(semantics::uuid).transpose());
            Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
        }
        _ => Ok(array.clone()),
    }
}
