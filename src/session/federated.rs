//! A session without a PostgreSQL default backend: every statement is ours or the federated route's.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{Error, Result, sqlstate};
use futures::FutureExt;
use tokio::sync::Mutex;

use super::local::{self, Done, LocalStatement, Portal, uncancelled};
use super::native::violation;
use super::pipe::{Shutdown, shutting_down};
use super::plan::columns;
use super::seat::{Effect, Seat};
use crate::federation::{self, Params};
use crate::functions::{self, Explain, ExplainPart};
use crate::operations::Checkout;
use crate::query::{self, Plan, Setting};
use crate::wire::encode::{self, Severity, Status};
use crate::wire::frame::{self, Header};
use crate::wire::startup::lost;
use crate::wire::{Channel, decode};

/// Settings that clients are told about, at the start and whenever they change.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// The state machine of one client connection.
pub struct Federated {
    client: Channel,
    seat: Seat,
    engine: federation::Session,
    statements: HashMap<Vec<u8>, (Arc<LocalStatement>, Vec<u32>)>,
    portals: HashMap<Vec<u8>, Portal>,
    /// An error of the current batch was sent: messages are dropped up to Sync.
    skipping: bool,
    reported: HashMap<&'static str, String>,
    /// Bytes of a dropped frame that are still to come.
    rest: usize,
}

impl Federated {
    /// A session for a client that was not greeted yet.
    pub fn new(client: Channel, seat: Seat, mut engine: federation::Session) -> Self {
        engine.show_databases(seat.shows_databases());
        Self {
            client,
            seat,
            engine,
            statements: HashMap::new(),
            portals: HashMap::new(),
            skipping: false,
            reported: HashMap::new(),
            rest: 0,
        }
    }

    /// Serves the client until it leaves. An error was already reported to it as FATAL.
    pub async fn run(&mut self, stop: Shutdown) -> Result<()> {
        self.report_settings();
        let live = self.seat.live.clone();
        encode::backend_key_data(self.client.output.tail(), live.pid, &live.secret);
        encode::ready_for_query(self.client.output.tail(), Status::Idle);
        let result = self.serve(stop).await;
        self.engine.abandon().await;
        if let Err(error) = &result {
            encode::error(self.client.output.tail(), Severity::Fatal, error);
        }
        // The client may be gone.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.client.close()).await;
        result
    }

    async fn serve(&mut self, mut stop: Shutdown) -> Result<()> {
        let mut stopping = false;
        loop {
            if let Some(header) = self.next()? {
                if header.tag == b'X' {
                    return Ok(());
                }
                self.message(header).await?;
                continue;
            }
            if stopping && self.status() == Status::Idle {
                return Err(shutting_down());
            }
            self.client.flush().await.map_err(lost)?;
            if self.client.input.is_empty() {
                self.client.shrink();
            }
            let whole = frame::from_client(&self.client.input)?.map_or(0, |header| header.size);
            tokio::select! {
                read = self.client.fill(whole) => {
                    if read.map_err(lost)? == 0 {
                        return Ok(());
                    }
                }
                () = &mut stop, if !stopping => stopping = true,
            }
        }
    }

    /// The next whole frame.
    fn next(&mut self) -> Result<Option<Header>> {
        if self.rest > 0 {
            let n = self.rest.min(self.client.input.len());
            self.client.input.consume(n);
            self.rest -= n;
            if self.rest > 0 {
                return Ok(None);
            }
        }
        let header = frame::from_client(&self.client.input)?;
        // Data of a COPY that we refused needs no room.
        let dropped = |h: &Header| matches!(h.tag, b'd') || (self.skipping && !matches!(h.tag, b'S' | b'X'));
        Ok(header.filter(|h| dropped(h) || self.client.input.len() >= h.size))
    }

    fn status(&self) -> Status {
        Status::from_byte(self.engine.transaction_status()).unwrap_or(Status::Idle)
    }

    async fn message(&mut self, header: Header) -> Result<()> {
        let whole = header.size.min(self.client.input.len());
        if (self.skipping && header.tag != b'S') || matches!(header.tag, b'd' | b'c' | b'f' | b'H') {
            self.client.input.consume(whole);
            self.rest = header.size - whole;
            return Ok(());
        }
        let frame = self.client.input.get(..whole).unwrap_or_default().to_vec();
        self.client.input.consume(whole);
        let result = match header.tag {
            b'Q' => return self.query(decode::query(&frame)?).await,
            b'S' => {
                self.skipping = false;
                if self.status() == Status::Idle {
                    self.portals.clear();
                }
                self.commit_transaction().await;
                let status = self.status();
                encode::ready_for_query(self.client.output.tail(), status);
                return Ok(());
            }
            b'P' => self.parse(decode::Parse::new(&frame)?).await,
            b'B' => self.bind(&decode::Bind::new(&frame)?),
            b'D' => self.describe(decode::named(&frame)?),
            b'E' => self.execute(decode::execute(&frame)?).await?,
            b'C' => {
                self.close(decode::named(&frame)?);
                Ok(())
            }
            b'F' => {
                self.report(&Error::unsupported("a function-call message").with_hint("Use SELECT."));
                let status = self.status();
                encode::ready_for_query(self.client.output.tail(), status);
                return Ok(());
            }
            other => return Err(violation(format!("unexpected message type 0x{other:02X}"))),
        };
        if let Err(error) = result {
            self.report(&error);
            self.skipping = true;
        }
        Ok(())
    }

    /// Sends an error, with what it does to an open transaction.
    fn report(&mut self, error: &Error) {
        self.engine.fail();
        encode::error(self.client.output.tail(), Severity::Error, error);
    }

    async fn query(&mut self, sql: &[u8]) -> Result<()> {
        self.portals.remove(&b""[..]);
        match self.statements_of(sql).await? {
            Ok(()) => {}
            Err(error) => {
                let _ = self.engine.end_implicit(false).await;
                self.report(&error);
            }
        }
        self.commit_transaction().await;
        let status = self.status();
        encode::ready_for_query(self.client.output.tail(), status);
        Ok(())
    }

    /// Where a transaction ended, `epoch.auto_commit` has its turn.
    async fn commit_transaction(&mut self) {
        if self.status() != Status::Idle || !self.seat.commits_by_itself() {
            return;
        }
        if let Some(warning) = self.seat.commit_transaction().boxed().await {
            encode::error(self.client.output.tail(), Severity::Warning, &warning);
        }
    }

    /// The outer error ends the connection, the inner one is the statement's.
    async fn statements_of(&mut self, sql: &[u8]) -> Result<Result<()>> {
        let sql = &*query::as_of(sql);
        let plans = match decode::utf8(sql).and_then(|sql| Ok((sql, query::plan_without_backend(sql)?))) {
            Ok((sql, plans)) => plans.into_iter().map(|plan| (sql, plan)).collect::<Vec<_>>(),
            Err(error) => return Ok(Err(error)),
        };
        if plans.is_empty() {
            encode::empty(self.client.output.tail(), b'I');
        }
        let several = plans.len() > 1;
        for (sql, plan) in plans {
            if let Err(error) = self.one_transaction(several, &plan).await {
                return Ok(Err(error));
            }
            let statement = match self.statement(sql, plan, &[]).await {
                Ok(statement) => statement,
                Err(error) => return Ok(Err(error)),
            };
            let (params, texts, formats) = (Params::default(), Vec::new(), Vec::new());
            let mut portal = Portal { statement, params, texts, formats, done: None };
            let mut done = match self.run_statement(&mut portal).await {
                Ok(done) => done,
                Err(error) => return Ok(Err(error)),
            };
            if done.columns.is_some() {
                local::describe(self.client.output.tail(), done.columns.as_deref(), &[]);
            }
            if let Err(error) = done.send(&mut self.client, &self.seat.live, &[], 0).await? {
                return Ok(Err(error));
            }
            self.report_settings();
        }
        Ok(self.engine.end_implicit(true).await)
    }

    /// The statements of one string are one transaction, as PostgreSQL's are. Version control isn't a
    /// part of a client's transaction: what was done before it is committed.
    async fn one_transaction(&mut self, several: bool, plan: &Plan) -> Result<()> {
        match plan {
            Plan::Setting { setting: Setting::DiscardAll, .. } if several => {
                let message = "DISCARD ALL cannot run inside a transaction block";
                Err(Error::new(sqlstate::ACTIVE_SQL_TRANSACTION, message))
            }
            Plan::Call(_) | Plan::Setting { .. } => self.engine.end_implicit(true).await,
            _ if several => {
                self.engine.begin_implicit();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A planned statement, ready to be bound.
    async fn statement(&mut self, sql: &str, plan: Plan, types: &[u32]) -> Result<Arc<LocalStatement>> {
        let text = |range: std::ops::Range<usize>| sql.get(range).unwrap_or_default();
        Ok(Arc::new(match plan {
            Plan::Call(call) => LocalStatement::Call(call),
            Plan::Setting { range, setting } => LocalStatement::Setting(setting, text(range).to_owned()),
            Plan::Rewritten(_) | Plan::Define(_) | Plan::Commit { .. } => {
                return Err(Error::internal("a statement for PostgreSQL without such a backend"));
            }
            Plan::Relay { range } | Plan::Federated { range } | Plan::Rest { range } => {
                let prepare = self.engine.prepare(&self.seat.checkout, text(range), types).boxed();
                LocalStatement::Federated(prepare.await?)
            }
        }))
    }

    async fn run_statement(&mut self, portal: &mut Portal) -> Result<Done> {
        if self.status() == Status::Failed && !matches!(&*portal.statement, LocalStatement::Federated(_)) {
            return Err(Error::new(
                sqlstate::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        let in_transaction = self.status() != Status::Idle;
        let has_written = self.engine.has_written();
        let Self { seat, engine, statements, portals, .. } = self;
        let (done, effect) = match &*portal.statement {
            LocalStatement::Call(call) => {
                let explainer = Explainer { seat, engine: Mutex::new(engine) };
                let moves = functions::moves(&call.name, &call.args(&portal.texts));
                let in_the_way = in_transaction && (has_written || moves);
                seat.call(call, &portal.texts, in_the_way, Some(&explainer)).boxed().await?
            }
            LocalStatement::Setting(setting @ (Setting::DiscardAll | Setting::ResetAll), sql) => {
                let outcome = engine.simple(&seat.checkout, sql).boxed().await?;
                let initial = seat.initial.clone();
                if *setting == Setting::DiscardAll {
                    statements.clear();
                    portals.clear();
                }
                seat.reset();
                engine.show_databases(seat.shows_databases());
                (Done::federated(outcome), Effect::Switch(initial))
            }
            LocalStatement::Setting(setting, _) => {
                let done = seat.set(setting, in_transaction).boxed().await?;
                engine.show_databases(seat.shows_databases());
                done
            }
            LocalStatement::Commit(_) => return Err(Error::unsupported("COMMIT")),
            LocalStatement::Define(definition, _) => return Err(Error::unsupported(definition.tag)),
            LocalStatement::Federated(prepared) => {
                if let Some(name) = prepared.deallocates() {
                    forget(statements, name)?;
                }
                let run = engine.execute(&seat.checkout, prepared, &portal.params, &portal.formats).boxed();
                let mut done = Done::federated(uncancelled(&seat.live, run).await??);
                done.notices = engine.take_notices();
                (done, Effect::None)
            }
        };
        if let Effect::Switch(checkout) = effect {
            if in_transaction {
                return Err(Error::new(
                    sqlstate::ACTIVE_SQL_TRANSACTION,
                    "the branch of a session cannot be changed inside a transaction block",
                ));
            }
            seat.switch(checkout);
        }
        Ok(done)
    }

    async fn parse(&mut self, parse: decode::Parse<'_>) -> Result<()> {
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            let text =
                format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(parse.name));
            return Err(Error::new("42P05", text));
        }
        let sql = query::as_of(parse.sql);
        let sql = decode::utf8(&sql)?;
        let types: Vec<u32> = parse.types().collect();
        let mut plans = query::plan_without_backend(sql)?;
        if plans.len() > 1 {
            let text = "cannot insert multiple commands into a prepared statement";
            return Err(Error::new(sqlstate::SYNTAX_ERROR, text));
        }
        let plan = plans.pop().unwrap_or(Plan::Federated { range: 0..0 });
        let statement = self.statement(sql, plan, &types).await?;
        self.statements.insert(parse.name.to_vec(), (statement, types));
        encode::empty(self.client.output.tail(), b'1');
        Ok(())
    }

    fn bind(&mut self, bind: &decode::Bind<'_>) -> Result<()> {
        let (statement, types) = self.find(bind.statement)?;
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            let text = format!("cursor \"{}\" already exists", String::from_utf8_lossy(bind.portal));
            return Err(Error::new("42P03", text));
        }
        let portal = Portal::new(statement.clone(), types, bind)?;
        self.portals.insert(bind.portal.to_vec(), portal);
        encode::empty(self.client.output.tail(), b'2');
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<&(Arc<LocalStatement>, Vec<u32>)> {
        self.statements.get(name).ok_or_else(|| unknown_statement(name))
    }

    fn describe(&mut self, (kind, name): (u8, &[u8])) -> Result<()> {
        if kind == b'S' {
            let (statement, types) = self.find(name)?;
            let columns = columns(&self.seat, statement, &[])?;
            let types = statement.parameters(types);
            let out = self.client.output.tail();
            encode::parameter_description(out, &types);
            local::describe(out, columns.as_deref(), &[]);
            return Ok(());
        }
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        let columns = columns(&self.seat, &portal.statement, &portal.texts)?;
        local::describe(self.client.output.tail(), columns.as_deref(), &portal.formats);
        Ok(())
    }

    async fn execute(&mut self, (name, most): (&[u8], usize)) -> Result<Result<()>> {
        let Some(mut portal) = self.portals.remove(name) else { return Ok(Err(no_portal(name))) };
        let mut done = match portal.done.take() {
            Some(done) => done,
            None => match self.run_statement(&mut portal).await {
                Ok(done) => done,
                Err(error) => return Ok(Err(error)),
            },
        };
        if let Err(error) = done.send(&mut self.client, &self.seat.live, &portal.formats, most).await? {
            return Ok(Err(error));
        }
        portal.done = Some(done);
        self.portals.insert(name.to_vec(), portal);
        self.report_settings();
        Ok(Ok(()))
    }

    fn close(&mut self, (kind, name): (u8, &[u8])) {
        if kind == b'S' {
            self.statements.remove(name);
        } else {
            self.portals.remove(name);
        }
        encode::empty(self.client.output.tail(), b'3');
    }

    /// ParameterStatus of what changed.
    fn report_settings(&mut self) {
        for name in REPORTED {
            let Some(value) = self.engine.setting(name) else { continue };
            if self.reported.get(name).is_none_or(|known| known != value) {
                encode::parameter_status(self.client.output.tail(), name, value);
                self.reported.insert(name, value.to_owned());
            }
        }
    }
}

/// `DEALLOCATE`
fn forget(
    statements: &mut HashMap<Vec<u8>, (Arc<LocalStatement>, Vec<u32>)>,
    name: Option<&str>,
) -> Result<()> {
    let Some(name) = name else {
        statements.clear();
        return Ok(());
    };
    match statements.remove(name.as_bytes()) {
        Some(_) => Ok(()),
        None => Err(unknown_statement(name.as_bytes())),
    }
}

fn unknown_statement(name: &[u8]) -> Error {
    let text = match name {
        b"" => "unnamed prepared statement does not exist".to_owned(),
        _ => format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name)),
    };
    Error::new(sqlstate::INVALID_SQL_STATEMENT_NAME, text)
}

fn no_portal(name: &[u8]) -> Error {
    let text = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
    Error::new(sqlstate::INVALID_CURSOR_NAME, text)
}

/// `epoch_explain` without a PostgreSQL backend.
struct Explainer<'a> {
    seat: &'a Seat,
    engine: Mutex<&'a mut federation::Session>,
}

#[async_trait]
impl Explain for Explainer<'_> {
    async fn explain(&self, sql: &str) -> Result<Vec<ExplainPart>> {
        let mut engine = self.engine.lock().await;
        let mut all = Vec::new();
        for plan in query::plan_without_backend(sql)? {
            let (route, range) = match plan {
                Plan::Call(call) => ("version control", call.range),
                Plan::Setting { range, .. } => ("session", range),
                Plan::Rewritten(rewritten) => ("native", rewritten.range.clone()),
                Plan::Define(definition) => ("native", definition.range.clone()),
                Plan::Commit { range } => ("session", range),
                Plan::Relay { range } | Plan::Federated { range } | Plan::Rest { range } => {
                    ("federated", range)
                }
            };
            let text = sql.get(range).unwrap_or_default();
            if route != "federated" {
                all.push(ExplainPart { route: route.to_owned(), backend: None, sql: text.to_owned() });
                continue;
            }
            let parts = engine.explain(&self.seat.checkout, text).boxed().await?;
            let part =
                |p: federation::Part| ExplainPart { route: route.to_owned(), backend: p.backend, sql: p.sql };
            all.extend(parts.into_iter().map(part));
        }
        Ok(all)
    }

    async fn holds(&self, checkout: &Checkout, sql: &str) -> Result<bool> {
        federation::holds(&self.seat.repository, checkout, sql).await
    }
}
