//! What two sides of a merge have in common: a commit, or, after criss-cross merges, the merge of several
//! ones, which no commit shows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{Error, Result, Row, RowChange, TableDef, TableId};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::merge::merge_table;
use super::publish::SchemaChange;
use super::resolve::Named;
use super::rules::Rules;
use super::{Repository, Strategy, Tables};
use crate::metadata::rules::ColumnRule;

/// A state to compare with.
pub(super) struct Base {
    pub(super) commit: Named,
    /// Changes on top of the commit.
    over: HashMap<TableId, Vec<RowChange>>,
    /// Rows on which the merged commits don't agree: whoever differs there now is in conflict.
    contested: HashSet<(TableId, Row)>,
}

impl Base {
    fn plain(hash: &str) -> Self {
        Self { commit: Named::Commit(hash.to_owned()), over: HashMap::new(), contested: HashSet::new() }
    }

    /// Whether the commit shows the table as it is.
    pub(super) fn is_plain(&self, table: TableId) -> bool {
        !self.over.contains_key(&table)
    }

    /// 0A000 if tables come or go, or ours (`there`) has another version of one, in a merge that has several merge
    /// bases.
    pub(super) fn check_schema(
        &self,
        change: &SchemaChange,
        twins: &HashMap<TableId, TableId>,
        there: &Tables,
    ) -> Result<()> {
        let same = change.added.is_empty()
            && change.removed.is_empty()
            && twins.is_empty()
            && self.over.keys().all(|id| there.by_id.contains_key(id));
        if self.over.is_empty() || same {
            return Ok(());
        }
        Err(Error::unsupported(
            "a merge with several merge bases (criss-cross) that makes, alters or drops tables",
        )
        .with_hint("Merge one of the two branches into a new branch of the other one's older head."))
    }

    /// Makes contested rows changes of both sides, from nothing.
    pub(super) fn contest(&self, table: TableId, ours: &mut Vec<RowChange>, theirs: &mut Vec<RowChange>) {
        for (_, key) in self.contested.iter().filter(|(id, _)| *id == table) {
            let (our, their) = (take(ours, key), take(theirs, key));
            // A side without a change has the base's row, which is what the other one has before.
            let unchanged = |other: &Option<RowChange>| other.as_ref().and_then(|c| c.before.clone());
            if our.is_none() && their.is_none() {
                continue;
            }
            let (base_of_ours, base_of_theirs) = (unchanged(&their), unchanged(&our));
            let change = |after| RowChange { key: key.clone(), before: None, after };
            ours.push(change(our.map_or(base_of_ours, |c| c.after)));
            theirs.push(change(their.map_or(base_of_theirs, |c| c.after)));
        }
    }
}

fn take(changes: &mut Vec<RowChange>, key: &Row) -> Option<RowChange> {
    let at = changes.iter().position(|c| c.key == *key)?;
    Some(changes.swap_remove(at))
}

/// First these changes, then those, as one.
pub(super) fn compose(first: Vec<RowChange>, second: Vec<RowChange>) -> Vec<RowChange> {
    let mut all: BTreeMap<Row, RowChange> = first.into_iter().map(|c| (c.key.clone(), c)).collect();
    for change in second {
        match all.get_mut(&change.key) {
            Some(known) => known.after = change.after,
            None => drop(all.insert(change.key.clone(), change)),
        }
    }
    all.into_values().filter(|c| c.before != c.after).collect()
}

fn reversed(changes: &[RowChange]) -> Vec<RowChange> {
    let reverse =
        |c: &RowChange| RowChange { key: c.key.clone(), before: c.after.clone(), after: c.before.clone() };
    changes.iter().map(reverse).collect()
}

impl Repository {
    /// The base that merge bases (hashes, with spaces between) make, merged by the rules of columns. (Not by
    /// `latest`: between bases there is no later one.)
    pub(super) fn base_of<'a>(
        &'a self,
        bases: &'a str,
        rules: &'a [ColumnRule],
    ) -> BoxFuture<'a, Result<Base>> {
        async move {
            let mut bases = bases.split(' ');
            let mut base = Base::plain(bases.next().unwrap_or_default());
            for other in bases {
                base = self.merged_base(base, other, rules).await?;
            }
            Ok(base)
        }
        .boxed()
    }

    /// A base merged with one more commit.
    async fn merged_base(&self, mut base: Base, other: &str, rules: &[ColumnRule]) -> Result<Base> {
        let hash = base.commit.hash().to_owned();
        let below = self
            .with_graph(|graph| {
                let (Some(a), Some(b)) = (graph.index(&hash), graph.index(other)) else {
                    return Err(Error::internal("a commit is missing from the graph"));
                };
                let bases = graph.merge_bases(a, b);
                Ok(bases.iter().map(|&i| graph.hash(i).to_owned()).collect::<Vec<_>>().join(" "))
            })
            .await?;
        let (below, other) = (self.base_of(&below, rules).await?, Named::Commit(other.to_owned()));
        for table in self.tables_since(&below, &other).await? {
            let commit = base.commit.clone();
            let over = base.over.remove(&table.id).unwrap_or_default();
            let mut ours = compose(self.changes_since(&below, &commit, &table).await?, over.clone());
            let mut theirs = self.changes_since(&below, &other, &table).await?;
            below.contest(table.id, &mut ours, &mut theirs);
            let rules = Rules::of_bases(&table, rules);
            let merged = merge_table(&table.schema, Strategy::Field, &rules, ours, theirs);
            base.contested.extend(merged.conflicts.into_iter().map(|c| (table.id, c.key)));
            base.over.insert(table.id, compose(over, merged.changes));
        }
        base.contested.extend(below.contested);
        Ok(base)
    }

    /// The changes of a table between a base and a commit.
    pub(super) async fn changes_since(
        &self,
        base: &Base,
        to: &Named,
        table: &TableDef,
    ) -> Result<Vec<RowChange>> {
        let direct = self.changes_between(table, &base.commit, to).await?;
        Ok(match base.over.get(&table.id) {
            Some(over) => compose(reversed(over), direct),
            None => direct,
        })
    }

    /// The tables that may differ between a base and a commit.
    pub(super) async fn tables_since(&self, base: &Base, to: &Named) -> Result<Vec<Arc<TableDef>>> {
        let mut tables = self.tables_between(&base.commit, to).await?;
        for id in base.over.keys() {
            if !tables.iter().any(|t| t.id == *id) {
                tables.push(self.table_by_id(*id)?);
            }
        }
        tables.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(tables)
    }
}
