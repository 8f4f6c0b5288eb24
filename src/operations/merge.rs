//! The three-way merge, row by row: pure, no backend involved.

use std::collections::BTreeMap;

use epoch_adapter::{Row, RowChange, TableSchema, Value};

use super::rules::Rules;
use super::{ConflictKind, Strategy};

/// What a merge does to one table.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TableMerge {
    /// From ours to the result, for the rows that merge.
    pub(super) changes: Vec<RowChange>,
    /// The rows that don't.
    pub(super) conflicts: Vec<RowConflict>,
}

/// A row that both sides changed in ways that don't fit.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct RowConflict {
    pub(super) kind: ConflictKind,
    pub(super) key: Row,
    pub(super) base: Option<Row>,
    pub(super) ours: Option<Row>,
    pub(super) theirs: Option<Row>,
    /// Columns in conflict; empty if the row is in conflict as a whole.
    pub(super) columns: Vec<usize>,
    /// Columns that rules decided, and how.
    #[serde(default)]
    pub(super) decided: Vec<(usize, Value)>,
    /// Of a conflict of the table itself: the parts of its definition that differ.
    #[serde(default)]
    pub(super) parts: Vec<String>,
}

/// Merges the changes base→ours and base→theirs of one table.
pub(super) fn merge_table(
    schema: &TableSchema,
    strategy: Strategy,
    rules: &Rules,
    ours: Vec<RowChange>,
    theirs: Vec<RowChange>,
) -> TableMerge {
    let mut ours: BTreeMap<Row, RowChange> = ours.into_iter().map(|c| (c.key.clone(), c)).collect();
    let mut merged = TableMerge::default();
    for change in theirs {
        let Some(our) = ours.remove(&change.key) else {
            merged.changes.push(change); // here ours is the base still
            continue;
        };
        let sides = Sides { base: our.before, ours: our.after, theirs: change.after };
        match merge_row(schema, strategy, rules, &sides, rules.unsure(&change.key)) {
            Outcome::Result(after) if after == sides.ours => {}
            Outcome::Result(after) => {
                merged.changes.push(RowChange { key: change.key, before: sides.ours, after });
            }
            Outcome::Conflict { kind, columns, decided } => merged.conflicts.push(RowConflict {
                parts: vec![],
                kind,
                key: change.key,
                base: sides.base,
                ours: sides.ours,
                theirs: sides.theirs,
                columns,
                decided,
            }),
        }
    }
    merged
}

/// One row that both sides changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sides {
    pub(super) base: Option<Row>,
    pub(super) ours: Option<Row>,
    pub(super) theirs: Option<Row>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Result(Option<Row>),
    Conflict {
        kind: ConflictKind,
        columns: Vec<usize>,
        /// What rules say of other columns.
        decided: Vec<(usize, Value)>,
    },
}

/// Judges a row that both sides changed. The `unsure` columns are in conflict whatever the sides say of them, and so are
/// those whose sum the column can't hold.
pub(super) fn merge_row(
    schema: &TableSchema,
    strategy: Strategy,
    rules: &Rules,
    sides: &Sides,
    unsure: &[usize],
) -> Outcome {
    let (Some(ours), Some(theirs)) = (&sides.ours, &sides.theirs) else {
        return merge_deleted(strategy, sides);
    };
    let mut decided = rules.decide(schema, sides);
    let mut unsure = unsure.to_vec();
    unsure.extend(rules.too_large(schema, sides).filter(|i| !unsure.contains(i)).collect::<Vec<_>>());
    if !unsure.is_empty() && sides.base.is_some() {
        decided.retain(|(i, _)| !unsure.contains(i));
        match strategy {
            Strategy::Field => {
                let mut columns = conflicting_columns(schema, sides);
                columns.retain(|i| !unsure.contains(i) && !decided.iter().any(|(known, _)| known == i));
                columns.extend(&unsure);
                columns.sort_unstable();
                return conflict(sides, columns, decided);
            }
            Strategy::Row => return conflict(sides, vec![], vec![]),
            // The side that has its way has it in them, too.
            Strategy::Ours => decided.extend(unsure.iter().filter_map(|&i| Some((i, ours.get(i)?.clone())))),
            Strategy::Theirs => {
                decided.extend(unsure.iter().filter_map(|&i| Some((i, theirs.get(i)?.clone()))));
            }
        }
    }
    let result = |pick: Pick| Outcome::Result(Some(with(combine(sides, |_| pick.clone()), &decided)));
    if strategy == Strategy::Row {
        return match rules.decide_all(sides, &decided) {
            true => result(Pick::Ours),
            false => conflict(sides, vec![], vec![]),
        };
    }
    if decided.is_empty() && same_row(schema, ours, theirs) {
        return Outcome::Result(sides.ours.clone());
    }
    let mut columns = conflicting_columns(schema, sides);
    columns.retain(|i| !decided.iter().any(|(known, _)| known == i));
    match strategy {
        Strategy::Ours => result(Pick::Ours),
        Strategy::Theirs => result(Pick::Theirs),
        // Without a base the row is in conflict as a whole.
        _ if sides.base.is_none() => conflict(sides, vec![], vec![]),
        _ if columns.is_empty() => result(Pick::Ours),
        _ => conflict(sides, columns, decided),
    }
}

fn conflict(sides: &Sides, columns: Vec<usize>, decided: Vec<(usize, Value)>) -> Outcome {
    let kind = if sides.base.is_some() { ConflictKind::ModifyModify } else { ConflictKind::InsertInsert };
    Outcome::Conflict { kind, columns, decided }
}

/// A row with what rules decided.
pub(super) fn with(mut row: Row, decided: &[(usize, Value)]) -> Row {
    for (i, value) in decided {
        if let Some(cell) = row.get_mut(*i) {
            *cell = value.clone();
        }
    }
    row
}

/// At least one side deleted the row.
fn merge_deleted(strategy: Strategy, sides: &Sides) -> Outcome {
    match (strategy, &sides.ours, &sides.theirs) {
        (_, None, None) => Outcome::Result(None),
        (Strategy::Ours, ours, _) => Outcome::Result(ours.clone()),
        (Strategy::Theirs, _, theirs) => Outcome::Result(theirs.clone()),
        _ => Outcome::Conflict { kind: ConflictKind::ModifyDelete, columns: vec![], decided: vec![] },
    }
}

/// Columns that both sides changed, to different values. What the backend computes can't conflict.
fn conflicting_columns(schema: &TableSchema, sides: &Sides) -> Vec<usize> {
    let differs = |i: usize| {
        let base = cell(&sides.base, i);
        let (ours, theirs) = (cell(&sides.ours, i), cell(&sides.theirs, i));
        ours != theirs && ours != base && theirs != base
    };
    let generated = |i: usize| schema.columns.get(i).is_some_and(|c| c.generated);
    (0..schema.columns.len()).filter(|&i| !generated(i) && differs(i)).collect()
}

/// Columns where the two sides differ, for conflicts over whole rows.
pub(super) fn differing_columns(schema: &TableSchema, sides: &Sides) -> Vec<usize> {
    let generated = |i: usize| schema.columns.get(i).is_some_and(|c| c.generated);
    let differs = |i: usize| cell(&sides.ours, i) != cell(&sides.theirs, i);
    (0..schema.columns.len()).filter(|&i| !generated(i) && differs(i)).collect()
}

fn same_row(schema: &TableSchema, a: &Row, b: &Row) -> bool {
    let generated = |i: usize| schema.columns.get(i).is_some_and(|c| c.generated);
    a.len() == b.len() && a.iter().zip(b).enumerate().all(|(i, (a, b))| generated(i) || a == b)
}

pub(super) fn cell(row: &Option<Row>, i: usize) -> Option<&Value> {
    row.as_ref().and_then(|r| r.get(i))
}

/// What a column in conflict becomes.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) enum Pick {
    Ours,
    Theirs,
    Base,
    Value(Value),
}

/// The result of a row that both sides have: columns that one side changed come from that side, the
/// others from where `pick` says.
pub(super) fn combine(sides: &Sides, pick: impl Fn(usize) -> Pick) -> Row {
    let width = sides.ours.as_ref().map_or(0, Vec::len);
    let value = |i: usize| {
        let (base, ours, theirs) = (cell(&sides.base, i), cell(&sides.ours, i), cell(&sides.theirs, i));
        let chosen = if ours == theirs || theirs == base {
            ours
        } else if ours == base {
            theirs
        } else {
            match pick(i) {
                Pick::Ours => ours,
                Pick::Theirs => theirs,
                Pick::Base => base.or(ours),
                Pick::Value(value) => return value,
            }
        };
        chosen.cloned().unwrap_or(Value::Null)
    };
    (0..width).map(value).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use epoch_adapter::Column;

    use super::*;

    fn schema() -> TableSchema {
        let column = |name: &str, generated| Column {
            name: name.to_owned(),
            type_name: "integer".to_owned(),
            pg_type: "bigint".to_owned(),
            data_type: arrow::datatypes::DataType::Int64,
            nullable: true,
            generated,
            default: None,
            equality: None,
        };
        TableSchema {
            columns: vec![column("id", false), column("a", false), column("b", false), column("g", true)],
            key: vec![0],
        }
    }

    /// A row with key 1; 0 stands for NULL; the generated column is the sum.
    fn row(a: i64, b: i64) -> Option<Row> {
        let value = |v| if v == 0 { Value::Null } else { Value::Int(v) };
        Some(vec![Value::Int(1), value(a), value(b), Value::Int(a + b)])
    }

    fn merge(strategy: Strategy, base: Option<Row>, ours: Option<Row>, theirs: Option<Row>) -> TableMerge {
        let change = |after: Option<Row>| {
            let change = RowChange { key: vec![Value::Int(1)], before: base.clone(), after };
            if change.before == change.after { vec![] } else { vec![change] }
        };
        merge_table(&schema(), strategy, &Rules::default(), change(ours), change(theirs))
    }

    #[track_caller]
    fn clean(merge: &TableMerge, ours: Option<Row>, result: Option<Row>) {
        assert_eq!(merge.conflicts, vec![]);
        // The backend computes the generated column, so the result's doesn't matter.
        let known = |row: &Option<Row>| row.as_ref().map(|r| r.iter().take(3).cloned().collect::<Vec<_>>());
        match merge.changes.as_slice() {
            [] => assert_eq!(known(&ours), known(&result)),
            [change] => {
                assert_eq!(change.before, ours);
                assert_eq!(known(&change.after), known(&result));
            }
            more => panic!("{more:?}"),
        }
    }

    #[track_caller]
    fn conflict(merge: &TableMerge, kind: ConflictKind, columns: &[usize]) {
        assert_eq!(merge.changes, vec![]);
        assert_eq!(merge.conflicts.len(), 1);
        let found = merge.conflicts.first().unwrap();
        assert_eq!((found.kind, found.columns.as_slice()), (kind, columns));
    }

    #[test]
    fn unchanged_on_one_side_takes_the_other() {
        for strategy in [Strategy::Field, Strategy::Row, Strategy::Ours, Strategy::Theirs] {
            clean(&merge(strategy, row(1, 1), row(1, 1), row(2, 1)), row(1, 1), row(2, 1));
            clean(&merge(strategy, row(1, 1), row(2, 1), row(1, 1)), row(2, 1), row(2, 1));
            clean(&merge(strategy, row(1, 1), row(1, 1), None), row(1, 1), None);
            clean(&merge(strategy, row(1, 1), None, row(1, 1)), None, None);
            clean(&merge(strategy, None, None, row(2, 1)), None, row(2, 1));
            clean(&merge(strategy, None, row(2, 1), None), row(2, 1), row(2, 1));
        }
    }

    #[test]
    fn same_result_on_both_sides_is_clean_except_by_row() {
        clean(&merge(Strategy::Field, row(1, 1), row(2, 1), row(2, 1)), row(2, 1), row(2, 1));
        clean(&merge(Strategy::Field, None, row(2, 1), row(2, 1)), row(2, 1), row(2, 1));
        clean(&merge(Strategy::Field, row(1, 1), None, None), None, None);
        clean(&merge(Strategy::Row, row(1, 1), None, None), None, None);
        conflict(&merge(Strategy::Row, row(1, 1), row(2, 1), row(2, 1)), ConflictKind::ModifyModify, &[]);
        conflict(&merge(Strategy::Row, None, row(2, 1), row(2, 1)), ConflictKind::InsertInsert, &[]);
    }

    #[test]
    fn different_cells_merge_by_field_and_conflict_by_row() {
        clean(&merge(Strategy::Field, row(1, 1), row(2, 1), row(1, 3)), row(2, 1), row(2, 3));
        clean(&merge(Strategy::Field, row(1, 1), row(0, 1), row(1, 3)), row(0, 1), row(0, 3));
        clean(&merge(Strategy::Field, row(1, 1), row(2, 1), row(1, 0)), row(2, 1), row(2, 0));
        conflict(&merge(Strategy::Row, row(1, 1), row(2, 1), row(1, 3)), ConflictKind::ModifyModify, &[]);
    }

    #[test]
    fn same_cell_to_different_values_conflicts_in_that_cell() {
        conflict(&merge(Strategy::Field, row(1, 1), row(2, 1), row(3, 1)), ConflictKind::ModifyModify, &[1]);
        conflict(&merge(Strategy::Field, row(1, 1), row(0, 1), row(3, 1)), ConflictKind::ModifyModify, &[1]);
        conflict(
            &merge(Strategy::Field, row(1, 1), row(2, 2), row(3, 3)),
            ConflictKind::ModifyModify,
            &[1, 2],
        );
        clean(&merge(Strategy::Ours, row(1, 1), row(2, 1), row(3, 4)), row(2, 1), row(2, 4));
        clean(&merge(Strategy::Theirs, row(1, 1), row(2, 4), row(3, 1)), row(2, 4), row(3, 4));
    }

    #[test]
    fn modify_against_delete_conflicts() {
        for strategy in [Strategy::Field, Strategy::Row] {
            conflict(&merge(strategy, row(1, 1), None, row(2, 1)), ConflictKind::ModifyDelete, &[]);
            conflict(&merge(strategy, row(1, 1), row(2, 1), None), ConflictKind::ModifyDelete, &[]);
        }
        clean(&merge(Strategy::Ours, row(1, 1), None, row(2, 1)), None, None);
        clean(&merge(Strategy::Theirs, row(1, 1), None, row(2, 1)), None, row(2, 1));
        clean(&merge(Strategy::Ours, row(1, 1), row(2, 1), None), row(2, 1), row(2, 1));
        clean(&merge(Strategy::Theirs, row(1, 1), row(2, 1), None), row(2, 1), None);
    }

    #[test]
    fn one_key_inserted_twice_conflicts() {
        conflict(&merge(Strategy::Field, None, row(2, 1), row(3, 1)), ConflictKind::InsertInsert, &[]);
        clean(&merge(Strategy::Ours, None, row(2, 1), row(3, 1)), row(2, 1), row(2, 1));
        clean(&merge(Strategy::Theirs, None, row(2, 1), row(3, 1)), row(2, 1), row(3, 1));
    }

    #[test]
    fn a_conflict_combines_what_merged_with_what_was_picked() {
        let sides = Sides { base: row(1, 1), ours: row(2, 1), theirs: row(3, 4) };
        let known = |row: Row| row.into_iter().take(3).collect::<Vec<_>>();
        let expected = |a| vec![Value::Int(1), Value::Int(a), Value::Int(4)];
        assert_eq!(known(combine(&sides, |_| Pick::Ours)), expected(2));
        assert_eq!(known(combine(&sides, |_| Pick::Theirs)), expected(3));
        assert_eq!(known(combine(&sides, |_| Pick::Base)), expected(1));
        assert_eq!(known(combine(&sides, |_| Pick::Value(Value::Int(9)))), expected(9));
    }
}
