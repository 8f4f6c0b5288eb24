//! The live sessions of this process: cancel keys, and which branches are in use.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::{DashMap, Entry};
use rand::{Rng, RngCore};
use tokio::sync::Notify;

use super::upstream::CancelKey;
use crate::wire::scram::same;

/// All live sessions.
#[derive(Debug, Default)]
pub struct Registry {
    sessions: DashMap<i32, Arc<Live>>,
}

/// One session, as others see it.
#[derive(Debug)]
pub struct Live {
    /// The process id given to the client.
    pub pid: i32,
    /// The secret given to the client.
    pub secret: Vec<u8>,
    /// Wakes what runs in this process for the session.
    pub cancelled: Notify,
    upstream: Mutex<Option<CancelKey>>,
    branch: Mutex<Option<String>>,
}

impl Live {
    /// What a cancel request goes to while nothing runs in this process.
    pub fn set_upstream(&self, key: Option<CancelKey>) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// The branch that the session is on, `None` on a commit.
    pub fn set_branch(&self, branch: Option<String>) {
        *self.branch.lock().unwrap_or_else(PoisonError::into_inner) = branch;
    }

    fn is_on(&self, branch: &str) -> bool {
        self.branch.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(branch)
    }
}

/// Takes the session out of the registry when it ends.
#[derive(Debug)]
pub struct Ticket {
    registry: Arc<Registry>,
    /// The session.
    pub live: Arc<Live>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.registry.sessions.remove(&self.live.pid);
    }
}

impl Registry {
    /// Adds a session. Protocol 3.2 lets secrets be longer than four bytes.
    pub fn enter(self: &Arc<Self>, minor: u16) -> Ticket {
        let mut secret = vec![0; if minor >= 2 { 32 } else { 4 }];
        rand::rng().fill_bytes(&mut secret);
        loop {
            let pid = rand::rng().random_range(1..i32::MAX);
            if let Entry::Vacant(place) = self.sessions.entry(pid) {
                let live = Arc::new(Live {
                    pid,
                    secret,
                    cancelled: Notify::new(),
                    upstream: Mutex::default(),
                    branch: Mutex::default(),
                });
                place.insert(live.clone());
                return Ticket { registry: self.clone(), live };
            }
        }
    }

    /// Serves a cancel request; wrong keys are ignored, as PostgreSQL does.
    pub async fn cancel(&self, pid: i32, secret: &[u8]) {
        let live = self.sessions.get(&pid).map(|entry| entry.value().clone());
        let Some(live) = live.filter(|live| same(&live.secret, secret)) else { return };
        live.cancelled.notify_waiters();
        let key = live.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(key) = key
            && let Err(error) = key.send().await
        {
            tracing::info!(%error, "could not forward a cancel request");
        }
    }

    /// Whether a live session is on the branch.
    pub fn in_use(&self, branch: &str) -> bool {
        self.sessions.iter().any(|entry| entry.value().is_on(branch))
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_leaves_with_its_session() {
        let registry = Arc::new(Registry::default());
        let ticket = registry.enter(2);
        assert_eq!(ticket.live.secret.len(), 32);
        ticket.live.set_branch(Some("x".to_owned()));
        assert!(registry.in_use("x") && !registry.in_use("y"));
        drop(ticket);
        assert!(!registry.in_use("x") && registry.is_empty());
    }
}
