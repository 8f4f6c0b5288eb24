//! Where a native session meets the planner: routes for statements, and running those that are ours.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use epoch_adapter::{Error, Result, sqlstate};
use futures::FutureExt;

use super::block::InBlock;
use super::explain::Explainer;
use super::local::{Done, Field, LocalStatement, Portal, uncancelled};
use super::login::Start;
use super::native::Native;
use super::pipe::{Pipe, Restore};
use super::registry::Live;
use super::seat::{Effect, Seat};
use super::server::Shared;
use super::statement::Stamp;
use super::type_names::TypeNames;
use crate::federation;
use crate::functions;
use crate::operations::{Block, Checkout, Target, Watch};
use crate::query::{self, Catalog, Context, Gate, GateState, NameCache, Plan, Rewritten, Setting};
use crate::wire::decode::Fields;
use crate::wire::encode::Status;

/// Seconds that a branch's plan of a prepared statement holds.
const HOLDS: u64 = 30;

/// How a statement is run.
#[derive(Clone, Default)]
pub enum Route {
    /// By the backend, as it is.
    #[default]
    Relay,
    /// By the backend, in other words.
    Rewritten(Arc<Rewritten>),
    /// By us.
    Local(Arc<LocalStatement>),
}

impl Route {
    /// Whether the backend gets the client's bytes.
    pub fn is_relay(&self) -> bool {
        matches!(self, Self::Relay)
    }
}

/// One statement of a string.
pub struct Step {
    /// How it is run.
    pub route: Route,
    /// Where it is in the string, in bytes.
    pub range: Range<usize>,
}

/// The statements of a string, and where the part starts that is to be planned after they ran.
pub struct Planned {
    /// In order.
    pub steps: Vec<Step>,
    /// The rest.
    pub rest: Option<usize>,
}

/// The planner's state in one session.
pub struct Planner {
    /// What the session is on.
    pub seat: Seat,
    backend: String,
    names: NameCache,
    gate: GateState,
    gate_stamp: Option<(u64, bool, bool)>,
    engine: federation::Session,
    started: Instant,
    errors: Restore,
    pub(super) type_names: TypeNames,
    tuned: Vec<(&'static str, &'static str)>,
    touched: Vec<&'static str>,
    /// What the open transaction did to which tables there are.
    pub(super) block: Option<Block>,
}

/// The session's connection, as the planner asks it.
pub(super) struct Upstream<'a> {
    pub pipe: &'a mut Pipe,
    /// The connection broke.
    pub fatal: Option<Error>,
}

#[async_trait]
impl Catalog for Upstream<'_> {
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        match self.pipe.ask(sql).await {
            Ok(answer) => answer,
            Err(error) => {
                self.fatal = Some(error.clone());
                Err(error)
            }
        }
    }

    fn in_transaction(&self) -> bool {
        self.pipe.status != Status::Idle || self.pipe.batch
    }

    fn in_batch(&self) -> bool {
        self.pipe.batch
    }
}

impl Planner {
    /// A session at the ref of its connection.
    pub(super) fn new(shared: Arc<Shared>, live: Arc<Live>, backend: &str, start: &Start) -> Result<Self> {
        let engine =
            federation::Session::new(start.repository.clone(), &start.user, &start.database).sharing_thread();
        let type_names = TypeNames::default();
        let known = type_names.clone();
        let mut planner = Self {
            seat: Seat::new(shared, live, start)?,
            backend: backend.to_owned(),
            names: NameCache::default(),
            gate: GateState::default(),
            gate_stamp: None,
            engine,
            started: Instant::now(),
            errors: Arc::new(move |fields: &mut Fields| {
                known.restore(fields);
                restore(fields);
            }),
            type_names,
            tuned: Vec::new(),
            touched: Vec::new(),
            block: None,
        };
        planner.follow_settings();
        Ok(planner)
    }

    /// What settings of the session mean for its plans, from now on.
    fn follow_settings(&mut self) {
        self.names.allow_unversioned(self.seat.writes_unversioned());
        self.names.show_databases(self.seat.shows_databases());
        self.engine.show_databases(self.seat.shows_databases());
    }

    /// Whether the backend's own tables are what the session is on.
    pub fn is_relaying(&self) -> bool {
        self.seat.checkout.is_main()
    }

    /// Whether it is of no interest to us what the session does there.
    fn is_trusted(&self) -> bool {
        self.is_relaying() && self.seat.repository.watch(&self.seat.checkout) == Watch::Nothing
    }

    /// Whether what we don't look into (calls by the protocol's own message, statements that we don't know) may
    /// reach the backend: on main, of who may do everything there.
    pub fn passes_calls(&self) -> bool {
        self.is_trusted()
    }

    /// Whether a statement is the backend's alone, without a parse.
    pub fn clears(&mut self, sql: &[u8]) -> bool {
        if !self.is_trusted() {
            return false;
        }
        let (prepared, databases) = (self.names.has_prepared(), self.names.shows_databases());
        let stamp = (self.seat.repository.generation(), prepared, databases);
        if self.gate_stamp != Some(stamp) {
            let tables = self.seat.repository.tables();
            self.gate =
                GateState::new(&tables, &self.backend).with_prepared(prepared).with_databases(databases);
            self.gate_stamp = Some(stamp);
        }
        query::gate(sql, &self.gate) == Gate::Relay
    }

    /// Changes when plans are to be made again.
    pub fn stamp(&self) -> Stamp {
        // What another session changes (a view, a function) is noticed after a while.
        let age = if self.is_trusted() { 0 } else { self.started.elapsed().as_secs() / HOLDS };
        (self.seat.stamp(), self.names.version(), age)
    }

    /// As [`NameCache::is_fragile`] says; on main the server looks names up itself.
    pub fn is_fragile(&self) -> bool {
        !self.is_trusted() && (self.block.is_some() || self.names.is_fragile())
    }

    /// As [`NameCache::version`] says.
    pub fn names_version(&self) -> u64 {
        self.names.version()
    }

    /// The name of the session's backend.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Names may mean something else from now on.
    pub fn forget_names(&mut self) {
        self.names.invalidate();
    }

    /// No transaction is open any more.
    pub fn settle(&mut self) {
        self.names.settle();
    }

    /// For errors of the backend; `None` where they are passed on as they are.
    pub fn restore(&self) -> Option<Restore> {
        (!self.is_relaying()).then(|| self.errors.clone())
    }

    /// For errors of a rewritten statement of `text`.
    pub fn restore_rewritten(&self, rewritten: &Arc<Rewritten>, text: &str) -> Restore {
        let (rewritten, text, errors) = (rewritten.clone(), text.to_owned(), self.restore());
        if let Some(error) = &rewritten.fails {
            let error = error.clone();
            return Arc::new(move |fields: &mut Fields| fields.become_error(&error));
        }
        Arc::new(move |fields: &mut Fields| {
            let position = fields.get(b'P').and_then(|p| p.parse().ok());
            fields.set(b'P', position.map(|p| rewritten.position(&text, p).to_string()));
            if let Some(errors) = &errors {
                errors(fields);
            }
        })
    }

    /// For errors of a statement of ours, whose text the client doesn't know.
    /// `command`: what the client's own statement is called.
    pub fn restore_ours(&self, command: &'static str) -> Restore {
        let errors = self.errors.clone();
        Arc::new(move |fields: &mut Fields| {
            fields.set(b'P', None);
            if fields.code() == "25006"
                && let Some(rest) = fields.get(b'M').and_then(|m| m.strip_prefix("cannot execute INSERT"))
            {
                let message = format!("cannot execute {command}{rest}");
                fields.set(b'M', Some(message));
            }
            errors(fields);
        })
    }

    /// Whether [`Planner::tune`] has something to say.
    pub fn must_tune(&self, wanted: &[(&'static str, &'static str)], unsure: bool) -> bool {
        (self.tuned != wanted || unsure) && !(self.touched.is_empty() && wanted.is_empty())
    }

    /// What the backend must be told before a statement that wants these planner settings; they are
    /// the session's until a statement wants others. `unsure`: an error or ROLLBACK came between.
    pub fn tune(&mut self, wanted: &[(&'static str, &'static str)], unsure: bool) -> Option<String> {
        if !self.must_tune(wanted, unsure) {
            return None;
        }
        for (name, _) in wanted {
            if !self.touched.contains(name) {
                self.touched.push(name);
            }
        }
        let value = |name: &str| wanted.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let one = |name: &&'static str| match value(name) {
            Some(value) => format!("pg_catalog.set_config('{name}','{value}',false)"),
            None => format!("pg_catalog.set_config('{name}',NULL,false)"),
        };
        let all: Vec<_> = self.touched.iter().map(one).collect();
        self.tuned = wanted.to_vec();
        Some(format!("SELECT {}", all.join(",")))
    }

    /// The columns of a statement of ours; `None` if it has no result.
    pub fn columns(
        &self,
        statement: &LocalStatement,
        parameters: &[Option<String>],
    ) -> Result<Option<Vec<Field>>> {
        columns(&self.seat, statement, parameters)
    }
}

/// The columns of a statement of ours; `None` if it has no result.
pub(super) fn columns(
    seat: &Seat,
    statement: &LocalStatement,
    parameters: &[Option<String>],
) -> Result<Option<Vec<Field>>> {
    Ok(match statement {
        LocalStatement::Call(call) if call.command().is_some() => None,
        LocalStatement::Call(call) => Some(seat.columns(call, parameters)?),
        LocalStatement::Setting(Setting::Show(name), _) => {
            Some(vec![Field::new(name, crate::wire::value::Type::Text)])
        }
        LocalStatement::Setting(..) | LocalStatement::Define(..) | LocalStatement::Commit(_) => None,
        LocalStatement::Federated(prepared) => {
            prepared.columns().map(|columns| columns.iter().map(Field::federated).collect())
        }
    })
}

/// Takes our objects out of an error of the backend.
fn restore(fields: &mut Fields) {
    let own = |code| fields.get(code).map(str::to_owned);
    let mut theirs = query::errors::Fields {
        code: fields.code().to_owned(),
        message: own(b'M').unwrap_or_default(),
        detail: own(b'D'),
        schema: own(b's'),
        table: own(b't'),
        constraint: own(b'n'),
    };
    query::errors::restore(&mut theirs);
    if theirs.code == sqlstate::INSUFFICIENT_PRIVILEGE && own(b'M').as_deref() != Some(&theirs.message) {
        // It points to what the client didn't write.
        fields.set(b'P', None);
    }
    fields.set(b'M', Some(theirs.message));
    fields.set(b'D', theirs.detail);
    fields.set(b's', theirs.schema);
    fields.set(b't', theirs.table);
    fields.set(b'n', theirs.constraint);
    // Where in our triggers it arose is nobody's business.
    let context = fields.get(b'W').map(|text| {
        let lines = text.lines().filter(|line| !line.contains("function epoch."));
        lines.collect::<Vec<_>>().join("\n")
    });
    fields.set(b'W', context.filter(|text| !text.is_empty()));
}

impl Native {
    /// The statements of a string; the inner error is the client's. `types` are those of the
    /// parameters, `parameters` their values once they are bound.
    #[tracing::instrument(name = "plan", level = "debug", skip_all, fields(checkout = %self.planner.seat.checkout.name))]
    pub(super) async fn plan(
        &mut self,
        text: &str,
        types: &[u32],
        parameters: Option<&[Option<String>]>,
    ) -> Result<Result<Planned>> {
        self.look_at_block().boxed().await?;
        if let Err(error) = self.check_reading(text).boxed().await? {
            return Ok(Err(error));
        }
        let Native { pipe, planner, .. } = self;
        let Planner { seat, backend, names, engine, block, type_names, .. } = planner;
        let in_use = |_: &str| false;
        let functions = seat.functions(false, None, &in_use);
        let in_block = block.as_ref().map(|block| InBlock { repository: &seat.repository, block });
        let mut ctx = Context {
            repository: match &in_block {
                Some(in_block) => in_block,
                None => &seat.repository,
            },
            checkout: &seat.checkout,
            backend,
            names,
            functions: Some(&functions),
            parameters,
        };
        let mut upstream = Upstream { pipe, fatal: None };
        // Boxed, as the calls below: a session at rest should not hold room for their states.
        let plans = query::plan(&mut ctx, &mut upstream, text).boxed().await;
        if !ctx.checkout.is_main() {
            let tables = ctx.repository.tables(ctx.checkout);
            type_names.set(&tables, ctx.backend, &|schema| ctx.names.finds(schema));
        }
        if let Some(error) = upstream.fatal {
            return Err(error);
        }
        let plans = match plans {
            Ok(plans) => plans,
            Err(error) => return Ok(Err(error)),
        };
        let mut planned = Planned { steps: Vec::new(), rest: None };
        for plan in plans {
            let (route, range) = match plan {
                Plan::Relay { range } => (Route::Relay, range),
                Plan::Rewritten(rewritten) => {
                    let range = rewritten.range.clone();
                    (Route::Rewritten(rewritten), range)
                }
                Plan::Call(call) => {
                    let range = call.range.clone();
                    (Route::Local(Arc::new(LocalStatement::Call(call))), range)
                }
                Plan::Setting { range, setting } => {
                    let sql = text.get(range.clone()).unwrap_or_default().to_owned();
                    (Route::Local(Arc::new(LocalStatement::Setting(setting, sql))), range)
                }
                Plan::Commit { range } => {
                    let sql = text.get(range.clone()).unwrap_or_default().to_owned();
                    (Route::Local(Arc::new(LocalStatement::Commit(sql))), range)
                }
                Plan::Define(definition) => {
                    let range = definition.range.clone();
                    (Route::Local(Arc::new(LocalStatement::Define(definition, text.to_owned()))), range)
                }
                Plan::Federated { range } => {
                    let sql = text.get(range.clone()).unwrap_or_default();
                    match engine.prepare(&seat.checkout, sql, types).boxed().await {
                        Ok(prepared) => (Route::Local(Arc::new(LocalStatement::Federated(prepared))), range),
                        Err(error) => return Ok(Err(error)),
                    }
                }
                Plan::Rest { range } => {
                    planned.rest = Some(range.start);
                    break;
                }
            };
            planned.steps.push(Step { route, range });
        }
        Ok(Ok(planned))
    }

    /// Refuses what the server would read in another way than the planner does, which could hide anything. What sets
    /// this right may pass, in the only form that can be read in one way.
    async fn check_reading(&mut self, text: &str) -> Result<Result<()>> {
        if self.planner.is_trusted() || self.pipe.reading.differs().is_none() {
            return Ok(Ok(()));
        }
        // What a transaction sets, its end may take back.
        self.pipe.drain().await?;
        let Some((name, value)) = self.pipe.reading.differs() else { return Ok(Ok(())) };
        let open = self.pipe.status != Status::Idle || self.pipe.batch;
        if text.is_ascii() && !text.contains('\\') && query::only_sets(text, open) {
            return Ok(Ok(()));
        }
        Ok(Err(Error::unsupported(format!("{name} other than {value} on a branch, or without all rights"))
            .with_hint(format!("SET {name} = '{value}', outside of a transaction."))))
    }

    /// Runs a statement of ours when nothing is owed by the server; the inner error is the client's.
    #[tracing::instrument(name = "local", level = "debug", skip_all)]
    pub(super) async fn run_local(&mut self, portal: &mut Portal) -> Result<Result<Done>> {
        if let (LocalStatement::Commit(text), true) = (&*portal.statement, self.pipe.status == Status::Failed)
        {
            self.planner.block = None;
            return Ok(self.pipe.ask(text).await?.map(|_| Done::command("ROLLBACK")));
        }
        if self.pipe.status == Status::Failed {
            return Ok(Err(Error::new(
                sqlstate::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )));
        }
        match &*portal.statement {
            LocalStatement::Call(call) => {
                let in_block = self.pipe.status != Status::Idle || self.pipe.batch;
                let moves = in_block && functions::moves(&call.name, &call.args(&portal.texts));
                let in_transaction = match self.has_written().await? {
                    Ok(written) => written || moves,
                    Err(error) => return Ok(Err(error)),
                };
                let Planner { seat, backend, names, engine, .. } = &mut self.planner;
                let explainer = Explainer::new(seat, backend, names, engine, &mut self.pipe);
                let result = seat.call(call, &portal.texts, in_transaction, Some(&explainer)).boxed().await;
                if let Some(error) = explainer.fatal() {
                    return Err(error);
                }
                self.take_effect(result).await
            }
            LocalStatement::Setting(setting @ (Setting::DiscardAll | Setting::ResetAll), sql) => {
                self.reset(setting, sql).await
            }
            LocalStatement::Setting(setting, _) => {
                let in_transaction = self.pipe.status != Status::Idle || self.pipe.batch;
                let result = self.planner.seat.set(setting, in_transaction).boxed().await;
                self.planner.follow_settings();
                self.take_effect(result).await
            }
            LocalStatement::Define(definition, text) => self.define(definition, text).await,
            LocalStatement::Commit(text) => self.commit_block(text).boxed().await,
            LocalStatement::Federated(prepared) => {
                if self.pipe.status != Status::Idle && prepared.columns().is_none() {
                    return Ok(Err(Error::unsupported(
                        "a write to a table of another backend in a transaction of the PostgreSQL backend",
                    )));
                }
                let Planner { seat, engine, .. } = &mut self.planner;
                let run = engine.execute(&seat.checkout, prepared, &portal.params, &portal.formats).boxed();
                let outcome = uncancelled(&seat.live, run).await.and_then(|outcome| outcome);
                Ok(outcome.map(|outcome| {
                    let mut done = Done::federated(outcome);
                    done.notices = engine.take_notices();
                    done
                }))
            }
        }
    }

    /// Whether the open transaction has written something, so that what we do at once would neither
    /// see nor follow it.
    async fn has_written(&mut self) -> Result<Result<bool>> {
        if self.pipe.status == Status::Idle && !self.pipe.batch {
            return Ok(Ok(false));
        }
        let rows = self.pipe.ask("SELECT pg_catalog.pg_current_xact_id_if_assigned()").await?;
        Ok(rows.map(|rows| rows.first().and_then(|row| row.first()).is_some_and(Option::is_some)))
    }

    async fn take_effect(&mut self, result: Result<(Done, Effect)>) -> Result<Result<Done>> {
        match result {
            Err(error) => Ok(Err(error)),
            Ok((done, Effect::None)) => Ok(Ok(done)),
            Ok((done, Effect::Switch(checkout))) => Ok(self.switch(checkout).await?.map(|()| done)),
        }
    }

    /// Puts the session on another ref; the backend learns the lineage that new rows get.
    async fn switch(&mut self, checkout: Checkout) -> Result<Result<()>> {
        if self.pipe.status != Status::Idle || self.pipe.batch {
            return Ok(Err(Error::new(
                sqlstate::ACTIVE_SQL_TRANSACTION,
                "the branch of a session cannot be changed inside a transaction block",
            )
            .with_hint("COMMIT or ROLLBACK first.")));
        }
        let mut sql =
            format!("SET epoch.lineage = '{}'; SET epoch.base = '{}'", lineage(&checkout), base(&checkout));
        // Quotes must mean what the lexer takes them for. A probe per row makes plans look so costly that
        // compiling them would be tried for each: half a second for nothing.
        sql += if checkout.is_main() {
            "; RESET jit"
        } else {
            "; SET standard_conforming_strings = on; SET jit = off"
        };
        self.close_prepared();
        if let Some(tune) = self.planner.tune(&[], true) {
            sql = format!("{sql}; {tune}");
        }
        if let Err(error) = self.pipe.ask(&sql).await? {
            return Ok(Err(error));
        }
        self.planner.seat.switch(checkout);
        self.planner.names.invalidate();
        Ok(Ok(()))
    }

    /// DISCARD ALL and RESET ALL: the backend's and ours. The lineage of the connection was among
    /// its options, so the backend goes back to it by itself.
    async fn reset(&mut self, setting: &Setting, sql: &str) -> Result<Result<Done>> {
        let open = self.pipe.status != Status::Idle || self.pipe.batch;
        if open && self.planner.seat.checkout.name != self.planner.seat.initial.name {
            // A ROLLBACK would bring back the lineage alone.
            return Ok(Err(Error::new(
                sqlstate::ACTIVE_SQL_TRANSACTION,
                "the branch of a session cannot be changed inside a transaction block",
            )
            .with_hint("RESET ALL goes back to the branch of the connection: COMMIT or ROLLBACK first.")));
        }
        if let Err(error) = self.pipe.ask(sql).await? {
            return Ok(Err(error));
        }
        let discards = *setting == Setting::DiscardAll;
        if discards {
            self.prepared.forget();
            self.statements.clear();
            self.portals.clear();
        }
        self.planner.tuned.clear();
        self.planner.touched.clear();
        self.planner.names.invalidate();
        self.planner.seat.reset();
        self.planner.follow_settings();
        Ok(Ok(Done::command(if discards { "DISCARD ALL" } else { "RESET" })))
    }
}

/// What `epoch.lineage` is on a ref: nothing on main. On a commit, which no row belongs to, it is 0,
/// so that the base is guarded there too.
pub(super) fn lineage(checkout: &Checkout) -> String {
    match checkout.target {
        Target::Branch { layer } if layer.is_main() => String::new(),
        Target::Branch { layer } => layer.lineage.0.to_string(),
        Target::Commit { .. } => "0".to_owned(),
    }
}

/// What `epoch.base` is on a ref: where main is below the branch, if it is one.
pub(super) fn base(checkout: &Checkout) -> String {
    match checkout.target {
        Target::Branch { layer } if !layer.is_main() => layer.base.to_string(),
        _ => String::new(),
    }
}
