//! Which column of which table a result's columns are. The server can't tell of a relation that several tables make
//! up, and tells our own tables of others; clients that change a result in place (JDBC's, ODBC's) ask for it.

use std::sync::Arc;

use epoch_adapter::TableDef;

use super::names::Meaning;
use super::parse::{ColumnUse, ListedItem, Scope, Statement, Wrap};
use super::plan::Context;

/// Of each column of a result, the table's oid and the column's number, if it is a column of a table of main's.
pub type Origins = Arc<[Option<(u32, i16)>]>;

type Origin = Option<(u32, i16)>;

/// The origins of what a statement returns; `None` if none is known.
pub(super) fn of(ctx: &Context<'_>, statement: &Statement) -> Option<Origins> {
    let listed = statement.listed.as_ref().filter(|_| statement.wrap == Wrap::None)?;
    let scope = Items { ctx, statement, scope: statement.scopes.get(listed.scope)? };
    let mut all: Vec<Origin> = Vec::new();
    for item in &listed.items {
        match item {
            ListedItem::Other => all.push(None),
            ListedItem::Column(start) => {
                let column = statement.columns.iter().find(|c| c.start == *start);
                all.push(column.and_then(|column| scope.column(column)));
            }
            ListedItem::Star(name) => {
                let names = listed.starrable.as_ref()?;
                for shown in names.iter().filter(|n| name.as_ref().is_none_or(|name| name == *n)) {
                    all.extend(scope.all(shown)?);
                }
            }
        }
    }
    all.iter().any(Option::is_some).then(|| all.into())
}

/// What the items of a FROM are.
struct Items<'q, 'c> {
    ctx: &'q Context<'c>,
    statement: &'q Statement,
    scope: &'q Scope,
}

impl Items<'_, '_> {
    /// The registered table that an item is.
    fn table(&self, index: Option<usize>) -> Option<Arc<TableDef>> {
        let table = self.statement.tables.get(index?)?;
        match self.ctx.names.table(table) {
            Meaning::Registered(def) => Some(def),
            _ => None,
        }
    }

    /// The only item with a name.
    fn named(&self, name: &str) -> Option<Arc<TableDef>> {
        let mut same = self.scope.items.iter().filter(|item| item.name == name);
        match (same.next(), same.next()) {
            (Some(item), None) => self.table(item.table),
            _ => None,
        }
    }

    /// Where a column of a table is on main. (A draft isn't there.)
    fn place(&self, table: &TableDef, column: &str) -> Origin {
        let facts = self.ctx.names.facts(table).filter(|_| !table.location.is_draft())?;
        let found = facts.columns.iter().find(|c| c.name == column)?;
        Some((facts.oid, found.number))
    }

    fn column(&self, column: &ColumnUse) -> Origin {
        let (of, name) = column.parts();
        let name = name?;
        if let Some(of) = of {
            return self.place(self.named(of)?.as_ref(), name);
        }
        let tables: Vec<Arc<TableDef>> =
            self.scope.items.iter().map(|item| self.table(item.table)).collect::<Option<_>>()?;
        let mut having = tables.iter().filter(|t| t.schema.index_of(name).is_some());
        match (having.next(), having.next()) {
            (Some(table), None) => self.place(table, name),
            _ => None,
        }
    }

    /// All columns of an item; `None` if it isn't known how many there are.
    fn all(&self, name: &str) -> Option<Vec<Origin>> {
        let table = self.named(name)?;
        Some(table.schema.columns.iter().map(|c| self.place(&table, &c.name)).collect())
    }
}
