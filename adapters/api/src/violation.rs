use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Row, TableDef, View};

/// What a row does not keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// NOT NULL.
    NotNull,
    /// CHECK.
    Check,
    /// A unique constraint or index, or the primary key.
    Unique,
    /// A foreign key.
    ForeignKey,
}

impl Rule {
    /// As in `epoch.constraint_violations`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotNull => "not null",
            Self::Check => "check",
            Self::Unique => "unique",
            Self::ForeignKey => "foreign key",
        }
    }
}

/// A row that does not keep to a constraint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// What kind of constraint.
    pub rule: Rule,
    /// Its name; of NOT NULL, the column's.
    pub constraint: String,
    /// The row's key, in key order.
    pub key: Row,
    /// As the DETAIL of the error that a write would have got.
    pub detail: String,
}

/// A table and what is seen of it.
pub type SeenTable = (Arc<TableDef>, View);
