use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Statement, TableDef, TableId};

/// What a name means, as a view, on the branches that show this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDef {
    /// The query, as the backend writes it, with its names as sessions know them, all with their schemas. `None`:
    /// there is no view of this name, whatever main has.
    pub query: Option<String>,
    /// Names and types of the columns.
    pub columns: Vec<(String, String)>,
    /// Options as the backend writes them, e.g. `security_barrier=true`.
    pub options: Vec<String>,
    /// COMMENT ON VIEW.
    pub comment: Option<String>,
    /// The relations that the query names.
    pub reads: Vec<ViewRead>,
    /// All relations that it reads, by other views too, as schema and name.
    pub reaches: Vec<(String, String)>,
    /// What main had of this name when a branch first defined it, options and query; `None`: nothing.
    pub of: Option<String>,
}

/// A relation that a view's query names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRead {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns of it that the query uses.
    pub columns: Vec<String>,
}

impl ViewDef {
    /// Options and query as one text, to compare two definitions; `None` if there is no view.
    pub fn text(&self) -> Option<String> {
        self.query.as_ref().map(|query| format!("{}\n{query}", self.options.join(", ")))
    }

    /// Whether conditions from outside must not see rows that the query leaves out.
    pub fn is_barrier(&self) -> bool {
        self.options.iter().any(|o| o.starts_with("security_barrier=") && o != "security_barrier=false")
    }

    /// A relation, if the query names it.
    pub fn names(&self, schema: &str, name: &str) -> Option<&ViewRead> {
        self.reads.iter().find(|read| read.schema == schema && read.name == name)
    }
}

/// How a view comes to be on a branch, changes, or goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ViewChange {
    /// CREATE VIEW; `None`: from now on there is none of this name.
    pub statement: Option<Statement>,
    /// ALTER VIEW, done to what that makes.
    pub then: Option<Statement>,
    /// What the branch itself says of this name: the client's OR REPLACE is checked against it, or else against main's.
    pub before: Option<Arc<TableDef>>,
    /// The definition that isn't there any more then: that one, or one that came to main.
    pub replaces: Option<TableId>,
    /// OR REPLACE.
    pub replace: bool,
    /// COMMENT ON VIEW.
    pub comment: Option<String>,
    /// As [`ViewDef::reaches`].
    pub reaches: Vec<(String, String)>,
}
