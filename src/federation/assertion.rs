//! Statements that say whether something holds.

use std::sync::Arc;

use epoch_adapter::{Error, Result, sqlstate};
use futures::{FutureExt, StreamExt};
use postgres_types::Type;

use super::{Outcome, Session};
use crate::operations::{Assertions, Checkout, Repository};

/// Runs a query of one boolean on what a checkout shows, in a session of its own. NULL and no row are false.
pub async fn holds(repository: &Repository, checkout: &Checkout, sql: &str) -> Result<bool> {
    let wrong = || {
        Error::new(sqlstate::INVALID_PARAMETER_VALUE, "an assertion is a query that returns one boolean")
            .with_hint("For example: SELECT count(*) = 3 FROM users.")
    };
    let mut session = Session::new(repository.clone(), "epoch", repository.name());
    let outcome = session.simple(checkout, sql).boxed().await?;
    let Outcome::Rows { columns, mut rows, .. } = outcome else { return Err(wrong()) };
    match columns.as_slice() {
        [only] if only.pg_type == Type::BOOL => {}
        _ => return Err(wrong()),
    }
    let Some(row) = rows.next().await.transpose()? else { return Ok(false) };
    if rows.next().await.transpose()?.is_some() {
        return Err(wrong());
    }
    // One cell: a count of 1, a length of 1, `t`.
    Ok(row.as_ref() == [0, 1, 0, 0, 0, 1, b't'])
}

/// Assertions of checks and hooks, answered by this route.
struct Federated;

#[async_trait::async_trait]
impl Assertions for Federated {
    async fn holds(&self, repository: &Repository, checkout: &Checkout, sql: &str) -> Result<bool> {
        holds(repository, checkout, sql).boxed().await
    }
}

/// What answers the assertions of a repository's checks and hooks.
pub fn assertions() -> Arc<dyn Assertions> {
    Arc::new(Federated)
}
