//! What the configuration says of hooks.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use super::file::error;
use crate::Result;

/// Seconds that a hook may take.
const TIMEOUT: usize = 10;
/// How often a webhook is sent again.
const RETRIES: usize = 3;
/// The shortest key of a signature.
const SHORTEST: usize = 16;

/// What an operation asks, or tells, outside.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Its name in the configuration.
    pub name: String,
    /// Before the operation, which it can refuse; else after it.
    pub before: bool,
    /// Of what.
    pub event: Event,
    /// The pattern of the branches and tags that it is about.
    pub branches: String,
    /// What is done.
    pub action: Action,
    /// How long that may take.
    pub timeout: Duration,
    /// How often a webhook is sent again that isn't answered well.
    pub retries: usize,
}

/// The operations that have hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A commit of working changes.
    Commit,
    /// A merge, also one that goes on, and a promotion.
    Merge,
    /// A branch is made, deleted, renamed or brought back.
    Branch,
    /// A tag is made or deleted.
    Tag,
}

impl Event {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Merge => "merge",
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// What a hook does.
#[derive(Debug, Clone)]
pub enum Action {
    /// A query of one boolean, which must be true.
    Sql(String),
    /// A command line for `/bin/sh`, which must end with 0.
    Command {
        /// The line.
        line: String,
        /// Where it runs: the configuration's folder.
        folder: PathBuf,
    },
    /// A signed request, which must be answered with 2xx.
    Webhook {
        /// Where to. It may hold a password.
        url: Secret,
        /// The key of the signature.
        secret: Secret,
        /// A PEM file of the authorities that are trusted; the system's for none.
        root: Option<PathBuf>,
    },
}

/// What was set of one hook.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) event: Option<String>,
    pub(super) branches: Option<String>,
    pub(super) sql: Option<String>,
    pub(super) command: Option<(String, PathBuf)>,
    pub(super) url: Option<String>,
    pub(super) secret: Option<String>,
    pub(super) root: Option<PathBuf>,
    pub(super) timeout: Option<usize>,
    pub(super) retries: Option<usize>,
}

impl Draft {
    /// Checks what belongs together.
    pub(super) fn finish(self, name: String) -> Result<Hook> {
        let wrong = |what: &str| error(format!("hooks.{name} {what}"));
        let Some(event) = self.event.as_deref() else { return Err(wrong("has no event")) };
        let (before, event) = parse_event(event).ok_or_else(|| {
            wrong("has an unknown event").with_hint(
                "Events are pre-commit, post-commit, pre-merge, post-merge, pre-branch, post-branch, pre-tag and post-tag.",
            )
        })?;
        let signed = self.secret.is_some() || self.root.is_some() || self.retries.is_some();
        let action = match (self.sql, self.command, self.url) {
            (None, None, Some(url)) => {
                let secret = self.secret.filter(|secret| secret.len() >= SHORTEST);
                let secret = secret.ok_or_else(|| wrong("needs a secret of at least 16 characters"))?;
                Action::Webhook { url: Secret::new(url), secret: Secret::new(secret), root: self.root }
            }
            (Some(_), None, None) | (None, Some(_), None) if signed => {
                return Err(wrong("has a secret, root_cert or retries, which only a url has"));
            }
            (Some(sql), None, None) => Action::Sql(sql),
            (None, Some((line, folder)), None) => Action::Command { line, folder },
            _ => return Err(wrong("needs one of sql, command and url")),
        };
        Ok(Hook {
            before,
            event,
            branches: self.branches.unwrap_or_else(|| "*".to_owned()),
            action,
            timeout: Duration::from_secs(self.timeout.unwrap_or(TIMEOUT) as u64),
            retries: self.retries.unwrap_or(RETRIES),
            name,
        })
    }
}

fn parse_event(text: &str) -> Option<(bool, Event)> {
    let (time, event) = text.split_once('-')?;
    let before = match time {
        "pre" => true,
        "post" => false,
        _ => return None,
    };
    let all = [Event::Commit, Event::Merge, Event::Branch, Event::Tag];
    all.into_iter().find(|known| known.as_str() == event).map(|event| (before, event))
}
