//! The parts of a table, and what two sides did to them.

use std::collections::{BTreeMap, BTreeSet};

use crate::combined_names::Names;

/// What a part is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Type,
    NotNull,
    Default,
    Generated,
    Identity,
    Statistics,
    Storage,
    Constraint,
    Index,
    ForeignKey,
    Option,
    /// On a column, or on the table (of no name).
    Comment,
}

impl Kind {
    /// As parts.sql names it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "not null" => Self::NotNull,
            "default" => Self::Default,
            "generated" => Self::Generated,
            "identity" => Self::Identity,
            "statistics" => Self::Statistics,
            "storage" => Self::Storage,
            "constraint" => Self::Constraint,
            "option" => Self::Option,
            "comment" => Self::Comment,
            _ => return None,
        })
    }

    /// Whether parts of this kind are a column's.
    pub(crate) fn is_of_column(self) -> bool {
        !matches!(self, Self::Constraint | Self::Index | Self::ForeignKey | Self::Option)
    }

    /// A part as messages name it.
    pub(crate) fn shown(self, name: &str) -> String {
        match self {
            Self::Constraint | Self::ForeignKey => format!("constraint \"{name}\""),
            Self::Index => format!("index \"{name}\""),
            Self::Option => format!("option \"{name}\""),
            Self::Comment if name.is_empty() => "comment on the table".to_owned(),
            Self::Comment => format!("comment on \"{name}\""),
            _ => format!("column \"{name}\""),
        }
    }
}

pub(crate) type Key = (Kind, String);

/// The parts, each with what the server says of it.
pub(crate) type Parts = BTreeMap<Key, String>;

/// A part that becomes another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub kind: Kind,
    pub name: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// What comes of two sides.
#[derive(Debug, PartialEq)]
pub(crate) struct Merge {
    pub expected: Parts,
    /// What makes the first side that.
    pub changes: Vec<Change>,
    /// What was changed on both sides, so that it differs.
    pub differs: BTreeSet<String>,
}

/// Merges parts as a merge does cells: what one side left as it was is the other side's.
pub(crate) fn merge(base: &Parts, first: &Parts, second: &Parts, names: &Names) -> Merge {
    let mut merge = Merge { expected: Parts::new(), changes: Vec::new(), differs: BTreeSet::new() };
    let keys: BTreeSet<&Key> = base.keys().chain(first.keys()).chain(second.keys()).collect();
    for key in keys {
        let (before, ours, theirs) = (base.get(key), first.get(key), second.get(key));
        if let Some(shown) = names.gone(&key.1).filter(|_| key.0.is_of_column()) {
            // A column that goes must be as it was on the side that has it.
            if [ours, theirs].into_iter().flatten().any(|part| Some(part) != before) {
                merge.differs.insert(Kind::Type.shown(shown));
            }
            continue;
        }
        let result = if ours == theirs || theirs == before {
            ours
        } else if ours == before {
            theirs
        } else {
            merge.differs.insert(key.0.shown(&key.1));
            continue;
        };
        merge.expected.extend(result.map(|text| (key.clone(), text.clone())));
    }
    merge.changes = changes(first, &merge.expected, names);
    merge
}

/// What makes some parts others, but for columns that go.
pub(crate) fn changes(from: &Parts, to: &Parts, names: &Names) -> Vec<Change> {
    let keys: BTreeSet<&Key> = from.keys().chain(to.keys()).collect();
    let one = |key: &Key| Change {
        kind: key.0,
        name: key.1.clone(),
        from: from.get(key).cloned(),
        to: to.get(key).cloned(),
    };
    let stays = |key: &Key| !(key.0.is_of_column() && names.gone(&key.1).is_some());
    keys.into_iter().filter(|key| stays(key) && from.get(*key) != to.get(*key)).map(one).collect()
}

/// In what a table isn't what it was to become. (Foreign keys are compared by name: what they refer to differs.)
pub(crate) fn unlike(expected: &Parts, found: &Parts) -> BTreeSet<String> {
    let known = |parts: &Parts, key: &Key| match key.0 {
        Kind::ForeignKey => parts.get(key).map(|_| String::new()),
        _ => parts.get(key).cloned(),
    };
    let keys = expected.keys().chain(found.keys());
    let differs = keys.filter(|key| known(expected, key) != known(found, key));
    differs.map(|key| key.0.shown(&key.1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(all: &[(Kind, &str, &str)]) -> Parts {
        all.iter().map(|(kind, name, text)| ((*kind, (*name).to_owned()), (*text).to_owned())).collect()
    }

    #[test]
    fn what_one_side_did_is_done_and_what_both_did_otherwise_differs() {
        let base = parts(&[(Kind::Type, "a", "int"), (Kind::Default, "a", "1"), (Kind::Index, "i", "x")]);
        let first =
            parts(&[(Kind::Type, "a", "bigint"), (Kind::Default, "a", "1"), (Kind::Constraint, "k", "c")]);
        let second = parts(&[
            (Kind::Type, "a", "int"),
            (Kind::Default, "a", "2"),
            (Kind::Constraint, "k", "d"),
            (Kind::Index, "i", "x"),
        ]);
        let merged = merge(&base, &first, &second, &Names::default());
        assert_eq!(merged.differs.into_iter().collect::<Vec<_>>(), ["constraint \"k\""]);
        assert_eq!(merged.expected, parts(&[(Kind::Type, "a", "bigint"), (Kind::Default, "a", "2")]));
        let default = Change {
            kind: Kind::Default,
            name: "a".to_owned(),
            from: Some("1".to_owned()),
            to: Some("2".to_owned()),
        };
        assert!(merged.changes.contains(&default));
    }

    #[test]
    fn foreign_keys_are_compared_by_name_once_they_are_made() {
        let key = parts(&[(Kind::ForeignKey, "f", "to 1")]);
        assert!(unlike(&key, &parts(&[(Kind::ForeignKey, "f", "")])).is_empty());
        assert_eq!(unlike(&key, &Parts::new()).len(), 1);
        assert_eq!(unlike(&Parts::new(), &parts(&[(Kind::Comment, "", "c")])).len(), 1);
    }
}
