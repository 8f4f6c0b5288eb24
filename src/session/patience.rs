//! Looking for bytes without sleeping, for a few microseconds.
//!
//! An idle processor takes longer to wake up than PostgreSQL needs for a point query, and a hop wakes
//! twice per statement. So a session that has just sent something looks for the answer for a moment
//! before it sleeps, but only while it is alone: no other session is owed an answer, or none moves.
//! (Otherwise processors are awake anyway, and have better things to do.) Where it was in vain, it does
//! so more and more seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The most waits that are slept through after looks in vain.
const SELDOM: u32 = 255;

/// What the sessions of a process know of each other.
#[derive(Debug)]
pub struct Turns {
    window: Duration,
    /// Counts what sessions do.
    moved: AtomicU64,
    /// How many sessions wait for a server.
    owed: AtomicUsize,
}

impl Turns {
    /// Nobody looks longer than `window`; zero is never.
    pub fn new(window: Duration) -> Self {
        Self { window, moved: AtomicU64::new(0), owed: AtomicUsize::new(0) }
    }
}

/// Whose bytes are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

/// How a session waits.
#[derive(Debug)]
pub struct Patience {
    turns: Arc<Turns>,
    /// What `moved` was when it last began to wait.
    last: u64,
    /// It is counted in `owed`.
    owed: bool,
    client: Score,
    server: Score,
}

/// How well looking did lately.
#[derive(Debug, Default)]
struct Score {
    /// Waits to sleep through before the next look.
    rest: u32,
    penalty: u32,
}

impl Patience {
    /// A session's, among the others'.
    pub fn new(turns: Arc<Turns>) -> Self {
        Self { turns, last: 0, owed: false, client: Score::default(), server: Score::default() }
    }

    /// The session begins to wait. A look if it should not sleep yet.
    pub fn look(&mut self, from: From) -> Option<Look> {
        if self.turns.window.is_zero() {
            return None;
        }
        self.be_owed(from == From::Server);
        let moved = self.turns.moved.fetch_add(1, Ordering::Relaxed) + 1;
        let undisturbed = std::mem::replace(&mut self.last, moved) + 1 == moved;
        let others = self.turns.owed.load(Ordering::Relaxed) - usize::from(self.owed);
        if !undisturbed && others > 0 {
            return None;
        }
        let score = self.score(from);
        if score.rest > 0 {
            score.rest -= 1;
            return None;
        }
        Some(Look { turns: self.turns.clone(), moved, until: Instant::now() + self.turns.window })
    }

    fn be_owed(&mut self, owed: bool) {
        match (std::mem::replace(&mut self.owed, owed), owed) {
            (false, true) => drop(self.turns.owed.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.turns.owed.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }

    /// What came of a look.
    pub fn learn(&mut self, from: From, found: bool) {
        let score = self.score(from);
        score.penalty = if found { 0 } else { (score.penalty * 2 + 1).min(SELDOM) };
        score.rest = score.penalty;
    }

    fn score(&mut self, from: From) -> &mut Score {
        match from {
            From::Client => &mut self.client,
            From::Server => &mut self.server,
        }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.be_owed(false);
    }
}

/// A look, until another session moves.
#[derive(Debug)]
pub struct Look {
    turns: Arc<Turns>,
    moved: u64,
    until: Instant,
}

impl Look {
    /// Whether to look once more.
    pub fn goes_on(&self) -> bool {
        self.turns.moved.load(Ordering::Relaxed) == self.moved && Instant::now() < self.until
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sessions() -> (Patience, Patience) {
        let turns = Arc::new(Turns::new(Duration::from_secs(3600)));
        (Patience::new(turns.clone()), Patience::new(turns))
    }

    #[test]
    fn a_look_ends_when_another_session_moves() {
        let (mut one, mut other) = sessions();
        let look = one.look(From::Client).unwrap();
        assert!(look.goes_on());
        let others = other.look(From::Client).unwrap();
        assert!(!look.goes_on() && others.goes_on());
    }

    #[test]
    fn who_is_not_alone_sleeps() {
        let (mut one, mut other) = sessions();
        assert!(one.look(From::Server).is_some());
        // Both are owed an answer, and both move.
        assert!(other.look(From::Server).is_none());
        assert!(one.look(From::Server).is_none());
        // The other one waits for long, without a move.
        assert!(one.look(From::Client).is_some());
        drop(other);
        let (mut one, mut other) = sessions();
        assert!(other.look(From::Server).is_some());
        drop(other);
        assert!(one.look(From::Server).is_some());
    }

    #[test]
    fn looks_in_vain_get_seldom() {
        let (mut one, _) = sessions();
        one.learn(From::Server, false);
        assert!(one.look(From::Server).is_none());
        assert!(one.look(From::Server).is_some());
        one.learn(From::Server, false);
        assert_eq!((0..8).filter(|_| one.look(From::Server).is_some()).count(), 5);
        assert!(one.look(From::Client).is_some());
        one.learn(From::Server, true);
        assert!(one.look(From::Server).is_some());
    }

    #[test]
    fn without_a_window_nobody_looks() {
        let mut only = Patience::new(Arc::new(Turns::new(Duration::ZERO)));
        assert!(only.look(From::Client).is_none());
    }
}
