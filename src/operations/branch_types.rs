//! Types that are made on branches: enumerations.
//!
//! A type of a branch is made, kept and merged as a table that is made there (see `drafts`), but for rows, which it has none
//! of. Types that were made alike, of one name with the same values, are one, whoever made them: so what one branch puts into
//! a column of it is nothing else to another one. A type never changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use epoch_adapter::{
    DraftChange, EnumDef, Error, LineageId, Result, Statement, TableDef, TableId, TableName, TypeUser,
    sqlstate,
};

use super::branch_views::tables_after;
use super::failpoint::{TABLE_DEFINED, hit};
use super::publish::SchemaChange;
use super::schema::{Misfit, SchemaConflict, TableSide, kind_of, to_conflicts};
use super::{Checkout, Repository, Tables};
use crate::metadata::spans;
use crate::metadata::tables;

/// A type that a ref shows.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownType {
    /// It.
    pub table: Arc<TableDef>,
    /// A branch says so, not main's history.
    pub own: bool,
}

/// A type to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewType {
    /// Its name.
    pub name: TableName,
    /// Its values.
    pub labels: Vec<String>,
    /// CREATE TYPE.
    pub statement: Statement,
}

impl Tables {
    /// The types that the branch itself, or a commit, says that there are.
    pub fn own_types(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.types.values().filter(|of| of.own).map(|of| &of.table)
    }

    /// The type that a name means, if a branch made it.
    pub fn type_named(&self, backend: &str, name: &TableName) -> Option<&ShownType> {
        self.types.values().find(|t| t.table.location.backend == backend && t.table.name == *name)
    }
}

/// 42710 if there is a type of a name: a relation has one of its own.
pub(super) fn check_no_type(shown: &Tables, backend: &str, name: &TableName) -> Result<()> {
    if shown.type_named(backend, name).is_none() {
        return Ok(());
    }
    Err(taken(&name.name).with_hint(
        "A relation has an associated type of the same name, so you must use a name that doesn't conflict with any existing type.",
    ))
}

/// 42710, as PostgreSQL says it.
pub(super) fn taken(name: &str) -> Error {
    Error::new(sqlstate::DUPLICATE_OBJECT, format!("type \"{name}\" already exists"))
}

/// 42704, where another session was faster.
fn gone() -> Error {
    Error::new(sqlstate::UNDEFINED_OBJECT, "the type was dropped by another session").with_hint("Retry.")
}

/// 42710 if a type can't have a name.
pub(super) fn check_type_free(shown: &Tables, backend: &str, name: &TableName) -> Result<()> {
    let view = shown.own_view(backend, name).and_then(|t| t.view.as_ref());
    let relation = shown.by_name.get(name).is_some_and(|t| t.location.backend == backend)
        || view.is_some_and(|view| view.query.is_some());
    if relation || shown.type_named(backend, name).is_some() { Err(taken(&name.name)) } else { Ok(()) }
}

/// 2BP01 if what uses a type is there for a branch.
pub(super) fn check_unused(shown: &Tables, of: &TableDef, users: &[TypeUser]) -> Result<()> {
    let relations = shown.by_id.values().chain(shown.own_views());
    let places: Vec<_> = relations
        .filter(|t| t.location.backend == of.location.backend)
        .map(|t| (t.location.schema.as_deref().unwrap_or("public"), t.location.table.as_str()))
        .collect();
    let here =
        |user: &&TypeUser| places.contains(&(user.relation.schema.as_str(), user.relation.name.as_str()));
    let name = &of.name.name;
    let line = |user: &TypeUser| {
        format!("{} depends on type {name}{}", user.what, if user.array { "[]" } else { "" })
    };
    let lines: Vec<String> = users.iter().filter(here).map(line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let message = format!("cannot drop type {name} because other objects depend on it");
    Err(Error::new("2BP01", message)
        .with_detail(lines.join("\n"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too."))
}

/// The types of these numbers; 0A000 for one that main has.
pub(super) fn dropped(shown: &Tables, ids: &[TableId]) -> Result<Vec<Arc<TableDef>>> {
    let one = |id: &TableId| {
        let table = shown.types.get(id).map(|t| Arc::clone(&t.table)).ok_or_else(gone)?;
        match table.enumeration.as_ref().is_some_and(|e| e.on_main) {
            true => Err(of_main()),
            false => Ok(table),
        }
    };
    ids.iter().map(one).collect()
}

/// 0A000
pub fn of_main() -> Error {
    Error::unsupported("DROP TYPE of a type that main has, on a branch")
        .with_detail("A merge into main makes types, it drops none.")
}

impl Repository {
    /// Makes a type on the checkout's branch: CREATE TYPE. 42710 if the branch has something of this name.
    pub async fn create_type(&self, checkout: &Checkout, backend: &str, new: NewType) -> Result<()> {
        let _lock = self.locked_to_define().await?;
        let NewType { name, labels, statement } = new;
        let (branch, layer) = self.definable(checkout, &[&name])?;
        check_type_free(&self.tables_on(checkout), backend, &name)?;
        if let Some(known) = self.alike(backend, &name, &labels).await? {
            let mut tx = self.store().write().await?;
            spans::set(&mut tx, branch.lineage, spans::PENDING, known.id, true).await?;
            tx.commit().await?;
            return self.reload().await;
        }
        let adapter = self.inner.backends.require(backend)?;
        let mut tx = self.store().write().await?;
        let draft = tables::insert_draft(&mut tx, backend, &name, branch.lineage).await?;
        tx.commit().await?;
        let definition = self.defined(&*adapter, &draft, layer, &DraftChange::Enum(statement)).await?;
        hit(TABLE_DEFINED);
        let table = TableDef { enumeration: definition.enumeration, ..draft };
        let mut tx = self.store().write().await?;
        tables::redefine(&mut tx, &table, &definition.text).await?;
        spans::set(&mut tx, branch.lineage, spans::PENDING, table.id, true).await?;
        tx.commit().await?;
        self.reload().await
    }

    /// A type that was made alike, on whatever branch, and is still what it was made as.
    pub(super) async fn alike(
        &self,
        backend: &str,
        name: &TableName,
        labels: &[String],
    ) -> Result<Option<Arc<TableDef>>> {
        let mut found: Vec<Arc<TableDef>> = {
            let state = self.state();
            let same = state.types().filter(|(table, def)| {
                table.location.backend == backend && table.name == *name && def.labels == labels
            });
            same.map(|(table, _)| Arc::clone(table)).collect()
        };
        found.sort_by_key(|table| table.id);
        for table in found {
            let now = self.inner.backends.require(backend)?.definition(&table).await?;
            if now.and_then(|now| now.enumeration).is_some_and(|now| now.labels == labels) {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    /// Drops types from the checkout's branch.
    pub async fn drop_types(&self, checkout: &Checkout, ids: &[TableId]) -> Result<()> {
        let _lock = self.locked_to_define().await?;
        let shown = self.tables_on(checkout);
        let types = dropped(&shown, ids)?;
        let (branch, _) = self.definable(checkout, &types.iter().map(|t| &t.name).collect::<Vec<_>>())?;
        for table in &types {
            let users = self.inner.backends.require(&table.location.backend)?.users_of_type(table).await?;
            check_unused(&shown, table, &users)?;
        }
        let mut tx = self.store().write().await?;
        for id in ids {
            spans::set(&mut tx, branch.lineage, spans::PENDING, *id, false).await?;
        }
        tx.commit().await?;
        self.reload().await?;
        self.sweep().await;
        Ok(())
    }

    /// Whether something that is kept uses a type, though nobody shows it: an older version of a table, or a client's temporary
    /// table.
    pub(super) async fn is_needed(&self, table: &TableDef) -> Result<bool> {
        if table.enumeration.as_ref().is_none_or(|e| e.on_main) {
            return Ok(false);
        }
        let backend = self.inner.backends.require(&table.location.backend)?;
        Ok(!backend.users_of_type(table).await?.is_empty())
    }

    /// Merges what three refs say of types, after tables and views: adds to `change` which of them come and go. What is to
    /// be chosen of; 55000 if what was chosen doesn't fit together; 0A000 if main would lose a type. `settled`: no table or view
    /// is in conflict, so that it is known what uses types.
    pub(super) fn merge_types(
        &self,
        lineage: LineageId,
        sides: [&Tables; 3],
        chosen: &dyn Fn(TableId) -> Option<TableSide>,
        settled: bool,
        change: &mut SchemaChange,
    ) -> Result<Vec<SchemaConflict>> {
        let state = self.state();
        if state.types().next().is_none() {
            return Ok(Vec::new());
        }
        let labels = |id: TableId| state.made(id).map(|made| made.text.clone());
        let (added, removed, conflicts) = merge_names(sides, &labels, chosen);
        if lineage == LineageId::MAIN && !removed.is_empty() {
            return Err(Error::unsupported("a merge into main that drops a type"));
        }
        let before = change.clone();
        change.added.extend(&added);
        change.removed.extend(&removed);
        if !settled || !conflicts.is_empty() {
            return Ok(conflicts);
        }
        let [_, ours, theirs] = sides;
        let types: Vec<TableId> =
            ours.types.keys().filter(|id| !removed.contains(id)).chain(&added).copied().collect();
        let made = |id: TableId| state.table(id).cloned();
        let mut relations = tables_after([ours, theirs], &made, &before);
        let views = ours.views.values().map(|v| &v.table).filter(|t| !before.removed.contains(&t.id));
        relations.extend(views.cloned());
        let come: Vec<_> = before.added.iter().filter_map(|id| made(*id)).collect();
        relations.extend(come.into_iter().filter(|t| t.view.is_some()));
        relations.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        relations.dedup_by_key(|t| t.id);
        let mut misfits = Vec::new();
        for (table, def) in state.types() {
            misfits.extend(misfit(table, def, types.contains(&table.id), sides, &relations));
        }
        drop(state);
        misfits.sort_by(|a, b| a.what.cmp(&b.what));
        misfits.dedup_by(|a, b| a.what == b.what);
        to_conflicts(misfits, chosen)
    }
}

/// What doesn't fit of a type, which is there or isn't after a merge, among the relations that are there then.
fn misfit(
    table: &Arc<TableDef>,
    def: &EnumDef,
    is_there: bool,
    sides: [&Tables; 3],
    relations: &[Arc<TableDef>],
) -> Vec<Misfit> {
    let near = |t: &&Arc<TableDef>| t.location.backend == table.location.backend;
    if is_there {
        let hides = |t: &&Arc<TableDef>| t.view.as_ref().is_none_or(|view| view.query.is_some());
        let taken = relations.iter().filter(near).filter(hides).find(|t| t.name == table.name);
        let what = || format!("type \"{}\": a table or view on one side", table.name);
        return taken
            .map(|other| Misfit { of: vec![Arc::clone(table), Arc::clone(other)], what: what() })
            .into_iter()
            .collect();
    }
    // That no side has it isn't a matter of choice.
    let had = sides.iter().any(|tables| tables.types.contains_key(&table.id));
    let of = |relation: &Arc<TableDef>| match had {
        true => vec![Arc::clone(table), Arc::clone(relation)],
        false => vec![Arc::clone(relation)],
    };
    let users = relations.iter().filter(near).filter(|t| t.uses(def));
    let what = |relation: &TableDef| {
        let (kind, name) = (kind_of(relation), &relation.name);
        format!("type \"{}\": {kind} \"{name}\" uses one that would not be there", table.name)
    };
    users.map(|relation| Misfit { of: of(relation), what: what(relation) }).collect()
}

/// Which types come and go, by their names, and those of which a side is to be chosen. `text`: what a type is.
fn merge_names(
    [base, ours, theirs]: [&Tables; 3],
    text: &dyn Fn(TableId) -> Option<String>,
    chosen: &dyn Fn(TableId) -> Option<TableSide>,
) -> (Vec<TableId>, Vec<TableId>, Vec<SchemaConflict>) {
    let (mut added, mut removed, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
    let key = |t: &ShownType| (t.table.location.backend.clone(), t.table.name.clone());
    let names: BTreeSet<_> =
        [base, ours, theirs].into_iter().flat_map(|t| t.types.values()).map(key).collect();
    for name in &names {
        let of =
            |tables: &Tables| tables.types.values().find(|t| key(t) == *name).map(|t| Arc::clone(&t.table));
        let (in_base, in_ours, in_theirs) = (of(base), of(ours), of(theirs));
        let [base, ours, theirs] = [&in_base, &in_ours, &in_theirs].map(|t| t.as_ref().map(|t| t.id));
        let side = [base, ours, theirs].into_iter().flatten().find_map(chosen);
        if side == Some(TableSide::Ours) || ours == theirs || (side.is_none() && theirs == base) {
            continue;
        }
        if side.is_some() || ours == base {
            removed.extend(ours);
            added.extend(theirs);
            continue;
        }
        let what = match (ours, theirs) {
            // Made at the same time: ours stays.
            (Some(ours), Some(theirs)) if text(ours) == text(theirs) => continue,
            (Some(_), Some(_)) => "made differently on both sides",
            _ => "dropped on one side, made anew on the other",
        };
        let table = in_theirs.or(in_ours);
        conflicts.extend(table.map(|table| SchemaConflict::new(&table, what, vec![])));
    }
    (added, removed, conflicts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use epoch_adapter::{Location, TableSchema};

    use super::*;

    /// Types by number: those of one tens digit have one name, those 5 apart the same values.
    fn tables(ids: &[i64]) -> Tables {
        let mut tables = Tables::new(HashMap::new());
        for id in ids {
            let name = TableName::public(format!("t{}", id / 10));
            let location = Location::draft("crm", TableId(*id), &name).unwrap();
            let place = format!("epoch_b{id}_public.{}", name.name);
            let home = format!("public.{}", name.name);
            let def = EnumDef { labels: vec![], place, home, on_main: false };
            let table = TableDef {
                id: TableId(*id),
                name,
                location,
                schema: TableSchema { columns: vec![], key: vec![] },
                revision: None,
                retired: None,
                view: None,
                enumeration: Some(Box::new(def)),
                source: None,
            };
            tables.types.insert(table.id, ShownType { table: Arc::new(table), own: true });
        }
        tables
    }

    type Merged = (Vec<i64>, Vec<i64>, Vec<String>);

    fn merge(base: &[i64], ours: &[i64], theirs: &[i64]) -> Merged {
        merge_with(&|_| None, base, ours, theirs)
    }

    fn merge_with(
        chosen: &dyn Fn(TableId) -> Option<TableSide>,
        base: &[i64],
        ours: &[i64],
        theirs: &[i64],
    ) -> Merged {
        let text = |id: TableId| Some(format!("{}", id.0 % 5));
        let sides = [&tables(base), &tables(ours), &tables(theirs)];
        let (added, removed, conflicts) = merge_names(sides, &text, chosen);
        let ids = |ids: Vec<TableId>| ids.into_iter().map(|id| id.0).collect();
        (ids(added), ids(removed), conflicts.into_iter().map(|c| c.what).collect())
    }

    #[test]
    fn a_side_is_chosen_of_a_type_in_conflict() {
        for (ours, theirs, side, added, removed) in [
            (&[12][..], &[13][..], TableSide::Ours, &[][..], &[][..]),
            (&[12], &[13], TableSide::Theirs, &[13], &[12]),
            (&[12], &[], TableSide::Theirs, &[], &[12]),
            (&[], &[13], TableSide::Theirs, &[13], &[]),
            (&[], &[13], TableSide::Ours, &[], &[]),
        ] {
            let merged = merge_with(&|_| Some(side), &[11], ours, theirs);
            assert_eq!(merged, (added.to_vec(), removed.to_vec(), vec![]), "{ours:?} {theirs:?} {side:?}");
        }
    }

    #[test]
    fn one_side_decides_where_the_other_did_nothing() {
        for (base, ours, theirs, added, removed) in [
            (&[][..], &[][..], &[11][..], &[11][..], &[][..]),
            (&[], &[11], &[], &[], &[]),
            (&[11], &[11], &[12], &[12], &[11]),
            (&[11], &[12], &[11], &[], &[]),
            (&[11], &[11], &[], &[], &[11]),
            (&[11], &[], &[11], &[], &[]),
            (&[], &[11], &[11], &[], &[]),
            // Two with the same values.
            (&[], &[11], &[16], &[], &[]),
        ] {
            let found = merge(base, ours, theirs);
            assert_eq!(found, (added.to_vec(), removed.to_vec(), vec![]), "{base:?} {ours:?} {theirs:?}");
        }
    }

    #[test]
    fn other_changes_on_both_sides_conflict() {
        for (base, ours, theirs, what) in [
            (&[][..], &[11][..], &[12][..], "type \"t1\": made differently on both sides"),
            (&[11], &[12], &[], "type \"t1\": dropped on one side, made anew on the other"),
            (&[11], &[], &[12], "type \"t1\": dropped on one side, made anew on the other"),
        ] {
            assert_eq!(merge(base, ours, theirs).2, [what]);
        }
    }

    #[test]
    fn types_and_relations_share_their_names() {
        let shown = tables(&[11]);
        let name = TableName::public("t1");
        assert_eq!(check_type_free(&shown, "crm", &name).unwrap_err().code(), "42710");
        assert_eq!(check_no_type(&shown, "crm", &name).unwrap_err().code(), "42710");
        assert!(check_type_free(&shown, "other", &name).is_ok());
        assert!(check_no_type(&shown, "crm", &TableName::public("t2")).is_ok());
    }
}
