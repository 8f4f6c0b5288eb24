use std::sync::Arc;

use crate::{EnumDef, Revision, TableDef, TableSchema, View, ViewChange, ViewDef};

/// What a table made on a branch is.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its columns and key.
    pub schema: TableSchema,
    /// Everything that two definitions may differ in, as text: columns, constraints, indexes, comments. Two
    /// tables of one name with equal texts were defined alike.
    pub text: String,
    /// Of a revision, how it comes from the version before.
    pub revision: Option<Revision>,
    /// Of a view, what it is.
    pub view: Option<Box<ViewDef>>,
    /// Of a type, what it is.
    pub enumeration: Option<Box<EnumDef>>,
}

/// A part of a client's statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// The client's text.
    Text(String),
    /// The table, where the client's text has a name of so many characters.
    Own(usize),
    /// A table that a foreign key refers to, in place of a name.
    Parent(Arc<TableDef>, usize),
    /// Something in the table's schema, by its name.
    Beside(String),
    /// A type that a branch made, as SQL, in place of a name.
    Type(String, usize),
    /// Anything else in place of a name.
    Other(String, usize),
    /// A relation that a view's query reads.
    Read {
        /// Its schema, as sessions know it.
        schema: String,
        /// Its name.
        name: String,
        /// What it is like, quoted and qualified.
        like: String,
        /// `ONLY `, `TABLE `.
        lead: String,
        /// How long the client's name is.
        width: usize,
    },
}

/// A statement of the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Its parts, in order.
    pub pieces: Vec<Piece>,
    /// Settings of the client's session that the meaning of the text depends on, and their values.
    pub settings: Vec<(String, String)>,
}

/// How a draft comes to be, or changes.
#[derive(Debug, Clone, PartialEq)]
pub enum DraftChange {
    /// CREATE TABLE.
    Create(Statement),
    /// Anything else. The statement runs on the table with the rows that the layer holds, so that what it
    /// demands of rows is checked.
    Alter(Statement),
    /// CREATE, ALTER and DROP VIEW.
    View(Box<ViewChange>),
    /// CREATE TYPE … AS ENUM.
    Enum(Statement),
    /// Makes a new version of a table that stays as it is for everybody else. `view` is what the branch sees
    /// of it; what the statement demands of rows is checked over that.
    Revise {
        /// The version before.
        of: Arc<TableDef>,
        /// The branch's working state of it, in the branch's own layer.
        view: View,
        /// The statement.
        statement: Statement,
    },
    /// As [`DraftChange::Revise`]: a version that is the same but for its name or schema.
    Move {
        /// The version before.
        of: Arc<TableDef>,
        /// The branch's working state of it.
        view: View,
    },
}
