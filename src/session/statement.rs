//! The client's prepared statements: their texts, and how each is run now.

use std::collections::{HashMap, VecDeque};

use crate::query::Rewritten;

/// What a plan holds for: the ref and the repository's state, what names mean, and a time.
pub type Stamp = (u64, u64, u64);

/// A prepared statement of the client.
#[derive(Debug, Default)]
pub struct Statement<R> {
    /// The client's text.
    pub sql: Vec<u8>,
    /// The parameter types that the client gave.
    pub types: Vec<u32>,
    /// The parameter types as the server sees them, once known.
    pub described: Option<Vec<u32>>,
    /// How it is run.
    pub route: R,
    /// What the route was made for; another stamp asks for a new route.
    pub stamp: Stamp,
    /// Unique in the session.
    pub number: u64,
    /// The server has it under this number of ours instead of the client's name.
    pub kept: Option<u64>,
}

impl<R> Statement<R> {
    /// The type of a parameter; 0 if it isn't known.
    pub fn type_of(&self, i: usize) -> u32 {
        let given = self.types.get(i).copied().filter(|oid| *oid != 0);
        let described = || self.described.as_ref().and_then(|types| types.get(i).copied());
        given.or_else(described).unwrap_or(0)
    }

    /// The types of all parameters, as far as they are known.
    pub fn known_types(&self) -> Vec<u32> {
        let described = self.described.as_ref().map_or(0, Vec::len);
        (0..self.types.len().max(described)).map(|i| self.type_of(i)).collect()
    }

    /// Whether what runs before the statement needs to know types of parameters that aren't known.
    pub fn needs_types(&self, rewritten: &Rewritten) -> bool {
        if self.described.is_some() {
            return false;
        }
        rewritten.late || rewritten.prelude.iter().flat_map(|p| &p.params).any(|&i| self.type_of(i) == 0)
    }
}

/// All of them, by name. A Parse counts from when it was sent, but only for good once the server
/// accepted it.
#[derive(Debug, Default)]
pub struct Statements<R> {
    named: HashMap<Vec<u8>, Statement<R>>,
    pending: VecDeque<(Vec<u8>, Statement<R>)>,
    spare: Vec<Statement<R>>,
    number: u64,
}

impl<R: Default> Statements<R> {
    /// A statement whose Parse is being sent. Keeps allocations of earlier ones.
    pub fn begin(&mut self, sql: &[u8], types: impl Iterator<Item = u32>) -> Statement<R> {
        let mut statement = self.spare.pop().unwrap_or_default();
        self.number += 1;
        statement.number = self.number;
        statement.sql.clear();
        statement.sql.extend_from_slice(sql);
        statement.types.clear();
        statement.types.extend(types);
        statement.described = None;
        statement.kept = None;
        statement
    }

    /// The Parse was sent; [`Statements::settle`] says what became of it.
    pub fn sent(&mut self, name: &[u8], statement: Statement<R>) {
        self.pending.push_back((name.to_vec(), statement));
    }

    /// The oldest Parse that was sent succeeded, or not.
    pub fn settle(&mut self, ok: bool) {
        let Some((name, statement)) = self.pending.pop_front() else { return };
        if ok {
            self.insert(name, statement);
        } else {
            self.recycle(statement);
        }
    }

    /// Holds a statement that the server knows, or that is ours alone.
    pub fn insert(&mut self, name: Vec<u8>, statement: Statement<R>) {
        if let Some(old) = self.named.insert(name, statement) {
            self.recycle(old);
        }
    }

    fn recycle(&mut self, mut statement: Statement<R>) {
        const MOST: usize = 8;
        if self.spare.len() < MOST && statement.sql.capacity() < 64 << 10 {
            statement.route = R::default();
            self.spare.push(statement);
        }
    }

    /// The statement that a Bind or Describe sent now would get.
    pub fn get(&mut self, name: &[u8]) -> Option<&mut Statement<R>> {
        match self.pending.iter().rposition(|(n, _)| n == name) {
            Some(i) => self.pending.get_mut(i).map(|(_, statement)| statement),
            None => self.named.get_mut(name),
        }
    }

    /// Whether it isn't known yet what became of a Parse of this name.
    pub fn is_pending(&self, name: &[u8]) -> bool {
        self.pending.iter().any(|(n, _)| n == name)
    }

    /// By number.
    pub fn numbered(&mut self, number: u64) -> Option<&mut Statement<R>> {
        let pending = self.pending.iter_mut().map(|(_, s)| s);
        pending.chain(self.named.values_mut()).find(|s| s.number == number)
    }

    /// Forgets one.
    pub fn close(&mut self, name: &[u8]) {
        if let Some(old) = self.named.remove(name) {
            self.recycle(old);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.named.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_parse_that_failed_leaves_the_old_statement() {
        let mut all: Statements<u8> = Statements::default();
        for (sql, ok) in [(&b"one"[..], true), (b"two", false)] {
            let statement = all.begin(sql, [].into_iter());
            all.sent(b"s", statement);
            assert_eq!(all.get(b"s").unwrap().sql, sql);
            all.settle(ok);
        }
        assert_eq!(all.get(b"s").unwrap().sql, b"one");
        all.close(b"s");
        assert!(all.get(b"s").is_none());
    }
}
