//! Foreign keys that are due at the end of a statement.

use std::collections::HashSet;
use std::sync::Arc;

use epoch_adapter::{Result, Row, Value};

use crate::view::Places;

/// A foreign key that must hold for some values.
#[derive(Debug, Clone)]
pub struct Due<F> {
    /// The key.
    pub fk: Arc<F>,
    /// The values.
    pub values: Row,
    /// Whether a parent went away; else a child came.
    pub parent_gone: bool,
}

/// Foreign keys to check at the end of the statement.
#[derive(Debug)]
pub struct Checks<F> {
    due: Vec<Due<F>>,
    seen: HashSet<(usize, bool, Row)>,
}

impl<F> Default for Checks<F> {
    fn default() -> Self {
        Self { due: Vec::new(), seen: HashSet::new() }
    }
}

impl<F> Checks<F> {
    fn push(&mut self, due: Due<F>) {
        if self.seen.insert((Arc::as_ptr(&due.fk) as usize, due.parent_gone, due.values.clone())) {
            self.due.push(due);
        }
    }

    /// A row that may need a parent: what it has in the key's columns.
    pub fn child(&mut self, fk: &Arc<F>, values: Option<Row>) {
        if let Some(values) = values {
            self.push(Due { fk: Arc::clone(fk), values, parent_gone: false });
        }
    }

    /// A row that others may refer to: what it had in the columns that they refer to, and has now (`None`: it was
    /// deleted).
    pub fn parent(&mut self, fk: &Arc<F>, before: Option<Row>, after: Option<Row>) {
        if let Some(values) = before.filter(|values| after.as_ref() != Some(values)) {
            self.push(Due { fk: Arc::clone(fk), values, parent_gone: true });
        }
    }

    /// What is due, which isn't any more.
    pub fn take(&mut self) -> Vec<Due<F>> {
        self.seen.clear();
        std::mem::take(&mut self.due)
    }
}

/// The values of some columns, `None` if one of them is NULL: then the key doesn't count.
///
/// # Errors
/// XX000 for a column that the table doesn't have.
pub fn values_of(places: &Places, columns: &[String], row: &Row) -> Result<Option<Row>> {
    let values: Row = places.indexes(columns)?.iter().filter_map(|&i| row.get(i).cloned()).collect();
    Ok((!values.iter().any(Value::is_null)).then_some(values))
}
