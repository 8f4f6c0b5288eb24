//! Merging which tables there are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use epoch_adapter::{Error, Result, TableDef, TableId, TableName, identifier, sqlstate};

use super::merge::RowConflict;
use super::publish::SchemaChange;
use super::state::Made;
use super::{ConflictKind, Tables};

/// The tables of the three sides of a merge.
pub(super) struct Sides<'a> {
    pub(super) base: &'a Tables,
    pub(super) ours: &'a Tables,
    pub(super) theirs: &'a Tables,
    /// Tables made on branches.
    pub(super) made: &'a dyn Fn(TableId) -> Option<Made>,
    /// Whether the first table was made from the second one, an older version.
    pub(super) made_from: &'a dyn Fn(TableId, TableId) -> bool,
    /// The first version of a table.
    pub(super) first: &'a dyn Fn(TableId) -> TableId,
    /// Whether a side changed rows of a table since the base.
    pub(super) ours_changed: &'a dyn Fn(TableId) -> bool,
    pub(super) theirs_changed: &'a dyn Fn(TableId) -> bool,
    /// Tables that were altered on both sides.
    pub(super) combined: &'a Combinations,
    /// Which tables refer to which.
    pub(super) references: &'a [(TableId, TableId)],
    /// What is taken of tables that are in conflict.
    pub(super) choices: &'a TableChoices,
}

/// The side that a table in conflict is taken from, definition and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableSide {
    Ours,
    Theirs,
}

/// What was chosen for tables in conflict, by their first versions. A strategy chooses none: the other side's rows would
/// be lost without a word.
pub(super) type TableChoices = HashMap<TableId, TableSide>;

/// A table, view or type that both sides made something else of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SchemaConflict {
    /// Theirs, or ours where theirs has none.
    pub(super) table: TableId,
    /// `table "t": dropped on one side, altered on the other`
    pub(super) what: String,
    /// The columns, constraints and indexes that differ, if it is about these.
    pub(super) parts: Vec<String>,
}

impl SchemaConflict {
    pub(super) fn new(table: &TableDef, what: &str, parts: Vec<String>) -> Self {
        let kind = kind_of(table);
        let what = match parts.as_slice() {
            [] => format!("{kind} \"{}\": {what}", table.name),
            parts => format!("{kind} \"{}\": {what} ({})", table.name, parts.join(", ")),
        };
        Self { table: table.id, what, parts }
    }

    /// As it is stored among conflicts of rows.
    pub(super) fn stored(&self) -> RowConflict {
        RowConflict {
            kind: ConflictKind::Schema,
            key: vec![],
            base: None,
            ours: None,
            theirs: None,
            columns: vec![],
            decided: vec![],
            parts: self.parts.clone(),
        }
    }
}

/// What a registration is, as a message names it.
pub(super) fn kind_of(table: &TableDef) -> &'static str {
    match (&table.view, &table.enumeration) {
        (Some(_), _) => "view",
        (_, Some(_)) => "type",
        _ => "table",
    }
}

/// What of a merge's result doesn't fit together, and whose side could be chosen so that it does, in this order.
pub(super) struct Misfit {
    pub(super) of: Vec<Arc<TableDef>>,
    pub(super) what: String,
}

/// Makes misfits conflicts of what no side was chosen for yet, one for each; 55000 for those where all was chosen, and wrong.
pub(super) fn to_conflicts(
    misfits: Vec<Misfit>,
    chosen: &dyn Fn(TableId) -> Option<TableSide>,
) -> Result<Vec<SchemaConflict>> {
    let (mut conflicts, mut wrong) = (Vec::<SchemaConflict>::new(), Vec::new());
    for Misfit { of, what } in misfits {
        let Some(open) = of.iter().find(|table| chosen(table.id).is_none()) else {
            wrong.push(what);
            continue;
        };
        match conflicts.iter_mut().find(|known| known.table == open.id) {
            Some(known) if known.what.contains(&what) => {}
            Some(known) => known.what = format!("{}; {what}", known.what),
            None => conflicts.push(SchemaConflict { table: open.id, what, parts: vec![] }),
        }
    }
    if wrong.is_empty() { Ok(conflicts) } else { Err(refused(wrong.into_iter())) }
}

/// What a merge does to which tables there are.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SchemaMerge {
    pub(super) change: SchemaChange,
    /// Tables that both sides made alike: theirs, and ours that takes their rows.
    pub(super) twins: HashMap<TableId, TableId>,
    /// Tables of which theirs has a newer version, or that were altered on both sides, and ours that they take the place
    /// of.
    pub(super) altered: HashMap<TableId, TableId>,
    /// Versions of theirs, and what has what was done on both sides.
    pub(super) combined: HashMap<TableId, TableId>,
    /// Tables that can't be merged. Nothing else here holds before something is chosen for each of them.
    pub(super) conflicts: Vec<SchemaConflict>,
    /// The first versions of tables that are in conflict, or of which one side was chosen: their rows aren't merged.
    pub(super) apart: HashSet<TableId>,
    /// Tables that were chosen of theirs, with all rows that they have there.
    pub(super) whole: Vec<TableId>,
}

impl SchemaMerge {
    /// 55000 with every conflict in the DETAIL.
    pub(super) fn without_conflicts(self) -> Result<Self> {
        match self.conflicts.is_empty() {
            true => Ok(self),
            false => Err(refused(self.conflicts.into_iter().map(|c| c.what))),
        }
    }

    /// Takes a table from one side.
    fn take(&mut self, sides: &Sides<'_>, side: TableSide, table: &TableDef) {
        self.apart.insert((sides.first)(table.id));
        if side == TableSide::Ours {
            return;
        }
        let ours = sides.version(sides.ours, table.id);
        let ours = ours.or_else(|| sides.ours.by_name.get(&table.name).map(|t| t.id));
        if sides.theirs.by_id.contains_key(&table.id) {
            self.whole.push(table.id);
            if ours != Some(table.id) {
                self.change.added.push(table.id);
            }
        }
        self.change.removed.extend(ours.filter(|id| *id != table.id || !self.whole.contains(id)));
    }

    fn disagree(&mut self, sides: &Sides<'_>, table: &TableDef, what: &str, parts: Vec<String>) {
        self.apart.insert((sides.first)(table.id));
        self.conflicts.push(SchemaConflict::new(table, what, parts));
    }
}

/// 55000
pub(super) fn refused(conflicts: impl Iterator<Item = String>) -> Error {
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, "the merge has schema conflicts")
        .with_detail(conflicts.collect::<Vec<_>>().join("; "))
        .with_hint(
            "Choose the other side of one of them, or drop, rename or alter it on one of the branches, commit, and merge again.",
        )
}

/// What is known of tables that were altered on both sides, by theirs: the version that has both, or in what they differ.
pub(super) type Combinations = HashMap<TableId, std::result::Result<TableId, Vec<String>>>;

/// What becomes of one table of theirs that ours doesn't have.
enum Fate {
    Added,
    /// It is ours already, in the same or a newer version.
    Ours,
    Altered(TableId),
    /// A version that has what was done on both sides takes the place of ours.
    Combined {
        ours: TableId,
        both: TableId,
    },
    Twin(TableId),
    Conflict(&'static str),
    /// Altered on both sides, so that these parts differ.
    Differs(Vec<String>),
}

/// Judges tables by name. 55000 if by what was chosen two would have one name, or foreign keys would lead to tables that
/// aren't there.
pub(super) fn merge_tables(sides: &Sides<'_>) -> Result<SchemaMerge> {
    let mut merge = SchemaMerge::default();
    for table in sides.theirs.sorted() {
        if let Some(side) = sides.chosen(table.id) {
            merge.take(sides, side, &table);
            continue;
        }
        if sides.ours.by_id.contains_key(&table.id) {
            continue;
        }
        match fate(sides, &table) {
            Fate::Ours => {}
            Fate::Added => merge.change.added.push(table.id),
            Fate::Altered(ours) => {
                merge.change.added.push(table.id);
                merge.change.removed.push(ours);
                merge.altered.insert(table.id, ours);
            }
            Fate::Combined { ours, both } => {
                merge.change.added.push(both);
                merge.change.removed.push(ours);
                merge.altered.insert(both, ours);
                merge.combined.insert(table.id, both);
            }
            Fate::Twin(ours) => {
                merge.twins.insert(table.id, ours);
            }
            Fate::Conflict(what) => merge.disagree(sides, &table, what, vec![]),
            Fate::Differs(parts) => {
                merge.disagree(sides, &table, "altered differently on both sides", parts);
            }
        }
    }
    dropped_by_theirs(sides, &mut merge);
    given_up(sides, &mut merge);
    merge.change.removed.sort_unstable();
    merge.change.removed.dedup();
    // With tables in conflict it isn't known yet.
    if merge.conflicts.is_empty() {
        let mut misfits = names_taken(sides, &merge.change);
        misfits.extend(dangling(sides, &merge.change));
        let conflicts = to_conflicts(misfits, &|id| sides.chosen(id))?;
        merge.apart.extend(conflicts.iter().map(|c| (sides.first)(c.table)));
        merge.conflicts = conflicts;
    }
    Ok(merge)
}

/// Takes away the tables that ours alone has, where theirs was chosen.
fn given_up(sides: &Sides<'_>, merge: &mut SchemaMerge) {
    for table in sides.ours.sorted() {
        let alone = [sides.base, sides.theirs].iter().all(|of| sides.version(of, table.id).is_none());
        if let (true, Some(side)) = (alone, sides.chosen(table.id)) {
            merge.take(sides, side, &table);
        }
    }
}

/// Judges the tables that theirs doesn't have any more.
fn dropped_by_theirs(sides: &Sides<'_>, merge: &mut SchemaMerge) {
    for table in sides.base.sorted() {
        let Some(ours) = sides.version(sides.ours, table.id) else { continue };
        if sides.version(sides.theirs, table.id).is_some() || merge.twins.values().any(|twin| *twin == ours) {
            continue;
        }
        if let Some(side) = sides.chosen(table.id) {
            merge.take(sides, side, &table);
        } else if ours != table.id {
            merge.disagree(sides, &table, "dropped on one side, altered on the other", vec![]);
        } else if (sides.ours_changed)(table.id) {
            merge.disagree(sides, &table, "dropped on one side, changed on the other", vec![]);
        } else {
            merge.change.removed.push(table.id);
        }
    }
}

fn fate(sides: &Sides<'_>, theirs: &TableDef) -> Fate {
    let id = theirs.id;
    match (sides.version(sides.base, id), sides.version(sides.ours, id)) {
        (Some(base), Some(ours))
            if base == id && (sides.made_from)(id, ours) && (sides.theirs_changed)(id) =>
        {
            Fate::Conflict("changed in a version that the branch does not have")
        }
        // Ours altered it, theirs didn't.
        (Some(base), Some(_)) if base == id => Fate::Ours,
        (Some(base), Some(_)) if (sides.made_from)(base, id) => {
            Fate::Conflict("taken back to an older version")
        }
        (_, Some(ours)) if sides.combined.contains_key(&id) => combined(sides, id, ours),
        (_, Some(ours)) if (sides.made_from)(id, ours) => Fate::Altered(ours),
        (_, Some(ours)) if (sides.made_from)(ours, id) => Fate::Ours,
        (_, Some(ours)) => match sides.ours.by_id.get(&ours) {
            Some(ours) if alike(sides, ours, theirs) => Fate::Twin(ours.id),
            Some(ours) => match differing(&text(sides, ours), &text(sides, theirs)) {
                parts if parts.is_empty() => {
                    Fate::Conflict("altered alike on both sides, with other values in rows")
                }
                parts => Fate::Differs(parts),
            },
            None => Fate::Conflict("altered differently on both sides"),
        },
        (Some(base), None) if base != id => Fate::Conflict("dropped on one side, altered on the other"),
        (Some(_), None) if !(sides.theirs_changed)(id) => Fate::Ours,
        // One that was made alike may have taken its place, by an earlier merge of the two.
        (Some(_), None) => match sides.ours.by_name.get(&theirs.name) {
            Some(ours) if alike(sides, ours, theirs) => Fate::Twin(ours.id),
            _ => Fate::Conflict("dropped on one side, changed on the other"),
        },
        (None, None) => made(sides, theirs),
    }
}

/// What becomes of a table that was altered on both sides.
fn combined(sides: &Sides<'_>, theirs: TableId, ours: TableId) -> Fate {
    match sides.combined.get(&theirs) {
        Some(Ok(both)) => Fate::Combined { ours, both: *both },
        Some(Err(parts)) if !parts.is_empty() => Fate::Differs(parts.clone()),
        _ => Fate::Conflict("altered differently on both sides"),
    }
}

/// What becomes of a table that theirs made.
fn made(sides: &Sides<'_>, theirs: &TableDef) -> Fate {
    let Some(ours) = sides.ours.by_name.get(&theirs.name) else { return Fate::Added };
    let renamed = sides.version(sides.theirs, ours.id).and_then(|id| sides.theirs.by_id.get(&id));
    if renamed.is_some_and(|there| there.name != theirs.name) {
        // What has the name with us has another one there.
        return Fate::Added;
    }
    let older = sides.version(sides.base, ours.id).is_some();
    match (older, alike(sides, ours, theirs)) {
        // Theirs dropped it before, and ours did nothing.
        (true, _) if sides.base.by_id.contains_key(&ours.id) && !(sides.ours_changed)(ours.id) => Fate::Added,
        (_, true) => Fate::Twin(ours.id),
        (true, false) => Fate::Conflict("dropped and made again on one side, changed on the other"),
        (false, false) => Fate::Conflict("made differently on both sides"),
    }
}

impl Sides<'_> {
    pub(super) fn chosen(&self, table: TableId) -> Option<TableSide> {
        self.choices.get(&(self.first)(table)).copied()
    }

    /// The version of a table that a side has: the same, an older or a newer one, or one that was made from the
    /// same.
    fn version(&self, of: &Tables, table: TableId) -> Option<TableId> {
        if of.by_id.contains_key(&table) {
            return Some(table);
        }
        let first = (self.first)(table);
        of.by_id.keys().copied().find(|id| (self.first)(*id) == first)
    }
}

/// Names that two tables would have.
fn names_taken(sides: &Sides<'_>, change: &SchemaChange) -> Vec<Misfit> {
    let kept = sides.ours.by_id.values().filter(|t| !change.removed.contains(&t.id)).cloned();
    let come = change.added.iter().filter_map(|id| match sides.theirs.by_id.get(id) {
        Some(table) => Some(Arc::clone(table)),
        None => (sides.made)(*id).map(|made| made.table),
    });
    let mut by_name: BTreeMap<TableName, Vec<Arc<TableDef>>> = BTreeMap::new();
    for table in kept.chain(come) {
        // What comes is the first whose side is to be chosen.
        by_name.entry(table.name.clone()).or_default().insert(0, table);
    }
    let taken = by_name.into_iter().filter(|(_, tables)| tables.len() > 1);
    let misfit =
        |(name, of)| Misfit { of, what: format!("table \"{name}\": two tables would have this name") };
    taken.map(misfit).collect()
}

/// Foreign keys whose parent would be gone.
fn dangling(sides: &Sides<'_>, change: &SchemaChange) -> Vec<Misfit> {
    let there = |id: &TableId| {
        change.added.contains(id) || (sides.ours.by_id.contains_key(id) && !change.removed.contains(id))
    };
    // In whatever version.
    let any = |id: &TableId| {
        let mut versions = sides.ours.by_id.keys().chain(&change.added).filter(|v| (sides.first)(**v) == *id);
        versions.any(there)
    };
    // What a merge made of two versions is no side's; it has their name.
    let side_of = |id: &TableId| {
        let tables = [sides.ours, sides.theirs, sides.base];
        tables.iter().find_map(|tables| {
            let other = || tables.by_id.values().find(|t| (sides.first)(t.id) == (sides.first)(*id));
            tables.by_id.get(id).or_else(other).cloned()
        })
    };
    let named =
        |id: &TableId| side_of(id).map_or_else(|| format!("#{}", id.0), |table| table.name.to_string());
    let open = sides.references.iter().filter(|(child, parent)| there(child) && !any(parent));
    open.map(|(child, parent)| Misfit {
        of: [parent, child].into_iter().filter_map(side_of).collect(),
        what: format!(
            "table \"{}\" refers to table \"{}\", which would not be there",
            named(child),
            named(parent)
        ),
    })
    .collect()
}

fn text(sides: &Sides<'_>, table: &TableDef) -> String {
    (sides.made)(table.id).map(|made| made.text).unwrap_or_default()
}

/// The columns, constraints and indexes in which two definitions differ, as a message names them. Those that both have come
/// first, because they are what was altered in two ways.
fn differing(ours: &str, theirs: &str) -> Vec<String> {
    let (ours, theirs) = (parts(ours), parts(theirs));
    let in_both = ours.iter().filter(|(part, line)| theirs.get(*part).is_some_and(|other| other != *line));
    let mut found: Vec<String> = in_both.map(|(part, _)| part.clone()).collect();
    if found.is_empty() {
        let alone = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| -> Vec<String> {
            a.keys().filter(|part| !b.contains_key(*part)).cloned().collect()
        };
        found = alone(&ours, &theirs);
        found.extend(alone(&theirs, &ours));
    }
    found
}

/// The lines of a definition's text by what they are about.
fn parts(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let (kind, rest) = match line.split_once(' ') {
            Some(("column", rest)) => ("column", rest),
            Some(("constraint", rest)) => ("constraint", rest),
            Some(("comment", rest)) => ("comment on", rest),
            Some(("CREATE", rest)) => match rest.split_once("INDEX ") {
                Some((_, rest)) => ("index", rest),
                None => continue,
            },
            _ => continue,
        };
        let name = match rest.starts_with('"') {
            true => identifier(rest).map(|(name, _)| name).unwrap_or_default(),
            false => rest.split(' ').next().unwrap_or_default().to_owned(),
        };
        let part =
            if name.is_empty() { "comment on the table".to_owned() } else { format!("{kind} \"{name}\"") };
        found.insert(part, line.to_owned());
    }
    found
}

/// Whether two tables were made on branches of one backend with the same definition.
fn alike(sides: &Sides<'_>, ours: &TableDef, theirs: &TableDef) -> bool {
    are_alike(sides.made, ours, theirs)
}

/// As [`alike`].
pub(super) fn are_alike(made: &dyn Fn(TableId) -> Option<Made>, ours: &TableDef, theirs: &TableDef) -> bool {
    let same = made(ours.id).zip(made(theirs.id)).is_some_and(|(a, b)| a.text == b.text);
    // Texts don't say what rows have in a column that was added: that is the default it had then.
    same && ours.location.backend == theirs.location.backend && ours.source == theirs.source
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use epoch_adapter::{Location, TableSchema};

    use super::*;

    /// Tables by number: those of one tens digit have one name, odd ones one text, even ones another. Those that end
    /// in 5 to 9 are versions of the one that ends in 4.
    fn table(id: i64) -> Made {
        let name = TableName::public(format!("t{}", id / 10));
        let location = Location::draft("crm", TableId(id), &name).unwrap();
        let schema = TableSchema { columns: vec![], key: vec![] };
        let table = Arc::new(TableDef::new(TableId(id), name, location, schema));
        Made { table, text: format!("column c int{}\n", id % 2) }
    }

    fn tables(ids: &[i64]) -> Tables {
        Tables::new(ids.iter().map(|id| (TableId(*id), table(*id).table)).collect())
    }

    /// `changed`: rows of which tables each side changed.
    fn merge(base: &[i64], ours: &[i64], theirs: &[i64], changed: [&[i64]; 2]) -> Result<SchemaMerge> {
        merge_with(&Combinations::new(), base, ours, theirs, changed)
    }

    fn merge_with(
        combined: &Combinations,
        base: &[i64],
        ours: &[i64],
        theirs: &[i64],
        changed: [&[i64]; 2],
    ) -> Result<SchemaMerge> {
        let [of_ours, of_theirs] = changed;
        merge_tables(&Sides {
            base: &tables(base),
            ours: &tables(ours),
            theirs: &tables(theirs),
            made: &|id| Some(table(id.0)),
            made_from: &|a, b| a.0 % 10 >= 5 && b.0 == a.0 / 10 * 10 + 4,
            first: &|id| if id.0 % 10 >= 4 { TableId(id.0 / 10 * 10 + 4) } else { id },
            ours_changed: &|id| of_ours.contains(&id.0),
            theirs_changed: &|id| of_theirs.contains(&id.0),
            combined,
            references: &[(TableId(30), TableId(20))],
            choices: &TableChoices::default(),
        })?
        .without_conflicts()
    }

    fn change(added: &[i64], removed: &[i64]) -> SchemaChange {
        let ids = |ids: &[i64]| ids.iter().map(|id| TableId(*id)).collect();
        SchemaChange { added: ids(added), removed: ids(removed), discard: false, uncommitted: false }
    }

    const NONE: [&[i64]; 2] = [&[], &[]];

    #[test]
    fn one_side_decides_where_the_other_did_nothing() {
        assert_eq!(merge(&[], &[], &[10], NONE).unwrap().change, change(&[10], &[]));
        assert_eq!(merge(&[], &[10], &[], NONE).unwrap(), SchemaMerge::default());
        assert_eq!(merge(&[10], &[10], &[], NONE).unwrap().change, change(&[], &[10]));
        assert_eq!(merge(&[10], &[], &[10], NONE).unwrap(), SchemaMerge::default());
        assert_eq!(merge(&[10], &[], &[], NONE).unwrap(), SchemaMerge::default());
        assert_eq!(merge(&[], &[10], &[10], NONE).unwrap(), SchemaMerge::default());
        assert_eq!(merge(&[10], &[10], &[20], [&[], &[20]]).unwrap().change, change(&[20], &[10]));
    }

    #[test]
    fn one_side_alters_a_table() {
        let merged = merge(&[14], &[14], &[15], [&[14], &[14]]).unwrap();
        assert_eq!(merged.change, change(&[15], &[14]));
        assert_eq!(merged.altered, HashMap::from([(TableId(15), TableId(14))]));
        assert_eq!(merge(&[14], &[15], &[14], [&[14], &[14]]).unwrap(), SchemaMerge::default());
        // The same on both sides, and then different things.
        let merged = merge(&[14], &[15], &[17], NONE).unwrap();
        assert_eq!(merged.twins, HashMap::from([(TableId(17), TableId(15))]));
        for (ours, theirs, what) in [
            (&[15][..], &[16][..], "altered differently on both sides (column \"c\")"),
            (&[], &[15], "dropped on one side, altered on the other"),
            (&[15], &[], "dropped on one side, altered on the other"),
        ] {
            let error = merge(&[14], ours, theirs, NONE).unwrap_err();
            assert_eq!(error.detail(), Some(format!("table \"t1\": {what}").as_str()));
        }
    }

    #[test]
    fn what_differs_is_named() {
        let text = |v: &str, more: &str| {
            format!(
                "table p\ncolumn id integer not null\ncolumn \"odd \"\" one\" {v}\nconstraint k PRIMARY KEY (id)\n{more}"
            )
        };
        let differ = |a: &str, b: &str| differing(a, b).join(", ");
        assert_eq!(differ(&text("text", ""), &text("integer", "column n text\n")), "column \"odd \" one\"");
        assert_eq!(
            differ(
                &text("text", "column a int\n"),
                &text("text", "CREATE UNIQUE INDEX t_u ON public.t USING btree (v)\ncomment  'x'\n")
            ),
            "column \"a\", comment on the table, index \"t_u\""
        );
    }

    #[test]
    fn tables_made_alike_on_both_sides_are_one() {
        let merged = merge(&[], &[11], &[13], [&[11], &[13]]).unwrap();
        assert_eq!(merged.twins, HashMap::from([(TableId(13), TableId(11))]));
        assert_eq!(merged.change, SchemaChange::default());
    }

    #[test]
    fn a_table_that_was_dropped_and_made_again_takes_the_others_place() {
        for theirs in [12, 13] {
            let merged = merge(&[11], &[11], &[theirs], [&[], &[theirs]]).unwrap();
            assert_eq!(merged, SchemaMerge { change: change(&[theirs], &[11]), ..SchemaMerge::default() });
        }
        assert!(merge(&[11], &[11], &[12], [&[11], &[12]]).is_err());
    }

    #[test]
    fn tables_that_are_one_since_an_earlier_merge_stay_one() {
        let merged = merge(&[11], &[13], &[11], [&[13], &[11]]).unwrap();
        assert_eq!(merged.twins, HashMap::from([(TableId(11), TableId(13))]));
        assert_eq!(merged.change, SchemaChange::default());
        let merged = merge(&[11], &[11], &[13], [&[11], &[13]]).unwrap();
        assert_eq!(merged.twins, HashMap::from([(TableId(13), TableId(11))]));
        assert_eq!(merged.change, SchemaChange::default());
    }

    #[test]
    fn what_both_sides_altered_is_taken_together_or_named() {
        let both = Combinations::from([(TableId(16), Ok(TableId(17)))]);
        let merged = merge_with(&both, &[14], &[15], &[16], NONE).unwrap();
        assert_eq!(merged.change, change(&[17], &[15]));
        assert_eq!(merged.altered, HashMap::from([(TableId(17), TableId(15))]));
        assert_eq!(merged.combined, HashMap::from([(TableId(16), TableId(17))]));
        let differs = Combinations::from([(TableId(16), Err(vec!["column \"c\"".to_owned()]))]);
        let error = merge_with(&differs, &[14], &[15], &[16], NONE).unwrap_err();
        assert_eq!(error.detail(), Some("table \"t1\": altered differently on both sides (column \"c\")"));
    }

    #[test]
    fn two_tables_of_one_name_are_a_conflict() {
        // Of one name, and neither side made both: another table got the name that this one has.
        let renamed = |id: i64, name: &str| {
            let table = TableDef { name: TableName::public(name), ..TableDef::clone(&table(id).table) };
            (TableId(id), Arc::new(table))
        };
        let (base, ours) = (tables(&[14, 20]), tables(&[14, 20]));
        let theirs = Tables::new([renamed(15, "t2"), renamed(20, "t2x")].into());
        let (none, untouched) = (Combinations::new(), TableChoices::new());
        let sides = |theirs| Sides {
            base: &base,
            ours: &ours,
            theirs,
            made: &|id| Some(table(id.0)),
            made_from: &|a, b| a.0 % 10 >= 5 && b.0 == a.0 / 10 * 10 + 4,
            first: &|id| if id.0 % 10 >= 4 { TableId(id.0 / 10 * 10 + 4) } else { id },
            ours_changed: &|_| false,
            theirs_changed: &|_| false,
            combined: &none,
            choices: &untouched,
            references: &[],
        };
        let error = merge_tables(&sides(&theirs)).unwrap().without_conflicts().unwrap_err();
        assert_eq!(error.detail(), Some("table \"t2\": two tables would have this name"));
        // The name that a table has with us is free where it has another one.
        let theirs = Tables::new([renamed(15, "t1x"), renamed(11, "t1"), renamed(20, "t2")].into());
        let merged = merge_tables(&sides(&theirs)).unwrap();
        assert_eq!(merged.change, change(&[11, 15], &[14]));
    }

    #[test]
    fn a_foreign_key_without_its_parent_is_a_conflict() {
        assert!(merge(&[20], &[], &[20, 30], NONE).is_err());
        assert!(merge(&[20], &[20, 30], &[], NONE).is_err());
        assert_eq!(merge(&[], &[], &[20, 30], NONE).unwrap().change, change(&[20, 30], &[]));
    }

    #[test]
    fn other_changes_on_both_sides_conflict() {
        for (base, ours, theirs, changed) in [
            (&[][..], &[11][..], &[12][..], NONE),
            (&[11], &[11], &[], [&[11][..], &[]]),
            (&[11], &[], &[11], [&[], &[11][..]]),
        ] {
            let error = merge(base, ours, theirs, changed).unwrap_err();
            assert_eq!((error.code(), error.message()), ("55000", "the merge has schema conflicts"));
        }
    }
}
