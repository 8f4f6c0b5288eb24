//! `epoch_explain` in a native session: what the planner would do, in words.

use std::sync::{Mutex as Cell, PoisonError};

use async_trait::async_trait;
use epoch_adapter::{Error, Result};
use futures::FutureExt;
use tokio::sync::Mutex;

use super::pipe::Pipe;
use super::plan::Upstream;
use super::seat::Seat;
use crate::federation;
use crate::functions::{Explain, ExplainPart};
use crate::operations::Checkout;
use crate::query::{self, Context, NameCache, Plan};

/// Plans a statement without running it.
pub(super) struct Explainer<'a> {
    seat: &'a Seat,
    backend: &'a str,
    parts: Mutex<(&'a mut NameCache, &'a mut federation::Session, &'a mut Pipe)>,
    fatal: Cell<Option<Error>>,
}

impl<'a> Explainer<'a> {
    pub fn new(
        seat: &'a Seat,
        backend: &'a str,
        names: &'a mut NameCache,
        engine: &'a mut federation::Session,
        pipe: &'a mut Pipe,
    ) -> Self {
        Self { seat, backend, parts: Mutex::new((names, engine, pipe)), fatal: Cell::default() }
    }

    /// The error that broke the connection meanwhile.
    pub fn fatal(self) -> Option<Error> {
        self.fatal.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Explain for Explainer<'_> {
    async fn explain(&self, sql: &str) -> Result<Vec<ExplainPart>> {
        let mut parts = self.parts.lock().await;
        let (names, engine, pipe) = &mut *parts;
        let in_use = |_: &str| false;
        let functions = self.seat.functions(false, None, &in_use);
        let mut ctx = Context {
            repository: &self.seat.repository,
            checkout: &self.seat.checkout,
            backend: self.backend,
            names,
            functions: Some(&functions),
            parameters: None,
        };
        let mut upstream = Upstream { pipe, fatal: None };
        let plans = query::plan(&mut ctx, &mut upstream, sql).boxed().await;
        if let Some(error) = upstream.fatal {
            *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        let mut all = Vec::new();
        for plan in plans? {
            match plan {
                Plan::Federated { range } => {
                    let text = sql.get(range).unwrap_or_default();
                    let found = engine.explain(&self.seat.checkout, text).boxed().await?;
                    all.extend(found.into_iter().map(|part| self.part("federated", part.backend, part.sql)));
                }
                Plan::Rewritten(rewritten) if rewritten.fails.is_some() => {
                    return rewritten.fails.clone().map_or(Ok(all), Err);
                }
                plan => self.native(sql, plan, &mut all),
            }
        }
        Ok(all)
    }

    async fn holds(&self, checkout: &Checkout, sql: &str) -> Result<bool> {
        federation::holds(&self.seat.repository, checkout, sql).await
    }
}

impl Explainer<'_> {
    fn part(&self, route: &str, backend: Option<String>, sql: impl Into<String>) -> ExplainPart {
        ExplainPart { route: route.to_owned(), backend, sql: sql.into() }
    }

    fn native(&self, sql: &str, plan: Plan, all: &mut Vec<ExplainPart>) {
        let text = |range| sql.get::<std::ops::Range<usize>>(range).unwrap_or_default();
        let backend = Some(self.backend.to_owned());
        match plan {
            Plan::Relay { range } => all.push(self.part("native", backend, text(range))),
            Plan::Rewritten(rewritten) => {
                for prelude in &rewritten.prelude {
                    all.push(self.part("native", backend.clone(), prelude.sql.as_str()));
                }
                all.push(self.part("native", backend, rewritten.sql.as_str()));
            }
            Plan::Call(call) => all.push(self.part("version control", None, text(call.range))),
            Plan::Setting { range, .. } | Plan::Commit { range } => {
                all.push(self.part("session", None, text(range)))
            }
            Plan::Define(definition) => {
                all.push(self.part("version control", backend, text(definition.range.clone())))
            }
            Plan::Federated { range } | Plan::Rest { range } => {
                all.push(self.part("later", None, text(range)))
            }
        }
    }
}
