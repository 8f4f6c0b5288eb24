//! `epoch.auto_commit`: a commit follows each transaction of the session. It comes before the session's next statement; what
//! the transaction itself did is safe by then, committed or not.

use epoch_adapter::Error;

use super::seat::Seat;
use crate::Result;
use crate::operations::CommitOptions;

impl Seat {
    /// Commits what the session's branch has of uncommitted changes, if the session wants that after its transactions. What
    /// kept it from doing so is a warning: the changes stay uncommitted, and the next commit takes them.
    pub(super) async fn commit_transaction(&self) -> Option<Error> {
        if !self.commits_by_itself() || !self.checkout.is_branch() {
            return None;
        }
        let error = self.commit_now().await.err()?;
        let message = format!("the transaction is not in a commit: {}", error.message());
        let warning = Error::new("01000", message);
        Some(match error.detail() {
            Some(detail) => warning.with_detail(detail),
            None => warning,
        })
    }

    async fn commit_now(&self) -> Result<()> {
        if !self.repository.has_to_commit(&self.checkout).await? {
            return Ok(());
        }
        // A commit would conclude a merge that waits.
        if self.repository.waits(&self.checkout).await?.is_some() {
            return Ok(());
        }
        let before = self.repository.hash_of(&self.checkout, "HEAD").await?;
        let options = CommitOptions {
            message: self.auto_commit_message(),
            author: self.author(),
            skip_empty: true,
            ..CommitOptions::default()
        };
        let repository = self.repository.noting("auto_commit", "", Some(&self.checkout));
        let done = repository.commit(&self.checkout, &options).await;
        if done.as_ref().is_ok_and(|done| done.hash == before) {
            return Ok(());
        }
        repository.settle(done.as_ref().err()).await;
        done.map(drop)
    }
}
