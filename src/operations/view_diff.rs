//! How the definitions of views differ between two refs.

use std::collections::BTreeMap;

use epoch_adapter::{TableName, ViewDef};

use super::{SchemaDiff, Tables};

/// A view's backend and name.
type Key = (String, TableName);

/// What a ref says of a view.
#[derive(Clone, PartialEq)]
struct Shown {
    /// Options and query; `None`: there is none.
    text: Option<String>,
    comment: Option<String>,
    /// If they are known.
    columns: Option<Vec<(String, String)>>,
    /// What main had before.
    of: Option<String>,
}

fn shown(tables: &Tables) -> BTreeMap<Key, Shown> {
    let one = |view: &ViewDef| Shown {
        text: view.text(),
        comment: view.comment.clone(),
        columns: Some(view.columns.clone()),
        of: view.of.clone(),
    };
    let key = |t: &epoch_adapter::TableDef| (t.location.backend.clone(), t.name.clone());
    tables.views.values().filter_map(|v| Some((key(&v.table), one(v.table.view.as_ref()?)))).collect()
}

/// Whether a ref says anything of a view.
pub(super) fn has(tables: &Tables, name: &TableName) -> bool {
    tables.views.values().any(|view| view.table.name == *name)
}

/// The views that two refs define in different ways, by name. Main's own, of which no branch said anything, are the
/// server's.
pub(super) fn between(left: &Tables, right: &Tables) -> Vec<SchemaDiff> {
    let (left, right) = (shown(left), shown(right));
    let mut names: Vec<&Key> = left.keys().chain(right.keys()).collect();
    names.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    names.dedup();
    let one = |key: &Key| {
        let (a, b) = match (left.get(key), right.get(key)) {
            (Some(a), Some(b)) => (a.clone(), b.clone()),
            (Some(a), None) => (a.clone(), before(a)),
            (None, Some(b)) => (before(b), b.clone()),
            (None, None) => return None,
        };
        let differs = a.text != b.text || (a.text.is_some() && a.comment != b.comment);
        differs.then(|| differing(&key.1, &a, &b))
    };
    names.into_iter().filter_map(one).collect()
}

/// What there was before a branch said anything.
fn before(after: &Shown) -> Shown {
    // Main's comment isn't known: that of the branch is no change.
    Shown { text: after.of.clone(), comment: after.comment.clone(), columns: None, of: None }
}

fn differing(name: &TableName, from: &Shown, to: &Shown) -> SchemaDiff {
    let named = format!("{}.{}", quote(&name.schema), quote(&name.name));
    let created = |shown: &Shown, verb: &str| shown.text.as_deref().map(|text| create(&named, verb, text));
    let drop = format!("DROP VIEW {named};");
    let same_columns = match (&from.columns, &to.columns) {
        (Some(from), Some(to)) => to.starts_with(from),
        _ => false,
    };
    let mut statements = match (&from.text, &to.text) {
        (Some(a), Some(b)) if a == b => Vec::new(),
        (Some(_), Some(_)) if same_columns => Vec::from_iter(created(to, "CREATE OR REPLACE VIEW")),
        (Some(_), _) => std::iter::once(drop).chain(created(to, "CREATE VIEW")).collect(),
        (None, _) => Vec::from_iter(created(to, "CREATE VIEW")),
    };
    if to.text.is_some() && from.comment != to.comment {
        let comment = to.comment.as_deref().map_or("NULL".to_owned(), literal);
        statements.push(format!("COMMENT ON VIEW {named} IS {comment};"));
    }
    SchemaDiff {
        table: name.clone(),
        from: created(from, "CREATE VIEW"),
        to: created(to, "CREATE VIEW"),
        statements: Some(statements),
    }
}

/// The statement of [`ViewDef::text`].
fn create(named: &str, verb: &str, text: &str) -> String {
    let (options, query) = text.split_once('\n').unwrap_or(("", text));
    let options = if options.is_empty() { String::new() } else { format!(" WITH ({options})") };
    format!("{verb} {named}{options} AS\n{query};")
}

/// An identifier as SQL.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as SQL.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: Option<&str>, columns: &[&str]) -> Shown {
        let columns = columns.iter().map(|c| ((*c).to_owned(), "integer".to_owned())).collect();
        Shown { text: text.map(str::to_owned), comment: None, columns: Some(columns), of: None }
    }

    #[test]
    fn a_view_is_replaced_where_its_columns_allow_it() {
        let name = TableName::public("v");
        let statements = |a: &Shown, b: &Shown| differing(&name, a, b).statements.unwrap_or_default();
        let (one, two) =
            (shown(Some("\n SELECT 1 AS a"), &["a"]), shown(Some("\n SELECT 1 AS a, 2 AS b"), &["a", "b"]));
        let none = shown(None, &[]);
        assert_eq!(statements(&none, &one), ["CREATE VIEW \"public\".\"v\" AS\n SELECT 1 AS a;"]);
        assert_eq!(statements(&one, &none), ["DROP VIEW \"public\".\"v\";"]);
        assert_eq!(
            statements(&one, &two),
            ["CREATE OR REPLACE VIEW \"public\".\"v\" AS\n SELECT 1 AS a, 2 AS b;"]
        );
        assert_eq!(statements(&two, &one).len(), 2);
        let told = Shown { comment: Some("it's".to_owned()), ..one.clone() };
        assert_eq!(statements(&one, &told), ["COMMENT ON VIEW \"public\".\"v\" IS 'it''s';"]);
        let barrier = shown(Some("security_barrier=true\n SELECT 1 AS a"), &["a"]);
        let made = statements(&none, &barrier);
        assert!(made.first().is_some_and(|s| s.contains("WITH (security_barrier=true) AS")));
    }
}
