//! Running the hooks that aren't SQL: a command, or a signed request. What asks for them, and keeps what became of
//! them, is `operations/hooking`.

mod command;
mod http;
mod webhook;

use serde::Serialize;

pub use command::command;
pub use webhook::{Attempt, webhook};

/// What an operation tells its hooks.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Payload {
    /// The hook's name.
    pub hook: String,
    /// `pre-commit` …
    pub event: String,
    /// Unique for the run.
    pub delivery: String,
    /// The repository.
    pub repository: String,
    /// The branch or tag that changes.
    pub branch: String,
    /// What is done: `commit`, `merge`, `create`, `delete`, `rename` …
    pub action: String,
    /// What is merged, or where the branch or tag begins.
    pub source: Option<String>,
    /// The message of the commit or tag.
    pub message: Option<String>,
    /// Who.
    pub user: String,
    /// The commit that came of it; none before the operation.
    pub hash: Option<String>,
}

/// How long a message from outside may be, in characters.
const LONGEST: usize = 1_000;

/// What somebody outside said, as a message: one that can be shown.
fn message(text: &str) -> String {
    let shown = text.trim().chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control());
    shown.take(LONGEST).collect()
}
