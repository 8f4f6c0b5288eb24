//! Views that are defined on branches.
//!
//! A view of a branch is made, kept and merged as a table that is made there (see `drafts`), but for rows, which it has
//! none of. An entry without a query says that there is no view of its name, whatever main has. What main itself shows is
//! always the server's: that a merge brought a view there is a part of main's history, and no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use epoch_adapter::{DraftChange, Error, Layer, LineageId, Result, TableDef, TableId, TableName, ViewChange};

use super::branch_types::check_no_type;
use super::drafts::{exists, gone};
use super::failpoint::{TABLE_DEFINED, hit};
use super::publish::SchemaChange;
use super::schema::{Misfit, SchemaConflict, TableSide, to_conflicts};
use super::{Checkout, Repository, Tables};
use crate::metadata::refs::Branch;
use crate::metadata::tables::{self, TableState};
use crate::metadata::{Tx, spans};

/// A view that a ref shows.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownView {
    /// It.
    pub table: Arc<TableDef>,
    /// A branch says so, not main's history.
    pub own: bool,
}

/// What is to be done about one name.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewStep {
    /// The name.
    pub name: TableName,
    /// What is done.
    pub change: ViewChange,
}

/// A view that a backend has, and nobody else knows of yet.
pub(super) struct MadeView {
    table: TableDef,
    replaces: Option<TableId>,
    text: String,
}

/// Tells the metadata store.
pub(super) async fn note_views(
    tx: &mut Tx,
    lineage: LineageId,
    made: &[MadeView],
    forgotten: &[TableId],
) -> Result<()> {
    for MadeView { table, replaces, text } in made {
        tables::redefine(tx, table, text).await?;
        if let Some(before) = replaces {
            spans::set(tx, lineage, spans::PENDING, *before, false).await?;
        }
        spans::set(tx, lineage, spans::PENDING, table.id, true).await?;
    }
    for id in forgotten {
        spans::set(tx, lineage, spans::PENDING, *id, false).await?;
    }
    Ok(())
}

impl Tables {
    /// What the branch itself says of a view's name.
    pub fn own_view(&self, backend: &str, name: &TableName) -> Option<&Arc<TableDef>> {
        self.own_views().find(|t| t.location.backend == backend && t.name == *name)
    }

    /// All that the branch itself says of views.
    pub fn own_views(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.views.values().filter(|view| view.own).map(|view| &view.table)
    }

    /// Whether a table, or a view or type that branches define, is there.
    pub fn has(&self, id: TableId) -> bool {
        self.by_id.contains_key(&id) || self.views.contains_key(&id) || self.types.contains_key(&id)
    }

    /// The registrations of tables, views and types.
    pub fn all_ids(&self) -> impl Iterator<Item = TableId> {
        self.by_id.keys().chain(self.views.keys()).chain(self.types.keys()).copied()
    }

    /// A change of a name, with what there is of it.
    pub fn view_step(&self, backend: &str, name: TableName, change: ViewChange) -> ViewStep {
        let here = |view: &&ShownView| view.table.location.backend == backend && view.table.name == name;
        let shown = self.views.values().find(here);
        let before = shown.filter(|view| view.own).map(|view| Arc::clone(&view.table));
        let replaces = shown.map(|view| view.table.id);
        ViewStep { name, change: ViewChange { before, replaces, ..change } }
    }

    /// Notes a view that there is.
    pub(super) fn show_view(&mut self, table: &Arc<TableDef>, own: bool) {
        if own && query(table).is_none() {
            self.absent.insert(table.location.home());
        }
        self.views.insert(table.id, ShownView { table: Arc::clone(table), own });
    }
}

fn query(table: &TableDef) -> Option<&String> {
    table.view.as_ref().and_then(|view| view.query.as_ref())
}

/// 42P17 for a view that would read itself. PostgreSQL says so when it is read.
fn check_recursion(step: &ViewStep) -> Result<()> {
    let TableName { schema, name } = &step.name;
    if !step.change.reaches.iter().any(|(s, n)| s == schema && n == name) {
        return Ok(());
    }
    let message = format!("infinite recursion detected in rules for relation \"{name}\"");
    Err(Error::new("42P17", message).with_detail("The view would read itself."))
}

impl Repository {
    /// Defines views on the checkout's branch, and forgets what it says of others; all or nothing.
    pub async fn define_views(
        &self,
        checkout: &Checkout,
        backend: &str,
        steps: Vec<ViewStep>,
        forgotten: &[TableId],
    ) -> Result<()> {
        let _lock = self.locked_to_define().await?;
        let shown = self.tables_on(checkout);
        let mut names: Vec<&TableName> = steps.iter().map(|step| &step.name).collect();
        for id in forgotten {
            names.push(&shown.views.get(id).ok_or_else(gone)?.table.name);
        }
        let (branch, layer) = self.definable(checkout, &names)?;
        check(&shown, backend, &steps, forgotten)?;
        let made = self.make_views(&branch, layer, backend, steps).await?;
        hit(TABLE_DEFINED);
        let mut tx = self.store().write().await?;
        note_views(&mut tx, branch.lineage, &made, forgotten).await?;
        tx.commit().await?;
        self.reload().await?;
        // What was never committed is gone.
        self.sweep().await;
        Ok(())
    }

    /// The backend's part of it, all or nothing.
    pub(super) async fn make_views(
        &self,
        branch: &Branch,
        layer: Layer,
        backend: &str,
        steps: Vec<ViewStep>,
    ) -> Result<Vec<MadeView>> {
        let adapter = self.inner.backends.require(backend)?;
        let mut made: Vec<MadeView> = Vec::new();
        for ViewStep { name, change } in steps {
            let mut tx = self.store().write().await?;
            let draft = tables::insert_draft(&mut tx, backend, &name, branch.lineage).await?;
            tx.commit().await?;
            let replaces = change.replaces;
            match adapter.define(&draft, layer, &DraftChange::View(Box::new(change))).await {
                Ok(done) => {
                    let table = TableDef { view: done.view, ..draft };
                    made.push(MadeView { table, replaces, text: done.text });
                }
                Err(error) => {
                    for table in made.iter().map(|made| &made.table).chain([&draft]) {
                        // If this fails too, the next operation does it.
                        if adapter.uninstall(table).await.is_ok() {
                            self.set_table_state(table.id, TableState::Removed).await?;
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// The texts of views that main may have where a view of a merge comes to.
    pub(super) fn known_on_main(&self, table: &TableDef) -> Vec<Option<String>> {
        let mut known = vec![table.view.as_ref().and_then(|view| view.of.clone())];
        let main = self.tables();
        let same = |t: &&TableDef| t.name == table.name && t.location.backend == table.location.backend;
        let shown = main.views.values().map(|view| &*view.table).filter(same);
        known.extend(shown.map(|t| t.view.as_ref().and_then(|view| view.text())));
        known
    }
}

/// Whether views can be defined so: 42P07 or 42P01 where another session was faster, 2BP01 if a view that stays reads one
/// that goes.
pub(super) fn check(shown: &Tables, backend: &str, steps: &[ViewStep], forgotten: &[TableId]) -> Result<()> {
    check_names(shown, backend, steps)?;
    let going = steps.iter().filter(|step| step.change.statement.is_none()).map(|step| step.name.clone());
    let forgotten = forgotten.iter().filter_map(|id| shown.views.get(id)).map(|view| view.table.name.clone());
    let going: Vec<TableName> = going.chain(forgotten).collect();
    for name in &going {
        check_unread(shown, backend, ("view", name), &|reader| going.contains(&reader.name))?;
    }
    Ok(())
}

/// As [`check`], of the names alone.
pub(super) fn check_names(shown: &Tables, backend: &str, steps: &[ViewStep]) -> Result<()> {
    for step in steps {
        check_recursion(step)?;
        let ViewStep { name, change } = step;
        if shown.by_name.contains_key(name) {
            return Err(exists(name));
        }
        if step.change.statement.is_some() {
            check_no_type(shown, backend, name)?;
        }
        let known = shown.views.values().map(|view| &view.table);
        let now = known.filter(|t| t.location.backend == backend).find(|t| t.name == *name).map(|t| t.id);
        if now != change.replaces {
            return Err(gone());
        }
    }
    Ok(())
}

/// 2BP01 if a view of the branch reads a relation that goes. `leaves`: which of them go, too.
pub(super) fn check_unread(
    shown: &Tables,
    backend: &str,
    (kind, name): (&str, &TableName),
    leaves: &dyn Fn(&TableDef) -> bool,
) -> Result<()> {
    let reads = |t: &&Arc<TableDef>| {
        t.location.backend == backend
            && t.view.as_ref().is_some_and(|view| view.names(&name.schema, &name.name).is_some())
            && !leaves(t)
    };
    let Some(reader) = shown.own_views().find(reads) else { return Ok(()) };
    let message = format!("cannot drop {kind} {} because other objects depend on it", name.name);
    Err(Error::new("2BP01", message)
        .with_detail(format!("view {} depends on {kind} {}", reader.name.name, name.name)))
}

/// A view's name on one backend.
type Key = (String, TableName);

fn key(table: &TableDef) -> Key {
    (table.location.backend.clone(), table.name.clone())
}

/// What views are merged with.
pub(super) struct ViewSides<'a> {
    /// Base, ours and theirs.
    pub(super) sides: [&'a Tables; 3],
    /// What a view is.
    pub(super) text: &'a dyn Fn(TableId) -> String,
    /// A table that a merge made of two versions.
    pub(super) made: &'a dyn Fn(TableId) -> Option<Arc<TableDef>>,
    /// The side that was chosen of what is in conflict.
    pub(super) chosen: &'a dyn Fn(TableId) -> Option<TableSide>,
    pub(super) lineage: LineageId,
}

/// Merges what three refs say of views, after the tables: adds to `change` which of them come and go. The views that are
/// to be chosen of; 55000 if what was chosen doesn't fit together. `settled`: no table is in conflict, so that it is known
/// what views can read.
pub(super) fn merge_views(
    with: &ViewSides<'_>,
    settled: bool,
    change: &mut SchemaChange,
) -> Result<Vec<SchemaConflict>> {
    let ViewSides { sides: [base, ours, theirs], text, chosen, lineage, .. } = *with;
    let mut conflicts = Vec::new();
    let names: BTreeSet<Key> =
        with.sides.iter().flat_map(|t| t.views.values()).map(|view| key(&view.table)).collect();
    let of = |tables: &Tables, name: &Key| {
        tables.views.values().find(|view| key(&view.table) == *name).map(|view| Arc::clone(&view.table))
    };
    let same = |a: &Option<Arc<TableDef>>, b: &Option<Arc<TableDef>>| match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.id == b.id || text(a.id) == text(b.id),
        _ => false,
    };
    let mut after: Vec<Arc<TableDef>> = Vec::new();
    for name in &names {
        // A table that is in the way of a view has the name, and what was chosen of it holds for both.
        let table = |tables: &Tables| tables.by_name.get(&name.1).filter(|t| key(t) == *name).cloned();
        let of_name = with.sides.iter().flat_map(|tables| [of(tables, name), table(tables)]).flatten();
        let side = of_name.filter_map(|t| chosen(t.id)).next();
        let (base, ours, theirs) = (of(base, name), of(ours, name), of(theirs, name));
        let takes_ours = match side {
            Some(side) => side == TableSide::Ours,
            None => same(&theirs, &base) || same(&ours, &theirs),
        };
        let kept = if takes_ours {
            ours
        } else if side.is_some() || same(&ours, &base) {
            if ours.as_ref().map(|t| t.id) != theirs.as_ref().map(|t| t.id) {
                change.removed.extend(ours.iter().map(|t| t.id));
                change.added.extend(theirs.iter().map(|t| t.id));
            }
            theirs
        } else {
            let there = |t: &Option<Arc<TableDef>>| t.as_ref().is_some_and(|t| query(t).is_some());
            let what = match (there(&ours), there(&theirs)) {
                (true, true) => "defined differently on both sides",
                _ => "dropped on one side, defined anew on the other",
            };
            let view = theirs.or(ours);
            conflicts.extend(view.map(|view| SchemaConflict::new(&view, what, vec![])));
            continue;
        };
        after.extend(kept);
    }
    if !settled || !conflicts.is_empty() {
        return Ok(conflicts);
    }
    let after = After { tables: tables_after([ours, theirs], with.made, change), views: after };
    let mut misfits = Vec::new();
    for view in &after.views {
        // What main shows is the server's to judge.
        if lineage == LineageId::MAIN && !change.added.contains(&view.id) {
            continue;
        }
        misfits.extend(after.broken(view, [base, ours, theirs]));
    }
    to_conflicts(misfits, chosen)
}

/// The tables that there are after a merge; `made`: those that it made of two versions.
pub(super) fn tables_after(
    [ours, theirs]: [&Tables; 2],
    made: &dyn Fn(TableId) -> Option<Arc<TableDef>>,
    change: &SchemaChange,
) -> Vec<Arc<TableDef>> {
    let kept = ours.by_id.values().filter(|t| !change.removed.contains(&t.id)).cloned();
    let come = change.added.iter().filter_map(|id| match theirs.by_id.get(id) {
        Some(table) => Some(Arc::clone(table)),
        None if theirs.has(*id) => None,
        None => made(*id).filter(|table| table.is_table()),
    });
    kept.chain(come).collect()
}

/// What there is after a merge.
struct After {
    tables: Vec<Arc<TableDef>>,
    views: Vec<Arc<TableDef>>,
}

impl After {
    /// What is wrong with a view, given what there was.
    fn broken(&self, view: &Arc<TableDef>, before: [&Tables; 3]) -> Vec<Misfit> {
        let Some(def) = view.view.as_ref().filter(|def| def.query.is_some()) else { return Vec::new() };
        let backend = &view.location.backend;
        let mut found = Vec::new();
        if let Some(table) = self.tables.iter().find(|t| t.name == view.name) {
            let what = format!("view \"{}\": a table on one side", view.name);
            found.push(Misfit { of: vec![Arc::clone(table), Arc::clone(view)], what });
        }
        for read in &def.reads {
            let name = TableName { schema: read.schema.clone(), name: read.name.clone() };
            let same = |t: &&Arc<TableDef>| t.name == name && t.location.backend == *backend;
            let columns: Option<Vec<&String>> = match self.tables.iter().find(same) {
                Some(table) => Some(table.schema.columns.iter().map(|c| &c.name).collect()),
                None => self.views.iter().find(same).map(columns_of),
            };
            let read_before = before.iter().find_map(|t| t.by_name.get(&name).filter(same));
            // The view, or else what it reads as the other side has it.
            let misfit = |what: String| Misfit {
                of: [Some(view), read_before].into_iter().flatten().cloned().collect(),
                what,
            };
            match columns {
                Some(columns) => {
                    let lacking = read.columns.iter().filter(|c| !columns.contains(c));
                    found.extend(lacking.map(|column| {
                        misfit(format!(
                            "view \"{}\" reads column \"{column}\" of \"{name}\", which would not be there",
                            view.name
                        ))
                    }));
                }
                None if read_before.is_some() => found.push(misfit(format!(
                    "view \"{}\" reads table \"{name}\", which would not be there",
                    view.name
                ))),
                // Not versioned: the server's.
                None => {}
            }
        }
        found
    }
}

fn columns_of(view: &Arc<TableDef>) -> Vec<&String> {
    view.view.iter().flat_map(|def| def.columns.iter().map(|(name, _)| name)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use epoch_adapter::{Location, TableSchema, ViewRead};

    use epoch_adapter::ViewDef;

    use super::*;

    /// Views by number: those of one tens digit have one name, those with an odd number a query. Numbers 5 apart have one text.
    fn view(id: i64) -> TableDef {
        let name = TableName::public(format!("v{}", id / 10));
        let read =
            ViewRead { schema: "public".to_owned(), name: "t".to_owned(), columns: vec!["a".to_owned()] };
        let query = (id % 2 == 1).then(|| format!("SELECT {}", id % 5));
        let def = ViewDef { query, reads: vec![read], ..ViewDef::default() };
        let location = Location::draft("crm", TableId(id), &name).unwrap();
        TableDef {
            view: Some(Box::new(def)),
            ..TableDef::new(TableId(id), name, location, TableSchema { columns: vec![], key: vec![] })
        }
    }

    fn tables(ids: &[i64]) -> Tables {
        let mut tables = Tables::new(HashMap::new());
        for id in ids {
            tables.show_view(&Arc::new(view(*id)), true);
        }
        tables
    }

    type Merged = (Vec<i64>, Vec<i64>, Vec<String>);

    fn merge(base: &[i64], ours: &[i64], theirs: &[i64]) -> Merged {
        merge_with(&|_| None, [&tables(base), &tables(ours), &tables(theirs)]).unwrap()
    }

    fn merge_with(chosen: &dyn Fn(TableId) -> Option<TableSide>, sides: [&Tables; 3]) -> Result<Merged> {
        let mut change = SchemaChange::default();
        let text = |id: TableId| format!("{}", id.0 % 5);
        let with = ViewSides { sides, text: &text, made: &|_| None, chosen, lineage: LineageId(2) };
        let conflicts = merge_views(&with, true, &mut change)?;
        let ids = |ids: Vec<TableId>| ids.into_iter().map(|id| id.0).collect();
        Ok((ids(change.added), ids(change.removed), conflicts.into_iter().map(|c| c.what).collect()))
    }

    #[test]
    fn one_side_decides_where_the_other_did_nothing() {
        for (base, ours, theirs, added, removed) in [
            (&[][..], &[][..], &[11][..], &[11][..], &[][..]),
            (&[], &[11], &[], &[], &[]),
            (&[11], &[11], &[13], &[13], &[11]),
            (&[11], &[13], &[11], &[], &[]),
            (&[11], &[11], &[], &[], &[11]),
            (&[11], &[], &[11], &[], &[]),
            // Gone on main's place, and alike on both sides.
            (&[], &[], &[12], &[12], &[]),
            (&[], &[11], &[16], &[], &[]),
        ] {
            assert_eq!(
                merge(base, ours, theirs),
                (added.to_vec(), removed.to_vec(), vec![]),
                "{base:?} {ours:?} {theirs:?}"
            );
        }
    }

    #[test]
    fn other_changes_on_both_sides_conflict() {
        for (base, ours, theirs, what) in [
            (&[][..], &[11][..], &[13][..], "view \"v1\": defined differently on both sides"),
            (&[11], &[13], &[], "view \"v1\": dropped on one side, defined anew on the other"),
            (&[11], &[12], &[13], "view \"v1\": dropped on one side, defined anew on the other"),
        ] {
            assert_eq!(merge(base, ours, theirs).2, [what]);
        }
    }

    #[test]
    fn a_side_is_chosen_of_a_view_in_conflict() {
        for (base, ours, theirs, side, added, removed) in [
            (&[11][..], &[12][..], &[13][..], TableSide::Ours, &[][..], &[][..]),
            (&[11], &[12], &[13], TableSide::Theirs, &[13], &[12]),
            (&[11], &[13], &[], TableSide::Theirs, &[], &[13]),
            (&[11], &[], &[13], TableSide::Theirs, &[13], &[]),
            (&[11], &[], &[13], TableSide::Ours, &[], &[]),
        ] {
            let sides = [&tables(base), &tables(ours), &tables(theirs)];
            let merged = merge_with(&|id| (id.0 / 10 == 1).then_some(side), sides).unwrap();
            assert_eq!(merged, (added.to_vec(), removed.to_vec(), vec![]), "{ours:?} {theirs:?} {side:?}");
        }
    }

    #[test]
    fn what_a_view_reads_must_stay() {
        let mut base = tables(&[]);
        let t = TableDef { id: TableId(1), name: TableName::public("t"), view: None, ..view(99) };
        base.by_name.insert(t.name.clone(), Arc::new(t));
        let (ours, theirs) = (tables(&[]), tables(&[11]));
        let sides = [&base, &ours, &theirs];
        let what = "view \"v1\" reads table \"t\", which would not be there";
        assert_eq!(merge_with(&|_| None, sides).unwrap().2, [what]);
        // Without the view it fits, with it it can't.
        assert_eq!(merge_with(&|_| Some(TableSide::Ours), sides).unwrap(), (vec![], vec![], vec![]));
        let error = merge_with(&|_| Some(TableSide::Theirs), sides).unwrap_err();
        assert_eq!((error.code(), error.detail()), ("55000", Some(what)));
    }

    #[test]
    fn a_view_that_is_read_does_not_go() {
        let shown = tables(&[11, 21]);
        let name = TableName::public("t");
        let error = check_unread(&shown, "crm", ("table", &name), &|_| false).unwrap_err();
        assert_eq!(error.code(), "2BP01");
        assert!(check_unread(&shown, "crm", ("table", &name), &|_| true).is_ok());
        assert!(check_unread(&shown, "crm", ("table", &TableName::public("u")), &|_| false).is_ok());
    }
}
