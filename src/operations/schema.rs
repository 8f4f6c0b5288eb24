//! Merging which tables there are.

use std::collections::HashMap;
use std::sync::Arc;

use epoch_adapter::{Error, Result, TableDef, TableId, sqlstate};

use super::Tables;
use super::publish::SchemaChange;
use super::state::Made;

/// The tables of the three sides of a merge.
pub(super) struct Sides<'a> {
    pub(super) base: &'a Tables,
    pub(super) ours: &'a Tables,
    pub(super) theirs: &'a Tables,
    /// Tables made on branches.
    pub(super) made: &'a dyn Fn(TableId) -> Option<Made>,
    /// Whether a side changed rows of a table since the base.
    pub(super) ours_changed: &'a dyn Fn(TableId) -> bool,
    pub(super) theirs_changed: &'a dyn Fn(TableId) -> bool,
    /// Which tables refer to which.
    pub(super) references: &'a [(TableId, TableId)],
}

/// What a merge does to which tables there are.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SchemaMerge {
    pub(super) change: SchemaChange,
    /// Tables that both sides made alike: theirs, and ours that takes their rows.
    pub(super) twins: HashMap<TableId, TableId>,
}

/// Judges tables by name: 55000 with every table that can't be merged in the DETAIL.
pub(super) fn merge_tables(sides: &Sides<'_>) -> Result<SchemaMerge> {
    let mut merge = SchemaMerge::default();
    let mut conflicts = Vec::new();
    for table in made(sides, sides.theirs) {
        let (id, name) = (table.id, &table.name);
        if sides.ours.by_id.contains_key(&id) {
            continue;
        }
        if sides.base.by_id.contains_key(&id) {
            if (sides.theirs_changed)(id) {
                conflicts.push(format!("table \"{name}\": dropped on one side, changed on the other"));
            }
            continue;
        }
        match sides.ours.by_name.get(name) {
            None => merge.change.added.push(id),
            Some(ours) if alike(sides, ours, &table) => {
                merge.twins.insert(id, ours.id);
            }
            Some(_) => conflicts.push(format!("table \"{name}\": made differently on both sides")),
        }
    }
    for table in made(sides, sides.base) {
        let id = table.id;
        if sides.theirs.by_id.contains_key(&id) || !sides.ours.by_id.contains_key(&id) {
            continue;
        }
        if (sides.ours_changed)(id) {
            conflicts.push(format!("table \"{}\": dropped on one side, changed on the other", table.name));
        } else {
            merge.change.removed.push(id);
        }
    }
    conflicts.extend(dangling(sides, &merge.change));
    if conflicts.is_empty() {
        return Ok(merge);
    }
    Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, "the merge has schema conflicts")
        .with_detail(conflicts.join("; "))
        .with_hint("Drop or rename the table on one of the branches, commit, and merge again."))
}

/// Foreign keys whose parent would be gone.
fn dangling(sides: &Sides<'_>, change: &SchemaChange) -> Vec<String> {
    let there = |id: &TableId| {
        change.added.contains(id) || (sides.ours.by_id.contains_key(id) && !change.removed.contains(id))
    };
    let named = |id: &TableId| {
        let table = [sides.ours, sides.theirs, sides.base].iter().find_map(|tables| tables.by_id.get(id));
        table.map_or_else(|| format!("#{}", id.0), |t| t.name.to_string())
    };
    let open = sides.references.iter().filter(|(child, parent)| there(child) && !there(parent));
    open.map(|(child, parent)| {
        format!("table \"{}\" refers to table \"{}\", which would not be there", named(child), named(parent))
    })
    .collect()
}

/// The tables of a side that were made on branches, by name.
fn made(sides: &Sides<'_>, of: &Tables) -> Vec<Arc<TableDef>> {
    of.sorted().into_iter().filter(|t| (sides.made)(t.id).is_some()).collect()
}

/// Whether two tables were made on branches of one backend with the same definition.
fn alike(sides: &Sides<'_>, ours: &TableDef, theirs: &TableDef) -> bool {
    let same = (sides.made)(ours.id).zip((sides.made)(theirs.id)).is_some_and(|(a, b)| a.text == b.text);
    same && ours.location.backend == theirs.location.backend
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use epoch_adapter::{Location, TableName, TableSchema};

    use super::*;

    /// Tables by number: those of one tens digit have one name, odd ones one text, even ones another.
    fn table(id: i64) -> Made {
        let name = TableName::public(format!("t{}", id / 10));
        let location = Location::draft("crm", TableId(id), &name).unwrap();
        let schema = TableSchema { columns: vec![], key: vec![] };
        let table = Arc::new(TableDef { id: TableId(id), name, location, schema });
        Made { table, text: (id % 2).to_string() }
    }

    fn tables(ids: &[i64]) -> Tables {
        Tables::new(ids.iter().map(|id| (TableId(*id), table(*id).table)).collect())
    }

    /// `changed`: rows of which tables each side changed.
    fn merge(base: &[i64], ours: &[i64], theirs: &[i64], changed: [&[i64]; 2]) -> Result<SchemaMerge> {
        let [of_ours, of_theirs] = changed;
        merge_tables(&Sides {
            base: &tables(base),
            ours: &tables(ours),
            theirs: &tables(theirs),
            made: &|id| Some(table(id.0)),
            ours_changed: &|id| of_ours.contains(&id.0),
            theirs_changed: &|id| of_theirs.contains(&id.0),
            references: &[(TableId(30), TableId(20))],
        })
    }

    fn change(added: &[i64], removed: &[i64]) -> SchemaChange {
        let ids = |ids: &[i64]| ids.iter().map(|id| TableId(*id)).collect();
        SchemaChange { added: ids(added), removed: ids(removed), discard: false }
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
    fn tables_made_alike_on_both_sides_are_one() {
        let merged = merge(&[], &[11], &[13], [&[11], &[13]]).unwrap();
        assert_eq!(merged.twins, HashMap::from([(TableId(13), TableId(11))]));
        assert_eq!(merged.change, SchemaChange::default());
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
