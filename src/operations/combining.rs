//! Tables that were altered on both sides of a merge: one version that has what was done on each (decision 41).

use std::sync::Arc;

use epoch_adapter::{
    Column, Combined, Error, LineageId, Origin, Result, Siblings, TableDef, TableId, TableName, sqlstate,
};

use super::failpoint::{TABLE_DEFINED, hit};
use super::merging::Relation;
use super::resolve::Named;
use super::schema::{Combinations, are_alike};
use super::state::State;
use super::{Repository, Tables};
use crate::metadata::merges::WaitingMerge;
use crate::metadata::refs::Branch;
use crate::metadata::tables::{self, TableState};

/// What is known of one table of theirs.
enum Known {
    /// Nothing has to be made.
    Simple,
    /// There is such a version already.
    There(TableId),
    /// It can't be made, for this reason.
    Never(&'static str),
    /// It is to be made.
    Open(Box<Siblings>),
}

impl Repository {
    /// Makes, of each table that was altered on both sides, a version that has both. They are nobody's until a merge
    /// shows them. Called under the operation lock, if there are any.
    pub(super) async fn combinations(&self, branch: &Branch, sides: [&Tables; 3]) -> Result<Combinations> {
        let mut found = Combinations::new();
        for theirs in sides[2].sorted() {
            let known = self.state().siblings(branch.lineage, sides, &theirs);
            match known {
                Known::Simple => {}
                Known::There(both) => drop(found.insert(theirs.id, Ok(both))),
                Known::Never(why) => drop(found.insert(theirs.id, Err(vec![why.to_owned()]))),
                Known::Open(siblings) => {
                    found.insert(theirs.id, self.combine(branch, &siblings).await?);
                }
            }
        }
        Ok(found)
    }

    /// Whether a merge has to make versions of tables to be computed.
    pub(super) async fn combines(&self, branch: &Branch, merge: &WaitingMerge) -> Result<bool> {
        if !self.state().has_made() {
            return Ok(false);
        }
        // Several merge bases don't combine.
        let base = merge.base.split(' ').next().unwrap_or_default().to_owned();
        let [base, ours, theirs] = [base, merge.ours.clone(), merge.theirs.clone()].map(Named::Commit);
        let (base, ours) = (self.tables_of_ref(&base).await?, self.tables_of_ref(&ours).await?);
        let theirs = self.tables_of_ref(&theirs).await?;
        let state = self.state();
        let open = |t: &Arc<TableDef>| {
            matches!(state.siblings(branch.lineage, [&base, &ours, &theirs], t), Known::Open(_))
        };
        Ok(theirs.sorted().iter().any(open))
    }

    /// How a commit relates to a branch's head. Main isn't fast-forwarded to a commit that has columns in another order
    /// than main's table will have them.
    pub(super) async fn relation_to(&self, branch: &Branch, theirs: &str) -> Result<Relation> {
        let relation = self.relation(&branch.head, theirs).await?;
        if !matches!(relation, Relation::FastForward) || branch.lineage != LineageId::MAIN {
            return Ok(relation);
        }
        let ours = self.tables_of_ref(&Named::Commit(branch.head.clone())).await?;
        let theirs = self.tables_of_ref(&Named::Commit(theirs.to_owned())).await?;
        let state = self.state();
        let sides = [&*ours, &*ours, &*theirs];
        let apart =
            |table: &Arc<TableDef>| !matches!(state.siblings(LineageId::MAIN, sides, table), Known::Simple);
        Ok(match theirs.sorted().iter().any(apart) {
            true => Relation::Diverged(vec![branch.head.clone()]),
            false => relation,
        })
    }

    /// Where the columns of `seen` are in another version of its table; `None` if neither was made from the other.
    pub fn columns_in(&self, seen: &TableDef, table: &TableDef) -> Option<Vec<Option<usize>>> {
        let is =
            |origin: &Origin, wanted: &str| matches!(origin, Origin::Column { name, .. } if name == wanted);
        if seen.id == table.id {
            return Some((0..seen.schema.columns.len()).map(Some).collect());
        }
        let state = self.state();
        if let Some(origins) = state.origins(table, seen.id) {
            let at = |c: &Column| origins.iter().position(|origin| is(origin, &c.name));
            return Some(seen.schema.columns.iter().map(at).collect());
        }
        let origins = state.origins(seen, table.id)?;
        let at = |origin: &Origin| table.schema.columns.iter().position(|c| is(origin, &c.name));
        Some(origins.iter().map(at).collect())
    }

    async fn combine(
        &self,
        branch: &Branch,
        siblings: &Siblings,
    ) -> Result<std::result::Result<TableId, Vec<String>>> {
        if !self.nobody_defines().await {
            let message = "another transaction defines tables, and stays open";
            return Err(
                Error::new(sqlstate::LOCK_NOT_AVAILABLE, message).with_hint("Retry when it has ended.")
            );
        }
        let first = &siblings.first;
        let Some(name) = name(siblings).cloned() else {
            return Ok(Err(vec!["name of the table".to_owned()]));
        };
        self.sound(first).await?;
        let adapter = self.inner.backends.require(&first.location.backend)?;
        let mut tx = self.store().write().await?;
        let draft = tables::insert_draft(&mut tx, &first.location.backend, &name, branch.lineage).await?;
        tx.commit().await?;
        let definition = match adapter.combine(&draft, siblings).await {
            Ok(Combined::Made(definition)) => definition,
            Ok(Combined::Differs(parts)) => {
                self.set_table_state(draft.id, TableState::Removed).await?;
                return Ok(Err(parts));
            }
            Err(error) => {
                // If this fails too, the next operation does it.
                if adapter.uninstall(&draft).await.is_ok() {
                    self.set_table_state(draft.id, TableState::Removed).await?;
                }
                return Err(error);
            }
        };
        hit(TABLE_DEFINED);
        let new = TableDef { schema: definition.schema, revision: definition.revision, ..draft };
        let mut tx = self.store().write().await?;
        tables::redefine(&mut tx, &new, &definition.text).await?;
        tx.commit().await?;
        self.reload().await?;
        Ok(Ok(new.id))
    }
}

/// What a table is called that was altered on both sides; `None` if each gave it another name.
fn name(siblings: &Siblings) -> Option<&TableName> {
    let (first, second) = (&siblings.first.name, &siblings.second.name);
    match (*first == siblings.base.name, *second == siblings.base.name) {
        (_, true) => Some(first),
        (true, _) => Some(second),
        _ => (first == second).then_some(first),
    }
}

impl State {
    /// What is known of a table that theirs (of base, ours and theirs) has, in a merge into a lineage.
    fn siblings(&self, lineage: LineageId, [base, ours, theirs]: [&Tables; 3], table: &TableDef) -> Known {
        if !theirs.by_id.contains_key(&table.id) || ours.by_id.contains_key(&table.id) {
            return Known::Simple;
        }
        let family = self.first_version(table.id);
        let of =
            |tables: &Tables| tables.by_id.values().find(|t| self.first_version(t.id) == family).cloned();
        let (Some(ours), Some(theirs)) = (of(ours), self.table(table.id)) else { return Known::Simple };
        let main = lineage == LineageId::MAIN;
        let base = if self.is_made_from(theirs.id, ours.id) {
            if !main || self.is_in_line(theirs.id, ours.id) {
                return Known::Simple;
            }
            Arc::clone(&ours)
        } else {
            let Some(base) = of(base).filter(|base| base.id != theirs.id) else { return Known::Simple };
            let both = [&ours, theirs].into_iter().all(|t| self.is_made_from(t.id, base.id));
            if !both || self.is_made_from(ours.id, theirs.id) || self.alike(&ours, theirs) {
                return Known::Simple;
            }
            base
        };
        // What main has comes first, so that its columns are in the order in which main has them.
        let home = |t: &TableDef| !t.location.is_draft();
        let (first, second) = match home(theirs) && !main {
            true => (Arc::clone(theirs), ours),
            false => (ours, Arc::clone(theirs)),
        };
        self.pair(base, first, second)
    }

    fn alike(&self, ours: &TableDef, theirs: &TableDef) -> bool {
        are_alike(&|id| self.made(id).cloned(), ours, theirs)
    }

    fn pair(&self, base: Arc<TableDef>, first: Arc<TableDef>, second: Arc<TableDef>) -> Known {
        let made = self.all_tables().find(|t| {
            let revision = t.revision.as_ref().filter(|r| r.of == first.id);
            revision.and_then(|r| r.also.as_ref()).is_some_and(|also| also.of == second.id)
        });
        if let Some(made) = made {
            return Known::There(made.id);
        }
        let anew = |t: &TableDef| {
            let versions = self.versions(t.id);
            let since = versions.iter().take_while(|v| v.id > base.id);
            since.filter_map(|v| v.revision.as_ref()).any(|r| r.whole || r.own_values)
        };
        if anew(&first) || anew(&second) {
            return Known::Never("its rows were written anew");
        }
        let columns = |t: &TableDef| match t.id == base.id {
            true => Some(epoch_adapter::unchanged(&t.schema)),
            false => self.origins(t, base.id),
        };
        let (Some(first_columns), Some(second_columns)) = (columns(&first), columns(&second)) else {
            return Known::Simple;
        };
        let begins = self.steps(&second, base.id).and_then(|steps| steps.first().map(|(number, _)| *number));
        let number = begins.unwrap_or(second.id).max(first.id);
        let numbers = [number, second.id.max(number)];
        Known::Open(Box::new(Siblings { base, first, second, first_columns, second_columns, numbers }))
    }
}
