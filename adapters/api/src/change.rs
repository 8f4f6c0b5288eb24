use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Row, TableDef};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The row is only on the `to` side.
    Added,
    /// The row is on both sides and differs.
    Modified,
    /// The row is only on the `from` side.
    Removed,
}

impl ChangeKind {
    /// `added`, `modified` or `removed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Removed => "removed",
        }
    }
}

/// One row that differs between two states. Not both sides are `None`, and they are not equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowChange {
    /// The key, in key order.
    pub key: Row,
    /// The whole row before, if there was one.
    pub before: Option<Row>,
    /// The whole row after, if there is one.
    pub after: Option<Row>,
}

impl RowChange {
    /// What happened.
    pub fn kind(&self) -> ChangeKind {
        match (&self.before, &self.after) {
            (None, _) => ChangeKind::Added,
            (Some(_), Some(_)) => ChangeKind::Modified,
            (Some(_), None) => ChangeKind::Removed,
        }
    }
}

/// The changes to one table.
#[derive(Debug, Clone)]
pub struct TableChanges {
    /// The table.
    pub table: Arc<TableDef>,
    /// At most one change per key.
    pub changes: Vec<RowChange>,
    /// Of a version of a table that the lineage gets with these changes, how.
    pub arrival: Option<crate::Arrival>,
}

/// One keyed write of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum RowWrite {
    /// 23505 if the key exists. `None` in a cell asks for the column's default.
    Insert(Vec<Option<crate::Value>>),
    /// Sets columns of the row with this key; affects nothing if there is no such row.
    Update {
        /// The key, in key order.
        key: Row,
        /// Column index and new value.
        set: Vec<(usize, crate::Value)>,
    },
    /// Affects nothing if there is no such row.
    Delete {
        /// The key, in key order.
        key: Row,
    },
}

/// What a seal takes of the pending work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealMode {
    /// Everything that is committed in the backend.
    All,
    /// Only the keys that this seal's own changes touched; other work stays pending.
    Own,
    /// As [`SealMode::Own`]; refused ([`crate::Error::altered`], nothing applied) if a row would not become what its
    /// change says.
    Exact,
}

impl SealMode {
    /// Whether other work than the seal's own stays pending.
    pub fn is_own(self) -> bool {
        self != Self::All
    }
}

/// Net changes of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableStats {
    /// Rows that are new.
    pub added: i64,
    /// Rows that differ.
    pub modified: i64,
    /// Rows that are gone.
    pub removed: i64,
    /// Cells that differ in modified rows; counted by diffs, 0 elsewhere.
    pub cells: i64,
}

impl TableStats {
    /// Rows that changed in any way.
    pub fn rows(&self) -> i64 {
        self.added + self.modified + self.removed
    }
}

/// What a seal published, for the tables that had changes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sealed {
    /// Per table: its id, what changed, and a SHA-256 (hex) over the changed rows after the change,
    /// ordered by key: equal content gives equal digests.
    pub tables: Vec<(crate::TableId, TableStats, String)>,
    /// Whether rows of main did not become what the changes say: triggers of the user's had a say, too.
    #[serde(default)]
    pub altered: bool,
}
