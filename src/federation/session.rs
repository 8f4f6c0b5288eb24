//! One client's federated session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::Schema;
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::sql::sqlparser::ast::Statement;
use epoch_adapter::{Error, Result, TableDef, sqlstate};
use futures::StreamExt;
use futures::stream::BoxStream;
use postgres_types::Type;

use super::ahead::ahead;
use super::block::Block;
use super::cursor::Cursor;
use super::described::parameter_types;
use super::dml::{self, InsertPlan, ModifyPlan, Target, Written};
use super::encode::{Column, RowEncoder, columns_of};
use super::functions::SessionInfo;
use super::params::{Params, arrow_of};
use super::parse::{self, Command, Modes};
use super::planner::{Planner, backend_of};
use super::settings::{self, Settings};
use super::{errors, names, types};
use crate::operations::{Checkout, Repository};

/// Bodies of DataRow messages.
pub type RowStream = BoxStream<'static, Result<Bytes>>;

/// The command tag of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// As it is.
    Whole(String),
    /// With the number of rows that were sent behind it: `SELECT`, `FETCH`.
    Counted(&'static str),
}

impl Tag {
    /// The tag after `rows` rows were sent.
    pub fn text(&self, rows: u64) -> String {
        match self {
            Self::Whole(tag) => tag.clone(),
            Self::Counted(word) => format!("{word} {rows}"),
        }
    }
}

/// What a statement returned.
pub enum Outcome {
    /// The query string was empty.
    Empty,
    /// A command without rows.
    Done {
        /// The command tag.
        tag: String,
    },
    /// Rows; they are made as they are taken, and dropping the stream stops the work.
    Rows {
        /// The columns.
        columns: Vec<Column>,
        /// DataRow bodies, without type byte and length.
        rows: RowStream,
        /// The command tag.
        tag: Tag,
    },
}

/// A statement that is ready to be described and run.
#[derive(Debug, Clone)]
pub struct Prepared {
    command: Arc<Command>,
    parameters: Vec<Type>,
    columns: Option<Vec<Column>>,
}

impl Prepared {
    /// The types of `$1`, `$2` ….
    pub fn parameters(&self) -> &[Type] {
        &self.parameters
    }

    /// The result columns, `None` for a command without a result.
    pub fn columns(&self) -> Option<&[Column]> {
        self.columns.as_deref()
    }

    /// Whether this is the empty statement.
    pub fn is_empty(&self) -> bool {
        matches!(*self.command, Command::Empty)
    }

    /// What `DEALLOCATE` is to forget: the name, `Some(None)` for all.
    pub fn deallocates(&self) -> Option<Option<&str>> {
        match self.command.as_ref() {
            Command::Deallocate(name) => Some(name.as_deref()),
            _ => None,
        }
    }
}

/// One client's session on the federated route.
pub struct Session {
    pub(super) repository: Repository,
    user: String,
    database: String,
    settings: Settings,
    defaults: Modes,
    block: Option<Block>,
    /// The block is that of a string of several statements, not one that the client began.
    implicit: bool,
    /// Set by an error in the block, also by one in a row that was sent later.
    failed: Arc<AtomicBool>,
    pub(super) cursors: HashMap<String, Cursor>,
    notices: Vec<Error>,
    /// It runs on a thread that others need.
    shares_thread: bool,
    /// Branches are among the databases.
    databases: bool,
}

impl Session {
    /// A session of `user` on `database` (the name the client connected to).
    pub fn new(repository: Repository, user: &str, database: &str) -> Self {
        Self {
            repository,
            user: user.to_owned(),
            database: database.to_owned(),
            settings: Settings::default(),
            defaults: Modes::default(),
            block: None,
            implicit: false,
            failed: Arc::default(),
            cursors: HashMap::new(),
            notices: Vec::new(),
            shares_thread: false,
            databases: false,
        }
    }

    /// Whether branches are among the databases that catalogs list.
    pub fn show_databases(&mut self, shown: bool) {
        self.databases = shown;
    }

    /// The same, on a thread that other sessions relay on: the work for results is done elsewhere.
    pub fn sharing_thread(self) -> Self {
        Self { shares_thread: true, ..self }
    }

    /// `I` outside of a transaction block, `T` in one, `E` in one that failed.
    pub fn transaction_status(&self) -> u8 {
        match (&self.block, self.has_failed()) {
            _ if self.implicit => b'I',
            (None, _) => b'I',
            (Some(_), false) => b'T',
            (Some(_), true) => b'E',
        }
    }

    /// Says that something outside of this session failed in the open transaction block, if any.
    pub fn fail(&mut self) {
        if self.block.is_some() {
            self.failed.store(true, Ordering::Relaxed);
        }
    }

    /// The statements from here on are one transaction, as those of one string are; does nothing in a block.
    pub fn begin_implicit(&mut self) {
        if self.block.is_none() {
            self.begin(Modes::default());
            self.implicit = true;
        }
    }

    /// Ends what [`Session::begin_implicit`] began, if the client hasn't made a block of it.
    pub async fn end_implicit(&mut self, commit: bool) -> Result<()> {
        if !self.implicit {
            return Ok(());
        }
        let commit = commit && !self.has_failed();
        self.end(commit, false).await
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// A setting that the client's start-up message brought. RESET goes back to it.
    pub fn set_default(&mut self, name: &str, value: &str) -> Result<()> {
        self.settings.set_default(&name.to_lowercase(), value)
    }

    /// The value of a setting, e.g. for ParameterStatus.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(&name.to_lowercase())
    }

    /// Warnings of the statements since the last call.
    pub fn take_notices(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.notices)
    }

    /// Runs one statement of the simple protocol.
    pub async fn simple(&mut self, checkout: &Checkout, sql: &str) -> Result<Outcome> {
        // Not described: the columns are those of the run itself.
        let command = parse::parse(sql);
        let command = self.noted(command)?;
        let prepared = Prepared { command: Arc::new(command), parameters: Vec::new(), columns: None };
        self.execute(checkout, &prepared, &Params::default(), &[]).await
    }

    /// Parses and describes one statement. `types`: OIDs of the parameters' types, 0 for unknown.
    pub async fn prepare(&mut self, checkout: &Checkout, sql: &str, types: &[u32]) -> Result<Prepared> {
        let result = self.try_prepare(checkout, sql, types).await;
        self.noted(result)
    }

    async fn try_prepare(&mut self, checkout: &Checkout, sql: &str, types: &[u32]) -> Result<Prepared> {
        let command = parse::parse(sql)?;
        self.refuse_if_failed(&command)?;
        let given = types
            .iter()
            .map(|oid| if *oid == 0 { Ok(None) } else { types::type_of_oid(*oid).map(Some) })
            .collect::<Result<Vec<_>>>()?;
        let described = self.describe(checkout, &command, given).await?;
        Ok(Prepared { command: Arc::new(command), parameters: described.0, columns: described.1 })
    }

    async fn describe(
        &mut self,
        checkout: &Checkout,
        command: &Command,
        given: Vec<Option<Type>>,
    ) -> Result<(Vec<Type>, Option<Vec<Column>>)> {
        let text_columns = |names: &[&str]| {
            names.iter().map(|n| Column { name: (*n).to_owned(), pg_type: Type::TEXT }).collect::<Vec<_>>()
        };
        let (plan, schema) = match command {
            Command::Query(statement) => {
                let planner = self.described_planner(checkout, &given).await?;
                let plan = planner.plan(named(statement))?;
                let schema = dml::visible_schema(&planner.analyzed(&plan)?);
                (plan, Some(schema))
            }
            Command::Insert(insert) => {
                let mut planner = self.described_planner(checkout, &given).await?;
                let insert = InsertPlan::new(&planner, insert)?;
                let returning = insert.returning(&mut planner, Vec::new())?;
                let schema = match returning {
                    Some(plan) => Some(dml::visible_schema(&planner.analyzed(&plan)?)),
                    None => None,
                };
                match insert.source {
                    Some(source) => {
                        // Says what PostgreSQL says at Parse: a value of the wrong type.
                        planner.analyzed(&source)?;
                        (source, schema)
                    }
                    None => return Ok((Vec::new(), schema.map(|s| columns_of(&s)).transpose()?)),
                }
            }
            Command::Update(update) => {
                let planner = self.described_planner(checkout, &given).await?;
                let update = ModifyPlan::update(&planner, update)?;
                let schema = update.returning(&planner.analyzed(&update.plan)?);
                (update.plan, schema)
            }
            Command::Delete(delete) => {
                let planner = self.described_planner(checkout, &given).await?;
                let delete = ModifyPlan::delete(&planner, delete)?;
                let schema = delete.returning(&planner.analyzed(&delete.plan)?);
                (delete.plan, schema)
            }
            Command::Show(name) if name == "all" => {
                return Ok((Vec::new(), Some(text_columns(&["name", "setting", "description"]))));
            }
            Command::Show(name) => {
                self.settings.show(name)?;
                return Ok((Vec::new(), Some(text_columns(&[settings::as_shown(name)]))));
            }
            Command::Fetch { name, rows: true, .. } => {
                let cursor = self.cursors.get(name).ok_or_else(|| super::cursor::missing(name))?;
                return Ok((Vec::new(), Some(cursor.columns.clone())));
            }
            _ => return Ok((Vec::new(), None)),
        };
        let columns = schema.map(|schema| columns_of(&schema)).transpose()?;
        Ok((parameter_types(&plan, given)?, columns))
    }

    async fn described_planner(&mut self, checkout: &Checkout, given: &[Option<Type>]) -> Result<Planner> {
        let mut planner = self.planner(checkout).await?;
        let zone = planner.session.zone_name.clone();
        let field = |t: &Option<Type>| {
            t.as_ref().map(|t| Arc::new(arrow::datatypes::Field::new("parameter", arrow_of(t, &zone), true)))
        };
        planner.set_parameter_types(given.iter().map(field).collect());
        Ok(planner)
    }

    /// A planner for one statement, as the session stands now.
    pub(super) async fn planner(&mut self, checkout: &Checkout) -> Result<Planner> {
        self.repository.refresh().await?;
        let mut info = SessionInfo::new(&self.user, &self.database, &self.settings)?;
        info.read_only = !checkout.is_branch();
        if self.databases {
            info.branches = self.repository.branch_names().await?;
        }
        let mut open = HashMap::new();
        if let Some(block) = &mut self.block {
            if block.snapshot {
                for adapter in self.repository.backends() {
                    block.on(adapter.as_ref()).await?;
                }
            }
            info.started = block.started;
            info.in_transaction = !self.implicit;
            info.read_only |= block.read_only;
            open = block.open();
        }
        Planner::new(self.repository.clone(), checkout.clone(), Arc::new(info), open)
    }

    /// Runs a prepared statement with its parameters; `formats` as in a Bind message.
    pub async fn execute(
        &mut self,
        checkout: &Checkout,
        prepared: &Prepared,
        params: &Params,
        formats: &[i16],
    ) -> Result<Outcome> {
        let result = match self.refuse_if_failed(&prepared.command) {
            Ok(()) => self.run(checkout, prepared, params, formats).await,
            Err(error) => Err(error),
        };
        self.noted(result)
    }

    /// An error in a block fails the block.
    fn noted<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() && self.block.is_some() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }

    fn refuse_if_failed(&self, command: &Command) -> Result<()> {
        let ends = matches!(command, Command::Commit(_) | Command::Rollback(_) | Command::RollbackTo(_));
        if self.block.is_none() || !self.has_failed() || ends || matches!(command, Command::Empty) {
            return Ok(());
        }
        Err(Error::new(
            sqlstate::IN_FAILED_SQL_TRANSACTION,
            "current transaction is aborted, commands ignored until end of transaction block",
        ))
    }

    async fn run(
        &mut self,
        checkout: &Checkout,
        prepared: &Prepared,
        params: &Params,
        formats: &[i16],
    ) -> Result<Outcome> {
        match prepared.command.as_ref() {
            Command::Query(statement) => {
                let (stream, columns) = self.query(checkout, statement, prepared, params).await?;
                let encoder = RowEncoder::new(&columns, formats, self.settings.zone()?)?;
                let tag = match statement.as_ref() {
                    Statement::Explain { .. } => Tag::Whole("EXPLAIN".to_owned()),
                    _ => Tag::Counted("SELECT"),
                };
                Ok(Outcome::Rows { columns, rows: self.rows(stream, encoder), tag })
            }
            Command::Insert(_) | Command::Update(_) | Command::Delete(_) => {
                self.write(checkout, prepared, params, formats).await
            }
            Command::Declare { name, query } => {
                let (stream, columns) = self.query(checkout, query, prepared, params).await?;
                self.declare(name, stream, columns)
            }
            Command::Fetch { name, count, rows } => self.fetch(name, *count, *rows, formats).await,
            Command::Close(name) => self.close(name.as_deref()),
            Command::Show(name) => self.show(name, formats),
            command => self.control(command).await.map(|tag| match tag {
                Some(tag) => Outcome::Done { tag: tag.to_owned() },
                None => Outcome::Empty,
            }),
        }
    }

    async fn query(
        &mut self,
        checkout: &Checkout,
        statement: &Statement,
        prepared: &Prepared,
        params: &Params,
    ) -> Result<(SendableRecordBatchStream, Vec<Column>)> {
        let mut planner = self.planner(checkout).await?;
        let values = params.decode(&prepared.parameters, &planner.session.zone_name)?;
        planner.set_parameters(values, &prepared.parameters);
        let statement = named(statement);
        planner.share_snapshots(&statement).await?;
        let plan = planner.plan(statement)?;
        let mut stream = planner.run(plan).await?;
        if self.shares_thread && self.block.is_none() {
            stream = ahead(stream);
        }
        let columns = match &prepared.columns {
            Some(columns) => same_columns(columns, &stream.schema())?,
            None => visible_columns(&stream.schema())?,
        };
        Ok((stream, columns))
    }

    /// Encodes a stream; an error in it fails the block that it runs in.
    pub(super) fn rows(&self, stream: SendableRecordBatchStream, encoder: RowEncoder) -> RowStream {
        let failed = self.block.is_some().then(|| self.failed.clone());
        let encoded = stream.map(move |batch| {
            let rows = batch.map_err(|e| errors::datafusion(&e)).and_then(|batch| encoder.encode(&batch));
            if let (Err(_), Some(failed)) = (&rows, &failed) {
                failed.store(true, Ordering::Relaxed);
            }
            match rows {
                Ok(rows) => futures::stream::iter(rows.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => futures::stream::iter(vec![Err(error)]),
            }
        });
        encoded.flatten().boxed()
    }

    /// INSERT, UPDATE, DELETE: in the block, or in a transaction of their own.
    async fn write(
        &mut self,
        checkout: &Checkout,
        prepared: &Prepared,
        params: &Params,
        formats: &[i16],
    ) -> Result<Outcome> {
        let verb = verb(&prepared.command);
        let implicit = self.block.is_none();
        if implicit {
            self.block = Some(Block::new(self.defaults));
        }
        let written = self.write_in_block(checkout, prepared, params, verb).await;
        let written = match (implicit, self.block.take()) {
            (true, Some(block)) => {
                let commits = written.is_ok();
                let ended = block.finish(commits).await;
                written.and_then(|written| ended.map(|()| written))
            }
            (_, block) => {
                self.block = block;
                written
            }
        }?;
        let tag = if verb == "INSERT" {
            format!("INSERT 0 {}", written.count)
        } else {
            format!("{verb} {}", written.count)
        };
        let Some((schema, batches)) = written.returned else { return Ok(Outcome::Done { tag }) };
        let columns = match &prepared.columns {
            Some(columns) => same_columns(columns, &schema)?,
            None => visible_columns(&schema)?,
        };
        let encoder = RowEncoder::new(&columns, formats, self.settings.zone()?)?;
        let mut rows = Vec::new();
        for batch in &batches {
            rows.extend(encoder.encode(batch)?.into_iter().map(Ok));
        }
        Ok(Outcome::Rows { columns, rows: futures::stream::iter(rows).boxed(), tag: Tag::Whole(tag) })
    }

    async fn write_in_block(
        &mut self,
        checkout: &Checkout,
        prepared: &Prepared,
        params: &Params,
        verb: &str,
    ) -> Result<Written> {
        if self.block.as_ref().is_some_and(|b| b.read_only) {
            let message = format!("cannot execute {verb} in a read-only transaction");
            return Err(Error::new(sqlstate::READ_ONLY_SQL_TRANSACTION, message));
        }
        let mut planner = self.planner(checkout).await?;
        let values = params.decode(&prepared.parameters, &planner.session.zone_name)?;
        planner.set_parameters(values, &prepared.parameters);
        match prepared.command.as_ref() {
            Command::Insert(insert) => {
                let table = InsertPlan::new(&planner, insert)?.table().clone();
                let target = self.target(checkout, &table, &mut planner, verb).await?;
                let insert = InsertPlan::new(&planner, insert)?;
                insert.execute(&mut planner, &target).await
            }
            Command::Update(update) => {
                let plan = ModifyPlan::update(&planner, update)?;
                check_returning(&self.repository, &plan).await?;
                let table = plan.table().clone();
                let target = self.target(checkout, &table, &mut planner, verb).await?;
                ModifyPlan::update(&planner, update)?.execute(&planner, &target).await
            }
            Command::Delete(delete) => {
                let plan = ModifyPlan::delete(&planner, delete)?;
                check_returning(&self.repository, &plan).await?;
                let table = plan.table().clone();
                let target = self.target(checkout, &table, &mut planner, verb).await?;
                ModifyPlan::delete(&planner, delete)?.execute(&planner, &target).await
            }
            _ => Err(Error::internal("not a statement that writes")),
        }
    }

    /// Makes the table writable and opens the transaction; what the planner reads goes through it.
    async fn target(
        &mut self,
        checkout: &Checkout,
        table: &Arc<TableDef>,
        planner: &mut Planner,
        verb: &str,
    ) -> Result<Target> {
        if !checkout.is_branch() {
            let message = format!("cannot execute {verb} on a read-only checkout");
            return Err(Error::new(sqlstate::READ_ONLY_SQL_TRANSACTION, message)
                .with_detail(format!("The session is on \"{}\".", checkout.name))
                .with_hint("Check out a branch: SELECT epoch_checkout('main')."));
        }
        let layer = self.repository.writable(checkout, table).await?;
        let adapter = backend_of(&self.repository, table)?;
        let block = self.block.as_mut().ok_or_else(|| Error::internal("no transaction"))?;
        let transaction = block.writer(adapter.as_ref(), table, layer).await?;
        planner.transactions = block.open();
        Ok(Target { table: table.clone(), layer, transaction })
    }

    fn show(&self, name: &str, formats: &[i16]) -> Result<Outcome> {
        let (columns, rows): (Vec<&str>, Vec<Vec<String>>) = match name {
            "all" => {
                let rows =
                    self.settings.all().into_iter().map(|(name, value)| vec![name, value, String::new()]);
                (vec!["name", "setting", "description"], rows.collect())
            }
            name => (vec![settings::as_shown(name)], vec![vec![self.shown(name)?]]),
        };
        let fields =
            columns.iter().map(|c| arrow::datatypes::Field::new(*c, arrow::datatypes::DataType::Utf8, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let values: Vec<epoch_adapter::Row> =
            rows.into_iter().map(|row| row.into_iter().map(epoch_adapter::Value::Text).collect()).collect();
        let batch = super::convert::batch_of(&values, &schema)?;
        let columns = columns_of(&schema)?;
        let encoder = RowEncoder::new(&columns, formats, self.settings.zone()?)?;
        let rows = encoder.encode(&batch)?.into_iter().map(Ok).collect::<Vec<_>>();
        Ok(Outcome::Rows {
            columns,
            rows: futures::stream::iter(rows).boxed(),
            tag: Tag::Whole("SHOW".to_owned()),
        })
    }

    fn shown(&self, name: &str) -> Result<String> {
        let block = self.block.as_ref();
        Ok(match name {
            "session_authorization" => self.user.clone(),
            "transaction_read_only" if block.is_some_and(|b| b.read_only) => "on".to_owned(),
            "transaction_isolation" if block.is_some_and(|b| b.snapshot) => "repeatable read".to_owned(),
            name => self.settings.show(name)?,
        })
    }

    /// Commands about the session; the tag, `None` for the empty statement.
    async fn control(&mut self, command: &Command) -> Result<Option<&'static str>> {
        Ok(Some(match command {
            Command::Begin(modes) => {
                self.begin(*modes);
                "BEGIN"
            }
            Command::Commit(chain) => self.commit(*chain).await?,
            Command::Rollback(chain) => {
                self.warn_without_block();
                self.end(false, *chain).await?;
                "ROLLBACK"
            }
            Command::Savepoint(name) => {
                let settings = self.settings.clone();
                self.open_block("SAVEPOINT")?.savepoint(name, &settings).await?;
                "SAVEPOINT"
            }
            Command::Release(name) => {
                self.open_block("RELEASE SAVEPOINT")?.release(name).await?;
                "RELEASE"
            }
            Command::RollbackTo(name) => {
                self.settings = self.open_block("ROLLBACK TO SAVEPOINT")?.rollback_to(name).await?;
                self.failed.store(false, Ordering::Relaxed);
                "ROLLBACK"
            }
            Command::Set { name, value, local } => {
                if *local && (self.block.is_none() || self.implicit) {
                    self.warn("25P01", "SET LOCAL can only be used in transaction blocks");
                }
                self.set(name, value.as_deref(), *local)?;
                "SET"
            }
            Command::SetTransaction { modes, session } => {
                self.set_modes(*modes, *session)?;
                "SET"
            }
            Command::Reset(name) => {
                self.settings.reset(name)?;
                "RESET"
            }
            Command::Discard(what) => self.discard(what)?,
            Command::Deallocate(None) => "DEALLOCATE ALL",
            Command::Deallocate(Some(_)) => "DEALLOCATE",
            Command::Unlisten => "UNLISTEN",
            _ => return Ok(None),
        }))
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        if let ("transaction_read_only", Some(value), Some(block)) = (name, value, &mut self.block) {
            block.read_only = matches!(value, "on" | "true" | "1" | "yes");
        }
        if name == "default_transaction_read_only" {
            self.defaults.read_only = value.map(|v| matches!(v, "on" | "true" | "1" | "yes"));
        }
        if name == "default_transaction_isolation" {
            self.defaults.snapshot = value.map(|v| matches!(v, "repeatable read" | "serializable"));
        }
        self.settings.set(name, value, local)
    }

    fn set_modes(&mut self, modes: Modes, session: bool) -> Result<()> {
        if session {
            self.defaults.read_only = modes.read_only.or(self.defaults.read_only);
            self.defaults.snapshot = modes.snapshot.or(self.defaults.snapshot);
            return Ok(());
        }
        let Some(block) = &mut self.block else {
            self.warn("25P01", "SET TRANSACTION can only be used in transaction blocks");
            return Ok(());
        };
        if modes.snapshot.is_some_and(|s| s != block.snapshot) && block.used() {
            let message = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            return Err(Error::new(sqlstate::ACTIVE_SQL_TRANSACTION, message));
        }
        block.snapshot = modes.snapshot.unwrap_or(block.snapshot);
        block.read_only = modes.read_only.unwrap_or(block.read_only);
        Ok(())
    }

    /// Whether the open block has written something.
    pub fn has_written(&self) -> bool {
        self.block.as_ref().is_some_and(Block::has_written)
    }

    fn warn(&mut self, code: &'static str, message: &str) {
        self.notices.push(Error::new(code, message));
    }

    fn begin(&mut self, modes: Modes) {
        if self.implicit
            && let Some(block) = &mut self.block
        {
            self.implicit = false;
            block.read_only = modes.read_only.unwrap_or(block.read_only);
            block.snapshot = modes.snapshot.unwrap_or(block.snapshot);
            return;
        }
        if self.block.is_some() {
            self.warn(sqlstate::ACTIVE_SQL_TRANSACTION, "there is already a transaction in progress");
            return;
        }
        let modes = Modes {
            read_only: modes.read_only.or(self.defaults.read_only),
            snapshot: modes.snapshot.or(self.defaults.snapshot),
        };
        self.block = Some(Block::new(modes));
        self.failed = Arc::default();
        self.settings.begin();
    }

    fn open_block(&mut self, what: &str) -> Result<&mut Block> {
        self.block
            .as_mut()
            .filter(|_| !self.implicit)
            .ok_or_else(|| Error::new("25P01", format!("{what} can only be used in transaction blocks")))
    }

    /// COMMIT of a failed block is a rollback, and says so.
    async fn commit(&mut self, chain: bool) -> Result<&'static str> {
        let commits = !self.has_failed();
        self.warn_without_block();
        self.end(commits, chain).await?;
        Ok(if commits { "COMMIT" } else { "ROLLBACK" })
    }

    fn warn_without_block(&mut self) {
        if self.implicit {
            self.warn("25P01", "there is no transaction in progress");
        }
    }

    async fn end(&mut self, commit: bool, chain: bool) -> Result<()> {
        self.cursors.clear();
        self.failed = Arc::default();
        self.implicit = false;
        let Some(block) = self.block.take() else {
            self.warn("25P01", "there is no transaction in progress");
            return Ok(());
        };
        let modes = Modes { read_only: Some(block.read_only), snapshot: Some(block.snapshot) };
        let ended = block.finish(commit).await;
        self.settings.end(commit && ended.is_ok());
        if chain {
            self.begin(modes);
        }
        ended
    }

    fn discard(&mut self, what: &str) -> Result<&'static str> {
        match what {
            // Plans are made anew for each statement, and there are neither sequences nor temporary tables.
            "plans" => return Ok("DISCARD PLANS"),
            "sequences" => return Ok("DISCARD SEQUENCES"),
            "temp" | "temporary" => return Ok("DISCARD TEMP"),
            _ => {}
        }
        if self.block.is_some() {
            let message = "DISCARD ALL cannot run inside a transaction block";
            return Err(Error::new(sqlstate::ACTIVE_SQL_TRANSACTION, message));
        }
        self.settings.reset("all")?;
        self.defaults = Modes::default();
        self.cursors.clear();
        Ok("DISCARD ALL")
    }

    pub(super) fn zone(&self) -> Result<arrow::array::timezone::Tz> {
        self.settings.zone()
    }

    /// Rolls back what is open; for the end of a connection.
    pub async fn abandon(&mut self) {
        self.cursors.clear();
        if let Some(block) = self.block.take() {
            let _ = block.finish(false).await;
        }
    }
}

/// The statement with its result columns named as PostgreSQL names them.
fn named(statement: &Statement) -> Statement {
    let mut statement = statement.clone();
    names::apply(&mut statement);
    statement
}

fn verb(command: &Command) -> &'static str {
    match command {
        Command::Insert(_) => "INSERT",
        Command::Update(_) => "UPDATE",
        _ => "DELETE",
    }
}

/// The columns of a result as clients see them.
fn visible_columns(schema: &Schema) -> Result<Vec<Column>> {
    let visible = |c: Column| Column { name: names::visible(&c.name).to_owned(), ..c };
    Ok(columns_of(schema)?.into_iter().map(visible).collect())
}

/// The client was told the columns at Describe; if they aren't the same now, it must prepare again.
fn same_columns(described: &[Column], schema: &Schema) -> Result<Vec<Column>> {
    let now = columns_of(schema)?;
    let same = described.len() == now.len()
        && described.iter().zip(&now).all(|(d, n)| types::carries(&n.pg_type, &d.pg_type));
    if same {
        return Ok(described.to_vec());
    }
    Err(Error::new(sqlstate::FEATURE_NOT_SUPPORTED, "cached plan must not change result type"))
}

/// 0A000 for RETURNING of rows that the backend's triggers may make others of, or leave as they are.
async fn check_returning(repository: &Repository, plan: &ModifyPlan) -> Result<()> {
    let table = plan.table();
    if !plan.is_returning() || backend_of(repository, table)?.user_triggers(table).await?.is_empty() {
        return Ok(());
    }
    let what = format!("RETURNING over several backends from table \"{}\", which has triggers,", table.name);
    Err(Error::unsupported(what).with_hint("Read the rows after the statement."))
}
