//! Rows as a whole (`RETURNING t`, `row_to_json(t)`) of a table that a statement writes to: the overlay's rows have
//! columns of ours, so the row is made of the table's columns, with the table's row type.

use epoch_adapter_postgres::layout::{LINEAGE, base};

use super::Write;
use crate::query::names::Meaning;
use crate::query::parse::{ColumnUse, Statement};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::{Error, Result};

/// Whether a name means a version of the target's row: `old`, `new`, or `excluded`.
pub(super) fn is_version(statement: &Statement, index: usize, name: &str) -> bool {
    let named = |s: &crate::query::parse::Scope| s.items.iter().any(|i| i.name == name);
    let target = statement.scopes.iter().find(|s| s.items.iter().any(|i| i.table == Some(index)));
    matches!(name, "old" | "new" | "excluded") && !target.is_some_and(named)
}

/// What a name means where it is used.
enum Row {
    Target,
    /// `old`, `new` or `excluded`
    Version,
    Other,
    /// It may be a column of something else.
    Unclear,
}

impl Write<'_> {
    pub(super) fn rows_as_a_whole(&self, ctx: &Context<'_>, rewriter: &mut Rewriter<'_>) -> Result<()> {
        let statement = rewriter.statement;
        for column in &statement.columns {
            let (name, tokens) = match column.fields.as_slice() {
                [Some(name)] => (name, 1),
                [Some(name), None] if !is_star_of_list(rewriter, column) => (name, 3),
                _ => continue,
            };
            let row = match self.meant(ctx, statement, column, name, tokens == 1) {
                Row::Other => continue,
                Row::Unclear => {
                    let what =
                        format!("the row \"{name}\" as a whole in a statement that writes to it on a branch");
                    return Err(Error::unsupported(what).with_hint("Name its columns."));
                }
                Row::Target => self.row(&self.alias()),
                Row::Version if name == "excluded" => self.row(name),
                // It isn't there before an INSERT or after a DELETE.
                Row::Version => {
                    format!("(CASE WHEN {name}.{LINEAGE} IS NOT NULL THEN {} END)", self.row(name))
                }
            };
            let all = &rewriter.parsed.tokens;
            let first = all.at(column.start);
            let Some(last) = all.get(first + tokens - 1) else { continue };
            rewriter.edits.replace(column.start..last.end, row);
            if let Some(at) = statement.unnamed.iter().find(|u| u.column == column.start).map(|u| u.end) {
                rewriter.edits.insert(at, format!(" AS {}", epoch_adapter_postgres::layout::quote(name)));
            }
        }
        Ok(())
    }

    fn row(&self, of: &str) -> String {
        format!("(ROW({})::{})", self.columns(&format!("{of}.")), base(&self.table))
    }

    /// A bare name is a column first, of any query around it.
    fn meant(
        &self,
        ctx: &Context<'_>,
        statement: &Statement,
        column: &ColumnUse,
        name: &str,
        bare: bool,
    ) -> Row {
        let mut at = column.scope;
        let (mut unclear, mut inside) = (false, false);
        let mut found = None;
        while let Some(scope) = at.and_then(|i| statement.scopes.get(i)) {
            inside |= scope.items.iter().any(|i| i.table == Some(self.index));
            for item in &scope.items {
                match item.table.and_then(|i| statement.tables.get(i)).map(|t| ctx.names.table(t)) {
                    Some(Meaning::Registered(def)) if bare => {
                        if def.schema.index_of(name).is_some() {
                            return Row::Other;
                        }
                    }
                    Some(Meaning::Registered(_)) => {}
                    _ => unclear |= bare && item.name != name,
                }
                if item.name == name {
                    found = found.or(Some(item.table == Some(self.index)));
                }
            }
            at = scope.outer;
        }
        match found {
            Some(true) if unclear => Row::Unclear,
            Some(true) => Row::Target,
            None if inside && is_version(statement, self.index, name) => {
                if unclear {
                    Row::Unclear
                } else {
                    Row::Version
                }
            }
            _ => Row::Other,
        }
    }
}

/// Whether `t.*` is an item of RETURNING, which stands for its columns.
fn is_star_of_list(rewriter: &Rewriter<'_>, column: &ColumnUse) -> bool {
    rewriter.statement.stars.contains(&column.start)
}
