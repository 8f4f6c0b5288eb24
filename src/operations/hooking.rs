//! What else has a say in an operation: the checks that a protection requires, and hooks.
//!
//! Checks and hooks before an operation run under its lock, so that what they saw is what happens; any that says no,
//! or says nothing, refuses it. Hooks after it run when the lock is free and change nothing any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use epoch_adapter::{Error, LineageId, Result, sqlstate};

use super::resolve::Named;
use super::{Checkout, Repository, Right, Target};
use crate::config::{Action, Event, Hook};
use crate::hooks::{self, Payload};
use crate::metadata::hook_runs::{self, HookRun};
use crate::metadata::now;
use crate::storage::glob;

/// What a hook that says no is to a client, as RAISE in a function is.
const REFUSED: &str = "P0001";

/// How long a protection's check may take, which everybody's operations wait for.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// Answers queries of one boolean. Implemented by whoever plans statements.
#[async_trait]
pub trait Assertions: Send + Sync {
    /// Whether a query yields true on what a checkout shows.
    async fn holds(&self, repository: &Repository, checkout: &Checkout, sql: &str) -> Result<bool>;
}

/// An operation that has hooks.
pub(super) struct Doing<'a> {
    pub(super) event: Event,
    /// `commit`, `merge`, `promote`, `create` …
    pub(super) action: &'static str,
    /// The branch or tag that changes.
    pub(super) branch: &'a str,
    /// What is merged, or where the branch or tag begins.
    pub(super) source: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    /// What assertions are asked of; main for none.
    pub(super) seen: Option<Checkout>,
}

/// What a hook said: `Ok`, or no and why.
type Said = std::result::Result<(), String>;

impl Repository {
    /// Says who answers assertions; the first one that is told stays.
    pub fn assert_by(&self, assertions: Arc<dyn Assertions>) {
        // Another handle was faster.
        let _ = self.inner.assertions.set(assertions);
    }

    /// What a ref shows, as something to read.
    pub(super) async fn seen(&self, named: &Named, spec: &str) -> Result<Checkout> {
        match named {
            Named::Branch(branch) | Named::Working(branch) => {
                let layer = self.state().layer(branch.lineage)?;
                Ok(Checkout { name: branch.name.clone(), target: Target::Branch { layer } })
            }
            Named::Commit(hash) => {
                let (lineage, ordinal) = self.position(hash, LineageId::MAIN).await?;
                let layer = self.state().layer(lineage)?;
                Ok(Checkout {
                    name: spec.to_owned(),
                    target: Target::Commit { hash: hash.clone(), layer, ordinal },
                })
            }
        }
    }

    /// As [`Repository::seen`], of the commit that a ref names.
    pub(super) async fn seen_commit(&self, named: &Named, spec: &str) -> Result<Checkout> {
        self.seen(&Named::Commit(named.hash().to_owned()), spec).await
    }

    /// Whether anything has a say in an operation.
    pub(super) fn has_say(&self, event: Event, branch: &str) -> bool {
        let hooks = self.inner.hooks.iter().any(|hook| hook.event == event && glob(&hook.branches, branch));
        hooks || (checked(event) && !self.guard(branch).checks.is_empty())
    }

    /// Whether queries are asked before an operation.
    pub(super) fn asserts(&self, event: Event, branch: &str) -> bool {
        let asks = |hook: &&Hook| {
            hook.event == event
                && hook.before
                && glob(&hook.branches, branch)
                && matches!(hook.action, Action::Sql(_))
        };
        self.inner.hooks.iter().any(|hook| asks(&hook))
            || (checked(event) && !self.guard(branch).checks.is_empty())
    }

    /// Asks everything that has a say; the first no is the error.
    pub(super) async fn before(&self, doing: &Doing<'_>) -> Result<()> {
        if checked(doing.event) {
            for check in self.guard(doing.branch).checks {
                let asked = tokio::time::timeout(CHECK_LIMIT, self.assertion(doing, &check)).await;
                let late = |_| {
                    let message = format!("a check of branch \"{}\" took too long", doing.branch);
                    Err(Error::new(sqlstate::QUERY_CANCELED, message).with_detail(check.clone()))
                };
                match asked.unwrap_or_else(late) {
                    Ok(true) => {}
                    Ok(false) => return Err(check_failed(doing, &check)),
                    // It may quote a row that whoever acts may not read.
                    Err(error) if self.may_all(Right::Admin).is_err() => {
                        tracing::info!(branch = doing.branch, check, %error, "a check could not be asked");
                        let message = format!("a check of branch \"{}\" could not be asked", doing.branch);
                        return Err(Error::new(REFUSED, message)
                            .with_hint("An admin of all branches is shown the error."));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for hook in self.hooks_of(doing, true) {
            if let Err(said) = self.run(hook, doing, None).await? {
                let detail = format!("Hook \"{}\" before the {} says no.", hook.name, doing.event.as_str());
                return Err(Error::new(REFUSED, said).with_detail(detail));
            }
        }
        Ok(())
    }

    /// Tells everything that wants to know. What it says is kept, but changes nothing.
    pub(super) async fn after(&self, doing: &Doing<'_>, hash: &str) {
        for hook in self.hooks_of(doing, false) {
            match self.run(hook, doing, Some(hash)).await {
                Ok(Ok(())) => {}
                Ok(Err(said)) => tracing::warn!(hook = hook.name, said, "a hook after an operation failed"),
                Err(error) => tracing::warn!(hook = hook.name, %error, "a hook after an operation failed"),
            }
        }
    }

    fn hooks_of<'a>(&'a self, doing: &Doing<'_>, before: bool) -> impl Iterator<Item = &'a Hook> {
        let (event, branch) = (doing.event, doing.branch.to_owned());
        let concerned = move |h: &&Hook| h.event == event && h.before == before && glob(&h.branches, &branch);
        self.inner.hooks.iter().filter(concerned)
    }

    /// 42601 or 22023 for a check that is no query of one boolean. One of tables that aren't there yet is taken.
    pub(super) async fn check_assertion(&self, sql: &str) -> Result<()> {
        let Ok(asked) = tokio::time::timeout(CHECK_LIMIT, self.assertion_on(None, sql)).await else {
            return Ok(());
        };
        match asked {
            Err(error)
                if [sqlstate::SYNTAX_ERROR, sqlstate::INVALID_PARAMETER_VALUE].contains(&error.code()) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    async fn assertion(&self, doing: &Doing<'_>, sql: &str) -> Result<bool> {
        self.assertion_on(doing.seen.clone(), sql).await
    }

    /// `seen`: main for none.
    async fn assertion_on(&self, seen: Option<Checkout>, sql: &str) -> Result<bool> {
        let assertions = self.inner.assertions.get();
        let assertions = assertions.ok_or_else(|| Error::unsupported("an assertion without a planner"))?;
        // It sees everything, whoever asks for the operation.
        let owner = Self { actor: None, note: None, ..self.clone() };
        let main = || Checkout {
            name: "main".to_owned(),
            target: Target::Branch { layer: epoch_adapter::Layer::MAIN },
        };
        let checkout = seen.unwrap_or_else(main);
        assertions.holds(&owner, &checkout, sql).await
    }

    async fn run(&self, hook: &Hook, doing: &Doing<'_>, hash: Option<&str>) -> Result<Said> {
        let payload = self.payload(hook, doing, hash);
        let (date, started) = (now(), Instant::now());
        let one = |result: &'static str, message: Option<String>| vec![(result, message)];
        let (said, attempts) = match &hook.action {
            Action::Sql(sql) => {
                let held = tokio::time::timeout(hook.timeout, self.assertion(doing, sql)).await;
                match held {
                    Ok(Ok(true)) => (Ok(()), one("ok", None)),
                    Ok(Ok(false)) => {
                        let said = format!("the assertion of hook \"{}\" does not hold", hook.name);
                        (Err(said.clone()), one("refused", Some(said)))
                    }
                    Ok(Err(error)) => {
                        (Err(error.message().to_owned()), one("failed", Some(error.message().to_owned())))
                    }
                    Err(_) => {
                        let said =
                            format!("hook \"{}\" took longer than {} s", hook.name, hook.timeout.as_secs());
                        (Err(said.clone()), one("failed", Some(said)))
                    }
                }
            }
            Action::Command { line, folder } => {
                let said = hooks::command(line, folder, &payload, hook.timeout).await?;
                let attempt = match &said {
                    Ok(()) => one("ok", None),
                    Err(said) => one("refused", Some(said.clone())),
                };
                (said, attempt)
            }
            Action::Webhook { url, secret, root } => {
                let (url, secret) = (url.expose(), secret.expose());
                let sent = hooks::webhook(url, secret, root.as_deref(), &payload, hook.timeout, hook.retries)
                    .await?;
                let said = match sent.last().map(|last| &last.problem) {
                    Some(None) => Ok(()),
                    Some(Some(problem)) => Err(problem.clone()),
                    None => Err("nothing was sent".to_owned()),
                };
                let attempts = sent.into_iter().map(|attempt| match (attempt.status, attempt.problem) {
                    (_, None) => ("ok", None),
                    (Some(400..500), problem) => ("refused", problem),
                    (_, problem) => ("failed", problem),
                });
                (said, attempts.collect())
            }
        };
        let millis = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.keep_runs(&payload, attempts, (date, millis)).await?;
        Ok(said)
    }

    fn payload(&self, hook: &Hook, doing: &Doing<'_>, hash: Option<&str>) -> Payload {
        Payload {
            hook: hook.name.clone(),
            event: format!("{}-{}", if hook.before { "pre" } else { "post" }, doing.event.as_str()),
            delivery: uuid::Uuid::now_v7().to_string(),
            repository: self.name().to_owned(),
            branch: doing.branch.to_owned(),
            action: doing.action.to_owned(),
            source: doing.source.map(str::to_owned),
            message: doing.message.map(str::to_owned),
            user: self.actor().user,
            hash: hash.map(str::to_owned),
        }
    }

    async fn keep_runs(
        &self,
        payload: &Payload,
        attempts: Vec<(&'static str, Option<String>)>,
        (date, millis): (DateTime<Utc>, i64),
    ) -> Result<()> {
        let run = |(attempt, (result, message)): (i64, (&str, Option<String>))| HookRun {
            date,
            hook: payload.hook.clone(),
            event: payload.event.clone(),
            branch: payload.branch.clone(),
            user: payload.user.clone(),
            delivery: payload.delivery.clone(),
            attempt,
            result: result.to_owned(),
            message,
            millis,
        };
        let runs: Vec<HookRun> = (1..).zip(attempts).map(run).collect();
        let mut tx = self.inner.store.write().await?;
        hook_runs::insert(&mut tx, &runs).await?;
        tx.commit().await
    }

    /// Which hooks were run, newest first. Only for admins of everything.
    pub async fn hook_runs(&self, limit: Option<usize>) -> Result<Vec<HookRun>> {
        self.refresh().await?;
        self.may_all(super::Right::Admin)?;
        let mut tx = self.store().read().await?;
        let found = hook_runs::list(&mut tx, limit).await?;
        tx.commit().await?;
        Ok(found)
    }
}

/// Whether the checks of a protection are about it.
fn checked(event: Event) -> bool {
    matches!(event, Event::Commit | Event::Merge)
}

fn check_failed(doing: &Doing<'_>, check: &str) -> Error {
    let of = match doing.event {
        Event::Merge => doing.source.unwrap_or("what is merged"),
        _ => "the working changes",
    };
    let message = format!("\"{}\" is protected: a check does not hold for {of}", doing.branch);
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_detail(format!("The check is: {check}"))
}
