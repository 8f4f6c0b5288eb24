//! Violations of constraints with PostgreSQL's codes, messages and details.

use epoch_adapter::{Error, Row, Value, sqlstate};
use epoch_layers::errors::{self, Known, Reference};
use tiberius::error::Error as Raw;

use crate::ddl::overlay_check;
use crate::error::{CONFLICT, DUPLICATE_INDEX, DUPLICATE_KEY, NOT_NULL, map};
use crate::meta::{Catalog, Meta};
use crate::physical::{Foreign, Unique};

/// Maps the error of a write to the base or the overlay of `meta`.
pub(crate) fn failed(catalog: &Catalog, meta: &Meta, error: Raw, row: &Known) -> Error {
    let Raw::Server(token) = &error else { return map(error) };
    let broken = violation(catalog, meta, token.code(), token.message(), row);
    broken.unwrap_or_else(|| match map(error) {
        e if e.code() == sqlstate::INTERNAL_ERROR => e,
        e => e.with_table(meta.name()),
    })
}

/// What an error says of a constraint, if it does.
fn violation(catalog: &Catalog, meta: &Meta, code: u32, message: &str, row: &Known) -> Option<Error> {
    Some(match code {
        DUPLICATE_KEY | DUPLICATE_INDEX => match unique_of(meta, message) {
            Some(unique) => duplicate(meta, unique, row),
            None => Error::new(sqlstate::UNIQUE_VIOLATION, format!("sqlserver: {}", first_sentence(message)))
                .with_table(meta.name()),
        },
        NOT_NULL => errors::not_null(meta.name(), quoted(message, '\'').unwrap_or_default(), row),
        CONFLICT if message.contains("CHECK constraint") => check(meta, message, row),
        CONFLICT => foreign(catalog, meta, message, row),
        _ => return None,
    })
}

/// What a message says first between two of a mark.
fn quoted(message: &str, mark: char) -> Option<&str> {
    message.split(mark).nth(1)
}

/// The rest of it shows values.
fn first_sentence(message: &str) -> &str {
    message.split(". ").next().unwrap_or(message)
}

/// `… constraint 'name'. …`, `… with unique index 'name'. …`; a name may hold quotes itself.
fn unique_of<'a>(meta: &'a Meta, message: &str) -> Option<&'a Unique> {
    let is_named = |name: &str| message.contains(&format!("'{name}'."));
    let named = meta.uniques.iter().filter(|u| is_named(&u.name)).max_by_key(|u| u.name.len());
    let key = &meta.def.schema.key;
    let on_key = |u: &&Unique| u.columns.len() == key.len() && u.columns.iter().all(|c| key.contains(c));
    // Of the overlay, the key's index has a name of ours.
    named.or_else(|| meta.uniques.iter().find(|u| is_named("epoch_key") && on_key(u)))
}

/// 23505 with the values that a row has in a unique index.
pub(crate) fn duplicate(meta: &Meta, unique: &Unique, row: &Known) -> Error {
    let names: Vec<_> = unique.columns.iter().filter_map(|c| meta.columns.get(*c).cloned()).collect();
    // A NULL is a value here, and only one.
    let text = |v: &Value| v.to_text().unwrap_or_else(|| "null".to_owned());
    let values: Option<Vec<_>> =
        unique.columns.iter().map(|c| row.get(*c).and_then(Option::as_ref).map(text)).collect();
    errors::duplicate(meta.name(), &unique.name, &names, values.filter(|v| !v.is_empty()))
}

/// The overlay's CHECKs have names that tell whose they are.
fn check(meta: &Meta, message: &str, row: &Known) -> Error {
    let name = quoted(message, '"').unwrap_or_default();
    let ours = meta.physical.checks.iter().find(|c| overlay_check(meta.id(), c) == name);
    errors::check(meta.name(), ours.map_or(name, |c| c.name.as_str()), row)
}

/// `… with the FOREIGN KEY constraint "name"`, of a child; `… with the REFERENCE constraint "name"`, of a parent.
fn foreign(catalog: &Catalog, meta: &Meta, message: &str, row: &Known) -> Error {
    let parent_gone = message.contains("REFERENCE constraint");
    let name = quoted(message, '"');
    let candidates: Vec<_> = match parent_gone {
        true => catalog.referrers(&meta.base).to_vec(),
        false => meta.physical.foreign.clone(),
    };
    let Some(fk) = candidates.iter().find(|fk| Some(fk.name.as_str()) == name) else {
        let message = format!("write to table \"{}\" violates a foreign key constraint", meta.name());
        return Error::new(sqlstate::FOREIGN_KEY_VIOLATION, message).with_table(meta.name());
    };
    let columns = if parent_gone { &fk.parent_columns } else { &fk.columns };
    let values: Row = meta
        .indexes(columns)
        .unwrap_or_default()
        .iter()
        .map(|i| row.get(*i).cloned().flatten().unwrap_or(Value::Null))
        .collect();
    if parent_gone { still_referenced(fk, &values) } else { no_parent(fk, &values) }
}

/// As messages name it.
fn reference(fk: &Foreign) -> Reference<'_> {
    Reference {
        name: &fk.name,
        child: &fk.shown.0,
        columns: &fk.columns,
        parent: &fk.shown.1,
        parent_columns: &fk.parent_columns,
    }
}

/// 23503 for a child without its parent.
pub(crate) fn no_parent(fk: &Foreign, values: &Row) -> Error {
    errors::no_parent(reference(fk), values)
}

/// 23503 for a parent that still has children.
pub(crate) fn still_referenced(fk: &Foreign, values: &Row) -> Error {
    errors::still_referenced(reference(fk), values)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shapes::{empty_catalog, meta_of, odd, with_parent};

    fn text(v: &str) -> Option<Value> {
        Some(Value::Text(v.to_owned()))
    }

    #[test]
    fn duplicates_are_told_by_the_indexs_name() {
        let (catalog, meta) = (empty_catalog(), odd());
        let row: Known = vec![Some(Value::Int(1)), text("a"), Some(Value::Null), None];
        let say = |code, message: &str| violation(&catalog, &meta, code, message, &row).unwrap();
        let message = "Violation of PRIMARY KEY constraint 'PK '1]'. Cannot insert duplicate key in object 'x'. The duplicate key value is (1, a).";
        let e = say(2627, message);
        assert_eq!((e.code(), e.constraint()), ("23505", Some("PK '1]")));
        assert_eq!(e.detail(), Some("Key (k]1, sel?ect)=(1, a) already exists."));
        // Of the overlay the key's index has our name; a NULL is a value.
        let e = say(
            2601,
            "Cannot insert duplicate key row in object 'epoch.epoch_overlay_7' with unique index 'epoch_key'. The …",
        );
        assert_eq!(e.constraint(), Some("PK '1]"));
        let e = say(
            2601,
            "Cannot insert duplicate key row in object 'x' with unique index 'by g'. The duplicate key value is (2, <NULL>).",
        );
        assert_eq!((e.constraint(), e.detail()), (Some("by g"), Some("Key (g)=(null) already exists.")));
        // One that came since: no values are shown.
        let e = say(
            2601,
            "Cannot insert duplicate key row in object 'x' with unique index 'new'. The duplicate key value is (secret).",
        );
        assert!(e.code() == "23505" && !format!("{e:?}").contains("secret"), "{e:?}");
    }

    #[test]
    fn nulls_and_checks_name_column_and_constraint() {
        let (catalog, meta) = (empty_catalog(), odd());
        let row: Known = vec![Some(Value::Int(1)), None, None, None];
        let say = |code, message: &str| violation(&catalog, &meta, code, message, &row).unwrap();
        let e = say(
            515,
            "Cannot insert the value NULL into column 'sel?ect', table 'shop.s]ch.x'; column does not allow nulls. INSERT fails.",
        );
        assert_eq!((e.code(), e.column()), ("23502", Some("sel?ect")));
        for name in ["ck]", "epoch_check_7_55"] {
            let message = format!(
                "The INSERT statement conflicted with the CHECK constraint \"{name}\". The conflict occurred in database \"shop\"."
            );
            let e = say(547, &message);
            assert_eq!((e.code(), e.constraint()), ("23514", Some("ck]")));
        }
        assert!(violation(&catalog, &meta, 8134, "Divide by zero error encountered.", &row).is_none());
    }

    #[test]
    fn foreign_keys_are_told_from_both_sides() {
        let mut catalog = empty_catalog();
        let (child, parent) = (with_parent(meta_of("c", false), "p"), meta_of("p", false));
        catalog.referrers.insert(parent.base.clone(), vec![Arc::clone(&child.physical.foreign[0])]);
        let row: Known = vec![Some(Value::Int(5)), text("a"), None];
        let e = violation(&catalog, &child, 547, "The INSERT statement conflicted with the FOREIGN KEY constraint \"to_p\". The conflict occurred in database \"d\", table \"dbo.p\", column 'n'.", &row).unwrap();
        assert_eq!((e.code(), e.constraint()), ("23503", Some("to_p")));
        assert_eq!(e.detail(), Some("Key (n)=(5) is not present in table \"p\"."));
        let e = violation(&catalog, &parent, 547, "The DELETE statement conflicted with the REFERENCE constraint \"to_p\". The conflict occurred in …", &row).unwrap();
        assert_eq!(e.detail(), Some("Key (n)=(5) is still referenced from table \"c\"."));
        let e = violation(
            &catalog,
            &child,
            547,
            "The UPDATE statement conflicted with the FOREIGN KEY SAME TABLE constraint \"other\".",
            &row,
        )
        .unwrap();
        assert_eq!((e.code(), e.constraint()), ("23503", None));
    }
}
