//! Planning with DataFusion: names are resolved here, against one snapshot of the session.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::metadata::{FieldMetadata, ScalarAndMetadata};
use datafusion::common::{DFSchema, ParamValues, ScalarValue, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{NullOrdering, ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ObjectNamePart, Statement, TableFactor, Visit, Visitor, visit_relations,
};
use epoch_adapter::{Error, Result, TableDef, TableName, sqlstate};

use super::transaction::SharedTransaction;
use super::{catalog, errors, functions, merged, only, relations, semantics, table::FederatedTable};
use crate::operations::{Checkout, Repository};

/// What sorts, joins and aggregates of all sessions may hold before they spill to disk, if nobody says otherwise.
const MEMORY_LIMIT: usize = 1 << 30;
static MEMORY: OnceLock<usize> = OnceLock::new();

/// What federated statements may hold in memory, all sessions together. To be set before the first one.
pub fn set_memory_limit(bytes: usize) {
    let _ = MEMORY.set(bytes);
}

const BATCH_ROWS: usize = 8192;

/// What all sessions share: functions, rules, memory. Made at the first statement.
fn base_state() -> Result<&'static SessionState> {
    static STATE: OnceLock<std::result::Result<SessionState, Error>> = OnceLock::new();
    STATE.get_or_init(|| new_state().map_err(|e| errors::datafusion(&e))).as_ref().map_err(Clone::clone)
}

fn new_state() -> DfResult<SessionState> {
    let limit = MEMORY.get().copied().unwrap_or(MEMORY_LIMIT);
    let runtime: Arc<RuntimeEnv> =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(limit))).build_arc()?;
    // One partition: rows come in the backend's order, and the many sessions are the parallelism.
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS)
        .with_round_robin_repartition(false)
        .with_create_default_catalog_and_schema(false)
        .set_bool("datafusion.execution.collect_statistics", false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
        .set_bool("datafusion.sql_parser.parse_float_as_decimal", true)
        .set_str("datafusion.sql_parser.dialect", "postgresql");
    Ok(SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_expr_planners(vec![Arc::new(semantics::Arithmetic)])
        .with_default_features()
        .with_physical_optimizer_rules(physical_rules())
        .with_analyzer_rules(semantics::rules())
        .build())
}

/// DataFusion's rules for physical plans but for `FilterPushdown`: it looks a filter's columns up by their bare names
/// and takes the first of two, so that a condition on one side of an outer join is asked of the other; what backends
/// are asked comes from the logical rule. And but for `ProjectionPushdown`: it computes parts of a join's condition below
/// the join, for rows that an earlier part of the condition would have kept from it.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown") && rule.name() != "ProjectionPushdown");
    rules.push(Arc::new(super::yielding::JoinsYield));
    rules
}

/// Everything that names mean in one statement: a checkout, the open transactions, the settings.
pub(crate) struct Planner {
    pub(crate) repository: Repository,
    pub(crate) checkout: Checkout,
    pub(crate) session: Arc<functions::SessionInfo>,
    pub(crate) transactions: HashMap<String, Arc<SharedTransaction>>,
    state: SessionState,
    parameters: Vec<Option<FieldRef>>,
    values: Option<Vec<ScalarValue>>,
    /// What their types are called, where Arrow's type doesn't say it.
    tags: Vec<FieldMetadata>,
    /// Relations that the statement itself brings, e.g. `excluded`.
    own: HashMap<String, Arc<dyn TableProvider>>,
}

impl Planner {
    pub(crate) fn new(
        repository: Repository,
        checkout: Checkout,
        session: Arc<functions::SessionInfo>,
        transactions: HashMap<String, Arc<SharedTransaction>>,
    ) -> Result<Self> {
        let mut state = base_state()?.clone();
        state.execution_props_mut().query_execution_start_time = Some(session.started);
        state.config_mut().options_mut().execution.time_zone = Some(session.zone_name.clone());
        Ok(Self {
            repository,
            checkout,
            session,
            transactions,
            state,
            parameters: Vec::new(),
            values: None,
            tags: Vec::new(),
            own: HashMap::new(),
        })
    }

    /// Types of `$1`…, as far as they are known.
    pub(crate) fn set_parameter_types(&mut self, types: Vec<Option<FieldRef>>) {
        self.parameters = types;
    }

    /// Values of `$1`…
    pub(crate) fn set_parameters(&mut self, values: Vec<ScalarValue>, types: &[postgres_types::Type]) {
        self.tags = types.iter().map(semantics::typed_as).collect();
        let field = |(v, tag): (&ScalarValue, &FieldMetadata)| {
            Some(Arc::new(tag.add_to_field(Field::new("parameter", v.data_type(), true))))
        };
        self.parameters = values.iter().zip(&self.tags).map(field).collect();
        self.values = Some(values);
    }

    /// A statement that reads several tables of one backend reads them in one transaction: it must not
    /// see one of them before and another after somebody's commit.
    pub(crate) async fn share_snapshots(&mut self, statement: &Statement) -> Result<()> {
        let mut counts: HashMap<String, usize> = HashMap::new();
        let _ = visit_relations(statement, |name| {
            let table = super::dml::reference(name).and_then(|name| self.table(&name));
            if let Ok(table) = table {
                *counts.entry(table.location.backend.clone()).or_default() += 1;
            }
            ControlFlow::<()>::Continue(())
        });
        for backend in counts.into_iter().filter(|(_, count)| *count > 1).map(|(backend, _)| backend) {
            if let (Some(adapter), false) =
                (self.repository.backend(&backend), self.transactions.contains_key(&backend))
            {
                self.transactions.insert(backend, SharedTransaction::new(adapter.begin().await?));
            }
        }
        Ok(())
    }

    /// Adds a relation for this statement only, found by its bare name before all others.
    pub(crate) fn add_relation(&mut self, name: &str, provider: Arc<dyn TableProvider>) {
        self.own.insert(name.to_owned(), provider);
    }

    fn sql(&self) -> SqlToRel<'_, Self> {
        let options = ParserOptions {
            parse_float_as_decimal: true,
            enable_ident_normalization: true,
            support_varchar_with_length: true,
            enable_options_value_normalization: false,
            collect_spans: false,
            map_string_types_to_utf8view: false,
            default_null_ordering: NullOrdering::NullsMax,
        };
        SqlToRel::new_with_options(self, options)
    }

    fn context(&self) -> PlannerContext {
        PlannerContext::new().with_prepare_param_data_types(self.parameters.clone())
    }

    /// The logical plan of a query, with its parameters still in it.
    pub(crate) fn plan(&self, mut statement: Statement) -> Result<LogicalPlan> {
        only::apply(self, &mut statement)?;
        merged::apply(self, &mut statement)?;
        let names = relation_names(&statement);
        self.plan_as_it_is(statement).map_err(|error| {
            let whole =
                names.iter().any(|name| error.message() == format!("column \"{name}\" does not exist"));
            match error.code() == sqlstate::UNDEFINED_COLUMN && whole {
                // `SELECT t FROM t`
                true => {
                    Error::unsupported("a row of a table as one value on tables that are not in PostgreSQL")
                }
                false => error,
            }
        })
    }

    /// The plan of a statement whose names are DataFusion's.
    pub(super) fn plan_as_it_is(&self, statement: Statement) -> Result<LogicalPlan> {
        self.sql()
            .sql_statement_to_plan_with_context(statement, &mut self.context())
            .map_err(|e| errors::datafusion(&e))
    }

    /// An expression over the columns of `schema`.
    pub(crate) fn expression(&self, sql: SqlExpr, schema: &DFSchema) -> Result<Expr> {
        self.sql().sql_to_expr(sql, schema, &mut self.context()).map_err(|e| errors::datafusion(&e))
    }

    /// The physical plan, with the parameters' values in it.
    pub(crate) async fn physical(&self, plan: LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = match &self.values {
            Some(values) if !values.is_empty() => {
                // A parameter has a type; it isn't taken for a bare literal.
                let typed = |(v, tag): (&ScalarValue, &FieldMetadata)| {
                    ScalarAndMetadata::new(v.clone(), Some(tag.clone()))
                };
                plan.with_param_values(ParamValues::List(values.iter().zip(&self.tags).map(typed).collect()))
                    .map_err(|e| errors::datafusion(&e))?
            }
            _ => plan,
        };
        self.state.create_physical_plan(&plan).await.map_err(|e| names_are_known(errors::datafusion(&e)))
    }

    /// Runs a plan; rows are made as they are taken.
    pub(crate) async fn run(&self, plan: LogicalPlan) -> Result<SendableRecordBatchStream> {
        let physical = self.physical(plan).await?;
        execute_stream(physical, self.state.task_ctx()).map_err(|e| errors::datafusion(&e))
    }

    /// The schema of the result after type coercion, for Describe.
    pub(crate) fn analyzed(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let analyzer = self.state.analyzer();
        analyzer
            .execute_and_check(plan.clone(), self.state.config_options(), |_, _| {})
            .map_err(|e| names_are_known(errors::datafusion(&e)))
    }

    /// The registered table of a name as written, with its name's schema resolved.
    pub(crate) fn table(&self, name: &TableReference) -> Result<Arc<TableDef>> {
        let tables = self.repository.tables_on(&self.checkout);
        let find = |schema: &str, name: &str| {
            tables.by_name.get(&TableName { schema: schema.to_owned(), name: name.to_owned() }).cloned()
        };
        let found = match name {
            TableReference::Bare { table } => {
                self.session.search_path.iter().find_map(|schema| find(schema, table))
            }
            TableReference::Partial { schema, table } => find(schema, table),
            TableReference::Full { catalog, schema, table } => {
                self.check_catalog(catalog, name)?;
                find(schema, table)
            }
        };
        found.ok_or_else(|| undefined(name))
    }

    fn check_catalog(&self, catalog: &str, name: &TableReference) -> Result<()> {
        if catalog == self.session.database || catalog == self.repository.name() {
            return Ok(());
        }
        let message = format!("cross-database references are not implemented: \"{}\"", dotted(name));
        Err(Error::new(sqlstate::FEATURE_NOT_SUPPORTED, message))
    }

    /// The rows of a registered table at the session's checkout.
    pub(crate) fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        let view = self.repository.view(&self.checkout, table)?;
        let adapter = backend_of(&self.repository, table)?;
        let transaction = self.transactions.get(adapter.name()).cloned();
        Ok(Arc::new(FederatedTable::new(adapter, table.clone(), view, transaction)))
    }

    fn resolve(&self, name: &TableReference) -> Result<Arc<dyn TableProvider>> {
        let (schema, table) = match name {
            TableReference::Bare { table } => {
                if let Some(own) = self.own.get(table.as_ref()) {
                    return Ok(own.clone());
                }
                (None, table)
            }
            TableReference::Partial { schema, table } => (Some(schema.as_ref()), table),
            TableReference::Full { catalog, schema, table } => {
                self.check_catalog(catalog, name)?;
                (Some(schema.as_ref()), table)
            }
        };
        let system = match schema {
            Some("epoch") => relations::relation(self, table)?,
            Some(schema @ ("pg_catalog" | "information_schema")) => catalog::table(self, schema, table)?,
            Some(_) => None,
            None => catalog::table(self, "pg_catalog", table)?,
        };
        match system {
            Some(provider) => Ok(provider),
            None => self.provider(&self.table(name)?),
        }
    }

    /// Arguments of a table function as constants.
    fn constants(&self, arguments: Vec<Expr>) -> DfResult<Vec<Expr>> {
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(self.state.config_options()))
            .with_query_execution_start_time(Some(self.session.started))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let constant = |argument: Expr| {
            let bound = self.bound(argument);
            simplifier.coerce(bound, &schema).and_then(|e| simplifier.simplify(e))
        };
        arguments.into_iter().map(constant).collect()
    }

    /// A parameter with its value, where that is known.
    fn bound(&self, argument: Expr) -> Expr {
        let Expr::Placeholder(placeholder) = &argument else { return argument };
        let index = placeholder.id.trim_start_matches('$').parse::<usize>().ok();
        let value = index.and_then(|i| self.values.as_ref()?.get(i.checked_sub(1)?));
        value.map_or(argument.clone(), |v| Expr::Literal(v.clone(), None))
    }
}

/// What an error after planning means, which has found all names: PostgreSQL looks a name up in all queries around, and of
/// DataFusion only the planner does; a column that isn't there is one that a sub-select two levels down reads.
fn names_are_known(error: Error) -> Error {
    match error.code() == sqlstate::UNDEFINED_COLUMN {
        true => Error::unsupported(
            "a sub-select in a sub-select that reads the query around both, on tables that are not in PostgreSQL",
        ),
        false => error,
    }
}

/// The names that a statement's relations go by.
fn relation_names(statement: &Statement) -> Vec<String> {
    struct Names(Vec<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            let name = match factor {
                TableFactor::Table { alias: Some(alias), .. }
                | TableFactor::Derived { alias: Some(alias), .. } => Some(&alias.name),
                TableFactor::Table { name, .. } => name.0.last().and_then(ObjectNamePart::as_ident),
                _ => None,
            };
            self.0.extend(name.map(|n| n.value.clone()));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    let _ = statement.visit(&mut names);
    names.0
}

/// The backend of a table; 55000 if the configuration lost it.
pub(crate) fn backend_of(
    repository: &Repository,
    table: &TableDef,
) -> Result<Arc<dyn epoch_adapter::Adapter>> {
    repository.backend(&table.location.backend).ok_or_else(|| {
        Error::new(
            sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("backend \"{}\" of table \"{}\" is not configured", table.location.backend, table.name),
        )
    })
}

fn undefined(name: &TableReference) -> Error {
    Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", dotted(name)))
}

fn dotted(name: &TableReference) -> String {
    let parts = [name.catalog(), name.schema(), Some(name.table())];
    parts.into_iter().flatten().collect::<Vec<_>>().join(".")
}

impl ContextProvider for Planner {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        self.resolve(&name).map(provider_as_source).map_err(errors::wrap)
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> DfResult<Arc<dyn TableSource>> {
        let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
        let arguments = self.constants(args)?;
        if let Some(provider) = relations::function(self, name, &arguments).map_err(errors::wrap)? {
            return Ok(provider_as_source(provider));
        }
        if let Some(provider) = catalog::table_function(self, name, &arguments).map_err(errors::wrap)? {
            return Ok(provider_as_source(provider));
        }
        let Some(function) = self.state.table_functions().get(name) else {
            let message = format!("function {name} does not exist");
            return Err(errors::wrap(Error::new(sqlstate::UNDEFINED_FUNCTION, message)));
        };
        let arguments = datafusion::catalog::TableFunctionArgs::new(&arguments, &self.state);
        function.create_table_provider_with_args(arguments).map(provider_as_source)
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> DfResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(functions::PgTypes { zone: self.session.zone_name.as_str().into() }))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
        functions::find(self, name)
            .or_else(|| semantics::function(name))
            .or_else(|| self.state.scalar_functions().get(name).cloned())
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
        if name == functions::SINGLE_VALUE {
            return Some(functions::single_value());
        }
        let name = if name == "every" { "bool_and" } else { name };
        semantics::aggregate(name).or_else(|| self.state.aggregate_functions().get(name).cloned())
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
