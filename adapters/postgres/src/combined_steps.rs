//! The statements that do to one version of a table what was done to another one.

use std::sync::Arc;

use epoch_adapter::{Origin, Piece};

use crate::combine::Version;
use crate::combined_names::Names;
use crate::combined_parts::{Change, Kind};
use crate::layout::{literal, quote};

/// What stands for a parent in the text of a foreign key.
const PARENT: char = '\u{1}';

/// The order in which statements are run: what goes before what comes, names in between, and what refers to other
/// tables last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    ConstraintsGo,
    IndexesGo,
    ColumnsGo,
    Renames,
    ColumnsCome,
    DefaultsGo,
    Types,
    Columns,
    ConstraintsCome,
    IndexesCome,
    Comments,
    Keys,
}

type Pieces = Vec<Piece>;

/// The statements in their order, each with the part that it is about and whether it makes a foreign key.
pub(crate) fn statements(names: &Names, changes: &[Change], from: &Version) -> Vec<(String, bool, Pieces)> {
    let added = names.added();
    let mut all: Vec<(Phase, String, Pieces)> = Vec::new();
    for change in changes {
        // They are a part of the column that is added.
        let comes =
            added.contains(&change.name) && matches!(change.kind, Kind::Type | Kind::NotNull | Kind::Default);
        if !comes {
            let about = change.kind.shown(&change.name);
            all.extend(of_change(change, from).into_iter().map(|(phase, p)| (phase, about.clone(), p)));
        }
    }
    let column = |name: &str| Kind::Type.shown(name);
    for (old, new) in names.to_rename() {
        let text = format!(" RENAME COLUMN {} TO {}", quote(&old), quote(&new));
        all.push((Phase::Renames, column(&new), alter(&text)));
    }
    for name in names.dropped() {
        all.push((Phase::ColumnsGo, column(&name), alter(&format!(" DROP COLUMN {}", quote(&name)))));
    }
    for name in added {
        let pieces = of_new(&name, from, names.value(&name));
        all.extend(pieces.into_iter().map(|p| (Phase::ColumnsCome, column(&name), p)));
    }
    all.sort_by_key(|(phase, ..)| *phase);
    all.into_iter().map(|(phase, about, pieces)| (about, phase == Phase::Keys, pieces)).collect()
}

fn own(before: &str, after: &str) -> Pieces {
    vec![Piece::Text(before.to_owned()), Piece::Own(0), Piece::Text(after.to_owned())]
}

fn alter(text: &str) -> Pieces {
    own("ALTER TABLE ", text)
}

/// The statements that one change takes. (What columns come and go, and their names, is seen to elsewhere.)
fn of_change(change: &Change, from: &Version) -> Vec<(Phase, Pieces)> {
    let (name, new) = (quote(&change.name), change.to.as_deref());
    let column = |text: &str| alter(&format!(" ALTER COLUMN {name} {text}"));
    match (change.kind, new) {
        (Kind::Type, Some(new)) => vec![(Phase::Types, column(&format!("TYPE {new}")))],
        (Kind::NotNull, Some(_)) => vec![(Phase::Columns, column("SET NOT NULL"))],
        (Kind::NotNull, None) => vec![(Phase::Columns, column("DROP NOT NULL"))],
        // The one that is there may not fit the type that comes.
        (Kind::Default, Some(new)) => vec![
            (Phase::DefaultsGo, column("DROP DEFAULT")),
            (Phase::Columns, column(&format!("SET DEFAULT {new}"))),
        ],
        (Kind::Default, None) => vec![(Phase::DefaultsGo, column("DROP DEFAULT"))],
        (Kind::Generated, None) => vec![(Phase::DefaultsGo, column("DROP EXPRESSION"))],
        (Kind::Identity, Some(new)) => {
            let how = if new == "a" { "ALWAYS" } else { "BY DEFAULT" };
            vec![match change.from {
                Some(_) => (Phase::Columns, column(&format!("SET GENERATED {how}"))),
                None => (Phase::Columns, column(&format!("ADD GENERATED {how} AS IDENTITY"))),
            }]
        }
        (Kind::Identity, None) => vec![(Phase::DefaultsGo, column("DROP IDENTITY"))],
        (Kind::Statistics, new) => {
            vec![(Phase::Columns, column(&format!("SET STATISTICS {}", new.unwrap_or("-1"))))]
        }
        (Kind::Storage, Some(new)) => vec![(Phase::Columns, column(&format!("SET STORAGE {new}")))],
        // Values that have to be worked out, and what no statement says: what isn't done is found when it is compared.
        (Kind::Type | Kind::Storage, None) | (Kind::Generated, Some(_)) => Vec::new(),
        (Kind::Constraint | Kind::Index | Kind::ForeignKey, _) => of_object(change, from),
        (Kind::Option, Some(new)) => {
            vec![(Phase::Comments, alter(&format!(" SET ({name} = {})", literal(new))))]
        }
        (Kind::Option, None) => vec![(Phase::Comments, alter(&format!(" RESET ({name})")))],
        (Kind::Comment, new) => {
            let text = new.map_or_else(|| "NULL".to_owned(), literal);
            vec![(
                Phase::Comments,
                match change.name.as_str() {
                    "" => own("COMMENT ON TABLE ", &format!(" IS {text}")),
                    _ => own("COMMENT ON COLUMN ", &format!(".{name} IS {text}")),
                },
            )]
        }
    }
}

/// Of a constraint or an index: it goes, another one comes, or both.
fn of_object(change: &Change, from: &Version) -> Vec<(Phase, Pieces)> {
    let name = quote(&change.name);
    let mut all = Vec::new();
    if change.from.is_some() {
        all.push(match change.kind {
            Kind::Index => (
                Phase::IndexesGo,
                vec![Piece::Text("DROP INDEX ".to_owned()), Piece::Beside(change.name.clone())],
            ),
            _ => (Phase::ConstraintsGo, alter(&format!(" DROP CONSTRAINT {name}"))),
        });
    }
    let Some(new) = change.to.as_deref() else { return all };
    match change.kind {
        Kind::Index => {
            let (unique, tail) = new.strip_prefix("UNIQUE ").map_or(("", new), |tail| ("UNIQUE ", tail));
            let pieces = own(&format!("CREATE {unique}INDEX {name} ON "), &format!(" {tail}"));
            all.push((Phase::IndexesCome, pieces));
        }
        Kind::ForeignKey => all.extend(foreign_key(change, from).map(|pieces| (Phase::Keys, pieces))),
        _ => all.push((Phase::ConstraintsCome, alter(&format!(" ADD CONSTRAINT {name} {new}")))),
    }
    all
}

/// The statement that makes a foreign key.
fn foreign_key(change: &Change, from: &Version) -> Option<Pieces> {
    let key = from.keys.iter().find(|key| key.name == change.name)?;
    let parent = match key.parent_family {
        Some(family) if family == key.child_family => Piece::Own(0),
        _ => {
            let named = key.parents.iter().find(|p| Some(p.table.id) == key.named)?;
            Piece::Parent(Arc::new(named.table.clone()), 0)
        }
    };
    let definition = key.definition(&PARENT.to_string(), &key.referenced);
    let (before, after) = definition.split_once(PARENT)?;
    let text = |text: &str| Piece::Text(text.to_owned());
    Some(vec![text("ALTER TABLE "), Piece::Own(0), text(&format!(" ADD {before}")), parent, text(after)])
}

/// The statements that add a column which `from` has, so that rows that are there get the value that they have there.
fn of_new(name: &str, from: &Version, value: Option<&Origin>) -> Vec<Pieces> {
    let part = |kind: Kind| from.parts.get(&(kind, name.to_owned())).map(String::as_str);
    let column = quote(name);
    let (type_name, default) = (part(Kind::Type).unwrap_or_default(), part(Kind::Default));
    let value = match value {
        Some(Origin::Value(value)) if !value.starts_with("NULL::") => Some(value.as_str()),
        _ => None,
    };
    // A constant is what rows have, unless it was set later; that is compared once the column is there.
    let plain = default.filter(|default| value.is_some_and(|value| is_value(default, value)));
    let given = plain.or(value).map(|text| format!(" DEFAULT {text}")).unwrap_or_default();
    let mut all = vec![alter(&format!(" ADD COLUMN {column} {type_name}{given}"))];
    match (default, plain) {
        (Some(default), None) => all.push(alter(&format!(" ALTER COLUMN {column} SET DEFAULT {default}"))),
        (None, _) if value.is_some() => all.push(alter(&format!(" ALTER COLUMN {column} DROP DEFAULT"))),
        _ => {}
    }
    if part(Kind::NotNull).is_some() {
        all.push(alter(&format!(" ALTER COLUMN {column} SET NOT NULL")));
    }
    all
}

/// Whether a default, as the server writes it, is the constant of which it noted `value` for rows that were there:
/// `('{constant}'::type[])[1]`.
fn is_value(default: &str, value: &str) -> bool {
    let constant = match default.strip_prefix('\'') {
        Some(rest) => rest.split_once('\'').map_or("", |(constant, _)| constant),
        None => default,
    };
    let simple = |c: char| c.is_alphanumeric() || "._-".contains(c);
    !constant.is_empty()
        && constant.chars().all(simple)
        && !constant.eq_ignore_ascii_case("null")
        && value.strip_prefix("('{").and_then(|v| v.split_once("}'::")).is_some_and(|(v, _)| v == constant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_known_as_the_value_that_rows_have() {
        for (default, value, same) in [
            ("3", "('{3}'::integer[])[1]", true),
            ("4", "('{3}'::integer[])[1]", false),
            ("'red'::text", "('{red}'::text[])[1]", true),
            ("'2026-01-01'::date", "('{2026-01-01}'::date[])[1]", true),
            ("'a b'::text", "('{\"a b\"}'::text[])[1]", false),
            ("now()", "('{\"2026-01-01 00:00:00+00\"}'::timestamp with time zone[])[1]", false),
            ("upper('x'::text)", "('{X}'::text[])[1]", false),
            ("''::text", "('{\"\"}'::text[])[1]", false),
        ] {
            assert_eq!(is_value(default, value), same, "{default}");
        }
    }
}
