//! Values as they travel to and from the store: both engines know nothing but these.

use epoch_adapter::{Error, Result, sqlstate};

/// A parameter or a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
}

impl From<i64> for Cell {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}
impl From<&str> for Cell {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}
impl From<String> for Cell {
    fn from(v: String) -> Self {
        Self::Text(v)
    }
}
impl From<&String> for Cell {
    fn from(v: &String) -> Self {
        Self::Text(v.clone())
    }
}
impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(v: Option<T>) -> Self {
        v.map_or(Self::Null, Into::into)
    }
}

/// Builds the parameters of a statement.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::metadata::Cell::from($value)),*] };
}
pub(crate) use params;

/// One row of a result.
#[derive(Debug, Clone)]
pub struct Record(pub(super) Vec<Cell>);

impl Record {
    fn cell(&self, i: usize) -> &Cell {
        self.0.get(i).unwrap_or(&Cell::Null)
    }

    /// A BIGINT that isn't NULL.
    pub fn int(&self, i: usize) -> Result<i64> {
        self.opt_int(i)?.ok_or_else(|| unexpected(i))
    }

    /// A TEXT that isn't NULL.
    pub fn text(&self, i: usize) -> Result<String> {
        self.opt_text(i)?.ok_or_else(|| unexpected(i))
    }

    /// A BIGINT.
    pub fn opt_int(&self, i: usize) -> Result<Option<i64>> {
        match self.cell(i) {
            Cell::Int(v) => Ok(Some(*v)),
            Cell::Null => Ok(None),
            Cell::Text(_) => Err(unexpected(i)),
        }
    }

    /// A TEXT.
    pub fn opt_text(&self, i: usize) -> Result<Option<String>> {
        match self.cell(i) {
            Cell::Text(v) => Ok(Some(v.clone())),
            Cell::Null => Ok(None),
            Cell::Int(_) => Err(unexpected(i)),
        }
    }

    /// JSON in a TEXT.
    pub fn json<T: serde::de::DeserializeOwned>(&self, i: usize) -> Result<T> {
        serde_json::from_str(&self.text(i)?).map_err(|e| {
            Error::new(sqlstate::DATA_CORRUPTED, "the metadata store holds a value this version cannot read")
                .with_detail(e.to_string())
        })
    }
}

fn unexpected(i: usize) -> Error {
    Error::new(sqlstate::DATA_CORRUPTED, "the metadata store holds an unexpected value")
        .with_detail(format!("Column {i} of a result."))
}

/// JSON for a TEXT column.
pub fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal(format!("could not serialize: {e}")))
}
