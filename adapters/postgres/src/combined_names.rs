//! Which columns of two versions of a table are one, and what they are called once the versions are one.

use std::collections::{BTreeMap, BTreeSet};

use epoch_adapter::{Origin, Siblings, TableDef, TableSchema};

/// One column of any of the three versions.
#[derive(Debug, Clone)]
struct Column {
    base: Option<String>,
    /// What the first and the second version call it.
    sides: [Option<String>; 2],
    /// Where its values come from on each side, in terms of the base.
    origins: [Option<Origin>; 2],
    /// What it is called in the end; of one that goes, a name that nothing has.
    name: String,
    gone: bool,
}

/// The columns of all versions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    columns: Vec<Column>,
}

impl Names {
    /// Finds out, or says which columns both sides named, or dropped and changed, in different ways.
    pub(crate) fn of(siblings: &Siblings) -> Result<Self, Vec<String>> {
        let mut names = Self::paired(siblings);
        let mut differs = BTreeSet::new();
        for (i, column) in names.columns.iter_mut().enumerate() {
            let Some(base) = column.base.clone() else { continue };
            let called = |side: &Option<String>| side.clone().filter(|name| *name != base);
            let [first, second] = &column.sides;
            column.gone = first.is_none() || second.is_none();
            match (called(first), called(second)) {
                (Some(a), Some(b)) if a != b => drop(differs.insert(base)),
                // Dropped on one side, renamed on the other.
                (Some(_), _) | (_, Some(_)) if column.gone => drop(differs.insert(base)),
                (Some(name), _) | (None, Some(name)) => column.name = name,
                (None, None) => column.name = base,
            }
            if column.gone {
                column.name = format!("epoch_gone_{i}");
            }
        }
        let mut known = BTreeSet::new();
        for column in &names.columns {
            if !known.insert(column.name.clone()) {
                differs.insert(column.name.clone());
            }
        }
        match differs.is_empty() {
            true => Ok(names),
            false => Err(differs.iter().map(|name| shown(name)).collect()),
        }
    }

    /// The columns, each with what the versions call it.
    fn paired(siblings: &Siblings) -> Self {
        let base = siblings.base.schema.columns.iter();
        let mut columns: Vec<Column> =
            base.map(|c| Column::new(Some(c.name.clone()), c.name.clone())).collect();
        let sides =
            [(&siblings.first, &siblings.first_columns), (&siblings.second, &siblings.second_columns)];
        for (side, (table, origins)) in sides.into_iter().enumerate() {
            for (column, origin) in table.schema.columns.iter().zip(origins) {
                let of_base = match origin {
                    Origin::Column { name, .. } => columns.iter().position(|c| c.base.as_ref() == Some(name)),
                    // One that both sides added under one name.
                    Origin::Value(_) => {
                        columns.iter().position(|c| c.base.is_none() && c.name == column.name)
                    }
                };
                let at = of_base.unwrap_or_else(|| {
                    columns.push(Column::new(None, column.name.clone()));
                    columns.len() - 1
                });
                let Some(found) = columns.get_mut(at) else { continue };
                let (names, from) = (found.sides.iter_mut(), found.origins.iter_mut());
                for (_, (name, known)) in names.zip(from).enumerate().filter(|(n, _)| *n == side) {
                    *name = Some(column.name.clone());
                    *known = Some(origin.clone());
                }
            }
        }
        Self { columns }
    }

    /// What a version's column is called in the end.
    pub(crate) fn of_base(&self, name: &str) -> String {
        self.found(name, |c| c.base.as_deref())
    }

    /// As [`Names::of_base`].
    pub(crate) fn of_first(&self, name: &str) -> String {
        self.found(name, |c| c.first())
    }

    /// As [`Names::of_base`].
    pub(crate) fn of_second(&self, name: &str) -> String {
        self.found(name, |c| c.second())
    }

    fn found(&self, name: &str, called: impl Fn(&Column) -> Option<&str>) -> String {
        let found = self.columns.iter().find(|c| called(c) == Some(name));
        found.map_or_else(|| name.to_owned(), |c| c.name.clone())
    }

    /// What a column that goes was called; `None` if this isn't the name of one.
    pub(crate) fn gone(&self, name: &str) -> Option<&str> {
        let column = self.columns.iter().find(|c| c.gone && c.name == name)?;
        column.base.as_deref()
    }

    /// The two sides the other way round.
    pub(crate) fn reversed(&self) -> Self {
        let mut names = self.clone();
        for column in &mut names.columns {
            column.sides.reverse();
            column.origins.reverse();
        }
        names
    }

    /// Names of the first side's columns that are others in the end, in an order in which they can be given.
    pub(crate) fn to_rename(&self) -> Vec<(String, String)> {
        let stay = self.columns.iter().filter(|c| !c.gone);
        let pairs: Vec<_> = stay.filter_map(|c| Some((c.first()?.to_owned(), c.name.clone()))).collect();
        renames(&pairs)
    }

    /// The first side's names of columns that the second one dropped.
    pub(crate) fn dropped(&self) -> Vec<String> {
        let gone = self.columns.iter().filter(|c| c.gone);
        gone.filter_map(|c| c.first().map(str::to_owned)).collect()
    }

    /// Columns that the second side added, in their order.
    pub(crate) fn added(&self) -> Vec<String> {
        let new = self.columns.iter().filter(|c| c.base.is_none() && c.first().is_none());
        new.map(|c| c.name.clone()).collect()
    }

    /// What rows that were there have in a column that the second side added.
    pub(crate) fn value(&self, name: &str) -> Option<&Origin> {
        let new = |c: &&Column| c.base.is_none() && c.first().is_none() && c.name == name;
        self.columns.iter().find(new).and_then(Column::origin_of_second)
    }

    /// Columns that both sides added alike, with other values in rows that were there.
    pub(crate) fn other_values(&self) -> Vec<String> {
        let both =
            self.columns.iter().filter(|c| c.base.is_none() && c.first().is_some() && c.second().is_some());
        both.filter(|c| c.origin_of_first() != c.origin_of_second()).map(|c| shown(&c.name)).collect()
    }

    /// Where the columns of what both became come from, in terms of the second version; `None` if that can't be told.
    pub(crate) fn second_origins(&self, made: &TableSchema, siblings: &Siblings) -> Option<Vec<Origin>> {
        let type_of = |table: &TableDef, name: &str| {
            table.schema.columns.iter().find(|c| c.name == name).map(|c| c.type_name.clone())
        };
        let one = |column: &epoch_adapter::Column| {
            let known = self.columns.iter().find(|c| c.name == column.name)?;
            let Some(name) = known.second() else { return known.origin_of_first().cloned() };
            let own = type_of(&siblings.second, name)?;
            if own == column.type_name {
                return Some(Origin::Column { name: name.to_owned(), casts: Vec::new() });
            }
            let before = known.base.as_deref().and_then(|base| type_of(&siblings.base, base))?;
            match known.origin_of_first() {
                Some(Origin::Column { casts, .. }) if own == before && !casts.is_empty() => {
                    Some(Origin::Column { name: name.to_owned(), casts: casts.clone() })
                }
                _ => None,
            }
        };
        made.columns.iter().map(one).collect()
    }
}

impl Column {
    fn new(base: Option<String>, name: String) -> Self {
        Self { base, sides: [None, None], origins: [None, None], name, gone: false }
    }

    fn first(&self) -> Option<&str> {
        let [first, _] = &self.sides;
        first.as_deref()
    }

    fn second(&self) -> Option<&str> {
        let [_, second] = &self.sides;
        second.as_deref()
    }

    fn origin_of_first(&self) -> Option<&Origin> {
        let [first, _] = &self.origins;
        first.as_ref()
    }

    fn origin_of_second(&self) -> Option<&Origin> {
        let [_, second] = &self.origins;
        second.as_ref()
    }
}

fn shown(name: &str) -> String {
    format!("column \"{name}\"")
}

/// The renames that give columns other names, in an order in which each name is free; by way of one that nothing has,
/// where columns change places. Pairs of equal names are columns that keep theirs.
pub(crate) fn renames(pairs: &[(String, String)]) -> Vec<(String, String)> {
    let mut left: BTreeMap<String, String> = pairs.iter().filter(|(from, to)| from != to).cloned().collect();
    let mut taken: BTreeSet<String> = pairs.iter().map(|(from, _)| from.clone()).collect();
    let mut out = Vec::new();
    while let Some(any) = left.keys().next().cloned() {
        let free = left.iter().find(|(_, to)| !taken.contains(*to)).map(|(from, _)| from.clone());
        let from = free.clone().unwrap_or(any);
        let Some(to) = left.remove(&from) else { break };
        taken.remove(&from);
        if free.is_some() {
            taken.insert(to.clone());
            out.push((from, to));
        } else {
            let aside = format!("epoch_aside_{}", out.len());
            taken.insert(aside.clone());
            out.push((from, aside.clone()));
            left.insert(aside, to);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn names_are_given_when_they_are_free() {
        assert_eq!(renames(&pairs(&[("a", "a"), ("b", "c")])), pairs(&[("b", "c")]));
        assert_eq!(renames(&pairs(&[("a", "b"), ("b", "c")])), pairs(&[("b", "c"), ("a", "b")]));
        assert_eq!(
            renames(&pairs(&[("a", "b"), ("b", "a"), ("c", "c")])),
            pairs(&[("a", "epoch_aside_0"), ("b", "a"), ("epoch_aside_0", "b")])
        );
    }
}
