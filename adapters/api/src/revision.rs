use serde::{Deserialize, Serialize};

use crate::{
    Definition, Location, Piece, Segment, Statement, TableDef, TableId, TableName, TableSchema, View,
};
use std::sync::Arc;

/// Where a column of a revision has its value from, in rows of the version before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A column of the version before, brought to other types in this order. None of the casts can fail.
    Column {
        /// Its name there.
        name: String,
        /// Types, as the backend writes them.
        casts: Vec<String>,
    },
    /// The same value in all rows: an SQL expression with its type.
    Value(String),
}

/// What makes a table a revision: it is a version of another table, made by ALTER TABLE and the like on a
/// branch. Rows that main has below the branch's layers are those of the version before, seen through
/// [`Revision::columns`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// The version before.
    pub of: TableId,
    /// Where the columns come from, in the table's order.
    pub columns: Vec<Origin>,
    /// The change was one that works out each row anew, so the branch's layer holds all of them, and
    /// [`Revision::columns`] don't say all.
    pub whole: bool,
    /// Rows have values of their own in new columns (a volatile default, an identity): done again, the change would
    /// give others.
    #[serde(default)]
    pub own_values: bool,
    /// What the client did, in order.
    pub statements: Vec<Replay>,
    /// The numbers of the versions that the statements made, in their order, where not all made this one.
    #[serde(default)]
    pub made: Vec<TableId>,
    /// Of a version that a merge made of two: the other one.
    #[serde(default)]
    pub also: Option<Box<Also>>,
}

/// The second of two versions that a merge made one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Also {
    /// Its number.
    pub of: TableId,
    /// Where the columns come from, in terms of its own.
    pub columns: Vec<Origin>,
    /// What makes it the new version, but for the order of the columns.
    pub statements: Vec<Replay>,
}

impl Revision {
    /// The versions that it was made from, with where the columns come from in terms of each.
    pub fn ways(&self) -> impl Iterator<Item = (TableId, &[Origin])> {
        let also = self.also.iter().map(|also| (also.of, also.columns.as_slice()));
        std::iter::once((self.of, self.columns.as_slice())).chain(also)
    }

    /// The statements of this version, `id`, with the numbers of the versions that they made.
    pub fn numbered(&self, id: TableId) -> Vec<(TableId, Replay)> {
        let made = |i: usize| self.made.get(i).copied().unwrap_or(id);
        self.statements.iter().enumerate().map(|(i, s)| (made(i), s.clone())).collect()
    }
}

/// Two versions of a table that were made from one, each in its own way.
#[derive(Debug, Clone, PartialEq)]
pub struct Siblings {
    /// What both were made from; or the first one, if the second was made from that.
    pub base: Arc<TableDef>,
    /// The one that the new version is made from: its columns come first.
    pub first: Arc<TableDef>,
    /// The other one.
    pub second: Arc<TableDef>,
    /// Where the first one's columns come from, in terms of the base.
    pub first_columns: Vec<Origin>,
    /// Where the second one's columns come from, in terms of the base.
    pub second_columns: Vec<Origin>,
    /// The numbers under which the new version's statements are done: those of foreign keys, which refer to what other
    /// tables got before, are the last.
    pub numbers: [TableId; 2],
}

/// What became of two versions that were to be made one.
#[derive(Debug, Clone, PartialEq)]
pub enum Combined {
    /// A version that has what was done on both sides.
    Made(Box<Definition>),
    /// They don't fit: the columns, constraints and indexes that are different on each side.
    Differs(Vec<String>),
}

/// Where main's rows of a version of a table are, and main's history, in the columns of this version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The version that is main's table now, or was the last one that was.
    pub table: TableId,
    /// The base with main's rows; `None` if it is the version's own.
    pub rows: Option<Seen>,
    /// The versions with history of main, which together are one line of it.
    pub images: Vec<(TableId, Vec<Origin>)>,
}

/// A place, and where columns come from in terms of those that it has.
pub type Seen = (Location, Vec<Origin>);

impl Source {
    /// The source of a table whose columns come from those of `older`.
    pub fn of(older: &TableDef, columns: &[Origin]) -> Self {
        let own = (older.location.clone(), columns.to_vec());
        match &older.source {
            None => Self { table: older.id, rows: Some(own), images: vec![(older.id, columns.to_vec())] },
            Some(source) => Self {
                table: source.table,
                rows: match &source.rows {
                    None => Some(own),
                    Some((place, inner)) => Some((place.clone(), compose(columns, &older.schema, inner))),
                },
                images: source
                    .images
                    .iter()
                    .map(|(id, inner)| (*id, compose(columns, &older.schema, inner)))
                    .collect(),
            },
        }
    }

    /// A column of the version that main has now, if it is one still.
    pub fn column_on_main(&self, index: usize) -> Option<(&Location, &str)> {
        match self.rows.as_ref().and_then(|(place, columns)| Some((place, columns.get(index)?))) {
            Some((place, Origin::Column { name, .. })) => Some((place, name)),
            _ => None,
        }
    }
}

/// A version of a table that was main's, until a merge brought a newer one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retired {
    /// The newer version.
    pub by: TableId,
    /// Where the columns come from in terms of the newer version's. `None`: not all can be told, so when the
    /// newer one came, all rows were noted in the history.
    pub columns: Option<Vec<Origin>>,
}

/// The columns as they are.
pub fn unchanged(schema: &TableSchema) -> Vec<Origin> {
    schema.columns.iter().map(|c| Origin::Column { name: c.name.clone(), casts: Vec::new() }).collect()
}

/// Where a revision comes to with a merge.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// To main: it takes the place of main's table.
    Home(Box<Homecoming>),
    /// To a branch: its constraints are checked over the rows that the branch sees.
    Branch,
    /// To a branch, where it is as it was.
    Back,
    /// It leaves the branch.
    Gone,
    /// To main, of a view: it takes the place of main's of its name, which must be one of these texts
    /// (see [`crate::ViewDef::text`]), or as the view itself.
    View(Vec<Option<String>>),
    /// To main, of a type: it is moved to where it belongs, before all else.
    Type,
}

/// How a revision becomes main's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Homecoming {
    /// Main's table as it is before.
    pub before: Arc<TableDef>,
    /// The same version afterwards: at a place of its own, for old commits and branches.
    pub retired: Arc<TableDef>,
    /// The revision before.
    pub draft: Arc<TableDef>,
    /// What is done to main's table, in order, each under the number of the version that it made.
    pub statements: Vec<(TableId, Replay)>,
    /// Other versions of the table, as they are afterwards: what main has of them is seen another way.
    pub others: Vec<Arc<TableDef>>,
}

/// Columns that come from those of a table (`middle`) which come from others themselves (`inner`).
#[must_use]
pub fn compose(outer: &[Origin], middle: &TableSchema, inner: &[Origin]) -> Vec<Origin> {
    let through = |origin: &Origin| match origin {
        Origin::Value(value) => Origin::Value(value.clone()),
        Origin::Column { name, casts } => match middle.index_of(name).and_then(|i| inner.get(i)) {
            Some(Origin::Column { name, casts: first }) => {
                Origin::Column { name: name.clone(), casts: first.iter().chain(casts).cloned().collect() }
            }
            Some(Origin::Value(value)) => {
                Origin::Value(casts.iter().fold(value.clone(), |value, cast| format!("({value})::{cast}")))
            }
            None => Origin::Value("NULL".to_owned()),
        },
    };
    outer.iter().map(through).collect()
}

/// A statement that can be run again, on another version of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Its parts, in order.
    pub parts: Vec<Part>,
    /// As [`Statement::settings`].
    pub settings: Vec<(String, String)>,
    /// It gives the table another name or schema, instead of running its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<TableName>,
}

/// A part of a [`Replay`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The client's text.
    Text(String),
    /// The table.
    Own,
    /// Something in the table's schema, by its name.
    Beside(String),
    /// A table that a foreign key refers to, by its first version.
    Parent(TableId),
}

impl Replay {
    /// `None` if the statement concerns other tables.
    pub fn of(statement: &Statement) -> Option<Self> {
        let part = |piece: &Piece| match piece {
            // A type keeps its name until it comes to main (see `TableDef::with_types_renamed`).
            Piece::Text(text) | Piece::Type(text, _) => Some(Part::Text(text.clone())),
            Piece::Own(_) => Some(Part::Own),
            Piece::Beside(name) => Some(Part::Beside(name.clone())),
            Piece::Parent(parent, _) => Some(Part::Parent(parent.id)),
            Piece::Other(..) | Piece::Read { .. } => None,
        };
        let parts = statement.pieces.iter().map(part).collect::<Option<_>>()?;
        Some(Self { parts, settings: statement.settings.clone(), to: None })
    }

    /// Gives the table another name or schema.
    pub fn moved(to: &TableName) -> Self {
        Self { parts: Vec::new(), settings: Vec::new(), to: Some(to.clone()) }
    }

    /// The tables that it names as parents.
    pub fn parents(&self) -> impl Iterator<Item = TableId> {
        self.parts.iter().filter_map(|part| if let Part::Parent(id) = part { Some(*id) } else { None })
    }

    /// As a statement; `parent`: what stands in the place of a parent.
    pub fn statement(&self, parent: impl Fn(TableId) -> Piece) -> Statement {
        let piece = |part: &Part| match part {
            Part::Text(text) => Piece::Text(text.clone()),
            Part::Own => Piece::Own(0),
            Part::Beside(name) => Piece::Beside(name.clone()),
            Part::Parent(id) => parent(*id),
        };
        Statement { pieces: self.parts.iter().map(piece).collect(), settings: self.settings.clone() }
    }
}

/// One side of a comparison of two versions of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// The version that is read.
    pub table: Arc<TableDef>,
    /// What is read of it.
    pub view: View,
    /// Where the columns that are compared come from; `None` if they are the version's own.
    pub columns: Option<Vec<Origin>>,
}

/// The history of one version between two sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Touched {
    /// The version.
    pub table: Arc<TableDef>,
    /// The names of its key columns, in the order of the key that is compared.
    pub key: Vec<String>,
    /// The stretches.
    pub segments: Vec<Segment>,
}

/// Two versions of a table to be compared, in the columns of the newer one.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The newer version.
    pub shape: Arc<TableDef>,
    /// The left side.
    pub from: Side,
    /// The right side.
    pub to: Side,
    /// History that covers what differs, of each version.
    pub touched: Vec<Touched>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Column;

    fn column(name: &str) -> Column {
        Column {
            name: name.to_owned(),
            type_name: "text".to_owned(),
            pg_type: "text".to_owned(),
            data_type: arrow::datatypes::DataType::Utf8,
            nullable: true,
            generated: false,
            default: None,
            equality: None,
        }
    }

    fn from(name: &str, casts: &[&str]) -> Origin {
        Origin::Column { name: name.to_owned(), casts: casts.iter().map(|c| (*c).to_owned()).collect() }
    }

    #[test]
    fn origins_compose() {
        let middle = TableSchema { columns: vec![column("b"), column("c")], key: vec![0] };
        let inner = [from("a", &["int"]), Origin::Value("7".to_owned())];
        let outer = [from("c", &["text"]), from("b", &["bigint"]), Origin::Value("NULL::text".to_owned())];
        assert_eq!(
            compose(&outer, &middle, &inner),
            [
                Origin::Value("(7)::text".to_owned()),
                from("a", &["int", "bigint"]),
                Origin::Value("NULL::text".to_owned())
            ]
        );
    }

    #[test]
    fn a_statement_that_concerns_others_is_not_replayed() {
        let statement = |pieces: Vec<Piece>| Statement { pieces, settings: vec![] };
        let own = statement(vec![
            Piece::Text("ALTER TABLE ".to_owned()),
            Piece::Own(0),
            Piece::Beside("i".to_owned()),
        ]);
        let none = |_: TableId| Piece::Other(String::new(), 0);
        assert_eq!(Replay::of(&own).map(|replay| replay.statement(none)), Some(own));
        assert_eq!(Replay::of(&statement(vec![Piece::Other("x".to_owned(), 1)])), None);
    }
}
