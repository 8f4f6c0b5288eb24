//! Which names the expressions of a query can see.

use super::TableRef;

/// A query or a data-modifying statement, and what its expressions can name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The query around it whose columns it can use too.
    pub outer: Option<usize>,
    /// What its FROM, USING or target names.
    pub items: Vec<Item>,
}

/// One thing that FROM, USING or a target names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// By what expressions call it.
    pub name: String,
    /// The index among the statement's tables, if it is a table.
    pub table: Option<usize>,
}

/// A column reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnUse {
    /// Its parts; `None` is `*`.
    pub fields: Vec<Option<String>>,
    /// Where it starts.
    pub start: usize,
    /// The query that it is in, if it is in one.
    pub scope: Option<usize>,
}

impl ColumnUse {
    /// The table that it names, if it does, and the column or, alone, what may be either.
    pub fn parts(&self) -> (Option<&str>, Option<&str>) {
        let name = |i: usize| self.fields.get(i).and_then(Option::as_deref);
        match self.fields.len() {
            0 => (None, None),
            1 => (None, name(0)),
            n => (name(n - 2), name(n - 1)),
        }
    }
}

/// Whether a column reference means something of the query `of` or of a query inside of it, as far as that
/// can be told. `has`: whether a table of the statement is known to have a column.
pub fn is_within(
    scopes: &[Scope],
    tables: &[TableRef],
    column: &ColumnUse,
    of: usize,
    has: impl Fn(&TableRef, &str) -> bool,
) -> bool {
    // Nothing is around it.
    if scopes.get(of).is_some_and(|scope| scope.outer.is_none()) {
        return true;
    }
    let (table, name) = column.parts();
    let here = |scope: &Scope| {
        scope.items.iter().any(|item| match (table, name) {
            (Some(table), _) => item.name == table,
            (None, Some(name)) => {
                let column = |i: usize| tables.get(i).is_some_and(|t| has(t, name));
                item.name == name || item.table.is_some_and(column)
            }
            (None, None) => false,
        })
    };
    let mut at = column.scope;
    while let Some((index, scope)) = at.and_then(|i| scopes.get(i).map(|scope| (i, scope))) {
        if here(scope) {
            return true;
        }
        at = if index == of { None } else { scope.outer };
    }
    // A bare star names nothing else.
    table.is_none() && name.is_none()
}
