//! Looking for bytes without sleeping, for a few microseconds.
//!
//! An idle processor takes longer to wake up than PostgreSQL needs for a point query, and a hop wakes
//! twice per statement. So a session that has just sent something looks for the answer for a moment
//! before it sleeps, but only until any session of the process moves (the last to move is the one that
//! looks; under load processors are awake anyway), and more and more seldom where it was in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The most waits that are slept through after looks in vain.
const SELDOM: u32 = 255;

/// What the sessions of a process know of each other.
#[derive(Debug)]
pub struct Turns {
    window: Duration,
    /// Counts what sessions do.
    moved: AtomicU64,
}

impl Turns {
    /// Nobody looks longer than `window`; zero is never.
    pub fn new(window: Duration) -> Self {
        Self { window, moved: AtomicU64::new(0) }
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
        Self { turns, client: Score::default(), server: Score::default() }
    }

    /// The session begins to wait. A look if it may not sleep yet.
    pub fn look(&mut self, from: From) -> Option<Look> {
        let moved = self.turns.moved.fetch_add(1, Ordering::Relaxed) + 1;
        if self.turns.window.is_zero() {
            return None;
        }
        let score = self.score(from);
        if score.rest > 0 {
            score.rest -= 1;
            return None;
        }
        Some(Look { turns: self.turns.clone(), moved, until: Instant::now() + self.turns.window })
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

    #[test]
    fn the_last_to_move_looks_and_rests_when_it_was_in_vain() {
        let turns = Arc::new(Turns::new(Duration::from_secs(3600)));
        let (mut one, mut other) = (Patience::new(turns.clone()), Patience::new(turns.clone()));
        let look = one.look(From::Server).unwrap();
        assert!(look.goes_on());
        let others = other.look(From::Server).unwrap();
        assert!(!look.goes_on() && others.goes_on());

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
