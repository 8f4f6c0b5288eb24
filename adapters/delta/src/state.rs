//! What the log says: registered tables, which version of a table each ordinal of main is, and which files each branch
//! holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use epoch_adapter::{LineageId, Ordinal, Sealed, TableDef, TableId};
use serde::{Deserialize, Serialize};

/// Seals whose results are remembered: operations are repeated right after they were interrupted, or never.
const SEALS: usize = 256;

/// A file of rows, or of keys that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// Below the backend's folder.
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
}

/// An ordinal of main.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub ordinal: Ordinal,
    /// The version of the Delta table.
    pub version: u64,
    /// Rows that the ordinal shows otherwise than the version: what others had changed and nobody had committed yet.
    pub over: Option<File>,
    /// The rows that differ from the ordinal before, for looking up where a key was changed.
    pub changed: Option<File>,
}

/// What a branch holds of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The ordinal of main below it.
    pub base: Ordinal,
    /// What each ordinal changed, in order; ordinal 0 is what a nested branch got from its parent.
    pub sealed: Vec<(Ordinal, File)>,
    /// What isn't committed, in order.
    pub pending: Vec<File>,
}

/// A registered table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Its folder.
    pub path: String,
    /// The id in its metadata: another one is another table.
    pub identity: String,
    /// The first is what was there at the registration.
    pub main: Vec<Point>,
    pub layers: BTreeMap<i64, Arc<Held>>,
}

impl Table {
    /// Main at an ordinal.
    pub(crate) fn point(&self, ordinal: Ordinal) -> Option<&Point> {
        self.main.iter().rev().find(|p| p.ordinal <= ordinal).or(self.main.first())
    }

    /// Main as it was published last.
    pub(crate) fn last(&self) -> Option<&Point> {
        self.main.last()
    }
}

/// What a transaction wrote to a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub table: i64,
    pub lineage: i64,
    pub file: File,
}

/// What a seal published of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub table: i64,
    /// Of main.
    pub point: Option<Point>,
    /// Of a branch: what changed.
    pub file: Option<File>,
    /// Of a branch: what stays uncommitted.
    pub rest: Option<File>,
}

/// What an operation is going to do to main's tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub operation: String,
    pub ordinal: Ordinal,
    /// Only its own keys are published.
    pub own: bool,
    /// All tables of the seal.
    pub tables: Vec<TableDef>,
    pub parts: Vec<Intended>,
    /// Its number in the tables' logs.
    pub number: i64,
}

/// The changes of an operation to one of main's tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intended {
    pub table: i64,
    /// The version at which they were compared.
    pub version: u64,
    /// The rows as they were, and as they become.
    pub before: File,
    pub after: File,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    /// A table is registered, by a repository.
    Install {
        owner: String,
        table: i64,
        path: String,
        identity: String,
        version: u64,
    },
    Uninstall {
        table: i64,
    },
    /// A branch may be written to.
    Layer {
        table: i64,
        lineage: i64,
        base: Ordinal,
        copy: Option<File>,
    },
    Write {
        parts: Vec<Written>,
    },
    Seal {
        operation: String,
        lineage: i64,
        ordinal: Ordinal,
        sealed: Sealed,
        parts: Vec<Part>,
    },
    Intend(Box<Intent>),
    /// An operation didn't take place.
    GiveUp {
        operation: String,
    },
    /// A branch holds nothing of a table any more.
    Drop {
        table: i64,
        lineage: i64,
    },
    /// What a branch changed from one ordinal up to another is one file, under the second.
    Squash {
        table: i64,
        lineage: i64,
        since: Ordinal,
        until: Ordinal,
        file: File,
    },
    /// Ordinals of main that nobody looks at.
    Thin {
        table: i64,
        ordinals: Vec<Ordinal>,
    },
}

/// A seal that took place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub operation: String,
    pub sealed: Sealed,
}

/// Everything that the log says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The number of the next entry.
    pub next: u64,
    /// The repository that the tables are registered in.
    pub owner: Option<String>,
    pub tables: BTreeMap<i64, Arc<Table>>,
    pub done: VecDeque<Done>,
    pub intents: Vec<Intent>,
}

impl State {
    pub(crate) fn table(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id.0)
    }

    pub(crate) fn held(&self, id: TableId, lineage: LineageId) -> Option<&Arc<Held>> {
        self.table(id)?.layers.get(&lineage.0)
    }

    /// The result of an operation.
    pub(crate) fn sealed(&self, operation: &str) -> Option<&Sealed> {
        self.done.iter().rev().find(|d| d.operation == operation).map(|d| &d.sealed)
    }

    pub(crate) fn apply(&mut self, event: Event) {
        self.next += 1;
        match event {
            Event::Install { owner, table, path, identity, version } => {
                self.owner = Some(owner);
                let first = Point { ordinal: Ordinal::MIN, version, over: None, changed: None };
                let fresh = Table { path, identity, main: vec![first], layers: BTreeMap::new() };
                self.tables.entry(table).or_insert_with(|| Arc::new(fresh));
            }
            Event::Uninstall { table } => {
                self.tables.remove(&table);
                if self.tables.is_empty() {
                    self.owner = None;
                }
            }
            Event::Layer { table, lineage, base, copy } => self.change(table, |t| {
                let sealed = copy.map(|file| (0, file)).into_iter().collect();
                t.layers
                    .entry(lineage)
                    .or_insert_with(|| Arc::new(Held { base, sealed, pending: Vec::new() }));
            }),
            Event::Write { parts } => {
                for Written { table, lineage, file } in parts {
                    self.change_held(table, lineage, |held| held.pending.push(file));
                }
            }
            Event::Seal { operation, lineage, ordinal, sealed, parts } => {
                for part in parts {
                    self.publish(lineage, ordinal, part);
                }
                self.intents.retain(|i| i.operation != operation);
                self.done.push_back(Done { operation, sealed });
                while self.done.len() > SEALS {
                    self.done.pop_front();
                }
            }
            Event::Intend(intent) => self.intents.push(*intent),
            Event::GiveUp { operation } => self.intents.retain(|i| i.operation != operation),
            Event::Drop { table, lineage } => self.change(table, |t| {
                t.layers.remove(&lineage);
            }),
            Event::Squash { table, lineage, since, until, file } => {
                self.change_held(table, lineage, |held| {
                    let place = held.sealed.partition_point(|(o, _)| *o < since);
                    held.sealed.retain(|(o, _)| *o < since || *o > until);
                    held.sealed.insert(place, (until, file));
                })
            }
            Event::Thin { table, ordinals } => {
                self.change(table, |t| t.main.retain(|p| !ordinals.contains(&p.ordinal)))
            }
        }
    }

    fn change(&mut self, table: i64, change: impl FnOnce(&mut Table)) {
        if let Some(table) = self.tables.get_mut(&table) {
            change(Arc::make_mut(table));
        }
    }

    fn change_held(&mut self, table: i64, lineage: i64, change: impl FnOnce(&mut Held)) {
        self.change(table, |t| {
            if let Some(held) = t.layers.get_mut(&lineage) {
                change(Arc::make_mut(held));
            }
        });
    }

    fn publish(&mut self, lineage: i64, ordinal: Ordinal, part: Part) {
        let Part { table, point, file, rest } = part;
        if let Some(point) = point {
            self.change(table, |t| t.main.push(point));
            return;
        }
        self.change_held(table, lineage, |held| {
            held.sealed.extend(file.map(|file| (ordinal, file)));
            held.pending = rest.into_iter().collect();
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        File { name: name.to_owned(), rows: 1, bytes: 1 }
    }

    fn installed() -> State {
        let mut state = State::default();
        let (owner, path) = ("r".to_owned(), "t".to_owned());
        state.apply(Event::Install { owner, table: 1, path, identity: "x".into(), version: 4 });
        state
    }

    #[test]
    fn an_ordinal_that_a_table_had_no_part_in_shows_the_one_before() {
        let mut state = installed();
        let point = Point { ordinal: 3, version: 9, over: None, changed: None };
        let part = Part { table: 1, point: Some(point), file: None, rest: None };
        state.apply(Event::Seal {
            operation: "o".into(),
            lineage: 1,
            ordinal: 3,
            sealed: Sealed::default(),
            parts: vec![part],
        });
        let table = state.table(TableId(1)).unwrap();
        let version = |ordinal| table.point(ordinal).unwrap().version;
        assert_eq!([version(0), version(2), version(3), version(7)], [4, 4, 9, 9]);
        assert!(state.sealed("o").is_some() && state.sealed("p").is_none());
    }

    #[test]
    fn a_seal_takes_pending_files_and_leaves_the_rest() {
        let mut state = installed();
        state.apply(Event::Layer { table: 1, lineage: 2, base: 0, copy: Some(file("copy")) });
        for name in ["a", "b"] {
            let parts = vec![Written { table: 1, lineage: 2, file: file(name) }];
            state.apply(Event::Write { parts });
        }
        let part = Part { table: 1, point: None, file: Some(file("net")), rest: Some(file("rest")) };
        let (operation, sealed) = ("o".to_owned(), Sealed::default());
        state.apply(Event::Seal { operation, lineage: 2, ordinal: 1, sealed, parts: vec![part] });
        let held = state.held(TableId(1), LineageId(2)).unwrap();
        assert_eq!(held.sealed, [(0, file("copy")), (1, file("net"))]);
        assert_eq!(held.pending, [file("rest")]);
    }

    #[test]
    fn squashed_ordinals_are_one() {
        let mut state = installed();
        state.apply(Event::Layer { table: 1, lineage: 2, base: 0, copy: None });
        for ordinal in 1..=5 {
            let part = Part { table: 1, point: None, file: Some(file(&format!("{ordinal}"))), rest: None };
            let (operation, sealed) = (format!("o{ordinal}"), Sealed::default());
            state.apply(Event::Seal { operation, lineage: 2, ordinal, sealed, parts: vec![part] });
        }
        state.apply(Event::Squash { table: 1, lineage: 2, since: 2, until: 4, file: file("234") });
        let held = state.held(TableId(1), LineageId(2)).unwrap();
        let ordinals: Vec<_> = held.sealed.iter().map(|(o, f)| (*o, f.name.as_str())).collect();
        assert_eq!(ordinals, [(1, "1"), (4, "234"), (5, "5")]);
    }
}
