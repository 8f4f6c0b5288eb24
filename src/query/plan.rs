//! What becomes of each statement of a text.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{Layer, TableDef, TableId, TableName, View};

use super::define::{self, Definition};
use super::lexer;
use super::lift::Lifted;
use super::names::{Catalog, Meaning, NameCache};
use super::origin::Origins;
use super::parse::{
    self, Argument, Constant, Define, Ending, How, Isolation, Kind, Parsed, Setting, Statement, Wrap,
};
use super::text::Kept;
use super::write::{self, view::Unfolded};
use super::{cache, check, execute, inlining, psql, rewrite, rights, snapshot, types};
use crate::functions::{Arg, Args};
use crate::operations::{Checkout, Repository, Right, Scope, Tables, Watch};
use crate::{Error, Result, functions};

/// What planning asks of a repository.
#[async_trait]
pub trait State: Send + Sync {
    /// As [`Repository::name`].
    fn name(&self) -> &str;
    /// As [`Repository::generation`].
    fn generation(&self) -> u64;
    /// As [`Repository::tables_on`].
    fn tables(&self, checkout: &Checkout) -> Arc<Tables>;
    /// As [`Repository::every_table`].
    fn every_table(&self) -> Vec<Arc<TableDef>>;
    /// As [`Repository::find_table`].
    fn find_table(&self, checkout: &Checkout, name: &str) -> Option<Arc<TableDef>>;
    /// The version of a table that a checkout shows, under whatever name.
    fn version_on(&self, checkout: &Checkout, table: &TableDef) -> Option<Arc<TableDef>>;
    /// As [`Repository::refresh`].
    async fn refresh(&self) -> Result<()>;
    /// As [`Repository::view`].
    fn view(&self, checkout: &Checkout, table: &TableDef) -> Result<View>;
    /// As [`Repository::is_copy`].
    fn is_copy(&self, view: &View, table: &TableDef) -> Result<bool>;
    /// As [`Repository::retired_versions`].
    fn retired_versions(&self, _: &TableDef) -> Vec<TableId> {
        Vec::new()
    }
    /// As [`Repository::writable`].
    async fn writable(&self, checkout: &Checkout, table: &TableDef) -> Result<Layer>;
    /// As [`Repository::sound`].
    async fn sound(&self, _: &TableDef) -> Result<()> {
        Ok(())
    }
    /// As [`Repository::watch`].
    fn watch(&self, checkout: &Checkout) -> Watch;
    /// As [`Repository::sees_all`].
    fn sees_all(&self) -> bool;
    /// As [`Repository::may`], of a table.
    fn may(&self, checkout: &Checkout, right: Right, table: &TableName) -> Result<()>;
    /// As [`Repository::checkout`].
    async fn checkout(&self, spec: &str, head: Option<&Checkout>) -> Result<Checkout>;
    /// Whether the open transaction has defined tables.
    fn in_block(&self) -> bool {
        false
    }
}

#[async_trait]
impl State for Repository {
    fn name(&self) -> &str {
        self.name()
    }
    fn generation(&self) -> u64 {
        self.generation()
    }
    fn tables(&self, checkout: &Checkout) -> Arc<Tables> {
        self.tables_on(checkout)
    }
    fn every_table(&self) -> Vec<Arc<TableDef>> {
        self.every_table()
    }
    fn find_table(&self, checkout: &Checkout, name: &str) -> Option<Arc<TableDef>> {
        self.find_table(checkout, name)
    }
    fn version_on(&self, checkout: &Checkout, table: &TableDef) -> Option<Arc<TableDef>> {
        self.version_on(checkout, table)
    }
    async fn refresh(&self) -> Result<()> {
        self.refresh().await
    }
    fn view(&self, checkout: &Checkout, table: &TableDef) -> Result<View> {
        self.view(checkout, table)
    }
    fn is_copy(&self, view: &View, table: &TableDef) -> Result<bool> {
        self.is_copy(view, table)
    }
    fn retired_versions(&self, table: &TableDef) -> Vec<TableId> {
        self.retired_versions(table)
    }
    async fn writable(&self, checkout: &Checkout, table: &TableDef) -> Result<Layer> {
        self.writable(checkout, table).await
    }
    async fn sound(&self, table: &TableDef) -> Result<()> {
        self.sound(table).await
    }
    fn watch(&self, checkout: &Checkout) -> Watch {
        self.watch(checkout)
    }
    fn sees_all(&self) -> bool {
        self.sees_all()
    }
    fn may(&self, checkout: &Checkout, right: Right, table: &TableName) -> Result<()> {
        if right == Right::Write {
            return self.may_write(checkout, table);
        }
        self.may(checkout, right, Scope::Table(table))
    }
    async fn checkout(&self, spec: &str, head: Option<&Checkout>) -> Result<Checkout> {
        self.checkout(spec, head).await
    }
}

/// Who asks, and from where.
pub struct Context<'a> {
    /// The repository.
    pub repository: &'a dyn State,
    /// What the session is on.
    pub checkout: &'a Checkout,
    /// The name of the session's PostgreSQL backend.
    pub backend: &'a str,
    /// What names mean in this session.
    pub names: &'a mut NameCache,
    /// For relations of ours inside of larger statements.
    pub functions: Option<&'a functions::Session<'a>>,
    /// The values of `$1`, `$2` … in text form, once they are bound. Needed only to plan again what
    /// is [`Rewritten::late`].
    pub parameters: Option<&'a [Option<String>]>,
}

/// What becomes of one statement. Ranges are bytes of the text that was planned.
#[derive(Debug, Clone)]
pub enum Plan {
    /// The server's, as it is.
    Relay {
        /// Its text.
        range: Range<usize>,
    },
    /// The server's, in other words.
    Rewritten(Arc<Rewritten>),
    /// A lone call of one of our functions.
    Call(Call),
    /// Data definition on a branch.
    Define(Arc<Definition>),
    /// The COMMIT of a transaction that defined tables on a branch.
    Commit {
        /// Its text.
        range: Range<usize>,
    },
    /// Concerns tables of several backends, or of another one.
    Federated {
        /// Its text.
        range: Range<usize>,
    },
    /// Concerns settings of ours (and, for DISCARD ALL and RESET ALL, the server's).
    Setting {
        /// Its text.
        range: Range<usize>,
        /// What it does.
        setting: Setting,
    },
    /// Can only be planned when what is before it has run, because that may change what names mean:
    /// plan this part of the text again then.
    Rest {
        /// The rest of the text.
        range: Range<usize>,
    },
}

/// A statement that was rewritten.
#[derive(Debug, Clone, Default)]
pub struct Rewritten {
    /// Where it is in the client's text.
    pub range: Range<usize>,
    /// What runs before it, in the same transaction; its tags and rows are swallowed, its errors are
    /// the statement's. It has the statement's parameters, of the types that the server infers for
    /// `sql`.
    pub prelude: Vec<Prelude>,
    /// What runs in its place.
    pub sql: String,
    /// What PostgreSQL calls it where it can't be executed.
    pub command: &'static str,
    /// Its command tag, if `sql` has another one.
    pub tag: Option<&'static str>,
    /// Must be planned again at Bind, with [`Context::parameters`]: it shows the repository's state.
    pub late: bool,
    /// Whether it writes to the branch.
    pub writes: bool,
    /// Settings that the planner needs for it: to be set with SET LOCAL before it (and its prelude)
    /// and set back after it.
    pub settings: Vec<(&'static str, &'static str)>,
    /// Which columns of which tables it returns, where that is to be told in the server's place.
    pub origins: Option<Origins>,
    /// The client's text has string constants: what they mean is to be found each time.
    pub strings: bool,
    /// Its result has the same columns for as long as the branch's tables have theirs.
    pub fixed: bool,
    /// The form that the server can keep prepared, if it only reads.
    pub lifted: Option<Lifted>,
    /// What the client learns: `sql` fails in any case, and brings the transaction to where this error does.
    pub fails: Option<Error>,
    /// For [`Rewritten::position`].
    pub(super) kept: Kept,
}

/// Fails when its turn comes, not when the string is parsed.
const FAILS: &str = "SELECT \"refused by horizon epoch\"";

impl Rewritten {
    /// In the place of a statement that is refused behind others of its string.
    fn failing(statement: &Statement, error: Error) -> Self {
        let sql = FAILS.to_owned();
        Self { range: statement.range.clone(), sql, fails: Some(error), ..Self::default() }
    }

    /// The position in the client's text of an error of the server in `sql` (characters from 1).
    pub fn position(&self, client: &str, position: usize) -> usize {
        self.kept.position(client, &self.sql, position)
    }
}

/// A statement before the client's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prelude {
    /// Its text.
    pub sql: String,
    /// Which of the client's parameters (from 0) its `$1`, `$2` … are.
    pub params: Vec<usize>,
    /// Whether it has string constants.
    pub strings: bool,
}

/// A lone call of one of our functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Where it is in the text.
    pub range: Range<usize>,
    /// Its name, in lower case.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// `SELECT * FROM f()`; else `SELECT f()` or `CALL f()`.
    pub from: bool,
    /// The alias of the function or its result.
    pub alias: Option<String>,
    /// The names given to its columns.
    pub columns: Vec<String>,
    /// The columns that are asked for and what they are called in the result; empty is all.
    pub chosen: Vec<(String, String)>,
}

impl Call {
    /// The command tag, without a count, of an UPDATE or DELETE of `epoch.conflicts`, which is no function and returns no
    /// rows.
    pub fn command(&self) -> Option<&'static str> {
        match self.name.as_str() {
            parse::UPDATE_CONFLICTS => Some("UPDATE"),
            parse::DELETE_CONFLICTS => Some("DELETE"),
            _ => None,
        }
    }

    /// How many parameters (`$n`) it has.
    pub fn parameters(&self) -> usize {
        let number = |a: &Argument| if let Constant::Param(n) = a.value { n + 1 } else { 0 };
        self.arguments.iter().map(number).max().unwrap_or(0)
    }

    /// The arguments, with `$n` replaced by `parameters` (NULL as long as they aren't known).
    pub fn args(&self, parameters: &[Option<String>]) -> Args {
        args(&self.arguments, parameters)
    }
}

pub(super) fn args(arguments: &[Argument], parameters: &[Option<String>]) -> Args {
    let mut args = Args::default();
    for argument in arguments {
        let value = match &argument.value {
            Constant::Text(text) => Arg::Text(text.clone()),
            Constant::Int(number) => Arg::Int(*number),
            Constant::Bool(b) => Arg::Bool(*b),
            Constant::Array(items) => Arg::Array(items.clone()),
            Constant::Param(n) => parameters.get(*n).cloned().flatten().map_or(Arg::Null, Arg::Text),
            Constant::Null | Constant::Expression => Arg::Null,
        };
        match &argument.name {
            Some(name) => args.named.push((name.clone(), value)),
            None => args.positional.push(value),
        }
    }
    args
}

/// Plans a text: one plan per statement, or fewer and a [`Plan::Rest`].
pub async fn plan(ctx: &mut Context<'_>, catalog: &mut dyn Catalog, sql: &str) -> Result<Vec<Plan>> {
    ctx.repository.refresh().await?;
    let known = (!catalog.in_transaction()).then(|| ctx.repository.generation());
    ctx.names.begin(known);
    if let Some(plan) = cache::find(ctx, catalog, sql).await? {
        return Ok(vec![plan]);
    }
    anew(ctx, catalog, sql).await
}

/// As [`plan`], whatever is known from before.
pub(super) async fn anew(ctx: &mut Context<'_>, catalog: &mut dyn Catalog, sql: &str) -> Result<Vec<Plan>> {
    // What is to be looked at there is planned as on a branch.
    let main = ctx.checkout.is_main() && ctx.repository.watch(ctx.checkout) == Watch::Nothing;
    let parsed = match parse::parse(sql) {
        Ok(parsed) => parsed,
        // Whether it can be understood is the server's business there.
        Err(_) if main => return Ok(vec![Plan::Relay { range: 0..sql.len() }]),
        Err(error) => return Err(error),
    };
    let tables = ctx.repository.tables(ctx.checkout);
    let count = planned_now(&parsed, main);
    let now = parsed.statements.get(..count).unwrap_or_default();
    if needs_names(ctx, now, &tables, main) {
        let all: Vec<&Statement> = now.iter().collect();
        ctx.names.learn(&all, &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
    }
    let mut plans = Vec::with_capacity(count);
    for statement in now {
        let plan = match one(ctx, catalog, sql, &parsed, statement, &tables).await {
            // What is before it runs first, as on the server.
            Err(error) if !plans.is_empty() => {
                plans.push(Plan::Rewritten(Arc::new(Rewritten::failing(statement, error))));
                return Ok(plans);
            }
            plan => plan?,
        };
        if parsed.statements.len() == 1 {
            cache::keep(ctx, sql, statement, &plan);
        }
        plans.push(plan);
    }
    if let Some(next) = parsed.statements.get(count) {
        plans.push(Plan::Rest { range: next.range.start..sql.len() });
    }
    Ok(plans)
}

/// Plans a text of a session that has no PostgreSQL backend: calls, settings, and the rest for the
/// federated route.
pub fn plan_without_backend(sql: &str) -> Result<Vec<Plan>> {
    let parsed = parse::parse(sql)?;
    let one = |statement: &Statement| match ours(statement) {
        Some(plan) => plan,
        None => Plan::Federated { range: statement.range.clone() },
    };
    Ok(parsed.statements.iter().map(one).collect())
}

/// Whether a text has data definition together with other statements, none of which begins or ends a transaction or is
/// ours alone: so that it is one transaction.
pub fn defines_with_others(sql: &str) -> bool {
    if !sql.trim_end_matches([';', ' ', '\n', '\r', '\t']).contains(';') {
        return false;
    }
    let Ok(parsed) = parse::parse(sql) else { return false };
    let alone = |s: &Statement| {
        matches!(
            s.kind,
            Kind::Ends(_) | Kind::Isolation(Isolation::Begin(_)) | Kind::Call { .. } | Kind::Setting(_)
        )
    };
    parsed.statements.len() > 1
        && parsed.statements.iter().any(|s| matches!(s.kind, Kind::Define(_)))
        && !parsed.statements.iter().any(alone)
}

/// Whether all statements of a text end a transaction or, unless one is open, set something, of the session's or which
/// ref it is on; and touch nothing else.
pub fn only_sets(sql: &str, in_transaction: bool) -> bool {
    let sets = |s: &Statement| {
        (matches!(s.kind, Kind::Ends(Ending::Commit | Ending::Back))
            || !in_transaction && matches!(s.kind, Kind::Pass | Kind::Names | Kind::Setting(_)))
            && s.wrap == Wrap::None
            && s.tables.is_empty()
            && s.functions.is_empty()
    };
    parse::parse(sql).is_ok_and(|parsed| parsed.statements.iter().all(sets))
}

/// How many statements can be planned before one of them runs.
fn planned_now(parsed: &Parsed, main: bool) -> usize {
    let changes = |s: &Statement| match &s.kind {
        Kind::Names => true,
        // What a temporary table hid is seen again.
        Kind::Ends(_) | Kind::Define(_) => !main,
        // Another checkout, or a registration.
        Kind::Call { .. } => true,
        Kind::Setting(setting) => !matches!(setting, Setting::Show(_)),
        _ => matches!(s.wrap, Wrap::CreateTemp | Wrap::Prepare(_)) || check::sets_search_path(s),
    };
    parsed.statements.iter().position(changes).map_or(parsed.statements.len(), |i| i + 1)
}

fn needs_names(ctx: &Context<'_>, statements: &[Statement], tables: &Tables, main: bool) -> bool {
    let named = |s: &Statement| {
        let passes = matches!(s.kind, Kind::Setting(_) | Kind::Call { .. } | Kind::Refused(_));
        let nameless = s.tables.is_empty()
            && s.functions.is_empty()
            && s.operators.is_empty()
            && s.types.is_empty()
            && s.attributes.is_empty();
        let of_types = matches!(s.kind, Kind::Define(Define { how: How::Type(_), .. }));
        !passes && (!nameless || of_types)
    };
    if main {
        // There only names that may belong to another backend matter.
        return statements.iter().any(|s| s.tables.iter().any(|t| elsewhere(tables, ctx.backend, t)));
    }
    statements.iter().any(named)
}

/// Whether a name may be that of a table of another backend.
pub(super) fn elsewhere(tables: &Tables, backend: &str, table: &parse::TableRef) -> bool {
    let schema = table.schema.as_deref().unwrap_or("public");
    let here = |t: &crate::operations::Tables| {
        t.by_id
            .values()
            .any(|d| d.name.name == table.name && d.name.schema == schema && d.location.backend != backend)
    };
    here(tables)
}

/// Plans of statements that concern us alone, whatever the session is on.
fn ours(statement: &Statement) -> Option<Plan> {
    let range = statement.range.clone();
    match &statement.kind {
        Kind::Call { name, arguments, from, alias, columns, chosen } => Some(Plan::Call(Call {
            range,
            name: name.clone(),
            arguments: arguments.clone(),
            from: *from,
            alias: alias.clone(),
            columns: columns.clone(),
            chosen: chosen.clone(),
        })),
        Kind::Setting(setting) => Some(Plan::Setting { range, setting: setting.clone() }),
        _ => None,
    }
}

async fn one(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    parsed: &Parsed,
    statement: &Statement,
    tables: &Tables,
) -> Result<Plan> {
    if let Some(plan) = ours(statement) {
        if let Plan::Setting { setting: Setting::ResetAll, .. } = plan {
            ctx.names.isolation(Isolation::Other);
        }
        if let Plan::Setting { setting: Setting::DiscardAll, .. } = plan {
            ctx.names.forget_prepared();
            ctx.names.unsettle();
        }
        return Ok(plan);
    }
    let range = statement.range.clone();
    if psql::is_pg_dumps(sql.get(range.clone()).unwrap_or_default()) {
        return Ok(Plan::Relay { range });
    }
    rights::utility(ctx, sql.get(range.clone()).unwrap_or_default(), statement)?;
    if is_federated(ctx, statement, tables) {
        return match statement.kind {
            Kind::Query | Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_)
                if statement.nested.is_empty() =>
            {
                Ok(Plan::Federated { range })
            }
            _ => Err(Error::unsupported("this statement on a table of another backend")),
        };
    }
    if !ctx.checkout.is_main() {
        if let Some(unfolded) = write::view::unfold(ctx, catalog, sql, statement).await? {
            return on_table(ctx, catalog, statement, unfolded, tables).await;
        }
        if let Some(unfolded) = write::view::locked(ctx, sql, statement)? {
            return on_table(ctx, catalog, statement, unfolded, tables).await;
        }
        if inlining::any(ctx, statement) {
            return on_table(ctx, catalog, statement, Unfolded::of(sql, statement), tables).await;
        }
    }
    check::statement(ctx, statement)?;
    check::sound(ctx, statement).await?;
    match &statement.kind {
        Kind::Pass | Kind::TwoPhase(_) => Ok(Plan::Relay { range }),
        Kind::Isolation(level) => {
            ctx.names.isolation(*level);
            Ok(Plan::Relay { range })
        }
        Kind::Names if ctx.repository.in_block() && sets_role(sql.get(range.clone()).unwrap_or_default()) => {
            // The role could neither say what became of the definitions nor commit them.
            Err(Error::unsupported("SET ROLE or SET SESSION AUTHORIZATION after data definition on a branch"))
        }
        Kind::Names => {
            let plan = types::relayed(ctx, sql, statement)?;
            ctx.names.unsettle();
            Ok(plan)
        }
        Kind::Ends(Ending::Commit) if ctx.repository.in_block() => Ok(Plan::Commit { range }),
        Kind::Ends(Ending::Prepare) if ctx.repository.in_block() => {
            Err(Error::unsupported("PREPARE TRANSACTION after data definition on a branch"))
        }
        Kind::Ends(_) => {
            if ctx.names.is_fragile() {
                ctx.names.unsettle();
            }
            Ok(Plan::Relay { range })
        }
        Kind::Define(definition) if !ctx.checkout.is_main() => {
            let alone = parsed.statements.len() == 1;
            define::plan(ctx, catalog, sql, statement, definition, alone).await
        }
        // Main's views and types are the server's.
        Kind::Define(Define { how: How::View(_) | How::Type(_), .. }) => Ok(Plan::Relay { range }),
        Kind::Execute { name, arguments } => {
            execute::statement(ctx, catalog, sql, statement, name, arguments).await
        }
        _ => {
            let plan = rewrite::statement(ctx, catalog, sql, parsed, statement, None).await?;
            snapshot::check(ctx, catalog, statement).await?;
            Ok(plan)
        }
    }
}

/// Whether a statement that changes what names mean does so by another role.
fn sets_role(sql: &str) -> bool {
    let tokens = lexer::tokens(sql).map(|tokens| tokens.list).unwrap_or_default();
    let word = |w: &str| tokens.iter().any(|t| t.is_word(sql, w));
    word("role") || word("authorization") || word("session_authorization")
}

/// How many times the views of views are unfolded.
const DEEPEST_VIEW: usize = 16;

/// Plans a statement that writes, or locks rows, through a view, or calls functions that read tables.
async fn on_table(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    mut unfolded: Unfolded,
    tables: &Tables,
) -> Result<Plan> {
    let mut depth = 0;
    let mut parsed = loop {
        let parsed = parse::parse(&unfolded.text)?;
        let inner = parsed.alone()?;
        ctx.names.learn(&[inner], tables, ctx.backend, ctx.repository.generation(), catalog).await?;
        match write::view::locked(ctx, &unfolded.text, inner)? {
            Some(_) if depth == DEEPEST_VIEW => return Err(Error::unsupported("views nested this deeply")),
            Some(more) => {
                let checks = unfolded.checks.take();
                unfolded = Unfolded { kept: more.kept.after(&unfolded.kept), text: more.text, checks };
            }
            None => break parsed,
        }
        depth += 1;
    };
    let expanded = inlining::expand(ctx, catalog, &unfolded.text, &parsed).await?;
    if matches!(statement.wrap, Wrap::Prepare(_)) && (expanded.is_some() || unfolded.checks.is_some()) {
        // It would be prepared again by the text that comes out here.
        let what = if expanded.is_some() {
            "calls of functions that read tables"
        } else {
            "a write through a view WITH CHECK OPTION"
        };
        return Err(Error::unsupported(format!("PREPARE of {what} on a branch")));
    }
    if let Some(expanded) = expanded {
        unfolded.kept = expanded.kept.after(&unfolded.kept);
        (unfolded.text, parsed) = (expanded.text, expanded.parsed);
    }
    let inner = parsed.alone()?;
    check::statement(ctx, inner)?;
    check::sound(ctx, inner).await?;
    let Unfolded { text, kept, checks } = unfolded;
    let plan = rewrite::statement(ctx, catalog, &text, &parsed, inner, checks).await?;
    snapshot::check(ctx, catalog, inner).await?;
    Ok(match plan {
        Plan::Rewritten(rewritten) => {
            let mut rewritten = Arc::unwrap_or_clone(rewritten);
            rewritten.range = statement.range.clone();
            rewritten.kept = rewritten.kept.after(&kept);
            rewritten.lifted = None;
            Plan::Rewritten(Arc::new(rewritten))
        }
        // The queries of its functions read no versioned table.
        Plan::Relay { .. } => {
            let (range, command) = (statement.range.clone(), check::command(statement));
            Plan::Rewritten(Arc::new(Rewritten { range, sql: text, command, kept, ..Rewritten::default() }))
        }
        _ => return Err(Error::unsupported("writing through this view on a branch")),
    })
}

/// What a rewritten text depends on beside names.
pub(super) fn state(ctx: &Context<'_>) -> String {
    format!("{:?} {}", ctx.checkout.target, ctx.repository.generation())
}

/// Whether a statement names a table of another backend that no table of the session hides.
fn is_federated(ctx: &Context<'_>, statement: &Statement, tables: &Tables) -> bool {
    let known =
        |t: &parse::TableRef| !matches!(ctx.names.table(t), Meaning::Temporary | Meaning::Registered(_));
    statement.tables.iter().any(|t| elsewhere(tables, ctx.backend, t) && known(t))
}
