//! What both sides of a merge have from one and the same change counts once where deltas are added up: it is made a part
//! of the base. Where that can't be told exactly, the cell is a conflict (decision 50).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use epoch_adapter::{Error, Result, Row, RowChange, TableDef, TableId, Value, Wanted, sqlstate};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};

use super::Repository;
use super::base::Base;
use super::origins::{Common, Times, brings};
use super::resolve::Named;
use super::rules::{Rules, difference, plus, same_number};
use crate::metadata::merges::WaitingMerge;
use crate::metadata::rules::ColumnRule;

/// What changes do to the cells that are summed; `None` where that is no number.
type Cells = BTreeMap<usize, Option<Value>>;
type Deltas = BTreeMap<Row, Cells>;

impl Repository {
    /// The changes that both sides of a merge have, if there are rules for which that matters.
    pub(super) async fn in_common(&self, merge: &WaitingMerge, rules: &[ColumnRule]) -> Result<Vec<Common>> {
        if !rules.iter().any(|rule| rule.rule == "sum") {
            return Ok(Vec::new());
        }
        self.common_changes(&merge.base, &merge.ours, &merge.theirs).await
    }

    /// Tables in which theirs is on balance what the base was, though a change that both sides have is in them: then it has
    /// another one, too, that takes it back.
    pub(super) async fn tables_of_common(
        &self,
        common: &[Common],
        known: &[Arc<TableDef>],
    ) -> Result<Vec<Arc<TableDef>>> {
        let ids: BTreeSet<TableId> = self
            .with_graph(|graph| {
                let commits = common.iter().flat_map(|one| {
                    let again = graph.again(&one.change).iter().copied();
                    again.chain(graph.index(&one.change))
                });
                Ok(commits.flat_map(|at| graph.tables(at).to_vec()).collect())
            })
            .await?;
        let state = self.state();
        let others = ids.into_iter().filter(|id| !known.iter().any(|t| state.are_versions(t.id, *id)));
        Ok(others.filter_map(|id| state.table(id).cloned()).collect())
    }

    /// Both sides' changes of a table from a base that has what they have in common. 55000 if that can't be told.
    pub(super) async fn but_once(
        &self,
        common: &[Common],
        base: &Base,
        table: &TableDef,
        rules: &mut Rules,
        (ours, theirs): (Vec<RowChange>, Vec<RowChange>),
    ) -> Result<(Vec<RowChange>, Vec<RowChange>)> {
        let columns = rules.sums();
        if common.is_empty() || columns.is_empty() {
            return Ok((ours, theirs));
        }
        let mut known = Known { repository: self, table, columns: &columns, changes: HashMap::new() };
        let mut once = Deltas::new();
        let mut unsure: BTreeMap<Row, BTreeSet<usize>> = BTreeMap::new();
        for one in common {
            let deltas = known.of_change(&one.change).await?;
            known.add(&mut once, &deltas, one.times);
            for carrier in &one.carriers {
                for (key, column) in known.other_than_told(carrier).await? {
                    unsure.entry(key).or_default().insert(column);
                }
            }
        }
        for (key, cells) in &once {
            let doubtful = cells.iter().filter(|(_, delta)| delta.is_none()).map(|(column, _)| *column);
            unsure.entry(key.clone()).or_default().extend(doubtful);
        }
        let mut sides = BothSides::of(ours, theirs);
        let keys: BTreeSet<&Row> = once.keys().chain(unsure.keys()).collect();
        for key in keys {
            let mut doubted = unsure.get(key).cloned().unwrap_or_default();
            let cells = once.get(key).cloned().unwrap_or_default();
            let nothing = cells.iter().all(|(i, delta)| doubted.contains(i) || known.is_nothing(*i, delta));
            if nothing && doubted.is_empty() {
                continue;
            }
            let before = match sides.base(key) {
                Some(row) => row,
                None => known.row_at(base, common, key).await?.ok_or_else(|| unknown(table, key))?,
            };
            let Some(mut row) = before.clone().filter(|_| sides.keeps(key)) else { continue };
            // A conflict shows the base as it is.
            let certain: Vec<_> = cells.into_iter().filter(|(i, _)| !doubted.contains(i)).collect();
            for (i, delta) in certain {
                let sum = row.get(i).zip(delta).and_then(|(cell, delta)| known.plus(i, cell, &delta));
                match (row.get_mut(i), sum) {
                    (Some(cell), Some(sum)) => *cell = sum,
                    _ => {
                        doubted.insert(i);
                    }
                }
            }
            sides.rebase(key, before, row);
            doubted.into_iter().for_each(|column| rules.doubt(key.clone(), column));
        }
        Ok(sides.into_changes())
    }
}

/// Where a delta would be lost, or counted twice, nothing is merged.
fn unknown(table: &TableDef, key: &Row) -> Error {
    let shown = |values: Vec<String>| values.join(", ");
    let key = shown(key.iter().map(|v| v.to_text().unwrap_or_default()).collect());
    Error::new(
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("it is not known what both sides of the merge have in common of table \"{}\"", table.name),
    )
    .with_detail(format!(
        "A change of key ({})=({key}) is on both sides, and the row that they come from can't be found by it any more.",
        shown(table.schema.key_names())
    ))
    .with_hint("Merge without the rule sum of its columns, and set the row yourself.")
}

/// What both sides changed, by key.
struct BothSides {
    ours: BTreeMap<Row, RowChange>,
    theirs: BTreeMap<Row, RowChange>,
}

impl BothSides {
    fn of(ours: Vec<RowChange>, theirs: Vec<RowChange>) -> Self {
        let by_key = |changes: Vec<RowChange>| changes.into_iter().map(|c| (c.key.clone(), c)).collect();
        Self { ours: by_key(ours), theirs: by_key(theirs) }
    }

    /// The base's row, if a side changed it; it may be that there is none.
    fn base(&self, key: &Row) -> Option<Option<Row>> {
        self.ours.get(key).or_else(|| self.theirs.get(key)).map(|c| c.before.clone())
    }

    /// Whether both sides have the row.
    fn keeps(&self, key: &Row) -> bool {
        [&self.ours, &self.theirs].iter().all(|side| side.get(key).is_none_or(|c| c.after.is_some()))
    }

    /// Both sides come from another row than `before`.
    fn rebase(&mut self, key: &Row, before: Option<Row>, row: Row) {
        for side in [&mut self.ours, &mut self.theirs] {
            let unchanged = || RowChange { key: key.clone(), before: None, after: before.clone() };
            side.entry(key.clone()).or_insert_with(unchanged).before = Some(row.clone());
        }
    }

    fn into_changes(self) -> (Vec<RowChange>, Vec<RowChange>) {
        (self.ours.into_values().collect(), self.theirs.into_values().collect())
    }
}

/// What is known of changes to one table.
struct Known<'a> {
    repository: &'a Repository,
    table: &'a TableDef,
    /// Those that are summed.
    columns: &'a [usize],
    changes: HashMap<String, Arc<Deltas>>,
}

/// A commit as the graph has it.
struct Told {
    parent: Option<String>,
    tables: Vec<TableId>,
    brings: Vec<(String, Times)>,
}

impl Known<'_> {
    fn plus(&self, column: usize, a: &Value, b: &Value) -> Option<Value> {
        plus(self.table.schema.columns.get(column)?, a, b)
    }

    fn is_nothing(&self, column: usize, delta: &Option<Value>) -> bool {
        delta.as_ref().is_some_and(|delta| self.same(column, delta, &Value::Int(0)))
    }

    fn same(&self, column: usize, a: &Value, b: &Value) -> bool {
        let Some(def) = self.table.schema.columns.get(column) else { return false };
        // Of the form that the other has.
        let text = |v: &Value| Value::Text(v.to_text().unwrap_or_default());
        match (a, b) {
            (Value::Text(_), Value::Text(_)) => same_number(def, a, b),
            (Value::Text(_), _) => same_number(def, a, &text(b)),
            (_, Value::Text(_)) => same_number(def, &text(a), b),
            _ => same_number(def, a, b),
        }
    }

    /// Adds deltas, so many times.
    fn add(&self, to: &mut Deltas, deltas: &Deltas, times: Times) {
        for (key, cells) in deltas {
            let known = to.entry(key.clone()).or_default();
            for (column, delta) in cells {
                let delta = times.zip(delta.as_ref()).and_then(|(n, delta)| self.times(*column, delta, n));
                match known.get_mut(column) {
                    None => drop(known.insert(*column, delta)),
                    Some(sum) => {
                        let both = sum.as_ref().zip(delta.as_ref());
                        *sum = both.and_then(|(sum, delta)| self.plus(*column, sum, delta));
                    }
                }
            }
        }
    }

    fn times(&self, column: usize, delta: &Value, times: i64) -> Option<Value> {
        let def = self.table.schema.columns.get(column)?;
        let nothing = difference(def, delta, delta)?;
        (0..times.unsigned_abs()).try_fold(nothing, |sum, _| match times > 0 {
            true => plus(def, &sum, delta),
            false => difference(def, delta, &sum),
        })
    }

    async fn told(&self, commit: &str) -> Result<Option<Told>> {
        self.repository
            .with_graph(|graph| {
                let Some(at) = graph.index(commit) else { return Ok(None) };
                let parent = graph.parents(at).first().map(|&p| graph.hash(p).to_owned());
                let brings = brings(graph, at).into_iter().collect();
                Ok(Some(Told { parent, tables: graph.tables(at).to_vec(), brings }))
            })
            .await
    }

    /// What a commit did to the table; `None` if nobody knows any more.
    async fn of_commit(&self, commit: &str, told: &Told) -> Result<Option<Deltas>> {
        let repository = self.repository;
        let Some(parent) = &told.parent else { return Ok(None) };
        let touches =
            |id: &TableId| *id == self.table.id || repository.state().are_versions(*id, self.table.id);
        if !told.tables.iter().any(touches) {
            return Ok(Some(Deltas::new()));
        }
        let (from, to) = (Named::Commit(parent.clone()), Named::Commit(commit.to_owned()));
        let views = match repository.views_between(&from, &to, self.table).await {
            Err(error) if error.code() == sqlstate::INVALID_CATALOG_NAME => return Ok(None),
            views => views?,
        };
        // What other versions' columns are in this one isn't asked.
        let comparable = views.versions.is_none();
        let mut changes = repository.diff_between(self.table, &views).await?;
        let mut deltas = Deltas::new();
        while let Some(change) = changes.try_next().await? {
            let cells = self.cells(&change, comparable);
            if !cells.is_empty() {
                deltas.insert(change.key, cells);
            }
        }
        Ok(Some(deltas))
    }

    fn cells(&self, change: &RowChange, comparable: bool) -> Cells {
        let (Some(before), Some(after), true) = (&change.before, &change.after, comparable) else {
            return self.columns.iter().map(|&i| (i, None)).collect();
        };
        let one = |&i: &usize| {
            let (before, after) = (before.get(i)?, after.get(i)?);
            let column = self.table.schema.columns.get(i)?;
            (before != after).then(|| (i, difference(column, before, after)))
        };
        self.columns.iter().filter_map(one).collect()
    }

    /// What a change does to the table, wherever it is brought.
    fn of_change<'b>(&'b mut self, change: &'b str) -> BoxFuture<'b, Result<Arc<Deltas>>> {
        async move {
            if let Some(known) = self.changes.get(change) {
                return Ok(Arc::clone(known));
            }
            let deltas = Arc::new(self.look_up(change).await?);
            self.changes.insert(change.to_owned(), Arc::clone(&deltas));
            Ok(deltas)
        }
        .boxed()
    }

    async fn look_up(&mut self, change: &str) -> Result<Deltas> {
        if let Some(told) = self.told(change).await?
            && let Some(mut deltas) = self.of_commit(change, &told).await?
        {
            // Its own is what those that it brings again don't explain.
            for (other, times) in told.brings.iter().filter(|(other, _)| other != change) {
                let theirs = self.of_change(other).await?;
                self.add(&mut deltas, &theirs, times.map(|n| -n));
            }
            return Ok(deltas);
        }
        // The commit was collected: those that bring it again tell of it.
        let again = self.repository.with_graph(|graph| {
            Ok(graph.again(change).iter().map(|&at| graph.hash(at).to_owned()).collect::<Vec<_>>())
        });
        let mut anywhere = Deltas::new();
        for commit in again.await? {
            let Some(told) = self.told(&commit).await? else { continue };
            let Some(deltas) = self.of_commit(&commit, &told).await? else { continue };
            match told.brings.as_slice() {
                [(only, Some(times @ (1 | -1)))] if only == change => {
                    let mut found = Deltas::new();
                    self.add(&mut found, &deltas, Some(*times));
                    return Ok(found);
                }
                _ => self.add(&mut anywhere, &deltas, None),
            }
        }
        Ok(anywhere)
    }

    /// The cells in which a commit did something else than what it says it brings: its conflicts were resolved so.
    async fn other_than_told(&mut self, commit: &str) -> Result<Vec<(Row, usize)>> {
        let Some(told) = self.told(commit).await? else { return Ok(Vec::new()) };
        let Some(actual) = self.of_commit(commit, &told).await? else { return Ok(Vec::new()) };
        let mut expected = Deltas::new();
        for (change, times) in &told.brings {
            let deltas = self.of_change(change).await?;
            self.add(&mut expected, &deltas, *times);
        }
        let nothing = Some(Value::Int(0));
        let mut others = Vec::new();
        for key in actual.keys().chain(expected.keys()).collect::<BTreeSet<_>>() {
            for &column in self.columns {
                let cell = |deltas: &Deltas| {
                    deltas.get(key).and_then(|cells| cells.get(&column)).unwrap_or(&nothing).clone()
                };
                let same = cell(&actual).zip(cell(&expected)).is_some_and(|(a, b)| self.same(column, &a, &b));
                if !same {
                    others.push((key.clone(), column));
                }
            }
        }
        Ok(others)
    }

    /// The base's row of a key that neither side changed on balance; `None` if nobody knows any more whether it has one.
    async fn row_at(&self, base: &Base, common: &[Common], key: &Row) -> Result<Option<Option<Row>>> {
        if !base.is_plain(self.table.id) {
            return Ok(None);
        }
        let wanted = Wanted::of_key(key.clone());
        for one in common {
            let Some(told) = self.told(&one.change).await? else { continue };
            let Some(parent) = told.parent else { continue };
            let (before, after) = (Named::Commit(parent), Named::Commit(one.change.clone()));
            let Ok(views) = self.repository.views_between(&before, &after, self.table).await else {
                continue;
            };
            let own: Vec<RowChange> =
                self.repository.diff_of(self.table, &views, &wanted).await?.try_collect().await?;
            let Some(own) = own.into_iter().find(|c| c.key == *key) else { continue };
            let views = self.repository.views_between(&after, &base.commit, self.table).await?;
            if views.versions.is_some() {
                continue;
            }
            let since: Vec<RowChange> =
                self.repository.diff_of(self.table, &views, &wanted).await?.try_collect().await?;
            let since = since.into_iter().find(|c| c.key == *key);
            return Ok(Some(since.map_or(own.after, |c| c.after)));
        }
        Ok(None)
    }
}
