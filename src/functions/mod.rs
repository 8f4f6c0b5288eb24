//! The SQL surface: the names, arguments and columns of the `epoch_*` functions and of the relations
//! of schema `epoch`, independent of how a statement is parsed.
//!
//! [`catalog`] is the one definition of verbs and flags; the command line is generated from it.
//! Whoever parsed a statement hands over a name and [`Args`]: [`columns`] describes the result before
//! anything runs, [`call`] runs any function, [`relation`] only the reading ones.

mod args;
mod asked;
mod audited;
mod bisect;
mod branches;
mod catalog;
mod columns;
mod commit;
mod conflicts;
mod definition;
mod diff;
mod history;
mod info;
mod kept;
mod merge;
mod patch;
mod read;
mod refs;
mod resolution;
mod rights;
mod rows;
mod sequence;
mod tables;
mod text;
mod upkeep;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::operations::{Author, Checkout, Repository, Strategy};
use crate::{Error, Result, sqlstate};

pub use args::{Arg, Args};
pub use asked::{Asked, Condition, Term};
pub use catalog::{Flag, Function, Kind, Parameter, Takes, catalog, find, relations};
pub use columns::columns;
pub use resolution::write_conflicts;
pub use rows::shown_at;

/// The PostgreSQL type of a result column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlType {
    /// `text`
    Text,
    /// `boolean`
    Bool,
    /// `bigint`
    Int8,
    /// `timestamp with time zone`
    TimestampTz,
    /// `jsonb`
    Jsonb,
    /// `text[]`
    TextArray,
    /// A user column's own type, as [`epoch_adapter::Column::pg_type`] writes it.
    Named(String),
}

impl SqlType {
    /// The type as PostgreSQL writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Text => "text",
            Self::Bool => "boolean",
            Self::Int8 => "bigint",
            Self::TimestampTz => "timestamp with time zone",
            Self::Jsonb => "jsonb",
            Self::TextArray => "text[]",
            Self::Named(name) => name,
        }
    }
}

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: SqlType,
}

/// Who calls, and from where.
pub struct Session<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// What the session is on.
    pub checkout: &'a Checkout,
    /// Author of what the session commits (`epoch.author`, `epoch.email`).
    pub author: Author,
    /// Mutating functions are refused (25006): the session is on a commit or tag, or its
    /// transactions are read-only. `epoch_checkout` works nevertheless.
    pub read_only: bool,
    /// A transaction block is open: mutating functions are refused (25001), because they take
    /// effect at once and would neither see nor follow what the block did.
    pub in_transaction: bool,
    /// Whether a live session (this one or another) is on the branch.
    pub branch_in_use: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// How merges judge two-sided changes if the call doesn't say (`epoch.merge_strategy`).
    pub strategy: Strategy,
    /// Answers `epoch_explain`; `None` where there is no planner.
    pub explain: Option<&'a dyn Explain>,
}

/// Says what would run where, and runs assertions. Implemented by whoever plans statements.
#[async_trait]
pub trait Explain: Send + Sync {
    /// The parts of the plan of `sql`, in the order in which they run.
    async fn explain(&self, sql: &str) -> Result<Vec<ExplainPart>>;

    /// Whether a query of one boolean yields true on what a checkout shows.
    async fn holds(&self, checkout: &Checkout, sql: &str) -> Result<bool>;
}

/// A row of `epoch_explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainPart {
    /// `native`, `federated`, `version control` …
    pub route: String,
    /// The backend it runs on, if it runs on one.
    pub backend: Option<String>,
    /// The SQL (or plan) of this part.
    pub sql: String,
}

/// What a function returned.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The columns, as [`columns`] describes them.
    pub columns: Vec<Column>,
    /// Values in PostgreSQL's text form, `None` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// The session is on this from now on.
    pub checkout: Option<Checkout>,
    /// NOTICE messages for the client.
    pub notices: Vec<String>,
}

/// Runs any function of the catalog, by its name (`epoch_log`) or its relation's (`epoch.log`).
pub async fn call(session: &Session<'_>, name: &str, args: &Args) -> Result<Outcome> {
    let function = known(name)?;
    let columns = columns(session, name, args)?;
    let parsed = args::parse(function, args)?;
    let outcome = if audited::is_noted(function, &parsed) {
        audited::run(session, function, args, &parsed).await?
    } else {
        run(session, function, &parsed).await?
    };
    Ok(Outcome { columns, ..outcome })
}

async fn run(session: &Session<'_>, function: &Function, parsed: &args::Parsed) -> Result<Outcome> {
    if function.kind == Kind::Mutating {
        guard(session, function, parsed)?;
    }
    dispatch(session, function, parsed).await
}

/// Rows in PostgreSQL's text form, `None` for NULL, as they are read.
pub type RowStream = BoxStream<'static, Result<Vec<Option<String>>>>;

/// A reading function that runs.
pub struct Opened {
    /// The columns, as [`columns`] describes them.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: RowStream,
}

/// Runs a reading function or scalar: what may stand in FROM, be joined and filtered. What `asked` lets it leave out it may
/// leave out.
pub async fn open(session: &Session<'_>, name: &str, args: &Args, asked: &Asked) -> Result<Opened> {
    let function = known(name)?;
    if function.kind == Kind::Mutating {
        return Err(Error::unsupported(format!("{} as a part of a larger query", function.name))
            .with_hint(format!("Write SELECT {0}(…), SELECT * FROM {0}(…) or CALL {0}(…).", function.name)));
    }
    let columns = columns(session, name, args)?;
    let parsed = args::parse(function, args)?;
    let rows = match streamed(session, function, &parsed, asked).await? {
        Some(rows) => rows,
        None => ready(call(session, name, args).await?.rows),
    };
    Ok(Opened { columns, rows })
}

/// As [`open`], with all rows.
pub async fn relation(session: &Session<'_>, name: &str, args: &Args) -> Result<Outcome> {
    let Opened { columns, rows } = open(session, name, args, &Asked::default()).await?;
    Ok(Outcome { columns, rows: rows.try_collect().await?, ..Outcome::default() })
}

/// What a lone call of a reading function returns, if it returns rows as they are read.
pub async fn stream(session: &Session<'_>, name: &str, args: &Args) -> Result<Option<RowStream>> {
    let function = known(name)?;
    streamed(session, function, &args::parse(function, args)?, &Asked::default()).await
}

/// Of functions that may return any number of rows, or work the less the less is asked for.
async fn streamed(
    session: &Session<'_>,
    function: &Function,
    args: &args::Parsed,
    asked: &Asked,
) -> Result<Option<RowStream>> {
    Ok(Some(match function.name {
        "epoch_diff" => diff::diff(session, args, asked).await?,
        "epoch_history" => history::history(session, args, asked).await?,
        "epoch_blame" => ready(history::blame(session, args, asked).await?),
        "epoch_all_branches" => branches::all_branches(session, args, asked).await?,
        "epoch_log" => read::log(session, args, asked).await?,
        "epoch_at" => rows::at(session, args, asked).await?,
        "epoch_branches" => ready(read::branches(session, asked).await?),
        _ => return Ok(None),
    }))
}

fn ready(rows: Rows) -> RowStream {
    futures::stream::iter(rows.into_iter().map(Ok)).boxed()
}

/// Whether a call may be left in the middle: it only reads, and nothing but our own answers depend on it.
pub fn is_cancellable(name: &str) -> bool {
    find(name).is_some_and(|function| function.kind != Kind::Mutating && function.name != "epoch_explain")
}

fn known(name: &str) -> Result<&'static Function> {
    find(name).ok_or_else(|| {
        let error = match name.strip_prefix("epoch.") {
            Some(_) => Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")),
            None => Error::new(sqlstate::UNDEFINED_FUNCTION, format!("function {name} does not exist")),
        };
        error.with_hint("SELECT * FROM epoch_help() lists all functions.")
    })
}

/// Mutating functions act at once and on their own, so they need a session that may write and that
/// isn't in the middle of something. A plain checkout writes nothing.
fn guard(session: &Session<'_>, function: &Function, parsed: &args::Parsed) -> Result<()> {
    if parsed.lists(function) {
        return Ok(());
    }
    if only_moves(function, parsed) {
        return check_alone(session, function.name);
    }
    check_writable(session, function.name)
}

/// Whether a call may put the session on another ref, so that it can't run in a transaction block, whatever the block did.
pub fn moves(name: &str, args: &Args) -> bool {
    let parsed = find(name).and_then(|function| args::parse(function, args).ok());
    name == "epoch_checkout"
        || (name == "epoch_branch" && parsed.is_some_and(|args| args.flag("force") || args.flag("move")))
}

/// 25001 inside a transaction block.
fn check_alone(session: &Session<'_>, what: &str) -> Result<()> {
    if !session.in_transaction {
        return Ok(());
    }
    let message = format!("{what} cannot run inside a transaction block");
    Err(Error::new(sqlstate::ACTIVE_SQL_TRANSACTION, message)
        .with_hint("Commit or roll back first, or let the driver autocommit."))
}

/// 25001 inside a transaction block, 25006 in a session that only reads.
fn check_writable(session: &Session<'_>, what: &str) -> Result<()> {
    check_alone(session, what)?;
    if !session.read_only {
        return Ok(());
    }
    let message = format!("cannot execute {what} in a read-only session");
    Err(Error::new(sqlstate::READ_ONLY_SQL_TRANSACTION, message)
        .with_detail(format!("The session is on \"{}\".", session.checkout.name))
        .with_hint("Check out a branch: SELECT epoch_checkout('main')."))
}

/// A plain checkout.
fn only_moves(function: &Function, parsed: &args::Parsed) -> bool {
    function.name == "epoch_checkout" && !parsed.flag("b")
}

async fn dispatch(session: &Session<'_>, function: &Function, args: &args::Parsed) -> Result<Outcome> {
    if let Some(rows) = streamed(session, function, args, &Asked::default()).await? {
        return Ok(Outcome { rows: rows.try_collect().await?, ..Outcome::default() });
    }
    let rows = match function.name {
        "epoch_branch" => return refs::branch(session, args).await,
        "epoch_checkout" => return refs::checkout(session, args).await,
        "epoch_tag" => refs::tag(session, args).await,
        "epoch_register" => tables::register(session, args).await,
        "epoch_unregister" => tables::unregister(session, args).await,
        "epoch_discover" => tables::discover(session, args).await,
        "epoch_triggers" => tables::triggers(session, args).await,
        "epoch_tables" => tables::tables(session),
        "epoch_backends" => tables::backends(session).await,
        "epoch_commit" => return commit::commit(session, args).await,
        "epoch_reset" => return commit::reset(session, args).await,
        "epoch_merge" => return merge::merge(session, args).await,
        "epoch_cherry_pick" | "epoch_revert" => return sequence::pick(session, function, args).await,
        "epoch_rebase" => return sequence::rebase(session, args).await,
        "epoch_rebase_plan" => sequence::plan(session).await,
        "epoch_rebase_edit" => sequence::edit(session, args).await,
        "epoch_stash" => return sequence::stash(session, args).await,
        "epoch_stashes" => sequence::stashes(session).await,
        "epoch_squash_history" => kept::squash_history(session, args).await,
        "epoch_promote" => kept::promote(session, args).await,
        "epoch_undrop" => kept::undrop(session, args).await,
        "epoch_verify_constraints" => upkeep::verify(session, args).await,
        "epoch_constraint_violations" => upkeep::violations(session, args).await,
        "epoch_schema_diff" => upkeep::schema_diff(session, args).await,
        "epoch_gc" => upkeep::gc(session, args).await,
        "epoch_reflog" => kept::reflog(session, args).await,
        "epoch_merge_rule" => kept::merge_rule(session, args).await,
        "epoch_merge_rules" => kept::merge_rules(session).await,
        "epoch_preview_merge" => history::preview(session, args).await,
        "epoch_hashof_table" => history::hash_of_table(session, args).await,
        "epoch_bisect" => bisect::bisect(session, args).await,
        "epoch_patch" => patch::patch(session, args).await,
        "epoch_conflicts" => conflicts::conflicts(session, args).await,
        "epoch_conflicts_resolve" => return conflicts::resolve(session, args).await,
        "epoch_grant" => rights::grant(session, args).await,
        "epoch_revoke" => rights::revoke(session, args).await,
        "epoch_protect" => rights::protect(session, args).await,
        "epoch_grants" => rights::grants(session).await,
        "epoch_members" => rights::members(session).await,
        "epoch_protections" => rights::protections(session).await,
        "epoch_audit" => rights::audit(session, args).await,
        "epoch_hook_runs" => rights::hook_runs(session, args).await,
        "epoch_tags" => read::tags(session).await,
        "epoch_status" => read::status(session).await,
        "epoch_diff_stat" => diff::stat(session, args).await,
        "epoch_diff_summary" => diff::summary(session, args).await,
        "epoch_merge_base" => info::merge_base(session, args).await,
        "epoch_has_ancestor" => info::has_ancestor(session, args).await,
        "epoch_count_commits" => info::count_commits(session, args).await,
        "epoch_hashof" => info::hash_of(session, args).await,
        "epoch_active_branch" => info::active_branch(session),
        "epoch_version" => info::version(),
        "epoch_help" => info::help(args),
        "epoch_explain" => info::explain(session, args).await,
        other => Err(Error::internal(format!("{other} is in the catalog but not implemented"))),
    };
    rows.map(|rows| Outcome { rows, ..Outcome::default() })
}

/// The rows of a result.
type Rows = Vec<Vec<Option<String>>>;

#[cfg(test)]
mod tests;
