//! Values that a merge would lose: one side changed them, the other one dropped their column.

use std::sync::Arc;

use epoch_adapter::{Result, TableDef};

use super::resolve::Named;
use super::{Repository, Strategy, Tables};

/// A side of a merge, and the strategy that takes the other one's part.
pub(super) struct Against<'a> {
    pub(super) named: &'a Named,
    pub(super) tables: &'a Tables,
    pub(super) given_up_by: Strategy,
}

impl Repository {
    /// The columns of a table that one side changed in rows since the base, and that what the merge makes of the table
    /// doesn't have, as a message names them. New rows lose what they have in such a column, as all rows do.
    pub(super) async fn lost_columns(
        &self,
        table: &TableDef,
        (base, in_base): (&Named, &Tables),
        side: &Against<'_>,
        strategy: Strategy,
    ) -> Result<Vec<String>> {
        let Some((theirs, gone)) = self.gone(table, in_base, side.tables) else { return Ok(Vec::new()) };
        if gone.is_empty() || strategy == side.given_up_by {
            return Ok(Vec::new());
        }
        let changes = self.changes_between(&theirs, base, side.named).await?;
        let changed = |i: &usize| {
            changes
                .iter()
                .any(|c| c.before.as_ref().zip(c.after.as_ref()).is_some_and(|(b, a)| b.get(*i) != a.get(*i)))
        };
        let names = gone.into_iter().filter(changed).filter_map(|i| theirs.schema.columns.get(i));
        Ok(names.map(|c| format!("column \"{}\"", c.name)).collect())
    }

    /// The version of a table that a side has, if what the merge makes of it is a newer one, and which of its columns that
    /// one doesn't have.
    fn gone(&self, table: &TableDef, base: &Tables, side: &Tables) -> Option<(Arc<TableDef>, Vec<usize>)> {
        let state = self.state();
        let of = |tables: &Tables| {
            tables.by_id.values().find(|t| state.are_related(t.id, table.id)).map(Arc::clone)
        };
        let (version, before) = (of(side)?, of(base)?);
        let newer = state.is_made_from(table.id, version.id) && before.id <= version.id;
        drop(state);
        // Rows of a table that was written anew aren't merged at all.
        if !newer || self.is_written_anew(table, version.id, |r| r.whole) {
            return None;
        }
        let places = self.columns_in(&version, table)?;
        let gone = places.iter().enumerate().filter(|(_, place)| place.is_none()).map(|(i, _)| i);
        Some((version, gone.collect()))
    }
}
