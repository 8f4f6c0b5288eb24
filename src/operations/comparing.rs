//! What both sides of a merge changed, table by table: which tables come and go, and in whose columns rows are
//! compared.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{At, Error, LineageId, Result, Revision, Row, RowChange, TableDef, TableId};
use futures::{StreamExt, TryStreamExt, stream};

use super::base::Base;
use super::branch_views::{ViewSides, merge_views};
use super::lost::Against;
use super::publish::SchemaChange;
use super::resolve::Named;
use super::rules::Rules;
use super::schema::{SchemaConflict, SchemaMerge, Sides, TableChoices, TableSide, merge_tables};
use super::{Repository, Strategy, Tables};
use crate::metadata::merges::WaitingMerge;
use crate::metadata::refs::Branch;
use crate::metadata::rules::ColumnRule;

/// Tables that are compared at the same time.
const CONCURRENT: usize = 4;

/// One table on both sides of a merge.
pub(super) struct Compared {
    pub(super) table: Arc<TableDef>,
    pub(super) rules: Rules,
    /// From the base to ours, and to theirs.
    pub(super) ours: Vec<RowChange>,
    pub(super) theirs: Vec<RowChange>,
}

/// What is known of both sides of a merge.
pub(super) struct Comparisons {
    pub(super) tables: Vec<Compared>,
    pub(super) schema: SchemaChange,
    /// As [`SchemaMerge::altered`].
    pub(super) altered: HashMap<TableId, TableId>,
    /// Tables of which a side is to be chosen, before anything here holds.
    pub(super) conflicts: Vec<SchemaConflict>,
}

/// What a merge is computed with.
struct Comparison<'a> {
    branch: &'a Branch,
    schema: &'a SchemaChange,
    altered: &'a HashMap<TableId, TableId>,
    /// The tables of base, ours and theirs.
    sides: &'a [Arc<Tables>],
    base: &'a Base,
}

impl Repository {
    /// What both sides changed in each table that the other side changed.
    pub(super) async fn compared(
        &self,
        branch: &Branch,
        merge: &WaitingMerge,
        rules: &[ColumnRule],
        strategy: Strategy,
        choices: &TableChoices,
    ) -> Result<Comparisons> {
        let base = &self.base_of(&merge.base, rules).await?;
        let common = &self.in_common(merge, rules).await?;
        let (ours, theirs) = (&Named::Commit(merge.ours.clone()), &Named::Commit(merge.theirs.clone()));
        let ids = |tables: &[Arc<TableDef>]| tables.iter().map(|t| t.id).collect::<HashSet<TableId>>();
        let changed = &ids(&self.tables_since(base, ours).await?);
        let tables = self.tables_since(base, theirs).await?;
        let silent = self.tables_of_common(common, &tables).await?;
        let commits = [&base.commit, ours, theirs];
        let merge_of_tables = self.merge_schema(branch, commits, [changed, &ids(&tables)], choices).await?;
        let SchemaMerge { change, twins, altered, combined, mut conflicts, apart, whole } = merge_of_tables;
        let there = self.tables_of_ref(ours).await?;
        base.check_schema(&change, &twins, &there)?;
        let newer_tables = &self.newer_tables(merge).await?;
        let sides =
            [self.tables_of_ref(&base.commit).await?, Arc::clone(&there), self.tables_of_ref(theirs).await?];
        let (twins, comparison) =
            (&twins, &Comparison { branch, schema: &change, altered: &altered, sides: &sides, base });
        let first = |id| self.state().first_version(id);
        // What isn't there after the merge need not change.
        let kept =
            tables.into_iter().chain(silent).filter(|t| !apart.contains(&first(t.id))).filter_map(|t| {
                let newer = || there.by_id.values().find(|o| self.state().is_made_from(o.id, t.id)).cloned();
                let stays = there.by_id.contains_key(&t.id)
                    || change.added.contains(&t.id)
                    || twins.contains_key(&t.id);
                let both = combined.get(&t.id).map(|both| self.state().table(*both).cloned());
                let is_newer = newer_tables.contains(&t.id);
                let table = match both {
                    Some(both) => both?,
                    None if stays => Arc::clone(&t),
                    None => newer()?,
                };
                Some((is_newer || newer_tables.contains(&table.id), table))
            });
        let mut kept: Vec<(bool, Arc<TableDef>)> = kept.collect();
        let [in_base, in_ours, in_theirs] = &sides;
        let mut lost = HashSet::new();
        for (_, table) in &kept {
            let of_ours = Against { named: ours, tables: in_ours, given_up_by: Strategy::Theirs };
            let of_theirs = Against { named: theirs, tables: in_theirs, given_up_by: Strategy::Ours };
            for side in [of_ours, of_theirs] {
                let columns = self.lost_columns(table, (&base.commit, in_base), &side, strategy).await?;
                if !columns.is_empty() {
                    let what = "changed in rows on one side, dropped on the other";
                    conflicts.push(SchemaConflict::new(table, what, columns));
                    lost.insert(table.id);
                }
            }
        }
        kept.retain(|(_, table)| !lost.contains(&table.id));
        let mut compared = self.compared_whole(branch, &change, [ours, theirs], &whole).await?;
        let merged: Vec<Compared> = stream::iter(kept)
            .map(|(is_newer, table)| async move {
                let (table, of_ours, of_theirs) = match twins.get(&table.id) {
                    Some(twin) => {
                        let twin = self.table_by_id(*twin)?;
                        let commits = [&base.commit, ours, theirs];
                        let first = |id| self.state().first_version(id);
                        let (ours, theirs) = if first(table.id) == first(twin.id) {
                            // Both were made from what the base has.
                            let theirs = self.changes_between(&table, &base.commit, theirs).await?;
                            if !theirs.is_empty() {
                                self.check_not_written_anew(&twin, self.oldest(comparison.sides, &twin))?;
                            }
                            (self.changes_between(&twin, &base.commit, ours).await?, theirs)
                        } else {
                            self.changes_of_twins(commits, &table, &twin).await?
                        };
                        (twin, ours, theirs)
                    }
                    None => {
                        let (ours, theirs) =
                            self.changes_of_both(comparison, changed, [ours, theirs], &table).await?;
                        (table, ours, theirs)
                    }
                };
                let mut rules = Rules::of(&table, rules, is_newer || newer_tables.contains(&table.id));
                let sides = (of_ours, of_theirs);
                let (of_ours, of_theirs) = self.but_once(common, base, &table, &mut rules, sides).await?;
                Ok::<_, Error>(Compared { table, rules, ours: of_ours, theirs: of_theirs })
            })
            .buffered(CONCURRENT)
            .try_collect()
            .await?;
        compared.extend(merged);
        Ok(Comparisons { tables: compared, schema: change, altered, conflicts })
    }

    /// Tables that are taken from theirs as they are there.
    async fn compared_whole(
        &self,
        branch: &Branch,
        schema: &SchemaChange,
        [ours, theirs]: [&Named; 2],
        whole: &[TableId],
    ) -> Result<Vec<Compared>> {
        let mut out = Vec::new();
        for id in whole {
            let table = self.table_by_id(*id)?;
            let of_theirs = self.changes_of(branch, schema, &table, ours, theirs).await?;
            out.push(Compared {
                rules: Rules::of(&table, &[], true),
                table,
                ours: vec![],
                theirs: of_theirs,
            });
        }
        Ok(out)
    }

    /// What both sides changed of a table.
    async fn changes_of_both(
        &self,
        comparison: &Comparison<'_>,
        changed: &HashSet<TableId>,
        [ours, theirs]: [&Named; 2],
        table: &TableDef,
    ) -> Result<(Vec<RowChange>, Vec<RowChange>)> {
        let Comparison { branch, schema, altered, base, .. } = *comparison;
        let is_altered = altered.contains_key(&table.id);
        let mut of_theirs = match base.is_plain(table.id) && !is_altered {
            true => self.changes_of(branch, schema, table, &base.commit, theirs).await?,
            false => self.changes_since(base, theirs, table).await?,
        };
        let known = |id: &TableId| self.state().are_versions(*id, table.id);
        let mut of_ours = match changed.iter().any(known) {
            true => self.changes_since(base, ours, table).await?,
            false => vec![],
        };
        self.pair(table, &of_ours, &mut of_theirs).await?;
        let comes = branch.lineage == LineageId::MAIN && is_altered;
        if !of_theirs.is_empty() && (!comes || meet(&of_ours, &of_theirs)) {
            self.check_not_written_anew(table, self.oldest(comparison.sides, table))?;
        }
        base.contest(table.id, &mut of_ours, &mut of_theirs);
        Ok((of_ours, of_theirs))
    }

    /// Gives theirs' changes the keys that ours know the same rows by, where the backend takes different values for one
    /// key: by a collation that doesn't look at case, for instance.
    async fn pair(&self, table: &TableDef, ours: &[RowChange], theirs: &mut [RowChange]) -> Result<()> {
        let alone = |one: &[RowChange], other: &[RowChange]| {
            let known: HashSet<&Row> = other.iter().map(|c| &c.key).collect();
            one.iter().map(|c| c.key.clone()).filter(|key| !known.contains(key)).collect::<Vec<_>>()
        };
        let (of_ours, of_theirs) = (alone(ours, theirs), alone(theirs, ours));
        if of_ours.is_empty() || of_theirs.is_empty() {
            return Ok(());
        }
        let adapter = self.inner.backends.require(&table.location.backend)?;
        let keys = [of_ours.as_slice(), &of_theirs].concat();
        let forms = adapter.key_forms(table, keys).await?;
        let Some((forms_of_ours, forms_of_theirs)) = forms.split_at_checked(of_ours.len()) else {
            return Err(Error::internal("keys without a form"));
        };
        let same = same_keys((of_ours, forms_of_ours), (of_theirs, forms_of_theirs));
        for change in theirs {
            if let Some(key) = same.get(&change.key) {
                change.key.clone_from(key);
            }
        }
        Ok(())
    }

    /// The oldest of the versions of a table that the sides have.
    fn oldest(&self, sides: &[Arc<Tables>], table: &TableDef) -> TableId {
        let state = self.state();
        let known = sides.iter().flat_map(|s| s.by_id.keys()).filter(|id| state.are_versions(**id, table.id));
        known.min().copied().unwrap_or(table.id)
    }

    /// What both sides changed of tables that they made alike and that are one from here on: from the rows of
    /// the one that the base has, if it has one.
    async fn changes_of_twins(
        &self,
        [base, ours, theirs]: [&Named; 3],
        table: &TableDef,
        twin: &TableDef,
    ) -> Result<(Vec<RowChange>, Vec<RowChange>)> {
        let tables = self.tables_of_ref(base).await?;
        let before = match (tables.by_id.contains_key(&table.id), tables.by_id.contains_key(&twin.id)) {
            (true, _) => self.rows_at(base, table).await?,
            (false, true) => self.rows_at(base, twin).await?,
            (false, false) => BTreeMap::new(),
        };
        let ours = between(&before, self.rows_at(ours, twin).await?);
        let theirs = between(&before, self.rows_at(theirs, table).await?);
        Ok((ours, theirs))
    }

    /// All rows of a table at a ref, by key.
    async fn rows_at(&self, named: &Named, table: &TableDef) -> Result<BTreeMap<Row, Row>> {
        let spots = self.spots(named).await?;
        let start = (LineageId::MAIN, At::Ordinal(0));
        let (from, to) = self.state().nearest(&[start], &spots)?;
        let views = self.stored_views(from, to, table.id)?;
        let changes: Vec<RowChange> = self.diff_between(table, &views).await?.try_collect().await?;
        Ok(changes.into_iter().filter_map(|c| Some((c.key, c.after?))).collect())
    }

    /// 0A000 for rows of a table that was written anew on a branch, since an older version that a side has: what they
    /// are in its columns isn't known of rows that others changed.
    fn check_not_written_anew(&self, table: &TableDef, oldest: TableId) -> Result<()> {
        if !self.is_written_anew(table, oldest, |r| r.whole) {
            return Ok(());
        }
        Err(written_anew(table)
            .with_detail("A change of the table on a branch worked out a value for each of its rows."))
    }

    /// 0A000 for a version of a table that was written anew: main can do the same, unless values would be others.
    pub(super) fn check_can_come(&self, branch: &Branch, table: &TableDef, ours: TableId) -> Result<()> {
        if branch.lineage != LineageId::MAIN {
            return self.check_not_written_anew(table, ours);
        }
        if !self.is_written_anew(table, ours, |r| r.own_values) {
            return Ok(());
        }
        Err(written_anew(table).with_detail("Its rows have values of their own, which main's would not get."))
    }

    pub(super) fn is_written_anew(
        &self,
        table: &TableDef,
        oldest: TableId,
        how: impl Fn(&Revision) -> bool,
    ) -> bool {
        let versions = self.state().versions(table.id);
        versions.iter().take_while(|t| t.id != oldest).any(|t| t.revision.as_ref().is_some_and(&how))
    }

    /// The tables that the other side committed to last.
    async fn newer_tables(&self, merge: &WaitingMerge) -> Result<HashSet<TableId>> {
        self.with_graph(|graph| {
            let (Some(ours), Some(theirs)) = (graph.index(&merge.ours), graph.index(&merge.theirs)) else {
                return Ok(HashSet::new());
            };
            let last = |include: usize, exclude: usize| {
                let mut last = HashMap::new();
                for commit in graph.range(&[include], &[exclude]) {
                    for table in graph.tables(commit) {
                        last.entry(*table).or_insert(commit);
                    }
                }
                last
            };
            let (ours, theirs) = (last(ours, theirs), last(theirs, ours));
            let newer = theirs.iter().filter(|(id, at)| ours.get(id).is_none_or(|ours| ours < at));
            Ok(newer.map(|(id, _)| *id).collect())
        })
        .await
    }

    /// The changes that the other side brings to a table: of one that comes, from whatever the branch still
    /// holds of it.
    pub(super) async fn changes_of(
        &self,
        branch: &Branch,
        schema: &SchemaChange,
        table: &TableDef,
        from: &Named,
        to: &Named,
    ) -> Result<Vec<RowChange>> {
        if schema.removed.contains(&table.id) {
            // What it holds goes with it, so that no foreign key sees it any more.
            let (at, _) = self.published(branch).await?;
            return self.changes_to_nothing(at, table).await;
        }
        if schema.added.contains(&table.id) {
            let (at, _) = self.published(branch).await?;
            return self.changes_onto(at, to, table).await;
        }
        self.changes_between(table, from, to).await
    }

    /// Which tables come and go; `changed`: those whose rows ours and theirs changed. A merge into main makes
    /// tables there, but drops none.
    pub(super) async fn merge_schema(
        &self,
        branch: &Branch,
        [base, ours, theirs]: [&Named; 3],
        [ours_changed, theirs_changed]: [&HashSet<TableId>; 2],
        choices: &TableChoices,
    ) -> Result<SchemaMerge> {
        let (base, ours) = (self.tables_of_ref(base).await?, self.tables_of_ref(ours).await?);
        let theirs = self.tables_of_ref(theirs).await?;
        let combined = self.combinations(branch, [&base, &ours, &theirs]).await?;
        let references = self.references().await?;
        let merge = merge_tables(&Sides {
            base: &base,
            ours: &ours,
            theirs: &theirs,
            made: &|id| self.state().made(id).cloned(),
            made_from: &|a, b| self.state().is_made_from(a, b),
            first: &|id| self.state().first_version(id),
            ours_changed: &|id| ours_changed.contains(&id),
            theirs_changed: &|id| theirs_changed.contains(&id),
            combined: &combined,
            references: &references,
            choices,
        })?;
        for (table, ours) in &merge.altered {
            self.check_can_come(branch, &*self.table_by_id(*table)?, *ours)?;
        }
        let dropped = |id: &TableId| !merge.altered.values().any(|old| old == id);
        if branch.lineage == LineageId::MAIN && merge.change.removed.iter().any(dropped) {
            return Err(Error::unsupported("a merge into main that drops a table")
                .with_hint("Drop it on main, and unregister it."));
        }
        let mut merge = merge;
        let sides = [&*base, &*ours, &*theirs];
        let views = merge_views(
            &ViewSides {
                sides,
                text: &|id| self.state().made(id).map(|made| made.text.clone()).unwrap_or_default(),
                made: &|id| self.state().table(id).cloned(),
                chosen: &|id| choices.get(&self.state().first_version(id)).copied(),
                lineage: branch.lineage,
            },
            merge.conflicts.is_empty(),
            &mut merge.change,
        )?;
        merge.conflicts.extend(views);
        if branch.lineage == LineageId::MAIN {
            self.check_views_are_back(&merge.change).await?;
        }
        let settled = merge.conflicts.is_empty();
        let chosen: HashMap<TableId, TableSide> = {
            let state = self.state();
            let known = sides.iter().flat_map(|tables| tables.all_ids()).chain(merge.change.added.clone());
            known.filter_map(|id| Some((id, *choices.get(&state.first_version(id))?))).collect()
        };
        let chosen = |id: TableId| chosen.get(&id).copied();
        let types = self.merge_types(branch.lineage, sides, &chosen, settled, &mut merge.change)?;
        merge.conflicts.extend(types);
        Ok(merge)
    }

    /// 0A000 if main's history would say of a view what its server doesn't: a view that a merge brought isn't taken away
    /// again, nor one brought back that a merge dropped.
    async fn check_views_are_back(&self, change: &SchemaChange) -> Result<()> {
        for id in &change.removed {
            let view = self.table_by_id(*id)?;
            let Some(def) = &view.view else { continue };
            let another = |id: &TableId| {
                self.table_by_id(*id)
                    .is_ok_and(|t| t.view.is_some() && t.location.home() == view.location.home())
            };
            if change.added.iter().any(another) {
                continue;
            }
            let backend = self.inner.backends.require(&view.location.backend)?;
            if backend.live_view(&view).await? != def.of {
                return Err(Error::unsupported(format!(
                    "taking back on main what a merge did to view \"{}\"",
                    view.name
                ))
                .with_hint(match def.of {
                    None => "Drop the view on main, and try again.",
                    Some(_) => "Define the view on main as it was before that merge, and try again.",
                }));
            }
        }
        Ok(())
    }
}

/// What makes one set of rows of another.
fn between(before: &BTreeMap<Row, Row>, after: BTreeMap<Row, Row>) -> Vec<RowChange> {
    let gone = before.iter().filter(|(key, _)| !after.contains_key(*key));
    let mut changes: Vec<RowChange> = gone
        .map(|(key, row)| RowChange { key: key.clone(), before: Some(row.clone()), after: None })
        .collect();
    for (key, row) in after {
        let was = before.get(&key).cloned();
        if was.as_ref() != Some(&row) {
            changes.push(RowChange { key, before: was, after: Some(row) });
        }
    }
    changes
}

/// The keys of theirs that have the form of one of ours, which comes with them.
fn same_keys(
    (ours, forms_of_ours): (Vec<Row>, &[Row]),
    (theirs, forms_of_theirs): (Vec<Row>, &[Row]),
) -> BTreeMap<Row, Row> {
    let by_form: BTreeMap<&Row, Row> = forms_of_ours.iter().zip(ours).collect();
    let pairs = theirs.into_iter().zip(forms_of_theirs);
    pairs.filter_map(|(key, form)| Some((key, by_form.get(form)?.clone()))).collect()
}

/// Whether two sides changed a row both.
fn meet(ours: &[RowChange], theirs: &[RowChange]) -> bool {
    let keys: HashSet<_> = ours.iter().map(|c| &c.key).collect();
    theirs.iter().any(|c| keys.contains(&c.key))
}

fn written_anew(table: &TableDef) -> Error {
    Error::unsupported(format!("merging rows into table \"{}\", whose rows were written anew", table.name))
}
